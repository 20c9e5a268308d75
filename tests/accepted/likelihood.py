"""Right answers to chapter 00 written another way."""

import math

import torch
from torch.distributions import Categorical, Independent, Normal, kl_divergence
from torch.nn import functional as F

from cs231n_gen.checking.variants import accepted


def agree(one, other, names):
    if one.shape != other.shape:
        raise ValueError(f"{names} must have one shape: {tuple(one.shape)}, {tuple(other.shape)}")


def sequences(logits, tokens):
    if logits.ndim != 3:
        raise ValueError(f"logits must be (batch, length, vocabulary), got {tuple(logits.shape)}")
    agree(logits[..., 0], tokens, "logits but for the vocabulary and tokens")


def decoder(x, reconstruction, sigma):
    agree(x, reconstruction, "x and reconstruction")
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")


@accepted("likelihood.autoregressive_log_likelihood")
def by_cross_entropy(logits, tokens):
    sequences(logits, tokens)
    return -F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none").sum(-1)


@accepted("likelihood.autoregressive_log_likelihood")
def by_categorical(logits, tokens):
    sequences(logits, tokens)
    return Categorical(logits=logits).log_prob(tokens).sum(dim=1)


@accepted("likelihood.autoregressive_log_likelihood")
def by_logsumexp(logits, tokens):
    sequences(logits, tokens)
    score = torch.take_along_dim(logits, tokens.unsqueeze(-1), dim=-1).squeeze(-1)
    return (score - logits.logsumexp(-1)).sum(1)


@accepted("likelihood.autoregressive_log_likelihood")
def position_by_position(logits, tokens):
    sequences(logits, tokens)
    total = logits.new_zeros(len(logits))
    rows = torch.arange(len(logits))
    for t in range(logits.shape[1]):
        total = total + torch.log_softmax(logits[:, t], dim=1)[rows, tokens[:, t]]
    return total


@accepted("likelihood.autoregressive_log_likelihood")
def by_one_hot(logits, tokens):
    sequences(logits, tokens)
    one_hot = F.one_hot(tokens, logits.shape[-1]).to(logits.dtype)
    log_p = logits - torch.logsumexp(logits, dim=-1, keepdim=True)
    return torch.einsum("blv,blv->b", log_p, one_hot)


@accepted("likelihood.autoregressive_log_likelihood")
def by_nll(logits, tokens):
    sequences(logits, tokens)
    log_p = torch.log_softmax(logits, dim=-1).flatten(0, 1)
    each = F.nll_loss(log_p, tokens.flatten(), reduction="none")
    return -each.view(tokens.shape).sum(dim=-1)


@accepted("likelihood.gaussian_kl")
def by_distributions(mean, log_var):
    agree(mean, log_var, "mean and log_var")
    q = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    p = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    return kl_divergence(q, p)


@accepted("likelihood.gaussian_kl")
def minus_half_of(mean, log_var):
    agree(mean, log_var, "mean and log_var")
    return -0.5 * torch.sum(1 + log_var - mean**2 - torch.exp(log_var), -1)


@accepted("likelihood.gaussian_kl")
def by_expm1(mean, log_var):
    agree(mean, log_var, "mean and log_var")
    return (torch.expm1(log_var) - log_var + mean * mean).sum(-1) / 2


@accepted("likelihood.gaussian_kl")
def by_standard_deviations(mean, log_var):
    agree(mean, log_var, "mean and log_var")
    sigma = torch.exp(log_var / 2)
    return (0.5 * (mean.pow(2) + sigma.pow(2)) - 0.5 - log_var / 2).sum(dim=1).clamp(min=0)


@accepted("likelihood.gaussian_kl")
def dimension_by_dimension(mean, log_var):
    agree(mean, log_var, "mean and log_var")
    terms = [m * m + v.exp() - v - 1 for m, v in zip(mean.T, log_var.T, strict=True)]
    return 0.5 * sum(terms)


@accepted("likelihood.elbo")
def by_log_prob(x, reconstruction, mean, log_var, sigma=1.0):
    decoder(x, reconstruction, sigma)
    log_p = Normal(reconstruction, sigma).log_prob(x).flatten(1).sum(1)
    return log_p - by_distributions(mean, log_var)


@accepted("likelihood.elbo")
def by_gaussian_nll(x, reconstruction, mean, log_var, sigma=1.0):
    decoder(x, reconstruction, sigma)
    variance = torch.full_like(x, sigma**2)
    nll = F.gaussian_nll_loss(reconstruction, x, variance, full=True, reduction="none", eps=1e-12)
    return -nll.flatten(1).sum(1) - minus_half_of(mean, log_var)


@accepted("likelihood.elbo")
def by_square_errors(x, reconstruction, mean, log_var, sigma=1.0):
    decoder(x, reconstruction, sigma)
    square = F.mse_loss(reconstruction, x, reduction="none").reshape(len(x), -1)
    d = square.shape[1]
    log_p = -(square / (2 * sigma**2)).sum(1) - d * math.log(sigma * math.sqrt(2 * math.pi))
    return log_p - by_expm1(mean, log_var)


@accepted("likelihood.elbo")
def example_by_example(x, reconstruction, mean, log_var, sigma=1.0):
    decoder(x, reconstruction, sigma)
    standard = Normal(torch.zeros((), dtype=x.dtype), 1.0)
    log_p = [
        (standard.log_prob((a - r) / sigma) - math.log(sigma)).sum()
        for a, r in zip(x, reconstruction, strict=True)
    ]
    return torch.stack(log_p) - dimension_by_dimension(mean, log_var)


@accepted("likelihood.elbo")
def with_sigma_as_a_tensor(x, reconstruction, mean, log_var, sigma=1.0):
    decoder(x, reconstruction, sigma)
    s = torch.as_tensor(float(sigma), dtype=x.dtype)
    axes = tuple(range(1, x.dim()))
    log_p = -0.5 * ((x - reconstruction) / s) ** 2 - s.log() - 0.5 * math.log(2 * math.pi)
    return log_p.sum(axes) - by_standard_deviations(mean, log_var)
