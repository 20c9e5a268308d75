"""What the networks of latent diffusion are put together from (slides 85–97). Given."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from cs231n_gen.kernels.launch import leaves_to_kernels

GROUPS = 8  # of channels, each normalised by itself


def group_norm_silu(
    h: Float[Tensor, "batch channels *positions"],
    groups: int,
    weight: Float[Tensor, "channels"],
    bias: Float[Tensor, "channels"],
    eps: float,
) -> Float[Tensor, "batch channels *positions"]:
    """silu(GroupNorm(h)); on a GPU chapter 14's kernel computes it in one pass."""
    if leaves_to_kernels(h, "group_norm_silu"):
        from cs231n_gen.kernels import group_norm_silu as kernel  # here: a grader has no kernels

        return kernel.group_norm_silu(h, groups, weight, bias, eps)
    return F.silu(F.group_norm(viewable(h), groups, weight, bias, eps))


def viewable(h: Tensor) -> Tensor:
    """The same features, in the layout that `torch.func.jvp` needs before a group norm.

    PyTorch's forward derivative of a group norm views its input as (batch, groups, …), which
    cannot be done when channels come last ("view size is not compatible"). Without a tangent
    nothing is copied, so that training keeps the layout that convolutions like.
    """
    return h.contiguous() if _has_tangent(h) else h


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention, by formulas that `torch.func.jvp` knows where it is at work:
    PyTorch's fused attention has no forward derivative."""
    if _has_tangent(q):
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(q, k, v)
    return F.scaled_dot_product_attention(q, k, v)


class NormSiLU(nn.GroupNorm):
    """silu(GroupNorm(h)) with 8 groups and ε = 10⁻⁶.

    Args:
        channels: a multiple of 8.
    """

    def __init__(self, channels: int):
        super().__init__(GROUPS, channels, eps=1e-6)

    def forward(
        self, h: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        return group_norm_silu(h, self.num_groups, self.weight, self.bias, self.eps)


class ResidualBlock(nn.Module):
    """h + conv(silu(norm(conv(silu(norm(h)))))), the identity at first: the last weights are 0.

    Args:
        channels: a multiple of 8.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            NormSiLU(channels),
            nn.Conv2d(channels, channels, 3, padding=1),
            NormSiLU(channels),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(
        self, h: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        return h + self.layers(h)


class PatchDiscriminator(nn.Module):
    """Is this image real? A logit for each patch of it (slides 96–97; Isola et al. 2017).

    A convolutional network without a linear layer: each logit sees 26×26 pixels, and there is one
    for every 4×4 of them. It judges texture, and leaves it to the reconstruction loss what the
    image shows.

    Args:
        channels: of the image, whose height and width are multiples of 4.
        width: channels after the first layer, a multiple of 8.
    """

    def __init__(self, channels: int = 1, width: int = 24):
        super().__init__()
        w = width
        self.layers = nn.Sequential(
            nn.Conv2d(channels, w, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1),
            nn.GroupNorm(GROUPS, 2 * w),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * w, 2 * w, 3, padding=1),
            nn.GroupNorm(GROUPS, 2 * w),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * w, 1, 3, padding=1),
        )
        self.to(memory_format=torch.channels_last)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch 1 rows columns"]:
        return self.layers(x)


def _has_tangent(h: Tensor) -> bool:
    """Whether a forward derivative is being taken through these features."""
    return forward_ad.unpack_dual(h).tangent is not None
