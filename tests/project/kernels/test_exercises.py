"""The exercises of chapter 14: what holds of each of them."""

import pytest

from cs231n_gen.checking.fresh_modules import load_module, package_modules
from cs231n_gen.checking.runner import run
from cs231n_gen.checking.student import Student
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.source.markers import make_gaps
from cs231n_gen.grading.source.tree import exercises
from cs231n_gen.kernels import LADDER
from cs231n_gen.kernels.launch import HAVE_TRITON

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

EXERCISES = {e.id: e for e in exercises() if e.module.startswith("kernels.")}
STAGES = {"safe", "lean", "compiles"}


def with_gap(exercise, folder, body):
    """A student whose file is the source's, but for the body of one kernel."""
    module = EXERCISES[exercise].module
    path = ROOT / f"cs231n_gen/{module.replace('.', '/')}.py"
    text = make_gaps(path.read_text("utf-8"), EXERCISES[exercise].gaps)
    own = folder / path.name
    own.write_text(text.replace("raise NotImplementedError", body), encoding="utf-8")
    modules = package_modules()
    modules[module] = load_module(own, f"cs231n_gen.{module}")
    return Student(modules)


def graded(exercise, folder, body):
    student = with_gap(exercise, folder, body)
    return run(ROOT / "tests" / "hidden", [exercise], student, seed=2025)


def test_every_kernel_of_the_ladder_is_an_exercise():
    own = {e.module.removeprefix("kernels.") for e in EXERCISES.values()}
    assert set(LADDER) <= own


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_kernel_that_is_not_written_says_so_in_every_stage(exercise, tmp_path):
    results = graded(exercise, tmp_path, "raise NotImplementedError")
    assert {r.status for r in results} == {"missing"}
    stages = {r.name.partition(":")[0] for r in results}
    assert stages >= STAGES and stages & {"correct", "backward"}


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_kernel_that_does_nothing_gets_nothing(exercise, tmp_path):
    """Touching nothing is safe and lean, and compiles: no stage counts where results are wrong."""
    assert not [r.name for r in graded(exercise, tmp_path, "pass") if r.passed]
