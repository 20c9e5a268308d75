"""CodeLab: a garment as a grid of codes, what each of them draws, and which one comes next."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from traitlets import Bytes, Dict, List, Unicode
from traitlets import Int as Whole

from cs231n_gen.common.palette import DATA, GREY, LEARNED, NOISE
from cs231n_gen.viz.decoder_weights import Weights, decode, decoder_layers
from cs231n_gen.viz.widget import MovingFigure, half

ALT = "A garment as a grid of codes, the image that they decode to, and which code comes next"
SETTING = ("example", "place", "edits", "cells", "order", "written")
CELLS = ("looks", "numbers", "bits")
ORDERS = ("likeliest", "similar", "brightness")
MOST = 256  # codes: a number travels as a byte
EXAMPLES = 24
HEAVIEST = 150_000  # numbers of the decoder, 300 KB
SHOWN = 12  # of the codes that may come next
PATCH = 4  # pixels
FULL = 0.3  # a change of this size has its full colour
PAIR = re.compile(r"(\d+)-(\d+)")  # a place and the code that was put there
CHANGES = LinearSegmentedColormap.from_list("darker, brighter", [DATA, "white", NOISE])


class CodeLab(MovingFigure):
    """Codes of garments to exchange, with the decoder in the browser, and the prior's next codes.

    A place of the grid is chosen, and another code is put there: its patch of 4×4 pixels changes at
    once. Beside it stand the pixels that changed, and how much of the change is in the patch
    itself. Below, codes are written in raster order: which ones may come next, the true one among
    them, and how many bits all of them cost.

    Args:
        decoder: the `state_dict()` of a `latent_nets.Decoder` for images of one channel, or its
            arrays in that order. It travels in half precision, as the codes do.
        codes: the codebook, at most 256 codes.
        grids: the codes of at most 24 examples, row by row, on a square grid.
        looks: what each code usually looks like, in [−1, 1]: a patch.
        labels: names of the examples.
        chances: p of every code at every place of every example, given the codes before it; rows
            sum to 1. The 12 highest travel, and the bits of the true codes. Without them nothing is
            said of what comes next.
        edits: codes by place, put there at the beginning.
        example, place: what is shown first; `place` is in the middle if None.
        cells: what cells of the grid show: "looks", "numbers" or "bits" of the codes.
        order: of the codes to choose from: "likeliest" at the place first, "similar" to the one in
            place first, or by "brightness". The first one is the usual one if there are chances.
        written: how many codes are written at the beginning.
        name, alt: see `MovingFigure`.
    Raises:
        ValueError: if something else comes, or it is too much for a page.
    """

    module = "figures/code_lab"
    setting: ClassVar[tuple[str, ...]] = SETTING

    decoder = Bytes().tag(sync=True)
    sizes = Dict().tag(sync=True)  # latent, width, fine
    codes = Bytes().tag(sync=True)
    grids = Bytes().tag(sync=True)
    looks = Bytes().tag(sync=True)
    shape = List().tag(sync=True)  # examples, side of a grid, codes
    labels = List().tag(sync=True)
    next_codes = Bytes().tag(sync=True)  # the likeliest of each place, from the first on
    next_chances = Bytes().tag(sync=True)
    bits = Bytes().tag(sync=True)  # of the true codes
    start = Dict().tag(sync=True)  # the setting that "Again" brings back
    example = Whole(0).tag(sync=True)
    place = Whole(0).tag(sync=True)
    edits = Unicode("").tag(sync=True)  # place-code.place-code
    cells = Unicode("looks").tag(sync=True)
    order = Unicode("similar").tag(sync=True)
    written = Whole(0).tag(sync=True)
    name = Unicode("code-lab").tag(sync=True)
    alt = Unicode("").tag(sync=True)

    def __init__(
        self,
        decoder: Weights,
        codes: Float[ArrayLike, "codes latent"],
        grids: Int[ArrayLike, "examples places"],
        looks: Float[ArrayLike, "codes 4 4"],
        *,
        labels: Sequence[str] | None = None,
        chances: Float[ArrayLike, "examples places codes"] | None = None,
        edits: Mapping[int, int] | None = None,
        example: int = 0,
        place: int | None = None,
        cells: str = "looks",
        order: str | None = None,
        written: int = 0,
        alt: str = ALT,
        **options,
    ):
        sizes, numbers = decoder_layers(decoder)
        if numbers.size > HEAVIEST:
            said = f"decoder has {numbers.size} numbers, too many for a page"
            raise ValueError(f"{said}: at most {HEAVIEST}")
        book = _book(codes, sizes["latent"])
        tokens, side = _tokens(grids, len(book))
        names = [f"example {k + 1}" for k in range(len(tokens))] if labels is None else [*labels]
        if len(names) != len(tokens):
            raise ValueError(f"labels must be {len(tokens)} names, got {len(names)}")
        top, p, bits = _next(chances, tokens, len(book))
        known = len(bits) > 0
        start = {
            "example": example,
            "place": side * (side // 2) + side // 2 if place is None else place,
            "edits": "",
            "cells": cells,
            "order": order or ("likeliest" if known else "similar"),
            "written": written,
        }
        _fits(start, len(tokens), side**2, known)
        start["edits"] = _edits({} if edits is None else edits, tokens[example], len(book))
        super().__init__(
            decoder=half(numbers),
            sizes=dict(sizes),
            codes=half(book),
            grids=tokens.astype(np.uint8).tobytes(),
            looks=_looks(looks, len(book)).tobytes(),
            shape=[len(tokens), side, len(book)],
            labels=[*map(str, names)],
            next_codes=top.astype(np.uint8).tobytes(),
            next_chances=half(p),
            bits=half(bits),
            start=start,
            alt=alt,
            **start,
            **options,
        )

    def draw(self) -> Figure:
        changed, known = (self.edited() != self.original()).any(), bool(self.bits)
        columns = 2 + changed + known
        figure, axes = plt.subplots(
            1, columns, figsize=(2.6 * columns, 2.7), layout="constrained", squeeze=False
        )
        rest = iter(axes[0])
        self._draw_codes(next(rest))
        before, after = self.images(self.edited())
        self._draw_image(next(rest), after, "decoded")
        if changed:
            ax = next(rest)
            steps = ((after - before) / FULL * 3).round().clip(-3, 3)  # few colours
            ax.imshow(steps, vmin=-3, vmax=3, cmap=CHANGES)
            ax.set(xticks=[], yticks=[], title="what changed")
        if known:
            self._draw_next(next(rest))
        return figure

    def original(self) -> np.ndarray:
        """The codes of the chosen example, row by row."""
        _, side, _ = self.shape
        return np.frombuffer(self.grids, np.uint8).reshape(-1, side**2)[self.example].astype(int)

    def edited(self) -> np.ndarray:
        """The same with other codes in the places that were edited."""
        _, side, count = self.shape
        codes = self.original()
        for pair in self.edits.split("."):
            if found := PAIR.fullmatch(pair):
                place, code = map(int, found.groups())
                if place < side**2 and code < count:  # a link may hold anything
                    codes[place] = code
        return codes

    def images(self, codes: Int[ArrayLike, "places"]) -> Float[np.ndarray, "2 height width"]:
        """The decoded image of the chosen example, and that of other codes, as the figure does."""
        _, side, count = self.shape
        book = np.frombuffer(self.codes, "<f2").astype(float).reshape(count, -1)
        numbers = np.frombuffer(self.decoder, "<f2").astype(float)
        both = np.stack([self.original(), np.asarray(codes)])
        return decode(self.sizes, numbers, book[both].reshape(2, side, side, -1))

    def coming(self) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest next codes after those that are written, and their probabilities."""
        examples, side, _ = self.shape
        at = self.example, min(self.written, side**2 - 1)
        top = np.frombuffer(self.next_codes, np.uint8).reshape(examples, side**2, -1)
        p = np.frombuffer(self.next_chances, "<f2").reshape(examples, side**2, -1)
        return top[at].astype(int), p[at].astype(float)

    def _draw_codes(self, ax: Axes) -> None:
        _, side, _ = self.shape
        looks = np.frombuffer(self.looks, np.uint8).reshape(-1, PATCH, PATCH)
        codes = self.edited()
        mosaic = looks[codes].reshape(side, side, PATCH, PATCH).transpose(0, 2, 1, 3)
        wide = side * PATCH
        self._draw_image(ax, mosaic.reshape(wide, wide) / 127.5 - 1, "codes")
        ax.set_xticks(np.arange(PATCH, wide, PATCH) - 0.5, [])
        ax.set_yticks(np.arange(PATCH, wide, PATCH) - 0.5, [])
        ax.grid(color=GREY, lw=0.6)
        for place in np.flatnonzero(codes != self.original()):
            row, column = divmod(int(place), side)
            corner = column * PATCH - 0.5, row * PATCH - 0.5
            ax.add_patch(plt.Rectangle(corner, PATCH, PATCH, fill=False, ec=NOISE, lw=2))

    def _draw_image(self, ax: Axes, image: np.ndarray, title: str) -> None:
        ax.imshow((8 * image).round() / 8, cmap="gray", vmin=-1, vmax=1)  # few greys
        ax.set(xticks=[], yticks=[], title=title)

    def _draw_next(self, ax: Axes) -> None:
        _, side, _ = self.shape
        codes, p = self.coming()
        true = self.original()[min(self.written, side**2 - 1)]
        colors = [LEARNED if code == true else GREY for code in codes]
        ax.barh(range(len(codes)), p, color=colors)
        ax.set_yticks(range(len(codes)), [*map(str, codes)], fontsize=7)
        ax.invert_yaxis()
        ax.set(xlabel="probability", title=f"code {min(self.written + 1, side**2)}")


def _book(codes, latent: int) -> np.ndarray:
    book = np.asarray(codes, dtype=float)
    if book.ndim != 2 or book.shape[1] != latent or not 1 <= len(book) <= MOST:
        said = f"codes must be (codes, {latent}), from 1 to {MOST} of them"
        raise ValueError(f"{said}, got {book.shape}")
    if not np.isfinite(book).all():
        raise ValueError("codes must be finite: some numbers are not")
    return book


def _tokens(grids, count: int) -> tuple[np.ndarray, int]:
    """Codes of all examples, (examples, places), and the side of their square grid."""
    tokens = np.asarray(grids)
    tokens = tokens.reshape(len(tokens), -1) if tokens.ndim == 3 else tokens
    side = math.isqrt(tokens.shape[1]) if tokens.ndim == 2 else 0
    if side < 2 or side**2 != tokens.shape[1] or not 1 <= len(tokens) <= EXAMPLES:
        said = f"grids must be (examples, places) of square grids, at most {EXAMPLES} examples"
        raise ValueError(f"{said}, got {tokens.shape}")
    if not np.issubdtype(tokens.dtype, np.integer) or tokens.min() < 0 or tokens.max() >= count:
        raise ValueError(f"grids must be numbers of codes, from 0 to {count - 1}")
    return tokens.astype(int), side


def _looks(looks, count: int) -> np.ndarray:
    """[−1, 1] as 0 … 255."""
    looks = np.asarray(looks, dtype=float)
    if looks.shape != (count, PATCH, PATCH) or not (abs(looks) <= 1 + 1e-6).all():
        said = f"looks must be patches in [−1, 1], ({count}, {PATCH}, {PATCH})"
        raise ValueError(f"{said}, got {looks.shape}")
    return np.clip((looks + 1) * 127.5, 0, 255).round().astype(np.uint8)


def _next(chances, tokens: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The likeliest codes of every place, their probabilities, and the bits of the true codes."""
    if chances is None:
        return np.zeros(0, int), np.zeros(0), np.zeros(0)
    p = np.asarray(chances, dtype=float)
    if p.shape != (*tokens.shape, count):
        raise ValueError(f"chances must be {(*tokens.shape, count)}, got {p.shape}")
    if not ((p >= 0).all() and (abs(p.sum(-1) - 1) < 1e-3).all()):  # also refuses NaN
        raise ValueError("chances must be at least 0 and their rows must sum to 1")
    top = np.argsort(-p, axis=-1, kind="stable")[..., :SHOWN]
    true = np.take_along_axis(p, tokens[..., None], -1)[..., 0]
    bits = -np.log2(np.maximum(true, 2.0**-30))
    return top, np.take_along_axis(p, top, -1), bits


def _edits(edits: Mapping[int, int], original: np.ndarray, count: int) -> str:
    """Edits by place as text; a code that was there anyway is none."""
    places = len(original)
    for place, code in edits.items():
        if place not in range(places) or code not in range(count):
            said = f"edits must be codes from 0 to {count - 1} by places from 0 to {places - 1}"
            raise ValueError(f"{said}, got {dict(edits)}")
    found = sorted((int(p), int(k)) for p, k in edits.items() if k != original[p])
    return ".".join(f"{place}-{code}" for place, code in found)


def _fits(start, examples: int, places: int, known: bool) -> None:
    for key, count in (("example", examples), ("place", places), ("written", places + 1)):
        if start[key] not in range(count):
            said = f"{key} must be a whole number from 0 to {count - 1}"
            raise ValueError(f"{said}, got {start[key]}")
    for key, offered, needs in (("cells", CELLS, "bits"), ("order", ORDERS, "likeliest")):
        if start[key] not in offered:
            raise ValueError(f"{key} must be one of {', '.join(offered)}, got {start[key]!r}")
        if start[key] == needs and not known:
            raise ValueError(f"{key} can be {needs!r} only with chances")
