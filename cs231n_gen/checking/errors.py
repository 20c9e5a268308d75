"""What can go wrong in a check: a property does not hold, or the student's code raises."""

from dataclasses import dataclass


class PropertyFailed(AssertionError):
    """A property does not hold: a sentence for the student, what was got, what was expected."""

    def __init__(self, says: str, got: str = "", expected: str = ""):
        parts = [says, got and f"got: {got}", expected and f"expected: {expected}"]
        super().__init__("\n".join(p for p in parts if p))
        self.says, self.got, self.expected = says, got, expected


@dataclass(frozen=True)
class TracebackLine:
    """One line of the student's own code on the way to an error."""

    file: str
    line: int
    function: str
    code: str


class StudentError(Exception):
    """The student's code raised: its kind, what it said, and the lines in the student's files."""

    def __init__(self, kind: str, text: str, frames: list[TracebackLine]):
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind, self.text, self.frames = kind, text, frames


class NotWritten(StudentError):
    """The student's code reached a gap that is not filled in yet."""
