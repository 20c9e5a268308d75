"""Run the programs of a grid in another order: on a GPU they have none, in the interpreter one."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from cs231n_gen.kernels.launch import interpreting
from cs231n_gen.triton_compat import hooks


@contextlib.contextmanager
def shuffled(seed: int) -> Iterator[None]:
    """Let every launch inside run its programs in a random order.

    Args:
        seed: of the order.
    Raises:
        RuntimeError: if Triton's interpreter sets the place of a program in another way than this
            knows.
    """
    order: list[int] = []

    def shuffle(plain):
        def elsewhere(builder, x: int, y: int, z: int) -> None:
            nx, ny, nz = builder.grid_dim
            number = (x * ny + y) * nz + z
            if number == 0:
                order[:] = random.Random(seed).sample(range(nx * ny * nz), nx * ny * nz)
            place = order[number]
            plain(builder, place // (ny * nz), place // nz % ny, place % nz)

        return elsewhere

    with hooks.replaced(hooks.PLACE, shuffle):
        yield


def order_matters(run: Callable[[], Tensor | tuple], seeds: Sequence[int] = (1, 2, 3)) -> bool:
    """Whether a function's results change, by a single bit, with the order of programs.

    Args:
        run: calls wrappers inside `launch.interpreting()`, always with the same inputs, and returns
            tensors.
        seeds: the orders to try.
    """

    def results() -> tuple:
        out = run()
        return out if isinstance(out, tuple) else (out,)

    with interpreting():
        first = results()
        for seed in seeds:
            with shuffled(seed):
                again = results()
            if not all(torch.equal(_bits(a), _bits(b)) for a, b in zip(first, again, strict=True)):
                return True
    return False


def _bits(t: Tensor) -> Tensor:
    """A tensor's bytes: a NaN is not equal to itself, its bytes are."""
    return t.detach().reshape(-1).contiguous().view(torch.uint8)
