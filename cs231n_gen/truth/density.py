"""A Gaussian mixture as a density: its samples, its score, its classes, and itself after noise.

Noise leaves a mixture a mixture: in x_t = a x + b z component k is N(a μ_k, S_k) with S_k =
a² Σ_k + b² I. The formulas divide by S_k alone, never by a or b, so they hold at both ends.

What the perfect net makes of it is in `mixture`.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cs231n_gen.truth import checks
from cs231n_gen.truth.axes import Axes
from cs231n_gen.truth.checks import real


@dataclass(frozen=True, eq=False)
class MixtureDensity:
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
    ) -> Self:
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
                "isotropic takes means (components, dim) and a positive std, one or one each, "
                f"got means of shape {tuple(means.shape)} and std {std.tolist()}"
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

    def given(self, y: int) -> Self:
        """p(x | y): the components labelled y, their weights scaled to sum to 1."""
        labels = self.known_labels(y)
        k = labels == y
        return type(self)(self.weights[k], self.means[k], self.covs[k], labels[k])

    def label_probabilities(
        self, x: Float[Tensor, "*batch dim"]
    ) -> Float[Tensor, "*batch classes"]:
        """p(y | x), a column for each of `classes`: the answer of the perfect classifier."""
        belongs = self.known_labels()[:, None] == self.classes  # (components, classes)
        return self.log_joint(x)[0].softmax(-1) @ belongs.double()

    def noised(self, a: float, b: float) -> Self:
        """The mixture of x_t = a x + b z for z ~ N(0, I): components N(a μ_k, a² Σ_k + b² I)."""
        covs = a**2 * self.covs + b**2 * torch.eye(self.dim, dtype=torch.float64)
        return type(self)(self.weights, a * self.means, covs, self.labels)

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
            raise ValueError(f"y must be among the labels {self.classes.tolist()}, got {y}")
        return self.labels

    def _draw(self, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"n must be a whole number of at least 1, got {n!r}")
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.dim, generator=generator, dtype=torch.float64)
        x = self.means[k]
        for j in k.unique():
            x[k == j] += self.axes.from_noise(noise[k == j], j)
        return x, k
