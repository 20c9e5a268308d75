"""The encoder and the decoder of latent diffusion (slides 85–97): convolutions with attention.

D = 4: an image of H×W pixels becomes latents of H/4 × W/4, with 4 channels unless told otherwise.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cs231n_gen.given.blocks import NormSiLU, ResidualBlock
from cs231n_gen.given.unet import SelfAttention

D = 4
FINE = 16  # channels at full size, where each of them costs most
LEAST, MOST = -30.0, 20.0  # of log σ²


class Encoder(nn.Module):
    """Mean and log-variance of an image's latents, `mean, log_var = encoder(x)` (slides 85–88).

    Layers, made in this order:

        layer                                     channels          size
        convolution 4×4, stride 2, padding 1      channels → w      H → H/2
        SiLU
        convolution 4×4, stride 2, padding 1      w → 2w            H/2 → H/4
        `ResidualBlock`                           2w
        `SelfAttention`                           2w
        `NormSiLU`                                2w
        convolution 1×1                           2w → 2 · latent   μ first, then log σ²

    Args:
        channels: of the image.
        latent: channels of the latents.
        width: w, a multiple of 8.
    """

    def __init__(self, channels: int = 1, latent: int = 4, width: int = 24):
        super().__init__()
        self.channels, w = channels, width
        ### BEGIN SOLUTION
        self.layers = nn.Sequential(
            nn.Conv2d(channels, w, 4, stride=2, padding=1),  # (batch, w, H/2, W/2)
            nn.SiLU(),
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1),  # (batch, 2w, H/4, W/4)
            ResidualBlock(2 * w),
            SelfAttention(2 * w),
            NormSiLU(2 * w),
            nn.Conv2d(2 * w, 2 * latent, 1),
        )
        ### END SOLUTION
        self.to(memory_format=torch.channels_last)  # a CPU convolves these faster

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch latent h w"], Float[Tensor, "batch latent h w"]]:
        """μ and log σ² of images, of any height and width that 4 divides.

        log σ² is kept from −30 to 20, as Rombach et al. (2022) do, so that it is a variance.

        Raises:
            ValueError: if 4 does not divide height and width, or the channels are others.
        """
        if x.dim() != 4 or x.shape[1] != self.channels or x.shape[2] % D or x.shape[3] % D:
            raise ValueError(
                f"x must be (batch, {self.channels}, height, width), both sides multiples of {D}, "
                f"got {tuple(x.shape)}"
            )
        ### BEGIN SOLUTION
        mean, log_var = self.layers(x).chunk(2, dim=1)
        return mean, log_var.clamp(LEAST, MOST)
        ### END SOLUTION


class Decoder(nn.Module):
    """The image of latents, `x_hat = decoder(u)` (slides 89–92), of four times their sides.

    Layers, made in this order:

        layer                                 channels           size
        convolution 3×3, padding 1            latent → 2w        H/4
        `ResidualBlock`                       2w
        `SelfAttention`                       2w
        convolution 1×1                       2w → 4w
        pixel shuffle by 2                    4w → w             H/4 → H/2
        `ResidualBlock`                       w
        `NormSiLU`                            w
        convolution 3×3, padding 1            w → 64
        pixel shuffle by 2                    64 → 16            H/2 → H
        SiLU
        convolution 3×3, padding 1            16 → channels      no tanh at the end

    A pixel shuffle makes 2×2 pixels of four channels (`torch.nn.PixelShuffle`): the layers before
    it work on a quarter of the pixels.

    Args:
        channels: of the image.
        latent: channels of the latents.
        width: w, a multiple of 8.
    """

    def __init__(self, channels: int = 1, latent: int = 4, width: int = 24):
        super().__init__()
        self.latent, w = latent, width
        ### BEGIN SOLUTION
        self.layers = nn.Sequential(
            nn.Conv2d(latent, 2 * w, 3, padding=1),  # (batch, 2w, H/4, W/4)
            ResidualBlock(2 * w),
            SelfAttention(2 * w),
            nn.Conv2d(2 * w, 4 * w, 1),
            nn.PixelShuffle(2),  # (batch, w, H/2, W/2)
            ResidualBlock(w),
            NormSiLU(w),
            nn.Conv2d(w, 4 * FINE, 3, padding=1),
            nn.PixelShuffle(2),  # (batch, 16, H, W)
            nn.SiLU(),
            nn.Conv2d(FINE, channels, 3, padding=1),
        )
        ### END SOLUTION
        self.to(memory_format=torch.channels_last)

    def forward(
        self, u: Float[Tensor, "batch latent h w"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The images of latents of any height and width.

        Raises:
            ValueError: if u is not (batch, latent, h, w).
        """
        if u.dim() != 4 or u.shape[1] != self.latent:
            raise ValueError(f"u must be (batch, {self.latent}, h, w), got {tuple(u.shape)}")
        ### BEGIN SOLUTION
        return self.layers(u)
        ### END SOLUTION

    @property
    def last_layer(self) -> nn.Parameter:
        """The weights of the last convolution, for `latent.adaptive_weight`. Given."""
        return [p for p in self.parameters() if p.dim() == 4][-1]
