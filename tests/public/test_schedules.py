"""Public checks of chapter 06, optimal prediction and noise schedules."""

import math

import pytest
import torch

from cs231n_gen.checking import expect

optimal_velocity = pytest.mark.exercise("schedules.optimal_velocity")
loss_floor = pytest.mark.exercise("schedules.loss_floor")
logit_normal = pytest.mark.exercise("schedules.logit_normal")
logit_normal_density = pytest.mark.exercise("schedules.logit_normal_density")
shift = pytest.mark.exercise("schedules.shift")
resolution_alpha = pytest.mark.exercise("schedules.resolution_alpha")


def noisy(x, z, t):
    """x_t for a level an example."""
    t = t.reshape(-1, *[1] * (x.dim() - 1))
    return x + t * (z - x)


DOUBLE = {"atol": 1e-9, "rtol": 1e-9}  # more than float32 can hold


REFUSED = "ValueError for {}: leave the lines above yours as they are"


def precise(generator, *shape):
    """Numbers in float64, with more digits than float32 can hold."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def best(x_t, t, data):
    """E[v | x_t] datum by datum, in float64."""
    answers = []
    for one, level in zip(x_t.double(), t.double(), strict=True):
        z = (one - (1 - level) * data.double()) / level  # the noise that each datum would need
        p = (-z.flatten(1).square().sum(1) / 2).softmax(0)
        answers.append(torch.tensordot(p, z - data.double(), dims=1))
    return torch.stack(answers)


def far_apart(generator, *shape):
    """Data that nobody takes for each other."""
    return 4 * torch.randn(shape, generator=generator)


# --- schedules.optimal_velocity -----------------------------------------------------------------


@optimal_velocity
def test_of_a_single_datum_everything_is_known(student, generator):
    """with a single datum x, the answer is z − x at every level"""
    x = far_apart(generator, 1, 3).expand(5, 3)
    z = torch.randn(5, 3, generator=generator)
    t = torch.tensor([0.1, 0.3, 0.5, 0.9, 1.0])
    v = student.schedules.optimal_velocity(noisy(x, z, t), t, x[:1])
    says = "x is the only datum, so z is (x_t − (1 − t) x) / t: v = z − x is known exactly"
    expect.close(v, z - x, says, atol=1e-4, rtol=1e-4, what="v")


@optimal_velocity
def test_two_data_in_closed_form(student, generator):
    """with the data μ and −μ, E[x | x_t] is μ tanh((1 − t) μ·x_t / t²)"""
    mu = torch.tensor([1.0, -0.5])
    x_t = torch.randn(6, 2, generator=generator)
    t = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.95, 0.75])
    v = student.schedules.optimal_velocity(x_t, t, torch.stack([mu, -mu]))
    x = mu * torch.tanh((1 - t) * (x_t @ mu) / t**2)[:, None]
    z = (x_t - (1 - t)[:, None] * x) / t[:, None]
    says = "the weights of the two data are not softmax(−‖x_t − (1 − t) x_i‖² / 2t²)"
    expect.close(v, z - x, says, atol=1e-4, rtol=1e-4, what="v")


@optimal_velocity
def test_at_t_1_it_points_away_from_the_mean(student, generator):
    """at t = 1 it is x_t less the mean of the data"""
    data, z = far_apart(generator, 7, 2), torch.randn(4, 2, generator=generator)
    v = student.schedules.optimal_velocity(z, torch.ones(4), data)
    says = "at t = 1 x_t is the noise z itself and tells nothing of x: v = z − E[x]"
    expect.close(v, z - data.mean(0), says, atol=1e-4, rtol=1e-4, what="v")


@optimal_velocity
def test_at_t_0_it_points_to_the_mean_of_noise(student, generator):
    """at t = 0 it is −x_t"""
    data = far_apart(generator, 5, 2)
    v = student.schedules.optimal_velocity(data[:3], torch.zeros(3), data)
    says = "at t = 0 x_t is the datum itself and tells nothing of z: v = E[z] − x = −x_t"
    expect.close(v, -data[:3], says, what="v")


@optimal_velocity
def test_little_noise_on_images(student, generator):
    """for images and small t the datum is recognised, and nothing overflows"""
    data = far_apart(generator, 6, 1, 16, 16)
    z = torch.randn(4, 1, 16, 16, generator=generator)
    t = torch.tensor([0.05, 0.1, 0.2, 0.3])
    v = student.schedules.optimal_velocity(noisy(data[:4], z, t), t, data)
    says = "one datum is nearer than all others: the answer is z − x of this one"
    expect.close(v, z - data[:4], says, atol=1e-3, rtol=0, what="v")


@optimal_velocity
def test_every_example_at_its_own_level(student, generator):
    """a batch gets the answers that its examples get alone"""
    data = torch.randn(4, 1, 2, 2, generator=generator)
    x_t = torch.randn(4, 1, 2, 2, generator=generator)
    t = torch.tensor([0.4, 1.0, 0.6, 0.8])
    alone = [
        student.schedules.optimal_velocity(x_t[i : i + 1], t[i : i + 1], data) for i in range(4)
    ]
    want = torch.cat([expect.tensor(v, (1, 1, 2, 2), "v") for v in alone])
    v = student.schedules.optimal_velocity(x_t, t, data)
    expect.close(v, want, "each example has its own level and its own weights", what="v")


@optimal_velocity
def test_any_number_of_data_and_examples(student, generator):
    """one datum or many, one example or many, for points and images, in float64"""
    sizes = [(1, 1, (3,)), (6, 1, (1,)), (4, 4, (4,)), (3, 90, (1, 2, 2)), (300, 3, (2,))]
    for examples, n, shape in sizes:
        data, x_t = precise(generator, examples, *shape), precise(generator, n, *shape)
        t = torch.linspace(0.4, 0.995, n, dtype=torch.float64)
        v = student.schedules.optimal_velocity(x_t, t, data)
        says = f"the mean over the data for {examples} data, {n} examples of shape {shape}"
        expect.close(v, best(x_t, t, data), says, **DOUBLE, what="v")
        expect.true(v.dtype == x_t.dtype, "v must have the precision of x_t", v.dtype, x_t.dtype)


@optimal_velocity
def test_a_datum_that_comes_three_times(student, generator):
    """a datum that comes three times is three times as likely"""
    data = torch.tensor([[1.0, -0.5], [-1.0, 0.5], [1.0, -0.5], [1.0, -0.5]])
    x_t, t = torch.randn(4, 2, generator=generator), torch.tensor([0.9, 0.8, 0.7, 1.0])
    v = student.schedules.optimal_velocity(x_t, t, data)
    says = "each of the data counts once, also if two are the same"
    expect.close(v, best(x_t, t, data), says, what="v")


@optimal_velocity
def test_data_far_from_0(student, generator):
    """data around 1000 are told apart as well as data around 0"""
    data = 1000 + torch.randn(8, 3, generator=generator)
    t = torch.tensor([0.3, 0.4, 0.5, 0.6])
    x_t = noisy(data[:4], torch.randn(4, 3, generator=generator), t)
    v = student.schedules.optimal_velocity(x_t, t, data)
    says = "‖x_t‖² − 2 x_t·x_i + ‖x_i‖² loses its digits: subtract first, or compute in float64"
    expect.close(v, best(x_t, t, data), says, atol=2e-3, rtol=2e-6, what="v")


@optimal_velocity
def test_points_far_from_all_data(student, generator):
    """for small t it is finite and right also where x_t is far from all data"""
    data, x_t = precise(generator, 5, 3), 5 * precise(generator, 4, 3)
    t = torch.tensor([0.003, 0.01, 0.03, 0.1], dtype=torch.float64)
    v = student.schedules.optimal_velocity(x_t, t, data)
    says = "all exponentials vanish here: softmax, or subtract the largest exponent before exp"
    expect.close(v, best(x_t, t, data), says, **DOUBLE, what="v")


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


@optimal_velocity
def test_levels_next_to_0(student, generator):
    """z is found down to t = 0.00001, everything is finite below, and at t = 0 it is −x_t"""
    data, z = (
        far_apart(generator, 5, 3).double() + precise(generator, 5, 3),
        precise(generator, 5, 3),
    )
    t = torch.tensor([1e-5, 1e-4, 1e-3, 1e-2, 3e-2], dtype=torch.float64)
    v = student.schedules.optimal_velocity(noisy(data, z, t), t, data)
    says = "one datum is nearer than all others: the answer is z − x of this one"
    expect.close(v, z - data, says, atol=1e-7, rtol=1e-7, what="v")
    for x_t, t in ((data, [1e-12, 1e-7, 0, 1, 1e-12]), (z, [0] * 5)):
        t = torch.tensor(t, dtype=torch.float64)
        v = student.schedules.optimal_velocity(noisy(x_t, z, t), t, data)
        v = expect.tensor(v, (5, 3), "v next to t = 0")
        zero = t == 0
        expect.close(v[zero], -x_t[zero], "at t = 0 it is −x_t, whatever x_t is", what="v")


# --- schedules.loss_floor -----------------------------------------------------------------------


@loss_floor
def test_nothing_is_left_of_a_single_datum(student, generator):
    """with a single datum the floor is 0 at every level"""
    data = far_apart(generator, 1, 2)
    z = torch.randn(8, 2, generator=generator)
    floor = student.schedules.loss_floor(data.expand(8, 2), z, torch.tensor([0.2, 0.6, 1.0]), data)
    says = "the best net knows x, and z from x_t: it misses nothing"
    expect.close(floor, torch.zeros(3), says, atol=1e-4, rtol=1e-4, what="the floor")


@loss_floor
def test_at_t_1_the_variance_of_the_data_is_left(student, generator):
    """at t = 1 it is the variance of the data, per dimension"""
    data = far_apart(generator, 40, 3)
    z = torch.randn(40, 3, generator=generator)
    floor = student.schedules.loss_floor(data, z, torch.ones(1), data)
    want = data.var(0, correction=0).mean()[None]
    says = "all that can be said of x is its mean: the variance of the data is missed"
    expect.close(floor, want, says, rtol=1e-3, atol=1e-5, what="the floor")


@loss_floor
def test_at_t_0_the_variance_of_the_noise_is_left(student, generator):
    """at t = 0 it is the mean of z²"""
    data, z = far_apart(generator, 6, 2), torch.randn(6, 2, generator=generator)
    floor = student.schedules.loss_floor(data, z, torch.zeros(1), data)
    says = "at t = 0 the best answer is −x: v is missed by z"
    expect.close(floor, z.square().mean()[None], says, rtol=1e-3, atol=1e-5, what="the floor")


@loss_floor
def test_the_floor_of_two_data(student, generator):
    """for the data μ and −μ the mean of (v − E[v | x_t])², level by level"""
    mu = torch.tensor([1.0, -0.5])
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])[:, None]
    x, z = sign * mu, torch.randn(5, 2, generator=generator)
    levels = torch.tensor([0.9, 0.5, 0.7])
    floor = student.schedules.loss_floor(x, z, levels, torch.stack([mu, -mu]))
    want = []
    for t in levels:
        x_t = x + t * (z - x)
        best = mu * torch.tanh((1 - t) * (x_t @ mu) / t**2)[:, None]
        want.append(((x - best) / t).square().mean())
    says = "v − E[v | x_t] is (E[x | x_t] − x) / t; its mean square over pairs and dimensions"
    expect.close(floor, torch.stack(want), says, rtol=1e-3, atol=1e-5, what="the floor")


@loss_floor
def test_what_is_recognised_leaves_nothing(student, generator):
    """for images with little noise it is 0"""
    data = far_apart(generator, 5, 1, 4, 4)
    z = torch.randn(5, 1, 4, 4, generator=generator)
    floor = student.schedules.loss_floor(data, z, torch.tensor([0.1, 0.2]), data)
    says = "each image is told from all others, and with x the noise is known too"
    expect.close(floor, torch.zeros(2), says, atol=1e-3, rtol=0, what="the floor")


@loss_floor
def test_any_number_of_levels_and_pairs(student, generator):
    """one level, as many as pairs, in any order; one pair, one datum, images; in float64"""
    for examples, n, levels, shape in [
        (6, 5, [0.7], (3,)),
        (6, 4, [0.9, 0.4, 0.6, 0.4], (2,)),
        (5, 1, [0.8, 1.0], (1, 2, 2)),
        (1, 4, [1.0, 0.3, 0.9], (2,)),
        (3, 90, [0.5, 0.3], (1,)),
    ]:
        data = precise(generator, examples, *shape)
        x = data[torch.randint(examples, (n,), generator=generator)]
        z = 8 * precise(generator, n, *shape)
        t = torch.tensor(levels, dtype=torch.float64)
        want = [
            (z - x - best(x + u * (z - x), u.expand(n), data)).square().mean() for u in t.unbind()
        ]
        floor = student.schedules.loss_floor(x, z, t, data)
        says = f"the mean of (v − E[v | x_t])² of {n} pairs and {examples} data, at {levels}"
        expect.close(floor, torch.stack(want), says, **DOUBLE, what="the floor")
        expect.true(floor.dtype == t.dtype, "the precision changed", floor.dtype, t.dtype)


@loss_floor
def test_levels_next_to_0_leave_nothing(student, generator):
    """just above 0 every datum is recognised and nothing is left, at 0 the noise is"""
    data, z = precise(generator, 7, 3), precise(generator, 7, 3)
    levels = torch.tensor([1e-3, 0.0, 1e-5], dtype=torch.float64)
    floor = student.schedules.loss_floor(data, z, levels, data)
    want = torch.tensor([0.0, float(z.square().mean()), 0.0])
    says = "the floor at 0.001, 0 and 0.00001: levels must not be moved"
    expect.close(floor, want, says, atol=1e-6, rtol=1e-6, what="the floor")


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


def logits(student, generator, m, s, n=4000):
    t = expect.tensor(student.schedules.logit_normal(n, m, s, generator), (n,), "t")
    inside = bool(((t > 0) & (t < 1)).all())
    expect.true(inside, "levels lie between 0 and 1", f"{t.min():.3g} to {t.max():.3g}", "0 to 1")
    return torch.logit(t.double())


@logit_normal
def test_the_logits_have_mean_m(student, generator):
    """the logits of the levels have mean m"""
    mean = logits(student, generator, -0.8, 0.6).mean()
    says = "logit t = m + s ε has mean m"
    expect.close(mean, -0.8, says, atol=0.05, rtol=0, what="the mean")  # 5 standard errors


@logit_normal
def test_the_logits_have_deviation_s(student, generator):
    """the logits of the levels have standard deviation s"""
    spread = logits(student, generator, 0.3, 0.6).std()
    says = "logit t = m + s ε has standard deviation s"
    expect.close(spread, 0.6, says, atol=0.035, rtol=0, what="the deviation")  # 5 standard errors


@logit_normal
def test_the_logits_are_gaussian(student, generator):
    """68 % of the logits are within s of m, 95 % within 2 s"""
    u = (logits(student, generator, 1.0, 1.5) - 1.0).abs() / 1.5
    shares = torch.stack([(u < k).double().mean() for k in (1, 2)])
    want = torch.tensor([0.6827, 0.9545])
    expect.close(
        shares, want, "ε is Gaussian, and t its sigmoid", atol=0.03, rtol=0, what="the shares"
    )


@logit_normal
def test_levels_without_m_and_s(student, generator):
    """without m and s half of the levels are above ½"""
    t = student.schedules.logit_normal(4000, generator=generator)
    share = (expect.tensor(t, (4000,), "t") > 0.5).double().mean()
    expect.close(
        share, 0.5, "m is 0 and s is 1 by default", atol=0.04, rtol=0, what="the share above ½"
    )


@logit_normal
def test_the_generator_decides(student):
    """the same generator gives the same levels, which all differ"""
    one, two = (
        student.schedules.logit_normal(50, 0.0, 1.0, torch.Generator().manual_seed(3))
        for _ in range(2)
    )
    one, two = (expect.tensor(t, (50,), "t") for t in (one, two))
    expect.close(one, two, "draw with `generator`: the same seed gave other levels", what="t")
    expect.true(len(one.unique()) > 45, "each level is drawn for itself", len(one.unique()), 50)


@logit_normal
def test_levels_are_independent(student, generator):
    """levels are independent draws, and so no more even than chance"""
    u = logits(student, generator, 0.5, 2.0, 20_000) / 2 - 0.25
    share, even = torch.special.ndtr(u.sort().values), (torch.arange(20_000) + 0.5) / 20_000
    gap = float((share - even).abs().max()) * 20_000**0.5  # Kolmogorov's statistic
    says = "n draws leave gaps of about 1 / √n in their distribution: draw each for itself"
    expect.true(0.28 < gap < 2.6, says, f"{gap:.2g} / √n", "between 0.28 and 2.6")
    expect.true(len(u.unique()) > 19_000, "levels repeat", len(u.unique()), "nearly 20000")
    one, two = u.chunk(2)
    pairs = [one * two, one * two.flip(0), u[1:] * u[:-1]]
    link = max(abs(float(p.mean())) for p in pairs)
    expect.true(link < 0.06, "levels depend on each other", f"{link:.2f}", "near 0")  # 6 sigma
    far = float((u.abs() > 3).double().mean())  # 54 ± 7 of 20000
    expect.true(0.0005 < far < 0.005, "0.27 % of the logits are beyond 3 s", f"{far:.2%}", "0.27 %")
    after = logits(student, generator, 0.5, 2.0, 20_000) / 2 - 0.25
    link = abs(float((u * after).mean()))
    expect.true(link < 0.06, "the second draw repeats the first", f"{link:.2f}", "near 0")


@logit_normal
def test_levels_next_to_both_ends(student, generator):
    """levels are not kept away from 0 and 1"""
    for m, s in ((-20.0, 0.5), (8.0, 0.3)):
        u = (logits(student, generator, m, s) - m) / s
        off = max(abs(float(u.mean())), abs(float(u.std()) - 1))  # 5 standard errors
        says = f"the logits have another mean or deviation than m = {m}, s = {s}"
        expect.true(off < 0.08, says, f"{off:.3g} away, in units of s", "less than 0.08")


@logit_normal
def test_one_level_and_no_generator(student):
    """one level can be asked for, and without a generator each call is another draw"""
    expect.tensor(student.schedules.logit_normal(1, 1.0, 0.1), (1,), "t")
    one, two = (expect.tensor(student.schedules.logit_normal(99), (99,), "t") for _ in range(2))
    expect.true(not torch.equal(one, two), "two calls gave the same levels")


@logit_normal
def test_few_and_many_draws(student, generator):
    """the mean and deviation of few levels vary, and of many logits some are beyond 4 s"""
    few = torch.stack([logits(student, generator, 0.5, 2.0, 10) / 2 - 0.25 for _ in range(40)])
    spread = float(few.mean(1).square().mean()) * 10  # χ² of 40 degrees over 40: 1 ± 0.22
    expect.true(0.3 < spread < 2.5, "the mean of n levels varies as 1 / n", spread, "about 1")
    varies = float(few.std(1).std())  # 0.23 ± 0.03
    says = "the deviation of 10 levels varies: draws must not be brought to m and s afterwards"
    expect.true(0.08 < varies < 0.5, says, f"{varies:.2f}", "about 0.23")
    u = logits(student, generator, 0.5, 2.0, 200_000) / 2 - 0.25
    far = int((u.abs() > 4).sum())  # 12.7 ± 3.6
    says = "ε is Gaussian, and cut off nowhere: of 200000 some 13 are beyond 4"
    expect.true(0 < far < 40, says, far, "about 13")
    powers = torch.stack([u.mean(), u.square().mean(), u.pow(4).mean() / 3])
    off = {"atol": 0.025, "rtol": 0}  # 7 standard errors of the last: √(96 / 200000) / 3
    says = "the means of ε, ε² and ε⁴ / 3"
    expect.close(powers, torch.tensor([0.0, 1.0, 1.0]), says, **off, what="the means")


@logit_normal
def test_no_levels_without_a_deviation(student):
    """an s that is not positive is refused"""
    expect.tensor(student.schedules.logit_normal(3, 0.0, 1e-3), (3,), "t")
    for s in (0.0, -1.0, math.nan):
        says = REFUSED.format(f"s = {s}")
        expect.raises("ValueError", lambda s=s: student.schedules.logit_normal(3, 0.0, s), says)


# --- schedules.logit_normal_density -------------------------------------------------------------


@logit_normal_density
def test_the_density_in_the_middle(student):
    """p(½) is 4 / (s √(2π)) for m = 0"""
    for s in (0.5, 1.0, 2.0):
        p = student.schedules.logit_normal_density(torch.tensor([0.5]), 0.0, s)
        want = torch.tensor([4 / (s * math.sqrt(2 * math.pi))])
        says = "at t = ½ the logit is 0, and 1 / (t (1 − t)) is 4"
        expect.close(p, want, says, what="p(½)")


@logit_normal_density
def test_the_density_integrates_to_1(student):
    """it integrates to 1 over [0, 1]"""
    t = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    for m, s in ((0.0, 1.0), (-1.0, 0.7), (1.5, 0.5)):
        p = expect.tensor(student.schedules.logit_normal_density(t, m, s), t.shape, "p")
        says = (
            f"∫ p(t) dt for m = {m}, s = {s}: as dt is t (1 − t) d logit, 1 / (t (1 − t)) belongs"
        )
        expect.close(p.mean(), 1.0, says, atol=1e-4, rtol=1e-4, what="the integral")


@logit_normal_density
def test_the_density_is_the_slope_of_the_shares(student):
    """it is the slope of Φ((logit t − m) / s), the share of levels below t"""
    t = torch.tensor([0.1, 0.25, 0.4, 0.7, 0.9], dtype=torch.float64)
    h, m, s = 1e-5, 0.4, 0.8
    below = [torch.special.ndtr((torch.logit(t + d) - m) / s) for d in (h, -h)]
    p = student.schedules.logit_normal_density(t, m, s)
    says = "differentiate Φ((logit t − m) / s): a Gaussian, times the slope of (logit t − m) / s"
    expect.close(p, (below[0] - below[1]) / (2 * h), says, rtol=1e-3, atol=1e-5, what="p")


@logit_normal_density
def test_the_density_is_0_at_both_ends(student):
    """it is 0 at t = 0 and t = 1, and p(t) for m is p(1 − t) for −m"""
    p = student.schedules.logit_normal_density(torch.tensor([0.0, 1.0]), 0.5, 1.0)
    says = "the Gaussian falls faster than 1 / t grows: the limit is 0"
    expect.close(p, torch.zeros(2), says, what="p at the ends")
    t = torch.tensor([[0.2, 0.5, 0.9]])
    one = student.schedules.logit_normal_density(t, 0.5, 0.8)
    two = student.schedules.logit_normal_density(1 - t, -0.5, 0.8)
    one = expect.tensor(one, (1, 3), "p")
    expect.close(two, one, "mirrored levels have mirrored densities", what="p(1 − t)")


def density(t, m, s):
    """log p, the sum of three logarithms, then its exponential; in float64."""
    t = t.double()
    log_p = -(((t.log() - torch.log1p(-t)) - m) ** 2) / (2 * s**2) - t.log() - torch.log1p(-t)
    return log_p.exp() / (s * math.sqrt(2 * math.pi))


@logit_normal_density
def test_densities_of_any_shape(student, generator):
    """works for t of any shape, one number without an axis too, in float32 and float64"""
    for shape in ((), (1,), (2, 1, 3)):
        t = torch.rand(shape, generator=generator, dtype=torch.float64)
        p = student.schedules.logit_normal_density(t, 0.5, 1.0)
        expect.close(p, density(t, 0.5, 1.0), "every digit for s = 1", **DOUBLE, what="p")
        # torch.distributions.Normal keeps m and s in float32: 1e-7 each, times the logit's square
        for dtype, off in ((torch.float64, 3e-5), (torch.float32, 1e-4)):
            t = (0.02 + 0.96 * torch.rand(shape, generator=generator)).to(dtype)
            p = student.schedules.logit_normal_density(t, 0.5, 0.8)
            says = f"p at t of shape {shape} in {dtype}"
            expect.close(p, density(t, 0.5, 0.8), says, atol=off * 1e-3, rtol=off, what="p")
            expect.true(p.dtype == dtype, "p must have the precision of t", p.dtype, dtype)
    for end in (0.0, 1.0):
        p = student.schedules.logit_normal_density(torch.tensor(end), 0.5, 0.8)
        expect.close(p, 0.0, f"p at t = {end}, one number", atol=0, rtol=0, what="p")


@logit_normal_density
def test_the_density_next_to_the_ends(student):
    """next to the ends it is as the formula says, for large s and m far from 0 too"""
    t = torch.tensor([1e-30, 1e-12, 1e-7, 1e-3, 0.3, 1 - 1e-3, 1 - 1e-7], dtype=torch.float64)
    for m, s in ((0.0, 10.0), (-20.0, 1.5), (12.0, 1.0), (-1.0, 0.05)):
        p = student.schedules.logit_normal_density(t, m, s)
        says = f"p for m = {m}, s = {s}: levels next to 0 and 1 must not be moved"
        expect.close(p, density(t, m, s), says, atol=1e-13, rtol=5e-5, what="p")
        ends = student.schedules.logit_normal_density(t.new_tensor([0.0, 1.0]), m, s)
        says = f"p is exactly 0 at both ends, for m = {m}, s = {s}"
        expect.close(ends, torch.zeros(2), says, atol=0, rtol=0, what="p at the ends")


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


@shift
def test_the_ends_stay(student):
    """t = 0 and t = 1 stay where they are"""
    for alpha in (0.5, 3.0):
        t = student.schedules.shift(torch.tensor([0.0, 1.0]), alpha)
        says = "without noise there is none to multiply, and all noise stays all noise"
        expect.close(t, torch.tensor([0.0, 1.0]), says, what="t'")


@shift
def test_noise_against_data_is_multiplied(student):
    """t' / (1 − t') is α t / (1 − t)"""
    t = torch.tensor([0.1, 0.35, 0.5, 0.8])
    for alpha in (3.0, 0.4):
        moved = expect.tensor(student.schedules.shift(t, alpha), t.shape, "t'").double()
        want = alpha * t / (1 - t)
        says = f"noise against data must be {alpha} times as much"
        expect.close(moved / (1 - moved), want, says, rtol=1e-4, atol=1e-5, what="t' / (1 − t')")


@shift
def test_the_last_of_a_thousand_levels(student):
    """1/1000 becomes 0.002994 for α = 3, and ½ becomes ¾"""
    t = student.schedules.shift(torch.tensor([[0.001], [0.5]]), 3.0)
    want = torch.tensor([[3 / 1002], [0.75]])
    expect.close(t, want, "α t / (1 + (α − 1) t), once", atol=1e-7, rtol=1e-7, what="t'")


@shift
def test_there_and_back(student):
    """α and then 1/α leads back, and α = 1 changes nothing"""
    t = torch.tensor([0.05, 0.3, 0.6, 0.97])
    there = expect.tensor(student.schedules.shift(t, 2.5), t.shape, "t'")
    back = student.schedules.shift(there, 0.4)
    expect.close(back, t, "5/2 times as much noise, then 2/5 of it", what="t")
    expect.close(student.schedules.shift(t, 1.0), t, "α = 1 is no shift", what="t'")


@shift
def test_levels_of_any_shape_are_moved(student, generator):
    """works for t of any shape, one number without an axis too, in float32 and float64"""
    for alpha in (2.5, 0.3, 3, 1):
        for shape in ((), (1,), (2, 1, 3)):
            for dtype, off in ((torch.float64, 1e-10), (torch.float32, 1e-6)):
                t = torch.rand(shape, generator=generator).to(dtype)
                new = student.schedules.shift(t, alpha)
                want = alpha * t.double() / (1 + (alpha - 1) * t.double())
                says = f"t' for t of shape {shape} in {dtype}, α = {alpha}"
                expect.close(new, want, says, atol=off, rtol=off, what="t'")
                expect.true(new.dtype == dtype, "t' has the precision of t", new.dtype, dtype)


@shift
def test_however_large_or_small_alpha_is(student):
    """it is the same formula for α = 0.00001 and for α = 10²⁰, next to the ends too"""
    t = torch.tensor([0.0, 1e-6, 1e-3, 0.3, 0.9, 1 - 1e-6, 1.0], dtype=torch.float64)
    for alpha in (1e-5, 1e-2, 100.0, 1e5, 1e20):
        new = student.schedules.shift(t, alpha)
        want = alpha * t / (1 - t + alpha * t)
        expect.close(new, want, f"t' for α = {alpha}", atol=1e-14, rtol=1e-8, what="t'")


@shift
def test_no_shift_by_nothing(student):
    """an α that is not positive is refused"""
    t = torch.tensor([0.5])
    expect.close(student.schedules.shift(t, 3.0), t * 1.5, "½ becomes ¾ for α = 3", what="t'")
    for alpha in (0.0, -2.0, math.nan):
        says = REFUSED.format(f"α = {alpha}")
        expect.raises("ValueError", lambda a=alpha: student.schedules.shift(t, a), says)


# --- schedules.resolution_alpha -----------------------------------------------------------------


@resolution_alpha
def test_four_times_the_pixels(student):
    """four times the pixels need α = 2, a quarter α = ½"""
    up = student.schedules.resolution_alpha(32 * 32, 16 * 16)
    expect.close(up, 2.0, "the mean of 4 pixels has half the noise of one", what="α")
    down = student.schedules.resolution_alpha(16 * 16, 32 * 32)
    expect.close(down, 0.5, "from more pixels to fewer it goes back", what="α")


@resolution_alpha
def test_one_size_needs_no_shift(student):
    """images of one size need no shift"""
    expect.close(student.schedules.resolution_alpha(784, 784), 1.0, "m = n: α = 1", what="α")


@resolution_alpha
def test_sizes_that_are_no_multiples(student):
    """24×24 against 16×16 is 1.5, 1024×1024 against 256×256 is 4"""
    alpha = student.schedules.resolution_alpha(24 * 24, 16 * 16)
    expect.close(alpha, 1.5, "576 pixels against 256: √2.25", what="α")
    alpha = student.schedules.resolution_alpha(1024 * 1024, 256 * 256)
    expect.close(alpha, 4.0, "16 times the pixels: √16", what="α")


@resolution_alpha
def test_images_of_any_size(student):
    """it is √(m / n) for single pixels, very large images, and sizes that nearly agree"""
    for m, n in ((1, 1), (1, 10**9), (10**9, 1), (2, 3), (999, 1000), (4096**2, 7), (50, 1111)):
        alpha = student.schedules.resolution_alpha(m, n)
        says = f"{m} pixels against {n}"
        expect.close(alpha, math.sqrt(m / n), says, rtol=2e-7, atol=0, what="α")


@resolution_alpha
def test_no_images_without_pixels(student):
    """numbers of pixels that are not positive are refused"""
    call = student.schedules.resolution_alpha
    expect.close(call(9, 1), 3.0, "√9", what="α")
    for m, n in ((0, 4), (4, 0), (-4, 4), (4, -4), (-4, -4)):
        says = REFUSED.format(f"m = {m}, n = {n}")
        expect.raises("ValueError", lambda m=m, n=n: call(m, n), says)
