"""Typical wrong kernels for the nearest code, each with the sentence that explains it."""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.launch import tl, triton

EXERCISE = "kernels.nearest_code.kernel"


@mistake(
    EXERCISE,
    "You look for the largest product z·e. A long code has large products with everything: the "
    "least distance needs ‖e‖² as well, for ‖z − e‖² = ‖z‖² − 2 z·e + ‖e‖².",
)
@triton.jit
def the_largest_product(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        distance = -2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "The product enters twice: ‖z − e‖² = ‖z‖² − 2 z·e + ‖e‖².",
)
@triton.jit
def product_counted_once(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "You add the products: that is ‖z + e‖², the distance to the opposite of each code. Subtract 2 "
    "z·e.",
)
@triton.jit
def sign_of_the_product(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] + 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "You keep the largest score. Nearest is the code with the least: tl.min, and a running least "
    "that begins at +inf.",
)
@triton.jit
def the_farthest_code(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("-inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("-inf"))
        here, at = tl.max(distance, 1, return_indices=True)
        nearest = tl.where(here > least, begin + at, nearest)
        least = tl.maximum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "The running least begins at 0. Scores without ‖z‖² may be of any sign: where all are "
    "positive, no code is ever found. Begin at +inf.",
)
@triton.jit
def least_begins_at_0(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.zeros([ROWS], tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "In the last tile codes beyond K are read as 0, and their score is 0: where all codes are far "
    "from 0, such a one wins. Give it the score +inf before you take the least.",
)
@triton.jit
def codes_beyond_K_count(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "You keep the number of a code within its tile. Add begin, the first code of the tile.",
)
@triton.jit
def number_within_the_tile(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "Each tile's nearest code replaces that of earlier tiles. Keep it only where it is nearer than "
    "all before: here < least.",
)
@triton.jit
def the_last_tile_wins(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        nearest = begin + tl.argmin(distance, 1)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "You look at the first CODES codes only. Go through all: for begin in range(0, K, CODES).",
)
@triton.jit
def only_the_first_tile(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, CODES, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "You leave out the last codes, those that do not fill a tile. range(0, K, CODES) begins a tile "
    "for them too, and masks say which of its codes exist.",
)
@triton.jit
def last_codes_left_out(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K // CODES * CODES, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "You bring the running least up to date before you compare with it: then no code is ever below "
    "it. First change nearest, then least.",
)
@triton.jit
def least_changed_first(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        least = tl.minimum(here, least)
        nearest = tl.where(here < least, begin + at, nearest)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "Every program works on the first ROWS rows. Program i begins at row i · ROWS: add "
    "tl.program_id(0) * ROWS.",
)
@triton.jit
def always_the_first_rows(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.arange(0, ROWS).to(tl.int64)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "The last block of rows sticks out of z and index: mask its load and store with row < N.",
)
@triton.jit
def rows_not_masked(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest)


@mistake(
    EXERCISE,
    "The last tile of codes sticks out of the codebook: mask its load with k < K. That its scores "
    "are set to +inf later does not undo the reading.",
)
@triton.jit
def codes_not_masked(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "BLOCK may be larger than D. Beyond D you read the next row's numbers, and they get into the "
    "products: mask with d < D, other=0.0.",
)
@triton.jit
def numbers_beyond_D_not_masked(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d >= 0)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d >= 0)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "You take BLOCK for the distance of two rows in memory. It is D; BLOCK is only the power of 2 "
    "that holds a row.",
)
@triton.jit
def rows_of_length_BLOCK(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * BLOCK + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * BLOCK + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "You square and add codes in their own dtype. In half precision nearly equal scores become "
    "equal, and a sum beyond 65504 infinite: convert to fp32 first.",
)
@triton.jit
def squares_in_half_precision(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E * E, 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "You round the products to the dtype of z. Nearly equal scores become equal, and another code "
    "is found: keep the fp32 that tl.dot gives.",
)
@triton.jit
def scores_in_half_precision(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        product = tl.dot(Z, tl.trans(E), input_precision="ieee").to(z.dtype.element_ty)
        distance = square[None, :] - 2 * product.to(tl.float32)
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "You read every code twice, for its square, or for another part of the rows. Keep what you "
    "have loaded, and let one walk through the codes serve all rows of the program.",
)
@triton.jit
def codes_read_twice(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        again = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0).to(tl.float32)
        square = tl.sum(again * again, 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "You read the rows of z again for every tile of codes. They do not change: load them once, "
    "before the loop.",
)
@triton.jit
def rows_read_for_every_tile(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "You store the least score. What is wanted is which code has it: store nearest.",
)
@triton.jit
def the_score_is_stored(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, least.to(tl.int32), mask=row < N)


@mistake(
    EXERCISE,
    "Blocks of 64 rows.",
    public=False,
)
@triton.jit
def rows_of_a_fixed_number(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * 64 + tl.arange(0, 64)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([64], float("inf"), tl.float32)
    nearest = tl.zeros([64], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "Two halves of the rows, each with a walk through all codes.",
    public=False,
)
@triton.jit
def two_halves_of_the_rows(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    for half in range(2):
        row = tl.program_id(0).to(tl.int64) * ROWS + half * (ROWS // 2) + tl.arange(0, ROWS // 2)
        d = tl.arange(0, BLOCK)
        rows = (row < N)[:, None] & (d < D)[None, :]
        Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
        least = tl.full([ROWS // 2], float("inf"), tl.float32)
        nearest = tl.zeros([ROWS // 2], tl.int32)
        for begin in range(0, K, CODES):
            k = begin + tl.arange(0, CODES)
            some = (k < K)[:, None] & (d < D)[None, :]
            E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
            square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
            distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
            distance = tl.where((k < K)[None, :], distance, float("inf"))
            here, at = tl.min(distance, 1, return_indices=True)
            nearest = tl.where(here < least, begin + at, nearest)
            least = tl.minimum(here, least)
        tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "z is overwritten with 0.",
    public=False,
)
@triton.jit
def the_rows_are_emptied(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)
    tl.store(z + row[:, None] * D + d[None, :], 0 * Z, mask=rows)


@mistake(
    EXERCISE,
    "A loop that is left by break, which the compiler does not know.",
    public=False,
)
@triton.jit
def left_by_a_break(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    rows = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=rows, other=0.0)
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K + CODES, CODES):
        if begin >= K:
            break
        k = begin + tl.arange(0, CODES)
        some = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "Of equals in one tile the last is kept.",
    public=False,
)
@triton.jit
def the_last_of_equals_in_a_tile(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    Z = tl.load(
        z + row[:, None] * D + d[None, :], mask=(row < N)[:, None] & (d < D)[None, :], other=0.0
    )
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        E = tl.load(
            codes + k[:, None] * D + d[None, :], mask=(k < K)[:, None] & (d < D)[None, :], other=0.0
        )
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True, return_indices_tie_break_left=False)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "Of equals in different tiles the last is kept.",
    public=False,
)
@triton.jit
def the_last_tile_of_equals(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    Z = tl.load(
        z + row[:, None] * D + d[None, :], mask=(row < N)[:, None] & (d < D)[None, :], other=0.0
    )
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        E = tl.load(
            codes + k[:, None] * D + d[None, :], mask=(k < K)[:, None] & (d < D)[None, :], other=0.0
        )
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True, return_indices_tie_break_left=True)
        nearest = tl.where(here <= least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "The running least begins at 10⁹.",
    public=False,
)
@triton.jit
def no_code_farther_than_1e9(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    Z = tl.load(
        z + row[:, None] * D + d[None, :], mask=(row < N)[:, None] & (d < D)[None, :], other=0.0
    )
    least = tl.full([ROWS], 1e9, tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        E = tl.load(
            codes + k[:, None] * D + d[None, :], mask=(k < K)[:, None] & (d < D)[None, :], other=0.0
        )
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, 1e9)
        here, at = tl.min(distance, 1, return_indices=True, return_indices_tie_break_left=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "Numbers are rounded to half precision before they are multiplied.",
    public=False,
)
@triton.jit
def products_in_half_precision(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    Z = tl.load(
        z + row[:, None] * D + d[None, :], mask=(row < N)[:, None] & (d < D)[None, :], other=0.0
    )
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        E = tl.load(
            codes + k[:, None] * D + d[None, :], mask=(k < K)[:, None] & (d < D)[None, :], other=0.0
        )
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(
            Z.to(tl.float16), tl.trans(E.to(tl.float16)), input_precision="ieee"
        )
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True, return_indices_tie_break_left=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "The numbers of codes pass through 16 bits.",
    public=False,
)
@triton.jit
def numbers_of_16_bits(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    Z = tl.load(
        z + row[:, None] * D + d[None, :], mask=(row < N)[:, None] & (d < D)[None, :], other=0.0
    )
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        E = tl.load(
            codes + k[:, None] * D + d[None, :], mask=(k < K)[:, None] & (d < D)[None, :], other=0.0
        )
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True, return_indices_tie_break_left=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest.to(tl.int16), mask=row < N)


@mistake(
    EXERCISE,
    "Program i does the rows counted from the end.",
    public=False,
)
@triton.jit
def rows_from_the_end(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = (tl.num_programs(0) - 1 - tl.program_id(0)).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    Z = tl.load(
        z + row[:, None] * D + d[None, :], mask=(row < N)[:, None] & (d < D)[None, :], other=0.0
    )
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        E = tl.load(
            codes + k[:, None] * D + d[None, :], mask=(k < K)[:, None] & (d < D)[None, :], other=0.0
        )
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True, return_indices_tie_break_left=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "Your tl.dot rounds float32 to TF32, which keeps ten bits behind the point: numbers of "
    'twelve bits are mixed up. Ask for input_precision="ieee".',
)
@triton.jit
def rounded_to_ten_bits(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    Z = tl.load(
        z + row[:, None] * D + d[None, :], mask=(row < N)[:, None] & (d < D)[None, :], other=0.0
    )
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        E = tl.load(
            codes + k[:, None] * D + d[None, :], mask=(k < K)[:, None] & (d < D)[None, :], other=0.0
        )
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E))
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True, return_indices_tie_break_left=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@mistake(
    EXERCISE,
    "Rows are counted in 32 bits, and a row that begins beyond element 2³¹ is looked for in "
    "another place: make the number of the program an int64 before it is multiplied.",
)
@triton.jit
def rows_in_32_bits(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    Z = tl.load(
        z + row[:, None] * D + d[None, :], mask=(row < N)[:, None] & (d < D)[None, :], other=0.0
    )
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        E = tl.load(
            codes + k[:, None] * D + d[None, :], mask=(k < K)[:, None] & (d < D)[None, :], other=0.0
        )
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True, return_indices_tie_break_left=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)
