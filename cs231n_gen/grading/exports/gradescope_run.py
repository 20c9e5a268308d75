"""In a Gradescope container: grade the one submission, write its results.json."""

import json
import time
from pathlib import Path

from cs231n_gen.grading.exports.gradescope_results import write_results
from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.record import ExerciseGrade, Grading
from cs231n_gen.grading.run.examiner import GraderBroken
from cs231n_gen.grading.run.worker_client import Worker
from cs231n_gen.grading.source.tree import chapters, exercises

SUBMISSION, RESULTS = Path("/autograder/submission"), Path("/autograder/results/results.json")
SEED = 2025


def run_autograder(root: Path, submission: Path = SUBMISSION, results: Path = RESULTS) -> Path:
    """Grade and write.

    Args:
        root: the unpacked autograder, which holds one chapter.
        submission: what was handed in: `cs231n_gen/flow.py`, or `flow.py` on its own.
        results: the file to write.
    Raises:
        NoJail: if the container allows no jail. Nothing is graded then.
        GraderBroken: if there is not exactly one chapter.
    """
    begun = time.monotonic()
    try:
        (chapter,) = chapters(root)
    except ValueError:
        raise GraderBroken("expected exactly one chapter in the autograder") from None
    points = {c.grade_id: float(c.points) for c in chapter.graded}
    own = {e.id: points[e.grade_id] for e in exercises(root) if e.grade_id in points}
    with Worker(Limits()) as worker:
        found = worker.grade(_folder(submission), list(own), seed=SEED)
    marked = tuple(ExerciseGrade(e, own[e], found[e].results, found[e].mistake) for e in own)
    seconds = round(time.monotonic() - begun, 3)
    grading = Grading(_student(submission), chapter.name, SEED, marked, seconds=seconds)
    return write_results(grading, results, submission=_folder(submission))


def _folder(submission: Path) -> Path:
    """Where `cs231n_gen/` is: students zip the folder, or what is in it."""
    inner = [p for p in submission.glob("*/cs231n_gen") if p.is_dir() and not p.is_symlink()]
    if (submission / "cs231n_gen").is_dir() or len(inner) != 1:
        return submission
    return inner[0].parent


def _student(submission: Path) -> str:
    """Who handed it in, as Gradescope's metadata say; only for the record."""
    try:
        known = json.loads((submission.parent / "submission_metadata.json").read_text("utf-8"))
        return str(known["users"][0]["email"])[:100]
    except (OSError, ValueError, LookupError, TypeError):
        return "student"
