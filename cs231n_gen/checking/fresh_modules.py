"""Where exercises are written, and modules as they are on disk now, whenever they were imported."""

import importlib.util
import linecache
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import CodeType, ModuleType

from cs231n_gen.checking import absence, answer_cells
from cs231n_gen.common.paths import MACHINERY, PACKAGE


def file_of(module: str) -> str:
    """`cs231n_gen/flow.py` of `flow`."""
    return f"cs231n_gen/{module.replace('.', '/')}.py"


def files_of(exercises: Iterable[str]) -> list[str]:
    """The files of the package in which exercises (their ids) are written, each once; what is
    written in answer cells is in none of them."""
    modules = dict.fromkeys(e.rpartition(".")[0] for e in exercises)
    return [file_of(m) for m in modules if not answer_cells.number_of(m)]


def tests_of(module: str, folder: Path) -> Path:
    """The file of a folder (`tests/public`, `tests/hidden`) that tests the exercises of a module:
    `test_flow.py` of `flow`, `kernels/test_axpy.py` of `kernels.axpy`."""
    *packages, name = module.split(".")
    return folder.joinpath(*packages, f"test_{name}.py")


def load_module(path: Path, name: str) -> ModuleType:
    """A fresh module from a source file, which neither replaces nor reads the imported one.

    One of the package is student code, unless it watches: what answers exercises is absent for it.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    linecache.checkcache(str(path))
    package, _, own = name.partition(".")
    if package == PACKAGE.name and own.partition(".")[0] not in MACHINERY:
        module.__dict__["__builtins__"] = absence.builtins_for(name)
    exec(_compiled(path.read_text(encoding="utf-8"), str(path)), module.__dict__)
    return module


@lru_cache(64)
def _compiled(text: str, file: str) -> CodeType:
    return compile(text, file, "exec")


def package_modules() -> "FreshModules":
    """The subject modules of this package as they are on disk now, whenever imported."""
    return FreshModules()


class FreshModules(dict):
    """Modules by name, each loaded from its file, or from the cells of a chapter, when it is first
    asked for."""

    def __missing__(self, name: str) -> ModuleType:
        if answer_cells.number_of(name) and (made := answer_cells.load(name)):
            self[name] = made
            return made
        path = PACKAGE / f"{name.replace('.', '/')}.py"
        if not path.is_file():
            raise KeyError(name)
        self[name] = load_module(path, f"cs231n_gen.{name}")
        return self[name]
