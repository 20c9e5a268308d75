"""Taking in submissions: every way they arrive, and every way they can be hostile."""

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import stat
import struct
import tarfile
import warnings
import zipfile
from datetime import UTC, datetime

import pytest
from nbgrader.coursedir import CourseDirectory

from cs231n_gen.common.chapters import UnknownChapter
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.collect import store, untrusted_files, untrusted_zip
from cs231n_gen.grading.collect.collect import CollectError, collect
from cs231n_gen.grading.collect.identify import student_id
from cs231n_gen.grading.collect.untrusted_files import Unsafe

CHAPTER, OTHER = "04_rectified_flow", "00_start"
NOTEBOOK, MODULE = f"{CHAPTER}.ipynb", "cs231n_gen/flow.py"
CELL = {"cell_type": "code", "metadata": {}, "source": ["1 + 1"], "outputs": []}
EARLY, LATE = "2025-01-02T03:04:05+00:00", "2025-02-03T04:05:06+00:00"
DOS = (2025, 3, 4, 5, 6, 8)


@pytest.fixture(scope="module")
def source_tree(tmp_path_factory):
    """Of the course, what says which modules belong to which chapter."""
    root = tmp_path_factory.mktemp("course")
    for name in (CHAPTER, OTHER):
        (root / "notebooks" / name).mkdir(parents=True)
        shutil.copy(ROOT / "notebooks" / name / f"{name}.ipynb", root / "notebooks" / name)
    (root / "cs231n_gen").mkdir()
    for name in ("flow.py", "likelihood.py"):
        shutil.copy(ROOT / "cs231n_gen" / name, root / "cs231n_gen")
    return root


@pytest.fixture
def root(source_tree, tmp_path):
    return shutil.copytree(source_tree, tmp_path / "course")


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def notebook(text="1 + 1", **changes):
    cells = [{**CELL, "source": [text]}]
    return json.dumps(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells, **changes}
    ).encode()


def handed_in(text="x = 1\n", made=EARLY, chapter=CHAPTER, module=MODULE):
    """The files that `submit` packs."""
    files = {f"{chapter}.ipynb": notebook(), module: text.encode()}
    hashes = {n: hashlib.sha256(b).hexdigest() for n, b in files.items()}
    manifest = {"format": 1, "chapter": chapter, "made": made, "files": hashes}
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def packed(files, time=DOS):
    """A zip, whose members are files by name or ready ZipInfos."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as out, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in files.items() if isinstance(files, dict) else files:
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name, time)
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, data)
    return stream.getvalue()


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files(folder)}


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != store.LOCK)


def there(root, student="student01", chapter=CHAPTER):
    return tree(root / "submitted" / student / chapter)


def stamp(root, student="student01"):
    return there(root, student)["timestamp.txt"].decode()


def students(collected):
    return sorted(t.student for t in collected.attempts)


def states(collected):
    return [(t.student, t.state) for t in collected.attempts]


def reasons(collected):
    return " | ".join(f"{r.source}: {r.reason}" for r in collected.refused)


def local(time):
    """A zip's time, which has no zone, as it is written down here."""
    return f"{datetime(*time).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC\n"


# --- ways to arrive -----------------------------------------------------------------------------

LOOSE = {NOTEBOOK: notebook(), "flow.py": b"x = 1\n"}
WHOLE = {f"notebooks/{CHAPTER}/{NOTEBOOK}": notebook(), MODULE: b"x = 1\n"}


def below(folder, files):
    return {f"{folder}/{name}": data for name, data in files.items()}


ARRIVALS = {
    "a zip by student": ({"student01.zip": packed(handed_in())}, "student01"),
    "by student and chapter": ({f"student01_{CHAPTER}.zip": packed(handed_in())}, "student01"),
    "loaded down twice": ({f"student01_{CHAPTER} (1).zip": packed(handed_in())}, "student01"),
    "a folder for a zip": ({f"student01/{CHAPTER}.zip": packed(handed_in())}, "student01"),
    "a zip of a folder": ({"student01.zip": packed(below("work", handed_in()))}, "student01"),
    "a zip in a zip": (
        {"student01.zip": packed({f"{CHAPTER}.zip": packed(handed_in())})},
        "student01",
    ),
    "nbgrader": (below(f"student01/{CHAPTER}", handed_in()), "student01"),
    "loose files": (below("student01", LOOSE), "student01"),
    "the whole course": (below("student01", WHOLE), "student01"),
    "the whole course, zipped": ({"student01.zip": packed(below("course", WHOLE))}, "student01"),
    "canvas": (
        {f"lastfirst_LATE_12345_67890_{CHAPTER}.zip": packed(handed_in())},
        "lastfirst",
    ),
    "canvas, loose": (
        {
            f"lastfirst_12345_67890_{CHAPTER}-1.ipynb": notebook(),
            "lastfirst_12345_67891_flow-1.py": b"x = 1\n",
            "lastfirst_12345_67889_flow.py": b"x = 0\n",
        },
        "lastfirst",
    ),
    "moodle": (
        {f"Jo Doe_12345_assignsubmission_file_/{CHAPTER}.zip": packed(handed_in())},
        "Jo_Doe",
    ),
    "moodle, flat": (
        {f"Jo Doe_12345_assignsubmission_file_{CHAPTER}.zip": packed(handed_in())},
        "Jo_Doe",
    ),
    "moodle, loose": (below("Jo Doe_12345_assignsubmission_file_", LOOSE), "Jo_Doe"),
    "gradescope": (
        {
            **below("assignment_123_export/submission_456", handed_in()),
            "assignment_123_export/submission_metadata.yml": b"submission_456:\n"
            b"  :submitters:\n  - :name: Jo Doe\n    :sid: 'student01'\n    :email: a@b\n"
            b"  :created_at: 2025-04-05 06:07:08.123456000 Z\n",
        },
        "student01",
    ),
}


@pytest.mark.parametrize("way", ARRIVALS)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_it_is_taken_from_where_it_arrives(way, form, root, inbox):
    files, student = ARRIVALS[way]
    if form == "folder":
        write(inbox, files)
        found = collect([inbox], root)
    elif way == "a zip in a zip":
        pytest.skip("that is one zip too many")
    else:
        names = {name.partition("/")[0] for name in files}
        again = {n.replace("student01", "student02"): d for n, d in files.items()}
        both = {**again, **files} if names != {"assignment_123_export"} else files
        (inbox / "submissions.zip").write_bytes(packed(both))
        found = collect([inbox / "submissions.zip"], root)
    assert not found.refused
    assert student in students(found)
    got = there(root, student)
    assert got.keys() - {"manifest.json"} == {NOTEBOOK, MODULE, "timestamp.txt"}
    assert got[MODULE] == b"x = 1\n"
    assert not (root / "submitted" / store.WORK).exists()


def test_files_given_one_by_one(root, inbox):
    name = f"lastfirst_12345_67890_{CHAPTER}.ipynb"
    write(inbox, {name: notebook(), "lastfirst_12345_67891_flow.py": b"x = 1\n"})
    assert students(collect(sorted(inbox.iterdir()), root)) == ["lastfirst"]
    assert there(root, "lastfirst")[MODULE] == b"x = 1\n"


def test_submit_s_own_place_is_told_by_the_folder_above(root, inbox):
    write(inbox, {f"student01/submissions/{CHAPTER}.zip": packed(handed_in())})
    zipped = inbox / "student01" / "submissions" / f"{CHAPTER}.zip"
    assert students(collect([zipped], root)) == ["student01"]


def test_two_chapters_of_one_student(root, inbox):
    other = handed_in(chapter=OTHER, module="cs231n_gen/likelihood.py")
    write(inbox / "student01", {"a.zip": packed(handed_in()), "b.zip": packed(other)})
    assert [t.chapter for t in collect([inbox], root).attempts] == [OTHER, CHAPTER]
    assert "cs231n_gen/likelihood.py" in there(root, chapter=OTHER)


def test_only_the_chapter_that_is_asked_for(root, inbox):
    other = handed_in(chapter=OTHER, module="cs231n_gen/likelihood.py")
    write(inbox, {"student01.zip": packed(handed_in()), "student02.zip": packed(other)})
    found = collect([inbox], root, chapter="04")
    assert students(found) == ["student01"]
    assert f"belongs to chapter {OTHER}, expected {CHAPTER}" in reasons(found)


def test_what_does_not_belong_is_left_out_and_named(root, inbox):
    extra = {
        "notes.txt": b"hi",
        "cs231n_gen/evil.py": b"",
        "__MACOSX/._x": b"",
        "autograded/x": b"",
    }
    write(inbox, {"student01.zip": packed({**handed_in(), **extra})})
    (attempt,) = collect([inbox], root).attempts
    assert there(root).keys() == {NOTEBOOK, MODULE, "manifest.json", "timestamp.txt"}
    assert "left out: autograded/x, cs231n_gen/evil.py, notes.txt" in attempt.notes


def test_a_missing_module_is_noted(root, inbox):
    write(inbox, {"student01.zip": packed({NOTEBOOK: notebook()})})
    assert f"{MODULE} is missing" in collect([inbox], root).attempts[0].notes


def test_a_manifest_that_is_wrong_is_a_note(root, inbox):
    write(inbox, {"student01.zip": packed({**handed_in(), MODULE: b"x = 2\n"})})
    write(inbox, {"student02.zip": packed({**handed_in(), "manifest.json": b"[" * 9999})})
    one, two = collect([inbox], root).attempts
    assert f"the manifest has different hashes for {MODULE}" in one.notes
    assert "manifest.json cannot be read and is left out" in two.notes


# --- whose --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["student02", "lastfirst_1_2_x", "Jo_12345_assignsubmission_file_"]
)
def test_names_inside_a_student_s_zip_do_not_count(name, root, inbox):
    (root / "submitted" / "student01").mkdir(parents=True)
    files = below(f"{name}", handed_in())
    write(inbox, {"student01.zip": packed(files)})
    assert students(collect([inbox / "student01.zip"], root)) == ["student01"]


def test_an_lms_s_name_counts_before_the_student_s(root, inbox):
    hers = packed(below(f"student02/{CHAPTER}", handed_in()))
    name = "lastfirst_12345_67890_student02_99_88_x.zip"
    write(inbox, {"submissions.zip": packed({name: hers})})
    assert students(collect([inbox], root)) == ["lastfirst"]


ROSTERS = {
    "plain": "id,name,email\nstudent01,Jo Doe,jo@example.org\nstudent02,Al Roe,\n",
    "canvas": "Student,ID,SIS Login ID,Section\n  Points Possible,,,\n"
    '"Doe, Jo",12345,student01,A\n"Roe, Al",777,student02,A\n',
}


@pytest.mark.parametrize("roster", ROSTERS)
@pytest.mark.parametrize(
    "name",
    [
        f"doejo_12345_67890_{CHAPTER}.zip",
        f"Jo Doe_99_assignsubmission_file_/{CHAPTER}.zip",
        "STUDENT01.zip",
    ],
)
def test_a_roster_gives_the_id(roster, name, root, inbox, tmp_path):
    (tmp_path / "roster.csv").write_text(ROSTERS[roster])
    write(inbox, {name: packed(handed_in()), "student99.zip": packed(handed_in())})
    found = collect([inbox], root, roster=tmp_path / "roster.csv")
    assert students(found) == ["student01"]
    assert "student99 is not in the roster" in reasons(found)


def test_a_number_that_the_roster_does_not_have_is_not_taken_by_name(root, inbox, tmp_path):
    (tmp_path / "roster.csv").write_text(ROSTERS["canvas"])
    write(inbox, {f"doejo_666_67890_{CHAPTER}.zip": packed(handed_in())})
    found = collect([inbox], root, roster=tmp_path / "roster.csv")
    assert "doejo (666) is not in the roster" in reasons(found)


def test_two_of_one_name_are_told_apart_by_a_roster_only(root, inbox, tmp_path):
    for number in (11, 22):
        write(inbox, {f"doejo_{number}_5_{CHAPTER}.zip": packed(handed_in())})
    found = collect([inbox], root)
    assert not found.attempts
    assert "doejo is the name of 11 and 22" in reasons(found)
    text = "Student,ID,SIS Login ID\n" + "".join(f'"Doe, Jo",{n},s{n}\n' for n in (11, 22))
    (tmp_path / "roster.csv").write_text(text)
    assert students(collect([inbox], root, roster=tmp_path / "roster.csv")) == ["s11", "s22"]


def test_upper_case_does_not_make_a_second_student(root, inbox):
    write(inbox, {"Student01.zip": packed(handed_in()), "student01.zip": packed(handed_in())})
    found = collect([inbox], root)
    assert students(found) == ["Student01"]
    assert "differ only in upper and lower case" in reasons(found)


@pytest.mark.parametrize(
    "name",
    ["a+b", "../x", ".x", "-x", "x.", "CON", "nul.txt", "a\x00b", "a\u202eb", "é" * 65, "", "a*"],
)
def test_an_id_that_is_no_good_is_refused(name):
    with pytest.raises(Unsafe, match="cannot be a student's id"):
        student_id(name)


def test_an_id_is_composed():
    assert student_id("Jose\u0301 O'Neil") == "José_O'Neil"


# --- when ---------------------------------------------------------------------------------------


def test_the_manifest_gives_the_time_where_no_lms_does(root, inbox):
    write(inbox, {"student01.zip": packed(handed_in())})
    assert collect([inbox], root).attempts[0].clock == "its manifest"
    assert stamp(root) == "2025-01-02 03:04:05 UTC\n"
    there = root / "submitted" / "student01" / CHAPTER
    assert CourseDirectory().get_existing_timestamp(str(there)) == datetime(2025, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("made", ["2999-01-01T00:00:00+00:00", "2025-01-02", "soon", 7, None])
def test_a_time_that_cannot_be_is_not_taken(made, root, inbox):
    write(inbox, {"student01.zip": packed(handed_in(made=made))})
    os.utime(inbox / "student01.zip", (1e9, 1e9))
    (attempt,) = collect([inbox], root).attempts
    assert stamp(root) == "2001-09-09 01:46:40 UTC\n"
    assert attempt.clock == "the file"
    assert "manifest" in " ".join(attempt.notes)


@pytest.mark.parametrize("way", ["canvas", "moodle", "moodle, loose"])
def test_an_lms_s_time_counts_before_the_student_s(way, root, inbox):
    files, student = ARRIVALS[way]
    (inbox / "submissions.zip").write_bytes(packed(files))
    assert collect([inbox], root).attempts[0].clock == "the LMS"
    assert stamp(root, student) == local(DOS)


def test_gradescope_s_time_counts_most(root, inbox):
    write(inbox, ARRIVALS["gradescope"][0])
    collect([inbox], root)
    assert stamp(root) == "2025-04-05 06:07:08 UTC\n"


def test_canvas_s_mark_is_noted(root, inbox):
    write(inbox, ARRIVALS["canvas"][0])
    assert "the LMS marks it late" in collect([inbox], root).attempts[0].notes


# --- again --------------------------------------------------------------------------------------


def test_of_canvas_s_attempts_the_last_counts(root, inbox):
    names = [f"lastfirst_1_2_{CHAPTER}{n}.zip" for n in ("-10", "-9", "")]
    zips = {n: packed(handed_in(f"x = {n!r}\n")) for n in names}
    (inbox / "submissions.zip").write_bytes(packed(zips))
    for state in ("new", "unchanged"):
        (attempt,) = collect([inbox], root).attempts
        assert attempt.state == state
        assert len([n for n in attempt.notes if "older attempt" in n]) == 2
    assert b"-10" in there(root, "lastfirst")[MODULE]


def test_doing_it_again_changes_nothing(root, inbox):
    for files, _ in ARRIVALS.values():
        write(inbox, files)
    collect([inbox], root)
    before = {p: p.stat().st_mtime_ns for p in (root / "submitted").rglob("*") if p.is_file()}
    found = collect([inbox], root)
    assert {t.state for t in found.attempts} == {"unchanged"}
    after = {p: p.stat().st_mtime_ns for p in (root / "submitted").rglob("*") if p.is_file()}
    lock = root / "submitted" / store.LOCK
    assert {**before, lock: 0} == {**after, lock: 0}


def test_a_newer_one_replaces_and_an_older_one_is_kept_out(root, inbox):
    old, new = packed(handed_in("x = 1\n")), packed(handed_in("x = 2\n", LATE))
    for data, state, text in ((old, "new", b"x = 1\n"), (new, "replaced", b"x = 2\n")):
        write(inbox, {"student01.zip": data})
        assert states(collect([inbox], root)) == [("student01", state)]
        assert there(root)[MODULE] == text
    write(inbox, {"student01.zip": old})
    assert states(collect([inbox], root)) == [("student01", "kept out")]
    assert there(root)[MODULE] == b"x = 2\n"


def _killed(root, inbox, at):
    rename, count = os.rename, []

    def killing(*args):
        if len(count) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        count.append(1)
        rename(*args)

    store.os.rename = killing
    collect([inbox], root)


@pytest.mark.parametrize("at", [0, 1])
def test_a_kill_between_two_renames_loses_nothing(at, root, inbox):
    write(inbox, {"student01.zip": packed(handed_in("x = 1\n"))})
    collect([inbox], root)
    write(inbox, {"student01.zip": packed(handed_in("x = 2\n", LATE))})
    process = multiprocessing.get_context("fork").Process(target=_killed, args=(root, inbox, at))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (root / "submitted" / "student01" / CHAPTER).exists() == (at == 0)
    with store.Store.opened(root):
        assert there(root)[MODULE] == b"x = 1\n"
    assert states(collect([inbox], root)) == [("student01", "replaced")]
    assert there(root)[MODULE] == b"x = 2\n"
    assert not (root / "submitted" / store.WORK).exists()


def test_two_do_not_collect_at_once(root, inbox):
    with store.Store.opened(root), pytest.raises(CollectError, match="another `collect`"):
        collect([inbox], root)


def test_a_link_in_submitted_is_not_written_through(root, inbox, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (root / "submitted").mkdir()
    (root / "submitted" / "student01").symlink_to(tmp_path / "elsewhere")
    write(inbox, {"student01.zip": packed(handed_in())})
    assert "is not a folder" in reasons(collect([inbox], root))
    assert not list((tmp_path / "elsewhere").iterdir())


# --- hostile archives ---------------------------------------------------------------------------


def member(name, mode=0, data=b"x", **fields):
    info = zipfile.ZipInfo(name, DOS)
    info.external_attr = mode << 16
    for key, value in fields.items():
        setattr(info, key, value)
    return [*handed_in().items(), (info, data)]


def renamed(name, raw):
    """A name that zipfile would not write."""
    data = packed([*handed_in().items(), (name, b"x")])
    return data.replace(name.encode(), raw)


def patched(data, field, value, size, which=-1, signature=b"PK\1\2"):
    """A zip with another value in the list of its members."""
    at = -1
    starts = []
    while (at := data.find(signature, at + 1)) >= 0:
        starts.append(at)
    at = starts[which] + field
    return data[:at] + value.to_bytes(size, "little") + data[at + size :]


def longer_than_declared():
    data = packed({NOTEBOOK: notebook(), MODULE: b"x = 1\n" * 1000})
    return patched(data, 24, 600, 4)


def overlapping():
    data = packed({**handed_in(), "z.txt": b"x" * 50})
    return patched(data, 42, 0, 4)


def tarred():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as out:
        out.addfile(tarfile.TarInfo("x"))
    return stream.getvalue()


def wide():
    """Half a million lists, which a zip cannot make much smaller."""
    digits = os.urandom(500_001).hex()
    return "".join(
        f"[{ord(a)}{ord(b)}]," for a, b in zip(digits[::2], digits[1::2], strict=True)
    ).encode()


def with_notebook(data):
    return packed({**handed_in(), NOTEBOOK: data})


def with_module(data):
    return packed({**handed_in(), MODULE: data})


HOSTILE = {
    "up": (packed(member("../evil.txt")), "leads out"),
    "up below": (packed(member("a/../../evil.txt")), "leads out"),
    "absolute": (packed(member("/evil.txt")), "absolute"),
    "drive": (packed(member("C:evil.txt")), "absolute"),
    "backslash": (renamed("a-evil.txt", b"a\\evil.txt"), "backslash"),
    "NUL": (renamed("a-evil.txt", b"a\0evil.txt"), "cannot be shown"),
    "control": (packed(member("a\x1b[31m.txt")), "cannot be shown"),
    "undecodable": (renamed("é-evil.txt", b"\xff\xfe-evil.txt"), "cannot be decoded"),
    "long": (packed(member("a" * 300)), "too long"),
    "deep": (packed(member("a/" * 20 + "b")), "folders deep"),
    "windows": (packed(member("aux.py")), "Windows"),
    "link": (packed(member("link", stat.S_IFLNK | 0o777, b"/etc/passwd")), "symbolic link"),
    "fifo": (packed(member("pipe", stat.S_IFIFO | 0o644)), "not a regular file"),
    "device": (packed(member("null", stat.S_IFCHR | 0o644)), "not a regular file"),
    "twice": (packed([*handed_in().items(), (MODULE, b"x = 2\n")]), "twice"),
    "case": (packed(member("CS231N_GEN/flow.py")), "upper and lower case"),
    "bomb": (packed(member("zeros", data=bytes(5_000_000))), "times its size"),
    "members": (packed({**handed_in(), **{f"{i}": b"" for i in range(2001)}}), "at most 2000"),
    "total": (patched(packed(member("big")), 24, 2**31, 4), "at most 64000000"),
    "beyond": (longer_than_declared(), "beyond the size"),
    "overlap": (overlapping(), "overlap"),
    "encrypted": (patched(packed(handed_in()), 8, 1, 2, 1), "encrypted"),
    "compression": (patched(packed(handed_in()), 10, 14, 2, 1), "other than deflate"),
    "checksum": (patched(packed(handed_in()), 16, 7, 4, 1), "damaged"),
    "truncated": (packed(handed_in())[:-30], "an incomplete one"),
    "cut inside": (packed(handed_in())[:200] + packed(handed_in())[400:], ""),
    "no zip": (b"hello", "not a zip"),
    "nothing": (b"", "is empty"),
    "no members": (packed({}), "no notebook"),
    "tar": (tarred(), "a tar archive: expected the zip"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(50), "a 7z archive: expected the zip"),
    "nested": (packed({"a.zip": packed({"b.zip": packed(handed_in())})}), "zip in a zip"),
    "no notebook": (packed({MODULE: b"x"}), "no notebook, expected one called"),
    "another notebook": (packed({"homework.ipynb": notebook()}), "homework.ipynb, expected"),
    "two notebooks": (packed({**below("a", handed_in()), **below("b", handed_in())}), "two"),
    "empty notebook": (with_notebook(b""), "is empty"),
    "no JSON": (with_notebook(b'{"cells": ['), "not JSON"),
    "no cells": (with_notebook(notebook(cells=[1])), "cells"),
    "nbformat 3": (with_notebook(notebook(nbformat=3)), "nbformat 4"),
    "a list": (with_notebook(b"[]"), "nbformat 4"),
    "large": (with_notebook(os.urandom(10_000_001).hex().encode()), "at most 20000000"),
    "deep JSON": (with_notebook(b"[" * 100_000 + b"]" * 100_000), "nested too deep"),
    "rather deep": (with_notebook(notebook(x=json.loads("[" * 99 + "]" * 99))), "too deep"),
    "wide JSON": (with_notebook(wide()), "lists and objects"),
    "huge int": (with_notebook(b'{"nbformat": ' + b"9" * 5000 + b"}"), "digits"),
    "surrogate": (with_notebook(notebook("\ud800")), "not Unicode"),
    "latin-1 notebook": (with_notebook(notebook().replace(b"1 + 1", b"\xe9")), "not UTF-8"),
    "latin-1 module": (with_module(b"# \xe9"), "not UTF-8"),
    "NUL module": (with_module(b"x = 1\0"), "NUL"),
    "large module": (with_module(os.urandom(500_001).hex().encode()), "at most 1000000"),
    "empty module": (with_module(b""), "is empty"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("bulk", [False, True], ids=["alone", "in a download"])
def test_a_hostile_zip_is_refused_and_others_are_not(kind, bulk, root, inbox, tmp_path):
    data, word = HOSTILE[kind]
    if kind == "two notebooks":
        (root / "submitted" / "student02").mkdir(parents=True)
    zips = {
        "student01.zip": packed(handed_in()),
        "student02.zip": data,
        "student03.zip": packed(handed_in()),
    }
    if bulk:
        zips = {"submissions.zip": packed(zips)}
    write(inbox, zips)
    before = tree(tmp_path)
    found = collect([inbox], root)
    assert students(found) == ["student01", "student03"]
    assert len(found.refused) == 1
    assert "student02.zip" in found.refused[0].source
    assert word in found.refused[0].reason
    assert "\x1b" not in str(found)
    new = {n for n in tree(tmp_path) if n not in before}
    own = [f"course/submitted/student0{n}/{CHAPTER}/" for n in (1, 3)]
    assert all(n.startswith(tuple(own)) for n in new)
    assert len(new) == 8


def test_a_list_of_members_without_end_is_not_read(monkeypatch, root, inbox):
    monkeypatch.setattr(untrusted_zip, "DIRECTORY", 70_000)
    write(inbox, {"student01.zip": packed({f"{i:099}": b"" for i in range(700)})})
    assert "a list of members of more than 70000 bytes" in reasons(collect([inbox], root))


def test_many_files_that_are_large_together_are_refused(monkeypatch, root, inbox):
    monkeypatch.setattr(untrusted_zip, "TOTAL", 5000)
    write(inbox, {"student01.zip": packed({**handed_in(), "a": bytes(3000), "b": bytes(3000)})})
    assert "expected at most 5000" in reasons(collect([inbox], root))


def test_the_name_in_front_of_the_data_must_be_the_one_in_the_list():
    data = packed({"a.txt": b"x", "b.txt": b"y"}).replace(b"b.txt", b"c.txt", 1)
    _, other = untrusted_zip.zip_files(io.BytesIO(data))
    with pytest.raises(Unsafe, match="not what the list"):
        other.read(10)


def test_an_extended_time_counts_before_the_clock_s():
    info = zipfile.ZipInfo("a.txt", DOS)
    info.extra = struct.pack("<HHBI", 0x5455, 5, 1, 1_000_000_000)
    (file,) = untrusted_zip.zip_files(io.BytesIO(packed([(info, b"x")])))
    assert file.modified == datetime.fromtimestamp(1e9, UTC)


# --- hostile folders ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [MODULE, NOTEBOOK, "extra"])
@pytest.mark.parametrize("make", [lambda p: p.symlink_to("/etc/passwd"), os.mkfifo])
def test_a_link_or_a_pipe_in_a_folder_is_refused(make, name, root, inbox):
    write(inbox / "student02", handed_in())
    write(inbox / "student01", handed_in())
    (inbox / "student02" / name).unlink(missing_ok=True)
    make(inbox / "student02" / name)
    found = collect([inbox], root)
    assert students(found) == ["student01"]
    assert "symbolic link" in reasons(found) or "not a regular file" in reasons(found)


def test_a_folder_that_is_a_link_is_not_followed(root, inbox, tmp_path):
    write(tmp_path / "private", handed_in())
    (inbox / "student02").symlink_to(tmp_path / "private")
    for source in (inbox, inbox / "student02"):
        found = collect([source], root)
        assert not found.attempts
        assert "student02" in reasons(found)
        assert "symbolic link" in reasons(found)


def test_a_file_that_becomes_a_link_is_not_opened(tmp_path):
    (tmp_path / "a").write_text("x")
    file = untrusted_files.file_at(tmp_path / "a", ("a",))
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to("/etc/passwd")
    with pytest.raises(Unsafe, match="cannot be read"):
        file.read(10)


@pytest.mark.parametrize("name", ["student02.tar.gz", "student02.7z", "student02.rar"])
def test_another_archive_is_refused_with_what_is_expected(name, root, inbox):
    write(inbox, {name: b"x", "student01.zip": packed(handed_in()), "README.txt": b"hi"})
    found = collect([inbox], root)
    assert students(found) == ["student01"]
    assert len(found.refused) == 1
    assert "expected the zip that `cs231n-gen submit` makes" in reasons(found)


def test_gradescope_s_aliases_are_refused(root, inbox):
    files = dict(ARRIVALS["gradescope"][0])
    files["assignment_123_export/submission_metadata.yml"] = b"a: &a [1]\nb: [*a, *a]\n"
    write(inbox, files)
    assert "aliases" in reasons(collect([inbox], root))


# --- the whole call -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected id,name,email"),
        ("a,b\n1,2\n", "has the columns a, b"),
        ("id\n", "no students"),
        ("id\na+b\n", "cannot be a student's id"),
        ("id\nx\nX\n", "two students"),
        ('id\n"x', "not a CSV"),
        (b"id\n\xff\n", "UTF-8"),
    ],
)
def test_a_roster_that_cannot_be_read_stops_the_call(text, said, root, inbox, tmp_path):
    (tmp_path / "roster.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CollectError, match=said.replace("+", r"\+")):
        collect([inbox], root, roster=tmp_path / "roster.csv")


def test_what_does_not_exist_stops_the_call(root, inbox, tmp_path):
    with pytest.raises(CollectError, match="there is no"):
        collect([inbox / "nothing.zip"], root)
    with pytest.raises(UnknownChapter, match="no chapter is called 77; there are 00_start"):
        collect([inbox], root, chapter="77")
    with pytest.raises(CollectError, match="roster"):
        collect([inbox], root, roster=tmp_path / "nothing.csv")
    with pytest.raises(CollectError, match="is it the course"):
        collect([inbox], inbox)


def test_it_says_what_it_did(root, inbox):
    write(inbox, {"student01.zip": packed(handed_in()), "student02.zip": b"x"})
    found = collect([inbox], root)
    assert f"student01  {CHAPTER}  new  2025-01-02 03:04 UTC by its manifest" in str(found)
    assert "refused: inbox/student02.zip: " in str(found)
    assert str(found).endswith("1 new, 1 refused")
