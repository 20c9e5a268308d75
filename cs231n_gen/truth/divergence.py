"""What the perfect discriminator answers, and how far apart two densities are (slides 26–29)."""

import math
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from cs231n_gen.truth.average import expect
from cs231n_gen.truth.mixture import GaussianMixture


class Density(Protocol):
    """Anything that knows its log-density: a `GaussianMixture`, or what a reader writes."""

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) in nats."""


def optimal_discriminator(
    p: Density, q: Density, x: Float[Tensor, "*batch dim"]
) -> Float[Tensor, "*batch"]:
    """The perfect answer to "is x from p (data) or from q (generator)?" (slides 26–29).

        D*(x) = p(x) / (p(x) + q(x)) = sigmoid(log p(x) − log q(x))

    From log-densities, so that it is right where both densities are too small for a float.

    Args:
        p, q: two densities over the same x.
        x: where to ask.
    Returns:
        Probabilities of p; ½ where both densities are 0, which no draw from either ever meets.
    """
    log_p, log_q = p.log_density(x), q.log_density(x)
    nowhere = (log_p == -math.inf) & (log_q == -math.inf)
    return (log_p - log_q).masked_fill(nowhere, 0.0).sigmoid()


def jensen_shannon(
    p: Density,
    q: Density,
    points: Float[Tensor, "*counts dim"] | None = None,
    cell: float | None = None,
) -> Float[Tensor, ""]:
    """The Jensen–Shannon divergence, how well p and q can be told apart (slides 26–29).

        JSD(p, q) = ½ KL(p ‖ m) + ½ KL(q ‖ m) = E_m[log 2 − H(D*(x))],    m = (p + q) / 2

    H is the entropy of a coin, in nats: what doubt D* is left with. For two mixtures the average
    is that of `average.expect`; for other densities, a sum over the points of a grid.

    Args:
        p, q: two Gaussian mixtures, or any two densities if points are given.
        points: a regular grid that covers p and q.
        cell: the length, area or volume that belongs to each of its points.
    Returns:
        Nats from 0 (p = q) to log 2 (no x is possible under both).
    Raises:
        ValueError: if two mixtures differ in dim, or other densities come without points and cell.
    """

    def certainty(x: Tensor) -> Tensor:
        D = optimal_discriminator(p, q, x)
        return math.log(2) - torch.special.entr(D) - torch.special.entr(1 - D)

    if points is not None and cell is not None:
        middle = (p.log_density(points).exp() + q.log_density(points).exp()) / 2
        value = (middle * certainty(points)).sum() * cell
    elif isinstance(p, GaussianMixture) and isinstance(q, GaussianMixture):
        value = expect(_middle(p, q), certainty).value
    else:
        raise ValueError("points and cell are needed for densities that are not mixtures")
    return value.clamp(0, math.log(2))


def _middle(p: GaussianMixture, q: GaussianMixture) -> GaussianMixture:
    if p.dim != q.dim:
        raise ValueError(f"p and q must have the same dim, got {p.dim} and {q.dim}")
    weights, means, covs = (
        torch.cat([getattr(p, name), getattr(q, name)]) for name in ("weights", "means", "covs")
    )
    return GaussianMixture(weights, means, covs)
