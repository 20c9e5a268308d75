"""How far each number of a result may be off from float64.

A kernel loads numbers, calculates in float32, and rounds once, where it stores. So number i of a
result y may be off by

    ½ ulp(y_i)  +  c · ε · (s_i + |y_i|),        ε = 2⁻²³,

of which the first is what storing costs, ulp being the distance of two numbers of the result's own
dtype near y_i, and the second is what calculating costs. It is not held against the largest value:
each number answers for itself.

s_i says how much a relative error of the inputs weighs in y_i: s_i² = Σ_j (x_j ∂y_i/∂x_j)², the
componentwise condition of y_i (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
§1.6 and §3.1). For a sum of products s_i² is the sum of the squared terms, so that a sum that
cancels has a budget by its terms and not by its value. It is estimated by the float64 reference
itself: inputs are multiplied by 1 + u·N(0, 1) a few times, and s_i is the root mean square change
over u. Roundings inside of a backward stable formula act like such errors of its inputs.

c counts roundings. Those of a sum of n numbers grow as √n at most if they are independent (Higham
and Mary, SIAM J. Sci. Comput. 41, 2019), as log n for a tree of additions. Instead of counting, c
takes what torch needs in float32 for the same inputs, its largest error in units of
ε (s_i + |y_i|), four times, for other orders of the same sums and approximations of exp and 1/√ on
a GPU (2 ulp); and at least 8, since torch may by luck be exact, times the `floor` of whoever knows
better.

What rounds between to half precision is off by 2⁻¹² (float16) or 2⁻⁹ (bfloat16) of a term: more
than this leaves room for, in every dtype. A product on matrix cores takes operands in half
precision, and so its weights are rounded: a test that allows it says of each number how large the
terms of such products are, r_i² = Σ_j (term j)², and number i gets two ulps of r_i. That is seven
times the root mean square of what rounding the weights costs, and leaves nothing for scores that
are rounded before they become weights.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

FACTOR = 2.0
SINGLE = torch.finfo(torch.float32).eps
STEP, TIMES = 1e-6, 6  # of the inputs, relatively, and how often: too small an s_i is unlikely
LEAST, TORCHS = 8.0, 4.0


def budgets(
    exact: Tensor,
    single: Tensor,
    size: Tensor,
    dtype: torch.dtype,
    floor: float = 1.0,
    stores: int = 1,
    rounded: Tensor | None = None,
) -> Tensor:
    """The largest error that is allowed, of each number.

    Args:
        exact: the result in float64.
        single: what torch makes of the same inputs in float32.
        size: s, shaped like the result.
        dtype: of the result.
        floor: how many roundings more than usual, as of a sum whose numbers are added in turn.
        stores: how often the number is rounded to its dtype: it may be stored in between.
        rounded: r, the size of the terms one factor of which may be rounded to that dtype.
    """
    unit = SINGLE * (size + exact.abs())
    known = unit > 0
    torchs = (single.double() - exact).abs()[known] / unit[known]
    c = LEAST * floor + TORCHS * (float(torchs.max()) if torchs.numel() else 0.0)
    tiny = torch.finfo(torch.float32).tiny  # a GPU may flush numbers below to 0
    calculating = c * unit + tiny
    if rounded is not None:
        calculating = calculating + 2 * torch.finfo(dtype).eps * rounded
    earlier = (stores - 1) * torch.finfo(dtype).eps / 2 * exact.abs()  # at a value of any size
    calculating = calculating + earlier * (1 + torch.finfo(dtype).eps)
    return half_a_step(exact.abs() + calculating, dtype) + calculating


def half_a_step(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Half the distance of two numbers of a dtype, near positive values."""
    kind = torch.finfo(dtype)
    _, exponent = torch.frexp(values.clamp_min(kind.smallest_normal))  # in [½, 1) · 2^exponent
    return torch.ldexp(torch.full_like(values, kind.eps / 4), exponent)


def sizes(
    function: Callable[[Sequence], Sequence[Tensor]], args: Sequence, exact: Sequence[Tensor]
):
    """s of each result: see above.

    Args:
        function: makes the results in float64, of arguments in float64.
        args: those; tensors in tuples too.
        exact: the results.
    """
    random = torch.Generator().manual_seed(231_001)  # no test's: noise must not be like inputs
    squares = [torch.zeros_like(e) for e in exact]
    for _ in range(TIMES):
        moved = [_moved(a, random) for a in args]
        for square, e, now in zip(squares, exact, function(moved), strict=True):
            square += ((now - e) / STEP).square().nan_to_num(0.0)
    return [(square / TIMES).sqrt() for square in squares]


def _moved(value: object, random: torch.Generator) -> object:
    if isinstance(value, tuple | list):
        return type(value)(_moved(v, random) for v in value)
    if not (isinstance(value, Tensor) and value.is_floating_point()):
        return value
    noise = torch.randn(value.shape, generator=random, dtype=value.dtype)
    return value * (1 + STEP * noise)


def budget(exact: Tensor, plain: Tensor, ulps: float = 1.0) -> float:
    """The largest error that is allowed where nothing is known of single numbers: twice that of
    torch in the same dtype, and some units of the last place of the largest value."""
    torchs = float((plain.double() - exact).abs().max())
    return FACTOR * torchs + ulps * torch.finfo(plain.dtype).eps * float(exact.abs().max())


def in_float64(function: Callable, *args, **options):
    """What a function gives for the same numbers in float64, those in tuples and lists too."""
    return function(*map(wide, args), **options)


def wide(value):
    """A value whose floating-point tensors, in tuples and lists too, are in float64."""
    return _converted(value, torch.float64)


def in_float32(value):
    """A value whose floating-point tensors, in tuples and lists too, are in float32."""
    return _converted(value, torch.float32)


def _converted(value, dtype: torch.dtype):
    if isinstance(value, tuple | list):
        return type(value)(_converted(v, dtype) for v in value)
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
