"""The instructor's commands: release, site, collect, grade, feedback, overview, gradescope …"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cs231n_gen.cli.errors import expected
from cs231n_gen.common.paths import ROOT

Chapter = Annotated[str, typer.Argument(help="its number or name, such as 04")]
Students = Annotated[
    list[str] | None, typer.Option("--student", help="only this one; can be given again")
]


def release(
    only: Annotated[
        str | None,
        typer.Option(help="chapters to assign, such as 04,05; the others are shipped solved"),
    ] = None,
) -> None:
    """Build what students get: build/course/ and build/course.zip."""
    from cs231n_gen.grading.release.build import release as build
    from cs231n_gen.grading.release.nbgrader_assign import ReleaseError
    from cs231n_gen.grading.source.lint import BadSource

    with expected(ReleaseError, BadSource):
        course = build(only.split(",") if only is not None else None)
        print(f"built {course} and {course.with_name(course.name + '.zip').name}")


def site(
    only: Annotated[str | None, typer.Option(help="chapters, such as 00,04; else all")] = None,
    with_solutions: Annotated[
        bool, typer.Option("--with-solutions", help="show solutions and model answers")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="the folder, else build/site")] = None,
) -> None:
    """Build the reader's site: build/site/index.html, which needs no network."""
    from cs231n_gen.site.build import SiteError, build

    with expected(SiteError):
        folder = build(
            output, only.split(",") if only is not None else None, solutions=with_solutions
        )
        print(f"built {folder / 'index.html'}")


def collect(
    paths: Annotated[list[Path], typer.Argument(help="zips, LMS downloads, folders")],
    chapter: Annotated[str | None, typer.Option(help="take no other chapter")] = None,
    roster: Annotated[Path | None, typer.Option(help="CSV: id,name,email")] = None,
) -> None:
    """Take in what students handed in: submitted/<student>/<chapter>/."""
    from rich.text import Text

    from cs231n_gen.common import tables
    from cs231n_gen.grading.collect.collect import CollectError
    from cs231n_gen.grading.collect.collect import collect as take

    with expected(CollectError):
        found = take(paths, ROOT, chapter=chapter, roster=roster)
    tables.show(
        ("student", "chapter", "", "handed in", "from"),
        [tuple(Text(cell) for cell in row) for row in found.rows()],
    )
    for refused in found.refused:
        print(f"refused: {refused.source}: {refused.reason}", file=sys.stderr)
    states = [a.state for a in found.attempts]
    counts = [f"{states.count(s)} {s}" for s in dict.fromkeys(states)]
    print(", ".join([*counts, f"{len(found.refused)} refused"]))
    raise typer.Exit(1 if found.refused else 0)


def grade(
    chapter: Chapter,
    student: Students = None,
    exercise: Annotated[
        list[str] | None,
        typer.Option("--exercise", help="grade this one to look at it; nothing is written"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="of hidden tests' random inputs")] = None,
    workers: Annotated[int | None, typer.Option(help="by default one for each core")] = None,
    dask: Annotated[str | None, typer.Option(help="a Dask scheduler, tcp://host:8786")] = None,
    again: Annotated[bool, typer.Option(help="also what would come out the same")] = False,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="outside the jail: student code can do all you can")
    ] = False,
) -> None:
    """Grade what was handed in; run it again to go on after a stop."""
    from cs231n_gen.grading.jail.sandbox import JailBroken, NoJail
    from cs231n_gen.grading.run import session
    from cs231n_gen.grading.run.assignment import GradeError
    from cs231n_gen.grading.run.examiner import GraderBroken

    with expected(GradeError, NoJail, JailBroken, GraderBroken):
        assignment = session.open_assignment(ROOT, chapter, seed, unsafe)
        chosen = session.choose(assignment, student)
        if exercise:
            session.look(assignment, chosen, exercise)
            return
        good = session.grade_with_progress(
            assignment, chosen, workers or os.cpu_count() or 1, dask, again
        )
    raise typer.Exit(0 if good else 1)


def feedback(chapter: Chapter, student: Students = None) -> None:
    """Write the pages that students read: feedback/<student>/<chapter>/."""
    from tqdm import tqdm

    from cs231n_gen.grading.feedback import publish
    from cs231n_gen.grading.run import session
    from cs231n_gen.grading.run.assignment import GradeError

    with expected(GradeError):
        name = session.chapter_name(ROOT, chapter)
        written = sum(1 for _ in tqdm(publish.write_all(ROOT, name, student), unit=" pages"))
        if not written:
            raise GradeError(f"nothing of {name} is graded yet: `cs231n-gen grade {chapter}`")
    print(f"wrote {written} page{'s' * (written > 1)}: feedback/*/{name}/{name}.html")


def overview(chapter: Chapter) -> None:
    """Say what the class got right and wrong: build/overview/<chapter>.html."""
    from cs231n_gen.grading.feedback import overview as view
    from cs231n_gen.grading.feedback import publish
    from cs231n_gen.grading.run import session
    from cs231n_gen.grading.run.assignment import GradeError

    with expected(GradeError):
        name = session.chapter_name(ROOT, chapter)
        seen = view.overview(publish.gradings(ROOT, name))
        folder = ROOT / "build" / "overview"
        folder.mkdir(parents=True, exist_ok=True)
        path = view.write_page(seen, folder / f"{name}.html")
    print(seen)
    print(path.relative_to(ROOT))


export = typer.Typer(no_args_is_help=True, help="Grades for other programs: csv, canvas.")


@export.command("csv")
def export_csv(
    to: Annotated[Path | None, typer.Option(help="the file to write")] = None,
) -> None:
    """Write nbgrader's table of all grades, safe to open in a spreadsheet."""
    from cs231n_gen.grading.exports import ExportError
    from cs231n_gen.grading.exports.spreadsheet import write_csv

    with expected(ExportError):
        print(f"wrote {write_csv(ROOT, to)}")


@export.command("canvas")
def export_canvas(
    gradebook: Annotated[Path, typer.Argument(help="the CSV file that Canvas exported")],
    chapter: Chapter,
    column: Annotated[str | None, typer.Option(help="the column, if its name is no help")] = None,
    to: Annotated[Path | None, typer.Option(help="the file to write")] = None,
) -> None:
    """Fill a chapter's column of Canvas's own export."""
    from cs231n_gen.grading.exports import ExportError
    from cs231n_gen.grading.exports.canvas import fill
    from cs231n_gen.grading.run import session
    from cs231n_gen.grading.run.assignment import GradeError

    with expected(ExportError, GradeError):
        name = session.chapter_name(ROOT, chapter)
        print(fill(gradebook, ROOT, name, column=column, to=to))


def gradescope(
    chapter: Chapter, to: Annotated[Path | None, typer.Option(help="the file to write")] = None
) -> None:
    """Build the zip for Gradescope's autograder."""
    from cs231n_gen.grading.exports import ExportError
    from cs231n_gen.grading.exports.gradescope_zip import build
    from cs231n_gen.grading.run import session
    from cs231n_gen.grading.run.assignment import GradeError

    with expected(ExportError, GradeError):
        print(f"built {build(ROOT, session.chapter_name(ROOT, chapter), to)}")


def gradescope_run() -> None:
    """Grade the submission of a Gradescope container (the zip's scripts call this)."""
    from cs231n_gen.grading.exports.gradescope_run import run_autograder
    from cs231n_gen.grading.jail.sandbox import NoJail

    with expected(NoJail, OSError):
        run_autograder(ROOT)


def add_to(app: typer.Typer) -> None:
    """Give the command line the instructor's commands."""
    for command in (release, site, collect, grade, feedback, overview, gradescope):
        app.command()(command)
    app.add_typer(export, name="export")
    app.command("gradescope-run", hidden=True)(gradescope_run)
