"""States of workspaces over the native API: their routes, shapes and handlers. Reads them, and breaks locks; Terraform's own
protocols write.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call, Parameter, Route
from runyard.dialects.streaming import send_pieces
from runyard.identity.model import Permission
from runyard.infrastructure.state.errors import NoState
from runyard.infrastructure.state.model import Lock, StateVersion, Writer
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.errors import NotFound
from runyard.server.house import House
from runyard.server.native.declaring import CURSOR, LIMIT, MOST, PAGE, route
from runyard.server.native.replies import send_json
from runyard.server.native.wire import Listed

_ONE: Final = "/workspaces/{workspace}"
_CURRENT: Final = "current"


class StateVersionOut(msgspec.Struct, kw_only=True):
    """A version of a workspace's state, without its content."""

    number: int
    """Counts from 1 within the workspace."""
    id: str
    serial: int
    lineage: str
    md5: str
    size: int
    """Bytes."""
    resources: int
    """Managed resource instances."""
    terraform_version: str
    created_at: datetime
    created_by: str
    run: str | None
    """The run that wrote it."""
    forced: bool
    """Taken without a look at serial and lineage."""


class StateLockOut(msgspec.Struct, kw_only=True):
    """Who holds the lock on a state."""

    id: str
    who: str
    operation: str
    info: str
    holder: str
    """`client` or `run`."""
    run: str | None
    created_at: datetime


class StateHandlers:
    """States of the caller's part of the tree, by the id or name of the workspace."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._workspaces = house.infrastructure.workspaces
        self._states = house.infrastructure.kept.states
        self._locks = house.infrastructure.kept.locks

    async def listing(self, call: Call) -> None:
        """List versions, the newest first."""
        found = await self._workspace(call)
        values = reading.query(call)
        limit = reading.integer(values, "limit", PAGE, 1, MOST)
        before = reading.integer(values, "cursor", 0, 1, 2**31) if "cursor" in values else None
        page = await self._states.history(found.id, limit, before)
        shown = Listed(items=[_view(one) for one in page.items], next_cursor=page.next_cursor)
        await send_json(call, shown)

    async def content(self, call: Call) -> None:
        """Send the content of a version."""
        found = await self._workspace(call)
        version = await self._version(found, call)
        own = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
        await send_pieces(call, version.facts.size, self._states.stream(version), own)

    async def lock(self, call: Call) -> None:
        """Show who holds the lock."""
        found = await self._workspace(call)
        held = await self._locks.holder(found.id)
        if held is None:
            raise NotFound("the state is not locked")
        await send_json(call, _lock_view(held))

    async def break_lock(self, call: Call) -> None:
        """Take the lock away from who holds it."""
        found, caller = await self._workspace(call), call.caller
        writer = Writer(actor=caller.actor, user_id=caller.user_id)
        held = await self._locks.break_lock(found, writer, reading.query(call).get("id"))
        if held is None:
            raise NotFound("the state is not locked")
        await send_json(call, _lock_view(held))

    async def _version(self, found: Workspace, call: Call) -> StateVersion:
        if call.params["number"] != _CURRENT:
            number = reading.integer(call.params, "number", 0, 1, 2**31)
            return await self._states.numbered(found.id, number)
        version = await self._states.current(found.id)
        if version is None:
            raise NoState
        return version

    async def _workspace(self, call: Call) -> Workspace:
        return await self._workspaces.look_up(call.caller.scope, call.params["workspace"])


def state_routes(h: StateHandlers) -> Iterator[Route]:
    """Yield the operations."""
    read: dict[str, Any] = {"permission": Permission.STATE_READ, "tags": ["states"]}
    write: dict[str, Any] = {**read, "permission": Permission.STATE_WRITE}
    yield route(
        "GET", f"{_ONE}/states", "listStates", "List versions of a workspace's state.",
        handler=h.listing, response=Listed[StateVersionOut],
        parameters=(LIMIT, CURSOR),
        **read,
    )  # fmt: skip
    yield route(
        "GET", f"{_ONE}/states/{{number}}", "readState", "Send a version of a state by its number, or `current`.",
        handler=h.content, response=bytes, **read,
    )  # fmt: skip
    yield route(
        "GET", f"{_ONE}/state-lock", "getStateLock", "Show who holds the lock on a state.",
        handler=h.lock, response=StateLockOut, **read,
    )  # fmt: skip
    yield route(
        "DELETE", f"{_ONE}/state-lock", "breakStateLock", "Take the lock on a state away from who holds it.",
        handler=h.break_lock, response=StateLockOut,
        parameters=(Parameter(name="id", summary="Only this lock."),),
        **write,
    )  # fmt: skip


def _view(version: StateVersion) -> StateVersionOut:
    facts = version.facts
    return StateVersionOut(
        number=version.number or 0,
        id=version.id,
        serial=facts.serial,
        lineage=facts.lineage,
        md5=facts.md5,
        size=facts.size,
        resources=facts.resources,
        terraform_version=facts.terraform_version,
        created_at=version.created_at,
        created_by=version.created_by,
        run=version.run_id,
        forced=version.forced,
    )


def _lock_view(lock: Lock) -> StateLockOut:
    shown = lock.document()
    return StateLockOut(
        id=lock.lock_id,
        who=shown["Who"],
        operation=shown["Operation"],
        info=shown["Info"],
        holder=lock.holder.value,
        run=lock.run_id,
        created_at=lock.created_at,
    )
