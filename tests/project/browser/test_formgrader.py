"""An instructor's afternoon in a real browser: 12 submissions, looked at in formgrader.

The screenshots are left in `build/screenshots/`, to be looked at.
"""

import contextlib
import os
import sqlite3
import subprocess
import sys

import pytest

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.release.nbgrader_assign import assign

pytestmark = pytest.mark.full
classroom = load_module(ROOT / "tests" / "classroom.py", "classroom")
CHAPTER = classroom.CHAPTER
PATIENCE = 120_000  # milliseconds until something must have appeared
SHOTS = ROOT / "build" / "screenshots"


@pytest.fixture(scope="module")
def course(copy_source, tmp_path_factory):
    """A course whose class was collected and graded in a terminal."""
    root = copy_source(tmp_path_factory.mktemp("afternoon"))
    config = root / "nbgrader_config.py"
    config.write_text(config.read_text("utf-8") + classroom.SHORT, encoding="utf-8")
    released = assign([CHAPTER], root) / CHAPTER / f"{CHAPTER}.ipynb"
    (root / "zips").mkdir()
    for student, _, module, notebook in classroom.submissions(12, released):
        packed = classroom.packed(module, notebook)
        (root / "zips" / f"{student}.zip").write_bytes(packed)
    for words in (("collect", "zips"), ("grade", "04")):
        command = [sys.executable, "-m", "cs231n_gen.cli", *words]
        env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=root, env=env, capture_output=True, check=False)
    return root


@pytest.fixture(scope="module")
def page(course, jupyterlab, chromium):
    options = ["--no-browser", "--port=0", "--allow-root", "--LabApp.default_url=/lab/tree/data"]
    command = [sys.executable, "-m", "jupyterlab", *options]
    env = {**os.environ, "PYTHONPATH": str(course), "OMP_NUM_THREADS": "1"}
    with jupyterlab(command, env, course) as (base, token):
        page = chromium.new_page(viewport={"width": 1400, "height": 950}, base_url=base)
        page.set_default_timeout(PATIENCE)
        page.goto(f"/lab?token={token}")
        yield page
        page.close()


def students(course):
    return sorted(p.parent.name for p in (course / "submitted").glob(f"*/{CHAPTER}"))


def scores(course):
    """By student and cell, what was given automatically and by hand."""
    query = """
        select s.id, b.name, g.auto_score, g.manual_score from grade g
        join base_cell b on b.id = g.cell_id join submitted_notebook n on n.id = g.notebook_id
        join submitted_assignment a on a.id = n.assignment_id
        join student s on s.id = a.student_id order by 1, 2"""
    with contextlib.closing(sqlite3.connect(course / "gradebook.db")) as book:
        return {(s, name): (auto, manual) for s, name, auto, manual in book.execute(query)}


def shoot(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def test_the_class_is_listed_with_its_points(page, course):
    page.goto(f"/formgrader/manage_submissions/{CHAPTER}")
    page.locator("tbody tr td", has_text="graded").first.wait_for()
    rows = page.locator("tbody tr").all_inner_texts()
    listed = {s for s in students(course) if any(s in row.split() for row in rows)}
    assert listed == set(students(course))
    full = next(row for row in rows if "student01" in row.split())
    assert "18 /" in full, full
    shoot(page, "formgrader-class")


def test_its_button_gives_the_same_points(page, course):
    before = scores(course)
    page.goto(f"/formgrader/manage_submissions/{CHAPTER}")
    row = page.locator("tbody tr", has_text="student01").first
    row.locator("td.autograde a, td.autograde button, td.autograde span").first.click()
    page.locator(".modal.in, .modal.show").first.wait_for()
    page.get_by_text("Success").first.wait_for()
    shoot(page, "formgrader-button")
    assert scores(course) == before


def test_a_question_is_graded_by_hand(page, course):
    page.goto(f"/formgrader/gradebook/{CHAPTER}/{CHAPTER}")
    page.locator("tbody tr a").first.click()
    field = page.locator("input.score").last
    field.wait_for()
    shoot(page, "formgrader-submission")
    before = scores(course)
    field.scroll_into_view_if_needed()
    field.fill("1")
    field.press("Tab")
    page.wait_for_timeout(2000)
    shoot(page, "formgrader-by-hand")
    changed = {k: v for k, v in scores(course).items() if before[k] != v}
    ((_, given),) = changed.items()
    assert given[1] == 1
    assert "alert(" not in page.evaluate("[...document.scripts].map(s => s.text).join()")
