"""What no net can beat: the loss that is left for the perfect one (slides 73–83, 109–115).

For x_t = a x + b z and the target y = c x + d z the perfect net answers E[y | x_t], and misses the
variance of y that x_t leaves open. A part of it lies within the components, in closed form; the
rest, between them, is averaged over x_t on a grid (`average`):

    E‖y − E[y|x_t]‖² = (c b − d a)² Σ_k w_k tr(Σ_k S_k⁻¹) + E Σ_k p(k|x_t) ‖y_k − E[y|x_t]‖²

with S_k = a² Σ_k + b² I and y_k = E[y | x_t, k].
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cs231n_gen.truth import checks
from cs231n_gen.truth.average import Estimate, expect
from cs231n_gen.truth.bayes import ambiguity
from cs231n_gen.truth.checks import real
from cs231n_gen.truth.density import MixtureDensity

OfLevel = Callable[[Float[Tensor, "levels"]], Float[Tensor, "levels"]]
NODES = 32  # levels at which the integral over t looks


def irreducible_loss(
    mixture: MixtureDensity,
    t: float | Float[Tensor, "levels"],
    *,
    conditional: bool = False,
    a: OfLevel = lambda t: 1 - t,
    b: OfLevel = lambda t: t,
    c: OfLevel = lambda t: -torch.ones_like(t),
    d: OfLevel = lambda t: torch.ones_like(t),
) -> Estimate:
    """E‖y − E[y | x_t]‖² per dimension at level t, for rectified flow's y = z − x or any other.

    In one and two dimensions the value is good to 1e-6 of itself or better, unless components
    much narrower than the gaps between them are too many for a fine grid; `error` tells.

    Args:
        mixture: where the data come from.
        t: one level, or a row of them.
        conditional: whether the net sees the label y; then the floor is Σ_y p(y) · floor of p(x|y).
        a, b, c, d: functions of t in x_t = a x + b z and in the target c x + d z.
    Returns:
        `value` and its numerical `error`, shaped like t.
    Raises:
        ValueError: if t is not a level or a row of them, or a(t) = b(t) = 0.
    """
    t = real(t)
    if t.dim() > 1 or not t.isfinite().all():
        raise ValueError(f"t must be one level or a row of levels, got {t.tolist()}")
    levels = t.reshape(-1)
    a, b, c, d = (real(f(levels)).expand_as(levels) for f in (a, b, c, d))
    checks.coefficients(a, b, levels.shape)
    coefficients = torch.stack([a, b, c, d], dim=1).tolist()
    total = torch.zeros(len(levels), 2, dtype=torch.float64)  # value and error
    for p, part in _by_label(mixture) if conditional else [(1.0, mixture)]:
        rows = [torch.stack(_at_level(part, *row)) for row in coefficients]
        total += p * torch.stack(rows)
    return Estimate(*total.mT.reshape(2, *t.shape))


def loss_floor(mixture: MixtureDensity, density: OfLevel | None = None, **options) -> Estimate:
    """The Bayes floor ∫ p(t) E‖y − E[y | x_t]‖² dt, per dimension: what no net can beat.

    By Gauss–Legendre: good to 1e-6 of itself for a smooth p(t) and standard deviations in the data
    of 0.03 or more, 1e-5 for 0.01.

    Args:
        mixture: where the data come from.
        density: p(t) on [0, 1], called with a row of levels; uniform if it is not given.
        options: `conditional`, `a`, `b`, `c` and `d` of `irreducible_loss`.
    Returns:
        `value`, and the `error` that the averages over x_t bring in.
    Raises:
        ValueError: if the density does not integrate to 1.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    t, weights = torch.tensor((nodes + 1) / 2), torch.tensor(weights / 2)  # from [−1, 1] to [0, 1]
    if density is not None:
        weights = weights * real(density(t))
    if not abs(weights.sum() - 1) < 0.01:
        raise ValueError(f"density must integrate to 1 over [0, 1], got {weights.sum():.4g}")
    loss = irreducible_loss(mixture, t, **options)
    return Estimate(weights @ loss.value, weights @ loss.error)


def _at_level(mixture: MixtureDensity, a, b, c, d) -> Estimate:
    variances = mixture.axes.variances  # (dim, components)
    tr_k = (variances / (a**2 * variances + b**2)).sum(0)  # tr(Σ_k S_k⁻¹)
    within = (c * b - d * a) ** 2 * tr_k @ mixture.weights
    if mixture.components == 1:
        return Estimate(within / mixture.dim, torch.zeros_like(within))
    between = expect(mixture.noised(a, b), lambda x_t: ambiguity(mixture, x_t, a, b, c, d))
    return Estimate((within + between.value) / mixture.dim, between.error / mixture.dim)


def _by_label(mixture: MixtureDensity) -> list[tuple[float, MixtureDensity]]:
    """p(y) and p(x | y) for every label y."""
    share = [float(mixture.weights[mixture.labels == y].sum()) for y in mixture.classes]
    return [(p, mixture.given(int(y))) for p, y in zip(share, mixture.classes, strict=True)]
