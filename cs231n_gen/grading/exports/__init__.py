"""Grades for other programs: spreadsheets, Canvas, Gradescope."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cs231n_gen.grading.config import load_config


class ExportError(ValueError):
    """Nothing can be exported; one line for the person at the terminal."""


@contextlib.contextmanager
def open_gradebook(root: Path) -> Iterator:
    """nbgrader's gradebook of a course, open.

    Args:
        root: the folder with nbgrader_config.py.
    Raises:
        ExportError: if there is no gradebook yet. nbgrader would make an empty one.
    """
    from nbgrader.api import Gradebook
    from nbgrader.coursedir import CourseDirectory

    course = CourseDirectory(config=load_config(root))
    file = course.db_url.removeprefix("sqlite:///")
    if file != course.db_url and not Path(file).is_file():
        raise ExportError(f"there is no {Path(file).name} yet: release and grade a chapter first")
    with Gradebook(course.db_url, course.course_id) as gradebook:
        yield gradebook


def final_score(submission) -> float:
    """What counts of one of nbgrader's submissions: its score less the late penalty, at least 0."""
    return max(0.0, (submission.score or 0.0) - (submission.late_submission_penalty or 0.0))
