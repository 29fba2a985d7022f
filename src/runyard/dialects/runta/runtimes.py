"""Handlers of runtimes, in both generations. They decode, call one verb and encode."""

from collections.abc import Sequence

import msgspec

from runyard.dialects.door import Call
from runyard.dialects.runta import reading
from runyard.dialects.runta.replies import EMPTY, send_body, send_json
from runyard.dialects.runta.services import RuntaServices
from runyard.dialects.runta.views import (
    BothPagings,
    Cursors,
    Enveloped,
    Listed,
    ListedV1,
    runtime_v1,
    runtime_v2,
)
from runyard.dialects.runta.wire import CreateV1, CreateV2, PatchV1, PatchV2
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.paging import Page
from runyard.runtimes.model import Runtime, Verb
from runyard.runtimes.service import Counted

_create_v1 = msgspec.json.Decoder(CreateV1)
_create_v2 = msgspec.json.Decoder(CreateV2)
_patch_v1 = msgspec.json.Decoder(PatchV1)
_patch_v2 = msgspec.json.Decoder(PatchV2)

KEY_LIMIT = 255


class RuntimeHandlers:
    """Create, find, change, delete, start, stop, pause, resume."""

    def __init__(self, services: RuntaServices) -> None:
        """Take the services."""
        self._runtimes = services.runtimes

    # --- v1 --------------------------------------------------------------------------------------------------------

    async def create_v1(self, call: Call) -> None:
        """Create or restore; 200."""
        body = await reading.read_optional_json(call, _create_v1)
        new = body.domain(self._runtimes.options.default_base)
        runtime = await self._runtimes.create(call.caller, new, _key(call))
        await self._send(call, runtime, v1=True)

    async def list_v1(self, call: Call) -> None:
        """List with offset and cursor paging at once."""
        values = reading.query(call)
        limit = reading.integer(values, "limit", 100, 1, reading.V1_PAGE_LIMIT)
        offset = reading.integer(values, "offset", 0, 0, 2**53)
        after = reading.cursor(values)
        statuses = reading.statuses(values, aliases=True)
        counted = Counted(page=Page([]), total=0)
        if statuses is not None:
            counted = await self._runtimes.counted(call.caller.scope, statuses, limit, after or offset)
        page = counted.page
        pagination = BothPagings(
            limit=limit,
            offset=offset,
            total=counted.total,
            next_offset=offset + limit if page.has_more and after is None else None,
            next_cursor=page.next_cursor,
            has_more=page.has_more,
        )
        await send_json(call, ListedV1([runtime_v1(item, call.caller) for item in page.items], pagination))

    async def get_v1(self, call: Call) -> None:
        """Get by id or name."""
        await self._send(call, await self._runtimes.get(call.caller.scope, call.params["runtime"]), v1=True)

    async def patch_v1(self, call: Call) -> None:
        """Change what is given."""
        resident = await self._runtimes.resident(call.caller.scope, call.params["runtime"])
        body = await reading.read_json(call, _patch_v1)
        patch = body.domain(resident.runtime.definition.captures)
        await self._send(call, await self._runtimes.patch(call.caller, resident, patch), v1=True)

    async def delete_v1(self, call: Call) -> None:
        """Delete; 200 with an empty object."""
        resident = await self._runtimes.resident(call.caller.scope, call.params["runtime"])
        await self._runtimes.order(call.caller, resident, Verb.DELETE)
        await send_body(call, EMPTY)

    async def start_v1(self, call: Call) -> None:
        """Start."""
        await self._order_v1(call, Verb.START)

    async def stop_v1(self, call: Call) -> None:
        """Stop."""
        await self._order_v1(call, Verb.STOP)

    async def pause_v1(self, call: Call) -> None:
        """Pause."""
        await self._order_v1(call, Verb.PAUSE)

    async def resume_v1(self, call: Call) -> None:
        """Resume."""
        await self._order_v1(call, Verb.RESUME)

    async def _order_v1(self, call: Call, verb: Verb) -> None:
        resident = await self._runtimes.resident(call.caller.scope, call.params["runtime"])
        await self._send(call, await self._runtimes.order(call.caller, resident, verb), v1=True)

    # --- v2 --------------------------------------------------------------------------------------------------------

    async def create_v2(self, call: Call) -> None:
        """Create or restore; 201 with the place of the new runtime."""
        body = await reading.read_optional_json(call, _create_v2)
        new = body.domain(self._runtimes.options.default_base)
        runtime = await self._runtimes.create(call.caller, new, _key(call))
        location = (b"location", f"/v2/runtimes/{runtime.id}".encode())
        await self._send(call, runtime, v1=False, status=201, headers=(location,))

    async def list_v2(self, call: Call) -> None:
        """List with cursor paging."""
        values = reading.query(call)
        limit = reading.integer(values, "limit", 50, 1, reading.PAGE_LIMIT)
        statuses = reading.statuses(values, aliases=False)
        page: Page[Runtime] = Page([])
        if statuses is not None:
            page = await self._runtimes.page(call.caller.scope, statuses, limit, reading.cursor(values))
        views = [runtime_v2(item, call.caller) for item in page.items]
        await send_json(call, Listed(views, Cursors(page.next_cursor, page.has_more)))

    async def get_v2(self, call: Call) -> None:
        """Get by id."""
        runtime = await self._runtimes.get(call.caller.scope, call.params["runtime_id"], names=False)
        await self._send(call, runtime, v1=False)

    async def patch_v2(self, call: Call) -> None:
        """Change what is given, at the expected revision."""
        resident = await self._runtimes.resident(call.caller.scope, call.params["runtime_id"], names=False)
        expected = reading.revision(reading.query(call))
        body = await reading.read_json(call, _patch_v2)
        patch = body.domain(resident.runtime.definition.captures)
        await self._send(call, await self._runtimes.patch(call.caller, resident, patch, expected), v1=False)

    async def delete_v2(self, call: Call) -> None:
        """Delete at the expected revision; 202 with the runtime as it goes."""
        resident = await self._runtimes.resident(call.caller.scope, call.params["runtime_id"], names=False)
        expected = reading.revision(reading.query(call))
        runtime = await self._runtimes.order(call.caller, resident, Verb.DELETE, expected)
        location = (b"location", f"/v2/runtimes/{runtime.id}".encode())
        await self._send(call, runtime, v1=False, status=202, headers=(location,))

    async def start_v2(self, call: Call) -> None:
        """Start at the expected revision."""
        await self._order_v2(call, Verb.START)

    async def stop_v2(self, call: Call) -> None:
        """Stop at the expected revision."""
        await self._order_v2(call, Verb.STOP)

    async def pause_v2(self, call: Call) -> None:
        """Pause at the expected revision."""
        await self._order_v2(call, Verb.PAUSE)

    async def resume_v2(self, call: Call) -> None:
        """Resume at the expected revision."""
        await self._order_v2(call, Verb.RESUME)

    async def _order_v2(self, call: Call, verb: Verb) -> None:
        resident = await self._runtimes.resident(call.caller.scope, call.params["runtime_id"], names=False)
        expected = reading.revision(reading.query(call))
        await self._send(call, await self._runtimes.order(call.caller, resident, verb, expected), v1=False)

    async def _send(
        self,
        call: Call,
        runtime: Runtime,
        *,
        v1: bool,
        status: int = 200,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        view = runtime_v1(runtime, call.caller) if v1 else runtime_v2(runtime, call.caller)
        await send_json(call, Enveloped(view), status, headers)


def _key(call: Call) -> str | None:
    key = reading.header(call, b"idempotency-key")
    if key is not None and not 1 <= len(key) <= KEY_LIMIT:
        raise InvalidArgument(f"Idempotency-Key must be 1 to {KEY_LIMIT} characters")
    return key
