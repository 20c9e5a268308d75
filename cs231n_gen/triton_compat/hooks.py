"""The one place that reaches into Triton's interpreter, known to work from Triton 3.6 to 3.9.

Triton promises none of these names, so each is looked up when it is needed, and `self_test` shows
with a kernel of three lines that putting something else in its place still has an effect.
"""

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cs231n_gen.triton_compat.available import require_interpreter, tl, triton

BINDING = "interpreter._interpreter"  # where every load, store and atomic ends
CONVERT = "interpreter._implicit_cvt"  # makes what a kernel gets of an argument
LAUNCH = "interpreter.GridExecutor.__call__"
PLACE = "interpreter.InterpreterBuilder.set_grid_idx"  # called once before each program


class Watcher(Protocol):
    """Who is told what kernels do in the interpreter."""

    def launching(self, executor, args: tuple, kwargs: dict) -> None:
        """A launch begins."""

    def marked(self, tensor: Tensor, pointer: np.ndarray) -> np.ndarray:
        """The pointer that the kernel shall get for an argument."""

    def accessing(
        self, pointers: np.ndarray, mask: np.ndarray, width: int, kind: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Addresses, and which lanes go through; kind is `load`, `store` or `atomic`."""


def find(path: str) -> tuple[object, str]:
    """Where a name of `triton.runtime` lives: what has it, and what it is called there.

    Raises:
        RuntimeError: if it has moved, or this process does not interpret kernels.
    """
    require_interpreter()
    importlib.import_module("triton.runtime.interpreter")
    owner, (*parts, name) = importlib.import_module("triton.runtime"), path.split(".")
    for part in parts:
        owner = getattr(owner, part, None)
    if not hasattr(owner, name):
        raise RuntimeError(_unknown(path, "is missing"))
    return owner, name


@contextlib.contextmanager
def replaced(path: str, make: Callable) -> Iterator[None]:
    """Put something in the place of a name of `triton.runtime`, and put the name back.

    Args:
        path: `interpreter.GridExecutor.__call__`, for example.
        make: makes what comes in its place of what is there.
    Raises:
        RuntimeError: if there is no such name.
    """
    owner, name = find(path)
    before = getattr(owner, name)
    setattr(owner, name, make(before))
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Tell someone of every launch, every argument that is a tensor, and every access.

    Raises:
        RuntimeError: if a hook has moved, or someone is told already.
    """
    owner, name = find(BINDING)
    if isinstance(getattr(owner, name), _Binding):
        raise RuntimeError("another audit is already watching: leave it first")

    def launch(plain):
        def watched(executor, *args, **kwargs):
            watcher.launching(executor, args, kwargs)
            return plain(executor, *args, **kwargs)

        return watched

    def convert(plain):
        def converted(value):
            made = plain(value)
            if hasattr(value, "data_ptr"):
                made.handle.data = watcher.marked(value, made.handle.data)
            return made

        return converted

    with contextlib.ExitStack() as hooks:
        hooks.enter_context(replaced(BINDING, lambda plain: _Binding(plain, watcher)))
        hooks.enter_context(replaced(CONVERT, convert))
        hooks.enter_context(replaced(LAUNCH, launch))
        yield


class _Binding:
    """Stands in the binding's place; the lanes that the watcher holds back do nothing."""

    def __init__(self, plain, watcher: Watcher) -> None:
        self._plain, self._watcher = plain, watcher

    def __getattr__(self, name: str):
        return getattr(self._plain, name)  # all that is no access

    def load(self, pointers, mask, other, dtype):
        width = np.dtype(dtype).itemsize
        address, safe = self._watcher.accessing(pointers, mask, width, "load")
        return self._plain.load(address, safe, other, dtype)

    def store(self, pointers, value, mask):
        address, safe = self._watcher.accessing(pointers, mask, value.dtype.itemsize, "store")
        return self._plain.store(address, value, safe)

    def atomic_rmw(self, operation, pointers, value, mask, order):
        address, safe = self._watcher.accessing(pointers, mask, value.dtype.itemsize, "atomic")
        return self._plain.atomic_rmw(operation, address, value, safe, order)

    def atomic_cas(self, pointers, expected, value, order):
        """It knows no mask: a lane held back finds what it expects, so that no loop waits."""
        everywhere = np.ones(pointers.shape, bool)
        width = value.dtype.itemsize
        address, safe = self._watcher.accessing(pointers, everywhere, width, "atomic")
        found = np.broadcast_to(expected, pointers.shape).copy()
        if safe.any():
            swap = np.broadcast_to(value, pointers.shape)[safe]
            found[safe] = self._plain.atomic_cas(address[safe], found[safe], swap, order)
        return found


def tensors(arguments: Mapping[str, object]) -> Iterator[tuple[str, Tensor]]:
    """The tensors among a launch's arguments by name, in the order in which they are converted.

    They may be arguments themselves, lie below a descriptor, or be members of a tuple: `pair[1]`.
    """
    for name, value in arguments.items():
        below = getattr(value, "base", None)
        if isinstance(value, tuple):
            yield from tensors({f"{name}[{k}]": member for k, member in enumerate(value)})
        elif isinstance(value, Tensor):
            yield name, value
        elif isinstance(below, Tensor):
            yield name, below


def program() -> tuple[tuple[int, int, int], int]:
    """The program that runs: its place in the grid, and its number in the usual order."""
    owner, name = find("interpreter.interpreter_builder")
    builder = getattr(owner, name)
    x, y, z = (int(i) for i in builder.grid_idx)
    _, ny, nz = builder.grid_dim
    return (x, y, z), (x * ny + y) * nz + z


def self_test() -> None:
    """Run a small kernel, and see that every hook still has its effect.

    Raises:
        RuntimeError: which hook has none, or is gone, and in which Triton.
    """
    seen, placed = _Seen(), []

    def place(plain):
        def counted(builder, *at):
            placed.append(at)
            plain(builder, *at)

        return counted

    x, out = torch.full((1,), 4, dtype=torch.int32), torch.zeros(4, dtype=torch.int32)
    with watching(seen), replaced(PLACE, place):
        try:
            _probe[(2,)](x, out)
        except Exception as error:
            raise RuntimeError(
                _unknown(BINDING, f"is used in an unexpected way ({error})")
            ) from error
    worked = {
        LAUNCH: seen.launches == 1,
        CONVERT: seen.arguments == 2,
        f"{BINDING}.load": seen.accesses["load"] == [(0, 0, 0), (1, 0, 0)],
        f"{BINDING}.store": seen.accesses["store"] == [(0, 0, 0), (1, 0, 0)],
        f"{BINDING}.atomic_rmw": len(seen.accesses["atomic"]) == 4 and out[2] == 0,
        f"{BINDING}.atomic_cas": out[3] == 7,
        PLACE: placed == [(0, 0, 0), (1, 0, 0)],
    }
    for path, effect in worked.items():
        if not effect:
            raise RuntimeError(_unknown(path, "no longer has an effect"))


@functools.cache
def tested() -> None:
    """`self_test`, once in a process.

    Raises:
        RuntimeError: as `self_test`.
    """
    self_test()


class _Seen:
    """Counts what it is told, and holds back every addition."""

    def __init__(self) -> None:
        self.launches = self.arguments = 0
        self.accesses: dict[str, list] = {"load": [], "store": [], "atomic": []}

    def launching(self, executor, args, kwargs) -> None:
        self.launches += 1

    def marked(self, tensor, pointer):
        self.arguments += 1
        return pointer

    def accessing(self, pointers, mask, width, kind):
        self.accesses[kind].append(program()[0])
        adds = kind == "atomic" and len(self.accesses[kind]) % 2
        return pointers, np.zeros_like(mask) if adds else mask


@triton.jit
def _probe(x, out):
    """One access of every kind."""
    tl.store(out + tl.program_id(0), tl.load(x) + 1)
    tl.atomic_add(out + 2, 1)
    tl.atomic_cas(out + 3, 0, 7)


def _unknown(path: str, what: str) -> str:
    return f"Triton {triton.__version__}: {path} {what}; the instruments know Triton 3.6 to 3.9"
