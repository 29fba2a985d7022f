"""Verbs and statements of API keys. Owns what a key adds to a token; the secret is known to identity only."""

import base64
import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, delete, func, insert, or_, select, update

from runyard.actions.tables import api_keys
from runyard.actions.values import JsonObject
from runyard.database.engine import Database
from runyard.identity.minting import NewToken
from runyard.identity.model import Principal
from runyard.identity.service import IdentityService
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import NotFound

_a = api_keys.c


API_KEY_NAME: Final = "api key"
"""The name of the token behind every key."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its secret."""

    id: str
    user: str
    key_hash: str
    metadata: JsonObject
    enabled: bool
    created_at: datetime


class ApiKeyService:
    """The API keys of all accounts."""

    def __init__(self, database: Database, identity: IdentityService, now: Now = utc_now) -> None:
        """Take the parts."""
        self._database = database
        self._identity = identity
        self._now = now

    async def create(
        self, caller: Principal, metadata: JsonObject, user: str | None, *, enabled: bool = True
    ) -> tuple[ApiKey, str]:
        """Make a key and return it with its secret, shown this once. Raises PermissionDenied, NotFound."""
        secret = base64.b64encode(secrets.token_bytes(64), altchars=b"Mz").decode().rstrip("=")
        new = NewToken(name=API_KEY_NAME, permissions=caller.permissions, user_name=user, secret=secret)
        token, _ = await self._identity.create_token(caller, new)
        key = ApiKey(
            id=token.id,
            user=user or caller.user_name,
            key_hash=hashlib.sha512(secret.encode()).hexdigest(),
            metadata=metadata,
            enabled=True,
            created_at=self._now(),
        )
        async with self._database.transaction() as tx:
            await tx.execute(
                insert(api_keys).values(
                    token_id=key.id,
                    account_id=token.account_id,
                    user_name=key.user,
                    key_hash=key.key_hash,
                    metadata=dict(metadata),
                    enabled=True,
                    created_at=key.created_at,
                )
            )
        if not enabled:
            key = await self.change(caller, key.id, metadata, enabled=False)
        return key, secret

    async def list(
        self, caller: Principal, user: str | None, offset: int, limit: int | None
    ) -> tuple[Sequence[ApiKey], int]:
        """List keys, oldest first, and count all that the filter matches."""
        conditions = [_a.account_id == caller.scope.account_id]
        if user is not None:
            conditions.append(_a.user_name == user)
        statement = select(api_keys).where(*conditions).order_by(_a.created_at, _a.token_id).offset(offset)
        async with self._database.read() as tx:
            rows = await tx.all(statement if limit is None else statement.limit(limit))
            total = await tx.scalar(select(func.count()).select_from(api_keys).where(*conditions))
        return [_key(row) for row in rows], int(total or 0)

    async def get(self, caller: Principal, id_or_key: str) -> ApiKey:
        """Find a key by its id or its secret. Raises NotFound."""
        digest = hashlib.sha512(id_or_key.encode()).hexdigest()
        found = or_(_a.token_id == id_or_key, _a.key_hash == digest)
        async with self._database.read() as tx:
            row = await tx.one_or_none(
                select(api_keys).where(_a.account_id == caller.scope.account_id, found)
            )
        if row is None:
            raise NotFound(f"ApiKey matching {id_or_key} for reference and id not found.")
        return _key(row)

    async def change(
        self, caller: Principal, id_or_key: str, metadata: JsonObject, *, enabled: bool
    ) -> ApiKey:
        """Replace the metadata and switch a key on or off. Raises NotFound, PermissionDenied."""
        key = await self.get(caller, id_or_key)
        if enabled and not key.enabled:
            await self._identity.restore_token(caller, key.id)
        elif key.enabled and not enabled:
            await self._identity.revoke_token(caller, key.id)
        async with self._database.transaction() as tx:
            await tx.execute(
                update(api_keys).where(_a.token_id == key.id).values(metadata=dict(metadata), enabled=enabled)
            )
        return await self.get(caller, key.id)

    async def delete(self, caller: Principal, id_or_key: str) -> None:
        """End a key for good. Raises NotFound, PermissionDenied."""
        key = await self.get(caller, id_or_key)
        await self._identity.revoke_token(caller, key.id)
        async with self._database.transaction() as tx:
            await tx.execute(delete(api_keys).where(_a.token_id == key.id))


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.token_id,
        user=row.user_name,
        key_hash=row.key_hash,
        metadata=row.metadata,
        enabled=row.enabled,
        created_at=row.created_at,
    )
