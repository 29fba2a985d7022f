"""Declares an operation of the door. Owns what all of them share: the prefix, the errors, the check of a key pair."""

from typing import Any, Final

from runyard.dialects.door import Handler, Route
from runyard.dialects.firefly import reading
from runyard.dialects.firefly.errors import DOCUMENTED

BASE: Final = "/v2"


def route(method: str, path: str, name: str, summary: str, handler: Handler, **more: Any) -> Route:  # noqa: ANN401  a table reads better than a builder
    """Return an operation by its path below the prefix."""
    return Route(
        method=method,
        path=f"{BASE}{path}",
        name=name,
        summary=summary,
        handler=handler if more.get("open") else reading.with_key_checked(handler),
        errors=DOCUMENTED,
        tags=[path.split("/")[1]],
        **more,
    )
