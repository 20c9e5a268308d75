"""The weights of chapter 10's networks, as figures take them: whole numbers of a few bits, and a
scale for each row."""

import math
from collections.abc import Mapping
from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from cs231n_gen.viz.decoder_weights import Weights, decoder_layers, shapes_of
from cs231n_gen.viz.widget import half

Arrays = dict[str, Float[np.ndarray, "..."]]
LEAST, MOST = 8, 13  # bits of a weight
HEAVIEST = 600_000  # bytes of all weights


class PainterSizes(TypedDict):
    """What the shapes of all arrays follow from, and how many heads attend."""

    words: int  # of the vocabulary
    length: int  # of a caption
    context: int  # numbers of a word that the encoder gives
    layers: int  # of the encoder
    text_heads: int
    dim: int  # numbers of a token
    depth: int  # blocks
    heads: int
    kind: str  # of blocks: "joint" or "cross" attention
    frequencies: int  # of a level
    patch: int
    size: int  # height and width of latents
    latent: int  # channels of latents
    width: int  # of the decoder, as in `decoder_weights.Sizes`
    fine: int


class Packed(NamedTuple):
    """Arrays as bytes: those with rows as whole numbers, each row with a scale, others as halves.

    layout: the name and the shape of each array, in order.
    bits: of a whole number. One number follows the other, the lowest bit first.
    """

    layout: list[tuple[str, list[int]]]
    bits: int
    rows: bytes
    scales: bytes
    vectors: bytes

    def size(self) -> int:
        """How many bytes travel."""
        return len(self.rows) + len(self.scales) + len(self.vectors)

    def arrays(self) -> Arrays:
        """The arrays that a browser makes of the bytes, in float64."""
        scales = np.frombuffer(self.scales, "<f2").astype(float)
        vectors = np.frombuffer(self.vectors, "<f2").astype(float)
        counts = [math.prod(shape) for _, shape in self.layout if len(shape) > 1]
        numbers = _whole(self.rows, sum(counts), self.bits).astype(float)
        found, read, row, one = {}, 0, 0, 0
        for name, shape in self.layout:
            n = math.prod(shape)
            if len(shape) == 1:
                found[name] = vectors[one : one + n]
                one += n
                continue
            w = numbers[read : read + n].reshape(shape[0], -1)
            found[name] = (w * scales[row : row + shape[0], None]).reshape(shape)
            read, row = read + n, row + shape[0]
        return found


def painter_layers(
    model: Mapping[str, ArrayLike], decoder: Weights, size: int, heads: tuple[int, int]
) -> tuple[PainterSizes, Arrays]:
    """The sizes of a text-to-image network and its decoder, and all their arrays.

    Args:
        model: the `state_dict()` of a `text_to_image.TextToImage` with its `text.TextEncoder`, and
            with blocks of joint or of cross-attention (`picture_trial.CrossBlock`).
        decoder: that of a `latent_nets.Decoder` for images of three channels, or its arrays in that
            order. They are called `decoder.0`, `decoder.1` and so on.
        size: height and width of the latents.
        heads: of the encoder, and of the blocks.
    Raises:
        ValueError: if an array is missing, has another shape, or is not finite.
    """
    coder, numbers = decoder_layers(decoder, channels=3)
    arrays = {name: _array(v) for name, v in dict(model).items()}
    sizes = PainterSizes(**_sizes(arrays, size, heads, coder["latent"]), **coder)
    wanted = _shapes(sizes)
    for name, shape in wanted.items():
        got = arrays[name].shape if name in arrays else None
        if got != shape:
            said = "it is missing" if got is None else f"got {got}"
            raise ValueError(f"model must have {name!r}, {shape}: {said}")
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"model must have finite weights: {name!r} has not")
    if more := [*arrays.keys() - wanted.keys()]:
        raise ValueError(f"model must be the state_dict() of a TextToImage, got {min(more)!r} too")
    found = {name: arrays[name] for name in wanted}
    shapes = shapes_of(coder, channels=3)
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = zip(np.split(numbers, ends), shapes, strict=True)
    return sizes, found | {f"decoder.{k}": w.reshape(shape) for k, (w, shape) in enumerate(parts)}


def pack(arrays: Arrays, bits: int | None = None) -> Packed:
    """Arrays as bytes, with as many bits a number as 600 KB allow, from 8 to 13.

    Args:
        arrays: by name.
        bits: of a number; as many as fit if None.
    Raises:
        ValueError: if not even 8 bits fit.
    """
    if bits is None:
        tried = (pack(arrays, n) for n in range(MOST, LEAST - 1, -1))
        if found := next((one for one in tried if one.size() <= HEAVIEST), None):
            return found
        n = sum(w.size for w in arrays.values())
        raise ValueError(f"{n} weights are too many for a page: {HEAVIEST} bytes at most")
    most = 2 ** (bits - 1) - 1
    whole, scales, vectors = [], [], []
    for w in arrays.values():
        if w.ndim == 1:
            vectors.append(w)
            continue
        rows = w.reshape(len(w), -1)
        scale = _up_to_half(abs(rows).max(1) / most)
        scales.append(scale)
        whole.append(np.round(rows / np.maximum(scale, 1e-30)[:, None]).clip(-most, most).ravel())
    layout = [(name, [*w.shape]) for name, w in arrays.items()]
    numbers, *rest = (np.concatenate([np.zeros(0), *some]) for some in (whole, scales, vectors))
    return Packed(layout, bits, _bits_of(numbers, bits), *(half(some) for some in rest))


def _array(value: ArrayLike) -> np.ndarray:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, dtype=float)


def _sizes(arrays: Arrays, size: int, heads: tuple[int, int], latent: int) -> dict[str, object]:
    """What the matrices of a model say of its sizes."""

    def shape(name: str) -> tuple[int, ...]:
        if name not in arrays or arrays[name].ndim != 2:
            said = "model must be the state_dict() of a text_to_image.TextToImage with its encoder"
            raise ValueError(f"{said}: it has no matrix {name!r}")
        return arrays[name].shape

    def blocks(of: str) -> int:
        return len({name[len(of) :].split(".")[0] for name in arrays if name.startswith(of)})

    words, context = shape("encoder.word.weight")
    dim, inner = shape("embed.weight")
    patch = math.isqrt(inner // latent)
    if patch**2 * latent != inner or size < 1 or size % max(1, patch):
        said = f"a token of the model holds {inner} numbers, which are no square patch"
        raise ValueError(f"{said} of {size}×{size} latents with {latent} channels")
    for name, of, count in (("the encoder", context, heads[0]), ("blocks", dim, heads[1])):
        if count < 1 or of % count:
            raise ValueError(f"heads of {name} must divide {of}, got {count}")
    return {
        "words": words,
        "length": shape("encoder.place.weight")[0],
        "context": context,
        "layers": blocks("encoder.blocks."),
        "text_heads": heads[0],
        "dim": dim,
        "depth": blocks("blocks."),
        "heads": heads[1],
        "kind": "cross" if "blocks.0.cross.q.weight" in arrays else "joint",
        "frequencies": shape("level.0.weight")[1],
        "patch": patch,
        "size": size,
    }


def _linear(name: str, outs: int, inner: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outs, inner), f"{name}.bias": (outs,)}


def _mlp(name: str, dim: int) -> dict[str, tuple[int, ...]]:
    return _linear(f"{name}.0", 4 * dim, dim) | _linear(f"{name}.2", dim, 4 * dim)


def _shapes(sizes: PainterSizes) -> dict[str, tuple[int, ...]]:
    """The shapes of all arrays of a model, by name."""
    c, d = sizes["context"], sizes["dim"]
    inner = sizes["patch"] ** 2 * sizes["latent"]
    found = {
        "encoder.word.weight": (sizes["words"], c),
        "encoder.place.weight": (sizes["length"], c),
    }
    for k in range(sizes["layers"]):
        block = f"encoder.blocks.{k}"
        found |= {f"{block}.norm_{i}.{part}": (c,) for i in "12" for part in ("weight", "bias")}
        found |= _linear(f"{block}.qkv", 3 * c, c) | _linear(f"{block}.out", c, c)
        found |= _mlp(f"{block}.mlp", c)
    found |= {"encoder.norm.weight": (c,), "encoder.norm.bias": (c,)}
    found |= _linear("encoder.out", c, c) | {"null": (c,)}
    found |= _linear("embed", d, inner)
    found |= _linear("level.0", d, sizes["frequencies"]) | _linear("level.2", d, d)
    found |= _linear("context", d, c) | _linear("summary", d, c)
    found |= _linear("modulation", 6 * d, d)
    block = _cross_block if sizes["kind"] == "cross" else _joint_block
    for k in range(sizes["depth"]):
        found |= block(f"blocks.{k}", d)
    return found | _linear("last", 2 * d, d) | _linear("out", inner, d)


def _joint_block(name: str, d: int) -> dict[str, tuple[int, ...]]:
    found = {}
    for part in ("image", "text"):
        found |= {f"{name}.{part}_table": (6 * d,)}
        found |= _linear(f"{name}.joint.{part}.qkv", 3 * d, d)
        found |= _linear(f"{name}.joint.{part}.out", d, d)
        found |= _mlp(f"{name}.{part}_mlp", d)
    return found


def _cross_block(name: str, d: int) -> dict[str, tuple[int, ...]]:
    found = {f"{name}.table": (6 * d,)} | _linear(f"{name}.attention.qkv", 3 * d, d)
    found |= _linear(f"{name}.attention.out", d, d) | _linear(f"{name}.cross.q", d, d)
    found |= _linear(f"{name}.cross.kv", 2 * d, d) | _linear(f"{name}.cross.out", d, d)
    return found | _mlp(f"{name}.mlp", d)


def _up_to_half(scale: np.ndarray) -> np.ndarray:
    """The nearest half that is not less."""
    near = scale.astype("<f2")
    return np.where(near < scale, np.nextafter(near, np.float16(np.inf)), near).astype(float)


def _bits_of(whole: np.ndarray, bits: int) -> bytes:
    """Whole numbers from −2^(bits − 1) on, each as its distance from there."""
    raised = (whole + 2 ** (bits - 1)).astype("<u2").view(np.uint8).reshape(-1, 2)
    alone = np.unpackbits(raised, axis=1, count=bits, bitorder="little")
    return np.packbits(alone.ravel(), bitorder="little").tobytes()


def _whole(rows: bytes, n: int, bits: int) -> np.ndarray:
    """The inverse of `_bits_of`."""
    alone = np.unpackbits(np.frombuffer(rows, np.uint8), count=n * bits, bitorder="little")
    return alone.reshape(n, bits) @ (1 << np.arange(bits)) - 2 ** (bits - 1)
