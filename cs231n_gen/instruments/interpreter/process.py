"""Another process that interprets kernels, where this one compiles them.

Triton decides when it is imported whether a process compiles kernels or interprets them. A notebook
on a machine with a GPU compiles them, and whoever looks at kernels interprets them: that is done by
`worker`, which sees no GPU. It is started when it is first needed, and ends with Python.

Both ends are this user's, and run the same code: what passes between them is pickled.
"""

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading

from cs231n_gen.common.paths import ROOT
from cs231n_gen.triton_compat.available import HAVE_TRITON, INTERPRETED

CHILD = "cs231n_gen.instruments.interpreter.worker"
PATIENCE = 1.0  # seconds in which it may end by itself; its own compiler ends with it then
MACHINERY = "cs231n_gen.checking.", "cs231n_gen.instruments."  # is imported there as it is here
LONGEST = 1 << 16  # bytes of what it printed that are shown
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


def ask(function: str, *args: object) -> object:
    """What a function returns in the other process.

    Args:
        function: the module and the name, `package.module:function`.
        args: its arguments, which are pickled.
    Raises:
        ValueError: if an argument cannot be sent.
        Crashed: if the other process is gone.
        Exception: what the function raised.
    """
    global _there
    try:
        pickled = pickle.dumps(args)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"an argument cannot be sent to the process that interprets kernels: {error}"
        ) from None
    with _one_at_a_time:
        if _there is None or not _there.alive:
            _there = Interpreter()
        return _there.ask(function, pickled)


class Interpreter:
    """The process that interprets kernels.

    Raises:
        Crashed: if it does not start.
    """

    def __init__(self):
        path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
        machinery = [module for module in sys.modules if module.startswith(MACHINERY)]
        triton = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._printed, self._shown = tempfile.TemporaryFile(), 0  # noqa: SIM115
        self._process = subprocess.Popen(
            # -P: a file in this folder that is called like a module of Python's is not taken for it
            [sys.executable, "-P", "-m", CHILD, *machinery],
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
        """What a function returns there; the process is ended if that is not waited for.

        Args:
            function: the module and the name, `package.module:function`.
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


@atexit.register
def _end() -> None:
    if _there is not None:
        _there.end()


def _how_it_ended(code: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code}"
