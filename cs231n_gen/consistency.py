"""Consistency models (slides 107–108): a network that jumps from any level to the data at once.

The flow carries (x_t, t) along a path to its end at t = 0. A consistency function answers with that
end. It is the same all along a path, f(x_t, t) = f(x_s, s), and so can be learned from pairs of
neighbours. Beyond the lecture: a mean velocity u(x_t, t, s) jumps from any level to any other.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from cs231n_gen.diffusion import Process, Target, check_alike, check_levels, column, to_x_and_noise
from cs231n_gen.flow import Model, interpolate, levels_of
from cs231n_gen.given import processes
from cs231n_gen.guidance import Condition

Examples = Float[Tensor, "batch *shape"]
Levels = Float[Tensor, "batch"]
Mean = Callable[..., Tensor]  # u(x_t, t, s) or u(x_t, t, s, y)

RECTIFIED = processes.rectified_flow()
VELOCITY = processes.velocity(RECTIFIED)


def function(
    model: Model,
    x_t: Examples,
    t: Levels,
    process: Process = RECTIFIED,
    target: Target = VELOCITY,
    y: Condition | None = None,
) -> Examples:
    """Where a network says that the path through x_t ends (slide 108; Song et al. 2023).

        f(x_t, t) = (d x_t − b F) / (a d − b c),    F = model(x_t, t)

    This is the data that chapter 07 reads from a prediction F of c x + d z. With b = 0 and d ≠ 0
    at t = 0 it is x_t / a there **for any network**: the boundary f(x, 0) = x needs no training.
    Three forms from the literature are this one:

        x_t − t F                                rectified flow, F a velocity
        c_skip x_t + c_out F                     EDM's; a = 1, b = σ: `processes.preconditioned`
        cos(θ) x_t − σ_d sin(θ) F                TrigFlow, θ = π t / 2: `processes.trigflow`

    Args:
        model: called once, as `model(x_t, t)`, or as `model(x_t, t, y)` when y is given.
        x_t: noisy examples.
        t: their levels, one for each.
        process: a and b, with b = 0 at t = 0.
        target: c and d of F, with d ≠ 0 at t = 0.
        y: conditions, or None.
    Returns:
        f, shaped like x_t and in its precision. Gradients flow into x_t, t and the model.
    Raises:
        ValueError: if t is not one level for each example, or the boundary does not hold by itself,
            as for x-prediction (d = 0); else as `diffusion.to_x_and_noise`.
    """
    check_levels(x_t, t)
    check_boundary(process, target)
    ### BEGIN SOLUTION
    prediction = model(x_t, t) if y is None else model(x_t, t, y)
    return to_x_and_noise(prediction, x_t, t, process, target)[0]
    ### END SOLUTION


def loss(
    model: Model,
    x: Examples,
    z: Examples,
    t: Levels,
    s: Levels,
    teacher: Model | None = None,
    average: Model | None = None,
    y: Condition | None = None,
    huber: float = 0.0,
) -> Float[Tensor, ""]:
    """How much two neighbours on a path disagree about its end (slide 108; Song et al. 2023; the
    distance of Song and Dhariwal 2024).

        x_t = (1 − t) x + t z
        x_s = x_t − (t − s) v,    v = teacher(x_t, t)    consistency distillation: an Euler step
                                  v = z − x              consistency training: x_s = (1 − s) x + s z
        m_i = mean over dimensions of (f(x_t, t) − stop f⁻(x_s, s))²      for each example
        L = mean over batch of δ / (t − s),    δ = m,   or   √(m + c²) − c   with `huber` c > 0

    f is `function` of rectified flow, f⁻ that of the averaged weights or, without them, of the same
    ones. The target is nearer to the data, where f is known better; it gets no gradient.

    Args:
        model: the student.
        x, z: data and noise, as in `flow.loss`.
        t, s: levels, one of each for each example, s below t.
        teacher: a velocity, called once at (x_t, t), or None to train without one.
        average: the model with averaged weights, called once at (x_s, s), or None for `model`.
        y: conditions, which every model then gets, or None.
        huber: c, 0 or more. Large gaps count less than by their square.
    Returns:
        One number. Gradients flow through f(x_t, t) into the weights of the model; data, noise, the
        teacher and the averaged weights get none.
    Raises:
        ValueError: as `flow.interpolate`; if s is not one level below t for each example and at
            least 0, or huber is negative.
    """
    check_between(x, t, s)
    if not huber >= 0:
        raise ValueError(f"huber must be at least 0, got {huber}")
    ### BEGIN SOLUTION
    with torch.no_grad():
        x_t, v = interpolate(x, z, t)
        if teacher is not None:
            v = teacher(x_t, t) if y is None else teacher(x_t, t, y)
        x_s = x_t - column(t - s, x_t) * v
        end = function(model if average is None else average, x_s, s, y=y)
    m = (function(model, x_t, t, y=y) - end).square().flatten(1).mean(1)
    gap = (m + huber**2).sqrt() - huber if huber else m
    return (gap / (t - s)).mean()
    ### END SOLUTION


def tangent(
    model: Model,
    x_t: Examples,
    t: Levels,
    v: Examples,
    process: Process = RECTIFIED,
    target: Target = VELOCITY,
    y: Condition | None = None,
) -> Examples:
    """How fast f changes along a path: what two neighbours disagree about, in the limit (slide 108;
    Lu and Song 2025).

        df/dt = ∂f/∂x_t · v + ∂f/∂t

    It is 0 for the exact consistency function and the velocity of the exact flow. It is one
    Jacobian–vector product, `torch.func.jvp`, of f at (x_t, t) along (v, 1), and costs about two
    calls of the model. An attention layer in the model needs PyTorch's MATH backend for it.

    Args:
        model, process, target, y: as in `function`.
        x_t: noisy examples.
        t: their levels, one for each.
        v: dx_t/dt along the path: a teacher's velocity, or a′ x + b′ z.
    Returns:
        df/dt, shaped like x_t and in its precision, without a graph; under `torch.no_grad()` too.
    Raises:
        ValueError: as `function`, or if v is not shaped like x_t.
    """
    check_alike(x_t, v, "v", "x_t")
    check_levels(x_t, t)
    check_boundary(process, target)

    ### BEGIN SOLUTION
    def f(x_t: Tensor, t: Tensor) -> Tensor:
        return function(model, x_t, t, process, target, y)

    _, slope = torch.func.jvp(f, (x_t.detach(), t), (v.detach(), torch.ones_like(t)))
    return slope.detach()
    ### END SOLUTION


def mean_flow_target(
    model: Mean,
    x_t: Examples,
    t: Levels,
    s: Levels,
    v: Examples,
    y: Condition | None = None,
) -> Examples:
    """What a mean velocity should be (beyond the lecture: MeanFlow, Geng et al. 2025).

        u(x_t, t, s) = 1 / (t − s) ∫_s^t v(x_τ, τ) dτ = (x_t − x_s) / (t − s)
        ⟹   u = v − (t − s) du/dt,    du/dt = ∂u/∂x_t · v + ∂u/∂t        (s stays)

    The second line is d/dt of (t − s) u = x_t − x_s; `torch.func.jvp` finds du/dt along (v, 1, 0).
    With s = t it is v: rectified flow.

    Args:
        model: u, called as `model(x_t, t, s)`, or as `model(x_t, t, s, y)` when y is given.
        x_t: noisy examples.
        t, s: levels, one of each for each example, s at most t.
        v: the velocity at x_t: z − x without a teacher.
        y: conditions, or None.
    Returns:
        The right-hand side, shaped like x_t and in its precision, without a graph; under
        `torch.no_grad()` too.
    Raises:
        ValueError: if t or s is not one level for each example, s is above t or below 0, or v is
            not shaped like x_t.
    """
    check_alike(x_t, v, "v", "x_t")
    check_between(x_t, t, s, equal=True)

    ### BEGIN SOLUTION
    def u(x_t: Tensor, t: Tensor) -> Tensor:
        return _mean(model, x_t, t, s, y)

    _, slope = torch.func.jvp(u, (x_t.detach(), t), (v.detach(), torch.ones_like(t)))
    return (v - column(t - s, x_t) * slope).detach()
    ### END SOLUTION


@torch.no_grad()
def shortcut_target(
    model: Mean, x_t: Examples, t: Levels, s: Levels, y: Condition | None = None
) -> Examples:
    """A long step as two short ones of the same network (beyond the lecture: shortcut models, Frans
    et al. 2025).

        m = (t + s) / 2;   u₁ = u(x_t, t, m);   x_m = x_t − (t − m) u₁;   u₂ = u(x_m, m, s)
        u(x_t, t, s) ≈ (u₁ + u₂) / 2

    It is progressive distillation in which the network is its own teacher.

    Args:
        model: u, called twice, as in `mean_flow_target`.
        x_t: noisy examples.
        t, s: levels, one of each for each example, s below t.
        y: conditions, or None.
    Returns:
        The mean of both velocities, shaped like x_t and in its precision, without a graph.
    Raises:
        ValueError: if t or s is not one level for each example, or s is not below t or is below 0.
    """
    check_between(x_t, t, s)
    ### BEGIN SOLUTION
    m = (t + s) / 2
    first = _mean(model, x_t, t, m, y)
    x_m = x_t - column(t - m, x_t) * first
    return (first + _mean(model, x_m, m, s, y)) / 2
    ### END SOLUTION


def continuous_loss(
    model: Model,
    x: Examples,
    z: Examples,
    t: Levels,
    teacher: Model | None = None,
    share: float = 1.0,
    y: Condition | None = None,
) -> Float[Tensor, ""]:
    """sCM's loss, for which neighbours are infinitely near (Lu and Song 2025, algorithm 1). Given.

        x_t = cos θ x + sin θ z,   θ = π t / 2,   f = cos θ x_t − sin θ F
        g = cos θ ((1 − r) cos θ (v − F) + r df/dθ),    L = mean of (F − stop(F + g / (‖g‖ + 0.1)))²

    Here `processes.trigflow(1.0)` is the process, ‖g‖ is the root mean square of an example, and
    data have unit variance.

    Args:
        model: the student, a prediction F of v.
        x, z: data and noise.
        t: levels.
        teacher: dx_t/dθ, called once at (x_t, t); None for v = cos θ z − sin θ x of the pair.
        share: r, which rises from 0 to 1 early in training. At 0 this is a regression on v.
        y: conditions, or None.
    """
    process, target = processes.trigflow(1.0)
    angle = math.pi / 2
    cos, sin = column(process.a(t), x), column(process.b(t), x)
    x_t = cos * x + sin * z
    v = cos * z - sin * x
    if teacher is not None:
        with torch.no_grad():
            v = teacher(x_t, t) if y is None else teacher(x_t, t, y)
    F = model(x_t, t) if y is None else model(x_t, t, y)
    along = tangent(model, x_t, t, angle * v, process, target, y) / angle
    g = cos * ((1 - share) * cos * (v - F.detach()) + share * along)
    size = g.flatten(1).square().mean(1).sqrt()
    goal = F.detach() + g / (column(size, x) + 0.1)
    return (F - goal).square().mean()


@torch.no_grad()
def sample(
    model: Model,
    z: Examples,
    steps: int,
    generator: torch.Generator | None = None,
    process: Process = RECTIFIED,
    target: Target = VELOCITY,
    y: Condition | None = None,
) -> Examples:
    """Jump to the data, add new noise, jump again (Song et al. 2023, algorithm 1). Given.

        x ← f(b z, 1);   for t = 1 − 1/T, …, 1/T:   x ← f(a x + b ε, t),   ε ~ N(0, I)

    Args:
        model, process, target, y: as in `function`; the model is called T times.
        z: noise to start from. It is not changed.
        steps: T, at least 1. With 1 nothing is drawn.
        generator: for ε.
    """
    x, like = z, {"dtype": z.dtype, "device": z.device}
    for i, level in enumerate(levels_of(steps)[:-1]):
        t = torch.full((len(z),), level, **like)
        a, b = column(process.a(t), z), column(process.b(t), z)
        x_t = a * x + b * torch.randn(z.shape, generator=generator, **like) if i else b * z
        x = function(model, x_t, t, process, target, y)
    return x


@torch.no_grad()
def sample_mean(model: Mean, z: Examples, steps: int, y: Condition | None = None) -> Examples:
    """Walk with a mean velocity, x ← x − (t − s) u(x, t, s), in T even steps from 1 to 0. Given."""
    x, times = z, levels_of(steps)
    for t, s in pairwise(times):
        here, there = (torch.full((len(z),), v, dtype=z.dtype, device=z.device) for v in (t, s))
        x = x - (t - s) * _mean(model, x, here, there, y)
    return x


def check_boundary(process: Process, target: Target) -> None:
    """Refuse a form in which f(x, 0) = x would have to be learned. Given.

    Raises:
        ValueError: unless b = 0 and d ≠ 0 at t = 0.
    """
    zero = torch.zeros(1, dtype=torch.float64)
    b, d = float(process.b(zero)), float(target.d(zero))
    if b != 0 or d == 0:
        raise ValueError(f"expected b = 0 and d ≠ 0 at t = 0, got b = {b:g} and d = {d:g}")


def check_between(x: Tensor, t: Tensor, s: Tensor, equal: bool = False) -> None:
    """Refuse levels between which there is no way down. Given.

    Raises:
        ValueError: unless t and s are one level for each example, s at least 0 and below t, or at
            most t where `equal` says so.
    """
    check_levels(x, t)
    below = s.shape == t.shape and bool(((s <= t if equal else s < t) & (s >= 0)).all())
    if not below:
        least = "at most" if equal else "below"
        raise ValueError(
            f"s must hold one level {least} t and at least 0 for each example, got "
            f"s = {s.tolist()} for t = {t.tolist()}"
        )


def _mean(model: Mean, x_t: Tensor, t: Tensor, s: Tensor, y: Tensor | None) -> Tensor:
    return model(x_t, t, s) if y is None else model(x_t, t, s, y)
