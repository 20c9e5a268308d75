"""x ← x − dt v_cfg, v_cfg = (1 + w) v_y − w v_∅, in one pass (slides 61–72)."""

import torch
from torch import Tensor

from cs231n_gen.kernels.launch import check_alike, tl, triton, uses_kernel

BLOCK = 1024


@triton.jit
def kernel(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    """Program i takes one guided step for elements i·BLOCK … (i + 1)·BLOCK − 1, those that exist.

        x_next = x − dt ((1 + w) v_y − w v_∅)

    It computes in fp32, whatever the dtype of the tensors, and rounds once, when it stores.

    Args:
        x, v_y, v_null, x_next: pointers to n elements of one dtype in contiguous memory.
        w, dt: floats of any sign and size, the guidance and the step.
        n: elements of each tensor.
        BLOCK: elements of a program, a power of 2 from 16; the last block may stick out of the
            tensors.
    """
    ### BEGIN SOLUTION
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    V_y = tl.load(v_y + i, mask=there).to(tl.float32)
    V_null = tl.load(v_null + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * V_y - w * V_null
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)
    ### END SOLUTION


def reference(x: Tensor, v_y: Tensor, v_null: Tensor, w: float, dt: float) -> Tensor:
    """The same in torch: five passes over memory, with a new tensor after each."""
    wide = torch.promote_types(x.dtype, torch.float32)
    X, V_y, V_null = x.to(wide), v_y.to(wide), v_null.to(wide)
    return (X - dt * ((1 + w) * V_y - w * V_null)).to(x.dtype)


def guided_step(x: Tensor, v_y: Tensor, v_null: Tensor, w: float, dt: float) -> Tensor:
    """One Euler step of classifier-free guidance.

        x_next = x − dt ((1 + w) v_y − w v_∅)

    4 numbers move for each element: x and both velocities are read, x_next is written.

    Args:
        x: the sample at level t, any shape and strides.
        v_y, v_null: like x, the velocities with and without the condition.
        w: guidance; 0 is conditional, −1 unconditional.
        dt: how far t falls, 1/T for T steps.
    Returns:
        A new tensor like x, the sample at level t − dt.
    Raises:
        ValueError: if shapes, dtypes or devices do not agree, or are not floating-point.
    """
    check_alike(x=x, v_y=v_y, v_null=v_null)
    if not uses_kernel(x, v_y, v_null):
        return reference(x, v_y, v_null, w, dt)
    x, v_y, v_null = x.contiguous(), v_y.contiguous(), v_null.contiguous()
    x_next = torch.empty_like(x)
    n = x.numel()
    if n:
        grid = (triton.cdiv(n, BLOCK),)
        kernel[grid](x, v_y, v_null, x_next, float(w), float(dt), n, BLOCK=BLOCK)
    return x_next
