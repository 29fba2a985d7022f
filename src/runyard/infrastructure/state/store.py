"""SQL of state versions, locks and grants. Owns every statement on their tables; decides nothing and never commits."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from runyard.database.engine import Transaction
from runyard.identity.model import Scope
from runyard.identity.scoping import scoped
from runyard.infrastructure.state.model import Facts, HolderKind, Lock, StateVersion, StateVersionId
from runyard.infrastructure.state.tables import state_grants, state_locks, state_versions
from runyard.kernel.ids import AccountId, ProjectId

_FACTS = ("serial", "lineage", "md5", "size", "terraform_version", "resources")


def _version(row: Row[Any]) -> StateVersion:
    found = row._mapping
    return StateVersion(
        id=StateVersionId(found["id"]),
        workspace_id=found["workspace_id"],
        account_id=AccountId(found["account_id"]),
        project_id=ProjectId(found["project_id"]),
        project_path=found["project_path"],
        number=found["number"],
        facts=Facts(**{name: found[name] for name in _FACTS}),
        created_at=found["created_at"],
        created_by=found["created_by"],
        run_id=found["run_id"],
        blob=found["blob"],
        forced=bool(found["forced"]),
    )


def _lock(row: Row[Any]) -> Lock:
    found = row._mapping
    return Lock(
        workspace_id=found["workspace_id"],
        account_id=AccountId(found["account_id"]),
        lock_id=found["lock_id"],
        holder=HolderKind(found["holder"]),
        actor=found["actor"],
        created_at=found["created_at"],
        user_id=found["user_id"],
        run_id=found["run_id"],
        info=found["info"],
    )


# --- versions ---


async def insert_version(tx: Transaction, version: StateVersion) -> None:
    """Add a version. Raises UniqueViolation when its number was taken meanwhile."""
    names = ("id", "workspace_id", "account_id", "project_id", "project_path", "number", "created_at")
    row = {name: getattr(version, name) for name in (*names, "created_by", "run_id", "blob", "forced")}
    row.update({name: getattr(version.facts, name) for name in _FACTS})
    await tx.execute(insert(state_versions), row)


async def keep_version(tx: Transaction, version: StateVersion) -> bool:
    """Give an announced version its number and bytes; tell whether it still was without."""
    values = {name: getattr(version.facts, name) for name in _FACTS}
    values |= {"number": version.number, "blob": version.blob}
    table = state_versions
    result = await tx.execute(
        update(table).where(table.c.id == version.id, table.c.number.is_(None)).values(values)
    )
    return result.rowcount == 1


async def current_version(tx: Transaction, workspace_id: str) -> StateVersion | None:
    """Read the kept version with the highest number."""
    table = state_versions
    row = await tx.one_or_none(
        select(table)
        .where(table.c.workspace_id == workspace_id, table.c.number.is_not(None))
        .order_by(table.c.number.desc())
        .limit(1)
    )
    return _version(row) if row else None


async def version_by_id(tx: Transaction, scope: Scope, version_id: str) -> StateVersion | None:
    """Read a version of the scope."""
    table = state_versions
    row = await tx.one_or_none(scoped(select(table).where(table.c.id == version_id), table, scope))
    return _version(row) if row else None


async def announced_version(tx: Transaction, version_id: str) -> StateVersion | None:
    """Read a version by its id alone, for whoever holds the address that was made for its bytes."""
    row = await tx.one_or_none(select(state_versions).where(state_versions.c.id == version_id))
    return _version(row) if row else None


async def version_by_number(tx: Transaction, workspace_id: str, number: int) -> StateVersion | None:
    """Read one version of a workspace's history."""
    table = state_versions
    row = await tx.one_or_none(
        select(table).where(table.c.workspace_id == workspace_id, table.c.number == number)
    )
    return _version(row) if row else None


async def history(
    tx: Transaction, workspace_id: str, limit: int, before: int | None
) -> Sequence[StateVersion]:
    """Read kept versions below a number, the newest first."""
    table = state_versions
    statement = select(table).where(table.c.workspace_id == workspace_id, table.c.number.is_not(None))
    if before is not None:
        statement = statement.where(table.c.number < before)
    rows = await tx.all(statement.order_by(table.c.number.desc()).limit(limit))
    return [_version(row) for row in rows]


async def forget_announced(tx: Transaction, workspace_id: str, before: datetime) -> None:
    """Remove announced versions whose bytes never came."""
    table = state_versions
    await tx.execute(
        delete(table).where(
            table.c.workspace_id == workspace_id, table.c.number.is_(None), table.c.created_at < before
        )
    )


async def delete_workspace(tx: Transaction, workspace_id: str) -> Sequence[str]:
    """Remove versions, lock and grants of a workspace; return the blobs that nothing names any more."""
    table = state_versions
    of_workspace = table.c.workspace_id == workspace_id, table.c.blob.is_not(None)
    blobs = [str(row._mapping["blob"]) for row in await tx.all(select(table.c.blob).where(*of_workspace))]
    for one in (state_versions, state_locks, state_grants):
        await tx.execute(delete(one).where(one.c.workspace_id == workspace_id))
    return blobs


async def all_blobs(tx: Transaction) -> Sequence[tuple[str, str]]:
    """Read the id and blob of every kept version."""
    table = state_versions
    rows = await tx.all(select(table.c.id, table.c.blob).where(table.c.blob.is_not(None)))
    return [(str(row._mapping["id"]), str(row._mapping["blob"])) for row in rows]


async def replace_blob(tx: Transaction, version_id: str, old: str, new: str) -> bool:
    """Name another blob for a version, if it still names the old one; tell whether it did."""
    table = state_versions
    result = await tx.execute(
        update(table).where(table.c.id == version_id, table.c.blob == old).values(blob=new)
    )
    return result.rowcount == 1


# --- locks ---


async def insert_lock(tx: Transaction, lock: Lock) -> None:
    """Take the lock of a workspace. Raises UniqueViolation when it is held."""
    await tx.execute(
        insert(state_locks),
        {
            "workspace_id": lock.workspace_id,
            "account_id": lock.account_id,
            "lock_id": lock.lock_id,
            "holder": lock.holder.value,
            "actor": lock.actor,
            "user_id": lock.user_id,
            "run_id": lock.run_id,
            "info": dict(lock.info),
            "created_at": lock.created_at,
        },
    )


async def lock_of(tx: Transaction, workspace_id: str, *, for_update: bool = False) -> Lock | None:
    """Read the lock of a workspace; `for_update` keeps it from being released until the commit."""
    statement = select(state_locks).where(state_locks.c.workspace_id == workspace_id)
    row = await tx.one_or_none(statement.with_for_update() if for_update else statement)
    return _lock(row) if row else None


async def locks_of_run(tx: Transaction, run_id: str) -> Sequence[Lock]:
    """Read what a run holds."""
    return [_lock(row) for row in await tx.all(select(state_locks).where(state_locks.c.run_id == run_id))]


async def delete_lock(tx: Transaction, workspace_id: str, lock_id: str) -> bool:
    """Release a lock; tell whether it was held under this id."""
    table = state_locks
    result = await tx.execute(
        delete(table).where(table.c.workspace_id == workspace_id, table.c.lock_id == lock_id)
    )
    return result.rowcount == 1


# --- grants ---


async def insert_grant(tx: Transaction, row: dict[str, Any]) -> None:
    """Add a grant."""
    await tx.execute(insert(state_grants), row)


async def grant_by_digest(tx: Transaction, digest: str) -> Row[Any] | None:
    """Read a grant."""
    return await tx.one_or_none(select(state_grants).where(state_grants.c.digest == digest))


async def delete_grants(tx: Transaction, run_id: str) -> int:
    """Remove the grants of a run; return how many there were."""
    return (await tx.execute(delete(state_grants).where(state_grants.c.run_id == run_id))).rowcount
