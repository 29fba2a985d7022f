"""Who was authenticated a moment ago. Owns the bounded memory that spares the database most requests, and when it is dropped."""

import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from runyard.identity.model import Principal
from runyard.kernel.clock import monotonic

_MOST: Final = 10_000
_FRESH_SECONDS: Final = 30.0
"""How long another server process on the same database may honour a token that this one revoked."""


@dataclass(slots=True)
class _Cached:
    principal: Principal
    digest: bytes
    expires_at: datetime | None
    stale_after: float


class Remembered:
    """The callers of secrets, by the digests of these."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._entries: OrderedDict[bytes, _Cached] = OrderedDict()
        self._drops = 0

    @property
    def mark(self) -> int:
        """Return what changes whenever somebody is dropped; take it before the database is read."""
        return self._drops

    def find(self, digest: bytes, now: datetime) -> Principal | None:
        """Return who is known and still fresh."""
        found = self._entries.get(digest)
        if found is None or found.stale_after < monotonic() or not hmac.compare_digest(found.digest, digest):
            return None
        return None if found.expires_at is not None and found.expires_at <= now else found.principal

    def add(self, digest: bytes, principal: Principal, expires_at: datetime | None, mark: int) -> None:
        """Remember somebody, unless anybody was dropped since the mark: this one may have been revoked after it was
        read, and would live on here.
        """
        if mark != self._drops:
            return
        self._entries[digest] = _Cached(principal, digest, expires_at, monotonic() + _FRESH_SECONDS)
        self._entries.move_to_end(digest)
        while len(self._entries) > _MOST:
            self._entries.popitem(last=False)

    def remove(self, digest: bytes) -> None:
        """Drop one secret."""
        self._entries.pop(digest, None)

    def drop(self, concerned: Callable[[Principal], bool]) -> None:
        """Drop everybody whom it concerns."""
        self._drops += 1
        self._entries = OrderedDict(
            (digest, entry) for digest, entry in self._entries.items() if not concerned(entry.principal)
        )
