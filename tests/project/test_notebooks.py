"""Chapters in source form: the anatomy of a chapter, and cells a reader can take in at a glance."""

import nbformat
import pytest

from cs231n_gen.common.paths import ROOT

CHAPTERS = sorted((ROOT / "notebooks").glob("*/*.ipynb"))
LONGEST_CELL = 25


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    return nbformat.read(request.param, as_version=4)


def text_of(chapter):
    return "\n\n".join(c.source for c in chapter.cells if c.cell_type == "markdown")


def code_of(chapter):
    return [c for c in chapter.cells if c.cell_type == "code"]


def test_there_are_chapters():
    assert [p.parent.name for p in CHAPTERS] == [p.stem for p in CHAPTERS]
    assert CHAPTERS


def test_it_is_a_valid_notebook(chapter):
    nbformat.validate(chapter)


def test_it_carries_no_outputs(chapter):
    assert not any(c.outputs or c.execution_count for c in code_of(chapter))


def test_it_begins_with_title_slides_minutes_and_aims(chapter):
    opening = chapter.cells[0].source
    for part in ("# ", "**Slides", "minutes of your", "You will be able to"):
        assert part in opening


def test_it_ends_with_questions_and_references(chapter):
    text = text_of(chapter)
    assert "## In your own words" in text
    assert "## References" in text
    manual = [c for c in chapter.cells if c.cell_type == "markdown" and "nbgrader" in c.metadata]
    assert manual, "no manually graded question"


def test_its_kernel_and_other_conventions_are_mentioned(chapter):
    assert "hapter 14" in text_of(chapter)


def test_it_has_a_budget(chapter):
    assert 0 < chapter.metadata["cs231n_gen"]["budget_seconds"] <= 120


def test_its_losses_are_shown_beside_a_floor(chapter):
    assert "floor" in text_of(chapter)
    assert any("loss_curve" in c.source for c in code_of(chapter))


def test_no_code_cell_is_long(chapter):
    long = [
        c.source.splitlines()[0] for c in code_of(chapter) if c.source.count("\n") >= LONGEST_CELL
    ]
    assert not long


def test_the_first_code_cell_reloads_what_the_student_edits(chapter):
    assert "%autoreload 2" in code_of(chapter)[0].source


def test_every_chapter_is_on_the_map_of_slides():
    text = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    assert all(p.name in text for p in CHAPTERS)
