"""What somebody asks to be run. Owns how body and headers of a request become it; runs nothing."""

from collections.abc import Mapping
from typing import Any, Final

from runyard.actions import keepable
from runyard.actions.followups.model import MOST_ROUTES
from runyard.actions.runs.model import NewRun
from runyard.dialects.door import Call
from runyard.dialects.stackstorm import reading
from runyard.kernel.errors import InvalidArgument

_NOTIFY: Final = ("on-complete", "on-success", "on-failure")
_SECTION: Final[Mapping[str, tuple[type, str]]] = {
    "message": (str, "string"),
    "data": (dict, "object"),
    "routes": (list, "array"),
    "channels": (list, "array"),
}
_MAX_DELAY: Final = 10**13


def new_run(call: Call, body: Mapping[str, Any]) -> NewRun:
    """Read the body of a request for an execution. Raises InvalidArgument with the published texts."""
    action = body.get("action")
    if action is None:
        raise InvalidArgument("'action' is a required property")
    if not isinstance(action, str):
        raise InvalidArgument(f"{action!r} is not of type 'string'")
    objects: dict[str, dict[str, Any]] = {}
    for name in ("parameters", "context", "notify", "callback"):
        value = body.get(name)
        if value is not None and not isinstance(value, dict):
            raise InvalidArgument(f"{value!r} is not of type 'object'")
        objects[name] = value or {}
    user = body.get("user")
    if user is not None and not isinstance(user, str):
        raise InvalidArgument(f"{user!r} is not of type 'string', 'null'")
    return NewRun(
        action=action,
        user=user or None,
        header_context=_header_context(call),
        delay_ms=delay_of(body),
        request_id=call.request_id[:64],
        parameters=objects["parameters"],
        context=objects["context"],
        notify=_notify(objects["notify"]),
        callback=objects["callback"],
    )


def claimed_users(new: NewRun) -> list[str]:
    """Return the users for whom an execution would run: whatever place the caller names one in."""
    found: list[object] = [new.user, new.header_context.get("user")]
    for context in (new.context, new.header_context):
        parent = context.get("parent")
        if isinstance(parent, Mapping):
            found.append(parent.get("user"))
    return [str(one) for one in found if one]


def delay_of(body: Mapping[str, Any]) -> int:
    """Return the milliseconds to wait before the start. Raises InvalidArgument."""
    delay = body.get("delay")
    if delay is None:
        return 0
    if not isinstance(delay, int) or isinstance(delay, bool):
        raise InvalidArgument(f"{delay!r} is not of type 'integer'")
    if not 0 <= delay <= _MAX_DELAY:
        raise InvalidArgument(f"The delay must be 0 to {_MAX_DELAY} milliseconds, it is {delay}.")
    return delay


def _notify(given: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, section in given.items():
        if name not in _NOTIFY:
            raise InvalidArgument(f"Additional properties are not allowed ('{name}' was unexpected)")
        if not isinstance(section, dict):
            raise InvalidArgument(f"{section!r} is not of type 'object'")
        kept[name] = _section(section)
    return kept


def _section(given: Mapping[str, Any]) -> dict[str, Any]:
    """Read one section of `notify`: routes, or channels by their old name, are texts."""
    for name, value in given.items():
        if name not in _SECTION:
            raise InvalidArgument(f"Additional properties are not allowed ('{name}' was unexpected)")
        kind, word = _SECTION[name]
        if not isinstance(value, kind):
            raise InvalidArgument(f"{value!r} is not of type '{word}'")
    routes = given.get("routes") or given.get("channels") or []
    if len(routes) > MOST_ROUTES:
        raise InvalidArgument(
            f"A section of notify has at most {MOST_ROUTES} routes, this has {len(routes)}."
        )
    for route in routes:
        if not isinstance(route, str):
            raise InvalidArgument(f"{route!r} is not of type 'string'")
    return {
        **{name: value for name, value in given.items() if name not in ("routes", "channels")},
        "routes": routes,
    }


def _header_context(call: Call) -> dict[str, Any]:
    text = reading.header(call, b"st2-context")
    if not text:
        return {}
    try:
        value = keepable.read(text.encode("latin-1"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidArgument("Unable to convert st2-context from the headers into JSON (was <class 'str'>).")
    return value
