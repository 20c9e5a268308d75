"""FlowField: velocity fields that carry noise to data, and a point that can be dragged."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from traitlets import Bool, Bytes, Enum, Int, List, Unicode
from traitlets import Float as Number

from cs231n_gen.viz import plots
from cs231n_gen.viz.net_weights import Net
from cs231n_gen.viz.velocity_fields import Mixture, describe, field, sample
from cs231n_gen.viz.widget import MovingFigure, half

SETTING = ("t", "z", "steps", "method", "arrows", "ghost", "pairs")
METHODS = ["euler", "heun"]
STEPS = (1, 50)
DATA = 300  # data points drawn, and lines through a point are drawn from
STILL = 40  # paths of the still picture
ALT = "Points move from noise to data along velocity fields: {}"


class FlowField(MovingFigure):
    """Fields side by side. A crowd walks from the same noise, t = 1, to data, t = 0; a point can be
    dragged at any level, and its whole path follows, past and future (slides 43–56).

    Everything is computed where it is drawn, from the parameters of the fields. Weights of a net
    travel in half precision, and it answers with those.

    Args:
        fields: by title, a mixture's parameters, for the exact field, or the `state_dict()` of a
            `VelocityMLP` without conditions, for a learned one.
        data: data points (n, 2), of which 300 are shown; drawn from the first mixture if None.
        particles, seed: how many points walk, and of their noise.
        extent: half the width of the window.
        t, z, steps, method: the level, the noise that is followed, 1 to 50 steps, `euler` or
            `heun`.
        arrows, ghost, pairs: whether velocities, the exact path, and the straight pairs through the
            point are drawn.
        autoplay: whether it plays at once, unless the reader asked for less motion.
        name, alt: see `MovingFigure`.
    Raises:
        ValueError: if something else comes.
    """

    module = "figures/flow_field"
    setting: ClassVar[tuple[str, ...]] = SETTING

    fields = List().tag(sync=True)
    numbers = Bytes().tag(sync=True)
    noise = Bytes().tag(sync=True)
    data = Bytes().tag(sync=True)
    extent = Number(3.2).tag(sync=True)
    t = Number(1.0).tag(sync=True)
    z = List([-1.2, 0.4]).tag(sync=True)
    steps = Int(20).tag(sync=True)
    method = Enum(METHODS, "euler").tag(sync=True)
    arrows = Bool(True).tag(sync=True)
    ghost = Bool(True).tag(sync=True)
    pairs = Bool(False).tag(sync=True)
    autoplay = Bool(False).tag(sync=True)
    name = Unicode("flow-field").tag(sync=True)
    alt = Unicode("").tag(sync=True)

    def __init__(
        self,
        fields: Mapping[str, Mixture | Net],
        data: Float[ArrayLike, "n 2"] | None = None,
        *,
        particles: int = 400,
        seed: int = 0,
        t: float = 1.0,
        z: Sequence[float] = (-1.2, 0.4),
        steps: int = 20,
        method: str = "euler",
        alt: str | None = None,
        **options,
    ):
        _fits(t, z, steps, method)
        described, numbers = describe(fields)
        random = np.random.default_rng(seed)
        noise = random.standard_normal((particles, 2))
        super().__init__(
            fields=described,
            numbers=half(numbers),
            noise=half(noise),
            data=half(_shown(fields, data, random)),
            t=float(t),
            z=[*map(float, z)],
            steps=steps,
            method=method,
            alt=alt or ALT.format(", ".join(fields)),
            **options,
        )

    def draw(self) -> Figure:
        z = np.frombuffer(self.noise, "<f2").reshape(-1, 2)[:STILL].astype(float)
        numbers = np.frombuffer(self.numbers, "<f2").astype(float)
        n = len(self.fields)
        figure, axes = plt.subplots(1, n, figsize=(3.6 * n, 3.7), squeeze=False)
        for ax, one in zip(axes[0], self.fields, strict=True):
            plots.paths(ax, _paths(field(one, numbers), z))
            plots.square(ax, self.extent, one["title"])
        return figure


def _fits(t: float, z: Sequence[float], steps: int, method: str) -> None:
    if not 0 <= t <= 1:
        raise ValueError(f"t must be from 0 (data) to 1 (noise), got {t}")
    if len(z) != 2:
        raise ValueError(f"z must be a point of the plane, two numbers, got {z}")
    if steps not in range(STEPS[0], STEPS[1] + 1):
        raise ValueError(f"steps must be a whole number from 1 to 50, got {steps}")
    if method not in METHODS:
        raise ValueError(f"method must be euler or heun, got {method!r}")


def _shown(fields: Mapping, data: ArrayLike | None, random: np.random.Generator) -> np.ndarray:
    """The data points that are shown: at most 300 of those given, or of the first mixture."""
    if data is not None:
        data = np.asarray(data)
        if data.ndim != 2 or data.shape[1] != 2:
            raise ValueError(f"data must be (n, 2), got {data.shape}")
        return data[:DATA]
    mixtures = [one for one in fields.values() if not isinstance(one, Mapping)]
    return sample(mixtures[0], DATA, random) if mixtures else np.zeros((0, 2))


def _paths(velocity, z: np.ndarray, steps: int = 40) -> np.ndarray:
    """Euler's paths from z, (steps + 1, n, 2)."""
    path = [z]
    for k in range(steps):
        path.append(path[-1] - velocity(path[-1], 1 - k / steps) / steps)
    return np.stack(path)
