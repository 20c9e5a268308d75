"""A student's hour in a real browser: JupyterLab, chapter 04, a figure that is dragged, a gap, a
mistake, the right answer.

The screenshots are left in `build/screenshots/`, to be looked at.
"""

import os
import re
import shutil
import sys

import pytest

from cs231n_gen.cli import lab
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.release.build import release

CHAPTER = "notebooks/04_rectified_flow/04_rectified_flow.ipynb"
STUB = "    # YOUR CODE HERE\n    raise NotImplementedError\n"
LEVELS = "    t = t.reshape(-1, *[1] * (x.dim() - 1))\n"
PATIENCE = 120_000  # milliseconds until something must have appeared
SHOTS = ROOT / "build" / "screenshots"


@pytest.fixture(scope="module")
def course(copy_source, tmp_path_factory):
    source = copy_source(tmp_path_factory.mktemp("browser") / "source")
    return release(["04"], output=source / "build" / "course", root=source)


@pytest.fixture(scope="module")
def address(course, jupyterlab):
    """JupyterLab as students open it; where it is, and its token."""
    options = ["--no-browser", "--port=0", "--allow-root"]
    command = [sys.executable, "-m", "cs231n_gen.cli", "lab", *options]
    with jupyterlab(command, lab.environment(course, os.environ), course) as found:
        yield found


@pytest.fixture(scope="module")
def page(address, chromium):
    """Chapter 04, open."""
    base, token = address
    page = chromium.new_page(viewport={"width": 1400, "height": 950})
    page.set_default_timeout(PATIENCE)
    page.goto(f"{base}/lab/tree/{CHAPTER}?token={token}")
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').first.wait_for()
    run(page, "load_ext autoreload")
    page.locator(".jp-InputPrompt", has_text="[1]:").wait_for()
    yield page
    page.close()


def run(page, text):
    """Run the cell that holds this text; returns it."""
    cell = page.locator(".jp-CodeCell", has_text=text).first
    cell.scroll_into_view_if_needed()
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    return cell


def answer(course, lines):
    """Fill the gap of flow.interpolate."""
    path = course / "cs231n_gen" / "flow.py"
    if not (kept := course / "flow.gaps").exists():
        shutil.copy(path, kept)
    before, head, after = kept.read_text(encoding="utf-8").partition("def interpolate(")
    path.write_text(before + head + after.replace(STUB, lines, 1), encoding="utf-8")


def check(page, name, expected):
    """Run the check, wait for what it must say, and take a picture."""
    cell = run(page, 'check("flow.interpolate")')
    SHOTS.mkdir(parents=True, exist_ok=True)
    try:
        cell.locator(".jp-OutputArea", has_text=expected).first.wait_for()
    finally:
        page.screenshot(path=SHOTS / f"{name}.png")
    return cell.locator(".jp-OutputArea").inner_text()


def shoot(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def test_a_figure_is_dragged_and_keeps_its_keys(page):
    """Python hears where the point was left; "a" with the figure focused adds no cell."""
    cell = run(page, "viz.FlowField({")
    cell.locator(".gen-figure[data-ready]").wait_for()
    canvas = cell.locator("canvas[tabindex]")
    box = canvas.bounding_box()
    says = cell.locator(".gen-says")
    before = says.inner_text()
    x, y = box["x"] + 0.7 * box["width"], box["y"] + 0.4 * box["height"]
    page.mouse.move(box["x"] + 0.31 * box["width"], box["y"] + 0.44 * box["height"])
    page.mouse.down()
    page.mouse.move(x, y, steps=5)
    page.mouse.up()
    assert says.inner_text() != before
    shoot(page, "0_figure")
    cells = page.locator(".jp-Cell").count()
    canvas.focus()
    for key in ("a", "b", "ArrowDown", "d", "d"):
        page.keyboard.press(key)
    page.wait_for_timeout(300)
    assert page.locator(".jp-Cell").count() == cells
    assert "(1.28, 0.54)" in says.inner_text()
    cell.locator(".cm-content").click()
    for key in ("Escape", "b", "Enter"):
        page.keyboard.press(key)
    page.keyboard.type("print('it was left at', [round(v, 2) for v in _.z])")
    page.keyboard.press("Control+Enter")
    page.get_by_text("it was left at [1.28, 0.54]", exact=True).wait_for()
    for key in ("Escape", "d", "d"):
        page.keyboard.press(key)


def test_a_gap_is_called_by_its_name(page):
    assert "Hint 1 of" in check(page, "1_gap", "flow.interpolate is not written yet")


def test_a_mistake_is_called_by_its_name_without_a_restart(page, course):
    answer(course, LEVELS + "    return t * x + (1 - t) * z, z - x\n")
    said = check(page, "2_mistake", "data sits at t = 1 here")
    assert "CheckFailed" in said
    assert "Traceback" not in said


def test_the_right_answer_passes_property_by_property(page, course):
    answer(course, LEVELS + "    return (1 - t) * x + t * z, z - x\n")
    said = check(page, "3_right", "properties hold")
    assert re.search(r"\b(\d+) of \1 properties hold", said)
    assert "CheckFailed" not in said


def test_students_see_no_menu_of_the_instructors(page):
    assert page.get_by_text("Nbgrader", exact=True).count() == 0
