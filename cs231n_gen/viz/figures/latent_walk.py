"""LatentWalk: a plane of three latents to walk in, its pictures decoded beforehand on a grid."""

import math
import zlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from traitlets import Float as Number
from traitlets import Int, List, Unicode

from cs231n_gen.viz import plots
from cs231n_gen.viz.widget import MovingFigure, short

ALT = "Pictures decoded on a plane of three latents, and the one at a point that can be dragged"
CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
LABELS = ("z₀", "z₁", "z₂")
LEVELS = (64, 32, 16)  # of grey: as many as a page can carry
FIRST = ord("#")  # of the letters that stand for numbers
HEAVIEST = 26_000  # bytes of all pictures, deflated
A_SIDE = 4  # steps from corner to corner in the still picture


class LatentWalk(MovingFigure):
    """A walk in a plane of three latents (slides 33–34), without the decoder.

    The decoder was asked beforehand, on a regular grid of places (u, v), for instance for
    z = z₀ + u (z₁ − z₀) + v (z₂ − z₀). Between grid points the figure blends the nearest four.

    Args:
        images: (rows, columns, H, W) in [−1, 1], or bytes; rows are equal steps of v, from its
            lowest value, columns equal steps of u. They travel as 64 levels of grey, or 32 or 16.
        corners: where the three latents are, (u, v) each.
        labels: their names.
        extent: the lowest and highest u, and v, of the grid.
        norms: ‖z‖ at each place of the grid, (rows, columns).
        typical: the norm that latents have, to compare with.
        u, v: where the walk begins; the middle of the corners if None.
        name, alt: see `MovingFigure`.
    Raises:
        ValueError: if something else comes, or the pictures are too many for a page.
    """

    module = "figures/latent_walk"
    setting: ClassVar[tuple[str, ...]] = ("u", "v")

    pictures = Unicode().tag(sync=True)
    levels = Int(64).tag(sync=True)
    shape = List().tag(sync=True)
    corners = List().tag(sync=True)
    labels = List().tag(sync=True)
    extent = List().tag(sync=True)
    norms = List().tag(sync=True)
    typical = Number(0.0).tag(sync=True)  # 0 if nothing is known
    u = Number(0.0).tag(sync=True)
    v = Number(0.0).tag(sync=True)
    name = Unicode("latent-walk").tag(sync=True)
    alt = Unicode("").tag(sync=True)

    def __init__(
        self,
        images: Float[ArrayLike, "rows columns H W"],
        corners: Sequence[Sequence[float]] = CORNERS,
        labels: Sequence[str] = LABELS,
        *,
        extent: Sequence[Sequence[float]] = ((0.0, 1.0), (0.0, 1.0)),
        norms: Float[ArrayLike, "rows columns"] | None = None,
        typical: float = 0.0,
        u: float | None = None,
        v: float | None = None,
        alt: str = ALT,
        **options,
    ):
        images = np.asarray(images)
        if images.ndim != 4 or not images.size or min(images.shape[:2]) < 2:
            said = "images must be (rows, columns, H, W), two rows and two columns or more"
            raise ValueError(f"{said}, got {images.shape}")
        window, places = _plane(extent, corners)
        if len(labels) != 3:
            raise ValueError(f"labels must be three names, got {len(labels)}")
        norms = np.zeros((0, 0)) if norms is None else np.asarray(norms, dtype=float)
        if norms.size and not (norms.shape == images.shape[:2] and np.isfinite(norms).all()):
            raise ValueError(f"norms must be finite numbers, {images.shape[:2]}, got {norms.shape}")
        if not (math.isfinite(typical) and typical >= 0):
            raise ValueError(f"typical must be the norm of a latent, got {typical}")
        begin = [m if one is None else one for m, one in zip(places.mean(0), (u, v), strict=True)]
        if not ((window[:, 0] <= begin) & (begin <= window[:, 1])).all():
            raise ValueError(f"u and v must lie in the extent, got {[float(v) for v in begin]}")
        pictures, levels = _packed(_greys(images))
        super().__init__(
            pictures=pictures,
            levels=levels,
            shape=[*images.shape],
            corners=short(places),
            labels=[*map(str, labels)],
            extent=short(window),
            norms=short(norms.round(3)),
            typical=float(typical),
            u=float(begin[0]),
            v=float(begin[1]),
            alt=alt,
            **options,
        )

    def draw(self) -> Figure:
        corners, window = np.array(self.corners), np.array(self.extent)
        steps = np.arange(3 * A_SIDE + 1)
        k, part = steps // A_SIDE % 3, (steps % A_SIDE / A_SIDE)[:, None]
        places = corners[k] + part * (corners[(k + 1) % 3] - corners[k])  # (steps, 2)
        part = (places - window[:, 0]) / (window[:, 1] - window[:, 0])
        columns, rows = (part * [self.shape[1] - 1, self.shape[0] - 1]).T
        greys = _unpacked(self.pictures, self.shape, self.levels)
        walk = np.stack([_blend(greys, *at) for at in zip(rows, columns, strict=True)])
        names = [self.labels[i // A_SIDE % 3] if i % A_SIDE == 0 else "" for i in steps]
        return plots.levels_of(walk[None] * 2 - 1, names)


def _plane(extent, corners) -> tuple[np.ndarray, np.ndarray]:
    window, places = np.asarray(extent, dtype=float), np.asarray(corners, dtype=float)
    if window.shape != (2, 2) or not np.isfinite(window).all() or (np.diff(window) <= 0).any():
        raise ValueError(f"extent must be two rising pairs, of u and of v, got {extent}")
    fit = places.shape == (3, 2) and ((window[:, 0] <= places) & (places <= window[:, 1])).all()
    if not fit or len({*map(tuple, places.tolist())}) < 3:
        raise ValueError(f"corners must be three places (u, v) in the extent, got {corners}")
    return window, places


def _greys(images: np.ndarray) -> np.ndarray:
    """[−1, 1], or bytes, as 0 … 1."""
    if images.dtype == np.uint8:
        return images / 255
    if not np.isfinite(images).all():
        raise ValueError("images must be finite: some numbers are not")
    return (np.clip(images.astype(float), -1, 1) + 1) / 2


def _packed(greys: np.ndarray) -> tuple[str, int]:
    """A letter a number, which deflates well: how levels change from place to place of the grid.

    Pixel after pixel, each over the whole grid; a column's level less that of the column before.
    """
    for levels in LEVELS:
        change = np.diff((greys * (levels - 1)).round().astype(int), axis=1, prepend=0)
        change[:, 0] = np.diff(change[:, 0], axis=0, prepend=0)
        letters = FIRST + (change + levels // 2) % levels
        text = letters.transpose(2, 3, 0, 1).astype(np.uint8).tobytes()
        if (size := len(zlib.compress(text, 9))) <= HEAVIEST:
            return text.decode(), levels
    said = f"images weigh {size} bytes packed, too much for a page"
    raise ValueError(f"{said}: at most {HEAVIEST}, so decode fewer or smaller ones")


def _unpacked(text: str, shape: Sequence[int], levels: int) -> np.ndarray:
    rows, columns, height, width = shape
    letters = np.frombuffer(text.encode(), np.uint8).reshape(height, width, rows, columns)
    change = letters.astype(int) - FIRST - levels // 2
    change[..., 0] = change[..., 0].cumsum(-1)
    return (change.cumsum(-1) % levels / (levels - 1)).transpose(2, 3, 0, 1)


def _blend(greys: np.ndarray, row: float, column: float) -> np.ndarray:
    """The picture between four of the grid."""
    i, j = (min(int(at), n - 2) for at, n in zip((row, column), greys.shape[:2], strict=True))
    a, b = row - i, column - j
    near = greys[i : i + 2, j : j + 2]
    return np.einsum("ij,ijhw->hw", np.outer([1 - a, a], [1 - b, b]), near)
