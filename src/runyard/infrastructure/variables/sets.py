"""Verbs of variable sets: make, change, attach to projects, bind to workspaces. Owns who may do so.

Whatever would let two sets give one variable different values at one place is refused, within the transaction that
would make it so; one transaction at a time changes the sets of an account.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from runyard.database.engine import Database, Transaction
from runyard.database.errors import ReferenceViolation, UniqueViolation
from runyard.identity.model import Permission, Principal
from runyard.identity.service import IdentityService
from runyard.infrastructure.variables import store
from runyard.infrastructure.variables.errors import (
    InvalidVariable,
    VariableSetExists,
    VariableSetInUse,
    VariableSetNotFound,
)
from runyard.infrastructure.variables.model import (
    NewSet,
    NewVariable,
    Owner,
    OwnerKind,
    SetChanges,
    Sets,
    Variable,
    VariableSet,
    VariableSetId,
    check_parents,
)
from runyard.infrastructure.variables.values import ValueKeeper
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.events import Event
from runyard.kernel.ids import ProjectId

MOST_LABELS = 100


class VariableSetService:
    """Variable sets over one database."""

    def __init__(
        self, database: Database, identity: IdentityService, vault: Vault, now: Now = utc_now
    ) -> None:
        """Take the parts."""
        self._database = database
        self._identity = identity
        self._values = ValueKeeper(vault)
        self._now = now

    async def create(self, caller: Principal, new: NewSet) -> VariableSet:
        """Make a set. Raises VariableSetExists, VariableSetNotFound for a parent, InvalidVariable."""
        caller.require(Permission.WORKSPACES_WRITE)
        now, scope = self._now(), caller.scope
        made = VariableSet(
            id=VariableSetId.new(),
            account_id=scope.account_id,
            project_id=scope.project_id,
            project_path=scope.project_path,
            name=new.name,
            description=new.description,
            labels=tuple(new.labels),
            parents=tuple(new.parents),
            extras=dict(new.extras),
            created_at=now,
            updated_at=now,
        )
        _check(made)

        async def work(tx: Transaction) -> None:
            await store.lock_sets(tx, scope.account_id)
            await self._check_parents(tx, caller, made)
            await store.add_set(tx, made)
            await self._values.upsert(tx, made.account_id, _owner(made.id), new.variables, now)
            await tx.record(self._event(caller, made.id, "variable_set.created"))

        try:
            await self._database.run(work)
        except UniqueViolation:
            raise VariableSetExists(f"a variable set named {new.name!r} already exists") from None
        return made

    async def list(self, caller: Principal, search: str, offset: int, limit: int) -> Sequence[VariableSet]:
        """List the sets that the caller knows, the newest first."""
        async with self._database.read() as tx:
            return await store.list_sets(tx, caller.scope, search, offset, limit)

    async def get(self, caller: Principal, set_id: str) -> tuple[VariableSet, Sequence[str]]:
        """Read a set and the ids of all sets below it. Raises VariableSetNotFound."""
        async with self._database.read() as tx:
            found = await self._known(tx, caller, set_id)
            return found, Sets(await store.graph(tx, found.account_id), {}).below(found.id)

    async def variables(self, caller: Principal, set_id: str, offset: int, limit: int) -> Sequence[Variable]:
        """List the variables of a set itself. Raises VariableSetNotFound."""
        async with self._database.read() as tx:
            found = await self._known(tx, caller, set_id)
            return await store.variables_of(tx, _owner(found.id), offset, limit)

    async def update(self, caller: Principal, set_id: str, changes: SetChanges) -> VariableSet:
        """Change a set. Raises VariableSetNotFound, VariableSetExists, VariableConflict, InvalidVariable."""

        async def change(tx: Transaction, before: VariableSet) -> VariableSet:
            given = {
                name: value
                for name, value in msgspec.structs.asdict(changes).items()
                if value is not msgspec.UNSET and name != "variables"
            }
            if "extras" in given:
                given["extras"] = {**before.extras, **given["extras"]}
            after = msgspec.structs.replace(before, **given)
            _check(after)
            if after.parents != before.parents:
                await self._check_parents(tx, caller, after)
                await store.set_parents(tx, after.id, after.parents)
            if changes.variables is not msgspec.UNSET:
                await self._values.upsert(
                    tx, after.account_id, _owner(after.id), changes.variables, self._now(), replace=True
                )
            return after

        try:
            return await self._changing(caller, set_id, change, "variable_set.updated")
        except UniqueViolation:
            raise VariableSetExists from None

    async def set_variables(self, caller: Principal, set_id: str, wanted: Sequence[NewVariable]) -> None:
        """Write variables of a set by key and destination. Raises VariableSetNotFound, VariableConflict."""

        async def change(tx: Transaction, before: VariableSet) -> VariableSet:
            await self._values.upsert(tx, before.account_id, _owner(before.id), wanted, self._now())
            return before

        await self._changing(caller, set_id, change, "variables.written")

    async def delete_variables(self, caller: Principal, set_id: str, names: Sequence[str]) -> None:
        """Remove variables of a set by id or key; unknown ones are passed over. Raises VariableSetNotFound."""

        async def change(tx: Transaction, before: VariableSet) -> VariableSet:
            await store.delete_variables(tx, _owner(before.id), names)
            return before

        await self._changing(caller, set_id, change, "variables.deleted")

    async def delete(self, caller: Principal, set_id: str) -> None:
        """Remove a set; who used it does without. Raises VariableSetNotFound, VariableSetInUse."""
        caller.require(Permission.WORKSPACES_WRITE)
        async with self._database.transaction() as tx:
            await store.lock_sets(tx, caller.scope.account_id)
            found = await self._own(tx, caller, set_id)
            try:
                await store.delete_set(tx, found.id)
            except ReferenceViolation:
                raise VariableSetInUse from None
            await tx.record(self._event(caller, found.id, "variable_set.deleted"))

    # --- where it is used ---

    async def attach(self, caller: Principal, project_id: str, set_id: str, *, consume: bool) -> None:
        """Make a set known at a project and, with `consume`, let its values flow there and below.
        Raises NotFound, VariableSetNotFound, VariableConflict.
        """

        async def work(tx: Transaction) -> None:
            project = await self._identity.visible_project(tx, caller.scope, project_id)
            found = await self._known(tx, caller, set_id)
            await store.attach(tx, found.id, project.id, consume=consume)
            await self._values.check_places(tx, found.account_id, found.id)
            await tx.record(self._event(caller, found.id, "variable_set.attached", project=project.id))

        await self._using(caller, work)

    async def detach(self, caller: Principal, project_id: str, set_id: str) -> None:
        """Undo it; nothing happens when it was not attached. Raises NotFound, VariableSetNotFound."""

        async def work(tx: Transaction) -> None:
            project = await self._identity.visible_project(tx, caller.scope, project_id)
            found = await self._known(tx, caller, set_id)
            await store.detach(tx, found.id, project.id)
            await tx.record(self._event(caller, found.id, "variable_set.detached", project=project.id))

        await self._using(caller, work)

    async def bind(self, caller: Principal, workspace: Workspace, set_ids: Sequence[str]) -> None:
        """Let a workspace use sets. Raises VariableSetNotFound, VariableConflict."""
        caller.require(Permission.WORKSPACES_WRITE)
        await self._database.run(lambda tx: self.bind_within(tx, caller, workspace, set_ids))

    async def bind_within(
        self, tx: Transaction, caller: Principal, workspace: Workspace, set_ids: Sequence[str]
    ) -> None:
        """Do the same within a transaction that makes the workspace."""
        await store.lock_sets(tx, caller.scope.account_id)
        for set_id in set_ids:
            found = await self._known(tx, caller, set_id)
            await store.bind(tx, found.id, workspace.id)
            await tx.record(self._event(caller, found.id, "variable_set.bound", workspace=workspace.id))
        await self._check_workspace(tx, workspace)

    async def rebind_within(
        self, tx: Transaction, caller: Principal, workspace: Workspace, set_ids: Sequence[str]
    ) -> None:
        """Let a workspace use these sets and no other, within a transaction that changes it, before that locks it.
        Raises VariableSetNotFound, VariableConflict.
        """
        await store.lock_sets(tx, caller.scope.account_id)
        await store.unbind(tx, workspace.id)
        for set_id in set_ids:
            found = await self._known(tx, caller, set_id)
            await store.bind(tx, found.id, workspace.id)
        await self._check_workspace(tx, workspace)
        await tx.record(self._event(caller, workspace.id, "workspace.rebound", sets=" ".join(set_ids)))

    async def unbind(self, caller: Principal, workspace: Workspace, set_id: str) -> None:
        """Undo it; nothing happens when it was not bound. Raises VariableSetNotFound."""

        async def work(tx: Transaction) -> None:
            found = await self._known(tx, caller, set_id)
            await store.unbind(tx, workspace.id, found.id)
            await tx.record(self._event(caller, found.id, "variable_set.unbound", workspace=workspace.id))

        await self._using(caller, work)

    async def projects_with(
        self, caller: Principal, set_id: str, *, consume: bool | None
    ) -> Sequence[ProjectId]:
        """Return the projects to which a set is attached; with `consume` only those that use its values so.
        Raises VariableSetNotFound.
        """
        async with self._database.read() as tx:
            found = await self._known(tx, caller, set_id)
            return await store.attached(tx, found.id, consume=consume)

    async def workspaces_with(self, caller: Principal, set_id: str) -> Sequence[str]:
        """Return the workspaces that are bound to a set. Raises VariableSetNotFound."""
        async with self._database.read() as tx:
            found = await self._known(tx, caller, set_id)
            return await store.bound(tx, found.id)

    # --- helpers ---

    async def _using(self, caller: Principal, work: Callable[[Transaction], Awaitable[None]]) -> None:
        caller.require(Permission.WORKSPACES_WRITE)

        async def locked(tx: Transaction) -> None:
            await store.lock_sets(tx, caller.scope.account_id)
            await work(tx)

        await self._database.run(locked)

    async def _changing(
        self,
        caller: Principal,
        set_id: str,
        change: Callable[[Transaction, VariableSet], Awaitable[VariableSet]],
        name: str,
    ) -> VariableSet:
        """Change a set of the caller's own, count its version up, and refuse what would be ambiguous afterwards."""
        caller.require(Permission.WORKSPACES_WRITE)

        async def work(tx: Transaction) -> VariableSet:
            await store.lock_sets(tx, caller.scope.account_id)
            before = await self._own(tx, caller, set_id)
            changed = await change(tx, before)
            after = msgspec.structs.replace(changed, version=before.version + 1, updated_at=self._now())
            await store.write_set(tx, after)
            await self._values.check_places(tx, after.account_id, after.id)
            await tx.record(self._event(caller, after.id, name))
            return after

        return await self._database.run(work)

    async def _check_parents(self, tx: Transaction, caller: Principal, made: VariableSet) -> None:
        for parent in made.parents:
            await self._known(tx, caller, parent)
        check_parents(await store.graph(tx, made.account_id), made.id, made.parents)

    async def _check_workspace(self, tx: Transaction, workspace: Workspace) -> None:
        bound = await store.bindings_of(tx, workspace.id)
        (await self._values.sets(tx, workspace.account_id, bound)).level(bound)

    async def _known(self, tx: Transaction, caller: Principal, set_id: str) -> VariableSet:
        return _found(await store.get_set(tx, caller.scope, set_id, own=False), set_id)

    async def _own(self, tx: Transaction, caller: Principal, set_id: str) -> VariableSet:
        return _found(await store.get_set(tx, caller.scope, set_id, own=True), set_id)

    def _event(self, caller: Principal, subject: str, name: str, **body: Any) -> Event:  # noqa: ANN401  any facts
        return Event(
            account_id=caller.scope.account_id,
            subject_kind="variable_set",
            subject_id=subject,
            type=name,
            actor=caller.actor,
            at=self._now(),
            body={key: str(value) for key, value in body.items()} or None,
        )


def _found(found: VariableSet | None, set_id: str) -> VariableSet:
    if found is None:
        raise VariableSetNotFound(f"variable set {set_id[:64]!r} not found")
    return found


def _check(made: VariableSet) -> None:
    if not 1 <= len(made.name) <= 256 or "\0" in made.name or not made.name.strip():
        raise InvalidVariable("Name must have 1 to 256 characters")
    if len(made.description) > 4096 or "\0" in made.description:
        raise InvalidVariable("Description has at most 4096 characters")
    if len(made.labels) > MOST_LABELS or any(not 1 <= len(one) <= 256 or "\0" in one for one in made.labels):
        raise InvalidVariable(f"Labels are at most {MOST_LABELS} texts of 1 to 256 characters")


def _owner(set_id: str) -> Owner:
    return Owner(OwnerKind.SET, set_id)
