"""adaLN(x) = (x − μ) / σ · (1 + scale) + shift of a DiT block (slides 98–100; Peebles, Xie 2023).

μ and σ are those of one token, over its D numbers; scale and shift belong to an example, and are
made of its level and its condition.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from cs231n_gen.kernels.launch import check_alike, check_dtype, check_shape, tl, triton, uses_kernel

EPS = 1e-6
TILE = 4096  # numbers a program has at hand: some tokens, so that it reads scale and shift once
WIDEST = 16384  # numbers of a token that fit into the registers of one program
LONGEST = 64  # tokens that a program of the backward pass adds up
PROGRAMS = 512  # that keep a large GPU busy


@triton.jit
def kernel(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Program (i, j) handles ROWS tokens of example i, from token j · ROWS on, those that exist.

    A token is D numbers. μ is their mean, σ = √(mean (x − μ)² + eps), and out = (x − μ) / σ · (1 +
    scale) + shift. Everything is computed in fp32; out is stored in its own dtype. Places may be
    too large for 32 bits: count examples in int64. One example alone fits.

    Args:
        x, out: pointers to (batch, T, D) elements in contiguous memory, of one dtype.
        scale, shift: pointers to (batch, D) elements in contiguous memory, of any dtypes.
        mean, inverse_std: pointers to (batch, T) fp32 numbers in contiguous memory: where μ and
            1/σ of every token are stored, for the backward pass.
        T, D: tokens of an example, and numbers of a token.
        eps: a float.
        ROWS: a power of 2, which need not divide T and may be more.
        BLOCK: a power of 2, at least D: the numbers of a token fit.
    """
    ### BEGIN SOLUTION
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / D + eps)
    Y = off * r * (1 + S) + H
    tl.store(out + row * D + i, Y.to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)
    ### END SOLUTION


@triton.jit
def backward_kernel(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program (i, j) handles CHUNK tokens of example i, from token j · CHUNK on, those that exist,
    ROWS of them at a time.

    With x̂ = (x − μ) / σ and g = upstream · (1 + scale): d_x = (g − mean g − x̂ · mean g x̂) / σ, the
    means over the D numbers of a token. Every token of an example adds upstream · x̂ to its d_scale
    and upstream to its d_shift: program (i, j) stores the sums over its own chunk, and the wrapper
    adds those of the chunks. Everything is computed in fp32; d_x is stored in its own dtype. Places
    may be too large for 32 bits: count examples in int64. One example alone fits.

    Args:
        x, upstream, d_x: pointers to (batch, T, D) elements in contiguous memory, of one dtype.
        scale: pointer to (batch, D) elements in contiguous memory, of any dtype.
        mean, inverse_std: pointers to (batch, T) fp32 numbers: μ and 1/σ, as `kernel` stored them.
        d_scale, d_shift: pointers to (batch, chunks, D) fp32 numbers in contiguous memory; chunks
            is tl.num_programs(1).
        T, D: tokens of an example, and numbers of a token.
        CHUNK: a multiple of ROWS, which need not divide T and may be more.
        ROWS: a power of 2.
        BLOCK: a power of 2, at least D: the numbers of a token fit.
    """
    ### BEGIN SOLUTION
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_S, d_H = tl.zeros([1, BLOCK], tl.float32), tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        row, there = example * T + t, (t < T) & (i < D)
        X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + row * D + i, mask=there, other=0.0).to(tl.float32)
        mu = tl.load(mean + row, mask=t < T, other=0.0)
        r = tl.load(inverse_std + row, mask=t < T, other=0.0)
        normal = tl.where(there, (X - mu) * r, 0.0)
        d_S += tl.sum(G * normal, 0, keep_dims=True)
        d_H += tl.sum(G, 0, keep_dims=True)
        g = G * (1 + S)
        along = tl.sum(g * normal, 1, keep_dims=True) / D
        d_X = r * (g - tl.sum(g, 1, keep_dims=True) / D - normal * along)
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)
    ### END SOLUTION


def reference(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """adaLN in torch."""
    scale, shift = scale.to(x.dtype)[:, None], shift.to(x.dtype)[:, None]  # (batch, 1, dim)
    return F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale) + shift


def adaln(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """LayerNorm(x) · (1 + scale) + shift, without weights of its own and with ε = 1e-6.

    2 numbers move for each element, x is read and the result written, and 3 in the backward pass.
    Twice the same gradients, bit for bit: an example's chunks leave partial sums of those of scale
    and shift, which are added in a fixed order.

    Args:
        x: tokens, (batch, tokens, dim), of any strides.
        scale, shift: (batch, dim), of any strides; their dtype may differ from that of x.
    Returns:
        A new tensor like x. It can be differentiated once.
    Raises:
        ValueError: if shapes or devices do not agree, dim is over 16384, or a dtype does not fit.
    """
    check_alike(x=x)
    check_tokens(x, scale=scale, shift=shift)
    if not uses_kernel(x, scale, shift) or not x.numel():
        return reference(x, scale, shift)
    return AdaLN.apply(x, scale, shift)


class AdaLN(torch.autograd.Function):
    """adaLN; x is kept for the backward pass with the mean and 1/σ of each token."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        x, scale, shift = x.contiguous(), scale.contiguous(), shift.contiguous()
        batch, tokens, dim = x.shape
        out = torch.empty_like(x)
        mean = torch.empty((batch, tokens), dtype=torch.float32, device=x.device)
        inverse_std = torch.empty_like(mean)
        rows, block, warps = tile(tokens, dim)
        kernel[batch, triton.cdiv(tokens, rows)](
            x, scale, shift, out, mean, inverse_std, tokens, dim, EPS,
            ROWS=rows, BLOCK=block, num_warps=warps,
        )  # fmt: skip
        ctx.save_for_backward(x, scale, mean, inverse_std)
        ctx.shift_dtype = shift.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, scale, mean, inverse_std = ctx.saved_tensors
        batch, tokens, dim = x.shape
        rows, block, warps = tile(tokens, dim)
        chunk = chunk_of(batch, tokens, rows)
        chunks = triton.cdiv(tokens, chunk)
        d_x = torch.empty_like(x)
        d_scale = torch.empty((batch, chunks, dim), dtype=torch.float32, device=x.device)
        d_shift = torch.empty_like(d_scale)
        backward_kernel[batch, chunks](
            x, scale, mean, inverse_std, upstream.contiguous(), d_x, d_scale, d_shift, tokens, dim,
            CHUNK=chunk, ROWS=rows, BLOCK=block, num_warps=warps,
        )  # fmt: skip
        return d_x, d_scale.sum(1).to(scale.dtype), d_shift.sum(1).to(ctx.shift_dtype)


def tile(tokens: int, dim: int) -> tuple[int, int, int]:
    """Tokens and numbers of each that a program holds, and its warps: 16 numbers a thread."""
    block = triton.next_power_of_2(dim)
    rows = min(max(1, TILE // block), triton.next_power_of_2(tokens))
    return rows, block, min(max(1, rows * block // 512), 16)


def chunk_of(batch: int, tokens: int, rows: int) -> int:
    """Tokens a program of the backward pass does: the more, the fewer partial sums to write."""
    chunk = rows
    while chunk < min(LONGEST, tokens) and batch * tokens >= 2 * chunk * PROGRAMS:
        chunk *= 2
    return chunk


def check_tokens(x: Tensor, **rows: Tensor) -> None:
    """Raise ValueError unless x holds tokens, and each of the others one row an example."""
    if x.dim() != 3:
        raise ValueError(f"x must be (batch, tokens, dim), got {tuple(x.shape)}")
    batch, _, dim = x.shape
    if dim > WIDEST:
        raise ValueError(f"x must be (batch, tokens, dim) with dim at most {WIDEST}, got {dim}")
    check_dtype(**rows)
    for name, row in rows.items():
        check_shape(name, row, (batch, dim), like=x)
