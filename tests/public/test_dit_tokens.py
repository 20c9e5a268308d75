"""Public checks of chapter 09, tokens."""

import math
import re

import pytest
import torch

from cs231n_gen.checking import expect

patchify = pytest.mark.exercise("dit_tokens.patchify")
unpatchify = pytest.mark.exercise("dit_tokens.unpatchify")
timestep = pytest.mark.exercise("dit_tokens.timestep_embedding")
position = pytest.mark.exercise("dit_tokens.position_embedding")
rotate = pytest.mark.exercise("dit_tokens.rotate")

# What rounding leaves of tables, where all is computed in float64, and in float32; and of one
# number that is rounded to float32.
TABLE = {"atol": 1e-9, "rtol": 1e-9}
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
SINGLE = {"atol": 2e-5, "rtol": 2e-5}
ROUNDED = {"atol": 1e-9, "rtol": 1.2e-7}
SLOPE = {"atol": 1e-6, "rtol": 1e-6}
H = 1e-5  # a step that leaves ten digits of a slope in float64


def waves(*shape, rate=7.3, scale=1.0):
    """Any numbers, as long as they are the same everywhere."""
    u = torch.arange(math.prod(shape), dtype=torch.float64)
    return scale * (rate * (1 + u)).sin().reshape(shape)


def numbers(table):
    """Names, each followed by numbers, as a dict."""
    parts = re.findall(r"([a-z]+):([^a-z]*)", table)
    return {
        name: torch.tensor([*map(float, of.split())], dtype=torch.float64) for name, of in parts
    }


def same(got, want, says):
    """Each number in its place, to the last bit."""
    got = expect.tensor(got, want.shape)
    expect.true(
        got.dtype == want.dtype, "the precision is that of the input", got.dtype, want.dtype
    )
    expect.true(torch.equal(got, want), says, got, want)


# --- dit_tokens.patchify, dit_tokens.unpatchify -------------------------------------------------

# Batch, channels, height, width, patch.
IMAGES = [(2, 3, 4, 6, 2), (1, 2, 6, 3, 3), (2, 1, 8, 4, 4), (3, 2, 2, 8, 2)]
PLAIN = [(2, 3, 3, 4, 1), (1, 1, 1, 1, 1), (2, 2, 4, 4, 4), (1, 1, 3, 3, 3)]


def coded(P, C):
    """One patch whose number in row p, column q and channel c is 100 c + 10 p + q, and the features
    in the order p, q, c."""
    c, p, q = (torch.arange(n, dtype=torch.float64) for n in (C, P, P))
    x = 100 * c[:, None, None] + 10 * p[:, None] + q
    row = [100.0 * c + 10 * p + q for p in range(P) for q in range(P) for c in range(C)]
    return x[None], torch.tensor(row, dtype=torch.float64)[None, None]


def cut(x, P):
    """Each patch as an image of its own, in the order of the tokens."""
    return [part for row in x.split(P, 2) for part in row.split(P, 3)]


@patchify
def test_two_patches(student):
    """a 2 × 4 image of two channels makes two tokens of eight numbers"""
    x = torch.arange(16.0).reshape(1, 2, 2, 4)
    want = torch.tensor([[0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]]).float()
    got = student.dit_tokens.patchify(x, 2)
    same(got, want[None], "the left patch, then the right; channels of a pixel side by side")


@patchify
def test_rows_columns_and_channels(student):
    """in a token rows of the patch come first, then its columns, then channels"""
    for P, C in ((2, 3), (3, 2), (4, 1)):
        x, want = coded(P, C)
        says = f"100 c + 10 p + q is not at (p · {P} + q) · {C} + c"
        same(student.dit_tokens.patchify(x, P), want, says)


@patchify
def test_patches_row_by_row(student):
    """token i · W/P + j is the patch in row i and column j, square image or not"""
    for rows, columns in ((2, 3), (3, 1), (1, 3), (2, 2)):
        number = torch.arange(rows * columns, dtype=torch.float64)
        x = number.reshape(1, 1, rows, columns).repeat_interleave(2, 2).repeat_interleave(2, 3)
        says = f"{rows} · {columns} patches are in another order"
        want = number[None, :, None].repeat(1, 1, 4)
        same(student.dit_tokens.patchify(x, 2), want, says)


@patchify
def test_each_patch_by_itself(student):
    """a token is what its patch alone would be, for any sizes and precision"""
    for B, C, H_, W, P in IMAGES + PLAIN:
        for x in (waves(B, C, H_, W), waves(B, C, H_, W, scale=1e4).float()):
            alone = [student.dit_tokens.patchify(part, P) for part in cut(x, P)]
            alone = [expect.tensor(a, (B, 1, P * P * C)) for a in alone]
            says = f"not the tokens of its patches, for x {tuple(x.shape)} and patch {P}"
            same(student.dit_tokens.patchify(x, P), torch.cat(alone, 1), says)
    x = waves(2, 3, 4, 5)
    says = "patch 1: the pixels along rows, each with its channels"
    same(student.dit_tokens.patchify(x, 1), x.flatten(2).mT, says)


@patchify
def test_images_that_lie_otherwise(student):
    """an image may lie in memory in any order"""
    x = waves(2, 4, 6, 3)
    for y in (x.permute(0, 3, 1, 2), x.transpose(1, 2).transpose(1, 3)[:, :, ::3, :4]):
        P = 2 if y.shape[2] % 2 == 0 and y.shape[3] % 2 == 0 else 1
        want = student.dit_tokens.patchify(y.clone(memory_format=torch.contiguous_format), P)
        says = "the same image, another order in memory"
        got = student.dit_tokens.patchify(y, P)
        same(
            got, expect.tensor(want, (2, y.shape[2] * y.shape[3] // P**2, P * P * y.shape[1])), says
        )


@patchify
def test_gradients_find_their_pixels(student):
    """the gradient of Σ c · patchify(x) is c, as an image"""
    x, g = waves(2, 3, 4, 6), waves(2, 3, 4, 6, rate=2.1)
    c = expect.tensor(student.dit_tokens.patchify(g, 2), (2, 6, 12))
    function = student.function("dit_tokens.patchify")
    (found,) = student.gradient("checking.fakes.weighted", function, c, x, 2, wrt=[x])
    expect.close(found, g, "a gradient went astray", what="the gradient of x", **DOUBLE)


@patchify
def test_images_that_are_refused(student):
    """x that has not four axes, and a patch that does not divide both sides, raise a ValueError"""
    call = student.dit_tokens.patchify
    for shape in ((3, 4, 4), (1, 2, 3, 4, 4), (4, 4)):
        x = waves(*shape)
        expect.raises("ValueError", lambda x=x: call(x, 2), f"ValueError for x of shape {shape}")
    x = waves(1, 2, 4, 6)
    for patch in (0, -1, -2, 3, 4, 12):
        says = f"ValueError for patch {patch} and 4 × 6 pixels"
        expect.raises("ValueError", lambda p=patch: call(x, p), says)


@unpatchify
def test_two_tokens(student):
    """two tokens of eight numbers make a 2 × 4 image of two channels"""
    tokens = torch.tensor([[0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]]).float()
    got = student.dit_tokens.unpatchify(tokens[None], 2, 2, 4)
    want = torch.arange(16.0).reshape(1, 2, 2, 4)
    same(got, want, "the left patch, then the right; channels of a pixel side by side")


@unpatchify
def test_back_to_rows_columns_and_channels(student):
    """the features of a token fill its rows first, then its columns, then channels"""
    for P, C in ((2, 3), (3, 2), (4, 1)):
        want, tokens = coded(P, C)
        says = f"(p · {P} + q) · {C} + c is not at 100 c + 10 p + q"
        same(student.dit_tokens.unpatchify(tokens, P, P, P), want, says)


@unpatchify
def test_patches_fill_rows(student):
    """token i · W/P + j fills the patch in row i and column j, square image or not"""
    for rows, columns in ((2, 3), (3, 1), (1, 3), (2, 2)):
        number = torch.arange(rows * columns, dtype=torch.float64)
        want = number.reshape(1, 1, rows, columns).repeat_interleave(2, 2).repeat_interleave(2, 3)
        tokens = number[None, :, None].repeat(1, 1, 4)
        says = f"{rows} · {columns} patches are in another order"
        got = student.dit_tokens.unpatchify(tokens, 2, 2 * rows, 2 * columns)
        same(got, want, says)


@unpatchify
def test_each_token_by_itself(student):
    """a patch is what its token alone would be, for any sizes and precision"""
    for B, C, H_, W, P in IMAGES + PLAIN:
        tokens = waves(B, H_ * W // P**2, P * P * C)
        for given in (tokens, (1e4 * tokens).float(), tokens.mT.contiguous().mT):
            got = student.dit_tokens.unpatchify(given, P, H_, W)
            got = expect.tensor(got, (B, C, H_, W))
            says = f"not the patches of its tokens, for images {(B, C, H_, W)} and patch {P}"
            for n, part in enumerate(cut(got, P)):
                alone = given[:, n : n + 1].clone()
                same(student.dit_tokens.unpatchify(alone, P, P, P), part, says)
    tokens = waves(2, 20, 3)
    got = student.dit_tokens.unpatchify(tokens, 1, 4, 5)
    same(got, tokens.mT.reshape(2, 3, 4, 5), "patch 1: the tokens are the pixels")


@unpatchify
def test_gradients_find_their_tokens(student):
    """the gradient of Σ c · unpatchify(tokens) is c, as tokens"""
    tokens, g = waves(2, 6, 12), waves(2, 6, 12, rate=2.1)
    c = expect.tensor(student.dit_tokens.unpatchify(g, 2, 4, 6), (2, 3, 4, 6))
    function = student.function("dit_tokens.unpatchify")
    args = tokens, 2, 4, 6
    (found,) = student.gradient("checking.fakes.weighted", function, c, *args, wrt=[tokens])
    expect.close(found, g, "a gradient went astray", what="the gradient of tokens", **DOUBLE)


@unpatchify
def test_tokens_that_are_refused(student):
    """axes, patches, numbers of tokens and features that do not fit raise a ValueError"""
    call = student.dit_tokens.unpatchify
    for shape, patch, height, width in (
        ((6, 8), 2, 4, 6),
        ((1, 1, 6, 8), 2, 4, 6),
        ((1, 6, 8), 0, 4, 6),
        ((1, 6, 8), -2, 4, 6),
        ((1, 2, 9), 3, 4, 6),
        ((1, 1, 16), 4, 4, 6),
        ((1, 5, 8), 2, 4, 6),
        ((1, 12, 8), 2, 4, 6),
        ((1, 6, 6), 2, 4, 6),
    ):
        says = f"ValueError for tokens {shape}, patch {patch} and {height} × {width} pixels"
        args = waves(*shape), patch, height, width
        expect.raises("ValueError", lambda args=args: call(*args), says)


# --- dit_tokens.timestep_embedding --------------------------------------------------------------

# Of t = 0.25 and 0.8: six numbers each, and six with a scale of 3 and a base of 20.
LEVELS = numbers("""
defaults: 0.24098830529 0.57155348242 0.8584231825 -0.97052801954 -0.82056481568 0.51294214074
    -0.44812751322 0.84383756077 -0.15215809308 0.8939696482 -0.53659870577 0.98835616794
others: 0.73168886887 0.962070729 0.99482380238 0.68163876002 0.2728001327 0.10161497042
    -0.73739371554 0.63393352004 0.94741734204 0.67546318055 0.77338754333 0.32000059374
""")


@timestep
def test_two_numbers_of_a_level(student):
    """dim = 2: cos(1000 t), then sin(1000 t)"""
    t = torch.tensor([0.0, 0.001, 0.5], dtype=torch.float64)
    got = student.dit_tokens.timestep_embedding(t, 2)
    want = torch.stack([(1000 * t).cos(), (1000 * t).sin()], 1)
    expect.close(got, want, "of one wave: cos(1000 t), sin(1000 t)", **DOUBLE)


@timestep
def test_a_table_of_levels(student):
    """dim = 6: three cosines, three sines, each wave slower; with another scale and base, too"""
    t = torch.tensor([0.25, 0.8], dtype=torch.float64)
    got = student.dit_tokens.timestep_embedding(t, 6)
    says = "not cos and sin of 1000 t · 10000^(−k/3)"
    expect.close(got, LEVELS["defaults"].reshape(2, 6), says, **TABLE)
    want = LEVELS["others"].reshape(2, 6)
    for args, named in (((3.0, 20.0), {}), ((), {"base": 20.0, "scale": 3.0})):
        got = student.dit_tokens.timestep_embedding(t, 6, *args, **named)
        expect.close(got, want, "not the formula for s = 3 and base = 20", **TABLE)
    got = student.dit_tokens.timestep_embedding(3 * t, 6, scale=1.0, base=20.0)
    expect.close(got, want, "s t counts: 3 · t is t at a scale of 3", **TABLE)


@timestep
def test_waves_of_many_lengths(student):
    """wave k of h is base^(k/h) times slower than the first"""
    t = torch.tensor([0.0007], dtype=torch.float64)
    for dim in (4, 8, 10):
        h = dim // 2
        e = expect.tensor(student.dit_tokens.timestep_embedding(t, dim), (1, dim)).double()
        slower = 0.7 / torch.atan2(e[0, h:], e[0, :h])
        want = torch.tensor([10000 ** (k / h) for k in range(h)], dtype=torch.float64)
        says = f"the waves are not 1, 10000^(1/{h}), 10000^(2/{h}), … times slower"
        expect.close(slower, want, says, what="how much slower each wave is", atol=0, rtol=1e-8)


@timestep
def test_what_products_depend_on(student):
    """products depend on differences of t alone; each embedding has a length of √(dim / 2)"""
    t = torch.tensor([0.1, 0.35, 0.6, -0.4, 1.3], dtype=torch.float64)
    e = expect.tensor(student.dit_tokens.timestep_embedding(t, 8), (5, 8)).double()
    expect.close(e.square().sum(-1), torch.full((5,), 4.0), "the length of e(t)", **TABLE)
    later = expect.tensor(student.dit_tokens.timestep_embedding(t + 0.2, 8), (5, 8)).double()
    says = "all levels later by 0.2, and their products change"
    expect.close(later @ later.mT, e @ e.mT, says, what="products", **TABLE)


@timestep
def test_every_shape_of_levels(student):
    """t may have any shape, none too; each level is described as it is alone"""
    for shape in ((), (1,), (2, 3), (2, 1, 3)):
        t = waves(*shape)
        got = expect.tensor(student.dit_tokens.timestep_embedding(t, 6), (*shape, 6))
        for one, alone in zip(t.reshape(-1, 1), got.reshape(-1, 1, 6), strict=True):
            says = f"t of shape {shape}: another answer than for its levels alone"
            expect.close(student.dit_tokens.timestep_embedding(one, 6), alone, says, **DOUBLE)


@timestep
def test_float32_levels(student):
    """t in float32 gives float32"""
    t = torch.tensor([0.25, 0.8])
    got = student.dit_tokens.timestep_embedding(t, 6)
    expect.close(got, LEVELS["defaults"].reshape(2, 6), "in float32", atol=3e-4, rtol=0)
    expect.true(got.dtype == t.dtype, "the precision is that of t", got.dtype, t.dtype)


@timestep
def test_gradients_in_t(student):
    """gradients flow into t"""
    t, c = torch.tensor([0.25, 0.8], dtype=torch.float64), waves(2, 6)
    function = student.function("dit_tokens.timestep_embedding")
    (found,) = student.gradient("checking.fakes.weighted", function, c, t, 6, 3.0, 20.0, wrt=[t])
    ends = [student.dit_tokens.timestep_embedding(t + h, 6, 3.0, 20.0) for h in (H, -H)]
    ends = [(c * expect.tensor(e, (2, 6))).sum(-1) for e in ends]
    says = "not the slope of your own results: nothing may be cut out of the graph"
    expect.close(found, (ends[0] - ends[1]) / (2 * H), says, what="the gradient of t", **SLOPE)


@timestep
def test_dims_of_a_level(student):
    """dim that is not positive and even raises a ValueError"""
    t, call = torch.tensor([0.5]), student.dit_tokens.timestep_embedding
    for dim in (0, -2, -1, 1, 3):
        expect.raises("ValueError", lambda d=dim: call(t, d), f"ValueError for dim = {dim}")


# --- dit_tokens.position_embedding --------------------------------------------------------------

# Tokens 1, 3 and 5 of a 2 × 3 grid, eight numbers each, and with a base of 20.
PLACES = numbers("""
places: 0.8414709568 0.0099998330697 0.54030227661 0.9999499917 0 0 1 1 0 0 1 1 0.8414709568
    0.0099998330697 0.54030227661 0.9999499917 0.90929740667 0.019998665899 -0.41614684463
    0.99980002642 0.8414709568 0.0099998330697 0.54030227661 0.9999499917
base: 0.8414709568 0.22174805403 0.54030227661 0.97510397434 0 0 1 1 0 0 1 1 0.8414709568
    0.22174805403 0.54030227661 0.97510397434 0.90929740667 0.43245482445 -0.41614684463
    0.90165561438 0.8414709568 0.22174805403 0.54030227661 0.97510397434
""")


def embedded(student, height, width, dim, *base):
    got = student.dit_tokens.position_embedding(height, width, dim, *base)
    return expect.tensor(got, (height * width, dim))


@position
def test_four_numbers_of_a_place(student):
    """dim = 4: sin j, cos j, sin i, cos i"""
    for height, width in ((2, 3), (3, 2), (1, 1), (1, 3), (3, 1)):
        j = torch.tensor([float(j) for i in range(height) for j in range(width)]).double()
        i = torch.tensor([float(i) for i in range(height) for j in range(width)]).double()
        got = student.dit_tokens.position_embedding(height, width, 4)
        want = torch.stack([j.sin(), j.cos(), i.sin(), i.cos()], 1)
        says = f"{height} × {width} tokens: not sin j, cos j, sin i, cos i of each"
        expect.close(got, want, says, **ROUNDED)


@position
def test_a_table_of_places(student):
    """dim = 8: two sines and two cosines of the column, then of the row; any base"""
    got = embedded(student, 2, 3, 8)[[1, 3, 5]]
    expect.close(got, PLACES["places"].reshape(3, 8), "not the formula", **ROUNDED)
    for got in (
        student.dit_tokens.position_embedding(2, 3, 8, 20.0),
        student.dit_tokens.position_embedding(2, 3, 8, base=20.0),
    ):
        got = expect.tensor(got, (6, 8))[[1, 3, 5]]
        says = "not the formula for a base of 20"
        expect.close(got, PLACES["base"].reshape(3, 8), says, **ROUNDED)


@position
def test_waves_along_rows_and_columns(student):
    """wave k of h is base^(k/h) times slower than the first, in both halves"""
    for dim in (8, 12, 20):
        h = dim // 4
        e = embedded(student, 2, 2, dim).double()[3].reshape(2, 2, h)
        slower = 1 / torch.atan2(e[:, 0], e[:, 1])
        want = torch.tensor([10000 ** (k / h) for k in range(h)], dtype=torch.float64)
        says = f"the waves are not 1, 10000^(1/{h}), 10000^(2/{h}), … times slower"
        expect.close(slower, want.expand(2, h), says, atol=0, rtol=1e-6)


@position
def test_rows_do_not_know_of_columns(student):
    """the first half says the column alone, the second the row alone"""
    e = embedded(student, 3, 4, 12).reshape(3, 4, 12)
    says = "the first half of the numbers is another in another row"
    expect.close(e[..., :6], e[:1, :, :6].expand(3, 4, 6), says, **ROUNDED)
    says = "the second half of the numbers is another in another column"
    expect.close(e[..., 6:], e[:, :1, 6:].expand(3, 4, 6), says, **ROUNDED)
    says = "the length of each is not √(dim / 2)"
    expect.close(e.double().square().sum(-1), torch.full((3, 4), 6.0), says, atol=1e-5, rtol=0)


@position
def test_the_last_digit_of_places(student):
    """float32, right to the last digit for the last of 500 tokens"""
    wave = [499 * 10.0 ** (-k) for k in range(4)]
    angle = torch.tensor(wave, dtype=torch.float64)
    want, rest = torch.cat([angle.sin(), angle.cos()]), torch.tensor([0.0, 1.0])
    rest = rest.repeat_interleave(4).double()
    for height, width, halves in ((1, 500, (want, rest)), (500, 1, (rest, want))):
        got = embedded(student, height, width, 16)
        says = "digits are lost: compute in float64, and round at the end"
        expect.close(got[-1], torch.cat(halves), says, **ROUNDED)
        says = "the result is float32"
        expect.true(got.dtype == torch.float32, says, got.dtype, torch.float32)


@position
def test_no_grid(student):
    """no tokens, and dim that is not a positive multiple of 4, raise a ValueError"""
    call = student.dit_tokens.position_embedding
    for height, width in ((0, 2), (2, 0), (-1, 3), (3, -1), (-2, -2)):
        says = f"ValueError for {height} × {width} tokens"
        expect.raises("ValueError", lambda h=height, w=width: call(h, w, 8), says)
    for dim in (0, -4, 1, 2, 6):
        expect.raises("ValueError", lambda d=dim: call(2, 3, d), f"ValueError for dim = {dim}")


# --- dit_tokens.rotate --------------------------------------------------------------------------

# Tokens 1, 3 and 5 of waves on a 2 × 3 grid, turned, and with a base of 20.
TURNED = numbers("""
turned: 0.27005073651 -0.67677195689 -0.90099776438 -0.35123161195 0.6069525308 0.99517845272
    -0.58862230261 -0.53563303423 0.94153856098 0.97259236451 0.73137581689 -0.19521583721
    -0.2674350288 -0.78072801602 0.10513429306 0.90103231727 -1.2295497909 -0.96026955909
    0.66877981789 0.70687805059 -0.10231110133 0.33370076583 0.024128598687 -0.97974694675
slowly: 0.27005073651 -0.67677195689 -0.90099776438 -0.22970230363 0.6069525308 0.99517845272
    -0.58862230261 -0.59791575016 0.94153856098 1.1159914328 0.73137581689 -0.19521583721
    -0.2674350288 -0.55680810385 0.10513429306 0.90103231727 -1.2295497909 -1.0091851301
    0.66877981789 1.0492913938 -0.10231110133 0.12255284751 0.024128598687 -0.59880566883
""")


def turn(student, x, height, width, *base):
    return expect.tensor(student.dit_tokens.rotate(x, height, width, *base), x.shape)


@rotate
def test_a_quarter_of_a_grid(student):
    """dim = 4: (x₀, x₂) turns by the row, (x₁, x₃) by the column"""
    for height, width in ((2, 3), (3, 2), (1, 3), (3, 1), (1, 1)):
        x = torch.tensor([1.0, 1.0, 0.0, 0.0]).double().repeat(height * width, 1)
        j = torch.tensor([float(j) for i in range(height) for j in range(width)]).double()
        i = torch.tensor([float(i) for i in range(height) for j in range(width)]).double()
        want = torch.stack([i.cos(), j.cos(), i.sin(), j.sin()], 1)
        says = f"{height} × {width}: (1, 1, 0, 0) is not turned to cos i, cos j, sin i, sin j"
        expect.close(student.dit_tokens.rotate(x, height, width), want, says, **DOUBLE)


@rotate
def test_a_table_of_turns(student):
    """dim = 8: two points turn by the row and two by the column; any base"""
    x = waves(6, 8)
    got = turn(student, x, 2, 3)[[1, 3, 5]]
    expect.close(got, TURNED["turned"].reshape(3, 8), "not the formula", **TABLE)
    for got in (
        student.dit_tokens.rotate(x, 2, 3, 20.0),
        student.dit_tokens.rotate(x, 2, 3, base=20.0),
    ):
        got = expect.tensor(got, x.shape)[[1, 3, 5]]
        says = "not the formula for a base of 20"
        expect.close(got, TURNED["slowly"].reshape(3, 8), says, **TABLE)


@rotate
def test_points_that_turn_slower(student):
    """of h/2 points that turn by rows, and as many by columns, each is slower than the last"""
    for dim in (12, 8, 20):
        h = dim // 2
        x = torch.zeros(4, dim, dtype=torch.float64)
        x[:, :h] = 1.0
        last = turn(student, x, 2, 2)[3]
        slower = 1 / torch.atan2(last[h:], last[:h])
        once = [10000 ** (2 * k / h) for k in range(h // 2)]
        want = torch.tensor(once + once, dtype=torch.float64)
        says = f"they are not 1, 10000^(2/{h}), 10000^(4/{h}), … times slower"
        expect.close(slower, want, says, atol=0, rtol=1e-8)


@rotate
def test_what_turns_leave(student):
    """distances from 0 stay; the corner stays; products depend on how far apart tokens are"""
    x = waves(12, 8)
    got = turn(student, x, 3, 4)
    for h in (0, 1, 2, 3):
        lengths = [torch.hypot(y[:, h], y[:, h + 4]) for y in (got, x)]
        says = f"the point (x_{h}, x_{h + 4}) changes its distance from 0"
        expect.close(*lengths, says, **DOUBLE)
    expect.close(got[0], x[0], "the token at i = j = 0 is turned", **DOUBLE)
    q = turn(student, waves(8, rate=1.1).repeat(12, 1), 3, 4).reshape(3, 4, 8)
    k = turn(student, waves(8, rate=2.7).repeat(12, 1), 3, 4).reshape(3, 4, 8)
    here, there = (q[:2, :3] * k[1:, 1:]).sum(-1), (q[1:, :3] * k[:2, 1:]).sum(-1)
    for products in (here, there):
        says = "a row and a column apart everywhere, and the products differ"
        expect.close(products, products[:1, :1].expand(2, 3), says, **DOUBLE)


@rotate
def test_axes_before_tokens(student):
    """(tokens, dim), (batch, heads, tokens, dim) and all others: each is turned as it is alone"""
    for lead in ((), (1,), (3,), (2, 3), (2, 1, 2)):
        x = waves(*lead, 6, 8)
        got = turn(student, x, 2, 3).reshape(-1, 6, 8)
        for one, alone in zip(x.reshape(-1, 6, 8), got, strict=True):
            says = f"x {tuple(x.shape)}: another answer than for its parts alone"
            expect.close(student.dit_tokens.rotate(one, 2, 3), alone, says, **DOUBLE)


@rotate
def test_turns_in_float32(student):
    """float32 stays float32; large numbers stay large"""
    x = waves(6, 8)
    for size in (1.0, 1e6):
        got = student.dit_tokens.rotate((size * x).float(), 2, 3)
        got = expect.tensor(got, x.shape)
        want = size * TURNED["turned"].reshape(3, 8)
        expect.close(got[[1, 3, 5]], want, "in float32", atol=2e-5 * size, rtol=2e-5)
        expect.true(got.dtype == torch.float32, "the precision of x", got.dtype, torch.float32)


@rotate
def test_gradients_of_turns(student):
    """a gradient is turned back"""
    x, c = waves(2, 6, 8), waves(2, 6, 8, rate=2.1)
    turned = turn(student, c, 2, 3)
    function = student.function("dit_tokens.rotate")
    (found,) = student.gradient("checking.fakes.weighted", function, turned, x, 2, 3, wrt=[x])
    says = "weights that are turned like x come back as they were"
    expect.close(found, c, says, what="the gradient of x", **DOUBLE)


@rotate
def test_what_is_not_turned(student):
    """grids and shapes that do not fit raise a ValueError"""
    call = student.dit_tokens.rotate
    for shape, height, width in (
        ((6, 8), 2, 4),
        ((6, 8), 3, 3),
        ((6, 8), 0, 6),
        ((6, 8), -2, -3),
        ((0, 8), 3, 0),
        ((6, 6), 2, 3),
        ((6, 5), 2, 3),
        ((8,), 1, 1),
        ((8,), 2, 4),
    ):
        says = f"ValueError for x {shape} on a grid of {height} × {width}"
        args = waves(*shape), height, width
        expect.raises("ValueError", lambda args=args: call(*args), says)
