"""Hidden graders of chapter 09, tokens: numbers that change places, and sines and cosines whose
products depend on differences alone."""

import math

import pytest
import torch

from cs231n_gen.checking import draws, expect

patchify = pytest.mark.exercise("dit_tokens.patchify")
unpatchify = pytest.mark.exercise("dit_tokens.unpatchify")
timestep = pytest.mark.exercise("dit_tokens.timestep_embedding")
position = pytest.mark.exercise("dit_tokens.position_embedding")
rotate = pytest.mark.exercise("dit_tokens.rotate")

# What rounding leaves of numbers of size 1 where all is computed in float64, and in float32; and
# of one that is computed in float64 and rounded to float32.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
SINGLE = {"atol": 2e-5, "rtol": 2e-5}
ROUNDED = {"atol": 1e-9, "rtol": 1.2e-7}


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def number(generator, low, high):
    return float(low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64))


def same(got, want, says, what="the result"):
    """Each number in its place, to the last bit."""
    got = expect.tensor(got, want.shape, what)
    expect.true(
        got.dtype == want.dtype, "the precision is that of the input", got.dtype, want.dtype
    )
    expect.true(torch.equal(got, want), says, got, want)


# --- dit_tokens.patchify, dit_tokens.unpatchify -------------------------------------------------

# Batch, channels, height, width, patch.
IMAGES = [
    (2, 3, 4, 6, 2),
    (1, 2, 6, 3, 3),
    (3, 1, 2, 8, 2),
    (2, 4, 9, 6, 3),
    (1, 2, 4, 4, 2),
    (2, 3, 8, 4, 4),
]


def tokens_of(x, patch):
    """Patches, cut out one after the other."""
    H, W = x.shape[2:]
    cut = [
        x[:, :, i : i + patch, j : j + patch].movedim(1, -1).flatten(1)
        for i in range(0, H, patch)
        for j in range(0, W, patch)
    ]
    return torch.stack(cut, dim=1)


@patchify(weight=3)
def test_each_number_in_its_place(student, generator):
    """each number of an image is where the formula says, for any sizes"""
    for B, C, H, W, P in IMAGES:
        x = normal(generator, B, C, H, W)
        says = f"other numbers, or another order, for x {tuple(x.shape)} and patch {P}"
        same(student.dit_tokens.patchify(x, P), tokens_of(x, P), says)


@patchify
def test_tokens_run_along_rows(student, generator):
    """tokens run along the rows of patches, in images that are not square"""
    for rows, columns in ((2, 3), (3, 2), (1, 4), (4, 1)):
        P = draws.whole(generator, 2, 4)
        of_patch = normal(generator, rows * columns)
        grid = of_patch.reshape(1, 1, rows, columns)
        x = grid.repeat_interleave(P, 2).repeat_interleave(P, 3)
        want = of_patch[None, :, None].expand(1, -1, P * P).contiguous()
        says = f"patch i, j is not token {columns} i + j of {rows} · {columns}"
        same(student.dit_tokens.patchify(x, P), want, says)


@patchify
def test_features_of_a_token(student, generator):
    """the features of a token run along its rows, then its columns, then its channels"""
    for P, C in ((2, 3), (3, 2), (4, 1)):
        x = normal(generator, 2, C, P, P)
        want = torch.stack([x[:, :, p, q] for p in range(P) for q in range(P)], 1).flatten(1)
        says = f"another order of features, for patch {P} and {C} channels"
        same(student.dit_tokens.patchify(x, P), want[:, None], says)


@patchify
def test_patches_of_extreme_sizes(student, generator):
    """patch 1 makes a token of each pixel, a patch as large as the image a single token"""
    for shape in ((2, 3, 4, 5), (1, 1, 3, 2), (1, 2, 1, 1)):
        x = normal(generator, *shape)
        says = "patch 1: the pixels along rows, each with its channels"
        same(student.dit_tokens.patchify(x, 1), tokens_of(x, 1), says)
    for B, C, P in ((2, 3, 4), (1, 1, 3)):
        x = normal(generator, B, C, P, P)
        same(student.dit_tokens.patchify(x, P), tokens_of(x, P), "one token for each image")


@patchify
def test_bit_by_bit(student, generator):
    """float32 and float64, large and small numbers are moved bit by bit, however they lie in
    memory"""
    for dtype in (torch.float32, torch.float64):
        x = (normal(generator, 2, 6, 4, 3) * 10.0 ** normal(generator, 2, 6, 4, 3)).to(dtype)
        for y in (x, x.permute(0, 3, 1, 2), x.transpose(2, 3)[:, :, :2]):
            P = 2 if y.shape[2] % 2 == 0 and y.shape[3] % 2 == 0 else 1
            same(student.dit_tokens.patchify(y, P), tokens_of(y, P), f"digits change, {dtype}")


@patchify
def test_the_gradient_of_patches(student, generator):
    """each number of x gets the gradient of its place among the tokens"""
    for B, C, H, W, P in IMAGES[:3]:
        x, g = normal(generator, B, C, H, W), normal(generator, B, C, H, W)
        function, c = student.function("dit_tokens.patchify"), tokens_of(g, P)
        (found,) = student.gradient("checking.fakes.weighted", function, c, x, P, wrt=[x])
        expect.close(found, g, "a gradient went astray", what="the gradient of x", **DOUBLE)


@patchify
def test_images_that_patchify_refuses(student, generator):
    """other ranks, and a patch that is not positive or divides not both sides, are refused"""
    call = student.dit_tokens.patchify
    for shape in ((3, 4, 4), (4, 4), (1, 2, 3, 4, 4)):
        x = normal(generator, *shape)
        expect.raises("ValueError", lambda x=x: call(x, 2), f"x of shape {shape}: a ValueError")
    x = normal(generator, 1, 2, 4, 6)
    for patch in (0, -1, -2, 3, 4, 6, 12):
        says = f"patch {patch} for 4 × 6 pixels: a ValueError"
        expect.raises("ValueError", lambda p=patch: call(x, p), says)


@unpatchify(weight=3)
def test_each_number_back_in_its_place(student, generator):
    """each number of the tokens is where the formula says, for any sizes"""
    for B, C, H, W, P in IMAGES:
        x = normal(generator, B, C, H, W)
        says = f"not the images, for {tuple(x.shape)} and patch {P}"
        same(student.dit_tokens.unpatchify(tokens_of(x, P), P, H, W), x, says)


@unpatchify
def test_tokens_fill_rows(student, generator):
    """tokens fill the rows of an image that is not square, first rows first"""
    for rows, columns in ((2, 3), (3, 2), (1, 4), (4, 1)):
        P = draws.whole(generator, 2, 4)
        of_patch = normal(generator, rows * columns)
        want = of_patch.reshape(1, 1, rows, columns).repeat_interleave(P, 2)
        want = want.repeat_interleave(P, 3)
        tokens = of_patch[None, :, None].expand(1, -1, P * P).clone()
        says = f"token {columns} i + j of {rows} · {columns} is not patch i, j"
        got = student.dit_tokens.unpatchify(tokens, P, rows * P, columns * P)
        same(got, want, says)


@unpatchify
def test_features_fill_a_patch(student, generator):
    """the features of a token fill its rows, then its columns, then its channels"""
    for P, C in ((2, 3), (3, 2), (4, 1)):
        want = normal(generator, 2, C, P, P)
        tokens = torch.stack([want[:, :, p, q] for p in range(P) for q in range(P)], 1).flatten(1)
        says = f"features are read in another order, for patch {P} and {C} channels"
        same(student.dit_tokens.unpatchify(tokens[:, None], P, P, P), want, says)


@unpatchify
def test_images_of_extreme_patches(student, generator):
    """patches of one pixel, and a patch as large as the image"""
    for shape in ((2, 3, 4, 5), (1, 1, 3, 2), (1, 2, 1, 1)):
        x = normal(generator, *shape)
        got = student.dit_tokens.unpatchify(tokens_of(x, 1), 1, *shape[2:])
        same(got, x, "patch 1: the tokens are the pixels")
    for B, C, P in ((2, 3, 4), (1, 1, 3)):
        x = normal(generator, B, C, P, P)
        same(student.dit_tokens.unpatchify(tokens_of(x, P), P, P, P), x, "one token for each image")


@unpatchify
def test_back_bit_by_bit(student, generator):
    """float32 and float64, large and small numbers are moved bit by bit, however they lie in
    memory"""
    for dtype in (torch.float32, torch.float64):
        x = (normal(generator, 2, 2, 6, 4) * 10.0 ** normal(generator, 2, 2, 6, 4)).to(dtype)
        tokens = tokens_of(x, 2)
        for given in (tokens, tokens.mT.contiguous().mT):
            says = f"digits change, {dtype}"
            same(student.dit_tokens.unpatchify(given, 2, 6, 4), x, says)


@unpatchify
def test_the_gradient_of_images(student, generator):
    """each number of the tokens gets the gradient of its place in the image"""
    for B, C, H, W, P in IMAGES[:3]:
        x, g = normal(generator, B, C, H, W), normal(generator, B, C, H, W)
        function, tokens = student.function("dit_tokens.unpatchify"), tokens_of(x, P)
        args = (tokens, P, H, W)
        (found,) = student.gradient("checking.fakes.weighted", function, g, *args, wrt=[tokens])
        says = "a gradient went astray"
        expect.close(found, tokens_of(g, P), says, what="the gradient of tokens", **DOUBLE)


@unpatchify
def test_tokens_that_unpatchify_refuses(student, generator):
    """other ranks, patches, numbers of tokens and of features than fit are refused"""
    call = student.dit_tokens.unpatchify
    for shape, patch, height, width in (
        ((6, 8), 2, 4, 6),
        ((1, 1, 6, 8), 2, 4, 6),
        ((1, 6, 8), 0, 4, 6),
        ((1, 6, 8), -2, 4, 6),
        ((1, 2, 9), 3, 4, 6),
        ((1, 1, 16), 4, 4, 6),
        ((1, 1, 36), 6, 4, 6),
        ((1, 5, 8), 2, 4, 6),
        ((1, 12, 8), 2, 4, 6),
        ((1, 6, 8), 2, 4, 4),
        ((1, 6, 6), 2, 4, 6),
        ((1, 6, 10), 2, 4, 6),
    ):
        says = f"tokens {shape}, patch {patch}, {height} × {width} pixels: a ValueError"
        tokens = normal(generator, *shape)
        args = tokens, patch, height, width
        expect.raises("ValueError", lambda args=args: call(*args), says)


# --- dit_tokens.timestep_embedding --------------------------------------------------------------


def frequencies(h, base=10000.0):
    return torch.tensor([math.exp(-math.log(base) * k / h) for k in range(h)], dtype=torch.float64)


def levels(generator, *shape):
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def of_level(t, dim, scale=1000.0, base=10000.0):
    """Real and imaginary parts of one wave each, the real ones first."""
    angle = torch.einsum("...,k->...k", scale * t.double(), frequencies(dim // 2, base))
    wave = torch.polar(torch.ones_like(angle), angle)
    return torch.cat([wave.real, wave.imag], dim=-1)


@timestep(weight=3)
def test_cosines_then_sines(student, generator):
    """it is the cosines, then the sines, of 1000 t ω_k, in float64 to the last digits"""
    for dim in (2, 4, 6, 10, 64):
        t = levels(generator, 5)
        got = student.dit_tokens.timestep_embedding(t, dim)
        expect.close(got, of_level(t, dim), f"not the formula for dim = {dim}", **DOUBLE)


@timestep(weight=2)
def test_products_depend_on_differences(student, generator):
    """⟨e(t), e(t′)⟩ = Σ_k cos(1000 ω_k (t − t′)); the square of each length is dim / 2"""
    for dim in (2, 8, 20):
        t = levels(generator, 6)
        e = expect.tensor(student.dit_tokens.timestep_embedding(t, dim), (6, dim)).double()
        differences = 1000 * (t[:, None] - t)[..., None] * frequencies(dim // 2)
        says = "products of embeddings are not those of t − t′"
        expect.close(e @ e.mT, differences.cos().sum(-1), says, atol=1e-9, rtol=0)


@timestep
def test_level_0(student):
    """at t = 0 all cosines are 1 and all sines are 0"""
    for dim in (2, 6):
        t = torch.zeros(3, dtype=torch.float64)
        want = torch.tensor([1.0, 0.0]).repeat_interleave(dim // 2).expand(3, dim)
        got = student.dit_tokens.timestep_embedding(t, dim)
        expect.close(got, want, "e(0) = (1, …, 1, 0, …, 0)", **DOUBLE)


@timestep
def test_the_fastest_and_the_slowest_wave(student, generator):
    """the first wave turns by 1000 t, the next base^(1/h) times slower, up to base^((h−1)/h)"""
    for dim in (4, 6, 16):
        h, t = dim // 2, 1e-3 * levels(generator, 4)
        e = expect.tensor(student.dit_tokens.timestep_embedding(t, dim), (4, dim)).double()
        angle = torch.atan2(e[:, h:], e[:, :h])
        for k in (0, 1, h - 1):
            says = f"wave {k} of {h} is not {10000 ** (k / h):.4g} times slower than 1000 t"
            want = 1000 * t / 10000 ** (k / h)
            expect.close(angle[:, k], want, says, what=f"the angle of wave {k}", **DOUBLE)


@timestep
def test_another_scale_and_base(student, generator):
    """another scale and another base, each of them and both"""
    t = levels(generator, 4)
    for scale, base in ((1.0, 10000.0), (1000.0, 50.0), (37.5, 300.0), (1000.0, 1.0), (0.5, 7.0)):
        got = student.dit_tokens.timestep_embedding(t, 8, scale=scale, base=base)
        says = f"not the formula for s = {scale} and base = {base}"
        expect.close(got, of_level(t, 8, scale, base), says, **DOUBLE)
    got = student.dit_tokens.timestep_embedding(t, 8, 10.0, 20.0)
    expect.close(got, of_level(t, 8, 10.0, 20.0), "scale comes before base", **DOUBLE)


@timestep
def test_levels_of_any_shape(student, generator):
    """one number without an axis, one level, a table of levels"""
    for shape in ((), (1,), (3,), (2, 3), (2, 1, 3), (1, 1, 1)):
        t = levels(generator, *shape)
        got = student.dit_tokens.timestep_embedding(t, 6)
        expect.close(got, of_level(t, 6), f"not the formula for t of shape {shape}", **DOUBLE)


@timestep
def test_levels_beyond_0_and_1(student, generator):
    """levels below 0 and above 1 follow the formula too"""
    t = -2 + 6 * levels(generator, 8)
    got = student.dit_tokens.timestep_embedding(t, 8)
    expect.close(got, of_level(t, 8), "t is neither clamped nor rounded", **DOUBLE)


@timestep
def test_levels_in_float32(student, generator):
    """t in float32 gives float32, right as far as its digits go"""
    t = levels(generator, 20).float()
    got = student.dit_tokens.timestep_embedding(t, 8)
    expect.close(got, of_level(t, 8), "in float32", atol=3e-4, rtol=0)
    expect.true(got.dtype == t.dtype, "the precision is that of t", got.dtype, t.dtype)


@timestep
def test_the_slope_in_t(student, generator):
    """gradients flow into t, through each of the numbers"""
    for shape in ((4,), ()):
        t, c = levels(generator, *shape), normal(generator, *shape, 8)
        function = student.function("dit_tokens.timestep_embedding")
        for scale in (1000.0, 3.0):
            args = (t, 8, scale)
            (found,) = student.gradient("checking.fakes.weighted", function, c, *args, wrt=[t])
            speed, e = scale * frequencies(4), of_level(t, 8, scale)
            want = (speed * (c[..., 4:] * e[..., :4] - c[..., :4] * e[..., 4:])).sum(-1)
            says = "not the slope of the cosines and sines"
            expect.close(found, want, says, what="the gradient of t", atol=1e-8, rtol=1e-9)


@timestep
def test_numbers_of_a_level(student, generator):
    """dim that is not a positive even number is refused"""
    t, call = levels(generator, 3), student.dit_tokens.timestep_embedding
    for dim in (0, -2, -1, 1, 3, 7):
        says = f"dim = {dim}: a ValueError"
        expect.raises("ValueError", lambda d=dim: call(t, d), says)


# --- dit_tokens.position_embedding --------------------------------------------------------------

GRIDS = [(2, 3), (3, 2), (4, 4), (1, 5), (5, 1), (1, 1)]


def places(height, width):
    """The rows and the columns of all tokens, as in `patchify`."""
    both = [(i, j) for i in range(height) for j in range(width)]
    return torch.tensor(both, dtype=torch.float64).reshape(-1, 2).unbind(1)


def of_place(height, width, dim, base=10000.0):
    i, j = places(height, width)
    omega = frequencies(dim // 4, base)
    parts = [f(n[:, None] * omega) for n in (j, i) for f in (torch.sin, torch.cos)]
    return torch.cat(parts, dim=1)


def embedded(student, height, width, dim, *base):
    got = student.dit_tokens.position_embedding(height, width, dim, *base)
    return expect.tensor(got, (height * width, dim)).double()


@position(weight=3)
def test_columns_then_rows(student):
    """it is the sines and cosines of the column, then of the row, for any grid"""
    for height, width in GRIDS:
        for dim in (4, 8, 12):
            got = student.dit_tokens.position_embedding(height, width, dim)
            says = f"not the formula for {height} × {width} tokens and dim = {dim}"
            expect.close(got, of_place(height, width, dim), says, **ROUNDED)


@position(weight=2)
def test_products_of_places(student, generator):
    """⟨e(i, j), e(i′, j′)⟩ depends on i − i′ and j − j′; the square of each length is dim / 2"""
    for height, width in ((3, 5), (4, 2)):
        dim = 4 * draws.whole(generator, 1, 6)
        e = embedded(student, height, width, dim)
        want = 0.0
        for n in places(height, width):
            want = want + ((n[:, None] - n)[..., None] * frequencies(dim // 4)).cos().sum(-1)
        expect.close(e @ e.mT, want, "products depend on more than distances", atol=3e-6, rtol=0)


@position
def test_columns_in_one_half_and_rows_in_the_other(student):
    """the first half is the same in each row, the second in each column"""
    for height, width in ((3, 4), (2, 5)):
        e = embedded(student, height, width, 12).reshape(height, width, 12)
        first, second = e[..., :6], e[..., 6:]
        says = "the first half says in which column a token is, and nothing of its row"
        expect.close(first, first[:1].expand_as(first), says, **ROUNDED)
        says = "the second half says in which row a token is, and nothing of its column"
        expect.close(second, second[:, :1].expand_as(second), says, **ROUNDED)
        n = min(height, width)
        says = "column n and row n are told by the same numbers"
        expect.close(first[0, :n], second[:n, 0], says, **ROUNDED)


@position
def test_the_place_in_the_corner(student):
    """at i = j = 0 the sines are 0 and the cosines are 1, sines before cosines in both halves"""
    for height, width, dim in ((1, 1, 4), (2, 3, 8), (1, 1, 12)):
        want = torch.tensor([0.0, 1.0, 0.0, 1.0]).repeat_interleave(dim // 4)
        says = "e(0, 0) = (0, …, 1, …, 0, …, 1, …)"
        expect.close(embedded(student, height, width, dim)[0], want, says, **ROUNDED)


@position
def test_another_base_of_places(student, generator):
    """another base"""
    for base in (number(generator, 2, 9), number(generator, 90, 500), 1.0):
        for given in ({"base": base}, None):
            call = student.dit_tokens.position_embedding
            got = call(3, 4, 12, base) if given is None else call(3, 4, 12, **given)
            says = f"not the formula for base = {base:.4g}"
            expect.close(got, of_place(3, 4, 12, base), says, **ROUNDED)


@position
def test_right_to_the_last_digit(student):
    """it is float32, right to the last digit in large grids too"""
    for height, width in ((1, 500), (500, 1), (2, 200)):
        got = student.dit_tokens.position_embedding(height, width, 16)
        says = "digits are lost: compute in float64, and round at the end"
        expect.close(got, of_place(height, width, 16), says, **ROUNDED)
        says = "the result is float32"
        expect.true(got.dtype == torch.float32, says, got.dtype, torch.float32)


@position
def test_grids_that_are_none(student):
    """a grid without tokens, and dim that is not a positive multiple of 4, are refused"""
    call = student.dit_tokens.position_embedding
    for height, width in ((0, 2), (2, 0), (-1, 3), (3, -1), (-2, -2), (0, 0)):
        says = f"{height} × {width} tokens: a ValueError"
        expect.raises("ValueError", lambda h=height, w=width: call(h, w, 8), says)
    for dim in (0, -4, 1, 2, 3, 6, 10):
        says = f"dim = {dim}: a ValueError"
        expect.raises("ValueError", lambda d=dim: call(2, 3, d), says)


# --- dit_tokens.rotate --------------------------------------------------------------------------


def angles(height, width, dim, base=10000.0):
    i, j = places(height, width)
    omega = frequencies(dim // 4, base)  # base^(−2k/h) for h = dim / 2
    return torch.cat([i[:, None] * omega, j[:, None] * omega], dim=1)


def turned(x, height, width, base=10000.0, sign=1):
    """x as complex numbers, times others of length 1."""
    h = x.shape[-1] // 2
    z = torch.complex(x[..., :h].double(), x[..., h:].double())
    theta = sign * angles(height, width, 2 * h, base)
    z = z * torch.polar(torch.ones_like(theta), theta)
    return torch.cat([z.real, z.imag], dim=-1)


@rotate(weight=3)
def test_each_point_by_its_angle(student, generator):
    """each point (x_k, x_{k+h}) is turned by its angle, for any grid and dim"""
    for height, width in GRIDS:
        for dim in (4, 8, 12):
            x = normal(generator, 2, 3, height * width, dim)
            says = f"not the formula for {height} × {width} tokens and dim = {dim}"
            got = student.dit_tokens.rotate(x, height, width)
            expect.close(got, turned(x, height, width), says, **DOUBLE)


@rotate
def test_lengths_stay(student, generator):
    """number k and number k + h are a point, whose distance from 0 stays"""
    x = normal(generator, 2, 12, 16)
    got = expect.tensor(student.dit_tokens.rotate(x, 3, 4), x.shape)
    lengths = [torch.hypot(y[..., :8], y[..., 8:]) for y in (got, x)]
    expect.close(*lengths, "a point changes its length", what="the length of points", **DOUBLE)
    moved = (got - x).abs().amax(-1)[:, 1:]
    expect.true(bool((moved > 1e-3).all()), "all tokens but the first are turned", moved.min())


@rotate(weight=2)
def test_products_of_turned_queries_and_keys(student, generator):
    """the product of a turned query and a turned key depends on how far apart they are"""
    for height, width in ((3, 4), (4, 2)):
        q, k = normal(generator, 2, 1, 12)
        T = height * width
        both = torch.stack([q.expand(T, 12), k.expand(T, 12)])
        q, k = expect.tensor(student.dit_tokens.rotate(both, height, width), both.shape)
        i, j = (n.long() for n in places(height, width))
        di, dj = i[:, None] - i + height, j[:, None] - j + width
        products = (q @ k.mT).flatten()
        bins = (di * 2 * width + dj).flatten()
        for apart in bins.unique():
            alike = products[bins == apart]
            says = "tokens as far apart, along rows and columns, have other products"
            expect.close(alike, alike[:1].expand_as(alike), says, what="products", **DOUBLE)
        theta = angles(height, width, 12)
        c = torch.complex(both[0, 0, :6], both[0, 0, 6:])
        c = c * torch.complex(both[1, 0, :6], -both[1, 0, 6:])
        difference = theta[:, None] - theta
        want = (c * torch.polar(torch.ones_like(difference), difference)).real.sum(-1)
        says = "the product is not that of q turned by the difference of places, and k"
        expect.close(q @ k.mT, want, says, what="products", **DOUBLE)


@rotate
def test_the_corner_stays(student, generator):
    """the token at i = j = 0 is not turned"""
    for height, width in ((1, 1), (2, 3)):
        x = normal(generator, 2, height * width, 8)
        got = expect.tensor(student.dit_tokens.rotate(x, height, width), x.shape)
        expect.close(got[:, 0], x[:, 0], "the first token is turned", **DOUBLE)
    expect.true(not torch.allclose(got[:, 1:], x[:, 1:]), "the others are turned")


@rotate
def test_rows_turn_one_half_and_columns_the_other(student, generator):
    """of the points the first half is turned by the row alone, the second by the column alone"""
    x = normal(generator, 12, 16)
    point = expect.tensor(student.dit_tokens.rotate(x, 3, 4), x.shape).reshape(3, 4, 2, 8)
    x = x.reshape(3, 4, 2, 8)
    says = "in row 0 the first half of the points is not turned"
    expect.close(point[0, :, :, :4], x[0, :, :, :4], says, **DOUBLE)
    says = "in column 0 the second half of the points is not turned"
    expect.close(point[:, 0, :, 4:], x[:, 0, :, 4:], says, **DOUBLE)
    line = normal(generator, 5, 16)
    got = expect.tensor(student.dit_tokens.rotate(line, 5, 1), line.shape).reshape(5, 2, 8)
    says = "a single column turns the first half by rows"
    expect.close(got.reshape(5, 16), turned(line, 5, 1), says, **DOUBLE)


@rotate
def test_against_the_clock(student, generator):
    """the fastest point turns by 1 from token to token, from the first axis to the second"""
    x = torch.zeros(4, 4, dtype=torch.float64)
    x[:, 0] = x[:, 1] = 1.0
    got = expect.tensor(student.dit_tokens.rotate(x, 2, 2), x.shape)
    one = torch.tensor([math.cos(1.0), math.sin(1.0)], dtype=torch.float64)
    expect.close(got[2, ::2], one, "(1, 0) one row further is (cos 1, sin 1)", **DOUBLE)
    expect.close(got[1, 1::2], one, "(1, 0) one column further is (cos 1, sin 1)", **DOUBLE)


@rotate
def test_any_axes_in_front_of_tokens(student, generator):
    """no axis before the last two, one or many; each is turned as it would be alone"""
    for lead in ((), (1,), (3,), (2, 3), (1, 1), (2, 1, 3)):
        x = normal(generator, *lead, 6, 8)
        got = student.dit_tokens.rotate(x, 2, 3)
        expect.close(got, turned(x, 2, 3), f"not the formula for x {tuple(x.shape)}", **DOUBLE)


@rotate
def test_another_base_of_turns(student, generator):
    """another base"""
    x = normal(generator, 2, 6, 12)
    for base in (number(generator, 2, 9), number(generator, 90, 500), 1.0):
        says = f"not the formula for base = {base:.4g}"
        expect.close(
            student.dit_tokens.rotate(x, 2, 3, base), turned(x, 2, 3, base), says, **DOUBLE
        )
        got = student.dit_tokens.rotate(x, 2, 3, base=base)
        expect.close(got, turned(x, 2, 3, base), says, **DOUBLE)


@rotate
def test_turned_in_float32(student, generator):
    """float32 stays float32, right as far as its digits go; large numbers keep their size"""
    x = normal(generator, 2, 20, 16).float()
    for size in (1.0, 1e6):
        got = student.dit_tokens.rotate(size * x, 4, 5)
        want = size * turned(x, 4, 5)
        expect.close(got, want, "in float32", atol=2e-5 * size, rtol=2e-5)
        expect.true(got.dtype == x.dtype, "the precision is that of x", got.dtype, x.dtype)


@rotate
def test_gradients_turn_back(student, generator):
    """a gradient is turned back by the same angles"""
    x, c = normal(generator, 2, 6, 8), normal(generator, 2, 6, 8)
    function = student.function("dit_tokens.rotate")
    (found,) = student.gradient("checking.fakes.weighted", function, c, x, 2, 3, wrt=[x])
    want = turned(c, 2, 3, sign=-1)
    says = "not the gradient of a turn, which is the inverse turn"
    expect.close(found, want, says, what="the gradient of x", **DOUBLE)


@rotate
def test_what_cannot_be_turned(student, generator):
    """other grids than x has tokens, dim that 4 does not divide, and one axis are refused"""
    call = student.dit_tokens.rotate
    for shape, height, width in (
        ((6, 8), 2, 4),
        ((6, 8), 3, 3),
        ((2, 6, 8), 1, 5),
        ((6, 8), 0, 6),
        ((6, 8), -2, -3),
        ((0, 8), 0, 3),
        ((0, 8), 3, 0),
        ((6, 6), 2, 3),
        ((6, 2), 2, 3),
        ((6, 5), 2, 3),
        ((8,), 1, 1),
        ((8,), 2, 4),
    ):
        x = normal(generator, *shape)
        says = f"x {shape} on a grid of {height} × {width}: a ValueError"
        expect.raises("ValueError", lambda x=x, h=height, w=width: call(x, h, w), says)
