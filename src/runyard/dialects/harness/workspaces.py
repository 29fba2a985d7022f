"""Workspaces on the wire: list, show, create, replace, delete, copy, lock and unlock."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from runyard.database.engine import Transaction
from runyard.dialects.door import Call
from runyard.dialects.harness import views
from runyard.dialects.harness.reading import Reader, Where, writer_of
from runyard.dialects.harness.replies import send_json, send_nothing
from runyard.dialects.harness.services import HarnessServices
from runyard.dialects.harness.sets import ids_of
from runyard.dialects.harness.variables import maps_of, variables_of
from runyard.dialects.harness.wire import (
    CloneBody,
    CreateWorkspace,
    LockBody,
    WorkspaceBody,
)
from runyard.dialects.reading import integer, query, read_json, read_optional_json, repeated
from runyard.identity.model import Permission
from runyard.infrastructure.variables.model import NewVariable, Sensitivity
from runyard.infrastructure.workspaces.errors import WorkspaceExists
from runyard.infrastructure.workspaces.model import (
    Code,
    NewWorkspace,
    Workspace,
    WorkspaceChanges,
    WorkspaceQuery,
)
from runyard.kernel.errors import InvalidArgument

_create: Final = msgspec.json.Decoder(CreateWorkspace)
_replace: Final = msgspec.json.Decoder(WorkspaceBody)
_lock: Final = msgspec.json.Decoder(LockBody)
_clone: Final = msgspec.json.Decoder(CloneBody)
_SORTS: Final = {"name": "name", "updated": "updated_at"}
_MAX_PAGE: Final = 1000


class WorkspaceHandlers:
    """Workspaces of a project."""

    def __init__(self, services: HarnessServices, reader: Reader) -> None:
        """Take the services."""
        self._workspaces = services.workspaces
        self._variables = services.variables
        self._sets = services.variable_sets
        self._runs = services.runs
        self._locks = services.locks
        self._reader = reader

    async def list(self, call: Call) -> None:
        """List a page, with the counts in headers that clients need: those with any of the statuses and all of the tags."""
        where = await self._reader.where(call)
        values = query(call)
        limit, page = integer(values, "limit", 30, 1, _MAX_PAGE), integer(values, "page", 1, 1, 1_000_000)
        wanted = WorkspaceQuery(
            text=values.get("searchTerm", ""),
            project_ids=(where.project.id,),
            sort=_order(values.get("sort")),
            offset=(page - 1) * limit,
            limit=limit,
        )
        statuses, tags = repeated(call, "status"), repeated(call, "tags")
        if statuses or tags:
            found = [one for one in await self._all(call, wanted) if views.fits(one, statuses, tags)]
            total, found = len(found), found[wanted.offset : wanted.offset + limit]
        else:
            found = list(await self._workspaces.search(call.caller.scope, wanted))
            total = await self._workspaces.count(call.caller.scope, wanted)
        headers = [
            (b"x-total-items", str(total).encode()),
            (b"x-total-pages", str(-(-total // limit)).encode()),
            (b"x-page-size", str(limit).encode()),
        ]
        await send_json(call, [views.summary(where, one) for one in found], headers=headers)

    async def show(self, call: Call) -> None:
        """Show one with its variables; a secret's value is never among them."""
        where, workspace = await self._reader.workspace(call)
        variables = await self._variables_of(call, workspace)
        held = await self._locks.holder(workspace.id)
        await send_json(
            call,
            views.show(
                where, workspace, variables, await self._reader.common_pipelines(where, workspace), held
            ),
        )

    async def create(self, call: Call) -> None:
        """Add one."""
        where = await self._reader.where(call)
        body = await read_json(call, _create)
        extras = {"harness": views.extras_of(body)}
        variables = variables_of(body)
        new = NewWorkspace(
            name=body.name,
            project_id=where.project.id,
            identifier=body.identifier,
            description=body.description,
            iac_type=views.iac_type_of(body.provisioner),
            iac_version=body.provisioner_version or "",
            code=_code(body),
            extras=extras,
        )
        sets = await ids_of(self._sets, call.caller, body.variable_sets or ())
        await self._add(call, where, new, variables, sets)
        await send_json(call, {}, 201)

    async def _add(
        self,
        call: Call,
        where: Where,
        new: NewWorkspace,
        variables: Sequence[NewVariable],
        sets: Sequence[str] = (),
    ) -> Workspace:
        """Add a workspace with all that hangs on it under its name or, where the account has that name already, under its
        whole path.
        """

        async def add_lists(tx: Transaction, made: Workspace) -> None:
            if sets:
                await self._sets.bind_within(tx, call.caller, made, sets)
            await self._variables.add_to_workspace(tx, call.caller, made, variables, replace=False)

        try:
            return await self._workspaces.create(call.caller, new, add_lists)
        except WorkspaceExists:
            path = f"{where.org_name}/{where.project_name}/{new.identifier}"
            named = msgspec.structs.replace(new, name=path)
            return await self._workspaces.create(call.caller, named, add_lists)

    async def replace(self, call: Call) -> None:
        """Replace one: what the body leaves out is gone, variables included."""
        _, workspace = await self._reader.workspace(call)
        body = await read_json(call, _replace)
        extras = {"harness": views.extras_of(body)}
        variables = variables_of(body)
        code = _code(body)
        changes = WorkspaceChanges(
            description=body.description,
            iac_type=views.iac_type_of(body.provisioner),
            iac_version=body.provisioner_version or "",
            vcs_integration_id=code.vcs_integration_id,
            repository=code.repository,
            branch=code.branch,
            working_directory=code.working_directory,
            extras=extras,
        )
        sets = await ids_of(self._sets, call.caller, body.variable_sets or ())

        async def change_lists(tx: Transaction) -> None:
            await self._sets.rebind_within(tx, call.caller, workspace, sets)
            await self._variables.add_to_workspace(tx, call.caller, workspace, variables, replace=True)

        await self._workspaces.update(call.caller, workspace.id, changes, change_lists)
        await send_json(call, {})

    async def delete(self, call: Call) -> None:
        """Delete the record; what it manages stays in the world."""
        _, workspace = await self._reader.workspace(call)
        await self._runs.delete_workspace(call.caller, workspace.id)
        await send_nothing(call)

    async def clone(self, call: Call) -> None:
        """Copy one under another identifier, without state, runs and the values of secrets."""
        where, workspace = await self._reader.workspace(call)
        body = await read_json(call, _clone)
        own = {**views.own_of(workspace), "name": body.name}
        new = NewWorkspace(
            name=body.name,
            project_id=where.project.id,
            identifier=body.identifier,
            description=workspace.description,
            labels=workspace.labels,
            iac_type=workspace.iac_type,
            iac_version=workspace.iac_version,
            code=workspace.code,
            apply_rule=workspace.apply_rule,
            extras={**workspace.extras, "harness": own},
        )
        copied = [
            NewVariable(
                key=one.key, value=one.value, sensitivity=one.sensitivity, destination=one.destination
            )
            for one in await self._variables.of_workspace(workspace, 0, None)
            if one.sensitivity is Sensitivity.STRING
        ]
        made = await self._add(call, where, new, copied)
        common = await self._reader.common_pipelines(where, made)
        shown = views.show(where, made, await self._variables_of(call, made), common, None)
        await send_json(call, shown, 201)

    async def lock(self, call: Call) -> None:
        """Lock it: no run begins until it is unlocked."""
        where, workspace = await self._reader.workspace(call)
        body = await read_optional_json(call, _lock)
        locked = await self._workspaces.lock(call.caller, workspace.id, reason=body.reason)
        view = views.lock_view(locked, None) or {}
        view.pop("created_at", None)
        place = {"account": where.account.slug, "org": where.org_name, "project": where.project_name}
        await send_json(call, {**view, **place, "workspace": workspace.identifier})

    async def unlock(self, call: Call) -> None:
        """Remove any lock, a person's and that of the state; again is harmless."""
        _, workspace = await self._reader.workspace(call)
        if await self._locks.holder(workspace.id) is not None:
            call.caller.require(Permission.STATE_WRITE)
            await self._locks.break_lock(workspace, writer_of(call.caller))
        if workspace.lock is not None:
            await self._workspaces.unlock(call.caller, workspace.id, force=True)
        await send_nothing(call, 200)

    async def pipelines(self, call: Call) -> None:
        """Name the pipelines that use it."""
        where, workspace = await self._reader.workspace(call)
        common = await self._reader.common_pipelines(where, workspace)
        named = {views.default_pipeline(workspace, operation, common) for operation in views.OPERATIONS}
        document = {
            "account": where.account.slug,
            "org": where.org_name,
            "project": where.project_name,
            "pipelines": sorted(one for one in named if one is not None),
        }
        await send_json(call, document)

    async def tags(self, call: Call) -> None:
        """List the tags of the project's workspaces with their values."""
        found: dict[str, set[str]] = {}
        for one in await self._of_project(call):
            for key, value in (views.own_of(one).get("tags") or {}).items():
                found.setdefault(key, set()).add(value)
        await send_json(call, [{"key": key, "values": sorted(found[key])} for key in sorted(found)])

    async def ratio(self, call: Call) -> None:
        """Tell how large a part of the project's workspaces each tool has."""
        counts = dict.fromkeys(views.PROVISIONERS, 0)
        for one in await self._of_project(call):
            counts[one.iac_type.value] += 1
        total = sum(counts.values())
        ratios = {name: number / total for name, number in counts.items() if number}
        await send_json(call, {"total": total, "provisioner": ratios})

    async def _of_project(self, call: Call) -> Sequence[Workspace]:
        where = await self._reader.where(call)
        return await self._all(call, WorkspaceQuery(project_ids=(where.project.id,)))

    async def _all(self, call: Call, wanted: WorkspaceQuery) -> Sequence[Workspace]:
        """Return what a query finds on all its pages."""
        found: list[Workspace] = []
        while True:
            at = msgspec.structs.replace(wanted, offset=len(found), limit=_MAX_PAGE)
            page = await self._workspaces.search(call.caller.scope, at)
            found += page
            if len(page) < _MAX_PAGE:
                return found

    async def _variables_of(self, call: Call, workspace: Workspace) -> Mapping[str, Any]:
        call.caller.require(Permission.WORKSPACES_READ)
        return maps_of(await self._variables.of_workspace(workspace, 0, None))


def _code(body: WorkspaceBody) -> Code:
    return Code(
        vcs_integration_id=body.repository_connector or "",
        repository=body.repository or "",
        branch=body.repository_branch or "",
        working_directory=body.repository_path or "",
    )


def _order(text: str | None) -> list[tuple[str, bool]]:
    """Return the order that a query names: `name,ASC` unless it says otherwise. Raises InvalidArgument."""
    name, _, direction = (text or "name,ASC").partition(",")
    if name not in _SORTS or direction not in ("ASC", "DESC"):
        raise InvalidArgument("sort must be one of name,ASC name,DESC updated,ASC updated,DESC")
    return [(_SORTS[name], direction == "ASC")]
