"""Which files of the package the tests of an exercise may run, found in the files' text."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from cs231n_gen.common.paths import PACKAGE, UNUSED_BY_EXERCISES, WATCHING, room_of
from cs231n_gen.common.short_names import SHORT

# What runs whatever the exercise is, also in processes that are started by name.
ALWAYS = ("checking", "common", *WATCHING)
IMPORT = re.compile(r"from\s+cs231n_gen([\w.]*)\s+import\s+(\([^)]*\)|[^\n]+)")
FULL_NAME = re.compile(r"cs231n_gen\.([\w.]+)")
ANY_NAME = re.compile(r"[A-Za-z_][\w.]*")


def needed(files: Iterable[Path]) -> list[Path]:
    """The files of the package that these files name, what those and `ALWAYS` import, and so on.

    Args:
        files: tests and mistakes, in which a module counts as named wherever its name stands, be it
            in a comment: rather a file too many.
    """
    found = {path for folder in ALWAYS for path in (PACKAGE / folder).rglob("*.py")}
    found |= {PACKAGE / "__init__.py"}
    for file in files:
        text = file.read_text(encoding="utf-8")
        found |= {p for name in ANY_NAME.findall(text) for p in _files_of(name)} | _imported(text)
    waiting = list(found)
    while waiting:
        new = _imported(waiting.pop().read_text(encoding="utf-8")) - found
        found |= new
        waiting += new
    return sorted(found)


@cache
def _imported(text: str) -> frozenset[Path]:
    """The files of the package that a text imports, or names in full."""
    names = set(FULL_NAME.findall(text))
    for package, imported in IMPORT.findall(text):
        parts = (part.split()[0] for part in imported.strip("()").split(",") if part.strip())
        names |= {f"{package}.{name}".lstrip(".") for name in parts}
    return frozenset(path for name in names for path in _files_of(name))


@cache
def _files_of(name: str) -> frozenset[Path]:
    """The files behind a dotted name: of `student.kernels.axpy.axpy` that of `kernels.axpy` and
    `kernels/__init__.py`."""
    name = name.removeprefix("cs231n_gen.").removeprefix("student.")
    first, _, rest = name.partition(".")
    if first in SHORT:
        name = f"{SHORT[first]}.{rest}"
    if first in UNUSED_BY_EXERCISES:
        return frozenset()
    found, folder = set(), PACKAGE
    for part in filter(None, name.split(".")):
        found |= {p for p in (folder / f"{part}.py", folder / part / "__init__.py") if p.is_file()}
        folder = folder / part
    return frozenset(p for p in found if room_of(p) not in UNUSED_BY_EXERCISES)
