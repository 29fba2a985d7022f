"""Following lists. Owns the loops over their pages: by cursor, and by offset where the server counts."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from runyard.client.errors import InvalidAnswer
from runyard.client.http import Request, Transport
from runyard.client.models import Page

Item = TypeVar("Item")

PAGE = 200


def each(
    transport: Transport, path: str, into: type[Page[Item]], query: Mapping[str, str], limit: int | None
) -> Iterator[Item]:
    """Yield the items of all pages, at most `limit`. Raises InvalidAnswer when a cursor comes twice."""
    left = limit
    cursor: str | None = None
    while left is None or left > 0:
        page_size = PAGE if left is None else min(PAGE, left)
        full = {**query, "limit": str(page_size), **({"cursor": cursor} if cursor else {})}
        page = transport.call(Request("GET", path, query=full, repeatable=True), into)
        yield from page.items[:left]
        left = None if left is None else left - len(page.items)
        if page.next_cursor is None:
            return
        if page.next_cursor == cursor:
            raise InvalidAnswer("the server gave the same cursor twice")
        cursor = page.next_cursor


def each_at(
    transport: Transport, path: str, into: type[Page[Item]], query: Mapping[str, str], limit: int
) -> Iterator[Item]:
    """Yield the items of all pages of a list that is read by offset, at most `limit`."""
    seen = 0
    while seen < limit:
        wanted = min(PAGE, limit - seen)
        full = {**query, "offset": str(seen), "limit": str(wanted)}
        page = transport.call(Request("GET", path, query=full, repeatable=True), into)
        yield from page.items
        seen += len(page.items)
        if len(page.items) < wanted:
            return
