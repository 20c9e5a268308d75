"""Nothing in the package answers an exercise while it is checked or graded: what would is absent.

Student code may import what exercises are written with: the subject modules, what is given and
knows no answer, `kernels.launch`, and other kernels from a kernel. Anything else of the package
(`truth`, a kernel's reference, …) can be imported, so that a file loads that uses it elsewhere, but
raises as soon as it is used. That goes by who imports: the tests, and the course's code that
student code calls, import what they like, and so does a notebook.

In process this holds answers together with what they import, no more: a program bent on it gets
around. In the jail the files are not there, see `write_view` of `grading.jail.bubblewrap`.
"""

import ast
import builtins
import importlib
import importlib.util
import sys
from functools import cache
from types import ModuleType
from typing import NoReturn

from cs231n_gen.common.paths import ANSWERS, MACHINERY, PACKAGE
from cs231n_gen.common.short_names import GIVEN, SHORT

NAME = PACKAGE.name
PACKAGES = (NAME, f"{NAME}.given", f"{NAME}.kernels")  # their members are open or absent, each
LAUNCH = "kernels.launch"


class Absent:
    """Stands where something absent is imported; says so by name when it is used."""

    __slots__ = ("_name",)

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> "Absent":
        if name == "__all__":
            self._refuse()
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self._name}.{name}")

    def __or__(self, other: object) -> "Absent":
        return self  # in an annotation, `Mixture | None`

    __ror__ = __or__

    def _refuse(self, *_, **__) -> NoReturn:
        raise ImportError(
            f"{self._name} is absent while an exercise is checked or graded: "
            "it may hold the answer",
            name=self._name,
        )

    __call__ = __iter__ = __getitem__ = __len__ = __bool__ = __enter__ = __contains__ = _refuse
    __mro_entries__ = __instancecheck__ = __subclasscheck__ = __eq__ = __lt__ = __gt__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __float__ = _refuse
    __hash__ = object.__hash__


def builtins_for(module: str) -> dict:
    """The built-in names for student code of a module (its full name), with an `import` that knows
    what is absent."""
    return {**vars(builtins), "__import__": _Importer(module).import_}


class _Importer:
    """Imports for one module of student code."""

    def __init__(self, module: str):
        self._of_kernel = module.startswith(f"{NAME}.kernels.")

    def import_(self, name, globals=None, locals=None, fromlist=(), level=0):
        """In place of `__import__`."""
        full = name
        if level:
            package = (globals or {}).get("__package__") or NAME
            full = importlib.util.resolve_name("." * level + name, package)
        if full.partition(".")[0] == NAME:
            found = self.find(full)
            return found if fromlist else self.find(NAME)
        found = __import__(name, globals, locals, fromlist, level)
        return self._with_this_import(found)

    def import_module(self, name: str, package: str | None = None) -> object:
        """In place of `importlib.import_module`."""
        full = importlib.util.resolve_name(name, package)
        if full.partition(".")[0] == NAME:
            return self.find(full)
        return self._with_this_import(importlib.import_module(full))

    def find(self, name: str) -> object:
        """What student code gets by a full name of the package: a module, a package whose members
        are found likewise, or what stands for something absent."""
        if name in PACKAGES:
            return _Package(name, self)
        if is_open(name, self._of_kernel):
            return importlib.import_module(name)
        if is_known(name):
            return Absent(name)
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def _with_this_import(self, module: ModuleType) -> ModuleType:
        """The few modules through which others are reached, so that they import like this."""
        if module is importlib:
            return _Over(module, import_module=self.import_module, __import__=self.import_)
        if module is builtins:
            return _Over(module, __import__=self.import_)
        if module is sys:
            loaded = {n: m for n, m in sys.modules.items() if n.partition(".")[0] != NAME}
            return _Over(module, modules=loaded)
        return module


class _Package(ModuleType):
    """A package as student code sees it."""

    def __init__(self, name: str, importer: _Importer):
        super().__init__(name)
        self._importer = importer

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._importer.find(f"{self.__name__}.{name}")
        except ModuleNotFoundError as error:
            raise AttributeError(str(error)) from None


class _Over(ModuleType):
    """A module with some of its names replaced."""

    def __init__(self, module: ModuleType, **replaced: object):
        super().__init__(module.__name__)
        vars(self).update(replaced, _module=module)

    def __getattr__(self, name: str) -> object:
        return getattr(self._module, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._module, name, value)


def is_open(name: str, of_kernel: bool = False) -> bool:
    """Whether student code may import a module of the package.

    Args:
        name: its full name, or with a short one in it (`cs231n_gen.training`).
        of_kernel: whether for a file of a kernel, which may import other kernels and nothing else.
    """
    room, *rest = own = _own_name(name).split(".")
    if room == "kernels":
        return of_kernel or own == LAUNCH.split(".")
    if of_kernel:
        return False
    if room == "given":
        return len(rest) == 1 and knows_no_answer(rest[0])
    return not rest and _is_subject(room)


def is_known(name: str) -> bool:
    """Whether there is such a module in the course: then it is absent where it is not open."""
    room, *rest = _own_name(name).split(".")
    if room == "given":
        return bool(rest) and rest[0] in GIVEN
    return room in ("check", "kernels", *MACHINERY, *ANSWERS) or _is_subject(room)


@cache
def knows_no_answer(given: str) -> bool:
    """Whether a module of `given`, by its own name, is there and imports nothing that is absent,
    directly or through another one."""
    path = PACKAGE / "given" / f"{given}.py"
    return path.is_file() and all(map(_imports_no_answer, _imports(path.read_text("utf-8"))))


def _is_subject(name: str) -> bool:
    return name[0] != "_" and (PACKAGE / f"{name}.py").is_file()


def _imports_no_answer(name: str) -> bool:
    room, *rest = _own_name(name).split(".")
    if room == "given":
        return bool(rest) and knows_no_answer(rest[0])
    return room == "common" or f"{room}.{''.join(rest[:1])}" == LAUNCH


def _imports(text: str) -> set[str]:
    """What a text imports of the package, by full name.

    A kernel that a function imports when it is called does not count: it is for a GPU, and student
    code cannot reach it through the module's names. In the jail its file is not there.
    """
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    late = {id(node) for function in functions for node in ast.walk(function)}
    found = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        kernels = f"{NAME}.kernels."
        found |= {n for n in names if not (id(node) in late and n.startswith(kernels))}
    return {name for name in found if name.startswith(f"{NAME}.")}


def _own_name(name: str) -> str:
    """A name inside the package by its long name: `given.training` of the short name `training`."""
    first, dot, rest = name.removeprefix(f"{NAME}.").partition(".")
    return SHORT.get(first, first) + dot + rest
