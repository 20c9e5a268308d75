"""What grading found out about one submission: a file of plain values, written whole or not at all.

It lies beside the graded notebook, `autograded/student01/04_rectified_flow/grading.json`. Feedback,
the overview and the exports read it; whether a submission is graded already is told by it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from cs231n_gen.checking.runner import Result
from cs231n_gen.common.files import write_whole

NAME = "grading.json"
FORMAT = 1


@dataclass(frozen=True)
class ExerciseGrade:
    """One exercise of one submission.

    Args:
        exercise: its id.
        points: the most it can give.
        results: one for each property, or a single one, whose `test` is "", where none could be
            tried.
        mistake: the sentence of the known mistake that was recognised, or "".
    """

    exercise: str
    points: float
    results: tuple[Result, ...]
    mistake: str = ""

    @property
    def score(self) -> float:
        """The points for what holds: their share is the weight that passed over all weight."""
        total = sum(Fraction(r.weight) for r in self.results)
        passed = sum(Fraction(r.weight) for r in self.results if r.passed)
        return round(float(Fraction(self.points) * passed / total), 6) if total else 0.0

    @property
    def full(self) -> bool:
        """Whether every property holds."""
        return bool(self.results) and all(r.passed for r in self.results)

    @property
    def failure(self) -> str:
        """Why no property could be tried, or "": "your code took more than 20 seconds"."""
        one = self.results[0] if len(self.results) == 1 else None
        return one.says if one and not one.test and not one.passed else ""


@dataclass(frozen=True)
class Grading:
    """One submission.

    Args:
        student, chapter: whose and which.
        seed: of the random inputs; the same seed gives the same scores.
        exercises: in the order of the notebook.
        repairs: what had to be repaired in the notebook, a sentence each.
        unsafe: whether student code ran outside the jail.
        fingerprint: of everything the scores depend on; another one means: grade again.
        seconds: how long it took.
    """

    student: str
    chapter: str
    seed: int
    exercises: tuple[ExerciseGrade, ...]
    repairs: tuple[str, ...] = ()
    unsafe: bool = False
    fingerprint: str = ""
    seconds: float = 0.0

    @property
    def score(self) -> float:
        """The points of all exercises."""
        return round(sum(e.score for e in self.exercises), 6)

    @property
    def points(self) -> float:
        """The most that can be had by exercises."""
        return sum(e.points for e in self.exercises)

    def to_json(self) -> dict:
        """As plain values."""
        values = {k: v for k, v in vars(self).items() if k != "exercises"}
        values["exercises"] = [
            {
                "exercise": e.exercise,
                "points": e.points,
                "mistake": e.mistake,
                "results": [r.to_json() for r in e.results],
            }
            for e in self.exercises
        ]
        return {"format": FORMAT, **values}

    @classmethod
    def from_json(cls, values: Mapping) -> "Grading":
        """Back from `to_json`.

        Raises:
            ValueError: if it was written in another format.
        """
        if values.get("format") != FORMAT:
            raise ValueError(f"got a record of format {values.get('format')}, expected {FORMAT}")
        exercises = tuple(
            ExerciseGrade(
                e["exercise"],
                e["points"],
                tuple(Result.from_json(r) for r in e["results"]),
                e["mistake"],
            )
            for e in values["exercises"]
        )
        rest = {k: v for k, v in values.items() if k not in ("format", "exercises", "repairs")}
        return cls(**rest, exercises=exercises, repairs=tuple(values["repairs"]))


def write(grading: Grading, folder: Path) -> Path:
    """Write `grading.json` into a folder."""
    text = json.dumps(grading.to_json(), ensure_ascii=False)
    return write_whole(folder / NAME, text + "\n")


def read(folder: Path) -> Grading | None:
    """The record in a folder, or None if there is none that can be read."""
    try:
        return Grading.from_json(json.loads((folder / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
