"""Products of float32 tiles in Triton's interpreter, rounded as the matrix cores of a GPU round.

`tl.dot` of float32 operands takes TF32 unless it is told `input_precision="ieee"`: operands keep 10
of their 23 bits behind the point, products and sums are float32. The interpreter knows no TF32 and
multiplies float32 exactly, so that a kernel that loses 13 bits on a GPU would pass here.

Operands are rounded to the nearest number of 10 bits, of two that are as near to the one further
from 0, as the instruction cvt.rna.tf32.f32 does (PTX ISA, "cvt"). Cores that are given float32
unrounded ignore the last 13 bits, which loses up to twice as much: no kernel is judged too hard.

With `tf32x3` an operand is split into what TF32 keeps and the rest, and three products are added
up, the smaller ones first, as Triton's compiler does (F32DotTC): nearly all of float32's digits.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np

from cs231n_gen.triton_compat import hooks
from cs231n_gen.triton_compat.available import tl

DOT = "interpreter.InterpreterBuilder.create_dot"
LOST = 13  # bits of 23
HALF, KEPT = np.uint32(1 << (LOST - 1)), np.uint32((1 << 32) - (1 << LOST))


def rounded(values: np.ndarray) -> np.ndarray:
    """The nearest float32 numbers that have 10 bits behind the point; NaN and ∞ stay."""
    values = np.ascontiguousarray(values, np.float32)
    near = (values.view(np.uint32) + HALF & KEPT).view(np.float32)
    return np.where(np.isfinite(values), near, values)


def split(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What TF32 keeps of float32 numbers, and what it keeps of the rest."""
    large = rounded(values)
    rest = np.where(np.isfinite(large), values - np.where(np.isfinite(large), large, 0), 0)
    return large, rounded(rest)


@contextlib.contextmanager
def mended() -> Iterator[None]:
    """Let `tl.dot` of float32 operands round in the interpreter as on a GPU.

    Raises:
        RuntimeError: if Triton's interpreter multiplies in another place than this knows.
    """
    with hooks.replaced(DOT, _multiplying):
        yield


def _multiplying(plain: Callable) -> Callable:
    handle = getattr(*hooks.find("interpreter.TensorHandle"))
    precision = getattr(*hooks.find("interpreter._ir")).INPUT_PRECISION

    def dot(builder, a, b, sums, how, *rest):
        def product(left: np.ndarray, right: np.ndarray, upon):
            left, right = handle(left, tl.float32), handle(right, tl.float32)
            return plain(builder, left, right, upon, how, *rest)

        if (a.dtype.scalar, b.dtype.scalar) != (tl.float32, tl.float32):
            return plain(builder, a, b, sums, how, *rest)
        if how == precision.TF32:
            return product(rounded(a.data), rounded(b.data), sums)
        if how == precision.TF32x3:
            (a_large, a_rest), (b_large, b_rest) = split(a.data), split(b.data)
            none = handle(np.zeros_like(sums.data), sums.dtype)
            small = product(a_large, b_rest, product(a_rest, b_large, none))
            small.data = np.where(np.isnan(small.data), 0, small.data)  # of ∞ · 0
            out = product(a_large, b_large, small)
            return handle(out.data + sums.data, out.dtype)
        return plain(builder, a, b, sums, how, *rest)

    return dot
