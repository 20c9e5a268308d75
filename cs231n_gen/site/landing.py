"""The first page of the site: a moving figure, and the chapters."""

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nbformat.notebooknode import NotebookNode

from cs231n_gen import viz
from cs231n_gen.given import data

HEAD = re.compile(r"# (\d+) (.+)\n\*\*(.+?)\*\*(?: · (.+))?")
ABILITIES = re.compile(r"^- (.+?)[;.]?$", re.M)
CARD = """\
<li><a class="gen-card" href="{name}.html">{picture}<strong>{number} · {title}</strong>
<span class="gen-slides">{slides}</span><span>{idea}</span></a></li>"""


@dataclass(frozen=True)
class Card:
    """How a chapter appears on the first page: from its first cell and its first picture."""

    name: str
    number: str
    title: str
    slides: str
    idea: str
    picture: bytes | None

    @classmethod
    def of(cls, name: str, executed: NotebookNode) -> "Card":
        """The card of an executed chapter.

        Raises:
            ValueError: if it does not begin with a title, its slides and what a reader will learn.
        """
        first = executed.cells[0].source
        head, abilities = HEAD.match(first), ABILITIES.findall(first)
        if head is None or not abilities:
            wanted = "'# 04 Title', '**Slides …**' and a list"
            raise ValueError(f"{name} must begin with {wanted}, got {first[:60]!r}")
        number, title, slides, _ = head.groups()
        return cls(name, number, title, slides, abilities[0], _first_picture(executed))

    def html(self) -> str:
        """The card as an HTML list item."""
        packed = base64.b64encode(self.picture or b"").decode()
        picture = f'<img alt="" src="data:image/png;base64,{packed}">' if self.picture else ""
        plain = {k: html.escape(getattr(self, k)) for k in ("name", "number", "title", "slides")}
        return CARD.format(picture=picture, idea=_inline(self.idea), **plain)


def write(source: Path, executed: Sequence[tuple[str, NotebookNode]]) -> None:
    """Fill in `index.md`, a template in the folder of the site's source."""
    cards = [Card.of(name, nb) for name, nb in executed]
    index = source / "index.md"
    text = index.read_text(encoding="utf-8")
    for place, value in {
        "FIGURE": figure().html(),
        "FIRST": f"{cards[0].name}.html",
        "CARDS": "\n".join(card.html() for card in cards),
        "PAGES": "\n".join(card.name for card in cards),
    }.items():
        text = text.replace(f"@{place}@", value)
    index.write_text(text, encoding="utf-8")


def figure() -> viz.FlowField:
    """Noise on its way to two moons; the figure starts by itself."""
    return viz.FlowField(
        {"noise becomes two moons": data.moons().mixture},
        particles=900,
        steps=40,
        autoplay=True,
        name="two-moons",
        alt="900 points of noise move to two half moons; a point can be dragged",
    )


def _first_picture(executed: NotebookNode) -> bytes | None:
    for cell in executed.cells:
        for out in cell.get("outputs", []):
            if "image/png" in out.get("data", {}):
                return base64.b64decode(out.data["image/png"])
    return None


def _inline(text: str) -> str:
    """A line of Markdown as HTML: only code and emphasis."""
    text = re.sub(r"`(.+?)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\*(.+?)\*", r"<em>\1</em>", text)
