"""Public checks of chapter 10, text to image."""

import math
import re
from itertools import pairwise

import pytest
import torch

from cs231n_gen.checking import expect

joint_block = pytest.mark.exercise("text_to_image.JointBlock")
net = pytest.mark.exercise("text_to_image.TextToImage")
sample = pytest.mark.exercise("text_to_image.sample", graph=False)

# What rounding leaves where all is computed in float64, in float32, and of numbers of a table.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
SINGLE = {"atol": 1e-4, "rtol": 1e-4}
TABLE = {"atol": 1e-9, "rtol": 1e-9}


def waves(*shape, rate=7.3, scale=1.0):
    """Any numbers, as long as they are the same everywhere."""
    u = torch.arange(math.prod(shape), dtype=torch.float64)
    return scale * (rate * (1 + u)).sin().reshape(shape)


def numbers(table):
    """Names, each followed by numbers, as a dict."""
    parts = re.findall(r"([a-z][a-z_ ]*):([^a-z]*)", table)
    return {
        name: torch.tensor([*map(float, of.split())], dtype=torch.float64) for name, of in parts
    }


def filled(student, module):
    """The module with weights that are the same everywhere, in float64; them, by name."""
    module.call("double")
    weights = {}
    shapes = student.checking.fakes.shapes(module)
    for n, (name, shape) in enumerate(sorted(shapes.items())):
        size = math.prod(shape[1:]) if len(shape) > 1 else 1
        weights[name] = waves(*shape, rate=1.1 + 0.37 * n, scale=1 / size**0.5)
    student.checking.fakes.put(module, weights)
    return weights


def some(values, count=6):
    """A few numbers, spread over all."""
    flat = values.flatten()
    return flat[torch.linspace(0, len(flat) - 1, count).long()]


def in_the_table(got, shape, want, says, what="the result"):
    got = expect.tensor(got, shape, what)
    expect.close(some(got, len(want)), want, says, what=f"some of {what}", **TABLE)


# --- text_to_image.JointBlock -------------------------------------------------------------------

# Some numbers of both streams, and of gradients, with the weights of `filled`.
BLOCKS = numbers("""
x plain: -1.11232056661 0.253596740026 0.330896079655 -1.09461399512 0.299356736308
    -0.409418077191
y plain: 2.78918609961 -0.411772110275 -2.26349400057 -3.22273841882 -2.38027423277
    -1.35897703436
x masked: -0.998714679773 0.257370896501 0.359080992279 -1.4139212433 0.30490890845
    -0.471266369329
y masked: 2.88858003438 0.960878981824 2.08934984223 -0.480855507558 0.790570594817
    -2.26083400121
x at c zero: -0.0586931846737 0.859904134976 1.75773627038 -0.610982968754 -0.221392751476
    -0.904967210092
y at c zero: 1.46006577974 -0.718361990737 -1.7777313242 -2.76851516619 -1.67744950862
    -0.660435578507
x other tables: 1.32771967223 -1.1430099217 0.400430126708 -1.81679269117 -0.0113346086217
    0.654727501789
y other tables: 2.27164060164 1.56930545765 0.565444719947 -0.47680110071 0.457211289618
    1.16864273589
to x: 0.649196031628 -0.305688025149 0.566427847999 -0.44662301908 0.850801162455
    -0.360363338024 0.587110897598 -0.433842666131
to y: 0.637337581125 0 0 -0.200604179171 0 0 -0.97994648569 0
to c: -0.41763151662 1.52332072448 -0.677186168946 0.0332550164477 -0.0344440904683
    -0.950115146332 0.264828415253 -2.66658006072
to image_table: -0.57990613737 0.433717075668 1.88329299872 -0.145730111925 -0.0392590673931
    -2.69192348823
to text_table: 0.180471777349 -0.497004750334 0.899335510234 -0.234777752186 0.217558498794
    0.331209740961
to joint_image_qkv_weight: -0.0802789137668 0.13432096227 -0.224156991134 0.0712581360911
    0.984733360768 0.0685840587988
to joint_text_out_weight: 0.530570752952 2.05377184009 1.20070112822 -0.537313964485
    -0.28532382634 0.827310399095
to image_mlp___weight: 0.41590692288 -0.393939109939 0.51720183156 0.0680736991216
    -0.0692508973612 0.572734828551
to text_mlp___bias: 0.0428615912383 1.00755819935 0.172841778877 -0.175114968759
    -0.0288284987434 -0.827355207127
x of no words: 0.164019583342 0.412974667226 0.891909004139 0.8148910031 0.200256735749
    0.00587754996769
x large: 97.4340209576 333.121578636 282.305201303 169.91211769 116.165860749 -1.94387953884
y large: 969.184152256 -5.44467974453 12.630040779 188.837938732 255.52336211 -230.598917807
""")
X, WORDS = (3, 4, 8), (3, 5, 8)
MASK = torch.tensor([[1, 1, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0]]).bool()


def streams(size=1.0):
    """x, y and c."""
    c = waves(3, 48, rate=2.1)
    return waves(*X, scale=size), waves(*WORDS, rate=1.9, scale=size), c


def both(got, mask=None, shapes=(X, WORDS)):
    """Image and words; where padding is, which must be finite, 0."""
    x, y = expect.unpack(got, ("x", "y"))
    x = expect.tensor(x, shapes[0], "x after the block")
    y = expect.tensor(y, shapes[1], "y after the block")
    return x, y if mask is None else y * mask[..., None]


def in_both_tables(got, name, says, mask=None):
    x, y = both(got, mask)
    in_the_table(x, X, BLOCKS[f"x {name}"], f"the image: {says}", "x after the block")
    y = y if mask is None else y[mask]
    in_the_table(y, y.shape, BLOCKS[f"y {name}"], f"the text: {says}", "y after the block")


@joint_block
def test_the_streams_after_a_block(student):
    """both streams are those of the formula"""
    made = student.new("text_to_image.JointBlock", 8, 2)
    filled(student, made)
    x, y, c = streams()
    says = "not the formula's, where all are words"
    in_both_tables(made(x, y, c), "plain", says)
    in_both_tables(made(x, y, c, torch.ones_like(MASK)), "plain", says)
    says = "not the formula's, with padding"
    in_both_tables(made(x, y, c, MASK), "masked", says, MASK)


@joint_block
def test_padding_changes_nothing(student):
    """whatever padding holds: image and words are those of the words alone"""
    made = student.new("text_to_image.JointBlock", 8, 2)
    filled(student, made)
    x, y, c = streams()
    for size in (0.0, 1e4):
        other = torch.where(MASK[..., None], y, waves(*WORDS, rate=0.3, scale=size))
        one = both(made(x, other, c, mask=MASK), MASK)
        for n in range(3):
            alone = y[n : n + 1, MASK[n]]
            got = made(x[n : n + 1], alone, c[n : n + 1])
            want = both(got, shapes=((1, 4, 8), tuple(alone.shape)))
            says = "padding changes what comes out: it must not be attended to"
            expect.close(one[0][n : n + 1], want[0], says, what="x after the block", **DOUBLE)
            expect.close(one[1][n, MASK[n]], want[1][0], says, what="the words", **DOUBLE)
    G = [waves(*X, rate=0.7), waves(*WORDS, rate=0.6) * MASK[..., None]]
    (to_y,) = student.gradient("checking.fakes.weighted_both", made, G, x, y, c, MASK, wrt=[y])
    to_y = expect.tensor(to_y, WORDS, "the gradient of y")
    expect.true(not to_y[~MASK].any(), "padding gets a gradient", to_y[~MASK], 0)


@joint_block
def test_the_tables(student):
    """tables are 0 at first, and then at c = 0 nothing changes; each belongs to its stream"""
    made = student.new("text_to_image.JointBlock", 8, 2)
    x, y, c = streams()
    x, y = x.float(), y.float()
    got = both(made(x, y, torch.zeros(3, 48)))
    for name, tokens, want in zip("xy", got, (x, y), strict=True):
        expect.true(torch.equal(tokens, want), f"a new block changes {name} at c = 0: no gate is 0")
    count = sum(math.prod(shape) for shape in student.checking.fakes.shapes(made).values())
    expect.true(count == 1776, "the number of weights of JointBlock(8, 2)", count, 1776)
    s = filled(student, made)
    x, y, _ = streams()
    in_both_tables(made(x, y, 0 * c), "at c zero", "not the formula's at c = 0")
    one, other = "image_table", "text_table"
    student.checking.fakes.put(made, {one: s[other], other: s[one]})
    says = "not the formula's: look at which table goes where"
    in_both_tables(made(x, y, c), "other tables", says)


@joint_block
def test_streams_with_equal_weights(student):
    """with equal weights both streams are treated alike"""
    made = student.new("text_to_image.JointBlock", 8, 2)
    s = filled(student, made)
    for name in s:
        other = name.replace("joint.text", "joint.image").replace("text_", "image_")
        s[name] = s[other]
    student.checking.fakes.put(made, s)
    x, y, c = streams()
    one = both(made(x, y, c))
    other = both(made(y, x, c), shapes=(WORDS, X))
    says = "with equal weights x and y may change places"
    expect.close(other[1], one[0], says, **DOUBLE)
    expect.close(other[0], one[1], says, **DOUBLE)


@joint_block
def test_the_slopes_of_a_block(student):
    """gradients reach x, y, c, tables and weights of both streams"""
    made = student.new("text_to_image.JointBlock", 8, 2)
    filled(student, made)
    x, y, c = streams()
    G = [waves(*X, rate=0.7), waves(*WORDS, rate=0.6) * MASK[..., None]]
    weights, *given = student.gradient(
        "checking.fakes.weighted_both", made, G, x, y, c, MASK, wrt=[made, x, y, c]
    )
    found = {**weights, **dict(zip("xyc", given, strict=True))}
    shapes = {"x": X, "y": WORDS, "c": (3, 48), **student.checking.fakes.shapes(made)}
    for name in (*"xyc", "image_table", "text_table", "joint.image.qkv.weight",
                 "joint.text.out.weight", "image_mlp.0.weight", "text_mlp.2.bias"):  # fmt: skip
        says = f"the gradient of {name}"
        want = BLOCKS["to " + re.sub(r"[^a-z]", "_", name)]
        in_the_table(found[name], shapes[name], want, says, says)


@joint_block
def test_an_image_without_words(student):
    """where all is padding nothing is NaN, and words of other examples are as ever"""
    made = student.new("text_to_image.JointBlock", 8, 2)
    filled(student, made)
    x, y, c = streams()
    usual, mask = both(made(x, y, c, MASK), MASK), MASK.clone()
    mask[1] = False
    got = both(made(x, y, c, mask), mask)
    for n in (0, 2):
        says = "another example's words are all padding"
        expect.close(got[0][n], usual[0][n], says, **DOUBLE)
        expect.close(got[1][n], usual[1][n], says, **DOUBLE)
    in_the_table(got[0][1:2], (1, 4, 8), BLOCKS["x of no words"], "the image without words", "x")
    none = torch.zeros_like(mask)
    x_alone = both(made(x, y, c, none), none)[0][1:2]
    expect.close(x_alone, got[0][1:2], "no text has a word: none is attended to", **DOUBLE)
    G = [waves(*X, rate=0.7), waves(*WORDS, rate=0.6) * mask[..., None]]
    weights, *given = student.gradient(
        "checking.fakes.weighted_both", made, G, x, y, c, mask, wrt=[made, x, y, c]
    )
    for name, g in {**weights, **dict(zip("xyc", given, strict=True))}.items():
        finite = isinstance(g, torch.Tensor) and bool(g.isfinite().all())
        expect.true(finite, f"NaN comes to {name} from a text of padding alone")


@joint_block
def test_blocks_of_every_size(student):
    """one example, token, word or head; tokens of any size; float32, as it is made"""
    for dim, heads in ((4, 4), (3, 1)):
        made = student.new("text_to_image.JointBlock", dim, heads)
        filled(student, made)
        x, y = waves(2, 1, dim), waves(2, 1, dim, rate=1.9)
        c = waves(2, 6 * dim, rate=2.1)
        shapes = ((2, 1, dim), (2, 1, dim))
        one = both(made(x, y, c), shapes=shapes)
        alone = made(x[:1], y[:1], c[:1], torch.ones(1, 1).bool())
        alone = both(alone, shapes=((1, 1, dim), (1, 1, dim)))
        for got, want in zip(alone, one, strict=True):
            says = "an example depends on the others of its batch"
            expect.close(got, want[:1], says, **DOUBLE)
    made = student.new("text_to_image.JointBlock", 8, 2)
    filled(student, made)
    x, y, c = streams(300.0)
    in_both_tables(made(x, y, 30 * c, MASK), "large", "tokens of 300, conditions of 30", MASK)
    x, y, c = streams()
    want = both(made(x, y, c, MASK), MASK)
    made.call("float")
    got = both(made(x.float(), y.float(), c.float(), MASK), MASK)
    for one, other in zip(got, want, strict=True):
        expect.close(one, other, "in float32, as in float64", **SINGLE)


@joint_block
def test_each_example_of_a_block_by_itself(student):
    """examples do not meet, and a pass leaves nothing behind"""
    made = student.new("text_to_image.JointBlock", 8, 2)
    filled(student, made)
    student.checking.fakes.holding_gradients(made)
    made.call("eval")
    x, y, c = streams()
    together = both(made(x, y, c, MASK), MASK)
    for n in range(3):
        one = [v[n : n + 1] for v in (x, y, c, MASK)]
        got = both(made(*one), one[3], ((1, 4, 8), (1, 5, 8)))
        for alone, all_ in zip(got, together, strict=True):
            expect.close(alone[0], all_[n], "an example depends on others", **DOUBLE)
    order = [3, 0, 4, 1, 2]
    got = both(made(x[:, [2, 0, 3, 1]], y[:, order], c, MASK[:, order]), MASK[:, order])
    says = "tokens that change places change places"
    expect.close(got[0], together[0][:, [2, 0, 3, 1]], says, **DOUBLE)
    expect.close(got[1], together[1][:, order], says, **DOUBLE)


@joint_block
def test_what_a_block_refuses(student):
    """a c or a mask that does not fit is refused with a ValueError"""
    made = student.new("text_to_image.JointBlock", 8, 2)
    x, y, c = (v.float() for v in streams())
    for other in (c[:, :8], c[:1], c[0], c[:, None]):
        says = f"ValueError for c of shape {tuple(other.shape)}: leave the lines above yours"
        expect.raises("ValueError", lambda o=other: made(x, y, o), says)
    for mask in (MASK[:, :2], MASK[:1], MASK.long(), MASK[0]):
        says = f"ValueError for a mask of {mask.dtype} {tuple(mask.shape)}, words (3, 5)"
        expect.raises("ValueError", lambda m=mask: made(x, y, c, m), says)


# --- text_to_image.TextToImage ------------------------------------------------------------------

# Some numbers of velocities, and of gradients, with the weights of `filled`.
MODELS = numbers("""
usual: 2.49460757559 1.1004745963 1.18431739939 0.611965948379 0.185948672028 -2.44568889167
    0.638082869443 -1.9196693284
usual null: 2.19294571048 1.87223469453 0.356069862974 0.363780360599 -1.66220795825
    -1.99369905084
fine: 0.425068371825 0.105982259844 -1.42785528769 0.262026955247 -0.91898809371 -1.15787935653
    1.00097457027 0.0298653769724
fine null: 0.146763281796 -0.272534878274 0.308083682332 -0.704909303628 0.672710446156
    -0.607186846414
three heads: -0.014383814629 0.695842584361 1.11611325452 0.575525169283 0.365999697145
    0.0261071396844 1.40243685628 -0.147989483738
three heads null: -0.50958254843 1.15642104945 1.26019264191 -0.128103760589 0.880849829503
    0.138144570774
no block: 1.28845420133 2.11695610645 -2.21846599067 -0.962320968159 2.83738494824 2.62349433108
    0.102413990697 -1.06556446414
no block null: -0.92335977779 -2.84173236935 0.244052119615 2.44789989745 0.121293600297
    -0.931176831933
to x_t: -0.0988469698291 -0.05778532272 -0.0767310911239 -0.225407763409 0.182953766369
    0.062385851685
to t: 129.818982311 -18.3069408257 35.8784108221
to embed_weight: 0.534162144206 -0.0571573540094 0.0227333380894 0.0500387854275 -0.328747861645
    -0.518908228357
to level___weight: 0.0728942958896 -0.254993344479 -0.0233381496072 -0.028796689168
    0.0398708016287 -0.000438059312408
to context_weight: 0.416855755804 -0.282238344709 -0.460048369555 -1.34732069835 -1.01699008782
    -0.444791130332
to summary_weight: 0.00533825994504 0.0462538324511 0.0376187192313 -1.79884418449
    0.0864569215723 -0.0178675578711
to modulation_weight: -0.0255076013325 0.385032032787 0.00422564534426 -0.104456272391
    -0.00470013452081 -0.024108689024
to blocks___read_weight: 0.129137045042 0.000624206159573 -0.08612684813 -0.231209584494
    -0.0244520822844 -0.0909789182516
to last_weight: -0.406144835911 -0.0347106954565 -0.0541012184773 0.612527002545 0.152984782558
    0.0882669303918
to out_bias: 0.0438687880289 -0.212533657564 -0.233385556929 0.103832849217 0.0728941953376
    0.332393489632
to null: 0.0576186268781 0.0148058205672 0.267881630908 -0.0427385321354 -0.468968084202
large: 1.56229983614 -0.303060376653 0.0108697398468 0.0580743314147 0.919749158538
    0.103031706255
narrow: 2.38295739668 0.962478589603 1.87496491716 -1.31900191128 0.141071458277 -2.01456135932
""")
SMALL = {"size": 4, "channels": 3, "patch": 2, "dim": 8, "depth": 2, "heads": 2}
VOCABULARY = ["", *"abcdefghi"]
LENGTH, CONTEXT = 6, 5
TOLD = torch.tensor([[3, 1, 9, 4, 0, 0], [5, 5, 2, 8, 7, 1], [6, 0, 0, 0, 0, 0]])
SOME = torch.tensor([[3, 1, 9, 4, 0, 0], [0, 0, 0, 0, 0, 0], [6, 2, 0, 0, 0, 0]])
T = torch.tensor([0.13, 1.0, 0.0], dtype=torch.float64)


def an_encoder(student):
    return student.new("checking.text_fakes.TableEncoder", VOCABULARY, LENGTH, CONTEXT)


def a_model(student, block="checking.text_fakes.SumBlock", **options):
    """A network over a fake encoder, usually with fake blocks; and its encoder."""
    encoder, own = an_encoder(student), {"block": student.function(block)}
    made = student.new("text_to_image.TextToImage", encoder, **{**SMALL, **own, **options})
    filled(student, made)
    return made, encoder


def latents(channels=3, size=4, **_):
    return waves(3, channels, size, size)


def velocity(got, x_t):
    return expect.tensor(got, x_t.shape, "the velocity")


@net
def test_a_new_model_says_0(student):
    """a new model predicts a velocity of 0, whatever it is told"""
    block = student.function("checking.text_fakes.SumBlock")
    made = student.new("text_to_image.TextToImage", an_encoder(student), **SMALL, block=block)
    got = velocity(made(latents().float(), T.float(), SOME), latents())
    expect.true(not got.any(), "a new model predicts a velocity of 0", got, 0)


@net
def test_the_layers_of_a_model(student):
    """its layers have the documented shapes; nothing else has weights"""
    for options in ({}, {"patch": 1, "depth": 1, "dim": 12}):
        sizes = {**SMALL, **options}
        D, F, E = sizes["dim"], 3 * sizes["patch"] ** 2, CONTEXT
        want = {
            "null": (E,), "embed.weight": (D, F), "embed.bias": (D,),
            "level.0.weight": (D, 256), "level.0.bias": (D,),
            "level.2.weight": (D, D), "level.2.bias": (D,),
            "context.weight": (D, E), "context.bias": (D,),
            "summary.weight": (D, E), "summary.bias": (D,),
            "modulation.weight": (6 * D, D), "modulation.bias": (6 * D,),
            "last.weight": (2 * D, D), "last.bias": (2 * D,),
            "out.weight": (F, D), "out.bias": (F,),
            "encoder.word": (10, E), "encoder.place": (LENGTH, E), "encoder.W": (E, E),
            "encoder.b": (E,),
        }  # fmt: skip
        for n in range(sizes["depth"]):
            for name in ("own", "read", "text", "back"):
                want |= {f"blocks.{n}.{name}.weight": (D, D), f"blocks.{n}.{name}.bias": (D,)}
        made, _ = a_model(student, **options)
        got = {n: tuple(shape) for n, shape in student.checking.fakes.shapes(made).items()}
        expect.true(got == want, f"the weights for {options or 'usual options'}", got, want)
        velocity(made(latents(), T, SOME), latents())


OPTIONS = {
    "usual": {},
    "fine": {"patch": 1, "depth": 1},
    "three heads": {"size": 6, "channels": 1, "dim": 12, "heads": 3},
    "no block": {"depth": 0},
}


@net
@pytest.mark.parametrize("name", OPTIONS)
def test_the_velocity(student, name):
    """of captions it is the velocity of the formula"""
    made, _ = a_model(student, **OPTIONS[name])
    x_t = latents(**OPTIONS[name])
    says = f"the velocity is not that of the formula ({OPTIONS[name] or 'usual options'})"
    in_the_table(made(x_t, T, TOLD), x_t.shape, MODELS[name], says, "the velocity")


@net
@pytest.mark.parametrize("name", OPTIONS)
def test_the_velocity_without_a_caption(student, name):
    """without a caption `null` is the only word and the pooled vector, also beside captions"""
    made, _ = a_model(student, **OPTIONS[name])
    x_t = latents(**OPTIONS[name])
    says = f"the second has no caption: `null` stands for it ({OPTIONS[name] or 'usual options'})"
    got = velocity(made(x_t, T, SOME), x_t)
    in_the_table(got[1], x_t.shape[1:], MODELS[f"{name} null"], says, "the velocity")
    alone = made(x_t[1:2], T[1:2], SOME[1:2])
    expect.close(alone, got[1:2], "without a caption, by itself", **DOUBLE)


@net
def test_its_own_blocks(student):
    """with `JointBlock`s an example depends on its own caption and level, and not on padding"""
    made, _ = a_model(student, "text_to_image.JointBlock")
    x_t = latents()
    v = velocity(made(x_t, T, SOME), x_t)
    for what, other in (("tokens", made(x_t, T, TOLD)), ("t", made(x_t, 0.9 - T / 2, SOME))):
        change = (velocity(other, x_t) - v).abs().amax((2, 3))
        seen = change > 1e-7
        rows = [1, 2] if what == "tokens" else [0, 1, 2]
        expect.true(bool(seen[rows].all()), f"every channel depends on {what}", change)
    short = made(x_t, T, SOME[:, :4])
    expect.close(short, v, "rows of 4 tokens, with less padding", **DOUBLE)


@net
def test_null_is_the_same_everywhere(student):
    """without a caption nothing of the encoder counts, nor how much padding there is"""
    made, encoder = a_model(student)
    x_t = latents()
    v = velocity(made(x_t, T, SOME), x_t)
    for n in (1, 4):
        got = velocity(made(x_t, T, torch.zeros(3, n).long()), x_t)
        says = f"without a caption, {n} places of padding"
        expect.close(got[1], v[1], says, what="the velocity", **DOUBLE)
    shapes = student.checking.fakes.shapes(encoder)
    student.checking.fakes.put(encoder, {n: waves(*s, rate=0.9) for n, s in shapes.items()})
    other = velocity(made(x_t, T, SOME), x_t)
    says = "without a caption the encoder does not count, with a caption it does"
    expect.close(other[1], v[1], says, what="the velocity", **DOUBLE)
    expect.true(not torch.allclose(other[::2], v[::2]), says)


@net
def test_where_null_learns(student):
    """`null` learns from examples without a caption, and from no others"""
    made, encoder = a_model(student)
    encoder.call("requires_grad_", True)
    x_t = latents()
    G = waves(*x_t.shape, rate=0.7)
    for name, rows in (("with", [1.0, 0, 1]), ("without", [0, 1.0, 0])):
        weights = G * torch.tensor(rows).double()[:, None, None, None]
        (got,) = student.gradient("checking.fakes.weighted", made, weights, x_t, T, SOME,
                                  wrt=[made])  # fmt: skip
        says = f"the gradient of null from examples {name} a caption"
        if name == "with":
            expect.true(got["null"] is None or not got["null"].any(), says, got["null"], 0)
        else:
            in_the_table(got["null"], (CONTEXT,), MODELS["to null"], says, says)


@net
def test_the_slopes_of_a_model(student):
    """gradients reach x_t, t and all weights but the encoder's, even if those ask for some"""
    made, encoder = a_model(student)
    encoder.call("requires_grad_", True)
    x_t = latents()
    G = waves(*x_t.shape, rate=0.7)
    weights, to_x, to_t = student.gradient(
        "checking.fakes.weighted", made, G, x_t, T, SOME, wrt=[made, x_t, T]
    )
    for name, g in weights.items():
        if name.startswith("encoder."):
            none = g is None or not g.any()
            expect.true(none, f"a gradient reaches {name}: the encoder is frozen", g, "None")
    found = {**weights, "x_t": to_x, "t": to_t}
    shapes = {"x_t": x_t.shape, "t": (3,), **student.checking.fakes.shapes(made)}
    names = ["x_t", "t", "out.bias", "blocks.0.read.weight"]
    linear = ("embed", "level.0", "context", "summary", "modulation", "last")
    for name in (*names, *(f"{layer}.weight" for layer in linear)):
        says = f"the gradient of {name}"
        want = MODELS["to " + re.sub(r"[^a-z]", "_", name)]
        in_the_table(found[name], shapes[name], want, says, says)


@net
def test_padding_of_captions(student):
    """more padding, or less, changes nothing"""
    made, _ = a_model(student)
    x_t = latents()
    v = velocity(made(x_t, T, SOME), x_t)
    for n in (4, 5):
        got = made(x_t, T, SOME[:, :n])
        expect.close(got, v, f"the same captions in rows of {n} tokens", **DOUBLE)


@net
def test_each_example_by_itself(student):
    """examples do not meet, the order of words counts, and a pass leaves nothing behind"""
    made, _ = a_model(student)
    student.checking.fakes.holding_gradients(made)
    made.call("eval")
    x_t = latents()
    velocity(made(x_t, T.flip(0), SOME.flip(0)), x_t)
    v = velocity(made(x_t, T, SOME), x_t)
    for n in range(3):
        alone = made(x_t[n : n + 1], T[n : n + 1], SOME[n : n + 1])
        says = "an example depends on the others of its batch, or on an earlier pass"
        expect.close(alone, v[n : n + 1], says, what="the velocity", **DOUBLE)
    turned = SOME.clone()
    turned[0, :2] = SOME[0, [1, 0]]
    other = velocity(made(x_t, T, turned), x_t)
    expect.true(not torch.allclose(other[0], v[0]), "two words change places, and nothing happens")


@net
def test_numbers_of_any_size(student):
    """latents and velocities of any size; in float32 as in float64; other encoders"""
    made, _ = a_model(student)
    x_t = latents()
    want = velocity(made(x_t, T, SOME), x_t)
    out = filled(student, made)["out.weight"]
    student.checking.fakes.put(made, {"out.weight": 1e3 * out, "out.bias": torch.zeros(12)})
    large = velocity(made(x_t, T, SOME), x_t)
    student.checking.fakes.put(made, {"out.weight": out})
    small = velocity(made(x_t, T, SOME), x_t)
    expect.close(large, 1e3 * small, "velocities of size 1000", atol=1e-8, rtol=1e-9)
    filled(student, made)
    in_the_table(made(1e3 * x_t, T, SOME), x_t.shape, MODELS["large"], "latents of size 1000", "v")
    made.call("float")
    got = made(x_t.float(), T.float(), SOME)
    expect.close(got, want, "in float32, as in float64", **SINGLE)
    encoder = student.new("checking.text_fakes.TableEncoder", VOCABULARY, LENGTH, 1)
    block = student.function("checking.text_fakes.SumBlock")
    made = student.new("text_to_image.TextToImage", encoder, **SMALL, block=block)
    filled(student, made)
    says = "an encoder whose words are one number each"
    in_the_table(made(x_t, T, SOME), x_t.shape, MODELS["narrow"], says, "the velocity")


@net
def test_what_a_model_refuses(student):
    """other sizes, latents, levels or tokens are refused with a ValueError"""
    says = "ValueError: leave the lines above yours as they are"
    encoder = an_encoder(student)
    for size, patch in ((4, 3), (4, 0)):
        make = {**SMALL, "size": size, "patch": patch}
        expect.raises(
            "ValueError",
            lambda m=make: student.new("text_to_image.TextToImage", encoder, **m),
            says,
        )
    made, _ = a_model(student)
    x_t = latents()
    for asked in (
        (x_t[:, :2], T, SOME),
        (x_t[..., :2], T, SOME),
        (x_t, T[:2], SOME),
        (x_t, T[:, None], SOME),
        (x_t, T, SOME[:2]),
        (x_t, T, SOME[0]),
    ):
        expect.raises("ValueError", lambda a=asked: made(*a), says)


# --- text_to_image.sample -----------------------------------------------------------------------

KNOWN = ["", "a", "red", "blue", "ring", "of"]
VALUES = torch.tensor([9.0, 1.0, -2.0, 0.5, 3.0, -1.5, 0.25]).double()  # the last: of no words
SAID, AGAINST = ["a red ring", "blue", ""], ["red", "", "ring of"]


def painter(student, a=0.5, b=-1.0):
    """A velocity a sin(x) + b t + (value of the first word + twice that of the second + …)."""
    return student.new("checking.text_fakes.CaptionField", KNOWN, 4, VALUES, a, b)


def told(texts):
    """What captions add to the velocity."""
    values = []
    for text in texts:
        each = [(1 + i) * float(VALUES[KNOWN.index(w)]) for i, w in enumerate(text.split())]
        values.append(sum(each) if each else float(VALUES[-1]))
    return torch.tensor(values).double()


def column(v, z):
    return v.reshape(-1, *[1] * (z.dim() - 1)) if isinstance(v, torch.Tensor) and v.dim() else v


def walk(z, times, said, against, w, a=0.5, b=-1.0):
    """Steps along v_caption + w (v_caption − v_negative)."""
    y, n, w = column(told(said), z), column(told(against), z), column(w, z)
    for t, t_next in pairwise(times):
        z = z - (t - t_next) * (a * z.sin() + b * t + y + w * (y - n))
    return z


QUARTERS = [1.0, 0.75, 0.5, 0.25, 0.0]


@sample
def test_towards_captions(student):
    """w leads from the empty text to the captions"""
    z = waves(3, 2)
    for w in (0.0, 2.0, -0.5):
        x = student.text_to_image.sample(painter(student), z, 4, SAID, w)
        want = walk(z, QUARTERS, SAID, [""] * 3, w)
        says = f"w = {w}: not the walk along (1 + w) v_caption − w v_∅"
        expect.close(x, want, says, what="x", **DOUBLE)
    x = student.text_to_image.sample(painter(student), z, 10, SAID, 1.0)
    want = walk(z, [i / 10 for i in range(10, -1, -1)], SAID, [""] * 3, 1.0)
    expect.close(x, want, "ten steps with w = 1", what="x", **DOUBLE)


@sample
def test_away_from_a_negative_prompt(student):
    """a negative prompt takes the place of ∅: one for all, or one for each"""
    z = waves(3, 2)
    for negative in ("blue ring", AGAINST, tuple(AGAINST)):
        x = student.text_to_image.sample(painter(student), z, 4, SAID, 2.0, negative)
        each = [negative] * 3 if isinstance(negative, str) else negative
        want = walk(z, QUARTERS, SAID, each, 2.0)
        says = f"away from {negative!r}: not the walk along 3 v_caption − 2 v_negative"
        expect.close(x, want, says, what="x", **DOUBLE)
    short = ["red", "", "blue"]
    x = student.text_to_image.sample(painter(student), z, 4, short, 2.0, "ring of a ring")
    want = walk(z, QUARTERS, short, ["ring of a ring"] * 3, 2.0)
    says = "a negative prompt may be longer than all captions"
    expect.close(x, want, says, what="x", **DOUBLE)


@sample
def test_what_guidance_cannot_change(student):
    """a caption that is its own negative changes nothing; w = −1 follows the negative alone"""
    z = waves(3, 2)
    want = walk(z, QUARTERS, SAID, SAID, 0.0)
    x = student.text_to_image.sample(painter(student), z, 4, SAID, 5.0, negative=SAID)
    expect.close(x, want, "each caption is its own negative", what="x", **DOUBLE)
    x = student.text_to_image.sample(painter(student), z, 4, AGAINST, -1.0, negative=SAID)
    expect.close(x, want, "w = −1: the negative prompts alone", what="x", **DOUBLE)


@sample
def test_what_it_costs(student):
    """w = 0 asks about z's own batch, whatever the negative is; else about both in one call"""
    z = waves(3, 2)
    for w, rows in ((0.0, 3), (0, 3), (1.0, 6), (-1, 6), (1e-4, 6), (torch.tensor(0.0), 6),
                    (torch.zeros(3), 6)):  # fmt: skip
        model = painter(student)
        x = student.text_to_image.sample(model, z, 4, SAID, w, AGAINST)
        weight = w.double() if isinstance(w, torch.Tensor) else w
        says = f"w = {w!r}, with negatives"
        expect.close(x, walk(z, QUARTERS, SAID, AGAINST, weight), says, what="x", **DOUBLE)
        seen = [len(k) for k in model.get("inputs")]
        says = f"w = {w!r}, T = 4: how many examples each call has"
        expect.true(seen == [rows] * 4, says, seen, [rows] * 4)
        kind = model.get("rows")[0].dtype
        expect.true(kind == torch.int64, "tokens are int64, as `tokenize` makes them", kind)


@sample
def test_weights_of_every_form(student):
    """w is one number, also as a tensor, or one for each example; z is of any shape"""
    for B, shape, w in (
        (3, (2,), 2),
        (3, (2, 3, 3), torch.tensor([0.5, -1.0, 20.0])),
        (3, (), torch.tensor([0.5, -1.0, 20.0]).double()),
        (1, (2,), torch.tensor(1.5)),
        (2, (2,), 0.3),
        (1, (2,), 0.0),
    ):
        z = waves(B, *shape, scale=100.0)
        x = student.text_to_image.sample(painter(student), z, 4, SAID[:B], w, AGAINST[:B])
        want = walk(z, QUARTERS, SAID[:B], AGAINST[:B], w)
        expect.close(x, want, f"z of shape {tuple(z.shape)}, w {w!r}", what="x", **DOUBLE)


@sample
def test_levels_of_ones_own(student):
    """`times` are the levels, guided or not"""
    z, falling = waves(3, 2), [0.75, 0.5, 0.125]
    for times in (falling, tuple(falling), torch.tensor(falling)):
        found = {}
        for w in (0.0, 1.5):  # both, before one is looked at
            call, model = student.text_to_image.sample, painter(student)
            found[w] = call(model, z, 2, SAID, w, times=times)
        for w, x in found.items():
            want = walk(z, falling, SAID, [""] * 3, w)
            expect.close(x, want, f"steps of ¼ and ⅜, w = {w}", what="x", **DOUBLE)


@sample
def test_the_words_of_a_model(student):
    """captions and negatives are read by `text.tokenize`, with the vocabulary and the length of
    `model.encoder`"""
    z = waves(2, 2)
    x = student.text_to_image.sample(painter(student), z, 4, ("A  red RING ", "of"), 1.0, " Blue")
    want = walk(z, QUARTERS, ["a red ring", "of"], ["blue"] * 2, 1.0)
    expect.close(x, want, "capital letters and white space make no difference", what="x", **DOUBLE)
    words, value = ["", "ring", "violet"], torch.tensor([7.0, 1.0, 10.0, 0.5]).double()
    other = student.new("checking.text_fakes.CaptionField", words, 2, value)
    x = student.text_to_image.sample(other, z, 1, ["violet ring", "ring"], 1.0, "violet")
    want = z - torch.tensor([[2 * 12.0 - 10], [2 * 1.0 - 10]])
    expect.close(x, want, "the words are those of this model", what="x", **DOUBLE)
    call = student.text_to_image.sample
    says = "ValueError by tokenize: this model takes captions of 2 words"
    expect.raises("ValueError", lambda: call(other, z, 1, ["ring ring ring", "ring"], 1.0), says)


@sample
def test_along_a_network_in_use(student):
    """no graph is made; modes and gradients are left as they are; in float32 too"""
    model, z = painter(student), waves(3, 2).float()
    for method in ("put_to_use", "train"):
        model.call(method)
        for w in (0.0, 2.0):
            x = student.text_to_image.sample(model, z, 4, SAID, w, AGAINST)
            want = walk(z.double(), QUARTERS, SAID, AGAINST, w)
            expect.close(x, want, f"in float32, w = {w}", what="x")
    expect.true(not any(model.get("recorded")), "graphs are made on the way, for nothing")


@sample
def test_what_is_no_sample_is_refused(student):
    """captions or negatives that are not one for each, unknown words, too many words, and no
    walk"""
    z = waves(2, 2)

    def refused(says, *args, **options):
        call, model = student.text_to_image.sample, painter(student)
        says = f"ValueError for {says}"
        expect.raises("ValueError", lambda: call(model, z, *args, **options), says)

    refused("one text in place of a list", 2, "red", 1.0)
    for w in (0.0, 1.0):
        refused("one caption for two", 2, ["red"], w)
        refused("a word that is not known", 2, ["red", "green"], w)
        refused("a caption of 5 words where 4 are allowed", 2, ["red", "a a a a a"], w)
        refused("no steps", 0, ["red", "blue"], w)
        refused("2 levels for 2 steps", 2, ["red", "blue"], w, times=[1.0, 0.0])
    refused("three negatives", 2, ["red", "blue"], 1.0, ["a", "a", "a"])
    refused("a negative that is not known", 2, ["red", "blue"], 1.0, "green")
    refused("weights for three", 2, ["red", "blue"], torch.ones(3))
