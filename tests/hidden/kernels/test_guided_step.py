"""Hidden grader of chapter 14, kernels.guided_step: closed forms, float64, and the instruments."""

import pytest
import torch

from cs231n_gen.checking import draws
from cs231n_gen.checking.kernels.stages import DTYPES, POINTWISE, SIZES, Exact, Stages

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
