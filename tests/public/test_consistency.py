"""Public checks of chapter 12, jumps to the data."""

import math

import pytest
import torch

from cs231n_gen.checking import expect, fakes
from cs231n_gen.given import processes
from cs231n_gen.given.processes import NOISE, Target, X, preconditioned, trigflow, velocity

function = pytest.mark.exercise("consistency.function")
loss = pytest.mark.exercise("consistency.loss")
tangent = pytest.mark.exercise("consistency.tangent", graph=False)
mean_flow_target = pytest.mark.exercise("consistency.mean_flow_target", graph=False)
shortcut_target = pytest.mark.exercise("consistency.shortcut_target", graph=False)

DOUBLE = {"atol": 1e-10, "rtol": 1e-10}
FLOW, EDM = processes.rectified_flow(), processes.edm(4.0)
# One of the tests' own: a = 1.5 (1 − t)(1 + t / 2), b = 0.6 t (1 + t / 2).
OWN, TARGET = fakes.CurvedProcess(1.5, 0.6, 0.5, 0.5), fakes.CurvedTarget(0.5, 1.0, 1.2, 0.3)
FORMS = {
    "rectified flow": (FLOW, velocity(FLOW)),
    "EDM": (EDM, preconditioned(EDM, 0.5)),
    "TrigFlow": trigflow(0.5),
    "a process of its own": (OWN, TARGET),
    "linear β and the noise": (processes.variance_preserving(), NOISE),
}
SHAPES = [(5,), (1, 3), (3, 3), (2, 3, 2, 2)]


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def spread(generator, n, low, high):
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


def levels(*values):
    return torch.tensor(values, dtype=torch.float64)


def column(value, x):
    """One number for each example, shaped to multiply x."""
    return value.reshape(-1, *[1] * (x.dim() - 1))


def bent(generator, count=1):
    """A model of the test's own, and its weights."""
    net = fakes.Wavy(count)
    weights = {"w": 0.4 + 0.6 * torch.rand(8, generator=generator, dtype=torch.float64)}
    net.load_state_dict(weights)
    return net, weights


def theirs(student, weights, count=1):
    """The same model, so that gradients reach its weights."""
    net = student.new("checking.fakes.Wavy", count)
    net.load(weights)
    return net


def recorded(net):
    """The same model, which remembers what it is asked."""

    def field(x_t, t, y):
        with torch.no_grad():
            return net(x_t, t.flatten(), *([] if y is None else [y]))

    return fakes.Recorder(field)


def of_size(want, off=1e-9):
    """Tolerances for numbers of this size."""
    return {"atol": off * max(1.0, float(want.abs().max())), "rtol": off}


def in_use(student, generator, count=1):
    """A model in the middle of a training: gradients lie in its weights, and its mode is eval. What
    a call leaves otherwise is noted for the shared properties."""
    net, weights = bent(generator, count)
    their = theirs(student, weights, count)
    their.call("put_to_use")
    return net, their


def end_of(model, x_t, t, process, target, y=None):
    """(d x_t − b F) / (a d − b c)."""
    of = process.a, process.b, target.c, target.d
    a, b, c, d = (column(f(t), x_t) for f in of)
    told = model(x_t, t) if y is None else model(x_t, t, y)
    return (d * x_t - b * told) / (a * d - b * c)


# --- consistency.function -----------------------------------------------------------------------


def f_of(student, model, x_t, t, *how, **more):
    found = student.consistency.function(model, x_t, t, *how, **more)
    return expect.tensor(found, x_t.shape, "f")


@function
def test_the_boundary_holds_for_any_network(student, generator):
    """at t = 0 it is x_t / a for any network, in every form"""
    x_t, wild, nothing = normal(generator, 3, 2), normal(generator, 3, 2), levels(0, 0, 0)
    for name, (process, target) in FORMS.items():
        model = fakes.Recorder(lambda x, t, y: 1e4 * wild)
        want = x_t / column(process.a(nothing), x_t)
        found = f_of(student, model, x_t, nothing, process, target)
        says = f"with {name}: b = 0 there, so the network counts for nothing"
        expect.close(found, want, says, what="f", **DOUBLE)
        says = "calls of the network where all levels are 0"
        expect.true(len(model.times) == 1, says, len(model.times), 1)
    found = f_of(student, fakes.constant(7.0), x_t, levels(0, 0.5, 1))
    want = x_t - 7 * levels(0, 0.5, 1)[:, None]
    expect.close(found, want, "t = 0 beside other levels", what="f", **DOUBLE)


@function
def test_rectified_flow_by_default(student):
    """without a process and a target it is x_t − t F"""
    x_t, t = levels([1.0, 2.0], [0.0, -1.0]), levels(0.5, 0.25)
    found = f_of(student, fakes.constant(4.0), x_t, t)
    says = "F = 4: from 1 and 2 at t = ½ to −1 and 0, from 0 and −1 at t = ¼ to −1 and −2"
    expect.close(found, levels([-1, 0], [-1, -2]), says, what="f", **DOUBLE)


@function
def test_three_forms_from_the_literature(student, generator):
    """EDM's c_skip x_t + c_out F, and TrigFlow's cos θ x_t − σ_d sin θ F"""
    net, _ = bent(generator)
    x_t, t, S = normal(generator, 4, 2), levels(0.0, 0.3, 0.8, 1.0), 0.5
    with torch.no_grad():
        told, sigma, angle = net(x_t, t), 4 * t[:, None], math.pi / 2 * t[:, None]
    root = (sigma**2 + S**2).sqrt()
    found = f_of(student, recorded(net), x_t, t, *FORMS["EDM"])
    says = "c_skip = σ_d² / (σ² + σ_d²), c_out = σ σ_d / √(σ² + σ_d²)"
    want = S**2 / root**2 * x_t + sigma * S / root * told
    expect.close(found, want, says, what="f", **DOUBLE)
    found = f_of(student, recorded(net), x_t, t, *FORMS["TrigFlow"])
    want = angle.cos() * x_t - S * angle.sin() * told
    expect.close(found, want, "θ = π t / 2 and σ_d = ½", what="f", **DOUBLE)


@function
def test_all_of_a_path_has_one_end(student, generator):
    """with the exact F for a Gaussian all of a path has one answer, its end"""
    mean, S, e = normal(generator, 1, 2), 0.6, normal(generator, 4, 2)
    for name, (process, target) in FORMS.items():
        net = recorded(fakes.GaussianJump(mean, S, process, target))
        for t in (spread(generator, 4, 0.1, 0.5), spread(generator, 4, 0.5, 0.9)):
            a, b = column(process.a(t), e), column(process.b(t), e)
            x_t = a * mean + (a**2 * S**2 + b**2).sqrt() * e
            found = f_of(student, net, x_t, t, process, target)
            says = f"with {name}: x_t = a μ + √(a² s² + b²) e ends at μ + s e"
            expect.close(found, mean + S * e, says, what="f", atol=1e-9, rtol=1e-9)


@function
def test_what_the_network_is_asked(student, generator):
    """the network is called once, with x_t, the levels and the condition as they came"""
    x_t, t, y = normal(generator, 3, 2), levels(0.2, 1e-9, 0.9), torch.tensor([4, 0, 2])
    faint = Target(lambda t: -1e-5 * torch.ones_like(t), lambda t: 1e-5 * torch.ones_like(t))
    for process, target in (*FORMS.values(), (FLOW, faint)):
        for given in (None, y, 0 * y, normal(generator, 3, 2)):
            net, _ = bent(generator)
            model = recorded(net)
            found = f_of(student, model, x_t, t, process, target, given)
            expect.true(len(model.times) == 1, "calls of the network", len(model.times), 1)
            expect.close(model.inputs[0], x_t, "x_t as it came", atol=0, rtol=0)
            expect.close(model.times[0], t, "the levels as they came", atol=0, rtol=0)
            seen = model.conditions[0]
            if given is None:
                expect.true(seen is None, "a condition was passed, though none was given")
            else:
                expect.true(seen is not None, "the condition does not reach the network")
                expect.close(seen, given, "the condition as it came", atol=0, rtol=0)
                expect.true(seen.dtype == given.dtype, "the condition's dtype changed", seen.dtype)
            with torch.no_grad():
                want = end_of(net, x_t, t, process, target, given)
            expect.close(found, want, "the data that F stands for", what="f", **of_size(want))


@function
def test_examples_of_every_form(student, generator):
    """numbers, points and images, each at its own level, in float32 and float64"""
    for shape, (name, (process, target)) in zip(SHAPES * 2, FORMS.items(), strict=False):
        net, _ = bent(generator)
        x_t, t = 30 * normal(generator, *shape), spread(generator, shape[0], 0.1, 0.9)
        with torch.no_grad():
            want = end_of(net, x_t, t, process, target)
        found = f_of(student, recorded(net), x_t, t, process, target)
        off = {"atol": 1e-11 * max(1.0, float(want.abs().max())), "rtol": 1e-11}
        expect.close(found, want, f"x_t of shape {shape}, with {name}", what="f", **off)
        found = f_of(student, recorded(net), x_t.float(), t.float(), process, target)
        expect.true(found.dtype == torch.float32, "f of float32 is float32", found.dtype)


@function
def test_gradients_flow_through(student, generator):
    """gradients flow into x_t, the levels and the weights of the network"""
    for name, (process, target) in FORMS.items():
        net, weights = bent(generator)
        x_t, t, weigh = normal(generator, 3, 2), levels(0.3, 0.5, 0.8), normal(generator, 3, 2)
        their = theirs(student, weights)
        y = torch.tensor([2, 0, 1]) if name == "TrigFlow" else None
        value = f_of(student, their, x_t, t, process, target, y=y)
        with torch.no_grad():
            right = end_of(net, x_t, t, process, target, y)
        says = f"f of a network, with {name}"
        expect.close(value, right, says, what="f", **of_size(right))
        how = [student.function("consistency.function"), weigh, their, x_t, t, process, target, y]
        found = student.gradient("checking.fakes.weighted", *how, wrt=[x_t, t, their])
        leaves = [v.clone().requires_grad_() for v in (x_t, t)]
        total = (weigh * end_of(net, *leaves, process, target, y)).sum()
        want = torch.autograd.grad(total, [*leaves, net.w])
        triples = zip(("x_t", "t", "w"), (*found[:2], found[2]["w"]), want, strict=True)
        for what, got, right in triples:
            says = f"the gradient in {what}, with {name}"
            expect.true(got is not None, f"no gradient arrives: {says}")
            expect.close(got, right, says, what="gradient", atol=1e-8, rtol=1e-8)


@function
def test_a_network_in_use(student, generator):
    """a network in the middle of a training is left as it is, in either mode"""
    x_t, t = normal(generator, 3, 2), levels(0.2, 0.5, 0.8)
    net, their = in_use(student, generator)
    other, weights = bent(generator)
    for here, there in ((net, their), (other, theirs(student, weights))):
        with torch.no_grad():
            want = x_t - t[:, None] * here(x_t, t)
        expect.close(f_of(student, there, x_t, t), want, "x_t − t F", what="f", **DOUBLE)


@function
def test_forms_without_a_boundary_are_refused(student, generator):
    """a form in which b(0) is not 0 or d(0) is 0 is refused, and what does not fit"""
    call, x_t, t = student.consistency.function, normal(generator, 3, 2), levels(0.3, 0.5, 1.0)
    exploding = processes.variance_exploding(1e-6, 1.0)
    for says, process, target in (
        ("a prediction of x", FLOW, X),
        ("a target with d(0) = 0", FLOW, Target(c=torch.ones_like, d=lambda t: t)),
        ("a process with noise left at t = 0", exploding, NOISE),
        ("a prediction of the noise where a = 0", FLOW, NOISE),
    ):
        expect.raises(
            "ValueError",
            lambda p=process, k=target: call(fakes.linear(1.0), x_t, t, p, k),
            f"ValueError for {says}: leave the line above yours as it is, and find x̂ by "
            "to_x_and_noise",
        )
    cut, same = fakes.Recorder(lambda x, t, y: x[:, :1]), fakes.linear(1.0)
    for says, model, level in (
        ("a prediction that is not shaped like x_t", cut, t),
        ("one level for all", same, t[0]),
        ("levels with another axis", same, t[:, None]),
    ):
        says = f"ValueError for {says}"
        expect.raises("ValueError", lambda m=model, v=level: call(m, x_t, v), says)
    negative = Target(c=torch.ones_like, d=lambda t: -1 - t)
    found = f_of(student, fakes.linear(0.5), x_t, t, OWN, negative)
    want = end_of(fakes.linear(0.5), x_t[:2], t[:2], OWN, negative)
    expect.close(found[:2], want, "d(0) < 0 is a form too", what="f", atol=1e-8, rtol=1e-8)


# --- consistency.loss ---------------------------------------------------------------------------


def case(generator, *shape):
    """Data, noise and two levels for each example, with gaps of every size."""
    x, z = 1 + normal(generator, *shape), normal(generator, *shape)
    t = spread(generator, shape[0], 0.3, 1.0)
    return x, z, t, t * spread(generator, shape[0], 0.1, 0.95)


def disagreement(model, x, z, t, s, teacher=None, average=None, y=None, huber=0.0):
    """The loss by its formula, with a graph through f(x_t, t)."""
    more, t_, s_ = ([] if y is None else [y]), column(t, x), column(s, x)
    x_t = (1 - t_) * x + t_ * z
    x_s = x_t - (t_ - s_) * (z - x if teacher is None else teacher(x_t, t, *more))
    near = x_s - s_ * (average or model)(x_s, s, *more)
    far = x_t - t_ * model(x_t, t, *more)
    m = ((far - near.detach()) ** 2).flatten(1).mean(1)
    return ((m if huber == 0 else m / ((m + huber**2).sqrt() + huber)) / (t - s)).mean()


def plainly(*args, **how):
    with torch.no_grad():
        return disagreement(*args, **how)


def one_number(found):
    return expect.tensor(found, (), "the loss")


@loss
def test_without_a_teacher(student, generator):
    """without a teacher both points are on the line from x to z, and the target is f(x_s, s)"""
    # F = c: f = x_t − t c, and both answers differ by (t − s) (z − x − c)
    x, z, t, s = levels([1.0], [0.0]), levels([3.0], [4.0]), levels(0.75, 0.5), levels(0.25, 0.0)
    found = one_number(student.consistency.loss(fakes.constant(1.0), x, z, t, s))
    says = "F = 1 and gaps of ½: f differs by ½ and 1½, so the mean of m / (t − s) is 2.5"
    expect.close(found, 2.5, says, what="the loss", **DOUBLE)
    for shape in ((4, 3), (3, 1, 2, 2)):
        net, _ = bent(generator)
        args = case(generator, *shape)
        found = one_number(student.consistency.loss(recorded(net), *args))
        says = f"x of shape {shape}"
        expect.close(found, plainly(net, *args), says, what="the loss", **DOUBLE)


@loss
def test_with_a_teacher(student, generator):
    """with a teacher x_s is one Euler step of it away from x_t"""
    for shape in ((4, 3), (3, 1, 2, 2)):
        (net, _), (other, _) = bent(generator), bent(generator)
        x, z, t, s = case(generator, *shape)
        s[0], teacher = 0.0, recorded(other)  # at s = 0 the target is x_s, and not x
        found = one_number(student.consistency.loss(recorded(net), x, z, t, s, teacher))
        want = plainly(net, x, z, t, s, other)
        expect.close(found, want, "x_s = x_t − (t − s) v(x_t, t)", what="the loss", **DOUBLE)
        expect.true(len(teacher.times) == 1, "calls of the teacher", len(teacher.times), 1)
        x_t = x + column(t, x) * (z - x)
        expect.close(teacher.inputs[0], x_t, "the teacher is asked at x_t", **DOUBLE)
        expect.close(teacher.times[0], t, "the teacher is asked at t", atol=0, rtol=0)


@loss
def test_averaged_weights_answer_at_x_s(student, generator):
    """averaged weights answer for the target, at (x_s, s), and the student at (x_t, t)"""
    (net, _), (slow, _) = bent(generator), bent(generator)
    x, z, t, s = case(generator, 4, 2)
    model, average = recorded(net), recorded(slow)
    found = one_number(student.consistency.loss(model, x, z, t, s, average=average))
    want = plainly(net, x, z, t, s, average=slow)
    expect.close(found, want, "the target is f⁻(x_s, s)", what="the loss", **DOUBLE)
    for who, name, level in ((model, "the student", t), (average, "the averaged weights", s)):
        expect.true(len(who.times) == 1, f"calls of {name}", len(who.times), 1)
        where = x + level[:, None] * (z - x)
        expect.close(who.inputs[0], where, f"where {name} are asked", **DOUBLE)
        expect.close(who.times[0], level, f"the level {name} are asked at", atol=0, rtol=0)
    model, both = recorded(net), torch.cat([t, s]).sort().values
    student.consistency.loss(model, x, z, t, s)
    seen = torch.cat(model.times)
    says = "without averaged weights the student is asked at (x_t, t) and at (x_s, s), once each"
    expect.true(seen.shape == both.shape, says, len(seen), len(both))
    expect.close(seen.sort().values, both, says, what="the levels", atol=0, rtol=0)


@loss
def test_conditions_reach_every_model(student, generator):
    """conditions reach the student, the averaged weights and the teacher as they came"""
    x, z, t, s = case(generator, 3, 2)
    (net, _), (slow, _), (other, _) = (bent(generator) for _ in range(3))
    label = torch.tensor([3, 0, 1])
    for y in (label, 0 * label, normal(generator, 3, 2, 2), None):
        for teacher, average in ((other, slow), (None, None)):
            models = [None if m is None else recorded(m) for m in (net, teacher, average)]
            found = student.consistency.loss(models[0], x, z, t, s, *models[1:], y=y)
            want = plainly(net, x, z, t, s, teacher, average, y)
            says = "each model gets y if it is given, and nothing if it is not"
            expect.close(one_number(found), want, says, what="the loss", **DOUBLE)
            seen = [c for m in models if m for c in m.conditions]
            right = all((c is None) == (y is None) for c in seen)
            expect.true(right, says)
            if y is not None:
                kept = all(c.dtype == y.dtype and c.shape[1:] == y.shape[1:] for c in seen)
                expect.true(kept, "the condition changed on the way")


@loss
def test_the_gap_of_huber(student, generator):
    """with huber an example counts √(m + c²) − c, with 0 it counts m"""
    (net, _), (other, _) = bent(generator), bent(generator)
    args = case(generator, 4, 1, 2, 2)
    for c in (1e-3, 1.0, 4.0, 1, 0):
        for teacher in (None, other):
            told = None if teacher is None else recorded(teacher)
            found = student.consistency.loss(recorded(net), *args, told, huber=c)
            want = plainly(net, *args, teacher, huber=c)
            says = f"the mean of (√(m + c²) − c) / (t − s), here c = {c}"
            says = says if c else "the mean of m / (t − s)"
            expect.close(one_number(found), want, says, what="the loss", **DOUBLE)


@loss
def test_each_example_counts_by_its_own_gap(student, generator):
    """each example is divided by its own t − s, and all count alike"""
    t, s = levels(1.0, 0.9, 0.4), levels(0.0, 0.8, 0.3999)
    x, z = normal(generator, 3, 3), normal(generator, 3, 3)
    net, _ = bent(generator)
    each = []
    for i in range(3):
        alone = [v[i : i + 1] for v in (x, z, t, s)]
        each.append(plainly(net, *alone))
        found = one_number(student.consistency.loss(recorded(net), *alone))
        says = f"an example alone, from t = {t[i]:g} to s = {s[i]:g}"
        expect.close(found, each[-1], says, what="the loss", **DOUBLE)
    found = one_number(student.consistency.loss(recorded(net), x, z, t, s))
    says = "the loss of a batch is the mean of those of its examples"
    expect.close(found, torch.stack(each).mean(), says, what="the loss", **DOUBLE)


@loss
def test_the_exact_jump_and_the_exact_teacher(student, generator):
    """for the exact function and the exact velocity the loss vanishes as (t − s)³"""
    mean, S = normal(generator, 1, 2), 0.6
    t = levels(0.5, 0.6, 0.8, 0.9)
    x, z = mean + S * normal(generator, 4, 2), normal(generator, 4, 2)
    jump = recorded(fakes.GaussianJump(mean, S, FLOW, velocity(FLOW)))

    def exact(x_t, t, y):
        rate = (t - (1 - t) * S**2) / ((1 - t) ** 2 * S**2 + t**2)
        return -mean + rate * (x_t - (1 - t) * mean)

    found = []
    for gap in (0.02, 0.01):
        value = student.consistency.loss(jump, x, z, t, t - gap, fakes.Recorder(exact))
        found.append(float(one_number(value)))
    says = "an Euler step misses a path by (t − s)²: half the gap, an eighth of the loss"
    told = ", ".join(f"{v:.3g}" for v in found)
    expect.true(6 < found[0] / max(found[1], 1e-300) < 10, says, told)


@loss
def test_what_training_without_a_teacher_ends_at(student):
    """without a teacher training ends at N Euler steps: slopes of .341 and .456 for one of .5"""
    for N, end in ((4, 0.341), (16, 0.456)):
        offset, slope = [0.0], [1.0]
        for k in range(1, N + 1):
            t = k / N
            rate = (t - (1 - t) * 0.25) / ((1 - t) ** 2 * 0.25 + t**2)
            offset.append(offset[-1] + slope[-1] * (0.7 + rate * (1 - t) * 0.7) / N)
            slope.append(slope[-1] * (1 - rate / N))
        expect.close(slope[-1], end, "by hand", atol=5e-4, rtol=0)
        net = student.new("checking.fakes.LineAtEachLevel", N)
        net.load({"offset": levels(*offset), "slope": levels(*slope)})
        # four points with the moments of x ~ N(.7, .5²) and of z, at each level
        one, two = levels(1, 1, -1, -1), levels(1, -1, 1, -1)
        k = torch.arange(1, N + 1, dtype=torch.float64).repeat_interleave(4)
        x, z = (0.7 + 0.5 * one).repeat(N)[:, None], two.repeat(N)[:, None]
        args = net, x, z, k / N, (k - 1) / N
        (found,) = student.gradient("consistency.loss", *args, wrt=[net])
        for name, got in found.items():
            expect.true(got is not None, "no gradient reaches the weights")
            says = f"E[x_s | x_t] is one Euler step: there the mean gradient is 0 (of the {name}s)"
            expect.close(got, 0 * got, says, what="gradient", atol=1e-10, rtol=0)


@loss
def test_gradients_of_the_weights(student, generator):
    """gradients flow through f(x_t, t) into the student's weights, and nowhere else"""
    for huber, taught in ((0.0, True), (0.3, False), (0.0, False)):
        (net, w), (other, w_other), (slow, w_slow) = (bent(generator) for _ in range(3))
        x, z, t, s = case(generator, 4, 2)
        model, teacher, average = (theirs(student, v) for v in (w, w_other, w_slow))
        how = {"teacher": teacher, "average": average} if taught else {}
        wrt = [model, x, z, *how.values()]
        found = student.gradient("consistency.loss", model, x, z, t, s, wrt=wrt, huber=huber, **how)
        own = {"teacher": other, "average": slow} if taught else {}
        (want,) = torch.autograd.grad(disagreement(net, x, z, t, s, huber=huber, **own), net.w)
        expect.true(found[0]["w"] is not None, "no gradient reaches the student's weights")
        says = "the gradient of the formula in which f⁻ is a constant"
        expect.close(found[0]["w"], want, says, what="gradient", atol=1e-9, rtol=1e-9)
        names = ["x", "z", "the teacher", "the averaged weights"]
        for name, got in zip(names, found[1:], strict=False):
            got = got["w"] if isinstance(got, dict) else got
            expect.true(got is None or not got.any(), f"a gradient reaches {name}")


@loss
def test_networks_in_use(student, generator):
    """networks in the middle of a training are left as they are"""
    (net, their), (other, teacher), (slow, average) = (in_use(student, generator) for _ in range(3))
    args = case(generator, 4, 2)
    found = one_number(student.consistency.loss(their, *args, teacher, average))
    want = plainly(net, *args, teacher=other, average=slow)
    expect.close(found, want, "of networks in use", what="the loss", **DOUBLE)


@loss
def test_batches_of_every_form(student, generator):
    """points and images, s = 0 and t = 1 among the levels, in float32 and float64"""
    for shape in ((4, 1), (1, 3), (3, 3), (2, 3, 2, 2)):
        (net, _), (other, _) = bent(generator), bent(generator)
        x, z, t, s = case(generator, *shape)
        s[0], t[-1] = 0.0, 1.0
        args = x, z, t, s = 20 * x, 20 * z, t, s
        found = one_number(student.consistency.loss(recorded(net), x, z, t, s, huber=0.5))
        want = plainly(net, x, z, t, s, huber=0.5)
        expect.close(found, want, f"x of shape {shape}", what="the loss", **of_size(want))
        found = one_number(student.consistency.loss(recorded(net), 50 * x, z, t, s))
        want = plainly(net, 50 * x, z, t, s)
        expect.close(found, want, "x of numbers near 1000", what="the loss", **of_size(want))
        for huber, teacher in ((0.0, None), (0.5, other)):
            told = None if teacher is None else recorded(teacher)
            single = [v.float() for v in args]
            found = student.consistency.loss(recorded(net), *single, told, huber=huber)
            expect.true(one_number(found).dtype == torch.float32, "float32 stays", found.dtype)


@loss
def test_what_are_no_neighbours_is_refused(student, generator):
    """levels that do not fall, shapes that do not fit, and a huber below 0 are refused"""
    x, z, t, s = case(generator, 3, 2)
    call, equal = student.consistency.loss, s.clone()
    equal[1] = t[1]
    for says, args, huber in (
        ("s = t for one example", (x, z, t, equal), 0.0),
        ("s below 0", (x, z, t, -s), 0.0),
        ("an s of shape (1,)", (x, z, t, s[:1] / 9), 0.0),
        ("a z of another shape", (x, z[:, :1], t, s), 0.0),
        ("huber = −1", (x, z, t, s), -1.0),
    ):
        says = f"ValueError for {says}: leave the lines above yours as they are, and find x_t by "
        says += "interpolate"
        expect.raises(
            "ValueError", lambda a=args, c=huber: call(fakes.linear(0.5), *a, huber=c), says
        )


# --- consistency.tangent ------------------------------------------------------------------------


def along(f, x_t, t, v):
    """d/de f(x_t + e v, t + e) at e = 0."""

    def moved(e):
        return f(x_t + e * v, t + e)

    _, slope = torch.autograd.functional.jvp(moved, torch.zeros((), dtype=t.dtype))
    return slope.detach()


def tangent_of(net, x_t, t, v, process, target, y=None):
    return along(lambda x, t: end_of(net, x, t, process, target, y), x_t, t, v)


def slope_of(student, net, x_t, t, v, *form, **more):
    found = student.consistency.tangent(net, x_t, t, v, *form, **more)
    return expect.tensor(found, x_t.shape, "df/dt")


def flow_of(mean, S, x_t, t, process=FLOW):
    """The exact velocity for data from N(mean, S² I)."""
    of = process.a, process.b, process.da, process.db
    a, b, da, db = (column(f(t), x_t) for f in of)
    rate = (a * da * S**2 + b * db) / (a**2 * S**2 + b**2)
    return da * mean + rate * (x_t - a * mean)


@tangent
def test_it_is_0_on_the_exact_function(student, generator):
    """it is 0 on the exact function of a Gaussian along its exact flow, in every form"""
    mean, S, t = normal(generator, 1, 2), 0.6, levels(0.2, 0.5, 0.8, 0.9)
    for name, (process, target) in FORMS.items():
        x_t = normal(generator, 4, 2)
        net = student.new("checking.fakes.GaussianJump", mean, S, process, target)
        v = flow_of(mean, S, x_t, t, process)
        found = slope_of(student, net, x_t, t, v, process, target)
        says = f"f is the same along a path, with {name}"
        expect.close(found, 0 * x_t, says, what="df/dt", **of_size(v))
    x_t, v = normal(generator, 4, 2), normal(generator, 4, 2)
    net = student.new("checking.fakes.GaussianJump", mean, S, FLOW, velocity(FLOW))
    found = slope_of(student, net, x_t, t, flow_of(mean, S, x_t, t) + v)
    spread_t = ((1 - t) ** 2 * S**2 + t**2).sqrt()[:, None]
    says = "across the paths f changes by s / √((1 − t)² s² + t²)"
    expect.close(found, S / spread_t * v, says, what="df/dt", **DOUBLE)


@tangent
def test_any_network_form_and_direction(student, generator):
    """it is ∂f/∂x_t · v + ∂f/∂t of any network, to every digit, and no difference of neighbours"""
    for name, (process, target) in FORMS.items():
        net, weights = bent(generator)
        x_t, v, t = normal(generator, 4, 2), normal(generator, 4, 2), levels(0.2, 0.4, 0.7, 0.9)
        if name in ("rectified flow", "TrigFlow", "EDM"):
            t[0], t[3] = 0, 1
        their = theirs(student, weights)
        for size in (1.0, 1e3):
            found = slope_of(student, their, size * x_t, t, size * v, process, target)
            want = tangent_of(net, size * x_t, t, size * v, process, target)
            says = f"df/dt with {name}, of numbers near {size:g}"
            expect.close(found, want, says, what="df/dt", **of_size(want))


@tangent
def test_both_parts_of_the_chain_rule(student, generator):
    """v = 0 leaves ∂f/∂t, and a constant network leaves v − F"""
    net, weights = bent(generator)
    x_t, t, v = normal(generator, 3, 2), levels(0.2, 0.5, 0.8), normal(generator, 3, 2)
    still = slope_of(student, theirs(student, weights), x_t, t, 0 * v)
    want = along(lambda x, t: x - t[:, None] * net(x, t), x_t, t, 0 * v)
    expect.close(still, want, "v = 0: ∂f/∂t", what="df/dt", **of_size(want))
    flat = theirs(student, {"w": levels(0, 0, 0, 0, 0, 0, 0, 1)})
    y = torch.tensor([3, 0, -1])
    says = "F = y: f is x_t − t y, which changes by v − y"
    found = slope_of(student, flat, x_t, t, v, y=y)
    expect.close(found, v - y.double()[:, None], says, what="df/dt", **DOUBLE)


@tangent
def test_conditions_reach_the_network_of_a_tangent(student, generator):
    """y reaches the network, and none is made up"""
    x_t, t, v = normal(generator, 3, 2), levels(0.2, 0.5, 0.8), normal(generator, 3, 2)
    for y in (torch.tensor([4, 0, 2]), torch.zeros(3, dtype=torch.int64)):
        for form in (FORMS["rectified flow"], FORMS["TrigFlow"]):
            net, weights = bent(generator)
            their = theirs(student, weights)
            found = slope_of(student, their, x_t, t, v, *form, y=y)
            want = tangent_of(net, x_t, t, v, *form, y)
            expect.close(found, want, "df/dt for y", what="df/dt", **of_size(want))
            slope_of(student, their, x_t, t, v, *form)
            says = "a condition was passed, though none was given"
            expect.true(their.get("told") < their.get("calls"), says)


@tangent
def test_examples_of_every_form_move(student, generator):
    """numbers, points and images, each at its own level; float32 stays float32"""
    for shape, (name, (process, target)) in zip(SHAPES * 2, FORMS.items(), strict=False):
        net, weights = bent(generator)
        x_t, v = 20 * normal(generator, *shape), 20 * normal(generator, *shape)
        t, their = spread(generator, shape[0], 0.2, 0.9), theirs(student, weights)
        found = slope_of(student, their, x_t, t, v, process, target)
        want = tangent_of(net, x_t, t, v, process, target)
        says = f"x_t of shape {shape}, with {name}"
        expect.close(found, want, says, what="df/dt", **of_size(want))
        found = slope_of(student, their, x_t.float(), t.float(), v.float(), process, target)
        expect.true(found.dtype == torch.float32, "float32 stays float32", found.dtype)


def nothing_learns(student, name, args, wrt):
    found = student.gradient(name, *args, wrt=wrt)
    flat = [g for v in found for g in (v.values() if isinstance(v, dict) else [v])]
    expect.true(all(g is None for g in flat), "the result has a graph: it is a target, detach it")


def without_gradients(student, name, args, want):
    still = student.new("checking.fakes.WithoutGradients", student.function(name))
    found = expect.tensor(still(*args), want.shape, "the result")
    expect.close(found, want, "under torch.no_grad() it must be the same", **of_size(want))


@tangent
def test_it_has_no_graph(student, generator):
    """it has no graph, and is the same under torch.no_grad()"""
    net, weights = bent(generator)
    x_t, v, t = normal(generator, 3, 2), normal(generator, 3, 2), levels(0.3, 0.5, 0.8)
    their = theirs(student, weights)
    args, name = (their, x_t, t, v), "consistency.tangent"
    nothing_learns(student, name, args, [x_t, t, v, their])
    want = along(lambda x, t: x - t[:, None] * net(x, t), x_t, t, v)
    without_gradients(student, name, args, want)
    net, their = in_use(student, generator)
    want = along(lambda x, t: x - t[:, None] * net(x, t), x_t, t, v)
    expect.close(slope_of(student, their, x_t, t, v), want, "of a network in use", **of_size(want))


@tangent
def test_what_does_not_fit_a_tangent_is_refused(student, generator):
    """a v of another shape, levels that do not fit, and forms without a boundary are refused"""
    _, weights = bent(generator)
    their, call = theirs(student, weights), student.consistency.tangent
    x_t, v, t = normal(generator, 3, 2), normal(generator, 3, 2), levels(0.1, 0.5, 0.7)
    for says, args in (
        ("a v of another shape", (t, v[:, :1])),
        ("one v for all", (t, v[0])),
        ("one level for all", (t[0], v)),
        ("a prediction of x", (t, v, FLOW, X)),
        ("noise left at t = 0", (t, v, processes.variance_exploding(), NOISE)),
        ("a prediction of the noise where a = 0", (levels(0.1, 0.5, 1.0), v, FLOW, NOISE)),
    ):
        says = f"ValueError for {says}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda a=args: call(their, x_t, *a), says)


# --- consistency.mean_flow_target ---------------------------------------------------------------


def two_levels(generator, n):
    t = spread(generator, n, 0.3, 1.0)
    return t, t * spread(generator, n, 0.0, 0.9)


def goal_of(student, net, x_t, t, s, v, **more):
    found = student.consistency.mean_flow_target(net, x_t, t, s, v, **more)
    return expect.tensor(found, x_t.shape, "the target")


def goal_by_hand(net, x_t, t, s, v, y=None):
    more = [] if y is None else [y]
    return v - column(t - s, x_t) * along(lambda x, t: net(x, t, s, *more), x_t, t, v)


@mean_flow_target
def test_the_exact_mean_velocity_is_its_own_target(student, generator):
    """for the exact mean velocity of a Gaussian and its exact velocity the target is u itself"""
    mean, S, x_t = normal(generator, 1, 2), 0.6, normal(generator, 4, 2)
    t, s = levels(1.0, 0.8, 0.5, 0.6), levels(0.0, 0.2, 0.0, 0.5)
    net = student.new("checking.fakes.GaussianMean", mean, S)
    found = goal_of(student, net, x_t, t, s, flow_of(mean, S, x_t, t))
    at_t, at_s = (((1 - k) ** 2 * S**2 + k**2).sqrt()[:, None] for k in (t, s))
    x_s = (1 - s)[:, None] * mean + at_s / at_t * (x_t - (1 - t)[:, None] * mean)
    says = "u = v − (t − s) du/dt holds for (x_t − x_s) / (t − s)"
    want = (x_t - x_s) / (t - s)[:, None]
    expect.close(found, want, says, what="the target", **of_size(want))


@mean_flow_target
def test_for_equal_levels_it_is_v(student, generator):
    """where s = t it is v: rectified flow"""
    net, weights = bent(generator, 2)
    x_t, v, t = normal(generator, 4, 2), normal(generator, 4, 2), levels(0.0, 0.4, 0.8, 1.0)
    found = goal_of(student, theirs(student, weights, 2), x_t, t, t.clone(), v)
    expect.close(found, v, "s = t: v", what="the target", atol=0, rtol=1e-15)
    s = levels(0, 0.1, 0.8, 0.2)
    found = goal_of(student, theirs(student, weights, 2), x_t, t, s, v)
    says = "s = t for some examples, beside others"
    expect.close(found[[0, 2]], v[[0, 2]], says, what="the target", atol=0, rtol=1e-15)
    want = goal_by_hand(net, x_t, t, s, v)
    expect.close(found, want, f"{says}, where it is not v", what="the target", **DOUBLE)


@mean_flow_target
def test_for_any_network_it_is_the_right_side(student, generator):
    """for any network it is v − (t − s) du/dt, to every digit"""
    for size in (1.0, 1e3):
        net, weights = bent(generator, 2)
        x_t, v = size * normal(generator, 4, 2), size * normal(generator, 4, 2)
        t, s = two_levels(generator, 4)
        s[0], t[1], s[2] = 0, 1, t[2] - 1e-4
        found = goal_of(student, theirs(student, weights, 2), x_t, t, s, v)
        want = goal_by_hand(net, x_t, t, s, v)
        expect.close(found, want, "v − (t − s) du/dt", what="the target", **of_size(want))


@mean_flow_target
def test_each_part_of_the_derivative(student, generator):
    """s has no tangent, t has 1, x_t has v"""
    x_t, v = normal(generator, 3, 2), normal(generator, 3, 2)
    t, s = levels(0.5, 0.8, 1.0), levels(0.0, 0.1, 0.7)
    for says, weights, want in (
        ("u = sin(s), which stays: v", levels(1, 0, 0, 1, 0, 0, 0, 0), v),
        (
            "u = sin(t): v − (t − s) cos(t)",
            levels(1, 0, 1, 0, 0, 0, 0, 0),
            v - ((t - s) * t.cos())[:, None],
        ),
        (
            "u = sin(x_t): v − (t − s) cos(x_t) v",
            levels(1, 1, 0, 0, 0, 0, 0, 0),
            v - (t - s)[:, None] * x_t.cos() * v,
        ),
    ):
        net = theirs(student, {"w": weights}, 2)
        expect.close(goal_of(student, net, x_t, t, s, v), want, says, what="the target", **DOUBLE)


@mean_flow_target
def test_conditions_reach_the_mean_velocity(student, generator):
    """y reaches the network, and none is made up"""
    for y in (torch.tensor([4, 0, 2]), torch.zeros(3, dtype=torch.int64)):
        net, weights = bent(generator, 2)
        x_t, v = normal(generator, 3, 2), normal(generator, 3, 2)
        t, s = two_levels(generator, 3)
        their = theirs(student, weights, 2)
        found = goal_of(student, their, x_t, t, s, v, y=y)
        want = goal_by_hand(net, x_t, t, s, v, y)
        expect.close(found, want, "the target for y", what="the target", **of_size(want))
        goal_of(student, their, x_t, t, s, v)
        says = "a condition was passed, though none was given"
        expect.true(their.get("told") < their.get("calls"), says)


@mean_flow_target
def test_targets_of_every_form(student, generator):
    """numbers, points and images, each at its own levels; float32 stays float32"""
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


@mean_flow_target
def test_the_target_has_no_graph(student, generator):
    """it has no graph, and is the same under torch.no_grad()"""
    net, weights = bent(generator, 2)
    x_t, v = normal(generator, 3, 2), normal(generator, 3, 2)
    t, s = two_levels(generator, 3)
    their = theirs(student, weights, 2)
    args, name = (their, x_t, t, s, v), "consistency.mean_flow_target"
    nothing_learns(student, name, args, [x_t, t, s, v, their])
    without_gradients(student, name, args, goal_by_hand(net, x_t, t, s, v))
    net, their = in_use(student, generator, 2)
    found, want = goal_of(student, their, x_t, t, s, v), goal_by_hand(net, x_t, t, s, v)
    expect.close(found, want, "of a network in use", what="the target", **of_size(want))


@mean_flow_target
def test_what_does_not_fit_a_target_is_refused(student, generator):
    """levels that rise or do not fit, and a v of another shape are refused"""
    _, weights = bent(generator, 2)
    their, call = theirs(student, weights, 2), student.consistency.mean_flow_target
    x_t, v = normal(generator, 3, 2), normal(generator, 3, 2)
    t, s = two_levels(generator, 3)
    for says, args in (
        ("s above t", (s, t, v)),
        ("s below 0", (t, -s, v)),
        ("one s for all", (t, s[0], v)),
        ("levels with another axis", (t[:, None], s[:, None], v)),
        ("a v of another shape", (t, s, v[:, :1])),
    ):
        says = f"ValueError for {says}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda a=args: call(their, x_t, *a), says)


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


@shortcut_target
def test_two_exact_halves_are_the_exact_whole(student, generator):
    """for the exact mean velocity of a Gaussian it is the exact one of the long step"""
    mean, S, x_t = normal(generator, 1, 2), 0.6, normal(generator, 4, 2)
    t, s = levels(1.0, 0.8, 0.5, 0.6), levels(0.0, 0.2, 0.0, 0.5)
    net = fakes.GaussianMean(mean, S)
    found = halves(student, Asked(net), x_t, t, s)
    says = "x_t to x_m to x_s is the way from x_t to x_s"
    expect.close(found, net(x_t, t, s), says, what="the target", **DOUBLE)


@shortcut_target
def test_the_way_of_two_steps(student, generator):
    """for any network it is the way of two steps over t − s"""
    net, _ = bent(generator, 2)
    x_t = normal(generator, 4, 2)
    t, s = two_levels(generator, 4)
    s[0], t[1] = 0, 1
    for size in (1.0, 1e3):
        found = halves(student, Asked(net), size * x_t, t, s)
        want = two_halves(net, size * x_t, t, s)
        says = f"(x_t − x_s) / (t − s), of numbers near {size:g}"
        expect.close(found, want, says, what="the target", **of_size(want))
    found = halves(student, lambda x, t, s: 4 * column(s, x) + 0 * x, x_t[:1], t[1:2], s[:1])
    says = "u = 4 s, from 1 to 0: 2 at the first half, 0 at the second, 1 in the mean"
    expect.close(found, torch.ones(1, 2).double(), says, what="the target", **DOUBLE)


@shortcut_target
def test_what_the_mean_velocity_is_asked(student, generator):
    """it is asked twice: from t to the middle at x_t, from the middle to s at x_m"""
    net, _ = bent(generator, 2)
    x_t, model = normal(generator, 3, 2), Asked(net)
    t, s = levels(1.0, 0.8, 0.3), levels(0.0, 0.2, 0.29)
    halves(student, model, x_t, t, s)
    expect.true(len(model.calls) == 2, "calls of the network", len(model.calls), 2)
    middle = (t + s) / 2
    with torch.no_grad():
        x_m = x_t - (t - middle)[:, None] * net(x_t, t, middle)
    for k, want in enumerate(((x_t, t, middle), (x_m, middle, s))):
        for name, got, right in zip(("x", "t", "s"), model.calls[k], want, strict=True):
            expect.close(got, right, f"{name} of call {k + 1}", what=name, **DOUBLE)


@shortcut_target
def test_conditions_reach_both_calls(student, generator):
    """y reaches both calls as it came, and none is made up"""
    x_t = normal(generator, 3, 2)
    t, s = two_levels(generator, 3)
    for y in (torch.tensor([4, 0, 2]), torch.zeros(3, dtype=torch.int64), None):
        net, _ = bent(generator, 2)
        model, more = Asked(net), [] if y is None else [y]
        found = halves(student, model, x_t, t, s, *more)
        want = two_halves(net, x_t, t, s, *more)
        expect.close(found, want, "the target for y", what="the target", **of_size(want))
        for seen in model.conditions:
            says = "each call gets y if it is given, and nothing if it is not"
            expect.true((seen is None) == (y is None), says)
            expect.true(y is None or seen.dtype == y.dtype, "the condition's dtype changed")


@shortcut_target
def test_shortcuts_of_every_form(student, generator):
    """numbers, points and images, each at its own levels; float32 stays float32"""
    for shape in SHAPES:
        net, _ = bent(generator, 2)
        x_t = 20 * normal(generator, *shape)
        t, s = two_levels(generator, shape[0])
        found = halves(student, Asked(net), x_t, t, s)
        want = two_halves(net, x_t, t, s)
        expect.close(found, want, f"x_t of shape {shape}", what="the target", **of_size(want))
        found = halves(student, Asked(net), x_t.float(), t.float(), s.float())
        expect.true(found.dtype == torch.float32, "float32 stays float32", found.dtype)


@shortcut_target
def test_the_shortcut_has_no_graph(student, generator):
    """it has no graph, and the network learns nothing from it"""
    net, weights = bent(generator, 2)
    x_t = normal(generator, 3, 2)
    t, s = two_levels(generator, 3)
    their = theirs(student, weights, 2)
    nothing_learns(student, "consistency.shortcut_target", (their, x_t, t, s), [x_t, t, s, their])
    want = two_halves(net, x_t, t, s)
    expect.close(halves(student, their, x_t, t, s), want, "of a network", **of_size(want))
    net, their = in_use(student, generator, 2)
    found, want = halves(student, their, x_t, t, s), two_halves(net, x_t, t, s)
    expect.close(found, want, "of a network in use", what="the target", **of_size(want))


@shortcut_target
def test_what_is_no_shortcut_is_refused(student, generator):
    """levels that do not fall or do not fit are refused"""
    net, _ = bent(generator, 2)
    call, x_t = student.consistency.shortcut_target, normal(generator, 3, 2)
    t, s = two_levels(generator, 3)
    for says, args in (
        ("s = t", (t, t.clone())),
        ("s above t", (s, t)),
        ("s below 0", (t, -s)),
        ("one s for all", (t, s[0])),
        ("levels with another axis", (t[:, None], s[:, None])),
    ):
        says = f"ValueError for {says}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda a=args: call(Asked(net), x_t, *a), says)
