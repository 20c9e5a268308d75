"""`cs231n-gen grade`: from the command's options to a graded class, and the table at the end."""

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from cs231n_gen.checking.report import MARK
from cs231n_gen.common import tables
from cs231n_gen.common.chapters import find_chapter
from cs231n_gen.grading.config import load_config
from cs231n_gen.grading.run.assignment import Assignment, GradeError
from cs231n_gen.grading.run.grade_class import Outcome, grade
from cs231n_gen.grading.run.nbgrader_preprocessor import GradeSubmission
from cs231n_gen.grading.run.pools import DaskPool, LocalPool
from cs231n_gen.grading.run.worker_client import Worker
from cs231n_gen.grading.source.tree import chapters

MOST_NAMED = 40  # submissions in the table at the end, those first that need a look


def chapter_name(root: Path, wanted: str) -> str:
    """The name of a chapter, `04_rectified_flow` of `04`. Raises UnknownChapter."""
    return find_chapter(wanted, [c.name for c in chapters(root)])


def open_assignment(root: Path, chapter: str, seed: int | None, unsafe: bool) -> Assignment:
    """The chapter with the settings of nbgrader_config.py, so that both ways of grading agree."""
    settings = GradeSubmission(config=load_config(root))
    name = chapter_name(root, chapter)
    seed = settings.seed if seed is None else seed
    return Assignment(root, name, seed, settings.limits, unsafe or settings.unsafe)


def choose(assignment: Assignment, wanted: Sequence[str] | None) -> list[str]:
    """Whose submissions. Raises GradeError if somebody handed in nothing, or nobody anything."""
    there = assignment.students()
    if not there:
        raise GradeError(
            f"no submission of {assignment.chapter} in submitted/: run `cs231n-gen collect` first"
        )
    for student in wanted or ():
        if student not in there:
            raise GradeError(f"{student} has not handed in {assignment.chapter}")
    return list(wanted or there)


def grade_with_progress(
    assignment: Assignment, students: Sequence[str], workers: int, dask: str | None, again: bool
) -> bool:
    """Grade with a progress bar; print the table. Returns whether every submission was graded."""
    summary = Summary(assignment)
    with (
        _pool(assignment, min(workers, len(students)), dask) as pool,
        tqdm(total=len(students), unit=" submissions", smoothing=0.1) as bar,
    ):

        def tell(outcome: Outcome) -> None:
            summary.add(outcome)
            bar.update()

        stopped = False
        try:
            grade(assignment, pool, students, again=again, tell=tell)
        except KeyboardInterrupt:
            stopped = True
    summary.show()
    if stopped:
        print("stopped: finished submissions are kept, and the same command continues")
    return not stopped and not summary.failed


def _pool(
    assignment: Assignment, workers: int, dask: str | None
) -> contextlib.AbstractContextManager:
    if not dask:
        return LocalPool(assignment, workers)
    try:
        return DaskPool(assignment, dask)
    except ImportError:
        raise GradeError("Dask is not installed: make setup EXTRAS=scale") from None
    except OSError as error:
        raise GradeError(f"no Dask scheduler answers at {dask}: {error}") from None


def look(assignment: Assignment, students: Sequence[str], exercises: Sequence[str]) -> None:
    """Grade some exercises and print every property; nothing is written."""
    for exercise in exercises:
        if exercise not in assignment.exercises:
            there = ", ".join(assignment.exercises)
            raise GradeError(f"{exercise} is not in {assignment.chapter}; there are {there}")
    with Worker(assignment.limits, unsafe=assignment.unsafe) as worker:
        for student in students:
            found = assignment.job(assignment.submission(student), exercises).run(worker.grade)
            for exercise, result in found.items():
                print(f"{student}  {exercise}  seed {assignment.seed}")
                for r in result.results:
                    print(f"  {MARK[r.status]} {r.name}  (weight {r.weight:g})")
                    for line in filter(None, [r.says, r.got, r.expected]):
                        print(f"      {line}")
                if result.mistake:
                    print(f"  What it looks like: {result.mistake}")


@dataclass
class Summary:
    """What is said at the end; it keeps counts, and names of those that need a look."""

    assignment: Assignment
    states: Counter = field(default_factory=Counter)
    notable: list[tuple[str, str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    total: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count one submission."""
        self.states[outcome.state] += 1
        if outcome.grading is None:
            self.failed.append((outcome.student, outcome.reason))
            return
        grading = outcome.grading
        self.total += grading.score
        reasons: dict[str, list[str]] = {}
        for e in grading.exercises:
            if e.failure:
                reasons.setdefault(e.failure, []).append(e.exercise)
        every = len(grading.exercises)
        failures = [
            f"{'all exercises' if len(ids) == every else ', '.join(ids)}: {reason}"
            for reason, ids in reasons.items()
        ]
        timed = any("seconds" in e.failure for e in grading.exercises)
        self.states["timed out"] += timed
        self.states["repaired"] += bool(grading.repairs)
        if failures or grading.repairs:
            points = f"{grading.score:g} of {grading.points:g}"
            self.notable.append((outcome.student, points, "\n".join([*failures, *grading.repairs])))

    def show(self) -> None:
        """Print the table and the counts."""
        tables.show(("student", "points", "needs a look"), self.notable[:MOST_NAMED])
        if len(self.notable) > MOST_NAMED:
            print(f"and {len(self.notable) - MOST_NAMED} more; `cs231n-gen overview` has them all")
        for student, reason in self.failed:
            print(f"not graded: {student}: {reason}")
        counts = [f"{self.states[s]} {s}" for s in ("graded", "unchanged", "failed")]
        extra = [f"{self.states[s]} {s}" for s in ("repaired", "timed out") if self.states[s]]
        print(f"{self.assignment.chapter}: {', '.join(counts)}; {', '.join(extra) or 'no trouble'}")
        done = self.states["graded"] + self.states["unchanged"]
        if done:
            print(f"mean {self.total / done:.2f} points for exercises, seed {self.assignment.seed}")
        if self.assignment.unsafe:
            print("UNSAFE: student code ran outside the jail, and these grades are marked so")
