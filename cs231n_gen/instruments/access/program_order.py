"""Run the programs of a grid in another order, or some of them: on a GPU they have no order, in the
interpreter one."""

import contextlib
import random
from collections.abc import Iterator, Sequence

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


@contextlib.contextmanager
def only(places: Sequence[Sequence[int]], grid: Sequence[int]) -> Iterator[None]:
    """Let every launch inside run some programs of a grid, which may be a huge one.

    A launch inside has as many programs as places, along its first axis; what a program is told of
    its place and of the grid is what it would be told there.

    Args:
        places: which programs run, each by its place in the grid.
        grid: of the launch, up to three numbers.
    Raises:
        RuntimeError: as `shuffled`.
    """
    full = (*grid, 1, 1)[:3]

    def elsewhere(plain):
        def set_place(builder, x: int, y: int, z: int) -> None:
            builder.grid_dim = full
            plain(builder, *(*places[x], 0, 0)[:3])

        return set_place

    with hooks.replaced(hooks.PLACE, elsewhere):
        yield
