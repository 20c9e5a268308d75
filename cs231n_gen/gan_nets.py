"""Networks for image GANs (slides 30–34): DC-GAN, AdaIN, a small StyleGAN, latent interpolation.

Images are (1, 16, 16) in [−1, 1]. `gan.train` leaves G with averaged weights, which the running
statistics of its batch norms do not match: `torch.optim.swa_utils.update_bn` recomputes them.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen.kernels.launch import leaves_to_kernels

Latents = Float[Tensor, "batch latent"]
ManyLatents = Float[Tensor, "*batch latent"]
Images = Float[Tensor, "batch 1 16 16"]


def initialise(net: nn.Module) -> None:
    """DC-GAN's initial weights: N(0, 0.02²), scales of batch norms N(1, 0.02²), biases 0. Given."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, float(isinstance(layer, nn.BatchNorm2d)), 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Generator(nn.Module):
    """DC-GAN's generator, `G(z)` (slides 30–31; Radford et al. 2016), scaled down to 16×16.

    z is an image of one pixel with `latent` channels. Layers, made in this order, are transposed
    convolutions of 4×4, without a bias where a batch norm with its own shift follows.

        size    channels       stride  padding  then
        1 → 4   latent → 2w    1       0        batch norm, ReLU
        4 → 8   2w → w         2       1        batch norm, ReLU
        8 → 16  w → 1          2       1        tanh

    As in the paper: no pooling, no hidden linear layer, no batch norm on the image. The paper's has
    two more sizes, over which its channels go from 1024 down to 128. Batch norms are torch's with
    the settings that it comes with, so a batch may also hold one example.

    Args:
        latent: dimensions of z.
        width: w.
    """

    def __init__(self, latent: int = 32, width: int = 32):
        super().__init__()
        w = width
        ### BEGIN SOLUTION
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(latent, 2 * w, 4, bias=False),  # (batch, 2w, 4, 4)
            nn.BatchNorm2d(2 * w),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * w, w, 4, stride=2, padding=1, bias=False),  # (batch, w, 8, 8)
            nn.BatchNorm2d(w),
            nn.ReLU(),
            nn.ConvTranspose2d(w, 1, 4, stride=2, padding=1),  # (batch, 1, 16, 16)
            nn.Tanh(),
        )
        ### END SOLUTION
        initialise(self)
        self.to(memory_format=torch.channels_last)  # a CPU convolves these faster

    def forward(self, z: Latents) -> Images:
        ### BEGIN SOLUTION
        return self.layers(z[:, :, None, None])
        ### END SOLUTION


class Discriminator(nn.Module):
    """DC-GAN's discriminator, `D(x)`, a logit for each image (slides 30–31), for 16×16.

    The generator's mirror image: convolutions of 4×4, made in this order.

        size    channels  stride  padding  then
        16 → 8  1 → w     2       1        LeakyReLU of slope 0.2
        8 → 4   w → 2w    2       1        batch norm, LeakyReLU of slope 0.2
        4 → 1   2w → 1    1       0        this is the logit: no sigmoid, `gan.value` takes ℓ

    As in the paper: strides instead of pooling, no batch norm on the image, no bias before one. The
    batch norm is torch's with the settings that it comes with. A batch of one gets (1,).

    Args:
        width: w.
    """

    def __init__(self, width: int = 32):
        super().__init__()
        w = width
        ### BEGIN SOLUTION
        self.layers = nn.Sequential(
            nn.Conv2d(1, w, 4, stride=2, padding=1),  # (batch, w, 8, 8)
            nn.LeakyReLU(0.2),
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * w),  # (batch, 2w, 4, 4)
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * w, 1, 4),  # (batch, 1, 1, 1)
        )
        ### END SOLUTION
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Images) -> Float[Tensor, "batch"]:
        ### BEGIN SOLUTION
        return self.layers(x).flatten()
        ### END SOLUTION


def adain(
    x: Float[Tensor, "batch channels height width"],
    scale: Float[Tensor, "batch channels"],
    bias: Float[Tensor, "batch channels"],
    eps: float = 1e-5,
) -> Float[Tensor, "batch channels height width"]:
    """How a style enters a generator (slide 32; Karras et al. 2019).

        AdaIN(x, w, b) = w (x − μ(x)) / σ(x) + b,    σ(x) = √(variance + ε)

    μ and the variance (divided by n) are those of one channel of one example, over its
    n = height · width numbers, two at least. Both are functions of x, so gradients flow through
    them. On a GPU, chapter 14's kernel computes it.

    Args:
        x: features. Their mean may be far larger than their deviation: σ keeps its digits then (as
            it would not if it came from E[x²] − μ²).
        scale, bias: w and b, a number for each channel of each example.
        eps: ε.
    Returns:
        Features like x: channels have the mean b and, apart from ε, the standard deviation |w|.
    Raises:
        ValueError: if x does not have four axes, or a shape does not fit.
    """
    if x.dim() != 4:
        raise ValueError(f"x must be (batch, channels, height, width), got {tuple(x.shape)}")
    for name, style in (("scale", scale), ("bias", bias)):
        if style.shape != x.shape[:2]:
            shapes = f"{tuple(x.shape[:2])}, got {tuple(style.shape)}"
            raise ValueError(f"{name} must be (batch, channels), here {shapes}")
    if leaves_to_kernels(x) and eps == 1e-5:
        from cs231n_gen.kernels import adain as kernel  # here, so an unfinished one harms nobody

        return kernel.adain(x, scale, bias)
    ### BEGIN SOLUTION
    w, b = scale[:, :, None, None], bias[:, :, None, None]
    mu = x.mean((2, 3), keepdim=True)
    sigma = (x.var((2, 3), correction=0, keepdim=True) + eps).sqrt()
    return w * (x - mu) / sigma + b
    ### END SOLUTION


class StyledLayer(nn.Module):
    """The weights of a `StyleGenerator`'s layer, which makes images `grow` times larger. Given."""

    def __init__(self, inputs: int, outputs: int, style: int, grow: int):
        super().__init__()
        self.grow = grow
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.strength = nn.Parameter(torch.full((outputs,), 0.1))  # of the noise, by channel
        self.style = nn.Linear(style, 2 * outputs)  # w ↦ (s, b)
        nn.init.normal_(self.style.weight, std=style**-0.5)  # at first s and b vary by about 1
        nn.init.zeros_(self.style.bias)


class StyleGenerator(nn.Module):
    """A small StyleGAN generator (slide 32; Karras et al. 2019), `G(z)`.

    A network maps z to w. The image starts not from z but from a learned constant of 4×4; w enters
    every layer as a style, and fresh noise adds the details that no style decides:

        h ← constant
        for each layer, with its own style w and its own noise:
            h ← h, each pixel repeated `grow` times along both axes
            h ← LeakyReLU(conv(h) + strength · noise), slope 0.2
            h ← AdaIN(h, 1 + s, b),    (s, b) = style(w)
        image = tanh(out(h))

    The paper's has two layers for each size, blurs after upsampling, and was trained size by size.

    Args:
        latent: dimensions of z, and of w.
        width: channels at 16×16; there are twice and four times as many at 8×8 and 4×4.
        norm: another function to use in place of `adain`, called once a layer as
            `norm(h, scale, bias)`.
    """

    def __init__(self, latent: int = 32, width: int = 16, norm: Callable | None = None):
        super().__init__()
        w, style = width, latent
        self.adain = norm or adain
        self.mapping = nn.Sequential(
            nn.Linear(latent, style), nn.LeakyReLU(0.2), nn.Linear(style, style), nn.LeakyReLU(0.2)
        )
        for layer in self.mapping[::2]:
            nn.init.kaiming_normal_(layer.weight, 0.2)
            nn.init.zeros_(layer.bias)
        self.constant = nn.Parameter(torch.randn(1, 4 * w, 4, 4))
        sizes = [(4 * w, 4 * w, 1), (4 * w, 2 * w, 2), (2 * w, w, 2)]
        self.layers = nn.ModuleList(StyledLayer(i, o, style, grow) for i, o, grow in sizes)
        self.out = nn.Conv2d(w, 1, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, z: Latents, generator: torch.Generator | None = None) -> Images:
        """The images of latents, each with one style for all layers. Given."""
        styles = [self.mapping(z)] * len(self.layers)
        return self.synthesis(styles, self.noise(len(z), generator))

    def noise(self, batch: int, generator: torch.Generator | None = None) -> list[Tensor]:
        """Fresh N(0, 1) noise for each layer: one number for each pixel. Given."""
        like = {"dtype": self.constant.dtype, "device": self.constant.device}
        return [torch.randn(batch, 1, n, n, generator=generator, **like) for n in (4, 8, 16)]

    def synthesis(
        self,
        styles: Sequence[Float[Tensor, "batch style"]],
        noise: Sequence[Float[Tensor, "batch 1 height width"]],
    ) -> Images:
        """The images of styles and noise, both from 4×4 to 16×16.

        Styles may come from different latents: coarse layers decide shapes, fine ones details.

        Args:
            styles: w for each layer.
            noise: for each layer one number a pixel, shared by all channels and scaled by each.
        """
        ### BEGIN SOLUTION
        h = self.constant.expand(len(styles[0]), -1, -1, -1)
        for layer, w, fresh in zip(self.layers, styles, noise, strict=True):
            h = F.interpolate(h, scale_factor=layer.grow)
            h = layer.conv(h) + layer.strength[:, None, None] * fresh
            s, b = layer.style(w).chunk(2, dim=1)  # (batch, channels) each
            h = self.adain(F.leaky_relu(h, 0.2), 1 + s, b)
        return torch.tanh(self.out(h))
        ### END SOLUTION


def lerp(
    z_0: ManyLatents, z_1: ManyLatents, t: float | Float[Tensor, "*steps"]
) -> Float[Tensor, "*shape latent"]:
    """Linear interpolation between two latents (slide 33).

        z_t = t z_0 + (1 − t) z_1,    so that t = 1 gives z_0 and t = 0 gives z_1

    Args:
        z_0, z_1: latents of one shape, along the last axis.
        t: a number, or one for each latent, or any tensor: t[..., None] is broadcast against z, and
            z_t has the dtype of z whatever that of t. The line goes on beyond its ends, for t
            below 0 and above 1.
    Returns:
        z_t: (batch, latent) for t (batch,) or a number; (steps, latent) for z (latent,) and t
        (steps,); (steps, batch, latent) for t (steps, 1).
    """
    ### BEGIN SOLUTION
    t = torch.as_tensor(t, dtype=z_0.dtype, device=z_0.device)[..., None]
    return t * z_0 + (1 - t) * z_1
    ### END SOLUTION


def slerp(
    z_0: ManyLatents, z_1: ManyLatents, t: float | Float[Tensor, "*steps"]
) -> Float[Tensor, "*shape latent"]:
    """Interpolation between two latents along a great circle (Shoemake 1985; White 2016).

        z_t = (sin(t Ω) z_0 + sin((1 − t) Ω) z_1) / sin Ω,    cos Ω = z_0 · z_1 / (‖z_0‖ ‖z_1‖)

    Ω, from 0 to π, is the angle between the two. If both have one norm, z_t keeps it and turns at a
    constant rate. Gaussian latents in d dimensions have a norm near √d; halfway along the straight
    line it is only √(d/2), which G never saw in training.

    Args:
        z_0, z_1, t: as for `lerp`.
    Returns:
        z_t, shaped as by `lerp`. Where sin Ω is below 1e-3 (latents that are nearly parallel or
        opposite), it is that of `lerp`, and never NaN.
    """
    ### BEGIN SOLUTION
    straight = lerp(z_0, z_1, t)
    t = torch.as_tensor(t, dtype=z_0.dtype, device=z_0.device)[..., None]
    cos = F.cosine_similarity(z_0, z_1, dim=-1)[..., None]
    omega = torch.acos(cos.clamp(-1, 1))
    sin = torch.sin(omega)
    arc = (torch.sin(t * omega) * z_0 + torch.sin((1 - t) * omega) * z_1) / sin
    return torch.where(sin < 1e-3, straight, arc)
    ### END SOLUTION
