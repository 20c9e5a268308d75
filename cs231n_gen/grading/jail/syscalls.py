"""The system calls that Python has no names for: namespaces, mounts, capabilities, the filter."""

import contextlib
import ctypes
import errno
import os
import struct
from pathlib import Path

NEW_MOUNTS, NEW_HOSTNAME, NEW_IPC = 0x0002_0000, 0x0400_0000, 0x0800_0000
NEW_PIDS, NEW_NETWORK = 0x2000_0000, 0x4000_0000
NO_SUID, NO_DEVICES, NO_EXEC, READ_ONLY, REMOUNT = 2, 4, 8, 1, 32
RECURSIVE, PRIVATE, DETACH = 1 << 14, 1 << 18, 2
_SET_DEATH_SIGNAL, _DROP_FROM_BOUNDS, _SET_DUMPABLE = 1, 24, 4
_SET_SECCOMP, _NO_NEW_PRIVILEGES, _AMBIENT, _AMBIENT_CLEAR = 22, 38, 47, 4
_FILTER_MODE, _CAPABILITIES = 2, 0x2008_0522
_COLLAPSE, _LARGE = 25, 1 << 21

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Leave the namespaces of `flags` for fresh ones; for processes, the next child does."""
    _check(_libc.unshare(flags), "unshare")


def return_to(namespace: int) -> None:
    """Enter the process namespace of a descriptor again, so that another child can be given one."""
    _check(_libc.setns(namespace, NEW_PIDS), "setns")


def mount(kind: str, where: str, flags: int, options: str = "") -> None:
    """Mount a file system of this kind."""
    arguments = (kind.encode(), where.encode(), kind.encode())
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode()), f"mount {where}")


def change(where: str, flags: int) -> None:
    """Change what a mount allows, or how it spreads."""
    _check(_libc.mount(None, where.encode(), None, ctypes.c_ulong(flags), None), f"remount {where}")


def unmount(where: str) -> None:
    """Take a mount out of this namespace's view, with all below it."""
    _check(_libc.umount2(where.encode(), DETACH), f"unmount {where}")


def use_large_pages() -> None:
    """Put this process's own memory into pages of 2 MiB, where the system can: a fork, and the end
    of what was forked, then go through 512 times fewer of them."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, access, _, _, inode, *name = line.split()
            if access.startswith("rw") and inode == "0" and name in ([], ["[heap]"]):
                begin, end = (int(part, 16) for part in span.split("-"))
                begin, end = -(-begin // _LARGE) * _LARGE, end // _LARGE * _LARGE
                if begin < end:
                    where, length = ctypes.c_void_p(begin), ctypes.c_size_t(end - begin)
                    _libc.madvise(where, length, _COLLAPSE)  # Linux 6.1 and newer


def die_with_parent() -> None:
    """Be killed when the parent ends."""
    _check(_libc.prctl(_SET_DEATH_SIGNAL, 9, 0, 0, 0), "prctl")


def close_all_but(keep: int) -> None:
    """Close every descriptor from 3 up, `keep` excepted."""
    os.closerange(3, keep)
    os.closerange(keep + 1, 1 << 20)


def become_nobody(uid: int | None) -> None:
    """Give up every privilege, for good.

    Args:
        uid: the user and group to become; None where there is only one (an ordinary user's
            namespace).
    """
    _check(_libc.prctl(_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0), "ambient capabilities")
    for capability in range(64):
        if _libc.prctl(_DROP_FROM_BOUNDS, capability, 0, 0, 0) != 0:
            if ctypes.get_errno() == errno.EINVAL:
                break  # the kernel knows no more of them
            _check(-1, "capability bounds")
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    head = struct.pack("Ii", _CAPABILITIES, 0)
    _check(_libc.capset(head, bytes(24)), "capset")
    _check(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")
    _check(_libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0), "dumpable")
    die_with_parent()  # another user's process had forgotten it


def install_filter(program: bytes) -> None:
    """Install a compiled seccomp filter; from here on only what it lists can be called."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    code = ctypes.create_string_buffer(program, len(program))
    own = Program(len(program) // 8, ctypes.addressof(code))
    _check(_libc.prctl(_SET_SECCOMP, _FILTER_MODE, ctypes.byref(own), 0, 0), "seccomp")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
