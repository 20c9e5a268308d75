"""Velocity fields in the plane by their parameters: what js/math/velocity_field.mjs is told of
them, and the same in numpy, for still pictures."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Protocol

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from cs231n_gen.viz.net_weights import Net, layers_of
from cs231n_gen.viz.widget import short

KINDS = {"weights": "(K,)", "means": "(K, 2)", "covs": "(K, 2, 2)"}


class Mixture(Protocol):
    """Parameters of a mixture of Gaussians in the plane."""

    weights: Float[ArrayLike, "components"]
    means: Float[ArrayLike, "components 2"]
    covs: Float[ArrayLike, "components 2 2"]


def describe(fields: Mapping[str, Mixture | Net]) -> tuple[list[dict], Float[np.ndarray, "n"]]:
    """What the module is told of each field, and the numbers of all nets one after the other.

    Raises:
        ValueError: if there is no field, or one is neither a mixture in the plane nor such a net.
    """
    if not fields:
        raise ValueError("fields must hold at least one field, by its title, got none")
    described, numbers, begin = [], [np.zeros(0)], 0
    for title, field in fields.items():
        if isinstance(field, Mapping):
            one, weights = _net(title, field)
            one |= {"begin": begin, "end": (begin := begin + len(weights))}
            numbers.append(weights)
        else:
            one = {"mixture": _mixture(title, field)}
        described.append({"title": title, **one})
    return described, np.concatenate(numbers)


def field(described: Mapping, numbers: np.ndarray) -> Callable[[np.ndarray, float], np.ndarray]:
    """A described field as a function of points (n, 2) and a level t."""
    if "mixture" in described:
        return _mixture_field(**{k: np.array(v) for k, v in described["mixture"].items()})
    mine = numbers[described["begin"] : described["end"]]
    return _net_field(mine, described["widths"], np.array(described["frequencies"]))


def sample(mixture: Mixture, n: int, random: np.random.Generator) -> Float[np.ndarray, "n 2"]:
    """Points of a mixture."""
    weights, means, covs = (np.asarray(getattr(mixture, kind)) for kind in KINDS)
    k = random.choice(len(weights), n, p=weights / weights.sum())
    roots = np.linalg.cholesky(covs)[k]
    return means[k] + (roots @ random.standard_normal((n, 2, 1)))[..., 0]


def _mixture(title: str, mixture: Mixture) -> dict[str, list]:
    if not all(hasattr(mixture, kind) for kind in KINDS):
        raise ValueError(
            f"{title!r} must be a mixture (weights, means, covs) or the state_dict() of a "
            f"VelocityMLP, got {type(mixture).__name__}"
        )
    found = {kind: np.asarray(getattr(mixture, kind)) for kind in KINDS}
    K = len(found["weights"])
    if found["means"].shape != (K, 2) or found["covs"].shape != (K, 2, 2):
        shapes = ", ".join(f"{kind} {found[kind].shape}" for kind in KINDS)
        wanted = ", ".join(f"{kind} {shape}" for kind, shape in KINDS.items())
        raise ValueError(f"a mixture in the plane must have {wanted}, got {shapes}")
    return {kind: short(values) for kind, values in found.items()}


def _net(title: str, state: Net) -> tuple[dict, np.ndarray]:
    """Widths and frequencies of a net, and its numbers in the order of its layers."""
    kind, others = "VelocityMLP", ("frequencies",)
    widths, numbers, known = layers_of(state, repr(title), kind, others)
    inputs = 3 + 2 * len(known["frequencies"])
    if widths[0] != inputs or widths[-1] != 2:
        raise ValueError(
            f"{title!r} must be a net from the plane to the plane without conditions, "
            f"{inputs} inputs and 2 outputs, got {widths[0]} and {widths[-1]}"
        )
    return {"widths": widths, "frequencies": short(known["frequencies"])}, numbers


def _mixture_field(weights, means, covs):
    """E[z − x | x_t] of a mixture, component by component: see truth/mixture.py."""

    def velocity(x_t, t):
        S = (1 - t) ** 2 * covs + t**2 * np.eye(2)
        u = x_t[:, None] - (1 - t) * means  # (n, K, 2)
        s = np.linalg.solve(S, u[..., None])[..., 0]
        score = np.log(weights) - 0.5 * np.log(np.linalg.det(S)) - 0.5 * (u * s).sum(-1)
        p = np.exp(score - score.max(-1, keepdims=True))
        x = means + (1 - t) * (covs @ s[..., None])[..., 0]
        return ((p / p.sum(-1, keepdims=True))[..., None] * (t * s - x)).sum(1)

    return velocity


def _net_field(numbers, widths, frequencies):
    layers, begin = [], 0
    for n, m in pairwise(widths):
        weight = numbers[begin : begin + n * m].reshape(m, n)
        layers.append((weight, numbers[begin + n * m : begin + (n + 1) * m]))
        begin += (n + 1) * m

    def velocity(x_t, t):
        level = np.concatenate([[t], np.sin(t * frequencies), np.cos(t * frequencies)])
        h = np.concatenate([x_t, np.broadcast_to(level, (len(x_t), len(level)))], 1)
        for weight, bias in layers[:-1]:
            h = h @ weight.T + bias
            h = h / (1 + np.exp(-h))
        weight, bias = layers[-1]
        return h @ weight.T + bias

    return velocity
