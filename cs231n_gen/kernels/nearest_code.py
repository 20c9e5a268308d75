"""argmin_k ‖z_n − e_k‖² without the N × K matrix of distances (slides 120–121; VQ-VAE, 2017).

‖z − e‖² = ‖z‖² − 2 z·e + ‖e‖², of which ‖z‖² is the same for every code and is left out.
"""

import torch
from torch import Tensor

from cs231n_gen.kernels.launch import check_dtype, check_shape, tl, triton, uses_kernel

WIDEST = 256  # numbers of a code: a tile of them must fit on the chip
ROWS, CODES = 64, 32  # of a tile; larger ones spill registers in fp32, which has no matrix cores


@triton.jit
def kernel(
    z, codes, index, N, K, D,
    ROWS: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program i finds the nearest codes of rows i·ROWS … (i + 1)·ROWS − 1, those that exist, going
    through all codes once.

    It reads its rows once, and then the codes, CODES at a time; of each row it keeps the least
    ‖e_k‖² − 2 z·e_k so far and the number k of that code. All products of a tile are one `tl.dot`
    of the numbers as they came, whose sums are fp32 (with input_precision="ieee", or float32 is
    rounded to ten bits); squares, their sums and the scores are fp32 too. Nothing is read beyond
    N, K or D: numbers beyond D count as 0, and a code beyond K is never the nearest. Of codes with
    one score the first is kept.

    Args:
        z: pointer to (N, D), codes: to (K, D), both without gaps, of one dtype.
        index: pointer to (N,) int32, where the numbers of the codes go.
        N, K, D: how many rows, codes, and numbers of each, at least one of each; N · D may be
            beyond 2³¹.
        ROWS, CODES: the sides of a tile of scores, powers of 2 from 16; the last block of rows, and
            the last tile of codes, may stick out.
        BLOCK: a power of 2 from 16 that is at least D.
    """
    ### BEGIN SOLUTION
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)
    Z = tl.load(
        z + row[:, None] * D + d[None, :], mask=(row < N)[:, None] & (d < D)[None, :], other=0.0
    )
    least = tl.full([ROWS], float("inf"), tl.float32)
    nearest = tl.zeros([ROWS], tl.int32)
    for begin in range(0, K, CODES):
        k = begin + tl.arange(0, CODES)
        E = tl.load(
            codes + k[:, None] * D + d[None, :], mask=(k < K)[:, None] & (d < D)[None, :], other=0.0
        )
        square = tl.sum(E.to(tl.float32) * E.to(tl.float32), 1)
        distance = square[None, :] - 2 * tl.dot(Z, tl.trans(E), input_precision="ieee")
        distance = tl.where((k < K)[None, :], distance, float("inf"))
        here, at = tl.min(distance, 1, return_indices=True, return_indices_tie_break_left=True)
        nearest = tl.where(here < least, begin + at, nearest)
        least = tl.minimum(here, least)
    tl.store(index + row, nearest, mask=row < N)
    ### END SOLUTION


def reference(z: Tensor, codes: Tensor) -> Tensor:
    """The same in torch, with all N × K distances in memory."""
    square = codes.square().sum(1)
    return (square - 2 * z @ codes.T).argmin(1).int()


def nearest_code(z: Tensor, codes: Tensor) -> Tensor:
    """The number of the code nearest to each row of z.

    (N + K) · D numbers are read, N numbers of codes are written; K · D again for each further
    program, from the cache.

    Args:
        z: (N, D), of any strides.
        codes: the codebook, (K, D), of z's dtype.
    Returns:
        (N,) int32. Of codes at one distance the first; where rounding decides, either.
    Raises:
        ValueError: if shapes, dtypes or devices do not agree, there is no code, or D is over 256.
    """
    check_dtype(z=z, codes=codes)
    if z.dim() != 2 or codes.dim() != 2:
        shapes = f"{tuple(z.shape)} and {tuple(codes.shape)}"
        raise ValueError(f"z must be (N, D) and codes (K, D), got {shapes}")
    (N, D), K = z.shape, len(codes)
    check_shape("codes", codes, (K, D), like=z)
    if codes.dtype != z.dtype:
        raise ValueError(f"codes must be {z.dtype} like z, got {codes.dtype}")
    if not K or not 0 < D <= WIDEST:
        raise ValueError(f"codes must be (K, D) with a code, D in 1 … {WIDEST}, got {(K, D)}")
    if not uses_kernel(z, codes) or not N:
        return reference(z, codes)
    z, codes = z.detach().contiguous(), codes.detach().contiguous()
    index = torch.empty(N, dtype=torch.int32, device=z.device)
    kernel[(triton.cdiv(N, ROWS),)](
        z, codes, index, N, K, D,
        ROWS=ROWS, CODES=CODES, BLOCK=max(16, triton.next_power_of_2(D)), num_warps=8,
    )  # fmt: skip
    return index
