"""Handlers of the project tree, as far as the caller sees it."""

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call
from runyard.identity.model import Project, Scope, slug_paths
from runyard.kernel.errors import InvalidArgument
from runyard.server.house import House
from runyard.server.native.identitywire import ProjectIn, ProjectOut
from runyard.server.native.replies import send_json, send_nothing
from runyard.server.native.wire import Listed

_project = msgspec.json.Decoder(ProjectIn)


class ProjectHandlers:
    """Projects by id or by their slugs below the caller's project."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._house = house
        self._identity = house.identity

    async def listing(self, call: Call) -> None:
        """List the caller's part of the tree."""
        tree = await self._identity.list_projects(call.caller)
        paths = slug_paths(tree)
        await send_json(call, Listed(items=[project_view(one, paths[one.id]) for one in tree]))

    async def create(self, call: Call) -> None:
        """Add a node."""
        body = await reading.read_json(call, _project)
        parent = call.caller.scope.project_id
        if body.parent is not None:
            parent = (await self._identity.find_project(call.caller, body.parent)).id
        made = await self._identity.create_project(call.caller, parent, body.slug, body.name)
        paths = slug_paths(await self._identity.list_projects(call.caller))
        await send_json(call, project_view(made, paths[made.id]), status=201)

    async def delete(self, call: Call) -> None:
        """Remove a node without anything on it; executions that ran there stay in the ledger."""
        project = await self._identity.find_project(call.caller, call.params["project"])
        if project.parent_id is None:
            raise InvalidArgument("the root of the tree cannot be deleted")
        await self._house.emptiness.check(Scope(project.account_id, project.id, project.path))
        await self._identity.delete_project(call.caller, project.id)
        await send_nothing(call)


def project_view(one: Project, path: str) -> ProjectOut:
    """Return a node as the wire has it."""
    return ProjectOut(
        id=one.id,
        path=path,
        slug=one.slug,
        name=one.name,
        parent_id=None if path == "/" else one.parent_id,
        depth=one.depth,
        created_at=one.created_at,
    )
