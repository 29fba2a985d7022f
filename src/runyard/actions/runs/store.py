"""Statements on runs, joined with the ledger for reading. Owns the SQL; decides nothing.

The ledger is only read here, and only for lists that need columns of both; every change goes through its service.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)

from runyard.actions.runnertypes import RUNNER_TYPES
from runyard.actions.runs.model import STAND_IN_PACK, STAND_IN_RUNNER, Asker, Cause, Run, RunFilter
from runyard.actions.tables import action_runs
from runyard.database.engine import Prepared, Transaction
from runyard.executions.tables import executions
from runyard.identity.model import Scope
from runyard.identity.scoping import is_whole_account, visible
from runyard.kernel.clock import from_unix_micros, unix_micros
from runyard.kernel.jsons import encode_json

_e, _r = executions.c, action_runs.c
_ref = func.coalesce(_r.action_ref, literal(f"{STAND_IN_PACK}.") + _e.kind)
_user = _e.actor
"""The user of a run is the actor of its execution, whose index has all of a user's; that of the runs has those of one
action.
"""
_kind = func.coalesce(_r.runner, literal(STAND_IN_RUNNER))
_SORTS: Mapping[str, ColumnElement[Any]] = {
    "timestamp": _e.created_at,
    "id": _e.id,
    "action": _ref,
    "name": _ref,
    "status": case((_e.status == "waiting", "pending"), else_=_e.status),
    "liveaction": _r.liveaction_id,
    "parent": _e.parent_id,
    "runner": _kind,
    "user": _user,
    "rule": _r.rule_name,
    "trigger": _r.trigger_name,
    "trigger_type": _r.trigger_type,
    "trigger_instance": _r.trigger_instance_id,
}
_ABSENT_LAST = frozenset({"liveaction", "parent", "rule", "trigger", "trigger_type", "trigger_instance"})
"""Columns that may hold nothing, which counts as less than everything: databases differ in that."""
_INSERTED = (
    "execution_id", "account_id", "liveaction_id", "action_ref", "runner", "user_name", "created_at", "document",
    "context", "sealed", "expires_at", "rule_name", "trigger_name", "trigger_type", "trigger_instance_id",
)  # fmt: skip
INSERT = Prepared(
    insert(action_runs).values({name: bindparam(name) for name in _INSERTED}).inline(), _INSERTED
)
_READ = (
    "execution_id", "liveaction_id", "action_ref", "runner", "user_name", "created_at", "context", "sealed",
    "sealed_result", "expires_at", "document",
)  # fmt: skip
GET = Prepared(select(*(_r[name] for name in _READ)).where(_r.execution_id == bindparam("of_id")), ("of_id",))
_JOINED = executions.outerjoin(action_runs, _r.execution_id == _e.id)
_RUNS_FIRST = action_runs.join(executions, _r.execution_id == _e.id)


async def insert_run(tx: Transaction, account: str, run: Run) -> None:
    """Write the run of a new execution."""
    document = {
        "action": run.action,
        "notify": run.notify,
        "callback": run.callback,
        "inquiry": run.inquiry,
        "delay_ms": run.delay_ms,
    }
    if run.asker is not None:
        document["asker"] = run.asker
    if run.cause is not None:
        document["cause"] = msgspec.to_builtins(run.cause)
    values = (
        run.execution_id,
        account,
        run.liveaction_id,
        run.action_ref,
        run.runner,
        run.user_name,
        unix_micros(run.created_at),
        encode_json(document).decode(),
        encode_json(run.context).decode(),
        run.sealed,
        None if run.expires_at is None else unix_micros(run.expires_at),
        *_caused(run.cause),
    )
    await tx.run(INSERT, values)


def _caused(cause: Cause | None) -> Sequence[str | None]:
    """Return the columns that executions are found by when something caused them, in the order of `INSERT`."""
    if cause is None:
        return (None, None, None, None)
    return (
        cause.rule.get("name"),
        cause.trigger.get("name"),
        cause.trigger_type.get("name"),
        cause.trigger_instance.get("id"),
    )


async def get(tx: Transaction, execution_id: str) -> Run | None:
    """Read a run."""
    rows = await tx.fetch(GET, (execution_id,))
    if not rows:
        return None
    found: dict[str, Any] = dict(zip(_READ, rows[0], strict=True))
    for name in ("document", "context"):
        if isinstance(found[name], str):
            found[name] = msgspec.json.decode(found[name])
    for name in ("created_at", "expires_at"):
        if found[name] is not None:
            found[name] = from_unix_micros(found[name])
    return _run(SimpleNamespace(**found))


_WITHOUT_SEALED = [null().label("sealed_result") if one.name == "sealed_result" else one for one in _r]


async def runs_of(tx: Transaction, execution_ids: Sequence[str], *, secrets: bool) -> dict[str, Run]:
    """Read several runs by the ids of their executions, sealed results only where `secrets` are to be shown."""
    columns = _r if secrets else _WITHOUT_SEALED
    rows = await tx.all(select(*columns).where(_r.execution_id.in_(list(execution_ids))))
    return {row.execution_id: _run(row) for row in rows}


async def sizes_of(tx: Transaction, execution_ids: Sequence[str], *, results: bool) -> Mapping[str, int]:
    """Measure what reading executions with their runs takes, in characters as it is kept: with their results or without."""
    columns = [func.length(cast(_r.document, Text)), func.length(_r.sealed)]
    if results:
        columns += [func.length(cast(_e.result, Text)), func.length(_r.sealed_result)]
    total = sum((func.coalesce(one, 0) for one in columns), literal(0))
    statement = select(_e.id, total.label("size")).select_from(_JOINED)
    rows = await tx.all(statement.where(_e.id.in_(list(execution_ids))))
    return {row.id: row.size for row in rows}


async def add_context(tx: Transaction, execution_id: str, more: Mapping[str, Any]) -> None:
    """Write more into the context of a run."""
    known = await tx.scalar(select(_r.context).where(_r.execution_id == execution_id))
    if known is not None:
        changed = {**known, **more}
        await tx.execute(update(action_runs).where(_r.execution_id == execution_id).values(context=changed))


async def set_sealed_result(tx: Transaction, execution_id: str, sealed: bytes) -> None:
    """Keep a result in clear."""
    await tx.execute(update(action_runs).where(_r.execution_id == execution_id).values(sealed_result=sealed))


async def page(tx: Transaction, scope: Scope, wanted: RunFilter) -> Sequence[str]:
    """Return the ids of executions under a filter, in its order."""
    statement: Select[Any] = select(_e.id).select_from(_source(wanted)).where(*_conditions(scope, wanted))
    for name, ascending in wanted.sort:
        by = _created(wanted) if name == "timestamp" else _SORTS[name]
        column = by.asc() if ascending else by.desc()
        if name in _ABSENT_LAST:
            column = column.nulls_first() if ascending else column.nulls_last()
        statement = statement.order_by(column)
    ascending = bool(wanted.sort) and wanted.sort[0] == ("timestamp", True)
    statement = statement.order_by(_e.seq.asc() if ascending else _e.seq.desc())
    statement = statement.offset(wanted.offset)
    if wanted.limit is not None:
        statement = statement.limit(wanted.limit)
    return [row.id for row in await tx.all(statement)]


async def count(
    tx: Transaction,
    scope: Scope,
    wanted: RunFilter,
    *,
    younger: datetime | None = None,
    older: datetime | None = None,
) -> int:
    """Count the executions under a filter, those created after `younger` and not after `older` where given."""
    if "parent" in wanted.absent:
        # Nearly all are without: an index has those with one, and another one all of them.
        rest = msgspec.structs.replace(wanted, absent=[name for name in wanted.absent if name != "parent"])
        whole = await count(tx, scope, rest, younger=younger, older=older)
        # The account is an expression here, so that no planner takes its index instead of that of the children.
        children_only = (_e.parent_id > "", _e.account_id + "" == scope.account_id)
        return whole - await _counted(tx, scope, rest, younger, older, children_only)
    if wanted.runner == STAND_IN_RUNNER and not _led_by_runs(wanted):
        # Whatever has no run counts as its kind as well: all but those of the other kinds.
        rest = msgspec.structs.replace(wanted, runner=None)
        others = [msgspec.structs.replace(wanted, runner=kind) for kind in _OTHER_RUNNERS]
        whole = await count(tx, scope, rest, younger=younger, older=older)
        return whole - sum([await _counted(tx, scope, one, younger, older) for one in others])
    return await _counted(tx, scope, wanted, younger, older)


_OTHER_RUNNERS = tuple(name for name in RUNNER_TYPES if name != STAND_IN_RUNNER)


async def _counted(
    tx: Transaction,
    scope: Scope,
    wanted: RunFilter,
    younger: datetime | None,
    older: datetime | None,
    children_only: Sequence[ColumnElement[bool]] = (),
) -> int:
    conditions = _conditions(scope, wanted)
    if children_only and is_whole_account(scope):
        conditions = [*children_only, *conditions[1:]]
    elif children_only:
        conditions += children_only
    created = _created(wanted)
    if younger is not None:
        conditions.append(created > younger)
    if older is not None:
        conditions.append(created <= older)
    source: FromClause = _source(wanted)
    if not children_only and _of_runs_alone(scope, wanted):
        source, conditions = action_runs, conditions[1:]
    elif source is _JOINED and not _needs_runs(wanted):
        source = executions
    return int(await tx.scalar(select(func.count()).select_from(source).where(*conditions)) or 0)


async def live_until(tx: Transaction, until: datetime, limit: int) -> frozenset[str]:
    """Return the executions of all accounts created until then that have not ended, at most `limit`."""
    # By the index of those that have not ended: with one more condition in it, a planner takes a longer way.
    statement = select(_e.id, _e.created_at).where(_e.ended_at.is_(None), _e.seq > 0).order_by(_e.seq)
    found = await tx.all(statement.limit(limit))
    return frozenset(row.id for row in found if row.created_at <= until)


async def children(tx: Transaction, parents: Sequence[str]) -> dict[str, list[str]]:
    """Return the direct children of executions, in order of creation."""
    found: dict[str, list[str]] = {}
    statement = select(_e.id, _e.parent_id).where(_e.parent_id.in_(list(parents))).order_by(_e.seq)
    for row in await tx.all(statement):
        found.setdefault(row.parent_id, []).append(row.id)
    return found


async def newest(tx: Transaction, scope: Scope, owner: str | None) -> str | None:
    """Return the id of the newest execution, of one owner's when one is given."""
    statement = select(_e.id).where(visible(executions, scope)).order_by(_e.seq.desc()).limit(1)
    if owner is not None:
        statement = statement.select_from(_JOINED).where(_user == owner)
    found = await tx.scalar(statement)
    return None if found is None else str(found)


async def distinct(tx: Transaction, scope: Scope, name: str, owner: str | None) -> list[str]:
    """Return the distinct values of a sortable column, of one owner's executions only when one is given."""
    statement = select(_SORTS[name]).select_from(_JOINED).where(visible(executions, scope)).distinct()
    if owner is not None:
        statement = statement.where(_user == owner)
    return sorted(str(row[0]) for row in await tx.all(statement) if row[0] is not None)


async def overdue(tx: Transaction, now: datetime) -> Sequence[str]:
    """Return the executions whose inquiry has to be given up."""
    statement = (
        select(_r.execution_id)
        .join(executions, _r.execution_id == _e.id)
        .where(_r.expires_at.is_not(None), _r.expires_at <= now, _e.status == "waiting")
    )
    return [row.execution_id for row in await tx.all(statement)]


_BY_RUN = ("rule", "trigger", "trigger_type", "trigger_instance", "liveaction")


def _led_by_runs(wanted: RunFilter) -> bool:
    """Tell whether a filter finds its rows by an index of the runs: only runs have what it asks for."""
    of_action = wanted.action is not None and wanted.action.partition(".")[0] != STAND_IN_PACK
    of_runner = wanted.runner not in (None, STAND_IN_RUNNER)
    return of_action or of_runner or any(getattr(wanted, name) is not None for name in _BY_RUN)


def _needs_runs(wanted: RunFilter) -> bool:
    return (
        _led_by_runs(wanted)
        or wanted.action is not None
        or wanted.runner is not None
        or bool(set(wanted.absent) - {"parent"})
    )


def _of_runs_alone(scope: Scope, wanted: RunFilter) -> bool:
    """Tell whether nothing of the ledger is asked for: then its rows need not be looked at."""
    ledger = wanted.nothing or wanted.ids or wanted.statuses or wanted.parent or wanted.absent
    bounds = wanted.after or wanted.before
    return _led_by_runs(wanted) and is_whole_account(scope) and not ledger and not bounds


def _source(wanted: RunFilter) -> FromClause:
    return _RUNS_FIRST if _led_by_runs(wanted) else _JOINED


def _created(wanted: RunFilter) -> ColumnElement[Any]:
    """Return the time of creation, which both tables have, from the table whose index leads."""
    return _r.created_at if _led_by_runs(wanted) else _e.created_at


def _conditions(scope: Scope, wanted: RunFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of a filter; the scope comes first."""
    found: list[ColumnElement[bool]] = [visible(executions, scope)]
    if _led_by_runs(wanted):
        found.append(_r.account_id == scope.account_id)
    if wanted.nothing:
        found.append(_e.id == "")
    if wanted.ids:
        found.append(_e.id.in_(list(wanted.ids)))
    if wanted.action is not None:
        found.append(_stands(wanted.action))
    if wanted.statuses:
        found.append(_e.status.in_(list(wanted.statuses)))
    if wanted.liveaction is not None:
        found.append(_r.liveaction_id == wanted.liveaction)
    if wanted.parent is not None:
        found.append(_e.parent_id == wanted.parent)
    found += [_SORTS[name].is_(None) for name in wanted.absent]
    user = _r.user_name if _led_by_runs(wanted) else _user
    if wanted.owner is not None:
        found.append(user == wanted.owner)
    for name in ("rule", "trigger", "trigger_type", "trigger_instance"):
        value = getattr(wanted, name)
        if value is not None:
            found.append(_SORTS[name] == value)
    if wanted.runner is not None:
        found.append(
            _kind == wanted.runner if wanted.runner == STAND_IN_RUNNER else _r.runner == wanted.runner
        )
    if wanted.user is not None:
        found.append(user == wanted.user)
    created = _created(wanted)
    if wanted.after is not None:
        found.append(created >= wanted.after if wanted.inclusive else created > wanted.after)
    if wanted.before is not None:
        found.append(created <= wanted.before if wanted.inclusive else created < wanted.before)
    return found


def _stands(ref: str) -> ColumnElement[bool]:
    pack, _, kind = ref.partition(".")
    if pack != STAND_IN_PACK:
        return _r.action_ref == ref
    return or_(_r.action_ref == ref, and_(_r.action_ref.is_(None), _e.kind == kind))


def _run(row: Any) -> Run:  # noqa: ANN401  whatever has the columns as attributes
    document: dict[str, Any] = dict(row.document)
    cause, asker = document.pop("cause", None), document.pop("asker", None)
    return Run(
        execution_id=row.execution_id,
        liveaction_id=row.liveaction_id,
        action_ref=row.action_ref,
        runner=row.runner,
        user_name=row.user_name,
        created_at=row.created_at,
        context=row.context,
        sealed=row.sealed,
        sealed_result=row.sealed_result,
        expires_at=row.expires_at,
        asker=None if asker is None else msgspec.convert(asker, Asker),
        cause=None if cause is None else msgspec.convert(cause, Cause),
        **document,
    )
