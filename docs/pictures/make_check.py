"""Make the README's second picture, `check.png`: `python docs/pictures/make_check.py`.

A wrong answer to `flow.interpolate`, and the report in which its check names the mistake. The
report is real: the check runs on a copy of the package in which the answer is wrong. Needs
Chromium and playwright, which `make test` installs.
"""

import html
import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from cs231n_gen.checking import diagnosis, fresh_modules  # noqa: E402
from cs231n_gen.checking.public_check import run_check  # noqa: E402

RIGHT = "    v = z - x\n"
WRONG = "    v = x - z\n"
WIDTH = 1080
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #fff; color: #111; font: 15px/1.45 "DejaVu Sans", sans-serif }}
main {{ display: grid; grid-template-columns: 4fr 6fr; gap: 20px; padding: 16px }}
pre {{ margin: 0; padding: 10px 14px; border: 1px solid #ddd; border-radius: 4px;
  background: #f7f7f7; font: 14px/1.5 "DejaVu Sans Mono", monospace }}
pre b {{ font-weight: 400; background: #fde7d5 }}
h2 {{ margin: 0 0 8px; font-size: 14px; font-weight: 600; color: #555 }}
</style><main>
<section><h2>your answer, in cs231n_gen/flow.py</h2><pre>{answer}</pre></section>
<section><h2>the notebook</h2><pre>check("flow.interpolate")</pre>{report}</section>
</main>"""


def answer(source):
    """The wrong answer's lines between the markers, the mistake marked."""
    gap = source.partition("### BEGIN SOLUTION\n")[2].partition("    ### END SOLUTION")[0]
    lines = [line.removeprefix("    ").partition("  #")[0] for line in gap.splitlines()]
    wrong = WRONG.strip()
    return "\n".join(f"<b>{html.escape(x)}</b>" if x == wrong else html.escape(x) for x in lines)


def main():
    """Check the wrong answer, draw, write."""
    package = diagnosis.PACKAGE  # where the known mistakes are looked for: the source
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / package.name
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__", "grading"))
        source = (copy / "flow.py").read_text(encoding="utf-8")
        assert RIGHT in source
        source = source.replace(RIGHT, WRONG, 1)
        (copy / "flow.py").write_text(source, encoding="utf-8")
        fresh_modules.PACKAGE = copy
        report = run_check("flow.interpolate")
        page = PAGE.format(answer=answer(source), report=report._repr_html_())
    assert report.diagnosis, f"the check did not recognise the mistake: {report}"
    draft = HERE / "check.part.png"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        tab = browser.new_page(viewport={"width": WIDTH, "height": 80}, device_scale_factor=1.5)
        tab.set_content(page)
        tab.screenshot(path=draft, full_page=True)
        browser.close()
    os.replace(draft, HERE / "check.png")


if __name__ == "__main__":
    main()
