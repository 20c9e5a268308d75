"""Latent diffusion (slides 84–97): a VAE with a discriminator makes images small, a flow does the
rest.

An encoder turns an image of H×W pixels into latents of H/D × W/D, a decoder turns them back. Both
are trained first, as a VAE with a small KL weight, then with a discriminator that makes the
decoder's images sharp. A flow is trained on the latents, with the encoder frozen; to sample, noise
becomes a latent, and the decoder makes an image of it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen.given.frozen import frozen
from cs231n_gen.likelihood import gaussian_kl

AT_ONCE = 500  # images encoded at a time, at most
Latents = Float[Tensor, "batch channels height width"]
Images = Float[Tensor, "batch channels height width"]


def reparameterize(
    mean: Float[Tensor, "*shape"],
    log_var: Float[Tensor, "*shape"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*shape"]:
    """A draw from the encoder's Gaussian, through which gradients flow (slide 94; Kingma, Welling
    2014).

        u = μ + σ ε,    σ = exp(½ log σ²),   ε ~ N(0, I)

    The randomness is in ε, which depends on no weight, so u is a smooth function of μ and log σ².

    Args:
        mean, log_var: μ and log σ² of independent numbers, of one shape, any.
        generator: for ε, of which one `torch.randn` of this shape and precision is drawn.
    Returns:
        u, shaped like mean and in its precision. Gradients flow into both.
    Raises:
        ValueError: if mean and log_var differ in shape.
    """
    _check_alike(mean, log_var)
    ### BEGIN SOLUTION
    like = {"dtype": mean.dtype, "device": mean.device}
    return mean + (0.5 * log_var).exp() * torch.randn(mean.shape, generator=generator, **like)
    ### END SOLUTION


def vae_loss(
    x: Float[Tensor, "batch *shape"],
    x_hat: Float[Tensor, "batch *shape"],
    mean: Float[Tensor, "batch *latent"],
    log_var: Float[Tensor, "batch *latent"],
    kl_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """What an encoder and a decoder minimise together (slides 93–94; Kingma, Welling 2014; Higgins
    et al. 2017).

        L = mean over the batch of ( ½ ‖x − x̂‖² + w_KL · KL(N(μ, diag σ²) ‖ N(0, I)) )

    Both terms are sums over one example, over its pixels and over its latents: with w_KL = 1 this
    is minus the ELBO of a decoder N(x̂, I), but for a constant. With w_KL = β σ² it is, times σ²,
    that of a β-VAE whose decoder has the variance σ².

    Args:
        x: data, each with at least one axis after the batch.
        x_hat: x̂, the decoder's reconstruction from a draw of the latents, shaped like x.
        mean, log_var: μ and log σ² of the latents, of one shape, with at least one axis after the
            batch: points or images.
        kl_weight: w_KL, a number, 0 or more.
    Returns:
        One number, in squared pixels. It is exact for variances of any size, as far as they are
        numbers. Gradients flow into x_hat, mean and log_var.
    Raises:
        ValueError: if two shapes that should agree differ, or kl_weight is negative or NaN.
    """
    if x.shape != x_hat.shape:
        shapes = f"x is {tuple(x.shape)}, x_hat {tuple(x_hat.shape)}"
        raise ValueError(f"x_hat must be shaped like x: {shapes}")
    _check_alike(mean, log_var)
    if len(mean) != len(x):
        raise ValueError(f"mean must have a row for each of {len(x)} examples, got {len(mean)}")
    if not kl_weight >= 0:
        raise ValueError(f"kl_weight must be at least 0, got {kl_weight}")
    ### BEGIN SOLUTION
    reconstruction = 0.5 * (x - x_hat).square().flatten(1).sum(1)  # (batch,)
    kl = gaussian_kl(mean.flatten(1), log_var.flatten(1))  # (batch,)
    return (reconstruction + kl_weight * kl).mean()
    ### END SOLUTION


def discriminator_loss(
    real_logits: Float[Tensor, "batch *patches"], fake_logits: Float[Tensor, "batch *patches"]
) -> Float[Tensor, ""]:
    """The hinge loss of a discriminator that judges patches (slides 96–97; Lim and Ye 2017).

        L_D = mean over real patches of max(0, 1 − ℓ) + mean over fake patches of max(0, 1 + ℓ)

    A real patch with a logit above 1, or a fake one with a logit below −1, adds nothing: D does not
    move further apart what it already tells apart.

    Args:
        real_logits: ℓ of the patches of real images, of any shape with a batch axis, one or more.
        fake_logits: ℓ of those of reconstructions; there may be another number of them, in another
            shape.
    Returns:
        One number, 2 where D says 0 of all. Gradients flow into both.
    """
    ### BEGIN SOLUTION
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()
    ### END SOLUTION


def adversarial_loss(fake_logits: Float[Tensor, "batch *patches"]) -> Float[Tensor, ""]:
    """What the decoder minimises: −mean over fake patches of ℓ, with no hinge. Given."""
    return -fake_logits.mean()


def adaptive_weight(
    reconstruction: Float[Tensor, ""],
    adversarial: Float[Tensor, ""],
    last_layer: Float[Tensor, "*shape"],
    step: int = 0,
    start: int = 0,
    *,
    delta: float = 1e-4,
    largest: float = 1e4,
) -> Float[Tensor, ""]:
    """How much the discriminator counts beside the reconstruction (Esser et al. 2021, eq. 7).

        λ = ‖∂L_rec/∂W‖ / (‖∂L_adv/∂W‖ + δ),  at most `largest`;   λ = 0 before step `start`

    The decoder then minimises L_rec + λ L_adv. W are the weights of its last layer, so there both
    terms pull equally hard, whatever their units. Before `start` the reconstructions are too poor
    for a discriminator to say anything useful.

    Args:
        reconstruction, adversarial: L_rec and L_adv, one number each, with their graphs.
        last_layer: W, of which both are functions.
        step: the number of the step, from 0.
        start: the first step in which λ is not 0.
        delta: δ, which keeps λ finite.
        largest: λ is not larger.
    Returns:
        λ, one number in the precision of the losses, as a constant: no gradient flows through it.
        `last_layer.grad` stays as it was, and both losses can be backpropagated afterwards.
    """
    ### BEGIN SOLUTION
    if step < start:
        return torch.zeros_like(reconstruction.detach())
    (to_rec,) = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)
    (to_adv,) = torch.autograd.grad(adversarial, last_layer, retain_graph=True)
    return (to_rec.norm() / (to_adv.norm() + delta)).clamp(max=largest).detach()
    ### END SOLUTION


def shift_and_scale(encoder: nn.Module, x: Images) -> tuple[float, float]:
    """What standardises the latents of a data set (Rombach et al. 2022, G; Esser et al. 2024).

        shift = mean of all numbers of all μ        scale = 1 / their standard deviation

    Noise is N(0, 1), so levels t mean what they should only if data have a variance near 1 as well.
    One number each, for all channels and places, so that the latents keep their shape. A flow on
    latents of standard deviation s is the flow on standardised ones, but at levels shifted by
    α = 1/s (`schedules.shift`).

    Args:
        encoder: called as `encoder(x)` for at most `AT_ONCE` images at a time; returns
            (μ, log σ²). It is used as `frozen` says, and stays as it was.
        x: images, one or more.
    Returns:
        (shift, scale), two floats. The standard deviation divides by the number of numbers.
    Raises:
        ValueError: if there are no images, or all latents are equal.
    """
    if len(x) == 0:
        raise ValueError("x must hold at least one image, got none")
    ### BEGIN SOLUTION
    with frozen(encoder):
        u = torch.cat([encoder(part)[0] for part in x.split(AT_ONCE)]).double()
    if u.min() == u.max():
        raise ValueError("the latents must differ, got a standard deviation of 0")
    return float(u.mean()), float(1 / u.std(correction=0))
    ### END SOLUTION


def to_latent(encoder: nn.Module, x: Images, shift: float, scale: float) -> Latents:
    """The latents of images, as the flow sees them (slides 85–88).

        u = scale · (μ(x) − shift)

    Args:
        encoder: called once as `encoder(x)`; returns (μ, log σ²), of which μ is taken. It is used
            as `frozen` says: in eval mode, without a graph; it stays as it was.
        x: images, one or more.
        shift, scale: as `shift_and_scale` returns them.
    Returns:
        u, without a graph and in the precision of μ. Over the data its mean is 0 and its standard
        deviation 1.
    Raises:
        ValueError: if scale is not positive.
    """
    _check_scale(scale)
    ### BEGIN SOLUTION
    with frozen(encoder):
        mean, _ = encoder(x)
    return scale * (mean - shift)
    ### END SOLUTION


def from_latent(decoder: nn.Module, u: Latents, shift: float, scale: float) -> Images:
    """The images of latents, whether they come from an image or from a flow (slides 89–92).

        x̂ = decoder(u / scale + shift)

    Args:
        decoder: called once as `decoder(latents)`, used as `frozen` says; it stays as it was.
        u: latents as `to_latent` returns them.
        shift, scale: those of `to_latent`.
    Returns:
        x̂, without a graph.
    Raises:
        ValueError: if scale is not positive.
    """
    _check_scale(scale)
    ### BEGIN SOLUTION
    with frozen(decoder):
        return decoder(u / scale + shift)
    ### END SOLUTION


def _check_alike(mean: Tensor, log_var: Tensor) -> None:
    if mean.shape != log_var.shape:
        shapes = f"mean is {tuple(mean.shape)}, log_var {tuple(log_var.shape)}"
        raise ValueError(f"log_var must be shaped like mean: {shapes}")


def _check_scale(scale: float) -> None:
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
