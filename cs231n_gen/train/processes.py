"""The processes of a run: who is there, what they average, how they stop, and who was lost."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cs231n_gen.train.errors import BadOption

PATIENCE = timedelta(minutes=10)  # for a process that is busy: it may be reading images
TWICE = 3.0  # seconds after which another Ctrl-C is meant: one may arrive twice


class LostProcess(Exception):
    """Another process of the run has ended."""


class Processes:
    """The processes of a run, one alone if `torch.distributed.run` did not start it.

    rank, count: which process this is, and how many there are.
    device: where it computes.
    """

    def __init__(self):
        environment = os.environ
        self.distributed = "RANK" in environment and "WORLD_SIZE" in environment
        self.rank = int(environment.get("RANK", 0))
        self.count = int(environment.get("WORLD_SIZE", 1)) if self.distributed else 1
        local = int(environment.get("LOCAL_RANK", 0))
        self.device = torch.device("cpu")
        if torch.cuda.is_available():
            if local >= torch.cuda.device_count():
                raise BadOption(
                    f"this machine has {torch.cuda.device_count()} GPUs for more processes: set "
                    "--nproc-per-node to that, or CUDA_VISIBLE_DEVICES= to use CPUs"
                )
            self.device = torch.device("cuda", local)
            torch.cuda.set_device(self.device)
        self.here: list[tuple[int, int]] = []
        self.stopped_by = 0
        self._first = 0.0

    @property
    def backend(self) -> str:
        """What the processes talk by."""
        return "nccl" if self.device.type == "cuda" else "gloo"

    def join(self) -> None:
        """Meet the other processes."""
        if not self.distributed:
            return
        dist.init_process_group(self.backend, timeout=PATIENCE)
        everyone = [None] * self.count
        dist.all_gather_object(everyone, (socket.gethostname(), self.rank, os.getpid()))
        here = socket.gethostname()
        self.here = [(rank, pid) for host, rank, pid in everyone if host == here]

    def leave(self) -> None:
        """Part from them, when all went well."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def share_of(self, batch: int) -> range:
        """The places of a batch that are this process's.

        Raises:
            BadOption: if the processes cannot have equal shares.
        """
        if batch % self.count:
            raise BadOption(
                f"--batch must be a multiple of the {self.count} processes, got {batch}: gradients "
                "are averaged over processes, which is right for equal shares only"
            )
        share = batch // self.count
        return range(self.rank * share, (self.rank + 1) * share)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are those of the whole batch, and which is to be called."""
        if not self.distributed:
            return model
        on = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=on)

    def mean(self, loss: Tensor) -> tuple[float, bool]:
        """The mean loss over all processes, and whether any of them is to stop."""
        both = torch.stack([loss.detach().double(), loss.new_tensor(self.stopped_by > 0).double()])
        if self.distributed:
            dist.all_reduce(both)
        total, stops = both.tolist()
        return total / self.count, stops > 0

    def from_first(self, value: object) -> object:
        """What process 0 has, for everyone."""
        if not self.distributed:
            return value
        both = [value]
        dist.broadcast_object_list(both, src=0)
        return both[0]

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Let Ctrl-C and a request to end finish the step; a second Ctrl-C does not wait."""
        before = {n: signal.signal(n, self._stop) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number, frame) -> None:
        now = time.monotonic()
        if not self.stopped_by:
            self.stopped_by, self._first = number, now
        elif number == signal.SIGINT and not self.distributed and now - self._first > TWICE:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Turn the error that a lost process leads to into `LostProcess`, which says what is known.

        It looks at the processes of this machine; `torch.distributed.run` reports on all.
        """
        try:
            yield
        except NotImplementedError:  # a RuntimeError, too
            raise
        except RuntimeError as error:  # gloo's, and DistBackendError of NCCL
            if not self.distributed or not self._is_of_the_network(error):
                raise
            raise LostProcess(self._lost()) from error

    @staticmethod
    def _is_of_the_network(error: RuntimeError) -> bool:
        words = ("gloo", "peer", "connection", "nccl", "socket", "timed out")
        return isinstance(error, dist.DistError) or any(w in str(error).lower() for w in words)

    def _lost(self) -> str:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            for rank, pid in self.here:
                if pid != os.getpid() and (how := _end_of(pid)):
                    return f"process {rank} (pid {pid}) {how}"
            time.sleep(0.02)
        return "a process on another machine has ended"

    def tells(self) -> bool:
        """Whether this process tells of a lost one: the first on this machine that is left."""
        left = [pid for _, pid in self.here if pid == os.getpid() or not _end_of(pid)]
        return left[:1] == [os.getpid()]


def _end_of(pid: int) -> str:
    """How a process of this machine ended, as far as that can be seen; empty if it runs."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return "has ended (torch.distributed.run says how)"
        except OSError:
            pass
        return ""
    if state[0] not in "ZX":
        return ""
    status = int(state[-1])  # as waitpid reports it, until the parent has asked for it
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"was killed by signal {number} ({signal.Signals(number).name})"
    return f"ended with exit code {os.WEXITSTATUS(status)}"
