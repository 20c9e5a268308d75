"""mean ‖f_θ(x_t, t) − v‖² and its gradient in one pass (slide 46)."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cs231n_gen.kernels.launch import check_alike, tl, triton, uses_kernel

BLOCK = 1024


@triton.jit
def kernel(prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr):
    """Program i writes partials[i], the sum of weight · (prediction − v)² over its own block, and
    its block of the gradient, 2 · weight · (prediction − v).

    Its block are the elements i·BLOCK … (i + 1)·BLOCK − 1, those that exist: lanes beyond n touch
    nothing and add nothing to the sum. Differences, squares and sums are computed in fp32,
    whatever the dtype of the inputs, and the gradient is rounded to its own dtype at the end.

    Args:
        prediction, v: pointers to n elements of one dtype in contiguous memory.
        partials: pointer to one fp32 number a program; the wrapper adds them up to the loss.
        gradient: pointer to n elements in contiguous memory, in fp32 if the inputs are in
            float16, else in their dtype; to none at all if not WANTED.
        weight: a float, 1/n in the wrapper.
        n: elements of prediction.
        WANTED: whether the gradient is; if not, nothing is written there.
        BLOCK: a power of 2 from 16.
    """
    ### BEGIN SOLUTION
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    P = tl.load(prediction + i, mask=there, other=0.0).to(tl.float32)
    V = tl.load(v + i, mask=there, other=0.0).to(tl.float32)
    off = P - V
    tl.store(partials + tl.program_id(0), weight * tl.sum(off * off))
    if WANTED:
        G = 2 * weight * off
        tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=there)
    ### END SOLUTION


@triton.jit
def scale_kernel(gradient, upstream, out, n, IN_PLACE: tl.constexpr, BLOCK: tl.constexpr):
    """Program i writes its block of upstream · gradient; in place it moves nothing for upstream 1.

    Args:
        gradient, out: pointers to n elements in contiguous memory, the same ones if IN_PLACE.
        upstream: pointer to one fp32 number.
    """
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    U = tl.load(upstream)
    there = i < n
    if IN_PLACE:
        there = tl.where(U == 1, False, there)
    G = U * tl.load(gradient + i, mask=there, other=0.0).to(tl.float32)
    tl.store(out + i, G.to(out.dtype.element_ty), mask=there)


def reference(prediction: Tensor, v: Tensor) -> Tensor:
    """The same in torch, in fp32 or more: autograd reads and writes every number many times."""
    wide = torch.promote_types(prediction.dtype, torch.float32)
    return (prediction.to(wide) - v.to(wide)).square().mean()


def velocity_mse(prediction: Tensor, v: Tensor) -> Tensor:
    """The loss of rectified flow, ‖prediction − v‖² averaged over all elements.

    3 numbers move for each element, the backward pass included: prediction and v are read, the
    gradient is written while they are at hand. The backward pass multiplies it by the gradient of
    the loss, which only the GPU knows, so a kernel looks: if that is 1, as in `loss.backward()`,
    it moves nothing. It works in place and the gradient is given away, so there can be one backward
    pass only. With float16, whose smallest numbers are too large for a gradient of 1/n, the
    gradient is kept in fp32 and rounded after it was multiplied (by a loss scale, say).

    Twice the same loss, bit for bit: partial sums, one a program, are added in a fixed order.

    Args:
        prediction: what the network says, any shape and strides.
        v: like prediction, the target z − x.
    Returns:
        A number in fp32 (float64 if prediction is).
    Raises:
        ValueError: if shapes, dtypes or devices do not agree, or there is no element.
        RuntimeError: in a second backward pass.
    """
    check_alike(prediction=prediction, v=v)
    if not prediction.numel():
        shape = tuple(prediction.shape)
        raise ValueError(f"prediction must hold at least one element, got {shape}")
    if not uses_kernel(prediction, v):
        return reference(prediction, v)
    wanted = torch.is_grad_enabled() and (prediction.requires_grad or v.requires_grad)
    return VelocityMSE.apply(prediction, v, wanted)


class VelocityMSE(torch.autograd.Function):
    """The loss, and the gradient kept until it is asked for."""

    @staticmethod
    def forward(ctx, prediction: Tensor, v: Tensor, wanted: bool) -> Tensor:
        n = prediction.numel()
        blocks = triton.cdiv(n, BLOCK)
        partials = torch.empty(blocks, dtype=torch.float32, device=prediction.device)
        narrow = prediction.dtype == torch.float16
        gradient = torch.empty(
            prediction.shape if wanted else (0,),
            dtype=torch.float32 if narrow else prediction.dtype,
            device=prediction.device,
        )
        kernel[(blocks,)](
            prediction.contiguous(),
            v.contiguous(),
            partials,
            gradient,
            1 / n,
            n,
            WANTED=wanted,
            BLOCK=BLOCK,
        )
        ctx.gradient, ctx.dtype = gradient, prediction.dtype
        return partials.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            raise RuntimeError(
                "velocity_mse frees its gradient in the first backward pass: "
                "compute the loss again for a second one"
            )
        in_place, n = gradient.dtype == ctx.dtype, gradient.numel()
        out = gradient if in_place else torch.empty_like(gradient, dtype=ctx.dtype)
        grid = (triton.cdiv(n, BLOCK),)
        scale_kernel[grid](gradient, upstream, out, n, IN_PLACE=in_place, BLOCK=BLOCK)
        to_prediction, to_v, _ = ctx.needs_input_grad
        return out if to_prediction else None, -out if to_v else None, None
