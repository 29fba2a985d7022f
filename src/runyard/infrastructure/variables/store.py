"""SQL of variables and sets. Owns every statement on their tables; decides nothing and never commits."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, and_, delete, insert, or_, select, update

from runyard.database.engine import Transaction
from runyard.identity.model import Scope
from runyard.identity.scoping import visible
from runyard.infrastructure.variables.model import (
    Destination,
    Owner,
    OwnerKind,
    Sensitivity,
    Variable,
    VariableId,
    VariableSet,
    VariableSetId,
)
from runyard.infrastructure.variables.tables import (
    variable_set_attachments,
    variable_set_bindings,
    variable_set_parents,
    variable_sets,
    variables,
)
from runyard.kernel.ids import AccountId, ProjectId

_v, _s, _p = variables.c, variable_sets.c, variable_set_parents.c
_a, _b = variable_set_attachments.c, variable_set_bindings.c
_OWNER = {OwnerKind.PROJECT: _v.project_id, OwnerKind.WORKSPACE: _v.workspace_id, OwnerKind.SET: _v.set_id}


class Stored(msgspec.Struct, frozen=True):
    """A row of a variable with its sealed form."""

    id: str
    owner_id: str
    key: str
    destination: Destination
    value: str | None
    sealed: bytes | None


# --- variables ---


async def variables_of(
    tx: Transaction, owner: Owner, offset: int = 0, limit: int | None = None
) -> Sequence[Variable]:
    """Read the variables of an owner, the oldest first, without what is secret."""
    statement = select(variables).where(_OWNER[owner.kind] == owner.id).order_by(_v.id).offset(offset)
    return [
        _variable(row) for row in await tx.all(statement.limit(limit if limit is not None else 1_000_000))
    ]


async def stored(tx: Transaction, kind: OwnerKind, owner_ids: Collection[str]) -> Sequence[Stored]:
    """Read the variables of several owners of one kind with their sealed forms."""
    if not owner_ids:
        return []
    column = _OWNER[kind]
    rows = await tx.all(
        select(variables, column.label("owner_id")).where(column.in_(list(owner_ids))).order_by(_v.id)
    )
    return [
        Stored(row.id, row.owner_id, row.key, Destination(row.destination), row.value, _bytes(row.sealed))
        for row in rows
    ]


async def add_variable(
    tx: Transaction, account_id: AccountId, owner: Owner, row: Stored, now: datetime
) -> None:
    """Write a new variable. Raises UniqueViolation, ReferenceViolation."""
    values: dict[str, Any] = {"id": row.id, "account_id": account_id, "key": row.key}
    values[_OWNER[owner.kind].name] = owner.id
    values |= {
        "destination": row.destination.value,
        "value": row.value,
        "sealed": row.sealed,
        "updated_at": now,
    }
    await tx.execute(insert(variables), values)


async def set_variable(tx: Transaction, row: Stored, now: datetime) -> None:
    """Write another value."""
    await tx.execute(
        update(variables).where(_v.id == row.id).values(value=row.value, sealed=row.sealed, updated_at=now)
    )


async def delete_variables(tx: Transaction, owner: Owner, names: Collection[str]) -> int:
    """Remove the variables of an owner that are named by id or key; return how many there were."""
    named = or_(_v.id.in_(list(names)), _v.key.in_(list(names)))
    return (await tx.execute(delete(variables).where(_OWNER[owner.kind] == owner.id, named))).rowcount


async def sealed_rows(tx: Transaction) -> Sequence[tuple[str, bytes]]:
    """Read everything that is sealed."""
    return [
        (row.id, bytes(row.sealed))
        for row in await tx.all(select(_v.id, _v.sealed).where(_v.sealed.is_not(None)))
    ]


async def seal_again(tx: Transaction, variable_id: str, before: bytes, after: bytes) -> None:
    """Replace a sealed form, unless it was changed meanwhile."""
    await tx.execute(update(variables).where(_v.id == variable_id, _v.sealed == before).values(sealed=after))


# --- sets ---


async def lock_sets(tx: Transaction, account_id: AccountId) -> None:
    """Let one transaction at a time change what the sets of an account give to whom."""
    await tx.execute(select(_s.id).where(_s.account_id == account_id).order_by(_s.id).with_for_update())


async def add_set(tx: Transaction, made: VariableSet) -> None:
    """Write a new set. Raises UniqueViolation."""
    values = {
        name: getattr(made, name) for name in ("id", "account_id", "project_id", "project_path", "name")
    }
    values |= {"description": made.description, "labels": list(made.labels), "version": made.version}
    values |= {"extras": dict(made.extras), "created_at": made.created_at, "updated_at": made.updated_at}
    await tx.execute(insert(variable_sets), values)
    await set_parents(tx, made.id, made.parents)


async def write_set(tx: Transaction, changed: VariableSet) -> None:
    """Write a changed set. Raises UniqueViolation."""
    values: dict[str, Any] = {"name": changed.name, "description": changed.description}
    values |= {"labels": list(changed.labels), "extras": dict(changed.extras)}
    statement = update(variable_sets).where(_s.id == changed.id)
    await tx.execute(statement.values(version=changed.version, updated_at=changed.updated_at, **values))


async def set_parents(tx: Transaction, set_id: str, parents: Sequence[str]) -> None:
    """Write the parents of a set in their order. Raises ReferenceViolation."""
    await tx.execute(delete(variable_set_parents).where(_p.set_id == set_id))
    for position, parent in enumerate(parents):
        await tx.execute(
            insert(variable_set_parents), {"set_id": set_id, "parent_id": parent, "position": position}
        )


async def delete_set(tx: Transaction, set_id: str) -> None:
    """Remove a set with all that hangs on it. Raises ReferenceViolation while it is a parent."""
    await tx.execute(delete(variable_sets).where(_s.id == set_id))


async def get_set(tx: Transaction, scope: Scope, set_id: str, *, own: bool) -> VariableSet | None:
    """Read a set: one of the scope, or, unless it must be an own one, one that is attached within or above it."""
    wanted = visible(variable_sets, scope) if own else _known(scope)
    row = await tx.one_or_none(select(variable_sets).where(_s.id == set_id, wanted))
    if row is None:
        return None
    return _set(row, (await parents_of(tx, [set_id])).get(set_id, ()))


async def list_sets(
    tx: Transaction, scope: Scope, search: str, offset: int, limit: int
) -> Sequence[VariableSet]:
    """Read the sets that a scope knows, the newest first."""
    statement = select(variable_sets).where(_known(scope)).order_by(_s.id.desc()).offset(offset).limit(limit)
    if search:
        statement = statement.where(_s.name.icontains(search, autoescape=True))
    rows = await tx.all(statement)
    parents = await parents_of(tx, [row.id for row in rows])
    return [_set(row, parents.get(row.id, ())) for row in rows]


def _known(scope: Scope) -> ColumnElement[bool]:
    above = [part for part in scope.project_path.split("/") if part]
    attached = select(_a.set_id).where(_a.project_id.in_(above))
    return and_(_s.account_id == scope.account_id, or_(visible(variable_sets, scope), _s.id.in_(attached)))


async def parents_of(tx: Transaction, set_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
    """Read the parents of sets, the one that wins first."""
    if not set_ids:
        return {}
    return _grouped(
        await tx.all(
            select(_p.set_id, _p.parent_id)
            .where(_p.set_id.in_(list(set_ids)))
            .order_by(_p.set_id, _p.position)
        )
    )


async def graph(tx: Transaction, account_id: AccountId) -> Mapping[str, Sequence[str]]:
    """Read who is whose parent in an account."""
    statement = select(_p.set_id, _p.parent_id).join(variable_sets, _s.id == _p.set_id)
    return _grouped(
        await tx.all(statement.where(_s.account_id == account_id).order_by(_p.set_id, _p.position))
    )


# --- where sets are used ---


async def attach(tx: Transaction, set_id: str, project_id: str, *, consume: bool) -> None:
    """Make a set known at a project. Raises UniqueViolation, ReferenceViolation."""
    here = (_a.set_id == set_id) & (_a.project_id == project_id)
    if (await tx.execute(update(variable_set_attachments).where(here).values(consume=consume))).rowcount == 0:
        row = {"set_id": set_id, "project_id": project_id, "consume": consume}
        await tx.execute(insert(variable_set_attachments), row)


async def detach(tx: Transaction, set_id: str, project_id: str) -> None:
    """Undo it."""
    await tx.execute(delete(variable_set_attachments).where(_a.set_id == set_id, _a.project_id == project_id))


async def bind(tx: Transaction, set_id: str, workspace_id: str) -> None:
    """Let a workspace use a set. Raises ReferenceViolation."""
    here = (_b.set_id == set_id) & (_b.workspace_id == workspace_id)
    if await tx.one_or_none(select(_b.set_id).where(here)) is None:
        await tx.execute(insert(variable_set_bindings), {"set_id": set_id, "workspace_id": workspace_id})


async def unbind(tx: Transaction, workspace_id: str, set_id: str | None = None) -> None:
    """Undo it, for one set or for all."""
    statement = delete(variable_set_bindings).where(_b.workspace_id == workspace_id)
    await tx.execute(statement if set_id is None else statement.where(_b.set_id == set_id))


async def attached(tx: Transaction, set_id: str, *, consume: bool | None = None) -> Sequence[ProjectId]:
    """Read the projects to which a set is attached."""
    statement = select(_a.project_id).where(_a.set_id == set_id)
    if consume is not None:
        statement = statement.where(_a.consume.is_(consume))
    return [ProjectId(row.project_id) for row in await tx.all(statement)]


async def bound(tx: Transaction, set_id: str) -> Sequence[str]:
    """Read the workspaces that are bound to a set."""
    return [row.workspace_id for row in await tx.all(select(_b.workspace_id).where(_b.set_id == set_id))]


async def bindings_of(tx: Transaction, workspace_id: str) -> Sequence[str]:
    """Read the sets to which a workspace is bound."""
    statement = select(_b.set_id).where(_b.workspace_id == workspace_id).order_by(_b.set_id)
    return [row.set_id for row in await tx.all(statement)]


async def consumed_at(tx: Transaction, project_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
    """Read the sets whose values flow from each of some projects."""
    if not project_ids:
        return {}
    statement = select(_a.project_id, _a.set_id).where(
        _a.project_id.in_(list(project_ids)), _a.consume.is_(True)
    )
    return _grouped(await tx.all(statement.order_by(_a.project_id, _a.set_id)))


async def places_of(tx: Transaction, set_ids: Collection[str]) -> Sequence[Sequence[str]]:
    """Read the sets at every place at which one of some sets gives its values; equal places once."""
    wanted = list(set_ids)
    projects = select(_a.project_id).where(_a.set_id.in_(wanted), _a.consume.is_(True))
    workspaces = select(_b.workspace_id).where(_b.set_id.in_(wanted))
    consumed = select(_a.project_id, _a.set_id).where(_a.project_id.in_(projects), _a.consume.is_(True))
    bound_to = select(_b.workspace_id, _b.set_id).where(_b.workspace_id.in_(workspaces))
    found = [
        *_grouped(await tx.all(consumed.order_by(_a.project_id, _a.set_id))).values(),
        *_grouped(await tx.all(bound_to.order_by(_b.workspace_id, _b.set_id))).values(),
    ]
    return [list(place) for place in {tuple(place) for place in found if len(place) > 1}]


def _grouped(rows: Sequence[Row[Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        owner, member = tuple(row)
        found.setdefault(owner, []).append(member)
    return found


def _variable(row: Row[Any]) -> Variable:
    secret = row.value is None
    return Variable(
        id=VariableId(row.id),
        key=row.key,
        value=row.value,
        sensitivity=Sensitivity.SECRET if secret else Sensitivity.STRING,
        destination=Destination(row.destination),
    )


def _set(row: Row[Any], parents: Sequence[str]) -> VariableSet:
    return VariableSet(
        id=VariableSetId(row.id),
        account_id=AccountId(row.account_id),
        project_id=ProjectId(row.project_id),
        project_path=row.project_path,
        name=row.name,
        description=row.description,
        labels=row.labels,
        parents=tuple(parents),
        extras=row.extras,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _bytes(value: Any) -> bytes | None:  # noqa: ANN401  what a driver gives
    return None if value is None else bytes(value)
