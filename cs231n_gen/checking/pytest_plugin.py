"""The pytest side: the `exercise` mark, and the fixtures `student` and `generator`."""

import zlib

import pytest
import torch

SEED = pytest.StashKey[int]()
STUDENT = pytest.StashKey()


def pytest_addoption(parser):
    """pytest's hook: the option --seed."""
    parser.addoption("--seed", type=int, default=0, help="seed of all random inputs")


def pytest_configure(config):
    """pytest's hook: the mark, and the seed of the session."""
    config.addinivalue_line(
        "markers",
        "exercise(id, weight=1, changes=(), graph=None, new=False): the test holds for this "
        "exercise, with this weight; for the rest see checking/shared_properties.py",
    )
    config.stash.setdefault(SEED, config.getoption("--seed", 0))


@pytest.fixture
def student(request):
    """The code under test: this package, unless a runner put someone else's in."""
    from cs231n_gen.checking.student import Student

    given = request.config.stash.get(STUDENT, None)
    return Student() if given is None else given


@pytest.fixture
def generator(request):
    """Random numbers of the test's own: the same for the same seed, whatever other tests drew."""
    name = request.node.nodeid.rsplit("/", 1)[-1].encode()
    # Both in 32 bits: of a larger number torch's generator for the CPU looks at no more.
    return torch.Generator().manual_seed(zlib.crc32(name, request.config.stash[SEED] % 2**32))
