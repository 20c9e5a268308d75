"""One call of a kernel's wrapper in the process that holds it: its results, and what was seen.

Checks and graders speak to student code across a wall (`checking.student`). These functions stand
on its far side and give back plain values: `student.instruments.observe.call(wrapper, [x, y, a])`.
In the grader they run beside the student's code, which could hunt them: results are judged where
they arrive, what an instrument says is advice.

Every kernel runs under `Audit`: a store that is not masked would end Python otherwise.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from cs231n_gen.instruments.access.audit import Audit
from cs231n_gen.instruments.access.findings import AccessFault
from cs231n_gen.instruments.access.program_order import only, shuffled
from cs231n_gen.instruments.compiler.launches import launches_of, record
from cs231n_gen.instruments.honesty.guard import FEWEST, honest
from cs231n_gen.instruments.honesty.torch_watch import OnlyKernels
from cs231n_gen.instruments.honesty.written import kernels_of, require_kernels, require_stores
from cs231n_gen.instruments.tensors.layouts import laid_out
from cs231n_gen.kernels.launch import interpreting


def call(
    wrapper: Callable,
    args: Sequence,
    options: Mapping[str, object] | None = None,
    *,
    wrt: Sequence[int] | None = None,
    upstream: Sequence[Tensor] = (),
    layout: str = "",
    order: int | None = None,
) -> dict[str, object]:
    """Call a wrapper, its kernels interpreted, and run its backward pass if `wrt` is given.

    Args:
        wrapper, args, options: what is called.
        wrt: the places of the arguments that get a gradient; of a tuple each of its tensors does.
        upstream: the gradient of each floating-point result.
        layout: how arguments and upstream gradients lie in memory, see `layouts`.
        order: seed of a random order of the programs; they run one after the other if None.
    Returns:
        results, gradients (None where none arrives), faults (see `plain`), the number of launches,
        and the bytes that kernels moved, forward and backward.
    Raises:
        NoKernel: if what comes is not the work of a kernel of the wrapper's file.
    """
    args, upstream = _leaves(laid_out(args, layout), wrt), laid_out(upstream, layout)
    running = shuffled(order) if order is not None else contextlib.nullcontext()
    guard = OnlyKernels(
        FEWEST, inputs=[t for t in tree_leaves((args, options)) if isinstance(t, Tensor)]
    )
    with _watched() as audit, running, guard, torch.set_grad_enabled(wrt is not None):
        out = wrapper(*args, **dict(options or {}))
        results = list(out) if isinstance(out, tuple | list) else [out]
        gradients, upstream = _gradients(results, [args[k] for k in wrt or ()], upstream)
    require_kernels(wrapper, (args, options), results, gradients, upstream, guard, audit)
    return {
        "results": results,
        "gradients": gradients,
        "faults": [plain(f) for f in audit.findings],
        "launches": len(audit.launches),
        "moved": audit.moved,
    }


def launch(
    kernel: object,
    grid: Sequence[int],
    args: Sequence,
    constants: Mapping[str, object],
    programs: Sequence[Sequence[int]] | None = None,
    begins: Sequence[int] = (),
) -> dict[str, object]:
    """Launch a kernel without its wrapper.

    Args:
        kernel: what `triton.jit` made.
        grid: of the launch.
        args, constants: of the kernel, by place and by name.
        programs: those that run, each by its place in the grid; all if None.
        begins: for each tensor among args the number of its first element, where it is a window of
            a larger one (`Audit`).
    Returns:
        args, the tensors among them as the kernel left them, and faults, launches and moved as
        those of `call`.
    Raises:
        NoKernel: if no kernel is launched, or numbers change that it does not store.
    """
    before, args = args, [a.clone() if isinstance(a, Tensor) else a for a in args]
    running, size = contextlib.nullcontext(), tuple(grid)
    if programs is not None:
        running, size = only(programs, grid), (len(programs),)
    with _watched(begins) as audit, running, torch.no_grad():
        kernel[size](*args, **constants)
    pairs = [(b, a) for b, a in zip(before, args, strict=True) if isinstance(a, Tensor)]
    require_stores(pairs, len(audit.launches), audit)
    faults, launches = [plain(f) for f in audit.findings], len(audit.launches)
    return {"args": args, "faults": faults, "launches": launches, "moved": audit.moved}


def complaints(
    wrapper: Callable,
    args: Sequence,
    others: Sequence,
    options: Mapping[str, object] | None = None,
    *,
    wrt: Sequence[int] | None = None,
) -> list[str]:
    """What was not the work of the kernels that the wrapper's file names (`guard.honest`); whoever
    wrote them, but for installed packages.

    Args:
        wrapper, args, options: what is called.
        others: more arguments of the same shapes: a result that was kept would be found.
        wrt: as in `call`.
    """
    kernels = [fn.__name__ for fn in kernels_of(wrapper)]
    # Copies: the second is written over the first, to find what was kept by address.
    copies = [
        tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, [*a]) for a in (args, others)
    ]
    both = [_leaves(one, wrt) for one in copies]
    options = dict(options or {})
    return honest(wrapper, both.__getitem__, gradient=wrt is not None, kernels=kernels, **options)


def launches(
    wrapper: Callable,
    args: Sequence,
    options: Mapping[str, object] | None = None,
    *,
    wrt: Sequence[int] | None = None,
) -> list[dict]:
    """The launches of a call as the GPU's compiler is told of them; no kernel runs.

    Args:
        wrapper, args, options, wrt: as in `call`; sizes do not matter.
    Returns:
        One `launches.Launch` each, as a dict, the files of kernels among them.
    """
    args = _leaves(args, wrt)
    with interpreting(), record(run=False) as found, torch.set_grad_enabled(wrt is not None):
        out = wrapper(*args, **dict(options or {}))
        results = list(out) if isinstance(out, tuple | list) else [out]
        _gradients(results, [args[k] for k in wrt or ()], [])
    return [asdict(one) for one in launches_of(found)]


@contextlib.contextmanager
def _watched(begins: Sequence[int] = ()) -> Iterator[Audit]:
    """Kernels are interpreted under an audit, and memory that nobody wrote is NaN, not chance."""
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")
    try:
        with interpreting(), Audit(begins) as audit:
            yield audit
    finally:
        torch.set_deterministic_debug_mode(before)


def plain(finding: AccessFault) -> list:
    """A fault without the kernel's name: what, which argument, which program, how many lanes, how
    many programs, at which element."""
    f = finding
    return [f.fault, f.argument, list(f.program), f.lanes, f.programs, f.element]


def _leaves(args: Sequence, wrt: Sequence[int] | None) -> list:
    """The arguments outside any graph; those of `wrt`, in tuples too, begin a new one."""

    def leaf(x: object, wanted: bool) -> object:
        if not isinstance(x, Tensor):
            return x
        return x.detach().requires_grad_(wanted and x.is_floating_point())

    return [tree_map(lambda x, k=k: leaf(x, k in (wrt or ())), a) for k, a in enumerate(args)]


def _gradients(
    results: list, leaves: list, upstream: list[Tensor]
) -> tuple[list[Tensor | None], list[Tensor]]:
    """What arrives at the leaves, and what was sent."""
    wanted = [t for a in leaves for t in (a if isinstance(a, tuple | list) else (a,))]
    ends = [r for r in results if isinstance(r, Tensor) and r.is_floating_point()]
    upstream = upstream or [torch.ones_like(e) for e in ends]
    pairs = [(e, u) for e, u in zip(ends, upstream, strict=False) if e.requires_grad]
    if not wanted or not pairs:
        return [None] * len(wanted), []
    ends, seeds = zip(*pairs, strict=True)
    return list(torch.autograd.grad(ends, wanted, seeds, allow_unused=True)), list(seeds)
