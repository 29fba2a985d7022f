"""The btrfs image that bounded layers live in. Owns `pool.img`, its loop device, its mount and its quota groups.

Blocking; `layers.py` calls it in threads. Never used when another process still has the image mounted: two mounts of
one image would destroy it.
"""

import contextlib
import errno
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from runyard.kernel.errors import LimitExceeded, Unavailable
from runyard.runtimes.isolation import btrfs, loopdev, syscalls

_XATTR = "trusted.runyard.inherited"
_RESERVE = 256 << 20
"""Bytes left free on the disk below."""
_SCARCE = 8 << 30
"""With less than this on the disk below, freed space is given back to it at once instead of in the kernel's time."""
_SPARE_SHARE = 3
"""One part in so many of the image, which is sparse and made larger by that, is kept from layers. btrfs hands space out
in chunks for data or for metadata, and takes a new one for data when the others are four fifths full. Once data has
taken all of them, not even a deleted layer makes room for the next file name.
"""
_EVERYTHING = btrfs.LEVEL_ONE | 1
"""The quota group that every layer and checkpoint is part of."""
_MINIMUM_SIZE = 256 << 20
_TAKE_OVER_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Space:
    """Room for layers in bytes."""

    total: int
    free: int


class PoolUnavailable(Exception):
    """This host cannot have a btrfs image; the message says what is missing."""


class BtrfsPool:
    """Layers as subvolumes.

    Simple quota groups charge data to the subvolume that wrote it, so a copy starts at zero. What a copy inherits is
    therefore written down in an attribute of its folder and counted on top, for usage and for the limit alike:
    otherwise a chain of checkpoint and restore would grow without bound. Deleting inherited files gives no room back.
    """

    bounded = True

    def __init__(self, folder: Path, size_bytes: int) -> None:
        """Take the folder for image and mount point, and the bytes that all layers together may have."""
        self._image = folder / "pool.img"
        self._mount_point = folder / "pool"
        self._size = max(size_bytes * _SPARE_SHARE // (_SPARE_SHARE - 1), _MINIMUM_SIZE)
        self._fresh = False
        self._to_clean = 0
        self._group: int | None = None
        self._quota = "simple"
        self._groups = Path()

    @property
    def root(self) -> Path:
        """Folder that holds `live` and `checkpoints`."""
        return self._mount_point

    def open(self) -> None:
        """Make the image if there is none, mount it and switch quotas on. Raises PoolUnavailable, and Unavailable when
        another process uses the image.
        """
        if os.geteuid() != 0:
            raise PoolUnavailable("not running as root")
        if not Path("/dev/loop-control").exists():
            raise PoolUnavailable("no loop devices")
        self._mount_point.mkdir(exist_ok=True, mode=0o700)
        # Without a mount namespace of its own a killed server leaves its mount behind.
        while os.path.ismount(self._mount_point):
            syscalls.umount(self._mount_point, syscalls.MNT_DETACH)
        self._make_image()
        self._wait_released()
        self._mount()
        self._drop_stale_groups()

    def close(self) -> None:
        """Unmount the image. Sandboxes that still hold it keep it alive until they end."""
        with contextlib.suppress(OSError):
            syscalls.umount(self._mount_point, syscalls.MNT_DETACH)

    def create(self, path: Path) -> None:
        """Make an empty subvolume. Raises LimitExceeded when the reserve is touched."""
        self._check_room()
        btrfs.create_subvolume(path, self._group)
        path.chmod(0o700)

    def copy(self, source: Path, target: Path) -> int:
        """Snapshot a subvolume. Takes milliseconds, whatever the size."""
        self._check_room()
        btrfs.snapshot(source, target, self._group)
        # The snapshot committed all that the source had written, so its group tells the present.
        size = self.usage(source)
        os.setxattr(target, _XATTR, str(size).encode())
        return size

    def remove(self, path: Path) -> None:
        """Unlink a subvolume; its space comes back in the background, soon after the next two `guard`s."""
        btrfs.destroy_subvolume(path)
        self._to_clean = 2

    def limit(self, path: Path, limit_bytes: int | None) -> None:
        """Bound a subvolume's size; writes beyond it fail with EDQUOT."""
        if limit_bytes is not None:
            limit_bytes = max(limit_bytes - self._inherited(path), 1)
        btrfs.limit_subvolume(path, limit_bytes)

    def usage(self, path: Path) -> int:
        """Return what a subvolume holds, with what it inherited; data still in memory counts once it is allocated."""
        return self._referenced(btrfs.subvolume_id(path)) + self._inherited(path)

    def guard(self) -> None:
        """Let all layers together grow by no more than the disk below has left. The image is sparse: without this,
        what others write to that disk would turn into write errors for every sandbox at once. Call it regularly.
        """
        if self._to_clean:
            # A commit wakes the kernel's cleaner, which would otherwise sleep for half a minute; what it freed is
            # usable after one more.
            self._to_clean -= 1
            btrfs.sync(self._mount_point)
            if self._left_below() < _SCARCE:
                btrfs.trim(self._mount_point)
        if self._group is None:
            return
        used = self._referenced(_EVERYTHING)
        btrfs.limit_group(self._mount_point, _EVERYTHING, max(used + self.space().free, 1))

    def space(self) -> Space:
        """Return the room, less a reserve: the smaller of what is free in the image and on the disk below it."""
        inside = os.statvfs(self._mount_point)
        total = inside.f_blocks * inside.f_frsize
        free = min(inside.f_bavail * inside.f_frsize - total // _SPARE_SHARE, self._left_below())
        return Space(total=total - total // _SPARE_SHARE, free=max(free, 0))

    def _left_below(self) -> int:
        below = os.statvfs(self._image)
        return below.f_bavail * below.f_frsize - _RESERVE

    def _referenced(self, group: int) -> int:
        level, number = divmod(group, btrfs.LEVEL_ONE)
        try:
            return int((self._groups / f"{level}_{number}" / "referenced").read_text())
        except (OSError, ValueError):
            return btrfs.quota_usage(self._mount_point, group).get(group, 0)

    def _check_room(self) -> None:
        if self.space().free == 0:
            raise LimitExceeded("The disk for runtimes is full.", retry_after=30.0)

    def _inherited(self, path: Path) -> int:
        if self._quota == "full":
            return 0  # full quota groups count shared data for everyone who refers to it
        try:
            return int(os.getxattr(path, _XATTR))
        except OSError as error:
            if error.errno == errno.ENODATA:
                return 0
            raise

    def _make_image(self) -> None:
        if self._image.exists():
            if self._image.stat().st_size < self._size:
                os.truncate(self._image, self._size)
            return
        below = os.statvfs(self._image.parent)
        if below.f_bavail * below.f_frsize < _RESERVE:
            raise PoolUnavailable("the disk of the data folder is full")
        draft = self._image.with_suffix(".new")
        draft.touch(mode=0o600)
        os.truncate(draft, self._size)
        # -K: nothing to discard in a fresh sparse file. Single copies: there is one disk below.
        command = ["mkfs.btrfs", "-f", "-q", "-K", "-m", "single", "-d", "single", str(draft)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            draft.unlink()
            raise PoolUnavailable("mkfs.btrfs is not installed") from None
        if done.returncode != 0:
            draft.unlink()
            raise PoolUnavailable(f"mkfs.btrfs failed: {done.stderr.decode(errors='replace').strip()[-200:]}")
        self._fresh = True
        draft.rename(self._image)

    def _wait_released(self) -> None:
        deadline = time.monotonic() + _TAKE_OVER_SECONDS
        pause = 0.01
        while loopdev.is_attached(self._image):
            if time.monotonic() > deadline:
                raise Unavailable("Sandboxes of an earlier server still hold the layers; end them first.")
            time.sleep(pause)
            pause = min(pause * 2, 0.5)

    def _mount(self) -> None:
        try:
            device = loopdev.attach(self._image)
        except OSError as error:
            raise self._failure(f"no loop device can be bound ({error.strerror})") from error
        try:
            flags = syscalls.MS_NOATIME | syscalls.MS_NODEV
            syscalls.mount(loopdev.path_of(device), self._mount_point, "btrfs", flags)
        except OSError as error:
            raise self._failure(f"btrfs cannot be mounted ({error.strerror})") from error
        finally:
            os.close(device)
        try:
            self._quota = btrfs.enable_quota(self._mount_point)
            btrfs.grow(self._mount_point)
            self._groups = Path("/sys/fs/btrfs", btrfs.file_system_id(self._mount_point), "qgroups")
            if self._quota == "simple":
                # The top level stays outside: a full pool must not keep us from deleting layers.
                self._group = _EVERYTHING
                btrfs.create_group(self._mount_point, _EVERYTHING)
            self.guard()
        except OSError as error:
            self.close()
            raise self._failure(f"btrfs quotas cannot be switched on ({error.strerror})") from error

    def _drop_stale_groups(self) -> None:
        """Remove quota groups of layers that are gone, kept until now by checkpoints of theirs that were deleted later."""
        known = {btrfs.subvolume_id(path) for path in self._mount_point.glob("*/*")}
        for group, used in btrfs.quota_usage(self._mount_point).items():
            if used == 0 and 256 <= group < btrfs.LEVEL_ONE and group not in known:
                with contextlib.suppress(OSError):
                    btrfs.remove_quota_group(self._mount_point, group)

    def _failure(self, reason: str) -> Exception:
        if self._fresh:
            self._image.unlink(missing_ok=True)
            return PoolUnavailable(reason)
        # Falling back to directories now would hide every layer that is in the image.
        return Unavailable(f"The layers in {self._image} cannot be used: {reason}.")
