"""The doctor: checks whether the course can run on this machine."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from cs231n_gen.common.palette import BAD, GOOD, OPEN
from cs231n_gen.common.paths import ROOT, is_source

PACKAGES = ["torch", "numpy", "matplotlib", "jupyterlab", "ipywidgets", "nbgrader", "pytest"]
LEAST_DISK = 1.0  # GB that notebooks, builds and submissions may need
MARK = {"good": "✓", "note": "•", "bad": "✗"}
COLOUR = {"good": GOOD, "note": OPEN, "bad": BAD}


@dataclass(frozen=True)
class Finding:
    """The result of one check; status is `good`, `note` (works, with a remark) or `bad`."""

    what: str
    status: str
    says: str


@dataclass(frozen=True)
class Findings:
    """All of it, as HTML in a notebook and as text elsewhere."""

    rows: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is bad."""
        return all(r.status != "bad" for r in self.rows)

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        bad = [r.what for r in self.rows if r.status == "bad"]
        return f"To be repaired: {', '.join(bad)}" if bad else "The course can run here"

    def __str__(self) -> str:
        width = max(len(r.what) for r in self.rows)
        rows = [f"  {MARK[r.status]} {r.what:<{width}}  {r.says}" for r in self.rows]
        return "\n".join([self.headline, *rows])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td style="color:{COLOUR[r.status]}" aria-label="{r.status}">{MARK[r.status]}'
            f'</td><td style="text-align:left">{escape(r.what)}</td>'
            f'<td style="text-align:left">{escape(r.says)}</td></tr>'
            for r in self.rows
        )
        return f'<div role="status"><b>{escape(self.headline)}</b><table>{rows}</table></div>'


def doctor() -> Findings:
    """Look at this machine; as the last line of a cell the result shows itself."""
    return examine()


def examine() -> Findings:
    """Check everything; a check that raises an error counts as a bad finding."""
    rows: list[Finding] = []
    machinery = (python, packages, course, machine, devices, triton, jail)
    for look in (*machinery, data, disk, known_answer):
        try:
            rows += look()
        except Exception as error:
            what = look.__name__.replace("_", " ")
            rows.append(Finding(what, "bad", f"{type(error).__name__}: {error}"))
    return Findings(tuple(rows))


def python() -> list[Finding]:
    """The interpreter and the system."""
    status = "good" if sys.version_info >= (3, 11) else "bad"
    says = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return [Finding("Python", status, says)]


def packages(version: Callable[[str], str] = importlib.metadata.version) -> list[Finding]:
    """Versions of the main packages, compared with those the course was tested with."""
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, equals, number = line.partition("==")
        if equals:
            pinned[name.strip()] = number.split(";")[0].strip()
    rows = []
    for name in PACKAGES:
        try:
            here = version(name)
        except importlib.metadata.PackageNotFoundError:
            rows.append(Finding(name, "bad", "not installed: run `make setup`"))
            continue
        same = here.partition("+")[0] == pinned.get(name, here).partition("+")[0]
        tested = "" if same else f"; the course was tested with {pinned[name]}"
        rows.append(Finding(name, "good" if same else "note", here + tested))
    return rows


def course() -> list[Finding]:
    """Which copy of the package a notebook gets."""
    if is_source():
        says = f"{ROOT} (the instructor's source, with solutions)"
        return [Finding("cs231n_gen", "good", says)]
    return [Finding("cs231n_gen", "good", f"{ROOT}: this is where you write")]


def machine() -> list[Finding]:
    """Cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    status = "good" if cores >= 2 else "note"
    return [Finding("cores", status, "1: expect twice the time" if cores < 2 else str(cores))]


def devices() -> list[Finding]:
    """What torch can compute on."""
    import torch

    if torch.cuda.is_available():
        found = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return [Finding("GPU", "good", ", ".join(found))]
    if torch.backends.mps.is_available():
        return [Finding("GPU", "good", "Apple silicon (MPS)")]
    return [Finding("GPU", "good", "none; the course does not need one")]


def triton() -> list[Finding]:
    """Whether Triton is installed, or why it cannot be."""
    if importlib.util.find_spec("triton"):
        import torch

        where = "on the GPU" if torch.cuda.is_available() else "in its interpreter, without a GPU"
        return [Finding("Triton", "good", f"{importlib.metadata.version('triton')}, {where}")]
    if sys.platform.startswith("linux"):
        says = "not installed; only chapter 14 needs it: `make setup EXTRAS=kernels`"
    else:
        says = (
            f"not available for {platform.system()}; only chapter 14 needs it: Linux, WSL2 or Colab"
        )
    return [Finding("Triton", "note", says)]


def jail() -> list[Finding]:
    """Whether submissions can be graded here; only checked in an instructor's source."""
    if not is_source():
        return []
    from cs231n_gen.grading.jail.bubblewrap import why_not

    reason = why_not()
    return [Finding("jail", "note" if reason else "good", reason or "submissions can be graded")]


def data() -> list[Finding]:
    """Whether the data files are there and undamaged."""
    from cs231n_gen.given.data import data_file, data_folder

    names = [line.split()[1] for line in (data_folder() / "SHA256SUMS").read_text().splitlines()]
    for name in names:
        data_file(name)
    return [Finding("data", "good", f"{', '.join(names)}: undamaged")]


def disk() -> list[Finding]:
    """Free space."""
    free = shutil.disk_usage(ROOT).free / 1e9
    status = "good" if free >= LEAST_DISK else "bad"
    return [Finding("disk", status, f"{free:.0f} GB free" if free >= 1 else f"{free:.1f} GB free")]


def known_answer() -> list[Finding]:
    """Answers known by hand: a matrix product on every device, and for x ~ N(0, I)

    E[v | x_t] = (2t − 1) x_t / ((1 − t)² + t²),   which is 0.8 x_t at t = 3/4
    """
    import torch

    from cs231n_gen.truth import GaussianMixture

    mixture = GaussianMixture.isotropic(torch.zeros(1, 2), 1.0)
    x_t = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    wrong = (mixture.velocity(x_t, 0.75) - 0.8 * x_t).abs().max().item()
    names = ["cpu"]
    names += ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    for name in names:
        a = torch.arange(12.0, device=name).reshape(3, 4)
        off = (a @ a.T).cpu().diagonal() - torch.tensor([14.0, 126.0, 366.0])  # Σ of squares
        wrong = max(wrong, off.abs().max().item())
    if wrong > 1e-6:
        return [Finding("known answer", "bad", f"off by {wrong:.1e} on {', '.join(names)}")]
    return [Finding("known answer", "good", f"right on {', '.join(names)}")]
