"""Distances between two sets of samples."""

import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def energy_distance(
    x: Float[Tensor, "n dim"], y: Float[Tensor, "m dim"], biased: bool = False
) -> Float[Tensor, ""]:
    """The energy distance of the distributions that two samples come from (Székely and Rizzo 2013).

        D² = 2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖     (in units of length; 0 only for equal
        distributions)

    Args:
        x, y: samples of any sizes of at least 2.
        biased: by default pairs of a point with itself are left out, so the estimate is right on
            average and may fall a little below 0. With True they count, and samples of one
            distribution get (1/n + 1/m) E‖X − X'‖ on average.
    Returns:
        D², in float64.
    Raises:
        ValueError: if the samples are not two sets of points of one dimension.
    """
    x, y = _two_samples(x, y)
    n, m = len(x), len(y)
    within_x, within_y = torch.cdist(x, x).sum(), torch.cdist(y, y).sum()
    pairs_x, pairs_y = (n * n, m * m) if biased else (n * (n - 1), m * (m - 1))
    return 2 * torch.cdist(x, y).mean() - within_x / pairs_x - within_y / pairs_y


def wasserstein(x: Float[Tensor, "n dim"], y: Float[Tensor, "n dim"], p: float = 2) -> float:
    """The exact Wasserstein distance between two samples of one size.

        W_p = (min over pairings of mean ‖x_i − y_π(i)‖^p)^(1/p)

    Solved as an assignment problem (scipy) in time that grows as n³: 2000 points take a second or
    two. Even two samples of one distribution are about n^(−1/dim) apart.

    Raises:
        ValueError: if the samples differ in shape, or p is less than 1.
    """
    x, y = _two_samples(x, y)
    if x.shape != y.shape:
        raise ValueError(f"samples must be of one size, got {len(x)} and {len(y)} points")
    if p < 1:
        raise ValueError(f"p must be at least 1, got {p}")
    cost = torch.cdist(x, y).pow(p).numpy()
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean() ** (1 / p))


def sliced_wasserstein(
    x: Float[Tensor, "n dim"],
    y: Float[Tensor, "n dim"],
    projections: int = 128,
    p: float = 2,
    generator: torch.Generator | None = None,
) -> float:
    """The Wasserstein distance of projections on random lines (Rabin et al. 2012), for many points.

        SW_p = (mean over directions θ of W_p(θ·x, θ·y)^p)^(1/p)

    On a line the best pairing is the sorted one.

    Raises:
        ValueError: if the samples differ in shape.
    """
    x, y = _two_samples(x, y)
    if x.shape != y.shape:
        raise ValueError(f"samples must be of one size, got {len(x)} and {len(y)} points")
    theta = torch.randn(x.shape[1], projections, generator=generator, dtype=torch.float64)
    theta = theta / theta.norm(dim=0)
    gaps = (x @ theta).sort(dim=0).values - (y @ theta).sort(dim=0).values
    return float(gaps.abs().pow(p).mean() ** (1 / p))


def frechet_distance(a: Float[Tensor, "n dim"], b: Float[Tensor, "m dim"]) -> float:
    """The Fréchet distance of Gaussians fitted to two samples (Heusel et al. 2017, on features of a
    network).

        d² = ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a^½ Σ_b Σ_a^½)^½)

    The covariances may be singular. Fewer samples give a larger distance, even between samples of
    one distribution, so compare only distances from equal sample sizes.

    Raises:
        ValueError: if the samples are not two sets of features of one dimension.
    """
    a, b = _two_samples(a, b)
    root = _root(a.T.cov())
    inner = torch.linalg.eigvalsh(root @ b.T.cov() @ root).clamp(min=0)
    spread = a.var(0).sum() + b.var(0).sum() - 2 * inner.sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + spread)


def _root(cov: Tensor) -> Tensor:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(cov)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _two_samples(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x, y = (torch.as_tensor(v).detach().double().cpu() for v in (x, y))
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            "samples must be at least 2 points each, of one dimension: "
            f"their shapes are {tuple(x.shape)} and {tuple(y.shape)}"
        )
    return x, y
