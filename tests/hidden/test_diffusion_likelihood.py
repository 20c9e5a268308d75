"""Hidden graders of chapter 07's likelihoods: held to theory first (Gaussians in closed form, exact
densities of mixtures, averages over noise by quadrature, what is known of estimates with ±1)."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from cs231n_gen.checking import draws, expect, fakes
from cs231n_gen.given import processes
from cs231n_gen.given.processes import NOISE, Process, Target, X
from cs231n_gen.truth import GaussianMixture

elbo_terms = pytest.mark.exercise("diffusion_likelihood.elbo_terms")
log_likelihood = pytest.mark.exercise("diffusion_likelihood.log_likelihood", graph=False)

# What rounding leaves where all that is computed is a double.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
TERMS, BOTH = ("prior", "steps", "reconstruction"), ("log_p", "error")


def number(generator, low, high):
    return float(low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64))


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def column(value, x):
    """One number for each example, shaped to multiply x."""
    return value.reshape(-1, *[1] * (x.dim() - 1))


def squared(x):
    """‖x‖² of each example."""
    return x.reshape(len(x), -1).square().sum(1)


def own_process(generator):
    """A process that is in no book: a = (1 − t)(1 + p t), b = t (1 + q t)."""
    p, q = number(generator, 0.1, 0.8), number(generator, 0.2, 2.0)
    return Process(
        a=lambda t: (1 - t) * (1 + p * t),
        b=lambda t: t * (1 + q * t),
        da=lambda t: p - 1 - 2 * p * t,
        db=lambda t: 1 + 2 * q * t,
    )


def own_target(generator):
    """A target that is in no book, for which Δ is never 0."""
    p, q, r, s = (number(generator, 0.3, 1.5) for _ in range(4))
    return Target(c=lambda t: -p - q * t, d=lambda t: r + s * t)


def members(generator):
    """Processes with a target each: well known ones, and one of this test's own."""
    rf, cosine, own = processes.rectified_flow(), processes.cosine(), own_process(generator)
    return [
        (rf, processes.velocity(rf)),
        (cosine, NOISE),
        (processes.variance_exploding(0.05, number(generator, 2, 9)), X),
        (cosine, processes.angular(cosine)),
        (own, own_target(generator)),
    ]


def falling(generator, T, first, last):
    """T + 1 levels from first down to last, the others between them at random."""
    inner = torch.rand(T - 1, generator=generator, dtype=torch.float64).sort().values.flip(0)
    inner = (inner + torch.arange(T - 1, 0, -1)) / T  # apart from each other
    return [first, *(last + (first - last) * inner).tolist(), last]


def answering(guess, process, target):
    """The model that stands for a guess of x."""

    def model(x_t, t):
        level = column(t, x_t)
        a, b, c, d = (f(level) for f in (process.a, process.b, target.c, target.d))
        x = guess(x_t, level)
        return c * x + d * (x_t - a * x) / b

    return model


def guess(x_t, level):
    """Some x̂ in which x_t and t count."""
    return torch.tanh(0.8 * x_t + level) + 0.3 * x_t


# --- diffusion_likelihood.elbo_terms ------------------------------------------------------------


def snr_of(process, times):
    t = torch.tensor(times, dtype=torch.float64)
    return (process.a(t) / process.b(t)) ** 2


def terms(student, *args):
    """What the student's function returns, by name."""
    return expect.unpack(student.diffusion_likelihood.elbo_terms(*args), TERMS)


def missed(x, z, times, process, guess=guess):
    """‖x − x̂(x_{t_i}, t_i)‖² for every step, in float64."""
    found = []
    for z_i, t in zip(z[:-1], torch.tensor(times[:-1], dtype=torch.float64), strict=True):
        x_t = process.a(t) * x + process.b(t) * z_i
        found.append(squared(x - guess(x_t, t)))
    return torch.stack(found)


def cases(generator, T=4):
    """Arguments for every member of the family, and shapes from numbers to images."""
    shapes = [(5,), (4, 3), (3, 1, 3, 2), (1, 2), (6, 2, 2)]
    for (process, target), shape in zip(members(generator), shapes, strict=True):
        times = falling(generator, T, number(generator, 0.8, 0.95), number(generator, 0.03, 0.2))
        x, z = normal(generator, *shape), normal(generator, T + 1, *shape)
        yield shape, x, z, times, process, target


@elbo_terms(weight=2)
def test_the_prior_term(student, generator):
    """the prior's term is ½ SNR(t_0) ‖x‖², for any process, target and shape"""
    for shape, x, z, times, process, target in cases(generator):
        x = 40 * x
        model = answering(guess, process, target)
        prior, _, _ = terms(student, model, x, z, times, process, target)
        want = snr_of(process, times)[0] / 2 * squared(x)
        expect.close(prior, want, f"½ SNR(t_0) ‖x‖² for x of shape {shape}", **DOUBLE, what="prior")


@elbo_terms(weight=3)
def test_the_terms_of_the_steps(student, generator):
    """step i is ½ (SNR(t_{i+1}) − SNR(t_i)) ‖x − x̂‖², for any process, target and shape"""
    for shape, x, z, times, process, target in cases(generator):
        model = answering(guess, process, target)
        _, steps, _ = terms(student, model, x, z, times, process, target)
        want = snr_of(process, times).diff()[:, None] / 2 * missed(x, z, times, process)
        says = f"½ ΔSNR ‖x − x̂‖², a row for each step, for x of shape {shape}"
        expect.close(steps, want, says, atol=1e-9, rtol=1e-9, what="steps")


@elbo_terms(weight=2)
def test_the_reconstruction_term(student, generator):
    """the reconstruction's term is ½ D log(2π / SNR(t_T)) + ½ ‖z_T‖², for any shape"""
    for shape, x, z, times, process, target in cases(generator):
        model = answering(guess, process, target)
        _, _, reconstruction = terms(student, model, x, z, times, process, target)
        D = math.prod(shape[1:])
        want = D / 2 * (2 * math.pi / snr_of(process, times)[-1]).log() + squared(z[-1]) / 2
        says = f"−log N(x; x_t / a, (b / a)² I) at the last level, for x of shape {shape}"
        expect.close(reconstruction, want, says, **DOUBLE, what="reconstruction")


def of_a_gaussian(mu, s):
    """E[x | x_t] for x ~ N(μ, s² I)."""

    def best(x_t, a, b):
        return mu + a * s**2 / ((a * s) ** 2 + b**2) * (x_t - a * mu)

    return best


def perfect(best, process, target):
    """The model that answers with E[y | x_t], given E[x | x_t] as a function of x_t, a and b."""
    return answering(
        lambda x_t, level: best(x_t, process.a(level), process.b(level)), process, target
    )


def mean_total(student, model, x, nodes, weights, times, process, target):
    """The bound for each row of x, its mean over the noise by a rule of nodes and weights."""
    n, K = len(x), len(nodes)
    every = x.repeat_interleave(K, dim=0)
    z = nodes.repeat(len(times), n, *[1] * (x.dim() - 1))
    prior, steps, reconstruction = terms(student, model, every, z, times, process, target)
    steps = expect.tensor(steps, (len(times) - 1, n * K), "steps").double()
    prior = expect.tensor(prior, (n * K,), "prior").double()
    reconstruction = expect.tensor(reconstruction, (n * K,), "reconstruction").double()
    return (prior + steps.sum(0) + reconstruction).reshape(n, K) @ weights


def second_order(D):
    """Nodes ±√D e_j, each as likely: exact for means of what is quadratic in z ~ N(0, I)."""
    nodes = math.sqrt(D) * torch.eye(D, dtype=torch.float64)
    return torch.cat([nodes, -nodes]), torch.full((2 * D,), 1 / (2 * D), dtype=torch.float64)


@elbo_terms(weight=3)
def test_the_bound_of_a_gaussian(student, generator):
    """for Gaussian data and the perfect net, the bound's mean is what integration says"""
    D = draws.whole(generator, 2, 5)
    mu, s, x = normal(generator, D), number(generator, 0.4, 1.5), 1.5 * normal(generator, 4, D)
    for process, target in members(generator):
        times = falling(generator, 5, 0.93, number(generator, 0.02, 0.1))
        model = perfect(of_a_gaussian(mu, s), process, target)
        total = mean_total(student, model, x, *second_order(D), times, process, target)
        r = snr_of(process, times)
        # E‖x − x̂‖² over z, for x̂ = E[x | x_t]
        off = (squared(x - mu) + (r * s**4 * D)[:, None]) / (1 + r * s**2)[:, None] ** 2
        want = r[0] / 2 * squared(x) + (r.diff()[:, None] / 2 * off[:-1]).sum(0)
        want = want + D / 2 * ((2 * math.pi / r[-1]).log() + 1)
        says = "the mean of prior + Σ steps + reconstruction, in closed form"
        expect.close(total, want, says, atol=1e-8, rtol=1e-8, what="the bound")
        log_p = -squared(x - mu) / (2 * s**2) - D / 2 * math.log(2 * math.pi * s**2)
        says = "the bound's mean must not be below −log p(x)"
        expect.true(bool((total > -log_p).all()), says, total, -log_p)


@elbo_terms(weight=2)
def test_the_gap_halves_with_twice_the_levels(student, generator):
    """on levels even in log-SNR the gap to −log p(x) shrinks as 1 / T"""
    D, process = 2, processes.cosine()
    target = processes.angular(process)
    mu, s, x = normal(generator, D), number(generator, 0.5, 1.5), 1.5 * normal(generator, 3, D)
    log_p = -squared(x - mu) / (2 * s**2) - D / 2 * math.log(2 * math.pi * s**2)
    model, gaps = perfect(of_a_gaussian(mu, s), process, target), []
    for T in (40, 80):
        times = processes.even_in_log_snr(process, T, (-16.0, 16.0))
        total = mean_total(student, model, x, *second_order(D), times, process, target)
        gaps.append(total.mean() + log_p.mean())
    ratio = float(gaps[0] / gaps[1])
    says = "the gap's mean at 40 levels over that at 80"
    expect.true(1.8 < ratio < 2.4, says, f"{float(gaps[0]):.4g} / {float(gaps[1]):.4g}", "about 2")


@elbo_terms(weight=3)
def test_it_bounds_the_density_of_a_mixture(student, generator):
    """for a mixture's perfect net it is above −log p(x), and meets it with ever more levels"""
    means = torch.tensor([-1.4, 0.3, 1.7], dtype=torch.float64) + 0.2 * normal(generator, 3)
    truth = GaussianMixture.isotropic(
        means[:, None], torch.tensor([0.4, 0.3, 0.5]), torch.tensor([0.5, 0.2, 0.3])
    )
    process = processes.rectified_flow()
    target = processes.velocity(process)
    x = torch.cat([truth.sample(4, generator)[:, 0], means[:1] - 0.8])
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(50))
    weights = weights / weights.sum()

    def model(x_t, t):
        return truth.velocity(x_t[:, None], t)[:, 0]

    log_p, totals = truth.log_density(x[:, None]), []
    for T in (32, 64, 128):
        times = processes.even_in_log_snr(process, T, (-10.0, 10.0))
        totals.append(mean_total(student, model, x, nodes, weights, times, process, target))
        says = f"the mean over z of {T} levels must not be below −log p(x)"
        expect.true(bool((totals[-1] + log_p > -1e-4).all()), says, totals[-1], -log_p)
    limit = (totals[0] - 6 * totals[1] + 8 * totals[2]) / 3  # without what falls as 1/T or 1/T²
    expect.close(limit, -log_p, "the limit of ever more levels is −log p(x)", atol=0.02, rtol=0)


@elbo_terms(weight=2)
def test_only_the_snr_counts(student, generator):
    """rectified flow, cosine, VE and EDM give the same terms at equal SNR, from the same z"""
    x, T = normal(generator, 4, 3), 6
    z, found = normal(generator, T + 1, 4, 3), []
    range_ = (number(generator, -6, -3), number(generator, 2, 5))

    def best(x_t, a, b):  # scaling x_t changes nothing
        return torch.tanh(x_t / (a**2 + b**2).sqrt() + a / (a + b))

    def of_snr(x_t, a, b):
        return best(x_t / b, a / b, torch.ones_like(b))

    rf, cosine = processes.rectified_flow(), processes.cosine()
    for process, target in [
        (rf, processes.velocity(rf)),
        (cosine, NOISE),
        (processes.variance_exploding(0.01, 80.0), X),
        (processes.edm(90.0), NOISE),
        (own_process(generator), own_target(generator)),
    ]:
        times = processes.even_in_log_snr(process, T, range_)
        model = perfect(of_snr, process, target)
        found.append(terms(student, model, x, z, times, process, target))
    r = torch.linspace(*range_, T + 1, dtype=torch.float64).exp()
    off = [
        squared(x - best(k.sqrt() * x + z_i, k.sqrt(), torch.ones_like(k)))
        for k, z_i in zip(r[:-1], z, strict=False)
    ]
    want = r[0] / 2 * squared(x), r.diff()[:, None] / 2 * torch.stack(off)
    for prior, steps, reconstruction in found:
        says = "a and b may differ, the SNR is the same"
        expect.close(prior, want[0], says, atol=1e-8, rtol=1e-8, what="prior")
        expect.close(steps, want[1], says, atol=1e-8, rtol=1e-8, what="steps")
        expect.close(reconstruction, found[0][2], says, atol=1e-8, rtol=1e-8, what="reconstruction")


@elbo_terms(weight=2)
def test_what_the_model_is_asked(student, generator):
    """the model is asked once at each level but the last, about a x + b z_i of the whole batch"""
    for shape in ((5,), (4, 2), (3, 2, 2, 1)):
        process, target = own_process(generator), own_target(generator)
        T = draws.whole(generator, 2, 6)
        times = falling(generator, T, number(generator, 0.7, 0.95), 0.1)
        x, z = normal(generator, *shape), normal(generator, T + 1, *shape)
        model = fakes.Recorder(lambda x_t, level, y: guess(x_t, level))
        terms(student, model, x, z, times, process, target)
        calls = len(model.inputs)
        expect.true(calls == T, "the model is called once for each of t_0, …, t_{T−1}", calls, T)
        order = sorted(range(T), key=lambda k: -float(model.times[k].flatten()[0]))
        for z_i, t, k in zip(z[:-1], times[:-1], order, strict=True):
            level = torch.full((len(x),), t, dtype=torch.float64)
            says = "t must be a level for each example"
            expect.close(model.times[k], level, says, **DOUBLE, what="t")
            expect.true(
                model.times[k].dtype == x.dtype,
                "levels are in the precision of x",
                model.times[k].dtype,
                x.dtype,
            )
            a, b = process.a(level), process.b(level)
            says = "step i is asked about x_{t_i} = a x + b z_i, with its own draw"
            want = column(a, x) * x + column(b, x) * z_i
            expect.close(model.inputs[k], want, says, **DOUBLE, what="x_t")


@elbo_terms
def test_gradients_of_every_step_arrive(student, generator):
    """gradients of all steps flow into the model"""
    net, twin = student.new("checking.fakes.LinearField", dim=2), fakes.LinearField(2).double()
    net.call("double")
    weights = {n: 0.5 * normal(generator, *p.shape) for n, p in twin.named_parameters()}
    net.load(weights)
    twin.load_state_dict(weights)
    process, target = own_process(generator), own_target(generator)
    times = falling(generator, 3, 0.9, 0.15)
    x, z = normal(generator, 4, 2), normal(generator, 4, 4, 2)
    args = (net, x, z, times, process, target)
    (before,) = student.gradient("diffusion_likelihood.elbo_terms", *args, wrt=[net])
    net.call("put_to_use")  # evaluated in the middle of a training
    (found,) = student.gradient("diffusion_likelihood.elbo_terms", *args, wrt=[net])

    def by_twin(x_t, t):
        level = t.expand(len(x_t))[:, None]
        a, b, c, d = (f(level) for f in (process.a, process.b, target.c, target.d))
        return (d * x_t - b * twin(x_t, level[:, 0])) / (a * d - b * c)

    total = snr_of(process, times).diff()[:, None] / 2 * missed(x, z, times, process, by_twin)
    want = torch.autograd.grad(total.sum(), list(twin.parameters()))
    for (name, gradient), right in zip(found.items(), want, strict=True):
        says = f"the gradient of the sum of all terms by {name}"
        arrives = gradient is not None and before[name] is not None
        expect.true(arrives, says, "none arrives")
        for value in (before[name], gradient):
            expect.close(value, right, says, atol=1e-8, rtol=1e-8, what="the gradient")


@elbo_terms(weight=2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_the_precision_of_x(student, generator, dtype):
    """results are in the precision of x, with all of its digits"""
    off = 1e-4 if dtype == torch.float32 else 1e-11
    process = processes.rectified_flow()
    target = processes.velocity(process)
    x, z = normal(generator, 3, 2).to(dtype), normal(generator, 4, 3, 2).to(dtype)
    times = [0.9, 0.7, 1 / 3, 0.1]
    model = answering(guess, process, target)
    found = terms(student, model, x, z, times, process, target)
    x, z, r = x.double(), z.double(), snr_of(process, times)
    want = (
        r[0] / 2 * squared(x),
        r.diff()[:, None] / 2 * missed(x, z, times, process),
        (2 * math.pi / r[-1]).log() + squared(z[-1]) / 2,
    )
    for got, right, name in zip(found, want, TERMS, strict=True):
        expect.close(got, right, f"{name} in {dtype}", atol=off, rtol=off, what=name)
        expect.true(got.dtype == dtype, f"{name} has the precision of x", got.dtype, dtype)


@elbo_terms
def test_levels_of_every_form(student, generator):
    """levels may be a list, a tuple or a tensor, two of them or many"""
    x, process = normal(generator, 3, 2), own_process(generator)
    target = own_target(generator)
    model = answering(guess, process, target)
    for T in (1, 2, 9):
        times = falling(generator, T, 0.9, 0.05)
        z = normal(generator, T + 1, 3, 2)
        want = snr_of(process, times).diff()[:, None] / 2 * missed(x, z, times, process)
        for form in (times, tuple(times), torch.tensor(times, dtype=torch.float64)):
            _, steps, _ = terms(student, model, x, z, form, process, target)
            says = f"{T + 1} levels in a {type(form).__name__}"
            expect.close(steps, want, says, atol=1e-9, rtol=1e-9, what="steps")


@elbo_terms(weight=2)
def test_from_pure_noise_to_next_to_none(student, generator):
    """it holds from t = 1, where a = 0, down to hardly any noise, and for numbers far from 0"""
    x, T = 40 * normal(generator, 4, 2), 4
    z = 20 * normal(generator, T + 1, 4, 2)
    rf, cosine, own = processes.rectified_flow(), processes.cosine(), own_process(generator)
    for process, target in [
        (rf, processes.velocity(rf)),
        (rf, X),
        (cosine, processes.angular(cosine)),
        (own, own_target(generator)),
    ]:
        times = [1.0, 0.9, 0.4, 1e-3, 1e-7]
        model = answering(guess, process, target)
        prior, steps, reconstruction = terms(student, model, x, z, times, process, target)
        says = "where no data is left the prior costs nothing"
        expect.close(prior, torch.zeros(4), says, atol=1e-12, rtol=0, what="prior")
        r = snr_of(process, times)
        want = r.diff()[:, None] / 2 * missed(x, z, times, process)
        expect.close(steps, want, "steps from SNR 0 on", atol=1e-7, rtol=1e-7, what="steps")
        want = (2 * math.pi / r[-1]).log() + squared(z[-1]) / 2
        says = "the reconstruction at t = 1e-7"
        expect.close(reconstruction, want, says, atol=1e-7, rtol=1e-7, what="reconstruction")


@elbo_terms
def test_each_example_by_itself(student, generator):
    """the terms of an example are the same in every batch"""
    process, target = own_process(generator), own_target(generator)
    times, model = falling(generator, 3, 0.9, 0.1), answering(guess, process, target)
    x, z = normal(generator, 5, 3), normal(generator, 4, 5, 3)
    together = terms(student, model, x, z, times, process, target)
    for got, shape, name in zip(together, [(5,), (3, 5), (5,)], TERMS, strict=True):
        expect.tensor(got, shape, name)
    for i in (0, 3):
        alone = terms(student, model, x[i : i + 1], z[:, i : i + 1], times, process, target)
        for got, all_of_them, name in zip(alone, together, TERMS, strict=True):
            says = f"{name} of an example changes with its batch"
            expect.close(got, all_of_them[..., i : i + 1], says, **DOUBLE, what=name)


@elbo_terms
def test_what_does_not_fit_is_refused(student, generator):
    """levels that do not fall, noise that does not fit, a last level without noise are refused"""
    process = processes.rectified_flow()
    target = processes.velocity(process)
    x, z = normal(generator, 4, 2), normal(generator, 4, 4, 2)

    def call(times, z=z, target=target):
        return terms(student, answering(guess, process, target), x, z, times, process, target)

    times = [1.0, 0.5, 0.25, 1e-6]
    prior, _, _ = call(times)
    expect.close(prior, torch.zeros(4), "at t_0 = 1", atol=1e-12, rtol=0, what="prior")
    for wrong in (
        [0.25, 0.5, 0.75, 1.0],
        [1.0, 0.5, 0.5, 0.1],
        [1.1, 0.5, 0.25, 0.1],
        [1.0, 0.5, 0.25, -0.1],
        [1.0, 0.5, 0.25, 0.0],
    ):
        says = f"times = {wrong} is refused"
        expect.raises("ValueError", lambda wrong=wrong: call(wrong), says)
    for other in (z[:3], z[:, :3], z[..., :1], z[0], normal(generator, 5, 4, 2)):
        says = f"z of shape {tuple(other.shape)} is refused for 4 levels and x of shape (4, 2)"
        expect.raises("ValueError", lambda other=other: call(times, other), says)

    left, to_0 = processes.variance_exploding(0.1, 3.0), [1.0, 0.5, 0.25, 0.0]
    _, _, found = terms(student, answering(guess, left, NOISE), x, z, to_0, left, NOISE)
    want = math.log(2 * math.pi * 0.1**2) + squared(z[-1]) / 2
    says = "a last level of 0 will do where b(0) is not 0"
    expect.close(found, want, says, atol=1e-9, rtol=1e-9, what="reconstruction")

    def noise_at_1():
        return terms(student, lambda x_t, t: 0.5 * x_t, x, z, times, process, NOISE)

    expect.raises("ValueError", noise_at_1, "a prediction of noise says nothing of x at a = 0")


# --- diffusion_likelihood.log_likelihood --------------------------------------------------------


def both(student, *args, **options):
    """What the student's function returns, by name."""
    return expect.unpack(student.diffusion_likelihood.log_likelihood(*args, **options), BOTH)


def exact(student, *args, what="log_p", **options):
    """log p(x) with the exact divergence, whose error is 0."""
    log_p, error = both(student, *args, **options)
    n = len(args[1])
    expect.close(error, torch.zeros(n), "an exact divergence has no error", what="error")
    return log_p


def log_normal(x, b):
    """log N(x; 0, b² I) of each example."""
    D = x[0].numel()
    return -D / 2 * math.log(2 * math.pi * b**2) - squared(x) / (2 * b**2)


def linear(student, generator, D, scale=0.7):
    """A net that answers W x_t, and W."""
    net = student.new("checking.fakes.LinearField", dim=D)
    net.call("double")
    W = scale * normal(generator, D, D)
    zero = torch.zeros(D, dtype=torch.float64)
    net.load({"W": W, "u": zero, "c": zero[None]})
    return net, W


def by_steps(x, W, times):
    """x_{t_0} of dx/dt = W x by runge_kutta: each step of length h multiplies by the first five
    terms of e^(h W)."""
    for low, high in pairwise(times[::-1]):
        hW, term = (high - low) * W, x
        for k in range(1, 5):
            term = term @ hW.T / k
            x = x + term
    return x


def at(f, t):
    return float(f(torch.tensor(t, dtype=torch.float64)))


@log_likelihood(weight=2)
def test_a_linear_field_step_by_step(student, generator):
    """for v = W x each step is known, and the divergence is the trace of W"""
    for D, T in ((1, 1), (2, 3), (3, 2)):
        net, W = linear(student, generator, D)
        process = own_process(generator)
        times = falling(generator, T, number(generator, 0.6, 1), number(generator, 0, 0.3))
        x = normal(generator, 4, D)
        log_p = exact(student, net, x, times, process, processes.velocity(process))
        end = log_normal(by_steps(x, W, times), at(process.b, times[0]))
        want = end + W.trace() * (times[0] - times[-1])
        says = f"log N(x_{{t_0}}; 0, b(t_0)² I) + tr W (t_0 − t_T), {T} steps of runge_kutta"
        expect.close(log_p, want, says, atol=1e-10, rtol=1e-10, what="log_p")


@log_likelihood
def test_strong_fields_and_far_points(student, generator):
    """it holds for fields that are strong, for points far away, and where the density is above 1"""
    process = processes.rectified_flow()
    target = processes.velocity(process)
    for scale, far, times in ((30.0, 100.0, [0.52, 0.51, 0.5]), (0.5, 1e-3, [0.02, 0.01])):
        for D, probes in ((2, 0), (1, 3)):  # for one dimension ±1 is exact
            net, W = linear(student, generator, D, scale)
            x = far * normal(generator, 4, D)
            log_p, _ = both(student, net, x, times, process, target, probes, generator)
            end = log_normal(by_steps(x, W, times), times[0])
            want = end + W.trace() * (times[0] - times[-1])
            says = f"log p for W of size {scale}, x of size {far}, {probes} probes"
            expect.close(log_p, want, says, atol=1e-9, rtol=1e-9, what="log_p")


def bumps(student, generator, process, target, shape, s=None, centred=False):
    """The perfect net for two Gaussians of any shape, made on the student's side, and the truth."""
    D = math.prod(shape)
    m = normal(generator, *shape)
    m = torch.zeros_like(m) if centred else m * number(generator, 0.7, 1.1) / m.norm()
    s = number(generator, 0.5, 0.7) if s is None else s
    net = student.new("checking.fakes.TwoBumps", m, s, process, target)
    truth = GaussianMixture.isotropic(torch.stack([m.reshape(D), -m.reshape(D)]), s)
    return net, truth


@log_likelihood(weight=3)
def test_gaussian_data_in_closed_form(student, generator):
    """for Gaussian data it is the closed form, for any process, target, first and last level"""
    for process, target in members(generator):
        s, D = number(generator, 0.5, 1.2), 2
        net, _ = bumps(student, generator, process, target, (D,), s, centred=True)
        first, last = number(generator, 0.5, 0.9), number(generator, 0.15, 0.3)
        x = normal(generator, 4, D)
        log_p = exact(student, net, x, processes.even_in_t(8, first, last), process, target)
        v0, v = ((at(process.a, t) * s) ** 2 + at(process.b, t) ** 2 for t in (first, last))
        # every x_t keeps its quantile
        want = log_normal(x * math.sqrt(v0 / v), at(process.b, first)) + D / 2 * math.log(v0 / v)
        says = "log N(x_{t_0}; 0, b(t_0)² I) + D log(growth)"
        expect.close(log_p, want, says, atol=5e-4, rtol=5e-4, what="log_p")


@log_likelihood(weight=3)
@pytest.mark.parametrize("name", ["rectified flow", "cosine, ε", "cosine, v", "noised"])
def test_the_density_of_a_mixture(student, generator, name):
    """for the perfect net of a mixture it is log p(x) to 1e-5, and that of noised data too"""
    rf, cosine = processes.rectified_flow(), processes.cosine()
    process, target, first, last = {
        "rectified flow": (rf, processes.velocity(rf), 1.0, 0.0),
        "cosine, ε": (cosine, NOISE, 1 - 1e-4, 0.0),
        "cosine, v": (cosine, processes.angular(cosine), 1.0, 0.0),
        "noised": (rf, X, 1.0, number(generator, 0.1, 0.3)),
    }[name]
    D = 1 if last else 2
    net, truth = bumps(student, generator, process, target, (D,))
    noised = truth.noised(at(process.a, last), at(process.b, last))
    x = noised.sample(5, generator)
    log_p = exact(student, net, x, processes.even_in_t(24, first, last), process, target)
    says = f"log p of a mixture with {D} dimensions, at the last level t = {last:.2g}"
    expect.close(log_p, noised.log_density(x), says, atol=1e-5, rtol=1e-5, what="log_p")


@log_likelihood(weight=2)
def test_twice_the_steps_sixteen_times_as_near(student, generator):
    """it is of order 4 in the length of steps"""
    process = processes.cosine()
    target = processes.angular(process)
    s = number(generator, 1.5, 2.0)
    net, truth = bumps(student, generator, process, target, (1,), s, centred=True)
    x, off = truth.sample(4, generator), []
    for T in (6, 12):
        log_p = exact(student, net, x, processes.even_in_t(T), process, target)
        off.append(float((log_p - truth.log_density(x)).abs().mean()))
    says = "the mean error of 6 steps over that of 12"
    ratio = off[0] / max(off[1], 1e-300)
    expect.true(9 < ratio < 30, says, f"{off[0]:.3g} / {off[1]:.3g}", "about 16")


@log_likelihood(weight=3)
def test_examples_of_any_shape(student, generator):
    """numbers, points and images, many or one, and what D is for them"""
    process = processes.rectified_flow()
    target = processes.velocity(process)
    for shape in ((5,), (1,), (1, 1), (3, 2), (2, 1, 2, 4), (1, 2, 1), (2, 2, 2)):
        net, truth = bumps(student, generator, process, target, shape[1:])
        x = truth.sample(shape[0], generator).reshape(shape)
        log_p = exact(student, net, x, processes.even_in_t(8), process, target)
        want = truth.log_density(x.reshape(shape[0], -1))
        says = f"log p(x) for x of shape {shape}, up to the error of 8 steps"
        expect.close(log_p, want, says, atol=4e-3, rtol=0, what="log_p")


def estimated(student, generator, D, n, probes, T=2, scale=0.7):
    """log p by `probes` probes along dx/dt = W x, less what is exact, and the error; both divided
    by what W's trace is multiplied by."""
    net, W = linear(student, generator, D, scale)
    process = processes.rectified_flow()
    times = falling(generator, T, number(generator, 0.7, 1), number(generator, 0, 0.2))
    x = normal(generator, n, D) if scale < 1 else torch.zeros(n, D, dtype=torch.float64)
    args = (net, x, times, process, processes.velocity(process), probes, generator)
    log_p, error = both(student, *args)
    log_p, error = (expect.tensor(v, (n,), k) for v, k in zip((log_p, error), BOTH, strict=True))
    long = times[0] - times[-1]
    rest = (log_p - log_normal(by_steps(x, W, times), times[0])) / long - W.trace()
    return rest.double(), error.double() / long, W


@log_likelihood(weight=3)
def test_each_probe_is_of_plus_and_minus_one(student, generator):
    """in two dimensions an estimate of tr W is off by W_12 + W_21 up or down, the same all along"""
    for n, probes in ((24, 2), (24, 5)):
        rest, _, W = estimated(student, generator, 2, n, probes)
        k = (rest / (W[0, 1] + W[1, 0]) + 1) / 2 * probes  # how many of them went up
        says = f"the mean of {probes} estimates, each with one e = (±1, ±1) for the whole way"
        expect.close(k, k.round(), says, atol=1e-6, rtol=0, what="how many went up")
        expect.true(bool((k.round() >= 0).all() and (k.round() <= probes).all()), says, k)
        several = len(k.round().unique())
        expect.true(several > 1, "every example needs an e of its own", "all alike")
        says = "the estimates are independent: the second does not follow from the first"
        expect.true(probes != 2 or bool((k.round() == 1).any()), says, k)


@log_likelihood(weight=2)
def test_the_estimate_is_unbiased(student, generator):
    """up and down are equally likely: on average over probes it is exact"""
    n, probes = 300, 6
    rest, _, W = estimated(student, generator, 2, n, probes, T=1)
    mean = float((rest / (W[0, 1] + W[1, 0])).mean())
    says = "the mean of e_1 e_2 over 1800 probes"
    expect.true(abs(mean) < 6 / (n * probes) ** 0.5, says, f"{mean:.3f}", "0 within 0.14")


@log_likelihood(weight=2)
def test_the_error_is_that_of_the_mean(student, generator):
    """the error is the standard error of the mean of n estimates, for n = 2 and more"""
    for probes, scale in ((3, 0.7), (2, 0.7), (8, 100.0)):
        rest, error, W = estimated(student, generator, 2, 20, probes, scale=scale)
        w = W[0, 1] + W[1, 0]
        k = ((rest / w + 1) / 2 * probes).round()  # how many went up
        want = 2 * w.abs() * (k * (probes - k) / probes / (probes - 1) / probes).sqrt()
        says = f"√(Σ (estimate − mean)² / (n (n − 1))) for n = {probes}"
        expect.close(error, want, says, atol=1e-9, rtol=1e-9, what="error, over t_0 − t_T")


@log_likelihood(weight=2)
def test_the_error_bar_holds(student, generator):
    """in more dimensions the errors are as large as theory says, and estimates lie within them"""
    D, n, probes = 5, 200, 10
    rest, error, W = estimated(student, generator, D, n, probes, T=1)
    S = (W + W.T) / 2
    variance = 2 * (S.square().sum() - S.diagonal().square().sum()) / probes
    ratio = float(error.square().mean() / variance)
    says = "the mean of error² over 2 (‖S‖² − Σ S_ii²) / n, with S the symmetric part of W"
    expect.true(0.6 < ratio < 1.5, says, f"{ratio:.2f}", "about 1")
    spread = float(rest.square().mean() / variance)
    says = "the mean square of what estimates are off by, over the same"
    expect.true(0.4 < spread < 2.0, says, f"{spread:.2f}", "about 1")
    mean = float(rest.mean() / (variance / n).sqrt())
    expect.true(abs(mean) < 6, "on average estimates are exact", f"{mean:.1f} standard errors", 0)


@log_likelihood(weight=2)
def test_estimates_for_any_shape(student, generator):
    """estimates are made for numbers, where ±1 is exact, for points and for images"""
    process = processes.rectified_flow()
    target = processes.velocity(process)
    times = processes.even_in_t(3)
    for shape in ((4,), (3, 1), (8, 3), (8, 1, 2, 2), (1, 2, 1)):
        net, truth = bumps(student, generator, process, target, shape[1:])
        x = truth.sample(shape[0], generator).reshape(shape)
        log_p = exact(student, net, x, times, process, target)
        log_p = expect.tensor(log_p, shape[:1], "log_p")
        estimate, error = both(student, net, x, times, process, target, 12, generator)
        estimate = expect.tensor(estimate, shape[:1], "log_p")
        error = expect.tensor(error, shape[:1], "error")
        says = f"12 probes for x of shape {shape}, beside the exact divergence"
        if math.prod(shape[1:]) == 1:
            expect.close(estimate, log_p, says, atol=1e-9, rtol=1e-9, what="log_p")
            expect.close(error, 0 * log_p, "e² = 1 for one number", atol=1e-9, rtol=0, what="error")
        else:
            off = float((estimate - log_p).mean())
            bar = float(error.square().mean().sqrt()) / shape[0] ** 0.5 + 0.01
            expect.true(abs(off) < 8 * bar, says, f"off by {off:.3g}", f"within {bar:.2g} or so")


@log_likelihood
def test_the_generator_draws_the_probes(student, generator):
    """the same generator gives the same estimates, another other ones; and none is needed"""
    net, _ = linear(student, generator, 3)
    process = processes.rectified_flow()
    args = (net, normal(generator, 9, 3), [0.9, 0.5, 0.1], process, processes.velocity(process), 3)
    one, two, three = (
        expect.tensor(both(student, *args, torch.Generator().manual_seed(k))[0], (9,), "log_p")
        for k in (5, 5, 6)
    )
    expect.close(two, one, "the same generator must give the same e", **DOUBLE, what="log_p")
    expect.true(not torch.allclose(one, three), "another generator gives other e")
    one, two = (expect.tensor(both(student, *args, generator)[0], (9,), "log_p") for _ in range(2))
    expect.true(not torch.allclose(one, two), "a generator goes on: its next e are others")
    one, two = (expect.tensor(both(student, *args)[0], (9,), "log_p") for _ in range(2))
    expect.true(not torch.allclose(one, two), "without a generator, e is drawn anew each time")


@log_likelihood
def test_what_the_model_is_asked_on_the_way(student, generator):
    """the model is asked at levels of runge_kutta: a tensor with one for each example"""
    net, _ = linear(student, generator, 2)
    process = own_process(generator)
    times = falling(generator, 3, 0.9, 0.1)
    x = normal(generator, 7, 2)
    log_p = exact(student, net, x, times, process, processes.velocity(process))
    expect.tensor(log_p, (7,), "log_p")
    asked, says = net.get("times"), "t must be a level for each example"
    # one call for all, or one for each: no number of calls is promised, and 7 divides no other
    told = sum(t.numel() for t in asked)
    expect.true(told % len(x) == 0, says, f"{told} levels in all", f"a multiple of {len(x)}")
    for t in asked:
        expect.true(t.dim() == 1, says, tuple(t.shape), "one axis")
        expect.true(t.dtype == x.dtype, "levels are in the precision of x", t.dtype, x.dtype)
    found = torch.cat(asked).unique()
    middles = [(one + two) / 2 for one, two in pairwise(times)]
    want = torch.tensor(sorted(times + middles), dtype=torch.float64)
    away = (found[:, None] - want).abs()
    far = float(torch.maximum(away.amin(0).max(), away.amin(1).max()))
    says = "the model is asked at both ends of each gap and in its middle, and nowhere else"
    expect.true(far < 1e-9, says, found, want)


@log_likelihood(weight=2)
def test_no_graph_and_no_gradients_are_left(student, generator):
    """it works where gradients are off, and leaves no graph, and the weights' gradients alone"""
    net, W = linear(student, generator, 2)
    net.call("put_to_use")
    process = processes.rectified_flow()
    target, times = processes.velocity(process), [0.9, 0.4]
    x = normal(generator, 3, 2)
    want = log_normal(by_steps(x, W, times), 0.9) + 0.5 * W.trace()
    name = "diffusion_likelihood.log_likelihood"
    sampler = student.new("checking.fakes.WithoutGradients", student.function(name))
    for call in (student.diffusion_likelihood.log_likelihood, sampler):
        log_p, _ = expect.unpack(call(net, x, times, process, target), BOTH)
        says = "where gradients are off" if call is sampler else "with a net in training"
        expect.close(log_p, want, says, atol=1e-10, rtol=1e-10, what="log_p")
    args = (net, x, times, process, target)
    back = student.gradient(name, *args, wrt=[x, net])
    expect.true(back[0] is None, "a graph leads back to x")
    expect.true(all(g is None for g in back[1].values()), "a graph leads into the model")


@log_likelihood(weight=2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_in_the_precision_of_x(student, generator, dtype):
    """results are in the precision of x, with all of its digits, exact and estimated"""
    net = student.new("checking.fakes.AnyShape")
    weights = {"a": number(generator, 0.3, 0.9), "b": 0.0, "c": 0.0}
    net.load({k: torch.tensor(v, dtype=torch.float32) for k, v in weights.items()})
    a = float(torch.tensor(weights["a"], dtype=torch.float32))
    process = processes.rectified_flow()
    target, times = processes.velocity(process), [0.9, 0.7, 0.1]
    for shape in ((3, 2), (2, 1, 2, 2)):
        x = normal(generator, *shape).to(dtype)
        D = math.prod(shape[1:])
        flat = x.double().reshape(shape[0], D)
        W = a * torch.eye(D, dtype=torch.float64)
        want = log_normal(by_steps(flat, W, times), 0.9) + a * D * 0.8
        off = 2e-5 if dtype == torch.float32 else 1e-11
        for probes in (0, 3):
            log_p, error = both(student, net, x, times, process, target, probes, generator)
            says = f"log p for v = a x in {dtype}, {probes} probes, where e·e = D"
            expect.close(log_p, want, says, atol=off, rtol=off, what="log_p")
            expect.close(error, torch.zeros(shape[0]), says, atol=off, rtol=0, what="error")
            for value, name in ((log_p, "log_p"), (error, "error")):
                expect.true(value.dtype == dtype, f"{name} has another dtype", value.dtype, dtype)


@log_likelihood
def test_one_example_in_any_batch(student, generator):
    """log p of an example is the same in every batch"""
    process = processes.rectified_flow()
    target, times = processes.velocity(process), [1.0, 0.6, 0.2]
    net, truth = bumps(student, generator, process, target, (2,))
    x = truth.sample(5, generator)
    together = expect.tensor(exact(student, net, x, times, process, target), (5,), "log_p")
    expect.true(len(together.unique()) == 5, "five examples, five densities", together)
    for i in (0, 3):
        alone = exact(student, net, x[i : i + 1], times, process, target)
        expect.close(alone, together[i : i + 1], "the others change it", **DOUBLE, what="log_p")


@log_likelihood
def test_levels_in_every_form_and_no_others(student, generator):
    """levels may be a list, a tuple or a tensor; rising ones, and 1 probe, are refused"""
    process = processes.rectified_flow()
    target = processes.velocity(process)
    net, W = linear(student, generator, 2)
    x, times = normal(generator, 3, 2), [1.0, 0.5, 0.25]
    want = log_normal(by_steps(x, W, times), 1.0) + 0.75 * W.trace()
    for form in (times, tuple(times), torch.tensor(times)):
        log_p = exact(student, net, x, form, process, target)
        says = f"levels in a {type(form).__name__}"
        expect.close(log_p, want, says, atol=1e-10, rtol=1e-10, what="log_p")
    call = student.diffusion_likelihood.log_likelihood
    for wrong in ([0.25, 0.5, 1.0], [1.0, 0.5, 0.5], [1.2, 0.5], [1.0, -0.1], [0.5]):
        says = f"times = {wrong} is refused"
        expect.raises("ValueError", lambda w=wrong: call(net, x, w, process, target), says)
    for probes in (1, -1, -2):
        says = f"probes = {probes} is refused"
        expect.raises("ValueError", lambda p=probes: call(net, x, times, process, target, p), says)
    says = "a prediction of x says nothing at b = 0"
    expect.raises("ValueError", lambda: call(net, x, [1.0, 0.5, 0.0], process, X), says)
