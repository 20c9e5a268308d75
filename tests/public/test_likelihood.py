"""Public checks of chapter 00, likelihood."""

import itertools
import math

import pytest
import torch

from cs231n_gen.checking import expect

autoregressive = pytest.mark.exercise("likelihood.autoregressive_log_likelihood")
gaussian_kl = pytest.mark.exercise("likelihood.gaussian_kl")
elbo = pytest.mark.exercise("likelihood.elbo")


@autoregressive
def test_one_number_a_sequence(student, generator):
    """one number comes back for each sequence"""
    logits = torch.randn(5, 3, 4, generator=generator)
    tokens = torch.randint(0, 4, (5, 3), generator=generator)
    value = student.likelihood.autoregressive_log_likelihood(logits, tokens)
    expect.tensor(value, (5,), "log p(x)")


@autoregressive
def test_equal_scores_give_equal_shares(student):
    """equal scores: every token has probability 1/vocabulary"""
    value = student.likelihood.autoregressive_log_likelihood(
        torch.full((2, 3, 4), 7.0), torch.tensor([[0, 1, 2], [3, 3, 3]])
    )
    want = torch.full((2,), -3 * math.log(4))
    expect.close(value, want, "three choices among four, each worth log ¼", what="log p(x)")


@autoregressive
def test_the_chosen_tokens_count(student):
    """the score of the chosen token counts, at its own position"""
    p = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]])
    value = student.likelihood.autoregressive_log_likelihood(p.log()[None], torch.tensor([[1, 0]]))
    want = torch.tensor([math.log(0.2 * 0.5)])
    expect.close(value, want, "p(x) = p(x_1 = 1) p(x_2 = 0 | x_1) = 0.2 · 0.5", what="log p(x)")


@autoregressive
def test_probabilities_sum_to_1(student, generator):
    """the probabilities of all sequences sum to 1"""
    every = torch.tensor(list(itertools.product(range(3), repeat=3)))
    logits = 2 * torch.randn(1, 3, 3, generator=generator).expand(27, 3, 3)
    value = student.likelihood.autoregressive_log_likelihood(logits, every)
    expect.tensor(value, (27,), "log p(x)")
    expect.close(value.exp().sum(), 1.0, "values of x compete for one unit of mass", what="Σ p(x)")


@autoregressive
def test_large_scores_stay_finite(student):
    """scores of ±1000 give finite log-likelihoods"""
    logits = torch.tensor([[[1000.0, 0.0], [-1000.0, 0.0]]])
    value = student.likelihood.autoregressive_log_likelihood(logits, torch.tensor([[1, 0]]))
    want = torch.tensor([-2000.0])
    expect.close(
        value, want, "log_softmax does not pass through a probability of 0", what="log p(x)"
    )


@autoregressive
def test_sequences_of_every_size(student, generator):
    """one sequence, one token, a vocabulary of one word, in double precision too"""
    for shape in ((1, 3, 4), (3, 1, 4), (2, 3, 1), (4, 4, 4)):
        logits = torch.randn(shape, generator=generator).double() / 3
        tokens = torch.randint(0, shape[2], shape[:2], generator=generator)
        p = logits.exp() / logits.exp().sum(-1, keepdim=True)
        rows = [[p[i, t, k] for t, k in enumerate(row)] for i, row in enumerate(tokens.tolist())]
        want = torch.stack([torch.stack(row).log().sum() for row in rows])
        value = student.likelihood.autoregressive_log_likelihood(logits, tokens)
        says = f"logits of shape {shape}: Σ log p(x_t | x_<t), in their precision"
        expect.close(value, want, says, what="log p(x)", atol=1e-12, rtol=1e-12)


@autoregressive
def test_scores_of_any_size(student):
    """scores of ±1e30 too"""
    for size in (1e4, 1e8, 1e30):
        logits = torch.tensor([[[size, -size, 0.0], [0.0, size, -size]]])
        value = student.likelihood.autoregressive_log_likelihood(logits, torch.tensor([[1, 0]]))
        says = f"scores of ±{size:g}: the log-likelihood is −3 times that, finite and not cut off"
        expect.close(value / size, torch.tensor([-3.0]), says, what=f"log p(x) / {size:g}")


@autoregressive
def test_the_gradient(student, generator):
    """gradients flow into the scores"""
    logits = torch.randn(2, 3, 4, generator=generator)
    tokens = torch.randint(0, 4, (2, 3), generator=generator)
    name = "likelihood.autoregressive_log_likelihood"
    (found,) = student.gradient(name, logits, tokens, wrt=[logits])
    expect.true(found is not None, "no gradient reaches the scores")
    want = torch.eye(4)[tokens] - logits.softmax(-1)
    expect.close(found, want, "the gradient is 1 at the token, less softmax", what="the gradient")


@autoregressive
def test_logits_and_tokens_agree(student, generator):
    """logits and tokens of different batch or length are refused"""
    call, tokens = student.likelihood.autoregressive_log_likelihood, torch.zeros(2, 3).long()
    for shape in ((1, 3, 4), (2, 4, 4), (3, 2, 4), (2, 3)):
        logits = torch.randn(shape, generator=generator)
        says = f"ValueError for logits {shape}, tokens (2, 3): leave the lines above yours"
        expect.raises("ValueError", lambda l=logits: call(l, tokens), says)


@gaussian_kl
def test_no_divergence_from_itself(student):
    """the unit Gaussian does not diverge from itself"""
    value = student.likelihood.gaussian_kl(torch.zeros(3, 4), torch.zeros(3, 4))
    expect.close(value, torch.zeros(3), "μ = 0, σ = 1 is N(0, I): the divergence is 0", what="KL")


@gaussian_kl
def test_a_shift_costs_half_its_square(student):
    """a shift costs half its square"""
    mean = torch.tensor([[3.0, 0.0], [1.0, 2.0]])
    value = student.likelihood.gaussian_kl(mean, torch.zeros(2, 2))
    expect.close(value, torch.tensor([4.5, 2.5]), "½ (3² + 0²) and ½ (1² + 2²)", what="KL")


@gaussian_kl
def test_a_narrow_gaussian(student):
    """a narrower Gaussian diverges by ½ (σ² − 1 − log σ²)"""
    value = student.likelihood.gaussian_kl(torch.zeros(1, 1), torch.full((1, 1), math.log(0.25)))
    want = torch.tensor([0.5 * (0.25 - 1 - math.log(0.25))])
    expect.close(value, want, "log_var is log σ²: here σ² = ¼", what="KL")


@gaussian_kl
def test_dimensions_add_up(student, generator):
    """dimensions add up, examples do not"""
    mean, log_var = torch.randn(2, 3, 1, generator=generator)
    one = student.likelihood.gaussian_kl(mean, log_var)
    expect.tensor(one, (3,), "KL")
    two = student.likelihood.gaussian_kl(mean.expand(3, 5), log_var.expand(3, 5))
    expect.close(two, 5 * one, "five equal dimensions cost five times as much", what="KL")


@gaussian_kl
def test_never_negative(student, generator):
    """it is never negative"""
    mean, log_var = torch.randn(2, 200, 1, generator=generator)
    value = expect.tensor(student.likelihood.gaussian_kl(0.1 * mean, 2 * log_var), (200,), "KL")
    expect.true(bool((value >= -1e-5).all()), "a divergence is at least 0", value.min(), "≥ 0")


@gaussian_kl
def test_variances_of_any_size(student):
    """log-variances of ±50, in single and double precision"""
    mean = torch.tensor([[1.0, -1000.0], [0.5, 2.0], [0.0, 0.0]])
    log_var = torch.tensor([[-50.0, 20.0], [50.0, -15.0], [-80.0, 80.0]])
    for m, v in ((mean, log_var), (mean.double(), log_var.double())):
        value = student.likelihood.gaussian_kl(m, v)
        rows = zip(mean.tolist(), log_var.tolist(), strict=True)
        half = [sum(a**2 + math.exp(b) - 1 - b for a, b in zip(*r, strict=True)) / 2 for r in rows]
        says = "½ Σ (μ² + σ² − 1 − log σ²), with no variance cut off"
        expect.close(value, torch.tensor(half).double(), says, what="KL", atol=0, rtol=1e-5)


@gaussian_kl
def test_almost_the_unit_gaussian(student):
    """next to N(0, I) it is small, not 0"""
    value = student.likelihood.gaussian_kl(
        torch.tensor([[1e-3, 2e-3], [0.0, 0.0], [0.0, 0.0]]).double(),
        torch.tensor([[0.0, 0.0], [1e-3, -1e-3], [9e-4, 9e-4]]).double(),
    )
    third = math.expm1(9e-4) - 9e-4
    want = torch.tensor([2.5e-6, 5e-7, third]).double()
    says = "½ Σ μ² in the first row, ¼ Σ (log σ²)² in the second"
    expect.close(value, want, says, what="KL", atol=1e-12, rtol=0)


@gaussian_kl
def test_single_rows_and_columns(student, generator):
    """one example or one dimension, in double precision"""
    for shape in ((1, 4), (3, 1), (1, 1), (3, 3)):
        mean, log_var = torch.randn(2, *shape, generator=generator).double() / 3
        value = student.likelihood.gaussian_kl(mean, log_var)
        want = (mean**2 + log_var.exp() - 1 - log_var).sum(1) / 2
        says = f"mean of shape {shape}: one number for each row, in double precision"
        expect.close(value, want, says, what="KL", atol=1e-12, rtol=1e-12)


@gaussian_kl
def test_gradients_flow_into_both(student, generator):
    """gradients flow into the mean and the log-variance"""
    mean, log_var = torch.randn(2, 3, 2, generator=generator)
    dm, dv = student.gradient("likelihood.gaussian_kl", mean, log_var, wrt=[mean, log_var])
    expect.true(dm is not None and dv is not None, "no gradient arrives")
    expect.close(dm, mean, "the gradient in μ is μ", what="the gradient")
    expect.close(dv, (log_var.exp() - 1) / 2, "that in log σ² is ½ (σ² − 1)", what="the gradient")


@gaussian_kl
def test_mean_and_log_var_agree(student):
    """a mean and a log-variance of different shapes are refused"""
    for shape in ((1, 2), (3, 1), (2, 3)):
        args = torch.zeros(3, 2), torch.zeros(shape)
        says = f"ValueError for mean (3, 2), log_var {shape}: leave the lines above yours"
        expect.raises("ValueError", lambda a=args: student.likelihood.gaussian_kl(*a), says)


@elbo
def test_a_perfect_reconstruction_still_costs_the_normaliser(student):
    """a perfect reconstruction: only the Gaussian's constant is left"""
    x = torch.ones(2, 3)
    value = student.likelihood.elbo(x, x, torch.zeros(2, 4), torch.zeros(2, 4), 0.5)
    want = torch.full((2,), -1.5 * math.log(2 * math.pi * 0.25))
    expect.close(
        value, want, "log N(x; x, σ²) = −½ log(2π σ²) for each of 3 dimensions", what="ELBO"
    )


@elbo
def test_errors_cost_their_square_in_units_of_sigma(student):
    """an error costs ½ (error/σ)²"""
    x, mean = torch.zeros(1, 2), torch.zeros(1, 1)
    near = student.likelihood.elbo(x, x, mean, mean, 2.0)
    far = student.likelihood.elbo(x, x + 4, mean, mean, 2.0)
    expect.tensor(near, (1,), "ELBO")
    expect.close(near - far, torch.tensor([4.0]), "two errors of 2σ: 2 · ½ · 2²", what="the cost")


@elbo
def test_the_divergence_is_subtracted(student):
    """the divergence of q(z|x) from p(z) is subtracted"""
    x = torch.zeros(1, 2)
    free = student.likelihood.elbo(x, x, torch.zeros(1, 2), torch.zeros(1, 2))
    paid = student.likelihood.elbo(x, x, torch.tensor([[3.0, 0.0]]), torch.zeros(1, 2))
    expect.tensor(free, (1,), "ELBO")
    expect.close(
        free - paid, torch.tensor([4.5]), "KL = ½ · 3²: it lowers the bound", what="the cost"
    )


@elbo
def test_one_bound_an_example(student, generator):
    """one number comes back for each example, for images too"""
    x = torch.randn(3, 1, 4, 4, generator=generator)
    latent = torch.zeros(3, 2)
    value = student.likelihood.elbo(
        x, x + torch.tensor([0.0, 1.0, 2.0])[:, None, None, None], latent, latent
    )
    expect.tensor(value, (3,), "ELBO")
    want = torch.tensor([0.0, 8.0, 32.0])
    expect.close(
        value[0] - value, want, "16 pixels off by 1 cost 8, off by 2 cost 32", what="the cost"
    )


@elbo
def test_data_of_any_shape_and_sigma(student, generator):
    """points, sequences and images, σ small and large, in double precision"""
    for shape, sigma in (((1, 3), 1e-5), ((3, 1), 300.0), ((2, 2, 2), 2), ((3, 1, 2, 2), 0.1)):
        n = shape[0]
        mean, log_var = torch.randn(2, n, 2, generator=generator).double() / 3
        mean, x = mean + 12, torch.randn(shape, generator=generator).double() / 3
        r = x + sigma * torch.randn(shape, generator=generator).double()
        value = student.likelihood.elbo(x, r, mean, log_var, sigma)
        square = ((x - r) / sigma).reshape(n, -1).square().sum(1)
        want = -square / 2 - math.prod(shape[1:]) * math.log(sigma * math.sqrt(2 * math.pi))
        want = want - (mean**2 + log_var.exp() - 1 - log_var).sum(1) / 2
        says = f"x of shape {shape}, σ = {sigma}: log N(x; μ_x, σ²) less KL, in double precision"
        expect.close(value, want, says, what="ELBO", atol=1e-9, rtol=1e-9)


@elbo
def test_far_data_and_narrow_latents(student):
    """data near 10 000 and log-variances of −50"""
    x = torch.full((2, 3), 1e4).double()
    mean, log_var = torch.zeros(2, 1).double(), torch.full((2, 1), -50.0).double()
    value = student.likelihood.elbo(x, x + 0.3, mean, log_var)
    want = torch.ones(2).double() * (-0.135 - 1.5 * math.log(2 * math.pi) - 24.5)
    says = "three errors of 0.3 cost 0.135, wherever x is; the divergence is ½ (0 − 1 + 50)"
    expect.close(value, want, says, what="ELBO", atol=1e-10, rtol=0)


@elbo
def test_gradients_reach_decoder_and_encoder(student, generator):
    """gradients reach the reconstruction, the mean and the log-variance"""
    x, r = torch.randn(2, 3, 4, generator=generator)
    mean, log_var = torch.randn(2, 3, 2, generator=generator)
    wrt = [r, mean, log_var]
    found = student.gradient("likelihood.elbo", x, r, mean, log_var, 0.5, wrt=wrt)
    says = "no gradient reaches the decoder or the encoder"
    expect.true(all(g is not None for g in found), says)
    expect.close(found[0], (x - r) / 0.25, "(x − μ_x) / σ² for the decoder", what="the gradient")
    expect.close(found[1], -mean, "−μ for the encoder's mean", what="the gradient")
    want = (1 - log_var.exp()) / 2
    expect.close(found[2], want, "½ (1 − σ²) for the encoder's log-variance", what="the gradient")


@elbo
def test_what_does_not_fit_is_refused(student):
    """a reconstruction of another shape is refused, and a σ that is not positive"""
    x, latent = torch.zeros(2, 3), torch.zeros(2, 1)
    for r, sigma in ((x[:1], 1.0), (x[:, :1], 1.0), (x, 0.0), (x, -1.0), (x, math.nan)):
        args = (x, r, latent, latent, sigma)
        says = f"ValueError for x (2, 3), a reconstruction {tuple(r.shape)}, σ = {sigma}"
        expect.raises("ValueError", lambda a=args: student.likelihood.elbo(*a), says)
