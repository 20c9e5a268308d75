"""A grading process: `python -m cs231n_gen.grading.run.worker_main`, JSON lines in, JSON lines out.

The first line says with what limits to grade, and whether outside the jail; `{"ready": true}`
answers it. Each line after that is a submission, `{"files", "exercises", "seed"}`; for each
exercise as it is done comes `{"exercise", "results", "mistake"}`, then `{"done": true}`. Where the
grader itself fails comes `{"broken": why}`, and the process ends.

Hidden tests and the reference are here; student code is not: it is in a child of the jail.
"""

import contextlib
import functools
import gc
import json
import os
import sys
from pathlib import Path

import torch

from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.jail.sandbox import JailBroken, NoJail, Sandbox
from cs231n_gen.grading.run.examiner import Examiner, GraderBroken, with_examiner
from cs231n_gen.grading.run.task import SubmittedCode

MOST_MEMORY = 768 << 20  # bytes of address space that tests may come to need


def main() -> None:
    """Grade until there is nothing more to read."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    torch.set_num_threads(1)

    def answer(line: dict) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    def serve(examiner: Examiner) -> None:
        gc.collect()
        gc.freeze()  # what was imported stays: no need to look through it again and again
        _limit_memory()  # now that the fork server, which would inherit it, has started
        answer({"ready": True})
        for line in sys.stdin:
            request = json.loads(line)
            submission = SubmittedCode(request["files"])
            done = examiner.examine(submission, request["exercises"], request["seed"])
            for exercise, found in done:
                results = [r.to_json() for r in found.results]
                answer({"exercise": exercise, "results": results, "mistake": found.mistake})
            answer({"done": True})

    settings = json.loads(sys.stdin.readline())
    if settings["core"] is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {settings["core"]})
    try:
        sandbox = functools.partial(Sandbox, unsafe=settings["unsafe"])
        with_examiner(Limits(**settings["limits"]), serve, sandbox)
    except NoJail as error:
        answer({"no jail": str(error)})
    except (GraderBroken, JailBroken, RuntimeError) as error:
        answer({"broken": str(error)})


def _limit_memory() -> None:
    """Let no student's arguments to a test's model make this process grow without end."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (used + MOST_MEMORY, hard))


if __name__ == "__main__":
    main()
