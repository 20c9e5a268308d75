"""Which way a kernel's wrapper takes, and what every wrapper asks of its arguments.

The one switch: tensors on a GPU go through the kernel; tensors on a CPU through the reference in
torch, or, inside `interpreting()`, through the kernel in Triton's interpreter. Without Triton there
is the reference alone, and every wrapper works all the same.

A process either compiles kernels or interprets them: Triton decides when it is imported. Without a
GPU it is the interpreter here; with one, `TRITON_INTERPRET=1` in the environment asks for it.
"""

import contextlib
import os
from collections.abc import Iterator

import torch
from torch import Tensor

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

try:
    import triton
    import triton.language as tl
except ImportError:
    from cs231n_gen.kernels import without_triton as triton
    from cs231n_gen.kernels.without_triton import tl

__all__ = [
    "DTYPES",
    "HAVE_TRITON",
    "INTERPRETED",
    "check_alike",
    "check_shape",
    "interpreting",
    "tl",
    "triton",
    "uses_kernel",
]

HAVE_TRITON = hasattr(triton, "__version__")
INTERPRETED = HAVE_TRITON and os.environ.get("TRITON_INTERPRET", "0") == "1"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)

_interpreting = False


@contextlib.contextmanager
def interpreting() -> Iterator[None]:
    """Send tensors on the CPU through kernels in Triton's interpreter, not through torch.

    Inside, the interpreter calculates as a GPU does: see `instruments.compat`.

    Raises:
        RuntimeError: if Triton is missing, or compiles in this process.
    """
    global _interpreting
    if not HAVE_TRITON:
        raise RuntimeError("Triton is not installed: make setup EXTRAS=kernels (Linux only)")
    if not INTERPRETED:
        raise RuntimeError("kernels are compiled here: set TRITON_INTERPRET=1 before Python starts")
    if _interpreting:
        yield
        return
    from cs231n_gen.instruments import compat  # which asks this module for Triton

    with compat.mended():
        _interpreting = True
        try:
            yield
        finally:
            _interpreting = False


def uses_kernel(*tensors: Tensor) -> bool:
    """Whether these tensors go through the kernel."""
    if all(t.is_cuda for t in tensors):
        return HAVE_TRITON and not INTERPRETED
    return _interpreting and all(t.device.type == "cpu" for t in tensors)


def check_alike(**tensors: Tensor) -> None:
    """Raise ValueError unless all have the first one's shape, dtype and device, by name.

    The dtype must be one of `DTYPES`, or float64, which only the reference knows.
    """
    (first, x), *others = tensors.items()
    check_dtype(**{first: x})
    for name, other in others:
        if other.shape != x.shape:
            theirs, ours = tuple(other.shape), tuple(x.shape)
            raise ValueError(f"{name} must be shaped like {first}: it is {theirs}, not {ours}")
        if other.dtype != x.dtype:
            raise ValueError(f"{name} must be {x.dtype} like {first}: it is {other.dtype}")
        if other.device != x.device:
            raise ValueError(f"{name} must be on {x.device} like {first}: it is on {other.device}")


def check_dtype(**tensors: Tensor) -> None:
    """Raise ValueError unless these are floating-point tensors that a kernel can take, by name.

    On a CPU outside the interpreter float64 is allowed too: the reference computes with it.
    """
    for name, x in tensors.items():
        if x.dtype not in DTYPES and (x.dtype != torch.float64 or uses_kernel(x)):
            raise ValueError(f"{name} must be float32, float16 or bfloat16: it is {x.dtype}")


def check_shape(name: str, x: Tensor, shape: tuple[int, ...], like: Tensor | None = None) -> None:
    """Raise ValueError unless a tensor has this shape, and the device of another one."""
    if tuple(x.shape) != tuple(shape):
        raise ValueError(f"{name} must be {tuple(shape)}: it is {tuple(x.shape)}")
    if like is not None and x.device != like.device:
        raise ValueError(f"{name} must be on {like.device}: it is on {x.device}")
