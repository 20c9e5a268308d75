"""Whether a kernel's result is exact enough: see `instruments.error_budget`."""

from torch import Tensor

from cs231n_gen.checking import expect
from cs231n_gen.checking.errors import PropertyFailed
from cs231n_gen.instruments.error_budget import budget


def precise(
    got, exact: Tensor, plain: Tensor, says: str, ulps: float = 1.0, most: Tensor | None = None
) -> None:
    """Raise PropertyFailed unless a result is as exact as it can be, within the budget.

    Args:
        got: the result, in the dtype of `plain`.
        exact: the truth in float64.
        plain: what torch makes of the same inputs in their own dtype.
        says: what is wrong otherwise.
        ulps: the floor, in units of the last place, where `most` is not known.
        most: how far each number may be off (`error_budget.budgets`).
    """
    if isinstance(got, Tensor) and got.shape == plain.shape and bool(got.isnan().any()):
        lost = f"{int(got.isnan().sum())} of {got.numel()} numbers are NaN"
        raise PropertyFailed(f"{says}: {lost}, which marks memory that no kernel wrote")
    got = expect.tensor(got, tuple(plain.shape), "the result")
    expect.true(
        got.dtype == plain.dtype, "the result must have the input's dtype", got.dtype, plain.dtype
    )
    if not got.numel():
        return
    expect.true(bool(got.isfinite().all()), f"{says}: not every number is finite")
    if most is not None:
        off = (got.double() - exact).abs()
        at = int((off / most).argmax())
        off, most = (float(x.flatten()[at]) for x in (off, most))
        where = f"number {at} is off by {off:.3g}, and is {float(exact.flatten()[at]):.6g}"
        expect.true(off <= most, says, where, f"at most {most:.3g}: calculate in fp32, round once")
        return
    off = float((got.double() - exact).abs().max())
    most = budget(exact, plain, ulps)
    expect.true(off <= most, says, f"off by {off:.3g}", f"at most {most:.3g}")
