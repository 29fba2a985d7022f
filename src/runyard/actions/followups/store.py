"""Statements on follow-ups and trigger instances. Owns the SQL; decides nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update

from runyard.actions.followups.model import InstanceFilter, TriggerInstance
from runyard.actions.followups.tables import run_followups, trigger_instances
from runyard.database.engine import Transaction
from runyard.executions.tables import executions
from runyard.kernel.ids import AccountId

_f, _t = run_followups.c, trigger_instances.c


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A follow-up whose execution has ended and whose time has come."""

    execution_id: str
    kind: str
    account_id: AccountId
    attempts: int


async def expect(tx: Transaction, account: str, execution_id: str, kind: str, now: datetime) -> None:
    """Note that something is to follow the end of an execution."""
    row = {"execution_id": execution_id, "kind": kind, "account_id": account, "attempts": 0, "due_at": now}
    await tx.execute(insert(run_followups), row)


async def due(tx: Transaction, now: datetime, limit: int) -> Sequence[Due]:
    """Read what is to be done now, the oldest first."""
    statement = (
        select(_f.execution_id, _f.kind, _f.account_id, _f.attempts)
        .join(executions, executions.c.id == _f.execution_id)
        .where(_f.due_at <= now, executions.c.ended_at.is_not(None))
        .order_by(_f.due_at)
        .limit(limit)
    )
    return [
        Due(
            execution_id=row.execution_id,
            kind=row.kind,
            account_id=AccountId(row.account_id),
            attempts=row.attempts,
        )
        for row in await tx.all(statement)
    ]


async def done(tx: Transaction, one: Due) -> bool:
    """Take a follow-up away; tell whether it was this call that did, so that nothing is done twice."""
    return (await tx.execute(delete(run_followups).where(_is(one)))).rowcount == 1


async def attempt(tx: Transaction, one: Due, due_at: datetime) -> bool:
    """Count an attempt and set the time of the next; tell whether nobody else makes this attempt."""
    wanted = _is(one) & (_f.attempts == one.attempts)
    changed = update(run_followups).where(wanted).values(attempts=one.attempts + 1, due_at=due_at)
    return (await tx.execute(changed)).rowcount == 1


async def add_instance(tx: Transaction, account: str, instance: TriggerInstance) -> None:
    """Write a trigger instance."""
    await tx.execute(
        insert(trigger_instances).values(
            id=instance.id,
            account_id=account,
            trigger=instance.trigger,
            occurred_at=instance.occurred_at,
            status=instance.status,
            payload=dict(instance.payload),
        )
    )


async def instances(
    tx: Transaction, account: AccountId, wanted: InstanceFilter
) -> tuple[list[TriggerInstance], int]:
    """Read trigger instances, the newest first, and count all that the filter matches."""
    conditions = [_t.account_id == account]
    if wanted.trigger is not None:
        conditions.append(_t.trigger == wanted.trigger)
    if wanted.status is not None:
        conditions.append(_t.status == wanted.status)
    if wanted.after is not None:
        conditions.append(_t.occurred_at > wanted.after)
    if wanted.before is not None:
        conditions.append(_t.occurred_at < wanted.before)
    statement = select(trigger_instances).where(*conditions).order_by(_t.occurred_at.desc(), _t.id.desc())
    statement = statement.offset(wanted.offset)
    if wanted.limit is not None:
        statement = statement.limit(wanted.limit)
    total = await tx.scalar(select(func.count()).select_from(trigger_instances).where(*conditions))
    return [_instance(row) for row in await tx.all(statement)], int(total or 0)


async def instance(tx: Transaction, account: AccountId, instance_id: str) -> TriggerInstance | None:
    """Read one trigger instance."""
    row = await tx.one_or_none(
        select(trigger_instances).where((_t.account_id == account) & (_t.id == instance_id))
    )
    return None if row is None else _instance(row)


def _is(one: Due) -> ColumnElement[bool]:
    return (_f.execution_id == one.execution_id) & (_f.kind == one.kind)


def _instance(row: Row[Any]) -> TriggerInstance:
    return TriggerInstance(
        id=row.id, trigger=row.trigger, occurred_at=row.occurred_at, payload=row.payload, status=row.status
    )
