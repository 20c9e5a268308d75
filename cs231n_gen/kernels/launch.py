"""Which way a kernel's wrapper takes, and what every wrapper asks of its arguments.

The one switch: tensors on a GPU go through the kernel; tensors on a CPU through the reference in
torch, or, inside `interpreting()`, through the kernel in Triton's interpreter. Without Triton there
is the reference alone, and every wrapper works all the same.

On a GPU a kernel with a gap is left alone, and the reference does its work: the course runs there
before chapter 14 is done. In the interpreter the gap says so. What counts is the file as it was
imported: import or reload it after an edit.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType

import numpy as np
import torch
from torch import Tensor

from cs231n_gen.triton_compat import patches
from cs231n_gen.triton_compat.available import (
    HAVE_TRITON,
    INTERPRETED,
    require_interpreter,
    tl,
    triton,
)

__all__ = [
    "DTYPES",
    "HAVE_TRITON",
    "INTERPRETED",
    "check_alike",
    "check_shape",
    "interpreting",
    "leaves_to_kernels",
    "switched_off",
    "tl",
    "triton",
    "uses_kernel",
    "where",
    "written",
]

GAP = "NotImplementedError"
DECIDED = "__kernels_written__"  # a name in the module of a kernel
DTYPES = (torch.float32, torch.float16, torch.bfloat16)

_interpreting = False
_switched_off: frozenset[str] = frozenset()


@contextlib.contextmanager
def interpreting() -> Iterator[None]:
    """Send tensors on the CPU through kernels in Triton's interpreter, not through torch.

    Inside, the interpreter calculates as a GPU does: see `triton_compat.patches`.

    Raises:
        RuntimeError: if Triton is missing, or compiles in this process.
    """
    global _interpreting
    require_interpreter()
    if _interpreting:
        yield
        return
    with patches.mended(), np.errstate(all="ignore"):  # a GPU does not warn of a NaN either
        _interpreting = True
        try:
            yield
        finally:
            _interpreting = False


def where() -> str:
    """Where kernels run in this process, or what to do where Triton is missing, in a sentence."""
    if not HAVE_TRITON:
        return (
            "Triton is not installed. It has wheels for Linux alone: there, in WSL2 or in Colab, "
            "`make setup EXTRAS=kernels`. Every other chapter works without it."
        )
    if INTERPRETED:
        gpu = "as TRITON_INTERPRET=1 asks" if torch.cuda.is_available() else "there is no GPU"
        return f"Triton {triton.__version__} interprets kernels: {gpu}."
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "a GPU"
    return f"Triton {triton.__version__} compiles kernels for {device}; checks interpret them."


def leaves_to_kernels(x: Tensor, kernel: str = "") -> bool:
    """Whether a function of the package leaves such a tensor to the wrapper of its kernel.

    On a GPU and inside `interpreting()`, unless this kernel is switched off. Elsewhere it is the
    course's own lines that run.
    """
    return (x.is_cuda or _interpreting) and kernel not in _switched_off


@contextlib.contextmanager
def switched_off(*kernels: str) -> Iterator[None]:
    """Let torch do what these kernels would: `with switched_off("adaln"): …`, by their names."""
    global _switched_off
    before = _switched_off
    _switched_off = before | set(kernels)
    try:
        yield
    finally:
        _switched_off = before


def uses_kernel(*tensors: Tensor) -> bool:
    """Whether these tensors go through the kernels of the file that asks."""
    if all(t.is_cuda for t in tensors):
        return HAVE_TRITON and not INTERPRETED and _was_written(sys._getframe(1).f_globals)
    return _interpreting and all(t.device.type == "cpu" for t in tensors)


def _was_written(names: dict[str, object]) -> bool:
    """`written`, decided once each time that the module of these names is imported or reloaded:
    either gives it a new `__spec__`."""
    spec = names.get("__spec__")
    if spec is None:  # a notebook's cells, which may write it any time
        return written(names)
    known = names.get(DECIDED)
    if known is None or known[0] is not spec:
        known = names[DECIDED] = spec, written(names)
    return known[1]


def written(names: Mapping[str, object]) -> bool:
    """Whether the files of all kernels among these names were without a gap when imported."""
    kernels = [_function(value) for value in names.values() if hasattr(value, "run")]
    return not any(_has_gap(code) for f in kernels if f for code in _codes_beside(f))


def _codes_beside(function: FunctionType) -> Iterator[CodeType]:
    """The code of every function and method in the file of this one."""
    for value in function.__globals__.values():
        own_class = isinstance(value, type) and value.__module__ == function.__module__
        for member in vars(value).values() if own_class else [value]:
            found = _function(member)
            if found and found.__code__.co_filename == function.__code__.co_filename:
                yield found.__code__


def _function(value: object) -> FunctionType | None:
    """The function itself, or the one that `triton.jit`, `staticmethod` or a decorator wraps."""
    for name in ("fn", "__func__", "__wrapped__"):  # from the outside in
        while not isinstance(value, type) and hasattr(value, name):
            value = getattr(value, name)
    return value if isinstance(value, FunctionType) else None


def _has_gap(code: CodeType) -> bool:
    """Whether something is still to be written: a gap raises NotImplementedError."""
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return GAP in code.co_names or any(map(_has_gap, inner))


def check_alike(**tensors: Tensor) -> None:
    """Raise ValueError unless all have the first one's shape, dtype and device, by name.

    The dtype must be one of `DTYPES`, or float64, which only the reference knows.
    """
    (first, x), *others = tensors.items()
    check_dtype(**{first: x})
    for name, other in others:
        if other.shape != x.shape:
            theirs, ours = tuple(other.shape), tuple(x.shape)
            raise ValueError(f"{name} must be shaped like {first}, got {theirs}, not {ours}")
        if other.dtype != x.dtype:
            raise ValueError(f"{name} must be {x.dtype} like {first}, got {other.dtype}")
        if other.device != x.device:
            raise ValueError(f"{name} must be on {x.device} like {first}, got {other.device}")


def check_dtype(**tensors: Tensor) -> None:
    """Raise ValueError unless these are floating-point tensors that a kernel can take, by name.

    On a CPU outside the interpreter float64 is allowed too: the reference computes with it.
    """
    for name, x in tensors.items():
        if x.dtype not in DTYPES and (x.dtype != torch.float64 or uses_kernel(x)):
            raise ValueError(f"{name} must be float32, float16 or bfloat16, got {x.dtype}")


def check_shape(name: str, x: Tensor, shape: tuple[int, ...], like: Tensor | None = None) -> None:
    """Raise ValueError unless a tensor has this shape, and the device of another one."""
    if tuple(x.shape) != tuple(shape):
        raise ValueError(f"{name} must be {tuple(shape)}, got {tuple(x.shape)}")
    if like is not None and x.device != like.device:
        raise ValueError(f"{name} must be on {like.device}, got {x.device}")
