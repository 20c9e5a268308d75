"""AdaIN, how a style enters StyleGAN's generator (slide 32; Karras et al. 2019).

    AdaIN(x, w, b) = w (x − μ(x)) / σ(x) + b

μ and σ are those of one channel of one example, over its H × W numbers: an instance norm, whose
scale and bias are not learned but come from the style.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cs231n_gen.kernels.launch import check_alike, check_dtype, check_shape, tl, triton, uses_kernel

EPS = 1e-5
TILE = 2048  # numbers a program has at hand: many channels, if they are small
LONGEST = 8192  # numbers of a channel that a program keeps: the rest of it is read again


@triton.jit
def kernel(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Program i handles rows i · ROWS … (i + 1) · ROWS − 1, those that exist; a row is a channel of
    an example, n numbers.

    Each row has its own μ, σ = √(variance + ε), where the variance divides by n, and style w and b:
    out = w (x − μ) / σ + b. All is computed in fp32, whatever the dtypes in memory. Places may be
    too large for 32 bits: count rows in int64.

    The first BLOCK numbers of a row stay in registers and are read once. Longer rows are read twice
    from there on: their blocks' means and sums of squares around these are merged (Chan, Golub and
    LeVeque 1979), for k numbers with mean μ and m more with mean μₘ: the squares grow by
    (μₘ − μ)² · k m / (k + m), and μ moves by (μₘ − μ) · m / (k + m).

    Args:
        x, out: pointers to (rows, n) elements of one dtype in contiguous memory.
        scale, bias: pointers to rows elements each in contiguous memory: w and b. Their dtypes
            may differ from x's, and from each other.
        mean, inverse_std: pointers to rows fp32 numbers: μ and 1/σ are stored there, for the
            backward pass.
        rows, n: integers. The last program may have fewer than ROWS rows to do.
        eps: ε, a float.
        ROWS, BLOCK: powers of 2, the tile that a program holds. BLOCK may be more than n, or less.
    """
    ### BEGIN SOLUTION
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    i, real = tl.arange(0, BLOCK)[None, :], row < rows
    at, there = row * n + i, real & (i < n)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / tl.minimum(n, BLOCK)
    off = tl.where(there, X - mu, 0.0)
    squares = tl.sum(off * off, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        m, more = tl.minimum(n - k, BLOCK), real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        mu_m = tl.sum(Xm, 1, keep_dims=True) / m
        off = tl.where(more, Xm - mu_m, 0.0)
        squares += tl.sum(off * off, 1, keep_dims=True)
        squares += (mu_m - mu) * (mu_m - mu) * k * (m / (k + m))
        mu += (mu_m - mu) * (m / (k + m))
    r = tl.rsqrt(squares / n + eps)
    W = tl.load(scale + row, mask=real, other=0.0).to(tl.float32)
    B = tl.load(bias + row, mask=real, other=0.0).to(tl.float32)
    tl.store(out + at, (W * ((X - mu) * r) + B).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        tl.store(out + at + k, (W * ((Xm - mu) * r) + B).to(out.dtype.element_ty), mask=more)
    tl.store(mean + row, mu, mask=real)
    tl.store(inverse_std + row, r, mask=real)
    ### END SOLUTION


@triton.jit
def backward_kernel(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program i handles rows i · ROWS … (i + 1) · ROWS − 1, those that exist; a row is a channel of
    an example, n numbers.

    With x̂ = (x − μ) / σ and G = upstream, sums and means over a row: d_bias = Σ G, d_scale = Σ G x̂,
    and d_x = w / σ · (G − d_bias / n − x̂ · d_scale / n). All is computed in fp32, and rounded
    where it is stored. Places may be too large for 32 bits: count rows in int64.

    The first BLOCK numbers of a row, of x and of upstream, stay in registers and are read once.
    Longer rows are read twice from there on: for the sums, and again for d_x.

    Args:
        x, upstream, d_x: pointers to (rows, n) elements of one dtype in contiguous memory;
            upstream is the gradient of the result.
        scale, d_scale: pointers to rows elements of one dtype in contiguous memory, w and its
            gradient. The dtype may differ from x's.
        d_bias: pointer to rows elements, in the dtype of the bias.
        mean, inverse_std: pointers to rows fp32 numbers: μ and 1/σ, as `kernel` stored them.
        rows, n: integers. The last program may have fewer than ROWS rows to do.
        ROWS, BLOCK: powers of 2, the tile that a program holds. BLOCK may be more than n, or less.
    """
    ### BEGIN SOLUTION
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    i, real = tl.arange(0, BLOCK)[None, :], row < rows
    at, there = row * n + i, real & (i < n)
    W = tl.load(scale + row, mask=real, other=0.0).to(tl.float32)
    mu = tl.load(mean + row, mask=real, other=0.0)
    r = tl.load(inverse_std + row, mask=real, other=0.0)
    normal = (tl.load(x + at, mask=there, other=0.0).to(tl.float32) - mu) * r
    G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
    d_W, d_B = tl.sum(G * normal, 1, keep_dims=True), tl.sum(G, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Gm = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        d_W += tl.sum(Gm * ((Xm - mu) * r), 1, keep_dims=True)
        d_B += tl.sum(Gm, 1, keep_dims=True)
    d_X = W * r * (G - d_B / n - normal * (d_W / n))
    tl.store(d_x + at, d_X.to(d_x.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Gm = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        d_X = W * r * (Gm - d_B / n - (Xm - mu) * r * (d_W / n))
        tl.store(d_x + at + k, d_X.to(d_x.dtype.element_ty), mask=more)
    tl.store(d_scale + row, d_W.to(d_scale.dtype.element_ty), mask=real)
    tl.store(d_bias + row, d_B.to(d_bias.dtype.element_ty), mask=real)
    ### END SOLUTION


def reference(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """The same in torch."""
    w, b = scale.to(x.dtype)[..., None, None], bias.to(x.dtype)[..., None, None]  # (b, c, 1, 1)
    mu = x.mean((2, 3), keepdim=True)
    sigma = (x.var((2, 3), correction=0, keepdim=True) + EPS).sqrt()
    return w * (x - mu) / sigma + b


def adain(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """w (x − μ(x)) / σ(x) + b with the statistics of each channel of each example, and ε = 1e-5.

    2 numbers move for each element, x is read and the result written, and 3 in the backward pass.
    Channels of more than 8192 numbers are read twice.

    Args:
        x: images or features, (batch, channels, height, width), of any strides.
        scale, bias: w and b, (batch, channels), of any strides; their dtype may differ from x's.
    Returns:
        A new tensor like x. It can be differentiated once.
    Raises:
        ValueError: if shapes or devices do not agree, or a dtype does not fit.
    """
    check_alike(x=x)
    check_dtype(scale=scale, bias=bias)
    if x.dim() != 4:
        raise ValueError(f"x must be (batch, channels, height, width), got {tuple(x.shape)}")
    check_shape("scale", scale, x.shape[:2], like=x)
    check_shape("bias", bias, x.shape[:2], like=x)
    if not x.numel():
        return x * scale.to(x.dtype)[..., None, None] + bias.to(x.dtype)[..., None, None]
    if not uses_kernel(x, scale, bias):
        return reference(x, scale, bias)
    return AdaIN.apply(x, scale, bias)


class AdaIN(torch.autograd.Function):
    """AdaIN; x is kept for the backward pass with the mean and 1/σ of each channel."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        x, scale, bias = x.contiguous(), scale.contiguous(), bias.contiguous()
        out = torch.empty_like(x)
        mean = torch.empty(x.shape[:2], dtype=torch.float32, device=x.device)
        inverse_std = torch.empty_like(mean)
        rows, n = mean.numel(), x[0, 0].numel()
        tile, block, warps = _tile(rows, n)
        kernel[(triton.cdiv(rows, tile),)](
            x, scale, bias, out, mean, inverse_std, rows, n, EPS,
            ROWS=tile, BLOCK=block, num_warps=warps,
        )  # fmt: skip
        ctx.save_for_backward(x, scale, mean, inverse_std)
        ctx.bias_dtype = bias.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, scale, mean, inverse_std = ctx.saved_tensors
        d_x, d_scale = torch.empty_like(x), torch.empty_like(scale)
        d_bias = torch.empty_like(scale, dtype=ctx.bias_dtype)
        rows, n = mean.numel(), x[0, 0].numel()
        tile, block, warps = _tile(rows, n)
        backward_kernel[(triton.cdiv(rows, tile),)](
            x, scale, mean, inverse_std, upstream.contiguous(), d_x, d_scale, d_bias, rows, n,
            ROWS=tile, BLOCK=block, num_warps=warps,
        )  # fmt: skip
        return d_x, d_scale, d_bias


def _tile(rows: int, n: int) -> tuple[int, int, int]:
    """Rows and numbers of each that a program holds, and its warps."""
    block = min(triton.next_power_of_2(n), LONGEST)
    tile = min(max(1, TILE // block), triton.next_power_of_2(rows))
    return tile, block, min(max(1, tile * block // 512), 16)
