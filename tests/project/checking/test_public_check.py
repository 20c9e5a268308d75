"""The public check as a student meets it."""

import json
import subprocess
import sys
import tomllib

import pytest

from cs231n_gen import check
from cs231n_gen.checking import fresh_modules as back
from cs231n_gen.checking.public_check import KERNELS, PUBLIC, check_all, known_exercises, run_check
from cs231n_gen.checking.report import CheckFailed
from cs231n_gen.kernels.launch import HAVE_TRITON

WITHOUT_TRITON = """
import importlib, json, sys
sys.modules["triton"] = None  # as if it were not installed
import torch
from cs231n_gen.checking import public_check as checks
from cs231n_gen.instruments import inspect
from cs231n_gen.kernels import axpy
checks.known_exercises = lambda: ["flow.interpolate", "kernels.axpy.kernel"]

def refused(function, *args):
    try:
        function(*args)
    except Exception as error:
        return [type(error).__name__, str(error)]

found = {
    "check": refused(checks.check, "kernels.axpy.kernel"),
    "inspect": refused(inspect, axpy, torch.ones(3), torch.ones(3), 2.0),
    "all": checks.check_all(),
}
print("by its name")
found["by its name"] = checks.check_all(["kernels.axpy.kernel"])
print(json.dumps(found))
"""


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
    with pytest.raises(CheckFailed, match=r"of \d+ properties hold"):
        check("flow.interpolate")
    text = capsys.readouterr().out
    assert "✗ x_t is the data x at t = 0" in text
    assert "data sits at t = 1 here" in text
    assert "got:" in text
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


@pytest.mark.full
def test_all_exercises_hold(capsys):
    assert check_all()
    here = [e for e in known_exercises() if HAVE_TRITON or not e.startswith(KERNELS)]
    assert f"{len(here)} of {len(here)} exercises hold" in capsys.readouterr().out


def test_every_exercise_has_hints():
    hints = tomllib.loads((PUBLIC / "hints.toml").read_text(encoding="utf-8"))
    assert not [e for e in known_exercises() if len(hints.get(e, ())) < 2]


def test_importing_the_package_does_not_wait_for_torch_and_pytest():
    code = "import sys, cs231n_gen; sys.exit('pytest' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.full
def test_without_triton_a_line_says_where_to_go_and_the_rest_is_checked():
    command = [sys.executable, "-c", WITHOUT_TRITON]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    text, _, found = done.stdout.strip().rpartition("\n")
    found, (text, named) = json.loads(found), text.split("by its name")
    assert [found["check"][0], found["inspect"][0]] == ["CheckFailed", "RuntimeError"]
    for says in (found["check"][1], found["inspect"][1]):
        assert "\n" not in says
        assert all(w in says for w in ("Linux alone", "WSL2", "Colab", "make setup EXTRAS=kernels"))
    assert found["all"]
    assert "1 of 1 exercises hold" in text
    (line,) = [line for line in text.splitlines() if "Triton" in line]
    assert line.startswith("1 left out, kernels.*: Triton is not installed.")
    assert not found["by its name"]
    assert "kernels.axpy.kernel cannot be checked here. Triton is not installed." in named
