"""The process in which `elsewhere` has kernels interpreted: a request in, an answer out, pickled.

    python -m cs231n_gen.instruments.interpreter.worker        with TRITON_INTERPRET=1

It lives on, and so do the modules it imported; but what a student writes is read again for each
request, as it is on disk.
"""

import atexit
import contextlib
import functools
import importlib
import importlib.util
import linecache
import os
import pickle
import signal
import sys
import sysconfig
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cs231n_gen
from cs231n_gen.checking import diagnosis  # noqa: F401  before the first check waits for it
from cs231n_gen.checking.public_check import run_check
from cs231n_gen.checking.report import Report as Checked
from cs231n_gen.instruments.report import Report, inspect

PACKAGE = Path(cs231n_gen.__file__).resolve().parent
LOOKS_ON = {
    *("checking", "cli", "common", "grading", "instruments", "triton_compat", "viz"),
}  # the package's own machinery
PYTHON = Path(sysconfig.get_path("stdlib")).resolve()
INSTALLED = {"site-packages", "dist-packages"}


def inspected(
    place: tuple[str, str, str], args: Sequence, options: Mapping, how: Mapping[str, object]
) -> Report:
    """What `inspect` reports, but for functions and arguments of launches, which stay here.

    Args:
        place: file, module and name of the wrapper.
        args, options: the wrapper's; how: what else `inspect` is told.
    """
    report = inspect(function_at(*place), *args, **how, **options)
    launches = [replace(one, fn=None, args={}) for one in report.launches]
    return replace(report, launches=tuple(launches))


def checked(exercise: str, hint: int) -> Checked:
    """What `run_check` reports, but for what the student's code returned, which stays here."""
    report = run_check(exercise, hint)
    return replace(report, results=tuple(replace(r, returned=()) for r in report.results))


def function_at(file: str, module: str, name: str):
    """A function of a file, which is run as it is on disk now, in the place of its module."""
    package = module.rpartition(".")[0]
    if package:
        with contextlib.suppress(ModuleNotFoundError):  # whoever loads it by its file needs none
            importlib.import_module(package)
    spec = importlib.util.spec_from_file_location(module, file)
    sys.modules[module] = found = importlib.util.module_from_spec(spec)
    # Not through the loader, which takes the compiled file of an earlier edit if it is as long and
    # of the same second.
    exec(compile(Path(file).read_bytes(), file, "exec"), vars(found))
    return functools.reduce(getattr, name.split("."), found)


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
    if path.is_relative_to(PACKAGE):
        return path.relative_to(PACKAGE).parts[0] not in LOOKS_ON
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


FUNCTIONS = {"inspect": inspected, "check": checked}


def answer(function: str, args: bytes) -> bytes:
    """What comes of a request, pickled: (True, what is returned) or (False, an error)."""
    try:
        try:
            args = pickle.loads(args)
        except Exception as error:
            says = f"an argument cannot be had where kernels are interpreted: {error}"
            raise ValueError(says.split("\n")[0]) from None
        return pickle.dumps((True, FUNCTIONS[function](*args)))
    except (Exception, SystemExit) as error:
        return pickle.dumps((False, portable(error)))
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


def main() -> None:
    """Answer until the requests end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit.register(os._exit, 0)  # the last thing: taking torch apart would take a while
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)  # code that asks for input does not get a request
    os.dup2(2, 1)  # nor is what it prints an answer
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
