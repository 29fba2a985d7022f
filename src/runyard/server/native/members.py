"""Members of projects over the native API: their routes, handlers and shapes."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call, Route
from runyard.identity.members import NewMember
from runyard.identity.model import Member, Permission, Project, Role, User
from runyard.kernel.errors import NotFound
from runyard.server.house import House
from runyard.server.native.declaring import route
from runyard.server.native.replies import send_json, send_nothing
from runyard.server.native.wire import Listed


class MemberIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a user is on a project and all below it."""

    role: Literal["admin", "operator", "viewer"]


class MemberOut(msgspec.Struct, kw_only=True):
    """A user with a role on a project."""

    user_id: str
    user: str
    kind: str
    role: str


_member = msgspec.json.Decoder(MemberIn)


class MemberHandlers:
    """Members of one project, by id, name or e-mail address of the user; what they are from above is not listed."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._identity = house.identity
        self._members = house.infrastructure.members

    async def listing(self, call: Call) -> None:
        """List members, in the order in which they came."""
        found = await self._members.list(call.caller, (await self._project(call)).id)
        await send_json(call, Listed(items=[member_view(one) for one in found]))

    async def put(self, call: Call) -> None:
        """Give a user of the account a role, in the place of the one that it has."""
        body = await reading.read_json(call, _member)
        project, wanted = await self._project(call), call.params["user"]
        users = await self._identity.list_users(call.caller)
        user = _meant(users, wanted)
        if user is None:
            raise NotFound(f"there is no user {wanted[:200]!r}")
        (made,) = await self._members.add(call.caller, project.id, [NewMember(user.name, Role(body.role))])
        await send_json(call, member_view(made))

    async def delete(self, call: Call) -> None:
        """Take the role of a user away."""
        project, wanted = await self._project(call), call.params["user"]
        members = await self._members.list(call.caller, project.id)
        user = _meant([one.user for one in members], wanted)
        if user is None:
            raise NotFound(f"{wanted[:200]!r} is no member of this project")
        await self._members.remove(call.caller, project.id, [user.id])
        await send_nothing(call)

    async def _project(self, call: Call) -> Project:
        return await self._identity.find_project(call.caller, call.params["project"])


def _meant(users: Sequence[User], wanted: str) -> User | None:
    """Return the user with an id, else the one of a name, else the one of an address, which may be another's name."""
    found = [one for one in users if wanted in (one.id, one.name, one.email)]
    return min(found, key=lambda one: (one.id != wanted, one.name != wanted), default=None)


def member_view(one: Member) -> MemberOut:
    """Return a member as the wire has it."""
    return MemberOut(user_id=one.user.id, user=one.user.name, kind=one.user.kind.value, role=one.role.value)


def member_routes(h: MemberHandlers) -> Iterator[Route]:
    """Yield the operations."""
    admin: dict[str, Any] = {"permission": Permission.ADMIN, "tags": ["projects"]}
    of = "/projects/{project}/members"
    yield route(
        "GET", of, "listMembers", "List who has a role on a project itself.",
        handler=h.listing, response=Listed[MemberOut], **admin,
    )  # fmt: skip
    yield route(
        "PUT", f"{of}/{{user}}", "putMember", "Give a user a role on a project and all below it.",
        handler=h.put, request=MemberIn, response=MemberOut, **admin,
    )  # fmt: skip
    yield route(
        "DELETE", f"{of}/{{user}}", "deleteMember", "Take the role of a user on a project away.",
        handler=h.delete, status=204, **admin,
    )  # fmt: skip
