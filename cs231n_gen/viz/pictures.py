"""Pictures in colour beside what is said of them."""

from collections.abc import Sequence
from textwrap import fill

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cs231n_gen.common.palette import DATA, GREY, NOISE

LETTERS = 21  # of a caption in one line


def captioned(
    x, titles: Sequence[str] = (), *, right: Sequence[bool] = (), columns: int = 8
) -> Figure:
    """Pictures (n, 3, H, W) in [−1, 1] with a text above each.

    Args:
        x: the pictures.
        titles: a text for each, or none.
        right: whether each shows what it should; a blue frame says yes, an orange dashed one no.
        columns: pictures in a row.
    Raises:
        ValueError: if x is not (n, 3, H, W), or titles or right are not one for each.
    """
    x = np.asarray(x)
    if x.ndim != 4 or x.shape[1] != 3 or not len(x):
        raise ValueError(f"x must be (n, 3, height, width), n at least 1, got {x.shape}")
    for name, some in (("titles", titles), ("right", right)):
        if len(some) not in (0, len(x)):
            raise ValueError(f"{name} must be one for each of {len(x)} pictures, got {len(some)}")
    columns = min(columns, len(x))
    rows = -(-len(x) // columns)
    lines = max([fill(t, LETTERS).count("\n") + 1 for t in titles], default=0)
    size = (1.5 * columns, (1.5 + 0.16 * lines) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for i, ax in enumerate(axes.flat):
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        if i >= len(x):
            ax.axis("off")
            continue
        ax.imshow(np.clip((x[i].transpose(1, 2, 0) + 1) / 2, 0, 1))
        if len(titles):
            ax.set_title(fill(titles[i], LETTERS), fontsize=7)
        for edge in ax.spines.values():
            marked = len(right) > 0
            edge.set(visible=True, linewidth=2.5 if marked else 0.5, color=GREY)
            if marked:
                edge.set(color=DATA if right[i] else NOISE, linestyle="-" if right[i] else "--")
    return figure
