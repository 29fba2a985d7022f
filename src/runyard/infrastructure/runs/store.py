"""SQL of runs. Owns every statement on their tables; decides nothing and never commits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, func, insert, or_, select, update

from runyard.database.engine import Transaction
from runyard.identity.model import Scope
from runyard.identity.scoping import scoped, visible
from runyard.infrastructure.runs.model import (
    Block,
    Origin,
    Run,
    RunKind,
    RunQuery,
    RunStatus,
    Step,
    Trigger,
)
from runyard.infrastructure.runs.tables import runs
from runyard.infrastructure.workspaces.tables import workspaces
from runyard.kernel.ids import AccountId, ExecutionId, ProjectId, RecordId, RunId, WorkspaceId

_r = runs.c
_PLAIN: Final = tuple(
    field.name for field in msgspec.structs.fields(Run) if field.name not in ("origin", "held")
)
_ENUMS: Final[Mapping[str, type[RunKind | Trigger | RunStatus | Step | Block]]] = {
    "kind": RunKind,
    "trigger": Trigger,
    "status": RunStatus,
    "step": Step,
    "block": Block,
}
_SEQUENCES: Final = ("arguments", "violations")
_MAPPINGS: Final = ("counts", "extras")


async def add(tx: Transaction, run: Run) -> None:
    """Write a new run. Raises UniqueViolation, ReferenceViolation."""
    await tx.execute(insert(runs), {**_columns(run), "settled": False})


async def get(tx: Transaction, scope: Scope, reference: str) -> Run | None:
    """Read one of the scope by either of its ids."""
    column = _r.record_id if len(reference) == 24 else _r.id
    row = await tx.one_or_none(scoped(select(runs).where(column == reference), runs, scope))
    return None if row is None else _run(row)


async def by_id(tx: Transaction, run_id: str) -> Run | None:
    """Read one by its id, whoever's it is."""
    row = await tx.one_or_none(select(runs).where(_r.id == run_id))
    return None if row is None else _run(row)


async def by_task(tx: Transaction, scope: Scope, task_id: str) -> Run | None:
    """Read the one of the scope whose plan or apply an execution is."""
    wanted = or_(_r.plan_task_id == task_id, _r.apply_task_id == task_id)
    row = await tx.one_or_none(scoped(select(runs).where(wanted), runs, scope))
    return None if row is None else _run(row)


async def search(tx: Transaction, scope: Scope, query: RunQuery) -> Sequence[Run]:
    """Read a page in its order."""
    statement = select(runs).where(*_conditions(scope, query))
    for name, ascending in query.sort:
        statement = statement.order_by(_r[name].asc() if ascending else _r[name].desc())
    statement = statement.order_by(_r.id.desc()).offset(query.offset).limit(query.limit)
    return [_run(row) for row in await tx.all(statement)]


async def oldest_pending(tx: Transaction, workspace_id: str) -> Run | None:
    """Read the run that is next in the line of a workspace."""
    wanted = _open(workspace_id) & (_r.status == RunStatus.PENDING.value)
    row = await tx.one_or_none(select(runs).where(wanted).order_by(_r.id).limit(1))
    return None if row is None else _run(row)


async def holder(tx: Transaction, workspace_id: str) -> Run | None:
    """Read the run that holds a workspace."""
    row = await tx.one_or_none(select(runs).where(_r.holds == workspace_id))
    return None if row is None else _run(row)


async def unended(tx: Transaction, workspace_id: str | None = None) -> Sequence[Run]:
    """Read the runs that are not over, of one workspace or of all, the oldest first."""
    return [_run(row) for row in await tx.all(select(runs).where(_open(workspace_id)).order_by(_r.id))]


async def unsettled(tx: Transaction) -> Sequence[Run]:
    """Read the runs that are over and have left something behind."""
    wanted = _r.settled.is_(False) & _r.ended_at.is_not(None)
    return [_run(row) for row in await tx.all(select(runs).where(wanted).order_by(_r.id))]


async def settle(tx: Transaction, run_id: str) -> None:
    """Note that nothing of a run is left behind."""
    await tx.execute(update(runs).where(_r.id == run_id).values(settled=True))


async def expired(tx: Transaction, now: datetime) -> Sequence[RunId]:
    """Return the runs that nobody decided in time."""
    wanted = _open() & _r.expires_at.is_not(None) & (_r.expires_at <= now)
    return [RunId(row.id) for row in await tx.all(select(_r.id).where(wanted))]


async def note_on_workspace(tx: Transaction, run: Run, *, new: bool = False) -> None:
    """Keep the summary of a workspace's runs in its own row, so that a search of workspaces needs no join."""
    values: dict[str, Any] = {"last_run_status": run.status.value}
    if new:
        values["runs_count"] = workspaces.c.runs_count + 1
        values["last_run_at"] = run.created_at
    if run.planned_at is not None:
        values["last_plan_at"] = run.planned_at
    if run.status in (RunStatus.APPLY_SUCCESS, RunStatus.APPLY_NO_CHANGES, RunStatus.APPLY_ERROR):
        values["last_apply_at"] = run.ended_at
    await tx.execute(update(workspaces).where(workspaces.c.id == run.workspace_id).values(**values))


class RunRows:
    """Rows of runs for the transition helper."""

    def __init__(self, scope: Scope | None = None) -> None:
        """See a scope only, or everything for the server itself."""
        self._scope = scope

    async def lock(self, tx: Transaction, subject_id: str) -> Run | None:
        """Read one for update."""
        statement = select(runs).where(_r.id == subject_id).with_for_update()
        if self._scope is not None:
            statement = scoped(statement, runs, self._scope)
        row = await tx.one_or_none(statement)
        return None if row is None else _run(row)

    async def write(self, tx: Transaction, before: Run, after: Run) -> None:
        """Write the columns that differ, and the summary of the workspace. Raises UniqueViolation."""
        old, new = _columns(before), _columns(after)
        changed = {name: value for name, value in new.items() if value != old[name]}
        if changed:
            await tx.execute(update(runs).where(_r.id == after.id).values(**changed))
        if before.status is not after.status:
            await note_on_workspace(tx, after)


def _open(workspace_id: str | None = None) -> ColumnElement[bool]:
    wanted = _r.settled.is_(False) & _r.ended_at.is_(None)
    return wanted if workspace_id is None else wanted & (_r.workspace_id == workspace_id)


def _conditions(scope: Scope, query: RunQuery) -> list[ColumnElement[bool]]:
    found = [visible(runs, scope)]
    if query.workspace_id is not None:
        found.append(_r.workspace_id == query.workspace_id)
    if query.run_ids:
        found.append(or_(_r.id.in_(list(query.run_ids)), _r.record_id.in_(list(query.run_ids))))
    for values, column in (
        (query.titles, _r.title),
        (query.statuses, _r.status),
        (query.branches, _r.branch),
        (query.commits, _r.commit),
        (query.runner_types, _r.runner_type),
        (query.vcs_types, _r.vcs_type),
        (query.repositories, _r.repository),
    ):
        if values:
            found.append(column.in_(list(values)))
    if query.text:
        found.append(
            or_(
                *(
                    func.lower(column).contains(query.text.lower(), autoescape=True)
                    for column in (_r.title, _r.branch, _r.commit)
                )
            )
        )
    return found


def _columns(run: Run) -> dict[str, Any]:
    row = {name: getattr(run, name) for name in _PLAIN}
    row |= {name: row[name].value for name in _ENUMS}
    row |= {name: list(row[name]) for name in _SEQUENCES}
    row |= {name: dict(row[name]) for name in _MAPPINGS}
    row["origin"] = msgspec.to_builtins(run.origin)
    row["branch"], row["commit"] = run.origin.branch, run.origin.commit
    row["holds"] = run.workspace_id if run.held else None
    return row


def _run(row: Row[Any]) -> Run:
    found = row._mapping
    apply_task = found["apply_task_id"]
    return Run(
        **{
            **{name: found[name] for name in _PLAIN},
            **{name: kind(found[name]) for name, kind in _ENUMS.items()},
            "id": RunId(found["id"]),
            "record_id": RecordId(found["record_id"]),
            "account_id": AccountId(found["account_id"]),
            "project_id": ProjectId(found["project_id"]),
            "workspace_id": WorkspaceId(found["workspace_id"]),
            "plan_task_id": ExecutionId(found["plan_task_id"]),
            "apply_task_id": None if apply_task is None else ExecutionId(apply_task),
            "origin": msgspec.convert(found["origin"], Origin),
            "held": found["holds"] is not None,
            "sealed": None if found["sealed"] is None else bytes(found["sealed"]),
        }
    )
