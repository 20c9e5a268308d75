"""Hidden graders kill every mutant of the reference solutions, but for those that are right.

`make test` tries the mutants of a few exercises, `make proof` those of all that changed; of
kernels, which are interpreted, a part drawn by the commit. With FULL=1 every one is tried, and so
it is by `python tests/project/mutation`, see its --help.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import trial
from right_answers import open_holes, right_answers, stale
from selection.draw import commit, draw

from cs231n_gen.grading.source.tree import exercises

PROVE = os.environ.get("PROVE", "").split()
FULL = os.environ.get("FULL", "") not in ("", "0")
EXERCISES = {e.id: e for e in exercises() if not PROVE or e.id in PROVE}
OF_A_KERNEL = 40 if PROVE else 10  # mutants: all of one take minutes


def some(names):
    """The exercises, of which `make test` draws a few."""
    for name in names:
        group = ("kernels", 1) if name.startswith("kernels.") else ("others", 4)
        marks = [pytest.mark.drawn(*group), *[pytest.mark.full] * name.startswith("kernels.")]
        yield pytest.param(name, marks=marks, id=name)


@pytest.mark.parametrize("name", some(EXERCISES))
def test_hidden_graders_kill_every_mutant(name):
    whole = FULL or not name.startswith("kernels.")

    def chosen(found):
        return found if whole else draw(found, OF_A_KERNEL, commit())

    outcomes = trial.try_all([EXERCISES[name]], chosen, workers=1)
    assert outcomes
    alive = [str(o.mutant) for o in outcomes if not o.killed]
    unknown = [m for m in alive if m not in right_answers() and m not in open_holes()]
    assert not unknown, "the hidden graders let these live: mend them, or say why they are right"
    assert not stale(outcomes, name, whole)
