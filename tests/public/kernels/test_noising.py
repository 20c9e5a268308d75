"""Public checks of chapter 14: kernels.noising."""

import math

import numpy as np
import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.by_hand import alone, left
from cs231n_gen.checking.kernels.stages import POINTWISE, SIZES, Exact, Stages, checked

noising = pytest.mark.exercise("kernels.noising.kernel")
random = pytest.mark.exercise("kernels.noising.random_kernel")


def column(k, x):
    return k.reshape(-1, *[1] * (x.dim() - 1))


def reference(x, z, t, coefficients=None):
    """In fp32 at least, rounded once; the process is rectified flow if no other is given."""
    X, Z = (k.to(torch.promote_types(k.dtype, torch.float32)) for k in (x, z))
    given = coefficients or (1 - t, t, -torch.ones_like(t), torch.ones_like(t))
    a, b, c, d = (column(k, x) for k in given)
    return (a * X + b * Z).to(x.dtype), (c * X + d * Z).to(x.dtype)


# --- noising.kernel -----------------------------------------------------------------------------


def on(student, truth=reference):
    return Stages(student, "kernels.noising.noising", Exact(truth))


def eighths(generator, batch, n):
    """Data and noise of multiples of 1/8 up to 4, and levels of eighths: with these x_t and v are
    exact, in any order."""
    x, z = (torch.randint(-32, 33, (batch, n), generator=generator) / 8 for _ in range(2))
    return x, z, torch.randint(1, 8, (batch,), generator=generator) / 8


def turned(angle):
    """The coefficients of a process that turns (x, z) by an angle."""
    return angle.cos(), angle.sin(), -angle.sin(), angle.cos()


@noising
@pytest.mark.parametrize("n", SIZES)
def test_rectified_flow(student, generator, n):
    """correct: x_t and v of three examples, each with any number of elements"""
    on(student).correct(*eighths(generator, 3, n))


@noising
def test_the_ends(student, generator):
    """correct: x_t is x at level 0 and z at level 1, and v is z − x at both"""
    x, z, _ = eighths(generator, 2, 300)
    says = "at level 0 x_t must be x, at level 1 it must be z, and v is z − x"
    one = on(student, lambda x, z, t: (torch.where(t[:, None] < 0.5, x, z), z - x))
    one.correct(x, z, torch.tensor([0.0, 1.0]), says=says)


@noising
def test_another_process(student, generator):
    """correct: for coefficients of any process, each example's own"""
    x, z, t = eighths(generator, 4, 300)
    says = "the result is wrong for coefficients of another process than rectified flow"
    on(student).correct(x, z, t, turned(t), says=says)


@noising
def test_coefficients_of_any_size(student, generator):
    """correct: for large, small and negative coefficients, and for more than a few examples"""
    x, z, t = eighths(generator, 12, 24)
    k = torch.randn(4, 12, generator=generator) * torch.logspace(-8, 8, 12)
    on(student).correct(x, z, t, tuple(k))


@noising
def test_another_block(student, generator):
    """correct: program (i, j) writes block j of example i and nothing else, for another BLOCK"""
    (x, z, t), before = eighths(generator, 3, 100), torch.full((3, 100), 7.0)
    args, where = [x, z, *turned(t), before, before, 100], {"programs": [[1, 2], [1, 6]]}
    says = "with BLOCK = 16 programs (1, 2) and (1, 6) do not do their blocks"
    came = left(student, "kernels.noising.kernel", [3, 7], args, {"BLOCK": 16}, says, **where)
    for got, want in zip(came[6:], reference(x, z, t, turned(t)), strict=True):
        mine = alone(want[1], before[1], 16, [2, 6])
        expect.close(got, torch.stack([before[0], mine, before[2]]), says)


@noising
def test_half_precision(student, generator):
    """correct: in half precision, calculated in float32"""
    x, left = 8 * torch.randn(2, 500, generator=generator), torch.randn(2, 500, generator=generator)
    t = torch.tensor([0.37, 0.61])
    z = (left / 10 - column(1 - t, x) * x) / column(t, x)  # data and noise nearly cancel
    says = "in half precision the result is not exact enough: calculate in float32, round once"
    on(student).correct(x.half(), z.half(), t, says=says)
    c, d = torch.tensor([[0.41, 0.63], [0.59, 0.37]])  # coefficients that float16 does not hold
    x = x.half()
    z = ((left / 10 - column(c, x) * x.float()) / column(d, x)).half()
    on(student).correct(x, z, t, (c, d, c, d), says=says)


@noising
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    on(student).safe(*eighths(generator, 3, 1300))


@noising
def test_lean(student, generator):
    """lean: x and z are read once, x_t and v are written once"""
    on(student).lean(POINTWISE, *eighths(generator, 3, 1300))


# --- noising.random_kernel ----------------------------------------------------------------------


def philox(seed, example, place):
    """Four random words of 32 bits for each counter 2³² example + place, of key seed."""
    low, key = 2**32 - 1, [seed % 2**32, seed >> 32]
    c = [place + 0 * example, example + 0 * place, 0 * place, 0 * place]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [q >> 32 ^ c[1] ^ key[0], q & low, p >> 32 ^ c[3] ^ key[1], p & low]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return np.stack(np.broadcast_arrays(*c), axis=-1)


def noise(shape, seed, dtype=torch.float32):
    """What the kernel should draw, in this dtype: two normal numbers of two uniform ones."""
    batch, n = shape[0], math.prod(shape[1:])
    place = np.arange(-(-n // 4), dtype=np.uint64)
    words = philox(seed, np.arange(batch, dtype=np.uint64)[:, None], place)
    signed = words.astype(np.uint32).view(np.int32)
    u = np.where(signed < 0, ~signed, signed).astype(np.float32) * np.float32(4.6566127342e-10)
    u = torch.from_numpy(u).to(dtype)  # (batch, n / 4, 4)
    r, angle = (-2 * u[..., ::2].clamp_min(1e-7).log()).sqrt(), 2 * math.pi * u[..., 1::2]
    z = torch.stack([r * angle.cos(), r * angle.sin()], dim=-1)
    return z.reshape(batch, -1)[:, :n].reshape(shape)


def drawing(x, t, seed, coefficients=None):
    """x_t and v of the noise of a seed, in fp32 at least, rounded once."""
    wide = torch.promote_types(x.dtype, torch.float32)
    x_t, v = reference(x.to(wide), noise(x.shape, seed, wide), t, coefficients)
    return x_t.to(x.dtype), v.to(x.dtype)


def drawn(student, *args):
    """x_t and v as the student's kernel makes them."""
    wrapper = student.function("kernels.noising.noising_with_noise")
    seen = checked(student.instruments.observe.call(wrapper, [*args]))
    return expect.unpack(seen["results"], ("x_t", "v"))


def with_noise(student):
    return Stages(student, "kernels.noising.noising_with_noise", Exact(drawing))


def near(got, want, says):
    """Equal to about 1e-5: an angle up to 2π has lost 4e-7 in fp32, times a radius up to 5.7."""
    expect.close(got, want, says, atol=1e-5, rtol=0)


@random
@pytest.mark.parametrize(("batch", "n"), [(3, 1), (2, 7), (1, 1023), (1, 1024), (2, 1025)])
def test_the_noise(student, generator, batch, n):
    """correct: x_t and v with the noise of the seed, for any number of elements"""
    x, _, t = eighths(generator, batch, n)
    x_t, v = drawn(student, x, t, 231)
    want_x_t, want_v = drawing(x.double(), t, 231)
    near(v, want_v, "v is not c x + d z with the noise z of this seed")
    near(x_t, want_x_t, "x_t is not a x + b z with the noise z of this seed")


@random
def test_another_process_with_noise(student, generator):
    """correct: for coefficients of any process, and a seed of more than 32 bits"""
    x, _, t = eighths(generator, 2, 301)
    x_t, v = drawn(student, x, t, 2**40 + 231, turned(t))
    want_x_t, want_v = drawing(x.double(), t, 2**40 + 231, turned(t.double()))
    near(x_t, want_x_t, "x_t is not a x + b z with the noise of a large seed")
    near(v, want_v, "v is not c x + d z with the noise of a large seed")


@random
def test_the_noise_is_normal(student, generator):
    """correct: the noise has mean 0 and variance 1, and no two examples or seeds share it"""
    x, t = torch.zeros(2, 1024), torch.full((2,), 0.5)
    z, other = (expect.tensor(drawn(student, x, t, s)[1], x.shape, "v") for s in (5, 6))
    most = 6 / z.numel() ** 0.5  # six standard errors
    expect.true(abs(float(z.mean())) < most, "the noise has not mean 0", z.mean(), 0)
    off = abs(float(z.square().mean()) - 1)
    expect.true(off < most * 2**0.5, "the noise has not variance 1", z.square().mean(), 1)
    repeated = float((z[0] == z[1]).double().mean())
    expect.true(repeated < 0.01, "two examples have the same noise")
    expect.true(float((z == other).double().mean()) < 0.01, "two seeds give the same noise")


@random
@pytest.mark.parametrize("size", [16, 64, 2048])
def test_blocks_of_another_size(student, generator, size):
    """correct: with another BLOCK the noise stays the same"""
    kernel, n = student.function("kernels.noising.random_kernel"), 40
    empty, one, zero = torch.full((2, n), float("nan")), torch.ones(2), torch.zeros(2)
    args = [torch.zeros(2, n), 7, one, zero, zero, one, empty, empty.clone(), n]
    grid, constants = [2, -(-n // size)], {"BLOCK": size}
    left = student.instruments.observe.launch(kernel, grid, args, constants)["args"]
    near(left[7], noise((2, n), 7), f"with BLOCK = {size} the noise is another")


@random
def test_a_number_far_out(student, generator):
    """correct: noise far out, which comes once in a million numbers, is not cut off"""
    v = drawn(student, torch.zeros(1, 24), torch.ones(1), 1379)[1]  # number 21 is 5.11 in size
    near(v, noise((1, 24), 1379), "a number of the noise that is far out is another one")


@random
def test_many_examples_with_noise(student, generator):
    """correct: for more than a few examples, each of which has its own coefficients"""
    x, _, t = eighths(generator, 12, 6)
    k = torch.randn(4, 12, generator=generator)
    x_t, v = drawn(student, x, t, 231, tuple(k))
    want_x_t, want_v = drawing(x.double(), t, 231, tuple(k.double()))
    near(x_t, want_x_t, "x_t is wrong in a batch of 12")
    near(v, want_v, "v is wrong in a batch of 12")


@random
def test_a_program_of_its_own(student, generator):
    """correct: program (i, j) writes block j of example i and nothing else"""
    before, k = torch.full((3, 41), 7.0), torch.tensor([0.5, 0.5, 0.5])
    x, z = torch.zeros(3, 41), noise((3, 41), 231)
    args = [x, 231, k, 2 * k, k, k, before, before, 41]
    says = "with BLOCK = 16 programs (1, 1) and (1, 2) do not do their blocks"
    where, name = {"programs": [[1, 1], [1, 2]]}, "kernels.noising.random_kernel"
    came = left(student, name, [3, 3], args, {"BLOCK": 16}, says, **where)
    for got, b in zip(came[-2:], (1, 0.5), strict=True):
        near(got[1], alone(b * z[1], before[1], 16, [1, 2]), says)
        near(got[::2], before[::2], says)


@random
def test_half_precision_with_noise(student, generator):
    """correct: in half precision, calculated in float32"""
    x, t = torch.randn(2, 600, generator=generator), torch.tensor([0.3, 0.8])
    with_noise(student).correct(x.half(), t, 231)
    c, d = torch.tensor([[0.41, 0.63], [0.59, 0.37]])  # coefficients that float16 does not hold
    x = ((x / 100 - column(d, x) * noise(x.shape, 231)) / column(c, x)).half()
    with_noise(student).correct(x, t, 231, (c, d, c, d))


@random
def test_safe_with_noise(student, generator):
    """safe: every access is inside, and no two programs meet"""
    x, _, t = eighths(generator, 2, 1300)
    with_noise(student).safe(x, t, 231)


@random
def test_lean_with_noise(student, generator):
    """lean: x is read once, x_t and v are written once, and the noise is nowhere"""
    x, _, t = eighths(generator, 2, 1300)
    with_noise(student).lean(POINTWISE, x, t, 231)
