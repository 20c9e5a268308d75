"""silu(GroupNorm(x)), what stands before each convolution of a U-Net or of a VAE's decoder.

    y = w (x − μ) / σ + b,   out = y · sigmoid(y)

μ and σ are those of one group of channels of one example, over all their positions (Wu and He
2018); w and b are learned, one a channel.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from cs231n_gen.kernels.launch import check_alike, check_dtype, check_shape, tl, triton, uses_kernel

LONGEST = 8192  # numbers of a group that a program keeps: the rest of it is read again


@triton.jit
def kernel(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program i handles group i % groups of example i // groups.

    The group's first BLOCK positions stay in registers. If there are more they are read twice: the
    means of blocks and the sums of squares around these are merged (Chan, Golub and LeVeque 1979),
    for k positions with mean μ and m more with mean μₘ the squares grow by
    C (μₘ − μ)² k m / (k + m).

    σ = √(variance + eps), where the variance divides by C n. Everything is computed in fp32 and
    rounded where it is stored. Places may be too large for 32 bits: count groups in int64.

    Args:
        x, out: pointers to (batch, groups, C, n) elements of one dtype in contiguous memory.
        weight, bias: pointers to (groups, C) elements each in contiguous memory. Their dtypes may
            differ from x's, and from each other.
        mean, inverse_std: pointers to (batch, groups) fp32 numbers: μ and 1/σ are stored there, for
            the backward pass.
        groups, C, n: how many groups an example has, channels a group, and positions a channel.
        eps: ε, a float.
        CHANNELS, BLOCK: powers of 2; CHANNELS is at least C. BLOCK may be more than n, or less.
    """
    ### BEGIN SOLUTION
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    mu = tl.sum(X) / (C * tl.minimum(n, BLOCK))
    off = tl.where(there, X - mu, 0.0)
    squares = tl.sum(off * off)
    for k in range(BLOCK, n, BLOCK):
        m, more = tl.minimum(n - k, BLOCK), (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        mu_m = tl.sum(Xm) / (C * m)
        off = tl.where(more, Xm - mu_m, 0.0)
        squares += tl.sum(off * off) + C * (mu_m - mu) * (mu_m - mu) * k * (m / (k + m))
        mu += (mu_m - mu) * (m / (k + m))
    r = tl.rsqrt(squares / (C * n) + eps)
    W = tl.load(weight + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    B = tl.load(bias + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    Y = W * ((X - mu) * r) + B
    tl.store(out + at, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Y = W * ((Xm - mu) * r) + B
        tl.store(out + at + k, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=more)
    tl.store(mean + group, mu)
    tl.store(inverse_std + group, r)
    ### END SOLUTION


@triton.jit
def backward_kernel(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program i handles group i % groups of example i // groups; BLOCK positions stay in registers.

    With x̂ = (x − μ) / σ, y = w x̂ + b, s = sigmoid(y) and h = upstream · s (1 + y (1 − s)), which
    is the gradient of y, a channel adds Σ h x̂ to d_weight and Σ h to d_bias; with the means over
    the group, d_x = (w h − mean w h − x̂ · mean w h x̂) / σ. Everything is computed in fp32 and
    rounded where it is stored. If there are more positions than BLOCK, x and upstream are read
    twice from there on. Places may be too large for 32 bits: count groups in int64.

    Args:
        x, upstream, d_x: pointers to (batch, groups, C, n) elements of one dtype in contiguous
            memory.
        weight, bias: pointers to (groups, C) elements each in contiguous memory. Their dtypes may
            differ from x's, and from each other.
        mean, inverse_std: pointers to (batch, groups) fp32 numbers: μ and 1/σ, as `kernel` stored
            them.
        d_weight, d_bias: pointers to (batch, groups, C) fp32 numbers: an example's own sums, which
            the wrapper adds.
        groups, C, n: how many groups an example has, channels a group, and positions a channel.
        CHANNELS, BLOCK: powers of 2; CHANNELS is at least C. BLOCK may be more than n, or less.
    """
    ### BEGIN SOLUTION
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    W = tl.load(weight + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    B = tl.load(bias + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    mu, r = tl.load(mean + group), tl.load(inverse_std + group)
    normal = (tl.load(x + at, mask=there, other=0.0).to(tl.float32) - mu) * r
    s = tl.sigmoid(W * normal + B)
    h = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
    h *= s * (1 + (W * normal + B) * (1 - s))
    d_W, d_B = tl.sum(h * normal, 1, keep_dims=True), tl.sum(h, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        normal_m = (tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r
        s = tl.sigmoid(W * normal_m + B)
        h_m = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        h_m *= s * (1 + (W * normal_m + B) * (1 - s))
        d_W += tl.sum(h_m * normal_m, 1, keep_dims=True)
        d_B += tl.sum(h_m, 1, keep_dims=True)
    level, along = tl.sum(W * d_B) / (C * n), tl.sum(W * d_W) / (C * n)
    d_X = r * (W * h - level - normal * along)
    tl.store(d_x + at, d_X.to(d_x.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        normal_m = (tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r
        s = tl.sigmoid(W * normal_m + B)
        h_m = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        h_m *= s * (1 + (W * normal_m + B) * (1 - s))
        d_X = r * (W * h_m - level - normal_m * along)
        tl.store(d_x + at + k, d_X.to(d_x.dtype.element_ty), mask=more)
    tl.store(d_weight + group * C + c, d_W, mask=c < C)
    tl.store(d_bias + group * C + c, d_B, mask=c < C)
    ### END SOLUTION


def reference(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float = 1e-6) -> Tensor:
    """The same in torch."""
    return F.silu(torch.group_norm(x, groups, weight.to(x.dtype), bias.to(x.dtype), eps))


def group_norm_silu(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float = 1e-6
) -> Tensor:
    """silu(w (x − μ) / σ + b) with the statistics of each group of channels of each example.

    2 numbers move for each element, x is read and the result written, and 3 in the backward pass.
    Groups of more than 8192 numbers are read twice. Twice the same gradients, bit for bit: each
    example leaves its part of those of weight and bias, and these are added in a fixed order.

    Args:
        x: (batch, channels, *positions), of any strides.
        groups: how many; they divide the channels, and one holds at most 8192 of them.
        weight, bias: w and b, (channels,), of any strides; their dtype may differ from x's.
        eps: ε, added to the variance.
    Returns:
        A new tensor like x. It can be differentiated once.
    Raises:
        ValueError: if shapes or devices do not agree, the groups or a dtype do not fit.
    """
    check_alike(x=x)
    check_dtype(weight=weight, bias=bias)
    if x.dim() < 2:
        raise ValueError(f"x must be (batch, channels, *positions), got {tuple(x.shape)}")
    channels = x.shape[1]
    check_shape("weight", weight, (channels,), like=x)
    check_shape("bias", bias, (channels,), like=x)
    if groups < 1 or channels % groups or channels // groups > LONGEST:
        says = f"divide {channels} channels into at most {LONGEST} a group"
        raise ValueError(f"groups must {says}, got {groups}")
    if not x.numel():  # torch's group_norm leaves gradients of nothing undefined
        w, b = (p.to(x.dtype).reshape(-1, *[1] * (x.dim() - 2)) for p in (weight, bias))
        return x * w + b
    if not uses_kernel(x, weight, bias):
        return reference(x, groups, weight, bias, eps)
    return GroupNormSiLU.apply(x, groups, weight, bias, eps)


class GroupNormSiLU(torch.autograd.Function):
    """silu(GroupNorm(x)); x is kept for the backward pass with the mean and 1/σ of each group."""

    @staticmethod
    def forward(ctx, x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
        out = torch.empty_like(x)
        mean = torch.empty((len(x), groups), dtype=torch.float32, device=x.device)
        inverse_std = torch.empty_like(mean)
        c, n = x.shape[1] // groups, math.prod(x.shape[2:])
        channels, block, warps = _tile(c, n)
        kernel[(mean.numel(),)](
            x, weight, bias, out, mean, inverse_std, groups, c, n, float(eps),
            CHANNELS=channels, BLOCK=block, num_warps=warps,
        )  # fmt: skip
        ctx.save_for_backward(x, weight, bias, mean, inverse_std)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse_std = ctx.saved_tensors
        groups = mean.shape[1]
        d_x = torch.empty_like(x)
        d_weight = torch.empty(x.shape[:2], dtype=torch.float32, device=x.device)
        d_bias = torch.empty_like(d_weight)
        c, n = x.shape[1] // groups, math.prod(x.shape[2:])
        channels, block, warps = _tile(c, n)
        backward_kernel[(mean.numel(),)](
            x, weight, bias, mean, inverse_std, upstream.contiguous(), d_x, d_weight, d_bias,
            groups, c, n, CHANNELS=channels, BLOCK=block, num_warps=warps,
        )  # fmt: skip
        return d_x, None, d_weight.sum(0).to(weight.dtype), d_bias.sum(0).to(bias.dtype), None


def _tile(c: int, n: int) -> tuple[int, int, int]:
    """Channels and positions of a group that a program holds, and its warps."""
    channels = triton.next_power_of_2(c)
    block = min(triton.next_power_of_2(n), LONGEST // channels)
    return channels, block, min(max(1, channels * block // 512), 16)
