"""Handlers of executions: list, get, history, cancel, and their output by range, search and live."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call
from runyard.executions.errors import ExecutionEnded
from runyard.executions.model import Execution, ExecutionFilter, Kind, Status
from runyard.executions.output.model import Chunk, Stream
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.ids import ExecutionId
from runyard.server.house import House
from runyard.server.native import live
from runyard.server.native.replies import send_json
from runyard.server.native.views import chunk_view, execution_view
from runyard.server.native.wire import (
    CancelIn,
    EventOut,
    HitOut,
    Listed,
    OutputOut,
    SearchOut,
)

Word = TypeVar("Word", Kind, Status)

MAX_PAGE: Final = 1000
MAX_RANGE: Final = 8 << 20
FILTERS: Final = frozenset(
    {"kind", "status", "place", "actor", "door", "parent", "root", "top", "text", "label", "request_id"}
    | {"created_after", "created_before", "limit", "cursor"}
)
_cancel = msgspec.json.Decoder(CancelIn)


class ExecutionHandlers:
    """The ledger."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._house = house
        self._executions = house.executions
        self._output = house.output

    async def listing(self, call: Call) -> None:
        """List executions, the newest first."""
        values = reading.query(call)
        wanted = filter_of(values)
        limit = reading.integer(values, "limit", 50, 1, MAX_PAGE)
        page = await self._executions.list(call.caller.scope, wanted, limit, values.get("cursor") or None)
        await send_json(
            call, Listed(items=[execution_view(one) for one in page.items], next_cursor=page.next_cursor)
        )

    async def get(self, call: Call) -> None:
        """Get one execution."""
        await send_json(call, execution_view(await self._named(call)))

    async def history(self, call: Call) -> None:
        """Get all changes of an execution, the oldest first."""
        events = await self._executions.history(call.caller.scope, _id(call))
        found = [
            EventOut(type=one.type, time=one.at, actor=one.actor, reason=one.reason, body=one.body)
            for one in events
        ]
        await send_json(call, Listed(items=found))

    async def cancel(self, call: Call) -> None:
        """Ask for the end of an execution; asking again is harmless."""
        body = await reading.read_optional_json(call, _cancel)
        try:
            ended = await self._executions.cancel(
                call.caller.scope, _id(call), actor=call.caller.actor, reason=body.reason
            )
        except ExecutionEnded:
            ended = await self._named(call)
            # Who asks again after a lost answer wanted just this end.
            if ended.status is not Status.CANCELED:
                raise
        await send_json(call, execution_view(ended), status=200 if ended.ended else 202)

    async def output(self, call: Call) -> None:
        """Read a range of the log as chunks, or as raw bytes with `format=raw`."""
        execution = await self._named(call)
        values = reading.query(call)
        offset = reading.integer(values, "offset", 0, 0, 2**53)
        limit = reading.integer(values, "limit", 1 << 20, 1, MAX_RANGE)
        stream = stream_of(values)
        if values.get("format", "json") == "raw":
            await self._raw(call, execution, offset, stream)
            return
        if values.get("format", "json") != "json":
            raise InvalidArgument("format must be json or raw")
        chunks = await self._output.read(execution.id, offset, limit, stream)
        end = chunks[-1].end if chunks else offset
        over = execution.ended and not chunks
        await send_json(
            call, OutputOut(items=[chunk_view(one) for one in chunks], next_offset=None if over else end)
        )

    async def _raw(self, call: Call, execution: Execution, offset: int, stream: Stream | None) -> None:
        """Send everything that the log holds now, block by block, so that its size does not matter."""
        first = await self._output.read(execution.id, offset, 1 << 20, stream)
        call.started = True
        headers = [
            (b"x-request-id", call.request_id.encode()),
            (b"content-type", b"application/octet-stream"),
            (b"content-disposition", f'attachment; filename="{execution.id}.log"'.encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        await call.send({"type": "http.response.start", "status": 200, "headers": headers})
        chunks: Sequence[Chunk] = first
        while chunks:
            for chunk in chunks:
                await call.send({"type": "http.response.body", "body": chunk.data, "more_body": True})
            chunks = await self._output.read(execution.id, chunks[-1].end, 1 << 20, stream)
        await call.send({"type": "http.response.body", "body": b""})

    async def search(self, call: Call) -> None:
        """Find the lines of a log that contain a text, with their exact number."""
        execution = await self._named(call)
        values = reading.query(call)
        found = await self._output.search(
            execution.id,
            values.get("text", ""),
            ignore_case=reading.boolean(values, "ignore_case"),
            limit=reading.integer(values, "limit", 100, 1, MAX_PAGE),
            cursor=values.get("cursor") or None,
        )
        hits = [HitOut(offset=one.offset, line_number=one.line_number, line=one.line) for one in found.hits]
        await send_json(call, SearchOut(total=found.total, hits=hits, next_cursor=found.next_cursor))

    async def live(self, call: Call) -> None:
        """Follow a log as server-sent events from `Last-Event-ID` or `offset` on."""
        execution = await self._named(call)
        values = reading.query(call)
        last = reading.header(call, b"last-event-id")
        given = {"offset": last} if last else values
        offset = reading.integer(given, "offset", 0, 0, 2**53)
        reader = live.LiveReader(self._house, call, execution, offset, stream_of(values))
        await reader.run()

    async def _named(self, call: Call) -> Execution:
        return await self._executions.get(call.caller.scope, _id(call))


def _id(call: Call) -> ExecutionId:
    try:
        return ExecutionId.parse(call.params["execution"])
    except ValueError as error:
        raise InvalidArgument(str(error)) from None


def filter_of(values: Mapping[str, str]) -> ExecutionFilter:
    """Return the filter of a query. Raises InvalidArgument naming what is wrong, unknown names included."""
    unknown = sorted(set(values) - FILTERS)
    if unknown:
        raise InvalidArgument(f"unknown filter {unknown[0]!r}; known are {', '.join(sorted(FILTERS))}")
    place_kind, place_id = _place(values.get("place"))
    return ExecutionFilter(
        kinds=reading.listed_words(values, "kind", Kind),
        statuses=reading.listed_words(values, "status", Status),
        place_kind=place_kind,
        place_id=place_id,
        actor=values.get("actor") or None,
        door=values.get("door") or None,
        parent_id=_execution_id(values, "parent"),
        root_id=_execution_id(values, "root"),
        top_only=reading.boolean(values, "top"),
        labels=_labels(values.get("label")),
        text=values.get("text") or None,
        created_from=_moment(values, "created_after"),
        created_to=_moment(values, "created_before"),
        request_id=values.get("request_id") or None,
    )


def stream_of(values: Mapping[str, str]) -> Stream | None:
    """Return the stream that a query names, None for all. Raises InvalidArgument."""
    text = values.get("stream")
    if not text:
        return None
    try:
        return Stream[text.upper()]
    except KeyError:
        raise InvalidArgument("stream must be stdout, stderr or system") from None


def _place(text: str | None) -> tuple[str | None, str | None]:
    """Read `ID` or `KIND:ID`."""
    if not text:
        return None, None
    kind, colon, rest = text.partition(":")
    return (kind or None, rest or None) if colon else (None, text)


def _labels(text: str | None) -> dict[str, str]:
    """Read `name=value,name=value`."""
    found: dict[str, str] = {}
    for part in (text or "").split(","):
        if not part:
            continue
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise InvalidArgument("label must be name=value")
        found[name] = value
    return found


def _execution_id(values: Mapping[str, str], name: str) -> ExecutionId | None:
    text = values.get(name)
    if not text:
        return None
    try:
        return ExecutionId.parse(text)
    except ValueError as error:
        raise InvalidArgument(f"{name}: {error}") from None


def _moment(values: Mapping[str, str], name: str) -> datetime | None:
    text = values.get(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(f"{name} must be a time such as 2026-01-31T09:30:00Z") from None
