"""An instructor's afternoon: collect, grade, stop, go on, give back; and nbgrader's own numbers."""

import csv
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import pytest
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading import record
from cs231n_gen.grading.config import load_config
from cs231n_gen.grading.release.nbgrader_assign import assign, heard

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail needs Linux")
classroom = load_module(ROOT / "tests" / "classroom.py", "classroom")
CHAPTER = classroom.CHAPTER
ALL = 18.0


class Afternoon:
    """A course of its own, with a class that handed in."""

    def __init__(self, root, count):
        self.root = root
        config = root / "nbgrader_config.py"
        config.write_text(config.read_text("utf-8") + classroom.SHORT, encoding="utf-8")
        self.released = assign([CHAPTER], root) / CHAPTER / f"{CHAPTER}.ipynb"
        self.zips = root / "zips"
        self.zips.mkdir()
        self.kinds = {}
        for student, kind, module, notebook in classroom.submissions(count, self.released):
            self.kinds[student] = kind
            packed = classroom.packed(module, notebook)
            (self.zips / f"{student}.zip").write_bytes(packed)

    def start(self, *words):
        env = {**os.environ, "PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "cs231n_gen.cli", *map(str, words)]
        options = {"cwd": self.root, "env": env, "text": True, "start_new_session": True}
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )

    def run(self, *words, code=0):
        process = self.start(*words)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == code, said[-3000:]
        return said

    def grades(self):
        """The gradebook's numbers, without its own ids and the time."""
        query = """
            select s.id, b.name, g.auto_score, g.manual_score, g.needs_manual_grade,
                   n.late_submission_penalty, a.timestamp
            from grade g join base_cell b on b.id = g.cell_id
            join submitted_notebook n on n.id = g.notebook_id
            join submitted_assignment a on a.id = n.assignment_id
            join student s on s.id = a.student_id order by 1, 2"""
        with sqlite3.connect(self.root / "gradebook.db") as book:
            return book.execute(query).fetchall()

    def forget(self, students):
        """Take these students' points out of the gradebook."""
        statement = """
            update grade set auto_score = null where notebook_id in (
                select n.id from submitted_notebook n
                join submitted_assignment a on a.id = n.assignment_id where a.student_id = ?)"""
        with sqlite3.connect(self.root / "gradebook.db") as book:
            book.executemany(statement, [(s,) for s in students])

    def is_recorded(self, student):
        return (self.root / "autograded" / student / CHAPTER / record.NAME).exists()

    def records(self):
        """What the records say, without the time it took and the words of errors."""
        found = {}
        for path in sorted((self.root / "autograded").glob(f"*/{CHAPTER}")):
            own = record.read(path)
            verdicts = {
                e.exercise: (e.score, e.mistake, [(r.test, r.status) for r in e.results])
                for e in own.exercises
            }
            found[own.student] = (own.fingerprint, own.repairs, verdicts)
        return found


@pytest.fixture(scope="module")
def afternoon(tmp_path_factory, copy_source):
    own = Afternoon(copy_source(tmp_path_factory.mktemp("course")), 18)
    own.collected = own.run("collect", own.zips, code=1)
    own.graded = own.run("grade", "04", "--workers", 2)
    own.first = own.grades(), own.records()
    return own


def test_what_cannot_be_taken_in_is_named_and_the_others_go_on(afternoon):
    refused = {s for s, kind in afternoon.kinds.items() if "not a note" in kind or "empty" in kind}
    refused -= {s for s, kind in afternoon.kinds.items() if "emptied" in kind}
    assert refused
    for student in refused:
        assert f"{student}.zip: {CHAPTER}.ipynb" in afternoon.collected
    assert f"{len(refused)} refused" in afternoon.collected
    assert set(afternoon.first[1]) == set(afternoon.kinds) - refused


def test_everybody_gets_what_is_due(afternoon):
    for student, found in afternoon.first[1].items():
        kind = afternoon.kinds[student].partition(",")[0]
        got = {e: all(s == "passed" for _, s in tests) for e, (_, _, tests) in found[2].items()}
        if kind in classroom.BY_HAND:
            wrong = {f"flow.{n}" for n in classroom.BY_HAND[kind]}
            assert {e for e, full in got.items() if not full} == wrong, kind
        else:
            assert set(got.values()) == {kind == "right"}, kind


def test_the_table_says_what_needs_a_look(afternoon):
    said = afternoon.graded
    assert f"{CHAPTER}: {len(afternoon.first[1])} graded, 0 unchanged, 0 failed" in said
    assert "repaired" in said
    assert "timed out" in said


def test_a_second_time_nothing_is_done_and_nothing_changes(afternoon):
    said = afternoon.run("grade", "04")
    assert f"0 graded, {len(afternoon.first[1])} unchanged" in said
    assert (afternoon.grades(), afternoon.records()) == afternoon.first


@pytest.mark.full
def test_again_with_the_same_seed_is_the_same(afternoon):
    student = next(iter(afternoon.first[1]))
    assert "1 graded" in afternoon.run("grade", "04", "--student", student, "--again")
    assert (afternoon.grades(), afternoon.records()) == afternoon.first


@pytest.mark.full
def test_one_exercise_can_be_looked_at(afternoon):
    student = next(s for s, k in afternoon.kinds.items() if k.startswith("reversed"))
    look = ("grade", "04", "--student", student, "--exercise", "flow.interpolate")
    said = afternoon.run(*look)
    assert "✗" in said
    assert "seed 2025" in said
    assert afternoon.run(*look, "--seed", "3") != said
    assert (afternoon.grades(), afternoon.records()) == afternoon.first


def test_nbgrader_gives_the_same_points(afternoon):
    """`nbgrader autograde` over the same submissions leaves the gradebook as it was."""
    config = load_config(afternoon.root)
    chosen = [s for s in afternoon.first[1] if "hangs" not in afternoon.kinds[s]][:8]
    for student in chosen:
        course = CourseDirectory(config=config, assignment_id=CHAPTER, student_id=student)
        converter = Autograde(coursedir=course, config=config, force=True)
        with heard(converter.log) as said:
            converter.start()
        assert "ERROR" not in said.getvalue()
    assert afternoon.grades() == afternoon.first[0]


@pytest.mark.full
def test_feedback_overview_and_exports(afternoon):
    afternoon.run("feedback", "04")
    for student in afternoon.first[1]:
        page = afternoon.root / "feedback" / student / CHAPTER / f"{CHAPTER}.html"
        text = page.read_text("utf-8")
        assert student in text
        assert "<script" not in text
    said = afternoon.run("overview", "04")
    assert f"{len(afternoon.first[1])} submissions" in said
    assert (afternoon.root / "build" / "overview" / f"{CHAPTER}.html").is_file()
    afternoon.run("export", "csv", "--to", afternoon.root / "grades.csv")
    with (afternoon.root / "grades.csv").open(newline="", encoding="utf-8") as file:
        rows = {r["student_id"]: float(r["score"]) for r in csv.DictReader(file)}
    right = [s for s, f in afternoon.first[1].items() if afternoon.kinds[s].startswith("right")]
    assert all(rows[s] == ALL for s in right)


@pytest.mark.full
@pytest.mark.parametrize("moment", range(int(os.environ.get("KILLS", "2"))))
def test_a_grader_that_is_killed_goes_on_where_it_was(afternoon, moment):
    """At a random moment, before, between and after its first submissions; what is in the gradebook
    in the end is as if nothing had happened. KILLS=20 in the environment tries 20 moments."""
    chosen = [s for s in afternoon.first[1] if afternoon.kinds[s].startswith("right")][:6]
    for student in chosen:
        (afternoon.root / "autograded" / student / CHAPTER / record.NAME).unlink()
    afternoon.forget(chosen)
    process = afternoon.start("grade", "04", "--workers", 2)
    chance = random.Random(moment)
    until = time.monotonic() + 60
    done = chance.randrange(len(chosen)) if moment else 0
    while sum(map(afternoon.is_recorded, chosen)) < done and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 0.5) if done else chance.uniform(0, 8))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    afternoon.run("grade", "04", "--workers", 2)
    assert (afternoon.grades(), afternoon.records()) == afternoon.first
    left = [p for p in (afternoon.root / "autograded").glob("*/.grading-*")]
    assert not left


@pytest.mark.full
def test_a_dask_cluster_gives_the_same(afternoon):
    pytest.importorskip("distributed", reason="needs the extra `scale`")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": afternoon.root}
    env = {**os.environ, "PYTHONPATH": str(afternoon.root), "OMP_NUM_THREADS": "1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    part = [sys.executable, "-m"]
    scheduler = [*part, "distributed.cli.dask_scheduler", "--no-dashboard", "--host", address]
    worker = [*part, "distributed.cli.dask_worker", address, "--no-dashboard", "--nthreads", "1"]
    student = next(s for s, k in afternoon.kinds.items() if k.startswith("half-right"))
    with (
        subprocess.Popen(scheduler, env=env, **quiet) as one,
        subprocess.Popen(worker, env=env, **quiet) as other,
    ):
        try:
            words = ("grade", "04", "--dask", address, "--again", "--student", student)
            assert "1 graded" in afternoon.run(*words)
        finally:
            other.terminate()
            one.terminate()
    assert (afternoon.grades(), afternoon.records()) == afternoon.first


@pytest.mark.full
def test_what_is_unsafe_is_marked(afternoon):
    student = next(s for s, k in afternoon.kinds.items() if k.startswith("right"))
    said = afternoon.run("grade", "04", "--student", student, "--unsafe")
    assert "UNSAFE" in said
    path = afternoon.root / "autograded" / student / CHAPTER / record.NAME
    assert json.loads(path.read_text("utf-8"))["unsafe"] is True
    afternoon.run("grade", "04", "--student", student)
    assert json.loads(path.read_text("utf-8"))["unsafe"] is False


@pytest.mark.full
def test_errors_are_one_line(afternoon):
    assert afternoon.run("grade", "99", code=2).startswith("no chapter is called 99; there are")
    said = afternoon.run("grade", "04", "--student", "nobody", code=2)
    assert said.strip().endswith("nobody has not handed in " + CHAPTER) or "nobody" in said
