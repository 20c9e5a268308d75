"""Chapters by number or name: one rule for all commands, and one sentence if there is none."""

import pytest

from cs231n_gen.common.chapters import UnknownChapter, find_chapter, find_chapters

NAMES = ["00_start", "04_rectified_flow", "05_guidance"]


@pytest.mark.parametrize("wanted", ["04", "04_rectified_flow"])
def test_a_chapter_is_found_by_its_number_and_its_name(wanted):
    assert find_chapter(wanted, NAMES) == "04_rectified_flow"


def test_chapters_come_in_their_own_order_and_once():
    assert find_chapters(["05", "00", "05_guidance"], NAMES) == ["00_start", "05_guidance"]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (["77"], "no chapter is called 77; there are 00_start, 04_rectified_flow, 05_guidance"),
        (["4", "05", "x"], "no chapter is called 4, x; there are"),
        ([""], r"no chapter is called \(nothing\); there are"),
        ([], r"no chapter is called \(nothing\); there are"),
    ],
)
def test_an_unknown_chapter_is_named_with_those_there_are(wanted, says):
    with pytest.raises(UnknownChapter, match=says):
        find_chapters(wanted, NAMES)


def test_where_there_are_none_it_says_so():
    with pytest.raises(UnknownChapter, match="no assigned chapter is called 04; there are none"):
        find_chapter("04", [], "assigned chapter")
