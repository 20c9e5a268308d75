"""Functions of a test that a child may call, as the grader serves the calls: value and gradient."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cs231n_gen.grading.jail.protocol import frames


def call(function: Callable, args: object, kwargs: object):
    """Call a test's function as a child asked; a TypeError in words for the student, if it can't be
    called like this."""
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise frames.BadFrame("not a call")
    try:
        return function(*args, **kwargs)
    except TypeError as error:
        try:
            signature = inspect.signature(function)
            signature.bind(*args, **kwargs)
        except ValueError:
            raise error from None
        except TypeError as misfit:
            names = ", ".join(signature.parameters)
            raise TypeError(f"the model is called as model({names}): {misfit}") from None
        raise


@dataclass(frozen=True)
class Graph:
    """What a test's function returned, and the graph that computed it.

    Args:
        value: the answer, a tensor or a tuple.
        inputs: the tensors whose gradients are wanted.
    """

    value: object
    inputs: tuple[Tensor, ...]

    @classmethod
    def of(cls, function: Callable, args: object, kwargs: object, wanted: object) -> "Graph":
        """Call a function, as `call` does, keeping its graph.

        Args:
            wanted: the places, among args and then kwargs, of tensors of which gradients are
                wanted.
        """
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise frames.BadFrame("not a call")
        given = [*args, *kwargs.values()]
        for place in wanted:
            if not isinstance(given[place], Tensor) or not given[place].is_floating_point():
                raise TypeError("gradients can be taken for floating-point tensors only")
            given[place] = given[place].clone().requires_grad_()
        with torch.enable_grad():
            own = dict(zip(kwargs, given[len(args) :], strict=True))
            value = call(function, given[: len(args)], own)
        return cls(value, tuple(given[place] for place in wanted))

    def pull(self, gradients: object) -> list[Tensor | None]:
        """The gradients of the inputs, for those of the answer: one for each part, None for 0."""
        parts = self.value if isinstance(self.value, tuple) else (self.value,)
        pairs = [
            (part, gradient)
            for part, gradient in zip(parts, gradients, strict=True)
            if isinstance(gradient, Tensor) and isinstance(part, Tensor) and part.requires_grad
        ]
        if not pairs:
            return [None] * len(self.inputs)
        outputs, theirs = zip(*pairs, strict=True)
        found = torch.autograd.grad(
            outputs, self.inputs, theirs, retain_graph=True, allow_unused=True
        )
        return list(found)


def detached(value):
    """A value whose tensors, in tuples and lists too, carry no graph."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, tuple | list):
        return type(value)(detached(v) for v in value)
    return value


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [""])[0][:300]
