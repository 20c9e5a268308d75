"""`make lab`: JupyterLab opens on chapter 00, with the course's own package."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request

import pytest

from cs231n_gen.cli import lab
from cs231n_gen.grading.release import build as releasing
from cs231n_gen.grading.source.lint import BadSource, Problem

SCREEN = {"DISPLAY": ":0"}


@pytest.mark.parametrize(
    ("env", "platform", "expected"),
    [
        (SCREEN, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"WSL_DISTRO_NAME": "Debian"}, "linux", True),
        ({}, "linux", False),
        ({**SCREEN, "CI": "true"}, "linux", False),
        ({}, "darwin", True),
        ({}, "win32", True),
    ],
)
def test_a_browser_is_opened_where_there_is_one(env, platform, expected):
    assert lab.has_browser(env, platform) is expected


def test_it_opens_on_chapter_00_of_the_course(tmp_path):
    line = lab.command(tmp_path, [], SCREEN)
    assert f"--ServerApp.root_dir={tmp_path}" in line
    assert any(option.endswith("/lab/tree/notebooks/00_start/00_start.ipynb") for option in line)


def test_what_the_reader_passes_comes_last(tmp_path):
    assert lab.command(tmp_path, ["--port", "9000"], SCREEN)[-2:] == ["--port", "9000"]


def test_kernels_and_terminals_find_the_course_first(tmp_path):
    env = lab.environment(tmp_path, {"PYTHONPATH": "elsewhere", "PATH": "bin", "HOME": "home"})
    assert env["PYTHONPATH"].split(os.pathsep) == [str(tmp_path), "elsewhere"]
    assert env["PATH"].split(os.pathsep)[1:] == ["bin"]
    assert env["HOME"] == "home"


def test_bad_source_is_said_in_its_own_lines(monkeypatch):
    def refuse():
        raise BadSource([Problem("cs231n_gen/flow.py", 7, "no end")])

    monkeypatch.setattr(releasing, "build_if_changed", refuse)
    with pytest.raises(lab.LabError, match=r"^cs231n_gen/flow\.py:7: no end$"):
        lab.open_lab()


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_it_serves_the_notebook_at_the_address_it_prints(jupyterlab):
    """As `cs231n-gen lab` opens it, on the source in place of a built course."""
    code = (
        "import sys; from cs231n_gen.cli import lab; lab.build_course = lambda: lab.ROOT; "
        "sys.exit(lab.open_lab(['--port=0', '--allow-root']))"
    )
    env = {**os.environ, "CI": "true"}
    with jupyterlab([sys.executable, "-c", code], env, lab.ROOT) as (address, token):
        notebook = fetch(f"{address}/api/contents/{lab.FIRST}?content=0&token={token}")
        page = fetch(f"{address}/lab?token={token}")
    assert json.loads(notebook)["type"] == "notebook"
    assert "apputils-extension:announcements" in page  # is switched off


def fetch(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read().decode()


def test_a_built_course_is_opened_itself_though_the_source_is_installed(tmp_path):
    """The source's own modules can be imported beside the course's: only files tell them apart."""
    shutil.copytree(lab.ROOT / "cs231n_gen", tmp_path / "cs231n_gen", ignore=without_grading)
    code = "from cs231n_gen.cli import lab; print(lab.build_course())"
    env = lab.environment(tmp_path, os.environ)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path)


def without_grading(folder, names):
    return {"grading", "__pycache__"}.intersection(names)
