"""SQL of integrations. Owns every statement on their table; decides nothing and never commits."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, or_, select, update

from runyard.database.engine import Transaction
from runyard.identity.model import Scope
from runyard.identity.scoping import scoped, visible
from runyard.infrastructure.integrations.model import Integration, IntegrationId
from runyard.infrastructure.integrations.tables import vcs_integrations
from runyard.kernel.ids import AccountId, ProjectId

_i = vcs_integrations.c
_PLAIN = (
    "id", "account_id", "project_id", "project_path", "name", "type", "url", "username", "known_hosts", "created_at",
    "updated_at", "fetched_at", "fetch_error",
)  # fmt: skip


async def add(tx: Transaction, made: Integration, sealed: bytes | None) -> None:
    """Write a new integration. Raises UniqueViolation."""
    values: dict[str, Any] = {name: getattr(made, name) for name in _PLAIN}
    await tx.execute(
        insert(vcs_integrations), {**values, "repositories": list(made.repositories), "sealed": sealed}
    )


async def of_account(
    tx: Transaction, account_id: str, integration_id: str
) -> tuple[Integration, bytes | None] | None:
    """Read one of an account with its sealed credential, for the server itself."""
    wanted = (_i.account_id == account_id) & (_i.id == integration_id)
    row = await tx.one_or_none(select(vcs_integrations).where(wanted))
    return None if row is None else (_integration(row), _bytes(row))


async def some_of_account(
    tx: Transaction, account_id: str, integration_ids: Collection[str]
) -> Sequence[Integration]:
    """Read those of an account that there are of some ids, for the server itself."""
    wanted = (_i.account_id == account_id) & _i.id.in_(list(integration_ids))
    return [_integration(row) for row in await tx.all(select(vcs_integrations).where(wanted))]


async def look_up(tx: Transaction, account_id: str, reference: str) -> Integration | None:
    """Read one of an account by its id, else by its name."""
    for column in (_i.id, _i.name):
        wanted = (_i.account_id == account_id) & (column == reference)
        row = await tx.one_or_none(select(vcs_integrations).where(wanted))
        if row is not None:
            return _integration(row)
    return None


async def listing(tx: Transaction, scope: Scope) -> Sequence[Integration]:
    """Read those of a scope, the oldest first."""
    rows = await tx.all(scoped(select(vcs_integrations), vcs_integrations, scope).order_by(_i.id))
    return [_integration(row) for row in rows]


async def usable(tx: Transaction, scope: Scope) -> Sequence[Integration]:
    """Read those of a scope and of the projects above it, the oldest first."""
    above = [part for part in scope.project_path.split("/") if part]
    of_account = _i.account_id == scope.account_id
    wanted = of_account & or_(visible(vcs_integrations, scope), _i.project_id.in_(above))
    return [_integration(row) for row in await tx.all(select(vcs_integrations).where(wanted).order_by(_i.id))]


async def remove(tx: Transaction, integration_id: str) -> None:
    """Remove one."""
    await tx.execute(delete(vcs_integrations).where(_i.id == integration_id))


async def note_fetch(tx: Transaction, integration_id: str, at: datetime, error: str) -> None:
    """Write down how the last try to reach it ended."""
    values: dict[str, Any] = {"fetch_error": error[:1000]} | ({} if error else {"fetched_at": at})
    await tx.execute(update(vcs_integrations).where(_i.id == integration_id).values(**values))


async def sealed_rows(tx: Transaction) -> Sequence[tuple[str, bytes]]:
    """Read every sealed credential."""
    rows = await tx.all(select(_i.id, _i.sealed).where(_i.sealed.is_not(None)))
    return [(row.id, bytes(row.sealed)) for row in rows]


async def seal_again(tx: Transaction, integration_id: str, before: bytes, after: bytes) -> None:
    """Replace a sealed credential, unless it was changed meanwhile."""
    wanted = (_i.id == integration_id) & (_i.sealed == before)
    await tx.execute(update(vcs_integrations).where(wanted).values(sealed=after))


def _bytes(row: Row[Any]) -> bytes | None:
    return None if row.sealed is None else bytes(row.sealed)


def _integration(row: Row[Any]) -> Integration:
    values = {name: row._mapping[name] for name in _PLAIN}
    return Integration(
        **{
            **values,
            "id": IntegrationId(row.id),
            "account_id": AccountId(row.account_id),
            "project_id": ProjectId(row.project_id),
            "repositories": tuple(row.repositories),
            "has_credential": row.sealed is not None,
        }
    )
