"""A kernel beside torch: the bytes that each moves, what they cost on a GPU, and the time there.

    compare(axpy, reference, x, y, 2.0)

Traffic is seen without a GPU: that of kernels by `inspect`, that of torch operation by operation.
With a GPU, `large` makes inputs of a size that no cache holds, and everything is timed as well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from cs231n_gen.instruments.gpu_timer import Clock
from cs231n_gen.instruments.honesty.torch_watch import OnlyKernels
from cs231n_gen.instruments.inspection import inspect
from cs231n_gen.instruments.tensors.arguments import leaves, nbytes
from cs231n_gen.kernels.launch import INTERPRETED

H200 = 4.3e12  # bytes a second of a copy, as measured


@dataclass(frozen=True)
class Row:
    """One way to do it.

    Attributes:
        name: whose.
        moved: bytes, at the small size.
        ms: milliseconds at the large one, on this machine's GPU; 0 without one.
    """

    name: str
    moved: int
    ms: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """Several ways to do the same.

    Attributes:
        title: what is done.
        least: bytes that any way must move at the small size.
        rows: the ways, the kernel's first.
        bound: milliseconds that the least traffic of the large size takes at the speed of a copy;
            0 without a GPU.
    """

    title: str
    least: int
    rows: tuple[Row, ...]
    bound: float = 0.0

    def ratio(self, name: str) -> float:
        """How many times the least traffic a way moves."""
        return next(row.moved for row in self.rows if row.name == name) / self.least

    def table(self) -> list[list[str]]:
        """The header, then a row for the bound and for each way."""
        timed = self.bound > 0
        gigabyte = 1e9 / H200 * 1e3  # ms for each GB of the least
        table = [
            ["way", "bytes", "times the least", "ms on this GPU" if timed else "ms a GB, H200"]
        ]
        bound = self.bound if timed else gigabyte
        table.append(["least possible", f"{self.least:,}", "1.00", f"{bound:.3f}"])
        for row in self.rows:
            ratio = row.moved / self.least
            known = row.moved > 0
            ms = row.ms if timed else ratio * gigabyte
            told = [f"{row.moved:,}", f"{ratio:.2f}"] if known else ["", ""]
            table.append([row.name, *told, f"{ms:.3f}" if ms else ""])
        return table

    def __str__(self) -> str:
        lines = [self.title]
        for name, *cells in self.table():
            lines.append(f"  {name:16}" + "".join(f"{cell:>18}" for cell in cells))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head, *rows = self.table()
        cells = [f"<tr><th>{'</th><th>'.join(map(escape, head))}</th></tr>"]
        cells += [f"<tr><td>{'</td><td>'.join(map(escape, row))}</td></tr>" for row in rows]
        return f"<b>{escape(self.title)}</b><table>{''.join(cells)}</table>"


def compare(
    wrapper: Callable,
    reference: Callable,
    *args,
    least: int | None = None,
    large: Callable[[str], Sequence] | None = None,
    gradient: bool = False,
    **options,
) -> Comparison:
    """What a kernel moves, what torch moves for the same, and how long both take on a GPU.

    Args:
        wrapper, reference: of a kernel.
        args, options: small ones, on the CPU. Those that require gradients get one, if `gradient`
            is set, or all that are floating-point if none does.
        least: bytes that must be moved at the small size; every tensor among the arguments once and
            every result once, if None.
        large: makes arguments for the GPU, of the device.
        gradient: whether the backward pass counts as well, begun with ones; then `least` is needed.
    Raises:
        RuntimeError: if Triton is missing.
        ValueError: if least is needed.
    """
    if gradient and least is None:
        raise ValueError("least must be given with gradient=True: what both passes must move")
    how = {"least": least, "gradient": gradient} | ({"ones": True} if gradient else {})
    report = inspect(wrapper, *args, **how, **options)
    once = _both if gradient else _forward
    rows = [Row("kernel", report.moved)]
    rows.append(Row("torch, eager", moved_by_torch(once, reference, args, options)))
    title, bound = f"{report.name}, forward{' and backward' if gradient else ''}", 0.0
    if large is not None and torch.cuda.is_available() and not INTERPRETED:
        clock, sets = Clock(), [tuple(large("cuda")) for _ in range(2)]
        ways = [wrapper, reference, torch.compile(reference, dynamic=False)]
        ms = [clock(lambda *a, f=f: once(f, a, options), sets) for f in ways]
        scale = nbytes(sets[0]) / nbytes(args)
        bound = report.least * scale / clock.bandwidth() * 1e3
        rows = [Row(r.name, r.moved, t) for r, t in zip(rows, ms, strict=False)]
        rows.append(Row("torch.compile", 0, ms[2]))
    return Comparison(title, report.least, tuple(rows), bound)


def _forward(function: Callable, args: Sequence, options: Mapping) -> object:
    with torch.no_grad():
        return function(*args, **options)


def _both(function: Callable, args: Sequence, options: Mapping) -> object:
    with torch.enable_grad():
        args, options = leaves(args, dict(options), True)
        wanted = [t for t in tree_leaves(args) if isinstance(t, Tensor) and t.requires_grad]
        outs = [o for o in tree_leaves(function(*args, **options)) if o.requires_grad]
        seeds = [torch.ones_like(o) for o in outs]
        return torch.autograd.grad(outs, wanted, seeds, allow_unused=True)


def moved_by_torch(function: Callable, *args, **options) -> int:
    """The bytes that a function's operations read and write, each operation on its own, as eager
    torch does; views move nothing."""
    with OnlyKernels() as watch:
        function(*args, **options)
    return watch.moved
