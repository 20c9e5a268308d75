"""Right kernels for a guided step, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.launch import tl, triton

EXERCISE = "kernels.guided_step.kernel"


@accepted(EXERCISE)
@triton.jit
def v_y_and_what_the_condition_changes(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(axis=0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    conditional = tl.load(v_y + offsets, mask=mask, other=0.0).to(tl.float32)
    change = conditional - tl.load(v_null + offsets, mask=mask, other=0.0).to(tl.float32)
    guided = conditional + w * change
    tl.store(x_next + offsets, tl.load(x + offsets, mask=mask, other=0.0) - dt * guided, mask=mask)


@accepted(EXERCISE)
@triton.jit
def term_by_term(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.load(x + i, i < n).to(tl.float32)
    total -= (dt * (1 + w)) * tl.load(v_y + i, i < n).to(tl.float32)
    total += (dt * w) * tl.load(v_null + i, i < n).to(tl.float32)
    tl.store(x_next + i, total.to(x_next.dtype.element_ty), i < n)


@accepted(EXERCISE)
@triton.jit
def in_halves_with_fma(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    for half in range(2):
        i = tl.program_id(0) * BLOCK + half * (BLOCK // 2) + tl.arange(0, BLOCK // 2)
        V_null = tl.load(v_null + i, mask=i < n).to(tl.float32)
        V_y = tl.load(v_y + i, mask=i < n).to(tl.float32)
        v_cfg = tl.fma(tl.zeros_like(V_y) + w, V_y - V_null, V_y)
        X = tl.load(x + i, mask=i < n).to(tl.float32)
        X = tl.fma(tl.zeros_like(X) - dt, v_cfg, X)
        tl.store(x_next + i, X.to(x_next.dtype.element_ty), mask=i < n)


@accepted(EXERCISE)
@triton.jit
def from_v_null_in_strides_of_the_grid(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    for block in range(tl.program_id(0), tl.cdiv(n, BLOCK), tl.num_programs(0)):
        i = block * BLOCK + tl.arange(0, BLOCK)
        there = i < n
        V_null = tl.load(v_null + i, mask=there).to(tl.float32)
        V_y = tl.load(v_y + i, mask=there).to(tl.float32)
        change = -dt * (V_null + (1 + w) * (V_y - V_null))
        X = tl.load(x + i, mask=there).to(tl.float32) + change
        tl.store(x_next + i, X.to(x_next.dtype.element_ty), mask=there)
