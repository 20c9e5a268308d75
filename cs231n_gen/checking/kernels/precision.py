"""How exact a kernel must be: judged against float64, by what torch itself reaches in the dtype.

The budget, as FlashAttention's tests have it: at most twice the error of plain torch code in the
same dtype, plus a floor. The floor is one unit in the last place of the largest value: even an
exact result is off by half of that once it is stored, and torch may by luck be exact where a right
kernel, which adds in another order, is not.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from cs231n_gen.checking import expect
from cs231n_gen.checking.errors import PropertyFailed

FACTOR = 2.0


def precise(got, exact: Tensor, plain: Tensor, says: str, ulps: float = 1.0) -> None:
    """Raise PropertyFailed unless a result is as exact as torch's own, within the budget.

    Args:
        got: what came, in the dtype of `plain`.
        exact: the truth in float64.
        plain: what torch makes of the same inputs in their own dtype.
        says: what is wrong otherwise.
        ulps: the floor, in units of the last place.
    """
    if isinstance(got, Tensor) and got.shape == plain.shape and bool(got.isnan().any()):
        lost = f"{int(got.isnan().sum())} of {got.numel()} numbers are NaN"
        raise PropertyFailed(f"{says}: {lost}, as memory is here that no kernel wrote")
    got = expect.tensor(got, tuple(plain.shape), "the result")
    expect.true(got.dtype == plain.dtype, "the dtype is not the input's", got.dtype, plain.dtype)
    if not got.numel():
        return
    expect.true(bool(got.isfinite().all()), f"{says}: not every number is finite")
    off = float((got.double() - exact).abs().max())
    most = budget(exact, plain, ulps)
    expect.true(off <= most, says, f"off by {off:.3g}", f"at most {most:.3g}")


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
