"""Draws from N(0, 1) that a browser repeats: what js/math/normal.mjs does."""

import math

import numpy as np
from jaxtyping import Float

WORD = 2**32


def normals(seed: int, n: int) -> Float[np.ndarray, "n"]:
    """n draws in pairs by Box and Muller's rule, from xorshift32 (Marsaglia 2003)."""
    state = ((seed + 1) * 0x9E3779B1 ^ 0x5BD1E995) % WORD or 1

    def uniform() -> float:
        nonlocal state
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        return (state + 0.5) / WORD

    for _ in range(16):  # the first ones of near seeds are alike
        uniform()
    pairs = []
    while len(pairs) < n:
        radius, angle = math.sqrt(-2 * math.log(uniform())), 2 * math.pi * uniform()
        pairs += [radius * math.cos(angle), radius * math.sin(angle)]
    return np.array(pairs[:n])
