"""The warm process: imports what exercises need, then forks a child whenever the grader asks.

`sandbox` starts it inside bubblewrap: `python -m cs231n_gen.grading.jail.forkserver DESCRIPTOR`. It
holds no secret. It reads requests from a socket: `{"uid"}`, with the child's end of another one,
starts a child; `{"end": true}` ends it and says how it ended.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import socket
import sys
import time

from cs231n_gen.grading.jail import child, module_loader, syscalls
from cs231n_gen.grading.jail.protocol import frames, values

LONGEST = 1 << 16
SURVIVORS_LIMIT = 5.0  # seconds until processes that were killed must be gone


def main() -> None:
    """Warm up, then serve until the grader hangs up."""
    control = socket.socket(fileno=int(sys.argv[1]))
    settings = json.loads(control.recv(LONGEST))
    warm_up(settings["modules"])
    gc.collect()
    gc.freeze()
    syscalls.use_large_pages()
    unsafe = settings["unsafe"]
    forkserver = Forkserver(control, None if unsafe else bytes.fromhex(settings["filter"]))
    control.send(json.dumps({"ready": True, "helper": forkserver.needs_helper}).encode())
    forkserver.serve()


def warm_up(modules: list[str]) -> None:
    """Import and touch what every child would otherwise do for itself.

    Args:
        modules: those that hold exercises. They are imported for what they import, and forgotten.
    """
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    import cs231n_gen.checking.fakes
    import cs231n_gen.given.training

    names = [f"cs231n_gen.{module}" for module in modules]
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    module_loader.forget(names)
    with contextlib.suppress(ImportError):
        import triton  # noqa: F401

        import cs231n_gen.instruments.observe  # noqa: F401
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.SiLU(), torch.nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.zeros(8, 4)).square().mean().backward()
    optimizer.step()
    torch.randn(4, 4, dtype=torch.float64).square().sum().item()
    one, other = socket.socketpair()
    with one, other:
        writer = values.Writer(lambda value, _: {})
        header = {"value": writer([torch.ones(2, 2), 1.0])}
        frames.Channel(one).send(header, writer.tensors)
        frame = frames.Channel(other).receive(time.monotonic() + 1)
        values.Reader(frame, lambda tag, content, _: None)(frame.header["value"])


class Forkserver:
    """Forks one child at a time.

    Args:
        control: the socket to the grader.
        filter_program: the compiled seccomp filter that children install; None for children that
            are not locked in.
    """

    def __init__(self, control: socket.socket, filter_program: bytes | None):
        self.control, self.filter_program = control, filter_program
        self.locked = filter_program is not None
        self.own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY) if self.locked else -1
        self.needs_helper = self.locked and not self._can_return()
        self.child = 0

    def _can_return(self) -> bool:
        """Whether this process may give every child its own process namespace without a helper."""
        try:
            syscalls.return_to(self.own_pids)
        except OSError:
            return False
        return True

    def serve(self) -> None:
        """Answer requests."""
        while True:
            message, descriptors, _, _ = socket.recv_fds(self.control, LONGEST, 1)
            if not message:
                return
            request = json.loads(message)
            if request.get("end"):
                self.control.send(json.dumps(self.end()).encode())
            else:
                self.start(request, descriptors[0])

    def start(self, request: dict, descriptor: int) -> None:
        """Bring a child to life, with a channel of its own to the grader."""
        if self.needs_helper:
            self.child = os.fork()
            if self.child == 0:
                self._help(request, descriptor)
        else:
            if self.locked:
                syscalls.unshare(syscalls.NEW_PIDS)
            self.child = os.fork()
            if self.child == 0:
                self._live(request, descriptor)
            if self.locked:
                syscalls.return_to(self.own_pids)
        os.close(descriptor)

    def _help(self, request: dict, descriptor: int) -> None:
        """Stand between fork server and child, where that is needed, and end as the child ends."""
        try:
            syscalls.die_with_parent()
            syscalls.unshare(syscalls.NEW_PIDS)
            pid = os.fork()
            if pid == 0:
                self._live(request, descriptor)
            self.control.close()
            os.close(descriptor)
            _, status = os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            if code < 0:
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                signal.signal(-code, signal.SIG_DFL) if -code not in (9, 19) else None
                os.kill(os.getpid(), -code)
            os._exit(code)
        finally:
            os._exit(1)

    def _live(self, request: dict, descriptor: int) -> None:
        code = 1
        try:
            self.control.close()
            if self.locked:
                os.close(self.own_pids)
            else:
                os.setsid()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            channel = frames.Channel(socket.socket(fileno=descriptor), most=1 << 30)
            child.live(channel, request["uid"], self.filter_program)
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        finally:
            os._exit(code & 255)

    def end(self) -> dict:
        """Kill the child and all it started; say how it ended and what it used."""
        if not self.child:
            return {"code": None}
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, signal.SIGKILL)
            if not self.locked:
                os.killpg(self.child, signal.SIGKILL)
        _, status, usage = os.wait4(self.child, 0)
        self.child = 0
        survivors = self._survivors() if self.locked else 0
        return {
            "code": os.waitstatus_to_exitcode(status),
            "survivors": survivors,
            "cpu": usage.ru_utime + usage.ru_stime,
        }

    def _survivors(self) -> int:
        """How many processes are still there that should not be, after some patience."""
        until = time.monotonic() + SURVIVORS_LIMIT
        while True:
            others = [int(p) for p in os.listdir("/proc") if p.isdigit()]
            others = [p for p in others if p not in (1, os.getpid())]
            if not others or time.monotonic() > until:
                return len(others)
            for pid in others:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            time.sleep(0.001)


if __name__ == "__main__":
    main()
