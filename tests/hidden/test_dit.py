"""Hidden graders of chapter 09, the DiT: blocks that are the identity at first and know their
condition, by hand in float64; the loss of a new DiT, its weights, and how it asks its blocks."""

import math

import pytest
import torch

from cs231n_gen.checking import draws, expect

modulate = pytest.mark.exercise("dit.modulate")
block = pytest.mark.exercise("dit.Block")
net = pytest.mark.exercise("dit.DiT")

# What rounding leaves of numbers of size 1 where all is computed in float64, and in float32.
DOUBLE = {"atol": 1e-10, "rtol": 1e-10}
SINGLE = {"atol": 1e-4, "rtol": 1e-4}


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# --- dit.modulate -------------------------------------------------------------------------------


@modulate(weight=3)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_scaled_and_shifted(student, generator, dtype):
    """it is x (1 + scale) + shift, a row for each example that its tokens share"""
    for B, T, D in ((3, 5, 4), (1, 4, 6), (2, 1, 3), (4, 4, 4), (2, 3, 1)):
        x, shift, scale = normal(generator, B, T, D), *normal(generator, 2, B, D)
        x, shift, scale = (v.to(dtype) for v in (x, shift, scale))
        want = torch.einsum("btd,bd->btd", x, 1 + scale) + shift.repeat_interleave(T, 0).view_as(x)
        says = f"x (1 + scale) + shift for {B} examples of {T} tokens of {D} numbers"
        tolerance = SINGLE if dtype == torch.float32 else DOUBLE
        expect.close(student.dit.modulate(x, shift, scale), want, says, **tolerance)


@modulate
def test_tokens_and_rows_of_any_size(student, generator):
    """tokens, shifts and scales of size 1000"""
    x, shift, scale = normal(generator, 2, 3, 4), *(1e3 * normal(generator, 2, 2, 4))
    want = 1e3 * x * (1 + scale[:, None]) + shift[:, None]
    got = student.dit.modulate(1e3 * x, shift, scale)
    expect.close(got, want, "numbers of size 1000", atol=1e-6, rtol=1e-11)


@modulate
def test_rows_of_0_change_nothing(student, generator):
    """with scale = 0 and shift = 0 tokens stay as they are; with scale = −1 only shift is left"""
    x, shift = normal(generator, 3, 4, 5), normal(generator, 3, 5)
    zero = torch.zeros(3, 5).double()
    expect.close(student.dit.modulate(x, zero, zero), x, "tokens change", **DOUBLE)
    got = student.dit.modulate(x, shift, zero - 1)
    says = "at scale = −1 nothing is left of x"
    expect.close(got, shift[:, None].expand(3, 4, 5), says, **DOUBLE)


@modulate
def test_slopes_of_a_modulation(student, generator):
    """gradients reach x, shift and scale"""
    x, shift, scale = normal(generator, 3, 4, 5), *normal(generator, 2, 3, 5)
    c = normal(generator, 3, 4, 5)
    function = student.function("dit.modulate")
    got = student.gradient(
        "checking.fakes.weighted", function, c, x, shift, scale, wrt=[x, shift, scale]
    )
    want = [c * (1 + scale[:, None]), c.sum(1), (c * x).sum(1)]
    for g, w, name in zip(got, want, ("x", "shift", "scale"), strict=True):
        expect.close(g, w, f"the gradient of {name}", what=f"the gradient of {name}", **DOUBLE)


@modulate
def test_rows_that_do_not_fit(student, generator):
    """a ValueError for a shift or a scale that is not (batch, dim)"""
    x, row = normal(generator, 3, 4, 5), normal(generator, 3, 5)
    for shape in ((5,), (1, 5), (3, 1), (3, 4), (3, 1, 5), (3, 4, 5), (2, 5)):
        other = normal(generator, *shape)
        for rows in ((other, row), (row, other)):
            got = " and ".join(str(tuple(r.shape)) for r in rows)
            says = f"ValueError for tokens (3, 4, 5) with rows {got}"
            expect.raises("ValueError", lambda r=rows: student.dit.modulate(x, *r), says)


# --- by hand ------------------------------------------------------------------------------------


def filled(student, module, generator, spread=0.5):
    """Random float64 weights for a module: them, by name."""
    module.call("double")
    weights = {}
    for name, w in module.state().items():
        size = math.prod(w.shape[1:]) if w.dim() > 1 else 1
        weights[name] = spread * normal(generator, *w.shape) / size**0.5
        if name.endswith("norm.weight"):
            weights[name] = 1 + weights[name]
    module.load(weights)
    return weights


def normed(x):
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / ((x - mean).square().mean(-1, keepdim=True) + 1e-6).sqrt()


def linear(x, s, at):
    return torch.einsum("...i,oi->...o", x, s[at + "weight"]) + s[at + "bias"]


def silu(x):
    return x / (1 + torch.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def turned(x, grid):
    """2-D RoPE of (batch, heads, tokens, dim)."""
    h = x.shape[-1] // 2
    omega = 10000.0 ** (-2 * torch.arange(h // 2).double() / h)
    i = torch.arange(grid[0]).repeat_interleave(grid[1]).double()
    j = torch.arange(grid[1]).repeat(grid[0]).double()
    theta = torch.cat([i[:, None] * omega, j[:, None] * omega], 1)
    z = torch.complex(x[..., :h], x[..., h:]) * torch.polar(torch.ones_like(theta), theta)
    return torch.cat([z.real, z.imag], -1)


def attended(x, s, at, heads, grid=None):
    B, T, D = x.shape
    qkv = linear(x, s, at + "qkv.").view(B, T, 3, heads, D // heads)
    q, k, v = (qkv[:, :, n].transpose(1, 2) for n in range(3))
    if at + "q_norm.weight" in s:
        q = q / (q.square().mean(-1, keepdim=True) + 1e-6).sqrt() * s[at + "q_norm.weight"]
        k = k / (k.square().mean(-1, keepdim=True) + 1e-6).sqrt() * s[at + "k_norm.weight"]
    if grid is not None:
        q, k = turned(q, grid), turned(k, grid)
    p = (q @ k.transpose(-1, -2) / (D // heads) ** 0.5).softmax(-1)
    return linear((p @ v).transpose(1, 2).reshape(B, T, D), s, at + "out.")


def by_hand_block(x, c, s, heads, grid=None, at=""):
    """The block's formula, in float64."""
    D = x.shape[-1]
    rows = linear(silu(c), s, at + "modulation.")[:, None]
    shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = rows.split(D, dim=-1)
    branch = attended(normed(x) * (1 + scale_1) + shift_1, s, at + "attention.", heads, grid)
    x = x + gate_1 * branch
    h = gelu(linear(normed(x) * (1 + scale_2) + shift_2, s, at + "mlp.0."))
    return x + gate_2 * linear(h, s, at + "mlp.2.")


def by_hand_dit(x_t, t, y, s, size, patch, heads, rope=False):
    """The DiT's formula, in float64."""
    B, C, side = len(x_t), x_t.shape[1], size // patch
    dim = s["embed.weight"].shape[0]
    x = torch.stack(
        [
            x_t[:, :, patch * i : patch * i + patch, patch * j : patch * j + patch]
            .permute(0, 2, 3, 1)
            .reshape(B, -1)
            for i in range(side)
            for j in range(side)
        ],
        dim=1,
    )
    x = linear(x, s, "embed.")
    if not rope:
        omega = 10000.0 ** (-torch.arange(dim // 4).double() / (dim // 4))
        i = torch.arange(side).repeat_interleave(side).double()[:, None] * omega
        j = torch.arange(side).repeat(side).double()[:, None] * omega
        # positions are kept in float32, whatever the network's precision is
        x = x + torch.cat([j.sin(), j.cos(), i.sin(), i.cos()], 1).float().double()
    angle = 1000 * t[:, None] * 10000.0 ** (-torch.arange(128).double() / 128)
    c = linear(torch.cat([angle.cos(), angle.sin()], 1), s, "level.0.")
    c = linear(silu(c), s, "level.2.")
    if y is not None:
        c = c + s["condition.weight"][y]
    depth = 1 + max((int(n.split(".")[1]) for n in s if n.startswith("blocks.")), default=-1)
    for n in range(depth):
        x = by_hand_block(x, c, s, heads, (side, side) if rope else None, f"blocks.{n}.")
    shift, scale = linear(silu(c), s, "modulation.")[:, None].chunk(2, -1)
    v = linear(normed(x) * (1 + scale) + shift, s, "out.")
    v = v.view(B, side, side, patch, patch, C).permute(0, 5, 1, 3, 2, 4)
    return v.reshape(B, C, size, size)


def shapes_of(module):
    return {name: tuple(w.shape) for name, w in module.state().items()}


def block_shapes(D, ratio=4, head=0, at=""):
    """The shapes of a block's weights; `head` is the size of a head with QK-norm."""
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


def a_block(student, generator, **options):
    """A block of random size: it, dim and heads."""
    heads = draws.whole(generator, 2, 4)
    dim = 4 * heads * draws.whole(generator, 1, 3)
    return student.new("dit.Block", dim, heads, **options), dim, heads


# --- dit.Block ----------------------------------------------------------------------------------


@block(weight=2)
def test_a_new_block_is_the_identity(student, generator):
    """a new block is the identity, whatever the condition is"""
    for options in ({}, {"ratio": 2}, {"qk_norm": True}):
        made, D, _ = a_block(student, generator, **options)
        x, c = normal(generator, 3, 4, D).float(), 10 * normal(generator, 3, D).float()
        got = made(x, c)
        expect.true(torch.equal(expect.tensor(got, x.shape), x), "a new block changes its tokens")
    one, other = (student.new("dit.Block", 8, 2).state()["mlp.0.weight"] for _ in range(2))
    expect.true(not torch.equal(one, other), "two new blocks have the same weights")


@block(weight=2)
def test_the_layers_of_a_block(student, generator):
    """attention, mlp and modulation have the documented shapes, and nothing else has weights"""
    for ratio, qk_norm in ((4, False), (2, True), (3, False)):
        made, D, heads = a_block(student, generator, ratio=ratio, qk_norm=qk_norm)
        want = block_shapes(D, ratio, D // heads if qk_norm else 0)
        says = f"the weights of a block for dim={D}, ratio={ratio}, qk_norm={qk_norm}"
        got = shapes_of(made)
        expect.true(got == want, says, got, want)
    made, D, heads = a_block(student, generator)
    expect.true(shapes_of(made) == block_shapes(D), "ratio is 4 and qk_norm False unless given")
    for D, heads, ratio in ((6, 3, 3), (10, 5, 1), (9, 1, 4)):
        got, want = shapes_of(student.new("dit.Block", D, heads, ratio)), block_shapes(D, ratio)
        expect.true(got == want, f"the weights of Block({D}, {heads}, {ratio})", got, want)


@block(weight=4)
def test_the_formula_of_a_block(student, generator):
    """with weights that are not 0 it is the documented formula, in float64"""
    for options in ({}, {"ratio": 2}, {"qk_norm": True}):
        made, D, heads = a_block(student, generator, **options)
        s = filled(student, made, generator)
        for B, T in ((3, 5), (1, 4), (2, 1), (2, 9)):  # also squares, which are no grid by that
            x, c = normal(generator, B, T, D), normal(generator, B, D)
            want = by_hand_block(x, c, s, heads)
            says = f"the tokens are not those of the formula, for {options or 'the usual options'}"
            expect.close(made(x, c), want, says, **DOUBLE)


@block
def test_tokens_far_from_0(student, generator):
    """tokens and conditions of any size; tokens are normalised with ε = 10⁻⁶"""
    made, D, heads = a_block(student, generator)
    s = filled(student, made, generator)
    x, c = normal(generator, 2, 4, D), normal(generator, 2, D)
    want = by_hand_block(x, 30 * c, s, heads)
    expect.close(made(x, 30 * c), want, "conditions of size 30", atol=1e-8, rtol=1e-8)
    for size in (1e-3, 1e3):
        x = size * normal(generator, 2, 4, D)
        want = by_hand_block(x, c, s, heads)
        expect.close(made(x, c), want, f"tokens of size {size:g}", atol=1e-8, rtol=1e-8)


@block
def test_a_block_with_a_grid(student, generator):
    """a grid turns queries and keys"""
    made, D, heads = a_block(student, generator)
    s = filled(student, made, generator, spread=1.5)
    x, c = normal(generator, 2, 6, D), normal(generator, 2, D)
    for grid in ((2, 3), (3, 2)):
        want = by_hand_block(x, c, s, heads, grid)
        expect.close(made(x, c, grid), want, f"the tokens of a grid of {grid}", **DOUBLE)
        got = made(x[:1], c[:1], grid)
        expect.close(got, want[:1], f"one example with a grid of {grid}", **DOUBLE)
    want = by_hand_block(x, c, s, heads)
    expect.close(made(x, c, None), want, "without a grid nothing turns", **DOUBLE)


@block
def test_examples_do_not_meet(student, generator):
    """an example and its condition tell nothing to others; tokens that change places change
    places"""
    made, D, _ = a_block(student, generator)
    filled(student, made, generator)
    student.checking.fakes.holding_gradients(made)  # a pass leaves them, and the mode
    made.call("eval")
    x, c = normal(generator, 3, 5, D), normal(generator, 3, D)
    together = expect.tensor(made(x, c), x.shape)
    got = made(x.flip(0), c.flip(0))
    expect.close(got, together.flip(0), "examples that change places change places", **DOUBLE)
    order = torch.randperm(5, generator=generator)
    alone = torch.cat([made(x[n : n + 1], c[n : n + 1]) for n in range(3)])
    expect.close(alone, together, "an example depends on the others of its batch", **DOUBLE)
    got = made(x[:, order], c)
    expect.close(got, together[:, order], "the order of tokens matters without a grid", **DOUBLE)


@block(weight=2)
def test_the_first_gradients(student, generator):
    """at first the gates alone get a gradient, ⟨upstream, branch⟩, and all else exactly 0"""
    made, D, heads = a_block(student, generator)
    made.call("double")
    s = {name: w.double() for name, w in made.state().items()}
    x, c, G = normal(generator, 3, 4, D), normal(generator, 3, D), normal(generator, 3, 4, D)
    (got,) = student.gradient("checking.fakes.weighted", made, G, x, c, wrt=[made])
    branches = {2: attended(normed(x), s, "attention.", heads)}
    branches[5] = linear(gelu(linear(normed(x), s, "mlp.0.")), s, "mlp.2.")
    rows = torch.zeros(3, 6 * D).double()
    for n, branch in branches.items():
        rows[:, n * D : n * D + D] = (G * branch).sum(1)
        expect.true(branch.any(), "a branch is 0 at first, so its gate gets no gradient")
    want = {"modulation.weight": rows.T @ silu(c), "modulation.bias": rows.sum(0)}
    for name, gradient in got.items():
        gradient = torch.zeros(tuple(s[name].shape)).double() if gradient is None else gradient
        expected = want.get(name, torch.zeros_like(gradient))
        says = f"the first gradient of {name}: only gates move, by ⟨upstream, branch⟩"
        expect.close(gradient, expected, says, what=f"the gradient of {name}", **DOUBLE)


@block(weight=2)
def test_all_gradients_of_a_block(student, generator):
    """later every weight, the tokens and the condition get the gradient of the formula"""
    made, D, heads = a_block(student, generator, qk_norm=True)
    s = filled(student, made, generator)
    x, c, G = normal(generator, 2, 4, D), normal(generator, 2, D), normal(generator, 2, 4, D)
    got = student.gradient("checking.fakes.weighted", made, G, x, c, wrt=[made, x, c])
    leaves = {name: w.requires_grad_() for name, w in s.items()}
    x, c = x.requires_grad_(), c.requires_grad_()
    (G * by_hand_block(x, c, leaves, heads)).sum().backward()
    found = {**got[0], "x": got[1], "c": got[2]}
    for name, leaf in {**leaves, "x": x, "c": c}.items():
        says = f"the gradient of {name} is not that of the formula"
        expect.close(found[name], leaf.grad, says, what=f"the gradient of {name}", **DOUBLE)


# --- dit.DiT ------------------------------------------------------------------------------------

SMALL = {"size": 4, "channels": 3, "patch": 2, "dim": 8, "depth": 2, "heads": 2}


def a_dit(student, generator, **options):
    return student.new("dit.DiT", **{**SMALL, **options})


def asked(generator, B=3, classes=0, **options):
    """What a DiT is asked: x_t, t, and y if there are classes."""
    sizes = {**SMALL, **options}
    x_t = normal(generator, B, sizes["channels"], sizes["size"], sizes["size"])
    t = torch.rand(B, generator=generator, dtype=torch.float64)
    y = (torch.randint(classes, (B,), generator=generator),) if classes else ()
    return x_t, t, *y


@net(weight=2)
def test_a_new_dit_says_0(student, generator):
    """a new DiT predicts a velocity of 0, so its loss is 1 + E x² up to sampling"""
    made = a_dit(student, generator, classes=5)
    x_t, t, y = asked(generator, classes=5)
    got = expect.tensor(made(x_t.float(), t.float(), y), x_t.shape, "the velocity")
    expect.true(not got.any(), "a new DiT predicts a velocity of 0")
    x, z = normal(generator, 2, 3, 3, 4, 4).float()
    L = student.flow.loss(made, x, z, t.float(), y)
    says = "the loss of a velocity of 0 is the mean of (z − x)²"
    expect.close(L, (z - x).square().mean(), says, atol=1e-6, rtol=1e-6)


@net(weight=2)
def test_the_layers_of_a_dit(student, generator):
    """its layers have the documented shapes, and nothing else has weights"""
    for classes, patch, depth, qk_norm in ((5, 2, 2, False), (0, 1, 2, True), (1, 4, 1, False)):
        made = a_dit(student, generator, classes=classes, patch=patch, depth=depth, qk_norm=qk_norm)
        D, F_ = 8, 3 * patch**2
        want = {
            "embed.weight": (D, F_), "embed.bias": (D,), "level.0.weight": (D, 256),
            "level.0.bias": (D,), "level.2.weight": (D, D), "level.2.bias": (D,),
            "modulation.weight": (2 * D, D), "modulation.bias": (2 * D,),
            "out.weight": (F_, D), "out.bias": (F_,),
        }  # fmt: skip
        want |= {"condition.weight": (classes, D)} if classes else {}
        for n in range(depth):
            want |= block_shapes(D, 4, D // 2 if qk_norm else 0, f"blocks.{n}.")
        got = shapes_of(made)
        says = f"weights for classes={classes}, patch={patch}, depth={depth}, qk_norm={qk_norm}"
        expect.true(got == want, says, sorted(got.items()), sorted(want.items()))


@net
def test_the_number_of_weights(student, generator):
    """by default it has 4 blocks of dim 96, on 8×8×4 with patches of 2×2, and no classes"""
    made = student.new("dit.DiT")
    D, F_ = 96, 16
    each = 18 * D**2 + 15 * D  # of a block: 4 + 8 + 6 squares, and biases
    want = 4 * each + 2 * F_ * D + F_ + D + (256 * D + D) + (D * D + D) + 2 * (D * D + D)
    got = sum(w.numel() for w in made.state().values())
    expect.true(got == want, "the number of weights of DiT()", got, want)
    x_t, t = normal(generator, 2, 4, 8, 8).float(), torch.rand(2, generator=generator)
    expect.tensor(made(x_t, t), (2, 4, 8, 8), "the velocity")


@net
def test_the_first_weights(student, generator):
    """weights begin as documented: Xavier's, 0.02 for level and condition, 0 elsewhere"""
    s = a_dit(student, generator, dim=32, heads=4, classes=50).state()
    for name, w in s.items():
        zero = name.endswith("bias") or name.split(".")[-2] in ("modulation", "out")
        zero = zero and "attention.out.weight" not in name
        if zero:
            expect.true(not w.any(), f"{name} is 0 at first", w)
        elif name.startswith(("level", "condition")):
            off = abs(float(w.std()) / 0.02 - 1)
            expect.true(off < 0.2, f"{name} begins as N(0, 0.02²)", float(w.std()), 0.02)
        else:
            bound = math.sqrt(6 / sum(w.shape))
            says = f"{name} begins uniform in ±√(6 / (in + out))"
            expect.true(0.9 * bound < float(w.abs().max()) <= bound * 1.0001, says)
    nets = [a_dit(student, generator) for _ in range(2)]
    one, other = (n.state()["blocks.0.mlp.0.weight"] for n in nets)
    expect.true(not torch.equal(one, other), "two new nets have the same weights")


@net(weight=4)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"classes": 5},
        {"patch": 1, "depth": 1, "qk_norm": True, "classes": 2},
        {"size": 6, "patch": 2, "channels": 1, "rope": True, "classes": 3},
        {"size": 8, "patch": 4, "dim": 12, "heads": 3, "depth": 3, "classes": 1},
        {"size": 3, "patch": 3, "dim": 4, "heads": 1, "depth": 1},
    ],
    ids=["no classes", "classes", "patch 1, QK-norm", "RoPE", "3 heads, 3 blocks", "one token"],
)
def test_the_formula_of_a_dit(student, generator, options):
    """with weights that are not 0 it is the documented formula, in float64"""
    made = a_dit(student, generator, **options)
    s = filled(student, made, generator, spread=1.0)
    sizes = {**SMALL, **options}
    for B in (3, 1):
        x_t, t, *y = asked(generator, B, **options)
        want = by_hand_dit(
            x_t, t, y[0] if y else None, s, sizes["size"], sizes["patch"], sizes["heads"],
            "rope" in options,
        )  # fmt: skip
        says = f"the velocity is not that of the formula, for {options or 'no classes'}"
        expect.close(made(x_t, t, *y), want, says, atol=1e-9, rtol=1e-9)


@net
def test_levels_and_classes_reach_all_channels(student, generator):
    """every channel of the velocity depends on t and on y, of its own example alone"""
    made = a_dit(student, generator, classes=5)
    filled(student, made, generator, spread=1.0)
    student.checking.fakes.holding_gradients(made)  # a pass leaves them, and the mode
    made.call("eval")
    x_t, t, y = asked(generator, classes=5)
    v = expect.tensor(made(x_t, t, y), x_t.shape, "the velocity")
    expect.close(made(x_t, t, y.int()), v, "conditions as int32", **DOUBLE)
    of_t = (made(x_t, (t + 0.1) % 1, y) - v).abs().amax((2, 3))
    of_y = (made(x_t, t, (y + 1) % 5) - v).abs().amax((2, 3))
    for what, change in (("t", of_t), ("y", of_y)):
        expect.true(bool((change > 1e-4).all()), f"every channel depends on {what}", change)
    got = made(x_t.flip(0), t.flip(0), y.flip(0))  # the same levels, in another order
    expect.close(got, v.flip(0), "examples that change places change places", **DOUBLE)
    alone = torch.cat([made(x_t[n : n + 1], t[n : n + 1], y[n : n + 1]) for n in range(3)])
    expect.close(alone, v, "an example depends on the others of its batch", **DOUBLE)


@net
def test_a_level_of_0_and_of_1(student, generator):
    """levels t = 0 and t = 1, and tensors in float32"""
    made = a_dit(student, generator, classes=5)
    s = {name: w.clone() for name, w in filled(student, made, generator).items()}
    x_t, _, y = asked(generator, classes=5)
    t = torch.tensor([0.0, 1.0, 0.5]).double()
    want = by_hand_dit(x_t, t, y, s, 4, 2, 2)
    expect.close(made(x_t, t, y), want, "the velocity at the ends", atol=1e-9, rtol=1e-9)
    big = {**s, "out.weight": 1e3 * s["out.weight"]}
    made.load(big)
    want = by_hand_dit(1e3 * x_t, t, y, big, 4, 2, 2)
    expect.close(made(1e3 * x_t, t, y), want, "images of size 1000", atol=1e-6, rtol=1e-9)
    made.load(s)
    want = by_hand_dit(x_t, t, y, s, 4, 2, 2)
    made.call("float")
    got = made(x_t.float(), t.float(), y)
    expect.close(got, want, "the velocity in float32", atol=2e-4, rtol=2e-4)


@net(weight=2)
def test_all_gradients_of_a_dit(student, generator):
    """every weight, x_t and t get the gradient of the formula"""
    made = a_dit(student, generator, classes=5)
    s = filled(student, made, generator, spread=0.7)
    x_t, t, y = asked(generator, classes=5)
    y[2] = y[0]  # a class that comes twice learns from both
    G = normal(generator, *x_t.shape)
    got = student.gradient("checking.fakes.weighted", made, G, x_t, t, y, wrt=[made, x_t, t])
    leaves = {name: w.requires_grad_() for name, w in s.items()}
    x_t, t = x_t.requires_grad_(), t.requires_grad_()
    (G * by_hand_dit(x_t, t, y, leaves, 4, 2, 2)).sum().backward()
    found_by_name = {**got[0], "x_t": got[1], "t": got[2]}
    for name, leaf in {**leaves, "x_t": x_t, "t": t}.items():
        found = found_by_name[name]
        says = f"the gradient of {name} is not that of the formula"
        what = f"the gradient of {name}"
        expect.close(found, leaf.grad, says, what=what, atol=1e-8, rtol=1e-8)


@net
def test_what_a_dit_refuses(student, generator):
    """a ValueError for a patch that does not divide, other images, levels or conditions"""
    for size, patch in ((4, 3), (6, 4), (4, 0), (4, -2), (2, 4)):
        says = f"ValueError for size {size} and patch {patch}"
        make = {"size": size, "patch": patch}
        expect.raises("ValueError", lambda m=make: a_dit(student, generator, **m), says)
    made, bare = a_dit(student, generator, classes=5), a_dit(student, generator)
    x_t, t, y = (v.float() if v.is_floating_point() else v for v in asked(generator, classes=5))
    for shape in ((3, 3, 4, 2), (3, 2, 4, 4), (3, 3, 8, 8), (3, 4, 4), (3, 3, 2, 2)):
        other = normal(generator, *shape).float()
        expect.raises("ValueError", lambda o=other: made(o, t, y), f"ValueError for x_t {shape}")
    for levels in (t[:2], t[:1], t[:, None], t[0]):
        says = f"ValueError for t of shape {tuple(levels.shape)}"
        expect.raises("ValueError", lambda l=levels: made(x_t, l, y), says)
    expect.raises("ValueError", lambda: made(x_t, t), "ValueError where y is missing")
    says = "ValueError for y and a network without conditions"
    expect.raises("ValueError", lambda: bare(x_t, t, y), says)
