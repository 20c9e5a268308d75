"""The queries and keys of attention: normalised, so that it stays stable, then turned by RoPE.

    x̂ = x / √(mean x² + ε) · w                                    RMSNorm, Zhang and Sennrich 2019
    out = (x̂₁ cos θ − x̂₂ sin θ,  x̂₂ cos θ + x̂₁ sin θ)              RoPE, Su et al. 2021

x̂₁ and x̂₂ are the halves of x̂: number i of the one and number i of the other are a point that is
turned by the angle θ = t · base^(−2i / dim) of token t. Turned both, a query and a key have a
product that depends on how far apart their tokens are, and not on where.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cs231n_gen.kernels.launch import check_alike, check_shape, tl, triton, uses_kernel

TILE = 2048  # numbers of each half that a program holds
WIDEST = 16384  # numbers of a head that fit into the registers of one program


@triton.jit
def kernel(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """Program (i, j, 0) does ROWS tokens of q, from token j · ROWS on, those that exist, in head
    i % heads of example i // heads; program (i, j, 1) does those of k.

    In fp32: x̂ = x / √(mean x² + eps) · weight, the mean over the D numbers of a token, then
    out = (x̂₁ cos − x̂₂ sin, x̂₂ cos + x̂₁ sin), of the halves of x̂. Only what is stored is rounded.
    Places may be too large for 32 bits: count heads and tokens in int64.

    Args:
        q, k: pointers to (batch, heads, T, D) elements; those of a token are contiguous, and the
            three strides, in elements, say how far it is to the next example, head and token, in q
            and in k alike.
        q_weight, k_weight: pointers to D elements in contiguous memory, maybe of another dtype.
        cos, sin: pointers to (T, D/2) elements in contiguous memory: all heads have the same.
        q_out, k_out: pointers to (batch, heads, T, D) elements in contiguous memory.
        heads, T, D: whole numbers, D an even one.
        eps: a float, at least 0.
        ROWS: a power of 2, by which T need not be divisible.
        HALF: a power of 2, at least D/2.
    """
    ### BEGIN SOLUTION
    first = tl.program_id(2) == 0
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, half = tl.program_id(0).to(tl.int64), D // 2
    t = tl.program_id(1).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, HALF)[None, :]
    there = (t < T) & (i < half)
    at = head // heads * example_stride + head % heads * head_stride + t * token_stride + i
    X1 = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    X2 = tl.load(x + at + half, mask=there, other=0.0).to(tl.float32)
    W1 = tl.load(weight + i, mask=i < half, other=0.0).to(tl.float32)
    W2 = tl.load(weight + i + half, mask=i < half, other=0.0).to(tl.float32)
    C = tl.load(cos + t * half + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(sin + t * half + i, mask=there, other=0.0).to(tl.float32)
    square = tl.sum(X1 * X1 + X2 * X2, 1, keep_dims=True) / D
    r = tl.rsqrt(tl.where(t < T, square + eps, 1.0))
    X1, X2 = X1 * r * W1, X2 * r * W2
    to = (head * T + t) * D + i
    tl.store(out + to, (X1 * C - X2 * S).to(out.dtype.element_ty), mask=there)
    tl.store(out + to + half, (X2 * C + X1 * S).to(out.dtype.element_ty), mask=there)
    ### END SOLUTION


@triton.jit
def backward_kernel(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """Program (i, j, 0) does ROWS tokens of q, from token j · ROWS on, those that exist, in head
    i % heads of example i // heads; program (i, j, 1) does those of k.

    In fp32: with n = x / √(mean x² + eps), without the weight w, and g the upstream gradient turned
    back, by −θ, d_x = (w g − n · mean(w g n)) / √(mean x² + eps); means are over the D numbers of a
    token. Every token adds g n to the gradient of w: a program stores the sum over its own tokens.
    Only what is stored is rounded. Places may be too large for 32 bits: count heads and tokens in
    int64.

    Args:
        q, k: pointers to (batch, heads, T, D) elements; those of a token are contiguous, and the
            three strides, in elements, say how far it is to the next example, head and token, in q
            and in k alike.
        q_weight, k_weight: pointers to D elements in contiguous memory, maybe of another dtype.
        cos, sin: pointers to (T, D/2) elements in contiguous memory: all heads have the same.
        q_upstream, k_upstream, d_q, d_k: pointers to (batch, heads, T, D) elements that lie side by
            side: the gradients of the results, and those of q and k, which are stored.
        d_q_weight, d_k_weight: pointers to (programs i, programs j, D) fp32 numbers that lie side
            by side, and hold nothing yet: a program's own D. The wrapper adds them up.
        heads, T, D, eps, ROWS, HALF: as in `kernel`.
    """
    ### BEGIN SOLUTION
    first = tl.program_id(2) == 0
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, half = tl.program_id(0).to(tl.int64), D // 2
    t = tl.program_id(1).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, HALF)[None, :]
    there = (t < T) & (i < half)
    at = head // heads * example_stride + head % heads * head_stride + t * token_stride + i
    to = (head * T + t) * D + i
    X1 = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    X2 = tl.load(x + at + half, mask=there, other=0.0).to(tl.float32)
    G1 = tl.load(upstream + to, mask=there, other=0.0).to(tl.float32)
    G2 = tl.load(upstream + to + half, mask=there, other=0.0).to(tl.float32)
    W1 = tl.load(weight + i, mask=i < half, other=0.0).to(tl.float32)
    W2 = tl.load(weight + i + half, mask=i < half, other=0.0).to(tl.float32)
    C = tl.load(cos + t * half + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(sin + t * half + i, mask=there, other=0.0).to(tl.float32)
    square = tl.sum(X1 * X1 + X2 * X2, 1, keep_dims=True) / D
    r = tl.rsqrt(tl.where(t < T, square + eps, 1.0))
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_weight + part, tl.sum(g1 * n1, 0, keep_dims=True), mask=i < half)
    tl.store(d_weight + part + half, tl.sum(g2 * n2, 0, keep_dims=True), mask=i < half)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    tl.store(d_x + to, (r * (W1 * g1 - n1 * along)).to(d_x.dtype.element_ty), mask=there)
    tl.store(d_x + to + half, (r * (W2 * g2 - n2 * along)).to(d_x.dtype.element_ty), mask=there)
    ### END SOLUTION


def reference(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """The same in torch."""
    cos, sin = cos.detach(), sin.detach()
    turned = []
    for x, weight in [(q, q_weight), (k, k_weight)]:
        normal = x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * weight.to(x.dtype)
        x1, x2 = normal.chunk(2, dim=-1)
        out = torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], dim=-1)
        turned.append(out.to(x.dtype))
    return turned[0], turned[1]


def rope_angles(
    tokens: int, dim: int, base: float = 10000.0, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """cos θ and sin θ of the angles θ = t · base^(−2i / dim), for token t and pair i.

    Args:
        tokens: how many.
        dim: numbers of a head, an even number.
        base: the slowest pair turns by nearly 1 / base from one token to the next.
        device: of the results.
    Returns:
        Two tensors, (tokens, dim / 2), in fp32.
    Raises:
        ValueError: if dim is odd.
    """
    if dim % 2:
        raise ValueError(f"dim must be even (two numbers make a point), got {dim}")
    i = torch.arange(dim // 2, dtype=torch.float64, device=device)
    t = torch.arange(tokens, dtype=torch.float64, device=device)
    theta = t[:, None] * base ** (-2 * i / max(dim, 1))  # (t, dim/2)
    return theta.cos().float(), theta.sin().float()


def qk_norm_rope(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """RMSNorm of every query and key over its own numbers, then RoPE.

    2 numbers move for each element of q and of k, and 3 in the backward pass. Slices of one tensor
    of q, k and v are read where they lie; other strides may cost a copy. Twice the same gradients,
    bit for bit: programs leave partial sums of the weights', which are added in a fixed order.

    Args:
        q, k: (batch, heads, tokens, dim), dim even, of any strides.
        q_weight, k_weight: w, (dim,), of any strides and one dtype, which may differ from q's.
        cos, sin: those of `rope_angles`, (tokens, dim / 2); they get no gradient.
        eps: ε, added to the mean square.
    Returns:
        q and k, normalised and turned: new tensors. They can be differentiated once.
    Raises:
        ValueError: if shapes, dtypes or devices do not agree, or dim is odd or over 16384.
    """
    check_alike(q=q, k=k)
    check_alike(q_weight=q_weight, k_weight=k_weight)
    check_alike(cos=cos, sin=sin)
    if q.dim() != 4 or q.shape[-1] % 2 or q.shape[-1] > WIDEST:
        says = f"(batch, heads, tokens, dim), dim even and at most {WIDEST}"
        raise ValueError(f"q must be {says}, got {tuple(q.shape)}")
    tokens, dim = q.shape[2:]
    check_shape("q_weight", q_weight, (dim,), like=q)
    check_shape("cos", cos, (tokens, dim // 2), like=q)
    if not uses_kernel(q, k, q_weight, cos) or not q.numel():
        return reference(q, k, q_weight, k_weight, cos, sin, eps)
    return QKNormRoPE.apply(q, k, q_weight, k_weight, cos, sin, eps)


class QKNormRoPE(torch.autograd.Function):
    """RMSNorm and RoPE; q and k are kept for the backward pass, which computes the norms again."""

    @staticmethod
    def forward(
        ctx,
        q: Tensor,
        k: Tensor,
        q_weight: Tensor,
        k_weight: Tensor,
        cos: Tensor,
        sin: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor]:
        if q.stride() != k.stride() or q.stride(-1) != 1:
            q, k = q.contiguous(), k.contiguous()
        q_weight, k_weight = q_weight.contiguous(), k_weight.contiguous()
        cos, sin = cos.contiguous(), sin.contiguous()
        q_out, k_out = (torch.empty(q.shape, dtype=q.dtype, device=q.device) for _ in "qk")
        batch, heads, tokens, dim = q.shape
        rows, half, warps = _tile(tokens, dim)
        kernel[batch * heads, triton.cdiv(tokens, rows), 2](
            q, k, q_weight, k_weight, cos, sin, q_out, k_out,
            *q.stride()[:3], heads, tokens, dim, float(eps),
            ROWS=rows, HALF=half, num_warps=warps,
        )  # fmt: skip
        ctx.save_for_backward(q, k, q_weight, k_weight, cos, sin)
        ctx.eps = float(eps)
        return q_out, k_out

    @staticmethod
    @once_differentiable
    def backward(ctx, q_upstream: Tensor, k_upstream: Tensor) -> tuple[Tensor | None, ...]:
        q, k, q_weight, k_weight, cos, sin = ctx.saved_tensors
        batch, heads, tokens, dim = q.shape
        rows, half, warps = _tile(tokens, dim)
        blocks = triton.cdiv(tokens, rows)
        d_q, d_k = (torch.empty(q.shape, dtype=q.dtype, device=q.device) for _ in "qk")
        parts = torch.empty((2, batch * heads * blocks, dim), dtype=torch.float32, device=q.device)
        backward_kernel[batch * heads, blocks, 2](
            q, k, q_weight, k_weight, cos, sin, q_upstream.contiguous(), k_upstream.contiguous(),
            d_q, d_k, parts[0], parts[1], *q.stride()[:3], heads, tokens, dim, ctx.eps,
            ROWS=rows, HALF=half, num_warps=warps,
        )  # fmt: skip
        d_q_weight, d_k_weight = parts.sum(1).to(q_weight.dtype)
        return d_q, d_k, d_q_weight, d_k_weight, None, None, None


def _tile(tokens: int, dim: int) -> tuple[int, int, int]:
    """Tokens and numbers of each half that a program holds, and its warps."""
    half = triton.next_power_of_2(dim // 2)
    rows = min(max(1, TILE // half), triton.next_power_of_2(tokens))
    return rows, half, min(max(1, rows * half // 256), 16)
