"""Garments in few calls: each way of distilling the same teacher, for equal seconds.

    python tests/bench/few_steps.py [--w 1] [--seconds 60] [--garments 1000] [--methods …]

Seconds are of a processor, on one thread. Beside the students of this run stands the shipped one.
The aims for it, in one call: with w = 1 at most 1.5 times the Fréchet distance of the teacher in 20
guided steps and the right class within 2 points of it; with w = 0 a Fréchet distance of at most 6.
"""

import argparse
import time

import torch

from cs231n_gen.experiments import few_steps_trial
from cs231n_gen.given.data import fashion_mnist


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--w", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--garments", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=few_steps_trial.BATCH)
    parser.add_argument("--methods", nargs="*", default=list(few_steps_trial.METHODS))
    parser.add_argument(
        "--calls", nargs="*", type=int, default=few_steps_trial.TEACHER_CALLS, help="the teacher's"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    trial = few_steps_trial.trial(
        options.seconds,
        methods=options.methods,
        w=options.w,
        garments=options.garments,
        teacher_calls=options.calls,
        batch=options.batch,
        seed=options.seed,
        progress=False,
    )
    print(trial.table())
    for name, s in trial.students.items():
        if s.pairs:
            print(f"{name}: {s.pairs} pairs")
    if options.w not in few_steps_trial.STUDENTS:
        return
    y, real = torch.arange(options.garments) % 10, fashion_mnist("test", 16)
    start = time.process_time()
    x = few_steps_trial.pictures(few_steps_trial.load_student(options.w), y, 1, options.seed + 1)
    shipped = few_steps_trial.score(x, y, real, time.process_time() - start)
    print(f"the shipped student in one call: {shipped}")
    if options.w == 0:
        reached("Fréchet distance at most 6", shipped.frechet <= 6)
    elif 20 in options.calls:
        many = trial.scores["teacher", 20]
        reached("Fréchet at most 1.5 times the teacher's", shipped.frechet <= 1.5 * many.frechet)
        reached("right class within 2 points", shipped.right >= many.right - 0.02)


def reached(aim, yes):
    print(f"{aim}: {'reached' if yes else 'NOT reached'}")


if __name__ == "__main__":
    main()
