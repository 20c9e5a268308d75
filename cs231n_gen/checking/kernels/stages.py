"""The stages in which a kernel is judged: correct, backward, safe, honest, lean, compiles.

    axpy = Stages(student, "kernels.axpy.axpy", Exact(reference))
    axpy.correct(x, y, 2.5)

Public checks and hidden graders share them; what differs is the inputs. Numbers are judged here, on
the test's own side, with its own reference. What the instruments say comes from the student's side
(`instruments.observe`), where code could hunt them: it is advice, and counts only where the results
are right. In no stage does a result count that no kernel of the student's file wrote
(`instruments.honesty.written`).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from cs231n_gen.checking import expect
from cs231n_gen.checking.errors import PropertyFailed, StudentError
from cs231n_gen.checking.kernels.reference import Exact, as_tuple
from cs231n_gen.checking.student import Student
from cs231n_gen.instruments.access.findings import AccessFault
from cs231n_gen.instruments.honesty.written import NoKernel
from cs231n_gen.instruments.tensors.arguments import nbytes
from cs231n_gen.instruments.tensors.layouts import laid_out
from cs231n_gen.kernels.launch import DTYPES

__all__ = ["DTYPES", "NORM", "POINTWISE", "SIZES", "Exact", "Stages", "nbytes"]

SIZES = (1, 7, 1023, 1024, 1025)  # around a block of 1024, and far from any power of 2
POINTWISE, NORM = 1.05, 1.1  # times the least traffic
FAULT = (str, str, (list, tuple), int, int, int)  # what a fault is told by


class Stages:
    """A student's wrapper beside the truth.

    Args:
        student: whose.
        name: of the wrapper, `kernels.axpy.axpy`.
        exact: the truth.
    """

    def __init__(self, student: Student, name: str, exact: Exact):
        self.student, self.name, self.exact = student, name, exact

    # --- the numbers ------------------------------------------------------------------------------

    def correct(
        self, *args, layout: str = "", order: int | None = None, says: str = "", **options
    ) -> None:
        """The results are as exact as torch's own.

        Args:
            args, options: of the wrapper.
            layout: how tensors lie in memory, `strided`, `transposed` or `expanded`.
            order: seed of a random order of the programs.
            says: what is wrong otherwise.
        """
        says = says or f"the result is wrong for {described(args, layout)}"
        seen = self._call(args, options, layout=layout, order=order)
        self.exact.judge_results(seen["results"], laid_out(args, layout), options, says)

    def backward(
        self,
        *args,
        upstream: Callable[[Tensor], Tensor] = torch.ones_like,
        layout: str = "",
        says: str = "",
        **options,
    ) -> None:
        """The gradients are as exact as torch's own, whose are those of finite differences.

        Args:
            args, options: of the wrapper.
            upstream: makes the gradient of a result; ones are what `.sum()` sends back.
            layout: how arguments and upstream gradients lie in memory.
            says: what is wrong otherwise.
        """
        truth = laid_out(args, layout)
        seeds = [upstream(o) for o in self.exact.ends(truth, options)]
        says = says or f"a gradient is wrong for {described(args, layout)}"
        seen = self._call(args, options, wrt=self.exact.wrt, upstream=seeds, layout=layout)
        seeds = laid_out(seeds, layout)
        self.exact.judge_gradients(seen["gradients"], truth, seeds, options, says)

    # --- what the instruments say -----------------------------------------------------------------

    def safe(self, *args, gradient: bool = False, **options) -> None:
        """No access outside of a tensor, no race, and no matter in which order programs run."""
        seen = self._right(args, options, gradient)
        expect.true(not seen["faults"], in_words(seen["faults"]))
        again = self._right(args, options, gradient, order=231)
        for name in ("results", "gradients"):
            pairs = zip(seen[name], again[name], strict=True)
            same = all(torch.equal(one, other) for one, other in pairs)
            expect.true(same, f"the {name} change with the order in which programs run: they race")

    def honest(
        self,
        args: Sequence,
        others: Sequence,
        *,
        gradient: bool = False,
        **options,
    ) -> None:
        """The kernels do the work, all of it, every time.

        Args:
            args, others: two sets of arguments of the same shapes; options: of the wrapper.
            gradient: whether the backward pass is watched as well.
        """
        self._right(args, options, gradient)
        wrt = self.exact.wrt if gradient else None
        said = self._observe("complaints", [*args], [*others], options, wrt=wrt)
        good = isinstance(said, list) and all(isinstance(s, str) for s in said)
        expect.true(good, "the instruments were tampered with")
        expect.true(not said, "; ".join(said[:3]))

    def lean(
        self, most: float, *args, least: int | None = None, gradient: bool = False, **options
    ) -> None:
        """No more traffic than `most` times the least.

        Args:
            most: `POINTWISE`, `NORM`, or another factor with its reason.
            args, options: of the wrapper.
            least: bytes; every tensor among the arguments once and every result once, if None.
            gradient: whether the backward pass counts as well (then `least` is needed).
        """
        seen = self._right(args, options, gradient)
        if least is None:
            least = nbytes([*args, *as_tuple(self.exact.reference(*args, **options))])
        ratio = seen["moved"] / least
        says = f"your kernels move {ratio:.2f} times the least traffic, which is {least} bytes"
        expect.true(0.99 <= ratio <= most, says, f"{ratio:.2f}", f"at most {most:g}")

    def compiles(
        self,
        args: Sequence,
        large: Sequence,
        *,
        gradient: bool = False,
        wide: bool = True,
        **options,
    ) -> None:
        """The launches compile for an H100: no spills, within its shared memory, wide loads, and
        instructions for matrices where the kernel has a product in half precision.

        Args:
            args: a small example, on which the results must be right; options: of the wrapper.
            large: arguments to compile for, sizes divisible by 16; no kernel runs on them.
            gradient: whether the backward pass is compiled as well.
            wide: whether loads and stores of 128 bits are expected.
        """
        self._right(args, options, gradient)
        made = self._observe(
            "launches", [*large], options, wrt=self.exact.wrt if gradient else None
        )
        found = self.student.compiled(made, wide=wide)
        expect.true(bool(found), "no kernel was launched")
        said = [problem for problems in found for problem in problems]
        expect.true(not said, "for an H100 your kernel " + "; ".join(said[:3]))

    # --- how it is done ---------------------------------------------------------------------------

    def _observe(self, what: str, *args, **options):
        function = getattr(self.student.instruments.observe, what)
        try:
            return function(self.student.function(self.name), *args, **options)
        except StudentError as error:
            if error.kind == NoKernel.__name__:
                raise PropertyFailed(error.text) from error
            raise

    def _call(self, args: Sequence, options: Mapping, **more) -> dict:
        return checked(self._observe("call", [*args], {**options}, **more))

    def _right(
        self, args: Sequence, options: Mapping, gradient: bool, order: int | None = None
    ) -> dict:
        """What a call gave, the results of which are right, and the gradients if they count."""
        seeds = [torch.ones_like(o) for o in self.exact.ends(args, options)] if gradient else []
        wrt = self.exact.wrt if gradient else None
        seen = self._call(args, options, wrt=wrt, upstream=seeds, order=order)
        says = "first the result must be right"
        self.exact.judge_results(seen["results"], args, options, says)
        if gradient:
            says = "first the gradients must be right"
            self.exact.judge_gradients(seen["gradients"], args, seeds, options, says)
        return seen


def described(args: Sequence, layout: str) -> str:
    """Arguments in words: `float16 (3, 40), (3, 40), strided`."""
    flat = [t for a in args for t in (a if isinstance(a, tuple | list) else (a,))]
    tensors = [t for t in flat if isinstance(t, Tensor)]
    told = [str(tuple(t.shape)) for t in tensors] + ([layout] if layout else [])
    return f"{str(tensors[0].dtype)[6:]} " + ", ".join(told) if tensors else "these arguments"


def in_words(faults: Sequence[Sequence]) -> str:
    """The first faults, a sentence each: which argument, which program, how many lanes."""
    told = []
    for fault, argument, program, lanes, programs, element in faults[:3]:
        found = AccessFault(fault, "kernel", argument, tuple(program), lanes, programs, element)
        told.append(str(found).removeprefix("kernel, "))
    return "; ".join(told)


def checked(seen: object) -> dict:
    """An answer of the instruments, once its form is seen to be what it should be.

    Raises:
        PropertyFailed: if it is not.
    """
    good = isinstance(seen, dict) and all(
        isinstance(seen.get(name), list | tuple) for name in ("results", "gradients", "faults")
    )
    good = good and type(seen.get("moved")) is int and all(map(_is_fault, seen["faults"]))
    expect.true(good, "the instruments were tampered with")
    return seen


def _is_fault(found: object) -> bool:
    if not isinstance(found, list | tuple) or len(found) != len(FAULT):
        return False
    right = all(isinstance(value, kind) for value, kind in zip(found, FAULT, strict=True))
    return right and all(isinstance(p, int) for p in found[2])
