"""The trial of samplers: a floor that real samples have, and every sampler near it in the end."""

import math

import pytest
import torch
from cs231n_gen.sampler_trial import SAMPLERS

from cs231n_gen import data, metrics, sampler_trial, target_trial
from cs231n_gen.experiments.perfect import perfect_net
from cs231n_gen.experiments.schedule_trial import energy_distance, mean_distance
from cs231n_gen.given.processes import (
    cosine,
    edm,
    karras,
    rectified_flow,
    variance_preserving,
    velocity,
)
from cs231n_gen.truth import GaussianMixture

RING = data.ring()


def exact(process):
    return {"exact field": perfect_net(RING.mixture, process, velocity(process))}


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


def test_the_mean_distance_of_two_points(g):
    standard = GaussianMixture.isotropic(torch.zeros(1, 2), 1.0)
    assert float(mean_distance(standard)) == pytest.approx(math.sqrt(math.pi), rel=1e-6)
    x, other = (RING.mixture.sample(200_000, g) for _ in range(2))
    apart = (x - other).norm(dim=1)
    error = apart.std() / len(x) ** 0.5
    assert abs(mean_distance(RING.mixture) - apart.mean()) < 4 * error


def test_real_samples_have_the_floor_on_average(g):
    """With the distances of points to themselves among the pairs, E‖Y − Y′‖ / n."""
    n, floor = 50, float(mean_distance(RING.mixture)) / 50
    x = torch.stack([RING.mixture.sample(n, g) for _ in range(2000)])
    within = torch.cdist(x, x)
    kept = energy_distance(x, RING.mixture) + within.sum((1, 2)) / (n * (n - 1)) / n
    error = kept.std() / len(x) ** 0.5
    assert abs(kept.mean() - floor) < 4 * error
    assert error < 0.05 * floor


def test_a_ratio_is_that_of_the_distance_with_all_pairs(g):
    """Up to 1 / n of itself."""
    process, n = cosine(), 400
    one = {"SDE": SAMPLERS["SDE, χ = 1"]}
    trial = sampler_trial.run(
        RING, exact(process), seeds=range(2), steps=(4,), samples=n, samplers=one, progress=False
    )
    z = sampler_trial.noise(range(2), n)
    net = exact(process)["exact field"]
    times, first = [1.0, 0.75, 0.5, 0.25, 0.0], torch.Generator().manual_seed(0)
    x = SAMPLERS["SDE, χ = 1"].draw(net, z, times, process, velocity(process), first)
    within = torch.cdist(x.double(), x.double()).mean((1, 2))
    kept = energy_distance(x, RING.mixture) + within / (n - 1)
    mean, error = trial.ratio("exact field")
    assert float(mean) == pytest.approx(float(kept.mean() / trial.floor), rel=0.03)
    assert float(error) == pytest.approx(float(kept.std() / 2**0.5 / trial.floor), rel=0.2)
    real = [metrics.energy_distance(x[0], RING.sample(4000, g)) for _ in range(4)]
    assert float(trial.distances["exact field"][0, 0, 0]) == pytest.approx(
        float(sum(real)) / 4, abs=0.002, rel=0.1
    )


def test_only_samplers_that_draw_noise_ask_the_generator():
    process, z = cosine(), sampler_trial.noise(range(1), 20)
    net = exact(process)["exact field"]
    for name, sampler in SAMPLERS.items():
        g = torch.Generator().manual_seed(0)
        before = g.get_state()
        sampler.draw(net, z, [0.9, 0.5, 0.0], process, velocity(process), g)
        assert torch.equal(g.get_state(), before) == sampler.deterministic, name


def test_every_sampler_is_followed_from_the_same_noise_and_repeats_itself():
    options = {"seeds": range(2), "steps": (3, 6), "samples": 40, "progress": False}
    one, two = (sampler_trial.run(RING, exact(cosine()), **options) for _ in range(2))
    assert one.table() == two.table()
    assert one.distances["exact field"].shape == (len(SAMPLERS), 2, 2)


def test_calls_are_those_that_are_made():
    process, calls = cosine(), []
    net = exact(process)["exact field"]

    def counted(x, t):
        calls.append(1)
        return net(x, t)

    z = sampler_trial.noise(range(1), 5)
    for sampler in SAMPLERS.values():
        calls.clear()
        g = torch.Generator().manual_seed(0)
        sampler.draw(counted, z, [0.9, 0.5, 0.2], process, velocity(process), g)
        assert len(calls) == 2 * sampler.calls


def test_deterministic_samplers_end_at_the_floor():
    """Held to the exact flow of the same noise, so that few samples do."""
    few = {k: SAMPLERS[k] for k in ("Heun", "multistep (2M)", "Euler in t", "DDIM")}
    trial = sampler_trial.run(
        RING,
        exact(cosine()),
        seeds=range(2),
        steps=(5, 60),
        samples=400,
        samplers=few,
        progress=False,
    )
    mean, _ = trial.ratio("exact field")
    assert (mean[:, 1] < 1.02).all() and (mean[:, 1] > 0.98).all()
    assert (mean[:, 0] > 1.1).all()


PLACES = {
    "cosine": (cosine(), {}),
    "rectified flow": (rectified_flow(), {}),
    "EDM": (edm(), {"levels": lambda T: karras(edm(), T)}),
    "DDPM": (
        variance_preserving(),
        {"levels": lambda T: [1 - 0.999 * i / T for i in range(T + 1)]},
    ),
}


@pytest.mark.full
@pytest.mark.parametrize("place", PLACES)
def test_all_samplers_are_within_1_3_of_the_floor_at_200_steps(place):
    """24 sets of 500, so that luck is 0.12 of the floor."""
    process, options = PLACES[place]
    trial = sampler_trial.run(
        RING,
        exact(process),
        process,
        seeds=range(24),
        steps=(200,),
        samples=500,
        progress=False,
        **options,
    )
    mean, error = trial.ratio("exact field")
    assert (error < 0.2).all()
    assert (mean < 1.3).all(), trial.table()


@pytest.mark.full
def test_churn_mends_what_went_wrong_early_and_not_what_goes_wrong_late():
    """A net for ε is bad near the noise, one for x near the data."""
    targets = target_trial.run(RING, range(3), progress=False)
    found = sampler_trial.churn(RING, targets, churns=(0.0, 1.0, 3.0), progress=False)
    mean = {name: d.mean(1) for name, d in found.distances.items()}
    assert mean["ε"][1] < 0.85 * mean["ε"][0]
    assert mean["x"][2] > 1.3 * mean["x"][0]
    assert found.table().count("\n") == 4


def test_trained_fields_are_asked_for_any_process():
    small = {"steps": 4, "batch": 16, "points": 20, "progress": False, "hidden": 8}
    targets = target_trial.run(RING, range(2), **small)
    among = sampler_trial.fields(RING, targets, cosine())
    trial = sampler_trial.run(RING, among, seeds=range(2), steps=(2,), samples=30, progress=False)
    assert list(trial.distances) == ["exact field", "trained field"]
    assert all(d.isfinite().all() for d in trial.distances.values())
    assert "trained field" in trial.table()
    churned = sampler_trial.churn(RING, targets, steps=3, samples=20, progress=False)
    assert churned.distances["x"].shape == (4, 2)
