"""Whose a file is, by its path or by the LMS, and the id under which a student is graded."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cs231n_gen.grading.collect.untrusted_files import RESERVED, Unsafe, shown

LONGEST_ID = 64
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
        Unsafe: if it cannot name a folder on every system, or nbgrader refuses it.
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
        said = "Windows reserves it for a device"
    if said:
        raise Unsafe(f"{shown(name)!r} cannot be a student's id: {said}")
    return made
