"""The look of every figure: colours in their order, type and lines."""

import matplotlib as mpl
from cycler import cycler

from cs231n_gen.common.palette import DATA, EXACT, LEARNED, NOISE, OTHERS


def use_style() -> None:
    """Give matplotlib the look of the course, for this session."""
    mpl.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=[DATA, NOISE, EXACT, LEARNED, *OTHERS]),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.labelsize": 10,
            "figure.dpi": 96,
            "figure.constrained_layout.use": True,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "image.cmap": "gray",
            "savefig.bbox": "tight",
        }
    )
