"""Tokens that live as long as something runs. Owns their secrets in memory; what they allow is the service's to work out.

They are never written down: they end with what they were made for, and at the latest with the server that runs it.
"""

import secrets
from dataclasses import dataclass

from runyard.identity.model import Permission, Scope
from runyard.kernel.ids import UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class PassingGrant:
    """On whose behalf something runs."""

    scope: Scope
    user_name: str
    """Whose rights count, if there is such a user."""
    asker_id: UserId
    """Who asked for it; the one whose rights count where `user_name` is no user."""
    scopes: frozenset[Permission]
    """What the token of the one who asked allowed: never more than that."""


class PassingTokens:
    """The living ones, by the digest of their secret."""

    def __init__(self) -> None:
        """Start with none."""
        self._grants: dict[bytes, PassingGrant] = {}

    def find(self, digest: bytes) -> PassingGrant | None:
        """Return what a secret stands for."""
        return self._grants.get(digest)

    def add(self, digest: bytes, grant: PassingGrant) -> None:
        """Begin one."""
        self._grants[digest] = grant

    def remove(self, digest: bytes) -> None:
        """End one."""
        self._grants.pop(digest, None)


def new_passing_secret() -> str:
    """Return a secret in the form that the clients of packs know: 32 hexadecimal digits."""
    return secrets.token_hex(16)
