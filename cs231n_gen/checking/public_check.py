"""The public check: `check("flow.interpolate")` says what is right, and which mistake it is when
it is not."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cs231n_gen.common.paths import PUBLIC, ROOT

if TYPE_CHECKING:  # a command line that only prints its help need not wait for torch and pytest
    from cs231n_gen.checking.report import CheckReport

KERNELS = "kernels."  # how the exercises begin that need Triton


def check(exercise: str, hint: int = 0) -> CheckReport:
    """Check an exercise as it is on disk now, show the properties that hold and those that don't.

    Args:
        exercise: its id, `flow.interpolate`.
        hint: how many of its hints to show in plain text (in a notebook they unfold one by one).
    Returns:
        The report, when every property holds.
    Raises:
        CheckFailed: when one does not, after the report is shown; it stops "Run All" at the
            exercise to be done. Or when the exercise cannot be checked here, see `run_check`.
        ValueError: if there is no such exercise.
    """
    from cs231n_gen.checking.report import CheckFailed, display

    report = run_check(exercise, hint)
    if not report.passed:
        display(report)
        raise CheckFailed(report.headline)
    return report


def check_all(exercises: Sequence[str] = ()) -> bool:
    """Check exercises, print each report, and say whether all hold.

    Args:
        exercises: their ids. If none is named, all, but for those that need Triton where it is
            missing: a line says so.
    """
    from cs231n_gen.checking.report import CheckFailed

    chosen, left_out, good = list(exercises), "", 0
    if not chosen:
        chosen = known_exercises()
        of_kernels = [e for e in chosen if e.startswith(KERNELS)]
        if of_kernels and (missing := _triton_is_missing()):
            chosen = [e for e in chosen if e not in of_kernels]
            left_out = f"{len(of_kernels)} left out, {KERNELS}*: {missing}"
    for exercise in chosen:
        try:
            report = run_check(exercise)
        except CheckFailed as error:
            print(f"{error}\n")
            continue
        print(report, end="\n\n")
        good += report.passed
    print(f"{good} of {len(chosen)} exercises hold")
    if left_out:
        print(left_out)
    return good == len(chosen)


def run_check(exercise: str, hint: int = 0) -> CheckReport:
    """The report of `check`, without showing it.

    Kernels are interpreted, in another process where this one compiles them.

    Raises:
        CheckFailed: if there is no report: an exercise on kernels without Triton, or one on which
            the other process crashes.
        ValueError: if there is no such exercise.
    """
    from cs231n_gen.checking.diagnosis import diagnose
    from cs231n_gen.checking.report import CheckFailed, CheckReport
    from cs231n_gen.checking.runner import run

    if not is_known(exercise):
        known = ", ".join(known_exercises())
        raise ValueError(f"there is no exercise {exercise!r}; there are {known}")
    if exercise.startswith(KERNELS):
        # Kernels alone need it, and it imports Triton.
        from cs231n_gen.instruments.interpreter import process

        if missing := _triton_is_missing():
            raise CheckFailed(f"{exercise} cannot be checked here. {missing}")
        if process.needed():
            try:
                return process.ask(f"{__name__}:{checked.__name__}", exercise, hint)
            except process.Crashed as error:
                raise CheckFailed(f"{exercise} has no report: {error}") from None
    results = run(PUBLIC, [exercise])
    if all(r.passed for r in results):
        return CheckReport(exercise, tuple(results))
    told = diagnose(results), _hints(exercise), _where(exercise), hint
    return CheckReport(exercise, tuple(results), *told)


def checked(exercise: str, hint: int) -> CheckReport:
    """What `run_check` reports, but for what the student's code returned, which stays in this
    process: another one asked for it."""
    report = run_check(exercise, hint)
    return replace(report, results=tuple(replace(r, returned=()) for r in report.results))


def known_exercises() -> list[str]:
    """The ids of all exercises that have a public check, in the order of the tests; packages come
    last."""
    files = sorted(PUBLIC.rglob("test_*.py"), key=lambda path: (len(path.parts), path))
    return list(dict.fromkeys(e for path in files for e in _marked_in(path)))


def is_known(exercise: str) -> bool:
    """Whether an exercise has a public check; no test file but its own is read."""
    from cs231n_gen.checking.fresh_modules import tests_of

    path = tests_of(exercise.rpartition(".")[0], PUBLIC)
    return path.is_file() and exercise in _marked_in(path)


def _marked_in(path: Path) -> list[str]:
    """The exercises that a file of tests is marked with."""
    return _marked_in_text(path.read_text(encoding="utf-8"))


@lru_cache(64)
def _marked_in_text(text: str) -> list[str]:
    nodes = ast.walk(ast.parse(text))
    calls = [n for n in nodes if isinstance(n, ast.Call)]
    return [n.args[0].value for n in calls if getattr(n.func, "attr", "") == "exercise"]


def _triton_is_missing() -> str:
    """What to do where Triton is missing, in a line; empty where it is not."""
    from cs231n_gen.kernels.launch import HAVE_TRITON, where

    return "" if HAVE_TRITON else where()


def _hints(exercise: str) -> tuple[str, ...]:
    hints = tomllib.loads((PUBLIC / "hints.toml").read_text(encoding="utf-8"))
    return tuple(hints.get(exercise, ()))


def _where(exercise: str) -> str:
    """The file and line, or the cell, in which an exercise is written."""
    from cs231n_gen.checking.answer_cells import number_of
    from cs231n_gen.checking.fresh_modules import file_of

    module, _, name = exercise.rpartition(".")
    if number := number_of(module):
        return f"the answer cell of {name} in chapter {number}"
    file = file_of(module)
    try:
        body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    except (SyntaxError, FileNotFoundError):
        return file
    lines = [n.lineno for n in body if getattr(n, "name", None) == name]
    return file + (f", line {lines[0]}" if lines else "")
