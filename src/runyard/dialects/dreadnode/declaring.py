"""Declares a route of this door with what all of them share."""

from typing import Any, Final

from runyard.dialects.door import Handler, Route
from runyard.dialects.dreadnode.errors import DOCUMENTED

API: Final = "/api/v1"


def route(
    method: str,
    path: str,
    name: str,
    summary: str,
    handler: Handler,
    **more: Any,  # noqa: ANN401  a table reads better than a builder
) -> Route:
    """Return the route of a path below `/api/v1`, with the documented errors; the tag is the path's first noun."""
    nouns = [part for part in path.split("/") if part and not part.startswith("{")]
    tag = nouns[1] if nouns[0] == "org" and len(nouns) > 1 else nouns[0]
    return Route(
        method=method,
        path=API + path,
        name=name,
        summary=summary,
        handler=handler,
        **{"errors": DOCUMENTED, "tags": (tag,), **more},
    )
