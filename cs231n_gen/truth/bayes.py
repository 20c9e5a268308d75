"""What a noisy point tells of the data and the noise in it, by Bayes' rule (slides 73–76)."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from cs231n_gen.truth import checks
from cs231n_gen.truth.density import MixtureDensity


@dataclass(frozen=True, eq=False)
class Posterior:
    """What x_t = a x + b z tells of x and z.

    Attributes:
        x: E[x | x_t].
        z: E[z | x_t].
        responsibilities: p(k | x_t), a column for each component.
        variance: E[‖x − E[x | x_t]‖² | x_t], the trace of Cov[x | x_t].
    """

    x: Float[Tensor, "*batch dim"]
    z: Float[Tensor, "*batch dim"]
    responsibilities: Float[Tensor, "*batch components"]
    variance: Float[Tensor, "*batch"]


def posterior(mixture: MixtureDensity, x_t, a, b, y=None) -> Posterior:
    """See `GaussianMixture.posterior`."""
    r, u, s, a, b = _seen(mixture, x_t, a, b, y)
    axes = mixture.axes
    x_k = axes.centres + a * axes.variances / s * u
    within = (b**2 * axes.variances / s).sum(-2)  # the trace of b² Σ_k S_k⁻¹
    return Posterior(
        x=axes.mean(r, x_k),
        z=axes.mean(r, b / s * u),
        responsibilities=r,
        variance=(r * within).sum(-1) + axes.spread(r, x_k),
    )


def ambiguity(
    mixture: MixtureDensity,
    x_t: Float[Tensor, "*batch dim"],
    a: float,
    b: float,
    c: float,
    d: float,
) -> Float[Tensor, "*batch"]:
    """How far the components disagree about y = c x + d z at x_t = a x + b z.

    Σ_k p(k | x_t) ‖E[y | x_t, k] − E[y | x_t]‖²
    """
    r, u, s, a, b = _seen(mixture, x_t, a, b)
    axes = mixture.axes
    y_k = c * axes.centres + (c * a * axes.variances + d * b) / s * u
    return axes.spread(r, y_k)


def _seen(mixture: MixtureDensity, x_t, a, b, y=None) -> tuple[Tensor, ...]:
    """p(k | x_t) and, along the axes of k, x_t − a μ_k and s; a and b, ready to multiply."""
    x_t = checks.points(x_t, mixture.dim)
    batch = x_t.shape[:-1]
    a, b = checks.coefficients(a, b, batch)
    a, b = a[..., None, None], b[..., None, None]
    log_joint, u, s = mixture.log_joint(x_t, a, b)
    if y is not None:
        other = mixture.known_labels(y) != checks.per_point(y, batch, "y")[..., None]
        log_joint = log_joint.masked_fill(other, -math.inf)
    return log_joint.softmax(-1), u, s, a, b
