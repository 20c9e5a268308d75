"""Exercises that are written in answer cells of a notebook: `chapter02.slope` is a function in a
cell of chapter 02.

Each cell stands by itself, with `math` and `torch` at hand and the functions of earlier cells. A
check takes it as it was run last in this notebook, else as it is in the notebook's file.
"""

import json
import linecache
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from cs231n_gen.checking import absence
from cs231n_gen.common.paths import ROOT

CHAPTER = re.compile(r"chapter(\d\d)")
HEAD = "import math\n\nimport torch\n\n\n"  # what a cell has at hand
ANSWER = "-answer"  # how the grade_id of an answer cell ends: `chapter02-slope-answer`


def number_of(module: str) -> str | None:
    """`02` of `chapter02`, None of a module that is a file of the package."""
    found = CHAPTER.fullmatch(module)
    return found[1] if found else None


def line_in_cell(file: str, line: int) -> int:
    """The line of a cell, where one under its head is meant; of another file the line itself.

    Args:
        file: the last part of its name, `chapter02.slope` or `flow.py`.
        line: as a traceback says it.
    """
    module, _, name = file.partition(".")
    return line - HEAD.count("\n") if number_of(module) and name != "py" else line


def notebook_of(module: str, root: Path = ROOT) -> Path | None:
    """The notebook in which the exercises of `chapter02` are written, if it is there."""
    found = sorted((root / "notebooks").glob(f"{number_of(module)}_*/{number_of(module)}_*.ipynb"))
    return found[0] if found else None


def load(module: str) -> ModuleType | None:
    """A fresh `chapter02`, made of the answer cells; None if there is no such chapter.

    A cell that cannot be run leaves a function that says why.
    """
    path = notebook_of(module)
    if path is None:
        return None
    made = ModuleType(f"cs231n_gen.{module}")
    made.__dict__["__builtins__"] = absence.builtins_for(made.__name__)
    exec(HEAD, made.__dict__)
    for name, text in (_saved(path, module) | _run(path, module)).items():
        file = f"{module}.{name}"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        try:
            exec(compile(text, file, "exec"), made.__dict__)
        except Exception as error:
            setattr(made, name, _raising(error))
    return made


def name_of(grade_id: str, module: str) -> str:
    """`slope` of `chapter02-slope-answer`, the answer cell's name in the gradebook, or ""."""
    begins, ends = f"{module}-", ANSWER
    fits = grade_id.startswith(begins) and grade_id.endswith(ends)
    return grade_id[len(begins) : -len(ends)] if fits else ""


def _saved(path: Path, module: str) -> dict[str, str]:
    """The answer cells of a notebook's file, by the names of their exercises, in order."""
    found = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        if cell["cell_type"] == "code" and (name := name_of(grade_id, module)):
            found[name] = "".join(cell["source"])
    return found


def _run(path: Path, module: str) -> dict[str, str]:
    """Those cells that were run in this notebook, as they were then."""
    try:
        from IPython import get_ipython
    except ImportError:
        return {}
    shell = get_ipython()
    if shell is None:
        return {}
    found = {}
    for name in _saved(path, module):
        code = getattr(shell.user_ns.get(name), "__code__", None)
        if code and shell.user_ns[name].__module__ == "__main__":
            found[name] = "".join(linecache.getlines(code.co_filename))
    return {name: text for name, text in found.items() if text}


def _raising(error: Exception) -> Callable:
    def cannot_be_run(*_, **__):
        raise error

    return cannot_be_run
