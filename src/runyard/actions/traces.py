"""Verbs and statements of traces: what belongs to one cause. Owns their rows; decides nothing about executions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, bindparam, func, insert, select

from runyard.actions.ids import TraceId
from runyard.actions.tables import trace_parts, traces
from runyard.actions.values import JsonObject
from runyard.database.engine import Database, Prepared, Transaction
from runyard.executions.tables import executions
from runyard.identity.model import Scope
from runyard.identity.scoping import is_whole_account, visible
from runyard.kernel.clock import unix_micros
from runyard.kernel.errors import NotFound
from runyard.kernel.jsons import encode_json

_t, _p = traces.c, trace_parts.c
_TRACE = ("id", "account_id", "tag", "started_at")
_PART = ("trace_id", "kind", "object_id", "ref", "updated_at", "caused_by")
ADD_TRACE = Prepared(insert(traces).values({name: bindparam(name) for name in _TRACE}).inline(), _TRACE)
ADD_PART = Prepared(insert(trace_parts).values({name: bindparam(name) for name in _PART}).inline(), _PART)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Something that belongs to a trace."""

    kind: str
    object_id: str
    ref: str
    updated_at: datetime
    caused_by: JsonObject = {}


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A trace and its parts."""

    id: str
    tag: str
    started_at: datetime
    parts: Sequence[Part] = ()


class TraceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which traces to list."""

    tag: str | None = None
    kind: str | None = None
    object_id: str | None = None
    ascending: bool = False
    offset: int = 0
    limit: int | None = None


class TraceService:
    """The traces of all accounts."""

    def __init__(self, database: Database) -> None:
        """Read and write a database."""
        self._database = database

    async def get(self, scope: Scope, trace_id: str) -> Trace:
        """Read a trace that has an execution of a scope. Raises NotFound."""
        async with self._database.read() as tx:
            row = await tx.one_or_none(select(traces).where(_t.id == trace_id, *_seen(scope)))
            if row is None:
                raise NotFound(f'Unable to identify resource with id "{trace_id}".')
            return (await _with_parts(tx, [row]))[0]

    async def list(self, scope: Scope, wanted: TraceFilter) -> tuple[list[Trace], int]:
        """List the traces that have an execution of a scope, and count all that the filter matches."""
        statement, counted = select(traces), select(func.count()).select_from(traces)
        conditions = _seen(scope)
        if wanted.tag is not None:
            conditions.append(_t.tag == wanted.tag)
        if wanted.kind is not None and wanted.object_id is not None:
            inside = select(_p.trace_id).where(_p.kind == wanted.kind, _p.object_id == wanted.object_id)
            conditions.append(_t.id.in_(inside))
        order = (_t.started_at.asc(), _t.id) if wanted.ascending else (_t.started_at.desc(), _t.id.desc())
        statement = statement.where(*conditions).order_by(*order).offset(wanted.offset)
        if wanted.limit is not None:
            statement = statement.limit(wanted.limit)
        async with self._database.scan() as tx:
            found = await _with_parts(tx, await tx.all(statement))
            return found, int(await tx.scalar(counted.where(*conditions)) or 0)

    async def of_execution(self, execution_id: str) -> str | None:
        """Return the trace that an execution belongs to."""
        async with self._database.read() as tx:
            found = await tx.scalar(
                select(_p.trace_id).where(_p.kind == "execution", _p.object_id == execution_id)
            )
        return None if found is None else str(found)


def _seen(scope: Scope) -> list[ColumnElement[bool]]:
    """Return the conditions of a trace that a scope may see; a trace itself hangs on no project."""
    found = [_t.account_id == scope.account_id]
    if not is_whole_account(scope):
        own = select(executions.c.id).where(visible(executions, scope))
        parts = select(_p.trace_id).where(_p.kind == "execution", _p.object_id.in_(own))
        found.append(_t.id.in_(parts))
    return found


async def add_trace(tx: Transaction, account: str, tag: str, now: datetime) -> str:
    """Begin a trace and return its id."""
    trace_id = TraceId.new()
    await tx.run(ADD_TRACE, (trace_id, account, tag[:256], unix_micros(now)))
    return trace_id


async def add_part(tx: Transaction, trace_id: str, part: Part) -> None:
    """Add something to a trace."""
    caused_by = encode_json(part.caused_by).decode()
    values = (trace_id, part.kind, part.object_id, part.ref, unix_micros(part.updated_at), caused_by)
    await tx.run(ADD_PART, values)


async def _with_parts(tx: Transaction, rows: Sequence[Row[Any]]) -> list[Trace]:
    wanted = [row.id for row in rows]
    parts: dict[str, list[Part]] = {}
    found = select(trace_parts).where(_p.trace_id.in_(wanted)).order_by(_p.updated_at, _p.object_id)
    for row in await tx.all(found):
        part = Part(
            kind=row.kind,
            object_id=row.object_id,
            ref=row.ref,
            updated_at=row.updated_at,
            caused_by=row.caused_by,
        )
        parts.setdefault(row.trace_id, []).append(part)
    return [
        Trace(id=row.id, tag=row.tag, started_at=row.started_at, parts=parts.get(row.id, ())) for row in rows
    ]
