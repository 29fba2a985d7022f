"""Statements on remote executions. Owns the SQL; decides nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, insert, select, update

from runyard.database.engine import Transaction
from runyard.identity.model import Scope
from runyard.identity.scoping import scoped
from runyard.infrastructure.remote.model import RemoteExecution
from runyard.infrastructure.remote.tables import remote_executions
from runyard.kernel.ids import AccountId, ProjectId, RemoteExecutionId, RunId, WorkspaceId

_c = remote_executions.c


async def add(tx: Transaction, remote: RemoteExecution) -> None:
    """Write a new one."""
    await tx.execute(insert(remote_executions).values(msgspec.structs.asdict(remote)))


async def get(tx: Transaction, scope: Scope, remote_id: str) -> RemoteExecution | None:
    """Read one that the scope may see."""
    row = await tx.one_or_none(
        scoped(select(remote_executions), remote_executions, scope).where(_c.id == remote_id)
    )
    return None if row is None else _remote(row)


async def by_run(tx: Transaction, scope: Scope, run_id: str) -> RemoteExecution | None:
    """Read the one whose run this is."""
    row = await tx.one_or_none(
        scoped(select(remote_executions), remote_executions, scope).where(_c.run_id == run_id)
    )
    return None if row is None else _remote(row)


async def set_source(tx: Transaction, remote_id: str, checksum: str, size: int, now: datetime) -> bool:
    """Set the source of one that has none; tell whether it had none."""
    done = await tx.execute(
        update(remote_executions)
        .where(_c.id == remote_id, _c.uploaded_at.is_(None))
        .values(checksum=checksum, size_bytes=size, uploaded_at=now, updated_at=now)
    )
    return done.rowcount == 1


async def set_executed(tx: Transaction, remote_id: str, now: datetime) -> None:
    """Note that its run was asked for; the first time stays."""
    await tx.execute(
        update(remote_executions)
        .where(_c.id == remote_id, _c.executed_at.is_(None))
        .values(executed_at=now, updated_at=now)
    )


async def outdated(tx: Transaction, before: datetime, limit: int) -> Sequence[RemoteExecution]:
    """Read some whose source was uploaded before a time and is still kept."""
    statement = select(remote_executions).where(
        _c.uploaded_at.is_not(None), _c.removed_at.is_(None), _c.uploaded_at < before
    )
    return [_remote(row) for row in await tx.all(statement.order_by(_c.uploaded_at).limit(limit))]


async def set_removed(tx: Transaction, remote_id: str, now: datetime) -> None:
    """Note that its source is no longer kept for it."""
    await tx.execute(update(remote_executions).where(_c.id == remote_id).values(removed_at=now))


async def needed(tx: Transaction, checksum: str) -> bool:
    """Tell whether anybody still needs a blob."""
    statement = select(_c.id).where(
        _c.checksum == checksum, _c.uploaded_at.is_not(None), _c.removed_at.is_(None)
    )
    return await tx.one_or_none(statement.limit(1)) is not None


def _remote(row: Row[Any]) -> RemoteExecution:
    return RemoteExecution(
        id=RemoteExecutionId(row.id),
        account_id=AccountId(row.account_id),
        project_id=ProjectId(row.project_id),
        project_path=row.project_path,
        workspace_id=WorkspaceId(row.workspace_id),
        actor=row.actor,
        arguments=row.arguments,
        run_id=RunId(row.run_id),
        checksum=row.checksum,
        size_bytes=row.size_bytes,
        uploaded_at=row.uploaded_at,
        executed_at=row.executed_at,
        removed_at=row.removed_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
