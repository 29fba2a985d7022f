"""Statements of the ledger. Owns the SQL on executions, their labels and assignments; decides nothing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, insert, null, select, update

from runyard.database.engine import Database, Prepared, Step, Transaction
from runyard.database.tables import INSERT_EVENTS, event_from_row, event_values, events
from runyard.executions.dispatch.port import Assignment
from runyard.executions.errors import ExecutionNotFound
from runyard.executions.model import HELD, TERMINAL, Execution, Kind, Place, Status, Tenant
from runyard.executions.tables import assignments, execution_labels, executions
from runyard.kernel.clock import from_unix_micros, unix_micros
from runyard.kernel.events import Event
from runyard.kernel.ids import AccountId, ExecutionId, ProjectId
from runyard.kernel.jsons import encode_json

_INSERTED = tuple(column.name for column in executions.c if column.name != "seq")
_ENDING = (
    "status",
    "status_reason",
    "exit_code",
    "signal",
    "result",
    "ended_at",
    "duration_us",
    "output_bytes",
    "output_truncated",
    "output_ref",
)

INSERT = Prepared(
    insert(executions).values({name: bindparam(name) for name in _INSERTED}).inline(),
    _INSERTED,
)

END = Prepared(
    update(executions)
    .where(
        executions.c.id == bindparam("of_id"),
        executions.c.attempt == bindparam("of_attempt"),
        executions.c.status.in_(
            [bindparam(f"held_{place}", status.value) for place, status in enumerate(sorted(HELD))]
        ),
    )
    .values({name: bindparam(f"new_{name}") for name in _ENDING}),
    (*(f"new_{name}" for name in _ENDING), "of_id", "of_attempt"),
)
"""The end of an attempt that a worker holds; changes nothing when the row has ended or belongs to another attempt."""


FORGET = Prepared(delete(assignments).where(assignments.c.execution_id == bindparam("of_id")), ("of_id",))
"""The assignments of an execution that has ended."""

LOCATE = Prepared(
    select(executions.c.output_ref, executions.c.ended_at).where(executions.c.id == bindparam("of_id")),
    ("of_id",),
)
"""Where the log of an execution lies, and whether it is closed."""

_READ = tuple(column.name for column in executions.c)
_BY_ID = select(executions).where(executions.c.id == bindparam("of_id"))
GET = Prepared(_BY_ID, ("of_id",))
LOCK = Prepared(_BY_ID.with_for_update(), ("of_id",))
"""One row of all columns, read by `execution_from_values`."""

BEGIN = Prepared(
    update(executions)
    .where(executions.c.id == bindparam("of_id"), executions.c.ended_at.is_(None))
    .values({name: bindparam(f"new_{name}") for name in ("status", "started_at", "worker")}),
    ("new_status", "new_started_at", "new_worker", "of_id"),
)
"""The beginning of an attempt, the change that every execution goes through."""

_ASSIGNED = tuple(column.name for column in assignments.c if column.name != "seq")
ASSIGN = Prepared(
    insert(assignments).values({name: bindparam(name) for name in _ASSIGNED}).inline(), _ASSIGNED
)


def _json(value: Any) -> str:  # noqa: ANN401  any document
    return encode_json(value).decode()


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else unix_micros(moment)


def _duration_us(execution: Execution) -> int | None:
    return None if execution.duration_ms is None else round(execution.duration_ms * 1000)


def insert_values(execution: Execution) -> Sequence[Any]:
    """Return the driver values of a row in the order of `INSERT`."""
    place = execution.place
    return (
        execution.id,
        execution.account_id,
        execution.project_id,
        execution.project_path,
        execution.kind.value,
        execution.name,
        execution.parent_id,
        execution.root_id,
        place and place.kind,
        place and place.id,
        place and place.name,
        execution.actor,
        execution.door,
        execution.command,
        _json(execution.parameters) if execution.parameters else "{}",
        _json(execution.labels) if execution.labels else "{}",
        execution.status.value,
        execution.status_reason,
        execution.exit_code,
        execution.signal,
        None if execution.result is None else _json(execution.result),
        unix_micros(execution.created_at),
        _micros(execution.started_at),
        _micros(execution.ended_at),
        _duration_us(execution),
        execution.output_bytes,
        execution.output_truncated,
        execution.output_ref,
        execution.attempt,
        execution.worker,
        execution.request_id,
    )


async def add(tx: Transaction, execution: Execution, happened: Sequence[Event]) -> None:
    """Insert a row, its labels and its first events."""
    await tx.run(INSERT, insert_values(execution))
    await tx.run(INSERT_EVENTS[len(happened)], [value for event in happened for value in event_values(event)])
    if execution.labels:
        seq = await tx.scalar(select(executions.c.seq).where(executions.c.id == execution.id))
        rows = [
            {
                "account_id": execution.account_id,
                "name": name,
                "value": value,
                "created_at": execution.created_at,
                "execution_seq": seq,
            }
            for name, value in execution.labels.items()
        ]
        await tx.execute(insert(execution_labels), rows)


async def write_begin(database: Database, execution: Execution, happened: Sequence[Event]) -> None:
    """Insert a row with its first events and commit."""
    if execution.labels:
        async with database.transaction() as tx:
            await add(tx, execution, happened)
        return
    values = [value for event in happened for value in event_values(event)]
    await database.write(((INSERT, insert_values(execution)), (INSERT_EVENTS[len(happened)], values)))


async def write_end(database: Database, execution: Execution, event: Event, *, claimed: bool) -> bool:
    """Write the end of a held attempt with its event and commit, and forget the assignment of a `claimed` one. Return
    False when the row ended before or belongs to another attempt; nothing is changed then.
    """
    values = (
        execution.status.value,
        execution.status_reason,
        execution.exit_code,
        execution.signal,
        None if execution.result is None else _json(execution.result),
        _micros(execution.ended_at),
        _duration_us(execution),
        execution.output_bytes,
        execution.output_truncated,
        execution.output_ref,
        execution.id,
        execution.attempt,
    )
    statements: list[Step] = [(END, values), (INSERT_EVENTS[1], event_values(event))]
    if claimed:
        statements.append((FORGET, (execution.id,)))
    return await database.write(statements) == 1


async def get(tx: Transaction, execution_id: str) -> Execution | None:
    """Read one row by id, whoever owns it."""
    rows = await tx.fetch(GET, (execution_id,))
    return execution_from_values(rows[0]) if rows else None


def visible(scope: Tenant, execution: Execution | None) -> Execution:
    """Return what a scope may see. Raises ExecutionNotFound for the rest: not found, rather than forbidden."""
    if execution is None or execution.account_id != scope.account_id:
        raise ExecutionNotFound
    if not execution.project_path.startswith(scope.project_path):
        raise ExecutionNotFound
    return execution


class ExecutionRows:
    """The ledger as the transition helper sees it, whole or narrowed to a scope."""

    def __init__(self, scope: Tenant | None = None) -> None:
        """Give a scope to let a tenant change only what it may see."""
        self._scope = scope

    async def lock(self, tx: Transaction, subject_id: str) -> Execution:
        """Read a row for update. Raises ExecutionNotFound."""
        rows = await tx.fetch(LOCK, (subject_id,))
        if not rows:
            raise ExecutionNotFound
        execution = execution_from_values(rows[0])
        return execution if self._scope is None else visible(self._scope, execution)

    async def write(self, tx: Transaction, before: Execution, after: Execution) -> None:
        """Write what differs; a row that has ended is never written, whatever the caller decided."""
        changed = _changes(before, after)
        if changed.keys() == _BEGINNING:
            values = (after.status.value, _micros(after.started_at), after.worker, before.id)
            await tx.run(BEGIN, values)
        elif changed:
            ended = [status.value for status in TERMINAL]
            guard = executions.c.status.not_in(ended)
            await tx.execute(update(executions).where(executions.c.id == before.id, guard).values(changed))


_BEGINNING = frozenset({"status", "started_at", "worker"})


def _changes(before: Execution, after: Execution) -> Mapping[str, Any]:
    changed: dict[str, Any] = {}
    for field in ("status", "status_reason", "exit_code", "signal", "result", "started_at", "ended_at"):
        if getattr(before, field) != getattr(after, field):
            changed[field] = getattr(after, field)
    for field in ("output_bytes", "output_truncated", "output_ref", "attempt", "worker"):
        if getattr(before, field) != getattr(after, field):
            changed[field] = getattr(after, field)
    if before.duration_ms != after.duration_ms:
        changed["duration_us"] = _duration_us(after)
    if "status" in changed:
        changed["status"] = after.status.value
    return changed


async def history(tx: Transaction, execution_id: str) -> Sequence[Event]:
    """Read all events of an execution, oldest first."""
    statement = select(events).where(events.c.subject_id == execution_id).order_by(events.c.id)
    return [event_from_row(row) for row in await tx.all(statement)]


_WITHOUT_RESULT = [null().label("result") if one.name == "result" else one for one in executions.c]


async def several(
    tx: Transaction, scope: Tenant, execution_ids: Sequence[str], *, results: bool = True
) -> Sequence[Execution]:
    """Read several executions, their results only where wanted; those that a scope may not see are left out."""
    columns = executions.c if results else _WITHOUT_RESULT
    rows = await tx.all(select(*columns).where(executions.c.id.in_(list(execution_ids))))
    found = {row.id: execution_from_row(row) for row in rows}
    wanted = [found[name] for name in dict.fromkeys(execution_ids) if name in found]
    return [
        one
        for one in wanted
        if one.account_id == scope.account_id and one.project_path.startswith(scope.project_path)
    ]


async def histories(tx: Transaction, execution_ids: Sequence[str]) -> Mapping[str, Sequence[Event]]:
    """Read all events of several executions, oldest first."""
    found: dict[str, list[Event]] = {name: [] for name in execution_ids}
    statement = select(events).where(events.c.subject_id.in_(list(found))).order_by(events.c.id)
    for row in await tx.all(statement):
        found[row.subject_id].append(event_from_row(row))
    return found


async def live(tx: Transaction, after_seq: int, limit: int) -> Sequence[tuple[int, Execution]]:
    """Read executions of all accounts that have not ended, in order of insertion."""
    statement = (
        select(executions)
        .where(executions.c.ended_at.is_(None), executions.c.seq > after_seq)
        .order_by(executions.c.seq)
        .limit(limit)
    )
    return [(row.seq, execution_from_row(row)) for row in await tx.all(statement)]


async def add_assignment(
    tx: Transaction, assignment: Assignment, not_before: datetime | None, now: datetime
) -> None:
    """Keep an assignment. Raises UniqueViolation for a second one of the same attempt."""
    values = (
        assignment.execution_id,
        assignment.attempt,
        assignment.pool,
        assignment.priority,
        _micros(not_before),
        assignment.key,
        assignment.key_limit,
        assignment.runner,
        _json(assignment.document) if assignment.document else "{}",
        unix_micros(now),
    )
    await tx.run(ASSIGN, values)


async def assignment_of(
    tx: Transaction, execution_id: str, attempt: int
) -> tuple[Assignment, datetime | None] | None:
    """Read the assignment of an attempt and the time before which it must not begin."""
    found = (assignments.c.execution_id == execution_id, assignments.c.attempt == attempt)
    joined = select(assignments, executions.c.account_id).join(
        executions, executions.c.id == assignments.c.execution_id
    )
    row = await tx.one_or_none(joined.where(*found))
    if row is None:
        return None
    made = Assignment(
        execution_id=ExecutionId(row.execution_id),
        attempt=row.attempt,
        pool=row.pool,
        priority=row.priority,
        key=row.key,
        key_limit=row.key_limit,
        tenant=row.account_id,
        runner=row.runner,
        document=row.document,
    )
    return made, row.not_before


async def remove_assignments(tx: Transaction, execution_id: str) -> None:
    """Forget the assignments of an execution that has ended."""
    await tx.execute(delete(assignments).where(assignments.c.execution_id == execution_id))


class _Values:
    """A row of database values under the names of its columns, in the types that SQLAlchemy would give them."""

    def __init__(self, values: Sequence[Any]) -> None:
        found = dict(zip(_READ, values, strict=True))
        for name in ("parameters", "labels", "result"):
            if isinstance(found[name], str):
                found[name] = msgspec.json.decode(found[name])
        for name in ("created_at", "started_at", "ended_at"):
            if found[name] is not None:
                found[name] = from_unix_micros(found[name])
        found["output_truncated"] = bool(found["output_truncated"])
        self.__dict__ = found


def execution_from_values(values: Sequence[Any]) -> Execution:
    """Build an execution from the database values of all columns, as `Transaction.fetch` returns them."""
    return execution_from_row(_Values(values))


def execution_from_row(row: Any) -> Execution:  # noqa: ANN401  whatever has the columns as attributes
    """Build an execution from a row of all columns."""
    place = None
    if row.place_kind is not None:
        place = Place(row.place_kind, row.place_id, row.place_name or "")
    return Execution(
        id=ExecutionId(row.id),
        account_id=AccountId(row.account_id),
        project_id=ProjectId(row.project_id),
        project_path=row.project_path,
        kind=Kind(row.kind),
        name=row.name,
        parent_id=None if row.parent_id is None else ExecutionId(row.parent_id),
        root_id=ExecutionId(row.root_id),
        place=place,
        actor=row.actor,
        door=row.door,
        command=row.command,
        parameters=row.parameters,
        labels=row.labels,
        status=Status(row.status),
        status_reason=row.status_reason,
        exit_code=row.exit_code,
        signal=row.signal,
        result=row.result,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        duration_ms=None if row.duration_us is None else row.duration_us / 1000,
        output_bytes=row.output_bytes,
        output_truncated=row.output_truncated,
        output_ref=row.output_ref,
        attempt=row.attempt,
        worker=row.worker,
        request_id=row.request_id,
    )
