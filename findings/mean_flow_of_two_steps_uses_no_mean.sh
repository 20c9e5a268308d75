#!/usr/bin/env bash
# MeanFlow.sample(steps=2) of rectified-flow-pytorch is worse than steps=1: with more than one step no mean velocity is used.
#
# MeanFlow trains a network u(x_t, t, Δ), the mean velocity from t to t − Δ, so that x − Δ u(x, t, Δ) is exact for any Δ. With
# steps=1 sample() takes Δ = 1, as it should. With more it calls the network with Δ = 0, the velocity at a point, and takes
# Euler steps of length 1 / steps: the errors that a mean flow is trained to avoid. So two calls of a perfect network give a
# spread of 0.08 where one call gives 0.30, which is right, and 16 calls still fall short of it. Nothing in the signature says
# so, and `noise`, which is used with one step, is then drawn anew as well.
#
# To sample in several steps: x = x − (t − s) · model(x, t, t − s), from t to s along one's own levels.
#
# Seen with rectified-flow-pytorch 0.14.0, einops 0.8.1, torch 2.13.0, Python 3.11: mean and standard deviation of 20000
# samples of the exact mean velocity for data N(2, 0.3²), by MeanFlow.sample and by such a loop:
#   steps        1           2           4           8           16
#   sample       2.00 0.30   2.00 0.08   2.00 0.18   2.00 0.24   2.00 0.27
#   the loop     2.00 0.30   2.00 0.30   2.00 0.30   2.00 0.30   2.00 0.30
# Fails if the spread is right in two steps.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip torch==2.13.0 einops==0.8.1
$pip --no-deps rectified-flow-pytorch==0.14.0  # its MeanFlow needs torch and einops only

"$folder/venv/bin/python" - "$folder"/venv/lib/python3.*/site-packages/rectified_flow_pytorch/mean_flow.py <<'PY'
import importlib.util
import sys

import torch

# The module alone: the package's own __init__ wants Trainer's packages too.
spec = importlib.util.spec_from_file_location("mean_flow", sys.argv[1])
mean_flow = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mean_flow)

MEAN, SPREAD = 2.0, 0.3


def root(t):
    """The standard deviation of x_t = (1 − t) x + t z."""
    return ((1 - t) ** 2 * SPREAD**2 + t**2).sqrt()


class Exact(torch.nn.Module):
    """u(x_t, t, Δ) of data N(MEAN, SPREAD²): paths keep (x_t − (1 − t) MEAN) / root(t)."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))  # sample() asks where the weights are

    def forward(self, x, t, delta):
        t, delta = t[:, None], delta[:, None]
        s = t - delta
        place = (x - (1 - t) * MEAN) / root(t)
        mean = (x - (1 - s) * MEAN - root(s) * place) / delta
        velocity = place * (t - (1 - t) * SPREAD**2) / root(t) - MEAN
        return torch.where(delta > 0, mean, velocity)


model, spreads = Exact(), {}
for steps in (1, 2, 4, 8, 16):
    torch.manual_seed(0)
    x = mean_flow.MeanFlow(model, data_shape=(1,)).sample(batch_size=20000, steps=steps)
    y = torch.randn(20000, 1)
    for i in range(steps):
        t, length = torch.full((20000,), 1 - i / steps), torch.full((20000,), 1 / steps)
        y = y - model(y, t, length).detach() / steps
    spreads[steps] = x.std().item()
    print(f"{steps}: sample {x.mean():.2f} {x.std():.2f}, loop {y.mean():.2f} {y.std():.2f}")
    assert abs(x.mean() - MEAN) < 0.02, f"the mean of {steps} steps is {x.mean()}"
    assert abs(y.std() - SPREAD) < 0.01, f"the loop's spread in {steps} steps is {y.std()}"
assert abs(spreads[1] - SPREAD) < 0.01, f"the spread of one step is {spreads[1]}, expected {SPREAD}"
assert spreads[2] < 0.5 * SPREAD, f"the spread of two steps is {spreads[2]}: not far off {SPREAD} now"

noise = torch.zeros(3, 1)
ones = [mean_flow.MeanFlow(model, data_shape=(1,)).sample(3, noise=noise, steps=n) for n in (1, 2)]
assert (ones[0] == ones[0][0]).all(), "one step does not begin with the noise that is given"
assert not (ones[1] == ones[1][0]).all(), "two steps begin with the noise that is given"
PY
