"""A submission as a student object: one exercise theirs, every other one the reference's.

Follow-through: the student's `loss` is graded with the reference's `interpolate` below it, whatever
the student's own does. One mistake costs once.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from cs231n_gen.checking.student import FreshModules, Student, load_module
from cs231n_gen.grading.source import Exercise


class CannotLoad(Exception):
    """A submitted module cannot be imported; one line for the student, with file and line."""


class NotSubmitted(CannotLoad):
    """The module is not in the submission."""


def assemble(folder: Path, exercise: Exercise, exercises: Sequence[Exercise]) -> Student:
    """The student object with which an exercise is graded.

    Args:
        folder: the submission, which holds `cs231n_gen/flow.py` for an exercise of `flow`. What it
            imports from `cs231n_gen` is this package, the reference.
        exercise: the one to grade.
        exercises: all there are.
    Raises:
        CannotLoad: if the student's module is missing or does not import.
    """
    module = load(folder, exercise.module)
    for other in exercises:
        if other.module == exercise.module and other.name != exercise.name:
            reference = importlib.import_module(f"cs231n_gen.{other.module}")
            setattr(module, other.name, getattr(reference, other.name))
    modules = FreshModules()  # the reference
    modules[exercise.module] = module
    return Student(modules)


def load(folder: Path, module: str) -> ModuleType:
    """A module of a submission, fresh, apart from the reference of the same name."""
    name = f"cs231n_gen/{module.replace('.', '/')}.py"
    path = folder / name
    if not path.is_file():
        raise NotSubmitted(f"{name} is not in the submission")
    try:
        return load_module(path, f"cs231n_gen.{module}")
    except (Exception, SystemExit) as error:
        line = _line(error, path)
        at = f", line {line}" if line else ""
        said = f"{type(error).__name__}: {getattr(error, 'msg', None) or error}"
        raise CannotLoad(f"{name}{at}: {said}") from error


def _line(error: BaseException, path: Path) -> int | None:
    """The line of the student's file at which its import failed."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    line, trace = None, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
