"""What the kernels of attention share: tiles of tokens, their sizes, and where tokens lie."""

import math

from torch import Tensor

from cs231n_gen.kernels.launch import tl, triton

TILES = {  # by bytes of a number, and numbers of a head up to: rows, keys, warps, stages
    "kernel": {
        (2, 64): (128, 64, 8, 3),
        (2, 128): (128, 64, 8, 3),
        (4, 64): (64, 32, 8, 1),
        (4, 128): (32, 32, 8, 1),
    },
    "backward_kernel": {
        (2, 64): (64, 128, 8, 2),
        (2, 128): (64, 128, 8, 2),
        (4, 64): (32, 32, 8, 1),
        (4, 128): (16, 32, 8, 1),
    },
    "query_backward_kernel": {
        (2, 64): (128, 64, 8, 2),
        (2, 128): (128, 64, 8, 2),
        (4, 64): (32, 32, 8, 1),
        (4, 128): (32, 16, 8, 1),
    },
}
"""The largest that spill no registers on an H100; fp32 is not for matrix cores, and needs more."""


@triton.jit
def tile(x, first, stride, rows, ROWS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr):
    """Rows first … first + ROWS − 1 of x, (ROWS, BLOCK): 0 beyond the last row and beyond D."""
    r, d = tl.arange(0, ROWS)[:, None], tl.arange(0, BLOCK)[None, :]
    there = (first + r < rows) & (d < D)
    return tl.load(x + tl.cast(first, tl.int64) * stride + r * stride + d, mask=there, other=0.0)


@triton.jit
def keep(x, X, first, rows, ROWS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr):
    """Store such a tile, to rows of D numbers in contiguous memory."""
    r, d = tl.arange(0, ROWS)[:, None], tl.arange(0, BLOCK)[None, :]
    there = (first + r < rows) & (d < D)
    tl.store(x + tl.cast(first, tl.int64) * D + r * D + d, X.to(x.dtype.element_ty), mask=there)


def tiles(name: str, x: Tensor) -> dict[str, int]:
    """The constants and options of a kernel for heads like those of x."""
    dim = x.shape[-1]
    block = max(16, triton.next_power_of_2(dim))
    fits = (key for key in TILES[name] if key[0] >= x.element_size() and key[1] >= block)
    rows, keys, warps, stages = TILES[name][next(fits)]
    options = {"num_warps": warps, "num_stages": stages}
    return {"ROWS": rows, "KEYS": keys, "D": dim, "BLOCK": block, **options}


def programs(x: Tensor, size: int) -> tuple[int]:
    """The grid of a kernel whose programs do `size` tokens of x each."""
    batch, heads, tokens, _ = x.shape
    return (batch * heads * triton.cdiv(tokens, size),)


def in_rows(x: Tensor) -> Tensor:
    """x itself if the numbers of a token are contiguous and tokens not too far apart, or a copy.

    In a tile tokens are counted with 32 bits.
    """
    return x if x.stride(-1) == 1 and x.stride(-2) < 2**20 else x.contiguous()


def in_units(*tensors: Tensor) -> tuple[int, list[int]]:
    """The first three strides of each tensor, in units of 8 elements if all are divisible by 8.

    The compiler does not see that an integer is divisible by 8, and would load odd bits and pieces.
    """
    strides = [[*x.stride()[:3]] for x in tensors]
    used = [s for x in tensors for s, n in zip(x.stride()[:3], x.shape, strict=False) if n > 1]
    unit = 1 if any(s % 8 for s in used) else 8
    return unit, [s // unit for three in strides for s in three]


def numbers(
    name: str, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float | None
) -> tuple[list, dict]:
    """The numbers that a kernel of attention takes behind its pointers, and its constants."""
    unit, strides = in_units(q, k, v)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    sizes = [*strides, q.shape[1], q.shape[2], k.shape[2], scale * math.log2(math.e)]
    return sizes, {"UNIT": unit, "CAUSAL": bool(causal), **tiles(name, q)}
