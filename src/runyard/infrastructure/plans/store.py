"""Statements on plans and changed files. Owns the SQL and the packing; decides nothing."""

import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, bindparam, delete, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from runyard.database.engine import Transaction
from runyard.identity.model import Scope
from runyard.identity.scoping import scoped
from runyard.infrastructure.costs.estimate import ResourceCost
from runyard.infrastructure.plans.model import Action, PlannedResource, PlanSummary, Subject
from runyard.infrastructure.plans.tables import plan_resources, plans
from runyard.kernel.jsons import encode_json

CHANGE: Final = "change"
DRIFT: Final = "drift"
_p, _r = plans.c, plan_resources.c
_ACTIONS: Final = {one.value: one for one in Action}
_NO_CHANGE: Final[Mapping[str, Any]] = {}
_LEVEL: Final = 1
"""Of compression: higher levels cost more than they save on rows of this size."""


def packed(value: bytes) -> bytes:
    """Return bytes in the form in which they are kept."""
    return zlib.compress(value, _LEVEL)


def unpacked(value: bytes) -> bytes:
    """Return what was packed."""
    return zlib.decompress(value)


async def begin(tx: Transaction, subject: Subject, summary: PlanSummary, variables: dict[str, Any]) -> None:
    """Write a plan that is not whole yet, in the place of one that the run had."""
    await tx.execute(delete(plans).where(_p.run_id == subject.run_id))
    await tx.execute(
        insert(plans).values(
            run_id=subject.run_id,
            account_id=subject.account_id,
            project_id=subject.project_id,
            project_path=subject.project_path,
            workspace_id=subject.workspace_id,
            task_id=subject.task_id,
            whole=False,
            summary=packed(encode_json(summary)),
            variables=packed(encode_json(variables)),
            created_at=summary.created_at,
        )
    )


def resource_values(run_id: str, kind: str, one: PlannedResource) -> dict[str, Any]:
    """Return the row of a resource."""
    return {
        "run_id": run_id,
        "kind": kind,
        "position": one.position,
        "address": one.address,
        "module": one.module,
        "type": one.type,
        "name": one.name,
        "provider": one.provider,
        "mode": one.mode,
        "action": one.action.value,
        "reason": one.reason,
        "region": one.region,
        "tags": one.tags,
        "cost_before": one.cost_before,
        "cost_after": one.cost_after,
        "status": one.status,
        "search": f"{one.address} {one.type} {one.provider} {one.region}".lower(),
        "change": packed(encode_json(one.change)),
    }


async def add_resources(tx: Transaction, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of resources."""
    await tx.execute(insert(plan_resources), rows)


async def finish(tx: Transaction, summary: PlanSummary) -> None:
    """Make a plan whole."""
    values = {"whole": True, "summary": packed(encode_json(summary))}
    await tx.execute(update(plans).where(_p.run_id == summary.run_id).values(values))


async def find(tx: Transaction, scope: Scope | None, wanted: ColumnElement[bool]) -> PlanSummary | None:
    """Read the newest whole plan that fits a condition on `plans`; None as the scope is the server itself."""
    statement = select(plans).where(wanted, _p.whole.is_(True))
    if scope is not None:
        statement = scoped(statement, plans, scope)
    row = await tx.one_or_none(statement.order_by(_p.created_at.desc()).limit(1))
    return None if row is None else msgspec.json.decode(unpacked(row.summary), type=PlanSummary)


async def variables_of(tx: Transaction, run_id: str) -> dict[str, Any]:
    """Read the masked input variables of a plan."""
    kept = await tx.scalar(select(_p.variables).where(_p.run_id == run_id))
    return {} if kept is None else dict(msgspec.json.decode(unpacked(kept)))


def matching(run_id: str, kind: str, search: str = "") -> Sequence[ColumnElement[bool]]:
    """Return the conditions of a listing."""
    conditions: list[ColumnElement[bool]] = [_r.run_id == run_id, _r.kind == kind]
    if search:
        conditions.append(_r.search.contains(search.lower(), autoescape=True))
    return conditions


async def page(
    tx: Transaction, conditions: Sequence[ColumnElement[bool]], offset: int, limit: int
) -> Sequence[PlannedResource]:
    """Read resources in the order of the plan, without their documents."""
    columns = [column for column in plan_resources.c if column.name not in ("change", "search")]
    statement = select(*columns).where(*conditions).order_by(_r.position).offset(offset).limit(limit)
    return [_resource(row) for row in await tx.all(statement)]


async def after(
    tx: Transaction, run_id: str, kind: str, position: int, limit: int
) -> Sequence[PlannedResource]:
    """Read resources behind a position, with their documents."""
    wanted = (_r.run_id == run_id) & (_r.kind == kind) & (_r.position > position)
    rows = await tx.all(select(plan_resources).where(wanted).order_by(_r.position).limit(limit))
    return [_resource(row, msgspec.json.decode(unpacked(row.change))) for row in rows]


async def places(tx: Transaction, run_id: str) -> Mapping[str, Sequence[int]]:
    """Read where each address is in a plan; one with deposed objects is there several times."""
    wanted = (_r.run_id == run_id) & (_r.kind == CHANGE)
    found: dict[str, list[int]] = {}
    for row in await tx.all(select(_r.position, _r.address).where(wanted)):
        found.setdefault(row.address, []).append(row.position)
    return found


async def set_status(tx: Transaction, run_id: str, positions: Sequence[int], status: str) -> None:
    """Say what became of some resources."""
    wanted = (_r.run_id == run_id) & (_r.kind == CHANGE) & _r.position.in_(positions)
    await tx.execute(update(plan_resources).where(wanted).values(status=status))


async def set_costs(tx: Transaction, run_id: str, costs: Sequence[tuple[int, ResourceCost]]) -> None:
    """Write what some resources cost, by position."""
    wanted = (_r.run_id == run_id) & (_r.kind == CHANGE) & (_r.position == bindparam("at"))
    statement = update(plan_resources).where(wanted)
    values: Mapping[str, Any] = {
        "cost_before": bindparam("month_before"),
        "cost_after": bindparam("month_after"),
    }
    rows = [{"at": at, "month_before": cost.before, "month_after": cost.after} for at, cost in costs]
    await tx.execute(statement.values(values), rows)


async def forget_before(tx: Transaction, moment: datetime, limit: int) -> int:
    """Remove the resources and files of some plans that are older than a moment; return how many plans."""
    has_rows = select(_r.run_id).where(_r.run_id == _p.run_id).exists()
    old = select(_p.run_id).where(_p.created_at < moment, has_rows).order_by(_p.created_at).limit(limit)
    runs = [row.run_id for row in await tx.all(old)]
    if runs:
        await tx.execute(delete(plan_resources).where(_r.run_id.in_(runs)))
    return len(runs)


def _resource(row: Row[Any], change: Mapping[str, Any] = _NO_CHANGE) -> PlannedResource:
    return PlannedResource(
        position=row.position,
        address=row.address,
        module=row.module,
        type=row.type,
        name=row.name,
        provider=row.provider,
        mode=row.mode,
        action=_ACTIONS[row.action],
        reason=row.reason,
        region=row.region,
        tags=row.tags,
        cost_before=row.cost_before,
        cost_after=row.cost_after,
        status=row.status,
        change=change,
    )
