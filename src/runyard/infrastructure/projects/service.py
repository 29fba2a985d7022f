"""Verbs of projects with their settings: make, list, change, delete. Owns what a project of infrastructure is; the tree
itself and its members are identity's.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from runyard.database.engine import Database, Transaction
from runyard.database.retrying import run_upsert
from runyard.identity.errors import SlugTaken, StillInUse
from runyard.identity.members import MemberService
from runyard.identity.model import Permission, Principal, Project, Scope
from runyard.identity.service import IdentityService
from runyard.infrastructure.projects import store
from runyard.infrastructure.projects.errors import InvalidProject, ProjectExists, ProjectInUse
from runyard.infrastructure.projects.model import (
    NewProject,
    Placed,
    ProjectChanges,
    ProjectSettings,
    check,
    inherited,
    slug_of,
)
from runyard.infrastructure.runs.model import RunQuery, RunStatus
from runyard.infrastructure.runs.service import RunService
from runyard.infrastructure.variables.model import NewVariable
from runyard.infrastructure.variables.service import VariableService
from runyard.infrastructure.workspaces.errors import WorkspaceBusy
from runyard.infrastructure.workspaces.model import WorkspaceQuery
from runyard.infrastructure.workspaces.schedule import next_time
from runyard.kernel.clock import utc_now
from runyard.kernel.events import Event

CheckEmpty = Callable[[Scope], Awaitable[None]]
"""Raises StillInUse while something of another domain hangs on a project."""

_AT_WORK: Final = (RunStatus.PLANNING.value, RunStatus.APPLYING.value, RunStatus.ACKNOWLEDGED.value)
_MANY: Final = 1000


class ProjectService:
    """Projects over one database."""

    def __init__(
        self,
        database: Database,
        identity: IdentityService,
        members: MemberService,
        runs: RunService,
        variables: VariableService,
        check_empty: CheckEmpty,
    ) -> None:
        """Take the parts."""
        self._database = database
        self._identity = identity
        self._members = members
        self._runs = runs
        self._workspaces = runs.workspaces
        self._variables = variables
        self._check_empty = check_empty

    async def create(
        self, caller: Principal, new: NewProject, variables: Sequence[NewVariable] = ()
    ) -> Placed:
        """Make a project with settings and variables, all or nothing.
        Raises ProjectExists, NotFound for the parent, TreeTooDeep, InvalidProject, PermissionDenied.
        """
        check(new.name, new.settings)
        _check_cron(new.settings.cron, utc_now())
        parent = new.parent_id or caller.scope.project_id
        try:
            async with self._database.transaction() as tx:
                project = await self._identity.add_project(tx, caller, parent, slug_of(new.name), new.name)
                await store.put(tx, project, new.settings, utc_now())
                if variables:
                    await self._variables.add_to_project(tx, caller, project, variables, replace=False)
                await tx.record(self._event(caller, project, "project.created"))
        except SlugTaken:
            raise ProjectExists(f"a project named {new.name!r} already exists here") from None
        return Placed(project=project, settings=new.settings)

    async def get(self, caller: Principal, project_id: str) -> Placed:
        """Read one project. Raises NotFound."""
        project = await self._identity.get_project(caller, project_id)
        async with self._database.read() as tx:
            settings = (await store.settings_of(tx, [project.id])).get(project.id, ProjectSettings())
        members = await self._members.count(project.account_id)
        workspaces = await self._workspaces.counts_by_project(_within(project))
        return Placed(
            project=project,
            settings=settings,
            members=members.get(project.id, 0),
            workspaces=workspaces.get(project.id, 0),
            top=project.id == caller.scope.project_id,
        )

    async def all(self, caller: Principal) -> Sequence[Placed]:
        """List the caller's part of the tree: its top, then the others, the newest first."""
        tree = await self._identity.list_projects(caller)
        async with self._database.read() as tx:
            known = await store.settings_in(tx, caller.scope)
        members = await self._members.count(caller.scope.account_id)
        workspaces = await self._workspaces.counts_by_project(caller.scope)
        placed = [
            Placed(
                project=one,
                settings=known.get(one.id, ProjectSettings()),
                members=members.get(one.id, 0),
                workspaces=workspaces.get(one.id, 0),
                top=one.id == caller.scope.project_id,
            )
            for one in tree
        ]
        newest = sorted(placed, key=lambda one: one.project.id, reverse=True)
        return sorted(newest, key=lambda one: not one.top)

    async def labels(self, caller: Principal) -> Sequence[str]:
        """List the distinct labels of the caller's part of the tree, sorted."""
        async with self._database.read() as tx:
            known = await store.settings_in(tx, caller.scope)
        return sorted({label for settings in known.values() for label in settings.labels})

    async def update(
        self,
        caller: Principal,
        project_id: str,
        changes: ProjectChanges,
        variables: Sequence[NewVariable] | None = None,
    ) -> Placed:
        """Change a project; variables that are given are all that it has then.
        Raises NotFound, ProjectExists, InvalidProject, PermissionDenied.
        """
        caller.require(Permission.ADMIN)
        given = {
            name: value
            for name, value in msgspec.structs.asdict(changes).items()
            if value is not msgspec.UNSET and name != "name"
        }

        async def work(tx: Transaction) -> Project:
            project = await self._identity.visible_project(tx, caller.scope, project_id)
            before = await store.held_settings(tx, project.id)
            settings = msgspec.structs.replace(before, **given)
            name = project.name if changes.name is msgspec.UNSET else changes.name
            check(name, settings)
            if project.parent_id is None and slug_of(name) != project.slug:
                raise InvalidProject(f"Name is not valid: the root project is called {project.slug}")
            if settings.cron != before.cron:
                _check_cron(settings.cron, utc_now())
            if name != project.name:
                project = await self._identity.rename_project(tx, caller, project.id, slug_of(name), name)
            await store.put(tx, project, settings, utc_now())
            if variables is not None:
                await self._variables.add_to_project(tx, caller, project, variables, replace=True)
            await tx.record(self._event(caller, project, "project.updated"))
            return project

        try:
            project = await run_upsert(self._database, work)
        except SlugTaken:
            raise ProjectExists(f"a project named {changes.name!r} already exists here") from None
        return await self.get(caller, project.id)

    async def extras(self, project: Project, dialect: str) -> Mapping[str, Any]:
        """Return what a dialect keeps with a project, for whoever may see that."""
        async with self._database.read() as tx:
            known = await store.settings_of(tx, [project.id])
        found = known.get(project.id, ProjectSettings()).extras.get(dialect)
        return found if isinstance(found, Mapping) else {}

    async def keep_extras(
        self, caller: Principal, project: Project, dialect: str, change: Callable[[dict[str, Any]], None]
    ) -> None:
        """Let a dialect change what it keeps with a project. Raises NotFound, PermissionDenied."""
        caller.require(Permission.WORKSPACES_WRITE)

        async def work(tx: Transaction) -> None:
            found = await self._identity.visible_project(tx, caller.scope, project.id)
            before = await store.held_settings(tx, found.id)
            own = dict(before.extras.get(dialect) or {})
            change(own)
            after = msgspec.structs.replace(before, extras={**before.extras, dialect: own})
            await store.put(tx, found, after, utc_now())
            await tx.record(self._event(caller, found, "project.updated"))

        await run_upsert(self._database, work)

    async def delete(self, caller: Principal, project_id: str) -> None:
        """Remove a project with its settings, variables, members and workspaces.
        Raises NotFound, ProjectInUse for the top of the tree and for one with children, WorkspaceBusy.
        """
        caller.require(Permission.ADMIN)
        project = await self._identity.get_project(caller, project_id)
        if project.parent_id is None or project.id == caller.scope.project_id:
            raise ProjectInUse("the root project cannot be deleted")
        within = _within(project)
        part = Principal(within, caller.user_id, caller.user_name, caller.token_id, caller.permissions)
        if len(await self._identity.list_projects(part)) > 1:
            raise ProjectInUse("the project has projects below it: delete those first")
        await self._check_empty(within)
        try:
            await self._delete_workspaces(caller, project)
            async with self._database.transaction() as tx:
                await self._identity.remove_project(tx, caller, project.id)
                await tx.record(self._event(caller, project, "project.deleted"))
        except StillInUse as error:
            raise ProjectInUse(error.message) from None

    async def _delete_workspaces(self, caller: Principal, project: Project) -> None:
        """Delete all of them, or none while a run is at work in one."""
        query = WorkspaceQuery(project_ids=(project.id,), limit=_MANY)
        found = await self._workspaces.search(caller.scope, query)
        for one in found:
            busy = RunQuery(workspace_id=one.id, statuses=_AT_WORK, limit=1)
            if await self._runs.search(caller.scope, busy):
                raise WorkspaceBusy(f"a run is at work in the workspace {one.name!r}: cancel it first")
        for one in found:
            await self._runs.delete_workspace(caller, one.id)
        if len(found) == _MANY:
            await self._delete_workspaces(caller, project)

    async def inherited(self, project_path: str) -> ProjectSettings:
        """Return schedule, pool and cloud identity as they hold at a place of the tree."""
        async with self._database.read() as tx:
            known = await store.settings_of(tx, [part for part in project_path.split("/") if part])
        return inherited(project_path, known)

    async def project_crons(self) -> Mapping[str, str]:
        """Return the schedule of each project that names one, by the project's path, in all accounts."""
        async with self._database.read() as tx:
            return await store.crons(tx)

    def _event(self, caller: Principal, project: Project, name: str) -> Event:
        return Event(
            account_id=project.account_id,
            subject_kind="project",
            subject_id=project.id,
            type=name,
            actor=caller.actor,
            at=utc_now(),
            body={"name": project.name},
        )


def _within(project: Project) -> Scope:
    return Scope(project.account_id, project.id, project.path)


def _check_cron(cron: str, now: datetime) -> None:
    if cron:
        next_time(cron, now)
