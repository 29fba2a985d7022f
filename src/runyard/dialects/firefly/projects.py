"""Projects, their members, and users."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from runyard.dialects.door import Call
from runyard.dialects.firefly import reading
from runyard.dialects.firefly.projectwire import (
    MemberIn,
    MemberItem,
    ProjectChange,
    ProjectIn,
    ProjectItem,
    ProjectNode,
    ProjectPage,
    ProjectTree,
    UserItem,
)
from runyard.dialects.firefly.replies import send_json, send_nothing
from runyard.dialects.firefly.services import FireflyServices
from runyard.dialects.firefly.variables import new_variables
from runyard.dialects.reading import integer
from runyard.identity.members import NewMember
from runyard.identity.model import Member, Role
from runyard.infrastructure.projects.model import (
    NewProject,
    Placed,
    ProjectChanges,
    ProjectSettings,
    selected,
    using,
    with_ancestors,
)
from runyard.kernel.errors import InvalidArgument

_project: Final = msgspec.json.Decoder(ProjectIn)
_change: Final = msgspec.json.Decoder(ProjectChange)
_members: Final = msgspec.json.Decoder(list[MemberIn])
_references: Final = msgspec.json.Decoder(list[str])
ROLES: Final = {"admin": Role.ADMIN, "member": Role.OPERATOR, "viewer": Role.VIEWER}
_SPELLED: Final = {role: word for word, role in ROLES.items()}
DEPTHS: Final = 5


class ProjectHandlers:
    """The tree of projects, as far as the caller sees it."""

    def __init__(self, services: FireflyServices) -> None:
        """Take the services."""
        self._projects = services.projects
        self._sets = services.variable_sets

    async def create(self, call: Call) -> None:
        """Make a project."""
        body = await reading.read(call, _project)
        new = NewProject(
            name=reading.required(body.name, "name"),
            parent_id=body.parent_id or None,
            settings=ProjectSettings(
                description=body.description or "",
                labels=tuple(body.labels or ()),
                pool_id=body.pool_id or None,
                cron=body.cron_execution_pattern or "",
                oidc=body.oidc_authentication,
            ),
        )
        made = await self._projects.create(call.caller, new, new_variables(body.variables or []))
        await send_json(call, project_item(made), 201)

    async def get(self, call: Call) -> None:
        """Get a project."""
        await send_json(call, project_item(await self._projects.get(call.caller, call.params["projectId"])))

    async def update(self, call: Call) -> None:
        """Change a project."""
        body = await reading.read(call, _change)
        changes = ProjectChanges(
            name=reading.unless_unset(body.name, ""),
            description=reading.unless_unset(body.description, ""),
            labels=reading.unless_unset(body.labels, []),
            pool_id=UNSET if body.pool_id is UNSET else body.pool_id or None,
            cron=reading.unless_unset(body.cron_execution_pattern, ""),
            oidc=body.oidc_authentication,
        )
        variables = None if isinstance(body.variables, UnsetType) else new_variables(body.variables or [])
        changed = await self._projects.update(call.caller, call.params["projectId"], changes, variables)
        await send_json(call, project_item(changed))

    async def delete(self, call: Call) -> None:
        """Remove a project with its workspaces."""
        await self._projects.delete(call.caller, call.params["projectId"])
        await send_nothing(call)

    async def flat(self, call: Call) -> None:
        """List projects."""
        values = reading.query(call)
        offset, limit = reading.windowed(call)
        found = selected(
            await self._projects.all(call.caller),
            text=values.get("searchQuery", ""),
            max_depth=integer(values, "maxDepth", DEPTHS, 1, DEPTHS),
            pool_id=values.get("poolId") or None,
        )
        page = [project_item(one) for one in found[offset : offset + limit]]
        await send_json(call, ProjectPage(data=page, total_count=len(found)))

    async def tree(self, call: Call) -> None:
        """List projects as a tree; what leads to a project that is looked for is shown too."""
        values = reading.query(call)
        everything = await self._projects.all(call.caller)
        found = selected(everything, text=values.get("searchQuery", ""))
        consumed = reading.boolean(values, "consumedOnly")
        if set_id := values.get("variableSetId"):
            at = await self._sets.projects_with(call.caller, set_id, consume=True if consumed else None)
            users = using(everything, at) if consumed else [one for one in everything if one.project.id in at]
            found = [one for one in found if one in users]
        elif consumed:
            raise InvalidArgument("Variable Set Id is required with consumedOnly")
        await send_json(call, ProjectTree(data=_nested(with_ancestors(everything, found))))

    async def labels(self, call: Call) -> None:
        """List the labels of projects."""
        await send_json(call, await self._projects.labels(call.caller))


class MemberHandlers:
    """Who belongs to a project, and who there is."""

    def __init__(self, services: FireflyServices) -> None:
        """Take the services."""
        self._members = services.members

    async def list(self, call: Call) -> None:
        """List members."""
        found = await self._members.list(call.caller, call.params["projectId"])
        await send_json(call, [member_item(one) for one in found])

    async def add(self, call: Call) -> None:
        """Add members, or give them other roles."""
        body = await reading.read(call, _members, empty=b"[]")
        new = [
            NewMember(
                reading.required(one.user_id, "userId"),
                ROLES[reading.one_of(one.role, ROLES, "role")],
                one.email or None,
            )
            for one in body
        ]
        added = await self._members.add(call.caller, call.params["projectId"], new)
        await send_json(call, [member_item(one) for one in added], 201)

    async def remove(self, call: Call) -> None:
        """Remove members."""
        body = await reading.read(call, _references, empty=b"[]")
        await self._members.remove(call.caller, call.params["projectId"], body)
        await send_nothing(call)

    async def users(self, call: Call) -> None:
        """List users."""
        values = reading.query(call)
        offset, limit = reading.windowed(call, default=100)
        found = await self._members.users(call.caller, values.get("searchQuery", ""), offset, limit)
        await send_json(
            call,
            [
                UserItem(
                    id=one.id, user_id=one.id, name=one.name, email=one.email or "", kind=one.kind.value,
                    created_at=one.created_at,
                )
                for one in found
            ],
        )  # fmt: skip


def project_item(one: Placed) -> ProjectItem:
    """Return a project as the wire has it."""
    return ProjectItem(**_members_of(one))


def _members_of(one: Placed) -> dict[str, Any]:
    return {
        "id": one.project.id,
        "account_id": one.project.account_id,
        "name": "global" if one.project.depth == 0 else one.project.name,
        "description": one.settings.description,
        "labels": list(one.settings.labels),
        "pool_id": one.settings.pool_id,
        "cron_execution_pattern": one.settings.cron,
        "oidc_authentication": one.settings.oidc,
        "members_count": one.members,
        "workspace_count": one.workspaces,
        "parent_id": one.parent_id,
    }


def _nested(placed: Sequence[Placed]) -> list[ProjectNode]:
    nodes = {str(one.project.id): ProjectNode(**_members_of(one), children=[]) for one in placed}
    tops: list[ProjectNode] = []
    for one in placed:
        above = nodes.get(one.parent_id)
        (tops if above is None else above.children).append(nodes[one.project.id])
    return tops


def member_item(one: Member) -> MemberItem:
    """Return a member as the wire has it, under the name by which it was added."""
    return MemberItem(user_id=one.reference, role=_SPELLED[one.role], email=one.user.email or UNSET)
