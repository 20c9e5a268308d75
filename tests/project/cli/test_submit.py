"""Handing in: one zip, whole or not at all."""

import hashlib
import json
import shutil
import zipfile

import pytest

from cs231n_gen.checking import public_check as checks
from cs231n_gen.checking.report import CheckReport
from cs231n_gen.checking.runner import Result
from cs231n_gen.cli import submit as handing_in
from cs231n_gen.cli.submit import SubmitError, submit
from cs231n_gen.common.chapters import UnknownChapter
from cs231n_gen.common.paths import ROOT

CHAPTER = "00_start"
NOTEBOOK = f"notebooks/{CHAPTER}/{CHAPTER}.ipynb"
MODULE = "cs231n_gen/likelihood.py"
EXERCISES = ["likelihood.gaussian_kl", "likelihood.elbo"]


@pytest.fixture
def course(tmp_path):
    """What `submit` needs of a released course."""
    for name in (NOTEBOOK, MODULE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    own = {"exercises": dict.fromkeys(EXERCISES, 2), "questions": {"start-question-tight": 2}}
    other = {"assigned": False, "exercises": {}, "questions": {}}
    facts = {"version": "1", "chapters": {CHAPTER: {"assigned": True, **own}, "05_guidance": other}}
    (tmp_path / ".course.json").write_text(json.dumps(facts))
    return tmp_path


@pytest.fixture(autouse=True)
def held(monkeypatch):
    """Which public checks hold; they are tested elsewhere."""
    held = set(EXERCISES)

    def run_check(exercise):
        status = "passed" if exercise in held else "failed"
        return CheckReport(exercise, (Result(exercise, "test", "it is right", 1.0, status),))

    monkeypatch.setattr(checks, "run_check", run_check)
    return held


def unpack(archive):
    with zipfile.ZipFile(archive) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def answer(course, text):
    notebook = json.loads((course / NOTEBOOK).read_text())
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "start-question-tight":
            cell["source"] = [text]
    (course / NOTEBOOK).write_text(json.dumps(notebook))


@pytest.mark.parametrize("name", ["00", CHAPTER])
def test_it_packs_the_notebook_the_module_and_a_manifest(name, course):
    archive = submit(name, course)
    assert archive == course / "submissions" / f"{CHAPTER}.zip"
    packed = unpack(archive)
    assert packed.keys() == {f"{CHAPTER}.ipynb", MODULE, "manifest.json"}
    assert packed[MODULE] == (course / MODULE).read_bytes()


def test_the_manifest_says_what_was_handed_in(course, held):
    held.discard("likelihood.elbo")
    packed = unpack(submit("00", course))
    manifest = json.loads(packed.pop("manifest.json"))
    assert manifest["chapter"] == CHAPTER
    assert manifest["checks"] == {"likelihood.gaussian_kl": True, "likelihood.elbo": False}
    assert manifest["files"] == {n: hashlib.sha256(b).hexdigest() for n, b in packed.items()}


def test_a_check_that_fails_is_said_and_keeps_nobody(course, held, capsys):
    held.clear()
    assert submit("00", course).exists()
    said = capsys.readouterr().out
    assert "✗ likelihood.elbo: 0 of 1 properties hold" in said
    assert "0 of 2 exercises pass" in said
    assert "hand in submissions/00_start.zip" in said.replace("\\", "/")


def test_a_question_left_open_is_said(course, capsys):
    answer(course, "YOUR ANSWER HERE")
    submit("00", course)
    assert "not answered yet: the question start-question-tight" in capsys.readouterr().out


def test_an_answered_question_is_not(course, capsys):
    answer(course, "Because the posterior is no Gaussian.")
    submit("00", course)
    assert "not answered" not in capsys.readouterr().out


def test_a_later_zip_replaces_an_earlier_one(course):
    first = unpack(submit("00", course))
    (course / MODULE).write_text("# nothing yet\n")
    assert unpack(submit("00", course))[MODULE] != first[MODULE]


@pytest.mark.parametrize("name", ["77", "05", ""])
def test_a_chapter_that_is_not_assigned_is_refused(name, course):
    with pytest.raises(UnknownChapter, match="no assigned chapter is called"):
        submit(name, course)


@pytest.mark.parametrize("name", [NOTEBOOK, MODULE])
def test_a_missing_file_is_named(name, course):
    (course / name).unlink()
    with pytest.raises(SubmitError, match="is missing: it belongs to what you hand in"):
        submit("00", course)
    assert not (course / "submissions").exists()


def test_a_notebook_that_is_not_one_is_refused(course):
    (course / NOTEBOOK).write_text('{"cells": [')
    with pytest.raises(SubmitError, match="save it, and try again"):
        submit("00", course)


def test_the_source_has_nothing_to_hand_in():
    with pytest.raises(SubmitError, match="not the students' course"):
        submit("04", ROOT)


def test_a_full_disk_leaves_the_earlier_zip(course, monkeypatch):
    archive = submit("00", course)
    before = archive.read_bytes()

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(handing_in.zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="no space"):
        submit("00", course)
    assert archive.read_bytes() == before
