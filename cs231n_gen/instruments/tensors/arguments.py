"""The arguments and results of a call, by name, and the numbers in them."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten


def leaves(args: Sequence, options: dict, gradient: bool) -> tuple[list, dict]:
    """The arguments, in the same memory, but outside any graph."""
    given = tree_leaves((list(args), options))
    chosen = any(isinstance(a, Tensor) and a.requires_grad for a in given)

    def leaf(a):
        if not isinstance(a, Tensor):
            return a
        wanted = a.requires_grad if chosen else a.is_floating_point()
        return a.detach().requires_grad_(gradient and wanted)

    return tree_map(leaf, (list(args), options))


def named_inputs(wrapper: Callable, args: list, options: dict) -> dict[str, Tensor]:
    """The tensors among the arguments, by the wrapper's names for them."""
    try:
        named = dict(inspect.signature(wrapper).bind(*args, **options).arguments)
    except (TypeError, ValueError):  # a wrapper without a signature, or one that will complain
        named = {f"argument {k + 1}": a for k, a in enumerate(args)} | options
    found: dict[str, Tensor] = {}
    for name, value in named.items():
        found |= tensors_in(value, name, f"{name} ")
    return found


def tensors_in(value: object, one: str, many: str) -> dict[str, Tensor]:
    """The tensors in a value, by a name, or by its start and their number."""
    found = [t for t in tree_leaves(value) if isinstance(t, Tensor)]
    if len(found) == 1:
        return {one: found[0]}
    return {f"{many}{k + 1}": t for k, t in enumerate(found)}


def in_place(old: list, new: list) -> list:
    """New arguments, in the memory of the old ones where they fit."""
    olds, tree = tree_flatten(old)
    news, other = tree_flatten(new)
    if tree != other:
        return new
    for k, (a, b) in enumerate(zip(olds, news, strict=True)):
        both = isinstance(a, Tensor) and isinstance(b, Tensor)
        if both and (a.shape, a.dtype) == (b.shape, b.dtype) and 0 not in a.stride():
            news[k] = a.detach().copy_(b).requires_grad_(b.requires_grad)
    return tree_unflatten(news, tree)


def all_bits(tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    """All bits of each tensor, by name."""
    return {name: bits(t) for name, t in tensors.items()}


def bits(t: Tensor) -> bytes:
    """All of a tensor's bits, so that NaN equals NaN."""
    return t.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def nbytes(values: object) -> int:
    """The bytes of all tensors in a value."""
    return sum(t.numel() * t.element_size() for t in tree_leaves(values) if isinstance(t, Tensor))


def source_file(function: Callable) -> str:
    """The file in which a function, or the class of a method, is written; empty if unknown.

    All cells of a notebook are one file, `__main__`.
    """
    owner = getattr(function, "__self__", None)
    function = owner if isinstance(owner, type) else inspect.unwrap(function)
    function = getattr(function, "func", function)
    if getattr(function, "__module__", "") == "__main__":
        return "__main__"
    try:
        return os.path.realpath(inspect.getsourcefile(function) or "")
    except TypeError:
        return ""
