"""Who imports whom in a package, and what is wrong with it: circles, and imports that climb.

Every import counts: those inside functions, those for type checkers alone, and modules that are
named by a string, as a process that is started is.
"""

import ast
import graphlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True)
class Arrow:
    """One import: file and line, and both modules."""

    place: str
    module: str
    imported: str

    def __str__(self) -> str:
        return f"{self.place}: {self.module} imports {self.imported}"


def modules(package: Path) -> dict[str, Path]:
    """The modules of a package by their full names."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows(package: Path) -> list[Arrow]:
    """The imports of a package's modules of each other."""
    known, found = modules(package), []
    for module, path in known.items():
        for line, name in _named(path, package.name):
            while name not in known:  # a name in a module
                name = name.rpartition(".")[0]
            place = f"{path.relative_to(package.parent).as_posix()}:{line}"
            found.append(Arrow(place, module, name))
    return list(dict.fromkeys(found))


def _named(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """Line and full name of all that a file names of the package."""
    is_module = re.compile(rf"{package}(\.\w+)+(:\w+)?")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(
                    f"{path}:{node.lineno}: import by the full name, not a relative one"
                )
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value.partition(":")[0]] if is_module.fullmatch(node.value) else []
        yield from ((node.lineno, name) for name in names if f"{name}.".startswith(f"{package}."))


def circles(found: Sequence[Arrow]) -> list[list[str]]:
    """Circles of imports, each as the path that closes it; an arrow belongs to one at most."""
    imported: dict[str, set[str]] = {}
    for arrow in found:
        imported.setdefault(arrow.module, set()).add(arrow.imported)
    closed = []
    while True:
        try:
            graphlib.TopologicalSorter(imported).prepare()
            return closed
        except graphlib.CycleError as error:
            path = error.args[1][::-1]  # from a module to what it imports
            closed.append(path)
            for module, other in pairwise(path):
                imported[module].discard(other)


def may_import(chains: Sequence[str]) -> dict[str, set[str]]:
    """What each room may import besides itself, by chains such as `common, truth ← kernels`: what
    stands to its left, and what that may import."""
    allowed: dict[str, set[str]] = {}
    for chain in chains:
        groups = [[room.strip() for room in group.split(",")] for group in chain.split("←")]
        for room in groups[0]:
            allowed.setdefault(room, set())
        for left, right in pairwise(groups):
            for room in right:
                allowed.setdefault(room, set()).update(left)
    order = graphlib.TopologicalSorter(allowed).static_order()
    for room in order:  # what it imports comes before it
        allowed[room] |= set().union(*(allowed[other] for other in allowed[room]))
    return allowed


def climbing(found: Sequence[Arrow], allowed: Mapping[str, set[str]]) -> list[Arrow]:
    """The imports from one room into another that `may_import` does not allow. The package's own
    `__init__` may import everything, and nobody imports it."""
    return [
        arrow
        for arrow in found
        if "." in arrow.module
        and (room := _room(arrow.module)) != (other := _room(arrow.imported))
        and other not in allowed.get(room, ())
    ]


def _room(module: str) -> str:
    """`kernels` of `cs231n_gen.kernels.axpy`, `flow` of `cs231n_gen.flow`."""
    return module.split(".")[1] if "." in module else module
