"""Which way a kernel's wrapper takes, and what every wrapper asks of its arguments.

The one switch: tensors on a GPU go through the kernel; tensors on a CPU through the reference in
torch, or, inside `interpreting()`, through the kernel in Triton's interpreter. Without Triton there
is the reference alone, and every wrapper works all the same.

On a GPU a kernel with a gap is left alone, and the reference does its work: the course runs there
before chapter 14 is done. In the interpreter the gap says so.
"""

import contextlib
import functools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

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
    "tl",
    "triton",
    "uses_kernel",
    "where",
    "written",
]

GAP = "raise NotImplementedError"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)

_interpreting = False


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


def leaves_to_kernels(x: Tensor) -> bool:
    """Whether a function of the package leaves such a tensor to the wrapper of its kernel.

    On a GPU and inside `interpreting()`. Elsewhere it is the course's own lines that run.
    """
    return x.is_cuda or _interpreting


def uses_kernel(*tensors: Tensor) -> bool:
    """Whether these tensors go through the kernels of the file that asks."""
    if all(t.is_cuda for t in tensors):
        return HAVE_TRITON and not INTERPRETED and written(sys._getframe(1).f_globals)
    return _interpreting and all(t.device.type == "cpu" for t in tensors)


def written(names: Mapping[str, object]) -> bool:
    """Whether the files of all kernels among these names are without a gap."""
    functions = [getattr(value, "fn", None) for value in names.values() if hasattr(value, "run")]
    files = {f.__code__.co_filename for f in functions if hasattr(f, "__code__")}
    return not any(_has_gap(file, _time_of(file)) for file in files)


def _time_of(file: str) -> int:
    return Path(file).stat().st_mtime_ns if Path(file).is_file() else 0


@functools.cache
def _has_gap(file: str, time: int) -> bool:
    """Whether something is still to be written in a file, as it was at this time."""
    return bool(time) and GAP in Path(file).read_text(encoding="utf-8")


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
