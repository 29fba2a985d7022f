"""Thin typed wrappers over the mount and namespace system calls that Python lacks.

Owns the ctypes signatures and turns every failure into OSError with its errno. Knows nothing of layers, bases
or sandboxes; the ioctls of btrfs and of loop devices live in `btrfs.py` and `loopdev.py`.
"""

import ctypes
import os
from pathlib import Path
from typing import TypeAlias

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_NOATIME = 1024
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 4
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_IDMAP = 0x0010_0000

# These are numbered alike on every architecture (asm-generic table, 5.2 and later).
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSCONFIG = 431
_SYS_FSPICK = 433
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442

_FSPICK_CLOEXEC = 1
_FSPICK_EMPTY_PATH = 8
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_RECONFIGURE = 7

_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p,
)  # fmt: skip
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.syscall.restype = ctypes.c_long

StrPath: TypeAlias = str | Path


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def mount(source: str, target: StrPath, fstype: str | None, flags: int = 0, data: str = "") -> None:
    """Call mount(2). Raises OSError."""
    result = _libc.mount(
        source.encode(),
        os.fsencode(target),
        fstype.encode() if fstype else None,
        flags,
        data.encode() if data else None,
    )
    _check(result, f"mount {fstype or source} on {target}")


def umount(target: StrPath, flags: int = 0) -> None:
    """Call umount2(2). Raises OSError."""
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def unshare(flags: int) -> None:
    """Call unshare(2) for the calling thread. Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace behind `fd`. Raises OSError."""
    _check(_libc.setns(fd, kind), "setns")


def open_tree(path: StrPath) -> int:
    """Return the descriptor of a detached copy of the mount that holds `path`, rooted there, without what is mounted
    below it. The caller closes it. Raises OSError (ENOSYS before Linux 5.2).
    """
    return _check(
        _libc.syscall(
            ctypes.c_long(_SYS_OPEN_TREE),
            ctypes.c_int(AT_FDCWD),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.c_uint(OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC),
        ),
        f"open_tree {path}",
    )


def mount_setattr(tree_fd: int, attr_set: int, userns_fd: int = 0) -> None:
    """Set attributes of a detached mount; with MOUNT_ATTR_IDMAP its ids are mapped through the user namespace.
    Raises OSError (EINVAL when the file system cannot be id-mapped, ENOSYS before Linux 5.12).
    """
    attr = _MountAttr(attr_set, 0, 0, userns_fd)
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(tree_fd),
        ctypes.c_char_p(b""),
        ctypes.c_uint(AT_EMPTY_PATH),
        ctypes.byref(attr),
        ctypes.c_size_t(ctypes.sizeof(attr)),
    )
    _check(result, "mount_setattr")


def move_mount(tree_fd: int, target: StrPath) -> None:
    """Attach a detached mount at `target`. Raises OSError."""
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOVE_MOUNT),
        ctypes.c_int(tree_fd),
        ctypes.c_char_p(b""),
        ctypes.c_int(AT_FDCWD),
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH),
    )
    _check(result, f"move_mount {target}")


def open_in_root(root_fd: int, path: str, flags: int) -> int:
    """Open `path` as if the folder `root_fd` were the root of all: links and `..` cannot lead out of it.
    Raises OSError (ENOSYS before Linux 5.6).
    """
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    return _check(
        _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(root_fd),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        ),
        f"openat2 {path}",
    )


def resize_tmpfs(mount_fd: int, size_bytes: int) -> None:
    """Change the size of a tmpfs, given its root folder opened with O_PATH, in whatever mount namespace it is.
    Raises OSError, also when it holds more than that already.
    """
    flags = _FSPICK_CLOEXEC | _FSPICK_EMPTY_PATH
    picked = _check(_libc.syscall(_SYS_FSPICK, mount_fd, b"", flags), "fspick")
    try:
        size = str(size_bytes).encode()
        _check(_libc.syscall(_SYS_FSCONFIG, picked, _FSCONFIG_SET_STRING, b"size", size, 0), "fsconfig")
        _check(_libc.syscall(_SYS_FSCONFIG, picked, _FSCONFIG_CMD_RECONFIGURE, None, None, 0), "fsconfig")
    finally:
        os.close(picked)
