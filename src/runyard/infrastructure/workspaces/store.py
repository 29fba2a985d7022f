"""SQL of workspaces. Owns every statement on their table; decides nothing and never commits."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, delete, false, func, insert, or_, select, update

from runyard.database.engine import Transaction
from runyard.identity.model import Scope
from runyard.identity.scoping import scoped, visible
from runyard.infrastructure.workspaces.model import (
    MANAGED,
    ApplyRule,
    Code,
    IacType,
    Lock,
    Match,
    Workspace,
    WorkspaceQuery,
)
from runyard.infrastructure.workspaces.tables import workspaces
from runyard.kernel.ids import AccountId, ProjectId, RecordId, WorkspaceId

_w = workspaces.c
_CODE: Final = (
    "vcs_type",
    "vcs_integration_id",
    "repository",
    "repository_url",
    "branch",
    "working_directory",
)
_PLAIN: Final = tuple(
    field.name for field in msgspec.structs.fields(Workspace) if field.name not in ("code", "lock")
)


async def add(tx: Transaction, workspace: Workspace) -> None:
    """Write a new workspace. Raises UniqueViolation, ReferenceViolation."""
    await tx.execute(insert(workspaces), _columns(workspace))


async def get(tx: Transaction, scope: Scope, reference: str) -> Workspace | None:
    """Read one of the scope by either of its ids."""
    column = _w.record_id if len(reference) == 24 else _w.id
    row = await tx.one_or_none(scoped(select(workspaces).where(column == reference), workspaces, scope))
    return None if row is None else _workspace(row)


async def by_id(tx: Transaction, workspace_id: str) -> Workspace | None:
    """Read one by its id, whoever's it is."""
    row = await tx.one_or_none(select(workspaces).where(_w.id == workspace_id))
    return None if row is None else _workspace(row)


async def named(tx: Transaction, scope: Scope, name: str) -> Workspace | None:
    """Read one of the scope by its name."""
    row = await tx.one_or_none(scoped(select(workspaces).where(_w.name == name), workspaces, scope))
    return None if row is None else _workspace(row)


async def identified(tx: Transaction, project_id: str, identifier: str) -> Workspace | None:
    """Read one of a project by its identifier."""
    wanted = (_w.project_id == project_id) & (_w.identifier == identifier)
    row = await tx.one_or_none(select(workspaces).where(wanted))
    return None if row is None else _workspace(row)


async def search(tx: Transaction, scope: Scope, query: WorkspaceQuery) -> Sequence[Workspace]:
    """Read a page in its order."""
    statement = select(workspaces).where(*_conditions(scope, query))
    for name, ascending in query.sort:
        # The databases disagree about where what never was goes: here it is older than everything.
        ordered = _w[name].asc().nulls_first() if ascending else _w[name].desc().nulls_last()
        statement = statement.order_by(ordered)
    statement = statement.order_by(_w.id.desc()).offset(query.offset).limit(query.limit)
    return [_workspace(row) for row in await tx.all(statement)]


async def count(tx: Transaction, scope: Scope, query: WorkspaceQuery) -> int:
    """Count what a search finds."""
    return int(
        await tx.scalar(select(func.count()).select_from(workspaces).where(*_conditions(scope, query)))
    )


async def labels(tx: Transaction, scope: Scope) -> Sequence[str]:
    """Return the distinct labels of the scope, sorted."""
    statement = select(_w.label_text).where(visible(workspaces, scope), _w.label_text != "").distinct()
    return sorted({one for row in await tx.all(statement) for one in row.label_text.split("\n") if one})


async def counts_by_project(tx: Transaction, scope: Scope) -> Mapping[ProjectId, int]:
    """Count the workspaces that hang on each project of the scope itself."""
    number = func.count().label("number")
    statement = select(_w.project_id, number).where(visible(workspaces, scope)).group_by(_w.project_id)
    rows = [row._mapping for row in await tx.all(statement)]
    return {ProjectId(row["project_id"]): int(row["number"]) for row in rows}


async def delete_workspace(tx: Transaction, workspace_id: str) -> bool:
    """Remove one; tell whether it was there."""
    return bool((await tx.execute(delete(workspaces).where(_w.id == workspace_id))).rowcount)


class WorkspaceRows:
    """Rows of workspaces for the transition helper."""

    def __init__(self, scope: Scope | None = None) -> None:
        """See a scope only, or everything for the server itself."""
        self._scope = scope

    async def lock(self, tx: Transaction, subject_id: str) -> Workspace | None:
        """Read one for update."""
        column = _w.record_id if len(subject_id) == 24 else _w.id
        statement = select(workspaces).where(column == subject_id).with_for_update()
        if self._scope is not None:
            statement = scoped(statement, workspaces, self._scope)
        row = await tx.one_or_none(statement)
        return None if row is None else _workspace(row)

    async def write(self, tx: Transaction, before: Workspace, after: Workspace) -> None:
        """Write the columns that differ. Raises UniqueViolation."""
        old, new = _columns(before), _columns(after)
        changed = {name: value for name, value in new.items() if value != old[name]}
        if changed:
            await tx.execute(update(workspaces).where(_w.id == after.id).values(**changed))


def _conditions(scope: Scope, query: WorkspaceQuery) -> list[ColumnElement[bool]]:
    found = [visible(workspaces, scope), *_matches(query.match)]
    if query.any_of is not None:
        found.append(or_(false(), *_matches(query.any_of)))
    if query.text:
        found.append(_w.search_text.contains(query.text.lower(), autoescape=True))
    if query.project_ids:
        found.append(_w.project_id.in_([str(one) for one in query.project_ids]))
    if query.ids is not None:
        found.append(_w.id.in_([str(one) for one in query.ids]))
    if query.pool_id is not None:
        found.append(_w.pool_id == query.pool_id)
    return found


def _matches(match: Match) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for values, column in (
        (match.names, _w.name),
        (match.repositories, _w.repository),
        (match.runner_types, _w.runner_type),
        (match.statuses, _w.last_run_status),
        (match.vcs_types, _w.vcs_type),
    ):
        if values:
            found.append(column.in_(list(values)))
    if match.labels:
        found.append(or_(*(_has_label(one) for one in match.labels)))
    if match.managed is not None:
        found.append(_w.runner_type == MANAGED if match.managed else _w.runner_type != MANAGED)
    return found


def _has_label(label: str) -> ColumnElement[bool]:
    """Return the condition that a workspace has a label as it is spelled: LIKE ignores case on SQLite, this does not."""
    return func.replace(_w.label_text, f"\n{label}\n", "") != _w.label_text


def _columns(workspace: Workspace) -> dict[str, Any]:
    row = {name: getattr(workspace, name) for name in _PLAIN}
    row |= {name: getattr(workspace.code, name) for name in _CODE}
    row["labels"], row["triggers"] = list(workspace.labels), list(workspace.triggers)
    row["extras"] = dict(workspace.extras)
    row["lock"] = None if workspace.lock is None else msgspec.to_builtins(workspace.lock)
    row["iac_type"], row["apply_rule"] = workspace.iac_type.value, workspace.apply_rule.value
    row["search_text"] = "\n".join((workspace.name, workspace.code.repository, *workspace.labels)).lower()
    row["label_text"] = "".join(("\n", *(f"{one}\n" for one in workspace.labels))) if workspace.labels else ""
    return row


def _workspace(row: Row[Any]) -> Workspace:
    found = row._mapping
    plain = {name: found[name] for name in _PLAIN}
    return Workspace(
        **{
            **plain,
            "id": WorkspaceId(found["id"]),
            "record_id": RecordId(found["record_id"]),
            "account_id": AccountId(found["account_id"]),
            "project_id": ProjectId(found["project_id"]),
            "labels": tuple(found["labels"]),
            "triggers": tuple(found["triggers"]),
            "iac_type": IacType(found["iac_type"]),
            "apply_rule": ApplyRule(found["apply_rule"]),
            "code": Code(**{name: found[name] for name in _CODE}),
            "lock": None if found["lock"] is None else msgspec.convert(found["lock"], Lock),
        }
    )
