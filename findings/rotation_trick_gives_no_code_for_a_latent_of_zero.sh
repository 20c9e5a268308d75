#!/usr/bin/env bash
# VectorQuantize of vector-quantize-pytorch, as it is by default, returns 0 for a latent of 0 while it trains: not a code.
#
# With the rotation trick (on unless dim is 1) the result is the latent, turned onto its code and stretched to its length. An
# expert would guess that this changes gradients alone, and that the decoder sees codes. A latent of exactly 0 has no direction
# to turn: the result is 0, while the number that is returned with it is that of a code. It happens where an encoder ends with a
# ReLU, or where sequences are padded with zeros and no mask is given. In eval mode the same latent gives its code, so a decoder
# meets there what it has not seen in training. Latents that are short but not 0 give their codes, with gradients that are as
# many times too long as the latent is too short; below a length of 1e-6 the result shrinks towards 0.
#
# What helps: rotation_trick=False, or a layer without ReLU before it.
#
# Seen with vector-quantize-pytorch 1.32.0, torch 2.13.0, Python 3.11: code e of length 0.36, gradient of length 1 at the result:
#   length of the latent   1      1e-2    1e-4     1e-6     1e-7     0
#   length of the result   0.36   0.36    0.36     0.36     0.037    0
#   length of the gradient 0.36   36      3.6e3    3.6e5    3.7e5    3.6e5
#   with rotation_trick=False, all of them: result 0.36, gradient 1; in eval mode: result 0.36
# Fails if a latent of 0 gives a code in training.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip torch==2.13.0
$pip vector-quantize-pytorch==1.32.0 einops==0.8.2 einx==0.4.3 torch-einops-utils==0.2.0 torch==2.13.0

"$folder/venv/bin/python" - <<'PY'
import torch
from vector_quantize_pytorch import VectorQuantize

CODES = torch.tensor([[0.1, -0.2, 0.28, 0.0], [5.0, 5.0, 5.0, 5.0]])


def tried(length, **options):
    """The result, its code, and the length of the gradient at the latent."""
    vq = VectorQuantize(dim=4, codebook_size=2, ema_update=False, **options)
    vq.codebook = CODES
    z = (length * torch.tensor([[[0.6, 0.8, 0.0, 0.0]]])).requires_grad_()
    q, index, _ = vq(z)
    (g,) = torch.autograd.grad(q, z, torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]))
    code, _, _ = vq.eval()(z)
    assert torch.equal(code[0, 0], CODES[index[0, 0]]), f"eval gives {code}, number {index}"
    return q.detach()[0, 0], CODES[index[0, 0]], g.norm().item()


for length in (1.0, 1e-2, 1e-4, 1e-6, 1e-7, 0.0):
    q, code, slope = tried(length)
    print(f"latent {length:.0e}: result {q.norm():.2g}, code {code.norm():.2g}, gradient {slope:.2g}")
    if length >= 1e-6:
        assert torch.allclose(q, code, atol=1e-5), f"got {q}, expected the code {code}"
        assert abs(slope * length / code.norm() - 1) < 0.01, f"the gradient is {slope}"
    plain, code, slope = tried(length, rotation_trick=False)
    assert torch.allclose(plain, code, atol=1e-6) and slope == 1, f"got {plain} and {slope}"

assert not q.any(), f"a latent of 0 gives {q} now"
PY
