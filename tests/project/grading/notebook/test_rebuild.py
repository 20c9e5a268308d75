"""Submitted notebooks of any shape, rebuilt from the release by grade_id."""

import base64
import copy
import json
import random
import re
import struct

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.preprocessors import CheckCellMetadata, OverwriteCells, SaveAutoGrades
from nbgrader.utils import compute_checksum

from cs231n_gen.grading.config import load_config
from cs231n_gen.grading.notebook import sanitize_outputs
from cs231n_gen.grading.notebook.rebuild import NotANotebook, Rebuild, rebuild, safe_markdown
from cs231n_gen.grading.release.nbgrader_assign import assign, heard

CHAPTER = "04_rectified_flow"
BEND, FLOOR, LOSS, SAMPLE = (
    "flow-question-bend",
    "flow-question-floor",
    "flow-loss",
    "flow-sample",
)
ANSWERS = {BEND: "Because many pairs $(x, z)$ meet there.", FLOOR: "The floor is a < b."}


@pytest.fixture(scope="module")
def course(copy_source, tmp_path_factory):
    """A course with the chapter released."""
    root = copy_source(tmp_path_factory.mktemp("rebuild") / "source")
    assign([CHAPTER], root)
    return root


@pytest.fixture(scope="module")
def release(course):
    path = course / "build/release" / CHAPTER / f"{CHAPTER}.ipynb"
    return nbformat.read(path, as_version=4)


@pytest.fixture
def answered(release):
    """The notebook of a student who answered both questions."""
    notebook = copy.deepcopy(release)
    for name, text in ANSWERS.items():
        cell_of(notebook, name).source = text
    return notebook


def name_of(cell):
    settings = cell.get("metadata", {}).get("nbgrader", {})
    return settings.get("grade_id") if isinstance(settings, dict) else None


def cell_of(notebook, name):
    (cell,) = [c for c in notebook.cells if name_of(c) == name]
    return cell


def place_of(notebook, name):
    return [name_of(c) for c in notebook.cells].index(name)


def rebuilt(notebook, release):
    """Rebuild, and hold the result to what every rebuilt notebook must be."""
    found = rebuild(json.dumps(notebook).encode(), release)
    nbformat.validate(json.loads(json.dumps(found.notebook)))
    json.dumps(found.notebook, ensure_ascii=False).encode("utf-8")  # as nbformat writes it
    MetadataValidator().validate_nb(copy.deepcopy(found.notebook))
    graded = [c for c in found.notebook.cells if name_of(c)]
    expected = [c for c in release.cells if name_of(c)]
    assert [name_of(c) for c in graded] == [name_of(c) for c in expected]
    for cell, own in zip(graded, expected, strict=True):
        assert (cell.metadata, cell.cell_type, cell.id) == (own.metadata, own.cell_type, own.id)
        if not own.metadata.nbgrader["solution"]:
            assert cell.source == own.source
            assert compute_checksum(cell) == own.metadata.nbgrader["checksum"]
            assert not cell.get("outputs")
    assert all("nbgrader" not in c.metadata for c in found.notebook.cells if not name_of(c))
    ids = [c.id for c in found.notebook.cells]
    assert len(set(ids)) == len(ids)
    ours, known = [c.id for c in release.cells], set(ids)
    assert [i for i in ids if i in ours] == ours, "the released cells in the released order"
    assert known.issuperset(ours)
    assert found.notebook.metadata == {
        k: release.metadata[k] for k in ("kernelspec", "language_info")
    }
    return found


# --- what is not damaged -------------------------------------------------------------------------


def test_a_notebook_as_released_comes_back_as_it_is(release):
    found = rebuilt(release, release)
    assert found.notebook.cells == release.cells
    assert found.repairs == ()


def test_an_answer_that_was_not_edited_keeps_its_checksum(release):
    damaged = copy.deepcopy(release)
    cell_of(damaged, BEND).source += "\r\n"
    cell = cell_of(rebuilt(damaged, release).notebook, BEND)
    assert compute_checksum(cell) == cell.metadata.nbgrader["checksum"]


def test_answers_are_put_in_and_nothing_is_repaired(answered, release):
    found = rebuilt(answered, release)
    assert {n: cell_of(found.notebook, n).source for n in ANSWERS} == ANSWERS
    assert found.repairs == ()


def test_what_a_student_changed_and_added_stays_where_it_was(answered, release):
    demo, title = answered.cells[3], answered.cells[2]
    demo.source = "ring = data.moons()"
    title.source += "\n\nA note of my own."
    own = nbformat.v4.new_code_cell("1 + 1", id="my-own", metadata={"tags": ["x"]})
    answered.cells.insert(5, own)
    answered.cells.insert(0, nbformat.v4.new_markdown_cell("My name", id="mine"))
    found = rebuilt(answered, release)
    sources = [c.source for c in found.notebook.cells]
    assert sources == [c.source for c in answered.cells]
    assert found.notebook.cells[6].metadata == {}
    assert found.repairs == ()


def test_rebuilding_again_changes_nothing(answered, release):
    with_outputs(answered.cells[3])
    answered.cells.insert(5, nbformat.v4.new_markdown_cell("<b>x</b> [a](javascript:b)", id="m"))
    once = rebuilt(answered, release).notebook
    assert rebuilt(once, release).notebook == once


# --- damages ------------------------------------------------------------------------------------


def check_deleted(nb):
    del nb.cells[place_of(nb, LOSS)]


def answer_deleted(nb):
    del nb.cells[place_of(nb, BEND)]


def text_deleted(nb):
    del nb.cells[4], nb.cells[2]


def check_copied(nb):
    nb.cells.append(nbformat.from_dict({**cell_of(nb, LOSS), "id": "again"}))


def answer_copied_before(nb):
    old = {**cell_of(nb, BEND), "id": "old", "source": "YOUR ANSWER HERE"}
    nb.cells.insert(0, nbformat.from_dict(old))


def answer_copied_after(nb):
    again = {**cell_of(nb, BEND), "id": "again", "source": ANSWERS[BEND] + " Again."}
    nb.cells.insert(place_of(nb, BEND) + 1, nbformat.from_dict(again))


def answer_split(nb):
    cell_of(nb, BEND).source = "Because many pairs"
    rest = nbformat.v4.new_markdown_cell("meet there.", id="rest")
    nb.cells.insert(place_of(nb, BEND) + 1, rest)


def answer_split_with_its_name(nb):
    answer_split(nb)
    at = place_of(nb, BEND)
    nb.cells[at + 1].metadata = copy.deepcopy(nb.cells[at].metadata)


def reordered(nb):
    nb.cells.append(nb.cells.pop(place_of(nb, LOSS)))
    nb.cells.insert(0, nb.cells.pop(place_of(nb, BEND)))


def check_retyped(nb):
    cell = cell_of(nb, LOSS)
    cell.cell_type = "markdown"
    del cell["outputs"], cell["execution_count"]


def answer_retyped(nb):
    cell = cell_of(nb, BEND)
    cell.update(cell_type="code", outputs=[], execution_count=1)


def answer_raw(nb):
    cell_of(nb, BEND).cell_type = "raw"


def settings_changed(nb):
    cell_of(nb, LOSS).metadata.nbgrader.update(points=100, locked=False, grade=False)
    cell_of(nb, BEND).metadata.nbgrader.update(points=1e400, checksum="x")


def check_edited(nb):
    cell_of(nb, LOSS).source = "print('all properties hold')"


def renamed(nb):
    cell_of(nb, BEND).metadata.nbgrader["grade_id"] = "mine"
    cell_of(nb, LOSS).metadata.nbgrader["grade_id"] = ["a", {}]


def metadata_stripped(nb):
    for cell in nb.cells:
        cell.metadata = {}


def metadata_and_ids_stripped(nb):
    for cell in nb.cells:
        cell.metadata = {}
        del cell["id"]
    nb.nbformat_minor = 2


def metadata_and_ids_replaced(nb):
    for n, cell in enumerate(nb.cells):
        cell.metadata = {"colab": {"base_uri": "https://example.org"}}
        cell.id = f"new-{n}"
    nb.cells[3].source += "\n# changed"


def foreign_cell(nb):
    cell = nbformat.v4.new_code_cell("1", id="extra")
    settings = {**cell_of(nb, LOSS).metadata.nbgrader, "grade_id": "bonus", "points": 100}
    cell.metadata["nbgrader"] = settings
    nb.cells.append(cell)


def garbage(nb):
    cell_of(nb, LOSS).update(outputs="x", execution_count="9", surprise={})
    nb.cells.insert(3, 7)
    nb.cells.insert(5, {"cell_type": {}, "source": [1, "text", None], "metadata": [], "id": 3})
    nb.metadata = {"widgets": {"x": 1}, "kernelspec": {"name": "evil"}}


DAMAGES = {
    check_deleted: "The cell flow-loss was missing",
    text_deleted: "2 cells of the chapter were missing",
    check_copied: "The cell flow-loss was there 2 times",
    answer_copied_before: "The answer flow-question-bend was there 2 times",
    answer_copied_after: "The answer flow-question-bend was there 2 times",
    reordered: "Cells stood in another order",
    check_retyped: "The cell flow-loss had become a markdown cell; it is a code cell",
    answer_retyped: "The answer flow-question-bend had become a code cell; it is a markdown cell",
    answer_raw: "The answer flow-question-bend had become a raw cell",
    settings_changed: "The settings of the cell flow-loss were changed",
    check_edited: "The cell flow-loss was changed",
    renamed: "The settings of the answer flow-question-bend were changed",
    metadata_stripped: "The answer flow-question-bend had lost its name and was found again",
    metadata_and_ids_stripped: "The answer flow-question-floor had lost its name",
    metadata_and_ids_replaced: "The cell flow-sample had lost its name",
    foreign_cell: "1 cell with a name of another notebook",
    garbage: "1 cell could not be read",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_a_damaged_notebook_is_repaired_and_keeps_the_answers(damage, answered, release):
    damage(answered)
    found = rebuilt(answered, release)
    assert {n: cell_of(found.notebook, n).source for n in ANSWERS} == ANSWERS
    assert any(DAMAGES[damage] in sentence for sentence in found.repairs), found.repairs
    assert all(sentence.endswith((".", "released.")) for sentence in found.repairs)


@pytest.mark.parametrize("damage", [metadata_and_ids_stripped, metadata_and_ids_replaced])
def test_stripped_cells_come_once(damage, answered, release):
    damage(answered)
    assert len(rebuilt(answered, release).notebook.cells) == len(release.cells)


@pytest.mark.parametrize("damage", [answer_split, answer_split_with_its_name])
def test_the_halves_of_an_answer_are_joined(damage, answered, release):
    damage(answered)
    found = rebuilt(answered, release)
    assert cell_of(found.notebook, BEND).source == "Because many pairs\n\nmeet there."
    assert found.repairs == (
        "The answer flow-question-bend continued in the cell below; the two were joined.",
    )
    assert len(found.notebook.cells) == len(release.cells)


def test_a_deleted_answer_comes_back_as_released(answered, release):
    answer_deleted(answered)
    found = rebuilt(answered, release)
    assert cell_of(found.notebook, BEND).source == "YOUR ANSWER HERE"
    assert cell_of(found.notebook, FLOOR).source == ANSWERS[FLOOR]
    assert "The answer flow-question-bend was missing" in found.repairs[0]


def test_a_new_cell_in_place_of_an_answer_is_the_answer(answered, release):
    at = place_of(answered, BEND)
    answered.cells[at] = nbformat.v4.new_markdown_cell("Typed anew.", id="anew")
    assert cell_of(rebuilt(answered, release).notebook, BEND).source == "Typed anew."


def test_a_copy_of_one_answer_is_not_taken_for_another(answered, release):
    copied = nbformat.from_dict({**cell_of(answered, BEND), "id": "again", "source": "Copied."})
    answered.cells[place_of(answered, FLOOR)] = copied
    found = rebuilt(answered, release)
    assert cell_of(found.notebook, FLOOR).source == "YOUR ANSWER HERE"
    assert any("The answer flow-question-floor was missing" in r for r in found.repairs)


def test_the_other_copies_stay_as_ordinary_cells(answered, release):
    answer_copied_after(answered)
    cells = rebuilt(answered, release).notebook.cells
    at = [name_of(c) for c in cells].index(BEND)
    assert cells[at + 1].source == ANSWERS[BEND] + " Again."
    assert cells[at + 1].metadata == {}


def test_a_code_answer_that_was_split_keeps_its_second_half(release):
    coded, name = copy.deepcopy(release), "flow-question-bend"
    cell = cell_of(coded, name)
    cell.update(cell_type="code", outputs=[], execution_count=None, source="# YOUR CODE HERE")
    cell.metadata.nbgrader["cell_type"] = "code"
    submitted = copy.deepcopy(coded)
    cell_of(submitted, name).source = "a = 1"
    at = place_of(submitted, name)
    submitted.cells.insert(at + 1, nbformat.v4.new_code_cell("b = 2", id="rest"))
    found = rebuilt(submitted, coded)
    assert [c.source for c in found.notebook.cells[at : at + 2]] == ["a = 1", "b = 2"]
    assert "directly below the answer flow-question-bend" in found.repairs[0]


def test_many_repairs_are_counted(release):
    submitted = copy.deepcopy(release)
    for cell in submitted.cells:
        if name_of(cell):
            cell.metadata.nbgrader["points"] = 50
            if not cell.metadata.nbgrader["solution"]:
                cell.source = "1"
        cell.cell_type = "raw"
    repairs = rebuilt(submitted, release).repairs
    assert len(repairs) == 21
    assert re.fullmatch(r"\d+ more repairs were made\.", repairs[-1])


def test_a_notebook_of_format_3_is_read(release):
    cells = [
        {
            "cell_type": "code",
            "language": "python",
            "input": "mine = 1",
            "outputs": [],
            "collapsed": False,
            "metadata": {},
        }
    ]
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": ""},
        "worksheets": [{"cells": cells, "metadata": {}}],
    }
    assert rebuilt(old, release).notebook.cells[0].source == "mine = 1"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"", "not JSON"),
        (b"PK\x03\x04", "not JSON"),
        (b"[]", "not a notebook"),
        (b'{"nbformat": 4}', "no list of cells"),
        (b'{"nbformat": 4, "cells": {}}', "no list of cells"),
        (b'{"nbformat": 2, "cells": []}', "format 4"),
        (b'{"nbformat": true, "cells": []}', "format 4"),
        (b'{"nbformat": 3, "worksheets": 5}', "format 3"),
        (b'{"nbformat": 3, "worksheets": [{"cells": [7]}]}', "format 3"),
        (b"[" * 200_000, "too deep"),
        (b'{"nbformat": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b" " * 20_000_001, "at most 20000000"),
    ],
    ids=range(13),
)
def test_what_is_no_notebook_is_refused_in_one_line(content, reason, release):
    with pytest.raises(NotANotebook, match=reason) as refused:
        rebuild(content, release)
    assert "\n" not in str(refused.value)


# --- any damage ---------------------------------------------------------------------------------

JUNK = [None, 7, -1, 1e400, "x" * 300, "\ud800\x00\x1b[31m", [], {}, [[{}]], {"a": None}, True]


def anything(nb, rng):
    """One thing that goes wrong with a notebook."""
    cells = nb["cells"]
    at, other = rng.randrange(len(cells)), rng.randrange(len(cells))
    kind = rng.randrange(9)
    if kind == 0 and len(cells) > 3:
        del cells[at : at + rng.randint(1, 4)]
    elif kind == 1:
        cells.insert(other, copy.deepcopy(cells[at]))
    elif kind == 2:
        cells[at], cells[other] = cells[other], cells[at]
    elif kind == 3:
        cells.insert(at, rng.choice(JUNK))
    elif isinstance(cells[at], dict):
        cell = cells[at]
        settings = cell.get("metadata")
        settings = settings.get("nbgrader") if isinstance(settings, dict) else None
        if kind == 4:
            cell["cell_type"] = rng.choice(["code", "markdown", "raw", *JUNK])
        elif kind == 5:
            cell[rng.choice(["source", "outputs", "id", "metadata", "attachments"])] = rng.choice(
                JUNK
            )
        elif kind == 6 and isinstance(settings, dict):
            settings[rng.choice([*settings, "grade_id", "points"])] = rng.choice(
                [BEND, LOSS, *JUNK]
            )
        elif kind == 7:
            cell["outputs"] = [
                {
                    "output_type": rng.choice(["stream", "display_data", "error"]),
                    "data": rng.choice([*JUNK, {"image/png": rng.choice(JUNK)}]),
                    "text": rng.choice(JUNK),
                    "traceback": rng.choice(JUNK),
                }
            ]
        elif cell:
            cell.pop(rng.choice(list(cell)))


def test_two_hundred_notebooks_damaged_at_random_have_the_skeleton_of_the_release(release):
    rng = random.Random(231)
    known = json.dumps(release)
    repaired = 0
    for _ in range(200):
        damaged = json.loads(known)
        for _ in range(rng.randint(1, 40)):
            anything(damaged, rng)
        if rng.random() < 0.1:
            damaged["metadata"] = rng.choice(JUNK)
        repaired += bool(rebuilt(damaged, release).repairs)
    assert repaired > 150


# --- outputs and attachments --------------------------------------------------------------------


def png(width=1, height=1, size=0):
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    return base64.b64encode(head + bytes(size)).decode()


JPEG = base64.b64encode(bytes.fromhex("ffd8ffc0000b080002000301011100")).decode()


def with_outputs(cell):
    data = {
        "image/png": png(),
        "text/plain": "<Figure>",
        "text/html": "<script>1</script>",
        "image/svg+xml": "<svg/>",
        "application/javascript": "1",
        "text/latex": "x",
        "application/pdf": "x",
        "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
    }
    data = {**data, "text/markdown": "<b>x</b>"}
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="\x1b[31mred\x1b[0m\x08 10%\r99%\n"),
        nbformat.v4.new_output("display_data", data=data, metadata={"needs_background": "x"}),
        nbformat.v4.new_output("execute_result", data={"image/jpeg": JPEG}, execution_count=3),
        nbformat.v4.new_output("display_data", data={"text/html": "<b>only</b>"}),
        nbformat.v4.new_output(
            "error", ename="E", evalue="\x1b[1mv", traceback=["\x1b[0;31ma", "b"]
        ),
    ]
    cell.execution_count = 7


def test_plots_and_text_of_a_student_stay_and_are_marked(answered, release):
    with_outputs(answered.cells[3])
    cell = rebuilt(answered, release).notebook.cells[3]
    assert [o.get("text") for o in cell.outputs[:2]] == [sanitize_outputs.NOTE, "99%\n"]
    assert [o.output_type for o in cell.outputs[2:]] == ["display_data", "display_data", "error"]
    assert [o.data for o in cell.outputs[2:4]] == [
        {"image/png": png(), "text/plain": "<Figure>"},
        {"image/jpeg": JPEG},
    ]
    assert not any(o.get("metadata") for o in cell.outputs)
    assert (cell.outputs[4].evalue, cell.outputs[4].traceback) == ("v", ["a", "b"])
    assert cell.execution_count == 7


def test_the_outputs_of_checks_are_left_to_the_grader(answered, release):
    cell = cell_of(answered, LOSS)
    with_outputs(cell)
    found = cell_of(rebuilt(answered, release).notebook, LOSS)
    assert found.outputs == []
    assert found.execution_count is None


@pytest.mark.parametrize(
    "data",
    [
        base64.b64encode(b"<svg onload=alert(1)>").decode(),
        "not base64!",
        'x" onerror="alert(1)',
        png() + '"><script>',
        png(size=sanitize_outputs.LARGEST_IMAGE),
        png(100_000, 100_000),
        base64.b64encode(b"\x89PNG\r\n\x1a\n").decode(),
        None,
        ["a", 7],
    ],
    ids=range(9),
)
def test_what_is_no_image_is_dropped(data, answered, release):
    answered.cells[3].outputs = [
        {"output_type": "display_data", "metadata": {}, "data": {"image/png": data}}
    ]
    assert rebuilt(answered, release).notebook.cells[3].outputs == []


def test_images_and_text_have_an_end(answered, release):
    image = {"output_type": "display_data", "data": {"image/png": png(size=1_500_000)}}
    counter = sanitize_outputs.ImageFilter()
    assert len(sanitize_outputs.kept_outputs([image] * 30, counter)) == 1 + 13
    long = {"output_type": "stream", "name": "stdout", "text": "x" * 100_000}
    (_, kept) = sanitize_outputs.kept_outputs([long], counter)
    assert len(kept.text) < 4100
    assert "cut: 96000" in kept.text


def test_attachments_are_images_only(answered, release):
    cell = cell_of(answered, BEND)
    bad = base64.b64encode(b"<svg/>").decode()
    cell.source = "![mine](attachment:a.png) ![gone](attachment:b.png) ![x](attachment:c.svg)"
    cell.attachments = {
        "a.png": {"image/png": png(), "image/svg+xml": "x"},
        "b.png": {"image/png": bad},
        "c.svg": {"image/svg+xml": "<svg/>"},
        '"><script>.png': {"image/png": png()},
    }
    found = cell_of(rebuilt(answered, release).notebook, BEND)
    assert found.attachments == {"a.png": {"image/png": png()}}
    assert found.source == "![mine](attachment:a.png) gone x"
    assert f'src="data:image/png;base64,{png()}"' in shown(found)


# --- Markdown -----------------------------------------------------------------------------------

MACROS = r"\\(href|unicode|require|html|htmlData|class|style|cssId|bbox|mmlToken)(?![A-Za-z])"
EXPORTER = HTMLExporter(template_name="basic")


def shown(cell):
    """The cell as nbconvert shows it."""
    notebook = nbformat.v4.new_notebook(cells=[cell])
    return EXPORTER.from_notebook_node(notebook)[0]


ORDINARY = [
    "# Why a < b\n\nSome *emphasis*, **more**, `code <b>` and ~~gone~~.",
    "a < b and c > d, x<y, 1 <2 & 3",
    "$a<b$, $$\\frac{1}{2} \\sum_{i<n} x_i$$ and \\\\(x\\\\)",
    "\\begin{align} a &= b \\\\ c &= d \\end{align}",
    "- one\n- two\n  1. three\n\n> quoted\n\n---\n",
    "| a | b |\n|:--|--:|\n| 1 | 2 |\n",
    "```python\nprint('<script>')\n```",
    "```\n<script>alert(1)</script>\n```\n\n    indented <b>",
    '[a link](https://example.org/a?b=c&d=e "title"), https://example.org, <me@example.org>',
    "[one][1]\n\n[1]: https://example.org",
    "- [x] done\n- [ ] open\n\nterm\n: what it is",
    "`\\href{javascript:alert(1)}{x}`",
    "Größe ≤ 3 · 日本語 🙂",
    "",
]


@pytest.mark.parametrize("text", ORDINARY, ids=range(len(ORDINARY)))
def test_ordinary_markdown_is_not_touched(text):
    assert safe_markdown(text) == text


ATTACKS = [
    "<script>alert(1)</script>",
    "before <img src=x onerror=alert(1)> after",
    '<IMG SRC="jav&#x09;ascript:alert(1)">',
    "<svg/onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "</div></div></body><h1>Score: 10/10</h1>",
    "<style>body{display:none}</style>",
    "<!-- comment --><b onclick=alert(1)>x</b>",
    "<details open ontoggle=alert(1)>",
    "<form action=https://example.org><input name=a></form>",
    "<?php x ?> <![CDATA[x]]> <!DOCTYPE html>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](<java script:alert(1)>)",
    "[x](&#106;avascript:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](java&Tab;script:alert(1))",
    "[x](java\\script:alert(1))",
    "[x](\x01javascript:alert(1))",
    '[x](javascript:alert(1) "title")',
    "[x](vbscript:msgbox)",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](file:///etc/passwd)",
    "[x](//example.org/a)",
    "[x](/formgrader/api)",
    "[x][1]\n\n[1]: javascript:alert(1)",
    "[x]\n\n[x]:\n  javascript:alert(1) 'title'",
    "> [x]\n>\n> [x]: javascript:alert(1)",
    "<javascript:alert(1)>",
    "![x](javascript:alert(1))",
    "![tracker](https://example.org/pixel.png)",
    "![tracker][1]\n\n[1]: https://example.org/pixel.png",
    "![a](data:image/svg+xml;base64,PHN2Zy8+)",
    "![a](attachment:missing.png)",
    "[![alt](https://example.org/x.png)](javascript:alert(1))",
    "$\\href{javascript:alert(1)}{x}$",
    "$$\\href {javascript:alert(1)}{x}$$",
    "\\begin{align}\\href{javascript:alert(1)}{x}\\end{align}",
    "&#36;&#92;href{javascript:alert(1)}{x}&#36;",
    "$\\\\href{javascript:alert(1)}{x}$ \\\\(\\\\href{javascript:alert(1)}{x}\\\\)",
    "$\\let\\a\\href \\a{javascript:alert(1)}{x}$",
    "$\\unicode{x41}$ $\\require{html}$ $\\html{x}$ $\\htmlData{a=b}{x}$",
    "$\\class{a}{x} \\style{color:red}{y} \\cssId{z}{z} \\bbox[red]{x}$",
    "$\\mmlToken{mi}[href='javascript:alert(1)']{x}$",
    "```mermaid\n</pre><script>alert(1)</script>\n```",
    "~~~~mermaid x\n<img src=x onerror=alert(1)>\n~~~~",
    "| a |\n|---|\n| <img src=x onerror=alert(1)> |",
    "# <img src=x onerror=alert(1)>",
    "- <script>alert(1)</script>\n  - [x](javascript:alert(1))",
    "`code` <script>alert(1)</script> ``more ` code``",
    "`unclosed <script>alert(1)</script>",
    "```\nopen fence\n\n<script>\n```\n<script>alert(1)</script>",
    "$a$ <script>alert('$')</script> $",
    "\\<script>alert(1)</script>",
    "<a\nhref='javascript:alert(1)'>x</a>",
    "x" * 30_000 + "<script>",
    "[" * 3000 + "<script>" + "]" * 3000,
    "> " * 300 + "<script>alert(1)</script>",
    "\\\\[" * 5000 + "<script>",
    "```\n```\n" + "\\\\[" * 5000,
]


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
def test_markdown_that_acts_is_made_to_show_only(text):
    cell = nbformat.v4.new_markdown_cell(safe_markdown(text))
    page = BeautifulSoup(shown(cell), "html.parser")
    prompts = page.select(".anchor-link, .jp-Mermaid, pre.mermaid")
    assert not [p for p in prompts if "mermaid" in str(p).lower()]
    tags = {tag.name for tag in page.find_all(True)}
    for name in ("script", "iframe", "img", "svg", "style", "form", "object", "details", "b"):
        assert name not in tags
    for tag in page.find_all(True):
        assert not [a for a in tag.attrs if a.lower().startswith("on")]
        address = tag.get("href", "") + tag.get("src", "")
        assert re.match(r"(https?://|mailto:|#|$)", address), address
    for code in page.find_all(["code", "pre"]):
        code.extract()
    assert not re.search(MACROS, page.get_text())


@pytest.mark.parametrize("text", ATTACKS[:50], ids=range(50))
def test_what_is_made_safe_once_stays(text):
    once = safe_markdown(text)
    assert safe_markdown(once) == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b, <b>bold</b>, $x<y$, `<i>`", "a < b, &lt;b>bold&lt;/b>, $x<y$, `<i>`"),
        (
            "see [this](javascript:x) and [that](https://example.org)",
            "see this and [that](https://example.org)",
        ),
        ("![a plot](https://example.org/x.png) *shows*", "a plot *shows*"),
        ("$\\href{x}{y} + \\frac{1}{2}$", "$href{x}{y} + \\frac{1}{2}$"),
        ("```python\na <b> c\n```\n<hr>", "```python\na <b> c\n```\n&lt;hr>"),
        ("```mermaid\ngraph\n```", "```\ngraph\n```"),
        ("a <em>b</em> </div>", "a &lt;em>b&lt;/em> &lt;/div>"),
        ("<div>\n<p>Score: 10</p>\n</div>", "&lt;div>\n&lt;p>Score: 10&lt;/p>\n&lt;/div>"),
        ("&#92;href{a}{b} &amp; <b>", "&amp;#92;href{a}{b} &amp; &lt;b>"),
        ("x" * 20_003, "x" * 20_000 + "\n\n(cut: 3 characters more)"),
    ],
)
def test_what_is_rewritten_stays_readable(text, expected):
    assert safe_markdown(text) == expected


def test_every_markdown_of_a_student_is_made_safe(answered, release):
    bad = "<script>alert(1)</script>"
    cell_of(answered, BEND).source = bad
    answered.cells[2].source += bad
    answered.cells.insert(0, nbformat.v4.new_markdown_cell(bad, id="mine"))
    answered.cells.insert(0, nbformat.v4.new_raw_cell(f"````\n{bad}\n```", id="raw"))
    notebook = rebuilt(answered, release).notebook
    assert notebook.cells[0].source == f"`````\n````\n{bad}\n```\n`````"
    assert notebook.cells[0].cell_type == "markdown"
    page = BeautifulSoup(EXPORTER.from_notebook_node(notebook)[0], "html.parser")
    assert not [s for s in page.find_all("script") if "alert" in s.text]
    assert page.get_text().count("alert(1)") == 4


def test_markdown_without_end_is_shown_as_typed(answered, release):
    answered.cells += [nbformat.v4.new_markdown_cell("word " * 3800) for _ in range(12)]
    answered.cells += [nbformat.v4.new_code_cell("1 + " * 100_000)]
    cells = rebuilt(answered, release).notebook.cells
    assert not cells[-13].source.startswith("```")
    assert cells[-2].source.startswith("```")
    assert len(cells[-1].source) < 100_100


def test_cells_without_end_are_counted(answered, release):
    answered.cells += [nbformat.v4.new_markdown_cell("x") for _ in range(1500)]
    found = rebuilt(answered, release)
    assert "558 cells could not be read or came after 1000 others." in found.repairs
    assert len(found.notebook.cells) < 1100


def test_answers_below_a_thousand_cells_are_found(answered, release):
    answered.cells = [nbformat.v4.new_markdown_cell("x") for _ in range(1500)] + answered.cells
    found = rebuilt(answered, release).notebook
    assert cell_of(found, BEND).source == ANSWERS[BEND]


# --- nbgrader -----------------------------------------------------------------------------------


def autograde(course, student, steps):
    """Run nbgrader's autograde with these steps of cleaning; what it said."""
    config = load_config(course)
    config.Autograde.sanitize_preprocessors = steps
    config.Autograde.autograde_preprocessors = [SaveAutoGrades, CheckCellMetadata]
    directory = CourseDirectory(config=config, assignment_id=CHAPTER, student_id=student)
    converter = Autograde(coursedir=directory, config=config, force=True)
    with heard(converter.log) as said:
        converter.start()
    return said.getvalue()


def submit(course, student, notebook):
    folder = course / "submitted" / student / CHAPTER
    folder.mkdir(parents=True)
    (folder / f"{CHAPTER}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


def test_nbgrader_takes_a_rebuilt_notebook_without_a_change(course, answered):
    for damage in (check_edited, settings_changed, reordered, check_copied, answer_retyped):
        damage(answered)
    cell_of(answered, FLOOR).source = "YOUR ANSWER HERE"
    submit(course, "student01", answered)
    said = autograde(course, "student01", [Rebuild, OverwriteCells, CheckCellMetadata])
    assert "has changed" not in said
    path = course / "autograded/student01" / CHAPTER / f"{CHAPTER}.ipynb"
    graded = nbformat.read(path, as_version=4)
    repairs = graded.metadata["cs231n_gen_repairs"]
    assert any("flow-loss was changed" in r for r in repairs)
    assert cell_of(graded, BEND).source == ANSWERS[BEND]
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        (notebook,) = gradebook.find_submission(CHAPTER, "student01").notebooks
        grades = {g.name: g for g in notebook.grades}
        assert grades[LOSS].max_score == 2
        assert grades[BEND].needs_manual_grade
        assert (grades[FLOOR].auto_score, grades[FLOOR].needs_manual_grade) == (0, False)


def test_a_missing_release_is_named(course, answered, tmp_path):
    config = load_config(course)
    config.CourseDirectory.root = str(tmp_path)
    where = {"nbgrader": {"assignment": CHAPTER, "notebook": CHAPTER}}
    with pytest.raises(
        FileNotFoundError, match=f"{CHAPTER}.ipynb is missing; `cs231n-gen release`"
    ):
        Rebuild(config=config).preprocess(answered, where)
