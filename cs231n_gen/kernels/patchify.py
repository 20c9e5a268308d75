"""Images cut into patches, each of them a token, and back (slides 98–102; DiT)."""

import torch
from torch import Tensor

from cs231n_gen.kernels.launch import check_dtype, check_shape, tl, triton, uses_kernel

TILE = 2048


@triton.jit
def kernel(
    x,
    tokens,
    of_example,
    of_channel,
    of_row,
    of_column,
    H,
    W,
    C: tl.constexpr,
    P: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Program (i, j) moves block i of all pixels, none of which is in two examples, and of these
    block j of the channels:

        tokens[n, h // P · (W/P) + w // P, (h % P · P + w % P) · C + c] = x[n, c, h, w]

    An example has ⌈H·W / PIXELS⌉ blocks of pixels, and block i is the next one after block i − 1:
    the first example's come first. Pixel number h·W + w of an example is the one at (h, w). The
    last block of an example may stick out beyond its H·W pixels, and the last of the channels
    beyond C: nothing is read or written there. There may be too many examples for places of 32
    bits: count them, and with them all that follows, in int64. One image alone fits.

    Numbers only move: every bit arrives, of infinity and of −0 as well.

    A tile is read along rows of the image and written along features: both ways neighbours in
    memory go together, and Triton turns the tile round in between.

    Args:
        x: pointer to (batch, C, H, W) elements.
        tokens: pointer to (batch, (H/P)·(W/P), P·P·C) elements of x's dtype that lie side by
            side, a feature for each (row in the patch, column in the patch, channel).
        of_example, of_channel, of_row, of_column: the strides of x, in elements; any, also 0.
        H, W: the sides of an image, multiples of P.
        C, P: the number of channels, and the side of a patch.
        PIXELS, CHANNELS: the sides of a tile, powers of 2.
    """
    ### BEGIN SOLUTION
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (example * (H // P) + h // P) * (W // P) + w // P
    feature = (h % P * P + w % P) * C + c
    X = tl.load(x + example * of_example + c * of_channel + h * of_row + w * of_column, mask=there)
    tl.store(tokens + token * (P * P * C) + feature, X, mask=there)
    ### END SOLUTION


@triton.jit
def inverse_kernel(
    tokens,
    x,
    of_example,
    of_token,
    of_feature,
    H,
    W,
    C: tl.constexpr,
    P: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Program (i, j) puts block i of all pixels back, and of these block j of the channels:

        x[n, c, h, w] = tokens[n, h // P · (W/P) + w // P, (h % P · P + w % P) · C + c]

    Blocks are those of `kernel`: ⌈H·W / PIXELS⌉ of pixels an example, one example after the other,
    none of which is in two examples; pixel number h·W + w is the one at (h, w). Nothing is read or
    written beyond H·W or C. Places may be too large for 32 bits: count examples, tokens and
    channels in int64. Numbers only move: every bit arrives, of infinity and of −0 as well.

    Args:
        tokens: pointer to (batch, (H/P)·(W/P), P·P·C) elements.
        x: pointer to (batch, C, H, W) elements of the same dtype in contiguous memory.
        of_example, of_token, of_feature: the strides of tokens, in elements; any, also 0.
        H, W: the sides of an image, multiples of P.
        C, P: the number of channels, and the side of a patch.
        PIXELS, CHANNELS: the sides of a tile, powers of 2.
    """
    ### BEGIN SOLUTION
    blocks = tl.cdiv(H * W, PIXELS)
    example = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)[:, None]
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]).to(tl.int64)
    there = (pixel < H * W) & (c < C)
    h, w = pixel // W, pixel % W
    token = (h // P * (W // P) + w // P).to(tl.int64)
    feature = (h % P * P + w % P) * C + c
    X = tl.load(tokens + example * of_example + token * of_token + feature * of_feature, mask=there)
    tl.store(x + (example * C + c) * H * W + pixel, X, mask=there)
    ### END SOLUTION


def reference(x: Tensor, patch: int) -> Tensor:
    """Patches as tokens, in torch: a view, and one copy that moves single numbers."""
    batch, C, H, W = x.shape
    h, w = H // patch, W // patch
    x = x.reshape(batch, C, h, patch, w, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(batch, h * w, patch * patch * C)  # (b, hw, ppC)


def inverse_reference(tokens: Tensor, patch: int, channels: int, height: int, width: int) -> Tensor:
    """Tokens as an image, in torch."""
    batch, h, w = len(tokens), height // patch, width // patch
    tokens = tokens.reshape(batch, h, w, patch, patch, channels).permute(0, 5, 1, 3, 2, 4)
    return tokens.reshape(batch, channels, height, width)  # (b, C, h, p, w, p) → (b, C, H, W)


def patchify(x: Tensor, patch: int) -> Tensor:
    """Cut images into patches and make each a token.

    2 numbers move for each element: it is read and written.

    Args:
        x: images or latents, (batch, C, H, W), any strides.
        patch: the side p of a patch.
    Returns:
        (batch, (H/p)·(W/p), p·p·C): patches row by row, in each the features (row in the patch,
        column in the patch, channel), as DiT has them.
    Raises:
        ValueError: if x is not of this shape, or not floating-point, or patches do not fill it.
    """
    check_dtype(x=x)
    if x.dim() != 4:
        raise ValueError(f"x must be (batch, C, H, W), got {tuple(x.shape)}")
    _check_sizes(patch, x.shape[2], x.shape[3])
    if not uses_kernel(x):
        return reference(x, patch)
    return Patchify.apply(x, patch)


def unpatchify(tokens: Tensor, patch: int, channels: int, height: int, width: int) -> Tensor:
    """Put tokens back in their places, the inverse of `patchify`.

    Args:
        tokens: (batch, (height/p)·(width/p), p·p·channels), any strides.
        patch: the side p of a patch.
        channels, height, width: of the images.
    Returns:
        (batch, channels, height, width).
    Raises:
        ValueError: if tokens are not of this shape, or not floating-point, or patches do not fill
            the image.
    """
    check_dtype(tokens=tokens)
    _check_sizes(patch, height, width)
    length, features = (height // patch) * (width // patch), patch * patch * channels
    check_shape("tokens", tokens, (*tokens.shape[:1], length, features))
    if not uses_kernel(tokens):
        return inverse_reference(tokens, patch, channels, height, width)
    return Unpatchify.apply(tokens, patch, channels, height, width)


class Patchify(torch.autograd.Function):
    """Only places change, so the gradient goes back by the inverse."""

    @staticmethod
    def forward(ctx, x: Tensor, patch: int) -> Tensor:
        batch, C, H, W = x.shape
        ctx.sizes = patch, C, H, W
        tokens = x.new_empty(batch, (H // patch) * (W // patch), patch * patch * C)
        if x.numel():
            grid, tile = _tiles(batch, C, H * W)
            kernel[grid](x, tokens, *x.stride(), H, W, C=C, P=patch, **tile)
        return tokens

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:
        return Unpatchify.apply(upstream, *ctx.sizes), None


class Unpatchify(torch.autograd.Function):
    """The inverse of `Patchify`, and its gradient."""

    @staticmethod
    def forward(ctx, tokens: Tensor, patch: int, C: int, H: int, W: int) -> Tensor:
        ctx.patch = patch
        x = tokens.new_empty(len(tokens), C, H, W)
        if x.numel():
            grid, tile = _tiles(len(tokens), C, H * W)
            inverse_kernel[grid](tokens, x, *tokens.stride(), H, W, C=C, P=patch, **tile)
        return x

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None, None, None, None]:
        return Patchify.apply(upstream, ctx.patch), None, None, None, None


def _tiles(batch: int, C: int, pixels: int) -> tuple[tuple[int, int], dict[str, int]]:
    """The grid, and a tile of at most TILE elements: all channels of some pixels, if they fit."""
    wide = min(triton.next_power_of_2(C), 32)
    tall = min(triton.next_power_of_2(pixels), TILE // wide)
    grid = batch * triton.cdiv(pixels, tall), triton.cdiv(C, wide)
    return grid, {"PIXELS": tall, "CHANNELS": wide}


def _check_sizes(patch: int, height: int, width: int) -> None:
    """Raise ValueError unless patches fill the image."""
    if patch < 1:
        raise ValueError(f"patch must be at least 1, got {patch}")
    if height % patch or width % patch:
        raise ValueError(f"patches of side {patch} must fill the image, got {height}×{width}")
