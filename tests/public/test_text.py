"""Public checks of chapter 10's texts."""

import math

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.errors import PropertyFailed

tokenize = pytest.mark.exercise("text.tokenize", dtype=False)
encoder = pytest.mark.exercise("text.TextEncoder")
similarity = pytest.mark.exercise("text.similarity")
contrastive = pytest.mark.exercise("text.contrastive_loss")
token_count = pytest.mark.exercise("text.token_count")

DOUBLE = {"atol": 1e-11, "rtol": 1e-11}  # of numbers of size 1 that are computed in float64


def waves(*shape, rate=7.3, scale=1.0):
    """Any numbers, as long as they are the same everywhere."""
    u = torch.arange(math.prod(shape), dtype=torch.float64)
    return scale * (rate * (1 + u)).sin().reshape(shape)


def asked(student, name, names, *args):
    """What an exercise returns, and None; or None, and which names the message of its ValueError
    holds."""
    got = student.checking.text_fakes.asked(student.function(name), names, *args)
    if isinstance(got, tuple | list) and got and isinstance(got[0], str):
        return None, got[1:]
    return got, None


def refused(student, name, named, says, *args):
    """A ValueError whose message names something: a word, or a whole number."""
    result, held = asked(student, name, [named], *args)
    if held is None:
        raise PropertyFailed(says, f"no error, but {expect.describe(result)}", "ValueError")
    if not held:
        got = "a ValueError whose message does not have it"
        raise PropertyFailed(says, got, f"ValueError: … {named} …")


def tokenized(student, captions, vocabulary, length, says):
    """What `tokenize` makes of captions that it must not refuse."""
    result, held = asked(student, "text.tokenize", [], captions, vocabulary, length)
    if held is not None:
        raise PropertyFailed(f"{says} must not be refused", "a ValueError", "(tokens, mask)")
    return result


# --- text.tokenize ------------------------------------------------------------------------------

VOCABULARY = ["", "left", "red", "a", "of", "ring", "blue", "cross"]
PADDED = ["<pad>", *VOCABULARY[1:]]


def rows_are(result, want, says):
    """Tokens are these rows, and the mask is True where they are not 0."""
    tokens, mask = expect.unpack(result, ("tokens", "mask"))
    want = torch.tensor(want)
    tokens = expect.tensor(tokens, want.shape, "tokens")
    expect.true(tokens.dtype == torch.int64, "tokens must be int64", tokens.dtype, torch.int64)
    expect.true(torch.equal(tokens, want), says, tokens.tolist(), want.tolist())
    mask = expect.tensor(mask, want.shape, "the mask")
    expect.true(mask.dtype == torch.bool, "the mask must be bool", mask.dtype, torch.bool)
    says = "the mask must be True where a word is, False where padding is"
    expect.true(torch.equal(mask, want > 0), says, mask.tolist(), (want > 0).tolist())


@tokenize
def test_numbers_of_words(student):
    """a word's number is its place in the vocabulary, 0 follows up to L"""
    captions = ["a red ring", "blue cross left of a ring", "cross"]
    want = [[3, 2, 5, 0, 0, 0, 0], [6, 7, 1, 4, 3, 5, 0], [7, 0, 0, 0, 0, 0, 0]]
    for vocabulary in (VOCABULARY, PADDED):
        got = student.text.tokenize(captions, vocabulary, 7)
        rows_are(got, want, f"the numbers of {captions}")


@tokenize
def test_capital_letters_and_white_space(student):
    """capital letters and more white space change nothing"""
    captions = ["A Red RING", "  a red   ring ", "a\tred \n ring\n"]
    got = tokenized(student, captions, VOCABULARY, 4, f"{captions}")
    rows_are(got, [[3, 2, 5, 0]] * 3, "a red ring")


@tokenize
def test_empty_and_full_rows(student):
    """an empty text is all padding, and a caption may have exactly L words"""
    for captions, length, want in (
        (["", "a blue cross", " \n  "], 3, [[0, 0, 0], [3, 6, 7], [0, 0, 0]]),
        ([""], 2, [[0, 0]]),
        (["   "], 2, [[0, 0]]),
        (["cross"], 1, [[7]]),
    ):
        says = f"{captions} with L = {length}"
        rows_are(tokenized(student, captions, VOCABULARY, length, says), want, says)


@tokenize
def test_tuples(student):
    """captions and vocabulary may be tuples"""
    other = ("<pad>", "cross", "a", "red")
    got = student.text.tokenize(("a cross", "red"), other, 3)
    rows_are(got, [[2, 1, 0], [3, 0, 0]], f"the numbers with vocabulary {other}")


@tokenize
def test_a_large_vocabulary(student):
    """a vocabulary of thousands of words"""
    vocabulary = ["", *(f"w{i}" for i in range(1, 5001))]
    got = student.text.tokenize(["w4097 w12 w2049"], vocabulary, 4)
    rows_are(got, [[4097, 12, 2049, 0]], "numbers of 5000 words")


@tokenize
def test_unknown_words(student):
    """a word that is not in the vocabulary is refused with a ValueError that names it"""
    for caption, word in (("a zebra", "zebra"), ("ring, cross", "ring,"), ("a red rin", "rin")):
        says = f"{caption!r} must be refused, and the message name {word!r}"
        refused(student, "text.tokenize", word, says, ["a ring", caption], VOCABULARY, 5)
    says = "'zebra' is unknown"
    refused(student, "text.tokenize", "zebra", says, ["zebra"], VOCABULARY, 2)


@tokenize
def test_padding_is_no_word(student):
    """the first entry of the vocabulary is no word of a caption"""
    says = "'<pad>' must be refused: the first entry of a vocabulary is no word"
    refused(student, "text.tokenize", "<pad>", says, ["a <pad> ring"], PADDED, 5)


@tokenize
def test_too_many_words(student):
    """more than L words are refused with a ValueError that says how many there are"""
    for n, length in ((4, 3), (23, 6), (2, 1)):
        says = f"{n} words must be refused for L = {length}, and the message say {n}"
        captions = ["ring", " ".join(["red"] * n)]
        refused(student, "text.tokenize", f"{n}", says, captions, VOCABULARY, length)


@tokenize
def test_no_list_of_captions(student):
    """no captions, and one text in place of several, are refused with a ValueError"""
    for captions in ([], "", "ring", "a red ring"):
        says = f"captions {captions!r} must be refused: leave the lines above yours as they are"
        call = lambda c=captions: student.text.tokenize(c, VOCABULARY, 9)  # noqa: E731
        expect.raises("ValueError", call, says)


# --- text.TextEncoder ---------------------------------------------------------------------------

ENCODED = {
    "one block": (
        [
            [
                [1.3989628107, 0.599208819775],
                [2.16844531033, 1.20086393888],
                [1.94005227653, 1.54075893526],
                [0.0, 0.0],
                [0.0, 0.0],
            ],
            [
                [1.29924176462, 0.215251919227],
                [2.16449086314, 1.21830609505],
                [1.9051120649, 1.38693136031],
                [1.36855562214, 1.26866301345],
                [1.41850126763, 1.83764027609],
            ],
            [
                [2.26355113094, 0.919953722577],
                [2.1607823606, 1.19326344329],
                [0.0, 0.0],
                [0.0, 0.0],
                [0.0, 0.0],
            ],
        ],
        [
            [0.861405770062, -0.856797559616, 0.340369019509],
            [0.924029965518, -0.613113063897, 0.469684636553],
            [1.2066245073, -1.03160835964, -0.142540677833],
        ],
    ),
    "two blocks": (
        [
            [
                [0.759727351647, 0.401382540943],
                [1.52942585457, 0.822924603213],
                [1.36793817305, 1.24329093876],
                [0.0, 0.0],
                [0.0, 0.0],
            ],
            [
                [0.719389617808, 0.0397640523486],
                [1.53961196971, 0.874519112517],
                [1.37660035177, 1.04155676597],
                [0.397878547837, 1.03480462857],
                [0.395553848212, 1.43339759163],
            ],
            [
                [1.42462015799, 0.371509115123],
                [1.50820655357, 0.808822230165],
                [0.0, 0.0],
                [0.0, 0.0],
                [0.0, 0.0],
            ],
        ],
        [
            [0.501119391596, 0.116774222088, -1.23340883798],
            [0.444982696865, -0.266603418572, -1.292341941],
            [0.806464713657, -0.555463845884, -1.74052466076],
        ],
    ),
    "no block": (
        [
            [
                [-1.02053986133, -0.038208321423],
                [0.565295037286, 0.162832619434],
                [-0.0618293014738, 1.53401490792],
                [0.0, 0.0],
                [0.0, 0.0],
            ],
            [
                [-1.305450323, -0.961530835083],
                [0.55712447007, 0.185366165337],
                [-0.845293751445, 0.406118698851],
                [-0.739109908272, 0.472066191083],
                [-1.88691114904, 2.76620199939],
            ],
            [
                [0.313775150785, -1.21162011685],
                [0.55712447007, 0.185366165337],
                [0.0, 0.0],
                [0.0, 0.0],
                [0.0, 0.0],
            ],
        ],
        [
            [-1.18312154585, 0.177306054659, -0.974628104392],
            [-0.886027446762, 0.0900874489573, -1.37852691398],
            [-1.53678108773, 0.209986841126, -0.580948868212],
        ],
    ),
    "mixed": (
        [
            [
                [0.0, 0.0],
                [0.0, 0.0],
                [1.31487006724, 1.2678613976],
                [0.669696187401, 1.18950796534],
                [0.0, 0.0],
            ],
            [
                [0.315051475812, -0.0579091779776],
                [0.0, 0.0],
                [1.2035844236, 0.922413931206],
                [0.0, 0.0],
                [0.395507087751, 1.35365539379],
            ],
            [[0.0, 0.0], [1.51016023235, 0.815078955751], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
        ],
        [
            [0.74840429115, -0.331571804639, -1.61526362671],
            [-0.0103669184083, 0.0727661910976, -0.735131423558],
            [0.914119288273, -0.505702822501, -1.83324359414],
        ],
    ),
    "one caption": (
        [
            [
                [1.3989628107, 0.599208819775],
                [2.16844531033, 1.20086393888],
                [1.94005227653, 1.54075893526],
            ]
        ],
        [[0.861405770062, -0.856797559616, 0.340369019509]],
    ),
    "one word": (
        [[[1.33702019784, 0.18874550687]], [[2.25797277575, 0.914750298822]]],
        [
            [0.824672410889, -0.139076171008, 0.942420694687],
            [1.25786485227, -1.09209344519, -0.241422527225],
        ],
    ),
    "empty": (
        [
            [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
            [
                [1.29924176462, 0.215251919227],
                [2.16449086314, 1.21830609505],
                [1.9051120649, 1.38693136031],
                [1.36855562214, 1.26866301345],
                [1.41850126763, 1.83764027609],
            ],
            [
                [2.26355113094, 0.919953722577],
                [2.1607823606, 1.19326344329],
                [0.0, 0.0],
                [0.0, 0.0],
                [0.0, 0.0],
            ],
        ],
        [
            [0.800400651422, -0.680988636729, 0.539851276775],
            [0.924029965518, -0.613113063897, 0.469684636553],
            [1.2066245073, -1.03160835964, -0.142540677833],
        ],
    ),
    "small": (
        [
            [
                [1.82581907081, 1.44785978841],
                [1.82312283496, 1.44620222807],
                [1.82324243209, 1.44816943718],
                [0.0, 0.0],
                [0.0, 0.0],
            ],
            [
                [1.82941827618, 1.45489812387],
                [1.82755411536, 1.45392399276],
                [1.82969836824, 1.45821403341],
                [1.82361267512, 1.45452213224],
                [1.82525624646, 1.4568341136],
            ],
            [
                [1.80694278343, 1.4298103425],
                [1.80710055623, 1.43036549553],
                [0.0, 0.0],
                [0.0, 0.0],
                [0.0, 0.0],
            ],
        ],
        [
            [0.977394658627, -0.915253062241, 0.178337241838],
            [0.962016424509, -0.945487478085, 0.169901124981],
            [1.00393628825, -0.918303231887, 0.14939312457],
        ],
    ),
    "large": (
        [
            [
                [94.0812633604, 61.5725921237],
                [93.8634384022, 61.4608073729],
                [93.8731004801, 61.5934746276],
                [0.0, 0.0],
                [0.0, 0.0],
            ],
            [
                [94.3720379077, 62.0472527168],
                [94.2214350768, 61.9815579723],
                [94.3946661368, 62.2708754181],
                [93.9030118737, 62.0218960946],
                [94.0357936033, 62.1778145573],
            ],
            [
                [92.556275661, 60.3553496741],
                [92.5690218957, 60.3927888192],
                [0.0, 0.0],
                [0.0, 0.0],
                [0.0, 0.0],
            ],
        ],
        [
            [87.4843313335, -20.1703167851, 129.689834011],
            [87.8993162332, -20.542382549, 128.981788887],
            [84.6151659828, -22.1602938866, 130.991579857],
        ],
    ),
}
SLOPES_OF_WEIGHTS = {
    "word.weight": [0.0, -0.847870101321, -0.12302722883],
    "place.weight": [0.0152207798244, 0.0431155388895],
    "blocks.0.norm_1.weight": [-0.155491568231],
    "blocks.0.norm_1.bias": [0.150002367368],
    "blocks.0.norm_2.weight": [0.129982241753],
    "blocks.0.norm_2.bias": [0.184393621361],
    "blocks.0.qkv.weight": [0.0991386450048, -0.345594839409, -0.00100511946343],
    "blocks.0.qkv.bias": [0.263726290251],
    "blocks.0.out.weight": [-0.341770953209, -0.0891622267144, 0.196331352257],
    "blocks.0.out.bias": [1.07718049856],
    "blocks.0.mlp.0.weight": [-0.00194178022167, -0.0148687429739, -0.105474679086],
    "blocks.0.mlp.0.bias": [-0.00454566293592, 0.0261962437374],
    "blocks.0.mlp.2.weight": [-0.0269638602277, -0.0512869288014, 1.22256975539],
    "blocks.0.mlp.2.bias": [1.15852979041],
    "blocks.1.norm_1.weight": [-0.153836855407],
    "blocks.1.norm_1.bias": [-0.120274492636],
    "blocks.1.norm_2.weight": [0.0138767278447],
    "blocks.1.norm_2.bias": [0.0398996740528],
    "blocks.1.qkv.weight": [0.0401592404973, -0.0194974460682, -0.0109072627476],
    "blocks.1.qkv.bias": [0.0176357524407],
    "blocks.1.out.weight": [0.482221132275, 0.336060476634, -0.161246997117],
    "blocks.1.out.bias": [1.14713119398],
    "blocks.1.mlp.0.weight": [0.283660439851, 0.173143734206, -0.420862912732],
    "blocks.1.mlp.0.bias": [-0.215182613812, -0.0505855581965],
    "blocks.1.mlp.2.weight": [0.381601832739, 0.485517374695, -0.189433271008],
    "blocks.1.mlp.2.bias": [1.11923329818],
    "norm.weight": [1.23577949297],
    "norm.bias": [1.92235851034],
    "out.weight": [1.61864735216, -1.15041019912, -0.981814085825],
    "out.bias": [0.913544129721],
}
ROUNDED = {"atol": 1e-9, "rtol": 1e-9}  # of some layers in float64


def filled(student, layers=1, heads=2, length=6, scale=1.0, **options):
    """A small encoder with weights that are the same everywhere, in float64."""
    made = student.new("text.TextEncoder", VOCABULARY, length, 8, layers, heads, **options)
    made.call("double")
    weights = {}
    for n, (name, shape) in enumerate(student.checking.fakes.shapes(made).items()):
        size = 1 if name.startswith(("word", "place")) else math.prod(shape[1:])
        weights[name] = waves(*shape, rate=1.1 + 0.37 * n, scale=1 / size**0.5)
        if "norm" in name and name.endswith("weight"):
            weights[name] = 1 + 0.5 * weights[name]
        if name.startswith(("word", "place")):
            weights[name] = scale * weights[name]
    made.load(weights)
    return made


def encodes(result, name, shape, says, rows=slice(None)):
    """Some numbers of words and of pooled vectors are those that are written down."""
    words, pooled = expect.unpack(result, ("words", "pooled"))
    words = expect.tensor(words, (*shape, 8), "words")
    pooled = expect.tensor(pooled, (shape[0], 8), "pooled")
    want = ENCODED[name]
    got = words[rows, :, 1:8:5]
    expect.close(got, torch.tensor(want[0], dtype=torch.float64), f"{says}: other words",
                 what="words", **ROUNDED)  # fmt: skip
    expect.close(pooled[rows, 1:8:3], torch.tensor(want[1], dtype=torch.float64),
                 f"{says}: another pooled vector", what="pooled", **ROUNDED)  # fmt: skip
    return words, pooled


TOKENS = torch.tensor([[3, 2, 5, 0, 0], [6, 7, 1, 4, 3], [7, 7, 0, 0, 0]])
BEHIND = TOKENS > 0
MIXED = torch.tensor([[0, 0, 1, 1, 0], [1, 0, 1, 0, 1], [0, 1, 0, 0, 0]]).bool()


@encoder
def test_the_layers_of_an_encoder(student):
    """its layers have the documented names, and begin as documented"""
    block = {"norm_1": [8], "norm_2": [8], "qkv": [24, 8], "out": [8, 8]}
    block |= {"mlp.0": [32, 8], "mlp.2": [8, 32]}
    want = {"word.weight": [8, 8], "place.weight": [6, 8]}
    for n in range(2):
        for name, shape in block.items():
            want |= {f"blocks.{n}.{name}.weight": shape, f"blocks.{n}.{name}.bias": shape[:1]}
    want |= {"norm.weight": [8], "norm.bias": [8], "out.weight": [8, 8], "out.bias": [8]}
    made = student.new("text.TextEncoder", VOCABULARY, 6, 8, 2, 2)
    got = student.checking.fakes.shapes(made)
    expect.true(got == want, "the weights for two blocks of dim 8", got, want)
    for places in (None, 0.02, 0.0):
        options = {} if places is None else {"places": places}
        std = 0.5 if places is None else places
        made = student.new("text.TextEncoder", [f"w{n}" for n in range(99)], 99, 32, **options)
        for name, begins in (("word", 0.5), ("place", std)):
            near = student.checking.text_fakes.begins_with(made, f"{name}.weight", begins)
            expect.true(near, f"{name} begins with standard deviation {begins:g}")
        learned = student.checking.text_fakes.learned(made)
        says = f"places are learned unless places is 0, here {std:g}"
        expect.true(("place.weight" in learned) == (std > 0), says, learned)
    words, _ = expect.unpack(made(TOKENS, BEHIND), ("words", "pooled"))
    expect.true(isinstance(words, torch.Tensor), "words must be a tensor", words)


@encoder
def test_words_and_pooled_vectors(student):
    """words and pooled vectors are those of the formula"""
    for name, layers, heads in (("one block", 1, 2), ("two blocks", 2, 4), ("no block", 0, 1)):
        made = filled(student, layers, heads)
        encodes(made(TOKENS, BEHIND), name, (3, 5), name)


@encoder
def test_padding_wherever_it_stands(student):
    """padding changes nothing in front of words or between them, whatever its numbers are"""
    made = filled(student, 2)
    tokens = torch.where(BEHIND, TOKENS, 1)
    for padding in (0, 7):
        says = f"padding of number {padding} in front of words and between them"
        row = torch.where(MIXED, tokens, padding)
        words, _ = encodes(made(row, MIXED), "mixed", (3, 5), says)
        expect.true(not words[~MIXED].any(), "words must be exactly 0 where padding is")


@encoder
def test_rows_of_other_lengths(student):
    """rows may be shorter than L, down to one word; more padding changes nothing; one caption"""
    made = filled(student)
    full = torch.cat([TOKENS, 0 * TOKENS[:, :1]], 1)
    for tokens in (full, TOKENS):
        words, pooled = expect.unpack(made(tokens, tokens > 0), ("words", "pooled"))
        words = expect.tensor(words, (*tokens.shape, 8), "words")
        pooled = expect.tensor(pooled, (3, 8), "pooled")
        encodes((words[:, :5], pooled), "one block", (3, 5), f"rows of {tokens.shape[1]}")
        expect.true(not words[tokens == 0].any(), "words must be exactly 0 where padding is")
    encodes(made(TOKENS[:1, :3], BEHIND[:1, :3]), "one caption", (1, 3), "one caption, no padding")
    encodes(made(TOKENS[1:, :1], BEHIND[1:, :1]), "one word", (2, 1), "captions of one word")


@encoder
def test_captions_without_words(student):
    """a caption without words has words of exactly 0, and the pooled vector out(0)"""
    made = filled(student)
    mask = BEHIND.clone()
    mask[0] = False
    words, pooled = encodes(made(TOKENS, mask), "empty", (3, 5), "the first without words")
    expect.true(not words[0].any(), "words of a caption without words must be exactly 0")
    expect.close(pooled[0], made.state()["out.bias"], "out(0) is the bias of out", **ROUNDED)


@encoder
def test_the_order_of_words(student):
    """the order of words matters; where places are 0 it does not"""
    tokens, turned = torch.tensor([[3, 2, 5, 1]]), torch.tensor([[3, 5, 2, 1]])
    mask = tokens > 0
    made = filled(student)
    one, two = (expect.unpack(made(t, mask), ("words", "pooled"))[1] for t in (tokens, turned))
    off = expect.tensor(one, (1, 8), "pooled") - expect.tensor(two, (1, 8), "pooled")
    expect.true(bool(off.abs().max() > 1e-3), "two words change places, and nothing changes")
    student.checking.fakes.put(made, {"place.weight": torch.zeros(6, 8).double()})
    one, two = (expect.unpack(made(t, mask), ("words", "pooled"))[1] for t in (tokens, turned))
    expect.close(two, expect.tensor(one, (1, 8)), "without places order is nothing", **ROUNDED)


@encoder
def test_small_and_large_numbers_and_float32(student):
    """small embeddings, with the ε of the norms, large words, float32; gradients and modes stay"""
    made = filled(student, scale=3e-3)
    encodes(made(TOKENS, BEHIND), "small", (3, 5), "embeddings of size 0.003")
    fakes = student.checking.fakes
    fakes.put(made, {name: waves(8, scale=90.0) for name in ("norm.weight", "out.bias")})
    encodes(made(TOKENS, BEHIND), "large", (3, 5), "words of size 90")
    made = filled(student)
    made.call("float")
    student.checking.fakes.holding_gradients(made)
    made.call("eval")
    words, pooled = expect.unpack(made(TOKENS, BEHIND), ("words", "pooled"))
    for got, what, shape in ((words, "words", (3, 5, 8)), (pooled, "pooled", (3, 8))):
        got = expect.tensor(got, shape, what)
        expect.true(got.dtype == torch.float32, f"{what} must have the precision of the weights")
    want = torch.tensor(ENCODED["one block"][1], dtype=torch.float64)
    expect.close(pooled[:, 1:8:3], want, "the pooled vectors in float32", atol=1e-4, rtol=1e-4)


@encoder
def test_the_slopes_of_an_encoder(student):
    """gradients reach every weight, and none reaches padding"""
    made = filled(student, 2)
    mask = BEHIND.clone()
    mask[2] = False
    c = [waves(3, 5, 8, rate=0.7), waves(3, 8, rate=0.9)]
    (found,) = student.gradient("checking.fakes.weighted_both", made, c, TOKENS, mask, wrt=[made])
    for name, want in SLOPES_OF_WEIGHTS.items():
        got = expect.tensor(found.get(name), found[name].shape, f"the gradient of {name}")
        says = f"the gradient of {name}"
        got = got.flatten()[1::29][:3]
        expect.close(got, torch.tensor(want, dtype=torch.float64), says, what=says, **ROUNDED)
    expect.true(not found["word.weight"][0].any(), "the number of padding gets a gradient")
    expect.true(not found["place.weight"][5].any(), "a place that no word has gets a gradient")


@encoder
def test_tokens_and_masks_that_do_not_fit(student):
    """tokens that are not (batch, n) with n from 1 to L, and masks that are not one truth value for
    each, are refused with a ValueError"""
    made = filled(student)
    encodes(made(TOKENS, BEHIND), "one block", (3, 5), "what fits")
    for shape in ((5,), (2, 7), (2, 0), (2, 3, 4)):
        tokens = torch.ones(shape, dtype=torch.int64)
        says = f"tokens {shape}, L = 6: leave the lines above yours as they are"
        expect.raises("ValueError", lambda t=tokens: made(t, t > 0), says)
    for mask in (BEHIND[:, :4], BEHIND[:1], BEHIND[0], BEHIND.long(), BEHIND.double()):
        says = f"a mask {str(mask.dtype)[6:]} of {tuple(mask.shape)}: leave the lines above yours"
        expect.raises("ValueError", lambda m=mask: made(TOKENS, m), says)


# --- text.similarity ----------------------------------------------------------------------------

IMAGES = torch.tensor([[3.0, 4.0], [0.0, -2.0]], dtype=torch.float64)
TEXTS = torch.tensor([[1.0, 0.0], [6.0, 8.0], [0.0, 0.5]], dtype=torch.float64)
COSINES = torch.tensor([[0.6, 1.0, 0.8], [0.0, -0.8, -1.0]], dtype=torch.float64)
SLOPES = (
    [[0.69150506592, -0.657254656685, 0.000268431035347],
     [0.293124236971, -0.260973252559, 0.0493169399742]],
    [[1.5801249136, 1.56967868673, 0.244755102293],
     [0.263027771377, 0.255826014427, 0.00790570718685],
     [-1.46110063731, -1.4061822771, -0.245123750965]],
    0.0398786881848,
)  # fmt: skip


@similarity
def test_cosines(student):
    """with log_scale = 0 it is the cosine of each image with each text"""
    got = student.text.similarity(IMAGES, TEXTS, 0.0)
    says = "images in rows, texts in columns: ⟨u, v⟩ / (‖u‖ ‖v‖)"
    expect.close(got, COSINES, says, **DOUBLE)


@similarity
def test_scaled_cosines(student):
    """the cosines are multiplied by exp(log_scale), a number or a tensor of shape ()"""
    for scale in (2.0, 0.25, 100.0, 2.0**20, 2.0**-20):
        log_scale = math.log(scale)
        # a number may be taken to its exponential in float32
        for form, digits in (
            (log_scale, 1e-5),
            (torch.tensor(log_scale, dtype=IMAGES.dtype), 1e-11),
        ):
            got = student.text.similarity(IMAGES, TEXTS, form)
            says = f"cosines times exp(log_scale), for log_scale = {log_scale:.3g}"
            got = expect.tensor(got, (2, 3)) / scale
            expect.close(got, COSINES, says, atol=digits, rtol=digits)
    got = student.text.similarity(IMAGES, TEXTS, 1)
    expect.close(got, math.e * COSINES, "log_scale = 1", atol=1e-6, rtol=1e-6)


@similarity
def test_float32(student):
    """vectors in float32, with a number and with a tensor as log_scale"""
    for form in (0.5, torch.tensor(0.5)):
        got = student.text.similarity(IMAGES.float(), TEXTS.float(), form)
        expect.close(got, math.exp(0.5) * COSINES, "cosines times exp(0.5)")
    got = student.text.similarity(IMAGES, TEXTS, torch.tensor(0.5))
    says = "vectors in float64, and log_scale in float32"
    expect.close(got, math.exp(0.5) * COSINES, says, atol=1e-6, rtol=1e-6)


@similarity
def test_one_vector_and_square_scores(student):
    """one image, one text, as many images as texts, vectors of one number"""
    got = student.text.similarity(IMAGES[:1], TEXTS, 0.0)
    expect.close(got, COSINES[:1], "one image, three texts", **DOUBLE)
    got = student.text.similarity(IMAGES, TEXTS[2:], 0.0)
    expect.close(got, COSINES[:, 2:], "two images, one text", **DOUBLE)
    got = student.text.similarity(IMAGES, TEXTS[1:], 0.0)
    expect.close(got, COSINES[:, 1:], "two images, two texts", **DOUBLE)
    got = student.text.similarity(IMAGES[:, 1:], TEXTS[1:, 1:], 0.0)
    want = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    expect.close(got, want, "vectors of one number: their signs", **DOUBLE)


@similarity
def test_short_and_long_vectors(student):
    """the length of a vector does not count, from a millionth to a million"""
    for size in (1e-6, 1e-3, 1e3, 1e6):
        got = student.text.similarity(size * IMAGES, TEXTS / size, 0.0)
        says = f"images {size:g} times as long, texts {1 / size:g} times"
        expect.close(got, COSINES, says, **DOUBLE)


@similarity
def test_slopes(student):
    """gradients reach images, texts and log_scale"""
    u, v, log_scale = waves(2, 3), waves(3, 3, rate=2.1), torch.tensor(0.4).double()
    function, c = student.function("text.similarity"), waves(2, 3, rate=1.3)
    got = student.gradient(
        "checking.fakes.weighted", function, c, u, v, log_scale, wrt=[u, v, log_scale]
    )
    for g, w, name in zip(got, SLOPES, ("images", "texts", "log_scale"), strict=True):
        expect.close(g, torch.tensor(w, dtype=u.dtype), f"the gradient of {name}",
                     atol=1e-9, rtol=1e-9, what=f"the gradient of {name}")  # fmt: skip


@similarity
def test_vectors_that_do_not_fit(student):
    """images and texts that are not (n, dim) and (m, dim) are refused with a ValueError"""
    good = waves(3, 4)
    for shape in ((4,), (2, 3, 4), (3, 5), (3, 1)):
        for pair in ((waves(*shape), good), (good, waves(*shape))):
            says = "ValueError: leave the lines above yours as they are"
            expect.raises("ValueError", lambda p=pair: student.text.similarity(*p, 0.0), says)


# --- text.contrastive_loss ----------------------------------------------------------------------


@contrastive
def test_two_pairs(student):
    """of two pairs it is known by hand"""
    a = math.log(3)
    s = torch.tensor([[a, 0.0], [0.0, 0.0]])  # softmaxes of rows: ¾ and ½; of columns the same
    want = (math.log(4 / 3) + math.log(2)) / 2
    expect.close(student.text.contrastive_loss(s), want, "the mean of log 4/3 and log 2")


@contrastive
def test_both_halves(student):
    """both halves count: texts of images, and images of texts"""
    a = math.log(3)
    s = torch.tensor([[0.0, a, a], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    # rows: 1/7, 1/3, 1/3; columns: 1/3, 1/5, 1/5
    want = (math.log(63) / 3 + math.log(75) / 3) / 2
    got = student.text.contrastive_loss(s)
    expect.close(got, want, "½ (L_text + L_image) of three pairs", **DOUBLE)
    s = torch.tensor([[0.0, a], [0.0, 0.0]], dtype=torch.float64)
    # rows: ¼ and ½; columns: ½ and ¼
    expect.close(student.text.contrastive_loss(s), math.log(8) / 2, "the mean of both", **DOUBLE)


@contrastive
def test_what_knows_nothing(student):
    """equal scores cost log N, and one pair costs nothing"""
    for n in (5, 2, 1):
        s = torch.full((n, n), 3.0)
        expect.close(student.text.contrastive_loss(s), math.log(n), f"equal scores, N = {n}")


@contrastive
def test_scores_of_any_size(student):
    """large scores are right, without infinity and NaN"""
    for size, dtype in ((1e3, torch.float32), (1e5, torch.float64), (1e30, torch.float32)):
        says = f"scores of size {size:g}"
        got = student.text.contrastive_loss(size * torch.eye(3, dtype=dtype))
        expect.close(got, 0.0, f"nothing is left to find at {says}", atol=1e-6, rtol=0)
        s = torch.tensor([[0.0, 1.0], [3.0, 2.0]], dtype=dtype) * size
        # rows: 1 and 1 too little; columns: 3 and 0
        expect.close(student.text.contrastive_loss(s), 1.25 * size, says, atol=1e-5, rtol=1e-5)


@contrastive
def test_slopes_of_scores(student):
    """gradients reach every score: what both softmaxes say, less the pairs"""
    a = math.log(3)
    s = torch.tensor([[a, 0.0], [0.0, 0.0]], dtype=torch.float64)
    (got,) = student.gradient("text.contrastive_loss", s, wrt=[s])
    want = torch.tensor([[-0.125, 0.1875], [0.1875, -0.25]])
    says = "(p(text | image) + p(image | text) − 2 [pair]) / 2N"
    expect.close(got, want, says, what="the gradient", **DOUBLE)
    s = 1e4 * torch.tensor([[0.0, 1.0], [3.0, 2.0]])
    (got,) = student.gradient("text.contrastive_loss", s, wrt=[s])
    want = torch.tensor([[-0.5, 0.25], [0.5, -0.25]])
    expect.close(got, want, f"{says}, for large scores", what="the gradient")


@contrastive
def test_scores_that_are_not_square(student):
    """scores that are not (n, n) are refused with a ValueError"""
    for shape in ((2, 3), (3, 2), (4,), (2, 2, 2), (0, 0)):
        says = f"scores {shape} must be refused: leave the lines above yours as they are"
        s = waves(*shape)
        expect.raises("ValueError", lambda s=s: student.text.contrastive_loss(s), says)


# --- text.token_count ---------------------------------------------------------------------------


def counts(got, want, says):
    whole = isinstance(got, int) and not isinstance(got, bool)
    expect.true(whole, "the number of tokens must be a whole number, an int", got, want)
    expect.true(got == want, says, got, want)


@token_count
def test_models(student):
    """FLUX.1 makes 4096 tokens of 1024×1024 pixels; others"""
    says = "1024×1024×3 → 128×128×16 → 64×64 tokens (slide 102 says 1024)"
    counts(student.text.token_count(1024, 1024, 8, 2), 4096, says)
    counts(student.text.token_count(256, 256, 8, 2), 256, "DiT-XL/2 at 256×256")
    counts(student.text.token_count(256, 256, 8, 8), 16, "DiT-XL/8 at 256×256")
    counts(student.text.token_count(1024, 1024, 32, 1), 1024, "Sana, which makes D = 32")
    counts(student.text.token_count(4096, 4096, 8, 2), 65536, "4096×4096 pixels")
    says = "928×1664 pixels: 58 rows of 104"
    counts(student.text.token_count(928, 1664, 8, 2), 6032, says)


@token_count
def test_words_beside_the_image(student):
    """words are tokens too"""
    says = "Stable Diffusion 3, 77 + 77 words"
    counts(student.text.token_count(1024, 1024, 8, 2, 154), 4250, says)
    got = student.text.token_count(height=24, width=12, downsampling=3, patch=4, words=5)
    counts(got, 7, "24×12 pixels with D = 3, P = 4 and 5 words")
    counts(student.text.token_count(6, 4, 1, 1, words=0), 24, "each pixel is a token")


@token_count
def test_sides_that_do_not_fit(student):
    """a side that D · P does not divide is refused, and the message names the multiples next to
    it"""
    for h, w in ((1024, 1001), (1001, 1024), (993, 16), (16, 1007)):
        for near in ("992", "1008"):
            says = f"{h}×{w} must be refused for D = 8 and P = 2, and the message name {near}"
            refused(student, "text.token_count", near, says, h, w, 8, 2)


@token_count
def test_sides_that_fit_latents_and_no_patches(student):
    """what D divides may not be divided by D · P; a side below D · P is refused as well"""
    for h, w in ((1032, 1024), (1024, 1032), (24, 40)):
        says = f"{h}×{w} must be refused for D = 8 and P = 2: 16 does not divide it"
        call = lambda h=h, w=w: student.text.token_count(h, w, 8, 2)  # noqa: E731
        expect.raises("ValueError", call, says)
    for h, w in ((4, 15), (15, 4), (3, 5)):
        says = f"{h}×{w} must be refused for D = 5 and P = 3, and the message name 15"
        refused(student, "text.token_count", "15", says, h, w, 5, 3)


@token_count
def test_numbers_that_are_not_positive(student):
    """sides, D or P that are not positive, and a negative number of words, are refused"""
    for sizes in ((0, 32, 4, 2, 0), (64, -32, 4, 2, 0), (64, 32, 0, 2, 0), (64, 32, 4, 0, 0),
                  (64, 32, 4, 2, -1), (-64, -32, 4, 2, 0), (64, 32, -4, -2, 0)):  # fmt: skip
        says = f"height, width, D, P and words {sizes}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda s=sizes: student.text.token_count(*s), says)
