"""Diffusion processes on the line in numpy, for still pictures: what js/math/processes.mjs does."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from cs231n_gen.viz.line_mixtures import LineMixture

SIGMAS = (0.02, 5.0)  # b / a at both ends of variance exploding, and of steps even in log(b / a)
BETAS = (0.1, 20.0)  # of DDPM's linear β
HALVINGS = 60
QUARTER = math.pi / 2
Place = tuple[float, float]
"""a and b."""
Process = Callable[[float], Place]
"""a and b at level t."""


def _linear_beta(t: float) -> Place:
    log_sigma = -BETAS[0] * t - (BETAS[1] - BETAS[0]) / 2 * t**2
    return math.exp(log_sigma / 2), math.sqrt(-math.expm1(log_sigma))


PROCESSES: dict[str, Process] = {
    "rectified_flow": lambda t: (1 - t, t),
    "cosine": lambda t: (math.sin(QUARTER * (1 - t)), math.sin(QUARTER * t)),
    "variance_preserving": _linear_beta,
    "variance_exploding": lambda t: (1.0, SIGMAS[0] * (SIGMAS[1] / SIGMAS[0]) ** t),
}
CURVES = (*PROCESSES, "own")
SPACINGS = ("log", "t")


def process_of(curve: str, middle: Sequence[float]) -> Process:
    """A process by its name; "own" is the parabola from (1, 0) to (0, 1) through `middle`."""
    if curve != "own":
        return PROCESSES[curve]
    a, b = (2 * v - 0.5 for v in middle)
    return lambda t: (
        (1 - t) ** 2 + 2 * t * (1 - t) * a,
        t**2 + 2 * t * (1 - t) * b,
    )


def level_of(process: Process, sigma: float) -> float:
    """The level at which b / a is sigma, or the nearer end, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        a, b = process(middle := (low + high) / 2)
        low, high = (low, middle) if b >= a * sigma else (middle, high)
    a, b = process(0.0)
    return 0.0 if b >= a * sigma else high


def levels_of(process: Process, steps: int, spacing: str) -> list[float]:
    """T + 1 levels from noise to data: even in t, or in log(b / a) from 5 to 0.02."""
    if spacing == "t":
        return [(steps - i) / steps for i in range(steps + 1)]
    low, high = SIGMAS
    sigmas = [high * (low / high) ** (i / steps) for i in range(steps + 1)]
    return [level_of(process, sigma) for sigma in sigmas]


def marginal(mixture: LineMixture, place: Place) -> LineMixture:
    """The density of x_t = a x + b z: weights, means and standard deviations."""
    (weights, means, stds), (a, b) = map(np.asarray, mixture), place
    return weights, a * means, np.hypot(a * stds, b)


def quantiles(mixture: LineMixture, shares: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """The numbers below which these shares of a mixture lie, by bisection."""
    weights, means, stds = map(np.asarray, mixture)
    n = np.array([NormalDist().inv_cdf(q) for q in shares])[:, None]
    low, high = (means + n * stds).min(1), (means + n * stds).max(1)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        over = ndtr((middle[:, None] - means) / stds) @ weights > shares
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return (low + high) / 2


def data_behind(
    mixture: LineMixture, x_t: Float[np.ndarray, "n"], place: Place
) -> Float[np.ndarray, "n"]:
    """E[x | x_t]: see truth/bayes.py."""
    (weights, means, stds), (a, b) = map(np.asarray, mixture), place
    spreads = (a * stds) ** 2 + b**2
    off = x_t[:, None] - a * means  # (n, K)
    far = off**2 / spreads
    p = weights / np.sqrt(spreads) * np.exp((far.min(1, keepdims=True) - far) / 2)
    return (p * (means + a * stds**2 / spreads * off)).sum(1) / p.sum(1)


def walk_along(
    mixture: LineMixture,
    places: Sequence[Place],
    start: Float[np.ndarray, "n"],
    eta: float,
    noise: Float[np.ndarray, "steps n"],
) -> Float[np.ndarray, "levels n"]:
    """From place to place by x̂ = E[x | x_t], as `ddim_step` (slide 116)."""
    walk = [start]
    for ((a_t, b_t), (a_s, b_s)), drawn in zip(pairwise(places), noise, strict=True):
        x = data_behind(mixture, walk[-1], (a_t, b_t))
        z = (walk[-1] - a_t * x) / b_t
        sigma = eta * b_s / b_t * math.sqrt(max(0.0, b_t**2 - (a_t / a_s * b_s) ** 2))
        walk.append(a_s * x + math.sqrt(max(0.0, b_s**2 - sigma**2)) * z + sigma * drawn)
    return np.array(walk)
