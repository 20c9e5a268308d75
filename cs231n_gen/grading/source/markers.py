"""Solution markers: `### BEGIN SOLUTION` and `### END SOLUTION`, and what is left between them."""

import re
from collections.abc import Collection
from dataclasses import dataclass

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
STUB = "# YOUR CODE HERE\nraise NotImplementedError"
LOOKS_LIKE_ONE = re.compile(r"\s*#+\s*(begin|end)\s+solutions?\b", re.IGNORECASE)


@dataclass(frozen=True)
class Gap:
    """A solution: the lines of its two markers, counted from 1."""

    begin: int
    end: int


def find_gaps(text: str) -> tuple[list[Gap], list[tuple[int, str]]]:
    """The solutions in a text, and what is wrong with its markers as `(line, what)`."""
    gaps, wrong = [], []
    opened = None
    for number, line in enumerate(text.splitlines(), 1):
        marker = line.strip()
        if marker == BEGIN:
            if opened:
                wrong.append((number, f"{BEGIN} inside the solution that begins on line {opened}"))
            else:
                opened = number
        elif marker == END:
            if not opened:
                wrong.append((number, f"{END} without a {BEGIN} before it"))
            else:
                gaps.append(Gap(opened, number))
            opened = None
        elif LOOKS_LIKE_ONE.match(line):
            wrong.append((number, f"write a marker as {BEGIN} or {END}, not as {marker}"))
    if opened:
        wrong.append((opened, f"{BEGIN} without an {END} after it"))
    return gaps, wrong


def make_gaps(text: str, gaps: Collection[Gap]) -> str:
    """The text with a stub in place of these solutions, and the others without their markers."""
    lines = text.splitlines(keepends=True)
    kept, at = [], 0
    for gap in find_gaps(text)[0]:
        kept += lines[at : gap.begin - 1]
        if gap in gaps:
            indent = re.match(r"\s*", lines[gap.begin - 1])[0]
            kept += [f"{indent}{line}\n" for line in STUB.split("\n")]
        else:
            kept += lines[gap.begin : gap.end - 1]
        at = gap.end
    return "".join(kept + lines[at:])
