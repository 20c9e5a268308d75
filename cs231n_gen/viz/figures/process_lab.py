"""ProcessLab: how noise replaces data, the densities on the way, and all of it divided by a."""

import math
from collections.abc import Sequence
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from traitlets import Bool, Dict, Enum, Int, List, Unicode
from traitlets import Float as Number

from cs231n_gen.common.palette import GREY, LEARNED
from cs231n_gen.viz.line_mixtures import LineMixture, density, parameters
from cs231n_gen.viz.line_processes import (
    CURVES,
    SIGMAS,
    SPACINGS,
    Place,
    Process,
    levels_of,
    marginal,
    process_of,
    quantiles,
    walk_along,
)
from cs231n_gen.viz.plots import FROM_NOISE
from cs231n_gen.viz.widget import MovingFigure

ALT = "A process as a curve in the plane of a and b, and the densities and paths that belong to it"
SETTING = ("curve", "middle", "t", "divided", "eta", "steps", "spacing")
EXTENT = 4.0  # how far means may be from 0
MIDDLES = (0.25, 1.5)  # of the reader's own curve
STEPS = (1, 50)
SHOWN = 9  # paths in the still picture
COLUMNS, ROWS = 120, 160  # of its shading


class ProcessLab(MovingFigure):
    """x_t = a(t) x + b(t) z as a curve in the plane of a and b (slides 109–118).

    Beside it, for data on a line, the densities p_t of every level; exact paths of the probability
    flow ODE as thin lines; and what DDIM (η = 0) up to the ancestral step (η = 1) make of the same
    noise:

        x_s = a_s x̂ + √(b_s² − σ²) ẑ + σ ε,    σ = η (b_s / b_t) √(b_t² − (a_t / a_s)² b_s²)

    with the exact x̂ = E[x | x_t]. "Divide by a" shows x_t / a = x + (b / a) z over b / a: the same
    picture for every curve. Paths begin with exact samples of the first level, so that what is off
    at their end comes from the steps.

    Args:
        mixture: the data, a mixture of Gaussians on the line: weights, means, standard deviations.
        curve: a process of `given.processes` by its name ("rectified_flow", "cosine",
            "variance_preserving", "variance_exploding" with b from 0.02 to 5), or "own".
        middle: a and b of the reader's own curve at t = ½, each from 0.25 to 1.5. The curve is the
            parabola through it from (1, 0), data, to (0, 1), noise.
        t: the level that is marked, from 0 (data) to 1 (noise).
        divided: whether the picture is divided by a.
        eta: η, from 0 to 1.
        steps: T, from 1 to 50.
        spacing: where levels are: "log", even in log(b / a) from 5 to 0.02, or "t", even in t from
            1 to 0.
        seed: of the noise ε.
        name, alt: see `MovingFigure`.
    Raises:
        ValueError: if something else comes.
    """

    module = "figures/process_lab"
    setting: ClassVar[tuple[str, ...]] = SETTING

    mixture = List().tag(sync=True)  # weights, means, stds
    curve = Enum([*CURVES], CURVES[0]).tag(sync=True)
    middle = List([1.15, 0.55]).tag(sync=True)
    t = Number(0.5).tag(sync=True)
    divided = Bool(False).tag(sync=True)
    eta = Number(0.0).tag(sync=True)
    steps = Int(20).tag(sync=True)
    spacing = Enum([*SPACINGS], SPACINGS[0]).tag(sync=True)
    seed = Int(0).tag(sync=True)
    start = Dict().tag(sync=True)  # the setting that "Again" brings back
    name = Unicode("process-lab").tag(sync=True)
    alt = Unicode("").tag(sync=True)

    def __init__(
        self,
        mixture: LineMixture,
        *,
        curve: str = "rectified_flow",
        middle: Sequence[float] = (1.15, 0.55),
        t: float = 0.5,
        divided: bool = False,
        eta: float = 0.0,
        steps: int = 20,
        spacing: str = "log",
        seed: int = 0,
        alt: str = ALT,
        **options,
    ):
        told = parameters(mixture, "mixture", EXTENT)
        _fits(curve, middle, t, eta, steps, spacing, seed)
        start = {
            "curve": curve,
            "middle": [*map(float, middle)],
            "t": float(t),
            "divided": bool(divided),
            "eta": float(eta),
            "steps": int(steps),
            "spacing": spacing,
        }
        super().__init__(mixture=told, seed=int(seed), start=start, alt=alt, **start, **options)

    def draw(self) -> Figure:
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), width_ratios=(2, 3))
        process = process_of(self.curve, self.middle)
        self._draw_plane(left, process)
        self._draw_paths(right, process)
        return figure

    def _draw_plane(self, ax: Axes, process: Process) -> None:
        ts = np.linspace(0, 1, 101)
        for curve in CURVES:
            one = process_of(curve, self.middle)
            ax.plot(*np.array([one(t) for t in ts]).T, color=GREY, lw=1)
        places = np.array([process(t) for t in ts])
        ax.scatter(*places.T, c=FROM_NOISE(places[:, 0] / places.sum(1)), s=14, zorder=2)
        a, b = process(self.t)
        ray = [1, b / a] if a > 0 else [0, 9]
        ax.plot([0, ray[0]], [0, ray[1]], ":", color=GREY)
        ax.plot(a, b, "o", color="black", ms=9, mfc="none", mew=2, zorder=3)
        ax.set(xlim=(-0.1, 1.4), ylim=(-0.1, 1.7), aspect="equal", xlabel="a", ylabel="b")
        ratio = f"{b / a:.2f}" if a > 0 else "∞"
        ax.set_title(f"{self.curve.replace('_', ' ')}, t = {self.t:.2f}, b / a = {ratio}")

    def _draw_paths(self, ax: Axes, process: Process) -> None:
        """p_t, exact paths and sampled ones, divided by a or not, from noise on the left."""
        shares = (np.arange(SHOWN) + 0.5) / SHOWN
        levels = levels_of(process, COLUMNS - 1, "log" if self.divided else "t")
        places = [process(t) for t in levels]
        exact = [quantiles(marginal(self.mixture, place), shares) for place in places]
        exact = np.stack([self._shown(x, place) for x, place in zip(exact, places, strict=True)])
        top = 1.4 * abs(exact).max()
        x = np.linspace(-top, top, ROWS)
        image = np.stack([self._column(x, place) for place in places], axis=1)
        ax.imshow(image, extent=(0, 1, -top, top), aspect="auto", origin="lower")
        ax.plot(np.linspace(0, 1, COLUMNS), exact, color="black", lw=1)
        ts = levels_of(process, self.steps, self.spacing)
        stops = [process(t) for t in ts]
        noise = np.random.default_rng(self.seed).standard_normal((self.steps, SHOWN))
        start = quantiles(marginal(self.mixture, stops[0]), shares)
        walk = walk_along(self.mixture, stops, start, self.eta, noise)
        inside = [k for k, (a, _) in enumerate(stops) if a > 0 or not self.divided]
        over = [self._across(ts[k], stops[k]) for k in inside]
        sampled = [self._shown(walk[k], stops[k]) for k in inside]
        ax.plot(over, sampled, ".-", color=LEARNED, lw=1, ms=3)
        marks = (5, 1, 0.2, 0.02) if self.divided else (1, 0.5, 0)
        ax.set_xticks([self._across(m, (1, m)) for m in marks], [f"{m:g}" for m in marks])
        ax.set(xlim=(0, 1), ylim=(-top, top), xlabel="b / a" if self.divided else "t")
        ax.set_ylabel("$x_t / a$" if self.divided else "$x_t$")
        ax.set_title(f"exact paths black, {self.steps} steps at η = {self.eta:.2g} red")

    def _across(self, t: float, place: Place) -> float:
        """How far to the right a level is shown: 0 at noise and 1 at data."""
        a, b = place
        low, high = SIGMAS
        if not self.divided:
            return 1 - t
        return math.log(high * a / max(b, 1e-9)) / math.log(high / low)  # b may be 0

    def _shown(self, x: np.ndarray, place: Place) -> np.ndarray:
        return x / place[0] if self.divided else x

    def _column(self, x: np.ndarray, place: Place) -> Float[np.ndarray, "rows 4"]:
        """p_t at one level as pixels, against its own highest."""
        a, b = place
        p = density(x * (a if self.divided else 1), marginal(self.mixture, place))
        color = np.array(to_rgb(FROM_NOISE(a / (a + b))))
        alpha = 0.9 * (p[:, None] / p.max()) ** 0.6
        return np.concatenate([np.broadcast_to(color, (len(x), 3)), alpha], axis=1)


def _fits(curve, middle, t, eta, steps, spacing, seed) -> None:
    for name, value, known in (("curve", curve, CURVES), ("spacing", spacing, SPACINGS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    low, high = MIDDLES
    if len(middle) != 2 or not all(low <= v <= high for v in middle):
        raise ValueError(f"middle must be a and b, each from {low} to {high}, got {middle}")
    for name, value in (("t", t), ("eta", eta)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be from 0 to 1, got {value}")
    if steps not in range(STEPS[0], STEPS[1] + 1):
        raise ValueError(f"steps must be a whole number from 1 to 50, got {steps}")
    if not (isinstance(seed, int) and seed >= 0):
        raise ValueError(f"seed must be a whole number of at least 0, got {seed}")
