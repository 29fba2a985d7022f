"""Default pipelines of projects, by tool and operation, and of a workspace: list, set, delete.

A pipeline is a name here: what runs is the plan itself. What a project says holds for its workspaces that say nothing.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from runyard.dialects.door import Call
from runyard.dialects.harness import views
from runyard.dialects.harness.reading import MAX_IDENTIFIER, Reader, Where
from runyard.dialects.harness.replies import send_json, send_nothing
from runyard.dialects.harness.services import HarnessServices
from runyard.dialects.harness.wire import PipelineBody
from runyard.dialects.reading import read_json
from runyard.infrastructure.workspaces.model import WorkspaceChanges
from runyard.kernel.errors import InvalidArgument

_pipeline: Final = msgspec.json.Decoder(PipelineBody)


class DefaultHandlers:
    """Default pipelines."""

    def __init__(self, services: HarnessServices, reader: Reader) -> None:
        """Take the services."""
        self._workspaces = services.workspaces
        self._projects = services.projects
        self._reader = reader

    async def list(self, call: Call) -> None:
        """List what is set on the project."""
        where = await self._reader.where(call)
        found = await self._reader.project_pipelines(where)
        place = {"account": where.account.slug, "org": where.org_name, "project": where.project_name}
        items = [
            {**place, "provisioner": tool, "operation": operation, "pipeline": name}
            for tool, named in sorted(found.items())
            for operation, name in sorted(named.items())
        ]
        await send_json(call, items)

    async def put(self, call: Call) -> None:
        """Set the default pipeline of an operation, on a workspace or for a tool on the project."""
        where, body = await self._asked(call)
        if body.workspace:
            await self._put_on_workspace(call, where, body, body.pipeline)
        else:
            if not body.pipeline:
                raise InvalidArgument("pipeline is required")
            await self._put_on_project(call, where, body, body.pipeline)
        shown = {"operation": body.operation, "pipeline": body.pipeline}
        if body.workspace:
            shown["workspace"] = body.workspace
        await send_json(call, shown)

    async def delete(self, call: Call) -> None:
        """Take a default pipeline away; again is harmless."""
        where, body = await self._asked(call)
        if body.workspace:
            await self._put_on_workspace(call, where, body, None)
        else:
            await self._put_on_project(call, where, body, None)
        await send_nothing(call)

    async def _asked(self, call: Call) -> tuple[Where, PipelineBody]:
        where, body = await self._reader.where(call), await read_json(call, _pipeline)
        if body.operation not in views.OPERATIONS:
            raise InvalidArgument(f"operation must be one of {', '.join(views.OPERATIONS)}")
        for name, text in (("pipeline", body.pipeline or ""), ("workspace", body.workspace or "")):
            if len(text) > MAX_IDENTIFIER or "\0" in text:
                raise InvalidArgument(f"{name} has at most {MAX_IDENTIFIER} characters and no NUL")
        if not body.workspace and body.provisioner not in views.PROVISIONERS:
            raise InvalidArgument(f"provisioner must be one of {', '.join(views.PROVISIONERS)}")
        return where, body

    async def _put_on_project(self, call: Call, where: Where, body: PipelineBody, name: str | None) -> None:
        def change(own: dict[str, Any]) -> None:
            named: Mapping[str, Mapping[str, str]] = own.get("default_pipelines") or {}
            of_tool = {
                key: value for key, value in named.get(body.provisioner, {}).items() if key != body.operation
            }
            if name is not None:
                of_tool[body.operation] = name
            own["default_pipelines"] = {**named, body.provisioner: of_tool}

        await self._projects.keep_extras(call.caller, where.project, views.EXTRAS, change)

    async def _put_on_workspace(self, call: Call, where: Where, body: PipelineBody, name: str | None) -> None:
        workspace = await self._workspaces.find_identifier(
            call.caller.scope, where.project.id, body.workspace or ""
        )
        own = views.own_of(workspace)
        named = {
            key: value for key, value in (own.get("default_pipelines") or {}).items() if key != body.operation
        }
        if name is not None:
            named[body.operation] = {"workspace_pipeline": name, "project_pipeline": None}
        extras = {views.EXTRAS: {**own, "default_pipelines": named}}
        await self._workspaces.update(call.caller, workspace.id, WorkspaceChanges(extras=extras))
