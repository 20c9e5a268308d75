"""Values as JSON of a frame's header, and back; tensors go to the body, once each."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from cs231n_gen.checking.expect import unfit
from cs231n_gen.grading.jail.protocol import frames, tensors

PLAIN = {bool, int, float, str, type(None)}
DEEPEST = 24


class Writer:
    """Turns values into JSON for a header, and gathers the tensors.

    Args:
        other: what is done with values that are neither plain nor tensors nor containers of such:
            returns a plain value or a tagged dict, or raises frames.CannotSend.
    """

    def __init__(self, other: Callable[[object, "Writer"], dict]):
        self._other = other
        self.tensors: list[tensors.Packed] = []
        self._places: dict[int, int] = {}
        self._alive: list[Tensor] = []

    def tensor(self, value: Tensor) -> int:
        """The place of a tensor in the body; the same object gets the same place."""
        place = self._places.get(id(value))
        if place is None:
            place = self._places[id(value)] = len(self.tensors)
            self.tensors.append(packed(value))
            self._alive.append(value)
        return place

    def __call__(self, value: object) -> frames.JsonText:
        """A value in JSON."""
        return frames.JsonText(self._json(value, 0))

    def _json(self, value: object, depth: int) -> str:
        if isinstance(value, Tensor):
            return f'{{"t":{self.tensor(value)}}}'
        kind = type(value)
        if kind in PLAIN:
            return frames.json_text(value)
        if depth > DEEPEST:
            raise frames.CannotSend(f"it is nested more than {DEEPEST} levels deep")
        if kind is list:
            return self._list(value, depth)
        if isinstance(value, tuple):
            return f'{{"u":{self._list(value, depth)}}}'
        if isinstance(value, dict):
            pairs = ",".join([self._list(pair, depth) for pair in value.items()])
            return f'{{"d":[{pairs}]}}'
        if kind is torch.dtype and value in tensors.NAMES:
            return f'{{"y":"{tensors.NAMES[value]}"}}'
        return frames.json_text(self._other(value, self))

    def _list(self, values: Iterable, depth: int) -> str:
        return f"[{','.join([self._json(v, depth + 1) for v in values])}]"


class Reader:
    """Turns a header's plain values back.

    Args:
        frame: the message.
        other: what is done with tagged values of other kinds: gets tag and content.
    """

    def __init__(self, frame: frames.Frame, other: Callable[[str, object, "Reader"], object]):
        self._tensors, self._other = frame.tensors, other

    def tensor(self, place: object) -> Tensor:
        """The tensor at a place of the body."""
        if type(place) is not int or not 0 <= place < len(self._tensors):
            raise frames.BadFrame(f"no tensor {place!r}")
        return self._tensors[place]

    def __call__(self, value: object, depth: int = 0):
        """A value back from plain values. Raises frames.BadFrame if it is malformed."""
        if type(value) is dict and "t" in value and len(value) == 1:
            return self.tensor(value["t"])
        if depth > DEEPEST + 4:
            raise frames.BadFrame("values nested too deep")
        if isinstance(value, list):
            return [self(v, depth + 1) for v in value]
        if not isinstance(value, dict):
            return value
        if len(value) != 1:
            raise frames.BadFrame("a value with more than one tag")
        ((tag, content),) = value.items()
        if tag == "u" and isinstance(content, list):
            return tuple(self(v, depth + 1) for v in content)
        if tag == "d" and isinstance(content, list):
            return self._dict(content, depth)
        if tag == "y" and isinstance(content, str) and content in tensors.DTYPES:
            return tensors.DTYPES[content]
        return self._other(tag, content, self)

    def _dict(self, pairs: list, depth: int) -> dict:
        found = {}
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2:
                raise frames.BadFrame("malformed dict")
            key = self(pair[0], depth + 1)
            if not isinstance(key, str | int | float | bool | None):
                raise frames.BadFrame("a key that is not a plain value")
            found[key] = self(pair[1], depth + 1)
        return found


def packed(value: Tensor) -> tensors.Packed:
    """A tensor as a frame carries it.

    Raises:
        frames.CannotSend: if it cannot; the text is for the student.
    """
    try:
        shape = value.shape
        if type(value) in _ORDINARY and len(shape) <= tensors.MOST_DIMS:
            return tensors.pack(value.dtype, shape, value.detach().numpy().tobytes())
    except (RuntimeError, TypeError, KeyError):
        return _packed_odd(value)
    return _packed_odd(value)


def _packed_odd(value: Tensor) -> tensors.Packed:
    """A tensor that numpy does not know as it is, or that must be refused."""
    if reason := unfit(value):
        raise frames.CannotSend(reason)
    if value.dtype not in tensors.NAMES:
        raise frames.CannotSend(f"unsupported dtype: {value.dtype}")
    if value.dim() > tensors.MOST_DIMS:
        raise frames.CannotSend(
            f"a tensor of {value.dim()} dimensions; {tensors.MOST_DIMS} at most"
        )
    plain = value.detach().resolve_conj().resolve_neg().contiguous()
    numbers = plain.view(torch.int16) if plain.dtype == torch.bfloat16 else plain
    return tensors.pack(plain.dtype, plain.shape, numbers.numpy().tobytes())


_ORDINARY = {Tensor, torch.nn.Parameter}
