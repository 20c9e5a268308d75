"""Gaussian mixtures: data whose every question in this course has an answer in closed form.

`density` holds what a mixture is; here is what the perfect net answers for it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cs231n_gen.truth import bayes, floor
from cs231n_gen.truth.bayes import Posterior
from cs231n_gen.truth.checks import per_point, real
from cs231n_gen.truth.density import MixtureDensity


@dataclass(frozen=True, eq=False)
class GaussianMixture(MixtureDensity):
    """p(x) = Σ_k w_k N(x; μ_k, Σ_k), with a label y for each component if wanted, and the exact
    answers for it.

    It never changes, and computes and answers in float64 whatever it is given.

    Args:
        weights: w, positive; they are scaled to sum to 1.
        means: μ, a row for each component.
        covs: Σ, symmetric and positive definite.
        labels: the condition y that each component belongs to; several may share one.
    Raises:
        ValueError: if shapes disagree, a weight is not positive, or a matrix is no covariance.
    """

    def posterior(
        self,
        x_t: Float[Tensor, "*batch dim"],
        a: float | Float[Tensor, "*batch"],
        b: float | Float[Tensor, "*batch"],
        y: int | Int[Tensor, "*batch"] | None = None,
    ) -> Posterior:
        """What x_t = a x + b z tells of x and z, by Bayes' rule.

            E[x | x_t] = Σ_k p(k | x_t) (μ_k + a Σ_k S_k⁻¹ (x_t − a μ_k))
            E[z | x_t] = Σ_k p(k | x_t) b S_k⁻¹ (x_t − a μ_k)

        At a = 1, b = 0 these are x_t and 0; at a = 0, b = 1 they are E[x] and x_t.

        Args:
            x_t: noisy points.
            a, b: how much data and how much noise, one for all points or one for each.
            y: the label known of x, one for all points or one for each; None if it is hidden.
        Raises:
            ValueError: if a = b = 0, a label does not occur, or shapes disagree.
        """
        return bayes.posterior(self, x_t, a, b, y)

    def expectation(self, x_t, a, b, c, d, y=None) -> Float[Tensor, "*batch dim"]:
        """E[c x + d z | x_t], what the perfect net answers for a target (slides 109–115).

        Args are those of `posterior`; c and d are one for all points, or one for each.
        """
        known = self.posterior(x_t, a, b, y)
        c, d = (per_point(real(v), known.x.shape[:-1], n) for v, n in ((c, "c"), (d, "d")))
        return c[..., None] * known.x + d[..., None] * known.z

    def velocity(
        self,
        x_t: Float[Tensor, "*batch dim"],
        t: float | Float[Tensor, "*batch"],
        y: int | Int[Tensor, "*batch"] | None = None,
    ) -> Float[Tensor, "*batch dim"]:
        """E[z − x | x_t], what a perfect rectified flow answers (slides 74–76).

        At t = 1 it is x_1 − E[x], at t = 0 it is −x_0.

        Args:
            x_t: points on the way, x_t = (1 − t) x + t z.
            t: their level, one for all points or one for each.
            y: the condition, likewise; None for the unconditional velocity.
        """
        t = per_point(real(t), torch.as_tensor(x_t).shape[:-1], "t")
        return self.expectation(x_t, 1 - t, t, -1.0, 1.0, y)

    def irreducible_loss(
        self, t: float | Float[Tensor, "levels"], **options
    ) -> Float[Tensor, "*levels"]:
        """E‖v − E[v | x_t]‖² per dimension, the loss of the perfect net at level t.

        Options are those of `truth.irreducible_loss`, which also tells the error.
        """
        return floor.irreducible_loss(self, t, **options).value

    def loss_floor(
        self, density: Callable[[Tensor], Tensor] | None = None, **options
    ) -> Float[Tensor, ""]:
        """The Bayes floor: the loss of the perfect net over levels from p(t), uniform by default.

        Options are those of `truth.loss_floor`, which also tells the error.
        """
        return floor.loss_floor(self, density, **options).value
