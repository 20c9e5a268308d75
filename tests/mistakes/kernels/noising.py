"""Typical wrong kernels for noising, each with the sentence that explains it."""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.launch import tl, triton

KERNEL = "kernels.noising.kernel"
RANDOM = "kernels.noising.random_kernel"

# --- noising.kernel -----------------------------------------------------------------------------


@mistake(
    KERNEL,
    "Nothing is masked. The last block of an example sticks out into the next example, which "
    "another program writes, and that of the last example out of the tensor: mask with i < n.",
)
@triton.jit
def no_mask(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = row * n + tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    X, Z = tl.load(x + at).to(tl.float32), tl.load(z + at).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty))
    tl.store(v + at, target.to(v.dtype.element_ty))


@mistake(
    KERNEL,
    "You mask by the end of the tensor. The last block of an example sticks out into the next one, "
    "and two programs write there: mask by the end of the example, i < n.",
)
@triton.jit
def mask_of_the_whole_tensor(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = row * n + tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = at < tl.num_programs(0) * n
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "The mask is i <= n, one element too far: it belongs to the next example already.",
)
@triton.jit
def one_too_far(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i <= n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "Every program works on the first block of its example. Block j begins at element j · BLOCK: "
    "add tl.program_id(1) * BLOCK.",
)
@triton.jit
def always_the_first_block(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "Every program works on the first example: example i begins n · i elements further on. Add "
    "row * n to the places in x, z, x_t and v.",
)
@triton.jit
def always_the_first_example(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = at < n
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "The axes of the grid are exchanged: program_id(0) is the example, program_id(1) the block.",
)
@triton.jit
def axes_exchanged(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(1)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "You let an example begin at a whole number of blocks. Examples lie n elements apart, however "
    "many blocks cover them: row * n + i.",
)
@triton.jit
def examples_at_whole_blocks(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    at = row * tl.num_programs(1) * BLOCK + i
    there = (i < n) & (at < tl.num_programs(0) * n)
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "All examples get the coefficients of the first: each has its own, at a + row and so on.",
)
@triton.jit
def coefficients_of_the_first(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed, target = tl.load(a) * X + tl.load(b) * Z, tl.load(c) * X + tl.load(d) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "Your v is z − x, that of rectified flow. Another process has other coefficients: c x + d z.",
)
@triton.jit
def only_rectified_flow(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, (Z - X).to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "a and b are exchanged: your x_t is noise at level 0 and data at level 1. a scales x, b scales "
    "z.",
)
@triton.jit
def data_at_level_1(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(b + row) * X + tl.load(a + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "c and d are exchanged: your v points from noise to data. c scales x, d scales z.",
)
@triton.jit
def toward_the_data(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(d + row) * X + tl.load(c + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(KERNEL, "The two results are exchanged: what belongs in x_t stands in v.")
@triton.jit
def results_exchanged(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, target.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, mixed.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "Your v is made of x_t in place of x. Both results are made of the same x and z: keep X as it "
    "was loaded.",
)
@triton.jit
def v_of_x_t(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    X = tl.load(a + row) * X + tl.load(b + row) * Z
    tl.store(x_t + at, X.to(x_t.dtype.element_ty), mask=there)
    X = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(v + at, X.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "You round the products before you add them. Where data and noise nearly cancel, little is "
    "left but what was rounded: calculate in float32, and round once, at the store.",
)
@triton.jit
def products_rounded(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    kind = x_t.dtype.element_ty
    X, Z = tl.load(x + at, mask=there), tl.load(z + at, mask=there)
    mixed = (tl.load(a + row) * X).to(kind) + (tl.load(b + row) * Z).to(kind)
    target = (tl.load(c + row) * X).to(kind) + (tl.load(d + row) * Z).to(kind)
    tl.store(x_t + at, mixed, mask=there)
    tl.store(v + at, target, mask=there)


@mistake(
    KERNEL,
    "x and z are read once for x_t and once more for v. Both results can be had from one reading: "
    "keep X and Z.",
)
@triton.jit
def a_reading_for_each_result(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "Every lane loads the coefficients, though they are the same for all: that is as much traffic "
    "as the images are. tl.load(a + row) loads one number for the whole program.",
)
@triton.jit
def coefficients_for_every_lane(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    rows = tl.program_id(0) + tl.zeros((BLOCK,), tl.int32)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, rows * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + rows, mask=there) * X + tl.load(b + rows, mask=there) * Z
    target = tl.load(c + rows, mask=there) * X + tl.load(d + rows, mask=there) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(KERNEL, "Blocks of a fixed size.", public=False)
@triton.jit
def fixed_size(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * 512 + tl.arange(0, 512)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(KERNEL, "x_t is written over z too.", public=False)
@triton.jit
def into_z_as_well(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)
    tl.store(z + at, mixed.to(z.dtype.element_ty), mask=there)


@mistake(KERNEL, "Neighbouring lanes are far apart: no load is wide.", public=False)
@triton.jit
def lanes_far_apart(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row, lane = tl.program_id(0), tl.arange(0, BLOCK)
    i = tl.program_id(1) * BLOCK + lane % 32 * (BLOCK // 32) + lane // 32
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(KERNEL, "The signs of a and b are lost.", public=False)
@triton.jit
def never_negative(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.abs(tl.load(a + row)) * X + tl.abs(tl.load(b + row)) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


# --- noising.random_kernel ----------------------------------------------------------------------


@mistake(
    RANDOM,
    "All examples get the same noise: nothing in your counter tells them apart. It is 2³² i + p, "
    "with the example i as int64: a number of 32 bits shifted by 32 is 0.",
)
@triton.jit
def examples_share_their_noise(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "All blocks of an example get the same noise. p counts fours from the beginning of the "
    "example: block j begins at j · BLOCK / 4.",
)
@triton.jit
def blocks_share_their_noise(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Your block j begins at counter j · BLOCK, but it has only BLOCK / 4 of them: the noise "
    "depends on BLOCK. Count fours, j · (BLOCK / 4).",
)
@triton.jit
def counters_with_gaps(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "You count fours from the beginning of the whole tensor. Then an example's noise depends on "
    "n, and examples share some where 4 does not divide n: the counter is 2³² i + p.",
)
@triton.jit
def counted_through_the_batch(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, row * n // 4 + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Example and place are exchanged in your counter: the example belongs into the upper 32 "
    "bits, the place into the lower.",
)
@triton.jit
def example_and_place_exchanged(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (four.to(tl.int64) << 32) + row)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "tl.randn with a counter for every element draws other numbers than the docstring asks for, "
    "and calculates four for each that it keeps. One counter serves four elements: tl.randn4x.",
)
@triton.jit
def a_counter_for_every_element(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    Z = tl.randn(seed, (row << 32) + i)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Your noise is uniform on [0, 1): tl.rand4x. Normal numbers come from tl.randn4x.",
)
@triton.jit
def uniform_noise(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.rand4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "tl.interleave of (z0, z1) and (z2, z3) gives z0, z2, z1, z3. The second interleaving puts "
    "one between every two of the first: it takes (z0, z2) and (z1, z3).",
)
@triton.jit
def interleaved_in_the_wrong_order(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z1), tl.interleave(z2, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "You put all of z0 first, then all of z1, and so on. The four numbers of a counter belong to "
    "four elements that lie side by side.",
)
@triton.jit
def one_after_the_other(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.join(tl.join(z0, z2), tl.join(z1, z3))
    Z = tl.reshape(tl.permute(Z, (1, 2, 0)), (BLOCK,))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "You use z0 for four neighbours: they all have the same noise. A counter gives four numbers, "
    "one for each.",
)
@triton.jit
def one_number_four_times(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    z1, z2, z3 = z0, z0, z0
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "The seed is not used: every step of training would see the same noise. It is the first "
    "argument of tl.randn4x.",
)
@triton.jit
def without_the_seed(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(0, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "You keep the lower 32 bits of the seed: large seeds meet. Pass it on as it is, the key has "
    "64 bits.",
)
@triton.jit
def seed_of_32_bits(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed.to(tl.uint32), (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "x_t and v are made of two different noises: v would not be the velocity of this x_t. Draw "
    "once, and use Z for both.",
)
@triton.jit
def two_noises(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    z0, z1, z2, z3 = tl.randn4x(seed + 1, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Your v is z − x, that of rectified flow. Another process has other coefficients: c x + d z.",
)
@triton.jit
def only_rectified_flow_with_noise(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = Z - X
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "a and b are exchanged: a scales x, b scales z.",
)
@triton.jit
def coefficients_exchanged_with_noise(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(b + row) * X + tl.load(a + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "All examples get the coefficients of the first: each has its own, at a + row and so on.",
)
@triton.jit
def coefficients_of_the_first_with_noise(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a) * X + tl.load(b) * Z
    target = tl.load(c) * X + tl.load(d) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Every program reads and writes the first example: example i begins n · i elements further "
    "on. Add row * n to the places in x, x_t and v.",
)
@triton.jit
def always_the_first_example_with_noise(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Nothing is masked. The last block of an example sticks out into the next example, which "
    "another program writes: mask the load and both stores with i < n.",
)
@triton.jit
def no_mask_with_noise(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    at = row * n + i
    X = tl.load(x + at).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty))
    tl.store(v + at, target.to(v.dtype.element_ty))


@mistake(
    RANDOM,
    "The mask is i <= n, one element too far: it belongs to the next example already.",
)
@triton.jit
def one_too_far_with_noise(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i <= n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "You store the noise in v, and read it again. It need never be in memory: keep Z in a "
    "variable, that is what the kernel is for.",
)
@triton.jit
def noise_through_memory(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    tl.store(v + at, Z, mask=there)
    Z = tl.load(v + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "x is read once for x_t and once more for v. Both results can be had from one reading: keep X.",
)
@triton.jit
def x_read_for_each_result(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    X = tl.load(x + at, mask=there).to(tl.float32)
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Right only where BLOCK is 1024.",
    public=False,
)
@triton.jit
def blocks_of_1024(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * 256 + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Philox with 7 rounds in place of 10.",
    public=False,
)
@triton.jit
def fewer_rounds(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four, 7)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "The sample is written over x, too.",
    public=False,
)
@triton.jit
def noise_into_x_as_well(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)
    tl.store(x + at, mixed.to(x.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Lanes work on every fourth element, four times: no access is wide.",
    public=False,
)
@triton.jit
def every_fourth_element(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    first = tl.program_id(1) * BLOCK + 4 * tl.arange(0, BLOCK // 4)
    for k in tl.static_range(4):
        Z = z0 if k == 0 else (z1 if k == 1 else (z2 if k == 2 else z3))
        i = first + k
        there, at = i < n, row * n + i
        X = tl.load(x + at, mask=there).to(tl.float32)
        mixed = tl.load(a + row) * X + tl.load(b + row) * Z
        target = tl.load(c + row) * X + tl.load(d + row) * Z
        tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
        tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "d is rounded to the dtype of the tensors.",
    public=False,
)
@triton.jit
def d_is_rounded(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row).to(x.dtype.element_ty).to(tl.float32) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "a is clipped to ±10.",
    public=False,
)
@triton.jit
def a_is_clipped(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.maximum(tl.minimum(tl.load(a + row), 10.0), -10.0) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "Only the first 16 examples have coefficients of their own.",
    public=False,
)
@triton.jit
def coefficients_of_16_examples(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row % 16) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "One product of v is rounded to the dtype of the tensors before the sum.",
    public=False,
)
@triton.jit
def a_product_of_v_is_rounded(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = (tl.load(c + row) * X).to(x_t.dtype.element_ty).to(tl.float32) + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "An x that is NaN counts as 0.",
    public=False,
)
@triton.jit
def not_a_number_is_0(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    X = tl.where(X == X, X, 0.0)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "Program (i, j) does block j as counted from the end.",
    public=False,
)
@triton.jit
def blocks_from_the_end(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = (tl.num_programs(1) - 1 - tl.program_id(1)) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    KERNEL,
    "Program (i, j) does example i as counted from the end.",
    public=False,
)
@triton.jit
def examples_from_the_end(x, z, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = (tl.num_programs(0) - 1 - tl.program_id(0)).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    Z = tl.load(z + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Noise is clipped to ±5.",
    public=False,
)
@triton.jit
def noise_is_clipped(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    Z = tl.minimum(tl.maximum(Z, -5.0), 5.0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Noise is rounded to the dtype of the tensors.",
    public=False,
)
@triton.jit
def noise_is_rounded(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    Z = Z.to(x.dtype.element_ty).to(tl.float32)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Examples 2¹⁶ apart have the same noise.",
    public=False,
)
@triton.jit
def examples_of_16_bits(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, ((row & 65535) << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "The noise repeats itself after 4096 elements.",
    public=False,
)
@triton.jit
def places_of_10_bits(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + (four & 1023))
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Only the first 4 examples have coefficients of their own.",
    public=False,
)
@triton.jit
def coefficients_of_4_examples(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = tl.program_id(1) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row % 4) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)


@mistake(
    RANDOM,
    "Program (i, j) does block j as counted from the end.",
    public=False,
)
@triton.jit
def noise_from_the_end(x, seed, a, b, c, d, x_t, v, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    four = (tl.num_programs(1) - 1 - tl.program_id(1)) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    z0, z1, z2, z3 = tl.randn4x(seed, (row << 32) + four)
    Z = tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3))
    i = (tl.num_programs(1) - 1 - tl.program_id(1)) * BLOCK + tl.arange(0, BLOCK)
    there, at = i < n, row * n + i
    X = tl.load(x + at, mask=there).to(tl.float32)
    mixed = tl.load(a + row) * X + tl.load(b + row) * Z
    target = tl.load(c + row) * X + tl.load(d + row) * Z
    tl.store(x_t + at, mixed.to(x_t.dtype.element_ty), mask=there)
    tl.store(v + at, target.to(v.dtype.element_ty), mask=there)
