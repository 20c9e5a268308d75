"""The weights of a net in the plane or on the line, as figures take them."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

Net = Mapping[str, ArrayLike]  # the `state_dict()` of an `MLP` or a `VelocityMLP`


def layers_of(
    state: Net, who: str, kind: str, others: tuple[str, ...] = ()
) -> tuple[list[int], Float[np.ndarray, "n"], dict[str, np.ndarray]]:
    """The widths of a net, and weight and bias of each layer, one after the other.

    Args:
        state: of the net: `hidden.0.weight`, …, `out.bias`.
        who, kind: what an error calls it, and its class.
        others: arrays that it has besides.
    Returns:
        Inputs, hidden widths and outputs; the numbers; and the other arrays by name.
    Raises:
        ValueError: if it has other arrays.
    """
    count = sum(key.startswith("hidden.") for key in state) // 2
    layers = [*(f"hidden.{i}" for i in range(count)), "out"]
    parts = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    if {*state} != {*others, *parts}:
        found = ", ".join(sorted(state)[:4])
        raise ValueError(f"{who} must be a state_dict() of {kind}, got keys {found}, …")
    arrays = {k: np.asarray(v.cpu() if hasattr(v, "cpu") else v) for k, v in state.items()}
    weights = [arrays[f"{layer}.weight"] for layer in layers]
    widths = [weights[0].shape[1], *(w.shape[0] for w in weights)]
    numbers = np.concatenate([arrays[part].ravel() for part in parts])
    return widths, numbers, {name: arrays[name] for name in others}
