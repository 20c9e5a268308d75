"""The doctor finds what is wrong, and never falls ill itself."""

import importlib.metadata
import shutil

import pytest

from cs231n_gen import data
from cs231n_gen.cli import doctor


@pytest.fixture
def other_data(tmp_path, monkeypatch):
    """A copy of the data that a test may damage."""
    folder = shutil.copytree(doctor.ROOT / "data", tmp_path / "data")
    monkeypatch.setenv(data.FOLDER, str(folder))
    data.data_file.cache_clear()
    yield folder
    data.data_file.cache_clear()


def status_of(findings, what):
    return {r.what: r.status for r in findings.rows}[what]


def test_this_machine_is_healthy():
    found = doctor.examine()
    assert found.healthy, str(found)
    assert found.headline == "The course can run here"


def test_it_speaks_of_everything_a_helper_would_ask_for():
    text = str(doctor.doctor())
    for what in ("Python", "torch", "nbgrader", "GPU", "Triton", "data", "disk", "known answer"):
        assert f" {what} " in text


def test_a_damaged_file_is_named(other_data):
    (other_data / "judge.safetensors").write_bytes(b"x")
    found = doctor.examine()
    assert not found.healthy
    assert "To be repaired: data" in str(found)
    assert "judge.safetensors is damaged" in str(found)


def test_missing_data_are_named(other_data):
    (other_data / "fashion_mnist.npz").unlink()
    assert "fashion_mnist.npz is missing" in str(doctor.examine())


def test_a_missing_package_is_bad():
    def version(name):
        raise importlib.metadata.PackageNotFoundError

    assert {r.status for r in doctor.packages(version)} == {"bad"}


def test_another_version_is_only_noted():
    (torch, *_) = doctor.packages(lambda name: "1.0")
    assert torch.status == "note"
    assert torch.says.startswith("1.0; the course was tested with 2")


def test_a_wrong_answer_is_bad(monkeypatch):
    from cs231n_gen.truth import GaussianMixture

    monkeypatch.setattr(GaussianMixture, "velocity", lambda self, x, t: 0.7 * x.double())
    assert status_of(doctor.examine(), "known answer") == "bad"


def test_what_breaks_on_the_way_is_a_finding(monkeypatch):
    def broken():
        raise OSError("<no such disk>")

    broken.__name__ = "disk"
    monkeypatch.setattr(doctor, "disk", broken)
    found = doctor.examine()
    assert status_of(found, "disk") == "bad"
    assert "OSError: <no such disk>" in str(found)
    assert "&lt;no such disk&gt;" in found._repr_html_()
