"""Typical wrong answers to chapter 00, each with the sentence that explains it."""

import math
from collections.abc import Callable
from functools import wraps

import torch
from torch.nn import functional as F

from cs231n_gen import likelihood
from cs231n_gen.checking import variants


def mistake(exercise: str, says: str, **options) -> Callable:
    """As `variants.mistake`; but what the lines above a stub's gap refuse, is refused here too."""
    reference = getattr(likelihood, exercise.rpartition(".")[2])

    def mark(implementation: Callable) -> Callable:
        @wraps(implementation)
        def refusing(*args, **kwargs):
            reference(*args, **kwargs)
            return implementation(*args, **kwargs)

        return variants.mistake(exercise, says, **options)(refusing)

    return mark


def chosen(scores, tokens):
    return scores.gather(-1, tokens[..., None])[..., 0]


# --- likelihood.autoregressive_log_likelihood ---------------------------------------------------


@mistake(
    "likelihood.autoregressive_log_likelihood",
    "For far scores yours is infinite or NaN: a probability is rounded to 0 before its "
    "logarithm, or an exponential overflows. Use log_softmax, which never leaves the logarithm.",
    sure=True,
)
def log_of_softmax(logits, tokens):
    return chosen(F.softmax(logits, dim=-1).log(), tokens).sum(1)


@mistake(
    "likelihood.autoregressive_log_likelihood",
    "You add up the raw scores. They are not probabilities: normalise them with log_softmax over "
    "the vocabulary.",
)
def scores_not_normalised(logits, tokens):
    return chosen(logits, tokens).sum(1)


@mistake(
    "likelihood.autoregressive_log_likelihood",
    "You take the mean over positions. The factors of p(x) multiply, so their logarithms add up: "
    "sum.",
)
def mean_over_positions(logits, tokens):
    return chosen(F.log_softmax(logits, dim=-1), tokens).mean(1)


@mistake(
    "likelihood.autoregressive_log_likelihood",
    "The sign is turned: this is the loss −log p(x). The log-likelihood itself is at most 0.",
)
def negative_log_likelihood(logits, tokens):
    return -chosen(F.log_softmax(logits, dim=-1), tokens).sum(1)


@mistake(
    "likelihood.autoregressive_log_likelihood",
    "You shift by one position. Here logits[:, t] already predicts tokens[:, t], from the tokens "
    "before it.",
)
def shifted_by_one(logits, tokens):
    return chosen(F.log_softmax(logits, dim=-1)[:, :-1], tokens[:, 1:]).sum(1)


@mistake(
    "likelihood.autoregressive_log_likelihood",
    "You add up over the batch too. Each sequence has its own likelihood: sum over positions only.",
)
def summed_over_the_batch(logits, tokens):
    return chosen(F.log_softmax(logits, dim=-1), tokens).sum()


@mistake(
    "likelihood.autoregressive_log_likelihood",
    "The softmax runs over the positions. It belongs to the vocabulary, the last axis.",
)
def softmax_over_positions(logits, tokens):
    return chosen(F.log_softmax(logits, dim=1), tokens).sum(1)


@mistake(
    "likelihood.autoregressive_log_likelihood",
    "This is p(x) itself. Return its logarithm: for long sequences p(x) is too small for any "
    "float.",
)
def probability_itself(logits, tokens):
    return chosen(F.log_softmax(logits, dim=-1), tokens).sum(1).exp()


@mistake("likelihood.autoregressive_log_likelihood", "Cut off below.", public=False)
def clamped(logits, tokens):
    return chosen(F.log_softmax(logits, dim=-1), tokens).clamp(min=-5000).sum(1).clamp(min=-20000)


@mistake(
    "likelihood.autoregressive_log_likelihood",
    "An ε inside the logarithm keeps it finite, and wrong: nothing is less likely than ε any more. "
    "log_softmax needs none.",
)
def epsilon_in_the_logarithm(logits, tokens):
    return (chosen(F.softmax(logits, dim=-1), tokens) + 1e-8).log().sum(1)


@mistake(
    "likelihood.autoregressive_log_likelihood",
    "Of a batch of one, or of a single token, an axis is lost: squeeze() without an axis drops "
    "every axis of length 1. Name the axis, squeeze(-1).",
    sure=True,
)
def squeezed(logits, tokens):
    log_p = F.log_softmax(logits, dim=-1)
    return log_p.gather(-1, tokens[..., None]).squeeze().sum(-1)


@mistake("likelihood.autoregressive_log_likelihood", "Computed in 32 bits.", public=False)
def in_single_precision(logits, tokens):
    return chosen(F.log_softmax(logits.float(), dim=-1), tokens).sum(1).to(logits.dtype)


@mistake("likelihood.autoregressive_log_likelihood", "No gradient comes back.", public=False)
def log_likelihood_detached(logits, tokens):
    return chosen(F.log_softmax(logits.detach(), dim=-1), tokens).sum(1)


@mistake("likelihood.autoregressive_log_likelihood", "Scores are cut at ±1e4.", public=False)
def scores_cut_off(logits, tokens):
    return chosen(F.log_softmax(logits.clamp(-1e4, 1e4), dim=-1), tokens).sum(1)


@variants.mistake("likelihood.autoregressive_log_likelihood", "All shapes go.", public=False)
def the_tokens_that_fit(logits, tokens):
    log_p = F.log_softmax(logits.reshape(-1, logits.shape[-1]), dim=-1)
    n = min(len(log_p), tokens.numel())
    found = log_p[:n].gather(1, tokens.reshape(-1, 1)[:n])
    return found.reshape(-1, tokens.shape[1]).sum(1) if n == tokens.numel() else found.sum(1)


# --- likelihood.gaussian_kl ---------------------------------------------------------------------


@mistake("likelihood.gaussian_kl", "The factor ½ is missing.")
def without_the_half(mean, log_var):
    return (mean.square() + log_var.exp() - 1 - log_var).sum(1)


@mistake(
    "likelihood.gaussian_kl",
    "You take log_var for log σ: its exponential is already σ², without squaring.",
)
def log_var_as_log_sigma(mean, log_var):
    return 0.5 * (mean.square() + (2 * log_var).exp() - 1 - 2 * log_var).sum(1)


@mistake(
    "likelihood.gaussian_kl",
    "You take log_var for the variance itself: exponentiate it first.",
)
def log_var_as_variance(mean, log_var):
    return 0.5 * (mean.square() + log_var - 1 - log_var.clamp(min=1e-6).log()).sum(1)


@mistake(
    "likelihood.gaussian_kl",
    "You take the mean over dimensions. Independent dimensions add up: sum.",
)
def mean_over_dimensions(mean, log_var):
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean(1)


@mistake("likelihood.gaussian_kl", "The sign is turned: this is −KL, as it stands in the bound.")
def minus_the_divergence(mean, log_var):
    return -0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)


@mistake(
    "likelihood.gaussian_kl",
    "This is KL(N(0, I) ‖ N(μ, σ²)), the other way round. The divergence is not symmetric: here "
    "the expectation is under q.",
)
def the_other_way_round(mean, log_var):
    return 0.5 * ((1 + mean.square()) / log_var.exp() - 1 + log_var).sum(1)


@mistake(
    "likelihood.gaussian_kl",
    "You add up over the batch too. Each example has its own divergence: sum over dimensions only.",
)
def kl_summed_over_the_batch(mean, log_var):
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum()


@mistake("likelihood.gaussian_kl", "The −1 is missing: N(0, I) would diverge from itself.")
def without_the_one(mean, log_var):
    return 0.5 * (mean.square() + log_var.exp() - log_var).sum(1)


@mistake("likelihood.gaussian_kl", "Free bits: small divergences are set to 0.", public=False)
def free_bits(mean, log_var):
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var)
    return torch.where(kl > 1e-3, kl, torch.zeros_like(kl)).sum(1)


@mistake(
    "likelihood.gaussian_kl",
    "log_var is clamped. That is a habit of training code; the divergence of a very narrow or very "
    "wide Gaussian is then too small.",
)
def log_var_clamped(mean, log_var):
    log_var = log_var.clamp(-10, 10)
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)


@mistake("likelihood.gaussian_kl", "log_var is clamped to ±30.", public=False)
def log_var_clamped_far_out(mean, log_var):
    log_var = log_var.clamp(-30, 30)
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)


@mistake(
    "likelihood.gaussian_kl",
    "Only some digits are right: an ε is added to the variance, or numbers are rounded to 32 bits "
    "in between. log σ² is given, so no logarithm is needed, and float64 stays float64.",
    sure=True,
)
def epsilon_in_the_variance(mean, log_var):
    variance = log_var.exp() + 1e-8
    return 0.5 * (mean.square() + variance - 1 - variance.log()).sum(1)


@variants.form_of(epsilon_in_the_variance)
def kl_in_single_precision(mean, log_var):
    mean, v = mean.float(), log_var.float()
    return 0.5 * (mean.square() + v.exp() - 1 - v).sum(1).to(log_var.dtype)


@mistake("likelihood.gaussian_kl", "No gradient reaches the variance.", public=False)
def variance_detached(mean, log_var):
    v = log_var.detach()
    return 0.5 * (mean.square() + v.exp() - 1 - v).sum(1)


@mistake("likelihood.gaussian_kl", "A single row loses its axis.", public=False)
def kl_squeezed(mean, log_var):
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).squeeze().sum(-1)


@variants.mistake("likelihood.gaussian_kl", "Whatever fits is broadcast.", public=False)
def kl_of_all_that_broadcasts(mean, log_var):
    mean, log_var = torch.broadcast_tensors(torch.atleast_2d(mean), torch.atleast_2d(log_var))
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)


# --- likelihood.elbo ----------------------------------------------------------------------------


def kl(mean, log_var):
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)


def log_normal(x, reconstruction, sigma):
    error = (x - reconstruction).flatten(1) / sigma
    return -0.5 * error.square() - math.log(sigma) - 0.5 * math.log(2 * math.pi)


@mistake("likelihood.elbo", "The divergence is added. It is what the bound costs: subtract it.")
def divergence_added(x, reconstruction, mean, log_var, sigma=1.0):
    return log_normal(x, reconstruction, sigma).sum(1) + kl(mean, log_var)


@mistake(
    "likelihood.elbo",
    "The Gaussian's constant −½ log(2π σ²) is missing: fine for a loss, but then the bound is "
    "not comparable with log p(x).",
    sure=True,
)
def constants_dropped(x, reconstruction, mean, log_var, sigma=1.0):
    error = (x - reconstruction).flatten(1) / sigma
    return -0.5 * error.square().sum(1) - kl(mean, log_var)


@mistake("likelihood.elbo", "σ is not used: the decoder's errors are measured in units of σ.")
def sigma_unused(x, reconstruction, mean, log_var, sigma=1.0):
    return log_normal(x, reconstruction, 1.0).sum(1) - kl(mean, log_var)


@mistake(
    "likelihood.elbo",
    "You use σ where σ² belongs: `sigma` is a standard deviation.",
)
def sigma_taken_for_the_variance(x, reconstruction, mean, log_var, sigma=1.0):
    return log_normal(x, reconstruction, math.sqrt(sigma)).sum(1) - kl(mean, log_var)


@mistake(
    "likelihood.elbo",
    "You take the mean over pixels, as an MSE does: then the divergence weighs hundreds of times "
    "too much. log p(x|z) sums over pixels.",
)
def mean_over_pixels(x, reconstruction, mean, log_var, sigma=1.0):
    return log_normal(x, reconstruction, sigma).mean(1) - kl(mean, log_var)


@mistake("likelihood.elbo", "The sign is turned: this is the loss. The bound itself is wanted.")
def the_loss(x, reconstruction, mean, log_var, sigma=1.0):
    return kl(mean, log_var) - log_normal(x, reconstruction, sigma).sum(1)


@mistake(
    "likelihood.elbo",
    "You add up over the batch too. Each example has its own bound.",
)
def elbo_summed_over_the_batch(x, reconstruction, mean, log_var, sigma=1.0):
    return (log_normal(x, reconstruction, sigma).sum(1) - kl(mean, log_var)).sum()


@mistake(
    "likelihood.elbo",
    "The constant has log σ² where half of it, log σ, belongs.",
)
def constant_twice(x, reconstruction, mean, log_var, sigma=1.0):
    extra = math.log(sigma) * x[0].numel()
    return log_normal(x, reconstruction, sigma).sum(1) - extra - kl(mean, log_var)


@mistake("likelihood.elbo", "A divergence that counts only in part (a β-VAE).", public=False)
def beta_vae(x, reconstruction, mean, log_var, sigma=1.0):
    return log_normal(x, reconstruction, sigma).sum(1) - 0.999 * kl(mean, log_var)


@mistake(
    "likelihood.elbo",
    "You sum over the axis after the batch only. Of an image all axes but the batch belong to one "
    "example: flatten(1) first.",
)
def one_axis_only(x, reconstruction, mean, log_var, sigma=1.0):
    error = (x - reconstruction) / sigma
    log_p = -0.5 * error.square() - math.log(sigma) - 0.5 * math.log(2 * math.pi)
    return log_p.sum(1).reshape(len(x), -1)[:, 0] - kl(mean, log_var)


@mistake(
    "likelihood.elbo",
    "An ε is added to σ². A small σ is then another one.",
)
def epsilon_beside_sigma(x, reconstruction, mean, log_var, sigma=1.0):
    sigma = math.sqrt(sigma**2 + 1e-6)
    return log_normal(x, reconstruction, sigma).sum(1) - kl(mean, log_var)


@mistake("likelihood.elbo", "(x − μ)² is multiplied out, and cancels.", public=False)
def square_multiplied_out(x, reconstruction, mean, log_var, sigma=1.0):
    x, r = x.flatten(1), reconstruction.flatten(1)
    square = (x.square() - 2 * x * r + r.square()) / sigma**2
    log_p = -0.5 * square - math.log(sigma) - 0.5 * math.log(2 * math.pi)
    return log_p.sum(1) - kl(mean, log_var)


@mistake("likelihood.elbo", "log σ² is kept within bounds.", public=False)
def elbo_with_log_var_clamped(x, reconstruction, mean, log_var, sigma=1.0):
    log_p = log_normal(x, reconstruction, sigma).sum(1)
    return log_p - kl(mean, log_var.clamp(-20, 20))


@mistake("likelihood.elbo", "No gradient reaches the encoder.", public=False)
def encoder_detached(x, reconstruction, mean, log_var, sigma=1.0):
    log_p = log_normal(x, reconstruction, sigma).sum(1)
    return log_p - kl(mean.detach(), log_var.detach())


@mistake("likelihood.elbo", "Computed in 32 bits.", public=False)
def elbo_in_single_precision(x, reconstruction, mean, log_var, sigma=1.0):
    found = log_normal(x.float(), reconstruction.float(), sigma).sum(1)
    return (found - kl(mean.float(), log_var.float())).to(x.dtype)


@variants.mistake("likelihood.elbo", "Whatever fits is broadcast.", public=False)
def elbo_of_all_that_broadcasts(x, reconstruction, mean, log_var, sigma=1.0):
    error = ((x - reconstruction) / (abs(sigma) + 1e-300)).flatten(1)
    constant = math.log(abs(sigma) + 1e-300) + 0.5 * math.log(2 * math.pi)
    return (-0.5 * error.square() - constant).sum(1) - kl(mean, log_var)


# --- first attempts -----------------------------------------------------------------------------


def log_p_of(logits, tokens):
    return chosen(logits.log_softmax(-1), tokens)


sequences = variants.several(
    "likelihood.autoregressive_log_likelihood",
    (
        "sum_of_probabilities",
        "You add up probabilities. Their logarithms add up: log_softmax.",
        lambda logits, tokens: chosen(logits.softmax(-1), tokens).sum(1),
    ),
    (
        "in_bits",
        "You count in bits. Nats are asked for: the natural logarithm.",
        lambda logits, tokens: log_p_of(logits, tokens).sum(1) / math.log(2),
    ),
    (
        "cross_entropy_of_all",
        "This is cross_entropy's mean over all tokens of the batch. Each sequence has its own "
        "sum over positions.",
        lambda logits, tokens: log_p_of(logits, tokens).mean(),
    ),
    (
        "loss_of_all",
        "This is cross_entropy's mean over all tokens of the batch. Each sequence has its own "
        "sum over positions.",
        lambda logits, tokens: -log_p_of(logits, tokens).mean(),
    ),
    (
        "summed_over_sequences",
        "You add up over the batch, axis 0. Each sequence has its own likelihood: sum over "
        "positions, axis 1.",
        lambda logits, tokens: log_p_of(logits, tokens).sum(0),
    ),
    (
        "last_position_alone",
        "Only the last position counts. log p(x) is the sum over all of them.",
        lambda logits, tokens: log_p_of(logits, tokens)[:, -1],
    ),
    (
        "a_position_each",
        "One number for each position comes back. Sum over positions, axis 1.",
        lambda logits, tokens: log_p_of(logits, tokens),
    ),
    (
        "likeliest_tokens",
        "You take the likeliest token at each position. Those of the sequence are asked for: "
        "gather.",
        lambda logits, tokens: logits.log_softmax(-1).amax(-1).sum(1),
    ),
    marking=mistake,
)


divergences = variants.several(
    "likelihood.gaussian_kl",
    (
        "sign_of_log_var",
        "log σ² has the wrong sign: it is subtracted, so that the divergence is least at σ = 1.",
        lambda mean, log_var: 0.5 * (mean.square() + log_var.exp() - 1 + log_var).sum(1),
    ),
    (
        "mean_of_the_batch",
        "You take the mean over the batch too. Each example has its own divergence.",
        lambda mean, log_var: 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean(),
    ),
    (
        "mean_not_squared",
        "μ is not squared: it is μ².",
        lambda mean, log_var: 0.5 * (mean + log_var.exp() - 1 - log_var).sum(1),
    ),
    (
        "log_var_for_the_variance",
        "You take log_var for σ² itself: σ² is its exponential.",
        lambda mean, log_var: 0.5 * (mean.square() + log_var - 1 - log_var.log()).sum(1),
    ),
    (
        "deviation_for_the_variance",
        "You add σ where σ² belongs: exp(log_var) is σ² already, without a half in the exponent.",
        lambda mean, log_var: 0.5 * (mean.square() + (0.5 * log_var).exp() - 1 - log_var).sum(1),
    ),
    (
        "plus_1",
        "The 1 is added. It is subtracted: N(0, I) does not diverge from itself.",
        lambda mean, log_var: 0.5 * (mean.square() + log_var.exp() + 1 - log_var).sum(1),
    ),
    (
        "summed_over_examples",
        "You add up over the batch, axis 0. Each example has its own divergence: sum over "
        "dimensions, axis 1.",
        lambda mean, log_var: 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(0),
    ),
    (
        "a_dimension_each",
        "One number for each dimension comes back. Sum over dimensions, axis 1.",
        lambda mean, log_var: 0.5 * (mean.square() + log_var.exp() - 1 - log_var),
    ),
    (
        "one_for_all_dimensions",
        "The 1 is subtracted once. It belongs to each dimension, inside the sum and the ½.",
        lambda mean, log_var: 0.5 * (mean.square() + log_var.exp() - log_var).sum(1) - 1,
    ),
    (
        "one_for_all_dimensions_halved",
        "The 1 is subtracted once. It belongs to each dimension, inside the sum and the ½.",
        lambda mean, log_var: 0.5 * ((mean.square() + log_var.exp() - log_var).sum(1) - 1),
    ),
    marking=mistake,
)


def bound(x, reconstruction, mean, log_var, log_normal, cost=1.0):
    """The bound with another log N, a function of the error of each pixel."""
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
    return log_normal((x - reconstruction).flatten(1)).sum(1) - cost * kl


ROOT = 0.5 * math.log(2 * math.pi)


bounds = variants.several(
    "likelihood.elbo",
    (
        "without_two_pi",
        "−½ log 2π is missing: the constant is −½ log(2π σ²) for each pixel.",
        lambda x, r, m, v, sigma=1.0: bound(
            x, r, m, v, lambda e: -0.5 * (e / sigma) ** 2 - math.log(sigma)
        ),
    ),
    (
        "without_log_sigma",
        "−log σ is missing: the constant is −½ log(2π σ²) for each pixel.",
        lambda x, r, m, v, sigma=1.0: bound(x, r, m, v, lambda e: -0.5 * (e / sigma) ** 2 - ROOT),
    ),
    (
        "half_of_log_sigma",
        "−½ log σ stands where −½ log σ², which is −log σ, belongs.",
        lambda x, r, m, v, sigma=1.0: bound(
            x, r, m, v, lambda e: -0.5 * (e / sigma) ** 2 - 0.5 * math.log(sigma) - ROOT
        ),
    ),
    (
        "all_of_log_two_pi",
        "−log 2π is twice too much: the constant is −½ log(2π σ²) for each pixel.",
        lambda x, r, m, v, sigma=1.0: bound(
            x, r, m, v, lambda e: -0.5 * (e / sigma) ** 2 - math.log(sigma) - 2 * ROOT
        ),
    ),
    (
        "square_not_halved",
        "The ½ before the squared error is missing: log N is −(x − μ)² / 2σ² and a constant.",
        lambda x, r, m, v, sigma=1.0: bound(
            x, r, m, v, lambda e: -((e / sigma) ** 2) - math.log(sigma) - ROOT
        ),
    ),
    (
        "squared_errors_alone",
        "You take the squared error for −log N: it has a ½, σ² below, and a constant.",
        lambda x, r, m, v, sigma=1.0: bound(x, r, m, v, lambda e: -(e**2)),
    ),
    (
        "error_over_sigma",
        "The squared error is divided by σ. It is σ²: `sigma` is a standard deviation.",
        lambda x, r, m, v, sigma=1.0: bound(
            x, r, m, v, lambda e: -0.5 * e**2 / sigma - math.log(sigma) - ROOT
        ),
    ),
    (
        "without_divergence",
        "The divergence is missing: it is subtracted, for what z costs.",
        lambda x, r, m, v, sigma=1.0: bound(
            x, r, m, v, lambda e: -0.5 * (e / sigma) ** 2 - math.log(sigma) - ROOT, 0.0
        ),
    ),
    (
        "constant_once",
        "The constant is subtracted once. It belongs to each pixel, inside the sum.",
        lambda x, r, m, v, sigma=1.0: (
            bound(x, r, m, v, lambda e: -0.5 * (e / sigma) ** 2) - math.log(sigma) - ROOT
        ),
    ),
    (
        "mean_of_the_bounds",
        "You take the mean over the batch too. Each example has its own bound.",
        lambda x, r, m, v, sigma=1.0: bound(
            x, r, m, v, lambda e: -0.5 * (e / sigma) ** 2 - math.log(sigma) - ROOT
        ).mean(),
    ),
    marking=mistake,
)
