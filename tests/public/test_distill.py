"""Public checks of chapter 12, the answers of teachers."""

import math

import pytest
import torch

from cs231n_gen.checking import expect, fakes
from cs231n_gen.given import processes
from cs231n_gen.given.processes import NOISE, Process, Target, X, angular, velocity

reflow_pairs = pytest.mark.exercise("distill.reflow_pairs", graph=False)
progressive_target = pytest.mark.exercise("distill.progressive_target", graph=False)

# What rounding leaves where all that is computed is a double.
DOUBLE = {"atol": 1e-10, "rtol": 1e-10}


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def levels(*values):
    return torch.tensor(values, dtype=torch.float64)


def column(value, x):
    """One number for each example, shaped to multiply x."""
    return value.reshape(-1, *[1] * (x.dim() - 1))


def meaning(y, x):
    """A number for each condition, of a label and of a text, shaped to multiply x; 1 of None."""
    if y is None:
        return 1.0
    told = 1 + (0.3 + y.double().reshape(len(y), -1)).square().mean(1) / 7
    return column(told, x).to(x.dtype)


def bent():
    """A field in which x_t, t and y all count, of examples and conditions of any shape."""
    return fakes.Recorder(lambda x, t, y: meaning(y, x) * (t - 0.4 * x + 0.2).cos())


def teachers(student):
    """A network in training mode, and one in the middle of its own training, in eval mode."""
    found = [student.new("checking.fakes.AnyCondition") for _ in range(2)]
    found[1].call("put_to_use")
    return found


# --- distill.reflow_pairs -----------------------------------------------------------------------


def heun(field, z, steps, y=None):
    """Heun's method of 2 calls a step, from t = 1 to t = 0."""
    x, h = z.double(), 1 / steps
    for i in range(steps, 0, -1):
        here, there = (torch.full((len(z),), k / steps, dtype=torch.float64) for k in (i, i - 1))
        v = field(x, here, y)
        x = x - h / 2 * (v + field(x - h * v, there, y))
    return x


def pairs(student, *args, **how):
    """The x of pairs, whose z are checked."""
    x, z = expect.unpack(student.distill.reflow_pairs(*args, **how), ["x", "z"])
    given = args[1]
    expect.tensor(z, given.shape, "z, the second of the pair,")
    says = "the second of the pair must be the noise that was given, in its order"
    expect.close(z, given, says, atol=0.0, rtol=0.0, what="z")
    return expect.tensor(x, given.shape, "x")


@reflow_pairs
def test_each_noise_has_its_own_sample(student, generator):
    """row i of x is the sample made of row i of z"""
    z = normal(generator, 7, 2)
    for at_once in (1024, 3):
        x = pairs(student, fakes.linear(1.0), z, 4, None, at_once)
        says = (
            f"v = x and 4 steps of Heun's method, {at_once} at once: each row falls by one factor"
        )
        expect.close(x, z * (1 - 1 / 4 + 1 / 32) ** 4, says, what="x", **DOUBLE)


@reflow_pairs
def test_pairs_do_not_cross(student):
    """in one dimension a larger noise has a larger sample: the lines between them do not cross"""
    z = levels(0.3, -1.2, 2.1, 0.9, -0.4, 1.5, -2.0)[:, None]

    def two_peaks(x, t, y):  # the exact velocity of x = ±1 ± 0.3
        a, v = 1 - t, 0.09 * (1 - t) ** 2 + t**2
        which = torch.tanh(a * x / v)
        return (t * (x - a * which) - (0.09 * a * x + t**2 * which)) / v

    x = pairs(student, fakes.Recorder(two_peaks), z, 12, at_once=2)
    order = z.flatten().argsort()
    says = "sorted by z, the samples must be sorted too"
    rising = bool((x.flatten()[order].diff() > 0).all())
    expect.true(rising, says, x.flatten()[order], "rising numbers")


@reflow_pairs
def test_so_many_at_once(student, generator):
    """the model is called on at_once examples at most, 2 T times for each part"""
    for n, at_once in ((10, 4), (8, 4), (1030, None)):
        model, z = bent(), normal(generator, n, 1)
        pairs(student, model, z, 2, **({} if at_once is None else {"at_once": at_once}))
        most, sizes = at_once or 1024, [len(x) for x in model.inputs]
        says = f"{n} examples, at_once = {most}: a call with more of them"
        expect.true(max(sizes) <= most, says, max(sizes), f"at most {most}")
        calls = 4 * math.ceil(n / most)
        says = f"{n} examples, at_once = {most}, 2 steps of Heun's method: the number of calls"
        expect.true(len(sizes) == calls, says, len(sizes), calls)


@reflow_pairs
def test_each_example_has_its_condition(student, generator):
    """each example keeps its condition, in every part"""
    for y in (torch.arange(7), normal(generator, 7, 2, 3)):
        z = normal(generator, 7, 2)
        x = pairs(student, bent(), z, 3, y, 3)
        says = f"7 examples, 3 at once, y of shape {tuple(y.shape)}: y[i] belongs to row i"
        expect.close(x, heun(bent(), z, 3, y), says, what="x", **DOUBLE)


@reflow_pairs
def test_pairs_of_every_form(student, generator):
    """numbers, points and images in float32 and float64, one example and many"""
    for shape in ((5,), (1, 2), (3, 1), (4, 2, 3, 3)):
        z = 20 * normal(generator, *shape)
        x = pairs(student, bent(), z, 2, at_once=3)
        says = f"z of shape {shape}: x must be computed in the precision of z"
        expect.close(x, heun(bent(), z, 2), says, what="x", **DOUBLE)
        x = pairs(student, bent(), z.float(), 1)
        says = f"z of shape {shape} in single precision"
        expect.close(x, heun(bent(), z.float(), 1), says, what="x", atol=1e-4, rtol=1e-5)
        expect.true(x.dtype == torch.float32, "x must have the precision of z", x.dtype)


@reflow_pairs
def test_no_gradients_are_recorded(student, generator):
    """the teacher is asked without recording gradients"""
    z = normal(generator, 5, 2).float()
    want = heun(fakes.AnyCondition().double(), z, 2).detach()
    for teacher in teachers(student):
        x = pairs(student, teacher, z, 2, None, 3)
        expect.close(x, want, "the samples of a network", what="x")
        recorded = sum(teacher.get("recorded"))
        says = "calls of the teacher that record gradients, which take memory for nothing"
        expect.true(recorded == 0, says, recorded, 0)


@reflow_pairs
def test_no_parts_and_no_steps_are_refused(student, generator):
    """at_once below 1 and less than one step are refused"""
    z, call = normal(generator, 4, 2), student.distill.reflow_pairs
    for at_once in (0, -1):
        says = f"ValueError for at_once = {at_once}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda k=at_once: call(bent(), z, 2, None, k), says)
    for steps in (0, 2.5):
        says = f"ValueError for steps = {steps}, which the sampler of chapter 04 raises"
        expect.raises("ValueError", lambda k=steps: call(bent(), z, k), says)


# --- distill.progressive_target -----------------------------------------------------------------

BENDING = Process(
    a=lambda t: 1.5 * (1 - t) * (1 + 0.3 * t),
    b=lambda t: 0.7 * t * (1 + 0.5 * t),
    da=lambda t: 1.5 * (-0.7 - 0.6 * t),
    db=lambda t: 0.7 * (1 + t),
)
OWN = Target(c=lambda t: -0.6 - t, d=lambda t: 0.8 + t * t)
FLOW = processes.rectified_flow()
T, S = levels(0.9, 0.5, 0.7), levels(0.6, 0.1, 0.2)


def kinds():
    """Processes and targets of every kind."""
    return [
        (FLOW, velocity(FLOW)),
        (FLOW, NOISE),
        (processes.variance_preserving(), NOISE),
        (processes.cosine(), angular(processes.cosine())),
        (processes.variance_exploding(0.1, 5.0), X),
        (processes.edm(4.0), NOISE),
        (BENDING, OWN),
    ]


def ddim(prediction, x_t, t, s, process, target):
    """x_t and its prediction as two equations for x and z, then a_s x + b_s z."""
    a, b, a_s, b_s, c, d = (
        column(f(v), x_t)
        for f, v in (
            (process.a, t),
            (process.b, t),
            (process.a, s),
            (process.b, s),
            (target.c, t),
            (target.d, t),
        )
    )
    delta = a * d - b * c
    return (a_s * (d * x_t - b * prediction) + b_s * (a * prediction - c * x_t)) / delta


def two_steps(field, x_t, t, s, process, target, y=None):
    """Where two steps of the teacher end, and where they meet."""
    m = (t + s) / 2
    x_m = ddim(field(x_t, t, y), x_t, t, m, process, target)
    return ddim(field(x_m, m, y), x_m, m, s, process, target), x_m, m


def solved(student, *args, **how):
    x_t = args[1]
    return expect.tensor(student.distill.progressive_target(*args, **how), x_t.shape, "x̃")


@progressive_target
def test_one_step_goes_as_far_as_two(student, generator):
    """a DDIM step with x̃ ends where two of the teacher's end, for any process and target"""
    for process, target in kinds():
        x_t = normal(generator, 3, 2)
        x = solved(student, bent(), x_t, T, S, process, target)
        want, _, _ = two_steps(bent(), x_t, T, S, process, target)
        says = "one DDIM step with x̃ as its prediction of the data must end where two steps do"
        expect.close(ddim(x, x_t, T, S, process, X), want, says, what="x_s", **DOUBLE)


@progressive_target
def test_on_rectified_flow_velocities_are_averaged(student, generator):
    """on rectified flow, velocities of 1 and then of 3 are a step with velocity 2"""
    x_t, t, s = normal(generator, 2, 3), levels(0.8, 0.8), levels(0.4, 0.4)
    model = fakes.Recorder(lambda x, t, y: 1.0 + 2 * (t < 0.7).to(x) + 0 * x)
    x = solved(student, model, x_t, t, s, FLOW, velocity(FLOW))
    says = "v = 1 at t = 0.8 and v = 3 at m = 0.6: x̃ is x_t − 0.8 · 2"
    expect.close(x, x_t - 1.6, says, what="x̃", **DOUBLE)


@progressive_target
def test_a_teacher_who_is_sure_of_x(student, generator):
    """a teacher that always predicts the same data teaches that data"""
    x, x_t = normal(generator, 3, 2), normal(generator, 3, 2)
    for process in (FLOW, processes.cosine(), BENDING):
        model = fakes.Recorder(lambda _, t, y: x + 0 * t)
        found = solved(student, model, x_t, T, S, process, X)
        says = "x-prediction, the same at t and at m: both steps go towards this x"
        expect.close(found, x, says, what="x̃", **DOUBLE)


@progressive_target
def test_the_teacher_is_asked_twice(student, generator):
    """the teacher is asked at x_t and t, then at x_m and m = (t + s) / 2, with its condition"""
    x_t, y = normal(generator, 3, 2), torch.tensor([2, 0, 5])
    for given in (None, y):
        model = bent()
        solved(student, model, x_t, T, S, BENDING, OWN, given)
        says = "the number of the teacher's calls"
        expect.true(len(model.times) == 2, says, len(model.times), 2)
        _, x_m, m = two_steps(bent(), x_t, T, S, BENDING, OWN, given)
        asked = zip(
            model.inputs, model.times, ((x_t, T), (x_m, m)), ("first", "second"), strict=True
        )
        for x, level, want, which in asked:
            expect.close(level, want[1], f"t in the {which} call", what="t", **DOUBLE)
            expect.close(x, want[0], f"x_t in the {which} call", what="x_t", **DOUBLE)
        for seen in model.conditions:
            same = seen is None if given is None else torch.equal(seen, given)
            expect.true(same, "both calls get the conditions as they came", seen, given)


@progressive_target
def test_the_last_step_and_the_first(student, generator):
    """steps from pure noise, t = 1, and to the data, s = 0"""
    t, s, x_t = levels(1.0, 1.0, 0.6), levels(0.0, 0.5, 0.0), normal(generator, 3, 2)
    for process, target in ((FLOW, velocity(FLOW)), (BENDING, OWN), (processes.edm(3.0), X)):
        x = solved(student, bent(), x_t, t, s, process, target)
        want, _, _ = two_steps(bent(), x_t, t, s, process, target)
        says = "from t = 1 and to s = 0, beside others in one batch"
        expect.close(ddim(x, x_t, t, s, process, X), want, says, what="x_s", **DOUBLE)


@progressive_target
def test_targets_of_every_form(student, generator):
    """numbers, points and images, labels and texts, in float32 and float64"""
    for shape in ((), (3,), (2, 3, 3)):
        for n, y in ((1, None), (3, torch.arange(3)), (3, normal(generator, 3, 4, 2))):
            x_t, t, s = 20 * normal(generator, n, *shape), T[:n], S[:n]
            x = solved(student, bent(), x_t, t, s, BENDING, OWN, y)
            want, _, _ = two_steps(bent(), x_t, t, s, BENDING, OWN, y)
            says = f"x_t of shape {tuple(x_t.shape)}: x̃ must be computed in its precision"
            expect.close(ddim(x, x_t, t, s, BENDING, X), want, says, what="x_s", **DOUBLE)
            few = solved(student, bent(), x_t.float(), t.float(), s.float(), BENDING, OWN, y)
            expect.close(few, x, "in single precision", what="x̃", atol=1e-2, rtol=1e-3)
            expect.true(few.dtype == torch.float32, "x̃ has the precision of x_t", few.dtype)


@progressive_target
def test_no_gradients_of_the_teacher(student, generator):
    """x̃ has no graph, and the teacher is asked without recording gradients"""
    x_t, t, s = normal(generator, 3, 2).float(), T.float(), S.float()
    want, _, _ = two_steps(fakes.AnyCondition(), x_t, t, s, FLOW, velocity(FLOW))
    for teacher in teachers(student):
        x = solved(student, teacher, x_t, t, s, FLOW, velocity(FLOW))
        found = ddim(x, x_t, t, s, FLOW, X)
        expect.close(found, want.detach(), "where two steps of a network end", what="x_s")
        recorded = sum(teacher.get("recorded"))
        expect.true(recorded == 0, "calls of the teacher that record gradients", recorded, 0)


@progressive_target
def test_no_step_is_refused(student, generator):
    """s at or above t and predictions that say nothing are refused"""
    x_t, call = normal(generator, 3, 2), student.distill.progressive_target
    says = "ValueError for {}: leave the lines above yours as they are"
    for t, s, what in ((T, T, "s = t"), (S, T, "s above t"), (T, S[:2], "fewer s than t")):
        expect.raises(
            "ValueError",
            lambda t=t, s=s: call(bent(), x_t, t, s, FLOW, velocity(FLOW)),
            says.format(what),
        )
    one = torch.ones_like(T)
    says = "ValueError of `ddim_step`: at t = 1 a prediction of noise says nothing of x"
    expect.raises("ValueError", lambda: call(bent(), x_t, one, S, FLOW, NOISE), says)
