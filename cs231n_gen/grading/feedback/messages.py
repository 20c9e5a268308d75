"""What a student is told about each property: whether it holds, what was got, their own lines.

Neither hidden tests nor the reference are ever quoted: of an error only those lines are shown that
are in the student's own files. Whatever a submission says is cut to length and made visible first.
"""

import contextlib
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from cs231n_gen.checking import answer_cells
from cs231n_gen.checking.errors import TracebackLine
from cs231n_gen.checking.report import COLOUR, MARK
from cs231n_gen.checking.runner import LONGEST_OUTPUT, Result
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.notebook import submitted_answers
from cs231n_gen.grading.notebook.submitted_cells import NotANotebook
from cs231n_gen.grading.record import ExerciseGrade

LONGEST = 300  # characters of any sentence
MOST_FRAMES = 3
MOST_LINES = 60  # of what the student's code printed
WORDS = {
    "passed": "holds",
    "failed": "does not hold",
    "error": "raised an error",
    "missing": "not written",
}
BARE = "the result is not what was asked for"  # instead of an assertion that quotes a test
OWN_FILES, OWN_BYTES = 200, 1_000_000  # how much of a submission is read to find its lines
COLOURS_OF_A_TERMINAL = re.compile(r"\x1b\[[0-9;]*m")
QUOTED = re.compile(r"^(AssertionError: )?assert ", re.MULTILINE)  # as pytest words its own
INSIDE_A_FUNCTION = re.compile(r"[\w.]{1,200}\.<locals>\.")
HIDDEN_KINDS = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format, surrogate, separators


@dataclass(frozen=True)
class PropertyFeedback:
    """What is said about one property; every text is fit to be shown, once it is escaped.

    Args:
        worth: the points it gives if it holds.
        says: what is wrong, in a sentence.
        frames: the student's own lines on the way to an error, the last one where it happened.
        output: what the student's code printed meanwhile.
    """

    name: str
    status: str
    worth: float
    says: str = ""
    got: str = ""
    expected: str = ""
    frames: tuple[TracebackLine, ...] = ()
    output: str = ""

    @property
    def holds(self) -> bool:
        """Whether the property holds."""
        return self.status == "passed"

    @property
    def mark(self) -> str:
        """✓, ✗ or ○."""
        return MARK[self.status]

    @property
    def word(self) -> str:
        """What the mark means."""
        return WORDS[self.status]


def score(results: Sequence[Result], points: float) -> float:
    """The points for what holds: their share is the weight that passed over all weight."""
    return ExerciseGrade("", points, tuple(results)).score


def report(exercise: str, results: Sequence[Result], points: float, submission: Path) -> dict:
    """The report on an exercise as notebook output data: `text/html` and `text/plain`."""
    headline = f"{exercise}: {score(results, points):g} of {points:g} points"
    rows = property_feedback(results, points, submission)
    return {"text/html": _html(headline, rows), "text/plain": _text(headline, rows)}


def property_feedback(
    results: Sequence[Result], points: float, submission: Path
) -> list[PropertyFeedback]:
    """What to say about each property of an exercise.

    Args:
        results: one for each property.
        points: the most the exercise can give.
        submission: the student's folder; only lines of its Python files are ever quoted.
    """
    total = sum(r.weight for r in results)
    frames = [frame for r in results for frame in r.frames]
    own = _lines_of(submission, frames) if frames else lambda frame: False
    return [
        _one_property(r, points * r.weight / total if total else 0.0, own, submission)
        for r in results
    ]


def visible(text: object, longest: int = LONGEST) -> str:
    """A stranger's text, fit to be looked at: cut to length, nothing in it invisible.

    Control and bidirectional characters come out as signs (␀, ⟨U+202E⟩); of a pile of accents
    three stay. It still has to be escaped.
    """
    text = str(text)
    parts, pile = [], 0
    for c in COLOURS_OF_A_TERMINAL.sub("", text[:longest].replace("\r\n", "\n")):
        kind = unicodedata.category(c)
        pile = pile + 1 if kind[0] == "M" else 0
        if c not in "\n\t" and kind in HIDDEN_KINDS:
            parts.append(chr(0x2400 + ord(c)) if ord(c) < 32 else f"⟨U+{ord(c):04X}⟩")
        elif pile <= 3:
            parts.append(c)
    return "".join(parts) + " …" * (len(text) > longest)


def _one_property(
    r: Result, worth: float, own: Callable[[TracebackLine], bool], submission: Path
) -> PropertyFeedback:
    name = visible(r.name)
    if r.passed:
        return PropertyFeedback(name, r.status, worth)
    if r.status == "missing":
        return PropertyFeedback(name, r.status, worth, visible(r.says) if not r.test else "")
    says = r.says
    theirs = bool(r.frames) and own(r.frames[-1])
    if r.status == "error" and says.startswith("AssertionError"):
        says = says if theirs and not QUOTED.search(says) else BARE
    if (
        r.frames and not theirs
    ):  # a function of the test's refused: where that is defined is nobody's business
        says = INSIDE_A_FUNCTION.sub("", says[: 4 * LONGEST])

    def clean(text: str) -> str:
        return visible(_without_places(text, submission))

    return PropertyFeedback(
        name,
        r.status,
        worth,
        clean(says),
        clean(r.got),
        clean(r.expected),
        tuple(
            TracebackLine(
                visible(f.file),
                answer_cells.line_in_cell(f.file, f.line),
                visible(f.function),
                visible(f.code.strip()),
            )
            for f in [f for f in r.frames if own(f)][-MOST_FRAMES:]
        ),
        _printed(_without_places(r.output, submission)),
    )


def _lines_of(submission: Path, frames: Sequence[TracebackLine]) -> Callable[[TracebackLine], bool]:
    """Whether a frame is a line of the submission, not of a module or test that has such a name."""
    texts: dict[str, list[list[str]]] = {}
    for path in _python_files(submission):
        texts.setdefault(path.name, []).append(path.read_text("utf-8", "replace").split("\n"))
    for module in {f.file.partition(".")[0] for f in frames}:
        if answer_cells.number_of(module) and answer_cells.notebook_of(module):
            with contextlib.suppress(NotANotebook):
                for name, text in submitted_answers.find_answers(submission, module).items():
                    texts.setdefault(Path(name).name, []).append(text.split("\n"))

    def own(frame: TracebackLine) -> bool:
        code = frame.code.strip()
        return bool(code) and any(
            0 < frame.line <= len(lines) and lines[frame.line - 1].strip() == code
            for lines in texts.get(frame.file, [])
        )

    return own


def _python_files(submission: Path) -> list[Path]:
    """The Python files of a submission: plain ones, as a link could lead to the hidden tests."""
    found = []
    for folder, folders, names in os.walk(submission):
        folders.sort()
        for path in (Path(folder, n) for n in sorted(names) if n.endswith(".py")):
            about = path.lstat()
            if stat.S_ISREG(about.st_mode) and about.st_size <= OWN_BYTES:
                found.append(path)
            if len(found) == OWN_FILES:
                return found
    return found


def _without_places(text: str, submission: Path) -> str:
    """A text without the folders of the machine that graded."""
    for place in sorted({str(submission), str(submission.resolve()), str(ROOT)}, key=len)[::-1]:
        if len(place) > 1:
            text = text.replace(f"{place}/", "")
    return text


def _printed(output: str) -> str:
    """What was printed; of a progress bar that redraws its line, the last state."""
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in output[:100_000].split("\n")]
    text = visible("\n".join(lines).strip("\n"), LONGEST_OUTPUT)
    kept = text.split("\n")
    return text if len(kept) <= MOST_LINES else "\n".join([*kept[:MOST_LINES], "…"])


def _details(t: PropertyFeedback) -> list[str]:
    """What stands below a property in the notebook."""
    if t.status == "missing":
        return [t.says or WORDS["missing"]]
    lines = [t.says, t.got and f"got: {t.got}", t.expected and f"expected: {t.expected}"]
    lines += [f"{f.file}, line {f.line}: {f.code}" for f in t.frames]
    return [] if t.holds else [line for line in lines if line]


def _text(headline: str, rows: list[PropertyFeedback]) -> str:
    lines = [headline]
    for t in rows:
        lines.append(f"  {t.mark} {t.name} ({t.worth:.2g})")
        lines += [f"      {line}" for detail in _details(t) for line in detail.split("\n")]
    return "\n".join(lines)


def _html(headline: str, rows: list[PropertyFeedback]) -> str:
    items = []
    for t in rows:
        below = "".join(
            f'<div style="margin-left:1.4em;white-space:pre-wrap;overflow-wrap:anywhere">'
            f"{escape(d)}</div>"
            for d in _details(t)
        )
        items.append(
            f'<li style="list-style:none;margin:.2em 0">'
            f'<b style="color:{COLOUR[t.status]}" aria-label="{t.word}">{t.mark}</b> '
            f"{escape(t.name)} <small>({t.worth:.2g})</small>{below}</li>"
        )
    return f'<div><b>{escape(headline)}</b><ul style="padding:0">{"".join(items)}</ul></div>'
