"""Workspaces over the native API: their routes and handlers."""

from collections.abc import Iterator
from typing import Any

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call, Route
from runyard.identity.model import Permission
from runyard.infrastructure.workspaces.model import NewWorkspace, Workspace, WorkspaceQuery
from runyard.server.house import House
from runyard.server.native.declaring import LIMIT, MOST, OFFSET, PAGE, TEXT, route
from runyard.server.native.infrawire import (
    LockIn,
    VariableOut,
    WorkspaceIn,
    WorkspaceOut,
    code_of,
    workspace_view,
)
from runyard.server.native.replies import send_json, send_nothing
from runyard.server.native.wire import Listed

_workspace = msgspec.json.Decoder(WorkspaceIn)
_lock = msgspec.json.Decoder(LockIn)


class WorkspaceHandlers:
    """Workspaces of the caller's part of the tree, by id or name."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._house = house
        self._workspaces = house.infrastructure.workspaces
        self._runs = house.infrastructure.runs
        self._variables = house.infrastructure.variables
        self._integrations = house.infrastructure.integrations

    async def _named(self, call: Call) -> Workspace:
        return await self._workspaces.look_up(call.caller.scope, call.params["workspace"])

    async def listing(self, call: Call) -> None:
        """List workspaces, the newest first."""
        values = reading.query(call)
        query = WorkspaceQuery(
            text=values.get("text", ""),
            offset=reading.integer(values, "offset", 0, 0, 10_000_000),
            limit=reading.integer(values, "limit", PAGE, 1, MOST),
        )
        found = await self._workspaces.search(call.caller.scope, query)
        await send_json(call, Listed(items=[workspace_view(one) for one in found]))

    async def create(self, call: Call) -> None:
        """Add a workspace."""
        body = await reading.read_json(call, _workspace)
        project_id, path = None, call.caller.scope.project_path
        if body.project is not None:
            project = await self._house.identity.find_project(call.caller, body.project)
            project_id, path = project.id, project.path
        code = code_of(body)
        if body.vcs_integration_id:
            account = call.caller.scope.account_id
            found = await self._integrations.usable(account, path, body.vcs_integration_id)
            code = msgspec.structs.replace(
                code, vcs_integration_id=found.id, vcs_type=code.vcs_type or found.type
            )
        new = NewWorkspace(
            name=body.name,
            project_id=project_id,
            description=body.description,
            labels=body.labels,
            runner_type=body.runner_type,
            iac_type=body.iac_type,
            iac_version=body.iac_version,
            code=code,
            apply_rule=body.apply_rule,
            cron=body.cron,
        )
        await send_json(call, workspace_view(await self._workspaces.create(call.caller, new)), status=201)

    async def get(self, call: Call) -> None:
        """Get one workspace."""
        await send_json(call, workspace_view(await self._named(call)))

    async def delete(self, call: Call) -> None:
        """Delete a workspace with its runs and its state; its resources stay."""
        await self._runs.delete_workspace(call.caller, (await self._named(call)).id)
        await send_nothing(call)

    async def variables(self, call: Call) -> None:
        """List what a run would get, by name."""
        values = await self._variables.effective(await self._named(call))
        items = [
            VariableOut(
                key=key,
                destination=destination.value,
                value=None if one.secret else one.value,
                secret=one.secret,
            )
            for (key, destination), one in sorted(values.items())
        ]
        await send_json(call, Listed(items=items))

    async def lock(self, call: Call) -> None:
        """Keep runs from beginning."""
        body = await reading.read_optional_json(call, _lock)
        found = await self._named(call)
        await send_json(call, workspace_view(await self._workspaces.lock(call.caller, found.id, body.reason)))

    async def unlock(self, call: Call) -> None:
        """Let runs begin again."""
        body = await reading.read_optional_json(call, _lock)
        found = await self._named(call)
        after = await self._workspaces.unlock(call.caller, found.id, force=body.force)
        await self._runs.line.advance(after.id)
        await send_json(call, workspace_view(after))


def workspace_routes(h: WorkspaceHandlers) -> Iterator[Route]:
    """Yield the operations."""
    read: dict[str, Any] = {"permission": Permission.WORKSPACES_READ, "tags": ["workspaces"]}
    write: dict[str, Any] = {**read, "permission": Permission.WORKSPACES_WRITE}
    run: dict[str, Any] = {**read, "permission": Permission.WORKSPACES_RUN}
    one = "/workspaces/{workspace}"
    yield route(
        "GET", "/workspaces", "listWorkspaces", "List workspaces, the newest first.",
        handler=h.listing, response=Listed[WorkspaceOut], parameters=(TEXT, OFFSET, LIMIT), **read,
    )  # fmt: skip
    yield route(
        "POST", "/workspaces", "createWorkspace", "Add a workspace.",
        handler=h.create, request=WorkspaceIn, response=WorkspaceOut, status=201, **write,
    )  # fmt: skip
    yield route(
        "GET", one, "getWorkspace", "Get a workspace by its id or name.",
        handler=h.get, response=WorkspaceOut, **read,
    )  # fmt: skip
    yield route(
        "DELETE", one, "deleteWorkspace", "Delete a workspace, its runs and its state.",
        handler=h.delete, status=204, **write,
    )  # fmt: skip
    yield route(
        "GET", f"{one}/variables", "listWorkspaceVariables",
        "List the variables that a run would get, those of projects and sets among them.",
        handler=h.variables, response=Listed[VariableOut], **read,
    )  # fmt: skip
    yield route(
        "POST", f"{one}/lock", "lockWorkspace", "Keep runs of a workspace from beginning.",
        handler=h.lock, request=LockIn, response=WorkspaceOut, **run,
    )  # fmt: skip
    yield route(
        "POST", f"{one}/unlock", "unlockWorkspace", "Let runs of a workspace begin again.",
        handler=h.unlock, request=LockIn, response=WorkspaceOut, **run,
    )  # fmt: skip
