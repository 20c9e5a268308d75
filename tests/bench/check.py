"""How long a check takes after the first call, aim under 0.3 s: `python tests/bench/check.py`."""

import statistics
import time

from cs231n_gen.checking.public_check import known_exercises, run_check

REPEATS = 7


def main() -> None:
    """Print the median of several calls of each check."""
    slowest = 0.0
    for exercise in known_exercises():
        run_check(exercise)
        seconds = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            run_check(exercise)
            seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds)
        slowest = max(slowest, median)
        print(f"{exercise:45} {median:6.3f} s  ({min(seconds):.3f} to {max(seconds):.3f})")
    print(f"slowest {slowest:.3f} s")


if __name__ == "__main__":
    main()
