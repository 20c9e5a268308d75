"""`inspect`: what a kernel did, on one page that a student reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from types import ModuleType

from torch import Tensor

from cs231n_gen.checking.precision import budget, in_float64
from cs231n_gen.instruments.audit import Audit, Launched, audited
from cs231n_gen.instruments.memory import Finding


@dataclass(frozen=True)
class Report:
    """What was seen of one call of a wrapper.

    Args:
        name: of the wrapper.
        launches: of its kernels.
        moved, least: bytes that were moved, and the least possible.
        sectors: bytes that a GPU would move for it, 32 at a time.
        findings: accesses outside, and races.
        error: of each result against float64, in units of the budget (`checking.precision`);
            empty without a reference.
        unwritten: the results, by number, that kernels did not write whole.
    """

    name: str
    launches: tuple[Launched, ...]
    moved: int
    least: int
    sectors: int
    findings: tuple[Finding, ...]
    error: tuple[float, ...]
    unwritten: tuple[int, ...]

    @property
    def ratio(self) -> float:
        """How many times the least traffic."""
        return self.moved / self.least if self.least else float("nan")

    @property
    def good(self) -> bool:
        """Whether nothing is outside, nothing races, and the results are exact enough."""
        return bool(self.launches) and not self.findings and all(e <= 1 for e in self.error)

    def lines(self) -> list[str]:
        """The report, a sentence a line."""
        ran = ", ".join(f"{run.kernel} on a grid of {run.grid}" for run in self.launches)
        said = [ran or "no kernel was launched"]
        if self.launches:
            fetched = self.sectors / self.moved if self.moved else float("nan")
            said += [
                f"{self.moved} bytes moved: {self.ratio:.2f} times the least traffic",
                f"{fetched:.2f} times as many in sectors of 32 bytes",
            ]
        said += [f"✗ {found}" for found in self.findings]
        said += [] if self.findings else ["✓ nothing outside, no race"]
        for k, error in enumerate(self.error):
            sign = "✓" if error <= 1 else "✗"
            said.append(f"{sign} result {k}: {error:.2g} of the error that is allowed")
        said += [f"result {k} is not written whole by kernels" for k in self.unwritten]
        return said

    def __str__(self) -> str:
        return "\n  ".join([self.name, *self.lines()])

    def _repr_html_(self) -> str:
        items = "".join(f'<li style="list-style:none">{escape(line)}</li>' for line in self.lines())
        return f'<div><b>{escape(self.name)}</b><ul style="padding:0 1em">{items}</ul></div>'


def inspect(wrapper: Callable | ModuleType, *args, least: int | None = None, **options) -> Report:
    """Call a kernel's wrapper in the interpreter, and see what its kernels did.

    Args:
        wrapper: `noising.noising`, or the module `noising`.
        args, options: of the wrapper; tensors on the CPU.
        least: bytes that must be moved; every tensor among the arguments once, and every result
            once, if None.
    Raises:
        RuntimeError: if Triton is missing, or compiles in this process.
        ValueError: if there is no such wrapper in the module.
    """
    if isinstance(wrapper, ModuleType):
        name = wrapper.__name__.rpartition(".")[2]
        if not hasattr(wrapper, name):
            raise ValueError(f"{wrapper.__name__} has no function {name}: pass the function itself")
        wrapper = getattr(wrapper, name)
    out, audit = audited(lambda: wrapper(*args, **options))
    results = out if isinstance(out, tuple) else (out,)
    given = [a for a in [*args, *options.values()] if isinstance(a, Tensor)]
    least = least or sum(t.numel() * t.element_size() for t in [*given, *results])
    return Report(
        getattr(wrapper, "__name__", "kernel"),
        tuple(audit.launches),
        audit.moved,
        least,
        audit.sectors,
        tuple(audit.findings),
        _errors(wrapper, results, args, options),
        _unwritten(audit, results),
    )


def _errors(
    wrapper: Callable, results: Sequence[Tensor], args: Sequence, options: dict
) -> tuple[float, ...]:
    """Each result's error against the reference in float64, over the budget.

    Outside the interpreter a wrapper takes the way of its reference by itself.
    """
    if any(not t.is_floating_point() for t in results):
        return ()
    plain, exact = wrapper(*args, **options), in_float64(wrapper, *args, **options)
    pairs = [v if isinstance(v, tuple) else (v,) for v in (plain, exact)]
    found = []
    for got, torchs, truth in zip(results, *pairs, strict=True):
        most = budget(truth, torchs) if got.numel() else 0.0
        off = float((got.double() - truth).abs().max()) if got.numel() else 0.0
        found.append(off / most if most else float(off > 0))
    return tuple(found)


def _unwritten(audit: Audit, results: Sequence[Tensor]) -> tuple[int, ...]:
    """Which results kernels did not write whole; a single number may be torch's last sum."""
    return tuple(
        k for k, t in enumerate(results) if t.numel() > 1 and audit.coverage(t.detach()) < 1
    )
