"""Optimal prediction and noise schedules (slides 73–84): the best network, and the levels t to use.

Many pairs (x, z) pass through one x_t = (1 − t) x + t z. The best network predicts the
mean of their velocities, and its remaining loss depends on t. So it pays to draw levels from a
density p(t) that is not uniform, and to shift them for images of another size.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def optimal_velocity(
    x_t: Float[Tensor, "batch *shape"],
    t: Float[Tensor, "batch"],
    data: Float[Tensor, "examples *shape"],
) -> Float[Tensor, "batch *shape"]:
    """E[v | x_t], the prediction of the best network for a finite set of data (slides 73–78).

        p(x_i | x_t) = softmax_i(−‖x_t − (1 − t) x_i‖² / 2t²)
        E[x | x_t] = Σ_i p(x_i | x_t) x_i        E[z | x_t] = (x_t − (1 − t) E[x | x_t]) / t
        E[v | x_t] = E[z | x_t] − E[x | x_t]

    At t = 0, where x_t is x and says nothing of z, it is E[z] − x_t = −x_t (slide 76, see the
    errata).

    Args:
        x_t: noisy examples, each with at least one dimension.
        t: their levels in [0, 1], one for each.
        data: x_1, …, x_N, all equally likely, shaped like the examples. One that comes twice is
            twice as likely.
    Returns:
        The velocities, shaped like x_t and in its precision. Finite for every t and every x_t.
        Below t = 10⁻⁵, where rounding leaves little of z, this is enough.
    Raises:
        ValueError: if t is not one level for each example, or data are not shaped like them.
    """
    if t.shape != x_t.shape[:1]:
        raise ValueError(
            f"t must hold one level for each of {len(x_t)} examples, got shape {tuple(t.shape)}"
        )
    if data.shape[1:] != x_t.shape[1:] or len(data) == 0:
        raise ValueError(
            f"data must be examples shaped like those of x_t, at least one: "
            f"data are {tuple(data.shape)}, x_t is {tuple(x_t.shape)}"
        )
    ### BEGIN SOLUTION
    rows, members = x_t.flatten(1).double(), data.flatten(1).double()  # (…, dimensions of x)
    clean = (t == 0)[:, None]
    t = t.double()[:, None].masked_fill(clean, 1.0)  # any level: its result is not used
    # −½‖x_t − (1 − t) x_i‖², without a term that all i share: one matrix product
    near = (1 - t) * (rows @ members.T) - (1 - t) ** 2 / 2 * members.square().sum(1)
    p = ((near - near.amax(1, keepdim=True)) / t**2).softmax(1)  # (batch, examples)
    x = p @ members
    z = (rows - (1 - t) * x) / t
    v = torch.where(clean, -rows, z - x)
    return v.reshape(x_t.shape).to(x_t.dtype)
    ### END SOLUTION


def loss_floor(
    x: Float[Tensor, "batch *shape"],
    z: Float[Tensor, "batch *shape"],
    levels: Float[Tensor, "levels"],
    data: Float[Tensor, "examples *shape"],
) -> Float[Tensor, "levels"]:
    """The loss of the best network, level by level (slides 73–78).

        floor(t) = mean over pairs and dimensions of (v − E[v | x_t])²,
        v = z − x,   x_t = (1 − t) x + t z,   the same pairs at every level

    An estimate of tr Cov[x | x_t] / (t² · dimensions), averaged over x_t.

    Args:
        x: examples drawn at random from the data, each with at least one dimension.
        z: noise, shaped like x.
        levels: t in [0, 1], in any order, both ends included.
        data: the whole data set, as in `optimal_velocity`.
    Returns:
        One number a level, per dimension, in the order of the levels.
    Raises:
        ValueError: if x and z differ in shape, or levels are not one-dimensional.
    """
    if x.shape != z.shape:
        raise ValueError(f"z must be shaped like x: x is {tuple(x.shape)}, z is {tuple(z.shape)}")
    if levels.dim() != 1:
        raise ValueError(f"levels must be one-dimensional, got shape {tuple(levels.shape)}")
    ### BEGIN SOLUTION
    floors = []
    for t in levels:
        x_t = (1 - t) * x + t * z
        best = optimal_velocity(x_t, t.expand(len(x)), data)
        floors.append((z - x - best).square().mean())
    return torch.stack(floors)
    ### END SOLUTION


def logit_normal(
    n: int, m: float = 0.0, s: float = 1.0, generator: torch.Generator | None = None
) -> Float[Tensor, "n"]:
    """Levels whose logit is Gaussian (slides 79–80; Esser et al. 2024, eq. 19).

        t = sigmoid(m + s ε),   ε ~ N(0, 1)

    Args:
        n: how many.
        m: the mean of the logits: below 0 most levels are nearer to the data, above 0 nearer to the
            noise.
        s: their standard deviation.
        generator: for everything random.
    Returns:
        n independent levels in (0, 1), as near to the ends as the logits say.
    Raises:
        ValueError: if s is not positive.
    """
    _check_positive(s, "s")
    ### BEGIN SOLUTION
    return torch.sigmoid(m + s * torch.randn(n, generator=generator))
    ### END SOLUTION


def logit_normal_density(
    t: Float[Tensor, "*shape"], m: float = 0.0, s: float = 1.0
) -> Float[Tensor, "*shape"]:
    """The density p(t) of `logit_normal` (Esser et al. 2024, eq. 19).

        p(t) = 1 / (s √(2π)) · 1 / (t (1 − t)) · exp(−(logit t − m)² / 2s²),
        logit t = log (t / (1 − t))

    Args:
        t: levels in [0, 1], of any shape, one number without an axis too.
        m, s: as in `logit_normal`.
    Returns:
        Densities, shaped like t and in its precision. 0 at both ends, their limit there.
    Raises:
        ValueError: if s is not positive.
    """
    _check_positive(s, "s")
    ### BEGIN SOLUTION
    inside = (t > 0) & (t < 1)
    t = torch.where(inside, t, 0.5)
    jacobian = 1 / (t * (1 - t))  # d logit(t) / dt
    gauss = torch.exp(-0.5 * ((torch.logit(t) - m) / s) ** 2) / (s * math.sqrt(2 * math.pi))
    return torch.where(inside, gauss * jacobian, 0.0)
    ### END SOLUTION


def mode_weighted(n: int, s: float, generator: torch.Generator | None = None) -> Float[Tensor, "n"]:
    """Levels with more weight in the middle, and some at both ends (Esser et al. 2024, eq. 20).

        t = 1 − u − s (cos²(π u / 2) − 1 + u),   u ~ Uniform[0, 1]

    Given. Unlike that of `logit_normal`, its density is not 0 at the ends.

    Args:
        n: how many.
        s: from −1 (most levels near the ends) through 0 (uniform) to 2 / (π − 2) (most in the
            middle).
        generator: for everything random.
    Raises:
        ValueError: if s is outside this range, where t would not be monotonic in u.
    """
    if not -1 <= s <= 2 / (math.pi - 2):
        raise ValueError(f"s must be from −1 to 2 / (π − 2) = 1.75, got {s}")
    u = torch.rand(n, generator=generator)
    return 1 - u - s * (torch.cos(math.pi * u / 2) ** 2 - 1 + u)


def shift(t: Float[Tensor, "*shape"], alpha: float) -> Float[Tensor, "*shape"]:
    """Levels moved toward more noise, for larger images (slides 81–83; Esser et al. 2024, eq. 23).

        t' = α t / (1 + (α − 1) t)

    The ratio of noise to data, t / (1 − t), becomes α times as large.

    Args:
        t: levels in [0, 1], of any shape, one number without an axis too.
        alpha: α, above 1 toward the noise, below 1 toward the data, however large or small.
    Returns:
        t', shaped like t and in its precision. 0 and 1 stay as they are, up to rounding.
    Raises:
        ValueError: if alpha is not positive.
    """
    _check_positive(alpha, "alpha")
    ### BEGIN SOLUTION
    return alpha * t / ((1 - t) + alpha * t)  # so that rounding leaves 1 at 1
    ### END SOLUTION


def resolution_alpha(m: int, n: int) -> float:
    """The shift α that makes images of m pixels as noisy as images of n (slide 83; Esser et al.
    2024).

        α = √(m / n)

    Averaging groups of m/n similar pixels keeps the picture and makes the noise √(m/n) times
    smaller.

    Args:
        m: pixels of an image now, height × width.
        n: pixels of the images for which levels were chosen.
    Raises:
        ValueError: if either is not positive.
    """
    _check_positive(m, "m")
    _check_positive(n, "n")
    ### BEGIN SOLUTION
    return math.sqrt(m / n)
    ### END SOLUTION


def _check_positive(value: float, name: str) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")
