"""Averages over a mixture: on a grid in one and two dimensions, over random points in more."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cs231n_gen.truth.density import MixtureDensity

# Steps of the grid and its margin, in standard deviations of the narrowest, and of each, component.
FINEST, COARSEST, MARGIN = 0.15, 0.5, 7.0
# Work is counted in points × components: the grid is made as fine as USUAL allows.
USUAL, MOST = 2**18, 2**24
CHUNK = 2**15  # so that what is worked on stays in the processor's cache


class Estimate(NamedTuple):
    """A number found by numerical means, and how far off it may be."""

    value: Tensor
    error: Tensor


def expect(mixture: MixtureDensity, f: Callable[[Tensor], Tensor]) -> Estimate:
    """E[f(x)] for x from a mixture.

    In one and two dimensions this is ∫ p(x) f(x) dx by the trapezoidal rule. For a smooth
    integrand that fades on every side its error falls as e^(−const/step). `error` is the change
    from a grid twice as coarse, so far more than the error itself.

    In more dimensions, and where even the coarsest grid that resolves the narrowest component
    would be too large, it is the mean over random points, always the same, drawn from every
    component and weighted by w. `error` is then one standard error.

    Args:
        mixture: what x is drawn from.
        f: called with points (n, dim), answers with n numbers.
    """
    step = _step(mixture) if mixture.dim <= 2 else None
    return _by_chance(mixture, f) if step is None else _by_grid(mixture, f, step)


def grid(
    low: Float[Tensor, "dim"], high: Float[Tensor, "dim"], step: float
) -> Float[Tensor, "*counts dim"]:
    """Points equally spaced in every direction, from low to at least high."""
    counts = ((high - low) / step).ceil().int() + 1
    indices = [torch.arange(n, dtype=torch.float64) for n in counts]
    axes = [start + step * i for start, i in zip(low, indices, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def _box(mixture: MixtureDensity) -> tuple[Tensor, Tensor]:
    margin = MARGIN * mixture.covs.diagonal(dim1=-2, dim2=-1).sqrt()
    return (mixture.means - margin).amin(0), (mixture.means + margin).amax(0)


def _step(mixture: MixtureDensity) -> float | None:
    """The step of the grid, or None if the grid would be too large."""
    low, high = _box(mixture)
    narrowest = mixture.axes.variances.min().sqrt()
    work = float(((high - low) / narrowest).prod()) * mixture.components  # at a step of 1
    if work / COARSEST**mixture.dim > MOST:
        return None
    step = (work / USUAL) ** (1 / mixture.dim)
    return float(narrowest) * min(max(step, FINEST), COARSEST)


def _by_grid(mixture, f, step: float) -> Estimate:
    points = grid(*_box(mixture), step)
    parts = points.flatten(0, -2).split(max(1, CHUNK // mixture.components))
    integrand = torch.cat([mixture.density(x) * f(x) for x in parts]).reshape(points.shape[:-1])
    every_other = integrand[(slice(None, None, 2),) * mixture.dim]
    value = integrand.sum() * step**mixture.dim
    return Estimate(value, (value - every_other.sum() * (2 * step) ** mixture.dim).abs())


def _by_chance(mixture, f) -> Estimate:
    K, D = mixture.components, mixture.dim
    n = max(32, min(2**16, 2**30 // (K * D**2)) // K)  # points from each component
    noise = torch.randn(n, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    total = torch.zeros(n, dtype=torch.float64)
    for k in range(K):
        x = mixture.means[k] + mixture.axes.from_noise(noise, k)
        values = torch.cat([f(part) for part in x.split(max(1, CHUNK // (K * D)))])
        total += mixture.weights[k] * values
    return Estimate(total.mean(), total.std() / math.sqrt(n))
