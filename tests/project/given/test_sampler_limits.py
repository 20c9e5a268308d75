"""The given loops of `diffusion_samplers` held to theory: a mixture's flow, limits, identities.

Step by step they are held to the formulas in `test_sampler_loops.py`, and to other packages
in `../test_parity_diffusion.py`.
"""

import math
from functools import cache

import pytest
import torch

from cs231n_gen import flow, truth
from cs231n_gen.diffusion_samplers import (
    ddim_step,
    reverse_sde_step,
    sample,
    sample_heun,
    sample_multistep,
)
from cs231n_gen.given import processes
from cs231n_gen.given.processes import NOISE, X, angular, velocity
from cs231n_gen.truth import GaussianMixture

FLOW, COSINE = processes.rectified_flow(), processes.cosine()
LINEAR, EDM = processes.variance_preserving(), processes.edm(20.0)
EXPLODING = processes.variance_exploding(0.02, 20.0)
MIXTURE = GaussianMixture(
    [0.5, 0.3, 0.2],
    [[-1.5, 0.0], [0.4, 1.0], [1.8, -0.5]],
    [[[0.3, 0.1], [0.1, 0.2]], [[0.2, 0.0], [0.0, 0.1]], [[0.25, -0.1], [-0.1, 0.2]]],
)
PATHS = {
    "rectified flow": (FLOW, velocity(FLOW)),
    "cosine": (COSINE, angular(COSINE)),
    "variance preserving": (LINEAR, NOISE),
    "variance exploding": (EXPLODING, X),
    "EDM": (EDM, X),
}
WALKS = {
    "DDIM": (sample, {}),
    "Euler": (sample, {"step": reverse_sde_step, "churn": 0.0}),
    "Heun": (sample_heun, {}),
    "2M": (sample_multistep, {}),
}


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def exact(process, target, mixture=MIXTURE):
    """The best model for a target: E[c x + d z | x_t]."""

    def model(x, t):
        a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
        return mixture.expectation(x, a, b, c, d)

    return model


def noise_levels(process, steps, first=10.0, last=0.03):
    """T + 1 levels whose log (b / a) is evenly spaced, as are those of a solver in log-SNR."""
    return processes.even_in_log_snr(process, steps, (-2 * math.log(first), -2 * math.log(last)))


@cache
def followed(name, first=10.0, last=0.03):
    """Where the flow carries noise, from b / a = `first` to `last`, by an adaptive solver.

    In x / a every process has the same flow, dx̃ / dσ = E[z | x_t], σ = b / a; here σ is the time.
    """
    process, _ = PATHS[name]
    t, s = (float(noise_levels(process, 1, first, last)[k]) for k in (0, 1))
    t, s = (torch.tensor([v], dtype=torch.float64) for v in (t, s))
    z = normal(40, 2)
    x = process.b(t) * z / process.a(t)

    def slope(x, u):  # u from 1 to 0, σ = first^u last^(1 − u)
        sigma = first**u * last ** (1 - u)
        return sigma * math.log(first / last) * MIXTURE.posterior(x, 1.0, sigma).z

    end = truth.follow(slope, x, [1.0, 0.0])[-1]
    return z, process.a(s) * end


def errors(walk, name, steps):
    loop, how = WALKS[walk]
    process, target = PATHS[name]
    z, end = followed(name)
    found = [
        loop(exact(process, target), z, noise_levels(process, T), process, target, **how)
        for T in steps
    ]
    return [float((x - end).square().mean().sqrt()) for x in found]


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(("walk", "order"), [("DDIM", 1), ("Euler", 1), ("Heun", 2), ("2M", 2)])
def test_each_loop_has_its_order_on_the_flow_of_a_mixture(walk, order, name):
    """Twice the steps leave a half of the error, or a quarter."""
    coarse, fine = errors(walk, name, (40, 80))
    assert abs(math.log2(coarse / fine) - order) < 0.15, (coarse, fine)
    assert fine < (0.1 if order == 1 else 0.002), fine


@pytest.mark.parametrize("name", ["rectified flow", "cosine"])
@pytest.mark.parametrize(("walk", "order"), [("DDIM", 1), ("Heun", 2), ("2M", 1.5)])
def test_from_pure_noise_to_the_data_too(walk, order, name):
    """At both ends a step is DDIM's or Euler's, which costs no order. 2M is made for steps that are
    even in log-SNR: with steps even in t its order is 1.4 here, and 1.8 at 1280 steps."""
    loop, how = WALKS[walk]
    process, target = PATHS[name]
    z, found = normal(20, 2, seed=1), []
    end = truth.follow(MIXTURE.velocity, z, [1.0, 0.0])[-1]
    for T in (40, 80):
        times = processes.even_in_t(T)
        x = loop(exact(process, target), z, times, process, target, **how)
        found.append(float((x - end).square().mean().sqrt()))
    reached = math.log2(found[0] / found[1])
    assert abs(reached - order) < (0.35 if walk == "2M" else 0.1), found
    assert found[1] < (0.03 if order == 1 else 0.002), found


@pytest.mark.parametrize("walk", ["DDIM", "2M", "ancestral"])
def test_in_x_over_a_every_process_takes_the_same_walk(walk):
    """What these steps do depends on b / a alone, noise included."""
    found = []
    for process, target in PATHS.values():
        times, z = noise_levels(process, 12, 8.0, 0.1), normal(30, 2, seed=2)
        t, s = (torch.tensor([v], dtype=torch.float64) for v in (times[0], times[-1]))
        z = 8 * z * process.a(t) / process.b(t)  # b / a is 8 but for rounding
        how = {"eta": 1.0, "generator": torch.Generator().manual_seed(3)}
        loop, how = (sample, how) if walk == "ancestral" else WALKS[walk]
        x = loop(exact(process, target), z, times, process, target, **how)
        found.append(x / process.a(s))
    for x in found[1:]:
        assert torch.allclose(x, found[0], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("walk", [*WALKS, "ancestral", "SDE"])
def test_samples_do_not_depend_on_what_is_predicted(walk):
    """x, ε, the velocity and v of a walk that never meets a = 0 or b = 0."""
    loop, how = WALKS.get(walk, (sample, {}))
    times, z, found = processes.even_in_t(9, 0.97, 0.02), normal(7, 2), []
    for target in (X, NOISE, velocity(COSINE), angular(COSINE)):
        if walk in ("ancestral", "SDE"):
            generator = torch.Generator().manual_seed(5)
            how = {"step": ddim_step, "eta": 1.0} if walk == "ancestral" else {}
            how = {"step": reverse_sde_step, **how, "generator": generator}
        found.append(loop(exact(COSINE, target), z, times, COSINE, target, **how))
    for x in found[1:]:
        assert torch.allclose(x, found[0], rtol=1e-9, atol=1e-9)


STOCHASTIC = {
    "DDIM, half of the noise": {"step": ddim_step, "eta": 0.5},
    "ancestral": {"step": ddim_step, "eta": 1.0},
    "SDE": {"step": reverse_sde_step},
    "SDE, much churn": {"step": reverse_sde_step, "churn": 3.0},
}


@pytest.mark.parametrize("how", STOCHASTIC.values(), ids=STOCHASTIC)
def test_with_noise_the_density_is_that_of_the_data(how):
    """Shares of the three components, and the first moments, of 2000 samples."""
    process, target = PATHS["cosine"]
    n, generator = 2000, torch.Generator().manual_seed(7)  # not that of z, which is noise too
    times = processes.even_in_t(100, 0.99, 0.0)
    x = sample(
        exact(process, target), normal(n, 2), times, process, target, generator=generator, **how
    )
    near = MIXTURE.posterior(x, 1.0, 0.0).responsibilities.mean(0)
    assert torch.allclose(near, MIXTURE.weights, atol=0.055), near  # 5 standard errors
    mean = MIXTURE.weights @ MIXTURE.means
    assert torch.allclose(x.mean(0), mean, atol=0.16), x.mean(0)
    off = MIXTURE.means - mean
    spread = (MIXTURE.weights[:, None, None] * (MIXTURE.covs + off[:, :, None] * off[:, None])).sum(
        0
    )
    assert torch.allclose(x.T.cov(), spread, atol=0.25), x.T.cov()


@pytest.mark.parametrize("walk", WALKS)
def test_one_datum_is_reached(walk):
    """With one datum x̂ is known at once: DDIM and 2M need a step, the others a straight path."""
    loop, how = WALKS[walk]
    datum = torch.tensor([2.0, -1.0], dtype=torch.float64)
    straight = walk in ("Euler", "Heun")
    for process in (FLOW, EDM) if straight else (FLOW, COSINE, LINEAR, EXPLODING, EDM):
        for times in ([1.0, 0.0], [0.9, 0.5, 0.2, 0.0]):
            x = loop(lambda x, t: datum.expand_as(x), normal(5, 2), times, process, X, **how)
            s = torch.zeros(1, dtype=torch.float64)
            assert (x - process.a(s) * datum).norm(dim=1).max() < 0.1  # VE's noise at t = 0
            if float(process.b(s)) == 0:
                assert torch.allclose(x, process.a(s) * datum.expand_as(x), rtol=1e-12, atol=1e-12)


def test_ddim_on_rectified_flow_is_flows_own_walk():
    times, z = [1.0, 0.6, 0.35, 0.1, 0.0], normal(6, 2)
    mine = sample(MIXTURE.velocity, z, times, FLOW, velocity(FLOW))
    theirs = flow.sample(MIXTURE.velocity, z, 4, times=times)
    assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_heun_on_rectified_flow_is_flows_own_but_for_the_last_step():
    z, T = normal(6, 2), 8
    path = [z]
    for k in range(T, 1, -1):
        step = sample_heun(
            MIXTURE.velocity, path[-1] / (k / T), [k / T, (k - 1) / T], FLOW, velocity(FLOW)
        )
        path.append(step)
    whole = sample_heun(MIXTURE.velocity, z, processes.even_in_t(T), FLOW, velocity(FLOW))
    t = torch.full((6,), 1 / T, dtype=torch.float64)
    end = path[-1] - MIXTURE.velocity(path[-1], t) / T  # Euler's
    assert torch.allclose(whole, end, rtol=1e-12, atol=1e-12)
    at_0 = MIXTURE.velocity(end, torch.zeros_like(t))
    theirs = flow.sample_heun(MIXTURE.velocity, z, T)
    mended = path[-1] - (MIXTURE.velocity(path[-1], t) + at_0) / (2 * T)
    assert torch.allclose(mended, theirs, rtol=1e-12, atol=1e-12)


class Asked:
    """A model that remembers what it was asked."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t, *y):
        assert not torch.is_grad_enabled()
        self.calls.append((x.clone(), t, *y))
        return 0.3 * x.roll(1, -1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("walk", [*WALKS, "SDE"])
def test_what_the_model_is_asked(walk, dtype):
    loop, how = WALKS.get(walk, (sample, {"step": reverse_sde_step}))
    for shape in ((3,), (1, 2), (2, 3, 4, 4)):
        z, times = normal(*shape, dtype=dtype).requires_grad_(), [0.75, 0.5, 0.25, 0.0]
        before, y = z.detach().clone(), torch.arange(shape[0])
        for conditions in ((), (y,)):
            for levels in (times, tuple(times), torch.tensor(times)):
                model = Asked()
                known = {"y": y} if conditions else {}
                x = loop(model, z, levels, COSINE, X, **how, **known)
                asked = [call[1] for call in model.calls]
                told = [0.75, 0.5, 0.5, 0.25, 0.25] if walk == "Heun" else [0.75, 0.5, 0.25]
                assert [t.tolist() for t in asked] == [[v] * shape[0] for v in told]
                assert all(
                    t.dtype == dtype and c[0].dtype == dtype
                    for t, c in zip(asked, model.calls, strict=True)
                )
                assert all(len(c) == 2 + len(conditions) for c in model.calls)
                assert all(torch.equal(c[2], y) for c in model.calls if conditions)
                b = math.sin(math.pi / 2 * 0.75)
                assert torch.allclose(model.calls[0][0], b * before)
                assert x.shape == z.shape and x.dtype == dtype and not x.requires_grad
                assert torch.equal(z, before)


@pytest.mark.parametrize("loop", [sample, sample_heun, sample_multistep])
@pytest.mark.parametrize(
    "times",
    [[], [1.0], [0.0, 1.0], [1.0, 0.5, 0.5], [1.1, 0.0], [1.0, -0.1], [1.0, math.nan, 0.0]],
)
def test_times_that_do_not_fall_within_0_and_1_are_refused(loop, times):
    with pytest.raises(ValueError, match="fall"):
        loop(Asked(), normal(3, 2), times, COSINE, X)


@pytest.mark.parametrize("step", [ddim_step, reverse_sde_step])
def test_options_reach_the_step(step):
    """A state of the generator repeats the samples, another one makes others."""
    name = {"eta": 0.7} if step is ddim_step else {"churn": 0.7}

    def samples(seed, **how):
        generator = torch.Generator().manual_seed(seed)
        times = processes.even_in_t(5)
        return sample(Asked(), normal(4, 2), times, COSINE, X, step, generator=generator, **how)

    assert torch.equal(samples(1, **name), samples(1, **name))
    assert not torch.allclose(samples(1, **name), samples(2, **name))
    none = {key: 0.0 for key in name}
    assert torch.equal(samples(1, **none), samples(2, **none))
    assert not torch.allclose(samples(1, **name), samples(1, **none))


@pytest.mark.parametrize("loop", [sample, sample_heun, sample_multistep])
def test_what_cannot_be_asked_at_pure_noise_is_refused(loop):
    with pytest.raises(ValueError, match="do not follow"):
        loop(Asked(), normal(3, 2), [1.0, 0.5], COSINE, NOISE)
