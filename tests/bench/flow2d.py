"""Rectified flow in the plane: this package beside torchcfm, flow_matching and diffusers.

    python tests/bench/flow2d.py [--seeds 5] [--seconds 20] [--threads 1] [--quick] [--json FILE]

Everyone trains the same net (`VelocityMLP()`) on the same data for the same CPU time, and makes
2000 points in 50 Euler steps. The libraries are used as their own examples do: their path, their
solver, a plain Adam loop at 1e-3, the batch of the example. "… path, our loop" puts a library's
path into this package's loop instead: what then still differs is the path code, and what is gone
came from the loop (batch, learning rate and its schedule, average of the weights).

Time is the CPU time of the process, so that other programs cost nobody anything; within a seed the
runs follow each other in an order that turns from seed to seed. Ratios are taken within a seed.
"""

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from flow_matching.path import AffineProbPath
from flow_matching.path.scheduler import CondOTScheduler
from flow_matching.solver import ODESolver
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
from torchdiffeq import odeint

from cs231n_gen import flow, training
from cs231n_gen.common.files import write_whole
from cs231n_gen.given.data import moons, ring
from cs231n_gen.given.metrics import energy_distance

POINTS, STEPS = 2000, 50  # samples made, Euler steps: what the targets of chapter 04 speak of
LADDER = 6  # the budgets tried for "time to equal quality" are seconds / 2, / 4, …, / 64


# ---- the four, each in its own convention: a batch (x_t, time, velocity) and a sampler


def course_path(x):
    z, t = torch.randn_like(x), torch.rand(len(x))
    x_t, v = flow.interpolate(x, z, t)
    return x_t, t, v


MATCHER = ConditionalFlowMatcher(sigma=0.0)
AFFINE = AffineProbPath(scheduler=CondOTScheduler())
SCHEDULER = FlowMatchEulerDiscreteScheduler()


def torchcfm_path(x):
    t, x_t, u_t = MATCHER.sample_location_and_conditional_flow(torch.randn_like(x), x)
    return x_t, t, u_t


def flow_matching_path(x):
    sample = AFFINE.sample(t=torch.rand(len(x)), x_0=torch.randn_like(x), x_1=x)
    return sample.x_t, sample.t, sample.dx_t


def diffusers_path(x):
    # written out as in its training scripts: `scale_noise` looks its levels up row by row
    noise = torch.randn_like(x)
    step = torch.randint(SCHEDULER.config.num_train_timesteps, (len(x),))
    sigma = SCHEDULER.sigmas[step][:, None]
    return (1 - sigma) * x + sigma * noise, SCHEDULER.timesteps[step] / 1000, noise - x


def torchcfm_sample(net, z):
    # torchdiffeq as in its CIFAR-10 example; torchdyn, in its notebooks, needs torchvision
    levels = torch.linspace(0, 1, STEPS + 1)
    with torch.no_grad():
        return odeint(lambda t, x: net(x, t.expand(len(x))), z, levels, method="euler")[-1]


def flow_matching_sample(net, z):
    solver = ODESolver(velocity_model=lambda x, t: net(x, t.expand(len(x))))
    return solver.sample(x_init=z, method="euler", step_size=1 / STEPS)


def diffusers_sample(net, z):
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / STEPS, STEPS))  # as the FLUX pipeline does
    with torch.no_grad():
        for timestep in scheduler.timesteps:
            v = net(z, timestep.expand(len(z)) / 1000)
            z = scheduler.step(v, timestep, z, return_dict=False)[0]
    return z


def course_sample(net, z):
    return flow.sample(net, z, STEPS)


def their_velocity(net):
    """The course's velocity of a net trained with t = 0 at the noise: t and v change sign."""
    return lambda x_t, t: -net(x_t, 1 - t)


# ---- the loops


def plain_loop(path, batch):
    """What the examples of the libraries write: Adam at a constant 1e-3, no average."""

    def train(net, draw, seconds):
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        start, steps = time.process_time(), 0
        while time.process_time() - start < seconds:
            optimizer.zero_grad()
            x_t, t, v = path(draw(batch))
            loss = F.mse_loss(net(x_t, t), v)
            loss.backward()
            optimizer.step()
            steps += 1
        return steps

    return train


def our_loop(path):
    """The loop of `flow.train` around another path."""

    def run_steps(net, draw, steps):
        with training.Run(net, steps, label="bench") as run:
            for _ in run:
                x_t, t, v = path(draw(1024))
                loss = F.mse_loss(net(x_t, t), v)
                run.optimizer.zero_grad()
                loss.backward()
                run.optimizer.step()
                run.record(loss)

    return timed(run_steps)


def course_train(net, draw, steps):
    flow.train(net, lambda n, generator: (draw(n), None), steps)


def timed(run_steps):
    """Train for a CPU time instead of a number of steps: measure a step on a spare net first."""

    def train(net, draw, seconds):
        spare = flow.VelocityMLP()
        run_steps(spare, draw, 20)
        start = time.process_time()
        run_steps(spare, draw, 100)
        steps = max(1, round(seconds / ((time.process_time() - start) / 100)))
        run_steps(net, draw, steps)
        return steps

    return train


@dataclass
class Contestant:
    """How one of them trains and samples, and how its net becomes the course's velocity."""

    name: str
    train: Callable
    sample: Callable
    velocity: Callable = lambda net: net


COURSE = Contestant("cs231n-gen", timed(course_train), course_sample)
LIBRARIES = [
    Contestant("torchcfm", plain_loop(torchcfm_path, 256), torchcfm_sample, their_velocity),
    Contestant(
        "flow_matching", plain_loop(flow_matching_path, 4096), flow_matching_sample, their_velocity
    ),
    Contestant("diffusers", plain_loop(diffusers_path, 512), diffusers_sample),
]
ABLATIONS = [
    Contestant("torchcfm path, our loop", our_loop(torchcfm_path), torchcfm_sample, their_velocity),
    Contestant(
        "flow_matching path, our loop",
        our_loop(flow_matching_path),
        flow_matching_sample,
        their_velocity,
    ),
    Contestant("diffusers path, our loop", our_loop(diffusers_path), diffusers_sample),
    Contestant("our path, plain loop", plain_loop(course_path, 512), course_sample),
]


# ---- what is measured


class Judge:
    """The exact answers for one data set, and a large fresh sample that all are judged on."""

    def __init__(self, data):
        self.data = data
        generator = torch.Generator().manual_seed(2025)
        x = data.sample(100_000, generator).float()
        z, t = torch.randn(x.shape, generator=generator), torch.rand(len(x), generator=generator)
        self.x_t, v = flow.interpolate(x, z, t)
        self.t = t
        self.exact = data.mixture.velocity(self.x_t, t).float()
        self.floor = (v - self.exact).square().mean().item()

    @torch.no_grad()
    def excess(self, velocity) -> float:
        """The loss above the Bayes floor, E|f − v*|² per dimension, as a share of the floor."""
        return (velocity(self.x_t, self.t) - self.exact).square().mean().item() / self.floor

    def distances(self, made, generator):
        """Energy distance to as many fresh data, unbiased and as a V-statistic."""
        fresh = self.data.sample(len(made), generator).float()
        return [float(energy_distance(made, fresh, biased=b)) for b in (False, True)]


def measure(contestant, judge, seed, seconds):
    """Train once; answer with everything a row of the table needs."""
    torch.manual_seed(seed)
    net = flow.VelocityMLP()
    start = time.process_time()
    steps = contestant.train(net, lambda n: judge.data.sample(n, None).float(), seconds)
    spent = time.process_time() - start
    generator = torch.Generator().manual_seed(1000 + seed)
    made = contestant.sample(net, torch.randn(POINTS, 2, generator=generator))
    unbiased, biased = judge.distances(made, generator)
    return {
        "name": contestant.name,
        "seed": seed,
        "steps": steps,
        "seconds": spent,
        "excess": judge.excess(contestant.velocity(net)),
        "energy": unbiased,
        "energy_biased": biased,
    }


def time_to_quality(judge, seed, seconds, excess):
    """The least budget of the ladder in which this package gets at least as near the floor."""
    needed = seconds
    for rung in range(1, LADDER + 1):
        if measure(COURSE, judge, seed, seconds / 2**rung)["excess"] > excess:
            break
        needed = seconds / 2**rung
    return needed


def sampling_rates(rounds):
    """Samples a CPU second, 2000 at a time; everyone has a turn in every round."""
    net, z = flow.VelocityMLP(), torch.randn(POINTS, 2)
    rates = {c.name: [] for c in [COURSE, *LIBRARIES]}
    for k in range(rounds + 1):
        order = [COURSE, *LIBRARIES]
        for contestant in order[k % 4 :] + order[: k % 4]:
            start = time.process_time()
            contestant.sample(net, z)
            if k:  # the first round warms up
                rates[contestant.name].append(POINTS / (time.process_time() - start))
    return rates


def spread(values, form="{:.2f}"):
    """Median and range: with five seeds a standard deviation would say less."""
    text = form.format(statistics.median(values))
    low, high = form.format(min(values)), form.format(max(values))
    return text if len(values) == 1 else f"{text} ({low}–{high})"


def table(name, judge, rows, seconds, faster):
    """One data set as a table; ratios are to this package, within a seed."""
    columns = ["", "steps", "above the floor, %", "× ours", "energy distance", "as V-statistic"]
    out = Table(*columns, "ours got there in", title=f"{name}: {seconds:g} s of CPU each")
    ours = {r["seed"]: r for r in rows if r["name"] == COURSE.name}
    for contestant in [COURSE, *LIBRARIES, *ABLATIONS]:
        mine = [r for r in rows if r["name"] == contestant.name]
        ratio = [r["excess"] / ours[r["seed"]]["excess"] for r in mine]
        sooner = faster.get(contestant.name)
        out.add_row(
            contestant.name,
            spread([r["steps"] for r in mine], "{:.0f}"),
            spread([100 * r["excess"] for r in mine]),
            "1" if contestant is COURSE else spread(ratio, "{:.1f}"),
            f"{statistics.mean(r['energy'] for r in mine):.4f}",
            f"{statistics.mean(r['energy_biased'] for r in mine):.4f}",
            spread([seconds / s for s in sooner], "1/{:.0f}") + " of the time" if sooner else "",
        )
    null = [
        judge.distances(judge.data.sample(POINTS, g).float(), g)
        for g in (torch.Generator().manual_seed(5000 + k) for k in range(20))
    ]
    unbiased, biased = (statistics.mean(d) for d in zip(*null, strict=True))
    out.add_row("data against data (20 draws)", "", "", "", f"{unbiased:.4f}", f"{biased:.4f}", "")
    out.caption = f"Bayes floor {judge.floor:.4f} per dimension; energy distances are means"
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU time of each training run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="1 seed, 2 s: does it still run?")
    parser.add_argument("--json", type=Path, help="also write every number there")
    options = parser.parse_args()
    seeds, seconds = (1, 2.0) if options.quick else (options.seeds, options.seconds)
    torch.set_num_threads(options.threads)
    training.tqdm = functools.partial(training.tqdm, disable=True)
    console = Console(width=None if sys.stdout.isatty() else 150)
    everyone, results = [COURSE, *LIBRARIES, *ABLATIONS], {"seconds": seconds, "sets": {}}
    for name, data in [("ring", ring()), ("moons", moons())]:
        judge, rows, faster = Judge(data), [], {c.name: [] for c in LIBRARIES}
        for seed in range(seeds):
            turn = seed % len(everyone)
            for contestant in everyone[turn:] + everyone[:turn]:
                print(f"{name}, seed {seed}: {contestant.name} …", file=sys.stderr)
                rows.append(measure(contestant, judge, seed, seconds))
            for row in rows[-len(everyone) :]:
                if row["name"] in faster:
                    needed = time_to_quality(judge, seed, seconds, row["excess"])
                    faster[row["name"]].append(needed)
        console.print(table(name, judge, rows, seconds, faster))
        results["sets"][name] = {"floor": judge.floor, "runs": rows, "seconds_needed": faster}
    rates = sampling_rates(3 if options.quick else 15)
    speed = Table("", "samples/s", "× ours", title=f"{POINTS} points, {STEPS} Euler steps")
    for who, values in rates.items():
        ratio = [r / o for r, o in zip(values, rates[COURSE.name], strict=True)]
        speed.add_row(who, spread(values, "{:.0f}"), spread(ratio))
    console.print(speed)
    results["samples_per_second"] = rates
    if options.json:
        write_whole(options.json, json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
