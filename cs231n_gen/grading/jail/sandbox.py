"""The trusted side of the jail: starts the fork server in a sandbox and asks it for children."""

import contextlib
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cs231n_gen.common.paths import INSTRUCTORS, PACKAGE, ROOT, room_of
from cs231n_gen.grading.jail import bubblewrap, cgroups, seccomp
from cs231n_gen.grading.jail.compile_sandbox import CompileSandbox
from cs231n_gen.grading.jail.limits import Limits
from cs231n_gen.grading.jail.protocol import frames
from cs231n_gen.grading.source.tree import exercises
from cs231n_gen.instruments.compiler.compile import Compiled
from cs231n_gen.instruments.compiler.launches import Launch

START_LIMIT = 180.0  # seconds for the fork server to import torch, on a busy machine
END_LIMIT = 20.0
LONGEST = 1 << 16
RESOURCES = {".json", ".mjs", ".css"}  # what modules read beside themselves
FIRST_UID = 1 << 20  # above any user of the machine; each child gets another one


class NoJail(RuntimeError):
    """The jail cannot be built here; its text says which part is missing and how to get it."""


class JailBroken(RuntimeError):
    """The jail did not do its work: nobody gets a grade from it."""


@dataclass(frozen=True)
class ChildExit:
    """How a child ended.

    code: None if it lived until it was told to end, else its exit code, negative for a signal.
    """

    code: int | None
    cpu: float = 0.0
    out_of_memory: bool = False

    def __str__(self) -> str:
        if self.code in (-signal.SIGKILL, -signal.SIGXCPU, None):
            return "was stopped"
        if self.code < 0:
            return f"ended Python ({signal.Signals(-self.code).name})"
        return f"ended Python (exit code {self.code})"


@dataclass
class Child:
    """A child at the other end of a channel, before any student code runs in it."""

    channel: frames.Channel
    sandbox: "Sandbox" = field(repr=False)

    def end(self) -> ChildExit:
        """End it, and all that it started."""
        self.channel.close()
        return self.sandbox.end_child()


class Sandbox:
    """A fork server inside bubblewrap.

    Args:
        unsafe: leave out bubblewrap, namespaces, filter and user: only limits of time and memory
            are left. Student code can then read and change everything that you can.
    Raises:
        NoJail: if it cannot be built here.
    """

    _numbers = itertools.count(secrets.randbelow(1 << 28))

    def __init__(self, *, unsafe: bool = False):
        self.unsafe = unsafe
        if unsafe and not hasattr(os, "fork"):
            raise NoJail("grading needs fork, which this system does not have: use WSL2")
        if not unsafe and (reason := bubblewrap.why_not()):
            raise NoJail(reason)
        self._cleanup = contextlib.ExitStack()
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        view = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="jail-")))
        bubblewrap.write_view(view)
        write_resources(view)
        self._view, self._compiling = view, None
        self._cleanup.callback(self._end_compiling)
        self._complaints = self._cleanup.enter_context(tempfile.TemporaryFile("w+b"))  # noqa: SIM115
        self.cgroups = None if self.unsafe else cgroups.make_groups()
        if self.cgroups:
            self._cleanup.callback(self.cgroups.remove)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = self._cleanup.enter_context(ours)
        command = [] if self.unsafe else self._bubblewrap_command(view)
        module = "cs231n_gen.grading.jail.forkserver"
        with theirs:
            self._process = subprocess.Popen(
                [*command, sys.executable, "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._complaints,
                stderr=self._complaints,
                cwd=view,
                env=bubblewrap.environment("/course", "/scratch")
                if command
                else bubblewrap.environment(str(view), tempfile.gettempdir()),
                start_new_session=True,
            )
        self._cleanup.callback(self._kill)
        self._control.settimeout(START_LIMIT)
        compiled = "" if self.unsafe else seccomp.program().hex()
        modules = sorted({e.module for e in exercises() if not e.in_cell})
        settings = {"filter": compiled, "unsafe": self.unsafe, "modules": modules}
        with contextlib.suppress(OSError):
            self._control.send(json.dumps(settings).encode())
        self._hear("start")
        if self.cgroups:
            self.cgroups.settle()

    def _bubblewrap_command(self, view: Path) -> list[str]:
        command = bubblewrap.command({view: "/course"})
        joining = self.cgroups.joining() if self.cgroups else []
        return [*joining, *command, "--remount-ro", "/", "--chdir", "/"]

    def child(self, limits: Limits) -> Child:
        """A fresh child."""
        number = next(self._numbers)
        if self.cgroups:
            self.cgroups.limit(limits.memory, limits.processes)
        own_user = os.geteuid() == 0 and not self.unsafe
        request = {
            "uid": FIRST_UID + number % (1 << 30) if own_user else None,
        }
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [json.dumps(request).encode()], [theirs.fileno()])
            except OSError:
                raise JailBroken(f"the fork server is gone: {self._complaint()}") from None
        return Child(frames.Channel(ours, limits.answer, limits.answers), self)

    def compile(self, files: dict[str, str], launch: Launch) -> Compiled | None:
        """Compile a launch that a child reports; one process serves a submission's exercises.

        Args:
            files: of the submission.
            launch: of one of its kernels.
        """
        sandbox = self._compiling
        if sandbox is None or sandbox.dead or sandbox.files != files:
            self._end_compiling()
            sandbox = self._compiling = CompileSandbox(files, self._view, self.unsafe)
        return sandbox.compile(launch)

    def _end_compiling(self) -> None:
        if self._compiling is not None:
            self._compiling.close()
        self._compiling = None

    def end_child(self) -> ChildExit:
        """End the child that lives."""
        with contextlib.suppress(OSError):
            self._control.send(b'{"end": true}')
        self._control.settimeout(END_LIMIT)
        said = self._hear("end a child")
        if said.get("survivors"):
            raise JailBroken(f"{said['survivors']} processes of a submission could not be ended")
        out_of_memory = bool(self.cgroups) and self.cgroups.killed()
        return ChildExit(said["code"], said.get("cpu", 0.0), out_of_memory)

    def _hear(self, doing: str) -> dict:
        try:
            said = self._control.recv(LONGEST)
        except OSError as error:
            raise JailBroken(f"the fork server did not {doing}: {error}") from None
        if not said:
            raise JailBroken(f"the fork server did not {doing}: {self._complaint()}")
        return json.loads(said)

    def _complaint(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._complaints.seek(0)
        lines = self._complaints.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it wrote no error message"

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the fork server and all in it."""
        self._cleanup.close()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def write_resources(view: Path) -> None:
    """The files that visible modules read, such as the palette."""
    for path in sorted(p for p in PACKAGE.rglob("*") if p.suffix in RESOURCES):
        if (view / path.relative_to(ROOT)).parent.is_dir() and room_of(path) not in INSTRUCTORS:
            target = view / path.relative_to(ROOT)
            shutil.copyfile(path, target)
            target.chmod(0o644)
    for folder in (p for p in view.rglob("*") if p.is_dir()):
        folder.chmod(0o755)
