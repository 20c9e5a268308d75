"""What of the package answers an exercise by a call: a search among all that has a public name.

The hidden tests are run once on the reference, whose calls are noted. Each function and class of
the package is then called with the same arguments, some dropped, in any order; what returns the
same is handed in for the exercise, and found if it gets full points.
"""

import contextlib
import importlib
import inspect
import io
import itertools
import pkgutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

import cs231n_gen
from cs231n_gen.checking import variants
from cs231n_gen.checking.runner import run
from cs231n_gen.checking.student import Student
from cs231n_gen.common.paths import HIDDEN, MACHINERY, MISTAKES

SKIPPED = {*MACHINERY, "jupyter"}  # rooms that are absent whatever the exercise is
SEED = 2025
NOTED = 2  # calls that are compared before anything is handed in
SMALL = 3000  # numbers in a call that is compared
LIMIT = 0.2  # seconds for one call
PATIENCE = 1  # calls of a candidate that may take longer
LONGEST = 60.0  # seconds for a whole grading
DEFINED = (int, float, bool, str, Tensor)
AFTER = {
    "": lambda result: result,
    "-": lambda result: -result,
    "[0]": lambda result: result[0],
    "[-1]": lambda result: result[-1],
}


@dataclass(frozen=True)
class Candidate:
    """A public function, class or method, and how it is called."""

    module: str
    name: str
    call: Callable
    fewest: int
    most: int

    @property
    def full(self) -> str:
        """`truth.finite.FiniteData(·).velocity`."""
        return f"{self.module.partition('.')[2]}.{self.name}"


@dataclass(frozen=True)
class Noted:
    """A call of the reference: its arguments in the order of the signature, and its result."""

    args: list
    result: object
    chance: bool  # whether the result comes from a generator


@dataclass(frozen=True)
class Found:
    """An answer that gets full points, as it would be written."""

    candidate: Candidate
    written: str


def modules() -> list[ModuleType]:
    """All modules of the package in which there may be an answer."""
    names = [
        m.name
        for m in pkgutil.walk_packages(cs231n_gen.__path__, "cs231n_gen.")
        if m.name.split(".")[1] not in SKIPPED
    ]
    return [importlib.import_module(name) for name in names]


def candidates() -> list[Candidate]:
    """Every public function, class and method that takes an argument."""
    return [c for module in modules() for c in _of(module)]


def _of(module: ModuleType) -> Iterator[Candidate]:
    for name, value in list(vars(module).items()):
        if name[0] == "_" or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            yield from _of_class(module.__name__, name, value)
        if inspect.isfunction(value) or inspect.isclass(value):
            yield from _candidate(module.__name__, name, value, 0)


def _of_class(module: str, name: str, cls: type) -> Iterator[Candidate]:
    """Its methods: those of an object made from the first one or two arguments, then called."""
    for method, value in inspect.getmembers(cls):
        if method[0] == "_" or not str(getattr(value, "__module__", "")).startswith("cs231n"):
            continue
        if inspect.ismethod(value):  # of the class
            yield from _candidate(module, f"{name}.{method}", value, 0)
        elif inspect.isfunction(value):
            for made in (1, 2):
                first = next(_candidate(module, name, cls, 0), None)
                if first and first.fewest <= made <= first.most:

                    def call(*args, _made=made, _method=method):
                        return getattr(cls(*args[:_made]), _method)(*args[_made:])

                    dots = ", ".join("·" * made)
                    yield from _candidate(module, f"{name}({dots}).{method}", value, made - 1, call)


def _candidate(
    module: str, name: str, value: Callable, more: int, call: Callable | None = None
) -> Iterator[Candidate]:
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return
    own = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    fewest = len([p for p in own if p.default is p.empty])
    most = 9 if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(own)
    if most + more:
        yield Candidate(module, name, call or value, fewest + more, most + more)


def noted(exercise: str) -> list[Noted]:
    """The first calls of the reference in its hidden tests that return something and are small;
    none where arguments cannot be copied."""
    found: list[Noted] = []
    reference = _reference(exercise)

    def spy(*args, **kwargs):
        if len(found) < NOTED:
            with contextlib.suppress(Exception):
                given = _in_order(reference, args, kwargs)
                kept = [_copied(v) for v in given]
                result = reference(*args, **kwargs)
                if result is not None and _size([*kept, result]) <= SMALL:
                    chance = _drawn(reference, kept)
                    found.append(Noted(kept, _copied(result), chance))
        return reference(*args, **kwargs)

    run(HIDDEN, [exercise], Student().replacing(exercise, spy), SEED)
    return found


def _size(values: list) -> int:
    """How many numbers there are in tensors."""
    return sum(v.numel() for v in values if isinstance(v, Tensor))


def _in_order(reference: Callable, args: tuple, kwargs: dict) -> list:
    """The arguments of a call as the signature lists them, defaults too."""
    bound = inspect.signature(reference).bind(*args, **kwargs)
    bound.apply_defaults()
    return list(bound.arguments.values())


def _drawn(reference: Callable, args: list) -> bool:
    """Whether another call returns something else."""
    with contextlib.suppress(Exception):
        one, other = (reference(*map(_copied, args)) for _ in range(2))
        return not _alike(one, other, False)
    return True


def answers(exercise: str, tried: list[Candidate]) -> list[Found]:
    """Those that get full points for an exercise, in some order of its arguments."""
    if inspect.isclass(_reference(exercise)):
        classes = [c for c in tried if inspect.isclass(c.call)]
        return [Found(c, c.full) for c in classes if _full(exercise, c.call)]
    calls = noted(exercise)
    if not calls:  # then only as it is, one try each
        every = tuple(range(len(inspect.signature(_reference(exercise)).parameters)))
        fitting = [c for c in tried if c.fewest <= len(every) <= c.most]
        as_it_is = {c: _adapted(exercise, c, every, AFTER[""], False) for c in fitting}
        return [Found(c, f"{c.full}(…)") for c, made in as_it_is.items() if _full(exercise, made)]
    given = [i for i in range(len(calls[0].args)) if any(c.args[i] is not None for c in calls)]
    return [f for candidate in tried for f in _found(exercise, candidate, calls, given)]


def _found(
    exercise: str, candidate: Candidate, calls: list[Noted], given: list[int]
) -> Iterator[Found]:
    slow = 0
    for order in _orders(given, len(calls[0].args), candidate):
        fitting = [""] if calls[0].chance else list(AFTER)
        for call in calls:
            try:
                returned = _returned(candidate, order, call)
            except TimeoutError:
                slow, fitting = slow + 1, []
            else:
                fitting = [a for a in fitting if _fits(call, returned, AFTER[a])]
            if not fitting:
                break
        for after in fitting:
            for cast in (False, True) if not calls[0].chance else (False,):
                if _full(exercise, _adapted(exercise, candidate, order, AFTER[after], cast)):
                    names = ", ".join(f"a{i}" for i in order)
                    yield Found(candidate, f"{candidate.full}({names}){after}")
                    break
        if slow >= PATIENCE:
            return


def _orders(given: list[int], count: int, candidate: Candidate) -> Iterator[tuple[int, ...]]:
    """Which arguments a candidate is called with: up to three of those that are given in every
    order, more as they come; and all that the signature has."""
    for some in range(max(1, candidate.fewest), min(len(given), candidate.most) + 1):
        choose = itertools.permutations if some <= 3 else itertools.combinations
        yield from choose(given, some)
    if len(given) < count and candidate.fewest <= count <= candidate.most:
        yield tuple(range(count))


def _adapted(
    exercise: str, candidate: Candidate, order: tuple, change: Callable, cast: bool
) -> Callable:
    """The answer: with `cast` it returns numbers as precise as the first argument's."""
    reference = _reference(exercise)

    def adapted(*args, **kwargs):
        given = _in_order(reference, args, kwargs)
        result = change(candidate.call(*[given[i] for i in order]))
        like = next((v for v in given if isinstance(v, Tensor) and v.is_floating_point()), None)
        return result.to(like.dtype) if cast and like is not None else result

    return adapted


@cache
def _reference(exercise: str) -> Callable:
    module, _, name = exercise.rpartition(".")
    return getattr(Student()._modules[module], name)


def _returned(candidate: Candidate, order: tuple, call: Noted) -> object:
    """What it returns for the arguments of a call, or the error it raises."""
    args = [_copied(call.args[i]) for i in order]
    try:
        with _limited(), torch.random.fork_rng(devices=[]):
            return candidate.call(*args)
    except TimeoutError:
        raise
    except BaseException as error:
        return error


def _fits(call: Noted, returned: object, change: Callable) -> bool:
    """Whether this, changed, could be what the reference returned."""
    if isinstance(returned, BaseException):
        return False
    with contextlib.suppress(Exception):
        return _alike(call.result, change(returned), call.chance)
    return False


def _full(exercise: str, answer: object) -> bool:
    """Whether an answer, below the lines that the stub's gap comes after, gets full points."""
    if refuse := _refusals().get(exercise):
        answer = variants.after_refusals(refuse, answer)
    student = Student().replacing(exercise, answer)
    with contextlib.suppress(TimeoutError), _limited(LONGEST):
        results = run(HIDDEN, [exercise], student, SEED, first=True)
        return bool(results) and results[-1].passed
    return False


@cache
def _refusals() -> dict[str, Callable]:
    return variants.refusals(MISTAKES)


def kernels_like(exercise: str) -> list[Found]:
    """Other kernels of the package that get full points for a kernel: tried are those with as many
    arguments, and the same names of what is known at compile time."""
    own = _reference(exercise)
    found = []
    for module in modules():
        for name, kernel in list(vars(module).items()):
            if not _is_kernel(kernel) or kernel.fn is own.fn or _shape(kernel) != _shape(own):
                continue
            if kernel.fn.__module__ == module.__name__ and _full(exercise, kernel):
                candidate = Candidate(module.__name__, name, kernel, 0, 0)
                found.append(Found(candidate, candidate.full))
    return found


def _is_kernel(value: object) -> bool:
    return inspect.isfunction(getattr(value, "fn", None)) and hasattr(value, "__getitem__")


def _shape(kernel: object) -> tuple[int, set[str]]:
    parameters = inspect.signature(kernel.fn).parameters
    return len(parameters), {name for name in parameters if name.isupper()}


@contextlib.contextmanager
def _limited(seconds: float = LIMIT) -> Iterator[None]:
    """End what takes longer, quietly."""

    def late(*_):
        raise TimeoutError("this took too long")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    quiet = io.StringIO()
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _copied(value: object) -> object:
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, torch.Generator):
        return torch.Generator().set_state(value.get_state())
    if isinstance(value, tuple | list):
        return type(value)(_copied(v) for v in value)
    return value


def _alike(one: object, other: object, chance: bool) -> bool:
    """Whether two results could be answers to the same call."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape:
            return False
        near = {"rtol": 1e-3, "atol": 1e-5, "equal_nan": True}
        return chance or torch.allclose(one.detach().double(), other.detach().double(), **near)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        pairs = len(one) == len(other) and zip(one, other, strict=True)
        return bool(pairs) and all(_alike(a, b, chance) for a, b in pairs)
    if isinstance(one, DEFINED) and isinstance(other, DEFINED):
        return chance or abs(float(one) - float(other)) <= 1e-3 * abs(float(one)) + 1e-5
    return not isinstance(one, (*DEFINED, tuple, list)) and type(one) is type(other)
