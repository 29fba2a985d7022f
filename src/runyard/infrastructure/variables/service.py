"""Verbs of variables of projects and workspaces, and how those of a run are worked out. Owns who may do so."""

import re
from collections.abc import Sequence
from typing import Any, Final

from runyard.database.engine import Database, Transaction
from runyard.database.retrying import run_upsert
from runyard.identity.model import Permission, Principal, Project
from runyard.identity.service import IdentityService
from runyard.infrastructure.runs.ports import Resolved
from runyard.infrastructure.variables import store
from runyard.infrastructure.variables.errors import InvalidVariable
from runyard.infrastructure.variables.literals import NotLiteral, read_collection
from runyard.infrastructure.variables.model import (
    Destination,
    NewVariable,
    Owner,
    OwnerKind,
    Plain,
    Sets,
    Values,
    Variable,
    merged,
)
from runyard.infrastructure.variables.values import ValueKeeper
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.events import Event
from runyard.kernel.ids import AccountId

_LINES: Final = re.compile(r"[\r\n]+")
SHORTEST_MASKED: Final = 4
"""Characters of a secret's line that are masked by themselves; shorter ones would mask ordinary text."""


class VariableService:
    """Variables over one database."""

    def __init__(
        self, database: Database, identity: IdentityService, vault: Vault, now: Now = utc_now
    ) -> None:
        """Take the parts."""
        self._database = database
        self._identity = identity
        self._values = ValueKeeper(vault)
        self._now = now

    # --- of a project or a workspace ---

    async def of_project(self, caller: Principal, project_id: str) -> Sequence[Variable]:
        """List the variables of a project itself. Raises NotFound."""
        async with self._database.read() as tx:
            project = await self._identity.visible_project(tx, caller.scope, project_id)
            return await store.variables_of(tx, _of(project))

    async def of_workspace(self, workspace: Workspace, offset: int, limit: int | None) -> Sequence[Variable]:
        """List the variables of a workspace itself."""
        async with self._database.read() as tx:
            return await store.variables_of(tx, _own(workspace), offset, limit)

    async def set_for_project(
        self, caller: Principal, project_id: str, wanted: Sequence[NewVariable]
    ) -> None:
        """Write variables of a project by key and destination. Raises NotFound, InvalidVariable, PermissionDenied."""
        caller.require(Permission.WORKSPACES_WRITE)

        async def work(tx: Transaction) -> None:
            project = await self._identity.visible_project(tx, caller.scope, project_id)
            await self.add_to_project(tx, caller, project, wanted, replace=False)

        await run_upsert(self._database, work)

    async def add_to_project(
        self,
        tx: Transaction,
        caller: Principal,
        project: Project,
        wanted: Sequence[NewVariable],
        *,
        replace: bool,
    ) -> None:
        """Do the same within a transaction that makes or changes the project; with `replace` it has no others afterwards."""
        await self._values.upsert(tx, project.account_id, _of(project), wanted, self._now(), replace=replace)
        await tx.record(self._event(caller, "project", project.id, "variables.written", _names(wanted)))

    async def set_for_workspace(
        self, caller: Principal, workspace: Workspace, wanted: Sequence[NewVariable]
    ) -> None:
        """Write variables of a workspace by key and destination. Raises InvalidVariable, PermissionDenied."""
        caller.require(Permission.WORKSPACES_WRITE)
        await run_upsert(
            self._database, lambda tx: self.add_to_workspace(tx, caller, workspace, wanted, replace=False)
        )

    async def add_to_workspace(
        self,
        tx: Transaction,
        caller: Principal,
        workspace: Workspace,
        wanted: Sequence[NewVariable],
        *,
        replace: bool,
    ) -> None:
        """Do the same within a transaction that changes the workspace; with `replace` it has no others afterwards."""
        owner = _own(workspace)
        await self._values.upsert(tx, workspace.account_id, owner, wanted, self._now(), replace=replace)
        await tx.record(self._event(caller, "workspace", workspace.id, "variables.written", _names(wanted)))

    async def delete_of_project(self, caller: Principal, project_id: str, names: Sequence[str]) -> None:
        """Remove variables of a project by key or id; unknown ones are passed over. Raises NotFound."""
        caller.require(Permission.WORKSPACES_WRITE)
        async with self._database.transaction() as tx:
            project = await self._identity.visible_project(tx, caller.scope, project_id)
            await store.delete_variables(tx, _of(project), _checked(names))
            await tx.record(self._event(caller, "project", project.id, "variables.deleted", sorted(names)))

    async def delete_of_workspace(
        self, caller: Principal, workspace: Workspace, names: Sequence[str]
    ) -> None:
        """Remove variables of a workspace by id or key; unknown ones are passed over."""
        caller.require(Permission.WORKSPACES_WRITE)
        async with self._database.transaction() as tx:
            await store.delete_variables(tx, _own(workspace), _checked(names))
            await tx.record(
                self._event(caller, "workspace", workspace.id, "variables.deleted", sorted(names))
            )

    # --- of a run ---

    async def resolve(self, workspace: Workspace) -> Resolved:
        """Work out the variables that a run of a workspace gets. Raises VariableConflict, CannotUnseal."""
        async with self._database.read() as tx:
            return resolved(await self._effective(tx, workspace))

    async def effective(self, workspace: Workspace) -> Values:
        """Return the variables that a run of a workspace would get, those of projects and sets among them; a secret has
        no value here. Raises VariableConflict.
        """
        async with self._database.read() as tx:
            found = await self._effective(tx, workspace)
        return {key: Plain("", True) if plain.secret else plain for key, plain in found.items()}

    async def _effective(self, tx: Transaction, workspace: Workspace) -> Values:
        account_id: AccountId = workspace.account_id
        tree = [part for part in workspace.project_path.split("/") if part]
        consumed = await store.consumed_at(tx, tree)
        bound = await store.bindings_of(tx, workspace.id)
        of_projects = await self._values.values(tx, OwnerKind.PROJECT, tree)
        own = await self._values.values(tx, OwnerKind.WORKSPACE, [workspace.id])
        used = {one for ids in (*consumed.values(), bound) for one in ids}
        sets: Sets = await self._values.sets(tx, account_id, used)
        levels: list[Values] = []
        for project in tree:
            levels += [of_projects.get(project, {}), sets.level(consumed.get(project, ()))]
        return merged([*levels, sets.level(bound), own.get(workspace.id, {})])

    async def seal_again(self) -> int:
        """Seal every secret with the current key after a rotation; return how many needed it."""
        async with self._database.transaction() as tx:
            return await self._values.seal_again(tx)

    def _event(self, caller: Principal, kind: str, subject: str, name: str, keys: Sequence[str]) -> Event:
        """Tell which keys changed, never a value."""
        return Event(
            account_id=caller.scope.account_id,
            subject_kind=kind,
            subject_id=subject,
            type=name,
            actor=caller.actor,
            at=self._now(),
            body={"keys": list(keys)},
        )


def resolved(values: Values) -> Resolved:
    """Return values as a run takes them: secret inputs go through the environment, never into a file."""
    environment: dict[str, str] = {}
    inputs: dict[str, Any] = {}
    secrets: list[str] = []
    for (key, destination), plain in values.items():
        if plain.secret:
            secrets += masked_texts(plain.value)
        if destination is Destination.ENV:
            environment[key] = plain.value
        elif plain.secret:
            environment[f"TF_VAR_{key}"] = plain.value
        else:
            inputs[key] = _input(plain.value)
    return Resolved(environment=environment, terraform=inputs, secrets=tuple(dict.fromkeys(secrets)))


def masked_texts(secret: str) -> Sequence[str]:
    """Return what of a secret is masked: the whole, and of one with several lines each long enough line."""
    whole = secret.strip()
    if not whole:
        return []
    lines = [line.strip() for line in _LINES.split(whole)]
    return [whole, *(line for line in lines if len(lines) > 1 and len(line) >= SHORTEST_MASKED)]


def _input(value: str) -> Any:  # noqa: ANN401  any document
    try:
        return read_collection(value)
    except NotLiteral:
        return value


def _of(project: Project) -> Owner:
    return Owner(OwnerKind.PROJECT, project.id)


def _own(workspace: Workspace) -> Owner:
    return Owner(OwnerKind.WORKSPACE, workspace.id)


def _names(wanted: Sequence[NewVariable]) -> list[str]:
    return sorted({one.key for one in wanted})


def _checked(names: Sequence[str]) -> Sequence[str]:
    if not names or len(names) > 1000:
        raise InvalidVariable("name 1 to 1000 variables to delete")
    return names
