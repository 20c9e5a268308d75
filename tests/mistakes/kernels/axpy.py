"""Typical wrong kernels for a x + y, each with the sentence that explains it."""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.launch import tl, triton

EXERCISE = "kernels.axpy.kernel"


@mistake(
    EXERCISE,
    "The last block sticks out of the tensor: mask loads and store with i < n, or the lanes beyond "
    "n read and overwrite memory that belongs to something else.",
)
@triton.jit
def no_mask(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, (a * tl.load(x + i) + tl.load(y + i)).to(out.dtype.element_ty))


@mistake(
    EXERCISE,
    "Only the store is masked. A load outside of the tensor is an error too, though its value is "
    "thrown away: on a GPU it may end the program. Mask every access.",
)
@triton.jit
def only_the_store_masked(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, (a * tl.load(x + i) + tl.load(y + i)).to(out.dtype.element_ty), mask=i < n)


@mistake(
    EXERCISE,
    "The mask is i <= n, one element too far: the last element is n − 1.",
)
@triton.jit
def one_too_far(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i <= n
    X, Y = tl.load(x + i, mask=there), tl.load(y + i, mask=there)
    tl.store(out + i, (a * X + Y).to(out.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Every program works on the first block. Program i begins at i · BLOCK: add "
    "tl.program_id(0) * BLOCK.",
)
@triton.jit
def always_the_first_block(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    there = i < n
    X, Y = tl.load(x + i, mask=there), tl.load(y + i, mask=there)
    tl.store(out + i, (a * X + Y).to(out.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Program i begins at element i: neighbours do nearly the same work, and most is left undone. "
    "It begins at i · BLOCK.",
)
@triton.jit
def blocks_overlap(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) + tl.arange(0, BLOCK)
    there = i < n
    X, Y = tl.load(x + i, mask=there), tl.load(y + i, mask=there)
    tl.store(out + i, (a * X + Y).to(out.dtype.element_ty), mask=there)


@mistake(EXERCISE, "You scale the sum: a (x + y). Only x is scaled.")
@triton.jit
def scaled_the_sum(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X, Y = tl.load(x + i, mask=there), tl.load(y + i, mask=there)
    tl.store(out + i, (a * (X + Y)).to(out.dtype.element_ty), mask=there)


@mistake(EXERCISE, "x and y are exchanged: this is x + a y.")
@triton.jit
def scaled_the_other(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X, Y = tl.load(x + i, mask=there), tl.load(y + i, mask=there)
    tl.store(out + i, (X + a * Y).to(out.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You read x twice. The second reading comes from memory again: keep what you have loaded.",
)
@triton.jit
def x_read_twice(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    half = 0.5 * a * tl.load(x + i, mask=there) + tl.load(y + i, mask=there)
    whole = half + 0.5 * a * tl.load(x + i, mask=there)
    tl.store(out + i, whole.to(out.dtype.element_ty), mask=there)


@mistake(EXERCISE, "The sum is written over y too.", public=False)
@triton.jit
def into_y_as_well(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X, Y = tl.load(x + i, mask=there), tl.load(y + i, mask=there)
    tl.store(out + i, (a * X + Y).to(out.dtype.element_ty), mask=there)
    tl.store(y + i, (a * X + Y).to(out.dtype.element_ty), mask=there)


@mistake(EXERCISE, "Blocks of a fixed size.", public=False)
@triton.jit
def fixed_size(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * 512 + tl.arange(0, 512)
    there = i < n
    X, Y = tl.load(x + i, mask=there), tl.load(y + i, mask=there)
    tl.store(out + i, (a * X + Y).to(out.dtype.element_ty), mask=there)


@mistake(EXERCISE, "Rounded to half precision on the way.", public=False)
@triton.jit
def rounded_on_the_way(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float16)
    Y = tl.load(y + i, mask=there).to(tl.float16)
    tl.store(out + i, (a * X + Y).to(out.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "The sign of a is lost.",
    public=False,
)
@triton.jit
def the_sign_of_a_is_lost(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    Y = tl.load(y + i, mask=there).to(tl.float32)
    tl.store(out + i, (tl.abs(a) * X + Y).to(out.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "a is clipped to ±10.",
    public=False,
)
@triton.jit
def a_is_clipped(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    Y = tl.load(y + i, mask=there).to(tl.float32)
    tl.store(
        out + i,
        (tl.minimum(tl.maximum(a, -10.0), 10.0) * X + Y).to(out.dtype.element_ty),
        mask=there,
    )


@mistake(
    EXERCISE,
    "Right only where BLOCK is 1024.",
    public=False,
)
@triton.jit
def right_for_blocks_of_1024(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * 1024 + tl.arange(0, 1024)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    Y = tl.load(y + i, mask=there).to(tl.float32)
    tl.store(out + i, (a * X + Y).to(out.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "The product is rounded to the dtype of the tensors before y is added.",
    public=False,
)
@triton.jit
def the_product_is_rounded(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    Y = tl.load(y + i, mask=there).to(tl.float32)
    tl.store(
        out + i,
        ((a * X).to(out.dtype.element_ty).to(tl.float32) + Y).to(out.dtype.element_ty),
        mask=there,
    )


@mistake(
    EXERCISE,
    "NaN counts as 0.",
    public=False,
)
@triton.jit
def not_a_number_is_0(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    Y = tl.load(y + i, mask=there).to(tl.float32)
    tl.store(out + i, (a * tl.where(X == X, X, 0.0) + Y).to(out.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Small numbers count as 0.",
    public=False,
)
@triton.jit
def small_numbers_are_0(x, y, out, a, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    Y = tl.load(y + i, mask=there).to(tl.float32)
    tl.store(
        out + i, (a * tl.where(tl.abs(X) < 1e-6, 0.0, X) + Y).to(out.dtype.element_ty), mask=there
    )


@mistake(
    EXERCISE,
    "Program i does block i as counted from the end.",
    public=False,
)
@triton.jit
def blocks_from_the_end(x, y, out, a, n, BLOCK: tl.constexpr):
    i = (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    Y = tl.load(y + i, mask=there).to(tl.float32)
    tl.store(out + i, (a * X + Y).to(out.dtype.element_ty), mask=there)
