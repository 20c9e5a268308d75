"""What the source tree holds: exercises in modules and answer cells, chapters in notebooks, graded
cells with their points."""

import ast
import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from cs231n_gen.checking import answer_cells
from cs231n_gen.checking.fresh_modules import file_of
from cs231n_gen.common.paths import INSTRUCTORS, ROOT, room_of
from cs231n_gen.grading.source.markers import BEGIN, Gap, find_gaps, make_gaps

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Exercise:
    """A public top-level function or class with solution markers: `flow.interpolate`.

    `text` is what its gaps are in: a module, or the answer cell of a notebook.
    """

    id: str
    file: Path
    line: int
    gaps: tuple[Gap, ...]
    text: str

    @property
    def in_cell(self) -> bool:
        """Whether it is written in a notebook."""
        return self.file.suffix == ".ipynb"

    @property
    def module(self) -> str:
        """`flow` of `flow.interpolate`."""
        return self.id.rpartition(".")[0]

    @property
    def name(self) -> str:
        """`interpolate` of `flow.interpolate`."""
        return self.id.rpartition(".")[2]

    @property
    def grade_id(self) -> str:
        """The name of its graded cell; nbgrader's JupyterLab extension refuses dots."""
        return self.id.replace(".", "-")


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook: where its JSON begins, where its text does, and what nbgrader knows."""

    kind: str
    text: str
    line: int
    text_line: int
    nbgrader: dict
    has_output: bool

    @property
    def grade_id(self) -> str:
        """Its name in the gradebook, or "" if it has none."""
        return self.nbgrader.get("grade_id", "")

    @property
    def graded(self) -> bool:
        """Whether it carries points."""
        return bool(self.nbgrader.get("grade"))

    @property
    def solution(self) -> bool:
        """Whether the student writes in it."""
        return bool(self.nbgrader.get("solution"))

    @property
    def points(self) -> float | None:
        """What it is worth, or None where that is not a number."""
        value = self.nbgrader.get("points")
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class Chapter:
    """A notebook, `notebooks/04_rectified_flow/04_rectified_flow.ipynb`."""

    name: str
    file: Path

    @property
    def number(self) -> str:
        """`04` of `04_rectified_flow`."""
        return self.name.partition("_")[0]

    @cached_property
    def cells(self) -> list[Cell]:
        """Its cells in order. Raises json.JSONDecodeError if the file is not a notebook."""
        return list(_cells(self.file.read_text(encoding="utf-8")))

    @property
    def graded(self) -> list[Cell]:
        """The cells that carry points."""
        return [c for c in self.cells if c.graded]


def chapters(root: Path = ROOT) -> list[Chapter]:
    """The chapters in order."""
    return [Chapter(p.stem, p) for p in sorted((root / "notebooks").glob("*/*.ipynb"))]


def modules(root: Path = ROOT) -> list[Path]:
    """The Python files of the package in which an exercise may be."""
    package = root / "cs231n_gen"
    found = sorted(package.rglob("*.py"))
    return [p for p in found if room_of(p, package) not in (*INSTRUCTORS, "cli")]


def exercises(root: Path = ROOT) -> list[Exercise]:
    """The exercises of all modules, then of all notebooks, in the order they are written."""
    found = [e for path in modules(root) for e in _exercises_in(path, root)]
    return found + [e for chapter in chapters(root) for e in read_cells(chapter)[0]]


def _exercises_in(path: Path, root: Path) -> list[Exercise]:
    """The exercises of a module, which is not parsed if it has no solution."""
    return read_module(path, root)[0] if BEGIN in path.read_text(encoding="utf-8") else []


def in_course_order(root: Path = ROOT) -> list[Exercise]:
    """The exercises in the order in which a student meets them: by their graded cells."""
    by_grade_id = {e.grade_id: e for e in exercises(root)}
    met = [c.grade_id for chapter in chapters(root) for c in chapter.graded]
    first = [by_grade_id.pop(g) for g in dict.fromkeys(met) if g in by_grade_id]
    return [*first, *by_grade_id.values()]


def read_module(path: Path, root: Path = ROOT) -> tuple[list[Exercise], list[tuple[int, str]]]:
    """The exercises of a module, and what is wrong with it as `(line, what)`."""
    module = ".".join(path.relative_to(root / "cs231n_gen").with_suffix("").parts)
    return _read(path.read_text(encoding="utf-8"), module, path)


def read_cells(chapter: Chapter) -> tuple[list[Exercise], list[tuple[int, str]]]:
    """The exercises in answer cells of a chapter, and what is wrong with these."""
    module, found, wrong = f"chapter{chapter.number}", [], []
    try:
        cells = chapter.cells
    except json.JSONDecodeError:
        return [], []  # which is said elsewhere
    for cell in cells:
        if cell.kind != "code" or not cell.solution:
            continue
        own, said = _read(cell.text, module, chapter.file)
        first = cell.text_line - 1
        wrong += [(first + line, what) for line, what in said]
        found += [replace(e, line=first + e.line) for e in own]
        names = [e.name for e in own]
        if names != [answer_cells.name_of(cell.grade_id, module)]:
            called = f"{module}-{(names or ['name'])[0]}{answer_cells.ANSWER}"
            wrong.append((cell.line, f"an answer cell holds one exercise and is called {called}"))
    return found, wrong


def text_without(module: str, left_out: Collection[str], root: Path = ROOT) -> str:
    """A module of the source, or the answer cells of a chapter as one, with some exercises (their
    ids) cut out."""
    number = answer_cells.number_of(module)
    if number is None:
        path = root / file_of(module)
        own, text = read_module(path, root)[0], path.read_text(encoding="utf-8")
        return make_gaps(text, [gap for e in own if e.id in left_out for gap in e.gaps])
    (chapter,) = (c for c in chapters(root) if c.number == number)
    own = read_cells(chapter)[0]
    parts = [make_gaps(e.text, e.gaps if e.id in left_out else []) for e in own]
    return answer_cells.HEAD + "\n\n".join(parts)


# Files are read anew whenever someone asks for exercises, but parsed once for each text they hold:
# a release asks a dozen times, and parsing the tree takes half a second.
@cache
def _cells(text: str) -> tuple[Cell, ...]:
    """The cells of a notebook's text."""
    lines = text.splitlines()
    cells, at = [], 0
    for cell in json.loads(text)["cells"]:
        line = _find(lines, f'"id": "{cell.get("id")}"', at)
        text_line = _find(lines, '"source":', line) + 1
        at = line
        cells.append(
            Cell(
                cell["cell_type"],
                "".join(cell["source"]),
                line + 1,
                text_line + 1,
                cell["metadata"].get("nbgrader", {}),
                bool(cell.get("outputs") or cell.get("execution_count")),
            )
        )
    return tuple(cells)


def _read(text: str, module: str, path: Path) -> tuple[list[Exercise], list[tuple[int, str]]]:
    found, wrong = _parsed(text, module, path)
    return list(found), list(wrong)


@cache
def _parsed(
    text: str, module: str, path: Path
) -> tuple[tuple[Exercise, ...], tuple[tuple[int, str], ...]]:
    gaps, wrong = find_gaps(text)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return (), (*wrong, (error.lineno or 1, f"not Python: {error.msg}"))
    owners: dict[ast.stmt, list[Gap]] = {}
    for gap in gaps:
        owner = next((n for n in tree.body if _spans(n, gap.begin)), None)
        if not isinstance(owner, DEFINITIONS) or owner.name.startswith("_"):
            wrong.append(
                (gap.begin, "a solution belongs in a public function or class of a module")
            )
        elif not any(_spans(n, gap.begin) for n in ast.walk(owner) if _is_function(n)):
            wrong.append((gap.begin, "a solution belongs in the body of a function or method"))
        elif any(gap.begin < n.lineno < gap.end for n in tree.body):
            wrong.append((gap.begin, "the solution runs on into the next function"))
        elif gap.end == gap.begin + 1:
            wrong.append((gap.begin, "there is no solution between the markers"))
        else:
            owners.setdefault(owner, []).append(gap)
    names = [n.name for n in tree.body if isinstance(n, DEFINITIONS)]
    wrong += [
        (node.lineno, f"{module}.{node.name} is written twice in this file")
        for node in owners
        if names.count(node.name) > 1
    ]
    found = (
        Exercise(f"{module}.{node.name}", path, node.lineno, tuple(own), text)
        for node, own in owners.items()
    )
    return tuple(found), tuple(wrong)


def imports(path: Path) -> set[str]:
    """What a file imports, by full name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _spans(node: ast.AST, line: int) -> bool:
    return node.lineno <= line <= node.end_lineno


def _find(lines: list[str], what: str, start: int) -> int:
    """The index of the first line from `start` that holds `what`; `start` if there is none."""
    return next((i for i in range(start, len(lines)) if what in lines[i]), start)
