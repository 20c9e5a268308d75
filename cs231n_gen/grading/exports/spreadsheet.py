"""nbgrader's CSV of all grades, safe to open in a spreadsheet.

A name such as `=HYPERLINK(...)` is a formula to a spreadsheet. Here it stays text. Commas and
quotes in a name are quoted too, which nbgrader's own export does not do.
"""

import csv
import io
import re
from pathlib import Path

from nbgrader.api import Gradebook
from nbgrader.plugins import CsvExportPlugin

from cs231n_gen.common.files import write_whole
from cs231n_gen.grading.exports import final_score, open_gradebook

COLUMNS = [
    "assignment",
    "duedate",
    "timestamp",
    "student_id",
    "last_name",
    "first_name",
    "email",
    "raw_score",
    "late_submission_penalty",
    "score",
    "max_score",
]
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
STARTS = "=+\\-@＝＋－＠﹦﹢﹣﹫"  # as typed, full-width and small
# What some program skips before it looks for a formula: blanks, quotes, invisible characters.
SKIPPED = r'[\s\x00-\x1f"\u200b-\u200f\u2060\ufeff]*'
AT_START = re.compile(rf"[\t\r\n]|{SKIPPED}[{STARTS}]")
# A program set to another separator begins a new cell behind it.
IN_NEXT_CELL = re.compile(rf"([;,|\t\r\n])(?={SKIPPED}[{STARTS}])")


def neutral(value):
    """A value that no spreadsheet runs: an apostrophe stands where a formula would begin.

    Numbers, and text that is nothing but a number, stay as they are. What is neutral already does
    too.
    """
    if not isinstance(value, str) or NUMBER.fullmatch(value):
        return value
    value = IN_NEXT_CELL.sub(r"\1'", value)
    return f"'{value}" if AT_START.match(value) else value


class SafeCsv(CsvExportPlugin):
    """nbgrader's CSV export, with its columns and options, for a spreadsheet.

    `nbgrader export --exporter=cs231n_gen.grading.exports.spreadsheet.SafeCsv`
    """

    def export(self, gradebook: Gradebook) -> None:
        """Write the grades to `self.to`, `grades.csv` if that is empty."""
        to = Path(self.to or "grades.csv")
        self.log.info("Exporting grades to %s", to)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self._rows(gradebook):
            writer.writerow(neutral("" if value is None else value) for value in row)
        # A name can hold half a character, which UTF-8 can not.
        write_whole(to, text.getvalue().encode("utf-8", "replace"))

    def _rows(self, gradebook: Gradebook):
        """A row for every student and assignment that is asked for, zeros without a submission."""
        students, assignments = ({str(name) for name in s} for s in (self.student, self.assignment))
        for a in gradebook.assignments:
            if assignments and a.name not in assignments:
                continue
            submitted = {s.student_id: s for s in gradebook.assignment_submissions(a.name)}
            for student in gradebook.students:
                if students and student.id not in students:
                    continue
                s = submitted.get(student.id)
                yield [
                    a.name,
                    _date(a.duedate),
                    _date(s.timestamp) if s else "",
                    student.id,
                    student.last_name,
                    student.first_name,
                    student.email,
                    s.score if s else 0.0,
                    s.late_submission_penalty if s else 0.0,
                    final_score(s) if s else 0.0,
                    a.max_score,
                ]


def write_csv(root: Path, to: Path | None = None) -> Path:
    """Write all grades of a course as CSV.

    Args:
        root: the folder with nbgrader_config.py.
        to: the file, `exports/grades.csv` in the course by default.
    Raises:
        ExportError: if there is no gradebook.
    """
    to = root / "exports" / "grades.csv" if to is None else Path(to)
    with open_gradebook(root) as gradebook:
        SafeCsv(to=str(to)).export(gradebook)
    return to


def _date(value) -> str:
    return "" if value is None else str(value)
