"""Hidden graders of chapter 07's samplers: held to theory first (Gaussian posteriors, the moments
of a Gaussian step by step, the score of a mixture, limits of short steps)."""

import math

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.given import processes
from cs231n_gen.given.processes import NOISE, Process, Target, X, angular, velocity
from cs231n_gen.truth import GaussianMixture

ddim_step = pytest.mark.exercise("diffusion_samplers.ddim_step")
reverse_sde_step = pytest.mark.exercise("diffusion_samplers.reverse_sde_step")

# What rounding leaves where all that is computed is a double.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}


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


def with_noise_left(generator):
    """Another one, where some noise is left at t = 0 and some data at t = 1."""
    A, k = number(generator, 0.7, 1.5), number(generator, 0.5, 1.5)
    b0, b2 = number(generator, 0.1, 0.3), number(generator, 0.7, 1.3)
    return Process(
        a=lambda t: A * (-k * t).exp(),
        b=lambda t: b0 + b2 * t * t,
        da=lambda t: -k * A * (-k * t).exp(),
        db=lambda t: 2 * b2 * t,
    )


def own_target(generator):
    """A target of the test's own, that can be solved for x and z at every level."""
    c0, c1, d0, d1 = (number(generator, 0.4, 1.4) for _ in range(4))
    return Target(c=lambda t: -c0 - c1 * t, d=lambda t: d0 + d1 * t * t)


def named():
    return {
        "rectified flow": processes.rectified_flow(),
        "variance preserving": processes.variance_preserving(),
        "cosine": processes.cosine(),
        "variance exploding": processes.variance_exploding(),
        "EDM": processes.edm(),
    }


def pairs(generator):
    """Processes and targets of every kind."""
    own, left = own_process(generator), with_noise_left(generator)
    known = named()
    return [
        (known["rectified flow"], velocity(known["rectified flow"])),
        (known["variance preserving"], NOISE),
        (known["cosine"], angular(known["cosine"])),
        (known["variance exploding"], X),
        (own, own_target(generator)),
        (own, X),
        (left, velocity(left)),
        (left, NOISE),
    ]


class Case:
    """A step from t to s of which x̂ and ẑ are known: they are x and z."""

    def __init__(self, generator, process, target, shape=(6, 3), t=None, s=None, size=1.0):
        n = shape[0]
        self.process, self.target = process, target
        self.x, self.z = 1 + size * normal(generator, *shape), size * normal(generator, *shape)
        self.t = uniform(generator, n, 0.25, 0.95) if t is None else t
        self.s = self.t * uniform(generator, n, 0.2, 0.9) if s is None else s
        a, b, a_s, b_s, c, d, da, db = (
            column(f(v), self.x)
            for f, v in (
                (process.a, self.t),
                (process.b, self.t),
                (process.a, self.s),
                (process.b, self.s),
                (target.c, self.t),
                (target.d, self.t),
                (process.da, self.t),
                (process.db, self.t),
            )
        )
        self.a, self.b, self.a_s, self.b_s, self.da, self.db = a, b, a_s, b_s, da, db
        self.x_t, self.y = a * self.x + b * self.z, c * self.x + d * self.z
        self.h = column(self.t - self.s, self.x)

    def call(self, step, y=None, x_t=None, **how):
        y, x_t = self.y if y is None else y, self.x_t if x_t is None else x_t
        found = step(y, x_t, self.t, self.s, self.process, self.target, **how)
        return expect.tensor(found, x_t.shape, "x_s")

    def parts(self, step, generator, **how):
        """What the step makes of y and x_t, and the noise that it adds: from the same state the
        same noise is drawn, also to y = x_t = 0."""
        state, nothing = generator.get_state(), torch.zeros_like(self.x_t)
        noise = self.call(step, nothing, nothing, generator=generator, **how)
        generator.set_state(state)
        return self.call(step, generator=generator, **how) - noise, noise

    def posterior(self):
        """Mean and variance of q(x_s | x_t, x), a Gaussian conditioned on another: given x, x_s has
        variance b_s², x_t has b_t², and their covariance is (a_t / a_s) b_s²."""
        covariance = self.a / self.a_s * self.b_s**2
        mean = self.a_s * self.x + covariance / self.b**2 * (self.x_t - self.a * self.x)
        return mean, self.b_s**2 - covariance**2 / self.b**2

    def sde(self):
        """f and g² of dx = f x dt + g dw: the variance of x_t given x is b², and so
        (b²)′ = 2 f b² + g²."""
        f = self.da / self.a
        return f, 2 * self.b * self.db - 2 * f * self.b**2


def same_noise(step, generator, cases, deviations, says, hows):
    """From one state every case gets the same ε, times its own deviation."""
    state, found = generator.get_state(), []
    for case, how in zip(cases, hows, strict=True):
        generator.set_state(state)
        nothing = torch.zeros_like(case.x_t)
        found.append(case.call(step, nothing, nothing, generator=generator, **how))
        expect.true(bool((found[-1] != 0).all()), f"{says}: some numbers get no noise", str(how))
    for noise, deviation in zip(found[1:], deviations[1:], strict=True):
        size = float((found[0] * deviation).abs().max())
        off = {"atol": 1e-9 * size, "rtol": 1e-9}
        expect.close(noise * deviations[0], found[0] * deviation, says, what="ε", **off)


def standard(e, says):
    """Independent standard normal numbers, to 6 standard errors."""
    n, flat = e.numel(), e.flatten()
    moments = torch.stack([e.mean(), e.square().mean(), e.pow(3).mean(), e.pow(4).mean()])
    errors = torch.tensor([1.0, 2.0, 15.0, 96.0], dtype=torch.float64).sqrt() / math.sqrt(n)
    off = ((moments.double() - levels(0, 1, 0, 3)) / errors).abs()
    told = ", ".join(f"{m:.3g}" for m in moments.tolist())
    expect.true(bool((off < 6).all()), f"{says}: the means of ε, ε², ε³, ε⁴", told, "0, 1, 0, 3")
    rows = e.reshape(len(e), -1)
    links = [flat[k:] * flat[:-k] for k in (1, 2, 3, n // 2)]
    links += [
        rows[1:] * rows[:-1],
        rows[:, 1:] * rows[:, :-1],
        (rows * rows.flip(0))[: len(e) // 2],
    ]
    for link in (v for v in links if v.numel() > 500):
        far = abs(float(link.mean())) * math.sqrt(link.numel())
        expect.true(far < 8, f"{says}: numbers of ε depend on each other", f"{far:.1f}", "under 8")


# --- diffusion_samplers.ddim_step ---------------------------------------------------------------


@ddim_step(weight=3)
def test_without_noise_it_goes_by_x_and_z(student, generator):
    """η = 0 is a_s x̂ + b_s ẑ, whatever the process and the target"""
    step = student.diffusion_samplers.ddim_step
    for process, target in pairs(generator):
        case = Case(generator, process, target)
        want = case.a_s * case.x + case.b_s * case.z
        expect.close(case.call(step), want, "η is 0 by default", what="x_s", **DOUBLE)
        expect.close(case.call(step, eta=0.0), want, "a_s x̂ + b_s ẑ", what="x_s", **DOUBLE)


@ddim_step(weight=2)
def test_on_rectified_flow_it_is_an_euler_step(student, generator):
    """on rectified flow η = 0 is the Euler step x_t − (t − s) v, for any v"""
    flow, n = processes.rectified_flow(), 9
    x_t, v = normal(generator, n, 4), normal(generator, n, 4)
    t = uniform(generator, n, 0.4, 1.0)
    t[0] = 1.0
    s = t * uniform(generator, n, 0.0, 0.95)
    s[-1] = 0.0
    found = student.diffusion_samplers.ddim_step(v, x_t, t, s, flow, velocity(flow))
    want = x_t - (t - s)[:, None] * v
    expect.close(found, want, "both go along one straight line", what="x_s", **DOUBLE)


@ddim_step(weight=3)
def test_eta_1_is_the_posterior(student, generator):
    """η = 1 draws from q(x_s | x_t, x = x̂): its mean"""
    step = student.diffusion_samplers.ddim_step
    for process, target in pairs(generator):
        case = Case(generator, process, target)
        mean, _ = case.posterior()
        found, _ = case.parts(step, generator, eta=1.0)
        says = "the mean of q(x_s | x_t, x), a Gaussian conditioned on another"
        expect.close(found, mean, says, what="x_s less its noise", **DOUBLE)


@ddim_step(weight=3)
def test_the_variance_of_the_posterior(student, generator):
    """η = 1 draws from q(x_s | x_t, x = x̂): its variance, and Gaussian noise"""
    step = student.diffusion_samplers.ddim_step
    for process, target in (
        (processes.cosine(), X),
        (own_process(generator), own_target(generator)),
        (processes.variance_exploding(0.1, 3.0), NOISE),
    ):
        t, s = number(generator, 0.5, 0.9), number(generator, 0.1, 0.45)
        n = 4000
        case = Case(
            generator, process, target, (n, 5), t=levels(t).expand(n), s=levels(s).expand(n)
        )
        _, noise = case.parts(step, generator, eta=1.0)
        _, variance = case.posterior()
        standard(noise / variance.sqrt(), "ε ~ N(0, I), times the posterior's deviation")


@ddim_step(weight=2)
def test_eta_in_between(student, generator):
    """for η from 0 to 1, σ is η times the posterior's deviation, and √(b_s² − σ²) multiplies ẑ"""
    step, n = student.diffusion_samplers.ddim_step, 7
    for process, target in pairs(generator):
        cases = [Case(generator, process, target, (n, 2)) for _ in range(4)]
        hows = [{"eta": eta} for eta in (1, 0.03, number(generator, 0.2, 0.8), 0.98)]
        sigmas = []
        for case, how in zip(cases, hows, strict=True):
            _, variance = case.posterior()
            sigmas.append(how["eta"] * variance.sqrt())
            found, _ = case.parts(step, generator, **how)
            want = case.a_s * case.x + (case.b_s**2 - sigmas[-1] ** 2).sqrt() * case.z
            says = f"a_s x̂ + √(b_s² − σ²) ẑ for η = {how['eta']:.3g}"
            expect.close(found, want, says, what="x_s less its noise", **DOUBLE)
        says = "σ = η (b_s / b_t) √(b_t² − (a_t / a_s)² b_s²), at every level and for every η"
        same_noise(step, generator, cases, sigmas, says, hows)


@ddim_step(weight=2)
def test_the_right_noise_level_for_every_eta(student, generator):
    """x_s given x is N(a_s x, b_s²) for every η"""
    step, n = student.diffusion_samplers.ddim_step, 10_000
    process, target = own_process(generator), own_target(generator)
    for eta in (0.0, number(generator, 0.3, 0.7), 1.0):
        t, s = number(generator, 0.5, 0.9), number(generator, 0.1, 0.45)
        case = Case(
            generator, process, target, (n, 2), t=levels(t).expand(n), s=levels(s).expand(n)
        )
        x_s = case.call(step, eta=eta, generator=generator)
        e = (x_s - case.a_s * case.x) / case.b_s
        standard(e, f"what is not data in x_s must be b_s times N(0, I) noise, for η = {eta:.3g}")


@ddim_step(weight=2)
def test_processes_agree_where_noise_against_data_is_the_same(student, generator):
    """at equal b / a, all processes take the same step in x / a, for every η"""
    step, flow, n = student.diffusion_samplers.ddim_step, processes.rectified_flow(), 6
    one = Case(generator, flow, velocity(flow), (n, 2))
    state = generator.get_state()
    for eta in (0.0, 0.5, 1.0):
        generator.set_state(state)
        want = one.call(step, eta=eta, generator=generator) / one.a_s
        for name, process in named().items():
            t, s = (processes.level_of(process, flow.a(v), flow.b(v)) for v in (one.t, one.s))
            scale = column(process.a(t), one.x) / one.a
            prediction = one.z  # ε-prediction
            generator.set_state(state)
            found = step(prediction, scale * one.x_t, t, s, process, NOISE, eta, generator)
            found = expect.tensor(found, one.x.shape, "x_s")
            says = f"rectified flow and {name} differ in x_s / a_s, for η = {eta}"
            found = found / column(process.a(s), one.x)
            expect.close(found, want, says, atol=1e-8, rtol=1e-8, what="x_s / a_s")


@ddim_step(weight=2)
def test_a_walk_by_ddim_ends_at_the_data(student, generator):
    """on Gaussian data, steps of η = 0 follow the probability flow ODE, to first order"""
    m, S = number(generator, -1, 1), number(generator, 0.3, 0.7)
    for process in (processes.cosine(), own_process(generator)):
        # both ends and the middle: for one z alone the error's first order can happen to vanish
        z = torch.linspace(-2, 2, 5, dtype=torch.float64)
        # the ODE keeps (x_t − a m) / √(a² S² + b²), and a(1) = b(0) = 0
        want, errors = process.a(levels(0.0)) * (m + S * z), []
        for T in (16, 32):
            x = process.b(levels(1.0)) * z
            for k in range(T, 0, -1):
                t, s = levels(k / T).expand(5), levels((k - 1) / T).expand(5)
                a, b = process.a(t), process.b(t)
                y = m + a * S**2 / (a**2 * S**2 + b**2) * (x - a * m)  # E[x | x_t]
                x = student.diffusion_samplers.ddim_step(y, x, t, s, process, X)
                x = expect.tensor(x, (5,), "x_s").double()
            errors.append(float((x - want).abs().max()))
        says = "with twice as many steps the error must be about half"
        ratio = errors[0] / errors[1]
        expect.true(1.6 < ratio < 2.6, says, f"{errors[0]:.3g} and {errors[1]:.3g}")
        expect.true(errors[1] < 0.2, "32 steps end far from the ODE's end", errors[1], "under 0.2")


@ddim_step(weight=2)
def test_moments_of_a_gaussian_for_every_eta(student, generator):
    """on Gaussian data, steps of any η end at its mean and variance, to first order"""
    m, S = number(generator, -1, 1), number(generator, 0.3, 0.7)
    process = with_noise_left(generator)
    for eta in (number(generator, 0.3, 0.7), 1.0):
        errors = [
            moments_off(student.diffusion_samplers.ddim_step, generator, process, m, S, T, eta=eta)
            for T in (40, 80)
        ]
        says = f"with twice as many steps the errors of the moments must halve, for η = {eta:.3g}"
        told = ", ".join(f"{e:.3g}" for e in errors)
        expect.true(1.6 < errors[0] / errors[1] < 2.6, says, told)
        expect.true(errors[1] < 0.1, f"80 steps of η = {eta:.3g} miss the moments", errors[1])


def moments_off(step, generator, process, m, S, T, **how):
    """How far mean and variance of x_0 are from theirs for N(m, S²) after T steps with E[x | x_t].

    A step is x_s = A x_t + B + C ε. All are asked for at once, an example each.
    """
    t = torch.linspace(1, 0, T + 1, dtype=torch.float64)
    t, s = t[:-1], t[1:]
    a, b = process.a(t), process.b(t)
    v = a**2 * S**2 + b**2

    def stepped(x):
        y = m + a * S**2 / v * (x - a * m)
        generator.set_state(state)
        found = step(y, x, t, s, process, X, generator=generator, **how)
        return expect.tensor(found, (T,), "x_s").double()

    state, nothing = generator.get_state(), torch.zeros_like(t)
    one, zero = stepped(torch.ones_like(t)), stepped(nothing)
    generator.set_state(state)
    noise = step(nothing, nothing, t, s, process, X, generator=generator, **how)
    noise = expect.tensor(noise, (T,), "x_s").double()
    A, B = one - zero, zero - noise
    generator.set_state(state)
    C = noise / epsilon(step, generator, T, how)
    mean, variance = float(a[0] * m), float(v[0])
    for k in range(T):
        mean = float(A[k]) * mean + float(B[k])
        variance = float(A[k]) ** 2 * variance + float(C[k]) ** 2
    end = float(process.a(s[-1:]))
    return max(abs(mean - end * m), abs(variance - end**2 * S**2 - float(process.b(s[-1:])) ** 2))


def epsilon(step, generator, n, how):
    """ε itself, by a step from t = 1 to ½ of b = t, a = 1, where its factor is √χ, or η √3 / 4."""
    nothing = torch.zeros(n, dtype=torch.float64)
    args = nothing, nothing, nothing + 1, nothing + 0.5, processes.edm(1.0), X
    noise = expect.tensor(step(*args, generator=generator, **how), (n,), "x_s").double()
    return noise / (how["eta"] * 3**0.5 / 4 if "eta" in how else how["churn"] ** 0.5)


@ddim_step(weight=2)
def test_no_noise_at_the_last_step(student, generator):
    """a step to b_s = 0 ends at a_s x̂, without noise, for every η"""
    step, n = student.diffusion_samplers.ddim_step, 5
    own = own_process(generator)
    for process, target in ((own, own_target(generator)), *pairs(generator)[:3]):
        case = Case(generator, process, target, (n, 2), s=torch.zeros(n, dtype=torch.float64))
        for eta in (0.0, 0.6, 1.0):
            found = case.call(step, eta=eta, generator=generator)
            says = f"a_s x̂ alone, for η = {eta}"
            expect.close(found, case.a_s * case.x, says, what="x_s", **DOUBLE)
        t = uniform(generator, n, 0.4, 0.9)
        s = t * levels(0.0, 0.4, 0.5, 0.0, 0.8)
        mixed = Case(generator, process, target, (n, 2), t, s)
        _, noise = mixed.parts(step, generator, eta=1.0)
        says = "no noise for an example that goes to b_s = 0, beside others that don't"
        expect.close(noise[s == 0], 0 * noise[s == 0], says, atol=0, rtol=0, what="the noise")
        expect.true(bool((noise[s > 0] != 0).all()), "the other examples have noise")


@ddim_step(weight=2)
def test_from_pure_noise(student, generator):
    """from a_t = 0 it is a_s x̂ + b_s (√(1 − η²) ẑ + η ε)"""
    step, n = student.diffusion_samplers.ddim_step, 4000
    own = own_process(generator)
    for process, target in (
        (processes.rectified_flow(), velocity(processes.rectified_flow())),
        (processes.cosine(), X),
        (own, own_target(generator)),
    ):
        case = Case(generator, process, target, (n, 2), t=torch.ones(n, dtype=torch.float64))
        for eta in (0.0, 0.7):
            found, noise = case.parts(step, generator, eta=eta)
            want = case.a_s * case.x + (1 - eta**2) ** 0.5 * case.b_s * case.z
            expect.close(found, want, f"σ is η b_s, for η = {eta}", what="x_s", **DOUBLE)
            if eta:
                standard(noise / (eta * case.b_s), f"σ is η b_s, for η = {eta}")


@ddim_step(weight=2)
def test_small_eta_and_levels_near_the_ends(student, generator):
    """the smallest η, levels near pure noise, and s = 0 where b(0) > 0 are as all others"""
    step, left = student.diffusion_samplers.ddim_step, processes.variance_exploding(0.1, 5.0)
    cosine = processes.cosine()
    plain = Case(generator, cosine, X, (4, 2))
    for process, target, t, s, eta in (
        (cosine, X, 0.9, 0.5, 1e-4),
        (cosine, X, 0.999, 0.998, 1.0),
        (left, NOISE, 0.5, 0.0, 0.7),
    ):
        case = Case(generator, process, target, (4, 2), levels(t).expand(4), levels(s).expand(4))
        sigma = eta * case.posterior()[1].sqrt()
        want = case.a_s * case.x + (case.b_s**2 - sigma**2).sqrt() * case.z
        says = f"from t = {t} to s = {s} with η = {eta}, where b(s) = {float(case.b_s[0]):.3g}"
        found, _ = case.parts(step, generator, eta=eta)
        expect.close(found, want, says, what="x_s less its noise", atol=1e-9, rtol=1e-9)
        pair, deviations = (plain, case), (plain.posterior()[1].sqrt(), sigma)
        same_noise(step, generator, pair, deviations, says, ({"eta": 1.0}, {"eta": eta}))


@ddim_step
def test_eta_0_draws_nothing(student, generator):
    """η = 0 draws nothing from the generator"""
    case = Case(generator, processes.cosine(), X)
    state, want = generator.get_state(), case.a_s * case.x + case.b_s * case.z
    for eta in (0.0, 0):
        found = case.call(student.diffusion_samplers.ddim_step, eta=eta, generator=generator)
        says = "the generator's state moves with η = 0: draw only if noise is added"
        expect.true(torch.equal(generator.get_state(), state), says)
        expect.close(found, want, "a_s x̂ + b_s ẑ", what="x_s", **DOUBLE)
        found = case.call(student.diffusion_samplers.ddim_step, eta=eta)
        expect.close(found, want, "η = 0 needs no generator", what="x_s", **DOUBLE)


@ddim_step
def test_noise_of_its_own(student, generator):
    """every number gets its own noise, every call other noise; a state repeats it"""
    step = student.diffusion_samplers.ddim_step
    fresh_noise(step, generator, {"eta": 1.0}, lambda case: case.posterior()[1].sqrt())


def fresh_noise(step, generator, how, deviation):
    for shape in ((700,), (3000, 3), (60, 3, 6, 8), (1, 9000)):
        case = Case(generator, processes.cosine(), X, shape)
        state = generator.get_state()
        _, one = case.parts(step, generator, **how)
        _, two = case.parts(step, generator, **how)
        e, e2 = one / deviation(case), two / deviation(case)
        standard(e, f"x_t of shape {shape}")
        link = float((e * e2).mean()) * math.sqrt(e.numel())
        expect.true(abs(link) < 7, "two calls in a row draw the same noise, or nearly")
        generator.set_state(state)
        _, again = case.parts(step, generator, **how)
        expect.close(again, one, "the same state of the generator gives other noise", **DOUBLE)
    few = Case(generator, processes.cosine(), X, (2, 2))
    nothing = torch.zeros_like(few.x_t)
    calls = [few.call(step, nothing, nothing, generator=generator, **how) for _ in range(16)]
    e = torch.stack([noise / deviation(few) for noise in calls]).reshape(16, 4)
    spread = 4 * float(e.mean(1).square().mean())  # χ² of 16 degrees over 16: 1 ± 0.35
    says = "the mean of n numbers of ε varies as 1 / n: draw each for itself, and leave them so"
    expect.true(0.1 < spread < 4.0, says, f"{spread:.2f} / n", "about 1 / n")
    varies = float(e.var(1).std())  # √(2 / 3) = 0.8
    says = "the variance of 4 numbers of ε varies: they must not be brought to 1 afterwards"
    expect.true(varies > 0.15, says, f"{varies:.2f}", "about 0.8")


SHAPES = ((5,), (1,), (4, 3), (1, 2), (3, 3), (2, 3, 4), (3, 3, 3), (2, 3, 4, 4), (1, 1, 2, 2))


@ddim_step(weight=2)
def test_examples_of_every_form(student, generator):
    """numbers, points and images, one example and several at levels of their own, in float64"""
    step = student.diffusion_samplers.ddim_step
    for k, shape in enumerate(SHAPES):
        process, target = pairs(generator)[k % 8]
        case = Case(generator, process, target, shape, size=100.0)
        says = f"x_t of shape {shape}: each example has its own t and s"
        want = case.a_s * case.x + case.b_s * case.z
        off = {"atol": 1e-10, "rtol": 1e-10}
        expect.close(case.call(step), want, says, what="x_s", **off)
        found, noise = case.parts(step, generator, eta=0.8)
        sigma = 0.8 * case.posterior()[1].sqrt()
        want = case.a_s * case.x + (case.b_s**2 - sigma**2).sqrt() * case.z
        expect.close(found, want, says, what="x_s less its noise", **off)
        expect.true(bool((noise != 0).all()), f"x_t of shape {shape}: some numbers get no noise")
        other = Case(generator, process, target, shape)
        _, variance = other.posterior()
        hows, sigmas = [{"eta": 0.8}, {"eta": 1.0}], [sigma, variance.sqrt()]
        same_noise(step, generator, [case, other], sigmas, says, hows)


@ddim_step
def test_in_single_precision(student, generator):
    """float32 stays float32, and is as precise as it can be"""
    step = student.diffusion_samplers.ddim_step
    for eta in (0.0, 0.5):
        in_single_precision(step, generator, {"eta": eta}, ddim_mean)


def ddim_mean(case, eta):
    sigma2 = eta**2 * case.posterior()[1]
    return case.a_s * case.x + (case.b_s**2 - sigma2).sqrt() * case.z


def in_single_precision(step, generator, how, mean):
    for process, target in pairs(generator):
        case = Case(generator, process, target)
        want = mean(case, **how)
        for name in ("t", "s", "x_t", "y"):
            setattr(case, name, getattr(case, name).float())
        found, noise = case.parts(step, generator, **how)
        dtypes = found.dtype, noise.dtype
        expect.true(dtypes == (torch.float32,) * 2, "x_s must be float32 like x_t", dtypes)
        off = 1e-4 * max(1.0, float(want.abs().max()), float(case.x_t.abs().max()))
        expect.close(found, want, "float32", what="x_s less its noise", atol=off, rtol=1e-3)


@ddim_step
def test_gradients_flow_into_both(student, generator):
    """gradients flow into the prediction and x_t, with and without noise"""
    for eta in (0.0, 0.6, 1.0):
        case = Case(generator, own_process(generator), own_target(generator), (4, 2, 3))
        variance = case.posterior()[1]
        of_z = (case.b_s**2 - eta**2 * variance).sqrt()
        gradients(student, "ddim_step", case, case.a_s, of_z, {"eta": eta})


def gradients(student, name, case, of_x, of_z, how):
    """Those of x_s = of_x x̂ + of_z ẑ + noise, by the equations for x̂ and ẑ."""
    c, d = (column(f(case.t), case.x) for f in (case.target.c, case.target.d))
    delta = case.a * d - case.b * c
    args = case.y, case.x_t, case.t, case.s, case.process, case.target
    found = student.gradient(f"diffusion_samplers.{name}", *args, wrt=[case.y, case.x_t], **how)
    expect.true(all(g is not None for g in found), "no gradient arrives in y or x_t", str(how))
    dy, dx_t = found
    want = ((of_z * case.a - of_x * case.b) / delta).expand_as(case.x)
    expect.close(dy, want, f"the gradient in the prediction, {how}", what="gradient", **DOUBLE)
    want = ((of_x * d - of_z * c) / delta).expand_as(case.x)
    expect.close(dx_t, want, f"the gradient in x_t, {how}", what="gradient", **DOUBLE)


@ddim_step
def test_roots_of_rounding_errors(student, generator):
    """where rounding leaves less than 0 under a root, it is 0"""
    step, n = student.diffusion_samplers.ddim_step, 3000
    for dtype, off in ((torch.float64, 1e-6), (torch.float32, 5e-3)):
        own = own_process(generator)
        t = torch.ones(n, dtype=torch.float64)
        case = single(Case(generator, own, X, (n, 1), t), dtype)
        found = case.call(step, eta=1.0, generator=generator)
        says = f"from a_t = 0 with η = 1, √(b_s² − σ²) is 0: in {dtype} it must not be NaN"
        expect.true(bool(torch.isfinite(found).all()), says)
        nothing = torch.zeros_like(case.x_t)
        found, _ = case.parts(step, generator, eta=1.0)
        expect.close(found, case.a_s * case.x, says, atol=off, rtol=off, what="x_s")
        for process in (own, processes.cosine()):
            t = uniform(generator, n, 0.1, 0.9).to(dtype)
            s = torch.nextafter(t, torch.zeros_like(t))
            case = single(Case(generator, process, X, (n, 1), t.double(), s.double()), dtype)
            found = case.call(step, nothing, nothing, eta=1.0, generator=generator)
            says = f"σ is nearly 0 for levels next to each other: in {dtype} it must not be NaN"
            expect.close(found, 0 * found, says, atol=off, rtol=0, what="the noise")


def single(case, dtype):
    """The same step in another precision."""
    for name in ("t", "s", "x_t", "y"):
        setattr(case, name, getattr(case, name).to(dtype))
    return case


@ddim_step
def test_what_is_no_step_is_refused(student, generator):
    """levels that do not fall, an η outside [0, 1], and what cannot be solved are refused"""
    step = student.diffusion_samplers.ddim_step
    for eta in (-0.01, 1.01, 7, math.nan):
        case = Case(generator, processes.cosine(), X)
        says = f"η = {eta} is refused"
        expect.raises("ValueError", lambda c=case, e=eta: c.call(step, eta=e), says)
    no_step(step, generator)


def no_step(step, generator):
    case = Case(generator, own_process(generator), own_target(generator), (4, 3))
    y, x_t, t, s = case.y, case.x_t, case.t, case.s
    level = s.clone()
    level[2] = t[2]
    above = s.clone()
    above[1] = t[1] + 0.01
    wrong = {
        "s = t for one example": (y, x_t, t, level),
        "s above t for one example": (y, x_t, t, above),
        "s and t exchanged": (y, x_t, s, t),
        "NaN for a level": (y, x_t, t, s * math.nan),
        "one s for all": (y, x_t, t, s[0]),
        "an s of shape (1,)": (y, x_t, t, s[:1] / 9),
        "an s with another axis": (y, x_t, t, s[:, None]),
        "t of shape (1,)": (y, x_t, t[:1], s[:1]),
        "t with another axis": (y, x_t, t[:, None], s[:, None]),
        "a prediction of another shape": (y[:, :1], x_t, t, s),
        "a prediction with another axis": (y[None], x_t, t, s),
    }
    for says, args in wrong.items():

        def call(args=args):
            return step(*args, case.process, case.target)

        expect.raises("ValueError", call, f"{says} is refused")
    t = t.clone()
    t[3] = 1.0
    says = "from a prediction of the noise at a = 0, x̂ does not follow: refused"
    expect.raises("ValueError", lambda: step(y, x_t, t, s, case.process, NOISE), says)


# --- diffusion_samplers.reverse_sde_step --------------------------------------------------------


def known_sde(name, t):
    """f and g² as papers give them: Song et al. 2021 (VP, VE), Karras et al. 2022, and for
    rectified flow by hand."""
    beta, sigma = 0.1 + 19.9 * t, 0.01 * 5000**t
    return {
        "rectified flow": (-1 / (1 - t), 2 * t / (1 - t)),
        "variance preserving": (-beta / 2, beta),
        "cosine": (-math.pi / 2 * (math.pi * t / 2).tan(), math.pi * (math.pi * t / 2).tan()),
        "variance exploding": (0 * t, 2 * math.log(5000) * sigma**2),
        "EDM": (0 * t, 2 * 6400 * t),
    }[name]


def mixture(generator):
    """Two overlapping Gaussians in the plane."""
    means = 1.5 * normal(generator, 2, 2)
    root = 0.6 * normal(generator, 2, 2, 2)
    covs = root @ root.mT + 0.3 * torch.eye(2, dtype=torch.float64)
    return GaussianMixture(torch.ones(2), means, covs)


@reverse_sde_step(weight=3)
@pytest.mark.parametrize("name", list(named()))
def test_the_drift_of_a_mixture(student, generator, name):
    """on a mixture it goes by f x_t − ½ (1 + χ) g² ∂ log p_t, with f and g² of each process"""
    truth, process, n = mixture(generator), named()[name], 4
    t = uniform(generator, n, 0.3, 0.9)
    s = t - uniform(generator, n, 0.01, 0.2)
    a, b = process.a(t), process.b(t)
    x_t = a[:, None] * truth.sample(n, generator) + b[:, None] * normal(generator, n, 2)
    score = torch.stack([truth.noised(float(a[i]), float(b[i])).score(x_t[i]) for i in range(n)])
    f, g2 = (v[:, None] for v in known_sde(name, t))
    case = Case(generator, process, X, (n, 2), t, s)
    case.x_t = x_t
    case.y = (x_t + b[:, None] ** 2 * score) / a[:, None]  # E[x | x_t], by Tweedie's formula
    for churn in (0.0, 1.0, number(generator, 0.2, 3.0)):
        found, _ = case.parts(student.diffusion_samplers.reverse_sde_step, generator, churn=churn)
        want = x_t - case.h * (f * x_t - (1 + churn) / 2 * g2 * score)
        off = {"atol": 1e-9 * max(1.0, float(want.abs().max())), "rtol": 1e-9}
        says = f"x_t − h (f x_t − ½ (1 + χ) g² s) of {name}, for χ = {churn:.3g}"
        expect.close(found, want, says, what="x_s less its noise", **off)


def sde_mean(case, churn):
    f, g2 = case.sde()
    return case.x_t - case.h * (f * case.x_t + (1 + churn) / 2 * g2 * case.z / case.b)


def sde_deviation(case, churn):
    return (churn * case.sde()[1] * case.h).sqrt()


@reverse_sde_step(weight=3)
def test_any_process_target_and_churn(student, generator):
    """the same for processes and targets of every kind, and χ is 1 by default"""
    step = student.diffusion_samplers.reverse_sde_step
    for process, target in pairs(generator):
        case = Case(generator, process, target)
        for churn in (1, 0, 0.3, 20.0):
            found, _ = case.parts(step, generator, churn=churn)
            want = sde_mean(case, churn)
            off = {"atol": 1e-10 * max(1.0, float(want.abs().max())), "rtol": 1e-10}
            says = f"x_t − h (f x_t − ½ (1 + χ) g² s) for χ = {churn}"
            expect.close(found, want, says, what="x_s less its noise", **off)
        found, noise = case.parts(step, generator)
        want = sde_mean(case, 1.0)
        off = {"atol": 1e-10 * max(1.0, float(want.abs().max())), "rtol": 1e-10}
        expect.close(found, want, "χ is 1 by default", what="x_s less its noise", **off)
        expect.true(bool((noise != 0).all()), "χ is 1 by default: noise is added")


@reverse_sde_step(weight=3)
def test_how_much_noise(student, generator):
    """the noise is Gaussian, its variance χ g² h"""
    step, n = student.diffusion_samplers.reverse_sde_step, 4000
    for name, process in named().items():
        t, h = number(generator, 0.3, 0.9), number(generator, 0.01, 0.2)
        churn = number(generator, 0.2, 3.0)
        t, s = levels(t).expand(n), levels(t - h).expand(n)
        case = Case(generator, process, X, (n, 5), t, s)
        _, noise = case.parts(step, generator, churn=churn)
        _, g2 = known_sde(name, t)
        deviation = column((churn * g2 * h).sqrt(), noise)
        standard(noise / deviation, f"√(χ g² h) ε of {name}")


@reverse_sde_step(weight=2)
def test_the_noise_of_every_level_and_churn(student, generator):
    """from one state of the generator, the noise is √(χ g² h) times the same ε"""
    step, n = student.diffusion_samplers.reverse_sde_step, 7
    for process, target in pairs(generator):
        cases = [Case(generator, process, target, (n, 2)) for _ in range(4)]
        end = torch.zeros(n, dtype=torch.float64)  # there is noise on the way to b_s = 0, too
        cases.append(Case(generator, process, target, (n, 2), s=end))
        churns = (1, 0.03, number(generator, 0.2, 0.8), 20.0, 1.0)
        deviations = [sde_deviation(c, k) for c, k in zip(cases, churns, strict=True)]
        says = "√(χ g² h) at every level and for every χ"
        hows = [{"churn": k} for k in churns]
        same_noise(step, generator, cases, deviations, says, hows)


@reverse_sde_step(weight=2)
def test_without_churn_it_is_an_euler_step(student, generator):
    """χ = 0 is an Euler step of the probability flow ODE, and draws nothing"""
    step, state = student.diffusion_samplers.reverse_sde_step, generator.get_state()
    for process, target in pairs(generator):
        case, state = Case(generator, process, target), generator.get_state()
        for churn in (0.0, 0):
            found = case.call(step, churn=churn, generator=generator)
            want = case.x_t - case.h * (case.da * case.x + case.db * case.z)
            off = {"atol": 1e-10 * max(1.0, float(want.abs().max())), "rtol": 1e-10}
            expect.close(found, want, "x_t − h (a′ x̂ + b′ ẑ)", what="x_s", **off)
            says = "the generator's state moves with χ = 0: draw only if noise is added"
            expect.true(torch.equal(generator.get_state(), state), says)
            alone = case.call(step, churn=churn)
            expect.close(alone, found, "χ = 0 needs no generator", what="x_s", **DOUBLE)


@reverse_sde_step(weight=2)
def test_a_gaussian_keeps_its_moments(student, generator):
    """on Gaussian data, any χ ends at its mean and variance, to first order in the step"""
    m, S = number(generator, -1, 1), number(generator, 0.5, 0.8)
    process = processes.variance_preserving(beta_min=0.5, beta_max=4.0)
    for churn in (0.4, 1.0, 2.0):
        errors = [
            moments_off(
                student.diffusion_samplers.reverse_sde_step,
                generator,
                process,
                m,
                S,
                T,
                churn=churn,
            )
            for T in (100, 200)
        ]
        says = f"with twice as many steps the errors of the moments must halve, for χ = {churn}"
        told = ", ".join(f"{e:.3g}" for e in errors)
        expect.true(1.6 < errors[0] / errors[1] < 2.6, says, told)
        expect.true(errors[1] < 0.1, f"200 steps with χ = {churn} miss the moments", errors[1])


@reverse_sde_step(weight=2)
def test_a_short_step_keeps_the_marginal(student, generator):
    """a short step with any χ takes N(a_t m, a_t² S² + b_t²) to the one at s, but for O(h²)"""
    step, m, S, n = student.diffusion_samplers.reverse_sde_step, 0.7, 0.6, 8
    process = own_process(generator)
    t = uniform(generator, n, 0.3, 0.8)
    for churn in (0.0, 0.5, 1.0, 3.0):
        errors = []
        for h in (0.002, 0.001):
            case = Case(generator, process, X, (n,), t, t - h)
            v = case.a**2 * S**2 + case.b**2
            gain = case.a * S**2 / v
            found = []
            for x_t in (0.0, 1.0):
                case.x_t = torch.full((n,), x_t, dtype=torch.float64)
                case.y = m + gain * (case.x_t - case.a * m)
                found.append(case.parts(step, generator, churn=churn)[0])
            A, B = found[1] - found[0], found[0]
            C2 = 0.0
            if churn:
                state = generator.get_state()
                _, noise = case.parts(step, generator, churn=churn)
                generator.set_state(state)
                C2 = (noise / epsilon(step, generator, n, {"churn": churn})) ** 2
            mean = A * case.a * m + B - case.a_s * m
            variance = A**2 * v + C2 - case.a_s**2 * S**2 - case.b_s**2
            errors.append(torch.cat([mean, variance]))
        says = f"half the step must leave a quarter of the error, for χ = {churn}"
        # but for O(h³), which is up to 2e-8; no ratio, since an error of O(h²) may be 0
        rest = float((errors[0] - 4 * errors[1]).abs().max())
        expect.true(rest < 1e-7, says, f"{rest:.2g} more", "at most 1e-7")


@reverse_sde_step(weight=2)
def test_from_pure_noise_without_noise(student, generator):
    """where a = 0 it is the step of χ = 0, without noise, and other examples are as ever"""
    step, n = student.diffusion_samplers.reverse_sde_step, 6
    own = own_process(generator)
    for process, target in (
        (processes.rectified_flow(), velocity(processes.rectified_flow())),
        (processes.cosine(), angular(processes.cosine())),
        (own, own_target(generator)),
        (own, X),
    ):
        t = uniform(generator, n, 0.4, 0.9)
        t[1] = t[4] = 1.0
        case = Case(generator, process, target, (n, 3), t)
        ends, rest = t == 1, t < 1
        for churn in (1.0, 0.5, 4.0, 0.0):
            found, noise = case.parts(step, generator, churn=churn)
            want = case.x_t - case.h * (case.da * case.x + case.db * case.z)
            says = f"x_t − h (a′ x̂ + b′ ẑ) where a = 0, for χ = {churn}"
            expect.close(found[ends], want[ends], says, what="x_s", **DOUBLE)
            says = f"no noise where a = 0, for χ = {churn}"
            expect.close(noise[ends], 0 * noise[ends], says, atol=0, rtol=0, what="the noise")
            says = f"other examples have their own f and g², for χ = {churn}"
            expect.close(found[rest], sde_mean(case, churn)[rest], says, atol=1e-10, rtol=1e-10)
            if churn:
                expect.true(bool((noise[rest] != 0).all()), "other examples have noise")
        case = Case(generator, process, target, (3,), torch.ones(3, dtype=torch.float64))
        want = case.x_t - case.h * (case.da * case.x + case.db * case.z)
        found = case.call(step, generator=generator)
        expect.close(found, want, "all examples at a = 0", what="x_s", **DOUBLE)


@reverse_sde_step
def test_next_to_pure_noise(student, generator):
    """where a is very small, but not 0, f and g² are very large, and count"""
    step = student.diffusion_samplers.reverse_sde_step
    t = 1 - levels(1e-2, 1e-4, 1e-6, 1e-9)
    for process in (processes.rectified_flow(), own_process(generator)):
        case = Case(generator, process, X, (4, 2), t)
        found, noise = case.parts(step, generator)
        want, size = sde_mean(case, 1.0), case.h * case.sde()[1]
        says = "x_t − h (f x_t − g² s) with f and g² as large as they are"
        expect.close(found / size, want / size, says, atol=1e-7, rtol=1e-7)
        e = noise / size.sqrt()
        says = "√(g² h) ε with g² as large as it is"
        expect.true(bool(((e != 0) & (e.abs() < 7)).all()), says, e)


@reverse_sde_step
def test_noise_of_the_sde_of_its_own(student, generator):
    """every number gets its own noise, every call other noise; a state repeats it"""
    step = student.diffusion_samplers.reverse_sde_step
    fresh_noise(step, generator, {"churn": 0.5}, lambda case: sde_deviation(case, 0.5))


@reverse_sde_step(weight=2)
def test_examples_of_every_form_by_the_sde(student, generator):
    """numbers, points and images, one example and several at levels of their own, in float64"""
    step = student.diffusion_samplers.reverse_sde_step
    for k, shape in enumerate(SHAPES):
        process, target = pairs(generator)[k % 8]
        case, other = (Case(generator, process, target, shape, size=100.0) for _ in range(2))
        says = f"x_t of shape {shape}: each example has its own t and s"
        want = sde_mean(case, 0.0)
        off = {"atol": 1e-10 * max(1.0, float(want.abs().max())), "rtol": 1e-10}
        expect.close(case.call(step, churn=0), want, says, what="x_s", **off)
        found, noise = case.parts(step, generator, churn=0.8)
        want = sde_mean(case, 0.8)
        off = {"atol": 1e-10 * max(1.0, float(want.abs().max())), "rtol": 1e-10}
        expect.close(found, want, says, what="x_s less its noise", **off)
        expect.true(bool((noise != 0).all()), f"x_t of shape {shape}: some numbers get no noise")
        deviations = [sde_deviation(case, 0.8), sde_deviation(other, 1.0)]
        hows = [{"churn": 0.8}, {"churn": 1.0}]
        same_noise(step, generator, [case, other], deviations, says, hows)


@reverse_sde_step
def test_the_sde_in_single_precision(student, generator):
    """float32 stays float32, and is as precise as it can be"""
    step = student.diffusion_samplers.reverse_sde_step
    for churn in (0.0, 0.5):
        in_single_precision(step, generator, {"churn": churn}, sde_mean)


@reverse_sde_step
def test_gradients_flow_through_the_sde_step(student, generator):
    """gradients flow into the prediction and x_t, with and without noise"""
    for churn in (0.0, 0.6, 1.0):
        case = Case(generator, own_process(generator), own_target(generator), (4, 2, 3))
        _, g2 = case.sde()
        of_x = case.a - case.h * case.da
        of_z = case.b - case.h * (case.db + churn * g2 / (2 * case.b))
        gradients(student, "reverse_sde_step", case, of_x, of_z, {"churn": churn})


@reverse_sde_step
def test_what_is_no_step_of_the_sde_is_refused(student, generator):
    """levels that do not fall, a χ below 0, and what cannot be solved are refused"""
    step = student.diffusion_samplers.reverse_sde_step
    for churn in (-0.01, -7, math.nan):
        case = Case(generator, processes.cosine(), X)
        says = f"χ = {churn} is refused"
        expect.raises("ValueError", lambda c=case, k=churn: c.call(step, churn=k), says)
    no_step(step, generator)


@reverse_sde_step(weight=2)
def test_noise_of_a_small_churn(student, generator):
    """the smallest χ draws noise too, √χ times that of χ = 1"""
    case, says = (
        Case(generator, own_process(generator), X, (4, 2)),
        "√(χ g² h) ε for χ = 1 and χ = 1e-4",
    )
    hows = {"churn": 1.0}, {"churn": 1e-4}
    step = student.diffusion_samplers.reverse_sde_step
    same_noise(step, generator, (case, case), (1.0, 0.01), says, hows)
