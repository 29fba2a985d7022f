"""The stream of events (SSE). Owns the filters, the events and the end; holds no state but a place in each log.

Everything comes from the ledger's events. A listener that was too slow loses some of them; it is then told of every
execution that changed meanwhile as it is now, so that no end is missed and memory stays bounded.
"""

import asyncio
import contextlib
import fnmatch
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import msgspec

from runyard.actions.runs.model import Detail, Record, RunFilter
from runyard.dialects.door import Call
from runyard.dialects.stackstorm import granting, reading
from runyard.dialects.stackstorm.executions import base_of
from runyard.dialects.stackstorm.replies import encode, time_of
from runyard.dialects.stackstorm.services import StackStormServices
from runyard.dialects.stackstorm.views import execution_view
from runyard.executions.model import BEFORE_START, TERMINAL, Status
from runyard.executions.output.model import Chunk, OutputGone, Stream
from runyard.identity.scoping import is_whole_account
from runyard.kernel.clock import monotonic, utc_now
from runyard.kernel.errors import NotFound
from runyard.kernel.events import Event

HEARTBEAT_SECONDS: Final = 25.0
_DEFAULT: Final = (
    "st2.announcement__*", "st2.execution__create", "st2.execution__update", "st2.execution__delete",
    "st2.liveaction__create", "st2.liveaction__update", "st2.liveaction__delete",
)  # fmt: skip
_LIVE: Final = ("requested", "delayed", "scheduled", "running", "waiting", "canceling")
_CAPACITY: Final = 1024
"""Events that wait for a slow listener; what comes beyond is told as the state that came of it."""
_LOOKED_AT: Final = 1000
"""Executions that have not ended and that one listener keeps in mind, at most."""
_PART: Final = 500
LONGEST_LINE: Final = 64 << 10
"""Bytes of a line that is held back until its end comes; a longer one is sent in pieces."""
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
        self._end = (values.get("end_event") or "", values.get("end_execution_id") or "")
        self._sending = asyncio.Lock()
        self._tails: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, str] = {}
        """The status that was told last of each execution that had not ended then."""
        self._over: set[str] = set()
        """The executions whose end was told while catching up, the last time."""
        self._catching_up = False
        self._seen_at = utc_now()
        self._sent_at = 0.0

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
        kinds = ("execution", "announcement", "trigger_instance")
        topics = [f"{account}/{kind}" for kind in kinds]
        with self._services.database.broker.subscribe(*topics, capacity=_CAPACITY) as events:
            if await self._met():
                return
            while True:
                event = await events.next()
                if event is None:
                    events.take_lost()
                    self._catching_up = True
                    if await self._caught_up():
                        return
                    self._catching_up = False
                    continue
                self._seen_at = event.at
                if event.subject_kind == "announcement":
                    await self._emit(f"st2.announcement__{event.type}", event.body or {})
                elif event.subject_kind == "trigger_instance":
                    await self._instance(event)
                elif event.type.startswith("execution.") and await self._executed(event):
                    return

    async def _met(self) -> bool:
        """Look at what is there when the listener comes: what it names, or what has not ended, is told of again when
        events are lost. Tell whether the awaited execution had ended already, after showing it.
        """
        runs, scope = self._services.runs, self._call.caller.scope
        named = {name for name in (*self._executions, self._end[1]) if name}
        if not named:
            live = RunFilter(statuses=_LIVE, limit=_LOOKED_AT, owner=granting.access_of(self._call).owner)
            found, _ = await runs.page(scope, live, Detail(history=False))
        else:
            found = await runs.records(scope, sorted(named))
        for record in found:
            if not self._concerns(record):
                continue
            if not record.execution.ended:
                self._told[record.execution.id] = record.execution.status
                if named:
                    self._tail(record)
            elif self._end[0] and record.execution.id == self._end[1]:
                return await self._tell(record, "update")
        return False

    async def _caught_up(self) -> bool:
        """Tell of all executions that changed while events were lost, each as it is now. Tell whether that was the end."""
        runs, scope = self._services.runs, self._call.caller.scope
        since, self._seen_at = self._seen_at, utc_now()
        self._over.clear()
        for record in await runs.records(scope, sorted(self._told)):
            if record.execution.status != self._told.get(record.execution.id) and await self._tell(
                record, "update"
            ):
                return True
        owner = granting.access_of(self._call).owner
        made = RunFilter(after=since, sort=(("timestamp", True),), owner=owner)
        ids, _ = await runs.listed(scope, made)
        for start in range(0, len(ids), _PART):
            for record in await runs.records(scope, ids[start : start + _PART]):
                fresh = record.execution.id not in self._told and record.execution.id not in self._over
                if fresh and self._concerns(record) and await self._tell(record, "create", "update"):
                    return True
        return False

    async def _executed(self, event: Event) -> bool:
        try:
            record = await self._services.runs.get(self._call.caller.scope, event.subject_id)
        except NotFound:
            return False
        word = event.type.partition(".")[2]
        if (
            not self._concerns(record)
            or event.subject_id in self._over
            or self._told.get(event.subject_id) == word
        ):
            return False  # what was told while catching up is not told again by an event that came meanwhile
        verb = "create" if event.type == "execution.requested" else "update"
        over = await self._tell(as_of(record, event), verb)
        if verb == "create" and record.execution.parent_id is not None:
            await self._has_child(record.execution.parent_id)
        return over

    async def _has_child(self, execution_id: str) -> None:
        """Tell of an execution that it has one more child, unless another change is about to tell that as well."""
        try:
            parent = await self._services.runs.get(self._call.caller.scope, execution_id)
        except NotFound:
            return
        status = parent.execution.status
        settled = self._told.get(execution_id, status if parent.execution.ended else None) == status
        if settled and self._concerns(parent):
            await self._emit("st2.execution__update", execution_view(parent, base_of(self._call)))

    async def _tell(self, record: Record, *verbs: str) -> bool:
        """Send an execution as it is, after its output when it has ended. Tell whether that was the awaited end."""
        execution = record.execution
        self._tail(record)
        if execution.ended:
            self._told.pop(execution.id, None)
            if self._catching_up:
                self._over.add(execution.id)
            await self._drained(record)
        elif len(self._told) < _LOOKED_AT or execution.id in self._told:
            self._told[execution.id] = execution.status
        over = False
        for verb in verbs:
            document = execution_view(record, base_of(self._call), fresh=verb == "create")
            for name, shown in (
                (f"st2.execution__{verb}", document),
                (f"st2.liveaction__{verb}", _liveaction(document)),
            ):
                await self._emit(name, shown)
                over = over or (self._end == (name, execution.id) and execution.ended and verb == "update")
                if over:
                    return True
        return False

    async def _instance(self, event: Event) -> None:
        """Tell of a trigger instance, to whoever may see those of all."""
        access = granting.access_of(self._call)
        everything = access.owner is None and is_whole_account(self._call.caller.scope)
        if everything and access.allows("trigger_view"):
            shown = {"id": event.subject_id, "occurrence_time": time_of(event.at), **(event.body or {})}
            await self._emit("st2.trigger_instance__create", shown)

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
                self._sent_at = monotonic()

    async def _watch(self) -> None:
        while (await self._call.receive())["type"] != "http.disconnect":
            pass

    async def _beat(self) -> None:
        """Send a blank line after so much silence, so that nobody between cuts the connection."""
        self._sent_at = monotonic()
        while True:
            await asyncio.sleep(max(0.1, self._sent_at + HEARTBEAT_SECONDS - monotonic()))
            if monotonic() - self._sent_at < HEARTBEAT_SECONDS:
                continue
            async with self._sending:
                await self._call.send({"type": "http.response.body", "body": b"\n", "more_body": True})
                self._sent_at = monotonic()

    async def _stop(self) -> None:
        await self._services.stopping.wait()


def as_of(record: Record, event: Event) -> Record:
    """Return an execution as an event left it, when it has gone on since: every change is told once, in order."""
    execution = record.execution
    word = event.type.partition(".")[2]
    if word not in {one.value for one in Status} or word == execution.status or Status(word) in TERMINAL:
        return record
    begun = Status(word) not in BEFORE_START
    then = msgspec.structs.replace(
        execution,
        status=Status(word),
        started_at=execution.started_at if begun else None,
        ended_at=None,
        result=None,
    )
    history = [one for one in record.history if one.at <= event.at]
    canceled = word == Status.CANCELING and execution.status is Status.CANCELED
    result = record.result if word == Status.WAITING or canceled else None
    return msgspec.structs.replace(record, execution=then, history=history, result=result)


async def _lines(
    services: StackStormServices, record: Record, kind: str | None
) -> AsyncIterator[dict[str, Any]]:
    """Yield the output of an execution line by line until its end; a last line without its end comes at the end."""
    rest: dict[Stream, bytes] = {}
    last: dict[Stream, Chunk] = {}
    async for chunk in _kept(services.output.follow(record.execution.id)):
        word = _WORDS.get(chunk.stream)
        if word is None or kind not in (None, "all", word):
            continue
        place = chunk.offset - len(rest.get(chunk.stream, b""))
        *whole, left = (rest.get(chunk.stream, b"") + chunk.data).split(b"\n")
        if len(left) > LONGEST_LINE:
            head = left[: -_unfinished(left)] if _unfinished(left) else left
            whole, left = [*whole, head], left[len(head) :]
            ends = [b"\n"] * (len(whole) - 1) + [b""]
        else:
            ends = [b"\n"] * len(whole)
        rest[chunk.stream], last[chunk.stream] = left, chunk
        for line, end in zip(whole, ends, strict=True):
            place += len(line + end)
            yield _output(record, chunk, line + end, place)
    for stream, left in rest.items():
        if left:
            yield _output(record, last[stream], left, last[stream].end)


async def _kept(chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
    """Yield output as long as there is some: what retention removed ends like what was never written."""
    with contextlib.suppress(OutputGone):
        async for chunk in chunks:
            yield chunk


def _unfinished(data: bytes) -> int:
    """Return how many bytes at the end begin a character of which more is to come."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return back if length > back else 0
    return 0


def _output(record: Record, chunk: Chunk, data: bytes, place: int) -> dict[str, Any]:
    """Show a line that ends at a place in the log of its execution. Its id follows from that: everybody gets the same
    one, and none is given twice.
    """
    name = record.execution.id
    return {
        "id": f"{name[:8]}{name[-6:]}{place:010x}",
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
