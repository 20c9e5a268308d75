"""Multilayer perceptrons: a plain one, velocity fields for points, on (x_t, t, y) or with guidance
as an input, and a mean velocity, on (x_t, t, s). Given."""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class MLP(nn.Module):
    """A plain network with SiLU between its layers: a generator or a discriminator of points.

    Args:
        inputs, outputs: size of the input and of the output.
        hidden: width of the hidden layers.
        layers: how many hidden layers.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int = 128, layers: int = 3):
        super().__init__()
        widths = [inputs] + [hidden] * layers
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.out = nn.Linear(hidden, outputs)

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs"]:
        for layer in self.hidden:
            x = F.silu(layer(x))
        return self.out(x)


class VelocityMLP(nn.Module):
    """Velocity of a point, `model(x_t, t)` or `model(x_t, t, y)`.

    The field changes fast as t nears 0, which a network given only the number t learns slowly, so
    it also gets sin(k π t / 2) and cos(k π t / 2) for k = 1, 2, … (Fourier features: Tancik et al.
    2020).

    Args:
        dim: dimensions of a point.
        hidden: width of the hidden layers.
        layers: how many hidden layers.
        frequencies: how many sines and cosines of t.
        classes: number of conditions, 0 for an unconditional field.
    """

    def __init__(
        self,
        dim: int = 2,
        hidden: int = 64,
        layers: int = 3,
        frequencies: int = 6,
        classes: int = 0,
    ):
        super().__init__()
        widths = [dim + 1 + 2 * frequencies + classes] + [hidden] * layers
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.out = nn.Linear(hidden, dim)
        self.frequencies = nn.Buffer(torch.arange(1, frequencies + 1) * torch.pi / 2)
        self.classes = classes

    def forward(
        self,
        x_t: Float[Tensor, "batch dim"],
        t: Float[Tensor, "batch"],
        y: Int[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch dim"]:
        angle = t[:, None] * self.frequencies
        inputs = [x_t, t[:, None], angle.sin(), angle.cos()]
        if self.classes:
            inputs.append(F.one_hot(y, self.classes).to(x_t.dtype))
        h = torch.cat(inputs, dim=1)  # (batch, dim + 1 + 2 frequencies + classes)
        for layer in self.hidden:
            h = F.silu(layer(h))
        return self.out(h)


class MeanVelocityMLP(nn.Module):
    """Mean velocity of a point between two levels, `model(x_t, t, s)` (chapter 12).

    It gets the numbers t and t − s and the sines and cosines of both, as `VelocityMLP` does of t.

    Args:
        dim, hidden, layers, frequencies: as in `VelocityMLP`.
    """

    def __init__(self, dim: int = 2, hidden: int = 64, layers: int = 3, frequencies: int = 6):
        super().__init__()
        self.net = MLP(dim + 2 * (1 + 2 * frequencies), dim, hidden, layers)
        self.frequencies = nn.Buffer(torch.arange(1, frequencies + 1) * torch.pi / 2)

    def forward(
        self, x_t: Float[Tensor, "batch dim"], t: Float[Tensor, "batch"], s: Float[Tensor, "batch"]
    ) -> Float[Tensor, "batch dim"]:
        inputs = [x_t]
        for level in (t, t - s):
            angle = level[:, None] * self.frequencies
            inputs += [level[:, None], angle.sin(), angle.cos()]
        return self.net(torch.cat(inputs, dim=1))


class GuidedVelocityMLP(VelocityMLP):
    """Velocity of a point with the guidance weight as an input, `model(x_t, t, y, w)` (chapter 12).

    w, (batch,), comes in beside the point. Args are those of `VelocityMLP`, which has classes here.
    """

    def __init__(self, dim: int = 2, hidden: int = 64, classes: int = 2, **options):
        super().__init__(dim + 1, hidden, classes=classes, **options)
        self.out = nn.Linear(hidden, dim)

    def forward(
        self,
        x_t: Float[Tensor, "batch dim"],
        t: Float[Tensor, "batch"],
        y: Int[Tensor, "batch"],
        w: Float[Tensor, "batch"],
    ) -> Float[Tensor, "batch dim"]:
        return super().forward(torch.cat([x_t, w[:, None]], dim=1), t, y)
