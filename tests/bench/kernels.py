"""The kernels against what the GPU can do, and against what else a user would call.

    python tests/bench/kernels.py [--only axpy,noising] [--dtypes float32,bfloat16] [--save]

On a GPU: time, bytes or operations a second, their share of what this GPU reached in the same run
when it copied or multiplied matrices, and how many times as long eager torch, `torch.compile`,
torch's own attention and Liger take. Without a GPU: what the compiler makes of each kernel for
sm_80 and sm_90, ahead of time.
"""

import argparse
import importlib
import json
import platform
import re
from pathlib import Path

import torch
from kernel_cases import CASES, Draw, with_leaves
from kernel_rivals import RANDOM, rivals

from cs231n_gen.common.files import write_whole
from cs231n_gen.instruments.compiler.compile import compile_each, launches_of, record
from cs231n_gen.instruments.gpu_timer import Clock
from cs231n_gen.kernels.launch import HAVE_TRITON, INTERPRETED, interpreting, triton

RESULTS = Path(__file__).parent / "results"
SETS = 3  # of inputs, which take turns
FAR = 0.05  # of the largest value: a rival that is further off computes something else
RIVALS = ("eager", "compiled", "sdpa", "liger")


def as_tuple(out):
    return out if isinstance(out, tuple) else (out,)


def phases(case, function):
    """For each phase of a case: what is timed, and what is made ready before."""

    def forward(*args):
        with torch.no_grad():
            return function(*args)

    def graph(*args):
        given, leaves = with_leaves(case, args)
        outs = [o for o in as_tuple(function(*given)) if o.requires_grad]
        return outs, leaves, [torch.ones_like(o) for o in outs]

    def both(given, leaves):
        outs = [o for o in as_tuple(function(*given)) if o.requires_grad]
        return torch.autograd.grad(outs, leaves, [torch.ones_like(o) for o in outs])

    ways = {
        "forward": (forward, None),
        "backward": (torch.autograd.grad, graph),
        "both": (both, lambda *args: with_leaves(case, args)),
    }
    return {phase: ways[phase] for phase in case.work}


def agrees(ours, theirs):
    """Whether a rival computes the same: nearly the same numbers, or nearly always the index."""
    for a, b in zip(as_tuple(ours), as_tuple(theirs), strict=False):
        if not a.is_floating_point():
            same = (a == b).double().mean() > 1 - FAR
        else:
            same = (a.double() - b.double()).abs().max() <= FAR * a.double().abs().max()
        if not same:
            return False
    return True


def measure(case, dtype, clock, best):
    """A row for each phase of a case."""
    module = importlib.import_module(f"cs231n_gen.kernels.{case.name}")
    ours = getattr(module, case.function)
    sets = [case.inputs(Draw(dtype, "cuda", seed), **case.large) for seed in range(SETS)]
    others, rows = rivals(case), []
    for phase, (run, prepare) in phases(case, ours).items():
        ms = clock(run, sets, prepare)
        unit, amount = case.amount(phase, dtype)
        rate = amount / ms * 1e3
        row = {
            "kernel": case.title,
            "phase": phase,
            "dtype": str(dtype).removeprefix("torch."),
            "size": case.large,
            "ms": ms,
            unit: rate,
            "of the best": rate / best[unit, dtype],
        }
        for name, functions in others.items():
            row[name] = against(case, phase, functions, ours, sets, clock, ms)
        rows.append(row)
    return rows


def against(case, phase, functions, ours, sets, clock, ms):
    """How many times as long the best of a rival's ways takes; in words if none does it."""
    times, why = [], "absent"
    for function in functions:
        try:
            with torch.no_grad():
                same = agrees(ours(*sets[0]), function(*sets[0]))
            if not same and case.title not in RANDOM:
                why = "differs"
                continue
            run, prepare = phases(case, function)[phase]
            times.append(clock(run, sets, prepare))
        except Exception as error:
            why = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:100]}"
    return min(times) / ms if times else why


def matrix_rate(clock, dtype, n=8192):
    """Floating-point operations a second of a product of matrices."""
    a, b = (torch.randn(n, n, device="cuda").to(dtype) for _ in range(2))
    return 2 * n**3 / clock(torch.mm, [(a, b), (b, a)]) * 1e3


def on_gpu(cases, dtypes):
    """Everything that is measured, as it is saved."""
    clock = Clock()
    copied = clock.bandwidth()
    rates = {dtype: matrix_rate(clock, dtype) for dtype in dtypes}
    best = {("bytes/s", d): copied for d in dtypes} | {("FLOP/s", d): rates[d] for d in dtypes}
    print(f"{torch.cuda.get_device_name()}: copies {copied / 1e9:.0f} GB/s", end="")
    print("".join(f", {d} {rate / 1e12:.0f} TFLOP/s" for d, rate in rates.items()), flush=True)
    rows = []
    for case in cases:
        for dtype in dtypes:
            torch.compiler.reset()
            torch.cuda.empty_cache()
            for row in measure(case, dtype, clock, best):
                rows.append(row)
                print(in_line(row), flush=True)
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "copy, bytes/s": copied,
        "matrices, FLOP/s": {str(d): rate for d, rate in rates.items()},
        "rows": rows,
    }


HEADER = (
    f"{'kernel':20}{'phase':10}{'dtype':10}{'ms':>9}{'rate':>14}{'of best':>9}"
    + "".join(f"{name:>10}" for name in RIVALS)
    + "  size"
)


def in_line(row):
    rate = f"{row['bytes/s'] / 1e9:.0f} GB/s" if "bytes/s" in row else ""
    rate = rate or f"{row['FLOP/s'] / 1e12:.1f} TFLOP/s"
    times = [row.get(name, "") for name in RIVALS]
    cells = "".join(f"{f'{t:.2f} ×' if isinstance(t, float) else t[:9]:>10}" for t in times)
    size = " ".join(f"{k}={v}" for k, v in row["size"].items())
    start = f"{row['kernel']:20}{row['phase']:10}{row['dtype']:10}{row['ms']:9.3f}{rate:>14}"
    return f"{start}{row['of the best']:9.1%}{cells}  {size}"


def write(path, found):
    """What was found, as JSON."""
    write_whole(path, json.dumps(found, indent=1))


def ahead_of_time(cases, dtypes):
    """What the compiler makes of each launch of each case."""
    print(
        f"{'kernel':20}{'function':22}{'dtype':10}{'for':>6}{'regs':>6}{'spills':>8}{'shared':>9}"
        f"{'wide loads':>12}{'wide stores':>13}{'matrix':>8}{'instr.':>8}"
    )
    rows, named = [], []

    def launches():
        for case in cases:
            for dtype in dtypes:
                for launch in launched(case, dtype):
                    named.append((case.title, str(dtype).removeprefix("torch.")))
                    yield launch

    for r in compile_each(launches()):
        title, dtype = named[-1]
        print(
            f"{title:20}{r.launch.name:22}{dtype:10}{r.target:6}{r.registers:6}"
            f"{f'{r.spilled} B':>8}{f'{r.shared / 1024:.1f} KB':>9}"
            f"{f'{r.wide_loads} / {r.loads}':>12}{f'{r.wide_stores} / {r.stores}':>13}"
            f"{r.matrix:8}{r.instructions:8}  {'; '.join(r.problems())}",
            flush=True,
        )
        numbers = {k: v for k, v in vars(r).items() if k != "launch"}
        rows.append({"kernel": title, "function": r.launch.name, "dtype": dtype, **numbers})
        rows[-1]["problems"] = r.problems()
    return {"device": "none", "triton": triton.__version__, "rows": rows}


def launched(case, dtype):
    """The launches of a case at its large size, of which none is made."""
    module = importlib.import_module(f"cs231n_gen.kernels.{case.name}")
    args = case.inputs(Draw(dtype, "cpu", filled=False), **case.large)
    with record(run=False) as records, interpreting():
        for run, prepare in phases(case, getattr(module, case.function)).values():
            run(*(args if prepare is None else prepare(*args)))
    return launches_of(records)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="kernels, with commas between them")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="likewise; also float16")
    parser.add_argument("--json", type=Path, help="write every number there")
    parser.add_argument("--save", action="store_true", help="or to results/<name of the GPU>.json")
    options = parser.parse_args()
    only = options.only.split(",") if options.only else [case.name for case in CASES]
    if unknown := set(only) - {case.name for case in CASES}:
        parser.error(f"there is no kernel {', '.join(sorted(unknown))}")
    cases = [case for case in CASES if case.name in only]
    dtypes = [getattr(torch, name) for name in options.dtypes.split(",")]
    if not HAVE_TRITON:
        print("Triton is not installed: make setup EXTRAS=kernels (Linux only)")
        return
    if torch.cuda.is_available() and not INTERPRETED:
        print(HEADER)
        found = on_gpu(cases, dtypes)
    else:
        print("No GPU is used: this is what the compiler makes of the kernels, ahead of time.")
        found = ahead_of_time(cases, dtypes)
    if options.save or options.json:
        place = re.sub(r"\W+", "-", found["device"]).lower()
        write(options.json or RESULTS / f"{place}.json", found)


if __name__ == "__main__":
    main()
