"""The file system of control groups, as few verbs, and where this process stands in it.

Owns reading /proc/self/cgroup and mountinfo and the plain file operations; knows no controller. Tests put an
in-memory kernel in its place.
"""

import contextlib
import errno
import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path


class CgroupFs:
    """File operations on group folders. All are quick except a write to `cgroup.procs` (some ms)."""

    def exists(self, path: Path) -> bool:
        """Tell whether a folder or a knob is there."""
        return path.exists()

    def writable(self, path: Path) -> bool:
        """Tell whether this process may make groups in a folder."""
        return os.access(path, os.W_OK)

    def read(self, path: Path) -> str:
        """Return a knob's text. Raises OSError."""
        return path.read_text()

    def write(self, path: Path, value: str) -> None:
        """Set a knob with a single write. Raises OSError with what the kernel answers."""
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)

    def mkdir(self, path: Path) -> None:
        """Make a group; nothing when it exists."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)

    def rmdir(self, path: Path) -> None:
        """Remove a group without members; EBUSY while it has some; nothing when it is gone."""
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path)

    def children(self, path: Path) -> list[Path]:
        """Return the groups directly below."""
        try:
            return [path / entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []

    def open(self, path: Path) -> int | None:
        """Return a descriptor of the folder for clone3(CLONE_INTO_CGROUP)."""
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def lock(self, path: Path) -> int | None:
        """Claim a group for the life of this process; return the descriptor that holds the claim, or None when
        another process has it or the group is gone.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def kill(self, pid: int, signum: int) -> None:
        """Send a signal; nothing when the process is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


@dataclass(frozen=True, slots=True)
class Standing:
    """The folders of this process's own groups."""

    unified: Path | None = None
    """In cgroup2, if mounted."""
    v1: dict[str, Path] = field(default_factory=dict)
    """By controller, for those mounted in the old way."""
    namespaced: bool = False
    """This process sees its own group of cgroup2 as the root, as in a container."""


def find_standing(cgroup_text: str, mountinfo_text: str) -> Standing:
    """Work out the own group folders from the texts of /proc/self/cgroup and /proc/self/mountinfo."""
    own: dict[str, str] = {}
    for line in cgroup_text.splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            own[name] = path
    unified: Path | None = None
    v1: dict[str, Path] = {}
    for root, mount_point, fstype, options in _cgroup_mounts(mountinfo_text):
        names = [""] if fstype == "cgroup2" else [name for name in options if name in own and name]
        for name in names:
            folder = _below(mount_point, root, own.get(name))
            if folder is None:
                continue
            if fstype == "cgroup2":
                unified = unified or folder
            else:
                v1.setdefault(name, folder)
    return Standing(unified, v1, namespaced=own.get("") == "/")


def _cgroup_mounts(text: str) -> list[tuple[str, str, str, list[str]]]:
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(), right.split()
        if len(tail) >= 3 and tail[0] in ("cgroup", "cgroup2"):
            found.append((_unescape(fields[3]), _unescape(fields[4]), tail[0], tail[2].split(",")))
    return found


def _below(mount_point: str, root: str, own: str | None) -> Path | None:
    if own is None or own.startswith("/.."):
        return None
    if root != "/":
        # Bind-mounted from within: a container without a cgroup namespace.
        if own != root and not own.startswith(root + "/"):
            return None
        own = own[len(root) :]
    return Path(mount_point + "/" + own.strip("/")) if own.strip("/") else Path(mount_point)


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def is_busy(error: OSError) -> bool:
    """Tell whether the kernel refused because a group still has members."""
    return error.errno in (errno.EBUSY, errno.ENOTEMPTY)
