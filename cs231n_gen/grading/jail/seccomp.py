"""The system calls that Python and torch need to compute; a child can make no others."""

import errno
import functools
import tempfile

ALLOWED = """
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek _llseek sendfile
open openat openat2 creat close close_range dup dup2 dup3 pipe pipe2 fcntl fcntl64 flock
stat lstat fstat newfstatat fstatat64 stat64 lstat64 fstat64 statx access faccessat faccessat2
readlink readlinkat getdents getdents64 getcwd chdir fchdir statfs fstatfs statfs64 fstatfs64
mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
truncate ftruncate truncate64 ftruncate64 fallocate fsync fdatasync umask chmod fchmod fchmodat
utimensat utime utimes fadvise64 fadvise64_64 copy_file_range splice tee readahead
mmap mmap2 munmap mremap mprotect madvise brk mincore msync mlock munlock membarrier
poll ppoll select pselect6 _newselect epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
epoll_pwait2 eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime
socketpair sendto recvfrom sendmsg recvmsg shutdown getsockopt getsockname getpeername
fork vfork wait4 waitid waitpid exit exit_group kill tkill tgkill
set_tid_address set_robust_list get_robust_list rseq futex futex_time64 futex_waitv gettid getpid
getppid getuid geteuid getgid getegid getuid32 geteuid32 getgid32 getegid32 getresuid getresgid
getgroups getpgid getpgrp getsid setsid setpgid getpriority capget arch_prctl
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait sigaltstack
rt_sigqueueinfo pause restart_syscall alarm setitimer getitimer timer_create timer_settime
timer_gettime timer_delete nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time
times getrusage getrlimit ugetrlimit sysinfo uname getrandom getcpu sched_yield sched_getaffinity
sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min get_mempolicy
"""
_NEW_NAMESPACES = 0x7E02_0080
_NAMES_OF_THREADS = (15, 16)  # PR_SET_NAME, PR_GET_NAME
_HARMLESS_CONTROL = (0x541B, 0x5421, 0x5450, 0x5451)  # FIONREAD, FIONBIO, FIONCLEX, FIOCLEX


class NoFilter(RuntimeError):
    """The filter cannot be made; its text says what is missing and how to get it."""


@functools.cache
def program(starts_programs: bool = False) -> bytes:
    """The filter, compiled for this machine.

    Everything that is not listed fails with EPERM, as if not permitted: sockets, exec, ptrace,
    mounts, namespaces, keys, shared memory, io_uring, bpf. Calls of another architecture kill.

    Args:
        starts_programs: whether exec is allowed as well.
    Raises:
        NoFilter: if libseccomp or its binding is missing.
    """
    try:
        import pyseccomp as seccomp
    except ImportError as error:
        raise NoFilter(
            f"libseccomp ({error}): install Debian's libseccomp2 and run `make setup`"
        ) from None
    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    for name in [*ALLOWED.split(), *(["execve", "execveat"] if starts_programs else [])]:
        try:
            rules.add_rule(seccomp.ALLOW, name)
        except (OSError, ValueError):
            continue  # another architecture's
    plain = seccomp.Arg(0, seccomp.MASKED_EQ, _NEW_NAMESPACES, 0)
    rules.add_rule(seccomp.ALLOW, "clone", plain)
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # then the C library uses clone
    reading = seccomp.Arg(2, seccomp.EQ, 0)
    rules.add_rule(seccomp.ALLOW, "prlimit64", reading)
    for option in _NAMES_OF_THREADS:
        rules.add_rule(seccomp.ALLOW, "prctl", seccomp.Arg(0, seccomp.EQ, option))
    for request in _HARMLESS_CONTROL:
        rules.add_rule(seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, request))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
