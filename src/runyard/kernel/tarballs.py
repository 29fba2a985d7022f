"""Gzipped tar archives from anybody. Owns the rules by which a hostile archive is refused or contained.

Plain folders, files and links that stay inside are accepted; absolute names, `..`, links that leave, devices, sparse
files and whatever exceeds the budget are refused with the name of the entry. Parents are opened one by one and never
followed through a link, so nothing is made outside the folder. Blocking: call it in a thread.
"""

import contextlib
import os
import posixpath
import stat
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from gzip import GzipFile
from typing import IO, Final

from runyard.kernel.errors import InvalidArgument, TooLarge

_CHUNK: Final = 1 << 20
_HEADER_BYTES: Final = 1 << 20
"""Between two entries: a long name takes a few KiB, and tarfile keeps headers in memory."""
_MAX_DEPTH: Final = 128
_MAX_NAME: Final = 4096
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class BadTarball(InvalidArgument):
    """The archive is not a gzipped tar, or it is not safe to unpack."""

    code = "bad_tarball"


@dataclass(frozen=True, slots=True, kw_only=True)
class TarballLimits:
    """What an archive may hold at most, unpacked."""

    bytes: int = 2 << 30
    entries: int = 200_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted entry."""

    path: str
    """Relative, normalised, `/` between parts."""
    member: tarfile.TarInfo
    content: IO[bytes] | None
    """The bytes of a regular file; read them before the next entry."""


def entries(source: IO[bytes], limits: TarballLimits) -> Iterator[Entry]:
    """Yield the entries of a gzipped tar in order. Memory stays flat. Raises BadTarball, TooLarge."""
    fenced = _Fenced(GzipFile(fileobj=source, mode="rb"))
    left, count = limits.bytes, limits.entries
    # The type stubs want a whole IO; a stream of this mode needs only `read`.
    with _said_plainly(), tarfile.open(fileobj=fenced, mode="r|") as archive:  # type: ignore[call-overload]
        for member in archive:
            archive.members = []  # else it remembers every entry
            left, count = left - member.size, count - 1
            if left < 0 or count < 0:
                raise TooLarge(
                    f"the archive unpacks to more than {limits.bytes} bytes or {limits.entries} entries"
                )
            path = _checked(member)
            fenced.fence = member.offset_data + member.size + _HEADER_BYTES
            if path:
                yield Entry(path, member, archive.extractfile(member) if member.isreg() else None)


def check(source: IO[bytes], limits: TarballLimits) -> int:
    """Read a whole archive without writing; return its unpacked size in bytes. Raises BadTarball, TooLarge."""
    return sum(entry.member.size for entry in entries(source, limits))


def unpack(
    source: IO[bytes], folder: str, limits: TarballLimits, *, owner: tuple[int, int] | None = None
) -> None:
    """Unpack into an existing folder. Files get their permission bits without set-id bits, and `owner` (uid, gid) if
    one is given. Raises BadTarball, TooLarge, OSError.
    """
    with contextlib.ExitStack() as stack:
        root = os.open(folder, _FOLDER)
        stack.callback(os.close, root)
        for entry in entries(source, limits):
            parent, name = posixpath.split(entry.path)
            with _opened(root, parent, owner) as fd:
                _place(fd, name, entry, owner)


def _place(fd: int, name: str, entry: Entry, owner: tuple[int, int] | None) -> None:
    member = entry.member
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=fd)
        elif not member.isdir():
            raise BadTarball(f"the archive has both a folder and a file at {entry.path[:200]!r}")
    if member.isdir():
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=fd)
    elif member.issym():
        os.symlink(member.linkname, name, dir_fd=fd)
    elif entry.content is not None:
        with open(os.open(name, _NEW_FILE, 0o600, dir_fd=fd), "wb") as target:
            while piece := entry.content.read(_CHUNK):
                target.write(piece)
        os.chmod(name, member.mode & 0o777 | 0o600, dir_fd=fd)
    if owner is not None:
        os.chown(name, *owner, dir_fd=fd, follow_symlinks=False)


@contextlib.contextmanager
def _opened(root: int, parent: str, owner: tuple[int, int] | None) -> Iterator[int]:
    """Open a folder below the root, making what is missing: archives may leave folders out."""
    fd = os.dup(root)
    try:
        for part in parent.split("/") if parent else ():
            try:
                child = os.open(part, _FOLDER, dir_fd=fd)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=fd)
                if owner is not None:
                    os.chown(part, *owner, dir_fd=fd, follow_symlinks=False)
                child = os.open(part, _FOLDER, dir_fd=fd)
            except OSError:
                raise BadTarball(f"the archive writes through {part[:200]!r}, which is no folder") from None
            os.close(fd)
            fd = child
        yield fd
    finally:
        os.close(fd)


def _checked(member: tarfile.TarInfo) -> str:
    """Return the normalised path of an entry, empty for the folder itself. Raises BadTarball."""
    name = member.name
    shown = name[:200]
    if name.startswith("/") or "\0" in name or len(name) > _MAX_NAME:
        raise BadTarball(f"the archive has an absolute or overlong name: {shown!r}")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or len(parts) > _MAX_DEPTH:
        raise BadTarball(f"the archive has a name that leaves its folder or is too deep: {shown!r}")
    if member.size < 0 or member.issparse() or not (member.isdir() or member.isreg() or member.issym()):
        raise BadTarball(f"the archive has an entry that is no folder, file or symbolic link: {shown!r}")
    if member.issym() and _leaves(parts, member.linkname):
        raise BadTarball(f"the archive has a link that leaves its folder: {shown!r}")
    if not parts and not member.isdir():
        raise BadTarball("the archive has an entry without a name")
    return "/".join(parts)


def _leaves(parts: list[str], target: str) -> bool:
    if not target or target.startswith("/") or "\0" in target or len(target) > _MAX_NAME:
        return True
    depth = len(parts) - 1
    for part in target.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False


@contextlib.contextmanager
def _said_plainly() -> Iterator[None]:
    """Turn every way in which an archive can be broken into one error."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError, UnicodeError) as error:
        raise BadTarball(f"the body is not a gzipped tar archive: {error}") from None
    except OSError as error:
        if error.errno is None:  # gzip's own: not gzip, a bad checksum
            raise BadTarball(f"the body is not a gzipped tar archive: {error}") from None
        raise


class _Fenced:
    """Bounds how far the archive's reader may run ahead of the entries: a packed gigabyte of headers is kept in
    memory by it and would cost the server that much.
    """

    def __init__(self, source: GzipFile) -> None:
        self._source = source
        self._position = 0
        self.fence = _HEADER_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._position += len(data)
        if self._position > self.fence:
            raise BadTarball("the archive has oversized headers")
        return data
