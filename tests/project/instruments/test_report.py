"""`inspect`: a student sees, without a GPU, what a kernel did wrong."""

import pytest
import torch

from cs231n_gen.instruments import inspect
from cs231n_gen.kernels import gan_losses, noising, patchify
from cs231n_gen.kernels.launch import HAVE_TRITON, tl, triton, uses_kernel

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

N, BLOCK = 300, 128
GRID = (triton.cdiv(N, BLOCK),)


@triton.jit
def unmasked(x, z, out, n, BLOCK: tl.constexpr):
    """x + z, without a mask on the load of z."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n) + tl.load(z + i), mask=i < n)


def add(x, z):
    """x + z."""
    if not uses_kernel(x, z):
        return x + z
    out = torch.empty_like(x)
    unmasked[GRID](x, z, out, x.numel(), BLOCK=BLOCK)
    return out


@triton.jit
def one_pass(x, y, out, n, scale: tl.constexpr, BLOCK: tl.constexpr):
    """0.3 x, or x + y."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    X = tl.load(x + i, mask=i < n)
    tl.store(out + i, 0.3 * X if scale else X + tl.load(y + i, mask=i < n), mask=i < n)


def blend(x, z):
    """0.3 x + 0.3 z in three passes."""
    if not uses_kernel(x, z):
        return 0.3 * x + 0.3 * z
    a, b, out = (torch.empty_like(x) for _ in range(3))
    one_pass[GRID](x, x, a, N, scale=True, BLOCK=BLOCK)
    one_pass[GRID](z, z, b, N, scale=True, BLOCK=BLOCK)
    one_pass[GRID](a, b, out, N, scale=False, BLOCK=BLOCK)
    return out


def test_a_missing_mask_which_argument_which_program_how_many_lanes():
    report = inspect(add, torch.randn(N), torch.randn(N))
    says = "unmasked, argument z: program (2, 0, 0) reads outside: 84 lanes, first at element 300"
    assert says in str(report)
    assert not report.good


def test_three_passes_move_2_33_times_the_least():
    report = inspect(blend, torch.randn(N), torch.randn(N))
    assert "2.33 times the least traffic" in str(report)


def test_a_good_kernel_by_its_module():
    x, z = torch.randn(3, 1100), torch.randn(3, 1100)
    report = inspect(noising, x, z, torch.rand(3))
    assert report.good
    assert report.ratio == pytest.approx(1, abs=0.01)
    assert "✓ nothing outside, no race" in report._repr_html_()


def test_a_wrong_result_is_seen():
    report = inspect(lambda x, z: add(x, z) if uses_kernel(x) else x - z, *torch.randn(2, N))
    assert max(report.error) > 1


def test_a_module_without_its_function():
    with pytest.raises(ValueError, match="has no function gan_losses"):
        inspect(gan_losses, torch.randn(3), torch.randn(3))


def test_a_wrapper_that_launches_nothing():
    assert "no kernel was launched" in str(inspect(lambda x: 2 * x, torch.randn(3)))
    assert inspect(patchify, torch.randn(1, 3, 4, 4), 2).good
