"""Mixtures of Gaussians on the line by their parameters: what figures take of them."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from cs231n_gen.viz.widget import short

STDS = (0.1, 3.0)  # of a component
LineMixture = tuple[Sequence[float], Sequence[float], Sequence[float]]
"""Weights, means and standard deviations, one of each for every component."""


def parameters(mixture: LineMixture, who: str, extent: float) -> list[list[float]]:
    """Weights, means and standard deviations as lists.

    Args:
        who: what the mixture is called where it is refused.
        extent: how far means may be from 0.
    Raises:
        ValueError: if they are no mixture, a mean is too far out, or an std is not within STDS.
    """
    parts = [np.asarray(part, dtype=float) for part in mixture]
    shapes = [part.shape for part in parts]
    if len(parts) != 3 or parts[0].ndim != 1 or not len(parts[0]) or len({*shapes}) > 1:
        raise ValueError(f"{who} must be weights, means and stds, (K,) each, got {shapes}")
    weights, means, stds = parts
    if not ((weights >= 0).all() and abs(weights.sum() - 1) < 1e-6):
        raise ValueError(f"weights of {who} must be shares that sum to 1, got {weights.tolist()}")
    if not (abs(means) <= extent).all():
        raise ValueError(f"means of {who} must be within ±{extent}, got {means.tolist()}")
    if not ((stds >= STDS[0]) & (stds <= STDS[1])).all():
        low, high = STDS
        raise ValueError(f"stds of {who} must be from {low} to {high}, got {stds.tolist()}")
    return [short(part) for part in parts]


def density(x: Float[np.ndarray, "n"], mixture: LineMixture) -> Float[np.ndarray, "n"]:
    """p(x) of a mixture."""
    weights, means, stds = map(np.asarray, mixture)
    bells = np.exp(-(((x[:, None] - means) / stds) ** 2) / 2)  # (n, K)
    return bells @ (weights / stds) / math.sqrt(2 * math.pi)
