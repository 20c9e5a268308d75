"""A CSV file as cells that remember where they stand, so that one can change and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

LARGEST = 50_000_000  # bytes; a course of thousands makes a few
SEPARATORS = ",;\t"
MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


@dataclass(frozen=True)
class CsvCell:
    """A cell: what it says, and the span of the text that says it."""

    value: str
    start: int
    end: int
    quoted: bool


@dataclass(frozen=True)
class Table:
    """A CSV file: its text, how it is encoded, what separates cells, and the cells."""

    text: str
    encoding: str
    separator: str
    rows: list[list[CsvCell]]

    def changed(self, changes: Mapping[CsvCell, str]) -> bytes:
        """The file with other values in some cells, each quoted if it was or has to be."""
        parts, at = [], 0
        for cell, value in sorted(changes.items(), key=lambda change: change[0].start):
            if cell.quoted or any(c in value for c in f'{self.separator}"\r\n'):
                value = '"' + value.replace('"', '""') + '"'
            parts += [self.text[at : cell.start], value]
            at = cell.end
        return "".join([*parts, self.text[at:]]).encode(self.encoding)


def read_table(path: Path, is_header: Callable[[list[str]], bool]) -> Table:
    """Read a CSV file, separated by what makes its first row the header that is expected.

    Args:
        path: the file, in UTF-8, UTF-16 or else some encoding of one byte a character.
        is_header: whether the values of a row are such a header.
    Raises:
        ValueError: if no separator makes it one, or a quote does not end.
    """
    if path.stat().st_size > LARGEST:
        raise ValueError(f"the file is larger than {LARGEST // 1_000_000} MB")
    content = path.read_bytes()
    encoding = MARKS.get(content[:2], "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        encoding = "latin-1"  # whichever it is: every byte comes back as it was
        text = content.decode(encoding)
    start = 1 if text.startswith("\ufeff") else 0
    for separator in SEPARATORS:
        first, _ = _row(text, start, separator)
        if is_header([cell.value.strip() for cell in first]):
            rows, at = [], start
            while at < len(text):
                row, at = _row(text, at, separator)
                rows.append(row)
            return Table(text, encoding, separator, rows)
    raise ValueError("the first row is not the expected header")


def _row(text: str, at: int, separator: str) -> tuple[list[CsvCell], int]:
    """The row that begins at a place of the text, and where the next one does."""
    cells = []
    while True:
        cell, at = _cell(text, at, separator)
        cells.append(cell)
        if text[at : at + 1] != separator:
            break
        at += 1
    if text[at : at + 2] == "\r\n":
        return cells, at + 2
    return cells, at + 1


def _cell(text: str, at: int, separator: str) -> tuple[CsvCell, int]:
    start, value = at, []
    quoted = text[at : at + 1] == '"'
    if quoted:
        while True:
            end = text.find('"', at + 1)
            if end < 0:
                raise ValueError(
                    f"the quote in line {text.count(chr(10), 0, start) + 1} is not closed"
                )
            value.append(text[at + 1 : end])
            at = end + 1
            if text[at : at + 1] != '"':
                break
            value.append('"')
    end = at
    while end < len(text) and text[end] not in (separator, "\r", "\n"):
        end += 1
    value.append(text[at:end])
    return CsvCell("".join(value), start, end, quoted), end
