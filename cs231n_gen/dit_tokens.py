"""What a diffusion transformer is fed (slides 98–100): patches as tokens, and where and when they
are.

A Transformer sees a set of vectors. Patches of the image become its tokens; positions, and the
level t, become sines and cosines, whose products depend on differences alone.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cs231n_gen.kernels.launch import leaves_to_kernels

Images = Float[Tensor, "batch channels height width"]
Tokens = Float[Tensor, "batch tokens features"]


def patchify(x: Images, patch: int) -> Tokens:
    """Cut images into patches, each of them a token (slides 98–102; Peebles and Xie 2023).

        tokens[n, i · W/P + j, (p · P + q) · C + c] = x[n, c, i P + p, j P + q]

    Tokens run along the rows of patches. The P² C features of a token run along its rows, then its
    columns, then its channels, as in the last layer of DiT and of SD3. The first layer of both is a
    convolution, whose weights run along channels first.

    Args:
        x: images, or latents.
        patch: P, by which height and width can be divided.
    Returns:
        (batch, H/P · W/P, P² C), the same numbers in another order.
    Raises:
        ValueError: if x does not have four axes, or patch is not a positive number that divides
            both sides.
    """
    if x.dim() != 4:
        raise ValueError(f"x must be (batch, channels, height, width), got {tuple(x.shape)}")
    B, C, H, W = x.shape
    _check_patch(patch, H, W)
    if leaves_to_kernels(x, "patchify"):
        from cs231n_gen.kernels import patchify as kernel  # here, so an unfinished one harms nobody

        return kernel.patchify(x, patch)
    ### BEGIN SOLUTION
    P = patch
    x = x.reshape(B, C, H // P, P, W // P, P)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(B, -1, P * P * C)  # (batch, i j, p q c)
    ### END SOLUTION


def unpatchify(tokens: Tokens, patch: int, height: int, width: int) -> Images:
    """The images of tokens, the inverse of `patchify`.

        x[n, c, i P + p, j P + q] = tokens[n, i · W/P + j, (p · P + q) · C + c]

    Args:
        tokens: (batch, H/P · W/P, P² C).
        patch: P.
        height, width: H and W of the images.
    Returns:
        (batch, C, H, W).
    Raises:
        ValueError: if tokens do not have three axes, patch is not a positive number that divides
            both sides, the number of tokens is not H/P · W/P, or P² does not divide the features.
    """
    if tokens.dim() != 3:
        raise ValueError(f"tokens must be (batch, tokens, features), got {tuple(tokens.shape)}")
    _check_patch(patch, height, width)
    rows, columns = height // patch, width // patch
    if tokens.shape[1] != rows * columns or tokens.shape[2] % patch**2:
        raise ValueError(
            f"tokens must be {rows} · {columns} of a multiple of {patch**2} features each, "
            f"got {tuple(tokens.shape)}"
        )
    channels = tokens.shape[2] // patch**2
    if leaves_to_kernels(tokens, "patchify"):
        from cs231n_gen.kernels import patchify as kernel

        return kernel.unpatchify(tokens, patch, channels, height, width)
    ### BEGIN SOLUTION
    x = tokens.reshape(-1, rows, columns, patch, patch, channels)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(-1, channels, height, width)
    ### END SOLUTION


def timestep_embedding(
    t: Float[Tensor, "*shape"], dim: int, scale: float = 1000.0, base: float = 10000.0
) -> Float[Tensor, "*shape dim"]:
    """A level t as waves of many lengths (slides 98–100; Vaswani et al. 2017; Ho et al. 2020).

        e(t) = (cos(s t ω_0), …, cos(s t ω_{h−1}), sin(s t ω_0), …, sin(s t ω_{h−1})),
        ω_k = base^(−k/h),   h = dim / 2

    ⟨e(t), e(t′)⟩ = Σ_k cos(s ω_k (t − t′)): how alike two levels look depends on their difference
    alone. The formula was made for whole numbers up to 1000, so t in [0, 1] is multiplied by s =
    1000 first. Without it e(0.1) and e(0.2) would have a cosine of 0.9997.

    Args:
        t: levels, of any shape, one number without an axis too.
        dim: how many numbers describe a level, an even number.
        scale: s.
        base: the slowest wave is nearly `base` times as long as the fastest.
    Returns:
        e(t), in the precision of t. Gradients flow into t.
    Raises:
        ValueError: if dim is not a positive even number.
    """
    if dim <= 0 or dim % 2:
        raise ValueError(f"dim must be a positive even number, got {dim}")
    ### BEGIN SOLUTION
    k = torch.arange(dim // 2, dtype=t.dtype, device=t.device)
    angle = scale * t[..., None] * base ** (-k / (dim // 2))  # (*shape, h)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)
    ### END SOLUTION


def position_embedding(
    height: int, width: int, dim: int, base: float = 10000.0
) -> Float[Tensor, "tokens dim"]:
    """Where each token of a grid is, as sines and cosines (He et al. 2022).

        e(i, j) = (f(j), f(i)),   f(n) = (sin(n ω_0), …, sin(n ω_{h−1}), cos(n ω_0), …),
        ω_k = base^(−k/h),   h = dim / 4

    The first half says in which column a token is, the second half in which row.

    Args:
        height, width: of the grid, in tokens.
        dim: how many numbers describe a place, a multiple of 4.
        base: the slowest wave is nearly `base` times as long as the fastest.
    Returns:
        e, a row for each token, in the order of `patchify`, in float32. Computed in float64, so
        that each number is right to the last digit of float32.
    Raises:
        ValueError: if height or width is not positive, or dim is not a positive multiple of 4.
    """
    _check_grid(height, width)
    if dim <= 0 or dim % 4:
        raise ValueError(f"dim must be a positive multiple of 4, got {dim}")
    ### BEGIN SOLUTION
    k = torch.arange(dim // 4, dtype=torch.float64)
    omega = base ** (-k / (dim // 4))
    row, column = torch.arange(height), torch.arange(width)
    i, j = row.repeat_interleave(width), column.repeat(height)  # (tokens,)
    of_j, of_i = j[:, None] * omega, i[:, None] * omega  # (tokens, h)
    return torch.cat([of_j.sin(), of_j.cos(), of_i.sin(), of_i.cos()], dim=1).float()
    ### END SOLUTION


def rotate(
    x: Float[Tensor, "*batch tokens dim"], height: int, width: int, base: float = 10000.0
) -> Float[Tensor, "*batch tokens dim"]:
    """Turn queries or keys by angles that say where they are: 2-D RoPE (Su et al. 2021; Heo et al.
    2024).

        (x_k, x_{k+h})  ←  (x_k cos θ_k − x_{k+h} sin θ_k,   x_{k+h} cos θ_k + x_k sin θ_k),
        θ_k = i ω_k  for k < h/2,    θ_k = j ω_{k−h/2}  for k ≥ h/2,
        ω_k = base^(−2k/h),   h = dim / 2

    Number k and number k + h are a point in the plane. Of the h points one half turns with the row
    i, the other with the column j. Lengths stay, and the product of a turned query with a turned
    key depends on how far apart the tokens are, along rows and columns, and not on where.

    Args:
        x: queries or keys, with any axes before the last two, such as (batch, heads). The tokens
            are those of a grid, in the order of `patchify`.
        height, width: of the grid, in tokens.
        base: the slowest point turns nearly `base` times slower than the fastest.
    Returns:
        x turned, shaped like x and in its precision. The token in the corner, i = j = 0, stays.
    Raises:
        ValueError: if height or width is not positive, x does not have height · width tokens, or 4
            does not divide dim.
    """
    _check_grid(height, width)
    if x.dim() < 2 or x.shape[-2] != height * width or x.shape[-1] % 4:
        raise ValueError(
            f"x must be (…, {height} · {width} tokens, dim) with dim a multiple of 4, "
            f"got {tuple(x.shape)}"
        )
    ### BEGIN SOLUTION
    h = x.shape[-1] // 2
    k = torch.arange(h // 2, dtype=torch.float64, device=x.device)
    omega = base ** (-2 * k / h)
    token = torch.arange(height * width, device=x.device)[:, None]
    theta = torch.cat([token // width * omega, token % width * omega], dim=1)  # (tokens, h)
    cos, sin = theta.cos().to(x.dtype), theta.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    ### END SOLUTION


def _check_patch(patch: int, height: int, width: int) -> None:
    if patch <= 0 or height % patch or width % patch:
        raise ValueError(
            f"patch must be a positive number that divides height {height} and width {width}, "
            f"got {patch}"
        )


def _check_grid(height: int, width: int) -> None:
    if height <= 0 or width <= 0:
        raise ValueError(f"height and width must be positive, got {height} and {width}")
