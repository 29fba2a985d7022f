"""Unpacking the layers of a foreign image into a folder. Owns the rules by which a hostile archive is contained.

Parent folders are resolved by the kernel as if the image's folder were the root of all, and the last component is
always replaced, never followed, so nothing can be made, changed or read outside. Devices and extended attributes are
left out, owners beyond the range of sandboxes are refused. The folder must lie below one that only root may enter,
because set-uid bits are kept. Blocking; called in threads.
"""

import contextlib
import errno
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Protocol, Self

from runyard.kernel.errors import InvalidArgument, TooLarge
from runyard.runtimes.isolation import syscalls
from runyard.runtimes.isolation.options import UID_COUNT

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_CHUNK = 1 << 20
_MAX_DEPTH = 256
_MAX_HEADERS = 4 << 20
_MAX_GLOBAL_HEADERS = 1000
_LAST_SECOND = (1 << 32) - 1
_FOLDER = os.O_RDONLY | os.O_DIRECTORY


class BadImage(InvalidArgument):
    """The image is not valid or not safe."""

    code = "bad_image"


@dataclass(slots=True)
class Budget:
    """What unpacking a whole image may use at most."""

    bytes: int = 32 << 30
    entries: int = 2_000_000

    def take(self, size: int) -> None:
        """Count one entry with its bytes. Raises TooLarge."""
        self.bytes -= size
        self.entries -= 1
        if self.bytes < 0 or self.entries < 0:
            raise TooLarge("The image holds more than this server accepts.")


@dataclass(slots=True)
class Whiteouts:
    """What a layer takes away from those below it."""

    removed: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)


class Source(Protocol):
    """An uncompressed layer."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes."""
        ...


class _Fenced:
    """Bounds how far an archive's reader may run ahead: its headers are kept in memory, so a packed gigabyte of
    them would cost the server that much.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0
        self.fence = _MAX_HEADERS

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._position += len(data)
        if self._position > self.fence:
            raise BadImage("The image has oversized headers.")
        return data


@contextlib.contextmanager
def _reading(source: Source) -> Iterator[Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]]:
    fenced = _Fenced(source)
    try:
        # The type stubs want a whole IO; a stream of this mode needs only `read`.
        with tarfile.open(fileobj=fenced, mode="r|") as archive:  # type: ignore[call-overload]
            yield _members(archive, fenced)
    except (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise BadImage(f"The image cannot be read: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP, None):
            raise BadImage(f"The image cannot be read: {error}") from error
        raise


def _members(archive: tarfile.TarFile, fenced: _Fenced) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # else it remembers every entry
        if member.issparse() or len(archive.pax_headers) > _MAX_GLOBAL_HEADERS or member.size < 0:
            raise BadImage(f"The image has an entry of an unsupported form: {member.name[:200]}")
        if not (0 <= member.uid < UID_COUNT and 0 <= member.gid < UID_COUNT):
            raise BadImage(f"The image has an owner outside 0 to {UID_COUNT - 1}: {member.name[:200]}")
        fenced.fence = member.offset_data + member.size + _MAX_HEADERS
        yield member, archive


def scan_layer(source: Source, budget: Budget) -> Whiteouts:
    """Read a layer once without writing anything: count it against the budget and collect its whiteouts, which must
    be applied before its own entries, wherever they stand in the archive. Raises BadImage, TooLarge.
    """
    found = Whiteouts()
    with _reading(source) as members:
        for member, _ in members:
            budget.take(member.size)
            parent, name = _split(member.name)
            if name == _OPAQUE:
                found.emptied.append(parent)
            elif name.startswith(_WHITEOUT):
                hidden = name.removeprefix(_WHITEOUT)
                if hidden in ("", ".", ".."):
                    raise BadImage(f"The image has a bad whiteout: {member.name[:200]}")
                found.removed.append(f"{parent}/{hidden}")
    return found


class Unpacker:
    """Applies layers to a folder; a context manager."""

    def __init__(self, root: str) -> None:
        """Open the folder."""
        self._root = os.open(root, _FOLDER | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the folder."""
        os.close(self._root)

    def remove(self, whiteouts: Whiteouts) -> None:
        """Apply the whiteouts of a layer to what the layers below it left."""
        for path in whiteouts.emptied:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), self._folder(path) as fd:
                for name in os.listdir(fd):
                    _remove(fd, name)
        for path in whiteouts.removed:
            parent, name = _split(path)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), self._folder(parent) as fd:
                _remove(fd, name)

    def apply(self, source: Source) -> None:
        """Unpack the entries of a layer. Raises BadImage, OSError."""
        with _reading(source) as members:
            for member, archive in members:
                parent, name = _split(member.name)
                if name.startswith(_WHITEOUT):
                    continue
                with self._folder(parent, create=True) as fd:
                    if name:
                        self._place(fd, name, member, archive)
                    else:
                        os.fchown(fd, member.uid, member.gid)
                        os.fchmod(fd, stat.S_IMODE(member.mode))

    def _place(self, fd: int, name: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        if member.islnk():
            self._link(fd, name, member)
            return
        if member.isdir():
            if not _is_folder(fd, name):
                _remove(fd, name)
                os.mkdir(name, 0o700, dir_fd=fd)
        elif member.isreg():
            _remove(fd, name)
            _write_file(fd, name, archive.extractfile(member))
        elif member.issym():
            _remove(fd, name)
            os.symlink(member.linkname, name, dir_fd=fd)
        elif member.isfifo():
            _remove(fd, name)
            os.mkfifo(name, 0o600, dir_fd=fd)
        else:
            return  # a device: sandboxes have a /dev of their own
        os.chown(name, member.uid, member.gid, dir_fd=fd, follow_symlinks=False)
        if not member.issym():
            # After the owner, whose change clears set-uid bits.
            os.chmod(name, stat.S_IMODE(member.mode), dir_fd=fd)
        seconds = min(max(int(member.mtime), 0), _LAST_SECOND)
        os.utime(name, (seconds, seconds), dir_fd=fd, follow_symlinks=False)

    def _link(self, fd: int, name: str, member: tarfile.TarInfo) -> None:
        parent, original = _split(member.linkname)
        try:
            with self._folder(parent) as source_fd:
                if _is_folder(source_fd, original):
                    raise BadImage(f"The image links to a folder: {member.name[:200]}")
                if not _same(source_fd, original, fd, name):
                    os.stat(original, dir_fd=source_fd, follow_symlinks=False)
                    _remove(fd, name)
                    os.link(original, name, src_dir_fd=source_fd, dst_dir_fd=fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            raise BadImage(f"The image links to a file that is not in it: {member.name[:200]}") from None

    @contextlib.contextmanager
    def _folder(self, path: str, *, create: bool = False) -> Iterator[int]:
        try:
            fd = syscalls.open_in_root(self._root, path or ".", _FOLDER)
        except FileNotFoundError:
            if not create:
                raise
            fd = self._make_folders(path)
        except NotADirectoryError:
            if not create:
                raise
            raise BadImage(f"The image has a file where it needs a folder: {path[:200]}") from None
        try:
            yield fd
        finally:
            os.close(fd)

    def _make_folders(self, path: str) -> int:
        fd = os.dup(self._root)
        made = ""
        for part in path.split("/"):
            made = f"{made}/{part}"
            try:
                child = syscalls.open_in_root(self._root, made, _FOLDER)
            except FileNotFoundError:
                try:
                    os.mkdir(part, 0o755, dir_fd=fd)
                except FileExistsError:
                    raise BadImage(f"The image has a dangling link as a folder: {made[:200]}") from None
                child = syscalls.open_in_root(self._root, made, _FOLDER)
            finally:
                os.close(fd)
            fd = child
        return fd


def _split(path: str) -> tuple[str, str]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or len(parts) > _MAX_DEPTH or "\0" in path:
        raise BadImage(f"The image has a bad path: {path[:200]}")
    return "/".join(parts[:-1]), parts[-1] if parts else ""


def _write_file(fd: int, name: str, source: IO[bytes] | None) -> None:
    if source is None:
        raise BadImage(f"The image has an unreadable file: {name}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(name, flags, 0o600, dir_fd=fd), "wb") as target:
        shutil.copyfileobj(source, target, _CHUNK)


def _is_folder(fd: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _same(left_fd: int, left: str, right_fd: int, right: str) -> bool:
    try:
        one = os.stat(left, dir_fd=left_fd, follow_symlinks=False)
        two = os.stat(right, dir_fd=right_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)


def _remove(fd: int, name: str) -> None:
    if _is_folder(fd, name):
        shutil.rmtree(name, dir_fd=fd)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=fd)
