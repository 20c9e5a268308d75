"""Right kernels for the gated residual, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.launch import tl, triton

FORWARD = "kernels.gated_residual.kernel"
BACKWARD = "kernels.gated_residual.backward_kernel"


@accepted(FORWARD)
@triton.jit
def token_after_token(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    cols = tl.arange(0, BLOCK)
    mask = cols < D
    a = tl.load(gate + tl.program_id(0).to(tl.int64) * D + cols, mask=mask, other=0.0).to(
        tl.float32
    )
    first = tl.program_id(1) * ROWS
    for t in range(first, tl.minimum(first + ROWS, T)):
        at = (tl.program_id(0).to(tl.int64) * T + t) * D + cols
        added = a * tl.load(y + at, mask=mask).to(tl.float32)
        tl.store(out + at, tl.load(x + at, mask=mask).to(tl.float32) + added, mask=mask)


@accepted(FORWARD)
@triton.jit
def pointers_made_before(x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    b, j = tl.program_id(0).to(tl.int64), tl.program_id(1)
    rows, cols = j * ROWS + tl.arange(0, ROWS), tl.arange(0, BLOCK)
    mask = (rows[:, None] < T) & (cols[None, :] < D)
    offsets = b * T * D + rows[:, None] * D + cols[None, :]
    g = tl.load(gate + b * D + cols, mask=cols < D).to(tl.float32)
    g = tl.broadcast_to(g[None, :], [ROWS, BLOCK])
    X = tl.load(x + offsets, mask=mask).to(tl.float32)
    Y = tl.load(y + offsets, mask=mask).to(tl.float32)
    tl.store(out + offsets, tl.fma(g, Y, X), mask=mask)


@accepted(FORWARD)
@triton.jit
def nothing_where_the_gate_is_closed(
    x, gate, y, out, T, D, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    at, there = (tl.program_id(0).to(tl.int64) * T + t) * D + i, (t < T) & (i < D)
    A = tl.load(gate + tl.program_id(0).to(tl.int64) * D + i, mask=i < D, other=0.0).to(tl.float32)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    Y = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, tl.where(A == 0, X, X + A * Y).to(out.dtype.element_ty), mask=there)


@accepted(BACKWARD)
@triton.jit
def back_token_after_token(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b, j = tl.program_id(0).to(tl.int64), tl.program_id(1)
    cols = tl.arange(0, BLOCK)
    mask = cols < D
    a = tl.load(gate + b * D + cols, mask=mask, other=0.0).to(tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for t in range(j * CHUNK, tl.minimum((j + 1) * CHUNK, T)):
        at = (b * T + t) * D + cols
        du = tl.load(upstream + at, mask=mask, other=0.0).to(tl.float32)
        total += du * tl.load(y + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(d_y + at, du * a, mask=mask)
    tl.store(d_gate + (b * tl.num_programs(1) + j) * D + cols, total, mask=mask)


@accepted(BACKWARD)
@triton.jit
def summed_at_the_end(
    gate, y, upstream, d_y, d_gate, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sums over tokens are kept for each row of a tile, and added up once, after the loop."""
    rows, cols = tl.arange(0, ROWS), tl.arange(0, BLOCK)
    inside = cols < D
    own = tl.load(gate + tl.program_id(0).to(tl.int64) * D + cols, mask=inside, other=0.0).to(
        tl.float32
    )
    sums = tl.zeros((ROWS, BLOCK), tl.float32)
    for tile in tl.static_range(CHUNK // ROWS):
        t = tl.program_id(1) * CHUNK + tile * ROWS + rows
        at = (tl.program_id(0).to(tl.int64) * T + t)[:, None] * D + cols[None, :]
        mask = (t < T)[:, None] & inside[None, :]
        Y = tl.load(y + at, mask=mask, other=0.0).to(tl.float32)
        G = tl.load(upstream + at, mask=mask, other=0.0).to(tl.float32)
        sums = tl.fma(Y, G, sums)
        tl.store(d_y + at, (own[None, :] * G).to(d_y.dtype.element_ty), mask=mask)
    chunk = tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    tl.store(d_gate + chunk * D + cols, tl.sum(sums, axis=0), mask=inside)
