"""Mutants: the text of a module, or of a chapter's answer cells, with one piece of one solution
changed by one rule."""

import ast
import contextlib
import itertools
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from textwrap import dedent, indent

import kernel_rules  # noqa: F401, which enters its rules
from rules import (
    BODY,
    DECORATOR,
    EXPRESSION,
    RESULT,
    RULES,
    START,
    STATEMENT,
    WRAPPER,
    Rule,
    Scope,
    of,
)

from cs231n_gen.checking import answer_cells
from cs231n_gen.grading.source.markers import Gap
from cs231n_gen.grading.source.tree import Exercise, exercises

LEVELS = ("t", "levels")  # parameters that are from 0 to 1 in every exercise
NEEDED = "import torch\n"  # by rules
NETS = ("model", "classifier", "self")


@dataclass(frozen=True)
class Mutant:
    """A wrong answer, probably.

    name: the rule and the change, `sign: 1 - t → 1 + t`, and `#2` where that is there again. It
        holds no line number: it stays while the piece does.
    text: of the whole module, or of the chapter's cells.
    """

    exercise: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.exercise}: {self.name}"


@dataclass(frozen=True)
class Change:
    """A stretch of a text, in bytes, and what is to stand there."""

    rule: str
    before: str
    after: str
    begin: int
    end: int
    told: str = ""

    def named(self) -> str:
        """`before → after`, without what follows unchanged; or what is told."""
        if self.told:
            return self.told
        pieces = (_plain(self.before), _plain(self.after))
        before, after = ([line.strip() for line in piece.splitlines()] for piece in pieces)
        same = 0
        while same < min(len(before), len(after)) - 1 and before[-1 - same] == after[-1 - same]:
            same += 1
        parts = [[*lines[: len(lines) - same], *["…"] * bool(same)] for lines in (before, after)]
        return " → ".join(_in_a_line("\n".join(part)) for part in parts)


def _in_a_line(text: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    return "; ".join(filter(None, lines)).replace(":;", ":")


def _plain(text: str) -> str:
    """A piece of a program as `ast` writes it."""
    with contextlib.suppress(SyntaxError):
        return ast.unparse(ast.parse(dedent(text.strip())))
    return text


def mutants(exercise: Exercise) -> list[Mutant]:
    """All mutants of an exercise, each a different program, in the order of its lines."""
    source = exercise.text.encode()
    first, last = _definition(exercise)  # programs differ in it alone
    seen = {_normal(source[first:last])}
    found, names = [], Counter()
    for change in _changes(exercise):
        after = change.after.encode()
        inside = first <= change.begin and change.end <= last
        at, past = (first, last) if inside else (0, len(source))
        program = _normal(source[at : change.begin] + after + source[change.end : past])
        if program is None or program in seen:
            continue
        seen.add(program)
        name = f"{change.rule}: {change.named()}"
        names[name] += 1
        name += f" #{names[name]}" if names[name] > 1 else ""
        new = (source[: change.begin] + after + source[change.end :]).decode()
        found.append(Mutant(exercise.id, name, whole_text(exercise, new)))
    return found


def whole_text(exercise: Exercise, own: str | None = None) -> str:
    """The text of a module with this text of an exercise; of answer cells all of a chapter."""
    own = exercise.text if own is None else own
    if not exercise.in_cell:
        return own
    cells = [e for e in _all() if e.module == exercise.module]
    parts = [own if e.id == exercise.id else e.text for e in cells]
    return answer_cells.HEAD + "\n\n".join(parts)


@cache
def _all() -> list[Exercise]:
    return exercises()


def _definition(exercise: Exercise) -> tuple[int, int]:
    """Where the function or class of an exercise is in the text's bytes."""
    for node in ast.parse(exercise.text).body:
        if getattr(node, "name", "") == exercise.name:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            return _line_starts(exercise.text)[first - 1], _span(exercise.text, node)[1]
    raise ValueError(f"{exercise.id} is not in its file")


def _normal(text: bytes) -> str | None:
    """What two texts of one program have in common, None if it is not a program."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is sure to fail
            compile(text, "mutant", "exec")
        return ast.dump(ast.parse(text))
    except (SyntaxError, ValueError):
        return None


# --- places ---------------------------------------------------------------------------------------


def _changes(exercise: Exercise) -> Iterator[Change]:
    tree = ast.parse(exercise.text)
    for gap in exercise.gaps:
        function = _around(tree, gap)
        scope = _scope(tree, function)
        rules = [r for r in RULES if (r.kernels if scope.kernel else r.modules)]
        body = _statements(function, gap)
        for part in (_at_start, _at_body, _at_nodes):
            yield from part(exercise.text, body, scope, rules)
        around = {DECORATOR: function.decorator_list, WRAPPER: _conditions(tree, function)}
        for rule in rules:
            for node in around.get(rule.at, ()):
                for new in rule.make(node, scope):
                    span = _span(exercise.text, node)
                    yield Change(rule.name, ast.unparse(node), new, *span)


def _around(tree: ast.Module, gap: Gap) -> ast.FunctionDef:
    """The innermost function that holds a gap."""
    holds = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.FunctionDef) and n.lineno <= gap.begin <= gap.end <= n.end_lineno + 1
    ]
    return max(holds, key=lambda n: n.lineno)


def _conditions(tree: ast.Module, function: ast.FunctionDef) -> list[ast.expr]:
    """The conditions in other functions of a module."""
    others = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n is not function]
    return [n.test for f in others for n in ast.walk(f) if isinstance(n, ast.If)]


def _statements(function: ast.FunctionDef, gap: Gap) -> list[ast.stmt]:
    """The statements of a gap that are in none of its others."""
    inside = [
        n
        for n in ast.walk(function)
        if isinstance(n, ast.stmt) and gap.begin < n.lineno and n.end_lineno < gap.end
    ]
    inner = {id(c) for n in inside for c in ast.walk(n) if c is not n}
    return [n for n in inside if id(n) not in inner]


def _at_start(text: str, body: list, scope: Scope, rules: list[Rule]) -> Iterator[Change]:
    begin, _ = _span(text, body[0])
    for rule in rules:
        if rule.at == START:
            for new in rule.make(scope):
                code = new if "torch." not in new or NEEDED in text else f"{NEEDED}{new}"
                after = indent(f"{code}\n", " " * body[0].col_offset).lstrip()
                after += " " * body[0].col_offset
                yield Change(rule.name, "", after, begin, begin, _in_a_line(new))


def _at_body(text: str, body: list, scope: Scope, rules: list[Rule]) -> Iterator[Change]:
    begin, end = _span(text, body[0])[0], _span(text, body[-1])[1]
    column = " " * body[0].col_offset
    own = dedent(column + text.encode()[begin:end].decode())
    for rule in rules:
        if rule.at == BODY:
            for new in rule.make(own, scope):
                after, first = indent(new, column).lstrip(), new.partition("\n")[0]
                yield Change(rule.name, own, after, begin, end, f"{first} …")


def _at_nodes(text: str, body: list, scope: Scope, rules: list[Rule]) -> Iterator[Change]:
    results = {id(r) for s in body for n in ast.walk(s) for r in _results(n)}
    for node, parent in itertools.chain.from_iterable(map(_inside, body)):
        for rule in rules:
            fits = {
                EXPRESSION: isinstance(node, ast.expr) and not isinstance(node, ast.Starred),
                STATEMENT: isinstance(node, ast.stmt),
                RESULT: id(node) in results,
            }
            if not fits.get(rule.at):
                continue
            begin, end = _span(text, node)
            before = ast.unparse(node)
            for new in rule.make(node, scope):
                after = indent(new, " " * node.col_offset).lstrip()
                if isinstance(node, ast.expr):
                    after = f"({new})"
                told = ""
                if rule.at == RESULT:
                    told = f"return {before} → {_plain(new).replace(_plain(of(node)), '…')}"
                if isinstance(node, ast.Constant | ast.Name) and isinstance(parent, ast.expr):
                    at, past = _span(text, parent)  # a number by itself says little
                    source = text.encode()
                    whole = source[at:begin] + after.encode() + source[end:past]
                    told = f"{ast.unparse(parent)} → {_plain(whole.decode())}"
                yield Change(rule.name, before, after, begin, end, told)


def _results(node: ast.AST) -> list[ast.expr]:
    """What a statement returns, each part of a tuple by itself."""
    match node:
        case ast.Return(value=ast.Tuple(elts=parts)):
            return parts
        case ast.Return(value=ast.IfExp(body=a, orelse=b)):
            return [a, b]
        case ast.Return(value=ast.expr() as value):
            return [value]
    return []


def _inside(
    node: ast.AST, parent: ast.AST | None = None
) -> Iterator[tuple[ast.AST, ast.AST | None]]:
    """A statement and all in it, from the outside in, but for what is assigned to; each with what
    it is a part of."""
    yield node, parent
    for child in ast.iter_child_nodes(node):
        stored = isinstance(getattr(child, "ctx", None), ast.Store)
        if not stored and not isinstance(child, ast.JoinedStr):
            yield from _inside(child, parent if isinstance(node, ast.keyword) else node)


def _span(text: str, node: ast.AST) -> tuple[int, int]:
    """Where a node is in the text's bytes."""
    starts = _line_starts(text)
    begin = starts[node.lineno - 1] + node.col_offset
    return begin, starts[node.end_lineno - 1] + node.end_col_offset


@cache
def _line_starts(text: str) -> list[int]:
    lengths = [len(line.encode()) for line in text.splitlines(keepends=True)]
    return [0, *itertools.accumulate(lengths)]


# --- scopes ---------------------------------------------------------------------------------------


def _scope(tree: ast.Module, function: ast.FunctionDef) -> Scope:
    kernel = any("triton.jit" in ast.unparse(d) for d in function.decorator_list)
    named = {
        t.id: ast.unparse(n.value)
        for n in tree.body
        if isinstance(n, ast.Assign)
        for t in n.targets
        if isinstance(t, ast.Name)
    }
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    notes = {a.arg: _note(a, named) for a in every}
    positional = [*arguments.posonlyargs, *arguments.args]
    given = positional[len(positional) - len(arguments.defaults) :]
    defaults = dict(zip([a.arg for a in given], arguments.defaults, strict=True))
    defaults |= {
        a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d
    }
    tensors = {
        name: "maybe" if "|" in note.replace("torch.Generator", "") or "," in name else ""
        for name, note in notes.items()
        if "Tensor" in note and not note.startswith(("Sequence", "Callable", "list"))
    }
    if kernel:
        tensors = {}
    return Scope(
        function.name,
        tensors,
        tuple(n for n, note in notes.items() if note.startswith("Sequence[Float[Tensor")),
        tuple(n for n in notes if n in NETS or "nn.Module" in notes[n]),
        {name: ast.unparse(d) for name, d in defaults.items()},
        tuple(n for n, note in notes.items() if note.startswith(("Int", "Shaped"))),
        tuple(n for n in tensors if n in LEVELS),
        _bound(function, list(notes)),
        "" if function.returns is None else ast.unparse(function.returns),
        any("no_grad" in ast.unparse(d) for d in function.decorator_list),
        kernel,
        {n: named.get(n, "64") for n, note in notes.items() if "constexpr" in note and n.isupper()},
        tuple(n for n in notes if kernel and "constexpr" not in notes[n]),
    )


def _note(argument: ast.arg, named: dict[str, str]) -> str:
    """The annotation of a parameter; one without any, in an answer cell, is a tensor."""
    if argument.annotation is None:
        return "" if argument.arg in ("self", "dx", *NETS) else "Tensor"
    note = ast.unparse(argument.annotation)
    while note in named:
        note = named[note]
    return note


def _bound(function: ast.FunctionDef, parameters: list[str]) -> dict[int, frozenset[str]]:
    """For each line of a function that begins a statement the names that have a value before."""
    stores = [
        (n.lineno, n.id)
        for n in ast.walk(function)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    ]
    lines = {n.lineno for n in ast.walk(function) if isinstance(n, ast.stmt)}
    return {
        line: frozenset([*parameters, *(name for at, name in stores if at < line)])
        for line in lines
    }
