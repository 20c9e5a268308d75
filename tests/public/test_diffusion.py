"""Public checks of chapter 07, the algebra of generalised diffusion."""

import math

import pytest
import torch

from cs231n_gen.checking import expect, fakes
from cs231n_gen.given import processes
from cs231n_gen.given.processes import NOISE, Process, Target, X, angular, velocity

noise = pytest.mark.exercise("diffusion.noise")
to_x_and_noise = pytest.mark.exercise("diffusion.to_x_and_noise")
loss_weight = pytest.mark.exercise("diffusion.loss_weight")
score = pytest.mark.exercise("diffusion.score")
ode_velocity = pytest.mark.exercise("diffusion.ode_velocity")
reparametrised = pytest.mark.exercise("diffusion.reparametrised")

FLOW, COSINE, LINEAR = (
    processes.rectified_flow(),
    processes.cosine(),
    processes.variance_preserving(),
)
EXPLODING, EDM = processes.variance_exploding(), processes.edm()
BENT = Process(  # of no paper: neither a line nor variance preserving
    a=lambda t: 1.5 * (1 - t) * (1 + t / 2),
    b=lambda t: 1.25 * t * (1 + t),
    da=lambda t: 1.5 * (-0.5 - t),
    db=lambda t: 1.25 * (1 + 2 * t),
)
ODD = Target(c=lambda t: -0.5 - t, d=lambda t: 2 - t)
ODDER = Target(c=lambda t: 1 + t**2, d=lambda t: -0.25 - t)
PROCESSES = {
    "rectified flow": FLOW,
    "cosine": COSINE,
    "linear β": LINEAR,
    "variance exploding": EXPLODING,
    "EDM": EDM,
    "BENT": BENT,
}
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
SHAPES = [(1, 3), (2, 2), (2, 3, 4), (3, 1, 2, 2), (3,)]


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def levels(generator, n, low=0.1, high=0.9):
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


def levels_for(generator, shape):
    """A level for each example; in one of the shapes they are close to each other."""
    t = levels(generator, 3)[: shape[0]]
    return 0.4 + t / 100 if shape == (2, 2) else t


def column(value, x):
    """One number for each example, shaped to multiply x."""
    return value.reshape(-1, *[1] * (x.dim() - 1))


def targets(process):
    return {
        "x": X,
        "ε": NOISE,
        "velocity": velocity(process),
        "v": angular(process),
        "ODD": ODD,
        "ODDER": ODDER,
    }


def cases():
    """Every process with two or three targets, and what to call them."""
    for k, (name, process) in enumerate(PROCESSES.items()):
        for i, (asked, target) in enumerate(targets(process).items()):
            if (k + i) % 3 == 0 or process is FLOW:
                yield f"{name}, target {asked}", process, target


def mixed(x, z, t, process, target):
    """x_t and y."""
    a, b, c, d = (column(v, x) for v in (process.a(t), process.b(t), target.c(t), target.d(t)))
    return a * x + b * z, c * x + d * z


def refuses(call, args, where, what, shapes):
    """An argument of other shapes than the rest is refused."""
    for shape in shapes:
        given = list(args)
        given[where] = torch.full(shape, 0.5, dtype=torch.float64)
        says = f"ValueError for {what} of shape {shape}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda given=given: call(*given), says)


# --- diffusion.noise ----------------------------------------------------------------------------


def noised(student, x, z, t, process, target):
    found = student.diffusion.noise(x, z, t, process, target)
    x_t, y = expect.unpack(found, ["x_t", "y"])
    return expect.tensor(x_t, x.shape, "x_t"), expect.tensor(y, x.shape, "y")


@noise
def test_rectified_flow(student, generator):
    """for rectified flow x_t is (1 − t) x + t z, and the velocity is z − x"""
    x, z, t = normal(generator, 4, 2), normal(generator, 4, 2), levels(generator, 4)
    x_t, y = noised(student, x, z, t, FLOW, velocity(FLOW))
    says = "x_t = a(t) x + b(t) z with a = process.a(t), b = process.b(t)"
    expect.close(x_t, (1 - t[:, None]) * x + t[:, None] * z, says, what="x_t", **DOUBLE)
    says = "y = c(t) x + d(t) z with c = target.c(t), d = target.d(t)"
    expect.close(y, z - x, says, what="y", **DOUBLE)


@noise
def test_any_process_and_target(student, generator):
    """x_t = a x + b z and y = c x + d z, for any process and target"""
    for says, process, target in cases():
        x, z, t = normal(generator, 3, 2), normal(generator, 3, 2), levels(generator, 3)
        x_t, y = noised(student, x, z, t, process, target)
        want = mixed(x, z, t, process, target)
        expect.close(x_t, want[0], f"x_t = a x + b z, {says}", what="x_t", **DOUBLE)
        expect.close(y, want[1], f"y = c x + d z, {says}", what="y", **DOUBLE)


@noise
def test_variance_is_preserved(student):
    """variance preserving processes keep x_t and v at unit variance"""
    t = torch.linspace(0.1, 0.9, 3, dtype=torch.float64)
    x = torch.tensor([[1.0, 1.0, -1.0, -1.0]] * 3, dtype=torch.float64)
    z = torch.tensor([[1.0, -1.0, 1.0, -1.0]] * 3, dtype=torch.float64)
    for process in (COSINE, LINEAR):
        for found in noised(student, x, z, t, process, angular(process)):
            says = "x and z of unit variance, uncorrelated: so are x_t and v"
            expect.close(found.square().mean(1), torch.ones(3), says, **DOUBLE)


@noise
def test_both_ends_of_a_process(student, generator):
    """at t = 0 and t = 1 it is what the process says, data or noise alone for some"""
    x, z = normal(generator, 2, 3), normal(generator, 2, 3)
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for process in (FLOW, COSINE):
        x_t, y = noised(student, x, z, t, process, ODD)
        want = torch.stack([x[0], z[1]])
        expect.close(x_t, want, "data at t = 0, noise at t = 1", what="x_t", **DOUBLE)
        want = mixed(x, z, t, process, ODD)[1]
        expect.close(y, want, "y = c x + d z at both ends, too", what="y", **DOUBLE)
    x_t, _ = noised(student, x, z, t, BENT, ODD)
    want = torch.stack([1.5 * x[0], 2.5 * z[1]])
    expect.close(x_t, want, "a(0) = 1.5 and b(1) = 2.5 here", what="x_t", **DOUBLE)
    x_t, _ = noised(student, x, z, t, EXPLODING, X)
    want = torch.stack([x[0] + 0.01 * z[0], x[1] + 50 * z[1]])
    expect.close(x_t, want, "variance exploding: x + σ(t) z", what="x_t", **DOUBLE)


@noise
def test_data_of_any_shape(student, generator):
    """each example has its own level: numbers, points, images, and a batch of one"""
    for shape in SHAPES:
        x, z = 50 * normal(generator, *shape), 50 * normal(generator, *shape)
        t = levels_for(generator, shape)
        x_t, y = noised(student, x, z, t, BENT, ODD)
        want = mixed(x, z, t, BENT, ODD)
        says = f"x of shape {shape}: give a, b, c and d an axis for each further axis of x"
        expect.close(x_t, want[0], says, what="x_t", **DOUBLE)
        expect.close(y, want[1], says, what="y", **DOUBLE)
    single = noised(student, x.float(), z.float(), t.float(), BENT, ODD)
    expect.close(single[0], want[0], "in float32", what="x_t", atol=1e-3, rtol=1e-4)
    expect.close(single[1], want[1], "in float32", what="y", atol=1e-3, rtol=1e-4)


@noise
def test_gradients_flow(student, generator):
    """gradients flow into x and z"""
    x, z, t = normal(generator, 2, 2), normal(generator, 2, 2), levels(generator, 2)
    dx, dz = student.gradient("diffusion.noise", x, z, t, BENT, ODD, wrt=[x, z])
    expect.true(dx is not None and dz is not None, "no gradient arrives at x or z")
    one = torch.ones_like(x)
    x_t, y = mixed(one, 0 * one, t, BENT, ODD)
    expect.close(dx, x_t + y, "the gradient of x_t + y in x is a + c", **DOUBLE)
    x_t, y = mixed(0 * one, one, t, BENT, ODD)
    expect.close(dz, x_t + y, "the gradient of x_t + y in z is b + d", **DOUBLE)


@noise
def test_shapes_that_do_not_fit(student, generator):
    """noise not shaped like x, and levels that are not one for each, are refused"""
    x, z, t = normal(generator, 4, 3), normal(generator, 4, 3), levels(generator, 4)
    args, call = (x, z, t, COSINE, X), student.diffusion.noise
    noised(student, *args)
    refuses(call, args, 1, "z", [(4, 1), (1, 3), (3, 4), (4, 3, 1)])
    refuses(call, args, 2, "t", [(), (1,), (4, 1)])


# --- diffusion.to_x_and_noise -------------------------------------------------------------------


def solved(student, prediction, x_t, t, process, target):
    found = student.diffusion.to_x_and_noise(prediction, x_t, t, process, target)
    x, z = expect.unpack(found, ["x̂", "ẑ"])
    return expect.tensor(x, x_t.shape, "x̂"), expect.tensor(z, x_t.shape, "ẑ")


@to_x_and_noise
def test_of_a_straight_line(student, generator):
    """for rectified flow x̂ = x_t − t v and ẑ = x_t + (1 − t) v"""
    x_t, v, t = normal(generator, 4, 2), normal(generator, 4, 2), levels(generator, 4)
    x, z = solved(student, v, x_t, t, FLOW, velocity(FLOW))
    says = "Δ = a d − b c is (1 − t) + t = 1 here"
    expect.close(x, x_t - t[:, None] * v, f"x̂ = (d x_t − b y) / Δ; {says}", what="x̂", **DOUBLE)
    expect.close(
        z, x_t + (1 - t[:, None]) * v, f"ẑ = (a y − c x_t) / Δ; {says}", what="ẑ", **DOUBLE
    )


@to_x_and_noise
def test_there_and_back(student, generator):
    """it gives back the x and z that were mixed, for any process and target"""
    for says, process, target in cases():
        x, z, t = normal(generator, 3, 2), normal(generator, 3, 2), levels(generator, 3)
        x_t, y = mixed(x, z, t, process, target)
        found = solved(student, y, x_t, t, process, target)
        expect.close(found[0], x, f"x̂ is not the x that was mixed, {says}", what="x̂", **DOUBLE)
        expect.close(found[1], z, f"ẑ is not the z that was mixed, {says}", what="ẑ", **DOUBLE)


@to_x_and_noise
def test_at_both_ends(student, generator):
    """at t = 0 and t = 1 it still works, for velocities and v"""
    x, z = normal(generator, 2, 3), normal(generator, 2, 3)
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for process in (FLOW, COSINE, BENT):
        for name in ("velocity", "v", "ODD"):
            target = targets(process)[name]
            x_t, y = mixed(x, z, t, process, target)
            found = solved(student, y, x_t, t, process, target)
            says = f"target {name}: Δ is not 0 here, divide by it alone"
            expect.close(found[0], x, says, what="x̂", **DOUBLE)
            expect.close(found[1], z, says, what="ẑ", **DOUBLE)
    for target, at in ((NOISE, 0), (X, 1)):
        one = slice(at, at + 1)
        x_t, y = mixed(x[one], z[one], t[one], COSINE, target)
        found = solved(student, y, x_t, t[one], COSINE, target)
        says = "ε-prediction at t = 0 and x-prediction at t = 1 give both x and z"
        expect.close(found[0], x[one], says, what="x̂", **DOUBLE)
        expect.close(found[1], z[one], says, what="ẑ", **DOUBLE)


@to_x_and_noise
def test_a_prediction_without_news(student, generator):
    """Δ = 0 is refused, for x at b = 0 and for ε at a = 0"""
    x_t, y, t = normal(generator, 3, 2), normal(generator, 3, 2), levels(generator, 3)
    call = student.diffusion.to_x_and_noise
    same = Target(c=lambda t: 0 * t + 0.5, d=lambda t: 0 * t + 0.5)
    for target, at in ((X, 0.0), (NOISE, 1.0), (same, 0.5)):
        solved(student, y, x_t, t.clone(), FLOW, target)
        wrong = t.clone()
        wrong[1] = at
        for rows in ([1], [1, 0, 2], [0, 1, 2]):
            args = (y[rows], x_t[rows], wrong[rows].clone(), FLOW, target)
            says = f"ValueError where Δ = 0, here t = {at}: call check_solvable(Δ, t)"
            expect.raises("ValueError", lambda args=args: call(*args), says)
    many = levels(generator, 400, 0.01, 0.05)  # the product of so many small Δ is 0 in a computer
    found = solved(student, many, many, many.clone(), FLOW, X)
    expect.close(found[0], many, "no Δ is 0 here, of many levels", what="x̂", **DOUBLE)
    for step in (1e-4, 1e-13):
        t = torch.tensor([step, 0.5, 1 - step], dtype=torch.float64)
        for target in (X, NOISE):
            found = solved(student, y, x_t, t, FLOW, target)
            back = mixed(*found, t, FLOW, target)
            says = f"{step} next to that level both equations can be solved as everywhere"
            expect.close(back[0], x_t, says, what="a x̂ + b ẑ", atol=1e-8, rtol=1e-8)
            expect.close(back[1], y, says, what="c x̂ + d ẑ", atol=1e-8, rtol=1e-8)


@to_x_and_noise
def test_predictions_of_any_shape(student, generator):
    """each example has its own level: numbers, points, images, and a batch of one"""
    for shape in SHAPES:
        x, z, t = (
            50 * normal(generator, *shape),
            normal(generator, *shape),
            levels_for(generator, shape),
        )
        x_t, y = mixed(x, z, t, BENT, ODD)
        found = solved(student, y, x_t, t, BENT, ODD)
        says = f"x_t of shape {shape}: give a, b, c, d and Δ an axis for each further axis of x_t"
        expect.close(found[0], x, says, what="x̂", **DOUBLE)
        expect.close(found[1], z, says, what="ẑ", **DOUBLE)
    single = solved(student, y.float(), x_t.float(), t.float(), BENT, ODD)
    expect.close(single[0], x, "in float32", what="x̂", atol=1e-3, rtol=1e-4)
    expect.close(single[1], z, "in float32", what="ẑ", atol=1e-3, rtol=1e-4)


def in_prediction_and_x_t(student, generator, name):
    """The gradients of a function of both, and a, b, c, d, shaped like x_t."""
    x_t, y, t = normal(generator, 2, 2), normal(generator, 2, 2), levels(generator, 2)
    dy, dx = student.gradient(f"diffusion.{name}", y, x_t, t, BENT, ODD, wrt=[y, x_t])
    expect.true(dy is not None and dx is not None, "no gradient arrives at prediction or x_t")
    functions = (BENT.a, BENT.b, ODD.c, ODD.d, BENT.da, BENT.db)
    return dy, dx, *(f(t)[:, None].expand(2, 2) for f in functions)


@to_x_and_noise
def test_gradients_flow_into_both(student, generator):
    """gradients flow into prediction and x_t"""
    dy, dx, a, b, c, d, *_ = in_prediction_and_x_t(student, generator, "to_x_and_noise")
    expect.close(dy, (a - b) / (a * d - b * c), "x̂ + ẑ in the prediction: (a − b) / Δ", **DOUBLE)
    expect.close(dx, (d - c) / (a * d - b * c), "x̂ + ẑ in x_t: (d − c) / Δ", **DOUBLE)


def misfits_are_refused(student, name, generator):
    x_t, y, t = normal(generator, 4, 3), normal(generator, 4, 3), levels(generator, 4)
    args, call = (y, x_t, t, COSINE, angular(COSINE)), getattr(student.diffusion, name)
    call(*args)
    refuses(call, args, 0, "a prediction", [(4, 1), (1, 3), (3, 4), (4, 3, 1)])
    refuses(call, args, 2, "t", [(), (1,), (4, 1)])


@to_x_and_noise
def test_what_does_not_fit(student, generator):
    """predictions not shaped like x_t, and levels that are not one for each, are refused"""
    misfits_are_refused(student, "to_x_and_noise", generator)


# --- diffusion.loss_weight ----------------------------------------------------------------------


def weights(student, t, process, target):
    return expect.tensor(student.diffusion.loss_weight(t, process, target), t.shape, "the weights")


@loss_weight
def test_known_weights(student, generator):
    """1 for x, SNR for ε, SNR + 1 for v of a variance preserving process, 1 / t² for flow"""
    t = levels(generator, 4)
    for name in ("rectified flow", "cosine", "linear β", "EDM"):
        process = PROCESSES[name]
        snr = (process.a(t) / process.b(t)) ** 2
        found = weights(student, t, process, X)
        expect.close(found, torch.ones(4), "x-prediction weighs all levels by 1", **DOUBLE)
        found = weights(student, t, process, NOISE)
        expect.close(found, snr, f"ε-prediction: SNR = a² / b², {name}", **DOUBLE)
    for process in (COSINE, LINEAR):
        snr = (process.a(t) / process.b(t)) ** 2
        found = weights(student, t, process, angular(process))
        expect.close(found, snr + 1, "v-prediction: SNR + 1", **DOUBLE)
    found = weights(student, t, FLOW, velocity(FLOW))
    expect.close(found, t**-2, "velocity of rectified flow: 1 / t²", **DOUBLE)


@loss_weight
def test_what_an_error_costs(student, generator):
    """an error of 1 in x̂ brings one of −a / b in ẑ; the weight is the square of both in y"""
    for says, process, target in cases():
        t = levels(generator, 4)
        cost = (target.c(t) - target.d(t) * process.a(t) / process.b(t)) ** 2
        found = weights(student, t, process, target)
        expect.close(found, cost, says, atol=1e-10, rtol=1e-10)


@loss_weight
def test_at_b_0(student):
    """where b = 0 it is c² if d = 0, else ∞"""
    t = torch.tensor([0.0, 0.5, 0.0], dtype=torch.float64)
    only_x = Target(c=lambda t: 1.5 - t, d=torch.zeros_like)
    hardly = Target(c=torch.ones_like, d=lambda t: 0 * t + 1e-9)  # hardly any z, but some
    for process in (FLOW, COSINE, LINEAR, BENT):
        for target in (X, only_x):
            found = weights(student, t, process, target)
            says = "with d = 0 it is c², at b = 0 too: no 0 / 0"
            expect.close(found, target.c(t) ** 2, says, **DOUBLE)
        for target in (NOISE, ODD, ODDER, hardly):
            found = student.diffusion.loss_weight(t, process, target)
            got = isinstance(found, torch.Tensor) and found.shape == (3,)
            got = got and found.isposinf().tolist() == [True, False, True]
            says = "where b = 0, z costs infinitely much"
            expect.true(bool(got), says, found, "∞, a number, ∞")
        of_some = Target(c=lambda t: 1.5 - t, d=lambda t: t)  # d is 0 at t = 0 alone
        found = weights(student, t, process, of_some)
        want = (1.5 - t - torch.where(t == 0, 0.0, t * process.a(t) / process.b(t))) ** 2
        expect.close(
            found, want, "d = t is 0 at t = 0: c² there, (a d / b − c)² elsewhere", **DOUBLE
        )


@loss_weight
def test_levels_of_any_shape(student, generator):
    """one level without an axis, a row, or a table of them, in float32 too"""
    for shape in ((), (1,), (3,), (2, 3), (16, 16)):
        t = levels(generator, shape)
        for process, target in ((BENT, ODD), (COSINE, ODDER)):
            want = (target.c(t) - target.d(t) * process.a(t) / process.b(t)) ** 2
            says = f"levels of shape {shape}"
            expect.close(weights(student, t, process, target), want, says, **DOUBLE)
            found = weights(student, t.float(), process, target)
            expect.close(found, want, f"{says}, in float32", atol=1e-4, rtol=1e-3)


@loss_weight
def test_near_the_ends(student):
    """down to t = 10⁻¹² and up to t = 1, from weights of 0 to very large ones"""
    t = torch.tensor([1e-12, 1e-6, 0.5, 1 - 1e-6, 1.0], dtype=torch.float64)
    for says, process, target, want in (
        ("velocity of rectified flow", FLOW, velocity(FLOW), t**-2),
        ("ε of rectified flow", FLOW, NOISE, ((1 - t) / t) ** 2),
        ("x_t itself as target", FLOW, Target(FLOW.a, FLOW.b), 0 * t),
        ("v of cosine, whose d is 0 at t = 1", COSINE, angular(COSINE), COSINE.b(t) ** -2),
    ):
        found = weights(student, t, process, target)
        expect.close(found, want, says, atol=1e-11, rtol=1e-9)
    found = weights(student, 0 * t, EXPLODING, NOISE)
    says = "at t = 0 variance exploding leaves b = 0.01: 1 / b²"
    expect.close(found, 1e4 + 0 * t, says, atol=0, rtol=1e-9)


# --- diffusion.score ----------------------------------------------------------------------------


def scored(student, prediction, x_t, t, process, target):
    found = student.diffusion.score(prediction, x_t, t, process, target)
    return expect.tensor(found, x_t.shape, "the score")


def gaussian(generator, process, target, t, *shape):
    """Data that are N(μ, 0.25 I): x_t, the best prediction of y, the score, the ODE's velocity."""
    mean, e = normal(generator, *shape), normal(generator, len(t), *shape)
    functions = (process.a, process.b, target.c, target.d, process.da, process.db)
    a, b, c, d, da, db = (column(f(t), e) for f in functions)
    std = (a**2 / 4 + b**2).sqrt()
    x, z = mean + a / 4 / std * e, b / std * e
    return a * mean + std * e, c * x + d * z, -e / std, da * x + db * z


@score
def test_the_score_of_a_gaussian(student, generator):
    """of the best prediction for N(μ, σ² I) it is (a μ − x_t) / (a² σ² + b²)"""
    for says, process, target in cases():
        t = levels(generator, 3)
        x_t, y, s, _ = gaussian(generator, process, target, t, 2)
        found = scored(student, y, x_t, t, process, target)
        told = f"s = −ẑ / b, the score of p_t, {says}"
        expect.close(found, s, told, what="s", atol=1e-9, rtol=1e-9)


@score
def test_whatever_is_predicted(student, generator):
    """of y = c x + d z it is −z / b, whatever x and z are"""
    for says, process, target in cases():
        x, z, t = normal(generator, 3, 2), normal(generator, 3, 2), levels(generator, 3)
        x_t, y = mixed(x, z, t, process, target)
        found = scored(student, y, x_t, t, process, target)
        want = -z / process.b(t)[:, None]
        expect.close(found, want, says, what="s", atol=1e-9, rtol=1e-9)


@score
def test_from_pure_noise_to_hardly_any(student, generator):
    """in pure noise it is −x_t / b², and it holds down to b = 10⁻⁷, at t = 0 if b is not 0"""
    x, z = normal(generator, 3, 2), normal(generator, 3, 2)
    zero = torch.zeros(2, dtype=torch.float64)
    for target in (X, NOISE):
        x_t, y = mixed(x[:2], z[:2], zero, EXPLODING, target)
        found = scored(student, y, x_t, zero, EXPLODING, target)
        says = "at t = 0 variance exploding leaves b = 0.01: −ẑ / b"
        expect.close(found, -100 * z[:2], says, what="s", atol=1e-8, rtol=1e-8)
    t = torch.tensor([1.0, 1e-5, 1e-7], dtype=torch.float64)
    for process in (FLOW, COSINE, BENT):
        for name in ("x", "velocity", "v", "ODD"):
            target = targets(process)[name]
            x_t, y = mixed(x, z, t, process, target)
            b = process.b(t)[:, None]
            found = scored(student, y, x_t, t, process, target)
            expect.close(b * found, -z, f"b s = −ẑ, {name}", what="b s", atol=1e-6, rtol=1e-6)


@score
def test_scores_of_any_shape(student, generator):
    """each example has its own level: numbers, points, images, and a batch of one"""
    for shape in SHAPES:
        x, z, t = (
            normal(generator, *shape),
            50 * normal(generator, *shape),
            levels_for(generator, shape),
        )
        x_t, y = mixed(x, z, t, BENT, ODD)
        found = scored(student, y, x_t, t, BENT, ODD)
        want = -z / column(BENT.b(t), z)
        says = f"x_t of shape {shape}"
        expect.close(found, want, says, what="s", atol=1e-9, rtol=1e-10)
    single = scored(student, y.float(), x_t.float(), t.float(), BENT, ODD)
    expect.close(single, want, "in float32", what="s", atol=1e-2, rtol=1e-4)


@score
def test_gradients_flow_into_prediction_and_x_t(student, generator):
    """gradients flow into prediction and x_t"""
    dy, dx, a, b, c, d, *_ = in_prediction_and_x_t(student, generator, "score")
    delta = a * d - b * c
    expect.close(dy, -a / (b * delta), "in the prediction: −a / (b Δ)", atol=1e-9, rtol=1e-9)
    expect.close(dx, c / (b * delta), "in x_t: c / (b Δ)", atol=1e-9, rtol=1e-9)


@score
def test_no_score_without_noise(student, generator):
    """b = 0 is refused, and ε-prediction at a = 0, and what does not fit"""
    x_t, y, call = normal(generator, 3, 2), normal(generator, 3, 2), student.diffusion.score
    for target, at in ((velocity(FLOW), 0.0), (NOISE, 0.0), (NOISE, 1.0)):
        t = levels(generator, 3)
        scored(student, y, x_t, t.clone(), FLOW, target)
        t[2] = at
        for k in (0, 2):
            args = (y[k:], x_t[k:], t[k:].clone(), FLOW, target)
            says = f"ValueError at t = {at}: the score does not follow from the prediction there"
            expect.raises("ValueError", lambda args=args: call(*args), says)
    misfits_are_refused(student, "score", generator)


# --- diffusion.ode_velocity ---------------------------------------------------------------------


def flowing(student, prediction, x_t, t, process, target):
    found = student.diffusion.ode_velocity(prediction, x_t, t, process, target)
    return expect.tensor(found, x_t.shape, "the velocity")


@ode_velocity
def test_the_velocity_of_rectified_flow(student, generator):
    """for rectified flow's own target it is the prediction itself"""
    x_t, v, t = normal(generator, 3, 2), normal(generator, 3, 2), levels(generator, 3)
    found = flowing(student, v, x_t, t, FLOW, velocity(FLOW))
    expect.close(found, v, "a′ x̂ + b′ ẑ = ẑ − x̂ = v", what="dx_t/dt", **DOUBLE)


@ode_velocity
def test_the_flow_of_a_gaussian(student, generator):
    """of the best prediction for N(μ, σ² I) it moves the mean and the spread as t does"""
    for says, process, target in cases():
        t = levels(generator, 3)
        x_t, y, _, v = gaussian(generator, process, target, t, 2)
        found = flowing(student, y, x_t, t, process, target)
        told = f"a′ x̂ + b′ ẑ with a′ = process.da(t), b′ = process.db(t), {says}"
        expect.close(found, v, told, what="dx_t/dt", atol=1e-9, rtol=1e-9)


@ode_velocity
def test_of_any_prediction(student, generator):
    """of y = c x + d z it is a′ x + b′ z, whatever x and z are"""
    for says, process, target in cases():
        x, z, t = normal(generator, 3, 2), normal(generator, 3, 2), levels(generator, 3)
        x_t, y = mixed(x, z, t, process, target)
        found = flowing(student, y, x_t, t, process, target)
        want = process.da(t)[:, None] * x + process.db(t)[:, None] * z
        expect.close(found, want, says, what="dx_t/dt", atol=1e-9, rtol=1e-9)


@ode_velocity
def test_a_0_and_b_0(student, generator):
    """it holds at t = 0, at t = 1 and next to them"""
    x, z = normal(generator, 4, 2), normal(generator, 4, 2)
    t = torch.tensor([0.0, 1e-6, 1 - 1e-6, 1.0], dtype=torch.float64)
    for process in (FLOW, COSINE, BENT):
        want = process.da(t)[:, None] * x + process.db(t)[:, None] * z
        for name in ("velocity", "v", "ODD"):
            target = targets(process)[name]
            x_t, y = mixed(x, z, t, process, target)
            found = flowing(student, y, x_t, t, process, target)
            says = f"target {name}: a′ x̂ + b′ ẑ divides by neither a nor b"
            expect.close(found, want, says, what="dx_t/dt", atol=1e-8, rtol=1e-8)


@ode_velocity
def test_velocities_of_any_shape(student, generator):
    """each example has its own level: numbers, points, images, and a batch of one"""
    for shape in SHAPES:
        x, z, t = (
            normal(generator, *shape),
            2000 * normal(generator, *shape),
            levels_for(generator, shape),
        )
        x_t, y = mixed(x, z, t, BENT, ODD)
        found = flowing(student, y, x_t, t, BENT, ODD)
        want = column(BENT.da(t), x) * x + column(BENT.db(t), x) * z
        says = f"x_t of shape {shape}"
        expect.close(found, want, says, what="dx_t/dt", atol=1e-9, rtol=1e-10)
    single = flowing(student, y.float(), x_t.float(), t.float(), BENT, ODD)
    expect.close(single, want, "in float32", what="dx_t/dt", atol=0.3, rtol=1e-3)


@ode_velocity
def test_gradients_in_prediction_and_x_t(student, generator):
    """gradients flow into prediction and x_t"""
    dy, dx, a, b, c, d, da, db = in_prediction_and_x_t(student, generator, "ode_velocity")
    delta = a * d - b * c
    says = "in the prediction: (a b′ − a′ b) / Δ"
    expect.close(dy, (a * db - da * b) / delta, says, atol=1e-9, rtol=1e-9)
    expect.close(dx, (da * d - db * c) / delta, "in x_t: (a′ d − b′ c) / Δ", atol=1e-9, rtol=1e-9)


@ode_velocity
def test_no_velocity_without_news(student, generator):
    """Δ = 0 is refused, and what does not fit"""
    x_t, y, call = normal(generator, 3, 2), normal(generator, 3, 2), student.diffusion.ode_velocity
    for target, at in ((X, 0.0), (NOISE, 1.0)):
        t = levels(generator, 3)
        flowing(student, y, x_t, t.clone(), FLOW, target)
        t[2] = at
        for k in (0, 2):
            args = (y[k:], x_t[k:], t[k:].clone(), FLOW, target)
            says = f"ValueError at t = {at}, where Δ = 0"
            expect.raises("ValueError", lambda args=args: call(*args), says)
    misfits_are_refused(student, "ode_velocity", generator)


# --- diffusion.reparametrised -------------------------------------------------------------------


def renewed(student, model, process, target, new_process, new_target):
    """The new model, whose calls are watched as those of the exercise."""
    name = "diffusion.reparametrised"
    return student.new(name, model, process, target, new_process, new_target)


def anything():
    """A model that is no best one: of examples of any shape, and of conditions."""

    def field(x_t, t, y):
        told = 0 if y is None else column(y.to(x_t.dtype).reshape(len(y), -1).sum(1), x_t)
        return 0.6 * x_t + (t - 0.3) * x_t + 0.2 * told

    return fakes.Recorder(field)


def level_at(process, ratio):
    """The level at which b / a is this, in closed form."""
    if process is FLOW:
        return ratio / (1 + ratio)
    return 2 / math.pi * ratio.atan() if process is COSINE else ratio / 80


def by_hand(u, x_t, t, process, target, new_process, new_target, y=None, model=None):
    """What the new model returns, at the level u of the trained one, and x_u."""
    a, b, c, d = (column(f(u), x_t) for f in (process.a, process.b, target.c, target.d))
    old = new_process.a, new_process.b, new_target.c, new_target.d
    a_new, b_new, c_new, d_new = (column(f(t), x_t) for f in old)
    x_u = ((a**2 + b**2) / (a_new**2 + b_new**2)).sqrt() * x_t
    told, delta = (model or anything())(x_u, u, y), a * d - b * c
    x, z = (d * x_u - b * told) / delta, (a * told - c * x_u) / delta
    return c_new * x + d_new * z, x_u


PAIRS = [(FLOW, COSINE), (COSINE, EDM), (EDM, FLOW), (EDM, LINEAR), (FLOW, BENT), (COSINE, FLOW)]


@reparametrised
def test_the_level_and_the_scale(student, generator):
    """the model is asked once, at the level of the same b / a, at x_t scaled to its size"""
    for process, new in PAIRS:
        x_t, t, model = normal(generator, 3, 2), levels(generator, 3, 0.2, 0.6), anything()
        args = (process, angular(process), new, ODD)
        renewed(student, model, *args)(x_t, t)
        calls = len(model.inputs)
        expect.true(calls == 1, "one call of the trained model for each of the new one", calls, 1)
        u = level_at(process, new.b(t) / new.a(t))
        says = "u = level_of(process, a_new, b_new), with a_new and b_new at the level t"
        expect.close(model.times[0], u, says, what="u", atol=1e-9, rtol=1e-9)
        says = "x_u = k x_t with k² = (a(u)² + b(u)²) / (a_new² + b_new²)"
        x_u = by_hand(u, x_t, t, *args)[1]
        expect.close(model.inputs[0], x_u, says, what="x_u", atol=1e-8, rtol=1e-8)


@reparametrised
def test_what_the_new_model_answers(student, generator):
    """it answers c_new x̂ + d_new ẑ, of the x̂ and ẑ that the model stands for at x_u"""
    for k, (process, new) in enumerate(PAIRS):
        x_t, t = normal(generator, 3, 2), levels(generator, 3, 0.2, 0.6)
        u = level_at(process, new.b(t) / new.a(t))
        for target in (X, ODD) if k % 2 else (NOISE, velocity(process)):
            args = (process, target, new, ODDER)
            found = renewed(student, anything(), *args)(x_t, t)
            want = by_hand(u, x_t, t, *args)[0]
            says = "x̂, ẑ = to_x_and_noise(model(x_u, u), x_u, u, …), then y_new at t"
            expect.close(found, want, says, what="y", atol=1e-8, rtol=1e-8)


@reparametrised
def test_as_it_was_trained(student, generator):
    """with the process and target that it was trained for, it is the model itself"""
    for process in (FLOW, COSINE, LINEAR, EXPLODING, EDM):
        x_t, t = normal(generator, 3, 2), levels(generator, 3)
        target = velocity(process)
        found = renewed(student, anything(), process, target, process, target)(x_t, t)
        want = anything()(x_t, t)
        expect.close(found, want, "nothing changes: u = t, k = 1", what="y", atol=1e-7, rtol=1e-7)


@reparametrised
def test_beyond_both_ends(student, generator):
    """pure noise is asked for exactly, and the nearer end where the process ends before"""
    x_t, t = normal(generator, 3, 2), torch.tensor([0.0, 1.0, 0.9999], dtype=torch.float64)
    for process, new, rows in ((COSINE, FLOW, 2), (FLOW, COSINE, 2), (EXPLODING, FLOW, 3)):
        args, model, level = (process, angular(process), new, ODD), anything(), t[:rows].clone()
        found = renewed(student, model, *args)(x_t[:rows], level)
        u = level.round()
        says = "t = 0 and t = 1, or the nearer end: that is what level_of gives"
        expect.close(model.times[0], u, says, what="u", atol=1e-12, rtol=0)
        want = by_hand(u, x_t[:rows], level, *args)[0]
        says = "neither a_new nor b_new may be divided by, one of them is 0 here"
        expect.close(found, want, says, what="y", atol=1e-8, rtol=1e-8)


@reparametrised
def test_a_condition_is_handed_on(student, generator):
    """a condition goes to the model; without one it is called with two arguments"""
    x_t, t = normal(generator, 3, 2, 2), levels(generator, 3)
    args = (COSINE, angular(COSINE), FLOW, velocity(FLOW))
    u = level_at(COSINE, t / (1 - t))
    for y in (90 * torch.arange(3), normal(generator, 3, 2), torch.zeros(3, dtype=torch.long)):
        model = anything()
        found = renewed(student, model, *args)(x_t, t, y)
        got = model.conditions[0]
        expect.true(isinstance(got, torch.Tensor), "call model(x_u, u, y) when there is a y")
        expect.close(got, y, "y is handed on as it came", what="y", atol=0, rtol=0)
        want = by_hand(u, x_t, t, *args, y)[0]
        expect.close(found, want, "with a condition", what="y", atol=1e-8, rtol=1e-8)
    made = renewed(student, model, *args)
    made(x_t, t, y)
    made(x_t, t)
    got = model.conditions[-1]
    expect.true(got is None, "the next call has no condition: keep none from the last", got)
    plain = anything().field
    found = renewed(student, lambda x, t: plain(x, column(t, x), None), *args)(x_t, t)
    want = by_hand(u, x_t, t, *args)[0]
    expect.close(found, want, "without a y call model(x_u, u)", what="y", atol=1e-8, rtol=1e-8)


@reparametrised
def test_new_models_of_any_shape(student, generator):
    """each example has its own level: numbers, points, images, and a batch of one"""
    args = (COSINE, angular(COSINE), BENT, ODD)
    model = renewed(student, anything(), *args)
    for shape in SHAPES:
        x_t, t = 20 * normal(generator, *shape), levels_for(generator, shape)
        want = by_hand(level_at(COSINE, BENT.b(t) / BENT.a(t)), x_t, t, *args)[0]
        found = model(x_t, t)
        expect.close(found, want, f"x_t of shape {shape}", what="y", atol=1e-9, rtol=1e-9)
    single = model(x_t.float(), t.float())
    expect.close(single, want, "in float32", what="y", atol=1e-3, rtol=1e-4)


@reparametrised
def test_gradients_through_the_new_model(student, generator):
    """gradients flow into x_t and into the network, with a condition and without"""
    weights = {"W": torch.eye(2) / 2, "u": torch.ones(2), "c": torch.arange(4.0).reshape(2, 2)}
    args = (COSINE, angular(COSINE), FLOW, velocity(FLOW))
    x_t, t, w = normal(generator, 3, 2), levels(generator, 3), normal(generator, 3, 2)
    u = level_at(COSINE, t / (1 - t))
    for y in (None, torch.tensor([1, 0, 1])):
        net = student.new("checking.fakes.LinearField", dim=2, classes=2)
        net.load(weights)
        net.call("double")
        given = (x_t, t) if y is None else (x_t, t, y)
        model = renewed(student, net, *args)
        made = student.gradient("checking.fakes.weighted", model, w, *given, wrt=[x_t, net])
        (alone,) = student.gradient("checking.fakes.weighted", model, w, *given, wrt=[net])
        leaf = {k: v.double().requires_grad_() for k, v in weights.items()}
        x = x_t.clone().requires_grad_()

        def linear(x_u, u, y, leaf=leaf):
            moved = leaf["c"][torch.zeros(3).long() if y is None else y]
            return x_u @ leaf["W"].T + column(u, x_u) * leaf["u"] + moved

        (w * by_hand(u, x, t, *args, y, model=linear)[0]).sum().backward()
        expect.true(made[0] is not None, "no gradient arrives at x_t")
        expect.close(made[0], x.grad, "the gradient in x_t", atol=1e-9, rtol=1e-9)
        for name, v in leaf.items():
            expect.true(made[1][name] is not None, "no gradient arrives in the network")
            says = "the gradient in the network"
            expect.close(made[1][name], v.grad, says, atol=1e-9, rtol=1e-9)
            says = "the gradient in the network, where x_t takes none"
            expect.true(alone[name] is not None, says, None, v.grad)
            expect.close(alone[name], v.grad, says, atol=1e-9, rtol=1e-9)


@reparametrised
def test_models_that_say_nothing(student, generator):
    """an ε-model in pure noise is refused, an x-model without noise, and levels that do not fit"""
    x_t, t = normal(generator, 3, 2), levels(generator, 3)
    for target, at in ((NOISE, 1.0), (X, 0.0)):
        model = renewed(student, anything(), COSINE, target, FLOW, velocity(FLOW))
        model(x_t, t.clone())
        wrong = t.clone()
        wrong[1] = at
        says = f"ValueError at t = {at}: to_x_and_noise raises it for the trained process"
        expect.raises("ValueError", lambda m=model, w=wrong: m(x_t, w), says)
    same = renewed(student, anything(), FLOW, X, FLOW, X)
    zero = torch.zeros(3, dtype=torch.float64)
    says = "ValueError at t = 0 for the same process and target, too: x-prediction says nothing"
    expect.raises("ValueError", lambda: same(x_t, zero), says)
    for shape in ((), (1,), (3, 1)):
        wrong = torch.full(shape, 0.5, dtype=torch.float64)
        says = f"ValueError for t of shape {shape}: leave the line above yours as it is"
        for made in (model, same):
            expect.raises("ValueError", lambda w=wrong, m=made: m(x_t, w), says)
