"""A small convolutional U-Net: a velocity field for images that trains on a laptop. Given.

    16×16  w ──────────────────────────► + ► block ► velocity
    8×8     └► 2w block ────────► + ► block ┘
    4×4               └► 4w blocks ┘

Channels double where the size halves, so each block costs the same. At each size a skip connection
is added. The level t and the condition y enter every block as a scale and a shift per channel.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen.given.blocks import attend, group_norm_silu, viewable


class UNet(nn.Module):
    """Velocity of an image, `model(x_t, t)` or `model(x_t, t, y)`.

    Args:
        channels: of the image, whose height and width are multiples of 4.
        width: w, channels at full size, a multiple of 8.
        classes: number of conditions, 0 for an unconditional field.
    """

    def __init__(self, channels: int = 1, width: int = 32, classes: int = 0):
        super().__init__()
        w, c = width, 4 * width  # c: size of the condition that t and y become
        self.frequencies = nn.Buffer(torch.linspace(0, 4, 32).exp())  # 1 to 55 radians per unit t
        self.level = nn.Sequential(nn.Linear(64, c), nn.SiLU(), nn.Linear(c, c))
        self.condition = nn.Embedding(classes, c) if classes else None
        self.stem = nn.Conv2d(channels, w, 3, padding=1)
        self.down = nn.ModuleList([UNetBlock(w, 2 * w, c), UNetBlock(2 * w, 4 * w, c)])
        self.middle = UNetBlock(4 * w, 4 * w, c)
        self.attention = SelfAttention(4 * w)
        self.narrow = nn.ModuleList([nn.Conv2d(4 * w, 2 * w, 1), nn.Conv2d(2 * w, w, 1)])
        self.up = nn.ModuleList([UNetBlock(2 * w, 2 * w, c), UNetBlock(w, w, c)])
        self.out = nn.Conv2d(w, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)  # the first prediction is a velocity of 0
        nn.init.zeros_(self.out.bias)
        self.to(memory_format=torch.channels_last)  # a CPU convolves this layout 1.5 times as fast

    def forward(
        self,
        x_t: Float[Tensor, "batch channels height width"],
        t: Float[Tensor, "batch"],
        y: Int[Tensor, "batch"] | None = None,
        more: Float[Tensor, "batch condition"] | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        c = self.embed(t, y, more)
        h, skips = self.encode(x_t, c)
        for narrow, block in zip(self.narrow, self.up, strict=True):
            h = block(skips.pop() + F.interpolate(narrow(h), scale_factor=2), c)
        return self.out(F.silu(h))

    def embed(
        self,
        t: Float[Tensor, "batch"],
        y: Int[Tensor, "batch"] | None = None,
        more: Float[Tensor, "batch condition"] | None = None,
    ) -> Float[Tensor, "batch condition"]:
        """What every block is told of the level, of the condition, and whatever more is added."""
        angle = t[:, None] * self.frequencies
        c = self.level(torch.cat([angle.sin(), angle.cos()], dim=1))
        if self.condition is not None:
            c = c + self.condition(y)
        return F.silu(c if more is None else c + more)

    def encode(
        self, x_t: Float[Tensor, "batch channels height width"], c: Float[Tensor, "batch condition"]
    ) -> tuple[Tensor, list[Tensor]]:
        """The way down: features at a quarter of the size, and those that are skipped to, finest
        first."""
        h = self.stem(x_t)
        skips = []
        for block in self.down:
            skips.append(h)
            h = block(F.avg_pool2d(h, 2), c)
        return self.attention(self.middle(h, c)), skips


class UNetBlock(nn.Module):
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
        norm = self.norm1
        r = self.conv1(group_norm_silu(h, norm.num_groups, norm.weight, norm.bias, norm.eps))
        scale, shift = self.modulation(c)[:, :, None, None].chunk(2, dim=1)
        r = self.norm2(viewable(r)) * (1 + scale) + shift
        return self.skip(h) + self.conv2(F.silu(r))


class SelfAttention(nn.Module):
    """Self-attention between the positions of a coarse image (4 heads), with a residual path."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)  # at first the block is the identity
        nn.init.zeros_(self.out.bias)

    def forward(self, h: Tensor) -> Tensor:
        B, C, H, W = h.shape
        q, k, v = (
            self.query_key_value(self.norm(viewable(h)))
            .reshape(B, 3, 4, C // 4, H * W)
            .transpose(-1, -2)  # (B, 3, heads, H W, C / heads)
            .unbind(1)
        )
        r = attend(q, k, v).transpose(-1, -2)
        return h + self.out(r.reshape(B, C, H, W))
