"""A pack's folder. Owns reading files of it and nothing outside: links that leave it, devices and pipes are refused."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runyard.actions.documents import Document, decode, read_yaml
from runyard.actions.errors import InvalidMetadata

_METADATA = (".yaml", ".yml", ".json")
_UNLISTED = frozenset({".git", "__pycache__", "virtualenv"})


@dataclass(frozen=True, slots=True)
class FolderLimits:
    """The bounds of one pack."""

    file_size: int = 1 << 20
    """Bytes of one metadata file."""
    files: int = 10_000
    """Files of one folder that are looked at, and files listed of the whole pack."""


LIMITS = FolderLimits()


class PackFolder:
    """Reads files by their path relative to the pack. Raises InvalidMetadata naming the file."""

    def __init__(self, root: Path, limits: FolderLimits = LIMITS) -> None:
        """Use a folder, resolving links on the way to it but none inside. Raises InvalidMetadata."""
        self._limits = limits
        try:
            self.root = root.resolve(strict=True)
        except (OSError, RuntimeError):
            raise InvalidMetadata(f"there is no folder {root.name!r}") from None
        if not self.root.is_dir():
            raise InvalidMetadata(f"{root.name!r} is not a folder")

    def read(self, relative: str) -> bytes:
        """Return the bytes of a file.

        The file is opened first and judged by its descriptor, so that nobody can swap it in between.
        """
        check_relative(relative)
        try:
            fd = os.open(self.root / relative, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise InvalidMetadata("the file does not exist", file=relative) from None
        except OSError as error:
            raise InvalidMetadata(f"the file cannot be opened: {error.strerror}", file=relative) from None
        try:
            self._judge(fd, relative)
            return self._all(fd, relative)
        finally:
            os.close(fd)

    def document(self, relative: str) -> Document:
        """Return a YAML file's value with its lines."""
        return read_yaml(decode(self.read(relative), relative), relative)

    def has(self, relative: str) -> bool:
        """Tell whether there is something by this name, of whatever kind."""
        return os.path.lexists(self.root / relative)

    def metadata_files(self, folder: str) -> list[str]:
        """List the metadata files directly in a folder of the pack, in order; none when there is no such folder."""
        names: list[str] = []
        try:
            with os.scandir(self._inside(folder)) as entries:
                for count, entry in enumerate(entries):
                    if count >= self._limits.files:
                        raise InvalidMetadata(
                            f"the folder has more than {self._limits.files} files", file=folder
                        )
                    if entry.name.endswith(_METADATA) and not entry.name.startswith("."):
                        names.append(entry.name)
        except OSError:
            return []
        return [f"{folder}/{name}" for name in sorted(names)]

    def all_files(self) -> tuple[str, ...]:
        """List all files of the pack in order, links not followed, as many as the limit allows."""
        return tuple(sorted(path for path, _ in zip(self._walk(), range(self._limits.files), strict=False)))

    def _walk(self) -> Iterator[str]:
        for folder, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if name not in _UNLISTED)
            for name in sorted(names):
                yield os.path.relpath(os.path.join(folder, name), self.root)

    def _inside(self, folder: str) -> Path:
        path = (self.root / folder).resolve()
        if not path.is_relative_to(self.root):
            raise InvalidMetadata("the folder is a link that leads out of the pack", file=folder)
        return path

    def _judge(self, fd: int, relative: str) -> None:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidMetadata("this is not a regular file", file=relative)
        if status.st_size > self._limits.file_size:
            raise InvalidMetadata(f"the file has more than {self._limits.file_size} bytes", file=relative)
        if not Path(os.readlink(f"/proc/self/fd/{fd}")).is_relative_to(self.root):
            raise InvalidMetadata("the file is a link that leads out of the pack", file=relative)

    def _all(self, fd: int, relative: str) -> bytes:
        """Read to the end; the size may have grown since it was looked at."""
        parts: list[bytes] = []
        length = 0
        while part := os.read(fd, 1 << 16):
            parts.append(part)
            length += len(part)
            if length > self._limits.file_size:
                raise InvalidMetadata(f"the file has more than {self._limits.file_size} bytes", file=relative)
        return b"".join(parts)


def check_relative(path: str) -> None:
    """Refuse a path that does not stay below where it starts. Raises InvalidMetadata."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise InvalidMetadata(f"the path {path!r} does not stay inside the pack")


def entry_point_path(pack: Path, entry_point: str) -> Path:
    """Return the file that an action runs, which is below the pack's `actions` folder, links followed.

    Raises InvalidMetadata when it is elsewhere or not there.
    """
    check_relative(entry_point)
    base = (pack / "actions").resolve()
    path = (base / entry_point).resolve()
    if not path.is_relative_to(pack.resolve()):
        raise InvalidMetadata(f"the entry point {entry_point!r} is a link that leads out of the pack")
    if not path.is_file():
        raise InvalidMetadata(f"the entry point {entry_point!r} does not exist")
    return path
