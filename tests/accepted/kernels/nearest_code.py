"""Right kernels for the nearest code, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.launch import tl, triton

EXERCISE = "kernels.nearest_code.kernel"


@accepted(EXERCISE)
@triton.jit
def codes_across(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(axis=0) * ROWS + tl.arange(0, ROWS)
    dims = tl.arange(0, BLOCK)
    inside = (rows[:, None] < N) & (dims[None, :] < D)
    queries = tl.load(z + rows[:, None].to(tl.int64) * D + dims[None, :], mask=inside, other=0)
    best = tl.full((ROWS,), 3.0e38, tl.float32)
    argbest = tl.full((ROWS,), 0, tl.int32)
    for tile in range(tl.cdiv(K, CODES)):
        numbers = tile * CODES + tl.arange(0, CODES)
        there = (dims[:, None] < D) & (numbers[None, :] < K)
        book = tl.load(codes + dims[:, None] + numbers[None, :] * D, mask=there, other=0)
        norms = tl.sum(book.to(tl.float32) * book.to(tl.float32), axis=0)
        norms = tl.where(numbers < K, norms, 3.0e38)
        scores = 0.5 * norms[None, :] - tl.dot(queries, book, input_precision="ieee")
        least = tl.min(scores, axis=1)
        closer = least < best
        argbest = tl.where(closer, tile * CODES + tl.argmin(scores, axis=1), argbest)
        best = tl.where(closer, least, best)
    tl.store(index + rows, argbest, mask=rows < N)


@accepted(EXERCISE)
@triton.jit
def the_largest_of_the_negative(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    some_z = (row < N)[:, None] & (d < D)[None, :]
    Z = tl.load(z + row[:, None] * D + d[None, :], mask=some_z, other=0.0)
    length = tl.sum(Z.to(tl.float32) * Z.to(tl.float32), 1)
    most = tl.full([ROWS], float("-inf"), tl.float32)
    nearest = tl.full([ROWS], -1, tl.int32)
    k = tl.arange(0, CODES)
    for _ in range(0, K, CODES):
        some_e = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=some_e, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        near = 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        near = near - square[None, :] - length[:, None]
        near = tl.where((k < K)[None, :], near, float("-inf"))
        here, at = tl.max(near, 1, return_indices=True)
        nearest = tl.where(here > most, tl.min(k) + at, nearest)
        most = tl.maximum(here, most)
        k += CODES
    tl.store(index + row, nearest, mask=row < N)


@accepted(EXERCISE)
@triton.jit
def the_least_of_each_lane_first(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    d, lane = tl.arange(0, BLOCK), tl.arange(0, CODES)
    Z = tl.load(z + row * D + d[None, :], mask=(row < N) & (d < D)[None, :], other=0.0)
    least = tl.full([ROWS, CODES], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS, CODES], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + lane
        there = (k < K)[:, None] & (d < D)[None, :]
        E = tl.load(codes + k[:, None] * D + d[None, :], mask=there, other=0.0)
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)[None, :]
        score = square - 2.0 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        nearer = (score < least) & (k < K)[None, :]
        nearest = tl.where(nearer, k[None, :], nearest)
        least = tl.where(nearer, score, least)
    best = tl.min(least, 1)[:, None]
    first = tl.min(tl.where(least == best, nearest, K), 1)[:, None]  # of equals the first
    tl.store(index + row, first, mask=row < N)


@accepted(EXERCISE)
@triton.jit
def half_of_the_distance(
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
        distance = 0.5 * square[None, :] - tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True, return_indices_tie_break_left=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)


@accepted(EXERCISE)
@triton.jit
def rows_times_minus_2(
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
        distance = square[None, :] + tl.dot(Z * -2, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True, return_indices_tie_break_left=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)
