"""The one writer of nbgrader's gradebook: a submission at a time, in one transaction each."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from nbformat.notebooknode import NotebookNode
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import AssignLatePenalties
from nbgrader.utils import compute_checksum, determine_grade, is_grade, is_solution, is_task
from sqlalchemy.exc import SAWarning

from cs231n_gen.grading.config import load_config


class NotReleased(Exception):
    """The gradebook does not know the chapter; one line for the person at the terminal."""


class GradebookWriter:
    """An open gradebook. What is written is what nbgrader's own autograding would write.

    Args:
        root: the course's folder, with nbgrader_config.py.
        chapter: its name.
    Raises:
        NotReleased: if nbgrader has not made the chapter's assignment.
    """

    def __init__(self, root: Path, chapter: str):
        self.chapter = chapter
        self._config = load_config(root)
        self._course = CourseDirectory(config=self._config)
        self._book = Gradebook(self._course.db_url, self._course.course_id)
        self._late = AssignLatePenalties(config=self._config)
        self._late.init_plugin()
        try:
            self._book.find_notebook(chapter, chapter)
        except MissingEntry:
            self.close()
            raise NotReleased(
                f"{chapter} is not in the gradebook: run `cs231n-gen release` first"
            ) from None

    def close(self) -> None:
        """Close it."""
        self._book.close()

    def __enter__(self) -> "GradebookWriter":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def record(self, student: str, notebook: NotebookNode, folder: Path) -> None:
        """Write the points of a graded notebook.

        Manual scores stay; a cell that has one is marked for another look, as nbgrader does.

        Args:
            student: their id.
            notebook: with the grader's outputs in its graded cells.
            folder: of the submission, with its timestamp.txt.
        """
        with self._one_transaction():
            self._record(student, notebook, folder)

    def _record(self, student: str, notebook: NotebookNode, folder: Path) -> None:
        own = self._submission(student, folder)
        (sheet,) = [n for n in own.notebooks if n.name == self.chapter]
        grades = {g.name: g for g in sheet.grades}
        comments = {c.name: c for c in sheet.comments}
        for cell in notebook.cells:
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            if is_grade(cell):
                grade = grades[name]
                grade.auto_score, _ = determine_grade(cell)
                grade.needs_manual_grade = (
                    grade.manual_score is not None or grade.auto_score is None
                )
            if is_solution(cell) or is_task(cell):
                comments[name].auto_comment = _automatic(cell)
        self._book.db.flush()
        self._book.db.refresh(sheet)
        sheet.late_submission_penalty = self._penalty(student, own, sheet)

    @contextlib.contextmanager
    def _one_transaction(self) -> Iterator[None]:
        """Let nbgrader's own commits on the way only flush: all is written, or nothing."""
        session = self._book.db()
        session.commit = session.flush
        try:
            yield
        except BaseException:
            session.rollback()
            raise
        finally:
            del session.commit
        session.commit()

    def _submission(self, student: str, folder: Path):
        self._book.update_or_create_student(student)
        time = self._course.get_existing_timestamp(str(folder))
        known = {"timestamp": time} if time else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)  # of nbgrader's own way to add one
            return self._book.update_or_create_submission(self.chapter, student, **known)

    def _penalty(self, student: str, own, sheet) -> float | None:
        late = own.total_seconds_late
        if late <= 0:
            return None
        penalty = self._late.plugin_inst.late_submission_penalty(student, sheet.score, late)
        return None if penalty is None else self._late._check_late_penalty(sheet, penalty)


def _automatic(cell: NotebookNode) -> str | None:
    unchanged = cell.metadata.nbgrader.get("checksum") == compute_checksum(cell)
    return "No response." if unchanged and not is_task(cell) else None
