"""Which mutants of the reference solutions the hidden graders let live.

python tests/project/mutation                        all exercises
python tests/project/mutation flow.sample gan        some, or all of a module
python tests/project/mutation --public flow          … and what the public check lets through
python tests/project/mutation --table                how many mutants, killed, right, seen
"""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[2])]
os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from right_answers import right_answers, stale  # noqa: E402
from tqdm import tqdm  # noqa: E402
from trial import Outcome, try_all  # noqa: E402

from cs231n_gen.grading.source.tree import in_course_order  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Run the command, return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("exercises", nargs="*", help="ids, or modules; all but kernels, if none")
    parser.add_argument("--public", action="store_true", help="also what the public check lets by")
    parser.add_argument("--table", action="store_true", help="numbers for each exercise")
    parser.add_argument("--kernels", action="store_true", help="all kernels, too")
    parser.add_argument("--workers", type=int, default=None, help="processes at a time")
    asked = parser.parse_args(arguments)
    chosen = [e for e in in_course_order() if _wanted(e.id, asked)]
    if not chosen:
        parser.error(f"there is no exercise {' '.join(asked.exercises)}")
    bar = tqdm(total=0, disable=None, unit=" mutants", leave=False)

    def progress(outcomes, count):
        bar.total = count
        for outcome in outcomes:
            bar.update()
            bar.set_postfix_str(outcome.mutant.exercise)
            yield outcome

    refused: list[str] = []
    try:
        outcomes = try_all(
            chosen,
            public=asked.public or asked.table,
            workers=asked.workers,
            refused=refused.append,
            progress=progress,
        )
    except KeyboardInterrupt:
        print("stopped")
        return 130
    finally:
        bar.close()
    code = report(outcomes, asked.public, asked.table)
    for says in refused:
        print(f"a right answer does not pass: {says}")
    return 2 if refused else code


def report(outcomes: list[Outcome], public: bool, table: bool) -> int:
    """Print what came of the mutants; 1 if some are alive that are not known to be right."""
    right = right_answers()
    alive = [o for o in outcomes if not o.killed and str(o.mutant) not in right]
    if table:
        print(f"{'exercise':50}{'mutants':>8}{'killed':>8}{'right':>7}{'alive':>7}{'seen':>7}")
        for exercise in dict.fromkeys(o.mutant.exercise for o in outcomes):
            print(_row(exercise, [o for o in outcomes if o.mutant.exercise == exercise], right))
        print(_row("all", outcomes, right))
    for outcome in alive:
        print(f"alive  {outcome.mutant}")
    for exercise in dict.fromkeys(o.mutant.exercise for o in outcomes):
        own = [o for o in outcomes if o.mutant.exercise == exercise]
        for says in stale(own, exercise):
            print(f"said to be right, but {says}")
    unseen = [o for o in outcomes if public and o.killed and o.seen == ""]
    for outcome in unseen:
        print(f"unseen {outcome.mutant}\n           hidden: {outcome.killed}")
    print(f"{len(outcomes)} mutants, {len(alive)} alive", end="")
    print(f", {len(unseen)} killed that the public check lets through" if public else "")
    return int(bool(alive))


def _row(name: str, outcomes: list[Outcome], right: dict[str, str]) -> str:
    killed = sum(bool(o.killed) for o in outcomes)
    known = sum(not o.killed and str(o.mutant) in right for o in outcomes)
    seen = sum(bool(o.killed and o.seen) for o in outcomes)
    alive = len(outcomes) - killed - known
    return f"{name:50}{len(outcomes):>8}{killed:>8}{known:>7}{alive:>7}{seen:>7}"


def _wanted(exercise: str, asked: argparse.Namespace) -> bool:
    kernel = exercise.startswith("kernels.")
    if not asked.exercises:
        return asked.kernels or not kernel
    return any(exercise == a or exercise.startswith(f"{a}.") for a in asked.exercises)


if __name__ == "__main__":
    sys.exit(main())
