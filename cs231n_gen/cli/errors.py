"""How all commands report errors."""

import contextlib
import sys
from collections.abc import Iterator

import typer

from cs231n_gen.common.chapters import UnknownChapter


@contextlib.contextmanager
def expected(*errors: type[Exception]) -> Iterator[None]:
    """Turn these errors, and an unknown chapter, into their text on stderr and exit code 2."""
    try:
        yield
    except (UnknownChapter, *errors) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
