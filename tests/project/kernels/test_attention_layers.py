"""Attention of chapter 09 beside its kernels, and its forward derivatives."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from cs231n_gen import dit_attention
from cs231n_gen.kernels.launch import HAVE_TRITON, interpreting, switched_off

needs_triton = pytest.mark.skipif(not HAVE_TRITON, reason="Triton is not installed")

# What float32 leaves of numbers of size 1, summed in another order.
ROUNDING = {"atol": 2e-5, "rtol": 2e-5}


def in_kernels(call):
    """What is returned inside `interpreting()`, and the modules of the kernels it launched."""
    from cs231n_gen.instruments.compiler import launches

    with interpreting(), launches.record() as made:
        result = call()
    return result, {record.fn.__module__.rpartition(".")[2] for record in made}


def trained(layer, *args):
    """The results of a layer, and the gradients of its weights."""
    layer.zero_grad()
    found = layer(*args)
    found = found if isinstance(found, tuple) else (found,)
    sum((r * torch.sin(torch.arange(r.numel())).reshape(r.shape)).sum() for r in found).backward()
    return [*(r.detach() for r in found), *(p.grad.clone() for p in layer.parameters())]


@needs_triton
@pytest.mark.parametrize("grid", [None, (2, 3)], ids=["a set", "a grid"])
def test_attention_is_left_to_its_kernel_unless_that_is_switched_off(grid):
    layer, x = dit_attention.Attention(16, 2, qk_norm=True), torch.randn(2, 6, 16)
    by_torch = trained(layer, x, grid)
    by_kernel, kernels = in_kernels(lambda: trained(layer, x, grid))
    assert kernels >= {"attention"}
    torch.testing.assert_close(by_kernel, by_torch, **ROUNDING)
    with switched_off("attention"):
        switched, kernels = in_kernels(lambda: trained(layer, x, grid))
    assert "attention" not in kernels
    torch.testing.assert_close(switched, by_torch, rtol=0, atol=0)


@needs_triton
@pytest.mark.parametrize("words", [(4, 1), (3, 0), None], ids=["some", "none in one", "no mask"])
def test_joint_attention_is_left_to_its_kernel_unless_that_is_switched_off(words):
    layer = dit_attention.JointAttention(16, 2, qk_norm=True)
    x, y = torch.randn(2, 6, 16), torch.randn(2, 4, 16)
    mask = None if words is None else torch.arange(4) < torch.tensor(words)[:, None]
    by_torch = trained(layer, x, y, mask, (2, 3))
    by_kernel, kernels = in_kernels(lambda: trained(layer, x, y, mask, (2, 3)))
    assert kernels >= {"joint_attention"}
    torch.testing.assert_close(by_kernel, by_torch, **ROUNDING)
    with switched_off("joint_attention"):
        switched, kernels = in_kernels(lambda: trained(layer, x, y, mask, (2, 3)))
    assert "joint_attention" not in kernels
    assert ("attention" in kernels) == (mask is None)  # which takes no bias
    torch.testing.assert_close(switched, by_torch, **ROUNDING)


@needs_triton
def test_what_the_kernel_does_not_take_is_left_to_torch():
    """Values of another size, other axes, float64, wide heads and a bias, as on a GPU."""
    q, k, v = (torch.randn(2, 2, n, d) for n, d in ((3, 8), (5, 8), (5, 8)))
    wide = torch.randn(1, 1, 3, 130)
    for given in [
        (q, k, v[..., :3]),
        (q[0], k[0], v[0]),
        (q.double(), k.double(), v.double()),
        (wide, wide, wide),
        (q, k, v, torch.zeros(5)),
    ]:
        want = dit_attention.attend(*given)
        got, kernels = in_kernels(lambda given=given: dit_attention.attend(*given))
        assert not kernels
        torch.testing.assert_close(got, want, rtol=0, atol=0)
    layer = dit_attention.JointAttention(8, 2).double()
    x, y = torch.randn(2, 1, 3, 8, dtype=torch.float64)
    got, kernels = in_kernels(lambda: layer(x, y))
    assert not kernels
    torch.testing.assert_close(got, layer(x, y), rtol=0, atol=0)


def test_forward_derivatives_under_the_math_backend():
    """torch's other backends have none: who needs them, in distillation, chooses this one."""
    layer = dit_attention.Attention(8, 2, qk_norm=True).double()
    x, u = torch.randn(2, 2, 6, 8, dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH):
        _, slope = torch.func.jvp(lambda x: layer(x, (2, 3)), (x,), (u,))
    ends = [layer(x + h * u, (2, 3)) for h in (1e-5, -1e-5)]
    torch.testing.assert_close(slope, (ends[0] - ends[1]) / 2e-5, atol=1e-8, rtol=1e-7)
