"""The weights of chapter 08's decoder, as figures take them, and what numpy decodes with them."""

import math
from collections.abc import Iterable, Mapping
from typing import TypedDict

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

Weights = Mapping[str, ArrayLike] | Iterable[ArrayLike]  # in the order of the decoder's layers
GROUPS, HEADS = 8, 4
LESS, MORE = 1e-6, 1e-5  # ε of the norms before SiLU, and before the attention


class Sizes(TypedDict):
    """Channels of a decoder: of latents, its width, and at full size."""

    latent: int
    width: int
    fine: int


def shapes_of(sizes: Sizes, channels: int = 1) -> list[tuple[int, ...]]:
    """The shapes of all arrays of a decoder, in order; `channels` are those of its images."""
    latent, w, fine = sizes["latent"], sizes["width"], sizes["fine"]
    coarse = 2 * w

    def conv(ins: int, outs: int, side: int = 3) -> list[tuple[int, ...]]:
        return [(outs, ins, side, side), (outs,)]

    def residual(channels: int) -> list[tuple[int, ...]]:
        return 2 * [(channels,), (channels,), *conv(channels, channels)]

    return [
        *conv(latent, coarse),
        *residual(coarse),
        *((coarse,), (coarse,)),
        *conv(coarse, 3 * coarse, 1),
        *conv(coarse, coarse, 1),
        *conv(coarse, 2 * coarse, 1),
        *residual(w),
        *((w,), (w,)),
        *conv(w, 4 * fine),
        *conv(fine, channels),
    ]


ARRAYS = len(shapes_of(Sizes(latent=1, width=GROUPS, fine=1)))


def decoder_layers(weights: Weights, channels: int = 1) -> tuple[Sizes, Float[np.ndarray, "n"]]:
    """The sizes of a decoder, and all its numbers one after the other.

    Args:
        weights: the `state_dict()` of a `latent_nets.Decoder`, or its arrays in that order.
        channels: that its images must have.
    Raises:
        ValueError: if the arrays have other shapes.
    """
    found = weights.values() if isinstance(weights, Mapping) else weights
    arrays = [np.asarray(v.cpu() if hasattr(v, "cpu") else v, dtype=float) for v in found]
    first = arrays[0].shape if arrays else ()
    if len(arrays) != ARRAYS or len(first) != 4 or first[0] % (2 * GROUPS):
        said = f"decoder must be the state_dict() of a latent_nets.Decoder, {ARRAYS} arrays"
        raise ValueError(f"{said}, got {len(arrays)}, the first of shape {first}")
    fine = arrays[-2].shape[1] if arrays[-2].ndim == 4 else 0
    sizes = Sizes(latent=first[1], width=first[0] // 2, fine=fine)
    of = "one channel" if channels == 1 else f"{channels} channels"
    for k, (array, shape) in enumerate(zip(arrays, shapes_of(sizes, channels), strict=True)):
        if array.shape != shape:
            said = f"array {k} of the decoder must be {shape}, for images of {of}"
            raise ValueError(f"{said}, got {array.shape}")
    numbers = np.concatenate([array.ravel() for array in arrays])
    if not np.isfinite(numbers).all():
        raise ValueError("decoder must have finite weights: some are not")
    return sizes, numbers


def decode(
    sizes: Sizes, numbers: Float[np.ndarray, "n"], latents: Float[np.ndarray, "batch h w latent"]
) -> Float[np.ndarray, "batch height width"]:
    """The images of latents, channels last, in float64, as the figure computes them."""
    shapes = shapes_of(sizes)
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = zip(np.split(numbers, ends[:-1]), shapes, strict=True)
    return decode_by([part.reshape(shape) for part, shape in parts], latents)[..., 0]


def decode_by(
    arrays: Iterable[Float[np.ndarray, "..."]], latents: Float[np.ndarray, "batch h w latent"]
) -> Float[np.ndarray, "batch height width channels"]:
    """The same by the arrays of a decoder in order, for images of any channels."""
    parts = iter(arrays)

    def conv(h: np.ndarray) -> np.ndarray:
        w, b = next(parts), next(parts)
        edge = w.shape[2] // 2
        h = np.pad(h, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
        seen = np.lib.stride_tricks.sliding_window_view(h, w.shape[2:], (1, 2))
        return np.tensordot(seen, w, ((3, 4, 5), (1, 2, 3))) + b

    def norm(h: np.ndarray, eps: float) -> np.ndarray:
        weight, bias = next(parts), next(parts)
        groups = h.reshape(len(h), -1, GROUPS, h.shape[-1] // GROUPS)
        off = groups - groups.mean((1, 3), keepdims=True)
        even = off / np.sqrt(np.square(off).mean((1, 3), keepdims=True) + eps)
        return even.reshape(h.shape) * weight + bias

    def residual(h: np.ndarray) -> np.ndarray:
        return h + conv(_silu(norm(conv(_silu(norm(h, LESS))), LESS)))

    h = residual(conv(latents))
    h = h + conv(_attended(conv(norm(h, MORE))))
    h = residual(_shuffled(conv(h)))
    h = _silu(_shuffled(conv(_silu(norm(h, LESS)))))
    return conv(h)


def _silu(h: np.ndarray) -> np.ndarray:
    return h / (1 + np.exp(-h))


def _attended(rows: np.ndarray) -> np.ndarray:
    batch, height, width, wide = rows.shape
    size = wide // 3 // HEADS
    q, k, v = rows.reshape(batch, -1, 3, HEADS, size).transpose(2, 0, 3, 1, 4)
    scores = q @ k.swapaxes(2, 3) / math.sqrt(size)  # (batch, heads, places, places)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = p / p.sum(-1, keepdims=True) @ v
    return mixed.transpose(0, 2, 1, 3).reshape(batch, height, width, wide // 3)


def _shuffled(h: np.ndarray) -> np.ndarray:
    batch, height, width, channels = h.shape
    four = h.reshape(batch, height, width, channels // 4, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return four.reshape(batch, 2 * height, 2 * width, channels // 4)
