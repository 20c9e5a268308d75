"""Typical wrong kernels for AdaIN, each with the sentence that explains it.

What a mistake does right is left to three helpers: `tile_of`, `moments` and `finish`.
"""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.launch import tl, triton

FORWARD, BACKWARD = "kernels.adain.kernel", "kernels.adain.backward_kernel"


@triton.jit
def tile_of(rows, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    return row, tl.arange(0, BLOCK)[None, :], row < rows


@triton.jit
def moments(x, at, i, real, n, BLOCK: tl.constexpr):
    """The first numbers of rows, their means, and the sums of squares around these."""
    X = tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / tl.minimum(n, BLOCK)
    off = tl.where(real & (i < n), X - mu, 0.0)
    squares = tl.sum(off * off, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        m, more = tl.minimum(n - k, BLOCK), real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        mu_m = tl.sum(Xm, 1, keep_dims=True) / m
        off = tl.where(more, Xm - mu_m, 0.0)
        squares += tl.sum(off * off, 1, keep_dims=True)
        squares += (mu_m - mu) * (mu_m - mu) * k * (m / (k + m))
        mu += (mu_m - mu) * (m / (k + m))
    return X, mu, squares


@triton.jit
def finish(
    x, scale, bias, out, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK: tl.constexpr
):
    """Give rows their style, and store the statistics."""
    W = tl.load(scale + row, mask=real, other=0.0).to(tl.float32)
    B = tl.load(bias + row, mask=real, other=0.0).to(tl.float32)
    Y = W * ((X - mu) * r) + B
    tl.store(out + at, Y.to(out.dtype.element_ty), mask=real & (i < n))
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Y = W * ((tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r) + B
        tl.store(out + at + k, Y.to(out.dtype.element_ty), mask=more)
    tl.store(mean + row, mu, mask=real)
    tl.store(inverse_std + row, r, mask=real)


@mistake(
    FORWARD,
    "The last program may have fewer than ROWS rows: mask every load and store with row < rows as "
    "well, or it reads and overwrites what lies behind the tensors.",
)
@triton.jit
def no_mask_of_rows(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, _ = tile_of(rows, ROWS, BLOCK)
    every = row >= 0
    X, mu, squares = moments(x, row * n + i, i, every, n, BLOCK)
    r = tl.rsqrt(squares / n + eps)
    finish(
        x, scale, bias, out, mean, inverse_std, row, row * n + i, i, every, n, X, mu, r, BLOCK
    )  # fmt: skip


@mistake(
    FORWARD,
    "A row has n numbers, and BLOCK may be more: without i < n in the mask the lanes beyond it "
    "read and overwrite the next row.",
)
@triton.jit
def no_mask_of_numbers(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    X = tl.load(x + at, mask=real, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / tl.minimum(n, BLOCK)
    squares = tl.sum((X - mu) * (X - mu), 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        m = tl.minimum(n - k, BLOCK)
        Xm = tl.load(x + at + k, mask=real, other=0.0).to(tl.float32)
        mu_m = tl.sum(Xm, 1, keep_dims=True) / m
        squares += tl.sum((Xm - mu_m) * (Xm - mu_m), 1, keep_dims=True)
        squares += (mu_m - mu) * (mu_m - mu) * k * (m / (k + m))
        mu += (mu_m - mu) * (m / (k + m))
    r = tl.rsqrt(squares / n + eps)
    W = tl.load(scale + row, mask=real, other=0.0).to(tl.float32)
    B = tl.load(bias + row, mask=real, other=0.0).to(tl.float32)
    tl.store(out + at, (W * ((X - mu) * r) + B).to(out.dtype.element_ty), mask=real)
    for k in range(BLOCK, n, BLOCK):
        Xm = tl.load(x + at + k, mask=real, other=0.0).to(tl.float32)
        tl.store(out + at + k, (W * ((Xm - mu) * r) + B).to(out.dtype.element_ty), mask=real)
    tl.store(mean + row, mu, mask=real)
    tl.store(inverse_std + row, r, mask=real)


@mistake(
    FORWARD,
    "Masked lanes load 0, and 0 − μ is not 0: their squares enter the variance. Set them to 0 "
    "after subtracting the mean, with tl.where.",
)
@triton.jit
def masked_lanes_in_the_variance(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    X = tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / tl.minimum(n, BLOCK)
    squares = tl.sum((X - mu) * (X - mu), 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        m, more = tl.minimum(n - k, BLOCK), real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        mu_m = tl.sum(Xm, 1, keep_dims=True) / m
        squares += tl.sum((Xm - mu_m) * (Xm - mu_m), 1, keep_dims=True)
        squares += (mu_m - mu) * (mu_m - mu) * k * (m / (k + m))
        mu += (mu_m - mu) * (m / (k + m))
    r = tl.rsqrt(squares / n + eps)
    finish(x, scale, bias, out, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK)


@mistake(
    FORWARD,
    "Your means divide by BLOCK, also where a row, or its last block, has fewer numbers than that: "
    "divide by how many are there.",
)
@triton.jit
def divided_by_the_block(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    X = tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / BLOCK
    off = tl.where(real & (i < n), X - mu, 0.0)
    squares = tl.sum(off * off, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        m, more = tl.minimum(n - k, BLOCK), real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        mu_m = tl.sum(Xm, 1, keep_dims=True) / BLOCK
        off = tl.where(more, Xm - mu_m, 0.0)
        squares += tl.sum(off * off, 1, keep_dims=True)
        squares += (mu_m - mu) * (mu_m - mu) * k * (m / (k + m))
        mu += (mu_m - mu) * (m / (k + m))
    r = tl.rsqrt(squares / n + eps)
    finish(x, scale, bias, out, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK)


@mistake(
    FORWARD,
    "You divide the squares by n − 1, the estimate from a sample. A norm takes the variance of the "
    "n numbers that are there: divide by n.",
)
@triton.jit
def sample_variance(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    X, mu, squares = moments(x, row * n + i, i, real, n, BLOCK)
    r = tl.rsqrt(squares / (n - 1.0) + eps)
    finish(
        x, scale, bias, out, mean, inverse_std, row, row * n + i, i, real, n, X, mu, r, BLOCK
    )  # fmt: skip


@mistake(
    FORWARD,
    "Your ε is added to the spread, outside the root. It belongs to the variance, inside: "
    "1 / √(variance + ε). It matters where a row hardly varies.",
)
@triton.jit
def eps_outside_the_root(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    X, mu, squares = moments(x, row * n + i, i, real, n, BLOCK)
    r = 1 / (tl.sqrt(squares / n) + eps)
    finish(
        x, scale, bias, out, mean, inverse_std, row, row * n + i, i, real, n, X, mu, r, BLOCK
    )  # fmt: skip


@mistake(
    FORWARD,
    "ε is missing: a row that does not vary, of one number for example, is divided by 0.",
)
@triton.jit
def eps_forgotten(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    X, mu, squares = moments(x, row * n + i, i, real, n, BLOCK)
    r = tl.rsqrt(squares / n)
    finish(
        x, scale, bias, out, mean, inverse_std, row, row * n + i, i, real, n, X, mu, r, BLOCK
    )  # fmt: skip


@mistake(
    FORWARD,
    "You store σ where 1/σ is wanted: the backward pass multiplies by what it finds there.",
)
@triton.jit
def sigma_instead_of_its_inverse(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    X, mu, squares = moments(x, row * n + i, i, real, n, BLOCK)
    r = tl.rsqrt(squares / n + eps)
    finish(
        x, scale, bias, out, mean, inverse_std, row, row * n + i, i, real, n, X, mu, r, BLOCK
    )  # fmt: skip
    tl.store(inverse_std + row, 1 / r, mask=real)


@mistake(
    FORWARD,
    "The result is right, but the backward pass finds no statistics: store each row's μ in mean "
    "and its 1/σ in inverse_std.",
)
@triton.jit
def statistics_not_stored(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    X, mu, squares = moments(x, at, i, real, n, BLOCK)
    r = tl.rsqrt(squares / n + eps)
    W = tl.load(scale + row, mask=real, other=0.0).to(tl.float32)
    B = tl.load(bias + row, mask=real, other=0.0).to(tl.float32)
    Y = W * ((X - mu) * r) + B
    tl.store(out + at, Y.to(out.dtype.element_ty), mask=real & (i < n))
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Y = W * ((tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r) + B
        tl.store(out + at + k, Y.to(out.dtype.element_ty), mask=more)


@mistake(
    FORWARD,
    "You do the first BLOCK numbers of a row and leave the rest: a row may be longer than what a "
    "program has at hand. Go on in a loop, in steps of BLOCK.",
)
@triton.jit
def the_first_block_alone(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at, there = row * n + i, real & (i < n)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / n
    off = tl.where(there, X - mu, 0.0)
    r = tl.rsqrt(tl.sum(off * off, 1, keep_dims=True) / n + eps)
    W = tl.load(scale + row, mask=real, other=0.0).to(tl.float32)
    B = tl.load(bias + row, mask=real, other=0.0).to(tl.float32)
    tl.store(out + at, (W * ((X - mu) * r) + B).to(out.dtype.element_ty), mask=there)
    tl.store(mean + row, mu, mask=real)
    tl.store(inverse_std + row, r, mask=real)


@mistake(
    FORWARD,
    "You take the variance as the mean of x² less μ². If μ is large these are two large numbers "
    "that agree in nearly every digit, and rounding is all that is left: subtract μ first, then "
    "square.",
)
@triton.jit
def mean_of_squares(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    X = tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32)
    mu, squares = tl.sum(X, 1, keep_dims=True), tl.sum(X * X, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        Xm = tl.load(x + at + k, mask=real & (k + i < n), other=0.0).to(tl.float32)
        mu += tl.sum(Xm, 1, keep_dims=True)
        squares += tl.sum(Xm * Xm, 1, keep_dims=True)
    mu = mu / n
    r = tl.rsqrt(tl.maximum(squares / n - mu * mu, 0.0) + eps)
    finish(x, scale, bias, out, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK)


@mistake(
    FORWARD,
    "You add up the squares of each block around its own mean, but blocks differ in their means "
    "too: merging adds (μₘ − μ)² · k m / (k + m).",
)
@triton.jit
def spread_of_blocks_alone(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    X = tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / tl.minimum(n, BLOCK)
    off = tl.where(real & (i < n), X - mu, 0.0)
    squares = tl.sum(off * off, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        m, more = tl.minimum(n - k, BLOCK), real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        mu_m = tl.sum(Xm, 1, keep_dims=True) / m
        off = tl.where(more, Xm - mu_m, 0.0)
        squares += tl.sum(off * off, 1, keep_dims=True)
        mu += (mu_m - mu) * (m / (k + m))
    r = tl.rsqrt(squares / n + eps)
    finish(x, scale, bias, out, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK)


@mistake(
    FORWARD,
    "You move the mean half of the way to that of the next block, as if both stood for as many "
    "numbers. They stand for k and for m: it moves by (μₘ − μ) · m / (k + m).",
)
@triton.jit
def halfway_to_the_next_mean(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    X = tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True) / tl.minimum(n, BLOCK)
    off = tl.where(real & (i < n), X - mu, 0.0)
    squares = tl.sum(off * off, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        m, more = tl.minimum(n - k, BLOCK), real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        mu_m = tl.sum(Xm, 1, keep_dims=True) / m
        off = tl.where(more, Xm - mu_m, 0.0)
        squares += tl.sum(off * off, 1, keep_dims=True)
        squares += (mu_m - mu) * (mu_m - mu) * k * (m / (k + m))
        mu += (mu_m - mu) / 2
    r = tl.rsqrt(squares / n + eps)
    finish(x, scale, bias, out, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK)


@mistake(
    FORWARD,
    "Program i begins at row i, and does ROWS of them: programs meet, and the last rows are left. "
    "It begins at row i · ROWS.",
)
@triton.jit
def rows_overlap(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, 1, BLOCK)
    row += tl.arange(0, ROWS)[:, None]
    real = row < rows
    X, mu, squares = moments(x, row * n + i, i, real, n, BLOCK)
    r = tl.rsqrt(squares / n + eps)
    finish(
        x, scale, bias, out, mean, inverse_std, row, row * n + i, i, real, n, X, mu, r, BLOCK
    )  # fmt: skip


@mistake(
    FORWARD,
    "All rows of a program get the scale and bias of its first one. Each row has its own: load "
    "them at row, a column of ROWS numbers.",
)
@triton.jit
def one_style_a_program(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    X, mu, squares = moments(x, row * n + i, i, real, n, BLOCK)
    r = tl.rsqrt(squares / n + eps)
    shift = tl.arange(0, ROWS)[:, None]
    finish(
        x, scale - shift, bias - shift, out, mean, inverse_std, row, row * n + i, i, real, n, X,
        mu, r, BLOCK,
    )  # fmt: skip


@mistake(
    FORWARD,
    "You scale by 1 + w, as adaLN does. AdaIN's w is the spread itself: w (x − μ) / σ + b.",
)
@triton.jit
def one_plus_the_scale(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    X, mu, squares = moments(x, at, i, real, n, BLOCK)
    r = tl.rsqrt(squares / n + eps)
    W = 1 + tl.load(scale + row, mask=real, other=0.0).to(tl.float32)
    B = tl.load(bias + row, mask=real, other=0.0).to(tl.float32)
    Y = W * ((X - mu) * r) + B
    tl.store(out + at, Y.to(out.dtype.element_ty), mask=real & (i < n))
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Y = W * ((tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r) + B
        tl.store(out + at + k, Y.to(out.dtype.element_ty), mask=more)
    tl.store(mean + row, mu, mask=real)
    tl.store(inverse_std + row, r, mask=real)


@mistake(FORWARD, "Scale and bias are exchanged: w is loaded from scale, b from bias.")
@triton.jit
def scale_and_bias_exchanged(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    X, mu, squares = moments(x, row * n + i, i, real, n, BLOCK)
    r = tl.rsqrt(squares / n + eps)
    finish(
        x, bias, scale, out, mean, inverse_std, row, row * n + i, i, real, n, X, mu, r, BLOCK
    )  # fmt: skip


@mistake(
    FORWARD,
    "You add up all rows of a program together. A channel has statistics of its own: sum along "
    "axis 1 alone, with keep_dims=True.",
)
@triton.jit
def statistics_of_the_program(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    many = tl.minimum(rows - tl.program_id(0).to(tl.int64) * ROWS, ROWS)
    X = tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32)
    mu = tl.sum(X) / (many * tl.minimum(n, BLOCK))
    off = tl.where(real & (i < n), X - mu, 0.0)
    squares = tl.sum(off * off)
    for k in range(BLOCK, n, BLOCK):
        m, more = tl.minimum(n - k, BLOCK), real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        mu_m = tl.sum(Xm) / (many * m)
        off = tl.where(more, Xm - mu_m, 0.0)
        squares += tl.sum(off * off) + many * (mu_m - mu) * (mu_m - mu) * k * (m / (k + m))
        mu += (mu_m - mu) * (m / (k + m))
    r = tl.rsqrt(squares / (many * n) + eps) + tl.zeros([ROWS, 1], tl.float32)
    mu += tl.zeros([ROWS, 1], tl.float32)
    finish(x, scale, bias, out, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK)


@mistake(
    FORWARD,
    "Your rows begin BLOCK numbers apart. In memory they are n numbers apart, without gaps: "
    "row * n + i.",
)
@triton.jit
def rows_a_block_apart(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * BLOCK + i
    X, mu, squares = moments(x, at, i, real, n, BLOCK)
    r = tl.rsqrt(squares / n + eps)
    finish(x, scale, bias, out, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK)


@mistake(
    FORWARD,
    "You add up in half precision: a sum of many numbers soon has no digits left for the next "
    "one. Convert what you load to tl.float32 first.",
)
@triton.jit
def statistics_in_half_precision(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    X = tl.load(x + at, mask=real & (i < n), other=0.0)
    mu = (tl.sum(X, 1, keep_dims=True) / tl.minimum(n, BLOCK)).to(x.dtype.element_ty)
    off = tl.where(real & (i < n), X - mu, 0.0)
    squares = tl.sum(off * off, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        m, more = tl.minimum(n - k, BLOCK), real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0)
        mu_m = (tl.sum(Xm, 1, keep_dims=True) / m).to(x.dtype.element_ty)
        off = tl.where(more, Xm - mu_m, 0.0)
        squares += tl.sum(off * off, 1, keep_dims=True)
        squares += ((mu_m - mu) * (mu_m - mu) * k * (m / (k + m))).to(x.dtype.element_ty)
        mu += ((mu_m - mu) * (m / (k + m))).to(x.dtype.element_ty)
    r = tl.rsqrt(squares.to(tl.float32) / n + eps)
    mu = mu.to(tl.float32)
    finish(x, scale, bias, out, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK)


@mistake(
    FORWARD,
    "You read the numbers a second time to write the result, though they are still at hand: keep "
    "what you have loaded first.",
)
@triton.jit
def read_again(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    X, mu, squares = moments(x, at, i, real, n, BLOCK)
    r = tl.rsqrt(squares / n + eps)
    X = tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32)
    finish(x, scale, bias, out, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK)


@mistake(
    FORWARD,
    "You read long rows three times: for the mean, for the squares and for the result. Merge "
    "means and squares of blocks, and one reading is enough for both.",
)
@triton.jit
def long_rows_read_three_times(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    X = tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32)
    mu = tl.sum(X, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        Xm = tl.load(x + at + k, mask=real & (k + i < n), other=0.0).to(tl.float32)
        mu += tl.sum(Xm, 1, keep_dims=True)
    mu = mu / n
    off = tl.where(real & (i < n), X - mu, 0.0)
    squares = tl.sum(off * off, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        off = tl.where(more, Xm - mu, 0.0)
        squares += tl.sum(off * off, 1, keep_dims=True)
    r = tl.rsqrt(squares / n + eps)
    finish(x, scale, bias, out, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK)


@mistake(FORWARD, "The result is written over x too.", public=False)
@triton.jit
def into_x_as_well(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    X, mu, squares = moments(x, at, i, real, n, BLOCK)
    r = tl.rsqrt(squares / n + eps)
    finish(x, scale, bias, out, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK)
    finish(x, scale, bias, x, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK)


@mistake(FORWARD, "Scaled by |w|: the sign is lost.", public=False)
@triton.jit
def without_the_sign(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at, there = row * n + i, real & (i < n)
    X, mu, squares = moments(x, at, i, real, n, BLOCK)
    r = tl.rsqrt(squares / n + eps)
    finish(x, scale, bias, out, mean, inverse_std, row, at, i, real, n, X, mu, r, BLOCK)
    W = tl.abs(tl.load(scale + row, mask=real, other=0.0).to(tl.float32))
    B = tl.load(bias + row, mask=real, other=0.0).to(tl.float32)
    tl.store(out + at, (W * ((X - mu) * r) + B).to(out.dtype.element_ty), mask=there)


# --- backward_kernel ----------------------------------------------------------------------------
# What a mistake does right is left to `tile_of`, `row_of`, `sums`, `pass_back` and `keep`.


@triton.jit
def row_of(scale, mean, inverse_std, row, real):
    """Scale, μ and 1/σ of rows."""
    W = tl.load(scale + row, mask=real, other=0.0).to(tl.float32)
    mu = tl.load(mean + row, mask=real, other=0.0)
    return W, mu, tl.load(inverse_std + row, mask=real, other=0.0)


@triton.jit
def sums(x, upstream, at, i, real, n, mu, r, BLOCK: tl.constexpr):
    """x̂ and G of the first numbers of rows, and the gradients of scale and bias."""
    normal = (tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32) - mu) * r
    G = tl.load(upstream + at, mask=real & (i < n), other=0.0).to(tl.float32)
    d_W, d_B = tl.sum(G * normal, 1, keep_dims=True), tl.sum(G, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Gm = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        d_W += tl.sum(Gm * ((Xm - mu) * r), 1, keep_dims=True)
        d_B += tl.sum(Gm, 1, keep_dims=True)
    return normal, G, d_W, d_B


@triton.jit
def pass_back(
    x, upstream, d_x, at, i, real, n, mu, r, normal, G, factor, level, along, BLOCK: tl.constexpr
):
    """d_x = factor (G − level − x̂ along), to the end of rows."""
    d_X = factor * (G - level - normal * along)
    tl.store(d_x + at, d_X.to(d_x.dtype.element_ty), mask=real & (i < n))
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Gm = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        d_X = factor * (Gm - level - (Xm - mu) * r * along)
        tl.store(d_x + at + k, d_X.to(d_x.dtype.element_ty), mask=more)


@triton.jit
def keep(d_scale, d_bias, row, real, d_W, d_B):
    tl.store(d_scale + row, d_W.to(d_scale.dtype.element_ty), mask=real)
    tl.store(d_bias + row, d_B.to(d_bias.dtype.element_ty), mask=real)


@mistake(
    BACKWARD,
    "The last program may have fewer than ROWS rows: mask every load and store with row < rows as "
    "well, or it reads and overwrites what lies behind the tensors.",
)
@triton.jit
def no_mask_of_rows_back(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, _ = tile_of(rows, ROWS, BLOCK)
    at, every = row * n + i, row >= 0
    W, mu, r = row_of(scale, mean, inverse_std, row, every)
    normal, G, d_W, d_B = sums(x, upstream, at, i, every, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, every, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, every, d_W, d_B)


@mistake(
    BACKWARD,
    "A row has n numbers, and BLOCK may be more: without i < n in the mask the lanes beyond it "
    "add the next row to the sums, and overwrite its gradient.",
)
@triton.jit
def no_mask_of_numbers_back(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal = (tl.load(x + at, mask=real, other=0.0).to(tl.float32) - mu) * r
    G = tl.load(upstream + at, mask=real, other=0.0).to(tl.float32)
    d_W, d_B = tl.sum(G * normal, 1, keep_dims=True), tl.sum(G, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        Xm = tl.load(x + at + k, mask=real, other=0.0).to(tl.float32)
        Gm = tl.load(upstream + at + k, mask=real, other=0.0).to(tl.float32)
        d_W += tl.sum(Gm * ((Xm - mu) * r), 1, keep_dims=True)
        d_B += tl.sum(Gm, 1, keep_dims=True)
    d_X = W * r * (G - d_B / n - normal * (d_W / n))
    tl.store(d_x + at, d_X.to(d_x.dtype.element_ty), mask=real)
    for k in range(BLOCK, n, BLOCK):
        Xm = tl.load(x + at + k, mask=real, other=0.0).to(tl.float32)
        Gm = tl.load(upstream + at + k, mask=real, other=0.0).to(tl.float32)
        d_X = W * r * (Gm - d_B / n - (Xm - mu) * r * (d_W / n))
        tl.store(d_x + at + k, d_X.to(d_x.dtype.element_ty), mask=real)
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "You pass back w / σ · G, as if μ and σ did not depend on x. They do: take away the mean of "
    "G, and x̂ times the mean of G x̂.",
)
@triton.jit
def statistics_taken_for_constants(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, 0.0, 0.0, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "The term that comes from μ is missing: it takes the mean of G, d_bias / n, away from G.",
)
@triton.jit
def mean_taken_for_constant(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, 0.0, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "The term that comes from σ is missing: it takes x̂ · d_scale / n away.",
)
@triton.jit
def spread_taken_for_constant(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, 0.0, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "d_x takes away the means over a row: divide d_bias and d_scale by n there. You take away the "
    "sums.",
)
@triton.jit
def sums_instead_of_means(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B, d_W, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "w and b act on all n numbers of a row, and their gradients are sums: you stored means.",
)
@triton.jit
def means_instead_of_sums(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W / n, d_B / n)


@mistake(
    BACKWARD,
    "Your means divide by BLOCK. A row has n numbers, of which a block may be more or less: "
    "divide by n.",
)
@triton.jit
def divided_by_the_block_back(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / BLOCK, d_W / BLOCK, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "The sign of x̂ · d_scale / n is wrong: it is taken away, as the mean of G is.",
)
@triton.jit
def wrong_sign_of_the_spread(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, -d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "d_x lacks w: a step of x̂ moves the result by w.",
)
@triton.jit
def scale_forgotten_back(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    _, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "You multiply G by w before you sum for d_scale and d_bias. Only d_x goes through w: the "
    "gradient of w is Σ G x̂, that of b is Σ G.",
)
@triton.jit
def scale_in_its_own_gradient(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, W * d_W, W * d_B)


@mistake(
    BACKWARD,
    "d_x lacks 1/σ: a step of x moves x̂ by 1/σ.",
)
@triton.jit
def inverse_std_forgotten(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "inverse_std is 1/σ already: multiply by it. You divide by it.",
)
@triton.jit
def divided_by_the_inverse(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    r = tl.where(real, 1 / r, 0.0)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "You sum G · x for d_scale. What w multiplies is x̂ = (x − μ) / σ.",
)
@triton.jit
def x_instead_of_normal(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    d_W = d_W / r + mu * d_B
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "d_scale and d_bias are exchanged: Σ G x̂ belongs to the scale, Σ G to the bias.",
)
@triton.jit
def gradients_exchanged(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_B, d_W)


@mistake(
    BACKWARD,
    "You do the first BLOCK numbers of a row and leave the rest: a row may be longer than what a "
    "program has at hand. Go on in a loop, for the sums and again for d_x.",
)
@triton.jit
def the_first_block_alone_back(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    there = real & (i < n)
    normal = (tl.load(x + at, mask=there, other=0.0).to(tl.float32) - mu) * r
    G = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
    d_W, d_B = tl.sum(G * normal, 1, keep_dims=True), tl.sum(G, 1, keep_dims=True)
    d_X = W * r * (G - d_B / n - normal * (d_W / n))
    tl.store(d_x + at, d_X.to(d_x.dtype.element_ty), mask=there)
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "d_x reaches the end of a long row, but the sums it needs stop at the first BLOCK numbers: "
    "finish both sums before you store any d_x.",
)
@triton.jit
def sums_of_the_first_block(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal = (tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32) - mu) * r
    G = tl.load(upstream + at, mask=real & (i < n), other=0.0).to(tl.float32)
    d_W, d_B = tl.sum(G * normal, 1, keep_dims=True), tl.sum(G, 1, keep_dims=True)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "Program i begins at row i, and does ROWS of them: programs meet, and the last rows are left. "
    "It begins at row i · ROWS.",
)
@triton.jit
def rows_overlap_back(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, _ = tile_of(rows, 1, BLOCK)
    row += tl.arange(0, ROWS)[:, None]
    real, at = row < rows, row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "You add to d_scale and d_bias with atomics, but nobody has set this memory to 0. A row is "
    "one program's alone: store its sums.",
)
@triton.jit
def added_to_what_was_there(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    tl.atomic_add(d_scale + row, d_W.to(d_scale.dtype.element_ty), mask=real)
    tl.atomic_add(d_bias + row, d_B.to(d_bias.dtype.element_ty), mask=real)


@mistake(
    BACKWARD,
    "You add up all rows of a program together. A channel has a scale and a bias of its own: sum "
    "along axis 1 alone, with keep_dims=True.",
)
@triton.jit
def sums_of_the_program(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    d_W, d_B = d_W * 0 + tl.sum(d_W), d_B * 0 + tl.sum(d_B)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "You add up in half precision: a sum of many numbers soon has no digits left for the next "
    "one. Convert what you load to tl.float32 first.",
)
@triton.jit
def sums_in_half_precision(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal = (tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32) - mu) * r
    normal = normal.to(x.dtype.element_ty)
    G = tl.load(upstream + at, mask=real & (i < n), other=0.0)
    d_W, d_B = tl.sum(G * normal, 1, keep_dims=True), tl.sum(G, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Gm = tl.load(upstream + at + k, mask=more, other=0.0)
        d_W += tl.sum(Gm * ((Xm - mu) * r).to(x.dtype.element_ty), 1, keep_dims=True)
        d_B += tl.sum(Gm, 1, keep_dims=True)
    d_W, d_B = d_W.to(tl.float32), d_B.to(tl.float32)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "You read x and upstream a second time for d_x, though they are still at hand: keep what you "
    "have loaded first.",
)
@triton.jit
def read_again_back(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    normal = (tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32) - mu) * r
    G = tl.load(upstream + at, mask=real & (i < n), other=0.0).to(tl.float32)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "You read long rows once for each sum, and again for d_x. One reading is enough for both sums.",
)
@triton.jit
def a_reading_for_each_sum(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal = (tl.load(x + at, mask=real & (i < n), other=0.0).to(tl.float32) - mu) * r
    G = tl.load(upstream + at, mask=real & (i < n), other=0.0).to(tl.float32)
    d_W, d_B = tl.sum(G * normal, 1, keep_dims=True), tl.sum(G, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        Gm = tl.load(upstream + at + k, mask=real & (k + i < n), other=0.0).to(tl.float32)
        d_B += tl.sum(Gm, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Gm = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        d_W += tl.sum(Gm * ((Xm - mu) * r), 1, keep_dims=True)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    keep(d_scale, d_bias, row, real, d_W, d_B)


@mistake(
    BACKWARD,
    "The sums are rounded to the dtype of the scale before d_x uses them.",
    public=False,
)
@triton.jit
def rounded_on_the_way_back(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    keep(d_scale, d_bias, row, real, d_W, d_B)
    d_W = d_W.to(x.dtype.element_ty).to(tl.float32)
    d_B = d_B.to(x.dtype.element_ty).to(tl.float32)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip


@mistake(
    BACKWARD,
    "d_x is written over upstream too.",
    public=False,
)
@triton.jit
def into_upstream_as_well(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, i, real = tile_of(rows, ROWS, BLOCK)
    at = row * n + i
    W, mu, r = row_of(scale, mean, inverse_std, row, real)
    normal, G, d_W, d_B = sums(x, upstream, at, i, real, n, mu, r, BLOCK)
    keep(d_scale, d_bias, row, real, d_W, d_B)
    pass_back(
        x, upstream, d_x, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip
    pass_back(
        x, upstream, upstream, at, i, real, n, mu, r, normal, G, W * r, d_B / n, d_W / n, BLOCK
    )  # fmt: skip


@mistake(
    "kernels.adain.kernel",
    "Places are counted in 32 bits, which end at 2³¹: far into a large tensor you read and "
    "write elsewhere. Take rows as int64, tl.program_id(0).to(tl.int64), before you "
    "multiply.",
)
@triton.jit
def rows_in_32_bits(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
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


@mistake(
    "kernels.adain.kernel",
    "ε is an argument, eps, and not always 1e-5.",
)
@triton.jit
def eps_written_down(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
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
    r = tl.rsqrt(squares / n + 1e-5)
    W = tl.load(scale + row, mask=real, other=0.0).to(tl.float32)
    B = tl.load(bias + row, mask=real, other=0.0).to(tl.float32)
    tl.store(out + at, (W * ((X - mu) * r) + B).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        tl.store(out + at + k, (W * ((Xm - mu) * r) + B).to(out.dtype.element_ty), mask=more)
    tl.store(mean + row, mu, mask=real)
    tl.store(inverse_std + row, r, mask=real)


@mistake(
    "kernels.adain.kernel",
    "Large numbers are cut off: no sentence of the docstring allows that, and the right "
    "result may be that large.",
)
@triton.jit
def large_results_cut_off(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
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
    tl.store(
        out + at,
        tl.minimum(tl.maximum(W * ((X - mu) * r) + B, -100.0), 100.0).to(out.dtype.element_ty),
        mask=there,
    )
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        tl.store(out + at + k, (W * ((Xm - mu) * r) + B).to(out.dtype.element_ty), mask=more)
    tl.store(mean + row, mu, mask=real)
    tl.store(inverse_std + row, r, mask=real)


@mistake(
    "kernels.adain.kernel",
    "Behind the first BLOCK numbers x̂ is rounded to half precision before w multiplies "
    "it: calculate in fp32 throughout, and round once, where you store.",
    public=False,
)
@triton.jit
def rounds_x_hat_in_the_tail(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
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
        tl.store(
            out + at + k,
            (W * ((Xm - mu) * r).to(x.dtype.element_ty).to(tl.float32) + B).to(
                out.dtype.element_ty
            ),
            mask=more,
        )
    tl.store(mean + row, mu, mask=real)
    tl.store(inverse_std + row, r, mask=real)


@mistake(
    "kernels.adain.kernel",
    "A style has a dtype of its own: load it and go to fp32 at once. By way of another "
    "dtype it loses its digits.",
)
@triton.jit
def scale_in_the_dtype_of_x(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
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
    W = tl.load(scale + row, mask=real, other=0.0).to(x.dtype.element_ty).to(tl.float32)
    B = tl.load(bias + row, mask=real, other=0.0).to(tl.float32)
    tl.store(out + at, (W * ((X - mu) * r) + B).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        tl.store(out + at + k, (W * ((Xm - mu) * r) + B).to(out.dtype.element_ty), mask=more)
    tl.store(mean + row, mu, mask=real)
    tl.store(inverse_std + row, r, mask=real)


@mistake(
    "kernels.adain.kernel",
    "Where all numbers of a row are equal σ is √ε, and 1/√ε is to be stored, not 0.",
)
@triton.jit
def no_sigma_where_all_is_equal(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
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
    r = tl.where(squares == 0, 0.0, tl.rsqrt(squares / n + eps))
    W = tl.load(scale + row, mask=real, other=0.0).to(tl.float32)
    B = tl.load(bias + row, mask=real, other=0.0).to(tl.float32)
    tl.store(out + at, (W * ((X - mu) * r) + B).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        tl.store(out + at + k, (W * ((Xm - mu) * r) + B).to(out.dtype.element_ty), mask=more)
    tl.store(mean + row, mu, mask=real)
    tl.store(inverse_std + row, r, mask=real)


@mistake(
    "kernels.adain.backward_kernel",
    "Places are counted in 32 bits, which end at 2³¹: far into a large tensor you read and "
    "write elsewhere. Take rows as int64, tl.program_id(0).to(tl.int64), before you "
    "multiply.",
)
@triton.jit
def rows_in_32_bits_backward(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
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


@mistake(
    "kernels.adain.backward_kernel",
    "Large numbers are cut off: no sentence of the docstring allows that, and the right "
    "result may be that large.",
)
@triton.jit
def large_gradients_cut_off(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    i, real = tl.arange(0, BLOCK)[None, :], row < rows
    at, there = row * n + i, real & (i < n)
    W = tl.load(scale + row, mask=real, other=0.0).to(tl.float32)
    mu = tl.load(mean + row, mask=real, other=0.0)
    r = tl.load(inverse_std + row, mask=real, other=0.0)
    normal = (tl.load(x + at, mask=there, other=0.0).to(tl.float32) - mu) * r
    G = tl.minimum(
        tl.maximum(tl.load(upstream + at, mask=there, other=0.0).to(tl.float32), -1e4), 1e4
    )
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


@mistake(
    "kernels.adain.backward_kernel",
    "1/σ is limited: take it as `kernel` stored it. With ε = 1e-5 it is up to 316.",
    public=False,
)
@triton.jit
def small_deviations_ignored(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    i, real = tl.arange(0, BLOCK)[None, :], row < rows
    at, there = row * n + i, real & (i < n)
    W = tl.load(scale + row, mask=real, other=0.0).to(tl.float32)
    mu = tl.load(mean + row, mask=real, other=0.0)
    r = tl.load(inverse_std + row, mask=real, other=0.0)
    r = tl.where(r > 300.0, 300.0, r)
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
