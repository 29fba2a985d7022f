"""Roles, who holds them, and the permission types: to look at. They are defined through Runyard's own API."""

from collections.abc import Mapping
from typing import Any, Final

from runyard.actions.access.model import PERMISSION_TYPES, Assignment, Role
from runyard.dialects.door import Call
from runyard.dialects.stackstorm import reading
from runyard.dialects.stackstorm.replies import send_json, send_list
from runyard.dialects.stackstorm.services import StackStormServices
from runyard.kernel.errors import NotFound

ROLE_FIELDS: Final = (
    "id",
    "name",
    "system",
    "description",
    "permission_grant_ids",
    "permission_grant_objects",
)
ASSIGNMENT_FIELDS: Final = ("id", "user", "role", "description", "is_remote", "source")


class RoleHandlers:
    """Roles and their holders."""

    def __init__(self, services: StackStormServices) -> None:
        """Take the services."""
        self._access = services.access

    async def roles(self, call: Call) -> None:
        """List roles."""
        values = reading.query(call)
        found = [_role_view(one) for one in await self._access.roles(call.caller.scope.account_id)]
        system = reading.flag(values, "system") if values.get("system") else None
        found = [one for one in found if system in (None, one["system"]) and _equal(one, values, "name")]
        await _page(call, values, found, ROLE_FIELDS)

    async def role(self, call: Call) -> None:
        """Get a role by its name or id."""
        wanted = call.params["role"]
        for one in await self._access.roles(call.caller.scope.account_id):
            if wanted in (one.id, one.name):
                await send_json(call, _role_view(one))
                return
        raise NotFound(f'Resource with a name or id "{wanted}" not found')

    async def assignments(self, call: Call) -> None:
        """List who holds which role."""
        values = reading.query(call)
        found = [
            _assignment_view(one) for one in await self._access.assignments(call.caller.scope.account_id)
        ]
        remote = reading.flag(values, "remote") if values.get("remote") else False
        found = [
            one for one in found if not remote and all(_equal(one, values, name) for name in ("user", "role"))
        ]
        await _page(call, values, found, ASSIGNMENT_FIELDS)

    async def assignment(self, call: Call) -> None:
        """Get one."""
        wanted = call.params["assignment"]
        for one in await self._access.assignments(call.caller.scope.account_id):
            if wanted == one.id:
                await send_json(call, _assignment_view(one))
                return
        raise NotFound(f'Unable to identify resource with id "{wanted}".')

    async def permission_types(self, call: Call) -> None:
        """List all permission types by the type of their resource."""
        await send_json(call, {kind: list(names) for kind, names in PERMISSION_TYPES.items()})

    async def permission_types_of(self, call: Call) -> None:
        """List the permission types of one type of resource."""
        wanted = call.params["resource"]
        if wanted not in PERMISSION_TYPES:
            raise NotFound(f"Invalid resource type: {wanted}")
        await send_json(call, list(PERMISSION_TYPES[wanted]))


def _equal(shown: Mapping[str, Any], values: Mapping[str, str], name: str) -> bool:
    return values.get(name) in (None, "", shown[name])


async def _page(
    call: Call, values: Mapping[str, str], found: list[dict[str, Any]], fields: tuple[str, ...]
) -> None:
    included, excluded = reading.attributes(values, fields, ())
    offset, limit = reading.paging(call, values, None)
    stop = None if limit is None else offset + limit
    items = [reading.narrowed(one, included, excluded) for one in found[offset:stop]]
    await send_list(call, items, len(found), limit)


def _role_view(role: Role) -> dict[str, Any]:
    grants = [
        {"resource_uid": one.resource_uid, "permission_types": list(one.permission_types)}
        for one in role.grants
    ]
    return {
        "id": role.id,
        "name": role.name,
        "system": role.system,
        "description": role.description,
        "permission_grant_objects": grants,
    }


def _assignment_view(assignment: Assignment) -> dict[str, Any]:
    return {
        "id": assignment.id,
        "user": assignment.user,
        "role": assignment.role,
        "description": assignment.description,
        "is_remote": False,
        "source": "API",
    }
