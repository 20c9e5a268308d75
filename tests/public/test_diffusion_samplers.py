"""Public checks of chapter 07, samplers."""

import math

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.given import processes
from cs231n_gen.given.processes import NOISE, Process, Target, X, angular, velocity

ddim_step = pytest.mark.exercise("diffusion_samplers.ddim_step")
reverse_sde_step = pytest.mark.exercise("diffusion_samplers.reverse_sde_step")

DOUBLE = {"atol": 1e-10, "rtol": 1e-10}
FLOW, COSINE = processes.rectified_flow(), processes.cosine()
# One of the test's own: a = 1.5 (1 − t)(1 + t / 2), b = 0.6 t (1 + t / 2).
OWN = Process(
    a=lambda t: 1.5 * (1 - t) * (1 + t / 2),
    b=lambda t: 0.6 * t * (1 + t / 2),
    da=lambda t: 1.5 * (-0.5 - t),
    db=lambda t: 0.6 * (1 + t),
)
TARGET = Target(c=lambda t: -0.5 - t, d=lambda t: 1.2 + 0.3 * t)
PAIRS = (
    (COSINE, X),
    (FLOW, velocity(FLOW)),
    (OWN, TARGET),
    (processes.variance_exploding(0.1, 5.0), NOISE),
    (COSINE, angular(COSINE)),
    (processes.variance_preserving(), NOISE),
)


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def levels(*values):
    return torch.tensor(values, dtype=torch.float64)


def spread(generator, n, low, high):
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


def column(value, x):
    """One number for each example, shaped to multiply x."""
    return value.reshape(-1, *[1] * (x.dim() - 1))


class Case:
    """A step from t to s of which x̂ and ẑ are known: they are x and z."""

    def __init__(self, generator, process, target, shape=(4, 2), t=None, s=None, size=1.0):
        n = shape[0]
        self.process, self.target = process, target
        self.x, self.z = 1 + size * normal(generator, *shape), size * normal(generator, *shape)
        self.t = spread(generator, n, 0.3, 0.9) if t is None else t
        self.s = self.t * spread(generator, n, 0.3, 0.9) if s is None else s

        def at(f, level):
            return column(f(level), self.x)

        self.a, self.b = at(process.a, self.t), at(process.b, self.t)
        self.a_s, self.b_s = at(process.a, self.s), at(process.b, self.s)
        self.da, self.db = at(process.da, self.t), at(process.db, self.t)
        self.c, self.d = at(target.c, self.t), at(target.d, self.t)
        self.h = at(lambda t: t - self.s, self.t)
        self.x_t, self.y = self.a * self.x + self.b * self.z, self.c * self.x + self.d * self.z

    def call(self, step, y=None, x_t=None, **how):
        y, x_t = self.y if y is None else y, self.x_t if x_t is None else x_t
        found = step(y, x_t, self.t, self.s, self.process, self.target, **how)
        return expect.tensor(found, x_t.shape, "x_s")

    def parts(self, step, generator, **how):
        """What the step makes of y and x_t, and the noise that it adds: from the same state of the
        generator the same noise is drawn, also to y = x_t = 0."""
        state, nothing = generator.get_state(), torch.zeros_like(self.x_t)
        noise = self.call(step, nothing, nothing, generator=generator, **how)
        generator.set_state(state)
        return self.call(step, generator=generator, **how) - noise, noise

    def posterior(self):
        """Mean and variance of q(x_s | x_t, x)."""
        covariance = self.a / self.a_s * self.b_s**2
        mean = self.a_s * self.x + covariance / self.b**2 * (self.x_t - self.a * self.x)
        return mean, self.b_s**2 - covariance**2 / self.b**2

    def g2(self):
        """g² = 2 b b′ − 2 f b²."""
        return 2 * self.b * self.db - 2 * self.da / self.a * self.b**2

    def single(self):
        """The same step in float32."""
        for name in ("t", "s", "x_t", "y"):
            setattr(self, name, getattr(self, name).float())
        return self


def many(generator, process, target, t, s, shape=(4000, 5)):
    """Many examples at one level."""
    n = shape[0]
    return Case(generator, process, target, shape, levels(t).expand(n), levels(s).expand(n))


def standard(e, says):
    """Independent standard normal numbers, to 6 standard errors."""
    n, rows = e.numel(), e.reshape(len(e), -1)
    moments = torch.stack([e.mean(), e.square().mean(), e.pow(4).mean()]).double()
    errors = levels(1, 2, 96).sqrt() / math.sqrt(n)
    off = ((moments - levels(0, 1, 3)) / errors).abs()
    told = ", ".join(f"{m:.3g}" for m in moments.tolist())
    expect.true(bool((off < 6).all()), f"{says}: the means of ε, ε², ε⁴", told, "0, 1, 3")
    for link in (rows[1:] * rows[:-1], rows[:, 1:] * rows[:, :-1]):
        far = abs(float(link.mean())) * math.sqrt(link.numel()) if link.numel() > 500 else 0.0
        expect.true(far < 8, f"{says}: a number of its own for each number of x_t")


def same_noise(step, generator, cases, deviations, says, hows):
    """From one state every case gets the same ε, times its own deviation."""
    state, found = generator.get_state(), []
    for case, how in zip(cases, hows, strict=True):
        generator.set_state(state)
        nothing = torch.zeros_like(case.x_t)
        found.append(case.call(step, nothing, nothing, generator=generator, **how))
        expect.true(bool((found[-1] != 0).all()), f"{says}: some numbers get no noise", str(how))
    for noise, deviation in zip(found[1:], deviations[1:], strict=True):
        off = {"atol": 1e-9, "rtol": 1e-9}
        expect.close(noise * deviations[0], found[0] * deviation, says, what="ε", **off)


def gradients(student, name, case, of_x, of_z, how):
    """Those of x_s = of_x x̂ + of_z ẑ + noise."""
    args = case.y, case.x_t, case.t, case.s, case.process, case.target
    found = student.gradient(f"diffusion_samplers.{name}", *args, wrt=[case.y, case.x_t], **how)
    expect.true(all(g is not None for g in found), "no gradient arrives in y or x_t")
    delta = case.a * case.d - case.b * case.c
    want = ((of_z * case.a - of_x * case.b) / delta).expand_as(case.x)
    expect.close(found[0], want, "the gradient in the prediction", what="gradient", **DOUBLE)
    want = ((of_x * case.d - of_z * case.c) / delta).expand_as(case.x)
    expect.close(found[1], want, "the gradient in x_t", what="gradient", **DOUBLE)


def no_step(step, generator):
    """Steps that both functions refuse."""
    case = Case(generator, OWN, TARGET, (3, 2))
    y, x_t, t, s = case.y, case.x_t, case.t, case.s
    above, end = s + levels(0, 1, 0), levels(0.5, 1.0, 0.5)
    for says, args, target in (
        ("one s above its t", (y, x_t, t, above), TARGET),
        ("an s equal to its t", (y, x_t, t, torch.minimum(t, above)), TARGET),
        ("an s of shape (1,)", (y, x_t, t, s[:1] / 9), TARGET),
        ("a prediction of another shape", (y[:, :1], x_t, t, s), TARGET),
        ("a prediction of the noise where a = 0", (y, x_t, end, end / 2), NOISE),
    ):
        says = f"ValueError for {says}: leave the lines above yours as they are, and find x̂ and ẑ "
        says += "by to_x_and_noise"
        expect.raises("ValueError", lambda a=args, k=target: step(*a, OWN, k), says)


SHAPES = ((5,), (1, 2), (3, 3), (2, 3, 2, 2))


# --- diffusion_samplers.ddim_step ---------------------------------------------------------------


@ddim_step
def test_eta_0_goes_by_x_and_z(student):
    """η = 0 is a_s x̂ + b_s ẑ"""
    step = student.diffusion_samplers.ddim_step
    # t = ⅔, s = ⅓ of the cosine process: (a, b) goes from (½, √¾) to (√¾, ½)
    t, s, root = levels(2 / 3), levels(1 / 3), 0.75**0.5
    x, z = levels([1.0, 2.0]), levels([4.0, -2.0])
    x_t = 0.5 * x + root * z
    found = step(x, x_t, t, s, COSINE, X)
    says = "x̂ = (1, 2), ẑ = (4, −2), a_s = √¾ and b_s = ½, when x is predicted"
    expect.close(found, root * x + 0.5 * z, says, what="x_s", **DOUBLE)
    says = "the same when the noise is predicted"
    found = step(z, x_t, t, s, COSINE, NOISE, eta=0.0)
    expect.close(found, root * x + 0.5 * z, says, what="x_s", **DOUBLE)


@ddim_step
def test_on_rectified_flow_it_is_an_euler_step(student, generator):
    """on rectified flow η = 0 is the Euler step x_t − (t − s) v"""
    x_t, v = normal(generator, 3, 2), normal(generator, 3, 2)
    t, s = levels(1.0, 0.7, 0.4), levels(0.8, 0.1, 0.0)
    found = student.diffusion_samplers.ddim_step(v, x_t, t, s, FLOW, velocity(FLOW))
    want = x_t - (t - s)[:, None] * v
    expect.close(found, want, "slide 50, with the gap t − s as step", what="x_s", **DOUBLE)


@ddim_step
def test_eta_1_is_the_posterior(student, generator):
    """η = 1 draws from the Gaussian q(x_s | x_t, x = x̂)"""
    step = student.diffusion_samplers.ddim_step
    for process, target in PAIRS[:3]:
        case = many(generator, process, target, 0.7, 0.45)
        mean, variance = case.posterior()
        found, noise = case.parts(step, generator, eta=1.0)
        says = "less its noise, x_s is the posterior's mean, a_s x̂ + √(b_s² − σ²) ẑ"
        expect.close(found, mean, says, what="x_s less its noise", **DOUBLE)
        says = "the noise has the posterior's deviation, (b_s / b_t) √(b_t² − (a_t / a_s)² b_s²)"
        standard(noise / variance.sqrt(), says)


@ddim_step
def test_eta_in_between(student, generator):
    """σ is η times as large as for η = 1, and √(b_s² − σ²) multiplies ẑ"""
    step, etas = student.diffusion_samplers.ddim_step, (1.0, 0.02, 0.5, 0.95)
    for process, target in PAIRS:
        cases = [Case(generator, process, target) for _ in etas]
        sigmas = []
        for case, eta in zip(cases, etas, strict=True):
            sigmas.append(eta * case.posterior()[1].sqrt())
            found, _ = case.parts(step, generator, eta=eta)
            want = case.a_s * case.x + (case.b_s**2 - sigmas[-1] ** 2).sqrt() * case.z
            says = f"less its noise, x_s is a_s x̂ + √(b_s² − σ²) ẑ, here for η = {eta}"
            expect.close(found, want, says, what="x_s less its noise", **DOUBLE)
        says = "the noise is σ ε, with σ = η (b_s / b_t) √(b_t² − (a_t / a_s)² b_s²)"
        same_noise(step, generator, cases, sigmas, says, [{"eta": e} for e in etas])


@ddim_step
def test_no_noise_at_the_last_step(student, generator):
    """a step to b_s = 0 ends at a_s x̂, without noise, for every η"""
    step = student.diffusion_samplers.ddim_step
    for process, target in PAIRS[:3]:
        case = Case(generator, process, target, s=levels(0.0, 0.2, 0.1, 0.0))
        for eta in (0.0, 1.0, 0.5):
            found = case.call(step, eta=eta, generator=generator)[[0, 3]]
            says = f"σ is 0 where b_s is, also beside other levels, here for η = {eta}"
            expect.close(found, (case.a_s * case.x)[[0, 3]], says, what="x_s", **DOUBLE)
        _, noise = case.parts(step, generator, eta=1.0)
        says = "examples that do not go to b_s = 0 have their noise, beside one that does"
        expect.true(bool((noise[1:3] != 0).all()), says)


@ddim_step
def test_from_pure_noise(student, generator):
    """from a_t = 0 it is a_s x̂ + b_s (√(1 − η²) ẑ + η ε)"""
    step = student.diffusion_samplers.ddim_step
    for process, target in PAIRS[:3]:
        case = many(generator, process, target, 1.0, 0.6)
        found, noise = case.parts(step, generator, eta=0.6)
        want = case.a_s * case.x + 0.8 * case.b_s * case.z
        expect.close(found, want, "a_t is 0 there, and σ is η b_s", what="x_s", **DOUBLE)
        standard(noise / (0.6 * case.b_s), "a_t is 0 there, and σ is η b_s")


@ddim_step
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
    case = Case(generator, COSINE, X)
    state = generator.get_state()
    case.call(student.diffusion_samplers.ddim_step, generator=generator)
    says = "the generator's state moves with η = 0: draw only if noise is added"
    expect.true(torch.equal(generator.get_state(), state), says)


@ddim_step
def test_noise_of_its_own(student, generator):
    """every number of every example gets its own noise, from the generator"""
    step = student.diffusion_samplers.ddim_step
    own_noise(step, generator, {"eta": 1.0}, lambda case: case.posterior()[1].sqrt())


def own_noise(step, generator, how, deviation):
    for shape in ((700,), (60, 3, 6, 8)):
        case, state = Case(generator, COSINE, X, shape), generator.get_state()
        one, two = (case.parts(step, generator, **how)[1] for _ in range(2))
        standard(one / deviation(case), f"x_t of shape {shape}")
        says = "two calls in a row must draw different noise"
        link = float((one * two / deviation(case) ** 2).mean())
        expect.true(abs(link) < 0.3, says, f"a correlation of {link:.2f}")
        generator.set_state(state)
        again = case.parts(step, generator, **how)[1]
        expect.close(again, one, "the same state of the generator must repeat it", **DOUBLE)
    few = Case(generator, COSINE, X, (2, 2))
    nothing = torch.zeros_like(few.x_t)
    calls = [few.call(step, nothing, nothing, generator=generator, **how) for _ in range(16)]
    e = torch.stack([noise / deviation(few) for noise in calls]).reshape(16, 4)
    spread = 4 * float(e.mean(1).square().mean())  # χ² of 16 degrees over 16: 1 ± 0.35
    says = "the mean of n numbers of ε varies as 1 / n: draw each for itself, and leave them so"
    expect.true(0.1 < spread < 4.0, says, f"{spread:.2f} / n", "about 1 / n")
    varies = float(e.var(1).std())  # √(2 / 3) = 0.8
    says = "the variance of 4 numbers of ε varies: they must not be brought to 1 afterwards"
    expect.true(varies > 0.15, says, f"{varies:.2f}", "about 0.8")


@ddim_step
def test_examples_of_every_form(student, generator):
    """numbers, points and images, each at its own t and s, in float32 and float64"""
    step = student.diffusion_samplers.ddim_step
    for k, shape in enumerate(SHAPES):
        case = Case(generator, *PAIRS[k], shape, size=20.0)
        want = case.a_s * case.x + case.b_s * case.z
        says = f"x_t of shape {shape}: every digit of float64"
        expect.close(case.call(step), want, says, what="x_s", **DOUBLE)
        sigma = 0.8 * case.posterior()[1].sqrt()
        want = case.a_s * case.x + (case.b_s**2 - sigma**2).sqrt() * case.z
        found, noise = case.parts(step, generator, eta=0.8)
        expect.close(found, want, says, what="x_s less its noise", **DOUBLE)
        expect.true(bool((noise != 0).all()), f"x_t of shape {shape}: noise for each number")
        for eta in (0.0, 0.8):
            found = case.single().call(step, eta=eta, generator=generator)
            expect.true(found.dtype == torch.float32, "float32 stays float32", found.dtype)


@ddim_step
def test_gradients_flow_into_both(student, generator):
    """gradients flow into the prediction and x_t"""
    for eta in (0.0, 0.6):
        case = Case(generator, OWN, TARGET, (3, 2))
        of_z = (case.b_s**2 - eta**2 * case.posterior()[1]).sqrt()
        gradients(student, "ddim_step", case, case.a_s, of_z, {"eta": eta})


@ddim_step
def test_roots_of_rounding_errors(student, generator):
    """where rounding leaves less than 0 under a root, it is 0"""
    step, n = student.diffusion_samplers.ddim_step, 2000
    says = (
        "NaN where rounding left something like −1e-17 under a root: .clamp(min=0) before .sqrt()"
    )
    case = Case(generator, OWN, X, (n, 1), torch.ones(n, dtype=torch.float64))
    found = case.call(step, eta=1.0, generator=generator)
    expect.true(bool(torch.isfinite(found).all()), says)
    for process in (COSINE, OWN):
        t = spread(generator, n, 0.1, 0.9)
        case = Case(generator, process, X, (n, 1), t, torch.nextafter(t, 0 * t))
        found = case.call(step, eta=1.0, generator=generator)
        expect.true(bool(torch.isfinite(found).all()), says)
        expect.close(found, case.x_t, says, what="x_s", atol=1e-6, rtol=1e-6)


@ddim_step
def test_what_is_no_step_is_refused(student, generator):
    """levels that do not fall, an η outside [0, 1], and what cannot be solved are refused"""
    step, case = student.diffusion_samplers.ddim_step, Case(generator, COSINE, X)
    for eta in (-0.1, 1.1):
        says = f"ValueError for η = {eta}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda e=eta: case.call(step, eta=e), says)
    no_step(step, generator)


# --- diffusion_samplers.reverse_sde_step --------------------------------------------------------


def sde_mean(case, churn):
    drift = case.da / case.a * case.x_t + (1 + churn) / 2 * case.g2() * case.z / case.b
    return case.x_t - case.h * drift


def sde_deviation(case, churn):
    return (churn * case.g2() * case.h).sqrt()


@reverse_sde_step
def test_without_churn_it_is_an_euler_step(student, generator):
    """χ = 0 is the Euler step x_t − h (a′ x̂ + b′ ẑ), which draws nothing"""
    step = student.diffusion_samplers.reverse_sde_step
    for process, target in PAIRS:
        case, state = Case(generator, process, target), generator.get_state()
        found = case.call(step, churn=0.0, generator=generator)
        want = case.x_t - case.h * (case.da * case.x + case.db * case.z)
        expect.close(found, want, "one step along ode_velocity", what="x_s", **DOUBLE)
        says = "the generator's state moves with χ = 0: draw only if noise is added"
        expect.true(torch.equal(generator.get_state(), state), says)


@reverse_sde_step
def test_one_step_of_variance_exploding(student):
    """with b² growing by 1 a unit of time, the step is x_t + h ½ (1 + χ) s, plus √(χ h) ε"""
    step, n = student.diffusion_samplers.reverse_sde_step, 2000
    brownian = Process(  # a = 1, b = √t: x_t is x and a random walk of length t, so f = 0, g = 1
        a=torch.ones_like,
        b=torch.sqrt,
        da=torch.zeros_like,
        db=lambda t: 0.5 / t.sqrt(),
    )
    t, s = (levels(v).expand(n) for v in (0.64, 0.39))
    x_t, z = (
        levels(3.0).expand(n, 5),
        levels(2.0).expand(n, 5),
    )  # so that the score is −z / b = −2.5
    for churn in (0.0, 1.0, 4.0):
        generator = torch.Generator().manual_seed(1)
        noise = step(0 * z, 0 * x_t, t, s, brownian, NOISE, churn, generator)
        generator = torch.Generator().manual_seed(1)
        found = step(z, x_t, t, s, brownian, NOISE, churn, generator)
        noise, found = (expect.tensor(v, (n, 5), "x_s") for v in (noise, found))
        says = f"f = 0, g² = 1, h = ¼, and the score is −2.5, here for χ = {churn}"
        want = x_t - 0.25 * (1 + churn) / 2 * 2.5
        expect.close(found - noise, want, says, what="x_s less its noise", **DOUBLE)
        if churn:
            standard(noise / (0.25 * churn) ** 0.5, f"√(χ g² h) = √χ / 2, here for χ = {churn}")


@reverse_sde_step
def test_any_process_target_and_churn(student, generator):
    """it goes by f x_t − ½ (1 + χ) g² s, with f = a′ / a and g² = 2 b b′ − 2 f b²"""
    step = student.diffusion_samplers.reverse_sde_step
    for process, target in PAIRS:
        case = Case(generator, process, target)
        found, noise = case.parts(step, generator)
        want = sde_mean(case, 1.0)
        expect.close(found, want, "without churn given, χ is 1", what="x_s less noise", **DOUBLE)
        expect.true(bool((noise != 0).all()), "without churn given, χ is 1: noise is added")
        for churn in (0.2, 20.0):
            found, _ = case.parts(step, generator, churn=churn)
            says = f"x_t − h (f x_t − ½ (1 + χ) g² s), here for χ = {churn}"
            off = {"atol": 1e-8, "rtol": 1e-8}
            expect.close(found, sde_mean(case, churn), says, what="x_s less its noise", **off)


@reverse_sde_step
def test_how_much_noise(student, generator):
    """the noise is √(χ g² h) ε, at every level and for every χ"""
    step, churns = student.diffusion_samplers.reverse_sde_step, (1.0, 0.2, 4.0)
    for process, target in PAIRS:
        case = many(generator, process, target, 0.7, 0.6, (2000, 5))
        _, noise = case.parts(step, generator, churn=0.5)
        standard(noise / sde_deviation(case, 0.5), "√(χ g² h) ε, here for χ = 0.5")
        ends = (None, None, torch.zeros(4, dtype=torch.float64))  # noise also on the way to s = 0
        cases = [Case(generator, process, target, s=s) for s in ends]
        deviations = [sde_deviation(c, k) for c, k in zip(cases, churns, strict=True)]
        says = "√(χ g² h) times ε, with g² and h of each example"
        same_noise(step, generator, cases, deviations, says, [{"churn": k} for k in churns])


@reverse_sde_step
def test_from_pure_noise_without_noise(student, generator):
    """where a = 0 it is the step of χ = 0, without noise, and other examples are as ever"""
    step, t = student.diffusion_samplers.reverse_sde_step, levels(1.0, 0.7, 1.0, 0.5)
    ends = t == 1
    for process, target in PAIRS[:3]:
        case = Case(generator, process, target, t=t)
        for churn in (1.0, 3.0):
            found, noise = case.parts(step, generator, churn=churn)
            euler = case.x_t - case.h * (case.da * case.x + case.db * case.z)
            says = "where a = 0, f and g² are infinite: take the step of χ = 0 there"
            expect.close(found[ends], euler[ends], says, what="x_s", **DOUBLE)
            says = "where a = 0, no noise is added"
            expect.close(noise[ends], 0 * noise[ends], says, atol=0, rtol=0, what="the noise")
            want = sde_mean(case, churn)[~ends]
            says = "an example at a = 0 must leave the others in the batch as they are"
            expect.close(found[~ends], want, says, what="x_s less its noise", **DOUBLE)
            expect.true(bool((noise[~ends] != 0).all()), says)


@reverse_sde_step
def test_next_to_pure_noise(student, generator):
    """where a is very small, but not 0, f and g² are very large, and count"""
    step = student.diffusion_samplers.reverse_sde_step
    case = Case(generator, FLOW, X, (3, 2), 1 - levels(1e-3, 1e-6, 1e-9))
    found, noise = case.parts(step, generator)
    size = case.h * case.g2()
    says = "x_t − h (f x_t − g² s) with f and g² as large as they are"
    expect.close(found / size, sde_mean(case, 1.0) / size, says, atol=1e-6, rtol=1e-6)
    expect.true(bool((noise != 0).all()), "noise is added wherever a is not 0")


@reverse_sde_step
def test_noise_of_the_sde_of_its_own(student, generator):
    """every number of every example gets its own noise, from the generator"""
    step = student.diffusion_samplers.reverse_sde_step
    own_noise(step, generator, {"churn": 0.5}, lambda case: sde_deviation(case, 0.5))


@reverse_sde_step
def test_examples_of_every_form_by_the_sde(student, generator):
    """numbers, points and images, each at its own t and s, in float32 and float64"""
    step = student.diffusion_samplers.reverse_sde_step
    for k, shape in enumerate(SHAPES):
        case = Case(generator, *PAIRS[k], shape, size=20.0)
        says = f"x_t of shape {shape}: every digit of float64"
        found = case.call(step, churn=0.0)
        expect.close(found, sde_mean(case, 0.0), says, what="x_s", **DOUBLE)
        found, noise = case.parts(step, generator, churn=0.8)
        expect.close(found, sde_mean(case, 0.8), says, what="x_s less its noise", **DOUBLE)
        expect.true(bool((noise != 0).all()), f"x_t of shape {shape}: noise for each number")
        for churn in (0.0, 1.0):
            found = case.single().call(step, churn=churn, generator=generator)
            expect.true(found.dtype == torch.float32, "float32 stays float32", found.dtype)


@reverse_sde_step
def test_gradients_flow_through_the_sde_step(student, generator):
    """gradients flow into the prediction and x_t"""
    for churn in (0.0, 0.6):
        case = Case(generator, OWN, TARGET, (3, 2))
        of_z = case.b - case.h * (case.db + churn * case.g2() / (2 * case.b))
        of_x = case.a - case.h * case.da
        gradients(student, "reverse_sde_step", case, of_x, of_z, {"churn": churn})


@reverse_sde_step
def test_what_is_no_step_of_the_sde_is_refused(student, generator):
    """levels that do not fall, a χ below 0, and what cannot be solved are refused"""
    step, case = student.diffusion_samplers.reverse_sde_step, Case(generator, COSINE, X)
    says = "ValueError for χ = −0.1: leave the lines above yours as they are"
    expect.raises("ValueError", lambda: case.call(step, churn=-0.1), says)
    no_step(step, generator)


@reverse_sde_step
def test_noise_of_a_small_churn(student, generator):
    """the smallest χ draws noise too, √χ times that of χ = 1"""
    case, says = Case(generator, OWN, X, (4, 2)), "√(χ g² h) ε for χ = 1 and χ = 1e-4"
    hows = {"churn": 1.0}, {"churn": 1e-4}
    step = student.diffusion_samplers.reverse_sde_step
    same_noise(step, generator, (case, case), (1.0, 0.01), says, hows)
