"""What a kernel touches: every access to memory, seen in Triton's interpreter, without a GPU.

Every load, store and atomic of a kernel ends in one binding of the interpreter. `Audit` stands in
its place: it knows by the top bits of each pointer which argument it came from, compares the
address with the elements that this argument has, and lets only those lanes through that are
inside. Python survives what would end a GPU program.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cs231n_gen.instruments.memory import ATOMIC, NOBODY, SEVERAL, Argument, Finding, Memory
from cs231n_gen.kernels.launch import HAVE_TRITON

SECTOR = 32  # bytes that a GPU fetches at once
TAG = 48  # the bits from here on of a pointer tell its argument: addresses of a process fit below
LOW = np.uint64((1 << TAG) - 1)


@dataclass(frozen=True)
class Launched:
    """A launch: the kernel's name and its grid."""

    kernel: str
    grid: tuple[int, ...]


class Audit:
    """Watches the kernels that run inside `with Audit() as audit`.

    Attributes:
        launches: in order.
        loaded, stored, atomic: bytes that lanes asked for.
        sectors: bytes a GPU would fetch and write, 32 at a time.

    Raises:
        RuntimeError: if Triton is missing, or its interpreter is not the one this knows.
    """

    def __init__(self) -> None:
        if not HAVE_TRITON:
            raise RuntimeError("Triton is not installed: make setup EXTRAS=kernels (Linux only)")
        from triton.runtime import interpreter

        self._interpreter = interpreter
        missing = [
            name
            for name in ("_interpreter", "_implicit_cvt", "GridExecutor", "interpreter_builder")
            if not hasattr(interpreter, name)
        ]
        if missing:
            raise RuntimeError(f"this Triton's interpreter has no {', '.join(missing)}")
        self.launches: list[Launched] = []
        self.loaded = self.stored = self.atomic = self.sectors = 0
        self._found: dict[tuple, Finding] = {}
        self._memories: dict[int, Memory] = {}
        self._arguments: list[Argument] = []
        self._last_program: dict[tuple, int] = {}

    # --- what was found ---------------------------------------------------------------------------

    @property
    def findings(self) -> list[Finding]:
        """The faults, in the order they were met."""
        return list(self._found.values())

    @property
    def moved(self) -> int:
        """Bytes moved; an atomic reads and writes."""
        return self.loaded + self.stored + 2 * self.atomic

    def coverage(self, t: Tensor, kind: str = "stored") -> float:
        """The share of a tensor's elements that kernels stored, or loaded, meanwhile."""
        memory = self._memories.get(t.untyped_storage().data_ptr())
        if memory is None or not t.numel():
            return 0.0
        return float(memory.view(getattr(memory, kind), t).all(-1).float().mean())

    def who(self, t: Tensor, kind: str = "writer") -> Tensor:
        """For each element of a tensor the program that wrote (or `reader`: read) it in the last
        launch that had it; −1 nobody, −2 several, −3 by atomics."""
        memory = self._memories.get(t.untyped_storage().data_ptr())
        if memory is None:
            return torch.full(t.shape, NOBODY, dtype=torch.int32)
        width, offset = t.element_size(), t.data_ptr() - memory.begin
        programs = torch.from_numpy(getattr(memory, kind))
        return programs.as_strided(t.shape, [s * width for s in t.stride()], offset).clone()

    # --- standing in the interpreter's place ------------------------------------------------------

    def __enter__(self) -> "Audit":
        module, audit = self._interpreter, self
        self._binding, self._convert = module._interpreter, module._implicit_cvt
        self._launch = launch = module.GridExecutor.__call__

        def watched(executor, *args, **kwargs):
            audit._begin(executor, args, kwargs)
            return launch(executor, *args, **kwargs)

        module._interpreter, module._implicit_cvt = self, self._tagged
        module.GridExecutor.__call__ = watched
        return self

    def __exit__(self, *exception) -> None:
        module = self._interpreter
        module._interpreter, module._implicit_cvt = self._binding, self._convert
        module.GridExecutor.__call__ = self._launch

    def __getattr__(self, name: str):
        return getattr(self.__dict__["_binding"], name)  # all that is no access

    def load(self, pointers, mask, other, dtype):
        """The binding's load, of the lanes that are inside."""
        inside = self._touch(pointers, mask, np.dtype(dtype).itemsize, "load")
        return self._binding.load(pointers & LOW, inside, other, dtype)

    def store(self, pointers, value, mask):
        """The binding's store, of the lanes that are inside."""
        inside = self._touch(pointers, mask, value.dtype.itemsize, "store")
        return self._binding.store(pointers & LOW, value, inside)

    def atomic_rmw(self, operation, pointers, value, mask, order):
        """The binding's atomic, of the lanes that are inside."""
        inside = self._touch(pointers, mask, value.dtype.itemsize, "atomic")
        return self._binding.atomic_rmw(operation, pointers & LOW, value, inside, order)

    def atomic_cas(self, pointers, expected, value, order):
        """The binding's compare and swap; raises IndexError outside, as it knows no mask."""
        everywhere = np.ones(pointers.shape, bool)
        if not self._touch(pointers, everywhere, value.dtype.itemsize, "atomic").all():
            raise IndexError(f"a compare-and-swap outside: {self.findings[-1]}")
        return self._binding.atomic_cas(pointers & LOW, expected, value, order)

    def _begin(self, executor, args: tuple, kwargs: dict) -> None:
        names = inspect.getfullargspec(executor.fn).args
        named = inspect.getcallargs(
            executor.fn, *args, **{k: v for k, v in kwargs.items() if k in names}
        )
        grid = executor.grid(named) if callable(executor.grid) else executor.grid
        self.launches.append(Launched(executor.fn.__name__, tuple(grid)))
        self._arguments, self._next = [], 0
        fresh: set[int] = set()
        for name, value in named.items():
            t = getattr(value, "base", None) if not isinstance(value, Tensor) else value
            if not isinstance(t, Tensor):
                continue
            storage = t.untyped_storage()
            memory = self._memories.get(storage.data_ptr())
            if memory is None or memory.size != storage.nbytes():
                memory = self._memories[storage.data_ptr()] = Memory(storage)
            if storage.data_ptr() not in fresh:
                memory.new_launch()
                fresh.add(storage.data_ptr())
            legal = np.zeros(memory.size, bool)
            if t.numel():
                memory.view(legal, t).fill_(True)
            self._arguments.append(Argument(name, t, memory, legal))

    def _tagged(self, value):
        made = self._convert(value)
        if isinstance(value, Tensor) or hasattr(value, "data_ptr"):
            self._next += 1
            made.handle.data = made.handle.data | np.uint64(self._next << TAG)
        return made

    # --- one access -------------------------------------------------------------------------------

    def _touch(self, pointers, mask, width: int, kind: str) -> np.ndarray:
        """Note an access; returns the mask of the lanes that are inside."""
        asked = np.broadcast_to(np.asarray(mask, bool), pointers.shape)
        at = np.asarray(pointers)[asked].ravel()
        counter = {"load": "loaded", "store": "stored", "atomic": "atomic"}[kind]
        setattr(self, counter, getattr(self, counter) + at.size * width)
        address = (at & LOW).astype(np.int64)
        touched = np.unique(np.concatenate([address, address + width - 1]) // SECTOR)
        self.sectors += SECTOR * touched.size
        tags = (at >> np.uint64(TAG)).astype(np.int64)
        inside = np.zeros(at.size, bool)
        for tag in np.unique(tags):
            lanes = np.flatnonzero(tags == tag)
            if not 0 < tag <= len(self._arguments):
                self._note("follows a pointer that is no argument's", "?", len(lanes), 0)
                continue
            argument = self._arguments[tag - 1]
            place = address[lanes] - argument.memory.begin
            inside[lanes] = self._inside(argument, place, width, kind)
            self._trace(argument, place[inside[lanes]], width, kind)
        safe = asked.copy()
        safe[asked] = inside
        return safe

    def _inside(self, argument: Argument, place: np.ndarray, width: int, kind: str) -> np.ndarray:
        inside = (place >= 0) & (place + width <= argument.memory.size)
        within = place[inside]
        inside[inside] = argument.legal[within] & argument.legal[within + width - 1]
        if not inside.all():
            fault = "reads outside" if kind == "load" else "writes outside"
            self._note(fault, argument, int((~inside).sum()), int(place[~inside][0]))
        return inside

    def _trace(self, argument: Argument, place: np.ndarray, width: int, kind: str) -> None:
        """Note who read or wrote, and the races that follow."""
        memory, me = argument.memory, self._program()[1]
        span = (place[:, None] + np.arange(width)).ravel()
        writer, reader = memory.writer[place], memory.reader[place]
        if kind == "load":
            memory.loaded[span] = True
            self._race(
                "reads what another program writes",
                argument,
                place[(writer != NOBODY) & (writer != me)],
            )
            only_me = (memory.reader[span] == NOBODY) | (memory.reader[span] == me)
            memory.reader[span] = np.where(only_me, me, SEVERAL)
            return
        memory.stored[span] = True
        mine = ATOMIC if kind == "atomic" else me
        clash = (writer != NOBODY) & (writer != mine)
        self._race("writes where another program writes", argument, place[clash])
        if kind == "store":
            clash = (reader != NOBODY) & (reader != me)
            self._race("writes what another program reads", argument, place[clash])
            ordered = np.sort(place)
            twice = ordered[1:][ordered[1:] == ordered[:-1]]
            self._race("writes one place with several lanes", argument, twice)
        memory.writer[span] = mine

    def _race(self, fault: str, argument: Argument, place: np.ndarray) -> None:
        if place.size:
            self._note(fault, argument, place.size, int(place[0]))

    def _note(self, fault: str, argument: Argument | str, lanes: int, place: int) -> None:
        known = isinstance(argument, Argument)
        name, element = (argument, 0) if not known else (argument.name, place)
        if known:
            t = argument.tensor
            element = math.floor((place + argument.memory.begin - t.data_ptr()) / t.element_size())
        program, number = self._program()
        key = (fault, self.launches[-1].kernel, name)
        before = self._found.get(key)
        if before is None:
            self._found[key] = Finding(fault, key[1], name, program, lanes, 1, element)
        else:
            more = self._last_program[key] != number
            self._found[key] = replace(
                before, lanes=before.lanes + lanes, programs=before.programs + more
            )
        self._last_program[key] = number

    def _program(self) -> tuple[tuple[int, int, int], int]:
        builder = self._interpreter.interpreter_builder
        x, y, z = (int(i) for i in builder.grid_idx)
        _, ny, nz = builder.grid_dim
        return (x, y, z), (x * ny + y) * nz + z


def audited(run: Callable[[], object]) -> tuple[object, Audit]:
    """What a function returns, and what its kernels touched, in the interpreter."""
    from cs231n_gen.kernels.launch import interpreting

    with interpreting(), Audit() as audit:
        return run(), audit
