"""ScheduleLab: which levels t to train on, what of a picture survives them, where to step."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from traitlets import Bool, Bytes, Dict, Enum, Int, List, Unicode
from traitlets import Float as Number

from cs231n_gen.common.palette import EXACT, GREY
from cs231n_gen.viz.plots import FROM_NOISE
from cs231n_gen.viz.velocity_fields import Mixture, describe
from cs231n_gen.viz.widget import MovingFigure, half, short

ALT = "Which noise levels to train on, what of a picture survives them, and where a sampler steps"
SETTING = ("schedule", "m", "s", "alpha", "steps", "picture", "shifted")
SPREADS = {"uniform": (-1, 2), "logit-normal": (0.3, 2), "mode-weighted": (-1, 1.75)}  # of s
MEANS = (-2, 2)  # of m
SHIFTS = (1, 8)  # of alpha
STEPS = (1, 50)
PARTICLES = (1, 256)
SIDE = 32  # pixels of a picture
MOST = 4  # pictures
SHARES = (0.1, 0.5, 0.9)  # of examples with less noise than a still picture shows
TONES = 4  # of grey, from its middle to white
EVERY = np.linspace(0, 1, 4002)[1:-1]  # shares from which the still picture's density is drawn


class ScheduleLab(MovingFigure):
    """Noise schedules in three linked parts (slides 79–83; SD3, Esser et al. 2024).

    The density p(t) over the irreducible loss; one picture at quantiles of p(t), with 8 × 8, 16 ×
    16 and 32 × 32 pixels; and Euler's steps in the plane, even and shifted.

        uniform          t = u
        logit-normal     t = sigmoid(m + s n),                       n ~ N(0, 1)
        mode-weighted    t = 1 − u − s (cos²(π u / 2) − 1 + u)
        shift            t' = α t / (1 + (α − 1) t),                 α = √(m / n) for m pixels
                                                                     in place of n

    Args:
        levels, difficulty: the irreducible loss per dimension at rising levels t.
        mixture: data in the plane, whose exact field the steps follow.
        pictures: one to four of 32 × 32 pixels in [−1, 1]; they travel as bytes.
        labels: their names.
        schedule, m, s: p(t) to begin with; s from 0.3 to 2, or from −1 to 1.75 if mode-weighted.
        alpha: the shift of p(t) and of the steps, from 1 to 8.
        steps: of Euler's rule, from 1 to 50.
        shifted: whether each resolution gets a shift of its own in place of alpha.
        particles, seed: how many points walk, at most 256, and of their noise and the pictures'.
        name, alt: see `MovingFigure`.
    Raises:
        ValueError: if something else comes.
    """

    module = "figures/schedule_lab"
    setting: ClassVar[tuple[str, ...]] = SETTING

    levels = List().tag(sync=True)
    difficulty = List().tag(sync=True)
    mixture = Dict().tag(sync=True)
    pictures = Bytes().tag(sync=True)
    labels = List().tag(sync=True)
    noise = Bytes().tag(sync=True)  # in the plane
    grain = Bytes().tag(sync=True)  # of a picture
    start = Dict().tag(sync=True)  # the setting that "Again" brings back
    schedule = Enum([*SPREADS], "logit-normal").tag(sync=True)
    m = Number(0.0).tag(sync=True)
    s = Number(1.0).tag(sync=True)
    alpha = Number(1.0).tag(sync=True)
    steps = Int(10).tag(sync=True)
    picture = Int(0).tag(sync=True)
    shifted = Bool(False).tag(sync=True)
    name = Unicode("schedule-lab").tag(sync=True)
    alt = Unicode("").tag(sync=True)

    def __init__(
        self,
        levels: Float[ArrayLike, "n"],
        difficulty: Float[ArrayLike, "n"],
        mixture: Mixture,
        pictures: Float[ArrayLike, "pictures 32 32"],
        *,
        labels: Sequence[str] | None = None,
        schedule: str = "logit-normal",
        m: float = 0.0,
        s: float = 1.0,
        alpha: float = 1.0,
        steps: int = 10,
        shifted: bool = False,
        particles: int = 64,
        seed: int = 0,
        alt: str | None = None,
        **options,
    ):
        levels, difficulty = _curve(levels, difficulty)
        greys = _greys(pictures)
        labels = [f"picture {k + 1}" for k in range(len(greys))] if labels is None else [*labels]
        if len(labels) != len(greys):
            raise ValueError(f"labels must be {len(greys)} names, got {len(labels)}")
        if isinstance(mixture, Mapping):
            raise ValueError("mixture must have weights, means and covs, got a mapping")
        described, _ = describe({"mixture": mixture})
        _fits(schedule, m, s, alpha, steps, particles)
        picture = options.pop("picture", 0)
        if picture not in range(len(greys)):
            raise ValueError(f"picture must be a whole number below {len(greys)}, got {picture}")
        start = {
            "schedule": schedule,
            "m": float(m),
            "s": float(s),
            "alpha": float(alpha),
            "steps": steps,
            "picture": picture,
            "shifted": bool(shifted),
        }
        random = np.random.default_rng(seed)
        super().__init__(
            levels=short(levels),
            difficulty=short(difficulty.round(5)),
            mixture=described[0]["mixture"],
            pictures=greys.tobytes(),
            labels=[*map(str, labels)],
            grain=half(random.standard_normal((SIDE, SIDE))),
            noise=half(random.standard_normal((particles, 2))),
            start=start,
            alt=alt or ALT,
            **start,
            **options,
        )

    def draw(self) -> Figure:
        figure = plt.figure(figsize=(7.6, 3.8), layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=(5, 3))
        levels, steps = left.subplots(2, sharex=True, height_ratios=(3, 1))
        self._draw_levels(levels)
        self._draw_steps(steps)
        pictures = np.frombuffer(self.pictures, np.uint8).reshape(-1, SIDE, SIDE)
        x = pictures[min(max(self.picture, 0), len(pictures) - 1)] / 127.5 - 1
        z = np.frombuffer(self.grain, "<f2").reshape(SIDE, SIDE).astype(float)
        for size, row in zip((8, 16, 32), right.subplots(3, len(SHARES)), strict=True):
            alpha = size / 8 if self.shifted else self.alpha  # √(m / n), or one for all
            for ax, t in zip(row, self._quantile(SHARES, alpha), strict=True):
                noisy = (1 - t) * _pooled(x, size) + t * SIDE / size * _pooled(z, size)
                greys = (np.clip(noisy, -1, 1) * TONES).round()  # few: a still picture is small
                ax.imshow(greys, cmap="gray", vmin=-TONES, vmax=TONES)
                ax.set(xticks=[], yticks=[])
                ax.set_title(f"t = {t:.2f}", fontsize=9)
                ax.spines[:].set_visible(False)
            row[0].set_ylabel(f"{size} × {size}")
        return figure

    def _quantile(self, shares, alpha: float) -> np.ndarray:
        return _quantile(self.schedule, self.m, self.s, alpha, shares)

    def _draw_levels(self, ax) -> None:
        t = self._quantile(EVERY, self.alpha)
        counts, edges = np.histogram(t, 10, (0, 1))
        middles = (edges[:-1] + edges[1:]) / 2
        colors = FROM_NOISE(1 - middles)
        ax.bar(middles, 10 * counts / len(t), 0.1, color=colors, alpha=0.6, edgecolor="white")
        ax.plot(t, np.gradient(EVERY, t), color="black")
        ax.set(xlim=(-0.02, 1.02), ylim=(0, 4), yticks=range(5), ylabel="$p(t)$")
        other = ax.twinx()
        other.plot(self.levels, self.difficulty, color=EXACT)
        other.set(ylim=(0, 1.25 * max(self.difficulty)), ylabel="irreducible loss")
        other.spines["right"].set_visible(True)
        other.yaxis.label.set_color(EXACT)

    def _draw_steps(self, ax) -> None:
        even = np.linspace(0, 1, self.steps + 1)
        moved = _shift(even, self.alpha)
        for a, b in zip(even, moved, strict=True):
            ax.plot([a, b], [1, 0], color=GREY, lw=0.7, zorder=1)
        for height, t in ((1, even), (0, moved)):
            ax.scatter(t, np.full_like(t, height), c=FROM_NOISE(1 - t), s=26, zorder=2)
        ax.set(ylim=(-0.4, 1.4), xlabel="t (0 data, 1 noise)")
        ax.set_yticks([0, 1], [f"α = {self.alpha:.3g}", "even"])


def _fits(schedule, m, s, alpha, steps, particles) -> None:
    if schedule not in SPREADS:
        raise ValueError(f"schedule must be one of {', '.join(SPREADS)}, got {schedule!r}")
    bounds = {"m": (m, MEANS), "s": (s, SPREADS[schedule]), "alpha": (alpha, SHIFTS)}
    for name, (value, (low, high)) in bounds.items():
        if not low <= value <= high:
            of = f" of {schedule}" if name == "s" else ""
            raise ValueError(f"{name}{of} must be from {low} to {high}, got {value}")
    for name, value, (low, high) in (("steps", steps, STEPS), ("particles", particles, PARTICLES)):
        if value not in range(low, high + 1):
            raise ValueError(f"{name} must be a whole number from {low} to {high}, got {value}")


def _curve(levels: ArrayLike, difficulty: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    levels, difficulty = (np.asarray(one, dtype=float) for one in (levels, difficulty))
    if levels.ndim != 1 or len(levels) < 3 or levels.shape != difficulty.shape:
        shapes = f"{levels.shape} and {difficulty.shape}"
        raise ValueError(f"levels and difficulty must be (n,), three or more, got {shapes}")
    if not ((levels >= 0) & (levels <= 1)).all() or not (np.diff(levels) > 0).all():
        raise ValueError(f"levels must rise, from 0 to 1, got {levels[0]:g} … {levels[-1]:g}")
    if not (np.isfinite(difficulty) & (difficulty >= 0)).all() or not difficulty.any():
        raise ValueError(
            "difficulty must be a finite loss at each level, never below 0 and not all 0"
        )
    return levels, difficulty


def _greys(pictures: ArrayLike) -> np.ndarray:
    """[−1, 1] as 0 … 255."""
    pictures = np.asarray(pictures, dtype=float)
    if pictures.ndim != 3 or not 1 <= len(pictures) <= MOST or pictures.shape[1:] != (SIDE, SIDE):
        said = f"pictures must be one to {MOST} of {SIDE} × {SIDE}, (n, {SIDE}, {SIDE})"
        raise ValueError(f"{said}, got {pictures.shape}")
    if not (abs(pictures) <= 1 + 1e-6).all():  # also refuses NaN
        raise ValueError("pictures must be in [−1, 1]: some numbers are not")
    return np.clip((pictures + 1) * 127.5, 0, 255).round().astype(np.uint8)


def _shift(t, alpha: float):
    return alpha * t / (1 + (alpha - 1) * t)


def _quantile(schedule: str, m: float, s: float, alpha: float, shares) -> np.ndarray:
    """The levels below which these shares of the examples lie."""
    q = np.asarray(shares, dtype=float)
    if schedule == "logit-normal":
        q = np.array([1 / (1 + math.exp(-m - s * NormalDist().inv_cdf(one))) for one in q])
    elif schedule == "mode-weighted":
        u = 1 - q
        q = 1 - u - s * (np.cos(math.pi * u / 2) ** 2 - 1 + u)
    return _shift(q, alpha)


def _pooled(picture: np.ndarray, size: int) -> np.ndarray:
    side = SIDE // size
    return picture.reshape(size, side, size, side).mean((1, 3))
