"""What a kernel touches: every access to memory, seen in Triton's interpreter, without a GPU.

Every load, store and atomic of a kernel ends in one binding of the interpreter. `Audit` is told of
each (`hooks`): it knows by the top bits of each pointer which argument it came from, compares the
address with the elements that this argument has, and lets only those lanes through that are
inside. Python survives what would end a GPU program.

Programs that wait for each other through atomics are judged as if they did not: what they share
is reported as a race.
"""

import contextlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from cs231n_gen.instruments.access.findings import (
    ATOMIC,
    NOBODY,
    SEVERAL,
    AccessFault,
    Argument,
    Memory,
)
from cs231n_gen.triton_compat import hooks

SECTOR = 32  # bytes that a GPU fetches at once
TAG = 48  # the bits from here on of a pointer tell its argument: addresses of a process fit below
LOW = np.uint64((1 << TAG) - 1)
LIFT = np.uint64(1 << (TAG - 1))  # keeps what lies far before a low address above 0
COUNTER = {"load": "loaded", "store": "stored", "atomic": "atomic"}


@dataclass(frozen=True)
class Launched:
    """A launch: the kernel's name and its grid, and all that `compile` needs.

    Attributes:
        kernel, grid: what it is called, and how many programs ran.
        fn, args, constexprs: the kernel's function, every argument by name, and which of them are
            constants.
        num_warps, num_stages: the launch's options.
    """

    kernel: str
    grid: tuple[int, ...]
    fn: Callable | None = field(default=None, repr=False, compare=False)
    args: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)
    constexprs: Sequence[str] = field(default=(), repr=False, compare=False)
    num_warps: int = 4
    num_stages: int = 3


class Audit:
    """Watches the kernels that run inside `with Audit() as audit`.

    Args:
        begins: for each tensor among the arguments, in their order, the number of its first
            element, 0 if there are fewer numbers: a tensor may be a window of one that is too large
            for any memory. Kernels get a pointer to the place where element 0 would be.

    Attributes:
        launches: in order.
        loaded, stored, atomic: bytes that lanes asked for.
        sectors: bytes a GPU would fetch and write, 32 at a time.

    Raises:
        RuntimeError: if Triton is missing, its interpreter is not the one this knows, or another
            audit watches already.
    """

    def __init__(self, begins: Sequence[int] = ()) -> None:
        owner, name = hooks.find(hooks.LAUNCH)
        if getattr(owner, name).__module__.startswith("triton."):  # else someone notes launches
            hooks.tested()
        self.launches: list[Launched] = []
        self.loaded = self.stored = self.atomic = self.sectors = 0
        self._found: dict[tuple, AccessFault] = {}
        self._programs: dict[tuple, set[tuple[int, int]]] = {}
        self._memories: dict[int, Memory] = {}
        self._arguments: list[Argument] = []
        self._marked = 0
        self._begins = tuple(begins)
        self._watch = contextlib.ExitStack()

    def __enter__(self) -> "Audit":
        self._watch.enter_context(hooks.watching(self))
        return self

    def __exit__(self, *exception) -> None:
        self._watch.close()

    # --- what was found ---------------------------------------------------------------------------

    @property
    def findings(self) -> list[AccessFault]:
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

    def written(self, t: Tensor) -> Tensor:
        """Which of a tensor's elements kernels stored meanwhile."""
        memory = self._memories.get(t.untyped_storage().data_ptr())
        if memory is None or not t.numel():
            return torch.zeros(t.shape, dtype=torch.bool)
        return memory.view(memory.stored, t).all(-1)

    def who(self, t: Tensor, kind: str = "writer") -> Tensor:
        """For each element of a tensor the program that wrote (or `reader`: read) it in the last
        launch that had it; −1 nobody, −2 several, −3 by atomics."""
        memory = self._memories.get(t.untyped_storage().data_ptr())
        if memory is None or not t.numel():
            return torch.full(t.shape, NOBODY, dtype=torch.int32)
        return memory.view(getattr(memory, kind), t)[..., 0].clamp_min(ATOMIC).clone()

    # --- what the hooks tell ----------------------------------------------------------------------

    def launching(self, executor, args: tuple, kwargs: dict) -> None:
        """A launch begins: which arguments it has, and that nobody touched them yet.

        Raises:
            ValueError: if one of them is not on the CPU.
        """
        known = {k: v for k, v in kwargs.items() if k in executor.arg_names}
        named = inspect.getcallargs(executor.fn, *args, **known)
        grid = executor.grid(named) if callable(executor.grid) else executor.grid
        options = {k: kwargs[k] for k in ("num_warps", "num_stages") if k in kwargs}
        constexprs = tuple(executor.constexprs)
        launched = Launched(
            executor.fn.__name__, tuple(grid), executor.fn, named, constexprs, **options
        )
        self.launches.append(launched)
        self._arguments, self._marked, fresh = [], 0, set()
        begins = iter(self._begins)
        converted = {k: v for k, v in named.items() if k not in constexprs}
        for name, t in hooks.tensors(converted):
            if t.device.type != "cpu":
                raise ValueError(f"{name} must be on the CPU to be watched, got {t.device}")
            storage = t.untyped_storage()
            memory = self._memories.get(storage.data_ptr())
            if memory is None or memory.size != storage.nbytes():
                memory = self._memories[storage.data_ptr()] = Memory(storage)
            if id(memory) not in fresh:
                memory.new_launch()
                fresh.add(id(memory))
            legal = np.zeros(memory.size, bool)
            if t.numel():
                memory.view(legal, t).fill_(True)
            first = next(begins, 0)
            self._arguments.append(Argument(name, t, memory, legal, first))

    def marked(self, tensor: Tensor, pointer: np.ndarray) -> np.ndarray:
        """A pointer that tells which argument it came from: they are converted in their order.

        Raises:
            RuntimeError: if they are not.
        """
        self._marked += 1
        expected = [a.tensor.data_ptr() for a in self._arguments[self._marked - 1 : self._marked]]
        if expected != [tensor.data_ptr()]:
            raise RuntimeError(f"{hooks.CONVERT} converts arguments in an unexpected order")
        before = self._arguments[self._marked - 1].first * tensor.element_size()
        return (pointer + LIFT - np.uint64(before)) | np.uint64(self._marked << TAG)

    def accessing(
        self, pointers: np.ndarray, mask: np.ndarray, width: int, kind: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Note an access; returns addresses, and the mask of the lanes that are inside."""
        asked = np.broadcast_to(np.asarray(mask, bool), pointers.shape)
        at = np.asarray(pointers)[asked].ravel()
        setattr(self, COUNTER[kind], getattr(self, COUNTER[kind]) + at.size * width)
        address = (at & LOW).astype(np.int64) - np.int64(LIFT)
        touched = np.unique(np.concatenate([address, address + width - 1]) // SECTOR)
        self.sectors += SECTOR * touched.size
        tags = (at >> np.uint64(TAG)).astype(np.int64)
        inside = np.zeros(at.size, bool)
        for tag in np.unique(tags):
            lanes = np.flatnonzero(tags == tag)
            if not 0 < tag <= len(self._arguments):
                self._note("follows a pointer that belongs to no argument", "?", len(lanes), 0)
                continue
            argument = self._arguments[tag - 1]
            place = address[lanes] - argument.memory.begin
            inside[lanes] = self._inside(argument, place, width, kind)
            self._trace(argument, place[inside[lanes]], width, kind)
        safe = asked.copy()
        safe[asked] = inside
        return (pointers & LOW) - LIFT, safe

    # --- one access -------------------------------------------------------------------------------

    def _inside(self, argument: Argument, place: np.ndarray, width: int, kind: str) -> np.ndarray:
        inside = (place >= 0) & (place + width <= argument.memory.size)
        inside[inside] = argument.legal[_bytes(place[inside], width)].all(1)
        if not inside.all():
            fault = "reads outside" if kind == "load" else "writes outside"
            self._note(fault, argument, int((~inside).sum()), int(place[~inside][0]))
        return inside

    def _trace(self, argument: Argument, place: np.ndarray, width: int, kind: str) -> None:
        """Note who read or wrote, and the races that follow.

        While one program alone adds to a byte by atomics, its writer is `_alone(program)`.
        """
        memory, me = argument.memory, hooks.program()[1]
        span = _bytes(place, width)
        writer, reader = memory.writer[span], memory.reader[span]
        others_stored = (writer >= 0) & (writer != me)
        others_added = (writer <= ATOMIC) & (writer != _alone(me))
        others_read = (reader != NOBODY) & (reader != me)
        if kind == "load":
            memory.loaded[span] = True
            self._race(
                "reads what another program writes", argument, place, others_stored | others_added
            )
            memory.reader[span] = np.where(others_read, SEVERAL, me)
            return
        memory.stored[span] = True
        clash = others_stored if kind == "atomic" else others_stored | others_added
        self._race("writes where another program writes", argument, place, clash)
        self._race("writes what another program reads", argument, place, others_read)
        if kind == "store":
            ordered = np.sort(place)
            twice = ordered[1:][np.diff(ordered) < width]
            if twice.size:
                place = int(twice[0])
                self._note("writes one place with several lanes", argument, twice.size, place)
            memory.writer[span] = me
        else:
            mine = np.where(others_added, ATOMIC, _alone(me))
            memory.writer[span] = np.where(writer >= 0, writer, mine)

    def _race(self, fault: str, argument: Argument, place: np.ndarray, clash: np.ndarray) -> None:
        where = place[clash.any(1)]
        if where.size:
            self._note(fault, argument, where.size, int(where[0]))

    def _note(self, fault: str, argument: Argument | str, lanes: int, place: int) -> None:
        name, element = argument, 0
        if isinstance(argument, Argument):
            name, t = argument.name, argument.tensor
            element = math.floor((place + argument.memory.begin - t.data_ptr()) / t.element_size())
            element += argument.first
        at, number = hooks.program()
        key = (fault, self.launches[-1].kernel, name)
        programs = self._programs.setdefault(key, set())
        programs.add((len(self.launches), number))
        first = self._found.setdefault(key, AccessFault(*key, at, 0, 1, element))
        self._found[key] = replace(first, lanes=first.lanes + lanes, programs=len(programs))


def _alone(program: int) -> int:
    return ATOMIC - 1 - program


def _bytes(place: np.ndarray, width: int) -> np.ndarray:
    """The bytes of each lane: (lanes, width)."""
    return place[:, None] + np.arange(width)
