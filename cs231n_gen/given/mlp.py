"""Multilayer perceptrons: a plain one, and a velocity field for points, on (x_t, t, y). Given."""

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
