"""Which files an exercise's proof or a chapter's run can depend on, read from their text.

A file depends on the modules that it imports, those that a text of it names (`cs231n_gen.grading`,
`flow.interpolate`, `"figures/flow_field"`), and the files whose names stand in it. Where a package
only passes on what its modules define, as `viz` does, a file depends on what it takes from there:
that all the others can be imported is seen in every run of the tests.
"""

import ast
import hashlib
import json
import posixpath
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from cs231n_gen.grading.source.tree import exercises

PACKAGE = "cs231n_gen"
SETTINGS = ("pyproject.toml", "constraints.txt", "data/SHA256SUMS")  # whatever is run depends on
SUMS, HINTS = "data/SHA256SUMS", "tests/public/hints.toml"  # of which an item needs its lines only
CHECKS_ALL_DATA = f"{PACKAGE}/cli/doctor.py"  # which names none of the files that it checks
NAMES = f"{PACKAGE}/common/short_names.py"  # and this one names modules that it does not import
RELEASE = ("nbgrader_config.py",)  # which makes the released form of a chapter
FOLDERS = (PACKAGE, "tests", "notebooks", "data")
LEFT_OUT = {"__pycache__", ".ipynb_checkpoints", "build"}
# What proves an exercise: files of tests, and what the second of them reads.
MUTATION = "tests/project/mutation"
PROOFS = ("tests/project/test_graders_grade.py", f"{MUTATION}/test_mutation.py")
RUN = f"{PACKAGE}/grading/release/run_chapters.py"
ALSO_WORDS = {"text"}  # subjects called like many variables: `text.strip` is none of text.py
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
JS_IMPORT = re.compile(r"""(?:from|import)\s*\(?\s*["'](\.[^"']+)["']""")


@dataclass(frozen=True)
class Item:
    """What is proved as one, and the files where the search for all others begins.

    name: `flow.interpolate` or `04_rectified_flow`.
    checked: the exercises whose checks it runs.
    """

    kind: str
    name: str
    roots: tuple[str, ...]
    checked: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Tree:
    """The files of a source tree, and what each depends on.

    Args:
        root: the folder that holds `cs231n_gen`, `tests`, `notebooks` and `data`.
    """

    def __init__(self, root: Path):
        self.root = root
        self._hashes: dict[str, str] = {}
        self._needs: dict[str, frozenset[str]] = {}
        self._texts: dict[str, str] = {}

    @cached_property
    def files(self) -> frozenset[str]:
        """All files, as `cs231n_gen/flow.py`."""
        found = [p for folder in FOLDERS for p in (self.root / folder).rglob("*")]
        names = [p.relative_to(self.root) for p in found if p.is_file()]
        own = {n.as_posix() for n in names if not LEFT_OUT & set(n.parts)}
        return frozenset(own | {n for n in (*SETTINGS, *RELEASE) if (self.root / n).is_file()})

    @cached_property
    def subjects(self) -> dict[str, str]:
        """The modules that students write, by name: `flow`, and `kernels.axpy`."""
        found = {}
        for file in self.files:
            parts = file.removesuffix(".py").split("/")
            if not file.endswith(".py") or parts[0] != PACKAGE or parts[-1] == "__init__":
                continue
            if len(parts) == 2 or parts[1] == "kernels":
                found[".".join(parts[1:])] = file
        return found

    @cached_property
    def named(self) -> dict[str, set[str]]:
        """Files that are not Python by what a text may call them: their name, or the end of their
        path without its suffix."""
        found: dict[str, set[str]] = {}
        for file in self.files:
            if file.endswith((".py", ".ipynb")):
                continue
            folders = file.rpartition(".")[0].split("/")
            ends = ["/".join(folders[i:]) for i in range(1, len(folders) - 1)]
            for name in [*ends, *([] if file.endswith(".md") else [file.rpartition("/")[2]])]:
                found.setdefault(name, set()).add(file)
        return found

    def text(self, file: str) -> str:
        """The text of a file; of a notebook its code, without what is IPython's."""
        if file not in self._texts:
            text = (self.root / file).read_text(encoding="utf-8", errors="replace")
            self._texts[file] = _code(text) if file.endswith(".ipynb") else text
        return self._texts[file]

    def hash(self, item: Item) -> str:
        """One number for the names and contents of all files that an item depends on.

        Of the sums of data only those of its files count, of the hints those of its exercises:
        what a new chapter adds there concerns no other.
        """
        whole, files = hashlib.sha256(), self.closure(item.roots)
        for file in sorted(files):
            if file == SUMS:
                lines = self.text(file).splitlines()
                of = [line for line in lines if f"data/{line.split()[-1].lstrip('*')}" in files]
                found = hashlib.sha256("\n".join(of).encode()).hexdigest()
            elif file == HINTS:
                of = {e: hints for e, hints in self._hints.items() if e in item.checked}
                found = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()
            else:
                found = self._hash(file)
            whole.update(f"{file} {found}\n".encode())
        return whole.hexdigest()

    def _hash(self, file: str) -> str:
        if file not in self._hashes:
            content = (self.root / file).read_bytes()
            self._hashes[file] = hashlib.sha256(content).hexdigest()
        return self._hashes[file]

    @cached_property
    def _hints(self) -> dict[str, list[str]]:
        return tomllib.loads(self.text(HINTS))

    def closure(self, roots: Iterable[str]) -> frozenset[str]:
        """These files and all that they depend on."""
        found, left = set(), [r for r in roots if r in self.files]
        while left:
            file = left.pop()
            if file not in found:
                found.add(file)
                left += self.needs(file) - found
        return frozenset(found)

    def needs(self, file: str) -> frozenset[str]:
        """The files that a file names, imported or otherwise."""
        if file not in self._needs:
            found: set[str] = set()
            if file.endswith((".py", ".ipynb")):
                found |= self._python(file) | self._packages_of(file)
            elif file.endswith(".mjs"):
                here = posixpath.dirname(file)
                named = JS_IMPORT.findall(self.text(file))
                found |= {posixpath.normpath(posixpath.join(here, n)) for n in named}
            self._needs[file] = frozenset((found & self.files) - {file})
        return self._needs[file]

    def _packages_of(self, file: str) -> set[str]:
        """The files of the packages that a module is in, which run before it; those that only pass
        on names are as good as empty."""
        folders = file.split("/")[:-1]
        names = ["/".join([*folders[:i], "__init__.py"]) for i in range(1, len(folders) + 1)]
        return {n for n in names if n in self.files and n not in self._passed_on}

    def _python(self, file: str) -> set[str]:
        text, found = _read(self.text(file)), set()
        if file == CHECKS_ALL_DATA:
            sums = self.text(SUMS).splitlines()
            found |= {f"data/{line.split()[-1].lstrip('*')}" for line in sums if line.strip()}
        for name in text.imports:
            found |= self._module(name)
        for module, name, attributes in text.taken:
            found |= self._taken(module, name, attributes)
        for string in text.strings:
            found |= self.named.get(string, set())
        for name in text.dotted if file != NAMES else ():
            if name.startswith(f"{PACKAGE}."):
                found |= {f for f in self._module(name) if f not in self._passed_on}
            found |= self._subject(name)
        return found

    def _taken(self, module: str, name: str, attributes: frozenset[str] | None) -> set[str]:
        """What `from module import name` takes, of which only some attributes may be used."""
        whole = self._init(f"{module}.{name}")
        if known := self._passed_on.get(whole):
            if attributes is None or not attributes <= known.keys():
                return {whole, *known.values()}
            return {known[attribute] for attribute in attributes}
        if name in (known := self._passed_on.get(self._init(module), {})):
            return {known[name]}
        return self._module(f"{module}.{name}")

    def _module(self, name: str) -> set[str]:
        """The file of the longest part of a dotted name that is a module, and the packages it is
        in."""
        parts = name.split(".")
        if parts[0] != PACKAGE:
            return set()
        short = f"{PACKAGE}/*/{parts[1]}.py" if len(parts) > 1 else ""
        found = {f"{PACKAGE}/__init__.py"}
        for i in range(2, len(parts) + 1):
            path = "/".join(parts[:i])
            if f"{path}.py" in self.files:
                return found | {f"{path}.py"}
            init = f"{path}/__init__.py"
            if init not in self.files:
                break
            if init not in self._passed_on or i == len(parts):
                found.add(init)
        if len(found) == 1 and short:  # a short name: `from cs231n_gen import data`
            found |= {f for f in self.files if Path(f).match(short)}
        return found

    def _init(self, name: str) -> str:
        init = f"{name.replace('.', '/')}/__init__.py"
        return init if init in self.files else ""

    def _subject(self, name: str) -> set[str]:
        """The modules in a dotted name that tests and checks may go by: `flow.loss`,
        `student.kernels.axpy.axpy`, `student.instruments.observe.call`."""
        parts, found = name.split("."), set()
        for i in range(len(parts)):
            file = self.subjects.get(parts[i])
            if file and (parts[i] not in ALSO_WORDS or self._defines(file, parts[i + 1 : i + 2])):
                found.add(file)
            for j in range(i + 2, len(parts) + 1):
                found.add(f"{PACKAGE}/{'/'.join(parts[i:j])}.py")
        return found & self.files

    def _defines(self, file: str, names: list[str]) -> bool:
        """Whether a module defines a name, of no or one that follows its own."""
        text = self.text(file)
        return any(re.search(rf"^(?:def|class) {name}\b", text, re.M) for name in names)

    @cached_property
    def _passed_on(self) -> dict[str, dict[str, str]]:
        """Of packages that only pass on names of their modules: from where each name is."""
        found = {}
        for file in self.files:
            if not (file.startswith(f"{PACKAGE}/") and file.endswith("/__init__.py")):
                continue
            names: dict[str, str] = {}
            for node in ast.parse(self.text(file)).body:
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    path = f"{node.module.replace('.', '/')}.py"
                    names |= {a.asname or a.name: path for a in node.names}
                elif not _is_said(node):
                    break
            else:
                if names and set(names.values()) <= self.files:
                    found[file] = names
        return found


def items(tree: Tree) -> list[Item]:
    """The proofs of all exercises, then the runs of all chapters."""
    return [*_exercises(tree), *_chapters(tree)]


def _exercises(tree: Tree) -> Iterator[Item]:
    """The exercises; one of a chapter's cells begins with its notebook."""
    makes_mutants = [f for f in tree.files if re.fullmatch(rf"{MUTATION}/\w+\.py", f)]
    shared = [*PROOFS, *makes_mutants, *SETTINGS, *_helpers(tree)]
    for exercise in exercises(tree.root):
        *folders, module, _ = exercise.id.split(".")
        own, tests = "/".join([*folders, f"{module}.py"]), "/".join([*folders, f"test_{module}.py"])
        roots = [exercise.file.relative_to(tree.root).as_posix()]
        roots += [f"tests/{folder}/{tests}" for folder in ("hidden", "public")]
        roots += [f"tests/{folder}/{own}" for folder in ("mistakes", "accepted")]
        roots.append(f"{MUTATION}/right/{'.'.join([*folders, module])}.toml")
        roots = sorted({*roots, *shared} & tree.files)
        yield Item("exercise", exercise.id, tuple(roots), frozenset({exercise.id}))


def _chapters(tree: Tree) -> Iterator[Item]:
    """A chapter for every notebook; the checks that it calls are among its roots."""
    for file in sorted(f for f in tree.files if f.startswith("notebooks/")):
        if not file.endswith(".ipynb"):
            continue
        called = re.findall(r"""check\(\s*["']([\w.]+\.\w+)["']""", tree.text(file))
        modules = {e.rpartition(".")[0] for e in called}
        checks = [f"tests/public/{'/'.join(_test_path(m))}" for m in modules]
        roots = {file, RUN, *SETTINGS, *RELEASE, *checks, *_helpers(tree, ("public",))}
        roots = sorted(roots & tree.files)
        yield Item("chapter", Path(file).stem, tuple(roots), frozenset(called))


def _test_path(module: str) -> list[str]:
    *folders, name = module.split(".")
    return [*folders, f"test_{name}.py"]


def _helpers(
    tree: Tree, folders: tuple[str, ...] = ("hidden", "public", "mistakes", "accepted")
) -> list[str]:
    """Files beside tests and variants that belong to none of the exercises: what all may use."""
    found = []
    for file in tree.files:
        parts = file.split("/")
        if parts[0] != "tests" or parts[1] not in folders or file.endswith("diagnoses.json"):
            continue
        own = file.removesuffix(".py").split("/", 2)[2].replace("test_", "")
        module = own.replace("/", ".")
        if module not in tree.subjects and not re.fullmatch(r"chapter\d\d", module):
            found.append(file)
    return found


@dataclass(frozen=True)
class Text:
    """What stands in a Python file, before anything is looked for in a tree.

    imports: of `import a.b`.
    taken: of `from a import b`: `a`, `b`, and the attributes of `b` that are used, None where it
        is used in another way.
    strings: each as a whole.
    dotted: names with dots wherever they stand, in strings and comments too.
    """

    imports: frozenset[str]
    taken: frozenset[tuple[str, str, frozenset[str] | None]]
    strings: frozenset[str]
    dotted: frozenset[str]


@cache
def _read(text: str) -> Text:
    imports, strings, aliases = set(), set(), []
    used: dict[str, list[str | None]] = {}
    for node in ast.walk(ast.parse(text)):  # what is not Python ends the run
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            aliases += [(node.module or "", alias) for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.add(node.value)
        elif isinstance(node, ast.Name):
            used.setdefault(node.id, []).append(None)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.setdefault(node.value.id, []).append(node.attr)
    taken = set()
    for module, alias in aliases:
        uses = used.get(alias.asname or alias.name, [])
        attributes = frozenset(u for u in uses if u)
        only = 2 * uses.count(None) == len(uses)  # a name with an attribute is seen twice
        taken.add((module, alias.name, attributes if only else None))
    dotted = frozenset(DOTTED.findall(text))
    return Text(frozenset(imports), frozenset(taken), frozenset(strings), dotted)


def _is_said(node: ast.stmt) -> bool:
    """Whether a statement is a docstring or `__all__ = [...]`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"


def _code(notebook: str) -> str:
    """The code of a notebook, as Python."""
    cells = [c for c in json.loads(notebook)["cells"] if c["cell_type"] == "code"]
    lines = "\n".join("".join(c["source"]) for c in cells).splitlines()
    return "\n".join("pass" if line.lstrip()[:1] in ("%", "!") else line for line in lines)
