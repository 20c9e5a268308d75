"""Run the programs of a grid in another order: on a GPU they have none, in the interpreter one."""

import contextlib
import random
from collections.abc import Iterator

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
