"""Whose a file is, as its path says it, and the id under which a student is graded."""

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cs231n_gen.grading.collect.untrusted_files import RESERVED, Unsafe, same, shown

LONGEST_ID = 64
LONGEST_ROSTER = 5_000_000
CANVAS = re.compile(r"(?P<who>[^_]+)_(?P<late>LATE_)?(?P<number>[1-9]\d*)_[1-9]\d*_(?P<rest>.+)")
MOODLE = re.compile(r"(?P<who>.+?)_(?P<number>\d+)_assignsubmission_file_?(?P<rest>.*)")
GRADESCOPE = re.compile(r"submission_(?P<number>\d+)")
METADATA = "submission_metadata.yml"
NOBODY = re.compile(
    r"|submi(ssions?|tted)|notebooks|cs231n_gen|downloads?|inbox|assignment_\d+_export", re.I
)
NUMBERED = r"(?:-(?P<attempt>\d{1,4})| ?\((?P<again>\d{1,4})\))?"  # Canvas's -1, a browser's (1)


@dataclass(frozen=True)
class Who:
    """A student as named by a path or by the LMS.

    Args:
        name: `student01`, Canvas's `lastfirst`, Moodle's `Firstname Lastname`.
        lms: `canvas`, `moodle`, `gradescope`, or "" where it is a plain name.
        number: the LMS's own number of them, or "".
        login, email: where the LMS says them.
    """

    name: str
    lms: str = ""
    number: str = ""
    login: str = ""
    email: str = ""


@dataclass(frozen=True)
class Slot:
    """Where a path says whose it is: `who`, what it calls the file below, and the LMS's marks."""

    who: Who
    key: tuple[str, ...]
    rest: tuple[str, ...]
    late: bool = False
    stem: bool = False  # it is the name of a zip and no more, so it may be a download of a class


def split_name(name: str, chapters: Sequence[str]) -> tuple[str, str, int]:
    """`student01`, the chapter or "", and the attempt, of `student01_04_rectified_flow-2`."""
    for chapter in chapters:
        pattern = rf"(?P<before>(?:.*[_\-. ])?){re.escape(chapter)}{NUMBERED}(?P<after>[_\-. ].*)?"
        if found := re.fullmatch(pattern, name):
            rest = found["before"].rstrip("_-. ") or (found["after"] or "").lstrip("_-. ")
            return rest, chapter, int(found["attempt"] or found["again"] or 0)
    again = re.fullmatch(r"(.+?) ?\((\d{1,4})\)", name)
    return (again[1], "", int(again[2])) if again else (name, "", 0)


def whose(part: str, chapters: Sequence[str]) -> Who | None:
    """Whom the name of a folder, or of a zip without its ending, names."""
    for lms, pattern in (("canvas", CANVAS), ("moodle", MOODLE)):
        if found := pattern.fullmatch(part):
            return Who(found["who"], lms, found["number"])
    name = split_name(part, chapters)[0]
    return None if NOBODY.fullmatch(name) else Who(name)


def slot(path: tuple[str, ...], chapters: Sequence[str]) -> Slot | None:
    """Whose a file is: the outermost part that says so counts, as an LMS puts its own outside.

    Inner names are the student's, and could be another's.
    """
    for at, part in enumerate(path):
        last = at == len(path) - 1
        above = path[:at]
        if found := MOODLE.fullmatch(part):
            who = Who(found["who"], "moodle", found["number"])
            rest = (found["rest"],) if last else path[at + 1 :]
            return Slot(who, (*above, who.lms, who.name, who.number), rest)
        if last and (found := _canvas(part, chapters)):
            who = Who(found["who"], "canvas", found["number"])
            key = (*above, who.lms, who.name, who.number)
            return Slot(who, key, (found["rest"],), bool(found["late"]))
        if not last and (found := GRADESCOPE.fullmatch(part)):
            return Slot(Who(part, "gradescope", found["number"]), path[: at + 1], path[at + 1 :])
        if last and not part.lower().endswith(".zip"):
            return None
        if who := whose(part[:-4] if last else part, chapters):
            return Slot(who, path[: at + 1], path[at + 1 :] or (part,), stem=last)
    return None


def _canvas(part: str, chapters: Sequence[str]) -> re.Match | None:
    """Canvas's name, but not `student_1_10_text_to_image.zip`, whose numbers are its own."""
    found = CANVAS.fullmatch(part)
    before, chapter, _ = split_name(part.rpartition(".")[0], chapters)
    return found if found and (not chapter or CANVAS.fullmatch(f"{before}_x")) else None


def gradescope(text: bytes) -> dict[str, tuple[list[Who], datetime | None]]:
    """Who handed in `submission_1`, …, and when, of Gradescope's `submission_metadata.yml`.

    Raises:
        Unsafe: if it cannot be read.
    """
    import yaml

    class NoAliases(yaml.SafeLoader):
        """An alias can stand for a billion values."""

        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("it has aliases")
            return super().compose_node(parent, index)

    try:
        facts = yaml.load(text, NoAliases)
        return {str(k): _submission(v) for k, v in facts.items() if isinstance(v, dict)}
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:
        said = shown(str(error).splitlines()[0])
        raise Unsafe(f"{METADATA} cannot be read: {said}") from None


def _submission(facts: dict) -> tuple[list[Who], datetime | None]:
    people = facts.get(":submitters")
    people = [p for p in people if isinstance(p, dict)] if isinstance(people, list) else []
    found = []
    for person in people:
        name, login, email = (str(person.get(f":{k}") or "") for k in ("name", "sid", "email"))
        found.append(Who(name, "gradescope", email or login or name, login, email))
    made = facts.get(":created_at")
    if not isinstance(made, datetime):
        return found, None
    return found, (made if made.tzinfo else made.replace(tzinfo=UTC)).astimezone(UTC)


def student_id(name: str) -> str:
    """A name as an id: NFC, blanks are `_`.

    Raises:
        Unsafe: if it is no good as the name of a folder on every system, or for nbgrader.
    """
    made = re.sub(r"\s+", "_", unicodedata.normalize("NFC", name).strip())
    wrong = [c for c in made if unicodedata.category(c)[0] not in "LMN" and c not in "._-@'"]
    said = ""
    if not made:
        said = "it is empty"
    elif wrong:
        said = f"it holds {shown(wrong[0])!r}"
    elif made[0] in ".-" or made[-1] == ".":
        said = f"it begins or ends with {made[0] if made[0] in '.-' else '.'!r}"
    elif len(made) > LONGEST_ID or len(made.encode()) > 3 * LONGEST_ID:
        said = f"it has {len(made)} characters, expected at most {LONGEST_ID}"
    elif RESERVED.fullmatch(made):
        said = "Windows keeps it for a device"
    if said:
        raise Unsafe(f"{shown(name)!r} cannot be a student's id: {said}")
    return made


class Roster:
    """The students of a course: finds the id of somebody whom an LMS names."""

    def __init__(self, rows: Sequence[dict[str, str]]):
        """From rows with `id`, and where known `name`, `email`, `number`."""
        self.ids: dict[str, str] = {}
        self.found: dict[tuple[str, str], set[str]] = {}
        for row in rows:
            own = student_id(row["id"])
            if same(own) in self.ids:
                raise Unsafe(f"has two students with the id {own}")
            self.ids[same(own)] = own
            words = [_letters(w) for w in re.split(r"[\s,]+", row["name"]) if _letters(w)]
            last, comma, first = row["name"].partition(",")
            turned = [[first, last]] if comma else [[*words[i:], *words[:i]] for i in (1, -1)]
            for order in [words, *turned]:
                self._add("name", _letters("".join(order)), own)
            self._add("email", same(row["email"]), own)
            self._add("number", row["number"], own)
            self._add("login", same(row["login"]), own)

    def _add(self, kind: str, value: str, own: str) -> None:
        if value:
            self.found.setdefault((kind, value), set()).add(own)

    def find(self, who: Who) -> str:
        """The id; a number, a login or an email counts before a name.

        Raises:
            Unsafe: if there is no such student, or more than one.
        """
        number = who.number if who.lms == "canvas" else ""
        if number and any(kind == "number" for kind, _ in self.found):
            keys = [("number", number)]
        else:
            keys = [("email", same(who.email)), ("login", same(who.login))]
            keys += [("name", _letters(who.name))] if who.lms else []
        if not who.lms:
            keys += [("login", same(who.name)), ("name", _letters(who.name))]
            if own := self.ids.get(same(re.sub(r"\s+", "_", who.name.strip()))):
                return own
        if who.login and (own := self.ids.get(same(who.login))):
            return own
        found = next((self.found[k] for k in keys if k in self.found), set())
        if len(found) == 1:
            return next(iter(found))
        told = shown(who.name) + (f" ({shown(who.number)})" if who.number else "")
        if found:
            raise Unsafe(f"{told} could be {' or '.join(sorted(found))} of the roster")
        raise Unsafe(f"{told} is not in the roster")


def read_roster(path: Path) -> Roster:
    """A roster from a CSV file with the columns `id,name,email`, or Canvas's gradebook.

    Raises:
        Unsafe: if it cannot be read.
        OSError: if the file cannot be opened.
    """
    with path.open("rb") as file:
        data = file.read(LONGEST_ROSTER + 1)
    if len(data) > LONGEST_ROSTER:
        raise Unsafe(f"has more than {LONGEST_ROSTER} bytes")
    try:
        table = csv.DictReader(io.StringIO(data.decode("utf-8-sig")), strict=True)
        lines = [{(k or "").strip(): (v or "") for k, v in r.items() if k} for r in table]
        columns = [(c or "").strip() for c in table.fieldnames or ()]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unsafe(f"is no CSV file in UTF-8: {shown(str(error))}") from None
    lower = {c.lower(): c for c in columns}
    canvas = "Student" in columns and "ID" in columns
    names = {"id": "sis login id", "name": "student", "number": "id", "login": "sis user id"}
    names = names if canvas else {k: k for k in ("id", "name", "login")}
    names["email"] = "email"
    if lower.get(names["id"]) is None and canvas:
        names["id"] = "id"
    if names["id"] not in lower:
        raise Unsafe(
            f"has the columns {shown(', '.join(columns))}, expected id,name,email "
            "or Canvas's Student,ID,SIS Login ID"
        )
    keys = {k: lower.get(names.get(k, ""), "") for k in ("id", "name", "email", "number", "login")}
    rows = [{k: line.get(c, "").strip() for k, c in keys.items()} for line in lines]
    rows = [row for row in rows if row["id"]]
    if not rows:
        raise Unsafe("has no students")
    return Roster(rows)


def _letters(name: str) -> str:
    return "".join(c for c in same(name) if c.isalnum())
