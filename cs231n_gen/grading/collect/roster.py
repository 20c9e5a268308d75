"""The roster: the students of a course, and how the ways to name one lead to an id."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from cs231n_gen.grading.collect.identify import Who, student_id
from cs231n_gen.grading.collect.untrusted_files import Unsafe, name_key, shown

LONGEST_ROSTER = 5_000_000  # bytes


class Roster:
    """The students of a course: finds the id of somebody whom an LMS names."""

    def __init__(self, rows: Sequence[dict[str, str]]):
        """From rows with `id`, and where known `name`, `email`, `number`."""
        self.ids: dict[str, str] = {}
        self.found: dict[tuple[str, str], set[str]] = {}
        for row in rows:
            own = student_id(row["id"])
            if name_key(own) in self.ids:
                raise Unsafe(f"has two students with the id {own}")
            self.ids[name_key(own)] = own
            words = [_letters(w) for w in re.split(r"[\s,]+", row["name"]) if _letters(w)]
            last, comma, first = row["name"].partition(",")
            turned = [[first, last]] if comma else [[*words[i:], *words[:i]] for i in (1, -1)]
            for order in [words, *turned]:
                self._add("name", _letters("".join(order)), own)
            self._add("email", name_key(row["email"]), own)
            self._add("number", row["number"], own)
            self._add("login", name_key(row["login"]), own)

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
            keys = [("email", name_key(who.email)), ("login", name_key(who.login))]
            keys += [("name", _letters(who.name))] if who.lms else []
        if not who.lms:
            keys += [("login", name_key(who.name)), ("name", _letters(who.name))]
            if own := self.ids.get(name_key(re.sub(r"\s+", "_", who.name.strip()))):
                return own
        if who.login and (own := self.ids.get(name_key(who.login))):
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
        raise Unsafe(f"is not a CSV file in UTF-8: {shown(str(error))}") from None
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
    return "".join(c for c in name_key(name) if c.isalnum())
