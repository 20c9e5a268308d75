"""Typical wrong kernels for silu(GroupNorm(x)) and its gradient, each with its sentence."""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.launch import tl, triton


@mistake(
    "kernels.group_norm_silu.kernel",
    "Your result is the norm alone: y is still to be multiplied by sigmoid(y).",
)
@triton.jit
def without_silu(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    tl.store(out + at, Y.to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Y = W * ((Xm - mu) * r) + B
        tl.store(out + at + k, Y.to(out.dtype.element_ty), mask=more)
    tl.store(mean + group, mu)
    tl.store(inverse_std + group, r)


@mistake(
    "kernels.group_norm_silu.kernel",
    "You store sigmoid(y). SiLU is y · sigmoid(y).",
)
@triton.jit
def sigmoid_alone(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    tl.store(out + at, tl.sigmoid(Y).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Y = W * ((Xm - mu) * r) + B
        tl.store(out + at + k, tl.sigmoid(Y).to(out.dtype.element_ty), mask=more)
    tl.store(mean + group, mu)
    tl.store(inverse_std + group, r)


@mistake(
    "kernels.group_norm_silu.kernel",
    "You divide the squares by one less than their number. GroupNorm takes the variance of "
    "the numbers that are there, not an estimate for others: divide by C · n.",
)
@triton.jit
def sample_variance(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    r = tl.rsqrt(squares / (C * n - 1) + eps)
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


@mistake(
    "kernels.group_norm_silu.kernel",
    "Your ε is added to the standard deviation. It belongs to the variance, under the root.",
)
@triton.jit
def eps_outside_the_root(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    r = 1 / (tl.sqrt(squares / (C * n)) + eps)
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


@mistake(
    "kernels.group_norm_silu.kernel",
    "Lanes beyond the group hold 0, and 0 − μ is not 0: they get into your sum of squares. "
    "Put 0 there with tl.where after μ is subtracted.",
)
@triton.jit
def masked_lanes_in_the_variance(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    mu = tl.sum(X) / (C * tl.minimum(n, BLOCK))
    off = X - mu
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


@mistake(
    "kernels.group_norm_silu.kernel",
    "Your mean divides by all lanes of the tile. Lanes beyond the group add nothing to the "
    "sum, so divide by C times the positions that are there.",
)
@triton.jit
def mean_over_the_whole_tile(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    mu = tl.sum(X) / (CHANNELS * BLOCK)
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


@mistake(
    "kernels.group_norm_silu.kernel",
    "Every group takes the weights of the first. Group g begins at weight + g · C.",
)
@triton.jit
def weights_of_the_first_group(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    W = tl.load(weight + c, mask=c < C, other=0.0).to(tl.float32)
    B = tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)
    Y = W * ((X - mu) * r) + B
    tl.store(out + at, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Y = W * ((Xm - mu) * r) + B
        tl.store(out + at + k, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=more)
    tl.store(mean + group, mu)
    tl.store(inverse_std + group, r)


@mistake(
    "kernels.group_norm_silu.kernel",
    "You count groups through the whole batch, and read past the end of the weights: they "
    "belong to group i % groups, the same for every example.",
)
@triton.jit
def weights_of_another_example(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    W = tl.load(weight + group * C + c, mask=c < C, other=0.0).to(tl.float32)
    B = tl.load(bias + group * C + c, mask=c < C, other=0.0).to(tl.float32)
    Y = W * ((X - mu) * r) + B
    tl.store(out + at, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Y = W * ((Xm - mu) * r) + B
        tl.store(out + at + k, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=more)
    tl.store(mean + group, mu)
    tl.store(inverse_std + group, r)


@mistake(
    "kernels.group_norm_silu.kernel",
    "A group may have more positions than BLOCK. You stop after the first BLOCK of them: go "
    "through the rest as well, for the statistics and for the result.",
)
@triton.jit
def without_the_rest(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    mu = tl.sum(X) / (C * tl.minimum(n, BLOCK))
    off = tl.where(there, X - mu, 0.0)
    squares = tl.sum(off * off)
    r = tl.rsqrt(squares / (C * n) + eps)
    W = tl.load(weight + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    B = tl.load(bias + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    Y = W * ((X - mu) * r) + B
    tl.store(out + at, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=there)
    tl.store(mean + group, mu)
    tl.store(inverse_std + group, r)


@mistake(
    "kernels.group_norm_silu.kernel",
    "Your mean and variance are those of the first BLOCK positions. Merge in those of the "
    "others before you use them.",
)
@triton.jit
def statistics_of_the_first_block(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    mu = tl.sum(X) / (C * tl.minimum(n, BLOCK))
    off = tl.where(there, X - mu, 0.0)
    squares = tl.sum(off * off)
    r = tl.rsqrt(squares / (C * tl.minimum(n, BLOCK)) + eps)
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


@mistake(
    "kernels.group_norm_silu.kernel",
    "The mean of the squares less the square of the mean.",
    public=False,
)
@triton.jit
def difference_of_large_numbers(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    mu = tl.sum(X) / (C * tl.minimum(n, BLOCK))
    off = tl.where(there, X - mu, 0.0)
    squares = tl.sum(X * X) - C * n * mu * mu
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


@mistake(
    "kernels.group_norm_silu.kernel",
    "σ is stored where 1/σ is asked for.",
    public=False,
)
@triton.jit
def deviation_instead_of_its_inverse(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    tl.store(inverse_std + group, 1 / r)


@mistake(
    "kernels.group_norm_silu.kernel",
    "x is read a second time for the result.",
    public=False,
)
@triton.jit
def read_again(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = W * ((X - mu) * r) + B
    tl.store(out + at, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Y = W * ((Xm - mu) * r) + B
        tl.store(out + at + k, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=more)
    tl.store(mean + group, mu)
    tl.store(inverse_std + group, r)


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "You send back upstream · sigmoid(y). The derivative of y · sigmoid(y) has two parts: s + "
    "y s (1 − s), with s = sigmoid(y).",
)
@triton.jit
def sigmoid_for_its_derivative(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    W = tl.load(weight + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    B = tl.load(bias + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    mu, r = tl.load(mean + group), tl.load(inverse_std + group)
    normal = (tl.load(x + at, mask=there, other=0.0).to(tl.float32) - mu) * r
    s = tl.sigmoid(W * normal + B)
    h = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
    h *= s
    d_W, d_B = tl.sum(h * normal, 1, keep_dims=True), tl.sum(h, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        normal_m = (tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r
        s = tl.sigmoid(W * normal_m + B)
        h_m = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        h_m *= s
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
        h_m *= s
        d_X = r * (W * h_m - level - normal_m * along)
        tl.store(d_x + at + k, d_X.to(d_x.dtype.element_ty), mask=more)
    tl.store(d_weight + group * C + c, d_W, mask=c < C)
    tl.store(d_bias + group * C + c, d_B, mask=c < C)


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "You leave out the mean of w h. Adding a number to all of x changes nothing, so the "
    "gradient of a group has to add up to 0: subtract it.",
)
@triton.jit
def without_the_mean(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    along = tl.sum(W * d_W) / (C * n)
    d_X = r * (W * h - normal * along)
    tl.store(d_x + at, d_X.to(d_x.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        normal_m = (tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r
        s = tl.sigmoid(W * normal_m + B)
        h_m = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        h_m *= s * (1 + (W * normal_m + B) * (1 - s))
        d_X = r * (W * h_m - normal_m * along)
        tl.store(d_x + at + k, d_X.to(d_x.dtype.element_ty), mask=more)
    tl.store(d_weight + group * C + c, d_W, mask=c < C)
    tl.store(d_bias + group * C + c, d_B, mask=c < C)


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "You leave out x̂ · mean w h x̂. Stretching x about its mean changes nothing either: take "
    "out what points along x̂.",
)
@triton.jit
def without_the_part_along_x(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    level = tl.sum(W * d_B) / (C * n)
    d_X = r * (W * h - level)
    tl.store(d_x + at, d_X.to(d_x.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        normal_m = (tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r
        s = tl.sigmoid(W * normal_m + B)
        h_m = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        h_m *= s * (1 + (W * normal_m + B) * (1 - s))
        d_X = r * (W * h_m - level)
        tl.store(d_x + at + k, d_X.to(d_x.dtype.element_ty), mask=more)
    tl.store(d_weight + group * C + c, d_W, mask=c < C)
    tl.store(d_bias + group * C + c, d_B, mask=c < C)


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "Your d_x is not divided by σ: multiply by inverse_std, which is 1/σ.",
)
@triton.jit
def without_the_deviation(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    d_X = W * h - level - normal * along
    tl.store(d_x + at, d_X.to(d_x.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        normal_m = (tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r
        s = tl.sigmoid(W * normal_m + B)
        h_m = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        h_m *= s * (1 + (W * normal_m + B) * (1 - s))
        d_X = W * h_m - level - normal_m * along
        tl.store(d_x + at + k, d_X.to(d_x.dtype.element_ty), mask=more)
    tl.store(d_weight + group * C + c, d_W, mask=c < C)
    tl.store(d_bias + group * C + c, d_B, mask=c < C)


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "The gradients of weight and bias are exchanged: Σ h x̂ belongs to the weight, Σ h to the bias.",
)
@triton.jit
def weight_and_bias_exchanged(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    tl.store(d_weight + group * C + c, d_B, mask=c < C)
    tl.store(d_bias + group * C + c, d_W, mask=c < C)


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "Your means divide by n. They are means over the group, C channels of n positions: divide "
    "by C · n.",
)
@triton.jit
def means_of_one_channel(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    level, along = tl.sum(W * d_B) / n, tl.sum(W * d_W) / n
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


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "Your d_x takes h for the gradient of x̂. It has come through the weight: w h.",
)
@triton.jit
def weight_left_out(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    level, along = tl.sum(d_B) / (C * n), tl.sum(d_W) / (C * n)
    d_X = r * (h - level - normal * along)
    tl.store(d_x + at, d_X.to(d_x.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        normal_m = (tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r
        s = tl.sigmoid(W * normal_m + B)
        h_m = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        h_m *= s * (1 + (W * normal_m + B) * (1 - s))
        d_X = r * (h_m - level - normal_m * along)
        tl.store(d_x + at + k, d_X.to(d_x.dtype.element_ty), mask=more)
    tl.store(d_weight + group * C + c, d_W, mask=c < C)
    tl.store(d_bias + group * C + c, d_B, mask=c < C)


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "You compute y anew without its bias. y = w x̂ + b, or the sigmoid is that of another y.",
)
@triton.jit
def bias_left_out(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    W = tl.load(weight + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    mu, r = tl.load(mean + group), tl.load(inverse_std + group)
    normal = (tl.load(x + at, mask=there, other=0.0).to(tl.float32) - mu) * r
    s = tl.sigmoid(W * normal)
    h = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
    h *= s * (1 + W * normal * (1 - s))
    d_W, d_B = tl.sum(h * normal, 1, keep_dims=True), tl.sum(h, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        normal_m = (tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r
        s = tl.sigmoid(W * normal_m)
        h_m = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        h_m *= s * (1 + W * normal_m * (1 - s))
        d_W += tl.sum(h_m * normal_m, 1, keep_dims=True)
        d_B += tl.sum(h_m, 1, keep_dims=True)
    level, along = tl.sum(W * d_B) / (C * n), tl.sum(W * d_W) / (C * n)
    d_X = r * (W * h - level - normal * along)
    tl.store(d_x + at, d_X.to(d_x.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        normal_m = (tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r
        s = tl.sigmoid(W * normal_m)
        h_m = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        h_m *= s * (1 + W * normal_m * (1 - s))
        d_X = r * (W * h_m - level - normal_m * along)
        tl.store(d_x + at + k, d_X.to(d_x.dtype.element_ty), mask=more)
    tl.store(d_weight + group * C + c, d_W, mask=c < C)
    tl.store(d_bias + group * C + c, d_B, mask=c < C)


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "All examples write their part of the gradients of weight and bias to one row: the last "
    "one wins, and on a GPU nobody knows which that is. Program i has a row of its own, "
    "d_weight + i · C.",
)
@triton.jit
def all_examples_in_one_row(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    tl.store(d_weight + group % groups * C + c, d_W, mask=c < C)
    tl.store(d_bias + group % groups * C + c, d_B, mask=c < C)


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "The sums end after the first BLOCK positions.",
    public=False,
)
@triton.jit
def sums_of_the_first_block(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "The upstream gradient is read past its end.",
    public=False,
)
@triton.jit
def upstream_without_a_mask(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    W = tl.load(weight + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    B = tl.load(bias + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    mu, r = tl.load(mean + group), tl.load(inverse_std + group)
    normal = (tl.load(x + at, mask=there, other=0.0).to(tl.float32) - mu) * r
    s = tl.sigmoid(W * normal + B)
    h = tl.load(upstream + at).to(tl.float32)
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


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "x and the upstream gradient are read a second time.",
    public=False,
)
@triton.jit
def read_again_for_the_result(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    normal = (tl.load(x + at, mask=there, other=0.0).to(tl.float32) - mu) * r
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


@mistake(
    "kernels.group_norm_silu.kernel",
    "Places are counted in 32 bits, which end at 2³¹: far into a large tensor you read and "
    "write elsewhere. Take groups as int64, tl.program_id(0).to(tl.int64), before you "
    "multiply.",
)
@triton.jit
def groups_in_32_bits(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0)
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


@mistake(
    "kernels.group_norm_silu.kernel",
    "Large numbers are cut off: no sentence of the docstring allows that, and the right "
    "result may be that large.",
    public=False,
)
@triton.jit
def silu_of_limited_y(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    Y = tl.minimum(tl.maximum(W * ((X - mu) * r) + B, -30.0), 30.0)
    tl.store(out + at, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Y = W * ((Xm - mu) * r) + B
        tl.store(out + at + k, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=more)
    tl.store(mean + group, mu)
    tl.store(inverse_std + group, r)


@mistake(
    "kernels.group_norm_silu.kernel",
    "e^y / (1 + e^y) is ∞ / ∞ where y is above 88: write 1 / (1 + e^−y), or tl.sigmoid(y).",
    public=False,
)
@triton.jit
def a_sigmoid_that_overflows(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    tl.store(out + at, (Y * (tl.exp(Y) / (1 + tl.exp(Y)))).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Y = W * ((Xm - mu) * r) + B
        tl.store(
            out + at + k, (Y * (tl.exp(Y) / (1 + tl.exp(Y)))).to(out.dtype.element_ty), mask=more
        )
    tl.store(mean + group, mu)
    tl.store(inverse_std + group, r)


@mistake(
    "kernels.group_norm_silu.kernel",
    "A style has a dtype of its own: load it and go to fp32 at once. By way of another "
    "dtype it loses its digits.",
    public=False,
)
@triton.jit
def bias_in_the_dtype_of_weight(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    B = (
        tl.load(bias + group % groups * C + c, mask=c < C, other=0.0)
        .to(weight.dtype.element_ty)
        .to(tl.float32)
    )
    Y = W * ((X - mu) * r) + B
    tl.store(out + at, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Y = W * ((Xm - mu) * r) + B
        tl.store(out + at + k, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=more)
    tl.store(mean + group, mu)
    tl.store(inverse_std + group, r)


@mistake(
    "kernels.group_norm_silu.kernel",
    "k and m count positions: a block of k positions has C k numbers, so squares grow by C "
    "(μₘ − μ)² k m / (k + m).",
    public=False,
)
@triton.jit
def squares_of_blocks_without_channels(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        squares += tl.sum(off * off) + (mu_m - mu) * (mu_m - mu) * k * (m / (k + m))
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


@mistake(
    "kernels.group_norm_silu.kernel",
    "You read the tail of a large group three times: its mean and its squares come of one "
    "and the same load, block by block.",
    public=False,
)
@triton.jit
def large_groups_read_thrice(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        mu += 0 * tl.sum(tl.load(x + at + k, mask=more, other=0.0).to(tl.float32))
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


@mistake(
    "kernels.group_norm_silu.kernel",
    "The mean is rounded to half precision in between: calculate in fp32 throughout, and "
    "round once, where you store.",
    public=False,
)
@triton.jit
def mean_in_half_precision(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    mu = mu.to(x.dtype.element_ty).to(tl.float32)
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


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "Places are counted in 32 bits, which end at 2³¹: far into a large tensor you read and "
    "write elsewhere. Take groups as int64, tl.program_id(0).to(tl.int64), before you "
    "multiply.",
)
@triton.jit
def groups_in_32_bits_backward(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0)
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


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "σ is made again with an ε of your own: `kernel` stored 1/σ, with the ε that was asked for.",
    public=False,
)
@triton.jit
def sigma_made_again(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    W = tl.load(weight + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    B = tl.load(bias + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    X0 = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    mu = tl.load(mean + group)
    r = (
        tl.rsqrt(tl.sum(tl.where(there, (X0 - mu) * (X0 - mu), 0.0)) / (C * n) + 1e-6)
        if n <= BLOCK
        else tl.load(inverse_std + group)
    )
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


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "A style has a dtype of its own: load it and go to fp32 at once. By way of another "
    "dtype it loses its digits.",
    public=False,
)
@triton.jit
def bias_in_the_dtype_of_weight_backward(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    W = tl.load(weight + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    B = (
        tl.load(bias + group % groups * C + c, mask=c < C, other=0.0)
        .to(weight.dtype.element_ty)
        .to(tl.float32)
    )
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


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "The mean of w h is rounded to half precision in between: calculate in fp32 "
    "throughout, and round once, where you store.",
    public=False,
)
@triton.jit
def level_in_half_precision(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    level = level.to(x.dtype.element_ty).to(tl.float32)
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


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "e^y / (1 + e^y) is ∞ / ∞ where y is above 88: write 1 / (1 + e^−y), or tl.sigmoid(y).",
    public=False,
)
@triton.jit
def a_sigmoid_that_overflows_backward(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    W = tl.load(weight + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    B = tl.load(bias + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    mu, r = tl.load(mean + group), tl.load(inverse_std + group)
    normal = (tl.load(x + at, mask=there, other=0.0).to(tl.float32) - mu) * r
    s = tl.exp(W * normal + B) / (1 + tl.exp(W * normal + B))
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


@mistake(
    "kernels.group_norm_silu.backward_kernel",
    "You read the tail of a large group three times: all sums come of one and the same "
    "load, block by block.",
    public=False,
)
@triton.jit
def large_groups_read_thrice_backward(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        d_W += 0 * tl.sum(tl.load(x + at + k, mask=more, other=0.0).to(tl.float32))
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
