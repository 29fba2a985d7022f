"""How a token comes to be: its secret, its row, and for whom one may be made at all. Decides nothing about callers' roles."""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from runyard.database.engine import Transaction
from runyard.identity import store
from runyard.identity.model import ALL_PERMISSIONS, Permission, Principal, Project, Token, User
from runyard.identity.scoping import is_whole_account
from runyard.kernel.errors import PermissionDenied
from runyard.kernel.ids import ProjectId, TokenId

TOKEN_PREFIX: Final = "ry_"


@dataclass(frozen=True, slots=True)
class NewToken:
    """What a token shall be. `expires_in` None means that it does not expire."""

    name: str
    permissions: Collection[Permission] = ALL_PERMISSIONS
    project_id: ProjectId | None = None
    expires_in: timedelta | None = None
    user_name: str | None = None
    """A user of the account; None means the caller."""
    secret: str | None = None
    """A secret that a dialect made in its own form, from at least 128 random bits; None makes one."""


async def add_token(
    tx: Transaction, user: User, project: Project, new: NewToken, secret: str, now: datetime
) -> Token:
    """Write a token of a user at a project; only a hash of its secret is kept."""
    token = Token(
        id=TokenId.new(),
        account_id=user.account_id,
        user_id=user.id,
        project_id=project.id,
        name=new.name,
        prefix=secret[:7] if secret.startswith(TOKEN_PREFIX) else "",
        permissions=tuple(sorted(new.permissions)),
        created_at=now,
        expires_at=None if new.expires_in is None else now + new.expires_in,
    )
    await store.insert_token(tx, token, digest_of(secret))
    return token


def refuse_passing(caller: Principal) -> None:
    """Refuse a token that will end: what it makes would outlive it. Raises PermissionDenied."""
    if caller.passing:
        raise PermissionDenied("a token that was made for a run cannot make tokens")


async def require_within(tx: Transaction, caller: Principal, user: User) -> None:
    """Refuse a token of somebody who is more than a member of the caller's own part of the tree: with it the administrator
    of one project would have what another user has elsewhere, such as its secrets. Raises PermissionDenied.
    """
    if is_whole_account(caller.scope):
        return
    paths = [path for path, _ in await store.roles_of(tx, user.id)]
    if not paths or not all(path.startswith(caller.scope.project_path) for path in paths):
        raise PermissionDenied(
            f"the user {user.name!r} is not only a member of this project and what is below it: an administrator of the "
            "whole account may make a token for it"
        )


def new_secret() -> str:
    """Return a secret that nobody has."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    """Hash a secret. Tokens made here have 256 random bits, so one plain SHA-256 is enough (and fast)."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
