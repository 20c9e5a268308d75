"""Public checks of chapter 13, a Transformer that writes."""

import itertools
import math

import pytest
import torch

from cs231n_gen.checking import expect

block = pytest.mark.exercise("autoregressive.CausalBlock")
net = pytest.mark.exercise("autoregressive.Prior")
next_probabilities = pytest.mark.exercise("autoregressive.next_probabilities")
sample = pytest.mark.exercise("autoregressive.sample", graph=False)

EXACT = {"atol": 1e-10, "rtol": 1e-10}


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def waves(*shape, rate=7.3, scale=1.0):
    """Any numbers, as long as they are the same everywhere."""
    u = torch.arange(math.prod(shape), dtype=torch.float64)
    return scale * (rate * (1 + u)).sin().reshape(shape)


# --- CausalBlock and Prior ------------------------------------------------------------------------


def block_shapes(D, ratio=4, at=""):
    """The shapes of a block's weights, by name."""
    shapes = {
        "norm_1.weight": (D,), "norm_1.bias": (D,), "norm_2.weight": (D,), "norm_2.bias": (D,),
        "attention.qkv.weight": (3 * D, D), "attention.qkv.bias": (3 * D,),
        "attention.out.weight": (D, D), "attention.out.bias": (D,),
        "mlp.0.weight": (ratio * D, D), "mlp.0.bias": (ratio * D,),
        "mlp.2.weight": (D, ratio * D), "mlp.2.bias": (D,),
    }  # fmt: skip
    return {at + name: shape for name, shape in shapes.items()}


def prior_shapes(K, N, classes, D, layers):
    """The shapes of a prior's weights, by name."""
    shapes = {
        "token.weight": (K + 1, D), "place.weight": (N, D), "label.weight": (classes + 1, D),
        "norm.weight": (D,), "norm.bias": (D,), "out.weight": (K, D), "out.bias": (K,),
    }  # fmt: skip
    for n in range(layers):
        shapes |= block_shapes(D, at=f"blocks.{n}.")
    return shapes


def filled(student, module, want):
    """The module with weights that are the same everywhere, in float64."""
    got = {name: tuple(shape) for name, shape in student.checking.fakes.shapes(module).items()}
    expect.true(got == want, "the layers are given: leave them as they are", got, want)
    module.call("double")
    module.load(weights_of(want))
    return module


def weights_of(shapes):
    weights = {}
    for n, (name, shape) in enumerate(sorted(shapes.items())):
        many = len(shape) > 1 and not name.startswith(("token", "place", "label"))
        w = waves(*shape, rate=1.1 + 0.37 * n, scale=2 / shape[1] ** 0.5 if many else 1)
        weights[name] = 1 + 0.5 * w if "norm" in name and name.endswith("weight") else w
    return weights


def in_one(g):
    """One number in which all numbers of a gradient count."""
    return (g * waves(*g.shape, rate=1.3)).sum()


def ran(made, h, past=None):
    """What a block returns: tokens, keys and values."""
    result = made(h) if past is None else made(h, past)
    out, found = expect.unpack(result, ("h", "(k, v)"))
    k, v = expect.unpack(found, ("k", "v"))
    return expect.tensor(out, h.shape, "h"), k, v


def a_block(student, D=8, heads=2, ratio=4):
    options = {} if ratio == 4 else {"ratio": ratio}
    made = student.new("autoregressive.CausalBlock", D, heads, **options)
    return filled(student, made, block_shapes(D, ratio))


def a_past(B=2, heads=2, before=3, head=4):
    return waves(B, heads, before, head, rate=2.3), waves(B, heads, before, head, rate=1.9)


BLOCKS = {"usual": (8, 2, 4), "one head": (6, 1, 4), "four heads": (8, 4, 2)}


# Numbers of the formulas with the weights of `filled`.
NUMBERS = {
    "usual, 2 times 5 tokens": [
        [-2.6756042014879, -2.6560401592777, 6.5883327593912],
        [-1.2354403061298, -4.0752620175734, 7.9886276612589],
        [-1.1368800906072, -4.2340081632569, 8.2534484025575],
        [-2.3592838570458, -2.2184787674372, 5.670773096113],
        [-1.3768336434619, -3.0374910631879, 6.2246387818136],
    ],
    "usual, 1 times 3 tokens": [
        [-5.1255351630386, 0.56894284750586, 5.137111789355],
        [-2.2271077610499, -1.7398464322632, 4.946426786668],
        [-1.9827582730071, -1.8802067638715, 4.9193508011926],
    ],
    "usual, 2 times 1 tokens": [[-2.0820298149605, -1.8747709602986, 5.0038533909657]],
    "usual, 2 times 2 tokens": [
        [-3.8264537189687, -2.2551115583374, 7.3263746102958],
        [-2.3855181112651, -3.7493440018465, 8.880830328646],
    ],
    "one head, 2 times 5 tokens": [
        [1.1129965531673, 1.0749138384704],
        [1.0248819704437, 1.2004375765262],
        [0.89899669594466, 1.3471800478753],
        [0.73560730089004, 1.5096621158472],
        [0.53429936203282, 1.680325464853],
    ],
    "one head, 1 times 3 tokens": [
        [0.71228522468436, 0.66194714882385],
        [0.82553768007043, 0.64391378232745],
        [0.89819696035927, 0.65273648904316],
    ],
    "one head, 2 times 1 tokens": [[0.894992274366, 0.69334632930496]],
    "one head, 2 times 2 tokens": [
        [1.0302873378189, 0.75231775939553],
        [1.0688689808073, 0.79733926729647],
    ],
    "four heads, 2 times 5 tokens": [
        [-0.95508049112346, 1.1794197462892, 3.5097354194953],
        [0.57463301996888, -0.26172091932443, 4.8482581631991],
        [0.58214988367554, -0.21197883976318, 4.8885944321506],
        [-0.93988941338091, 1.8594567784506, 2.5508519791962],
        [0.19090187492839, 0.91796863751624, 3.1150858120548],
    ],
    "four heads, 1 times 3 tokens": [
        [-3.5744724442532, 4.4683309761051, 2.2051064423317],
        [-0.9119060064718, 2.4130571296878, 1.8484224917499],
        [-0.44441382870112, 1.9903103964009, 1.998365327488],
    ],
    "four heads, 2 times 1 tokens": [[-0.4765972058872, 2.0114884563354, 2.0034733975413]],
    "four heads, 2 times 2 tokens": [
        [-2.1070168074848, 1.5780151053414, 4.2544685311887],
        [-0.70545364015477, 0.22634716916451, 5.6272173061819],
    ],
    "remembered 3 0": [
        [
            [1.2779763452954, 0.054270696379069, 1.4525207387887],
            [4.3116506197551, 2.8938167383321, 2.1191646787172],
        ],
        [
            [-0.97587323373079, 0.34469499198728, -1.0006329164529],
            [-3.2374091178853, -1.9097928866832, -1.0432316622767],
        ],
    ],
    "remembered 1 3": [
        [
            [-0.1095194528537, -0.11478481378319, 0.33331393995492, 0.36278467045339],
            [-0.5350731227971, 0.70991130153219, -0.84903188532567, 2.1348183194705],
        ],
        [
            [-0.76140811628854, 0.43616475524782, 0.98058949177553, 0.088033737475282],
            [0.056600767434841, -0.9521464919441, -0.5350731227971, -1.1332600649532],
        ],
    ],
    "remembered 2 2": [
        [
            [-0.5305891777502, 0.3283134938514, 1.9738263756034, 1.2779763452954],
            [-0.1095194528537, -0.11478481378319, 2.7172658704455, 4.3116506197551],
        ],
        [
            [0.34995136895667, -0.81878732212684, -1.5627992093558, -0.97587323373079],
            [-0.76140811628854, 0.43616475524782, -1.6029271730327, -3.2374091178853],
        ],
    ],
    "past 2 3 4": [
        [1.2081233841076, -3.9921054736743, 5.6519386761487],
        [0.62647425712008, -3.4508869352383, 4.9963361154746],
        [-0.088842200255812, -2.481511891441, 3.734385955682],
    ],
    "past 1 1 70": [[1.8335269196248, -4.3181742489918, 5.5125364041923]],
    "past 2 4 1": [
        [2.2539796059582, -3.4017642885527, 3.2889343869817],
        [1.2582639158381, -2.3267174190529, 2.154152465371],
        [2.6546426047927, -3.6728037128748, 3.4923496777286],
        [2.802533185033, -3.9738485121848, 3.9204676588705],
    ],
    "past 2 2 2": [
        [0.31472748807321, -2.8454054679994, 4.0702991296198],
        [1.4997468498719, -4.1929107343966, 5.6616646000929],
    ],
    "slopes 0": {
        "attention.out.bias": -1.982458526787,
        "attention.out.weight": 9.0909600940283,
        "attention.qkv.bias": -7.7254344679266,
        "attention.qkv.weight": -6.8723144339111,
        "mlp.0.bias": -0.23941773889906,
        "mlp.0.weight": -2.2540294185107,
        "mlp.2.bias": -1.7375707597657,
        "mlp.2.weight": -0.062546886552675,
        "norm_1.bias": -0.35464625832104,
        "norm_1.weight": 18.81473315908,
        "norm_2.bias": -0.54483419145903,
        "norm_2.weight": 0.17197579856028,
        "h": 13.381064766426,
    },
    "slopes 2": {
        "attention.out.bias": -3.7108953459497,
        "attention.out.weight": 1.0448968120036,
        "attention.qkv.bias": -6.3028919429951,
        "attention.qkv.weight": -10.401694565843,
        "mlp.0.bias": -0.34282916867708,
        "mlp.0.weight": 1.4133436493207,
        "mlp.2.bias": -1.7375707597657,
        "mlp.2.weight": -0.094737947922844,
        "norm_1.bias": 2.8075370253999,
        "norm_1.weight": -27.32852302897,
        "norm_2.bias": -0.55018830084948,
        "norm_2.weight": 0.78820231804863,
        "h": -2.813253226295,
        "past's keys": -5.8344277578616,
        "past's values": 9.3282673769822,
    },
    "size 0.01": [
        [0.31411030120646, -2.4347137876727, 3.7463103171674],
        [0.48319549729973, -2.5815111050891, 3.7926073588413],
        [0.16695246472317, -2.4986959364471, 3.9820766582597],
    ],
    "size 1000": [
        [964.77238902406, -939.04150052381, 904.81022027824],
        [-13.745799256863, -79.414551673358, 171.08167187214],
        [-956.7047263952, 976.83174482911, -989.68248786086],
    ],
    "high scores": [
        [
            [-208.67442493691, 145.07385618501, -8.5402312423062],
            [-209.61700769933, 146.13002413998, -9.7012568528003],
            [-107.29870221673, 15.334385468833, 84.929769345946],
            [-107.18624411402, 15.077822847241, 85.328118994257],
        ],
        [
            [-0.32310537866845, -1.5379272022802, 3.0702514577565],
            [-2.109988797617, -0.84740291216463, 3.305841037294],
            [-0.70274894068023, -2.2358936467646, 4.6945575157354],
            [0.32548023914837, -2.1631701135804, 3.6775276048606],
        ],
    ],
    "usual 3 4": [
        [2.6818352678131, 2.7102305416089, 2.6497878764579, 2.6836164470337],
        [1.5913269960424, 1.4295084452413, 1.3689486145159, 1.2980505242357],
        [2.532153870243, 2.5963998954756, 2.5278053481503, 2.4330479340199],
    ],
    "usual 1 4": [[2.6818352678131, 2.7102305416089, 2.6497878764579, 2.6836164470337]],
    "usual 2 1": [[2.6818352678131], [1.5913269960424]],
    "twelve labels 3 4": [
        [-2.9709955884429, -3.1618123576887, -3.3468417288702, -3.1460547005301],
        [-2.9020055626954, -3.419235344987, -3.3217984225812, -3.9122158260658],
        [-3.0600935021671, -2.936516173132, -3.4054982355293, -3.5229649662849],
    ],
    "twelve labels 1 4": [[-2.9709955884429, -3.1618123576887, -3.3468417288702, -3.1460547005301]],
    "twelve labels 2 1": [[-2.9709955884429], [-2.9020055626954]],
    "no labels 3 3": [
        [2.532153870243, 2.5591159657185, 2.4745319308464],
        [2.532153870243, 2.5512756227228, 2.4907049192391],
        [2.532153870243, 2.5963998954756, 2.5278053481503],
    ],
    "no labels 1 3": [[2.532153870243, 2.5591159657185, 2.4745319308464]],
    "no labels 2 1": [[2.532153870243], [2.532153870243]],
    "one place 3 1": [[-0.96609683856082], [0.50316533517258], [0.1367845521988]],
    "one place 1 1": [[-0.96609683856082]],
    "one place 2 1": [[-0.96609683856082], [0.50316533517258]],
    "one code 3 2": [
        [1.0112888401245, 1.957782315794],
        [2.0643060549477, 2.4829888995405],
        [0.98326031790388, 1.8227959415023],
    ],
    "one code 1 2": [[1.0112888401245, 1.957782315794]],
    "one code 2 1": [[1.0112888401245], [2.0643060549477]],
    "tiny world": [
        [
            0.68712821247855,
            0.10621496634856,
            0.098855085608089,
            0.014066585232355,
            0.060803265654729,
            0.017889101342375,
            0.012423215581566,
            0.0026195677537758,
        ],
        [
            5.065707808894e-07,
            5.3924695344328e-05,
            5.3426230671579e-05,
            0.0058410760672221,
            4.5260833844206e-05,
            0.0066702746676582,
            0.0061584844403711,
            0.98117704649411,
        ],
        [
            0.001542506769013,
            0.01157312258809,
            0.012351032117709,
            0.079884029086942,
            0.0074391620750411,
            0.088046943538608,
            0.074456535344557,
            0.72470666848004,
        ],
    ],
    "cache": {
        "scores": [
            [0.13355122340963, 0.18717649419112, -1.4854562160104, -0.0045840702248467],
            [-0.39030947098533, -0.63451968195104, -2.0898532855158, -2.3277180391752],
            [0.059246096860034, -0.29988418970098, -0.16340619668592, -2.0262648692009],
        ],
        "keys": [
            [
                [0.68945180556847, 2.7327668982173, 3.8624976203417, 1.7060854861715],
                [7.2841357731037, 0.31037356192991, 1.6541429080365, 7.1043060010486],
            ],
            [
                [-2.5596154616284, -2.3671878755977, -3.0750014535553, -1.4264071426352],
                [-0.98012997160555, -0.75356190641206, -2.0079243343027, -1.8659061742136],
            ],
            [
                [1.0930357367162, 1.2475050640743, 0.53227930351028, -0.42229614499204],
                [-1.2658259667931, -1.4044590785078, -0.7217416673426, 0.077204914523374],
            ],
        ],
        "values": [
            [
                [-0.59042084175747, -2.1573073579506, -3.3788407681025, -1.594769038613],
                [-6.2362273363483, 0.84458032458016, -0.41573716210408, -5.9877832113508],
            ],
            [
                [1.205358186453, 1.3193090521146, 0.33090115159573, -1.1256479831291],
                [2.572976088443, 2.5004989793628, 2.4182790343457, 0.30663082807319],
            ],
            [
                [-0.47663085596333, -0.35582688183931, -0.99622153133706, -1.6280539804717],
                [-0.58814118769434, -0.68937940526008, -0.10051351833457, 0.35512188317675],
            ],
        ],
    },
    "slopes": {
        "blocks.0.attention.out.bias": -0.23847716735701,
        "blocks.0.attention.out.weight": 0.4700600865867,
        "blocks.0.attention.qkv.bias": -0.32772655363448,
        "blocks.0.attention.qkv.weight": -0.063083372302673,
        "blocks.0.mlp.0.bias": -0.011708726886679,
        "blocks.0.mlp.0.weight": -0.35120589483763,
        "blocks.0.mlp.2.bias": -0.22926785654693,
        "blocks.0.mlp.2.weight": -0.002050384395599,
        "blocks.0.norm_1.bias": 0.10733838888959,
        "blocks.0.norm_1.weight": -0.68985876770218,
        "blocks.0.norm_2.bias": -0.030182340987172,
        "blocks.0.norm_2.weight": -0.011180652861827,
        "blocks.1.attention.out.bias": -0.22892870293231,
        "blocks.1.attention.out.weight": 0.076806416668439,
        "blocks.1.attention.qkv.bias": 0.019750895349167,
        "blocks.1.attention.qkv.weight": 0.012337639271093,
        "blocks.1.mlp.0.bias": 0.0053743380210276,
        "blocks.1.mlp.0.weight": 0.050169200426913,
        "blocks.1.mlp.2.bias": -0.29600681758706,
        "blocks.1.mlp.2.weight": -0.03278194259263,
        "blocks.1.norm_1.bias": 0.0019064372371052,
        "blocks.1.norm_1.weight": -0.001619619664697,
        "blocks.1.norm_2.bias": 0.30187021844349,
        "blocks.1.norm_2.weight": 0.24590594098761,
        "label.weight": 0.11931798482291,
        "norm.bias": -1.8258027966912,
        "norm.weight": 0.31491291808103,
        "out.bias": 0.72568048415419,
        "out.weight": 0.052593936195483,
        "place.weight": 0.02413329700948,
        "token.weight": -0.50734128759182,
    },
}


@block
@pytest.mark.parametrize("kind", BLOCKS)
def test_tokens_after_a_block(student, kind):
    """tokens are those of the formula, for any number of tokens and heads"""
    D, heads, ratio = BLOCKS[kind]
    made = a_block(student, D, heads, ratio)
    for B, T in ((2, 5), (1, 3), (2, 1), (2, 2)):
        h, _, _ = ran(made, waves(B, T, D))
        says = f"{B} times {T} tokens of dim {D}, with {heads} heads"
        expect.close(
            h[-1, :, 1::3], NUMBERS[f"{kind}, {B} times {T} tokens"], says, what="h", **EXACT
        )


@block
def test_what_is_remembered(student):
    """keys and values of all tokens come back, (batch, heads, tokens, dim / heads), those of the
    past first"""
    made = a_block(student)
    for T, before in ((3, 0), (1, 3), (2, 2)):
        past = a_past(before=before) if before else None
        _, *found = ran(made, waves(2, T, 8), past)
        for n, name in enumerate(("keys", "values")):
            got = expect.tensor(found[n], (2, 2, before + T, 4), f"the {name}")
            want = NUMBERS[f"remembered {T} {before}"][n]
            says = f"the {name} of {before} earlier tokens and {T} new ones"
            expect.close(got[-1, :, :, 1], want, says, what=f"the {name}", **EXACT)


@block
def test_no_token_sees_a_later_one(student):
    """a token's derivative to a later one is exactly 0, to itself and to earlier ones it is not"""
    made, h = a_block(student), waves(2, 4, 8)
    for before in (0, 2):
        past, silent = a_past(before=before) if before else (), torch.zeros(2, 2, before + 4, 4)
        for t in range(4):
            c = torch.zeros_like(h)
            c[:, t] = waves(2, 8, rate=0.7)
            (to_h,) = student.gradient(
                "checking.fakes.weighted_tokens", made, [c, silent, silent], h, *past, wrt=[h]
            )
            to_h = expect.tensor(to_h, h.shape, "the gradient of h")
            says = f"token {t + 1} of 4 depends on a later one, after {before} of the past"
            later = to_h[:, t + 1 :].abs()
            expect.true(not later.any(), says, later.max() if later.numel() else "", 0)
            seen = to_h[:, : t + 1].abs().amax(2)
            says = f"token {t + 1} depends on itself and on all before it"
            expect.true(bool((seen > 0).all()), says, seen)


@block
def test_in_pieces(student):
    """a sequence that comes in pieces gives the same as at once"""
    made, h = a_block(student), waves(2, 6, 8)
    whole = ran(made, h)
    for lengths in ([1] * 6, [2, 3, 1], [5, 1], [1, 5], [3, 3]):
        past, rows = None, []
        for piece in h.split(lengths, 1):
            row, *past = ran(made, piece, None if past is None else tuple(past))
            rows.append(row)
        for got, want, what in zip(
            (torch.cat(rows, 1), *past), whole, ("h", "k", "v"), strict=True
        ):
            says = f"{what} of pieces of {', '.join(map(str, lengths))} tokens is another"
            expect.close(got, want, says, what=what, **EXACT)


@block
def test_after_a_past(student):
    """new tokens attend to all of the past, and among themselves up to their own place"""
    made = a_block(student)
    for B, T, before in ((2, 3, 4), (1, 1, 70), (2, 4, 1), (2, 2, 2)):
        h, _, _ = ran(made, waves(B, T, 8), a_past(B, before=before))
        says = f"{T} new tokens after {before} of the past"
        expect.close(h[-1, :, 1::3], NUMBERS[f"past {B} {T} {before}"], says, what="h", **EXACT)


@block
def test_slopes_of_a_block(student):
    """tokens, past and all weights get their gradients, through keys and values, too"""
    made = a_block(student)
    for before in (0, 2):
        h, past = waves(2, 3, 8), a_past(before=before) if before else ()
        rates = ((0.7, (2, 3, 8)), (0.3, (2, 2, before + 3, 4)), (0.5, (2, 2, before + 3, 4)))
        c = [waves(*shape, rate=rate) for rate, shape in rates]
        weights, *others = student.gradient(
            "checking.fakes.weighted_tokens", made, c, h, *past, wrt=[made, h, *past]
        )
        found = {name: weights[name] for name in block_shapes(8)}
        found |= dict(zip(("h", "past's keys", "past's values"), others, strict=False))
        for name, want in NUMBERS[f"slopes {before}"].items():
            g = found[name]
            says = f"the gradient of {name}, after {before} tokens of the past"
            expect.true(isinstance(g, torch.Tensor), f"no gradient reaches {name}")
            expect.close(in_one(g), want, says, what=says, atol=1e-9, rtol=1e-9)


@block
def test_tokens_of_any_size(student):
    """tokens of any size, in float32 and in float64; in evaluation as in training"""
    made = a_block(student)
    for mode, size in (("train", 1e-2), ("eval", 1e3)):
        made.call(mode)
        student.checking.fakes.holding_gradients(made)
        h, _, _ = ran(made, waves(2, 3, 8, scale=size), a_past())
        says = f"tokens of size {size:g}, in mode {mode}"
        expect.close(h[-1, :, 1::3], NUMBERS[f"size {size:g}"], says, what="h", **EXACT)
    made.call("float")
    past = tuple(p.float() for p in a_past(before=4))
    h, _, _ = ran(made, waves(2, 3, 8).float(), past)
    expect.close(
        h[-1, :, 1::3], NUMBERS["past 2 3 4"], "tokens in float32", atol=1e-4, rtol=1e-4, what="h"
    )


@block
def test_high_scores_of_a_block(student):
    """scores of thousands: the best key takes all, and later tokens stay hidden"""
    made, weights = a_block(student), weights_of(block_shapes(8))
    weights |= {name: 50 * w for name, w in weights.items() if "qkv" in name}
    made.load(weights)
    for past in (None, a_past()):
        h, _, _ = ran(made, waves(2, 4, 8), past)
        want, what = NUMBERS["high scores"][past is not None], "past" if past else "no past"
        says = f"queries and keys of size 50, {what}"
        expect.close(h[-1, :, 1::3], want, says, what="h", atol=1e-8, rtol=1e-8)


@block
def test_each_example_by_itself(student):
    """an example and its past tell nothing to others"""
    made, h, past = a_block(student), waves(3, 2, 8), a_past(3)
    together = ran(made, h, past)
    alone = [ran(made, h[n : n + 1], tuple(p[n : n + 1] for p in past)) for n in range(3)]
    for got, want, what in zip(zip(*alone, strict=True), together, ("h", "k", "v"), strict=True):
        says = f"{what}: an example depends on the others of its batch"
        expect.close(torch.cat(got), want, says, what=what, **EXACT)


# By place and label numbers that no sequence repeats; ∅ comes last.
SMALL = {"vocabulary": 5, "length": 4, "classes": 3, "dim": 8, "layers": 2, "heads": 2}
PRIORS = {
    "usual": {},
    "twelve labels": {"classes": 12, "layers": 1, "heads": 4},
    "no labels": {"classes": 0, "length": 3},
    "one place": {"length": 1, "heads": 1, "dim": 6},
    "one code": {"vocabulary": 1, "length": 2, "layers": 3},
}


def a_prior(student, **options):
    sizes = {**SMALL, **options}
    made = student.new("autoregressive.Prior", **sizes)
    K, N, classes, D, layers, _ = (sizes[name] for name in SMALL)
    return filled(student, made, prior_shapes(K, N, classes, D, layers))


def some_sequences(B=3, n=4, vocabulary=5, classes=3):
    """Tokens and labels, ∅ among them."""
    tokens = torch.tensor([[3, 0, 4, 1], [2, 2, 0, 4], [4, 1, 3, 0]]) % vocabulary
    y = torch.tensor([classes, 10, 0]) % (classes + 1)
    return tokens[:B, :n], y[:B]


def one_after_another(made, tokens, y):
    """Scores of all tokens, one step after another, and all caches on the way."""
    logits, cache = expect.unpack(made.call("step", None, y), ("logits", "cache"))
    rows, caches = [logits], [cache]
    for last in tokens[:, :-1].unbind(1):
        found = made.call("step", last, y, caches[-1])
        logits, cache = expect.unpack(found, ("logits", "cache"))
        rows.append(logits)
        caches.append(cache)
    return rows, caches


@net
@pytest.mark.parametrize("kind", PRIORS)
def test_scores(student, kind):
    """scores of all tokens, or of the first of them, are those of the formula"""
    made, sizes = a_prior(student, **PRIORS[kind]), {**SMALL, **PRIORS[kind]}
    K, N, classes = (sizes[name] for name in ("vocabulary", "length", "classes"))
    for B, n in ((3, N), (1, N), (2, 1)):
        tokens, y = some_sequences(B, n, K, classes)
        got = expect.tensor(made(tokens, y), (B, n, K), "the scores")
        says = f"{n} of {N} tokens, labels {y.tolist()}, where ∅ is {classes}"
        expect.close(got[..., K // 2], NUMBERS[f"{kind} {B} {n}"], says, what="scores", **EXACT)


@net
def test_probabilities_of_a_tiny_world(student):
    """the probabilities of all sequences sum to 1, for each label and for ∅"""
    made = a_prior(student, vocabulary=2, length=3, classes=2)
    every = torch.tensor([*itertools.product(range(2), repeat=3)])
    for label in range(3):
        logits = expect.tensor(made(every, torch.full((8,), label)), (8, 3, 2), "the scores")
        p = logits.softmax(2).gather(2, every[..., None]).prod(1)[:, 0]
        says = f"all sequences together do not have probability 1, with label {label} of 2"
        expect.close(p.sum(), 1.0, says, atol=1e-12, rtol=0)
        says = f"the probability of each sequence, with label {label} of 2"
        expect.close(p, NUMBERS["tiny world"][label], says, **EXACT)


@net
def test_no_token_sees_itself(student):
    """a token that changes leaves all scores up to its own as they are, bit for bit, and moves all
    after it; the last changes nothing"""
    made = a_prior(student)
    tokens, y = some_sequences()
    logits = expect.tensor(made(tokens, y), (3, 4, 5), "the scores")
    for t in range(4):
        other = tokens.clone()
        other[:, t] = (other[:, t] + 1 + t % 2) % 5
        got = expect.tensor(made(other, y), (3, 4, 5), "the scores")
        moved = (got - logits).abs().amax(2)
        says = f"token {t + 1} changes scores up to its own place"
        expect.true(torch.equal(got[:, : t + 1], logits[:, : t + 1]), says, moved[:, : t + 1], 0)
        says = f"token {t + 1} does not change all scores after it"
        expect.true(bool((moved[:, t + 1 :] > 0).all()), says, moved[:, t + 1 :])


@net
def test_step_after_step(student):
    """one step after another gives the scores of all tokens at once"""
    for options in ({}, {"classes": 12, "heads": 4, "layers": 3}, {"length": 1}):
        made, (tokens, y) = (
            a_prior(student, **options),
            some_sequences(classes=options.get("classes", 3)),
        )
        for B in (3, 1):
            N = options.get("length", 4)
            want = expect.tensor(made(tokens[:B, :N], y[:B]), (B, N, 5), "the scores")
            rows, _ = one_after_another(made, tokens[:B, :N], y[:B])
            for t, row in enumerate(rows):
                says = f"the step to place {t + 1} of {N} gives other scores than all at once"
                expect.close(row, want[:, t], says, what="scores", atol=1e-12, rtol=1e-12)


@net
def test_many_steps(student):
    """a step far from the first still sees all before it"""
    made, tokens = a_prior(student, length=70, layers=1), some_sequences()[0].repeat(1, 18)[:1, :70]
    y = torch.tensor([1])
    want = expect.tensor(made(tokens, y), (1, 70, 5), "the scores")
    rows, _ = one_after_another(made, tokens, y)
    for t, row in enumerate(rows):
        says = f"the step to place {t + 1} of 70 gives other scores than all at once"
        expect.close(row, want[:, t], says, what="scores", atol=1e-12, rtol=1e-12)


@net
def test_what_steps_remember(student):
    """the cache holds keys and values of every block, for all places up to the last"""
    made = a_prior(student, layers=3)
    rows, caches = one_after_another(made, *some_sequences())
    want = NUMBERS["cache"]
    says = "the scores, one step after another"
    expect.close(torch.stack(rows, 1)[..., 2], want["scores"], says, what="scores", **EXACT)
    for t, cache in enumerate(caches):
        blocks = expect.unpack(cache, ["the first block's", "the second's", "the third's"])
        for n, past in enumerate(blocks):
            pair = expect.unpack(past, ("k", "v"))
            for got, name in zip(pair, ("keys", "values"), strict=True):
                got = expect.tensor(got, (3, 2, t + 1, 4), f"the {name} of block {n + 1}")
                wanted = torch.tensor(want[name][n])[:, : t + 1]
                says = f"the {name} of block {n + 1} after the step to place {t + 1}"
                expect.close(got[1, :, :, 1], wanted, says, atol=1e-6, rtol=1e-6)


@net
def test_two_endings(student):
    """a cache stays as it was: two sequences may go on from it, in turn"""
    made = a_prior(student, length=8)
    one, y = some_sequences()
    other = torch.cat([one[:, :1], (one[:, 1:] + 2) % 5], 1)
    found = student.checking.fakes.two_endings(made, y, one[:, :1], one[:, 1:3], other[:, 1:3])
    wants = [expect.tensor(made(tokens, y), (3, 4, 5), "the scores") for tokens in (one, other)]
    for k, got in enumerate(found):
        says = "two sequences that go on from one cache, in turn: one of them has other scores"
        expect.close(got, wants[k % 2][:, 2 + k // 2], says, what="scores", **EXACT)


@net
def test_nothing_is_kept_in_the_prior(student):
    """what a step knows comes from its cache: other calls between two steps change nothing"""
    made = a_prior(student)
    tokens, y = some_sequences()
    want = expect.tensor(made(tokens, y), (3, 4, 5), "the scores")
    _, caches = one_after_another(made, tokens, y)
    one_after_another(made, tokens.flip(1), y.flip(0))
    for t in (2, 0, 1):
        found = made.call("step", tokens[:, t], y, caches[t])
        logits, _ = expect.unpack(found, ("logits", "cache"))
        says = f"place {t + 2}, from a cache of before"
        expect.close(logits, want[:, t + 1], says, what="scores", **EXACT)


@net
def test_slopes_of_a_prior(student):
    """all weights get their gradients, step by step the same as at once"""
    made = a_prior(student)
    tokens, y = some_sequences()
    c, steps = waves(3, 4, 5, rate=0.7), student.function("checking.fakes.step_by_step")
    for way, first in (("at once", [made, c]), ("step by step", [steps, c, made])):
        (got,) = student.gradient("checking.fakes.weighted", *first, tokens, y, wrt=[made])
        for name, want in NUMBERS["slopes"].items():
            expect.true(isinstance(got[name], torch.Tensor), f"no gradient reaches {name}, {way}")
            says = f"the gradient of {name}, {way}"
            expect.close(in_one(got[name]), want, says, what=says, atol=1e-9, rtol=1e-9)


@net
def test_each_sequence_by_itself(student):
    """a sequence and its label tell nothing to others, in evaluation as in training"""
    made = a_prior(student)
    tokens, y = some_sequences()
    made.call("eval")
    student.checking.fakes.holding_gradients(made)
    together = expect.tensor(made(tokens, y), (3, 4, 5), "the scores")
    alone = torch.cat([made(tokens[n : n + 1], y[n : n + 1]) for n in range(3)])
    says = "a sequence depends on the others of its batch"
    expect.close(alone, together, says, what="scores", **EXACT)
    steps = torch.stack(one_after_another(made, tokens[1:2], y[1:2])[0], 1)
    expect.close(steps, together[1:2], "steps of one sequence alone", what="scores", **EXACT)


@net
def test_scores_of_any_size(student):
    """scores have no bounds; in float32 they stay float32"""
    made = a_prior(student)
    tokens, y = some_sequences()
    rows = expect.tensor(made(tokens, y), (3, 4, 5), "the scores")
    out = weights_of(prior_shapes(5, 4, 3, 8, 2))
    student.checking.fakes.put(made, {n: 100 * out[n] for n in ("out.weight", "out.bias")})
    for dtype in (torch.float64, torch.float32):
        made.call("to", dtype)
        steps = torch.stack(one_after_another(made, tokens, y)[0], 1)
        for got, way in ((made(tokens, y), "at once"), (steps, "step by step")):
            got = expect.tensor(got, rows.shape, "the scores")
            expect.true(got.dtype == dtype, f"the dtype of scores, {way}", got.dtype, dtype)
            says = f"with weights of `out` 100 times as large, scores are so, too ({way}, {dtype})"
            expect.close(got, 100 * rows, says, what="scores", atol=1e-2, rtol=1e-4)


@net
def test_what_a_prior_refuses(student):
    """a ValueError for other tokens and labels, for a step beyond the last place, and for a last
    token without a cache"""
    made = a_prior(student)
    tokens, y = some_sequences()
    says = "ValueError: leave the lines above yours as they are"
    for bad in (tokens.repeat(1, 2), tokens[:, :0], tokens[0]):
        expect.raises("ValueError", lambda x=bad: made(x, y), says)
    _, caches = one_after_another(made, tokens, y)
    for bad in (y[:2], y[0], y[:, None]):
        expect.raises("ValueError", lambda z=bad: made(tokens, z), says)
        steps = (tokens[:, 0], bad, caches[0])
        expect.raises("ValueError", lambda a=steps: made.call("step", *a), says)
    expect.raises("ValueError", lambda: made.call("step", tokens[:, 3], y, caches[3]), says)
    expect.raises("ValueError", lambda: made.call("step", None, y, caches[0]), says)
    expect.raises("ValueError", lambda: made.call("step", tokens[:, 0], y), says)


# --- next_probabilities and sample --------------------------------------------------------------


def some_world(generator, labels=3, K=3, N=3, spread=1.5):
    """Scores for every label after every prefix; see `fakes.TablePrior`."""
    return spread * normal(generator, labels, sum(K**t for t in range(N)), K)


def shares(scores, null_scores=None, w=0.0, T=1.0, k=None):
    """The probabilities, in float64; for k no two scores may be equal."""
    scores = scores.double()
    if null_scores is not None:
        scores = scores + w * (scores - null_scores.double())
    e = ((scores - scores.max(-1, keepdim=True).values) / T).exp()
    if k is not None and k < e.shape[-1]:
        e = e * (e >= e.sort(-1, descending=True).values[..., k - 1 : k])
    return e / e.sum(-1, keepdim=True)


# --- autoregressive.next_probabilities

SCORES = torch.tensor([[9.0, 3.0, 1.0, 1.0], [1.0, 1.0, 2.0, 4.0]]).double().log()


def probabilities(student, scores, *args, **more):
    p = student.autoregressive.next_probabilities(scores, *args, **more)
    return expect.tensor(p, scores.shape, "the probabilities")


def close(p, want, says, tolerance=1e-12):
    want = torch.as_tensor(want, dtype=torch.float64)
    expect.close(p, want, says, atol=tolerance, rtol=tolerance, what="the probabilities")


@next_probabilities
def test_probabilities_of_scores(student, generator):
    """without guidance and limits each row is the softmax of its scores"""
    want = [[9 / 14, 3 / 14, 1 / 14, 1 / 14], [1 / 8, 1 / 8, 2 / 8, 4 / 8]]
    close(probabilities(student, SCORES), want, "scores log 9, log 3, log 1, log 1: 9 : 3 : 1 : 1")
    for B, K in ((3, 3), (1, 4), (4, 1)):
        scores = normal(generator, B, K)
        says = f"{B} rows of {K} scores: softmax of each row"
        close(probabilities(student, scores), shares(scores), says)


@next_probabilities
def test_guidance_on_scores(student):
    """guidance acts on the scores: ℓ = (1 + w) ℓ_y − w ℓ_∅"""
    null = torch.tensor([[3.0, 3.0, 1.0, 1.0], [1.0, 2.0, 2.0, 2.0]]).double().log()
    p = probabilities(student, SCORES, null, 1.0)
    want = torch.tensor([[27.0, 3, 1, 1], [1, 0.5, 2, 8]]).double()
    close(p, want / want.sum(1, keepdim=True), "w = 1: p_y² / p_∅, up to what makes the sum 1")
    p = probabilities(student, SCORES, null, -2.0)
    want = torch.tensor([[1.0, 3, 1, 1], [1, 4, 2, 1]]).double()
    close(p, want / want.sum(1, keepdim=True), "w = −2: p_∅² / p_y, up to what makes the sum 1")
    p = probabilities(student, SCORES, null, -0.5)
    want = torch.tensor([[27.0, 9, 1, 1], [1, 2, 4, 8]]).double().sqrt()
    close(p, want / want.sum(1, keepdim=True), "w = −½: √(p_y p_∅), up to what makes the sum 1")
    p = probabilities(student, SCORES, SCORES + torch.arange(4).double() / 50, 50.0)
    want = SCORES.exp() * torch.arange(0.0, -4, -1).double().exp()
    close(p, want / want.sum(1, keepdim=True), "w = 50: p_y (p_y / p_∅)⁵⁰", 1e-11)
    far = torch.tensor([[30.0, -30.0, 0.0, 60.0], [-90.0, 0.0, 90.0, 15.0]]).double()
    p = probabilities(student, SCORES + far, null + 2 * far, 1.0)
    want = torch.tensor([[27.0, 3, 1, 1], [1, 0.5, 2, 8]]).double()
    close(p, want / want.sum(1, keepdim=True), "2 ℓ_y − ℓ_∅ is small where both are large", 1e-11)


@next_probabilities
def test_special_weights(student, generator):
    """w = 0 leaves the condition as it is, w = −1 takes it away"""
    null = normal(generator, 2, 4)
    close(probabilities(student, SCORES, null, 0.0), shares(SCORES), "w = 0: p(x_t | y)")
    close(probabilities(student, SCORES, null), shares(SCORES), "w is 0 if none is given")
    close(probabilities(student, SCORES, null, -1.0), shares(null), "w = −1: p(x_t)")
    close(probabilities(student, SCORES, None, 2.0), shares(SCORES), "no ℓ_∅: no guidance")
    for w in (0.01, 2.7):
        close(probabilities(student, SCORES, null, w), shares(SCORES, null, w), f"w = {w}")


@next_probabilities
def test_a_constant_changes_nothing(student, generator):
    """a constant added to a row of either scores changes nothing"""
    null, more = normal(generator, 2, 4), torch.tensor([[5.0], [-7.0]])
    want = shares(SCORES, null, 2.0, 0.7)
    for scores, other in ((SCORES + more, null), (SCORES, null + more)):
        p = probabilities(student, scores, other, 2.0, 0.7)
        close(p, want, "scores plus a constant a row", 1e-11)


@next_probabilities
def test_temperatures(student, generator):
    """the temperature divides the guided scores"""
    want = torch.tensor([[81.0, 9, 1, 1], [1, 1, 4, 16]]).double()
    p = probabilities(student, SCORES, temperature=0.5)
    close(p, want / want.sum(1, keepdim=True), "T = ½ squares the probabilities")
    null = normal(generator, 2, 4)
    p = probabilities(student, SCORES, null, 1.5, 2.0)
    close(p, shares(SCORES, null, 1.5, 2.0), "T = 2, with guidance")


@next_probabilities
def test_limits_of_temperature(student):
    """towards 0 the likeliest token is left, and high temperatures make all alike"""
    cold = probabilities(student, SCORES, temperature=1e-3)
    close(cold, [[1, 0, 0, 0], [0, 0, 0, 1]], "T = 0.001: the highest score only")
    hot = probabilities(student, SCORES, temperature=1e9)
    close(hot, torch.full((2, 4), 1 / 4), "T = 1e9: all alike", 1e-8)
    for T in (1e-9, 1e-5, 1e-3, 0.05, 1e5):
        p = probabilities(student, T * SCORES, temperature=T)
        near = max(1e-11, 1e-14 / T)  # rounding of scores, or of shares of them, divided by T
        close(p, shares(SCORES), f"T = {T:g}, and scores of that size: softmax(ℓ / T)", near)


@next_probabilities
def test_the_k_highest(student, generator):
    """only the k highest scores are left, with sum 1, the others are exactly 0"""
    p = probabilities(student, SCORES, top_k=2)
    close(p, [[9 / 12, 3 / 12, 0, 0], [0, 0, 2 / 6, 4 / 6]], "top_k = 2: the softmax among these")
    for k in (1, 3):
        scores = normal(generator, 3, 5)
        p = probabilities(student, scores, temperature=0.8, top_k=k)
        close(p, shares(scores, T=0.8, k=k), f"top_k = {k}: the softmax among these")
        expect.true(bool(((p != 0).sum(-1) == k).all()), f"top_k = {k}: so many are not 0", p)
    scores = waves(2, 64)
    says = "top_k = 3 of 64, all of them unlikely: the softmax among these"
    close(probabilities(student, scores, top_k=3), shares(scores, k=3), says)


@next_probabilities
def test_the_choice_comes_last(student):
    """the k highest are chosen among the guided scores"""
    null = torch.tensor([[27.0, 1.0, 1.0, 0.125], [1.0, 0.125, 2.0, 16.0]]).double().log()
    p = probabilities(student, SCORES, null, 1.0, top_k=2)
    want = [[0, 9 / 17, 0, 8 / 17], [0, 8 / 10, 2 / 10, 0]]
    close(p, want, "w = 1, top_k = 2: guidance first", 1e-11)


@next_probabilities
def test_all_are_kept(student, generator):
    """top_k as large as the vocabulary, or larger, keeps all"""
    for K in (1, 4):
        scores = normal(generator, 2, K)
        for k in (K, K + 1, 1000):
            says = f"top_k = {k} of {K}: all are kept"
            close(probabilities(student, scores, top_k=k), shares(scores), says)


@next_probabilities
def test_equal_scores_at_the_border(student):
    """of equal scores at the border any are kept, k in all"""
    scores = torch.tensor([[3.0, 2.0, 1.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0, 9.0]]).double()
    p = probabilities(student, scores, top_k=2).sort(-1, descending=True).values
    want = torch.tensor([[3.0, 2.0], [9.0, 0.0]]).double().softmax(1)
    close(p[:, :2], want, "top_k = 2: the highest, and one of the equal ones")
    close(p[:, 2:], torch.zeros(2, 3), "top_k = 2: the others have probability 0", 0.0)


@next_probabilities
def test_high_scores(student):
    """scores of any size give the right probabilities"""
    for size in (1e4, 1e8, 1e30):
        for dtype in (torch.float32, torch.float64):
            scores = torch.tensor([[size, -size, 0.0], [-size, -size, -2 * size]]).to(dtype)
            want, says = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], f"scores of ±{size:g}"
            close(probabilities(student, scores), want, says, 1e-6)
            close(probabilities(student, scores, -scores, 2.0, 0.5, 2), want, says, 1e-6)
            p, hot = probabilities(student, scores, temperature=size), [[1, -1, 0], [-1, -1, -2]]
            want = torch.tensor(hot).double().softmax(-1)
            close(p, want, f"{says}, and a temperature as high", 1e-6)


@next_probabilities
def test_single_and_double_precision(student, generator):
    """probabilities have the precision of the scores"""
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-13)):
        scores, null = normal(generator, 2, 5).to(dtype), normal(generator, 2, 5).to(dtype)
        p = probabilities(student, scores, null, 1.5, 0.7, 3)
        expect.true(p.dtype == dtype, "another precision", p.dtype, dtype)
        close(p, shares(scores, null, 1.5, 0.7, 3), f"in {dtype}", tolerance)


@next_probabilities
def test_gradients_of_probabilities(student, generator):
    """gradients flow into both scores"""
    function = student.function("autoregressive.next_probabilities")
    for k in (None, 3):
        scores, null, c = (normal(generator, 2, 5) for _ in range(3))
        p = shares(scores, null, 1.5, 0.7, k)
        want = p * (c - (p * c).sum(-1, keepdim=True)) / 0.7
        args = [function, c, scores, null, 1.5, 0.7, k]
        found = student.gradient("checking.fakes.weighted", *args, wrt=[scores, null])
        for grad, factor, name in zip(found, (2.5, -1.5), ("ℓ_y", "ℓ_∅"), strict=True):
            expect.true(grad is not None, f"no gradient reaches {name}")
            close(grad, factor * want, f"top_k = {k}: the gradient to {name}", 1e-11)


@next_probabilities
def test_what_probabilities_refuse(student, generator):
    """other shapes, temperatures that are not positive, and top_k below 1 are refused"""
    call = student.autoregressive.next_probabilities
    for shape in ((1, 4), (2, 1), (3, 4), (4,)):
        null = normal(generator, *shape)
        says = f"ValueError for ℓ_∅ of shape {shape}, ℓ_y (2, 4): leave the lines above yours"
        expect.raises("ValueError", lambda null=null: call(SCORES, null, 1.0), says)
    for T in (0.0, -1.0, math.nan):
        says = f"ValueError for temperature {T}: leave the lines above yours"
        expect.raises("ValueError", lambda T=T: call(SCORES, temperature=T), says)
    for k in (0, -1):
        says = f"ValueError for top_k {k}: leave the lines above yours"
        expect.raises("ValueError", lambda k=k: call(SCORES, top_k=k), says)


# --- autoregressive.sample


def written(student, prior, y, *args, N=3, K=3, **more):
    x = student.autoregressive.sample(prior, y, *args, **more)
    x = expect.tensor(x, (len(y), N), "the tokens")
    expect.true(x.dtype == torch.int64, "tokens are whole numbers", x.dtype, torch.int64)
    inside = not x.numel() or 0 <= int(x.min()) <= int(x.max()) < K
    expect.true(inside, "tokens are numbers from 0 to K − 1", x, f"from 0 to {K - 1}")
    return x


def prior_of(student, table, N, null):
    """Scores from a table, in place of a net."""
    return student.new("checking.fakes.TablePrior", table, N, null)


def share_of_each(table, N, y, null, w=0.0, T=1.0, k=None):
    """The probability of every sequence, in the order of `numbers`."""
    K, p, first = table.shape[2], torch.ones(1).double(), 0
    for t in range(N):
        rows = slice(first, first + K**t)
        p = (p[:, None] * shares(table[y, rows], table[null, rows], w, T, k)).flatten()
        first += K**t
    return p


def numbers(x, K):
    """Sequences as numbers whose digits are the tokens."""
    return (x * K ** torch.arange(x.shape[1] - 1, -1, -1)).sum(1)


def fits(outcomes, p, says):
    """A test of χ² whether outcomes, numbers from 0, come as often as p says."""
    n = len(outcomes)
    counts = torch.bincount(outcomes, minlength=len(p)).double()
    expect.true(not counts[p == 0].any(), f"{says}: something came that has probability 0")
    order = p.argsort()
    counts, want = counts[order], n * p[order]
    few = int((want < 5).sum())  # cells that are put into one, with another if that is still small
    few += bool(want[:few].sum() < 5)
    counts, want = (torch.cat([c[:few].sum()[None], c[few:]]) for c in (counts, want))
    freedom = max(1, len(counts) - 1)
    chi = float(((counts - want).square() / want).sum()) / freedom
    far = (chi ** (1 / 3) - 1 + 2 / (9 * freedom)) / math.sqrt(2 / (9 * freedom))
    expect.true(far < 5, says, f"χ² a degree of freedom {chi:.3g}", "about 1")


def likeliest(table, N, y, null, w=0.0):
    """The sequences that always take the token with the highest score."""
    K, rows, found = table.shape[2], torch.zeros_like(y), []
    for _ in range(N):
        x = shares(table[y, rows], table[torch.full_like(y, null), rows], w).argmax(-1)
        found.append(x)
        rows = K * rows + 1 + x
    return torch.stack(found, 1)


def calls_of(prior, N, way):
    """What the prior was asked, call by call: tokens, labels."""
    ways = prior.get("ways")
    says = f"{N} tokens cost {N} calls, all of them of prior{'.step' if way == 'step' else ''}"
    expect.true(ways == [way] * N, says, ", ".join(ways), ", ".join([way] * N))
    return [*zip(prior.get("known"), prior.get("labels"), strict=True)]


def questions(x, y):
    """Rows of tokens and labels, whatever their order."""
    return sorted(torch.cat([x, y[:, None]], 1).tolist())


@sample
def test_frequencies(student, generator):
    """sequences come as often as Π p(x_t | x_<t, y) says"""
    for cached in (True, False):
        table, y = some_world(generator), torch.arange(4000) % 2
        x = written(student, prior_of(student, table, 3, 2), y, cached=cached, generator=generator)
        for label in (0, 1):
            says = f"label {label}: how often each sequence comes"
            fits(numbers(x[y == label], 3), share_of_each(table, 3, label, 2), says)


@sample
def test_guided_frequencies(student, generator):
    """guidance acts token by token, for weights of any sign"""
    for w, cached in ((2.0, True), (-0.7, False)):
        table, y = some_world(generator), torch.arange(6000) % 2
        prior = prior_of(student, table, 3, 2)
        x = written(student, prior, y, w, cached=cached, generator=generator)
        for label in (0, 1):
            says = f"w = {w:g}, label {label}: guide the scores of each token"
            fits(numbers(x[y == label], 3), share_of_each(table, 3, label, 2, w), says)


@sample
def test_guidance_does_not_look_ahead(student, generator):
    """a first token that tells nothing of y stays a coin, whatever the second one tells"""
    # x_1 and, after x_1 = 0, x_2 are coins; after x_1 = 1, x_2 = y with probability .9.
    table = torch.full((3, 3, 2), 0.5).double()
    table[0, 2], table[1, 2] = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    prior, y = prior_of(student, table.log(), 2, 2), torch.ones(4000).long()
    x = written(student, prior, y, 1.0, generator=generator, N=2, K=2)
    odd = 0.9**2 / (0.9**2 + 0.1**2)
    want = torch.tensor([0.25, 0.25, (1 - odd) / 2, odd / 2]).double()
    fits(numbers(x, 2), want, "w = 1: token by token, which is not p(x | y)² / p(x) of sequences")


@sample
def test_frequencies_at_other_temperatures(student, generator):
    """temperature and top_k limit every token"""
    for T, k, w in ((0.5, None, 0.0), (2.0, None, 1.0), (1.5, 2, 1.0)):
        table, y = some_world(generator, K=4, N=2), torch.zeros(4000).long()
        prior = prior_of(student, table, 2, 2)
        x = written(student, prior, y, w, T, k, generator=generator, N=2, K=4)
        says = f"w = {w:g}, temperature = {T:g}, top_k = {k}"
        fits(numbers(x, 4), share_of_each(table, 2, 0, 2, w, T, k), says)


@sample
def test_the_cache_changes_nothing(student, generator):
    """with a cache and without, the same seed gives the same tokens"""
    for w, T, k in ((0.0, 1.0, None), (1.5, 0.8, 3)):
        table = some_world(generator, labels=5, K=4, N=4)
        y, found = torch.arange(20) % 4, []
        for cached in (True, False):
            generator.manual_seed(7)
            prior = prior_of(student, table, 4, 4)
            found.append(written(student, prior, y, w, T, k, cached, generator, N=4, K=4).double())
        says = f"w = {w:g}, temperature = {T:g}, top_k = {k}: cached or not"
        expect.close(found[0], found[1], says, what="the tokens")


@sample
def test_the_likeliest_sequence(student, generator):
    """where one token is far likelier than the others, it is taken"""
    table, y = some_world(generator, labels=13, K=4, N=4), torch.tensor([3, 0, 5, 1, 12, 0])
    for cached in (True, False):
        for w in (0.0, 1.5):
            prior = prior_of(student, table, 4, 2)
            x = written(student, prior, y, w, 1e-9, None, cached, generator, N=4, K=4)
            says = f"w = {w:g}, temperature 1e-9: the highest scores of each label"
            expect.close(x, likeliest(table, 4, y, 2, w), says, what="the tokens")


@sample
def test_what_is_asked_with_a_cache(student, generator):
    """with a cache prior.step is asked once a token, about the tokens written so far"""
    prior, y = prior_of(student, some_world(generator, 5, 4, 4), 4, 4), torch.tensor([3, 0, 2, 0])
    x = written(student, prior, y, generator=generator, N=4, K=4)
    for t, (known, labels) in enumerate(calls_of(prior, 4, "step")):
        says = f"token {t + 1}: last and cache hold the tokens before it"
        expect.true(questions(known, labels) == questions(x[:, :t], y), says, known, x[:, :t])


@sample
def test_what_is_asked_without_a_cache(student, generator):
    """without a cache the prior is asked once a token, about the tokens written so far"""
    prior, y = prior_of(student, some_world(generator, 5, 4, 4), 4, 4), torch.tensor([3, 0, 2, 0])
    x = written(student, prior, y, cached=False, generator=generator, N=4, K=4)
    for t, (known, labels) in enumerate(calls_of(prior, 4, "forward")):
        says = f"token {t + 1}: the prior gets the tokens before it, and one more"
        known = known[:, :t]
        expect.true(questions(known, labels) == questions(x[:, :t], y), says, known, x[:, :t])


@sample
def test_what_is_asked_for_guidance(student, generator):
    """guidance asks about every sequence with y and with ∅ in one call, and w = 0 only with y"""
    for cached, w, null in (
        (True, 1.5, 3), (False, -1.0, 0), (True, 1e-6, 0), (True, 0.0, 3), (False, 0.0, 3)
    ):  # fmt: skip
        y = torch.tensor([2, 1, 4, 5, 1])
        prior = prior_of(student, some_world(generator, 6, 4, 3), 3, null)
        x = written(student, prior, y, w, cached=cached, generator=generator, K=4)
        nothing = torch.full_like(y, null)
        both = (torch.cat([x, x]), torch.cat([y, nothing])) if w else (x, y)
        for t, (known, labels) in enumerate(calls_of(prior, 3, "step" if cached else "forward")):
            says = f"w = {w:g}: each sequence with y{f', and with ∅ = {null}' if w else ''}"
            want = questions(both[0][:, :t], both[1])
            expect.true(questions(known[:, :t], labels) == want, says, labels, both[1])


@sample
def test_the_prior_is_in_eval_mode(student, generator):
    """the prior is asked in eval mode, without a graph, and left in the mode it was in"""
    table, y = some_world(generator), torch.tensor([0, 1, 1])
    for cached in (True, False):
        for mode in ("train", "half_frozen", "put_to_use"):
            prior = prior_of(student, table, 3, 2)
            prior.call(mode)
            x = written(student, prior, y, 1.0, 1e-9, None, cached, generator)
            says = f"a prior in mode {mode}: no part trains while it is asked"
            modes = prior.get("modes")
            expect.true(not any(trains for trains, _ in modes), says)
            expect.true(not any(graph for _, graph in modes), "a graph is recorded")
            expect.close(x, likeliest(table, 3, y, 2, 1.0), says, what="the tokens")


@sample
def test_sequences_of_every_size(student, generator):
    """one sequence, one token, a vocabulary of one, and scores in single precision"""
    for B, N, K, w in (
        (1, 3, 3, 1.5), (4, 1, 3, 0.0), (3, 2, 1, 1.5), (1, 1, 1, 0.0), (1, 66, 1, 0.0)
    ):  # fmt: skip
        for cached in (True, False):
            table, y = some_world(generator, K=K, N=N).float(), torch.arange(B) % 2
            prior = prior_of(student, table, N, 2)
            how = {"cached": cached, "generator": generator, "N": N, "K": K}
            x = written(student, prior, y, w, 1e-9, **how)
            says = f"{B} sequences of {N} tokens out of {K}"
            expect.close(x, likeliest(table, N, y, 2, w), says, what="the tokens")
    table, y = some_world(generator, K=9001, N=1), torch.tensor([0, 1, 1])
    table[:, :, :5000] -= 9
    x = written(student, prior_of(student, table, 1, 2), y, 0.5, 1e-9, N=1, K=9001)
    says = "one token out of 9001"
    expect.close(x, likeliest(table, 1, y, 2, 0.5), says, what="the tokens", atol=0.0, rtol=0.0)


@sample
def test_draws_of_their_own(student, generator):
    """each sequence and each place has draws of its own"""
    p = torch.tensor([0.5, 0.3, 0.2]).double()
    table = p.log().expand(2, 4, 3)  # p(x_2) is p(x_1), whatever x_1 is
    prior, y = prior_of(student, table, 2, 1), torch.zeros(4000).long()
    x = written(student, prior, y, generator=generator, N=2)
    pairs = (p[:, None] * p).flatten()
    fits(numbers(x, 3), pairs, "the tokens of a sequence know of each other")
    for k in (1, 2000):
        two = torch.stack([x[:, 0], x[:, 0].roll(k)], 1)[: 4000 // min(k, 2)]
        fits(numbers(two, 3), pairs, f"sequences {k} apart know of each other")


@sample
def test_the_seed_decides(student, generator):
    """the same seed gives the same tokens, another one others, and none is needed"""
    table, y = some_world(generator, spread=0.5, N=4), torch.arange(40) % 2
    for cached in (True, False):
        prior, more = prior_of(student, table, 4, 2), {"cached": cached, "N": 4}

        def seeded(seed, prior=prior, more=more):
            generator.manual_seed(seed)
            return written(student, prior, y, generator=generator, **more)

        one = seeded(1)
        following = written(student, prior, y, generator=generator, **more)
        says = "the generator's next tokens are the same"
        expect.true(not torch.equal(one, following), says)
        expect.close(seeded(1), one, "a seed does not repeat the tokens", what="the tokens")
        expect.true(not torch.equal(seeded(2), one), "another seed gives the same tokens")
    free = [student.autoregressive.sample(prior, y).tolist() for _ in range(2)]
    expect.true(free[0] != free[1], "without a generator two calls give the same tokens")


@sample
def test_what_sample_refuses(student, generator):
    """temperatures that are not positive and top_k below 1 are refused"""
    prior = prior_of(student, some_world(generator), 3, 2)
    y, call = torch.zeros(2).long(), student.autoregressive.sample
    prior.call("eval")
    for c in (True, False):
        for T in (0.0, -1.0, math.nan):
            says = f"ValueError for temperature {T}, as next_probabilities"
            expect.raises("ValueError", lambda T=T, c=c: call(prior, y, 1.0, T, cached=c), says)
        for k in (0, -2):
            says = f"ValueError for top_k {k}, as next_probabilities"
            expect.raises("ValueError", lambda k=k, c=c: call(prior, y, top_k=k, cached=c), says)
