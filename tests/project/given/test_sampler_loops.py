"""The given loops of `diffusion_samplers` against the formulas, one step after the other."""

import math
from itertools import pairwise

import pytest
import torch

from cs231n_gen import diffusion_samplers, truth
from cs231n_gen.diffusion import column, ode_velocity, to_x_and_noise
from cs231n_gen.given import processes
from cs231n_gen.given.toys import ring

LINEAR = processes.variance_preserving()
WALKS = {
    "rectified flow": (
        processes.rectified_flow(),
        processes.velocity(processes.rectified_flow()),
        [1.0, 0.7, 0.4, 0.15, 0.0],
    ),
    "rectified flow, not to the end": (
        processes.rectified_flow(),
        processes.X,
        [0.9, 0.6, 0.3, 0.1],
    ),
    "linear, noise": (LINEAR, processes.NOISE, [1.0, 0.8, 0.5, 0.2, 0.0]),
    "cosine, v": (processes.cosine(), processes.angular(processes.cosine()), [1, 0.6, 0.2, 0.0]),
    "exploding": (processes.variance_exploding(), processes.NOISE, [1.0, 0.7, 0.3, 0.0]),
    "edm": (processes.edm(), processes.X, processes.karras(processes.edm(), 6)),
}


def model(x, t, y=None):
    """Smooth and not linear."""
    shift = 0 if y is None else column(y.to(x.dtype), x)
    return torch.sin(1.3 * x + column(t, x)) - 0.2 * x + shift


def told(t, z):
    return torch.full((len(z),), t, dtype=z.dtype)


def heun(z, times, process, target, y):
    x = column(process.b(told(times[0], z)), z) * z
    for t, s in pairwise(told(t, z) for t in times):
        h = column(t - s, z)
        v = ode_velocity(model(x, t, y), x, t, process, target)
        x_s = x - h * v
        if process.b(s)[0] > 0:
            v_s = ode_velocity(model(x_s, s, y), x_s, s, process, target)
            x_s = x - h * (v + v_s) / 2
        x = x_s
    return x


def multistep(z, times, process, target, y):
    x = column(process.b(told(times[0], z)), z) * z
    before, h_before = None, math.inf
    for t, s in pairwise(told(t, z) for t in times):
        a_t, b_t, a_s, b_s = (float(v[0]) for v in (*ab(process, t), *ab(process, s)))
        x_hat, _ = to_x_and_noise(model(x, t, y), x, t, process, target)
        shrink = a_t * b_s / (a_s * b_t)
        h = -math.log(shrink) if shrink > 0 else math.inf
        D = x_hat
        if before is not None and math.isfinite(h):
            D = x_hat + h / (2 * h_before) * (x_hat - before)
        x = b_s / b_t * x + a_s * (1 - shrink) * D
        before, h_before = x_hat, h
    return x


def ab(process, t):
    return process.a(t), process.b(t)


LOOPS = [(diffusion_samplers.sample_heun, heun), (diffusion_samplers.sample_multistep, multistep)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5,), (4, 2), (3, 1, 4, 4)])
@pytest.mark.parametrize("name", WALKS)
@pytest.mark.parametrize(("loop", "by_steps"), LOOPS, ids=["heun", "multistep"])
def test_coefficients_of_a_whole_walk_give_what_single_steps_give(
    loop, by_steps, name, shape, dtype
):
    process, target, times = WALKS[name]
    z = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    rounded = torch.tensor(times, dtype=dtype).tolist()  # what a model in this precision is told
    for y in (None, torch.arange(len(z)) % 2):
        got = loop(model, z, times, process, target, y)
        exact = by_steps(z.double(), rounded, process, target, y)
        assert got.dtype == dtype
        off = ((got - exact).abs().max() / exact.abs().max()).item()
        # x starts at 80 z in EDM's process, and a sine of 80 in float32 is off by 1e-5
        assert off < (1e-12 if dtype == torch.float64 else 1e-4), off


@pytest.mark.parametrize("loop", [diffusion_samplers.sample, *(loop for loop, _ in LOOPS)])
def test_levels_that_are_one_in_the_precision_of_z_are_refused(loop):
    process, target, _ = WALKS["rectified flow"]
    times = [1.0, 1.0 - 1e-9, 0.5, 0.0]
    assert loop(model, torch.randn(2, 2).double(), times, process, target).isfinite().all()
    with pytest.raises(ValueError, match="fall within"):
        loop(model, torch.randn(2, 2), times, process, target)


@pytest.mark.parametrize("loop", [diffusion_samplers.sample, *(loop for loop, _ in LOOPS)])
def test_a_prediction_of_another_shape_is_refused(loop):
    process, target, times = WALKS["rectified flow"]
    with pytest.raises(ValueError, match="prediction must be shaped like x_t"):
        loop(lambda x, t: x[:, :1], torch.randn(2, 2), times, process, target)


def test_levels_denser_near_data_fall_from_1_to_0_as_a_power():
    assert processes.denser_near_data(4, 1.0) == processes.even_in_t(4)
    assert processes.denser_near_data(4) == [1.0, 0.75**1.5, 0.5**1.5, 0.25**1.5, 0.0]


def test_levels_denser_near_data_serve_heun_better_than_even_ones():
    mixture = ring().mixture
    process, target, _ = WALKS["rectified flow"]
    z = torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    end = truth.follow(lambda x, t: mixture.velocity(x, t), z, [1, 0])[-1]

    def error(times):
        walk = diffusion_samplers.sample_heun(mixture.velocity, z, times, process, target)
        return (walk - end).norm(dim=1).mean().item()

    denser, even = (
        [error(levels(steps)) for steps in (5, 10, 20)]
        for levels in (processes.denser_near_data, processes.even_in_t)
    )
    # 0.024, 0.005, 0.0018 and 0.082, 0.024, 0.006 in a trial
    assert all(d < 0.6 * e for d, e in zip(denser, even, strict=True)), (denser, even)
