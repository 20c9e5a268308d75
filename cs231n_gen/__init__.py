"""Modern generative models, built by the reader: CS231n 2025, lecture 14."""

import importlib
import importlib.abc
import importlib.machinery
import sys

from cs231n_gen.checking.public_check import check
from cs231n_gen.common.short_names import SHORT

__all__ = ["check"]


class _ShortNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a module once, under its own name, whichever of its two names is asked for."""

    def find_spec(self, name, path=None, target=None):
        package, _, own = name.rpartition(".")
        if package == __name__ and own in SHORT:
            return importlib.machinery.ModuleSpec(name, self)
        return None

    def create_module(self, spec):
        own = SHORT[spec.name.rpartition(".")[2]]
        module = importlib.import_module(f"{__name__}.{own}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = module.__spec__.loader_state  # it has run, under its own name


sys.meta_path.append(_ShortNames())
