"""What README, docs and changelog say is so: commands, options, paths, chapters, limits, links."""

import os
import re
import subprocess
import sys
import tomllib
from itertools import chain

import pytest
import typer

from cs231n_gen.cli.main import app
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.jail.limits import MIB, Limits
from cs231n_gen.grading.source.tree import chapters
from cs231n_gen.train.options import MAY_CHANGE, Options

TEMPLATE = ROOT / "cs231n_gen" / "grading" / "release" / "templates" / "README.md"
DOORS = [ROOT / "docs" / f"{name}.md" for name in ("students", "instructors", "contributing")]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), TEMPLATE]
LINKED = [*PAGES[:-1], *(ROOT / f for f in ("data/README.md", "notebooks/README.md"))]
LINKED += [ROOT / "tests" / "bench" / "README.md", ROOT / "tests/project/attacks/README.md"]
MADE = {
    "build",
    "exports",
    "feedback",
    "submissions",
    "submitted",
    ".venv",
}  # these appear as one works
STUDENTS = {"setup", "lab", "test", "clean"}  # targets of the Makefile in a released course
OTHERS = {"--help", "--privileged"}  # options of every command, of a container's start
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.M))
COMMANDS = typer.main.get_command(app)
OF_TRAINING = {f"--{name}" for name in Options().kept().keys() | MAY_CHANGE}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: f"{p.parent.name}/{p.name}")


def text_of(page):
    return page.read_text(encoding="utf-8")


def code_of(page):
    """Code of a page: the lines of its blocks, and what stands between backticks."""
    text = text_of(page)
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [*chain.from_iterable(block.splitlines() for block in blocks), *spans]


def options_of(command):
    return set(chain.from_iterable(p.opts + p.secondary_opts for p in command.params))


def all_commands(group=COMMANDS):
    for command in group.commands.values():
        yield command
        if hasattr(command, "commands"):
            yield from all_commands(command)


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text_of(page), re.M)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_each_door_is_on_the_first_page():
    for door in DOORS:
        assert f"(docs/{door.name})" in text_of(ROOT / "README.md")


@each_page
def test_every_target_of_make_exists(page):
    for line in code_of(page):
        for target in re.findall(r"\bmake ([a-z][a-z-]*)", line):
            assert target in (STUDENTS if page == TEMPLATE else TARGETS), line


@each_page
def test_every_extra_exists(page):
    named = re.findall(r"EXTRAS=(\w+)", text_of(page))
    assert not set(named) - set(PROJECT["optional-dependencies"])


@each_page
def test_every_command_and_its_options_exist(page):
    for line in code_of(page):
        for words in re.findall(r"cs231n-gen ([^#\n]+)", line):
            command, words = COMMANDS, words.split()
            while hasattr(command, "commands"):
                assert words and words[0] in command.commands, line
                command, *words = command.commands[words[0]], *words[1:]
            options = {w.partition("=")[0] for w in words if w.startswith("--")}
            assert command.name == "lab" or not options - options_of(command) - OTHERS, line


@each_page
def test_an_option_that_stands_alone_is_one_of_some_command(page):
    known = OTHERS.union(*map(options_of, all_commands()), OF_TRAINING)
    alone = {line.split()[0] for line in code_of(page) if line.startswith("--")}
    assert not alone - known


@each_page
def test_every_path_exists(page):
    top = {path.name for path in ROOT.iterdir()} - MADE
    named = [line for line in code_of(page) if re.fullmatch(r"[\w.-]+(/[\w.-]*)+", line)]
    missing = [n for n in named if n.split("/")[0] in top and not (ROOT / n).exists()]
    assert not missing
    unknown = [n for n in named if n.split("/")[0] not in top | MADE]
    assert not unknown


@each_page
def test_no_chapter_is_named_that_does_not_exist(page):
    known = {chapter.name.partition("_")[0] for chapter in chapters()}
    spans = re.findall(r"[Cc]hapters? (\d\d)(?:(?:–| and |, )(\d\d))?", text_of(page))
    named = {f"{n:02}" for a, b in spans for n in range(int(a), int(b or a) + 1)}
    assert named <= known


def test_the_first_page_lists_the_chapters_that_there_are():
    listed = re.findall(r"^\| \[.+?\]\(notebooks/(\w+)/\1\.ipynb\)", text_of(PAGES[0]), re.M)
    assert listed == [chapter.name for chapter in chapters()]


@pytest.mark.parametrize("page", LINKED, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        place, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / place if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_ten_lines_run_as_they_stand(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", text_of(PAGES[0]), re.S)
    assert len([line for line in code.splitlines() if line]) == 10
    # Seeded, since one run in a hundred or so ends outside of the range below.
    seeded = f"import torch\ntorch.manual_seed(0)\n{code}"
    (tmp_path / "ring.py").write_text(seeded, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "ring.py"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert -2 < float(done.stdout.split()[-1]) < -1.2, "data have −1.39"
    assert "<html" in (tmp_path / "ring.html").read_text(encoding="utf-8")


def test_the_manual_of_the_jail_has_its_limits():
    limits = Limits()
    text = text_of(ROOT / "docs" / "jail.md")
    rows = dict(re.findall(r"^\| ([\w ,]+?) \| ([\w ,]+?) \|", text, re.M))
    assert rows == {
        "limit": "default",
        "time": f"{limits.wall:.0f} s",
        "CPU time": f"{limits.cpu} s",
        "memory, beyond what it inherits": f"{limits.memory // MIB} MiB",
        "processes and threads": f"{limits.processes}",
        "open files": f"{limits.files}",
        "scratch disk": f"{limits.scratch // MIB} MiB, {limits.inodes} files",
        "printed text that is kept": f"{limits.output} characters",
        "one result": f"{limits.answer // MIB} MiB",
        "all results of an exercise": f"{limits.answers // MIB} MiB",
    }


def test_contributors_are_shown_every_room_of_the_package():
    rooms = {path.parent.name for path in (ROOT / "cs231n_gen").glob("*/__init__.py")}
    shown = re.findall(r"^    (\w+)/", text_of(ROOT / "docs" / "contributing.md"), re.M)
    assert rooms <= set(shown)


def test_the_changelog_is_about_this_version():
    assert PROJECT["version"] in text_of(ROOT / "CHANGELOG.md")
