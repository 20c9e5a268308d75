"""Arithmetic of bfloat16 in Triton's interpreter.

The interpreter keeps a bfloat16 number as the 16 bits it has in memory, an integer to numpy, and
calculates with this integer; what it narrows to bfloat16 it cuts off. A GPU widens to float32,
which is exact, calculates, and rounds to the nearest number, of two to the even one.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np

from cs231n_gen.triton_compat import hooks
from cs231n_gen.triton_compat.available import tl

BUILDER = "interpreter.InterpreterBuilder"
ARITHMETIC = ("binary_op", "unary_op", "ternary_op", "create_fma", "create_rsqrt", "create_erf")
NOT_A_NUMBER = np.uint16(0x7FC0)


def widened(bits: np.ndarray) -> np.ndarray:
    """The float32 numbers whose upper 16 bits these are: a bfloat16 is half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def narrowed(values: np.ndarray) -> np.ndarray:
    """The bits of the nearest bfloat16 numbers; the even one where two are as near.

    Half a step is added before the lower 16 bits are cut off, one less than half if the last bit
    that stays is 0.
    """
    values = np.asarray(values).astype(np.float32)
    bits = values.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(values), NOT_A_NUMBER, rounded.astype(np.uint16))


@contextlib.contextmanager
def mended() -> Iterator[None]:
    """Let kernels calculate with bfloat16 in the interpreter as a GPU does.

    Raises:
        RuntimeError: if Triton's interpreter calculates in another place than this knows.
    """
    with contextlib.ExitStack() as hooked:
        for name in ARITHMETIC:
            hooked.enter_context(hooks.replaced(f"{BUILDER}.{name}", _in_float32))
        hooked.enter_context(hooks.replaced(f"{BUILDER}.create_dot", _multiplying))
        hooked.enter_context(hooks.replaced(f"{BUILDER}.cast_impl", _casting))
        hooked.enter_context(hooks.replaced(f"{BUILDER}.create_fp_to_fp", _rounding))
        for name in ("ReduceOps.sum", "ReduceOps.min_max", "ScanOps.cumsum", "ScanOps.cumprod"):
            hooked.enter_context(hooks.replaced(f"interpreter.{name}", _reducing))
        hooked.enter_context(_constants())
        yield


def _is_bfloat16(handle) -> bool:
    """Whether a handle has numbers as bits; what a comparison makes of them has none."""
    return getattr(getattr(handle, "data", None), "dtype", None) == np.uint16 and (
        handle.dtype.scalar == tl.bfloat16
    )


def _handle(data: np.ndarray, dtype):
    owner, name = hooks.find("interpreter.TensorHandle")
    return getattr(owner, name)(data, dtype)


def _wide(handle):
    return _handle(widened(handle.data), tl.float32) if _is_bfloat16(handle) else handle


def _narrow(handle):
    return _handle(narrowed(handle.data), tl.bfloat16)


def _in_float32(plain: Callable) -> Callable:
    def calculate(builder, *operands):
        out = plain(builder, *map(_wide, operands))
        of_bfloat16 = any(_is_bfloat16(operand) for operand in operands)
        return _narrow(out) if of_bfloat16 and out.data.dtype == np.float32 else out

    return calculate


def _multiplying(plain: Callable) -> Callable:
    """Products of tiles are added up in the dtype of what they are added to."""

    def dot(builder, a, b, sums, *how):
        out = plain(builder, _wide(a), _wide(b), _wide(sums), *how)
        return _narrow(out) if _is_bfloat16(sums) else out

    return dot


def _casting(plain: Callable) -> Callable:
    def cast(builder, source, kind):
        if kind.scalar != tl.bfloat16:
            return plain(builder, _wide(source), kind)
        return source if _is_bfloat16(source) else _narrow(source)

    return cast


def _rounding(plain: Callable) -> Callable:
    """What comes with a mode of rounding, and may ask for another than the nearest."""
    owner, name = hooks.find("interpreter._ir")
    nearest = getattr(owner, name).ROUNDING_MODE.RTNE

    def cast(builder, source, kind, rounding):
        if (source.dtype.scalar, kind.scalar, rounding) == (tl.float32, tl.bfloat16, nearest):
            return _narrow(source)
        return plain(builder, source, kind, rounding)

    return cast


def _reducing(plain: Callable) -> Callable:
    """Sums and the like are made in float32 and rounded once."""

    def wide(tensor):
        return tl.tensor(_wide(tensor.handle), _like(tensor.type, tl.float32))

    def narrow(tensor):
        if tensor.dtype != tl.float32:  # the place of the largest
            return tensor
        return tl.tensor(_narrow(tensor.handle), _like(tensor.type, tl.bfloat16))

    def reduce(self, given, *rest, **options):
        first = given[0] if isinstance(given, tuple) else given
        if not _is_bfloat16(first.handle):
            return plain(self, given, *rest, **options)
        out = plain(self, wide(first), *rest, **options)
        return type(out)(map(narrow, out)) if isinstance(out, tuple | list) else narrow(out)

    return reduce


def _like(kind, scalar):
    return tl.block_type(scalar, kind.shape) if kind.is_block() else scalar


@contextlib.contextmanager
def _constants() -> Iterator[None]:
    """A number in a kernel, as in 2.5 * x; before Triton 3.9 there was no such function."""
    owner, name = hooks.find(BUILDER)
    builder = getattr(owner, name)
    before = getattr(builder, "get_bf16", None)
    builder.get_bf16 = lambda self, value: _handle(narrowed(np.array([value])), tl.bfloat16)
    try:
        yield
    finally:
        if before is None:
            del builder.get_bf16
        else:
            builder.get_bf16 = before
