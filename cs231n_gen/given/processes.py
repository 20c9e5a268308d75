"""Diffusion processes and targets as data (slides 109–115): functions of the level t. Given.

A process mixes data and noise, x_t = a(t) x + b(t) z; a target says what a network is asked for,
y = c(t) x + d(t) z. Every process here goes from data at t = 0 to noise at t = 1, and b / a rises
on the way.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Schedule = Callable[[Float[Tensor, "*levels"]], Float[Tensor, "*levels"]]
BITS = 64  # of a level: two neighbours in float64 are further apart
FEW = 512  # levels for which calls take longer than numbers


@dataclass(frozen=True)
class Process:
    """How noise replaces data: x_t = a(t) x + b(t) z (slide 109).

    Args:
        a, b: functions of t, at least 0 and never both 0: a tensor of levels in, one like it out.
        da, db: their derivatives a′ and b′, likewise. They may be infinite at an end.
    """

    a: Schedule
    b: Schedule
    da: Schedule
    db: Schedule


@dataclass(frozen=True)
class Target:
    """What a network is asked for: y = c(t) x + d(t) z (slides 109, 115).

    Args:
        c, d: functions of t: a tensor of levels in, one like it out.
    """

    c: Schedule
    d: Schedule


KINDS = {"Process": Process, "Target": Target}  # what a test passes to a submission, by its fields

X = Target(torch.ones_like, torch.zeros_like)
"""x-prediction, y = x (slide 115)."""

NOISE = Target(torch.zeros_like, torch.ones_like)
"""ε-prediction, y = z (slide 115)."""


def velocity(process: Process) -> Target:
    """The velocity of x_t along t: y = a′(t) x + b′(t) z, which is z − x for rectified flow."""
    return Target(process.da, process.db)


def angular(process: Process) -> Target:
    """v-prediction: y = a z − b x (Salimans and Ho 2022; slide 115, see the errata).

    If a² + b² = 1 it is the derivative of x_t by the angle arctan(b / a).
    """
    return Target(lambda t: -process.b(t), process.a)


def preconditioned(process: Process, sigma_data: float = 0.5) -> Target:
    """EDM's target, for a process with a = 1 and b = σ (Karras et al. 2022, table 1).

        c = σ / (σ_d r),   d = −σ_d / r,   r = √(σ² + σ_d²)

    of unit variance for data of standard deviation σ_d, so x̂ = (σ_d² / r²) x_t + (σ σ_d / r) y.
    """

    def root(t):
        return (process.b(t) ** 2 + sigma_data**2).sqrt()

    return Target(lambda t: process.b(t) / (sigma_data * root(t)), lambda t: -sigma_data / root(t))


def trigflow(sigma_data: float = 1.0) -> tuple[Process, Target]:
    """TrigFlow, a = cos θ and b = σ_d sin θ with θ = π t / 2, and its target (Lu and Song 2025).

    y = cos θ z − sin θ x / σ_d = (1 / σ_d) dx_t/dθ,    x̂ = cos θ x_t − σ_d sin θ y
    """
    unit = cosine()
    process = Process(
        a=unit.a,
        b=lambda t: sigma_data * unit.b(t),
        da=unit.da,
        db=lambda t: sigma_data * unit.db(t),
    )
    return process, Target(lambda t: -unit.b(t) / sigma_data, unit.a)


def rectified_flow() -> Process:
    """x_t = (1 − t) x + t z (slide 110)."""
    return Process(
        a=lambda t: 1 - t,
        b=lambda t: t,
        da=lambda t: -torch.ones_like(t),
        db=torch.ones_like,
    )


def variance_preserving(
    sigma: Schedule | None = None, *, beta_min: float = 0.1, beta_max: float = 20.0
) -> Process:
    """a = √σ(t), b = √(1 − σ(t)), so that a² + b² = 1 (slide 112).

    Without `sigma` it is DDPM's linear β in continuous time (Ho et al. 2020; Song et al. 2021):

        β(t) = β_min + (β_max − β_min) t,    σ(t) = exp(−∫₀ᵗ β)

    σ(1) is then 4e-5, not 0: a little of the data is left.

    Args:
        sigma: σ, the share of the variance of x_t that is signal: differentiable, falls from 1 at
            t = 0 and stays above 0. It is a variance, unlike σ(t) of `variance_exploding`.
        beta_min, beta_max: of DDPM: its N β's, times N.
    """
    if sigma is not None:
        return _of_share(sigma)

    def log_sigma(t):
        return -beta_min * t - (beta_max - beta_min) / 2 * t**2

    def a(t):
        return (log_sigma(t) / 2).exp()

    def b(t):
        return (-torch.expm1(log_sigma(t))).sqrt()  # exact near t = 0, where 1 − σ is not

    def beta(t):
        return beta_min + (beta_max - beta_min) * t

    return Process(
        a=a,
        b=b,
        da=lambda t: -beta(t) / 2 * a(t),
        db=lambda t: beta(t) / 2 * a(t) ** 2 / b(t),
    )


def cosine() -> Process:
    """a = cos(π t / 2), b = sin(π t / 2): variance preserving at constant angular speed (Nichol and
    Dhariwal 2021, without their offset)."""
    quarter = math.pi / 2
    return Process(
        a=lambda t: (quarter * (1 - t)).sin(),  # exactly 0 at t = 1
        b=lambda t: (quarter * t).sin(),
        da=lambda t: -quarter * (quarter * t).sin(),
        db=lambda t: quarter * (quarter * (1 - t)).sin(),
    )


def variance_exploding(sigma_min: float = 0.01, sigma_max: float = 50.0) -> Process:
    """a = 1, b = σ(t) = σ_min (σ_max / σ_min)ᵗ (slide 113; Song et al. 2021).

    σ(t) is a standard deviation of the noise. At t = 0 some noise is left, at t = 1 some signal.

    Raises:
        ValueError: if not 0 < sigma_min < sigma_max.
    """
    if not 0 < sigma_min < sigma_max:
        raise ValueError(
            f"expected 0 < sigma_min < sigma_max, got sigma_min = {sigma_min} and "
            f"sigma_max = {sigma_max}"
        )
    speed = math.log(sigma_max / sigma_min)

    def sigma(t):
        return sigma_min * (speed * t).exp()

    return Process(a=torch.ones_like, b=sigma, da=torch.zeros_like, db=lambda t: speed * sigma(t))


def edm(sigma_max: float = 80.0) -> Process:
    """a = 1, b = σ_max t: variance exploding with the noise itself as time (Karras et al. 2022).

    EDM's σ is σ_max t.

    Raises:
        ValueError: if sigma_max is not positive.
    """
    if not sigma_max > 0:
        raise ValueError(f"sigma_max must be positive, got {sigma_max}")
    return Process(
        a=torch.ones_like,
        b=lambda t: sigma_max * t,
        da=torch.zeros_like,
        db=lambda t: sigma_max * torch.ones_like(t),
    )


def level_of(
    process: Process, a: Float[Tensor, "*levels"], b: Float[Tensor, "*levels"]
) -> Float[Tensor, "*levels"]:
    """The level t of a process at which b(t) / a(t) = b / a, by search in ever smaller parts.

    Args:
        process: its b / a rises with t.
        a, b: at least 0 and never both 0, so that a = 0 asks for pure noise.
    Returns:
        t in [0, 1] and in the precision of a; where the process never gets there, its nearer end.
    """
    a, b, dtype = a.double()[..., None], b.double()[..., None], a.dtype
    parts, rounds = (16, BITS // 4) if a.numel() <= FEW else (2, BITS)
    between = torch.arange(1.0, parts, dtype=torch.float64, device=a.device)
    low, width = torch.zeros_like(a), 1.0
    for _ in range(rounds):
        width /= parts
        t = low + width * between  # (*levels, parts − 1)
        noisier = process.b(t) * a > process.a(t) * b
        low = low + width * (~noisier).sum(-1, keepdim=True)
    start = torch.zeros_like(low)
    at_data = process.b(start) * a >= process.a(start) * b
    return low.masked_fill(at_data, 0.0)[..., 0].to(dtype)


def even_in_t(steps: int, first: float = 1.0, last: float = 0.0) -> list[float]:
    """T + 1 levels evenly spaced from `first` down to `last`, both included."""
    return [(first * (steps - i) + last * i) / steps for i in range(steps + 1)]


def denser_near_data(steps: int, power: float = 1.5) -> list[float]:
    """T + 1 levels from 1 down to 0, closer to each other near the data: t_i = (1 − i / T)^power.

    A sampler of second order takes its last step, to b = 0, as one of first order. With power 1.5
    that step is T^(−1.5) long and its error falls as T^(−3), like those of the other steps; with
    levels evenly spaced it falls as T^(−2).

    Args:
        steps: T, at least 1.
        power: at least 1, which is `even_in_t`.
    """
    return [(1 - i / steps) ** power for i in range(steps + 1)]


def even_in_log_snr(process: Process, steps: int, log_snr: tuple[float, float]) -> list[float]:
    """T + 1 levels whose log-SNR, 2 log(a / b), is evenly spaced.

    Args:
        process: whose levels.
        steps: T, at least 1.
        log_snr: the lowest (noisiest) and the highest. The levels come in this order, so t falls.
    Raises:
        ValueError: if the process does not reach one of them.
    """
    lowest, highest = log_snr
    sigmas = [math.exp(-(lowest + (highest - lowest) * i / steps) / 2) for i in range(steps + 1)]
    return _levels_at(process, sigmas)


def karras(
    process: Process,
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
) -> list[float]:
    """T + 1 levels for EDM's noise levels b / a (Karras et al. 2022, eq. 5), the last one t = 0.

        σ_i = (σ_max^(1/ρ) + i / (T − 1) (σ_min^(1/ρ) − σ_max^(1/ρ)))^ρ,   i = 0, …, T − 1

    Args:
        process: whose levels.
        steps: T, at least 2.
        sigma_min, sigma_max: the smallest and the largest b / a.
        rho: ρ: the larger, the more levels near the data.
    Raises:
        ValueError: if the process does not reach one of them.
    """
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    sigmas = [(high + i / (steps - 1) * (low - high)) ** rho for i in range(steps)]
    return [*_levels_at(process, sigmas), 0.0]


def _levels_at(process: Process, sigmas: list[float]) -> list[float]:
    """The levels at which b / a has these values."""
    b = torch.tensor(sigmas, dtype=torch.float64)
    t = level_of(process, torch.ones_like(b), b)
    reached = process.b(t) / process.a(t)
    if not torch.allclose(reached, b, rtol=1e-4, atol=0.0):
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        least, most = (process.b(ends) / process.a(ends)).tolist()
        raise ValueError(
            f"b / a goes from {least:.4g} to {most:.4g} in this process, "
            f"asked for {min(sigmas):.4g} to {max(sigmas):.4g}"
        )
    return t.tolist()


def _of_share(sigma: Schedule) -> Process:
    """The slide's form: a and b from the share σ(t) of the signal."""

    def slope(t):
        with torch.enable_grad():
            leaf = t.detach().clone().requires_grad_()
            (found,) = torch.autograd.grad(sigma(leaf).sum(), leaf)
        return found

    def a(t):
        return sigma(t).sqrt()

    def b(t):
        return (1 - sigma(t)).sqrt()

    return Process(
        a=a, b=b, da=lambda t: slope(t) / (2 * a(t)), db=lambda t: -slope(t) / (2 * b(t))
    )
