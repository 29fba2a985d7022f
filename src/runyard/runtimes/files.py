"""Reading and writing one file of a runtime, in pieces, with flat memory. The engine resolves the path inside."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runyard.kernel.errors import InvalidArgument
from runyard.runtimes.errors import NoSpace
from runyard.runtimes.isolation.engine import OpenFile, OpenMode
from runyard.runtimes.resident import Resident
from runyard.runtimes.supervisor import Supervisor

HOME = "/root"
PATH_LIMIT = 4096
NAME_LIMIT = 255
CHUNK = 1 << 20
INLINE = 256 << 10
"""Up to this size the event loop does the work itself: a change of threads costs more."""


def inside(path: str) -> str:
    """Return the absolute path inside for what a caller wrote: relative ones begin at home. Raises InvalidArgument."""
    if not path or "\0" in path:
        raise InvalidArgument("path must be a non-empty path without NUL")
    full = path if path.startswith("/") else f"{HOME}/{path}"
    try:
        raw = full.encode()
    except UnicodeEncodeError:
        raise InvalidArgument("path must be valid Unicode") from None
    if len(raw) >= PATH_LIMIT or any(len(part) > NAME_LIMIT for part in raw.split(b"/")):
        raise InvalidArgument(f"path must be below {PATH_LIMIT} bytes, each name at most {NAME_LIMIT}")
    return full


class FileReader:
    """An open file of a runtime; `size` is what it will give, whatever is appended meanwhile."""

    def __init__(self, opened: OpenFile) -> None:
        """Own the descriptor until `close`."""
        self._fd = opened.fd
        self.size = opened.size

    async def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the content in pieces of at most 1 MiB. Raises InvalidArgument when the file shrinks."""
        offset = 0
        while offset < self.size:
            wanted = min(CHUNK, self.size - offset)
            if self.size <= INLINE:
                data = os.pread(self._fd, wanted, offset)
            else:
                data = await asyncio.to_thread(os.pread, self._fd, wanted, offset)
            if not data:
                raise InvalidArgument("the file was cut off while it was read")
            offset += len(data)
            yield data

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


class FileWriter:
    """A file being written beside its path; nobody sees it before `publish`."""

    def __init__(self, opened: OpenFile) -> None:
        """Own the descriptor until `publish` or `discard`."""
        self._fd = opened.fd
        self._publication = opened.publication
        self._pending: list[bytes] = []
        self._size = 0

    async def write(self, data: bytes) -> None:
        """Take bytes; they go to the file in pieces of about 1 MiB. Raises NoSpace."""
        if not data:
            return
        self._pending.append(data)
        self._size += len(data)
        if self._size >= CHUNK:
            await asyncio.to_thread(self._flush)

    def _flush(self) -> None:
        pending, self._pending, self._size = self._pending, [], 0
        view = memoryview(b"".join(pending))
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace from None
            raise

    async def publish(self) -> None:
        """Rename the complete file over its path."""
        if self._size > INLINE:
            await asyncio.to_thread(self._flush)
        else:
            self._flush()
        os.close(self._fd)
        self._fd = -1
        if self._publication is not None:
            publication, self._publication = self._publication, None
            await publication.publish()

    async def discard(self) -> None:
        """Remove what was written, unless it is published; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._publication is not None:
            publication, self._publication = self._publication, None
            await publication.discard()


class FileService:
    """Opens files of runtimes; each use counts as traffic."""

    def __init__(self, supervisor: Supervisor) -> None:
        """Take the parts."""
        self._supervisor = supervisor

    @asynccontextmanager
    async def reading(self, resident: Resident, path: str) -> AsyncIterator[FileReader]:
        """Open a regular file. Raises NotFound, InvalidArgument, NotRunning, SandboxGone."""
        full = inside(path)
        with resident.use():
            sandbox = await self._supervisor.ready(resident)
            reader = FileReader(await sandbox.open_file(full, OpenMode.READ))
            try:
                yield reader
            finally:
                reader.close()

    @asynccontextmanager
    async def writing(self, resident: Resident, path: str) -> AsyncIterator[FileWriter]:
        """Begin a file; leaving the context without `publish` discards it. Raises as `reading`."""
        full = inside(path)
        with resident.use():
            sandbox = await self._supervisor.ready(resident)
            writer = FileWriter(await sandbox.open_file(full, OpenMode.CREATE))
            try:
                yield writer
            finally:
                await writer.discard()
