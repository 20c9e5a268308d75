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
