"""Hidden graders of chapter 02's answer cells: every step at many random places, the last ones
against mixtures whose divergence is known."""

import math

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.truth import GaussianMixture, jensen_shannon

N = 200  # places


pointwise = pytest.mark.exercise("chapter02.pointwise")
slope = pytest.mark.exercise("chapter02.slope")
maximiser = pytest.mark.exercise("chapter02.maximiser")
curvature = pytest.mark.exercise("chapter02.curvature")
value_of_best = pytest.mark.exercise("chapter02.value_of_best")
best_generator = pytest.mark.exercise(
    "chapter02.best_generator", dtype=False
)  # V may be of float32


def places(generator, n=N):
    """y between 0 and 1, and a and b over some orders of magnitude."""
    y, a, b = torch.rand(3, n, generator=generator, dtype=torch.float64)
    return 0.02 + 0.96 * y, (6 * a - 3).exp(), (6 * b - 3).exp()


def edges(generator, n=30):
    """y next to 0 and to 1, densities from one in 10⁹ to 10⁶ of both kinds."""
    y, a, b = torch.rand(3, n, generator=generator, dtype=torch.float64)
    y = torch.where(torch.arange(n) % 2 == 0, 10 ** (-1 - 5 * y), 1 - 10 ** (-1 - 5 * y))
    return y, 10 ** (15 * a - 9), 10 ** (15 * b - 9)


def given(generator):
    """Places in every form: one or many, in rows and columns, with one a and b for all of them."""
    y, a, b = places(generator, 12)
    yield y, a, b
    yield tuple(k.reshape(3, 4) for k in (y, a, b))
    yield tuple(k[:1] for k in (y, a, b))
    yield y[0], a[0], b[0]
    yield y, a[0], b[0]
    yield y, a, b[1]
    yield y.float(), a.float(), b.float()
    yield edges(generator)


def given_with_0(generator):
    """Those, and places without data, without samples, and without both."""
    yield from given(generator)
    y, a, b = places(generator, 12)
    yield y, a * torch.tensor([0, 1, 0] * 4), b * torch.tensor([1, 0, 0] * 4)


def digits(y):
    """How close a result must come: float32 leaves fewer digits, where 1 − y cancels most."""
    off = 1e-9 if y.dtype == torch.float64 else 1e-4
    return {"atol": 1e-14, "rtol": off}


def numbers(got, like, what):
    got = expect.tensor(got, like.shape, what)
    expect.true(got.dtype == like.dtype, f"{what} has another dtype", got.dtype, like.dtype)
    return got.double()


def number(got, what):
    """One number, as a tensor of shape () or as a float."""
    if isinstance(got, float | int):
        return torch.tensor(float(got), dtype=torch.float64)
    return expect.tensor(got, (), what).double()


def added(y, a, b):
    return a * y.log() + b * torch.log1p(-y)


def mixtures(generator):
    """Two mixtures on the line, a fine grid with the densities of both on it, and its step.

    Each has a wide component, so that neither is rounded away beside the other.
    """
    both = []
    for _ in range(2):
        means = 1.5 * torch.randn(3, 1, generator=generator, dtype=torch.float64)
        std = 0.4 + 0.6 * torch.rand(3, generator=generator, dtype=torch.float64)
        std[0] = 3
        weights = 0.2 + torch.rand(3, generator=generator, dtype=torch.float64)
        both.append(GaussianMixture.isotropic(means, std, weights))
    grid = torch.linspace(-22, 22, 4401, dtype=torch.float64)
    p, q = (m.density(grid[:, None]) for m in both)
    return both, grid[:, None], p, q, float(grid[1] - grid[0])


# --- chapter02.pointwise ------------------------------------------------------------------------


@pointwise(weight=2)
def test_at_many_places(student, generator):
    """a log y + b log (1 − y) at random y, a and b"""
    y, a, b = places(generator)
    got = numbers(student.chapter02.pointwise(y, a, b), y, "what a place adds")
    expect.close(got, added(y, a, b), "not a log y + b log (1 − y)", atol=1e-9, rtol=1e-9)


@pointwise
def test_roles_can_be_swapped(student, generator):
    """y for 1 − y, and a for b: nothing changes"""
    y, a, b = places(generator)
    got, other = (
        numbers(student.chapter02.pointwise(*given), y, "what a place adds")
        for given in ((y, a, b), (1 - y, b, a))
    )
    expect.close(got, other, "data and samples do not play the same part", atol=1e-9, rtol=1e-9)


@pointwise
def test_places_of_every_form(student, generator):
    """one place or many, one a and b for all of them, y next to 0 and 1"""
    for y, a, b in given_with_0(generator):
        precision = digits(y)
        got = numbers(student.chapter02.pointwise(y, a, b), y, "what a place adds")
        says = f"y of shape {tuple(y.shape)}, a of shape {tuple(a.shape)}"
        y, a, b = (k.double() for k in (y, a, b))
        expect.close(got, added(y, a, b), says, **precision)


# --- chapter02.slope ----------------------------------------------------------------------------


@slope(weight=2)
def test_slopes_at_many_places(student, generator):
    """the derivative at random y, a and b"""
    y, a, b = places(generator)
    y.requires_grad_()
    (want,) = torch.autograd.grad(added(y, a, b).sum(), y)
    got = numbers(student.chapter02.slope(y.detach(), a, b), want, "the slope")
    expect.close(got, want, "not the derivative", atol=1e-8, rtol=1e-9)


@slope
def test_uphill_before_and_downhill_after(student, generator):
    """it leads up left of a/(a + b), and down right of it"""
    _, a, b = places(generator)
    best = a / (a + b)
    left, right = (
        numbers(student.chapter02.slope(y, a, b), best, "the slope")
        for y in (0.9 * best, best + 0.1 * (1 - best))
    )
    expect.true(bool((left > 0).all() and (right < 0).all()), "its sign is wrong somewhere")


@slope
def test_slopes_at_places_of_every_form(student, generator):
    """one place or many, one a and b for all of them, y next to 0 and 1"""
    for y, a, b in given_with_0(generator):
        precision = digits(y)
        got = numbers(student.chapter02.slope(y, a, b), y, "the slope")
        says = f"y of shape {tuple(y.shape)}, a of shape {tuple(a.shape)}"
        y, a, b = (k.double() for k in (y, a, b))
        up, down = a / y, b / (1 - y)
        off = (got - (up - down)).abs() / (up + down + 1e-9)  # both may be of one size
        expect.close(off, torch.zeros_like(y), says, atol=precision["rtol"], rtol=0)


# --- chapter02.maximiser ------------------------------------------------------------------------


@maximiser(weight=2)
def test_no_other_y_adds_more(student, generator):
    """nothing between 0 and 1 is better"""
    y, a, b = places(generator)
    best = numbers(student.chapter02.maximiser(a, b), y, "the best y")
    expect.true(bool(((best > 0) & (best < 1)).all()), "it must lie between 0 and 1")
    most = added(best, a, b)
    for other in (y, best + 0.05 * (1 - best), 0.95 * best):
        worse = bool((added(other, a, b) <= most + 1e-12).all())
        expect.true(worse, "another y adds more at some places")


@maximiser
def test_only_their_ratio_counts(student, generator):
    """twice as much of both changes nothing; the two best answers add up to 1"""
    y, a, b = places(generator)
    one, twice, swapped = (
        numbers(student.chapter02.maximiser(*given), y, "the best y")
        for given in ((a, b), (2 * a, 2 * b), (b, a))
    )
    expect.close(one, twice, "it changes when both densities are doubled", atol=1e-9, rtol=1e-9)
    expect.close(
        one + swapped, torch.ones(N).double(), "y*(a, b) + y*(b, a) is not 1", atol=1e-9, rtol=1e-9
    )


@maximiser
def test_densities_of_any_size(student, generator):
    """one place or many, densities from one in 10⁹ to 10⁶"""
    few = torch.rand(2, 4, generator=generator) + 0.1
    for _, a, b in (*given(generator), (None, *(1e-30 * few)), (None, *(1e30 * few))):
        a, b = torch.broadcast_tensors(a, b)
        got = numbers(student.chapter02.maximiser(a, b), a, "the best y")
        says = f"a of shape {tuple(a.shape)}: the slope is not 0 there"
        want, off = a.double() / (a.double() + b.double()), digits(a)["rtol"]
        expect.close(got, want, says, atol=off, rtol=0)  # 1 − b/(a + b) is right, too


# --- chapter02.curvature ------------------------------------------------------------------------


@curvature(weight=2)
def test_second_derivatives_at_many_places(student, generator):
    """the second derivative at random y, a and b"""
    y, a, b = places(generator)
    y.requires_grad_()
    (first,) = torch.autograd.grad(added(y, a, b).sum(), y, create_graph=True)
    (want,) = torch.autograd.grad(first.sum(), y)
    got = numbers(student.chapter02.curvature(y.detach(), a, b), want, "the curvature")
    expect.close(got, want, "not the second derivative", atol=1e-8, rtol=1e-9)


@curvature
def test_bent_downwards_everywhere(student, generator):
    """below 0 everywhere, and −(a + b)³/(a b) at the best y"""
    _, a, b = places(generator)
    got = numbers(student.chapter02.curvature(a / (a + b), a, b), a, "the curvature")
    expect.true(bool((got < 0).all()), "it is not below 0 at some places")
    expect.close(got, -((a + b) ** 3) / (a * b), "wrong at the best y", rtol=1e-9, atol=1e-9)


@curvature
def test_curvature_at_places_of_every_form(student, generator):
    """one place or many, one a and b for all of them, y next to 0 and 1"""
    for y, a, b in given_with_0(generator):
        precision = digits(y)
        got = numbers(student.chapter02.curvature(y, a, b), y, "the curvature")
        says = f"y of shape {tuple(y.shape)}, a of shape {tuple(a.shape)}"
        y, a, b = (k.double() for k in (y, a, b))
        expect.close(got, -a / y**2 - b / (1 - y) ** 2, says, **precision)


# --- chapter02.value_of_best --------------------------------------------------------------------


@value_of_best(weight=3)
def test_it_knows_the_divergence(student, generator):
    """−log 4 + 2 JSD of random mixtures"""
    both, _, p, q, dx = mixtures(generator)
    V = number(student.chapter02.value_of_best(p, q, dx), "V(G, D*)")
    want = -math.log(4) + 2 * jensen_shannon(*both)
    expect.close(V, want, "V(G, D*) is −log 4 + 2 JSD", atol=1e-6, rtol=0)


@value_of_best(weight=2)
def test_another_discriminator_reaches_less(student, generator):
    """no other discriminator reaches as much"""
    (data, samples), grid, p, q, dx = mixtures(generator)
    V = number(student.chapter02.value_of_best(p, q, dx), "V(G, D*)")
    odds = data.log_density(grid) - samples.log_density(grid)
    for tilt, shift in ((0.8, 0.0), (1.0, 0.4), (1.2, -0.2)):
        l = tilt * odds + shift
        logsigmoid = torch.nn.functional.logsigmoid
        other = ((p * logsigmoid(l) + q * logsigmoid(-l)) * dx).sum()
        expect.true(bool(other < V), "a discriminator reaches more than your best one")
    expect.true(bool(V < 0), "no discriminator reaches 0 while the densities overlap")


@value_of_best
def test_the_two_ends(student, generator):
    """0 where no place has both, −log 4 where both are the same"""
    p = torch.rand(8, generator=generator, dtype=torch.float64)
    p[4:] = 0
    p = p / p.sum()
    far, near = (
        number(student.chapter02.value_of_best(p, q, 1.0), "V(G, D*)") for q in (p.flip(0), p)
    )
    expect.close(far, 0.0, "D* is never wrong: V = 0", atol=1e-9, rtol=1e-9)
    expect.close(near, -math.log(4), "D* is ½ everywhere: V = −log 4", atol=1e-9, rtol=1e-9)


@value_of_best(weight=2)
def test_densities_on_every_grid(student, generator):
    """on lines and in planes, of one place or many, of any spacing, with 0 in one or both"""
    for shape in ((9,), (4, 5), (1,), (2, 3, 4)):
        p, q = torch.rand(2, *shape, generator=generator, dtype=torch.float64)
        if math.prod(shape) > 1:
            p.flatten()[::4] = 0
            q.flatten()[::6] = 0
        single = student.chapter02.value_of_best(p.float(), q.float(), 1.0)
        for size, dx in ((1.0, 1.0), (1.0, 0.02), (1e-9, 1e9), (1e6, 1e-6), (1e-200, 1e200)):
            got = number(student.chapter02.value_of_best(size * p, size * q, dx), "V(G, D*)")
            xlogy, both = torch.special.xlogy, torch.where(p + q > 0, p + q, 1.0)
            want = (xlogy(p, p / both) + xlogy(q, q / both)).sum() * (size * dx)
            says = f"densities of shape {shape}, of about {size:g}, dx = {dx:g}"
            expect.close(got, want, says, atol=0, rtol=1e-7)
        expect.close(number(single, "V(G, D*)"), want, "in single precision", atol=1e-5, rtol=1e-5)


# --- chapter02.best_generator -------------------------------------------------------------------


@best_generator(weight=2)
def test_no_other_density_has_so_low_a_value(student, generator):
    """p_G of the least value"""
    _, _, p, _, dx = mixtures(generator)
    p_g, _ = expect.unpack(student.chapter02.best_generator(p), ["p_G", "V"])
    p_g = numbers(p_g, p, "p_G")
    expect.true(bool((p_g >= 0).all()), "a density is never negative")
    expect.close(p_g.sum() * dx, 1.0, "p_G does not add up to 1", atol=1e-6, rtol=1e-6)
    both = p + p_g
    V = torch.special.xlogy(p, p / both) + torch.special.xlogy(p_g, p_g / both)
    V = V.nan_to_num(0.0).sum() * dx
    expect.close(V, -math.log(4), "another density has a lower value", atol=1e-6, rtol=1e-6)


@best_generator
def test_densities_of_every_form(student, generator):
    """densities in a plane, with places of 0, and uneven ones; exactly, to float64 rounding"""
    for shape in ((7,), (3, 4), (1,)):
        p = 100 * torch.rand(shape, generator=generator, dtype=torch.float64).square()
        p.flatten()[1::3] = 0
        p_g, _ = expect.unpack(student.chapter02.best_generator(p.float()), ["p_G", "V"])
        expect.true(p_g.dtype == torch.float32, "p_G has another dtype than p_data", p_g.dtype)
        p_g, _ = expect.unpack(student.chapter02.best_generator(p), ["p_G", "V"])
        says = f"of a density of shape {shape}"
        expect.close(p_g, p, says, atol=1e-14, rtol=1e-12)
        expect.true(p_g.dtype == p.dtype, "p_G has another dtype than p_data", p_g.dtype, p.dtype)


@best_generator
def test_the_least_value(student, generator):
    """the value there"""
    _, _, p, _, _ = mixtures(generator)
    _, V = expect.unpack(student.chapter02.best_generator(p), ["p_G", "V"])
    V = number(V, "V(G, D*)")
    expect.close(V, -math.log(4), "not the value at that p_G", atol=2e-7, rtol=0)  # in float32 too
