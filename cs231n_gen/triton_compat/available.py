"""Whether Triton is here, and whether it compiles kernels or interprets them.

    from cs231n_gen.triton_compat.available import HAVE_TRITON, tl, triton

Everything that names Triton gets it from here. Where Triton cannot be installed, stand-ins take its
place: a kernel's file can be imported all the same, but its kernels never run.

A process either compiles kernels or interprets them: Triton decides when it is imported. Without a
GPU it is the interpreter here; with one, `TRITON_INTERPRET=1` in the environment asks for it.
"""

import os
from collections.abc import Callable
from types import SimpleNamespace

import torch

__all__ = [
    "HAVE_TRITON",
    "INTERPRETED",
    "require_interpreter",
    "require_triton",
    "tl",
    "triton",
]

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def _jit(function: Callable) -> Callable:
    """Leave a kernel as it is written."""
    return function


def _cdiv(x: int, y: int) -> int:
    """⌈x / y⌉."""
    return -(-x // y)


def _next_power_of_2(n: int) -> int:
    """The least power of 2 that is at least n."""
    return 1 << max(0, n - 1).bit_length()


try:
    import triton
    import triton.language as tl

    HAVE_TRITON = True
except ImportError:  # what a kernel's file names of Triton outside of its kernels
    triton = SimpleNamespace(jit=_jit, cdiv=_cdiv, next_power_of_2=_next_power_of_2)
    tl = SimpleNamespace(constexpr=int)
    HAVE_TRITON = False

INTERPRETED = HAVE_TRITON and os.environ.get("TRITON_INTERPRET", "0") == "1"


def require_triton() -> None:
    """Raise RuntimeError, which says what to do, where Triton is missing."""
    if not HAVE_TRITON:
        raise RuntimeError("Triton is not installed: make setup EXTRAS=kernels (Linux only)")


def require_interpreter() -> None:
    """Raise RuntimeError, which says what to do, where this process interprets no kernels."""
    require_triton()
    if not INTERPRETED:
        raise RuntimeError("kernels are compiled here: set TRITON_INTERPRET=1 before Python starts")
