"""Hidden graders of chapter 07's algebra: held to theory first (posteriors, scores and floors of
Gaussian mixtures, the continuity equation, levels of equal noise in closed form)."""

import math

import pytest
import torch

from cs231n_gen.checking import draws, expect, fakes
from cs231n_gen.given import processes
from cs231n_gen.given.processes import NOISE, Process, Target, X, angular, velocity
from cs231n_gen.truth import GaussianMixture, irreducible_loss

noise = pytest.mark.exercise("diffusion.noise")
to_x_and_noise = pytest.mark.exercise("diffusion.to_x_and_noise")
loss_weight = pytest.mark.exercise("diffusion.loss_weight")
score = pytest.mark.exercise("diffusion.score")
ode_velocity = pytest.mark.exercise("diffusion.ode_velocity")
reparametrised = pytest.mark.exercise("diffusion.reparametrised")

# What rounding leaves where all that is computed is a double.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
SINGLE = {"atol": 1e-4, "rtol": 1e-4}
SHAPES = [(5,), (1,), (4, 3), (1, 3), (3, 3), (2, 3, 4), (3, 1, 2, 2), (1, 2, 2, 2), (2, 2, 2, 2)]
MISFITS = [(4, 2), (4, 1), (3, 3), (1, 3), (4,), (4, 3, 1), (3, 4), (12,)]  # beside (4, 3)
NO_LEVELS = [(), (1,), (3,), (5,), (4, 1), (1, 4), (4, 3)]  # for 4 examples
REFUSED = "{} must be refused"


def number(generator, low, high):
    return float(low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64))


def uniform(generator, n, low=0.05, high=0.95):
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


def levels_for(generator, shape):
    """A level for each example; in one of the shapes they are close to each other."""
    n = shape[0]
    return uniform(generator, n, 0.4, 0.41) if shape == (4, 3) else uniform(generator, n)


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def column(value, x):
    """One number for each example, shaped to multiply x."""
    return value.reshape(-1, *[1] * (x.dim() - 1))


def curved(generator):
    """A process that is neither a line nor variance preserving, with both ends."""
    p, q, alpha, beta = (number(generator, 0.3, 0.9) for _ in range(4))
    return Process(
        a=lambda t: (1 + alpha) * (1 - t) * (1 + p * t),
        b=lambda t: (1 + beta) * t * (1 + q * t),
        da=lambda t: (1 + alpha) * (p - 1 - 2 * p * t),
        db=lambda t: (1 + beta) * (1 + 2 * q * t),
    )


def endless(generator):
    """A process that reaches neither end: some noise is left at t = 0, some data at t = 1."""
    p, q, beta = (number(generator, 0.3, 0.9) for _ in range(3))
    return Process(
        a=lambda t: (-p * t).exp(),
        b=lambda t: beta * (q * t).exp(),
        da=lambda t: -p * (-p * t).exp(),
        db=lambda t: beta * q * (q * t).exp(),
    )


def every_process(generator):
    power = number(generator, 1.5, 3.0)
    return {
        "rectified flow": processes.rectified_flow(),
        "cosine": processes.cosine(),
        "linear β": processes.variance_preserving(),
        "variance preserving": processes.variance_preserving(lambda t: 1 - 0.9999 * t**power),
        "variance exploding": processes.variance_exploding(),
        "EDM": processes.edm(),
        "a process of our own": curved(generator),
        "a process without ends": endless(generator),
    }


def wavy(generator):
    """A target of our own: c and d have opposite signs, so that Δ is never 0."""
    w, sign = number(generator, 1, 3), 1 - 2 * draws.whole(generator, 0, 2)
    c, d = sign * number(generator, 0.4, 1.5), sign * number(generator, 0.4, 1.5)
    return Target(c=lambda t: -c * (1.3 + (w * t).sin()), d=lambda t: d * (1.4 + (w * t).cos()))


def every_target(generator, process):
    return {
        "x": X,
        "ε": NOISE,
        "velocity": velocity(process),
        "v": angular(process),
        "a target of our own": wavy(generator),
    }


def cases(generator):
    """Every process with every target, and what to call them."""
    for name, process in every_process(generator).items():
        for asked, target in every_target(generator, process).items():
            yield f"{name}, {asked}", process, target


def some(generator, choice, n):
    """n of them, in random order."""
    choice = list(choice)
    return [choice[i] for i in torch.randperm(len(choice), generator=generator)[:n].tolist()]


def parts(process, target, t):
    return process.a(t), process.b(t), target.c(t), target.d(t)


def mixed(x, z, t, process, target):
    """x_t and y."""
    a, b, c, d = (column(v, x) for v in parts(process, target, t))
    return a * x + b * z, c * x + d * z


def mixture(generator, dim=2):
    """Three Gaussians, two of them near each other."""
    means, root = 1.5 * normal(generator, 3, dim), 0.4 * normal(generator, 3, dim, dim)
    covs = root @ root.mT + 0.2 * torch.eye(dim, dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.5, 0.3, 0.2]), means, covs)


def drawn(truth, generator, t, process):
    """Points x_t of a mixture."""
    x, z = truth.sample(len(t), generator), normal(generator, len(t), truth.dim)
    return process.a(t)[:, None] * x + process.b(t)[:, None] * z


def refuses(call, args, where, says, shapes, kind="ValueError"):
    """An argument of other shapes than the rest is refused."""
    for shape in shapes:
        given = list(args)
        given[where] = torch.full(shape, 0.5, dtype=torch.float64)
        told = REFUSED.format(says.format(shape))
        expect.raises(kind, lambda given=given: call(*given), told)


# --- diffusion.noise ----------------------------------------------------------------------------


def noised(student, x, z, t, process, target):
    found = student.diffusion.noise(x, z, t, process, target)
    x_t, y = expect.unpack(found, ["x_t", "y"])
    return expect.tensor(x_t, x.shape, "x_t"), expect.tensor(y, x.shape, "y")


@noise(weight=3)
def test_both_are_sums_of_data_and_noise(student, generator):
    """x_t = a x + b z and y = c x + d z, for every process and target"""
    for says, process, target in cases(generator):
        n = draws.whole(generator, 3, 6)
        x, z, t = normal(generator, n, 3), normal(generator, n, 3), uniform(generator, n)
        x_t, y = noised(student, x, z, t, process, target)
        want = mixed(x, z, t, process, target)
        expect.close(x_t, want[0], f"x_t of {says}", what="x_t", **DOUBLE)
        expect.close(y, want[1], f"y of {says}", what="y", **DOUBLE)


@noise(weight=2)
def test_rectified_flow_is_a_straight_line(student, generator):
    """for rectified flow x_t is (1 − t) x + t z and its velocity z − x, both ends included"""
    x, z, t = normal(generator, 5, 2), normal(generator, 5, 2), uniform(generator, 5)
    t[1], t[3] = 0.0, 1.0
    process = processes.rectified_flow()
    x_t, v = noised(student, x, z, t, process, velocity(process))
    expect.close(x_t, x + t[:, None] * (z - x), "the line from x to z", what="x_t", **DOUBLE)
    expect.close(v, z - x, "its velocity", what="y", **DOUBLE)
    expect.close(x_t[1], x[1], "at t = 0 there is no noise", what="x_t", atol=0, rtol=0)
    expect.close(x_t[3], z[3], "at t = 1 there is no data", what="x_t", atol=0, rtol=0)


def across(generator, n, d):
    """Data and noise of mean square 1 in each example, at right angles to each other."""
    both = torch.linalg.qr(normal(generator, n, d, 2)).Q * d**0.5
    return both[..., 0], both[..., 1]


@noise(weight=2)
def test_variance_preserving_keeps_the_variance(student, generator):
    """variance preserving processes keep unit variance; v has it too, and nothing of x_t"""
    n, d = 7, draws.whole(generator, 4, 9)
    x, z = across(generator, n, d)
    for name in ("linear β", "cosine", "variance preserving"):
        process, t = every_process(generator)[name], uniform(generator, n)
        x_t, v = noised(student, x, z, t, process, angular(process))
        one = torch.ones(n, dtype=torch.float64)
        expect.close(x_t.square().mean(1), one, f"the variance of x_t, {name}", **DOUBLE)
        expect.close(v.square().mean(1), one, f"the variance of v, {name}", **DOUBLE)
        says = f"v is uncorrelated with x_t, {name}"
        expect.close((x_t * v).mean(1), 0 * one, says, **DOUBLE)


@noise(weight=2)
def test_what_the_ends_leave(student, generator):
    """at t = 0 and t = 1 no more of the noise and of the data is left than the process says"""
    low, high, beta = (number(generator, *r) for r in ((0.01, 0.2), (70, 120), (8, 24)))
    x, z = across(generator, 2, 5)
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for says, process, shares in (
        ("rectified flow", processes.rectified_flow(), (0, 0)),
        ("cosine", processes.cosine(), (0, 0)),
        ("VE", processes.variance_exploding(low, high), (low, 1 / high)),
        ("EDM", processes.edm(high), (0, 1 / high)),
        (
            "linear β",
            processes.variance_preserving(beta_min=0.2, beta_max=beta),
            (0, math.expm1((0.2 + beta) / 2) ** -0.5),
        ),
    ):
        x_t, _ = noised(student, x, z, t, process, X)
        data, rest = (x_t * x).mean(1), (x_t * z).mean(1)
        found = torch.stack([rest[0] / data[0], data[1] / rest[1]])
        want = torch.tensor(shares, dtype=torch.float64)
        expect.close(
            found, want, f"noise over data at t = 0, data over noise at 1: {says}", **DOUBLE
        )


@noise(weight=2)
def test_the_velocity_is_the_slope_of_x_t(student, generator):
    """with the velocity as target, y is the derivative of x_t by t"""
    n, h = 6, 1e-5
    x, z, t = normal(generator, n, 2), normal(generator, n, 2), uniform(generator, n, 0.1, 0.9)
    for name, process in every_process(generator).items():
        after, before, (_, y) = (
            noised(student, x, z, t + step, process, velocity(process)) for step in (h, -h, 0)
        )
        slope = (after[0] - before[0]) / (2 * h)
        # a difference over 2h is off by h² times the third derivative, some thousands for VE
        expect.close(y, slope, f"the slope of x_t, {name}", what="y", atol=1e-5, rtol=1e-6)


@noise(weight=2)
def test_examples_of_every_shape(student, generator):
    """numbers, points and images, one example or many, each at its own level"""
    for shape in SHAPES:
        x, z, t = normal(generator, *shape), normal(generator, *shape), levels_for(generator, shape)
        process, target = curved(generator), wavy(generator)
        x_t, y = noised(student, x, z, t, process, target)
        want = mixed(x, z, t, process, target)
        expect.close(x_t, want[0], f"x of shape {shape}", what="x_t", **DOUBLE)
        expect.close(y, want[1], f"x of shape {shape}", what="y", **DOUBLE)


@noise
def test_numbers_of_every_size(student, generator):
    """large numbers, levels next to both ends, and float32"""
    process, target = curved(generator), wavy(generator)
    t = torch.tensor([0.0, 1e-6, 1 - 1e-6, 1.0, 1e-3], dtype=torch.float64)
    x, z = 1000 * normal(generator, 5, 2), 1000 * normal(generator, 5, 2)
    want = mixed(x, z, t, process, target)
    for found, exact in zip(noised(student, x, z, t, process, target), want, strict=True):
        expect.close(found, exact, "numbers around 1000", **DOUBLE)
    single = noised(student, x.float(), z.float(), t.float(), process, target)
    for found, exact in zip(single, want, strict=True):
        expect.close(found, exact, "in float32", atol=1e-2, rtol=1e-5)


@noise
def test_gradients_flow_into_data_and_noise(student, generator):
    """the gradients of x_t and y are a and c in x, b and d in z"""
    process, target, t = curved(generator), wavy(generator), uniform(generator, 3)
    x, z = normal(generator, 3, 2, 2), normal(generator, 3, 2, 2)
    dx, dz = student.gradient("diffusion.noise", x, z, t, process, target, wrt=[x, z])
    expect.true(dx is not None and dz is not None, "no gradient arrives at x or z")
    a, b, c, d = (column(v, x).expand_as(x) for v in parts(process, target, t))
    expect.close(dx, a + c, "the gradient of x_t + y in x is a + c", **DOUBLE)
    expect.close(dz, b + d, "the gradient of x_t + y in z is b + d", **DOUBLE)


@noise
def test_what_does_not_fit_is_refused_here(student, generator):
    """noise that is not shaped like x, and levels that are not one for each, are refused"""
    process = processes.cosine()
    x, z, t = normal(generator, 4, 3), normal(generator, 4, 3), uniform(generator, 4)
    args, call = (x, z, t, process, X), student.diffusion.noise
    expect.close(noised(student, *args)[1], x, "what fits is answered", what="y", **DOUBLE)
    refuses(call, args, 1, "z of shape {} for x of shape (4, 3)", MISFITS)
    refuses(call, args, 0, "x of shape {} for z of shape (4, 3)", MISFITS)
    refuses(call, args, 2, "t of shape {} for 4 examples", NO_LEVELS)


# --- diffusion.to_x_and_noise -------------------------------------------------------------------


def solved(student, prediction, x_t, t, process, target):
    found = student.diffusion.to_x_and_noise(prediction, x_t, t, process, target)
    x, z = expect.unpack(found, ["x̂", "ẑ"])
    return expect.tensor(x, x_t.shape, "x̂"), expect.tensor(z, x_t.shape, "ẑ")


@to_x_and_noise(weight=3)
def test_it_gives_back_what_noise_mixed(student, generator):
    """x and z come back from x_t and y, for every process and target"""
    for says, process, target in cases(generator):
        n = draws.whole(generator, 3, 6)
        x, z, t = normal(generator, n, 3), normal(generator, n, 3), uniform(generator, n)
        x_t, y = mixed(x, z, t, process, target)
        found = solved(student, y, x_t, t, process, target)
        expect.close(found[0], x, f"x of {says}", what="x̂", **DOUBLE)
        expect.close(found[1], z, f"z of {says}", what="ẑ", **DOUBLE)


@to_x_and_noise(weight=2)
def test_both_equations_hold(student, generator):
    """whatever is predicted, a x̂ + b ẑ is x_t and c x̂ + d ẑ is the prediction"""
    for says, process, target in cases(generator):
        x_t, y, t = normal(generator, 4, 2), normal(generator, 4, 2), uniform(generator, 4)
        found = solved(student, y, x_t, t, process, target)
        back = mixed(*found, t, process, target)
        expect.close(back[0], x_t, f"a x̂ + b ẑ of {says}", what="a x̂ + b ẑ", **DOUBLE)
        expect.close(back[1], y, f"c x̂ + d ẑ of {says}", what="c x̂ + d ẑ", **DOUBLE)


@to_x_and_noise(weight=2)
def test_the_best_prediction_stands_for_both_means(student, generator):
    """of a mixture's E[y | x_t] it makes E[x | x_t] and E[z | x_t], whatever the target"""
    truth = mixture(generator)
    for says, process, target in cases(generator):
        t = uniform(generator, 6)
        x_t = drawn(truth, generator, t, process)
        y = truth.expectation(x_t, *parts(process, target, t))
        found = solved(student, y, x_t, t, process, target)
        known = truth.posterior(x_t, process.a(t), process.b(t))
        expect.close(found[0], known.x, f"E[x | x_t], {says}", what="x̂", atol=1e-9, rtol=1e-9)
        expect.close(found[1], known.z, f"E[z | x_t], {says}", what="ẑ", atol=1e-9, rtol=1e-9)


@to_x_and_noise(weight=3)
def test_both_ends(student, generator):
    """at both ends velocities and v give x and z, x-prediction at t = 1, ε-prediction at t = 0"""
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    for says, process in (
        ("rectified flow", processes.rectified_flow()),
        ("cosine", processes.cosine()),
        ("a process of our own", curved(generator)),
    ):
        x, z = normal(generator, 3, 2), normal(generator, 3, 2)
        targets = every_target(generator, process).items()
        for asked, target in targets:
            at = slice({"x": 1}.get(asked, 0), {"ε": 2}.get(asked, 3))
            x_t, y = mixed(x, z, t, process, target)
            found = solved(student, y[at], x_t[at], t[at], process, target)
            expect.close(found[0], x[at], f"x of {says}, {asked}, at the ends", what="x̂", **DOUBLE)
            expect.close(found[1], z[at], f"z of {says}, {asked}, at the ends", what="ẑ", **DOUBLE)
    process = processes.variance_preserving()
    x_t, y = mixed(x, z, t, process, angular(process))
    found = solved(student, y, x_t, t, process, angular(process))
    expect.close(found[0], x, "x of linear β, v, at the ends", what="x̂", **DOUBLE)
    expect.close(found[1], z, "z of linear β, v, at the ends", what="ẑ", **DOUBLE)


@to_x_and_noise(weight=2)
def test_a_prediction_that_adds_nothing_is_refused(student, generator):
    """where Δ = 0 there is a ValueError, also for one example of several; not next to it"""
    flow, t = processes.rectified_flow(), uniform(generator, 400, 0.01, 0.05)
    x, z = normal(generator, 400), normal(generator, 400)
    x_t, y = mixed(x, z, t, flow, X)
    found = solved(student, y, x_t, t, flow, X)
    expect.close(found[0], x, "400 levels with a small Δ", what="x̂", atol=1e-9, rtol=1e-9)
    half = Target(c=lambda t: torch.full_like(t, 0.5), d=lambda t: torch.full_like(t, 0.5))
    for says, process, target, at in (
        ("x-prediction at b = 0", processes.rectified_flow(), X, 0.0),
        ("x-prediction at b = 0", processes.cosine(), X, 0.0),
        ("x-prediction at b = 0", processes.variance_preserving(), X, 0.0),
        ("x-prediction at b = 0", curved(generator), X, 0.0),
        ("ε-prediction at a = 0", processes.rectified_flow(), NOISE, 1.0),
        ("ε-prediction at a = 0", processes.cosine(), NOISE, 1.0),
        ("ε-prediction at a = 0", curved(generator), NOISE, 1.0),
        ("y = x_t at t = 0.5", processes.rectified_flow(), half, 0.5),
    ):
        x_t, y, t = normal(generator, 3, 2), normal(generator, 3, 2), uniform(generator, 3, 0.6)
        for alone in (False, True):
            t[1] = at
            args = (y[1:2], x_t[1:2], t[1:2]) if alone else (y, x_t, t.clone())
            call = student.diffusion.to_x_and_noise
            expect.raises(
                "ValueError",
                lambda call=call, args=args, p=process, g=target: call(*args, p, g),
                REFUSED.format(says),
            )
            for step in (1e-4, 1e-13):  # the same next to it can be solved
                if step < 1e-4 and target is half:  # there x̂ and ẑ are both large, and cancel
                    continue
                t[1] = at + (step if at < 1 else -step)
                x, z = solved(student, y, x_t, t.clone(), process, target)
                back = mixed(x, z, t, process, target)
                told = f"{says} is refused, but t = {float(t[1])!r} is not there"
                # x̂ and ẑ are as large as 1e4 there
                expect.close(back[0], x_t, told, what="a x̂ + b ẑ", atol=1e-9, rtol=1e-9)
                expect.close(back[1], y, told, what="c x̂ + d ẑ", atol=1e-9, rtol=1e-9)


@to_x_and_noise(weight=2)
def test_predictions_of_every_shape(student, generator):
    """numbers, points and images, one example or many, each at its own level"""
    for shape in SHAPES:
        x, z, t = normal(generator, *shape), normal(generator, *shape), levels_for(generator, shape)
        process, target = curved(generator), wavy(generator)
        x_t, y = mixed(x, z, t, process, target)
        found = solved(student, y, x_t, t, process, target)
        expect.close(found[0], x, f"x_t of shape {shape}", what="x̂", **DOUBLE)
        expect.close(found[1], z, f"x_t of shape {shape}", what="ẑ", **DOUBLE)


@to_x_and_noise
def test_predictions_of_every_size(student, generator):
    """large numbers, levels next to both ends, and float32"""
    process, target = curved(generator), wavy(generator)
    t = torch.tensor([0.0, 1e-6, 1 - 1e-6, 1.0, 1e-3], dtype=torch.float64)
    x, z = 1000 * normal(generator, 5, 2), 1000 * normal(generator, 5, 2)
    x_t, y = mixed(x, z, t, process, target)
    for found, exact in zip(solved(student, y, x_t, t, process, target), (x, z), strict=True):
        expect.close(found, exact, "numbers around 1000", atol=1e-9, rtol=1e-11)
    single = (v.float() for v in (y, x_t, t))
    for found, exact in zip(solved(student, *single, process, target), (x, z), strict=True):
        expect.close(found, exact, "in float32", atol=1e-2, rtol=1e-4)


@to_x_and_noise
def test_gradients_flow_into_prediction_and_x_t(student, generator):
    """the gradients are (−b + a) / Δ in the prediction and (d − c) / Δ in x_t"""
    process, target, t = curved(generator), wavy(generator), uniform(generator, 3)
    x_t, y = normal(generator, 3, 2, 2), normal(generator, 3, 2, 2)
    name = "diffusion.to_x_and_noise"
    dy, dx = student.gradient(name, y, x_t, t, process, target, wrt=[y, x_t])
    expect.true(dy is not None and dx is not None, "no gradient arrives at prediction or x_t")
    a, b, c, d = (column(v, x_t).expand_as(x_t) for v in parts(process, target, t))
    delta = a * d - b * c
    expect.close(dy, (a - b) / delta, "the gradient of x̂ + ẑ in the prediction", **DOUBLE)
    expect.close(dx, (d - c) / delta, "the gradient of x̂ + ẑ in x_t", **DOUBLE)


def misfits_are_refused(student, name, generator):
    process = processes.cosine()
    x_t, y, t = normal(generator, 4, 3), normal(generator, 4, 3), uniform(generator, 4)
    args, call = (y, x_t, t, process, angular(process)), getattr(student.diffusion, name)
    call(*args)  # what fits is answered
    refuses(call, args, 0, "a prediction of shape {} for x_t of shape (4, 3)", MISFITS)
    refuses(call, args, 1, "x_t of shape {} for a prediction of shape (4, 3)", MISFITS)
    refuses(call, args, 2, "t of shape {} for 4 examples", NO_LEVELS)


@to_x_and_noise
def test_a_prediction_that_does_not_fit_is_refused(student, generator):
    """predictions not shaped like x_t, and levels that are not one for each, are refused"""
    misfits_are_refused(student, "to_x_and_noise", generator)


# --- diffusion.loss_weight ----------------------------------------------------------------------


def weights(student, t, process, target):
    return expect.tensor(student.diffusion.loss_weight(t, process, target), t.shape, "the weights")


@loss_weight(weight=3)
def test_it_is_the_ratio_of_what_no_network_can_beat(student, generator):
    """a target's smallest possible loss is the weight times that of x-prediction"""
    truth = mixture(generator, dim=1)

    def floor(t, process, target):
        of = {"a": process.a, "b": process.b, "c": target.c, "d": target.d}
        return irreducible_loss(truth, t, **of).value

    for name, process in every_process(generator).items():
        t = uniform(generator, 2, 0.15, 0.85)
        of_x = floor(t, process, X)
        for asked, target in every_target(generator, process).items():
            found = weights(student, t, process, target)
            want = floor(t, process, target) / of_x
            expect.close(found, want, f"{name}, {asked}", atol=1e-6, rtol=1e-5)


@loss_weight(weight=3)
def test_the_known_weights(student, generator):
    """SNR for ε, SNR + 1 for v where variance is preserved, 1 / t² for rectified flow, 1 for x"""
    t = uniform(generator, 5, 0.01, 0.99)
    for name, process in every_process(generator).items():
        snr = (process.a(t) / process.b(t)) ** 2
        for asked, target, want in (
            ("x", X, torch.ones_like(t)),
            ("ε", NOISE, snr),
            ("velocity", velocity(process), (process.da(t) - process.db(t) * snr.sqrt()) ** 2),
        ):
            found = weights(student, t, process, target)
            expect.close(found, want, f"{name}, {asked}", **DOUBLE)
    for process in (processes.cosine(), processes.variance_preserving()):
        found = weights(student, t, process, angular(process))
        want = 1 / process.b(t) ** 2
        expect.close(found, want, "v where variance is preserved: SNR + 1", **DOUBLE)
    flow = processes.rectified_flow()
    expect.close(weights(student, t, flow, velocity(flow)), t**-2, "rectified flow", **DOUBLE)


@loss_weight(weight=2)
def test_an_error_in_x_costs_so_much(student, generator):
    """an error in x̂, with the one in ẑ that it brings, costs the weight times its square"""
    for says, process, target in cases(generator):
        t = uniform(generator, 6, 0.02, 0.98)
        a, b, c, d = parts(process, target, t)
        error = normal(generator, 6)
        cost = (c * error + d * (-a * error / b)) ** 2
        found = weights(student, t, process, target)
        expect.close(found * error**2, cost, says, atol=1e-9, rtol=1e-9)


@loss_weight(weight=2)
def test_without_noise(student, generator):
    """at b = 0 it is c² for targets without z there (1 for x-prediction), ∞ for all others"""
    t = torch.tensor([0.0, 0.5, 0.0], dtype=torch.float64)
    only_x = Target(c=lambda t: 1.5 - t, d=torch.zeros_like)
    hardly = Target(c=torch.ones_like, d=lambda t: 0 * t + 1e-9)  # hardly any z, but some
    for name in ("rectified flow", "cosine", "linear β", "EDM", "a process of our own"):
        process = every_process(generator)[name]
        for target, at_0 in ((X, 1.0), (only_x, 2.25)):
            found = weights(student, t, process, target)
            want = target.c(t) ** 2
            expect.close(found, want, f"{name}, y = c x with c = {at_0**0.5} at t = 0", **DOUBLE)
        for target in (NOISE, angular(process), wavy(generator), hardly):
            found = student.diffusion.loss_weight(t, process, target)
            got = isinstance(found, torch.Tensor) and found.shape == (3,)
            got = got and found.isposinf().tolist() == [True, False, True]
            says = f"{name}: z costs infinitely much where there is none in x_t"
            expect.true(bool(got), says, found, "∞, a number, ∞")
        of_some = Target(c=lambda t: 1.5 - t, d=lambda t: t)  # d is 0 at t = 0 alone
        found = weights(student, t, process, of_some)
        want = (1.5 - t - torch.where(t == 0, 0.0, t * process.a(t) / process.b(t))) ** 2
        expect.close(found, want, f"{name}: at t = 0, where d = 0, it is c² = 2.25", **DOUBLE)


@loss_weight(weight=2)
def test_levels_of_every_shape(student, generator):
    """one level without an axis, one, a row or a table of them, in float32 and float64"""
    for shape in ((), (1,), (7,), (2, 3), (3, 1), (2, 2, 2), (16, 16)):
        t = uniform(generator, shape)
        for _, process, target in list(cases(generator))[draws.whole(generator, 0, 4) :: 6]:
            a, b, c, d = parts(process, target, t)
            want = (c - a * d / b) ** 2
            found = weights(student, t, process, target)
            expect.close(found, want, f"levels of shape {shape}", atol=1e-9, rtol=1e-11)
            single = weights(student, t.float(), process, target)
            says = f"levels of shape {shape} in float32"
            expect.close(single, want, says, atol=1e-4, rtol=1e-3)


@loss_weight
def test_levels_next_to_the_ends(student, generator):
    """from t = 10⁻¹² to t = 1, from weights near 0 to very large ones"""
    t = torch.tensor([1e-12, 1e-6, 1e-4, 0.1, 1 - 1e-6, 1.0], dtype=torch.float64)
    flow, cosine = processes.rectified_flow(), processes.cosine()
    own, exploding = curved(generator), processes.variance_exploding()
    for says, process, target, want in (
        ("rectified flow", flow, velocity(flow), t**-2),
        ("ε of rectified flow", flow, NOISE, ((1 - t) / t) ** 2),
        ("v of cosine", cosine, angular(cosine), (math.pi / 2 * t).sin() ** -2),
        ("ε of a process of our own", own, NOISE, (own.a(t) / own.b(t)) ** 2),
        ("ε of variance exploding", exploding, NOISE, exploding.b(t) ** -2),
        ("x_t as target", flow, Target(flow.a, flow.b), torch.zeros_like(t)),
    ):
        found = weights(student, t, process, target)
        expect.close(found, want, says, atol=1e-11, rtol=1e-9)
    zero = torch.zeros(2, dtype=torch.float64)
    for process in (exploding, endless(generator)):
        found = weights(student, zero, process, NOISE)
        says = "some noise is left at t = 0: SNR"
        expect.close(found, (process.a(zero) / process.b(zero)) ** 2, says, atol=0, rtol=1e-9)


# --- diffusion.score ----------------------------------------------------------------------------


def scored(student, prediction, x_t, t, process, target):
    found = student.diffusion.score(prediction, x_t, t, process, target)
    return expect.tensor(found, x_t.shape, "the score")


@score(weight=3)
def test_it_is_the_score_of_the_noised_mixture(student, generator):
    """of a mixture's best prediction it is the exact score of p_t, at every level"""
    truth = mixture(generator)
    for says, process, target in cases(generator):
        t = uniform(generator, 4)
        x_t = drawn(truth, generator, t, process)
        y = truth.expectation(x_t, *parts(process, target, t))
        s = scored(student, y, x_t, t, process, target)
        for i in range(4):
            p_t = truth.noised(float(process.a(t[i])), float(process.b(t[i])))
            told = f"{says}, t = {float(t[i]):.3g}: ∂/∂x_t log p_t(x_t)"
            expect.close(s[i], p_t.score(x_t[i]), told, what="s", atol=1e-8, rtol=1e-8)


@score(weight=2)
def test_both_forms_agree(student, generator):
    """whatever is predicted, it is (a x̂ − x_t) / b² and −ẑ / b"""
    for says, process, target in cases(generator):
        x, z, t = normal(generator, 4, 2), normal(generator, 4, 2), uniform(generator, 4)
        x_t, y = mixed(x, z, t, process, target)
        s = scored(student, y, x_t, t, process, target)
        a, b = process.a(t)[:, None], process.b(t)[:, None]
        expect.close(b * s, -z, f"−ẑ / b of {says}", what="b s", atol=1e-9, rtol=1e-9)
        expect.close(b**2 * s, a * x - x_t, f"(a x̂ − x_t) / b² of {says}", atol=1e-9, rtol=1e-9)


@score(weight=2)
def test_a_gaussian_pulls_to_its_mean(student, generator):
    """for images that are N(μ, σ² I) it is (a μ − x_t) / (a² σ² + b²)"""
    mean, sigma, t = normal(generator, 1, 3, 4), number(generator, 0.3, 2), uniform(generator, 5)
    for says, process, target in cases(generator):
        x_t = 2 * normal(generator, 5, 1, 3, 4)
        a, b, c, d = (column(v, x_t) for v in parts(process, target, t))
        variance = a**2 * sigma**2 + b**2
        off = x_t - a * mean
        y = c * (mean + a * sigma**2 / variance * off) + d * b / variance * off
        s = scored(student, y, x_t, t, process, target)
        expect.close(s, -off / variance, says, what="s", atol=1e-8, rtol=1e-8)


@score(weight=2)
def test_the_score_at_the_ends(student, generator):
    """it is −x_t / b² in pure noise, and −ẑ / b next to data and where some noise is left"""
    for process in (processes.rectified_flow(), processes.cosine(), curved(generator)):
        x, z = normal(generator, 4, 2), normal(generator, 4, 2)
        t = torch.tensor([1.0, 1e-5, 1e-3, 1 - 1e-6], dtype=torch.float64)
        b = process.b(t)[:, None]
        for asked, target in every_target(generator, process).items():
            at = slice({"ε": 1}.get(asked, 0), None)
            x_t, y = mixed(x, z, t, process, target)
            s = scored(student, y[at], x_t[at], t[at], process, target)
            # a x̂ − x_t is rounded to 1e-16, which b makes 1e-11, and 1e-10 where ẑ was found so
            expect.close(b[at] * s, -z[at], f"−ẑ, {asked}", what="b s", atol=1e-8, rtol=1e-8)
            if asked != "ε":
                expect.close(s[0], -x_t[0] / b[0] ** 2, f"in pure noise, {asked}", **DOUBLE)
            near = t[1:2] / 100
            x_t, y = mixed(x[1:2], z[1:2], near, process, target)
            s = scored(student, y, x_t, near, process, target)
            says = f"−ẑ at t = 10⁻⁷, {asked}"  # 9 digits are left of it
            b_near = process.b(near)[:, None]
            expect.close(b_near * s, -z[1:2], says, what="b s", atol=1e-6, rtol=1e-6)
    zero = torch.zeros(2, dtype=torch.float64)
    for process in (processes.variance_exploding(), endless(generator)):
        for asked, target in every_target(generator, process).items():
            x_t, y = mixed(x[:2], z[:2], zero, process, target)
            s = scored(student, y, x_t, zero, process, target)
            want = -z[:2] / process.b(zero)[:, None]
            says = f"at t = 0 there is some noise left, {asked}"
            expect.close(s, want, says, what="s", atol=1e-8, rtol=1e-8)


@score(weight=2)
def test_scores_of_every_shape(student, generator):
    """numbers, points and images, one example or many, in float32 too"""
    for shape in SHAPES:
        x, z, t = normal(generator, *shape), normal(generator, *shape), levels_for(generator, shape)
        process, target = curved(generator), wavy(generator)
        x_t, y = mixed(x, 100 * z, t, process, target)
        want = -100 * z / column(process.b(t), x)
        found = scored(student, y, x_t, t, process, target)
        expect.close(found, want, f"x_t of shape {shape}", what="s", atol=1e-9, rtol=1e-10)
        single = scored(student, *(v.float() for v in (y, x_t, t)), process, target)
        # 100 z is rounded to 1e-5, and b² is 0.003 or more
        expect.close(single, want, f"{shape} in float32", what="s", atol=3e-2, rtol=1e-3)


@score
def test_gradients_of_the_score(student, generator):
    """the gradients are −a / (Δ b) in the prediction and c / (Δ b) in x_t"""
    process, target, t = curved(generator), wavy(generator), uniform(generator, 3)
    x_t, y = normal(generator, 3, 2, 2), normal(generator, 3, 2, 2)
    dy, dx = student.gradient("diffusion.score", y, x_t, t, process, target, wrt=[y, x_t])
    expect.true(dy is not None and dx is not None, "no gradient arrives at prediction or x_t")
    a, b, c, d = (column(v, x_t).expand_as(x_t) for v in parts(process, target, t))
    delta = a * d - b * c
    expect.close(dy, -a / (delta * b), "the gradient in the prediction", atol=1e-9, rtol=1e-9)
    expect.close(dx, c / (delta * b), "the gradient in x_t", atol=1e-9, rtol=1e-9)


@score
def test_data_without_noise_have_no_known_score(student, generator):
    """b = 0 is refused, and ε-prediction at a = 0, also for one example of several"""
    call = student.diffusion.score
    for says, process, asked, at in (
        ("b = 0", processes.rectified_flow(), velocity, 0.0),
        ("b = 0", processes.variance_preserving(), angular, 0.0),
        ("b = 0", curved(generator), lambda _: NOISE, 0.0),
        ("b = 0", processes.edm(), lambda _: X, 0.0),
        ("ε-prediction at a = 0", processes.cosine(), lambda _: NOISE, 1.0),
    ):
        x_t, y, t = normal(generator, 3, 2), normal(generator, 3, 2), uniform(generator, 3)
        scored(student, y, x_t, t.clone(), process, asked(process))
        t[2] = at
        for k in (0, 2):
            args = (y[k:], x_t[k:], t[k:].clone(), process, asked(process))
            expect.raises("ValueError", lambda args=args: call(*args), REFUSED.format(says))


@score
def test_a_score_of_what_does_not_fit_is_refused(student, generator):
    """predictions not shaped like x_t, and levels that are not one for each, are refused"""
    misfits_are_refused(student, "score", generator)


# --- diffusion.ode_velocity ---------------------------------------------------------------------


def flowing(student, prediction, x_t, t, process, target):
    found = student.diffusion.ode_velocity(prediction, x_t, t, process, target)
    return expect.tensor(found, x_t.shape, "the velocity")


@ode_velocity(weight=3)
def test_it_is_the_velocity_of_the_mixture(student, generator):
    """of a mixture's best prediction it is f x_t − ½ g² s with the exact score of p_t"""
    truth = mixture(generator)
    for says, process, target in cases(generator):
        t = uniform(generator, 4)
        x_t = drawn(truth, generator, t, process)
        y = truth.expectation(x_t, *parts(process, target, t))
        v = flowing(student, y, x_t, t, process, target)
        a, b, da, db = process.a(t), process.b(t), process.da(t), process.db(t)
        f, g2 = da / a, 2 * b * db - 2 * da / a * b**2
        for i in range(4):
            s = truth.noised(float(a[i]), float(b[i])).score(x_t[i])
            told = f"{says}, t = {float(t[i]):.3g}: f x_t − ½ g² s"
            want = f[i] * x_t[i] - g2[i] / 2 * s
            expect.close(v[i], want, told, what="v", atol=1e-7, rtol=1e-7)


@ode_velocity(weight=3)
def test_it_moves_the_density_as_t_does(student, generator):
    """with it the density keeps p_t: ∂p/∂t + div(p v) = 0, the continuity equation"""
    n, w = 8, torch.tensor([0.6, 0.4], dtype=torch.float64)
    mean, sigma = 1.5 * normal(generator, 2), uniform(generator, 2, 0.3, 0.8)
    for says, process, target in list(cases(generator)):
        t = uniform(generator, n).requires_grad_()
        a, b = process.a(t), process.b(t)
        spread = (a[:, None] * sigma).square() + b[:, None].square()
        x = (a * mean[0] + spread[:, 0].sqrt() * normal(generator, n)).detach().requires_grad_()
        off = x[:, None] - a[:, None] * mean
        log_k = w.log() - off.square() / (2 * spread) - spread.log() / 2
        p = log_k.softmax(1)
        score_k, fall = torch.autograd.grad(log_k.logsumexp(1).sum(), (x, t), retain_graph=True)
        mean_x = (p * (mean + a[:, None] * sigma**2 / spread * off)).sum(1)
        mean_z = (p * b[:, None] / spread * off).sum(1)
        y = target.c(t) * mean_x + target.d(t) * mean_z
        (slope,) = torch.autograd.grad(y.sum(), x)
        given = [v.detach() for v in (y, x, t)]
        v = flowing(student, *given, process, target)
        name, wrt = "diffusion.ode_velocity", given[:2]
        in_y, in_x = student.gradient(name, *given, process, target, wrt=wrt)
        expect.true(in_y is not None, "no gradient arrives at the prediction")
        in_x = 0 if in_x is None else in_x  # as if the prediction is the velocity and handed back
        # log p_t changes by ∂ log p / ∂t, by v · s where a sample moves, and by −div v
        left = fall + v * score_k + in_x + in_y * slope
        scale = 1 + (v * score_k).abs()
        expect.close(left / scale, torch.zeros(n), f"{says}: what is left", atol=1e-8, rtol=0)


@ode_velocity(weight=2)
def test_a_velocity_stays_what_it_is(student, generator):
    """whatever is predicted: the velocity itself if that is the target, else a′ x̂ + b′ ẑ"""
    for says, process, target in cases(generator):
        x, z, t = normal(generator, 4, 2), normal(generator, 4, 2), uniform(generator, 4)
        x_t, y = mixed(x, z, t, process, target)
        v = flowing(student, y, x_t, t, process, target)
        want = process.da(t)[:, None] * x + process.db(t)[:, None] * z
        expect.close(v, want, f"a′ x̂ + b′ ẑ of {says}", what="v", atol=1e-9, rtol=1e-9)


@ode_velocity(weight=2)
def test_a_gaussian_is_carried_along(student, generator):
    """images that are N(μ, σ² I) move with their mean and spread with their standard deviation"""
    mean, sigma, t = normal(generator, 1, 3, 4), number(generator, 0.3, 2), uniform(generator, 5)
    for says, process, target in cases(generator):
        e = normal(generator, 5, 1, 3, 4)
        a, b, c, d = (column(v, e) for v in parts(process, target, t))
        da, db = column(process.da(t), e), column(process.db(t), e)
        std = (a**2 * sigma**2 + b**2).sqrt()
        x_t = a * mean + std * e
        y = c * (mean + a * sigma**2 / std * e) + d * b / std * e
        v = flowing(student, y, x_t, t, process, target)
        want = da * mean + (a * da * sigma**2 + b * db) / std * e
        expect.close(v, want, says, what="v", atol=1e-8, rtol=1e-8)


@ode_velocity(weight=2)
def test_the_velocity_at_the_ends(student, generator):
    """it holds at a = 0 and b = 0, and next to them"""
    t = torch.tensor([0.0, 1e-6, 0.5, 1 - 1e-6, 1.0], dtype=torch.float64)
    for process in (processes.rectified_flow(), processes.cosine(), curved(generator)):
        x, z = normal(generator, 5, 2), normal(generator, 5, 2)
        want = process.da(t)[:, None] * x + process.db(t)[:, None] * z
        for asked, target in every_target(generator, process).items():
            at = slice({"x": 1}.get(asked, 0), {"ε": 4}.get(asked, 5))
            x_t, y = mixed(x, z, t, process, target)
            v = flowing(student, y[at], x_t[at], t[at], process, target)
            # where a or b is 1e-6, x or z is known to 1e-10 only
            expect.close(v, want[at], f"{asked}, at the ends", what="v", atol=1e-8, rtol=1e-8)


@ode_velocity(weight=2)
def test_velocities_of_every_shape(student, generator):
    """numbers, points and images, one example or many, in float32 too"""
    for shape in SHAPES:
        x, z, t = normal(generator, *shape), normal(generator, *shape), levels_for(generator, shape)
        process, target = curved(generator), wavy(generator)
        x_t, y = mixed(x, 3000 * z, t, process, target)
        want = column(process.da(t), x) * x + column(process.db(t), x) * 3000 * z
        found = flowing(student, y, x_t, t, process, target)
        expect.close(found, want, f"x_t of shape {shape}", what="v", atol=1e-9, rtol=1e-10)
        single = flowing(student, *(v.float() for v in (y, x_t, t)), process, target)
        expect.close(single, want, f"{shape} in float32", what="v", atol=0.3, rtol=1e-3)


@ode_velocity
def test_gradients_of_the_velocity(student, generator):
    """the gradients are (a b′ − a′ b) / Δ in the prediction and (a′ d − b′ c) / Δ in x_t"""
    process, target, t = curved(generator), wavy(generator), uniform(generator, 3)
    x_t, y = normal(generator, 3, 2, 2), normal(generator, 3, 2, 2)
    dy, dx = student.gradient("diffusion.ode_velocity", y, x_t, t, process, target, wrt=[y, x_t])
    expect.true(dy is not None and dx is not None, "no gradient arrives at prediction or x_t")
    a, b, c, d = (column(v, x_t).expand_as(x_t) for v in parts(process, target, t))
    da, db = (column(v, x_t).expand_as(x_t) for v in (process.da(t), process.db(t)))
    delta = a * d - b * c
    says = "the gradient in the prediction"
    expect.close(dy, (a * db - da * b) / delta, says, atol=1e-9, rtol=1e-9)
    expect.close(dx, (da * d - db * c) / delta, "the gradient in x_t", atol=1e-9, rtol=1e-9)


@ode_velocity
def test_a_velocity_of_nothing_is_refused(student, generator):
    """where Δ = 0 there is a ValueError, and where shapes or levels do not fit"""
    call, t = student.diffusion.ode_velocity, torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64)
    for process in (processes.rectified_flow(), curved(generator)):
        x_t, y = normal(generator, 3, 2), normal(generator, 3, 2)
        for says, target, wrong in (("x at b = 0", X, 1), ("ε at a = 0", NOISE, 2)):
            for at in (slice(None), slice(wrong, wrong + 1)):
                args = (y[at], x_t[at], t[at].clone(), process, target)
                expect.raises("ValueError", lambda args=args: call(*args), REFUSED.format(says))
    misfits_are_refused(student, "ode_velocity", generator)


# --- diffusion.reparametrised -------------------------------------------------------------------


def level_at(name, ratio):
    """The level at which b / a is this, in closed form."""
    if name == "rectified flow":
        return ratio / (1 + ratio)
    if name == "cosine":
        return 2 / math.pi * ratio.atan()
    if name == "variance exploding":
        return (ratio / 0.01).log() / math.log(5000)
    if name == "EDM":
        return ratio / 80
    return 2 * ratio.square().log1p() / (0.1 + (0.01 + 39.8 * ratio.square().log1p()).sqrt())


KNOWN = ("rectified flow", "cosine", "linear β", "variance exploding", "EDM")
NOISY = (0.1, 0.6)  # levels of noise over data between 0.02 and 50 in each of them


def renewed(student, model, process, target, new_process, new_target):
    """The new model, whose calls are watched as those of the exercise."""
    name = "diffusion.reparametrised"
    return student.new(name, model, process, target, new_process, new_target)


def exact(truth, process, target):
    """The best model of a mixture."""

    def field(x_t, t, y):
        t = t.flatten().double()
        return truth.expectation(x_t, *parts(process, target, t)).to(x_t.dtype)

    return fakes.Recorder(field)


def anything():
    """A model that is no best one: of examples of any shape, and of conditions."""

    def field(x_t, t, y):
        told = 0 if y is None else column(y.to(x_t.dtype).reshape(len(y), -1).sum(1), x_t)
        return 0.6 * x_t + (t - 0.3) * x_t.cos() + 0.2 * told

    return fakes.Recorder(field)


@reparametrised(weight=4)
def test_every_process_for_every_other(student, generator):
    """on a mixture it is the exact model of the new process and target, whatever it was before"""
    truth, each = mixture(generator), every_process(generator)
    for old, process in each.items():
        if old == "a process without ends":  # the others have more noise and less
            continue
        for new, new_process in some(generator, each.items(), 4):  # the others another time
            (target,) = some(generator, every_target(generator, process).values(), 1)
            (new_target,) = some(generator, every_target(generator, new_process).values(), 1)
            t = uniform(generator, 4, *NOISY)
            x_t = drawn(truth, generator, t, new_process)
            model = renewed(
                student, exact(truth, process, target), process, target, new_process, new_target
            )
            want = truth.expectation(x_t, *parts(new_process, new_target, t))
            says = f"a model of {old} used for {new}"
            expect.close(model(x_t, t), want, says, what="y", atol=1e-7, rtol=1e-7)


@reparametrised(weight=3)
def test_where_and_at_which_level_it_asks(student, generator):
    """the model is asked once, where b / a is the same, at x_t scaled to that level's size"""
    each = every_process(generator)
    for old in KNOWN:
        process, target = each[old], every_target(generator, each[old])["v"]
        for new_process in some(generator, each.values(), 4):
            t = uniform(generator, 3, *NOISY)
            x_t, model = normal(generator, 3, 2), anything()
            renewed(student, model, process, target, new_process, wavy(generator))(x_t, t)
            calls = len(model.inputs)
            expect.true(calls == 1, "the trained model is asked once for each call", calls, 1)
            a, b = new_process.a(t), new_process.b(t)
            u = level_at(old, b / a)
            expect.close(model.times[0], u, f"the level of {old}", what="u", atol=1e-9, rtol=1e-9)
            k = ((process.a(u) ** 2 + process.b(u) ** 2) / (a**2 + b**2)).sqrt()
            says = f"x_t scaled to the size that it has in {old}"
            expect.close(model.inputs[0], k[:, None] * x_t, says, what="x_u", atol=1e-8, rtol=1e-8)


def by_hand(model, u, x_t, t, process, target, new_process, new_target, y=None):
    """What the new model returns, at the level u of the trained one."""
    a, b, c, d = (column(v, x_t) for v in parts(process, target, u))
    a_new, b_new, c_new, d_new = (column(v, x_t) for v in parts(new_process, new_target, t))
    x_u = ((a**2 + b**2) / (a_new**2 + b_new**2)).sqrt() * x_t
    told = model(x_u, u, y)
    x_and_z = torch.linalg.solve(
        torch.stack([torch.stack([a, b], -1), torch.stack([c, d], -1)], -2),
        torch.stack([x_u, told], -1)[..., None],
    )
    return c_new * x_and_z[..., 0, 0] + d_new * x_and_z[..., 1, 0]


@reparametrised(weight=2)
def test_a_model_that_is_not_the_best_one(student, generator):
    """whatever the model answers, x̂ and ẑ are those that it stands for, at its own level"""
    each = every_process(generator)
    for old in KNOWN:
        process, new_process = each[old], curved(generator)
        for target in some(generator, every_target(generator, process).values(), 3):
            t, new_target = uniform(generator, 4, *NOISY), wavy(generator)
            u, x_t = level_at(old, new_process.b(t) / new_process.a(t)), normal(generator, 4, 2)
            args = (process, target, new_process, new_target)
            found = renewed(student, anything(), *args)(x_t, t)
            want = by_hand(anything(), u, x_t, t, *args)
            expect.close(found, want, f"a model of {old}", what="y", atol=1e-7, rtol=1e-7)


@reparametrised(weight=2)
def test_the_same_process_and_target_change_nothing(student, generator):
    """for the process and target it was trained for, and there and back, it is the model itself"""
    truth, each = mixture(generator), every_process(generator)
    for name, process in each.items():
        target, t = wavy(generator), uniform(generator, 4, *NOISY)
        x_t, model = drawn(truth, generator, t, process), anything()
        want = model(x_t, t)
        same = renewed(student, model, process, target, process, target)
        expect.close(same(x_t, t), want, f"{name} as itself", what="y", atol=1e-8, rtol=1e-8)
    for name in some(generator, KNOWN, 2):
        process, target, t = each[name], wavy(generator), uniform(generator, 4, *NOISY)
        x_t = drawn(truth, generator, t, process)
        want = anything()(x_t, t)
        other, other_target = curved(generator), wavy(generator)
        there = renewed(student, anything(), process, target, other, other_target)
        back = renewed(student, there, other, other_target, process, target)
        expect.close(back(x_t, t), want, f"{name}, there and back", what="y", atol=1e-8, rtol=1e-8)
        u = level_at(name, other.b(t) / other.a(t))
        want = by_hand(anything(), u, x_t, t, process, target, other, other_target)
        says = f"{name}, on the way there"
        expect.close(there(x_t, t), want, says, what="y", atol=1e-7, rtol=1e-7)


@reparametrised(weight=2)
def test_the_same_noise_gives_the_same_samples(student, generator):
    """a walk from the same noise over the same b / a ends at the same data in every process"""
    truth, each = mixture(generator), every_process(generator)
    ratios = torch.tensor([9.0, 3.0, 1.0, 0.3, 0.03], dtype=torch.float64)
    start, flow = 9 * normal(generator, 4, 2), processes.rectified_flow()
    model = exact(truth, flow, velocity(flow))
    ends = []
    for name in KNOWN:
        process = each[name]
        walked = renewed(student, model, flow, velocity(flow), process, X)
        levels = level_at(name, ratios)
        a, b = process.a(levels), process.b(levels)
        x = a[0] * start
        for i in range(len(levels) - 1):
            data = walked(x, levels[i].expand(4))
            data = expect.tensor(data, (4, 2), "x̂")
            x = a[i + 1] * data + b[i + 1] / b[i] * (x - a[i] * data)
        ends.append(x / a[-1])
        says = f"{name} and rectified flow end at other samples"
        expect.close(ends[-1], ends[0], says, what="x", atol=1e-8, rtol=1e-8)
    near = truth.noised(1.0, 0.03).log_density(ends[0]) > -12
    expect.true(bool(near.all()), "the walk ends at no data")


@reparametrised(weight=2)
def test_pure_noise_is_asked_for_exactly(student, generator):
    """at a = 0 it asks at a = 0 too, and a velocity there is x_1 − E[x]"""
    truth = mixture(generator)
    mean = truth.weights @ truth.means
    each = processes.rectified_flow(), processes.cosine(), curved(generator)
    for process in each:
        for target in (X, velocity(process), angular(process), wavy(generator)):
            for new in some(generator, each, 1):
                t, z = torch.tensor([1.0, 0.5, 1.0], dtype=torch.float64), normal(generator, 3, 2)
                x_t, model = new.b(t)[:, None] * z, exact(truth, process, target)
                found = renewed(student, model, process, target, new, velocity(new))(x_t, t)
                says = "a = 0 is at t = 1"
                expect.close(model.times[0][::2], t[::2], says, what="u", atol=0, rtol=0)
                found = expect.tensor(found, (3, 2), "y")[::2]
                want = float(new.da(t)[0]) * mean + float(new.db(t)[0]) * z[::2]
                expect.close(found, want, "E[y | x_1] = a′ E[x] + b′ z", atol=1e-9, rtol=1e-9)


@reparametrised(weight=2)
def test_what_is_beyond_the_ends(student, generator):
    """where the trained process has no such level it is asked at its nearer end"""
    flow, new_target = processes.rectified_flow(), wavy(generator)
    t = torch.tensor([0.0, 1.0, 0.999, 0.001, 0.5], dtype=torch.float64)
    for process, u in (
        (processes.variance_exploding(0.05, 20.0), [0.0, 1.0, 1.0, 0.0, None]),
        (processes.edm(30.0), [0.0, 1.0, 1.0, None, None]),
        (processes.variance_preserving(beta_max=5.0), [0.0, 1.0, 1.0, None, None]),
        (processes.variance_preserving(lambda t: 0.9 - 0.8 * t), [0.0, 1.0, 1.0, 0.0, None]),
    ):
        at = [i for i, level in enumerate(u) if level is not None]
        level = torch.tensor([u[i] for i in at], dtype=torch.float64)
        x_t, model = normal(generator, 5, 2), anything()
        args = (process, angular(process), flow, new_target)
        found = renewed(student, model, *args)(x_t, t)
        found = expect.tensor(found, (5, 2), "y")
        expect.close(model.times[0][at], level, "the nearer end", what="u", atol=0, rtol=0)
        want = by_hand(anything(), level, x_t[at], t[at], *args)
        expect.close(found[at], want, "x_t scaled, and asked there", atol=1e-8, rtol=1e-8)


@reparametrised(weight=2)
def test_conditions_are_handed_on(student, generator):
    """a condition of any form goes to the model, and none is made where none is given"""
    n, process, new = 3, processes.cosine(), processes.rectified_flow()
    target, t = angular(process), uniform(generator, n)
    zeros = torch.zeros(n, dtype=torch.long)  # class 0 for all
    given = 90 * torch.arange(n), zeros, normal(generator, n, 2), 50 * normal(generator, n, 3, 2)
    for y in given:
        x_t, model = normal(generator, n, 2, 2), anything()
        args = (process, target, new, velocity(new))
        found = renewed(student, model, *args)(x_t, t, y)
        got = model.conditions[0]
        expect.true(isinstance(got, torch.Tensor), "the condition is lost on the way", got, y)
        expect.close(got, y, "the condition is another one", what="y", atol=0, rtol=0)
        want = by_hand(anything(), level_at("cosine", t / (1 - t)), x_t, t, *args, y)
        expect.close(found, want, "with a condition", what="y", atol=1e-8, rtol=1e-8)
        made = renewed(student, model, *args)
        made(x_t, t, y)
        made(x_t, t)
        got = model.conditions[-1]
        expect.true(got is None, "a condition is kept for the next call, which has none", got)
    plain = anything().field

    def two_arguments(x_t, t):
        return plain(x_t, column(t, x_t), None)

    found = renewed(student, two_arguments, *args)(x_t, t)
    want = by_hand(anything(), level_at("cosine", t / (1 - t)), x_t, t, *args)
    expect.close(found, want, "without one, it is called as model(x_u, u)", atol=1e-8, rtol=1e-8)


@reparametrised(weight=2)
def test_new_models_of_every_shape(student, generator):
    """numbers, points and images, one example or many, in float32 too"""
    process, new = processes.cosine(), curved(generator)
    target, new_target = angular(process), wavy(generator)
    for shape in SHAPES:
        size = 100 if len(shape) == 3 else 1
        x_t, t = size * normal(generator, *shape), levels_for(generator, shape)
        args = (process, target, new, new_target)
        want = by_hand(anything(), level_at("cosine", new.b(t) / new.a(t)), x_t, t, *args)
        model = renewed(student, anything(), *args)
        says = f"x_t of shape {shape}"
        expect.close(model(x_t, t), want, says, what="y", atol=1e-9, rtol=1e-9)
        if len(shape) == 3:
            continue
        single = model(x_t.float(), t.float())
        expect.close(single, want, f"{shape} in float32", what="y", **SINGLE)


@reparametrised
def test_gradients_of_the_new_model(student, generator):
    """gradients flow into x_t and into the weights of the network, with a condition and without"""
    process, new = processes.cosine(), processes.rectified_flow()
    args = (process, angular(process), new, velocity(new))
    x_t, t, w = normal(generator, 3, 2), uniform(generator, 3), normal(generator, 3, 2)
    u = level_at("cosine", t / (1 - t))
    shapes = {"W": (2, 2), "u": (2,), "c": (4, 2)}
    start = {k: normal(generator, *v).float() for k, v in shapes.items()}
    for y in (None, torch.tensor([3, 1, 1])):
        net = student.new("checking.fakes.LinearField", dim=2, classes=4)
        net.load(start)
        net.call("double")
        given = (x_t, t) if y is None else (x_t, t, y)
        model = renewed(student, net, *args)
        made = student.gradient("checking.fakes.weighted", model, w, *given, wrt=[x_t, net])
        (alone,) = student.gradient("checking.fakes.weighted", model, w, *given, wrt=[net])
        leaf = {k: v.double().requires_grad_() for k, v in start.items()}
        x = x_t.clone().requires_grad_()

        def linear(x_u, u, y, leaf=leaf):
            moved = leaf["c"][torch.zeros(3).long() if y is None else y]
            return x_u @ leaf["W"].T + column(u, x_u) * leaf["u"] + moved

        (w * by_hand(linear, u, x, t, *args, y)).sum().backward()
        says = "" if y is None else ", with a condition"
        expect.true(made[0] is not None, f"no gradient arrives at x_t{says}")
        expect.close(made[0], x.grad, f"the gradient in x_t{says}", atol=1e-9, rtol=1e-9)
        for name, v in leaf.items():
            expect.true(made[1][name] is not None, f"no gradient arrives in the network{says}")
            told = f"the gradient in the network{says}"
            expect.close(made[1][name], v.grad, told, atol=1e-9, rtol=1e-9)
            told = f"{told}, where x_t takes none"
            expect.true(alone[name] is not None, told, None, v.grad)
            expect.close(alone[name], v.grad, told, atol=1e-9, rtol=1e-9)


@reparametrised
def test_a_model_that_says_nothing_is_refused(student, generator):
    """an ε-model in pure noise, an x-model without noise, and levels that do not fit are refused"""
    flow, cosine = processes.rectified_flow(), processes.cosine()
    x_t, t = normal(generator, 3, 2), uniform(generator, 3)
    for says, target, at in (("ε at a = 0", NOISE, 1.0), ("x at b = 0", X, 0.0)):
        model = renewed(student, anything(), cosine, target, flow, velocity(flow))
        expect.tensor(model(x_t, t.clone()), (3, 2), "y")
        wrong = t.clone()
        wrong[1] = at
        for k in (slice(None), slice(1, 2)):
            told = REFUSED.format(says)
            expect.raises("ValueError", lambda k=k, m=model, w=wrong: m(x_t[k], w[k]), told)
    same = renewed(student, anything(), flow, NOISE, flow, NOISE)
    told = REFUSED.format("ε at a = 0, for the same process and target, too,")
    expect.raises("ValueError", lambda: same(x_t, t.ceil()), told)
    for shape in ((), (1,), (2,), (4,), (3, 1), (3, 2)):
        levels = torch.full(shape, 0.5, dtype=torch.float64)
        told = REFUSED.format(f"t of shape {shape} for 3 examples")
        for made in (model, same):
            expect.raises("ValueError", lambda v=levels, m=made: m(x_t, v), told)
