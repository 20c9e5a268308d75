"""The grading processes that attacks are tried on."""

import sys
from pathlib import Path

import pytest

from cs231n_gen.grading.jail import bubblewrap

sys.path.insert(0, str(Path(__file__).parent))  # tests are not a package

import arena


def _jail_or_skip():
    reason = bubblewrap.why_not()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """Secrets that no result may show."""
    planted = arena.Secrets(tmp_path_factory.mktemp("secrets"))
    yield planted
    planted.close()


@pytest.fixture(scope="session")
def patient(planted, tmp_path_factory):
    """A grading process with a limit of six seconds."""
    _jail_or_skip()
    opened = arena.Arena(tmp_path_factory.mktemp("patient"), arena.LIMITS)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def hasty(planted, tmp_path_factory):
    """A grading process with a limit of two seconds."""
    _jail_or_skip()
    opened = arena.Arena(tmp_path_factory.mktemp("hasty"), arena.SHORT)
    yield opened
    opened.close()
