"""How a child finds the modules that hold exercises: theirs, with other exercises given."""

import marshal
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec

from cs231n_gen.checking import absence
from cs231n_gen.grading.jail.lockdown import SUBMISSION

GIVEN = "<given>"  # where the code of other exercises says it is from


class ModuleFinder:
    """Finds the modules that hold exercises: the student's, with other exercises given.

    Args:
        modules: by name, such as `flow`, what there is: `file`, the student's; `code`, the given
            one, marshalled by the grader; `given`, the names that are taken from it.
    """

    def __init__(self, modules: dict[str, dict]):
        self._imported: set[str] = set()
        self.give(modules)

    def give(self, modules: dict[str, dict]) -> None:
        """Find these from now on; of this package forget what was imported meanwhile."""
        forget(self._imported)
        self._imported.clear()
        self.modules = {f"cs231n_gen.{name}": parts for name, parts in modules.items()}

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """The import system's question."""
        if name.startswith("cs231n_gen."):
            self._imported.add(name)
        parts = self.modules.get(name)
        if parts is None:
            return None
        spec = ModuleSpec(name, self, origin=str(SUBMISSION / parts["file"]))
        spec.has_location = True
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """An ordinary module will do."""

    def exec_module(self, module) -> None:
        """Run the student's file, then put what is given in its place."""
        parts = self.modules[module.__name__]
        given = {"__name__": module.__name__, "__file__": GIVEN}
        if parts["text"] is None:
            given = module.__dict__
        if parts["code"]:
            exec(marshal.loads(bytes.fromhex(parts["code"])), given)
        if parts["text"] is None:
            return
        module.__dict__["__builtins__"] = absence.builtins_for(module.__name__)
        exec(compile(parts["text"], module.__spec__.origin, "exec"), module.__dict__)
        for name in parts["given"]:
            setattr(module, name, given[name])


def forget(names: Iterable[str]) -> None:
    """Undo imports, by full name."""
    for name in names:
        sys.modules.pop(name, None)
        package, _, own = name.rpartition(".")
        vars(sys.modules.get(package, sys)).pop(own, None)


class Modules(dict):
    """Modules by name, imported when they are first asked for."""

    def __missing__(self, name: str):
        try:
            self[name] = __import__(f"cs231n_gen.{name}", fromlist=["_"])
        except ModuleNotFoundError as error:
            raise KeyError(name) from error
        return self[name]
