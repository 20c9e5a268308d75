"""Still figures of points, fields, paths, losses and images."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from cs231n_gen.common.palette import DATA, EXACT, GREY, LEARNED, MIDDLE, NOISE, OTHERS

FROM_NOISE = LinearSegmentedColormap.from_list("from noise to data", [NOISE, MIDDLE, DATA])


def square(ax: Axes, extent: float = 3.2, title: str = "") -> None:
    """A square window around the origin, the same scale on both axes."""
    ax.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal", title=title)
    ax.set_xlabel("$x_1$")
    ax.set_ylabel("$x_2$", rotation=0)


def points(ax: Axes, x, color: str = DATA, label: str | None = None, size: float = 3) -> None:
    """A cloud of points, (n, 2)."""
    x = np.asarray(x)
    ax.scatter(x[:, 0], x[:, 1], s=size, c=color, alpha=0.5, linewidths=0, label=label)


def arrows(ax: Axes, at, v, color: str = LEARNED, label: str | None = None) -> None:
    """Velocities `v` (n, 2) as arrows at points `at` (n, 2), a quarter of their length."""
    at, v = np.asarray(at), np.asarray(v)
    ax.quiver(
        *at.T, *v.T, color=color, angles="xy", scale_units="xy", scale=6, width=0.005, label=label
    )


def paths(ax: Axes, path, color_by_level: bool = True, width: float = 0.8) -> None:
    """Sampling paths, (frames, n, 2): orange where they are noise, blue where they are data."""
    path = np.asarray(path).swapaxes(0, 1)  # (n, frames, 2)
    segments = np.stack([path[:, :-1], path[:, 1:]], axis=2)  # (n, frames - 1, 2 ends, 2)
    progress = np.broadcast_to(np.linspace(0, 1, segments.shape[1]), segments.shape[:2])
    lines = LineCollection(segments.reshape(-1, 2, 2), linewidths=width, alpha=0.7, colors=GREY)
    if color_by_level:
        lines.set(array=progress.ravel(), cmap=FROM_NOISE, color=None)
    ax.add_collection(lines)
    points(ax, path[:, 0], NOISE, size=8)
    points(ax, path[:, -1], DATA, size=8)


def pairs_through(ax: Axes, x, z, at, mean_v) -> None:
    """The straight pairs (x, z) that pass near one point, and the average of their velocities."""
    x, z, at, mean_v = map(np.asarray, (x, z, at, mean_v))
    ends = np.stack([x, z], axis=1)
    ax.add_collection(LineCollection(ends, colors=GREY, linewidths=0.6, alpha=0.5))
    points(ax, x, DATA, "data $x$", size=10)
    points(ax, z, NOISE, "noise $z$", size=10)
    ax.plot(*np.stack([at, at + mean_v]).T, color=EXACT, lw=3, label=r"$E[v \mid x_t]$")
    ax.annotate(
        "", at + 1.15 * mean_v, at, arrowprops={"arrowstyle": "-|>", "color": EXACT, "lw": 3}
    )
    ax.plot(*at, "o", color="black", ms=6, label="$x_t$")
    ax.legend(loc="upper left", fontsize=8)


def levels_of(x, columns: Sequence[str], rows: Sequence[str] = ()) -> Figure:
    """Images (rows, columns, H, W) with a title for each column, a label for each row."""
    x = np.asarray(x)
    figure, axes = plt.subplots(
        *x.shape[:2], figsize=(1.1 * x.shape[1], 1.2 * x.shape[0]), squeeze=False
    )
    for i, row in enumerate(axes):
        for j, ax in enumerate(row):
            ax.imshow(x[i, j], vmin=-1, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            if i == 0:
                ax.set_title(columns[j], fontsize=9)
        if len(rows):
            row[0].set_ylabel(rows[i], rotation=0, ha="right", va="center", fontsize=9)
    return figure


def image_grid(images, rows: Sequence[str] = (), columns: int = 10) -> Figure:
    """Images (n, 1, H, W), `columns` a row, with a label for each row."""
    images = np.asarray(images)[:, 0]
    n = len(images) // columns
    return levels_of(
        images[: n * columns].reshape(n, columns, *images.shape[1:]), [""] * columns, rows
    )


def loss_curve(ax: Axes, losses, floor: float | None = None, label: str = "loss") -> None:
    """Losses step by step, and the Bayes floor that no net gets below."""
    ax.plot(np.asarray(losses), color=LEARNED, label=label)
    if floor is not None:
        ax.axhline(floor, color=EXACT, ls="--", label=f"Bayes floor {floor:.3f}")
    ax.set(xlabel="step", ylabel="loss per dimension")
    ax.legend()


def steps_curve(ax: Axes, calls: dict[str, Sequence], errors: dict[str, Sequence]) -> None:
    """An error against the number of calls of the model, a line for each sampler."""
    for name, color in zip(calls, OTHERS, strict=False):
        ax.plot(calls[name], errors[name], "o-", ms=4, color=color, label=name)
    ax.set(xscale="log", yscale="log", xlabel="calls of the model for a sample")
    ax.legend()


def roofline(ax: Axes, work: dict[str, tuple[float, float]], bandwidth: float, rate: float) -> None:
    """What a GPU can do at most, and where kernels stand below it.

    Args:
        work: by name, operations a byte of memory traffic, and the share of the roof reached (1 if
            nothing is measured).
        bandwidth, rate: bytes and operations a second.
    """
    intensity = np.logspace(-2, 4, 200)
    ax.plot(intensity, np.minimum(intensity * bandwidth, rate) / 1e12, color=GREY)
    near: list[tuple[float, list[str]]] = []  # names of points that are too close to tell apart
    for name, (x, share) in sorted(work.items(), key=lambda item: item[1]):
        ax.plot(x, share * min(x * bandwidth, rate) / 1e12, "o", color=DATA)
        if near and x < 1.4 * near[-1][0]:
            near[-1][1].append(name)
        else:
            near.append((x, [name]))
    for i, (x, names) in enumerate(near):
        flat = x * bandwidth > rate  # where all stand at one height
        at, below = (x, min(x * bandwidth, rate) / 1e12), (8, -12 - 13 * (flat and i % 2))
        ax.annotate(", ".join(names), at, below, textcoords="offset points", fontsize=8)
    ax.axvline(
        rate / bandwidth, color=GREY, ls=":", label=f"{rate / bandwidth:.0f} operations a byte"
    )
    ax.set(xscale="log", yscale="log", xlabel="operations for each byte moved")
    ax.set_ylabel("10¹² operations a second, at most")
    ax.legend(loc="lower right")


def taxonomy() -> Figure:
    """The family tree of generative models (slides 5 and 10)."""
    nodes = {
        "Generative models": (0.5, 0.92),
        "Explicit density\ncompute p(x)": (0.25, 0.62),
        "Implicit density\nonly sample from p(x)": (0.75, 0.62),
        "Tractable\np(x) itself": (0.12, 0.32),
        "Approximate\na bound on p(x)": (0.38, 0.32),
        "Direct\none step": (0.62, 0.32),
        "Iterative\nmany steps": (0.88, 0.32),
        "Autoregressive\nchapters 00, 13": (0.12, 0.04),
        "VAE\nchapters 00, 08": (0.38, 0.04),
        "GAN\nchapters 01–03": (0.62, 0.04),
        "Diffusion, flow\nchapters 04–12": (0.88, 0.04),
    }
    parents = [0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6]
    figure, ax = plt.subplots(figsize=(9, 4))
    places = list(nodes.values())
    for child, parent in enumerate(parents[1:], start=1):
        (x0, y0), (x1, y1) = places[parent], places[child]
        ax.plot([x0, x1], [y0 - 0.06, y1 + 0.08], color=GREY, lw=1)
    for i, (name, (x, y)) in enumerate(nodes.items()):
        face = "#ffffff" if i < 7 else "#dcebf5"
        box = {"boxstyle": "round,pad=0.4", "fc": face, "ec": DATA if i > 6 else GREY}
        ax.text(x, y, name, ha="center", va="center", bbox=box, fontsize=9)
    ax.set(xlim=(0, 1), ylim=(-0.06, 1))
    ax.axis("off")
    return figure
