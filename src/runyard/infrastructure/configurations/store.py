"""SQL of configuration versions. Owns the statements on their table; decides nothing and never commits."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from runyard.database.engine import Transaction
from runyard.identity.model import Scope
from runyard.identity.scoping import scoped
from runyard.infrastructure.configurations.model import Configuration, ConfigurationId, ConfigurationStatus
from runyard.infrastructure.configurations.tables import configurations
from runyard.kernel.ids import AccountId, ProjectId, WorkspaceId


def _configuration(row: Row[Any]) -> Configuration:
    found = dict(row._mapping)
    return Configuration(
        **{
            **found,
            "id": ConfigurationId(found["id"]),
            "account_id": AccountId(found["account_id"]),
            "project_id": ProjectId(found["project_id"]),
            "workspace_id": WorkspaceId(found["workspace_id"]),
            "status": ConfigurationStatus(found["status"]),
            "speculative": bool(found["speculative"]),
        }
    )


async def add(tx: Transaction, made: Configuration) -> None:
    """Add one."""
    row = {item.name: getattr(made, item.name) for item in fields(made)}
    row["status"] = made.status.value
    await tx.execute(insert(configurations), row)


async def get(tx: Transaction, scope: Scope, configuration_id: str) -> Configuration | None:
    """Read one of the scope."""
    table = configurations
    row = await tx.one_or_none(scoped(select(table).where(table.c.id == configuration_id), table, scope))
    return _configuration(row) if row else None


async def by_id(tx: Transaction, configuration_id: str) -> Configuration | None:
    """Read one by its id alone, for whoever holds the address that was made for its bytes."""
    row = await tx.one_or_none(select(configurations).where(configurations.c.id == configuration_id))
    return _configuration(row) if row else None


async def settle(
    tx: Transaction,
    configuration_id: str,
    status: ConfigurationStatus,
    *,
    blob: str | None,
    size: int,
    error: str,
) -> bool:
    """Say what became of a pending one; tell whether it still was pending."""
    table = configurations
    result = await tx.execute(
        update(table)
        .where(table.c.id == configuration_id, table.c.status == ConfigurationStatus.PENDING.value)
        .values(status=status.value, blob=blob, size=size, error=error)
    )
    return result.rowcount == 1


async def older(tx: Transaction, before: datetime, limit: int) -> Sequence[Configuration]:
    """Read those with bytes that were made before a moment, the oldest first."""
    table = configurations
    rows = await tx.all(
        select(table)
        .where(table.c.status == ConfigurationStatus.UPLOADED.value, table.c.created_at < before)
        .order_by(table.c.created_at)
        .limit(limit)
    )
    return [_configuration(row) for row in rows]


async def archive(tx: Transaction, configuration_id: str) -> None:
    """Forget the bytes of one."""
    table = configurations
    await tx.execute(
        update(table)
        .where(table.c.id == configuration_id)
        .values(status=ConfigurationStatus.ARCHIVED.value, blob=None)
    )


async def uses(tx: Transaction, blob: str) -> bool:
    """Tell whether a blob is named by any."""
    table = configurations
    return await tx.one_or_none(select(table.c.id).where(table.c.blob == blob).limit(1)) is not None


async def forget_pending(tx: Transaction, before: datetime) -> None:
    """Remove those whose bytes never came."""
    table = configurations
    await tx.execute(
        delete(table).where(table.c.status == ConfigurationStatus.PENDING.value, table.c.created_at < before)
    )
