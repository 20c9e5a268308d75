"""Hidden grader of chapter 14, kernels.guided_step: closed forms, float64, and the instruments."""

import pytest
import torch

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import alone, left
from cs231n_gen.checking.kernels.stages import DTYPES, POINTWISE, SIZES, Exact, Stages, checked

guided_step = pytest.mark.exercise("kernels.guided_step.kernel")


def reference(x, v_y, v_null, w, dt):
    """In fp32 at least, rounded once."""
    X, V_y, V_null = (k.to(torch.promote_types(k.dtype, torch.float32)) for k in (x, v_y, v_null))
    return (X - dt * ((1 + w) * V_y - w * V_null)).to(x.dtype)


def on(student, truth=reference):
    return Stages(student, "kernels.guided_step.guided_step", Exact(truth))


def eighths(generator, *shape):
    """Three tensors of multiples of 1/8 up to 4, a guidance of whole quarters, and a step that is a
    power of 2: fp32 holds every term of a step exactly, so that any order of terms is right."""
    given = [torch.randint(-32, 33, shape, generator=generator) / 8 for _ in range(3)]
    return *given, draws.whole(generator, 1, 32) / 4, 2.0 ** -draws.whole(generator, 1, 5)


def like_images(generator, shape, dtype=torch.float32, w=7.5, dt=0.25):
    """A sample, and velocities that nearly agree, as those of a trained model do."""
    x, v, change = (torch.randn(shape, generator=generator) for _ in range(3))
    return x.to(dtype), (v + change / 10).to(dtype), v.to(dtype), w, dt


@guided_step(weight=3)
def test_every_size(student, generator):
    """correct: for 1, 7, 1023, 1024, 1025 and some thousand elements"""
    for n in (*SIZES, draws.whole(generator, 2000, 5000)):
        on(student).correct(*eighths(generator, n))


@guided_step(weight=2)
def test_conditional_and_unconditional(student, generator):
    """correct: w = 0 is a step along v_y, w = −1 one along v_∅"""
    x, v_y, v_null, _, dt = eighths(generator, 4, 333)
    one = on(student, lambda x, v_y, v_null, w, dt: x - dt * v_y)
    one.correct(x, v_y, v_null, 0.0, dt, says="with w = 0 the step must be that along v_y")
    one = on(student, lambda x, v_y, v_null, w, dt: x - dt * v_null)
    one.correct(x, v_y, v_null, -1.0, dt, says="with w = −1 the step must be that along v_∅")


@guided_step(weight=2)
def test_guidance_goes_beyond(student, generator):
    """correct: w adds to v_y what the condition changes, w times; where it changes nothing, none"""
    x, v_y, v_null, w, dt = eighths(generator, 4, 333)
    one = on(student, lambda x, v_y, v_null, w, dt: x - dt * v_y)
    says = "where both velocities agree guidance must change nothing"
    one.correct(x, v_y, v_y, w, dt, says=says)
    one = on(student, lambda x, v_y, v_null, w, dt: x - dt * (v_y + w * (v_y - v_null)))
    one.correct(x, v_y, v_null, w, dt, says="v_cfg must be v_y + w (v_y − v_∅)")
    says = "a guidance between −1 and 0 lies between v_∅ and v_y"
    one = on(student, lambda x, v_y, v_null, w, dt: x - dt * (v_y + v_null) / 2)
    one.correct(x, v_y, v_null, -0.5, dt, says=says)


@guided_step
def test_no_step(student, generator):
    """correct: no step and no velocity change nothing, a step of 1 along x − z ends at z"""
    x, z, v_null, w, dt = eighths(generator, 1100)
    same = on(student, lambda x, v_y, v_null, w, dt: x.clone())
    same.correct(x, z, v_null, w, 0.0, says="with dt = 0 the result must be x")
    zero = torch.zeros_like(x)
    same.correct(x, zero, zero, w, dt, says="without velocity the result must be x")
    end = on(student, lambda x, v_y, v_null, w, dt: x - v_y)
    says = "from x along v = x − z a step of 1 must end at z"
    end.correct(x, x - z, x - z, w, 1.0, says=says)


@guided_step
def test_any_guidance_and_step(student, generator):
    """correct: for w and dt of any sign and size, also for a step back"""
    x, v_y, v_null, some, step = eighths(generator, 80)
    fine, tiny = draws.whole(generator, 1, 512) / 4096, 1 / 256
    for w, dt in ((-3.25, step), (40.0, step), (tiny, step), (-tiny, 1), (some, -step), (0.5, 4.0)):
        says = f"the step is wrong for w = {w:g} and dt = {dt:g}"
        on(student).correct(x, v_y, v_null, w, dt, says=says)
    for w, dt in ((1 + fine, 1.0), (1.0, 1 + fine)):
        says = f"the step is not exact for w = {w:g} and dt = {dt:g}: keep all digits of both"
        on(student).correct(x, v_y, v_null, w, dt, says=says)


@guided_step
def test_numbers_of_any_size(student, generator):
    """correct: for very large and very small numbers"""
    x, v_y, v_null, w, dt = like_images(generator, (200,))
    size = torch.logspace(-30, 30, 200)
    on(student).correct(size * x, size * v_y, size * v_null, w, dt)
    for scale in (1e-25, 1e-10, 1e25):
        says = f"the step is wrong for numbers of about {scale}"
        on(student).correct(scale * x, scale * v_y, scale * v_null, w, dt, says=says)


@guided_step
def test_half_precision_is_for_inputs_alone(student, generator):
    """correct: where x and the step nearly cancel, and where terms are beyond float16"""
    x, v_y, v_null, w, _ = like_images(generator, (700,))
    for dtype in DTYPES:
        V_y, V_null = (8 * v_y).to(dtype), (8 * v_null).to(dtype)
        X = x / 8 + ((1 + w) * V_y.float() - w * V_null.float())
        on(student).correct(X.to(dtype), V_y, V_null, w, 1.0)
    V = (8000 + 100 * v_y).half()
    on(student).correct(x.half(), V, (V.float() + 20 * v_null).half(), 15.0, 0.25)


@guided_step
def test_what_is_not_finite(student, generator):
    """correct: infinity and NaN stay where they are, and what they are"""
    x, v_y, v_null, w, dt = eighths(generator, 40)
    x[3], x[17], v_y[5], v_null[30] = float("inf"), float("nan"), float("-inf"), float("nan")
    wrapper = student.function("kernels.guided_step.guided_step")
    seen = checked(student.instruments.observe.call(wrapper, [x, v_y, v_null, w, dt]))
    (got,) = seen["results"]
    want = reference(x, v_y, v_null, w, dt)
    same = got.shape == want.shape and torch.allclose(got, want, equal_nan=True)
    expect.true(same, "where x or a velocity is infinite or NaN the result must be, nowhere else")


@guided_step(weight=2)
def test_each_program_has_its_own_block(student, generator):
    """correct: program i writes block i and nothing else, for any BLOCK"""
    n = draws.whole(generator, 100, 190)
    given = eighths(generator, n)
    for block in (16, 64, 2048):
        last = -(-n // block) - 1
        mine = [draws.whole(generator, 0, last), last] if last else [0]
        before = torch.full((n,), 7.0)
        args = [*given[:3], before, *given[3:], n]
        says = f"with BLOCK = {block} program i does not do block i"
        name, where = "kernels.guided_step.kernel", {"programs": [[i] for i in mine]}
        came = left(student, name, [last + 1], args, {"BLOCK": block}, says, **where)
        expect.close(came[3], alone(reference(*given), before, block, mine), says)


@guided_step
def test_every_dtype(student, generator):
    """correct: in float32, float16 and bfloat16, as exact as float32 rounded once"""
    for dtype in DTYPES:
        on(student).correct(*like_images(generator, 1500, dtype))
        on(student).correct(*like_images(generator, 1000, dtype, w=15.0, dt=1.0))


@guided_step
def test_any_layout(student, generator):
    """correct: for strided, transposed and expanded tensors too"""
    for layout in ("strided", "transposed", "expanded"):
        on(student).correct(*like_images(generator, (3, 20, 30)), layout=layout)


@guided_step(weight=2)
def test_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    on(student).safe(*like_images(generator, draws.whole(generator, 1100, 2000)))


@guided_step
def test_honest(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    on(student).honest(like_images(generator, 1500), like_images(generator, 1500))


@guided_step
def test_lean(student, generator):
    """lean: x and both velocities are read once, the result is written once"""
    on(student).lean(POINTWISE, *like_images(generator, 3000))


@guided_step
def test_compiles(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    on(student).compiles(like_images(generator, 1500), like_images(generator, 1 << 16))
