"""The command line: one line and exit code 2 for what a person can mend."""

import importlib
import sys

import pytest
from typer.testing import CliRunner

from cs231n_gen.checking import public_check as checks
from cs231n_gen.cli import main
from cs231n_gen.common import paths
from cs231n_gen.common.chapters import UnknownChapter
from cs231n_gen.grading.release import build as releasing
from cs231n_gen.grading.source.lint import BadSource, Problem


def call(*arguments):
    return CliRunner().invoke(main.app, arguments)


def test_help_lists_the_commands():
    said = call("--help").output
    assert all(f" {name} " in said for name in ("lab", "doctor", "check", "submit", "release"))


def test_help_does_not_wait_for_torch(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] in ("torch", "pytest", "nbgrader")]:
        monkeypatch.setitem(sys.modules, name, None)  # importing it would raise
    importlib.reload(main)
    assert call("--help").exit_code == 0


def test_students_are_offered_no_release(monkeypatch):
    monkeypatch.setattr(paths, "is_source", lambda: False)
    try:
        importlib.reload(main)
        assert "release" not in call("--help").output
    finally:
        monkeypatch.undo()
        importlib.reload(main)


@pytest.mark.parametrize(("good", "code"), [(True, 0), (False, 1)])
def test_check_tells_by_its_exit_code(good, code, monkeypatch):
    monkeypatch.setattr(checks, "check_all", lambda exercises: good)
    assert call("check", "flow.loss").exit_code == code


def test_an_unknown_exercise_is_refused_and_the_known_ones_are_named():
    done = call("check", "flow.lose")
    assert done.exit_code == 2
    assert "no exercise is called flow.lose; there are " in done.stderr
    assert "flow.interpolate, flow.loss" in done.stderr


def test_a_chapter_that_cannot_be_handed_in_is_one_line():
    done = call("submit", "04")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1


def test_release_passes_chapters_on(monkeypatch, tmp_path):
    asked = []

    def build(only):
        asked.append(only)
        return tmp_path / "course"

    monkeypatch.setattr(releasing, "release", build)
    assert call("release", "--only", "04,05").exit_code == 0
    assert call("release").exit_code == 0
    assert asked == [["04", "05"], None]


@pytest.mark.parametrize(
    "error",
    [BadSource([Problem("flow.py", 3, "no end")]), UnknownChapter("no chapter is called 77")],
)
def test_a_release_that_cannot_be_is_said_without_a_traceback(error, monkeypatch):
    def refuse(only):
        raise error

    monkeypatch.setattr(releasing, "release", refuse)
    done = call("release")
    assert done.exit_code == 2
    assert done.stderr == f"{error}\n"
