"""Right answers to chapter 09, tokens, written another way."""

import math

import torch
from torch.nn import functional as F

from cs231n_gen.checking.variants import accepted

PATCHIFY = "dit_tokens.patchify"
UNPATCHIFY = "dit_tokens.unpatchify"
TIMESTEP = "dit_tokens.timestep_embedding"
POSITION = "dit_tokens.position_embedding"
ROTATE = "dit_tokens.rotate"


def image_fits(x, patch):
    if x.dim() != 4:
        raise ValueError("x must have four axes")
    sides_fit(patch, *x.shape[2:])


def sides_fit(patch, height, width):
    if patch <= 0 or height % patch or width % patch:
        raise ValueError("patch must divide both sides")


def tokens_fit(tokens, patch, height, width):
    if tokens.dim() != 3:
        raise ValueError("tokens must have three axes")
    sides_fit(patch, height, width)
    if tokens.shape[1] != height * width // patch**2 or tokens.shape[2] % patch**2:
        raise ValueError("tokens must be those of the image")


def even(t, dim, scale=1000.0, base=10000.0):
    if dim <= 0 or dim % 2:
        raise ValueError("dim must be positive and even")


def grid_fits(height, width):
    if height <= 0 or width <= 0:
        raise ValueError("height and width must be positive")


def place_fits(height, width, dim, base=10000.0):
    grid_fits(height, width)
    if dim <= 0 or dim % 4:
        raise ValueError("dim must be a positive multiple of 4")


def turn_fits(x, height, width, base=10000.0):
    grid_fits(height, width)
    if x.dim() < 2 or x.shape[-2] != height * width or x.shape[-1] % 4:
        raise ValueError("x must be the tokens of the grid")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    PATCHIFY: image_fits,
    UNPATCHIFY: tokens_fit,
    TIMESTEP: even,
    POSITION: place_fits,
    ROTATE: turn_fits,
}

# --- dit_tokens.patchify, dit_tokens.unpatchify -------------------------------------------------


@accepted(PATCHIFY)
def by_unfold(x, patch):
    """`unfold` runs along channels first."""
    cut = F.unfold(x, patch, stride=patch)  # (B, C P², tokens)
    return cut.unflatten(1, (x.shape[1], -1)).permute(0, 3, 2, 1).flatten(2)


@accepted(PATCHIFY)
def patch_by_patch(x, patch):
    P, (H, W) = patch, x.shape[2:]
    cut = [x[:, :, i : i + P, j : j + P] for i in range(0, H, P) for j in range(0, W, P)]
    return torch.stack([part.permute(0, 2, 3, 1).reshape(len(x), -1) for part in cut], dim=1)


@accepted(PATCHIFY)
def by_windows(x, patch):
    windows = x.unfold(2, patch, patch).unfold(3, patch, patch)  # (B, C, i, j, p, q)
    return torch.einsum("bcijpq->bijpqc", windows).flatten(3).flatten(1, 2)


@accepted(PATCHIFY)
def by_pixel_unshuffle(x, patch):
    cut = F.pixel_unshuffle(x, patch).unflatten(1, (x.shape[1], -1))  # (B, C, p q, i, j)
    return cut.permute(0, 3, 4, 2, 1).reshape(len(x), -1, patch**2 * x.shape[1])


@accepted(PATCHIFY)
def by_the_formula(x, patch):
    """Where each number comes from, as one index."""
    B, C, H, W = x.shape
    at = torch.arange(C * H * W).reshape(C, H, W).permute(1, 2, 0)
    rows = [at[i : i + patch, j : j + patch].reshape(-1) for i in range(0, H, patch)
            for j in range(0, W, patch)]  # fmt: skip
    return x.reshape(B, -1)[:, torch.stack(rows)]


@accepted(UNPATCHIFY)
def by_fold(tokens, patch, height, width):
    columns = tokens.unflatten(2, (patch**2, -1)).permute(0, 3, 2, 1).flatten(1, 2)
    return F.fold(columns, (height, width), patch, stride=patch)


@accepted(UNPATCHIFY)
def row_by_row(tokens, patch, height, width):
    each = tokens.unflatten(2, (patch, patch, -1)).permute(0, 1, 4, 2, 3)
    rows = each.split(width // patch, dim=1)
    return torch.cat([torch.cat(row.unbind(1), dim=3) for row in rows], dim=2)


@accepted(UNPATCHIFY)
def by_pixel_shuffle(tokens, patch, height, width):
    x = tokens.mT.unflatten(2, (height // patch, -1)).unflatten(1, (patch**2, -1))
    return F.pixel_shuffle(x.transpose(1, 2).flatten(1, 2), patch)


@accepted(UNPATCHIFY)
def written_into_zeros(tokens, patch, height, width):
    P, columns = patch, width // patch
    x = tokens.new_zeros(len(tokens), tokens.shape[2] // P**2, height, width)
    for n in range(tokens.shape[1]):
        i, j = divmod(n, columns)
        part = tokens[:, n].reshape(len(tokens), P, P, -1).movedim(-1, 1)
        x[:, :, i * P : (i + 1) * P, j * P : (j + 1) * P] = part
    return x


# --- dit_tokens.timestep_embedding --------------------------------------------------------------


@accepted(TIMESTEP)
def by_exp_and_log(t, dim, scale=1000.0, base=10000.0):
    h = dim // 2
    omega = torch.exp(-math.log(base) * torch.arange(h, dtype=torch.float64) / h).to(t)
    angle = (scale * t).unsqueeze(-1) * omega
    return torch.cat((torch.cos(angle), torch.sin(angle)), dim=-1)


@accepted(TIMESTEP)
def by_polar(t, dim, scale=1000.0, base=10000.0):
    omega = base ** -torch.linspace(0, 1, dim // 2 + 1, dtype=t.dtype)[:-1]
    angle = torch.einsum("...,k->...k", scale * t, omega)
    z = torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag], -1)


@accepted(TIMESTEP)
def wave_by_wave(t, dim, scale=1000.0, base=10000.0):
    h = dim // 2
    angles = [scale * t * base ** (-k / h) for k in range(h)]
    return torch.stack([a.cos() for a in angles] + [a.sin() for a in angles], dim=-1)


@accepted(TIMESTEP)
def in_float64_first(t, dim, scale=1000.0, base=10000.0):
    omega = torch.tensor([base ** (-2 * k / dim) for k in range(dim // 2)], dtype=torch.float64)
    angle = scale * t.double().unsqueeze(-1) * omega
    return torch.cat([angle.cos(), angle.sin()], dim=-1).to(t.dtype)


@accepted(TIMESTEP)
def a_cosine_of_all(t, dim, scale=1000.0, base=10000.0):
    """A sine is a cosine a quarter of a turn later."""
    h = dim // 2
    omega = base ** (-torch.arange(h).to(t) / h)
    angle = t.reshape(-1, 1) * omega * scale
    later = torch.cat([angle, angle - math.pi / 2], dim=1)
    return later.cos().reshape(*t.shape, dim)


# --- dit_tokens.position_embedding --------------------------------------------------------------


@accepted(POSITION)
def by_meshgrid(height, width, dim, base=10000.0):
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in (height, width))
    i, j = torch.meshgrid(rows, columns, indexing="ij")
    omega = 1 / base ** (torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))

    def f(n):
        angle = torch.outer(n.reshape(-1), omega)
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    return torch.cat([f(j), f(i)], dim=1).to(torch.float32)


@accepted(POSITION)
def by_broadcasting(height, width, dim, base=10000.0):
    h = dim // 4
    omega = torch.exp(-torch.arange(h).double() * (math.log(base) / h))
    e = torch.empty(height, width, 4, h)
    for n, part in ((height, e[:, :, 2:].transpose(0, 1)), (width, e[:, :, :2])):
        angle = torch.arange(n).double()[:, None] * omega
        part.copy_(torch.stack([angle.sin(), angle.cos()], dim=1))
    return e.reshape(height * width, dim)


@accepted(POSITION)
def place_by_place(height, width, dim, base=10000.0):
    omega = [base ** (-4 * k / dim) for k in range(dim // 4)]
    rows = []
    for i in range(height):
        for j in range(width):
            rows.append([f(n * w) for n in (j, i) for f in (math.sin, math.cos) for w in omega])
    return torch.tensor(rows, dtype=torch.float32)


@accepted(POSITION)
def by_powers_of_complex_numbers(height, width, dim, base=10000.0):
    omega = base ** (-torch.arange(dim // 4, dtype=torch.float64) * 4 / dim)
    z = torch.polar(torch.ones_like(omega), omega)
    of_row, of_column = (z ** torch.arange(n)[:, None] for n in (height, width))
    first = torch.cat([of_column.imag, of_column.real], dim=1).repeat(height, 1)
    second = torch.cat([of_row.imag, of_row.real], dim=1).repeat_interleave(width, dim=0)
    return torch.cat([first, second], dim=1).float()


# --- dit_tokens.rotate --------------------------------------------------------------------------


def theta(height, width, dim, base, dtype=torch.float64):
    omega = base ** (-torch.arange(dim // 4, dtype=dtype) * 4 / dim)
    i = torch.arange(height).repeat_interleave(width)
    j = torch.arange(width).repeat(height)
    return torch.cat([torch.outer(i, omega), torch.outer(j, omega)], dim=1)


@accepted(ROTATE)
def by_complex_numbers(x, height, width, base=10000.0):
    h = x.shape[-1] // 2
    angle = theta(height, width, 2 * h, base).to(x.dtype)
    z = torch.complex(x[..., :h], x[..., h:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag], dim=-1)


@accepted(ROTATE)
def by_half_a_turn(x, height, width, base=10000.0):
    """x cos θ + J x sin θ, with J a quarter of a turn."""
    angle = theta(height, width, x.shape[-1], base)
    cos, sin = (torch.cat([f, f], dim=1).to(x) for f in (angle.cos(), angle.sin()))
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


@accepted(ROTATE)
def by_matrices(x, height, width, base=10000.0):
    h = x.shape[-1] // 2
    angle = theta(height, width, 2 * h, base).to(x.dtype)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    points = x.unflatten(-1, (2, h))
    return torch.einsum("tkab,...tbk->...tak", turn, points).flatten(-2)


@accepted(ROTATE)
def rows_and_columns_apart(x, height, width, base=10000.0):
    """The grid as two axes; each quarter with its partner."""
    q = x.shape[-1] // 4
    omega = base ** (-torch.arange(q).to(x) / q)
    grid = x.unflatten(-2, (height, width))
    a, b, c, d = grid.split(q, dim=-1)
    i = torch.arange(height).to(x)[:, None, None] * omega
    j = torch.arange(width).to(x)[:, None] * omega
    out = [a * i.cos() - c * i.sin(), b * j.cos() - d * j.sin()]
    out += [c * i.cos() + a * i.sin(), d * j.cos() + b * j.sin()]
    return torch.cat(out, dim=-1).flatten(-3, -2)


@accepted(ROTATE)
def in_float64_and_back(x, height, width, base=10000.0):
    a, b = x.double().chunk(2, dim=-1)
    angle = theta(height, width, x.shape[-1], base)
    length, start = torch.hypot(a, b), torch.atan2(b, a)
    z = length * torch.exp(1j * (start + angle))
    return torch.cat([z.real, z.imag], dim=-1).to(x.dtype)
