"""Public checks of chapter 12, the answers of teachers."""

import math

import pytest
import torch

from cs231n_gen.checking import expect, fakes
from cs231n_gen.given import processes
from cs231n_gen.given.processes import NOISE, Process, Target, X, angular, velocity

reflow_pairs = pytest.mark.exercise("distill.reflow_pairs", graph=False)
progressive_target = pytest.mark.exercise("distill.progressive_target", graph=False)
guidance_target = pytest.mark.exercise("distill.guidance_target", graph=False)
adversarial_loss = pytest.mark.exercise("distill.adversarial_loss")
moment_matching_loss = pytest.mark.exercise("distill.moment_matching_loss")

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


def unconditional(x_t, t):
    """v = t − x_t / 2, of a teacher that knows no conditions: x_t and t are all it takes."""
    return column(t, x_t) - x_t / 2


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
    want = heun(lambda x, t, y: unconditional(x, t), z, 2)
    says = "a teacher without conditions, called as model(x, t)"
    expect.close(pairs(student, unconditional, z, 2), want, says, what="x", **DOUBLE)


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
    for n, at_once in ((23, 4), (8, 4), (3, 1), (1030, None)):
        model, z = bent(), normal(generator, n, 1)
        pairs(student, model, z, 2, **({} if at_once is None else {"at_once": at_once}))
        most, sizes = at_once or 1024, [len(x) for x in model.inputs]
        says = f"{n} examples, at_once = {most}: a call with more of them"
        expect.true(max(sizes) <= most, says, max(sizes), f"at most {most}")
        calls = 4 * math.ceil(n / most)
        says = f"{n} examples, at_once = {most}, 2 steps of Heun's method: the number of calls"
        expect.true(len(sizes) == calls, says, len(sizes), calls)
        for x, t in zip(model.inputs, model.times, strict=True):
            expect.tensor(t, (len(x),), "t, one level for each example of a call,")


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
        for s, how in ((S, ""), (T - 1e-3, ", a short one too")):
            x = solved(student, bent(), x_t, T, s, process, target)
            want, _, _ = two_steps(bent(), x_t, T, s, process, target)
            says = "one DDIM step with x̃ as its prediction of the data must end where two steps do"
            expect.close(ddim(x, x_t, T, s, process, X), want, says + how, what="x_s", **DOUBLE)


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
    x = solved(student, unconditional, x_t, T, S, FLOW, velocity(FLOW))
    want, _, _ = two_steps(lambda x, t, y: unconditional(x, t), x_t, T, S, FLOW, velocity(FLOW))
    says = "a teacher without conditions, called as model(x_t, t)"
    expect.close(ddim(x, x_t, T, S, FLOW, X), want, says, what="x_s", **DOUBLE)


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
    for t, s, what in (
        (T, T, "s = t"),
        (S, T, "s above t"),
        (T, levels(0.6, 0.1, 0.8), "one s above its t"),
        (T, S[:2], "fewer s than t"),
        (T, levels(0.1), "one s for all"),
    ):
        expect.raises(
            "ValueError",
            lambda t=t, s=s: call(bent(), x_t, t, s, FLOW, velocity(FLOW)),
            says.format(what),
        )
    one, narrow = torch.ones_like(T), fakes.Recorder(lambda x, t, y: x[:, :1])
    says = "ValueError of `ddim_step`: a prediction that is not shaped like x_t"
    expect.raises("ValueError", lambda: call(narrow, x_t, T, S, FLOW, velocity(FLOW)), says)
    says = "ValueError of `ddim_step`: at t = 1 a prediction of noise says nothing of x"
    expect.raises("ValueError", lambda: call(bent(), x_t, one, S, FLOW, NOISE), says)


# --- distill.guidance_target --------------------------------------------------------------------


def all_null(y, null):
    """∅ for each of these conditions."""
    return torch.zeros_like(y) + torch.as_tensor(null, dtype=y.dtype)


def guided(student, *args):
    x_t = args[1]
    return expect.tensor(student.distill.guidance_target(*args), x_t.shape, "the velocity")


def of_labels():
    """v = y, whatever x_t is: 9 where ∅ is label 9."""
    return fakes.Recorder(lambda x, t, y: column(y.to(x.dtype), x) + 0 * x)


@guidance_target
def test_both_ends_of_guidance(student, generator):
    """w = 0 is the conditional velocity, w = −1 the unconditional one"""
    x_t, t, y = normal(generator, 3, 2), levels(0.2, 0.5, 0.9), torch.tensor([1, 4, 2])
    for w, told in ((0.0, y), (-1.0, all_null(y, 9))):
        v = guided(student, bent(), x_t, t, y, 9, w)
        expect.close(v, bent()(x_t, t, told), f"w = {w:g}", what="v", **DOUBLE)


@guidance_target
def test_guidance_goes_beyond_the_condition(student, generator):
    """w = 2 goes beyond v_y by twice v_y − v_∅"""
    x_t, t, y = normal(generator, 2, 2), levels(0.5, 0.5), torch.tensor([5, 5])
    v = guided(student, of_labels(), x_t, t, y, 4, 2.0)
    says = "v_y = 5 and v_∅ = 4: w = 2 goes from v_y = 5 two more of the same way, to 7"
    expect.close(v, torch.full((2, 2), 7.0), says, what="v", **DOUBLE)


@guidance_target
def test_a_weight_for_each_example(student, generator):
    """w may be one for each example"""
    y, w = torch.tensor([5, 5, 3]), levels(0.5, -1.0, 2.0)
    for shape in ((3, 3), (3, 2, 3, 3)):
        x_t = normal(generator, *shape)
        v = guided(student, of_labels(), x_t, levels(0.1, 0.5, 0.9), y, 4, w)
        want = column(levels(5.5, 4.0, 1.0), x_t).expand(shape)
        says = f"x_t of shape {shape}, y = 5, 5, 3, v_∅ = 4: w[i] belongs to row i"
        expect.close(v, want, says, what="v", **DOUBLE)


@guidance_target
def test_the_teacher_is_called_once(student, generator):
    """the teacher is called once, with every example twice: with its condition and with ∅"""
    x_t, t, y = normal(generator, 3, 2), levels(0.2, 0.5, 0.9), torch.tensor([3, 1, 2])
    for w in (1.5, 0.0):
        model = bent()
        guided(student, model, x_t, t, y, 0, w)
        calls = len(model.times)
        expect.true(calls == 1, "the number of the teacher's calls", calls, 1)
        rows = len(model.inputs[0])
        says = f"w = {w:g}: examples in the call, for 3 with y and 3 with ∅"
        expect.true(rows == 6, says, rows, 6)
        told = model.conditions[0].sort().values
        says = "the conditions 1, 2, 3 and three times ∅ = 0, in their dtype"
        expect.close(told, torch.tensor([0, 0, 0, 1, 2, 3]), says, what="y")
        expect.true(told.dtype == y.dtype, says, told.dtype, y.dtype)


@guidance_target
def test_guidance_targets_of_every_form(student, generator):
    """numbers, points and images, labels and texts, in float32 and float64"""
    text, nothing_said = normal(generator, 3, 4, 2), normal(generator, 4, 2)
    for shape in ((), (3,), (2, 3, 3)):
        for n, y, null, w in (
            (1, torch.tensor([2]), 0, 3),
            (3, torch.arange(3).int(), torch.tensor(7), torch.tensor(0.5)),
            (3, text, nothing_said, 20 * normal(generator, 3)),
        ):
            x_t, t = 20 * normal(generator, n, *shape), levels(1.0, 0.0, 0.4)[:n]
            ones = torch.ones(n, dtype=torch.float64)
            factor = column(w * ones, x_t)
            want = (1 + factor) * bent()(x_t, t, y)
            want = want - factor * bent()(x_t, t, all_null(y, null))
            says = f"x_t of shape {tuple(x_t.shape)}, w {w!r}: v must be computed in its precision"
            expect.close(guided(student, bent(), x_t, t, y, null, w), want, says, **DOUBLE)
            w = w.float() if isinstance(w, torch.Tensor) else w
            few = guided(student, bent(), x_t.float(), t.float(), y, null, w)
            expect.close(few, want, "in single precision", what="v", atol=1e-3, rtol=1e-4)
            expect.true(few.dtype == torch.float32, "v has the precision of x_t", few.dtype)


@guidance_target
def test_no_gradients_of_the_guided_teacher(student, generator):
    """the target has no graph, and the teacher is asked without recording gradients"""
    x_t, t, y = normal(generator, 3, 2).float(), levels(0.1, 0.5, 0.9).float(), torch.arange(3)
    field = fakes.AnyCondition()
    v_y, v_null = (field(x_t, t, told).detach() for told in (y, all_null(y, 8)))
    for teacher in teachers(student):
        v = guided(student, teacher, x_t, t, y, 8, 1.5)
        says = "the guided velocity of a network"
        expect.close(v, v_y + 1.5 * (v_y - v_null), says, what="v")
        args = teacher, x_t, t, y, 8, torch.full((3,), 1.5)
        of_w, *_ = student.gradient("distill.guidance_target", *args, wrt=[args[-1]])
        expect.true(of_w is None, "a target takes no gradients: something flows back into w")
        recorded = sum(teacher.get("recorded"))
        expect.true(recorded == 0, "calls of the teacher that record gradients", recorded, 0)


@guidance_target
def test_weights_that_do_not_fit_are_refused(student, generator):
    """weights that are neither one nor one for each example are refused"""
    x_t, t, y = normal(generator, 4, 3), levels(0.1, 0.3, 0.6, 0.9), torch.arange(4)
    call = student.distill.guidance_target
    for shape in ((3,), (1,), (4, 1)):
        w, says = torch.ones(shape).double(), f"ValueError for w of shape {shape} for 4 examples"
        expect.raises("ValueError", lambda w=w: call(bent(), x_t, t, y, 9, w), says)


# --- distill.adversarial_loss -------------------------------------------------------------------


class Judge:
    """A network and heads on it, here and on the student's side, with what D says of examples."""

    def __init__(
        self, student, generator, inputs, bend=True, trained=False, logits=(), modes=(0, 0)
    ):
        A, B = normal(generator, 4, inputs) / inputs**0.5, normal(generator, 2, 4)
        V, W = normal(generator, 4, 4), normal(generator, 4, 2)
        self.args = (A, B, bend), (V, W, 0.3, logits)
        self.student, self.slope = student, (V + W @ B).mean(0) @ A  # where nothing is bent
        self.features, self.heads = fakes.Features(*self.args[0]), fakes.Heads(*self.args[1])
        self.there(trained, modes=modes)

    def there(self, trained, dtype=torch.float64, modes=(0, 0)):
        """The same networks on the student's side; both sides in training mode or not."""
        (A, B, bend), (V, W, b, logits) = self.args
        A, B, V, W = (w.to(dtype) for w in (A, B, V, W))
        self.nets = (
            self.student.new("checking.fakes.Features", A, B, bend, trained),
            self.student.new("checking.fakes.Heads", V, W, b, logits, trained),
        )
        sides = zip((self.features, self.heads), self.nets, modes, strict=True)
        for here, there, training in sides:
            here.train(bool(training))
            there.call("train" if training else "eval")

    def says(self, x, z=None, t=None, y=None):
        """D(x): logits, with their graph."""
        if t is None:
            return self.heads(self.features(x))
        level = column(t, x)
        told = () if y is None else (y,)
        return self.heads(self.features((1 - level) * x + level * z, t, *told))

    def losses(self, x, x_hat, *noise):
        """Both losses, number by number."""
        real, fake = (self.says(v, *noise).flatten().tolist() for v in (x, x_hat))
        of_heads = sum(max(0.0, 1 - d) for d in real) + sum(max(0.0, 1 + d) for d in fake)
        return levels(-sum(fake), of_heads) / len(real)

    def asked(self, x, x_hat, *noise):
        """What the student's code says."""
        found = self.student.distill.adversarial_loss(*self.nets, x, x_hat, *noise)
        names = "L_student", "L_heads"
        both = zip(expect.unpack(found, names), names, strict=True)
        return torch.stack([expect.tensor(v, (), name) for v, name in both])

    def pulls(self, scales, x, x_hat, *noise):
        """Gradients of scales[0] L_student + scales[1] L_heads into x, x̂ and both networks."""
        function = self.student.function("distill.adversarial_loss")
        args = (function, [*levels(*scales)], *self.nets, x, x_hat, *noise)
        wrt = [x, x_hat, *self.nets]
        return self.student.gradient("checking.fakes.weighted_both", *args, wrt=wrt)


def images(generator, n=3, shape=(3,)):
    """Real and made examples, noise, levels and conditions."""
    x, x_hat, z = (normal(generator, n, *shape) for _ in range(3))
    return x + 1, x_hat, z, levels(0.2, 0.5, 0.9)[:n], torch.tensor([4, 0, 2])[:n]


def nothing(gradients):
    """Whether no gradient arrives: none at all, or zeros."""
    return all(g is None or not bool(g.any()) for g in gradients)


@adversarial_loss
def test_of_clean_examples(student, generator):
    """ADD: the hinge losses of D(x) and D(x̂)"""
    x, x_hat, *_ = images(generator)
    judge = Judge(student, generator, 3)
    says = "−mean D(x̂), and mean max(0, 1 − D(x)) + mean max(0, 1 + D(x̂))"
    expect.close(judge.asked(x, x_hat), judge.losses(x, x_hat), says, **DOUBLE)


@adversarial_loss
def test_of_noised_examples(student, generator):
    """LADD: D sees both noised with the same z and t"""
    x, x_hat, z, t, _ = images(generator)
    judge = Judge(student, generator, 3)
    says = "D(x) = heads(features((1 − t) x + t z, t)), and the same for x̂"
    expect.close(judge.asked(x, x_hat, z, t), judge.losses(x, x_hat, z, t), says, **DOUBLE)


@adversarial_loss
def test_features_get_the_conditions(student, generator):
    """with conditions the features are told y, a label or a text"""
    x, x_hat, z, t, label = images(generator)
    for y in (label, normal(generator, 3, 4, 2)):
        judge = Judge(student, generator, 3)
        noise, says = (z, t, y), "features(x_t, t, y)"
        expect.close(judge.asked(x, x_hat, *noise), judge.losses(x, x_hat, *noise), says, **DOUBLE)


@adversarial_loss
def test_the_student_climbs_a_linear_judge(student, generator):
    """the gradient of L_student in x̂ goes through frozen features, noised ones too"""
    x, x_hat, z, t, y = images(generator)
    for noise in ((), (z, t), (z, t, y)):
        judge = Judge(student, generator, 3, bend=False, trained=True)
        _, found, *_ = judge.pulls((1.0, 0.0), x, x_hat, *noise)
        expect.true(found is not None, "no gradient arrives at x̂")
        kept = column(1 - t, x) if noise else 1
        says = "linear features and heads: −(1 − t) ∂D/∂x over the batch of 3"
        want = -kept * judge.slope.expand(3, 3) / 3
        expect.close(found, want, says, what="the gradient in x̂", **DOUBLE)


@adversarial_loss
def test_the_heads_learn_to_tell_them_apart(student, generator):
    """the gradient of L_heads flows into the heads' weights"""
    x, x_hat, z, t, y = images(generator)
    for noise in ((), (z, t), (z, t, y)):
        judge = Judge(student, generator, 3, trained=True)
        real, fake = (judge.says(v, *noise) for v in (x, x_hat))
        cost = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
        cost.backward()
        *_, found = judge.pulls((0.0, 1.0), x, x_hat, *noise)
        for name, weight in judge.heads.named_parameters():
            expect.true(found[name] is not None, f"no gradient arrives at {name} of the heads")
            says = f"the gradient of L_heads in {name} of the heads"
            expect.close(found[name], weight.grad, says, what="it", **DOUBLE)


@adversarial_loss
def test_each_loss_moves_one_side_only(student, generator):
    """L_student moves x̂ alone, L_heads the heads alone, and neither the features"""
    x, x_hat, z, t, y = images(generator)
    for noise in ((), (z, t, y)):
        judge = Judge(student, generator, 3, trained=True)
        of_x, _, of_features, of_heads = judge.pulls((1.0, 0.0), x, x_hat, *noise)
        says = "the features are not trained: their weights must get no gradient of L_student"
        expect.true(nothing(of_features.values()), says)
        says = "L_student must leave the heads alone: they learn to tell real from made"
        expect.true(nothing(of_heads.values()), says)
        expect.true(nothing([of_x]), "L_student has nothing to do with x")
        of_x, of_x_hat, of_features, _ = judge.pulls((0.0, 1.0), x, x_hat, *noise)
        says = "the features are not trained: their weights must get no gradient of L_heads"
        expect.true(nothing(of_features.values()), says)
        says = "L_heads must not flow into x̂: the student would learn to be found out"
        expect.true(nothing([of_x_hat]), says)
        expect.true(nothing([of_x]), "L_heads must not flow into x")


@adversarial_loss
def test_the_margin(student, generator):
    """heads that tell all apart by more than 1 lose nothing; L_student has no margin"""
    one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    features = student.new("checking.fakes.Features", one, one, False, False)
    heads = student.new("checking.fakes.Heads", one, zero, 0.0, (), False)  # D(x) = x
    for net in (features, heads):
        net.call("eval")
    for x, x_hat, want in (
        (levels(1.5, 3.0), levels(-2.0, -4.0), levels(3.0, 0.0)),
        (levels(-2.0, -4.0), levels(1.5, 3.0), levels(-2.25, 7.25)),
        (levels(0.5, -0.5), levels(0.25, -0.75), levels(0.25, 1.75)),
        (levels(-5000.0, -3000.0), levels(3000.0, 9000.0), levels(-6000.0, 10002.0)),
    ):
        found = student.distill.adversarial_loss(features, heads, x, x_hat)
        found = torch.stack([*expect.unpack(found, ["L_student", "L_heads"])])
        told = f"D(x) = {x.tolist()} and D(x̂) = {x_hat.tolist()}"
        expect.close(found, want, f"L_student and L_heads for {told}", **DOUBLE)


@adversarial_loss
def test_networks_are_used_as_they_are(student, generator):
    """both networks are used in the mode they are in, and left as they were"""
    x, x_hat, z, t, _ = images(generator)
    for modes in ((1, 1), (0, 1), (1, 0)):
        for noise in ((), (z, t)):
            judge = Judge(student, generator, 3, modes=modes)
            found, want = judge.asked(x, x_hat, *noise), judge.losses(x, x_hat, *noise)
            says = "features in training mode: {}, heads: {}".format(*map(bool, modes))
            expect.close(found, want, says, **DOUBLE)
            judge.there(True, modes=modes)
            for net in judge.nets:
                net.call("with_gradients")
            args = (*judge.nets, x, x_hat, *noise)
            (back,) = student.gradient("distill.adversarial_loss", *args, wrt=[x_hat])
            expect.true(back is not None, "no gradient arrives at x̂")


@adversarial_loss
def test_losses_of_every_form(student, generator):
    """numbers, points and images, logits of any shape, in float32 and float64"""
    for n, shape, logits in ((1, (3,), (-1,)), (3, (), (-1, 1, 2, 2)), (2, (2, 2, 2), (-1, 1))):
        for many in (0, 2, 3):
            x, x_hat, *noise = images(generator, n, shape)
            noise = noise[:many]
            judge = Judge(student, generator, math.prod(shape), logits=logits)
            found, want = judge.asked(x, x_hat, *noise), judge.losses(x, x_hat, *noise)
            says = f"x of shape {tuple(x.shape)}, logits of shape {logits}"
            expect.close(found, want, says, **DOUBLE)
            judge.there(False, torch.float32)
            few = [v.float() if v.is_floating_point() else v for v in (x, x_hat, *noise)]
            found = judge.asked(*few)
            expect.close(found, want, "in single precision", atol=1e-4, rtol=1e-4)
            expect.true(found.dtype == torch.float32, "losses in that precision", found.dtype)


@adversarial_loss
def test_what_does_not_belong_together_is_refused(student, generator):
    """x̂ of another shape, z without t or t without z, and y without both are refused"""
    judge, (x, _, z, t, y) = Judge(student, generator, 3), images(generator)

    def refused(what, *args, **noise):
        says = f"ValueError for {what}: leave the lines above yours as they are"
        call = student.distill.adversarial_loss
        expect.raises("ValueError", lambda: call(*judge.nets, *args, **noise), says)

    refused("x of shape (3, 3) and x̂ of shape (1, 3)", x, x[:1])
    refused("x of shape (3, 3) and x̂ of shape (3, 1)", x, x[:, :1])
    refused("z without t", x, x, z=z)
    refused("t without z", x, x, t=t)
    refused("y without z and t", x, x, y=y)


# --- distill.moment_matching_loss ---------------------------------------------------------------


def other_bent():
    """Another field than `bent`."""
    return fakes.Recorder(lambda x, t, y: (0.7 * x + 0.5 * t).sin() - meaning(y, x) / 3)


def gap(teacher, auxiliary, x_hat, z, t, y=None):
    """g: what the student's denoiser says less what the teacher's says, at x_t; and x_t."""
    level = column(t, x_hat)
    x_t = (1 - level) * x_hat + level * z
    ours, theirs = (x_t - level * f(x_t, t, y) for f in (auxiliary, teacher))
    return ours - theirs, x_t


def matched(student, *args):
    found = student.distill.moment_matching_loss(*args)
    return expect.tensor(found, (), "the loss")


def pull(student, *args):
    """The gradient in x̂."""
    (found,) = student.gradient("distill.moment_matching_loss", *args, wrt=[args[2]])
    expect.true(found is not None, "no gradient arrives at x̂")
    return expect.tensor(found, args[2].shape, "the gradient in x̂")


def made(generator, n=3, shape=(2,)):
    """Samples of a student, noise and levels."""
    return normal(generator, n, *shape), normal(generator, n, *shape), levels(0.2, 0.5, 0.9)[:n]


@moment_matching_loss
def test_the_loss_is_half_the_mean_of_g_squared(student, generator):
    """L is ½ mean g²"""
    given = made(generator)
    says = "½ mean of the squared difference of the denoisers, over batch and dimensions"
    for size in (0.1, 3000.0):
        g, _ = gap(fakes.linear(size), other_bent(), *given)
        L = matched(student, fakes.linear(size), other_bent(), *given)
        expect.close(L, 0.5 * g.square().mean(), says, what="L", **DOUBLE)


@moment_matching_loss
def test_its_gradient_is_g(student, generator):
    """the gradient in x̂ is g over the number of entries"""
    given = made(generator)
    g, _ = gap(bent(), other_bent(), *given)
    found = pull(student, bent(), other_bent(), *given)
    says = "g / 6 for 3 examples of 2 numbers: nothing must flow through x_t or the flows"
    expect.close(found, g / 6, says, what="the gradient in x̂", **DOUBLE)


def of_gaussian(m, s):
    """The exact velocity for data from N(m, s²)."""

    def field(x_t, t, y):
        a = 1 - t
        residual = (x_t - a * m) / ((a * s) ** 2 + t**2)
        return t * residual - (m + a * s**2 * residual)

    return fakes.Recorder(field)


@moment_matching_loss
def test_mean_and_variance_are_matched(student):
    """on Gaussians its gradient leads to the mean and the variance of the data"""
    e, z = levels(1, 1, -1, -1)[:, None], levels(1, -1, 1, -1)[:, None]
    half = levels(0.5, 0.5, 0.5, 0.5)
    for mean, std, to_mean, to_std in (
        (1.0, 0.5, 0.0, 0.0),
        (2.0, 0.5, 0.8, 0.0),
        (1.0, 1.0, 0.0, 0.3),
        (1.0, 0.25, 0.0, -0.25 * (16 / 17 - 0.8)),
    ):
        flows = of_gaussian(1.0, 0.5), of_gaussian(mean, std)
        found = pull(student, *flows, mean + std * e, z, half)
        told = f"data of mean 1 and deviation 0.5, a student's of mean {mean} and deviation {std}"
        expect.close(found.sum(), to_mean, f"{told}: the gradient in the mean", **DOUBLE)
        expect.close((found * e).sum(), to_std, f"{told}: that in the deviation", **DOUBLE)


@moment_matching_loss
def test_each_flow_is_asked_once(student, generator):
    """both flows are asked once, at x_t and t, with the conditions as they came"""
    x_hat, z, t = made(generator)
    for y in (None, torch.tensor([2, 0, 5]), normal(generator, 3, 4, 2)):
        flows = bent(), other_bent()
        matched(student, *flows, x_hat, z, t, y)
        _, x_t = gap(bent(), bent(), x_hat, z, t, y)
        for flow, name in zip(flows, ("teacher", "auxiliary flow"), strict=True):
            calls = len(flow.times)
            expect.true(calls == 1, f"calls of the {name}", calls, 1)
            says = f"the {name} is asked at x_t = (1 − t) x̂ + t z"
            expect.close(flow.inputs[0], x_t, says, what="x_t", **DOUBLE)
            expect.close(flow.times[0], t, f"the {name} gets t as it came", what="t", **DOUBLE)
            seen = flow.conditions[0]
            same = seen is None if y is None else torch.equal(seen, y)
            expect.true(same, f"the {name} gets the conditions as they came", seen, y)
    L = matched(student, unconditional, unconditional, x_hat, z, t)
    expect.close(L, 0.0, "flows without conditions, called as model(x_t, t)", what="L", **DOUBLE)


@moment_matching_loss
def test_losses_of_matching_of_every_form(student, generator):
    """numbers, points and images, in float32 and float64, levels from 0 to 1"""
    for n, shape, y in ((1, (2,), None), (3, (), torch.arange(3)), (3, (2, 3, 3), None)):
        x_hat, z, _ = (10 * v for v in made(generator, n, shape))
        t = levels(1e-5, 0.0, 1.0)[:n]
        g, _ = gap(bent(), other_bent(), x_hat, z, t, y)
        L = matched(student, bent(), other_bent(), x_hat, z, t, y)
        says = f"x̂ of shape {tuple(x_hat.shape)}: L must be computed in its precision"
        expect.close(L, 0.5 * g.square().mean(), says, what="L", **DOUBLE)
        found = pull(student, bent(), other_bent(), x_hat, z, t, y)
        expect.close(found, g / x_hat.numel(), says, what="the gradient in x̂", **DOUBLE)
        few = [v.float() for v in (x_hat, z, t)]
        L = matched(student, bent(), other_bent(), *few, y)
        expect.close(L, 0.5 * g.square().mean(), "in single precision", atol=1e-4, rtol=1e-4)
        expect.true(L.dtype == torch.float32, "L has the precision of x̂", L.dtype)


@moment_matching_loss
def test_gradients_flow_into_x_hat_alone(student, generator):
    """no gradient flows into z, t or the weights of a flow"""
    x_hat, z, t = (v.float() for v in made(generator))
    for put_to_use in (False, True):
        flows = [student.new("checking.fakes.AnyCondition", a) for a in (0.5, -0.7)]
        for flow in flows if put_to_use else ():
            flow.call("put_to_use")
        args = *flows, x_hat, z, t
        name = "distill.moment_matching_loss"
        found, *inputs, one, two = student.gradient(name, *args, wrt=[x_hat, z, t, *flows])
        expect.true(found is not None, "no gradient arrives at x̂")
        expect.true(nothing(inputs), "a gradient flows into z or t, by way of x_t")
        for weights, which in ((one, "teacher"), (two, "auxiliary flow")):
            says = f"a gradient flows into the weights of the {which}: it is to be asked only"
            expect.true(nothing(weights.values()), says)


@moment_matching_loss
def test_noise_that_does_not_fit_is_refused(student, generator):
    """noise of another shape than x̂ and levels of another number are refused"""
    x_hat, z, t = made(generator)
    call = student.distill.moment_matching_loss
    says = "ValueError of `flow.interpolate` for {}"
    wrong = says.format("x̂ of shape (3, 2) and z of shape (1, 2)")
    expect.raises("ValueError", lambda: call(bent(), bent(), x_hat, z[:1], t), wrong)
    wrong = says.format("3 examples and 1 level")
    expect.raises("ValueError", lambda: call(bent(), bent(), x_hat, z, t[:1]), wrong)
