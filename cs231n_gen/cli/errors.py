"""What all commands do alike."""

import contextlib
import sys
from collections.abc import Iterator

import typer


@contextlib.contextmanager
def expected(*errors: type[Exception]) -> Iterator[None]:
    """These errors are for the person at the terminal: their text, and exit code 2."""
    try:
        yield
    except errors as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
