"""Chapter 10's networks in numpy, for still pictures: what js/math/caption_painter.mjs does."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cs231n_gen.viz.caption_weights import Arrays, PainterSizes
from cs231n_gen.viz.decoder_weights import decode_by

EPS, TEXT_EPS = 1e-6, 1e-5  # of norms in blocks, and in the encoder
BASE, LEVEL = 10_000.0, 1000.0  # of waves, and what a level is multiplied by
Rows = Float[np.ndarray, "tokens numbers"]
Latents = Float[np.ndarray, "size size latent"]


class Condition(NamedTuple):
    """What a caption tells the blocks: a token of each word, and what joins the level."""

    y: Rows
    summary: Float[np.ndarray, "dim"]


class Painter:
    """A text-to-image network, one picture at a time; padding is left out, as it changes nothing.

    Args:
        sizes, arrays: as `caption_weights.painter_layers` gives them.
    """

    def __init__(self, sizes: PainterSizes, arrays: Arrays):
        self.sizes, self.arrays = sizes, arrays
        side = sizes["size"] // sizes["patch"]
        self.positions = _positions(side, sizes["dim"])
        self.decoder = [w for name, w in arrays.items() if name.startswith("decoder.")]

    def condition(self, tokens: Sequence[int]) -> Condition:
        """What the numbers of a caption's words tell; the null condition if there are none."""
        words, pooled = self.arrays["null"][None], self.arrays["null"]
        if len(tokens):
            h = self.arrays["encoder.word.weight"][np.asarray(tokens)]
            h = h + self.arrays["encoder.place.weight"][: len(tokens)]
            for k in range(self.sizes["layers"]):
                h = self._text_block(f"encoder.blocks.{k}", h)
            words = self._norm("encoder.norm", h)
            pooled = self._linear("encoder.out", words.mean(0))
        return Condition(self._linear("context", words), self._linear("summary", pooled))

    def velocity(self, x: Latents, t: float, condition: Condition) -> Latents:
        """v at noisy latents."""
        size, patch, dim = (self.sizes[name] for name in ("size", "patch", "dim"))
        side = size // patch
        tokens = x.reshape(side, patch, side, patch, -1).transpose(0, 2, 1, 3, 4)
        h = self._linear("embed", tokens.reshape(side**2, -1)) + self.positions
        level = _silu(self._linear("level.0", _waves(t, self.sizes["frequencies"])))
        told = _silu(self._linear("level.2", level) + condition.summary)
        c, y = self._linear("modulation", told), condition.y
        block = self._cross_block if self.sizes["kind"] == "cross" else self._joint_block
        for k in range(self.sizes["depth"]):
            h, y = block(f"blocks.{k}", h, y, c)
        shift, scale = self._linear("last", told).reshape(2, dim)
        v = self._linear("out", _normed(h, EPS) * (1 + scale) + shift)
        v = v.reshape(side, side, patch, patch, -1).transpose(0, 2, 1, 3, 4)
        return v.reshape(x.shape)

    def paint(
        self, z: Latents, captions: tuple[Condition, Condition], w: float, steps: int
    ) -> tuple[Float[np.ndarray, "frames size size latent"], ...]:
        """x_t from noise on, and at each of them x̂ = x_t − t v; both end with the sample.

        Args:
            z: noise.
            captions: what is asked for, and the negative prompt.
            w: guidance weight.
            steps: T.
        """
        asked, against = captions
        x, frames, ends = z, [], []
        for k in range(steps, 0, -1):
            v = self.velocity(x, k / steps, asked)
            if w:
                v = (1 + w) * v - w * self.velocity(x, k / steps, against)
            frames.append(x)
            ends.append(x - k / steps * v)
            x = x - v / steps
        return np.stack([*frames, x]), np.stack([*ends, x])

    def decode(
        self, u: Float[np.ndarray, "n size size latent"], shift: float, scale: float
    ) -> Float[np.ndarray, "n height width 3"]:
        """The images of latents."""
        return decode_by(self.decoder, u / scale + shift)

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.arrays[f"{name}.weight"].T + self.arrays[f"{name}.bias"]

    def _mlp(self, name: str, x: np.ndarray) -> np.ndarray:
        return self._linear(f"{name}.2", _gelu(self._linear(f"{name}.0", x)))

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        weight, bias = self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"]
        return _normed(x, TEXT_EPS) * weight + bias

    def _text_block(self, name: str, h: Rows) -> Rows:
        rows = self._linear(f"{name}.qkv", self._norm(f"{name}.norm_1", h))
        h = h + self._linear(f"{name}.out", _attended(rows, self.sizes["text_heads"]))
        return h + self._mlp(f"{name}.mlp", self._norm(f"{name}.norm_2", h))

    def _cross_block(self, name: str, x: Rows, y: Rows, c: np.ndarray) -> tuple[Rows, Rows]:
        part, heads = (c + self.arrays[f"{name}.table"]).reshape(6, -1), self.sizes["heads"]
        a = _attended(self._linear(f"{name}.attention.qkv", _modulated(x, *part[:2])), heads)
        x = x + part[2] * self._linear(f"{name}.attention.out", a)
        q = self._linear(f"{name}.cross.q", _normed(x, TEXT_EPS))
        k, v = np.split(self._linear(f"{name}.cross.kv", y), 2, axis=1)
        x = x + self._linear(f"{name}.cross.out", _mixed(q, k, v, heads))
        return x + part[5] * self._mlp(f"{name}.mlp", _modulated(x, *part[3:5])), y

    def _joint_block(self, name: str, x: Rows, y: Rows, c: np.ndarray) -> tuple[Rows, Rows]:
        streams, parts = {"image": x, "text": y}, {}
        for kind in streams:
            parts[kind] = (c + self.arrays[f"{name}.{kind}_table"]).reshape(6, -1)
        rows = [
            self._linear(f"{name}.joint.{kind}.qkv", _modulated(h, *parts[kind][:2]))
            for kind, h in streams.items()
        ]
        mixed = np.split(_attended(np.concatenate(rows), self.sizes["heads"]), [len(x)])
        for (kind, h), a in zip(streams.items(), mixed, strict=True):
            part = parts[kind]
            h = h + part[2] * self._linear(f"{name}.joint.{kind}.out", a)
            h = h + part[5] * self._mlp(f"{name}.{kind}_mlp", _modulated(h, *part[3:5]))
            streams[kind] = h
        return streams["image"], streams["text"]


def _normed(x: np.ndarray, eps: float) -> np.ndarray:
    off = x - x.mean(-1, keepdims=True)
    return off / np.sqrt(np.square(off).mean(-1, keepdims=True) + eps)


def _modulated(x: Rows, shift: np.ndarray, scale: np.ndarray) -> Rows:
    return _normed(x, EPS) * (1 + scale) + shift


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _attended(rows: Rows, heads: int) -> Rows:
    """Attention of tokens to each other; rows hold queries, keys and values of all heads."""
    q, k, v = np.split(rows, 3, axis=1)
    return _mixed(q, k, v, heads)


def _mixed(q: Rows, k: Rows, v: Rows, heads: int) -> Rows:
    """Attention, all heads side by side."""
    q, k, v = (h.reshape(len(h), heads, -1).swapaxes(0, 1) for h in (q, k, v))
    scores = q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1])
    p = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = p / p.sum(-1, keepdims=True) @ v
    return mixed.swapaxes(0, 1).reshape(mixed.shape[1], -1)


def _waves(t: float, n: int) -> np.ndarray:
    """A level as cosines and sines."""
    angle = LEVEL * t * BASE ** (-np.arange(n // 2) / (n // 2))
    return np.concatenate([np.cos(angle), np.sin(angle)])


def _positions(side: int, dim: int) -> Rows:
    """Columns, then rows of a grid, as sines and cosines."""
    omega = BASE ** (-np.arange(dim // 4) / (dim // 4))
    row, column = np.divmod(np.arange(side**2), side)
    of_j, of_i = column[:, None] * omega, row[:, None] * omega
    return np.concatenate([np.sin(of_j), np.cos(of_j), np.sin(of_i), np.cos(of_i)], axis=1)
