"""The palette: each colour of the course is written down once."""

import json
import re
import subprocess

import pytest

from cs231n_gen.common import palette
from cs231n_gen.common.paths import ROOT

HERE = ROOT / "cs231n_gen" / "common" / "palette.json"
TEXT = {".py", ".mjs", ".css", ".json", ".html", ".j2", ".ipynb", ".md", ".toml"}


def colours(value):
    """All the colours in what palette.json holds."""
    if isinstance(value, str):
        return {value.lower()}
    return set().union(*map(colours, value.values()))


def test_every_colour_is_six_digits():
    text = HERE.read_text("utf-8")
    assert all(re.fullmatch(r"#[0-9a-f]{6}", one) for one in colours(json.loads(text)))
    assert json.loads(text)["colors"]["data"] == palette.DATA


def test_a_colour_is_spelled_nowhere_else():
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a clone")
    files = {ROOT / name for name in done.stdout.split("\0") if name} - {HERE}
    files = [p for p in files if p.suffix in TEXT and p.is_file()]
    known = colours(json.loads(HERE.read_text("utf-8"))) - {"#ffffff"}
    pattern = re.compile("|".join(known), re.I)
    spelled = {
        p.relative_to(ROOT).as_posix() for p in files if pattern.search(p.read_text("utf-8"))
    }
    assert len(files) > 100
    assert not spelled
