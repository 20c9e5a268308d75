"""Feedback: the page of every graded submission, manual grades included."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.coursedir import CourseDirectory

from cs231n_gen.grading import record
from cs231n_gen.grading.config import load_config
from cs231n_gen.grading.feedback import pages
from cs231n_gen.grading.record import Grading

Answers = list[tuple[str, float | None, float, str]]


def gradings(root: Path, chapter: str) -> Iterator[Grading]:
    """The records of a chapter, by student."""
    for folder in sorted((root / "autograded").glob(f"[!.]*/{chapter}")):
        if found := record.read(folder):
            yield found


def write_all(root: Path, chapter: str, students: list[str] | None = None) -> Iterator[Path]:
    """Write `feedback/<student>/<chapter>/<chapter>.html`, where nbgrader would put its own.

    Args:
        root: the course's folder.
        chapter: its name.
        students: whose; everybody's, if None.
    Returns:
        The pages as they are written.
    """
    course = CourseDirectory(config=load_config(root))
    with Gradebook(course.db_url, course.course_id) as book:
        for grading in gradings(root, chapter):
            if students is not None and grading.student not in students:
                continue
            manual, late = _by_hand(book, grading)
            folder = root / "feedback" / grading.student / chapter
            folder.mkdir(parents=True, exist_ok=True)
            yield pages.write_feedback(
                grading,
                root / "autograded" / grading.student / chapter,
                folder / f"{chapter}.html",
                manual=manual,
                late=late,
            )


def _by_hand(book: Gradebook, grading: Grading) -> tuple[Answers, str]:
    """What people graded, and what being late costs."""
    try:
        own = book.find_submission(grading.chapter, grading.student)
    except MissingEntry:
        return [], ""
    automatic = {e.exercise.replace(".", "-") for e in grading.exercises}
    answers: Answers = []
    for sheet in own.notebooks:
        comments = {c.name: c.comment or "" for c in sheet.comments}
        for grade in sheet.grades:
            title = grade.name.replace("-", " ")
            if grade.name not in automatic:
                known = None if grade.needs_manual_grade else grade.score
                answers.append((title, known, grade.max_score, comments.get(grade.name, "")))
            elif grade.manual_score is not None:
                change = grade.manual_score - (grade.auto_score or 0.0)
                answers.append((f"{title}, changed by hand", change, 0.0, ""))
            elif grade.extra_credit:
                answers.append((f"{title}, extra", grade.extra_credit, 0.0, ""))
    return answers, _lateness(own)


def _lateness(own) -> str:
    if own.total_seconds_late <= 0:
        return ""
    after = str(timedelta(seconds=int(own.total_seconds_late)))
    penalty = own.late_submission_penalty
    cost = f"that costs {penalty:g} points" if penalty else "that costs no points"
    return f"It was handed in {after} after it was due; {cost}."
