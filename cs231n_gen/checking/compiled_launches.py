"""What the GPU's compiler says of launches that a student's code made (`instruments.compiler`)."""

import atexit
import hashlib
from collections.abc import Callable
from pathlib import Path

from cs231n_gen.checking import expect
from cs231n_gen.instruments.compiler.compile import Compiled, Compiler
from cs231n_gen.instruments.compiler.launches import Launch

TARGET = 90  # an H100, or an H200
LIMIT = 60.0  # seconds for one launch
MOST = 16  # launches of one call of a wrapper
FORM = {"file": str, "module": str, "name": str, "signature": dict, "constexprs": dict}
FORM |= {"aligned": list | tuple, "num_warps": int, "num_stages": int}

_compiler: Compiler | None = None
_known: dict[str, Compiled] = {}


def launches_in(told: object) -> list[Launch]:
    """Launches as `observe.launches` tells of them, each once.

    Raises:
        PropertyFailed: if it tells of something else.
    """
    good = isinstance(told, list) and len(told) <= MOST
    good = good and all(isinstance(one, dict) and one.keys() == FORM.keys() for one in told)
    good = good and all(isinstance(one[k], kind) for one in told for k, kind in FORM.items())
    good = good and all(1 <= one["num_warps"] <= 32 for one in told)
    expect.true(good, "the instruments were tampered with")
    return [Launch(**one | {"aligned": tuple(one["aligned"])}) for one in told]


def problems(
    told: object, compile_one: Callable[[Launch], Compiled | None], wide: bool
) -> list[list[str]]:
    """What is wrong with each launch, in sentences.

    Args:
        told: see `launches_in`.
        compile_one: answers with None for a kernel that is not the student's, which is left out.
        wide: whether loads and stores of 128 bits are expected.
    """
    compiled = [compile_one(launch) for launch in launches_in(told)]
    return [one.problems(wide) for one in compiled if one is not None]


def compile_here(launch: Launch) -> Compiled:
    """Compile a launch in a process that lives on, or remember the outcome."""
    global _compiler
    source = Path(launch.file)
    text = source.read_bytes() if source.is_file() else b""
    key = hashlib.sha256(text + repr(launch).encode()).hexdigest()
    if key not in _known:
        if _compiler is None or _compiler.dead:
            _compiler = Compiler()
            atexit.register(_compiler.end)
        _known[key] = _compiler.compile(launch, TARGET, LIMIT)
    return _known[key]
