"""Chapters, as people at a terminal name them: `04_rectified_flow`, or just `04`."""

from collections.abc import Iterable, Sequence


class UnknownChapter(ValueError):
    """No chapter has this number or name; one line for the person at the terminal."""


def find_chapter(wanted: str, names: Iterable[str], kind: str = "chapter") -> str:
    """The one of these names that is wanted, by its number or as it is.

    Args:
        wanted: a number or a name.
        names: of all there are.
        kind: what they are called if none of them is the wanted one.
    Raises:
        UnknownChapter: if there is none.
    """
    return find_chapters([wanted], list(names), kind)[0]


def find_chapters(wanted: Sequence[str], names: Sequence[str], kind: str = "chapter") -> list[str]:
    """Those of these names that are wanted, by their numbers or as they are, in their own order.

    Raises:
        UnknownChapter: if one of them is not there, or if none is wanted.
    """
    known = {name.partition("_")[0]: name for name in reversed(names)} | {n: n for n in names}
    unknown = [w for w in wanted if w not in known]
    if unknown or not wanted:
        called = ", ".join(unknown).strip() or "(nothing)"
        there = ", ".join(names) or "none"
        raise UnknownChapter(f"no {kind} is called {called}; there are {there}")
    found = {known[w] for w in wanted}
    return [name for name in names if name in found]
