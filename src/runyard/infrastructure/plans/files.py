"""Verbs of changed files. Owns what is kept of the files that the commit of a run changed, and its reading from a checkout.

A checkout is hostile: a file is read only when it and all folders above it are no links.
"""

import asyncio
import os
import stat
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Row, delete, func, insert, select

from runyard.database.engine import Database
from runyard.executions.output.redact import mask_bytes
from runyard.identity.model import Scope
from runyard.identity.scoping import scoped
from runyard.infrastructure.plans.model import Subject
from runyard.infrastructure.plans.patches import FilePatch, read_patches
from runyard.infrastructure.plans.store import packed, unpacked
from runyard.infrastructure.plans.tables import changed_files
from runyard.kernel.clock import Now, utc_now

MAX_FILES: Final = 3000
"""Files kept of one run; the rest of a larger change is left out."""
MAX_CONTENT: Final = 256 << 10
"""Bytes of a file above which its content is not kept."""
_BATCH: Final = 100
_f = changed_files.c


class ChangedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the commit of a run changed."""

    path: str
    folder: str
    """The path above the name; empty at the top."""
    name: str
    status: str
    """`added`, `modified`, `removed` or `renamed`."""
    previous_path: str = ""
    additions: int = 0
    deletions: int = 0
    size: int | None = None
    """Bytes after the change; None when it is gone or was not read."""
    binary: bool = False
    patch: str = ""
    content: str | None = None
    """None for a file that is gone, binary, or larger than 256 KiB."""


class ChangedFileService:
    """The changed files of all runs."""

    def __init__(self, database: Database, retention: timedelta | None = None, now: Now = utc_now) -> None:
        """Keep them in a database; None as the retention keeps them for ever."""
        self._database = database
        self._retention = retention
        self._now = now

    async def keep(
        self, subject: Subject, diff: bytes, checkout: Path | None = None, secrets: Sequence[str] = ()
    ) -> int:
        """Keep the files of a `git diff` for a run, in the place of those that it had; return how many. Contents are
        read from `checkout`, the folder that the paths are relative to. `secrets` are hidden in patches and contents.
        """
        hidden = [secret.encode("utf-8", "replace") for secret in secrets]
        rows = await asyncio.to_thread(self._rows, subject, diff, checkout, hidden)
        async with self._database.transaction() as tx:
            await tx.execute(delete(changed_files).where(_f.run_id == subject.run_id))
            for start in range(0, len(rows), _BATCH):
                await tx.execute(insert(changed_files), rows[start : start + _BATCH])
        return len(rows)

    def _rows(
        self, subject: Subject, diff: bytes, checkout: Path | None, hidden: Sequence[bytes]
    ) -> list[dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for patch in read_patches(diff):
            if len(rows) >= MAX_FILES:
                break
            rows[patch.path[:4096]] = self._row(subject, patch, checkout, hidden)
        ordered = sorted(rows.values(), key=lambda row: (row["folder"], row["name"]))
        return [{**row, "number": number} for number, row in enumerate(ordered)]

    def _row(
        self, subject: Subject, patch: FilePatch, checkout: Path | None, hidden: Sequence[bytes]
    ) -> dict[str, Any]:
        content = size = None
        if checkout is not None and patch.status != "removed":
            content, size = read_beneath(checkout, patch.path)
        binary = patch.binary or (content is not None and b"\0" in content)
        folder, _, name = patch.path.rpartition("/")
        kept = None if content is None or binary else packed(mask_bytes(content, hidden))
        return {
            "run_id": subject.run_id,
            "path": patch.path[:4096],
            "workspace_id": subject.workspace_id,
            "account_id": subject.account_id,
            "project_path": subject.project_path,
            "folder": folder[:4096],
            "name": name[:1024],
            "status": patch.status,
            "previous_path": patch.previous_path[:4096],
            "additions": patch.additions,
            "deletions": patch.deletions,
            "size": size,
            "binary": binary,
            "patch": packed(mask_bytes(patch.patch, hidden)),
            "content": kept,
            "created_at": self._now(),
        }

    async def page(
        self, scope: Scope, run_id: str, *, search: str = "", offset: int = 0, limit: int = 25
    ) -> Mapping[str, Sequence[ChangedFile]]:
        """List the changed files of a run by folder; pages count files, in the order of their paths. `search` is a part
        of the path in any case. A run of which nothing is known has none.
        """
        statement = scoped(select(changed_files), changed_files, scope).where(_f.run_id == run_id)
        if search:
            statement = statement.where(func.lower(_f.path).contains(search.lower(), autoescape=True))
        statement = statement.order_by(_f.number).offset(offset).limit(limit)
        async with self._database.read() as tx:
            rows = await tx.all(statement)
        folders: dict[str, list[ChangedFile]] = {}
        for row in rows:
            folders.setdefault(row.folder, []).append(_file(row))
        return folders

    async def forget_old(self) -> int:
        """Remove files beyond their retention; return how many."""
        if self._retention is None:
            return 0
        async with self._database.transaction() as tx:
            old = delete(changed_files).where(_f.created_at < self._now() - self._retention)
            return (await tx.execute(old)).rowcount


def read_beneath(root: Path, path: str) -> tuple[bytes | None, int | None]:
    """Return content and size of a regular file below a folder, following no link. The content of a large file is not
    read; both are None when there is no such file.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return None, None
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    opened: list[int] = []
    try:
        opened.append(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for part in parts[:-1]:
            opened.append(os.open(part, flags | os.O_DIRECTORY, dir_fd=opened[-1]))
        opened.append(os.open(parts[-1], flags, dir_fd=opened[-1]))
        found = os.fstat(opened[-1])
        if not stat.S_ISREG(found.st_mode):
            return None, None
        if found.st_size > MAX_CONTENT:
            return None, found.st_size
        with open(opened[-1], "rb", closefd=False) as file:
            return file.read(MAX_CONTENT), found.st_size
    except (OSError, ValueError):
        return None, None
    finally:
        for fd in opened:
            os.close(fd)


def _file(row: Row[Any]) -> ChangedFile:
    content = None if row.content is None else unpacked(row.content).decode("utf-8", "replace")
    return ChangedFile(
        path=row.path,
        folder=row.folder,
        name=row.name,
        status=row.status,
        previous_path=row.previous_path,
        additions=row.additions,
        deletions=row.deletions,
        size=row.size,
        binary=row.binary,
        patch=unpacked(row.patch).decode("utf-8", "replace"),
        content=content,
    )
