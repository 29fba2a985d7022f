"""Guardrails: the rules, as the console and the Terraform provider manage them."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import UNSET

from runyard.dialects.door import Call, Parameter, Route
from runyard.dialects.firefly import reading
from runyard.dialects.firefly.declaring import route
from runyard.dialects.firefly.replies import send_json, send_projected
from runyard.dialects.firefly.rulewire import (
    GuardrailChanged,
    GuardrailFilters,
    GuardrailIn,
    GuardrailItem,
    GuardrailMade,
    GuardrailSearchIn,
    MessageOut,
    NotificationIn,
)
from runyard.dialects.firefly.services import FireflyServices
from runyard.identity.model import Permission
from runyard.infrastructure.guardrails.model import Guardrail, RuleType, Severity
from runyard.infrastructure.guardrails.service import (
    SORTED,
    GuardrailChanges,
    GuardrailFilter,
    NewGuardrail,
)
from runyard.infrastructure.notifications.model import NewNotification, Told
from runyard.kernel.errors import InvalidArgument, Unimplemented

_rule: Final = msgspec.json.Decoder(GuardrailIn)
_search: Final = msgspec.json.Decoder(GuardrailSearchIn)
_SEVERITIES: Final = {one.name.lower(): one for one in Severity}


_ELSEWHERE: Final = ("slack", "teams", "pagerduty", "opsgenie", "torq", "email")
"""Published ways to tell somebody that this server does not have."""


class GuardrailHandlers:
    """The rules."""

    def __init__(self, services: FireflyServices) -> None:
        """Take the services."""
        self._guardrails = services.guardrails

    async def search(self, call: Call) -> None:
        """List rules."""
        body = await reading.read(call, _search)
        offset, limit = reading.paged(call)
        filters = body.filters or GuardrailFilters()
        wanted = GuardrailFilter(
            search=body.search_value or "",
            created_by=filters.created_by or (),
            types=filters.type or (),
            workspaces=filters.workspaces or (),
            repositories=filters.repositories or (),
            branches=filters.branches or (),
            labels=filters.labels or (),
            sorting=reading.sorting(body.sort, SORTED),
        )
        found = await self._guardrails.search(call.caller.scope, wanted, offset, limit)
        await send_projected(call, [guardrail_item(one) for one in found], body.projection)

    async def create(self, call: Call) -> None:
        """Add a rule."""
        body = await reading.read(call, _rule)
        created_by = reading.required(body.created_by, "createdBy")
        name, kind, enabled = _required(body)
        if body.severity is None:
            raise InvalidArgument("Severity is required")
        new = NewGuardrail(
            created_by=created_by,
            name=name,
            type=kind,
            scope=body.scope,
            criteria=body.criteria,
            enabled=enabled,
            severity=_severity(body.severity),
            enforce_on_no_op=bool(body.enforce_on_no_op),
            notification_id=_known_id(body.notification_id),
            notification=_notification(body.notification),
        )
        rule, secret = await self._guardrails.create(call.caller, new)
        await send_json(
            call,
            GuardrailMade(
                rule_id=rule.id, notification_id=rule.notification_id, notification_secret=secret or UNSET
            ),
        )

    async def change(self, call: Call) -> None:
        """Change a rule."""
        body = await reading.read(call, _rule)
        name, kind, enabled = _required(body)
        changes = GuardrailChanges(
            created_by=body.created_by,
            name=name,
            type=kind,
            scope=body.scope,
            criteria=body.criteria,
            enabled=enabled,
            severity=None if body.severity is None else _severity(body.severity),
            enforce_on_no_op=body.enforce_on_no_op,
            notification_id=_known_id(body.notification_id),
            notification=_notification(body.notification),
        )
        rule = await self._guardrails.change(call.caller, call.params["ruleId"], changes)
        await send_json(
            call,
            GuardrailChanged(id=rule.id, name=rule.name, enabled=rule.enabled, updated_at=rule.updated_at),
        )

    async def delete(self, call: Call) -> None:
        """Remove a rule and its notification."""
        await self._guardrails.delete(call.caller, call.params["ruleId"])
        await send_json(call, MessageOut(status=200, message="Guardrail deleted successfully"))


def guardrail_item(rule: Guardrail) -> GuardrailItem:
    """Show a rule; scope and criteria as they came."""
    return GuardrailItem(
        id=rule.id,
        account_id=rule.account_id,
        created_by=rule.created_by,
        name=rule.name,
        type=rule.type.value,
        scope=dict(rule.scope_document),
        criteria=dict(rule.criteria_document) or UNSET,
        is_enabled=rule.enabled,
        severity=int(rule.severity),
        enforce_on_no_op=rule.enforce_on_no_op,
        notification_id=rule.notification_id,
        created_at=rule.created_at,
        updated_at=rule.updated_at,
    )


def _required(body: GuardrailIn) -> tuple[str, RuleType, bool]:
    """Return what every write of a rule must say."""
    name = reading.required(body.name, "name")
    kind = reading.one_of(reading.required(body.type, "type"), [one.value for one in RuleType], "type")
    if body.is_enabled is None:
        raise InvalidArgument("Is Enabled is required")
    return name, RuleType(kind), body.is_enabled


def _severity(value: Any) -> Severity:  # noqa: ANN401  any JSON
    """Read a severity: its number, or its name."""
    if isinstance(value, str) and value.lower() in _SEVERITIES:
        return _SEVERITIES[value.lower()]
    if isinstance(value, int) and not isinstance(value, bool) and value in list(Severity):
        return Severity(value)
    raise InvalidArgument("Severity is not valid: one of 1 (flexible), 2 (strict), 3 (warning)")


def _known_id(value: str | None) -> str | None:
    """Read the id of a notification that the client made up or got elsewhere; empty means none."""
    if not value:
        return None
    if len(value) != 24 or not all(one in "0123456789abcdef" for one in value.lower()):
        raise InvalidArgument("Notification Id is not valid: expected 24 hexadecimal digits")
    return value


def _notification(given: NotificationIn | None) -> NewNotification | None:
    if given is None:
        return None
    kind = reading.one_of(given.type or "webhook", ["webhook", *_ELSEWHERE], "type")
    if kind in _ELSEWHERE:
        raise Unimplemented(f"Notifications by {kind} are not implemented: use a webhook")
    known = [one.value for one in Told]
    events = [Told(reading.one_of(one, known, "events")) for one in given.events or ()]
    destination = reading.required(given.destination, "destination")
    new = NewNotification(destination=destination, secret=given.secret or "")
    return msgspec.structs.replace(new, events=events) if events else new


def guardrail_routes(h: GuardrailHandlers, paging: tuple[Parameter, ...]) -> Iterator[Route]:
    """Yield the operations on rules."""
    read, write = Permission.GUARDRAILS_READ, Permission.GUARDRAILS_WRITE
    one = "/guardrails/{ruleId}"
    yield route(
        "POST", "/guardrails/search", "searchGuardrails", "List guardrails.", h.search,
        permission=read, request=GuardrailSearchIn, response=list[GuardrailItem], parameters=paging,
    )  # fmt: skip
    yield route(
        "POST", "/guardrails", "createGuardrail", "Make a guardrail.", h.create,
        permission=write, request=GuardrailIn, response=GuardrailMade,
    )  # fmt: skip
    yield route(
        "PATCH", one, "updateGuardrail", "Change a guardrail.", h.change,
        permission=write, request=GuardrailIn, response=GuardrailChanged,
    )  # fmt: skip
    yield route(
        "DELETE", one, "deleteGuardrail", "Delete a guardrail.", h.delete,
        permission=write, response=MessageOut,
    )  # fmt: skip
