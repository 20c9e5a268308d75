"""Gaussian mixtures: data whose every question in this course has an answer in closed form.

Noise leaves a mixture a mixture: in x_t = a x + b z component k is N(a μ_k, S_k) with S_k =
a² Σ_k + b² I. The formulas divide by S_k alone, never by a or b, so they hold at both ends.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cs231n_gen.truth import bayes, checks, floor
from cs231n_gen.truth.axes import Axes
from cs231n_gen.truth.bayes import Posterior
from cs231n_gen.truth.checks import per_point, real


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """p(x) = Σ_k w_k N(x; μ_k, Σ_k), with a label y for each component if wanted.

    It never changes, and computes and answers in float64 whatever it is given.

    Args:
        weights: w, positive; they are scaled to sum to 1.
        means: μ, a row for each component.
        covs: Σ, symmetric and positive definite.
        labels: the condition y that each component belongs to; several may share one.
    Raises:
        ValueError: if shapes disagree, a weight is not positive, or a matrix is no covariance.
    """

    weights: Float[Tensor, "components"]
    means: Float[Tensor, "components dim"]
    covs: Float[Tensor, "components dim dim"]
    labels: Int[Tensor, "components"] | None = None

    def __post_init__(self) -> None:
        weights, means, covs = (real(v).clone() for v in (self.weights, self.means, self.covs))
        labels = None if self.labels is None else torch.as_tensor(self.labels)
        checks.mixture(weights, means, covs, labels)
        object.__setattr__(self, "weights", weights / weights.sum())
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "covs", (covs + covs.mT) / 2)
        object.__setattr__(self, "labels", None if labels is None else labels.long().clone())
        checks.positive_definite(self.axes.variances.T)

    @classmethod
    def isotropic(
        cls,
        means: Float[Tensor, "components dim"],
        std: float | Float[Tensor, "components"],
        weights: Float[Tensor, "components"] | None = None,
        labels: Int[Tensor, "components"] | None = None,
    ) -> "GaussianMixture":
        """Round components, Σ_k = std_k² I, equally likely unless weights are given.

        Args:
            means, weights, labels: as for the class.
            std: standard deviation (not variance) in every direction, one for all or one each.
        Raises:
            ValueError: as for the class, and if a std is not positive.
        """
        means, std = real(means), real(std)
        if means.dim() != 2 or std.shape not in ((), means.shape[:1]) or not (std > 0).all():
            raise ValueError(
                "isotropic takes means (components, dim) and a positive std, one or one each: "
                f"means are {tuple(means.shape)}, std is {std.tolist()}"
            )
        K, D = means.shape
        covs = std.expand(K)[:, None, None] ** 2 * torch.eye(D, dtype=torch.float64)
        return cls(torch.ones(K) if weights is None else weights, means, covs, labels)

    @property
    def components(self) -> int:
        """How many Gaussians."""
        return self.means.shape[0]

    @property
    def dim(self) -> int:
        """Dimensions of x."""
        return self.means.shape[1]

    @cached_property
    def axes(self) -> Axes:
        """The components' own axes, along which everything is computed."""
        return Axes(self.means, self.covs)

    @property
    def classes(self) -> Int[Tensor, "classes"]:
        """The labels that occur, each once, in order."""
        return self.known_labels().unique()

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n dim"]:
        """Draw n points: each from a component chosen by its weight."""
        return self._draw(n, generator)[0]

    def sample_labelled(
        self, n: int, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n dim"], Int[Tensor, "n"]]:
        """Draw n points and the labels of their components, `(x, y)`."""
        labels = self.known_labels()
        x, k = self._draw(n, generator)
        return x, labels[k]

    def log_density(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """log p(x) in nats; finite however far x is from every component."""
        return self.log_joint(x)[0].logsumexp(-1)

    def density(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """p(x)."""
        return self.log_density(x).exp()

    def score(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """∂/∂x log p(x) = −Σ_k p(k | x) Σ_k⁻¹ (x − μ_k) (slide 117)."""
        log_joint, u, s = self.log_joint(x)
        return -self.axes.mean(log_joint.softmax(-1), u / s)

    def given(self, y: int) -> "GaussianMixture":
        """p(x | y): the components labelled y, their weights scaled to sum to 1."""
        labels = self.known_labels(y)
        k = labels == y
        return GaussianMixture(self.weights[k], self.means[k], self.covs[k], labels[k])

    def label_probabilities(
        self, x: Float[Tensor, "*batch dim"]
    ) -> Float[Tensor, "*batch classes"]:
        """p(y | x), a column for each of `classes`: the answer of the perfect classifier."""
        belongs = self.known_labels()[:, None] == self.classes  # (components, classes)
        return self.log_joint(x)[0].softmax(-1) @ belongs.double()

    def noised(self, a: float, b: float) -> "GaussianMixture":
        """The mixture of x_t = a x + b z for z ~ N(0, I): components N(a μ_k, a² Σ_k + b² I)."""
        covs = a**2 * self.covs + b**2 * torch.eye(self.dim, dtype=torch.float64)
        return GaussianMixture(self.weights, a * self.means, covs, self.labels)

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

    def log_joint(self, x, a=1.0, b=0.0) -> tuple[Tensor, Tensor, Tensor]:
        """log w_k N(x; a μ_k, S_k), and along the axes of k x − a μ_k and the variances of S_k."""
        u = self.axes.along(checks.points(x, self.dim), a)  # (..., dim, components)
        s = a**2 * self.axes.variances + b**2
        log_normal = -0.5 * ((u.square() / s).sum(-2) + (2 * math.pi * s).log().sum(-2))
        return self.weights.log() + log_normal, u, s

    def known_labels(self, y: int | Tensor | None = None) -> Int[Tensor, "components"]:
        """The label of each component, once it is sure that there are labels, and y among them."""
        if self.labels is None:
            raise ValueError("this mixture has no labels: make it with labels to ask for some y")
        if y is not None and not torch.isin(torch.as_tensor(y), self.labels).all():
            raise ValueError(f"y must be among the labels {self.classes.tolist()}: {y} came")
        return self.labels

    def _draw(self, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"n must be a whole number of at least 1: {n!r} came")
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.dim, generator=generator, dtype=torch.float64)
        x = self.means[k]
        for j in k.unique():
            x[k == j] += self.axes.from_noise(noise[k == j], j)
        return x, k
