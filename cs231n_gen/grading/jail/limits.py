"""What a child may use."""

from dataclasses import asdict, dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """The limits of one child: of an exercise, which gets a child for itself where it is not right.

    Args:
        wall, cpu: seconds.
        memory: bytes that it may allocate on top of what it inherits.
        processes: processes and threads at one time.
        files: open descriptors.
        scratch, inodes: bytes and files of its disk in memory.
        output: characters kept of what it prints.
        answer, answers: bytes of one answer, and of all.
    """

    wall: float = 30.0
    cpu: int = 20
    memory: int = 2048 * MIB
    processes: int = 64
    files: int = 64
    scratch: int = 32 * MIB
    inodes: int = 1000
    output: int = 4000
    answer: int = 16 * MIB
    answers: int = 128 * MIB

    def to_json(self) -> dict:
        """As plain values."""
        return asdict(self)
