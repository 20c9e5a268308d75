"""Expectations that explain themselves: each failure says what was got, what was expected, and what
to do."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cs231n_gen.checking.errors import NotWritten, PropertyFailed, StudentError

LONGEST = 500  # characters of a value in words


def true(holds: bool, says: str, got: object = "", expected: object = "") -> None:
    """Fail with the sentence unless `holds`."""
    if not holds:
        raise PropertyFailed(says, describe(got), describe(expected))


def tensor(value: object, shape: Sequence[int], what: str = "the result") -> Tensor:
    """A finite tensor of this shape; returns it."""
    shape = tuple(shape)
    if not isinstance(value, Tensor):
        raise PropertyFailed(f"{what} must be a tensor", _kind(value), f"a tensor of shape {shape}")
    if value.shape != shape:
        raise PropertyFailed(f"{what} has the wrong shape", str(tuple(value.shape)), str(shape))
    if not torch.isfinite(value).all():
        bad = int((~torch.isfinite(value)).sum())
        raise PropertyFailed(
            f"{what} holds NaN or infinity", f"{bad} of {value.numel()} numbers", "finite numbers"
        )
    return value


def close(
    got: object,
    want: Tensor | float,
    says: str,
    *,
    atol: float | None = None,
    rtol: float | None = None,
    what: str = "the result",
) -> None:
    """A tensor (or number) equal to `want` up to |got − want| ≤ atol + rtol |want|.

    Args:
        atol, rtol: both or neither, so that no tolerance is looser than it looks; 1e-5 and 1e-4,
            what float32 leaves after a few operations, if neither.
    Raises:
        PropertyFailed: if they are apart.
        ValueError: if only one tolerance is given, or `want` is not finite.
    """
    if (atol is None) != (rtol is None):
        raise ValueError(f"give both tolerances or neither, got atol={atol} and rtol={rtol}")
    atol, rtol = (1e-5, 1e-4) if atol is None or rtol is None else (atol, rtol)
    want = torch.as_tensor(want, dtype=torch.float64)
    if isinstance(got, bool | int | float):
        got = torch.tensor(float(got), dtype=torch.float64)
    got = tensor(got, want.shape, what).double()
    if not torch.isfinite(want).all():
        raise ValueError(f"{says}: the expected values must be finite")
    off = (got - want).abs() - atol - rtol * want.abs()
    if off.numel() and off.max() > 0:
        worst = int(off.argmax())
        place = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), want.shape))
        at = f" at {list(place)}" if place else ""
        raise PropertyFailed(
            says, f"{got.flatten()[worst]:.6g}{at}", f"{want.flatten()[worst]:.6g}{at}"
        )


def raises(kind: str, call: Callable[[], object], says: str) -> None:
    """The student's code must refuse this with the named exception.

    What is not written yet refuses nothing: that stays what it is.
    """
    try:
        result = call()
    except NotWritten:
        raise
    except StudentError as error:
        if error.kind == kind:
            return
        raise PropertyFailed(says, str(error), kind) from error
    raise PropertyFailed(says, f"no error, but {describe(result)}", kind)


def unpack(value: object, names: Sequence[str]) -> tuple:
    """A tuple with one entry for each name; returns it."""
    if not isinstance(value, tuple | list) or len(value) != len(names):
        raise PropertyFailed(
            f"the function must return {len(names)} values: {', '.join(names)}",
            describe(value),
            ", ".join(names),
        )
    return tuple(value)


def unfit(value: Tensor) -> str:
    """Why a tensor cannot be an answer, or "": only plain, dense ones on the cpu are compared."""
    if type(value) not in (Tensor, torch.nn.Parameter):
        return f"expected a plain tensor, got {type(value).__name__}"
    if value.device.type != "cpu":
        return f"expected a tensor on the cpu, got one on {value.device.type}"
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        return "expected a dense tensor of plain numbers"
    return ""


def describe(value: object, depth: int = 0) -> str:
    """A value in a few words."""
    words = _describe(value, depth)
    return words if len(words) <= LONGEST else words[:LONGEST] + " …"


def _describe(value: object, depth: int) -> str:
    if isinstance(value, str):
        return value[: LONGEST + 1]
    if isinstance(value, tuple | list | dict) and depth > 2:
        return f"{_kind(value)} of {len(value)}"
    if isinstance(value, Tensor):
        if value.numel() == 1:
            return f"{value.item():.6g}"
        head = ", ".join(f"{v:.4g}" for v in value.flatten()[:6].tolist())
        more = ", …" if value.numel() > 6 else ""
        return f"tensor of shape {tuple(value.shape)}: {head}{more}"
    if isinstance(value, tuple | list):
        return f"{_kind(value)} of {len(value)}: " + "; ".join(
            describe(v, depth + 1) for v in value[:4]
        )
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return f"dict of {len(value)}: " + ", ".join(str(k)[:40] for k in [*value][:6])
    if isinstance(value, int) and abs(value) > 10**30:
        return "a whole number of more than 30 digits"
    return str(value)


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
