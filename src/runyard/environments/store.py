"""SQL of environments. Owns every statement on its tables; decides nothing and never commits."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, delete, func, insert, select, update

from runyard.database.engine import Transaction
from runyard.environments.model import LIVING, Definition, Environment, State
from runyard.environments.tables import built_images, environments
from runyard.identity.model import Scope
from runyard.identity.scoping import scoped, visible
from runyard.kernel.ids import AccountId, EnvironmentId, ExecutionId, ProjectId, UserId

_e = environments.c
_FIELDS = tuple(field.name for field in msgspec.structs.fields(Environment))
_COLUMNS = [environments.c[name] for name in _FIELDS]
# Built once: making a statement costs more than SQLite needs to run it.
_LOCK = select(*_COLUMNS).where(_e.id == bindparam("wanted")).with_for_update()
_UPDATE = update(environments).where(_e.id == bindparam("wanted"))
_SECRETS = select(_e.token_digest, _e.sealed).where(_e.id == bindparam("wanted"))


def _environment(row: Row[Any]) -> Environment:
    found = dict(row._mapping)
    execution_id = found["execution_id"]
    found.update(
        id=EnvironmentId(found["id"]),
        account_id=AccountId(found["account_id"]),
        project_id=ProjectId(found["project_id"]),
        owner_user_id=UserId(found["owner_user_id"]),
        definition=msgspec.convert(found["definition"], Definition),
        state=State(found["state"]),
        execution_id=None if execution_id is None else ExecutionId(execution_id),
    )
    return Environment(**found)


def _row(environment: Environment) -> dict[str, Any]:
    row = {name: getattr(environment, name) for name in _FIELDS}
    row["definition"] = msgspec.to_builtins(environment.definition)
    return row


class EnvironmentRows:
    """Rows of environments, for transitions; with a scope, only those that it reaches."""

    def __init__(self, scope: Scope | None = None) -> None:
        """Narrow the rows to a scope."""
        self._scope = scope

    async def lock(self, tx: Transaction, subject_id: str) -> Environment | None:
        """Read one row for update."""
        statement = _LOCK if self._scope is None else _LOCK.where(visible(environments, self._scope))
        row = await tx.one_or_none(statement, {"wanted": subject_id})
        return None if row is None else _environment(row)

    async def write(self, tx: Transaction, before: Environment, after: Environment) -> None:
        """Write the columns that differ; what is freed keeps no secret."""
        old, new = _row(before), _row(after)
        changed = {name: value for name, value in new.items() if old[name] != value}
        if after.freed:
            changed["sealed"] = None
        if changed:
            await tx.execute(_UPDATE, {"wanted": after.id, **changed})


async def add(tx: Transaction, environment: Environment, token_digest: bytes, sealed: bytes | None) -> None:
    """Add an environment."""
    row = {**_row(environment), "token_digest": token_digest, "sealed": sealed}
    await tx.execute(insert(environments), row)


async def get(tx: Transaction, scope: Scope, environment_id: str) -> Environment | None:
    """Read one environment of a scope."""
    row = await tx.one_or_none(scoped(select(*_COLUMNS).where(_e.id == environment_id), environments, scope))
    return None if row is None else _environment(row)


async def secrets_of(tx: Transaction, environment_id: str) -> tuple[bytes, bytes | None]:
    """Read the digest of the execute token and the sealed variables. Raises NotFound."""
    row = (await tx.execute(_SECRETS, {"wanted": environment_id})).one()
    return row.token_digest, row.sealed


async def page(
    tx: Transaction, scope: Scope, states: Collection[State], offset: int, limit: int
) -> tuple[Sequence[Environment], int]:
    """Read a page, the newest first, and how many there are in all."""
    statement = scoped(select(*_COLUMNS), environments, scope)
    counting = select(func.count()).select_from(environments).where(visible(environments, scope))
    if states:
        statement = statement.where(_e.state.in_(list(states)))
        counting = counting.where(_e.state.in_(list(states)))
    rows = await tx.all(statement.order_by(_e.id.desc()).offset(offset).limit(limit))
    return [_environment(row) for row in rows], int(await tx.scalar(counting))


async def unfreed(tx: Transaction) -> Sequence[Environment]:
    """Read all environments of which something may be on the host."""
    rows = await tx.all(select(*_COLUMNS).where(_e.freed.is_(False)).order_by(_e.id))
    return [_environment(row) for row in rows]


async def expired(tx: Transaction, now: datetime) -> Sequence[str]:
    """Read the ids of living environments whose time is over."""
    wanted = _e.freed.is_(False) & _e.state.in_(list(LIVING)) & (_e.expires_at <= now)
    return [row[0] for row in await tx.all(select(_e.id).where(wanted))]


class BuiltImage(msgspec.Struct, frozen=True, kw_only=True):
    """Files that a Dockerfile made, with what it says of how to start."""

    digest: str
    checkpoint_id: str
    base: str
    config: dict[str, Any]
    size_bytes: int
    created_at: datetime
    used_at: datetime


_i = built_images.c


async def image(tx: Transaction, digest: str) -> BuiltImage | None:
    """Read a built image."""
    row = await tx.one_or_none(select(built_images).where(_i.digest == digest))
    return None if row is None else BuiltImage(**row._mapping)


async def add_image(tx: Transaction, built: BuiltImage) -> None:
    """Add a built image. Raises UniqueViolation."""
    await tx.execute(insert(built_images), msgspec.structs.asdict(built))


async def touch_image(tx: Transaction, digest: str, now: datetime) -> None:
    """Note that an image was used."""
    await tx.execute(update(built_images).where(_i.digest == digest).values(used_at=now))


async def images_by_use(tx: Transaction) -> Sequence[BuiltImage]:
    """Read all built images, the longest unused first."""
    return [BuiltImage(**row._mapping) for row in await tx.all(select(built_images).order_by(_i.used_at))]


async def delete_image(tx: Transaction, digest: str) -> None:
    """Forget a built image."""
    await tx.execute(delete(built_images).where(_i.digest == digest))
