"""Typical wrong kernels for a guided step, each with the sentence that explains it."""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.launch import tl, triton

EXERCISE = "kernels.guided_step.kernel"


@mistake(
    EXERCISE,
    "The last block sticks out of the tensors: mask all three loads and the store with i < n.",
)
@triton.jit
def no_mask(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    X = tl.load(x + i).to(tl.float32)
    v_cfg = (1 + w) * tl.load(v_y + i) - w * tl.load(v_null + i)
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty))


@mistake(
    EXERCISE,
    "One of the loads has no mask, that of v_∅. A load outside of the tensor is an error, though "
    "its value is thrown away: mask every access.",
)
@triton.jit
def one_load_without_mask(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X, V_y = tl.load(x + i, mask=there).to(tl.float32), tl.load(v_y + i, mask=there)
    v_cfg = (1 + w) * V_y - w * tl.load(v_null + i)
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "The mask is i <= n, one element too far: the last element is n − 1.",
)
@triton.jit
def one_too_far(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i <= n
    X = tl.load(x + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * tl.load(v_y + i, mask=there) - w * tl.load(v_null + i, mask=there)
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Every program works on the first block. Program i begins at i · BLOCK: add "
    "tl.program_id(0) * BLOCK.",
)
@triton.jit
def always_the_first_block(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * tl.load(v_y + i, mask=there) - w * tl.load(v_null + i, mask=there)
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Your step is x + dt v_cfg, which goes back toward the noise. Velocities point from data to "
    "noise here: subtract.",
)
@triton.jit
def toward_the_noise(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * tl.load(v_y + i, mask=there) - w * tl.load(v_null + i, mask=there)
    tl.store(x_next + i, (X + dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Your v_cfg is v_∅ + w (v_y − v_∅), the convention of diffusers, where w = 1 is conditional. "
    "The course's w = 0 is conditional: (1 + w) v_y − w v_∅.",
)
@triton.jit
def the_convention_of_diffusers(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    V_null = tl.load(v_null + i, mask=there).to(tl.float32)
    v_cfg = V_null + w * (tl.load(v_y + i, mask=there) - V_null)
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "v_y and v_∅ are exchanged: guidance leads away from the condition. The velocity with the "
    "condition is the one that counts 1 + w times.",
)
@triton.jit
def away_from_the_condition(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * tl.load(v_null + i, mask=there) - w * tl.load(v_y + i, mask=there)
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You add w v_∅. It is subtracted: the shares 1 + w and −w sum to 1, so that nothing changes "
    "where both velocities agree.",
)
@triton.jit
def unconditional_added(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * tl.load(v_y + i, mask=there) + w * tl.load(v_null + i, mask=there)
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Your v_cfg is w (v_y − v_∅), the difference alone: with w = 0 nothing moves. It comes on top "
    "of v_y: v_y counts 1 + w times.",
)
@triton.jit
def the_difference_alone(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    v_cfg = w * tl.load(v_y + i, mask=there) - w * tl.load(v_null + i, mask=there)
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "dt is forgotten: your step is x − v_cfg, the whole way at once. A step is dt long.",
)
@triton.jit
def without_dt(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * tl.load(v_y + i, mask=there) - w * tl.load(v_null + i, mask=there)
    tl.store(x_next + i, (X - v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "dt scales only (1 + w) v_y, and w v_∅ is subtracted whole: the parentheses around v_cfg are "
    "missing.",
)
@triton.jit
def dt_scales_one_term(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    V_y, V_null = tl.load(v_y + i, mask=there), tl.load(v_null + i, mask=there)
    step = X - dt * (1 + w) * V_y - w * V_null
    tl.store(x_next + i, step.to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You round on the way: (1 + w) v_y and w v_∅ are large and nearly cancel, and what half "
    "precision cuts off them is as large as what is left. Calculate in float32, and round once, "
    "at the store.",
)
@triton.jit
def products_rounded(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    kind = x_next.dtype.element_ty
    X = tl.load(x + i, mask=there).to(tl.float32)
    up = ((1 + w) * tl.load(v_y + i, mask=there)).to(kind)
    down = (w * tl.load(v_null + i, mask=there)).to(kind)
    tl.store(x_next + i, (X - dt * (up - down)).to(kind), mask=there)


@mistake(
    EXERCISE,
    "You read v_y twice. The second reading comes from memory again: keep what you have loaded.",
)
@triton.jit
def v_y_read_twice(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X, V_null = tl.load(x + i, mask=there).to(tl.float32), tl.load(v_null + i, mask=there)
    change = tl.load(v_y + i, mask=there).to(tl.float32) - V_null
    v_cfg = tl.load(v_y + i, mask=there) + w * change
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "You store v_cfg in x_next, and read it again for the step. Memory is not for what a program "
    "has in its hands: keep it in a variable.",
)
@triton.jit
def memory_as_a_scratchpad(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    v_cfg = (1 + w) * tl.load(v_y + i, mask=there) - w * tl.load(v_null + i, mask=there)
    tl.store(x_next + i, v_cfg.to(x_next.dtype.element_ty), mask=there)
    X = tl.load(x + i, mask=there).to(tl.float32)
    X -= dt * tl.load(x_next + i, mask=there)
    tl.store(x_next + i, X.to(x_next.dtype.element_ty), mask=there)


@mistake(EXERCISE, "Every program does all blocks.", public=False)
@triton.jit
def every_program_does_all(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    for first in range(0, n, BLOCK):
        i = first + tl.arange(0, BLOCK)
        there = i < n
        X = tl.load(x + i, mask=there).to(tl.float32)
        v_cfg = (1 + w) * tl.load(v_y + i, mask=there) - w * tl.load(v_null + i, mask=there)
        tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(EXERCISE, "The step is written over x too.", public=False)
@triton.jit
def into_x_as_well(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * tl.load(v_y + i, mask=there) - w * tl.load(v_null + i, mask=there)
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)
    tl.store(x + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(EXERCISE, "Neighbouring lanes are far apart: no load is wide.", public=False)
@triton.jit
def lanes_far_apart(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    lane = tl.arange(0, BLOCK)
    i = tl.program_id(0) * BLOCK + lane % 32 * (BLOCK // 32) + lane // 32
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * tl.load(v_y + i, mask=there) - w * tl.load(v_null + i, mask=there)
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(EXERCISE, "The guidance is cut to a whole number.", public=False)
@triton.jit
def whole_guidance(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    w = w.to(tl.int32).to(tl.float32)
    v_cfg = (1 + w) * tl.load(v_y + i, mask=there) - w * tl.load(v_null + i, mask=there)
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "A guidance below −1 counts as −1.",
    public=False,
)
@triton.jit
def guidance_from_minus_1_on(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    V_y = tl.load(v_y + i, mask=there).to(tl.float32)
    V_null = tl.load(v_null + i, mask=there).to(tl.float32)
    v_cfg = (1 + tl.maximum(w, -1.0)) * V_y - tl.maximum(w, -1.0) * V_null
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "The sign of dt is lost.",
    public=False,
)
@triton.jit
def never_a_step_back(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    V_y = tl.load(v_y + i, mask=there).to(tl.float32)
    V_null = tl.load(v_null + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * V_y - w * V_null
    tl.store(x_next + i, (X - tl.abs(dt) * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "A small guidance counts as 0.",
    public=False,
)
@triton.jit
def little_guidance_is_none(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    V_y = tl.load(v_y + i, mask=there).to(tl.float32)
    V_null = tl.load(v_null + i, mask=there).to(tl.float32)
    v_cfg = tl.where(tl.abs(w) < 1e-2, V_y, (1 + w) * V_y - w * V_null)
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "v_cfg is rounded to the dtype of the tensors before the step.",
    public=False,
)
@triton.jit
def v_cfg_is_rounded(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    V_y = tl.load(v_y + i, mask=there).to(tl.float32)
    V_null = tl.load(v_null + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * V_y - w * V_null
    v_cfg = v_cfg.to(x_next.dtype.element_ty).to(tl.float32)
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "w is rounded to half precision.",
    public=False,
)
@triton.jit
def guidance_is_rounded(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    V_y = tl.load(v_y + i, mask=there).to(tl.float32)
    V_null = tl.load(v_null + i, mask=there).to(tl.float32)
    v_cfg = (1 + w.to(tl.float16).to(tl.float32)) * V_y - w.to(tl.float16).to(tl.float32) * V_null
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "dt is rounded to bfloat16.",
    public=False,
)
@triton.jit
def dt_is_rounded(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    V_y = tl.load(v_y + i, mask=there).to(tl.float32)
    V_null = tl.load(v_null + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * V_y - w * V_null
    tl.store(
        x_next + i,
        (X - dt.to(tl.bfloat16).to(tl.float32) * v_cfg).to(x_next.dtype.element_ty),
        mask=there,
    )


@mistake(
    EXERCISE,
    "The sample is clipped to ±60.",
    public=False,
)
@triton.jit
def the_sample_is_clipped(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    V_y = tl.load(v_y + i, mask=there).to(tl.float32)
    V_null = tl.load(v_null + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * V_y - w * V_null
    tl.store(
        x_next + i,
        tl.minimum(tl.maximum(X - dt * v_cfg, -60.0), 60.0).to(x_next.dtype.element_ty),
        mask=there,
    )


@mistake(
    EXERCISE,
    "A velocity that is NaN counts as 0.",
    public=False,
)
@triton.jit
def not_a_number_is_0(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    V_y = tl.load(v_y + i, mask=there).to(tl.float32)
    V_null = tl.load(v_null + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * V_y - w * V_null
    tl.store(
        x_next + i,
        (X - dt * tl.where(v_cfg == v_cfg, v_cfg, 0.0)).to(x_next.dtype.element_ty),
        mask=there,
    )


@mistake(
    EXERCISE,
    "Right only where BLOCK is 1024.",
    public=False,
)
@triton.jit
def right_for_blocks_of_1024(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * 1024 + tl.arange(0, 1024)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    V_y = tl.load(v_y + i, mask=there).to(tl.float32)
    V_null = tl.load(v_null + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * V_y - w * V_null
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)


@mistake(
    EXERCISE,
    "Program i does block i as counted from the end.",
    public=False,
)
@triton.jit
def blocks_from_the_end(x, v_y, v_null, x_next, w, dt, n, BLOCK: tl.constexpr):
    i = (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    X = tl.load(x + i, mask=there).to(tl.float32)
    V_y = tl.load(v_y + i, mask=there).to(tl.float32)
    V_null = tl.load(v_null + i, mask=there).to(tl.float32)
    v_cfg = (1 + w) * V_y - w * V_null
    tl.store(x_next + i, (X - dt * v_cfg).to(x_next.dtype.element_ty), mask=there)
