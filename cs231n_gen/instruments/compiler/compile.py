"""What the GPU's compiler makes of the launches an interpreted run made, without a GPU.

    with record() as launched, interpreting():
        noising(x, z, t)
    for result in compile_launches(launches_of(launched)):
        print(result.launch.name, result.registers, result.problems())

A process that interprets cannot compile, and a compiler that is given tiles too large can take
minutes: each launch is compiled in another process (`compile_worker`), which is ended when it takes
too long. That process runs the file of the kernel.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from cs231n_gen.common.paths import ROOT
from cs231n_gen.instruments.compiler.launches import (
    Launch,
    Record,
    launches_of,
    record,
)
from cs231n_gen.triton_compat.available import require_triton

__all__ = [
    "TARGETS",
    "Compiled",
    "Compiler",
    "Launch",
    "Record",
    "compile_each",
    "compile_launches",
    "launches_of",
    "record",
]

TARGETS = (80, 90)
SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes one program may have: A100, H100 and H200
LIMIT = 60.0  # seconds for one launch on one target
LONGEST = 1 << 20  # bytes of an answer
CHILD = "cs231n_gen.instruments.compiler.compile_worker"
START = 120.0  # seconds until the other process listens: it imports torch and triton


@dataclass(frozen=True)
class Compiled:
    """The outcome of compiling one launch for one target.

    Attributes:
        launch: the launch.
        target: 80 or 90, the compute capability.
        registers: a thread's.
        spilled: bytes of registers that a thread writes to memory, for want of registers.
        shared: bytes of shared memory a program needs.
        loads, stores: instructions that read and write global memory.
        wide_loads, wide_stores: those among them that move 128 bits a thread, or more.
        block_loads, block_stores: how often the kernel, as it is written, reads or writes a block,
            where single numbers do not count.
        matrix: instructions that multiply matrices (HMMA, HGMMA and their like).
        wants_matrix: whether the kernel has a dot that such instructions can do.
        single: products of fp32 tiles, as the kernel is written.
        rounds: those among them, as the kernel is written, that are rounded to TF32.
        instructions: all of them.
        error, line, code: what the compiler said, the line of the file it said it about, and what
            stands there; empty if it compiled.
    """

    launch: Launch
    target: int
    registers: int = 0
    spilled: int = 0
    shared: int = 0
    loads: int = 0
    wide_loads: int = 0
    stores: int = 0
    wide_stores: int = 0
    block_loads: int = 0
    block_stores: int = 0
    matrix: int = 0
    wants_matrix: bool = False
    single: int = 0
    rounds: int = 0
    instructions: int = 0
    error: str = ""
    line: int | None = None
    code: str = ""

    def problems(self, wide: bool = True) -> list[str]:
        """What is wrong, each in a sentence without its subject, which is the kernel.

        Args:
            wide: whether 128-bit loads and stores are expected: not where a size is odd, or for a
                kernel that gathers.
        """
        if self.error:
            at = f" at line {self.line}" if self.line else ""
            code = f" (`{self.code}`)" if self.code else ""
            return [f"does not compile for sm_{self.target}{at}{code}: {self.error}"]
        found = []
        if self.spilled:
            found.append(f"spills {self.spilled} bytes of registers a thread: its tiles are large")
        if self.shared > SHARED[self.target]:
            needs, has = -(-self.shared // 1024), SHARED[self.target] // 1024
            found.append(f"needs {needs} KB of shared memory, the GPU has {has}")
        for kind in ("load", "store") if wide else ():
            if getattr(self, f"block_{kind}s") and not getattr(self, f"wide_{kind}s"):
                found.append(f"no 128-bit {kind}: {self._narrow()}")
        if self.wants_matrix and not self.matrix:
            found.append("a dot without matrix instructions")
        if self.rounds:
            found.append('a dot rounds fp32 to TF32: input_precision="ieee" keeps all 23 bits')
        halves = any(kind in ("*fp16", "*bf16") for kind in self.launch.signature.values())
        if halves and self.single and not self.rounds:
            says = "has a dot of fp32 tiles, though its tensors are in half precision: matrix"
            found.append(f"{says} instructions take them as they were loaded")
        return found

    def _narrow(self) -> str:
        why = "addresses are not contiguous or not aligned"
        if names := self.launch.unaligned:
            return f"{why} (not divisible by 16: {', '.join(names)})"
        return f"{why}, or a block is too small"


def compile_launches(
    launches: Iterable[Launch], targets: Sequence[int] = TARGETS, limit: float = LIMIT
) -> list[Compiled]:
    """Compile each launch for each target, and read the outcome.

    Triton keeps what it compiled (in TRITON_CACHE_DIR), so that a second time is quick.

    Args:
        launches: see `launches_of`.
        targets: 80 and 90, or one of them.
        limit: seconds for one launch on one target.
    Returns:
        Launch by launch, target by target.
    Raises:
        RuntimeError: if Triton is missing, or the other process does not start.
    """
    return list(compile_each(launches, targets, limit))


def compile_each(
    launches: Iterable[Launch], targets: Sequence[int] = TARGETS, limit: float = LIMIT
) -> Iterator[Compiled]:
    """The same, of which each result comes as soon as it is there."""
    require_triton()
    compiler = None
    try:
        for launch in launches:
            for target in targets:
                compiler = compiler or Compiler()
                yield compiler.compile(launch, target, limit)
                if compiler.dead:
                    compiler = None
    finally:
        if compiler is not None:
            compiler.end()


class Compiler:
    """The process that compiles.

    Args:
        command: how to start `compile_child`, if not with this Python as it is.
        env: of the process.
        options: of `subprocess.Popen`.
    Raises:
        RuntimeError: if it does not start.
    """

    def __init__(
        self, command: Sequence[str] = (), env: Mapping[str, str] | None = None, **options
    ):
        path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
        self.dead = False
        self._buffer = b""
        self._process = subprocess.Popen(
            command or [sys.executable, "-m", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TRITON_INTERPRET": "0", "PYTHONPATH": path} if env is None else env,
            start_new_session=True,  # the assembler is a child of it, and ends with it
            **options,
        )
        if self._line(START) != "ready":
            self.end()
            raise RuntimeError(f"the compiler does not start: {self._last_words or 'no answer'}")

    def compile(self, launch: Launch, target: int, limit: float = LIMIT) -> Compiled:
        """The outcome of compiling a launch; the process is `dead` if it took too long."""
        reply = self._ask({"launch": asdict(launch), "target": target}, limit)
        kinds = {name: type(field.default) for name, field in Compiled.__dataclass_fields__.items()}
        kinds["line"] = int
        if not isinstance(reply, dict) or any(
            type(v) is not kinds.get(k) for k, v in reply.items()
        ):
            reply = {"error": "malformed reply from the compiler"}
        return Compiled(launch, target, **reply)

    def _ask(self, request: dict, limit: float) -> object:
        """The answer to a request, an error if there is none in time."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        start = time.monotonic()
        reply = self._line(limit)
        if reply is not None:
            return reply
        self.end()
        if time.monotonic() - start >= limit:
            return {"error": f"the compiler took longer than {limit:g} s: its tiles are too large"}
        return {"error": "the compiler crashed"}

    def _line(self, limit: float):
        end = time.monotonic() + limit
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                return None
            reply = os.read(self._process.stdout.fileno(), 1 << 16)
            if not reply:
                return None
            self._buffer += reply
            if len(self._buffer) > LONGEST:
                return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return json.loads(line)
        except ValueError:
            return None

    def end(self) -> None:
        """End it, and whatever it started."""
        self.dead = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        _, said = self._process.communicate()  # which closes its pipes
        self._last_words = said.decode(errors="replace").strip().rpartition("\n")[2]
