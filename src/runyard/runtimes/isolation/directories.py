"""Layers as plain directories, for hosts without the btrfs image. Owns copying and measuring trees.

Blocking; `layers.py` calls it in threads.
"""

import os
import shutil
import subprocess
from pathlib import Path

from runyard.runtimes.isolation.engine import CannotEnforce
from runyard.runtimes.isolation.pool import Space


class DirectoryBackend:
    """Plain directories: works everywhere, bounds nothing, copies file by file."""

    bounded = False

    def __init__(self, root: Path) -> None:
        """Take the folder to keep layers in."""
        self._root = root

    @property
    def root(self) -> Path:
        """Folder that holds `live` and `checkpoints`."""
        return self._root

    def open(self) -> None:
        """Make the folder."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def close(self) -> None:
        """Do nothing."""

    def create(self, path: Path) -> None:
        """Make an empty directory."""
        path.mkdir(mode=0o700)

    def copy(self, source: Path, target: Path) -> int:
        """Copy owners, modes, times, extended attributes, hard links, holes and overlay's whiteouts."""
        command = ["cp", "-a", "--reflink=auto", "--sparse=auto", "--", str(source), str(target)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            raise OSError(f"copying a layer failed: {done.stderr.decode(errors='replace')[-500:]}")
        return _tree_size(target)

    def remove(self, path: Path) -> None:
        """Delete the tree."""
        shutil.rmtree(path)

    def limit(self, path: Path, limit_bytes: int | None) -> None:
        """Refuse: there is nothing to limit with. Raises CannotEnforce."""
        raise CannotEnforce(f"No size limit can be set on {path.name}.", limit_bytes=limit_bytes)

    def usage(self, path: Path) -> int:
        """Walk the tree."""
        return _tree_size(path)

    def guard(self) -> None:
        """Do nothing."""

    def space(self) -> Space:
        """Return the room of the file system."""
        stat = os.statvfs(self._root)
        return Space(total=stat.f_blocks * stat.f_frsize, free=stat.f_bavail * stat.f_frsize)


def _tree_size(path: Path) -> int:
    seen: set[tuple[int, int]] = set()
    total = 0
    stack = [os.fspath(path)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                stat = entry.stat(follow_symlinks=False)
                if stat.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                    if (stat.st_dev, stat.st_ino) in seen:
                        continue
                    seen.add((stat.st_dev, stat.st_ino))
                total += stat.st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
    return total
