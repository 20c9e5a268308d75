"""What tests of figures share: JavaScript asked from Python, and figures to ask about."""

import json
import subprocess
from pathlib import Path

import pytest

from cs231n_gen.checking.fresh_modules import load_module
from cs231n_gen.common.paths import ROOT

EVERY = load_module(Path(__file__).parent / "examples.py", "examples").EVERY
JS = ROOT / "cs231n_gen" / "viz" / "js"


@pytest.fixture(scope="session")
def node():
    """`node(module, body, **given)`: what `body` returns, with a module's functions and `given`."""

    def ask(module, body, **given):
        program = f"""
            import * as js from {json.dumps((JS / f"{module}.mjs").as_uri())};
            import {{ readFileSync }} from "node:fs";
            const given = JSON.parse(readFileSync(0, "utf-8"));
            const plain = (key, v) => ArrayBuffer.isView(v) ? [...v] : v === undefined ? null : v;
            const answer = (() => {{ {body} }})();
            process.stdout.write(JSON.stringify(answer, plain));
        """
        done = subprocess.run(
            ["node", "--input-type=module", "-e", program],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    return ask


@pytest.fixture(params=EVERY)
def figure(request):
    """Each of the figures."""
    return EVERY[request.param]()


@pytest.fixture
def alone(offline, tmp_path):
    """`alone(figure)`: a tab with nothing but its page."""

    def open_it(figure, hash="", **options):
        file = tmp_path / "page.html"
        file.write_text(figure.page(), encoding="utf-8")
        tab = offline(**options)
        tab.goto(file.as_uri() + hash)
        tab.locator("[data-ready]").wait_for()
        return tab

    return open_it
