"""Statements on notifications and deliveries. Owns the SQL; decides nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, delete, func, insert, select, update

from runyard.database.engine import Transaction
from runyard.infrastructure.notifications.model import Delivery, Notification, Told
from runyard.infrastructure.notifications.tables import deliveries, notifications

_n, _d = notifications.c, deliveries.c


async def add(tx: Transaction, notification: Notification) -> None:
    """Write a new notification."""
    values = {**msgspec.structs.asdict(notification), "events": [one.value for one in notification.events]}
    await tx.execute(insert(notifications).values(values))


async def remove(tx: Transaction, rule_id: str) -> None:
    """Remove the notifications of a rule and what is still to be delivered of them."""
    await tx.execute(delete(notifications).where(_n.rule_id == rule_id))


async def of_rule(tx: Transaction, rule_id: str) -> Sequence[Notification]:
    """Read the notifications of a rule."""
    return [_notification(row) for row in await tx.all(select(notifications).where(_n.rule_id == rule_id))]


async def find(tx: Transaction, notification_id: str) -> Notification | None:
    """Read a notification."""
    row = await tx.one_or_none(select(notifications).where(_n.id == notification_id))
    return None if row is None else _notification(row)


async def sealed_rows(tx: Transaction) -> Sequence[tuple[str, bytes]]:
    """Read what is sealed of every notification."""
    return [(row.id, row.sealed) for row in await tx.all(select(_n.id, _n.sealed))]


async def seal_again(tx: Transaction, notification_id: str, old: bytes, fresh: bytes) -> None:
    """Write a value that was sealed again, unless it was changed meanwhile."""
    wanted = (_n.id == notification_id) & (_n.sealed == old)
    await tx.execute(update(notifications).where(wanted).values(sealed=fresh))


async def add_delivery(tx: Transaction, delivery: Delivery) -> None:
    """Write a delivery that waits."""
    await tx.execute(insert(deliveries).values(msgspec.structs.asdict(delivery)))


async def due(tx: Transaction, now: datetime, limit: int) -> Sequence[Delivery]:
    """Read deliveries whose time has come, the longest waiting first."""
    statement = select(deliveries).where(_d.next_at <= now).order_by(_d.next_at).limit(limit)
    return [_delivery(row) for row in await tx.all(statement)]


async def next_time(tx: Transaction) -> datetime | None:
    """Read when the next delivery is due."""
    found: datetime | None = await tx.scalar(select(func.min(_d.next_at)))
    return found


async def write(tx: Transaction, delivery: Delivery) -> None:
    """Write what became of a try."""
    values = {
        "status": delivery.status,
        "attempts": delivery.attempts,
        "next_at": delivery.next_at,
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
        "ended_at": delivery.ended_at,
    }
    await tx.execute(update(deliveries).where(_d.id == delivery.id).values(values))


async def of_notification(tx: Transaction, notification_id: str, limit: int) -> Sequence[Delivery]:
    """Read the newest deliveries of a notification."""
    statement = select(deliveries).where(_d.notification_id == notification_id)
    rows = await tx.all(statement.order_by(_d.created_at.desc(), _d.id.desc()).limit(limit))
    return [_delivery(row) for row in rows]


async def forget_before(tx: Transaction, moment: datetime) -> int:
    """Remove deliveries that ended before a moment; return how many."""
    return (await tx.execute(delete(deliveries).where(_d.ended_at < moment))).rowcount


def _notification(row: Row[Any]) -> Notification:
    return Notification(**{**row._mapping, "events": [Told(one) for one in row.events]})


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(**row._mapping)
