"""Modern generative models, built by the reader: CS231n 2025, lecture 14."""

import importlib
import importlib.abc
import importlib.machinery
import sys

from cs231n_gen.checking.public_check import check

__all__ = ["check"]

# What students import by its short name (`from cs231n_gen import data`, or
# `from cs231n_gen.training import Run` in a file they handed in), and where it is.
SHORT = {
    **{
        name: f"{__name__}.given.{name}"
        for name in ("data", "judge", "metrics", "mlp", "toys", "training", "unet")
    },
    "doctor": f"{__name__}.cli.doctor",
    "schedule_trial": f"{__name__}.experiments.schedule_trial",
}


class _ShortNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a module once, under its own name, whichever of its two names is asked for."""

    def find_spec(self, name, path=None, target=None):
        package, _, own = name.rpartition(".")
        if package == __name__ and own in SHORT:
            return importlib.machinery.ModuleSpec(name, self)
        return None

    def create_module(self, spec):
        module = importlib.import_module(SHORT[spec.name.rpartition(".")[2]])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = module.__spec__.loader_state  # it has run, under its own name


sys.meta_path.append(_ShortNames())
