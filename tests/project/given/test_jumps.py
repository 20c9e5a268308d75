"""Chapter 12's given parts on top of its exercises: sCM's loss and both samplers, held to closed
forms of Gaussians and to derivatives."""

import math

import pytest
import torch

from cs231n_gen import consistency, flow
from cs231n_gen.checking import fakes
from cs231n_gen.given import processes
from cs231n_gen.given.processes import trigflow, velocity

FLOW = processes.rectified_flow()
TRIG, OF_TRIG = trigflow(1.0)
MEANS, S = torch.tensor([[0.5, -1.0], [2.0, 0.0]], dtype=torch.float64), 0.6


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def spread(n, low=0.1, high=0.9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


def wavy(count=1):
    net = fakes.Wavy(count)
    net.load_state_dict({"w": 0.3 + 0.1 * torch.arange(8, dtype=torch.float64)})
    return net


def jump(process=FLOW, target=None):
    target = velocity(process) if target is None else target
    return fakes.GaussianJump(MEANS, S, process, target)


# --- continuous_loss ----------------------------------------------------------------------------


def by_angle(x, z, t):
    angle = (math.pi / 2 * t)[:, None]
    return angle, angle.cos() * x + angle.sin() * z, angle.cos() * z - angle.sin() * x


def exact_velocity(x_t, t, y=None):
    """dx_t/dθ for N(mean_y, S²): a path keeps (x_t − cos θ mean) / √(cos² S² + sin²)."""
    mean = MEANS[torch.zeros_like(t).long() if y is None else y]
    angle = (math.pi / 2 * t)[:, None]
    cos, sin = angle.cos(), angle.sin()
    rate = cos * sin * (1 - S**2) / (cos**2 * S**2 + sin**2)
    return -sin * mean + rate * (x_t - cos * mean)


@pytest.mark.parametrize("y", [None, torch.tensor([1, 0, 1, 1])], ids=["plain", "of classes"])
def test_the_exact_function_has_no_loss(y):
    net, t = jump(TRIG, OF_TRIG), spread(4)
    loss = consistency.continuous_loss(
        net, drawn(4, 2), drawn(4, 2, seed=1), t, exact_velocity, y=y
    )
    assert float(loss) < 1e-18
    other = consistency.continuous_loss(net, drawn(4, 2), drawn(4, 2, seed=1), t, y=y)
    assert float(other) > 1e-2  # along the velocity of the pair f changes


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("taught", [False, True])
def test_the_loss_and_its_gradient_are_those_of_the_formula(share, taught):
    net, x, z, t = wavy(), drawn(4, 2), drawn(4, 2, seed=1), spread(4)
    teacher = fakes.Recorder(lambda x_t, t, y: 0.3 * x_t + t) if taught else None
    loss = consistency.continuous_loss(net, x, z, t, teacher, share)
    angle, x_t, v = by_angle(x, z, t)
    if taught:
        v = 0.3 * x_t + t[:, None]
        assert len(teacher.times) == 1
        torch.testing.assert_close(teacher.inputs[0], x_t)

    def f(h):
        """f after a way of h in the angle."""
        at, level = x_t + h * v, t + h / (math.pi / 2)
        return (angle + h).cos() * at - (angle + h).sin() * net(at, level)

    h = 1e-3
    with torch.no_grad():
        slope = (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)
    prediction = net(x_t, t)
    g = angle.cos() * ((1 - share) * angle.cos() * (v - prediction) + share * slope)
    g = (g / (g.square().mean(1, keepdim=True).sqrt() + 0.1)).detach()
    torch.testing.assert_close(loss, g.square().mean(), rtol=1e-8, atol=1e-8)
    (found,) = torch.autograd.grad(loss, net.w)
    (want,) = torch.autograd.grad((-2 * g * prediction).mean(), net.w)
    torch.testing.assert_close(found, want, rtol=1e-7, atol=1e-7)


def test_the_gradient_points_to_the_velocity_where_the_share_is_0():
    """A small step of the weights against the gradient brings F nearer to v."""
    net, x, z, t = wavy(), drawn(64, 2), drawn(64, 2, seed=1), spread(64)
    _, x_t, v = by_angle(x, z, t)
    before = (net(x_t, t) - v).square().mean()
    (slope,) = torch.autograd.grad(consistency.continuous_loss(net, x, z, t, share=0.0), net.w)
    with torch.no_grad():
        net.w -= 1e-3 * slope
    assert float((net(x_t, t) - v).square().mean()) < float(before)


# --- sample -------------------------------------------------------------------------------------


def test_one_jump_is_f_of_the_noise_and_draws_nothing():
    z, generator = drawn(5, 2), torch.Generator().manual_seed(3)
    before, kept = generator.get_state(), z.clone()
    for process, target in ((FLOW, velocity(FLOW)), trigflow(0.5)):
        found = consistency.sample(jump(process, target), z, 1, generator, process, target)
        b = process.b(torch.ones(1, dtype=torch.float64))
        size = (process.a(1 + 0 * b) ** 2 * S**2 + b**2).sqrt()
        torch.testing.assert_close(found, MEANS[0] + S * b * z / size, rtol=1e-9, atol=1e-9)
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(z, kept)


@pytest.mark.parametrize("steps", [2, 5])
def test_new_noise_is_added_at_each_level(steps):
    z, process, target = drawn(3, 2), *trigflow(0.5)
    net = wavy()
    asked = fakes.Recorder(lambda x_t, t, y: net(x_t, t.flatten()).detach())
    generator = torch.Generator().manual_seed(7)
    found = consistency.sample(asked, z, steps, generator, process, target)
    again = torch.Generator().manual_seed(7)
    x = None
    for k in range(steps):
        t = torch.full((3,), 1 - k / steps, dtype=torch.float64)
        a, b = process.a(t)[:, None], process.b(t)[:, None]
        noise = z if k == 0 else torch.randn(3, 2, generator=again, dtype=torch.float64)
        x_t = b * z if k == 0 else a * x + b * noise
        torch.testing.assert_close(asked.inputs[k], x_t, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(asked.times[k], t)
        x = consistency.function(net, x_t, t, process, target).detach()
    assert len(asked.times) == steps
    torch.testing.assert_close(found, x, rtol=1e-12, atol=1e-12)
    assert not found.requires_grad


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_samples_of_the_exact_function_are_data(steps):
    n = 40_000
    y = torch.arange(n) % 2
    generator = torch.Generator().manual_seed(5)
    found = consistency.sample(jump(), drawn(n, 2, seed=2), steps, generator, y=y)
    for label in (0, 1):
        x = found[y == label]
        off = (x.mean(0) - MEANS[label]).abs() / (S * (2 / n) ** 0.5)
        assert float(off.max()) < 5
        ratio = (x.var(0) / S**2 - 1).abs() / (2 / (n / 2)) ** 0.5
        assert float(ratio.max()) < 5


# --- sample_mean --------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3])
def test_an_exact_mean_velocity_walks_to_the_data_in_any_number_of_steps(steps):
    z, y = drawn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    kept = z.clone()
    found = consistency.sample_mean(fakes.GaussianMean(MEANS, S), z, steps, y)
    torch.testing.assert_close(found, MEANS[y] + S * z, rtol=1e-10, atol=1e-10)
    assert torch.equal(z, kept)


def test_a_mean_velocity_that_does_not_see_s_takes_euler_steps():
    z, net = drawn(4, 3), wavy()
    levels = []

    def mean(x_t, t, s):
        levels.append((float(t[0]), float(s[0])))
        return net(x_t, t)

    found = consistency.sample_mean(mean, z, 4)
    assert levels == [(1.0, 0.75), (0.75, 0.5), (0.5, 0.25), (0.25, 0.0)]
    torch.testing.assert_close(found, flow.sample(net, z, 4), rtol=1e-12, atol=1e-12)
    assert not found.requires_grad


def test_both_samplers_keep_float32_and_refuse_what_are_no_steps():
    z = drawn(2, 2).float()
    assert consistency.sample(wavy(), z, 2).dtype == torch.float32
    assert consistency.sample_mean(wavy(2), z, 2).dtype == torch.float32
    for steps in (0, -1):
        with pytest.raises(ValueError, match="steps"):
            consistency.sample(wavy(), z, steps)
        with pytest.raises(ValueError, match="steps"):
            consistency.sample_mean(wavy(2), z, steps)
