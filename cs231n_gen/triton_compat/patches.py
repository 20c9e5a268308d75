"""What Triton's interpreter does otherwise than a GPU, put right: `install()`.

Four things, from Triton 3.6 to 3.9: arithmetic of bfloat16 (`bfloat16`); products of float32 tiles,
which a GPU rounds to TF32 unless it is told not to (`tf32`); `@triton.autotune`, which asks the
driver of a GPU for a clock; and a float among a launch's arguments, a number of float32 on a GPU
and one of Python in the interpreter, which knows no `scale.to(tl.float32)`.
"""

import contextlib
import functools
from collections.abc import Iterator

import torch

from cs231n_gen.triton_compat import bfloat16, hooks, tf32
from cs231n_gen.triton_compat.available import HAVE_TRITON, tl, triton

if HAVE_TRITON:
    from triton.backends.compiler import GPUTarget
    from triton.backends.driver import DriverBase
else:
    GPUTarget = DriverBase = object

_installed = contextlib.ExitStack()  # holds what is put right until the process ends


class InterpretersDriver(DriverBase):
    """Stands in for the driver of a GPU; the first of several configurations is the best."""

    def __init__(self) -> None:
        pass

    @classmethod
    def is_active(cls) -> bool:
        """Yes, while it is installed."""
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        """Nothing is compiled: the type as it is."""
        return ty

    def get_current_target(self) -> "GPUTarget":
        """The GPU that the course compiles for."""
        return GPUTarget("cuda", 90, 32)

    def get_active_torch_device(self) -> torch.device:
        """Where tensors of interpreted kernels are."""
        return torch.device("cpu")

    def get_benchmarker(self):
        """Time means nothing in an interpreter: every configuration takes none, and is not run."""

        def benchmark(kernel_call, quantiles=None, **options):
            return [0.0] * len(quantiles) if quantiles else 0.0

        return benchmark


@contextlib.contextmanager
def mended() -> Iterator[None]:
    """As `install`, until the end of the block.

    Raises:
        RuntimeError: as `install`.
    """

    def driver(before):
        owner, _ = hooks.find("driver._active")
        try:
            return before or owner.default  # of a GPU that is there
        except RuntimeError:
            return InterpretersDriver()

    def convert(plain):
        def converted(value):
            if isinstance(value, float):
                return tl.tensor(builder.get_fp32(value), tl.float32)
            return plain(value)

        return converted

    owner, name = hooks.find("interpreter.interpreter_builder")
    builder = getattr(owner, name)
    with contextlib.ExitStack() as hooked:
        hooked.enter_context(tf32.mended())
        hooked.enter_context(bfloat16.mended())
        hooked.enter_context(hooks.replaced("driver._active", driver))
        hooked.enter_context(hooks.replaced(hooks.CONVERT, convert))
        yield


@functools.cache
def install() -> None:
    """Let kernels in the interpreter of this process do what they do on a GPU.

    A second call does nothing. To be called outside of `Audit`, which puts back what it found.

    Raises:
        RuntimeError: if Triton is missing, compiles in this process, or has another interpreter
            than this knows.
    """
    _installed.enter_context(mended())


def broken() -> dict[str, str]:
    """What is not as on a GPU in the interpreter now, by name, and what happens instead.

    Raises:
        RuntimeError: if Triton is missing, or compiles in this process.
    """
    hooks.find(hooks.CONVERT)
    found = {}
    for name, expected in _expected().items():
        out = torch.full((_B,), -100.0, dtype=torch.bfloat16)
        try:
            if name == "autotune":
                sizes = [triton.Config({"B": _B}), triton.Config({"B": 2 * _B})]
                triton.autotune(sizes, key=["n"])(_fill)[(1,)](out, len(out))
            else:
                _calculate[(1,)](_X, _Y, out, 1.5, name, _B)
        except Exception as error:
            found[name] = f"it fails: {error}"
            continue
        wrong = int((out.float() != expected.float()).sum())
        if wrong:
            found[name] = f"{wrong} of {_B} numbers are wrong"
    return found


def self_test() -> None:
    """See that nothing is `broken` any more.

    Raises:
        RuntimeError: what still is, and in which Triton.
    """
    left = broken()
    if left:
        said = "; ".join(f"{name}: {what}" for name, what in left.items())
        raise RuntimeError(
            f"Triton {triton.__version__} does not interpret kernels as a GPU runs them: call "
            f"patches.install() first, with Triton 3.6 to 3.9. {said}"
        )


# Eighths, whose sums and products are exact in float32; some are not in bfloat16.
_B = 16
_X = torch.tensor([k * 29 % 64 - 31.5 for k in range(_B)]).div(8).bfloat16()
_Y = torch.tensor([k * 13 % 32 - 15.5 for k in range(_B)]).div(8).bfloat16()


def _expected() -> dict[str, torch.Tensor]:
    x, y, ones = _X.float(), _Y.float(), torch.ones(_B)
    exact = {
        "x + y": x + y,
        "x - y": x - y,
        "x * y": x * y,
        "x / y": x / y,
        "-x": -x,
        "2.5 * x": 2.5 * x,
        "abs": x.abs(),
        "maximum": x.maximum(y),
        "clamp": x.clamp(-1, 1),
        "where": torch.where(x < y, x, y),
        "fma": x * y + x,
        "full": 1.25 * ones,
        "sum": x.sum() * ones,
        "max": x.max() * ones,
        "cumsum": x.cumsum(0),
        "argmin": x.argmin() * ones,
        "dot": x[:, None].mul(y).sum(1),
        "tf32": 1.25 * ones,  # (1 + 2⁻¹²) · 1.25, with the first one rounded
        "rounding": x * 1.2345,
        "of integers": torch.arange(_B),
        "to float64": x.double() * 3,
        "a float argument": 1.5 * x,
        "autotune": 2 * ones,
    }
    return {name: values.bfloat16() for name, values in exact.items()}


@triton.jit
def _calculate(x, y, out, scale, case: tl.constexpr, B: tl.constexpr):
    """One case in bfloat16."""
    i = tl.arange(0, B)
    X, Y = tl.load(x + i), tl.load(y + i)
    if case == "x + y":
        R = X + Y
    elif case == "x - y":
        R = X - Y
    elif case == "x * y":
        R = X * Y
    elif case == "x / y":
        R = X / Y
    elif case == "-x":
        R = -X
    elif case == "2.5 * x":
        R = 2.5 * X
    elif case == "abs":
        R = tl.abs(X)
    elif case == "maximum":
        R = tl.maximum(X, Y)
    elif case == "clamp":
        R = tl.clamp(X, -1.0, 1.0)
    elif case == "where":
        R = tl.where(X < Y, X, Y)
    elif case == "fma":
        R = tl.fma(X, Y, X)
    elif case == "full":
        R = tl.full((B,), 1.25, tl.bfloat16)
    elif case == "sum":
        R = tl.zeros((B,), tl.bfloat16) + tl.sum(X, 0)
    elif case == "max":
        R = tl.zeros((B,), tl.bfloat16) + tl.max(X, 0)
    elif case == "cumsum":
        R = tl.cumsum(X, 0)
    elif case == "argmin":
        R = (tl.zeros((B,), tl.int32) + tl.argmin(X, 0)).to(tl.bfloat16)
    elif case == "dot":
        zeros = tl.zeros((B, B), tl.bfloat16)
        R = tl.sum(tl.dot(X[:, None] + zeros, Y[:, None] + zeros), 1) / B
    elif case == "tf32":
        zeros = tl.zeros((B, B), tl.float32)
        P = tl.dot(zeros + (1 + 1 / 4096), zeros + 1.25) / B
        R = tl.where(tl.sum(P, 1) / B == 1.25, 1.25, 0.0).to(tl.bfloat16)
    elif case == "rounding":
        R = (X.to(tl.float32) * 1.2345).to(tl.bfloat16)
    elif case == "of integers":
        R = i.to(tl.bfloat16)
    elif case == "to float64":
        R = X.to(tl.float64) * 3
    else:
        R = X.to(tl.float32) * scale.to(tl.float32)
    tl.store(out + i, R)


@triton.jit
def _fill(out, n, B: tl.constexpr):
    """The number 2, in a block of any size."""
    i = tl.arange(0, B)
    tl.store(out + i, 2.0 + 0.0 * i, mask=i < n)
