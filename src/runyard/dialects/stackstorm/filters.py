"""The filters and the order of a list of executions. Owns how a query becomes a condition; runs nothing."""

from collections.abc import Mapping
from typing import Any, Final

from runyard.actions.runs.model import RunFilter
from runyard.dialects.stackstorm import reading
from runyard.kernel.errors import InvalidArgument

FILTER_VALUES: Final = ("action", "status", "rule", "runner", "trigger", "trigger_type", "user")
"""The filters whose distinct values can be asked for."""
_EQUAL: Final = (
    "action",
    "liveaction",
    "runner",
    "user",
    "rule",
    "trigger",
    "trigger_type",
    "trigger_instance",
)
_MAY_LACK: Final = ("parent", "rule", "trigger", "trigger_type", "trigger_instance")
"""What an execution may be without, so that the value `null` finds something."""
_SORTABLE: Final = frozenset({"timestamp", "id", "name", "status", "parent", *_EQUAL})
_PATHS: Final[Mapping[str, str]] = {
    "id": "id",
    "action.ref": "action",
    "status": "status",
    "liveaction.id": "liveaction",
    "parent": "parent",
    "rule.name": "rule",
    "runner.name": "runner",
    "trigger.name": "trigger",
    "trigger_type.name": "trigger_type",
    "trigger_instance.id": "trigger_instance",
    "context.user": "user",
}
"""Paths into an execution, as `filter` names them, and the filter that stands for each."""
_STATUSES: Final[Mapping[str, str]] = {"pending": "waiting", "waiting": ""}
"""Statuses of the dialect that the ledger names otherwise, and the ledger's that the dialect does not know."""


def filter_of(values: Mapping[str, str]) -> RunFilter:
    """Read the filters, order included, of a list. Raises InvalidArgument with the published texts."""
    given = {name: value for name, value in values.items() if value != ""}
    given |= _by_paths(given.get("filter", ""))
    chosen: dict[str, Any] = {}
    absent = [name for name in _MAY_LACK if given.get(name, "").lower() == "null"]
    if "id" in given:
        chosen["ids"] = [reading.object_id(one) for one in reading.words(given, "id")]
    for name in ("parent", *_EQUAL):
        value = given.get(name)
        if value is None or name in absent:
            continue
        chosen[name] = value
        if value.lower() == "null":
            chosen["nothing"] = True
    if "status" in given:
        chosen["statuses"] = [_STATUSES.get(given["status"], given["status"])]
    chosen |= _times(given)
    ascending = bool(chosen.pop("ascending", False))
    return RunFilter(absent=absent, sort=_order(given, ascending=ascending), **chosen)


def _by_paths(text: str) -> dict[str, str]:
    """Read `filter`: words `path:value`. Raises InvalidArgument."""
    found: dict[str, str] = {}
    for word in text.split():
        path, colon, value = word.partition(":")
        if not colon or not value:
            raise InvalidArgument(f'invalid format for filter "{word}"')
        if path not in _PATHS:
            raise InvalidArgument(f'Cannot resolve field "{path}"')
        found[_PATHS[path]] = value
    return found


def _times(given: Mapping[str, str]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if "timestamp_gt" in given:
        chosen["after"] = reading.moment(given["timestamp_gt"])
    if "timestamp_lt" in given:
        chosen["before"] = reading.moment(given["timestamp_lt"])
    if "timestamp" in given:
        first, dots, last = given["timestamp"].partition("..")
        begin = reading.moment(first)
        end = reading.moment(last) if dots else begin
        chosen |= {"after": min(begin, end), "before": max(begin, end), "inclusive": True}
        chosen["ascending"] = begin < end
    if "timestamp_lt" in given or "sort_desc" in given:
        chosen["ascending"] = False
    elif "timestamp_gt" in given or "sort_asc" in given:
        chosen["ascending"] = True
    return chosen


def _order(given: Mapping[str, str], *, ascending: bool) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    for word in reading.words(given, "sort"):
        name = word.lstrip("+-").strip()
        if name in _SORTABLE:
            found.append((name, not word.startswith("-")))
    return found or [("timestamp", ascending)]
