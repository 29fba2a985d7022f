"""The bytes of states, packed and sealed. Owns the folder of blobs; no byte of a state reaches the disk in the clear.

A file is a row of frames, each a packed and sealed piece of up to a MiB, so that a state of any size goes in and out in
flat memory. The place of a frame and whether it is the last are authenticated with it: nothing can be cut off, moved, or
passed for another file. A file is written whole and synced before any row names it, so a version that exists can be read.
What no row names is garbage of a write that was cut short, and swept after a while.
"""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import BinaryIO, Final, TypeVar

from runyard.kernel.blobs import BlobStore, Incoming
from runyard.kernel.crypto import CannotUnseal, Vault

FRAME_BYTES: Final = 1 << 20
_LEVEL: Final = 1
"""States are repetitive text: the fastest level already makes them a tenth."""
_LENGTH: Final = struct.Struct(">I")
_LONGEST_FRAME: Final = 2 * FRAME_BYTES
T = TypeVar("T")


class SealedFiles:
    """Seals and opens files of one kind. Long work runs in threads; whole files are read a few at once."""

    def __init__(self, blobs: BlobStore, vault: Vault, kind: str, at_once: int = 2) -> None:
        """Use a folder of blobs. `kind` is authenticated with each, so that one kind never passes for another."""
        self._blobs = blobs
        self._vault = vault
        self._kind = kind
        self._turns = asyncio.Semaphore(at_once)

    async def receive(self, name: str, body: AsyncIterator[bytes], incoming: Incoming) -> int:
        """Seal bytes as they come under the name of what they belong to; return how many there were. The caller decides
        whether `incoming` is kept.
        """
        buffer, index, size = bytearray(), 0, 0
        async for piece in body:
            buffer += piece
            size += len(piece)
            while len(buffer) > FRAME_BYTES:
                frame = bytes(buffer[:FRAME_BYTES])
                del buffer[:FRAME_BYTES]
                incoming.write(await asyncio.to_thread(self._sealed, name, index, frame, last=False))
                index += 1
        incoming.write(self._sealed(name, index, bytes(buffer), last=True))
        return size

    def incoming(self) -> Incoming:
        """Begin a file; a context manager."""
        return self._blobs.receive()

    async def keep(self, incoming: Incoming) -> str:
        """Make a received file last and return its digest."""
        return await asyncio.to_thread(incoming.keep)

    async def look(self, name: str, incoming: Incoming, work: Callable[[bytes], T]) -> T:
        """Do some work on the whole of a file that was received."""

        def run() -> T:
            with incoming.reader() as source:
                return work(b"".join(self._opened(name, source)))

        async with self._turns:
            return await asyncio.to_thread(run)

    async def read(self, name: str, digest: str, work: Callable[[bytes], T]) -> T:
        """Do some work on the whole of a stored file. Raises CannotUnseal."""

        def run() -> T:
            with self._blobs.open(digest) as source:
                return work(b"".join(self._opened(name, source)))

        async with self._turns:
            return await asyncio.to_thread(run)

    async def stream(self, name: str, digest: str) -> AsyncIterator[bytes]:
        """Yield a stored file piece by piece. Raises CannotUnseal."""
        with self._blobs.open(digest) as source:
            frames = self._opened(name, source)
            while True:
                piece = await asyncio.to_thread(next, frames, None)
                if piece is None:
                    return
                yield piece

    async def reseal(self, name: str, digest: str) -> str | None:
        """Seal a file again when its key is an old one; return the new digest, None when nothing was to do."""
        async with self._turns:
            return await asyncio.to_thread(self._resealed, name, digest)

    def _resealed(self, name: str, digest: str) -> str | None:
        with self._blobs.open(digest) as source, self._blobs.receive() as incoming:
            for index, (sealed, last) in enumerate(_frames(source)):
                if index == 0 and not self._vault.needs_reseal(sealed):
                    return None
                again = self._vault.reseal(sealed, self._context(name, index, last=last))
                incoming.write(_LENGTH.pack(len(again)) + again)
            return incoming.keep()

    def delete(self, digest: str) -> None:
        """Remove a file that no row names any more."""
        self._blobs.delete(digest)

    async def listed(self, older_secs: float) -> Sequence[str]:
        """Return the digests of all files that were written so long ago."""
        return await asyncio.to_thread(lambda: list(self._blobs.digests(older_secs)))

    def _sealed(self, name: str, index: int, piece: bytes, *, last: bool) -> bytes:
        packed = zlib.compress(piece, _LEVEL)
        sealed = self._vault.seal(packed, self._context(name, index, last=last))
        return _LENGTH.pack(len(sealed)) + sealed

    def _opened(self, name: str, source: BinaryIO) -> Iterator[bytes]:
        for index, (sealed, last) in enumerate(_frames(source)):
            packed = self._vault.open(sealed, self._context(name, index, last=last))
            try:
                yield zlib.decompress(packed)
            except zlib.error:
                raise CannotUnseal("a stored file is damaged") from None

    def _context(self, name: str, index: int, *, last: bool) -> bytes:
        return f"{self._kind}:{name}:{index}:{'last' if last else 'more'}".encode()


def _frames(source: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Yield the sealed frames of a file and whether each is the last. Raises CannotUnseal."""
    head = source.read(_LENGTH.size)
    while True:
        if len(head) != _LENGTH.size:
            raise CannotUnseal("a stored file is cut short")
        (length,) = _LENGTH.unpack(head)
        sealed = source.read(length) if length <= _LONGEST_FRAME else b""
        if len(sealed) != length:
            raise CannotUnseal("a stored file is cut short")
        head = source.read(_LENGTH.size)
        yield sealed, not head
        if not head:
            return
