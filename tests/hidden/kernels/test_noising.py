"""Hidden grader of chapter 14, kernels.noising: identities, float64, and the instruments."""

import math

import numpy as np
import pytest
import torch

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import alone, left
from cs231n_gen.checking.kernels.stages import DTYPES, POINTWISE, SIZES, Exact, Stages, checked


def column(k, x):
    return k.reshape(-1, *[1] * (x.dim() - 1))


def reference(x, z, t, coefficients=None):
    """In fp32 at least, rounded once; the process is rectified flow if no other is given."""
    X, Z = (k.to(torch.promote_types(k.dtype, torch.float32)) for k in (x, z))
    given = coefficients or (1 - t, t, -torch.ones_like(t), torch.ones_like(t))
    a, b, c, d = (column(k, x) for k in given)
    return (a * X + b * Z).to(x.dtype), (c * X + d * Z).to(x.dtype)


def process(generator, batch):
    """Coefficients that belong to no process in particular."""
    return tuple(torch.randn(batch, generator=generator) for _ in "abcd")


# --- noising.kernel -----------------------------------------------------------------------------


noising = pytest.mark.exercise("kernels.noising.kernel")


def on(student, truth=reference):
    return Stages(student, "kernels.noising.noising", Exact(truth))


def results(student, *args):
    """x_t and v, as the kernel leaves them."""
    wrapper = student.function("kernels.noising.noising")
    seen = checked(student.instruments.observe.call(wrapper, [*args]))
    return expect.unpack(seen["results"], ("x_t", "v"))


def eighths(generator, *shape):
    """Data and noise of multiples of 1/8 up to 4, and levels of eighths: fp32 holds every term
    exactly, so that any order of terms is right."""
    x, z = (torch.randint(-32, 33, shape, generator=generator) / 8 for _ in range(2))
    return x, z, torch.randint(1, 8, shape[:1], generator=generator) / 8


def normal(generator, *shape, dtype=torch.float32):
    x, z = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    return x, z, torch.rand(shape[0], generator=generator)


def cancelling(generator, batch, n, dtype):
    """Data and noise that nearly cancel in x_t, as large numbers do that are rounded too early."""
    t = 0.3 + 0.4 * torch.rand(batch, generator=generator)
    x, left = (torch.randn(batch, n, generator=generator) for _ in range(2))
    z = (left / 10 - column(1 - t, x) * 8 * x) / column(t, x)
    return (8 * x).to(dtype), z.to(dtype), t


@noising(weight=3)
def test_every_size(student, generator):
    """correct: for 1, 7, 1023, 1024, 1025 and some thousand elements in an example"""
    for n in (*SIZES, draws.whole(generator, 2000, 4000)):
        on(student).correct(*eighths(generator, draws.whole(generator, 2, 5), n))


@noising(weight=2)
def test_any_process(student, generator):
    """correct: for coefficients of any process, each example's own, and shapes of images"""
    x, z, t = normal(generator, 4, 3, 17, 11)
    on(student).correct(x, z, t, process(generator, 4))


@noising(weight=2)
def test_from_data_to_noise(student, generator):
    """correct: x at level 0, z at level 1, and x_t moves by v from any level to any other"""
    x, z, t = eighths(generator, 3, 1100)
    ends = torch.tensor([0.0, 1.0, 0.0])
    one = on(student, lambda x, z, t: (torch.where(t[:, None] < 0.5, x, z), z - x))
    one.correct(x, z, ends, says="at level 0 x_t must be x, at level 1 it must be z, v is z − x")
    here, v = results(student, x, z, t)
    there, _ = results(student, x, z, t / 2)
    expect.close(v, z - x, "v must be z − x at every level")
    expect.close(here, there + column(t / 2, x) * v, "x_t must move along v as its level rises")
    expect.close(here - column(t, x) * v, x, "x_t − t v must lead back to x")


@noising(weight=2)
def test_a_process_that_turns(student, generator):
    """correct: with cos, sin, −sin, cos nothing grows or shrinks, and turning back restores"""
    x, z, t = normal(generator, 3, 700)
    angle = 6.28 * t
    a, b, c, d = angle.cos(), angle.sin(), -angle.sin(), angle.cos()
    x_t, v = results(student, x, z, t, (a, b, c, d))
    x_t = expect.tensor(x_t, x.shape, "x_t")
    v = expect.tensor(v, x.shape, "v")
    size = x.square() + z.square()
    expect.close(x_t.square() + v.square(), size, "a turn must keep x² + z²", atol=1e-4, rtol=1e-4)
    back, noise = results(student, x_t, v, t, (a, -b, -c, d))
    expect.close(back, x, "turning back must restore x", atol=1e-5, rtol=1e-5)
    expect.close(noise, z, "turning back must restore z", atol=1e-5, rtol=1e-5)


@noising
def test_copies_and_exchanges(student, generator):
    """correct: with ones and zeros the kernel copies, exchanges, or forgets"""
    x, z, t = eighths(generator, 2, 1200)
    one, zero = torch.ones(2), torch.zeros(2)
    same = on(student, lambda x, z, t, k: (x.clone(), z.clone()))
    same.correct(x, z, t, (one, zero, zero, one), says="with 1, 0, 0, 1 both must be copied")
    other = on(student, lambda x, z, t, k: (z.clone(), x.clone()))
    other.correct(x, z, t, (zero, one, one, zero), says="with 0, 1, 1, 0 both must be exchanged")
    mine = torch.tensor([1.0, 0.0])
    first = on(student, lambda x, z, t, k: (x * k[0][:, None], z * k[0][:, None]))
    says = "only the first example has coefficients other than 0"
    first.correct(x, z, t, (mine, zero, zero, mine), says=says)


@noising
def test_coefficients_of_any_size(student, generator):
    """correct: for large, small and negative coefficients, and for more than a few examples"""
    x, z, t = normal(generator, 40, 24)
    size = torch.logspace(-8, 8, 40)
    k = [s * size[torch.randperm(40, generator=generator)] for s in process(generator, 40)]
    on(student).correct(x, z, t, tuple(k))
    on(student).correct(x.half(), z.half(), t, process(generator, 40))


@noising
def test_what_is_not_finite(student, generator):
    """correct: infinity and NaN stay where they are, and what they are"""
    x, z, t = eighths(generator, 2, 40)
    x[0, 3], x[1, 17], z[1, 5], z[0, 30] = (float(k) for k in ("inf", "nan", "-inf", "nan"))
    says = "where x or z is infinite or NaN both results must be, too, and nowhere else"
    wrapper = student.function("kernels.noising.noising")
    came = checked(student.instruments.observe.call(wrapper, [x, z, t]))["results"]
    for got, want in zip(expect.unpack(came, ("x_t", "v")), reference(x, z, t), strict=True):
        same = got.shape == want.shape and torch.allclose(got, want, equal_nan=True)
        expect.true(same, says)


@noising(weight=2)
def test_each_program_has_its_own_block(student, generator):
    """correct: program (i, j) writes block j of example i and nothing else, for any BLOCK"""
    n = draws.whole(generator, 100, 190)
    (x, z, t), k = normal(generator, 3, n), process(generator, 3)
    whole, before = reference(x, z, t, k), torch.full((3, n), 7.0)
    for block in (16, 64, 2048):
        last, row = -(-n // block) - 1, draws.whole(generator, 0, 3)
        mine = [draws.whole(generator, 0, last), last] if last else [0]
        args = [x, z, *k, before, before, n]
        says = f"with BLOCK = {block} program (i, j) does not do block j of example i"
        name, where = "kernels.noising.kernel", {"programs": [[row, j] for j in mine]}
        came = left(student, name, [3, last + 1], args, {"BLOCK": block}, says, **where)
        for got, want in zip(came[6:], whole, strict=True):
            rest = before.double().clone()
            rest[row] = alone(want[row], before[row], block, mine)
            expect.close(got, rest, says)


def cancelling_process(generator, batch):
    """Coefficients a and b, and the same again, of numbers that half precision does not hold."""
    a, b = 0.3 + 0.4 * torch.rand(2, batch, generator=generator)
    return a, b, a, b


@noising
def test_half_precision_is_for_inputs_alone(student, generator):
    """correct: coefficients and products keep their digits where both results nearly cancel"""
    for dtype in DTYPES:
        k, x = cancelling_process(generator, 3), 8 * torch.randn(3, 300, generator=generator)
        x, left_over = x.to(dtype), torch.randn(3, 300, generator=generator) / 10
        z = ((left_over - column(k[0], x) * x.float()) / column(k[1], x)).to(dtype)
        on(student).correct(x, z, torch.rand(3, generator=generator), k)


@noising
def test_every_dtype(student, generator):
    """correct: in float32, float16 and bfloat16, as exact as float32 rounded once"""
    for dtype in DTYPES:
        on(student).correct(*normal(generator, 2, 1100, dtype=dtype))
        on(student).correct(*cancelling(generator, 2, 500, dtype))


@noising
def test_any_layout(student, generator):
    """correct: for strided, transposed and expanded tensors too"""
    for layout in ("strided", "transposed", "expanded"):
        x, z, t = normal(generator, 3, 20, 30)
        on(student).correct(x, z, t, process(generator, 3), layout=layout)


@noising(weight=2)
def test_safe(student, generator):
    """safe: nothing outside of an example is touched, and no two programs meet"""
    x, z, t = normal(generator, 3, draws.whole(generator, 1100, 2000))
    on(student).safe(x, z, t, process(generator, 3))


@noising
def test_honest(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    on(student).honest(normal(generator, 3, 700), normal(generator, 3, 700))


@noising
def test_lean(student, generator):
    """lean: x and z are read once, x_t and v are written once"""
    on(student).lean(POINTWISE, *normal(generator, 2, 3000))


@noising
def test_compiles(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    on(student).compiles(normal(generator, 2, 1100), normal(generator, 16, 1 << 12))


# --- noising.random_kernel ----------------------------------------------------------------------


random = pytest.mark.exercise("kernels.noising.random_kernel")

# Seeds whose noise is farther out than 5 at an early place of the first example. It comes once in
# two million numbers, so these were looked for.
TAILS = (1, 34), (1379, 21), (2653, 317)


def philox(seed, example, place):
    """Four random words of 32 bits for each counter 2³² example + place, of key seed."""
    low, key = 2**32 - 1, [seed % 2**32, seed >> 32]
    c = [place + 0 * example, example + 0 * place, 0 * place, 0 * place]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [q >> 32 ^ c[1] ^ key[0], q & low, p >> 32 ^ c[3] ^ key[1], p & low]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return np.stack(np.broadcast_arrays(*c), axis=-1)


def noise(shape, seed, dtype=torch.float64):
    """What the kernel should draw for examples of this shape, in this dtype."""
    batch, n = shape[0], math.prod(shape[1:])
    place = np.arange(-(-n // 4), dtype=np.uint64)
    z = noise_at(seed, np.arange(batch, dtype=np.uint64)[:, None], place, dtype)
    return z.reshape(batch, -1)[:, :n].reshape(shape)


def noise_at(seed, example, place, dtype=torch.float64):
    """Four numbers for each counter, side by side: two normal ones of two uniform ones, twice."""
    words = philox(seed, example, place)
    signed = words.astype(np.uint32).view(np.int32)
    u = np.where(signed < 0, ~signed, signed).astype(np.float32) * np.float32(4.6566127342e-10)
    u = torch.from_numpy(u).to(dtype)  # (batch, n / 4, 4)
    r, angle = (-2 * u[..., ::2].clamp_min(1e-7).log()).sqrt(), 2 * math.pi * u[..., 1::2]
    return torch.stack([r * angle.cos(), r * angle.sin()], dim=-1).flatten(-3)


def drawing(x, t, seed, coefficients=None):
    """x_t and v of the noise of a seed, in fp32 at least, rounded once."""
    wide = torch.promote_types(x.dtype, torch.float32)
    x_t, v = reference(x.to(wide), noise(x.shape, seed, wide), t, coefficients)
    return x_t.to(x.dtype), v.to(x.dtype)


def with_noise(student):
    return Stages(student, "kernels.noising.noising_with_noise", Exact(drawing))


def drawn(student, *args):
    """x_t and v as the student's kernel makes them, of the right shape."""
    wrapper = student.function("kernels.noising.noising_with_noise")
    seen = checked(student.instruments.observe.call(wrapper, [*args]))
    results = expect.unpack(seen["results"], ("x_t", "v"))
    return [expect.tensor(r, args[0].shape, k) for k, r in zip(("x_t", "v"), results, strict=True)]


def drawn_in_blocks(student, size, batch, n, seed):
    """The noise that the kernel draws when its BLOCK has another size."""
    kernel = student.function("kernels.noising.random_kernel")
    empty, one, zero = torch.full((batch, n), float("nan")), torch.ones(batch), torch.zeros(batch)
    args = [torch.zeros(batch, n), seed, one, zero, zero, one, empty, empty.clone(), n]
    grid, constants = [batch, -(-n // size)], {"BLOCK": size}
    left = student.instruments.observe.launch(kernel, grid, args, constants)["args"]
    return expect.tensor(left[7], (batch, n), "v")


def a_seed(generator):
    return draws.whole(generator, 0, 2**63 - 1)


def near(got, want, says):
    """Equal to about 1e-5: an angle up to 2π has lost 4e-7 in fp32, times a radius up to 5.7.

    Larger than that budget allows which counts units in the last place, for the sizes where all
    numbers may be small by chance; another random word changes them by about 1.
    """
    expect.close(got, want, says, atol=1e-5, rtol=0)


@random(weight=3)
def test_every_size_with_noise(student, generator):
    """correct: x_t and v with the noise of the seed, for any number of elements"""
    sizes = *SIZES, draws.whole(generator, 1100, 2000)
    for batch, n in zip((3, 2, 1, 1, 2, 1), sizes, strict=True):  # few: a program takes 20 ms
        x, _, t = eighths(generator, batch, n)
        seed = a_seed(generator)
        x_t, v = drawn(student, x, t, seed)
        want_x_t, want_v = drawing(x.double(), t, seed)
        near(x_t, want_x_t, f"x_t is not a x + b z with the noise z of the seed, for n = {n}")
        near(v, want_v, f"v is not c x + d z with the noise z of the seed, for n = {n}")


@random(weight=2)
def test_every_seed(student, generator):
    """correct: for seeds of 0, 32 and 63 bits"""
    x, t = torch.zeros(1, 41), torch.full((1,), 0.5)
    for seed in (0, 2**31, 2**32 - 1, 2**32, 2**63 - 1):
        _, v = drawn(student, x, t, seed)
        near(v, noise(x.shape, seed), f"the noise is not that of seed {seed}")


@random(weight=2)
def test_the_noise_is_normal(student, generator):
    """correct: the noise is normal: its moments, and its distribution"""
    x, t = torch.zeros(2, 3072), torch.full((2,), 0.5)
    z = drawn(student, x, t, a_seed(generator))[1].double().flatten()
    n = len(z)
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        got = float(z.pow(power).mean())
        says = f"the mean of z to the power {power} is not that of a normal number"
        expect.true(abs(got - mean) < 6 * (variance / n) ** 0.5, says, got, mean)  # 6 errors
    below = torch.special.ndtr(z.sort().values)
    gap = float((below - (torch.arange(n, dtype=torch.float64) + 0.5) / n).abs().max())
    says = "the noise is not normally distributed"
    expect.true(gap * n**0.5 < 2.8, says)  # Kolmogorov–Smirnov, p = 3e-7


@random(weight=2)
def test_no_noise_is_used_twice(student, generator):
    """correct: neighbours, blocks, examples and seeds know nothing of each other"""
    x, t = torch.zeros(2, 2048), torch.full((2,), 0.5)
    seed = draws.whole(generator, 0, 2**62)
    z, other = (drawn(student, x, t, s)[1].double() for s in (seed, seed + 1))
    pairs = {"neighbours": (z[:, 1:], z[:, :-1]), "blocks": (z[:, 1024:], z[:, :-1024])}
    pairs |= {f"elements {k} apart": (z[:, k:], z[:, :-k]) for k in (2, 3, 4, 256)}
    pairs |= {"examples": (z[1:], z[:-1]), "seeds": (z, other)}
    for name, (one, two) in pairs.items():
        most = 6 / one.numel() ** 0.5  # six standard errors
        says = f"the noise of {name} hangs together"
        expect.true(abs(float((one * two).mean())) < most, says)
        sizes = ((one.square() - 1) * (two.square() - 1)).mean()
        expect.true(abs(float(sizes)) < 2 * most, says)
    both = torch.cat([z, other]).flatten()
    says = "some noise is drawn twice"  # floats meet by chance: 8192²/2 pairs, 2²⁹ places
    expect.true(both.unique().numel() > 0.995 * both.numel(), says)


@random(weight=2)
def test_blocks_of_another_size_draw_the_same(student, generator):
    """correct: with any BLOCK the noise stays the same"""
    n, seed = draws.whole(generator, 130, 190), a_seed(generator)
    want = noise((2, n), seed)
    for size in (16, 128, 2048):
        z = drawn_in_blocks(student, size, 2, n, seed)
        near(z, want, f"with BLOCK = {size} the noise is not that of the seed")


@random(weight=2)
def test_an_example_keeps_its_noise(student, generator):
    """correct: an example's noise depends on its number and its places, not on what is beside it"""
    seed, t = a_seed(generator), torch.full((2,), 0.5)
    z = drawn(student, torch.zeros(1, 530), t[:1], seed)[1]
    near(z, noise(z.shape, seed), "the noise is not that of the seed")
    larger = drawn(student, torch.zeros(2, 10, 53), t, seed)[1]
    says = "an example's noise changes when the batch grows"
    expect.true(torch.equal(larger[:1].reshape(1, -1), z), says)
    longer = drawn(student, torch.zeros(1, 1031), t[:1], seed)[1]
    says = "the noise of an example's first elements changes when the example grows"
    expect.true(torch.equal(longer[:, :530], z), says)


@random
def test_the_tails_of_the_noise(student, generator):
    """correct: noise far out, which comes once in a million numbers, is not cut off"""
    for seed, place in TAILS:
        x, t = torch.zeros(1, place + 3), torch.full((1,), 0.5)
        want = noise(x.shape, seed)
        expect.true(abs(float(want[0, place])) > 5, "a test is wrong", want[0, place])
        near(drawn(student, x, t, seed)[1], want, f"the noise of seed {seed} is wrong far out")


@random(weight=2)
def test_programs_far_away(student, generator):
    """correct: program (i, j) writes block j of example i alone, also where both are large"""
    seed = a_seed(generator)
    for block, batch, n in ((16, 180_000, 41), (1024, 1, 50_000_000)):
        blocks = -(-n // block)
        i, j = (
            draws.whole(generator, batch // 2, batch),
            draws.whole(generator, blocks // 2, blocks),
        )
        first = i * n + (j - 1) * block  # a window from the block before
        some = min(2 * block, n - (j - 1) * block)
        x, one = torch.randn(some, generator=generator), torch.tensor([0.5])
        before = torch.full((some,), 7.0)
        args = [x, seed, one, 2 * one, -one, one, before, before, n]
        begins = [first, i, i, i, i, first, first]
        says = f"program ({i}, {j}) of examples of {n} elements is wrong"
        where = {"programs": [[i, j]], "begins": begins}
        name = "kernels.noising.random_kernel"
        came = left(student, name, [batch, blocks], args, {"BLOCK": block}, says, **where)
        place = np.arange((j - 1) * block // 4, -(-((j - 1) * block + some) // 4), dtype=np.uint64)
        z = noise_at(seed, np.uint64(i), place)[:some]
        wanted = (0.5 * x + z, 0.5 * (z - x))
        for got, want in zip(came[-2:], wanted, strict=True):
            near(got, alone(want, before, block, [1]), says)


@random
def test_coefficients_of_any_size_with_noise(student, generator):
    """correct: for large, small and negative coefficients, and for more than a few examples"""
    x, _, t = normal(generator, 20, 5)
    size = torch.logspace(-4, 4, 20)
    k = [s * size[torch.randperm(20, generator=generator)] for s in process(generator, 20)]
    with_noise(student).correct(x, t, a_seed(generator), tuple(k))
    with_noise(student).correct(x.half(), t, a_seed(generator), process(generator, 20))


@random
def test_any_process_with_noise(student, generator):
    """correct: for coefficients of any process, each example's own, and shapes of images"""
    x, _, t = normal(generator, 2, 3, 17, 11)
    with_noise(student).correct(x, t, a_seed(generator), process(generator, 2))


@random
def test_one_noise_for_both(student, generator):
    """correct: x_t and v are made of one noise, which is all there is at level 1"""
    x, _, t = eighths(generator, 2, 300)
    x_t, v = drawn(student, x, t, a_seed(generator))
    near(x_t - column(t, x) * v, x, "x_t − t v must lead back to x")
    near(x_t + column(1 - t, x) * v, v + x, "x_t + (1 − t) v must be the noise, as v + x is")
    x_t, v = drawn(student, x, torch.tensor([1.0, 0.0]), a_seed(generator))
    near(x_t[1], x[1], "at level 0 x_t must be x")
    near(x_t[0], (v + x)[0], "at level 1 x_t must be the noise")


@random
def test_every_dtype_with_noise(student, generator):
    """correct: in float32, float16 and bfloat16, as exact as float32 rounded once"""
    for dtype in DTYPES:
        x, _, t = normal(generator, 1, 1000, dtype=dtype)
        with_noise(student).correct(x, t, a_seed(generator))


@random
def test_half_precision_is_for_x_alone(student, generator):
    """correct: noise, coefficients and products keep their digits where results nearly cancel"""
    for dtype in DTYPES:
        k, seed = cancelling_process(generator, 2), a_seed(generator)
        z, left_over = noise((2, 300), seed), torch.randn(2, 300, generator=generator) / 100
        x = ((left_over - column(k[1], z) * z) / column(k[0], z)).to(dtype)
        with_noise(student).correct(x, torch.rand(2, generator=generator), seed, k)


@random
def test_any_layout_with_noise(student, generator):
    """correct: for strided, transposed and expanded tensors too"""
    for layout in ("strided", "transposed", "expanded"):
        x, _, t = normal(generator, 2, 20, 30)
        with_noise(student).correct(x, t, a_seed(generator), layout=layout)


@random(weight=2)
def test_safe_with_noise(student, generator):
    """safe: nothing outside of an example is touched, and no two programs meet"""
    x, _, t = normal(generator, 2, draws.whole(generator, 1100, 2000))
    with_noise(student).safe(x, t, a_seed(generator))


@random
def test_honest_with_noise(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    (x, _, t), (y, _, s) = normal(generator, 2, 700), normal(generator, 2, 700)
    with_noise(student).honest((x, t, 5), (y, s, 6))


@random
def test_lean_with_noise(student, generator):
    """lean: x is read once, x_t and v are written once, and the noise is nowhere"""
    x, _, t = normal(generator, 2, 2000)
    with_noise(student).lean(POINTWISE, x, t, a_seed(generator))


@random
def test_compiles_with_noise(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    (x, _, t), (y, _, s) = normal(generator, 1, 700), normal(generator, 16, 1 << 12)
    with_noise(student).compiles((x, t, 2**40), (y, s, 2**40))
