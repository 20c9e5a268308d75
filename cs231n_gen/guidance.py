"""Guidance (slides 61–72): evaluate a network with its condition and without, and extrapolate.

A model is called as `model(x_t, t, y)`. Beside the real conditions there is a null condition ∅:
with it the velocity leads to p(x), with y to p(x | y). On a GPU, chapter 14's kernel takes a guided
step.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from cs231n_gen.flow import Model, levels_of
from cs231n_gen.kernels.launch import leaves_to_kernels

Condition = Shaped[Tensor, "batch *condition"]  # a label each, or text as (batch, length, dim)
Classifier = Callable[[Tensor, Tensor], Tensor]
Null = int | Shaped[Tensor, "*condition"]  # a label, or a condition like those of the examples
Weight = float | Float[Tensor, ""] | Float[Tensor, "batch"]


def drop_condition(
    y: Condition,
    p: float,
    null: Null,
    generator: torch.Generator | None = None,
) -> Condition:
    """Drop the condition of some examples, so that one network learns both fields (slide 62).

        y_i ← ∅ with probability p, independently for each example

    Args:
        y: conditions of any dtype: labels, (batch,), or several numbers each, such as
            (batch, length, dim) of a text.
        p: the probability of dropping a condition, from 0 (never) to 1 (always). Often 0.1.
        null: ∅, a condition like the others and of their dtype: a label of its own (a whole
            number, which may be 0), or the embedding of an empty text, (length, dim).
        generator: for the random draws.
    Returns:
        A new tensor of y's shape and dtype, in which each condition is either unchanged or ∅ as a
        whole.
    Raises:
        ValueError: if p is not a probability.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p must be a probability from 0 to 1, got {p}")
    ### BEGIN SOLUTION
    forgotten = torch.rand(len(y), generator=generator).to(y.device) < p
    forgotten = forgotten.reshape(-1, *[1] * (y.dim() - 1))  # (batch, 1, ..., 1)
    return torch.where(forgotten, torch.as_tensor(null, dtype=y.dtype, device=y.device), y)
    ### END SOLUTION


def guided_velocity(
    v_y: Float[Tensor, "batch *shape"], v_null: Float[Tensor, "batch *shape"], w: Weight
) -> Float[Tensor, "batch *shape"]:
    """Classifier-free guidance: extrapolate what the condition changes (slide 66; Ho and Salimans
    2022).

        v_cfg = (1 + w) v_y − w v_∅

    w = 0 is the conditional velocity, w = −1 the unconditional one.

    Args:
        v_y, v_null: velocities with the condition and without.
        w: the guidance weight: one number for all examples, also as a tensor of shape (), or a
            tensor (batch,) with one for each. It may be negative.
    Returns:
        v_cfg, shaped like v_y. Gradients flow into both velocities.
    Raises:
        ValueError: if the velocities differ in shape, or w is neither one number nor one for each.
    """
    if v_y.shape != v_null.shape:
        shapes = f"v_y is {tuple(v_y.shape)}, v_null {tuple(v_null.shape)}"
        raise ValueError(f"both velocities must be of one shape: {shapes}")
    if isinstance(w, Tensor) and w.shape not in (torch.Size(), v_y.shape[:1]):
        shape = tuple(w.shape)
        raise ValueError(f"w must be one number or {len(v_y)} (one for each), got shape {shape}")
    ### BEGIN SOLUTION
    if isinstance(w, Tensor) and w.dim() == 1:
        w = w.reshape(-1, *[1] * (v_y.dim() - 1))  # (batch, 1, ..., 1)
    return (1 + w) * v_y - w * v_null
    ### END SOLUTION


def velocities(
    model: Model,
    x_t: Float[Tensor, "batch *shape"],
    t: Float[Tensor, "batch"],
    y: Condition,
    null: Null,
) -> tuple[Float[Tensor, "batch *shape"], Float[Tensor, "batch *shape"]]:
    """Both velocities at x_t by one call of the model, on a batch twice as large (slides 63–65).

        v_y = f_θ(x_t, t, y),    v_∅ = f_θ(x_t, t, ∅)

    One large call uses the hardware better than two small ones.

    Args:
        model: called once, as `model(x_t, t, y)`, on 2 batch examples in any order: each is there
            twice, at its own level, once with its condition and once with ∅.
        x_t, t: noisy examples and their levels.
        y: their conditions, as in `drop_condition`. The model gets them in y's dtype.
        null: ∅, as in `drop_condition`.
    Returns:
        `(v_y, v_null)`, both shaped like x_t and in its order. Gradients flow through the model.
    """
    ### BEGIN SOLUTION
    nothing = torch.as_tensor(null, dtype=y.dtype, device=y.device).expand_as(y)
    v = model(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([y, nothing]))
    v_y, v_null = v.chunk(2)
    return v_y, v_null
    ### END SOLUTION


@torch.no_grad()
def sample(
    model: Model,
    z: Float[Tensor, "batch *shape"],
    steps: int,
    y: Condition,
    null: Null,
    w: Weight,
    interval: tuple[float, float] = (0.0, 1.0),
    times: Sequence[float] | Float[Tensor, "levels"] | None = None,
) -> Float[Tensor, "batch *shape"]:
    """Walk from noise to data along the guided velocity (slides 67–72).

        x ← z;   for t = 1, 1 − 1/T, …, 1/T:   x ← x − v_cfg(x, t) / T

    Guidance doubles the cost of a step. It can be limited to an interval of t: outside of it a
    step is x ← x − f_θ(x, t, y) / T, with a call on z's own batch (Kynkäänniemi et al. 2024).

    Args:
        model, y, null: as in `velocities`. The model is called once a step.
        z: noise to start from. It is not changed.
        steps: T, at least 1.
        w: as in `guided_velocity`.
        interval: (low, high), the lowest and the highest t of a step that is guided: all t with
            low ≤ t ≤ high. Both ends are included, so (a, a) guides a step at t = a. t is the level
            as `flow.levels_of` gives it, i / T or a number in `times`: 1 less a sum of steps is
            rounded, and may miss an end.
        times: the T + 1 levels, as in `flow.sample`.
    Returns:
        The samples, shaped like z, without a graph.
    Raises:
        ValueError: if steps or times are not those of `flow.sample`, or interval is not
            (lowest t, highest t).
    """
    times = levels_of(steps, times)
    low, high = interval
    if not low <= high:
        raise ValueError(f"interval must be (lowest t, highest t), got {interval}")
    ### BEGIN SOLUTION
    x = z
    for t, t_next in pairwise(times):
        level = torch.full((len(x),), t, dtype=x.dtype, device=x.device)
        if low <= t <= high:
            v_y, v_null = velocities(model, x, level, y, null)
            x = step(x, v_y, v_null, w, t - t_next)
        else:
            x = x - (t - t_next) * model(x, level, y)
    return x
    ### END SOLUTION


def step(
    x: Float[Tensor, "batch *shape"],
    v_y: Float[Tensor, "batch *shape"],
    v_null: Float[Tensor, "batch *shape"],
    w: Weight,
    dt: float,
) -> Float[Tensor, "batch *shape"]:
    """One Euler step along the guided velocity, x − dt v_cfg. Given.

    On a GPU it is one pass over memory, by chapter 14's kernel.
    """
    if leaves_to_kernels(x) and not isinstance(w, Tensor):
        from cs231n_gen.kernels import guided_step  # here, so an unfinished one harms nobody

        return guided_step.guided_step(x, v_y, v_null, w, dt)
    return x - dt * guided_velocity(v_y, v_null, w)


def classifier_velocity(
    v_null: Float[Tensor, "batch *shape"],
    classifier: Classifier,
    x_t: Float[Tensor, "batch *shape"],
    t: Float[Tensor, "batch"],
    y: Int[Tensor, "batch"],
    w: Weight,
) -> Float[Tensor, "batch *shape"]:
    """Guidance by a classifier of noisy examples (slide 72; Dhariwal and Nichol 2021).

        v = v_∅ − (1 + w) t / (1 − t) ∂/∂x_t log p(y | x_t)

    By Bayes' rule ∂ log p(y | x_t) = ∂ log p(x_t | y) − ∂ log p(x_t), and the velocity of a flow
    is v = −(x_t + t ∂ log p(x_t)) / (1 − t); so with the exact classifier this is v_cfg.

    Args:
        v_null: the unconditional velocity at x_t.
        classifier: called as `classifier(x_t, t)`, returns logits, (batch, classes); their
            softmax is p(y | x_t). It must be differentiable in x_t.
        x_t, t: noisy examples and their levels, below 1: at t = 1 there is nothing to classify.
        y: the classes wanted, a whole number (int64) for each example.
        w: as in `guided_velocity`.
    Returns:
        The guided velocity, shaped like x_t; finite for logits of any size, also under
        `torch.no_grad()`. No graph leads back to x_t or into the classifier, and the gradients of
        its weights stay as they are.
    Raises:
        ValueError: if a level is not in [0, 1).
    """
    if not bool(((t >= 0) & (t < 1)).all()):
        raise ValueError(f"t must be in [0, 1), got {t.tolist()}")
    ### BEGIN SOLUTION
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_p = classifier(x, t).log_softmax(1).gather(1, y[:, None])  # log p(y | x_t)
        (gradient,) = torch.autograd.grad(log_p.sum(), x)
    factor = ((1 + w) * t / (1 - t)).reshape(-1, *[1] * (x_t.dim() - 1))
    return v_null.detach() - factor * gradient
    ### END SOLUTION
