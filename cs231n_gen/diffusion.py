"""Generalised diffusion (slides 109–119): x_t = a(t) x + b(t) z with target y = c(t) x + d(t) z.

Rectified flow, DDPM, EDM and score models are members of it, and a network trained for one is a
network for all of them: its prediction y and x_t are two equations for x and z. A model is called
as `model(x_t, t)` or `model(x_t, t, y)`, where y is a condition; what it returns is a prediction of
its target. Levels `t` are one for each example, in the precision of x_t.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cs231n_gen.flow import Model
from cs231n_gen.given.processes import (
    NOISE,
    Process,
    Target,
    X,
    angular,
    cosine,
    edm,
    level_of,
    rectified_flow,
    variance_exploding,
    variance_preserving,
    velocity,
)

__all__ = [
    "NOISE",
    "Process",
    "Target",
    "X",
    "angular",
    "column",
    "cosine",
    "edm",
    "level_of",
    "loss_weight",
    "noise",
    "ode_velocity",
    "rectified_flow",
    "reparametrised",
    "score",
    "to_x_and_noise",
    "variance_exploding",
    "variance_preserving",
    "velocity",
]


def noise(
    x: Float[Tensor, "batch *shape"],
    z: Float[Tensor, "batch *shape"],
    t: Float[Tensor, "batch"],
    process: Process,
    target: Target,
) -> tuple[Float[Tensor, "batch *shape"], Float[Tensor, "batch *shape"]]:
    """The noisy sample at level t, and what a network is asked for there (slide 109).

        x_t = a(t) x + b(t) z        y = c(t) x + d(t) z

    Args:
        x: data, one example a row, of any shape.
        z: noise, shaped like x.
        t: noise levels in [0, 1], one for each example.
        process: a and b.
        target: c and d.
    Returns:
        `(x_t, y)`, both shaped like x and in its precision. Gradients flow into x and z.
    Raises:
        ValueError: if x and z differ in shape, or t is not one level for each example.
    """
    check_levels(x, t)
    check_alike(x, z, "z", "x")
    ### BEGIN SOLUTION
    x_t = column(process.a(t), x) * x + column(process.b(t), x) * z
    y = column(target.c(t), x) * x + column(target.d(t), x) * z
    return x_t, y
    ### END SOLUTION


def to_x_and_noise(
    prediction: Float[Tensor, "batch *shape"],
    x_t: Float[Tensor, "batch *shape"],
    t: Float[Tensor, "batch"],
    process: Process,
    target: Target,
) -> tuple[Float[Tensor, "batch *shape"], Float[Tensor, "batch *shape"]]:
    """The data and the noise that a prediction y stands for: two equations, two unknowns.

        x_t = a x + b z                    x̂ = (d x_t − b y) / Δ
                             ⟹                                       Δ = a d − b c
         y  = c x + d z                    ẑ = (a y − c x_t) / Δ

    Where Δ = 0 the two equations are one: a prediction of x adds nothing to x_t = x at b = 0, and a
    prediction of the noise nothing to x_t = z at a = 0. A velocity has no such level: b / a rises,
    and so Δ = a b′ − b a′ > 0.

    Args:
        prediction: y, what the model returned at x_t.
        x_t: noisy examples.
        t: their levels, one for each.
        process: a and b.
        target: c and d.
    Returns:
        `(x̂, ẑ)`, both shaped like x_t and in its precision. Gradients flow into prediction and
        x_t.
    Raises:
        ValueError: if prediction and x_t differ in shape, t is not one level for each example, or
            Δ is 0 for one of them: `check_solvable(Δ, t)`, given, says so.
    """
    check_levels(x_t, t)
    check_alike(x_t, prediction, "prediction", "x_t")
    ### BEGIN SOLUTION
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    delta = a * d - b * c
    check_solvable(delta, t)
    a, b, c, d, delta = (column(v, x_t) for v in (a, b, c, d, delta))
    x = (d * x_t - b * prediction) / delta
    z = (a * prediction - c * x_t) / delta
    return x, z
    ### END SOLUTION


def loss_weight(
    t: Float[Tensor, "*levels"], process: Process, target: Target
) -> Float[Tensor, "*levels"]:
    """How much a target weighs level t: its loss is this weight times the loss of x-prediction.

        ‖y − ŷ‖² = (Δ / b)² ‖x − x̂‖²,    Δ / b = a d / b − c

    since an error in x̂ brings with it one in ẑ = (x_t − a x̂) / b. For ε-prediction the weight is
    the signal-to-noise ratio SNR = a² / b², for v-prediction of a variance preserving process
    SNR + 1 = 1 / b², and 1 / t² for rectified flow.

    Args:
        t: levels, of any shape, one number without an axis too.
        process: a and b.
        target: c and d.
    Returns:
        Weights, shaped like t and in its precision. Where b = 0 it is c² if d = 0 (so x-prediction
        weighs all levels alike, by 1), else ∞.
    """
    ### BEGIN SOLUTION
    a, b, c, d = process.a(t), process.b(t), target.c(t), target.d(t)
    of_noise = torch.where(d == 0, 0.0, a * d / b)  # also where a d / b = 0 / 0
    return (of_noise - c) ** 2
    ### END SOLUTION


def score(
    prediction: Float[Tensor, "batch *shape"],
    x_t: Float[Tensor, "batch *shape"],
    t: Float[Tensor, "batch"],
    process: Process,
    target: Target,
) -> Float[Tensor, "batch *shape"]:
    """The score that a prediction stands for (slide 117; Vincent 2011).

        s(x_t, t) = ∂/∂x_t log p_t(x_t) = (a x̂ − x_t) / b² = −ẑ / b

    p_t is the density of x_t, noised data: not that of the data, and not the density of t (see the
    errata).

    Args are those of `to_x_and_noise`.
    Returns:
        The score, shaped like x_t and in its precision. Gradients flow into prediction and x_t.
    Raises:
        ValueError: as `to_x_and_noise`, and if b = 0 for an example: the score of data without
            noise is not known.
    """
    check_levels(x_t, t)
    check_alike(x_t, prediction, "prediction", "x_t")
    if bool((process.b(t) == 0).any()):
        raise ValueError(f"b(t) must not be 0 for a score, got t = {t.tolist()}")
    ### BEGIN SOLUTION
    _, z = to_x_and_noise(prediction, x_t, t, process, target)
    return -z / column(process.b(t), x_t)
    ### END SOLUTION


def ode_velocity(
    prediction: Float[Tensor, "batch *shape"],
    x_t: Float[Tensor, "batch *shape"],
    t: Float[Tensor, "batch"],
    process: Process,
    target: Target,
) -> Float[Tensor, "batch *shape"]:
    """The velocity of the probability flow ODE (slide 118; Song et al. 2021, eq. 13).

        dx_t/dt = a′ x̂ + b′ ẑ = f x_t − ½ g² s,    f = a′ / a,    g² = 2 b b′ − 2 f b²

    Samples that follow it have the density p_t at every level t. The first form holds where a = 0
    or b = 0, too, as long as a′ and b′ are finite.

    Args are those of `to_x_and_noise`.
    Returns:
        The velocity along rising t, shaped like x_t and in its precision. Gradients flow into
        prediction and x_t.
    Raises:
        ValueError: as `to_x_and_noise`.
    """
    check_levels(x_t, t)
    check_alike(x_t, prediction, "prediction", "x_t")
    ### BEGIN SOLUTION
    x, z = to_x_and_noise(prediction, x_t, t, process, target)
    return column(process.da(t), x_t) * x + column(process.db(t), x_t) * z
    ### END SOLUTION


def reparametrised(
    model: Model, process: Process, target: Target, new_process: Process, new_target: Target
) -> Model:
    """One network, another path: a model trained for one process and target, used for others.

    The new model is asked at (x_t, t). Scaling x_t changes nothing about what it tells of x and z,
    so the trained one is asked at its own level u, where the ratio of noise to data is the same:

        b(u) / a(u) = b_new(t) / a_new(t)        `level_of(process, a_new(t), b_new(t))`, given
        x_u = k x_t,    k² = (a(u)² + b(u)²) / (a_new(t)² + b_new(t)²)
        x̂, ẑ from model(x_u, u);    y_new = c_new(t) x̂ + d_new(t) ẑ

    If the trained process has no such level, `level_of` gives its nearer end.

    Args:
        model: the trained network; called once for each call of the new model, as `model(x_u, u)`
            or `model(x_u, u, y)`.
        process, target: what it was trained for.
        new_process, new_target: what it is to be used for.
    Returns:
        The new model, called as `(x_t, t)` or `(x_t, t, y)` like any other. What it returns is
        shaped like x_t and in its precision. Gradients flow into x_t and the network.
    Raises:
        ValueError: when the new model is called, as `to_x_and_noise` where the prediction of the
            trained one says nothing at u, and if t is not one level for each example.
    """

    def new_model(
        x_t: Float[Tensor, "batch *shape"], t: Float[Tensor, "batch"], y: Tensor | None = None
    ) -> Float[Tensor, "batch *shape"]:
        check_levels(x_t, t)
        ### BEGIN SOLUTION
        a_new, b_new = new_process.a(t), new_process.b(t)
        u = level_of(process, a_new, b_new)
        k = ((process.a(u) ** 2 + process.b(u) ** 2) / (a_new**2 + b_new**2)).sqrt()
        x_u = column(k, x_t) * x_t
        prediction = model(x_u, u) if y is None else model(x_u, u, y)
        x, z = to_x_and_noise(prediction, x_u, u, process, target)
        return column(new_target.c(t), x_t) * x + column(new_target.d(t), x_t) * z
        ### END SOLUTION

    return new_model


def column(
    value: Float[Tensor, "batch"], x: Float[Tensor, "batch *shape"]
) -> Float[Tensor, "batch *ones"]:
    """One number for each example, shaped to multiply x: (batch, 1, …, 1). Given."""
    return value.reshape(-1, *[1] * (x.dim() - 1))


def check_solvable(delta: Float[Tensor, "batch"], t: Float[Tensor, "batch"]) -> None:
    """Refuse levels at which a prediction says nothing that x_t does not. Given.

    Raises:
        ValueError: if Δ is 0 for an example.
    """
    if bool((delta == 0).any()):
        raise ValueError(
            "x and z do not follow from this prediction where Δ = a d − b c = 0, "
            f"got t = {t[delta == 0].tolist()}"
        )


def check_levels(x: Tensor, t: Tensor) -> None:
    """Refuse anything but one level for each example. Given.

    Raises:
        ValueError: if t has another shape.
    """
    if t.shape != x.shape[:1]:
        raise ValueError(
            f"t must hold one level for each of {len(x)} examples, got shape {tuple(t.shape)}"
        )


def check_alike(x: Tensor, other: Tensor, name: str, like: str) -> None:
    """Refuse a tensor that is not shaped like another. Given.

    Raises:
        ValueError: if the shapes differ.
    """
    if other.shape != x.shape:
        raise ValueError(
            f"{name} must be shaped like {like}: "
            f"{like} is {tuple(x.shape)}, {name} is {tuple(other.shape)}"
        )
