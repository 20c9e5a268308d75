"""Small kernels to look at in chapter 14: one that is right, and others with one fault each."""

import torch
from torch import Tensor

from cs231n_gen.kernels.launch import tl, triton

BLOCK = 1024


@triton.jit
def scale_kernel(x, out, a, n, BLOCK: tl.constexpr):
    """out = a x: program p does elements p·BLOCK … (p + 1)·BLOCK − 1, those that exist."""
    place = tl.program_id(axis=0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < n
    tl.store(out + place, a * tl.load(x + place, mask=inside), mask=inside)


@triton.jit
def unmasked_kernel(x, out, a, n, BLOCK: tl.constexpr):
    """The same, but nothing keeps the last program from reading past the end of x."""
    place = tl.program_id(axis=0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + place, a * tl.load(x + place), mask=place < n)


@triton.jit
def add_kernel(x, y, out, n, BLOCK: tl.constexpr):
    """out = x + y."""
    place = tl.program_id(axis=0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < n
    total = tl.load(x + place, mask=inside) + tl.load(y + place, mask=inside)
    tl.store(out + place, total, mask=inside)


@triton.jit
def racing_kernel(x, total, n, BLOCK: tl.constexpr):
    """total = Σ x, but every program reads the same number, adds its part, and writes it back."""
    place = tl.program_id(axis=0) * BLOCK + tl.arange(0, BLOCK)
    part = tl.sum(tl.load(x + place, mask=place < n, other=0.0))
    tl.store(total, tl.load(total) + part)


def scaled(x: Tensor, a: float) -> Tensor:
    """a x, as it should be."""
    out = torch.empty_like(x)
    scale_kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, a, x.numel(), BLOCK=BLOCK)
    return out


def scaled_without_a_mask(x: Tensor, a: float) -> Tensor:
    """a x, by a kernel in which one mask is missing."""
    out = torch.empty_like(x)
    unmasked_kernel[(triton.cdiv(x.numel(), BLOCK),)](x, out, a, x.numel(), BLOCK=BLOCK)
    return out


def mixed_in_three_passes(x: Tensor, z: Tensor, t: float) -> Tensor:
    """x_t = (1 − t) x + t z by three kernels, as eager torch does it."""
    noise, x_t = scaled(z, t), torch.empty_like(x)
    grid = (triton.cdiv(x.numel(), BLOCK),)
    add_kernel[grid](scaled(x, 1 - t), noise, x_t, x.numel(), BLOCK=BLOCK)
    return x_t


def summed_in_a_race(x: Tensor) -> Tensor:
    """Σ x, right in the interpreter, where programs wait for each other, and wrong on a GPU."""
    total = torch.zeros(1)
    racing_kernel[(triton.cdiv(x.numel(), BLOCK),)](x, total, x.numel(), BLOCK=BLOCK)
    return total


def scaled_by_torch(x: Tensor, a: float) -> Tensor:
    """a x, but the kernel is launched for show: torch's numbers are returned."""
    scaled(x, a)
    return x * a
