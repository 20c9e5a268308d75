"""Distances between samples, held to closed forms."""

import math

import pytest
import torch

from cs231n_gen import metrics


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_energy_distance_of_two_points_each():
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    cross = (1 + 5 + 1 + 3) / 4
    assert math.isclose(metrics.energy_distance(x, y, biased=True), 2 * cross - 1 - 2)
    assert math.isclose(metrics.energy_distance(x, y), 2 * cross - 2 - 4)


def test_energy_distance_of_shifted_gaussians():
    """E|X − Y| for X − Y ~ N(δ, 2) is the mean of a folded normal."""
    delta, s = 1.5, math.sqrt(2)
    folded = s * math.sqrt(2 / math.pi) * math.exp(-(delta**2) / (2 * s * s))
    folded += delta * math.erf(delta / (s * math.sqrt(2)))
    want = 2 * folded - 2 * (2 / math.sqrt(math.pi))
    got = metrics.energy_distance(normal(0, 5000, 1), normal(1, 5000, 1) + delta)
    assert math.isclose(got, want, abs_tol=0.06)  # 3 standard errors of 5000 points


def test_energy_distance_is_0_on_average_for_one_distribution():
    values = [
        metrics.energy_distance(normal(k, 400, 2), normal(100 + k, 400, 2)) for k in range(30)
    ]
    values = torch.stack(values)
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(30)
    assert metrics.energy_distance(normal(0, 400, 2), normal(1, 400, 2), biased=True) > 0


def test_wasserstein_of_a_shift_is_its_length():
    x = normal(0, 60, 3)
    shift = torch.tensor([3.0, 4.0, 0.0])
    assert math.isclose(metrics.wasserstein(x, x[torch.randperm(60)] + shift), 5.0, rel_tol=1e-9)


def test_wasserstein_on_a_line_pairs_sorted_points():
    x, y = normal(0, 200, 1), 2 * normal(1, 200, 1) + 1
    want = (x.sort(0).values - y.sort(0).values).abs().mean()
    assert math.isclose(metrics.wasserstein(x, y, p=1), want, rel_tol=1e-9)


def test_sliced_wasserstein_of_a_shift():
    """The mean square of θ·δ over directions is |δ|²/dim."""
    x = normal(0, 100, 2)
    generator = torch.Generator().manual_seed(0)
    got = metrics.sliced_wasserstein(x, x + torch.tensor([3.0, 0.0]), 4000, generator=generator)
    assert math.isclose(got, 3 / math.sqrt(2), rel_tol=0.03)  # 4000 directions


def test_sliced_is_never_more_than_exact():
    x, y = normal(0, 150, 2), normal(1, 150, 2) * 1.5 + 0.3
    assert metrics.sliced_wasserstein(x, y) <= metrics.wasserstein(x, y)


def test_frechet_distance_of_samples_with_given_moments():
    """Two samples made to have exactly these means and diagonal covariances."""
    a, b = normal(0, 500, 3), normal(1, 500, 3)

    def whiten(x):
        x = x - x.mean(0)
        return x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T

    s, r = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([2.0, 2.0, 1.0]).double()
    shift = torch.tensor([1.0, -1.0, 0.5]).double()
    got = metrics.frechet_distance(whiten(a) * s, whiten(b) * r + shift)
    assert math.isclose(got, float(shift.square().sum() + (s - r).square().sum()), rel_tol=1e-9)


def test_frechet_distance_with_rotated_covariances():
    """tr (Σ_a^½ Σ_b Σ_a^½)^½ is the sum of roots of the eigenvalues of Σ_a Σ_b."""
    a, b = normal(0, 400, 4) @ normal(2, 4, 4), normal(1, 400, 4) @ normal(3, 4, 4)
    A, B = a.T.cov(), b.T.cov()
    roots = torch.linalg.eigvals(A @ B).real.sqrt().sum()
    want = (a.mean(0) - b.mean(0)).square().sum() + A.trace() + B.trace() - 2 * roots
    assert math.isclose(metrics.frechet_distance(a, b), float(want), rel_tol=1e-8)


def test_frechet_distance_of_singular_covariances():
    x = torch.cat([normal(0, 100, 2), torch.zeros(100, 2)], dim=1)
    assert abs(metrics.frechet_distance(x, x.flip(0))) < 1e-9


@pytest.mark.parametrize("name", ["energy_distance", "wasserstein", "frechet_distance"])
def test_samples_of_other_dimensions_are_refused(name):
    with pytest.raises(ValueError, match="shapes are"):
        getattr(metrics, name)(torch.zeros(5, 2), torch.zeros(5, 3))


def test_unequal_sizes_are_refused():
    with pytest.raises(ValueError, match="one size"):
        metrics.wasserstein(torch.zeros(5, 2), torch.zeros(6, 2))
