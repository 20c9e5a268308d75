"""Results, written where they belong: into the cells of a notebook, into a record."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from nbformat.notebooknode import NotebookNode, from_dict
from nbformat.v4 import new_output
from nbgrader.utils import is_grade

from cs231n_gen.grading.feedback import messages
from cs231n_gen.grading.record import ExerciseGrade
from cs231n_gen.grading.run.examiner import ExerciseResult
from cs231n_gen.grading.source.tree import exercises


def graded_cells(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The cells of a notebook that carry the points of exercises, by the exercises' ids."""
    known = {e.grade_id: e.id for e in _exercises()}
    found = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and is_grade(cell):
            exercise = known.get(cell.metadata.nbgrader.get("grade_id"))
            if exercise:
                found[exercise] = cell
            else:  # a cell without any output would get full points
                cell.outputs = [new_output("error", ename="NoSuchExercise", evalue="0 points")]
    return found


def mark(
    cells: Mapping[str, NotebookNode], found: Mapping[str, ExerciseResult], submission: Path
) -> tuple[ExerciseGrade, ...]:
    """Write reports and points into graded cells.

    The points are the result of the cell, a number between 0 and its maximum: what nbgrader reads
    as partial credit.

    Args:
        cells: the graded cells, by exercise.
        found: the result of each.
        submission: the folder with the student's files, whose lines may be quoted.
    """
    marked = []
    for exercise, cell in cells.items():
        points, result = float(cell.metadata.nbgrader["points"]), found[exercise]
        own = ExerciseGrade(exercise, points, result.results, result.mistake)
        told = messages.report(exercise, result.results, points, submission)
        worth = {"text/plain": repr(own.score)}
        cell.outputs = [
            from_dict({"output_type": "display_data", "metadata": {}, "data": told}),
            from_dict(
                {
                    "output_type": "execute_result",
                    "metadata": {},
                    "data": worth,
                    "execution_count": None,
                }
            ),
        ]
        marked.append(own)
    return tuple(marked)


@functools.cache
def _exercises() -> Sequence:
    return exercises()
