"""Where the minutes of a run of the tests go, by file.

    make test ARGS="--quick --junitxml=build/minutes.xml tests/project tests/public tests/hidden"
    python tests/bench/minutes.py build/minutes.xml [an earlier one] [--top 20]

Seconds of the clock are those of a test with its fixtures; where several processes share the cores
they say little. Seconds of a processor are those of the test's process and of the processes that
it waited for; a compiler or a jail that goes on is not among them.
"""

import argparse
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path


def by_file(report: Path) -> tuple[Counter, Counter, Counter]:
    """The number of tests, their seconds of the clock and of a processor, by file."""
    tests, clock, processor = Counter(), Counter(), Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        file = case.get("classname", "").removeprefix("tests.").replace(".", "/") + ".py"
        tests[file] += 1
        clock[file] += float(case.get("time", 0))
        for noted in case.iter("property"):
            if noted.get("name") == "cpu":
                processor[file] += float(noted.get("value"))
    return tests, clock, processor


def table(reports: list[Path], top: int) -> str:
    """A row for each of the files that take longest in the first report, and one for all."""
    columns = [by_file(report) for report in reports]
    head = " | ".join("tests | s of the clock | s of a processor" for _ in reports)
    lines = [f"| file | {head} |", "| --- |" + " --- |" * 3 * len(reports)]
    files = [file for file, _ in columns[0][1].most_common(top)]
    for file in files:
        lines.append(f"| {file} | " + " | ".join(_cells(c, [file]) for c in columns) + " |")
    lines.append("| all | " + " | ".join(_cells(c, list(c[0])) for c in columns) + " |")
    return "\n".join(lines)


def _cells(column: tuple[Counter, Counter, Counter], files: list[str]) -> str:
    tests, clock, processor = (sum(part[file] for file in files) for part in column)
    return f"{tests} | {clock:.0f} | {f'{processor:.0f}' if processor else ''}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("reports", nargs="+", type=Path, help="files of pytest's --junitxml")
    parser.add_argument("--top", type=int, default=20, help="how many files")
    asked = parser.parse_args()
    print(table(asked.reports, asked.top))


if __name__ == "__main__":
    main()
