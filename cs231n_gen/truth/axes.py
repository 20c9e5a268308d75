"""The axes of the components of a mixture: along them noise leaves every covariance diagonal.

For x_t = a x + b z component k has mean a μ_k and covariance S_k = a² Σ_k + b² I. With the
eigenvalues λ of Σ_k, S_k has s = a² λ + b² along the same axes, for every a and b.

Arrays along the axes are (..., dim, components): with components last, sums over dim are fast.
"""

import torch
from jaxtyping import Float
from torch import Tensor


class Axes:
    """Coordinates along the axes of every component at once.

    Args:
        means: μ, a row for each component.
        covs: Σ, symmetric.
    Attributes:
        variances: λ along the axes.
        centres: the means along their own axes.
    """

    def __init__(
        self, means: Float[Tensor, "components dim"], covs: Float[Tensor, "components dim dim"]
    ):
        variances, axes = torch.linalg.eigh(covs)  # the axes are the columns
        self.variances: Float[Tensor, "dim components"] = variances.T.contiguous()
        self.centres: Float[Tensor, "dim components"] = torch.einsum("ki,kij->jk", means, axes)
        self._roots = axes * variances.sqrt()[:, None, :]  # (components, dim, dim)
        self._all = axes.permute(1, 2, 0).flatten(1)  # (dim, dim · components)

    def along(
        self, x: Float[Tensor, "*batch dim"], a: float | Tensor
    ) -> Float[Tensor, "*batch dim components"]:
        """x − a μ_k along the axes of every component k."""
        return (x @ self._all).unflatten(-1, self.centres.shape) - a * self.centres

    def mean(
        self,
        r: Float[Tensor, "*batch components"],
        u: Float[Tensor, "*batch dim components"],
    ) -> Float[Tensor, "*batch dim"]:
        """Σ_k r_k u_k, each u_k turned back from the axes of k."""
        return (r[..., None, :] * u).flatten(-2) @ self._all.mT

    def spread(
        self,
        r: Float[Tensor, "*batch components"],
        u: Float[Tensor, "*batch dim components"],
    ) -> Float[Tensor, "*batch"]:
        """Σ_k r_k ‖u_k − mean‖², how far the components are from their mean."""
        squares = (r * u.square().sum(-2)).sum(-1)  # turning a vector keeps its length
        return (squares - self.mean(r, u).square().sum(-1)).clamp_min(0)

    def from_noise(self, noise: Float[Tensor, "n dim"], k: int) -> Float[Tensor, "n dim"]:
        """Points of N(0, Σ_k) from unit Gaussian noise."""
        return noise @ self._roots[k].mT
