"""The page a student reads: true points, their own lines only, and no way to put anything else on
it."""

import ast
import html
import itertools
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cs231n_gen.checking import variants
from cs231n_gen.checking.errors import TracebackLine
from cs231n_gen.checking.fresh_modules import FreshModules, load_module
from cs231n_gen.checking.runner import Result, run
from cs231n_gen.checking.student import Student
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading import record
from cs231n_gen.grading.feedback import messages
from cs231n_gen.grading.feedback.pages import write_feedback
from cs231n_gen.grading.record import ExerciseGrade, Grading
from cs231n_gen.grading.source.markers import STUB, make_gaps
from cs231n_gen.grading.source.tree import exercises

HIDDEN = ROOT / "tests" / "hidden"
FLOW = [e for e in exercises() if e.module == "flow"]
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "' onmouseover='alert(1)' x='",
    "</pre></code></style></title><iframe src=//x.example></iframe>",
    "<a href='javascript:alert(1)'>more points</a>",
    "{{ 7 * 7 }}{% raw %}&lt;b&gt;&#60;b&#62;",
    "<!-- <![CDATA[ --> <svg/onload=alert(1)>",
    "\u202e\u2066evil\u2069\u200b\ufeff\x00\x1b[31mred\x1b[0m\x1b]8;;http://x.example\x07\x85\ud800",
    "a" + "\u0301" * 5000,
    "<b>" * 400_000,
]
INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
VOID = {"meta", "br", "img", "link", "input", "base"}


class Page(HTMLParser):
    """A page as a browser takes it apart."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.texts, self.open, self.sections = [], [], [], []
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.close()
        self.text = " ".join("".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.sections.append([])
        if tag == "data" and self.sections:
            self.sections[-1].append(float(dict(attrs)["value"]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} closes something else"

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def shape(self):
        return [(tag, sorted(attrs)) for tag, attrs in self.elements]


def result(status="passed", exercise="flow.loss", test="test_a", **values):
    return Result(exercise, test, values.pop("name", "a property"), 1.0, status, **values)


def grading(*exercises, **values):
    return Grading(values.pop("student", "student01"), "04_rectified_flow", 7, exercises, **values)


@pytest.fixture
def page(tmp_path):
    """The page on a grading, with a folder as the submission."""
    count = itertools.count()

    def write(graded, submission=None, **options):
        (tmp_path / "none").mkdir(exist_ok=True)
        to = tmp_path / "feedback" / f"{next(count)}.html"
        assert write_feedback(graded, submission or tmp_path / "none", to, **options) == to
        assert [p.suffix for p in to.parent.iterdir()] == [".html"] * len(list(to.parent.iterdir()))
        return Page(to)

    return write


def submission_with(folder, name, *lines):
    """A submitted flow.py with one function filled in."""
    text = make_gaps(
        (ROOT / "cs231n_gen/flow.py").read_text("utf-8"), [g for e in FLOW for g in e.gaps]
    )
    stub = "".join(f"    {line}\n" for line in STUB.split("\n"))
    before, head, after = text.partition(f"def {name}(")
    answer = "".join(f"    {line}\n" for line in lines)
    (folder / "cs231n_gen").mkdir(parents=True)
    text = before + head + after.replace(stub, answer, 1)
    (folder / "cs231n_gen/flow.py").write_text(text, "utf-8")
    return text


def found_of(folder, exercise):
    """What the hidden graders find of a submission."""
    modules = FreshModules(flow=load_module(folder / "cs231n_gen/flow.py", "cs231n_gen.flow"))
    results = run(HIDDEN, [exercise], Student(modules), 1)
    return ExerciseGrade(exercise, 2, tuple(replace(r, returned=()) for r in results))


@pytest.fixture(scope="module")
def mistaken():
    """flow.interpolate with its time turned round: the sentence, and what the graders find."""
    known = next(m for m in variants.load(ROOT / "tests/mistakes") if m.name == "data_at_t_1")
    student = Student().replacing(known.exercise, known.implementation)
    results = run(HIDDEN, [known.exercise], student)
    return ExerciseGrade(
        known.exercise, 2, tuple(replace(r, returned=()) for r in results), known.says
    )


# --- what it says -------------------------------------------------------------------------------


def test_it_says_what_was_found(page, mistaken):
    text = page(grading(mistaken)).text
    assert f"What it looks like {mistaken.mistake}" in text
    for r in mistaken.results:
        assert r.name in text
        assert r.passed or (r.says in text and r.got in text and r.expected in text)
    assert 'check("flow.interpolate")' in text


def test_the_points_are_those_of_the_record(page, mistaken):
    part = ExerciseGrade(
        "flow.loss", 2, (result(), result("failed"), result("failed", test="test_b"))
    )
    shown = page(grading(mistaken, part), manual=[("why?", 1.5, 2, ""), ("how?", None, 3, "")])
    assert shown.sections[0][:2] == [mistaken.score, 2]
    assert shown.sections[1][:2] == [part.score, 2] == [0.666667, 2]
    assert shown.sections[2][:2] == [1.5, 5]
    assert "0.67 of 2 points" in shown.text
    values = [float(a["value"]) for tag, a in shown.elements if tag == "data"]
    assert values[:3] == [mistaken.score + part.score + 1.5, 9, 3]  # had, in all, waiting


def test_worths_add_up_to_the_points(mistaken, tmp_path):
    told = messages.property_feedback(mistaken.results, 2, tmp_path)
    assert sum(t.worth for t in told) == pytest.approx(2)
    assert sum(t.worth for t in told if t.holds) == pytest.approx(mistaken.score)


def test_full_points_leave_nothing_to_do(page):
    text = page(grading(ExerciseGrade("flow.loss", 2, (result(), result(test="test_b"))))).text
    assert "Every property of every exercise holds" in text
    assert "All 2 properties hold" in text
    assert "again" not in text


def test_what_holds_comes_first(page):
    text = page(
        grading(ExerciseGrade("flow.loss", 2, (result("failed", name="B"), result(name="A"))))
    ).text
    assert text.index("What holds") < text.index("A holds") < text.index("B does not hold")


def test_a_gap_is_called_one(page):
    text = page(
        grading(ExerciseGrade("flow.loss", 2, (result("missing", says="NotImplementedError"),)))
    ).text
    assert "Not written yet" in text
    assert "NotImplementedError" not in text


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("your code took more than 20 seconds", "Your code took more than 20 seconds. Look for"),
        ("your code ended Python (SIGKILL)", "Your code ended Python (SIGKILL). Look for exit"),
        (
            "your code used more memory than allowed in the test «more than one»",
            "Your code used more memory than allowed in the test «more than one». Print",
        ),
        ("cs231n_gen/flow.py is not in the submission", "cs231n-gen submit"),
    ],
)
def test_what_could_not_be_tried_is_said_plainly(says, told, page):
    lost = ExerciseGrade("flow.train", 4, (result("error", "flow.train", "", says=says),))
    text = page(grading(lost)).text
    assert told in text
    assert "None of its properties could be tried" in text
    assert 'Correct it, then check again: check("flow.train")' in text


def test_notes_repairs_lateness_comments_and_the_missing_jail_are_told(page):
    graded = grading(
        ExerciseGrade("flow.loss", 2, (result(),)), repairs=("a check came back",), unsafe=True
    )
    manual = [("Why do paths bend?", 2.5, 3, "Good start.")]
    text = page(graded, notes=["see you on Thursday"], late="one day late", manual=manual).text
    for told in ("a check came back", "see you on Thursday", "one day late", "Good start."):
        assert told in text
    assert "Why do paths bend? 2.5 of 3" in text
    assert "without the usual jail" in text


def test_it_can_be_read_without_network_script_or_eyes(page, mistaken):
    shown = page(grading(mistaken))
    tags = [tag for tag, _ in shown.elements]
    assert not {"script", "img", "link", "iframe", "object", "form"} & set(tags)
    assert tags.count("h1") == tags.count("main") == tags.count("header") == 1
    (policy,) = [
        a["content"]
        for _, a in shown.elements
        if "content-security" in a.get("http-equiv", "").lower()
    ]
    assert policy.startswith("default-src 'none'")
    ids = {a["id"] for _, a in shown.elements if "id" in a}
    assert {a["href"][1:] for tag, a in shown.elements if tag == "a"} <= ids
    assert {a["aria-labelledby"] for _, a in shown.elements if "aria-labelledby" in a} <= ids
    assert not re.search(r"url\(|@import|https?:", shown.source)


# --- their own lines ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """A submission that raises and prints, and what grading finds of it."""
    folder = tmp_path_factory.mktemp("failing")
    lines = ["print('shapes', x.shape)", "raise ValueError(f'in {__file__}')"]
    text = submission_with(folder, "loss", *lines)
    found = found_of(folder, "flow.loss")
    assert found.results[0].output.startswith("shapes")
    return folder, text, found


def test_an_error_is_shown_with_ones_own_lines_and_output(failing, page):
    folder, text, graded = failing
    shown = page(grading(graded), folder).text
    line = text.split("\n").index("    raise ValueError(f'in {__file__}')") + 1
    assert f"flow.py, line {line}" in shown
    assert "raise ValueError(f'in {__file__}')" in shown
    assert "ValueError: in cs231n_gen/flow.py" in shown
    assert "What your code printed shapes" in shown
    assert str(folder) not in shown


def test_the_same_error_is_told_once(failing, page):
    folder, _, graded = failing
    shown = page(grading(graded), folder).text
    assert len(graded.results) > 2
    assert shown.count("ValueError: in") == 1
    assert shown.count("the same error as above") == len(graded.results) - 1


def test_outside_the_jail_no_output_is_shown(failing, page):
    folder, _, graded = failing  # a traceback printed there would hold lines of the hidden tests
    assert "shapes" not in page(grading(graded, unsafe=True), folder).text


def test_a_frame_is_shown_only_if_it_is_that_line_of_a_file_of_their_own(tmp_path, page):
    hidden = HIDDEN / "test_flow.py"
    lines = hidden.read_text("utf-8").split("\n")
    number = next(i for i, line in enumerate(lines, 1) if "expect.close(" in line)
    (tmp_path / "flow.py").write_text("one = 1\ntwo = 2\n")
    os.symlink(hidden, tmp_path / "test_flow.py")
    os.symlink(HIDDEN, tmp_path / "hidden")
    os.mkfifo(tmp_path / "pipe.py")
    frames = (
        TracebackLine("flow.py", 2, "f", "two = 2"),
        TracebackLine("flow.py", 1, "f", "two = 2"),
        TracebackLine("flow.py", 9, "f", "nine = 9"),
        TracebackLine("flow.py", 3, "f", ""),
        TracebackLine("test_flow.py", number, "test", lines[number - 1]),
    )
    graded = ExerciseGrade("flow.loss", 2, (result("error", says="KeyError: 1", frames=frames),))
    shown = page(grading(graded), tmp_path).text
    assert "flow.py, line 2 two = 2" in shown
    assert shown.count(", line ") == 1
    assert "expect.close(" not in shown


def test_three_frames_at_most_the_last_ones(tmp_path, page):
    (tmp_path / "flow.py").write_text("".join(f"row{i}\n" for i in range(1, 9)))
    frames = tuple(TracebackLine("flow.py", i, "f", f"row{i}") for i in range(1, 9))
    graded = ExerciseGrade("flow.loss", 2, (result("error", says="KeyError: 1", frames=frames),))
    assert re.findall(r"row\d", page(grading(graded), tmp_path).text) == ["row6", "row7", "row8"]


# --- what must not be read ----------------------------------------------------------------------


def hidden_lines():
    """Every longer line of the hidden tests but the sentences that name their properties."""
    found = set()
    for path in HIDDEN.glob("*.py"):
        text = path.read_text("utf-8")
        documented = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
        said = {(ast.get_docstring(n) or "").split("\n")[0].strip() for n in documented}
        lines = {line.strip() for line in text.split("\n")}
        found |= {n for n in lines if len(n) > 30 and n.strip('"') not in said}
    return found


def test_no_line_of_the_hidden_tests_is_on_it(page, mistaken, failing, tmp_path):
    lines = hidden_lines()
    assert len(lines) > 300, "nothing is searched for"
    text = submission_with(tmp_path / "s", "trajectory", "return torch.stack([z, model(z, None)])")
    assert "model(z, None)" in text
    inside = found_of(tmp_path / "s", "flow.trajectory")
    files = {f.file for r in inside.results for f in r.frames}
    assert files & {"fields.py", "test_flow.py"}, "no error comes from a function of the tests"
    for graded, folder in [
        (mistaken, tmp_path),
        (failing[2], failing[0]),
        (inside, tmp_path / "s"),
    ]:
        shown = page(grading(graded), folder)
        source = html.unescape(shown.source)
        assert not [line for line in lines if line in source or line in shown.text]


@pytest.mark.parametrize(
    "frames", [(), (TracebackLine("test_flow.py", 300, "model", "assert t > 0"),)]
)
@pytest.mark.parametrize("text", ["assert secret_value == 3\n + where 3 = f(7)", "secret_value"])
def test_an_assertion_of_the_tests_is_not_quoted(frames, text, page):
    says = f"AssertionError: {text}"
    graded = ExerciseGrade("flow.loss", 2, (result("error", says=says, frames=frames),))
    shown = page(grading(graded)).text
    assert "secret_value" not in shown
    assert messages.BARE in shown
    told = messages.report("flow.loss", graded.results, 2, ROOT / "data")
    assert "secret_value" not in told["text/plain"] + told["text/html"]


def test_nor_where_it_passed_through_ones_own_line(page, tmp_path):
    (tmp_path / "flow.py").write_text("v = model(x, t)\n")
    frames = (TracebackLine("flow.py", 1, "loss", "v = model(x, t)"),)
    says = "AssertionError: one\nassert secret_value == 3"
    graded = ExerciseGrade("flow.loss", 2, (result("error", says=says, frames=frames),))
    assert "secret_value" not in page(grading(graded), tmp_path).text


def test_an_assertion_of_ones_own_is(page, tmp_path):
    (tmp_path / "flow.py").write_text("assert x.dim() > 1, 'a batch'\n")
    frames = (TracebackLine("flow.py", 1, "loss", "assert x.dim() > 1, 'a batch'"),)
    graded = ExerciseGrade(
        "flow.loss", 2, (result("error", says="AssertionError: a batch", frames=frames),)
    )
    assert "AssertionError: a batch" in page(grading(graded), tmp_path).text


def test_where_a_function_of_the_tests_is_defined_is_not_told(page):
    says = "TypeError: secret_flow.<locals>.velocity() missing 1 required positional argument: 't'"
    frames = (TracebackLine("fields.py", 9, "__call__", "return self.field(x, t)"),)
    graded = ExerciseGrade("flow.loss", 2, (result("error", says=says, frames=frames),))
    shown = page(grading(graded)).text
    assert "secret_flow" not in shown
    assert "TypeError: velocity() missing 1 required" in shown


# --- what a submission could put there ----------------------------------------------------------


def said_by(text, folder):
    """A grading with a student's text wherever one can come from, and the submission."""
    folder.mkdir()
    code = text[:5000].encode("utf-8", "replace").decode().replace("\n", " ").replace("\r", " ")
    (folder / "flow.py").write_text(code + "\n", "utf-8", newline="\n")
    own = (TracebackLine("flow.py", 1, text, code),)
    values = {"says": f"x {text}", "got": text, "expected": text, "output": text}
    every = (
        result("error", frames=own, **values),
        result("failed", test="test_b", name=text, **values),
        result("missing", test="test_c", **values),
        result("passed", test="test_d", **values),
    )
    lost = result("error", "flow.train", "", says=f"cs231n_gen/flow.py, line 1: {text}")
    exercises = ExerciseGrade("flow.loss", 2, every, text), ExerciseGrade("flow.train", 4, (lost,))
    graded = grading(*exercises, student=text, repairs=(text,))
    return graded, folder, {"notes": [text], "late": text, "manual": [(text, None, 2, text)]}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda t: ascii(t[:12]))
def test_a_hostile_text_adds_no_element_and_no_attribute(text, page, tmp_path):
    harmless, folder, options = said_by("harmless", tmp_path / "a")
    expected = page(harmless, folder, **options)
    graded, folder, options = said_by(text, tmp_path / "b")
    shown = page(graded, folder, **options)
    assert shown.shape == expected.shape
    values = [(tag, k, v) for tag, a in shown.elements for k, v in a.items()]
    assert values == [(tag, k, v) for tag, a in expected.elements for k, v in a.items()]
    assert not shown.open[1:], "something is not closed"


@pytest.mark.parametrize("text", HOSTILE, ids=lambda t: ascii(t[:12]))
def test_a_hostile_text_stays_short_and_visible(text, page, tmp_path):
    graded, folder, options = said_by(text, tmp_path / "a")
    shown = page(graded, folder, **options)
    assert not INVISIBLE.search(shown.source)
    assert len(shown.text) < 40_000
    assert "\u0301" * 4 not in shown.source


@pytest.mark.parametrize("text", HOSTILE, ids=lambda t: ascii(t[:12]))
def test_a_hostile_text_adds_nothing_to_the_notebooks_report(text, tmp_path):
    graded, folder, _ = said_by(text, tmp_path / "a")
    harmless, other, _ = said_by("harmless", tmp_path / "b")
    told = messages.report("flow.loss", graded.exercises[0].results, 2, folder)
    expected = messages.report("flow.loss", harmless.exercises[0].results, 2, other)
    for name, report in (("told", told), ("expected", expected)):
        (tmp_path / name).write_text(report["text/html"], "utf-8")
    assert Page(tmp_path / "told").elements == Page(tmp_path / "expected").elements
    assert not INVISIBLE.search(told["text/plain"])
    assert len(told["text/plain"]) < 10_000


def test_signs_for_what_is_invisible():
    assert messages.visible("a\u202eb\x00c\nd\te") == "a⟨U+202E⟩b␀c\nd\te"
    assert messages.visible("\x1b[1;31mred\x1b[0m \x1b]0;") == "red ␛]0;"
    assert messages.visible("x" * 500) == "x" * messages.LONGEST + " …"
    assert messages.visible("é ∅ −√ 汉 e\u0301") == "é ∅ −√ 汉 e\u0301"


def test_of_a_progress_bar_the_last_state_is_shown(page):
    output = "start\n" + "".join(f"\r{i} %" for i in range(101)) + "\nend\n" + "row\n" * 1000
    shown = page(grading(ExerciseGrade("flow.loss", 2, (result("failed", output=output),)))).text
    assert "start 100 % end row" in shown
    assert "99 %" not in shown
    assert shown.count("row") < 100


# --- the record ---------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was(tmp_path, mistaken, failing):
    graded = grading(
        mistaken,
        failing[2],
        repairs=("a check came back",),
        unsafe=True,
        fingerprint="abc",
        seconds=1.5,
    )
    assert record.write(graded, tmp_path) == tmp_path / record.NAME
    assert record.read(tmp_path) == graded
    assert record.read(tmp_path).score == graded.score
    assert [p.name for p in tmp_path.iterdir()] == [record.NAME]


@pytest.mark.parametrize("text", ["", "{", "{}", '{"format": 99}', '{"format": 1}'])
def test_what_is_no_record_is_none(text, tmp_path):
    (tmp_path / record.NAME).write_text(text)
    assert record.read(tmp_path) is None


def test_a_record_is_read_by_others(tmp_path, mistaken):
    record.write(grading(mistaken), tmp_path)
    values = json.loads((tmp_path / record.NAME).read_text("utf-8"))
    assert values["exercises"][0]["results"][0]["name"] == mistaken.results[0].name
