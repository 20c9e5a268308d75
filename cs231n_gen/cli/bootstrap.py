"""Set the course up in `.venv`: `python3 cs231n_gen/cli/bootstrap.py --extras test`.

Needs nothing but the standard library, and parses on Python 3.6, so that an old Python is told in
one line what is wrong.
"""

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # run as a file: the package's modules must not pass for the standard library's

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import re
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST, NEWEST = (3, 11), (3, 14)  # what the pinned torch has builds for
PLATFORMS = {
    ("Linux", "x86_64"),
    ("Linux", "aarch64"),
    ("Darwin", "arm64"),
    ("Windows", "AMD64"),
}


class SetupError(Exception):
    """Why the set-up cannot continue, for the person at the terminal."""


def main(arguments=None):
    """Set up, or say in one line why that is impossible; returns the exit code."""
    parser = argparse.ArgumentParser(description="Set the course up in .venv.")
    parser.add_argument("--extras", default="", help="extras of pyproject.toml: test,kernels")
    extras = set(filter(None, re.split(r"[,\s]+", parser.parse_args(arguments).extras)))
    try:
        refuse_python(sys.version_info[:2])
        refuse_platform(platform.system(), platform.machine(), sys.maxsize > 2**32, glibc())
        set_up(ROOT, extras)
    except (SetupError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the next call continues from here", file=sys.stderr)
        return 130
    return 0


def refuse_python(version):
    """Raise SetupError if this Python, (major, minor), is too old or too new."""
    if not OLDEST <= version <= NEWEST:
        raise SetupError(
            f"the course needs Python {dotted(OLDEST)} to {dotted(NEWEST)}; {sys.executable} is "
            f"Python {dotted(version)}: name another, as in `make PYTHON=python3.12 setup`"
        )


def refuse_platform(system, machine, is_64_bit, libc):
    """Raise SetupError where PyTorch has no build.

    Args:
        system, machine: as `platform` gives them.
        is_64_bit: whether this Python is.
        libc: on Linux the version of glibc, None with another C library.
    """
    if (system, machine) not in PLATFORMS or not is_64_bit:
        bits = "" if is_64_bit else " with a 32-bit Python"
        raise SetupError(
            f"PyTorch has no build for {system} on {machine}{bits}: the course runs on Linux "
            "(x86_64, aarch64), macOS (Apple silicon) and Windows (AMD64), with a 64-bit Python"
        )
    if system == "Linux" and (libc is None or libc < (2, 28)):
        found = "another C library" if libc is None else f"glibc {dotted(libc)}"
        raise SetupError(
            f"PyTorch needs glibc 2.28 or newer, but this Linux has {found}: take a newer "
            "distribution, or one that is built on glibc (Debian, Ubuntu, Fedora)"
        )


def glibc():
    """The version of the C library, (major, minor), or None if it is not glibc."""
    name, version = platform.libc_ver()
    return tuple(int(number) for number in version.split(".")[:2]) if name == "glibc" else None


def set_up(root, extras):
    """Make `.venv` and install the course in it, unless its stamp says that this was done.

    Args:
        root: the course's folder, with pyproject.toml and constraints.txt.
        extras: names of extras; those installed before stay.
    """
    start = time.time()
    refuse_extras(root, extras)
    venv = root / ".venv"
    prepare_venv(venv)
    done, sources = read_stamp(venv), fingerprint(root)
    if done["sources"] == sources and extras.issubset(done["extras"]):
        return
    extras = sorted(extras.union(done["extras"]))
    torch, pip, setuptools = (pin(root, name) for name in ("torch", "pip", "setuptools"))
    install = [python_in(venv), "-I", "-m", "pip", "install", "-c", "constraints.txt", torch]
    # torch by its exact pin in every call: for a range pip would fetch several GB instead of a CPU
    # build. pip too, since the one that Python brings takes three times as long for the rest.
    run(f"installing {torch} (1 of 2)", [*install, pip, setuptools], venv)
    course = "." + ("[" + ",".join(extras) + "]" if extras else "")
    # The course is built by the pinned setuptools rather than by one fetched for the occasion.
    everything = [*install, "--no-build-isolation", "-e", course]
    run(f"installing the course and what it needs, {course} (2 of 2)", everything, venv)
    write_stamp(venv, {"sources": sources, "extras": extras})
    print(f"set up in {time.time() - start:.0f} s", flush=True)


def refuse_extras(root, extras):
    """Raise SetupError for an extra that pyproject.toml does not have."""
    import tomllib  # here, for Python 3.10 does not have it and must get as far as its refusal

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = project["optional-dependencies"]
    if not extras.issubset(known):
        unknown = ", ".join(sorted(extras.difference(known)))
        raise SetupError(f"no extra is called {unknown}; there are {', '.join(known)}")


def prepare_venv(venv):
    """Make `.venv` with this Python, unless a working one is there."""
    version = sys.version_info[:2]
    found = python_of(venv)
    if found == version:
        return
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise SetupError(
            f"{sys.executable} cannot make virtual environments: install its venv module "
            f"(on Debian and Ubuntu: apt install python{dotted(version)}-venv)"
        )
    instead = f" in place of Python {dotted(found)}" if found else ""
    what = f"making .venv with Python {platform.python_version()}{instead}"
    run(what, [sys.executable, "-I", "-m", "venv", "--clear", str(venv)], venv)


def python_of(venv):
    """The Python of a virtual environment, (major, minor), or None if there is none that works."""
    code = "import sys, pip; print(*sys.version_info[:2])"
    try:
        command = [python_in(venv), "-I", "-c", code]
        said = subprocess.check_output(command, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(int(number) for number in said.split())


def python_in(venv):
    """The path of a virtual environment's Python."""
    return str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def run(what, command, venv):
    """Print what is done, run it beside `.venv`, and print a dot every 10 seconds.

    Raises:
        SetupError: if it fails, with the last lines of its output.
    """
    print(what, end=" ", flush=True)
    start = time.time()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        with subprocess.Popen(
            command,
            cwd=str(venv.parent),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process:
            while process.poll() is None:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    print(".", end="", flush=True)
        print(f" {time.time() - start:.0f} s", flush=True)
        if process.returncode:
            output.seek(0)
            lines = [line.rstrip() for line in output if line.strip()]
            telling = [line for line in lines if not line.startswith("WARNING")][-12:]
            raise SetupError("\n".join([*telling, f"That failed: {' '.join(command)}"]))


def pin(root, package):
    """The line of constraints.txt that pins a package."""
    text = (root / "constraints.txt").read_text(encoding="utf-8")
    return re.search(f"^{package}==\\S+", text, re.MULTILINE).group()


def fingerprint(root):
    """A hash of everything an installation depends on, its folder included."""
    digest = hashlib.sha256(str(root).encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def read_stamp(venv):
    """What was installed in a virtual environment, and from which sources."""
    try:
        return json.loads(stamp_in(venv).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"sources": "", "extras": []}


def write_stamp(venv, stamp):
    """Record what was installed, whole or not at all."""
    draft = stamp_in(venv).with_suffix(".part")
    draft.write_text(json.dumps(stamp), encoding="utf-8")
    os.replace(str(draft), str(stamp_in(venv)))


def stamp_in(venv):
    """The file that records what was installed in a virtual environment."""
    return venv / "cs231n-gen.json"


def dotted(version):
    """(3, 11) as 3.11."""
    return ".".join(str(number) for number in version)


if __name__ == "__main__":
    sys.exit(main())
