"""Frames between grader and child: what goes through, and what is refused before it costs."""

import json
import random
import socket
import time

import pytest
import torch

from cs231n_gen.grading.jail.protocol import frames, tensors, values


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    with one, other:
        yield frames.Channel(one), frames.Channel(other, most=1 << 20)


def refuse(value, *_):
    raise frames.CannotSend(type(value).__name__)


def through(ends, value):
    writer = values.Writer(refuse)
    ends[0].send({"value": writer(value)}, writer.tensors)
    frame = ends[1].receive(time.monotonic() + 5)
    return values.Reader(frame, refuse)(frame.header["value"])


@pytest.mark.parametrize("value", [None, True, -3, 0.5, "ä", [1, [2]], (1, "a"), {"k": (1,)}, {}])
def test_plain_values_come_back_as_they_were(ends, value):
    back = through(ends, value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("dtype", tensors.NAMES, ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 4), (5, 7)], ids=str)
def test_tensors_come_back_bit_by_bit(ends, dtype, shape):
    value = (10 * torch.randn(shape)).to(dtype)
    strided = value.mT if value.dim() == 2 else value
    (back, again) = through(ends, [strided, strided])
    assert back.dtype == dtype
    assert back.shape == strided.shape
    assert torch.equal(back, strided)
    assert again is back, "the same tensor is sent once"


def test_what_comes_can_be_written_into(ends):
    one, other = through(ends, [torch.zeros(3), torch.ones(3)])
    one += 5
    assert other.tolist() == [1, 1, 1]


def test_nan_and_infinity_are_values(ends):
    back = through(ends, [float("inf"), torch.tensor([float("nan")])])
    assert back[0] == float("inf")
    assert back[1].isnan().all()


class Claims(torch.Tensor):
    """A subclass."""


UNFIT = {
    "subclass": torch.zeros(2).as_subclass(Claims),
    "meta": torch.zeros(2, device="meta"),
    "sparse": torch.eye(2).to_sparse(),
}


@pytest.mark.parametrize("value", UNFIT.values(), ids=UNFIT)
def test_tensors_that_cannot_be_compared_are_refused(ends, value):
    with pytest.raises(frames.CannotSend, match="expected"):
        through(ends, value)


def test_nesting_without_end_is_refused(ends):
    value = []
    value.append(value)
    with pytest.raises(frames.CannotSend, match="nested"):
        through(ends, value)


def frame(header, body=b"", size=None, rest=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if size is None else size
    return frames.HEAD.pack(size, len(body) if rest is None else rest) + text + body


def one(dtype="float32", shape=(2,)):
    return {"tensors": [[dtype, list(shape) if isinstance(shape, tuple) else shape]]}


HOSTILE = {
    "long header": frames.HEAD.pack(1 << 31, 0),
    "long body": frame({}, rest=1 << 60),
    "no JSON": frame(b"\xff{"),
    "no dict": frame([1]),
    "deep": frame(b"[" * 100_000),
    "long number": frame(b'{"a": ' + b"9" * 10_000 + b"}"),
    "unknown dtype": frame(one("object"), b"\0" * 16),
    "dtype that is no text": frame({"tensors": [[["float32"], [2]]]}, b"\0" * 16),
    "negative shape": frame(one(shape=(-1,)), b"\0" * 16),
    "shape of floats": frame({"tensors": [["float32", [2.0]]]}, b"\0" * 16),
    "shape of truth": frame({"tensors": [["float32", [True]]]}, b"\0" * 16),
    "shape that is none": frame(one(shape="2"), b"\0" * 16),
    "huge shape, small body": frame(one(shape=(1 << 39, 1 << 39)), b"\0" * 16),
    "more body than tensors": frame(one(), b"\0" * 64),
    "too many dimensions": frame(one(shape=(1,) * 9), b"\0" * 16),
    "too many tensors": frame({"tensors": [["bool", [0]]] * 9000}),
    "tensors that are none": frame({"tensors": 3}),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_nonsense_is_refused(ends, raw):
    ends[0].sock.sendall(raw)
    with pytest.raises(frames.BadFrame):
        ends[1].receive(time.monotonic() + 5)


def test_all_answers_together_have_a_limit():
    one, other = socket.socketpair()
    with one, other:
        sender, receiver = frames.Channel(one), frames.Channel(other, in_all=1000)
        for _ in range(3):
            sender.send({}, [values.packed(torch.zeros(100))])
        receiver.receive(time.monotonic() + 5)
        receiver.receive(time.monotonic() + 5)
        with pytest.raises(frames.BadFrame):
            receiver.receive(time.monotonic() + 5)


def test_waiting_ends(ends):
    ends[0].sock.sendall(b"\0")
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        ends[1].receive(begun + 0.3)
    assert time.monotonic() - begun < 3


def test_the_other_side_may_be_gone(ends):
    ends[0].close()
    with pytest.raises(frames.Closed):
        ends[1].receive(time.monotonic() + 5)


def test_garbage_of_any_kind_is_refused_or_a_value():
    """Bytes of good frames, changed at random: never another error than the format's own."""
    rng = random.Random(3)
    good = frame({"value": {"t": 0}, **one()}, b"\0" * 16)
    for _ in range(1500):
        raw = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        one_end, other_end = socket.socketpair()
        with one_end, other_end:
            one_end.sendall(raw)
            one_end.shutdown(socket.SHUT_WR)
            try:
                got = frames.Channel(other_end, most=1 << 20).receive(time.monotonic() + 5)
                values.Reader(got, refuse)(got.header.get("value"))
            except (frames.BadFrame, frames.Closed, frames.CannotSend):
                pass
