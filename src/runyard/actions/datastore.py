"""Verbs and statements of the datastore: keys of the system and of users. Owns their sealing and their expiry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, and_, delete, insert, or_, select, update

from runyard.actions.errors import KeyNotFound
from runyard.actions.ids import KeyId
from runyard.actions.tables import datastore_keys
from runyard.actions.templating.datastore import StoredKey
from runyard.database.engine import Database, Transaction
from runyard.database.errors import UniqueViolation
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.crypto import CannotUnseal, Vault
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.ids import AccountId

_k = datastore_keys.c
_UNBOUND: Final = b"datastore"
"""What the secrets of older servers are sealed with: nothing bound them to their account."""
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
        return self._key(account, row)

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
        return [self._key(account, row) for row in rows]

    async def set(self, account: AccountId, new: NewKey) -> Key:
        """Write a key, new or changed. Raises InvalidArgument."""
        if not new.name or len(new.name) > MAX_NAME:
            raise InvalidArgument(f"a key needs a name of 1 to {MAX_NAME} characters")
        if new.sealed:
            self.decrypt(account, new.value)
        value = self.encrypt(account, new.value) if new.secret and not new.sealed else new.value
        expires = None if new.ttl_secs is None else self._now() + timedelta(seconds=new.ttl_secs)
        values: dict[str, Any] = {"value": value, "secret": new.secret or new.sealed, "expires_at": expires}
        try:
            return await self._written(account, new, values)
        except UniqueViolation:
            # Somebody else made the key at the same moment: there is a row to change now.
            return await self._written(account, new, values)

    async def _written(self, account: AccountId, new: NewKey, values: Mapping[str, Any]) -> Key:
        place = self._place(account, new.scope, new.user, new.name)
        async with self._database.transaction() as tx:
            if (await tx.execute(update(datastore_keys).where(place).values(values))).rowcount == 0:
                row = {"id": KeyId.new(), "account_id": account, "scope": new.scope, "user_name": new.user}
                await tx.execute(insert(datastore_keys).values(name=new.name, **row, **values))
            stored = await tx.one_or_none(select(datastore_keys).where(place))
        assert stored is not None
        return self._key(account, stored)

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
        if row is None:
            return None
        key = self._key(account, row)
        return StoredKey(key.value, key.secret)

    def encrypt(self, account: AccountId, text: str) -> str:
        """Seal a text, so that it can be opened in the account only."""
        return self._vault.seal(text.encode(), _context(account)).hex()

    def decrypt(self, account: AccountId, text: str) -> str:
        """Open a sealed text. Raises InvalidArgument when it was not sealed by this server in the account."""
        opened = self._opened(text, _context(account))
        if opened is None:
            raise InvalidArgument("the value was not encrypted by this server")
        return opened

    def sealer(self, account: AccountId) -> "AccountSealer":
        """Return what opens the sealed texts of an account."""
        return AccountSealer(self, account)

    def _opened(self, text: str, context: bytes) -> str | None:
        try:
            return self._vault.open(bytes.fromhex(text), context).decode()
        except (ValueError, IndexError, CannotUnseal):
            return None

    def _key(self, account: AccountId, row: Row[Any]) -> Key:
        """Return a row as a key. A secret of an older server is bound to the account here: only a row of the account
        may be opened without that, never a text that somebody brings.
        """
        value = row.value
        if row.secret and self._opened(value, _context(account)) is None:
            unbound = self._opened(value, _UNBOUND)
            value = value if unbound is None else self.encrypt(account, unbound)
        return Key(
            id=row.id,
            scope=row.scope,
            user=row.user_name,
            name=row.name,
            value=value,
            secret=row.secret,
            expires_at=row.expires_at,
        )

    def _alive(self) -> ColumnElement[bool]:
        return or_(_k.expires_at.is_(None), _k.expires_at > self._now())

    def _one(self, account: AccountId, scope: str, user: str, name: str) -> ColumnElement[bool]:
        return and_(self._place(account, scope, user, name), self._alive())

    @staticmethod
    def _place(account: AccountId, scope: str, user: str, name: str) -> ColumnElement[bool]:
        return and_(_k.account_id == account, _k.scope == scope, _k.user_name == user, _k.name == name)


@dataclass(frozen=True, slots=True)
class AccountSealer:
    """Opens the sealed texts of one account, for templates."""

    datastore: DatastoreService
    account: AccountId

    def decrypt(self, text: str) -> str:
        """Open a sealed text. Raises InvalidArgument."""
        return self.datastore.decrypt(self.account, text)


def _context(account: AccountId) -> bytes:
    return f"datastore:{account}".encode()
