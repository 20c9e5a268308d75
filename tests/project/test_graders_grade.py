"""The proof that graders grade: wrong answers fail, right ones pass, checks name mistakes.

Some of each exercise are drawn here; `--all` tries every mistake and variant, and
PROVE="flow.loss flow.sample" in the environment names the exercises to prove (`make proof`).
"""

import os
from functools import cache
from pathlib import Path

import pytest
import torch

from cs231n_gen.checking import diagnosis, shared_properties, variants
from cs231n_gen.checking.runner import run
from cs231n_gen.checking.student import Student

TESTS = Path(__file__).parents[1]
SEED = 2025
PROVE = os.environ.get("PROVE", "").split()


def wanted(folder):
    """The variants of a folder, of the exercises that are to be proved."""
    return [v for v in variants.load(TESTS / folder) if not PROVE or v.exercise in PROVE]


MISTAKES, ACCEPTED = wanted("mistakes"), wanted("accepted")
EXERCISES = sorted({m.exercise for m in MISTAKES})
IDLE = [None, 0.0, torch.tensor(0.0), "the first argument"]


def is_kernel(exercise):
    return exercise.startswith("kernels.")


def label(part):
    return f"{part.exercise}:{part.name}" if isinstance(part, variants.Variant) else str(part)


def some(cases, *, each=0, others=0, kernels):
    """Cases of which some are drawn: of each exercise or of all, and of all exercises on kernels.

    Kernels are interpreted: all their variants take half an hour.
    """
    parameters = []
    for case in cases:
        parts = case if isinstance(case, tuple) else (case,)
        exercise = getattr(parts[0], "exercise", parts[0])
        group = (exercise, each) if each else ("others", others)
        mark = pytest.mark.drawn(*(("kernels", kernels) if is_kernel(exercise) else group))
        parameters.append(pytest.param(*parts, marks=mark, id=":".join(map(label, parts))))
    return parameters


@pytest.fixture(scope="module", autouse=True)
def few_are_known(request):
    """Mistakes of kernels are told apart from those that are tried, unless all are to be proved."""
    if PROVE or request.config.getoption("--all", False):
        yield
        return
    tried = [getattr(item, "callspec", None) for item in request.session.items]
    tried = [t.params["mistake"] for t in tried if t and "mistake" in t.params]
    observed = diagnosis._observed

    def of_those(exercise, kept):
        if not is_kernel(exercise):
            return observed(exercise, kept)
        return diagnosis._observe([m for m in tried if m.public and m.exercise == exercise])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnosis, "_observed", of_those)
        diagnosis._from_mistakes.cache_clear()
        yield
        diagnosis._from_mistakes.cache_clear()


@cache
def graded(folder, variant, seed=SEED):
    student = Student().replacing(variant.exercise, variant.implementation)
    results = run(TESTS / folder, [variant.exercise], student, seed)
    assert results, f"{variant.exercise} has no tests in tests/{folder}"
    return results


@cache
def first_failure(mistake):
    """The first property that a mistake fails: the others need not be tried."""
    student = Student().replacing(mistake.exercise, mistake.implementation)
    results = run(TESTS / "hidden", [mistake.exercise], student, SEED, first=True)
    return next((r.test for r in results if not r.passed), None)  # shared ones come together


def fails(mistake, test):
    student = Student().replacing(mistake.exercise, mistake.implementation)
    (result,) = run(TESTS / "hidden", [mistake.exercise], student, SEED, tests=[test])
    return not result.passed


@pytest.mark.parametrize("mistake", some(MISTAKES, each=3, kernels=12))
def test_hidden_graders_fail_every_mistake(mistake):
    assert first_failure(mistake), "full points for a wrong answer"


@pytest.mark.parametrize("variant", some(ACCEPTED, each=1, kernels=4))
def test_hidden_graders_and_checks_pass_every_accepted_variant(variant):
    for folder in ("hidden", "public"):
        lost = [(r.name, r.says) for r in graded(folder, variant) if not r.passed]
        assert not lost, f"tests/{folder} refuses a right answer"


@pytest.mark.parametrize(
    ("exercise", "answer"),
    some([(e, a) for e in EXERCISES for a in IDLE], each=1, kernels=4),
)
def test_an_answer_that_does_nothing_gets_nothing(exercise, answer):
    """Properties that hold of an empty answer would be points for nothing."""

    def idle(first, *_, **__):
        return first if answer == "the first argument" else answer

    results = run(TESTS / "hidden", [exercise], Student().replacing(exercise, idle), SEED)
    assert not [r.name for r in results if r.passed]


@pytest.mark.parametrize("mistake", some([m for m in MISTAKES if m.public], each=2, kernels=4))
def test_checks_name_every_public_mistake(mistake):
    results = graded("public", mistake, seed=0)
    assert any(not r.passed for r in results), "the public check lets it through"
    assert diagnosis.diagnose(results) == mistake.says


@pytest.mark.parametrize(
    ("exercise", "seed"), some([(e, s) for e in EXERCISES for s in range(3)], each=1, kernels=4)
)
def test_the_reference_gets_full_points_for_any_seed(exercise, seed):
    results = run(TESTS / "hidden", [exercise], seed=seed)
    assert results
    assert not [(r.name, r.says) for r in results if not r.passed]


def test_another_seed_makes_other_inputs():
    def returned(seed):
        return diagnosis.summary(run(TESTS / "hidden", ["flow.interpolate"], seed=seed)[0].returned)

    seeds = (0, 1, 2, 2025, 2**31, 2**32 - 1)
    seen = [returned(seed) for seed in seeds]
    assert all(a != b for i, a in enumerate(seen) for b in seen[:i])
    assert returned(2025) == seen[3]


@pytest.mark.parametrize("exercise", some(EXERCISES, others=6, kernels=0))
def test_every_hidden_property_is_failed_by_some_mistake_of_its_exercise(exercise):
    own = [m for m in MISTAKES if m.exercise == exercise]
    left = {r.test for r in run(TESTS / "hidden", [exercise], seed=SEED)}
    left -= {*shared_properties.NAMES}  # they have tests of their own
    left -= {first_failure(m) for m in own}
    useless = [test for test in left if not any(fails(m, test) for m in own)]
    assert not useless, (
        "no mistake fails these properties: they test nothing, or a mistake is missing"
    )


@pytest.mark.parametrize("exercise", some(EXERCISES, each=1, kernels=3))
def test_a_right_answer_is_never_diagnosed(exercise):
    assert diagnosis.diagnose(run(TESTS / "public", [exercise])) is None


@pytest.mark.parametrize("exercise", some(EXERCISES, others=6, kernels=0))
def test_written_diagnoses_say_the_same_as_the_mistakes_themselves(exercise, tmp_path, monkeypatch):
    diagnosis.write(tmp_path / "diagnoses.json", [exercise])
    monkeypatch.setattr(diagnosis, "FILE", tmp_path / "diagnoses.json")
    monkeypatch.setattr(diagnosis, "MISTAKES", tmp_path / "none")
    diagnosis._from_mistakes.cache_clear()
    diagnosis._from_file.cache_clear()
    try:
        for mistake in [m for m in MISTAKES if m.public and m.exercise == exercise]:
            assert diagnosis.diagnose(graded("public", mistake, seed=0)) == mistake.says
    finally:
        diagnosis._from_mistakes.cache_clear()
        diagnosis._from_file.cache_clear()
