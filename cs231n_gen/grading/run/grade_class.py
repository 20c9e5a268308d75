"""Grade a class: several workers, one writer; killed at any moment, it goes on where it was."""

import gc
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode

from cs231n_gen.common.files import replace_folder
from cs231n_gen.grading import record
from cs231n_gen.grading.jail.sandbox import NoJail
from cs231n_gen.grading.notebook.rebuild import rebuild
from cs231n_gen.grading.notebook.submitted_cells import NotANotebook
from cs231n_gen.grading.record import Grading
from cs231n_gen.grading.run import marking
from cs231n_gen.grading.run.assignment import Assignment, GradeError, Submission
from cs231n_gen.grading.run.examiner import ExerciseResult
from cs231n_gen.grading.run.gradebook import GradebookWriter, NotReleased

PART = ".grading-"  # begins the name of a folder that is being written


@dataclass(frozen=True)
class Outcome:
    """How the grading of one submission ended.

    grading: the record, or None if it could not be graded.
    state: `graded`, `unchanged` (it would come out as it did before) or `failed`.
    """

    student: str
    state: str
    grading: Grading | None = None
    reason: str = ""


def grade(
    assignment: Assignment,
    pool,
    students: Sequence[str],
    *,
    again: bool = False,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> None:
    """Grade submissions.

    Args:
        assignment: the chapter.
        pool: who grades: its `map(submissions)` yields in any order
            `(submission, found or an error, seconds)`.
        students: whose.
        again: whether to grade those too that would come out the same.
        tell: hears of each as it is done, from this thread.
    Raises:
        GradeError: if the gradebook does not know the chapter.
        NoJail: if no jail can be built here.
    """
    try:
        book = GradebookWriter(assignment.root, assignment.chapter)
    except NotReleased as error:
        raise GradeError(str(error)) from None
    with book:
        _tidy(assignment)
        gc.freeze()  # what was imported stays: no need to look through it again and again
        for submission, found, seconds in pool.map(_waiting(assignment, students, again, tell)):
            if isinstance(found, NoJail):
                raise found
            if isinstance(found, Exception):
                tell(Outcome(submission.student, "failed", reason=str(found)))
                continue
            grading = finish(assignment, submission, found, seconds, book)
            tell(Outcome(submission.student, "graded", grading))


def _waiting(
    assignment: Assignment, students: Iterable[str], again: bool, tell: Callable[[Outcome], None]
) -> Iterator[Submission]:
    """The submissions that must be graded; the others are reported on the way."""
    for student in students:
        submission = assignment.submission(student)
        known = None if again else assignment.done(submission)
        if known:
            tell(Outcome(student, "unchanged", known))
        else:
            yield submission


def finish(
    assignment: Assignment,
    submission: Submission,
    found: dict[str, ExerciseResult],
    seconds: float,
    book: GradebookWriter,
) -> Grading:
    """Write notebook, gradebook and record of one submission, in an order that can be repeated.

    The record, which says that all is done, comes last.
    """
    notebook, repairs = _rebuilt(assignment, submission)
    marked = marking.mark(marking.graded_cells(notebook), found, submission.folder)
    notebook.metadata["cs231n_gen_grading"] = assignment.settings
    grading = assignment.grading(submission, marked, repairs, seconds)
    target = assignment.autograded / submission.student / assignment.chapter
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=PART, dir=target.parent))
    draft.chmod(0o755)
    for name, content in submission.files.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).write_bytes(content)
    text = nbformat.v4.writes(notebook)  # what `rebuild` makes needs no look at its schema
    (draft / f"{assignment.chapter}.ipynb").write_text(text, encoding="utf-8")
    # Between the two renames there may be no folder; whoever is killed there does the work again.
    with tempfile.TemporaryDirectory(prefix=PART, dir=target.parent) as aside:
        replace_folder(draft, target, Path(aside) / "old")
    book.record(submission.student, notebook, submission.folder)
    record.write(grading, target)
    return grading


def _rebuilt(
    assignment: Assignment, submission: Submission
) -> tuple[NotebookNode, tuple[str, ...]]:
    try:
        rebuilt = rebuild(
            submission.files.get(f"{assignment.chapter}.ipynb", b""), assignment.release
        )
    except NotANotebook as error:
        fresh = nbformat.from_dict(assignment.release)
        return fresh, (f"Neither the notebook nor its answers could be read: {error}",)
    return rebuilt.notebook, rebuilt.repairs


def _tidy(assignment: Assignment) -> None:
    """Remove what a grader that was killed left behind."""
    for left in assignment.autograded.glob(f"*/{PART}*"):
        shutil.rmtree(left, ignore_errors=True)
