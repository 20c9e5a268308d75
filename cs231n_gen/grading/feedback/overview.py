"""What a class got right and wrong, from the records of its gradings; the worst comes first.

Records are read one after the other and only counted: what is kept are numbers, ids and sentences
of the course itself, however many submissions there are.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from cs231n_gen.common.files import write_whole
from cs231n_gen.grading.feedback.messages import LONGEST, visible
from cs231n_gen.grading.feedback.pages import LONGEST_NAME, number, render, titled
from cs231n_gen.grading.record import ExerciseGrade, Grading

BINS = 11  # tenths of the points, and all of them
MOST_REASONS = 40  # kinds of loss in one exercise; what is rarer is put together
OTHER = "another reason"
IN_A_FILE = re.compile(r"([\w./-]{1,80}\.py)(?:, line \d+)?: (\w{1,60})")


@dataclass(frozen=True)
class PropertyCount:
    """A property, and of how many attempts it held."""

    name: str
    passed: int
    tried: int

    @property
    def rate(self) -> float:
        """The share of the attempts."""
        return self.passed / self.tried if self.tried else 0.0


@dataclass(frozen=True)
class Group:
    """Students who have something in common: a mistake, or a reason."""

    says: str
    students: tuple[str, ...]


@dataclass(frozen=True)
class ExerciseSummary:
    """One exercise over all submissions.

    Args:
        points: the most it gives.
        submissions: how many were graded.
        full: in how many every property holds.
        mean: the mean share of its points, over all submissions.
        histogram: submissions by share of the points: from 0 up to one tenth, …, from nine tenths
            up to all, all.
        properties: the one that held least often first. They count attempts: submissions in which
            it is written and could be tried.
        mistakes: recognised ones, the most frequent first.
        unexplained: attempts that are not full, where no mistake was recognised.
        blank: where it is not written.
        failures: where nothing could be tried, by reason.
    """

    exercise: str
    points: float
    submissions: int
    full: int
    mean: float
    histogram: tuple[int, ...]
    properties: tuple[PropertyCount, ...]
    mistakes: tuple[Group, ...]
    unexplained: tuple[str, ...]
    blank: tuple[str, ...]
    failures: tuple[Group, ...]

    @property
    def attempts(self) -> int:
        """In how many submissions it is written and could be tried."""
        return self.submissions - len(self.blank) - sum(len(g.students) for g in self.failures)


@dataclass(frozen=True)
class Overview:
    """A class.

    Args:
        chapters: what was handed in.
        submissions: how many were graded.
        mean, points: of all exercises, the mean a submission got and the most there is.
        histogram: submissions by share of all points, as in `ExerciseSummary`.
        exercises: the one with the lowest mean share first.
        repaired: submissions whose notebook was repaired, by what was repaired.
        unsafe: whose code ran outside the jail.
    """

    chapters: tuple[str, ...]
    submissions: int
    mean: float
    points: float
    histogram: tuple[int, ...]
    exercises: tuple[ExerciseSummary, ...]
    repaired: tuple[Group, ...]
    unsafe: tuple[str, ...]

    @property
    def title(self) -> str:
        """The chapters in words."""
        return ", ".join(titled(c) for c in self.chapters) or "Nothing graded yet"

    @property
    def mistakes(self) -> list[tuple[str, Group]]:
        """Recognised mistakes with their exercises, the most frequent first."""
        every = [(e.exercise, group) for e in self.exercises for group in e.mistakes]
        return sorted(every, key=lambda pair: -len(pair[1].students))

    def __str__(self) -> str:
        """A table for the terminal."""
        lines = [
            f"{self.title}: {self.submissions} submissions, "
            f"mean {number(self.mean)} of {number(self.points)} points"
        ]
        if self.exercises:
            wide = max(len(e.exercise) for e in self.exercises)
            lines.append(f"{'exercise':<{wide}}  mean  full  part  blank  not run  most often")
        for e in self.exercises:
            failures = sum(len(g.students) for g in e.failures)
            part = e.attempts - e.full
            often = f"{len(e.mistakes[0].students)} × {e.mistakes[0].says}" if e.mistakes else ""
            often = often if len(often) <= 60 else f"{often[:58]} …"
            line = f"{e.exercise:<{wide}}  {100 * e.mean:>3.0f}%  {e.full:>4}  {part:>4}  "
            lines.append(f"{line}{len(e.blank):>5}  {failures:>7}  {often}".rstrip())
        if self.repaired:
            mended = {s for group in self.repaired for s in group.students}
            lines.append(f"repaired notebooks: {len(mended)}")
        if self.unsafe:
            lines.append(f"graded outside the jail: {len(self.unsafe)}")
        return "\n".join(lines)


def overview(gradings: Iterable[Grading]) -> Overview:
    """Count a class; the records are gone through once."""
    chapters: dict[str, None] = {}
    counts: dict[str, _Count] = {}
    totals, histogram, repaired = [], Counter(), _Groups()
    points, unsafe = Fraction(0), []
    for grading in gradings:
        student = visible(grading.student, LONGEST_NAME)
        chapters.setdefault(grading.chapter)
        for graded in grading.exercises:
            count = counts.setdefault(graded.exercise, _Count(graded.points))
            count.add(student, graded)
        got, most = _exact(grading)
        points += got
        totals.append(most)
        histogram[_bin(got, most)] += 1
        for repair in dict.fromkeys(grading.repairs):
            repaired.add(_kind(repair), student)
        if grading.unsafe:
            unsafe.append(student)
    exercises = [count.done(name) for name, count in counts.items()]
    return Overview(
        chapters=tuple(chapters),
        submissions=len(totals),
        mean=float(points / len(totals)) if totals else 0.0,
        points=float(max(totals, default=0)),
        histogram=tuple(histogram[i] for i in range(BINS)),
        exercises=tuple(sorted(exercises, key=lambda e: e.mean)),
        repaired=repaired.done(),
        unsafe=tuple(unsafe),
    )


def write_page(overview: Overview, to: Path) -> Path:
    """Write the page for the lecturer.

    Returns:
        The file.
    """
    return write_whole(to, render("overview.html.j2", o=overview))


class _Groups:
    """Students by what they have in common; rare things beyond `MOST_REASONS` become one."""

    def __init__(self):
        self._by: dict[str, list[str]] = {}

    def add(self, says: str, student: str) -> None:
        if says not in self._by and len(self._by) >= MOST_REASONS:
            says = OTHER
        self._by.setdefault(says, []).append(student)

    def done(self) -> tuple[Group, ...]:
        groups = [Group(says, tuple(students)) for says, students in self._by.items()]
        return tuple(sorted(groups, key=lambda g: -len(g.students)))


@dataclass
class _Count:
    """The running count of one exercise."""

    points: float
    submissions: int = 0
    full: int = 0
    shares: Fraction = Fraction(0)
    histogram: Counter = field(default_factory=Counter)
    names: dict[str, str] = field(default_factory=dict)
    passed: Counter = field(default_factory=Counter)
    tried: Counter = field(default_factory=Counter)
    mistakes: _Groups = field(default_factory=_Groups)
    unexplained: list[str] = field(default_factory=list)
    blank: list[str] = field(default_factory=list)
    failures: _Groups = field(default_factory=_Groups)

    def add(self, student: str, graded: ExerciseGrade) -> None:
        share = _share(graded)
        self.submissions += 1
        self.full += graded.full
        self.shares += share
        self.histogram[_bin(share, 1)] += 1
        if graded.failure:
            return self.failures.add(_kind(graded.failure), student)
        if all(r.status == "missing" for r in graded.results):
            return self.blank.append(student)
        for r in graded.results:
            self.names.setdefault(r.test, visible(r.name))
            self.passed[r.test] += r.passed
            self.tried[r.test] += 1
        if graded.mistake:
            return self.mistakes.add(visible(graded.mistake, 2 * LONGEST), student)
        if not graded.full:
            self.unexplained.append(student)
        return None

    def done(self, exercise: str) -> ExerciseSummary:
        properties = [
            PropertyCount(n, self.passed[t], self.tried[t]) for t, n in self.names.items()
        ]
        return ExerciseSummary(
            exercise=visible(exercise, LONGEST_NAME),
            points=self.points,
            submissions=self.submissions,
            full=self.full,
            mean=float(self.shares / self.submissions),
            histogram=tuple(self.histogram[i] for i in range(BINS)),
            properties=tuple(sorted(properties, key=lambda p: p.rate)),
            mistakes=self.mistakes.done(),
            unexplained=tuple(self.unexplained),
            blank=tuple(self.blank),
            failures=self.failures.done(),
        )


def _share(graded: ExerciseGrade) -> Fraction:
    """The share of an exercise's points, exact: a rounded score would fall into a wrong tenth."""
    total = sum(Fraction(r.weight) for r in graded.results)
    passed = sum(Fraction(r.weight) for r in graded.results if r.passed)
    return passed / total if total else Fraction(0)


def _exact(grading: Grading) -> tuple[Fraction, Fraction]:
    """The points of a submission, and the most it can have."""
    points = [Fraction(e.points) for e in grading.exercises]
    got = sum((p * _share(e) for p, e in zip(points, grading.exercises, strict=True)), Fraction(0))
    return got, sum(points, Fraction(0))


def _bin(part: Fraction, whole: Fraction | int) -> int:
    """The tenth a share falls into; all is a bin of its own."""
    return int(10 * part / whole) if whole else 0


def _kind(reason: str) -> str:
    """A reason without what sets one submission apart: line, message, the test it ended in."""
    reason = reason.partition(" in the test ")[0]
    in_a_file = IN_A_FILE.match(reason)
    text = f"{in_a_file[1]}: {in_a_file[2]}" if in_a_file else reason.partition(": ")[0]
    return visible(text.removeprefix("your "), 120)
