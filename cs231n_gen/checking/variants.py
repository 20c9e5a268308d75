"""Mistakes and accepted variants: other ways to write an exercise, wrong and right."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cs231n_gen.checking.fresh_modules import load_module


@dataclass(frozen=True)
class Variant:
    """Another implementation of an exercise.

    `says` explains a mistake to the student who made it. A public mistake is one that the public
    check names; the others only prove that hidden graders grade.
    """

    exercise: str
    name: str
    implementation: object
    says: str = ""
    public: bool = True


def mistake(exercise: str, says: str, *, public: bool = True) -> Callable:
    """Mark a function or class as a typical wrong answer to an exercise."""
    return _marker(exercise, says, public)


def accepted(exercise: str) -> Callable:
    """Mark a function or class as a right answer written another way."""
    return _marker(exercise, "", True)


def load(folder: Path) -> list[Variant]:
    """All variants of a folder (`tests/mistakes`, `tests/accepted`), in the order they are
    written."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        module = load_module(path, f"{folder.name}.{path.stem}")
        found += [v for o in vars(module).values() for v in getattr(o, "_variants", [])]
    return found


def _marker(exercise: str, says: str, public: bool) -> Callable:
    def mark(implementation):
        name = getattr(implementation, "fn", implementation).__name__  # `fn`: of a kernel
        variant = Variant(exercise, name, implementation, says, public)
        implementation._variants = [*getattr(implementation, "_variants", []), variant]
        return implementation

    return mark
