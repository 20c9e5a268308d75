"""The flow itself: where a velocity field carries noise, step sizes chosen until they don't
matter."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from scipy.integrate import solve_ivp
from torch import Tensor

from cs231n_gen.truth.checks import real

TOLERANCE = 1e-9  # of every coordinate, absolute and relative


def follow(
    velocity: Callable[[Tensor, float], Tensor],
    z: Float[Tensor, "batch *shape"],
    times: Sequence[float],
) -> Float[Tensor, "times batch *shape"]:
    """The solution of dx/dt = v(x, t) that is at z when t = 1, at each of `times`.

    An adaptive Runge–Kutta method of order 8 (scipy's DOP853).

    Args:
        velocity: called as `velocity(x, t)` with x like z in float64 and a number t.
        z: where the paths are at t = 1.
        times: levels from 1 on downward, such as [1, 0.5, 0].
    Returns:
        A frame for each level, the first one z, in float64.
    Raises:
        ValueError: if times do not fall from 1 to at least 0.
        RuntimeError: if the field cannot be followed.
    """
    times = [float(t) for t in times]
    falling = all(a > b for a, b in pairwise(times))
    if len(times) < 2 or times[0] != 1 or times[-1] < 0 or not falling:
        raise ValueError(f"times must fall from 1 to at least 0, got {times}")
    z = real(z)

    def slope(t, x):
        return velocity(torch.from_numpy(x).reshape(z.shape), t).flatten().numpy()

    ends, start = (times[0], times[-1]), z.flatten().numpy()
    found = solve_ivp(slope, ends, start, "DOP853", times, rtol=TOLERANCE, atol=TOLERANCE)
    if not found.success:
        raise RuntimeError(f"the field cannot be followed: {found.message}")
    return torch.from_numpy(found.y.T).reshape(len(times), *z.shape)
