"""Hidden graders of chapter 12's jumps: held to theory first (closed forms of Gaussians, paths of a
mixture walked in small steps, identities, orders), then to derivatives in float64."""

import math
from itertools import pairwise

import pytest
import torch

from cs231n_gen.checking import expect, fakes
from cs231n_gen.given import processes
from cs231n_gen.given.processes import (
    NOISE,
    Process,
    Target,
    X,
    angular,
    preconditioned,
    trigflow,
    velocity,
)

function = pytest.mark.exercise("consistency.function")
loss = pytest.mark.exercise("consistency.loss")

# What rounding leaves where all that is computed is a double.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
FLOW = processes.rectified_flow()
SHAPES = [(5,), (1,), (4, 1), (1, 3), (3, 3), (2, 3, 4, 4), (1, 1, 5, 5), (2, 2, 3, 2, 2)]


def number(generator, low, high):
    return float(low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64))


def uniform(generator, n, low, high):
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def levels(*values):
    return torch.tensor(values, dtype=torch.float64)


def column(value, x):
    """One number for each example, shaped to multiply x."""
    return value.reshape(-1, *[1] * (x.dim() - 1))


def parts(process, target, t, x):
    """a, b, c and d, shaped to multiply x."""
    return [column(f(t), x) for f in (process.a, process.b, target.c, target.d)]


def own_form(generator):
    """Numbers of a process and a target of the tests' own: a(1) = b(0) = 0, a(0) is not 1."""
    process = (
        number(generator, 1.2, 1.8),
        number(generator, 0.5, 0.8),
        number(generator, 0.1, 0.8),
        number(generator, 0.1, 0.8),
    )
    return process, tuple(number(generator, 0.4, 1.4) for _ in range(4))


def forms(generator):
    """Processes and targets of which the boundary holds by itself."""
    sizes, more = own_form(generator)
    curve, straight = fakes.CurvedProcess(*sizes), fakes.CurvedTarget(*more)
    own, target = Process(curve.a, curve.b, curve.da, curve.db), Target(straight.c, straight.d)
    edm, cosine = processes.edm(number(generator, 2, 80)), processes.cosine()
    return {
        "rectified flow": (FLOW, velocity(FLOW)),
        "EDM": (edm, preconditioned(edm, number(generator, 0.3, 0.9))),
        "TrigFlow": trigflow(number(generator, 0.3, 0.9)),
        "cosine and the angle's velocity": (cosine, angular(cosine)),
        "linear β and the noise": (processes.variance_preserving(), NOISE),
        "a process of its own": (own, target),
        "its velocity": (own, velocity(own)),
    }


def bent(generator, levels=1):
    """A model of the test's own, and its weights."""
    net = fakes.Wavy(levels)
    weights = {"w": 0.4 + 0.6 * torch.rand(8, generator=generator, dtype=torch.float64)}
    net.load_state_dict(weights)
    return net, weights


def theirs(student, weights, levels=1):
    """The same model on the student's side."""
    net = student.new("checking.fakes.Wavy", levels)
    net.load(weights)
    return net


def recorded(net):
    """The same model, which remembers what it is asked."""

    def field(x_t, t, y):
        with torch.no_grad():
            return net(x_t, t.flatten(), *([] if y is None else [y]))

    return fakes.Recorder(field)


def end_of(model, x_t, t, process, target, y=None):
    """x̂ by two equations for x and z, solved by elimination."""
    a, b, c, d = (v.expand_as(x_t) for v in parts(process, target, t, x_t))
    told = model(x_t, t) if y is None else model(x_t, t, y)
    system = torch.stack([torch.stack([a, b], -1), torch.stack([c, d], -1)], -2)
    return torch.linalg.solve(system, torch.stack([x_t, told], -1)[..., None])[..., 0, 0]


class Gaussian:
    """Data of class y from N(means[y], S² I), and their paths in a process: along one,
    (x_t − a mean) / √(a² S² + b²) stays as it is."""

    def __init__(self, generator, *shape, classes=1):
        self.means = 1.5 * normal(generator, classes, *shape)
        self.S = number(generator, 0.3, 0.8)

    def spread(self, process, t):
        return (process.a(t) ** 2 * self.S**2 + process.b(t) ** 2).sqrt()

    def at(self, e, t, process=FLOW, y=None):
        """x_t of the path whose number is e."""
        mean = self.means[torch.zeros(len(e), dtype=torch.int64) if y is None else y]
        return column(process.a(t), e) * mean + column(self.spread(process, t), e) * e

    def end(self, e, y=None):
        mean = self.means[torch.zeros(len(e), dtype=torch.int64) if y is None else y]
        return mean + self.S * e

    def velocity(self, x_t, t, process=FLOW, y=None):
        mean = self.means[torch.zeros(len(x_t), dtype=torch.int64) if y is None else y]
        a, b, da, db = (column(f(t), x_t) for f in (process.a, process.b, process.da, process.db))
        rate = (a * da * self.S**2 + b * db) / (a**2 * self.S**2 + b**2)
        return da * mean + rate * (x_t - a * mean)

    def jump(self, process, target):
        return fakes.GaussianJump(self.means, self.S, process, target)


# --- consistency.function -----------------------------------------------------------------------


def f_of(student, model, x_t, t, *how, **more):
    found = student.consistency.function(model, x_t, t, *how, **more)
    return expect.tensor(found, x_t.shape, "f")


@function(weight=3)
def test_the_boundary_holds_for_any_network(student, generator):
    """at t = 0 it is x_t / a for any network, in every form"""
    for name, (process, target) in forms(generator).items():
        x_t, wild = normal(generator, 4, 3), normal(generator, 4, 3)
        nothing = torch.zeros(4, dtype=torch.float64)
        want = x_t / column(process.a(nothing), x_t)
        for size in (0.0, 1.0, 1e6):
            model = fakes.Recorder(lambda x, t, y, size=size, wild=wild: size * wild)
            found = f_of(student, model, x_t, nothing, process, target)
            says = f"f(x, 0) = x / a, with {name}, for a network that returns numbers of {size:g}"
            expect.close(found, want, says, what="f", **DOUBLE)
    mixed = levels(0.0, 0.6, 0.0, 1.0)
    found = f_of(student, fakes.constant(7.0), x_t, mixed)
    expect.close(found, x_t - 7 * mixed[:, None], "t = 0 beside other levels", what="f", **DOUBLE)


@function(weight=2)
def test_rectified_flow_by_default(student, generator):
    """without a process and a target it is x_t − t F"""
    net, _ = bent(generator)
    x_t, t = normal(generator, 6, 2), uniform(generator, 6, 0, 1)
    t[0], t[1] = 0, 1
    with torch.no_grad():
        want = x_t - t[:, None] * net(x_t, t)
    expect.close(f_of(student, recorded(net), x_t, t), want, "x_t − t F", what="f", **DOUBLE)


@function(weight=2)
def test_the_form_of_edm(student, generator):
    """EDM's c_skip x_t + c_out F"""
    net, _ = bent(generator)
    for _ in range(3):
        most, S = number(generator, 1, 90), number(generator, 0.2, 1.5)
        process, x_t = processes.edm(most), 3 * normal(generator, 6, 2)
        t = uniform(generator, 6, 0, 1)
        t[0], t[1] = 0, 1
        sigma = most * t[:, None]
        c_skip = S**2 / (sigma**2 + S**2)
        c_out = sigma * S / (S**2 + sigma**2).sqrt()
        with torch.no_grad():
            want = c_skip * x_t + c_out * net(x_t, t)
        found = f_of(student, recorded(net), x_t, t, process, preconditioned(process, S))
        says = "c_skip = σ_d² / (σ² + σ_d²), c_out = σ σ_d / √(σ² + σ_d²), σ = b"
        expect.close(found, want, says, what="f", **DOUBLE)


@function(weight=2)
def test_the_form_of_trigflow(student, generator):
    """TrigFlow's cos θ x_t − σ_d sin θ F"""
    net, _ = bent(generator)
    for S in (1.0, number(generator, 0.2, 0.9)):
        x_t, t = normal(generator, 6, 2), uniform(generator, 6, 0, 1)
        t[0], t[1] = 0, 1
        angle = math.pi / 2 * t[:, None]
        with torch.no_grad():
            want = angle.cos() * x_t - S * angle.sin() * net(x_t, t)
        found = f_of(student, recorded(net), x_t, t, *trigflow(S))
        expect.close(found, want, f"θ = π t / 2, here σ_d = {S:.3g}", what="f", **DOUBLE)


@function(weight=3)
def test_the_end_of_every_path_of_a_gaussian(student, generator):
    """with the exact F for a Gaussian all of a path has one answer, its end"""
    for name, (process, target) in forms(generator).items():
        truth, e = Gaussian(generator, 3), normal(generator, 5, 3)
        for t in (uniform(generator, 5, 0.05, 0.5), uniform(generator, 5, 0.5, 0.95)):
            x_t = truth.at(e, t, process)
            model = recorded(truth.jump(process, target))
            found = f_of(student, model, x_t, t, process, target)
            says = f"the end of the path, with {name}"
            expect.close(found, truth.end(e), says, what="f", atol=1e-9, rtol=1e-9)


@function(weight=2)
def test_the_data_that_a_prediction_stands_for(student, generator):
    """for any process, target and network it is the x̂ of x_t = a x̂ + b ẑ, F = c x̂ + d ẑ"""
    for name, (process, target) in forms(generator).items():
        net, _ = bent(generator)
        x_t, t = normal(generator, 5, 2), uniform(generator, 5, 0.1, 0.95)
        with torch.no_grad():
            want = end_of(net, x_t, t, process, target)
        found = f_of(student, recorded(net), x_t, t, process, target)
        off = {"atol": 1e-11 * max(1.0, float(want.abs().max())), "rtol": 1e-11}
        expect.close(found, want, f"x̂ with {name}", what="f", **off)


@function
def test_the_network_is_asked_once(student, generator):
    """the network is called once, with x_t and the levels as they came"""
    for process, target in forms(generator).values():
        net, _ = bent(generator)
        x_t, t, model = normal(generator, 4, 2), levels(0.0, 1e-9, 0.3, 0.9), recorded(net)
        f_of(student, model, x_t, t, process, target)
        expect.true(len(model.times) == 1, "calls of the network", len(model.times), 1)
        expect.close(model.inputs[0], x_t, "x_t changed on the way", atol=0, rtol=0)
        expect.close(model.times[0], t, "the levels changed on the way", atol=0, rtol=0)
        expect.true(model.conditions[0] is None, "a condition was passed, though none was given")


@function(weight=2)
def test_conditions_reach_the_network(student, generator):
    """conditions reach the network as they came: labels, a label of 0, words"""
    x_t, t = normal(generator, 3, 2), uniform(generator, 3, 0.1, 0.9)
    kinds = torch.tensor([4, 0, 2]), torch.zeros(3, dtype=torch.int32), normal(generator, 3, 2, 2)
    for y in kinds:
        net, _ = bent(generator)
        for process, target in ((FLOW, velocity(FLOW)), trigflow(0.5)):
            model = recorded(net)
            found = f_of(student, model, x_t, t, process, target, y)
            with torch.no_grad():
                want = end_of(net, x_t, t, process, target, y)
            expect.close(found, want, "the prediction for y", what="f", **DOUBLE)
            seen = model.conditions[0]
            expect.true(seen is not None, "the condition does not reach the network")
            expect.close(seen, y, "the condition changed on the way", atol=0, rtol=0)
            expect.true(seen.dtype == y.dtype, "the condition's dtype", seen.dtype, y.dtype)
    found = f_of(student, recorded(net), x_t, t, y=kinds[0])
    with torch.no_grad():
        want = x_t - t[:, None] * net(x_t, t, kinds[0])
    expect.close(found, want, "y of rectified flow", what="f", **DOUBLE)


@function(weight=2)
def test_examples_of_every_form(student, generator):
    """numbers, points and images, one and several, each at a level of its own, in float64"""
    each = [*forms(generator).values()]
    for k, shape in enumerate(SHAPES):
        process, target = each[k % len(each)]
        net, _ = bent(generator)
        x_t, t = 3 * normal(generator, *shape), uniform(generator, shape[0], 0.1, 0.95)
        found = f_of(student, recorded(net), x_t, t, process, target)
        with torch.no_grad():
            want = end_of(net, x_t, t, process, target)
        off = {"atol": 1e-11 * max(1.0, float(want.abs().max())), "rtol": 1e-11}
        expect.close(found, want, f"x_t of shape {shape}", what="f", **off)


@function
def test_in_single_precision(student, generator):
    """float32 stays float32"""
    for name, (process, target) in forms(generator).items():
        net, _ = bent(generator)
        x_t, t = normal(generator, 5, 2), uniform(generator, 5, 0.1, 0.9)
        with torch.no_grad():
            want = end_of(net, x_t, t, process, target)
        found = f_of(student, recorded(net), x_t.float(), t.float(), process, target)
        expect.true(found.dtype == torch.float32, "f of float32 is float32", found.dtype)
        off = 1e-4 * max(1.0, float(want.abs().max()))
        expect.close(found, want, f"float32, with {name}", what="f", atol=off, rtol=1e-4)


@function(weight=3)
def test_gradients_flow_through(student, generator):
    """gradients flow into x_t, the levels and the weights of the network"""
    for name, (process, target) in forms(generator).items():
        net, weights = bent(generator)
        x_t, t = normal(generator, 3, 2, 2), uniform(generator, 3, 0.2, 0.9)
        weigh, their = normal(generator, 3, 2, 2), theirs(student, weights)
        how = [student.function("consistency.function"), weigh, their, x_t, t, process, target]
        found = student.gradient("checking.fakes.weighted", *how, wrt=[x_t, t, their])
        leaves = [v.clone().requires_grad_() for v in (x_t, t)]
        total = (weigh * end_of(net, *leaves, process, target)).sum()
        *want, of_w = torch.autograd.grad(total, [*leaves, net.w])
        triples = ("x_t", found[0], want[0]), ("t", found[1], want[1]), ("w", found[2]["w"], of_w)
        for what, got, right in triples:
            says = f"the gradient in {what}, with {name}"
            expect.true(got is not None, f"no gradient arrives: {says}")
            off = 1e-10 * max(1.0, float(right.abs().max()))
            expect.close(got, right, says, what="gradient", atol=off, rtol=1e-10)


@function
def test_forms_without_a_boundary_are_refused(student, generator):
    """where b(0) is not 0 or d(0) is 0, the form is refused, and no other is"""
    call, x_t, t = student.consistency.function, normal(generator, 3, 2), levels(0.3, 0.5, 0.7)
    exploding, vp = processes.variance_exploding(), processes.cosine()
    left = Target(c=torch.ones_like, d=lambda t: t)
    for says, process, target in (
        ("a prediction of x", FLOW, X),
        ("a prediction of x of another process", vp, X),
        ("a target with d(0) = 0", vp, left),
        ("a process with noise left at t = 0", exploding, NOISE),
        ("a velocity with noise left at t = 0", exploding, velocity(exploding)),
        ("a little noise left at t = 0", processes.variance_exploding(1e-6, 1.0), NOISE),
    ):
        expect.raises(
            "ValueError",
            lambda p=process, k=target: call(fakes.linear(1.0), x_t, t, p, k),
            f"{says} is refused",
        )
    little = Target(c=torch.ones_like, d=lambda t: 1e-3 + t)
    negative = Target(c=torch.ones_like, d=lambda t: -1 - t)
    for process, target in ((FLOW, little), (vp, negative), (FLOW, NOISE)):
        found = f_of(student, fakes.linear(0.5), x_t, t, process, target)
        want = end_of(fakes.linear(0.5), x_t, t, process, target)
        expect.close(found, want, "d(0) ≠ 0 is enough", what="f", atol=1e-9, rtol=1e-9)


@function
def test_what_does_not_fit_is_refused(student, generator):
    """levels, predictions and equations that do not fit are refused"""
    call, x_t, t = student.consistency.function, normal(generator, 4, 3), levels(0.1, 0.5, 0.7, 1)
    model = fakes.Recorder(lambda x, t, y: x)  # whatever is asked
    for other in (t[0], t[:1], t[:3], t[:, None], t[None]):
        says = f"t of shape {tuple(other.shape)} for 4 examples is refused"
        expect.raises("ValueError", lambda o=other: call(model, x_t, o), says)
    for wrong in (lambda x: x[:1], lambda x: x[:, :1], lambda x: x[None], lambda x: x.sum()):
        model = fakes.Recorder(lambda x, t, y, wrong=wrong: wrong(x))
        says = "a prediction that is not shaped like x_t is refused"
        expect.raises("ValueError", lambda m=model: call(m, x_t, t), says)
    says = "a prediction of the noise at a = 0 is refused: x̂ does not follow"
    expect.raises("ValueError", lambda: call(fakes.linear(1.0), x_t, t, FLOW, NOISE), says)


# --- consistency.loss ---------------------------------------------------------------------------


def case(generator, *shape):
    """Data, noise and two levels for each example, with gaps of every size."""
    x, z = 1 + normal(generator, *shape), normal(generator, *shape)
    t = uniform(generator, shape[0], 0.3, 1.0)
    return x, z, t, t * uniform(generator, shape[0], 0.1, 0.95)


def disagreement(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    """The loss by its formula, example by example, with a graph through f(x_t, t)."""
    total = 0.0
    more = [] if y is None else [y]
    for i in range(len(x)):
        one = slice(i, i + 1)
        own = [v[one] for v in more]
        x_t = (1 - t[i]) * x[one] + t[i] * z[one]
        v = z[one] - x[one] if teacher is None else teacher(x_t, t[one], *own)
        x_s = x_t - (t[i] - s[i]) * v
        far = x_t - t[i] * model(x_t, t[one], *own)
        near = x_s - s[i] * (average or model)(x_s, s[one], *own)
        m = ((far - near.detach()) ** 2).mean()
        gap = m if huber == 0 else m / ((m + huber**2).sqrt() + huber)
        total = total + gap / (t[i] - s[i]) / len(x)
    return total


def plainly(*args, **how):
    with torch.no_grad():
        return disagreement(*args, **how)


def one_number(found):
    return expect.tensor(found, (), "the loss")


@loss(weight=3)
def test_without_a_teacher(student, generator):
    """without a teacher both points are on the line from x to z, and the target is f(x_s, s)"""
    for shape in ((6, 3), (5, 1, 3, 3), (7, 2)):
        net, _ = bent(generator)
        args = case(generator, *shape)
        found = one_number(student.consistency.loss(recorded(net), *args))
        says = "the mean over the batch of m / (t − s)"
        expect.close(found, plainly(net, *args), says, what="the loss", **DOUBLE)


@loss(weight=3)
def test_with_a_teacher(student, generator):
    """with a teacher x_s is one Euler step of it away from x_t"""
    for shape in ((6, 3), (5, 1, 3, 3)):
        (net, _), (other, _) = bent(generator), bent(generator)
        args, teacher = case(generator, *shape), recorded(other)
        found = one_number(student.consistency.loss(recorded(net), *args, teacher))
        want = plainly(net, *args, teacher=other)
        expect.close(found, want, "x_s = x_t − (t − s) v(x_t, t)", what="the loss", **DOUBLE)
        expect.true(len(teacher.times) == 1, "calls of the teacher", len(teacher.times), 1)
        x, z, t, _ = args
        x_t = x + column(t, x) * (z - x)
        expect.close(teacher.inputs[0], x_t, "the teacher is asked at x_t", **DOUBLE)
        expect.close(teacher.times[0], t, "the teacher is asked at t", atol=0, rtol=0)


WHO = "the student", "the teacher", "the averaged weights"


def asked(model):
    """What a model was asked at, in the order of the levels, whether in one call or in several."""
    t = torch.cat(model.times)
    order = t.argsort()
    return torch.cat(model.inputs)[order], t[order]


@loss(weight=3)
def test_averaged_weights_answer_at_x_s(student, generator):
    """averaged weights answer for the target, at (x_s, s), and the student at (x_t, t)"""
    for taught in (False, True):
        (net, _), (slow, _), (other, _) = (bent(generator) for _ in range(3))
        args = x, z, t, s = case(generator, 6, 2)
        model, average = recorded(net), recorded(slow)
        teacher = recorded(other) if taught else None
        found = one_number(student.consistency.loss(model, *args, teacher, average))
        want = plainly(net, *args, teacher=other if taught else None, average=slow)
        expect.close(found, want, "the target is f⁻(x_s, s)", what="the loss", **DOUBLE)
        x_t = x + t[:, None] * (z - x)
        with torch.no_grad():
            v = other(x_t, t) if taught else z - x
        x_s = x_t - (t - s)[:, None] * v
        for who, name, where, level in (
            (model, "the student", x_t, t),
            (average, "the averaged weights", x_s, s),
        ):
            expect.true(len(who.times) == 1, f"calls of {name}", len(who.times), 1)
            expect.close(who.inputs[0], where, f"where {name} are asked", **DOUBLE)
            expect.close(who.times[0], level, f"the level {name} are asked at", atol=0, rtol=0)
    model = recorded(net)
    student.consistency.loss(model, *args)
    points, at = asked(model)
    order = torch.cat([s, t]).argsort()
    says = "without averaged weights the student is asked at (x_t, t) and (x_s, s), at nothing else"
    expect.close(at, torch.cat([s, t])[order], says, what="the levels", atol=0, rtol=0)
    want = torch.cat([x + s[:, None] * (z - x), x_t])[order]
    expect.close(points, want, says, what="the points", **DOUBLE)


@loss(weight=2)
def test_conditions_reach_every_model(student, generator):
    """conditions reach the student, the averaged weights and the teacher as they came"""
    x, z, t, s = case(generator, 5, 2)
    (net, _), (slow, _), (other, _) = (bent(generator) for _ in range(3))
    words = normal(generator, 5, 2, 2)
    for y in (torch.tensor([3, 0, 1, 0, 2]), torch.zeros(5, dtype=torch.int64), words):
        for teacher, average in ((other, slow), (other, None), (None, slow), (None, None)):
            models = [None if m is None else recorded(m) for m in (net, teacher, average)]
            found = student.consistency.loss(models[0], x, z, t, s, *models[1:], y=y)
            want = plainly(net, x, z, t, s, teacher, average, y)
            expect.close(one_number(found), want, "the predictions for y", **DOUBLE)
            for name, model in zip(WHO, models, strict=True):
                for seen in model.conditions if model else []:
                    expect.true(seen is not None, f"the condition does not reach {name}")
                    whole = torch.cat([y] * (len(seen) // len(y)))
                    says = f"the condition changed on its way to {name}"
                    expect.close(seen, whole, says, atol=0, rtol=0)
                    expect.true(seen.dtype == y.dtype, says, seen.dtype, y.dtype)
    models = [recorded(m) for m in (net, other, slow)]
    student.consistency.loss(models[0], x, z, t, s, *models[1:])
    none = all(y is None for m in models for y in m.conditions)
    expect.true(none, "a condition was passed, though none was given")


@loss(weight=2)
def test_the_gap_of_huber(student, generator):
    """with huber an example counts √(m + c²) − c, with 0 it counts m"""
    for c in (0.03, 1.0, number(generator, 0.1, 5.0), 1):
        (net, _), (other, _) = bent(generator), bent(generator)
        args = case(generator, 6, 1, 2, 2)
        found = one_number(student.consistency.loss(recorded(net), *args, huber=c))
        says = f"the mean of (√(m + c²) − c) / (t − s), here c = {c}"
        expect.close(found, plainly(net, *args, huber=c), says, what="the loss", **DOUBLE)
        found = student.consistency.loss(recorded(net), *args, recorded(other), huber=c)
        want = plainly(net, *args, teacher=other, huber=c)
        expect.close(one_number(found), want, f"{says}, with a teacher", what="the loss", **DOUBLE)
    # for a large c it is m / 2 c, for a small one √m
    base = plainly(net, *args)
    found = one_number(student.consistency.loss(recorded(net), *args, huber=1e3))
    says = "for a large c it is nearly m / (2 c)"
    expect.close(found * 2e3, base, says, what="2 c L", atol=1e-4, rtol=1e-4)
    for none in (0, 0.0):
        found = one_number(student.consistency.loss(recorded(net), *args, huber=none))
        expect.close(found, base, "with c = 0 it is m / (t − s)", what="the loss", **DOUBLE)


@loss(weight=2)
def test_each_example_counts_by_its_own_gap(student, generator):
    """each example is divided by its own t − s, and all count alike"""
    t, s = levels(1.0, 0.9, 0.5, 0.4), levels(0.0, 0.8, 0.25, 0.399)
    x, z = normal(generator, 4, 3), normal(generator, 4, 3)
    net, _ = bent(generator)
    each = [plainly(net, *(v[i : i + 1] for v in (x, z, t, s))) for i in range(4)]
    found = one_number(student.consistency.loss(recorded(net), x, z, t, s))
    says = "the loss of a batch is the mean of those of its examples"
    expect.close(found, torch.stack(each).mean(), says, what="the loss", **DOUBLE)
    for i in range(4):
        alone = student.consistency.loss(recorded(net), *(v[i : i + 1] for v in (x, z, t, s)))
        says = f"an example alone, from t = {t[i]:g} to s = {s[i]:g}"
        expect.close(one_number(alone), each[i], says, what="the loss", **DOUBLE)


@loss(weight=2)
def test_the_exact_jump_and_the_exact_teacher(student, generator):
    """for the exact function and the exact velocity the loss vanishes as (t − s)³"""
    truth, e = Gaussian(generator, 2), normal(generator, 6, 2)
    t = uniform(generator, 6, 0.4, 0.9)
    x_t = truth.at(e, t)
    z = normal(generator, 6, 2)
    x = (x_t - t[:, None] * z) / (1 - t[:, None])  # so that x_t is on the path of e
    jump = recorded(truth.jump(FLOW, velocity(FLOW)))
    teacher = fakes.Recorder(lambda x_t, t, y: truth.velocity(x_t, t.flatten()))
    found = []
    for gap in (0.04, 0.02, 0.01):
        value = student.consistency.loss(jump, x, z, t, t - gap, teacher)
        found.append(float(one_number(value)))
    told = ", ".join(f"{v:.3g}" for v in found)
    says = "an Euler step misses a path by (t − s)²: half the gap, an eighth of the loss"
    expect.true(all(6 < one / two < 10 for one, two in pairwise(found)), says, told)
    expect.true(found[-1] < 1e-4, "the exact function has nearly no loss", told)
    # all data at one point: the paths are straight, and an Euler step is exact
    mean = truth.means[0]
    point = fakes.Recorder(lambda x_t, t, y: (x_t - mean) / t)
    value = student.consistency.loss(point, mean.expand(6, 2), z, t, t * 0.6, point)
    expect.close(one_number(value), 0.0, "for data at one point it is 0", atol=1e-20, rtol=0)


SLOPES = {4: 0.341, 16: 0.456, 64: 0.489, 256: 0.497}  # of the trained jump, where 0.5 is right


def four_points(N, mean, S):
    """Data N(mean, S²) and noise by four points of the same moments, at every level: what a square
    of something linear has as its mean."""
    e = levels(1, 1, -1, -1), levels(1, -1, 1, -1)
    k = torch.arange(1, N + 1, dtype=torch.float64).repeat_interleave(4)
    x, z = (mean + S * e[0]).repeat(N)[:, None], e[1].repeat(N)[:, None]
    return x, z, k / N, (k - 1) / N


def by_euler_steps(N, mean, S):
    """f at every level, where each is f of the level below after an Euler step with E[v | x_t]:
    f_k(x) = E[f_{k−1}(x_s) | x_t = x], and f_0(x) = x."""
    offset, slope = [0.0], [1.0]
    for k in range(1, N + 1):
        t = k / N
        rate = (t - (1 - t) * S**2) / ((1 - t) ** 2 * S**2 + t**2)
        constant = -mean - rate * (1 - t) * mean  # E[v | x_t] = constant + rate x_t
        offset.append(offset[-1] - slope[-1] * constant / N)
        slope.append(slope[-1] * (1 - rate / N))
    return {"offset": levels(*offset), "slope": levels(*slope)}


@loss(weight=3)
def test_what_training_without_a_teacher_ends_at(student, generator):
    """without a teacher training ends at N Euler steps: slopes of .341 to .497 for one of .5"""
    for N, slope in SLOPES.items():
        weights = by_euler_steps(N, 0.7, 0.5)
        expect.close(weights["slope"][-1], slope, "by hand", atol=5e-4, rtol=0)
        net = student.new("checking.fakes.LineAtEachLevel", N)
        net.load(weights)
        (found,) = student.gradient("consistency.loss", net, *four_points(N, 0.7, 0.5), wrt=[net])
        for name in ("offset", "slope"):
            expect.true(found[name] is not None, "no gradient reaches the weights")
            says = f"the mean gradient is 0 where training ends, with {N} levels"
            expect.close(found[name], 0 * weights[name], says, atol=1e-11, rtol=0)
    t = torch.linspace(0, 1, N + 1, dtype=torch.float64)
    right = 0.5 / ((1 - t) ** 2 * 0.25 + t**2).sqrt()
    net.load({"offset": 0.7 - right * (1 - t) * 0.7, "slope": right})
    (found,) = student.gradient("consistency.loss", net, *four_points(N, 0.7, 0.5), wrt=[net])
    says = "at the exact function the mean gradient is not 0: training moves away from it"
    expect.true(float(found["slope"].abs().max()) > 1e-6, says)


@loss(weight=3)
def test_gradients_of_the_weights(student, generator):
    """the gradient in the weights is that of f(x_t, t) alone: the target gives none"""
    for huber in (0.0, 0.3):
        for taught, averaged in ((False, False), (True, False), (False, True), (True, True)):
            (net, w), (other, w_other), (slow, w_slow) = (bent(generator) for _ in range(3))
            args = case(generator, 5, 2)
            model, teacher, average = (theirs(student, v) for v in (w, w_other, w_slow))
            how = {"teacher": teacher if taught else None, "average": average if averaged else None}
            found = student.gradient(
                "consistency.loss", model, *args, wrt=[model, teacher, average], huber=huber, **how
            )
            own = {"teacher": other if taught else None, "average": slow if averaged else None}
            (want,) = torch.autograd.grad(disagreement(net, *args, huber=huber, **own), net.w)
            expect.true(found[0]["w"] is not None, "no gradient reaches the student's weights")
            says = "the gradient of the formula in which f⁻ is a constant"
            expect.close(found[0]["w"], want, says, what="gradient", atol=1e-10, rtol=1e-10)
            for name, got in (("the teacher", found[1]), ("the averaged weights", found[2])):
                none = got["w"] is None or not got["w"].any()
                expect.true(none, f"a gradient reaches {name}")


@loss
def test_gradients_reach_nothing_else(student, generator):
    """no gradient reaches x and z, nor the weights if they are those of the average too"""
    net, weights = bent(generator)
    x, z, t, s = case(generator, 5, 2)
    model = theirs(student, weights)
    for teacher in (None, theirs(student, bent(generator)[1])):
        found = student.gradient("consistency.loss", model, x, z, t, s, teacher, wrt=[x, z, model])
        for name, got in zip("xz", found[:2], strict=True):
            expect.true(got is None or not got.any(), f"a gradient reaches {name}")
    (same,) = student.gradient("consistency.loss", model, x, z, t, s, None, model, wrt=[model])
    (want,) = torch.autograd.grad(disagreement(net, x, z, t, s), net.w)
    says = "with its own weights as the average it is as without"
    expect.close(same["w"], want, says, what="gradient", atol=1e-10, rtol=1e-10)


@loss
def test_batches_of_every_form(student, generator):
    """points and images, one and several, s = 0 and t = 1 among the levels"""
    for shape in SHAPES[2:]:
        net, _ = bent(generator)
        x, z, t, s = case(generator, *shape)
        s[0], t[-1] = 0.0, 1.0
        for huber in (0.0, 0.5):
            found = student.consistency.loss(recorded(net), x, z, t, s, huber=huber)
            want = plainly(net, x, z, t, s, huber=huber)
            says = f"x of shape {shape}"
            expect.close(one_number(found), want, says, what="the loss", **DOUBLE)


@loss
def test_single_precision_of_the_loss(student, generator):
    """float32 stays float32"""
    (net, _), (other, _) = bent(generator), bent(generator)
    args = case(generator, 6, 2)
    for teacher, huber in ((None, 0.0), (other, 0.0), (None, 0.4)):
        told = None if teacher is None else recorded(teacher)
        single = [v.float() for v in args]
        found = student.consistency.loss(recorded(net), *single, told, huber=huber)
        found = one_number(found)
        expect.true(found.dtype == torch.float32, "float32 stays float32", found.dtype)
        want = plainly(net, *args, teacher=teacher, huber=huber)
        expect.close(found, want, "float32", what="the loss", atol=1e-4, rtol=1e-3)


@loss
def test_what_are_no_neighbours_is_refused(student, generator):
    """levels that do not fall, shapes that do not fit, and a huber below 0 are refused"""
    x, z, t, s = case(generator, 4, 3)
    model, call = fakes.linear(0.5), student.consistency.loss
    equal, above, below = s.clone(), s.clone(), s.clone()
    equal[1], above[2], below[3] = t[1], t[2] + 1e-6, -1e-6
    for says, args in {
        "s = t for one example": (x, z, t, equal),
        "s above t for one example": (x, z, t, above),
        "s below 0 for one example": (x, z, t, below),
        "s and t exchanged": (x, z, s, t),
        "NaN for s": (x, z, t, s * math.nan),
        "one s for all": (x, z, t, s[0]),
        "s of shape (1,)": (x, z, t, s[:1] / 9),
        "s with another axis": (x, z, t, s[:, None]),
        "t of shape (1,)": (x, z, t[:1], s[:1]),
        "t and s with another axis": (x, z, t[:, None], s[:, None]),
        "z of another shape": (x, z[:, :1], t, s),
        "z with another axis": (x, z[None], t, s),
        "one z for all": (x, z[:1], t, s),
    }.items():
        expect.raises("ValueError", lambda a=args: call(model, *a), f"{says} is refused")
    for huber in (-1e-6, -2, math.nan):
        says = f"huber = {huber} is refused"
        expect.raises("ValueError", lambda h=huber: call(model, x, z, t, s, huber=h), says)
    near = t - 1e-6
    net, _ = bent(generator)
    value = one_number(call(recorded(net), x, z, t, near))
    want = plainly(net, x, z, t, near)
    says = "levels next to each other are allowed"
    expect.close(value, want, says, what="the loss", atol=1e-9, rtol=1e-4)
