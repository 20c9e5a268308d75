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
    refused("one t for all", t[:1], s[:1])
    refused("t and s with an axis too many", t[:, None], s[:, None])
    one = torch.ones(n, dtype=torch.float64)
    refused("at t = 1 a prediction of noise says nothing of x", one, s, target=NOISE)
    flat = fakes.Recorder(lambda x, t, y: x[:, :1])
    refused("a prediction of another shape", t, s, model=lambda: flat)
    above = call(bent(), x_t, t, t - 1e-3, flow, target)
    expect.tensor(above, x_t.shape, "x̃ of a short step")
