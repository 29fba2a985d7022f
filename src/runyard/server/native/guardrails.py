"""Guardrails over the native API, to look at: their routes, handlers and shapes. The Firefly door makes and changes them."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call, Route
from runyard.identity.model import Permission
from runyard.infrastructure.guardrails.model import Guardrail
from runyard.infrastructure.guardrails.service import GuardrailFilter
from runyard.infrastructure.notifications.model import Delivery
from runyard.server.house import House
from runyard.server.native.declaring import LIMIT, MOST, OFFSET, PAGE, TEXT, route
from runyard.server.native.replies import send_json
from runyard.server.native.wire import Listed


class GuardrailOut(msgspec.Struct, kw_only=True):
    """A rule that judges plans."""

    id: str
    name: str
    type: str
    severity: str
    """`strict`, `flexible` or `warning`."""
    enabled: bool
    enforce_on_no_op: bool
    scope: Mapping[str, Any]
    criteria: Mapping[str, Any]
    project_id: str
    """It is for this project and all below."""
    created_by: str
    created_at: datetime
    updated_at: datetime


class DeliveryOut(msgspec.Struct, kw_only=True):
    """A message to the webhook of a rule."""

    id: str
    event: str
    run_id: str
    status: str
    """`waiting`, `delivered` or `given_up`."""
    attempts: int
    last_status: int | None
    last_error: str
    next_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


class GuardrailHandlers:
    """Guardrails of the caller's project and of those below."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._guards = house.infrastructure.guards

    async def listing(self, call: Call) -> None:
        """List guardrails, the newest first."""
        values = reading.query(call)
        found = await self._guards.guardrails.search(
            call.caller.scope,
            GuardrailFilter(search=values.get("text", "")),
            reading.integer(values, "offset", 0, 0, 10_000_000),
            reading.integer(values, "limit", PAGE, 1, MOST),
        )
        await send_json(call, Listed(items=[guardrail_view(one) for one in found]))

    async def get(self, call: Call) -> None:
        """Get one guardrail."""
        found = await self._guards.guardrails.get(call.caller.scope, call.params["guardrail"])
        await send_json(call, guardrail_view(found))

    async def deliveries(self, call: Call) -> None:
        """List the newest messages to the webhook of a rule."""
        rule = await self._guards.guardrails.get(call.caller.scope, call.params["guardrail"])
        # The id of a notification that a rule names may be anybody's: clients may set it.
        own = await self._guards.notifications.of_rule(rule.id)
        found = [sent for one in own for sent in await self._guards.notifications.deliveries(one.id)]
        await send_json(call, Listed(items=[delivery_view(one) for one in found]))


def guardrail_view(one: Guardrail) -> GuardrailOut:
    """Return a guardrail as the wire has it."""
    return GuardrailOut(
        id=one.id,
        name=one.name,
        type=one.type.value,
        severity=one.severity.name.lower(),
        enabled=one.enabled,
        enforce_on_no_op=one.enforce_on_no_op,
        scope=one.scope_document,
        criteria=one.criteria_document,
        project_id=one.project_id,
        created_by=one.created_by,
        created_at=one.created_at,
        updated_at=one.updated_at,
    )


def delivery_view(one: Delivery) -> DeliveryOut:
    """Return a delivery as the wire has it."""
    return msgspec.convert(one, DeliveryOut, from_attributes=True)


def guardrail_routes(h: GuardrailHandlers) -> Iterator[Route]:
    """Yield the operations."""
    read: dict[str, Any] = {"permission": Permission.GUARDRAILS_READ, "tags": ["guardrails"]}
    one = "/guardrails/{guardrail}"
    yield route(
        "GET", "/guardrails", "listGuardrails", "List guardrails, the newest first.",
        handler=h.listing, response=Listed[GuardrailOut], parameters=(TEXT, OFFSET, LIMIT), **read,
    )  # fmt: skip
    yield route("GET", one, "getGuardrail", "Get a guardrail.", handler=h.get, response=GuardrailOut, **read)
    yield route(
        "GET", f"{one}/deliveries", "listDeliveries", "List the newest messages to the webhook of a guardrail.",
        handler=h.deliveries, response=Listed[DeliveryOut], **read,
    )  # fmt: skip
