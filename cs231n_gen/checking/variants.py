"""Mistakes and accepted variants: other ways to write an exercise, wrong and right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from inspect import signature
from itertools import combinations
from pathlib import Path

from cs231n_gen.checking.fresh_modules import load_module


@dataclass(frozen=True)
class Variant:
    """Another implementation of an exercise.

    `says` explains a mistake to the student who made it. A public mistake is one that the public
    check names; the others only prove that hidden graders grade. `sure` and `bare` are explained by
    `mistake`.
    """

    exercise: str
    name: str
    implementation: object
    says: str = ""
    public: bool = True
    sure: bool = False
    bare: bool = False


def mistake(
    exercise: str,
    says: str,
    *,
    public: bool = True,
    ignoring: Sequence[str] = (),
    sure: bool = False,
    bare: bool = False,
) -> Callable:
    """Mark a function or class as a typical wrong answer to an exercise.

    Args:
        exercise: its id.
        says: what is wrong, true of every answer that returns the same.
        public: whether the public check names it.
        ignoring: optional arguments that many who make this mistake don't look at either: it is
            also known in those forms, without any one of them and without all.
        sure: that the sentence is true of every answer that fails the same properties by nothing
            but errors, NaN, zeros or right results. Else such a mistake is known by too little.
        bare: that it is written without the lines above a stub's gap; see `load`.
    """

    def mark(implementation):
        variant = Variant(exercise, "", implementation, says, public, sure, bare)
        first = _marked(implementation, variant)
        for names in _some_of(ignoring):
            form = _without(implementation, names)
            name = f"{first.name}, without {' and '.join(names)}"
            implementation._variants.append(replace(first, name=name, implementation=form))
        return implementation

    return mark


def form_of(known: Callable, *, sure: bool | None = None) -> Callable:
    """Mark a function as another form of a mistake: who writes it makes that one, and more beside.

    Args:
        known: the mistake, whose sentence is true of the form too.
        sure: as for `mistake`; that of the mistake, if None.
    """
    first = known._variants[0]
    sure = first.sure if sure is None else sure

    def mark(implementation):
        _marked(implementation, replace(first, implementation=implementation, sure=sure))
        return implementation

    return mark


class Several:
    """Mistakes that are a formula each, written as a table; see `several`."""

    def __init__(self, found: Sequence[Variant]):
        self._variants = [*found]


def several(
    exercise: str,
    *rows: tuple[str, str | Callable, Callable],
    marking: Callable = mistake,
    **options,
) -> Several:
    """Mark several functions at once, one a row.

    Args:
        exercise: its id.
        rows: a name; a sentence, or the mistake of which this is another form; and the function.
        marking: marks each.
        options: for all of them, as for `mistake`.
    """
    found = []
    for name, says, function in rows:
        function.__name__ = name
        sentence = says if isinstance(says, str) else says._variants[0].says
        found += marking(exercise, sentence, **options)(function)._variants
    return Several(found)


def accepted(exercise: str) -> Callable:
    """Mark a function or class as a right answer written another way."""

    def mark(implementation):
        _marked(implementation, Variant(exercise, "", implementation))
        return implementation

    return mark


def load(folder: Path) -> list[Variant]:
    """All variants of a folder (`tests/mistakes`, `tests/accepted`), in the order they are
    written.

    A file's `REFUSED` maps exercises to functions that raise for what the lines above a stub's gap
    refuse. Who writes a variant into the gap leaves these lines there: they are called before it,
    save for a mistake that is `bare`.
    """
    found = []
    for path in sorted(folder.rglob("*.py")):
        module = load_module(path, f"{folder.name}.{path.stem}")
        refused = getattr(module, "REFUSED", {})
        own = [v for o in vars(module).values() for v in getattr(o, "_variants", [])]
        found += [
            replace(v, implementation=after_refusals(refused[v.exercise], v.implementation))
            if v.exercise in refused and not v.bare
            else v
            for v in own
        ]
    return found


def refusals(folder: Path) -> dict[str, Callable]:
    """What the lines above the stubs' gaps refuse, by exercise, as the files of a folder say it."""
    modules = [load_module(p, f"{folder.name}.{p.stem}") for p in sorted(folder.rglob("*.py"))]
    return {e: f for m in modules for e, f in getattr(m, "REFUSED", {}).items()}


def after_refusals(refuse: Callable, implementation: Callable) -> Callable:
    """An implementation with the lines above the stub's gap before it."""

    @wraps(implementation)
    def refusing(*args, **kwargs):
        refuse(*args, **kwargs)
        return implementation(*args, **kwargs)

    return refusing


def _marked(implementation, variant: Variant) -> Variant:
    name = getattr(implementation, "fn", implementation).__name__  # `fn`: of a kernel
    variant = replace(variant, name=name)
    implementation._variants = [*getattr(implementation, "_variants", []), variant]
    return variant


def _some_of(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Each of the names alone, and all of them where there are several."""
    return [*combinations(names, 1), *([tuple(names)] if len(names) > 1 else [])]


def _without(implementation: Callable, names: Sequence[str]) -> Callable:
    """An implementation that never gets these arguments: they keep their defaults."""
    takes = signature(implementation)

    @wraps(implementation)
    def without(*args, **kwargs):
        given = takes.bind(*args, **kwargs)
        for name in names:
            given.arguments.pop(name, None)
        return implementation(*given.args, **given.kwargs)

    del without._variants
    return without
