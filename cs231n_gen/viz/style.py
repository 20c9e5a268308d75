"""Colours and type of every figure: Okabe and Ito's palette, told apart by any eye."""

import matplotlib as mpl
from cycler import cycler

DATA = "#0072B2"  # blue
NOISE = "#E69F00"  # orange
LEARNED = "#D55E00"  # vermilion: what a net says
EXACT = "#009E73"  # green: what the best net would say
GREY = "#999999"
OTHERS = ["#CC79A7", "#56B4E9", "#F0E442"]


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
