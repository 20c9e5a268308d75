"""Train the students of chapter 12 that need one call: `python data/train_few_steps.py`.

Writes `few_steps.safetensors` (float16), which has learned guidance with w = 1, and says what it
measures. It is direct regression on pairs that the teacher made. `--seconds` says how many CPU
seconds it may take. The seed is fixed, but how many pairs and steps fit depends on the machine.
Nothing is written before the end.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from cs231n_gen.common.files import draft_of  # noqa: E402
from cs231n_gen.experiments import few_steps_trial  # noqa: E402
from cs231n_gen.given.data import fashion_mnist  # noqa: E402


def main() -> None:
    """Train, measure, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=400.0, help="CPU seconds, one thread")
    parser.add_argument(
        "--w", type=float, choices=tuple(few_steps_trial.STUDENTS), default=1.0, help="guidance"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    student = few_steps_trial.run("direct", args.seconds, w=args.w)
    if student.stopped:
        sys.exit("stopped before its time: nothing is written")
    print(f"{student.seconds:.0f} CPU s, {student.pairs} pairs, {student.steps} steps")
    y, test = torch.arange(1000) % 10, fashion_mnist("test", 16)
    teacher = few_steps_trial.of_teacher(few_steps_trial.load_teacher(), args.w)
    for maker, calls in ((student, 1), (teacher, 20), (teacher, 1)):
        start = time.process_time()
        x = few_steps_trial.pictures(maker, y, calls)
        print(maker.method, calls, few_steps_trial.score(x, y, test, time.process_time() - start))
    name = few_steps_trial.STUDENTS[args.w]
    weights = student.models[1].state_dict()
    with draft_of(HERE / name) as draft:
        save_file({k: v.half().contiguous() for k, v in weights.items()}, draft)


if __name__ == "__main__":
    main()
