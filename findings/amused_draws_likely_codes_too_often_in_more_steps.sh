#!/usr/bin/env bash
# AmusedScheduler of diffusers (MaskGIT) is further from the model's distribution with every step that is added.
#
# An expert would guess that more steps cost time and bring samples closer to the model: one step draws all tokens as if they
# were independent, and as many steps as tokens draw them one by one. But which tokens stay is decided by how likely the drawn
# ones are, and the others are drawn again: what is likely gets more chances. It shows most plainly where steps should not
# matter at all, with tokens that depend on nothing: one step has the right frequencies, 64 steps do not come near them. The
# noise that `temperature` adds to that decision (2 → 0 by default) weakens this and does not remove it.
#
# `temperature` is not a temperature of the scores, and 0 is not greedy: every token is still drawn, and the least likely draws
# are thrown away most strictly, so frequencies are furthest off. To sample greedily, pass scores that are one-hot.
#
# What is unbiased: places in random order, whatever was drawn there, as many calls as one likes.
#
# Seen with diffusers 0.42.1, torch 2.13.0, Python 3.11: frequencies of four tokens, 20000 draws, scores log(.4, .3, .2, .1):
#   steps   temperature=(2, 0)       temperature=0            random order
#   1       .40 .30 .20 .10          .40 .30 .20 .10          .40 .30 .20 .10
#   8       .53 .30 .13 .04          .85 .09 .04 .02          .40 .30 .20 .10
#   64      .62 .26 .10 .02          .98 .01 .01 .00          .40 .30 .20 .10
# Fails if eight or 64 steps have the right frequencies.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip torch==2.13.0
$pip diffusers==0.42.1 torch==2.13.0

"$folder/venv/bin/python" - <<'PY'
import math

import torch
from diffusers import AmusedScheduler

P, N, MASK = torch.tensor([0.4, 0.3, 0.2, 0.1]), 20000, 4
LOGITS = P.log().expand(1, N, 4)


def frequencies(x):
    return torch.bincount(x[0], minlength=4) / N


def theirs(steps, temperature):
    scheduler = AmusedScheduler(mask_token_id=MASK)
    scheduler.set_timesteps(steps, temperature=temperature)
    x, generator = torch.full((1, N), MASK), torch.Generator().manual_seed(0)
    for t in scheduler.timesteps:
        x = scheduler.step(LOGITS, t, x, generator=generator).prev_sample
    return frequencies(x)


def in_random_order(steps):
    """As many tokens stay after each step, whichever they are."""
    x, generator = torch.full((1, N), MASK), torch.Generator().manual_seed(0)
    order = torch.randperm(N, generator=generator)
    done = 0
    for i in range(1, steps + 1):
        known = N - math.floor(N * math.cos(math.pi / 2 * i / steps)) if i < steps else N
        drawn = torch.multinomial(LOGITS[0].exp(), 1, generator=generator)[:, 0]
        x[0, order[done:known]] = drawn[order[done:known]]
        done = known
    return frequencies(x)


off = {}
for steps in (1, 8, 64):
    found = [theirs(steps, (2, 0)), theirs(steps, 0), in_random_order(steps)]
    print(f"{steps} steps: " + "; ".join(" ".join(f"{v:.3f}" for v in f) for f in found))
    off[steps] = [(f - P).abs().max().item() for f in found]
    assert off[steps][2] < 0.02, f"a random order is {off[steps][2]} off"
assert max(off[1]) < 0.02, f"one step is {max(off[1])} off"
for n in (0, 1):
    assert 0.1 < off[8][n] < off[64][n], f"got errors {off[8][n]} and {off[64][n]}, expected more in more steps"
PY
