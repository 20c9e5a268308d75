"""What grading found as Gradescope's `results.json`: a test for each property.

The format is that of Gradescope's autograder specification. All text is plain text: what a
submission says is shown, never rendered.
"""

import json
import math
import os
from fractions import Fraction
from pathlib import Path

from cs231n_gen.common.files import write_whole
from cs231n_gen.grading.feedback.messages import PropertyFeedback, property_feedback, visible
from cs231n_gen.grading.record import ExerciseGrade, Grading

VISIBILITIES = ("visible", "hidden", "after_due_date", "after_published")
UNIT = 1_000_000  # scores are rounded to six decimals
LONGEST_OUTPUT, LONGEST_NAME = 2_000, 200  # characters
NOWHERE = Path(os.devnull)  # a submission without files, of which no line is shown


def results(
    grading: Grading, *, visibility: str = "visible", submission: Path | None = None
) -> dict:
    """A grading as the contents of `results.json`.

    A property is worth its share of the exercise's points. The shares are rounded so that they add
    up to the exercise's score and points exactly.

    Args:
        grading: what was found.
        visibility: when students see it, one of `VISIBILITIES`.
        submission: its folder. With it the student's own lines at which code failed are shown;
            without it no lines are, for they might be the reference's.
    Raises:
        ValueError: if there is no such visibility.
    """
    if visibility not in VISIBILITIES:
        raise ValueError(f"visibility is {visibility!r}, expected one of {', '.join(VISIBILITIES)}")
    folder = NOWHERE if submission is None else submission
    return {
        "score": grading.score,
        "execution_time": round(grading.seconds, 2) if math.isfinite(grading.seconds) else 0.0,
        "output": visible("\n".join(_summary(grading)), LONGEST_OUTPUT),
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "visibility": visibility,
        "stdout_visibility": "hidden",
        "extra_data": {
            "chapter": grading.chapter,
            "seed": grading.seed,
            "fingerprint": grading.fingerprint,
            "unsafe": grading.unsafe,
        },
        "tests": [
            test
            for number, graded in enumerate(grading.exercises, 1)
            for test in _tests(number, graded, visibility, folder)
        ],
    }


def write_results(
    grading: Grading, path: Path, *, visibility: str = "visible", submission: Path | None = None
) -> Path:
    """Write `results` to a file, whole or not at all."""
    values = results(grading, visibility=visibility, submission=submission)
    text = json.dumps(values, indent=1, allow_nan=False)
    return write_whole(Path(path), f"{text}\n".encode("ascii"))


def _summary(grading: Grading) -> list[str]:
    lines = [f"{grading.chapter}: {grading.score:g} of {grading.points:g} points"]
    lines += [f"{e.exercise}: {e.score:g} of {e.points:g} points" for e in grading.exercises]
    return [*lines, *grading.repairs]


def _tests(number: int, graded: ExerciseGrade, visibility: str, submission: Path) -> list[dict]:
    """The tests of one exercise. What its known mistake is, is said where it first shows."""
    told = property_feedback(graded.results, graded.points, submission)
    first = next((t for t in told if not t.holds), None)
    tests = []
    for i, (t, worth) in enumerate(zip(told, _shares(graded), strict=True), 1):
        lines = _lines(t)
        if t is first and graded.mistake:
            lines.append(f"What it looks like: {visible(graded.mistake)}")
        name = f"{graded.exercise}: {t.name}".replace("\n", " ")
        tests.append(
            {
                "name": visible(name, LONGEST_NAME),
                "name_format": "text",
                "number": f"{number}.{i}",
                "score": worth if t.holds else 0.0,
                "max_score": worth,
                "status": "passed" if t.holds else "failed",
                "output": visible("\n".join(lines), LONGEST_OUTPUT),
                "output_format": "text",
                "visibility": visibility,
                "extra_data": {"exercise": graded.exercise, "status": t.status},
            }
        )
    return tests


def _lines(t: PropertyFeedback) -> list[str]:
    """What stands below a property that does not hold."""
    if t.holds:
        return []
    lines = [t.says or t.word, t.got and f"got: {t.got}"]
    lines += [t.expected and f"expected: {t.expected}"]
    lines += [f"{f.file}, line {f.line}: {f.code}" for f in t.frames]
    return [line for line in lines if line]


def _shares(graded: ExerciseGrade) -> list[float]:
    """What each property is worth: those that hold add up to the score, all to the points."""
    total = round(Fraction(graded.points) * UNIT)
    passed = round(Fraction(graded.score) * UNIT)
    held = [i for i, r in enumerate(graded.results) if r.passed]
    lost = [i for i, r in enumerate(graded.results) if not r.passed]
    worth = [0] * len(graded.results)
    for which, units in ((held, passed), (lost, total - passed)):
        weights = [Fraction(graded.results[i].weight) for i in which]
        weights = weights if sum(weights) else [Fraction(1)] * len(which)
        done, given = Fraction(0), 0
        for i, weight in zip(which, weights, strict=True):
            done += weight
            upto = round(units * done / sum(weights))
            worth[i], given = upto - given, upto
    return [units / UNIT for units in worth]
