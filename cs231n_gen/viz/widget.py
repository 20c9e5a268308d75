"""Figures that move: what all of them share.

In JupyterLab, VS Code and Colab a figure is an anywidget; everywhere else it is a page in a frame,
with the same code and the same numbers, that needs neither a kernel nor a network.
"""

import io
from typing import ClassVar

import anywidget
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display
from matplotlib.figure import Figure
from PIL import Image
from traitlets import Unicode

from cs231n_gen.viz import standalone_page
from cs231n_gen.viz.permalink import from_link, to_link

COLOURS = 32  # of a still picture
HOST = {*anywidget.AnyWidget.class_trait_names()}  # traits that a page has no use for


class MovingFigure(anywidget.AnyWidget):
    """A figure drawn by an ES module of `js/` from parameters and numbers.

    A subclass names its module and its traits. Bytes travel as binary buffers.

    Args:
        name: by which links find the figure on a page.
        alt: says in a sentence what is to be seen.
    """

    module: ClassVar[str] = ""
    setting: ClassVar[tuple[str, ...]] = ()  # the traits that a link holds

    name = Unicode().tag(sync=True)
    alt = Unicode().tag(sync=True)

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if "module" not in vars(cls):  # a class that traitlets made of one of ours
            return
        cls._esm = standalone_page.module(cls.module)
        cls._css = standalone_page.css()

    def draw(self) -> Figure:
        """The still picture, drawn by matplotlib."""
        raise NotImplementedError

    def still(self) -> bytes:
        """The still picture as a PNG of few colours."""
        # Neither plt.ioff() nor rc_context: at the first figure of a notebook they would put back
        # that plots are not shown.
        figure = self.draw()
        whole, small = io.BytesIO(), io.BytesIO()
        figure.savefig(whole, dpi=66, facecolor="white", bbox_inches="tight")
        plt.close(figure)
        Image.open(whole).convert("RGB").quantize(COLOURS).save(small, "PNG", optimize=True)
        return small.getvalue()

    def page(self) -> str:
        """A page in which the figure lives by itself, without a kernel and without a network."""
        own = [key for key in self.trait_names(sync=True) if key not in HOST and key[0] != "_"]
        return standalone_page.document(
            self.module, {key: getattr(self, key) for key in own}, self.alt
        )

    def html(self) -> str:
        """That page in a frame, with the still picture under it."""
        return standalone_page.frame(self.page(), self.still(), self.alt)

    def link(self, address: str = "") -> str:
        """A link that opens the figure as it is now, on the page at this address."""
        return f"{address}#{to_link(self.name, {key: getattr(self, key) for key in self.setting})}"

    def open_link(self, link: str) -> None:
        """Set the figure as a link says.

        Raises:
            ValueError: if the link is to another figure, or malformed.
        """
        like = {key: getattr(self, key) for key in self.setting}
        found = from_link(link, self.name, like)
        with self.hold_sync():
            for key, value in found.items():
                setattr(self, key, value)

    def _repr_mimebundle_(self, **options):
        bundle = super()._repr_mimebundle_(**options)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        still = self.still()
        plain = {
            "text/plain": f"{type(self).__name__}: {self.alt}",
            "text/html": standalone_page.frame(self.page(), still, self.alt),
            "image/png": still,
        }
        return {**data, **plain}, metadata


def show_static(figure: MovingFigure) -> None:
    """Show a figure as its page, where no kernel will answer: for a notebook that is published."""
    display(HTML(figure.html()))


def half(numbers) -> bytes:
    """Numbers as little-endian float16 bytes."""
    return np.ascontiguousarray(numbers, dtype="<f2").tobytes()


def short(numbers) -> list:
    """Numbers as lists, to twelve digits: what JSON carries."""
    numbers = np.asarray(numbers).tolist()
    return [short(n) if isinstance(n, list) else float(f"{n:.12g}") for n in numbers]
