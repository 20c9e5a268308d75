"""Samplers for every diffusion (slides 116–118): DDIM, the ancestral step, the reversed SDE, more.

A step goes from level t to level s < t with one prediction of a network. `sample` walks with any
of them; `sample_heun` and `sample_multistep` are of second order.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from cs231n_gen.diffusion import (
    Process,
    Target,
    check_levels,
    column,
    ode_velocity,
    to_x_and_noise,
)
from cs231n_gen.flow import Model, levels_of

Levels = Sequence[float] | Float[Tensor, "levels"]


def ddim_step(
    prediction: Float[Tensor, "batch *shape"],
    x_t: Float[Tensor, "batch *shape"],
    t: Float[Tensor, "batch"],
    s: Float[Tensor, "batch"],
    process: Process,
    target: Target,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch *shape"]:
    """From level t to level s by the predicted data and noise (slide 116; Song et al. 2021, DDIM).

        x_s = a_s x̂ + √(b_s² − σ²) ẑ + σ ε,    ε ~ N(0, I)
        σ = η (b_s / b_t) √(b_t² − (a_t / a_s)² b_s²)

    η = 0 is DDIM: nothing is drawn. η = 1 is DDPM's ancestral step: x_s is drawn from
    q(x_s | x_t, x = x̂). Either way a step to b_s = 0 ends at x̂ scaled by a_s, without noise.

    Args:
        prediction: y, what the model returned at x_t.
        x_t: noisy examples.
        t: their levels, one for each.
        s: the levels to go to, one for each, below t.
        process: a and b.
        target: c and d.
        eta: η, from 0 to 1.
        generator: for ε.
    Returns:
        x_s, shaped like x_t and in its precision. Gradients pass through.
    Raises:
        ValueError: as `diffusion.to_x_and_noise`; if a level s is not below its t, or eta is not
            from 0 to 1.
    """
    check_step(x_t, t, s)
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be from 0 to 1, got {eta}")
    ### BEGIN SOLUTION
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    a_t, b_t, a_s, b_s = (column(v, x_t) for v in _both(process, t, s))
    if eta == 0:
        return a_s * x + b_s * z
    sigma = eta * b_s / b_t * (b_t**2 - (a_t / a_s) ** 2 * b_s**2).clamp(min=0).sqrt()
    noise = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype, device=x_t.device)
    return a_s * x + (b_s**2 - sigma**2).clamp(min=0).sqrt() * z + sigma * noise
    ### END SOLUTION


def reverse_sde_step(
    prediction: Float[Tensor, "batch *shape"],
    x_t: Float[Tensor, "batch *shape"],
    t: Float[Tensor, "batch"],
    s: Float[Tensor, "batch"],
    process: Process,
    target: Target,
    churn: float = 1.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch *shape"]:
    """One Euler–Maruyama step of the time-reversed SDE, from t to s (slide 118; Anderson 1982).

        x_s = x_t − h (f x_t − ½ (1 + χ) g² s(x_t, t)) + √(χ g² h) ε,    h = t − s,  ε ~ N(0, I)
            = x_t − h (a′ x̂ + b′ ẑ + χ (b′ − f b) ẑ) + √(χ g² h) ε

    with f = a′ / a and g² = 2 b b′ − 2 f b² = 2 b (b′ − f b). The churn χ says how much noise is
    taken away and put back: χ = 1 reverses dx = f x dt + g dw, χ = 0 is an Euler step of the
    probability flow ODE and draws nothing. Every χ keeps the densities p_t as the steps get short.

    Where a = 0, as for rectified flow at t = 1, f and g² = 2 t / (1 − t) are infinite: there an
    example takes the step of χ = 0, without noise.

    Args:
        prediction: y, what the model returned at x_t.
        x_t: noisy examples.
        t: their levels, one for each.
        s: the levels to go to, one for each, below t.
        process: a and b, with derivatives that are finite at t.
        target: c and d.
        churn: χ, at least 0.
        generator: for ε.
    Returns:
        x_s, shaped like x_t and in its precision. Gradients pass through.
    Raises:
        ValueError: as `diffusion.to_x_and_noise`; if a level s is not below its t, or churn is
            below 0.
    """
    check_step(x_t, t, s)
    if not churn >= 0:
        raise ValueError(f"churn must be at least 0, got {churn}")
    ### BEGIN SOLUTION
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    a, b, da, db = process.a(t), process.b(t), process.da(t), process.db(t)
    finite = a != 0
    spread = torch.where(finite, db - da * b / torch.where(finite, a, 1.0), 0.0)  # g² / 2b
    da, db, extra, h = (column(v, x_t) for v in (da, db, churn * spread, t - s))
    x_s = x_t - h * (da * x + (db + extra) * z)
    if churn == 0:
        return x_s
    noise = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype, device=x_t.device)
    return x_s + (2 * column(b, x_t) * extra * h).sqrt() * noise
    ### END SOLUTION


Step = Callable[..., Tensor]


@torch.no_grad()
def sample(
    model: Model,
    z: Float[Tensor, "batch *shape"],
    times: Levels,
    process: Process,
    target: Target,
    step: Step = ddim_step,
    y: Tensor | None = None,
    **options,
) -> Float[Tensor, "batch *shape"]:
    """Walk from noise to data, a step for each gap between levels. Given.

        x ← b(t_0) z;   for i = 0, …, T − 1:   x ← step(f_θ(x, t_i), x, t_i, t_{i+1})

    Args:
        model: called T times, as `model(x, t)`, or `model(x, t, y)` when y is given.
        z: noise to start from. It is not changed.
        times: T + 1 levels, falling within [0, 1].
        process, target: what the model was trained for.
        step: `ddim_step` or `reverse_sde_step`.
        y: conditions, one for each example, or None.
        options: of the step: `eta`, `churn`, `generator`.
    Returns:
        The samples, shaped like z and in its precision.
    Raises:
        ValueError: if times do not fall within [0, 1].
    """
    levels = [_level(t, z) for t in falling(times)]
    x = column(process.b(levels[0]), z) * z
    for t, s in pairwise(levels):
        x = step(_ask(model, x, t, y), x, t, s, process, target, **options)
    return x


@torch.no_grad()
def sample_heun(
    model: Model,
    z: Float[Tensor, "batch *shape"],
    times: Levels,
    process: Process,
    target: Target,
    y: Tensor | None = None,
) -> Float[Tensor, "batch *shape"]:
    """Heun's method on the probability flow ODE (Karras et al. 2022, algorithm 1). Given.

    Two calls of the model a step, but one where the step ends without noise (b = 0): that one is
    Euler's, since some targets cannot be asked there.

    Args, Returns and Raises are those of `sample`.
    """
    levels = [_level(t, z) for t in falling(times)]
    x = column(process.b(levels[0]), z) * z
    for t, s in pairwise(levels):
        h = column(t - s, z)
        v = ode_velocity(_ask(model, x, t, y), x, t, process, target)
        x_s = x - h * v
        if bool((process.b(s) > 0).all()):
            v_s = ode_velocity(_ask(model, x_s, s, y), x_s, s, process, target)
            x_s = x - h * (v + v_s) / 2
        x = x_s
    return x


@torch.no_grad()
def sample_multistep(
    model: Model,
    z: Float[Tensor, "batch *shape"],
    times: Levels,
    process: Process,
    target: Target,
    y: Tensor | None = None,
) -> Float[Tensor, "batch *shape"]:
    """DPM-Solver++(2M): second order at one call a step, by the step before. Given.

    With λ = log(a / b) and h = λ_s − λ_t, x̂ is extrapolated to the middle of the step (Lu et al.
    2022, algorithm 2):

        D = x̂_t + h / (2 h_before) (x̂_t − x̂_before)
        x_s = (b_s / b_t) x_t + a_s (1 − e^(−h)) D

    The first step, and one to b = 0, take D = x̂_t, which is DDIM.

    Args, Returns and Raises are those of `sample`.
    """
    levels = [_level(t, z) for t in falling(times)]
    x = column(process.b(levels[0]), z) * z
    before, h_before = None, math.inf
    for t, s in pairwise(levels):
        a_t, b_t, a_s, b_s = (float(v[0]) for v in _both(process, t, s))
        x_hat, _ = to_x_and_noise(_ask(model, x, t, y), x, t, process, target)
        shrink = a_t * b_s / (a_s * b_t)  # e^(−h)
        h = -math.log(shrink) if shrink > 0 else math.inf
        D = x_hat
        if before is not None and math.isfinite(h):
            D = x_hat + h / (2 * h_before) * (x_hat - before)
        x = b_s / b_t * x + a_s * (1 - shrink) * D
        before, h_before = x_hat, h
    return x


def falling(times: Levels) -> list[float]:
    """The levels of a walk as numbers. Given.

    Raises:
        ValueError: unless there are at least 2, falling within [0, 1].
    """
    return levels_of(max(1, len(times) - 1), times)


def check_step(x_t: Tensor, t: Tensor, s: Tensor) -> None:
    """Refuse a step that does not go down from t to s. Given.

    Raises:
        ValueError: unless t and s are one level for each example, s below t.
    """
    check_levels(x_t, t)
    if s.shape != t.shape or not bool((s < t).all()):
        raise ValueError(
            f"s must hold one level below t for each example, got s = {s.tolist()} "
            f"for t = {t.tolist()}"
        )


def _both(process: Process, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return process.a(t), process.b(t), process.a(s), process.b(s)


def _level(t: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=x.dtype, device=x.device)


def _ask(model: Model, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
    return model(x, t) if y is None else model(x, t, y)
