"""Removal of old logs. Owns what goes first and how much at once; the ledger's rows stay and say that output is gone.

Works on packs and on the folders of single logs, both named by time, so memory does not grow with the number of
logs. Every step removes a bounded number of files in a thread; open logs are never touched.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

_STEP_FILES = 500


class SweepReport(msgspec.Struct):
    """What a sweep removed and left."""

    removed_files: int = 0
    removed_bytes: int = 0
    kept_bytes: int = 0


class _Unit(msgspec.Struct):
    """A pack, or a folder of single logs."""

    born: int
    """Seconds since 1970."""
    path: Path
    size: int


class Sweeper:
    """Removes logs below one folder by age and by total size."""

    def __init__(self, root: Path, is_open: Callable[[str], bool]) -> None:
        """Use the folder of the output log; `is_open` tells of an execution whose log grows, or of a pack."""
        self._root = root
        self._is_open = is_open

    async def sweep(self, *, older_than: datetime | None, max_bytes: int | None) -> SweepReport:
        """Remove what ended before `older_than`, then the oldest until `max_bytes` are left."""
        report = SweepReport()
        units = await asyncio.to_thread(self._units)
        total = sum(unit.size for unit in units)
        if older_than is not None:
            cutoff = older_than.timestamp()
            for unit in units:
                if unit.born <= cutoff:
                    await self._empty(unit, cutoff, None, report)
        if max_bytes is not None:
            for unit in units:
                surplus = total - report.removed_bytes - max_bytes
                if surplus <= 0:
                    break
                await self._empty(unit, None, surplus, report)
        report.kept_bytes = total - report.removed_bytes
        return report

    async def _empty(
        self, unit: _Unit, cutoff: float | None, surplus: int | None, report: SweepReport
    ) -> None:
        """Remove a unit's files step by step."""
        while True:
            files, size = await asyncio.to_thread(self._step, unit, cutoff, surplus)
            report.removed_files += files
            report.removed_bytes += size
            if surplus is not None:
                surplus -= size
            if files < _STEP_FILES or (surplus is not None and surplus <= 0):
                return

    def _units(self) -> list[_Unit]:
        found = [
            _Unit(_hex(entry.name) // 1_000_000, Path(entry.path), entry.stat().st_size)
            for entry in _entries(self._root / "packs")
        ]
        for entry in _entries(self._root / "files"):
            size = sum(file.stat().st_size for file in _entries(Path(entry.path)))
            found.append(_Unit(_hex(entry.name) << 12, Path(entry.path), size))
        return sorted(found, key=lambda unit: unit.born)

    def _step(self, unit: _Unit, cutoff: float | None, surplus: int | None) -> tuple[int, int]:
        """Remove at most `_STEP_FILES` files, whole logs, and the folder when it is empty."""
        if unit.path.is_file():
            return self._remove_pack(unit, cutoff)
        removed = size = 0
        for entry in sorted(_entries(unit.path), key=lambda entry: entry.name):
            if removed >= _STEP_FILES or (
                surplus is not None and size >= surplus and entry.name.endswith(".idx")
            ):
                return removed, size
            try:
                seen = entry.stat()
                kept = self._is_open(entry.name[:24]) or (cutoff is not None and seen.st_mtime >= cutoff)
                if not kept:
                    os.unlink(entry.path)
                    removed += 1
                    size += seen.st_size
            except FileNotFoundError:
                continue
        _remove_if_empty(unit.path)
        return removed, size

    def _remove_pack(self, unit: _Unit, cutoff: float | None) -> tuple[int, int]:
        try:
            seen = unit.path.stat()
        except FileNotFoundError:
            return 0, 0
        if self._is_open(unit.path.name) or (cutoff is not None and seen.st_mtime >= cutoff):
            return 0, 0
        unit.path.unlink(missing_ok=True)
        return 1, seen.st_size


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return


def _hex(name: str) -> int:
    try:
        return int(name, 16)
    except ValueError:
        return 0


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # another log has begun in it, or one is kept
