"""The files of a build. Owns what `.dockerignore` leaves out, how sources of a COPY are matched, and their digest."""

import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runyard.environments.errors import BuildFailed

MAX_FILES: Final = 50_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder to put into a sandbox."""

    source: Path
    target: str
    folder: bool
    mode: int


class Context:
    """One folder of a package from which files are copied."""

    def __init__(self, root: Path) -> None:
        """Take the folder."""
        self._root = root.resolve()
        ignore = self._root / ".dockerignore"
        lines = ignore.read_text("utf-8", "replace").splitlines() if ignore.is_file() else []
        self._ignored = [
            line.strip().lstrip("/") for line in lines if line.strip() and line.strip()[0] != "#"
        ]

    def entries(self, sources: Sequence[str], target: str, line: int) -> Iterator[Entry]:
        """Yield what a COPY copies, parents first. Raises BuildFailed."""
        count = 0
        for source in sources:
            found = self._matching(source)
            if not found:
                raise BuildFailed(f"Dockerfile line {line}: there is no {source[:200]} in the build context")
            if len(found) > 1 and not target.endswith("/"):
                raise BuildFailed(f"Dockerfile line {line}: several files need a folder that ends in a slash")
            for path in found:
                for entry in self._below(path, target):
                    count += 1
                    if count > MAX_FILES:
                        raise BuildFailed(f"Dockerfile line {line}: more than {MAX_FILES} files")
                    yield entry

    def _matching(self, source: str) -> list[Path]:
        text = source.lstrip("/") or "."
        if ".." in text.split("/"):
            return []
        if any(char in text for char in "*?["):
            return sorted(path for path in self._root.glob(text) if not self._is_ignored(path))
        path = self._root / text
        return [path] if path.exists() else []

    def _below(self, path: Path, target: str) -> Iterator[Entry]:
        if path.is_symlink():
            return
        if path.is_file():
            yield _entry(path, target + path.name if target.endswith("/") else target)
            return
        # The content of a folder is copied, not the folder.
        yield _entry(path, target.rstrip("/") or "/")
        for folder, folders, files in os.walk(path):
            folders.sort()
            for name in sorted([*folders, *files]):
                one = Path(folder, name)
                if one.is_symlink() or self._is_ignored(one):
                    continue
                yield _entry(one, f"{target.rstrip('/')}/{one.relative_to(path)}")

    def _is_ignored(self, path: Path) -> bool:
        name = str(path.relative_to(self._root))
        ignored = False
        for pattern in self._ignored:
            kept = pattern.startswith("!")
            wanted = pattern.lstrip("!").rstrip("/")
            parts = name.split("/")
            hits = any(
                fnmatch.fnmatchcase("/".join(parts[: depth + 1]), form)
                for depth in range(len(parts))
                for form in (wanted, wanted.removeprefix("**/"))
            ) or (wanted.startswith("**/") and any(fnmatch.fnmatchcase(part, wanted[3:]) for part in parts))
            if hits:
                ignored = not kept
        return ignored


def digest_of(entries: Sequence[Entry]) -> str:
    """Return a digest of files with their places, modes and content. Blocking."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(f"{entry.target}\0{entry.mode:o}\0{entry.folder}\0".encode())
        if not entry.folder:
            with entry.source.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _entry(path: Path, target: str) -> Entry:
    mode = stat.S_IMODE(path.stat().st_mode)
    folder = path.is_dir()
    # Packages are kept read-only and without owners: what counts of a mode is whether it may be executed.
    return Entry(path, target, folder, 0o755 if folder or mode & 0o111 else 0o644)
