"""Operations of the published API that are not there. Owns the table and the sentence."""

import re
from collections.abc import Iterator
from typing import Final

from runyard.dialects.door import Call, Route
from runyard.dialects.dreadnode.declaring import API
from runyard.kernel.errors import Unimplemented

ABSENT: Final = (
    ("task sets", "/org/{org}/task-sets", "GET POST"),
    ("task sets", "/org/{org}/task-sets/facets", "GET"),
    ("task sets", "/org/{org}/task-sets/{set}", "GET PUT DELETE"),
    ("task sets", "/org/{org}/task-sets/{set}/visibility", "PATCH"),
)
"""Group, path and methods."""
_NAME: Final = re.compile(r"[^A-Za-z0-9]+")


def absent_routes() -> Iterator[Route]:
    """Yield a route for each of them."""
    for group, path, methods in ABSENT:
        for method in methods.split():
            name = f"absent{method.capitalize()}{_NAME.sub('_', path).rstrip('_')}"
            yield Route(
                method=method, path=API + path, name=name, summary="Published, not available here.",
                handler=_absent, status=501, errors=[401, 501], tags=[f"not implemented: {group}"],
            )  # fmt: skip


async def _absent(call: Call) -> None:
    raise Unimplemented(
        f"{call.scope['method']} {call.scope['path'][:200]} is not implemented by this version of Runyard"
    )
