"""What a graded cell says: points, and which properties hold, in authored sentences.

Neither hidden tests nor the reference are ever quoted: of an error only those lines are shown that
are in the student's own file.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from html import escape
from pathlib import Path

from cs231n_gen.checking.report import COLOUR, MARK
from cs231n_gen.checking.run import Result
from cs231n_gen.checking.student import Frame

LONGEST = 300  # characters of any sentence
MOST_FRAMES = 3


def score(results: Sequence[Result], points: float) -> float:
    """The points for what holds: their share is the weight that passed over all weight."""
    weight = {True: Fraction(0), False: Fraction(0)}
    for r in results:
        weight[r.passed] += Fraction(r.weight)
    total = weight[True] + weight[False]
    return round(float(Fraction(points) * weight[True] / total), 6) if total else 0.0


def report(exercise: str, results: Sequence[Result], points: float, submission: Path) -> dict:
    """The report on an exercise as notebook output data: `text/html` and `text/plain`."""
    headline = f"{exercise}: {score(results, points):g} of {points:g} points"
    own = _lines_of(submission)
    total = sum(r.weight for r in results)
    rows = [(r, f"{points * r.weight / total:.2g}", _details(r, own)) for r in results]
    return {"text/html": _html(headline, rows), "text/plain": _text(headline, rows)}


def _details(r: Result, own: Callable[[Frame], bool]) -> list[str]:
    if r.passed:
        return []
    if r.status == "missing":
        return [r.says if not r.test else "not written"]
    frames = [f"{f.file}, line {f.line}: {f.code}" for f in r.frames if own(f)]
    says = r.says
    if r.status == "error" and not r.frames and says.startswith("AssertionError"):
        says = "what came back is not what was asked for"  # a bare assertion quotes the test
    lines = [says, *(r.got and [f"came: {r.got}"]), *(r.expected and [f"expected: {r.expected}"])]
    return [_short(line) for line in [*lines, *frames[-MOST_FRAMES:]] if line]


def _lines_of(submission: Path) -> Callable[[Frame], bool]:
    """Whether a frame is a line of the submission, not of a module or test that has such a name."""
    texts = {p.name: p.read_text("utf-8", "replace").splitlines() for p in submission.rglob("*.py")}

    def own(frame: Frame) -> bool:
        lines = texts.get(frame.file, [])
        return 0 < frame.line <= len(lines) and lines[frame.line - 1].strip() == frame.code.strip()

    return own


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


def _text(headline: str, rows: list[tuple[Result, str, list[str]]]) -> str:
    lines = [headline]
    for r, worth, details in rows:
        lines.append(f"  {MARK[r.status]} {r.name} ({worth})")
        lines += [f"      {line}" for detail in details for line in detail.splitlines()]
    return "\n".join(lines)


def _html(headline: str, rows: list[tuple[Result, str, list[str]]]) -> str:
    items = []
    for r, worth, details in rows:
        below = "".join(
            f'<div style="margin-left:1.4em;white-space:pre-wrap">{escape(d)}</div>'
            for d in details
        )
        items.append(
            f'<li style="list-style:none;margin:.2em 0">'
            f'<b style="color:{COLOUR[r.status]}" aria-label="{r.status}">{MARK[r.status]}</b> '
            f"{escape(r.name)} <small>({worth})</small>{below}</li>"
        )
    return f'<div><b>{escape(headline)}</b><ul style="padding:0">{"".join(items)}</ul></div>'
