"""The exact flow map, held to the ODE itself, to distribution functions and to quadrature."""

import math
import time

import pytest
import torch
from scipy import special, stats
from scipy.integrate import solve_ivp

from cs231n_gen import toys
from cs231n_gen.truth import (
    GaussianMixture,
    flow_map,
    follow,
    mean_velocity,
    teacher_free_consistency,
)

ROUNDING = {"rtol": 1e-12, "atol": 1e-12}
SOLVED = {"rtol": 0, "atol": 1e-8}  # of the flow solved to 1e-12 a step, over about a hundred steps


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def normal(seed, *shape):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def uniform(seed, *shape):
    return torch.rand(shape, generator=seeded(seed), dtype=torch.float64)


def line(components):
    """A mixture in one dimension, with standard deviations from 0.1 to 0.7."""
    std = 0.1 + 0.6 * uniform(components, components)
    means = 2 * normal(components, components, 1)
    return GaussianMixture.isotropic(means, std, 0.2 + uniform(9, components))


def gaussian(dim):
    root = normal(dim, dim, dim)
    cov = root @ root.mT + 0.05 * torch.eye(dim)
    return GaussianMixture([1.0], normal(7, 1, dim), cov[None])


def plane():
    """Three components of all shapes, of which two share a label."""
    root = 0.5 * normal(5, 3, 2, 2)
    covs = root @ root.mT + 0.04 * torch.eye(2)
    return GaussianMixture([1.0, 2, 3], 1.5 * normal(6, 3, 2), covs, torch.tensor([4, 1, 4]))


KINDS = {
    "1 Gaussian": line(1),
    "2 on a line": line(2),
    "4 on a line": line(4),
    "Gaussian in 2-D": gaussian(2),
    "Gaussian in 3-D": gaussian(3),
    "3 in the plane": plane(),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def p(request):
    return request.param


def solved(velocity, x, t, s):
    """The flow by an adaptive method of order 8, with a tolerance far below what is asked of it."""

    def slope(level, x_flat):
        return velocity(torch.from_numpy(x_flat).reshape(x.shape), level).flatten().numpy()

    found = solve_ivp(slope, (t, s), x.flatten().numpy(), "DOP853", rtol=1e-12, atol=1e-13)
    return torch.from_numpy(found.y[:, -1]).reshape(x.shape)


def close(got, want, message, **tolerance):
    torch.testing.assert_close(
        got, want, **(tolerance or ROUNDING), msg=lambda detail: f"{message}\n{detail}"
    )


def points(p, t, n=40):
    """Samples of x_t = (1 − t) x + t z."""
    return (1 - t) * p.sample(n, seeded(1)) + t * normal(2, n, p.dim)


# --- the flow -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.0), (1.0, 0.6), (0.5, 0.0), (0.7, 0.2), (0.1, 0.9)])
def test_it_is_where_a_fine_solution_of_the_flow_ends(p, t, s):
    x_t = points(p, t)
    close(flow_map(p, x_t, t, s), solved(p.velocity, x_t, t, s), "x_s is off the flow", **SOLVED)


@pytest.mark.parametrize("components", [1, 2, 3, 4])
def test_it_is_what_follow_finds_from_noise(components):
    p, z = line(components), normal(0, 50, 1)
    for level, frame in zip([0.5, 0.0], follow(p.velocity, z, [1, 0.5, 0])[1:], strict=True):
        # `follow` errs by 1e-9 a step, and narrow components stretch an early error
        close(flow_map(p, z, 1.0, level), frame, "not the path of follow", rtol=0, atol=1e-6)


def test_of_a_round_gaussian_it_keeps_the_distance_in_standard_deviations():
    mu, std = torch.tensor([0.7, -1.0, 2.0]).double(), 0.5
    p, x_t, t = GaussianMixture.isotropic(mu[None], std), normal(0, 30, 3), uniform(1, 30)
    at = t[:, None]
    want = mu + std * (x_t - (1 - at) * mu) / ((1 - at) ** 2 * std**2 + at**2).sqrt()
    close(flow_map(p, x_t, t), want, "the flow of N(μ, s² I) is wrong")


def test_it_starts_at_x_t(p):
    x_t = points(p, 0.5)
    for t in (0.0, 0.3, 1.0):
        close(flow_map(p, x_t, t, t), x_t, f"from {t} to {t} a point must stay where it is")


def test_it_goes_to_data_by_default(p):
    x_t = points(p, 0.8)
    assert torch.equal(flow_map(p, x_t, 0.8), flow_map(p, x_t, 0.8, 0.0))


@pytest.mark.parametrize(("t", "middle", "s"), [(1.0, 0.4, 0.0), (0.9, 0.5, 0.1), (1.0, 0.0, 0.5)])
def test_a_stop_on_the_way_changes_nothing(p, t, middle, s):
    x_t = points(p, t)
    stopped = flow_map(p, flow_map(p, x_t, t, middle), middle, s)
    close(stopped, flow_map(p, x_t, t, s), "a stop on the way moves x_s", rtol=0, atol=1e-9)


def test_there_and_back(p):
    x = p.sample(40, seeded(3))
    back = flow_map(p, flow_map(p, x, 0.0, 1.0), 1.0, 0.0)
    close(back, x, "noise and back is not where it was", rtol=0, atol=1e-8)


def test_it_moves_with_the_velocity_of_its_level(p):
    x_t, s, h = points(p, 0.9), 0.4, 1e-5
    slope = (flow_map(p, x_t, 0.9, s + h) - flow_map(p, x_t, 0.9, s - h)) / (2 * h)
    v = p.velocity(flow_map(p, x_t, 0.9, s), s)
    close(slope, v, "∂x_s/∂s is not the velocity at x_s", rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.0), (0.0, 1.0), (0.3, 0.0)])
@pytest.mark.parametrize("std", [0.2, 0.01])
def test_paths_that_part_sharply(std, t, s):
    """The ring of chapter 12, eight components, also from noise close to its centre."""
    p = toys.ring(std=std).mixture
    x_t = points(p, t, 60)
    if t == 1:
        x_t[:5] *= 1e-3
    close(flow_map(p, x_t, t, s), solved(p.velocity, x_t, t, s), "off the flow", **SOLVED)


def test_flows_in_more_dimensions():
    roots = 0.4 * normal(8, 5, 6, 6)
    p = GaussianMixture(1 + uniform(8, 5), normal(9, 5, 6), roots @ roots.mT + 0.01 * torch.eye(6))
    z = normal(0, 40, 6)
    close(flow_map(p, z, 1.0), solved(p.velocity, z, 1.0, 0.0), "off the flow", **SOLVED)


# --- quantiles ----------------------------------------------------------------------------------


def distribution(p, x, t=0.0):
    """F and 1 − F of the noisy density, by scipy."""
    x, w = x[:, 0].numpy()[:, None], p.weights.numpy()
    means = (1 - t) * p.means[:, 0].numpy()
    std = ((1 - t) ** 2 * p.covs[:, 0, 0] + t**2).sqrt().numpy()
    parts = stats.norm(means, std)
    return torch.from_numpy(parts.cdf(x) @ w), torch.from_numpy(parts.sf(x) @ w)


@pytest.mark.parametrize("components", [1, 2, 3, 4])
@pytest.mark.parametrize("s", [0.0, 0.3, 1.0])
def test_noise_becomes_the_quantile_that_it_is_out_to_eight_deviations(components, s):
    p = line(components)
    z = torch.linspace(-8, 8, 161, dtype=torch.float64)[:, None]
    below, above = distribution(p, flow_map(p, z, 1.0, s), s)
    want = torch.from_numpy(special.ndtr(z[:, 0].numpy()))
    # relative, so that 6e-16 at |z| = 8 counts; x_s to 1e-15 makes it 1e-15 · 8 deviations / 0.1
    close(below, want, "F_s(x_s) is not Φ(z)", rtol=1e-11, atol=0)
    close(above, want.flip(0), "1 − F_s(x_s) is not Φ(−z)", rtol=1e-11, atol=0)


def test_it_holds_where_the_mass_is_less_than_any_number():
    """Φ(−60) is 1e-784. Far out the outermost component alone counts, here with weight ½."""
    p = GaussianMixture.isotropic([[-1.0], [1.0]], 0.3)
    z = torch.tensor([[-60.0], [60.0]]).double()
    x = flow_map(p, z, 1.0)
    log_tail = special.log_ndtr(-(x.abs() - 1) / 0.3) + math.log(0.5)
    close(log_tail, special.log_ndtr(-z.abs()), "log of the mass beyond x", rtol=1e-12, atol=0)
    close(flow_map(p, x, 0.0, 1.0), z, "and back to z")


@pytest.mark.parametrize("components", [2, 3, 4])
def test_order_is_kept(components):
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    for s in (0.8, 0.3, 0.0):
        x = flow_map(line(components), z, 1.0, s)[:, 0]
        assert (x.diff() > 0).all(), f"at {s} a point is past its neighbour"


@pytest.mark.parametrize("half", [3.0, 20.0], ids=["60 deviations", "400 deviations"])
def test_a_gap_between_components_has_all_its_digits(half):
    """In the middle F is ½ to all digits: it tells nothing of where in the gap a point is."""
    p = GaussianMixture.isotropic([[-half], [half]], 0.05)
    x_t = torch.linspace(-half, half, 22, dtype=torch.float64)[:, None]
    x = flow_map(p, x_t, 0.01, 0.0)
    close(x, solved(p.velocity, x_t, 0.01, 0.0), "the gap is off", rtol=0, atol=1e-9 * half)
    close(flow_map(p, x, 0.0, 0.01), x_t, "and back", rtol=1e-12, atol=1e-12 * half)


def test_the_middle_of_a_symmetric_mixture_stays():
    p = GaussianMixture.isotropic([[-3.0], [3.0]], 0.05)
    middle = torch.zeros(1, 1, dtype=torch.float64)
    assert float(flow_map(p, middle, 1.0, 0.0).abs()) < 1e-15
    assert torch.func.jacrev(lambda z: flow_map(p, z, 1.0))(middle).isfinite().all()


def test_two_thousand_points_are_fast_enough_to_play_with():
    """A budget for notebooks of 50 ms of a processor; it takes 15."""
    p, z = line(4), normal(0, 2000, 1)

    def seconds():
        start = time.process_time()
        flow_map(p, z, 1.0)
        return time.process_time() - start

    assert min(seconds() for _ in range(5)) < 0.05


# --- mean velocity ------------------------------------------------------------------------------


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.0), (0.9, 0.3), (0.2, 0.7)])
def test_mean_velocity_is_the_average_over_the_path(p, t, s):
    """By Gauss–Legendre quadrature in ten pieces."""
    x_t = points(p, t, 20)
    nodes, weights = (torch.from_numpy(v) for v in special.roots_legendre(16))
    share = (torch.arange(10)[:, None] + (nodes + 1) / 2).flatten() / 10
    level = (s + (t - s) * share)[:, None].expand(160, 20)
    v = p.velocity(flow_map(p, x_t.expand(160, 20, p.dim), t, level), level)
    average = torch.einsum("i,ijk->jk", weights.repeat(10) / 20, v)
    close(mean_velocity(p, x_t, t, s), average, "u is not ∫ v / (t − s)", rtol=0, atol=1e-7)


def test_mean_velocity_is_the_whole_way_over_the_time(p):
    x_t, t, s = points(p, 0.8), 0.8, 0.1
    u = mean_velocity(p, x_t, t, s)
    close(x_t - (t - s) * u, flow_map(p, x_t, t, s), "x_t − (t − s) u is not x_s")


def test_mean_velocity_obeys_the_mean_flow_identity(p):
    """u = v − (t − s) du/dt, where du/dt is along the flow, by central differences."""
    x_t, t, s, h = points(p, 0.6), 0.6, 0.25, 1e-4
    v = p.velocity(x_t, t)
    later, earlier = (flow_map(p, x_t, t, t + d) for d in (h, -h))
    du = (mean_velocity(p, later, t + h, s) - mean_velocity(p, earlier, t - h, s)) / (2 * h)
    wrong = (mean_velocity(p, x_t, t + h, s) - mean_velocity(p, x_t, t - h, s)) / (2 * h)
    u = mean_velocity(p, x_t, t, s)
    close(u, v - (t - s) * du, "u is not v − (t − s) du/dt", rtol=1e-6, atol=1e-6)
    assert (u - v + (t - s) * wrong).abs().max() > 1e-3  # the test can tell d/dt from ∂/∂t


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_mean_velocity_over_no_time_is_the_velocity(p, t):
    x_t = points(p, t)
    close(mean_velocity(p, x_t, t, t), p.velocity(x_t, t), "u at s = t is not v")


def test_mean_velocity_over_a_short_time_keeps_its_digits(p):
    """Over h it is the velocity in the middle, to h² / 24 of its third derivative."""
    x_t, t = points(p, 0.5), 0.5
    for h in (1e-12, 9e-6, 1.1e-5, 1e-4):
        middle = p.velocity(flow_map(p, x_t, t, t - h / 2), t - h / 2)
        u = mean_velocity(p, x_t, t, t - h)
        close(u, middle, f"u over {h:g} is off", rtol=0, atol=1e-9 + 100 * h**2)


# --- what it takes ------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [flow_map, mean_velocity])
def test_batches_of_any_shape_with_levels_of_their_own(p, answer):
    x_t, t, s = points(p, 0.5, 12).reshape(3, 4, p.dim), uniform(5, 3, 4), uniform(6, 3, 4)
    t[0, 0], s[0, 1], t[0, 2], s[0, 2] = 1.0, 0.0, 0.5, 0.5
    found = answer(p, x_t, t, s)
    assert found.shape == x_t.shape
    one = torch.stack([answer(p, *of) for of in zip(x_t[0], t[0], s[0], strict=True)])
    close(found[0], one, "a batch is not its points, one by one", rtol=0, atol=1e-11)
    close(
        answer(p, x_t, 0.7, s), answer(p, x_t, torch.full((3, 4), 0.7, dtype=t.dtype), s), "one t"
    )
    assert answer(p, x_t[:0], 0.5, 0.1).shape == (0, 4, p.dim)


@pytest.mark.parametrize("answer", [flow_map, mean_velocity])
def test_everything_is_double_precision_and_nothing_changes(p, answer):
    x_t, t, s = points(p, 0.5).float(), torch.full((40,), 0.5), torch.zeros(40)
    found = answer(p, x_t, t, s)
    assert found.dtype == torch.float64
    assert torch.equal(found, answer(p, x_t.double(), 0.5, 0.0))
    assert torch.equal(x_t, points(p, 0.5).float())
    assert not found.requires_grad


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("answer", [flow_map, mean_velocity])
def test_a_label_leaves_its_own_components(dim, answer):
    labels = torch.tensor([4, 1, 4])
    p = plane() if dim == 2 else GaussianMixture.isotropic([[-2.0], [0], [1]], 0.3, labels=labels)
    x_t, y = points(p, 0.7, 10), torch.tensor([4, 1, 1, 4, 4, 1, 4, 1, 4, 4])
    t, s = uniform(3, 10), uniform(4, 10)
    each = answer(p, x_t, t, s, y)
    for label in (1, 4):
        of, where = answer(p.given(label), x_t, t, s), y == label
        close(answer(p, x_t, t, s, label), of, "one label for all")
        close(each[where], of[where], "a label for each", rtol=0, atol=1e-11)
    assert answer(p, x_t[:0], 0.5, 0.1, 4).shape == (0, dim)


# --- derivatives --------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [flow_map, mean_velocity])
def test_derivatives_are_those_of_finite_differences(p, answer):
    x_t, t = points(p, 0.6), 0.3 + 0.6 * uniform(1, 40)
    s = t * (0.6 + 0.3 * uniform(2, 40))
    dx, dt, ds, h = normal(3, 40, p.dim), normal(4, 40), normal(5, 40), 1e-6

    def function(x_t, t, s):
        return answer(p, x_t, t, s)

    _, slope = torch.func.jvp(function, (x_t, t, s), (dx, dt, ds))
    high, low = (function(x_t + d * dx, t + d * dt, s + d * ds) for d in (h, -h))
    close(slope, (high - low) / (2 * h), "jvp is wrong", rtol=1e-5, atol=1e-5)
    inputs = [v.clone().requires_grad_() for v in (x_t, t, s)]
    weight = normal(6, 40, p.dim)
    grads = torch.autograd.grad((weight * function(*inputs)).sum(), inputs)
    products = sum((g * d).sum() for g, d in zip(grads, (dx, dt, ds), strict=True))
    close((weight * slope).sum(), products, "backward is not the transpose of jvp")


def test_along_the_flow_it_does_not_change(p):
    """So the tangent of a consistency model is 0 on the exact function."""
    x_t, t = points(p, 0.6), torch.full((40,), 0.6, dtype=torch.float64)
    _, tangent = torch.func.jvp(
        lambda x, t: flow_map(p, x, t, 0.3), (x_t, t), (p.velocity(x_t, t), torch.ones_like(t))
    )
    close(tangent, torch.zeros_like(x_t), "the tangent is not 0", rtol=0, atol=1e-7)


# --- what it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [flow_map, mean_velocity])
@pytest.mark.parametrize("level", [-0.1, 1.1, math.nan])
def test_levels_beyond_data_and_noise_are_refused(p, answer, level):
    x_t = points(p, 0.5)
    with pytest.raises(ValueError, match=f"t must be between 0 and 1, got {level}"):
        answer(p, x_t, level, 0.5)
    with pytest.raises(ValueError, match=f"s must be between 0 and 1, got {level}"):
        answer(p, x_t, 0.5, level)


@pytest.mark.parametrize("answer", [flow_map, mean_velocity])
def test_shapes_and_labels_that_cannot_be_meant_are_refused(answer):
    p, x_t = plane(), normal(0, 5, 2)
    with pytest.raises(ValueError, match=r"x must be \(\.\.\., 2\) .* got \(5, 3\)"):
        answer(p, normal(0, 5, 3), 0.5, 0.1)
    with pytest.raises(ValueError, match="t must be one number or one for each point"):
        answer(p, x_t, torch.rand(5, 1), 0.1)
    with pytest.raises(ValueError, match="s must be one number or one for each point"):
        answer(p, x_t, 0.5, torch.rand(4))
    with pytest.raises(ValueError, match="y must be one number or one for each point"):
        answer(p, x_t, 0.5, 0.1, torch.tensor([4, 1]))
    with pytest.raises(ValueError, match=r"y must be among the labels \[1, 4\], got 2"):
        answer(p, x_t, 0.5, 0.1, 2)
    with pytest.raises(ValueError, match="x_t must be finite, got 2 of 10 numbers that are not"):
        answer(p, x_t.index_fill(0, torch.tensor([3]), math.inf), 0.5, 0.1)
    with pytest.raises(ValueError, match="this mixture has no labels"):
        answer(line(2), normal(0, 5, 1), 0.5, 0.1, 1)


# --- consistency training without a teacher -----------------------------------------------------


def test_few_levels_without_a_teacher_shrink_the_slope():
    """N(0.7, 0.5²): 0.5 would be right at t = 1."""
    slopes = [
        float(teacher_free_consistency(0.5, torch.linspace(0, 1, N + 1))[-1])
        for N in (4, 16, 64, 256)
    ]
    assert slopes == pytest.approx([0.341, 0.456, 0.489, 0.497], abs=5e-4)


def test_it_is_the_fixed_point_of_regression():
    """E[f(x_s, s) | x_t] by weighted least squares on nodes of x and z, whose moments are exact."""
    mu, std, levels = 0.7, 0.5, [0.0, 0.1, 0.35, 0.8, 1.0]
    slopes = teacher_free_consistency(std, levels)
    nodes, weights = (torch.from_numpy(v) for v in special.roots_hermitenorm(4))
    x, z = (v.flatten() for v in torch.meshgrid(mu + std * nodes, nodes, indexing="ij"))
    root = (weights[:, None] * weights).flatten().sqrt()
    for i in range(1, len(levels)):
        t, s = levels[i], levels[i - 1]
        x_t, x_s = (1 - t) * x + t * z, (1 - s) * x + s * z
        target = mu + slopes[i - 1] * (x_s - (1 - s) * mu)
        inputs = torch.stack([torch.ones_like(x_t), x_t - (1 - t) * mu], 1)
        fit = torch.linalg.lstsq(root[:, None] * inputs, (root * target)[:, None]).solution[:, 0]
        close(
            fit, torch.stack([torch.tensor(mu, dtype=slopes.dtype), slopes[i]]), f"level {t} is off"
        )


def test_with_more_levels_it_comes_to_the_exact_slope():
    """Its bias is of the first order in the size of a step."""
    p = GaussianMixture.isotropic([[0.7]], 0.5)
    ends = torch.tensor([[0.0], [1.0]])
    errors = []
    for N in (64, 256, 1024):
        levels = torch.linspace(0, 1, N + 1).double()
        at = [flow_map(p, ends, float(t)).diff(dim=0).item() for t in levels[:: N // 8]]
        errors.append(teacher_free_consistency(0.5, levels)[:: N // 8] - torch.tensor(at))
    for more, fewer in zip(errors[1:], errors, strict=False):
        close(more[1:] / fewer[1:], torch.full((8,), 0.25).double(), "4 N", rtol=0.1, atol=0)


def test_one_level_regresses_the_data_themselves():
    assert teacher_free_consistency(0.5, [0.0]).tolist() == [1]
    assert teacher_free_consistency(0.5, [0.0, 1.0]).tolist() == [1, 0]  # z tells nothing of x
    assert teacher_free_consistency(0.5, torch.tensor([0, 1])).dtype == torch.float64


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf])
def test_a_spread_that_is_none_is_refused(std):
    with pytest.raises(ValueError, match=f"std must be positive and finite, got {std}"):
        teacher_free_consistency(std, [0.0, 1.0])


@pytest.mark.parametrize(
    "levels", [0.5, [], [0.1, 1.0], [0.0, 0.5, 0.5], [0.0, 1.1], [0.0, math.nan], [[0.0, 1.0]]]
)
def test_levels_that_do_not_rise_from_0_are_refused(levels):
    with pytest.raises(ValueError, match=r"levels must be .* rise from 0 to at most 1, got"):
        teacher_free_consistency(0.5, levels)
