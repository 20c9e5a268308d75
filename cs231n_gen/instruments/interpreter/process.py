"""`inspect` and `check` in another process, where kernels are compiled in this one.

Triton decides when it is imported whether a process compiles kernels or interprets them. A notebook
on a machine with a GPU compiles them, and whoever looks at kernels interprets them: that is done by
`elsewhere_child`, which sees no GPU. It is started when it is first needed, and ends with Python.

Both ends are this user's, and run the same code: what passes between them is pickled.
"""

import atexit
import contextlib
import functools
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from cs231n_gen.kernels.launch import HAVE_TRITON, INTERPRETED

if TYPE_CHECKING:  # both use this module
    from cs231n_gen.checking import report as checking
    from cs231n_gen.instruments.report import Report

CHILD = "cs231n_gen.instruments.interpreter.worker"
PATIENCE = 1.0  # seconds in which it may end by itself; its own compiler ends with it then
LONGEST = 1 << 16  # bytes of what it printed that are shown
ALIGNED = 64  # bytes: torch's memory on a CPU begins at a multiple of them
NO_ANSWER = EOFError, OSError, pickle.UnpicklingError

_there: "Interpreter | None" = None
_one_at_a_time = threading.Lock()


class Crashed(RuntimeError):
    """The other process is gone without an answer; in a notebook it shows as one line."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def needed() -> bool:
    """Whether kernels are compiled in this process, so that another one has to interpret them."""
    return HAVE_TRITON and not INTERPRETED


def inspect(
    wrapper: Callable, args: Sequence, options: Mapping[str, object], **how: object
) -> "Report":
    """Inspect a kernel's wrapper, as its file is on disk now.

    Args:
        wrapper, args, options: what is called; tensors are copied to the CPU for it.
        how: what else `report.inspect` is told.
    Returns:
        The report, without the functions and arguments of its launches.
    Raises:
        ValueError: if the wrapper stands in no file, or an argument cannot be sent.
        Crashed: if the other process is gone.
        Exception: what the wrapper or its kernel raised.
    """
    place = place_of(wrapper)
    args, options = copied((list(args), dict(options)))
    return _ask("inspect", place, args, options, how)


def check(exercise: str, hint: int = 0) -> "checking.Report":
    """What `run_check` finds, without what the student's code returned.

    Args:
        exercise, hint: those of `run_check`.
    Raises:
        Crashed: if the other process is gone.
    """
    return _ask("check", exercise, hint)


def place_of(wrapper: Callable) -> tuple[str, str, str]:
    """The file, the module and the name by which another process finds a function.

    Raises:
        ValueError: if none leads to it, as for one that is written in a notebook.
    """
    owner = getattr(wrapper, "__self__", None)
    if isinstance(owner, type):  # the apply of an autograd.Function
        module, name = owner.__module__, f"{owner.__qualname__}.{wrapper.__name__}"
    else:
        module, name = getattr(wrapper, "__module__", ""), getattr(wrapper, "__qualname__", "")
    holder = sys.modules.get(module or "")
    file = getattr(holder, "__file__", None) or ""
    if module == "__main__" or not file.endswith(".py") or not _is_called(wrapper, holder, name):
        raise ValueError(
            f"{name or wrapper!r} cannot be inspected from here, where kernels are compiled: "
            "write it to a .py file, at the top level, and import it, or set TRITON_INTERPRET=1 "
            "before Python starts"
        )
    return os.path.abspath(file), module, name


def copied(values: object) -> object:
    """The same values with every tensor in them copied to the CPU, where it lies as it did: its
    strides, and where it begins between two multiples of 64 bytes. Launches depend on both."""
    made: dict[int, Tensor] = {}

    def copy(value: object) -> object:
        if not isinstance(value, Tensor):
            return value
        if id(value) not in made:  # what is passed twice arrives as one tensor
            made[id(value)] = _as_it_lies(value)
        return made[id(value)]

    return tree_map(copy, values)


class Interpreter:
    """The process that interprets kernels.

    Raises:
        Crashed: if it does not start.
    """

    def __init__(self):
        package = Path(__file__).parents[3]
        path = os.pathsep.join(p for p in (str(package), os.environ.get("PYTHONPATH")) if p)
        triton = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._printed, self._shown = tempfile.TemporaryFile(), 0  # noqa: SIM115
        self._process = subprocess.Popen(
            # -P: a file in this folder that is called like a module of Python's is not taken for it
            [sys.executable, "-P", "-m", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            env={**os.environ, **triton, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends that one
        )
        self._exchange(None, "does not start")
        self._new_output()  # of libraries, as they were imported

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, function: str, args: bytes) -> object:
        """What one of its functions returns; it is ended if that is not waited for.

        Args:
            function: `inspect` or `check`.
            args: its arguments, pickled.
        Raises:
            Crashed: if it is gone.
            Exception: what the function raised.
        """
        # An empty entry is the folder we are in, which may be another by now.
        path = [os.path.abspath(p) for p in sys.path if isinstance(p, str)]
        good, value = self._exchange((function, path, args), "crashed")
        sys.stdout.write(self._new_output())
        if good:
            return value
        raise value

    def end(self) -> None:
        """End it, and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(OSError):  # what was not sent is not sent any more
            self._process.stdin.close()
        self._process.stdout.close()

    def _exchange(self, request: tuple | None, otherwise: str) -> object:
        """Send a request if there is one, and wait for the answer."""
        try:
            if request is not None:
                with contextlib.suppress(BrokenPipeError):  # it is gone: no answer comes
                    pickle.dump(request, self._process.stdin)
                    self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except NO_ANSWER:
            said = self._new_output().strip().rpartition("\n")[2]
            self.end()
            why = ", ".join(filter(None, (_how_it_ended(self._process.returncode), said)))
            raise Crashed(f"the process that interprets kernels {otherwise}: {why}") from None
        except BaseException:  # an interrupt: a late answer would pass for that of the next request
            self.end()
            raise

    def _new_output(self) -> str:
        """What it printed since; the file's position is the other process's to move."""
        text = os.pread(self._printed.fileno(), LONGEST, self._shown)
        self._shown = os.fstat(self._printed.fileno()).st_size
        return text.decode(errors="replace")


def _ask(function: str, *args) -> object:
    global _there
    try:
        pickled = pickle.dumps(args)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(f"an argument cannot be sent to where kernels run: {error}") from None
    with _one_at_a_time:
        if _there is None or not _there.alive:
            _there = Interpreter()
        return _there.ask(function, pickled)


@atexit.register
def _end() -> None:
    if _there is not None:
        _there.end()


def _is_called(wrapper: Callable, holder: object, name: str) -> bool:
    """Whether a name leads to this function, or to what took its place when it was reloaded."""
    try:
        found = functools.reduce(getattr, name.split("."), holder)
    except AttributeError:
        return False
    if isinstance(found, FunctionType) and isinstance(wrapper, FunctionType):
        return found.__code__.co_qualname == wrapper.__code__.co_qualname
    return found == wrapper


def _as_it_lies(t: Tensor) -> Tensor:
    begin, wanted = t.data_ptr() % ALIGNED // t.element_size(), t.requires_grad
    t = t.detach()
    places = sum((n - 1) * step for n, step in zip(t.shape, t.stride(), strict=True))
    places = places + 1 if t.numel() else 0
    flat = torch.empty(begin + places, dtype=t.dtype)
    flat[begin:].copy_(t.as_strided((places,), (1,)))
    return flat.as_strided(t.shape, t.stride(), begin).requires_grad_(wanted)


def _how_it_ended(code: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code}"
