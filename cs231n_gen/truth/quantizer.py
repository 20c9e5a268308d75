"""The best quantiser of one number: K codes with the least mean squared error (slides 120–121).

A codebook that learns by k-means or by running means ends, for one number of known density, at
codes that are known: each code is the mean of its cell, and each edge lies halfway between two
codes. `best_quantizer` finds them, for N(0, 1) or a mixture; `quantizer` says what any other codes
cost. `panter_dite` is the limit of many codes, `rate_distortion_bound` what no codes can beat.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import solve_banded
from torch import Tensor

from cs231n_gen.truth.checks import real
from cs231n_gen.truth.mixture import GaussianMixture

STANDARD = GaussianMixture.isotropic([[0.0]], 1.0)
MOST_CODES = 4096
MOST_STEPS = 200
NARROW = 1.0  # standard deviations: a cell on which a dozen nodes integrate to the last digit
NODES, WEIGHTS = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(12))
COURAGE = (1, 0.9999, 0.999, 0.99, 0.9, 0)  # of a step, from Newton's to Lloyd's
FINE = 4001  # points of the axis on which p^⅓ is integrated
COARSE = 600  # of them, among which the best cells are searched for the start
FAR = 9.0  # standard deviations that the axis covers, of p^⅓


@dataclass(frozen=True, eq=False)
class Quantizer:
    """K codes of one number and what they cost, exactly, in float64.

    codes: e_1 < … < e_K.
    edges: (e_k + e_{k+1}) / 2, between the cells of two neighbours; a number is nearest to the code
        of its cell.
    probabilities: of the cells.
    means: E[x | x in cell k]; where a cell has no probability in float64, its code.
    distortion: D = E (x − e_k)².
    """

    codes: Float[Tensor, "codes"]
    edges: Float[Tensor, "edges"]
    probabilities: Float[Tensor, "codes"]
    means: Float[Tensor, "codes"]
    distortion: float

    @property
    def bits(self) -> float:
        """The entropy of the codes, −Σ p_k log₂ p_k: what a code costs to store."""
        return float(torch.special.entr(self.probabilities).sum()) / math.log(2)

    @property
    def perplexity(self) -> float:
        """2^bits: how many codes would be as hard to guess, were all equally frequent."""
        return 2**self.bits


def best_quantizer(codes: int, density: GaussianMixture | None = None) -> Quantizer:
    """The K codes with the least mean squared error (Max 1960; Lloyd 1982).

        e_k = E[x | x in cell k]        edge_k = (e_k + e_{k+1}) / 2

    Both conditions together are necessary. For a log-concave density such as N(0, 1) they have one
    solution (Fleischer 1964), found by Newton's method on ∂D/∂e_k = 2 p_k (e_k − mean_k), damped
    towards Lloyd's steps where it must. A mixture may have several: the search then starts from the
    best cells among those with edges on a lattice as well, and keeps the better end. Each code then
    is the mean of its cell to about 1e-14.

        N(0, 1)    K = 2: ±√(2/π), D = 1 − 2/π    K = 4: ±.4528, ±1.5104, D = .11748
        N(0, 1)    K = 8: D = .03455, perplexity 7.085

    Since codes are means, quantised numbers have less spread by just what is lost:

        E[q] = E[x]        E[x²] − E[q²] = D

    Args:
        codes: K, from 1 to 4096.
        density: in one dimension; N(0, 1) if None.
    Raises:
        ValueError: if codes is no such number, or the density is not in one dimension.
    """
    if not isinstance(codes, int) or not 1 <= codes <= MOST_CODES:
        raise ValueError(f"codes must be a whole number from 1 to {MOST_CODES}, got {codes!r}")
    if density is None:
        return _best_of_normal(codes)
    _check_line(density)
    starts = [_compander(density, codes)]
    if len(density.weights) > 1 and 1 < codes <= COARSE // 8:
        starts.append(_best_on_lattice(density, codes))
    return min((_improved(s, density) for s in starts), key=lambda found: found.distortion)


def quantizer(codes: Float[Tensor, "codes"], density: GaussianMixture | None = None) -> Quantizer:
    """What any codes cost when each number gets the nearest of them: no draws, no error.

    Args:
        codes: different finite numbers in any order; they are sorted.
        density: in one dimension; N(0, 1) if None.
    Raises:
        ValueError: if codes are not such numbers, or the density is not in one dimension.
    """
    e = real(codes).sort().values if real(codes).dim() == 1 else real(codes)
    if e.dim() != 1 or not len(e) or not e.isfinite().all() or not (e.diff() > 0).all():
        raise ValueError(f"codes must be (codes,), finite and different, got {codes}")
    density = STANDARD if density is None else density
    _check_line(density)
    return _measured(e, density)


def panter_dite(codes: int, density: GaussianMixture | None = None) -> float:
    """What D comes near to with many codes (Panter and Dite 1951).

        D ≈ (∫ p(x)^⅓ dx)³ / (12 K²)        N(0, 1): √3 π / (2 K²)

    The density of the codes is then proportional to p^⅓, flatter than p itself. The best D lies
    below it for N(0, 1): by 6 % at K = 32, by .8 % at K = 256.

    Args:
        codes: K, at least 1.
        density: in one dimension; N(0, 1) if None.
    Raises:
        ValueError: if codes is less than 1, or the density is not in one dimension.
    """
    if not codes >= 1:
        raise ValueError(f"codes must be at least 1, got {codes}")
    if density is None:
        return math.sqrt(3) * math.pi / (2 * codes**2)
    _check_line(density)
    x, root = _cube_root(density)
    return float(torch.trapezoid(root, x)) ** 3 / (12 * codes**2)


def rate_distortion_bound(bits: float, variance: float = 1.0) -> float:
    """The least D of a Gaussian number for R bits a number (Shannon 1959; Cover and Thomas 2006,
    10.3.2).

        D ≥ σ² 2^(−2R)

    It holds for codes of any kind, also for many numbers at once. With R the entropy of the codes
    it bounds each `Quantizer` of N(0, σ²) from below.

    Args:
        bits: R, 0 or more.
        variance: σ², 0 or more.
    Raises:
        ValueError: if either is negative or NaN.
    """
    if not bits >= 0 or not variance >= 0:
        raise ValueError(f"bits and variance must be at least 0, got {bits} and {variance}")
    return variance * 2.0 ** (-2 * bits)


@lru_cache(maxsize=64)
def _best_of_normal(codes: int) -> Quantizer:
    middle = (torch.arange(codes, dtype=torch.float64) + 0.5) / codes
    start = math.sqrt(3) * torch.special.ndtri(middle)  # p^⅓ is N(0, 3) up to a factor
    found = _improved(start, STANDARD)
    return _measured((found.codes - found.codes.flip(0)) / 2, STANDARD)  # exactly symmetric


def _check_line(density: GaussianMixture) -> None:
    if density.dim != 1:
        raise ValueError(f"density must be in one dimension, got {density.dim}")


# --- cells --------------------------------------------------------------------------------------


def _measured(e: Tensor, density: GaussianMixture) -> Quantizer:
    edges = (e[1:] + e[:-1]) / 2
    p, first, cost = _moments(e, edges, density)
    means = torch.where(p > 0, e + first / p.clamp(min=torch.finfo(p.dtype).tiny), e)
    return Quantizer(e, edges, p, means, float(cost.sum()))


def _moments(e: Tensor, edges: Tensor, density: GaussianMixture) -> tuple[Tensor, Tensor, Tensor]:
    """∫ p, ∫ (x − e_k) p and ∫ (x − e_k)² p over each cell.

    For x = μ + σ u over α < u < β, with d = (e − μ) / σ and P = Φ(β) − Φ(α):

        ∫ (u − d) φ = φ(α) − φ(β) − d P
        ∫ (u − d)² φ = (1 + d²) P + α φ(α) − β φ(β) − 2 d (φ(α) − φ(β))

    In a narrow cell the digits of these cancel, so there the integrals are Gauss's sums.
    """
    mu, std = density.means[:, 0], density.covs[:, 0, 0].sqrt()
    inf = torch.full((1,), math.inf, dtype=torch.float64)
    bounds = (torch.cat([-inf, edges, inf])[:, None] - mu) / std  # (edges + 2, components)
    low, high = bounds[:-1], bounds[1:]
    d = (e[:, None] - mu) / std
    flipped = low > 0  # there Φ is near 1, and 1 − Φ has the digits
    P = _below(torch.where(flipped, -low, high)) - _below(torch.where(flipped, -high, low))
    height = torch.exp(-0.5 * bounds.square()) / math.sqrt(2 * math.pi)
    drop = height[:-1] - height[1:]
    slope = torch.where(bounds.isfinite(), bounds, 0.0) * height
    first = drop - d * P
    second = (1 + d.square()) * P + slope[:-1] - slope[1:] - 2 * d * drop
    width = high - low
    u = low[..., None] + width[..., None] * (NODES + 1) / 2  # (codes, components, nodes)
    mass = torch.exp(-0.5 * u.square()) * WEIGHTS * width[..., None] / math.sqrt(8 * math.pi)
    for total, power in ((P, 0), (first, 1), (second, 2)):
        sums = (mass * (u - d[..., None]) ** power).sum(-1)
        total.copy_(torch.where(width < NARROW, sums, total))
    w = density.weights
    return P @ w, first @ (w * std), second @ (w * std.square())


def _below(u: Tensor) -> Tensor:
    """Φ(u), also far below 0, where `torch.special.ndtr` loses its digits."""
    return torch.special.erfc(-u / math.sqrt(2)) / 2


# --- the search ---------------------------------------------------------------------------------


def _improved(e: Tensor, density: GaussianMixture) -> Quantizer:
    """Steps of Newton's, or as much of one as helps, until nothing does."""
    now = _measured(e, density)
    for _ in range(MOST_STEPS):
        for courage in COURAGE:
            step = _step(now, density, courage)
            if step is not None and ((now.codes + step).diff() > 0).all():
                tried = _measured(now.codes + step, density)
                if _is_better(tried, now):
                    now = tried
                    break
        else:
            break
    return now


def _is_better(new: Quantizer, old: Quantizer) -> bool:
    """By the distortion, or where its digits end by how far codes are from the means."""
    gain = 1 - new.distortion / old.distortion
    if abs(gain) > 1e-9:
        return gain > 0
    return bool((new.codes - new.means).abs().max() < (old.codes - old.means).abs().max())


def _step(q: Quantizer, density: GaussianMixture, courage: float) -> Tensor | None:
    """−H⁻¹ ∂D/∂e. A code shares an edge with its neighbours alone, so H has three diagonals:

        ∂²D/∂e_k² = 2 p_k − ½ Σ over both edges of gap · p(edge)
        ∂²D/∂e_k ∂e_{k+1} = −½ gap · p(edge)

    Courage scales what comes of the edges: with 1 the step is Newton's, with 0 it is Lloyd's, which
    leads each code to the mean of its cell and never does harm.
    """
    slope = 2 * q.probabilities * (q.codes - q.means)
    beside = courage * 0.5 * q.codes.diff() * density.density(q.edges[:, None])  # (edges,)
    none = torch.zeros(1, dtype=torch.float64)
    diagonal = 2 * q.probabilities - torch.cat([none, beside]) - torch.cat([beside, none])
    bands = torch.stack([torch.cat([none, -beside]), diagonal, torch.cat([-beside, none])])
    try:
        step = torch.from_numpy(solve_banded((1, 1), bands.numpy(), -slope.numpy()))
    except np.linalg.LinAlgError:  # singular
        return None
    return step if step.isfinite().all() else None


def _cube_root(density: GaussianMixture) -> tuple[Tensor, Tensor]:
    """Points that cover the mass of p^⅓, and its values there."""
    mu, std = density.means[:, 0], density.covs[:, 0, 0].sqrt()
    reach = math.sqrt(3) * FAR * std
    near = [m + r * torch.linspace(-1, 1, FINE).double() for m, r in zip(mu, reach, strict=True)]
    x = torch.cat(near).sort().values  # fine around each component, however narrow
    return x, torch.exp(density.log_density(x[:, None]) / 3)


def _quantiles_of_root(density: GaussianMixture, n: int) -> Tensor:
    x, root = _cube_root(density)
    grown = torch.cumulative_trapezoid(root, x)
    grown = torch.cat([torch.zeros(1).double(), grown]) / grown[-1]
    at = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    i = torch.searchsorted(grown, at).clamp(1, len(x) - 1)
    share = (at - grown[i - 1]) / (grown[i] - grown[i - 1])
    return x[i - 1] + share * (x[i] - x[i - 1])


def _compander(density: GaussianMixture, codes: int) -> Tensor:
    """Codes as dense as p^⅓, which is best for many of them."""
    return _quantiles_of_root(density, codes)


def _best_on_lattice(density: GaussianMixture, codes: int) -> Tensor:
    """The means of the best cells whose edges lie among a few hundred points: the shortest path
    from −∞ to ∞ in K cells, by dynamic programming (Bruce 1965)."""
    points = _quantiles_of_root(density, COARSE)
    p, first, second = _moments(torch.zeros(COARSE + 1).double(), points, density)
    none = torch.zeros(1, dtype=torch.float64)
    P, M, S = (torch.cat([none, v.cumsum(0)]) for v in (p, first, second))
    mass, moment, power = (v[None, :] - v[:, None] for v in (P, M, S))  # cells (from, to)
    upper = torch.ones_like(mass, dtype=torch.bool).triu(1)
    cost = (power - moment.square() / mass.clamp(min=1e-300)).masked_fill(~upper, math.inf)
    best, ways = cost[0], []
    for _ in range(codes - 1):
        best, way = (best[:, None] + cost).min(0)
        ways.append(way)
    ends = [COARSE + 1]
    for way in reversed(ways):
        ends.append(int(way[ends[-1]]))
    ends = [0, *reversed(ends)]
    return torch.stack([moment[a, b] / mass[a, b] for a, b in pairwise(ends)])
