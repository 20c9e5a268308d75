"""The ways past torch's dispatcher, watched, and who took them."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from cs231n_gen.common.paths import PACKAGE, WATCHING
from cs231n_gen.triton_compat import hooks

READERS = ("numpy", "__array__", "tolist", "__dlpack__")  # methods that let numbers out of torch
OUTSIDE = ("ctypes.", "subprocess.", "os.fork", "os.exec", "os.posix_spawn")  # audit events
TORCH = os.path.dirname(torch.__file__) + os.sep
HERE = str(Path(__file__).parent) + os.sep
OURS = tuple(f"{PACKAGE / room}{os.sep}" for room in WATCHING)
INTERPRETER = os.sep.join(["triton", "runtime", "interpreter.py"])
RUNNERS = {
    HERE + "guard.py",
    OURS[0] + "compare.py",
    OURS[0] + "observe.py",
}  # where backward passes are run
WATCHING = (TORCH, __file__, HERE + "torch_watch.py")

Place = tuple[str, int]

_listeners: list[Callable[[str, Place], None]] = []
_installed = False


@contextlib.contextmanager
def watching_escapes(
    launch: Callable, read: Callable[[str, Tensor, Place], None], say: Callable[[str, Place], None]
) -> Iterator[None]:
    """Hear of launches, of numbers that leave torch, and of whatever runs where nobody sees.

    Args:
        launch: makes of the executor, its args and its kwargs what a launch happens inside.
        read: told of a method that reads a tensor, which, and where.
        say: told what happened, and where.
    """
    start = threading.Thread.start

    def watch_launches(call):
        def launched(self, *args, **kwargs):
            with launch(self, args, kwargs):
                return call(self, *args, **kwargs)

        return launched

    def started(self):
        say("a thread was started, which cannot be watched", caller())
        return start(self)

    def compiled(model=None, **_options):
        say("torch.compile was called", caller())
        return model if model is not None else lambda model: model

    _install()
    with contextlib.ExitStack() as watched:
        watched.enter_context(hooks.replaced(hooks.LAUNCH, watch_launches))
        watched.enter_context(_replaced(threading.Thread, "start", started))
        watched.enter_context(_replaced(torch, "compile", compiled))
        busy: list[str] = []
        for name in READERS:
            method = _reader(name, getattr(Tensor, name), read, busy)
            watched.enter_context(_replaced(Tensor, name, method))
        watched.enter_context(torch.compiler.set_stance("force_eager"))
        _listeners.append(say)
        watched.callback(_listeners.remove, say)
        yield


def caller() -> Place:
    """File and line of the innermost frame that belongs neither to torch nor to the watch."""
    frame = sys._getframe(1)
    while frame and frame.f_code.co_filename.startswith(WATCHING):
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame else ("", 0)


def is_ours(place: Place) -> bool:
    """Whether an instrument or the interpreter did it, for its own purposes."""
    file, _ = place
    return file.endswith(INTERPRETER) or (file.startswith(OURS) and file not in RUNNERS)


def place_in_words(place: Place) -> str:
    """A place as a reader knows it."""
    file, line = place
    return "in the backward pass" if file in RUNNERS else f"{os.path.basename(file)}, line {line}"


@contextlib.contextmanager
def _replaced(owner: object, name: str, new: object) -> Iterator[None]:
    """Another attribute for a while; one that was inherited is inherited again."""
    own, before = name in vars(owner), getattr(owner, name)
    setattr(owner, name, new)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


def _reader(name: str, method: Callable, read: Callable, busy: list[str]) -> Callable:
    """A method that reads a tensor, told of; the readers that it calls in turn are not."""

    def noted(self, *args, **kwargs):
        place = caller()
        if not busy and not is_ours(place):
            read(name, self, place)
        busy.append(name)
        try:
            return method(self, *args, **kwargs)
        finally:
            busy.pop()

    return noted


def _install() -> None:
    """Hear of ctypes and of other processes. Such a hook stays, silent while nobody listens."""
    global _installed
    if not _installed:
        sys.addaudithook(_heard)
        _installed = True


def _heard(event: str, _args: tuple) -> None:
    if _listeners and event.startswith(OUTSIDE):
        place = caller()
        if not is_ours(place):
            _listeners[-1](f"work was done where it cannot be watched: {event}", place)
