"""Right kernels for the loss of rectified flow and its gradient, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.launch import tl, triton

EXERCISE = "kernels.velocity_mse.kernel"


@accepted(EXERCISE)
@triton.jit
def weighted_before_the_sum(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    program = tl.program_id(axis=0)
    offsets = program * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    error = tl.load(prediction + offsets, mask=mask).to(tl.float32)
    error -= tl.load(v + offsets, mask=mask).to(tl.float32)
    slope = error * weight
    tl.store(partials + program, tl.sum(tl.where(mask, slope * error, 0.0), axis=0))
    if WANTED:
        tl.store(gradient + offsets, slope + slope, mask=mask)


@accepted(EXERCISE)
@triton.jit
def in_two_halves(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    total = 0.0
    for half in range(2):
        i = tl.program_id(0) * BLOCK + half * (BLOCK // 2) + tl.arange(0, BLOCK // 2)
        P = tl.load(prediction + i, mask=i < n, other=0.0).to(tl.float32)
        V = tl.load(v + i, mask=i < n, other=0.0).to(tl.float32)
        total += tl.sum((V - P) * (V - P))
        if WANTED:
            G = -2.0 * weight * (V - P)
            tl.store(gradient + i, G.to(gradient.dtype.element_ty), mask=i < n)
    tl.store(partials + tl.program_id(0), total * weight)


@accepted(EXERCISE)
@triton.jit
def in_a_tile_of_16_columns(
    prediction, v, partials, gradient, weight, n, WANTED: tl.constexpr, BLOCK: tl.constexpr
):
    program = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, BLOCK // 16)[:, None], tl.arange(0, 16)[None, :]
    i = program * BLOCK + row * 16 + column
    off = tl.load(v + i, mask=i < n, other=1.0).to(tl.float32)
    off = tl.load(prediction + i, mask=i < n, other=1.0).to(tl.float32) - off
    if WANTED:
        tl.store(gradient + i, (off * (weight + weight)).to(gradient.dtype.element_ty), mask=i < n)
    tl.store(partials + program, tl.sum(tl.sum(off * off, 1), 0) * weight)
