"""What every kernel is put through: sizes, strides, dtypes, and gradients, against float64."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cs231n_gen.checking.kernels.precision import precise
from cs231n_gen.checking.kernels.reference import as_tuple
from cs231n_gen.instruments.error_budget import in_float64, wide
from cs231n_gen.instruments.tensors.layouts import strided, transposed
from cs231n_gen.kernels.launch import interpreting

__all__ = ["SIZES", "backward", "described", "forward", "strided", "transposed"]

SIZES = (1, 7, 1023, 1024, 1025)  # around a block of 1024, and far from any power of 2


def forward(wrapper: Callable, reference: Callable, *args, **options) -> None:
    """Hold the kernel's results to float64."""
    with interpreting(), torch.no_grad():
        got = as_tuple(wrapper(*args, **options))
    plain = as_tuple(reference(*args, **options))
    exact = as_tuple(in_float64(reference, *args, **options))
    assert len(got) == len(plain)
    for k, (ours, torchs, truth) in enumerate(zip(got, plain, exact, strict=True)):
        precise(ours, truth, torchs, f"result {k} is not exact enough for {described(args)}")


def backward(
    wrapper: Callable,
    reference: Callable,
    args: Sequence,
    upstream: Callable[[Tensor], Tensor] = torch.randn_like,
    **options,
) -> None:
    """Hold the gradients of all floating-point inputs to float64.

    Args:
        upstream: makes the gradient of each result: of any strides (expanded, transposed).
    """
    with interpreting():
        got, seeds = gradients(wrapper, args, upstream, None, **options)
    plain, _ = gradients(reference, args, upstream, seeds, **options)
    exact, _ = gradients(reference, wide(list(args)), upstream, wide(seeds), **options)
    for k, (ours, torchs, truth) in enumerate(zip(got, plain, exact, strict=True)):
        precise(ours, truth, torchs, f"gradient {k} is not exact enough for {described(args)}")


def gradients(
    function: Callable, args: Sequence, upstream: Callable, seeds: list[Tensor] | None, **options
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """Gradients of the floating-point tensors among args, and the gradients that went in."""
    leaves = [
        a.detach().requires_grad_() if isinstance(a, Tensor) and a.is_floating_point() else a
        for a in args
    ]
    out = [o for o in as_tuple(function(*leaves, **options)) if o.requires_grad]
    seeds = [upstream(o.detach()) for o in out] if seeds is None else seeds
    wanted = [a for a in leaves if isinstance(a, Tensor) and a.requires_grad]
    return torch.autograd.grad(out, wanted, seeds), seeds


def described(args: Sequence) -> str:
    """The arguments in words, for an assertion."""
    tensors = [a for a in args if isinstance(a, Tensor)]
    return ", ".join(f"{str(a.dtype)[6:]}{list(a.shape)}/{list(a.stride())}" for a in tensors)
