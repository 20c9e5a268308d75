"""The trial of targets: nets that differ in their target alone, held to their floors."""

import pytest
import torch
from cs231n_gen.target_trial import TARGETS
from torch import nn

from cs231n_gen import data, target_trial
from cs231n_gen.experiments.schedule_trial import Ensemble
from cs231n_gen.given.mlp import VelocityMLP
from cs231n_gen.given.processes import NOISE, X

V = TARGETS["v"]
SMALL = {"steps": 6, "batch": 16, "points": 50, "progress": False, "hidden": 8}


@pytest.fixture(scope="module")
def trial():
    return target_trial.run(data.ring(), range(2), **SMALL)


def test_a_part_of_an_ensemble_answers_as_its_nets_do():
    g = torch.Generator().manual_seed(0)
    nets = [VelocityMLP(hidden=8) for _ in range(4)]
    x, t = torch.randn(4, 5, 2, generator=g), torch.rand(4, 5, generator=g)
    part = Ensemble(nets).part(1, 3)
    torch.testing.assert_close(part(x[1:3], t[1:3]), Ensemble(nets)(x, t)[1:3])


def test_targets_differ_in_nothing_else():
    same = {"a": V, "b": V, "c": X}
    trial = target_trial.run(data.ring(), range(2), targets=same, **SMALL)
    torch.testing.assert_close(trial.excess[0], trial.excess[1])
    assert (trial.excess[0] - trial.excess[2]).abs().max() > 1e-3
    assert (trial.excess[0, 0] - trial.excess[0, 1]).abs().max() > 1e-3  # another seed


def test_a_trial_repeats_itself(trial):
    again = target_trial.run(data.ring(), range(2), **SMALL)
    assert torch.equal(trial.excess, again.excess)
    assert trial.table() == again.table()


def test_what_is_not_learned_is_measured_from_the_perfect_net():
    class Zero(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(2))

        def forward(self, x_t, t):
            return self.w * x_t

    ring, g = data.ring(), torch.Generator().manual_seed(0)
    variance = ring.sample(200_000, g).double().square().mean()
    for target, power in ((X, variance), (NOISE, 1.0), (V, 1 + variance)):
        found = target_trial._excess(Ensemble([Zero(), Zero()]), ring, target, 5000)
        want = power - target_trial.floor(ring, target)
        torch.testing.assert_close(found, want.expand(2, -1), atol=0.06, rtol=0.06)


def test_the_floors_are_those_of_truth(trial):
    ring, t = data.ring(), trial.levels.double()
    torch.testing.assert_close(trial.floors[2], ring.mixture.irreducible_loss(t))
    # a floor in another unit is the same error of x̂
    torch.testing.assert_close(trial.floors[1], ((1 - t) / t) ** 2 * trial.floors[0])
    torch.testing.assert_close(trial.floors[2], trial.floors[0] / t**2)
    torch.testing.assert_close(trial.loss() - trial.excess, trial.floors[:, None].expand(-1, 2, -1))


def test_errors_in_a_common_unit(trial):
    t = trial.levels.double()
    torch.testing.assert_close(trial.error_of(X)[0], trial.excess[0])
    torch.testing.assert_close(trial.error_of(V)[2], trial.excess[2])
    torch.testing.assert_close(trial.error_of(X)[2], trial.excess[2] * t**2)
    torch.testing.assert_close(trial.error_of(V)[1], trial.excess[1] / (1 - t) ** 2)
    torch.testing.assert_close(trial.error_of(NOISE)[1], trial.excess[1])


@pytest.mark.full
def test_each_target_is_bad_where_it_says_little():
    """x near the data, ε near the noise, and v nowhere by as much."""
    trial = target_trial.run(data.ring(), range(2), progress=False)
    x, eps, v = trial.error_of(V).mean(1)
    data_end, noise_end = trial.levels < 0.1, trial.levels > 0.9
    assert x[data_end].mean() > 10 * v[data_end].mean()
    assert eps[noise_end].mean() > 30 * v[noise_end].mean()
    assert x[noise_end].mean() < v[noise_end].mean()
    assert eps[data_end].mean() < 1.5 * v[data_end].mean()
