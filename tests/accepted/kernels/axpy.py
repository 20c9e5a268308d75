"""Right kernels for a x + y, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.launch import tl, triton

EXERCISE = "kernels.axpy.kernel"


@accepted(EXERCISE)
@triton.jit
def in_the_inputs_dtype(x, y, out, a, n, BLOCK: tl.constexpr):
    begin = tl.program_id(axis=0) * BLOCK
    offsets = begin + tl.arange(0, BLOCK)
    mask = offsets < n
    scaled = tl.load(x + offsets, mask=mask, other=0.0).to(tl.float32) * a
    total = scaled + tl.load(y + offsets, mask=mask, other=0.0)
    tl.store(out + offsets, total, mask=mask)


@accepted(EXERCISE)
@triton.jit
def in_two_halves(x, y, out, a, n, BLOCK: tl.constexpr):
    for half in range(2):
        i = tl.program_id(0) * BLOCK + half * (BLOCK // 2) + tl.arange(0, BLOCK // 2)
        X = tl.load(x + i, mask=i < n).to(tl.float32)
        Y = tl.load(y + i, mask=i < n).to(tl.float32)
        tl.store(out + i, tl.fma(X, tl.full(X.shape, a, tl.float32), Y), mask=i < n)


@accepted(EXERCISE)
@triton.jit
def in_strides_of_the_grid(x, y, out, a, n, BLOCK: tl.constexpr):
    for block in range(tl.program_id(0), tl.cdiv(n, BLOCK), tl.num_programs(0)):
        i = block * BLOCK + tl.arange(0, BLOCK)
        Y = tl.load(y + i, i < n, 0.0).to(tl.float32)
        total = Y + tl.load(x + i, i < n, 0.0).to(tl.float32) * a
        tl.store(out + i, total.to(out.dtype.element_ty), i < n)


@accepted(EXERCISE)
@triton.jit
def a_tile_of_pointers_moved(x, y, out, a, n, BLOCK: tl.constexpr):
    begin = tl.program_id(0).to(tl.int64) * BLOCK
    x, y, out = x + begin, y + begin, out + begin
    i = tl.arange(0, BLOCK)[None, :]
    there = i < n - begin
    sum_of_both = tl.load(y + i, mask=there).to(tl.float32)
    sum_of_both += a * tl.load(x + i, mask=there).to(tl.float32)
    tl.store(out + i, sum_of_both, mask=there)
