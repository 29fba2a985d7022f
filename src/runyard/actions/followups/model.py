"""What follows the end of a run: which notifications, with which content. Pure: knows no database and sends nothing."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from runyard.actions.runs.model import Record, Run
from runyard.actions.values import Json, JsonObject
from runyard.executions.model import Status
from runyard.kernel.jsons import encode_json

NOTIFY: Final = "notify"
CALLBACK: Final = "callback"
NOTIFY_TRIGGER: Final = "core.st2.generic.notifytrigger"
LARGEST_RESULT: Final = 256 << 10
"""Bytes of a result that are copied into a notification; a larger one is left out."""
MOST_ROUTES: Final = 50
"""Routes of one section; those beyond are not told."""
PAUSES: Final = (2, 10, 60, 600, 3600)
"""Seconds before each further attempt of a callback; after the last one it is given up."""
_FAILED: Final = frozenset({Status.FAILED, Status.TIMEOUT, Status.ABANDONED})
_STAMP: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class TriggerInstance(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened and that rules may act on."""

    id: str
    trigger: str
    occurred_at: datetime
    payload: JsonObject
    status: str = "processed"


class InstanceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which trigger instances to list, the newest first."""

    trigger: str | None = None
    status: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    offset: int = 0
    limit: int | None = None


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One section of a run's `notify` that its end calls for."""

    message: str
    data: JsonObject
    routes: Sequence[str]


def kinds_of(run: Run) -> list[str]:
    """Return what will follow the end of a run."""
    found = [NOTIFY] if any(_routes(section) for section in run.notify.values()) else []
    return [*found, CALLBACK] if callback_url(run) else found


def callback_url(run: Run) -> str | None:
    """Return where the end of a run is to be told, None for nowhere."""
    url = run.callback.get("url")
    return url if isinstance(url, str) and url.startswith(("http://", "https://")) else None


def notices_of(run: Run, status: Status) -> Iterator[Notice]:
    """Yield the sections that apply to an end."""
    names = ["on-complete"]
    if status is Status.SUCCEEDED:
        names.append("on-success")
    if status in _FAILED:
        names.append("on-failure")
    for name in names:
        section = run.notify.get(name)
        routes = _routes(section)
        if isinstance(section, Mapping) and routes:
            message, data = section.get("message"), section.get("data")
            yield Notice(
                message=str(message) if message else f"Action {run.action_ref} completed.",
                data=dict(data) if isinstance(data, Mapping) else {},
                routes=routes,
            )


def summary_of(record: Record) -> dict[str, Json]:
    """Return what is told of an end, whatever the way."""
    execution, run = record.execution, record.run
    ended = execution.ended_at or execution.created_at
    return {
        "execution_id": str(execution.id),
        "status": execution.status.value,
        "start_timestamp": execution.created_at.strftime(_STAMP),
        "end_timestamp": ended.strftime(_STAMP),
        "action_ref": run.action_ref,
        "runner_ref": run.runner,
    }


def payload_of(record: Record, message: Json, data: JsonObject, route: str) -> dict[str, Json]:
    """Return the payload of a notification on one route; secrets in the record are masked already."""
    result = encode_json(record.result or {}).decode()
    shown = {**data, "result": result} if len(result) <= LARGEST_RESULT else dict(data)
    return {**summary_of(record), "message": message, "data": shown, "route": route, "channel": route}


def next_attempt(attempts: int, now: datetime) -> datetime | None:
    """Return when to try a callback again after so many attempts, None to give it up."""
    if attempts > len(PAUSES):
        return None
    return now + timedelta(seconds=PAUSES[attempts - 1])


def _routes(section: Json) -> list[str]:
    if not isinstance(section, Mapping):
        return []
    routes = section.get("routes") or section.get("channels") or []
    return [str(route) for route in routes if route][:MOST_ROUTES]
