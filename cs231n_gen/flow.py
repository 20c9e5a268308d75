"""Rectified flow (slides 36–60): learn the velocity that carries noise to data, then follow it.

Data `x` sits at t = 0 and noise `z` at t = 1; between them runs the straight line x_t = (1 − t) x
+ t z. A model is anything called as `model(x_t, t)` or `model(x_t, t, y)` that returns a
velocity like `x_t`.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cs231n_gen.given.mlp import VelocityMLP
from cs231n_gen.given.training import History, Run

__all__ = [
    "VelocityMLP",
    "interpolate",
    "loss",
    "sample",
    "sample_heun",
    "straightness",
    "train",
    "trajectory",
]

Model = Callable[..., Tensor]
Draw = Callable[[int, torch.Generator | None], tuple[Tensor, Tensor | None]]


def interpolate(
    x: Float[Tensor, "batch *shape"], z: Float[Tensor, "batch *shape"], t: Float[Tensor, "batch"]
) -> tuple[Float[Tensor, "batch *shape"], Float[Tensor, "batch *shape"]]:
    """The noisy sample at level t and the velocity there (slides 43–44).

        x_t = (1 − t) x + t z        v = z − x

    Args:
        x: data, one example a row: numbers `(batch,)`, points, images or whatever else.
        z: noise, shaped like x.
        t: noise levels in [0, 1], one for each example: 0 is data, 1 is noise.
    Returns:
        `(x_t, v)`, both shaped like x and in its precision. Gradients pass through both.
    Raises:
        ValueError: if x and z differ in shape, or t is not one level for each example.
    """
    _check_levels(x, t)
    if x.shape != z.shape:
        raise ValueError(f"z must be shaped like x: x is {tuple(x.shape)}, z is {tuple(z.shape)}")
    ### BEGIN SOLUTION
    t = t.reshape(-1, *[1] * (x.dim() - 1))  # (batch, 1, ..., 1)
    x_t = (1 - t) * x + t * z
    v = z - x
    return x_t, v
    ### END SOLUTION


def loss(
    model: Model,
    x: Float[Tensor, "batch *shape"],
    z: Float[Tensor, "batch *shape"],
    t: Float[Tensor, "batch"],
    y: Int[Tensor, "batch"] | None = None,
) -> Float[Tensor, ""]:
    """How far the model's velocity is from the true one (slides 45–46; conditional: slides 58–60).

        L = mean over batch and dimensions of (f_θ(x_t, t) − v)²      (f_θ(x_t, t, y) with a
        condition)

    Args:
        model: called once, as `model(x_t, t)`, or as `model(x_t, t, y)` when y is given.
        x, z, t: data, noise and levels as in `interpolate`, each example with at least one
            dimension. The levels reach the model as they came.
        y: conditions, one for each example, or None. They reach the model as they came.
    Returns:
        One number, per dimension, so that it can be read beside the Bayes floor. Gradients flow
        into the model.
    """
    ### BEGIN SOLUTION
    x_t, v = interpolate(x, z, t)
    prediction = model(x_t, t) if y is None else model(x_t, t, y)
    return (prediction - v).square().mean()
    ### END SOLUTION


@torch.no_grad()
def sample(
    model: Model,
    z: Float[Tensor, "batch *shape"],
    steps: int,
    y: Int[Tensor, "batch"] | None = None,
    times: Sequence[float] | Float[Tensor, "levels"] | None = None,
) -> Float[Tensor, "batch *shape"]:
    """Walk from noise to data in T Euler steps (slides 47–56, with T updates: see the errata).

        x ← z;   for t = 1, 1 − 1/T, …, 1/T:   x ← x − f_θ(x, t) / T

    With levels t_0 > t_1 > … > t_T of your own, a step is as long as the gap to the next level
    (chapter 06):

        x ← z;   for i = 0, …, T − 1:   x ← x − (t_i − t_{i+1}) f_θ(x, t_i)

    Args:
        model: called as `model(x, t)`, or as `model(x, t, y)` when y is given, T times in all. x is
            shaped like z, t is `(batch,)`, both in the precision of z: a network in this precision
            can be asked.
        z: noise to start from, of any shape. It is not changed.
        steps: T, at least 1.
        y: conditions, one for each example, or None. They reach the model as they came.
        times: the T + 1 levels, falling within [0, 1], as a sequence or a tensor; 1, 1 − 1/T, …,
            1/T, 0 if None.
    Returns:
        The samples, shaped like z and in its precision.
    Raises:
        ValueError: if steps is not a whole number of at least 1, or times are not such levels.
    """
    times = levels_of(steps, times)
    ### BEGIN SOLUTION
    x = z
    for t, t_next in pairwise(times):
        level = torch.full((len(x),), t, dtype=x.dtype, device=x.device)
        x = x - (t - t_next) * _velocity(model, x, level, y)
    return x
    ### END SOLUTION


@torch.no_grad()
def trajectory(
    model: Model,
    z: Float[Tensor, "batch *shape"],
    steps: int,
    y: Int[Tensor, "batch"] | None = None,
) -> Float[Tensor, "frames batch *shape"]:
    """Every point that `sample` visits, from the noise (first frame) to the sample (last frame).

    Args and Raises are those of `sample`.
    Returns:
        T + 1 frames in the precision of z: frame k is x at t = 1 − k/T.
    """
    _check_steps(steps)
    ### BEGIN SOLUTION
    frames = [z]
    for i in range(steps, 0, -1):
        x = frames[-1]
        t = torch.full((len(x),), i / steps, dtype=x.dtype, device=x.device)
        frames.append(x - _velocity(model, x, t, y) / steps)
    return torch.stack(frames)
    ### END SOLUTION


@torch.no_grad()
def sample_heun(
    model: Model,
    z: Float[Tensor, "batch *shape"],
    steps: int,
    y: Int[Tensor, "batch"] | None = None,
) -> Float[Tensor, "batch *shape"]:
    """Sample with Heun's method: the mean of the velocities at both ends (Karras et al. 2022,
    alg. 1).

        v = f_θ(x, t);   x' = x − v / T;   v' = f_θ(x', t − 1/T);   x ← x − (v + v') / (2 T)

    The error falls as 1/T² where Euler's falls as 1/T, for two calls of the model a step: 2 T in
    all.

    Args, Returns and Raises are those of `sample`.
    """
    _check_steps(steps)
    ### BEGIN SOLUTION
    x = z
    for i in range(steps, 0, -1):
        t = torch.full((len(x),), i / steps, dtype=x.dtype, device=x.device)
        t_next = torch.full_like(t, (i - 1) / steps)
        v = _velocity(model, x, t, y)
        v_next = _velocity(model, x - v / steps, t_next, y)
        x = x - (v + v_next) / (2 * steps)
    return x
    ### END SOLUTION


def straightness(path: Float[Tensor, "frames batch *shape"]) -> Float[Tensor, ""]:
    """How far a path is from the straight line between its ends (S(Z) of Liu et al. 2022).

        S = mean over steps, batch and dimensions of ((x_0 − x_1) − T (x_{t−1/T} − x_t))²

    The first term is the displacement from noise to sample, the second the velocity of one step. 0
    means straight: then one Euler step is as good as many.

    Args:
        path: T + 1 frames from noise to sample, equally spaced in t, as `trajectory` returns them.
    Returns:
        One number, in squared units of x per dimension: 0 for 2 frames.
    Raises:
        ValueError: if there are fewer than 2 frames.
    """
    if len(path) < 2:
        raise ValueError(f"path must hold at least 2 frames, got {len(path)}")
    ### BEGIN SOLUTION
    steps = len(path) - 1
    whole = path[-1] - path[0]  # (batch, *shape)
    speed = (path[1:] - path[:-1]) * steps  # (steps, batch, *shape)
    return (whole - speed).square().mean()
    ### END SOLUTION


def train(
    model: nn.Module,
    draw: Draw,
    steps: int,
    *,
    batch: int = 1024,
    generator: torch.Generator | None = None,
    **options,
) -> History:
    """The training loop of slides 42–46, each step on fresh data, noise and levels.

        x ~ p_data,   z ~ N(0, I),   t ~ Uniform[0, 1] each;   one gradient step on `loss`

    Draw in this order (data, noise, levels), all with `generator`, so that a seed repeats a run.
    `run.optimizer` is a torch optimiser over the model's weights; `run.record(loss)` after its
    step, with the loss that the step was made on, keeps it and moves the average of the weights.

    Args:
        model: the network; trained in place, it ends with the averaged weights.
        draw: `draw(batch, generator)` returns data and conditions `(x, y)`: x of any shape that
            `loss` takes, y None without conditions.
        steps: number of gradient steps.
        batch: examples a step.
        generator: for everything random; without one, torch's own.
        options: passed on to `training.Run` (learning rate, Bayes floor to show, time limit, …).
    Returns:
        The losses of all steps. A run that is interrupted returns those until then.
    """
    with Run(model, steps, **options) as run:
        for _ in run:
            ### BEGIN SOLUTION
            x, y = draw(batch, generator)
            z = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            t = torch.rand(len(x), generator=generator, dtype=x.dtype, device=x.device)
            L = loss(model, x, z, t, y)
            run.optimizer.zero_grad()
            L.backward()
            run.optimizer.step()
            run.record(L)
            ### END SOLUTION
    return run.history


def levels_of(
    steps: int, times: Sequence[float] | Float[Tensor, "levels"] | None = None
) -> list[float]:
    """The T + 1 levels of a walk of T steps: `times`, else evenly spaced from 1 to 0. Given.

    Raises:
        ValueError: if steps is not a whole number of at least 1, or times do not fit.
    """
    _check_steps(steps)
    if times is None:
        return [i / steps for i in range(steps, -1, -1)]
    times = [float(t) for t in times]
    falling = all(a > b for a, b in pairwise(times))
    if len(times) != steps + 1 or not falling or not 0 <= times[-1] < times[0] <= 1:
        raise ValueError(f"times must be {steps + 1} levels that fall within [0, 1], got {times}")
    return times


def _velocity(model: Model, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
    return model(x, t) if y is None else model(x, t, y)


def _check_levels(x: Tensor, t: Tensor) -> None:
    if t.shape != x.shape[:1]:
        raise ValueError(
            f"t must hold one level for each of {len(x)} examples, got shape {tuple(t.shape)}"
        )


def _check_steps(steps: int) -> None:
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
