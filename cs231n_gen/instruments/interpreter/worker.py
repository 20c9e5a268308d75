"""The process in which `process` has kernels interpreted: a request in, an answer out, pickled.

    python -m cs231n_gen.instruments.interpreter.worker MODULE ...        with TRITON_INTERPRET=1

The modules are imported before it is ready: no file of a student's can stand in their way.
It lives on, and so do the modules it imported; but what a student writes is read again for each
request, as it is on disk.
"""

import atexit
import contextlib
import functools
import importlib
import linecache
import os
import pickle
import signal
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import cs231n_gen.kernels.launch  # noqa: F401  stays, as the instruments do, which turn its switch
from cs231n_gen.common.paths import MACHINERY, PACKAGE, room_of

PYTHON = Path(sysconfig.get_path("stdlib")).resolve()
INSTALLED = {"site-packages", "dist-packages"}


def forget(stay: Mapping[str, ModuleType]) -> None:
    """Forget the modules that somebody may have edited: all but those that stay, are installed, or
    look on."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if stay.get(name) is module or not (os.path.isabs(file) and is_own(file)):
            continue
        del sys.modules[name]
        package, _, last = name.rpartition(".")
        if getattr(sys.modules.get(package), last, None) is module:
            delattr(sys.modules[package], last)
    sys.modules.update(stay)
    importlib.invalidate_caches()
    linecache.checkcache()


@functools.cache  # each request asks it of every module
def is_own(file: str) -> bool:
    """Whether a file is the student's, or a subject module of the course."""
    path = Path(file).resolve()
    if path.is_relative_to(package := PACKAGE.resolve()):
        return room_of(path, package) not in MACHINERY
    return not path.is_relative_to(PYTHON) and not INSTALLED.intersection(path.parts)


def portable(error: BaseException) -> Exception:
    """An error that every Python knows, with the lines of the student's own on the way to it."""
    while type(error).__name__ == "InterpreterError" and error.__cause__:
        error = error.__cause__  # what a kernel itself raised
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if os.path.isabs(f.filename) and is_own(f.filename)
    ]
    known = isinstance(error, Exception) and type(error).__module__ == "builtins"
    try:
        error = pickle.loads(pickle.dumps(error)) if known else _by_name(error)
    except Exception:  # what it holds cannot be sent
        error = _by_name(error)
    if frames:
        error.add_note("where kernels are interpreted:\n" + "".join(traceback.format_list(frames)))
    return error


def _by_name(error: BaseException) -> RuntimeError:
    return RuntimeError(f"{type(error).__name__}: {error}")


def answer(function: str, args: bytes) -> bytes:
    """What comes of a request, pickled: (True, what is returned) or (False, an error)."""
    try:
        try:
            args = pickle.loads(args)
        except Exception as error:
            says = f"an argument could not be read by the process that interprets kernels: {error}"
            raise ValueError(says.split("\n")[0]) from None
        return pickle.dumps((True, _named(function)(*args)))
    except (Exception, SystemExit) as error:
        return pickle.dumps((False, portable(error)))
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


def _named(function: str) -> Callable:
    """`module:name`, imported."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def main() -> None:
    """Answer until the requests end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit.register(os._exit, 0)  # the last thing: taking torch apart would take a while
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)  # code that asks for input does not get a request
    os.dup2(2, 1)  # nor is what it prints an answer
    for module in sys.argv[1:]:
        importlib.import_module(module)
    stay, own_path = dict(sys.modules), list(sys.path)
    reply = pickle.dumps("ready")
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            answers.write(reply)
            answers.flush()
            function, path, args = pickle.load(requests)
            forget(stay)
            sys.path[:] = dict.fromkeys([*path, *own_path])
            reply = answer(function, args)


if __name__ == "__main__":
    main()
