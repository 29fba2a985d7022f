"""The event table: history and outbox of every domain. Owns its columns and the two statements on it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, Row, String, Table, bindparam, insert

from runyard.database.engine import Prepared
from runyard.database.metadata import Json, Timestamp, metadata
from runyard.kernel.clock import unix_micros
from runyard.kernel.events import Event
from runyard.kernel.jsons import encode_json

events = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("account_id", String(24), nullable=False),
    Column("subject_kind", String(32), nullable=False),
    Column("subject_id", String(64), nullable=False),
    Column("type", String(64), nullable=False),
    Column("actor", String(256), nullable=False),
    Column("reason", String, nullable=True),
    Column("at", Timestamp, nullable=False),
    Column("body", Json, nullable=True),
    Index("ix_events_subject", "subject_id", "id"),
)
"""`id` grows with commit order on SQLite; on PostgreSQL only with insertion order."""

_COLUMNS = ("account_id", "subject_kind", "subject_id", "type", "actor", "reason", "at", "body")


def _prepared(rows: int) -> Prepared:
    """Prepare one INSERT of several event rows: one statement costs less than several."""
    names = [{column: f"{column}_{row}" for column in _COLUMNS} for row in range(rows)]
    values: list[dict[str, Any]] = [
        {column: bindparam(name) for column, name in row.items()} for row in names
    ]
    if rows == 1:
        return Prepared(insert(events).values(values[0]).inline(), list(names[0].values()))
    return Prepared(insert(events).values(values), [name for row in names for name in row.values()])


INSERT_EVENTS = {count: _prepared(count) for count in (1, 2, 3, 4)}
"""Prepared INSERTs by number of rows; values are those of `event_values`, row after row."""


def event_values(event: Event) -> Sequence[Any]:
    """Return the driver values of an event row in the order of `INSERT_EVENTS`."""
    return (
        event.account_id,
        event.subject_kind,
        event.subject_id,
        event.type,
        event.actor,
        event.reason,
        unix_micros(event.at),
        None if event.body is None else encode_json(event.body).decode(),
    )


def event_from_row(row: Row[Any]) -> Event:
    """Build an event from a row of all columns."""
    return Event(
        id=row.id,
        account_id=row.account_id,
        subject_kind=row.subject_kind,
        subject_id=row.subject_id,
        type=row.type,
        actor=row.actor,
        reason=row.reason,
        at=row.at,
        body=row.body,
    )
