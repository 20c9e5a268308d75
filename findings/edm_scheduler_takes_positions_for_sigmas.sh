#!/usr/bin/env bash
# EDMEulerScheduler.set_timesteps(sigmas=…) of diffusers takes positions on its own curve, not noise levels.
#
# The argument is documented as "Custom sigmas to use for the denoising process" and typed `torch.Tensor | list[float]`, and
# EulerDiscreteScheduler with this argument walks through exactly the levels it is given. EDMEulerScheduler puts them through
# Karras's formula first, as if they were the ramp from 0 to 1: σ = (σ_max^(1/ρ) + s (σ_min^(1/ρ) − σ_max^(1/ρ)))^ρ.
# So levels below 1 come out upside down (1 becomes σ_min = 0.002), levels above 1 become negative, with nan as the timestep
# that the network is asked at, and no error or warning is given. With sigma_schedule="exponential", that of CosXL, the values
# are not read at all: only their number counts. A list, which the signature allows, raises an AttributeError.
#
# To walk through levels of one's own: sigmas=(σ_max^(1/ρ) − σ^(1/ρ)) / (σ_max^(1/ρ) − σ_min^(1/ρ)), as a tensor.
#
# Seen with diffusers 0.42.1, torch 2.13.0, Python 3.11:
#   EulerDiscreteScheduler, sigmas = [5, 1, 0.1]:            [5, 1, 0.1]
#   EDMEulerScheduler, sigmas = [1, 0.5, 0.1]:               [0.002, 2.52, 45.3, 0]
#   EDMEulerScheduler, sigmas = [5, 1, 0.1]:                 [-1.4e+05, 0.002, 45.3, 0], timesteps [nan, -1.55, 0.953]
#   EDMEulerScheduler("exponential"), sigmas = [5, 1, 0.1]:  [80, 0.4, 0.002, 0]
# Fails if the levels that were asked for are walked through, or refused.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip torch==2.13.0
$pip diffusers==0.42.1 torch==2.13.0

"$folder/venv/bin/python" - <<'PY'
import torch
from diffusers import EDMEulerScheduler, EulerDiscreteScheduler


def walk(scheduler, levels):
    scheduler.set_timesteps(sigmas=levels)
    print(f"{type(scheduler).__name__}, {levels}: {scheduler.sigmas}, timesteps {scheduler.timesteps}")
    return scheduler.sigmas[: len(levels)].float(), scheduler.timesteps


wide, low = torch.tensor([5.0, 1.0, 0.1]), torch.tensor([1.0, 0.5, 0.1])
other, _ = walk(EulerDiscreteScheduler(), wide.tolist())
assert torch.allclose(other, wide), f"EulerDiscreteScheduler walks through {other}, expected {wide}"

found, _ = walk(EDMEulerScheduler(), low)
assert found[0] < found[1] < found[2], f"got {found}, expected levels that rise"
found, asked = walk(EDMEulerScheduler(), wide)
assert found[0] < 0 and asked[0].isnan(), f"got {found} and {asked}, expected a negative level and nan"
found, _ = walk(EDMEulerScheduler(sigma_schedule="exponential"), wide)
alike, _ = walk(EDMEulerScheduler(sigma_schedule="exponential"), low)
assert torch.equal(found, alike), f"got {found} and {alike}, expected the same levels twice"
try:
    walk(EDMEulerScheduler(), wide.tolist())
except AttributeError as error:
    print(f"a list: AttributeError: {error}")
else:
    raise AssertionError("a list is taken now")

curve = EDMEulerScheduler().config
high, least = curve.sigma_max ** (1 / curve.rho), curve.sigma_min ** (1 / curve.rho)
found, _ = walk(EDMEulerScheduler(), (high - wide ** (1 / curve.rho)) / (high - least))
assert torch.allclose(found, wide, rtol=1e-4), f"got {found}, expected {wide}"
PY
