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
from cs231n_gen.truth import GaussianMixture
from cs231n_gen.truth.flow_map import flow_map, mean_velocity

function = pytest.mark.exercise("consistency.function")
loss = pytest.mark.exercise("consistency.loss")
tangent = pytest.mark.exercise("consistency.tangent", graph=False)
mean_flow_target = pytest.mark.exercise("consistency.mean_flow_target", graph=False)
shortcut_target = pytest.mark.exercise("consistency.shortcut_target", graph=False)

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


def of_size(want, off=1e-10):
    """Tolerances for numbers of this size."""
    return {"atol": off * max(1.0, float(want.abs().max())), "rtol": off}


def in_use(student, generator, levels=1):
    """A model on the student's side in the middle of a training: gradients lie in its weights. What
    a call leaves otherwise is noted for the shared properties."""
    net, weights = bent(generator, levels)
    their = theirs(student, weights, levels)
    their.call("put_to_use")
    return net, their


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
            says = "calls of the network where all levels are 0"
            expect.true(len(model.times) == 1, says, len(model.times), 1)
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
def test_the_end_of_every_path_of_a_mixture(student, generator):
    """with the exact F for a mixture it is the quantile of the data, F₀⁻¹(F_t(x_t))"""
    means, sizes = 2 * normal(generator, 3, 1), uniform(generator, 3, 0.1, 0.5)
    truth = GaussianMixture(uniform(generator, 3, 0.5, 1.5), means, sizes[:, None, None])
    t, nothing = uniform(generator, 6, 0.05, 1.0), torch.zeros(6, dtype=torch.float64)
    x_t = (1 - t)[:, None] * truth.sample(6, generator) + t[:, None] * normal(generator, 6, 1)

    def jump(x_t, t, y):
        return (x_t - flow_map(truth, x_t, t.flatten(), 0 * t.flatten())) / t

    found = f_of(student, fakes.Recorder(jump), x_t, t)
    want = flow_map(truth, x_t, t, nothing)
    expect.close(found, want, "the end of the path", what="f", atol=1e-9, rtol=1e-9)


@function(weight=2)
def test_the_data_that_a_prediction_stands_for(student, generator):
    """for any process, target and network it is the x̂ of x_t = a x̂ + b ẑ, F = c x̂ + d ẑ"""
    faint = Target(lambda t: -1e-5 * torch.ones_like(t), lambda t: 1e-5 * torch.ones_like(t))
    for name, (process, target) in (
        *forms(generator).items(),
        ("a hundred-thousandth of the velocity", (FLOW, faint)),
    ):
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
            calls, seen = len(model.conditions), model.conditions[0]
            expect.true(calls == 1, "calls of the network with a condition", calls, 1)
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
        x_t, t = 30 * normal(generator, *shape), uniform(generator, shape[0], 0.1, 0.95)
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
        y = torch.tensor([2, 0, 1]) if name in ("TrigFlow", "its velocity") else None
        value = f_of(student, their, x_t, t, process, target, y=y)
        with torch.no_grad():
            right = end_of(net, x_t, t, process, target, y)
        off = {"atol": 1e-11 * max(1.0, float(right.abs().max())), "rtol": 1e-11}
        expect.close(value, right, f"f of a network, with {name}", what="f", **off)
        how = [student.function("consistency.function"), weigh, their, x_t, t, process, target, y]
        found = student.gradient("checking.fakes.weighted", *how, wrt=[x_t, t, their])
        leaves = [v.clone().requires_grad_() for v in (x_t, t)]
        total = (weigh * end_of(net, *leaves, process, target, y)).sum()
        *want, of_w = torch.autograd.grad(total, [*leaves, net.w])
        triples = ("x_t", found[0], want[0]), ("t", found[1], want[1]), ("w", found[2]["w"], of_w)
        for what, got, right in triples:
            says = f"the gradient in {what}, with {name}"
            expect.true(got is not None, f"no gradient arrives: {says}")
            off = 1e-10 * max(1.0, float(right.abs().max()))
            expect.close(got, right, says, what="gradient", atol=off, rtol=1e-10)


@function
def test_a_network_in_use(student, generator):
    """a network in the middle of a training is left as it is, in either mode"""
    x_t, t = normal(generator, 3, 2), uniform(generator, 3, 0.1, 0.9)
    net, their = in_use(student, generator)
    other, weights = bent(generator)
    for here, there in ((net, their), (other, theirs(student, weights))):
        with torch.no_grad():
            want = x_t - t[:, None] * here(x_t, t)
        expect.close(f_of(student, there, x_t, t), want, "x_t − t F", what="f", **DOUBLE)


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
        args[3][0] = 0.0  # there the target is x_s, and not x
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
    for c in (1e-3, 0.03, 1.0, number(generator, 0.1, 5.0), 1):
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
            y = torch.tensor([2, 0, 1, 0, 2]) if taught else None
            model, teacher, average = (theirs(student, v) for v in (w, w_other, w_slow))
            how = {"teacher": teacher if taught else None, "average": average if averaged else None}
            how["y"] = y
            found = student.gradient(
                "consistency.loss", model, *args, wrt=[model, teacher, average], huber=huber, **how
            )
            own = {"teacher": other if taught else None, "average": slow if averaged else None}
            own["y"] = y
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
def test_networks_in_use(student, generator):
    """networks in the middle of a training are left as they are"""
    (net, their), (other, teacher), (slow, average) = (in_use(student, generator) for _ in range(3))
    args = case(generator, 4, 2)
    found = one_number(student.consistency.loss(their, *args, teacher, average))
    want = plainly(net, *args, teacher=other, average=slow)
    expect.close(found, want, "the loss", what="the loss", **DOUBLE)
    found = one_number(student.consistency.loss(their, *args))
    expect.close(found, plainly(net, *args), "alone", what="the loss", **DOUBLE)


@loss
def test_batches_of_every_form(student, generator):
    """points and images, one and several, s = 0 and t = 1 among the levels"""
    for shape in SHAPES[2:]:
        net, _ = bent(generator)
        x, z, t, s = case(generator, *shape)
        x, z = 20 * x, 20 * z
        s[0], t[-1] = 0.0, 1.0
        for huber, size in ((0.0, 1.0), (0.5, 1.0), (0.0, 50.0)):
            found = student.consistency.loss(recorded(net), size * x, z, t, s, huber=huber)
            want = plainly(net, size * x, z, t, s, huber=huber)
            says = f"x of shape {shape}, and of numbers near {20 * size:g}"
            expect.close(one_number(found), want, says, what="the loss", **of_size(want))


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


# --- consistency.tangent ------------------------------------------------------------------------


def rectified(student):
    """Rectified flow and its velocity on the student's side."""
    flow = student.new("given.processes.rectified_flow")
    return flow, student.new("given.processes.velocity", flow)


def their_forms(student, generator):
    """Forms on the student's side, where derivatives by t are taken, and the same here. Without any
    it is rectified flow."""
    sizes, more = own_form(generator)
    most, S, S2 = number(generator, 2, 10), number(generator, 0.3, 0.9), number(generator, 0.3, 0.9)
    edm = student.new("given.processes.edm", most)
    own = student.new("checking.fakes.CurvedProcess", *sizes)
    linear = student.new("given.processes.variance_preserving")
    here, vp = fakes.CurvedProcess(*sizes), processes.variance_preserving()
    of_edm = processes.edm(most)
    return {
        "rectified flow": ((), (FLOW, velocity(FLOW))),
        "EDM": (
            (edm, student.new("given.processes.preconditioned", edm, S)),
            (of_edm, preconditioned(of_edm, S)),
        ),
        "TrigFlow": (tuple(student.new("given.processes.trigflow", S2)), trigflow(S2)),
        "a process of its own": (
            (own, student.new("checking.fakes.CurvedTarget", *more)),
            (here, fakes.CurvedTarget(*more)),
        ),
        "its velocity": (
            (own, student.new("given.processes.velocity", own)),
            (here, velocity(here)),
        ),
        "linear β and the noise": (
            (linear, student.function("given.processes.NOISE")),
            (vp, NOISE),
        ),
    }


def along(f, x_t, t, v):
    """d/de f(x_t + e v, t + e) at e = 0, by two backward passes."""

    def moved(e):
        return f(x_t + e * v, t + e)

    _, slope = torch.autograd.functional.jvp(moved, torch.zeros((), dtype=t.dtype))
    return slope.detach()


def tangent_of(net, x_t, t, v, process=FLOW, target=None, y=None):
    target = velocity(FLOW) if target is None else target
    return along(lambda x, t: end_of(net, x, t, process, target, y), x_t, t, v)


def slope_of(student, net, x_t, t, v, *form, **more):
    found = student.consistency.tangent(net, x_t, t, v, *form, **more)
    return expect.tensor(found, x_t.shape, "df/dt")


@tangent(weight=4)
def test_it_is_0_on_the_exact_function(student, generator):
    """it is 0 on the exact function of a Gaussian along its exact flow, in every form"""
    for name, (form, (process, _)) in their_forms(student, generator).items():
        truth, e = Gaussian(generator, 3), normal(generator, 5, 3)
        t = uniform(generator, 5, 0.1, 0.95)
        x_t = truth.at(e, t, process)
        shown = form or rectified(student)
        net = student.new("checking.fakes.GaussianJump", truth.means, truth.S, *shown)
        v = truth.velocity(x_t, t, process)
        found = slope_of(student, net, x_t, t, v, *form)
        says = f"f is the same along a path, with {name}"
        expect.close(found, 0 * x_t, says, what="df/dt", **of_size(v, 1e-9))
        other = slope_of(student, net, x_t, t, v + 1, *form)
        says = f"along another v f changes, with {name}"
        spread = column(truth.spread(process, t), x_t)
        want = (truth.S / spread).expand_as(x_t)
        expect.close(other, want, says, what="df/dt", **of_size(v, 1e-9))


def bumps(student, generator):
    """Two bumps in the plane: the exact velocity here and on the student's side, and points."""
    m, S = normal(generator, 2), number(generator, 0.5, 0.8)
    m = 1.2 * m / m.norm()
    net = student.new("checking.fakes.TwoBumps", m, S, *rectified(student))
    here = fakes.TwoBumps(m, S, FLOW, velocity(FLOW))
    t = uniform(generator, 4, 0.3, 0.95)
    x_t = (1 - t)[:, None] * (m + S * normal(generator, 4, 2)) + t[:, None] * normal(
        generator, 4, 2
    )
    with torch.no_grad():
        return net, here(x_t, t), x_t, t


@tangent(weight=2)
def test_it_is_0_on_the_exact_function_of_a_mixture(student, generator):
    """it is 0 on the exact function of two bumps, found by walking along the exact flow"""
    net, v, x_t, t = bumps(student, generator)
    jump = student.new("checking.fakes.Carried", net, 12)
    found = slope_of(student, jump, x_t, t, v)
    expect.close(found, 0 * x_t, "f is the same along a path", what="df/dt", atol=1e-3, rtol=0)
    found = slope_of(student, jump, x_t, t, 0 * v)
    says = "at a point that stays, f changes with t"
    expect.true(float(found.abs().max()) > 1e-2, says, found)


@tangent(weight=3)
def test_finite_differences(student, generator):
    """for any network, form and v it is the limit of the difference between two neighbours"""
    for name, (form, (process, target)) in their_forms(student, generator).items():
        net, weights = bent(generator)
        x_t, v = normal(generator, 5, 2), normal(generator, 5, 2)
        t = uniform(generator, 5, 0.2, 0.9)
        found = slope_of(student, theirs(student, weights), x_t, t, v, *form)

        def f(h, x_t=x_t, v=v, t=t, net=net, process=process, target=target):
            with torch.no_grad():
                return end_of(net, x_t + h * v, t + h, process, target)

        h = 1e-3  # differences of order 4, of doubles
        want = (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)
        says = f"(f(x_t + h v, t + h) − f(x_t, t)) / h for small h, with {name}"
        expect.close(found, want, says, what="df/dt", **of_size(want, 1e-6))


@tangent(weight=3)
def test_every_digit(student, generator):
    """it is exact, and no difference of neighbours: to every digit of float64, at both ends too"""
    for name, (form, (process, target)) in their_forms(student, generator).items():
        net, weights = bent(generator)
        x_t, v = normal(generator, 5, 2), normal(generator, 5, 2)
        t = uniform(generator, 5, 0.2, 0.9)
        if name in ("rectified flow", "TrigFlow", "EDM"):
            t[0], t[1] = 0, 1
        found = slope_of(student, theirs(student, weights), x_t, t, v, *form)
        want = tangent_of(net, x_t, t, v, process, target)
        expect.close(found, want, f"df/dt with {name}", what="df/dt", **of_size(want))


@tangent(weight=2)
def test_both_parts_of_the_chain_rule(student, generator):
    """v = 0 leaves ∂f/∂t, a constant network leaves v − F, and v counts linearly"""
    net, weights = bent(generator)
    x_t, t, v = normal(generator, 4, 3), uniform(generator, 4, 0.1, 0.9), normal(generator, 4, 3)
    their = theirs(student, weights)
    still = slope_of(student, their, x_t, t, 0 * v)
    want = along(lambda x, t: x - t[:, None] * net(x, t), x_t, t, 0 * v)
    says = "v = 0: ∂f/∂t alone, of t in front of F too"
    expect.close(still, want, says, what="∂f/∂t", **of_size(want))
    once, minus = slope_of(student, their, x_t, t, v), slope_of(student, their, x_t, t, -2 * v)
    says = "df/dt − ∂f/∂t must be ∂f/∂x_t · v, linear in v"
    expect.close(minus - still, -2 * (once - still), says, what="df/dt", **of_size(once))
    flat = {"w": torch.zeros(8, dtype=torch.float64)}
    found = slope_of(student, theirs(student, flat), x_t, t, v)
    expect.close(found, v, "F = 0: f is x_t, which moves by v", what="df/dt", **DOUBLE)
    turned = {"w": levels(0, 0, 0, 0, 0, 0, 0, 1)}  # F = y
    y = torch.tensor([3, -1, 0, 2])
    found = slope_of(student, theirs(student, turned), x_t, t, v, y=y)
    want = v - column(y.double(), v)
    expect.close(found, want, "F constant: f is x_t − t F, which changes by v − F", **DOUBLE)


@tangent(weight=2)
def test_a_gap_of_neighbours_is_the_tangent(student, generator):
    """what two neighbours disagree about, over t − s, comes to it as they come near"""
    net, weights = bent(generator)
    x_t, t, v = normal(generator, 5, 2), uniform(generator, 5, 0.4, 0.9), normal(generator, 5, 2)
    slope = slope_of(student, theirs(student, weights), x_t, t, v)
    with torch.no_grad():
        errors = []
        for h in (1e-2, 5e-3, 2.5e-3):
            x_s, s = x_t - h * v, t - h
            gap = (x_t - t[:, None] * net(x_t, t) - x_s + s[:, None] * net(x_s, s)) / h
            errors.append(float((gap - slope).abs().max()))
    told = ", ".join(f"{e:.3g}" for e in errors)
    says = "half the gap must leave half the difference"
    expect.true(all(1.7 < one / two < 2.3 for one, two in pairwise(errors)), says, told)


@tangent(weight=2)
def test_conditions_reach_the_network_of_a_tangent(student, generator):
    """y reaches the network, of labels, of a label of 0 and of words"""
    for y in (
        torch.tensor([4, 0, 2]),
        torch.zeros(3, dtype=torch.int32),
        normal(generator, 3, 2, 2),
    ):
        forms_of_both = their_forms(student, generator)
        for name in ("rectified flow", "TrigFlow"):
            form, (process, target) = forms_of_both[name]
            net, weights = bent(generator)
            x_t, v, t = normal(generator, 3, 2), normal(generator, 3, 2), levels(0.2, 0.5, 0.9)
            their = theirs(student, weights)
            found = slope_of(student, their, x_t, t, v, *form, y=y)
            want = tangent_of(net, x_t, t, v, process, target, y)
            expect.close(found, want, f"df/dt for y, with {name}", what="df/dt", **of_size(want))
            slope_of(student, their, x_t, t, v, *form)
            calls, told = their.get("calls"), their.get("told")
            expect.true(told < calls, "a condition was passed, though none was given")
    truth, e = Gaussian(generator, 2, classes=3), normal(generator, 5, 2)
    y, t = torch.tensor([2, 0, 1, 2, 0]), uniform(generator, 5, 0.1, 0.9)
    x_t = truth.at(e, t, y=y)
    net = student.new("checking.fakes.GaussianJump", truth.means, truth.S, *rectified(student))
    found = slope_of(student, net, x_t, t, truth.velocity(x_t, t, y=y), y=y)
    expect.close(found, 0 * x_t, "0 along the paths of each class", what="df/dt", atol=1e-9, rtol=0)


@tangent
def test_examples_of_every_form_move(student, generator):
    """numbers, points and images, one and several, each at a level of its own"""
    each = [*their_forms(student, generator).items()]
    for k, shape in enumerate(SHAPES):
        name, (form, (process, target)) = each[k % len(each)]
        net, weights = bent(generator)
        x_t, v = 20 * normal(generator, *shape), 20 * normal(generator, *shape)
        t = uniform(generator, shape[0], 0.2, 0.9)
        found = slope_of(student, theirs(student, weights), x_t, t, v, *form)
        want = tangent_of(net, x_t, t, v, process, target)
        expect.close(
            found, want, f"x_t of shape {shape}, with {name}", what="df/dt", **of_size(want)
        )


@tangent
def test_single_precision_of_a_tangent(student, generator):
    """float32 stays float32"""
    for name, (form, (process, target)) in their_forms(student, generator).items():
        net, weights = bent(generator)
        x_t, v = normal(generator, 4, 2), normal(generator, 4, 2)
        t = uniform(generator, 4, 0.2, 0.9)
        args = x_t.float(), t.float(), v.float()
        found = slope_of(student, theirs(student, weights), *args, *form)
        expect.true(found.dtype == torch.float32, "float32 stays float32", found.dtype)
        want = tangent_of(net, x_t, t, v, process, target)
        expect.close(found, want, f"float32, with {name}", what="df/dt", **of_size(want, 1e-3))


@tangent
def test_it_has_no_graph(student, generator):
    """it has no graph, and is the same under torch.no_grad()"""
    net, weights = bent(generator)
    x_t, v, t = normal(generator, 4, 2), normal(generator, 4, 2), uniform(generator, 4, 0.2, 0.9)
    their = theirs(student, weights)
    args, name = (their, x_t, t, v), "consistency.tangent"
    nothing_learns(student, name, args, [x_t, t, v, their])
    want = along(lambda x, t: x - t[:, None] * net(x, t), x_t, t, v)
    without_gradients(student, name, args, want)
    net, their = in_use(student, generator)
    want = along(lambda x, t: x - t[:, None] * net(x, t), x_t, t, v)
    expect.close(slope_of(student, their, x_t, t, v), want, "of a network in use", **of_size(want))


def nothing_learns(student, name, args, wrt):
    found = student.gradient(name, *args, wrt=wrt)
    flat = [g for v in found for g in (v.values() if isinstance(v, dict) else [v])]
    expect.true(all(g is None for g in flat), "the result has a graph: it is a target, detach it")


def without_gradients(student, name, args, want):
    still = student.new("checking.fakes.WithoutGradients", student.function(name))
    found = expect.tensor(still(*args), want.shape, "the result")
    expect.close(found, want, "under torch.no_grad() it must be the same", **of_size(want))


@tangent
def test_what_does_not_fit_a_tangent_is_refused(student, generator):
    """a v of another shape, levels that do not fit, and forms without a boundary are refused"""
    _, weights = bent(generator)
    their, call = theirs(student, weights), student.consistency.tangent
    x_t, v, t = normal(generator, 4, 3), normal(generator, 4, 3), levels(0.1, 0.5, 0.7, 1.0)
    for other in (v[:1], v[:, :1], v[None], v[0], v[..., None], t):
        says = f"v of shape {tuple(other.shape)} for x_t of shape (4, 3) is refused"
        expect.raises("ValueError", lambda o=other: call(their, x_t, t, o), says)
    for other in (t[0], t[:1], t[:3], t[:, None]):
        says = f"t of shape {tuple(other.shape)} for 4 examples is refused"
        expect.raises("ValueError", lambda o=other: call(their, x_t, o, v), says)
    flow = student.new("given.processes.rectified_flow")
    exploding = student.new("given.processes.variance_exploding")
    x, noise = (student.function(f"given.processes.{n}") for n in ("X", "NOISE"))
    for says, form in (
        ("a prediction of x", (flow, x)),
        ("a process with noise left at t = 0", (exploding, noise)),
        ("a prediction of the noise at a = 0", (flow, noise)),
    ):
        expect.raises("ValueError", lambda f=form: call(their, x_t, t, v, *f), f"{says} is refused")


# --- consistency.mean_flow_target ---------------------------------------------------------------


def exact_mean(truth, x_t, t, s, y=None):
    """(x_t − x_s) / (t − s) of a Gaussian's paths, (x_t − (1 − t) mean) / σ_t = e."""
    e = (x_t - truth.at(torch.zeros_like(x_t), t, y=y)) / column(truth.spread(FLOW, t), x_t)
    return (x_t - truth.at(e, s, y=y)) / column(t - s, x_t)


def goal_of(student, net, x_t, t, s, v, **more):
    found = student.consistency.mean_flow_target(net, x_t, t, s, v, **more)
    return expect.tensor(found, x_t.shape, "the target")


def two_levels(generator, n, low=0.3):
    t = uniform(generator, n, low, 1.0)
    return t, t * uniform(generator, n, 0.0, 0.9)


@mean_flow_target(weight=4)
def test_the_exact_mean_velocity_is_its_own_target(student, generator):
    """for the exact mean velocity of a Gaussian and its exact velocity the target is u itself"""
    for classes in (1, 3):
        truth, e = Gaussian(generator, 2, classes=classes), normal(generator, 6, 2)
        t, s = two_levels(generator, 6)
        s[0], t[1] = 0, 1
        y = torch.randint(0, classes, (6,), generator=generator) if classes > 1 else None
        x_t = truth.at(e, t, y=y)
        net = student.new("checking.fakes.GaussianMean", truth.means, truth.S)
        how = {} if y is None else {"y": y}
        found = goal_of(student, net, x_t, t, s, truth.velocity(x_t, t, y=y), **how)
        want = exact_mean(truth, x_t, t, s, y)
        says = "u = v − (t − s) du/dt holds for (x_t − x_s) / (t − s)"
        expect.close(found, want, says, what="the target", atol=1e-9, rtol=1e-9)


@mean_flow_target(weight=2)
def test_the_mean_velocity_of_a_mixture(student, generator):
    """for the mean velocity of two bumps, found by walking along the exact flow, it is u itself"""
    net, v, x_t, t = bumps(student, generator)
    s = t * uniform(generator, 4, 0.0, 0.8)
    mean = student.new("checking.fakes.Carried", net, 12)
    found = goal_of(student, mean, x_t, t, s, v)
    want = mean(x_t, t, s)
    expect.close(found, want, "the mean of v along the path", what="the target", atol=1e-3, rtol=0)


@mean_flow_target(weight=3)
def test_for_equal_levels_it_is_v(student, generator):
    """where s = t it is v: rectified flow"""
    _, weights = bent(generator, 2)
    x_t, v = normal(generator, 5, 3), normal(generator, 5, 3)
    t = levels(0.0, 0.3, 0.5, 0.9, 1.0)
    their = theirs(student, weights, 2)
    found = goal_of(student, their, x_t, t, t.clone(), v)
    expect.close(found, v, "s = t: v", what="the target", atol=0, rtol=1e-15)
    s = levels(0.0, 0.1, 0.5, 0.0, 1.0)
    found = goal_of(student, their, x_t, t, s, v)
    same = s == t
    says = "s = t for some examples, beside others"
    expect.close(found[same], v[same], says, what="the target", atol=0, rtol=1e-15)
    away = (found - v)[~same].abs().amax(1)
    expect.true(bool((away > 1e-3).all()), "where s is below t it is not v", away)


def goal_by_hand(net, x_t, t, s, v, y=None):
    more = [] if y is None else [y]
    return v - column(t - s, x_t) * along(lambda x, t: net(x, t, s, *more), x_t, t, v)


@mean_flow_target(weight=3)
def test_for_any_network_it_is_the_right_side(student, generator):
    """for any network it is v − (t − s) du/dt, in which s stays, to every digit"""
    for size in (1.0, 1.0, 1e3):
        net, weights = bent(generator, 2)
        x_t, v = size * normal(generator, 5, 2), size * normal(generator, 5, 2)
        t, s = two_levels(generator, 5)
        s[0], t[1], s[2] = 0, 1, t[2] - 1e-4
        found = goal_of(student, theirs(student, weights, 2), x_t, t, s, v)
        want = goal_by_hand(net, x_t, t, s, v)
        expect.close(found, want, "v − (t − s) du/dt", what="the target", **of_size(want))


@mean_flow_target(weight=2)
def test_finite_differences_of_u(student, generator):
    """(v − target) / (t − s) is how fast u changes along (v, 1), in small steps of x_t and t"""
    net, weights = bent(generator, 2)
    x_t, v = normal(generator, 5, 2), normal(generator, 5, 2)
    t, s = two_levels(generator, 5)
    found = goal_of(student, theirs(student, weights, 2), x_t, t, s, v)

    def u(h):
        with torch.no_grad():
            return net(x_t + h * v, t + h, s)

    h = 1e-3
    want = (8 * (u(h) - u(-h)) - (u(2 * h) - u(-2 * h))) / (12 * h)
    rate = (v - found) / (t - s)[:, None]
    expect.close(
        rate, want, "du/dt with s fixed", what="(v − target) / (t − s)", atol=1e-6, rtol=1e-6
    )


@mean_flow_target(weight=2)
def test_each_part_of_the_derivative(student, generator):
    """s has no tangent, v = 0 leaves −(t − s) ∂u/∂t, and a constant u leaves v"""
    x_t, v = normal(generator, 4, 3), normal(generator, 4, 3)
    t, s = two_levels(generator, 4)
    says = "u = sin(s), which stays as it is along a path"
    of_s = theirs(student, {"w": levels(1, 0, 0, 1, 0, 0, 0, 0)}, 2)
    expect.close(goal_of(student, of_s, x_t, t, s, v), v, says, what="the target", **DOUBLE)
    of_t = theirs(student, {"w": levels(1, 0, 1, 0, 0, 0, 0, 0)}, 2)
    want = v - ((t - s) * t.cos())[:, None]
    says = "u = sin(t): v − (t − s) cos(t)"
    expect.close(goal_of(student, of_t, x_t, t, s, v), want, says, what="the target", **DOUBLE)
    of_x = theirs(student, {"w": levels(1, 1, 0, 0, 0, 0, 0, 0)}, 2)
    want = v - (t - s)[:, None] * x_t.cos() * v
    says = "u = sin(x_t): v − (t − s) cos(x_t) v"
    expect.close(goal_of(student, of_x, x_t, t, s, v), want, says, what="the target", **DOUBLE)
    net, weights = bent(generator, 2)
    want = goal_by_hand(net, x_t, t, s, 0 * v)
    found = goal_of(student, theirs(student, weights, 2), x_t, t, s, 0 * v)
    expect.close(found, want, "v = 0: −(t − s) ∂u/∂t", what="the target", **of_size(want))


@mean_flow_target
def test_conditions_reach_the_mean_velocity(student, generator):
    """y reaches the network, of labels, of a label of 0 and of words"""
    for y in (
        torch.tensor([4, 0, 2]),
        torch.zeros(3, dtype=torch.int32),
        normal(generator, 3, 2, 2),
    ):
        net, weights = bent(generator, 2)
        x_t, v = normal(generator, 3, 2), normal(generator, 3, 2)
        t, s = two_levels(generator, 3)
        their = theirs(student, weights, 2)
        found = goal_of(student, their, x_t, t, s, v, y=y)
        want = goal_by_hand(net, x_t, t, s, v, y)
        expect.close(found, want, "the target for y", what="the target", **of_size(want))
        goal_of(student, their, x_t, t, s, v)
        calls, told = their.get("calls"), their.get("told")
        expect.true(told < calls, "a condition was passed, though none was given")


@mean_flow_target
def test_targets_of_every_form(student, generator):
    """numbers, points and images, one and several; float32 stays float32"""
    for shape in SHAPES:
        net, weights = bent(generator, 2)
        x_t, v = 20 * normal(generator, *shape), 20 * normal(generator, *shape)
        t, s = two_levels(generator, shape[0])
        their = theirs(student, weights, 2)
        found = goal_of(student, their, x_t, t, s, v)
        want = goal_by_hand(net, x_t, t, s, v)
        expect.close(found, want, f"x_t of shape {shape}", what="the target", **of_size(want))
        found = goal_of(student, their, *(k.float() for k in (x_t, t, s, v)))
        expect.true(found.dtype == torch.float32, "float32 stays float32", found.dtype)
        expect.close(found, want, "float32", what="the target", **of_size(want, 1e-3))


@mean_flow_target
def test_the_target_has_no_graph(student, generator):
    """it has no graph, and is the same under torch.no_grad()"""
    net, weights = bent(generator, 2)
    x_t, v = normal(generator, 4, 2), normal(generator, 4, 2)
    t, s = two_levels(generator, 4)
    their = theirs(student, weights, 2)
    args, name = (their, x_t, t, s, v), "consistency.mean_flow_target"
    nothing_learns(student, name, args, [x_t, t, s, v, their])
    without_gradients(student, name, args, goal_by_hand(net, x_t, t, s, v))
    net, their = in_use(student, generator, 2)
    found, want = goal_of(student, their, x_t, t, s, v), goal_by_hand(net, x_t, t, s, v)
    expect.close(found, want, "of a network in use", what="the target", **of_size(want))


def misfits(x_t, t, s):
    """Levels that fit no examples, or do not fall."""
    above, below = s.clone(), s.clone()
    above[2], below[1] = t[2] + 1e-6, -1e-6
    return {
        "s above t for one example": (t, above),
        "s below 0 for one example": (t, below),
        "s and t exchanged": (s, t),
        "NaN for s": (t, s * math.nan),
        "one s for all": (t, s[0]),
        "s of shape (1,)": (t, s[:1] / 9),
        "s with another axis": (t, s[:, None]),
        "t of shape (1,)": (t[:1], s[:1]),
        "t and s with another axis": (t[:, None], s[:, None]),
    }


@mean_flow_target
def test_what_does_not_fit_a_target_is_refused(student, generator):
    """levels that rise or do not fit, and a v of another shape are refused"""
    _, weights = bent(generator, 2)
    their, call = theirs(student, weights, 2), student.consistency.mean_flow_target
    x_t, v = normal(generator, 4, 3), normal(generator, 4, 3)
    t, s = two_levels(generator, 4)
    for says, (high, low) in misfits(x_t, t, s).items():
        expect.raises(
            "ValueError", lambda a=high, b=low: call(their, x_t, a, b, v), f"{says} is refused"
        )
    for other in (v[:1], v[:, :1], v[None], v[0], v[..., None]):
        says = f"v of shape {tuple(other.shape)} for x_t of shape (4, 3) is refused"
        expect.raises("ValueError", lambda o=other: call(their, x_t, t, s, o), says)


# --- consistency.shortcut_target ----------------------------------------------------------------


class Asked:
    """A mean velocity that remembers what it is asked: (x_t, t, s) and y."""

    def __init__(self, net):
        self.net, self.calls, self.conditions = net, [], []

    def __call__(self, x_t, t, s, *y):
        self.calls.append([v.detach().clone() for v in (x_t, t, s)])
        self.conditions.append(y[0] if y else None)
        with torch.no_grad():
            return self.net(x_t, t, s, *y)


def halves(student, net, x_t, t, s, *y):
    found = student.consistency.shortcut_target(net, x_t, t, s, *y)
    return expect.tensor(found, x_t.shape, "the target")


def two_halves(net, x_t, t, s, *y):
    """Where two steps lead, over the length of both."""
    with torch.no_grad():
        middle, half = (t + s) / 2, column(t - s, x_t) / 2
        x_m = x_t - half * net(x_t, t, middle, *y)
        x_s = x_m - half * net(x_m, middle, s, *y)
    return (x_t - x_s) / (2 * half)


@shortcut_target(weight=4)
def test_two_exact_halves_are_the_exact_whole(student, generator):
    """for the exact mean velocity of a Gaussian it is the exact one of the long step"""
    for classes in (1, 3):
        truth, e = Gaussian(generator, 2, classes=classes), normal(generator, 6, 2)
        t, s = two_levels(generator, 6)
        s[0], t[1] = 0, 1
        y = [torch.randint(0, classes, (6,), generator=generator)] if classes > 1 else []
        x_t = truth.at(e, t, y=y[0] if y else None)
        net = Asked(fakes.GaussianMean(truth.means, truth.S))
        found = halves(student, net, x_t, t, s, *y)
        want = exact_mean(truth, x_t, t, s, y[0] if y else None)
        says = "x_t to x_m to x_s is the way from x_t to x_s"
        expect.close(found, want, says, what="the target", atol=1e-9, rtol=1e-9)


@shortcut_target(weight=2)
def test_two_halves_of_a_mixture(student, generator):
    """for the exact mean velocity of a mixture it is the exact one of the long step"""
    means, sizes = 2 * normal(generator, 3, 1), uniform(generator, 3, 0.1, 0.5)
    truth = GaussianMixture(uniform(generator, 3, 0.5, 1.5), means, sizes[:, None, None])
    t, s = two_levels(generator, 6)
    x_t = (1 - t)[:, None] * truth.sample(6, generator) + t[:, None] * normal(generator, 6, 1)

    def net(x, t, s):
        return mean_velocity(truth, x, t, s)

    found = halves(student, net, x_t, t, s)
    says = "the mean velocity of F_s⁻¹(F_t(x_t)), which keeps quantiles"
    expect.close(found, net(x_t, t, s), says, what="the target", atol=1e-7, rtol=1e-7)


@shortcut_target(weight=3)
def test_the_way_of_two_steps(student, generator):
    """for any network it is the way of two steps over t − s"""
    for size in (1.0, 1.0, 1e3):
        net, _ = bent(generator, 2)
        x_t = size * normal(generator, 5, 2)
        t, s = two_levels(generator, 5)
        s[0], t[1] = 0, 1
        found = halves(student, Asked(net), x_t, t, s)
        want = two_halves(net, x_t, t, s)
        expect.close(found, want, "(x_t − x_s) / (t − s)", what="the target", **of_size(want))


@shortcut_target(weight=3)
def test_what_the_mean_velocity_is_asked(student, generator):
    """it is asked twice: from t to the middle at x_t, from the middle to s at x_m"""
    net, _ = bent(generator, 2)
    x_t = normal(generator, 4, 2)
    t, s = levels(1.0, 0.8, 0.5, 0.3), levels(0.0, 0.2, 0.1, 0.29)
    model = Asked(net)
    halves(student, model, x_t, t, s)
    expect.true(len(model.calls) == 2, "calls of the network", len(model.calls), 2)
    middle = (t + s) / 2
    with torch.no_grad():
        x_m = x_t - (t - middle)[:, None] * net(x_t, t, middle)
    for k, want in enumerate(((x_t, t, middle), (x_m, middle, s))):
        for name, got, right in zip(("x", "t", "s"), model.calls[k], want, strict=True):
            expect.close(got, right, f"{name} of call {k + 1}", what=name, **DOUBLE)


@shortcut_target(weight=2)
def test_the_first_order_of_a_velocity(student, generator):
    """a velocity that does not look at s takes two Euler steps: twice as near as one"""
    truth, e = Gaussian(generator, 2), normal(generator, 6, 2)
    t = uniform(generator, 6, 0.5, 0.9)
    x_t = truth.at(e, t)

    def net(x, t, s):
        return truth.velocity(x, t)

    errors = []
    for gap in (0.04, 0.02, 0.01):
        found = halves(student, net, x_t, t, t - gap)
        one = (truth.velocity(x_t, t) - exact_mean(truth, x_t, t, t - gap)).abs().max()
        two = (found - exact_mean(truth, x_t, t, t - gap)).abs().max()
        errors.append(float(one / two))
    told = ", ".join(f"{v:.3g}" for v in errors)
    says = "two Euler steps must be about twice as near to the path as one"
    expect.true(all(1.7 < v < 2.3 for v in errors), says, told)


@shortcut_target(weight=2)
def test_conditions_reach_both_calls(student, generator):
    """y reaches both calls as it came, and none is made up"""
    x_t = normal(generator, 3, 2)
    t, s = two_levels(generator, 3)
    for y in (
        torch.tensor([4, 0, 2]),
        torch.zeros(3, dtype=torch.int32),
        normal(generator, 3, 2, 2),
    ):
        net, _ = bent(generator, 2)
        model = Asked(net)
        found = halves(student, model, x_t, t, s, y)
        want = two_halves(net, x_t, t, s, y)
        expect.close(found, want, "the target for y", what="the target", **of_size(want))
        for seen in model.conditions:
            expect.true(seen is not None, "the condition does not reach a call")
            expect.close(seen, y, "the condition changed on the way", atol=0, rtol=0)
            expect.true(seen.dtype == y.dtype, "the condition's dtype", seen.dtype, y.dtype)
    model = Asked(net)
    halves(student, model, x_t, t, s)
    none = all(seen is None for seen in model.conditions)
    expect.true(none, "a condition was passed, though none was given")


@shortcut_target
def test_shortcuts_of_every_form(student, generator):
    """numbers, points and images, one and several; float32 stays float32"""
    for shape in SHAPES:
        net, _ = bent(generator, 2)
        x_t = 20 * normal(generator, *shape)
        t, s = two_levels(generator, shape[0])
        found = halves(student, Asked(net), x_t, t, s)
        want = two_halves(net, x_t, t, s)
        expect.close(found, want, f"x_t of shape {shape}", what="the target", **of_size(want))
        found = halves(student, Asked(net), x_t.float(), t.float(), s.float())
        expect.true(found.dtype == torch.float32, "float32 stays float32", found.dtype)
        expect.close(found, want, "float32", what="the target", **of_size(want, 1e-3))


@shortcut_target
def test_the_shortcut_has_no_graph(student, generator):
    """it has no graph, and the network learns nothing from it"""
    net, weights = bent(generator, 2)
    x_t = normal(generator, 4, 2)
    t, s = two_levels(generator, 4)
    their = theirs(student, weights, 2)
    name = "consistency.shortcut_target"
    nothing_learns(student, name, (their, x_t, t, s), [x_t, t, s, their])
    want = two_halves(net, x_t, t, s)
    expect.close(halves(student, their, x_t, t, s), want, "a network", **of_size(want))
    net, their = in_use(student, generator, 2)
    found, want = halves(student, their, x_t, t, s), two_halves(net, x_t, t, s)
    expect.close(found, want, "a network in use", what="the target", **of_size(want))


@shortcut_target
def test_what_is_no_shortcut_is_refused(student, generator):
    """levels that do not fall or do not fit are refused"""
    net, _ = bent(generator, 2)
    call, x_t = student.consistency.shortcut_target, normal(generator, 4, 3)
    t, s = two_levels(generator, 4)
    equal = s.clone()
    equal[3] = t[3]
    wrong = misfits(x_t, t, s) | {"s = t for one example": (t, equal)}
    for says, (high, low) in wrong.items():
        expect.raises(
            "ValueError", lambda a=high, b=low: call(Asked(net), x_t, a, b), f"{says} is refused"
        )
    near = t - 1e-6
    found = halves(student, Asked(net), x_t, t, near)
    want = two_halves(net, x_t, t, near)
    expect.close(found, want, "levels next to each other are allowed", atol=1e-8, rtol=1e-8)
