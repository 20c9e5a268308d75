"""Files: written whole or not at all, and packed into the same bytes."""

import zipfile

import pytest

from cs231n_gen.common import files


@pytest.mark.parametrize("content", ["x → z\n", b"\r\n\xff"])
def test_a_file_is_written_with_its_folder(tmp_path, content):
    path = tmp_path / "new" / "file"
    assert files.write_whole(path, content) == path
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(path.parent.iterdir()) == [path]


def test_a_draft_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = files.write_whole(tmp_path / "file", "before")
    with pytest.raises(ZeroDivisionError), files.draft_of(path) as draft:
        draft.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_files_give_the_same_zip(tmp_path):
    contents = [("b.txt", b"2"), ("a/run.sh", b"1")]
    one, two = (files.write_zip(tmp_path / n, contents, runnable=["a/run.sh"]) for n in "12")
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert [(i.filename, archive.read(i)) for i in archive.infolist()] == contents
        assert [oct(i.external_attr >> 16 & 0o777) for i in archive.infolist()] == [
            "0o644",
            "0o755",
        ]


def folder(path, content):
    files.write_whole(path / "file", content)
    return path


def test_a_folder_takes_the_place_of_another(tmp_path):
    draft, target = folder(tmp_path / "draft", "new"), folder(tmp_path / "target", "old")
    files.replace_folder(draft, target, tmp_path / "aside" / "old")
    assert (target / "file").read_text() == "new"
    assert (tmp_path / "aside" / "old" / "file").read_text() == "old"


def test_a_folder_goes_back_if_the_other_cannot_be_moved(tmp_path):
    target = folder(tmp_path / "target", "old")
    with pytest.raises(OSError, match="missing"):
        files.replace_folder(tmp_path / "missing", target, tmp_path / "aside" / "old")
    assert (target / "file").read_text() == "old"


def test_leftovers_are_no_files_of_a_folder(tmp_path):
    kept = files.write_whole(tmp_path / "a" / "b.py", "")
    for name in ("a/__pycache__/b.pyc", ".venv/x", "c.egg-info", "a/.DS_Store"):
        files.write_whole(tmp_path / name, "")
    assert files.files_in(tmp_path) == [kept]


def test_a_fingerprint_depends_on_names_and_contents(tmp_path):
    path = files.write_whole(tmp_path / "a", "1")
    first = files.fingerprint([path], tmp_path)
    assert files.fingerprint([path], tmp_path) == first
    assert files.fingerprint([files.write_whole(tmp_path / "b", "1")], tmp_path) != first
    assert files.fingerprint([files.write_whole(path, "2")], tmp_path) != first
