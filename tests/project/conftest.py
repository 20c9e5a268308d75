"""What several of these tests need."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Error, sync_playwright

from cs231n_gen.common.files import files_in
from cs231n_gen.common.paths import ROOT
from cs231n_gen.grading.release.build import READ, SHIPPED

sys.path.insert(0, str(ROOT / "tests"))  # tests are not a package

from selection.tiers import (  # noqa: F401, which pytest finds here
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_runtest_makereport,
    pytest_runtest_protocol,
    pytest_xdist_make_scheduler,
)

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
OF_PAGES = ("page-has-heading-one", "bypass")  # a figure in a frame has no heading of its own
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def copy_source():
    """Copies the source tree to a folder, where tests may edit it and fill a gradebook."""

    def copy(folder):
        for name in [*SHIPPED, *READ, "tests/hidden", "tests/accepted"]:
            path = ROOT / name
            for file in files_in(path) if path.is_dir() else [path]:
                target = folder / file.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
        return folder

    return copy


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium, of the system or of playwright."""
    with sync_playwright() as playwright:
        found = {"executable_path": path} if (path := shutil.which("chromium")) else {}
        try:
            browser = playwright.chromium.launch(**found, args=QUIET)
        except Error as error:
            said = str(error).splitlines()[0]
            pytest.fail(f"{said}: apt install chromium, or python -m playwright install chromium")
        yield browser
        browser.close()


@pytest.fixture
def offline(chromium):
    """`offline(**options)`: a tab that reaches no network; by the end nothing may have failed."""
    contexts, wrong = [], []

    def new_tab(**options):
        contexts.append(chromium.new_context(**options))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(15_000)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        tab.on("request", lambda r: wrong.append(r.url) if r.url.startswith("http") else None)
        tab.route("http*://**", lambda route: route.abort())
        return tab

    yield new_tab
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture(scope="session")
def shut_out():
    """`shut_out(tab)`: whom axe-core finds shut out of a page, and of the figures in its frames."""
    code = AXE.read_text(encoding="utf-8")

    def look(tab):
        found = []
        for part in tab.frames:
            part.add_script_tag(content=code)
            said = part.evaluate("axe.run(document, { iframes: false, preload: false })")
            of_pages = () if part == tab.main_frame else OF_PAGES
            found += [
                f"{v['id']}: {v['nodes'][0]['html'][:200]}"
                for v in said["violations"]
                if v["id"] not in of_pages
            ]
        return found

    return look


@pytest.fixture(scope="session")
def jupyterlab(tmp_path_factory):
    """`with jupyterlab(command, env, folder) as (address, token)`: a command that opens it."""

    @contextlib.contextmanager
    def running(command, env, folder):
        for place in ("JUPYTER_RUNTIME_DIR", "JUPYTERLAB_WORKSPACES_DIR", "JUPYTER_CONFIG_DIR"):
            env = {**env, place: str(tmp_path_factory.mktemp(place.lower()))}
        with subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield _wait_for_address(process.stdout)
            finally:
                os.killpg(process.pid, signal.SIGKILL)

    return running


def _wait_for_address(stdout):
    said = ""
    for line in stdout:
        said += line
        if found := re.search(r"(http://\S+?)/lab/tree/\S+\?token=(\w+)", line):
            break
    else:
        pytest.fail(f"no address was printed: {said}")
    for _ in range(100):  # it is printed an instant before anybody listens there
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{found[1]}/api"):
            return found.groups()
        time.sleep(0.2)
    return pytest.fail(f"nobody listens at {found[1]}")
