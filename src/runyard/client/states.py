"""States of workspaces over the native API. Owns their paths and shapes."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from runyard.client.http import Request, Transport, path_of
from runyard.client.models import Page, Wire


class StateVersion(Wire, frozen=True, kw_only=True):
    """A version of a workspace's state, without its content."""

    number: int
    id: str
    serial: int
    lineage: str = ""
    md5: str = ""
    size: int = 0
    resources: int = 0
    terraform_version: str = ""
    created_at: datetime | None = None
    created_by: str = ""
    run: str | None = None
    forced: bool = False


class StateLock(Wire, frozen=True, kw_only=True):
    """Who holds the lock on a state."""

    id: str
    who: str = ""
    operation: str = ""
    info: str = ""
    holder: str = ""
    run: str | None = None
    created_at: datetime | None = None


class States:
    """States by the id or name of their workspace."""

    def __init__(self, transport: Transport) -> None:
        """Use this transport."""
        self._transport = transport

    def history(self, workspace: str, limit: int = 50) -> list[StateVersion]:
        """Return the newest versions, at most `limit` of them."""
        found: list[StateVersion] = []
        cursor: str | None = None
        while len(found) < limit:
            query = {"limit": str(min(limit - len(found), 1000))} | ({"cursor": cursor} if cursor else {})
            request = Request("GET", path_of("workspaces", workspace, "states"), query=query, repeatable=True)
            page = self._transport.call(request, Page[StateVersion])
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    @contextmanager
    def content(self, workspace: str, number: int | None = None) -> Iterator[Iterator[bytes]]:
        """Hand out the bytes of a version as they come; of the current one when no number is given."""
        name = "current" if number is None else str(number)
        request = Request("GET", path_of("workspaces", workspace, "states", name), repeatable=True)
        with self._transport.stream(request) as response:
            yield response.iter_bytes()

    def lock(self, workspace: str) -> StateLock:
        """Return the lock that is held. Raises ApiError (404) when there is none."""
        path = path_of("workspaces", workspace, "state-lock")
        return self._transport.call(Request("GET", path, repeatable=True), StateLock)

    def break_lock(self, workspace: str, lock: str | None = None) -> StateLock:
        """Take the lock away from who holds it, and return it; with `lock`, only that one."""
        path = path_of("workspaces", workspace, "state-lock")
        query = {"id": lock} if lock else None
        return self._transport.call(Request("DELETE", path, query=query), StateLock)
