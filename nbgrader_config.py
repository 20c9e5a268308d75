"""nbgrader's configuration: where things are, and our grader in place of its `Execute`."""

import os
import sys
from pathlib import Path

from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    IgnorePattern,
    LimitOutput,
    SaveAutoGrades,
)

from cs231n_gen.grading.source.markers import STUB

c = get_config()

# nbgrader calls alembic to make its gradebook: the one beside this Python, also where .venv is not
# activated.
commands = str(Path(sys.executable).parent)
if commands not in os.environ["PATH"].split(os.pathsep):
    os.environ["PATH"] = os.pathsep.join([commands, os.environ["PATH"]])

c.CourseDirectory.course_id = "cs231n-gen"
c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.CourseDirectory.source_directory = "notebooks"
c.CourseDirectory.release_directory = "build/release"
# submitted/, autograded/, feedback/ and gradebook.db are beside this file, out of git.

c.ClearSolutions.code_stub = {"python": STUB}

# Our own steps are named, not imported: a release needs no grader, which would import torch.

# Submitted notebooks are rebuilt from the release: cells that were deleted, copied or edited, and
# what a browser would run. The student's plots stay, marked as theirs.
c.Autograde.sanitize_preprocessors = [
    "cs231n_gen.grading.notebook.rebuild.Rebuild",
    CheckCellMetadata,
]
# Submitted notebooks are not executed; hidden graders run instead, in a jail.
c.Autograde.autograde_preprocessors = [
    "cs231n_gen.grading.run.nbgrader_preprocessor.GradeSubmission",
    IgnorePattern,
    LimitOutput,
    SaveAutoGrades,
    AssignLatePenalties,
    CheckCellMetadata,
]
