"""The built site, from the file system and with the network off: each of its pages.

`SITE=build/site pytest tests/project/site` looks at a site that is there, which has all chapters or
those that CHAPTERS names; else one of chapter 00 alone is built.
"""

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from cs231n_gen.common.chapters import UnknownChapter
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.source.tree import chapters, exercises
from cs231n_gen.site import build, landing, pages

EXERCISES = exercises()
VIEWS = {"desk": (1400, 950, "light"), "phone": (375, 812, "dark")}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if there := os.environ.get("SITE"):
        return Path(there).resolve()
    return build.build(tmp_path_factory.mktemp("site") / "site", ["00"])


@pytest.fixture
def opened(offline, site):
    """`opened(page, ...)`: a page of the site, with what follows its name (?, #)."""

    def open_it(name, **options):
        file, rest = re.match(r"([^?#]+)(.*)", name).groups()
        tab = offline(**options)
        tab.goto((site / file).as_uri() + rest)
        return tab

    return open_it


def articles(site):
    """The names of the pages that a reader reads."""
    return ["index.html", *sorted(p.name for p in site.glob("[0-9][0-9]_*.html"))]


def ready(tab):
    """Wait for every figure and for the mathematics."""
    for frame in tab.locator("iframe").all():
        frame.scroll_into_view_if_needed()
        frame.content_frame.locator("[data-ready]").wait_for()
    if tab.locator(".math").count():
        tab.locator(".math mjx-container").first.wait_for()


# --- each page ----------------------------------------------------------------------------------


def test_there_is_a_page_for_each_chapter(site):
    asked = os.environ.get("CHAPTERS", "").split() or [c.name for c in chapters()]
    if "SITE" in os.environ:
        assert articles(site)[1:] == [f"{name}.html" for name in asked]


def test_figures_live_on_every_page(opened, site):
    alive = 0
    for name in articles(site):
        tab = opened(name)
        ready(tab)
        for frame in tab.locator("iframe").all():
            # Play, or something to move by keys: not every figure goes by itself
            controls = frame.content_frame.locator("button, input[type=range]")
            assert any(one.is_visible() for one in controls.all()), name
            alive += 1
    assert alive >= len(articles(site)) - ("SITE" in os.environ)  # chapter 14 has none yet


def test_mathematics_are_set_on_every_page(opened, site):
    for name in articles(site):
        tab = opened(name)
        ready(tab)
        left = tab.locator(".math").evaluate_all(
            "all => all.filter(m => !m.querySelector('mjx-container')).map(m => m.outerHTML)"
        )
        assert not left, name
        assert not tab.locator("mjx-merror").count(), name
        prose = tab.locator("article p, article li, article td").all_inner_texts()
        assert not [p for p in prose if "$" in p], name


@pytest.mark.parametrize("view", VIEWS)
def test_nobody_is_shut_out_of_any_page(opened, shut_out, site, view):
    """… and no page scrolls sideways. Desks are looked at in light, phones in the dark."""
    width, height, scheme = VIEWS[view]
    for name in articles(site):
        tab = opened(name, viewport={"width": width, "height": height}, color_scheme=scheme)
        ready(tab)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, name
        assert not shut_out(tab), name


def test_search_finds_a_word_of_a_chapter(opened):
    tab = opened("search.html?q=likelihood")
    tab.locator("#search-results li a").first.wait_for()
    found = tab.locator("#search-results li a").all_inner_texts()
    assert any(text.startswith("00 Start here") for text in found)


class Links(HTMLParser):
    """The addresses that a page asks for or leads to."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        kinds = ("href", "src")
        self.found += [value for name, value in attributes if name in kinds and value]


def test_links_lead_somewhere_and_nothing_comes_from_elsewhere(site):
    for name in articles(site):
        for link in Links((site / name).read_text("utf-8")).found:
            parts = urlsplit(link)
            if parts.scheme in ("data", "http", "https"):
                assert parts.scheme == "data" or "src=" not in link
            elif parts.path:
                assert (site / unquote(parts.path)).exists(), (name, link)


def test_a_page_says_nothing_of_the_machine(site):
    for name in articles(site):
        text = (site / name).read_text("utf-8")
        assert str(ROOT) not in text, name
        assert "GB free" not in text, name


# --- the landing page ---------------------------------------------------------------------------


def test_the_first_thing_to_see_moves(opened, site):
    """Within a screen of a laptop there is a figure that plays by itself; a card leads on."""
    tab = opened("index.html", viewport={"width": 1280, "height": 800})
    frame = tab.locator("iframe").first
    frame.content_frame.get_by_role("button", name="Pause").wait_for()
    assert frame.bounding_box()["y"] < 500
    assert tab.locator(".gen-card").count() == len(articles(site)) - 1
    tab.locator(".gen-card").first.click()
    tab.get_by_role("heading", name="00 Start here").wait_for()


def test_who_wants_less_motion_is_not_shown_any(opened):
    tab = opened("index.html", reduced_motion="reduce")
    figure = tab.locator("iframe").first.content_frame
    figure.get_by_role("button", name="Step").wait_for()
    assert figure.locator("output").first.inner_text() == "t = 1.00"


def test_a_link_into_a_chapter_opens_its_figure(opened):
    tab = opened("00_start.html#figure=two-moons&t=0.5&steps=3")
    figure = tab.frame_locator("iframe").first
    figure.locator("[data-ready]").wait_for()
    assert figure.locator("output").first.inner_text() == "t = 0.50"
    tab.wait_for_function("window.scrollY > 300")


# --- solutions ----------------------------------------------------------------------------------


def bare(name):
    """A chapter as it is in the source, not executed."""
    (chapter,) = [c for c in chapters() if c.name == name]
    return nbformat.read(chapter.file, as_version=4)


@pytest.mark.parametrize("name", [c.name for c in chapters()])
def test_solutions_are_left_out_unless_they_are_asked_for(name):
    nb = bare(name)
    marked = [c for c in nb.cells if c.metadata.get("nbgrader", {}).get("solution")]
    graded = {c.metadata.nbgrader.grade_id for c in nb.cells if "nbgrader" in c.metadata}
    without = "\n".join(c.source for c in pages.page(nb).cells)
    with_them = "\n".join(c.source for c in pages.page(nb, solutions=True).cells)
    answers = [c.source for c in marked if c.cell_type == "markdown"]
    assert answers
    for answer in answers:
        assert answer not in without
        assert answer in with_them
    for exercise in EXERCISES:
        if exercise.grade_id in graded:
            text = exercise.text.splitlines()
            gap = exercise.gaps[0]
            code = "\n".join(text[gap.begin : gap.end - 1])
            assert code not in without
            assert code in with_them


def test_the_site_shows_none(site):
    if "SITE" not in os.environ:
        text = (site / "00_start.html").read_text("utf-8")
        assert "A model answer" not in text
        assert "A solution of" not in text


# --- what can go wrong --------------------------------------------------------------------------


def test_a_chapter_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UnknownChapter, match="no chapter is called 99"):
        build.build(tmp_path / "site", ["99"])


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "NEEDS", ("sphinx", "not_installed"))
    with pytest.raises(build.SiteError, match="needs not_installed: make setup EXTRAS=site"):
        build.build(tmp_path / "site", ["00"])


def test_a_site_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    old = tmp_path / "site"
    old.mkdir()
    (old / "index.html").write_text("old")
    broken = nbformat.v4.new_notebook(metadata=bare("00_start").metadata)
    broken.cells = [nbformat.v4.new_markdown_cell(c.source) for c in bare("00_start").cells[:1]]
    broken.cells.append(nbformat.v4.new_markdown_cell("[nowhere](nowhere.md)"))
    monkeypatch.setattr(build, "_executed", lambda chapter: broken)
    with pytest.raises(build.SiteError, match=r"Sphinx: .*nowhere"):
        build.build(old, ["00"])
    assert [p.name for p in tmp_path.iterdir()] == ["site"]
    assert (old / "index.html").read_text() == "old"


def test_a_chapter_without_a_head_is_refused():
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Hello")])
    with pytest.raises(ValueError, match="04 Title"):
        landing.Card.of("04_x", nb)


def test_an_executed_chapter_is_used_again_until_something_changes(tmp_path, monkeypatch):
    (chapter,) = [c for c in chapters() if c.number == "00"]
    file = tmp_path / "00.ipynb"
    run = build.run_chapters
    assert not run.is_fresh(file, chapter)
    nb = bare("00_start")
    nb.metadata[run.STATE] = run.state(chapter)
    nbformat.write(nb, file)
    assert run.is_fresh(file, chapter)
    monkeypatch.setattr(run, "state", lambda chapter: "another")
    assert not run.is_fresh(file, chapter)
