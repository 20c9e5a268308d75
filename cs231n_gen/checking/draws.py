"""Random sizes for tests: fresh for each run, the same again from a logged seed."""

import torch


def whole(generator: torch.Generator, low: int, high: int) -> int:
    """A random whole number n, low ≤ n < high, as `range` counts."""
    return int(torch.randint(low, high, (), generator=generator))
