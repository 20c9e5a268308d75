"""The best linear VAE: its KL term is water that floods the spectrum of the data.

In the directions of the eigenvectors of the covariance the problem falls apart, one axis each. An
axis whose variance λ is below the water level θ is given up; from any other the encoder takes
latents that lose θ of it.

A decoder that draws an image instead of taking the mean of all that are possible loses twice as
much: `posterior_sampling_error`.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cs231n_gen.truth.checks import real


class LinearVAE(NamedTuple):
    """The best linear VAE, axis by axis, and what it costs.

    encoder: μ = encoder · x, the coefficient of an axis.
    variance: σ² of q(u | x) on an axis, 1 where it is under water.
    decoder: x̂ = decoder · u.
    mse: E ‖x − x̂‖² of reconstructions from draws of u, in units of λ, by axis.
    kl: E KL(q(u | x) ‖ N(0, 1)) in nats, by axis; 0 where it is under water.
    """

    encoder: Float[Tensor, "axes"]
    variance: Float[Tensor, "axes"]
    decoder: Float[Tensor, "axes"]
    mse: Float[Tensor, "axes"]
    kl: Float[Tensor, "axes"]


def linear_vae(eigenvalues: Float[Tensor, "axes"], theta: float) -> LinearVAE:
    """The minimum of E[½ ‖x − x̂‖²] + θ E[KL] over linear encoders and decoders (Lucas et al. 2019,
    for θ = σ²; reverse water-filling, Cover and Thomas 2006, 10.3.3).

        mse = min(λ, θ)      kl = ½ log⁺(λ / θ)
        decoder = √(λ − θ)⁺     encoder = √(λ − θ)⁺ / λ     variance = min(1, θ / λ)

    Args:
        eigenvalues: λ of the covariance of the data, which have mean 0; 0 or more.
        theta: θ, the weight of the KL term in `latent.vae_loss`, positive.
    Raises:
        ValueError: if an eigenvalue is negative or not finite, or theta is not positive and finite.
    """
    lam = _spectrum(eigenvalues)
    if not 0 < theta < math.inf:
        raise ValueError(f"theta must be positive and finite, got {theta}")
    decoder = (lam - theta).clamp(min=0).sqrt()
    return LinearVAE(
        encoder=torch.where(lam > theta, decoder / lam.clamp(min=theta), 0.0),
        variance=(theta / lam.clamp(min=theta)),
        decoder=decoder,
        mse=lam.clamp(max=theta),
        kl=0.5 * torch.log(lam.clamp(min=theta) / theta),
    )


def posterior_sampling_error(
    eigenvalues: Float[Tensor, "axes"],
    encoder: Float[Tensor, "axes"],
    variance: Float[Tensor, "axes"],
) -> Float[Tensor, "axes"]:
    """E ‖x − x'‖², by axis, of images x' drawn from p(x | u): exactly twice the least MSE (Blau and
    Michaeli 2018; here for x ~ N(0, diag λ) and latents u = encoder · x + √variance · ε).

        MMSE = Var[x | u] = λ variance / (λ encoder² + variance)        E ‖x − x'‖² = 2 MMSE

    Given u, x and x' are two independent draws of one law, so the variance counts once for each.
    Such draws are distributed like the data themselves; the best mean E[x | u] is not: an axis that
    tells nothing of x becomes 0 in it, which is blur. With the encoder of `linear_vae` the MMSE is
    its mse.

    Args:
        eigenvalues: λ, 0 or more.
        encoder: the coefficient of each axis, any numbers.
        variance: of the latents given x, by axis, positive.
    Raises:
        ValueError: if an eigenvalue is negative or not finite, the three differ in shape, an
            encoder is not finite or a variance not positive and finite.
    """
    lam, a, v = _spectrum(eigenvalues), real(encoder), real(variance)
    for value, name in ((a, "encoder"), (v, "variance")):
        if value.shape != lam.shape:
            shapes = f"{tuple(lam.shape)}, got {tuple(value.shape)}"
            raise ValueError(f"{name} must be shaped like eigenvalues, {shapes}")
    if not a.isfinite().all():
        raise ValueError(f"encoder must be finite, got {encoder}")
    if not ((v > 0) & v.isfinite()).all():
        raise ValueError(f"variance must be positive and finite, got {variance}")
    return 2 * lam * v / (lam * a.square() + v)


def _spectrum(eigenvalues: Float[Tensor, "axes"]) -> Tensor:
    lam = real(eigenvalues)
    if lam.dim() != 1 or not lam.isfinite().all() or (lam < 0).any():
        raise ValueError(f"eigenvalues must be (axes,), finite and at least 0, got {eigenvalues}")
    return lam
