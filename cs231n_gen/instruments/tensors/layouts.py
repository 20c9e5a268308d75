"""How the numbers of a tensor may lie in memory: what a kernel must cope with."""

from collections.abc import Sequence

from torch import Tensor
from torch.utils._pytree import tree_map


def strided(x: Tensor) -> Tensor:
    """The same numbers with gaps between them, NaN in the gaps."""
    if not x.dim() or not x.is_floating_point():
        return x
    return x.new_full((*x.shape[:-1], 2 * x.shape[-1]), float("nan"))[..., ::2].copy_(x)


def transposed(x: Tensor) -> Tensor:
    """The same numbers, the last two axes of which lie the other way round."""
    return x.transpose(-1, -2).contiguous().transpose(-1, -2) if x.dim() > 1 else x


def expanded(x: Tensor) -> Tensor:
    """The first row for all, an axis that moves nowhere in memory: other numbers than those of
    x."""
    return x[:1].clone().expand_as(x) if x.dim() else x


def _same(x: Tensor) -> Tensor:
    return x


LAYOUTS = {"": _same, "strided": strided, "transposed": transposed, "expanded": expanded}


def laid_out(values: Sequence, layout: str) -> list:
    """Values whose tensors, in tuples too, lie as a layout of `LAYOUTS` says.

    Raises:
        ValueError: if there is no such layout.
    """
    if layout not in LAYOUTS:
        named = ", ".join(filter(None, LAYOUTS))
        raise ValueError(f"layout must be one of {named}, got {layout!r}")
    lay = LAYOUTS[layout]
    return tree_map(lambda v: lay(v) if isinstance(v, Tensor) else v, [*values])
