"""Typical wrong kernels for RMSNorm and RoPE, forward and backward, each with the sentence that
explains it. What is right in nearly all of them stands in the functions at the top.
"""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.launch import tl, triton

KERNEL = "kernels.qk_norm_rope.kernel"
BACKWARD = "kernels.qk_norm_rope.backward_kernel"


@triton.jit
def begin(T, D, ROWS: tl.constexpr, HALF: tl.constexpr):
    """The head, tokens and numbers of a program, and which of them exist."""
    t = tl.program_id(1).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, HALF)[None, :]
    return tl.program_id(0).to(tl.int64), t, i, (t < T) & (i < D // 2)


@triton.jit
def place(head, t, i, example_stride, head_stride, token_stride, heads):
    """Where numbers of q or k lie."""
    return head // heads * example_stride + head % heads * head_stride + t * token_stride + i


@triton.jit
def halves(x, at, half, there):
    """Both halves of what stands at x + at, 0 where nothing is there."""
    X1 = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    return X1, tl.load(x + at + half, mask=there, other=0.0).to(tl.float32)


@triton.jit
def angles(cos, sin, angle, there):
    """Cosine and sine of angles."""
    C = tl.load(cos + angle, mask=there, other=0.0).to(tl.float32)
    return C, tl.load(sin + angle, mask=there, other=0.0).to(tl.float32)


@triton.jit
def root(X1, X2, t, T, D, eps):
    """1 / √(mean x² + eps) of each token."""
    square = tl.sum(X1 * X1 + X2 * X2, 1, keep_dims=True) / D
    return tl.rsqrt(tl.where(t < T, square + eps, 1.0))


@triton.jit
def keep(out, to, half, there, Y1, Y2):
    """Store both halves."""
    tl.store(out + to, Y1.to(out.dtype.element_ty), mask=there)
    tl.store(out + to + half, Y2.to(out.dtype.element_ty), mask=there)


# --- kernel ---------------------------------------------------------------------------------------


@mistake(
    KERNEL,
    "You divide by √(Σ x² + eps): the mean square is the sum of the squares divided by D.",
)
@triton.jit
def sum_of_squares(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = tl.rsqrt(tl.sum(X1 * X1 + X2 * X2, 1, keep_dims=True) + eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You divide the sum of the squares by 2 · HALF, which is a power of 2. The lanes from D/2 on "
    "are no numbers of the token: the mean is over D.",
)
@triton.jit
def mean_over_the_lanes(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, 2 * HALF, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "Each half is divided by a root mean square of its own. The mean is over all D numbers of the "
    "token: add up the squares of both halves.",
)
@triton.jit
def a_mean_for_each_half(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r1 = tl.rsqrt(tl.sum(X1 * X1, 1, keep_dims=True) / half + eps)
    r2 = tl.rsqrt(tl.sum(X2 * X2, 1, keep_dims=True) / half + eps)
    X1, X2 = X1 * r1 * W1, X2 * r2 * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You add eps to the root. It is added to the mean square, under the root: √(mean x² + eps).",
)
@triton.jit
def eps_outside_of_the_root(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = 1 / (tl.sqrt(tl.sum(X1 * X1 + X2 * X2, 1, keep_dims=True) / D) + eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You divide by the mean square itself: the root is missing. tl.rsqrt(y) is 1 / √y.",
)
@triton.jit
def no_root(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = 1 / (tl.sum(X1 * X1 + X2 * X2, 1, keep_dims=True) / D + eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You subtract the mean first: that is LayerNorm. RMSNorm divides by the root of the mean "
    "square, and subtracts nothing.",
)
@triton.jit
def layer_norm(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    mean = tl.sum(X1 + X2, 1, keep_dims=True) / D
    X1, X2 = tl.where(there, X1 - mean, 0.0), tl.where(there, X2 - mean, 0.0)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "The weight is missing: after the norm, each number is multiplied by its own weight.",
)
@triton.jit
def no_weight(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, out = q if first else k, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r, X2 * r
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You multiply by the weight after turning. It scales the normalised numbers, and what is "
    "scaled is turned: normalise, scale, turn.",
)
@triton.jit
def weight_after_turning(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r, X2 * r
    Y1, Y2 = (X1 * C - X2 * S) * W1, (X2 * C + X1 * S) * W2
    keep(out, to, half, there, Y1, Y2)


@mistake(
    KERNEL,
    "k gets the weight of q. The third number of the program chooses all three: what is read, its "
    "weight, and where it goes.",
)
@triton.jit
def the_weight_of_q_for_both(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You turn the wrong way, by −θ. The first half becomes x̂₁ cos − x̂₂ sin, the second x̂₂ cos "
    "+ x̂₁ sin.",
)
@triton.jit
def turned_back(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C + X2 * S, X2 * C - X1 * S)


@mistake(
    KERNEL,
    "The second half is made of a first half that is turned already. Both are made of x̂₁ and x̂₂ "
    "as they were: give the results other names.",
)
@triton.jit
def turned_already(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    X1 = X1 * C - X2 * S
    keep(out, to, half, there, X1, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You turn numbers 2 i and 2 i + 1 together. Here number i of the first half and number i of "
    "the second are a point: they lie D/2 apart.",
)
@triton.jit
def neighbours_are_pairs(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = i + place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + 2 * i
    X1, X2 = halves(x, at, 1, there)
    W1, W2 = halves(weight, 2 * i, 1, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, 1, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You read angles as if each head had its own. cos and sin hold T rows that all heads share: "
    "the row of token t begins at t · D/2.",
)
@triton.jit
def angles_of_each_head(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, (head * T + t) * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You read the angles of token t at t · D. cos and sin hold D/2 numbers a token, one for each "
    "point: theirs begin at t · D/2.",
)
@triton.jit
def rows_of_angles_too_long(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * D + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "Every program does the first ROWS tokens of its head. It begins at token j · ROWS: add "
    "tl.program_id(1) * ROWS.",
)
@triton.jit
def always_the_first_tokens(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    t -= tl.program_id(1) * ROWS
    there = (t < T) & (i < half)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "Numbers are masked, tokens are not: the last program of a head goes on beyond its T tokens, "
    "into the next head. Mask loads and stores with t < T as well.",
)
@triton.jit
def tokens_not_masked(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    there = (t >= 0) & (i < half)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = tl.rsqrt(tl.sum(X1 * X1 + X2 * X2, 1, keep_dims=True) / D + eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "Tokens are masked, numbers are not: HALF may be more than D/2, and the lanes beyond bring "
    "numbers of the other half or of the next token into the mean. Mask with i < D // 2 as well.",
)
@triton.jit
def numbers_not_masked(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    there = (t < T) & (i >= 0)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i >= 0)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You read q and k as if tokens lay side by side, as those of the results do. Where a token of "
    "q or k begins is what the three strides say.",
)
@triton.jit
def strides_ignored(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You take i for the number of a head within its example. It counts the heads of all examples: "
    "the example is i // heads, its head i % heads.",
)
@triton.jit
def examples_forgotten(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = head * head_stride + t * token_stride + i
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You store by the strides of q and k. The results are tensors of their own, tokens side by "
    "side: token t of head i begins at (i · T + t) · D.",
)
@triton.jit
def stored_by_the_strides(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, at, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You add up squares in the dtype of q: in float16 the square of 300 is infinite. Make fp32 of "
    "what you load first, by .to(tl.float32).",
)
@triton.jit
def squares_in_half_precision(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1 = tl.load(x + at, mask=there, other=0.0)
    X2 = tl.load(x + at + half, mask=there, other=0.0)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    square = tl.sum(X1 * X1 + X2 * X2, 1, keep_dims=True).to(tl.float32) / D
    r = tl.rsqrt(tl.where(t < T, square + eps, 1.0))
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "You read q and k twice, once for the mean square and once to normalise. A program has its "
    "tokens at hand: keep what you have loaded.",
)
@triton.jit
def read_twice(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = halves(x, at, half, there)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(KERNEL, "The weight is rounded to half precision.", public=False)
@triton.jit
def weight_rounded(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1.to(tl.float16), X2 * r * W2.to(tl.float16)
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(KERNEL, "Angles of base 10000, whatever angles came.", public=False)
@triton.jit
def angles_of_its_own(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    theta = t * tl.exp(-2.0 * i / D * 9.210340371976184)
    C, S = tl.cos(theta), tl.sin(theta)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(KERNEL, "The normalised is written over q and k too.", public=False)
@triton.jit
def into_q_as_well(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(x, at, half, there, X1, X2)
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


@mistake(
    KERNEL,
    "A loop over what stands in a tuple: the interpreter goes along, the compiler knows only "
    "ranges.",
    public=False,
)
@triton.jit
def a_loop_over_both(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    half = D // 2
    for a, b, c, mine in ((q, q_weight, q_out, 0), (k, k_weight, k_out, 1)):
        if tl.program_id(2) == mine:
            x, weight, out = a, b, c
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = X1 * r * W1, X2 * r * W2
    keep(out, to, half, there, X1 * C - X2 * S, X2 * C + X1 * S)


# --- backward_kernel ------------------------------------------------------------------------------


@mistake(
    BACKWARD,
    "The upstream gradient is not turned. The result was turned by θ, so that its gradient is "
    "turned back, by −θ, before it meets the norm.",
)
@triton.jit
def not_turned_back(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1, G2
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "You turn the upstream gradient by θ once more. The gradient of a turn is the turn back, by "
    "−θ: g₁ = G₁ cos + G₂ sin, g₂ = G₂ cos − G₁ sin.",
)
@triton.jit
def turned_on(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C - G2 * S, G2 * C + G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "You differentiate as if the root mean square were a constant. It depends on x as well: "
    "subtract n · mean(w g n).",
)
@triton.jit
def only_the_factor(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    keep(d_x, to, half, there, r * W1 * g1, r * W2 * g2)


@mistake(BACKWARD, "The mean of w g n is its sum divided by D: you subtract D times too much.")
@triton.jit
def sum_along(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True)
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "You divide the sum of w g n by 2 · HALF, which is a power of 2. The token has D numbers: the "
    "mean is over D.",
)
@triton.jit
def along_over_the_lanes(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / (2 * HALF)
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "Each half subtracts a mean of its own. mean(w g n) is over all D numbers of the token: add "
    "up both halves.",
)
@triton.jit
def a_mean_for_each_half_of_w_g_n(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along1 = tl.sum(W1 * g1 * n1, 1, keep_dims=True) / half
    along2 = tl.sum(W2 * g2 * n2, 1, keep_dims=True) / half
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along1), r * (W2 * g2 - n2 * along2))


@mistake(
    BACKWARD,
    "The sign is wrong: what the gradient has along n is subtracted, w g − n · mean(w g n).",
)
@triton.jit
def added_along(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 + n1 * along), r * (W2 * g2 + n2 * along))


@mistake(BACKWARD, "d_x lacks a factor: x was divided by √(mean x² + eps), and so is its gradient.")
@triton.jit
def no_root_backward(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, W1 * g1 - n1 * along, W2 * g2 - n2 * along)


@mistake(
    BACKWARD,
    "You take x where n is meant: n is x / √(mean x² + eps), in both places of d_x and in the "
    "gradient of the weight.",
)
@triton.jit
def x_instead_of_n(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1, X2
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "The weight is missing in d_x: n was multiplied by w, so that w g is what comes to n.",
)
@triton.jit
def no_weight_backward(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, d_x = q if first else k, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(g1 * n1 + g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (g1 - n1 * along), r * (g2 - n2 * along))


@mistake(
    BACKWARD,
    "You multiply the gradient of the weight by the weight. The result is w n: what comes to w is "
    "g n, and n has no weight in it.",
)
@triton.jit
def weighted_weights(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1 = tl.sum(W1 * g1 * n1, 0, keep_dims=True)
    sum2 = tl.sum(W2 * g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "For the weight you take the upstream gradient as it came. The weight is multiplied before "
    "the turn: it gets g n, of the gradient that is turned back.",
)
@triton.jit
def weights_of_upstream(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(G1 * n1, 0, keep_dims=True), tl.sum(G2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "All programs of a head store their sums over tokens in one place, and the last one wins; "
    "other places are never written. Program (i, j) has its own D numbers: the (i · programs + "
    "j)-th.",
)
@triton.jit
def one_part_for_a_head(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = head * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "You add to d_q_weight and d_k_weight by atomics, but nobody has set them to 0. Each program "
    "has D numbers of its own there: store them.",
)
@triton.jit
def parts_by_atomics(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    tl.atomic_add(d_weight + part, sum1, mask=i < half)
    tl.atomic_add(d_weight + part + half, sum2, mask=i < half)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "Tokens beyond T are 0 here, and without eps their root is 1 / 0: 0 · ∞ is NaN, which spoils "
    "the sums over tokens. Put a harmless number under their root with tl.where.",
)
@triton.jit
def tokens_that_do_not_exist(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = tl.rsqrt(tl.sum(X1 * X1 + X2 * X2, 1, keep_dims=True) / D + eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "Numbers are masked, tokens are not: the last program of a head goes on beyond its T tokens, "
    "into the next head, and adds them to its sums. Mask with t < T as well.",
)
@triton.jit
def tokens_not_masked_backward(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    there = (t >= 0) & (i < half)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = tl.rsqrt(tl.sum(X1 * X1 + X2 * X2, 1, keep_dims=True) / D + eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "You read q and k as if tokens lay side by side, as those of the upstream gradients do. Where "
    "a token of q or k begins is what the three strides say.",
)
@triton.jit
def strides_ignored_backward(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, to, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "You read the upstream gradients by the strides of q and k. Theirs lie side by side: token t "
    "of head i begins at (i · T + t) · D.",
)
@triton.jit
def upstream_by_the_strides(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, at, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "You store d_q and d_k by the strides of q and k. They are tensors of their own, tokens side "
    "by side: token t of head i begins at (i · T + t) · D.",
)
@triton.jit
def stored_by_the_strides_backward(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, at, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "k gets the weight of q. The third number of the program chooses all of them: q or k, its "
    "weight, its upstream gradient, and where the gradients go.",
)
@triton.jit
def the_weight_of_q_for_both_backward(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "You add up squares in the dtype of q: in float16 the square of 300 is infinite. Make fp32 of "
    "what you load first, by .to(tl.float32).",
)
@triton.jit
def squares_in_half_precision_backward(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1 = tl.load(x + at, mask=there, other=0.0)
    X2 = tl.load(x + at + half, mask=there, other=0.0)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    square = tl.sum(X1 * X1 + X2 * X2, 1, keep_dims=True).to(tl.float32) / D
    r = tl.rsqrt(tl.where(t < T, square + eps, 1.0))
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(BACKWARD, "eps is missing: the root is that of the forward pass, √(mean x² + eps).")
@triton.jit
def no_eps_backward(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, 0.0)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "You read q and k twice, once for the mean square and once for n. A program has its tokens at "
    "hand: keep what you have loaded.",
)
@triton.jit
def read_twice_backward(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    X1, X2 = halves(x, at, half, there)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(BACKWARD, "Upstream gradients are rounded to half precision.", public=False)
@triton.jit
def upstream_rounded(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    G1, G2 = G1.to(tl.float16).to(tl.float32), G2.to(tl.float16).to(tl.float32)
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(BACKWARD, "The upstream gradient is turned back in place.", public=False)
@triton.jit
def into_upstream_as_well(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    keep(upstream, to, half, there, g1, g2)
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.sum(W1 * g1 * n1 + W2 * g2 * n2, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    BACKWARD,
    "A loop over what stands in a tuple: the interpreter goes along, the compiler knows only "
    "ranges.",
    public=False,
)
@triton.jit
def a_loop_over_both_backward(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first, half = tl.program_id(2) == 0, D // 2
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, t, i, there = begin(T, D, ROWS, HALF)
    at = place(head, t, i, example_stride, head_stride, token_stride, heads)
    to = (head * T + t) * D + i
    X1, X2 = halves(x, at, half, there)
    G1, G2 = halves(upstream, to, half, there)
    W1, W2 = halves(weight, i, half, i < half)
    C, S = angles(cos, sin, t * half + i, there)
    r = root(X1, X2, t, T, D, eps)
    n1, n2 = X1 * r, X2 * r
    g1, g2 = G1 * C + G2 * S, G2 * C - G1 * S
    part = (head * tl.num_programs(1) + tl.program_id(1)) * D + i
    sum1, sum2 = tl.sum(g1 * n1, 0, keep_dims=True), tl.sum(g2 * n2, 0, keep_dims=True)
    keep(d_weight, part, half, i < half, sum1, sum2)
    along = tl.zeros([ROWS, 1], tl.float32)
    for each in (W1 * g1 * n1, W2 * g2 * n2):
        along += tl.sum(each, 1, keep_dims=True) / D
    keep(d_x, to, half, there, r * (W1 * g1 - n1 * along), r * (W2 * g2 - n2 * along))


@mistake(
    "kernels.qk_norm_rope.kernel",
    "Places are counted in 32 bits, which end at 2³¹: far into a large tensor you read and "
    "write elsewhere. Take heads and tokens as int64 before you multiply.",
)
@triton.jit
def heads_and_tokens_in_32_bits(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(2) == 0
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, half = tl.program_id(0), D // 2
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
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


@mistake(
    "kernels.qk_norm_rope.kernel",
    "Heads are counted in 32 bits, which end at 2³¹: take tl.program_id(0) as int64, too, "
    "before you multiply.",
    public=False,
)
@triton.jit
def heads_in_32_bits(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(2) == 0
    x, weight, out = q if first else k, q_weight if first else k_weight, q_out if first else k_out
    head, half = tl.program_id(0), D // 2
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


@mistake(
    "kernels.qk_norm_rope.kernel",
    "The angles have a dtype of their own: load cos and go to fp32 at once. By way of "
    "another dtype it loses its digits.",
    public=False,
)
@triton.jit
def angles_in_the_dtype_of_x(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
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
    C = tl.load(cos + t * half + i, mask=there, other=0.0).to(x.dtype.element_ty).to(tl.float32)
    S = tl.load(sin + t * half + i, mask=there, other=0.0).to(tl.float32)
    square = tl.sum(X1 * X1 + X2 * X2, 1, keep_dims=True) / D
    r = tl.rsqrt(tl.where(t < T, square + eps, 1.0))
    X1, X2 = X1 * r * W1, X2 * r * W2
    to = (head * T + t) * D + i
    tl.store(out + to, (X1 * C - X2 * S).to(out.dtype.element_ty), mask=there)
    tl.store(out + to + half, (X2 * C + X1 * S).to(out.dtype.element_ty), mask=there)


@mistake(
    "kernels.qk_norm_rope.kernel",
    "Large numbers are cut off: no sentence of the docstring allows that, and the right "
    "result may be that large.",
    public=False,
)
@triton.jit
def large_numbers_cut_off(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
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
    X1 = tl.minimum(tl.maximum(X1, -1e5), 1e5)
    square = tl.sum(X1 * X1 + X2 * X2, 1, keep_dims=True) / D
    r = tl.rsqrt(tl.where(t < T, square + eps, 1.0))
    X1, X2 = X1 * r * W1, X2 * r * W2
    to = (head * T + t) * D + i
    tl.store(out + to, (X1 * C - X2 * S).to(out.dtype.element_ty), mask=there)
    tl.store(out + to + half, (X2 * C + X1 * S).to(out.dtype.element_ty), mask=there)


@mistake(
    "kernels.qk_norm_rope.backward_kernel",
    "Places are counted in 32 bits, which end at 2³¹: far into a large tensor you read and "
    "write elsewhere. Take heads and tokens as int64 before you multiply.",
)
@triton.jit
def heads_and_tokens_in_32_bits_backward(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(2) == 0
    x, weight, d_x = q if first else k, q_weight if first else k_weight, d_q if first else d_k
    upstream, d_weight = q_upstream if first else k_upstream, d_q_weight if first else d_k_weight
    head, half = tl.program_id(0), D // 2
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
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


@mistake(
    "kernels.qk_norm_rope.backward_kernel",
    "The angles have a dtype of their own: load cos and go to fp32 at once. By way of "
    "another dtype it loses its digits.",
    public=False,
)
@triton.jit
def angles_in_the_dtype_of_x_backward(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
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
    C = tl.load(cos + t * half + i, mask=there, other=0.0).to(x.dtype.element_ty).to(tl.float32)
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


@mistake(
    "kernels.qk_norm_rope.backward_kernel",
    "Large numbers are cut off: no sentence of the docstring allows that, and the right "
    "result may be that large.",
    public=False,
)
@triton.jit
def large_gradients_cut_off(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
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
    G1 = tl.minimum(
        tl.maximum(tl.load(upstream + to, mask=there, other=0.0).to(tl.float32), -1e3), 1e3
    )
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
