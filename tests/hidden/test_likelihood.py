"""Hidden graders of chapter 00: probabilities that sum to 1, quadrature, and a bound that is tight
where it should be."""

import itertools
import math

import numpy as np
import pytest
import torch

from cs231n_gen.checking import expect

autoregressive = pytest.mark.exercise("likelihood.autoregressive_log_likelihood")
gaussian_kl = pytest.mark.exercise("likelihood.gaussian_kl")
elbo = pytest.mark.exercise("likelihood.elbo")


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def gauss_hermite(n=40):
    """Nodes and weights with Σ w f(node) = E[f(u)], u ~ N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return torch.tensor(nodes), torch.tensor(weights / math.sqrt(2 * math.pi))


# --- likelihood.autoregressive_log_likelihood ---------------------------------------------------


@autoregressive(weight=3)
def test_a_model_with_memory_sums_to_1(student, generator):
    """for a model whose scores depend on the past, all sequences together have probability 1"""
    V, L = 3, 4
    table = [2 * normal(generator, *[V] * t, V) for t in range(L)]
    every = torch.tensor(list(itertools.product(range(V), repeat=L)))
    logits = torch.stack([torch.stack([table[t][tuple(x[:t])] for t in range(L)]) for x in every])
    value = student.likelihood.autoregressive_log_likelihood(logits, every)
    value = expect.tensor(value, (V**L,), "log p(x)")
    says = "all sequences together do not have probability 1"
    expect.close(value.exp().sum(), 1.0, says, atol=1e-12, rtol=0)
    want = torch.tensor(
        [sum(float(table[t][tuple(x[:t])].log_softmax(0)[x[t]]) for t in range(L)) for x in every]
    )
    expect.close(value, want, "some sequence has the wrong log-likelihood")


@autoregressive
def test_shifting_all_scores_changes_nothing(student, generator):
    """a constant added to all scores of a position changes nothing"""
    logits = normal(generator, 5, 6, 7)
    tokens = torch.randint(0, 7, (5, 6), generator=generator)
    shift = 50 * normal(generator, 5, 6, 1)
    a = student.likelihood.autoregressive_log_likelihood(logits, tokens)
    b = student.likelihood.autoregressive_log_likelihood(logits + shift, tokens)
    expect.close(b, expect.tensor(a, (5,), "log p(x)"), "only differences of scores count")


@autoregressive
def test_extreme_scores(student, generator):
    """scores of ±10 000 give finite, exact log-likelihoods"""
    tokens = torch.randint(0, 3, (4, 5), generator=generator)
    logits = torch.full((4, 5, 3), -1e4, dtype=torch.float64)
    other = (tokens + 1) % 3
    logits.scatter_(-1, other[..., None], 1e4)
    value = student.likelihood.autoregressive_log_likelihood(logits, tokens)
    want = torch.full((4,), -1e5, dtype=torch.float64)
    expect.close(value, want, "very unlikely tokens must stay finite")


@autoregressive(weight=2)
def test_gradient_is_one_hot_minus_softmax(student, generator):
    """the gradient with respect to the scores is one-hot − softmax"""
    logits = normal(generator, 3, 4, 5)
    tokens = torch.randint(0, 5, (3, 4), generator=generator)
    (gradient,) = student.gradient(
        "likelihood.autoregressive_log_likelihood", logits, tokens, wrt=[logits]
    )
    want = torch.nn.functional.one_hot(tokens, 5) - logits.softmax(-1)
    expect.true(gradient is not None, "no gradient reaches the scores")
    says = "the gradient is not one-hot − softmax"
    expect.close(gradient, want, says, atol=1e-12, rtol=1e-12)


def by_hand(logits, tokens):
    """log p of each sequence, number by number, in Python's floats."""

    def log_p(scores, token):
        most = max(scores)
        return scores[token] - most - math.log(sum(math.exp(s - most) for s in scores))

    rows = zip(logits.tolist(), tokens.tolist(), strict=True)
    return [sum(log_p(s, k) for s, k in zip(*row, strict=True)) for row in rows]


@autoregressive(weight=2)
def test_sequences_of_every_size(student, generator):
    """one sequence or many, of one token or more, of a vocabulary of one word or more"""
    for batch, length, V in ((1, 4, 6), (5, 1, 6), (3, 4, 1), (1, 1, 1), (4, 4, 4), (2, 40, 3)):
        logits = 3 * normal(generator, batch, length, V)
        tokens = torch.randint(0, V, (batch, length), generator=generator)
        says = f"logits of shape {(batch, length, V)}"
        want = torch.tensor(by_hand(logits, tokens), dtype=torch.float64)
        value = student.likelihood.autoregressive_log_likelihood(logits, tokens)
        expect.close(value, want, says, atol=1e-11, rtol=1e-12)
        value = student.likelihood.autoregressive_log_likelihood(logits.float(), tokens)
        expect.close(value, want, f"{says} in single precision", atol=1e-4, rtol=1e-5)


@autoregressive
def test_scores_of_any_size(student, generator):
    """scores from ±1e-3 to ±1e30 give finite, exact log-likelihoods, in single precision too"""
    tokens = torch.randint(0, 5, (3, 4), generator=generator)
    for size in (1e-3, 100.0, 1e3, 1e6, 1e30):
        logits = (size * normal(generator, 3, 4, 5)).float()
        want = torch.tensor(by_hand(logits.double(), tokens), dtype=torch.float64)
        for given in (logits, logits.double()):
            value = student.likelihood.autoregressive_log_likelihood(given, tokens)
            expect.close(value, want, f"scores of about ±{size:g}", atol=1e-5, rtol=1e-5)


@autoregressive
def test_logits_and_tokens_agree(student, generator):
    """logits and tokens of different batch or length are refused"""
    call = student.likelihood.autoregressive_log_likelihood
    tokens = torch.randint(0, 3, (4, 5), generator=generator)
    for shape in ((3, 5, 3), (4, 6, 3), (4, 4, 3), (1, 5, 3), (4, 1, 3), (5, 4, 3), (4, 5)):
        says = f"logits {shape} do not fit tokens (4, 5)"
        logits = normal(generator, *shape)
        expect.raises("ValueError", lambda l=logits: call(l, tokens), says)


# --- likelihood.gaussian_kl ---------------------------------------------------------------------


@gaussian_kl(weight=3)
def test_against_quadrature(student, generator):
    """it equals E_q[log q − log p] by quadrature"""
    mean, log_var = normal(generator, 6, 1), normal(generator, 6, 1)
    nodes, weights = gauss_hermite()
    sigma = (0.5 * log_var).exp()
    z = mean + sigma * nodes
    log_q = -0.5 * nodes.square() - 0.5 * log_var
    want = (weights * (log_q + 0.5 * z.square())).sum(1)
    says = "it differs from the integral of q log(q/p)"
    expect.close(student.likelihood.gaussian_kl(mean, log_var), want, says, atol=1e-8, rtol=1e-8)


@gaussian_kl(weight=2)
def test_independent_dimensions_add_up(student, generator):
    """many dimensions: the sum of each"""
    mean, log_var = normal(generator, 5, 7), normal(generator, 5, 7)
    value = student.likelihood.gaussian_kl(mean, log_var)
    q = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    p = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    want = torch.distributions.kl_divergence(q, p).sum(1)
    expect.close(
        value, want, "the divergences of the dimensions do not add up", atol=1e-8, rtol=1e-8
    )


@gaussian_kl(weight=2)
def test_small_divergences_count(student, generator):
    """near N(0, I) it is ½ (μ² + ½ log_var²), small but not 0"""
    mean = 1e-2 * normal(generator, 8, 3)
    log_var = 1e-2 * normal(generator, 8, 3)
    want = 0.5 * (mean.square() + 0.5 * log_var.square()).sum(1)
    value = student.likelihood.gaussian_kl(mean, log_var)
    expect.close(value, want, "small divergences are lost", atol=1e-6, rtol=1e-2)  # third order


@gaussian_kl
def test_its_gradient_points_to_the_unit_gaussian(student, generator):
    """the gradients are μ and ½ (σ² − 1)"""
    for size in (1.0, 10.0):
        mean, log_var = size * normal(generator, 4, 3), size * normal(generator, 4, 3)
        dm, dv = student.gradient("likelihood.gaussian_kl", mean, log_var, wrt=[mean, log_var])
        expect.true(dm is not None and dv is not None, "no gradient arrives")
        expect.close(dm, mean, "dKL/dμ must be μ", atol=1e-12, rtol=1e-12)
        want = 0.5 * (log_var.exp() - 1)
        expect.close(dv, want, "dKL/dlog σ² must be ½ (σ² − 1)", atol=1e-12, rtol=1e-12)


def divergence(mean, log_var):
    """KL(N(μ, σ²) ‖ N(0, 1)) of single numbers, without cancellation near log σ² = 0."""
    if abs(log_var) > 0.1:
        rest = math.exp(log_var) - 1 - log_var
    else:
        rest = sum(log_var**k / math.factorial(k) for k in range(2, 15))
    return (mean**2 + rest) / 2


def divergences(mean, log_var):
    """The same of rows of numbers."""
    rows = zip(mean.tolist(), log_var.tolist(), strict=True)
    sums = [sum(divergence(m, v) for m, v in zip(*row, strict=True)) for row in rows]
    return torch.tensor(sums, dtype=torch.float64)


@gaussian_kl(weight=2)
def test_variances_and_means_of_any_size(student, generator):
    """log-variances of ±80 and means of a million"""
    sign = torch.sign(normal(generator, 6, 3))
    for size in (5.0, 12.0, 25.0, 50.0, 80.0):
        log_var = sign * (size + torch.rand(6, 3, generator=generator, dtype=torch.float64))
        mean = normal(generator, 6, 3)
        for given in (log_var, log_var.abs(), -log_var.abs()):
            value = student.likelihood.gaussian_kl(mean, given)
            says = f"log-variances of about ±{size:g}"
            expect.close(value, divergences(mean, given), says, atol=0, rtol=1e-12)
            value = student.likelihood.gaussian_kl(mean.float(), given.float())
            want = divergences(mean.float(), given.float())
            expect.close(value, want, f"{says} in single precision", atol=0, rtol=1e-5)
    for size in (30.0, 1e3, 1e6):
        mean, log_var = size * normal(generator, 5, 4), normal(generator, 5, 4)
        value = student.likelihood.gaussian_kl(mean, log_var)
        says = f"means of about {size:g}"
        expect.close(value, divergences(mean, log_var), says, atol=0, rtol=1e-12)


@gaussian_kl
def test_almost_the_unit_gaussian(student, generator):
    """next to N(0, I) every digit counts"""
    for size in (0.1, 1e-2, 1e-3, 1e-4):
        mean, log_var = size * normal(generator, 6, 3), size * normal(generator, 6, 3)
        value = student.likelihood.gaussian_kl(mean, log_var)
        says = f"means and log-variances of about {size:g}"
        expect.close(value, divergences(mean, log_var), says, atol=1e-14, rtol=1e-9)


@gaussian_kl
def test_rows_of_every_size(student, generator):
    """one example or many, of one dimension or more"""
    for shape in ((1, 1), (1, 5), (6, 1), (4, 4), (2, 300)):
        mean, log_var = normal(generator, *shape), normal(generator, *shape)
        value = student.likelihood.gaussian_kl(mean, log_var)
        want = divergences(mean, log_var)
        expect.close(value, want, f"mean of shape {shape}", atol=1e-12, rtol=1e-12)


@gaussian_kl
def test_mean_and_log_var_agree(student, generator):
    """a mean and a log-variance of different shapes are refused"""
    mean, call = normal(generator, 4, 3), student.likelihood.gaussian_kl
    for other in (mean[:1], mean[:, :1], mean[:, :2], mean[0], mean.T):
        says = f"mean (4, 3) and log_var {tuple(other.shape)} do not fit"
        expect.raises("ValueError", lambda o=other: call(mean, o), says)
        expect.raises("ValueError", lambda o=other: call(o, mean), says)


# --- likelihood.elbo ----------------------------------------------------------------------------


def linear_vae(student, generator, width, shift):
    """The bound for x = a z + b + σ ε, averaged over q by quadrature, beside the exact log p(x).

    The posterior is N(a (x − b) / (a² + σ²), σ² / (a² + σ²)); q has it widened by `width` and
    moved by `shift`.
    """
    a, b, sigma = 1.5, 0.3, 0.4 + float(torch.rand(1, generator=generator))
    x = normal(generator, 1, 1)
    s2 = a * a + sigma * sigma
    mean = a * (x - b) / s2 + shift
    var = torch.full((1, 1), width * sigma * sigma / s2, dtype=torch.float64)
    nodes, weights = gauss_hermite()
    n = len(nodes)
    z = mean + var.sqrt() * nodes[:, None]
    value = student.likelihood.elbo(
        x.expand(n, 1), a * z + b, mean.expand(n, 1), var.log().expand(n, 1), sigma
    )
    bound = (weights * expect.tensor(value, (n,), "the bound")).sum()
    log_p = -0.5 * (x - b).square().sum() / s2 - 0.5 * math.log(2 * math.pi * s2)
    return bound, log_p


@elbo(weight=3)
def test_tight_at_the_posterior(student, generator):
    """when q is the posterior the bound equals log p(x)"""
    bound, log_p = linear_vae(student, generator, width=1.0, shift=0.0)
    expect.close(
        bound, log_p, "with the exact posterior the bound must equal log p(x)", atol=1e-6, rtol=1e-6
    )


@elbo(weight=2)
def test_never_above_log_p(student, generator):
    """for any other q it lies below log p(x), by exactly KL(q ‖ posterior)"""
    width, shift = 0.5 + 2 * float(torch.rand(1, generator=generator)), 0.7
    state = generator.get_state()
    bound, log_p = linear_vae(student, generator, width, shift)
    generator.set_state(state)
    sigma = 0.4 + float(torch.rand(1, generator=generator))
    var = sigma * sigma / (1.5**2 + sigma * sigma)
    gap = 0.5 * (width - 1 - math.log(width)) + 0.5 * shift**2 / var
    expect.true(bool(bound <= log_p + 1e-6), "the bound is above log p(x)")
    expect.close(log_p - bound, gap, "the gap must be KL(q ‖ posterior)", atol=1e-6, rtol=1e-6)


@elbo(weight=2)
def test_images_against_torch_distributions(student, generator):
    """for images it is the sum over pixels less the divergence"""
    x, reconstruction = normal(generator, 4, 1, 5, 5), normal(generator, 4, 1, 5, 5)
    mean, log_var = 2 * normal(generator, 4, 3), normal(generator, 4, 3)
    sigma = 0.2 + float(torch.rand(1, generator=generator))
    log_p = torch.distributions.Normal(reconstruction, sigma).log_prob(x).flatten(1).sum(1)
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
    value = student.likelihood.elbo(x, reconstruction, mean, log_var, sigma)
    expect.close(value, log_p - kl, "log p(x|z) − KL for images", atol=1e-6, rtol=1e-8)


@elbo
def test_gradients_reach_decoder_and_encoder(student, generator):
    """gradients reach the reconstruction, the mean and the variance"""
    x, r = normal(generator, 3, 4), normal(generator, 3, 4)
    mean, log_var = normal(generator, 3, 2), normal(generator, 3, 2)
    dr, dm, dv = student.gradient(
        "likelihood.elbo", x, r, mean, log_var, 0.5, wrt=[r, mean, log_var]
    )
    arrived = all(g is not None for g in (dr, dm, dv))
    expect.true(arrived, "no gradient reaches the decoder or the encoder")
    for found, want, what in (
        (dr, (x - r) / 0.25, "the reconstruction"),
        (dm, -mean, "the mean"),
        (dv, -0.5 * (log_var.exp() - 1), "log σ²"),
    ):
        says = f"the gradient with respect to {what} is wrong"
        expect.close(found, want, says, atol=1e-12, rtol=1e-12)


def bound(x, reconstruction, mean, log_var, sigma):
    """The bound of each example, number by number, in Python's floats."""
    constant = -math.log(sigma) - math.log(2 * math.pi) / 2
    error = (x.double() - reconstruction.double()).reshape(len(x), -1).tolist()
    fits = [sum(constant - (e / sigma) ** 2 / 2 for e in row) for row in error]
    return torch.tensor(fits, dtype=torch.float64) - divergences(mean, log_var)


@elbo(weight=2)
def test_data_of_every_shape(student, generator):
    """points, sequences and images, one or many, with latents of any size"""
    for shape, dim in (((4, 3), 2), ((1, 5), 1), ((3, 1), 4), ((3, 3, 3), 3), ((2, 1, 6, 6), 5)):
        x, r = normal(generator, *shape), normal(generator, *shape)
        mean, log_var = normal(generator, shape[0], dim), normal(generator, shape[0], dim)
        for sigma in (1, 2, 0.3):
            value = student.likelihood.elbo(x, r, mean, log_var, sigma)
            says = f"x of shape {shape}, σ = {sigma}"
            want = bound(x, r, mean, log_var, sigma)
            expect.close(value, want, says, atol=1e-11, rtol=1e-12)
        value = student.likelihood.elbo(x, r, mean, log_var)
        want = bound(x, r, mean, log_var, 1.0)
        expect.close(value, want, "σ is 1 if none is given", atol=1e-11, rtol=1e-12)
        value = student.likelihood.elbo(*(k.float() for k in (x, r, mean, log_var)))
        expect.close(value, want, "in single precision", atol=1e-4, rtol=1e-5)


@elbo(weight=2)
def test_sigmas_of_any_size(student, generator):
    """σ from a millionth to a million, errors in units of it"""
    mean, log_var = normal(generator, 3, 2), normal(generator, 3, 2)
    for sigma in (1e-6, 1e-4, 0.02, 50.0, 1e3, 1e6):
        x = normal(generator, 3, 4)
        r = x + sigma * normal(generator, 3, 4)
        value = student.likelihood.elbo(x, r, mean, log_var, sigma)
        want = bound(x, r, mean, log_var, sigma)
        expect.close(value, want, f"σ = {sigma:g}", atol=1e-9, rtol=1e-9)


@elbo
def test_data_far_from_0(student, generator):
    """data and latents of any size: only differences of x count, and no variance is cut off"""
    x = 1e6 + normal(generator, 3, 2, 2)
    r = x + normal(generator, 3, 2, 2)
    mean, log_var = normal(generator, 3, 2), normal(generator, 3, 2)
    want = bound(x, r, mean, log_var, 0.5)
    value = student.likelihood.elbo(x, r, mean, log_var, 0.5)
    expect.close(value, want, "x of about a million", atol=1e-8, rtol=1e-9)
    for size in (-50.0, 40.0):
        far, wide = 1e3 * mean, size + log_var
        value = student.likelihood.elbo(x, r, far, wide, 0.5)
        want = bound(x, r, far, wide, 0.5)
        expect.close(value, want, f"log-variances of about {size:g}", atol=1e-8, rtol=1e-12)


@elbo
def test_what_does_not_fit_is_refused(student, generator):
    """a reconstruction of another shape is refused, and a σ that is not positive"""
    x, latent, call = normal(generator, 4, 3), normal(generator, 4, 2), student.likelihood.elbo
    for other in (x[:1], x[:, :1], x[0], x[None], x.T):
        says = f"x (4, 3) and a reconstruction {tuple(other.shape)} do not fit"
        expect.raises("ValueError", lambda o=other: call(x, o, latent, latent), says)
    for sigma in (0.0, -1.0, -1e-9, math.nan):
        says = f"σ = {sigma} is refused"
        expect.raises("ValueError", lambda s=sigma: call(x, x, latent, latent, s), says)
