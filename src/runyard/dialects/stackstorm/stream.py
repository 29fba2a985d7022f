"""The stream of events (SSE). Owns the filters, the events and the end; holds no state but a place in each log.

Everything comes from the ledger's events: a listener that was too slow is told nothing twice and reads the rows again.
"""

import asyncio
import contextlib
import fnmatch
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from runyard.actions.runs.model import Record
from runyard.dialects.door import Call
from runyard.dialects.stackstorm import granting, reading
from runyard.dialects.stackstorm.executions import base_of
from runyard.dialects.stackstorm.replies import encode, time_of
from runyard.dialects.stackstorm.services import StackStormServices
from runyard.dialects.stackstorm.views import execution_view
from runyard.executions.output.model import Chunk, Stream
from runyard.kernel.errors import NotFound
from runyard.kernel.events import Event

HEARTBEAT_SECONDS: Final = 25.0
_DEFAULT: Final = (
    "st2.announcement__*", "st2.execution__create", "st2.execution__update", "st2.execution__delete",
    "st2.liveaction__create", "st2.liveaction__update", "st2.liveaction__delete",
)  # fmt: skip
_OUTPUT: Final = "st2.execution.output__create"
_WORDS: Final = {Stream.STDOUT: "stdout", Stream.STDERR: "stderr"}
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=UTF-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class StreamHandlers:
    """Live events."""

    def __init__(self, services: StackStormServices) -> None:
        """Take the services."""
        self._services = services

    async def events(self, call: Call) -> None:
        """Send events until the listener leaves, the server stops or the wanted end has come."""
        await _Listener(self._services, call).run()

    async def output(self, call: Call) -> None:
        """Send the output of one execution, what there is and what comes, until its end."""
        owner = granting.access_of(call).owner
        record = await self._services.runs.get(call.caller.scope, call.params["execution"], owner=owner)
        granting.require_execution(call, "execution_view", record)
        kind = reading.query(call).get("output_type")
        await _start(call)
        async for event in _lines(self._services, record, kind):
            await _send(call, _OUTPUT, event)
        await call.send({"type": "http.response.body", "body": b"event: EOF\ndata: ''\n\n"})


class _Listener:
    """One listener of the stream."""

    def __init__(self, services: StackStormServices, call: Call) -> None:
        self._services = services
        self._call = call
        values = reading.query(call)
        self._wanted = reading.words(values, "events") or list(_DEFAULT)
        self._actions = set(reading.words(values, "action_refs"))
        self._executions = set(reading.words(values, "execution_ids"))
        self._end = (values.get("end_event"), values.get("end_execution_id"))
        self._sending = asyncio.Lock()
        self._tails: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        await _start(self._call)
        sides = [
            asyncio.ensure_future(one) for one in (self._listen(), self._watch(), self._beat(), self._stop())
        ]
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in [*sides, *self._tails.values()]:
                side.cancel()
            await asyncio.gather(*sides, *self._tails.values(), return_exceptions=True)
        with contextlib.suppress(OSError):
            await self._call.send({"type": "http.response.body", "body": b""})

    async def _listen(self) -> None:
        account = self._call.caller.scope.account_id
        topics = (f"{account}/execution", f"{account}/announcement")
        with self._services.database.broker.subscribe(*topics, capacity=1024) as events:
            if await self._ended_before():
                return
            while True:
                event = await events.next()
                if event is None:
                    events.take_lost()
                    if await self._ended_before():
                        return
                elif event.subject_kind == "announcement":
                    await self._emit(f"st2.announcement__{event.type}", event.body or {})
                elif await self._executed(event):
                    return

    async def _ended_before(self) -> bool:
        """Tell whether the awaited execution had ended when the listener came, after showing it."""
        name, execution_id = self._end
        if not name or not execution_id:
            return False
        try:
            record = await self._services.runs.get(self._call.caller.scope, execution_id)
        except NotFound:
            return False
        if not self._visible(record):
            return False
        if not record.execution.ended:
            self._tail(record)
            return False
        await self._drained(record)
        await self._emit("st2.execution__update", execution_view(record, base_of(self._call)))
        return True

    async def _executed(self, event: Event) -> bool:
        try:
            record = await self._services.runs.get(self._call.caller.scope, event.subject_id)
        except NotFound:
            return False
        if not self._concerns(record):
            return False
        self._tail(record)
        over = event.type.partition(".")[2] in ("succeeded", "failed", "timeout", "canceled", "abandoned")
        if over:
            await self._drained(record)
        verb = "create" if event.type == "execution.requested" else "update"
        document = execution_view(record, base_of(self._call), fresh=verb == "create")
        await self._emit(f"st2.execution__{verb}", document)
        await self._emit(f"st2.liveaction__{verb}", _liveaction(document))
        return over and self._end[0] is not None and self._end[1] == record.execution.id

    def _visible(self, record: Record) -> bool:
        access = granting.access_of(self._call)
        return granting.owns(access, record) and access.allows("execution_view", granting.uids_of(record))

    def _concerns(self, record: Record) -> bool:
        if not self._visible(record):
            return False
        if self._actions and record.run.action_ref not in self._actions:
            return False
        return not self._executions or record.execution.id in self._executions

    def _tail(self, record: Record) -> None:
        """Follow the output of an execution, if output is wanted and it is not followed yet."""
        name = record.execution.id
        if name not in self._tails and self._wants(_OUTPUT):
            self._tails[name] = asyncio.ensure_future(self._follow(record))

    async def _drained(self, record: Record) -> None:
        """Wait until the listener has all output of an execution that has ended."""
        self._tail(record)
        tail = self._tails.pop(record.execution.id, None)
        if tail is not None:
            await tail

    async def _follow(self, record: Record) -> None:
        async for event in _lines(self._services, record, None):
            await self._emit(_OUTPUT, event)

    def _wants(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, wanted) for wanted in self._wanted)

    async def _emit(self, name: str, document: Mapping[str, Any]) -> None:
        if self._wants(name):
            async with self._sending:
                await _send(self._call, name, document)

    async def _watch(self) -> None:
        while (await self._call.receive())["type"] != "http.disconnect":
            pass

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            async with self._sending:
                await self._call.send({"type": "http.response.body", "body": b"\n", "more_body": True})

    async def _stop(self) -> None:
        await self._services.stopping.wait()


async def _lines(
    services: StackStormServices, record: Record, kind: str | None
) -> AsyncIterator[dict[str, Any]]:
    """Yield the output of an execution line by line until its end; a last line without its end comes at the end."""
    rest: dict[Stream, bytes] = {}
    number = 0
    last: Chunk | None = None
    async for chunk in services.output.follow(record.execution.id):
        word = _WORDS.get(chunk.stream)
        if word is None or kind not in (None, "all", word):
            continue
        last = chunk
        *whole, left = (rest.get(chunk.stream, b"") + chunk.data).split(b"\n")
        rest[chunk.stream] = left
        for line in whole:
            number += 1
            yield _output(record, chunk, line + b"\n", number)
    for stream, left in rest.items():
        if left and last is not None:
            number += 1
            yield _output(record, Chunk(last.offset, stream, last.time, left), left, number)


def _output(record: Record, chunk: Chunk, data: bytes, number: int) -> dict[str, Any]:
    return {
        "id": f"{record.execution.id[:16]}{number:08x}",
        "execution_id": record.execution.id,
        "action_ref": record.run.action_ref,
        "runner_ref": record.run.runner,
        "timestamp": time_of(chunk.time),
        "output_type": _WORDS[chunk.stream],
        "data": data.decode("utf-8", "replace"),
    }


def _liveaction(execution: Mapping[str, Any]) -> dict[str, Any]:
    members = ("status", "start_timestamp", "end_timestamp", "parameters", "context", "result")
    shown = {name: execution[name] for name in members if name in execution}
    return {**execution["liveaction"], **shown}


async def _start(call: Call) -> None:
    call.started = True
    headers = [(b"x-request-id", call.request_id.encode()), *_HEADERS]
    await call.send({"type": "http.response.start", "status": 200, "headers": headers})
    await call.send({"type": "http.response.body", "body": b"\n", "more_body": True})


async def _send(call: Call, name: str, document: Mapping[str, Any]) -> None:
    body = b"event: %b\ndata: %b\n\n" % (name.encode(), encode(document))
    await call.send({"type": "http.response.body", "body": body, "more_body": True})
