"""A check's report: rich in a notebook, plain text elsewhere."""

from dataclasses import dataclass
from html import escape

from cs231n_gen.checking.runner import Result
from cs231n_gen.common.palette import BAD, GOOD, OPEN

MARK = {"passed": "✓", "failed": "✗", "error": "✗", "missing": "○"}
COLOUR = {"passed": GOOD, "failed": BAD, "error": BAD, "missing": OPEN}


class CheckFailed(Exception):
    """A check that does not hold; in a notebook it shows as one line, below the report."""

    def _render_traceback_(self) -> list[str]:
        return [f"CheckFailed: {self}"]


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Args:
        exercise: its id.
        results: one for each property.
        diagnosis: the sentence of the mistake that was recognised, or None.
        hints: from a nudge to nearly the answer.
        where: file and line of the exercise.
        shown_hints: how many hints the plain text shows.
    """

    exercise: str
    results: tuple[Result, ...]
    diagnosis: str | None = None
    hints: tuple[str, ...] = ()
    where: str = ""
    shown_hints: int = 0

    @property
    def passed(self) -> bool:
        """Whether every property holds."""
        return all(r.passed for r in self.results)

    @property
    def headline(self) -> str:
        """One line: how many properties hold, or what is not written yet."""
        if missing := self.not_written:
            return missing
        good = sum(r.passed for r in self.results)
        return f"{self.exercise}: {good} of {len(self.results)} properties hold"

    @property
    def not_written(self) -> str | None:
        """Which gap the exercise runs into first, if that is all there is to say."""
        missing = [r for r in self.results if r.status == "missing"]
        if not missing or any(r.status in ("failed", "error") for r in self.results):
            return None
        own = self.exercise.rpartition(".")[2]
        gap = missing[0].frames[-1].function if missing[0].frames else own
        if gap in (own, "__init__", "forward"):
            return f"{self.exercise} is not written yet ({self.where})"
        module = missing[0].frames[-1].file.removesuffix(".py")
        return f"{self.exercise} uses {module}.{gap}, which is not written yet: write that first"

    def __str__(self) -> str:
        lines = [self.headline]
        if not self.not_written:
            for r in self.results:
                lines.append(f"  {MARK[r.status]} {r.name}")
                lines += [f"      {line}" for line in _detail(r)]
            if self.diagnosis:
                lines.append(f"  What it looks like: {self.diagnosis}")
        if not self.passed and self.hints:
            lines += [f"  Hint {i + 1}: {h}" for i, h in enumerate(self.hints[: self.shown_hints])]
            if self.shown_hints < len(self.hints):
                left = len(self.hints) - self.shown_hints
                more = f'check("{self.exercise}", hint={self.shown_hints + 1})'
                lines.append(f"  {left} hint{'s' * (left > 1)} left: {more}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        colour = GOOD if self.passed else OPEN if self.not_written else BAD
        body = [f'<div style="font-weight:600">{escape(self.headline)}</div>']
        if not self.not_written:
            body.append(_list(self.results))
            if self.diagnosis:
                body.append(
                    f'<div style="margin:.5em 0;padding:.4em .8em;border:1px solid {OPEN};'
                    f'border-radius:4px"><b>What it looks like.</b> {escape(self.diagnosis)}</div>'
                )
        if not self.passed:
            body.append(_unfolding(self.hints))
        return (
            f'<div role="status" style="border-left:4px solid {colour};padding:.2em 0 .2em 1em;'
            f'margin:.3em 0;font-family:var(--jp-content-font-family,sans-serif)">'
            f"{''.join(body)}</div>"
        )


def display(report: CheckReport) -> None:
    """Show a report: HTML in a notebook, text elsewhere."""
    try:
        from IPython import get_ipython
    except ImportError:
        get_ipython = lambda: None  # noqa: E731
    if get_ipython() is None:
        print(report)
    else:
        from IPython.display import display as show

        show(report)


def _detail(r: Result) -> list[str]:
    """What to say below a property that does not hold."""
    if r.passed:
        return []
    lines = [r.says] if r.says else []
    lines += [f"got:      {r.got}"] * bool(r.got) + [f"expected: {r.expected}"] * bool(r.expected)
    lines += [f"{f.file}, line {f.line}: {f.code}" for f in r.frames[-2:]]
    return lines + [f"your output: {line}" for line in r.output.strip().splitlines()[:5]]


def _list(results: tuple[Result, ...]) -> str:
    rows = []
    for r in results:
        detail = "".join(
            f'<div style="font-family:var(--jp-code-font-family,monospace);font-size:.92em;'
            f'white-space:pre-wrap;opacity:.85">{escape(line)}</div>'
            for line in _detail(r)
        )
        rows.append(
            f'<li style="list-style:none;margin:.15em 0"><span style="color:{COLOUR[r.status]};'
            f'font-weight:700" aria-label="{r.status}">{MARK[r.status]}</span> '
            f'{escape(r.name)}<div style="margin-left:1.4em">{detail}</div></li>'
        )
    return f'<ul style="margin:.3em 0;padding:0">{"".join(rows)}</ul>'


def _unfolding(hints: tuple[str, ...]) -> str:
    """Hints that unfold one inside the other, so that nobody reads the last by accident."""
    html = ""
    for i, hint in reversed(list(enumerate(hints))):
        html = (
            f'<details style="margin:.2em 0 .2em .6em"><summary>Hint {i + 1} of {len(hints)}'
            f"</summary>{escape(hint)}{html}</details>"
        )
    return html
