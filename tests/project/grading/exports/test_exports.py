"""Grades leave for spreadsheets, Canvas and Gradescope, whole and harmless."""

import csv
import io
import json
import math
import os
import random
import shutil
import stat
import subprocess
import sys
import zipfile
from datetime import datetime

import pytest
from nbgrader.api import Gradebook
from nbgrader.plugins import CsvExportPlugin

from cs231n_gen.checking.errors import TracebackLine
from cs231n_gen.checking.runner import Result
from cs231n_gen.common.chapters import UnknownChapter
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.exports import ExportError, canvas, gradescope_results, gradescope_zip
from cs231n_gen.grading.exports.spreadsheet import SafeCsv, neutral, write_csv
from cs231n_gen.grading.record import ExerciseGrade, Grading
from cs231n_gen.grading.source.tree import chapters

CHAPTER = "04_rectified_flow"
FORMULA = "=HYPERLINK(1)"

# --- a gradebook --------------------------------------------------------------------------------

# id, last name, first name, e-mail; points of two cells, late penalty. None: nothing handed in.
STUDENTS = [
    ("student01", "Müller, von", 'A "quoted" name', "one@example.edu", (2, 1.5), 0),
    ("student02", FORMULA, "+1+1", "two@example.edu", (2, 2), 1),
    ("student03", "Plain", "Name", "three@example.edu", None, 0),
    ("student04", "Late", "Very", "four@example.edu", (0.5, 0), 3),
    (FORMULA, "x", "y;=1+1", "@SUM(1)", (1 / 3, 0), 0),
]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with a gradebook: 4 points by exercises, 1 by an answer."""
    root = tmp_path_factory.mktemp("course")
    shutil.copy(ROOT / "nbgrader_config.py", root)
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}", "cs231n-gen") as gradebook:
        gradebook.add_assignment(CHAPTER, duedate=datetime(2025, 5, 1, 12))
        gradebook.add_assignment("00_start")
        gradebook.add_notebook(CHAPTER, CHAPTER)
        for cell in ("flow-interpolate", "flow-loss"):
            gradebook.add_grade_cell(cell, CHAPTER, CHAPTER, max_score=2, cell_type="code")
        for student, last, first, email, points, late in STUDENTS:
            gradebook.add_student(student, last_name=last, first_name=first, email=email)
            if points is None:
                continue
            one = gradebook.add_submission(CHAPTER, student, timestamp=datetime(2025, 5, 2, 13))
            one.notebooks[0].late_submission_penalty = late
            for grade, score in zip(one.notebooks[0].grades, points, strict=True):
                grade.auto_score, grade.needs_manual_grade = score, student == "student04"
        gradebook.db.commit()
    return root


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- spreadsheet --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        *["=1+1", "+cmd", "-x", "@SUM(1)", "\t=1", "\tx", "\rx", "\nx", " =1", '"=1', ' "" =1'],
        *["＝1", "＋x", "－x", "＠x", "﹦1", "\ufeff=1", "\u200b=1", "\x00=1", "\u00a0=1"],
        *["-1+cmd", "=1\n2", "-1\n"],
    ],
)
def test_a_formula_becomes_text(value):
    assert neutral(value)[0] == "'"
    assert neutral(value).replace("'", "") == value
    assert neutral(neutral(value)) == neutral(value)


@pytest.mark.parametrize("value", ["a;=1+1", "a, =1", "a\t@x", 'a|"=1', "a\r\n=1"])
def test_no_separator_begins_a_formula(value):
    assert neutral(value).replace("'", "") == value
    for separator in ";,|\t\n":
        cells = [cell.strip('"\r ') for cell in neutral(value).split(separator)]
        assert not [cell for cell in cells if cell.startswith(("=", "@"))]


@pytest.mark.parametrize("value", [0, -1.5, 3, "-1.5", "+3", "1e-05", "", "a=b", "O'Hara", "x-y"])
def test_numbers_and_plain_text_stay(value):
    assert neutral(value) == value
    assert type(neutral(value)) is type(value)


def test_the_csv_has_nbgraders_columns_and_values(course, tmp_path):
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "cs231n-gen") as gradebook:
        CsvExportPlugin(to=str(tmp_path / "stock.csv"), student=["student03"]).export(gradebook)
        CsvExportPlugin(to=str(tmp_path / "late.csv"), student=["student04"]).export(gradebook)
    own = read_csv(write_csv(course, tmp_path / "own.csv"))
    for stock, student in (("stock.csv", "student03"), ("late.csv", "student04")):
        theirs = read_csv(tmp_path / stock)
        assert len(theirs) == 2
        assert [row for row in own if row["student_id"] == student] == theirs
        assert list(own[0]) == list(theirs[0])


def test_the_csv_holds_no_formula_and_every_student(course, tmp_path):
    rows = read_csv(write_csv(course, tmp_path / "own.csv"))
    assert len(rows) == 2 * len(STUDENTS)
    assert {r["student_id"] for r in rows} == {f"'{FORMULA}", *(s[0] for s in STUDENTS[:4])}
    rows = {r["student_id"]: r for r in rows if r["assignment"] == CHAPTER}
    assert rows["student01"]["last_name"] == "Müller, von"
    assert rows["student01"]["first_name"] == 'A "quoted" name'
    assert rows["student02"]["first_name"] == "'+1+1"
    assert rows[f"'{FORMULA}"]["first_name"] == "y;'=1+1"
    assert rows[f"'{FORMULA}"]["email"] == "'@SUM(1)"
    assert float(rows["student02"]["score"]) == 3
    assert float(rows["student02"]["late_submission_penalty"]) == 1
    assert float(rows["student02"]["raw_score"]) == 4
    assert [p.name for p in tmp_path.iterdir()] == ["own.csv"]


def test_the_csv_is_in_the_exports_of_the_course_by_default(course):
    assert write_csv(course) == course / "exports" / "grades.csv"


@pytest.mark.full
def test_nbgrader_takes_it_for_an_exporter(course, tmp_path):
    name = f"{SafeCsv.__module__}.{SafeCsv.__name__}"
    command = [sys.executable, "-m", "nbgrader", "export", f"--exporter={name}"]
    command += ["--to", str(tmp_path / "a.csv"), "--student", '["student01"]']
    command += ["--assignment", f'["{CHAPTER}"]']
    done = subprocess.run(command, cwd=course, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = read_csv(tmp_path / "a.csv")
    assert (row["student_id"], row["score"]) == ("student01", "3.5")


def test_a_course_without_gradebook_is_refused_and_gets_none(tmp_path):
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    with pytest.raises(ExportError, match=r"there is no gradebook\.db yet"):
        write_csv(tmp_path)
    assert not (tmp_path / "gradebook.db").exists()


# --- Canvas -------------------------------------------------------------------------------------

HEADER = "Student,ID,SIS User ID,SIS Login ID,Section,04 Rectified flow (123456),Quiz (9)"
PLAIN = f'''{HEADER},Final Score
,,,,,Manual Posting,,
    Points Possible,,,,,4.00,1.00,(read only)
"Müller, A ""x""",11,s1,STUDENT01 ,"Sec 1, Sec 2",<1>,"0.50",
"Two",12,student02,login2,"S","<2>",1,97.3
Three,13,,three@example.edu,S,7,,
'Four,14,,four@elsewhere.edu,S,<4>,=1+1,
Six,16,,student06,S,3,,
"Formula",15,,{FORMULA},S,<5>,,

"Student, Test",99,,0f3a,S,,,'''


def canvas_file(folder, text=PLAIN, encoding="utf-8", name="canvas.csv"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def before(text):
    """The text with empty cells where scores will be."""
    for n in "1245":
        text = text.replace(f"<{n}>", "")
    return text


def after(text, **scores):
    for n, score in scores.items():
        text = text.replace(f"<{n[1:]}>", score)
    return text


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_only_the_cells_of_the_column_change(course, tmp_path, mark, ending):
    text = mark + PLAIN.replace("\n", ending)
    filled = canvas.fill(canvas_file(tmp_path, before(text)), course, "04")
    assert filled.path.read_bytes().decode() == after(text, s1="3.5", s2="3", s4="0", s5="0.3333")
    assert filled.column == "04 Rectified flow (123456)"
    assert filled.filled == 4
    assert filled.scale == 1


def test_it_says_who_was_left_out(course, tmp_path):
    filled = canvas.fill(canvas_file(tmp_path, before(PLAIN)), course, CHAPTER)
    assert filled.missing == ("student03",), "found by e-mail, nothing handed in"
    assert filled.unfinished == ("student04",), "found by what is before the @"
    assert filled.only_canvas == ("Six (student06)",)
    assert filled.only_gradebook == ()
    assert "in Canvas but not in the gradebook: Six (student06)" in str(filled)


def test_who_is_in_the_gradebook_only_is_said(course, tmp_path):
    text = "\n".join(line for line in PLAIN.splitlines() if not line.startswith("'Four"))
    found = canvas.fill(canvas_file(tmp_path, before(text)), course, "04")
    assert found.only_gradebook == ("student04",)
    assert "in the gradebook but not in Canvas: student04" in str(found)


def semicolons(text, decimal=","):
    """As Canvas writes it where decimals have a comma."""
    out = io.StringIO()
    rows = csv.reader(io.StringIO(text))
    csv.writer(out, delimiter=";", lineterminator="\r\n").writerows(
        [c.replace(".", decimal) if c.replace(".", "").isdigit() else c for c in r] for r in rows
    )
    return "\ufeff" + out.getvalue()


def test_semicolons_and_decimal_commas_stay(course, tmp_path):
    text = semicolons(PLAIN)
    found = canvas.fill(canvas_file(tmp_path, before(text)), course, "04")
    assert ";4,00;" in text
    assert found.path.read_bytes().decode() == after(text, s1="3,5", s2="3", s4="0", s5="0,3333")


def test_a_decimal_comma_among_commas_is_quoted(course, tmp_path):
    text = PLAIN.replace("4.00", '"4,00"')
    found = canvas.fill(canvas_file(tmp_path, before(text)), course, "04")
    expected = after(text, s1='"3,5"', s2="3", s4="0", s5='"0,3333"')
    assert found.path.read_text("utf-8") == expected


def test_empty_cells_are_nobody(course, tmp_path):
    text = PLAIN.replace("Six,16,,student06", "Six,16,,")
    found = canvas.fill(canvas_file(tmp_path, before(text)), course, "04")
    assert found.only_canvas == ("Six (16)",)


def test_canvas_own_number_finds_a_student_that_nothing_else_does(course, tmp_path):
    text = PLAIN.replace('"Two",12,student02,login2', '"Two",student02,,login2')
    found = canvas.fill(canvas_file(tmp_path, before(text)), course, "04")
    assert found.path.read_text("utf-8") == after(text, s1="3.5", s2="3", s4="0", s5="0.3333")


def test_every_byte_of_an_unknown_encoding_stays(course, tmp_path):
    path = tmp_path / "canvas.csv"
    unknown = bytes(range(128, 256))
    content = [change.encode("latin-1") for change in (before(PLAIN), after(PLAIN, s1="3.5"))]
    path.write_bytes(content[0].replace(b"Three", unknown))
    found = canvas.fill(path, course, "04").path.read_bytes()
    assert found.startswith(content[1][:150])
    assert unknown in found


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "latin-1", "cp1252"])
def test_the_encoding_stays(course, tmp_path, encoding):
    text = "\ufeff" * encoding.startswith("utf") + PLAIN
    found = canvas.fill(canvas_file(tmp_path, before(text), encoding), course, "04")
    assert found.path.read_bytes() == after(text, s1="3.5", s2="3", s4="0", s5="0.3333").encode(
        encoding
    )


def test_scores_are_scaled_to_canvas_and_it_is_said(course, tmp_path):
    text = PLAIN.replace("4.00", "10.00")
    found = canvas.fill(canvas_file(tmp_path, before(text)), course, "04")
    assert found.path.read_text("utf-8") == after(text, s1="8.75", s2="7.5", s4="0", s5="0.8333")
    assert found.scale == 2.5
    assert "multiplied by 2.5" in str(found)


@pytest.mark.parametrize("points", ["", "0.00", "(read only)", "9" * 400, "nan"])
def test_points_that_are_no_number_scale_nothing(course, tmp_path, points):
    text = PLAIN.replace("4.00", points)
    assert canvas.fill(canvas_file(tmp_path, before(text)), course, "04").scale == 1


@pytest.mark.parametrize("said", ["EX", "N/A", "ex"])
def test_who_is_excused_stays_excused(course, tmp_path, said):
    text = PLAIN.replace("<1>", said)
    found = canvas.fill(canvas_file(tmp_path, before(text)), course, "04")
    assert found.path.read_text("utf-8") == after(text, s2="3", s4="0", s5="0.3333")
    assert found.kept == ("student01",)


def test_columns_that_are_computed_are_never_filled(course, tmp_path):
    with pytest.raises(ExportError, match="no assignment column is called Final Score"):
        canvas.fill(canvas_file(tmp_path, before(PLAIN)), course, "04", column="Final Score")


@pytest.mark.parametrize("name", ["Quiz (9)", "9", "quiz"])
def test_a_column_can_be_named(course, tmp_path, name):
    path = canvas_file(tmp_path, before(PLAIN))
    assert canvas.fill(path, course, "04", column=name).column == "Quiz (9)"


@pytest.mark.parametrize(
    "title", ["Rectified Flow", "Homework 4: rectified flow", "04_rectified_flow"]
)
def test_a_column_is_found_by_the_chapters_name(course, tmp_path, title):
    text = before(PLAIN).replace("04 Rectified flow (", f"{title} (")
    assert canvas.fill(canvas_file(tmp_path, text), course, "04").column == f"{title} (123456)"


@pytest.mark.parametrize("title", ["Week 5 rectified flow", "Flow", "Rectified flows"])
def test_a_column_of_something_else_is_not_taken(course, tmp_path, title):
    text = before(PLAIN).replace("04 Rectified flow (", f"{title} (")
    with pytest.raises(ExportError, match="no assignment column is called 04_rectified_flow"):
        canvas.fill(canvas_file(tmp_path, text), course, "04")


def test_two_columns_that_fit_are_refused(course, tmp_path):
    text = before(PLAIN).replace("Quiz (9)", "04: rectified flow (9)")
    path = canvas_file(tmp_path, text)
    with pytest.raises(canvas.Ambiguous, match="2 columns could be 04_rectified_flow"):
        canvas.fill(path, course, "04")
    assert canvas.fill(path, course, "04", column="9").column == "04: rectified flow (9)"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Six,16,,student06", "Six,16,,student01", "two rows fit student01"),
        ("Six,16,,student06", "Six,16,student02,x", "two rows fit student02"),
        ('"Two",12,student02,login2', '"Two",12,student02,student01', "fits student01, student02"),
    ],
)
def test_students_who_cannot_be_told_apart_are_refused(course, tmp_path, old, new, says):
    assert old in PLAIN
    with pytest.raises(canvas.Ambiguous, match=says):
        canvas.fill(canvas_file(tmp_path, before(PLAIN).replace(old, new)), course, "04")
    assert [p.name for p in tmp_path.iterdir()] == ["canvas.csv"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00\xff\x00",
        "name,score\nstudent01,3\n",
        HEADER,
        HEADER + "\nOne,1,,student01,S,,\n",
        HEADER + '\n"Points Possible',
        before(PLAIN).replace('"Two",12,student02,login2,"S","",1,97.3', "Two,1,student02"),
    ],
)
def test_another_file_is_refused_in_one_line(course, tmp_path, text):
    with pytest.raises(canvas.NotCanvas) as refused:
        canvas.fill(canvas_file(tmp_path, text), course, "04")
    assert isinstance(refused.value, ValueError)
    assert "\n" not in str(refused.value)
    assert "canvas.csv" in str(refused.value)


def test_the_export_is_overwritten_only_when_told(course, tmp_path):
    path = canvas_file(tmp_path, before(PLAIN))
    assert canvas.fill(path, course, "04").path == tmp_path / f"canvas-{CHAPTER}.csv"
    assert path.read_text("utf-8") == before(PLAIN)
    assert canvas.fill(path, course, "04", to=path).path == path
    assert path.read_text("utf-8") == after(PLAIN, s1="3.5", s2="3", s4="0", s5="0.3333")


def test_filling_again_changes_nothing(course, tmp_path):
    once = canvas.fill(canvas_file(tmp_path, before(PLAIN)), course, "04").path
    again = canvas.fill(once, course, "04", to=tmp_path / "again.csv").path
    assert again.read_bytes() == once.read_bytes()


def test_an_unknown_chapter_is_refused(course, tmp_path):
    with pytest.raises(UnknownChapter, match=f"there are .*{CHAPTER}"):
        canvas.fill(canvas_file(tmp_path, before(PLAIN)), course, "12")


# --- Gradescope: results ------------------------------------------------------------------------


def result(status="passed", weight=1.0, **more):
    more = {"test": "test_secret_name", "name": "a property", **more}
    return Result(exercise="flow.loss", weight=weight, status=status, **more)


def grading(*exercises, **more):
    return Grading("student01", CHAPTER, 2025, exercises, seconds=1.234, **more)


HOSTILE = "<img src=x onerror=alert(1)> \x1b[31m \u202e \x00 \ud800 " + "x" * 5000
MIXED = grading(
    ExerciseGrade("flow.interpolate", 2, (result(), result(weight=2))),
    ExerciseGrade(
        "flow.loss",
        1,
        (
            result(weight=1),
            result("failed", 1, says=HOSTILE, got=HOSTILE, expected="1"),
            result("error", 1, says="AssertionError: assert secret == 3"),
        ),
        mistake="the prediction is detached",
    ),
    ExerciseGrade(
        "flow.train", 3, (result("error", test="", says="your code took more than 60 seconds"),)
    ),
    repairs=("a check was put back",),
)

# Gradescope's autograder specification: what each key may hold.
FORMATS = ("text", "html", "simple_format", "md", "ansi")
SEEN = ("visible", "hidden", "after_due_date", "after_published")


def is_number(value):
    return type(value) in (int, float) and math.isfinite(value)


def one_of(allowed):
    return lambda value: value in allowed


def is_text(value):
    return type(value) is str


TOP = {
    "score": is_number,
    "execution_time": is_number,
    "output": is_text,
    "output_format": one_of(FORMATS),
    "test_output_format": one_of(FORMATS),
    "test_name_format": one_of(FORMATS),
    "visibility": one_of(SEEN),
    "stdout_visibility": one_of(SEEN),
    "extra_data": lambda value: type(value) is dict,
    "tests": lambda value: type(value) is list,
}
TEST = {
    "score": is_number,
    "max_score": is_number,
    "status": one_of(("passed", "failed")),
    "name": is_text,
    "name_format": one_of(FORMATS),
    "number": is_text,
    "output": is_text,
    "output_format": one_of(FORMATS),
    "visibility": one_of(SEEN),
    "extra_data": lambda value: type(value) is dict,
}


def conforms(values, schema):
    assert not values.keys() - schema.keys()
    assert not [(k, v) for k, v in values.items() if not schema[k](v)]


@pytest.mark.parametrize("visibility", SEEN)
def test_the_results_follow_gradescopes_specification(tmp_path, visibility):
    path = gradescope_results.write_results(MIXED, tmp_path / "results.json", visibility=visibility)
    found = json.loads(path.read_bytes())
    conforms(found, TOP)
    for test in found["tests"]:
        conforms(test, TEST)
        assert test["visibility"] == visibility
        assert 0 <= test["score"] <= test["max_score"]
    assert [t["number"] for t in found["tests"]] == ["1.1", "1.2", "2.1", "2.2", "2.3", "3.1"]
    assert found["score"] == MIXED.score == round(sum(t["score"] for t in found["tests"]), 6)
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_an_unknown_visibility_is_refused():
    with pytest.raises(ValueError, match="visibility is 'public'"):
        gradescope_results.results(MIXED, visibility="public")


def test_shares_add_up_to_the_score_and_the_points_exactly():
    chance = random.Random(7)
    for _ in range(300):
        weights = [chance.choice([1, 2, 3, 0.1, 0.7, 1 / 3]) for _ in range(chance.randint(1, 12))]
        found = [result(chance.choice(["passed", "failed"]), w) for w in weights]
        graded = ExerciseGrade("flow.loss", chance.choice([1, 2, 3, 0.5, 10, 7]), tuple(found))
        tests = gradescope_results.results(grading(graded))["tests"]
        assert round(sum(t["score"] for t in tests), 6) == graded.score
        assert round(sum(t["max_score"] for t in tests), 6) == graded.points
        for t, r in zip(tests, found, strict=True):
            assert t["max_score"] == pytest.approx(
                graded.points * r.weight / sum(weights), abs=2e-6
            )


def test_weights_of_nothing_are_survived():
    tests = gradescope_results.results(
        grading(ExerciseGrade("flow.loss", 2, (result(weight=0),) * 3))
    )["tests"]
    assert sum(t["score"] for t in tests) == 0


def test_student_text_is_short_plain_and_never_rendered():
    found = gradescope_results.results(MIXED)
    test = found["tests"][3]
    assert found["output_format"] == "text"
    assert {t["output_format"] for t in found["tests"]} == {"text"}
    assert {t["name_format"] for t in found["tests"]} == {"text"}
    assert 300 < len(test["output"]) < gradescope_results.LONGEST_OUTPUT
    assert max(map(len, test["output"].splitlines())) < 350
    assert all(c.isprintable() or c == "\n" for c in test["output"])
    assert "<img src=x onerror=alert(1)>" in test["output"], "as text: it is not rendered"


def test_hidden_tests_are_neither_named_nor_quoted():
    text = json.dumps(gradescope_results.results(MIXED))
    assert "secret" not in text
    assert "the result is not what was asked for" in text


def test_mistakes_repairs_and_lost_exercises_are_said():
    found = gradescope_results.results(MIXED)
    told = [t["output"] for t in found["tests"]]
    assert [i for i, t in enumerate(told) if "the prediction is detached" in t] == [3]
    assert told[5] == "your code took more than 60 seconds"
    assert found["output"].startswith(f"{CHAPTER}: 2.33333 of 6 points\n")
    assert "a check was put back" in found["output"]


def test_only_lines_of_the_students_own_are_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the grader runs the reference may lie
    own, other = "return v.mean()", "return reference_secret()"
    (tmp_path / "flow.py").write_text(f"def loss():\n    {own}\n")
    frames = (TracebackLine("flow.py", 2, "loss", own), TracebackLine("flow.py", 2, "loss", other))
    one = grading(
        ExerciseGrade("flow.loss", 1, (result("error", says="NameError: v", frames=frames),))
    )
    (test,) = gradescope_results.results(one, submission=tmp_path)["tests"]
    assert test["output"] == f"NameError: v\nflow.py, line 2: {own}"
    (test,) = gradescope_results.results(one)["tests"]
    assert test["output"] == "NameError: v"


# --- Gradescope: the autograder -----------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return gradescope_zip.build(ROOT, "04", tmp_path_factory.mktemp("zip") / "autograder.zip")


@pytest.fixture
def unpacked(packed, tmp_path):
    """The autograder as Gradescope lays it out."""
    with zipfile.ZipFile(packed) as archive:
        for entry in archive.infolist():
            path = archive.extract(entry, tmp_path / "source")
            os.chmod(path, stat.S_IMODE(entry.external_attr >> 16))
    shutil.copy(tmp_path / "source" / "run_autograder", tmp_path)
    (tmp_path / "submission").mkdir()
    return tmp_path


def test_the_same_source_gives_the_same_zip(packed, tmp_path):
    again = gradescope_zip.build(ROOT, CHAPTER, tmp_path / "again.zip")
    assert again.read_bytes() == packed.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["again.zip"]


def test_the_zip_holds_what_grading_needs_and_no_more(packed):
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    needed = ["setup.sh", "run_autograder", "README.md", "constraints.txt", "pyproject.toml"]
    needed += ["nbgrader_config.py", "cs231n_gen/flow.py", "cs231n_gen/grading/source/tree.py"]
    needed += ["tests/hidden/test_flow.py", "tests/public/test_flow.py", "tests/mistakes/flow.py"]
    needed += [f"notebooks/{CHAPTER}/{CHAPTER}.ipynb"]
    assert not set(needed) - set(names)
    assert [n for n in names if n.startswith("notebooks/")] == [needed[-1]]
    unwanted = ("data/", ".git", "tests/project", "tests/accepted", "build", "gradebook")
    assert not [n for n in names if n.startswith(unwanted) or "__pycache__" in n]


def test_scripts_are_executable_valid_bash_with_unix_line_endings(unpacked, packed):
    with zipfile.ZipFile(packed) as archive:
        modes = {e.filename: e.external_attr >> 16 for e in archive.infolist()}
        assert {e.create_system for e in archive.infolist()} == {3}
    assert {n for n, mode in modes.items() if mode & 0o111} == {"setup.sh", "run_autograder"}
    for name in ("setup.sh", "run_autograder"):
        path = unpacked / "source" / name
        assert os.access(path, os.X_OK)
        assert b"\r" not in path.read_bytes()
        assert path.read_bytes().startswith(b"#!/usr/bin/env bash\n")
        subprocess.run(["bash", "-n", path], check=True)


def test_a_windows_checkout_gives_the_same_scripts(packed, tmp_path, monkeypatch):
    for path in gradescope_zip.TEMPLATES.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    monkeypatch.setattr(gradescope_zip, "TEMPLATES", tmp_path)
    built = gradescope_zip.build(ROOT, "04", tmp_path / "autograder.zip")
    with zipfile.ZipFile(built) as ours, zipfile.ZipFile(packed) as theirs:
        for name in gradescope_zip.SCRIPTS:
            assert ours.read(name) == theirs.read(name)


def test_the_unpacked_source_lists_the_exercises_of_the_chapter(unpacked):
    code = "from cs231n_gen.grading.source import tree; print(tree.__file__); "
    code += "known = {e.grade_id for e in tree.exercises()}; "
    code += "print(*[c.grade_id for x in tree.chapters() for c in x.graded if c.grade_id in known])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=unpacked / "source",
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, listed = done.stdout.splitlines()
    assert where.startswith(str(unpacked))
    (chapter,) = [c for c in chapters() if c.name == CHAPTER]
    own = [c.grade_id for c in chapter.graded if not c.solution]
    assert listed.split() == own
    assert "flow-interpolate" in own


def test_data_are_packed_where_hidden_tests_read_them(copy_source, tmp_path):
    root = copy_source(tmp_path / "source")
    hidden = root / "tests" / "hidden" / "test_flow.py"
    hidden.write_text(hidden.read_text("utf-8") + "\nfrom cs231n_gen import data\n", "utf-8")
    for chapter, there in (("04", True), ("00", False)):
        with zipfile.ZipFile(gradescope_zip.build(root, chapter)) as archive:
            assert any(n.startswith("data/") for n in archive.namelist()) is there
    assert (root / "build" / f"gradescope-{CHAPTER}.zip").is_file()


def test_a_chapter_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UnknownChapter, match="no chapter is called 77; there are 00_start"):
        gradescope_zip.build(ROOT, "77", tmp_path / "x.zip")


# --- Gradescope: its scripts --------------------------------------------------------------------


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def run_autograder(unpacked, command, **env):
    """Run the script with this bash in place of the command that grades."""
    python = f'if [ "$1" = -I ]; then exec {sys.executable} "$@"; fi\n'
    script(
        unpacked / "venv/bin/python", f"{python}results={unpacked}/results/results.json\n{command}"
    )
    done = subprocess.run(
        [unpacked / "run_autograder"],
        cwd=unpacked,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((unpacked / "results" / "results.json").read_text("utf-8"))


GRADED = """{"score": 3, "tests": [{"score": 3, "max_score": 4}]}"""


def test_what_grading_writes_is_handed_on(unpacked):
    found = run_autograder(unpacked, f"echo '{GRADED}' > $results; echo \"$@\" > {unpacked}/asked")
    assert found == json.loads(GRADED)
    assert (unpacked / "asked").read_text() == "-m cs231n_gen.cli gradescope-run\n"


@pytest.mark.parametrize(
    "command",
    [
        "echo Traceback >&2; exit 1",
        "kill -9 $$",
        "true",
        "echo '{' > $results",
        "echo '[]' > $results",
        "echo '{\"tests\": []}' > $results",
        'echo \'{"score": NaN, "tests": []}\' > $results',
        'echo \'{"score": 1, "tests": [{"score": "4", "max_score": 4}]}\' > $results',
        f"echo '{GRADED}' > $results; exit 3",
        f"echo '{GRADED}' > $results.x; ln -s $results.x $results",
        "mkdir $results",
    ],
)
def test_a_failure_is_said_and_never_a_silent_zero(unpacked, command):
    found = run_autograder(unpacked, command)
    conforms(found, TOP)
    assert found["output"].startswith("The autograder failed (")
    assert "Traceback" not in json.dumps(found)
    assert found["extra_data"] == {"autograder_failed": True}


def test_results_of_an_earlier_run_or_of_the_submission_are_not_taken(unpacked):
    (unpacked / "results").mkdir()
    (unpacked / "results" / "results.json").write_text(GRADED)
    (unpacked / "submission" / "results.json").write_text(GRADED)
    assert run_autograder(unpacked, "true")["score"] == 0


def test_links_and_pipes_of_a_submission_are_gone_before_grading(unpacked):
    submission = unpacked / "submission"
    (submission / "cs231n_gen").mkdir()
    hidden = unpacked / "source" / "tests" / "hidden" / "test_flow.py"
    (submission / "cs231n_gen" / "flow.py").symlink_to(hidden)
    (submission / "notebooks").symlink_to(unpacked / "source/notebooks")
    (submission / "-rf").write_text("")
    os.mkfifo(submission / "pipe")
    run_autograder(unpacked, f"find {submission} > {unpacked}/seen; echo '{GRADED}' > $results")
    seen = (unpacked / "seen").read_text().splitlines()
    assert sorted(seen) == sorted(str(submission / n) for n in (".", "-rf", "cs231n_gen"))
    assert list((unpacked / "source" / "notebooks").iterdir()), "what the link led to"


def test_a_submission_that_is_a_link_is_refused(unpacked):
    (unpacked / "submission").rmdir()
    (unpacked / "submission").symlink_to(unpacked / "source")
    assert "there is no submission" in run_autograder(unpacked, "true")["output"]


def test_the_environment_and_the_submission_cannot_change_what_runs(unpacked):
    submission = unpacked / "submission"
    for name in ("sitecustomize.py", "json.py", "typer.py", "conftest.py"):
        (submission / name).write_text(f"open({str(unpacked / 'fooled')!r}, 'w')")
    script(submission / "bin/find", f"touch {unpacked}/fooled")
    say = f"pwd > {unpacked}/where; env > {unpacked}/env; echo '{GRADED}' > $results"
    env = {"PYTHONPATH": str(submission), "BASH_ENV": str(submission / "bin/find")}
    env["PATH"] = f"{submission / 'bin'}:{os.environ['PATH']}"
    assert run_autograder(unpacked, say, **env)["score"] == 3
    assert (unpacked / "where").read_text() == f"{unpacked / 'source'}\n"
    assert str(submission) not in (unpacked / "env").read_text()


def test_student_code_could_neither_read_the_source_nor_write_results(unpacked):
    say = f"stat -c %a {unpacked}/source {unpacked}/results > {unpacked}/modes"
    run_autograder(unpacked, f"{say}; echo '{GRADED}' > $results")
    assert (unpacked / "modes").read_text().split() == ["700", "700"]
    assert (unpacked / "results" / "results.json").stat().st_mode & 0o777 == 0o644


def test_setup_closes_the_source_and_installs_what_is_pinned(unpacked):
    """With stand-ins for apt and Python, which note what they are asked."""
    note = f'echo "${{0##*/}} $*" >> {unpacked}/asked'
    script(unpacked / "bin/apt-get", f"{note}; case $1 in install) exit 1;; esac")
    make = 'mkdir -p "${@: -1}/bin"; cp "$0" "${@: -1}/bin/python"'
    script(unpacked / "bin/python3.14", f'{note}; case "$*" in "-m venv"*) {make};; esac')
    done = subprocess.run(
        [unpacked / "source" / "setup.sh"],
        env={"PATH": f"{unpacked / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    asked = (unpacked / "asked").read_text().splitlines()
    pip = [line for line in asked if " -m pip " in line]
    assert len(pip) == 2
    assert all("install -c constraints.txt torch==" in line for line in pip)
    assert pip[1].endswith("--no-build-isolation -e .")
    assert any("bubblewrap" in line for line in asked), "asked for, and not needed"
    open_to_others = [p for p in unpacked.glob("source/**/*") if p.stat().st_mode & 0o077]
    assert not open_to_others
    assert (unpacked / "venv" / "bin" / "python").stat().st_mode & 0o005


def test_setup_says_so_where_there_is_no_python(unpacked):
    script(unpacked / "bin/apt-get", "exit 1")
    for name in ("python3.14", "python3.13", "python3.12", "python3.11", "python3"):
        script(unpacked / "bin" / name, "exit 1")
    done = subprocess.run(
        [unpacked / "source" / "setup.sh"],
        env={"PATH": f"{unpacked / 'bin'}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the course needs Python 3.11 to 3.14" in done.stderr
