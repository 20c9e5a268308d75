"""What a child locks behind itself before any student code runs in it."""

import os
import resource
from dataclasses import replace
from pathlib import Path

from cs231n_gen.grading.jail import syscalls
from cs231n_gen.grading.jail.limits import Limits

SUBMISSION, SCRATCH = Path("/submission"), "/scratch"
DAMPED = syscalls.NO_SUID | syscalls.NO_DEVICES | syscalls.NO_EXEC


def lock_in(
    files: dict[str, str],
    limits: Limits,
    descriptor: int,
    uid: int | None,
    filter_program: bytes,
) -> None:
    """Leave everything behind but the interpreter, the submission (read-only) and some scratch."""
    syscalls.die_with_parent()
    Path("/proc/self/oom_score_adj").write_text("1000")  # this one first, not the fork server
    syscalls.unshare(
        syscalls.NEW_MOUNTS | syscalls.NEW_HOSTNAME | syscalls.NEW_IPC | syscalls.NEW_NETWORK
    )
    syscalls.change("/", syscalls.RECURSIVE | syscalls.PRIVATE)
    size = f"size={limits.scratch},nr_inodes={limits.inodes}"
    syscalls.mount("tmpfs", SCRATCH, DAMPED, f"{size},mode=1777")
    syscalls.mount("tmpfs", str(SUBMISSION), DAMPED, "size=64m,nr_inodes=1000,mode=755")
    for name, text in files.items():
        path = SUBMISSION / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    syscalls.change(str(SUBMISSION), syscalls.REMOUNT | syscalls.READ_ONLY | DAMPED)
    used = in_use()
    syscalls.unmount("/proc")
    os.chdir(SCRATCH)
    restrict(limits, used, descriptor)
    os.umask(0o077)
    syscalls.become_nobody(uid)
    syscalls.install_filter(filter_program)


def limit_only(limits: Limits, descriptor: int) -> None:
    """All there is outside the jail: limits of time and memory, and no inherited descriptors."""
    restrict(replace(limits, processes=1 << 20, files=1024), in_use(), descriptor)


def in_use() -> int:
    """The bytes of address space that this process has; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def restrict(limits: Limits, used: int, descriptor: int) -> None:
    """Keep one descriptor, and what the limits allow.

    Args:
        limits: of the child.
        used: address space that it inherited; 0 where that is not known, and not limited.
        descriptor: the one to keep.
    """
    nowhere = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    syscalls.close_all_but(descriptor)
    ours = {
        resource.RLIMIT_CPU: limits.cpu,
        resource.RLIMIT_FSIZE: limits.scratch,
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_NOFILE: limits.files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if used:
        ours[resource.RLIMIT_AS] = used + limits.memory
    for name, most in ours.items():
        hard = resource.getrlimit(name)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(name, (most, most))
