"""What a wrapper does beside its kernels: a watch over torch, numpy and memory.

`guard` judges a wrapper by it, and says what cannot be seen.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from cs231n_gen.instruments.honesty.escapes import (
    Place,
    caller,
    is_ours,
    place_in_words,
    watching_escapes,
)
from cs231n_gen.triton_compat.available import require_triton

FILLS = {"zeros", "zeros_like", "new_zeros", "zero_", "ones", "ones_like", "new_ones"}
FILLS |= {"full", "full_like", "new_full", "fill_", "scalar_tensor"}
COPIES = {"clone", "copy_", "_to_copy"}


class OnlyKernels(TorchDispatchMode):
    """`with OnlyKernels() as guard:` notes whatever is not the work of kernels.

    Allowed are allocation, views, fills, and operations on few elements, like the final sum over
    partial ones. Fresh memory is poisoned with NaN, or a large odd integer, so that a number that
    nobody wrote cannot pass for one. Functions made by `torch.compile` run as they were written.
    Everything is as before at the end, also after an exception.

    Attributes:
        launches: (function, tensors by name) of each launch.
        moved: bytes that torch read and wrote.
    """

    def __init__(self, small: int = 4096, copies: bool = False, inputs: Iterable[Tensor] = ()):
        """Watch.

        Args:
            small: an operation on at most so many elements is allowed; on four times as many in
                all.
            copies: whether `inputs` may be copied, as `.contiguous()` does.
            inputs: the tensors that the wrapper is given.
        """
        super().__init__()
        self.small, self.copies = small, copies
        self.launches: list[tuple[Callable, dict[str, Tensor]]] = []
        self.moved = 0
        self._said: dict[str, None] = {}
        self._inputs: dict[int, object] = {}  # storages by address, kept alive
        self._made: dict[int, object] = {}
        self._expected: dict[int, tuple[Tensor, Tensor]] = {}  # memory, and what it should hold
        self._launched: set[int] = set()
        # by which operation, from where to where torch took numbers
        self._edges: list[tuple[str, set[int], set[int]]] = []
        self._left: dict[
            int, Tensor
        ] = {}  # bytes of memory, as the last launch that had it left it
        self._copies: list[tuple[Tensor, Tensor]] = []  # what was copied, and the copy
        self._work = 0
        self.know(inputs)

    @property
    def complaints(self) -> list[str]:
        """What was noted so far, in sentences, each once."""
        said = list(self._said)
        if self._work > 4 * self.small:
            said.append(f"torch did the work bit by bit: {self._work} elements in small operations")
        return said

    def know(self, tensors: Iterable[Tensor]) -> None:
        """Take these for inputs too."""
        for t in tensors:
            if t.numel():
                self._inputs[address(t)] = t.untyped_storage()
                self._expect(t)

    def made(self, tensor: Tensor) -> bool:
        """Whether a tensor's memory was allocated under this guard."""
        return not tensor.numel() or address(tensor) in self._made

    def reached(self, roots: Iterable[Tensor]) -> set[int]:
        """The addresses that numbers from these tensors were taken to by torch."""
        found = {address(t) for t in roots if t.numel()}
        for _, sources, targets in self._edges:
            if sources & found:
                found |= targets
        return found

    def made_of(
        self,
        roots: set[int],
        operations: Collection[str],
        others: Collection[int] = (),
        of_others: Collection[str] = (),
    ) -> set[int]:
        """The addresses whose numbers torch made of those at `roots` alone.

        Args:
            roots: addresses.
            operations: which may be applied to them; memory that another one wrote to is out.
            others, of_others: addresses that the operations `of_others` may start from as well.
        """
        found, begun = set(roots), set(others)
        for name, sources, targets in self._edges:
            if name in operations and sources - targets <= found:
                found |= targets
            elif name in of_others and sources - targets <= begun:
                begun |= targets
            else:
                found, begun = found - targets, begun - targets
        return found | begun

    def left(self, tensor: Tensor) -> Tensor:
        """A tensor's numbers as the last launch that was given its memory left them."""
        memory, width = self._left[address(tensor)], tensor.element_size()
        flat = memory[: len(memory) // width * width].view(tensor.dtype)
        return flat.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def copies_of(self, tensor: Tensor) -> list[Tensor]:
        """The copies that torch made of an input."""
        return [copy for source, copy in self._copies if overlap(source, tensor)]

    def __enter__(self):
        require_triton()
        with contextlib.ExitStack() as hooks:
            hooks.enter_context(watching_escapes(self._launch, self._read, self._say))
            super().__enter__()
            self._hooks = hooks.pop_all()
        return self

    def __exit__(self, *error):
        with self._hooks:
            super().__exit__(*error)
        for at in list(self._expected):
            self._check(at, "memory")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        place = caller()
        if not is_ours(place):
            with torch.no_grad():
                self._operation(func, args, kwargs, out, place)
        return out

    def _operation(self, func, args: tuple, kwargs: dict, out: object, place: Place) -> None:
        name, given, came = func.overloadpacket.__name__, _tensors((args, kwargs)), _tensors(out)
        size = max((t.numel() for t in given + came), default=0)
        lifted = name.startswith(
            "lift"
        )  # what torch was given by numpy, or made of Python's numbers
        sources, new = {address(t) for t in given}, self._new(came, [] if lifted else given)
        if lifted:
            if new and size > self.small:
                self._say(f"numbers come from outside torch, {size} at once", place)
        elif func.is_view or torch.Tag.inplace_view in func.tags or name == "_unsafe_view":
            pass
        elif "empty" in name:
            for t in new:
                t.fill_(poison(t.dtype))
                self._expect(t)
        else:
            written = new + _written(func, args, kwargs)
            targets = {address(t) for t in written}
            for t in written:
                self._expect(t)
            read = [] if name in FILLS else given
            self.moved += sum(t.numel() * t.element_size() for t in read + written)
            if name not in FILLS:
                self._edges.append((name, sources, targets))
            if name in COPIES and given:
                self._copies += [(given[-1], t) for t in written]
            if size > self.small:
                self._large(name, size, given, came, targets, place)
            elif name not in FILLS:
                self._work += size

    def _new(self, came: list[Tensor], given: list[Tensor]) -> list[Tensor]:
        """Those whose memory was not there before; it is kept, so that no address comes twice."""
        old = {address(t) for t in given}.union(self._inputs, self._made)
        new = {address(t): t for t in came if t.numel() and address(t) not in old}
        self._made |= {at: t.untyped_storage() for at, t in new.items()}
        return list(new.values())

    def _large(self, name, size, given, came, targets: set[int], place: Place) -> None:
        """Judge an operation on many elements."""
        one_dtype = len({t.dtype for t in given + came}) == 1
        if name in FILLS:
            if targets & self._launched:
                self._say(f"torch writes over what a kernel was given: {name}", place)
        elif name not in COPIES or not one_dtype:
            self._say(f"torch did the work: {name} on {size} elements", place)
        elif not (self.copies and given and address(given[-1]) in self._inputs):
            self._say(f"torch copied {size} elements", place)

    @contextlib.contextmanager
    def _launch(self, executor, args: tuple, kwargs: dict) -> Iterator[None]:
        """Note a launch, and whether its tensors hold what torch and kernels wrote there."""
        named = dict(zip(executor.arg_names, args, strict=False)) | kwargs
        tensors = {n: _base(v) for n, v in named.items() if isinstance(_base(v), Tensor)}
        self.launches.append((executor.fn, tensors))
        for name, t in tensors.items():
            at, which = address(t), f"argument {name} of {executor.fn.__name__}"
            if t.numel() > self.small and at not in self._made and at not in self._inputs:
                self._say(f"{which} is memory that the wrapper neither received nor allocated")
            self._check(at, which)
            self._launched.add(at)
        yield
        for t in tensors.values():
            self._expect(t)
            self._left[address(t)] = self._expected[address(t)][1]

    def _expect(self, t: Tensor) -> None:
        """Keep what a tensor's memory holds now."""
        with _disable_current_modes():
            memory = torch.empty(0, dtype=torch.uint8, device=t.device).set_(t.untyped_storage())
            self._expected[address(t)] = memory, memory.clone()

    def _check(self, at: int, which: str) -> None:
        """Note memory that holds something else than what was seen to be written there."""
        memory, held = self._expected.get(at, (None, None))
        with _disable_current_modes():
            if memory is not None and not torch.equal(memory, held):
                self._say(f"{which} was written by neither torch nor a kernel")
                self._expected[at] = memory, memory.clone()

    def _read(self, how: str, tensor: Tensor, place: Place) -> None:
        """Note that numbers left torch."""
        if tensor.numel() > self.small:
            self._say(f"numbers left torch by .{how}(), {tensor.numel()} at once", place)
        else:
            self._work += tensor.numel()

    def _say(self, what: str, place: Place | None = None) -> None:
        self._said.setdefault(what + (f" ({place_in_words(place)})" if place else ""))


def address(tensor: Tensor) -> int:
    """Where a tensor's storage begins, which tells memory from memory."""
    return tensor.untyped_storage().data_ptr()


def overlap(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors share memory, by the first and last elements of each."""
    if not a.numel() or not b.numel():
        return False
    ends = []
    for t in (a, b):
        steps = sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True))
        ends.append(t.data_ptr() + (steps + 1) * t.element_size())
    return a.data_ptr() < ends[1] and b.data_ptr() < ends[0]


def _tensors(tree: object) -> list[Tensor]:
    return [t for t in tree_leaves(tree) if isinstance(t, Tensor)]


def _base(value: object) -> object:
    """The tensor itself, also of a descriptor, or of one whose dtype was reinterpreted."""
    return value if isinstance(value, Tensor) else getattr(value, "base", value)


def _written(func, args: tuple, kwargs: dict) -> list[Tensor]:
    """The arguments that an operation writes to."""
    arguments = func._schema.arguments
    named = [*zip(arguments, args, strict=False)]
    named += [(a, kwargs[a.name]) for a in arguments if a.name in kwargs]
    return _tensors([v for a, v in named if a.alias_info is not None and a.alias_info.is_write])


def poison(dtype: torch.dtype) -> float | int | bool:
    """What fresh memory is filled with under the watch."""
    if dtype == torch.bool:
        return True
    numbers = dtype.is_floating_point or dtype.is_complex
    return float("nan") if numbers else torch.iinfo(dtype).max - 2
