"""x + gate · y, how a DiT block adds to its tokens (slides 98–100; Peebles and Xie 2023).

The gate belongs to an example, and is made of its level and its condition. adaLN-Zero starts with
gate = 0, as the identity.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cs231n_gen.kernels.adaln import check_tokens, chunk_of, tile
from cs231n_gen.kernels.launch import check_alike, tl, triton, uses_kernel


@triton.jit
def kernel(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Program (i, j) handles ROWS tokens of example i, from token j · ROWS on, those that exist.

    out = x + gate · y, computed in fp32 and stored in the dtype of out. Places may be too large for
    32 bits: count examples in int64. One example alone fits.

    Args:
        x, y, out: pointers to (batch, T, D) elements in contiguous memory, of one dtype.
        gate: pointer to (batch, D) elements in contiguous memory, of any dtype: all tokens of an
            example share its gate.
        T, D: tokens of an example, and numbers of a token.
        ROWS: a power of 2, which need not divide T and may be more.
        BLOCK: a power of 2, at least D: the numbers of a token fit.
    """
    ### BEGIN SOLUTION
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (example * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, (X + A * Y).to(out.dtype.element_ty), mask=there)
    ### END SOLUTION


@triton.jit
def backward_kernel(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program (i, j) handles CHUNK tokens of example i, from token j · CHUNK on, those that exist,
    ROWS of them at a time.

    d_y = gate · upstream. Every token of an example adds y · upstream to its d_gate: program (i, j)
    stores the sum over its own chunk, and the wrapper adds those of the chunks. d_x is upstream
    itself, which the wrapper passes on. Everything is computed in fp32; d_y is stored in its own
    dtype. Places may be too large for 32 bits: count examples in int64. One example alone fits.

    Args:
        gate: pointer to (batch, D) elements in contiguous memory, of any dtype.
        y, upstream, d_y: pointers to (batch, T, D) elements in contiguous memory, of one dtype.
        d_gate: pointer to (batch, chunks, D) fp32 numbers in contiguous memory; chunks is
            tl.num_programs(1).
        T, D: tokens of an example, and numbers of a token.
        CHUNK: a multiple of ROWS, which need not divide T and may be more.
        ROWS: a power of 2.
        BLOCK: a power of 2, at least D: the numbers of a token fit.
    """
    ### BEGIN SOLUTION
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    A = tl.load(gate + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_A = tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        at, there = (example * T + t) * D + i, (t < T) & (i < D)
        Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
        d_A += tl.sum(G * Y, 0, keep_dims=True)
        tl.store(d_y + at, (A * G).to(d_y.dtype.element_ty), mask=there)
    part = example * tl.num_programs(1) + tl.program_id(1)
    tl.store(d_gate + part * D + i, d_A, mask=i < D)
    ### END SOLUTION


def reference(x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
    """The gated residual in torch."""
    return x + gate.to(x.dtype)[:, None] * y


def gated_residual(x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
    """x + gate · y, how the output y of attention or of an MLP joins the tokens.

    3 numbers move for each element, and 3 in the backward pass.

    Args:
        x, y: (batch, tokens, dim), of any strides.
        gate: (batch, dim), of any strides; its dtype may differ from that of x.
    Returns:
        A new tensor like x. It can be differentiated once.
    Raises:
        ValueError: if shapes or devices do not agree, dim is over 16384, or a dtype does not fit.
    """
    check_alike(x=x, y=y)
    check_tokens(x, gate=gate)
    if not uses_kernel(x, gate, y) or not x.numel():
        return reference(x, gate, y)
    return GatedResidual.apply(x, gate, y)


class GatedResidual(torch.autograd.Function):
    """x + gate · y; gate and y are kept for the backward pass."""

    @staticmethod
    def forward(ctx, x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
        x, gate, y = x.contiguous(), gate.contiguous(), y.contiguous()
        batch, tokens, dim = x.shape
        out = torch.empty_like(x)
        rows, block, warps = tile(tokens, dim)
        kernel[batch, triton.cdiv(tokens, rows)](
            x, gate, y, out, tokens, dim, ROWS=rows, BLOCK=block, num_warps=warps
        )
        ctx.save_for_backward(gate, y)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gate, y = ctx.saved_tensors
        batch, tokens, dim = y.shape
        rows, block, warps = tile(tokens, dim)
        chunk = chunk_of(batch, tokens, rows)
        chunks = triton.cdiv(tokens, chunk)
        d_y = torch.empty_like(y)
        d_gate = torch.empty((batch, chunks, dim), dtype=torch.float32, device=y.device)
        backward_kernel[batch, chunks](
            gate, y, upstream.contiguous(), d_y, d_gate, tokens, dim,
            CHUNK=chunk, ROWS=rows, BLOCK=block, num_warps=warps,
        )  # fmt: skip
        return upstream, d_gate.sum(1).to(gate.dtype), d_y
