"""Grade one submission in this process: `python -m cs231n_gen.grading.worker`, a job on stdin.

The job is `{"submission", "exercises", "seed", "hidden"}`. What comes back is a line
`{"ready": true}`, then, for each exercise as it is done, a line `{"results"}`, or `{"broken"}` if
the grader fails.

**This process trusts the submission**: student code runs beside the hidden tests, with their files
in reach and this channel to write to. It protects the grader's own process from crashes and endless
loops, from nothing else. A jail belongs exactly here, behind the same job and the same answers.
"""

import json
import os
import sys
from pathlib import Path

import torch

from cs231n_gen.checking.run import Result, run
from cs231n_gen.checking.student import Student
from cs231n_gen.grading.source import exercises
from cs231n_gen.grading.submission import CannotLoad, NotSubmitted, assemble


def main() -> None:
    """Read the job, answer exercise by exercise."""
    job = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what student code prints must not pass for an answer
    torch.set_num_threads(1)

    def answer(line: dict) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    answer({"ready": True})
    for exercise in job["exercises"]:
        try:
            found = grade(Path(job["submission"]), exercise, job["seed"], Path(job["hidden"]))
            results = [r.to_json() for r in found]
        except Exception as error:
            return answer({"broken": f"{exercise}: {type(error).__name__}: {error}"})
        answer({"results": results})
    return None


def grade(submission: Path, exercise: str, seed: int, hidden: Path) -> list[Result]:
    """Run the hidden tests of an exercise against a submission.

    Raises:
        RuntimeError: if the hidden tests are broken: they do not run on the reference either.
    """
    every = exercises()
    own = next(e for e in every if e.id == exercise)
    try:
        student = assemble(submission, own, every)
    except CannotLoad as error:
        status = "missing" if isinstance(error, NotSubmitted) else "error"
        return [whole(exercise, status, str(error))]
    try:
        results = run(hidden, [exercise], student, seed)
    except (Exception, KeyboardInterrupt) as error:
        run(hidden, [exercise], Student(), seed)
        return [whole(exercise, "error", f"your code stopped the grader: {error}")]
    if not results:
        raise RuntimeError(f"{exercise} has no hidden tests in {hidden}")
    return results


def whole(exercise: str, status: str, says: str) -> Result:
    """A result that stands for all properties of an exercise."""
    return Result(exercise, "", "the exercise can be run", 1.0, status, says)


if __name__ == "__main__":
    main()
