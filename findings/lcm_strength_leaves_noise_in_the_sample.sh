#!/usr/bin/env bash
# LCMScheduler of diffusers returns a noisy sample if steps of one's own are cut by `strength`.
#
# set_timesteps(timesteps=…, strength=…) is documented for image to image: of four steps, strength 0.5 leaves the last two.
# The steps are cut so, but the scheduler still counts four. So it takes its last step for one in between, and noises the
# finished sample to that step's own level: standard deviation 0.58 of noise at step 259, with a network that returns the data
# exactly. A number of steps in place of a list is cut together with the count, and ends at clean data. The last step is meant
# to add no noise (pull request 5681).
#
# One warning is given, of something else: that 759 is not on the training schedule. It is, but that was cut as well.
# `denoised`, which step() returns too, is right; the pipelines for LCM decode that one. Loops that read `prev_sample`, as
# they do for all other schedulers, get the noise.
#
# Seen with diffusers 0.42.1, torch 2.13.0, Python 3.11: standard deviation of the error of the last prev_sample:
#   num_inference_steps=2, strength=0.5:                 steps [499, 259], error 4e-08
#   timesteps=[999, 759, 499, 259]:                      these steps, error 4e-08
#   timesteps=[999, 759, 499, 259], strength=0.5:        steps [499, 259], error 0.61
# Fails if the last sample is clean in all three.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip torch==2.13.0
$pip diffusers==0.42.1 torch==2.13.0

"$folder/venv/bin/python" - <<'PY'
import torch
from diffusers import LCMScheduler

STEPS = [999, 759, 499, 259]
x = torch.randn(1, 1, 100, 100, generator=torch.Generator().manual_seed(1))


def walk(**options):
    """The errors of both outputs at the end, when the network returns the data."""
    scheduler = LCMScheduler(prediction_type="sample")
    scheduler.set_timesteps(**options)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(x.shape, generator=generator)
    x_t = scheduler.add_noise(x, z, scheduler.timesteps[:1])
    for t in scheduler.timesteps:
        out = scheduler.step(x, t, x_t, generator=generator)
        x_t = out.prev_sample
    error = (x_t - x).std().item()
    print(f"{options}: steps {scheduler.timesteps.tolist()}, error {error:.2g}")
    return scheduler.timesteps.tolist(), error, (out.denoised - x).std().item()


steps, error, _ = walk(num_inference_steps=2, strength=0.5)
assert steps == [499, 259] and error < 1e-6, f"a number of steps, cut, ends with an error of {error}"
steps, error, _ = walk(timesteps=STEPS)
assert steps == STEPS and error < 1e-6, f"steps of one's own end with an error of {error}"
steps, error, denoised = walk(timesteps=STEPS, strength=0.5)
assert steps == [499, 259], f"got {steps}, expected the last two"
assert denoised < 1e-6, f"denoised has an error of {denoised}"
assert error > 0.5, f"the last sample is clean now: its error is {error}"
PY
