"""A child's replies, checked before anything else sees them: texts and errors."""

from cs231n_gen.checking.errors import NotWritten, StudentError, TracebackLine
from cs231n_gen.grading.jail.protocol import frames

LONGEST = {"kind": 200, "text": 2000, "file": 200, "function": 200, "code": 500}


class CannotLoad(Exception):
    """The student's module cannot be imported; its text says where and why."""


class ChildFailed(Exception):
    """The child died, hung, or sent a malformed reply; its text completes "your code …"."""


def capped(value: object, what: str) -> str:
    """A text that a child sent, cut to its greatest length; BadFrame if it is not a text."""
    if not isinstance(value, str):
        raise frames.BadFrame(f"{what}: got {type(value).__name__}, expected a text")
    return writable(value[: LONGEST[what]])


def writable(text: str) -> str:
    """A text that can be written to a file: half characters become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def student_error(header: dict) -> StudentError:
    """The error that a child reports."""
    lines = []
    for file, line, function, code in header["frames"][-20:]:
        if type(line) is not int:
            raise frames.BadFrame(f"line: got {type(line).__name__}, expected an integer")
        texts = capped(file, "file"), capped(function, "function"), capped(code, "code")
        lines.append(TracebackLine(texts[0], line, texts[1], texts[2]))
    kind, text = capped(header["kind"], "kind"), capped(header["text"], "text")
    made = NotWritten if kind == "NotImplementedError" else StudentError
    return made(kind, text, lines)
