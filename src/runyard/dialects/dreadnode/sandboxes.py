"""The ledger of sandboxes: environments again, seen from the organization and by the words of whoever provides them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from runyard.dialects.door import Call
from runyard.dialects.dreadnode import places, reading
from runyard.dialects.dreadnode.replies import send_json, send_nothing, time_of
from runyard.dialects.dreadnode.services import DreadnodeServices
from runyard.environments.errors import EnvironmentNotFound
from runyard.environments.model import Environment, State
from runyard.identity.model import Scope, slug_paths
from runyard.kernel.errors import InvalidArgument, NotFound
from runyard.kernel.paging import decode_cursor, encode_cursor

STATES: Final[Mapping[str, Sequence[State]]] = {
    "running": (State.BUILDING, State.PROVISIONING, State.READY),
    "paused": (State.PAUSED,),
    "killed": (State.TORN_DOWN, State.FAILED),
}
"""What each state of the ledger means here."""
_WORDS: Final = {state: word for word, states in STATES.items() for state in states}


class SandboxHandlers:
    """Sandboxes of an organization. Their id and that of their provider are the environment's id."""

    def __init__(self, services: DreadnodeServices) -> None:
        """Take the services."""
        self._environments = services.environments
        self._identity = services.identity
        self._tenancy = services.tenancy
        self._usage = services.usage

    async def list(self, call: Call) -> None:
        """List them, the newest first."""
        await places.organization(self._tenancy, call)
        values = reading.query(call)
        limit = reading.integer(values, "limit", 50, 1, 200)
        cursor = reading.one(values, "cursor")
        offset = int(decode_cursor(cursor, int)[0]) if cursor else 0
        if not 0 <= offset <= 10_000_000:
            raise InvalidArgument("cursor: is not one that this server gave", loc=["query", "cursor"])
        scope = await self._scope(call, reading.one(values, "project_id"))
        found = await self._environments.page(scope, _states(values), offset, limit)
        keys = slug_paths(await self._identity.list_projects(call.caller))
        more = offset + limit < found.total
        view = {
            "items": [_view(one, keys.get(one.project_id)) for one in found.items],
            "next_cursor": encode_cursor(offset + limit) if more else None,
        }
        await send_json(call, view)

    async def _scope(self, call: Call, project_id: str | None) -> Scope:
        scope = call.caller.scope
        if project_id is None:
            return scope
        try:
            project = await self._identity.get_project(call.caller, project_id)
        except NotFound:
            raise NotFound("Project not found") from None
        return Scope(project.account_id, project.id, project.path)

    async def usage(self, call: Call) -> None:
        """Tell how long sandboxes lived in all."""
        await places.organization(self._tenancy, call)
        found = await self._usage.usage(call.caller.scope)
        view = {
            "total_runtime_seconds": found.total_secs,
            "sessions_count": found.sessions,
            "current_month_seconds": found.month_secs,
        }
        await send_json(call, view)

    async def get(self, call: Call) -> None:
        """Tell about one."""
        found = await self._found(call)
        keys = slug_paths(await self._identity.list_projects(call.caller))
        await send_json(call, _view(found, keys.get(found.project_id)))

    async def logs(self, call: Call) -> None:
        """Send what building it and its services said."""
        await send_json(call, {"logs": await self._environments.logs(await self._found(call))})

    async def delete(self, call: Call) -> None:
        """End one; again is harmless."""
        await self._environments.tear_down(call.caller, await self._found(call))
        await send_nothing(call)

    async def _found(self, call: Call) -> Environment:
        await places.organization(self._tenancy, call)
        try:
            return await self._environments.get(call.caller.scope, call.params["sandbox"])
        except EnvironmentNotFound:
            raise NotFound("Sandbox not found") from None


def _states(values: Mapping[str, Sequence[str]]) -> Sequence[State]:
    """Return the states that a comma-joined filter means. Raises InvalidArgument."""
    found: list[State] = []
    for word in ",".join(values.get("state", ())).split(","):
        if word and word not in STATES:
            raise InvalidArgument(f"state: must be some of {', '.join(STATES)}", loc=["query", "state"])
        found += STATES.get(word, ())
    return found


def _view(environment: Environment, key: str | None) -> dict[str, Any]:
    """Return a sandbox as it is listed."""
    return {
        "id": environment.id,
        "provider_sandbox_id": environment.id,
        "state": _WORDS[environment.state],
        "sandbox_kind": "task",
        "sandbox_provider": "docker",
        "task_ref": environment.task_ref,
        "project_id": environment.project_id,
        "project_key": key,
        "created_at": time_of(environment.created_at),
        "updated_at": time_of(environment.updated_at),
        "expires_at": None if environment.expires_at is None else time_of(environment.expires_at),
        "error": environment.error,
    }
