"""FlowField: velocity fields that carry noise to data, and a point that can be dragged."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Protocol

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from traitlets import Bool, Bytes, Enum, Int, List, Unicode
from traitlets import Float as Number

from cs231n_gen.mlp import VelocityMLP
from cs231n_gen.truth import GaussianMixture
from cs231n_gen.viz import stills
from cs231n_gen.viz.moving import MovingFigure, half, short

METHODS = ["euler", "heun"]
STEPS = (1, 50)
DATA = 300  # data points drawn, and lines through a point are drawn from
STILL = 40  # paths of the still picture


class Mixture(Protocol):
    """Parameters of a mixture of Gaussians in the plane."""

    weights: Float[ArrayLike, "components"]
    means: Float[ArrayLike, "components 2"]
    covs: Float[ArrayLike, "components 2 2"]


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

    module = "flow_field"
    setting: ClassVar[tuple[str, ...]] = (
        *("t", "z", "steps", "method", "arrows", "ghost", "pairs"),
    )

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
        fields: Mapping[str, Mixture | Mapping[str, ArrayLike]],
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
        described, numbers = _described(fields)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(particles, 2, generator=generator)
        super().__init__(
            fields=described,
            numbers=half(numbers),
            noise=half(noise),
            data=half(_data(fields, data, generator)),
            t=float(t),
            z=[*map(float, z)],
            steps=steps,
            method=method,
            alt=alt or _alt(fields),
            **options,
        )

    def draw(self) -> Figure:
        noise = np.frombuffer(self.noise, "<f2").reshape(-1, 2)[:STILL]
        z = torch.tensor(noise.astype(float))
        numbers = torch.from_numpy(np.frombuffer(self.numbers, "<f2").astype(np.float64))
        figure, axes = plt.subplots(
            1, len(self.fields), figsize=(3.6 * len(self.fields), 3.7), squeeze=False
        )
        for ax, field in zip(axes[0], self.fields, strict=True):
            stills.paths(ax, _paths(_field(field, numbers), z))
            stills.square(ax, self.extent, field["title"])
        return figure


def _fits(t: float, z: Sequence[float], steps: int, method: str) -> None:
    if not 0 <= t <= 1:
        raise ValueError(f"t is from 0 (data) to 1 (noise): {t} came")
    if len(z) != 2:
        raise ValueError(f"z is a point of the plane, two numbers: {z} came")
    if steps not in range(STEPS[0], STEPS[1] + 1):
        raise ValueError(f"steps is a whole number from 1 to 50: {steps} came")
    if method not in METHODS:
        raise ValueError(f"method is euler or heun: {method!r} came")


def _described(fields: Mapping) -> tuple[list[dict], np.ndarray]:
    """What the module is told of each field, and the numbers of all nets."""
    if not fields:
        raise ValueError("fields holds at least one field, by its title: none came")
    described, numbers, begin = [], [], 0
    for title, field in fields.items():
        if isinstance(field, Mapping):
            one, weights = _net(title, field)
            one |= {"begin": begin, "end": (begin := begin + len(weights))}
            numbers.append(weights)
        else:
            one = {"mixture": _mixture(title, field)}
        described.append({"title": title, **one})
    return described, np.concatenate([np.zeros(0), *numbers])


def _mixture(title: str, field: Mixture) -> dict[str, list]:
    kinds = {"weights": "(K,)", "means": "(K, 2)", "covs": "(K, 2, 2)"}
    if not all(hasattr(field, kind) for kind in kinds):
        raise ValueError(
            f"{title!r} is neither a mixture (weights, means, covs) nor the state_dict() of a "
            f"VelocityMLP: {type(field).__name__} came"
        )
    found = {kind: np.asarray(getattr(field, kind)) for kind in kinds}
    K = len(found["weights"])
    if found["means"].shape != (K, 2) or found["covs"].shape != (K, 2, 2):
        came = ", ".join(f"{kind} {found[kind].shape}" for kind in kinds)
        raise ValueError(f"a mixture in the plane has {', '.join(kinds.values())}: {came} came")
    return {kind: short(values) for kind, values in found.items()}


def _net(title: str, state: Mapping[str, ArrayLike]) -> tuple[dict, np.ndarray]:
    """Widths and frequencies of a `VelocityMLP`, and its numbers in the order of its layers."""
    count = sum(key.startswith("hidden.") for key in state) // 2
    layers = [*(f"hidden.{i}" for i in range(count)), "out"]
    parts = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    if {*state} != {"frequencies", *parts}:
        came = ", ".join(sorted(state)[:4])
        raise ValueError(f"{title!r} is not the state_dict() of a VelocityMLP: {came} … came")
    arrays = {k: np.asarray(torch.as_tensor(v).detach().cpu()) for k, v in state.items()}
    weights = [arrays[f"{layer}.weight"] for layer in layers]
    widths = [weights[0].shape[1], *(w.shape[0] for w in weights)]
    frequencies = arrays["frequencies"]
    inputs = 3 + 2 * len(frequencies)
    if widths[0] != inputs or widths[-1] != 2:
        raise ValueError(
            f"{title!r} is a net from the plane to the plane without conditions, {inputs} inputs "
            f"and 2 outputs: {widths[0]} and {widths[-1]} came"
        )
    numbers = np.concatenate([arrays[part].ravel() for part in parts])
    return {"widths": widths, "frequencies": short(frequencies)}, numbers


def _data(fields: Mapping, data: ArrayLike | None, generator: torch.Generator) -> np.ndarray:
    """The data points that are shown: at most 300 of those that came, or of the first mixture."""
    if data is not None:
        data = np.asarray(data)
        if data.ndim != 2 or data.shape[1] != 2:
            raise ValueError(f"data is (n, 2): {data.shape} came")
        return data[:DATA]
    for field in fields.values():
        if not isinstance(field, Mapping):
            mixture = GaussianMixture(field.weights, field.means, field.covs)
            return mixture.sample(DATA, generator).numpy()
    return np.zeros((0, 2))


def _alt(fields: Mapping) -> str:
    return f"Points move from noise to data along a velocity field: {', '.join(fields)}"


def _field(described: dict, numbers: torch.Tensor):
    """The field in torch, with the very numbers that the module gets."""
    if "mixture" in described:
        return GaussianMixture(**described["mixture"]).velocity
    inputs, *hidden, _ = described["widths"]
    net = VelocityMLP(hidden=hidden[0], layers=len(hidden), frequencies=(inputs - 3) // 2).double()
    mine = numbers[described["begin"] : described["end"]]
    sizes = [p.numel() for p in net.parameters()]
    with torch.no_grad():
        for p, value in zip(net.parameters(), mine.split(sizes), strict=True):
            p.copy_(value.reshape(p.shape))
        net.frequencies.copy_(torch.tensor(described["frequencies"]))
    return net


@torch.no_grad()
def _paths(field, z: torch.Tensor, steps: int = 40) -> np.ndarray:
    """Euler's paths from z, (steps + 1, n, 2)."""
    path = [z]
    for before, after in pairwise(torch.linspace(1, 0, steps + 1, dtype=z.dtype)):
        path.append(path[-1] + (after - before) * field(path[-1], before.expand(len(z))))
    return torch.stack(path).numpy()
