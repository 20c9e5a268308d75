"""Which tests `make test` takes on, which it leaves to the rest, and who runs which beside whom.

Hooks of pytest, which `tests/project/conftest.py` takes over:

- `@pytest.mark.full`: `make test` leaves the test to `make test-all`.
- `@pytest.mark.drawn(group, count)`: of all cases of this test in this group so many are drawn by
  the commit, unless all are asked for, or a case by its name (`::`, `-k`).
"""

import os
import re
from collections import defaultdict

import pytest

from selection.draw import commit, draw

# Long ones first, so that in the end no process has to wait for another's.
LONG = (
    "test_grade_class.py",
    "test_attacks.py",
    "test_release.py",
    "test_public_check.py",
    "test_site.py",
    "test_nbgrader.py",
    "test_remote_student.py",
    "test_jail.py",
    "test_in_chromium.py",
    "test_graders_grade.py",
    "test_mutation.py",
)
# Files whose tests share nothing that is dear are cut: into parts that share the same match.
CUT = {
    "test_graders_grade.py": re.compile(r"\[([\w.]+)"),
    "test_mutation.py": re.compile(r"\[([\w.]+)"),
    "test_attacks.py": re.compile(r"\[(\w+)"),
    "test_in_chromium.py": re.compile(r"::(\w+)"),
}


BEGAN = pytest.StashKey[float]()
PROOFS = ("test_graders_grade.py", "test_mutation.py")
SITE = "SITE" in os.environ  # there is a whole site to look at
PROVE = "PROVE" in os.environ  # the exercises that are to be proved, every case of them


def pytest_addoption(parser):
    """pytest's hook: which tests are run."""
    group = parser.getgroup("course")
    tier = {"action": "store_const", "dest": "tier"}
    group.addoption("--quick", const="quick", help="leave out what is marked `full`", **tier)
    group.addoption("--rest", const="rest", help="run what --quick leaves out, alone", **tier)
    group.addoption("--all", const="all", help="run every case of every test", **tier)


def pytest_configure(config):
    """pytest's hook: the marks."""
    config.addinivalue_line("markers", "full: `make test` leaves it to `make test-all`")
    config.addinivalue_line(
        "markers", "drawn(group, count): so many of the group's cases are drawn by the commit"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """pytest's hook: leave out what this run need not do, and begin with what takes long."""
    tier = config.getoption("tier", None)
    named = config.option.keyword or any("::" in a for a in config.args)
    kept = items if tier == "all" or named or (PROVE and tier is None) else _quick(items)
    if tier in ("quick", "rest"):
        kept = [i for i in kept if not i.get_closest_marker("full")]
    if tier == "rest":  # what is proved, is proved as a whole
        quick = set(kept)
        kept = [i for i in items if i not in quick or (SITE and i.path.parent.name == "site")]
        kept = [i for i in kept if PROVE or i.path.name not in PROOFS]
        kept += [i for i in items if PROVE and i.path.name in PROOFS and i in quick]
    if left := set(items) - set(kept):
        config.hook.pytest_deselected(items=list(left))
    items[:] = sorted(kept, key=_place)


def _place(item) -> int:
    """Where an item stands in the order: whole proofs of kernels take longest of all."""
    if PROVE and item.path.name in PROOFS and "[kernels." in item.name:
        return -1
    return LONG.index(item.path.name) if item.path.name in LONG else len(LONG)


def _quick(items: list) -> list:
    """The items without the cases that were not drawn."""
    groups, left = defaultdict(list), set()
    for item in items:
        if mark := item.get_closest_marker("drawn"):
            groups[(item.path, item.originalname, *mark.args)].append(item)
    for (*_, count), cases in groups.items():
        left |= set(cases) - set(draw(cases, count, commit(), key=lambda item: item.name))
    return [i for i in items if i not in left]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """pytest's hook: note how much of a processor a test takes, its processes included."""
    item.stash[BEGAN] = _processor_seconds()
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item, call):
    """pytest's hook: the seconds go into the JUnit file."""
    if call.when == "teardown":
        took = _processor_seconds() - item.stash[BEGAN]
        item.user_properties.append(("cpu", f"{took:.3f}"))


def _processor_seconds() -> float:
    return sum(os.times()[:4])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """pytest-xdist's hook: a file at a time to each process, or a part of a file that is cut."""
    from xdist.scheduler import LoadScopeScheduling

    class Parts(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return part(nodeid)

    return Parts(config, log) if config.getoption("dist") == "loadfile" else None


def part(nodeid: str) -> str:
    """The part of a file to which a test belongs; all of a part run in one process."""
    file = nodeid.partition("::")[0]
    pattern = CUT.get(file.rpartition("/")[2])
    found = pattern.search(nodeid) if pattern else None
    return f"{file}::{found[1]}" if found else file
