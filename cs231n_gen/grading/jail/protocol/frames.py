"""Frames between grader and child: a JSON header and raw bytes, read with suspicion.

A frame is the length of its header (4 bytes), that of its body (8 bytes), the header, the body. The
header holds plain values; where a tensor stood it says which one, and lists dtype and shape of
each. The receiver checks every length, dtype and shape before it allocates anything.

A sampler calls its model a thousand times with the same header and other numbers in the tensors. So
short headers are cached, on both sides: what they mean, and how they are written.
"""

import functools
import json
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cs231n_gen.grading.jail.protocol.tensors import Packed, TensorSpec, read_specs

HEAD = struct.Struct("!IQ")
LONGEST_HEADER = 1 << 20
REMEMBERED = 2048  # bytes of a header at most, and 256 of them
ROOM = 1 << 17  # bytes that are read in one go; a longer body is read into a place of its own
_encode = json.JSONEncoder(separators=(",", ":")).encode
_quoted = json.encoder.encode_basestring_ascii


class JsonText(str):
    """A value of a header, in JSON already."""

    __slots__ = ()


def json_text(value: object) -> JsonText:
    """A plain value in JSON."""
    if type(value) is str:
        if len(value) > LONGEST_HEADER:
            raise CannotSend(f"got {len(value)} characters, expected at most {LONGEST_HEADER}")
        return JsonText(_quoted(value))
    if type(value) is int:
        return JsonText(int.__repr__(value))
    return JsonText(_encode(value))


class BadFrame(Exception):
    """A malformed frame; whoever sent it is not to be spoken to any more."""


class CannotSend(TypeError):
    """A value that no frame can carry; its text says why."""


class Closed(Exception):
    """The other side is gone."""


@dataclass
class Frame:
    """A message: plain values, not to be changed, and the tensors they point to."""

    header: dict
    tensors: list[Tensor]


class Channel:
    """One end of the connection.

    Args:
        sock: a connected stream socket.
        most: the bytes of a body that this end accepts.
        in_all: the bytes that it accepts in its life.
    """

    def __init__(self, sock: socket.socket, most: int = 64 << 20, in_all: int = 1 << 40):
        self.sock, self.most, self._left = sock, most, in_all
        self._buffer = bytearray(ROOM)
        self._from, self._to = 0, 0  # what has come and was not read yet
        self._patience = -1.0
        sock.settimeout(None)

    def renew(self, in_all: int) -> None:
        """Accept this many bytes from now on."""
        self._left = in_all

    def send(
        self, header: dict, tensors: Sequence[Packed] = (), deadline: float | None = None
    ) -> None:
        """Send a frame.

        Args:
            header: plain values by name, of which some may be in JSON already.
            tensors: that they point to.
            deadline: until when the other side must read, of time.monotonic.
        Raises:
            CannotSend: if the header is too long.
            Closed, TimeoutError: if the other side is gone, or does not read in time.
        """
        values = [
            f"{_quoted(k)}:{v if type(v) is JsonText else json_text(v)}" for k, v in header.items()
        ]
        self.send_written(",".join(values), tensors, deadline)

    def send_written(
        self, values: str, tensors: Sequence[Packed], deadline: float | None = None
    ) -> None:
        """Send a frame whose header is in JSON, all but its braces and its tensors; as `send`."""
        parts = [part for _, part in tensors]
        if tensors:
            told = ",".join([told for told, _ in tensors])
            values = f'{values}{values and ","}"tensors":[{told}]'
        text = f"{{{values}}}".encode()
        if len(text) > LONGEST_HEADER:
            raise CannotSend(
                f"got a header of {len(text)} bytes, expected at most {LONGEST_HEADER}"
            )
        rest = sum(map(len, parts))
        parts = [HEAD.pack(len(text), rest), text, *parts]
        try:
            for part in parts if rest > ROOM else [b"".join(parts)]:
                self._be_patient(deadline)
                self.sock.sendall(part)
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
        size, rest = HEAD.unpack_from(self._buffer, self._from)
        self._left -= rest
        if size > LONGEST_HEADER or rest > self.most or self._left < 0:
            raise BadFrame(f"frame too large: a header of {size} bytes, a body of {rest}")
        self._need(HEAD.size + size + (rest if rest <= ROOM else 0), deadline)
        begin = self._from + HEAD.size
        middle = begin + size
        text = bytes(self._buffer[begin:middle])
        header, found, length = (_known if size <= REMEMBERED else _read)(text)
        if length != rest:
            raise BadFrame(f"got a body of {rest} bytes, expected {length}")
        body = self._buffer[middle : min(middle + rest, self._to)]
        self._forget(middle + len(body))
        if len(body) < rest:
            body = self._filled(body, rest, deadline)
        return Frame(header, [place.tensor(body) for place in found])

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
        """Have at least `count` bytes that were not read yet."""
        while self._to - self._from < count:
            if self._from + count > len(self._buffer):
                self._make_room(count)
            if self._to:
                with memoryview(self._buffer)[self._to :] as free:
                    self._to += self._some(free, deadline)
            else:
                self._to = self._some(self._buffer, deadline)

    def _filled(self, begun: bytearray, length: int, deadline: float | None) -> bytearray:
        """A body of its own, whose beginning has come already."""
        body = begun + bytes(length - len(begun))
        at = len(begun)
        with memoryview(body) as whole:
            while at < length:
                at += self._some(whole[at:], deadline)
        return body

    def _some(self, into: bytearray | memoryview, deadline: float | None) -> int:
        """Wait for some bytes; return how many were read."""
        while True:
            self._be_patient(deadline)
            try:
                some = self.sock.recv_into(into)
            except BlockingIOError:
                continue  # the deadline decides
            except ConnectionError as error:
                raise Closed from error
            if not some:
                raise Closed
            return some

    def _make_room(self, count: int) -> None:
        """Move what is there to the beginning of a buffer that holds `count` bytes."""
        there = self._buffer[self._from : self._to]
        self._buffer = there + bytes(max(count, ROOM) - len(there))
        self._from, self._to = 0, len(there)

    def _forget(self, end: int) -> None:
        """What stands before `end` was read."""
        self._from = end
        if self._from == self._to:
            self._from = self._to = 0


def _read(text: bytes) -> tuple[dict, list[TensorSpec], int]:
    """The plain values of a header, the places of its tensors, the bytes that they take."""
    try:
        header = json.loads(text)
        return header, *read_specs(header.pop("tensors", []))
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
        raise BadFrame(f"malformed header: {type(error).__name__}") from error


_known = functools.lru_cache(256)(_read)
