"""`inspect`: call a kernel's wrapper in the interpreter, and see what its kernels did.

    print(inspect(noising, x, z, t))

Where this process compiles kernels, another one interprets them (`interpreter.process`). It is told
the file and the name of the wrapper, and copies of its arguments.
"""

import contextlib
import functools
import importlib
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FunctionType, ModuleType

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from cs231n_gen.instruments.access.plot import Touched
from cs231n_gen.instruments.compiler.compile import compile_launches
from cs231n_gen.instruments.compiler.launches import launches_of, record
from cs231n_gen.instruments.error_budget import budget, in_float64
from cs231n_gen.instruments.honesty.guard import Watched, watch
from cs231n_gen.instruments.interpreter import process
from cs231n_gen.instruments.report import KernelReport
from cs231n_gen.kernels.launch import HAVE_TRITON, where

ALIGNED = 64  # bytes: torch's memory on a CPU begins at a multiple of them


def inspect(
    wrapper: Callable | ModuleType,
    *args,
    least: int | None = None,
    gradient: bool = False,
    ones: bool = False,
    compiled: bool = False,
    **options,
) -> KernelReport:
    """Call a kernel's wrapper in the interpreter, and see what its kernels did.

    Where kernels are compiled in this process, another one does it (`interpreter.process`), with
    the wrapper as its file is on disk.

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
        ValueError: if there is no such wrapper in the module; or kernels are compiled here, and the
            wrapper stands in no file or an argument cannot be sent.
        process.Crashed: if kernels are compiled here, and the other process is gone.
    """
    if not HAVE_TRITON:
        raise RuntimeError(where())
    if isinstance(wrapper, ModuleType):
        name = wrapper.__name__.rpartition(".")[2]
        if not hasattr(wrapper, name):
            raise ValueError(f"{wrapper.__name__} has no function {name}: pass the function itself")
        wrapper = getattr(wrapper, name)
    if process.needed():
        place, (sent, named) = place_of(wrapper), copied((list(args), options))
        how = {"least": least, "gradient": gradient, "ones": ones, "compiled": compiled}
        return process.ask(f"{__name__}:{inspected.__name__}", place, sent, named, how)
    if any(isinstance(a, Tensor) and a.is_cuda for a in tree_leaves((args, options))):
        args, options = copied((args, options))
    tensors = [a for a in tree_leaves((args, options)) if isinstance(a, Tensor)]
    gaps = any(not t.is_contiguous() for t in tensors)
    with record() as launched:
        seen = watch(wrapper, args, options, gradient=gradient, copies=gaps, ones=ones)
    audit = seen.audit
    everything = [*seen.inputs.values(), *seen.results.values()]
    return KernelReport(
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


# --- in another process --------------------------------------------------------------------------


def inspected(
    place: tuple[str, str, str], args: Sequence, options: Mapping, how: Mapping[str, object]
) -> KernelReport:
    """What `inspect` reports, but for functions and arguments of launches, which cannot be sent.

    Args:
        place: file, module and name of the wrapper.
        args, options: the wrapper's; how: what else `inspect` is told.
    """
    report = inspect(function_at(*place), *args, **how, **options)
    launches = [replace(one, fn=None, args={}) for one in report.launches]
    return replace(report, launches=tuple(launches))


def function_at(file: str, module: str, name: str):
    """A function of a file, which is run as it is on disk now, in the place of its module."""
    package = module.rpartition(".")[0]
    if package:
        with contextlib.suppress(ModuleNotFoundError):  # whoever loads it by its file needs none
            importlib.import_module(package)
    spec = importlib.util.spec_from_file_location(module, file)
    sys.modules[module] = found = importlib.util.module_from_spec(spec)
    # Not through the loader, which takes the compiled file of an earlier edit if it is as long and
    # of the same second.
    exec(compile(Path(file).read_bytes(), file, "exec"), vars(found))
    return functools.reduce(getattr, name.split("."), found)


def place_of(wrapper: Callable) -> tuple[str, str, str]:
    """The file, the module and the name by which another process finds a function.

    Raises:
        ValueError: if none leads to it, as for one that is written in a notebook.
    """
    owner = getattr(wrapper, "__self__", None)
    if isinstance(owner, type):  # the apply of an autograd.Function
        module, name = owner.__module__, f"{owner.__qualname__}.{wrapper.__name__}"
    else:
        module, name = getattr(wrapper, "__module__", ""), getattr(wrapper, "__qualname__", "")
    holder = sys.modules.get(module or "")
    file = getattr(holder, "__file__", None) or ""
    if module == "__main__" or not file.endswith(".py") or not _is_called(wrapper, holder, name):
        raise ValueError(
            f"{name or wrapper!r} cannot be inspected from here, where kernels are compiled: "
            "write it to a .py file, at the top level, and import it, or set TRITON_INTERPRET=1 "
            "before Python starts"
        )
    return os.path.abspath(file), module, name


def copied(values: object) -> object:
    """The same values with every tensor in them copied to the CPU, where it lies as it did: its
    strides, and where it begins between two multiples of 64 bytes. Launches depend on both."""
    made: dict[int, Tensor] = {}

    def copy(value: object) -> object:
        if not isinstance(value, Tensor):
            return value
        if id(value) not in made:  # what is passed twice arrives as one tensor
            made[id(value)] = _as_it_lies(value)
        return made[id(value)]

    return tree_map(copy, values)


# --- what a report says --------------------------------------------------------------------------


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


def _is_called(wrapper: Callable, holder: object, name: str) -> bool:
    """Whether a name leads to this function, or to what took its place when it was reloaded."""
    try:
        found = functools.reduce(getattr, name.split("."), holder)
    except AttributeError:
        return False
    if isinstance(found, FunctionType) and isinstance(wrapper, FunctionType):
        return found.__code__.co_qualname == wrapper.__code__.co_qualname
    return found == wrapper


def _as_it_lies(t: Tensor) -> Tensor:
    begin, wanted = t.data_ptr() % ALIGNED // t.element_size(), t.requires_grad
    t = t.detach()
    places = sum((n - 1) * step for n, step in zip(t.shape, t.stride(), strict=True))
    places = places + 1 if t.numel() else 0
    flat = torch.empty(begin + places, dtype=t.dtype)
    flat[begin:].copy_(t.as_strided((places,), (1,)))
    return flat.as_strided(t.shape, t.stride(), begin).requires_grad_(wanted)
