"""Prove what changed since it was proved, and a drawn tenth of the rest.

    python tests/selection plan            says what would be proved and what not
    python tests/selection prove -n auto … executes chapters, as source and as released, makes their
                                           site, and runs what `make test` leaves out; the options
                                           are pytest's

With FULL=1 in the environment everything is proved. What was is noted in `tests/proved.json`.
"""

import argparse
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:1] = [str(ROOT / "tests"), str(ROOT)]

import pytest  # noqa: E402

from cs231n_gen.grading.release import run_chapters  # noqa: E402
from cs231n_gen.grading.source.tree import chapters  # noqa: E402
from cs231n_gen.site import build  # noqa: E402
from selection import ledger  # noqa: E402
from selection.dependencies import PROOFS  # noqa: E402

FORMS = 2  # in which a chapter is run: as source, as released
EXERCISE = re.compile(rf"(?:{'|'.join(map(re.escape, PROOFS))})::\w+\[([\w.]+)")


class Proving:
    """A plugin of pytest that notes which exercises were proved, and says what was left out."""

    def __init__(self, plan: ledger.Plan):
        self.plan = plan
        self.seconds: Counter = Counter()
        self.passed: Counter = Counter()
        self.bad: set[str] = set()

    def pytest_runtest_logreport(self, report):
        """pytest's hook: one phase of a test ended."""
        if found := EXERCISE.match(report.nodeid):
            self.seconds[found[1]] += report.duration
            self.passed[found[1]] += report.when == "call" and report.passed
            if not report.passed:
                self.bad.add(found[1])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session, exitstatus):
        """pytest's hook: all tests ended, unless somebody or something stopped them."""
        stopped = session.shouldstop or session.shouldfail or session.config.option.keyword
        if stopped or exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return
        done = [e for e in self.plan.to_prove("exercise") if self.passed[e] and e not in self.bad]
        ledger.record(self.plan, "exercise", {e: self.seconds[e] for e in done})

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter):
        """pytest's hook: the lines before its last one."""
        for line in self.plan.lines():
            terminalreporter.write_line(line)


def main(arguments: list[str] | None = None) -> int:
    """Run the command, return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["plan", "prove"])
    asked, options = parser.parse_known_args(arguments)
    plan = ledger.make_plan(full=os.environ.get("FULL", "") not in ("", "0"))
    if asked.what == "prove":
        return prove(plan, options)
    for kind in ("exercise", "chapter"):
        print(f"to prove, {kind}s:", " ".join(plan.to_prove(kind)) or "none")
    print(*plan.lines(), sep="\n")
    return 0


def prove(plan: ledger.Plan, options: list[str]) -> int:
    """Run the chapters, make their site, run the tests; the options are pytest's."""
    failed = not run_all(plan, plan.to_prove("chapter"))
    shown = sorted({"00_start", *plan.to_prove("chapter")})  # the site's tests know words of 00
    try:
        os.environ["SITE"] = str(build.build(ROOT / "build" / "proof-site", shown))
        os.environ["CHAPTERS"] = " ".join(shown)
    except build.SiteError as error:
        failed = True
        print(f"no site: {error}", flush=True)
    os.environ["OMP_NUM_THREADS"] = os.environ["TRITON_INTERPRET"] = "1"
    os.environ["PROVE"] = " ".join(plan.to_prove("exercise")) or "none"
    code = pytest.main(["--rest", *options], plugins=[Proving(plan)])
    return int(code) or int(failed)


def run_all(plan: ledger.Plan, names: list[str]) -> bool:
    """Execute chapters one by one, note those that ran, return whether all did."""
    good: Counter = Counter()
    began = time.perf_counter()
    for outcome in run_chapters.run([c for c in chapters() if c.name in names]) if names else ():
        mark = "✓" if outcome.passed else "✗"
        print(f"{mark} {outcome.chapter}, {outcome.form}: {outcome.says}", flush=True)
        good[outcome.chapter] += outcome.passed
        if good[outcome.chapter] == FORMS:
            now = time.perf_counter()
            ledger.record(plan, "chapter", {outcome.chapter: now - began})
            began = now
    return all(good[name] == FORMS for name in names)


if __name__ == "__main__":
    sys.exit(main())
