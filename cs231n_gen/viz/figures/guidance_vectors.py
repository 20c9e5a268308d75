"""GuidanceVectors: classifier-free guidance at a point that can be dragged, and what it samples."""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import ClassVar, Protocol

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from traitlets import Bool, Bytes, Dict, List, Unicode
from traitlets import Float as Number
from traitlets import Int as Whole

from cs231n_gen.common.palette import DATA, EXACT, GREY, LEARNED
from cs231n_gen.viz import plots
from cs231n_gen.viz.velocity_fields import describe, field, sample
from cs231n_gen.viz.widget import MovingFigure, half

SETTING = ("t", "z", "begin", "y", "w", "steps", "crowd", "chances")
STEPS = (1, 50)
WEIGHTS = (-1, 8)
SHOWN = 300  # data points
ALT = "At a noisy point, the velocities of all data, of a class, and of guidance towards the class"
Velocity = Callable[[Float[np.ndarray, "n 2"], float], Float[np.ndarray, "n 2"]]


class Labelled(Protocol):
    """Parameters of a mixture of Gaussians in the plane whose components have labels."""

    weights: Float[ArrayLike, "components"]
    means: Float[ArrayLike, "components 2"]
    covs: Float[ArrayLike, "components 2 2"]
    labels: Int[ArrayLike, "components"]


class GuidanceVectors(MovingFigure):
    """Where v_∅, v_y and v_cfg point, from an x_t that can be dragged (slides 61–72).

        v_cfg = (1 + w) v_y − w v_∅,    x_t − t v_y = E[x | x_t, y],    x_t − t v_∅ = E[x | x_t]

    so x_t − t v_cfg lies on the line through those two. Paths from one noise show what w = 0, w = 1
    and the chosen w make of it, and a crowd shows what becomes of p(x | y): the larger w, the
    narrower the samples. Everything is exact, and computed where it is drawn.

    Args:
        mixture: labelled data; several components may share a label.
        y, w: the class, by its label, and the guidance weight, −1 to 8.
        t: the level of x_t.
        z: where the paths begin.
        begin: the level at which they begin there: 1, unless x_t was dragged to where no noise
            leads.
        steps: T of Euler's rule, 1 to 50.
        names: of the classes, in the order of their labels.
        particles, seed: how many points are carried, and of their noise and the data.
        extent: half the width of the window.
        crowd, chances: whether the points on their way, and p(y | x_t), are drawn beside x_t.
        name, alt: see `MovingFigure`.
    Raises:
        ValueError: if something else comes.
    """

    module = "figures/guidance_vectors"
    setting: ClassVar[tuple[str, ...]] = SETTING

    mixture = Dict().tag(sync=True)
    classes = List().tag(sync=True)
    names = List().tag(sync=True)
    noise = Bytes().tag(sync=True)
    data = Bytes().tag(sync=True)
    counts = List().tag(sync=True)  # data of each class, one class after the other
    extent = Number(3.2).tag(sync=True)
    t = Number(0.6).tag(sync=True)
    z = List([0.4, 0.3]).tag(sync=True)
    begin = Number(1.0).tag(sync=True)
    y = Whole(0).tag(sync=True)
    w = Number(2.0).tag(sync=True)
    steps = Whole(30).tag(sync=True)
    crowd = Bool(True).tag(sync=True)
    chances = Bool(True).tag(sync=True)
    name = Unicode("guidance-vectors").tag(sync=True)
    alt = Unicode("").tag(sync=True)

    def __init__(
        self,
        mixture: Labelled,
        *,
        y: int = 0,
        w: float = 2.0,
        t: float = 0.6,
        z: Sequence[float] = (0.4, 0.3),
        begin: float = 1.0,
        steps: int = 30,
        names: Sequence[str] | None = None,
        particles: int = 400,
        seed: int = 0,
        extent: float = 3.2,
        alt: str = ALT,
        **options,
    ):
        told = _labelled(mixture)
        classes = sorted({*told["labels"]})
        names = [f"class {label}" for label in classes] if names is None else [*map(str, names)]
        if len(names) != len(classes):
            raise ValueError(f"names must be one for each of {len(classes)} classes, got {names}")
        if y not in classes:
            raise ValueError(f"y must be among the labels {classes}, got {y}")
        _fits(w, t, z, begin, steps, particles, extent)
        random = np.random.default_rng(seed)
        noise = random.standard_normal((particles, 2))
        data = [_drawn(told, label, random) for label in classes]
        super().__init__(
            mixture=told,
            classes=classes,
            names=names,
            noise=half(noise),
            data=half(np.concatenate(data)),
            counts=[*map(len, data)],
            extent=float(extent),
            t=float(t),
            z=[*map(float, z)],
            begin=float(begin),
            y=int(y),
            w=float(w),
            steps=int(steps),
            alt=alt,
            **options,
        )

    def draw(self) -> Figure:
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 4.4))
        fields, z = self._fields(), np.array([self.z])
        noise = np.frombuffer(self.noise, "<f2").reshape(-1, 2).astype(float)
        samples = self._path(fields, self.w, noise, 1.0)[-1]
        for ax in (left, right):
            for label, x in zip(self.classes, self._data(), strict=True):
                mine = label == self.y
                plots.points(ax, x, DATA if mine else GREY, "data" if mine else None, size=5)
        for w, style in {0.0: ":", 1.0: "--", self.w: "-"}.items():
            path = self._path(fields, w, z, self.begin)[:, 0]
            width, says = 2 if w == self.w else 1.2, f"w = {w:g}"
            left.plot(*path.T, style, color="black", lw=width, label=says)
        self._arrows(left, fields, z)
        plots.points(right, samples, LEARNED, "samples", size=6)
        of = self.names[self.classes.index(self.y)]
        plots.square(left, self.extent, f"where velocities point, t = {self.t:.2f}")
        plots.square(right, self.extent, f"samples of {of}, w = {self.w:g}")
        for ax in (left, right):
            ax.legend(loc="lower right", fontsize=9)
        return figure

    def _fields(self) -> tuple[Velocity, Velocity]:
        """v_y and v_∅."""
        both = (_of(self.mixture, self.y), _of(self.mixture, None))
        return tuple(field({"mixture": one}, np.zeros(0)) for one in both)

    def _path(self, fields, w: float, x: np.ndarray, begin: float) -> np.ndarray:
        """Euler's path from level `begin` to 0, (frames, n, 2), as `pathFrom` of guidance.mjs."""
        steps = max(1, math.ceil(begin * self.steps - 1e-9))
        path = [x]
        for k in range(steps):
            t = begin * (1 - k / steps)
            path.append(path[-1] - begin / steps * _guided(fields, w, path[-1], t))
        return np.stack(path)

    def _arrows(self, ax: Axes, fields, z: np.ndarray) -> None:
        path = self._path(fields, self.w, z, self.begin)[:, 0]
        place = (1 - self.t / self.begin if self.begin else 0) * (len(path) - 1)
        x_t = np.array([np.interp(place, np.arange(len(path)), one) for one in path.T])
        tips = [x_t - self.t * _guided(fields, w, x_t[None], self.t)[0] for w in (-1, 0, self.w)]
        ax.plot(*np.stack([tips[0], tips[2]]).T, "--", color=GREY, lw=1)
        names = ("$v_∅$", "$v_y$", "$v_{cfg}$")
        for tip, color, says in zip(tips, (GREY, EXACT, LEARNED), names, strict=True):
            ax.plot(*np.stack([x_t, tip]).T, color=color, lw=3.5)
            ax.plot(*tip, "o", color=color, ms=8)
            ax.annotate(says, tip, (-9, 5), textcoords="offset points", ha="right", fontsize=12)
        ax.plot(*x_t, "o", color="black", ms=6)
        ax.annotate("$x_t$", x_t, (5, 5), textcoords="offset points", fontsize=12)

    def _data(self) -> list[np.ndarray]:
        data = np.frombuffer(self.data, "<f2").reshape(-1, 2).astype(float)
        return np.split(data, np.cumsum(self.counts)[:-1])


def _labelled(mixture: Labelled) -> dict[str, list]:
    """Parameters and labels, as the module is told of them."""
    if any(getattr(mixture, kind, None) is None for kind in Labelled.__annotations__):
        who = type(mixture).__name__
        raise ValueError(f"a labelled mixture must have weights, means, covs and labels, got {who}")
    told = describe({"mixture": mixture})[0][0].get("mixture")
    labels = np.asarray(mixture.labels)
    if labels.shape != (len(told["weights"]),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be {len(told['weights'])} whole numbers, one for each component, "
            f"got {labels.tolist()}"
        )
    return {**told, "labels": labels.tolist()}


def _fits(w, t, z, begin, steps, particles, extent) -> None:
    if not WEIGHTS[0] <= w <= WEIGHTS[1]:
        raise ValueError(f"w must be from {WEIGHTS[0]} to {WEIGHTS[1]}, got {w}")
    if not 0 <= t <= 1:
        raise ValueError(f"t must be from 0 (data) to 1 (noise), got {t}")
    if len(z) != 2 or not np.isfinite(z).all():
        raise ValueError(f"z must be a point of the plane, two numbers, got {z}")
    if not t <= begin <= 1:
        raise ValueError(f"begin must be a level from t = {t} to 1, got {begin}")
    if steps not in range(STEPS[0], STEPS[1] + 1):
        raise ValueError(f"steps must be a whole number from 1 to 50, got {steps}")
    if not (isinstance(particles, int) and particles > 0):
        raise ValueError(f"particles must be a whole number of at least 1, got {particles}")
    if not (math.isfinite(extent) and extent > 0):
        raise ValueError(f"extent must be a positive number, got {extent}")


def _of(told: dict[str, list], label: int | None) -> dict[str, np.ndarray]:
    """The components with a label, or all of them."""
    mine = [label is None or one == label for one in told["labels"]]
    return {kind: np.array(told[kind])[mine] for kind in ("weights", "means", "covs")}


def _drawn(told: dict[str, list], label: int, random: np.random.Generator) -> np.ndarray:
    """Data of a class, as many as it has a share in 300."""
    mixture = SimpleNamespace(**_of(told, label))
    share = mixture.weights.sum() / np.sum(told["weights"])
    return sample(mixture, max(1, round(SHOWN * share)), random)


def _guided(fields: tuple[Velocity, Velocity], w: float, x_t: np.ndarray, t: float) -> np.ndarray:
    """v_cfg = (1 + w) v_y − w v_∅ (slide 66)."""
    given, all_data = fields
    return (1 + w) * given(x_t, t) - w * all_data(x_t, t)
