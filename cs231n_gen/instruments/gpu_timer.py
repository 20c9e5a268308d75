"""How long something takes on a GPU, and what the GPU can do at best.

Every repeat finds the caches empty and gets inputs it has not just had; the clock is the GPU's own.
"""

import itertools
import statistics
from collections.abc import Callable, Sequence

import torch

FLUSH = 512 << 20  # bytes, several times what the largest L2 holds
AHEAD = 2_000_000  # cycles for which the GPU waits, so that Python is never waited for
REPEATS, WARMUP = 30, 5


class Clock:
    """Times functions on the GPU, in milliseconds."""

    def __init__(self):
        self._flush = torch.empty(FLUSH, dtype=torch.int8, device="cuda")

    def __call__(
        self,
        run: Callable,
        inputs: Sequence[tuple],
        prepare: Callable | None = None,
        repeats: int = REPEATS,
    ) -> float:
        """The median time of `run(*args)`.

        Args:
            run: what is timed.
            inputs: several sets of arguments, which take turns.
            prepare: makes what `run` is given from a set of arguments, outside the clock.
            repeats: how often it is timed.
        """
        times = []
        turns = itertools.islice(itertools.cycle(inputs), WARMUP + repeats)
        for args in turns:
            given = args if prepare is None else prepare(*args)
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self._flush.zero_()
            torch.cuda._sleep(AHEAD)
            start.record()
            out = run(*given)
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
            del out, given
        return statistics.median(times[WARMUP:])

    def bandwidth(self) -> float:
        """Bytes a second of a copy, those read and those written."""
        x = [torch.randn(1 << 28, device="cuda") for _ in range(2)]  # 1 GiB each
        ms = self(lambda a, b: a.copy_(b), [(x[0], x[1])])
        return 2 * x[0].nbytes / ms * 1e3
