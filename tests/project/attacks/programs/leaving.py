"""Attacks that leave: a grader that takes silence, or the exit code 0, for success would lose."""


@attack(score=0.0)
def exit_0(x, z, t):
    """Calls sys.exit(0), as a test runner does when all is well."""
    from torch import sys

    tell("leaving")
    sys.exit(0)


@attack(ends=r"ended Python \(exit code 0\)", silent=True)
def leaves_at_once(x, z, t):
    """Calls os._exit(0)."""
    import os

    os._exit(0)


def keyboard_interrupt(x, z, t):
    """Raises KeyboardInterrupt, which many runners let through."""
    tell("leaving")
    raise KeyboardInterrupt("stop everything")


def generator_exit(x, z, t):
    """Raises GeneratorExit."""
    tell("leaving")
    raise GeneratorExit


def an_exception_of_its_own(x, z, t):
    """Raises something that is a BaseException and no Exception."""

    class Passed(BaseException):
        """Not an Exception."""

    tell("leaving")
    raise Passed


def an_outcome_by_name(x, z, t):
    """Raises something called Skipped, Exit or XFailed: stands for what test runners take for an
    outcome that is no failure."""
    first_time()
    name = ("Skipped", "Exit", "XFailed")[len(calls) % 3]
    tell("leaving by", name)
    raise type(name, (BaseException,), {})("all done")


@attack(at_import=True, ends="SystemExit", silent=True)
def leaves_at_import():
    """Exits when it is imported."""
    from torch import sys

    sys.exit(0)


@attack(ends=r"ended Python \(SIG(SEGV|BUS)\)", silent=True)
def segmentation_fault(x, z, t):
    """Reads from address 0."""
    import ctypes

    ctypes.string_at(0)


@attack(ends=r"ended Python \(SIG(ABRT|SEGV|ILL|BUS)\)", silent=True)
def aborts(x, z, t):
    """Aborts, with a core dump if it may."""
    import contextlib
    import os
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))
    os.abort()


@attack(slow=True)
def reaches_everyone(x, z, t):
    """Signals its parent, process 1 and everyone else, by a signal that is ignored: stands for one
    that kills or stops them."""
    import os
    import signal

    if not first_time():
        return
    reached = []
    for pid in {os.getppid(), *range(1, 70_000)} - {0, os.getpid()}:
        try:
            os.kill(pid, signal.SIGURG)
            reached.append(pid)
        except OSError:
            continue
    assert not reached, reached
    tell(os.getpid(), os.getppid())


@attack(ends="ended|took more", silent=True, slow=True)
def kills_itself(x, z, t):
    """Sends itself every signal there is, the real-time ones too, and stops a helper of its own."""
    import os
    import signal
    import time

    helper = os.fork()
    if helper == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
    for number in range(1, 65):
        try:
            os.kill(os.getpid(), number)
        except (OSError, KeyboardInterrupt):
            continue
    while True:
        time.sleep(1)


# Whoever hangs up and lives on is killed by the grader, or ends Python first by failing to answer.
@attack(ends="ended|was stopped|took more|sent something", silent=True)
def closes_everything(x, z, t):
    """Closes every descriptor, the channel too."""
    import os

    os.closerange(0, 4096)


@attack(ends="ended|was stopped", silent=True)
def hangs_up(x, z, t):
    """Shuts the channel down for both sides, then goes on."""
    import os
    import socket

    socket.socket(fileno=os.dup(channel())).shutdown(socket.SHUT_RDWR)


def becomes_another_program(x, z, t):
    """Replaces itself by another program, and starts some."""
    import os
    import subprocess

    from torch import sys

    found = []
    for start in (
        lambda: os.execv("/bin/true", ["true"]),
        lambda: os.execv(sys.executable, [sys.executable, "-c", "1"]),
        lambda: subprocess.run(["/bin/sh", "-c", "id"], check=False),
        lambda: os.posix_spawn("/bin/true", ["true"], {}),
    ):
        try:
            found.append(start())
        except OSError as error:
            found.append(error.errno)
    assert found == [1, 1, 1, 1], found
    tell(found)


@attack(slow=True)
def daemon(x, z, t):
    """Forks twice into a session of its own, to live on after its answer."""
    import os
    import time

    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
    tell("one stays behind")
