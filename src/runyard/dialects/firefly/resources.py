"""What a run would change: planned resources in both shapes, and the files of its commit."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from runyard.dialects.door import Call, Parameter, Route
from runyard.dialects.firefly import reading
from runyard.dialects.firefly.declaring import route
from runyard.dialects.firefly.replies import send_projected
from runyard.dialects.firefly.rulewire import (
    CostItem,
    FileItem,
    FolderItem,
    ModuleItem,
    PlannedItem,
    ResourceItem,
    ResourceSearchIn,
    ViolationItem,
)
from runyard.dialects.firefly.services import FireflyServices
from runyard.dialects.firefly.wire import SearchIn
from runyard.identity.model import Permission
from runyard.infrastructure.guardrails.model import Violation
from runyard.infrastructure.plans.files import ChangedFile
from runyard.infrastructure.plans.model import REASONS, PlannedResource
from runyard.infrastructure.plans.modules import module_path
from runyard.infrastructure.runs.errors import RunNotFound
from runyard.infrastructure.runs.model import Run
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.errors import InvalidArgument

_resources: Final = msgspec.json.Decoder(ResourceSearchIn)
_files: Final = msgspec.json.Decoder(SearchIn)
TREE: Final = "tree"
ROOT: Final = "root"
"""Name of the module at the top, whose address is empty."""


class ResourceHandlers:
    """Planned resources and changed files."""

    def __init__(self, services: FireflyServices) -> None:
        """Take the services."""
        self._workspaces = services.workspaces
        self._runs = services.runs
        self._plans = services.plans
        self._judge = services.judge
        self._files = services.changed_files

    async def of_run(self, call: Call) -> None:
        """List what a run would change."""
        await self._list(call, await self._run(call))

    async def of_task(self, call: Call) -> None:
        """List what a task would change."""
        run = await self._runs.by_task(call.caller.scope, call.params["taskId"])
        await self._workspace_of(call, run)
        await self._list(call, run)

    async def files(self, call: Call) -> None:
        """List the files that the commit of a run changed, by folder."""
        body = await reading.read(call, _files)
        offset, limit = reading.paged(call)
        run = await self._run(call)
        found = await self._files.page(
            call.caller.scope, run.id, search=body.search_value or "", offset=offset, limit=limit
        )
        folders = [
            FolderItem(id=folder, folder=folder, files=[_file(one) for one in files])
            for folder, files in found.items()
        ]
        await send_projected(call, folders, body.projection)

    async def _list(self, call: Call, run: Run) -> None:
        body = await reading.read(call, _resources)
        if not isinstance(body.mode, str) or not body.mode.strip():
            raise InvalidArgument("Mode is required")
        offset, limit = reading.paged(call)
        found: Sequence[PlannedResource] = ()
        if await self._plans.exists(call.caller.scope, run.id):
            found = await self._plans.resources(
                call.caller.scope, run.id, search=body.search_value or "", offset=offset, limit=limit
            )
        violations = await self._judge.of_positions(run.id, [one.position for one in found])
        items = [(one.module, resource_item(one, violations.get(one.position, ()))) for one in found]
        if body.mode.strip().lower() == TREE:
            await send_projected(call, tree(items), body.projection)
        else:
            await send_projected(call, [item for _, item in items], body.projection)

    async def _run(self, call: Call) -> Run:
        run = await self._runs.get(call.caller.scope, call.params["runId"])
        await self._workspace_of(call, run)
        return run

    async def _workspace_of(self, call: Call, run: Run) -> Workspace:
        """Return the workspace of the path. Raises NotFound when the run is of another one."""
        workspace = await self._workspaces.get(call.caller.scope, call.params["workspaceId"])
        if workspace.id != run.workspace_id:
            raise RunNotFound(run.id)
        return workspace


def resource_item(one: PlannedResource, violations: Sequence[Violation]) -> ResourceItem:
    """Show a planned resource."""
    return ResourceItem(
        id=one.address,
        address=one.address,
        type=one.type,
        name=one.name,
        module=one.module,
        provider=one.provider,
        region=one.region,
        action=one.action.value,
        action_reason=REASONS.get(one.reason, one.reason),
        status=one.status,
        tags=None if one.tags is None else dict(one.tags),
        cost=CostItem(before=one.cost_before, after=one.cost_after),
        violations=[
            ViolationItem(
                rule_id=found.rule_id,
                rule_name=found.rule_name,
                type=found.type.value,
                severity=int(found.severity),
                message=found.message,
            )
            for found in violations
        ],
    )


def tree(items: Sequence[tuple[str, ResourceItem]]) -> list[ModuleItem]:
    """Put resources into their modules, and those into each other: the module at the top, alone, or nothing. A page shows
    the modules that its resources are in.
    """
    if not items:
        return []
    top = ModuleItem(id="", name=ROOT, address="", children=[], resources=[])
    known: dict[str, ModuleItem] = {"": top}
    for module, item in items:
        _module(known, module).resources.append(item)
    return [top]


def _module(known: dict[str, ModuleItem], address: str) -> ModuleItem:
    """Return a module, made with all above it when it is new."""
    above = known[""]
    for name, part in module_path(address):
        found = known.get(part)
        if found is None:
            found = known[part] = ModuleItem(id=part, name=name, address=part, children=[], resources=[])
            above.children.append(found)
        above = found
    return above


def _file(one: ChangedFile) -> FileItem:
    return FileItem(
        id=one.path,
        name=one.name,
        path=one.path,
        status=one.status,
        previous_path=one.previous_path or UNSET,
        additions=one.additions,
        deletions=one.deletions,
        size=one.size,
        binary=one.binary,
        patch=one.patch,
        content=one.content,
    )


def resource_routes(h: ResourceHandlers, paging: tuple[Parameter, ...]) -> Iterator[Route]:
    """Yield the operations on what was planned."""
    run = "/workspaces/{workspaceId}/runs/{runId}"
    task = "/runners/workspaces/{workspaceId}/tasks/{taskId}"
    listing: Mapping[str, Any] = {
        "permission": Permission.WORKSPACES_READ,
        "request": ResourceSearchIn,
        "response": list[PlannedItem],
        "parameters": paging,
    }
    yield route(
        "POST", f"{run}/resources/search", "searchRunResources", "List what a run would change.", h.of_run,
        **listing,
    )  # fmt: skip
    yield route(
        "POST", f"{task}/resources/search", "searchTaskResources", "List what a task would change.", h.of_task,
        **listing,
    )  # fmt: skip
    yield route(
        "POST", f"{run}/changed-files-code/search", "searchChangedFiles", "List files that the commit changed.",
        h.files, permission=Permission.WORKSPACES_READ, request=SearchIn, response=list[FolderItem],
        parameters=paging,
    )  # fmt: skip
