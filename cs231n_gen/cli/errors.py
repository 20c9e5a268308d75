"""What all commands do alike."""

import contextlib
import sys
from collections.abc import Iterator

import typer

from cs231n_gen.common.chapters import UnknownChapter


@contextlib.contextmanager
def expected(*errors: type[Exception]) -> Iterator[None]:
    """These errors are for the person at the terminal, and so is a chapter that does not exist:
    their text, and exit code 2."""
    try:
        yield
    except (UnknownChapter, *errors) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
