"""No function or class of the package answers an exercise by a call, as far as answers reach.

`answers` searches. What it finds is absent while the exercise is checked or graded, or another
exercise: a later one is the student's own work then, an earlier one is given, and one that is
answered by it alone stands in `BY_AN_EARLIER_ONE` with the reason.
"""

import sys
from functools import cache
from pathlib import Path

import pytest

from cs231n_gen.checking import absence
from cs231n_gen.common.paths import MACHINERY, PACKAGE
from cs231n_gen.grading.run.task import in_order

sys.path.insert(0, str(Path(__file__).parent))
import answers
from answers import AFTER

ORDER = [e.id for e in in_order()]
TORCH = [e for e in ORDER if not e.startswith("kernels.")]
KERNELS = [e for e in ORDER if e.startswith("kernels.")]

BY_AN_EARLIER_ONE = {  # the exercise, and what answers it
    ("gan.discriminator_loss", "gan.value(a0, a1)-"): (
        "that the discriminator minimises −V is what the exercise asks for"
    ),
}


@cache
def candidates():
    return answers.candidates()


def is_reached(found, exercise):
    """Whether an answer to this exercise can use it, and it is not the student's own work."""
    name = found.candidate.full.partition("(")[0]
    if name in ORDER:
        return ORDER.index(name) < ORDER.index(exercise)
    return absence.is_open(found.candidate.module, exercise in KERNELS)


@pytest.mark.drawn("torch", 3)
@pytest.mark.parametrize("exercise", TORCH)
def test_what_answers_an_exercise_is_out_of_its_reach(exercise):
    found = answers.answers(exercise, candidates())
    reached = [f.written for f in found if is_reached(f, exercise)]
    known = [written for e, written in BY_AN_EARLIER_ONE if e == exercise]
    assert reached == known


@pytest.mark.drawn("kernels", 1)
@pytest.mark.parametrize("exercise", KERNELS)
def test_no_kernel_is_another_one(exercise):
    found = answers.kernels_like(exercise)
    assert not [f.written for f in found if is_reached(f, exercise)]


BY_A_CALL = {
    "gan.discriminator_loss": "kernels.gan_losses.reference(a0, a1)",
    "flow.interpolate": "kernels.noising.noising(a0, a1, a2)",
}


@pytest.mark.parametrize("exercise", BY_A_CALL)
def test_the_search_finds_what_was_once_within_reach(exercise):
    room = BY_A_CALL[exercise].partition(".")[0]
    some = [c for c in candidates() if c.module.split(".")[1] == room]
    assert BY_A_CALL[exercise] in [f.written for f in answers.answers(exercise, some)]


def test_the_search_leaves_out_only_what_is_absent_for_every_exercise():
    searched = {m.__name__.split(".")[1] for m in answers.modules()}
    rooms = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or p.is_dir()}
    left = {room for room in rooms if room[0] != "_"} - searched
    assert left == {*MACHINERY, "jupyter"}
    assert not [room for room in left if absence.is_open(f"cs231n_gen.{room}")]
    assert not [room for room in left if absence.is_open(f"cs231n_gen.{room}", of_kernel=True)]
    assert len(candidates()) > 200
    assert len(AFTER) == 4
