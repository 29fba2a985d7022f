"""Executions over the native API. Owns their paths, and how a live log is followed over lost connections."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from runyard.client.errors import ApiError, ConnectionLost, InvalidAnswer, Unreachable
from runyard.client.http import RETRY_STATUS, Request, Transport, decode, path_of
from runyard.client.models import (
    Chunk,
    Event,
    Execution,
    ExecutionFilter,
    Page,
    SearchResult,
    WireChunk,
)
from runyard.client.paging import each
from runyard.client.sse import ServerEvent, parse_events

SILENCE_SECONDS = 60.0
"""A live log without even a comment for so long counts as broken; the server sends one every 15 s."""
PATIENCE_SECONDS = 300.0
"""How long a lost connection is tried again before the reader is told."""
BLOCK_BYTES = 1 << 20


@dataclass
class Follow:
    """How to follow a log, and how far it came: `offset` is always where to come back."""

    offset: int = 0
    stream: str | None = None
    on_reconnect: Callable[[str], None] | None = None
    """Told the reason each time that the connection is lost."""
    patience: float = PATIENCE_SECONDS


class Executions:
    """The ledger, as far as the token sees it."""

    def __init__(self, transport: Transport) -> None:
        """Use this transport."""
        self._transport = transport

    def list(self, wanted: ExecutionFilter | None = None, *, limit: int | None = None) -> Iterator[Execution]:
        """Yield executions, newest first, over all pages."""
        query = (wanted or ExecutionFilter()).query()
        return each(self._transport, path_of("executions"), Page[Execution], query, limit)

    def get(self, execution: str) -> Execution:
        """Return one execution."""
        request = Request("GET", path_of("executions", execution), repeatable=True)
        return self._transport.call(request, Execution)

    def history(self, execution: str) -> Sequence[Event]:
        """Return all changes of an execution, oldest first."""
        request = Request("GET", path_of("executions", execution, "history"), repeatable=True)
        return self._transport.call(request, Page[Event]).items

    def wait(self, execution: str, *, on_reconnect: Callable[[str], None] | None = None) -> Execution:
        """Return an execution once it has ended, whichever way. Follows the live log, of which nearly nothing is sent,
        so that the end is known at once; a lost connection is taken up again. Raises ConnectionLost as `follow`.
        """
        found = self.get(execution)
        while not found.ended:
            begin = 0 if found.output_truncated else found.output_bytes or 0
            for _ in self.follow(execution, Follow(begin, "system", on_reconnect)):
                continue
            found = self.get(execution)
        return found

    def cancel(self, execution: str, reason: str | None = None) -> Execution:
        """Ask for the end of an execution; a running one is `canceling` until its command is gone."""
        body = {"reason": reason} if reason else {}
        request = Request("POST", path_of("executions", execution, "cancel"), json=body)
        return self._transport.call(request, Execution)

    def output(self, execution: str, *, offset: int = 0, stream: str | None = None) -> Iterator[Chunk]:
        """Yield what is in the log now, from `offset` to its end."""
        cursor = offset
        while True:
            query = {"offset": str(cursor), "limit": str(BLOCK_BYTES)}
            query.update({"stream": stream} if stream else {})
            request = Request("GET", path_of("executions", execution, "output"), query=query, repeatable=True)
            page = self._transport.call(request, OutputPage)
            yield from (chunk.decoded() for chunk in page.items)
            if page.next_offset is None or page.next_offset <= cursor:
                return
            cursor = page.next_offset

    def search(
        self, execution: str, text: str, *, ignore_case: bool = False, limit: int = 100
    ) -> SearchResult:
        """Search the whole log on the server; `total` is exact whatever the limit."""
        query = {"text": text, "limit": str(limit), "ignore_case": str(ignore_case).lower()}
        request = Request(
            "GET", path_of("executions", execution, "output", "search"), query=query, timeout=120.0
        )
        return self._transport.call(request, SearchResult)

    def follow(self, execution: str, how: Follow) -> Iterator[Chunk]:
        """Yield the log from `how.offset` until the execution ends, resuming where it was after a lost connection.

        Nothing is lost and nothing comes twice: offsets decide. Raises ConnectionLost after `how.patience` seconds
        without a connection; `how.offset` then says where to go on.
        """
        lost_at: float | None = None
        while True:
            try:
                for event in self._live(execution, how):
                    lost_at = None
                    if event.name == "end":
                        return
                    if event.name == "output":
                        yield from _advance(how, decode(event.data.encode(), WireChunk).decoded())
                raise ConnectionLost("the live log ended early")
            except (ConnectionLost, Unreachable) as error:
                lost_at = self._wait(how, lost_at, str(error))
            except ApiError as error:
                if error.status not in RETRY_STATUS:
                    raise
                lost_at = self._wait(how, lost_at, str(error))

    def _wait(self, how: Follow, lost_at: float | None, reason: str) -> float:
        """Pause before the next try, the longer the connection has been gone; return since when it is gone."""
        now = time.monotonic()
        since = now if lost_at is None else lost_at
        if now - since > how.patience:
            raise ConnectionLost(f"no connection for {how.patience:g} s: {reason}")
        if how.on_reconnect is not None and lost_at is None:
            how.on_reconnect(reason)
        time.sleep(min(3.0, 0.1 + (now - since) / 2))
        return since

    def _live(self, execution: str, how: Follow) -> Iterator[ServerEvent]:
        """Open the live log at the current offset and yield its events."""
        query = {"offset": str(how.offset), **({"stream": how.stream} if how.stream else {})}
        headers = {"Accept": "text/event-stream"}
        if how.offset:
            headers["Last-Event-ID"] = str(how.offset)
        request = Request(
            "GET",
            path_of("executions", execution, "output", "live"),
            query=query,
            headers=headers,
            timeout=SILENCE_SECONDS,
        )
        with self._transport.stream(request) as response:
            yield from parse_events(response.iter_lines())


class OutputPage(Page[WireChunk], frozen=True, kw_only=True):
    """A range of a log."""

    next_offset: int | None = None


def _advance(how: Follow, chunk: Chunk) -> Iterator[Chunk]:
    """Cut what was seen already off a chunk and move on. Raises InvalidAnswer when bytes were left out."""
    if chunk.end <= how.offset:
        return
    if chunk.offset > how.offset and how.stream is None:
        raise InvalidAnswer(f"the log jumps from byte {how.offset} to {chunk.offset}")
    fresh = chunk.data[max(0, how.offset - chunk.offset) :]
    how.offset = chunk.end
    yield Chunk(offset=chunk.end - len(fresh), stream=chunk.stream, data=fresh, time=chunk.time)
