"""The best quantiser of one number, held to theory: quadrature, tables, limits and brute force."""

import math
from itertools import pairwise

import pytest
import torch
from scipy import integrate, optimize, special, stats

from cs231n_gen.truth import GaussianMixture, best_quantizer
from cs231n_gen.truth.quantizer import Quantizer, panter_dite, quantizer, rate_distortion_bound

EXACT = {"rtol": 1e-12, "atol": 1e-13}
MANY = [1, 2, 3, 5, 8, 16, 61, 256]
MIXTURE = GaussianMixture.isotropic([[-2.0], [0.5], [3.0]], [0.3, 1.0, 0.1], [1, 2, 1])


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def exactly(values):
    return torch.tensor(values, dtype=torch.float64)


def by_quadrature(q, density):
    """Probabilities, means and distortion by integrals of the density, cell by cell."""

    def p(x):
        return float(density.density(exactly([x])))

    bounds = [-40.0, *q.edges.tolist(), 40.0]
    known = sorted(density.means[:, 0].tolist())
    rows = []
    for low, high, e in zip(bounds[:-1], bounds[1:], q.codes.tolist(), strict=True):
        points = [m for m in known if low < m < high] or None
        options = {"epsabs": 1e-13, "epsrel": 1e-12, "limit": 400, "points": points}
        rows.append(
            [
                integrate.quad(lambda x, e=e, n=n: (x - e) ** n * p(x), low, high, **options)[0]
                for n in range(3)
            ]
        )
    return torch.tensor(rows, dtype=torch.float64).T


NORMAL = GaussianMixture.isotropic([[0.0]], 1.0)


# --- N(0, 1) ------------------------------------------------------------------------------------


def test_one_code_is_the_mean_and_loses_the_variance():
    q = best_quantizer(1)
    assert isinstance(q, Quantizer)
    assert q.codes.tolist() == [0]
    assert q.edges.shape == (0,)
    assert q.distortion == 1
    assert (q.bits, q.perplexity) == (0, 1)


def test_two_codes_in_closed_form():
    q = best_quantizer(2)
    root = math.sqrt(2 / math.pi)
    torch.testing.assert_close(q.codes, exactly([-root, root]), **EXACT)
    assert q.distortion == pytest.approx(1 - 2 / math.pi, rel=1e-14)
    assert q.perplexity == pytest.approx(2, rel=1e-14)


def test_four_codes_by_one_equation():
    """For codes ±a, ±b the edge is h = (a + b) / 2, a the mean of (0, h), b that of (h, ∞)."""

    def means(h):
        normal, root = stats.norm, 1 / math.sqrt(2 * math.pi)
        inner = (root - normal.pdf(h)) / (normal.cdf(h) - 0.5)
        return inner, normal.pdf(h) / normal.sf(h)

    h = optimize.brentq(lambda h: sum(means(h)) - 2 * h, 0.1, 3, xtol=1e-15, rtol=1e-15)
    a, b = means(h)
    q = best_quantizer(4)
    torch.testing.assert_close(q.codes, exactly([-b, -a, a, b]), **EXACT)
    torch.testing.assert_close(q.edges, exactly([-h, 0, h]), **EXACT)


@pytest.mark.parametrize(
    ("codes", "positive", "distortion", "bits"),
    [  # Max (1960), table I, to the digits printed there
        (3, [1.224], 0.1902, 1.536),
        (4, [0.4528, 1.510], 0.1175, 1.911),
        (5, [0.7646, 1.724], 0.07994, 2.203),
        (6, [0.3177, 1.000, 1.894], 0.05798, 2.443),
        (7, [0.5606, 1.188, 2.033], 0.04400, 2.647),
        (8, [0.2451, 0.7560, 1.344, 2.152], 0.03454, 2.825),
        (16, [0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733], 0.009497, 3.765),
    ],
)
def test_the_tables_of_max(codes, positive, distortion, bits):
    q = best_quantizer(codes)
    found = q.codes[q.codes > 0]
    torch.testing.assert_close(found, exactly(positive), rtol=0, atol=6e-4)
    assert q.distortion == pytest.approx(distortion, rel=5e-4)
    assert q.bits == pytest.approx(bits, abs=6e-4)


def test_the_numbers_of_the_chapter():
    two, four, eight = (best_quantizer(k) for k in (2, 4, 8))
    assert [round(v, 4) for v in four.codes.tolist()] == [-1.5104, -0.4528, 0.4528, 1.5104]
    assert [round(q.distortion, 5) for q in (two, four, eight)] == [0.36338, 0.11748, 0.03455]
    assert [round(q.perplexity, 3) for q in (two, four, eight)] == [2, 3.761, 7.085]


@pytest.mark.parametrize("codes", [*MANY, 1024])
def test_each_code_is_the_mean_of_its_cell(codes):
    q = best_quantizer(codes)
    torch.testing.assert_close(q.codes, q.means, rtol=0, atol=3e-14)
    torch.testing.assert_close(q.edges, (q.codes[1:] + q.codes[:-1]) / 2, rtol=0, atol=0)
    assert torch.equal(q.codes, -q.codes.flip(0))
    assert float(q.probabilities.sum()) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("codes", MANY)
def test_what_is_lost_is_missing_from_the_spread_of_the_codes(codes):
    q = best_quantizer(codes)
    power = float(q.probabilities @ q.codes.square())
    assert 1 - power == pytest.approx(q.distortion, abs=1e-14)
    assert float(q.probabilities @ q.codes) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("codes", MANY)
def test_no_codes_nearby_are_better(codes):
    q, generator = best_quantizer(codes), seeded(codes)
    gap = float(q.codes.diff().min()) if codes > 1 else 1.0
    for size in (1e-3, 0.1, 0.4):
        noise = torch.randn(codes, generator=generator, dtype=torch.float64).clamp(-1, 1)
        assert quantizer(q.codes + size * gap * noise).distortion > q.distortion


@pytest.mark.parametrize("codes", [2, 4, 7])
def test_lloyds_steps_lead_there_from_anywhere(codes):
    """k-means without samples: each code becomes the mean of its cell."""
    e = 3 * torch.rand(codes, generator=seeded(codes), dtype=torch.float64)
    for _ in range(25 * codes**2):
        e = quantizer(e).means
    torch.testing.assert_close(e, best_quantizer(codes).codes, rtol=0, atol=1e-8)


def test_many_codes_cost_what_panter_and_dite_say():
    ratios = [best_quantizer(k).distortion / panter_dite(k) for k in (16, 64, 256, 1024)]
    assert ratios == sorted(ratios)
    assert ratios[-1] == pytest.approx(1, abs=3e-3)
    gaps = [1 - r for r in ratios]  # the next term is of order 1 / K
    assert all(3 < one / other < 4.5 for one, other in pairwise(gaps))
    assert panter_dite(10) == pytest.approx(math.sqrt(3) * math.pi / 200)


@pytest.mark.parametrize("codes", MANY)
def test_no_quantiser_beats_the_bound_of_its_bits(codes):
    q = best_quantizer(codes)
    assert q.distortion >= rate_distortion_bound(q.bits)
    assert q.bits <= math.log2(codes) + 1e-14
    assert rate_distortion_bound(q.bits) >= rate_distortion_bound(math.log2(codes)) - 1e-15


def test_the_ends_of_the_bound():
    assert rate_distortion_bound(0, 3.0) == 3
    assert rate_distortion_bound(2, 3.0) == 3 / 16
    assert rate_distortion_bound(math.inf) == 0


def test_more_codes_are_better_in_everything_but_bits():
    found = [best_quantizer(k) for k in range(1, 40)]
    assert all(a.distortion > b.distortion for a, b in pairwise(found))
    assert all(a.bits < b.bits for a, b in pairwise(found))


def test_a_quantiser_that_is_asked_for_twice_is_the_same():
    assert torch.equal(best_quantizer(11).codes, best_quantizer(11).codes)


# --- any codes, any mixture ---------------------------------------------------------------------


@pytest.mark.parametrize("density", [NORMAL, MIXTURE], ids=["normal", "mixture"])
@pytest.mark.parametrize("codes", [[0.3], [-9.0, -2.1, -2.0, 0.0, 2.9, 2.95, 7.0]])
def test_any_codes_by_quadrature(codes, density):
    q = quantizer(codes, density)
    p, first, second = by_quadrature(q, density)
    torch.testing.assert_close(q.probabilities, p, rtol=1e-10, atol=1e-12)
    seen = p > 1e-6
    means = q.codes + first / p
    torch.testing.assert_close(q.means[seen], means[seen], rtol=1e-8, atol=1e-8)
    assert q.distortion == pytest.approx(float(second.sum()), rel=1e-10)


def test_any_codes_by_simulation():
    e = torch.tensor([-1.5, 0.2, 0.4, 2.0])
    x = MIXTURE.sample(200_000, seeded(0))
    nearest = (x - e).abs().argmin(1)
    q = quantizer(e, MIXTURE)
    share = torch.bincount(nearest, minlength=4) / len(x)
    torch.testing.assert_close(share.double(), q.probabilities, rtol=0, atol=5e-3)
    losses = (x[:, 0] - e[nearest]).square()
    error = 5 * float(losses.std()) / math.sqrt(len(x))
    assert float(losses.mean()) == pytest.approx(q.distortion, abs=error)


def test_codes_in_any_order_of_any_precision():
    one = quantizer(torch.tensor([1.0, -1.0, 0.0]))
    other = quantizer([-1, 0, 1])
    assert torch.equal(one.codes, other.codes)
    assert one.distortion == other.distortion
    tensors = (one.codes, one.edges, one.probabilities, one.means)
    assert {t.dtype for t in tensors} == {torch.float64}


def test_codes_far_from_everything():
    q = quantizer([0.0, 60.0, 100.0, 101.0])  # 30 deviations to the first edge
    assert 0 < float(q.probabilities[1]) < 1e-190
    assert 30 < float(q.means[1]) < 30.04  # the mean beyond h is about h + 1 / h
    assert float(q.means[1]) == pytest.approx(30 + 1 / 30, abs=1e-4)
    assert q.probabilities[2:].tolist() == [0, 0]
    assert q.means[2:].tolist() == [100, 101]
    assert q.distortion == pytest.approx(1)


def test_the_tail_cell_is_right_where_a_float_is_nearly_one():
    """E[x | x > h] = φ(h) / Q(h), from the complementary error function with its scale."""
    for h in (1.0, 8.0, 20.0):
        q = quantizer([h - 1, h + 1])
        scaled = math.sqrt(2 / math.pi) / special.erfcx(h / math.sqrt(2))
        assert float(q.means[1]) == pytest.approx(scaled, rel=1e-12)
        mirrored = quantizer([-h - 1, -h + 1])
        assert float(mirrored.means[0]) == pytest.approx(-float(q.means[1]), rel=1e-12)


@pytest.mark.parametrize("codes", [1, 2, 3, 4, 5, 8, 16, 64])
def test_each_code_is_the_mean_of_its_cell_in_a_mixture(codes):
    q = best_quantizer(codes, MIXTURE)
    torch.testing.assert_close(q.codes, q.means, rtol=0, atol=1e-12)
    power = float(q.probabilities @ q.codes.square())
    square = float(MIXTURE.weights @ (MIXTURE.means[:, 0] ** 2 + MIXTURE.covs[:, 0, 0]))
    assert square - power == pytest.approx(q.distortion, abs=1e-12)


@pytest.mark.parametrize("codes", [2, 3, 4, 6])
def test_no_start_of_lloyds_ends_better_in_a_mixture(codes):
    """Where there are several ends, the one found is the best."""
    best, generator = best_quantizer(codes, MIXTURE), seeded(codes)
    ends = []
    for _ in range(12):
        e = MIXTURE.sample(codes, generator)[:, 0]
        for _ in range(100):
            e = quantizer(e, MIXTURE).means
        ends.append(quantizer(e, MIXTURE).distortion)
    assert min(ends) >= best.distortion - 1e-12
    assert min(ends) == pytest.approx(best.distortion, rel=1e-3)


def test_a_mixture_with_several_ends_gets_the_best():
    """Three far clusters and two codes: the heavy pair shares a code, or else does not."""
    far = GaussianMixture.isotropic([[0.0], [4.0], [10.0]], 0.05, [1.0, 1.0, 1.0])
    q = best_quantizer(2, far)
    torch.testing.assert_close(q.codes, exactly([2.0, 10.0]), rtol=0, atol=1e-9)
    other = quantizer([0.0, 7.0], far)  # an end of Lloyd's as well
    torch.testing.assert_close(other.means, other.codes, rtol=0, atol=1e-9)
    assert other.distortion > q.distortion


def test_one_gaussian_of_another_place_and_size():
    shifted = GaussianMixture.isotropic([[5.0]], 0.01)
    q, normal = best_quantizer(7, shifted), best_quantizer(7)
    torch.testing.assert_close(q.codes, 5 + 0.01 * normal.codes, rtol=1e-12, atol=0)
    assert q.distortion == pytest.approx(1e-4 * normal.distortion, rel=1e-10)
    assert panter_dite(7, shifted) == pytest.approx(1e-4 * panter_dite(7), rel=1e-6)


def test_many_codes_of_a_mixture():
    ratio = best_quantizer(128, MIXTURE).distortion / panter_dite(128, MIXTURE)
    assert ratio == pytest.approx(1, abs=0.03)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("codes", [0, -1, 2.0, 5000])
def test_a_number_of_codes_that_is_none_is_refused(codes):
    with pytest.raises(ValueError, match=f"whole number from 1 to 4096, got {codes}"):
        best_quantizer(codes)


@pytest.mark.parametrize("codes", [[], [1.0, 1.0], [math.nan], [math.inf, 0.0], [[0.0]], 1.0])
def test_codes_that_are_none_are_refused(codes):
    with pytest.raises(ValueError, match="codes must be"):
        quantizer(codes)


def test_a_density_of_more_dimensions_is_refused():
    plane = GaussianMixture.isotropic([[0.0, 0.0]], 1.0)
    for call in (lambda: best_quantizer(2, plane), lambda: quantizer([0.0], plane)):
        with pytest.raises(ValueError, match="in one dimension, got 2"):
            call()
    with pytest.raises(ValueError, match="in one dimension, got 2"):
        panter_dite(2, plane)


@pytest.mark.parametrize("bits", [-1.0, math.nan])
def test_bits_that_are_none_are_refused(bits):
    with pytest.raises(ValueError, match="at least 0"):
        rate_distortion_bound(bits)
    with pytest.raises(ValueError, match="at least 0"):
        rate_distortion_bound(1.0, bits)
    with pytest.raises(ValueError, match="codes must be at least 1"):
        panter_dite(bits)
