"""The command line: `cs231n-gen lab`, `doctor`, `check`, `submit`; more for instructors."""

import sys
from typing import Annotated

import typer

from cs231n_gen.cli.errors import expected
from cs231n_gen.common.paths import is_source

# Commands import what they need when they run: `--help` need not wait for torch.
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Modern generative models, built by you: the course's commands.",
)
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=PASSED_ON)
def lab(context: typer.Context) -> None:
    """Open JupyterLab on chapter 00; it gets all other options (--port 9000 --no-browser)."""
    from cs231n_gen.cli.lab import LabError, open_lab

    with expected(LabError):
        raise typer.Exit(open_lab(context.args))


@app.command()
def doctor() -> None:
    """Say what this machine has, and whether the course can run on it."""
    from cs231n_gen.cli.doctor import examine

    found = examine()
    print(found)
    raise typer.Exit(0 if found.healthy else 1)


# Its arguments are read from the context: a declared one makes typer import pydantic, for a tenth
# of a second.
@app.command(context_settings={"allow_extra_args": True}, options_metavar="[OPTIONS] [ID]...")
def check(context: typer.Context) -> None:
    """Check exercises (such as flow.interpolate), all of them if none is named."""
    from cs231n_gen.checking.public_check import check_all, is_known, known_exercises
    from cs231n_gen.common.startup import collecting_later

    for exercise in context.args:
        if not is_known(exercise):
            known = ", ".join(known_exercises())
            print(f"no exercise is called {exercise}; there are {known}", file=sys.stderr)
            raise typer.Exit(2)
    with collecting_later():
        from cs231n_gen.checking import diagnosis, report  # noqa: F401
    raise typer.Exit(0 if check_all(context.args) else 1)


@app.command()
def submit(
    chapter: Annotated[str, typer.Argument(help="its number or name, such as 04")],
) -> None:
    """Check a chapter and pack what you hand in: submissions/04_rectified_flow.zip."""
    from cs231n_gen.cli.submit import SubmitError
    from cs231n_gen.cli.submit import submit as pack

    with expected(SubmitError):
        pack(chapter)


if is_source():
    from cs231n_gen.cli import instructor

    instructor.add_to(app)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
