"""GanStepper: a generator and a discriminator on the line, one step at a time."""

from collections.abc import Sequence
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from traitlets import Bool, Bytes, Int, List, Unicode
from traitlets import Float as Number

from cs231n_gen.common.palette import DATA, NOISE
from cs231n_gen.viz.net_weights import Net, layers_of
from cs231n_gen.viz.widget import MovingFigure, short

ALT = "On a line: densities of data and samples, the discriminator's curve, and its pull on samples"
SETTING = ("rounds", "dSteps", "gSteps", "saturating")


class GanStepper(MovingFigure):
    """A GAN on the line, trained where it is drawn: steps of D, steps of G, or many rounds.

    The whole of `data` and `noise` is the batch of every step, so nothing is left to chance
    (slides 11–25; the dashed curve is slide 26's best discriminator).

    Args:
        generator, discriminator: `state_dict()` of two `MLP(1, 1, …)` of the same size.
        data, noise: numbers; noise in increasing order.
        lr: learning rates of G and D, by Adam with betas 0 and 0.9.
        k_d, k_g: steps of D and of G in a round.
        saturating: the generator's loss.
        rounds: how many were played before the reader comes, at most 400.
        extent: half the width of the window.
        name, alt: see `MovingFigure`.
    Raises:
        ValueError: if something else comes.
    """

    module = "figures/gan_stepper"
    setting: ClassVar[tuple[str, ...]] = SETTING

    numbers = Bytes().tag(sync=True)
    widths = List().tag(sync=True)
    data = List().tag(sync=True)
    noise = List().tag(sync=True)
    rates = List().tag(sync=True)
    extent = Number(3.2).tag(sync=True)
    rounds = Int(0).tag(sync=True)
    dSteps = Int(1).tag(sync=True)  # (as JavaScript spells it)
    gSteps = Int(1).tag(sync=True)
    saturating = Bool(False).tag(sync=True)
    name = Unicode("gan-stepper").tag(sync=True)
    alt = Unicode("").tag(sync=True)

    def __init__(
        self,
        generator: Net,
        discriminator: Net,
        data: Float[ArrayLike, "n"],
        noise: Float[ArrayLike, "m"],
        *,
        lr: Sequence[float] = (0.01, 0.01),
        k_d: int = 1,
        k_g: int = 1,
        rounds: int = 0,
        alt: str = ALT,
        **options,
    ):
        nets = [_net(net, who) for net, who in ((generator, "G"), (discriminator, "D"))]
        if nets[0][0] != nets[1][0]:
            raise ValueError(f"both nets must be of one size, got {nets[0][0]} and {nets[1][0]}")
        for name, k in (("k_d", k_d), ("k_g", k_g)):
            if k not in range(1, 11):
                raise ValueError(f"{name} must be a whole number from 1 to 10, got {k}")
        if rounds not in range(401):
            raise ValueError(f"rounds must be a whole number from 0 to 400, got {rounds}")
        if len(lr) != 2 or not all(rate > 0 for rate in lr):
            raise ValueError(f"lr must be two positive rates, of G and D, got {lr}")
        super().__init__(
            numbers=np.concatenate([numbers for _, numbers in nets]).astype("<f4").tobytes(),
            widths=nets[0][0],
            data=short(_line(data, "data")),
            noise=short(_line(noise, "noise")),
            rates=[*map(float, lr)],
            dSteps=k_d,
            gSteps=k_g,
            rounds=rounds,
            alt=alt,
            **options,
        )

    def draw(self) -> Figure:
        figure, ax = plt.subplots(figsize=(5, 2.6))
        edges = np.linspace(-self.extent, self.extent, 50)
        ax.hist(self.data, edges, color=DATA, alpha=0.5, density=True, label="data")
        ax.hist(self.noise, edges, color=NOISE, alpha=0.5, density=True, label="noise $z$")
        ax.set(xlabel="x", ylabel="density", title="what is there, and what G begins with")
        ax.legend()
        return figure


def _net(state: Net, who: str) -> tuple[list[int], np.ndarray]:
    widths, numbers, _ = layers_of(state, who, "MLP")
    if (widths[0], widths[-1]) != (1, 1):
        raise ValueError(f"{who} must take a number to a number, got {widths[0]} to {widths[-1]}")
    return widths, numbers


def _line(numbers: ArrayLike, name: str) -> np.ndarray:
    numbers = np.asarray(numbers, dtype=float)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be finite numbers, (n,), got {numbers.shape}")
    return numbers
