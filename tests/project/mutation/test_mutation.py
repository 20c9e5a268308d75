"""Hidden graders kill every mutant of the reference solutions, but for those that are right.

`make test` tries the mutants of a few exercises, `make proof` those of all that changed. Those of
kernels, which are interpreted, are tried by `python tests/project/mutation --kernels` alone.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import trial
from right_answers import right_answers, stale

from cs231n_gen.grading.source.tree import exercises

PROVE = os.environ.get("PROVE", "").split()
EXERCISES = {
    e.id: e for e in exercises() if not e.id.startswith("kernels.") and (not PROVE or e.id in PROVE)
}
FEW = pytest.mark.drawn("others", 4)  # of them are tried by `make test`


@pytest.mark.parametrize("name", [pytest.param(e, marks=FEW, id=e) for e in EXERCISES])
def test_hidden_graders_kill_every_mutant(name):
    outcomes = trial.try_all([EXERCISES[name]], workers=1)
    assert outcomes
    alive = [str(o.mutant) for o in outcomes if not o.killed]
    unknown = [m for m in alive if m not in right_answers()]
    assert not unknown, "the hidden graders let these live: mend them, or say why they are right"
    assert not stale(outcomes, name)
