"""PatchLab: what each patch of a picture attends to, at each noise level, and the gates."""

import math
import zlib
from collections.abc import Sequence
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from traitlets import Bytes, Dict, Int, List, Unicode
from traitlets import Float as Number

from cs231n_gen.common.palette import LEARNED, PURPLE
from cs231n_gen.viz.widget import MovingFigure, short

ALT = "What a patch of a picture attends to at each noise level, and the gates of all blocks"
SETTING = ("example", "t", "patch", "block", "head")
HEAVIEST = 160_000  # bytes of attention and pictures, deflated
SHOWN = 4  # pictures in the still picture


class PatchLab(MovingFigure):
    """Attention maps and gates of a diffusion transformer over noise levels.

    A patch of the picture is pointed at: the others are tinted by what it attends to, at the chosen
    block and head (or the mean of all heads), and small pictures show the same at every block.
    Below are the gates of all blocks over t.

    Args:
        levels: t of each picture, rising or falling.
        pictures: in [−1, 1], at each level; they travel as bytes.
        attention: softmax weights, from 0 to 1: a row for the patch that attends, a column for what
            it attends to; rows sum to 1. Patches form a square grid whose side divides the
            picture's, and go row by row. They travel as bytes, a scale for each map: no weight is
            off by more than 1/510 of the largest of its map, so by at most 0.002.
        gates: the mean of |gate| of the attention and of the MLP of each block, at each level.
        labels: names of the examples.
        example, t, patch, block: what is shown first; `t` moves to the nearest level, and is the
            middle one if None.
        head: 0 for the mean of all heads, or the number of one, from 1.
        name, alt: see `MovingFigure`.
    Raises:
        ValueError: if something else comes, or it is too much for a page.
    """

    module = "figures/patch_lab"
    setting: ClassVar[tuple[str, ...]] = SETTING

    levels = List().tag(sync=True)  # falling
    pictures = Bytes().tag(sync=True)
    shape = List().tag(sync=True)  # examples, levels, height, width
    attention = Bytes().tag(sync=True)
    scales = List().tag(sync=True)  # what a byte of each map stands for
    sizes = List().tag(sync=True)  # examples, levels, blocks, heads, patches
    gates = List().tag(sync=True)
    labels = List().tag(sync=True)
    start = Dict().tag(sync=True)  # the setting that "Again" brings back
    example = Int(0).tag(sync=True)
    t = Number(0.5).tag(sync=True)
    patch = Int(0).tag(sync=True)
    block = Int(0).tag(sync=True)
    head = Int(0).tag(sync=True)
    name = Unicode("patch-lab").tag(sync=True)
    alt = Unicode("").tag(sync=True)

    def __init__(
        self,
        levels: Float[ArrayLike, "levels"],
        pictures: Float[ArrayLike, "examples levels height width"],
        attention: Float[ArrayLike, "examples levels blocks heads patches patches"],
        gates: Float[ArrayLike, "levels blocks 2"],
        *,
        labels: Sequence[str] | None = None,
        example: int = 0,
        t: float | None = None,
        patch: int | None = None,
        block: int | None = None,
        head: int = 0,
        alt: str = ALT,
        **options,
    ):
        times = _levels(levels)
        order = np.argsort(-times)  # from noise to data
        greys = _greys(pictures, len(times))[:, order]
        maps = _maps(attention, greys.shape)[:, order]
        sizes = maps.shape[:-1]
        strengths = _gates(gates, len(times), sizes[2])[order]
        names = [f"example {k + 1}" for k in range(sizes[0])] if labels is None else [*labels]
        if len(names) != sizes[0]:
            raise ValueError(f"labels must be {sizes[0]} names, got {len(names)}")
        side = math.isqrt(sizes[4])
        patch = side * (side // 2) + side // 2 if patch is None else patch  # in the middle
        block = sizes[2] // 2 if block is None else block
        chosen = {"example": example, "patch": patch, "block": block, "head": head}
        counts = {"example": sizes[0], "patch": sizes[4], "block": sizes[2], "head": sizes[3] + 1}
        for key, value in chosen.items():
            if value not in range(counts[key]):
                said = f"{key} must be a whole number from 0 to {counts[key] - 1}"
                raise ValueError(f"{said}, got {value}")
        times = times[order]
        t = float(times[len(times) // 2] if t is None else t)
        if not times[-1] <= t <= times[0]:
            raise ValueError(f"t must be from {times[-1]:.4g} to {times[0]:.4g}, got {t}")
        scales = maps.max((4, 5)) / 255
        numbers = (maps / scales[..., None, None]).round().astype(np.uint8).tobytes()
        if (size := len(zlib.compress(numbers + greys.tobytes(), 9))) > HEAVIEST:
            said = f"attention and pictures weigh {size} bytes packed, too much for a page"
            raise ValueError(f"{said}: at most {HEAVIEST}, so pass fewer levels or examples")
        start = {**chosen, "t": float(times[abs(times - t).argmin()])}
        super().__init__(
            levels=short(times),
            pictures=greys.tobytes(),
            shape=[*greys.shape],
            attention=numbers,
            scales=[float(f"{one:.5g}") for one in scales.ravel()],
            sizes=[*sizes],
            gates=short(strengths.round(4)),
            labels=[*map(str, names)],
            start=start,
            alt=alt,
            **start,
            **options,
        )

    def row(self, level: int) -> np.ndarray:
        """What the chosen patch attends to at a level, by its number from noise to data."""
        examples, levels, blocks, heads, patches = self.sizes
        numbers = np.frombuffer(self.attention, np.uint8)
        numbers = numbers.reshape(examples, levels, blocks, heads, patches, patches)
        scales = np.reshape(self.scales, (examples, levels, blocks, heads, 1))
        at = self.example, level, self.block
        rows = numbers[at][:, self.patch] * scales[at]  # (heads, patches)
        return rows[self.head - 1] if self.head else rows.mean(0)

    def draw(self) -> Figure:
        _, levels, _, _, patches = self.sizes
        chosen = np.linspace(0, levels - 1, min(SHOWN, levels)).round().astype(int)
        n = len(chosen)
        n = len(chosen)
        widths = {"width_ratios": [2] * n + [3], "layout": "constrained"}
        figure, axes = plt.subplots(1, n + 1, figsize=(2 * n + 3, 2.3), **widths)
        pictures = np.frombuffer(self.pictures, np.uint8).reshape(self.shape)[self.example]
        side, (height, width) = math.isqrt(patches), self.shape[2:]
        row, column = divmod(self.patch, side)
        for ax, k in zip(axes, chosen, strict=False):
            ax.imshow((pictures[k] / 16).round(), cmap="gray", vmin=0, vmax=16)  # few greys
            weights = self.row(k).reshape(side, side)
            tint = np.empty((side, side, 4))
            tint[..., :3], tint[..., 3] = to_rgb(LEARNED), 0.75 * weights / weights.max()
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            ax.imshow(tint, extent=extent, interpolation="nearest")
            corner = column * width / side - 0.5, row * height / side - 0.5
            size = width / side, height / side
            ax.add_patch(plt.Rectangle(corner, *size, fill=False, ec="black", lw=2))
            ax.set(xticks=[], yticks=[], title=f"t = {self.levels[k]:.2g}")
        last = axes[-1]
        for block in range(self.sizes[2]):
            lines = np.array(self.gates)[:, block].T
            how = {"lw": 2.5 if block == self.block else 0.8}
            last.plot(self.levels, lines[0], color=LEARNED, **how)
            last.plot(self.levels, lines[1], "--", color=PURPLE, **how)
        last.invert_xaxis()
        last.set(xlabel="t", title="|gate| (MLP dashed)", ylim=(0, None))
        return figure


def _levels(levels) -> np.ndarray:
    times = np.asarray(levels, dtype=float)
    steps = np.diff(times) if times.ndim == 1 else np.zeros(0)
    inside = ((times >= 0) & (times <= 1)).all()
    if not (len(steps) and inside and ((steps > 0).all() or (steps < 0).all())):
        said = "levels must be two numbers or more from 0 to 1, rising or falling"
        raise ValueError(f"{said}, got {times.tolist()}")
    return times


def _greys(pictures, levels: int) -> np.ndarray:
    """[−1, 1] as 0 … 255."""
    pictures = np.asarray(pictures, dtype=float)
    if pictures.ndim != 4 or not pictures.size or pictures.shape[1] != levels:
        said = f"pictures must be (examples, {levels} levels, height, width)"
        raise ValueError(f"{said}, got {pictures.shape}")
    if not (abs(pictures) <= 1 + 1e-6).all():  # also refuses NaN
        raise ValueError("pictures must be in [−1, 1]: some numbers are not")
    return np.clip((pictures + 1) * 127.5, 0, 255).round().astype(np.uint8)


def _maps(attention, shape: Sequence[int]) -> np.ndarray:
    maps = np.asarray(attention, dtype=float)
    fits = maps.ndim == 6 and maps.size and maps.shape[:2] == tuple(shape[:2])
    if not fits or maps.shape[4] != maps.shape[5]:
        said = f"attention must be {tuple(shape[:2])} + (blocks, heads, patches, patches)"
        raise ValueError(f"{said}, got {maps.shape}")
    side = math.isqrt(maps.shape[4])
    if side**2 != maps.shape[4] or shape[2] % side or shape[3] % side:
        said = f"attention must be over a square grid of patches that divides {shape[2:]}"
        raise ValueError(f"{said}, got {maps.shape[4]} patches")
    if not ((maps >= 0).all() and (abs(maps.sum(-1) - 1) < 1e-2).all()):  # also refuses NaN
        raise ValueError("attention must be at least 0 and its rows must sum to 1")
    return maps


def _gates(gates, levels: int, blocks: int) -> np.ndarray:
    strengths = np.asarray(gates, dtype=float)
    if strengths.shape != (levels, blocks, 2):
        said = f"gates must be ({levels}, {blocks}, 2), of the attention and of the MLP"
        raise ValueError(f"{said}, got {strengths.shape}")
    if not (np.isfinite(strengths).all() and (strengths >= 0).all()):
        raise ValueError("gates must be means of |gate|: finite and at least 0")
    return strengths
