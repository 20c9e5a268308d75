"""The memory that a launch may touch, byte by byte, and what is found to be wrong with it."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

NOBODY, SEVERAL, ATOMIC = -1, -2, -3  # instead of the number of a program


@dataclass(frozen=True)
class AccessFault:
    """One kind of fault of a kernel, at one argument.

    Args:
        fault: `reads outside`, `writes outside`, or what kind of race it is.
        kernel, argument: their names.
        program: the first one it happened in.
        lanes, programs: how many it happened in.
        element: the first place concerned, counted from the argument's first element.
    """

    fault: str
    kernel: str
    argument: str
    program: tuple[int, int, int]
    lanes: int
    programs: int
    element: int

    def __str__(self) -> str:
        lanes = "1 lane" if self.lanes == 1 else f"{self.lanes} lanes"
        more = self.programs - 1
        others = f", as {more} more {'do' if more > 1 else 'does'}" if more else ""
        return (
            f"{self.kernel}, argument {self.argument}: program {self.program} "
            f"{self.fault}{others}: {lanes}, first at element {self.element}"
        )


@dataclass
class Memory:
    """The bytes of one storage, and who touched them in the launch that runs."""

    storage: torch.UntypedStorage
    stored: np.ndarray = field(init=False)
    loaded: np.ndarray = field(init=False)
    writer: np.ndarray = field(init=False)
    reader: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.begin, self.size = self.storage.data_ptr(), self.storage.nbytes()
        self.stored, self.loaded = np.zeros(self.size, bool), np.zeros(self.size, bool)
        self.new_launch()

    def new_launch(self) -> None:
        """Forget who touched what: launches come one after the other."""
        self.writer = np.full(self.size, NOBODY, np.int32)
        self.reader = np.full(self.size, NOBODY, np.int32)

    def view(self, values: np.ndarray, t: Tensor) -> Tensor:
        """Values of bytes, seen through the strides of a tensor: (*shape, bytes of an element)."""
        width, offset = t.element_size(), t.data_ptr() - self.begin
        strides = [s * width for s in t.stride()]
        return torch.from_numpy(values).as_strided((*t.shape, width), (*strides, 1), offset)


@dataclass(frozen=True)
class Argument:
    """A tensor of a launch; `legal` marks the bytes of its elements, `first` is the number of its
    first one."""

    name: str
    tensor: Tensor
    memory: Memory
    legal: np.ndarray
    first: int = 0
