"""The wire between grader and child: frames of a JSON header and raw bytes, read with suspicion.

A frame is the length of its header (4 bytes), that of its body (8 bytes), the header, the body. The
header holds plain values; where a tensor stood it says which one, and lists dtype and shape of
each. The receiver checks every length, dtype and shape before it allocates anything.
"""

import json
import math
import socket
import struct
import time
from dataclasses import dataclass

import torch
from torch import Tensor

HEAD = struct.Struct("!IQ")
LONGEST_HEADER = 1 << 20
MOST_TENSORS = 8192
MOST_DIMS = 8
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.complex64, torch.complex128),
    )
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
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
            raw = torch.uint8 if dtype is torch.bool else dtype  # a forged truth may be a 7
            flat = torch.frombuffer(body, dtype=raw, count=count, offset=at)
            flat = flat.ne(0) if dtype is torch.bool else flat
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
        if math.prod(n or 1 for n in shape) >= 1 << 60:  # no strides for that, even if it is empty
            raise ValueError("a shape")
        found.append((DTYPES[_text(name)], tuple(shape), math.prod(shape)))
    return found


def _text(value: object) -> str:
    if not isinstance(value, str) or value not in DTYPES:
        raise ValueError("a dtype")
    return value
