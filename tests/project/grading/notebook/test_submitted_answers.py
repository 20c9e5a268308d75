"""Exercises in answer cells: checked as they are run in the notebook, graded one by one."""

import json
import re
import subprocess
import sys

import nbformat
import pytest

from cs231n_gen.checking import answer_cells
from cs231n_gen.checking.fresh_modules import package_modules
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.feedback import messages
from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.notebook import submitted_answers
from cs231n_gen.grading.run.task import CannotRead, SubmittedCode
from cs231n_gen.grading.run.worker_client import Worker
from cs231n_gen.grading.source.markers import STUB, make_gaps
from cs231n_gen.grading.source.tree import exercises, text_without

EXERCISES = [e for e in exercises() if e.in_cell]
IDS = [e.id for e in EXERCISES]
CHAPTER = "02_optimal_discriminator"
NOTEBOOK = ROOT / "notebooks" / CHAPTER / f"{CHAPTER}.ipynb"
SEED = 2025


def notebook(**answers):
    """The chapter as a student has it: solved, but for the cells that are answered here."""
    made = nbformat.read(NOTEBOOK, as_version=4)
    for cell in made.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if name := answer_cells.name_of(grade_id, "chapter02"):
            cell.source = answers.get(name, make_gaps(cell.source, []))
    return made


@pytest.fixture
def handed_in(tmp_path):
    """`handed_in(notebook)`: a folder with it, as `collect` leaves it."""

    def put(made):
        (tmp_path / f"{CHAPTER}.ipynb").write_text(nbformat.writes(made), encoding="utf-8")
        return tmp_path

    return put


@pytest.fixture(scope="module")
def worker():
    if sys.platform != "linux":
        pytest.skip("the jail needs Linux")
    with Worker(Limits()) as one:
        yield one


def says(found, exercise):
    return " ".join(r.says for r in found[exercise].results)


# --- in the notebook ----------------------------------------------------------------------------


def test_a_module_is_made_of_the_cells():
    made = package_modules()["chapter02"]
    assert all(callable(getattr(made, e.name)) for e in EXERCISES)


def test_what_is_left_of_the_reference_has_only_earlier_steps():
    text = text_without("chapter02", IDS[2:])
    assert text.count(STUB.split("\n")[1]) == len(IDS) - 2
    made = {}
    exec(text, made)
    assert set(made) >= {e.name for e in EXERCISES}


LIVE = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for source in {sources!r}:
    shell.run_cell(source)
"""


def live(*sources):
    """What is printed when these cells are run, one after the other."""
    done = subprocess.run(
        [sys.executable, "-c", LIVE.format(sources=sources)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    return done.stdout + done.stderr


def test_a_check_takes_the_cell_as_it_was_run():
    said = live(
        "def turn():\n    return -1\n\n"
        "def slope(y, a, b):\n    return turn() * (a / y - b / (1 - y))",
        "from cs231n_gen import check",
        "check('chapter02.slope')",
        "def slope(y, a, b):\n    return a / y - b / (1 - y)",
        "print(check('chapter02.slope'))",
    )
    assert "chapter02.slope: 0 of " in said
    assert "The sign is turned" in said
    assert re.search(r"chapter02.slope: (\d) of \1", said)


def test_an_error_in_a_cell_shows_the_line_of_the_cell():
    said = live(
        "def slope(y, a, b):\n    c = y * 2\n    return c / nothing",
        "from cs231n_gen import check",
        "check('chapter02.slope')",
    )
    assert "chapter02.slope, line 3: return c / nothing" in said


# --- in the jail --------------------------------------------------------------------------------


def test_right_answers_get_all_points(worker, handed_in):
    found = worker.grade(handed_in(notebook()), IDS, seed=SEED)
    assert all(found[e].passed for e in IDS)


def test_one_wrong_cell_costs_once(worker, handed_in):
    made = notebook(
        slope="def slope(y, a, b):\n    return b / (1 - y) - a / y",
        curvature="def curvature(y, a, b):\n    y = y.clone().requires_grad_()\n"
        "    return torch.autograd.grad(slope(y, a, b).sum(), y)[0]",  # of the reference's slope
        maximiser="def maximiser(a, b:\n    return a",
    )
    found = worker.grade(handed_in(made), IDS, seed=SEED)
    wrong = {e for e in IDS if not found[e].passed}
    assert wrong == {"chapter02.slope", "chapter02.maximiser"}
    assert found["chapter02.slope"].mistake.startswith("The sign is turned")
    assert "chapter02.maximiser, line 1: SyntaxError" in says(found, "chapter02.maximiser")


def test_a_cell_stands_by_itself(worker, handed_in):
    made = notebook(
        pointwise="LOG = torch.log\n\n"
        "def pointwise(y, a, b):\n    return a * LOG(y) + b * LOG(1 - y)",
        slope="def slope(y, a, b):\n    return a / y - LOG(b)",
    )
    folder = handed_in(made)
    found = worker.grade(folder, IDS[:2], seed=SEED)
    assert found["chapter02.pointwise"].passed
    assert "LOG" in says(found, "chapter02.slope")
    told = messages.property_feedback(found["chapter02.slope"].results, 1.0, folder)
    (frame,) = told[0].frames
    assert (frame.file, frame.line) == ("chapter02.slope", 2)


def test_what_is_not_written_or_not_there(worker, handed_in):
    made = notebook(slope=f"def slope(y, a, b):\n    {STUB.split(chr(10))[1]}")
    made.cells = [
        c
        for c in made.cells
        if c.metadata.get("nbgrader", {}).get("grade_id") != "chapter02-maximiser-answer"
    ]
    found = worker.grade(handed_in(made), IDS[:3], seed=SEED)
    assert {r.status for r in found["chapter02.slope"].results} == {"missing"}
    assert "the answer cell of chapter02.maximiser" in says(found, "chapter02.maximiser")


def test_a_folder_without_the_notebook(worker, tmp_path):
    found = worker.grade(tmp_path, IDS[:1], seed=SEED)
    assert "is not in the submission" in says(found, IDS[0])


# --- what is read of a submission ---------------------------------------------------------------


def test_a_cell_that_lost_its_name_is_found(handed_in):
    made = notebook(slope="def slope(y, a, b):\n    return 7")
    for cell in made.cells:
        cell.metadata.pop("nbgrader", None)
    found = submitted_answers.find_answers(handed_in(made), "chapter02")
    assert found["cs231n_gen/chapter02.slope"].endswith("return 7")
    assert len(found) == len(IDS)


def test_of_several_copies_the_first_that_was_edited_counts(handed_in):
    made = notebook()
    (place,) = [i for i, c in enumerate(made.cells) if "def slope" in c.source]
    copy = nbformat.from_dict({**made.cells[place], "id": "copied", "source": "def slope(): pass"})
    made.cells.append(copy)
    assert (
        "pass"
        not in submitted_answers.find_answers(handed_in(made), "chapter02")[f"cs231n_gen/{IDS[1]}"]
    )


def test_no_link_is_followed(tmp_path):
    real = tmp_path / "elsewhere.ipynb"
    real.write_text(nbformat.writes(notebook()), encoding="utf-8")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / f"{CHAPTER}.ipynb").symlink_to(real)
    assert not SubmittedCode.read(folder, IDS).files


@pytest.mark.parametrize(
    "data", [b"%PDF-1.4", b"", b"[]", b"{}", json.dumps({"cells": 1}).encode()]
)
def test_what_is_no_notebook_says_so(tmp_path, data):
    (tmp_path / f"{CHAPTER}.ipynb").write_bytes(data)
    with pytest.raises(CannotRead):
        SubmittedCode.read(tmp_path, IDS)


def test_a_long_cell_is_refused(handed_in):
    made = notebook(slope="#" * (1 << 21))
    with pytest.raises(CannotRead, match="slope"):
        SubmittedCode.read(handed_in(made), IDS)
