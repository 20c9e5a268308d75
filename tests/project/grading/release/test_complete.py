"""Diagnoses that are added to a course while it is open."""

import json
import shutil

import pytest

from cs231n_gen.checking import diagnosis
from cs231n_gen.grading.release import build, complete, manifest
from cs231n_gen.grading.source.tree import ROOT

QUICK, SLOW = "flow.loss", "kernels.axpy.kernel"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course that was built without diagnoses; mistakes are observed at once."""
    folder = tmp_path / "course"
    (folder / build.DIAGNOSES).parent.mkdir(parents=True)
    (folder / build.DIAGNOSES).write_text("[]", encoding="utf-8")
    chapters = {
        "04": {"assigned": True, "exercises": {QUICK: 2}},
        "05": {"assigned": False, "exercises": {"guidance.sample": 1}},
        "14": {"assigned": True, "exercises": {SLOW: 1}},
    }
    facts = {"source": "this", "chapters": chapters, "diagnosed": False}
    manifest.write_manifest(folder, facts)
    monkeypatch.setattr(complete, "source_fingerprint", lambda: "this")

    def write(file, exercises, workers):
        file.write_text(json.dumps(exercises), encoding="utf-8")

    monkeypatch.setattr(diagnosis, "write", write)
    return folder


def test_a_course_is_completed_and_counts_as_unedited(course):
    assert complete.complete(course)
    assert json.loads((course / build.DIAGNOSES).read_text("utf-8")) == [QUICK, SLOW]
    assert manifest.read_manifest(course)["diagnosed"]
    assert not manifest.edited(course)


def test_what_is_quick_is_there_while_kernels_are_interpreted(course, monkeypatch):
    seen, write = [], diagnosis.write

    def watch(file, exercises, workers):
        seen.append(json.loads((course / build.DIAGNOSES).read_text("utf-8")))
        write(file, exercises, workers)

    monkeypatch.setattr(diagnosis, "write", watch)
    complete.complete(course)
    assert seen == [[], [QUICK]]


def test_what_a_student_edited_meanwhile_stays_an_edit(course):
    (course / "notes.txt").write_text("mine", encoding="utf-8")
    assert complete.complete(course)
    assert manifest.edited(course)


def test_a_course_of_another_source_is_left_alone(course, monkeypatch):
    monkeypatch.setattr(complete, "source_fingerprint", lambda: "another")
    assert not complete.complete(course)
    assert (course / build.DIAGNOSES).read_text("utf-8") == "[]"


def test_a_course_that_was_built_anew_meanwhile_is_left_alone(course, monkeypatch):
    write = diagnosis.write

    def build_anew(file, exercises, workers):
        shutil.rmtree(course)
        (course / build.DIAGNOSES).parent.mkdir(parents=True)
        manifest.write_manifest(course, {"source": "this", "chapters": {}, "diagnosed": True})
        write(file, exercises, workers)

    monkeypatch.setattr(diagnosis, "write", build_anew)
    assert not complete.complete(course)
    assert not (course / build.DIAGNOSES).exists()
    assert {p.name for p in course.parent.iterdir()} == {"course", "course.lock"}


def test_nothing_is_started_for_a_course_that_is_complete(course, monkeypatch):
    complete.complete(course)
    monkeypatch.setattr(complete.subprocess, "Popen", None)
    with complete.completing(course):
        pass
    with complete.completing(ROOT / "notebooks"):  # not a built course
        pass
