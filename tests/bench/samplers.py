"""Samplers beside diffusers' and k-diffusion's: quality against calls of one net, and own time.

    python tests/bench/samplers.py [--repeats 5] [--points 2000] [--quick] [--json FILE]

Quality: everyone asks the same net, a velocity of rectified flow in the plane, and starts from the
same noise. The net is exact (the ring's field in closed form) or trained, a new one each repeat.
Samplers without noise are judged by their error, the mean distance from where the net's own flow
ends, followed without error (`truth.follow`); all by the energy distance of their samples to the
density. A library takes part with its default levels and, where it can, with others. What `×` says
is the median over repeats of its error divided by that of our first row of the family, with the
range: above 1 ours is better. Where process and levels are equal ("Karras"; "even in t"; "cosine"),
so are the samples.

Time: the samplers walk with a model that returns a tensor made before, so it is the loop's own;
what diffusers' `set_timesteps` takes counts for nobody. CPU time on one thread, everyone in turn,
each repeat the median of many walks; ratios are taken within a repeat.
"""

import argparse
import copy
import functools
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from sampler_rivals import DETERMINISTIC, FAMILIES, STRAIGHT, VELOCITY, everyone, versions
from scipy import stats

from cs231n_gen import diffusion_samplers, flow, truth
from cs231n_gen.common.files import write_whole
from cs231n_gen.experiments.schedule_trial import energy_distance
from cs231n_gen.given.processes import even_in_t
from cs231n_gen.given.toys import ring
from cs231n_gen.given.unet import UNet

CALLS = (5, 10, 20, 50)
STEPS = 20  # of a walk whose time is taken
SHAPES = ((64, 1, 16, 16), (2000, 2))
TRAINING = 1500  # steps of 1024 points
SURE = 0.95  # confidence that all words of a table hold at once


# ---- quality


class Counted:
    """A net that counts how often it is asked."""

    def __init__(self, net):
        self.net, self.calls = net, 0

    def __call__(self, x, t):
        self.calls += 1
        return self.net(x, t)


def trained(data, seed):
    """The net of chapter 04, in float64 once it is trained: rounding is not to be compared."""
    torch.manual_seed(seed)
    net = flow.VelocityMLP()
    generator = torch.Generator().manual_seed(seed)

    def draw(n, generator):
        return data.sample(n, generator), None

    flow.train(net, draw, TRAINING, generator=generator, progress=False)
    return copy.deepcopy(net).double().requires_grad_(False)


def true_end(net, z):
    """Where the net's own flow carries z."""
    return truth.follow(lambda x, t: net(x, x.new_full((len(x),), t)), z, [1, 0])[-1]


def judged(contestants, net, mixture, points, seed):
    """A row for each contestant and number of calls: its error and its energy distance."""
    z = torch.randn(points, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    end, rows = true_end(net, z), []
    for contestant in contestants:
        for calls in CALLS:
            walk, counted = contestant.prepare(contestant.steps(calls)), Counted(net)
            with torch.no_grad():
                x = walk.run(walk.model_of(counted), z, 1000 + seed).double()
            allowed = (calls, calls - 1) if contestant.family == "Heun" else (calls,)
            assert counted.calls in allowed, f"{contestant.name}: {counted.calls} of {calls} calls"
            rows.append(
                {
                    "name": contestant.name,
                    "family": contestant.family,
                    "calls": calls,
                    "seed": seed,
                    "error": (x - end).norm(dim=1).mean().item(),
                    "energy": energy_distance(x, mixture).item(),
                }
            )
    return rows


def of(rows, key, **wanted):
    """One number of the rows that fit, by repeat."""
    return [row[key] for row in rows if all(row[k] == v for k, v in wanted.items())]


def error_table(title, rows, contestants):
    """Errors as ratios to our first row."""
    out = Table("", *(f"{calls} calls" for calls in CALLS), title=title)
    for family in DETERMINISTIC:
        names = [c.name for c in contestants if c.family == family]
        out.add_section()
        out.add_row(family + (", one call less" if family == "Heun" else ""))
        for name in names:
            cells = []
            for calls in CALLS:
                mine, first = (
                    of(rows, "error", name=n, family=family, calls=calls) for n in (name, names[0])
                )
                ratio = [m / f for m, f in zip(mine, first, strict=True)]
                cell = spread(mine, "{:.3g}") if name == names[0] else "× " + spread(ratio)
                cells.append(cell)
            out.add_row(name, *cells)
    return out


def energy_table(title, rows, contestants, real):
    """Energy distances, and whether the difference to our first row is sure."""
    out = Table("", *(f"{calls} calls" for calls in CALLS), title=title)
    for family in FAMILIES:
        names = [c.name for c in contestants if c.family == family]
        out.add_section()
        out.add_row(family + (", one call less" if family == "Heun" else ""))
        for name in names:
            cells = []
            for calls in CALLS:
                mine, first = (
                    of(rows, "energy", name=n, family=family, calls=calls) for n in (name, names[0])
                )
                word = "" if name == names[0] else verdict(mine, first, len(contestants))
                cells.append(f"{mean_and_spread(mine)} {word}")
            out.add_row(name, *cells)
    out.caption = f"× 1000, mean ± spread; real data get {mean_and_spread(real)}"
    return out


def verdict(mine, first, comparisons):
    """Whether a difference within repeats is clear: Student's t with Bonferroni's correction."""
    d = torch.tensor(mine) - torch.tensor(first)
    if len(d) < 2:
        return ""
    quantile = stats.t.ppf(1 - (1 - SURE) / (2 * comparisons), len(d) - 1)
    clear = d.mean().abs() > quantile * d.std() / len(d) ** 0.5
    return ("worse" if d.mean() > 0 else "better") if clear else "–"


# ---- time


def own_times(contestants, shape, repeats, walks):
    """CPU seconds a step, a list over repeats for each contestant: everyone has a turn in each."""
    z, answer = torch.randn(shape), torch.randn(shape)
    ready = [c.prepare(STEPS) for c in contestants]
    taken = {id(c): [[] for _ in range(repeats)] for c in contestants}
    for repeat in range(repeats):
        for k in range(walks + 1):
            turn = k % len(ready)
            order = list(zip(contestants, ready, strict=True))
            for contestant, walk in order[turn:] + order[:turn]:
                start = time.process_time()
                walk.run(lambda *_: answer, z, None)
                if k:  # the first round warms up
                    seconds = (time.process_time() - start) / STEPS
                    taken[id(contestant)][repeat].append(seconds)
    return {key: [statistics.median(t) for t in times] for key, times in taken.items()}


def time_table(shape, times, contestants):
    """Microseconds a step, and ratios of ours to the fastest of the libraries."""
    out = Table(
        "", "µs a step", "first of ours / it", title=f"{'×'.join(map(str, shape))}, {STEPS} steps"
    )
    for family in FAMILIES:
        them = [c for c in contestants if c.family == family]
        first, out_of = times[id(them[0])], [c for c in them if not c.name.startswith("ours")]
        out.add_section()
        out.add_row(family)
        best = min(out_of, key=lambda c: statistics.median(times[id(c)]), default=None)
        for c in them:
            mine = times[id(c)]
            ratio = [f / m for f, m in zip(first, mine, strict=True)]
            out.add_row(
                c.name + (" (the fastest)" if c is best else ""),
                spread([1e6 * t for t in mine], "{:.0f}"),
                "1" if c is them[0] else spread(ratio),
            )
    return out


def share_of_the_loop(times, shape):
    """What our loop takes beside a call of the garments' U-Net."""
    net, x = UNet().eval(), torch.randn(shape)
    taken = []
    with torch.no_grad():
        for _ in range(4):
            start = time.process_time()
            diffusion_samplers.sample(net, x, even_in_t(2), STRAIGHT, VELOCITY)
            taken.append((time.process_time() - start) / 2)
    call = statistics.median(taken[1:])
    return call, {c.family: statistics.median(times[id(c)]) / call for c in firsts()}


def firsts():
    """Our first contestant of each family."""
    contestants, _ = everyone_once()
    return [next(c for c in contestants if c.family == family) for family in FAMILIES]


everyone_once = functools.cache(everyone)


# ---- all of it


def spread(values, form="{:.2f}"):
    """Median and range."""
    text, low, high = (form.format(f(values)) for f in (statistics.median, min, max))
    return text if len(values) == 1 else f"{text} ({low}–{high})"


def mean_and_spread(values):
    """Mean and standard deviation, × 1000."""
    off = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{1000 * statistics.mean(values):.2f} ± {1000 * off:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--walks", type=int, default=40, help="in each repeat of the times")
    parser.add_argument("--quick", action="store_true", help="1 repeat: does it still run?")
    parser.add_argument("--json", type=Path, help="also write every number there")
    options = parser.parse_args()
    repeats, points, walks = options.repeats, options.points, options.walks
    if options.quick:
        repeats, points, walks = 1, 500, 3
    torch.set_num_threads(1)
    console = Console(width=None if sys.stdout.isatty() else 150)
    contestants, left_out = everyone_once()
    print(versions(), *left_out, sep="\n")
    results = {"versions": versions(), "quality": {}, "times": {}}

    for shape in SHAPES:
        times = own_times(contestants, shape, repeats, walks)
        console.print(time_table(shape, times, contestants))
        results["times"][str(shape)] = {f"{c.family}: {c.name}": times[id(c)] for c in contestants}
        if len(shape) == 4:
            call, shares = share_of_the_loop(times, shape)
            text = ", ".join(f"{family} {share:.1%}" for family, share in shares.items())
            print(f"a call of the U-Net takes {1000 * call:.1f} ms, the loop beside it: {text}")
            results["unet"] = {"call": call, "shares": shares}

    data = ring()
    for kind in ("exact", "trained"):
        rows, real = [], []
        for seed in range(repeats):
            print(f"{kind} net, repeat {seed} …", file=sys.stderr)
            net = data.mixture.velocity if kind == "exact" else trained(data, seed)
            rows += judged(contestants, net, data.mixture, points, seed)
            fresh = data.sample(points, torch.Generator().manual_seed(2000 + seed))
            real.append(energy_distance(fresh, data.mixture).item())
        console.print(error_table(f"{kind} net: error of the end point", rows, contestants))
        console.print(energy_table(f"{kind} net: energy distance", rows, contestants, real))
        results["quality"][kind] = {"rows": rows, "real": real}
    if options.json:
        write_whole(options.json, json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
