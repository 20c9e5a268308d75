"""Launches of kernels, noted while they are interpreted, as the GPU's compiler is told of them."""

import contextlib
import inspect
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from torch import Tensor

from cs231n_gen.triton_compat import hooks

RESERVED = {"num_warps": 4, "num_stages": 3}  # and what Triton takes when they are not given


@dataclass(frozen=True)
class Launch:
    """All of a launch that the compiler is told.

    Attributes:
        file, module, name: where the kernel is defined, and what its function is called.
        signature: the type of each argument, `*fp32`, `i32`, or `constexpr`.
        constexprs: the constants by name, in the form that JSON knows; integers equal to 1 are
            constants too.
        aligned: the pointers and integers that are divisible by 16.
        num_warps, num_stages: the launch's options.
    """

    file: str
    module: str
    name: str
    signature: Mapping[str, str]
    constexprs: Mapping[str, object] = field(default_factory=dict)
    aligned: tuple[str, ...] = ()
    num_warps: int = RESERVED["num_warps"]
    num_stages: int = RESERVED["num_stages"]

    @property
    def unaligned(self) -> list[str]:
        """The pointers and integers that are not divisible by 16."""
        kinds = self.signature.items()
        return [n for n, kind in kinds if kind[0] in "*iu" and n not in self.aligned]


@dataclass(frozen=True)
class Record:
    """A launch as it was made: the kernel's function, every argument by name, and options."""

    fn: Callable
    args: Mapping[str, object]
    constexprs: Sequence[str]
    num_warps: int = RESERVED["num_warps"]
    num_stages: int = RESERVED["num_stages"]


@contextlib.contextmanager
def record(run: bool = True) -> Iterator[list[Record]]:
    """Note every launch that is to be interpreted inside, whether it succeeds or not.

    Args:
        run: whether it is made; if not, sizes do not matter, but nothing is ever written.
    """
    records = []

    def note(call):
        def noting(self, *args, **kwargs):
            options = {name: kwargs.get(name, usual) for name, usual in RESERVED.items()}
            with contextlib.suppress(TypeError):  # arguments that do not fit: the launch says so
                given = {k: v for k, v in kwargs.items() if k in self.arg_names}
                named = inspect.signature(self.fn).bind(*args, **given)
                named.apply_defaults()
                records.append(Record(self.fn, named.arguments, tuple(self.constexprs), **options))
            return call(self, *args, **kwargs) if run else None

        return noting

    with hooks.replaced(hooks.LAUNCH, note):
        yield records


def launches_of(records: Iterable) -> list[Launch]:
    """The launches to compile, each once.

    Args:
        records: of `record`, or anything with the attributes of a `Record`, whose fn may be what
            `triton.jit` made.
    """
    found = {}
    for one in records:
        launch = _launch(one)
        found.setdefault(json.dumps(asdict(launch), sort_keys=True), launch)
    return list(found.values())


def _launch(record) -> Launch:
    from triton.runtime.jit import mangle_type

    fn = record.fn
    while not hasattr(fn, "__code__"):
        fn = fn.fn
    signature, constexprs, aligned = {}, {}, []
    for name, value in record.args.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if name in record.constexprs or value is None or (whole and value == 1):
            signature[name], constexprs[name] = "constexpr", encoded(value)
            continue
        signature[name] = mangle_type(value)
        address = value.data_ptr() if isinstance(value, Tensor) else value if whole else 1
        if address % 16 == 0:
            aligned.append(name)
    file = os.path.abspath(fn.__code__.co_filename)
    options = {name: getattr(record, name) for name in RESERVED}
    return Launch(
        file, fn.__module__, fn.__name__, signature, constexprs, tuple(aligned), **options
    )


def encoded(value: object) -> object:
    """A constant in a form that JSON knows; what it does not know is named."""
    value = getattr(value, "value", value)  # of a tl.constexpr
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return {"tuple": [encoded(v) for v in value]}
    if type(value).__name__ == "dtype" and type(value).__module__.startswith("triton"):
        return {"dtype": value.name}
    if hasattr(value, "fn"):
        return {"function": value.fn.__name__}
    return {"unknown": repr(value)[:100]}
