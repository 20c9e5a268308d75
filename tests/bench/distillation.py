"""Chapter 12's table: every way to few calls on the ring or the moons, for equal CPU time.

    OMP_NUM_THREADS=1 python tests/bench/distillation.py [--toy ring] [--seeds 5] [--seconds 10]
        [--methods …] [--samples 10000] [--rows FILE] [--save]

A method's effort is chosen by two short runs, so that a student takes the seconds of a processor,
one thread; how long it took is in the table. Beside them stands OT-CFM, the nearest thing that a
library of flows has (torchcfm: noise and data of a batch are paired by optimal transport, so that
paths are straighter): our loop and network, its pairs. `--rows` keeps each student's distances, a
line of JSON each, and does not train again what is there. `--save` writes the table into README.md.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torchcfm.conditional_flow_matching import ExactOptimalTransportConditionalFlowMatcher

from cs231n_gen.common.files import write_whole
from cs231n_gen.experiments import distillation_trial
from cs231n_gen.experiments.distillation_methods import Lesson, walk
from cs231n_gen.experiments.distillation_trial import METHODS, MeasuredStudent, Method
from cs231n_gen.given.toys import TOYS

README = Path(__file__).with_name("README.md")


def ot_cfm(lesson: Lesson, steps: int = 340):
    """Flow matching on pairs of torchcfm's optimal transport within a batch, from data alone."""
    matcher, net = ExactOptimalTransportConditionalFlowMatcher(sigma=0.0), lesson.net()
    seed = int(torch.randint(2**31, (), generator=lesson.generator))
    torch.manual_seed(seed)  # theirs are drawn by the global generators
    np.random.seed(seed)  # noqa: NPY002

    def loss(share):
        their_t, x_t, u = matcher.sample_location_and_conditional_flow(
            lesson.noise(), lesson.data()
        )
        return (net(x_t, 1 - their_t) + u).square().mean()  # their time runs from noise to data

    lesson.fit(net, loss, steps)
    return walk(net)


ALL = METHODS | {"OT-CFM (torchcfm)": Method(ot_cfm, data=True)}


def effort_for(name: str, toy, seconds: float, probe: float = 0.08) -> float:
    """The effort with which a student takes about so many seconds of a processor."""
    for effort in (0.01, probe):  # the first run imports what torch needs, and is not counted
        g = torch.Generator().manual_seed(0)
        taken = distillation_trial.learn(name, ALL[name], toy, g, effort).seconds
    return probe * seconds / taken


def kept(path: Path | None, toy: str) -> list[MeasuredStudent]:
    """The students of a file."""
    if path is None or not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        MeasuredStudent(**row | {"distances": {int(c): d for c, d in row["distances"].items()}})
        for row in rows
        if row.pop("toy") == toy
    ]


def save(toy: str, table: str) -> None:
    """Put a table into README.md, in place of the one between the marks of this toy."""
    first, last = f"<!-- distillation: {toy} -->", f"<!-- end of distillation: {toy} -->"
    text = README.read_text(encoding="utf-8")
    before, after = text.split(first)[0], text.split(last)[1]
    write_whole(README, f"{before}{first}\n{table}\n{last}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", choices=("ring", "moons"), default="ring")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--methods", nargs="+", choices=list(ALL), default=list(ALL))
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rows", type=Path, default=None)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    toy = TOYS[options.toy]()
    outcomes = kept(options.rows, toy.name)
    there = {(outcome.name, outcome.seed) for outcome in outcomes}
    efforts: dict[str, float] = {}
    for seed in range(options.seeds):
        for name in options.methods:
            if (name, seed) in there:
                continue
            if name not in efforts:
                efforts[name] = effort_for(name, toy, options.seconds)
            outcome = distillation_trial.measure(
                name, ALL[name], toy, seed, efforts[name], options.samples
            )
            outcomes.append(outcome)
            print(f"{name}, seed {seed}, effort {efforts[name]:.2f}: {outcome}", flush=True)
            if options.rows:
                with options.rows.open("a") as file:
                    file.write(json.dumps({"toy": toy.name} | asdict(outcome)) + "\n")
    wanted = [o for o in outcomes if o.name in options.methods and o.seed < options.seeds]
    wanted.sort(key=lambda o: options.methods.index(o.name))
    trial = distillation_trial.gather(toy, wanted, options.samples)
    print(trial.table())
    if options.save:
        save(toy.name, trial.table(markdown=True))


if __name__ == "__main__":
    main()
