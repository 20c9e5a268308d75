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
    check_alike,
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
    q(x_s | x_t, x = x̂). Either way a step to b_s = 0 ends at x̂ scaled by a_s, without noise. Where
    rounding leaves less than 0 under a root, 0 is meant.

    Args:
        prediction: y, what the model returned at x_t.
        x_t: noisy examples.
        t: their levels, one for each.
        s: the levels to go to, one for each, below t.
        process: a and b.
        target: c and d.
        eta: η, from 0 to 1.
        generator: for ε, which is drawn for each number of x_t; without one, torch's own.
    Returns:
        x_s, shaped like x_t and in its precision. Gradients flow into the prediction and x_t.
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
        generator: for ε, which is drawn for each number of x_t; without one, torch's own.
    Returns:
        x_s, shaped like x_t and in its precision. Gradients flow into the prediction and x_t.
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
    spread = torch.where(a == 0, 0.0, db - da * b / a)  # g² / 2b
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
        ValueError: if times do not fall within [0, 1] in the precision of z, or the model returns
            another shape.
    """
    _, levels = _levels(times, z)
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
    # a velocity is linear in the prediction and x_t, so coefficients of all levels come first
    numbers, levels = _levels(times, z)
    b = process.b(numbers).tolist()
    asked = numbers[:-1] if b[-1] == 0 else numbers
    of_y, of_x = _coefficients(ode_velocity(*_units(asked, z), process, target))

    def velocity(i, x):
        return torch.add(of_x[i] * x, _ask(model, x, levels[i], y), alpha=of_y[i])

    x = b[0] * z
    for i, h in enumerate((numbers[:-1] - numbers[1:]).tolist()):
        v = velocity(i, x)
        x_s = torch.add(x, v, alpha=-h)
        if i + 1 < len(of_y):
            x_s = torch.add(x, v + velocity(i + 1, x_s), alpha=-h / 2)
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

    The first step, and one to b = 0, take D = x̂_t, which is DDIM. It is made for levels that are
    even in λ; on levels even in t its error falls a little more slowly than 1 / T².

    Args, Returns and Raises are those of `sample`.
    """
    numbers, levels = _levels(times, z)
    a, b = process.a(numbers).tolist(), process.b(numbers).tolist()
    x_hat, _ = to_x_and_noise(*_units(numbers[:-1], z), process, target)
    of_y, of_x = _coefficients(x_hat)
    x = b[0] * z
    before, h_before = None, math.inf
    for i, t in enumerate(levels[:-1]):
        x_hat = torch.add(of_x[i] * x, _ask(model, x, t, y), alpha=of_y[i])
        shrink = a[i] * b[i + 1] / (a[i + 1] * b[i])  # e^(−h)
        h = -math.log(shrink) if shrink > 0 else math.inf
        D = x_hat
        if before is not None and math.isfinite(h):
            D = torch.add(x_hat, x_hat - before, alpha=h / (2 * h_before))
        x = torch.add(b[i + 1] / b[i] * x, D, alpha=a[i + 1] * (1 - shrink))
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


def _levels(times: Levels, z: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The levels of a walk as they are in the precision of z: T + 1 numbers in float64, and for
    each what a model is told.

    Raises:
        ValueError: as `falling`, also if two levels are one in the precision of z.
    """
    rounded = torch.tensor(falling(times), dtype=z.dtype)
    falling(rounded.tolist())
    told = rounded.to(z.device)[:, None].repeat(1, len(z))
    return rounded.double(), told.unbind()


def _units(t: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What to ask a function that is linear in a prediction and x_t, for its coefficients at many
    levels at once: prediction 1 and x_t 0, then 0 and 1. Of as many axes as z."""
    one, zero = column(torch.ones_like(t), z), column(torch.zeros_like(t), z)
    return torch.cat([one, zero]), torch.cat([zero, one]), t.repeat(2)


def _coefficients(value: Tensor) -> list[list[float]]:
    """What the function of `_units` returns, as numbers: those of the prediction, those of x_t."""
    return value.reshape(2, -1).tolist()


def _ask(model: Model, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
    prediction = model(x, t) if y is None else model(x, t, y)
    check_alike(x, prediction, "prediction", "x_t")
    return prediction
