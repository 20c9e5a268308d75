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
