"""Public checks of chapter 09, blocks and the DiT."""

import math

import pytest
import torch

from cs231n_gen.checking import expect

modulate = pytest.mark.exercise("dit.modulate")
block = pytest.mark.exercise("dit.Block")
net = pytest.mark.exercise("dit.DiT")


def waves(*shape, rate=7.3, scale=1.0):
    """Any numbers, as long as they are the same everywhere."""
    u = torch.arange(math.prod(shape), dtype=torch.float64)
    return scale * (rate * (1 + u)).sin().reshape(shape)


# --- dit.modulate -------------------------------------------------------------------------------


@modulate
def test_scaled_and_shifted(student):
    """x (1 + scale) + shift: an example has one row for all of its tokens"""
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [0.0, -1.0]], [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]])
    shift, scale = torch.tensor([[10.0, 0.0], [0.0, 0.5]]), torch.tensor([[1.0, 0.5], [-1.0, 0.0]])
    want = torch.tensor(
        [[[12, 3.0], [16, 6], [10, -1.5]], [[0, 1.5], [0, 2.5], [0, 3.5]]], dtype=x.dtype
    )
    expect.close(student.dit.modulate(x, shift, scale), want, "x (1 + scale) + shift")


@modulate
def test_rows_of_0_change_nothing(student):
    """with scale = 0 and shift = 0 tokens stay as they are"""
    x, zero = waves(3, 3, 3), torch.zeros(3, 3).double()
    expect.close(student.dit.modulate(x, zero, zero), x, "rows of 0 change nothing")


@modulate
def test_as_many_tokens_as_examples(student):
    """rows belong to examples, also where there are as many tokens, or one token, or one example"""
    for B, T, D, size in ((3, 3, 3, 1), (1, 4, 2, 1), (2, 1, 5, 1e3), (4, 4, 1, 1)):
        x = waves(B, T, D, scale=size)
        shift, scale = waves(B, D, rate=2.1, scale=size), waves(B, D, rate=1.3, scale=size)
        want = torch.stack([torch.stack([x[n, k] + x[n, k] * scale[n] + shift[n] for k in range(T)])
                            for n in range(B)])  # fmt: skip
        says = f"x (1 + scale) + shift for {B} examples of {T} tokens of {D} numbers"
        expect.close(student.dit.modulate(x, shift, scale), want, says, atol=1e-10, rtol=1e-10)


@modulate
def test_slopes(student):
    """gradients reach x, shift and scale"""
    x, shift, scale = waves(2, 3, 4), waves(2, 4, rate=2.1), waves(2, 4, rate=1.3)
    got = student.gradient("dit.modulate", x, shift, scale, wrt=[x, shift, scale])
    want = [(1 + scale)[:, None].expand(2, 3, 4), torch.full((2, 4), 3.0).double(), x.sum(1)]
    for g, w, name in zip(got, want, ("x", "shift", "scale"), strict=True):
        expect.close(g, w, f"the gradient of {name}", what=f"the gradient of {name}")


@modulate
def test_rows_that_do_not_fit(student):
    """rows that are not (batch, dim) are refused with a ValueError"""
    x, row = waves(3, 4, 5), waves(3, 5)
    for shape in ((5,), (1, 5), (3, 4), (3, 1, 5)):
        other = waves(*shape)
        for rows in ((other, row), (row, other)):
            says = "ValueError: leave the lines above yours as they are"
            expect.raises("ValueError", lambda r=rows: student.dit.modulate(x, *r), says)


# --- dit.Block ----------------------------------------------------------------------------------


def shapes_of(student, module):
    return {name: tuple(shape) for name, shape in student.checking.fakes.shapes(module).items()}


def block_shapes(D, ratio=4, head=0, at=""):
    shapes = {
        "attention.qkv.weight": (3 * D, D), "attention.qkv.bias": (3 * D,),
        "attention.out.weight": (D, D), "attention.out.bias": (D,),
        "mlp.0.weight": (ratio * D, D), "mlp.0.bias": (ratio * D,),
        "mlp.2.weight": (D, ratio * D), "mlp.2.bias": (D,),
        "modulation.weight": (6 * D, D), "modulation.bias": (6 * D,),
    }  # fmt: skip
    if head:
        shapes |= {"attention.q_norm.weight": (head,), "attention.k_norm.weight": (head,)}
    return {at + name: shape for name, shape in shapes.items()}


def filled(student, module):
    """The module with weights that are the same everywhere, in float64."""
    module.call("double")
    module.load(weights_of(shapes_of(student, module)))
    return module


def weights_of(shapes):
    weights = {}
    for n, (name, shape) in enumerate(sorted(shapes.items())):
        size = math.prod(shape[1:]) if len(shape) > 1 else 1
        weights[name] = waves(*shape, rate=1.1 + 0.37 * n, scale=1 / size**0.5)
        if name.endswith("norm.weight"):
            weights[name] = 1 + 0.5 * weights[name]
    return weights


# Numbers of the formula with the weights of `filled`.
BLOCKS = {
    "usual": [
        [
            [1.3823243111568, 0.17562019290906, -1.6910416917996],
            [-0.39003612446272, 1.8518919916876, -3.7014669790823],
        ],
        [
            [0.88569909273921, 1.7881914379202, -2.2550861388709],
            [-0.048001990312525, 2.5141798594425, -2.6630408695067],
        ],
    ],
    "ratio 2": [
        [
            [3.551070732042, 1.5141853864158, -1.1082260522696],
            [1.8957317212007, 3.3534739606252, -3.045564182104],
        ],
        [
            [0.21885166736925, -0.018887097170177, -0.37277298040454],
            [-0.71659896548404, 0.67736270476951, -0.74715334650172],
        ],
    ],
    "QK-norm": [
        [
            [1.0923072345461, 0.50332296598586, -0.61856666391444],
            [-0.51837559722199, 3.0695988331039, -2.561118543925],
        ],
        [
            [1.4603925143644, 3.5730336801983, 0.36317720045886],
            [1.0287704215158, 1.6848149143283, -1.6813513422629],
        ],
    ],
    "grid": [
        [
            [1.1301775381892, 0.77428368708288, -2.0082001189784],
            [1.5682443749376, 0.91082490476222, -3.7044316237139],
        ],
        [
            [0.92856257228669, 1.9923043475545, -2.7056440154906],
            [0.0013416179829134, 2.51402215615, -2.3288525212803],
        ],
    ],
    "small": [[0.81371461035123, -0.54524538172662, -0.77011358625722]],
    "large": [
        [895.14616896766, -931.8655192531, 960.10913815976],
        [-676.42681543867, 606.85141721976, -532.90606250969],
        [-520.13320978022, 595.48286739258, -667.03590646185],
    ],
    "condition": [
        [301.34286533906, 132.23074666604, -199.49486964677],
        [299.83440628701, 133.76267993652, -201.09916093982],
        [300.07444710729, 133.74099045442, -201.41689957446],
    ],
    "four": [
        [0.7027281853307, -0.81225623141719, 0.15127771742819],
        [0.59582568597351, -0.89901899047151, 0.1134654849425],
    ],
}
DITS = {
    "usual": [
        [0.49755313991826, -0.35650456527834],
        [0.42527357293934, 0.425415840559],
        [-0.39808602046076, 0.72782385641413],
    ],
    "classes": [
        [-0.34246075820618, -0.91908240799993],
        [-0.6185530254487, -0.34690695914394],
        [-1.1394234555338, -0.58424921221863],
    ],
    "patch 1": [
        [1.1576440805577, 1.1428831015095],
        [1.3191434822532, 1.3202282091018],
        [1.2195176896282, 1.1988775266307],
    ],
    "RoPE": [
        [0.93974698315812, 0.94778347501045, 0.94227589439086],
        [0.87378979531526, 0.88510185158929, 0.902059504141],
        [0.93620641538939, 0.92107087746575, 0.88436375817062],
    ],
    "large": [
        [2186.4924993883, -2345.4654812508],
        [2574.283080593, 1515.7117813824],
        [-1576.8298987877, 2667.2508516522],
    ],
}
SLOPES = {
    "gates": [
        [-0.03004726133831, 1.84477799135, 0.16131504568949],
        [-5.7857670323625, 5.3861448154386, -0.15794401334219],
    ],
    "x": [
        [0.86975137268534, -0.082627786528851, -0.74138081583012],
        [0.17371590369596, -0.96441651367232, 0.725395649181],
    ],
    "c": [
        [6.058006497601, 3.8048584381542, -0.33366395134385],
        [-1.5394469042208, -1.3325985383296, -0.44010299210125],
    ],
    "attention.qkv.weight": [
        -0.025780172857818,
        -0.033860393172039,
        0.85858135904187,
        -0.12916141381356,
    ],
    "mlp.0.weight": [-0.056580032493754, 0.7952350880449, 0.10485791956632, 0.44285032082105],
    "modulation.weight": [0.24898672231556, -0.097342648315726, -0.16305583290452, 1.7699244327508],
    "t": [-1.1375436857309, 0.89033450554506, -0.051246374878912],
    "x_t": [-0.018499548130039, 0.007594173131737, -0.006998007533889],
    "embed.weight": [0.0065268979349207, 0.007444520636784, 0.016354039289349],
    "level.0.weight": [0.0066052459179769, -0.0016728403981283, 0.00021466403843745],
    "condition.weight": [0.017425203792473, 0.0, -0.019543906883258],
    "blocks.1.mlp.0.weight": [-0.0061474893663906, 0.005935116704706, -0.0016021096174043],
}


@block
def test_a_new_block_is_the_identity(student):
    """a new block is the identity, whatever the condition is"""
    made = student.new("dit.Block", 8, 2)
    x, c = waves(3, 4, 8).float(), waves(3, 8, rate=2.1, scale=10.0).float()
    got = expect.tensor(made(x, c), x.shape)
    expect.true(torch.equal(got, x), "a new block leaves its tokens as they are")
    shared = student.checking.fakes.equal_weights(made, student.new("dit.Block", 8, 2))
    expect.true(not shared, "two new blocks have the same weights")
    (got,) = student.gradient("checking.fakes.weighted", made, x, x, c, wrt=[made])
    moves = got["modulation.bias"]
    for n, branch in ((2, "attention"), (5, "MLP")):
        moved = moves is not None and bool(moves.view(6, 8)[n].any())
        expect.true(
            moved, f"the {branch}'s gate of a new block gets a gradient: its branch is not 0"
        )


@block
def test_the_layers_of_a_block(student):
    """attention, mlp and modulation have the documented shapes; nothing else has weights"""
    for options, head in (({}, 0), ({"ratio": 2, "qk_norm": True}, 4)):
        got = shapes_of(student, student.new("dit.Block", 8, 2, **options))
        want = block_shapes(8, options.get("ratio", 4), head)
        expect.true(got == want, f"the weights of Block(8, 2, {options})", got, want)
    got, want = shapes_of(student, student.new("dit.Block", 6, 3, 3)), block_shapes(6, 3)
    expect.true(got == want, "the weights of Block(6, 3, ratio=3)", got, want)


@block
def test_the_tokens_after_a_block(student):
    """with weights that are not 0, tokens are those of the formula"""
    x, c = waves(2, 6, 8), waves(2, 8, rate=2.1, scale=2.0)
    cases = {
        "usual": ({}, None),
        "ratio 2": ({"ratio": 2}, None),
        "QK-norm": ({"qk_norm": True}, None),
    }
    cases["grid"] = ({}, (2, 3))
    for name, (options, grid) in cases.items():
        made = filled(student, student.new("dit.Block", 8, 2, **options))
        got = expect.tensor(made(x, c, grid), x.shape)
        says = f"the tokens are not those of the formula ({name})"
        expect.close(got[:, ::5, 1:8:3], BLOCKS[name], says, atol=1e-9, rtol=1e-9)
    made = filled(student, student.new("dit.Block", 8, 2))
    got = expect.tensor(made(waves(1, 4, 8), waves(1, 8, rate=2.1)), (1, 4, 8))
    says = "four tokens without a grid: nothing turns"
    expect.close(got[0, ::3, 1:8:3], BLOCKS["four"], says, atol=1e-9, rtol=1e-9)


@block
def test_tokens_and_conditions_of_any_size(student):
    """tokens and conditions of any size, with ε = 10⁻⁶ in the norm; one example, one token"""
    made = filled(student, student.new("dit.Block", 8, 2))
    got = expect.tensor(made(waves(1, 1, 8, scale=2e-3), waves(1, 8, rate=2.1)), (1, 1, 8))
    expect.close(got[0, :, 1:8:3], BLOCKS["small"], "tokens of size 0.002", atol=1e-9, rtol=1e-9)
    got = expect.tensor(made(waves(1, 3, 8, scale=1e3), waves(1, 8, rate=2.1)), (1, 3, 8))
    expect.close(got[0, :, 1:8:3], BLOCKS["large"], "tokens of size 1000", atol=1e-7, rtol=1e-9)
    got = expect.tensor(made(waves(1, 3, 8), waves(1, 8, rate=2.1, scale=30.0)), (1, 3, 8))
    says = "conditions of size 30"
    expect.close(got[0, :, 1:8:3], BLOCKS["condition"], says, atol=1e-7, rtol=1e-9)


@block
def test_what_a_pass_leaves_alone(student):
    """a pass leaves mode and gradients of a block as they are, and depends on no earlier one"""
    made = filled(student, student.new("dit.Block", 8, 2))
    student.checking.fakes.holding_gradients(made)
    made.call("eval")
    x, c = waves(2, 6, 8), waves(2, 8, rate=2.1, scale=2.0)
    expect.tensor(made(x, c.flip(0)), (2, 6, 8))
    got = expect.tensor(made(x, c), (2, 6, 8))
    says = "the second pass in eval mode, with other conditions"
    expect.close(got[:, ::5, 1:8:3], BLOCKS["usual"], says, atol=1e-9, rtol=1e-9)


@block
def test_what_learns_first(student):
    """at first only the gates get a gradient, that of their branch; later everything does"""
    made = student.new("dit.Block", 8, 2)
    c, x = waves(2, 8, rate=2.1), waves(2, 3, 8)
    G = waves(2, 3, 8, rate=0.7)
    shapes = shapes_of(student, made).items()
    state = {name: waves(*shape, rate=1.7, scale=0.5).float() for name, shape in shapes
             if not name.startswith("modulation")}  # fmt: skip
    student.checking.fakes.put(made, state)
    made.call("double")
    (got,) = student.gradient("checking.fakes.weighted", made, G, x, c, wrt=[made])
    moved = {n for n, g in got.items() if g is not None and g.any()}
    want = {"modulation.weight", "modulation.bias"}
    expect.true(moved == want, "what gets a gradient in the first step", moved, want)
    rows = got["modulation.bias"].view(6, 8)
    quiet = not rows[[0, 1, 3, 4]].any()
    expect.true(quiet, "rows of shift and scale get no gradient while their gate is 0")
    says = "the gradient of a gate is ⟨upstream, branch⟩"
    expect.close(rows[[2, 5], ::3], SLOPES["gates"], says, atol=1e-9, rtol=1e-9)


@block
def test_the_slopes_of_a_block(student):
    """gradients of the tokens, of the condition and of weights"""
    made = filled(student, student.new("dit.Block", 8, 2))
    x, c, G = waves(2, 6, 8), waves(2, 8, rate=2.1), waves(2, 6, 8, rate=0.7)
    weights, to_x, to_c = student.gradient(
        "checking.fakes.weighted", made, G, x, c, wrt=[made, x, c]
    )
    expect.close(to_x[:, 0, ::3], SLOPES["x"], "the gradient of x", atol=1e-9, rtol=1e-9)
    expect.close(to_c[:, ::3], SLOPES["c"], "the gradient of c", atol=1e-9, rtol=1e-9)
    for name in ("attention.qkv.weight", "mlp.0.weight", "modulation.weight"):
        says = f"the gradient of {name}"
        expect.close(weights[name][1:20:6, 1], SLOPES[name], says, atol=1e-9, rtol=1e-9)


# --- dit.DiT ------------------------------------------------------------------------------------

SMALL = {"size": 4, "channels": 3, "patch": 2, "dim": 8, "depth": 2, "heads": 2}
ASKED = {
    "usual": {},
    "classes": {"classes": 5},
    "patch 1": {"patch": 1, "depth": 1, "dim": 12, "heads": 3, "qk_norm": True, "classes": 5},
    "RoPE": {"size": 6, "channels": 1, "rope": True, "classes": 5},
}


def asked(classes=0, B=3, **options):
    sizes = {**SMALL, **options}
    x_t = waves(B, sizes["channels"], sizes["size"], sizes["size"])
    y = (torch.tensor([4, 0, 2])[:B],) if classes else ()
    return x_t, torch.tensor([0.13, 1.0, 0.0]).double()[:B], *y


@net
def test_a_new_dit_says_0(student):
    """a new DiT predicts a velocity of 0, so its loss is the mean of (z − x)²"""
    made = student.new("dit.DiT", **SMALL, classes=5)
    x_t, t, y = asked(5)
    got = expect.tensor(made(x_t.float(), t.float(), y), x_t.shape, "the velocity")
    expect.true(not got.any(), "a new DiT predicts a velocity of 0")


@net
def test_the_layers_of_a_dit(student):
    """its layers have the documented shapes; nothing else has weights"""
    for classes, patch, depth, qk_norm in ((5, 2, 2, False), (0, 1, 2, True), (1, 4, 1, False)):
        options = {"classes": classes, "patch": patch, "depth": depth, "qk_norm": qk_norm}
        D, F = 8, 3 * patch**2
        want = {
            "embed.weight": (D, F), "embed.bias": (D,), "level.0.weight": (D, 256),
            "level.0.bias": (D,), "level.2.weight": (D, D), "level.2.bias": (D,),
            "modulation.weight": (2 * D, D), "modulation.bias": (2 * D,),
            "out.weight": (F, D), "out.bias": (F,),
        }  # fmt: skip
        want |= {"condition.weight": (classes, D)} if classes else {}
        for n in range(depth):
            want |= block_shapes(D, 4, D // 2 if qk_norm else 0, f"blocks.{n}.")
        got = shapes_of(student, student.new("dit.DiT", **{**SMALL, **options}))
        expect.true(got == want, f"the weights for {options}", got, want)


@net
def test_the_first_weights(student):
    """weights begin as documented: Xavier's, 0.02 for level and condition, 0 elsewhere"""
    s = student.new("dit.DiT", **{**SMALL, "dim": 32}, classes=50).state()
    for name in ("out.weight", "modulation.weight", "blocks.1.modulation.weight", "embed.bias"):
        expect.true(not s[name].any(), f"{name} is 0 at first")
    for name in ("level.0.weight", "level.2.weight", "condition.weight"):
        off = abs(float(s[name].std()) / 0.02 - 1)
        expect.true(off < 0.2, f"{name} begins as N(0, 0.02²)", float(s[name].std()), 0.02)
    for name in ("blocks.0.mlp.0.weight", "blocks.1.attention.qkv.weight", "embed.weight"):
        bound = math.sqrt(6 / sum(s[name].shape))
        largest = float(s[name].abs().max())
        says = f"{name} begins uniform in ±√(6 / (in + out))"
        expect.true(0.9 * bound < largest <= 1.0001 * bound, says, largest, bound)
    other = student.new("dit.DiT", **{**SMALL, "dim": 32}, classes=50).state()["embed.weight"]
    expect.true(not torch.equal(other, s["embed.weight"]), "two new nets have the same weights")


@net
@pytest.mark.parametrize("name", ASKED)
def test_the_velocity(student, name):
    """with weights that are not 0, the velocity is that of the formula"""
    made = filled(student, student.new("dit.DiT", **{**SMALL, **ASKED[name]}))
    x_t, t, *y = asked(**ASKED[name])
    got = expect.tensor(made(x_t, t, *y), x_t.shape, "the velocity")
    says = f"the velocity is not that of the formula ({name})"
    expect.close(got[:, -1, 1::2, 1], DITS[name], says, atol=1e-8, rtol=1e-8)
    if name == "usual":
        out = weights_of(shapes_of(student, made))["out.weight"]
        student.checking.fakes.put(made, {"out.weight": 1e3 * out})
        got = expect.tensor(made(1e3 * x_t, t), x_t.shape, "the velocity")
        says = "images of size 1000, and velocities of any size"
        expect.close(got[:, -1, 1::2, 1], DITS["large"], says, atol=1e-5, rtol=1e-8)


@net
def test_each_example_by_itself(student):
    """all channels depend on t and on y, of their own example alone"""
    made = filled(student, student.new("dit.DiT", **SMALL, classes=5))
    x_t, t, y = asked(5)
    v = expect.tensor(made(x_t, t, y), x_t.shape, "the velocity")
    for what, other in (("t", made(x_t, t / 2 + 0.3, y)), ("y", made(x_t, t, (y + 1) % 5))):
        change = (other - v).abs().amax((2, 3))
        expect.true(bool((change > 1e-6).all()), f"every channel depends on {what}", change)
    got = made(x_t, t, y.int())
    expect.close(got, v, "conditions as int32, as other whole numbers", atol=1e-9, rtol=1e-9)
    alone = torch.cat([made(x_t[n : n + 1], t[n : n + 1], y[n : n + 1]) for n in range(3)])
    expect.close(alone, v, "an example depends on the others of its batch", atol=1e-9, rtol=1e-9)


@net
def test_what_a_pass_leaves_alone_in_a_dit(student):
    """a pass leaves mode and gradients of a DiT as they are, and depends on no earlier one"""
    made = filled(student, student.new("dit.DiT", **SMALL, classes=5))
    student.checking.fakes.holding_gradients(made)
    made.call("eval")
    x_t, t, y = asked(5)
    expect.tensor(made(x_t, t.flip(0), y), x_t.shape, "the velocity")
    got = expect.tensor(made(x_t, t, y), x_t.shape, "the velocity")
    says = "the second pass in eval mode, with the levels in another order"
    expect.close(got[:, -1, 1::2, 1], DITS["classes"], says, atol=1e-8, rtol=1e-8)


@net
def test_the_slopes_of_a_dit(student):
    """gradients reach x_t, t and weights in every part"""
    made = filled(student, student.new("dit.DiT", **SMALL, classes=5))
    x_t, t, y = asked(5)
    y[2] = y[0]  # a class that comes twice learns from both
    G = waves(*x_t.shape, rate=0.7)
    got, to_x, to_t = student.gradient(
        "checking.fakes.weighted", made, G, x_t, t, y, wrt=[made, x_t, t]
    )
    expect.close(to_t, SLOPES["t"], "the gradient of t", atol=1e-9, rtol=1e-8)
    expect.close(to_x[:, 1, 1, 1], SLOPES["x_t"], "the gradient of x_t", atol=1e-9, rtol=1e-8)
    for name in ("embed.weight", "level.0.weight", "condition.weight", "blocks.1.mlp.0.weight"):
        says = f"the gradient of {name}"
        expect.close(got[name][:5:2, 1], SLOPES[name], says, atol=1e-9, rtol=1e-8)


@net
def test_what_a_dit_refuses(student):
    """other sizes, levels or conditions are refused with a ValueError"""
    says = "ValueError: leave the lines above yours as they are"
    for size, patch in ((4, 3), (4, 0), (2, 4)):
        make = {**SMALL, "size": size, "patch": patch}
        expect.raises("ValueError", lambda m=make: student.new("dit.DiT", **m), says)
    made, bare = student.new("dit.DiT", **SMALL, classes=5), student.new("dit.DiT", **SMALL)
    x_t, t, y = asked(5)
    x_t, t = x_t.float(), t.float()
    expect.raises("ValueError", lambda: made(x_t[:, :2], t, y), says)
    expect.raises("ValueError", lambda: made(x_t[..., :2], t, y), says)
    expect.raises("ValueError", lambda: made(x_t, t[:2], y), says)
    expect.raises("ValueError", lambda: made(x_t, t), says)
    expect.raises("ValueError", lambda: bare(x_t, t, y), says)
