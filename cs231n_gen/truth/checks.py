"""What comes in: everything becomes float64, and what cannot be meant is refused by name."""

import torch
from torch import Tensor


def real(value) -> Tensor:
    """A number, a list, an array or a tensor of any precision, as a float64 tensor."""
    return torch.as_tensor(value, dtype=torch.float64)  # at once: 0.1 is a float32 to torch


def points(x, dim: int) -> Tensor:
    """Points for a mixture, (*batch, dim)."""
    x = real(x)
    if x.dim() == 0 or x.shape[-1] != dim:
        raise ValueError(f"x must be (..., {dim}) for this mixture, got {tuple(x.shape)}")
    return x


def per_point(value, batch: torch.Size, name: str) -> Tensor:
    """A level, a coefficient or a label: one for all points, or one for each of them."""
    value = torch.as_tensor(value)
    # Whatever else torch would broadcast is a mistake, such as t of shape (batch, 1).
    if value.shape not in (torch.Size(), batch):
        raise ValueError(
            f"{name} must be one number or one for each point, "
            f"got shape {tuple(value.shape)} for points of shape {tuple(batch)}"
        )
    return value


def coefficients(a, b, batch: torch.Size) -> tuple[Tensor, Tensor]:
    """a and b of x_t = a x + b z, of which one at least must not be 0."""
    a, b = per_point(real(a), batch, "a"), per_point(real(b), batch, "b")
    if not (a.square() + b.square() > 0).all():  # also refuses NaN
        raise ValueError("a and b must be numbers that are not both 0 in x_t = a x + b z")
    return a, b


def mixture(weights: Tensor, means: Tensor, covs: Tensor, labels: Tensor | None) -> None:
    """The parameters of a mixture, before anything is computed from them."""
    if means.dim() != 2 or 0 in means.shape:
        raise ValueError(f"means must be (components, dim), got {tuple(means.shape)}")
    K, D = means.shape
    if weights.shape != (K,):
        raise ValueError(f"weights must be {(K,)} for these means, got {tuple(weights.shape)}")
    if covs.shape != (K, D, D):
        raise ValueError(f"covs must be {(K, D, D)} for these means, got {tuple(covs.shape)}")
    if not (weights.isfinite() & (weights > 0)).all():
        raise ValueError(f"weights must be positive, got {weights.tolist()}")
    if not means.isfinite().all():
        raise ValueError("means must be finite")
    rounding = 1e-6 * covs.abs().amax()  # of covariances that were estimated in float32
    if not ((covs - covs.mT).abs() <= rounding).all():  # also refuses NaN
        raise ValueError("covs must be symmetric: one differs from its transpose")
    if labels is not None and (labels.is_floating_point() or labels.shape != (K,)):
        raise ValueError(
            f"labels must be {K} whole numbers, one for each component, "
            f"got {tuple(labels.shape)} of {labels.dtype}"
        )


def positive_definite(variances: Tensor) -> None:
    """Eigenvalues of covariances, ascending: above 0 by more than rounding."""
    rounding = variances.shape[-1] * torch.finfo(torch.float64).eps * variances[:, -1]
    if not (variances[:, 0] > rounding).all():
        least = float(variances[:, 0].min())
        raise ValueError(f"covs must be positive definite, got {least:.3g} as the least eigenvalue")
