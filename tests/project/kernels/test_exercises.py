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
DRAWN = pytest.mark.drawn("kernels", 3)  # of all of them, unless all are asked for
SOME = [pytest.param(e, marks=DRAWN, id=e) for e in EXERCISES]
STAGES = {"safe", "lean", "compiles"}


# Put at the end of a kernel's file: its wrappers take the way of their references; so they do, but
# the kernels are launched all the same.
REFERENCE = """

uses_kernel = lambda *tensors: False
"""
DECOY = """

import functools, inspect

def _decoy(right):
    @functools.wraps(right)
    def both(*args, **options):
        global uses_kernel
        ask = uses_kernel
        right(*args, **options)
        uses_kernel = lambda *tensors: False
        try:
            return right(*args, **options)
        finally:
            uses_kernel = ask
    return both

for _name, _value in list(globals().items()):
    if inspect.isfunction(_value) and "uses_kernel" in _value.__code__.co_names and _name[0] != "_":
        globals()[_name] = _decoy(_value)
"""


def with_gap(exercise, folder, body, end=""):
    """A student whose file is the source's, but for the body of one kernel, and an end."""
    module = EXERCISES[exercise].module
    path = ROOT / f"cs231n_gen/{module.replace('.', '/')}.py"
    text = make_gaps(path.read_text("utf-8"), EXERCISES[exercise].gaps)
    own = folder / path.name
    own.write_text(text.replace("raise NotImplementedError", body) + end, encoding="utf-8")
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


@pytest.mark.parametrize("exercise", SOME)
def test_a_wrapper_that_calls_its_reference_gets_nothing(exercise, tmp_path):
    student = with_gap(exercise, tmp_path, "raise NotImplementedError", REFERENCE)
    for folder in ("hidden", "public"):
        results = run(ROOT / "tests" / folder, [exercise], student, seed=2025)
        assert results and not [r.name for r in results if r.passed]


@pytest.mark.parametrize("exercise", SOME)
def test_a_kernel_for_show_gets_no_point_for_what_the_reference_returns(exercise, tmp_path):
    """The kernel is right, so what is asked of it alone, without its wrapper, holds."""
    module = EXERCISES[exercise].module
    path = ROOT / f"cs231n_gen/{module.replace('.', '/')}.py"
    own = tmp_path / path.name
    own.write_text(path.read_text("utf-8") + DECOY, encoding="utf-8")
    modules = package_modules()
    modules[module] = load_module(own, f"cs231n_gen.{module}")
    if not hasattr(modules[module], "reference"):
        pytest.skip("its wrappers have no reference to call")

    def alone(*args, **options):
        raise RuntimeError("a kernel by itself")

    modules["instruments.observe"].launch = alone
    results = run(ROOT / "tests" / "hidden", [exercise], Student(modules), seed=2025)
    assert results and not [r.name for r in results if r.passed]
