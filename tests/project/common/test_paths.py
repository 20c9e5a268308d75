"""The table of rooms: it names folders that exist, and every folder of the package is accounted
for."""

import pytest

from cs231n_gen.common import paths

SUBJECTS = {"experiments", "given", "jupyter", "kernels", "truth"}
GROUPS = ("INSTRUCTORS", "UNUSED_BY_EXERCISES", "WATCHING", "MACHINERY")


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_names_rooms_that_exist(group):
    assert all((paths.PACKAGE / room).is_dir() for room in getattr(paths, group))


def test_every_room_is_machinery_or_what_an_answer_may_use():
    folders = {p.name for p in paths.PACKAGE.iterdir() if p.is_dir() and p.name[0] != "_"}
    assert folders == {*paths.MACHINERY} | SUBJECTS


@pytest.mark.parametrize(
    ("file", "room"), [("kernels/axpy.py", "kernels"), ("flow.py", "flow.py"), ("a/b/c.py", "a")]
)
def test_the_room_of_a_file_is_its_topmost_folder(file, room):
    assert paths.room_of(paths.PACKAGE / file) == room
