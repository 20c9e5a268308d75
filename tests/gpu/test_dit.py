"""The whole DiT of chapter 09 on a GPU: by the course's kernels, and with each left to torch.

    PYTHONPATH=. python -m pytest tests/gpu/test_dit.py

It needs jaxtyping beside what `test_kernels.py` needs.
"""

import copy

import pytest
import torch

from cs231n_gen.kernels import launch

REASON = (
    "no GPU"
    if not torch.cuda.is_available()
    else "Triton is not installed"
    if not launch.HAVE_TRITON
    else "kernels are interpreted here: unset TRITON_INTERPRET"
    if launch.INTERPRETED
    else ""
)
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "it runs")

KERNELS = ("adaln", "attention", "gated_residual", "patchify")
OFF = [(), *((name,) for name in KERNELS), KERNELS]
# Of the norm of each result. In the interpreter the tiny one is off by at most 5e-6.
NEAR = 1e-4


def step(net, x, t, y):
    """The velocity, and the gradients of x_t and of all weights, by name."""
    net.zero_grad()
    x = x.clone().requires_grad_()
    v = net(x, t, y)
    v.backward(torch.sin(torch.arange(v.numel(), device=v.device)).to(v.dtype).reshape(v.shape))
    grads = {name: w.grad.clone() for name, w in net.named_parameters()}
    return {"v": v.detach(), "x_t": x.grad, **grads}


@pytest.mark.parametrize("size", [(8, 3, 2, 32, 2), (16, 4, 2, 384, 6)], ids=["tiny", "small"])
@pytest.mark.parametrize("off", OFF, ids=lambda off: "-".join(off) or "none")
def test_a_step_of_the_dit_is_that_of_float64(size, off, monkeypatch):
    dit = pytest.importorskip("cs231n_gen.dit", exc_type=ImportError)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    torch.manual_seed(231)
    side, channels, patch, dim, heads = size
    net = dit.DiT(side, channels, patch, dim, depth=3, heads=heads, classes=11)
    for w in net.parameters():  # none is 0, and what goes through them keeps its size
        torch.nn.init.normal_(w, std=(w[0].numel() if w.dim() > 1 else 4) ** -0.5)
    t = torch.linspace(0, 1, 8)
    batch = torch.randn(8, channels, side, side), t, torch.arange(8)
    with torch.no_grad():
        # Angles of up to 1000 are rounded before any kernel: both precisions get the same waves.
        waves = dit.timestep_embedding(t, dit.FREQUENCIES)
    monkeypatch.setattr(dit, "timestep_embedding", lambda t, dim: waves.to(t))
    exact = step(copy.deepcopy(net).double(), batch[0].double(), t.double(), batch[2])
    with launch.switched_off(*off):
        found = step(net.cuda(), *(a.cuda() for a in batch))
    for name, want in exact.items():
        error = (found[name].cpu().double() - want).norm()
        assert error <= NEAR * want.norm(), f"{name} is off by {error / want.norm():.1e} of itself"
