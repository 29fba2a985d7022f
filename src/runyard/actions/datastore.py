"""Verbs and statements of the datastore: keys of the system and of users. Owns their sealing and their expiry."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, and_, delete, insert, or_, select, update

from runyard.actions.errors import KeyNotFound
from runyard.actions.ids import KeyId
from runyard.actions.tables import datastore_keys
from runyard.actions.templating.datastore import StoredKey
from runyard.database.engine import Database, Transaction
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.crypto import CannotUnseal, Vault
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.ids import AccountId

_k = datastore_keys.c
_CONTEXT: Final = b"datastore"
MAX_NAME: Final = 256


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is kept."""

    id: str
    scope: str
    """`system` or `user`."""
    user: str
    """Empty for the system's."""
    name: str
    value: str
    """Sealed text when the key is a secret."""
    secret: bool
    expires_at: datetime | None = None


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """What to keep under a name."""

    name: str
    value: str
    scope: str = "system"
    user: str = ""
    secret: bool = False
    sealed: bool = False
    """The value was sealed by this server before and is kept as it is."""
    ttl_secs: int | None = None


class DatastoreService:
    """The keys of all accounts."""

    def __init__(self, database: Database, vault: Vault, now: Now = utc_now) -> None:
        """Take the parts."""
        self._database = database
        self._vault = vault
        self._now = now

    async def get(self, account: AccountId, scope: str, user: str, name: str) -> Key:
        """Read a key. Raises KeyNotFound."""
        async with self._database.read() as tx:
            row = await tx.one_or_none(select(datastore_keys).where(self._one(account, scope, user, name)))
        if row is None:
            raise KeyNotFound(f'The key "{name}" does not exist in the StackStorm datastore.')
        return _key(row)

    async def list(
        self, account: AccountId, scopes: Sequence[tuple[str, str]], prefix: str = ""
    ) -> list[Key]:
        """List keys of scopes, each with its user, by name."""
        places = or_(*(and_(_k.scope == scope, _k.user_name == user) for scope, user in scopes))
        wanted = and_(_k.account_id == account, places, self._alive())
        if prefix:
            wanted = and_(wanted, _k.name.startswith(prefix, autoescape=True))
        async with self._database.read() as tx:
            rows = await tx.all(select(datastore_keys).where(wanted).order_by(_k.name))
        return [_key(row) for row in rows]

    async def set(self, account: AccountId, new: NewKey) -> Key:
        """Write a key, new or changed. Raises InvalidArgument."""
        if not new.name or len(new.name) > MAX_NAME:
            raise InvalidArgument(f"a key needs a name of 1 to {MAX_NAME} characters")
        if new.sealed:
            self.decrypt(new.value)
        value = self.encrypt(new.value) if new.secret and not new.sealed else new.value
        expires = None if new.ttl_secs is None else self._now() + timedelta(seconds=new.ttl_secs)
        values: dict[str, Any] = {"value": value, "secret": new.secret or new.sealed, "expires_at": expires}
        place = self._place(account, new.scope, new.user, new.name)
        async with self._database.transaction() as tx:
            if (await tx.execute(update(datastore_keys).where(place).values(values))).rowcount == 0:
                row = {"id": KeyId.new(), "account_id": account, "scope": new.scope, "user_name": new.user}
                await tx.execute(insert(datastore_keys).values(name=new.name, **row, **values))
            stored = await tx.one_or_none(select(datastore_keys).where(place))
        assert stored is not None
        return _key(stored)

    async def delete(self, account: AccountId, scope: str, user: str, name: str) -> None:
        """Remove a key. Raises KeyNotFound."""
        await self.get(account, scope, user, name)
        async with self._database.transaction() as tx:
            await tx.execute(delete(datastore_keys).where(self._place(account, scope, user, name)))

    async def fetch(
        self, account: AccountId, user: str, wanted: Sequence[tuple[str, str]]
    ) -> Mapping[tuple[str, str], StoredKey | None]:
        """Read keys by scope and name for templates; None where there is none."""
        found: dict[tuple[str, str], StoredKey | None] = {}
        async with self._database.read() as tx:
            for scope, name in wanted:
                found[scope, name] = await self._stored(tx, account, scope, user, name)
        return found

    async def _stored(
        self, tx: Transaction, account: AccountId, scope: str, user: str, name: str
    ) -> StoredKey | None:
        owner = user if scope == "user" else ""
        row = await tx.one_or_none(select(datastore_keys).where(self._one(account, scope, owner, name)))
        return None if row is None else StoredKey(row.value, row.secret)

    def encrypt(self, text: str) -> str:
        """Seal a text."""
        return self._vault.seal(text.encode(), _CONTEXT).hex()

    def decrypt(self, text: str) -> str:
        """Open a sealed text. Raises InvalidArgument when it is none of this server."""
        try:
            return self._vault.open(bytes.fromhex(text), _CONTEXT).decode()
        except (ValueError, IndexError, CannotUnseal):
            raise InvalidArgument("the value was not encrypted by this server") from None

    def _alive(self) -> ColumnElement[bool]:
        return or_(_k.expires_at.is_(None), _k.expires_at > self._now())

    def _one(self, account: AccountId, scope: str, user: str, name: str) -> ColumnElement[bool]:
        return and_(self._place(account, scope, user, name), self._alive())

    @staticmethod
    def _place(account: AccountId, scope: str, user: str, name: str) -> ColumnElement[bool]:
        return and_(_k.account_id == account, _k.scope == scope, _k.user_name == user, _k.name == name)


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        scope=row.scope,
        user=row.user_name,
        name=row.name,
        value=row.value,
        secret=row.secret,
        expires_at=row.expires_at,
    )
