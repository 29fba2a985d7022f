"""The routes of environments."""

from collections.abc import Iterator

from runyard.dialects.door import Route
from runyard.dialects.dreadnode.services import DreadnodeServices


def environment_routes(services: DreadnodeServices) -> Iterator[Route]:
    """Yield the operations on environments."""
    del services
    yield from ()
