"""The public check as a student meets it."""

import subprocess
import sys

import pytest

from cs231n_gen import check
from cs231n_gen.check import check_all, known_exercises, run_check
from cs231n_gen.checking import student as back
from cs231n_gen.checking.report import CheckFailed


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's subject files that a test may edit."""
    for path in back.PACKAGE.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "checking").symlink_to(back.PACKAGE / "checking")
    monkeypatch.setattr(back, "PACKAGE", tmp_path)
    return tmp_path


def edit(package, old, new, module="flow"):
    path = package / f"{module}.py"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_right_answer_passes_property_by_property():
    report = check("flow.interpolate")
    assert report.passed
    assert "✓ x_t is the data x at t = 0" in str(report)
    assert "v points from the data to the noise" in report._repr_html_()


def test_a_mistake_is_called_by_its_name(package, capsys):
    edit(package, "x_t = (1 - t) * x + t * z", "x_t = t * x + (1 - t) * z")
    with pytest.raises(CheckFailed, match="of 6 properties hold"):
        check("flow.interpolate")
    text = capsys.readouterr().out
    assert "✗ x_t is the data x at t = 0" in text
    assert "data sits at t = 1 here" in text
    assert "came:" in text
    assert "expected:" in text


def test_an_edit_counts_at_once_without_a_restart(package):
    assert run_check("flow.loss").passed
    edit(package, ".square().mean()", ".square().sum()")
    assert not run_check("flow.loss").passed
    edit(package, ".square().sum()", ".square().mean()")
    assert run_check("flow.loss").passed


def test_a_gap_is_not_written_yet(package):
    edit(package, "x_t = (1 - t) * x + t * z", "raise NotImplementedError")
    report = run_check("flow.interpolate")
    assert "flow.interpolate is not written yet (cs231n_gen/flow.py, line" in report.headline
    assert "write that first" in run_check("flow.loss").headline


def test_a_syntax_error_is_shown_with_its_line(package):
    edit(package, "v = z - x", "v = = z - x")
    text = str(run_check("flow.interpolate"))
    assert "SyntaxError" in text
    assert "v = = z - x" in text


def test_an_exception_shows_the_students_own_line(package):
    edit(package, "v = z - x", "v = z - x.nothing")
    text = str(run_check("flow.interpolate"))
    assert "AttributeError" in text
    assert "flow.py, line" in text
    assert "z - x.nothing" in text


def test_prints_and_warnings_are_kept_out_of_the_way(package, capsys):
    edit(package, "v = z - x", 'print("looking", t.shape)\n    v = z - x')
    assert check("flow.interpolate").passed
    assert "looking" not in capsys.readouterr().out


def test_leaving_python_is_an_error_like_any_other(package):
    edit(package, "v = z - x", "raise SystemExit")
    assert "SystemExit" in str(run_check("flow.interpolate"))


def test_hints_come_in_steps(package):
    edit(package, "v = z - x", "v = x - z")
    none, one = run_check("flow.interpolate"), run_check("flow.interpolate", hint=1)
    assert "Hint 1" not in str(none)
    assert 'check("flow.interpolate", hint=1)' in str(none)
    assert "Hint 1" in str(one)
    assert "Hint 2" not in str(one)
    assert none._repr_html_().count("<details") >= 2


def test_html_is_escaped(package):
    edit(package, "v = z - x", 'raise ValueError("<script>alert(1)</script>")')
    html = run_check("flow.interpolate")._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_an_unknown_exercise_names_the_known_ones():
    with pytest.raises(ValueError, match=r"flow\.interpolate"):
        check("flow.nothing")


def test_all_exercises_hold(capsys):
    assert check_all()
    assert f"{len(known_exercises())} of {len(known_exercises())}" in capsys.readouterr().out


def test_every_exercise_has_hints():
    assert all(len(run_check(e).hints) >= 2 for e in known_exercises())


def test_importing_the_package_does_not_wait_for_torch_and_pytest():
    code = "import sys, cs231n_gen; sys.exit('pytest' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
