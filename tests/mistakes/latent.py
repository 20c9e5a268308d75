"""Typical wrong answers to chapter 08, the autoencoder and its losses, each with the sentence that
explains it."""

import torch
from torch.nn import functional as F

from cs231n_gen.checking.variants import mistake, several
from cs231n_gen.given.frozen import frozen


def two_shapes(mean, log_var, generator=None):
    if mean.shape != log_var.shape:
        raise ValueError("log_var must be shaped like mean")


def no_vae(x, x_hat, mean, log_var, kl_weight=1.0):
    two_shapes(mean, log_var)
    if x.shape != x_hat.shape or len(mean) != len(x) or not kl_weight >= 0:
        raise ValueError("shapes that differ, or a negative kl_weight")


def no_images(encoder, x):
    if len(x) == 0:
        raise ValueError("x must hold at least one image, got none")


def no_scale(net, x, shift, scale):
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")


def no_scale_back(decoder, u, shift, scale):
    no_scale(decoder, u, shift, scale)


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "latent.reparameterize": two_shapes,
    "latent.vae_loss": no_vae,
    "latent.shift_and_scale": no_images,
    "latent.to_latent": no_scale,
    "latent.from_latent": no_scale_back,
}


# --- latent.reparameterize ----------------------------------------------------------------------


def noise(mean, generator):
    return torch.randn(mean.shape, generator=generator, dtype=mean.dtype)


@mistake(
    "latent.reparameterize",
    "You multiply the noise by log σ² itself. It is the logarithm of a variance: make a standard "
    "deviation of it first.",
)
def log_variance_as_deviation(mean, log_var, generator=None):
    return mean + log_var * noise(mean, generator)


@mistake(
    "latent.reparameterize",
    "The noise is multiplied by the variance. A standard deviation is wanted, so the logarithm is "
    "halved before the exponential.",
)
def variance_as_deviation(mean, log_var, generator=None):
    return mean + log_var.exp() * noise(mean, generator)


@mistake(
    "latent.reparameterize",
    "The noise is multiplied by √(log σ²), which is not a number where σ² is below 1. Undo the "
    "logarithm first.",
    sure=True,
)
def log_variance_as_variance(mean, log_var, generator=None):
    return mean + log_var.sqrt() * noise(mean, generator)


@mistake(
    "latent.reparameterize",
    "The standard deviation is taken twice as large as it should be in the exponent: log σ is half "
    "of log σ², not twice as much.",
)
def doubled_logarithm(mean, log_var, generator=None):
    return mean + (2 * log_var).exp() * noise(mean, generator)


@mistake(
    "latent.reparameterize",
    "The ½ stands before the exponential: that is half of the variance. Inside it makes a root.",
)
def half_of_the_variance(mean, log_var, generator=None):
    return mean + 0.5 * log_var.exp() * noise(mean, generator)


@mistake(
    "latent.reparameterize",
    "σ multiplies μ as well as ε. Only the noise is scaled.",
)
def mean_scaled_too(mean, log_var, generator=None):
    return (0.5 * log_var).exp() * (mean + noise(mean, generator))


@mistake(
    "latent.reparameterize",
    "The sign in the exponent is turned: a large variance brings little noise, a small one much.",
)
def inverse_deviation(mean, log_var, generator=None):
    return mean + (-0.5 * log_var).exp() * noise(mean, generator)


@mistake(
    "latent.reparameterize",
    "This is the mean alone. The decoder should see a draw from the encoder's Gaussian, so that it "
    "learns to bear the noise.",
    sure=True,
)
def only_the_mean(mean, log_var, generator=None):
    return mean.clone()


@mistake(
    "latent.reparameterize",
    "σ ε without μ: all images would have the same latents but for noise.",
)
def only_the_noise(mean, log_var, generator=None):
    return (0.5 * log_var).exp() * noise(mean, generator)


@mistake(
    "latent.reparameterize",
    "The noise is uniform from 0 to 1. ε is Gaussian, with mean 0 and variance 1.",
)
def uniform_noise(mean, log_var, generator=None):
    e = torch.rand(mean.shape, generator=generator, dtype=mean.dtype)
    return mean + (0.5 * log_var).exp() * e


@mistake(
    "latent.reparameterize",
    "The noise does not come from `generator`: a run cannot be repeated. Pass it on.",
)
def noise_of_its_own(mean, log_var, generator=None):
    return mean + (0.5 * log_var).exp() * torch.randn_like(mean)


@mistake(
    "latent.reparameterize",
    "One number of noise is shared by all latents of an example. Each latent has its own.",
)
def one_number_for_each_example(mean, log_var, generator=None):
    shape = mean.shape[:1] + (1,) * max(0, mean.dim() - 1)
    e = torch.randn(shape, generator=generator, dtype=mean.dtype)
    return mean + (0.5 * log_var).exp() * e


@mistake(
    "latent.reparameterize",
    "One draw of noise serves the whole batch. Each example has its own.",
)
def one_draw_for_the_batch(mean, log_var, generator=None):
    e = torch.randn(mean.shape[1:], generator=generator, dtype=mean.dtype)
    return mean + (0.5 * log_var).exp() * e


@mistake(
    "latent.reparameterize",
    "The numbers are right, but no gradient reaches the encoder: a result is detached, or computed "
    "without a graph.",
    sure=True,
)
def drawn_without_a_graph(mean, log_var, generator=None):
    with torch.no_grad():
        return mean + (0.5 * log_var).exp() * noise(mean, generator)


@mistake(
    "latent.reparameterize",
    "No gradient reaches log σ²: the encoder could never learn how much noise an image can bear.",
    sure=True,
)
def deviation_detached(mean, log_var, generator=None):
    return mean + (0.5 * log_var).exp().detach() * noise(mean, generator)


@mistake(
    "latent.reparameterize",
    "No gradient reaches μ: only the noise is left to learn.",
    sure=True,
)
def mean_detached(mean, log_var, generator=None):
    return mean.detach() + (0.5 * log_var).exp() * noise(mean, generator)


@mistake(
    "latent.reparameterize",
    "Log-variances are cut off, from −30 to 20. The loss says what they cost; here any size is "
    "taken as it is.",
)
def log_variances_cut_off(mean, log_var, generator=None):
    return mean + (0.5 * log_var.clamp(-30, 20)).exp() * noise(mean, generator)


@mistake("latent.reparameterize", "An ε is added to σ.", public=False)
def epsilon_beside_the_deviation(mean, log_var, generator=None):
    return mean + ((0.5 * log_var).exp() + 1e-6) * noise(mean, generator)


@mistake("latent.reparameterize", "The noise is drawn in single precision.", public=False)
def noise_in_single_precision(mean, log_var, generator=None):
    e = torch.randn(mean.shape, generator=generator).to(mean.dtype)
    return mean + (0.5 * log_var).exp() * e


@mistake("latent.reparameterize", "Computed in 32 bits.", public=False)
def drawn_in_single_precision(mean, log_var, generator=None):
    e = noise(mean, generator)
    return (mean.float() + (0.5 * log_var.float()).exp() * e.float()).to(mean.dtype)


@mistake("latent.reparameterize", "Two draws are taken, of which one is thrown away.", public=False)
def drawn_twice(mean, log_var, generator=None):
    e = noise(mean, generator)
    noise(mean, generator)
    return mean + (0.5 * log_var).exp() * e


@mistake("latent.reparameterize", "Each call draws the same noise.", public=False)
def noise_of_a_copied_generator(mean, log_var, generator=None):
    if generator is not None:
        generator = torch.Generator().set_state(generator.get_state())
    return mean + (0.5 * log_var).exp() * noise(mean, generator)


@mistake("latent.reparameterize", "The shape is lost where there is one number.", public=False)
def at_least_one_axis(mean, log_var, generator=None):
    mean, log_var = torch.atleast_1d(mean), torch.atleast_1d(log_var)
    return mean + (0.5 * log_var).exp() * noise(mean, generator)


@mistake("latent.reparameterize", "Whatever fits is broadcast.", public=False, bare=True)
def drawn_of_all_that_broadcasts(mean, log_var, generator=None):
    return mean + (0.5 * log_var).exp() * noise(mean, generator)


# --- latent.vae_loss ----------------------------------------------------------------------------


def squares(x, x_hat):
    return (x - x_hat).square().flatten(1)


def divergences(mean, log_var):
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).flatten(1)


def vae(fit, kl, w):
    """A loss of (batch,) terms."""
    return (fit + w * kl).mean()


@mistake(
    "latent.vae_loss",
    "The reconstruction is a mean over pixels, as an MSE is: the KL term then weighs as much more "
    "as there are pixels. It is a sum over the pixels of an example.",
)
def error_as_a_mean_over_pixels(x, x_hat, mean, log_var, kl_weight=1.0):
    return vae(0.5 * squares(x, x_hat).mean(1), divergences(mean, log_var).sum(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "The reconstruction is torch's MSE, a mean over pixels and without the ½: the KL term then "
    "weighs far too much. It is half of a sum over the pixels of an example.",
)
def error_as_an_mse(x, x_hat, mean, log_var, kl_weight=1.0):
    return F.mse_loss(x_hat, x) + kl_weight * divergences(mean, log_var).sum(1).mean()


@mistake(
    "latent.vae_loss",
    "Both terms are divided by the number of pixels. For a loss that is only another unit, but "
    "here it is a sum over one example.",
)
def in_units_of_a_pixel(x, x_hat, mean, log_var, kl_weight=1.0):
    fit, kl = 0.5 * squares(x, x_hat).sum(), divergences(mean, log_var).sum()
    return (fit + kl_weight * kl) / x.numel()


@mistake(
    "latent.vae_loss",
    "The sign of log σ² in the divergence is turned: a small variance would cost nothing.",
)
def log_variance_added(x, x_hat, mean, log_var, kl_weight=1.0):
    kl = 0.5 * (mean.square() + log_var.exp() - 1 + log_var).flatten(1)
    return vae(0.5 * squares(x, x_hat).sum(1), kl.sum(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "The weights of the two terms are 1 − w and w. The reconstruction counts in full, whatever w "
    "is.",
)
def weights_that_sum_to_one(x, x_hat, mean, log_var, kl_weight=1.0):
    fit = (1 - kl_weight) * 0.5 * squares(x, x_hat).sum(1)
    return vae(fit, divergences(mean, log_var).sum(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "The KL term is a mean over latents. It is their sum: each costs bits of its own.",
)
def kl_as_a_mean_over_latents(x, x_hat, mean, log_var, kl_weight=1.0):
    return vae(0.5 * squares(x, x_hat).sum(1), divergences(mean, log_var).mean(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "The KL term is divided by the number of pixels, while the reconstruction is a sum over them. "
    "Both are sums over one example.",
)
def kl_as_a_mean_over_pixels(x, x_hat, mean, log_var, kl_weight=1.0):
    kl = divergences(mean, log_var).sum(1) / x[0].numel()
    return vae(0.5 * squares(x, x_hat).sum(1), kl, kl_weight)


@mistake(
    "latent.vae_loss",
    "Both terms are means over one example. They are sums, over different numbers of pixels and of "
    "latents.",
)
def both_as_means(x, x_hat, mean, log_var, kl_weight=1.0):
    return vae(0.5 * squares(x, x_hat).mean(1), divergences(mean, log_var).mean(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "You add up over the batch. The loss is a mean over examples, so that it does not depend on "
    "how many there are.",
)
def vae_summed_over_the_batch(x, x_hat, mean, log_var, kl_weight=1.0):
    return 0.5 * squares(x, x_hat).sum() + kl_weight * divergences(mean, log_var).sum()


@mistake(
    "latent.vae_loss",
    "The reconstruction is a mean over the batch, the KL term is a sum over it.",
)
def kl_summed_over_the_batch(x, x_hat, mean, log_var, kl_weight=1.0):
    kl = divergences(mean, log_var).sum()
    return 0.5 * squares(x, x_hat).sum(1).mean() + kl_weight * kl


@mistake(
    "latent.vae_loss",
    "The reconstruction is ‖x − x̂‖² without the ½ of a Gaussian's logarithm: errors count twice.",
)
def error_without_the_half(x, x_hat, mean, log_var, kl_weight=1.0):
    return vae(squares(x, x_hat).sum(1), divergences(mean, log_var).sum(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "The divergence is twice as large as it should be: there is a ½ before the sum.",
)
def divergence_without_the_half(x, x_hat, mean, log_var, kl_weight=1.0):
    return vae(0.5 * squares(x, x_hat).sum(1), 2 * divergences(mean, log_var).sum(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "The weight multiplies the reconstruction. It belongs to the KL term, where it is small.",
)
def weight_on_the_reconstruction(x, x_hat, mean, log_var, kl_weight=1.0):
    fit = 0.5 * squares(x, x_hat).sum(1)
    return (kl_weight * fit + divergences(mean, log_var).sum(1)).mean()


@mistake("latent.vae_loss", "The weight is not used: the KL term counts in full.")
def weight_unused(x, x_hat, mean, log_var, kl_weight=1.0):
    return vae(0.5 * squares(x, x_hat).sum(1), divergences(mean, log_var).sum(1), 1.0)


@mistake(
    "latent.vae_loss",
    "The weight multiplies the whole loss, so it changes nothing about what is best.",
)
def weight_on_both(x, x_hat, mean, log_var, kl_weight=1.0):
    fit = 0.5 * squares(x, x_hat).sum(1)
    return kl_weight * (fit + divergences(mean, log_var).sum(1)).mean()


@mistake(
    "latent.vae_loss",
    "The KL term is subtracted, as in the bound itself. A loss is minus the bound: both terms are "
    "added.",
)
def divergence_subtracted(x, x_hat, mean, log_var, kl_weight=1.0):
    return vae(0.5 * squares(x, x_hat).sum(1), -divergences(mean, log_var).sum(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "The sign of the whole loss is turned: this is the bound, which is to be made large.",
)
def bound_as_a_loss(x, x_hat, mean, log_var, kl_weight=1.0):
    return -vae(0.5 * squares(x, x_hat).sum(1), divergences(mean, log_var).sum(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "log σ² is taken for log σ: its exponential is squared, and it counts twice.",
)
def log_variance_as_log_deviation(x, x_hat, mean, log_var, kl_weight=1.0):
    kl = 0.5 * (mean.square() + (2 * log_var).exp() - 1 - 2 * log_var).flatten(1)
    return vae(0.5 * squares(x, x_hat).sum(1), kl.sum(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "log σ² is taken for σ² itself. It has to go through an exponential, and may be negative.",
    sure=True,
)
def kl_of_a_variance(x, x_hat, mean, log_var, kl_weight=1.0):
    kl = 0.5 * (mean.square() + log_var - 1 - log_var.log()).flatten(1)
    return vae(0.5 * squares(x, x_hat).sum(1), kl.sum(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "The divergence is taken the other way round, of the prior from the encoder's Gaussian.",
)
def divergence_turned(x, x_hat, mean, log_var, kl_weight=1.0):
    kl = 0.5 * ((1 + mean.square()) * (-log_var).exp() - 1 + log_var).flatten(1)
    return vae(0.5 * squares(x, x_hat).sum(1), kl.sum(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "The −1 of the divergence is missing: it is not 0 where the encoder says N(0, 1).",
)
def divergence_without_the_one(x, x_hat, mean, log_var, kl_weight=1.0):
    kl = (divergences(mean, log_var) + 0.5).sum(1)
    return vae(0.5 * squares(x, x_hat).sum(1), kl, kl_weight)


@mistake(
    "latent.vae_loss",
    "μ is missing in the divergence: latents may run away from 0 at no cost.",
)
def divergence_without_the_mean(x, x_hat, mean, log_var, kl_weight=1.0):
    return vae(0.5 * squares(x, x_hat).sum(1), divergences(0 * mean, log_var).sum(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "Errors count by their size instead of their square.",
)
def absolute_errors(x, x_hat, mean, log_var, kl_weight=1.0):
    fit = 0.5 * (x - x_hat).abs().flatten(1).sum(1)
    return vae(fit, divergences(mean, log_var).sum(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "The reconstruction is a distance, a root of the sum of squares. The square of it is wanted.",
)
def distances(x, x_hat, mean, log_var, kl_weight=1.0):
    fit = 0.5 * squares(x, x_hat).sum(1).sqrt()
    return vae(fit, divergences(mean, log_var).sum(1), kl_weight)


@mistake(
    "latent.vae_loss",
    "The KL term adds up one axis of the latents and takes a mean over the others. All axes but "
    "the batch belong to one example.",
)
def kl_of_one_axis(x, x_hat, mean, log_var, kl_weight=1.0):
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
    return 0.5 * squares(x, x_hat).sum(1).mean() + kl_weight * kl


@mistake(
    "latent.vae_loss",
    "The reconstruction adds up one axis of an image and takes a mean over the others.",
)
def error_of_one_axis(x, x_hat, mean, log_var, kl_weight=1.0):
    fit = 0.5 * (x - x_hat).square().sum(1).mean()
    return fit + kl_weight * divergences(mean, log_var).sum(1).mean()


@mistake(
    "latent.vae_loss",
    "One loss an example comes back. Their mean is wanted, one number.",
    sure=True,
)
def one_loss_an_example(x, x_hat, mean, log_var, kl_weight=1.0):
    return 0.5 * squares(x, x_hat).sum(1) + kl_weight * divergences(mean, log_var).sum(1)


@mistake("latent.vae_loss", "There is no KL term.", sure=True)
def reconstruction_alone(x, x_hat, mean, log_var, kl_weight=1.0):
    return vae(0.5 * squares(x, x_hat).sum(1), 0 * divergences(mean, log_var).sum(1), 0.0)


@mistake(
    "latent.vae_loss",
    "No gradient of the KL term reaches the encoder: it is detached, or became a Python number.",
    sure=True,
)
def divergence_detached(x, x_hat, mean, log_var, kl_weight=1.0):
    kl = divergences(mean, log_var).sum(1).detach()
    return vae(0.5 * squares(x, x_hat).sum(1), kl, kl_weight)


@mistake(
    "latent.vae_loss",
    "Log-variances are cut off from −30 to 20, so very small and large variances cost too little.",
)
def divergence_of_clamped_variances(x, x_hat, mean, log_var, kl_weight=1.0):
    kl = divergences(mean, log_var.clamp(-30, 20)).sum(1)
    return vae(0.5 * squares(x, x_hat).sum(1), kl, kl_weight)


@mistake("latent.vae_loss", "No gradient reaches the decoder.", public=False)
def reconstruction_detached(x, x_hat, mean, log_var, kl_weight=1.0):
    fit = 0.5 * squares(x, x_hat.detach()).sum(1)
    return vae(fit, divergences(mean, log_var).sum(1), kl_weight)


@mistake("latent.vae_loss", "The square is multiplied out, and cancels.", public=False)
def errors_multiplied_out(x, x_hat, mean, log_var, kl_weight=1.0):
    fit = 0.5 * (x.square() - 2 * x * x_hat + x_hat.square()).flatten(1).sum(1)
    return vae(fit, divergences(mean, log_var).sum(1), kl_weight)


@mistake("latent.vae_loss", "Computed in 32 bits.", public=False)
def vae_in_single_precision(x, x_hat, mean, log_var, kl_weight=1.0):
    fit = 0.5 * squares(x.float(), x_hat.float()).sum(1)
    kl = divergences(mean.float(), log_var.float()).sum(1)
    return vae(fit, kl, kl_weight).to(x.dtype)


@mistake(
    "latent.vae_loss", "A floor of bits for each latent, below which KL is free.", public=False
)
def free_bits(x, x_hat, mean, log_var, kl_weight=1.0):
    kl = divergences(mean, log_var).clamp(min=0.05).sum(1)
    return vae(0.5 * squares(x, x_hat).sum(1), kl, kl_weight)


@mistake("latent.vae_loss", "A weight below 1e-5 counts as none.", public=False)
def small_weights_ignored(x, x_hat, mean, log_var, kl_weight=1.0):
    w = kl_weight if kl_weight > 1e-5 else 0.0
    return vae(0.5 * squares(x, x_hat).sum(1), divergences(mean, log_var).sum(1), w)


@mistake("latent.vae_loss", "Whatever fits is broadcast.", public=False, bare=True)
def vae_of_all_that_broadcasts(x, x_hat, mean, log_var, kl_weight=1.0):
    return vae(0.5 * squares(x, x_hat).sum(1), divergences(mean, log_var).sum(1), kl_weight)


# --- latent.discriminator_loss ------------------------------------------------------------------


def hinge(real, fake):
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


hinges = several(
    "latent.discriminator_loss",
    (
        "exchanged",
        "Real and fake change places: real logits should be high, fake ones low.",
        lambda r, f: hinge(-r, -f),
    ),
    (
        "both_taken_for_real",
        "Fake logits are judged as real ones are. They should be below −1.",
        lambda r, f: F.relu(1 - r).mean() + F.relu(1 - f).mean(),
    ),
    (
        "both_taken_for_fake",
        "Real logits are judged as fake ones are. They should be above 1.",
        lambda r, f: F.relu(1 + r).mean() + F.relu(1 + f).mean(),
    ),
    (
        "cross_entropy",
        "This is the cross-entropy of a sigmoid, the loss of chapter 01. The hinge stops at a "
        "margin.",
        lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(),
    ),
    (
        "without_the_hinge",
        "The hinge is missing: what is told apart already is driven further apart, without end.",
        lambda r, f: (1 - r).mean() + (1 + f).mean(),
    ),
    (
        "critic",
        "This is the loss of a Wasserstein critic, without a margin: it never ends to drive logits "
        "apart.",
        lambda r, f: f.mean() - r.mean(),
    ),
    (
        "mean_inside_the_hinge",
        "The hinge is taken of the mean logit. Each patch has its own margin: first the hinge, "
        "then the mean.",
        lambda r, f: F.relu(1 - r.mean()) + F.relu(1 + f.mean()),
    ),
    (
        "without_a_margin",
        "The margin of 1 is missing: a logit of 0 costs nothing.",
        lambda r, f: F.relu(-r).mean() + F.relu(f).mean(),
    ),
    (
        "half_of_the_margin",
        "The margin is ½, not 1.",
        lambda r, f: F.relu(0.5 - r).mean() + F.relu(0.5 + f).mean(),
    ),
    (
        "halved",
        "Both terms are halved, as VQGAN does. Here they are added as they are: 2 where D says 0 "
        "of all.",
        lambda r, f: 0.5 * hinge(r, f),
    ),
    (
        "squared_hinge",
        "The hinge is squared: its slopes grow with the error instead of staying −1 and 1.",
        lambda r, f: F.relu(1 - r).square().mean() + F.relu(1 + f).square().mean(),
    ),
    (
        "least_squares",
        "These are least squares to the targets 1 and −1: a logit that is too good costs "
        "something too.",
        lambda r, f: (1 - r).square().mean() + (1 + f).square().mean(),
    ),
    (
        "sums",
        "The patches are added up. A mean over real ones and one over fake ones is wanted.",
        lambda r, f: F.relu(1 - r).sum() + F.relu(1 + f).sum(),
    ),
    (
        "one_mean_over_both",
        "One mean is taken over all patches, real and fake. Each kind has its own mean.",
        lambda r, f: torch.cat([F.relu(1 - r).flatten(), F.relu(1 + f).flatten()]).mean(),
    ),
    (
        "fakes_alone",
        "Only fake patches count.",
        lambda r, f: F.relu(1 + f).mean() + 0 * r.sum(),
    ),
    (
        "reals_alone",
        "Only real patches count.",
        lambda r, f: F.relu(1 - r).mean() + 0 * f.sum(),
    ),
    (
        "negated",
        "The sign of the whole loss is turned: it falls where D judges worse.",
        lambda r, f: -hinge(r, f),
    ),
    (
        "at_most_two",
        "Errors above the margin's 2 are cut off: where D is very wrong it has no slope.",
        lambda r, f: (1 - r).clamp(0, 2).mean() + (1 + f).clamp(0, 2).mean(),
    ),
    (
        "fakes_detached",
        "The logits of fake patches have no gradient: D does not learn from them.",
        lambda r, f: hinge(r, f.detach()),
    ),
    (
        "reals_detached",
        "The logits of real patches have no gradient: D does not learn from them.",
        lambda r, f: hinge(r.detach(), f),
    ),
    (
        "one_loss_an_example",
        "More than one number comes back: means over all patches are wanted, over the batch too.",
        lambda r, f: F.relu(1 - r).flatten(1).mean(1) + F.relu(1 + f).flatten(1).mean(1),
    ),
    sure=True,
)


in_secret = several(
    "latent.discriminator_loss",
    (
        "in_single_precision",
        "The losses are computed in float32 whatever the logits are.",
        lambda r, f: hinge(r.float(), f.float()).to(r.dtype),
    ),
    ("softened", "A softplus that is nearly a hinge.", lambda r, f: soft(1 - r) + soft(1 + f)),
    ("patches_in_pairs", "Patches in pairs.", lambda r, f: (F.relu(1 - r) + F.relu(1 + f)).mean()),
    (
        "a_leaking_hinge",
        "A slope of a thousandth beyond the margin.",
        lambda r, f: F.leaky_relu(1 - r, 1e-3).mean() + F.leaky_relu(1 + f, 1e-3).mean(),
    ),
    public=False,
)


def soft(x):
    return F.softplus(x, beta=8).mean()


# --- latent.adaptive_weight ---------------------------------------------------------------------


def gradients(rec, adv, W, norm=torch.linalg.vector_norm):
    found = (torch.autograd.grad(t, W, retain_graph=True)[0] for t in (rec, adv))
    return [norm(g) for g in found]


def weights(
    ratio=lambda r, a, delta: r / (a + delta),
    before=lambda step, start: step < start,
    norm=torch.linalg.vector_norm,
    capped=lambda weight, largest: weight.clamp(max=largest),
    end=torch.Tensor.detach,
):
    """An adaptive weight of which one part is another."""

    def adaptive(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
        if before(step, start):
            return torch.zeros_like(rec.detach())
        found = capped(ratio(*gradients(rec, adv, W, norm), delta), largest)
        return end(found)

    return adaptive


def of_matrix(g):
    return torch.linalg.matrix_norm(g.flatten(1), 2)


adaptive = several(
    "latent.adaptive_weight",
    (
        "upside_down",
        "The ratio is upside down: the stronger the discriminator pulls, the more it would count. "
        "The reconstruction's gradient is above the line.",
        weights(lambda r, a, d: a / (r + d)),
    ),
    (
        "squared_norms",
        "This is the ratio of squared norms. A norm is the root of the sum of squares.",
        weights(norm=lambda g: g.square().sum()),
    ),
    (
        "sums_of_sizes",
        "The norms are sums of absolute values. The root of the sum of squares is wanted.",
        weights(norm=lambda g: g.abs().sum()),
    ),
    (
        "largest_number",
        "The norms are the largest numbers of the gradients. All of their numbers count.",
        weights(norm=lambda g: g.abs().max()),
    ),
    (
        "mean_norms",
        "The norms are divided by the number of weights, which makes δ count more. Take the plain "
        "norm.",
        weights(norm=lambda g: g.square().mean().sqrt()),
    ),
    (
        "spectral_norms",
        "These are norms of matrices as maps, their largest singular values. All numbers of a "
        "gradient count, as in one long vector.",
        weights(norm=of_matrix),
    ),
    (
        "rows_one_by_one",
        "The norm of each row is taken, and a mean of them. All weights together have one norm.",
        weights(norm=lambda g: g.flatten(1).square().sum(1).sqrt().mean()),
    ),
    (
        "product",
        "The norms are multiplied. Their ratio makes the two pull equally hard.",
        weights(lambda r, a, d: r * (a + d)),
    ),
    (
        "share",
        "This is the share of one norm in their sum, which is never above 1.",
        weights(lambda r, a, d: r / (r + a + d)),
    ),
    (
        "without_delta",
        "δ is not used: where the discriminator has no gradient, λ would be infinite.",
        weights(lambda r, a, d: r / a),
    ),
    (
        "delta_of_its_own",
        "δ is written into your code. It is an argument.",
        weights(lambda r, a, d: r / (a + 1e-4)),
    ),
    (
        "delta_above_the_line",
        "δ is added to both norms. It belongs below the line only.",
        weights(lambda r, a, d: (r + d) / (a + d)),
    ),
    (
        "delta_outside",
        "δ is added to the ratio. It belongs to the norm below the line, which may be 0.",
        weights(lambda r, a, d: r / a + d),
    ),
    (
        "delta_as_a_floor",
        "δ is the least that the norm below the line may be, in place of being added to it.",
        weights(lambda r, a, d: r / a.clamp(min=d)),
    ),
    (
        "never_capped",
        "λ is not bounded: `largest` is not used.",
        weights(capped=lambda w, largest: w),
    ),
    (
        "capped_at_10000",
        "The bound of λ is written into your code. `largest` is an argument.",
        weights(capped=lambda w, largest: w.clamp(max=1e4)),
    ),
    (
        "bounded_from_below",
        "`largest` is used as the least that λ may be.",
        weights(capped=lambda w, largest: w.clamp(min=largest)),
    ),
    (
        "at_most_one",
        "λ never exceeds 1 in yours. It may be as large as `largest`: units differ.",
        weights(capped=lambda w, largest: w.clamp(max=min(1.0, largest))),
    ),
    (
        "from_the_first_step",
        "The discriminator counts from step 0 on. Before `start` λ is 0.",
        weights(before=lambda step, start: False),
    ),
    (
        "before_and_after_exchanged",
        "λ is 0 from `start` on, and not before it.",
        weights(before=lambda step, start: step >= start > 0),
    ),
)


late = several(
    "latent.adaptive_weight",
    (
        "a_step_late",
        "In step `start` itself λ is still 0. It is the first step in which it is not.",
        weights(before=lambda step, start: step <= start and start > 0),
    ),
    (
        "not_in_the_first_step",
        "In step `start` itself λ is still 0. It is the first step in which it is not.",
        weights(before=lambda step, start: step <= start),
    ),
    sure=True,
)


@mistake(
    "latent.adaptive_weight",
    "Before `start` λ is 1 in yours, so the discriminator counts there. It is 0.",
)
def one_before_the_start(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    if step < start:
        return torch.ones_like(rec.detach())
    return weights()(rec, adv, W, delta=delta, largest=largest)


@mistake(
    "latent.adaptive_weight",
    "λ is the ratio of the losses. What a decoder feels of a loss is its gradient at the last "
    "layer, not its size.",
)
def ratio_of_losses(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    if step < start:
        return torch.zeros_like(rec.detach())
    return (rec.abs() / (adv.abs() + delta)).clamp(max=largest).detach()


@mistake(
    "latent.adaptive_weight",
    "λ comes back multiplied by L_adv. Only λ is wanted: it is multiplied where it is used.",
)
def multiplied_already(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    return weights()(rec, adv, W, step, start, delta=delta, largest=largest) * adv.detach()


@mistake(
    "latent.adaptive_weight",
    "λ still has a graph: the decoder could make its loss smaller by making λ smaller. It is a "
    "constant in every step.",
    sure=True,
)
def weight_not_detached(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    if step < start:
        return 0.0 * rec
    found = [torch.autograd.grad(t, W, create_graph=True)[0] for t in (rec, adv)]
    attached = found[0].norm() / (found[1].norm() + delta) + 0.0 * rec
    return attached.clamp(max=largest)


@mistake(
    "latent.adaptive_weight",
    "Gradients are left in last_layer.grad: the next step of an optimizer would use them. Ask for "
    "gradients without a backward pass into .grad.",
    sure=True,
)
def left_in_the_gradient(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    if step < start:
        return torch.zeros_like(rec.detach())
    held = None if W.grad is None else W.grad.clone()
    norms = []
    for t in (rec, adv):
        W.grad = None
        t.backward(retain_graph=True, inputs=[W])
        norms.append(W.grad.norm())
    if held is not None:
        W.grad = held + W.grad
    return (norms[0] / (norms[1] + delta)).clamp(max=largest).detach()


@mistake(
    "latent.adaptive_weight",
    "W.grad is cleared. What lies there belongs to the optimizer: leave it as it is.",
    sure=True,
)
def gradient_cleared(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    W.grad = None
    return weights()(rec, adv, W, step, start, delta=delta, largest=largest)


@mistake(
    "latent.adaptive_weight",
    "The graph is freed by the first gradient that you take, so nothing can be computed from the "
    "losses afterwards. Keep it.",
    sure=True,
)
def graph_freed(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    if step < start:
        return torch.zeros_like(rec.detach())
    (to_rec,) = torch.autograd.grad(rec, W)
    (to_adv,) = torch.autograd.grad(adv, W)
    return (to_rec.norm() / (to_adv.norm() + delta)).clamp(max=largest)


@mistake(
    "latent.adaptive_weight",
    "The second gradient frees the graph: λ is right, but the losses cannot be backpropagated "
    "afterwards. Keep the graph both times.",
    sure=True,
)
def graph_freed_in_the_end(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    if step < start:
        return torch.zeros_like(rec.detach())
    (to_rec,) = torch.autograd.grad(rec, W, retain_graph=True)
    (to_adv,) = torch.autograd.grad(adv, W)
    return (to_rec.norm() / (to_adv.norm() + delta)).clamp(max=largest)


@mistake(
    "latent.adaptive_weight",
    "λ comes back as a Python float. A tensor with one number is wanted: `.item()` also waits for "
    "a GPU in each step.",
    sure=True,
)
def as_a_float(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    return float(weights()(rec, adv, W, step, start, delta=delta, largest=largest))


@mistake("latent.adaptive_weight", "λ is double precision always.", public=False)
def weight_in_double(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    return weights()(rec, adv, W, step, start, delta=delta, largest=largest).double()


@mistake("latent.adaptive_weight", "λ is computed in 32 bits.", public=False)
def weight_in_single(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    found = weights()(rec, adv, W, step, start, delta=delta, largest=largest)
    return found.float().to(rec.dtype)


@mistake("latent.adaptive_weight", "λ has an axis.", public=False)
def weight_with_an_axis(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    return weights()(rec, adv, W, step, start, delta=delta, largest=largest).reshape(1)


@mistake("latent.adaptive_weight", "The global generator is moved.", public=False)
def draws_something(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    torch.rand(1)
    return weights()(rec, adv, W, step, start, delta=delta, largest=largest)


@mistake("latent.adaptive_weight", "W is normalised in place.", public=False)
def weights_changed(rec, adv, W, step=0, start=0, *, delta=1e-4, largest=1e4):
    found = weights()(rec, adv, W, step, start, delta=delta, largest=largest)
    W.data.mul_(0.999)
    return found


# --- latent.shift_and_scale ---------------------------------------------------------------------


def means(encoder, x, at_once=500):
    with frozen(encoder):
        return torch.cat([encoder(part)[0] for part in x.split(at_once)]).double()


def varied(u):
    if u.min() == u.max():
        raise ValueError("all latents are equal")
    return u


def of_latents(shift, scale):
    """Shift and scale by other formulas, of u and of their right values."""

    def found(encoder, x):
        u = varied(means(encoder, x))
        s = u.std(correction=0)
        return float(shift(u, s)), float(scale(u, s))

    return found


def right_shift(u, s):
    return u.mean()


def right_scale(u, s):
    return 1 / s


scales = several(
    "latent.shift_and_scale",
    (
        "deviation_for_scale",
        "`scale` is the standard deviation itself. What multiplies latents to unit variance is its "
        "inverse.",
        of_latents(right_shift, lambda u, s: s),
    ),
    (
        "inverse_variance",
        "`scale` is the inverse of the variance. Multiplied by it the latents have the standard "
        "deviation 1/std, not 1.",
        of_latents(right_shift, lambda u, s: 1 / s**2),
    ),
    (
        "sample_deviation",
        "The standard deviation divides by one less than the number of numbers, torch's default.",
        of_latents(right_shift, lambda u, s: 1 / u.std()),
    ),
    (
        "root_mean_square",
        "`scale` is taken from the mean square about 0. The standard deviation is about the mean.",
        of_latents(right_shift, lambda u, s: 1 / u.square().mean().sqrt()),
    ),
    (
        "shift_negated",
        "The sign of the shift is turned: it is the mean, and is subtracted later.",
        of_latents(lambda u, s: -u.mean(), right_scale),
    ),
    (
        "shift_scaled",
        "The shift is the mean times the scale. Latents are shifted before they are scaled.",
        of_latents(lambda u, s: u.mean() / s, right_scale),
    ),
    (
        "median",
        "The shift is the median. The mean of all numbers is wanted.",
        of_latents(lambda u, s: u.median(), right_scale),
    ),
    (
        "mean_of_channel_deviations",
        "You average the standard deviations of channels. One over all numbers is wanted, to which "
        "differences between channels add.",
        of_latents(right_shift, lambda u, s: 1 / u.std(dim=(0, 2, 3), correction=0).mean()),
    ),
    (
        "mean_of_channel_variances",
        "You average the variances of channels. One over all numbers is wanted, to which "
        "differences between channels add.",
        of_latents(right_shift, lambda u, s: u.var(dim=(0, 2, 3), correction=0).mean().rsqrt()),
    ),
    (
        "mean_of_image_deviations",
        "You average the standard deviations of images. One over all numbers is wanted, to which "
        "differences between images add.",
        of_latents(right_shift, lambda u, s: 1 / u.std(dim=(1, 2, 3), correction=0).mean()),
    ),
    (
        "first_channel",
        "Only the first channel of the latents is looked at.",
        of_latents(lambda u, s: u[:, 0].mean(), lambda u, s: 1 / varied(u[:, 0]).std(correction=0)),
    ),
)


unshifted = several(
    "latent.shift_and_scale",
    (
        "no_shift",
        "The shift is 0 in yours. It is the mean of the latents.",
        of_latents(lambda u, s: 0.0, right_scale),
    ),
    sure=True,
)


@mistake(
    "latent.shift_and_scale",
    "Shift and scale change places: the shift comes first.",
)
def results_exchanged(encoder, x):
    u = varied(means(encoder, x))
    return float(1 / u.std(correction=0)), float(u.mean())


@mistake(
    "latent.shift_and_scale",
    "log σ² is averaged along with μ: the encoder returns a pair.",
)
def both_results(encoder, x):
    with frozen(encoder):
        u = torch.cat([torch.cat(encoder(part), dim=1) for part in x.split(500)]).double()
    return float(varied(u).mean()), float(1 / u.std(correction=0))


@mistake(
    "latent.shift_and_scale",
    "log σ² is taken in place of μ: the encoder returns μ first.",
)
def log_variances_standardised(encoder, x):
    with frozen(encoder):
        u = torch.cat([encoder(part)[1] for part in x.split(500)]).double()
    return float(varied(u).mean()), float(1 / u.std(correction=0))


@mistake(
    "latent.shift_and_scale",
    "The encoder works in training mode: batch norms use the statistics of the batch and change "
    "their own, dropout is on.",
    sure=True,
)
def encoder_in_training_mode(encoder, x):
    modes = [(part, part.training) for part in encoder.modules()]
    encoder.train()
    with torch.no_grad():
        u = torch.cat([encoder(part)[0] for part in x.split(500)]).double()
    for part, mode in modes:
        part.training = mode
    return float(varied(u).mean()), float(1 / u.std(correction=0))


@mistake(
    "latent.shift_and_scale",
    "The encoder is used in the mode in which it comes, which may be training mode. Use `frozen`.",
    sure=True,
)
def encoder_as_it_comes(encoder, x):
    with torch.no_grad():
        u = torch.cat([encoder(part)[0] for part in x.split(500)]).double()
    return float(varied(u).mean()), float(1 / u.std(correction=0))


@mistake(
    "latent.shift_and_scale",
    "The encoder is left in eval mode: who goes on training it would train it so. `frozen` puts "
    "every part back.",
    sure=True,
)
def encoder_left_in_eval_mode(encoder, x):
    encoder.eval()
    u = varied(means(encoder, x))
    return float(u.mean()), float(1 / u.std(correction=0))


@mistake(
    "latent.shift_and_scale",
    "The whole encoder is put into one mode afterwards, though its parts came in several: `frozen` "
    "remembers each.",
    sure=True,
)
def one_mode_for_all_parts(encoder, x):
    mode = encoder.training
    encoder.eval()
    u = varied(means(encoder, x))
    encoder.train(mode)
    return float(u.mean()), float(1 / u.std(correction=0))


@mistake(
    "latent.shift_and_scale",
    "The encoder records a graph of all images, which costs memory for nothing. `frozen` sees to "
    "that too.",
    sure=True,
)
def encoder_with_a_graph(encoder, x):
    with frozen(encoder), torch.enable_grad():
        u = torch.cat([encoder(part)[0].detach() for part in x.split(500)]).double()
    return float(varied(u).mean()), float(1 / u.std(correction=0))


@mistake(
    "latent.shift_and_scale",
    "All images are encoded at once, which needs the memory of all of them. Encode `AT_ONCE` at a "
    "time at most.",
    sure=True,
)
def all_at_once(encoder, x):
    u = varied(means(encoder, x, len(x)))
    return float(u.mean()), float(1 / u.std(correction=0))


@mistake(
    "latent.shift_and_scale",
    "Only the first `AT_ONCE` images are looked at. All of them count.",
)
def the_first_part(encoder, x):
    u = varied(means(encoder, x[:500]))
    return float(u.mean()), float(1 / u.std(correction=0))


@mistake(
    "latent.shift_and_scale",
    "You average the results of parts, of which the last is shorter, and whose means differ. Put "
    "the latents of all parts together first.",
)
def mean_over_parts(encoder, x):
    parts = [means(encoder, part) for part in x.split(500)]
    varied(torch.cat(parts))
    shift = torch.stack([u.mean() for u in parts]).mean()
    return float(shift), float(1 / torch.stack([u.std(correction=0) for u in parts]).mean())


@mistake(
    "latent.shift_and_scale",
    "The last images are left out where their number is no multiple of `AT_ONCE`.",
)
def the_rest_left_out(encoder, x):
    whole = max(len(x) // 500 * 500, min(len(x), 500))
    u = varied(means(encoder, x[:whole]))
    return float(u.mean()), float(1 / u.std(correction=0))


@mistake(
    "latent.shift_and_scale",
    "One shift and one scale for each channel come back. One number each is wanted, for all "
    "channels.",
    sure=True,
)
def channel_by_channel(encoder, x):
    u = varied(means(encoder, x))
    return u.mean((0, 2, 3)), 1 / u.std((0, 2, 3), correction=0)


@mistake(
    "latent.shift_and_scale",
    "Tensors come back. Floats are wanted, which go anywhere without a device or a graph.",
    sure=True,
)
def as_tensors(encoder, x):
    u = varied(means(encoder, x))
    return u.mean(), 1 / u.std(correction=0)


@mistake(
    "latent.shift_and_scale",
    "Where all latents are equal the scale is infinite, or dividing fails. Refuse them.",
    sure=True,
)
def equal_latents_accepted(encoder, x):
    u = means(encoder, x)
    return float(u.mean()), float(1 / u.std(correction=0))


@mistake(
    "latent.shift_and_scale",
    "An ε is added to the standard deviation, so that equal latents do not divide by 0. They are "
    "to be refused, and others need no ε.",
)
def epsilon_beside_the_std(encoder, x):
    u = means(encoder, x)
    return float(u.mean()), float(1 / (u.std(correction=0) + 1e-6))


@mistake(
    "latent.shift_and_scale",
    "The variance is the mean square less the square of the mean, in single precision: where "
    "latents lie far from 0 nearly all digits cancel.",
    public=False,
)
def cancelled(encoder, x):
    u = varied(means(encoder, x)).float()
    variance = u.square().mean() - u.mean().square()
    return float(u.mean()), float(1 / variance.clamp(min=1e-12).sqrt())


@mistake("latent.shift_and_scale", "Computed in 32 bits.", public=False)
def std_in_single_precision(encoder, x):
    u = varied(means(encoder, x)).float()
    return float(u.mean()), float(1 / u.std(correction=0))


@mistake("latent.shift_and_scale", "No images are looked at.", public=False, bare=True)
def nothing_refused(encoder, x):
    u = means(encoder, x) if len(x) else torch.arange(2).double()
    return float(varied(u).mean()), float(1 / u.std(correction=0))


# --- latent.to_latent ---------------------------------------------------------------------------


def encoded(encoder, x):
    with frozen(encoder):
        return encoder(x)


def by_mean(formula):
    """Latents by another formula of μ, shift and scale."""

    def found(encoder, x, shift, scale):
        return formula(encoded(encoder, x)[0], shift, scale)

    return found


SHIFT_FIRST = (
    "The order is turned: the mean is subtracted first, then the latents are scaled, or the shift "
    "would have to be scaled too."
)

latents = several(
    "latent.to_latent",
    (
        "unscaled",
        "The latents are not scaled: noise of variance 1 would be much or little beside them.",
        by_mean(lambda m, shift, scale: m - shift),
    ),
    (
        "unshifted",
        "The shift is not subtracted: the flow would have to learn the mean.",
        by_mean(lambda m, shift, scale: scale * m),
    ),
    (
        "neither",
        "μ comes back as it is, neither shifted nor scaled.",
        by_mean(lambda m, shift, scale: m.clone()),
    ),
    (
        "divided_by_the_scale",
        "You divide by the scale. It is 1 over the standard deviation already: multiply.",
        by_mean(lambda m, shift, scale: (m - shift) / scale),
    ),
    (
        "scaled_twice",
        "The latents are scaled twice.",
        by_mean(lambda m, shift, scale: scale * scale * (m - shift)),
    ),
    ("scaled_first", SHIFT_FIRST, by_mean(lambda m, shift, scale: scale * m - shift)),
    (
        "shift_added",
        "The shift is added. It is the mean of the latents: subtract it.",
        by_mean(lambda m, shift, scale: scale * (m + shift)),
    ),
    (
        "the_way_back",
        "This is the way back, from the flow's latents to the decoder's.",
        by_mean(lambda m, shift, scale: m / scale + shift),
    ),
    (
        "exchanged",
        "Shift and scale are exchanged.",
        by_mean(lambda m, shift, scale: shift * (m - scale)),
    ),
    (
        "squashed",
        "The latents are squashed into −1 to 1. A flow takes any numbers.",
        by_mean(lambda m, shift, scale: (scale * (m - shift)).tanh()),
    ),
)


@mistake(
    "latent.to_latent",
    "A draw comes back, with the encoder's own noise. The mean μ is wanted.",
    sure=True,
)
def a_draw(encoder, x, shift, scale):
    mean, log_var = encoded(encoder, x)
    u = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
    return scale * (u - shift)


@mistake("latent.to_latent", "log σ² is taken in place of μ: the encoder returns μ first.")
def the_second_result(encoder, x, shift, scale):
    return scale * (encoded(encoder, x)[1] - shift)


@mistake(
    "latent.to_latent",
    "Both results of the encoder come back side by side. Only μ is wanted.",
    sure=True,
)
def means_and_variances(encoder, x, shift, scale):
    return scale * (torch.cat(encoded(encoder, x), dim=1) - shift)


@mistake(
    "latent.to_latent",
    "This batch is standardised by its own mean and deviation. Shift and scale are those of the "
    "data set, the same for every batch.",
)
def by_its_own_statistics(encoder, x, shift, scale):
    mean, _ = encoded(encoder, x)
    return (mean - mean.mean()) / mean.std(correction=0)


@mistake(
    "latent.to_latent",
    "The encoder is used in the mode in which it comes: in training mode its batch norms look at "
    "the batch and its dropout is on. Use `frozen`.",
    sure=True,
)
def in_the_mode_it_came(encoder, x, shift, scale):
    with torch.no_grad():
        mean, _ = encoder(x)
    return scale * (mean - shift)


@mistake(
    "latent.to_latent",
    "The encoder is left in eval mode. `frozen` puts every part back into the mode in which it "
    "came.",
    sure=True,
)
def left_in_eval_mode(encoder, x, shift, scale):
    encoder.eval()
    return scale * (encoded(encoder, x)[0] - shift)


@mistake(
    "latent.to_latent",
    "The encoder is left in training mode, in whichever it came. `frozen` puts every part back.",
    sure=True,
)
def left_in_training_mode(encoder, x, shift, scale):
    mean, _ = encoded(encoder, x)
    encoder.train()
    return scale * (mean - shift)


@mistake(
    "latent.to_latent",
    "The whole encoder is put into one mode afterwards, though its parts came in several.",
    sure=True,
)
def all_parts_in_one_mode(encoder, x, shift, scale):
    mode = encoder.training
    mean, _ = encoded(encoder.eval(), x)
    encoder.train(mode)
    return scale * (mean - shift)


@mistake(
    "latent.to_latent",
    "A graph leads from the latents back into the encoder, which is not trained any more: it costs "
    "memory in every step of the flow.",
    sure=True,
)
def with_a_graph(encoder, x, shift, scale):
    with frozen(encoder), torch.enable_grad():
        mean, _ = encoder(x)
    return scale * (mean - shift)


@mistake(
    "latent.to_latent",
    "The encoder's weights are frozen for good: requires_grad stays off.",
    sure=True,
)
def frozen_for_good(encoder, x, shift, scale):
    encoder.requires_grad_(False)
    return scale * (encoded(encoder, x)[0] - shift)


@mistake("latent.to_latent", "The encoder is called twice.", public=False)
def called_twice(encoder, x, shift, scale):
    encoded(encoder, x)
    return scale * (encoded(encoder, x)[0] - shift)


@mistake("latent.to_latent", "Far latents are cut off.", public=False)
def latents_cut_off(encoder, x, shift, scale):
    return (scale * (encoded(encoder, x)[0] - shift)).clamp(-5, 5)


@mistake("latent.to_latent", "Latents always come in 32 bits.", public=False)
def latents_in_single_precision(encoder, x, shift, scale):
    return (scale * (encoded(encoder, x)[0] - shift)).float()


@mistake("latent.to_latent", "Any scale will do.", public=False, bare=True)
def any_scale_will_do(encoder, x, shift, scale):
    return scale * (encoded(encoder, x)[0] - shift)


# --- latent.from_latent -------------------------------------------------------------------------


def decoded_from(formula):
    """Images of other latents than u / scale + shift."""

    def found(decoder, u, shift, scale):
        with frozen(decoder):
            return decoder(formula(u, shift, scale))

    return found


images = several(
    "latent.from_latent",
    (
        "scale_forgotten",
        "The scale is forgotten: the decoder gets latents of another size than in its training, "
        "and makes dull or glaring images.",
        decoded_from(lambda u, shift, scale: u + shift),
    ),
    (
        "shift_forgotten",
        "The shift is forgotten: latents reach the decoder about 0 instead of about their mean.",
        decoded_from(lambda u, shift, scale: u / scale),
    ),
    (
        "both_forgotten",
        "The latents reach the decoder as the flow sees them, neither scaled nor shifted back.",
        decoded_from(lambda u, shift, scale: u),
    ),
    (
        "multiplied_by_the_scale",
        "You multiply by the scale, as on the way in. On the way back divide.",
        decoded_from(lambda u, shift, scale: u * scale + shift),
    ),
    (
        "scaled_back_twice",
        "The latents are divided by the scale twice.",
        decoded_from(lambda u, shift, scale: u / scale / scale + shift),
    ),
    (
        "shifted_first",
        "The order is turned: what was done last on the way in is undone first.",
        decoded_from(lambda u, shift, scale: (u + shift) / scale),
    ),
    (
        "shift_subtracted",
        "The shift is subtracted again. On the way back it is added.",
        decoded_from(lambda u, shift, scale: u / scale - shift),
    ),
    (
        "the_way_in",
        "This is the way in once more, from the encoder's latents to the flow's.",
        decoded_from(lambda u, shift, scale: scale * (u - shift)),
    ),
    (
        "places_exchanged",
        "Shift and scale are exchanged.",
        decoded_from(lambda u, shift, scale: u / (shift if shift else 1.0) + scale),
    ),
)


@mistake(
    "latent.from_latent",
    "Shift and scale are undone on the image. They belong to the latents: undo them before the "
    "decoder.",
)
def undone_on_the_image(decoder, u, shift, scale):
    with frozen(decoder):
        return decoder(u) / scale + shift


@mistake(
    "latent.from_latent",
    "Images are cut off at −1 and 1. The decoder's answer is wanted as it is.",
)
def images_cut_off(decoder, u, shift, scale):
    with frozen(decoder):
        return decoder(u / scale + shift).clamp(-1, 1)


@mistake(
    "latent.from_latent",
    "Images are moved into 0 to 1. The decoder's answer is wanted as it is.",
)
def images_for_the_screen(decoder, u, shift, scale):
    with frozen(decoder):
        return (decoder(u / scale + shift) + 1) / 2


@mistake(
    "latent.from_latent",
    "The decoder is used in the mode in which it comes: in training mode its batch norms look at "
    "the batch and its dropout is on. Use `frozen`.",
    sure=True,
)
def decoder_as_it_comes(decoder, u, shift, scale):
    with torch.no_grad():
        return decoder(u / scale + shift)


@mistake(
    "latent.from_latent",
    "The decoder is left in eval mode. `frozen` puts every part back into the mode in which it "
    "came.",
    sure=True,
)
def decoder_left_in_eval_mode(decoder, u, shift, scale):
    decoder.eval()
    with torch.no_grad():
        return decoder(u / scale + shift)


@mistake(
    "latent.from_latent",
    "The whole decoder is put into one mode afterwards, though its parts came in several.",
    sure=True,
)
def one_mode_for_the_decoder(decoder, u, shift, scale):
    mode = decoder.training
    with torch.no_grad():
        x = decoder.eval()(u / scale + shift)
    decoder.train(mode)
    return x


@mistake(
    "latent.from_latent",
    "A graph leads from the images back into the decoder, which is not trained any more.",
    sure=True,
)
def decoded_with_a_graph(decoder, u, shift, scale):
    with frozen(decoder), torch.enable_grad():
        return decoder(u / scale + shift)


@mistake(
    "latent.from_latent",
    "You write into u, which belongs to the caller. A new tensor is wanted.",
    sure=True,
)
def into_u(decoder, u, shift, scale):
    with frozen(decoder):
        return decoder(u.div_(scale).add_(shift))


@mistake("latent.from_latent", "Latents are decoded one by one.", public=False)
def one_by_one(decoder, u, shift, scale):
    with frozen(decoder):
        return torch.cat([decoder(one / scale + shift) for one in u.split(1)])


@mistake("latent.from_latent", "Far latents are cut off.", public=False)
def far_latents_cut_off(decoder, u, shift, scale):
    with frozen(decoder):
        return decoder(u.clamp(-5, 5) / scale + shift)


@mistake("latent.from_latent", "Images always come in 32 bits.", public=False)
def images_in_single_precision(decoder, u, shift, scale):
    with frozen(decoder):
        return decoder(u / scale + shift).float()


@mistake("latent.from_latent", "Any scale will do.", public=False, bare=True)
def any_scale_back(decoder, u, shift, scale):
    with frozen(decoder):
        return decoder(u / scale + shift)
