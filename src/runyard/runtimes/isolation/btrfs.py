"""The ioctls of btrfs that layers need: subvolumes, snapshots and quota groups.

Owns their binary shapes (linux/btrfs.h). Every function blocks and raises OSError; callers run them in threads.
"""

import ctypes
import fcntl
import os
import struct
import uuid
from pathlib import Path

_IOC_BASE = 0x94 << 8
_WRITE = 1 << 30
_READ = 2 << 30
_VOL_ARGS_SIZE = 4096

_RESIZE = _WRITE | _VOL_ARGS_SIZE << 16 | _IOC_BASE | 3
_SYNC = _IOC_BASE | 8
_SNAP_DESTROY = _WRITE | _VOL_ARGS_SIZE << 16 | _IOC_BASE | 15
_TREE_SEARCH = _READ | _WRITE | 4096 << 16 | _IOC_BASE | 17
_INO_LOOKUP = _READ | _WRITE | 4096 << 16 | _IOC_BASE | 18
_SNAP_CREATE_V2 = _WRITE | _VOL_ARGS_SIZE << 16 | _IOC_BASE | 23
_SUBVOL_CREATE_V2 = _WRITE | _VOL_ARGS_SIZE << 16 | _IOC_BASE | 24
_FS_INFO = _READ | 1024 << 16 | _IOC_BASE | 31
_QUOTA_CTL = _READ | _WRITE | 16 << 16 | _IOC_BASE | 40
_QGROUP_CREATE = _WRITE | 16 << 16 | _IOC_BASE | 42
_QGROUP_LIMIT = _READ | 48 << 16 | _IOC_BASE | 43

_SUBVOL_RDONLY = 1 << 1
_LIMIT_MAX_RFER = 1
_QUOTA_ENABLE = 1
_QUOTA_ENABLE_SIMPLE = 4
_QUOTA_TREE = 8
_QGROUP_INFO_KEY = 242
_FIRST_FREE_OBJECTID = 256
_NO_LIMIT = (1 << 64) - 1
_SEARCH_KEY = struct.Struct("=QQQQQQQIIII4Q")
_SEARCH_HEADER = struct.Struct("=QQQII")
_INFO_ITEM = struct.Struct("<QQQQQ")


def _ioctl(folder: Path, request: int, argument: bytearray) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, request, argument)
    finally:
        os.close(fd)


def _vol_args_v2(name: str, fd: int = 0, flags: int = 0) -> bytearray:
    argument = bytearray(_VOL_ARGS_SIZE)
    struct.pack_into("=qQQ", argument, 0, fd, 0, flags)
    encoded = name.encode()
    argument[56 : 56 + len(encoded)] = encoded
    return argument


def create_subvolume(path: Path) -> None:
    """Make an empty subvolume."""
    _ioctl(path.parent, _SUBVOL_CREATE_V2, _vol_args_v2(path.name))


def snapshot(source: Path, path: Path, *, read_only: bool = False) -> None:
    """Make `path` a snapshot of the subvolume `source`, with all data written to it so far."""
    fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = _SUBVOL_RDONLY if read_only else 0
        _ioctl(path.parent, _SNAP_CREATE_V2, _vol_args_v2(path.name, fd, flags))
    finally:
        os.close(fd)


def destroy_subvolume(path: Path) -> None:
    """Unlink a subvolume; the kernel frees its space later, in the background."""
    argument = bytearray(_VOL_ARGS_SIZE)
    encoded = path.name.encode()
    argument[8 : 8 + len(encoded)] = encoded
    _ioctl(path.parent, _SNAP_DESTROY, argument)


def subvolume_id(path: Path) -> int:
    """Return the id of the subvolume that holds `path`."""
    argument = bytearray(4096)
    struct.pack_into("=QQ", argument, 0, 0, _FIRST_FREE_OBJECTID)
    _ioctl(path, _INO_LOOKUP, argument)
    return int(struct.unpack_from("=Q", argument)[0])


def is_subvolume(path: Path) -> bool:
    """Tell whether `path` is the root of a subvolume (its inode number is always 256)."""
    try:
        return path.lstat().st_ino == _FIRST_FREE_OBJECTID
    except FileNotFoundError:
        return False


def enable_quota(root: Path) -> str:
    """Switch quota groups on: `simple` ones where the kernel has them (6.7, far cheaper with many snapshots), else
    `full`. Return which.
    """
    for kind, command in (("simple", _QUOTA_ENABLE_SIMPLE), ("full", _QUOTA_ENABLE)):
        try:
            _ioctl(root, _QUOTA_CTL, bytearray(struct.pack("=QQ", command, 0)))
        except OSError:
            if kind == "full":
                raise
        else:
            return kind
    raise AssertionError


def limit_subvolume(path: Path, limit_bytes: int | None) -> None:
    """Limit the bytes that a subvolume may refer to; None lifts the limit."""
    value = _NO_LIMIT if limit_bytes is None else limit_bytes
    argument = struct.pack("=QQQQQQ", 0, _LIMIT_MAX_RFER, value, 0, 0, 0)
    _ioctl(path, _QGROUP_LIMIT, bytearray(argument))


def remove_quota_group(root: Path, group_id: int) -> None:
    """Remove the quota group of a deleted subvolume; EBUSY while it still accounts for something."""
    _ioctl(root, _QGROUP_CREATE, bytearray(struct.pack("=QQ", 0, group_id)))


def quota_usage(root: Path, group_id: int | None = None) -> dict[int, int]:
    """Return the bytes referred to by quota group, of one group or of all; as of the last committed transaction."""
    low, high = (0, _NO_LIMIT) if group_id is None else (group_id, group_id)
    found: dict[int, int] = {}
    while low <= high:
        argument = bytearray(4096)
        # 4096 - header keys; the kernel returns as many items as fit into the rest.
        _SEARCH_KEY.pack_into(
            argument, 0, _QUOTA_TREE, 0, 0, low, high, 0, _NO_LIMIT,
            _QGROUP_INFO_KEY, _QGROUP_INFO_KEY, 64, 0, 0, 0, 0, 0,
        )  # fmt: skip
        _ioctl(root, _TREE_SEARCH, argument)
        count = _SEARCH_KEY.unpack_from(argument)[9]
        position = _SEARCH_KEY.size
        last = low
        for _ in range(count):
            _, _, last, kind, length = _SEARCH_HEADER.unpack_from(argument, position)
            position += _SEARCH_HEADER.size
            if kind == _QGROUP_INFO_KEY and low <= last <= high:
                found[last] = _INFO_ITEM.unpack_from(argument, position)[1]
            position += length
        if count == 0 or last >= high:
            break
        low = last + 1
    return found


def file_system_id(root: Path) -> str:
    """Return the UUID by which /sys/fs/btrfs names the file system."""
    argument = bytearray(1024)
    _ioctl(root, _FS_INFO, argument)
    return str(uuid.UUID(bytes=bytes(argument[16:32])))


def grow(root: Path) -> None:
    """Let the file system fill its device."""
    argument = bytearray(_VOL_ARGS_SIZE)
    argument[8:11] = b"max"
    _ioctl(root, _RESIZE, argument)


def sync(root: Path) -> None:
    """Commit the running transaction, so that `quota_usage` tells the present."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _SYNC)
    finally:
        os.close(fd)


assert ctypes.sizeof(ctypes.c_void_p) == 8, "the shapes above are those of 64-bit hosts"
