"""What is random in a step. It depends on the seed, the step and the place in the batch alone.

So it is the same for any number of processes, and after a run was broken off.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cs231n_gen import guidance

DROPPED = 0.1  # of the conditions, so that samples can be guided


class Draws(NamedTuple):
    """Noise z, levels t and conditions y of some examples."""

    z: Float[Tensor, "batch *shape"]
    t: Float[Tensor, "batch"]
    y: Int[Tensor, "batch"]


def generator_of(*parts: object) -> torch.Generator:
    """A generator whose seed is a hash of these parts."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@lru_cache(maxsize=2)  # a batch may lie across two epochs
def _order(seed: int, epoch: int, n: int) -> Tensor:
    return torch.randperm(n, generator=generator_of(seed, "order", epoch))


def indices(seed: int, step: int, places: range, batch: int, n: int) -> Int[Tensor, "some"]:
    """Which of n images stand at these places of a step's batch: each once an epoch.

    Args:
        seed: of the run.
        step: from 0.
        places: some of 0, …, batch − 1.
        batch: the size of the whole batch, over all processes.
        n: images there are.
    """
    reached = [divmod(step * batch + place, n) for place in places]
    return torch.stack([_order(seed, epoch, n)[i] for epoch, i in reached])


def draws(seed: int, step: int, places: range, shape: Sequence[int], y: Tensor, null: int) -> Draws:
    """Noise, level and condition for each of these places of a step's batch.

    Args:
        seed, step, places: as in `indices`.
        shape: of one example.
        y: their classes, of which a tenth becomes null.
        null: ∅.
    """
    z, t, kept = [], [], []
    for place, label in zip(places, y, strict=True):
        generator = generator_of(seed, "step", step, place)
        z.append(torch.randn(*shape, generator=generator))
        t.append(torch.rand((), generator=generator))
        kept.append(guidance.drop_condition(label[None], DROPPED, null, generator))
    return Draws(torch.stack(z), torch.stack(t), torch.cat(kept))
