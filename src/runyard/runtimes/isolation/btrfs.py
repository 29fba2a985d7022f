"""The ioctls of btrfs that layers need: subvolumes, snapshots and quota groups.

Owns their binary shapes (linux/btrfs.h). Every function blocks and raises OSError; callers run them in threads.
"""

import contextlib
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
_FITRIM = _READ | _WRITE | 24 << 16 | 0x58 << 8 | 121
_QUOTA_CTL = _READ | _WRITE | 16 << 16 | _IOC_BASE | 40
_QGROUP_CREATE = _WRITE | 16 << 16 | _IOC_BASE | 42
_QGROUP_LIMIT = _READ | 48 << 16 | _IOC_BASE | 43

_QGROUP_INHERIT = 1 << 2
_INHERIT = struct.Struct("=QQQQ5QQ")
_LIMIT_MAX_RFER = 1
_QUOTA_ENABLE = 1
_QUOTA_ENABLE_SIMPLE = 4
_QUOTA_TREE = 8
_QGROUP_INFO_KEY = 242
_FIRST_FREE_OBJECTID = 256
LEVEL_ONE = 1 << 48
"""Bit in the id of a quota group above those of subvolumes."""
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


def _create(path: Path, request: int, source_fd: int, group: int | None) -> None:
    argument = bytearray(_VOL_ARGS_SIZE)
    inherit = ctypes.create_string_buffer(_INHERIT.pack(0, 1, 0, 0, 0, 0, 0, 0, 0, group or 0))
    flags = 0 if group is None else _QGROUP_INHERIT
    address = 0 if group is None else ctypes.addressof(inherit)
    struct.pack_into("=qQQQQ", argument, 0, source_fd, 0, flags, _INHERIT.size if flags else 0, address)
    encoded = path.name.encode()
    argument[56 : 56 + len(encoded)] = encoded
    _ioctl(path.parent, request, argument)


def create_subvolume(path: Path, group: int | None = None) -> None:
    """Make an empty subvolume whose own quota group is part of `group`."""
    _create(path, _SUBVOL_CREATE_V2, 0, group)


def snapshot(source: Path, path: Path, group: int | None = None) -> None:
    """Make `path` a snapshot of the subvolume `source`, with all data written to it so far; its own quota group is
    part of `group`.
    """
    fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _create(path, _SNAP_CREATE_V2, fd, group)
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
    limit_group(path, 0, limit_bytes)


def limit_group(path: Path, group_id: int, limit_bytes: int | None) -> None:
    """Limit a quota group; 0 stands for that of the subvolume which holds `path`."""
    value = _NO_LIMIT if limit_bytes is None else limit_bytes
    argument = struct.pack("=QQQQQQ", group_id, _LIMIT_MAX_RFER, value, 0, 0, 0)
    _ioctl(path, _QGROUP_LIMIT, bytearray(argument))


def create_group(root: Path, group_id: int) -> None:
    """Make a quota group of a higher level; nothing when there is one."""
    with contextlib.suppress(FileExistsError):
        _ioctl(root, _QGROUP_CREATE, bytearray(struct.pack("=QQ", 1, group_id)))


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


def trim(root: Path) -> None:
    """Give all free space back to the device now."""
    _ioctl(root, _FITRIM, bytearray(struct.pack("=QQQ", 0, _NO_LIMIT, 0)))


def sync(root: Path) -> None:
    """Commit the running transaction, so that `quota_usage` tells the present."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _SYNC)
    finally:
        os.close(fd)


assert ctypes.sizeof(ctypes.c_void_p) == 8, "the shapes above are those of 64-bit hosts"
