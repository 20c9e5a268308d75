"""FewSteps: where students that sample in a few calls put a noise, beside the exact flow."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from traitlets import Bytes, Dict, Int, List, Unicode
from traitlets import Float as Number

from cs231n_gen.common.palette import DATA, EXACT, GREY, LEARNED, PURPLE, SKY, YELLOW
from cs231n_gen.viz import plots
from cs231n_gen.viz.widget import MovingFigure, half, short

ALT = "Where the exact flow takes a noise, and where each student puts it in a few calls"
SETTING = ("z", "calls", "shown", "crowd", "line")
MOST = 10  # students, each with a shape of its own
SIDES = (3, 121)  # noises along an axis of the grid
HEAVIEST = 130_000  # numbers of all tables
CURVE = 401  # points of a curve on the line
SHOWN = 400  # data points
LEAST = 1e-3  # of distances that are drawn: half precision tells no more
COLOURS = (LEARNED, PURPLE, SKY, YELLOW)  # of students, again and again
SHAPES = "os^DvP*hX<"  # of students, in matplotlib's letters
Table = Float[ArrayLike, "noises 2"]


class FewSteps(MovingFigure):
    """A noise to drag, its image under the exact flow, and where students put it in 1, 2, 4 calls.

    Students were sampled beforehand, from every noise of a grid; between four noises of the grid
    their images are blended, and so is the exact one. A close-up and a table say how far each
    student is from the exact image, at this noise and on average over z ~ N(0, I). On the line,
    where the flow keeps the order of noises, the exact map is x = F⁻¹(Φ(z)).

        axis = torch.linspace(-3, 3, 41)
        z = torch.cartesian_prod(axis, axis)
        FewSteps(z, exact(z), {"direct": {1: net(z)}, "consistency": {1: f(z, 1), 2: f(z, 2)}})

    Not every student has to be near the exact image. One that draws new noise on its way ends
    elsewhere, and so does one that was trained to match the data as a whole, as by a discriminator.
    Both may still sample the data: `loose` marks them, and `crowd` shows their samples. New noise
    must be the same for every noise of the grid, or nothing could be blended:

        torch.vmap(lambda z: consistency.sample(net, z[None], 2)[0], randomness="same")(z)

    Args:
        noises: a square grid around the origin, evenly spaced, in any order.
        exact: what the exact flow makes of each.
        students: by name, one to ten, what each makes of them, by its number of calls.
        loose: students that need not be near the exact image, by name: from how many calls on.
        paths: where the exact flow has them on the way from noise to data, both ends left out.
        data: a cloud behind all this; at most 400 points of it are shown.
        quantiles: curves on the line. "z" are noises that rise, "exact" the exact images, and all
            others are images that students give, in as many points, (points,) or (points, 1). A
            name that is also in `students` has the same colour and shape.
        z: the noise to begin with.
        calls: the number of calls that is shown first; the least one if None.
        shown: names of students that are shown first; all of them if None.
        crowd: whose samples are drawn as a crowd: "exact", a student, or nobody's if empty.
        line: the noise on the line to begin with.
        extent: half the width of the window.
        name, alt: see `MovingFigure`.
    Raises:
        ValueError: if something else comes, or it is too much for a page.
    """

    module = "figures/few_steps"
    setting: ClassVar[tuple[str, ...]] = SETTING

    grid = List().tag(sync=True)  # reach, and noises along an axis
    tables = Bytes().tag(sync=True)  # of exact, of paths, of students; x₂ of a noise runs fastest
    levels = Int(0).tag(sync=True)  # of paths
    students = List().tag(sync=True)  # names, calls, and from how many on they are loose
    data = Bytes().tag(sync=True)
    curves = Bytes().tag(sync=True)  # of every name, on the line
    curve_names = List().tag(sync=True)  # exact is the first
    curve_noises = List().tag(sync=True)
    extent = Number(3.2).tag(sync=True)
    start = Dict().tag(sync=True)  # the setting that "Again" brings back
    z = List([0.0, 0.0]).tag(sync=True)
    calls = Int(1).tag(sync=True)
    shown = List().tag(sync=True)  # 1 or 0 for each student
    crowd = Unicode("").tag(sync=True)
    line = Number(0.0).tag(sync=True)
    name = Unicode("few-steps").tag(sync=True)
    alt = Unicode("").tag(sync=True)

    def __init__(
        self,
        noises: Table,
        exact: Table,
        students: Mapping[str, Mapping[int, Table]],
        *,
        loose: Mapping[str, int] | None = None,
        paths: Float[ArrayLike, "levels noises 2"] | None = None,
        data: Float[ArrayLike, "points 2"] | None = None,
        quantiles: Mapping[str, Float[ArrayLike, "points *one"]] | None = None,
        z: Sequence[float] = (-0.9, 0.6),
        calls: int | None = None,
        shown: Sequence[str] | None = None,
        crowd: str = "",
        line: float = 0.4,
        extent: float = 3.2,
        alt: str = ALT,
        **options,
    ):
        reach, side, order = _grid(noises)
        told, images = _students(students, {} if loose is None else loose, side**2)
        way = np.zeros((0, side**2, 2)) if paths is None else np.asarray(paths, dtype=float)
        if way.ndim != 3 or way.shape[1:] != (side**2, 2) or not np.isfinite(way).all():
            said = f"paths must be finite numbers, (levels, {side**2}, 2)"
            raise ValueError(f"{said}, got {way.shape}")
        tables = np.stack([_table("exact", exact, side**2), *way, *images])
        if tables.size > HEAVIEST:
            said = f"tables hold {tables.size} numbers, too many for a page"
            raise ValueError(f"{said}: at most {HEAVIEST}, so pass fewer noises or levels")
        names, over, curves = _curves(quantiles)
        offered = sorted({n for one in told for n in one["calls"]})
        start = {
            "z": [*map(float, z)],
            "calls": offered[0] if calls is None else calls,
            "shown": [int(shown is None or one["name"] in shown) for one in told],
            "crowd": crowd,
            "line": float(line),
        }
        _fits(start, reach, [one["name"] for one in told], shown, offered, over)
        if not (math.isfinite(extent) and extent > 0):
            raise ValueError(f"extent must be a positive number, got {extent}")
        super().__init__(
            grid=[*short([reach]), side],
            tables=half(tables[:, order]),
            levels=len(way),
            students=told,
            data=half(_cloud(data)),
            curves=half(curves),
            curve_names=names,
            curve_noises=short(over.round(4)),
            extent=float(extent),
            start=start,
            alt=alt,
            **start,
            **options,
        )

    def draw(self) -> Figure:
        on_the_line = bool(self.curve_names)
        size = {"figsize": (9.6 if on_the_line else 8, 3.6), "layout": "constrained"}
        figure, axes = plt.subplots(1, 2 + on_the_line, **size)
        self._draw_plane(axes[0])
        self._draw_errors(axes[1])
        if on_the_line:
            self._draw_line(axes[2])
        handles, labels = axes[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8)
        return figure

    def images(self, z: Float[ArrayLike, "2"]) -> dict[str, np.ndarray]:
        """What is shown at a noise, as float64 blends of the numbers that travel.

        Returns:
            `exact` (2,), `paths` (levels, 2), and a row for each student and number of calls, as
            in "consistency 2".
        """
        reach, side = self.grid
        tables = np.frombuffer(self.tables, "<f2").astype(float).reshape(-1, side, side, 2)
        place = np.clip((np.asarray(z, float) / reach + 1) / 2, 0, 1) * (side - 1)
        i, j = np.minimum(place.astype(int), side - 2)
        a, b = place - [i, j]
        near = tables[:, i : i + 2, j : j + 2]
        found = np.einsum("i,j,kijd->kd", [1 - a, a], [1 - b, b], near)
        own = [f"{one['name']} {n}" for one in self.students for n in one["calls"]]
        first = 1 + self.levels
        return {
            "exact": found[0],
            "paths": found[1:first],
            **dict(zip(own, found[first:], strict=True)),
        }

    def distances(self) -> dict[str, dict[int, float]]:
        """How far students are from the exact image, on average over the grid by N(0, I)."""
        reach, side = self.grid
        tables = np.frombuffer(self.tables, "<f2").astype(float).reshape(-1, side**2, 2)
        p = np.exp(-(np.linspace(-reach, reach, side) ** 2) / 2)
        p = np.outer(p, p).ravel() / p.sum() ** 2
        apart = np.linalg.norm(tables[1 + self.levels :] - tables[0], axis=-1) @ p
        rest = iter(apart.tolist())
        return {one["name"]: {n: next(rest) for n in one["calls"]} for one in self.students}

    def _looks(self) -> dict[str, dict[str, str]]:
        """A colour and a shape for every student, and for those that are only on the line."""
        names = [one["name"] for one in self.students]
        names += [name for name in self.curve_names[1:] if name not in names]
        each = enumerate(names)
        return {
            name: {"color": COLOURS[k % len(COLOURS)], "marker": SHAPES[k % MOST]}
            for k, name in each
        }

    def _draw_plane(self, ax: Axes) -> None:
        if self.data:
            plots.points(ax, np.frombuffer(self.data, "<f2").reshape(-1, 2).astype(float), DATA)
        found, looks = self.images(self.z), self._looks()
        ax.plot(*np.stack([self.z, *found["paths"], found["exact"]]).T, color=EXACT, lw=1.5)
        ax.plot(*found["exact"], "o", color=EXACT, ms=13)
        for one, on in zip(self.students, self.shown, strict=True):
            at = found.get(f"{one['name']} {self.calls}")
            if on and at is not None:
                ax.plot(*at, ms=7, mec="black", mew=0.8, **looks[one["name"]])
        ax.plot(*self.z, "x", color="black", ms=10, mew=3)
        calls = f"{self.calls} call{'s' if self.calls > 1 else ''}"
        plots.square(ax, self.extent, f"one noise, {calls}")

    def _draw_errors(self, ax: Axes) -> None:
        for name, apart in self.distances().items():
            style = {"mec": "black", "mew": 0.6, "lw": 1.2, "label": name, **self._looks()[name]}
            ax.plot([*apart], np.maximum([*apart.values()], LEAST), **style)
        offered = sorted({n for one in self.students for n in one["calls"]})
        ax.set(xscale="log", yscale="log", xlabel="calls")
        ax.set_title("distance from the exact image")
        ax.set_xticks(offered, [*map(str, offered)])
        ax.minorticks_off()

    def _draw_line(self, ax: Axes) -> None:
        over = np.array(self.curve_noises)
        curves = np.frombuffer(self.curves, "<f2").astype(float).reshape(-1, len(over))
        ax.plot(over, curves[0], color=EXACT, lw=4, label="exact")
        for name, curve in zip(self.curve_names[1:], curves[1:], strict=True):
            every = max(1, len(over) // 8)
            style = {"ms": 5, "mec": "black", "mew": 0.6, "markevery": every, **self._looks()[name]}
            ax.plot(over, curve, lw=1.3, label=name, **style)
        ax.axvline(self.line, color=GREY, lw=1)
        ax.set(xlabel="z", title="on the line")
        ax.set_ylabel("x", rotation=0)


def _grid(noises) -> tuple[float, int, np.ndarray]:
    """The reach of a square grid, its noises along an axis, and the order that sorts them."""
    z = np.asarray(noises, dtype=float)
    side = math.isqrt(len(z)) if z.ndim else 0
    if z.shape != (side**2, 2) or not SIDES[0] <= side <= SIDES[1]:
        said = f"noises must be a square grid, (n², 2) with n from {SIDES[0]} to {SIDES[1]}"
        raise ValueError(f"{said}, got {z.shape}")
    reach = float(z.max())
    axis = np.linspace(-reach, reach, side)
    place = (z / reach + 1) / 2 * (side - 1) if reach > 0 else np.full_like(z, np.nan)
    near = np.nan_to_num(place.round()).astype(int)
    order = np.lexsort((near[:, 1], near[:, 0]))
    want = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    # also refuses NaN
    if not (reach > 0 and (abs(z[order] - want) <= 1e-3 * reach).all()):
        raise ValueError("noises must be a square grid around the origin, evenly spaced")
    return reach, side, order


def _table(name: str, images, n: int) -> np.ndarray:
    images = np.asarray(images, dtype=float)
    if images.shape != (n, 2) or not np.isfinite(images).all():
        said = f"{name} must be an image for each noise, ({n}, 2), finite"
        raise ValueError(f"{said}, got {images.shape}")
    return images


def _students(students, loose, n: int) -> tuple[list[dict], list[np.ndarray]]:
    """Names and calls, and all tables in that order."""
    if not 1 <= len(students) <= MOST:
        raise ValueError(f"students must be one to {MOST}, got {len(students)}")
    if "exact" in students or "" in students:
        raise ValueError("students must have names, and none can be called 'exact'")
    if not ({*loose} <= {*students} and all(_whole(k) and k > 0 for k in loose.values())):
        said = "loose must be numbers of calls by names of students, as in {'GAN': 1}"
        raise ValueError(f"{said}, got {loose}")
    told, images = [], []
    for name, tables in students.items():
        calls = [*tables] if isinstance(tables, Mapping) else []
        if not calls or not all(_whole(k) and k > 0 for k in calls):
            said = f"students[{name!r}] must be tables by whole numbers of calls, as in {{1: …}}"
            raise ValueError(f"{said}, got {calls or type(tables).__name__}")
        one = {"name": str(name), "calls": sorted(map(int, calls))}
        told.append({**one, "loose": int(loose.get(name, 0))})
        images += [_table(f"students[{name!r}][{k}]", tables[k], n) for k in sorted(calls)]
    return told, images


def _whole(value) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _cloud(data) -> np.ndarray:
    data = np.zeros((0, 2)) if data is None else np.asarray(data, dtype=float)
    if data.ndim != 2 or data.shape[1] != 2 or not np.isfinite(data).all():
        raise ValueError(f"data must be finite points, (n, 2), got {data.shape}")
    return data[:SHOWN]


def _curves(quantiles) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, noises, and a curve for each name; the exact one is the first."""
    if quantiles is None:
        return [], np.zeros(0), np.zeros((0, 0))
    given = {str(name): np.asarray(one, dtype=float) for name, one in quantiles.items()}
    if not {"z", "exact"} <= {*given}:
        raise ValueError(f"quantiles must have 'z' and 'exact', got {[*given]}")
    given = {name: one[:, 0] if one.shape[1:] == (1,) else one for name, one in given.items()}
    z = given.pop("z")
    if z.ndim != 1 or not 2 <= len(z) <= CURVE or not (np.diff(z) > 1e-3).all():
        said = f"quantiles['z'] must be 2 to {CURVE} rising noises, 0.001 apart or more"
        raise ValueError(f"{said}, got {z.shape}")
    names = ["exact", *(name for name in given if name != "exact")]
    if len(names) > MOST + 1:
        raise ValueError(f"quantiles must be of at most {MOST} students, got {len(names) - 1}")
    for name in names:
        if given[name].shape != z.shape or not np.isfinite(given[name]).all():
            said = f"quantiles[{name!r}] must be {len(z)} finite numbers"
            raise ValueError(f"{said}, got {given[name].shape}")
    return names, z, np.stack([given[name] for name in names])


def _fits(start, reach, names, shown, offered, over) -> None:
    z, calls, line = start["z"], start["calls"], start["line"]
    if len(z) != 2 or not (abs(np.array(z)) <= reach).all():
        raise ValueError(f"z must be two numbers from {-reach:g} to {reach:g}, got {z}")
    if calls not in offered:
        raise ValueError(f"calls must be one of {offered}, got {calls}")
    for name in () if shown is None else shown:
        if name not in names:
            raise ValueError(f"shown must be names among {names}, got {name!r}")
    if start["crowd"] not in ("", "exact", *names):
        said = f"crowd must be empty or one of {['exact', *names]}"
        raise ValueError(f"{said}, got {start['crowd']!r}")
    if len(over) and not over[0] <= line <= over[-1]:
        raise ValueError(f"line must be from {over[0]:g} to {over[-1]:g}, got {line}")
