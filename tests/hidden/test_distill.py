"""Hidden graders of chapter 12, the answers of teachers: held to theory first (quantiles of
mixtures, DDIM steps solved by hand, scores of Gaussians, gradients in closed form)."""

import math

import pytest
import torch

from cs231n_gen.checking import draws, expect, fakes
from cs231n_gen.given import processes
from cs231n_gen.given.processes import NOISE, Process, Target, X, angular, velocity
from cs231n_gen.truth import GaussianMixture

reflow_pairs = pytest.mark.exercise("distill.reflow_pairs", graph=False)
progressive_target = pytest.mark.exercise("distill.progressive_target", graph=False)
guidance_target = pytest.mark.exercise("distill.guidance_target", graph=False)
adversarial_loss = pytest.mark.exercise("distill.adversarial_loss")
moment_matching_loss = pytest.mark.exercise("distill.moment_matching_loss")

# What rounding leaves where all that is computed is a double.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}


def number(generator, low, high):
    return float(low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64))


def uniform(generator, n, low, high):
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


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


def conditions(generator, n):
    """None, and conditions in every form."""
    label = torch.arange(n) % 5
    return [None, label, label.int(), normal(generator, n, 3), normal(generator, n, 4, 2)]


def teachers(student):
    """A network in training mode, and one in the middle of its own training, in eval mode."""
    found = [student.new("checking.fakes.AnyCondition") for _ in range(2)]
    found[1].call("put_to_use")
    return found


SHAPES = [(), (1,), (3,), (2, 4), (3, 2, 2)]


# --- distill.reflow_pairs -----------------------------------------------------------------------


def mixture(generator, dim=1, k=3):
    """A mixture with a label for each component."""
    means = 1.5 * normal(generator, k, dim)
    std = number(generator, 0.4, 0.7)
    return GaussianMixture.isotropic(means, std, labels=torch.arange(k)), means, std


def exact(truth):
    """The exact velocity, as a model."""
    return fakes.Recorder(
        lambda x, t, y: truth.velocity(x.double(), t.flatten().double(), y).to(x.dtype)
    )


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
    expect.tensor(z, given.shape, "z")
    same = z.dtype == given.dtype and bool((z == given).all())
    expect.true(same, "the noise of the pairs is not the one that was given, in its order")
    return expect.tensor(x, given.shape, "x")


@reflow_pairs(weight=3)
def test_samples_of_the_exact_velocity(student, generator):
    """x is what Heun's method makes of z and y along the exact velocity, row by row"""
    truth, _, _ = mixture(generator, dim=2)
    n, steps = draws.whole(generator, 8, 14), draws.whole(generator, 2, 6)
    z, y = normal(generator, n, 2), torch.randint(0, 3, (n,), generator=generator)
    x = pairs(student, exact(truth), z, steps)
    expect.close(x, heun(truth.velocity, z, steps), "without a condition", **DOUBLE)
    want = heun(lambda x, t, y=None: unconditional(x, t), z, steps)
    says = "a teacher without conditions, called as model(x, t)"
    expect.close(pairs(student, unconditional, z, steps), want, says, **DOUBLE)
    for at_once in (3, n - 1, n):
        x = pairs(student, exact(truth), z, steps, y, at_once)
        says = f"of {n} examples, {at_once} at once"
        expect.close(x, heun(truth.velocity, z, steps, y), says, **DOUBLE)


@reflow_pairs(weight=2)
def test_in_one_dimension_pairs_are_quantiles(student, generator):
    """in one dimension F(x) = Φ(z) for the data's distribution function F, to second order"""
    truth, means, std = mixture(generator)
    z = torch.linspace(-2.5, 2.5, 31, dtype=torch.float64)
    z = z[torch.randperm(31, generator=generator)][:, None]
    want, errors = torch.special.ndtr(z), []
    for steps in (24, 48):
        x = pairs(student, exact(truth), z, steps, at_once=10)
        found = torch.special.ndtr((x - means.mT) / std).mean(1, keepdim=True)
        errors.append(float((found - want).square().mean().sqrt()))
    told = ", ".join(f"{e:.3g}" for e in errors)
    says = "with twice as many steps the error of F(x) = Φ(z) must be about a quarter"
    expect.true(2.8 < errors[0] / errors[1] < 5.7, says, told)
    expect.true(errors[1] < 3e-3, "48 steps end far from the quantiles", errors[1], "under 0.003")


@reflow_pairs(weight=2)
def test_pairs_do_not_cross_in_one_dimension(student, generator):
    """in one dimension lines between z and x never cross: the next flow's floor is 0"""
    truth, _, _ = mixture(generator)
    n = 60
    z = normal(generator, n, 1)
    x = pairs(student, exact(truth), z, 40, at_once=16)
    order = z.flatten().argsort()
    for t in (0.0, 0.1, 0.5, 0.9):
        x_t = ((1 - t) * x + t * z).flatten()[order]
        crossed = int((x_t.diff() <= 0).sum())
        says = f"at t = {t} some x_t belong to several pairs: lines cross"
        expect.true(crossed == 0, says, f"{crossed} of {n - 1} neighbours", "none")
    cost, least = (x - z).square().mean(), (x.sort(0).values - z.sort(0).values).square().mean()
    says = "other pairs of the same numbers cost less transport"
    expect.close(cost, least, says, **DOUBLE)


@reflow_pairs(weight=2)
def test_so_many_at_once(student, generator):
    """the model is called on at_once examples at most, 2 T times for each part"""
    for n, at_once, steps in ((10, 4, 3), (12, 4, 1), (5, 1, 2), (7, 50, 2), (1030, None, 1)):
        z, y = normal(generator, n, 2), torch.arange(n)
        limit = {} if at_once is None else {"at_once": at_once}
        for given in (None, y):
            model = bent()
            pairs(student, model, z, steps, given, **limit)
            most, sizes = at_once or 1024, [len(x) for x in model.inputs]
            says = f"of {n} examples, at_once = {most}"
            expect.true(max(sizes) <= most, says, f"{max(sizes)} in a call", f"at most {most}")
            calls = 2 * steps * math.ceil(n / most)
            expect.true(len(sizes) == calls, f"calls, {says}", len(sizes), calls)
            if given is not None:
                told = torch.cat(model.conditions)
                expect.true(told.dtype == y.dtype, "conditions change dtype", told.dtype, y.dtype)
                says = "each example has its condition in each of the 2 T calls"
                counts = torch.bincount(told, minlength=n)
                expect.close(counts, torch.full((n,), 2 * steps), says)


@reflow_pairs(weight=2)
def test_pairs_of_every_form(student, generator):
    """numbers, points and images, conditions of every form, one example and many"""
    for n in (1, draws.whole(generator, 3, 6)):
        for shape in SHAPES:
            z, steps = 20 * normal(generator, n, *shape), draws.whole(generator, 1, 4)
            for y in conditions(generator, n):
                field = bent()
                want = heun(field, z, steps, y)
                says = f"z of shape {tuple(z.shape)}"
                says += "" if y is None else f", y of shape {tuple(y.shape)}"
                expect.close(pairs(student, bent(), z, steps, y, 2), want, says, **DOUBLE)
                single = z.float()
                x = pairs(student, bent(), single, steps, y)
                want = heun(field, single, steps, y)
                expect.close(x, want, f"{says}, in single precision", atol=1e-4, rtol=1e-5)
                expect.true(x.dtype == single.dtype, "x has another precision than z", x.dtype)


@reflow_pairs
def test_the_model_gets_the_precision_of_z(student, generator):
    """the model gets examples and levels in the precision of z"""
    for dtype in (torch.float32, torch.float64):
        model = bent()
        pairs(student, model, normal(generator, 5, 2).to(dtype), 2, at_once=3)
        for x, t in zip(model.inputs, model.times, strict=True):
            expect.true(x.dtype == t.dtype == dtype, "of x and t", f"{x.dtype}, {t.dtype}", dtype)
            expect.tensor(t, (len(x),), "t")


@reflow_pairs
def test_no_gradients_are_recorded(student, generator):
    """a teacher is asked without recording gradients: they would take memory for nothing"""
    z, y = normal(generator, 5, 2).float(), torch.arange(5)
    for teacher in teachers(student):
        x = pairs(student, teacher, z, 3, y, 2)
        field = fakes.AnyCondition().double()
        expect.close(x, heun(field, z, 3, y).detach(), "the samples of this teacher")
        recorded = sum(teacher.get("recorded"))
        expect.true(recorded == 0, "calls of the teacher that record gradients", recorded, 0)


@reflow_pairs
def test_no_parts_and_no_steps_are_refused(student, generator):
    """at_once below 1 and steps that are no whole number of at least 1 are refused, 1 is not"""
    z, call = normal(generator, 4, 2), student.distill.reflow_pairs
    for at_once in (0, -1, -1024):
        says = f"at_once = {at_once} is refused"
        expect.raises("ValueError", lambda k=at_once: call(bent(), z, 2, None, k), says)
    for steps in (0, -3, 2.5, 2.0):
        says = f"steps = {steps} is refused"
        expect.raises("ValueError", lambda k=steps: call(bent(), z, k), says)
    want = heun(bent(), z, 1)
    expect.close(pairs(student, bent(), z, 1, None, 1), want, "1 of each is enough", **DOUBLE)


# --- distill.progressive_target -----------------------------------------------------------------


def own_process(generator):
    """A process of the test's own: a(1) = b(0) = 0, and neither a(0) nor b(1) is 1."""
    A, B = number(generator, 1.2, 1.8), number(generator, 0.5, 0.8)
    k, m = number(generator, 0.1, 0.8), number(generator, 0.1, 0.8)
    return Process(
        a=lambda t: A * (1 - t) * (1 + k * t),
        b=lambda t: B * t * (1 + m * t),
        da=lambda t: A * (k - 1 - 2 * k * t),
        db=lambda t: B * (1 + 2 * m * t),
    )


def own_target(generator):
    """A target of the test's own, that can be solved for x and z at every level."""
    c0, c1, d0, d1 = (number(generator, 0.4, 1.4) for _ in range(4))
    return Target(c=lambda t: -c0 - c1 * t, d=lambda t: d0 + d1 * t * t)


def kinds(generator):
    """Processes and targets of every kind."""
    known = [
        processes.rectified_flow(),
        processes.variance_preserving(),
        processes.cosine(),
        processes.variance_exploding(0.1, 5.0),
        processes.edm(4.0),
        own_process(generator),
    ]
    own = own_target(generator)
    return [(p, t) for p in known for t in (X, NOISE, velocity(p), angular(p))] + [
        (p, own) for p in (known[0], known[-1])
    ]


def way(generator, n, high=0.95):
    """Levels t and s of n steps."""
    t = uniform(generator, n, 0.3, high)
    return t, t * uniform(generator, n, 0.2, 0.8)


def ddim(prediction, x_t, t, s, process, target):
    """x_t and its prediction as two equations for x and z, then a_s x + b_s z."""
    a, b, c, d, a_s, b_s = (
        column(f(v), x_t)
        for f, v in (
            (process.a, t),
            (process.b, t),
            (target.c, t),
            (target.d, t),
            (process.a, s),
            (process.b, s),
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


@progressive_target(weight=3)
def test_one_step_goes_as_far_as_two(student, generator):
    """a DDIM step with x̃ ends where two of the teacher's end, for any process and target"""
    n = draws.whole(generator, 4, 8)
    for process, target in kinds(generator):
        t, s = way(generator, n)
        x_t = normal(generator, n, 3)
        x = solved(student, bent(), x_t, t, s, process, target)
        want, _, _ = two_steps(bent(), x_t, t, s, process, target)
        says = "one step with x̃ as its prediction of the data misses where two steps end"
        expect.close(ddim(x, x_t, t, s, process, X), want, says, what="x_s", **DOUBLE)


@progressive_target(weight=2)
def test_on_rectified_flow_velocities_are_averaged(student, generator):
    """on rectified flow x̃ = x_t − t (v + v_m) / 2, for any velocities"""
    flow, n = processes.rectified_flow(), 7
    t, s = way(generator, n)
    x_t = normal(generator, n, 2)
    x = solved(student, bent(), x_t, t, s, flow, velocity(flow))
    v, h = bent()(x_t, t), column(t - s, x_t)
    v_m = bent()(x_t - h / 2 * v, (t + s) / 2)
    want = x_t - column(t, x_t) * (v + v_m) / 2
    expect.close(x, want, "the mean of both velocities leads from x_t to x_s", **DOUBLE)


@progressive_target(weight=2)
def test_a_teacher_on_a_straight_path_teaches_its_end(student, generator):
    """where both predictions stand for the same x and z, x̃ is that x"""
    for process, target in kinds(generator):
        n = draws.whole(generator, 2, 6)
        x, z = 2 + normal(generator, n, 2, 2), normal(generator, n, 2, 2)
        t, s = way(generator, n)

        def knows(_, level, __, x=x, z=z, target=target):
            return target.c(level) * x + target.d(level) * z

        x_t = column(process.a(t), x) * x + column(process.b(t), x) * z
        found = solved(student, fakes.Recorder(knows), x_t, t, s, process, target)
        says = "a teacher who knows x and z, whatever it is asked"
        expect.close(found, x, says, atol=1e-10, rtol=1e-10)


@progressive_target(weight=2)
def test_the_teacher_is_asked_twice(student, generator):
    """the teacher is asked at x_t and t, and at x_m and m = (t + s) / 2, with its condition"""
    for process, target in kinds(generator)[::3]:
        n = draws.whole(generator, 2, 6)
        t, s = way(generator, n)
        x_t, y = normal(generator, n, 3), torch.randint(0, 7, (n,), generator=generator)
        for given in (None, y):
            model = bent()
            solved(student, model, x_t, t, s, process, target, given)
            expect.true(len(model.times) == 2, "calls of the teacher", len(model.times), 2)
            _, x_m, m = two_steps(bent(), x_t, t, s, process, target, given)
            asked = zip(model.inputs, model.times, ((x_t, t), (x_m, m)), strict=True)
            for (x, level, want), what in zip(asked, ("t", "m"), strict=True):
                expect.close(level, want[1], f"the level of the call at {what}", **DOUBLE)
                expect.close(x, want[0], f"what is asked in the call at {what}", **DOUBLE)
            for seen in model.conditions:
                if given is None:
                    expect.true(seen is None, "there is no condition", seen)
                else:
                    same = isinstance(seen, torch.Tensor) and torch.equal(seen, y)
                    expect.true(same, "the conditions must arrive as they came", seen, y)
    flow = processes.rectified_flow()
    x = solved(student, unconditional, x_t, t, s, flow, velocity(flow))
    field = lambda x, t, y=None: unconditional(x, t)  # noqa: E731
    want, _, _ = two_steps(field, x_t, t, s, flow, velocity(flow))
    says = "a teacher without conditions, called as model(x_t, t)"
    expect.close(ddim(x, x_t, t, s, flow, X), want, says, **DOUBLE)


@progressive_target(weight=2)
def test_the_last_step_and_the_first(student, generator):
    """steps from pure noise, t = 1, and to the data, s = 0, beside others in one batch"""
    for process, target in (
        (processes.rectified_flow(), velocity(processes.rectified_flow())),
        (processes.cosine(), angular(processes.cosine())),
        (own_process(generator), X),
        (processes.edm(3.0), NOISE),
        (processes.variance_exploding(0.2, 4.0), X),
        (processes.variance_preserving(), NOISE),
    ):
        t = torch.tensor([1.0, 1.0, 0.6, 0.7, 0.02, 1.0], dtype=torch.float64)
        s = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.0, 0.98], dtype=torch.float64)
        x_t = normal(generator, 6, 2)
        x = solved(student, bent(), x_t, t, s, process, target)
        x_s, _, _ = two_steps(bent(), x_t, t, s, process, target)
        near = {"atol": 1e-9, "rtol": 1e-9}  # where s is near t, b_s / b_t is near a_s / a_t
        expect.close(ddim(x, x_t, t, s, process, X), x_s, "from t = 1, to s = 0", **near)
        a, b = (column(f(s), x_t) for f in (process.a, process.b))
        clean = (b == 0).flatten()
        says = "where b_s = 0, x_s is a_s x̃"
        expect.close(x[clean], (x_s / a)[clean], says, **near)


@progressive_target(weight=2)
def test_targets_of_every_form(student, generator):
    """numbers, points and images, conditions of every form, one example and many"""
    process, target = own_process(generator), own_target(generator)
    for n in (1, draws.whole(generator, 3, 6)):
        for shape in SHAPES:
            x_t = 20 * normal(generator, n, *shape)
            t, s = way(generator, n)
            for y in conditions(generator, n):
                says = f"x_t of shape {tuple(x_t.shape)}"
                says += "" if y is None else f", y of shape {tuple(y.shape)}"
                x = solved(student, bent(), x_t, t, s, process, target, y)
                want, _, _ = two_steps(bent(), x_t, t, s, process, target, y)
                expect.close(ddim(x, x_t, t, s, process, X), want, says, atol=1e-10, rtol=1e-10)
                few = (x_t.float(), t.float(), s.float())
                single = solved(student, bent(), *few, process, target, y)
                expect.close(single, x, f"{says}, in single precision", atol=1e-2, rtol=1e-3)
                kept = single.dtype == torch.float32
                expect.true(kept, "x̃ has another precision than x_t", single.dtype)


@progressive_target
def test_no_gradients_of_the_teacher(student, generator):
    """x̃ has no graph, and the teacher is asked without recording gradients"""
    flow, x_t, y = processes.rectified_flow(), normal(generator, 5, 2).float(), torch.arange(5)
    t, s = (v.float() for v in way(generator, 5))
    want, _, _ = two_steps(fakes.AnyCondition(), x_t, t, s, flow, velocity(flow), y)
    for teacher in teachers(student):
        args = teacher, x_t, t, s, flow, velocity(flow), y
        found = ddim(solved(student, *args), x_t, t, s, flow, X)
        expect.close(found, want.detach(), "where two steps of this teacher end", what="x_s")
        recorded = sum(teacher.get("recorded"))
        expect.true(recorded == 0, "calls of the teacher that record gradients", recorded, 0)
        name = "distill.progressive_target"
        *inputs, weights = student.gradient(name, *args, wrt=[x_t, t, s, teacher])
        says = "a target takes no gradients: something flows back"
        expect.true(all(g is None for g in (*inputs, *weights.values())), says)


@progressive_target
def test_no_step_is_refused(student, generator):
    """s at or above t, levels of another shape, and predictions that say nothing are refused"""
    flow, call, n = processes.rectified_flow(), student.distill.progressive_target, 4
    x_t = normal(generator, n, 2)
    t, s = way(generator, n)
    target = velocity(flow)

    def refused(says, *levels, x=x_t, model=bent, target=target):
        expect.raises("ValueError", lambda: call(model(), x, *levels, flow, target), says)

    late = torch.cat([s[:-1], t[-1:]])
    refused("one s is not below its t", t, late)
    refused("s above t", s, t)
    refused("fewer s than t", t, s[:-1])
    refused("one s for all", t, s.min()[None])
    refused("one t for all", t[:1], s[:1])
    refused("t and s with an axis too many", t[:, None], s[:, None])
    one = torch.ones(n, dtype=torch.float64)
    refused("at t = 1 a prediction of noise says nothing of x", one, s, target=NOISE)
    flat = fakes.Recorder(lambda x, t, y: x[:, :1])
    refused("a prediction of another shape", t, s, model=lambda: flat)
    above = call(bent(), x_t, t, t - 1e-3, flow, target)
    expect.tensor(above, x_t.shape, "x̃ of a short step")


# --- distill.guidance_target --------------------------------------------------------------------


def all_null(y, null):
    """∅ for each of these conditions."""
    return torch.zeros_like(y) + torch.as_tensor(null, dtype=y.dtype)


def guided(student, *args):
    x_t = args[1]
    return expect.tensor(student.distill.guidance_target(*args), x_t.shape, "the velocity")


def classes(generator, null):
    """The exact model of a mixture of three classes, which knows ∅."""
    truth, _, _ = mixture(generator, dim=2)

    def model(x_t, t, y):
        x, known = x_t.double(), torch.where(y == null, 0, y)
        v_y, v_null = truth.velocity(x, t.flatten(), known), truth.velocity(x, t.flatten())
        return torch.where((y == null)[:, None], v_null, v_y).to(x_t.dtype)

    return truth, fakes.Recorder(model)


@guidance_target(weight=3)
def test_the_guided_field_of_a_mixture(student, generator):
    """on a mixture it is the exact (1 + w) v_y − w v_∅"""
    null, n = draws.whole(generator, 3, 99), 20
    truth, model = classes(generator, null)
    x_t, t = 2 * normal(generator, n, 2), uniform(generator, n, 0, 1)
    y, w = torch.randint(0, 3, (n,), generator=generator), number(generator, 0.5, 6)
    v = guided(student, model, x_t, t, y, null, w)
    v_y, v_null = truth.velocity(x_t, t, y), truth.velocity(x_t, t)
    expect.close(v, v_y + w * (v_y - v_null), "the guided field", **DOUBLE)


@guidance_target(weight=2)
def test_a_student_at_one_call_walks_as_guidance_does(student, generator):
    """Euler steps along the targets end where guided sampling ends, at every weight"""
    null, n, steps = draws.whole(generator, 3, 99), 6, 4
    truth, model = classes(generator, null)
    z, y = normal(generator, n, 2), torch.randint(0, 3, (n,), generator=generator)
    w = uniform(generator, n, -1, 5)
    x = want = z
    for i in range(steps, 0, -1):
        t = torch.full((n,), i / steps, dtype=torch.float64)
        x = x - guided(student, model, x, t, y, null, w) / steps
        v_y, v_null = truth.velocity(want, t, y), truth.velocity(want, t)
        want = want - ((1 + w[:, None]) * v_y - w[:, None] * v_null) / steps
    expect.close(x, want, "a walk along the targets", what="x", **DOUBLE)


@guidance_target(weight=2)
def test_both_ends_and_a_line_between(student, generator):
    """w = 0 is v_y, w = −1 is v_∅, and in w it is a straight line"""
    n = 5
    x_t, t = normal(generator, n, 3), uniform(generator, n, 0, 1)
    y, null = torch.arange(n), 9
    ends = bent()(x_t, t, y), bent()(x_t, t, all_null(y, null))
    expect.close(guided(student, bent(), x_t, t, y, null, 0.0), ends[0], "w = 0 is v_y", **DOUBLE)
    expect.close(guided(student, bent(), x_t, t, y, null, -1.0), ends[1], "w = −1 is v_∅", **DOUBLE)
    for w in (number(generator, 0, 1), number(generator, 1, 9), number(generator, -9, -1)):
        want = ends[0] + w * (ends[0] - ends[1])
        v = guided(student, bent(), x_t, t, y, null, w)
        expect.close(v, want, f"on the line through both, at w = {w:.3g}", **DOUBLE)


@guidance_target(weight=2)
def test_the_teacher_is_called_once_on_both(student, generator):
    """the teacher is called once, with every example twice: with its condition and with ∅"""
    for n in (1, draws.whole(generator, 2, 6)):
        for null in (0, 9):
            x_t, t = normal(generator, n, 2), uniform(generator, n, 0, 1)
            y, model = torch.randint(1, 5, (n,), generator=generator), bent()
            w = 0.0 if null else uniform(generator, n, 0, 4)  # 0 is a weight as any other
            guided(student, model, x_t, t, y, null, w)
            calls = len(model.times)
            expect.true(calls == 1, "the teacher must be called once", calls, 1)
            asked = (model.inputs[0], (2 * n, 2)), (model.times[0], (2 * n,))
            seen = [expect.tensor(v, shape, "what the teacher gets") for v, shape in asked]
            told = model.conditions[0]
            same = told.dtype == y.dtype
            expect.true(same, "the conditions change dtype", told.dtype, y.dtype)
            rows = torch.cat([seen[0], seen[1][:, None], told[:, None].double()], 1)
            both = torch.cat([torch.cat([x_t, t[:, None]], 1)] * 2)
            label = torch.cat([y, all_null(y, null)])[:, None].double()
            want = torch.cat([both, label], 1)
            order, other = (sorted(r.tolist()) for r in (rows, want))
            says = "each example at its own level, once with y and once with ∅"
            for one, two in zip(order, other, strict=True):
                expect.close(torch.tensor(one), torch.tensor(two), says, **DOUBLE)


@guidance_target(weight=2)
def test_weights_of_every_form(student, generator):
    """one weight as a number or a tensor, or one for each example, also where n is a side too"""
    n = 3
    for shape in ((n,), (n, n), (n, 2, n, n), (1, 4)):
        rows = shape[0]
        x_t, t, y = normal(generator, *shape), uniform(generator, rows, 0, 1), torch.arange(rows)
        v_y, v_null = bent()(x_t, t, y), bent()(x_t, t, all_null(y, 7))
        each = 30 * normal(generator, rows)
        for w in (2, -1, 150.0, -0.3, torch.tensor(0.5), normal(generator), each):
            factor = column(w, x_t) if isinstance(w, torch.Tensor) and w.dim() else w
            v = guided(student, bent(), x_t, t, y, 7, w)
            says = f"x_t of shape {shape}, w {w!r}"
            expect.close(v, v_y + factor * (v_y - v_null), says, atol=1e-10, rtol=1e-11)


@guidance_target(weight=2)
def test_guidance_targets_of_every_form(student, generator):
    """numbers, points and images, labels and texts with their ∅, in both precisions"""
    for n in (1, draws.whole(generator, 3, 6)):
        label = torch.arange(n) % 5
        told = [
            (label, 5),
            (label.int() + 1, 0),
            (label, torch.tensor(6)),
            (normal(generator, n, 3), normal(generator, 3)),
            (normal(generator, n, 4, 2), normal(generator, 4, 2)),
            (normal(generator, n, n), normal(generator, n)),
        ]
        for shape in SHAPES:
            for y, null in told:
                x_t, t = 20 * normal(generator, n, *shape), uniform(generator, n, 0, 1)
                t[0], w = float(n > 1), uniform(generator, n, 0, 5)
                factor = column(w, x_t)
                want = (1 + factor) * bent()(x_t, t, y)
                want = want - factor * bent()(x_t, t, all_null(y, null))
                says = f"x_t of shape {tuple(x_t.shape)}, y of shape {tuple(y.shape)}"
                expect.close(guided(student, bent(), x_t, t, y, null, w), want, says, **DOUBLE)
                few = guided(student, bent(), x_t.float(), t.float(), y, null, w.float())
                expect.close(few, want, f"{says}, in single precision", atol=1e-3, rtol=1e-4)
                kept = few.dtype == torch.float32
                expect.true(kept, "v has another precision than x_t", few.dtype)


@guidance_target
def test_no_gradients_of_the_guided_teacher(student, generator):
    """the target has no graph, and the teacher is asked without recording gradients"""
    x_t, t = normal(generator, 4, 2).float(), uniform(generator, 4, 0, 1).float()
    y, w = torch.arange(4), uniform(generator, 4, 0, 4).float()
    field = fakes.AnyCondition()
    v_y, v_null = (field(x_t, t, told).detach() for told in (y, all_null(y, 8)))
    want = v_y + w[:, None] * (v_y - v_null)
    for teacher in teachers(student):
        args = teacher, x_t, t, y, 8, w
        expect.close(guided(student, *args), want, "the guided velocity of this teacher")
        recorded = sum(teacher.get("recorded"))
        expect.true(recorded == 0, "calls of the teacher that record gradients", recorded, 0)
        found = student.gradient("distill.guidance_target", *args, wrt=[x_t, t, w, teacher])
        *inputs, weights = found
        says = "a target takes no gradients: something flows back"
        expect.true(all(g is None for g in (*inputs, *weights.values())), says)


@guidance_target
def test_weights_that_do_not_fit_are_refused(student, generator):
    """weights that are neither one nor one for each example are refused"""
    x_t, t, y = normal(generator, 4, 3), uniform(generator, 4, 0, 1), torch.arange(4)
    call = student.distill.guidance_target
    for shape in ((1,), (3,), (5,), (4, 1), (1, 4), (4, 3)):
        w, says = torch.ones(shape).double(), f"w of shape {shape} is not one for each of 4"
        expect.raises("ValueError", lambda w=w: call(bent(), x_t, t, y, 9, w), says)
    alone = guided(student, bent(), x_t[:1], t[:1], y[:1], 9, torch.zeros(1).double())
    want = bent()(x_t[:1], t[:1], y[:1])
    expect.close(alone, want, "a batch of 1 has weights of shape (1,)", **DOUBLE)


# --- distill.adversarial_loss -------------------------------------------------------------------


class Judge:
    """A network and heads on it, here and on the student's side, with what D says of examples."""

    def __init__(self, student, generator, shape, k=3, bend=True, trained=False, logits=(), size=1):
        inputs = math.prod(shape)
        A, B = normal(generator, 4, inputs) / inputs**0.5, normal(generator, 2, 4)
        V, W = size * normal(generator, k, 4) / 2, size * normal(generator, k, 2) / 2
        args = (A, B, bend), (V, W, size * number(generator, -0.5, 0.5), logits)
        self.args, self.student, self.A = args, student, A
        self.features, self.heads = fakes.Features(*args[0]), fakes.Heads(*args[1])
        self.slope = (V + W @ B).mean(0) @ A  # of the mean logit in x where nothing is bent
        self.there(trained=trained)

    def there(self, trained=True, dtype=None, modes=(False, False)):
        """The same networks on the student's side, anew; both sides in training mode or not."""
        (A, B, bend), (V, W, b, logits) = self.args
        A, B, V, W = (w if dtype is None else w.to(dtype) for w in (A, B, V, W))
        self.nets = (
            self.student.new("checking.fakes.Features", A, B, bend, trained),
            self.student.new("checking.fakes.Heads", V, W, b, logits, trained),
        )
        sides = zip((self.features, self.heads), self.nets, modes, strict=True)
        for here, there, training in sides:
            here.train(training)
            there.call("train" if training else "eval")
        return self.nets

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
        of_real = [max(0.0, 1 - d) for d in real]
        of_fake = [max(0.0, 1 + d) for d in fake]
        both = -sum(fake) / len(fake), (sum(of_real) + sum(of_fake)) / len(real)
        return torch.tensor(both, dtype=torch.float64)

    def asked(self, x, x_hat, *noise):
        """What the student's code says."""
        found = self.student.distill.adversarial_loss(*self.nets, x, x_hat, *noise)
        both = expect.unpack(found, ["L_student", "L_heads"])
        return [
            expect.tensor(v, (), w) for v, w in zip(both, ("L_student", "L_heads"), strict=True)
        ]

    def pulls(self, scales, x, x_hat, *noise):
        """Gradients of scales[0] L_student + scales[1] L_heads into x, x̂ and both networks."""
        function = self.student.function("distill.adversarial_loss")
        weights = [torch.tensor(s, dtype=torch.float64) for s in scales]
        return self.student.gradient(
            "checking.fakes.weighted_both",
            function,
            weights,
            *self.nets,
            x,
            x_hat,
            *noise,
            wrt=[x, x_hat, *self.nets],
        )


def noises(generator, n, shape):
    """No noise, noise with its levels, and also with conditions of every form."""
    z, t = normal(generator, n, *shape), uniform(generator, n, 0.1, 0.9)
    label = torch.arange(n) % 5
    texts = normal(generator, n, 3), normal(generator, n, 4, 2)
    return [(), (z, t), *((z, t, y) for y in (label, *texts))]


def nothing(gradients):
    """Whether no gradient arrives: none at all, or zeros."""
    return all(g is None or not bool(g.any()) for g in gradients)


@adversarial_loss(weight=3)
def test_hinge_losses_of_clean_examples(student, generator):
    """ADD: the hinge losses of D(x) and D(x̂), logit by logit"""
    for bend in (False, True):
        n, shape = draws.whole(generator, 2, 7), (3,)
        judge = Judge(student, generator, shape, bend=bend, size=2)
        x, x_hat = 2 + normal(generator, n, *shape), normal(generator, n, *shape)
        for found, want, what in zip(
            judge.asked(x, x_hat), judge.losses(x, x_hat), ("L_student", "L_heads"), strict=True
        ):
            expect.close(found, want, f"{what} of clean examples", what=what, **DOUBLE)


@adversarial_loss(weight=3)
def test_hinge_losses_of_noised_examples(student, generator):
    """LADD: D sees x_t and x̂_t made with the same z and t, and is told t and y"""
    n, shape = draws.whole(generator, 2, 7), (2, 2)
    for noise in noises(generator, n, shape)[1:]:
        judge = Judge(student, generator, shape, size=2)
        x, x_hat = 2 + normal(generator, n, *shape), normal(generator, n, *shape)
        for found, want, what in zip(
            judge.asked(x, x_hat, *noise),
            judge.losses(x, x_hat, *noise),
            ("L_student", "L_heads"),
            strict=True,
        ):
            says = f"{what} of noised examples" + (" with conditions" if len(noise) > 2 else "")
            expect.close(found, want, says, what=what, **DOUBLE)


@adversarial_loss(weight=2)
def test_the_student_climbs_a_linear_judge(student, generator):
    """with linear features and heads the gradient in x̂ is −(1 − t) times D's slope, over n"""
    n, shape = draws.whole(generator, 2, 7), (2, 3)
    for noise in noises(generator, n, shape):
        judge = Judge(student, generator, shape, bend=False, trained=True)
        x, x_hat = normal(generator, n, *shape), normal(generator, n, *shape)
        kept = 1 - noise[1] if noise else torch.ones(n, dtype=torch.float64)
        c = number(generator, 0.5, 2), number(generator, 0.5, 2)
        _, found, *_ = judge.pulls(c, x, x_hat, *noise)
        expect.true(found is not None, "no gradient arrives at x̂")
        want = -c[0] * column(kept, x) * judge.slope.reshape(shape) / n
        says = "−(1 − t) ∂D/∂x over the batch, and nothing from the loss of the heads"
        expect.close(found, want, says, what="the gradient in x̂", **DOUBLE)


@adversarial_loss(weight=3)
def test_each_loss_moves_one_side_only(student, generator):
    """L_student flows into x̂ alone, L_heads into the heads' weights alone, also in one pass"""
    n, shape = draws.whole(generator, 3, 7), (3,)
    for noise in noises(generator, n, shape):
        judge = Judge(student, generator, shape, trained=True)
        x, x_hat = normal(generator, n, *shape), normal(generator, n, *shape)
        leaf = x_hat.clone().requires_grad_()
        (to_x_hat,) = torch.autograd.grad(-judge.says(leaf, *noise).mean(), leaf)
        weights = dict(judge.heads.named_parameters())
        real, fake = (judge.says(v, *noise) for v in (x, x_hat))
        cost = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
        to_heads = dict(zip(weights, torch.autograd.grad(cost, [*weights.values()]), strict=True))
        one, two = number(generator, 0.5, 2), number(generator, 0.5, 2)
        for scales in ((one, two), (one, 0.0), (0.0, two)):
            of_x, of_x_hat, of_features, of_heads = judge.pulls(scales, x, x_hat, *noise)
            says = "a gradient flows into the weights of the features, which are not trained"
            expect.true(nothing(of_features.values()), says)
            expect.true(nothing([of_x]), "a gradient flows into x")
            if scales[0]:
                expect.true(of_x_hat is not None, "no gradient of L_student arrives at x̂")
                says = "the gradient in x̂ is that of L_student, through D as it is"
                expect.close(of_x_hat, scales[0] * to_x_hat, says, **DOUBLE)
            else:
                expect.true(nothing([of_x_hat]), "a gradient of L_heads flows into x̂")
            if scales[1]:
                for name, want in to_heads.items():
                    says = f"the gradient in {name} of the heads is that of L_heads"
                    expect.true(of_heads[name] is not None, f"no gradient arrives at {name}")
                    expect.close(of_heads[name], scales[1] * want, says, **DOUBLE)
            else:
                expect.true(nothing(of_heads.values()), "L_student flows into the heads' weights")


@adversarial_loss(weight=2)
def test_beyond_the_margin_nothing_is_learnt(student, generator):
    """told apart by more than the margin of 1, examples cost nothing; wrong ones cost all"""
    n = draws.whole(generator, 3, 7)
    far = 1.01 + 3 * uniform(generator, n, 0, 1)
    A, B = torch.ones(1, 1).double(), torch.ones(1, 1).double()
    V, W = torch.ones(1, 1).double(), torch.zeros(1, 1).double()  # D(x) = x

    def judged(x, x_hat, scales=None):
        features = student.new("checking.fakes.Features", A, B, False, scales is not None)
        heads = student.new("checking.fakes.Heads", V, W, 0.0, (), scales is not None)
        for net in (features, heads):
            net.call("eval")
        if scales is None:
            found = student.distill.adversarial_loss(features, heads, x, x_hat)
            return expect.unpack(found, ["L_student", "L_heads"])
        function = student.function("distill.adversarial_loss")
        args = (function, [torch.tensor(s).double() for s in scales], features, heads, x, x_hat)
        return student.gradient("checking.fakes.weighted_both", *args, wrt=[x_hat, heads])

    for x, x_hat, of_student, of_heads in (
        (far, -far, far.mean(), 0.0),
        (-far, far, -far.mean(), 2 + 2 * far.mean()),
        (1e4 * far, 1e4 * far, -1e4 * far.mean(), 1 + 1e4 * far.mean()),
        (0 * far, 0 * far, 0.0, 2.0),
        (far - 1, 1 - far, (far - 1).mean(), 2 * (2 - far).clamp(min=0).mean()),
    ):
        student_loss, heads_loss = judged(x, x_hat)
        says = "L_student has no margin: −mean D(x̂)"
        expect.close(student_loss, of_student, says, atol=1e-11, rtol=1e-11)
        says = "L_heads counts what is on the wrong side of the margin of 1"
        expect.close(heads_loss, of_heads, says, atol=1e-11, rtol=1e-11)
    of_x_hat, of_heads = judged(far, -far, (1.0, 1.0))
    says = "heads that tell all apart by more than 1 learn nothing"
    expect.true(nothing(of_heads.values()), says)
    expect.true(of_x_hat is not None, "no gradient arrives at x̂")
    says = "the student learns from far logits too: −1 / n"
    expect.close(of_x_hat, -torch.ones(n).double() / n, says, **DOUBLE)


@adversarial_loss(weight=2)
def test_the_same_noise_for_both(student, generator):
    """where x̂ is x, D cannot tell them apart: L_heads is 2; at t = 1 it never can"""
    n, shape = 5, (3,)
    judge = Judge(student, generator, shape, size=0.05)
    x, x_hat = normal(generator, n, *shape), normal(generator, n, *shape)
    for noise in noises(generator, n, shape):
        far = float(judge.says(x, *noise).detach().abs().max())
        expect.true(far < 1, "the test needs logits within the margin", far, "below 1")
        _, L = judge.asked(x, x, *noise)
        says = "x̂ = x, with |D| below 1: what x loses x̂ wins, whatever z is"
        expect.close(L, 2.0, says, what="L_heads", **DOUBLE)
    z, one = normal(generator, n, *shape), torch.ones(n, dtype=torch.float64)
    _, L = judge.asked(x, x_hat, z, one)
    expect.close(L, 2.0, "at t = 1 both are the same noise", what="L_heads", **DOUBLE)
    judge.there(trained=True)
    _, found, *_ = judge.pulls((1.0, 1.0), x, x_hat, z, one)
    expect.true(nothing([found]), "at t = 1 nothing of x̂ is left for D to see")
    zero = torch.zeros(n, dtype=torch.float64)
    judge.there(trained=False)
    found, want = judge.asked(x, x_hat, z, zero), judge.losses(x, x_hat, z, zero)
    expect.close(torch.stack(found), want, "at t = 0 there is no noise", **DOUBLE)


@adversarial_loss(weight=2)
def test_networks_are_used_as_they_are(student, generator):
    """both networks are used in the mode they are in, and left as they were"""
    n, shape = 4, (2,)
    for modes in ((True, True), (False, True), (True, False), (False, False)):
        for noise in noises(generator, n, shape)[:3]:
            judge = Judge(student, generator, shape)
            judge.there(trained=False, modes=modes)
            x, x_hat = normal(generator, n, *shape), normal(generator, n, *shape)
            found, want = judge.asked(x, x_hat, *noise), judge.losses(x, x_hat, *noise)
            says = "features {} training mode, heads {} it".format(
                *("in" if mode else "not in" for mode in modes)
            )
            expect.close(torch.stack(found), want, says, **DOUBLE)
            for net in judge.there(trained=True, modes=modes):
                net.call("with_gradients")
            args = (*judge.nets, x, x_hat, *noise)
            _, back = student.gradient(
                "distill.adversarial_loss", *args, wrt=[x_hat, judge.nets[1]]
            )
            says = "no gradient arrives at the heads"
            expect.true(any(g is not None for g in back.values()), says)


@adversarial_loss(weight=2)
def test_losses_of_every_form(student, generator):
    """numbers, points and images, logits of any shape, one example and many, both precisions"""
    for n in (1, draws.whole(generator, 3, 6)):
        for shape in SHAPES:
            for noise in noises(generator, n, shape):
                logits = [(), (-1,), (-1, 1), (-1, 1, 2, 2), (2, -1)][draws.whole(generator, 0, 5)]
                judge = Judge(student, generator, shape, k=4, logits=logits)
                x, x_hat = 3 * normal(generator, n, *shape), 3 * normal(generator, n, *shape)
                want = judge.losses(x, x_hat, *noise)
                found = judge.asked(x, x_hat, *noise)
                says = f"x of shape {tuple(x.shape)}, logits of shape {logits or (-1, 4)}"
                expect.close(torch.stack(found), want, says, **DOUBLE)
                judge.there(trained=False, dtype=torch.float32)
                few = [v.float() if v.is_floating_point() else v for v in (x, x_hat, *noise)]
                found = torch.stack(judge.asked(*few))
                says = f"{says}, in single precision"
                expect.close(found, want, says, atol=1e-4, rtol=1e-4)
                kept = found.dtype == torch.float32
                expect.true(kept, "the losses have another precision", found.dtype)


@adversarial_loss
def test_frozen_features_and_gradients_of_both(student, generator):
    """features that are frozen already let gradients through to x̂ all the same"""
    n, shape = 4, (3,)
    for noise in noises(generator, n, shape)[:3]:
        judge = Judge(student, generator, shape, trained=True)
        features, heads = judge.nets
        features.call("requires_grad_", False)
        x, x_hat = normal(generator, n, *shape), normal(generator, n, *shape)
        leaf = x_hat.clone().requires_grad_()
        (want,) = torch.autograd.grad(-judge.says(leaf, *noise).mean(), leaf)
        args = (features, heads, x, x_hat, *noise)
        found, back = student.gradient("distill.adversarial_loss", *args, wrt=[x_hat, heads])
        expect.true(found is not None, "no gradient arrives at x̂")
        expect.close(found, want, "through features whose weights take no gradients", **DOUBLE)
        expect.true(not nothing(back.values()), "no gradient arrives at the heads")


@adversarial_loss
def test_what_does_not_belong_together_is_refused(student, generator):
    """x̂ of another shape, z without t or t without z, and y without both are refused"""
    judge = Judge(student, generator, (3,))
    x, z, t, y = (
        *(normal(generator, 4, 3) for _ in "xz"),
        uniform(generator, 4, 0, 1),
        torch.arange(4),
    )

    def refused(says, *args, **noise):
        call = student.distill.adversarial_loss
        expect.raises("ValueError", lambda: call(*judge.nets, *args, **noise), says)

    for other in (x[:1], x[:, :1], x[0], x[None], x.mT):
        refused(f"x (4, 3) and x̂ {tuple(other.shape)} do not fit", x, other)
        refused(f"x {tuple(other.shape)} and x̂ (4, 3) do not fit", other, x)
    refused("z without t", x, x, z=z)
    refused("t without z", x, x, t=t)
    refused("y without z and t", x, x, y=y)
    refused("y and z without t", x, x, z=z, y=y)
    refused("y and t without z", x, x, t=t, y=y)
    judge.asked(x, x, z, t, y)


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


@moment_matching_loss(weight=3)
def test_the_loss_is_half_the_mean_of_g_squared(student, generator):
    """L is ½ mean g², for any two flows"""
    n = draws.whole(generator, 3, 7)
    x_hat, z, t = normal(generator, n, 3), normal(generator, n, 3), uniform(generator, n, 0, 1)
    for flows in (lambda: (bent(), other_bent()), lambda: (fakes.linear(9e3), bent())):
        g, _ = gap(*flows(), x_hat, z, t)
        L = matched(student, *flows(), x_hat, z, t)
        expect.close(L, 0.5 * g.square().mean(), "½ mean g²", **DOUBLE)


@moment_matching_loss(weight=3)
def test_its_gradient_is_g(student, generator):
    """the gradient in x̂ is g over the number of entries, and none flows through x_t or a flow"""
    for n, shape in ((1, (3,)), (draws.whole(generator, 2, 6), (2, 3))):
        x_hat, z = normal(generator, n, *shape), normal(generator, n, *shape)
        t = uniform(generator, n, 0, 1)
        g, _ = gap(bent(), other_bent(), x_hat, z, t)
        found = pull(student, bent(), other_bent(), x_hat, z, t)
        says = "g over the number of entries of x̂; another means that something flows through x_t"
        expect.close(found, g / x_hat.numel(), says, what="the gradient in x̂", **DOUBLE)


@moment_matching_loss(weight=3)
def test_it_is_the_difference_of_two_scores(student, generator):
    """for exact flows of two mixtures the gradient is t² / (1 − t) times the scores' difference"""
    n = draws.whole(generator, 4, 9)
    data, student_has = mixture(generator, dim=2)[0], mixture(generator, dim=2)[0]
    x_hat, z = normal(generator, n, 2), normal(generator, n, 2)
    t = uniform(generator, n, 0.1, 0.9)
    found = pull(student, exact(data), exact(student_has), x_hat, z, t)
    x_t = ((1 - t[:, None]) * x_hat + t[:, None] * z).requires_grad_()

    def score(truth):
        """∂ log p_t(x_t): each component is N((1 − t) μ, (1 − t)² Σ + t² I)."""
        a, b = (1 - t)[:, None, None], t[:, None, None]
        means = (1 - t)[:, None, None] * truth.means
        covs = a[..., None] ** 2 * truth.covs + b[..., None] ** 2 * torch.eye(2).double()
        parts = torch.distributions.MultivariateNormal(means, covs).log_prob(x_t[:, None])
        log_p = (parts + truth.weights.log()).logsumexp(1)
        return torch.autograd.grad(log_p.sum(), x_t)[0]

    factor = (t**2 / (1 - t))[:, None]
    want = factor * (score(student_has) - score(data)) / x_hat.numel()
    says = "t² / (1 − t) (score of the student − score of the data), by Tweedie's formula"
    expect.close(found, want, says, what="the gradient in x̂", atol=1e-9, rtol=1e-9)


def of_gaussian(m, s):
    """The exact velocity for data from N(m, s²)."""

    def field(x_t, t, y):
        a = 1 - t
        residual = (x_t - a * m) / ((a * s) ** 2 + t**2)
        return t * residual - (m + a * s**2 * residual)

    return fakes.Recorder(field)


def moments_pull(student, mean, std, m, s):
    """Expected gradients in the mean and the standard deviation of a student that makes N(mean,
    std²), at several levels: exact, since ±1 are the nodes of a quadrature for squares."""
    e = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64).repeat(4)[:, None]
    z = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64).repeat(4)[:, None]
    t = torch.tensor([0.15, 0.4, 0.6, 0.85], dtype=torch.float64).repeat_interleave(4)
    found = pull(student, of_gaussian(m, s), of_gaussian(mean, std), mean + std * e, z, t)
    return float(found.sum()), float((found * e).sum()), t


@moment_matching_loss(weight=2)
def test_mean_and_variance_are_matched(student, generator):
    """on Gaussians its mean gradient is 0 if mean and variance match, and leads there if not"""
    m, s = number(generator, -2, 2), number(generator, 0.4, 1.5)
    to_mean, to_std, _ = moments_pull(student, m, s, m, s)
    says = "a student with the data's mean and variance is where it should be"
    expect.close(to_mean, 0.0, says, what="the gradient in the mean", **DOUBLE)
    expect.close(to_std, 0.0, says, what="the gradient in the deviation", **DOUBLE)
    for mean, std in ((m + 0.7, s), (m - 1.3, 1.6 * s), (m, 0.6 * s), (m + 2, 2 * s)):
        to_mean, to_std, t = moments_pull(student, mean, std, m, s)
        ours, theirs = (((1 - t) * k) ** 2 + t**2 for k in (std, s))
        want = (t**2 * (mean - m) / theirs).mean()
        says = "the gradient in the student's mean is t² (mean − m) / ((1 − t)² s² + t²)"
        expect.close(to_mean, want, says, **DOUBLE)
        want = (t**2 * std * (1 / theirs - 1 / ours)).mean()
        says = "the gradient in the student's deviation, which is above 0 where it is too large"
        expect.close(to_std, want, says, **DOUBLE)
    mean, std = m + number(generator, 0.5, 2), s * number(generator, 1.3, 2)
    for _ in range(60):
        to_mean, to_std, _ = moments_pull(student, mean, std, m, s)
        mean, std = mean - 2 * to_mean, max(0.1, std - 2 * to_std)
    expect.close(mean, m, "descending on it must bring the mean to the data's", atol=0.05, rtol=0.0)
    expect.close(std, s, "and the standard deviation", atol=0.1, rtol=0.05)


@moment_matching_loss(weight=2)
def test_each_flow_is_asked_once(student, generator):
    """both flows are asked once, at x_t and t, with the conditions as they came"""
    n = draws.whole(generator, 2, 6)
    for y in conditions(generator, n):
        x_hat, z, t = normal(generator, n, 2), normal(generator, n, 2), uniform(generator, n, 0, 1)
        flows = bent(), other_bent()
        matched(student, *flows, x_hat, z, t, y)
        _, x_t = gap(bent(), bent(), x_hat, z, t, y)
        for flow in flows:
            calls = len(flow.times)
            expect.true(calls == 1, "each flow is called once", calls, 1)
            expect.close(flow.inputs[0], x_t, "it is asked at x_t", **DOUBLE)
            expect.close(flow.times[0], t, "its level is t, as it came", **DOUBLE)
            seen = flow.conditions[0]
            same = seen is None if y is None else torch.equal(seen, y) and seen.dtype == y.dtype
            expect.true(same, "the conditions must arrive as they came", seen, y)


@moment_matching_loss(weight=2)
def test_flows_that_agree_and_flows_that_change_places(student, generator):
    """flows that agree pull nowhere; with teacher and auxiliary exchanged the pull turns round"""
    n = draws.whole(generator, 2, 6)
    x_hat, z, t = normal(generator, n, 2), normal(generator, n, 2), uniform(generator, n, 0, 1)
    says = "teacher and auxiliary agree"
    expect.close(matched(student, bent(), bent(), x_hat, z, t), 0.0, says, **DOUBLE)
    says = "flows without conditions, called as model(x_t, t)"
    expect.close(matched(student, *2 * [unconditional], x_hat, z, t), 0.0, says, **DOUBLE)
    expect.close(pull(student, bent(), bent(), x_hat, z, t), 0 * x_hat, says, **DOUBLE)
    one, two = (
        pull(student, *flows, x_hat, z, t)
        for flows in ((bent(), other_bent()), (other_bent(), bent()))
    )
    expect.true(bool(one.any()), "no pull where the flows differ")
    expect.close(one, -two, "exchanged flows pull the other way", **DOUBLE)


@moment_matching_loss(weight=2)
def test_losses_of_matching_of_every_form(student, generator):
    """numbers, points and images, levels from 0 to 1, conditions, in both precisions"""
    for n in (1, draws.whole(generator, 3, 6)):
        for shape in SHAPES:
            for y in conditions(generator, n):
                x_hat, z = (10 * normal(generator, n, *shape) for _ in "xz")
                t = uniform(generator, n, 0, 1)
                if n > 1:
                    t[0], t[1] = 0.0, 1.0
                else:
                    t[0] = 1e-5
                flows = lambda: (bent(), other_bent())  # noqa: E731
                g, _ = gap(*flows(), x_hat, z, t, y)
                want, says = 0.5 * g.square().mean(), f"x̂ of shape {tuple(x_hat.shape)}"
                args = x_hat, z, t, y
                expect.close(matched(student, *flows(), *args), want, says, **DOUBLE)
                found = pull(student, *flows(), *args)
                expect.close(found, g / x_hat.numel(), f"the gradient, {says}", **DOUBLE)
                few = [v.float() for v in (x_hat, z, t)]
                single = matched(student, *flows(), *few, y)
                expect.close(single, want, f"{says}, in single precision", atol=1e-4, rtol=1e-4)
                kept = single.dtype == torch.float32
                expect.true(kept, "the loss has another precision than x̂", single.dtype)


@moment_matching_loss(weight=2)
def test_gradients_flow_into_x_hat_alone(student, generator):
    """gradients flow into x̂, and not into z, t or the weights of a flow"""
    x_hat, z = normal(generator, 5, 2).float(), normal(generator, 5, 2).float()
    t, y = uniform(generator, 5, 0, 1).float(), torch.arange(5)
    here = fakes.AnyCondition(), fakes.AnyCondition(-0.7, 1.5, 0.4)
    g, _ = gap(*here, x_hat, z, t, y)
    for put_to_use in (False, True):
        flows = (
            student.new("checking.fakes.AnyCondition"),
            student.new("checking.fakes.AnyCondition", -0.7, 1.5, 0.4),
        )
        for flow in flows if put_to_use else ():
            flow.call("put_to_use")
        args = *flows, x_hat, z, t, y
        name = "distill.moment_matching_loss"
        found, *others = student.gradient(name, *args, wrt=[x_hat, z, t, *flows])
        expect.true(found is not None, "no gradient arrives at x̂")
        expect.close(found, g.detach() / 10, "the gradient in x̂")
        expect.true(nothing(others[:2]), "a gradient flows into z or t")
        for weights, which in zip(others[2:], ("teacher", "auxiliary flow"), strict=True):
            says = f"a gradient flows into the weights of the {which}"
            expect.true(nothing(weights.values()), says)


@moment_matching_loss
def test_noise_that_does_not_fit_is_refused(student, generator):
    """noise of another shape than x̂ and levels of another number are refused"""
    x_hat, t, call = (
        normal(generator, 4, 3),
        uniform(generator, 4, 0, 1),
        student.distill.moment_matching_loss,
    )
    for z in (x_hat[:1], x_hat[:, :1], x_hat[0], x_hat[None], x_hat.mT):
        says = f"x̂ (4, 3) and z {tuple(z.shape)} do not fit"
        expect.raises("ValueError", lambda z=z: call(bent(), bent(), x_hat, z, t), says)
    for levels in (t[:1], t[:3], t[:, None], t[0]):
        says = f"t of shape {tuple(levels.shape)} is not one for each of 4"
        expect.raises("ValueError", lambda u=levels: call(bent(), bent(), x_hat, x_hat, u), says)
