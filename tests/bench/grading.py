"""What grading a class costs beside the tests themselves: `python tests/bench/grading.py`.

A made-up class hands in right answers of chapter 04, no two alike, to a copy of the course. Then,
each after a warm-up and each from an empty gradebook:

1. own compute: the hidden tests, exercise by exercise, in this process on one thread, in no jail.
   A submission's module is loaded once and used for all its exercises;
2. `grade` with one worker: jail, children, notebook, record, gradebook;
3. the same with two workers;
4. on the first few of the class, stock `nbgrader autograde` beside `grade` with one worker.

Stock is nbgrader with its own default steps: a kernel for each submission runs the notebook, with
the student's flow.py in the package on PYTHONPATH. It has no jail. Nor has it hidden tests, which
in its cells would be in the student's hands: its graded cells run the public checks, which ask for
less. Code cells without points are taken out, but for the first, which imports: they draw and train
nets, and `grade` never runs them. Stock is called in this process, and so spared the start of its
command.

Memory is what is resident, while 2 runs: of this process, which holds what 1 needed too, of the
worker, and of the worker with all that it started (shared pages count in each).
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import nbformat
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SAWarning
from tqdm import tqdm

from cs231n_gen.checking.fresh_modules import FreshModules, load_module
from cs231n_gen.checking.runner import Suite, with_tests
from cs231n_gen.checking.student import Student
from cs231n_gen.common import tables
from cs231n_gen.common.files import files_in
from cs231n_gen.common.paths import HIDDEN, PUBLIC, ROOT
from cs231n_gen.grading.config import load_config
from cs231n_gen.grading.jail.sandbox import NoJail
from cs231n_gen.grading.release.build import READ, SHIPPED
from cs231n_gen.grading.release.nbgrader_assign import assign, heard
from cs231n_gen.grading.run import grade_class as grading
from cs231n_gen.grading.run.assignment import Assignment
from cs231n_gen.grading.run.pools import LocalPool
from cs231n_gen.grading.run.session import open_assignment

classroom = load_module(ROOT / "tests" / "classroom.py", "classroom")
CHAPTER, MODULE = classroom.CHAPTER, classroom.MODULE
LINE = "    v = z - x\n"  # of the reference, before which each submission says something of its own
WARM = [f"warm{n}" for n in range(1, 5)]
MIB = 1 << 20


def copy_course(root: Path, settings: str = "") -> Path:
    """Copy the course's source into a folder, with more settings; returns the released notebook."""
    for name in [*SHIPPED, *READ]:
        for file in files_in(ROOT / name) if (ROOT / name).is_dir() else [ROOT / name]:
            target = root / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    with (root / "nbgrader_config.py").open("a", encoding="utf-8") as config:
        config.write(settings)
    return assign([CHAPTER], root) / CHAPTER / f"{CHAPTER}.ipynb"


class Bench:
    """A copy of the course in a folder, and its class.

    Args:
        root: the folder.
        count: how many students.
    """

    def __init__(self, root: Path, count: int):
        self.root = root
        self.released = copy_course(root)
        shutil.copy(root / "gradebook.db", root / "empty.db")
        self.students = [f"student{n:04}" for n in range(1, count + 1)]
        module = classroom.flow_with(*classroom.NAMES)
        if module.count(LINE) != 1:
            raise ValueError(f"{MODULE} has not the one line {LINE.strip()!r}")
        for n, student in enumerate([*WARM, *self.students]):
            self._hand_in(student, n, module.replace(LINE, f"    mine = {n}\n{LINE}    del mine\n"))
        self.assignment: Assignment = open_assignment(root, CHAPTER, None, False)

    def folder(self, student: str) -> Path:
        """Where a submission is."""
        return self.root / "submitted" / student / CHAPTER

    def _hand_in(self, student: str, n: int, module: str) -> None:
        notebook = nbformat.read(self.released, as_version=4)
        for cell in notebook.cells:
            if cell.source == "YOUR ANSWER HERE":
                cell.source = f"Because {n} pairs meet there."
        path = self.folder(student) / MODULE
        path.parent.mkdir(parents=True)
        path.write_text(module, encoding="utf-8")
        nbformat.write(notebook, self.folder(student) / f"{CHAPTER}.ipynb")

    def forget(self) -> None:
        """Back to before anything was graded."""
        shutil.rmtree(self.root / "autograded", ignore_errors=True)
        shutil.copy(self.root / "empty.db", self.root / "gradebook.db")

    def own_compute(self) -> float:
        """Seconds a submission for the tests alone."""
        seconds: list[float] = []

        def use(suite: Suite) -> None:
            for student in progress([*WARM, *self.students], "tests, no jail"):
                begun = time.perf_counter()
                modules = FreshModules()
                modules["flow"] = load_module(self.folder(student) / MODULE, "cs231n_gen.flow")
                for exercise in self.assignment.exercises:
                    own = Student(modules)
                    results = suite.run(own, self.assignment.seed, [exercise], HIDDEN)
                    if not results or not all(r.passed for r in results):
                        raise ValueError(f"{student} has not got {exercise} right")
                seconds.append(time.perf_counter() - begun)

        with_tests([HIDDEN, PUBLIC], use)
        return statistics.mean(seconds[len(WARM) :])

    def graded(self, workers: int, students: list[str]) -> dict:
        """Grade these with our grader.

        Returns:
            Seconds a submission: `wall`, `writer` (this process), `worker` (each in its process);
            `memory` at 10, 50 and 100 % of them.
        """
        self.forget()
        writing: list[float] = []
        worked: list[float] = []
        memory: dict[str, dict[str, float]] = {}
        marks = {max(1, round(len(students) * p / 100)): f"{p} %" for p in (10, 50, 100)}
        finish = grading.finish

        def timed(*given):
            begun = time.perf_counter()
            done = finish(*given)
            writing.append(time.perf_counter() - begun)
            return done

        def tell(outcome: grading.Outcome) -> None:
            self._expect_full(outcome)
            bar.update()
            worked.append(outcome.grading.seconds)
            if mark := marks.get(len(worked)):
                memory[mark] = resident(pool)

        with (
            LocalPool(self.assignment, workers) as pool,
            mock.patch.object(grading, "finish", timed),
            bar_of(len(students), f"grade, {workers} worker{'s' * (workers > 1)}") as bar,
        ):
            grading.grade(self.assignment, pool, WARM, tell=self._expect_full)
            writing.clear()
            begun = time.perf_counter()
            grading.grade(self.assignment, pool, students, tell=tell)
            wall = time.perf_counter() - begun
        per = {"wall": wall, "writer": sum(writing), "worker": sum(worked)}
        return {**{k: v / len(students) for k, v in per.items()}, "memory": memory}

    @staticmethod
    def _expect_full(outcome: grading.Outcome) -> None:
        found = outcome.grading
        if outcome.state != "graded" or found.score != found.points:
            got = f"{found.score} of {found.points}" if found else outcome.reason
            raise ValueError(f"{outcome.student} is right, but: {outcome.state}, {got}")

    def only_checks(self, students: list[str]) -> None:
        """Take what earns no points out of their notebooks, the first code cell aside."""
        for student in students:
            path = self.folder(student) / f"{CHAPTER}.ipynb"
            notebook = nbformat.read(path, as_version=4)
            first = next(c for c in notebook.cells if c.cell_type == "code")
            notebook.cells = [
                c
                for c in notebook.cells
                if c.cell_type != "code" or c is first or "nbgrader" in c.metadata
            ]
            nbformat.write(notebook, path)

    def stock(self, students: list[str]) -> float:
        """Seconds a submission of nbgrader as it comes."""
        self.forget()
        warm = WARM[:1]
        seconds = []
        env = {"PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1"}
        with mock.patch.dict(os.environ, env), warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)
            for student in progress([*warm, *students], "stock nbgrader"):
                begun = time.perf_counter()
                shutil.copy(self.folder(student) / MODULE, self.root / MODULE)
                config = load_config(self.root)
                for steps in ("sanitize_preprocessors", "autograde_preprocessors"):
                    del config.Autograde[steps]
                own = CourseDirectory(config=config, assignment_id=CHAPTER, student_id=student)
                converter = Autograde(coursedir=own, config=config, force=True)
                with heard(converter.log):
                    converter.start()
                seconds.append(time.perf_counter() - begun)
        self._expect_full_of_stock(students)
        return statistics.mean(seconds[len(warm) :])

    def _expect_full_of_stock(self, students: list[str]) -> None:
        query = """
            select count(*) from grade g
            join submitted_notebook n on n.id = g.notebook_id
            join submitted_assignment a on a.id = n.assignment_id
            where g.auto_score > 0 and a.student_id = ?"""
        with contextlib.closing(sqlite3.connect(self.root / "gradebook.db")) as book:
            for student in students:
                (full,) = book.execute(query, (student,)).fetchone()
                if full != len(self.assignment.exercises):
                    there = len(self.assignment.exercises)
                    raise ValueError(f"stock: {student} got points for {full} of {there} exercises")


def bar_of(total: int, what: str) -> tqdm:
    """A progress bar of submissions."""
    return tqdm(total=total, desc=f"{what:16}", unit=" submissions", leave=False)


def progress(students: list[str], what: str) -> Iterator[str]:
    """Students one by one, with a progress bar."""
    with bar_of(len(students), what) as bar:
        for student in students:
            yield student
            bar.update()


def resident(pool: LocalPool) -> dict[str, float]:
    """MiB of this process, of the first worker, and of that worker with all that it started."""
    worker = pool._workers[0]._process.pid
    every = _family(worker)
    sizes = {"this": _size(os.getpid()), "worker": _size(worker), "family": sum(map(_size, every))}
    return {name: size / MIB for name, size in sizes.items()}


def _family(pid: int) -> list[int]:
    """A process and its descendants; those that end meanwhile are left out."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text().split()
            found += [p for child in children for p in _family(int(child))]
    return found


def _size(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def measure(count: int, few: int, root: Path) -> dict:
    """Everything, as plain values; seconds are those of one submission."""
    load = os.getloadavg()[0]
    bench = Bench(root, count)
    found = {"submissions": count, "stock submissions": few, "cores": os.cpu_count()}
    found["own compute"] = bench.own_compute()
    found["one worker"] = bench.graded(1, bench.students)
    found["two workers"] = bench.graded(2, bench.students)
    if few:
        same = bench.students[:few]
        bench.only_checks([*WARM, *same])
        found["same, ours"] = bench.graded(1, same)["wall"]
        found["same, stock"] = bench.stock(same)
    return {**found, "load": [load, os.getloadavg()[0]]}


def show(found: dict) -> None:
    """Print the table."""
    one, two, own = found["one worker"], found["two workers"], found["own compute"]
    rows = [("own compute: tests, no jail", f"{own:.3f}", "")]
    for name, of in (("one worker", one), ("two workers", two)):
        extra = f"overhead {of['wall'] - own:+.3f}" if of is one else ""
        extra = extra or f"throughput × {one['wall'] / of['wall']:.2f}"
        rows.append((f"grade, {name}", f"{of['wall']:.3f}", extra))
        share = of["writer"] / of["wall"]
        rows.append(("  busy in the writer", f"{of['writer']:.3f}", f"{share:.0%} of the wall"))
        rows.append(("  busy in a worker", f"{of['worker']:.3f}", ""))
    if found["stock submissions"]:
        ours, stock = found["same, ours"], found["same, stock"]
        rows.append((f"grade, {found['stock submissions']} of them", f"{ours:.3f}", ""))
        rows.append(("stock nbgrader, the same", f"{stock:.3f}", f"{stock / ours:.1f} × ours"))
    tables.show(("", "s a submission", ""), rows)
    columns = ("of the class", "this process", "worker", "with its children (MiB)")
    memory = found["one worker"]["memory"].items()
    tables.show(columns, [(at, *(f"{size:.0f}" for size in of.values())) for at, of in memory])
    before, after = found["load"]
    print(f"{found['submissions']} submissions of {CHAPTER}, {found['cores']} cores, ", end="")
    print(f"load average {before:.2f} before and {after:.2f} after")


def main() -> None:
    """Measure in a temporary folder, which goes away also when it is stopped."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words.add_argument("--submissions", type=int, default=200)
    words.add_argument("--stock", type=int, default=20, help="how many with stock nbgrader, or 0")
    words.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = words.parse_args()
    if given.submissions < 1 or not 0 <= given.stock <= given.submissions:
        words.error("there must be a submission, and no more with stock nbgrader than there are")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="grading-bench-") as folder:
            found = measure(given.submissions, given.stock, Path(folder).resolve())
    except KeyboardInterrupt:
        sys.exit("stopped; nothing is left behind")
    except NoJail as error:
        sys.exit(f"no jail can be built here: {error}")
    print(json.dumps(found, indent=2)) if given.json else show(found)


if __name__ == "__main__":
    main()
