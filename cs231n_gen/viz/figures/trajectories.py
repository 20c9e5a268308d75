"""Trajectories: points or images computed anywhere, on their way from noise to data."""

from collections.abc import Sequence
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from traitlets import Bytes, List, Unicode
from traitlets import Float as Number

from cs231n_gen.viz import plots
from cs231n_gen.viz.widget import MovingFigure, half, short

SHAPES = "(frames, n, 2), (frames, n, H, W), or (frames, n, C, H, W) with 1 or 3 channels"
STILL = 200  # points of the still picture
CHOSEN = 6  # frames of it


class Trajectories(MovingFigure):
    """Frames to play and to scrub through: a cloud of points, or a film strip of images.

    Args:
        frames: points (frames, n, 2), or images (frames, n, H, W) or (frames, n, C, H, W) with
            C = 1 or 3 in [−1, 1]; from noise to data. Images travel as bytes, points in half
            precision.
        times: the level t of each frame, falling; from 1 to 0 in equal steps if None.
        labels: names of the images.
        t: the level that is shown first.
        extent: half the width of the window, of points.
        name, alt: see `MovingFigure`.
    Raises:
        ValueError: if shapes or times do not fit, or a number is not finite.
    """

    module = "figures/trajectories"
    setting: ClassVar[tuple[str, ...]] = ("t",)

    frames = Bytes().tag(sync=True)
    shape = List().tag(sync=True)
    times = List().tag(sync=True)
    labels = List().tag(sync=True)
    extent = Number(3.2).tag(sync=True)
    t = Number(1.0).tag(sync=True)
    name = Unicode("trajectories").tag(sync=True)
    alt = Unicode("").tag(sync=True)

    def __init__(
        self,
        frames: Float[ArrayLike, "frames n *shape"],
        times: Sequence[float] | None = None,
        labels: Sequence[str] = (),
        *,
        t: float | None = None,
        alt: str | None = None,
        **options,
    ):
        frames = np.asarray(frames)
        points = frames.ndim == 3 and frames.shape[-1] == 2
        images = frames.ndim == 4 or (frames.ndim == 5 and frames.shape[2] in (1, 3))
        if not (points or images) or len(frames) < 2 or not frames.size:
            raise ValueError(f"frames must be {SHAPES}, two frames or more, got {frames.shape}")
        if not np.isfinite(frames).all():
            raise ValueError("frames must be finite: some numbers are not")
        times = np.linspace(1, 0, len(frames)) if times is None else np.asarray(times, float)
        if times.shape != (len(frames),) or not (np.diff(times) < 0).all():
            raise ValueError(f"times must be {len(frames)} falling numbers, got {times.tolist()}")
        if labels and len(labels) != frames.shape[1]:
            raise ValueError(f"labels must be {frames.shape[1]} names, got {len(labels)}")
        n, kind = frames.shape[1], "points" if points else "images"
        super().__init__(
            frames=half(frames) if points else _bytes(frames),
            shape=[*frames.shape],
            times=short(times),
            labels=[*labels],
            t=float(times[0] if t is None else np.clip(t, times[-1], times[0])),
            alt=alt or f"{n} {kind} on their way from noise to data",
            **options,
        )

    def draw(self) -> Figure:
        chosen = np.linspace(0, self.shape[0] - 1, min(CHOSEN, self.shape[0])).round().astype(int)
        names = [f"t = {self.times[k]:.2g}" for k in chosen]
        if len(self.shape) == 3:
            frames = np.frombuffer(self.frames, "<f2").reshape(self.shape)[chosen, :STILL]
            figure, axes = plt.subplots(1, len(chosen), figsize=(2 * len(chosen), 2.3))
            for ax, frame, name in zip(np.atleast_1d(axes), frames, names, strict=True):
                plots.points(ax, frame.astype(float))
                plots.square(ax, self.extent, name)
            return figure
        frames = np.frombuffer(self.frames, np.uint8).reshape(self.shape)[chosen]
        if len(self.shape) == 5:
            frames = np.moveaxis(frames, 2, -1)  # channels last
        if frames.shape[-1] == 1:
            frames = frames[..., 0]
        return plots.levels_of(frames.swapaxes(0, 1) / 127.5 - 1, names, self.labels)


def _bytes(images: np.ndarray) -> bytes:
    """[−1, 1] as 0 … 255."""
    return np.clip((images + 1) * 127.5, 0, 255).round().astype(np.uint8).tobytes()
