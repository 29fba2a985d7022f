"""How a helper process of the server gives everything up before it touches what strangers wrote. Owns the order of that.

The helper imports what it needs, calls `confine`, and then has: no network, no files, no other user's processes, bounded
memory, processor time and output, and the two descriptors that it talks through. What needs root is skipped without it.
"""

import contextlib
import ctypes
import os
import resource
import tempfile

_USERS = 0x6F00_0000
"""The first of the user ids of helpers, one a process: whoever else shares a user could send it signals."""
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWIPC, _CLONE_NEWNET, _CLONE_NEWUTS = 0x0800_0000, 0x4000_0000, 0x0400_0000
_SIGKILL = 9


def confine(*, memory_bytes: int, cpu_seconds: int, descriptors: int = 8) -> None:
    """Give up all but memory and open descriptors, for good. `memory_bytes` is of address space, above what is taken."""
    libc = ctypes.CDLL(None, use_errno=True)
    taken = _address_space()
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.geteuid() == 0:
        libc.unshare(_CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS)
        _leave_files()
        os.setgroups([])
        user = _USERS + os.getpid()
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        # Changing the user clears it.
        libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, descriptors),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, taken + memory_bytes),
    ):
        resource.setrlimit(what, (most, most))


def _leave_files() -> None:
    """Make an empty folder that exists no more the root of all paths."""
    folder = tempfile.mkdtemp(prefix="runyard-confined-")
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.rmdir(folder)
    os.fchdir(opened)
    os.close(opened)
    os.chroot(".")


def _address_space() -> int:
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
    return 1 << 30
