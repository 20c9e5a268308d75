"""What `inspect` saw a kernel do, on one page that a student reads."""

import base64
import io
import math
from dataclasses import asdict, dataclass, field
from html import escape

from cs231n_gen.instruments.access.audit import Launched
from cs231n_gen.instruments.access.findings import AccessFault
from cs231n_gen.instruments.access.plot import Touched, draw
from cs231n_gen.instruments.compiler.compile import Compiled


@dataclass(frozen=True)
class KernelReport:
    """What was seen of one call of a wrapper.

    Args:
        name: of the wrapper.
        launches: of its kernels.
        moved, least: bytes that kernels moved, and the least possible.
        sectors: bytes that a GPU would move for it, 32 at a time.
        findings: accesses outside, and races.
        error: of each result against float64, in units of the budget (`error_budget`);
            empty without a reference.
        complaints: what was not the kernels' work (`guard`).
        by_torch: bytes that torch moved.
        compiled: what the GPU's compiler made of the launches, if it was asked.
        touched: who read the arguments, and who wrote the results.
    """

    name: str
    launches: tuple[Launched, ...]
    moved: int
    least: int
    sectors: int
    findings: tuple[AccessFault, ...]
    error: tuple[float, ...]
    complaints: tuple[str, ...] = ()
    by_torch: int = 0
    compiled: tuple[Compiled, ...] = ()
    touched: tuple[Touched, ...] = field(default=(), repr=False)

    @property
    def ratio(self) -> float:
        """How many times the least traffic."""
        return self.moved / self.least if self.least else math.nan

    @property
    def good(self) -> bool:
        """Whether kernels did the work, nothing is outside, nothing races, and the results are
        exact enough."""
        faults = [*self.findings, *self.complaints, *(p for c in self.compiled for p in _faults(c))]
        return bool(self.launches) and not faults and all(e <= 1 for e in self.error)

    def lines(self) -> list[str]:
        """The report, a sentence a line."""
        said = [f"{run.kernel} on a grid of {run.grid}" for run in self.launches]
        if self.launches:
            fetched = self.sectors / self.moved if self.moved else math.nan
            said += [
                f"{self.moved} bytes moved: {self.ratio:.2f} times the least traffic",
                f"{fetched:.2f} times as many in sectors of 32 bytes",
            ]
        if self.by_torch > self.least / 100:
            said.append(f"{self.by_torch} bytes more were moved by torch")
        said += [f"✗ {found}" for found in self.findings]
        said += [] if self.findings else ["✓ nothing outside, no race"]
        said += [f"✗ {complaint}" for complaint in self.complaints]
        said += [] if self.complaints else ["✓ kernels did the work"]
        for k, error in enumerate(self.error):
            which = f"result {k + 1}" if len(self.error) > 1 else "the result"
            sign = "✓" if error <= 1 else "✗"
            said.append(f"{sign} {which}: {error:.2g} of the error that is allowed")
        for one in self.compiled:
            said += [f"✗ {one.launch.name}: {p}" for p in _faults(one)] or [f"✓ {_needs(one)}"]
        return said

    def picture(self):
        """A figure of who read each element of the arguments, and who wrote each of the results.

        Returns:
            A figure of matplotlib.
        """
        return draw(self.touched)

    def to_json(self) -> dict[str, object]:
        """The report as plain data, without its picture."""
        return {
            "name": self.name,
            "good": self.good,
            "launches": [{"kernel": run.kernel, "grid": [*run.grid]} for run in self.launches],
            "moved": self.moved,
            "least": self.least,
            "ratio": self.ratio if self.least else None,
            "sectors": self.sectors,
            "by_torch": self.by_torch,
            "findings": [asdict(f) | {"program": [*f.program]} for f in self.findings],
            "complaints": [*self.complaints],
            "error": [e if math.isfinite(e) else None for e in self.error],
            "compiled": [_figures(c) for c in self.compiled],
            "lines": self.lines(),
        }

    def __str__(self) -> str:
        return "\n  ".join([self.name, *self.lines()])

    def _repr_html_(self) -> str:
        items = "".join(f'<li style="list-style:none">{escape(line)}</li>' for line in self.lines())
        page = f'<b>{escape(self.name)}</b><ul style="padding:0 1em">{items}</ul>'
        if self.touched:
            png = io.BytesIO()
            self.picture().savefig(png, format="png")
            page += (
                '<img style="max-width:100%" alt="which program touched which element" '
                f'src="data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}">'
            )
        return f"<div>{page}</div>"


def _faults(one: Compiled) -> list[str]:
    """What is wrong with a compiled launch; small tensors need no wide loads."""
    return one.problems(wide=False)


def _needs(one: Compiled) -> str:
    return (
        f"{one.launch.name} compiles for sm_{one.target}: {one.registers} registers a thread, "
        f"{one.shared} bytes of shared memory, {one.instructions} instructions"
    )


def _figures(one: Compiled) -> dict[str, object]:
    figures = {name: value for name, value in vars(one).items() if name != "launch"}
    return {"kernel": one.launch.name, **figures, "problems": _faults(one)}
