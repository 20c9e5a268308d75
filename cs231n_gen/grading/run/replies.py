"""A child's replies, checked before anything else sees them: texts, errors, calls."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cs231n_gen.checking.errors import NotWritten, StudentError, TracebackLine
from cs231n_gen.grading.jail.protocol import frames

LONGEST = {"kind": 200, "text": 2000, "file": 200, "function": 200, "code": 500}


class CannotLoad(Exception):
    """The student's module cannot be imported; its text says where and why."""


class ChildFailed(Exception):
    """The child died, hung, or sent a malformed reply; its text completes "your code …"."""


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
    """What a test's function answered, and how it came about.

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


def capped(value: object, what: str) -> str:
    """A text that a child sent, cut to its greatest length; BadFrame if it is not a text."""
    if not isinstance(value, str):
        raise frames.BadFrame(f"{what}: got {type(value).__name__}, expected a text")
    return writable(value[: LONGEST[what]])


def writable(text: str) -> str:
    """A text that can be written to a file: half characters become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def student_error(header: dict) -> StudentError:
    """The error that a child reports."""
    lines = []
    for file, line, function, code in header["frames"][-20:]:
        if type(line) is not int:
            raise frames.BadFrame(f"line: got {type(line).__name__}, expected an integer")
        texts = capped(file, "file"), capped(function, "function"), capped(code, "code")
        lines.append(TracebackLine(texts[0], line, texts[1], texts[2]))
    kind, text = capped(header["kind"], "kind"), capped(header["text"], "text")
    made = NotWritten if kind == "NotImplementedError" else StudentError
    return made(kind, text, lines)
