"""Distances between samples, held to closed forms; bits of tokens, held to entropies."""

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


def test_a_set_lies_among_itself():
    x = normal(0, 200, 5)
    assert metrics.precision_recall(x, x) == (1.0, 1.0)
    assert metrics.precision_recall(x, x + 1000) == (0.0, 0.0)


def test_one_of_two_modes_is_precise_and_reaches_half():
    far = torch.tensor([100.0, 0.0])
    real = torch.cat([normal(0, 300, 2), normal(1, 300, 2) + far])
    precision, recall = metrics.precision_recall(normal(2, 600, 2), real)
    assert precision > 0.95
    assert 0.45 < recall <= 0.5  # no sample is near the other mode
    precision, recall = metrics.precision_recall(real, normal(2, 600, 2))
    assert 0.45 < precision <= 0.5 and recall > 0.95


def test_precision_and_recall_of_points_counted_by_hand():
    """With k = 1 each ball reaches to the nearest neighbour, the rim included."""
    x, y = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[2.0], [2.5], [9.5]])
    # balls of x: [−1, 1], [0, 2], [1, 9]; of y: [1.5, 2.5], [2, 3], [2.5, 16.5]
    precision, recall = metrics.precision_recall(x, y, k=1)
    assert precision == pytest.approx(1 / 3) and recall == pytest.approx(2 / 3)


def test_precision_and_recall_do_not_depend_on_scale_and_place():
    x, y = normal(0, 100, 3), 1.3 * normal(1, 120, 3)
    found = metrics.precision_recall(x, y, k=5)
    assert metrics.precision_recall(7 * x - 3, 7 * y - 3, k=5) == found
    assert metrics.precision_recall(y, x, k=5) == found[::-1]


def test_a_narrow_set_is_precise_and_reaches_little():
    real = normal(0, 500, 4)
    narrow, wide = (metrics.precision_recall(s * normal(1, 500, 4), real) for s in (0.3, 3.0))
    assert narrow[0] > 0.95 and narrow[1] < 0.5
    assert wide[0] < 0.5 and wide[1] > 0.95


@pytest.mark.parametrize("k", [0, 3, -1])
def test_a_neighbour_that_is_not_there_is_refused(k):
    with pytest.raises(ValueError, match=f"from 1 to 2 for sets of 3 points, got {k}"):
        metrics.precision_recall(normal(0, 9, 2), normal(1, 3, 2), k=k)


def test_the_spread_within_classes_is_their_mean_total_variance():
    x, y = normal(0, 30, 4), torch.arange(30) % 3
    want = sum(x[y == c].T.cov().trace() for c in range(3)) / 3
    assert metrics.spread_within(x, y) == pytest.approx(float(want))
    apart = x + 50 * y[:, None]  # where the classes are does not matter
    assert metrics.spread_within(apart, y) == pytest.approx(float(want))
    assert metrics.spread_within(torch.zeros(4, 2), torch.tensor([0, 0, 5, 5])) == 0


def test_the_spread_counts_every_class_the_same():
    x = torch.tensor([[0.0], [2.0], [0.0], [0.0], [0.0], [0.0]])
    assert metrics.spread_within(x, torch.tensor([0, 0, 1, 1, 1, 1])) == pytest.approx(1.0)


def test_classes_of_one_point_have_no_spread():
    with pytest.raises(ValueError, match=r"at least 2 points, got \[2, 1\]"):
        metrics.spread_within(torch.zeros(3, 2), torch.tensor([0, 1, 0]))
    with pytest.raises(ValueError, match="a class for each"):
        metrics.spread_within(torch.zeros(3, 2), torch.tensor([0, 1]))


# --- bits of tokens -----------------------------------------------------------------------------


def entropy_of(*p):
    return -sum(v * math.log2(v) for v in p if v)


def grids(n, seed, classes=2):
    """Tokens 0 to 3, independent, whose odds depend on place and class; and the classes."""
    generator = torch.Generator().manual_seed(seed)
    odds = torch.rand(classes, 6, 4, generator=torch.Generator().manual_seed(0)).double() ** 3
    odds = odds / odds.sum(-1, keepdim=True)
    y = torch.randint(0, classes, (n,), generator=generator)
    x = torch.multinomial(odds[y].reshape(-1, 4), 1, generator=generator).reshape(n, 2, 3)
    return x, y, odds


def test_bits_of_independent_tokens_are_their_entropies():
    x, y, odds = grids(20_000, 1)
    held, y_held, _ = grids(20_000, 2)
    bits = metrics.token_bits(x, held, 4, y, y_held)
    want = [odds.mean((0, 1)), odds.mean(0), odds]
    entropies = [2.0, *(float(torch.special.entr(p).sum(-1).mean()) / math.log(2) for p in want)]
    for found, entropy in zip(bits, entropies, strict=True):
        assert math.isclose(found, entropy, abs_tol=0.02)  # 5 standard errors
    assert list(bits) == sorted(bits, reverse=True)


def test_bits_without_classes():
    x, y, _ = grids(300, 1)
    held, y_held, _ = grids(300, 2)
    bare = metrics.token_bits(x, held, 4)
    assert bare.by_place_and_class is None
    assert bare[:3] == metrics.token_bits(x, held, 4, y, y_held)[:3]
    assert bare == metrics.token_bits(x.flatten(1), held.flatten(1), 4)


def test_a_token_never_seen_costs_a_finite_number_of_bits():
    x, held = torch.zeros(10, 3).long(), torch.full((1, 3), 7)
    bits = metrics.token_bits(x, held, 8, torch.zeros(10).long(), torch.ones(1).long())
    assert all(math.isfinite(b) for b in bits)
    assert bits.unigram > 3


def test_few_examples_are_drawn_towards_the_simpler_model():
    """With nothing to learn from place and class, believing in them costs almost nothing."""
    generator = torch.Generator().manual_seed(0)
    odds = torch.tensor([0.7, 0.2, 0.1])
    x, held = (
        torch.multinomial(odds, n * 16, replacement=True, generator=generator).reshape(n, 16)
        for n in (40, 2000)
    )
    y, y_held = torch.arange(40) % 10, torch.arange(2000) % 10
    bits = metrics.token_bits(x, held, 3, y, y_held)
    best = entropy_of(0.7, 0.2, 0.1)
    for found in bits[1:]:
        assert best - 0.02 < found < best + 0.04
    counts = torch.stack([torch.bincount(column, minlength=3) for column in x[y == 0].T]) + 1.0
    naive = (counts / counts.sum(1, keepdim=True)).double()
    own = -naive[torch.arange(16), held[y_held == 0]].log2().mean()
    assert float(own) > max(bits[1:]) + 0.1  # one pseudo-count for each token of 4 examples


def test_the_held_out_tokens_teach_nothing():
    """The cost of two sets together is the mean of their costs."""
    x, y, _ = grids(200, 1)
    held, y_held, _ = grids(100, 2)
    halves = [
        metrics.token_bits(x, h, 4, y, c)
        for h, c in ((held[:50], y_held[:50]), (held[50:], y_held[50:]))
    ]
    both = metrics.token_bits(x, held, 4, y, y_held)
    for one, other, mean in zip(*halves, both, strict=True):
        assert math.isclose((one + other) / 2, mean, rel_tol=1e-12)


def test_what_has_no_bits_is_refused():
    x = torch.zeros(4, 2, 2).long()
    y = torch.zeros(4).long()
    with pytest.raises(ValueError, match="two sets of grids of one shape"):
        metrics.token_bits(x, x[:, :1], 2)
    with pytest.raises(ValueError, match="two sets of grids of one shape"):
        metrics.token_bits(x, x[:0], 2)
    with pytest.raises(ValueError, match="tokens must be from 0 to 1"):
        metrics.token_bits(x, x + 2, 2)
    with pytest.raises(ValueError, match="tokens must be from 0 to 1"):
        metrics.token_bits(x - 1, x, 2)
    with pytest.raises(ValueError, match="y must be a class for each of 4 and 4 grids"):
        metrics.token_bits(x, x, 2, y)
    with pytest.raises(ValueError, match="y must be a class for each of 4 and 4 grids"):
        metrics.token_bits(x, x, 2, y, y[:3])
