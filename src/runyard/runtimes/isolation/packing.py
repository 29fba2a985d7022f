"""Reading a tree of files out of a sandbox without running anything in it. Owns the walk.

Everything inside is hostile and may change meanwhile: each step is one open relative to the folder before it, links
are never followed (those that stay below the path are kept as links), only regular files are read, and bytes and entries are bounded. Blocking; called in threads.
"""

import itertools
import os
import stat
import tarfile
from collections.abc import Sequence
from typing import IO

from runyard.kernel.errors import InvalidArgument, NotFound, TooLarge
from runyard.runtimes.isolation import syscalls

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 64
MAX_ENTRIES = 100_000


def pack(root_fd: int, paths: Sequence[str], target: IO[bytes], max_bytes: int) -> list[str]:
    """Write a tar of what is below absolute paths of a root folder; return those at which there is nothing.
    Raises InvalidArgument, TooLarge.
    """
    packer, absent = Packer(root_fd, target, max_bytes), []
    for path in paths:
        try:
            packer.add(path)
        except NotFound:
            absent.append(path)
    packer.finish()
    return absent


class Packer:
    """Writes files and folders below one path into a tar, under their whole paths without the leading slash."""

    def __init__(self, root_fd: int, target: IO[bytes], max_bytes: int) -> None:
        """Take the root folder of the sandbox, which stays the caller's."""
        self._root = root_fd
        self._tar = tarfile.open(  # noqa: SIM115  closed by `finish`
            fileobj=target, mode="w", format=tarfile.PAX_FORMAT
        )
        self._bytes_left = max_bytes
        self._entries_left = MAX_ENTRIES
        self._top: list[str] = []

    def finish(self) -> None:
        """Write the end of the archive."""
        self._tar.close()

    def add(self, path: str) -> None:
        """Add what is at an absolute path. Raises NotFound, InvalidArgument (no file or folder), TooLarge."""
        name = "/".join(part for part in path.split("/") if part not in ("", "."))
        if not path.startswith("/") or ".." in name.split("/") or "\0" in path or not name:
            raise InvalidArgument("a path must be absolute and without `..`")
        self._top = name.split("/")
        try:
            found = syscalls.open_in_root(self._root, name, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            raise NotFound(f"there is nothing at {path}: {error.strerror}") from None
        try:
            kind = os.fstat(found).st_mode
            if not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
                raise InvalidArgument(f"{path} is neither a file nor a folder")
            fd = syscalls.open_in_root(self._root, name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        finally:
            os.close(found)
        try:
            self._add(fd, name, 0)
        finally:
            os.close(fd)

    def _link(self, fd: int, child: str, name: str) -> None:
        """Keep a link that stays below the path that was asked for: any other would mean something else elsewhere."""
        target = os.readlink(child, dir_fd=fd)
        if not self._stays(target, [] if target.startswith("/") else name.split("/")[:-1]):
            return
        self._count(0)
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        self._write(entry)

    def _stays(self, target: str, parts: list[str]) -> bool:
        """Tell whether the way that a link says, from a folder on, is below the path at its end and at every `..`. Those
        count at the beginning only: after a name, which may be a link itself, one leads to nobody knows where.
        """
        named = False
        for part in target.split("/"):
            if part == "..":
                del parts[-1:]
                if named or parts[: len(self._top)] != self._top:
                    return False
            elif part not in ("", "."):
                named = True
                parts.append(part)
        return parts[: len(self._top)] == self._top

    def _add(self, fd: int, name: str, depth: int) -> None:
        about = os.fstat(fd)
        if stat.S_ISDIR(about.st_mode):
            self._folder(fd, name, about, depth)
        elif stat.S_ISREG(about.st_mode):
            self._file(fd, name, about)

    def _folder(self, fd: int, name: str, about: os.stat_result, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise TooLarge(f"folders are nested too deeply at /{name[:200]}")
        self._count(0)
        entry = _entry(name, about)
        entry.type = tarfile.DIRTYPE
        self._write(entry)
        for child in self._names(fd):
            try:
                kind = os.stat(child, dir_fd=fd, follow_symlinks=False).st_mode
                if stat.S_ISLNK(kind):
                    self._link(fd, child, f"{name}/{child}")
                if not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
                    continue
                inner = os.open(child, _FOLDER if stat.S_ISDIR(kind) else _FILE, dir_fd=fd)
            except OSError:
                continue  # it went away, or became something else, in between
            try:
                self._add(inner, f"{name}/{child}", depth + 1)
            finally:
                os.close(inner)

    def _names(self, fd: int) -> list[str]:
        """List a folder, which may hold millions of names, as far as they may be read."""
        with os.scandir(fd) as entries:
            names = [entry.name for entry in itertools.islice(entries, self._entries_left + 1)]
        if len(names) > self._entries_left:
            raise TooLarge("there is more below this path than may be read")
        return sorted(names)

    def _file(self, fd: int, name: str, about: os.stat_result) -> None:
        self._count(about.st_size)
        entry = _entry(name, about)
        entry.size = about.st_size
        with os.fdopen(os.dup(fd), "rb") as source:
            self._write(entry, _Padded(source, about.st_size))

    def _write(self, entry: tarfile.TarInfo, content: "_Padded | None" = None) -> None:
        self._tar.addfile(entry, content)  # type: ignore[arg-type]
        self._tar.members = []  # type: ignore[attr-defined]  # else it remembers every entry

    def _count(self, size: int) -> None:
        self._bytes_left -= size
        self._entries_left -= 1
        if self._bytes_left < 0 or self._entries_left < 0:
            raise TooLarge("there is more below this path than may be read")


class _Padded:
    """A file of exactly so many bytes, whatever becomes of the real one meanwhile."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self._source = source
        self._left = size

    def read(self, size: int) -> bytes:
        wanted = min(size, self._left)
        data = self._source.read(wanted) or b""
        data += bytes(wanted - len(data))
        self._left -= wanted
        return data


def _entry(name: str, about: os.stat_result) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode = stat.S_IMODE(about.st_mode) & 0o777
    entry.mtime = int(about.st_mtime)
    return entry
