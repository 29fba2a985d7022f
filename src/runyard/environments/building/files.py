"""Puts files into a sandbox. Owns the writing of one file after the other through the engine's port."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

from runyard.environments.building.context import Entry
from runyard.environments.errors import ProvisionFailed
from runyard.kernel.errors import RunyardError, TooLarge
from runyard.runtimes.isolation.engine import OpenMode, Sandbox

_PIECE: Final = 1 << 20


async def put_entries(sandbox: Sandbox, entries: Iterable[Entry]) -> None:
    """Write files and folders, with root as their owner. Raises ProvisionFailed, SandboxGone, InvalidArgument."""
    folders: list[str] = []
    files: list[Entry] = []
    for entry in entries:
        if entry.folder:
            folders.append(entry.target)
        else:
            files.append(entry)
    await make_folders(sandbox, folders)
    for entry in files:
        await put_file(sandbox, entry.target, entry.source, entry.mode)


async def make_folders(sandbox: Sandbox, folders: Iterable[str]) -> None:
    """Make folders with their parents, without any program of the sandbox. Raises InvalidArgument, SandboxGone."""
    for folder in folders:
        # A file that is begun and given up leaves the folders that were made for it.
        opened = await sandbox.open_file(f"{folder.rstrip('/')}/.runyard", OpenMode.CREATE)
        os.close(opened.fd)
        if opened.publication is not None:
            await opened.publication.discard()


async def put_file(sandbox: Sandbox, target: str, source: Path, mode: int) -> None:
    """Copy a file of this host into a sandbox. Raises ProvisionFailed (no room), InvalidArgument, SandboxGone."""
    with source.open("rb") as file:
        await put_content(sandbox, target, file, mode)


async def put_content(sandbox: Sandbox, target: str, content: IO[bytes], mode: int) -> None:
    """Write what a file object gives into a file of a sandbox. Raises as `put_file`."""
    opened = await sandbox.open_file(target, OpenMode.CREATE)
    publication = opened.publication
    try:
        await asyncio.to_thread(_copy, content, opened.fd, mode)
    except BaseException as error:
        if publication is not None:
            with contextlib.suppress(RunyardError):
                await publication.discard()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ProvisionFailed(f"there is no room for {target}") from None
        raise
    finally:
        os.close(opened.fd)
    if publication is not None:
        await publication.publish()


async def read_file(sandbox: Sandbox, path: str, limit: int) -> bytes:
    """Return the content of a regular file. Raises NotFound, InvalidArgument, TooLarge, SandboxGone."""
    opened = await sandbox.open_file(path, OpenMode.READ)
    try:
        if opened.size > limit:
            raise TooLarge(f"{path} holds more than {limit} bytes")
        return await asyncio.to_thread(_read, opened.fd, limit)
    finally:
        os.close(opened.fd)


def _read(fd: int, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    while left > 0 and (data := os.read(fd, min(_PIECE, left))):
        parts.append(data)
        left -= len(data)
    return b"".join(parts)


def _copy(source: IO[bytes], target: int, mode: int) -> None:
    while data := source.read(_PIECE):
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
    os.fchmod(target, mode)
