"""Typical wrong kernels for adaLN, each with the sentence that explains it."""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.launch import tl, triton

FORWARD = "kernels.adaln.kernel"
BACKWARD = "kernels.adaln.backward_kernel"


@mistake(
    FORWARD,
    "Lanes beyond D are not masked: they read the numbers of the next token, which enter your mean "
    "and variance, and overwrite its results. Mask every access with i < D.",
)
@triton.jit
def no_mask_on_numbers(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row = example * T + t
    X = tl.load(x + row * D + i, mask=t < T, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i).to(tl.float32)
    H = tl.load(shift + example * D + i).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = X - mu
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / D + eps)
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=t < T)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    FORWARD,
    "The last program of an example has fewer than ROWS tokens left, and yours goes on into the "
    "next example: it works on tokens that belong to another program, with a wrong scale and "
    "shift. Mask with t < T as well.",
)
@triton.jit
def no_mask_on_tokens(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (i < D) & (t >= 0)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / D + eps)
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu)
    tl.store(inverse_std + row, r)


@mistake(
    FORWARD,
    "The mask of the tokens is t <= T, one too far: the last token of an example is T − 1, and "
    "token T is the first of the next example.",
)
@triton.jit
def a_token_too_far(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t <= T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / D + eps)
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t <= T)
    tl.store(inverse_std + row, r, mask=t <= T)


@mistake(
    FORWARD,
    "Every program works on the first tokens of its example, and the others are left. Program "
    "(i, j) begins at token j · ROWS: add tl.program_id(1) * ROWS.",
)
@triton.jit
def always_the_first_tokens(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / D + eps)
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    FORWARD,
    "Every example is scaled and shifted like the first one. Those of example i begin at element "
    "i · D of scale and shift.",
)
@triton.jit
def scale_of_the_first_example(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / D + eps)
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    FORWARD,
    "The variance is too large where D is no power of 2: lanes beyond D hold 0, and 0 − μ is not "
    "0. Set them to 0 once more after you subtract μ, with tl.where.",
)
@triton.jit
def masked_lanes_in_the_variance(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = X - mu
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / D + eps)
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    FORWARD,
    "You divide by BLOCK, which counts lanes that hold no number. A token has D numbers.",
)
@triton.jit
def divided_by_block(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / BLOCK
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / BLOCK + eps)
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    FORWARD,
    "This is the variance of a sample, with D − 1. LayerNorm divides the sum of squares by D.",
)
@triton.jit
def variance_of_a_sample(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / (D - 1) + eps)
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    FORWARD,
    "You divide by √variance + ε. ε belongs under the root, to the variance: √(variance + ε).",
)
@triton.jit
def eps_outside_of_the_root(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = tl.where(there, X - mu, 0.0)
    r = 1 / (tl.sqrt(tl.sum(off * off, 1, keep_dims=True) / D) + eps)
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    FORWARD,
    "The variance as mean x² − μ²: where μ is large the two nearly cancel, and all digits are "
    "lost. You have the whole token at hand: subtract μ first, then square.",
)
@triton.jit
def square_of_the_mean_subtracted(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    var = tl.maximum(tl.sum(X * X, 1, keep_dims=True) / D - mu * mu, 0.0)
    r = tl.rsqrt(var + eps)
    Y = (X - mu) * r * (1 + S) + H
    tl.store(out + row * D + i, Y.to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    FORWARD,
    "You multiply by scale instead of 1 + scale. A scale of 0, as adaLN-Zero begins with, would "
    "leave nothing of the token.",
)
@triton.jit
def scale_without_one(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
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
    tl.store(out + row * D + i, (off * r * S + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(FORWARD, "scale and shift are exchanged: (1 + scale) multiplies, shift is added.")
@triton.jit
def scale_and_shift_exchanged(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
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
    tl.store(out + row * D + i, (off * r * (1 + H) + S).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    FORWARD,
    "You add up along the wrong axis: μ and σ belong to one token, over its D numbers, and not to "
    "one place of several tokens. In a (ROWS, BLOCK) tile that is axis 1.",
)
@triton.jit
def along_the_tokens(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    count = tl.minimum(T - tl.program_id(1) * ROWS, ROWS)
    mu = tl.sum(X, 0, keep_dims=True) / count
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 0, keep_dims=True) / count + eps)
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    one_each = tl.zeros([ROWS, 1], tl.float32)
    tl.store(mean + row, tl.sum(mu, 1, keep_dims=True) / D + one_each, mask=t < T)
    tl.store(inverse_std + row, tl.sum(r, 1, keep_dims=True) / D + one_each, mask=t < T)


@mistake(
    FORWARD,
    "You calculate in the dtype of the tokens. In half precision a sum of some hundred squares has "
    "only 3 digits: convert what you load with .to(tl.float32), and round once, at the store.",
)
@triton.jit
def calculated_in_half_precision(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    kind: tl.constexpr = x.dtype.element_ty
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0)
    mu = (tl.sum(X, 1, keep_dims=True) / D).to(kind)
    off = tl.where(there, X - mu, 0.0).to(kind)
    var = (tl.sum(off * off, 1, keep_dims=True) / D).to(kind)
    r = tl.rsqrt(var.to(tl.float32) + eps).to(kind)
    Y = (off * r).to(kind) * (1 + S) + H
    tl.store(out + row * D + i, Y.to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu.to(tl.float32), mask=t < T)
    tl.store(inverse_std + row, r.to(tl.float32), mask=t < T)


@mistake(
    FORWARD,
    "inverse_std holds σ. The backward pass wants what it multiplies by, 1/σ.",
)
@triton.jit
def kept_sigma(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = tl.where(there, X - mu, 0.0)
    sigma = tl.sqrt(tl.sum(off * off, 1, keep_dims=True) / D + eps)
    tl.store(out + row * D + i, (off / sigma * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, sigma, mask=t < T)


@mistake(
    FORWARD,
    "The result is right, but μ and 1/σ are not stored. Without them the backward pass would read "
    "memory that nobody wrote: store them at row example · T + t.",
)
@triton.jit
def nothing_kept(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
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
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)


@mistake(
    FORWARD,
    "μ and 1/σ are stored at t, where every example writes over those of the others. There are "
    "batch · T of them: the row of a token is example · T + t.",
)
@triton.jit
def kept_over_each_other(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
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
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + t, mu, mask=t < T)
    tl.store(inverse_std + t, r, mask=t < T)


@mistake(
    FORWARD,
    "You read the tokens twice, once for the mean and once more. The second time they come from "
    "memory again: keep what you have loaded, the tile fits into the registers.",
)
@triton.jit
def tokens_read_twice(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    first = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    mu = tl.sum(first, 1, keep_dims=True) / D
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / D + eps)
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    FORWARD,
    "scale and shift are read anew for every token. All tokens of an example share them: load one "
    "(1, BLOCK) row, and let it be broadcast over the tile.",
)
@triton.jit
def scale_read_for_every_token(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i + 0 * t, mask=there, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i + 0 * t, mask=there, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / D + eps)
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(FORWARD, "ε is a number of its own, whatever was handed over.", public=False)
@triton.jit
def an_eps_of_its_own(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / D + 1e-6)
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(FORWARD, "The normalised tokens are left in x.", public=False)
@triton.jit
def into_x_as_well(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
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
    tl.store(out + row * D + i, (off * r * (1 + S) + H).to(out.dtype.element_ty), mask=there)
    tl.store(x + row * D + i, (off * r).to(x.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    BACKWARD,
    "The last chunk of an example has fewer than CHUNK tokens left, and yours goes on into the "
    "next example: its tokens enter your sums, and their d_x is written by two programs. Mask "
    "with t < T as well.",
)
@triton.jit
def no_mask_on_the_tokens_of_a_chunk(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_S, d_H = tl.zeros([1, BLOCK], tl.float32), tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        row, there = example * T + t, (i < D) & (t >= 0)
        X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + row * D + i, mask=there, other=0.0).to(tl.float32)
        mu = tl.load(mean + row)
        r = tl.load(inverse_std + row)
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


@mistake(
    BACKWARD,
    "Lanes beyond D are not masked: they read the numbers of the next token, which enter both "
    "means, and overwrite its d_x. Mask every access with i < D.",
)
@triton.jit
def no_mask_on_the_numbers_of_a_token(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    S = tl.load(scale + example * D + i).to(tl.float32)
    d_S, d_H = tl.zeros([1, BLOCK], tl.float32), tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        row, there = example * T + t, (t < T) & (i >= 0)
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
    tl.store(d_scale + part, d_S)
    tl.store(d_shift + part, d_H)


@mistake(
    BACKWARD,
    "d_x lacks the mean of g. Adding a constant to a token changes nothing, as μ takes it away "
    "again: subtract mean g, so that d_x sums to 0.",
)
@triton.jit
def without_the_mean_of_g(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        d_X = r * (g - normal * along)
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(
    BACKWARD,
    "d_x lacks x̂ · mean g x̂. You treat σ as a constant, but it depends on x too: stretching a "
    "token changes nothing, so take the part of g along x̂ away.",
)
@triton.jit
def without_the_part_along_the_token(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        d_X = r * (g - tl.sum(g, 1, keep_dims=True) / D)
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(
    BACKWARD,
    "The result depends on x through (x − μ) / σ: d_x must be divided by σ at the end.",
)
@triton.jit
def without_one_over_sigma(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        d_X = g - tl.sum(g, 1, keep_dims=True) / D - normal * along
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(
    BACKWARD,
    "You use the upstream gradient as it comes. The normalised token was multiplied by 1 + scale, "
    "so what reaches it is g = upstream · (1 + scale).",
)
@triton.jit
def without_the_scale(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
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
        g = G
        along = tl.sum(g * normal, 1, keep_dims=True) / D
        d_X = r * (g - tl.sum(g, 1, keep_dims=True) / D - normal * along)
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(BACKWARD, "You multiply by scale instead of 1 + scale.")
@triton.jit
def times_scale_without_one(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        g = G * S
        along = tl.sum(g * normal, 1, keep_dims=True) / D
        d_X = r * (g - tl.sum(g, 1, keep_dims=True) / D - normal * along)
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(
    BACKWARD,
    "Every example is scaled like the first one. The scale of example i begins at element i · D.",
)
@triton.jit
def scale_of_the_first(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    S = tl.load(scale + i, mask=i < D, other=0.0).to(tl.float32)
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


@mistake(
    BACKWARD,
    "d_scale is too large by 1 + scale: you add up g · x̂. The derivative of x̂ · (1 + scale) "
    "with respect to scale is x̂ alone, times upstream.",
)
@triton.jit
def scaled_twice(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        d_H += tl.sum(G, 0, keep_dims=True)
        g = G * (1 + S)
        d_S += tl.sum(g * normal, 0, keep_dims=True)
        along = tl.sum(g * normal, 1, keep_dims=True) / D
        d_X = r * (g - tl.sum(g, 1, keep_dims=True) / D - normal * along)
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(
    BACKWARD,
    "d_scale adds up upstream · x. What scale multiplies is the normalised token x̂ = (x − μ) / σ.",
)
@triton.jit
def upstream_times_x(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        d_S += tl.sum(G * X, 0, keep_dims=True)
        d_H += tl.sum(G, 0, keep_dims=True)
        g = G * (1 + S)
        along = tl.sum(g * normal, 1, keep_dims=True) / D
        d_X = r * (g - tl.sum(g, 1, keep_dims=True) / D - normal * along)
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(
    BACKWARD,
    "d_scale and d_shift are exchanged: scale gets the sum of upstream · x̂, shift that of "
    "upstream.",
)
@triton.jit
def sums_exchanged(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    tl.store(d_scale + part, d_H, mask=i < D)
    tl.store(d_shift + part, d_S, mask=i < D)


@mistake(
    BACKWARD,
    "You do the first ROWS tokens of each chunk and leave the others. A program does CHUNK "
    "tokens: loop over them, ROWS at a time.",
)
@triton.jit
def only_the_first_tile(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_S, d_H = tl.zeros([1, BLOCK], tl.float32), tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, ROWS, ROWS):
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


@mistake(
    BACKWARD,
    "Every tile of ROWS tokens replaces the sums of the one before it. Begin with zeros, and add "
    "with +=.",
)
@triton.jit
def sums_of_the_last_tile(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        d_S = tl.sum(G * normal, 0, keep_dims=True)
        d_H = tl.sum(G, 0, keep_dims=True)
        g = G * (1 + S)
        along = tl.sum(g * normal, 1, keep_dims=True) / D
        d_X = r * (g - tl.sum(g, 1, keep_dims=True) / D - normal * along)
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(
    BACKWARD,
    "You store means over the chunk. Every token adds its own part to d_scale and d_shift: these "
    "are sums, and nothing divides them.",
)
@triton.jit
def sums_divided(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    tl.store(d_scale + part, d_S / CHUNK, mask=i < D)
    tl.store(d_shift + part, d_H / CHUNK, mask=i < D)


@mistake(
    BACKWARD,
    "All chunks of an example store their sums in one place, where only the last one survives. "
    "Chunk j of example i has a row of its own, i · tl.num_programs(1) + j.",
)
@triton.jit
def chunks_over_each_other(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    part = example * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(
    BACKWARD,
    "You add to d_scale and d_shift by atomics. There is nothing to add to: nobody has set them "
    "to 0, and each chunk has a row of its own. Atomics would also add in another order every "
    "time. Store.",
)
@triton.jit
def parts_by_atomics(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    tl.atomic_add(d_scale + part, d_S, mask=i < D)
    tl.atomic_add(d_shift + part, d_H, mask=i < D)


@mistake(
    BACKWARD,
    "You divide by BLOCK, which counts lanes that hold no number. The means are over the D "
    "numbers of a token.",
)
@triton.jit
def means_over_block(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        along = tl.sum(g * normal, 1, keep_dims=True) / BLOCK
        d_X = r * (g - tl.sum(g, 1, keep_dims=True) / BLOCK - normal * along)
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(BACKWARD, "inverse_std holds 1/σ already: multiply by it, do not divide.")
@triton.jit
def times_sigma(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        normal = tl.where(there, (X - mu) / tl.where(t < T, r, 1.0), 0.0)
        d_S += tl.sum(G * normal, 0, keep_dims=True)
        d_H += tl.sum(G, 0, keep_dims=True)
        g = G * (1 + S)
        along = tl.sum(g * normal, 1, keep_dims=True) / D
        d_X = (g - tl.sum(g, 1, keep_dims=True) / D - normal * along) / tl.where(t < T, r, 1.0)
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(
    BACKWARD,
    "You add up along the wrong axis: mean g and mean g x̂ belong to one token, over its D "
    "numbers, axis 1 of the (ROWS, BLOCK) tile. Along the tokens, axis 0, go the sums of d_scale "
    "and d_shift.",
)
@triton.jit
def means_along_the_tokens(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        along = tl.sum(g * normal, 0, keep_dims=True) / ROWS
        d_X = r * (g - tl.sum(g, 0, keep_dims=True) / ROWS - normal * along)
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(
    BACKWARD,
    "You add up in the dtype of the tokens. In half precision a sum of 16 numbers is off in its "
    "third digit: convert what you load with .to(tl.float32), and keep the sums in fp32.",
)
@triton.jit
def sums_in_half_precision(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    kind: tl.constexpr = x.dtype.element_ty
    d_S, d_H = tl.zeros([1, BLOCK], kind), tl.zeros([1, BLOCK], kind)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        row, there = example * T + t, (t < T) & (i < D)
        X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
        G = tl.load(upstream + row * D + i, mask=there, other=0.0).to(tl.float32)
        mu = tl.load(mean + row, mask=t < T, other=0.0)
        r = tl.load(inverse_std + row, mask=t < T, other=0.0)
        normal = tl.where(there, (X - mu) * r, 0.0)
        d_S = (d_S + tl.sum((G * normal).to(kind), 0, keep_dims=True)).to(kind)
        d_H = (d_H + tl.sum(G.to(kind), 0, keep_dims=True)).to(kind)
        g = G * (1 + S)
        along = tl.sum(g * normal, 1, keep_dims=True) / D
        d_X = r * (g - tl.sum(g, 1, keep_dims=True) / D - normal * along)
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S.to(tl.float32), mask=i < D)
    tl.store(d_shift + part, d_H.to(tl.float32), mask=i < D)


@mistake(
    BACKWARD,
    "You read upstream twice, once for the sums and once for d_x. The second time it comes from "
    "memory again: keep what you have loaded.",
)
@triton.jit
def upstream_read_twice(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        again = tl.load(upstream + row * D + i, mask=there, other=0.0).to(tl.float32)
        g = again * (1 + S)
        along = tl.sum(g * normal, 1, keep_dims=True) / D
        d_X = r * (g - tl.sum(g, 1, keep_dims=True) / D - normal * along)
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(BACKWARD, "d_x is written over x too.", public=False)
@triton.jit
def d_x_into_x_as_well(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        tl.store(x + row * D + i, d_X.to(x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(BACKWARD, "Chunks of two tiles, whatever CHUNK is.", public=False)
@triton.jit
def two_tiles_a_chunk(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_S, d_H = tl.zeros([1, BLOCK], tl.float32), tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, 2 * ROWS, ROWS):
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


@mistake(BACKWARD, "Chunks are counted as T // CHUNK, which forgets the last one.", public=False)
@triton.jit
def whole_chunks_counted(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    part = (example * tl.maximum(T // CHUNK, 1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)


@mistake(
    "kernels.adaln.kernel",
    "Places are counted in 32 bits, which end at 2³¹: far into a large tensor you read and "
    "write elsewhere. Take examples as int64, tl.program_id(0).to(tl.int64), before you "
    "multiply.",
)
@triton.jit
def examples_in_32_bits(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0)
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


@mistake(
    "kernels.adaln.kernel",
    "Large numbers are cut off: no sentence of the docstring allows that, and the right "
    "result may be that large.",
)
@triton.jit
def large_results_cut_off(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
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
    tl.store(
        out + row * D + i, tl.minimum(tl.maximum(Y, -1e3), 1e3).to(out.dtype.element_ty), mask=there
    )
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    "kernels.adaln.kernel",
    "A style has a dtype of its own: load it and go to fp32 at once. By way of another "
    "dtype it loses its digits.",
    public=False,
)
@triton.jit
def shift_in_the_dtype_of_scale(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = (
        tl.load(shift + example * D + i, mask=i < D, other=0.0)
        .to(scale.dtype.element_ty)
        .to(tl.float32)
    )
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / D + eps)
    Y = off * r * (1 + S) + H
    tl.store(out + row * D + i, Y.to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    "kernels.adaln.kernel",
    "A style has a dtype of its own: load it and go to fp32 at once. By way of another "
    "dtype it loses its digits.",
    public=False,
)
@triton.jit
def scale_in_the_dtype_of_x(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = (
        tl.load(scale + example * D + i, mask=i < D, other=0.0)
        .to(x.dtype.element_ty)
        .to(tl.float32)
    )
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / D + eps)
    Y = off * r * (1 + S) + H
    tl.store(out + row * D + i, Y.to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    "kernels.adaln.kernel",
    "The mean is rounded to half precision in between: calculate in fp32 throughout, and "
    "round once, where you store.",
    public=False,
)
@triton.jit
def mean_in_half_precision(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    row, there = example * T + t, (t < T) & (i < D)
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / D
    mu = mu.to(x.dtype.element_ty).to(tl.float32)
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / D + eps)
    Y = off * r * (1 + S) + H
    tl.store(out + row * D + i, Y.to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)


@mistake(
    "kernels.adaln.backward_kernel",
    "Places are counted in 32 bits, which end at 2³¹: far into a large tensor you read and "
    "write elsewhere. Take examples as int64, tl.program_id(0).to(tl.int64), before you "
    "multiply.",
)
@triton.jit
def examples_in_32_bits_backward(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0)
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


@mistake(
    "kernels.adaln.backward_kernel",
    "A program stops after four tiles: a chunk has CHUNK // ROWS of them, however many that is.",
    public=False,
)
@triton.jit
def four_tiles_at_most(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_S, d_H = tl.zeros([1, BLOCK], tl.float32), tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, tl.minimum(CHUNK, 4 * ROWS), ROWS):
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


@mistake(
    "kernels.adaln.backward_kernel",
    "Large numbers are cut off: no sentence of the docstring allows that, and the right "
    "result may be that large.",
    public=False,
)
@triton.jit
def large_gradients_cut_off(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    S = tl.load(scale + example * D + i, mask=i < D, other=0.0).to(tl.float32)
    d_S, d_H = tl.zeros([1, BLOCK], tl.float32), tl.zeros([1, BLOCK], tl.float32)
    for k in range(0, CHUNK, ROWS):
        t = tl.program_id(1) * CHUNK + k + tl.arange(0, ROWS)[:, None]
        row, there = example * T + t, (t < T) & (i < D)
        X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
        G = tl.minimum(
            tl.maximum(tl.load(upstream + row * D + i, mask=there, other=0.0).to(tl.float32), -1e4),
            1e4,
        )
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


@mistake(
    "kernels.adaln.backward_kernel",
    "A style has a dtype of its own: load it and go to fp32 at once. By way of another "
    "dtype it loses its digits.",
    public=False,
)
@triton.jit
def scale_in_the_dtype_of_x_backward(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)[None, :]
    S = (
        tl.load(scale + example * D + i, mask=i < D, other=0.0)
        .to(x.dtype.element_ty)
        .to(tl.float32)
    )
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


@mistake(
    "kernels.adaln.backward_kernel",
    "The mean of g is rounded to half precision in between: calculate in fp32 throughout, "
    "and round once, where you store.",
    public=False,
)
@triton.jit
def mean_of_g_in_half_precision(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        d_X = r * (
            g
            - (tl.sum(g, 1, keep_dims=True) / D).to(x.dtype.element_ty).to(tl.float32)
            - normal * along
        )
        tl.store(d_x + row * D + i, d_X.to(d_x.dtype.element_ty), mask=there)
    part = (example * tl.num_programs(1) + tl.program_id(1)) * D + i
    tl.store(d_scale + part, d_S, mask=i < D)
    tl.store(d_shift + part, d_H, mask=i < D)
