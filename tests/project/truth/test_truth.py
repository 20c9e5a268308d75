"""The closed forms, held to theory: autograd, quadrature, brute force and torch.distributions."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from cs231n_gen import toys, truth
from cs231n_gen.truth import FiniteData, GaussianMixture

EXACT = {"rtol": 1e-9, "atol": 1e-9}  # float64, after sums and an eigendecomposition
LEVELS = [(1.0, 0.3), (0.6, 0.4), (0.2, 0.9), (0.0, 1.0), (-0.7, 0.5), (1.5, 2.0)]  # (a, b)
LABELS = torch.tensor([3, 0, 3, 1])  # not in order, not in a row, one of them twice


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def normal(seed, *shape):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def make(dim):
    """Four components, full covariances with variances of at least 0.15, weights that sum to 10."""
    roots = normal(10 + dim, 4, dim, dim) * 0.7 / math.sqrt(dim)
    covs = roots @ roots.mT + 0.15 * torch.eye(dim)
    return GaussianMixture(torch.tensor([1.0, 2, 3, 4]), 1.5 * normal(dim, 4, dim), covs, LABELS)


@pytest.fixture(params=[1, 2, 5], ids=lambda d: f"{d}-D")
def p(request):
    return make(request.param)


@pytest.fixture(params=[1, 2], ids=lambda d: f"{d}-D")
def low(request):
    """Few enough dimensions for a grid."""
    return make(request.param)


def reference(p, a=1.0, b=0.0):
    """The law of a x + b z, by torch.distributions."""
    covs = a**2 * p.covs + b**2 * torch.eye(p.dim).double()
    return MixtureSameFamily(Categorical(p.weights), MultivariateNormal(a * p.means, covs))


def score(p, x, a=1.0, b=0.0):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(reference(p, a, b).log_prob(x).sum(), x)[0]


def velocity(p, x, t):
    """By Tweedie's formula, from autograd: E[z] = −b s, E[x] = (x_t − b E[z]) / a."""
    z = -t * score(p, x, 1 - t, t)
    return z - (x - t * z) / (1 - t)


def lattice(dim):
    """All of `make`'s mass, at steps of a sixth of its least deviation: trapezoids are exact."""
    axis = torch.linspace(-12, 12, 401, dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * dim).reshape(-1, dim), 0.06**dim


def moments(p):
    """E[x] and Cov[x] by the law of total variance."""
    mean = p.weights @ p.means
    off = p.means - mean
    return mean, torch.einsum("k,kij->ij", p.weights, p.covs + off[:, :, None] * off[:, None, :])


def close(got, want, message, **tolerance):
    torch.testing.assert_close(
        got, want, **(tolerance or EXACT), msg=lambda detail: f"{message}\n{detail}"
    )


def test_density_is_that_of_torch_distributions_and_scipy(p):
    x = 3 * normal(0, 100, p.dim)
    close(p.log_density(x), reference(p).log_prob(x), "log p(x) is wrong")
    parts = [stats.multivariate_normal(m, c).pdf(x) for m, c in zip(p.means, p.covs, strict=True)]
    want = torch.tensor(np.array([0.1, 0.2, 0.3, 0.4]) @ np.stack(parts))
    close(p.density(x), want, "p(x) is wrong; weights 1, 2, 3, 4 must count as tenths")


def test_density_integrates_to_1(low):
    x, cell = lattice(low.dim)
    close(low.density(x).sum() * cell, torch.tensor(1.0).double(), "∫ p(x) dx is not 1")


@pytest.mark.parametrize("scale", [3.0, 1e6], ids=["near", "far"])
def test_score_is_the_gradient_of_log_density_near_and_far(p, scale):
    x = scale * normal(2, 30, p.dim)
    assert p.log_density(x).isfinite().all(), "log p(x) is not finite"
    close(p.score(x), score(p, x), "the score is not ∇ log p(x)")


def test_samples_have_the_mean_and_covariance_of_the_mixture(p):
    n = 40_000
    mean, cov = moments(p)
    off = p.sample(n, seeded(0)) - mean
    products = off[:, :, None] * off[:, None, :]
    for name, values, want in [("mean", off, 0 * mean), ("covariance", products, cov)]:
        sigmas = (values.mean(0) - want) / (values.std(0) / math.sqrt(n))
        # 4.5 standard errors: of 30 numbers one is beyond with a chance of 2e-4, and seeds are set
        assert sigmas.abs().max() < 4.5, f"the {name} of samples is {sigmas.abs().max():.1f} σ off"


def test_labelled_samples_follow_p_of_y_and_p_of_x_given_y(p):
    n = 40_000
    x, y = p.sample_labelled(n, seeded(0))
    assert p.classes.tolist() == [0, 1, 3], "classes are not the labels in order"
    assert torch.equal(x, p.sample(n, seeded(0))), "one seed must give the same points"
    for label, share in [(0, 0.2), (1, 0.4), (3, 0.4)]:
        count, spread = int((y == label).sum()), math.sqrt(n * share * (1 - share))
        assert abs(count - n * share) < 4 * spread, f"label {label} came {count} times"  # 4 σ
        mean, cov = moments(p.given(label))
        sigmas = (x[y == label].mean(0) - mean) / (cov.diagonal() / count).sqrt()
        assert sigmas.abs().max() < 4.5, f"x is not from p(x | {label})"  # as above


@pytest.mark.parametrize(("a", "b"), LEVELS)
def test_noised_density_and_posterior_are_those_of_brute_force_quadrature(low, a, b):
    """Bayes' rule by sums over a grid of x: nothing of the formulas is used."""
    x, cell = lattice(low.dim)
    x_t = (a * low.sample(4, seeded(1)) + b * normal(1, 4, low.dim))[:, None]
    noise = torch.distributions.Normal(a * x, b)
    joint = (reference(low).log_prob(x) + noise.log_prob(x_t).sum(-1)).exp() * cell  # (4, x)
    known, x_t = low.posterior(x_t[:, 0], a, b), x_t[:, 0]
    close(low.noised(a, b).density(x_t), joint.sum(1), "noised is not the convolution")
    share = joint / joint.sum(1, keepdim=True)
    mean = share @ x
    variance = share @ x.square().sum(1) - mean.square().sum(1)
    tolerance = {"rtol": 1e-7, "atol": 1e-7}  # subtracts, and divides by b
    close(known.x, mean, "E[x | x_t] is wrong", **tolerance)
    close(known.z, (x_t - a * mean) / b, "E[z | x_t] is wrong", **tolerance)
    close(known.variance, variance, "the trace of Cov[x | x_t] is wrong", **tolerance)


@pytest.mark.parametrize(("a", "b"), LEVELS)
def test_tweedie_the_noised_score_is_minus_the_expected_noise_over_b(p, a, b):
    x_t = 2 * normal(5, 20, p.dim)
    want = -b * score(p, x_t, a, b)
    close(p.posterior(x_t, a, b).z, want, "E[z | x_t] is not −b ∇ log p_t")
    close(p.noised(a, b).score(x_t), want / -b, "the score of noised is not −E[z | x_t] / b")


@pytest.mark.parametrize("t", [0.05, 0.3, 0.5, 0.9])
def test_velocity_is_that_of_tweedie(p, t):
    x_t = normal(6, 20, p.dim)
    close(p.velocity(x_t, t), velocity(p, x_t, t), "the velocity is not E[z] − E[x]")


def test_velocity_at_the_ends(p):
    x = 2 * normal(7, 20, p.dim)
    close(p.velocity(x, 0.0), -x, "at t = 0 (data) the velocity is not −x_0")
    close(p.velocity(x, 1.0), x - moments(p)[0], "at t = 1 (noise) it is not x_1 − E[x]")


def test_velocity_is_finite_on_the_whole_path(p):
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)
    for x in (normal(8, p.dim), 1e4 * normal(9, p.dim)):
        v = p.velocity(x.expand(2001, -1), t)
        assert v.isfinite().all(), "the velocity is not finite somewhere on the path"


def test_velocity_of_one_gaussian_is_linear():
    """v(x, t) = (t − (1 − t) σ²) / ((1 − t)² σ² + t²) · (x − (1 − t) μ) − μ."""
    mean, sigma, x = normal(0, 1, 3), 0.7, normal(1, 20, 3)
    one = GaussianMixture.isotropic(mean, sigma)
    for t in (0.0, 0.25, 0.8, 1.0):
        slope = (t - (1 - t) * sigma**2) / ((1 - t) ** 2 * sigma**2 + t**2)
        close(one.velocity(x, t), slope * (x - (1 - t) * mean) - mean, f"wrong at t = {t}")


def test_levels_and_labels_may_differ_from_point_to_point(p):
    x, t = normal(11, 4, p.dim), torch.tensor([0.0, 0.3, 0.7, 1.0], dtype=torch.float64)
    y = torch.tensor([3, 0, 1, 3])
    want = [p.velocity(x[i], float(t[i]), int(y[i])) for i in range(4)]
    close(p.velocity(x, t, y), torch.stack(want), "points of a batch do not keep to themselves")


def test_label_probabilities_are_by_bayes_rule(p):
    x = normal(12, 20, p.dim)
    of_each = reference(p).component_distribution.log_prob(x[:, None]).exp() * p.weights
    joint = torch.stack([of_each[:, y == LABELS].sum(1) for y in (0, 1, 3)], 1)
    want = joint / joint.sum(1, keepdim=True)
    close(p.label_probabilities(x), want, "p(y | x) is not by Bayes' rule")


@pytest.mark.parametrize("t", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_conditional_velocities_average_to_the_unconditional_one(p, t):
    x_t, mean = normal(13, 20, p.dim), 0
    shares = p.noised(1 - t, t).label_probabilities(x_t)
    for share, y in zip(shares.T, (0, 1, 3), strict=True):
        v = p.velocity(x_t, t, y)
        close(v, p.given(y).velocity(x_t, t), f"knowing y = {y} is not having only given({y})")
        mean = mean + share[:, None] * v
    close(mean, p.velocity(x_t, t), "Σ p(y | x_t) v_y is not v")


@pytest.mark.parametrize(("a", "b"), LEVELS)
def test_expectation_is_linear_in_the_target_and_x_t_is_sure(p, a, b):
    x_t, c = 2 * normal(15, 20, p.dim), normal(16, 20)
    known = p.posterior(x_t, a, b, 3)
    close(a * known.x + b * known.z, x_t, "a E[x | x_t] + b E[z | x_t] is not x_t")
    want = c[:, None] * known.x - 2 * known.z
    close(p.expectation(x_t, a, b, c, -2.0, 3), want, "it is not c E[x] + d E[z]")


def test_rotating_and_shifting_the_data_rotates_and_shifts_the_answers(p):
    turn, shift = torch.linalg.qr(normal(17, p.dim, p.dim)).Q, normal(18, p.dim)
    moved = GaussianMixture(p.weights, p.means @ turn.T + shift, turn @ p.covs @ turn.T)
    x, t = normal(19, 20, p.dim), 0.4
    close(moved.density(x @ turn.T + shift), p.density(x), "the density did not move along")
    close(moved.score(x @ turn.T + shift), p.score(x) @ turn.T, "the score did not turn along")
    want = p.velocity(x, t) @ turn.T - shift
    close(moved.velocity(x @ turn.T + (1 - t) * shift, t), want, "the velocity did not turn")


def test_the_order_of_components_does_not_matter(p):
    k, x = [2, 0, 3, 1], normal(21, 20, p.dim)
    other = GaussianMixture(p.weights[k], p.means[k], p.covs[k], p.labels[k])
    close(other.log_density(x), p.log_density(x), "the density changed")
    close(other.label_probabilities(x), p.label_probabilities(x), "p(y | x) changed")
    close(other.velocity(x, 0.5, 3), p.velocity(x, 0.5, 3), "the velocity changed")
    if p.dim <= 2:  # in 5-D random points stand behind it
        close(other.irreducible_loss(0.5), p.irreducible_loss(0.5), "the loss changed")


def test_numbers_are_never_rounded_to_float32(p):
    x, t = normal(22, 3, p.dim), 0.3
    level = torch.tensor(t, dtype=torch.float64)
    assert p.velocity(x.float(), t).dtype == p.sample(3).dtype == torch.float64
    assert torch.equal(p.velocity(x, t), p.velocity(x, level)), "the level t = 0.3 was rounded"
    data = FiniteData(x)
    assert torch.equal(data.velocity(x, t), data.velocity(x, level)), "FiniteData rounds t"
    assert GaussianMixture([1], [[0.1]], [[[0.3]]]).means.item() == 0.1, "lists are rounded"


def exact_loss(p, t):
    """E‖y‖² − E‖E[y | x_t]‖² with y = z − x, on the lattice (0 < t < 1)."""
    x, cell = lattice(p.dim)
    answers = (reference(p, 1 - t, t).log_prob(x).exp() * velocity(p, x, t).square().sum(1)).sum()
    mean, cov = moments(p)
    return (p.dim + mean.square().sum() + cov.trace() - answers * cell) / p.dim


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_loss_of_one_gaussian_is_the_closed_form(dim):
    """Var[z − x | x_t] = σ² / ((1 − t)² σ² + t²), from σ² the same in every direction."""
    sigma, t = 0.4, torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64)
    loss = GaussianMixture.isotropic(normal(0, 1, dim), sigma).irreducible_loss(t)
    close(loss, sigma**2 / ((1 - t) ** 2 * sigma**2 + t**2), "the loss is wrong")


def test_loss_for_noise_as_target_on_a_circle_path():
    """Var[z | x_t] = a² σ² / (a² σ² + b²) for a = cos, b = sin."""
    sigma, t = 0.4, torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    target = {"a": torch.cos, "b": torch.sin, "c": torch.zeros_like, "d": torch.ones_like}
    loss = GaussianMixture.isotropic(normal(0, 1, 2), sigma).irreducible_loss(t, **target)
    want = (t.cos() * sigma) ** 2 / ((t.cos() * sigma) ** 2 + t.sin() ** 2)
    close(loss, want, "options a, b, c, d are not heard")


@pytest.mark.parametrize("t", [0.2, 0.5, 0.8])
def test_loss_and_its_error_are_those_of_quadrature(low, t):
    got, want = truth.irreducible_loss(low, t), exact_loss(low, t)
    close(got.value, want, "the loss is wrong")
    # 1e-11: beyond the grid's margin of seven deviations lie 3e-12 of a Gaussian
    assert (got.value - want).abs() <= got.error + 1e-11, f"the error is more than {got.error}"


def test_loss_with_labels_is_the_average_over_labels():
    p = make(1)
    want = sum(share * exact_loss(p.given(y), 0.5) for y, share in [(0, 0.2), (1, 0.4), (3, 0.4)])
    got = p.irreducible_loss(0.5, conditional=True)
    close(got, want, "it is not Σ p(y) · loss of p(x | y)")
    assert got < p.irreducible_loss(0.5), "knowing the label must help"


def test_loss_in_five_dimensions_is_right_within_its_standard_error():
    """Components apart along one axis only: that axis is 1-D, the others are plain Gaussians."""
    line = torch.tensor([[-2.0], [0.5], [2.0]], dtype=torch.float64)
    sigma, t, weights = 0.5, 0.6, [1.0, 2.0, 9.0]
    wide = GaussianMixture.isotropic(torch.nn.functional.pad(line, (0, 4)), sigma, weights)
    rest = sigma**2 / ((1 - t) ** 2 * sigma**2 + t**2)
    want = (exact_loss(GaussianMixture.isotropic(line, sigma, weights), t) + 4 * rest) / 5
    got = truth.irreducible_loss(wide, t)
    assert (got.value - want).abs() < 4 * got.error, "more than 4 standard errors off"
    assert got.error < 0.01 * got.value, "the standard error is too large to be of use"


def test_loss_at_the_ends(p):
    got, cov = truth.irreducible_loss(p, torch.tensor([0.0, 1.0])), moments(p)[1]
    want = torch.tensor([1.0, cov.trace() / p.dim], dtype=torch.float64)
    # 4 standard errors in 5-D; on a grid `error` is a bound, and 1e-9 is for rounding
    ends = (got.value - want).abs() <= 4 * got.error + 1e-9
    assert ends.all(), f"at t = 0, 1 it is {got.value}, not Var[z] = 1 and Var[x] / dim = {want}"


def logit_normal(t):
    return torch.exp(-t.logit().square() / 2) / (math.sqrt(2 * math.pi) * t * (1 - t))


def test_floor_of_one_gaussian_is_the_closed_form():
    """∫ σ² / ((1 − t)² σ² + t²) dt over [0, 1] = σ π / 2."""
    for sigma in (0.2, 1.0, 3.0):
        floor = GaussianMixture.isotropic(normal(0, 1, 2), sigma).loss_floor()
        assert math.isclose(floor, sigma * math.pi / 2, rel_tol=1e-6), f"σ = {sigma}"  # promised


def test_floor_weighs_levels_by_their_density():
    def weighted(t):
        return float(logit_normal(torch.tensor(t))) * 0.25 / ((1 - t) ** 2 * 0.25 + t**2)

    floor = GaussianMixture.isotropic(normal(0, 1, 2), 0.5).loss_floor(logit_normal)
    want = integrate.quad(weighted, 0, 1)[0]
    assert math.isclose(floor, want, rel_tol=1e-5)  # all derivatives of p(t) are 0 at both ends


@pytest.mark.parametrize("density", [None, logit_normal], ids=["uniform", "logit-normal"])
def test_on_the_ring_the_exact_velocity_reaches_the_floor_and_all_else_misses_it(density):
    p, n = toys.ring().mixture, 40_000
    noise = torch.rand(n, generator=seeded(2), dtype=torch.float64)
    t = noise if density is None else torch.special.ndtri(noise).sigmoid()
    x, z = p.sample(n, seeded(0)), normal(1, n, 2)
    x_t = (1 - t)[:, None] * x + t[:, None] * z
    v = p.velocity(x_t, t)
    loss = (z - x - v).square().mean(1)
    off = (loss.mean() - p.loss_floor(density)) / (loss.std() / math.sqrt(n))
    assert abs(off) < 4, f"the exact velocity is {off:.1f} standard errors from the floor"
    others = {"scaled": 1.1 * v, "shifted": v + 0.2, "waves": v + 0.3 * x_t.sin(), "data": -x_t}
    for name, other in others.items():
        worse = (z - x - other).square().mean(1) - loss  # in pairs: most of the chance cancels
        assert worse.mean() > 4 * worse.std() / math.sqrt(n), f"{name} beats the exact velocity"


IMAGES = normal(30, 12, 1, 2, 3)


@pytest.mark.parametrize(("a", "b"), LEVELS)
def test_finite_data_posterior_is_a_softmax_over_the_data(a, b):
    data, x_t = IMAGES, normal(31, 7, 1, 2, 3)
    gaps = (x_t[:, None] - a * data).flatten(2)
    share = torch.tensor(special.softmax(-gaps.square().sum(2).numpy() / (2 * b**2), axis=1))
    known, mean = FiniteData(data).posterior(x_t, a, b), torch.einsum("bn,n...->b...", share, data)
    close(known.responsibilities, share, "p(x_i | x_t) is wrong")
    close(known.x, mean, "E[x | x_t] is wrong")
    close(known.z, (x_t - a * mean) / b, "E[z | x_t] is wrong")
    spread = (data - mean[:, None]).flatten(2).square().sum(2)
    close(known.variance, (share * spread).sum(1), "the variance is wrong")
    close(FiniteData(data).expectation(x_t, a, b, -2.0, 3.0), -2 * known.x + 3 * known.z, "c, d")


def test_many_data_tell_what_their_source_tells():
    p, n = make(2), 20_000
    x_t = 0.5 * p.sample(20, seeded(1)) + 0.5 * normal(1, 20, 2)
    data = FiniteData(p.sample(n, seeded(0)))
    got, want = data.posterior(x_t, 0.5, 0.5), p.posterior(x_t, 0.5, 0.5)
    share = got.responsibilities
    effective = 1 / share.square().sum(1)  # how many data the average is over
    sigmas = (got.x - want.x).norm(dim=1) / (want.variance / effective).sqrt()
    assert effective.min() > 30, "too few data near a point to compare"
    assert sigmas.max() < 4, f"E[x | x_t] is {sigmas.max():.1f} standard errors off"


def test_finite_data_at_small_t_bring_back_the_nearest_and_at_t_1_the_mean():
    memory, x = FiniteData(IMAGES), IMAGES[[4, 9, 0]] + 0.05 * normal(34, 3, 1, 2, 3)
    for t in (0.0, 1e-200, 1e-3):  # at 1e-3 any other datum has less than e^-1000
        close(memory.posterior(x, 1 - t, t).x, IMAGES[[4, 9, 0]], f"not the nearest at t = {t}")
    close(memory.velocity(x, 1.0), x - IMAGES.mean(0), "at t = 1 it is not x_1 − mean")
    levels = torch.tensor([0.0, 0.5, 1.0])
    assert memory.velocity(x, levels).isfinite().all(), "the path must be finite, ends and all"


def test_finite_data_of_each_label_average_to_all_of_them():
    x_t, y, t = normal(35, 5, 1, 2, 3), torch.arange(12) % 3, 0.7
    share = FiniteData(IMAGES).posterior(x_t, 1 - t, t).responsibilities
    parts = [share[:, y == k].sum(1) for k in range(3)]
    answers = [FiniteData(IMAGES[y == k]).velocity(x_t, t) for k in range(3)]
    got = sum(s[:, None, None, None] * v for s, v in zip(parts, answers, strict=True))
    close(got, FiniteData(IMAGES).velocity(x_t, t), "Σ p(y | x_t) v_y is not v")


def pair(dim):
    p = make(dim)
    return p, GaussianMixture(p.weights.flip(0), p.means + 0.5, 1.5 * p.covs)


def test_optimal_discriminator_is_p_over_p_plus_q(p):
    q, x = pair(p.dim)[1], normal(36, 50, p.dim)
    ours, theirs = (reference(m).log_prob(x).exp() for m in (p, q))
    D = truth.optimal_discriminator(p, q, x)
    close(D, ours / (ours + theirs), "D* is not p / (p + q)")
    best = ours * D.log() + theirs * (1 - D).log()
    for other in (D * 0.99, 1 - (1 - D) * 0.99, D**2, torch.full_like(D, 0.5)):
        value = ours * other.log() + theirs * (1 - other).log()
        assert (value <= best).all(), "another D has more p log D + q log(1 − D)"


def test_optimal_discriminator_is_right_where_densities_underflow(p):
    q, x = pair(p.dim)[1], 60 * torch.eye(p.dim).double()
    want = (reference(p).log_prob(x) - reference(q).log_prob(x)).sigmoid()
    close(truth.optimal_discriminator(p, q, x), want, "it is lost where densities underflow")
    board = toys.checkerboard()
    nowhere = truth.optimal_discriminator(board, board, torch.tensor([[9.0, 9.0]]))
    assert nowhere == 0.5, "½ where both densities are 0"


def test_jensen_shannon_is_that_of_scipy_quadrature():
    p, q = pair(1)

    def integrand(x):
        a, b = (float(reference(m).log_prob(torch.tensor([x]).double()).exp()) for m in (p, q))
        return (special.rel_entr(a, (a + b) / 2) + special.rel_entr(b, (a + b) / 2)) / 2

    want = integrate.quad(integrand, -12, 12, limit=200, epsabs=1e-9)[0]
    assert math.isclose(truth.jensen_shannon(p, q), want, rel_tol=1e-6), "not ½ KL + ½ KL"  # quad


def test_jensen_shannon_is_symmetric_and_0_only_for_equals(low):
    p, q = pair(low.dim)
    close(truth.jensen_shannon(p, q), truth.jensen_shannon(q, p), "it is not symmetric")
    assert truth.jensen_shannon(p, p) < 1e-9, "it is not 0 between equals"
    assert truth.jensen_shannon(p, q) > 0.01, "it must be above 0 between others"
    x, cell = lattice(p.dim)
    on_points = truth.jensen_shannon(p, q, x, cell)
    close(on_points, truth.jensen_shannon(p, q), "points must tell the same")


def test_jensen_shannon_of_far_apart_is_log_2(p):
    q = GaussianMixture(p.weights, p.means + 60, p.covs)
    assert math.isclose(truth.jensen_shannon(p, q), math.log(2), rel_tol=1e-6)  # of a grid's sum


def test_following_a_gaussians_field_keeps_standard_coordinates():
    """For N(μ, σ² I) the flow takes z to (1 − t) μ + √((1 − t)² σ² + t²) z."""
    mean, std, z = torch.tensor([[1.0, -2.0]]).double(), 0.4, normal(60, 30, 2)
    p, times = GaussianMixture.isotropic(mean, std), [1.0, 0.7, 0.3, 0.0]
    frames = truth.follow(p.velocity, z, times)
    for frame, t in zip(frames, times, strict=True):
        want = (1 - t) * mean + math.hypot((1 - t) * std, t) * z
        torch.testing.assert_close(frame, want, rtol=1e-7, atol=1e-7)  # of the solver: 1e-9 a step


def test_following_a_mixtures_field_leads_to_the_mixture():
    p, z = make(2), normal(61, 4000, 2)
    (_, x) = truth.follow(p.velocity, z, [1.0, 0.0])
    ends, direct = p.log_density(x).mean(), p.log_density(p.sample(40_000, seeded(62))).mean()
    assert abs(ends - direct) < 0.1  # nats: 4 standard errors of 4000 points, with a spread of 1.5


def test_paths_of_images_keep_their_shape():
    frames = truth.follow(lambda x, t: 0 * x + 2, normal(63, 3, 1, 4, 4), [1.0, 0.5])
    assert frames.shape == (2, 3, 1, 4, 4)
    torch.testing.assert_close(frames[1], normal(63, 3, 1, 4, 4) - 1)


def flat(weights=1.0, means=((0.0, 0.0),), covs=((1.0, 0.0), (0.0, 1.0)), labels=None):
    return GaussianMixture(torch.tensor([weights]), means, torch.tensor([covs]), labels)


X = torch.zeros(4, 2)
REFUSED = {
    "x of another dim": ("x must", lambda: make(2).log_density(X[:, :1])),
    "a column of t": ("t must", lambda: make(2).velocity(X, X[:, :1])),
    "negative weight": ("weights must be positive", lambda: flat(weights=-1.0)),
    "two weights, one mean": ("weights must be", lambda: GaussianMixture(X[0], X[:1], X)),
    "means as a row": ("means must", lambda: flat(means=(0.0, 0.0))),
    "covs of another dim": ("covs must be", lambda: flat(covs=((1.0,),))),
    "covs not symmetric": ("covs must be sym", lambda: flat(covs=((1.0, 0.1), (0.0, 1.0)))),
    "covs indefinite": ("covs must be pos", lambda: flat(covs=((1.0, 2.0), (2.0, 1.0)))),
    "std of 0": ("std", lambda: GaussianMixture.isotropic(X, 0.0)),
    "labels as fractions": ("labels must", lambda: flat(labels=[0.5])),
    "unknown label": ("y must", lambda: make(2).velocity(X, 0.5, 2)),
    "no labels": ("no labels", lambda: flat().sample_labelled(3)),
    "a = b = 0": ("a and b", lambda: make(2).posterior(X, 0.0, 0.0)),
    "a = b = 0, data": ("a and b", lambda: FiniteData(X).posterior(X, 0.0, 0.0)),
    "c of another number": ("c must", lambda: make(2).expectation(X, 1, 1, [1.0, 2.0], 1)),
    "no points drawn": ("n must", lambda: make(2).sample(0)),
    "density not of 1": ("density must", lambda: make(1).loss_floor(lambda t: 2 + 0 * t)),
    "t not a level": ("t must", lambda: make(1).irreducible_loss(math.nan)),
    "no data": ("data must", lambda: FiniteData(X[:0])),
    "x_t unlike the data": ("x_t must", lambda: FiniteData(X).velocity(X[0], 0.5)),
    "dims that differ": ("dim", lambda: truth.jensen_shannon(make(1), make(2))),
    "times that rise": ("times must", lambda: truth.follow(make(2).velocity, X, [0.0, 1.0])),
    "times from 0.9": ("times must", lambda: truth.follow(make(2).velocity, X, [0.9, 0.0])),
    "no points": ("points", lambda: truth.jensen_shannon(toys.checkerboard(), make(2))),
}


@pytest.mark.parametrize(("named", "call"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused_by_name(named, call):
    with pytest.raises(ValueError, match=named):
        call()
