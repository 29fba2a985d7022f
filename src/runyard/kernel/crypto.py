"""Sealing of secrets. Owns the key ring file and the sealed format; knows nothing of what is sealed.

AES-256-GCM with a random 96-bit nonce. A sealed value is `1 | key id (4 bytes) | nonce (12) | ciphertext and tag`;
the context (for example `secret:<id>`) is authenticated, so a value cannot be moved to another row.
"""

import base64
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from runyard.kernel.errors import RunyardError

_VERSION = 1
_HEADER = 1 + 4
_NONCE = 12


class CannotUnseal(RunyardError):
    """A stored secret cannot be opened: its key is missing, or the value was changed."""

    code = "cannot_unseal"


class KeyRingBroken(RunyardError):
    """The key ring file cannot be used."""

    code = "key_ring_broken"


class Vault:
    """Seals and opens values with a ring of keys: the first seals, all of them open."""

    def __init__(self, path: Path) -> None:
        """Read the key ring, or make it (mode 0600) when there is none. Raises KeyRingBroken."""
        self._path = path
        self._keys: dict[bytes, AESGCM] = {}
        self._texts: list[tuple[str, str]] = []
        if path.exists():
            self._load()
        else:
            self._texts = [_new_key()]
            self._save()
            self._index()

    @property
    def current_key(self) -> str:
        """Return the id of the key that seals now, as hex."""
        return self._texts[0][0]

    def seal(self, value: bytes, context: bytes) -> bytes:
        """Return the sealed value; `context` must be given again to open it."""
        key_id = bytes.fromhex(self.current_key)
        nonce = secrets.token_bytes(_NONCE)
        head = bytes((_VERSION,)) + key_id
        return head + nonce + self._keys[key_id].encrypt(nonce, value, head + context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Return the value. Raises CannotUnseal when key, context or value do not fit."""
        key = self._keys.get(sealed[1:_HEADER])
        if key is None or sealed[0] != _VERSION or len(sealed) < _HEADER + _NONCE:
            raise CannotUnseal
        nonce, body = sealed[_HEADER : _HEADER + _NONCE], sealed[_HEADER + _NONCE :]
        try:
            return key.decrypt(nonce, body, sealed[:_HEADER] + context)
        except InvalidTag:
            raise CannotUnseal from None

    def needs_reseal(self, sealed: bytes) -> bool:
        """Tell whether a value was sealed with an older key."""
        return sealed[1:_HEADER] != bytes.fromhex(self.current_key)

    def reseal(self, sealed: bytes, context: bytes) -> bytes:
        """Return the value sealed with the current key."""
        return self.seal(self.open(sealed, context), context)

    def derived(self, context: bytes) -> Mapping[str, bytes]:
        """Return a key of 32 bytes for another purpose from each key of the ring, by its id, the current one first."""
        return {
            name: hmac.digest(base64.b64decode(key), b"derived:" + context, "sha256")
            for name, key in self._texts
        }

    def rotate(self) -> str:
        """Put a new key first and return its id; older keys stay, so that everything still opens.
        The owner of each table then walks its rows with `needs_reseal` and `reseal`, and calls `forget_old`.
        """
        self._texts.insert(0, _new_key())
        self._save()
        self._index()
        return self.current_key

    def forget_old(self) -> None:
        """Drop all keys but the current one; call it only when every row was sealed again."""
        del self._texts[1:]
        self._save()
        self._index()

    def _load(self) -> None:
        mode = self._path.stat().st_mode & 0o777
        if mode & 0o077:
            raise KeyRingBroken(
                f"the key ring {self._path} can be read by others (mode {mode:o}); run chmod 600 on it"
            )
        try:
            document = json.loads(self._path.read_bytes())
            self._texts = [(str(entry["id"]), str(entry["key"])) for entry in document["keys"]]
            self._index()
        except (ValueError, KeyError, TypeError):
            raise KeyRingBroken(f"the key ring {self._path} is not valid") from None
        if not self._texts:
            raise KeyRingBroken(f"the key ring {self._path} has no key")

    def _index(self) -> None:
        self._keys = {
            bytes.fromhex(name): AESGCM(base64.b64decode(key, validate=True)) for name, key in self._texts
        }

    def _save(self) -> None:
        """Replace the file as a whole and reach the disk first: a lost key is every secret lost."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        document = {"keys": [{"id": name, "key": key} for name, key in self._texts]}
        temporary = self._path.with_name(self._path.name + ".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, 0o600)
            os.write(fd, json.dumps(document).encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _new_key() -> tuple[str, str]:
    return secrets.token_hex(4), base64.b64encode(secrets.token_bytes(32)).decode()
