"""What operations take, for the OpenAPI document: the parameters and bodies of each route by its name. Reads nothing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from runyard.dialects.door import Parameter
from runyard.dialects.stackstorm.filters import FILTER_VALUES

_KINDS: Final[Mapping[str, Mapping[str, object]]] = {
    "text": {"type": "string"},
    "number": {"type": "integer"},
    "flag": {"type": "boolean"},
}
_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "limit": ("number", "Items at most; -1 is all, for administrators."),
    "offset": ("number", "Items to leave out at the beginning."),
    "include_attributes": ("text", "Comma-separated members to show, with dots into objects."),
    "exclude_attributes": ("text", "Comma-separated members to leave out."),
    "sort": ("text", "Comma-separated names of filters, each with - for descending."),
    "sort_asc": ("text", "Any value: the oldest first."),
    "sort_desc": ("text", "Any value: the newest first."),
    "show_secrets": ("flag", "Show secrets, to administrators."),
    "id": ("text", "Comma-separated ids."),
    "status": ("text", "The status."),
    "parent": ("text", "Id of the parent; null for executions without one."),
    "rule": ("text", "Name of the rule; null for executions without one."),
    "trigger": ("text", "Name of the trigger; null for executions without one."),
    "trigger_type": ("text", "Name of the trigger type; null for executions without one."),
    "trigger_instance": ("text", "Id of the trigger instance; null for executions without one."),
    "action": ("text", "Reference of the action."),
    "runner": ("text", "Name of the runner type."),
    "user": ("text", "Name of the user."),
    "liveaction": ("text", "Id of the live action."),
    "timestamp": ("text", "Two times with .. between, inclusive."),
    "timestamp_gt": ("text", "After this time."),
    "timestamp_lt": ("text", "Before this time."),
    "filter": ("text", "Blank-separated path:value; overrides the other filters."),
    "types": ("text", f"Comma-separated, of {', '.join(FILTER_VALUES)}."),
    "max_result_size": ("number", "Leave the result out when it has more bytes."),
    "depth": ("number", "Levels at most; -1 is all."),
    "result_fmt": ("text", "sorted: by time of start."),
    "output_type": ("text", "stdout, stderr or all."),
    "download": ("flag", "Send it as a file."),
    "compress": ("flag", "Send it compressed."),
    "pretty_format": ("flag", "Send it indented."),
    "events": ("text", "Comma-separated names of events, with * for any part."),
    "action_refs": ("text", "Comma-separated references of actions."),
    "execution_ids": ("text", "Comma-separated ids of executions."),
    "end_event": ("text", "The event after which the stream ends."),
    "end_execution_id": ("text", "The execution whose end ends the stream."),
    "name": ("text", "The name."),
    "pack": ("text", "Name of the pack."),
    "tags": ("text", "A tag: name, value or name:value."),
    "scope": ("text", "system, user or all."),
    "prefix": ("text", "What the names begin with."),
    "decrypt": ("flag", "Show secrets: the own ones, or to administrators."),
    "trace_tag": ("text", "The tag of the trace."),
    "execution": ("text", "Id of an execution of the trace."),
}
_NARROW: Final = "include_attributes exclude_attributes"
_PAGE: Final = f"limit offset {_NARROW}"
_QUERIES: Final[Mapping[str, str]] = {
    "listExecutions": f"{_PAGE} sort sort_asc sort_desc id status parent trigger_type trigger trigger_instance rule action "
    "runner user liveaction timestamp timestamp_lt timestamp_gt filter show_secrets",
    "createExecution": "show_secrets",
    "getFilters": "types",
    "getExecution": f"{_NARROW} show_secrets max_result_size",
    "updateExecution": "show_secrets",
    "cancelExecution": "show_secrets",
    "getAttribute": "show_secrets",
    "listChildren": f"depth result_fmt {_NARROW} show_secrets",
    "getOutput": "output_type",
    "getResult": "download compress pretty_format show_secrets",
    "reRun": "show_secrets",
    "stream": "events action_refs execution_ids end_event end_execution_id",
    "streamOutput": "output_type",
    "streamOutputUnversioned": "output_type",
    "listActions": f"{_PAGE} sort id name pack tags",
    "listActionOverviews": f"{_PAGE} sort id name pack tags",
    "listRunners": f"{_PAGE} sort name",
    "listPacks": f"{_PAGE} sort name",
    "listConfigs": "limit offset show_secrets",
    "getConfig": "show_secrets",
    "listKeys": "limit offset scope user prefix decrypt",
    "getKey": "scope user decrypt",
    "deleteKey": "scope user",
    "listTraces": f"{_PAGE} trace_tag execution rule trigger_instance sort_asc sort_desc",
    "listInquiries": "limit offset",
    "listApiKeys": "limit offset user show_secrets",
    "getApiKey": "show_secrets",
    "listTriggerInstances": "limit offset include_attributes trigger trigger_type status timestamp_gt timestamp_lt",
}
"""The query parameters of each route, as words of `_TEXTS`."""
_CONTEXT: Final = Parameter(
    name="st2-context", summary="A JSON object that is merged over the context.", where="header"
)


class NotifySection(msgspec.Struct, kw_only=True):
    """What is told on some routes."""

    message: str | None = None
    data: dict[str, Any] | None = None
    routes: list[str] | None = None
    channels: list[str] | None = None
    """The old name of `routes`."""


class Notify(msgspec.Struct, kw_only=True, rename="kebab"):
    """Which ends are told, and where."""

    on_complete: NotifySection | None = None
    on_failure: NotifySection | None = None
    on_success: NotifySection | None = None


class ExecutionRequest(msgspec.Struct, kw_only=True):
    """What shall be run."""

    action: str
    """`pack.name`"""
    parameters: dict[str, Any] | None = None
    user: str | None = None
    """For whom it runs; another one than the caller is for administrators."""
    context: dict[str, Any] | None = None
    notify: Notify | None = None
    callback: dict[str, Any] | None = None
    delay: int | None = None
    """Milliseconds before it is scheduled."""


class ExecutionUpdate(msgspec.Struct, kw_only=True):
    """The status, and the result with it."""

    status: str
    result: dict[str, Any] | None = None


class RunAgain(msgspec.Struct, kw_only=True):
    """What is different this time."""

    parameters: dict[str, Any] = {}
    tasks: list[str] = []
    reset: list[str] = []
    user: str | None = None
    delay: int | None = None
    """Milliseconds before it is scheduled."""


BODIES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "createExecution": ExecutionRequest,
    "updateExecution": ExecutionUpdate,
    "reRun": RunAgain,
}
"""The bodies of routes by their names."""


def parameters_of(name: str) -> Sequence[Parameter]:
    """Return what a route takes beside its path and its body."""
    return list(_declared(name))


def _declared(name: str) -> Iterator[Parameter]:
    for word in _QUERIES.get(name, "").split():
        kind, summary = _TEXTS[word]
        yield Parameter(name=word, summary=summary, schema=_KINDS[kind])
    if name == "createExecution":
        yield _CONTEXT
