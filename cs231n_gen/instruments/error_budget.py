"""How far a kernel may be off: judged against float64, by what torch itself reaches in the dtype.

The budget, as FlashAttention's tests have it: at most twice the error of plain torch code in the
same dtype, plus a floor. The floor is one unit in the last place of the largest value: even an
exact result is off by half of that once it is stored, and torch may by luck be exact where a right
kernel, which adds in another order, is not.
"""

from collections.abc import Callable

import torch
from torch import Tensor

FACTOR = 2.0


def budget(exact: Tensor, plain: Tensor, ulps: float = 1.0) -> float:
    """The largest error that is allowed."""
    torchs = float((plain.double() - exact).abs().max())
    return FACTOR * torchs + ulps * torch.finfo(plain.dtype).eps * float(exact.abs().max())


def in_float64(function: Callable, *args, **options):
    """What a function gives for the same numbers in float64, those in tuples and lists too."""
    return function(*map(wide, args), **options)


def wide(value):
    """A value whose floating-point tensors, in tuples and lists too, are in float64."""
    if isinstance(value, tuple | list):
        return type(value)(map(wide, value))
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
