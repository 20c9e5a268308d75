"""Chapters as nbgrader assignments: its own machinery makes the students' notebooks and keeps the
gradebook."""

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from cs231n_gen.common.startup import collecting_later
from cs231n_gen.grading.config import load_config


class ReleaseError(Exception):
    """The course cannot be released; one line for the person at the terminal."""


def assign(chapters: Sequence[str], root: Path) -> Path:
    """Run `nbgrader generate_assignment` for these chapters.

    Returns:
        The folder with a folder for each of them.
    Raises:
        ReleaseError: if nbgrader refuses one.
    """
    with collecting_later():
        from nbgrader.converters import GenerateAssignment
        from nbgrader.converters.base import NbGraderException
        from nbgrader.coursedir import CourseDirectory

    config = load_config(root)
    with _quick_if_new(CourseDirectory(config=config).db_url):
        for chapter in chapters:
            course = CourseDirectory(config=config, assignment_id=chapter)
            converter = GenerateAssignment(coursedir=course, config=config, force=True)
            with heard(converter.log) as said:
                try:
                    converter.start()
                except NbGraderException:
                    raise ReleaseError(f"{chapter}: {_reason(said.getvalue())}") from None
    return root / config.CourseDirectory.release_directory


@contextlib.contextmanager
def _quick_if_new(url: str) -> Iterator[None]:
    """Make a new gradebook without waiting for the disk after each of its 250 commits, nor for
    nbgrader to ask another process for the version of its tables.

    It holds nothing yet that a power failure could take away, unlike a gradebook with grades.
    """
    from nbgrader import api
    from sqlalchemy import event
    from sqlalchemy.engine import Engine, make_url

    where = make_url(url)
    new = where.database and not Path(where.database).exists()
    if where.get_backend_name() != "sqlite" or not new:
        yield
        return

    def do_not_wait(connection, _) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", do_not_wait)
    asking, api.get_alembic_version = api.get_alembic_version, tables_version
    try:
        yield
    finally:
        api.get_alembic_version = asking
        event.remove(Engine, "connect", do_not_wait)


def tables_version() -> str:
    """The version of nbgrader's tables, as its own `get_alembic_version` gives it."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from nbgrader.dbutil import ALEMBIC_DIR

    config = Config()
    config.set_main_option("script_location", ALEMBIC_DIR)
    return ScriptDirectory.from_config(config).get_current_head()


@contextlib.contextmanager
def heard(log: logging.Logger):
    """Catch what a logger says instead of showing it."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    propagate, log.propagate = log.propagate, False
    others, log.handlers = log.handlers, [handler]
    try:
        yield said
    finally:
        log.propagate, log.handlers = propagate, others


def _reason(said: str) -> str:
    """The one line that says why, out of nbgrader's log."""
    if "Cannot add or remove cells" in said:
        return (
            "graded cells were added or removed, but gradebook.db holds submissions of this "
            "chapter: undo that, or move gradebook.db away and begin a new one"
        )
    errors = [line for line in said.splitlines() if line[:1].isalpha() and "Error" in line]
    return errors[-1] if errors else said.strip().splitlines()[-1]
