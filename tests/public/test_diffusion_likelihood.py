"""Public checks of chapter 07's likelihoods."""

import math
from itertools import pairwise

import pytest
import torch

from cs231n_gen.checking import expect, fakes
from cs231n_gen.given import processes
from cs231n_gen.given.processes import NOISE, Process, Target, X
from cs231n_gen.truth import GaussianMixture

elbo_terms = pytest.mark.exercise("diffusion_likelihood.elbo_terms")
log_likelihood = pytest.mark.exercise("diffusion_likelihood.log_likelihood", graph=False)

TERMS, BOTH = ("prior", "steps", "reconstruction"), ("log_p", "error")
RF, COSINE = processes.rectified_flow(), processes.cosine()
V = processes.velocity(RF)
OWN = Process(
    a=lambda t: 1 - t**2,
    b=lambda t: t * (2 + t),
    da=lambda t: -2 * t,
    db=lambda t: 2 + 2 * t,
)
OWN_TARGET = Target(c=lambda t: -1 - t, d=lambda t: 2 - t)
FAMILY = [
    ("rectified flow and its velocity", RF, V),
    ("the cosine process and ε", COSINE, NOISE),
    ("variance exploding and x", processes.variance_exploding(0.1, 4.0), X),
    ("a process and a target of the check's own", OWN, OWN_TARGET),
]
LEVELS = [0.9, 0.6, 0.5, 0.2]


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def column(value, x):
    """One number for each example, shaped to multiply x."""
    return value.reshape(-1, *[1] * (x.dim() - 1))


def squared(x):
    """‖x‖² of each example."""
    return x.reshape(len(x), -1).square().sum(1)


def at(f, t):
    return float(f(torch.tensor(t, dtype=torch.float64)))


# --- diffusion_likelihood.elbo_terms ------------------------------------------------------------


def guess(x_t, level):
    """Some x̂ in which x_t and t count."""
    return torch.tanh(x_t + level)


def answering(process, target, guess=guess):
    """The model that stands for a guess of x."""

    def model(x_t, t):
        level = column(t, x_t)
        a, b, c, d = (f(level) for f in (process.a, process.b, target.c, target.d))
        x = guess(x_t, level)
        return c * x + d * (x_t - a * x) / b

    return model


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


def cases(student, generator, shapes=((3,), (3, 2), (1, 2, 2, 1), (2, 1))):
    """For every member of the family: its name with a shape, and data, z and the three terms."""
    for (name, process, target), shape in zip(FAMILY, shapes, strict=True):
        x, z = 12 * normal(generator, *shape), normal(generator, len(LEVELS), *shape)
        model = answering(process, target)
        found = terms(student, model, x, z, LEVELS, process, target)
        yield f"{name}, x of shape {shape}", process, x, z, found


@elbo_terms
def test_what_the_prior_costs(student, generator):
    """the prior's term is ½ SNR(t_0) ‖x‖², for numbers, points and images"""
    for name, process, x, _, (prior, _, _) in cases(student, generator):
        want = snr_of(process, LEVELS)[0] / 2 * squared(x)
        expect.close(prior, want, f"½ SNR(t_0) ‖x‖²: {name}", atol=1e-9, rtol=1e-9, what="prior")


@elbo_terms
def test_what_each_step_costs(student, generator):
    """step i is ½ (SNR(t_{i+1}) − SNR(t_i)) ‖x − x̂‖², for numbers, points and images"""
    for name, process, x, z, (_, steps, _) in cases(student, generator):
        want = snr_of(process, LEVELS).diff()[:, None] / 2 * missed(x, z, LEVELS, process)
        says = f"½ ΔSNR ‖x − x̂‖², a row for each step: {name}"
        expect.close(steps, want, says, atol=1e-8, rtol=1e-8, what="steps")


@elbo_terms
def test_what_the_reconstruction_costs(student, generator):
    """the reconstruction's term is ½ D log(2π / SNR(t_T)) + ½ ‖z_T‖², for any shape"""
    for name, process, x, z, (_, _, reconstruction) in cases(student, generator):
        D = x[0].numel()
        want = D / 2 * (2 * math.pi / snr_of(process, LEVELS)[-1]).log() + squared(z[-1]) / 2
        says = f"½ D log(2π / SNR) + ½ ‖z_T‖² at the last level: {name}"
        expect.close(reconstruction, want, says, atol=1e-9, rtol=1e-9, what="reconstruction")


@elbo_terms
def test_it_bounds_the_density_of_a_gaussian(student, generator):
    """for Gaussian data and the perfect net the sum's mean is a little above −log p(x)"""
    mu, s, D = torch.tensor([0.5, -1.0]).double(), 0.7, 2
    x = mu + s * normal(generator, 3, D).clamp(-1.5, 1.5)  # further out the gap is wider
    log_p = -squared(x - mu) / (2 * s**2) - D / 2 * math.log(2 * math.pi * s**2)
    nodes = math.sqrt(D) * torch.eye(D, dtype=torch.float64)
    nodes = torch.cat([nodes, -nodes])  # their mean is that over z of what is quadratic in z

    def best(x_t, t):
        a, b = RF.a(t), RF.b(t)
        return mu + a * s**2 / ((a * s) ** 2 + b**2) * (x_t - a * mu)

    times = processes.even_in_log_snr(RF, 32, (-9.0, 9.0))
    every, z = x.repeat_interleave(4, dim=0), nodes.repeat(33, 3, 1)
    parts = terms(student, answering(RF, V, best), every, z, times, RF, V)
    shapes = [(12,), (32, 12), (12,)]
    prior, steps, rest = (
        expect.tensor(p, shape, name).double()
        for p, shape, name in zip(parts, shapes, TERMS, strict=True)
    )
    gap = (prior + steps.sum(0) + rest).reshape(3, 4).mean(1) + log_p
    says = "the bound's mean less −log p(x), with 32 levels even in log-SNR"
    expect.true(bool(((gap > 0) & (gap < 3.5)).all()), says, gap, "between 0 and 3.5")


@elbo_terms
def test_the_snr_alone_counts(student, generator):
    """rectified flow, cosine and VE give the same terms at equal SNR, from the same z"""
    x, z, found = normal(generator, 3, 2), normal(generator, 5, 3, 2), []
    for process, target in [
        (RF, V),
        (COSINE, processes.angular(COSINE)),
        (processes.variance_exploding(0.02, 30.0), NOISE),
    ]:
        times = processes.even_in_log_snr(process, 4, (-3.0, 4.0))

        def best(x_t, t, process=process):  # a function of the SNR and of the direction of x_t
            return torch.tanh(x_t / process.b(t) + process.a(t) / process.b(t))

        model = answering(process, target, best)
        found.append(terms(student, model, x, z, times, process, target))
    for other in found[1:]:
        for one, two, shape, name in zip(found[0], other, [(3,), (4, 3), (3,)], TERMS, strict=True):
            one = expect.tensor(one, shape, name)
            says = "a and b may differ, the SNR is the same"
            expect.close(two, one, says, atol=1e-7, rtol=1e-7, what=name)


@elbo_terms
def test_what_the_net_is_asked(student, generator):
    """the model is asked once at each level but the last, about a x + b z_i of the whole batch"""
    x, z = normal(generator, 3, 2), normal(generator, 4, 3, 2)
    model = fakes.Recorder(lambda x_t, level, y: guess(x_t, level))
    terms(student, model, x, z, LEVELS, OWN, OWN_TARGET)
    calls = len(model.inputs)
    expect.true(calls == 3, "the model is called once for each of t_0, …, t_{T−1}", calls, 3)
    order = sorted(range(3), key=lambda k: -float(torch.as_tensor(model.times[k]).flatten()[0]))
    for z_i, t, k in zip(z[:-1], LEVELS[:-1], order, strict=True):
        level = torch.full((3,), t, dtype=torch.float64)
        says = "t must be a level for each example"
        expect.close(model.times[k], level, says, atol=1e-11, rtol=1e-11, what="t")
        expect.true(model.times[k].dtype == x.dtype, "levels are in the precision of x")
        says = "step i is asked about x_{t_i} = a x + b z_i, with its own draw"
        want = at(OWN.a, t) * x + at(OWN.b, t) * z_i
        expect.close(model.inputs[k], want, says, atol=1e-10, rtol=1e-10, what="x_t")


@elbo_terms
def test_gradients_flow_into_the_model(student, generator):
    """gradients of every step flow into the model"""
    net, twin = student.new("checking.fakes.LinearField", dim=2), fakes.LinearField(2).double()
    net.call("double")
    weights = {n: 0.5 * normal(generator, *p.shape) for n, p in twin.named_parameters()}
    net.load(weights)
    twin.load_state_dict(weights)
    x, z = normal(generator, 3, 2), normal(generator, 4, 3, 2)
    args = (net, x, z, LEVELS, RF, V)
    (before,) = student.gradient("diffusion_likelihood.elbo_terms", *args, wrt=[net])
    net.call("put_to_use")  # evaluated in the middle of a training
    (found,) = student.gradient("diffusion_likelihood.elbo_terms", *args, wrt=[net])

    def by_twin(x_t, t):
        return x_t - t * twin(x_t, t.expand(len(x_t)))

    total = snr_of(RF, LEVELS).diff()[:, None] / 2 * missed(x, z, LEVELS, RF, by_twin)
    want = torch.autograd.grad(total.sum(), list(twin.parameters()))
    for (name, gradient), right in zip(found.items(), want, strict=True):
        says = f"the gradient of the sum of all terms by {name}"
        arrives = gradient is not None and before[name] is not None
        expect.true(arrives, says, "none arrives")
        for value in (before[name], gradient):
            expect.close(value, right, says, atol=1e-8, rtol=1e-8, what="the gradient")


@elbo_terms
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_terms_in_the_precision_of_x(student, generator, dtype):
    """terms are in the precision of x, with all of its digits; levels may be a tensor"""
    off = 1e-4 if dtype == torch.float32 else 1e-11
    x, z = normal(generator, 3, 2).to(dtype), normal(generator, 3, 3, 2).to(dtype)
    times = [0.9, 1 / 3, 0.1]
    levels = torch.tensor(times, dtype=torch.float64)
    for form in (times, levels):
        found = terms(student, answering(RF, V), x, z, form, RF, V)
        x_, z_, r = x.double(), z.double(), snr_of(RF, times)
        want = (
            r[0] / 2 * squared(x_),
            r.diff()[:, None] / 2 * missed(x_, z_, times, RF),
            (2 * math.pi / r[-1]).log() + squared(z_[-1]) / 2,
        )
        for got, right, name in zip(found, want, TERMS, strict=True):
            expect.close(got, right, f"{name} in {dtype}", atol=off, rtol=off, what=name)
            expect.true(got.dtype == dtype, f"{name} has the precision of x", got.dtype, dtype)


@elbo_terms
def test_from_noise_alone_to_nearly_none(student, generator):
    """it holds from t = 1, where a = 0, down to 10⁻⁷, for a single step and numbers far from 0"""
    x = 40 * normal(generator, 3, 2)
    for times in ([1.0, 0.5, 1e-7], [1.0, 1e-7]):
        z = 20 * normal(generator, len(times), 3, 2)
        for process, target in ((RF, V), (RF, X)):
            model = answering(process, target)
            prior, steps, rest = terms(student, model, x, z, times, process, target)
            says = "where no data is left the prior costs nothing"
            expect.close(prior, torch.zeros(3), says, atol=1e-12, rtol=0, what="prior")
            r = snr_of(process, times)
            want = r.diff()[:, None] / 2 * missed(x, z, times, process)
            expect.close(steps, want, "steps from SNR 0 on", atol=1e-7, rtol=1e-7, what="steps")
            want = (2 * math.pi / r[-1]).log() + squared(z[-1]) / 2
            says = "the reconstruction at t = 1e-7"
            expect.close(rest, want, says, atol=1e-7, rtol=1e-7, what="reconstruction")


@elbo_terms
def test_refusals_of_the_bound(student, generator):
    """levels that do not fall, noise that does not fit, a last level without noise are refused"""
    x, z = normal(generator, 4, 2), normal(generator, 3, 4, 2)

    def call(times=LEVELS[1:], z=z, process=RF, target=V):
        return terms(student, lambda x_t, t: 0.5 * x_t, x, z, times, process, target)

    prior, _, _ = call()
    want = snr_of(RF, LEVELS)[1] / 2 * squared(x)
    expect.close(prior, want, "½ SNR(t_0) ‖x‖²", atol=1e-9, rtol=1e-9, what="prior")
    for wrong in ([0.2, 0.5, 0.9], [1.1, 0.5, 0.2], [1.0, 0.5, 0.0]):
        says = f"times = {wrong} is refused"
        expect.raises("ValueError", lambda wrong=wrong: call(wrong), says)
    for other in (z[:2], z[:, :3], z[..., :1], torch.cat([z, z])):
        says = f"z of shape {tuple(other.shape)} is refused for 3 levels and x of shape (4, 2)"
        expect.raises("ValueError", lambda other=other: call(z=other), says)
    says = "a prediction of noise says nothing of x at a = 0"
    expect.raises("ValueError", lambda: call([1.0, 0.5, 0.1], target=NOISE), says)
    left = processes.variance_exploding(0.1, 3.0)
    _, _, found = call([1.0, 0.5, 0.0], process=left, target=NOISE)
    want = math.log(2 * math.pi * 0.1**2) + squared(z[-1]) / 2
    says = "a last level of 0 will do where b(0) is not 0"
    expect.close(found, want, says, atol=1e-9, rtol=1e-9, what="reconstruction")


# --- diffusion_likelihood.log_likelihood --------------------------------------------------------


def both(student, *args, **options):
    """What the student's function returns, by name."""
    return expect.unpack(student.diffusion_likelihood.log_likelihood(*args, **options), BOTH)


def exact(student, *args):
    """log p(x) with the exact divergence, whose error is 0."""
    log_p, error = both(student, *args)
    n = len(args[1])
    expect.close(error, torch.zeros(n), "an exact divergence has no error", what="error")
    return log_p


def log_normal(x, b):
    """log N(x; 0, b² I) of each example."""
    D = x[0].numel()
    return -D / 2 * math.log(2 * math.pi * b**2) - squared(x) / (2 * b**2)


def linear(student, W):
    """A net that answers W x_t."""
    net, D = student.new("checking.fakes.LinearField", dim=len(W)), len(W)
    net.call("double")
    zero = torch.zeros(D, dtype=torch.float64)
    net.load({"W": W, "u": zero, "c": zero[None]})
    return net


def by_steps(x, W, times):
    """x_{t_0} of dx/dt = W x by runge_kutta: each step of length h multiplies by the first five
    terms of e^(h W)."""
    for low, high in pairwise(times[::-1]):
        hW, term = (high - low) * W, x
        for k in range(1, 5):
            term = term @ hW.T / k
            x = x + term
    return x


W = torch.tensor([[0.5, -0.8], [0.3, 0.4]], dtype=torch.float64)


@log_likelihood
def test_steps_of_a_linear_field(student, generator):
    """for v = W x each step of runge_kutta is known, and the divergence is the trace of W"""
    net, x = linear(student, W), normal(generator, 3, 2)
    for process, times in ((RF, [0.8, 0.1]), (OWN, [0.9, 0.3, 0.2])):
        log_p = exact(student, net, x, times, process, processes.velocity(process))
        end = log_normal(by_steps(x, W, times), at(process.b, times[0]))
        want = end + W.trace() * (times[0] - times[-1])
        says = "log N(x_{t_0}; 0, b(t_0)² I) + tr W (t_0 − t_T)"
        expect.close(log_p, want, says, atol=1e-9, rtol=1e-9, what="log_p")


@log_likelihood
def test_a_strong_field_and_a_high_density(student, generator):
    """it holds for a strong field, for points far away, and where the density is above 1"""
    for strength, far, times in ((40.0, 100.0, [0.52, 0.51, 0.5]), (1.0, 1e-3, [0.02, 0.01])):
        for D, probes in ((2, 0), (1, 3)):  # for one dimension ±1 is exact
            V_x = strength * W[:D, :D]
            net, x = linear(student, V_x), far * normal(generator, 3, D)
            log_p, _ = both(student, net, x, times, RF, V, probes, generator)
            end = log_normal(by_steps(x, V_x, times), times[0])
            want = end + V_x.trace() * (times[0] - times[-1])
            says = f"log p for a field of strength {strength}, x of size {far}, {probes} probes"
            expect.close(log_p, want, says, atol=1e-9, rtol=1e-9, what="log_p")


def bumps(student, generator, process, target, shape, m=0.9, s=0.6):
    """The perfect net for two Gaussians of any shape, made on the student's side, and the truth."""
    D = math.prod(shape)
    middle = normal(generator, *shape)
    middle = m * middle / middle.norm()
    net = student.new("checking.fakes.TwoBumps", middle, s, process, target)
    return net, GaussianMixture.isotropic(torch.stack([middle.reshape(D), -middle.reshape(D)]), s)


@log_likelihood
def test_gaussian_data(student, generator):
    """for Gaussian data it is the closed form, for any process, target, first and last level"""
    s, D, first, last = 0.8, 2, 0.7, 0.25
    x = normal(generator, 3, D)
    for name, process, target in FAMILY:
        net, _ = bumps(student, generator, process, target, (D,), 0.0, s)
        log_p = exact(student, net, x, [first, 0.5, 0.35, last], process, target)
        v0, v = ((at(process.a, t) * s) ** 2 + at(process.b, t) ** 2 for t in (first, last))
        # every x_t keeps its quantile
        want = log_normal(x * math.sqrt(v0 / v), at(process.b, first)) + D / 2 * math.log(v0 / v)
        says = f"log N(x_{{t_0}}; 0, b(t_0)² I) + D log(growth): {name}"
        expect.close(log_p, want, says, atol=2e-3, rtol=2e-3, what="log_p")


@log_likelihood
def test_the_density_of_two_gaussians(student, generator):
    """for the perfect net of two Gaussians it is log p(x)"""
    net, truth = bumps(student, generator, RF, V, (2,))
    x = truth.sample(4, generator)
    log_p = exact(student, net, x, processes.even_in_t(8), RF, V)
    says = "log p(x) up to the error of 8 steps"
    expect.close(log_p, truth.log_density(x), says, atol=3e-4, rtol=3e-4, what="log_p")


@log_likelihood
def test_numbers_points_and_images(student, generator):
    """numbers, points and images, many or one, exactly and by probes"""
    times = processes.even_in_t(4)
    for shape in ((3,), (1, 1), (4, 2), (2, 1, 2, 4)):
        net, truth = bumps(student, generator, RF, V, shape[1:])
        x = truth.sample(shape[0], generator).reshape(shape)
        log_p = exact(student, net, x, times, RF, V)
        says = f"log p(x) for x of shape {shape}, up to the error of 4 steps"
        want = truth.log_density(x.reshape(shape[0], -1))
        expect.close(log_p, want, says, atol=0.05, rtol=0.0, what="log_p")
        estimate, error = both(student, net, x, times, RF, V, 20, generator)
        error = expect.tensor(error, shape[:1], "error")
        estimate = expect.tensor(estimate, shape[:1], "log_p")
        off = (estimate - log_p).abs().mean()
        says = f"20 probes for x of shape {shape}, beside the exact divergence"
        bar = 7 * error.mean() + 1e-6
        expect.true(bool(off < bar), says, f"off by {float(off):.3g}", f"at most {float(bar):.3g}")


def estimated(student, generator, n, probes, strength=1.0):
    """By how much estimates of tr W are off, in units of W_12 + W_21, and the error likewise."""
    net, times = linear(student, strength * W), [0.9, 0.4, 0.1]
    x = normal(generator, n, 2) if strength == 1 else torch.zeros(n, 2, dtype=torch.float64)
    found = both(student, net, x, times, RF, V, probes, generator)
    log_p, error = (expect.tensor(v, (n,), k) for v, k in zip(found, BOTH, strict=True))
    V_x = strength * W
    rest = (log_p - log_normal(by_steps(x, V_x, times), 0.9)) / 0.8 - V_x.trace()
    w = V_x[0, 1] + V_x[1, 0]
    return rest.double() / w, error.double() / (0.8 * w.abs())


@log_likelihood
def test_probes_of_plus_and_minus_one(student, generator):
    """in two dimensions a probe is off by W_12 + W_21, up or down: n of them give few values"""
    off, _ = estimated(student, generator, 60, 4)
    k = (off + 1) / 2 * 4  # how many of the four went up
    says = "the mean of 4 estimates, each with one e = (±1, ±1) for the whole way"
    expect.close(k, k.round(), says, atol=1e-6, rtol=0, what="how many went up")
    expect.true(bool((k.round() >= 0).all() and (k.round() <= 4).all()), says, k)
    expect.true(len(k.round().unique()) > 1, "every example needs an e of its own", "all alike")
    says = "the estimates are independent: none follows from another"
    expect.true(bool((k.round() % 2 == 1).any()), says, "all of them in pairs")
    mean = float(off.mean())
    says = "up and down are equally likely: their mean over 240 probes"
    expect.true(abs(mean) < 0.35, says, f"{mean:.3f}", "0 within 0.35")


@log_likelihood
def test_the_standard_error_over_probes(student, generator):
    """the error is the standard error of the mean of n estimates"""
    for probes, strength in ((6, 1.0), (2, 200.0)):
        off, error = estimated(student, generator, 12, probes, strength)
        k = ((off + 1) / 2 * probes).round()  # how many went up
        want = 2 * (k * (probes - k) / probes / (probes - 1) / probes).sqrt()
        says = f"√(Σ (estimate − mean)² / (n (n − 1))) for n = {probes}"
        expect.close(error, want, says, atol=1e-9, rtol=1e-9, what="error, by that of one probe")


@log_likelihood
def test_the_generator_gives_the_probes(student, generator):
    """the same generator gives the same estimates, another other ones; and none is needed"""
    net = linear(student, W)
    args = (net, normal(generator, 9, 2), [0.9, 0.1], RF, V, 3)
    one, two, three = (
        expect.tensor(both(student, *args, torch.Generator().manual_seed(k))[0], (9,), "log_p")
        for k in (5, 5, 6)
    )
    expect.close(two, one, "the same generator must give the same e", what="log_p")
    expect.true(not torch.allclose(one, three), "another generator gives other e")
    one, two = (expect.tensor(both(student, *args, generator)[0], (9,), "log_p") for _ in range(2))
    expect.true(not torch.allclose(one, two), "a generator goes on: its next e are others")
    one, two = (expect.tensor(both(student, *args)[0], (9,), "log_p") for _ in range(2))
    expect.true(not torch.allclose(one, two), "without a generator, e is drawn anew each time")


@log_likelihood
def test_the_net_is_asked_at_levels_of_runge_kutta(student, generator):
    """the model is asked at both ends and in the middle of each gap, at a level for each example"""
    net, x = linear(student, W), normal(generator, 7, 2)
    log_p = exact(student, net, x, [0.8, 0.6, 0.2], RF, V)
    expect.tensor(log_p, (7,), "log_p")
    asked, says = net.get("times"), "t must be a level for each example"
    # one call for all, or one for each: no number of calls is promised, and 7 divides no other
    told = sum(t.numel() for t in asked)
    expect.true(told % len(x) == 0, says, f"{told} levels in all", f"a multiple of {len(x)}")
    for t in asked:
        expect.true(t.dim() == 1, says, tuple(t.shape), "one axis")
        expect.true(t.dtype == x.dtype, "levels are in the precision of x", t.dtype, x.dtype)
    found = torch.cat(asked).unique()
    away = (found[:, None] - torch.tensor([0.2, 0.4, 0.6, 0.7, 0.8], dtype=torch.float64)).abs()
    far = float(torch.maximum(away.amin(0).max(), away.amin(1).max()))
    says = "for levels 0.8, 0.6, 0.2 the model is asked at 0.2, 0.4, 0.6, 0.7 and 0.8"
    expect.true(far < 1e-9, says, found)


@log_likelihood
def test_nothing_of_a_graph_is_left(student, generator):
    """it works where gradients are off, and leaves no graph, and the weights' gradients alone"""
    net, x, times = linear(student, W), normal(generator, 3, 2), [0.9, 0.4]
    net.call("put_to_use")
    want = log_normal(by_steps(x, W, times), 0.9) + 0.5 * W.trace()
    name = "diffusion_likelihood.log_likelihood"
    sampler = student.new("checking.fakes.WithoutGradients", student.function(name))
    for call in (student.diffusion_likelihood.log_likelihood, sampler):
        log_p, _ = expect.unpack(call(net, x, times, RF, V), BOTH)
        says = "where gradients are off" if call is sampler else "with a net in training"
        expect.close(log_p, want, says, atol=1e-9, rtol=1e-9, what="log_p")
    back = student.gradient(name, net, x, times, RF, V, wrt=[x, net])
    expect.true(back[0] is None, "a graph leads back to x")
    expect.true(all(g is None for g in back[1].values()), "a graph leads into the model")


@log_likelihood
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_log_p_in_the_precision_of_x(student, generator, dtype):
    """log_p and error are in the precision of x, with all of its digits; levels may be a tensor"""
    net = student.new("checking.fakes.AnyShape")
    net.load({k: torch.tensor(v) for k, v in (("a", 0.75), ("b", 0.0), ("c", 0.0))})
    x, times = normal(generator, 2, 1, 2, 2).to(dtype), [0.9, 0.7, 0.1]
    ends = by_steps(x.double().reshape(2, 4), 0.75 * torch.eye(4, dtype=torch.float64), times)
    want = log_normal(ends, 0.9) + 0.75 * 4 * 0.8
    off = 2e-5 if dtype == torch.float32 else 1e-11
    levels = torch.tensor(times, dtype=torch.float64)
    for probes, form in ((0, times), (3, levels)):
        log_p, error = both(student, net, x, form, RF, V, probes, generator)
        says = f"log p for v = a x in {dtype}, {probes} probes, where e·e = D"
        expect.close(log_p, want, says, atol=off, rtol=off, what="log_p")
        expect.close(error, torch.zeros(2), says, atol=off, rtol=0, what="error")
        for value, what in ((log_p, "log_p"), (error, "error")):
            expect.true(value.dtype == dtype, f"{what} has another dtype", value.dtype, dtype)


@log_likelihood
def test_refusals_of_log_p(student, generator):
    """levels that do not fall, and a number of probes that tells no error, are refused"""
    net, x, times = linear(student, W), normal(generator, 3, 2), [1.0, 0.5]
    log_p = exact(student, net, x, times, RF, V)
    want = log_normal(by_steps(x, W, times), 1.0) + 0.5 * W.trace()
    expect.close(log_p, want, "from t = 1 to 0.5", atol=1e-9, rtol=1e-9, what="log_p")
    call = student.diffusion_likelihood.log_likelihood
    for wrong in ([0.25, 0.5, 1.0], [1.2, 0.5], [0.5]):
        says = f"times = {wrong} is refused"
        expect.raises("ValueError", lambda w=wrong: call(net, x, w, RF, V), says)
    for probes in (1, -2):
        says = f"probes = {probes} is refused"
        expect.raises("ValueError", lambda p=probes: call(net, x, times, RF, V, p), says)
    says = "a prediction of x says nothing at b = 0"
    expect.raises("ValueError", lambda: call(net, x, [1.0, 0.5, 0.0], RF, X), says)
