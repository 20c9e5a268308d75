"""nbgrader's step that runs a submission, replaced: hidden graders, not the student's cells."""

import math
from pathlib import Path

from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade
from traitlets import Bool, Float, Integer

from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.source import exercises


class GradeSubmission(NbGraderPreprocessor):
    """Give every exercise of a submitted notebook its points, and the reasons.

    Cells are matched to exercises by their grade_id. The points are the result of the cell, a
    number between 0 and its maximum: what nbgrader reads as partial credit. Nothing of the notebook
    is executed, so neither a warning nor a print of the student's can cost anything.
    """

    time_limit = Float(Limits.wall, help="seconds for one exercise").tag(config=True)
    memory = Integer(Limits.memory, help="bytes for one exercise").tag(config=True)
    seed = Integer(2025, help="of the random inputs of hidden tests").tag(config=True)
    unsafe = Bool(False, help="run student code outside the jail").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Grade, and write the outputs of the graded cells."""
        from cs231n_gen.grading import feedback
        from cs231n_gen.grading.workers import grade_here

        submission = Path(resources["metadata"]["path"]).resolve()
        known = {e.grade_id: e.id for e in exercises()}
        cells = {}
        for cell in nb.cells:
            if cell.cell_type == "code" and is_grade(cell):
                exercise = known.get(cell.metadata.nbgrader.get("grade_id"))
                if exercise:
                    cells[exercise] = cell
                else:  # a cell without any output would get full points
                    cell.outputs = [new_output("error", ename="NoSuchExercise", evalue="0 points")]
        self.log.info("Grading %s with seed %d", ", ".join(cells), self.seed)
        limits = Limits(wall=self.time_limit, cpu=math.ceil(self.time_limit), memory=self.memory)
        options = {"seed": self.seed, "limits": limits, "unsafe": self.unsafe}
        found = grade_here(submission, list(cells), **options)
        for exercise, cell in cells.items():
            points = float(cell.metadata.nbgrader["points"])
            results = found[exercise].results
            told = feedback.report(exercise, results, points, submission)
            worth = {"text/plain": repr(feedback.score(results, points))}
            cell.outputs = [
                new_output("display_data", data=told),
                new_output("execute_result", data=worth, execution_count=None),
            ]
        nb.metadata["cs231n_gen_grading"] = {"seed": self.seed}
        return nb, resources
