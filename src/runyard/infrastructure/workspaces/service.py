"""The verbs of workspaces: create, find, change, lock, delete. Owns who may do so and what is unique."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from runyard.database.engine import Database, Transaction
from runyard.database.errors import UniqueViolation
from runyard.database.retrying import run_upsert
from runyard.identity.model import Permission, Principal, Project, Scope
from runyard.identity.service import IdentityService
from runyard.infrastructure.workspaces import store
from runyard.infrastructure.workspaces.errors import (
    InvalidWorkspace,
    WorkspaceExists,
    WorkspaceLocked,
    WorkspaceNotFound,
    WorkspaceNotLocked,
)
from runyard.infrastructure.workspaces.model import (
    SORTS,
    ApplyRule,
    IacType,
    Lock,
    NewWorkspace,
    Workspace,
    WorkspaceChanges,
    WorkspaceQuery,
    check,
    identifier_of,
)
from runyard.infrastructure.workspaces.schedule import next_time
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import InvalidArgument, NotFound
from runyard.kernel.events import Event
from runyard.kernel.ids import ProjectId, RecordId, WorkspaceId
from runyard.kernel.transitions import Changed, Refused, transition

LARGEST_PAGE: Final = 1000
_LOCKED, _NOT_LOCKED = "workspace_locked", "workspace_not_locked"
_CODE: Final = frozenset(
    ("vcs_type", "vcs_integration_id", "repository", "repository_url", "branch", "working_directory")
)


class WorkspaceService:
    """Workspaces over one database."""

    def __init__(self, database: Database, identity: IdentityService, now: Now = utc_now) -> None:
        """Work on a database."""
        self._database = database
        self._identity = identity
        self._now = now

    # --- making ---

    async def create(
        self,
        caller: Principal,
        new: NewWorkspace,
        then: Callable[[Transaction, Workspace], Awaitable[None]] | None = None,
    ) -> Workspace:
        """Add a workspace, and after it, in the same transaction, what `then` hangs on it: all of it or nothing.
        Raises WorkspaceExists, InvalidWorkspace, NotFound (project), PermissionDenied.
        """
        caller.require(Permission.WORKSPACES_WRITE)
        project = await self._identity.get_project(caller, new.project_id or caller.scope.project_id)
        now = self._now()
        fields = msgspec.structs.asdict(new)
        fields["iac_type"], fields["apply_rule"] = _iac_type(new.iac_type), _apply_rule(new.apply_rule)
        fields["labels"], fields["triggers"] = tuple(new.labels), tuple(new.triggers)
        fields["identifier"] = new.identifier or identifier_of(new.name)
        workspace = Workspace(
            **{
                **fields,
                "id": WorkspaceId.new(),
                "record_id": RecordId.new(),
                "account_id": project.account_id,
                "project_id": project.id,
                "project_path": project.path,
                "created_at": now,
                "updated_at": now,
            }
        )
        check(workspace)
        _check_cron(workspace.cron)
        _require_rule(caller, ApplyRule.MANUAL, workspace.apply_rule)
        try:
            return await self._add(caller, workspace, then)
        except UniqueViolation as error:
            if new.identifier is not None or error.constraint != "uq_workspaces_identifier":
                raise _exists(error, workspace) from None
        # The identifier of a name that was changed later stays taken; this one gets one of its own.
        taken = workspace.identifier[:115]
        workspace = msgspec.structs.replace(workspace, identifier=f"{taken}_{workspace.record_id[-12:]}")
        try:
            return await self._add(caller, workspace, then)
        except UniqueViolation as error:
            raise _exists(error, workspace) from None

    async def _add(
        self,
        caller: Principal,
        workspace: Workspace,
        then: Callable[[Transaction, Workspace], Awaitable[None]] | None,
    ) -> Workspace:
        async def work(tx: Transaction) -> Workspace:
            await store.add(tx, workspace)
            await tx.record(self._event(workspace, "workspace.created", caller.actor))
            if then is not None:
                await then(tx, workspace)
            return workspace

        return await self._database.run(work)

    # --- finding ---

    async def get(self, scope: Scope, reference: str) -> Workspace:
        """Return one by its id or its record id. Raises WorkspaceNotFound."""
        async with self._database.read() as tx:
            return _found(await store.get(tx, scope, reference), reference)

    async def by_id(self, workspace_id: str) -> Workspace:
        """Return one whoever's it is, for the server itself. Raises WorkspaceNotFound."""
        async with self._database.read() as tx:
            return _found(await store.by_id(tx, workspace_id), workspace_id)

    async def find(self, scope: Scope, name: str) -> Workspace:
        """Return one by its name. Raises WorkspaceNotFound."""
        async with self._database.read() as tx:
            return _found(await store.named(tx, scope, name), name)

    async def look_up(self, scope: Scope, reference: str) -> Workspace:
        """Return one by either of its ids, else by its name, which may look like an id. Raises WorkspaceNotFound."""
        async with self._database.read() as tx:
            found = await store.get(tx, scope, reference) or await store.named(tx, scope, reference)
        return _found(found, reference)

    async def find_identifier(self, scope: Scope, project_id: str, identifier: str) -> Workspace:
        """Return one of a visible project by its identifier. Raises WorkspaceNotFound."""
        async with self._database.read() as tx:
            workspace = _found(await store.identified(tx, project_id, identifier), identifier)
        if workspace.account_id != scope.account_id or not workspace.project_path.startswith(
            scope.project_path
        ):
            raise WorkspaceNotFound(identifier)
        return workspace

    async def search(self, scope: Scope, query: WorkspaceQuery) -> Sequence[Workspace]:
        """Return a page. Raises InvalidArgument (limit beyond 1 to 1000, negative offset, unknown order)."""
        _check_query(query)
        async with self._database.read() as tx:
            return await store.search(tx, scope, query)

    async def count(self, scope: Scope, query: WorkspaceQuery) -> int:
        """Count what a search finds on all its pages."""
        async with self._database.read() as tx:
            return await store.count(tx, scope, query)

    async def labels(self, scope: Scope) -> Sequence[str]:
        """Return the distinct labels, sorted."""
        async with self._database.read() as tx:
            return await store.labels(tx, scope)

    async def counts_by_project(self, scope: Scope) -> Mapping[ProjectId, int]:
        """Count the workspaces that hang on each visible project itself; projects without any are left out."""
        async with self._database.read() as tx:
            return await store.counts_by_project(tx, scope)

    # --- changing ---

    async def update(
        self,
        caller: Principal,
        reference: str,
        changes: WorkspaceChanges,
        first: Callable[[Transaction], Awaitable[None]] | None = None,
    ) -> Workspace:
        """Change what is given, and before it, in the same transaction, what `first` changes: all of it or nothing.
        Raises WorkspaceNotFound, WorkspaceExists, InvalidWorkspace, NotFound (project).
        """
        caller.require(Permission.WORKSPACES_WRITE)
        project = None
        if changes.project_id is not msgspec.UNSET:
            wanted = changes.project_id or caller.scope.project_id
            project = await self._identity.get_project(caller, wanted)

        def decide(before: Workspace, command: WorkspaceChanges) -> Changed[Workspace]:
            after = _changed(before, command, project)
            after = msgspec.structs.replace(after, revision=before.revision + 1, updated_at=self._now())
            check(after)
            _require_rule(caller, before.apply_rule, after.apply_rule)
            if after.cron != before.cron:
                _check_cron(after.cron)
            return Changed(after, self._event(after, "workspace.changed", caller.actor))

        async def work(tx: Transaction) -> Workspace:
            if first is not None:
                await first(tx)
            try:
                decision = await transition(tx, store.WorkspaceRows(caller.scope), reference, changes, decide)
            except UniqueViolation as error:
                name = changes.name if isinstance(changes.name, str) else reference
                raise WorkspaceExists(f"workspace {name[:200]!r} already exists") from error
            except NotFound as error:
                raise WorkspaceNotFound(reference) from error
            assert isinstance(decision, Changed)
            return decision.value

        return await run_upsert(self._database, work)

    async def lock(
        self, caller: Principal, reference: str, reason: str = "", *, holder: str = ""
    ) -> Workspace:
        """Lock it: no run begins until it is unlocked. `holder` names a program's own lock. Raises WorkspaceLocked
        (whose message and `detail` say who holds it), WorkspaceNotFound.
        """
        caller.require(Permission.WORKSPACES_RUN)
        if len(reason) > 1024 or "\0" in reason:
            raise InvalidWorkspace("the reason of a lock has at most 1024 characters and no NUL")
        lock = Lock(actor=caller.actor, reason=reason, at=self._now(), holder=holder)
        return await self._lock(caller, reference, lock, force=False)

    async def unlock(
        self, caller: Principal, reference: str, *, holder: str = "", force: bool = False
    ) -> Workspace:
        """Unlock it; without `force` only who locked it may. Raises WorkspaceNotLocked, WorkspaceLocked (by somebody
        else), WorkspaceNotFound.
        """
        caller.require(Permission.WORKSPACES_RUN)
        return await self._lock(caller, reference, holder, force=force)

    async def _lock(
        self, caller: Principal, reference: str, command: Lock | str, *, force: bool
    ) -> Workspace:
        def decide(before: Workspace, command: Lock | str) -> Changed[Workspace] | Refused:
            if isinstance(command, Lock):
                if before.lock is not None:
                    return Refused(_held(before.lock), _LOCKED)
                after = msgspec.structs.replace(before, lock=command)
                return Changed(after, self._event(after, "workspace.locked", caller.actor, command.reason))
            if before.lock is None:
                return Refused("the workspace is not locked", _NOT_LOCKED)
            own = before.lock.holder == command and before.lock.actor == caller.actor
            if not own and not force:
                return Refused(_held(before.lock), _LOCKED)
            after = msgspec.structs.replace(before, lock=None)
            return Changed(after, self._event(after, "workspace.unlocked", caller.actor))

        async with self._database.transaction() as tx:
            try:
                decision = await transition(tx, store.WorkspaceRows(caller.scope), reference, command, decide)
            except NotFound as error:
                raise WorkspaceNotFound(reference) from error
        if isinstance(decision, Refused):
            if decision.code == _NOT_LOCKED:
                raise WorkspaceNotLocked(decision.reason)
            raise WorkspaceLocked(decision.reason)
        return decision.value

    async def remove(self, workspace_id: WorkspaceId, *, actor: str) -> bool:
        """Delete a workspace with its runs, for the server itself; tell whether it was there. Who may do so, and
        whether nothing is at work there, is the caller's matter.
        """
        async with self._database.transaction() as tx:
            workspace = await store.WorkspaceRows().lock(tx, workspace_id)
            if workspace is None:
                return False
            await store.delete_workspace(tx, workspace_id)
            await tx.record(self._event(workspace, "workspace.deleted", actor))
            return True

    async def note_resources(self, workspace_id: WorkspaceId, count: int | None) -> None:
        """Write down how many resources the current state has."""

        def decide(before: Workspace, command: int | None) -> Changed[Workspace]:
            after = msgspec.structs.replace(before, resource_count=command)
            return Changed(after, self._event(after, "workspace.state", "runyard"))

        async with self._database.transaction() as tx:
            await transition(tx, store.WorkspaceRows(), workspace_id, count, decide)

    def _event(self, workspace: Workspace, name: str, actor: str, reason: str | None = None) -> Event:
        return Event(
            account_id=workspace.account_id,
            subject_kind="workspace",
            subject_id=workspace.id,
            type=name,
            actor=actor,
            at=self._now(),
            reason=reason or None,
            body={"name": workspace.name},
        )


async def locked_row(tx: Transaction, workspace_id: str) -> Workspace:
    """Read a workspace for update within another domain's transaction. Raises WorkspaceNotFound."""
    return _found(await store.WorkspaceRows().lock(tx, workspace_id), workspace_id)


def _found(workspace: Workspace | None, reference: str) -> Workspace:
    if workspace is None:
        raise WorkspaceNotFound(reference)
    return workspace


def _held(lock: Lock) -> str:
    since = f"{lock.at:%Y-%m-%dT%H:%M:%SZ}"
    return f"the workspace is locked by {lock.actor} since {since}" + (
        f": {lock.reason}" if lock.reason else ""
    )


def _exists(error: UniqueViolation, workspace: Workspace) -> WorkspaceExists:
    if error.constraint == "uq_workspaces_identifier":
        return WorkspaceExists(f"a workspace with the identifier {workspace.identifier!r} already exists")
    return WorkspaceExists(f"workspace {workspace.name!r} already exists")


def _changed(before: Workspace, changes: WorkspaceChanges, project: Project | None) -> Workspace:
    given = {
        name: value
        for name, value in msgspec.structs.asdict(changes).items()
        if value is not msgspec.UNSET and name != "project_id"
    }
    given |= {name: tuple(given[name]) for name in ("labels", "triggers") if name in given}
    code = {name: given.pop(name) for name in _CODE & given.keys()}
    if "iac_type" in given:
        given["iac_type"] = _iac_type(given["iac_type"])
    if "apply_rule" in given:
        given["apply_rule"] = _apply_rule(given["apply_rule"])
    if "extras" in given:
        given["extras"] = {**before.extras, **given["extras"]}
    if project is not None:
        given["project_id"], given["project_path"] = project.id, project.path
    return msgspec.structs.replace(before, code=msgspec.structs.replace(before.code, **code), **given)


def _iac_type(text: str) -> IacType:
    try:
        return IacType(text)
    except ValueError:
        raise InvalidWorkspace(f"Iac Type must be one of {', '.join(IacType)}") from None


def _apply_rule(text: str) -> ApplyRule:
    try:
        return ApplyRule(text)
    except ValueError:
        raise InvalidWorkspace(f"Apply Rule must be one of {', '.join(ApplyRule)}") from None


def _require_rule(caller: Principal, before: ApplyRule, after: ApplyRule) -> None:
    """Let nobody approve all plans to come who may not approve one. Raises PermissionDenied."""
    if after is ApplyRule.AUTO and before is not after:
        caller.require(Permission.WORKSPACES_APPROVE)


def _check_cron(cron: str) -> None:
    if cron:
        next_time(cron, utc_now())


def _check_query(query: WorkspaceQuery) -> None:
    if not 1 <= query.limit <= LARGEST_PAGE or query.offset < 0:
        raise InvalidArgument(f"the page size is 1 to {LARGEST_PAGE} and the offset is not negative")
    for name, _ in query.sort:
        if name not in SORTS:
            raise InvalidArgument(f"workspaces cannot be sorted by {name[:100]!r}")
