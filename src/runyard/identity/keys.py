"""Verbs of user keys: long-lived tokens that a user makes for itself, narrowed to a part of the tree or to scopes.

Owns what a key adds to its token. The secret is known to `identity.service` only.
"""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, insert, select

from runyard.database.engine import Database, Transaction
from runyard.identity.minting import NewToken
from runyard.identity.model import Permission, Principal
from runyard.identity.service import IdentityService
from runyard.identity.tables import device_logins, tokens, user_keys
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied
from runyard.kernel.ids import ProjectId

KEY_PREFIX: Final = "dn_key_"
MAX_LISTED: Final = 1000
"""Keys in one listing, the newest ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """What a key shall be. None means: as the token that asks for it."""

    name: str | None = None
    project_id: ProjectId | None = None
    scopes: Sequence[str] | None = None
    """Names of permissions."""
    allow_self_revoke: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UserKey:
    """A key without its secret."""

    id: str
    name: str
    masked: str
    """Beginning and end of the secret, so that people can tell keys apart."""
    scopes: Sequence[str] | None
    allow_self_revoke: bool
    active: bool
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None


class KeyService:
    """The keys of users."""

    def __init__(self, database: Database, identity: IdentityService, now: Now = utc_now) -> None:
        """Take the parts."""
        self._database = database
        self._identity = identity
        self._now = now

    async def create(self, caller: Principal, new: NewKey) -> tuple[UserKey, str]:
        """Make a key for the caller itself and return it with its secret, shown this once.

        Needs the permission to manage tokens, or the token of a device's log-in, which a person approved to this end.
        The key never outlives the token by which that person approved. Raises PermissionDenied, NotFound,
        InvalidArgument.
        """
        maker, lifetime = caller, None
        if not caller.may(Permission.TOKENS_MANAGE):
            maker = replace(caller, permissions=caller.permissions | {Permission.TOKENS_MANAGE})
        async with self._database.read() as tx:
            approval = await _approval_behind(tx, caller)
        if approval is None:
            caller.require(Permission.TOKENS_MANAGE)
        elif approval.revoked_at is not None:
            raise PermissionDenied("the token by which this device was approved was revoked")
        elif approval.expires_at is not None:
            lifetime = max(approval.expires_at - self._now(), timedelta(seconds=1))
        wanted = NewToken(
            name=new.name or f"key-{secrets.token_hex(3)}",
            permissions=_permissions(caller, new.scopes),
            project_id=new.project_id,
            expires_in=lifetime,
            secret=KEY_PREFIX + secrets.token_urlsafe(32),
        )
        token, secret = await self._identity.create_token(maker, wanted)
        async with self._database.transaction() as tx:
            row = {
                "token_id": token.id,
                "user_id": token.user_id,
                "masked": f"{KEY_PREFIX}...{secret[-4:]}",
                "scopes": None if new.scopes is None else list(new.scopes),
                "allow_self_revoke": new.allow_self_revoke,
            }
            await tx.execute(insert(user_keys), row)
            found = await tx.one_or_none(_of_user(caller).where(tokens.c.id == token.id))
        if found is None:
            raise NotFound("the key was removed meanwhile")
        return self._key(found), secret

    async def list(self, caller: Principal) -> Sequence[UserKey]:
        """List the keys of the caller that were not revoked, the newest first, without their secrets."""
        alive = _of_user(caller).where(tokens.c.revoked_at.is_(None))
        async with self._database.read() as tx:
            rows = await tx.all(alive.order_by(tokens.c.id.desc()).limit(MAX_LISTED))
        return [self._key(row) for row in rows]

    async def revoke(self, caller: Principal, key_id: str) -> None:
        """End one of the caller's keys at once; idempotent. Raises NotFound, PermissionDenied."""
        async with self._database.read() as tx:
            found = await tx.one_or_none(_of_user(caller).where(tokens.c.id == key_id))
        if found is None:
            raise NotFound("API key not found")
        if found.id == caller.token_id:
            await self.revoke_self(caller)
            return
        await self._identity.revoke_token(caller, found.id)

    async def revoke_self(self, caller: Principal) -> None:
        """End the key that the caller came with. Raises PermissionDenied for a token that was not made to allow that:
        an installation's first token must not be lost by logging out.
        """
        async with self._database.read() as tx:
            found = await tx.one_or_none(_of_user(caller).where(tokens.c.id == caller.token_id))
        if found is None or not found.allow_self_revoke or caller.token_id is None:
            raise PermissionDenied("this API key does not allow to revoke itself")
        await self._identity.revoke_token(caller, caller.token_id)

    def _key(self, row: Row[Any]) -> UserKey:
        ended = row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= self._now())
        return UserKey(
            id=row.id,
            name=row.name,
            masked=row.masked,
            scopes=row.scopes,
            allow_self_revoke=row.allow_self_revoke,
            active=not ended,
            created_at=row.created_at,
            last_used_at=row.last_used_at,
            expires_at=row.expires_at,
        )


def _of_user(caller: Principal) -> Any:  # noqa: ANN401  a select of two tables
    joined = select(tokens, user_keys.c.masked, user_keys.c.scopes, user_keys.c.allow_self_revoke).join(
        user_keys, user_keys.c.token_id == tokens.c.id
    )
    return joined.where(user_keys.c.user_id == caller.user_id, tokens.c.account_id == caller.scope.account_id)


async def _approval_behind(tx: Transaction, caller: Principal) -> Row[Any] | None:
    """Return the token by which a person approved the device's log-in that the caller came from."""
    if caller.token_id is None:
        return None
    joined = select(tokens).join(device_logins, device_logins.c.approved_by == tokens.c.id)
    return await tx.one_or_none(joined.where(device_logins.c.access_token == caller.token_id))


def _permissions(caller: Principal, scopes: Sequence[str] | None) -> Collection[Permission]:
    if scopes is None:
        return caller.permissions
    known = {permission.value: permission for permission in Permission}
    unknown = [scope for scope in scopes if scope not in known]
    if unknown or not scopes:
        raise InvalidArgument(
            f"allowed_scopes: must be some of {', '.join(sorted(known))}", loc=["body", "allowed_scopes"]
        )
    wanted = {known[scope] for scope in scopes}
    lacking = sorted(scope.value for scope in wanted if not caller.may(scope))
    if lacking:
        raise PermissionDenied(f"a key cannot have scopes that its maker lacks: {', '.join(lacking)}")
    return wanted
