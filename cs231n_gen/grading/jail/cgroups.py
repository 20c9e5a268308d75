"""Limits by control group, where this user may make groups; elsewhere resource limits must do.

The fork server lives in the group, so that its children do from their first moment; one lives at a
time, and the kernel kills it before the fork server. To move every child into a group of its own
takes longer than all the rest of locking it in.
"""

import contextlib
import os
import re
from pathlib import Path

PREFIX = "cs231n-gen-"
SLACK = 64 << 20  # bytes that the fork server itself may need
OWN_PROCESSES = 4  # bubblewrap's two, the fork server, its helper
_SYSTEM = Path("/sys/fs/cgroup")
_JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@"'


class Cgroups:
    """The groups of one fork server.

    Args:
        memory, pids: their folders; the same in version 2.
    """

    def __init__(self, memory: Path | None, pids: Path | None):
        self.memory, self.pids = memory, pids
        self.version = 2 if memory == pids else 1
        self._limits: tuple[int, int] | None = None
        self._baseline, self._kills = 0, 0

    @property
    def folders(self) -> list[Path]:
        """The groups, each once."""
        return list(dict.fromkeys(g for g in (self.memory, self.pids) if g))

    def joining(self) -> list[str]:
        """The beginning of a command that shall run in the groups."""
        return ["/bin/sh", "-c", _JOIN, "sh", *(f"{g}/cgroup.procs" for g in self.folders), "--"]

    def settle(self) -> None:
        """Note what the fork server uses by itself."""
        if self.memory:
            name = "memory.usage_in_bytes" if self.version == 1 else "memory.current"
            self._baseline = int((self.memory / name).read_text()) + SLACK

    def limit(self, memory: int, processes: int) -> None:
        """Set what a child may use."""
        if self._limits == (memory, processes):
            return
        if self.memory:
            name = "memory.limit_in_bytes" if self.version == 1 else "memory.max"
            (self.memory / name).write_text(str(self._baseline + memory))
        if self.pids:
            (self.pids / "pids.max").write_text(str(OWN_PROCESSES + processes))
        self._limits = memory, processes

    def killed(self) -> bool:
        """Whether the kernel has killed a child for its memory since this was asked last."""
        if not self.memory:
            return False
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        words = (self.memory / name).read_text().split()
        kills = int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0
        before, self._kills = self._kills, kills
        return kills > before

    def remove(self) -> None:
        """Remove the groups; their processes have ended."""
        for group in self.folders:
            with contextlib.suppress(OSError):
                group.rmdir()


def make_groups() -> Cgroups | None:
    """Fresh groups of this process, of either version; None where none can be made."""
    own = _own_groups()
    made = {c: _make(_SYSTEM / c / own[c]) for c in ("memory", "pids") if c in own}
    if any(made.values()):
        return Cgroups(made.get("memory"), made.get("pids"))
    group = _make(_SYSTEM / own[""]) if "" in own else None
    if group is None:
        return None
    with contextlib.suppress(OSError):
        if {"memory", "pids"} <= set((group / "cgroup.controllers").read_text().split()):
            return Cgroups(group, group)
    group.rmdir()
    return None


def _own_groups() -> dict[str, str]:
    """The group of this process by controller; "" is version 2's."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    groups = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path.lstrip("/")
    return groups


def _make(parent: Path) -> Path | None:
    """A group of this process's own; those of processes that are gone are cleared away."""
    if not (parent / "cgroup.procs").is_file() or not os.access(parent, os.W_OK):
        return None
    for old in parent.glob(f"{PREFIX}*"):
        number = re.match(rf"{PREFIX}(\d+)-", old.name)
        if number and not Path(f"/proc/{number[1]}").exists():
            with contextlib.suppress(OSError):
                old.rmdir()
    for n in range(1000):
        group = parent / f"{PREFIX}{os.getpid()}-{n}"
        try:
            group.mkdir()
        except FileExistsError:
            continue
        except OSError:
            return None
        return group
    return None
