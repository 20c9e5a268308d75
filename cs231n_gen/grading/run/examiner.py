"""Grades submission after submission: hidden tests collected once, children started as needed.

A child answers the exercises of one submission in the order of the course, as long as all pass;
after anything else the next exercise gets a fresh one.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from cs231n_gen.checking import diagnosis
from cs231n_gen.checking.runner import Result, Suite, with_tests
from cs231n_gen.common.paths import HIDDEN, PUBLIC
from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.jail.sandbox import Child, ChildExit, JailBroken, Sandbox
from cs231n_gen.grading.run.remote_student import CannotLoad, ChildFailed, RemoteStudent
from cs231n_gen.grading.run.task import (
    NotSubmitted,
    SubmittedCode,
    exercise_task,
    in_order,
)

PUBLIC_SEED = 0  # the seed of public checks, with which mistakes are known
HASTE = 0.25  # of the time limit: what an exercise gets in a child that has served before


class GraderBroken(RuntimeError):
    """The grader itself failed; nobody gets a grade from it."""


@dataclass(frozen=True)
class ExerciseResult:
    """The result of one exercise: of each property, and the mistake that was recognised, or ""."""

    results: tuple[Result, ...]
    mistake: str = ""

    @property
    def passed(self) -> bool:
        """Whether every property holds."""
        return all(r.passed for r in self.results)


class Examiner:
    """Grades with the tests of a suite.

    Args:
        suite: hidden and public tests, collected.
        limits: of each child.
        open_sandbox: makes the place where children live.
    """

    def __init__(self, suite: Suite, limits: Limits, open_sandbox: Callable[[], Sandbox] = Sandbox):
        self._suite, self._limits, self._open_sandbox = suite, limits, open_sandbox
        self._sandbox = open_sandbox()

    def close(self) -> None:
        """Close the jail."""
        self._sandbox.close()

    def examine(
        self, code: SubmittedCode, exercises: Iterable[str], seed: int
    ) -> Iterator[tuple[str, ExerciseResult]]:
        """Grade exercises of a submission, one after the other.

        Args:
            code: what is run of it.
            exercises: their ids.
            seed: of all random inputs; the same seed gives the same scores.
        Raises:
            GraderBroken: if a hidden test does not even run, or the jail fails twice.
        """
        child = _ReusedChild(self._limits)
        try:
            for exercise in exercises:
                yield exercise, self._repeated(child, code, exercise, seed)
        finally:
            try:
                child.leave()
            except JailBroken:
                self._open_another()

    def _repeated(self, child: "_ReusedChild", *given) -> ExerciseResult:
        """Grade; if the jail breaks, once more in a new one."""
        try:
            return self._one(child, *given)
        except JailBroken:
            child.forget()
            self._open_another()
        try:
            return self._one(child, *given)
        except JailBroken as error:
            raise GraderBroken(f"{given[1]}: {error}") from None

    def _open_another(self) -> None:
        self._sandbox.close()
        self._sandbox = self._open_sandbox()

    def _one(
        self, child: "_ReusedChild", code: SubmittedCode, exercise: str, seed: int
    ) -> ExerciseResult:
        """Grade an exercise, in the child that the exercises before it have left behind or, unless
        it is right there, in a fresh one."""
        place = [e.id for e in in_order()].index(exercise)
        try:
            task = exercise_task(code, in_order()[place])
        except NotSubmitted as error:
            return single_result(exercise, str(error), "missing")
        if child.can_go_on(place):
            found = self._asked(child, lambda: child.go_on(task, place), exercise, seed)
            if found.passed:
                return found
            child.leave()
        found = self._asked(child, lambda: child.begin(self._sandbox, task, place), exercise, seed)
        if not found.passed:
            found = replace(found, mistake=self._mistake(child.student, exercise, found))
            child.leave()
        return found

    def _asked(
        self, child: "_ReusedChild", open_: Callable[[], RemoteStudent], exercise: str, seed: int
    ) -> ExerciseResult:
        try:
            student = open_()
        except CannotLoad as error:
            return single_result(exercise, str(error))
        except ChildFailed as failed:
            how = self._how(str(failed), child.leave())
            return single_result(exercise, f"your code {how} when it was imported")
        results = self._suite.run(student, seed, [exercise], HIDDEN)
        if not results:
            raise GraderBroken(f"{exercise} has no hidden tests in {HIDDEN}")
        if student.failure:
            how = self._how(student.failure, child.leave())
            return single_result(exercise, f"your code {how} in the test «{results[-1].name}»")
        return ExerciseResult(tuple(results))

    def _how(self, failure: str, end: ChildExit) -> str:
        """What completes "your code …"."""
        if end.out_of_memory:
            return "used more memory than allowed"
        if failure != "ended":
            return failure
        if end.cpu >= self._limits.cpu - 0.5:
            return f"used the processor for more than {self._limits.cpu} seconds"
        return str(end)

    def _mistake(self, student: RemoteStudent | None, exercise: str, found: ExerciseResult) -> str:
        """The sentence of the mistake that the public tests recognise, if hidden ones failed."""
        if student is None or all(r.passed or r.status == "missing" for r in found.results):
            return ""
        seen = self._suite.run(student, PUBLIC_SEED, [exercise], PUBLIC)
        return diagnosis.diagnose(seen) or "" if seen and not student.failure else ""


class _ReusedChild:
    """The child in which the exercises of one submission are answered, one after the other.

    It serves on as long as every answer is right: then nothing that an exercise left behind has
    cost the next one anything. What goes wrong in a child that has served before is asked again in
    a fresh one. Only in the order of the course, so that the reference of an exercise comes into a
    child when that exercise is graded already.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._child: Child | None = None
        self.student: RemoteStudent | None = None
        self._place = -1

    def can_go_on(self, place: int) -> bool:
        """Whether there is a child that has served exercises before this place of the course."""
        return self.student is not None and self._place < place

    def begin(self, jail: Sandbox, task: dict, place: int) -> RemoteStudent:
        """A student in a fresh child."""
        self._child = jail.child(self._limits)
        self.student, self._place = None, place
        self.student = RemoteStudent(self._child, task, self._limits)
        return self.student

    def go_on(self, task: dict, place: int) -> RemoteStudent:
        """The student in the child that is there."""
        self._place = place
        self.student.load(task, HASTE * self._limits.wall)
        return self.student

    def leave(self) -> ChildExit | None:
        """End the child, if there is one."""
        child, self._child, self.student = self._child, None, None
        return child.end() if child else None

    def forget(self) -> None:
        """The jail is gone, and the child with it."""
        self._child = self.student = None


def with_examiner(
    limits: Limits, use: Callable[[Examiner], None], open_sandbox: Callable[[], Sandbox] = Sandbox
) -> None:
    """Collect the tests and open the jail once, and lend `use` an examiner.

    Raises:
        sandbox.NoJail: if no jail can be built here.
        GraderBroken: if the tests cannot be collected.
    """

    def lend(suite: Suite) -> None:
        examiner = Examiner(suite, limits, open_sandbox)
        try:
            use(examiner)
        finally:
            examiner.close()

    with_tests([HIDDEN, PUBLIC], lend)


def single_result(exercise: str, says: str, status: str = "error") -> ExerciseResult:
    """A result that stands for all properties of an exercise."""
    return ExerciseResult((Result(exercise, "", "the exercise can be run", 1.0, status, says),))
