"""Grades submission after submission: hidden tests collected once, a child for every exercise."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cs231n_gen.checking import diagnosis
from cs231n_gen.checking.run import Result, Suite, with_tests
from cs231n_gen.grading.jail.box import Box, End, JailBroken
from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.remote import CannotLoad, Lost, RemoteStudent
from cs231n_gen.grading.source import ROOT, Exercise
from cs231n_gen.grading.submission import (
    NotSubmitted,
    Submission,
    in_order,
    job,
)

HIDDEN, PUBLIC = ROOT / "tests" / "hidden", ROOT / "tests" / "public"
PUBLIC_SEED = 0  # the seed of public checks, with which mistakes are known


class GraderBroken(RuntimeError):
    """The grader itself failed; nobody gets a grade from it."""


@dataclass(frozen=True)
class Examined:
    """What came of one exercise: the properties, and the mistake that was recognised, or ""."""

    results: tuple[Result, ...]
    mistake: str = ""


class Examiner:
    """Grades with the tests of a suite.

    Args:
        suite: hidden and public tests, collected.
        limits: of each child.
        open_box: makes the place where children live.
    """

    def __init__(self, suite: Suite, limits: Limits, open_box: Callable[[], Box] = Box):
        self._suite, self._limits, self._open_box = suite, limits, open_box
        self._box = open_box()

    def close(self) -> None:
        """Close the jail."""
        self._box.close()

    def examine(
        self, submission: Submission, exercises: Iterable[str], seed: int
    ) -> Iterator[tuple[str, Examined]]:
        """Grade exercises of a submission, one after the other.

        Args:
            submission: its files.
            exercises: their ids.
            seed: of all random inputs; the same seed gives the same scores.
        Raises:
            GraderBroken: if a hidden test does not even run, or the jail fails twice.
        """
        known = {e.id: e for e in in_order()}
        for exercise in exercises:
            try:
                yield exercise, self._one(submission, known[exercise], seed)
            except JailBroken:
                self._box.close()
                self._box = self._open_box()
                try:
                    yield exercise, self._one(submission, known[exercise], seed)
                except JailBroken as error:
                    raise GraderBroken(f"{exercise}: {error}") from None

    def _one(self, submission: Submission, exercise: Exercise, seed: int) -> Examined:
        try:
            work = job(submission, exercise)
        except NotSubmitted as error:
            return whole(exercise.id, str(error), "missing")
        with self._student(work) as student:
            if isinstance(student, str):
                return whole(exercise.id, student)
            results = self._suite.run(student, seed, [exercise.id], HIDDEN)
            if not results:
                raise GraderBroken(f"{exercise.id} has no hidden tests in {HIDDEN}")
            if student.lost:
                how = self._how(student.lost, student.end())
                return whole(exercise.id, f"your code {how} in the test «{results[-1].name}»")
            mistake = self._mistake(student, exercise.id, results)
        return Examined(tuple(results), mistake)

    @contextlib.contextmanager
    def _student(self, work: dict) -> Iterator[RemoteStudent | str]:
        """A student in a fresh child, or why there is none."""
        child = self._box.child(self._limits)
        ended = False
        try:
            try:
                student: RemoteStudent | str = RemoteStudent(child, work, self._limits)
            except CannotLoad as error:
                student = str(error)
            except Lost as loss:
                end, ended = child.end(), True
                student = f"your code {self._how(str(loss), end)} when it was imported"
            yield student
        finally:
            if not ended:
                child.end()

    def _how(self, lost: str, end: End) -> str:
        """What completes "your code …"."""
        if end.out_of_memory:
            return "used more memory than it may"
        if lost != "ended":
            return lost
        if end.cpu >= self._limits.cpu - 0.5:
            return f"used the processor for more than {self._limits.cpu} seconds"
        return str(end)

    def _mistake(self, student: RemoteStudent, exercise: str, results: list[Result]) -> str:
        """The sentence of the mistake that the public tests recognise, if hidden ones failed."""
        if all(r.passed or r.status == "missing" for r in results):
            return ""
        seen = self._suite.run(student, PUBLIC_SEED, [exercise], PUBLIC)
        return diagnosis.diagnose(seen) or "" if seen and not student.lost else ""


def examining(
    limits: Limits, use: Callable[[Examiner], None], open_box: Callable[[], Box] = Box
) -> None:
    """Collect the tests and open the jail once, and lend `use` an examiner.

    Raises:
        box.NoJail: if no jail can be built here.
        GraderBroken: if the tests cannot be collected.
    """

    def lend(suite: Suite) -> None:
        examiner = Examiner(suite, limits, open_box)
        try:
            use(examiner)
        finally:
            examiner.close()

    with_tests([HIDDEN, PUBLIC], lend)


def whole(exercise: str, says: str, status: str = "error") -> Examined:
    """A result that stands for all properties of an exercise."""
    return Examined((Result(exercise, "", "the exercise can be run", 1.0, status, says),))
