"""The JavaScript of figures as modules: what may import what, and how a page joins them."""

import base64
import posixpath
import re
import subprocess
import zlib
from collections import Counter

import pytest

from cs231n_gen import viz
from cs231n_gen.common.paths import ROOT
from cs231n_gen.viz import standalone_page

JS = ROOT / "cs231n_gen" / "viz" / "js"
FIGURES = sorted(kind.module for kind in viz.MovingFigure.__subclasses__())
FILES = {p.relative_to(JS).with_suffix("").as_posix(): p for p in JS.rglob("*.mjs")}
SOURCES = {name: path.read_text("utf-8") for name, path in FILES.items()}
EXPORT = re.compile(r"^export (?:async )?(?:function|class|const|let) (?:(\w+)|\{([^}]+)\})", re.M)
DECLARED = re.compile(
    r"^(?:export )?(?:async )?(?:function|class|const|let) (?:(\w+)|([\[{][^=]+)=)", re.M
)


def imports_of(name):
    """The modules that a module imports, each as `math/codec`."""
    where = re.findall(r"^(?:import|\}) (?:[^;]*?from )?\"(\.[^\"]+)\.mjs\";", SOURCES[name], re.M)
    return {posixpath.normpath(posixpath.join(posixpath.dirname(name), one)) for one in where}


IMPORTS = {name: imports_of(name) for name in SOURCES}


def all_of(name, seen=None):
    """A module and all that it needs."""
    seen = set() if seen is None else seen
    if name not in seen:
        seen.add(name)
        for one in IMPORTS[name]:
            all_of(one, seen)
    return seen


def names_in(pattern, text):
    """Names that a pattern finds; `{ colors: COLORS }` declares COLORS."""
    for name, several in pattern.findall(text):
        yield from [name] if name else re.findall(r"(\w+)\s*(?:,|$|[}\]])", several.strip())


def script_of(page):
    """The script that a page unpacks."""
    packed = re.search(r"\}\)\(\"([^\"]+)\"\);", page)[1]
    return zlib.decompress(base64.b64decode(packed)).decode()


# --- what may import what -----------------------------------------------------------------------


def test_every_import_is_seen_and_leads_to_a_module():
    for name, text in SOURCES.items():
        assert len(IMPORTS[name]) == len(re.findall(r"from \"[^\"]+\.mjs\"", text)), name
    assert not set().union(*IMPORTS.values()) - {*SOURCES}


@pytest.mark.parametrize(
    ("room", "may"), [("math", {"math"}), ("ui", {"ui"}), ("figures", {"math", "ui", "figures"})]
)
def test_imports_run_from_figures_to_the_rest(room, may):
    """Mathematics is tested without a page, and the page's parts know no mathematics."""
    inside = [name for name in SOURCES if name.startswith(f"{room}/")]
    assert inside
    climbing = {(a, b) for a in inside for b in IMPORTS[a] if b.split("/")[0] not in may}
    assert not climbing


def test_a_figure_imports_no_part_of_another():
    parts = [(a, b) for a in SOURCES for b in IMPORTS[a] if b.startswith("figures/")]
    owner = {name: next((f for f in FIGURES if name.startswith(f)), None) for name in SOURCES}
    assert parts
    assert not [(a, b) for a, b in parts if owner[a] != owner[b] or owner[b] is None]


def test_no_module_imports_itself_by_a_detour():
    circles = [name for name in SOURCES for one in IMPORTS[name] if name in all_of(one)]
    assert not circles


def test_every_module_belongs_to_a_figure_or_to_its_page():
    used = set().union(*(all_of(name) for name in FIGURES)) | {"ui/page_host"}
    assert used == {*SOURCES}


# --- names --------------------------------------------------------------------------------------


def test_a_name_is_exported_once():
    names = Counter(name for text in SOURCES.values() for name in names_in(EXPORT, text))
    assert names["Crowd"] and names["COLORS"], "what is exported is found"
    assert not [name for name, n in names.items() if n > 1]


@pytest.mark.parametrize("name", FIGURES)
def test_joined_modules_share_no_name(name):
    """On a page all modules of a figure, and the page's own script, are one."""
    joined = all_of(name) | {"ui/page_host"}
    names = Counter(n for one in joined for n in names_in(DECLARED, SOURCES[one]))
    names += Counter(["state", "figure", "palette"])  # which the page itself declares
    assert {"Stage", "COLORS", "render", "model"} <= {*names}
    assert not [name for name, n in names.items() if n > 1]


# --- a page -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_a_joined_module_stands_alone(name, tmp_path):
    """It imports nothing, and gives a host render() as anywidget wants it."""
    joined = standalone_page.module(name)
    (tmp_path / "joined.mjs").write_text(joined, encoding="utf-8")
    program = "import('./joined.mjs').then((m) => console.log(m.default, m.COLORS.data))"
    done = subprocess.run(["node", "-e", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == f"{{ render: [Function: render] }} {viz.DATA}", done.stderr
    assert not re.search(r"^\s*(//|import|/\*)", joined, re.M)


@pytest.mark.parametrize("name", FIGURES)
def test_the_script_of_a_page_is_sound(name, tmp_path):
    """Node reads it as one module: names that were declared twice would be refused."""
    script = script_of(standalone_page.document(name, {}, "A figure"))
    (tmp_path / "page.mjs").write_text(script, encoding="utf-8")
    command = ["node", "--check", "page.mjs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
