"""Whether results are what kernels wrote: a question asked of every call, not of one stage.

A result counts if a kernel of the wrapper's own file was launched, and its numbers are as kernels
left them: stored by one and not changed since, or made of such numbers by a sum, a change of dtype
or a constant factor, as the sum of partial sums is. A gradient may in addition be the upstream
gradient itself, or a copy of it. What nobody wrote is left to whoever compares numbers: it is NaN.

Where an argument is empty, or every result is, there is nothing to launch a kernel for.
"""

import inspect
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence

from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves

from cs231n_gen.instruments.access.audit import Audit
from cs231n_gen.instruments.honesty.torch_watch import COPIES, OnlyKernels, address, poison
from cs231n_gen.instruments.tensors.arguments import source_file

FINISH = COPIES | {"sum", "add", "add_", "neg", "stack", "cat", "mul", "mul_", "div", "div_"}
COURSE = "cs231n_gen.kernels."
INSTALLED = tuple(os.path.realpath(sysconfig.get_path(k)) for k in ("purelib", "platlib", "stdlib"))


class NoKernel(RuntimeError):
    """A result that no kernel of the file wrote."""


def kernels_of(wrapper: Callable) -> Iterator[Callable]:
    """The functions of the kernels that a wrapper's file names: its own and those that it was given
    by others, but for those of installed packages and of other files of the course."""
    wrapper = inspect.unwrap(wrapper)
    module = sys.modules.get(getattr(wrapper, "__module__", None) or "")
    names = getattr(wrapper, "__globals__", None) or vars(module or object())
    for value in list(names.values()):
        if hasattr(value, "run") and (fn := function_of(value)):
            home = fn.__globals__.get("__name__", "")
            others = home.startswith(COURSE) and home != names.get("__name__")
            if not others and not source_file(fn).startswith(INSTALLED):
                yield fn


def function_of(kernel: object) -> Callable | None:
    """The function that `triton.jit` was put on, below `triton.autotune` and the like."""
    while hasattr(kernel, "fn"):
        kernel = kernel.fn
    return kernel if hasattr(kernel, "__code__") else None


def require_kernels(
    wrapper: Callable,
    args: object,
    results: Sequence,
    gradients: Sequence,
    upstream: Sequence[Tensor],
    guard: OnlyKernels,
    audit: Audit,
) -> None:
    """Raise NoKernel unless kernels wrote the results and the gradients.

    Args:
        wrapper, args: what was called.
        results, gradients: what came; other things than tensors are not looked at.
        upstream: what the backward pass began with.
        guard, audit: what they saw of the call.
    """
    tensors = [r for r in results if isinstance(r, Tensor)]
    given = [a for a in tree_leaves(args) if isinstance(a, Tensor)]
    if any(not t.numel() for t in given) or not any(t.numel() for t in tensors):
        return
    known = {_known(fn) for fn in kernels_of(wrapper)}
    if not any(_known(fn) in known for fn, _ in guard.launches):
        others = ", ".join(dict.fromkeys(fn.__name__ for fn, _ in guard.launches))
        if others:
            raise NoKernel(f"{others} was launched, and no kernel of the wrapper's own file")
        raise NoKernel("no kernel was launched")
    with _disable_current_modes():
        came = [("the result", t, ()) for t in tensors]
        came += [("a gradient", t, upstream) for t in gradients if isinstance(t, Tensor)]
        for name, t, also in came:
            if t.numel() and not _is_kernels_work(t.detach(), also, guard, audit):
                why = "; ".join(guard.complaints[:2])
                says = f"{name} is not what a kernel wrote"
                raise NoKernel(f"{says}: {why}" if why else says)


def require_stores(tensors: Iterable[tuple[Tensor, Tensor]], launches: int, audit: Audit) -> None:
    """Raise NoKernel unless a launch happened, and whatever is another number now was stored by it.

    Args:
        tensors: each as it was before, and the same after.
        launches: how many there were.
        audit: what it saw.
    """
    if not launches:
        raise NoKernel("no kernel was launched: this is not a function made by triton.jit")
    for before, after in tensors:
        same = (before == after) | (before.isnan() & after.isnan())
        if bool((~same & ~audit.written(after)).any()):
            raise NoKernel("numbers changed that the kernel did not store")


def _is_kernels_work(
    t: Tensor, upstream: Sequence[Tensor], guard: OnlyKernels, audit: Audit
) -> bool:
    nobodys = t.isnan() if t.is_floating_point() else t == poison(t.dtype)
    if bool(nobodys.all()):
        return True  # not written at all, which whoever compares numbers sees
    tensors = [s for _, given in guard.launches for s in given.values()]
    stored = {address(s) for s in tensors if audit.coverage(s)}
    if address(t) in stored:
        left = guard.left(t)
        kept = (t == left) | (t.isnan() & left.isnan())
        return bool((kept & (audit.written(t) | nobodys)).all())
    begun = {address(u) for u in upstream if u.numel()}
    return address(t) in guard.made_of(stored, FINISH, begun, COPIES)


def _known(fn: Callable) -> tuple[str, str]:
    """What tells a kernel's function from others, also after the interpreter rewrote it."""
    return source_file(fn) or fn.__code__.co_filename, fn.__name__
