"""How operations of the native door are declared. Owns the base of their paths and the parameters that many of them share."""

from typing import Any, Final

from runyard.dialects.door import Parameter, Route
from runyard.server.native.problems import DOCUMENTED

BASE: Final = "/runyard/v1"
MOST: Final = 1000
"""Items on one page at the most."""
PAGE: Final = 50
"""Items on a page that is read by offset, when nobody says how many."""

LIMIT: Final = Parameter(
    name="limit",
    summary="Items on the page at most.",
    schema={"type": "integer", "minimum": 1, "maximum": MOST},
)
CURSOR: Final = Parameter(name="cursor", summary="The cursor of the page before.")
OFFSET: Final = Parameter(
    name="offset", summary="How many to pass over.", schema={"type": "integer", "minimum": 0}
)
TEXT: Final = Parameter(name="text", summary="A part of what is shown, in any case.")


def route(method: str, path: str, name: str, summary: str, **more: Any) -> Route:  # noqa: ANN401  fields of Route
    """Declare an operation below the base; its documented errors are those of the door unless it says otherwise."""
    given = {"errors": DOCUMENTED, **more}
    return Route(method=method, path=BASE + path, name=name, summary=summary, **given)
