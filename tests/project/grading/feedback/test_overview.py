"""The lecturer's view of a class: true counts, the worst first, and nothing a student can put
there."""

import tracemalloc
from html.parser import HTMLParser

import pytest

from cs231n_gen.checking.runner import Result
from cs231n_gen.grading.feedback import overview as view
from cs231n_gen.grading.record import ExerciseGrade, Grading

EVIL = "</title></style><script>alert(1)</script>\" onload='x'\u202e\x00\x1b[2J"


def graded(exercise, statuses, points=2.0, mistake=""):
    """An exercise whose properties are `p`assed, `f`ailed or `m`issing; of weight 1, 2, …"""
    names = {"p": "passed", "f": "failed", "m": "missing"}
    results = [
        Result(exercise, f"test_{i}", f"property {i} of {exercise}", float(i), names[s])
        for i, s in enumerate(statuses, 1)
    ]
    return ExerciseGrade(exercise, points, tuple(results), mistake)


def failures(exercise, says):
    whole = Result(exercise, "", "the exercise can be run", 1.0, "error", says)
    return ExerciseGrade(exercise, 2.0, (whole,))


def grading(student, *exercises, **values):
    return Grading(student, "04_rectified_flow", 7, exercises, **values)


CLASS = [
    grading("student01", graded("flow.loss", "pp"), graded("flow.train", "pp", 6)),
    grading("student02", graded("flow.loss", "pf", mistake="a sum"), graded("flow.train", "fp", 6)),
    grading(
        "student03",
        graded("flow.loss", "ff", mistake="a sum"),
        graded("flow.train", "fp", 6),
        repairs=("a check came back", "a cell was put back"),
    ),
    grading(
        "student04", graded("flow.loss", "pf", mistake="a sign"), graded("flow.train", "mm", 6)
    ),
    grading(
        "student05",
        failures("flow.loss", "cs231n_gen/flow.py, line 12: SyntaxError: invalid syntax"),
        failures("flow.train", "your code took more than 20 seconds"),
        repairs=("a check came back",),
    ),
    grading(
        "student06",
        failures("flow.loss", "cs231n_gen/flow.py, line 99: SyntaxError: never closed"),
        graded("flow.train", "pp", 6),
        unsafe=True,
    ),
]


@pytest.fixture
def found():
    return view.overview(iter(CLASS))


def groups(found):
    return {g.says: g.students for g in found}


class Page(HTMLParser):
    """A page as a browser takes it apart."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.texts, self.style = [], [], False
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.close()
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.style = tag == "style"

    def handle_endtag(self, tag):
        self.style = False

    def handle_data(self, data):
        if not self.style:
            self.texts.append(data)

    @property
    def shape(self):
        return [(tag, sorted(attrs)) for tag, attrs in self.elements]


# --- counts -------------------------------------------------------------------------------------


def test_the_exercise_with_the_lowest_mean_share_comes_first(found):
    assert [e.exercise for e in found.exercises] == ["flow.loss", "flow.train"]
    loss, train = found.exercises
    assert loss.mean == pytest.approx((1 + 1 / 3 + 0 + 1 / 3 + 0 + 0) / 6)
    assert train.mean == pytest.approx((1 + 2 / 3 + 2 / 3 + 0 + 0 + 1) / 6)
    swapped = [grading(g.student, *g.exercises[::-1]) for g in CLASS]
    assert [e.exercise for e in view.overview(swapped).exercises] == ["flow.loss", "flow.train"]


def test_each_submission_is_in_one_place(found):
    loss, train = found.exercises
    assert (loss.submissions, loss.full, loss.attempts, len(loss.blank)) == (6, 1, 4, 0)
    assert (train.submissions, train.full, train.attempts, len(train.blank)) == (6, 2, 4, 1)
    assert train.blank == ("student04",)


def test_the_mean_is_that_of_the_scores(found):
    assert found.submissions == 6
    assert found.mean == pytest.approx(sum(g.score for g in CLASS) / 6, abs=1e-5)
    assert found.points == 8


def test_a_histogram_counts_tenths_and_all_apart(found):
    loss, train = found.exercises
    assert loss.histogram == (3, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1)
    assert train.histogram == (2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2)
    assert sum(found.histogram) == 6
    tenths = [graded("flow.loss", "p" * n + "f" * (4 - n)) for n in range(5)]  # 0 .1 .3 .6 1
    (only,) = view.overview(grading("student01", e) for e in tenths).exercises
    assert only.histogram == (1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1)


def test_properties_count_attempts_and_the_hardest_comes_first(found):
    loss, train = found.exercises
    assert [(p.name, p.passed, p.tried) for p in loss.properties] == [
        ("property 2 of flow.loss", 1, 4),
        ("property 1 of flow.loss", 3, 4),
    ]
    assert [(p.passed, p.tried) for p in train.properties] == [(2, 4), (4, 4)]


def test_mistakes_are_counted_with_their_students_the_most_frequent_first(found):
    loss, train = found.exercises
    assert [g.says for g in loss.mistakes] == ["a sum", "a sign"]
    assert groups(loss.mistakes)["a sum"] == ("student02", "student03")
    assert train.unexplained == ("student02", "student03")
    assert found.mistakes[0] == ("flow.loss", loss.mistakes[0])


def test_what_was_lost_is_grouped_by_its_kind(found):
    loss, train = found.exercises
    assert groups(loss.failures) == {"cs231n_gen/flow.py: SyntaxError": ("student05", "student06")}
    assert groups(train.failures) == {"code took more than 20 seconds": ("student05",)}
    slow = [failures("flow.train", f"your code took too long in the test «{t}»") for t in "ab"]
    (only,) = view.overview(grading("student01", e) for e in slow).exercises
    assert [g.says for g in only.failures] == ["code took too long"]


def test_repairs_and_missing_jails_name_their_students(found):
    assert groups(found.repaired)["a check came back"] == ("student03", "student05")
    assert groups(found.repaired)["a cell was put back"] == ("student03",)
    assert found.unsafe == ("student06",)


def test_no_class_is_no_error(tmp_path):
    empty = view.overview([])
    assert empty.submissions == 0
    assert "Nothing graded yet" in str(empty)
    assert "Nothing graded yet" in Page(view.write_page(empty, tmp_path / "o.html")).text


def test_records_are_gone_through_once_and_not_kept():
    def failed(i, text):
        return Result("flow.loss", f"test_{i}", "p", 1.0, "error", text, text, output=text)

    def records(n):
        for i in range(n):
            text = f"{i} " + 20_000 * "x"
            loss = ExerciseGrade("flow.loss", 2, tuple(failed(k, text) for k in range(3)))
            train = failures("flow.train", f"cs231n_gen/flow.py, line {i}: Error{i}: {text}")
            yield grading(f"student{i:04}", loss, train, repairs=(text,))

    tracemalloc.start()
    found = view.overview(records(1000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.submissions == 1000
    assert peak < 1_500_000  # what passed through is 60 MB
    train = next(e for e in found.exercises if e.exercise == "flow.train")
    assert len(train.failures) == view.MOST_REASONS + 1
    assert sum(len(g.students) for g in train.failures) == 1000
    assert train.failures[0].says == view.OTHER


# --- the page and the table ---------------------------------------------------------------------


def test_the_page_shows_the_counts(found, tmp_path):
    to = tmp_path / "new" / "overview.html"
    assert view.write_page(found, to) == to
    page = Page(to)
    assert [p.name for p in to.parent.iterdir()] == ["overview.html"]
    for told in (
        "04 · Rectified flow",
        "6 submissions",
        "2 × flow.loss a sum who student02, student03",
        "property 2 of flow.loss 1 of 4",
        "2 × cs231n_gen/flow.py: SyntaxError who student05, student06",
        "outside the jail in 1 of them",
    ):
        assert told in page.text
    assert page.text.index("property 2 of flow.loss") < page.text.index("property 1 of flow.loss")


def test_bars_are_as_long_as_what_they_show(found, tmp_path):
    page = Page(view.write_page(found, tmp_path / "o.html"))
    bars, label = [], ""
    for tag, attrs in page.elements:
        if tag == "svg":
            label = attrs["aria-label"] if "rate-bar" in attrs["class"] else ""
        elif tag == "rect" and label and "class" not in attrs:
            bars.append((label, float(attrs["width"])))
    assert ("25 %", 25.0) in bars
    assert ("75 %", 75.0) in bars
    charts = [a for tag, a in page.elements if tag == "svg" and a["class"] == "chart"]
    assert charts[1]["aria-label"].endswith(": 3 at 0 %, 2 at 30 %, 1 at all")
    heights = [float(a["height"]) for tag, a in page.elements if tag == "rect" and "rx" in a]
    assert heights[11:22] == [54, 0, 0, 36, 0, 0, 0, 0, 0, 0, 18]


def test_the_page_needs_neither_network_nor_script(found, tmp_path):
    page = Page(view.write_page(found, tmp_path / "o.html"))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object"}
    assert "http:" not in page.source
    ids = {a["id"] for _, a in page.elements if "id" in a}
    assert {a["href"][1:] for tag, a in page.elements if tag == "a"} <= ids


def test_what_a_student_says_adds_no_element(tmp_path):
    def a_class(text):
        return [
            grading(
                text,
                graded("flow.loss", "pf", mistake=text),
                graded("flow.sample", "fp"),
                graded("flow.interpolate", "mm"),
                failures("flow.train", f"cs231n_gen/flow.py, line 3: {text}"),
                failures("flow.sample_heun", text),
                repairs=(text,),
                unsafe=True,
            )
        ]

    harmless, hostile = view.overview(a_class("harmless")), view.overview(a_class(EVIL))
    expected = Page(view.write_page(harmless, tmp_path / "a.html"))
    page = Page(view.write_page(hostile, tmp_path / "b.html"))
    assert page.shape == expected.shape
    assert [a for _, a in page.elements] == [a for _, a in expected.elements]
    for shown in (page.source, str(hostile)):
        assert not set("\u202e\x00\x1b") & set(shown)


def test_the_terminal_gets_a_table(found):
    lines = str(found).splitlines()
    assert lines[0] == "04 · Rectified flow: 6 submissions, mean 3.89 of 8 points"
    assert lines[2].split()[:6] == ["flow.loss", "28%", "1", "3", "0", "2"]
    assert lines[2].endswith("2 × a sum")
    assert lines[3].split() == ["flow.train", "56%", "2", "2", "1", "1"]
    assert "repaired notebooks: 2" in lines
    assert "graded outside the jail: 1" in lines
    assert all(len(line) <= 120 for line in lines)
