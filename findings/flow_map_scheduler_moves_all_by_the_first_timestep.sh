#!/usr/bin/env bash
# FlowMapEulerDiscreteScheduler.step of diffusers moves a whole batch by its first timestep, if that one is on its schedule.
#
# A flow map goes from any t to any r, and `timestep` and `r_timestep` are typed as a float or a tensor. With one timestep for
# each example, off the schedule, each example moves by its own t − r. If the first of them happens to be one of
# scheduler.timesteps, it is looked up, and every example moves by that, whatever its own timestep is. The same holds for
# `r_timestep` alone. No error or warning is given: the shapes are right and only the samples are wrong. scale_noise() of the
# same scheduler does take one timestep for each example.
#
# To step with a batch of levels: prev = sample − (t − r) / 1000 · v, which is all that step() does without a shift.
#
# Seen with diffusers 0.42.1, torch 2.13.0, Python 3.11: x moved from 0 by v = −1, four steps on the schedule, r = 0:
#   timesteps [900, 400]:   0.9, 0.4
#   timesteps [1000, 400]:  1.0, 1.0      0.4 is right for the second
#   timesteps [400, 1000]:  0.4, 1.0      the same, in another order
# and from [900, 900] with r_timestep [500, 100]: 0.4, 0.4, where 0.8 is right for the second.
# Fails if each example moves by its own timesteps, or if a batch of them is refused.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip torch==2.13.0
$pip diffusers==0.42.1 torch==2.13.0

"$folder/venv/bin/python" - <<'PY'
import torch
from diffusers import FlowMapEulerDiscreteScheduler

scheduler = FlowMapEulerDiscreteScheduler()
scheduler.set_timesteps(4)
print(f"on the schedule: {scheduler.timesteps.tolist()}")


def moved(timesteps, r_timesteps):
    t, r = torch.tensor(timesteps), torch.tensor(r_timesteps)
    x = scheduler.step(-torch.ones(2, 1), t, torch.zeros(2, 1), r_timestep=r).prev_sample
    print(f"from {timesteps} to {r_timesteps}: {x.flatten().tolist()}")
    return x.flatten()


def expect(found, expected, what):
    assert torch.allclose(found, torch.tensor(expected)), f"{what}: got {found}, expected {expected}"


nowhere = [0.0, 0.0]
expect(moved([900.0, 400.0], nowhere), [0.9, 0.4], "off the schedule each has its own")
expect(moved([400.0, 1000.0], nowhere), [0.4, 1.0], "the first decides, and it is off the schedule")
expect(moved([1000.0, 400.0], nowhere), [1.0, 1.0], "both move by the first timestep")
expect(moved([900.0, 900.0], [500.0, 100.0]), [0.4, 0.4], "both move to the first r_timestep")
expect(moved([900.0, 900.0], [100.0, 500.0]), [0.8, 0.4], "in another order each has its own")

# scale_noise takes one for each example: the noise is 1 and the data 0.
noisy = scheduler.scale_noise(torch.zeros(2, 1), torch.tensor([1000.0, 400.0]), torch.ones(2, 1))
expect(noisy.flatten(), [1.0, 0.4], "scale_noise")
PY
