"""TypeACaption: a caption to type, and the diffusion transformer that paints it in the browser."""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import ClassVar, Protocol

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from traitlets import Bytes, Dict, Int, List, Unicode
from traitlets import Float as Number

from cs231n_gen.viz.caption_painter import Painter
from cs231n_gen.viz.caption_weights import Packed, pack, painter_layers
from cs231n_gen.viz.decoder_weights import Weights
from cs231n_gen.viz.normal_draws import normals
from cs231n_gen.viz.widget import MovingFigure, half

ALT = "A caption, and the picture that a diffusion transformer paints for it, step by step"
SETTING = (
    *("caption", "negative", "w", "steps", "seed"),
    *("pictures", "picture", "shown", "word", "block"),
)
CAPTION = "a small red circle left of a large blue square"
RANGES = {"w": (-1, 8), "steps": (1, 50), "seed": (0, 9999)}
PICTURES = (1, 2, 4)  # beside each other
OUTLINE = (15, 15)
STILL = 5  # pictures of the still one
GREYS = 16  # of a colour in the still picture


class World(Protocol):
    """What captions are made of, and what pictures are read by: `given.captions`."""

    WORDS: Sequence[str]  # the vocabulary, whose first entry is padding
    SIZES: Sequence[str]
    COLOURS: Sequence[str]
    SHAPES: Sequence[str]
    RELATIONS: Sequence[str]
    HELD_OUT: Sequence[tuple[str, str]]  # colours and shapes
    OUTLINES: ArrayLike  # size · shapes + shape
    RGB: ArrayLike
    THERE: float
    CLEAN: float
    SPOILT: float


class TypeACaption(MovingFigure):
    """A caption to build or to type; the network paints it in the browser, without a kernel.

    Beside x_t stands x̂ = x_t − t v, what the network expects at the end, decoded at each step, and
    what the program reads in it. Each word of the caption shows which patches attend to it. The
    guidance weight, the number of steps, the negative prompt and the noise can be changed, and the
    two objects exchanged; up to four noises are painted beside each other.

        model = TextToImage(encoder)
        TypeACaption(model.state_dict(), decoder.state_dict(), shift, scale, captions)

    Args:
        model: the `state_dict()` of a `text_to_image.TextToImage`, its text encoder included; its
            blocks are of joint or of cross-attention. Its matrices, and those of the decoder,
            travel as whole numbers of 8 to 13 bits, as many as 600 KB allow, with a scale for each
            row.
        decoder: that of a `latent_nets.Decoder` for images of three channels, or its arrays in that
            order.
        shift, scale: of the latents, as in `latent.from_latent`.
        world: words and outlines, such as the module `given.captions`.
        size: height and width of the latents.
        heads: of the text encoder, and of the blocks.
        caption: what is painted first: words of the vocabulary.
        negative: the negative prompt; the null condition if empty.
        w: guidance weight, from −1 to 8.
        steps: from 1 to 50.
        seed: of the noise, from 0 to 9999. Pictures beside each other have the seeds after it.
        pictures: how many are painted beside each other: 1, 2 or 4.
        word: of the caption, whose attention is shown, counted from 0; the third one if None.
        block: whose attention is shown, counted from 1; 0 is their mean.
        name, alt: see `MovingFigure`.
    Raises:
        ValueError: if something else comes, or it is too much for a page.
    """

    module = "figures/type_a_caption"
    setting: ClassVar[tuple[str, ...]] = SETTING

    numbers = Bytes().tag(sync=True)  # of matrices
    number_scales = Bytes().tag(sync=True)  # of their rows
    vectors = Bytes().tag(sync=True)
    named_shapes = List().tag(sync=True)  # names and shapes of all arrays
    bits = Int(8).tag(sync=True)
    sizes = Dict().tag(sync=True)
    standard = List().tag(sync=True)  # shift and scale of latents
    words = List().tag(sync=True)
    menus = List().tag(sync=True)  # sizes, colours, shapes, relations
    held_out = List().tag(sync=True)
    outlines = Bytes().tag(sync=True)
    reading = Dict().tag(sync=True)  # colours, and thresholds
    start = Dict().tag(sync=True)  # the setting that "Again" brings back
    caption = Unicode(CAPTION).tag(sync=True)
    negative = Unicode("").tag(sync=True)
    w = Number(2.0).tag(sync=True)
    steps = Int(20).tag(sync=True)
    seed = Int(0).tag(sync=True)
    pictures = Int(1).tag(sync=True)
    picture = Int(0).tag(sync=True)  # which of them is shown large
    shown = Int(20).tag(sync=True)  # steps that were taken
    word = Int(2).tag(sync=True)
    block = Int(0).tag(sync=True)
    name = Unicode("type-a-caption").tag(sync=True)
    alt = Unicode("").tag(sync=True)

    def __init__(
        self,
        model: Mapping[str, ArrayLike],
        decoder: Weights,
        shift: float,
        scale: float,
        world: World,
        *,
        size: int = 8,
        heads: tuple[int, int] = (4, 4),
        caption: str = CAPTION,
        negative: str = "",
        w: float = 2.0,
        steps: int = 20,
        seed: int = 0,
        pictures: int = 1,
        word: int | None = None,
        block: int = 0,
        alt: str = ALT,
        **options,
    ):
        if not (math.isfinite(shift) and math.isfinite(scale) and scale > 0):
            said = "shift and scale must be finite, and scale positive"
            raise ValueError(f"{said}, got {shift} and {scale}")
        sizes, arrays = painter_layers(model, decoder, size, heads)
        packed = pack(arrays)
        told = _told(world, sizes["words"])
        last = max(0, len(caption.split()) - 1)
        start = {
            **{"caption": caption, "negative": negative, "w": w, "steps": steps, "seed": seed},
            **{"pictures": pictures, "picture": 0, "shown": steps},
            **{"word": min(2, last) if word is None else word, "block": block},
        }
        _fits(start, told["words"], sizes["length"], sizes["depth"])
        super().__init__(
            numbers=packed.rows,
            number_scales=packed.scales,
            vectors=packed.vectors,
            named_shapes=[[*one] for one in packed.layout],
            bits=packed.bits,
            sizes=dict(sizes),
            standard=[float(shift), float(scale)],
            start=start,
            alt=alt,
            **told,
            **start,
            **options,
        )

    def draw(self) -> Figure:
        images = self.painted()
        t = 1 - np.arange(len(images)) / (len(images) - 1)
        chosen = np.unique(np.linspace(0, len(images) - 1, STILL).round().astype(int))
        figure, axes = plt.subplots(
            1, len(chosen), figsize=(1.9 * len(chosen), 2.5), layout="constrained", squeeze=False
        )
        for ax, k in zip(axes[0], chosen, strict=True):
            ax.imshow((images[k] * GREYS).round() / GREYS)  # few colours
            ax.set(xticks=[], yticks=[], title=f"t = {t[k]:.2f}")
        figure.suptitle(f"“{self.caption}”" if self.caption else "no caption", fontsize=11)
        return figure

    def noise(self, seed: int) -> Float[np.ndarray, "latent size size"]:
        """The noise of a seed, as the figure draws it."""
        size, latent = self.sizes["size"], self.sizes["latent"]
        return normals(seed, size**2 * latent).reshape(size, size, latent).transpose(2, 0, 1)

    def arrays(self) -> dict[str, Float[np.ndarray, "..."]]:
        """The weights that the browser has: those of the model by name, and those of the decoder
        as `decoder.0`, `decoder.1` and so on."""
        layout = [(name, shape) for name, shape in self.named_shapes]
        return Packed(layout, self.bits, self.numbers, self.number_scales, self.vectors).arrays()

    def painted(self) -> Float[np.ndarray, "frames height width 3"]:
        """x̂ from noise to the picture, decoded, in [0, 1], as the figure computes it now.

        Raises:
            ValueError: if a word of the caption or of the negative prompt is not known, or there
                are too many.
        """
        painter = Painter(self.sizes, self.arrays())
        told = [
            painter.condition(_tokens(name, getattr(self, name), self.words, self.sizes["length"]))
            for name in ("caption", "negative")
        ]
        z = self.noise(self.seed + self.picture).transpose(1, 2, 0)
        _, ends = painter.paint(z, (told[0], told[1]), self.w, self.steps)
        return np.clip((painter.decode(ends, *self.standard) + 1) / 2, 0, 1)


def _told(world: World, count: int) -> dict[str, object]:
    """What the figure has to know of words and outlines."""
    words = [*map(str, world.WORDS)]
    if len(words) != count:
        raise ValueError(f"world must have {count} WORDS, as the encoder does, got {len(words)}")
    menus = [[*some] for some in (world.SIZES, world.COLOURS, world.SHAPES, world.RELATIONS)]
    if strange := sorted({word for some in menus for word in some} - {*words[1:]}):
        raise ValueError(f"{strange[0]!r} must be one of the WORDS: {', '.join(words[1:])}")
    outlines, rgb = (np.asarray(v, dtype=float) for v in (world.OUTLINES, world.RGB))
    for name, got, want in (
        ("OUTLINES", outlines.shape, (len(menus[0]) * len(menus[2]), *OUTLINE)),
        ("RGB", rgb.shape, (len(menus[1]), 3)),
    ):
        if got != want:
            raise ValueError(f"{name} must be {want}, got {got}")
    held = [[menus[1].index(colour), menus[2].index(shape)] for colour, shape in world.HELD_OUT]
    reading = {
        "rgb": rgb.round(6).tolist(),
        "shapes": len(menus[2]),
        "there": float(world.THERE),
        "clean": float(world.CLEAN),
        "spoilt": float(world.SPOILT),
    }
    return {
        "words": words,
        "menus": menus,
        "held_out": held,
        "outlines": half(outlines),
        "reading": reading,
    }


def _tokens(name: str, text: str, words: Sequence[str], length: int) -> list[int]:
    """The numbers of a text's words."""
    found = text.lower().split()
    if len(found) > length:
        raise ValueError(f"{name} must have at most {length} words, got {len(found)}: {text!r}")
    known = [*words[1:]]
    for word in found:
        if word not in known:
            raise ValueError(f"{name} must be of the words {', '.join(known)}, got {word!r}")
    return [known.index(word) + 1 for word in found]


def _fits(start: Mapping[str, object], words: Sequence[str], length: int, depth: int) -> None:
    found = {n: _tokens(n, str(start[n]), words, length) for n in ("caption", "negative")}
    last = max(0, len(found["caption"]) - 1)
    for key, (low, high) in {**RANGES, "word": (0, last), "block": (0, depth)}.items():
        kind = Real if key == "w" else Integral
        value = start[key]
        if not isinstance(value, kind) or not low <= value <= high:
            said = "a number" if key == "w" else "a whole number"
            raise ValueError(f"{key} must be {said} from {low} to {high}, got {value}")
    if start["pictures"] not in PICTURES:
        raise ValueError(f"pictures must be one of 1, 2 and 4, got {start['pictures']}")
