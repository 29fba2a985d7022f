"""The bytes of states, packed and sealed. Owns the folder of blobs; no byte of a state reaches the disk in the clear.

A blob is written whole and synced before any row names it, so that a version which exists can always be read. What no
row names is garbage of a write that was cut short, and swept after a while.
"""

import asyncio
import zlib
from collections.abc import Sequence

from runyard.kernel.blobs import BlobStore
from runyard.kernel.crypto import CannotUnseal, Vault

_LEVEL = 1
"""States are repetitive text: the fastest level already makes them a tenth."""


class SealedFiles:
    """Seals and opens byte strings of one kind; work runs in threads, a few at once, so that memory stays bounded."""

    def __init__(self, blobs: BlobStore, vault: Vault, kind: str, at_once: int = 2) -> None:
        """Use a folder of blobs. `kind` is authenticated with each, so that one kind never passes for another."""
        self._blobs = blobs
        self._vault = vault
        self._kind = kind
        self._turns = asyncio.Semaphore(at_once)

    async def put(self, name: str, body: bytes) -> str:
        """Store bytes under the name of what they belong to, and return the digest of the blob."""
        async with self._turns:
            return await asyncio.to_thread(self._put, name, body)

    def _put(self, name: str, body: bytes) -> str:
        return self._blobs.put(self._vault.seal(zlib.compress(body, _LEVEL), self._context(name)))

    async def get(self, name: str, digest: str) -> bytes:
        """Return the bytes. Raises CannotUnseal."""
        async with self._turns:
            return await asyncio.to_thread(self._get, name, digest)

    def _get(self, name: str, digest: str) -> bytes:
        try:
            return zlib.decompress(self._vault.open(self._blobs.get(digest), self._context(name)))
        except zlib.error:
            raise CannotUnseal("a stored file is damaged") from None

    async def reseal(self, name: str, digest: str) -> str | None:
        """Seal a blob again when its key is an old one; return the new digest, None when nothing was to do."""

        def work() -> str | None:
            sealed = self._blobs.get(digest)
            if not self._vault.needs_reseal(sealed):
                return None
            return self._blobs.put(self._vault.reseal(sealed, self._context(name)))

        async with self._turns:
            return await asyncio.to_thread(work)

    def delete(self, digest: str) -> None:
        """Remove a blob that no row names any more."""
        self._blobs.delete(digest)

    async def listed(self, older_secs: float) -> Sequence[str]:
        """Return the digests of all blobs that were written so long ago."""
        return await asyncio.to_thread(lambda: list(self._blobs.digests(older_secs)))

    def _context(self, name: str) -> bytes:
        return f"{self._kind}:{name}".encode()
