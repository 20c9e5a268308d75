"""The trial of chapter 06: distances to a density, nets in an ensemble, pairs of seeds, fair
verdicts; and what others do with levels."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy import integrate, stats
from torch import nn

from cs231n_gen import data, flow, metrics, schedule_trial, schedules
from cs231n_gen.experiments.schedule_trial import Ensemble, Trial, energy_distance
from cs231n_gen.given.mlp import VelocityMLP
from cs231n_gen.given.training import Run
from cs231n_gen.truth import GaussianMixture

BENCH = Path(__file__).parents[2] / "bench" / "schedules.py"
SMALL = {"steps": 6, "batch": 16, "samples": 60, "progress": False, "hidden": 8}


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def mixture(g):
    """Three Gaussians, each longer one way than the other."""
    root = 0.7 * torch.randn(3, 2, 2, generator=g).double()
    covs = root @ root.mT + 0.02 * torch.eye(2).double()
    return GaussianMixture(torch.tensor([1.0, 2.0, 3.0]), 2 * torch.randn(3, 2, generator=g), covs)


# --- distances ----------------------------------------------------------------------------------


def test_the_distance_is_that_of_metrics(mixture, g):
    x = 1.2 * mixture.sample(1000, g) + 0.2
    real = [mixture.sample(4000, g) for _ in range(16)]
    found = torch.stack([metrics.energy_distance(x, y) for y in real])
    error = float(found.std()) / 4  # 16 of them
    assert error < 0.1 * found.mean()
    assert abs(energy_distance(x, mixture) - found.mean()) < 5 * error


@pytest.mark.full
def test_the_distance_of_a_point_to_a_gaussian(mixture, g):
    """Of two equal points within is 0, so that all but a constant is 2 E‖x − Y‖: by quadrature."""
    x, y = torch.randn(2, 2, generator=g).double()
    far = [energy_distance(p.expand(2, 2), mixture) for p in (x, y)]

    def mean_distance(p):
        def rings(radius, angle):  # around p, so that the integrand is smooth
            at = p + radius * torch.tensor([math.cos(angle), math.sin(angle)])
            return radius**2 * float(mixture.density(at))

        return integrate.dblquad(rings, 0, 2 * math.pi, 0, 15, epsabs=1e-3)[0]

    want = 2 * (mean_distance(x) - mean_distance(y))
    assert float(far[0] - far[1]) == pytest.approx(want, rel=2e-3, abs=2e-3)


def test_the_distance_has_no_bias(mixture, g):
    x = torch.stack([mixture.sample(100, g) for _ in range(400)])
    found = energy_distance(x, mixture)
    assert abs(found.mean()) < 5 * found.std() / 20
    assert found.std() > 0


# --- the ensemble -------------------------------------------------------------------------------


def test_an_ensemble_answers_as_its_nets_do(g):
    nets = [VelocityMLP(hidden=8) for _ in range(3)]
    x, t = torch.randn(3, 5, 2, generator=g), torch.rand(3, 5, generator=g)
    alone = torch.stack([net(x[k], t[k]) for k, net in enumerate(nets)])
    torch.testing.assert_close(Ensemble(nets)(x, t), alone)
    sampled = flow.sample(Ensemble(nets), x, 4)
    alone = torch.stack([flow.sample(net, x[k], 4) for k, net in enumerate(nets)])
    torch.testing.assert_close(sampled, alone)


def test_nets_learn_in_an_ensemble_what_they_learn_alone():
    toy, seed = data.moons(), 3
    names = {"low": lambda n, g: 0.5 * torch.rand(n, generator=g), **schedule_trial.SCHEDULES}
    ensemble = schedule_trial._train(toy, [1, seed], names, 8, 32, False, {"hidden": 8})
    torch.manual_seed(seed)
    net = VelocityMLP(hidden=8)
    pairs, levels = (torch.Generator().manual_seed(seed) for _ in range(2))
    with Run(net, 8, progress=False) as run:
        for _ in run:
            x, z = toy.sample(32, pairs), torch.randn(32, 2, generator=pairs)
            L = flow.loss(net, x, z, names["low"](32, levels))
            run.optimizer.zero_grad()
            L.backward()
            run.optimizer.step()
            run.record(L)
    # low first, its second seed
    for name, stack in zip(ensemble.names, ensemble.stacks, strict=True):
        torch.testing.assert_close(stack[1], net.get_parameter(name), atol=1e-4, rtol=1e-3)


def test_what_is_not_learned_is_measured_from_the_exact_velocity(g):
    class Zero(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(2))

        def forward(self, x_t, t):
            return self.w * x_t

    ring = data.ring()
    found = schedule_trial._excess(Ensemble([Zero(), Zero()]), ring, 20_000)
    levels = schedule_trial.LEVELS.double()
    variance = ring.sample(200_000, g).square().mean()  # that of v is 1 more
    want = 1 + variance - ring.mixture.irreducible_loss(levels)
    torch.testing.assert_close(found.double(), want.expand(2, -1), atol=0.03, rtol=0.03)


# --- pairs of seeds, and verdicts ---------------------------------------------------------------


def test_schedules_differ_in_their_levels_only():
    """Two schedules that draw the same levels end at the same distances, seed by seed."""

    def levels(n, g):
        return torch.rand(n, generator=g)

    def others(n, g):
        return levels(n, g).square()

    trial = schedule_trial.run(
        data.ring(), range(3), among={"a": levels, "b": levels, "c": others}, **SMALL
    )
    assert trial.distances.shape == (3, 3, 3) and trial.excess.shape == (3, 3, 50)
    torch.testing.assert_close(trial.distances[0], trial.distances[1], atol=1e-5, rtol=1e-4)
    assert (trial.distances[0] - trial.distances[2]).abs().min() > 1e-4
    assert (trial.distances[0, 0] - trial.distances[0, 1]).abs().min() > 1e-4  # another seed


def test_a_trial_repeats_itself():
    one, two = (schedule_trial.run(data.ring(), range(2), **SMALL) for _ in range(2))
    assert torch.equal(one.distances, two.distances) and torch.equal(one.excess, two.excess)
    assert one.table() == two.table()


def made_up(distances):
    n = distances.shape[0]
    return Trial(
        names=[f"schedule {k}" for k in range(n)],
        steps=[5, 10, 50],
        distances=distances,
        noise=torch.zeros(distances.shape[1]),
        levels=torch.empty(0),
        excess=torch.empty(n, distances.shape[1], 0),
        seconds=0.0,
    )


def test_verdicts_say_what_is_clear_and_nothing_else(g):
    luck = torch.randn(8, 3, generator=g).double()  # of the seeds, shared by all schedules
    own = 0.01 * torch.randn(4, 8, 3, generator=g).double()
    lift = torch.tensor([0.0, 0.0, -0.2, 0.2]).double()[:, None, None]
    trial = made_up(luck + own + lift)
    assert trial.verdicts() == [["–"] * 3, ["better"] * 3, ["worse"] * 3]
    assert "better" in trial.table() and "worse" in trial.table()
    mean, off = trial.differences()
    torch.testing.assert_close(mean[1:], lift[2:, 0].expand(2, 3), atol=0.03, rtol=0)
    assert (off < 0.05).all()


def test_luck_is_seldom_taken_for_a_result(g):
    """In 95 of 100 trials without any difference no verdict is given."""
    trials = [made_up(torch.randn(4, 8, 3, generator=g).double()) for _ in range(1000)]
    alarms = sum(any(word != "–" for row in t.verdicts() for word in row) for t in trials)
    assert 15 < alarms < 65  # a little below 50: differences share the first schedule


def test_intervals_are_students(g):
    trial = made_up(torch.randn(2, 6, 3, generator=g).double())
    mean, off = trial.differences()
    d = (trial.distances[1] - trial.distances[0])[:, 0]
    low, high = stats.ttest_1samp(d.numpy(), 0).confidence_interval(1 - 0.05 / 3)
    assert (float(mean[0, 0] - off[0, 0]), float(mean[0, 0] + off[0, 0])) == pytest.approx(
        (low, high)
    )


@pytest.mark.full
def test_the_bench_prints_the_table_of_the_trial():
    command = [sys.executable, str(BENCH), "--seeds", "2", "--steps", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    trial = schedule_trial.run(data.ring(), range(2), steps=3, progress=False)
    assert done.stdout.startswith(trial.table())


# --- schedules that are given, and those of others ----------------------------------------------


def test_mode_weighted_levels_have_their_density(g):
    for s in (-1.0, -0.5, 0.0, 0.8, 1.29, 2 / (math.pi - 2)):
        t = schedules.mode_weighted(20_000, s, g).double()
        u = torch.linspace(0, 1, 100_001).double()
        level = 1 - u - s * (torch.cos(math.pi * u / 2) ** 2 - 1 + u)
        assert (level.diff() <= 1e-12).all()  # t falls with u, so that its share below is 1 − u
        place = torch.searchsorted(level.flip(0).contiguous(), t.sort().values)
        below = place.double() / 100_001
        gap = (below - torch.arange(20_000) / 20_000).abs().max() * 20_000**0.5
        assert gap < 2.5, s


def test_bad_input_is_refused(g):
    x, t = torch.zeros(3, 2), torch.full((3,), 0.5)
    refused = [
        lambda: schedules.optimal_velocity(x, t[:2], x),
        lambda: schedules.optimal_velocity(x, t, x[:, :1]),
        lambda: schedules.optimal_velocity(x, t, x[:0]),
        lambda: schedules.loss_floor(x, x[:2], t, x),
        lambda: schedules.loss_floor(x, x, t[None], x),
        lambda: schedules.logit_normal(3, 0.0, 0.0),
        lambda: schedules.logit_normal_density(t, 0.0, -1.0),
        lambda: schedules.mode_weighted(3, 1.8),
        lambda: schedules.mode_weighted(3, -1.1),
        lambda: schedules.shift(t, 0.0),
        lambda: schedules.resolution_alpha(0, 4),
        lambda: schedules.resolution_alpha(4, -4),
    ]
    for call in refused:
        with pytest.raises(ValueError, match=r"got|shape|data are"):
            call()


def test_shifts_never_leave_the_unit_interval():
    for dtype in (torch.float32, torch.float64):
        t = torch.linspace(1, 0, 11, dtype=dtype)
        for alpha in (0.07, 0.2, 0.41, 1.57, 2.2, 3.0, 7.7):
            moved = schedules.shift(t, alpha)
            assert moved[0] == 1 and moved[-1] == 0 and (moved.diff() < 0).all()


def test_diffusers_shifts_as_this_course_does_but_for_its_last_level():
    Scheduler = pytest.importorskip("diffusers").FlowMatchEulerDiscreteScheduler
    even = torch.arange(1000, 0, -1) / 1000
    theirs = Scheduler(shift=3.0)
    torch.testing.assert_close(theirs.sigmas, schedules.shift(even, 3.0))
    torch.testing.assert_close(theirs.timesteps, 1000 * schedules.shift(even, 3.0))
    theirs.set_timesteps(1000)
    last = torch.tensor(1 / 1000)
    twice = schedules.shift(schedules.shift(last, 3.0), 3.0)
    torch.testing.assert_close(theirs.sigmas[-2], twice)  # the last but the 0 that is appended
    assert f"{schedules.shift(last, 3.0):.5f} {twice:.5f}" == "0.00299 0.00893"


def test_the_exponential_shift_of_flux_is_this_shift():
    Scheduler = pytest.importorskip("diffusers").FlowMatchEulerDiscreteScheduler
    theirs = Scheduler(use_dynamic_shifting=True)
    for mu in (0.5, 0.63, 1.15):
        theirs.set_timesteps(20, mu=mu)
        even = torch.linspace(1, 1 / 1000, 20)
        torch.testing.assert_close(theirs.sigmas[:-1], schedules.shift(even, math.exp(mu)))
