"""Imports, and an end of the process, that the garbage collector does not slow down."""

import atexit
import contextlib
import gc
from collections.abc import Iterator


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
