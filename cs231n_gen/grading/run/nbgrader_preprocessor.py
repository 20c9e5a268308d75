"""nbgrader's step that runs a submission, replaced: hidden graders, not the student's cells."""

import time
from pathlib import Path

from nbformat.notebooknode import NotebookNode
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Float, Integer

from cs231n_gen.grading import record
from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.notebook.rebuild import REPAIRS
from cs231n_gen.grading.run import marking
from cs231n_gen.grading.run.assignment import Assignment
from cs231n_gen.grading.run.worker_client import grade_here


class GradeSubmission(NbGraderPreprocessor):
    """Give every exercise of a submitted notebook its points, and the reasons.

    Cells are matched to exercises by their grade_id. Nothing of the notebook is executed, so
    neither a warning nor a print of the student's can cost anything.
    """

    time_limit = Float(Limits.wall, help="seconds for one exercise").tag(config=True)
    cpu_limit = Integer(Limits.cpu, help="seconds of the processor for one").tag(config=True)
    memory = Integer(Limits.memory, help="bytes for one exercise").tag(config=True)
    seed = Integer(2025, help="of the random inputs of hidden tests").tag(config=True)
    unsafe = Bool(False, help="run student code outside the jail").tag(config=True)

    @property
    def limits(self) -> Limits:
        """The limits of one exercise."""
        return Limits(wall=self.time_limit, cpu=self.cpu_limit, memory=self.memory)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Grade, and write the outputs of the graded cells; a record goes beside the notebook."""
        begun = time.monotonic()
        where = resources["nbgrader"]
        root = Path(CourseDirectory(config=self.config).root)
        assignment = Assignment(root, where["assignment"], self.seed, self.limits, self.unsafe)
        submission = assignment.submission(where["student"])
        cells = marking.graded_cells(nb)
        self.log.info("Grading %s with seed %d", ", ".join(cells), self.seed)
        found = assignment.job(submission, tuple(cells)).run(grade_here)
        marked = marking.mark(cells, found, submission.folder)
        repairs = tuple(nb.metadata.pop(REPAIRS, ()))
        grading = assignment.grading(submission, marked, repairs, time.monotonic() - begun)
        record.write(grading, Path(resources["metadata"]["path"]))
        nb.metadata["cs231n_gen_grading"] = assignment.settings
        return nb, resources
