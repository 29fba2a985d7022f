"""SQL of the runtimes domain. Owns every statement on its tables; decides nothing and never commits."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

import msgspec
from sqlalchemy import Row, Select, Table, bindparam, delete, func, insert, select, update

from runyard.database.engine import Transaction
from runyard.identity.model import Scope
from runyard.identity.scoping import scoped, visible
from runyard.kernel.ids import AccountId, CheckpointId, ProjectId, RuntimeId, SecretId
from runyard.kernel.paging import Page, decode_cursor, encode_cursor
from runyard.runtimes.definition import Definition
from runyard.runtimes.model import Checkpoint, CheckpointKind, CheckpointState, Runtime, Secret, Status
from runyard.runtimes.tables import checkpoints, runtimes, secrets

NAMESAKES = 20
"""How many equally named resources a look-up by name reads at most."""


# Built once: making a statement costs more than SQLite needs to run it, and these are on the way of every create.
_INSERT = insert(runtimes)
_LOCK = select(runtimes).where(runtimes.c.id == bindparam("wanted")).with_for_update()
_UPDATE = update(runtimes).where(runtimes.c.id == bindparam("wanted"))
_DELETE = delete(runtimes).where(runtimes.c.id == bindparam("wanted"))
_FORGET_SOURCE = (
    update(checkpoints)
    .where(checkpoints.c.source_runtime_id == bindparam("wanted"))
    .values(source_runtime_id=None)
)
_COUNT_ACCOUNT = (
    select(func.count()).select_from(runtimes).where(runtimes.c.account_id == bindparam("wanted"))
)

BEING_DELETED = "deleting"
"""The error code of a checkpoint whose files are going away."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The caller's key of a create, and the digest of what it asked for."""

    key: str
    digest: str


def _columns(value: Runtime | Checkpoint | Secret) -> dict[str, Any]:
    row = {item.name: getattr(value, item.name) for item in fields(value)}
    if "definition" in row:
        row["definition"] = msgspec.to_builtins(row["definition"])
    return row


def _newest_first(statement: Select[Any], table: Table, limit: int, after: str | None) -> Select[Any]:
    if after is not None:
        (last,) = decode_cursor(after, str)
        statement = statement.where(table.c.id < last)
    return statement.order_by(table.c.id.desc()).limit(limit + 1)


class RuntimeStore:
    """Rows of runtimes."""

    @staticmethod
    def _runtime(row: Row[Any]) -> Runtime:
        found = row._mapping
        return Runtime(
            id=RuntimeId(found["id"]),
            account_id=AccountId(found["account_id"]),
            project_id=ProjectId(found["project_id"]),
            project_path=found["project_path"],
            owner_user_id=found["owner_user_id"],
            display_name=found["display_name"],
            status=Status(found["status"]),
            desired_status=Status(found["desired_status"]),
            revision=found["revision"],
            definition=msgspec.convert(found["definition"], Definition),
            restored_from=None if found["restored_from"] is None else CheckpointId(found["restored_from"]),
            created_at=found["created_at"],
            updated_at=found["updated_at"],
            error_code=found["error_code"],
            error_message=found["error_message"],
        )

    async def insert(self, tx: Transaction, runtime: Runtime, idempotency: Idempotency | None) -> None:
        """Add a runtime. Raises UniqueViolation when the idempotency key was used meanwhile."""
        row = _columns(runtime)
        row["idempotency_key"] = idempotency.key if idempotency else None
        row["idempotency_digest"] = idempotency.digest if idempotency else None
        await tx.execute(_INSERT, row)

    async def get(self, tx: Transaction, scope: Scope, runtime_id: str) -> Runtime | None:
        """Read one runtime of the scope."""
        row = await tx.one_or_none(
            scoped(select(runtimes).where(runtimes.c.id == runtime_id), runtimes, scope)
        )
        return self._runtime(row) if row else None

    async def named(self, tx: Transaction, scope: Scope, name: str) -> list[Runtime]:
        """Read the runtimes of the scope with this name, the newest first, at most 20."""
        statement = scoped(select(runtimes).where(runtimes.c.display_name == name), runtimes, scope)
        return [
            self._runtime(row) for row in await tx.all(_newest_first(statement, runtimes, NAMESAKES, None))
        ]

    async def by_key(self, tx: Transaction, account_id: AccountId, key: str) -> tuple[Runtime, str] | None:
        """Read the runtime that was created with an idempotency key, and the digest of that request."""
        wanted = (runtimes.c.account_id == account_id) & (runtimes.c.idempotency_key == key)
        row = await tx.one_or_none(select(runtimes).where(wanted))
        return (self._runtime(row), row._mapping["idempotency_digest"]) if row else None

    async def lock(self, tx: Transaction, subject_id: str) -> Runtime | None:
        """Read one runtime for update."""
        row = await tx.one_or_none(_LOCK, {"wanted": subject_id})
        return self._runtime(row) if row else None

    async def write(self, tx: Transaction, before: Runtime, after: Runtime) -> None:
        """Write the columns that differ."""
        changed = {
            item.name: getattr(after, item.name)
            for item in fields(after)
            if getattr(before, item.name) != getattr(after, item.name)
        }
        if "definition" in changed:
            changed["definition"] = msgspec.to_builtins(after.definition)
        if changed:
            await tx.execute(_UPDATE, {"wanted": after.id, **changed})

    async def delete(self, tx: Transaction, runtime_id: RuntimeId) -> None:
        """Remove a runtime; its checkpoints forget their source's id."""
        await tx.execute(_FORGET_SOURCE, {"wanted": runtime_id})
        await tx.execute(_DELETE, {"wanted": runtime_id})

    async def count(self, tx: Transaction, scope: Scope, statuses: Collection[Status] = ()) -> int:
        """Count runtimes of the scope in these statuses; none given means all."""
        statement = select(func.count()).select_from(runtimes).where(visible(runtimes, scope))
        return int(await tx.scalar(_in_status(statement, statuses)))

    async def count_account(self, tx: Transaction, account_id: AccountId) -> int:
        """Count all runtimes of an account."""
        return int(await tx.scalar(_COUNT_ACCOUNT, {"wanted": account_id}))

    async def page(
        self, tx: Transaction, scope: Scope, statuses: Collection[Status], limit: int, after: str | int | None
    ) -> Page[Runtime]:
        """Read a page, the newest first, from a cursor (text) or an offset (number)."""
        statement = _in_status(scoped(select(runtimes), runtimes, scope), statuses)
        cursor = after if isinstance(after, str) else None
        statement = _newest_first(statement, runtimes, limit, cursor)
        if isinstance(after, int):
            statement = statement.offset(after)
        items = [self._runtime(row) for row in await tx.all(statement)]
        more = encode_cursor(items[limit - 1].id) if len(items) > limit else None
        return Page(items[:limit], more)

    async def in_status(self, tx: Transaction, statuses: Collection[Status]) -> list[Runtime]:
        """Read all runtimes of all accounts in these statuses, the oldest first."""
        statement = _in_status(select(runtimes), statuses).order_by(runtimes.c.id)
        return [self._runtime(row) for row in await tx.all(statement)]


def _in_status(statement: Select[Any], statuses: Collection[Status]) -> Select[Any]:
    return (
        statement.where(runtimes.c.status.in_([str(status) for status in statuses]))
        if statuses
        else statement
    )


class CheckpointStore:
    """Rows of checkpoints."""

    @staticmethod
    def _checkpoint(row: Row[Any]) -> Checkpoint:
        found = row._mapping
        source = found["source_runtime_id"]
        return Checkpoint(
            id=CheckpointId(found["id"]),
            account_id=AccountId(found["account_id"]),
            project_id=ProjectId(found["project_id"]),
            project_path=found["project_path"],
            display_name=found["display_name"],
            kind=CheckpointKind(found["kind"]),
            state=CheckpointState(found["state"]),
            definition=msgspec.convert(found["definition"], Definition),
            source_runtime_id=None if source is None else RuntimeId(source),
            source_runtime_name=found["source_runtime_name"],
            size_bytes=found["size_bytes"],
            created_at=found["created_at"],
            error_code=found["error_code"],
        )

    async def insert(self, tx: Transaction, checkpoint: Checkpoint) -> None:
        """Add a checkpoint."""
        await tx.execute(insert(checkpoints), _columns(checkpoint))

    async def finish(self, tx: Transaction, checkpoint: Checkpoint) -> None:
        """Write how the copy ended."""
        values = {
            "state": str(checkpoint.state),
            "size_bytes": checkpoint.size_bytes,
            "error_code": checkpoint.error_code,
        }
        await tx.execute(update(checkpoints).where(checkpoints.c.id == checkpoint.id).values(**values))

    async def get(self, tx: Transaction, scope: Scope, checkpoint_id: str) -> Checkpoint | None:
        """Read one checkpoint of the scope."""
        wanted = checkpoints.c.id == checkpoint_id
        row = await tx.one_or_none(scoped(select(checkpoints).where(wanted), checkpoints, scope))
        return self._checkpoint(row) if row else None

    async def named(self, tx: Transaction, scope: Scope, name: str) -> list[Checkpoint]:
        """Read the checkpoints of the scope with this name, the newest first, at most 20."""
        statement = scoped(select(checkpoints).where(checkpoints.c.display_name == name), checkpoints, scope)
        rows = await tx.all(_newest_first(statement, checkpoints, NAMESAKES, None))
        return [self._checkpoint(row) for row in rows]

    async def page(self, tx: Transaction, scope: Scope, limit: int, after: str | None) -> Page[Checkpoint]:
        """Read a page, the newest first."""
        statement = _newest_first(scoped(select(checkpoints), checkpoints, scope), checkpoints, limit, after)
        items = [self._checkpoint(row) for row in await tx.all(statement)]
        more = encode_cursor(items[limit - 1].id) if len(items) > limit else None
        return Page(items[:limit], more)

    async def unfinished(self, tx: Transaction) -> list[Checkpoint]:
        """Read the checkpoints of all accounts whose copy or deletion has not ended."""
        wanted = (checkpoints.c.state == str(CheckpointState.CREATING)) | (
            checkpoints.c.error_code == BEING_DELETED
        )
        return [self._checkpoint(row) for row in await tx.all(select(checkpoints).where(wanted))]

    async def delete(self, tx: Transaction, checkpoint_id: CheckpointId) -> None:
        """Remove a checkpoint."""
        await tx.execute(delete(checkpoints).where(checkpoints.c.id == checkpoint_id))


class SecretStore:
    """Rows of secrets; values only ever sealed."""

    @staticmethod
    def _secret(row: Row[Any]) -> Secret:
        found = row._mapping
        return Secret(
            id=SecretId(found["id"]),
            account_id=AccountId(found["account_id"]),
            project_id=ProjectId(found["project_id"]),
            project_path=found["project_path"],
            display_name=found["display_name"],
            cache_ttl_secs=found["cache_ttl_secs"],
            created_at=found["created_at"],
            updated_at=found["updated_at"],
        )

    async def insert(self, tx: Transaction, secret: Secret, sealed: bytes) -> None:
        """Add a secret. Raises UniqueViolation when the project has one with this name."""
        await tx.execute(insert(secrets), {**_columns(secret), "sealed": sealed})

    async def replace(self, tx: Transaction, secret: Secret, sealed: bytes) -> None:
        """Write a new value and cache time."""
        values = {"sealed": sealed, "cache_ttl_secs": secret.cache_ttl_secs, "updated_at": secret.updated_at}
        await tx.execute(update(secrets).where(secrets.c.id == secret.id).values(**values))

    async def get(self, tx: Transaction, scope: Scope, secret_id: str) -> Secret | None:
        """Read one secret of the scope."""
        row = await tx.one_or_none(scoped(select(secrets).where(secrets.c.id == secret_id), secrets, scope))
        return self._secret(row) if row else None

    async def named(self, tx: Transaction, scope: Scope, name: str) -> list[Secret]:
        """Read the secrets of the scope with this name."""
        statement = scoped(select(secrets).where(secrets.c.display_name == name), secrets, scope)
        return [self._secret(row) for row in await tx.all(_newest_first(statement, secrets, NAMESAKES, None))]

    async def listing(self, tx: Transaction, scope: Scope) -> list[Secret]:
        """Read all secrets of the scope by name."""
        statement = scoped(select(secrets), secrets, scope).order_by(secrets.c.display_name)
        return [self._secret(row) for row in await tx.all(statement)]

    async def sealed(
        self, tx: Transaction, account_id: AccountId, secret_id: str
    ) -> tuple[bytes, int] | None:
        """Read the sealed value and the cache time of a secret of an account."""
        wanted = (secrets.c.id == secret_id) & (secrets.c.account_id == account_id)
        row = await tx.one_or_none(select(secrets.c.sealed, secrets.c.cache_ttl_secs).where(wanted))
        return (bytes(row._mapping["sealed"]), int(row._mapping["cache_ttl_secs"])) if row else None

    async def all_sealed(self, tx: Transaction) -> list[tuple[SecretId, bytes]]:
        """Read the sealed values of all accounts."""
        rows = await tx.all(select(secrets.c.id, secrets.c.sealed))
        return [(SecretId(row._mapping["id"]), bytes(row._mapping["sealed"])) for row in rows]

    async def seal_again(self, tx: Transaction, secret_id: SecretId, before: bytes, after: bytes) -> None:
        """Replace a sealed value, unless it was changed meanwhile."""
        same = (secrets.c.id == secret_id) & (secrets.c.sealed == before)
        await tx.execute(update(secrets).where(same).values(sealed=after))

    async def delete(self, tx: Transaction, secret_id: SecretId) -> None:
        """Remove a secret."""
        await tx.execute(delete(secrets).where(secrets.c.id == secret_id))
