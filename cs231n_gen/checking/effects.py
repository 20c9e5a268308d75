"""What a call leaves behind beside its result, seen by comparing before with after.

A `Watch` stands around every call of student code, in a check and in the jail. What it notes is
plain text, so that it crosses the wall; `checking.shared_properties` says which notes break a
promise. In the jail it runs where the student's code could hunt it: like an instrument, it can only
take points away.
"""

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from cs231n_gen.checking.expect import unfit

MOST_NOTES = 50  # of one property
ENOUGH = 8  # numbers in a random result, so that two draws differ
SEEDS = (11, 23, 42)


@dataclass(frozen=True)
class Note:
    """One thing that a call did beside returning its result.

    Args:
        function: what was called, `flow.sample`; of an object the class it was made of.
        kind: a key of `shared_properties.SENTENCES`.
        where: which argument, weight or setting; `got …, expected …` of a dtype.
    """

    function: str
    kind: str
    where: str = ""


class Watch:
    """Around one call: `watch = Watch(…)`, the call, then what was seen.

    Args:
        name: of what is called, `flow.sample`.
        function: what is called: a function, an object with weights of its own, or its method.
        given: the arguments as the caller holds them, and `args`, `kwargs` as they are passed on:
            copies, but for tensors inside a graph.
        making: whether an object is made, which may draw its first weights.
        first: whether it is the first call of this name in a property: only around that are the
            random states of numpy and Python looked at, which takes longer than most calls.
    """

    def __init__(
        self,
        name: str,
        function: Callable,
        given: tuple[Sequence, Mapping],
        args: Sequence,
        kwargs: Mapping,
        making: bool = False,
        first: bool = True,
    ):
        self.name, self.function, self.making, self.first = name, function, making, first
        self.args, self.kwargs = args, kwargs
        owner = getattr(function, "__self__", function)  # of a method
        own = [((), owner)] if isinstance(owner, nn.Module) else []
        places = own + [((k,), a) for k, a in enumerate(args)] + [((k,), kwargs[k]) for k in kwargs]
        before = [*given[0], *given[1].values()]
        self.tensors = []
        for (place, passed), held in zip(places[len(own) :], before, strict=True):
            self.tensors += _tensors(place, passed, held)
        self.modules = [(at, m, _state(m)) for place, v in places for at, m in _modules(place, v)]
        self.generator = next((a for a in (*args, *kwargs.values()) if _is_generator(a)), None)
        self.begun = self.generator.get_state() if self.generator is not None else None
        if first:  # a call that seeds the generator as the check did would not show
            torch.rand((), generator=torch.default_generator)
        self.random, self.settings = _random_state(first), _settings()

    def of_the_rest(self) -> list[Note]:
        """What is not as it was."""
        return [*self._of_the_rest()]

    def of_result(self, result: object, replay: bool = False) -> list[Note]:
        """What is odd about the result.

        Args:
            replay: whether a function that draws from a generator may be called again, to see that
                it draws from nothing else, and without one anew each time.
        """
        found = [*self._of_result([*_flat(result)])]
        if replay and self.generator is not None and self.has_parameter("generator"):
            states = torch.default_generator.get_state(), self.generator.get_state()
            try:
                found += self._drawn_anew([*_flat(result)], states[1])
            finally:
                torch.default_generator.set_state(states[0])
                self.generator.set_state(states[1])
        return found

    def _of_the_rest(self) -> Iterator[Note]:
        for place, passed, held in self.tensors:
            if not same(passed, held) or passed.requires_grad != held.requires_grad:
                yield self._note("argument", self._called(place))
        for place, module, before in self.modules:
            yield from self._of_module(self._called(place), module, before)
        after, settings = _random_state(self.first), _settings()
        moved = [n for n, s in after.items() if not _equal(s, self.random[n])]
        if moved and (self.generator is not None or not (self.making or self._may_draw())):
            yield self._note("random", moved[0])
        for setting, value in settings.items():
            if value != self.settings[setting]:
                yield self._note("setting", setting)
        torch.set_default_dtype(self.settings["torch's default dtype"])

    def _note(self, kind: str, where: str = "") -> Note:
        return Note(self.name, kind, where[:200])

    def _of_module(self, place: str, module: nn.Module, before: dict) -> Iterator[Note]:
        after = _state(module)
        for kind in ("weights", "gradients", "mode", "frozen"):
            for name, value in before[kind].items():
                if not _equal(value, after[kind].get(name)):
                    yield self._note(kind, f"{place}.{name}".rstrip("."))
                    break
        others = any(after[kind].keys() != before[kind].keys() for kind in before)
        # In training mode running statistics move with every call.
        names = () if others or module.training else before["buffers"]
        if others or not all(same(before["buffers"][n], after["buffers"][n]) for n in names):
            yield self._note("weights", place)

    def _of_result(self, tensors: list[Tensor]) -> Iterator[Note]:
        floats = [t for t in tensors if t.is_floating_point()]
        dtypes = {p.dtype for _, p, _ in self.tensors if p.is_floating_point()}
        if len(dtypes) == 1:
            for odd in [t for t in floats if t.dtype not in dtypes][:1]:
                says = f"got {str(odd.dtype)[6:]}, expected {str(*dtypes)[6:]}"
                yield self._note("dtype", says)
        tracked = any(p.requires_grad for _, p, _ in self.tensors)
        learns = any(any(before["frozen"].values()) for _, _, before in self.modules)
        graphs = [t.requires_grad for t in floats]
        if any(graphs):
            yield self._note("graph" if tracked or learns else "graph of nothing")
        if learns and not all(graphs):
            yield self._note("no graph")
        inputs = {p.untyped_storage().data_ptr(): at for at, p, _ in self.tensors if p.numel()}
        addresses = [t.untyped_storage().data_ptr() for t in tensors if t.numel()]
        for shared in [inputs[a] for a in addresses if a in inputs][:1]:
            yield self._note("memory", self._called(shared))

    def _drawn_anew(self, drawn: list[Tensor], moved: Tensor) -> Iterator[Note]:
        if same(moved, self.begun) or self.modules or sum(t.numel() for t in drawn) < ENOUGH:
            return
        if any(callable(a) for a in (*self.args, *self.kwargs.values())):
            return

        def again(generator: torch.Generator | None) -> list[Tensor]:
            def own(value: object) -> object:
                return generator if value is self.generator else _copied(value)

            kwargs = {k: own(v) for k, v in self.kwargs.items()}
            return [t.detach() for t in _flat(self.function(*map(own, self.args), **kwargs))]

        if not _alike(again(torch.Generator().set_state(self.begun)), drawn):
            yield self._note("not repeated")
        one, two, three = (again(torch.Generator().manual_seed(s)) for s in SEEDS)
        if _alike(one, two) or _alike(two, three) or _alike(one, three):
            return  # too little chance in it to tell
        try:
            calls = [again(None) for _ in range(3)]
        except Exception as error:
            yield self._note("needs a generator", f"{type(error).__name__}: {error}")
        else:
            if _alike(calls[0], calls[1]) or _alike(calls[1], calls[2]):
                yield self._note("not random")

    def _may_draw(self) -> bool:
        """Whether it may draw from the global generator when it is given none."""
        dropped = any(isinstance(p, _DropoutNd) for _, m, _ in self.modules for p in m.modules())
        return dropped or self.has_parameter("generator")

    def has_parameter(self, name: str) -> bool:
        """Whether what is called has a parameter of this name."""
        return name in _parameters(self.function)

    def _called(self, place: tuple) -> str:
        """An argument in words: `z`, `w[1]`."""
        if not place:
            return "its own"
        first, *rest = place
        if isinstance(first, int):
            names = _parameters(self.function)
            first = names[first] if first < len(names) else f"argument {first + 1}"
        return first + "".join(f".{r}" if isinstance(r, str) else f"[{r}]" for r in rest)


def holds_tensors(value: object) -> bool:
    """Whether there is a tensor in a value: itself, or in lists, tuples and dictionaries."""
    if isinstance(value, Mapping):
        return holds_tensors(list(value.values()))
    if isinstance(value, list | tuple):
        return any(map(holds_tensors, value))
    return isinstance(value, Tensor)


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers, NaN among them, in one shape and dtype."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = one.detach(), other.detach()
    if torch.equal(one, other):
        return True
    return bool(((one == other) | ((one != one) & (other != other))).all())


def _alike(ones: list[Tensor], others: list[Tensor]) -> bool:
    return len(ones) == len(others) and all(map(same, ones, others))


def _equal(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return same(one, other)
    return type(one) is type(other) and one == other


def _is_generator(value: object) -> bool:
    return isinstance(value, torch.Generator)


def _tensors(place: tuple, passed: object, held: object) -> list[tuple[tuple, Tensor, Tensor]]:
    """The tensors of an argument: where, as passed on, and as they were."""
    if isinstance(passed, Tensor):
        if passed is held:  # inside a graph: it is passed on as it is
            held = passed.detach().clone().requires_grad_(passed.requires_grad)
        return [(place, passed, held)] if isinstance(held, Tensor) else []
    if isinstance(passed, list | tuple) and isinstance(held, list | tuple):
        pairs = enumerate(zip(passed, held, strict=True))
        return [t for k, (p, h) in pairs for t in _tensors((*place, k), p, h)]
    if isinstance(passed, dict) and isinstance(held, dict):
        return [t for k, p in passed.items() for t in _tensors((*place, k), p, held.get(k))]
    return []


def _modules(place: tuple, value: object, depth: int = 0) -> Iterator[tuple[tuple, nn.Module]]:
    """The networks in an argument: itself, in a tuple, or as an attribute (`players.G`)."""
    if isinstance(value, nn.Module):
        yield place, value
    elif depth == 0 and isinstance(value, list | tuple):
        for k, v in enumerate(value):
            yield from _modules((*place, k), v, 1)
    elif depth == 0 and not isinstance(value, Tensor | type) and not inspect.isroutine(value):
        for name, v in vars(value).items() if hasattr(value, "__dict__") else ():
            yield from _modules((*place, name), v, 1)


def _state(module: nn.Module) -> dict[str, dict]:
    """What of a network a call may leave changed, by name."""
    weights = dict(module.named_parameters())

    def copied(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.detach().clone()

    return {
        "weights": {n: copied(p) for n, p in weights.items()},
        "gradients": {n: copied(p.grad) for n, p in weights.items()},
        "frozen": {n: p.requires_grad for n, p in weights.items()},
        "mode": {n: m.training for n, m in module.named_modules()},
        "buffers": {n: b.detach().clone() for n, b in module.named_buffers()},
    }


def _random_state(every: bool) -> dict[str, object]:
    """The state of torch's global generator, or of every library's."""
    states: dict[str, object] = {"torch's": torch.default_generator.get_state()}
    if every:
        words = np.random.get_state()  # noqa: NPY002
        states |= {"numpy's": (words[1].tobytes(), words[2]), "Python's": random.getstate()}
    return states


def _settings() -> dict[str, object]:
    return {
        "whether torch records gradients": torch.is_grad_enabled(),
        "torch's default dtype": torch.get_default_dtype(),
    }


def _flat(value: object) -> Iterator[Tensor]:
    """The tensors in a result that can be compared; others are refused elsewhere."""
    if isinstance(value, Tensor):
        if not unfit(value):
            yield value
    elif isinstance(value, tuple | list):
        for v in value:
            yield from _flat(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from _flat(v)


def _copied(value: object) -> object:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _parameters(function: Callable) -> list[str]:
    """The names of the parameters of a function, or of a network's forward pass."""
    if isinstance(function, nn.Module):
        function = function.forward
    try:
        return [*inspect.signature(function).parameters]
    except (TypeError, ValueError):
        return []
