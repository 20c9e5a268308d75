"""The truth that a kernel is held to: its reference in float64, and that reference's gradients."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.precision import precise
from cs231n_gen.instruments.error_budget import budgets, in_float32, sizes, wide

STEP = 1e-4  # of finite differences in float64: off by about 1e-8

HALVES = (torch.float16, torch.bfloat16)


class Exact:
    """What a wrapper should give, and how far it may be off.

    Args:
        reference: the wrapper's formula in torch, for any floating-point dtype, float64 too.
        wrt: the places of the arguments that get a gradient; of a tuple each of its tensors does.
        sums: how many numbers each result, by its place, and each gradient, by its name, adds up:
            such a one may be off by more (`ulps`).
        floors: how many times the usual roundings one may have, where they are more than that.
        stores: how often one is rounded to its dtype, where it is more than once.
        rounds: where factors of the last products may be rounded to half precision, as matrix cores
            want it: gives for the same arguments the root of Σ term² of each result.
        formula: gives the results too, and takes each argument as it is: where one of them was
            made from the others (what a forward pass left), each is rounded by its own.
    """

    def __init__(
        self,
        reference: Callable,
        wrt: Sequence[int] = (),
        sums: Mapping[str | int, int] | None = None,
        floors: Mapping[str | int, float] | None = None,
        stores: Mapping[str | int, int] | None = None,
        rounds: Callable | None = None,
        formula: Callable | None = None,
    ):
        self.reference, self.wrt, self.sums = reference, [*wrt], dict(sums or {})
        self.floors, self.stores = dict(floors or {}), dict(stores or {})
        self.rounds, self.formula = rounds, formula or reference

    def floor(self, which: str | int) -> float:
        """How many times the usual roundings a result or a gradient may have."""
        return self.floors.get(which, ulps(self.sums.get(which, 1)))

    def ends(self, args: Sequence, options: Mapping) -> list[Tensor]:
        """The results that are floating-point."""
        return [o for o in as_tuple(self.reference(*args, **options)) if is_float(o)]

    def judge_results(
        self,
        got: Sequence,
        args: Sequence,
        options: Mapping,
        says: str,
        names: Sequence[str] = (),
    ) -> None:
        """Raise PropertyFailed unless the results are as exact as torch's own.

        Args:
            got: the results.
            args, options: of the reference.
            says: what is wrong otherwise.
            names: of the results, where they are more than one.
        """

        def results(given: Sequence) -> tuple:
            return as_tuple(self.reference(*given, **options))

        plain, exact = results(args), results(wide(list(args)))
        expect.true(len(got) == len(plain), "wrong number of results", len(got), len(plain))
        exactly = wide(list(args))

        def formula(given: Sequence) -> tuple:
            return as_tuple(self.formula(*given, **options))

        made = sizes(formula, exactly, formula(exactly))
        half = self.rounds is not None and any(p.dtype in HALVES for p in plain)
        rounded = as_tuple(self.rounds(*exactly, **options)) if half else None
        most = self._budgets(results, args, plain, exact, [*range(len(plain))], made, rounded)
        for k, (ours, torchs, truth) in enumerate(zip(got, plain, exact, strict=True)):
            name = names[k] if names else f"result {k + 1}"
            which = f"{says} ({name})" if len(got) > 1 else says
            precise(ours, truth, torchs, which, most=most[k])

    def judge_gradients(
        self, got: Sequence, args: Sequence, seeds: Sequence[Tensor], options: Mapping, says: str
    ) -> None:
        """Raise PropertyFailed unless the gradients are as exact as torch's own.

        Args:
            got: one for each tensor of the arguments `wrt`.
            seeds: the gradient of each floating-point result.
        """
        plain = self.gradients(args, seeds, options)
        exact = self.gradients(wide(list(args)), wide(list(seeds)), options)
        expect.true(len(got) == len(plain), "gradients are missing", len(got), len(plain))

        def results(given: Sequence) -> tuple:
            return self.gradients(given[: len(args)], given[len(args) :], options)

        names = self.names(args)
        made = sizes(results, wide([*args, *seeds]), exact)
        allowed = self._budgets(results, [*args, *seeds], plain, exact, names, made)
        for name, ours, torchs, truth, most in zip(names, got, plain, exact, allowed, strict=True):
            which = f"{says}: that of {name}"
            expect.true(isinstance(ours, Tensor), f"{which} does not arrive")
            precise(ours, truth, torchs, which, most=most)
        self._check_slope(exact, args, seeds, options)

    def _budgets(
        self,
        results: Callable,
        args: Sequence,
        plain: Sequence,
        exact: Sequence,
        names: Sequence,
        found: Sequence[Tensor],
        rounded: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """How far each number of each result may be off."""
        single = results(in_float32(list(args)))
        terms = rounded or [None] * len(found)
        return [
            budgets(
                truth, one, size, torchs.dtype, self.floor(name), self.stores.get(name, 1), of
            )
            for torchs, truth, one, size, name, of in zip(
                plain, exact, single, found, names, terms, strict=True
            )
        ]  # fmt: skip

    def gradients(
        self, args: Sequence, seeds: Sequence[Tensor], options: Mapping
    ) -> tuple[Tensor, ...]:
        """The reference's gradients, by autograd."""
        leaves: list[Tensor] = []

        def leaf(x: Tensor) -> Tensor:
            leaves.append(x.detach().requires_grad_())
            return leaves[-1]

        given = [over(leaf, a) if k in self.wrt else a for k, a in enumerate(args)]
        return torch.autograd.grad(self.ends(given, options), leaves, [*seeds])

    def names(self, args: Sequence) -> list[str]:
        """What the tensors that get a gradient are called: `x`, or `image[0]` of a tuple."""
        found = []
        for k in self.wrt:
            name, many = self.reference.__code__.co_varnames[k], isinstance(args[k], tuple | list)
            found += [f"{name}[{i}]" for i in range(len(args[k]))] if many else [name]
        return found

    def _check_slope(
        self, exact: Sequence[Tensor], args: Sequence, seeds: Sequence[Tensor], options: Mapping
    ) -> None:
        """Hold the truth itself to finite differences: its slope along a random direction."""
        random = torch.Generator().manual_seed(0)
        along = [torch.randn(g.shape, generator=random, dtype=torch.float64) for g in exact]
        parts = [g * d for g, d in zip(exact, along, strict=True)]
        slope = sum(float(p.sum()) for p in parts)

        def total(step: float) -> float:
            steps = iter(along)
            moved = [
                over(lambda x: x + step * next(steps), a) if k in self.wrt else a
                for k, a in enumerate(wide(list(args)))
            ]
            ends = self.ends(moved, options)
            return sum(float((e * s.double()).sum()) for e, s in zip(ends, seeds, strict=True))

        measured = (total(STEP) - total(-STEP)) / (2 * STEP)
        most = 1e-5 * (1 + sum(float(p.abs().sum()) for p in parts))
        if not math.isclose(measured, slope, rel_tol=1e-5, abs_tol=most):
            raise ValueError(f"the reference's gradient has slope {slope}, measured: {measured}")


def ulps(added: int) -> float:
    """How many times the usual roundings a sum may have: one, and half a one for each level of a
    tree of additions. torch may by luck be exact."""
    return 1 + math.log2(max(added, 1)) / 2


def in_turn(added: int) -> float:
    """The same of a sum whose numbers are added one after the other: half a one for each."""
    return 1 + added / 2


def as_tuple(value) -> tuple:
    """A tuple of results, also of a single one."""
    return value if isinstance(value, tuple) else (value,)


def over(function: Callable[[Tensor], Tensor], value: object) -> object:
    """A function of tensors, of a floating-point one or of each in a tuple."""
    if isinstance(value, tuple | list):
        return type(value)(over(function, v) for v in value)
    return function(value) if is_float(value) else value


def is_float(value: object) -> bool:
    """Whether it is a tensor of floating-point numbers."""
    return isinstance(value, Tensor) and value.is_floating_point()
