"""A linear VAE trained on garments, beside the theory of floods. Given.

Garments are turned into the axes of their principal components, which is a rotation: squared
errors stay what they are. A linear encoder and decoder are trained by `latent.vae_loss` at several
water levels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cs231n_gen import latent
from cs231n_gen.truth import linear_vae

LEVELS = (1.0, 3.0, 10.0)  # θ, in squared pixels
AXES = 10  # principal components that are kept
STEPS = 2000  # of L-BFGS, at most


@dataclass(frozen=True)
class LinearVAETrial:
    """What was trained, and the theory, axis by axis.

    thetas: the water levels.
    eigenvalues: λ of the garments, on the axes that were kept.
    mse, kl: of the trained VAE, in squared pixels and in nats, by latent and axis.
    true_mse, true_kl: by `truth.linear_vae`.
    """

    thetas: list[float]
    eigenvalues: Float[Tensor, "axes"]
    mse: Float[Tensor, "levels axes"]
    kl: Float[Tensor, "levels latents"]
    true_mse: Float[Tensor, "levels axes"]
    true_kl: Float[Tensor, "levels axes"]

    def table(self) -> str:
        """All sums, as text."""
        lines = [
            f"{'θ':>8}{'above water':>13}{'MSE':>10}{'Σ min(λ, θ)':>14}{'KL':>10}{'theory':>10}"
        ]
        for i, theta in enumerate(self.thetas):
            above = int((self.eigenvalues > theta).sum())
            mse, kl = self.mse[i].sum(), self.kl[i].sum()
            lines.append(
                f"{theta:>8g}{above:>13}{mse:>10.4f}{self.true_mse[i].sum():>14.4f}"
                f"{kl:>10.4f}{self.true_kl[i].sum():>10.4f}"
            )
        return "\n".join(lines)


def run(
    x: Float[Tensor, "n *shape"],
    thetas: Sequence[float] = LEVELS,
    *,
    axes: int = AXES,
    steps: int = STEPS,
    seed: int = 0,
) -> LinearVAETrial:
    """Train a linear VAE at each water level, on the largest principal components of images.

    Data and draws stand for their second moments, exactly: a quadratic loss depends on no more. So
    there is no noise in the gradient, and the minimum is reached to many digits.

    Args:
        x: images.
        thetas: water levels, each positive.
        axes: how many components are kept, and how many latents there are.
        steps: of L-BFGS, at most.
        seed: of the first weights.
    """
    flat = x.flatten(1).double()
    lam = torch.linalg.eigvalsh(flat.T.cov(correction=0)).flip(0)[:axes].clamp(min=0)
    mse, kl = zip(*(_train(lam, theta, steps, seed) for theta in thetas), strict=True)
    true = [linear_vae(lam, theta) for theta in thetas]
    return LinearVAETrial(
        thetas=list(thetas),
        eigenvalues=lam,
        mse=torch.stack(mse),
        kl=torch.stack(kl),
        true_mse=torch.stack([of.mse for of in true]),
        true_kl=torch.stack([of.kl for of in true]),
    )


def _train(lam: Tensor, theta: float, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    k, g = len(lam), torch.Generator().manual_seed(seed)
    x = torch.diag((2 * k * lam).sqrt())
    x = torch.cat([x, -x]) / math.sqrt(2)  # mean 0, covariance diag λ
    shapes = [(k, k), (k,), (k, k)]
    weights = [0.3 * torch.randn(s, generator=g, dtype=torch.float64) for s in shapes]
    encoder, log_var, decoder = weights = [w.requires_grad_() for w in weights]
    # each point with draws whose mean is 0 and covariance the identity
    draws = math.sqrt(k) * torch.eye(k, dtype=torch.float64)
    draws = torch.cat([draws, -draws]).repeat(len(x), 1)
    each = x.repeat_interleave(2 * k, dim=0)

    def through() -> tuple[Tensor, Tensor, Tensor]:
        mean = each @ encoder.T
        u = mean + (0.5 * log_var).exp() * draws
        return u @ decoder.T, mean, log_var.expand_as(mean)

    optimizer = torch.optim.LBFGS(
        weights,
        max_iter=steps,
        max_eval=2 * steps,
        tolerance_grad=1e-10,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        L = latent.vae_loss(each, *through(), theta)
        L.backward()
        return L

    optimizer.step(closure)
    with torch.no_grad():
        x_hat, mean, log_var = through()
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean(0)
        return (x_hat - each).square().mean(0), kl
