#!/usr/bin/env bash
# FSQ of vector-quantize-pytorch turns most of its own codes into others when they are quantized again.
#
# An expert would guess that quantizing is idempotent, as it is for a codebook: the nearest code of a code is itself. FSQ rounds
# (L − 1) / 2 · tanh(z + shift) − offset to a level and divides by ⌊L / 2⌋, so a code lies between −1 and 1, where tanh squeezes
# it: the outermost levels come back as inner ones, and with an even number of levels, which are −1, …, 1 − 2 / L, others move
# too. Only 3 and 5 levels are safe. The formula is that of the paper (Mentzer et al. 2024). It matters where a latent that is a
# code already is quantized once more, to check it or to get its number: no error is given, and the number is another.
#
# What is safe: keep the numbers, and use indices_to_codes(numbers) and codes_to_indices(codes), which do not bound anything.
#
# Seen with vector-quantize-pytorch 1.32.0, torch 2.13.0, Python 3.11: codes that move, and the largest number of a code:
#   levels              codes   move   largest
#   [8, 6, 5]             240    160   0.75, 0.67, 1
#   [8, 5, 5, 5]         1000    500   0.75, 1, 1, 1       (the paper's for about 2^10)
#   [8, 8, 8, 6, 5]     15360  14080   0.75, …             (the paper's for about 2^14)
#   [7]                     7      2   1
#   [5, 5, 5]             125      0   1
# Fails if all codes of [8, 6, 5] stay.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip torch==2.13.0
$pip vector-quantize-pytorch==1.32.0 einops==0.8.2 einx==0.4.3 torch-einops-utils==0.2.0 torch==2.13.0

"$folder/venv/bin/python" - <<'PY'
import torch
from vector_quantize_pytorch import FSQ, VectorQuantize

EXPECTED = {
    (8, 6, 5): (240, 160),
    (8, 5, 5, 5): (1000, 500),
    (8, 8, 8, 6, 5): (15360, 14080),
    (7,): (7, 2),
    (5, 5, 5): (125, 0),
}
for levels, expected in EXPECTED.items():
    fsq = FSQ(list(levels)).eval()
    numbers = torch.arange(fsq.codebook_size)
    codes = fsq.indices_to_codes(numbers[:, None])  # (codes, 1, numbers of a code)
    _, again = fsq(codes)
    moved = int((again[:, 0] != numbers).sum())
    largest = [round(v, 2) for v in codes.amax((0, 1)).tolist()]
    print(f"{list(levels)}: {len(numbers)} codes, {moved} move, largest {largest}")
    assert (len(numbers), moved) == expected, f"got {len(numbers)} and {moved}, expected {expected}"
    assert torch.equal(fsq.codes_to_indices(codes)[:, 0].long(), numbers), "numbers do not stay"

vq = VectorQuantize(dim=3, codebook_size=240).eval()
_, again, _ = vq(vq.codebook[:, None])
assert torch.equal(again[:, 0], torch.arange(240)), "codes of a codebook move too"
PY
