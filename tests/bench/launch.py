"""What a wrapper pays on a GPU to ask which way to go: `python tests/bench/launch.py`.

No GPU is needed: the tensors only say that they are on one.
"""

import importlib
import timeit

from cs231n_gen.kernels import LADDER, launch

CALLS, REPEATS = 2000, 5


class OnGPU:
    """All of a tensor on a GPU that the question looks at."""

    is_cuda = True


def main() -> None:
    """Print microseconds for each call of `uses_kernel`, for each kernel's file."""
    if not launch.HAVE_TRITON:
        raise SystemExit("Triton is not installed: make setup EXTRAS=kernels (Linux only)")
    launch.INTERPRETED, slowest = False, 0.0
    for name in LADDER:
        names = vars(importlib.import_module(f"cs231n_gen.kernels.{name}"))
        exec("def ask(x, y):\n    return uses_kernel(x, y)", names)
        call = timeit.Timer("ask(x, y)", globals={"ask": names["ask"], "x": OnGPU, "y": OnGPU})
        assert names["ask"](OnGPU, OnGPU), f"{name} has a gap, or is not asked as on a GPU"
        micros = min(call.repeat(REPEATS, CALLS)) / CALLS * 1e6
        slowest = max(slowest, micros)
        print(f"{name:20} {micros:7.2f} µs")
    print(f"slowest {slowest:.2f} µs")


if __name__ == "__main__":
    main()
