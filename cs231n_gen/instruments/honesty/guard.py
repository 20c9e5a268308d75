"""Did a wrapper use its kernels, or did something else do the work?

    complaints = honest(axpy, lambda seed: [*torch.randn(2, 3000), 0.5])

Noted are: torch or numpy at work, in the backward pass too; results that were kept from another
call; kernels that are launched for show, or only copy; another file's kernels; results that kernels
did not write whole; inputs that were changed, returned, or never read.

An instrument gives advice. It runs in the process it watches: code that means to can remove the
hooks (`torch._C._DisableTorchDispatch`, say). Nor does it see a library of C or a subclass of
`torch._C.TensorBase` that reads or writes tensors by address (ctypes is heard when it makes a
pointer of an address, not when it moves memory), `_thread.start_new_thread`, a module that was
compiled to machine code before, or a kernel that an interpreter lets call Python. What comes back
from there is noticed as memory that is neither an input nor was made, or that torch and kernels
did not write; but not all of it. Whether results are right is judged elsewhere, from the trusted
side.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from cs231n_gen.instruments.access.audit import Audit
from cs231n_gen.instruments.honesty.torch_watch import OnlyKernels, address, overlap
from cs231n_gen.instruments.tensors.arguments import (
    all_bits,
    bits,
    in_place,
    leaves,
    named_inputs,
    source_file,
    tensors_in,
)
from cs231n_gen.kernels.launch import interpreting

__all__ = ["OnlyKernels", "Watched", "honest", "watch"]

FEWEST, MOST = 64, 4096  # elements on which torch may work: an eighth of the largest input's


@dataclass(frozen=True)
class Watched:
    """One call of a wrapper, watched.

    Args:
        inputs: the tensors among its arguments, by name.
        results: the tensors that it returned, by name, gradients among them.
        out: what it returned, as it is.
        audit, guard: what they saw.
        complaints: sentences about what was not the kernels' work.
    """

    inputs: Mapping[str, Tensor]
    results: Mapping[str, Tensor]
    out: object
    audit: Audit
    guard: OnlyKernels
    complaints: tuple[str, ...]


def honest(
    wrapper: Callable,
    make_inputs: Callable[[int], Sequence],
    *,
    gradient: bool = False,
    copies: bool = False,
    small: int | None = None,
    kernels: Collection[str] | None = None,
    **options,
) -> list[str]:
    """Call a wrapper twice, with other numbers in the same memory, and say what was no kernel's.

    Args:
        wrapper: a function that launches kernels; or the apply of an `autograd.Function`.
        make_inputs: makes its arguments of a seed. The largest should have 1000 elements or more:
            few may be handled by torch, like one number an example.
        gradient, copies, small, kernels: see `watch`.
        options: the wrapper's own.
    Returns:
        Sentences, each once; none if the kernels did the work.
    Raises:
        RuntimeError: if Triton is missing, or compiles in this process.
    """
    limits = {"gradient": gradient, "copies": copies, "small": small, "kernels": kernels}
    args = list(make_inputs(0))
    first = watch(wrapper, args, options, **limits)
    before = all_bits(first.results)
    args = in_place(args, list(make_inputs(1)))
    second = watch(wrapper, args, options, **limits)
    said = [*first.complaints, *second.complaints]
    if first.results and before == all_bits(second.results) and any(before.values()):
        said.append("other inputs give the same results: they are kept from the first call")
    return list(dict.fromkeys(said))


def watch(
    wrapper: Callable,
    args: Sequence,
    options: Mapping[str, object] | None = None,
    *,
    gradient: bool = False,
    copies: bool = False,
    small: int | None = None,
    kernels: Collection[str] | None = None,
    ones: bool = False,
) -> Watched:
    """Call a wrapper once, in the interpreter, under `Audit` and `OnlyKernels`.

    Args:
        wrapper, args, options: what is called.
        gradient: whether to run its backward pass as well, from random numbers, to those inputs
            that require gradients, or to all floating-point ones if none does.
        copies: whether torch may copy inputs, as `.contiguous()` does where they have gaps.
        small: elements on which torch may work; an eighth of those of the largest input, but 64
            to 4096, if None.
        kernels: the names of the kernels that may be launched; if None, those in the wrapper's
            file.
        ones: whether the backward pass begins with ones, as that of a sum does, not with random
            numbers.
    Raises:
        RuntimeError: if Triton is missing, or compiles in this process.
    """
    args, options = leaves(args, dict(options or {}), gradient)
    inputs = named_inputs(wrapper, args, options)
    before = all_bits(inputs)
    if small is None:
        largest = max((t.numel() for t in inputs.values()), default=0)
        small = min(max(FEWEST, largest // 8), MOST)
    guard = OnlyKernels(small, copies, inputs.values())
    missing: list[str] = []
    with interpreting(), Audit() as audit, guard, torch.set_grad_enabled(gradient):
        out = wrapper(*args, **options)
        results = tensors_in(out, "the result", "result ")
        if gradient:
            wanted = {name: t for name, t in inputs.items() if t.requires_grad}
            gradients, upstream = _backward(results, wanted, guard, ones)
            missing = [name for name in wanted if name not in gradients]
            for name, t in gradients.items():
                passed_on = [n for n, sent in upstream.items() if overlap(t, sent)]  # as x + y does
                results |= {} if passed_on else {f"the gradient of {name}": t}
                upstream = {n: sent for n, sent in upstream.items() if n not in passed_on}
            inputs |= upstream
    results = {name: t.detach() for name, t in results.items()}
    said = list(guard.complaints)
    if any(t.numel() for t in results.values()):
        said += _of_launches(wrapper, guard, kernels)
    said += [f"no gradient reaches {name}" for name in missing]
    said += _of_results(results, inputs, audit, guard)
    said += [f"{name} was changed" for name, old in before.items() if old != bits(inputs[name])]
    said += _of_inputs(inputs, audit, guard)
    return Watched(inputs, results, out, audit, guard, tuple(dict.fromkeys(said)))


def _backward(
    results: Mapping[str, Tensor], wanted: Mapping[str, Tensor], guard: OnlyKernels, ones: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The gradients that arrive, and what was sent; both by name."""
    ends = {name: t for name, t in results.items() if t.requires_grad}
    if not ends or not wanted:
        return {}, {}
    with _disable_current_modes():
        random = torch.Generator().manual_seed(0)
        sent = {
            f"the gradient of {name}": torch.ones_like(t)
            if ones
            else torch.randn(t.shape, generator=random).to(t.dtype)
            for name, t in ends.items()
        }
    guard.know(sent.values())
    pair = [*ends.values()], [*wanted.values()]
    came = torch.autograd.grad(*pair, [*sent.values()], allow_unused=True)
    return {n: g for n, g in zip(wanted, came, strict=True) if g is not None}, sent


def _of_launches(
    wrapper: Callable, guard: OnlyKernels, kernels: Collection[str] | None
) -> list[str]:
    if not guard.launches:
        return ["no kernel was launched"]
    said, own = [], source_file(wrapper)
    for fn, _ in guard.launches:
        file = source_file(fn)
        if kernels is not None:
            if fn.__name__ not in kernels:
                said.append(f"{fn.__name__} was launched, which is not one of {', '.join(kernels)}")
        elif own and file != own:
            which = f"{fn.__name__} of {os.path.basename(file)}"
            said.append(f"{which} was launched, which belongs to another file")
    return said


def _of_results(
    results: Mapping[str, Tensor], inputs: Mapping[str, Tensor], audit: Audit, guard: OnlyKernels
) -> list[str]:
    said: list[str] = []
    stored = [t for _, given in guard.launches for t in given.values() if audit.coverage(t)]
    reached = guard.reached(stored)
    finite = all(bool(t.isfinite().all()) for t in inputs.values())
    for name, t in results.items():
        if not t.numel():
            continue
        left = round((1 - audit.coverage(t)) * t.numel())
        owners = [other for other, u in inputs.items() if overlap(t, u)]
        said += [f"{name} lies in the memory of {owner}" for owner in owners]
        if not owners and not guard.made(t):
            said.append(f"{name} was there before the call")
        if left and not (t.numel() <= guard.small and address(t) in reached):
            if left < t.numel():
                said.append(f"kernels left {left} of the {t.numel()} elements of {name} unwritten")
            elif guard.launches:
                said.append(f"{name} is not what a kernel wrote")
        if finite and t.is_floating_point() and bool(t.isnan().any()):
            said.append(f"{name} holds NaN, which marks memory that nobody wrote")
    return said


def _of_inputs(inputs: Mapping[str, Tensor], audit: Audit, guard: OnlyKernels) -> list[str]:
    said = []
    for name, t in inputs.items():
        if t.numel() <= guard.small or not guard.launches:
            continue
        copies = guard.copies_of(t) if guard.copies else []
        read = max(audit.coverage(c, "loaded") for c in [t.detach(), *copies])
        if read == 0:
            said.append(f"no kernel reads {name}")
        elif read < 1:
            left = round((1 - read) * t.numel())
            said.append(f"kernels read all but {left} of the {t.numel()} elements of {name}")
    return said
