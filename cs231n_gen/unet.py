"""A small convolutional U-Net: a velocity field for images that trains on a laptop. Given.

    16×16 ──► 16×16 ────────────────► 16×16
                8×8 ──────────► 8×8
                      4×4

At each size residual blocks, between sizes a factor of 2, across the same size a skip. The level t
and the condition y enter every block as a scale and a shift per channel.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class UNet(nn.Module):
    """Velocity of an image, `model(x_t, t)` or `model(x_t, t, y)`.

    Args:
        channels: of the image.
        width: channels at full size; twice as many at half and quarter size.
        classes: number of conditions, 0 for an unconditional field.
    """

    def __init__(self, channels: int = 1, width: int = 32, classes: int = 0):
        super().__init__()
        wide = 2 * width
        self.frequencies = nn.Buffer(
            torch.linspace(0, 4, width).exp()
        )  # radians per unit of t, 1 to 55
        self.level = nn.Sequential(
            nn.Linear(2 * width, wide * 2), nn.SiLU(), nn.Linear(wide * 2, wide * 2)
        )
        self.condition = nn.Embedding(classes, wide * 2) if classes else None
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList([Block(width, width, wide * 2), Block(width, wide, wide * 2)])
        self.middle = nn.ModuleList([Block(wide, wide, wide * 2), Block(wide, wide, wide * 2)])
        self.up = nn.ModuleList(
            [Block(2 * wide, wide, wide * 2), Block(wide + width, width, wide * 2)]
        )
        self.out = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)  # the first prediction is 0: no velocity at all
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        x_t: Float[Tensor, "batch channels height width"],
        t: Float[Tensor, "batch"],
        y: Int[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        angle = t[:, None] * self.frequencies
        c = self.level(torch.cat([angle.sin(), angle.cos()], dim=1))
        if self.condition is not None:
            c = c + self.condition(y)
        c = F.silu(c)
        h = self.stem(x_t)
        skips = []
        for block in self.down:
            h = block(h, c)
            skips.append(h)
            h = F.avg_pool2d(h, 2)
        for block in self.middle:
            h = block(h, c)
        for block in self.up:
            h = F.interpolate(h, scale_factor=2)
            h = block(torch.cat([h, skips.pop()], dim=1), c)
        return self.out(F.silu(h))


class Block(nn.Module):
    """Two convolutions around a scale and shift by the condition, with a residual path."""

    def __init__(self, inputs: int, outputs: int, condition: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.modulation = nn.Linear(condition, 2 * outputs)
        self.norm2 = nn.GroupNorm(8, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        r = self.conv1(F.silu(self.norm1(h)))
        scale, shift = self.modulation(c)[:, :, None, None].chunk(2, dim=1)
        r = self.norm2(r) * (1 + scale) + shift
        return self.skip(h) + self.conv2(F.silu(r))
