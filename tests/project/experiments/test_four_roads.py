"""One number by four roads: each held to quadrature, to closed forms and to the others."""

import math

import pytest
import torch

from cs231n_gen import diffusion_likelihood, four_roads
from cs231n_gen.experiments.perfect import perfect_net
from cs231n_gen.given.processes import (
    NOISE,
    X,
    cosine,
    even_in_log_snr,
    even_in_t,
    rectified_flow,
    velocity,
)
from cs231n_gen.truth import GaussianMixture, expect

RF = rectified_flow()


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def other(g):
    """Another mixture on a line."""
    std = 0.2 + 0.3 * torch.rand(4, generator=g).double()
    weights = 0.2 + torch.rand(4, generator=g)
    return GaussianMixture.isotropic(2 * torch.randn(4, 1, generator=g), std, weights)


def entropy(mixture):
    return float(expect(mixture, lambda x: -mixture.log_density(x)).value)


def bound(mixture, log_snr):
    """The ELBO from the errors that `truth` knows, level by level."""
    snr = torch.as_tensor(log_snr).double().exp()
    square = expect(mixture, lambda x: x.square().sum(-1)).value
    paid = snr.diff() @ four_roads.mmse(mixture, snr[:-1].log()).value
    return float(snr[0] * square + paid + (2 * math.pi / snr[-1]).log() + 1) / 2


def test_the_number_is_the_one_of_the_issue():
    assert entropy(four_roads.MIXTURE) == pytest.approx(1.08505, abs=5e-6)


def test_the_score_gives_the_entropy_to_1e_6(other):
    for mixture in (four_roads.MIXTURE, other):
        value, error = four_roads.by_score(mixture)
        assert abs(value - entropy(mixture)) < 1e-6
        assert error < 1e-6


def test_the_score_gives_a_gaussians_entropy():
    for std in (0.3, 1.0, 2.0):
        gaussian = GaussianMixture.isotropic(torch.tensor([[0.7]]), std)
        want = 0.5 * math.log(2 * math.pi * math.e * std**2)
        assert float(four_roads.by_score(gaussian).value) == pytest.approx(want, abs=1e-6)


def test_the_ode_gives_the_entropy_to_1e_5(other):
    for mixture in (four_roads.MIXTURE, other):
        assert abs(four_roads.by_ode(mixture).value - entropy(mixture)) < 1e-5


def test_the_elbo_is_the_sum_of_what_truth_knows_level_by_level(other):
    low, high, T = -5.0, 7.0, 12
    levels = even_in_log_snr(RF, T, (low, high))
    for mixture in (four_roads.MIXTURE, other):
        found = float(four_roads.by_elbo(mixture, levels, nodes=80).value)
        assert found == pytest.approx(bound(mixture, torch.linspace(low, high, T + 1)), abs=1e-6)


def test_the_elbos_gap_is_at_most_that_of_the_issue_and_falls_as_1_over_t():
    known = entropy(four_roads.MIXTURE)
    gaps = []
    for T in (64, 256, 1024):
        log_snr = torch.linspace(*four_roads.LOG_SNR, T + 1)
        gaps.append(bound(four_roads.MIXTURE, log_snr) - known)
    assert gaps[0] < 0.53 and gaps[1] < 0.125 and gaps[2] < 0.032
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.06)
    assert gaps[1] / gaps[2] == pytest.approx(4, rel=0.06)
    levels = even_in_log_snr(RF, 64, four_roads.LOG_SNR)
    found = float(four_roads.by_elbo(four_roads.MIXTURE, levels).value)
    assert found - known == pytest.approx(gaps[0], abs=1e-6)


def test_on_levels_even_in_t_the_elbo_never_arrives():
    """Its gap is γ + π²/12 and at most something of log(T) / T, if b(t) ∝ t near the data."""
    known, k = entropy(four_roads.MIXTURE), torch.arange(1, 2_000_000).double()
    series = (1 / k + 1 / (2 * k**2) - torch.log1p(1 / k)).sum()
    assert float(series) == pytest.approx(four_roads.NEVER, abs=1e-6)
    for process in (RF, cosine()):
        off = []
        for T in (200, 800):
            t = torch.tensor(even_in_t(T, 1.0, 1 / (T + 1))).double()
            snr = (process.a(t) / process.b(t)).square().clamp(min=1e-12)
            off.append(bound(four_roads.MIXTURE, snr.log()) - known - four_roads.NEVER)
        assert abs(off[1]) < min(0.015, abs(off[0]) / 2)


def test_the_interval_of_the_sdes_samples_holds():
    known = entropy(four_roads.MIXTURE)
    found = [four_roads.by_sde(four_roads.MIXTURE, 200, 1000, seed) for seed in range(20)]
    inside = sum(abs(value - known - 0.005) < error for value, error in found)  # 0.005: its steps
    assert inside >= 16
    mean = sum(float(value) for value, _ in found) / 20
    assert mean == pytest.approx(known + 0.005, abs=4 * 0.8 / math.sqrt(20_000))


def test_few_steps_of_the_sde_spread_samples_too_far():
    known = entropy(four_roads.MIXTURE)
    value, error = four_roads.by_sde(four_roads.MIXTURE, 10, 4000)
    assert value - error > known + 0.1


def test_the_roads_meet_in_a_table():
    roads = four_roads.run(elbo_steps=(4, 8), sde_steps=(3,), samples=100, progress=False)
    off, table = roads.off(), roads.table()
    assert len(roads.roads) == 7 == table.count("\n")
    assert off["quadrature", ""] == 0
    assert abs(off["ODE", "60, even in t"]) < 1e-5
    assert abs(off["score (I-MMSE)", "77, even in log-SNR"]) < 1e-6
    assert off["ELBO", "4, even in log-SNR"] > off["ELBO", "8, even in log-SNR"] > 0
    assert "1.08505" in table
    again = four_roads.run(elbo_steps=(4, 8), sde_steps=(3,), samples=100, progress=False)
    assert again.off() == off


def test_the_roads_ask_the_students_functions(monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(diffusion_likelihood, "elbo_terms", refuse)
    monkeypatch.setattr(diffusion_likelihood, "log_likelihood", refuse)
    with pytest.raises(NotImplementedError):
        four_roads.by_elbo(four_roads.MIXTURE, even_in_log_snr(RF, 4, (-2, 2)))
    with pytest.raises(NotImplementedError):
        four_roads.by_ode(four_roads.MIXTURE)


def test_a_mixture_in_the_plane_is_refused():
    plane = GaussianMixture.isotropic(torch.zeros(1, 2), 1.0)
    with pytest.raises(ValueError, match="got 2 dimensions"):
        four_roads.run(plane)


def test_the_perfect_net_answers_for_points_and_for_sets_of_points(other, g):
    process = cosine()
    x, t = torch.randn(3, 5, 1, generator=g), torch.rand(3, generator=g)
    for target in (X, NOISE, velocity(process)):
        net = perfect_net(other, process, target)
        found = net(x, t)
        assert found.dtype == torch.float32
        alone = torch.stack([net(x[k], t[k].expand(5)) for k in range(3)])
        torch.testing.assert_close(found, alone)  # alone, all points share a level
        s = t.double()
        want = [
            other.expectation(
                x[k], process.a(s[k]), process.b(s[k]), target.c(s[k]), target.d(s[k])
            )
            for k in range(3)
        ]
        torch.testing.assert_close(found, torch.stack(want).float(), atol=1e-5, rtol=1e-5)
