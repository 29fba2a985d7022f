"""Handlers of users and of the roles of actions that they hold."""

import msgspec

from runyard.actions.access.definitions import read_definitions
from runyard.dialects import reading
from runyard.dialects.door import Call
from runyard.identity.model import Role, User, UserKind
from runyard.server.house import House
from runyard.server.native.identitywire import (
    ActionRoles,
    AssignmentBody,
    GrantBody,
    RoleBody,
    UserIn,
    UserOut,
)
from runyard.server.native.replies import send_json
from runyard.server.native.wire import Listed

_user = msgspec.json.Decoder(UserIn)
_roles = msgspec.json.Decoder(ActionRoles)


class UserHandlers:
    """People and programs of the account."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._identity = house.identity

    async def listing(self, call: Call) -> None:
        """List users by name."""
        found = await self._identity.list_users(call.caller)
        await send_json(call, Listed(items=[user_view(one) for one in found]))

    async def create(self, call: Call) -> None:
        """Add a user; a token for it is made by itself."""
        body = await reading.read_json(call, _user)
        role = None if body.role == "none" else Role(body.role)
        made = await self._identity.create_user(call.caller, body.name, UserKind(body.kind), role)
        await send_json(call, user_view(made), status=201)


class ActionRoleHandlers:
    """Roles of actions, as one document."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._access = house.actions.access

    async def get(self, call: Call) -> None:
        """Show all that was defined."""
        await send_json(call, await self._shown(call))

    async def put(self, call: Call) -> None:
        """Put definitions in the place of all that were there."""
        body = await reading.read_json(call, _roles)
        definitions = read_definitions(msgspec.to_builtins(body.roles), msgspec.to_builtins(body.assignments))
        await self._access.apply(call.caller, definitions)
        await send_json(call, await self._shown(call))

    async def _shown(self, call: Call) -> ActionRoles:
        account = call.caller.scope.account_id
        roles = [
            RoleBody(
                name=one.name,
                description=one.description,
                enabled=one.enabled,
                permission_grants=[
                    GrantBody(permission_types=list(grant.permission_types), resource_uid=grant.resource_uid)
                    for grant in one.grants
                ],
            )
            for one in await self._access.roles(account)
            if not one.system
        ]
        held = [
            AssignmentBody(username=one.user, roles=[one.role], description=one.description)
            for one in await self._access.assignments(account)
        ]
        return ActionRoles(roles=roles, assignments=held)


def user_view(one: User) -> UserOut:
    """Return a user as the wire has it."""
    return UserOut(id=one.id, name=one.name, kind=one.kind.value, created_at=one.created_at)
