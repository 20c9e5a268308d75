"""Five sets of points in the plane, each with the exact density it is drawn from."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cs231n_gen.truth import GaussianMixture


@dataclass(frozen=True)
class Toy:
    """A distribution in the plane.

    name: what it is called.
    draw: `draw(n, generator)` returns points in float64 and their labels.
    log_density: exact log p(x) in nats per unit area.
    mixture: the Gaussian mixture it is (for moons and swiss roll: is to quadrature accuracy), or
    None.
    """

    name: str
    draw: Callable[[int, torch.Generator | None], tuple[Tensor, Tensor]]
    log_density: Callable[[Tensor], Tensor]
    mixture: GaussianMixture | None = None

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n 2"]:
        """n points, float32."""
        return self.sample_labelled(n, generator)[0]

    def sample_labelled(
        self, n: int, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n 2"], Int[Tensor, "n"]]:
        """n points and their labels (component, moon, arm or square)."""
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        x, y = self.draw(n, generator)
        return x.float(), y


def ring(components: int = 8, radius: float = 2.0, std: float = 0.2) -> Toy:
    """Gaussians on a circle, each of standard deviation `std` (not variance)."""
    angle = torch.arange(components, dtype=torch.float64) * 2 * math.pi / components
    means = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
    mixture = GaussianMixture.isotropic(means, std, labels=torch.arange(components))

    def draw(n, generator):
        y = torch.randint(0, components, (n,), generator=generator)
        return means[y] + std * _normal((n, 2), generator), y

    return Toy("ring", draw, mixture.log_density, mixture)


def moons(std: float = 0.12) -> Toy:
    """Two interleaved half circles with Gaussian noise; label 0 is the upper one."""
    radius = 1.4

    def curve(s, y):
        """The point of moon y after a share s of its half circle."""
        sign = 1 - 2 * y
        return torch.stack(
            [
                radius * (sign * torch.cos(math.pi * s) - 0.5 * sign),
                radius * (sign * torch.sin(math.pi * s) - 0.25 * sign),
            ],
            dim=-1,
        )

    return _noisy_curve("moons", curve, 2, std, nodes=80)


def swiss_roll(std: float = 0.1) -> Toy:
    """A spiral of one and a half turns, with Gaussian noise. The share s along it is uniform."""

    def curve(s, y):
        angle = 1.5 * math.pi * (1 + 2 * s)
        return 0.17 * torch.stack([angle * angle.cos(), angle * angle.sin()], dim=-1)

    return _noisy_curve("swiss roll", curve, 1, std, nodes=320)


def checkerboard() -> Toy:
    """The black squares of a 4×4 board on [−2, 2]², each point of them equally likely."""

    def draw(n, generator):
        y = torch.randint(0, 8, (n,), generator=generator)
        row = y // 2
        column = 2 * (y % 2) + row % 2
        corner = torch.stack([column, row], dim=1) - 2.0
        return corner + torch.rand(n, 2, generator=generator, dtype=torch.float64), y

    def log_density(x):
        cell = x.double().floor()
        black = (cell.sum(-1) % 2 == 0) & (x.abs() < 2).all(-1)
        return torch.where(black, torch.tensor(-math.log(8), dtype=torch.float64), -math.inf)

    return Toy("checkerboard", draw, log_density)


def pinwheel(
    arms: int = 5, radial: float = 0.35, tangential: float = 0.1, rate: float = 0.9
) -> Toy:
    """Gaussians on a circle, longer along the radius, then twisted by an angle that grows with |x|.

    A twist moves each point along its circle around the origin, so it keeps areas: p(x) is the
    mixture's density at the untwisted point, exactly.
    """
    angle = torch.arange(arms, dtype=torch.float64) * 2 * math.pi / arms
    rotation = _rotation(angle)  # (arms, 2, 2)
    means = rotation @ torch.tensor([1.5, 0.0], dtype=torch.float64)
    stretch = torch.diag(torch.tensor([radial**2, tangential**2], dtype=torch.float64))
    covs = rotation @ stretch @ rotation.mT
    straight = GaussianMixture(torch.ones(arms), means, covs, labels=torch.arange(arms))

    def twist(x, direction):
        turn = _rotation(direction * rate * x.norm(dim=-1))
        return (turn @ x[..., None])[..., 0]

    def draw(n, generator):
        x, y = straight.sample_labelled(n, generator)
        return twist(x, 1), y

    return Toy("pinwheel", draw, lambda x: straight.log_density(twist(x.double(), -1)))


TOYS = {
    "ring": ring,
    "moons": moons,
    "swiss roll": swiss_roll,
    "checkerboard": checkerboard,
    "pinwheel": pinwheel,
}


def _noisy_curve(name: str, curve: Callable, curves: int, std: float, nodes: int) -> Toy:
    """Points of curves, s uniform in [0, 1], with Gaussian noise.

    The density is the integral over s of N(x; curve(s), std²). Gauss–Legendre quadrature
    turns it into a mixture with a component at each node. Once the nodes are closer than `std`,
    only rounding error is left.
    """
    s, weights = np.polynomial.legendre.leggauss(nodes)
    s, weights = torch.tensor((s + 1) / 2), torch.tensor(weights / 2)
    labels = torch.arange(curves).repeat_interleave(nodes)
    mixture = GaussianMixture.isotropic(
        curve(s.repeat(curves), labels), std, weights.repeat(curves), labels
    )

    def draw(n, generator):
        y = torch.randint(0, curves, (n,), generator=generator)
        s = torch.rand(n, generator=generator, dtype=torch.float64)
        return curve(s, y) + std * _normal((n, 2), generator), y

    return Toy(name, draw, mixture.log_density, mixture)


def _rotation(angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def _normal(shape: tuple, generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)
