"""Guardrails over the native API, to look at. Owns their paths and shapes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from runyard.client.http import Request, Transport, path_of
from runyard.client.models import Page, Wire
from runyard.client.paging import each_at


class Guardrail(Wire, frozen=True, kw_only=True):
    """A rule that judges plans."""

    id: str
    name: str
    type: str
    severity: str
    enabled: bool
    enforce_on_no_op: bool = False
    scope: dict[str, Any] = {}
    criteria: dict[str, Any] = {}
    project_id: str = ""
    created_by: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Delivery(Wire, frozen=True, kw_only=True):
    """A message to the webhook of a guardrail."""

    id: str
    event: str
    run_id: str
    status: str
    attempts: int = 0
    last_status: int | None = None
    last_error: str = ""
    next_at: datetime | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None


class Guardrails:
    """The guardrails of the token's project and of those below."""

    def __init__(self, transport: Transport) -> None:
        """Use this transport."""
        self._transport = transport

    def list(self, *, text: str = "", limit: int = 50) -> Sequence[Guardrail]:
        """Return guardrails, the newest first; `text` is a part of the name."""
        return list(each_at(self._transport, path_of("guardrails"), Page[Guardrail], {"text": text}, limit))

    def get(self, guardrail: str) -> Guardrail:
        """Return one."""
        request = Request("GET", path_of("guardrails", guardrail), repeatable=True)
        return self._transport.call(request, Guardrail)

    def deliveries(self, guardrail: str) -> Sequence[Delivery]:
        """Return the newest messages to the webhook of one."""
        request = Request("GET", path_of("guardrails", guardrail, "deliveries"), repeatable=True)
        return self._transport.call(request, Page[Delivery]).items
