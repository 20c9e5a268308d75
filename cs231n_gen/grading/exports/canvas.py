"""The instructor's own gradebook export from Canvas, with one column filled in.

Every other character comes back as it was, so that Canvas takes the file for its own.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cs231n_gen.common.chapters import find_chapter
from cs231n_gen.common.files import write_whole
from cs231n_gen.grading.exports import ExportError, final_score, open_gradebook
from cs231n_gen.grading.exports.csv_cells import CsvCell, Table, read_table

TEST_STUDENTS = {"Student, Test", "Test Student"}  # Canvas's own, for the student view
SPOKEN_FOR = {"EX", "N/A"}  # excused, not assigned: a decision that a score would undo
ASSIGNMENT = re.compile(r"(?P<title>.*\S)\s*\((?P<id>[0-9]+)\)\s*", re.S)


class NotCanvas(ExportError):
    """The file is not a gradebook export of Canvas; one line that says what was expected."""


class Ambiguous(ExportError):
    """Two columns or two students could be meant; nothing is written."""


@dataclass(frozen=True)
class Filled:
    """A Canvas export after it was filled.

    Args:
        path: the file that was written.
        column: the header of the column that was filled.
        filled: how many students got a score.
        scale: by how much scores were multiplied: Canvas's maximum over that of the gradebook.
        kept: students whose cell says EX or N/A, which stays.
        missing: students who handed in nothing; their cell stays as it was.
        unfinished: students whose answers still wait for a person; their score is not final.
        only_canvas, only_gradebook: who is in one of the two only.
    """

    path: Path
    column: str
    filled: int
    scale: float = 1.0
    kept: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    only_canvas: tuple[str, ...] = ()
    only_gradebook: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.filled} scores in “{self.column}”: {self.path}"]
        if self.scale != 1:
            lines.append(f"Canvas gives other points: scores were multiplied by {self.scale:.6g}")
        told = {
            "excused or not assigned, left alone": self.kept,
            "nothing handed in, left alone": self.missing,
            "answers not graded yet, the score is not final": self.unfinished,
            "in Canvas but not in the gradebook": self.only_canvas,
            "in the gradebook but not in Canvas": self.only_gradebook,
        }
        lines += [f"{what}: {', '.join(map(_plain, who))}" for what, who in told.items() if who]
        return "\n".join(lines)


def fill(
    export: Path, root: Path, chapter: str, *, column: str | None = None, to: Path | None = None
) -> Filled:
    """Fill the column of a chapter in a Canvas export with nbgrader's final scores.

    Late penalties are taken off. If Canvas gives another maximum than the gradebook, scores are
    scaled to it. They have at most four decimals.

    Args:
        export: the CSV from Canvas (Grades, Export entire gradebook).
        root: the course, with nbgrader_config.py.
        chapter: its number or name.
        column: which column: its header, its title or its Canvas number. By default the one named
            like the chapter.
        to: the file to write, by default beside the export; only an explicit `to` overwrites it.
    Raises:
        NotCanvas: if the file is not a Canvas export.
        Ambiguous: if two columns, or two students, could be meant.
        UnknownChapter: a ValueError, if the gradebook has no such chapter.
        ExportError: if there is no such column or gradebook.
    """
    export = Path(export)
    with open_gradebook(root) as gradebook:
        assignment = _assignment(gradebook, chapter)
        most, name = assignment.max_score, assignment.name
        students = [(s.id, s.email or "") for s in gradebook.students]
        submissions = {
            s.student_id: (final_score(s), s.needs_manual_grade)
            for s in gradebook.assignment_submissions(name)
        }
    table, header, points, rows = _read(export)
    at = _column(header, name, column)
    scale, comma = _scale(points, at, most)
    of_row = _match(header, rows, students)
    said = defaultdict(list)
    changes = {}
    for row in rows:
        who = of_row.get(id(row))
        if who is None:
            if _name(header, row) not in TEST_STUDENTS:
                said["only_canvas"].append(_label(header, row))
        elif len(row) <= at:
            raise NotCanvas(f"{export.name}: the row of {who} has no cell for {header[at]}")
        elif row[at].value.strip().upper() in SPOKEN_FOR:
            said["kept"].append(who)
        elif who not in submissions:
            said["missing"].append(who)
        else:
            score, waits = submissions[who]
            changes[row[at]] = _number(score * scale, comma)
            if waits:
                said["unfinished"].append(who)
    found = set(of_row.values())
    said["only_gradebook"] = [s for s, _ in students if s not in found]
    to = export.with_name(f"{export.stem}-{name}.csv") if to is None else Path(to)
    write_whole(to, table.changed(changes))
    told = {what: tuple(who) for what, who in said.items()}
    return Filled(to, header[at], len(changes), scale, **told)


def _assignment(gradebook, chapter: str):
    known = {a.name: a for a in gradebook.assignments}
    return known[find_chapter(chapter, known)]


def _read(export: Path) -> tuple[Table, list[str], list[CsvCell], list[list[CsvCell]]]:
    """The file, its header, the row of points, and the rows of students."""
    expected = "expected a Canvas gradebook export: a header with Student, ID, Section, then "
    expected += "a row “Points Possible”"
    try:
        table = read_table(export, lambda row: {"ID", "Section"} <= set(row) and _named(row))
    except ValueError as error:
        raise NotCanvas(f"{export.name}: {error}; {expected}") from None
    header = [cell.value.strip() for cell in table.rows[0]]
    rows = [row for row in table.rows[1:] if any(cell.value.strip() for cell in row)]
    # Before it Canvas puts a row that says which grades are posted by hand.
    first = [row[0].value.strip() for row in rows[:3]]
    if "Points Possible" not in first:
        raise NotCanvas(f"{export.name}: no row “Points Possible” below the header; {expected}")
    at = first.index("Points Possible")
    return table, header, rows[at], rows[at + 1 :]


def _named(header: Sequence[str]) -> bool:
    return "Student" in header or {"LastName", "FirstName"} <= set(header)


def _column(header: list[str], chapter: str, wanted: str | None) -> int:
    """Where the scores go."""
    found = {i: m for i, h in enumerate(header) if (m := ASSIGNMENT.fullmatch(h))}
    number, _, name = chapter.partition("_")
    if wanted is not None:
        named = wanted.strip().casefold()
        tiers = [[i for i, m in found.items() if m[0].strip().casefold() == named]]
        tiers += [[i for i, m in found.items() if m["id"] == named]]
        tiers += [[i for i, m in found.items() if m["title"].strip().casefold() == named]]
    else:
        own, words = _words(chapter), {i: _words(m["title"]) for i, m in found.items()}
        tiers = [[i for i, w in words.items() if w == own]]
        tiers += [[i for i, w in words.items() if f" {_words(name)} " in f" {w} "]]
        tiers[1] = [i for i in tiers[1] if not _other_number(words[i], number)]
    best = next((tier for tier in tiers if tier), [])
    if len(best) == 1:
        return best[0]
    listed = ", ".join(_plain(found[i][0].strip()) for i in best or found) or "none"
    which = wanted or chapter
    if best:
        raise Ambiguous(f"{len(best)} columns could be {which}: {listed}; name one by its number")
    raise ExportError(f"no assignment column is called {which}; there are {listed}")


def _words(text: str) -> str:
    """`04: Rectified flow` and `04_rectified_flow` as `4 rectified flow`."""
    words = re.findall(r"[^\W_]+", text.casefold())
    return " ".join(str(int(w)) if w.isdecimal() else w for w in words)


def _other_number(words: str, number: str) -> bool:
    numbers = {w for w in words.split() if w.isdecimal()}
    return bool(numbers) and _words(number) not in numbers


def _scale(points: list[CsvCell], at: int, most: float) -> tuple[float, bool]:
    """The factor to Canvas's points, and whether numbers have a decimal comma."""
    texts = [cell.value.strip() for cell in points[1:]]
    comma = any(re.fullmatch(r"[0-9]+,[0-9]+", text) for text in texts)
    text = points[at].value.strip() if at < len(points) else ""
    if not re.fullmatch(r"[0-9]{1,9}([.,][0-9]{1,9})?", text):
        return 1.0, comma  # an assignment without points
    possible = float(text.replace(",", "."))
    return (possible / most if possible and most else 1.0), comma


def _number(value: float, comma: bool) -> str:
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return text.replace(".", ",") if comma else text


def _match(header: list[str], rows: list[list[CsvCell]], students: list[tuple[str, str]]) -> dict:
    """The student of each row, by the row's identity.

    A row is looked up by login and SIS number, then by e-mail, then by Canvas's own number.
    """
    ids, emails, mailboxes = defaultdict(set), defaultdict(set), defaultdict(set)
    for student, email in students:
        ids[_key(student)].add(student)
        if "@" in email:
            emails[_key(email)].add(student)
            mailboxes[_mailbox(email)].add(student)
    for index in (ids, emails, mailboxes):
        index[""] = set()  # an empty cell is nobody
    found: dict[int, str] = {}
    owner: dict[str, list[CsvCell]] = {}
    for row in rows:
        login, sis, own = (
            _key(_cell(header, row, n)) for n in ("SIS Login ID", "SIS User ID", "ID")
        )
        box = _mailbox(login)
        tiers = [
            ids[login] | ids[sis],
            emails[login],
            ids[box] | mailboxes[box],
            ids[own],
        ]
        best = next((tier for tier in tiers if tier), set())
        if len(best) > 1:
            both = ", ".join(map(_plain, sorted(best)))
            raise Ambiguous(f"the row of {_plain(_label(header, row))} fits {both}")
        for who in best:
            if who in owner:
                both = " and ".join(_plain(_label(header, r)) for r in (owner[who], row))
                raise Ambiguous(f"two rows fit {_plain(who)}: {both}")
            owner[who] = row
            found[id(row)] = who
    return found


def _key(text: str) -> str:
    return text.strip().casefold()


def _mailbox(text: str) -> str:
    return _key(text).partition("@")[0]


def _cell(header: list[str], row: list[CsvCell], name: str) -> str:
    at = header.index(name) if name in header else len(row)
    return row[at].value.strip() if at < len(row) else ""


def _name(header: list[str], row: list[CsvCell]) -> str:
    if "Student" in header:
        return _cell(header, row, "Student")
    return f"{_cell(header, row, 'LastName')}, {_cell(header, row, 'FirstName')}"


def _label(header: list[str], row: list[CsvCell]) -> str:
    login = _cell(header, row, "SIS Login ID") or _cell(header, row, "ID")
    return f"{_name(header, row)} ({login})"


def _plain(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)
