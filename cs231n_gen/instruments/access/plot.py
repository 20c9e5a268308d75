"""Who touched what: the elements of a tensor, coloured by the program that read or wrote them."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator

from cs231n_gen.common.palette import LEARNED
from cs231n_gen.instruments.access.findings import ATOMIC, NOBODY, SEVERAL

PROGRAMS = ListedColormap(mpl.colormaps["cividis"](np.linspace(0.25, 1, 256)))  # none is black
OTHERS = {
    NOBODY: ("#ffffff", "nobody"),
    SEVERAL: ("#000000", "several programs"),
    ATOMIC: (LEARNED, "atomics"),
}
PANELS, ROWS, COLUMNS, ROW = 6, 64, 256, 64  # at most; and elements side by side of a vector


@dataclass(frozen=True)
class Touched:
    """A tensor, and for each of its elements the program that touched it.

    Args:
        name: the tensor's.
        written: whether the programs wrote it, not read it.
        who: numbers of programs in the tensor's shape; see `Audit.who`.
    """

    name: str
    written: bool
    who: np.ndarray


def draw(touched: Sequence[Touched]) -> Figure:
    """A panel for each tensor, six at most; of large ones every so many elements."""
    shown = [t for t in touched if t.who.size][:PANELS]
    figure = Figure(figsize=(9, 0.9 + 2.1 * -(-len(shown) // 2)), dpi=72, layout="constrained")
    if not shown:
        figure.text(0.5, 0.5, "no kernel touched a tensor", ha="center", va="center")
        return figure
    axes = figure.subplots(-(-len(shown) // 2), min(2, len(shown)), squeeze=False).ravel()
    last = max(1, *(int(t.who.max()) for t in shown))
    for ax in axes[len(shown) :]:
        ax.axis("off")
    for ax, t in zip(axes, shown, strict=False):
        image, (rows, columns), across, down = _laid_out(t.who)
        box = -0.5, columns - 0.5, rows - 0.5, -0.5
        ax.imshow(_colours(image, last), aspect="auto", interpolation="nearest", extent=box)
        for axis, count in ((ax.xaxis, columns), (ax.yaxis, rows)):
            few = FixedLocator(range(count)) if count <= 3 else MaxNLocator(6, integer=True)
            axis.set_major_locator(few)
        ax.set_title(f"{t.name}, {'written' if t.written else 'read'} by", fontsize=10)
        ax.set_xlabel(across, fontsize=8)
        ax.set_ylabel(down, fontsize=8)
        ax.tick_params(labelsize=7)
    scale = ScalarMappable(Normalize(0, last), PROGRAMS)
    bar = figure.colorbar(scale, ax=list(axes), shrink=0.8, ticks=MaxNLocator(integer=True))
    bar.set_label("number of the program in its launch", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    seen = np.unique(np.concatenate([t.who.ravel() for t in shown]))
    patches = [
        Patch(facecolor=colour, edgecolor="#000000", label=label)
        for number, (colour, label) in OTHERS.items()
        if number in seen
    ]
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _laid_out(who: np.ndarray) -> tuple[np.ndarray, tuple[int, int], str, str]:
    """At most ROWS × COLUMNS numbers as an image, of how many rows and columns, and its axes."""
    if who.ndim > 1 and who.shape[-1] > 1:
        image = who.reshape(-1, who.shape[-1])
        across, down = "place on the last axis", "place on the others"
    else:
        rows = -(-who.size // ROW)
        image = np.full(rows * ROW, ATOMIC - 1)  # past the end there is no element
        image[: who.size] = who.ravel()
        image = image.reshape(rows, ROW)[:, : who.size]
        across, down = f"element modulo {ROW}", f"element / {ROW}"
    by_row, by_column = -(-image.shape[0] // ROWS), -(-image.shape[1] // COLUMNS)
    return image[::by_row, ::by_column], image.shape, across, down


def _colours(image: np.ndarray, last: int) -> np.ndarray:
    colours = PROGRAMS(np.clip(image / last, 0, 1))
    for number, (colour, _) in OTHERS.items():
        colours[image == number] = mpl.colors.to_rgba(colour)
    colours[image < ATOMIC] = 0  # transparent
    return colours
