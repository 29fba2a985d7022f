"""Task sets: list, facets, details with what each member is for the caller, create, replace, visibility, removal."""

from collections.abc import Mapping, Sequence
from typing import Any

from runyard.dialects.door import Call
from runyard.dialects.dreadnode import places, reading
from runyard.dialects.dreadnode.listing import facets_view, page_view, read_listing
from runyard.dialects.dreadnode.replies import send_json, time_of
from runyard.dialects.dreadnode.services import DreadnodeServices
from runyard.environments.packages.service import Resolved
from runyard.environments.tasksets.model import SORTS, Content, Member, SetFilter, TaskSet, read_member
from runyard.environments.tasksets.service import SetDetail
from runyard.identity.model import Scope
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied


class TaskSetHandlers:
    """The task sets of an organization."""

    def __init__(self, services: DreadnodeServices) -> None:
        """Take the services."""
        self._sets = services.task_sets
        self._tenancy = services.tenancy

    async def list(self, call: Call) -> None:
        """List them."""
        await places.organization(self._tenancy, call)
        wanted = _filter(call)
        found, total = await self._sets.list(call.caller.scope, wanted)
        items = [summary(one) for one in found]
        await send_json(call, page_view("task_sets", items, wanted.page, wanted.limit, total))

    async def facets(self, call: Call) -> None:
        """Count the values to filter by."""
        await places.organization(self._tenancy, call)
        found = await self._sets.facets(call.caller.scope, _filter(call))
        await send_json(call, facets_view(found))

    async def get(self, call: Call) -> None:
        """Tell all about one."""
        found = await self._sets.get(call.caller.scope, call.params["org"], call.params["set"])
        await send_json(call, detail(found, call.caller.scope))

    async def create(self, call: Call) -> None:
        """Make one."""
        await places.organization(self._tenancy, call)
        body = await reading.read_object(call)
        name = reading.text(body, "name", most=128)
        public = reading.optional_flag(body, "is_public") or False
        made = await self._sets.create(call.caller, name, _content(body), public=public)
        await send_json(call, detail(made, call.caller.scope), 201)

    async def replace(self, call: Call) -> None:
        """Give one other content."""
        await self._own(call)
        content = _content(await reading.read_object(call))
        changed = await self._sets.replace(call.caller, call.params["set"], content)
        await send_json(call, detail(changed, call.caller.scope))

    async def set_visibility(self, call: Call) -> None:
        """Publish one or take it back."""
        await self._own(call)
        name = call.params["set"]
        public = reading.optional_flag(await reading.read_object(call), "is_public")
        if public is None:
            raise InvalidArgument("is_public: field required", loc=["body", "is_public"])
        changed = await self._sets.set_public(call.caller, name, public=public)
        view = {
            "is_public": public,
            "message": f"Task set {name} is {'public' if public else 'private'} now",
            "warnings": _warnings(changed),
        }
        await send_json(call, view)

    async def delete(self, call: Call) -> None:
        """Remove one; the client reads a document even then."""
        await self._own(call)
        name = call.params["set"]
        await self._sets.delete(call.caller, name)
        await send_json(call, {"message": f"Task set {name} is deleted"})

    async def _own(self, call: Call) -> None:
        """Refuse to change what belongs to others: not found, or forbidden when it can be seen."""
        try:
            await places.organization(self._tenancy, call)
        except NotFound:
            await self._sets.get(call.caller.scope, call.params["org"], call.params["set"])
            raise PermissionDenied("this task set belongs to another organization") from None


def _filter(call: Call) -> SetFilter:
    values = reading.query(call)
    contains = reading.one(values, "contains")
    return SetFilter(
        sources=values.get("source", ()),
        tags=values.get("tags", ()),
        contains=None if contains is None else read_member(contains),
        **read_listing(values, SORTS),
    )


def _content(body: Mapping[str, Any]) -> Content:
    members, tags = body.get("members"), body.get("tags")
    if not isinstance(members, list):
        raise InvalidArgument("members: must be a list", loc=["body", "members"])
    if tags is not None and not (isinstance(tags, list) and all(_is_text(tag) for tag in tags)):
        raise InvalidArgument("tags: must be a list of texts", loc=["body", "tags"])
    return Content(
        description=reading.optional_text(body, "description", most=16_384),
        source=reading.optional_text(body, "source", most=1024),
        tags=tuple(tags or ()),
        members=[_member(one) for one in members],
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and reading.keepable(value)


def _member(value: object) -> Member:
    if isinstance(value, str):
        return read_member(value)
    if not isinstance(value, dict):
        raise InvalidArgument("members: must be references or objects", loc=["body", "members"])
    task, version = reading.text(value, "task_name", most=256), reading.optional_text(value, "task_version")
    notes = reading.optional_text(value, "notes", most=4096)
    return read_member(f"{task}@{version}" if version else task, notes)


def summary(one: TaskSet) -> dict[str, Any]:
    """Return a set as it is listed."""
    return {
        "id": one.id,
        "name": one.name,
        "org_key": one.org,
        "organization_id": one.account_id,
        "is_public": one.public,
        "description": one.description,
        "source": one.source,
        "tags": list(one.tags),
        "member_count": one.member_count,
        "created_at": time_of(one.created_at),
        "updated_at": time_of(one.updated_at),
    }


def detail(found: SetDetail, scope: Scope) -> dict[str, Any]:
    """Return all about a set; only its owner is warned."""
    members = [_view(member, resolved) for member, resolved in found.members]
    own = found.found.account_id == scope.account_id
    return {
        **summary(found.found),
        "created_by_user": {"name": found.found.created_by},
        "members": members,
        "unresolvable_count": sum(1 for one in members if one["unresolvable_reason"]),
        "warnings": _warnings(found) if own else [],
    }


def _view(member: Member, resolved: Resolved) -> dict[str, Any]:
    reason = None
    if resolved.version is None:
        reason = "version_not_found" if resolved.known else "not_found"
    return {
        "task_name": member.task,
        "task_version_pinned": None if member.version is None else str(member.version),
        "task_version_resolved": None if resolved.version is None else str(resolved.version),
        "unresolvable_reason": reason,
        "publicly_runnable": resolved.public,
        "notes": member.notes,
    }


def _warnings(found: SetDetail) -> Sequence[str]:
    """Tell which members of a public set others cannot run."""
    if not found.found.public:
        return []
    return [f"{member} is not public" for member, resolved in found.members if not resolved.public]
