"""Values as plain values of a frame's header, and back; tensors go to the body, once each."""

from collections.abc import Callable

import torch
from torch import Tensor

from cs231n_gen.checking.expect import unfit
from cs231n_gen.grading.jail import wire

PLAIN = (bool, int, float, str, type(None))
DEEPEST = 24


class Writer:
    """Turns values into a header's plain values, and gathers the tensors.

    Args:
        other: what is done with values that are neither plain nor tensors nor containers of such:
            returns a tagged dict, or raises wire.CannotSend.
    """

    def __init__(self, other: Callable[[object, "Writer"], dict]):
        self._other = other
        self.tensors: list[Tensor] = []
        self._places: dict[int, int] = {}
        self._alive: list[object] = []

    def tensor(self, value: Tensor) -> int:
        """The place of a tensor in the body; the same object gets the same place."""
        if id(value) not in self._places:
            refuse_tensor(value)
            self._places[id(value)] = len(self.tensors)
            self.tensors.append(value)
        return self._places[id(value)]

    def __call__(self, value: object, depth: int = 0):
        """A value as plain values."""
        kind = type(value)
        if kind in PLAIN:
            return value
        if depth > DEEPEST:
            raise wire.CannotSend(f"it is nested more than {DEEPEST} deep")
        if isinstance(value, Tensor):
            return {"t": self.tensor(value)}
        if kind is list:
            return [self(v, depth + 1) for v in value]
        if isinstance(value, tuple):
            return {"u": [self(v, depth + 1) for v in value]}
        if kind is dict or isinstance(value, dict):
            return {"d": [[self(k, depth + 1), self(v, depth + 1)] for k, v in value.items()]}
        if kind is torch.dtype and value in wire.NAMES:
            return {"y": wire.NAMES[value]}
        if isinstance(value, torch.Size):
            return {"u": list(value)}
        return self._other(value, self)


class Reader:
    """Turns a header's plain values back.

    Args:
        frame: the message.
        other: what is done with tagged values of other kinds: gets tag and content.
    """

    def __init__(self, frame: wire.Frame, other: Callable[[str, object, "Reader"], object]):
        self._tensors, self._other = frame.tensors, other

    def tensor(self, place: object) -> Tensor:
        """The tensor at a place of the body."""
        if type(place) is not int or not 0 <= place < len(self._tensors):
            raise wire.BadFrame("a tensor that is not there")
        return self._tensors[place]

    def __call__(self, value: object, depth: int = 0):
        """A value back from plain values. Raises wire.BadFrame where there is none."""
        if depth > DEEPEST + 4:
            raise wire.BadFrame("values nested too deep")
        if isinstance(value, list):
            return [self(v, depth + 1) for v in value]
        if not isinstance(value, dict):
            return value
        if len(value) != 1:
            raise wire.BadFrame("a value with more than one tag")
        ((tag, content),) = value.items()
        if tag == "t":
            return self.tensor(content)
        if tag == "u" and isinstance(content, list):
            return tuple(self(v, depth + 1) for v in content)
        if tag == "d" and isinstance(content, list):
            return self._dict(content, depth)
        if tag == "y" and isinstance(content, str) and content in wire.DTYPES:
            return wire.DTYPES[content]
        return self._other(tag, content, self)

    def _dict(self, pairs: list, depth: int) -> dict:
        found = {}
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2:
                raise wire.BadFrame("a dict that is none")
            key = self(pair[0], depth + 1)
            if not isinstance(key, str | int | float | bool | None):
                raise wire.BadFrame("a key that is no plain value")
            found[key] = self(pair[1], depth + 1)
        return found


def refuse_tensor(value: Tensor) -> None:
    """Raise wire.CannotSend, in words for the student, for a tensor that cannot go over it."""
    if reason := unfit(value):
        raise wire.CannotSend(reason)
    if value.dtype not in wire.NAMES:
        raise wire.CannotSend(f"a tensor of {value.dtype} is not expected")
    if value.dim() > wire.MOST_DIMS:
        raise wire.CannotSend(f"a tensor of {value.dim()} dimensions; {wire.MOST_DIMS} at most")
