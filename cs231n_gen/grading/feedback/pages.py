"""Whole pages: what a student reads about one submission, and how any page is filled and written.

A page is one file that needs neither network nor script. Templates escape every value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cs231n_gen.common.files import write_whole
from cs231n_gen.common.palette import BAD, COLORS, GOOD, OPEN
from cs231n_gen.grading.feedback.messages import (
    LONGEST,
    PropertyFeedback,
    property_feedback,
    visible,
)
from cs231n_gen.grading.record import ExerciseGrade, Grading

TEMPLATES = Path(__file__).parent / "templates"
LONGEST_NAME = 80  # of a student, who chose the name of the folder
LONGEST_COMMENT = 4000  # of a person who graded, whose words are not cut lightly
ADVICE = {  # by what the reason says
    "more than": "Look for a loop that never ends, or one over single numbers where one operation "
    "on the whole tensor does the same.",
    "ended Python": "Look for exit() and the like. A tensor far too large ends Python, too.",
    "memory": "Print the shapes: two of them may broadcast to something huge.",
    "is not in the submission": "Make the zip with cs231n-gen submit: it includes every file.",
    "SyntaxError": "Python cannot read the file from there on. Often a bracket or a colon is "
    "missing, there or in the line above.",
    "IndentationError": "Python cannot read the file from there on: compare the indentation of the "
    "lines.",
}


@dataclass(frozen=True)
class Section:
    """One exercise on a student's page.

    Args:
        failure: why none of its properties could be tried, or "".
        advice: what to look for then, or "".
    """

    exercise: str
    score: float
    points: float
    held: tuple[PropertyFeedback, ...]
    open: tuple[PropertyFeedback, ...]
    mistake: str = ""
    failure: str = ""
    advice: str = ""

    @property
    def full(self) -> bool:
        """Whether there is nothing left to do."""
        return not self.open and not self.failure

    @property
    def blank(self) -> bool:
        """Whether it is not written yet."""
        return not self.held and not self.failure and all(t.status == "missing" for t in self.open)

    @property
    def state(self) -> str:
        """What it looks like at a glance: full, part or none."""
        return "full" if self.full else "part" if self.held else "none"

    @property
    def headline(self) -> str:
        """One line on what holds."""
        if self.failure:
            return "None of its properties could be tried."
        if self.blank:
            return "Not written yet."
        held, total = len(self.held), len(self.held) + len(self.open)
        if self.full:
            return "It holds." if total == 1 else f"All {total} properties hold."
        return f"{held or 'None'} of {total} properties {'holds' if held == 1 else 'hold'}."


@dataclass(frozen=True)
class ManualGrade:
    """One question that a person grades; `score` is None until somebody did."""

    question: str
    score: float | None
    points: float
    comment: str


def write_feedback(
    grading: Grading,
    submission: Path,
    to: Path,
    *,
    notes: Sequence[str] = (),
    manual: Sequence[tuple[str, float | None, float, str]] = (),
    late: str = "",
) -> Path:
    """Write the page a student reads about a submission.

    Args:
        grading: what was found.
        submission: its folder; only lines of its Python files are ever quoted.
        to: the file to write.
        notes: what else to say, a sentence each.
        manual: for each question that a person grades its title, points (None until it is graded),
            the most it can give, and the comment.
        late: what being late means for the points, or "".
    Returns:
        The file.
    """
    sections = [_section(e, submission, printed=not grading.unsafe) for e in grading.exercises]
    answers = [
        ManualGrade(visible(q), s, p, visible(comment, LONGEST_COMMENT))
        for q, s, p, comment in manual
    ]
    page = render(
        "feedback.html.j2",
        title=titled(grading.chapter),
        student=visible(grading.student, LONGEST_NAME),
        score=grading.score + sum(a.score or 0 for a in answers),
        points_in_all=grading.points + sum(a.points for a in answers),
        waiting=sum(a.points for a in answers if a.score is None),
        sections=sections,
        most_left=max(
            (s for s in sections if not s.full), key=lambda s: s.points - s.score, default=None
        ),
        answers=answers,
        answered=sum(a.score or 0 for a in answers),
        asked=sum(a.points for a in answers),
        notes=[visible(n) for n in notes],
        repairs=[visible(r) for r in grading.repairs],
        late=visible(late),
        unsafe=grading.unsafe,
    )
    return write_whole(to, page)


def render(template: str, **values: object) -> str:
    """A template of this package, filled; every value is escaped."""
    return _environment().get_template(template).render(**values)


def titled(chapter: str) -> str:
    """`04 · Rectified flow` of `04_rectified_flow`."""
    number, _, name = visible(chapter, LONGEST_NAME).partition("_")
    words = name.replace("_", " ")
    return f"{number} · {words[:1].upper()}{words[1:]}" if words else number


def number(value: float) -> str:
    """A number of points, two decimals at most: 2, 0.5, 1.33."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def percent(part: float, whole: float) -> float:
    """A share for the width of a bar, from 0 to 100."""
    return round(100 * min(1.0, max(0.0, part / whole)), 2) if whole else 0.0


def _section(graded: ExerciseGrade, submission: Path, printed: bool) -> Section:
    """What to say on an exercise.

    Where student code ran beside the hidden tests, a traceback it printed would quote them: then
    nothing that was `printed` is shown.
    """
    told = property_feedback(graded.results, graded.points, submission)
    failure = next((t.says for t in told if graded.failure), "")
    reason = failure.partition(" in the test ")[0]
    opened = [t if printed else replace(t, output="") for t in told if not t.holds and not failure]
    return Section(
        exercise=visible(graded.exercise, LONGEST_NAME),
        score=graded.score,
        points=graded.points,
        held=tuple(t for t in told if t.holds),
        open=tuple(_once(opened)),
        mistake=visible(graded.mistake, 2 * LONGEST),
        failure=failure,
        advice=next((a for sign, a in ADVICE.items() if sign in reason), ""),
    )


def _once(told: Sequence[PropertyFeedback]) -> Iterator[PropertyFeedback]:
    """The same properties, with an error or an output that comes again only named again."""
    seen: set[object] = set()
    for t in told:
        error, output = (t.says, t.frames), t.output
        if t.frames and error in seen:
            t = replace(t, says="the same error as above", frames=())
        if output in seen:
            t = replace(t, output="")
        seen |= {error, output}
        yield t


@lru_cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number}
    environment.globals |= {
        "percent": percent,
        "palette": {**COLORS, "good": GOOD, "bad": BAD, "open": OPEN},
    }
    return environment
