"""How nbgrader's own machinery is called."""

import os
import sys
from pathlib import Path

from cs231n_gen.grading.release.nbgrader_assign import tables_version


def test_a_new_gradebook_has_the_version_that_nbgrader_itself_would_give_it(monkeypatch):
    from nbgrader.api import get_alembic_version

    commands = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([commands, os.environ["PATH"]]))
    assert tables_version() == get_alembic_version()
