"""What a run tells people when it cannot go on, in one line each."""

import os
import signal
import sys
import time
from pathlib import Path
from traceback import walk_tb

WAIT = 10  # seconds in which the process that speaks has surely spoken


class TrainingError(Exception):
    """A run cannot go on; the message says why and what to do, and `code` is the exit status."""

    code = 1


class BadOption(TrainingError):
    """An option that does not fit the others, the data or the processes."""

    code = 2


def speaks() -> bool:
    """Whether this process tells what happened: on each machine one does."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def say(text: str) -> None:
    """One line on the standard error stream."""
    print(text, file=sys.stderr, flush=True)


def leave(text: str, code: int, spoken: bool = False) -> int:
    """Say why the run ends, once a machine, and return the exit status.

    The first process that ends makes `torch.distributed.run` end the others. So those that are
    silent wait: else the one that speaks might be ended before it has spoken.
    """
    if speaks() or spoken:
        say(text)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(WAIT)
    return code


def unfinished(error: NotImplementedError) -> str:
    """Which function of the course is still to be written, from where the error was raised."""
    frame, line = list(walk_tb(error.__traceback__))[-1]
    path = Path(frame.f_code.co_filename)
    name = f"{path.stem}.{frame.f_code.co_qualname.removesuffix('.__init__')}"
    return (
        f"NotImplementedError: {name} is not written yet ({path.parent.name}/{path.name}, "
        f"line {line}); training needs it, so write it first"
    )
