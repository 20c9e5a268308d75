"""Chapter 12's jumps, walks and targets are those of few-step schedulers in diffusers, up to
conventions: a test for each line of "Where practice differs".

Schedulers know steps, we know levels: `table` is a process whose level (i + 1) / 1000 is step i, so
that both are asked at the same noise. Networks are smooth functions, the same for both.
"""

import math

import numpy as np
import pytest
import torch

from cs231n_gen import consistency, distill
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.diffusion import NOISE, Process, Target, X, angular, column
from cs231n_gen.diffusion_samplers import ddim_step
from cs231n_gen.flow import sample as sample_euler
from cs231n_gen.given.processes import edm, preconditioned, trigflow

libraries = load_module(ROOT / "tests" / "support" / "libraries.py", "libraries")

STEPS = 1000
# Stable Diffusion's betas, for all that was distilled from it.
STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
# A handful of float64 operations in another order.
ROUNDING = {"rtol": 1e-11, "atol": 1e-11}
# The same, where a library keeps its levels in float32, whatever it is given.
ROUNDING_OF_FLOAT32 = {"rtol": 1e-6, "atol": 1e-6}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=7, dtype=torch.float64):
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


def network(x, t):
    """Smooth and nonlinear in both, of size 1."""
    return torch.tanh(1.5 * x + column(t, x)) - 0.3 * torch.cos(2 * x - 3 * column(t, x))


def scheduler_of(name, **options):
    """A scheduler whose table is in float64, where it has one."""
    scheduler = getattr(libraries.library("diffusers"), name)(**options)
    if hasattr(scheduler, "alphas_cumprod"):
        scheduler.alphas_cumprod = (1 - scheduler.betas.double()).cumprod(0)
    return scheduler


def interpolated(values):
    """The function of t that has these values at 0, 1 / n, …, 1 and is linear between them."""
    values = torch.as_tensor(values, dtype=torch.float64)

    def at(t):
        place = (t * (len(values) - 1)).clamp(0, len(values) - 1)
        low = place.floor().clamp(max=len(values) - 2).long()
        share = (place - low).to(t.dtype)
        return (1 - share) * values[low].to(t.dtype) + share * values[low + 1].to(t.dtype)

    return at


def table(shares):
    """The process that has step i's ᾱ at t = (i + 1) / 1000, and clean data at t = 0."""
    shares = torch.cat([torch.ones(1, dtype=torch.float64), shares.double()])
    a, b = interpolated(shares.sqrt()), interpolated((1 - shares).sqrt())
    return Process(a, b, None, None)


def level(i, x):
    return torch.full((len(x),), (int(i) + 1) / STEPS, dtype=x.dtype)


def walk(scheduler, model, x, generator, **options):
    """Their loop: the network is asked at the scheduler's own steps."""
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        x = scheduler.step(model(scaled, t), t, x, generator=generator, **options).prev_sample
    return x


# --- LCM ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("i", [999, 499, 19, 0])
def test_lcm_has_its_boundary_outside_of_x_hat(kind, i):
    """f = c_skip x_t + c_out x̂, with σ_d = 0.5 and ten times the *step* as the noise level. At
    each step that an LCM takes that is x̂ to 1e-5, at step 0 it is x_t."""
    scheduler = scheduler_of("LCMScheduler", prediction_type=kind)
    process = table(scheduler.alphas_cumprod)
    target = {"epsilon": NOISE, "v_prediction": angular(process)}[kind]
    x_t, y = normal(2, 4, 3)
    scheduler.set_timesteps(1)
    scheduler.timesteps = torch.tensor([i])  # any of the table, not only those of an LCM
    theirs = scheduler.step(y, i, x_t).denoised  # of a tensor, c_skip is float32
    ours = consistency.function(lambda x, t: y, x_t, level(i, x_t), process, target)
    c_skip = 0.25 / ((10 * i) ** 2 + 0.25)
    c_out = 10 * i / math.sqrt((10 * i) ** 2 + 0.25)
    torch.testing.assert_close(theirs, c_skip * x_t + c_out * ours, **ROUNDING)
    if i == 0:
        assert torch.equal(theirs, x_t)
        assert (theirs - ours).abs().max() > 1e-2  # ᾱ_0 = 0.99915: noise of 0.029 is left there
    else:
        torch.testing.assert_close(theirs, ours, atol=4e-5, rtol=0)


def test_lcm_may_predict_x_where_ours_may_not():
    """Its boundary holds for any network, that of `function` only where d ≠ 0."""
    x_t, y = normal(2, 4, 3)
    scheduler = scheduler_of("LCMScheduler", prediction_type="sample")
    scheduler.set_timesteps(1)
    scheduler.timesteps = torch.tensor([0])
    assert torch.equal(scheduler.step(y, torch.tensor(0), x_t).denoised, x_t)
    with pytest.raises(ValueError):
        consistency.function(lambda x, t: y, x_t, level(0, x_t), table(scheduler.alphas_cumprod), X)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_lcm_jumps_and_adds_noise_as_sample_does(steps):
    """With the same draws in the same order, and none after the last jump."""
    scheduler = scheduler_of("LCMScheduler")
    process = table(scheduler.alphas_cumprod)
    scheduler.set_timesteps(steps)
    z, theirs, ours = normal(4, 3), seeded(), seeded()
    one = torch.ones(1, dtype=torch.float64)
    start = process.b(one) * z
    found = walk(scheduler, lambda x, i: network(x, level(i, x)), start, theirs)
    expected = consistency.sample(network, z, steps, ours, process, NOISE)
    # c_skip adds up to 6e-8 x_t, and c_out takes as much away.
    torch.testing.assert_close(found, expected, **ROUNDING_OF_FLOAT32)
    assert torch.equal(theirs.get_state(), ours.get_state())


def test_lcm_takes_its_levels_from_50_and_counts_steps_from_999():
    """Every 50/T-th of 19, 39, …, 999, rounded: even for T = 1, 2, 5, but not for 4 or 8."""
    scheduler = scheduler_of("LCMScheduler")
    for steps, expected in (
        (1, [999]),
        (2, [999, 499]),
        (4, [999, 759, 499, 259]),
        (8, [999, 879, 759, 639, 499, 379, 259, 139]),
    ):
        scheduler.set_timesteps(steps)
        assert scheduler.timesteps.tolist() == expected
        even = [STEPS * (steps - i) / steps - 1 for i in range(steps)]
        assert (scheduler.timesteps.tolist() == even) == (steps < 4)


def test_lcm_begins_with_z_and_turbo_with_b_z():
    """With ᾱ = 0.0047 at step 999, b = 0.9977. LCM's first x_t is z itself; ours, and that of Euler
    with trailing steps, is b z."""
    lcm = scheduler_of("LCMScheduler")
    euler = scheduler_of("EulerAncestralDiscreteScheduler", timestep_spacing="trailing", **STABLE)
    euler.set_timesteps(1)
    z = normal(4, 3)
    b = (1 - lcm.alphas_cumprod[-1]).sqrt()
    assert lcm.init_noise_sigma == 1.0
    assert b.item() == pytest.approx(0.99767, abs=1e-5)
    scaled = euler.scale_model_input(z * euler.init_noise_sigma, euler.timesteps[0])
    torch.testing.assert_close(scaled, b * z, **ROUNDING_OF_FLOAT32)


# --- SD-Turbo, TCD ------------------------------------------------------------------------------


def turbo(**options):
    return scheduler_of("EulerAncestralDiscreteScheduler", **{**STABLE, **options})


def test_one_step_of_turbo_is_a_jump_from_step_999():
    """Euler's first step of one goes all the way to σ = 0, so it is x̂; noise is drawn, times 0."""
    scheduler = turbo(timestep_spacing="trailing")
    scheduler.set_timesteps(1)
    assert scheduler.timesteps.tolist() == [999]
    z = normal(4, 3)
    start = z * scheduler.init_noise_sigma
    found = walk(scheduler, lambda x, i: network(x, level(i, x)), start, seeded())
    process = table(scheduler.alphas_cumprod)
    expected = consistency.sample(network, z, 1, None, process, NOISE)
    # x̂ = (x_t − b ε) / a: a = 0.068 makes errors of float32 15 times as large.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_turbo_needs_trailing_steps():
    """`leading`, which Stable Diffusion has, and `linspace` ask once, at step 0, and take almost
    nothing away. Four trailing steps are even."""
    z = normal(4, 3)
    for spacing, first in (("leading", 0), ("linspace", 0), ("trailing", 999)):
        scheduler = turbo(timestep_spacing=spacing)
        scheduler.set_timesteps(1)
        assert scheduler.timesteps.tolist() == [first]
        start = z * scheduler.init_noise_sigma
        found = walk(scheduler, lambda x, i: network(x, level(i, x)), start, seeded())
        assert ((found - start).abs().max() < 0.05) == (first == 0)
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist() == [999, 749, 499, 249]


def test_more_steps_of_turbo_are_ancestral():
    """From x_t part of its noise is kept; `consistency.sample` throws all of it away."""
    scheduler = turbo(timestep_spacing="trailing")
    process = table(scheduler.alphas_cumprod)
    scheduler.set_timesteps(4)
    z, generator = normal(4, 3), seeded()
    start = z * scheduler.init_noise_sigma
    found = walk(scheduler, lambda x, i: network(x, level(i, x)), start, seeded())
    x = process.b(torch.ones(1, dtype=torch.float64)) * z
    for i in (999, 749, 499, 249):
        t, s = level(i, x), level(i - 250, x)
        x = ddim_step(network(x, t), x, t, s, process, NOISE, eta=1.0, generator=generator)
    torch.testing.assert_close(found, x, rtol=2e-5, atol=2e-5)
    renoised = consistency.sample(network, z, 4, seeded(), process, NOISE)
    assert (found - renoised).abs().max() > 0.1


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_tcd_walks_down_to_s_and_adds_noise_up_again(eta):
    """γ, called `eta`, is how far: with 0 its steps are DDIM's, with 1 it jumps down to *step* 0 in
    between, where noise of 0.029 is left, and adds noise from there."""
    scheduler = scheduler_of("TCDScheduler")
    process = table(scheduler.alphas_cumprod)
    scheduler.set_timesteps(5)
    assert scheduler.timesteps.tolist() == [999, 799, 599, 399, 199]
    z, generator = normal(4, 3), seeded()
    found = walk(scheduler, lambda x, i: network(x, level(i, x)), z, seeded(), eta=eta)
    x = z
    for i, following in ((999, 799), (799, 599), (599, 399), (399, 199), (199, 0)):
        t, s = level(i, x), level(math.floor((1 - eta) * following), x)
        x = ddim_step(network(x, t), x, t, s, process, NOISE)
        if eta > 0 and following:
            u = level(following, x)
            a = column(process.a(u) / process.a(s), x)
            x = a * x + (1 - a**2).sqrt() * normal_like(x, generator)
    torch.testing.assert_close(found, x, **ROUNDING)
    # None of its steps ends at clean data: the last goes to step 0, which is noisy.
    assert float(1 - scheduler.alphas_cumprod[0]) == pytest.approx(0.00085)


def normal_like(x, generator):
    return torch.randn(x.shape, generator=generator, dtype=x.dtype)


# --- flows: FlowMatchLCM, FLUX schnell, SD3.5 Turbo, mean velocities ----------------------------


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_flow_match_lcm_is_sample_with_even_levels_of_ones_own(steps):
    """`sigmas` are asked for; each step draws, the last one too, times 0."""
    scheduler = scheduler_of("FlowMatchLCMScheduler")
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    z, theirs, ours = normal(4, 3), seeded(), seeded()
    x = z
    for t in scheduler.timesteps:
        v = network(x, torch.full((len(x),), float(t) / STEPS, dtype=x.dtype))
        x = scheduler.step(v, t, x, generator=theirs).prev_sample
    torch.testing.assert_close(
        x, consistency.sample(network, z, steps, ours), **ROUNDING_OF_FLOAT32
    )
    normal_like(z, ours)  # the draw that comes to nothing
    assert torch.equal(theirs.get_state(), ours.get_state())


@pytest.mark.parametrize("name", ["FlowMatchLCMScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_the_last_of_their_four_calls_is_at_almost_no_noise(name):
    """Four even levels end at 1/1000, shifted twice with `shift`: three calls and a crumb."""
    for shift, expected in ((1.0, [1, 0.667, 0.334, 0.001]), (3.0, [1, 0.8577, 0.6022, 0.0089])):
        scheduler = scheduler_of(name, shift=shift)
        scheduler.set_timesteps(4)
        assert scheduler.sigmas.tolist() == pytest.approx([*expected, 0], abs=1e-4)
        ours = torch.tensor([1, 0.75, 0.5, 0.25])
        scheduler.set_timesteps(sigmas=ours.tolist())
        shifted = shift * ours / (1 + (shift - 1) * ours)
        torch.testing.assert_close(scheduler.sigmas[:-1], shifted, **ROUNDING_OF_FLOAT32)


@pytest.mark.parametrize("steps", [1, 4])
def test_schnell_walks_with_euler_and_adds_no_noise(steps):
    """FLUX.1 schnell has shift 1 and its pipeline asks for 1, …, 1/T. Its student gives a velocity
    for steps of this length and no jump to the end."""
    scheduler = scheduler_of("FlowMatchEulerDiscreteScheduler", shift=1.0)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps))
    z = normal(4, 3)
    x = z
    for t in scheduler.timesteps:
        v = network(x, torch.full((len(x),), float(t) / STEPS, dtype=x.dtype))
        x = scheduler.step(v, t, x, generator=None).prev_sample
    torch.testing.assert_close(x, sample_euler(network, z, steps), **ROUNDING_OF_FLOAT32)
    of_three = consistency.sample_mean(lambda x, t, s: network(x, t), z, steps)
    torch.testing.assert_close(x, of_three, **ROUNDING_OF_FLOAT32)
    jumps = consistency.sample(network, z, steps, seeded())
    assert ((x - jumps).abs().max() < 1e-6) == (steps == 1)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_flow_map_scheduler_is_sample_mean(steps):
    """AnyFlow's: a network u(x_t, t, r), from t to r at any r."""
    scheduler = scheduler_of("FlowMapEulerDiscreteScheduler")
    scheduler.set_timesteps(steps)

    def mean(x, t, s):
        return network(x, t) * (1 + 0.2 * column(s, x))

    z = normal(4, 3)
    x = z
    for t, s in zip(scheduler.timesteps, [*scheduler.timesteps[1:], 0.0], strict=True):
        here, there = (torch.full((len(x),), float(v) / STEPS, dtype=x.dtype) for v in (t, s))
        x = scheduler.step(mean(x, here, there), t, x, r_timestep=s).prev_sample
    torch.testing.assert_close(x, consistency.sample_mean(mean, z, steps), **ROUNDING)


def test_the_flow_map_scheduler_moves_a_batch_by_its_first_level():
    """If that is one of the scheduler's own: then it is looked up, for all examples
    (findings/flow_map_scheduler_moves_all_by_the_first_timestep.sh)."""
    scheduler = scheduler_of("FlowMapEulerDiscreteScheduler")
    scheduler.set_timesteps(4)
    x, v, r = torch.zeros(2, 1), -torch.ones(2, 1), torch.zeros(2)
    for t, expected in (([900.0, 400.0], [0.9, 0.4]), ([1000.0, 400.0], [1.0, 1.0])):
        found = scheduler.step(v, torch.tensor(t), x, r_timestep=r).prev_sample
        torch.testing.assert_close(found.flatten(), torch.tensor(expected))


class OfLength(torch.nn.Module):
    """A mean velocity that is told t and t − s, as rectified-flow-pytorch has it."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(0.7))
        self.lengths = []

    def forward(self, x, t, length):
        self.lengths.append(length.detach())
        return network(self.w * x, t) * (1 + 0.2 * column(length, x))


def test_mean_flow_of_rectified_flow_pytorch_has_our_target():
    """Its network gets t − s in place of s, so du/dt is along (v, 1, 1) there: the same target."""
    B = 6
    x, z = normal(2, B, 3, dtype=torch.float32)
    net = OfLength()
    theirs = libraries.mean_flow()(
        net,
        use_adaptive_loss_weight=False,
        use_logit_normal_sampler=False,
        prob_default_flow_obj=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = theirs(x, noise=z)
        torch.manual_seed(0)
        s, t = torch.stack([torch.rand(B), torch.rand(B)]).sort(0).values
    x_t = (1 - column(t, x)) * x + column(t, x) * z

    def mean(x, t, s):
        return net(x, t, t - s)

    target = consistency.mean_flow_target(mean, x_t, t, s, z - x)
    torch.testing.assert_close(found, (mean(x_t, t, s) - target).square().mean())
    plain = (mean(x_t, t, s) - (z - x)).square().mean()
    assert abs(float(found - plain)) > 1e-3  # its second part is there


def test_mean_flow_of_rectified_flow_pytorch_walks_without_means():
    """One step of its `sample` is ours. In more steps it asks at t − s = 0: that is Euler's walk
    with the velocity (findings/mean_flow_of_two_steps_uses_no_mean.sh)."""
    net = OfLength()
    theirs = libraries.mean_flow()(net, data_shape=(3,))
    z = normal(4, 3, dtype=torch.float32)

    def mean(x, t, s):
        return net(x, t, t - s)

    one = consistency.sample_mean(mean, z, 1)
    torch.testing.assert_close(theirs.sample(4, noise=z), one)
    net.lengths.clear()
    four = theirs.slow_sample(steps=4, noise=z)
    assert len(net.lengths) == 4
    assert not torch.cat(net.lengths).any()
    torch.testing.assert_close(four, sample_euler(lambda x, t: net(x, t, 0 * t).detach(), z, 4))
    assert (four - consistency.sample_mean(mean, z, 4)).abs().max() > 1e-3


# --- consistency models, sCM --------------------------------------------------------------------


def consistency_models(**options):
    return scheduler_of("CMStochasticIterativeScheduler", clip_denoised=False, **options)


def test_consistency_models_clip_samples_unless_told_not_to():
    for options, largest in (({}, 1.0), ({"clip_denoised": False}, 40.0)):
        scheduler = scheduler_of("CMStochasticIterativeScheduler", **options)
        scheduler.set_timesteps(1)
        x_t = torch.full((1, 1), 80.0)
        t = scheduler.timesteps[0]
        scheduler.scale_model_input(x_t, t)
        found = scheduler.step(torch.full((1, 1), 80.0), t, x_t).prev_sample
        assert found.item() == pytest.approx(largest, rel=1e-3)


@pytest.mark.parametrize("sigma", [80.0, 2.0, 0.1])
def test_consistency_models_are_preconditioned_but_for_epsilon(sigma):
    """With σ_min = 0 their c_skip and c_out are those of `preconditioned`. Theirs reach 1 and 0 at
    ε = 0.002 already: (σ − ε)² in c_skip, σ − ε times the root of σ² + σ_d² in c_out."""
    x_t, y = normal(2, 4, 3)
    process = edm(80.0)
    t = torch.full((4,), sigma / 80, dtype=torch.float64)
    ours = consistency.function(lambda x, t: y, x_t, t, process, preconditioned(process))
    sigma = torch.tensor(sigma, dtype=torch.float64)
    exact = consistency_models(sigma_min=0.0).get_scalings_for_boundary_condition(sigma)
    torch.testing.assert_close(exact[0] * x_t + exact[1] * y, ours, **ROUNDING)
    c_skip, c_out = consistency_models().get_scalings_for_boundary_condition(sigma)
    assert float(c_skip) == pytest.approx(0.25 / (float(sigma - 0.002) ** 2 + 0.25))
    assert float(c_out) == pytest.approx(
        0.5 * float(sigma - 0.002) / math.sqrt(float(sigma) ** 2 + 0.25)
    )
    assert 0 < (c_skip * x_t + c_out * y - ours).abs().max() < 1e-2


def test_the_boundary_of_consistency_models_is_at_epsilon():
    scheduler, least = consistency_models(), torch.tensor(0.002, dtype=torch.float64)
    c_skip, c_out = scheduler.get_scalings_for_boundary_condition(least)
    assert (float(c_skip), float(c_out)) == (1, 0)
    c_skip, c_out = scheduler.get_scalings(least)  # EDM's, with its boundary at 0
    assert float(c_skip) == pytest.approx(1 - 1.6e-5, abs=1e-7)
    assert float(c_out) == pytest.approx(0.002, rel=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_consistency_models_jump_as_sample_does(steps):
    """At their levels. They draw after the last jump as well, times 0, unless there is but one."""
    scheduler = consistency_models(sigma_min=0.0)
    scheduler.set_timesteps(steps)
    sigmas = scheduler.sigmas.double()
    # Level j / T of the walk has noise σ_{T − j}.
    at = interpolated(sigmas.flip(0))
    process = Process(torch.ones_like, at, None, None)
    target = preconditioned(process)

    def model(x, t):
        sigma = column(at(t), x)
        return torch.tanh(x / (sigma**2 + 0.25).sqrt()) - 0.3 * torch.cos(sigma)

    z, theirs, ours = normal(4, 3), seeded(), seeded()
    x = z * scheduler.init_noise_sigma
    for j, t in enumerate(scheduler.timesteps):
        c_in = scheduler.scale_model_input(x, t)
        y = torch.tanh(c_in) - 0.3 * torch.cos(sigmas[j])
        x = scheduler.step(y, t, x, generator=theirs).prev_sample
    expected = consistency.sample(model, z, steps, ours, process, target)
    torch.testing.assert_close(x, expected, **ROUNDING_OF_FLOAT32)
    if steps > 1:
        normal_like(z, ours)
    assert torch.equal(theirs.get_state(), ours.get_state())


def test_where_consistency_models_jump():
    """Karras's levels, of 40: two jumps are at σ = 80 and 2.24, where an even level of ours has 40.
    The network is told 250 log σ."""
    scheduler = consistency_models()
    scheduler.set_timesteps(2)
    assert scheduler.sigmas.tolist() == pytest.approx([80, 2.2404, 0.002], rel=1e-4)
    expected = [250 * math.log(sigma) for sigma in (80, 2.2404)]
    assert scheduler.timesteps.tolist() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("angles", [[1.5], [1.57080, 1.3], [1.57080, 1.1, 0.6]])
def test_scm_jumps_as_sample_does_in_trigflow(angles):
    """A level is an angle. The scheduler gets σ_d F, its noise is σ_d z, and it draws after the
    last jump as well, times 0."""
    sigma_data = 0.5
    scheduler = scheduler_of("SCMScheduler", sigma_data=sigma_data)
    scheduler.set_timesteps(
        len(angles), timesteps=[*angles, 0.0], max_timesteps=None, intermediate_timesteps=None
    )
    theta = interpolated([0.0, *angles[::-1]])

    def there(schedule):
        """At the level of `trigflow` that has the angle of t."""
        return lambda t: schedule(theta(t) / (math.pi / 2))

    process, target = trigflow(sigma_data)
    process = Process(there(process.a), there(process.b), None, None)
    target = Target(there(target.c), there(target.d))
    z, theirs, ours = normal(4, 3, dtype=torch.float32), seeded(), seeded()
    x = process.b(torch.ones(1)) * z  # their pipeline starts from σ_d z, whatever the angle
    for angle in scheduler.timesteps[:-1]:
        F = network(x, angle.expand(len(x)))
        x = scheduler.step(sigma_data * F, angle, x, generator=theirs).prev_sample
    expected = consistency.sample(
        lambda x, t: network(x, theta(t)), z, len(angles), ours, process, target
    )
    # Errors of float32 pass through up to three networks of slope 3.
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-5)
    normal_like(z, ours)
    assert torch.equal(theirs.get_state(), ours.get_state())


def test_where_scm_jumps():
    """Two jumps are at θ = 1.5708, a hair beyond π/2, and 1.3; an even level of ours is π/4."""
    scheduler = scheduler_of("SCMScheduler")
    scheduler.set_timesteps(2)
    assert scheduler.timesteps.tolist() == pytest.approx([1.5708, 1.3, 0])
    assert -1e-5 < float(scheduler.timesteps[0].double().cos()) < 0
    assert 0.5 * math.tan(1.3) == pytest.approx(1.8, abs=1e-2)  # σ = b / a there, 0.5 at π/4


def test_a_rectified_flow_net_is_a_trigflow_net():
    """SANA-Sprint's conversion, as its pipeline has it: the flow's net is asked at t = sin θ /
    (sin θ + cos θ), at x_t / (sin θ + cos θ), and its v makes F. Then both say the same x̂."""
    theta = torch.tensor([0.1, 0.7, 1.3, 1.55], dtype=torch.float64)
    x = normal(4, 3)  # of TrigFlow, with σ_d = 1
    cos, sin = theta.cos()[:, None], theta.sin()[:, None]
    t = theta.sin() / (theta.sin() + theta.cos())
    t_ = t[:, None]
    root = (t_**2 + (1 - t_) ** 2).sqrt()
    v = network(x * root, t)
    F = ((1 - 2 * t_) * x * root + (1 - 2 * t_ + 2 * t_**2) * v) / root
    of_flow = consistency.function(network, x / (sin + cos), t)
    process, target = trigflow(1.0)
    of_angle = consistency.function(lambda *_: F, x, theta / (math.pi / 2), process, target)
    torch.testing.assert_close(of_angle, of_flow, **ROUNDING)


# --- guidance as an input -----------------------------------------------------------------------


def flux(**options):
    return libraries.diffusers_networks().FluxTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=6,
        axes_dims_rope=(4, 2, 2),
        **options,
    )


def asked_of_flux(net, **wants):
    with torch.no_grad():
        return net.eval()(
            hidden_states=normal(1, 4, 4, dtype=torch.float32),
            encoder_hidden_states=normal(1, 3, 12, dtype=torch.float32),
            pooled_projections=normal(1, 6, dtype=torch.float32),
            timestep=torch.tensor([0.25]),
            img_ids=torch.zeros(4, 3),
            txt_ids=torch.zeros(3, 3),
            **wants,
        ).sample


def test_dev_takes_the_weight_as_an_input_and_schnell_takes_none():
    """One call for a guided step, as of a student of `guidance_target`. The weight goes where the
    level goes, times 1000 as well; without `guidance_embeds` the network has no place for it."""
    dev, schnell = flux(guidance_embeds=True), flux(guidance_embeds=False)
    names = {name.rpartition(".")[0] for name, _ in dev.named_parameters()}
    names -= {name.rpartition(".")[0] for name, _ in schnell.named_parameters()}
    assert names == {f"time_text_embed.guidance_embedder.linear_{i}" for i in (1, 2)}
    seen = []
    dev.time_text_embed.register_forward_pre_hook(lambda _, args: seen.append(args[1].item()))
    weak, strong = (asked_of_flux(dev, guidance=torch.tensor([w])) for w in (1.0, 3.5))
    assert seen == [1000, 3500]
    assert (weak - strong).abs().max() > 1e-4
    asked_of_flux(schnell)
    with pytest.raises(TypeError):
        asked_of_flux(schnell, guidance=torch.tensor([3.5]))


# --- progressive distillation -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_progressive_target_is_two_steps_of_ddim_in_one(kind):
    """Two steps of `DDIMScheduler` with the teacher, 999 → 749 → 499, are one with x̃."""
    teacher = scheduler_of("DDIMScheduler", prediction_type=kind, clip_sample=False, **STABLE)
    student = scheduler_of("DDIMScheduler", prediction_type="sample", clip_sample=False, **STABLE)
    teacher.set_timesteps(4)
    student.set_timesteps(2)
    process = table(teacher.alphas_cumprod)
    target = {"epsilon": NOISE, "v_prediction": angular(process), "sample": X}[kind]
    x_t = normal(4, 3)
    x = x_t
    for i in (999, 749):
        x = teacher.step(network(x, level(i, x)), i, x).prev_sample
    ours = distill.progressive_target(
        network, x_t, level(999, x_t), level(499, x_t), process, target
    )
    torch.testing.assert_close(student.step(ours, 999, x_t).prev_sample, x, **ROUNDING)
