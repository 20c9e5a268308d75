"""BestDiscriminator: samples' density is moved over the data's; the best D, JSD and V follow."""

import math
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from traitlets import Dict, List, Unicode
from traitlets import Float as Number

from cs231n_gen.common.palette import DATA, EXACT, GREY, NOISE
from cs231n_gen.viz.line_mixtures import LineMixture, density, parameters
from cs231n_gen.viz.widget import MovingFigure

ALT = "On a line: densities of data and samples, the best discriminator, and V for one place x"
SETTING = ("means", "stds", "share", "x")


class BestDiscriminator(MovingFigure):
    """p_G is moved over p_data: D*(x), JSD and V(G, D*) follow (slides 26–29).

        D*(x) = p_data(x) / (p_data(x) + p_G(x)),    V(G, D*) = −log 4 + 2 JSD(p_data, p_G)

    Beside them, why: with a = p_data(x) and b = p_G(x) at one place x, the curve
    y ↦ a log y + b log(1 − y) is highest at y = a / (a + b).

    Args:
        data: a mixture of Gaussians on the line: weights, means and standard deviations.
        generator: the same, of one or two components, which the reader moves.
        x: the place at which y is chosen.
        extent: half the width of the window; means and x lie in it.
        name, alt: see `MovingFigure`.
    Raises:
        ValueError: if something else comes.
    """

    module = "figures/best_discriminator"
    setting: ClassVar[tuple[str, ...]] = SETTING

    data = List().tag(sync=True)  # weights, means, stds
    means = List().tag(sync=True)  # of p_G, as the next two
    stds = List().tag(sync=True)
    share = Number(1.0).tag(sync=True)  # of its first component
    x = Number(0.0).tag(sync=True)
    start = Dict().tag(sync=True)  # the setting that "Again" brings back
    extent = Number(5.0).tag(sync=True)
    name = Unicode("best-discriminator").tag(sync=True)
    alt = Unicode("").tag(sync=True)

    def __init__(
        self,
        data: LineMixture,
        generator: LineMixture,
        x: float = 0.0,
        *,
        extent: float = 5.0,
        alt: str = ALT,
        **options,
    ):
        if not (math.isfinite(extent) and extent > 0):
            raise ValueError(f"extent must be a positive number, got {extent}")
        if not abs(x) <= extent:
            raise ValueError(f"x must be from {-extent} to {extent}, the window, got {x}")
        data = parameters(data, "data", extent)
        generator = parameters(generator, "generator", extent)
        weights, means, stds = generator
        if len(weights) > 2:
            raise ValueError(f"generator must have one or two components, got {len(weights)}")
        start = {"means": means, "stds": stds, "share": weights[0], "x": float(x)}
        super().__init__(data=data, start=start, extent=float(extent), alt=alt, **start, **options)

    def draw(self) -> Figure:
        figure, (above, below) = plt.subplots(2, figsize=(5, 4), sharex=True, height_ratios=(2, 3))
        x = np.linspace(-self.extent, self.extent, 400)
        weights = [self.share, 1 - self.share][: len(self.means)]
        p = density(x, self.data)
        q = density(x, [weights, self.means, self.stds])
        for values, color, label in ((p, DATA, r"$p_{data}$"), (q, NOISE, "$p_G$")):
            below.fill_between(x, values, color=color, alpha=0.25)
            below.plot(x, values, color=color, label=label)
        above.plot(x, p / np.maximum(p + q, 1e-300), color=EXACT, label="$D^*$")
        above.axhline(0.5, color=GREY, lw=1, ls="--")
        above.set(ylim=(-0.04, 1.04), ylabel="$D^*(x)$", yticks=[0, 0.5, 1])
        below.set(ylim=(0, None), xlabel="x", ylabel="density")
        for ax in (above, below):
            ax.axvline(self.x, color="black", lw=1, ls=":")
        below.legend()
        return figure
