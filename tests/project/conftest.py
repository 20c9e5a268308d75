"""What several of these tests need."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request

import pytest
from playwright.sync_api import Error, sync_playwright

from cs231n_gen.grading.built import files_in
from cs231n_gen.grading.release import READ, SHIPPED
from cs231n_gen.grading.source import ROOT

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
