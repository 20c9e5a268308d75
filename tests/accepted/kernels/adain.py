"""Right kernels for AdaIN, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.launch import tl, triton

FORWARD, BACKWARD = "kernels.adain.kernel", "kernels.adain.backward_kernel"


@accepted(FORWARD)
@triton.jit
def around_the_first_blocks_mean(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Sums of x − c and of its square, where c is the mean of the first block, near that of all."""
    r = tl.program_id(axis=0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    mask_r = r < rows
    columns = tl.arange(0, BLOCK)
    pointers = x + r[:, None] * n + columns[None, :]
    mask = mask_r[:, None] & (columns < n)[None, :]
    first = tl.load(pointers, mask=mask, other=0.0).to(tl.float32)
    origin = tl.sum(first, axis=1) / tl.minimum(n, BLOCK)
    centred = tl.where(mask, first - origin[:, None], 0.0)
    total, squares = tl.sum(centred, axis=1), tl.sum(centred * centred, axis=1)
    for start in range(BLOCK, n, BLOCK):
        more = mask_r[:, None] & (start + columns < n)[None, :]
        block = tl.load(pointers + start, mask=more, other=0.0).to(tl.float32)
        centred = tl.where(more, block - origin[:, None], 0.0)
        total += tl.sum(centred, axis=1)
        squares += tl.sum(centred * centred, axis=1)
    mu = origin + total / n
    variance = tl.maximum(squares / n - (total / n) * (total / n), 0.0)
    inverse = 1.0 / tl.sqrt(variance + eps)
    w = tl.load(scale + r, mask=mask_r, other=0.0).to(tl.float32) * inverse
    b = tl.load(bias + r, mask=mask_r, other=0.0).to(tl.float32)
    results = out + r[:, None] * n + columns[None, :]
    tl.store(results, (first - mu[:, None]) * w[:, None] + b[:, None], mask=mask)
    for start in range(BLOCK, n, BLOCK):
        more = mask_r[:, None] & (start + columns < n)[None, :]
        block = tl.load(pointers + start, mask=more, other=0.0).to(tl.float32)
        tl.store(results + start, (block - mu[:, None]) * w[:, None] + b[:, None], mask=more)
    tl.store(mean + r, mu, mask=mask_r)
    tl.store(inverse_std + r, inverse, mask=mask_r)


@accepted(FORWARD)
@triton.jit
def lane_by_lane(
    x, scale, bias, out, mean, inverse_std, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Each lane keeps a mean and squares of its own (Welford), merged at the end; a long row is
    read twice from its beginning."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    real = row < rows
    there = real & (i < n)
    X = tl.load(x + row * n + i, mask=there, other=0.0).to(tl.float32)
    means, squares = X, tl.zeros([ROWS, BLOCK], tl.float32)
    count = tl.where(there, 1.0, 0.0)
    for k in range(BLOCK, n, BLOCK):
        more = real & (k + i < n)
        Xm = tl.load(x + row * n + k + i, mask=more, other=0.0).to(tl.float32)
        step = tl.where(more, Xm - means, 0.0)
        count += tl.where(more, 1.0, 0.0)
        means += step / tl.maximum(count, 1.0)
        squares += step * tl.where(more, Xm - means, 0.0)
    mu = tl.sum(means * (count / n), axis=1)[:, None]
    off = means - mu
    variance = tl.sum(squares / n + count / n * off * off, axis=1)[:, None]
    r = tl.rsqrt(variance + eps)
    W = tl.load(scale + row, mask=real, other=1.0).to(tl.float32)
    B = tl.load(bias + row, mask=real, other=0.0).to(tl.float32)
    if n <= BLOCK:
        tl.store(out + row * n + i, ((X - mu) * r * W + B).to(out.dtype.element_ty), mask=there)
    else:
        for k in range(0, n, BLOCK):
            more = real & (k + i < n)
            Xm = tl.load(x + row * n + k + i, mask=more, other=0.0).to(tl.float32)
            Y = (Xm - mu) * r * W + B
            tl.store(out + row * n + k + i, Y.to(out.dtype.element_ty), mask=more)
    tl.store(mean + row, mu, mask=real)
    tl.store(inverse_std + row, r, mask=real)


@accepted(BACKWARD)
@triton.jit
def means_of_what_is_scaled(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """d_x = (g − mean g − x̂ · mean g x̂) / σ with g = w G, as textbooks have it; lanes keep sums of
    their own, which are added at the end."""
    r = tl.program_id(axis=0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    mask_r = r < rows
    columns = tl.arange(0, BLOCK)
    offsets = r[:, None] * n + columns[None, :]
    w = tl.load(scale + r, mask=mask_r, other=0.0).to(tl.float32)[:, None]
    mu = tl.load(mean + r, mask=mask_r, other=0.0)[:, None]
    inverse = tl.load(inverse_std + r, mask=mask_r, other=0.0)[:, None]
    mask = mask_r[:, None] & (columns < n)[None, :]
    first_x = tl.load(x + offsets, mask=mask, other=0.0).to(tl.float32)
    first_g = tl.load(upstream + offsets, mask=mask, other=0.0).to(tl.float32)
    first_x = (first_x - mu) * inverse
    total, along = first_g, first_g * first_x
    for start in range(BLOCK, n, BLOCK):
        more = mask_r[:, None] & (start + columns < n)[None, :]
        x_hat = tl.load(x + offsets + start, mask=more, other=0.0).to(tl.float32)
        x_hat = (x_hat - mu) * inverse
        g = tl.load(upstream + offsets + start, mask=more, other=0.0).to(tl.float32)
        total += g
        along += g * x_hat
    total, along = tl.sum(total, axis=1), tl.sum(along, axis=1)
    tl.store(d_scale + r, along, mask=mask_r)
    tl.store(d_bias + r, total, mask=mask_r)
    level, slope = w * total[:, None] / n, w * along[:, None] / n
    tl.store(d_x + offsets, (w * first_g - level - first_x * slope) * inverse, mask=mask)
    for start in range(BLOCK, n, BLOCK):
        more = mask_r[:, None] & (start + columns < n)[None, :]
        x_hat = tl.load(x + offsets + start, mask=more, other=0.0).to(tl.float32)
        x_hat = (x_hat - mu) * inverse
        g = tl.load(upstream + offsets + start, mask=more, other=0.0).to(tl.float32)
        tl.store(d_x + offsets + start, (w * g - level - x_hat * slope) * inverse, mask=more)


@accepted(BACKWARD)
@triton.jit
def with_sums_around_the_mean(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_bias, rows, n,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Σ G (x − μ) is divided by σ at the end; a long row is read twice from its beginning."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    real = row < rows
    W = tl.load(scale + row, mask=real, other=1.0).to(tl.float32)
    mu = tl.load(mean + row, mask=real, other=0.0)
    r = tl.load(inverse_std + row, mask=real, other=1.0)
    off, G = tl.zeros([ROWS, BLOCK], tl.float32), tl.zeros([ROWS, BLOCK], tl.float32)
    d_W, d_B = tl.zeros([ROWS, 1], tl.float32), tl.zeros([ROWS, 1], tl.float32)
    for k in range(0, n, BLOCK):
        there = real & (k + i < n)
        X = tl.load(x + row * n + k + i, mask=there).to(tl.float32)
        off = tl.where(there, X - mu, 0.0)
        G = tl.load(upstream + row * n + k + i, mask=there, other=0.0).to(tl.float32)
        d_W += tl.sum(G * off, axis=1)[:, None]
        d_B += tl.sum(G, axis=1)[:, None]
    d_W *= r
    for k in range(0, n, BLOCK):
        there = real & (k + i < n)
        if n > BLOCK:
            X = tl.load(x + row * n + k + i, mask=there, other=0.0).to(tl.float32)
            off = X - mu
            G = tl.load(upstream + row * n + k + i, mask=there, other=0.0).to(tl.float32)
        d_X = (G - (d_B + off * r * d_W) / n) * (W * r)
        tl.store(d_x + row * n + k + i, d_X.to(d_x.dtype.element_ty), mask=there)
    tl.store(d_scale + row, d_W.to(d_scale.dtype.element_ty), mask=real)
    tl.store(d_bias + row, d_B.to(d_bias.dtype.element_ty), mask=real)
