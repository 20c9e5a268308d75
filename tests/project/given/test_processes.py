"""Diffusion processes as data, held to derivatives by autograd, their ends, and inverses."""

import math
from itertools import pairwise

import pytest
import torch

from cs231n_gen.given import processes
from cs231n_gen.given.processes import NOISE, X, level_of


def smooth_share(t):
    """A share of the signal of this test's own: 1 at t = 0, falls, stays above 0."""
    return torch.exp(-3 * t - t**3)


PROCESSES = {
    "rectified_flow": processes.rectified_flow(),
    "variance_preserving": processes.variance_preserving(),
    "other betas": processes.variance_preserving(beta_min=0.3, beta_max=8.0),
    "own share": processes.variance_preserving(smooth_share),
    "share of a cosine": processes.variance_preserving(lambda t: 1e-3 + 0.999 * (2 * t).cos() ** 4),
    "cosine": processes.cosine(),
    "variance_exploding": processes.variance_exploding(),
    "other sigmas": processes.variance_exploding(0.5, 2.0),
    "edm": processes.edm(),
    "trigflow": processes.trigflow(0.5)[0],
}
# A share of cos(2 t)⁴ rises again after t = π/4, so b / a does not rise all the way.
RISING = {name: p for name, p in PROCESSES.items() if name != "share of a cosine"}
PRESERVING = ("variance_preserving", "other betas", "own share", "share of a cosine", "cosine")

every = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
rising = pytest.mark.parametrize("process", RISING.values(), ids=RISING)


def levels(n=201, first=0.0, last=1.0):
    return torch.linspace(first, last, n, dtype=torch.float64)


def at(f, t, dtype=torch.float64):
    return float(f(torch.tensor(t, dtype=dtype)))


# --- a, b and their derivatives -----------------------------------------------------------------


@every
@pytest.mark.parametrize("name", ["a", "b"])
def test_derivatives_are_those_of_autograd(process, name):
    t = levels()[1:-1].requires_grad_()
    value = getattr(process, name)(t)
    want = torch.zeros_like(t)
    if value.requires_grad:  # a = 1 depends on nothing
        (want,) = torch.autograd.grad(value.sum(), t)
    found = getattr(process, f"d{name}")(t.detach())
    torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-12)


@every
def test_derivatives_say_how_a_and_b_change(process):
    """By finite differences, which know nothing of autograd."""
    t, h = levels(51, 0.05, 0.95), 1e-5
    for f, slope in ((process.a, process.da), (process.b, process.db)):
        torch.testing.assert_close((f(t + h) - f(t - h)) / (2 * h), slope(t), rtol=1e-6, atol=1e-6)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_levels_of_any_shape_and_precision(process, dtype):
    for shape in ((), (4,), (3, 1, 1), (0,)):
        t = torch.full(shape, 0.3, dtype=dtype)
        for f in (process.a, process.b, process.da, process.db):
            value = f(t)
            assert (value.shape, value.dtype) == (t.shape, dtype)
            assert not value.requires_grad
            torch.testing.assert_close(
                value.double(), torch.full(shape, at(f, 0.3)).double(), rtol=1e-5, atol=1e-6
            )


@every
def test_derivatives_work_where_gradients_are_off(process):
    t = levels(5, 0.1, 0.9)
    want = process.da(t), process.db(t)
    with torch.no_grad():
        found = process.da(t), process.db(t)
    assert all(torch.equal(f, w) for f, w in zip(found, want, strict=True))


@rising
def test_from_data_to_noise(process):
    """a falls and b rises, neither is negative, and never are both 0."""
    t = levels()
    a, b = process.a(t), process.b(t)
    assert (a >= 0).all()
    assert (b >= 0).all()
    assert (a + b > 0).all()
    assert (a.diff() <= 0).all()
    assert (b.diff() > 0).all()


ENDS = {  # a(0), b(0), a(1), b(1)
    "rectified_flow": (1, 0, 0, 1),
    "cosine": (1, 0, 0, 1),
    "variance_preserving": (1, 0, math.exp(-10.05 / 2), math.sqrt(1 - math.exp(-10.05))),
    "other betas": (1, 0, math.exp(-4.15 / 2), math.sqrt(1 - math.exp(-4.15))),
    "own share": (1, 0, math.exp(-2), math.sqrt(1 - math.exp(-4))),
    "variance_exploding": (1, 0.01, 1, 50),
    "other sigmas": (1, 0.5, 1, 2),
    "edm": (1, 0, 1, 80),
}


@pytest.mark.parametrize("name", ENDS)
def test_both_ends(name):
    process = PROCESSES[name]
    found = [at(f, t) for t in (0.0, 1.0) for f in (process.a, process.b)]
    assert found == pytest.approx(ENDS[name], rel=1e-12, abs=1e-300)  # a 0 is exactly 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_0_is_exactly_0_in_any_precision(dtype):
    for name in ("rectified_flow", "cosine"):
        process = PROCESSES[name]
        assert at(process.a, 1.0, dtype) == 0
        assert at(process.b, 0.0, dtype) == 0
        assert at(process.a, 0.0, dtype) == 1
        assert at(process.b, 1.0, dtype) == 1


@pytest.mark.parametrize("name", PRESERVING)
def test_variance_is_preserved(name):
    t = levels()
    a, b = PROCESSES[name].a(t), PROCESSES[name].b(t)
    torch.testing.assert_close(a**2 + b**2, torch.ones_like(t), rtol=1e-14, atol=0)


def test_linear_beta_is_the_limit_of_ddpms_steps():
    """Ho et al.: x ← √(1 − β_n) x + √β_n z for N = 1000 steps, β_n from 0.1 / N to 20 / N."""
    N, process = 1000, processes.variance_preserving()
    alpha_bar = (1 - torch.linspace(0.1 / N, 20 / N, N, dtype=torch.float64)).cumprod(0)
    t = torch.arange(1, N + 1, dtype=torch.float64) / N
    torch.testing.assert_close(process.a(t)[:500], alpha_bar.sqrt()[:500], rtol=0.02, atol=0)


def test_next_to_0_b_loses_no_digits():
    """b² = 1 − e^(−s) ≈ s for small s, where 1 − e^(−s) itself would be 0."""
    process, t = processes.variance_preserving(), torch.tensor([1e-30, 1e-18, 1e-9]).double()
    s = 0.1 * t + 9.95 * t**2
    torch.testing.assert_close(process.b(t), s.sqrt() * (1 - s / 4), rtol=1e-12, atol=0)


def test_a_share_may_be_of_several_functions():
    """σ(t) = exp(−∫β) of the slide's form is the linear β of the other."""
    own = processes.variance_preserving(lambda t: torch.exp(-0.1 * t - 9.95 * t**2))
    t, linear = levels(41, 0.05, 1.0), processes.variance_preserving()
    for f, g in zip(vars(own).values(), vars(linear).values(), strict=True):
        torch.testing.assert_close(f(t), g(t), rtol=1e-9, atol=1e-12)


# --- targets ------------------------------------------------------------------------------------


def test_targets():
    t = levels(11, 0.05, 0.95)
    one, zero = torch.ones_like(t), torch.zeros_like(t)
    assert torch.equal(X.c(t), one)
    assert torch.equal(X.d(t), zero)
    assert torch.equal(NOISE.c(t), zero)
    assert torch.equal(NOISE.d(t), one)
    v = processes.velocity(processes.rectified_flow())
    assert torch.equal(v.c(t), -one)
    assert torch.equal(v.d(t), one)


@every
def test_the_velocity_is_how_x_t_moves(process):
    t, h, x, z = levels(9, 0.1, 0.9), 1e-5, 1.7, -0.6
    target = processes.velocity(process)
    moved = [process.a(s) * x + process.b(s) * z for s in (t - h, t + h)]
    want = (moved[1] - moved[0]) / (2 * h)
    torch.testing.assert_close(target.c(t) * x + target.d(t) * z, want, rtol=1e-5, atol=1e-5)


def test_angular_is_the_slope_by_the_angle():
    """For the cosine process the angle is π t / 2, so the velocity is π / 2 times it."""
    process, t = processes.cosine(), levels()
    angular, velocity = processes.angular(process), processes.velocity(process)
    for one, other in ((angular.c, velocity.c), (angular.d, velocity.d)):
        torch.testing.assert_close(math.pi / 2 * one(t), other(t), rtol=1e-14, atol=1e-15)


# --- level_of -----------------------------------------------------------------------------------


@rising
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_level_of_is_the_inverse(process, dtype):
    t = torch.cat([levels(), torch.tensor([1e-6, 1e-3, 1 - 1e-3, 1 - 1e-6]).double()]).to(dtype)
    found = level_of(process, process.a(t), process.b(t))
    assert found.dtype == dtype
    off = {torch.float32: 1e-4, torch.float64: 1e-9}[dtype]  # where b / a hardly changes with t
    assert (found - t).abs().max() < off


@rising
def test_a_scale_does_not_count(process):
    t = levels(21, 0.02, 0.98)
    for k in (1e-12, 3.7, 1e12):
        found = level_of(process, k * process.a(t), k * process.b(t))
        torch.testing.assert_close(found, t, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["rectified_flow", "cosine"])
def test_ratios_however_small_or_large(name):
    process = PROCESSES[name]
    ratio = torch.tensor([1e-30, 1e-18, 1e-12, 1e-6, 1.0, 1e3, 1e9], dtype=torch.float64)
    t = level_of(process, torch.ones_like(ratio), ratio)
    reached = process.b(t) / process.a(t)
    torch.testing.assert_close(reached[2:], ratio[2:], rtol=1e-6, atol=0)
    assert (reached[:2] - ratio[:2]).abs().max() < 1e-19  # where halving ends
    assert level_of(process, torch.tensor(1e-12).double(), torch.tensor(1.0).double()) > 1 - 1e-11
    assert (t.diff() > 0).all()


@rising
def test_pure_noise_and_pure_data(process):
    """a = 0 asks for t = 1 whether the process gets there or not; b = 0 for t = 0."""
    zero, one = torch.zeros(2), torch.ones(2)
    assert level_of(process, zero, one).tolist() == [1, 1]
    assert level_of(process, one, zero).tolist() == [0, 0]


def test_beyond_an_end_it_is_the_nearer_end():
    for name in ("variance_exploding", "other sigmas"):
        process = PROCESSES[name]
        low, high = at(process.b, 0.0), at(process.b, 1.0)
        ratio = torch.tensor([low / 10, low, high, high * 10]).double()
        t = level_of(process, torch.ones(4).double(), ratio)
        torch.testing.assert_close(t, torch.tensor([0, 0, 1, 1]).double(), rtol=0, atol=1e-12)
    least = torch.tensor([1e6])  # DDPM ends at b / a = 152
    assert level_of(processes.variance_preserving(), torch.ones(1), least).item() == 1


def test_levels_of_any_shape_and_mixed():
    process = processes.rectified_flow()
    a = torch.tensor([[0.0, 0.25], [1.0, 0.5]])
    t = level_of(process, a, 1 - a)
    torch.testing.assert_close(t, 1 - a, rtol=0, atol=1e-7)
    assert level_of(process, torch.tensor(0.25), torch.tensor(0.75)).shape == ()


@rising
def test_few_and_many_levels_are_found_alike(process):
    """Few are looked for in sixteen parts at a time, many by halving."""
    t = levels(2000, 0.01, 0.99)
    many = level_of(process, process.a(t), process.b(t))
    few = level_of(process, process.a(t[::50]), process.b(t[::50]))
    torch.testing.assert_close(few, many[::50], rtol=0, atol=1e-12)
    torch.testing.assert_close(many, t, rtol=0, atol=1e-9)


def test_nothing_changes_what_is_given():
    a, b = torch.tensor([0.5, 0.0]), torch.tensor([0.5, 1.0])
    level_of(processes.cosine(), a, b)
    assert a.tolist() == [0.5, 0.0]
    assert b.tolist() == [0.5, 1.0]


# --- rows of levels -----------------------------------------------------------------------------


def test_even_in_t():
    assert processes.even_in_t(4) == [1, 0.75, 0.5, 0.25, 0]
    assert processes.even_in_t(1, 0.9, 0.1) == [0.9, 0.1]
    times = processes.even_in_t(7, 0.99, 0.01)
    assert (times[0], times[-1], len(times)) == (0.99, 0.01, 8)
    assert [a - b for a, b in pairwise(times)] == pytest.approx([0.14] * 7)


def test_denser_near_the_data():
    assert processes.denser_near_data(4, 1.0) == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    times = processes.denser_near_data(9)
    assert (times[0], times[-1], len(times)) == (1, 0, 10)
    assert times[-2] == pytest.approx(9**-1.5)
    gaps = [a - b for a, b in pairwise(times)]
    assert all(one > two > 0 for one, two in pairwise(gaps))


RANGES = {name: (-3.0, 4.0) for name in RISING} | {
    "own share": (-3.0, 6.0),
    "other sigmas": (-1.3, 1.3),
    "rectified_flow": (-30.0, 30.0),
    "cosine": (-30.0, 30.0),
}


@rising
@pytest.mark.parametrize("steps", [1, 5, 64])
def test_even_in_log_snr(process, steps):
    name = next(n for n, p in RISING.items() if p is process)
    lowest, highest = RANGES[name]
    times = processes.even_in_log_snr(process, steps, (lowest, highest))
    t = torch.tensor(times, dtype=torch.float64)
    assert len(times) == steps + 1
    assert (t.diff() < 0).all()
    log_snr = 2 * (process.a(t) / process.b(t)).log()
    want = torch.linspace(lowest, highest, steps + 1, dtype=torch.float64)
    torch.testing.assert_close(log_snr, want, rtol=0, atol=1e-6)


def test_an_snr_out_of_reach_is_refused():
    process = processes.variance_exploding(0.01, 50.0)
    whole = (-2 * math.log(50), -2 * math.log(0.01))
    times = processes.even_in_log_snr(process, 3, whole)
    assert (times[0], times[-1]) == pytest.approx((1, 0), abs=1e-9)
    for wrong in ((whole[0] - 0.1, 0.0), (0.0, whole[1] + 0.1)):
        with pytest.raises(ValueError, match=r"goes from 0\.01 to 50 in this process, asked for"):
            processes.even_in_log_snr(process, 3, wrong)


def by_warping(steps, sigma_min, sigma_max, rho):
    """Karras et al. 2022, eq. 5, in the words of their code: a ramp from σ_max to σ_min in the
    space of ρ-th roots."""
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return ((1 - ramp) * high + ramp * low) ** rho


@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
@pytest.mark.parametrize("name", ["rectified_flow", "cosine", "edm"])
def test_karras(name, rho):
    process = PROCESSES[name]
    for steps in (2, 10, 18):
        times = processes.karras(process, steps, 0.002, 80.0, rho)
        assert len(times) == steps + 1
        assert times[-1] == 0
        t = torch.tensor(times[:-1], dtype=torch.float64)
        assert (t.diff() < 0).all()
        want = by_warping(steps, 0.002, 80.0, rho)
        torch.testing.assert_close(process.b(t) / process.a(t), want, rtol=1e-9, atol=0)


def test_karras_numbers_of_their_table():
    """18 levels with the defaults, the first from 80, the last 0.002: EDM's own σ is σ_max t."""
    sigma = [80 * t for t in processes.karras(processes.edm(), 18)]
    assert sigma[:4] == pytest.approx([80.0, 57.586, 40.786, 28.375], rel=1e-4)
    assert sigma[-2:] == pytest.approx([0.002, 0.0])


def test_karras_out_of_reach_is_refused():
    with pytest.raises(ValueError, match=r"b / a goes from 0 to 50 in this process"):
        processes.karras(processes.edm(50.0), 5)
    with pytest.raises(
        ValueError, match=r"goes from 0\.01 to 80 in this process, asked for 0\.002"
    ):
        processes.karras(processes.variance_exploding(0.01, 80.0), 5)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("sigmas", [(0.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (2.0, 1.0), (math.nan, 1)])
def test_sigmas_that_do_not_rise_are_refused(sigmas):
    with pytest.raises(ValueError, match=r"expected 0 < sigma_min < sigma_max, got sigma_min = "):
        processes.variance_exploding(*sigmas)


@pytest.mark.parametrize("sigma_max", [0.0, -1.0, math.nan])
def test_a_sigma_that_is_not_positive_is_refused(sigma_max):
    with pytest.raises(ValueError, match="sigma_max must be positive, got"):
        processes.edm(sigma_max)


def test_a_process_never_changes():
    process = processes.rectified_flow()
    with pytest.raises(AttributeError):
        process.a = torch.ones_like


# --- preconditioned targets ---------------------------------------------------------------------


def moments(process, target, t, size):
    """Variances of x_t and y and their covariance, for data of standard deviation `size`."""
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    return (
        a**2 * size**2 + b**2,
        c**2 * size**2 + d**2,
        a * c * size**2 + b * d,
    )


@pytest.mark.parametrize("size", [0.5, 1.3])
@pytest.mark.parametrize("process", [processes.edm(), processes.variance_exploding()])
def test_edms_target_has_variance_1_and_nothing_of_x_t(process, size):
    """Karras et al. 2022, eq. 4: so c_out is as small as it can be."""
    t = levels()
    _, variance, shared = moments(process, processes.preconditioned(process, size), t, size)
    torch.testing.assert_close(variance, torch.ones_like(t), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(shared, torch.zeros_like(t), rtol=0, atol=1e-9)


def test_edms_data_are_skip_and_out():
    process, t, size = processes.edm(7.0), levels(), 0.5
    target, sigma = processes.preconditioned(process), 7.0 * t
    x, z = torch.tensor(1.3, dtype=torch.float64), torch.tensor(-0.4, dtype=torch.float64)
    x_t, y = x + sigma * z, target.c(t) * x + target.d(t) * z
    skip = size**2 / (sigma**2 + size**2)
    out = sigma * size / (sigma**2 + size**2).sqrt()
    torch.testing.assert_close(skip * x_t + out * y, x.expand_as(t), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [0.5, 1.0, 2.0])
def test_trigflow_keeps_the_size_of_the_data(size):
    process, target = processes.trigflow(size)
    t = levels()
    of_x_t, variance, shared = moments(process, target, t, size)
    torch.testing.assert_close(of_x_t, torch.full_like(t, size**2), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(variance, torch.ones_like(t), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(shared, torch.zeros_like(t), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [0.5, 1.0, 2.0])
def test_trigflows_target_is_the_velocity_in_the_angle(size):
    process, target = processes.trigflow(size)
    t, quarter = levels(), math.pi / 2
    own = processes.velocity(process)
    for found, want in ((target.c, own.c), (target.d, own.d)):
        torch.testing.assert_close(size * quarter * found(t), want(t), rtol=1e-12, atol=1e-12)
    x, z = torch.tensor(1.3, dtype=torch.float64), torch.tensor(-0.4, dtype=torch.float64)
    x_t, y = process.a(t) * x + process.b(t) * z, target.c(t) * x + target.d(t) * z
    found = (quarter * t).cos() * x_t - size * (quarter * t).sin() * y
    torch.testing.assert_close(found, x.expand_as(t), rtol=1e-12, atol=1e-12)
