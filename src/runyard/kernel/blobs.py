"""Blobs by content. Owns a folder of immutable files named by their SHA-256; knows nothing of who refers to them."""

import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from runyard.kernel.clock import utc_now
from runyard.kernel.errors import InvalidArgument, NotFound, TooLarge

_HEX = frozenset("0123456789abcdef")


class BlobStore:
    """Stores byte strings once each; a file appears whole or not at all."""

    def __init__(self, root: Path) -> None:
        """Use a folder, made when missing; what a killed process left half-written is removed."""
        self._root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in root.glob(".incoming.*"):
            left.unlink(missing_ok=True)

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest; storing them again costs one look."""
        digest = hashlib.sha256(data).hexdigest()
        if self._path(digest).exists():
            return digest
        with self.receive() as incoming:
            incoming.write(data)
            return incoming.keep()

    def receive(self) -> "Incoming":
        """Begin to store bytes that come in pieces; use as a context manager, and call `keep` at the end."""
        return Incoming(self._root, self._path)

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading. Raises NotFound."""
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError:
            raise NotFound(f"there is no blob {digest}") from None

    def get(self, digest: str) -> bytes:
        """Return the bytes of a digest. Raises NotFound."""
        try:
            return self._path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"there is no blob {digest}") from None

    def size(self, digest: str) -> int:
        """Return the length of a blob in bytes. Raises NotFound."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            raise NotFound(f"there is no blob {digest}") from None

    def delete(self, digest: str) -> None:
        """Delete a blob; idempotent."""
        self._path(digest).unlink(missing_ok=True)

    def digests(self, older_secs: float = 0) -> Iterator[str]:
        """Yield the digests of all blobs that are older than so many seconds, in no order."""
        until = utc_now().timestamp() - older_secs
        for path in self._root.glob("??/*"):
            if len(path.name) == 64 and _HEX.issuperset(path.name) and path.stat().st_mtime <= until:
                yield path.name

    def _path(self, digest: str) -> Path:
        if len(digest) != 64 or not _HEX.issuperset(digest):
            raise InvalidArgument("a blob is named by 64 hexadecimal digits")
        return self._root / digest[:2] / digest


class Incoming:
    """Bytes on their way into a store. What is not kept by the end of the context is removed."""

    def __init__(self, root: Path, path_of: Callable[[str], Path]) -> None:
        """Made by the store."""
        self._path_of = path_of
        self._temporary = root / f".incoming.{secrets.token_hex(8)}"
        self._hash = hashlib.sha256()
        self._fd = -1
        self.size = 0

    def __enter__(self) -> Self:
        """Open the file."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(self._temporary, flags, 0o600)
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the file, and remove it unless it was kept."""
        os.close(self._fd)
        self._temporary.unlink(missing_ok=True)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of what has come so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Append a piece."""
        self._hash.update(data)
        view = memoryview(data)
        while view:
            # At a place, not at the end: a reader shares the position.
            written = os.pwrite(self._fd, view, self.size)
            self.size, view = self.size + written, view[written:]

    async def take(self, body: AsyncIterator[bytes], limit: int, what: str) -> None:
        """Append a body as it comes. Raises TooLarge, which names what it was to be, before anything beyond the limit."""
        async for piece in body:
            if self.size + len(piece) > limit:
                raise TooLarge(f"{what} has at most {limit} bytes", limit=limit)
            self.write(piece)

    def reader(self) -> BinaryIO:
        """Return what has come so far for reading from its start, e.g. to check it before it is kept."""
        reader = os.fdopen(os.dup(self._fd), "rb")
        reader.seek(0)
        return reader

    def keep(self) -> str:
        """Make it a blob and return its digest; the file is on disk when this returns."""
        os.fsync(self._fd)
        path = self._path_of(self.digest)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        os.replace(self._temporary, path)
        return self.digest
