"""Hidden graders of chapter 06: held to theory first (posteriors of finite data and of mixtures,
identities of densities and shifts, what averaging pixels does to noise)."""

import math

import pytest
import torch

from cs231n_gen.checking import draws, expect
from cs231n_gen.truth import FiniteData, GaussianMixture

optimal_velocity = pytest.mark.exercise("schedules.optimal_velocity")
loss_floor = pytest.mark.exercise("schedules.loss_floor")
logit_normal = pytest.mark.exercise("schedules.logit_normal")
logit_normal_density = pytest.mark.exercise("schedules.logit_normal_density")
shift = pytest.mark.exercise("schedules.shift")
resolution_alpha = pytest.mark.exercise("schedules.resolution_alpha")


def number(generator, low, high):
    return float(low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64))


def uniform(generator, n, low, high):
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


def normal(generator, *shape, dtype=torch.float64):
    return torch.randn(shape, generator=generator, dtype=dtype)


# What rounding leaves where all that is computed is a double.
DOUBLE = {"atol": 1e-10, "rtol": 1e-10}


REFUSED = "{} is refused"


def precise(generator, *shape):
    """Numbers in float64, with more digits than float32 can hold."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def noisy(x, z, t):
    """x_t for a level an example."""
    t = t.reshape(-1, *[1] * (x.dim() - 1))
    return x + t * (z - x)


def chosen(generator, data, n):
    """n members of the data."""
    return data[torch.randint(len(data), (n,), generator=generator)]


def mixture(generator):
    """Two overlapping Gaussians in the plane."""
    means = 1.5 * normal(generator, 2, 2)
    root = 0.6 * normal(generator, 2, 2, 2)
    covs = root @ root.mT + 0.3 * torch.eye(2, dtype=torch.float64)
    return GaussianMixture(torch.ones(2), means, covs)


# --- schedules.optimal_velocity -----------------------------------------------------------------


@optimal_velocity(weight=3)
@pytest.mark.parametrize("shape", [(3,), (1, 4, 5)], ids=["points", "images"])
def test_it_is_the_mean_over_all_pairs(student, generator, shape):
    """it is E[z − x | x_t] of a finite data set, for points and images"""
    data = 1 + normal(generator, draws.whole(generator, 9, 21), *shape)
    n = draws.whole(generator, 5, 9)
    t = uniform(generator, n, 0.3, 0.95)
    x_t = noisy(chosen(generator, data, n), normal(generator, n, *shape), t)
    v = student.schedules.optimal_velocity(x_t, t, data)
    want = FiniteData(data).velocity(x_t, t)
    says = "not Σ_i p(x_i | x_t) (z_i − x_i) with z_i = (x_t − (1 − t) x_i) / t"
    expect.close(v, want, says, atol=1e-7, rtol=1e-7)


@optimal_velocity(weight=2)
def test_two_data_give_a_hyperbolic_tangent(student, generator):
    """two data μ ± h are weighed by tanh((1 − t) h·(x_t − (1 − t) μ) / t²)"""
    d, n = draws.whole(generator, 1, 6), 6
    mu, h = normal(generator, d), normal(generator, d)
    t = uniform(generator, n, 0.5, 0.95)
    x_t = 2 * normal(generator, n, d)
    a = (1 - t)[:, None]
    x = mu + h * torch.tanh((a * (x_t - a * mu)) @ h / t**2)[:, None]
    v = student.schedules.optimal_velocity(x_t, t, torch.stack([mu + h, mu - h]))
    says = "the weights of two data are wrong"
    expect.close(v, (x_t - x) / t[:, None], says, atol=1e-7, rtol=1e-7)  # (x_t − x) / t = z − x


@optimal_velocity(weight=2)
def test_draws_of_a_mixture_stand_for_the_mixture(student, generator):
    """for many draws of a mixture it is near the mixture's own velocity"""
    truth, n = mixture(generator), 12
    data = truth.sample(4000, generator)
    t = uniform(generator, n, 0.6, 0.95)
    x_t = noisy(truth.sample(n, generator), normal(generator, n, 2), t)
    v = expect.tensor(student.schedules.optimal_velocity(x_t, t, data), (n, 2), "v")
    known = FiniteData(data).posterior(x_t, 1 - t, t)
    p = known.responsibilities[:, :, None]
    off = (data - known.x[:, None]) / t[:, None, None]
    error = (p * off).square().sum(1).sqrt()  # standard error of a mean with these weights
    gap = (v - truth.velocity(x_t, t)) / error
    gap = gap[1 / known.responsibilities.square().sum(1) > 200]  # where many draws have a say
    says = "many draws of a density must answer nearly as the density does"
    expect.true(bool((gap.abs() < 7).all()), says, f"{float(gap.abs().max()):.3g} standard errors")


@optimal_velocity(weight=3)
def test_both_ends(student, generator):
    """at t = 1 it is z − E[x], at t = 0 it is E[z] − x, and beside other levels too"""
    data = 2 + normal(generator, 8, 3)
    x_t, t = normal(generator, 5, 3), uniform(generator, 5, 0.5, 0.9)
    t[0], t[3] = 1.0, 0.0
    x_t[3] = data[2]
    v = expect.tensor(student.schedules.optimal_velocity(x_t, t, data), (5, 3), "v")
    says = "slide 75 with its errata: x_t less the mean of the data"
    expect.close(v[0], x_t[0] - data.mean(0), says, atol=1e-9, rtol=1e-9)
    expect.close(
        v[3], -data[2], "slide 76 with its errata: the mean of noise less x", atol=1e-9, rtol=1e-9
    )


@optimal_velocity(weight=2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_with_little_noise_the_datum_is_recognised(student, generator, dtype):
    """for small t it is z − x of the datum, without overflow and in the precision of x_t"""
    data = 3 * normal(generator, 12, 1, 16, 16, dtype=dtype)
    x, z = data[:6], normal(generator, 6, 1, 16, 16, dtype=dtype)
    t = torch.tensor([0.003, 0.01, 0.03, 0.1, 0.2, 0.3], dtype=dtype)
    v = student.schedules.optimal_velocity(noisy(x, z, t), t, data)
    # in float32 x_t is rounded to 1e-6, which z = (x_t − (1 − t) x) / t makes 3e-4
    expect.close(v, z - x, "the nearest datum has nearly all of the weight", atol=5e-3, rtol=0)
    expect.true(v.dtype == dtype, "the precision changed on the way", v.dtype, dtype)


@optimal_velocity
def test_moving_the_data_moves_the_answer(student, generator):
    """with data moved by c and x_t by (1 − t) c, the answer moves by −c"""
    data, c = normal(generator, 10, 2), 3 * normal(generator, 2)
    t = uniform(generator, 6, 0.4, 0.9)
    x_t = noisy(data[:6], normal(generator, 6, 2), t)
    one = expect.tensor(student.schedules.optimal_velocity(x_t, t, data), (6, 2), "v")
    moved = x_t + (1 - t)[:, None] * c
    two = student.schedules.optimal_velocity(moved, t, data + c)
    expect.close(two, one - c, "every z stays and every x moves by c", atol=1e-6, rtol=1e-6)


@optimal_velocity
def test_following_it_brings_members_of_the_data_back(student, generator):
    """Euler steps from noise end at the data, and nowhere else"""
    angle = torch.arange(6, dtype=torch.float64) * math.pi / 3 + number(generator, 0, 1)
    data = 2 * torch.stack([angle.cos(), angle.sin()], dim=1)
    x, T = normal(generator, 60, 2), 25
    for k in range(T, 0, -1):
        t = torch.full((60,), k / T, dtype=torch.float64)
        x = x - expect.tensor(student.schedules.optimal_velocity(x, t, data), (60, 2), "v") / T
    nearest = torch.cdist(x.double(), data)
    arrived = (nearest.amin(1) < 0.05).double().mean()
    says = "the best net for a finite set can bring back nothing but its members"
    expect.true(bool(arrived > 0.8), says, f"{float(arrived):.0%} arrive", "nearly all")
    found = len(nearest.argmin(1).unique())
    expect.true(found >= 4, "from 60 noises, more than three of the six are reached", found, 6)


@optimal_velocity(weight=2)
def test_any_number_of_data_and_examples(student, generator):
    """one datum or many, one example or many, dimensions of length 1, in float64"""
    for examples, n, shape in [
        (1, 1, (3,)),
        (1, 5, (2, 3)),
        (6, 1, (1,)),
        (2, 7, (1, 1, 1)),
        (5, 5, (5,)),
        (40, 300, (2,)),
        (3, 4, (2, 2, 3, 2)),
    ]:
        data = 1 + normal(generator, examples, *shape)
        t = uniform(generator, n, 0.2, 0.95)
        t[-1] = 0.99
        x_t = noisy(chosen(generator, data, n), normal(generator, n, *shape), t)
        v = student.schedules.optimal_velocity(x_t, t, data)
        says = f"{examples} data and {n} examples of shape {shape}"
        expect.close(v, FiniteData(data).velocity(x_t, t), says, what="v", **DOUBLE)


@optimal_velocity(weight=2)
def test_a_datum_that_comes_three_times(student, generator):
    """a datum that comes three times is three times as likely"""
    mu, n = normal(generator, 2), 6
    x_t, t = 1.5 * normal(generator, n, 2), uniform(generator, n, 0.5, 0.95)
    data = torch.stack([mu, -mu, mu, mu])
    v = student.schedules.optimal_velocity(x_t, t, data)
    odds = 3 * torch.exp(2 * (1 - t) * (x_t @ mu) / t**2)  # of mu against −mu
    x = mu * ((odds - 1) / (odds + 1))[:, None]
    expect.close(v, (x_t - x) / t[:, None], "each of the data counts once", **DOUBLE)


@optimal_velocity
def test_numbers_far_from_0(student, generator):
    """data around 1000 lose no digits that float32 and float64 can keep"""
    for dtype, off in ((torch.float64, 1e-6), (torch.float32, 2e-3)):
        data = (1000 + normal(generator, 12, 3)).to(dtype)
        t = uniform(generator, 8, 0.3, 0.6).to(dtype)
        x_t = noisy(data[:8], normal(generator, 8, 3).to(dtype), t)
        v = expect.tensor(student.schedules.optimal_velocity(x_t, t, data), (8, 3), "v")
        centre = 1000.0  # moved by c, v moves by −c
        near = x_t.double() - (1 - t.double())[:, None] * centre
        want = FiniteData(data.double() - centre).velocity(near, t.double())
        says = f"digits are lost for data around 1000 in {dtype}"
        expect.close(v.double() + centre, want, says, atol=off, rtol=off)


@optimal_velocity
def test_points_far_from_all_data(student, generator):
    """for small t it is finite and the mean over the data also where x_t is far from all data"""
    data = normal(generator, 7, 3)
    t = torch.tensor([1e-3, 0.003, 0.01, 0.03, 0.1, 0.3], dtype=torch.float64)
    x_t = 6 * normal(generator, 6, 3)
    v = student.schedules.optimal_velocity(x_t, t, data)
    z = (x_t[:, None] - (1 - t)[:, None, None] * data) / t[:, None, None]
    p = (-z.square().sum(2) / 2).softmax(1)[..., None]
    expect.close(v, (p * (z - data)).sum(1), "E[v | x_t]", atol=1e-9, rtol=1e-9)


@optimal_velocity(weight=2)
def test_levels_next_to_0(student, generator):
    """down to t = 10⁻⁵ the datum is recognised and z found; at 10⁻¹² all is still finite"""
    data = normal(generator, 9, 4)
    x, z = chosen(generator, data, 6), normal(generator, 6, 4)
    t = torch.tensor([1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 1e-2], dtype=torch.float64)
    v = student.schedules.optimal_velocity(noisy(x, z, t), t, data)
    # x_t is rounded to 4e-16, which division by t makes 4e-11
    expect.close(v, z - x, "z − x of the datum", atol=1e-8, rtol=1e-8)
    for dtype in (torch.float32, torch.float64):
        t = torch.tensor([1e-12, 1e-7, 0.0, 1.0, 1e-12, 0.5], dtype=dtype)
        x_t = noisy(x.to(dtype), z.to(dtype), t)
        v = student.schedules.optimal_velocity(x_t, t, data.to(dtype))
        expect.tensor(v, (6, 4), f"v at t = 1e-12 in {dtype}")
        expect.close(v[2], -x_t[2], "at t = 0 it is −x_t")
        expect.true(v.dtype == dtype, "the precision changed on the way", v.dtype, dtype)


@optimal_velocity
def test_at_0_it_is_less_x_t_whatever_x_t_is(student, generator):
    """at t = 0 it is −x_t, for points that are no data, for images and for one example"""
    for shape in ((4, 3), (1, 2), (3, 1, 2, 2)):
        data, x_t = 1 + normal(generator, 7, *shape[1:]), normal(generator, *shape)
        t = torch.zeros(len(x_t), dtype=torch.float64)
        v = student.schedules.optimal_velocity(x_t, t, data)
        expect.close(v, -x_t, f"E[z] − x_t for x_t of shape {shape}", atol=1e-12, rtol=1e-12)
        v = student.schedules.optimal_velocity(x_t, torch.ones_like(t), data)
        says = f"x_t − E[x] at t = 1 for x_t of shape {shape}"
        expect.close(v, x_t - data.mean(0), says, atol=1e-12, rtol=1e-12)


@optimal_velocity
def test_what_does_not_fit_is_refused(student, generator):
    """levels that are not one for each, and data that are not shaped like x_t, are refused"""
    x, call = precise(generator, 4, 3), student.schedules.optimal_velocity
    t = torch.ones(4, dtype=torch.float64)
    expect.close(call(x, t, x), x - x.mean(0), "at t = 1: x_t less the mean", what="v")
    for shape in ((), (1,), (3,), (4, 1)):
        says = REFUSED.format(f"levels of shape {shape} for 4 examples")
        expect.raises("ValueError", lambda n=shape: call(x, t.new_ones(n), x), says)
    for shape in ((4, 2), (4, 1), (4, 3, 1), (3,), (0, 3)):
        says = REFUSED.format(f"data of shape {shape} for x_t of shape (4, 3)")
        expect.raises("ValueError", lambda n=shape: call(x, t, x.new_ones(n)), says)


# --- schedules.loss_floor -----------------------------------------------------------------------


def definition(x, z, levels, data):
    """Mean over pairs and dimensions of (v − E[v | x_t])²."""
    known = FiniteData(data)
    errors = [(z - x - known.velocity(x + t * (z - x), float(t))).square().mean() for t in levels]
    return torch.stack(errors)


@loss_floor(weight=3)
@pytest.mark.parametrize("shape", [(3,), (1, 3, 4)], ids=["points", "images"])
def test_it_is_the_mean_square_of_what_is_missed(student, generator, shape):
    """it is the mean of (v − E[v | x_t])², one number a level, in the order of the levels"""
    data = 1 + normal(generator, draws.whole(generator, 9, 21), *shape)
    n = draws.whole(generator, 5, 9)
    x, z = chosen(generator, data, n), normal(generator, n, *shape)
    levels = uniform(generator, draws.whole(generator, 4, 7), 0.4, 1.0)
    floor = student.schedules.loss_floor(x, z, levels, data)
    want = definition(x, z, levels, data)
    expect.close(floor, want, "not the mean over pairs and dimensions", atol=1e-9, rtol=1e-9)


@loss_floor(weight=2)
def test_it_estimates_what_x_t_leaves_open(student, generator):
    """on average it is tr Cov[x | x_t] / t², per dimension"""
    data, n = normal(generator, 12, 3), 4000
    x, z = chosen(generator, data, n), normal(generator, n, 3)
    levels = uniform(generator, 2, 0.5, 0.9)
    floor = expect.tensor(student.schedules.loss_floor(x, z, levels, data), (2,), "the floor")
    known = FiniteData(data)
    for value, t in zip(floor.tolist(), levels.tolist(), strict=True):
        seen = known.posterior(x + t * (z - x), 1 - t, t)
        left = seen.variance / t**2 / 3
        missed = ((x - seen.x) / t).square().mean(1)
        error = float((missed - left).std()) / n**0.5
        says = "the variance that x_t leaves to x, over t², is what the best net misses"
        expect.close(value, left.mean(), says, atol=6 * error, rtol=0)


@loss_floor(weight=2)
def test_it_is_near_the_floor_of_a_mixture(student, generator):
    """for many draws of a mixture it is near the mixture's irreducible loss"""
    truth, n = mixture(generator), 2000
    data, z = truth.sample(n, generator), normal(generator, n, 2)
    levels = torch.tensor([0.95, 0.6], dtype=torch.float64)
    floor = student.schedules.loss_floor(data, z, levels, data)
    spread = ((z - data).square().mean(1).std() / n**0.5).item()
    # a set that is known by heart leaves less than its density: seen, up to 3 % at t = 0.6
    says = "draws of a density must leave nearly what the density leaves"
    want = truth.irreducible_loss(levels)
    expect.close(floor, want, says, atol=6 * spread, rtol=0.08)


@loss_floor(weight=2)
def test_the_ends_of_the_floor(student, generator):
    """at t = 1 the data's variance, at t = 0 that of noise, in between nothing of what is told
    apart"""
    data = 5 * normal(generator, 6, 8)
    x, z = chosen(generator, data, 9), normal(generator, 9, 8)
    levels = torch.tensor([1.0, 0.01, 0.0], dtype=torch.float64)
    floor = student.schedules.loss_floor(x, z, levels, data)
    want = [(x - data.mean(0)).square().mean(), torch.tensor(0.0), z.square().mean()]
    says = "the floor at t = 1, t = 0.01 and t = 0 of data far apart"
    expect.close(floor, torch.stack([w.double() for w in want]), says, atol=1e-6, rtol=1e-6)


@loss_floor
def test_larger_data_are_data_at_another_level(student, generator):
    """data times c at t have the floor of the data at s, times (c s/t)², for s/(1 − s) =
    t/((1 − t) c)"""
    data, c = normal(generator, 15, 2), number(generator, 1.5, 3)
    x, z = chosen(generator, data, 10), normal(generator, 10, 2)
    t = uniform(generator, 3, 0.5, 0.9)
    odds = t / ((1 - t) * c)
    s = odds / (1 + odds)
    large = student.schedules.loss_floor(c * x, z, t, c * data)
    small = expect.tensor(student.schedules.loss_floor(x, z, s, data), (3,), "the floor")
    expect.true(bool((small > 0).all()), "the floor of data that overlap is above 0", small)
    expect.close(
        large, small * (c * s / t) ** 2, "scale and level do not fit", rtol=1e-6, atol=1e-6
    )


@loss_floor(weight=2)
def test_any_number_of_levels_and_pairs(student, generator):
    """one level, as many as pairs, twice the same; one pair, one datum"""
    for examples, n, levels, shape in [
        (6, 5, [0.7], (3,)),
        (6, 4, [0.9, 0.4, 0.6, 0.4], (2,)),
        (4, 3, [0.5, 1.0, 0.8], (3,)),
        (5, 1, [0.8, 0.6], (2, 2)),
        (1, 4, [1.0, 0.3, 0.9], (2,)),
        (3, 300, [0.5], (1,)),
        (3, 2, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.45, 0.55], (1, 1, 2)),
    ]:
        data = 1 + normal(generator, examples, *shape)
        x, z = chosen(generator, data, n), 8 * normal(generator, n, *shape)
        t = torch.tensor(levels, dtype=torch.float64)
        floor = student.schedules.loss_floor(x, z, t, data)
        says = f"the floor of {examples} data, {n} pairs of shape {shape}, at {levels}"
        expect.close(floor, definition(x, z, t, data), says, atol=1e-10, rtol=1e-9)


@loss_floor
def test_the_floor_keeps_its_precision(student, generator):
    """in float32 and float64, for data that are large too"""
    for dtype, off in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        data = (20 * normal(generator, 12, 2)).to(dtype)
        x, z = chosen(generator, data, 9), normal(generator, 9, 2, dtype=dtype)
        levels = torch.tensor([0.95, 0.9, 1.0, 0.0], dtype=dtype)
        floor = student.schedules.loss_floor(x, z, levels, data)
        known = [
            definition(x.double(), z.double(), levels[:3].double(), data.double()),
            z.double().square().mean()[None],  # at t = 0 the best answer is −x
        ]
        expect.close(floor, torch.cat(known), f"the floor in {dtype}", atol=off, rtol=off)
        expect.true(floor.dtype == dtype, "the precision changed", floor.dtype, dtype)


@loss_floor
def test_levels_next_to_0_leave_nothing(student, generator):
    """at levels just above 0 every datum is recognised, at 0 the variance of noise is left"""
    data = normal(generator, 9, 4)
    x, z = chosen(generator, data, 6), normal(generator, 6, 4)
    levels = torch.tensor([1e-3, 0.0, 1e-5], dtype=torch.float64)
    want = torch.tensor([0.0, float(z.square().mean()), 0.0])
    floor = student.schedules.loss_floor(x, z, levels, data)
    expect.close(floor, want, "the floor at 0.001, 0 and 0.00001", atol=1e-6, rtol=1e-6)


@loss_floor
def test_pairs_and_levels_that_do_not_fit_are_refused(student, generator):
    """x and z of two shapes are refused, and levels that are not one-dimensional"""
    x, call = precise(generator, 4, 3), student.schedules.loss_floor
    t = torch.ones(1, dtype=torch.float64)
    floor = call(x, x, t, x)
    expect.close(floor, x.var(0, correction=0).mean()[None], "the variance at t = 1", what="it")
    for shape in ((1, 3), (3, 3), (4, 1), (3,)):
        says = REFUSED.format(f"z of shape {shape} for x of shape (4, 3)")
        expect.raises("ValueError", lambda n=shape: call(x, x.new_ones(n), t, x), says)
    for shape in ((), (1, 1), (2, 3)):
        says = REFUSED.format(f"levels of shape {shape}")
        expect.raises("ValueError", lambda n=shape: call(x, x, x.new_ones(n), x), says)


# --- schedules.logit_normal ---------------------------------------------------------------------


def drawn(student, generator, n, *args):
    """n levels in float64."""
    t = student.schedules.logit_normal(n, *args, generator=generator)
    t = expect.tensor(t, (n,), "t").double()
    expect.true(bool(((t > 0) & (t < 1)).all()), "levels lie strictly between 0 and 1")
    return t


def gap(t, m, s):
    """Kolmogorov's √n max |F_n(t) − Φ((logit t − m) / s)|; above 2.8 once in three millions."""
    n = len(t)
    below = torch.special.ndtr((torch.logit(t.sort().values) - m) / s)
    rank = torch.arange(n, dtype=torch.float64) / n
    return float(torch.maximum(below - rank, rank + 1 / n - below).max()) * n**0.5


@logit_normal(weight=3)
@pytest.mark.parametrize("side", [-1, 1], ids=["toward the data", "toward the noise"])
def test_levels_follow_their_distribution(student, generator, side):
    """levels pass Kolmogorov's and Smirnov's test against Φ((logit t − m) / s)"""
    m, s = side * number(generator, 0.5, 1.5), number(generator, 0.4, 0.8)
    t = drawn(student, generator, 20_000, m, s)
    says = f"the levels are not those of m = {m:.2f}, s = {s:.2f}"
    expect.true(gap(t, m, s) < 2.8, says, f"a gap of {gap(t, m, s):.3g}", "less than 2.8")


@logit_normal(weight=2)
def test_the_spread_is_a_standard_deviation(student, generator):
    """the logits have mean m, standard deviation s and the tails of a Gaussian, for s > 1 too"""
    n, m, s = 20_000, number(generator, -0.5, 0.5), number(generator, 1.3, 1.8)
    u = (torch.logit(drawn(student, generator, n, m, s)) - m) / s
    expect.close(u.mean(), 0.0, "the mean of the logits is not m", atol=6 / n**0.5, rtol=0)
    expect.close(u.var(), 1.0, "their deviation is not s", atol=6 * (2 / n) ** 0.5, rtol=0)
    says = "the logits are not Gaussian"
    expect.close(u.pow(4).mean(), 3.0, says, atol=6 * (96 / n) ** 0.5, rtol=0)


@logit_normal
def test_without_m_and_s(student, generator):
    """m is 0 and s is 1 by default"""
    t = drawn(student, generator, 20_000)
    expect.true(gap(t, 0.0, 1.0) < 2.8, "the levels are not those of m = 0, s = 1")


@logit_normal(weight=2)
def test_levels_are_drawn_anew_and_with_the_generator(student, generator):
    """a seed repeats the levels, the next draw is another, and each level has its own"""
    seed = draws.whole(generator, 0, 10**6 + 1)
    one, two = (torch.Generator().manual_seed(seed) for _ in range(2))
    first = drawn(student, one, 2000, 0.3, 0.9)
    again = drawn(student, two, 2000, 0.3, 0.9)
    after = drawn(student, one, 2000, 0.3, 0.9)
    expect.close(again, first, "the same generator gave other levels")
    expect.true(not torch.equal(after, first), "the same levels come in every draw")
    expect.true(len(first.unique()) > 1950, "levels repeat: each is drawn for itself")
    u, w = ((torch.logit(t) - 0.3) / 0.9 for t in (first, after))
    pairs = [u[1:] * u[:-1], u * w, u * u.flip(0), u * u.roll(1000)]
    link = max(abs(float(p.mean())) for p in pairs)
    expect.true(link < 0.2, "levels depend on each other", f"{link:.2f}", "near 0")  # 6 sigma


@logit_normal(weight=2)
def test_levels_are_as_uneven_as_chance(student, generator):
    """n levels are n independent draws: not spread evenly, not in pairs, not out of a table"""
    gaps, means, halves = [], [], []
    for _ in range(12):
        u = torch.logit(drawn(student, generator, 1000, 0.5, 2.0)) / 2 - 0.25
        gaps += [gap(torch.sigmoid(part), 0.0, 1.0) for part in (u, *u.chunk(2))]
        means.append(float(u.mean()) ** 2 * 1000)
        halves.append(u.chunk(2))
    says = "the levels are more even than independent draws"
    # Kolmogorov's statistic is below 0.28 once in a million
    expect.true(min(gaps) > 0.28, says, f"a gap of {min(gaps):.3g}", "more than 0.28")
    spread = sum(means) / len(means)  # of independent draws a χ² of 12 degrees over 12
    expect.true(0.05 < spread < 5, "the mean of n levels varies as 1/n", spread, "about 1")
    one, two = (torch.cat(h) for h in zip(*halves, strict=True))
    pairs = [one * two, one * two.flip(0), one[1:] * one[:-1], one[2:] * one[:-2]]
    off = max(abs(float(p.mean())) * len(p) ** 0.5 for p in pairs)
    expect.true(off < 6, "levels depend on each other", f"{off:.1f} standard errors", "< 6")
    wide = one.square() - 1, two.square() - 1
    off = abs(float((wide[0] * wide[1]).mean())) / 2 * len(one) ** 0.5
    expect.true(off < 8, "levels depend on each other", f"{off:.1f} standard errors", "< 8")


@logit_normal(weight=2)
def test_the_tails_are_there(student, generator):
    """logits far from m come as often as those of a Gaussian, and hardly two levels are the same"""
    n = 200_000
    t = drawn(student, generator, n, -1.0, 0.7)
    u = (torch.logit(t) + 1) / 0.7
    for k in (3.0, 3.6):
        share = math.erfc(k / 2**0.5)
        found = int((u.abs() > k).sum())
        says = f"logits more than {k} s from m, of {n}"
        off = 6 * (n * share) ** 0.5
        expect.true(abs(found - n * share) < off, says, found, f"{n * share:.0f} ± {off:.0f}")
    fourth = float(u.pow(4).mean() / u.square().mean() ** 2)
    says = "the logits are not Gaussian: the mean of their fourth powers"
    expect.close(fourth, 3.0, says, atol=5.5 * (24 / n) ** 0.5, rtol=0)
    several = n - len(t.unique())  # float32 has few numbers: a thousand or so
    expect.true(several < 0.05 * n, "levels repeat: each is drawn for itself", several, "few")
    expect.close(u.var(), 1.0, "their deviation is not s", atol=6 * (2 / n) ** 0.5, rtol=0)


@logit_normal
def test_levels_next_to_both_ends(student, generator):
    """levels are not kept away from 0 and 1, and one or none can be asked for"""
    n = 4000
    for m, s in ((-20.0, 0.5), (8.0, 0.3), (0, 1), (-2, 3)):
        t = student.schedules.logit_normal(n, m, s, generator=generator)
        t = expect.tensor(t, (n,), "t").double()
        u = (torch.logit(t) - m) / s
        says = f"the mean of the logits for m = {m}, s = {s}"
        expect.close(u.mean(), 0.0, says, atol=6 / n**0.5, rtol=0)
        says = f"the variance of the logits for m = {m}, s = {s}"
        expect.close(u.var(), 1.0, says, atol=6 * (2 / n) ** 0.5, rtol=0)
    for few in (1, 2):
        t = student.schedules.logit_normal(few, 1.0, 0.1, generator=generator)
        expect.tensor(t, (few,), "t")


@logit_normal
def test_without_a_generator(student):
    """without a generator each call is another draw"""
    one, two = (student.schedules.logit_normal(200, 0.5, 1.0) for _ in range(2))
    one, two = (expect.tensor(t, (200,), "t") for t in (one, two))
    expect.true(not torch.equal(one, two), "two calls gave the same levels")


@logit_normal
def test_no_levels_without_a_deviation(student):
    """an s that is not positive is refused"""
    expect.tensor(student.schedules.logit_normal(3, 0.0, 1e-3), (3,), "t")
    for s in (0.0, -1.0, math.nan):
        says = REFUSED.format(f"s = {s}")
        expect.raises("ValueError", lambda s=s: student.schedules.logit_normal(3, 0.0, s), says)


# --- schedules.logit_normal_density -------------------------------------------------------------


@logit_normal_density(weight=3)
def test_what_lies_between_two_levels(student, generator):
    """∫ p(t) dt between two levels is Φ of one less Φ of the other"""
    m, s = number(generator, -1, 1), number(generator, 0.4, 1.5)
    a, b = uniform(generator, 2, 0.1, 0.9).sort().values.tolist()
    a, b = a / 2, (b + 1) / 2
    t = a + (b - a) * (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    p = expect.tensor(student.schedules.logit_normal_density(t, m, s), t.shape, "p")
    share = [torch.special.ndtr((math.log(u / (1 - u)) - m) / s * torch.ones(())) for u in (a, b)]
    says = f"the share of levels from {a:.3f} to {b:.3f}"
    expect.close(p.mean() * (b - a), share[1] - share[0], says, atol=1e-5, rtol=1e-5)


@logit_normal_density(weight=2)
def test_it_integrates_to_1_however_wide(student, generator):
    """it integrates to 1 for any m and s, wide ones too, where nearly all levels are at the ends"""
    for s in (number(generator, 0.2, 0.5), number(generator, 2.5, 4)):
        m = number(generator, -2, 2)
        u = m + s * torch.linspace(-9, 9, 3001, dtype=torch.float64)  # the logit
        t = torch.sigmoid(u)
        p = expect.tensor(student.schedules.logit_normal_density(t, m, s), t.shape, "p")
        total = torch.trapezoid(p.double() * t * (1 - t), u)  # dt = t (1 − t) du
        expect.close(total, 1.0, f"the integral for m = {m:.2f}, s = {s:.2f}", atol=1e-5, rtol=1e-5)


@logit_normal_density
def test_the_ends_are_0(student, generator):
    """it is 0 at both ends, and finite beside them, in float32 and float64"""
    m, s = number(generator, -1, 1), number(generator, 0.5, 3)
    for dtype, tiny in ((torch.float32, 1e-30), (torch.float64, 1e-200)):
        t = torch.tensor([[0.0, tiny, 0.5], [1.0, 0.0, 0.5]], dtype=dtype)
        p = student.schedules.logit_normal_density(t, m, s)
        middle = 4 * math.exp(-((m / s) ** 2) / 2) / (s * math.sqrt(2 * math.pi))
        want = torch.tensor([[0.0, 0.0, middle], [0.0, 0.0, middle]])
        expect.close(p, want, "the density at 0, beside it, at ½ and at 1")


@logit_normal_density(weight=2)
def test_mirrored_and_scaled(student, generator):
    """p(1 − t) for −m is p(t) for m, and at sigmoid(m + c s) it is φ(c) / (s t (1 − t))"""
    m, s = number(generator, 0.3, 1.5), number(generator, 0.4, 2)
    c = uniform(generator, 7, -2, 2)
    t = torch.sigmoid(m + c * s)
    want = torch.exp(-c.square() / 2) / math.sqrt(2 * math.pi) / (s * t * (1 - t))
    one = student.schedules.logit_normal_density(t, m, s)
    expect.close(
        one, want, "the density where the logit is c deviations above m", rtol=1e-6, atol=1e-6
    )
    two = student.schedules.logit_normal_density(1 - t, -m, s)
    expect.close(two, want, "the mirror image of the density", rtol=1e-6, atol=1e-6)


@logit_normal_density
def test_the_density_that_sampling_has(student, generator):
    """a histogram of levels that are logit-normal has this shape, by default m = 0, s = 1"""
    n, edges = 100_000, torch.linspace(0, 1, 21, dtype=torch.float64)
    t = torch.sigmoid(normal(generator, n))
    counts = torch.histogram(t, edges).hist
    fine = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    p = expect.tensor(student.schedules.logit_normal_density(fine), fine.shape, "p")
    share = p.double().reshape(20, 200).mean(1) / 20
    off = (counts - n * share) / (n * share * (1 - share)).clamp_min(1e-12).sqrt()
    says = "the histogram of levels has another shape"
    expect.true(bool((off.abs() < 6).all()), says, f"{float(off.abs().max()):.3g} deviations")


def exact_density(t, m, s):
    """p(t) in float64, by logarithms; 0 at both ends."""
    t = t.double()
    inside = (t > 0) & (t < 1)
    u = torch.where(inside, t, 0.5)
    logit = u.log() - torch.log1p(-u)
    log_p = -(((logit - m) / s) ** 2) / 2 - math.log(s * math.sqrt(2 * math.pi))
    return torch.where(inside, (log_p - u.log() - torch.log1p(-u)).exp(), 0.0)


@logit_normal_density(weight=2)
def test_densities_of_any_shape(student, generator):
    """t of any shape, one number without an axis too, in float32 and float64"""
    m, s = number(generator, -1, 1), number(generator, 0.5, 2)
    for shape in ((), (1,), (7,), (2, 1, 3), (1, 1)):
        t = torch.rand(shape, generator=generator, dtype=torch.float64)
        p = student.schedules.logit_normal_density(t, -0.25, 1.0)
        expect.close(p, exact_density(t, -0.25, 1.0), "every digit for s = 1", **DOUBLE)
        # torch.distributions.Normal keeps m and s in float32: 1e-7 each, times the logit's square
        for dtype, off in ((torch.float64, 3e-5), (torch.float32, 1e-4)):
            t = (0.02 + 0.96 * torch.rand(shape, generator=generator, dtype=dtype)).to(dtype)
            p = student.schedules.logit_normal_density(t, m, s)
            says = f"the density at t of shape {shape} in {dtype}"
            expect.close(p, exact_density(t, m, s), says, atol=off * 1e-3, rtol=off)
            expect.true(p.dtype == dtype, "the precision changed", p.dtype, dtype)
    for end in (0.0, 1.0):
        p = student.schedules.logit_normal_density(torch.tensor(end), m, s)
        expect.close(p, 0.0, f"the density at t = {end}, one number", atol=0, rtol=0)
    p = student.schedules.logit_normal_density(torch.tensor(0.5), m, s)
    says = "the density at t = ½, one number"
    expect.close(p, exact_density(torch.tensor(0.5), m, s), says)


@logit_normal_density(weight=2)
def test_far_out(student, generator):
    """next to the ends it is as the formula says, for wide and narrow ones, m far from 0 too"""
    near = [1e-30, 1e-12, 1e-7, 1e-3, 0.3, 1 - 1e-3, 1 - 1e-7, 1 - 1e-12]
    t = torch.tensor(near, dtype=torch.float64)
    for m, s in ((0.0, 10.0), (0, 5), (-20.0, 1.5), (12.0, 1.0), (-1.0, 0.05), (3, 30)):
        m = m + number(generator, 0, 0.5)
        p = student.schedules.logit_normal_density(t, m, s)
        says = f"the density at {near} for m = {m}, s = {s}"
        # torch.distributions.Normal keeps m and s in float32: 1e-7 each, times the logit's square
        expect.close(p, exact_density(t, m, s), says, atol=1e-13, rtol=5e-5)
        ends = student.schedules.logit_normal_density(t.new_tensor([0.0, 1.0]), m, s)
        expect.close(ends, torch.zeros(2), f"the ends for m = {m}, s = {s}", atol=0, rtol=0)


@logit_normal_density
def test_no_density_without_a_deviation(student):
    """an s that is not positive is refused"""
    t, call = torch.tensor([0.5]), student.schedules.logit_normal_density
    p = call(t, 0.0, 1e-3)
    expect.close(p, torch.tensor([4e3 / math.sqrt(2 * math.pi)]), "p(½) for s = 0.001", what="p")
    for s in (0.0, -1.0, math.nan):
        says = REFUSED.format(f"s = {s}")
        expect.raises("ValueError", lambda s=s: call(t, 0.0, s), says)


# --- schedules.shift ----------------------------------------------------------------------------


def moved(student, t, alpha):
    return expect.tensor(student.schedules.shift(t, alpha), t.shape, "t'").double()


@shift(weight=3)
@pytest.mark.parametrize("high", [False, True], ids=["toward the data", "toward the noise"])
def test_noise_against_data(student, generator, high):
    """t' / (1 − t') is α t / (1 − t), for levels of any shape"""
    alpha = number(generator, 1.5, 6) if high else number(generator, 0.1, 0.7)
    t = uniform(generator, 12, 0.02, 0.98).reshape(3, 4)
    new = moved(student, t, alpha)
    says = "noise against data is not α times as much"
    expect.close(new, alpha * t / (1 - t) / (1 + alpha * t / (1 - t)), says, atol=1e-9, rtol=1e-9)


@shift(weight=2)
def test_shifts_compose(student, generator):
    """α after β is α β, and 1/α leads back"""
    alpha, beta = number(generator, 1.5, 4), number(generator, 0.2, 0.7)
    t = uniform(generator, 9, 0.05, 0.95)
    one = moved(student, t, alpha)
    expect.true(bool((one - t).abs().max() > 1e-3), "nothing moves", one, "other levels")
    expect.close(moved(student, one, 1 / alpha), t, "1/α does not undo α", atol=1e-9, rtol=1e-9)
    two = moved(student, moved(student, t, beta), alpha)
    expect.close(two, moved(student, t, alpha * beta), "α after β is not α β", atol=1e-9, rtol=1e-9)


@shift(weight=2)
def test_levels_of_any_shape_are_moved(student, generator):
    """t of any shape, one number without an axis too, in float32 and float64"""
    for alpha in (number(generator, 1.5, 6), number(generator, 0.1, 0.7), 3, 1):
        for shape in ((), (1,), (7,), (2, 1, 3), (1, 1)):
            for dtype, off in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
                t = torch.rand(shape, generator=generator, dtype=dtype)
                new = student.schedules.shift(t, alpha)
                want = alpha * t.double() / (1 - t.double() + alpha * t.double())
                says = f"levels of shape {shape} in {dtype}, for α = {alpha}"
                expect.close(new, want, says, atol=off, rtol=off)
                expect.true(new.dtype == dtype, "the precision changed", new.dtype, dtype)
        for end in (0.0, 1.0):
            new = student.schedules.shift(torch.tensor(end), alpha)
            expect.close(new, end, f"the level {end} moved for α = {alpha}", atol=1e-6, rtol=0)


@shift
def test_however_large_or_small_alpha_is(student, generator):
    """for α from 10⁻⁶ to 10²⁰, next to the ends too"""
    t = torch.tensor([0.0, 1e-9, 1e-6, 1e-3, 0.3, 0.9, 1 - 1e-6, 1.0], dtype=torch.float64)
    for size in (-6, -4, -2, 2, 4, 6, 20):
        alpha = number(generator, 1, 2) * 10.0**size
        new = student.schedules.shift(t, alpha)
        want = alpha * t / (1 - t + alpha * t)
        # 1 + (α − 1) t cancels to 1e-16 / α where α is small; 1 − (1 − t) / … where t' is
        says = f"t' for α = {alpha:.3g}"
        expect.close(new, want, says, atol=1e-15, rtol=1e-8 if alpha < 1 else 1e-9)


@shift
def test_ends_stay_and_order_too(student, generator):
    """0 and 1 stay, larger levels stay larger, and α above 1 is toward the noise"""
    alpha = number(generator, 1.5, 6)
    t = torch.linspace(0, 1, 21, dtype=torch.float64)
    new = moved(student, t, alpha)
    expect.close(new[[0, -1]], torch.tensor([0.0, 1.0]), "the ends moved", atol=1e-12, rtol=1e-12)
    expect.true(bool((new.diff() > 0).all()), "the order of levels changed")
    expect.true(bool((new[1:-1] > t[1:-1]).all()), "α above 1 must lead toward the noise, t = 1")


@shift(weight=2)
def test_a_shifted_logit_normal_is_one(student, generator):
    """shifted logit-normal levels are logit-normal with m + log α"""
    alpha = math.exp(number(generator, 0.4, 1.5))
    m, s = number(generator, -0.5, 0.5), number(generator, 0.5, 1.2)
    u = m + s * normal(generator, 500)
    new = moved(student, torch.sigmoid(u), alpha)
    inside = bool(((new > 0) & (new < 1)).all())
    expect.true(inside, "a level left (0, 1)", f"{new.min():.3g} to {new.max():.3g}", "0 to 1")
    expect.close(
        torch.logit(new), u + math.log(alpha), "logits move by log α", atol=1e-6, rtol=1e-6
    )


@shift(weight=2)
def test_pixels_that_are_averaged(student, generator):
    """x_t shifted by √(m/n) is, once m pixels are averaged to n, x_t at the old level"""
    k = draws.whole(generator, 2, 5)  # blocks of k × k pixels
    t = uniform(generator, 8, 0.1, 0.9)
    new = moved(student, t, float(k))
    signal, noise = 1 - new, new / k  # of a mean of k² pixels that look alike
    expect.close(
        signal / (signal + noise), 1 - t, "the share of the picture differs", atol=1e-9, rtol=1e-9
    )


@shift
def test_no_shift_by_nothing(student):
    """an α that is not positive is refused"""
    t = torch.tensor([0.5])
    expect.close(student.schedules.shift(t, 3.0), t * 1.5, "½ becomes ¾ for α = 3", what="t'")
    for alpha in (0.0, -2.0, math.nan):
        says = REFUSED.format(f"α = {alpha}")
        expect.raises("ValueError", lambda a=alpha: student.schedules.shift(t, a), says)


# --- schedules.resolution_alpha -----------------------------------------------------------------


def alpha_of(student, m, n):
    value = student.schedules.resolution_alpha(m, n)
    one = isinstance(value, int | float | torch.Tensor) and torch.as_tensor(value).dim() == 0
    expect.true(one, "α is one number", value, "a number")
    return float(value)


@resolution_alpha(weight=3)
def test_it_is_the_root_of_the_ratio(student, generator):
    """it is √(m/n), for sizes that are no multiples of each other too"""
    for _ in range(4):
        m, n = draws.whole(generator, 20, 3001), draws.whole(generator, 20, 3001)
        value = alpha_of(student, m, n)
        says = f"α for {m} pixels against {n}"
        expect.close(value, math.sqrt(m / n), says, rtol=2e-7, atol=0)  # a float32's digits


@resolution_alpha
def test_images_of_any_size(student, generator):
    """single pixels, very large images, and sizes that nearly agree"""
    big = draws.whole(generator, 10**9, 2 * 10**9)
    for m, n in ((1, 1), (1, big), (big, 1), (big, big - 10**6), (2, 3), (4096**2, 7), (999, 1000)):
        value = alpha_of(student, m, n)
        says = f"α for {m} pixels against {n}"
        expect.close(value, math.sqrt(m / n), says, rtol=2e-7, atol=0)


@resolution_alpha(weight=2)
def test_it_is_what_averaging_takes_from_noise(student, generator):
    """the mean of blocks of pixels has noise α times as small"""
    k, side = draws.whole(generator, 2, 5), 60
    noise = normal(generator, side, k, side, k)
    left = float(noise.mean((1, 3)).std())
    value = alpha_of(student, (side * k) ** 2, side**2)
    # 3600 means: 6 standard errors of a deviation are 7 %
    says = f"noise of {side * k}² pixels, averaged to {side}², times α is unit noise again"
    expect.close(left * value, 1.0, says, atol=0.07, rtol=0)


@resolution_alpha
def test_sizes_chain(student, generator):
    """from one size to a second and a third is from the first to the third, and back is 1/α"""
    m, n, k = (draws.whole(generator, low, 2 * low + 1) for low in (50, 170, 600))
    one, two, both = (alpha_of(student, *pair) for pair in ((n, m), (k, n), (k, m)))
    expect.close(one * two, both, "α from size to size does not multiply", rtol=1e-6, atol=1e-6)
    expect.true(both > 1, "more pixels need α above 1", both, "above 1")
    expect.close(
        alpha_of(student, m, k) * both, 1.0, "there and back is no shift", rtol=1e-6, atol=1e-6
    )


@resolution_alpha
def test_no_images_without_pixels(student):
    """numbers of pixels that are not positive are refused"""
    call = student.schedules.resolution_alpha
    expect.close(call(9, 1), 3.0, "√9", what="α")
    for m, n in ((0, 4), (4, 0), (-4, 4), (4, -4), (-4, -4)):
        says = REFUSED.format(f"m = {m}, n = {n}")
        expect.raises("ValueError", lambda m=m, n=n: call(m, n), says)
