"""What makes programs start sooner: imports without garbage collection, and without a parser that
nobody uses."""

import atexit
import contextlib
import gc
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType

IRI = "rfc3987_syntax"


@contextlib.contextmanager
def collecting_later() -> Iterator[None]:
    """Imports without garbage collection: next to nothing that a module leaves behind is garbage.

    Importing torch takes a fifth less then. What was imported is not looked at any more, neither
    while the process runs nor when it ends, which takes as much again.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.unregister(gc.freeze)
        atexit.register(gc.freeze)
        if was_on:
            gc.enable()


def defer_iri_parser() -> None:
    """Let the parser of internationalized addresses be built when one is looked at.

    JupyterLab, nbformat and nbgrader import jsonschema, which imports this parser if it is
    installed. To build it from its grammar takes 1.3 s of CPU time, and none of them checks such
    an address.
    """
    if IRI in sys.modules or (spec := importlib.util.find_spec(IRI)) is None:
        return
    later = ModuleType(IRI)
    later.__spec__ = spec

    def is_valid_syntax(term: str, value: str) -> bool:
        if sys.modules.get(IRI) is later:
            del sys.modules[IRI]
        return importlib.import_module(IRI).is_valid_syntax(term, value)

    later.is_valid_syntax = is_valid_syntax
    sys.modules[IRI] = later
