"""Limits by control group, where this user may make groups; elsewhere resource limits must do."""

import contextlib
import os
import re
from pathlib import Path

MINE = "cs231n-gen-"
_SYSTEM = Path("/sys/fs/cgroup")


def find() -> dict[str, Path]:
    """A fresh group of this process for each controller, by the name of its folder in the jail.

    Returns:
        {"memory": …, "pids": …} of version 1, {"unified": …} of version 2, or {} where neither can
        be written.
    """
    own = _own_groups()
    found = {}
    for controller in ("memory", "pids"):
        if controller in own and (group := _make(_SYSTEM / controller / own[controller])):
            found[controller] = group
    if found or "" not in own:
        return found
    group = _make(_SYSTEM / own[""])
    if group is None:
        return {}
    try:
        (group / "cgroup.subtree_control").write_text("+memory +pids")
    except OSError:
        group.rmdir()
        return {}
    return {"unified": group}


def limits(controller: str, memory: int, processes: int) -> dict[str, str]:
    """What is written into the files of a child's group."""
    if controller == "memory":
        return {"memory.limit_in_bytes": str(memory)}
    if controller == "pids":
        return {"pids.max": str(processes)}
    return {"memory.max": str(memory), "pids.max": str(processes)}


def remove(group: Path) -> None:
    """Remove a group and its children, of which no process is left."""
    for inner in [p for p in group.glob("*") if p.is_dir()]:
        with contextlib.suppress(OSError):
            inner.rmdir()
    with contextlib.suppress(OSError):
        group.rmdir()


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
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        return None
    for old in parent.glob(f"{MINE}*"):
        number = re.match(rf"{MINE}(\d+)-", old.name)
        if number and not Path(f"/proc/{number[1]}").exists():
            remove(old)
    for n in range(1000):
        group = parent / f"{MINE}{os.getpid()}-{n}"
        try:
            group.mkdir()
        except FileExistsError:
            continue
        except OSError:
            return None
        return group
    return None
