"""What is wrong with the source, file and line: everything that would make a bad release or a wrong
grade."""

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.source.markers import find_gaps, make_gaps
from cs231n_gen.grading.source.tree import (
    Cell,
    Chapter,
    Exercise,
    chapters,
    modules,
    read_cells,
    read_module,
)

GRADE_ID = re.compile(r"[a-zA-Z0-9_-]+")
HEADING = re.compile(r"^#+ Exercise: `([\w.]+)`$", re.MULTILINE)
CARD = re.compile(
    r"^difficulty [●○]{5} · \d+ minutes · (?P<points>[\d.]+) points?"
    r" · [^·]*\bslides? [^·]+ · needs .+$",
    re.MULTILINE,
)
CARD_FORM = "difficulty ●●○○○ · 10 minutes · 2 points · slides 43–44 · needs nothing"
MARKS = {
    "public": "exercise",
    "hidden": "exercise",
    "mistakes": "mistake",
    "accepted": "accepted",
}  # the folders of tests/, and what their functions are decorated with
LEAST = {"mistakes": 4, "accepted": 2}


@dataclass(frozen=True)
class Problem:
    """One thing to mend."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


class BadSource(ValueError):
    """The source cannot be released; one line for each problem."""

    def __init__(self, problems: list[Problem]):
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


def problems(root: Path = ROOT) -> list[Problem]:
    """Everything that is wrong with the source tree; nothing in it is imported."""
    found = []

    def add(file: Path, wrong: Iterable[tuple[int, str]]) -> None:
        found.extend(Problem(file.relative_to(root).as_posix(), *w) for w in wrong)

    exercises: dict[str, Exercise] = {}
    for path in modules(root):
        own, wrong = read_module(path, root)
        add(path, wrong)
        add(path, _stubs(own))
        exercises |= {e.id: e for e in own}
    for chapter in chapters(root):
        own, wrong = read_cells(chapter)
        add(chapter.file, wrong)
        add(chapter.file, _stubs(own))
        exercises |= {e.id: e for e in own}
    if found:  # an exercise that cannot be read would be missed in every other file
        return found

    cells: dict[str, Chapter] = {}
    for chapter in chapters(root):
        try:
            add(chapter.file, _cells(chapter))
            add(chapter.file, _graded(chapter, exercises, cells))
        except json.JSONDecodeError as error:
            add(chapter.file, [(error.lineno, f"not a notebook: {error.msg}")])

    counts = {folder: Counter() for folder in MARKS}
    for folder, mark in MARKS.items():
        for path in sorted((root / "tests" / folder).rglob("*.py")):
            try:
                named = list(_named(path, mark))
            except SyntaxError as error:
                add(path, [(error.lineno or 1, f"not Python: {error.msg}")])
                continue
            counts[folder].update(e for e, _ in named)
            add(path, ((n, f"there is no exercise {e}") for e, n in named if e not in exercises))
    for e in exercises.values():
        add(e.file, ((e.line, f"{e.id} has {lack}") for lack in _lacks(e, cells, counts)))
    return found


def _stubs(exercises: list[Exercise]) -> Iterator[tuple[int, str]]:
    for e in exercises:
        try:
            ast.parse(make_gaps(e.text, e.gaps))
        except SyntaxError as error:
            yield e.line, f"{e.id} does not parse once its solution is cut out: {error.msg}"


def _cells(chapter: Chapter) -> Iterator[tuple[int, str]]:
    """What is wrong with single cells."""
    if chapter.file.parent.name != chapter.name:
        yield 1, f"the notebook of chapter {chapter.file.parent.name} must have its name"
    for cell in chapter.cells:
        if cell.has_output:
            yield cell.line, "a source notebook carries no outputs: clear them"
        gaps, wrong = find_gaps(cell.text)
        yield from ((cell.text_line + n - 1, what) for n, what in wrong)
        if gaps and not cell.solution:
            yield (
                cell.text_line + gaps[0].begin - 1,
                "a solution in a cell that is not an answer cell",
            )
        if cell.nbgrader and not GRADE_ID.fullmatch(cell.grade_id):
            yield cell.line, f"grade_id {cell.grade_id!r}: letters, digits, _ and - are allowed"


def _graded(
    chapter: Chapter, exercises: dict[str, Exercise], seen: dict[str, Chapter]
) -> Iterator[tuple[int, str]]:
    """What is wrong with cells that carry points; `seen` gathers their chapters by grade_id."""
    by_grade_id = {e.grade_id: e for e in exercises.values()}
    for i, cell in enumerate(chapter.cells):
        if not cell.nbgrader:
            continue
        if cell.grade_id in seen:
            where = seen[cell.grade_id].name
            yield cell.line, f"the grade_id {cell.grade_id} is taken, by a cell of {where}"
        seen[cell.grade_id] = chapter
        if not cell.graded:
            continue
        if cell.points is None or not (0 < cell.points < math.inf):
            yield cell.line, f"{cell.grade_id} has no points"
        if cell.kind == "markdown":
            if not cell.solution:
                yield cell.line, f"{cell.grade_id} is a question without an answer: solution=false"
        elif cell.grade_id not in by_grade_id:
            yield cell.line, f"{cell.grade_id} is a graded cell without an exercise"
        else:
            yield from _check_cell(chapter.cells, i, by_grade_id[cell.grade_id])


def _check_cell(cells: list[Cell], i: int, e: Exercise) -> Iterator[tuple[int, str]]:
    """What is wrong with the graded cell of an exercise, and with the card above it."""
    cell = cells[i]
    if cell.text.strip() != f'check("{e.id}")':
        yield cell.text_line, f'the graded cell of {e.id} must be check("{e.id}")'
    if cell.solution or not cell.nbgrader.get("locked"):
        yield cell.line, f"the graded cell of {e.id} must be locked and not an answer cell"
    above = cells[i - 2 if i >= 2 and cells[i - 1].kind == "code" else i - 1] if i else cell
    if e.id not in HEADING.findall(above.text):
        yield cell.line, f"{e.id} has no card above its cell: a heading ### Exercise: `{e.id}`"
    elif not (lines := CARD.search(above.text)):
        yield above.line, f"the card of {e.id} needs a line like: {CARD_FORM}"
    elif cell.points is not None and float(lines["points"]) != cell.points:
        says = f"{lines['points']} points, its cell {cell.points:g}"
        yield above.line, f"the card of {e.id} says {says}"


def _named(path: Path, mark: str) -> Iterator[tuple[str, int]]:
    """The exercise that each decorated function or class of a file belongs to, and its line.

    A mark may be given a name first: `loss = pytest.mark.exercise("flow.loss")`, or a function that
    returns it; and so may an exercise, `LOSS = "flow.loss"`. Each row of `several("flow.loss", …)`
    is a mistake.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names, texts = {}, dict(_constants(tree))
    for node in tree.body:
        if isinstance(node, ast.Assign) and (own := _marked(node.value, mark, texts)):
            names |= {t.id: own for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.FunctionDef):
            returns = [n.value for n in node.body if isinstance(n, ast.Return)]
            returned = [_marked(value, mark, texts) for value in returns]
            names[node.name] = next(filter(None, returned), None)
    for node in tree.body:
        for decorator in getattr(node, "decorator_list", []):
            function = decorator.func if isinstance(decorator, ast.Call) else decorator
            own = _marked(decorator, mark, texts) or names.get(getattr(function, "id", None))
            if own:
                yield own, decorator.lineno
        if mark == MARKS["mistakes"] and isinstance(node, ast.Assign):
            own = _marked(node.value, "several", texts)
            if own and not any(k.arg == "marking" for k in node.value.keywords):
                yield from ((own, row.lineno) for row in node.value.args[1:])


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names of texts in a file: `LOSS = "flow.loss"`, also several at once."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            many = isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)
            targets = node.targets[0].elts if many else node.targets
            values = node.value.elts if many else [node.value]
            for target, value in zip(targets, values, strict=False):
                text = value.value if isinstance(value, ast.Constant) else None
                if isinstance(target, ast.Name) and isinstance(text, str):
                    yield target.id, text


def _marked(node: ast.expr | None, mark: str, texts: dict[str, str]) -> str | None:
    """The exercise in `…exercise("flow.loss", …)`, `mistake("flow.loss", …)` or
    `mistake(LOSS, …)`."""
    if not isinstance(node, ast.Call) or not node.args:
        return None
    called = getattr(node.func, "attr", getattr(node.func, "id", None))
    first = node.args[0]
    if called != mark:
        return None
    return first.value if isinstance(first, ast.Constant) else texts.get(getattr(first, "id", ""))


def _lacks(e: Exercise, cells: dict[str, Chapter], counts: dict[str, Counter]) -> Iterator[str]:
    if e.grade_id not in cells:
        yield f"no graded cell in any notebook (grade_id {e.grade_id})"
    if not counts["public"][e.id]:
        yield "no public check in tests/public"
    if not counts["hidden"][e.id]:
        yield "no hidden grader in tests/hidden"
    for folder, least in LEAST.items():
        if counts[folder][e.id] < least:
            yield f"{counts[folder][e.id]} of at least {least} variants in tests/{folder}"
