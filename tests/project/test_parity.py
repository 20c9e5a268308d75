"""The course's rectified flow is that of torchcfm, flow_matching and diffusers.

Only the conventions differ. torchcfm and flow_matching put noise at t = 0 and data at t = 1:
t_theirs = 1 − t, v_theirs = −v. diffusers' scheduler calls our t σ and tells its nets 1000 σ.
"""

import numpy as np
import pytest
import torch

from cs231n_gen import flow, guidance
from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT

library = load_module(ROOT / "tests" / "support" / "libraries.py", "libraries").library

# All compute a handful of float32 operations on numbers of size 1, in another order.
ROUNDING = {"rtol": 0, "atol": 16 * torch.finfo(torch.float32).eps}
# 50 steps, each rounded anew, through a net whose slope in x is of size 1.
ROUNDING_OF_A_WALK = {"rtol": 0, "atol": 1e-4}


@pytest.fixture
def torchcfm():
    return library("torchcfm.conditional_flow_matching")


@pytest.fixture
def flow_matching():
    library("flow_matching.solver")
    return library("flow_matching.path")


@pytest.fixture
def scheduler():
    return library("diffusers").FlowMatchEulerDiscreteScheduler()


@pytest.fixture(params=[(64, 2), (16, 3, 8, 8)], ids=["points", "images"])
def data(request):
    """x, z and t, seeded."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(request.param, generator=generator)
    z = torch.randn(request.param, generator=generator)
    return x, z, torch.rand(len(x), generator=generator)


@pytest.fixture
def net():
    torch.manual_seed(3)
    return flow.VelocityMLP()


@pytest.fixture
def z():
    return torch.randn(500, 2, generator=torch.Generator().manual_seed(5))


def test_x_t_and_v_are_those_of_torchcfm(torchcfm, data):
    x, z, t = data
    x_t, v = flow.interpolate(x, z, t)
    matcher = torchcfm.ConditionalFlowMatcher(sigma=0.0)
    _, theirs, u_t = matcher.sample_location_and_conditional_flow(x0=z, x1=x, t=1 - t)
    torch.testing.assert_close(x_t, theirs, **ROUNDING)
    torch.testing.assert_close(v, -u_t, **ROUNDING)


def test_x_t_and_v_are_those_of_flow_matching(flow_matching, data):
    x, z, t = data
    x_t, v = flow.interpolate(x, z, t)
    straight = library("flow_matching.path.scheduler").CondOTScheduler()
    theirs = flow_matching.AffineProbPath(straight).sample(x_0=z, x_1=x, t=1 - t)
    torch.testing.assert_close(x_t, theirs.x_t, **ROUNDING)
    torch.testing.assert_close(v, -theirs.dx_t, **ROUNDING)


def test_x_t_is_that_of_diffusers_at_sigma_t(scheduler, data):
    x, z, _ = data
    timesteps = scheduler.timesteps[:: 1000 // len(x)][: len(x)]  # its levels are a grid of 1000
    theirs = scheduler.scale_noise(x, timesteps, z)
    x_t, _ = flow.interpolate(x, z, timesteps / 1000)
    torch.testing.assert_close(x_t, theirs, **ROUNDING)


def test_one_step_of_diffusers_along_v_leads_from_noise_to_data(scheduler, data):
    x, z, _ = data
    _, v = flow.interpolate(x, z, torch.ones(len(x)))
    scheduler.set_timesteps(sigmas=[1.0])
    back = scheduler.step(v, scheduler.timesteps[0], z, return_dict=False)[0]
    torch.testing.assert_close(back, x, **ROUNDING)  # so its model output is our v, sign and all


def test_euler_samples_are_those_of_torchcfm(torchcfm, net, z):
    def their_field(t, x):
        return -net(x, 1 - t.expand(len(x)))

    levels = torch.linspace(0, 1, 51)
    with torch.no_grad():
        theirs = library("torchdiffeq").odeint(their_field, z, levels, method="euler")[-1]
    torch.testing.assert_close(flow.sample(net, z, 50), theirs, **ROUNDING_OF_A_WALK)


def test_euler_samples_are_those_of_flow_matching(flow_matching, net, z):
    solver = library("flow_matching.solver").ODESolver(lambda x, t: -net(x, 1 - t.expand(len(x))))
    theirs = solver.sample(x_init=z, method="euler", step_size=1 / 50)
    torch.testing.assert_close(flow.sample(net, z, 50), theirs, **ROUNDING_OF_A_WALK)


def test_euler_samples_are_those_of_diffusers(scheduler, net, z):
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / 50, 50))
    theirs = z
    with torch.no_grad():
        for timestep in scheduler.timesteps:
            v = net(theirs, timestep.expand(len(z)) / 1000)
            theirs = scheduler.step(v, timestep, theirs, return_dict=False)[0]
    torch.testing.assert_close(flow.sample(net, z, 50), theirs, **ROUNDING_OF_A_WALK)


@pytest.mark.parametrize("w", [-1.0, 0.0, 0.5, 1.0, 6.0])
def test_guided_velocities_are_those_of_diffusers_at_scale_1_plus_w(w):
    guider = library("diffusers").ClassifierFreeGuidance(guidance_scale=1 + w)
    v_y, v_null = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    ours = guidance.guided_velocity(v_y, v_null, w)
    rounding = {"rtol": 0, "atol": (1 + abs(w)) * ROUNDING["atol"]}
    torch.testing.assert_close(ours, guider.forward(v_y, v_null).pred, **rounding)


def test_the_original_formula_has_the_scale_w():
    guider = library("diffusers").ClassifierFreeGuidance(2.5, use_original_formulation=True)
    v_y, v_null = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    ours = guidance.guided_velocity(v_y, v_null, 2.5)
    torch.testing.assert_close(ours, guider.forward(v_y, v_null).pred, rtol=0, atol=1e-5)
