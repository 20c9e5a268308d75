"""How a frame describes its tensors: dtype and shape in the header, numbers in the body.

In the body each begins at a multiple of 16 bytes. The description is checked before any tensor
is made.
"""

import functools
import json
import math
from dataclasses import dataclass

import torch
from torch import Tensor

MOST_TENSORS = 8192
MOST_DIMS = 8
LINE = 16  # bytes, of which every tensor takes a multiple
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.complex64, torch.complex128),
    )
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
Packed = tuple[str, bytes]


def pack(dtype: torch.dtype, shape: torch.Size, raw: bytes) -> Packed:
    """A tensor as a frame carries it: its description for the header, and its bytes.

    Raises:
        KeyError: if a frame cannot carry this dtype.
    """
    short = -len(raw) % LINE
    return _told(dtype, shape), raw + bytes(short) if short else raw


@functools.lru_cache(256)
def _told(dtype: torch.dtype, shape: torch.Size) -> str:
    return json.dumps([NAMES[dtype], list(shape)], separators=(",", ":"))


@dataclass(frozen=True)
class TensorSpec:
    """Where in a body a tensor is: its dtype and shape, how many numbers, from which byte on."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    count: int
    at: int

    def tensor(self, body: bytearray) -> Tensor:
        """The tensor, in the memory of the body."""
        if not self.count:
            return torch.empty(self.shape, dtype=self.dtype)
        if self.dtype is torch.bool:  # a forged truth may be a 7
            truths = torch.frombuffer(body, dtype=torch.uint8, count=self.count, offset=self.at)
            return truths.ne(0).view(self.shape)
        flat = torch.frombuffer(body, dtype=self.dtype, count=self.count, offset=self.at)
        return flat.view(self.shape)


def read_specs(told: object) -> tuple[list[TensorSpec], int]:
    """Where the tensors of a header are, and the bytes that they take.

    Raises:
        ValueError, TypeError: for nonsense.
    """
    if not isinstance(told, list) or len(told) > MOST_TENSORS:
        raise ValueError("malformed list of tensors")
    found, at = [], 0
    for name, shape in told:
        if not isinstance(name, str) or name not in DTYPES:
            raise ValueError("unknown dtype")
        if not isinstance(shape, list) or len(shape) > MOST_DIMS:
            raise ValueError("malformed shape")
        if not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
            raise ValueError("malformed shape")
        if math.prod(n or 1 for n in shape) >= 1 << 60:  # no strides for that, even if it is empty
            raise ValueError("malformed shape")
        place = TensorSpec(DTYPES[name], tuple(shape), math.prod(shape), at)
        found.append(place)
        at += -(-place.count * place.dtype.itemsize // LINE) * LINE
    return found, at
