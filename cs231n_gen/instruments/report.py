"""`inspect`: what a kernel did, on one page that a student reads."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from types import ModuleType

from torch import Tensor
from torch.utils._pytree import tree_leaves

from cs231n_gen.checking.kernels.precision import budget, in_float64
from cs231n_gen.instruments.access.audit import Launched
from cs231n_gen.instruments.access.findings import Finding
from cs231n_gen.instruments.access.plot import Touched, draw
from cs231n_gen.instruments.compiler.compile import Compiled, compile_launches
from cs231n_gen.instruments.compiler.launches import launches_of, record
from cs231n_gen.instruments.honesty.guard import Watched, watch
from cs231n_gen.instruments.interpreter import process
from cs231n_gen.kernels.launch import HAVE_TRITON, where


@dataclass(frozen=True)
class Report:
    """What was seen of one call of a wrapper.

    Args:
        name: of the wrapper.
        launches: of its kernels.
        moved, least: bytes that kernels moved, and the least possible.
        sectors: bytes that a GPU would move for it, 32 at a time.
        findings: accesses outside, and races.
        error: of each result against float64, in units of the budget (`checking.precision`);
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
    findings: tuple[Finding, ...]
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


def inspect(
    wrapper: Callable | ModuleType,
    *args,
    least: int | None = None,
    gradient: bool = False,
    ones: bool = False,
    compiled: bool = False,
    **options,
) -> Report:
    """Call a kernel's wrapper in the interpreter, and see what its kernels did.

    Where kernels are compiled in this process, another one does it (`elsewhere`), with the wrapper
    as its file is on disk.

    Args:
        wrapper: `noising.noising`, or the module `noising`.
        args, options: of the wrapper; tensors on a GPU are copied to the CPU.
        least: bytes that must be moved; every tensor among the arguments once, and every result
            once, if None.
        gradient: whether its backward pass is run as well.
        ones: whether that begins with ones, as that of a sum does, not with random numbers.
        compiled: whether the launches are compiled for a GPU, too, which takes seconds.
    Raises:
        RuntimeError: if Triton is missing.
        ValueError: if there is no such wrapper in the module, or kernels are compiled here and it
            stands in no file.
    """
    if not HAVE_TRITON:
        raise RuntimeError(where())
    if isinstance(wrapper, ModuleType):
        name = wrapper.__name__.rpartition(".")[2]
        if not hasattr(wrapper, name):
            raise ValueError(f"{wrapper.__name__} has no function {name}: pass the function itself")
        wrapper = getattr(wrapper, name)
    if process.needed():
        how = {"least": least, "gradient": gradient, "ones": ones, "compiled": compiled}
        return process.inspect(wrapper, args, options, **how)
    if any(isinstance(a, Tensor) and a.is_cuda for a in tree_leaves((args, options))):
        args, options = process.copied((args, options))
    tensors = [a for a in tree_leaves((args, options)) if isinstance(a, Tensor)]
    gaps = any(not t.is_contiguous() for t in tensors)
    with record() as launched:
        seen = watch(wrapper, args, options, gradient=gradient, copies=gaps, ones=ones)
    audit = seen.audit
    everything = [*seen.inputs.values(), *seen.results.values()]
    return Report(
        name=getattr(wrapper, "__name__", "kernel"),
        launches=tuple(audit.launches),
        moved=audit.moved,
        least=least or sum(t.numel() * t.element_size() for t in everything),
        sectors=audit.sectors,
        findings=tuple(audit.findings),
        error=_errors(wrapper, _tensors(seen.out), args, options),
        complaints=seen.complaints,
        by_torch=seen.guard.moved,
        compiled=tuple(compile_launches(launches_of(launched))) if compiled else (),
        touched=tuple(_touched(seen)) if audit.launches else (),
    )


def _errors(
    wrapper: Callable, results: Sequence[Tensor], args: Sequence, options: Mapping[str, object]
) -> tuple[float, ...]:
    """Each result's error against the reference in float64, over the budget.

    Outside the interpreter a wrapper takes the way of its reference by itself; one that does not
    has none.
    """
    if any(not t.is_floating_point() for t in results):
        return ()
    with record() as launched:
        plain = _tensors(wrapper(*args, **options))
    if launched:
        return ()
    found, exact = [], _tensors(in_float64(wrapper, *args, **options))
    for got, torchs, truth in zip(results, plain, exact, strict=True):
        most = budget(truth, torchs) if got.numel() else 0.0
        off = float((got.double() - truth).abs().max()) if got.numel() else 0.0
        found.append(off / most if most else float(off > 0))
    return tuple(math.inf if math.isnan(e) else e for e in found)


def _touched(seen: Watched) -> list[Touched]:
    """Arguments that kernels read, in themselves or in a copy, and results that they wrote."""
    found = []
    for name, t in seen.inputs.items():
        for one in [t.detach(), *seen.guard.copies_of(t)]:
            if seen.audit.coverage(one, "loaded"):
                found.append(Touched(name, False, seen.audit.who(one, "reader").numpy()))
                break
    for name, t in seen.results.items():
        if t.numel() > 1:
            found.append(Touched(name, True, seen.audit.who(t).numpy()))
    return found


def _tensors(value: object) -> list[Tensor]:
    return [t.detach() for t in tree_leaves(value) if isinstance(t, Tensor)]


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
