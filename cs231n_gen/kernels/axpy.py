"""y = a x + y, the smallest kernel that is one (slide 44: x_t is made of such sums)."""

import torch
from torch import Tensor

from cs231n_gen.kernels.launch import check_alike, tl, triton, uses_kernel

BLOCK = 1024


@triton.jit
def kernel(x, y, out, a, n, BLOCK: tl.constexpr):
    """Program i writes out = a x + y for elements i·BLOCK … (i + 1)·BLOCK − 1, those that exist.

    It computes in fp32, whatever the dtype of the tensors, and rounds once, when it stores.

    Args:
        x, y, out: pointers to n elements of one dtype in contiguous memory.
        a: a float, of any sign and size.
        n: elements of each tensor.
        BLOCK: elements of a program, a power of 2 from 16; the last block may stick out of the
            tensors.
    """
    ### BEGIN SOLUTION
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    Y = tl.load(y + i, mask=there).to(tl.float32)
    tl.store(out + i, (a * X + Y).to(out.dtype.element_ty), mask=there)
    ### END SOLUTION


def reference(x: Tensor, y: Tensor, a: float) -> Tensor:
    """The same in torch, in fp32 or more, rounded once."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return (a * x.to(wide) + y.to(wide)).to(x.dtype)


def axpy(x: Tensor, y: Tensor, a: float) -> Tensor:
    """a x + y in one pass: 3 numbers move for each element, two read and one written.

    Args:
        x, y: of one shape and dtype, any strides.
        a: a number.
    Returns:
        A new tensor like x.
    Raises:
        ValueError: if x and y differ in shape, dtype or device, or are not floating-point.
    """
    check_alike(x=x, y=y)
    if not uses_kernel(x, y):
        return reference(x, y, a)
    x, y = x.contiguous(), y.contiguous()
    out = torch.empty_like(x)
    n = x.numel()
    if n:
        kernel[(triton.cdiv(n, BLOCK),)](x, y, out, float(a), n, BLOCK=BLOCK)
    return out
