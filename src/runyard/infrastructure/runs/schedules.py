"""SQL of the schedules. Owns every statement on their rows; decides nothing and never commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, delete, insert, or_, select, update

from runyard.database.engine import Transaction
from runyard.identity.scoping import after_prefix
from runyard.infrastructure.runs.tables import schedules
from runyard.infrastructure.workspaces.model import MANAGED
from runyard.infrastructure.workspaces.tables import workspaces

_s, _w = schedules.c, workspaces.c
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Candidate:
    """A workspace that may have a schedule."""

    workspace_id: str
    project_path: str
    cron: str


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule whose time has come."""

    workspace_id: str
    expression: str
    next_at: datetime


async def known(tx: Transaction) -> Mapping[str, str]:
    """Read the expression of every row by its workspace."""
    return {row.workspace_id: row.expression for row in await tx.all(select(_s.workspace_id, _s.expression))}


async def candidates(tx: Transaction, paths: Sequence[str]) -> Sequence[Candidate]:
    """Read the managed workspaces that name a schedule or are below one of some projects."""
    below = [and_(_w.project_path >= path, _w.project_path < after_prefix(path)) for path in paths]
    statement = select(_w.id, _w.project_path, _w.cron).where(
        _w.runner_type == MANAGED, or_(_w.cron != "", *below)
    )
    return [Candidate(row.id, row.project_path, row.cron) for row in await tx.all(statement)]


async def due(tx: Transaction, now: datetime) -> Sequence[Due]:
    """Read what is due, the longest overdue first, at most 100."""
    statement = select(schedules).where(_s.next_at <= now).order_by(_s.next_at).limit(_AT_ONCE)
    return [Due(row.workspace_id, row.expression, row.next_at) for row in await tx.all(statement)]


async def move(tx: Transaction, one: Due, next_at: datetime) -> bool:
    """Put a row to its next time; False when somebody else has moved it."""
    same = (_s.workspace_id == one.workspace_id) & (_s.next_at == one.next_at)
    return bool((await tx.execute(update(schedules).where(same).values(next_at=next_at))).rowcount)


async def remove(tx: Transaction, workspace_ids: Sequence[str]) -> None:
    """Delete rows."""
    for start in range(0, len(workspace_ids), _AT_ONCE):
        part = list(workspace_ids[start : start + _AT_ONCE])
        await tx.execute(delete(schedules).where(_s.workspace_id.in_(part)))


async def put(tx: Transaction, rows: Sequence[tuple[str, str, datetime]]) -> None:
    """Write new or changed rows."""
    await remove(tx, [workspace_id for workspace_id, _, _ in rows])
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        await tx.execute(
            insert(schedules),
            [{"workspace_id": one, "expression": text, "next_at": at} for one, text, at in part],
        )
