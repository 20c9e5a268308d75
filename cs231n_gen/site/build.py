"""`make site`: execute the chapters, turn them into pages, and have Sphinx lay them out."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat

from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.release import run_chapters
from cs231n_gen.grading.release.build import chosen
from cs231n_gen.grading.source.tree import Chapter
from cs231n_gen.site import landing, pages

TEMPLATES = Path(__file__).parent / "templates"
NEEDS = ("sphinx", "myst_nb", "sphinx_book_theme", "sphinx-mathjax-offline")


class SiteError(Exception):
    """The site cannot be built; one line for the person at the terminal."""


def build(
    output: Path | None = None, only: Sequence[str] | None = None, *, solutions: bool = False
) -> Path:
    """Build the site.

    A chapter is executed again only if it changed since it was last executed.

    Args:
        output: the folder, `build/site` by default; its old content is replaced at the end.
        only: numbers or names of the chapters, all if None.
        solutions: whether solutions and model answers are shown.
    Returns:
        The folder; its `index.html` opens in any browser.
    Raises:
        UnknownChapter: if there is no such chapter.
        SiteError: if a package is missing, a chapter fails, or Sphinx finds something wrong.
    """
    output = ROOT / "build" / "site" if output is None else Path(output)
    if missing := [name for name in NEEDS if importlib.util.find_spec(name) is None]:
        raise SiteError(f"the site needs {', '.join(missing)}: make setup EXTRAS=site")
    executed = [(chapter, _executed(chapter)) for chapter in chosen(only)]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".site-") as folder:
        source, site = Path(folder) / "source", Path(folder) / "site"
        _write_source(source, executed, solutions)
        _run_sphinx(source, site)
        if output.exists():
            output.replace(Path(folder) / "old")
        site.replace(output)
    return output


def _executed(chapter: Chapter) -> nbformat.NotebookNode:
    """The chapter with the outputs of its cells."""
    file = ROOT / "build" / "executed" / f"{chapter.name}.ipynb"
    file.parent.mkdir(parents=True, exist_ok=True)
    if not run_chapters.is_fresh(file, chapter):
        outcome = run_chapters.run_source(chapter, file.parent)
        if not outcome.passed:
            raise SiteError(f"{chapter.name}: {outcome.says}")
    return nbformat.read(file, as_version=4)


def _write_source(source: Path, executed: list, solutions: bool) -> None:
    shutil.copytree(TEMPLATES, source)
    _copy_mathjax(source / "_static" / "mathjax")
    for chapter, nb in executed:
        page = pages.page(nb, solutions=solutions)
        nbformat.write(page, source / f"{chapter.name}.ipynb")
    landing.write(source, [(chapter.name, nb) for chapter, nb in executed])


def _copy_mathjax(target: Path) -> None:
    """One component of MathJax and its fonts, instead of all of them."""
    package = Path(importlib.util.find_spec(NEEDS[-1]).origin).parent / "static" / "mathjax"
    target.mkdir(parents=True)
    shutil.copy(package / "tex-chtml.js", target)
    fonts = Path("output") / "chtml" / "fonts" / "woff-v2"
    shutil.copytree(package / fonts, target / fonts)


def _run_sphinx(source: Path, site: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(source.parent / "doctrees"), str(source), str(site)],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "WARNING" in line or "rror" in line]
        raise SiteError("Sphinx: " + " · ".join(said[:5] or done.stderr.splitlines()[-1:]))
    (site / "objects.inv").unlink(missing_ok=True)
