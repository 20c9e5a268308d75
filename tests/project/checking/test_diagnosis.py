"""A mistake is named only where its sentence is true: what is told apart, and by what."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch

from cs231n_gen import vq
from cs231n_gen.checking import diagnosis, fresh_modules, variants
from cs231n_gen.checking.diagnosis import Known
from cs231n_gen.checking.runner import Result, run, with_tests
from cs231n_gen.checking.student import Student

TESTS = Path(__file__).parents[2]
PUBLIC = TESTS / "public"
MISTAKES = [m for m in variants.load(TESTS / "mistakes") if not m.exercise.startswith("kernels.")]
ACCEPTED = variants.load(TESTS / "accepted")
EXERCISES = list(dict.fromkeys(m.exercise for m in MISTAKES))


def _first(first, *_, **__):
    return first


def _none(*_, **__):
    return None


@cache
def seen(exercise):
    """What public tests see of an exercise: of all its mistakes, and of answers that tell nothing
    by themselves."""
    mistakes = [m for m in MISTAKES if m.exercise == exercise]
    accepted = [m for m in ACCEPTED if m.exercise == exercise]
    found = {}

    def once(suite):
        for v in (*mistakes, *accepted):
            student = Student().replacing(exercise, v.implementation)
            found[v.name, v.says] = suite.run(student, 0, [exercise])
        found["right"] = suite.run(Student(), 0, [exercise])
        for idle in (_first, _none):
            found[idle] = suite.run(Student().replacing(exercise, idle), 0, [exercise])

    with_tests([fresh_modules.tests_of(exercise.rpartition(".")[0], PUBLIC)], once)
    known = {m: diagnosis.failures(found[m.name, m.says]) for m in mistakes}
    right = [found["right"], *(found[v.name, v.says] for v in accepted)]
    return known, right, [diagnosis.failures(found[idle]) for idle in (_first, _none)]


def as_known(mistake, failed):
    return Known(mistake.exercise, mistake.name, mistake.says, failed)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_no_mistake_is_taken_for_another(exercise):
    """The cross-table: each answer beside the records of all others."""
    known, right, _ = seen(exercise)
    false = []
    for m, failed in known.items():
        others = [as_known(o, f) for o, f in known.items() if o.public and o is not m]
        says = diagnosis.named(failed, others)
        if says not in (None, m.says):
            false.append((m.name, says))
        alike = [o for o in others if failed and diagnosis.agree(failed, o.failed)]
        false += [(m.name, o.says) for o in alike if m.public and o.says != m.says]
    assert not false
    every = [as_known(m, f) for m, f in known.items() if m.public]
    assert not any(diagnosis.named(diagnosis.failures(r), every) for r in right)


def tells(value, right):
    """Whether a result tells more than that it is wrong: a number that is neither right nor 0."""
    if isinstance(value, dict) and isinstance(right, dict) and value.keys() == right.keys():
        return any(tells(value[k], right[k]) for k in value if k != "sums")
    if isinstance(value, list) and isinstance(right, list) and len(value) == len(right):
        return any(map(tells, value, right))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return isinstance(value, dict | list) and bool(value) and "error" not in value
    finite = value == value and abs(value) != float("inf") and value != 0
    return finite and not diagnosis._same(value, right)


def known_by_little(failed, right, idle):
    """Whether all that was seen of a mistake are errors, NaN, zeros, and right results."""
    of_right = {r.test: diagnosis.summary(r.returned) for r in right}
    pairs = [(f["returned"], of_right[test]) for test, f in failed.items() if test in of_right]
    told = [len(a) > len(b) or any(map(tells, a, b)) for a, b in pairs]
    return not any(told) or any(diagnosis.agree(failed, i) for i in idle)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_mistake_known_by_little_has_a_sentence_that_is_sure(exercise):
    """Many causes look like this, so the sentence must be true of all: `sure=True` says it is."""
    known, (right, *_), idle = seen(exercise)
    unsure = [
        m.name
        for m, f in known.items()
        if m.public and not m.sure and known_by_little(f, right, idle)
    ]
    assert not unsure


# --- what is compared ---------------------------------------------------------------------------


def result(test, status="failed", says="it is wrong", returned=()):
    return Result("flow.loss", test, test, 1, status, says, returned=tuple(returned))


def known(says, results):
    found = json.loads(json.dumps(diagnosis.failures(results)))  # as it is written down
    return Known("flow.loss", says, says, found)


ONE = result("one", returned=[torch.tensor([1.5, 2.5])])
TWO = result("two", returned=[torch.tensor(3.5)])
SUM = known("a sum", [ONE, TWO])


def named(results, *mistakes):
    return diagnosis.named(diagnosis.failures(results), mistakes)


def test_an_answer_that_fails_the_same_in_the_same_way_is_named():
    assert named([ONE, TWO], SUM) == "a sum"
    assert named([TWO, ONE, result("three", "passed")], SUM) == "a sum"


@pytest.mark.parametrize(
    "results",
    [
        [ONE],
        [ONE, TWO, result("three")],
        [ONE, result("two", "error", "ValueError: no", TWO.returned)],
        [ONE, result("two", says="another line of the test", returned=TWO.returned)],
        [ONE, result("two", returned=[torch.tensor(3.501)])],
        [ONE, result("two", returned=[torch.tensor([3.5])])],
        [ONE, result("two", returned=[torch.tensor(3.5), None])],
        [ONE, result("two", "missing", TWO.says, TWO.returned)],
        [],
    ],
)
def test_an_answer_that_fails_otherwise_is_not_named(results):
    assert named(results, SUM) is None


def test_two_mistakes_that_look_the_same_are_named_only_by_one_sentence():
    assert named([ONE, TWO], SUM, known("a sum", [ONE, TWO])) == "a sum"
    assert named([ONE, TWO], SUM, known("no mean", [ONE, TWO])) is None


def test_rounding_is_no_difference_and_each_number_of_a_large_tensor_counts():
    large = torch.linspace(-3, 5, 4096)
    changed = large.clone()
    changed[1234] += 1
    mistake = known("large", [result("one", returned=[large])])
    assert named([result("one", returned=[large * (1 + 1e-6)])], mistake) == "large"
    assert named([result("one", returned=[changed])], mistake) is None


def test_numbers_and_names_in_an_error_are_no_difference():
    def said(text):
        return [result("one", "error", text)]

    mistake = known("shapes", said("TypeError: summed() takes 2 positional arguments but 3 were"))
    assert named(said("TypeError: loss() takes 2 positional arguments but 3 were"), mistake)
    assert not named(said("TypeError: loss() got an unexpected argument"), mistake)


# --- forms of a mistake -------------------------------------------------------------------------


def test_a_mistake_is_known_in_the_forms_that_ignore_arguments():
    @variants.mistake("flow.sample", "it is wrong", ignoring=("y", "times"))
    def wrong(model, z, steps, y=None, times=None):
        return model, z, steps, y, times

    first, no_y, no_times, neither = wrong._variants
    assert {v.says for v in wrong._variants} == {"it is wrong"}
    assert len({v.name for v in wrong._variants}) == 4
    assert first.implementation(1, 2, 3, 4, times=5) == (1, 2, 3, 4, 5)
    assert no_y.implementation(1, 2, 3, 4, 5) == (1, 2, 3, None, 5)
    assert no_times.implementation(1, 2, 3, y=4, times=5) == (1, 2, 3, 4, None)
    assert neither.implementation(1, 2, 3, 4, 5) == (1, 2, 3, None, None)


def test_lines_above_a_gap_come_before_all_mistakes_but_bare_ones(tmp_path):
    (tmp_path / "flow.py").write_text(
        "from cs231n_gen.checking.variants import mistake\n"
        "def refuse(x):\n    if x < 0:\n        raise ValueError('x < 0')\n"
        "REFUSED = {'flow.loss': refuse}\n"
        "@mistake('flow.loss', 'it is wrong')\ndef whole(x):\n    return x\n"
        "@mistake('flow.loss', 'it refuses nothing', bare=True)\ndef bare(x):\n    return x\n"
        "@mistake('flow.sample', 'another exercise')\ndef other(x):\n    return x\n"
    )
    whole, *others = (v.implementation for v in variants.load(tmp_path))
    assert whole(2) == 2
    with pytest.raises(ValueError, match="x < 0"):
        whole(-1)
    assert [v(-1) for v in others] == [-1, -1]


def test_another_form_has_the_sentence_of_the_mistake():
    @variants.mistake("flow.sample", "it is wrong", public=False)
    def wrong():
        return 1

    @variants.form_of(wrong, sure=True)
    def twice_wrong():
        return 2

    (form,) = twice_wrong._variants
    assert (form.says, form.public, form.sure) == ("it is wrong", False, True)
    assert (form.name, form.implementation()) == ("twice_wrong", 2)


# --- what is kept -------------------------------------------------------------------------------


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(diagnosis, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def test_nothing_is_kept_of_files_that_were_edited_meanwhile(own_cache, tmp_path, monkeypatch):
    places, kept = iter([own_cache / "before", own_cache / "after"]), own_cache / "before"
    monkeypatch.setattr(diagnosis, "_kept", lambda exercise: next(places))
    monkeypatch.setattr(diagnosis, "_observe", lambda mistakes: [SUM])
    with pytest.raises(diagnosis.SourceChanged, match=r"flow\.loss depends on were edited"):
        diagnosis.write(tmp_path / "diagnoses.json", ["flow.loss"], workers=1)
    assert not kept.exists()
    assert not (own_cache / "after").exists()
    assert not (tmp_path / "diagnoses.json").exists()


def test_what_an_edit_breaks_meanwhile_is_said_to_be_an_edit(own_cache, tmp_path, monkeypatch):
    def gone(mistakes):
        monkeypatch.setattr(diagnosis, "_kept", lambda exercise: own_cache / "after")
        raise SyntaxError("half a line")

    monkeypatch.setattr(diagnosis, "_observe", gone)
    with pytest.raises(diagnosis.SourceChanged):
        diagnosis.write(tmp_path / "diagnoses.json", ["flow.loss"], workers=1)


def test_an_error_of_ones_own_stays_what_it_is(own_cache, tmp_path, monkeypatch):
    def broken(mistakes):
        raise SyntaxError("half a line")

    monkeypatch.setattr(diagnosis, "_observe", broken)
    with pytest.raises(SyntaxError, match="half a line"):
        diagnosis.write(tmp_path / "diagnoses.json", ["flow.loss"], workers=1)


def test_what_is_kept_is_read(own_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(diagnosis, "_observe", lambda mistakes: [SUM])
    diagnosis.write(tmp_path / "one.json", ["flow.loss"], workers=1)
    monkeypatch.setattr(diagnosis, "_observe", None)
    diagnosis.write(tmp_path / "two.json", ["flow.loss"], workers=1)
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text() != "[]"


def test_a_result_of_very_many_numbers_is_told_in_short():
    """float32 does not count that far: 2²⁴ + 3, the last place, would become 2²⁴ + 4."""
    many = torch.ones(1, dtype=torch.float64).expand(2**24 + 4)
    (short,) = diagnosis.summary([many])
    assert short["values"] == [1.0] * diagnosis.KEPT


def test_the_words_of_a_refusal_do_not_hide_a_mistake():
    """Where all else fails, what is refused counts for nothing, and its words tell nothing."""

    def update_codes(counts, sums, z, index, decay=0.99, eps=1e-5):
        try:
            codes, counts, sums = vq.update_codes(counts, sums, z, index, decay, eps)
        except ValueError:
            raise ValueError("in other words") from None
        return counts, sums, codes

    student = Student().replacing("vq.update_codes", update_codes)
    found = diagnosis.diagnose(run(PUBLIC, ["vq.update_codes"], student))
    assert found == "The results come in another order: codes, counts, sums."
