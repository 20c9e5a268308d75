"""Values on the wire between grader and child: a JSON header and raw bytes, read with suspicion.

A frame is the length of its header (4 bytes), that of its body (8 bytes), the header, the body. The
header holds plain values; where a tensor stood it says which one, and lists dtype and shape of
each. The receiver checks every length, dtype and shape before it allocates anything.
"""

import json
import math
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cs231n_gen.checking.expect import unfit

HEAD = struct.Struct("!IQ")
LONGEST_HEADER = 1 << 20
MOST_TENSORS = 8192
MOST_DIMS = 8
DEEPEST = 24
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.complex64, torch.complex128),
    )
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
PLAIN = (bool, int, float, str, type(None))
_encode = json.JSONEncoder(separators=(",", ":")).encode


class BadFrame(Exception):
    """What came is no frame; whoever sent it is not to be spoken to any more."""


class CannotSend(TypeError):
    """A value that has no place on the wire; its text says why."""


class Closed(Exception):
    """The other side is gone."""


@dataclass
class Frame:
    """A message: plain values, and the tensors they point to."""

    header: dict
    tensors: list[Tensor]


class Channel:
    """One end of the wire.

    Args:
        sock: a connected stream socket.
        most: the bytes of a body that this end accepts.
        in_all: the bytes that it accepts in its life.
    """

    def __init__(self, sock: socket.socket, most: int = 64 << 20, in_all: int = 1 << 40):
        self.sock, self.most, self._left = sock, most, in_all
        self._buffer = bytearray()
        self._patience = -1.0
        sock.settimeout(None)

    def send(self, header: dict, tensors: list[Tensor], deadline: float | None = None) -> None:
        """Send a frame.

        Raises:
            CannotSend: if a tensor has no place on the wire.
            Closed, TimeoutError: if the other side is gone, or does not read until `deadline`
                (of time.monotonic).
        """
        body = [_bytes(t) for t in tensors]
        if tensors:
            header["tensors"] = [[NAMES[t.dtype], list(t.shape)] for t in tensors]
        text = _encode(header).encode()
        if len(text) > LONGEST_HEADER:
            raise CannotSend(f"{len(text)} characters of plain values, {LONGEST_HEADER} at most")
        frame = b"".join([HEAD.pack(len(text), sum(map(len, body))), text, *body])
        try:
            self._be_patient(deadline)
            self.sock.sendall(frame)
        except BlockingIOError:
            raise TimeoutError from None
        except ConnectionError as error:
            raise Closed from error

    def receive(self, deadline: float | None = None) -> Frame:
        """Wait for a frame.

        Raises:
            BadFrame: if it breaks a rule of the format.
            Closed, TimeoutError: as in `send`.
        """
        self._need(HEAD.size, deadline)
        size, rest = HEAD.unpack_from(self._buffer)
        self._left -= rest
        if size > LONGEST_HEADER or rest > self.most or self._left < 0:
            raise BadFrame(f"a header of {size} bytes and a body of {rest}")
        begin, end = HEAD.size + size, HEAD.size + size + rest
        self._need(end, deadline)
        text, body = self._buffer[HEAD.size : begin], self._buffer[begin:end]
        del self._buffer[:end]
        try:
            header = json.loads(text)
            layout = _layout(header.pop("tensors", []))
        except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
            raise BadFrame(f"a header that cannot be read: {type(error).__name__}") from error
        if sum(_padded(count * dtype.itemsize) for dtype, _, count in layout) != rest:
            raise BadFrame("a body that is not as long as its tensors")
        return Frame(header, _tensors(layout, body))

    def close(self) -> None:
        """Hang up."""
        self.sock.close()

    def _be_patient(self, deadline: float | None) -> None:
        """Let the system wait no longer than until the deadline, or a quarter of a second more."""
        if deadline is None:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if not left <= self._patience <= left + 0.25:
            self._patience = left + 0.2
            limit = struct.pack("ll", int(self._patience), int(self._patience % 1 * 1e6))
            for way in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self.sock.setsockopt(socket.SOL_SOCKET, way, limit)

    def _need(self, count: int, deadline: float | None) -> None:
        """Have at least `count` bytes in the buffer."""
        while len(self._buffer) < count:
            self._be_patient(deadline)
            try:
                some = self.sock.recv(max(1 << 16, min(1 << 20, count - len(self._buffer))))
            except BlockingIOError:
                continue  # the deadline decides
            except ConnectionError as error:
                raise Closed from error
            if not some:
                raise Closed
            self._buffer += some


def _tensors(layout: list, body: bytearray) -> list[Tensor]:
    tensors, at = [], 0
    for dtype, shape, count in layout:
        if count:
            flat = torch.frombuffer(body, dtype=dtype, count=count, offset=at)
        else:
            flat = torch.empty(0, dtype=dtype)
        tensors.append(flat.reshape(shape))
        at += _padded(count * dtype.itemsize)
    return tensors


def _padded(length: int) -> int:
    """The bytes that a tensor takes: whole lines of 16, so that each begins where it may."""
    return -(-length // 16) * 16


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach()
    if flat.dtype == torch.bfloat16:
        flat = flat.contiguous().view(torch.int16)
    elif flat.dtype.is_complex:
        flat = flat.resolve_conj()
    raw = flat.resolve_neg().numpy().tobytes()
    short = -len(raw) % 16
    return raw + bytes(short) if short else raw


def _layout(described: list) -> list[tuple[torch.dtype, tuple[int, ...], int]]:
    """Dtype, shape and count of each tensor of a header; raises ValueError for nonsense."""
    if not isinstance(described, list) or len(described) > MOST_TENSORS:
        raise ValueError("the list of tensors")
    found = []
    for entry in described:
        name, shape = entry
        if not isinstance(shape, list) or len(shape) > MOST_DIMS:
            raise ValueError("a shape")
        if not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
            raise ValueError("a shape")
        found.append((DTYPES[_text(name)], tuple(shape), math.prod(shape)))
    return found


def _text(value: object) -> str:
    if not isinstance(value, str) or value not in DTYPES:
        raise ValueError("a dtype")
    return value


class Writer:
    """Turns values into a header's plain values, and gathers the tensors.

    Args:
        other: what is done with values that are neither plain nor tensors nor containers of such:
            returns a tagged dict, or raises CannotSend.
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
            raise CannotSend(f"it is nested more than {DEEPEST} deep")
        if isinstance(value, Tensor):
            return {"t": self.tensor(value)}
        if kind is list:
            return [self(v, depth + 1) for v in value]
        if isinstance(value, tuple):
            return {"u": [self(v, depth + 1) for v in value]}
        if kind is dict or isinstance(value, dict):
            return {"d": [[self(k, depth + 1), self(v, depth + 1)] for k, v in value.items()]}
        if kind is torch.dtype and value in NAMES:
            return {"y": NAMES[value]}
        if isinstance(value, torch.Size):
            return {"u": list(value)}
        return self._other(value, self)


class Reader:
    """Turns a header's plain values back.

    Args:
        frame: the message.
        other: what is done with tagged values of other kinds: gets tag and content.
    """

    def __init__(self, frame: Frame, other: Callable[[str, object, "Reader"], object]):
        self._tensors, self._other = frame.tensors, other

    def tensor(self, place: object) -> Tensor:
        """The tensor at a place of the body."""
        if type(place) is not int or not 0 <= place < len(self._tensors):
            raise BadFrame("a tensor that is not there")
        return self._tensors[place]

    def __call__(self, value: object, depth: int = 0):
        """A value back from plain values. Raises BadFrame where there is none."""
        if depth > DEEPEST + 4:
            raise BadFrame("values nested too deep")
        if isinstance(value, list):
            return [self(v, depth + 1) for v in value]
        if not isinstance(value, dict):
            return value
        if len(value) != 1:
            raise BadFrame("a value with more than one tag")
        ((tag, content),) = value.items()
        if tag == "t":
            return self.tensor(content)
        if tag == "u" and isinstance(content, list):
            return tuple(self(v, depth + 1) for v in content)
        if tag == "d" and isinstance(content, list):
            return self._dict(content, depth)
        if tag == "y" and isinstance(content, str) and content in DTYPES:
            return DTYPES[content]
        return self._other(tag, content, self)

    def _dict(self, pairs: list, depth: int) -> dict:
        found = {}
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2:
                raise BadFrame("a dict that is none")
            key = self(pair[0], depth + 1)
            if not isinstance(key, str | int | float | bool | None):
                raise BadFrame("a key that is no plain value")
            found[key] = self(pair[1], depth + 1)
        return found


def refuse_tensor(value: Tensor) -> None:
    """Raise CannotSend, in words for the student, for a tensor that has no place on the wire."""
    if reason := unfit(value):
        raise CannotSend(reason)
    if value.dtype not in NAMES:
        raise CannotSend(f"a tensor of {value.dtype} is not expected")
    if value.dim() > MOST_DIMS:
        raise CannotSend(f"a tensor of {value.dim()} dimensions; {MOST_DIMS} at most")
