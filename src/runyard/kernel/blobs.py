"""Blobs by content. Owns a folder of immutable files named by their SHA-256; knows nothing of who refers to them."""

import hashlib
import os
import secrets
from pathlib import Path

from runyard.kernel.errors import InvalidArgument, NotFound

_HEX = frozenset("0123456789abcdef")


class BlobStore:
    """Stores byte strings once each; a file appears whole or not at all."""

    def __init__(self, root: Path) -> None:
        """Use a folder, made when missing."""
        self._root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest; storing them again costs one look."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if path.exists():
            return digest
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{digest}.{secrets.token_hex(4)}")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
        return digest

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

    def _path(self, digest: str) -> Path:
        if len(digest) != 64 or not _HEX.issuperset(digest):
            raise InvalidArgument("a blob is named by 64 hexadecimal digits")
        return self._root / digest[:2] / digest
