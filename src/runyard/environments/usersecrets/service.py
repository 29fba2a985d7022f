"""Verbs of user secrets. Values come in, are sealed, and leave only as the environment of a sandbox."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, delete, insert, select, update

from runyard.database.engine import Database, Transaction
from runyard.database.errors import UniqueViolation
from runyard.environments.usersecrets.tables import user_secrets
from runyard.identity.model import Principal
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import AlreadyExists, InvalidArgument, LimitExceeded, NotFound
from runyard.kernel.events import Event
from runyard.kernel.ids import AccountId, UserId, UserSecretId

PRESETS: Final[Mapping[str, str]] = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "github": "GITHUB_TOKEN",
    "tinker": "TINKER_API_KEY",
}
"""The variable that each known provider's own tools read."""
MAX_VALUE_BYTES: Final = 65_536
MAX_PER_USER: Final = 1000
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_SHOWN_FROM: Final = 16
"""Values at least this long are told apart by their last four characters."""
_s = user_secrets.c


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSecret:
    """A secret without its value; `name` is the environment variable."""

    id: UserSecretId
    name: str
    provider: str | None
    masked: str
    created_at: datetime
    updated_at: datetime


class UserSecretService:
    """The secrets of users. A user sees and uses the own ones only."""

    def __init__(self, database: Database, vault: Vault, now: Now = utc_now) -> None:
        """Take the parts."""
        self._database = database
        self._vault = vault
        self._now = now

    async def create(
        self, caller: Principal, name: str, value: str, provider: str | None = None
    ) -> UserSecret:
        """Store a secret under a name that is made upper-case. Raises AlreadyExists, InvalidArgument, LimitExceeded."""
        upper, raw, now = _checked_name(name), _checked_value(value), self._now()
        secret = UserSecret(
            id=UserSecretId.new(),
            name=upper,
            provider=provider,
            masked=_masked(value),
            created_at=now,
            updated_at=now,
        )
        row = {
            "id": secret.id,
            "account_id": caller.scope.account_id,
            "user_id": caller.user_id,
            "name": upper,
            "provider": provider,
            "masked": secret.masked,
            "sealed": self._vault.seal(raw, _context(secret.id)),
            "created_at": now,
            "updated_at": now,
        }
        try:
            async with self._database.transaction() as tx:
                if len(await _rows(tx, caller)) >= MAX_PER_USER:
                    raise LimitExceeded(f"a user has at most {MAX_PER_USER} secrets")
                await tx.execute(insert(user_secrets), row)
                await tx.record(self._event(caller, secret.id, "created", upper))
        except UniqueViolation:
            raise AlreadyExists(f"there is a secret named {upper} already") from None
        return secret

    async def preset(self, caller: Principal, provider: str, value: str) -> UserSecret:
        """Store or replace the secret of a known provider. Raises InvalidArgument."""
        name = PRESETS.get(provider)
        if name is None:
            raise InvalidArgument(f"provider: must be one of {', '.join(PRESETS)}", loc=["body", "provider"])
        for known in await self.list(caller):
            if known.name == name:
                return await self._replace(caller, known, value, provider)
        try:
            return await self.create(caller, name, value, provider)
        except AlreadyExists:  # another caller created it in between: then this one replaces it
            return await self.preset(caller, provider, value)

    async def replace(self, caller: Principal, secret_id: str, value: str) -> UserSecret:
        """Give a secret another value; environments that run keep the old one. Raises NotFound, InvalidArgument."""
        known = await self.get(caller, secret_id)
        return await self._replace(caller, known, value, known.provider)

    async def _replace(
        self, caller: Principal, known: UserSecret, value: str, provider: str | None
    ) -> UserSecret:
        sealed = self._vault.seal(_checked_value(value), _context(known.id))
        changes = {
            "sealed": sealed,
            "masked": _masked(value),
            "provider": provider,
            "updated_at": self._now(),
        }
        async with self._database.transaction() as tx:
            await tx.execute(update(user_secrets).where(_s.id == known.id).values(**changes))
            await tx.record(self._event(caller, known.id, "replaced", known.name))
        return await self.get(caller, known.id)

    async def list(self, caller: Principal) -> Sequence[UserSecret]:
        """List the caller's secrets by name."""
        async with self._database.read() as tx:
            return [_secret(row) for row in await _rows(tx, caller)]

    async def get(self, caller: Principal, secret_id: str) -> UserSecret:
        """Return one of the caller's secrets by its id. Raises NotFound."""
        async with self._database.read() as tx:
            row = await tx.one_or_none(_of(caller.scope.account_id, caller.user_id).where(_s.id == secret_id))
        if row is None:
            raise NotFound("Secret not found")
        return _secret(row)

    async def delete(self, caller: Principal, secret_id: str) -> None:
        """Delete a secret. Raises NotFound."""
        known = await self.get(caller, secret_id)
        async with self._database.transaction() as tx:
            await tx.execute(delete(user_secrets).where(_s.id == known.id))
            await tx.record(self._event(caller, known.id, "deleted", known.name))

    async def resolve(
        self, account_id: AccountId, user_id: UserId, secret_ids: Sequence[str]
    ) -> Mapping[str, str]:
        """Return the values of a user's secrets by the names of their variables. Raises NotFound."""
        found: dict[str, str] = {}
        async with self._database.read() as tx:
            for secret_id in dict.fromkeys(secret_ids):
                row = await tx.one_or_none(_of(account_id, user_id).where(_s.id == secret_id))
                if row is None:
                    raise NotFound("Secret not found")
                found[row.name] = self._vault.open(bytes(row.sealed), _context(row.id)).decode()
        return found

    async def seal_again(self) -> int:
        """Seal every value with the current key after a rotation and return how many needed it."""
        async with self._database.read() as tx:
            rows = await tx.all(select(_s.id, _s.sealed))
        old = [row for row in rows if self._vault.needs_reseal(bytes(row.sealed))]
        for row in old:
            fresh = self._vault.reseal(bytes(row.sealed), _context(row.id))
            same = (_s.id == row.id) & (_s.sealed == row.sealed)
            async with self._database.transaction() as tx:
                await tx.execute(update(user_secrets).where(same).values(sealed=fresh))
        return len(old)

    def _event(self, caller: Principal, secret_id: str, what: str, name: str) -> Event:
        return Event(
            account_id=caller.scope.account_id,
            subject_kind="user_secret",
            subject_id=secret_id,
            type=f"user_secret.{what}",
            actor=caller.actor,
            at=self._now(),
            body={"name": name},
        )


def _of(account_id: AccountId, user_id: UserId) -> Any:  # noqa: ANN401  a select
    return select(user_secrets).where((_s.account_id == account_id) & (_s.user_id == user_id))


async def _rows(tx: Transaction, caller: Principal) -> Sequence[Row[Any]]:
    return await tx.all(_of(caller.scope.account_id, caller.user_id).order_by(_s.name))


def _secret(row: Row[Any]) -> UserSecret:
    return UserSecret(
        id=UserSecretId(row.id),
        name=row.name,
        provider=row.provider,
        masked=row.masked,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _context(secret_id: str) -> bytes:
    return f"user-secret:{secret_id}".encode()


def _checked_name(name: str) -> str:
    if _NAME.match(name) is None:
        raise InvalidArgument(
            "name: must be letters, digits and underscores, beginning with a letter or underscore",
            loc=["body", "name"],
        )
    return name.upper()


def _checked_value(value: str) -> bytes:
    """Return a value as bytes; a variable of an environment cannot hold a NUL."""
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raw = b""
    if not raw or len(raw) > MAX_VALUE_BYTES or b"\0" in raw:
        raise InvalidArgument(
            f"value: must be 1 to {MAX_VALUE_BYTES} bytes of text without a NUL", loc=["body", "value"]
        )
    return raw


def _masked(value: str) -> str:
    return f"****{value[-4:]}" if len(value) >= _SHOWN_FROM else "****"
