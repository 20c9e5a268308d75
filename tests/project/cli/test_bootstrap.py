"""The set-up: one clear line where it cannot go on, nothing done twice."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from cs231n_gen.cli import bootstrap
from cs231n_gen.cli.bootstrap import SetupError

GLIBC = (2, 36)


@pytest.fixture
def course(tmp_path):
    for name in ("pyproject.toml", "constraints.txt"):
        text = (bootstrap.ROOT / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / ".venv").mkdir()
    return tmp_path


@pytest.fixture
def commands(monkeypatch):
    """What would have been run."""
    done = []
    monkeypatch.setattr(bootstrap, "run", lambda what, command, venv: done.append(command))
    monkeypatch.setattr(bootstrap, "prepare_venv", lambda venv: None)
    return done


def test_an_old_python_can_read_it_as_far_as_its_refusal():
    text = Path(bootstrap.__file__).read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 7))


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (3, 15), (2, 7)])
def test_another_python_is_refused_with_what_is_needed(version):
    with pytest.raises(SetupError, match=r"needs Python 3\.11 to 3\.14; .* is Python \d\.\d+"):
        bootstrap.refuse_python(version)


@pytest.mark.parametrize("version", [(3, 11), (3, 14)])
def test_a_python_that_suits_is_taken(version):
    bootstrap.refuse_python(version)


@pytest.mark.parametrize(
    ("system", "machine", "is_64_bit", "libc", "says"),
    [
        ("Darwin", "x86_64", True, None, "no build for Darwin on x86_64"),
        ("Windows", "AMD64", False, None, "with a 32-bit Python"),
        ("FreeBSD", "amd64", True, None, "no build for FreeBSD"),
        ("Linux", "armv7l", True, GLIBC, "no build for Linux on armv7l"),
        ("Linux", "x86_64", True, None, "another C library"),
        ("Linux", "x86_64", True, (2, 17), r"has glibc 2\.17"),
    ],
)
def test_another_platform_is_refused_in_one_line(system, machine, is_64_bit, libc, says):
    with pytest.raises(SetupError, match=says) as refusal:
        bootstrap.refuse_platform(system, machine, is_64_bit, libc)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("system", "machine"), [("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")]
)
def test_a_platform_that_suits_is_taken(system, machine):
    bootstrap.refuse_platform(system, machine, True, GLIBC)


def test_an_extra_that_is_not_there_is_refused_and_the_others_are_named(course):
    with pytest.raises(SetupError, match=r"no extra is called gpu; there are .*kernels"):
        bootstrap.set_up(course, {"gpu"})


def test_torch_is_asked_for_by_its_exact_pin_in_every_call(course, commands):
    bootstrap.set_up(course, {"test"})
    assert len(commands) == 2
    assert all(bootstrap.pin(course, "torch") in command for command in commands)
    assert commands[1][-1] == ".[test]"


def test_the_second_call_does_nothing(course, commands):
    bootstrap.set_up(course, {"test"})
    commands.clear()
    bootstrap.set_up(course, {"test"})
    bootstrap.set_up(course, set())
    assert not commands


def test_extras_stay_when_others_come(course, commands):
    bootstrap.set_up(course, {"test"})
    bootstrap.set_up(course, {"kernels"})
    assert commands[-1][-1] == ".[kernels,test]"


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_is_wanted_is_installed(name, course, commands):
    bootstrap.set_up(course, set())
    commands.clear()
    with (course / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    bootstrap.set_up(course, set())
    assert commands


def test_a_set_up_that_failed_is_tried_again(course, commands, monkeypatch):
    def fails(what, command, venv):
        raise SetupError("no network")

    monkeypatch.setattr(bootstrap, "run", fails)
    with pytest.raises(SetupError):
        bootstrap.set_up(course, set())
    assert bootstrap.read_stamp(course / ".venv")["sources"] == ""


def test_what_failed_is_shown_with_the_last_lines_of_its_output(course):
    code = "print('a lot', flush=True); raise SystemExit('no space left')"
    with pytest.raises(SetupError, match="no space left\nThat failed: "):
        bootstrap.run("trying", [sys.executable, "-c", code], course / ".venv")


def test_from_the_command_line_the_refusal_is_all_that_is_said(course):
    command = [sys.executable, bootstrap.__file__, "--extras", "nothing-like-it"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("no extra is called nothing-like-it")
    assert "Traceback" not in done.stderr
