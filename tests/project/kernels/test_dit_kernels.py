"""The whole DiT of chapter 09 by the course's kernels, and with each of them left to torch."""

import pytest
import torch

from cs231n_gen import dit
from cs231n_gen.kernels.launch import HAVE_TRITON, interpreting, switched_off

pytestmark = pytest.mark.skipif(not HAVE_TRITON, reason="Triton is not installed")

KERNELS = {"adaln", "attention", "gated_residual", "patchify"}
# What float32 leaves of numbers of size 1, summed in another order through two blocks.
ROUNDING = {"atol": 2e-5, "rtol": 2e-5}
OFF = [(), *((name,) for name in sorted(KERNELS)), tuple(sorted(KERNELS))]


@pytest.fixture
def net():
    net = dit.DiT(size=4, channels=3, patch=2, dim=16, depth=2, heads=2, classes=3)
    for w in net.parameters():  # none is 0, and what goes through them keeps its size
        torch.nn.init.normal_(w, std=(w[0].numel() if w.dim() > 1 else 4) ** -0.5)
    return net


def step(net, x, t, y):
    """The velocity, and the gradients of x_t and of all weights, by name."""
    net.zero_grad()
    x = x.clone().requires_grad_()
    v = net(x, t, y)
    (v * torch.sin(torch.arange(v.numel())).reshape(v.shape)).sum().backward()
    grads = {name: w.grad.clone() for name, w in net.named_parameters()}
    return {"v": v.detach(), "x_t": x.grad, **grads}


@pytest.mark.parametrize("off", OFF, ids=lambda off: "-".join(off) or "none")
def test_a_step_of_the_dit_by_kernels_is_torchs(net, off):
    from cs231n_gen.instruments.compiler import launches

    batch = torch.randn(3, 3, 4, 4), torch.tensor([0.0, 0.3, 1.0]), torch.tensor([2, 0, 1])
    by_torch = step(net, *batch)
    with interpreting(), launches.record() as made, switched_off(*off):
        found = step(net, *batch)
    used = {record.fn.__module__.rpartition(".")[2] for record in made}
    assert used >= KERNELS - set(off) and not used & set(off)
    for name, want in by_torch.items():
        torch.testing.assert_close(found[name], want, **ROUNDING, msg=lambda m, n=name: f"{n}: {m}")
