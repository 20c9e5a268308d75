"""The proof that graders grade: wrong answers fail, right ones pass, checks name mistakes.

Of kernels, which are interpreted, a few variants are tried; `make proof` tries them all.
"""

import os
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch

from cs231n_gen.checking import diagnosis, variants
from cs231n_gen.checking.runner import run
from cs231n_gen.checking.student import Student

TESTS = Path(__file__).parents[1]
SEED = 2025
FULL = os.environ.get("PROOF") == "full"
FEW = {"mistakes": 2, "accepted": 1}  # of each exercise on kernels, unless the proof is to be full


def is_kernel(exercise):
    return exercise.startswith("kernels.")


def chosen(folder):
    """All variants of a folder; of kernels a few, since all of them take half an hour."""
    counts, found = Counter(), []
    for variant in variants.load(TESTS / folder):
        counts[variant.exercise] += 1
        few = is_kernel(variant.exercise) and not FULL
        if not few or counts[variant.exercise] <= FEW[folder]:
            found.append(variant)
    return found


MISTAKES, ACCEPTED = chosen("mistakes"), chosen("accepted")
PUBLIC = [m for m in MISTAKES if m.public]
EXERCISES = sorted({m.exercise for m in MISTAKES})
PROVED = [e for e in EXERCISES if FULL or not is_kernel(e)]  # property by property, seed by seed


@pytest.fixture(scope="module", autouse=True)
def few_are_known():
    """Mistakes of kernels are told apart from those that are tried, unless the proof is full."""
    observed = diagnosis._observed

    def of_those(exercise):
        if FULL or not is_kernel(exercise):
            return observed(exercise)
        return diagnosis._observe([m for m in PUBLIC if m.exercise == exercise])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnosis, "_observed", of_those)
        diagnosis._known.cache_clear()
        yield
        diagnosis._known.cache_clear()


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
    return None if results[-1].passed else results[-1].test


def fails(mistake, test):
    student = Student().replacing(mistake.exercise, mistake.implementation)
    (result,) = run(TESTS / "hidden", [mistake.exercise], student, SEED, tests=[test])
    return not result.passed


def name(variant):
    return f"{variant.exercise}:{variant.name}"


@pytest.mark.parametrize("mistake", MISTAKES, ids=name)
def test_hidden_graders_fail_every_mistake(mistake):
    assert first_failure(mistake), "full points for a wrong answer"


@pytest.mark.parametrize("variant", ACCEPTED, ids=name)
def test_hidden_graders_and_checks_pass_every_accepted_variant(variant):
    for folder in ("hidden", "public"):
        lost = [(r.name, r.says) for r in graded(folder, variant) if not r.passed]
        assert not lost, f"tests/{folder} refuses a right answer"


IDLE = [None, 0.0, torch.tensor(0.0), "the first argument"]


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [(e, a) for e in PROVED for a in IDLE],
    ids=str,
)
def test_an_answer_that_does_nothing_gets_nothing(exercise, answer):
    """Properties that hold of an empty answer would be points for nothing."""

    def idle(first, *_, **__):
        return first if answer == "the first argument" else answer

    results = run(TESTS / "hidden", [exercise], Student().replacing(exercise, idle), SEED)
    assert not [r.name for r in results if r.passed]


@pytest.mark.parametrize("mistake", PUBLIC, ids=name)
def test_checks_name_every_public_mistake(mistake):
    results = graded("public", mistake, seed=0)
    assert any(not r.passed for r in results), "the public check lets it through"
    assert diagnosis.diagnose(results) == mistake.says


@pytest.mark.parametrize("seed", range(3))
def test_the_reference_gets_full_points_for_any_seed(seed):
    exercises = PROVED if seed else EXERCISES
    results = run(TESTS / "hidden", exercises, seed=seed)
    lost = [(r.exercise, r.name, r.says) for r in results if not r.passed]
    assert not lost


def test_another_seed_makes_other_inputs():
    def returned(seed):
        return diagnosis.summary(run(TESTS / "hidden", ["flow.interpolate"], seed=seed)[0].returned)

    seeds = (0, 1, 2, 2025, 2**31, 2**32 - 1)
    seen = [returned(seed) for seed in seeds]
    assert all(a != b for i, a in enumerate(seen) for b in seen[:i])
    assert returned(2025) == seen[3]


def test_every_hidden_property_is_failed_by_some_mistake_of_its_exercise():
    left = {(r.exercise, r.test) for r in run(TESTS / "hidden", PROVED, seed=SEED)}
    left -= {(m.exercise, first_failure(m)) for m in MISTAKES}
    useless = [
        (exercise, test)
        for exercise, test in left
        if not any(fails(m, test) for m in MISTAKES if m.exercise == exercise)
    ]
    assert not useless, (
        "no mistake fails these properties: they test nothing, or a mistake is missing"
    )


def test_a_right_answer_is_never_diagnosed():
    for exercise in PROVED:
        assert diagnosis.diagnose(run(TESTS / "public", [exercise])) is None


def test_written_diagnoses_say_the_same_as_the_mistakes_themselves(tmp_path, monkeypatch):
    diagnosis.write(tmp_path / "diagnoses.json", PROVED)
    monkeypatch.setattr(diagnosis, "FILE", tmp_path / "diagnoses.json")
    monkeypatch.setattr(diagnosis, "MISTAKES", tmp_path / "none")
    diagnosis._known.cache_clear()
    diagnosis._from_file.cache_clear()
    try:
        for mistake in [m for m in PUBLIC if m.exercise in PROVED]:
            assert diagnosis.diagnose(graded("public", mistake, seed=0)) == mistake.says
    finally:
        diagnosis._known.cache_clear()
        diagnosis._from_file.cache_clear()
