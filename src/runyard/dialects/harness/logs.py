"""The log service on the wire: a token for readers, finished logs as a blob, running ones as server-sent events.

A blob is whole or not there: a client that gets a part of a log never asks for the rest. The socket of a stream is held
open after its end marker: one client would connect again at once and print everything anew.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final, TypeAlias

from runyard.dialects.door import Call
from runyard.dialects.harness.loglines import Cut, Cutter, LogLine
from runyard.dialects.harness.pipelines import Drains, progress_of
from runyard.dialects.harness.progress import step_end
from runyard.dialects.harness.reading import Reader
from runyard.dialects.harness.replies import encode, send_text
from runyard.dialects.harness.services import HarnessServices
from runyard.dialects.reading import header, query
from runyard.executions.model import Execution
from runyard.identity.model import Permission
from runyard.infrastructure.runs.model import Run, RunStatus
from runyard.kernel.clock import utc_now
from runyard.kernel.errors import InvalidArgument, NotFound

TOKEN_LIFE: Final = timedelta(hours=4)
PING_SECONDS: Final = 15.0
CONNECTION_SECONDS: Final = 3600.0
PATIENCE_SECONDS: Final = 2.0
"""In line, before a reader is told why: longer than most wait."""
_PING: Final = b": ping\n\n"
Sender: TypeAlias = Callable[[bytes], Awaitable[None]]


class LogHandlers:
    """Logs of plans."""

    def __init__(self, services: HarnessServices, reader: Reader, drains: Drains) -> None:
        """Take the services."""
        self._services = services
        self._reader = reader
        self._drains = drains

    async def token(self, call: Call) -> None:
        """Make a token that opens the logs for a while."""
        if not query(call).get("accountID"):
            raise InvalidArgument("accountID is required")
        await self._reader.account(call)
        secret = f"ry_{secrets.token_urlsafe(32)}"
        # Clients send it about in headers of its own: it opens logs and nothing else that changes anything.
        reader = replace(call.caller, scopes=frozenset({Permission.WORKSPACES_READ}))
        await self._services.identity.log_in(reader, secret, TOKEN_LIFE)
        await send_text(call, secret)

    async def blob(self, call: Call) -> None:
        """Send a finished log whole, a line of JSON each; 404 while it still grows."""
        run, task = await self._found(call)
        end = step_end(progress_of(run, task, self._drains.at(run.id)))
        if end is None or utc_now() < end:
            raise NotFound("the log is not complete yet; read its stream")
        call.started = True
        await _start(call, b"application/octet-stream")
        async for cut in self._lines(task, 0):
            body = encode(cut.line) + b"\n"
            await call.send({"type": "http.response.body", "body": body, "more_body": True})
        await call.send({"type": "http.response.body", "body": b""})

    async def stream(self, call: Call) -> None:
        """Send a log as it comes."""
        run, task = await self._found(call)
        call.started = True
        await _start(call, b"text/event-stream")
        sending = asyncio.Lock()

        async def send(body: bytes) -> None:
            async with sending:
                await call.send({"type": "http.response.body", "body": body, "more_body": True})

        sides = [
            asyncio.ensure_future(side)
            for side in (self._follow(call, run, task, send), _watch(call), _beat(send), self._close())
        ]
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in sides:
                side.cancel()
            results = await asyncio.gather(*sides, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, OSError):
                raise result
        with contextlib.suppress(OSError):
            await call.send({"type": "http.response.body", "body": b""})

    async def _follow(self, call: Call, run: Run, task: Execution, send: Sender) -> None:
        """Send lines until the end, then the marker, then hold the socket open."""
        if run.status is RunStatus.PENDING:
            await self._say_why(call, run, send)
        async for cut in self._lines(task, _resume(call)):
            await send(b"id: %d\ndata: %b\n\n" % (cut.end, encode(cut.line)))
        scope = call.caller.scope
        await self._services.executions.wait(scope, task.id)
        await self._services.remote.settled(scope, run.id)
        # First the step is over, then the marker: a client looks at the step again when it sees the marker.
        self._drains.note(run.id)
        await send(b"event: error\ndata: eof\n\n")
        await asyncio.Event().wait()

    async def _say_why(self, call: Call, run: Run, send: Sender) -> None:
        """Tell why a plan does not begin, when it does not soon: clients show it as running and would show nothing."""
        scope = call.caller.scope
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._services.remote.begun(scope, run.id)
        except TimeoutError:
            reason = (await self._services.runs.get(scope, run.id)).reason
            line = LogLine("warn", f"the plan has not begun: {reason}", utc_now(), 0)
            # Without an id: it is no part of the log.
            await send(b"data: %b\n\n" % encode(line))

    async def _lines(self, task: Execution, offset: int) -> AsyncIterator[Cut]:
        """Yield the lines from an offset on, until the log is closed."""
        cutter = Cutter()
        async for chunk in self._services.output.follow(task.id, offset):
            for cut in cutter.feed(chunk):
                yield cut
        for cut in cutter.finish():
            yield cut

    async def _close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECTION_SECONDS):
                await self._services.stopping.wait()

    async def _found(self, call: Call) -> tuple[Run, Execution]:
        values = query(call)
        if not (values.get("accountID") and values.get("key")):
            raise InvalidArgument("accountID and key are required")
        account = await self._reader.account(call)
        key = values["key"].removeprefix(f"{account.slug}/").removeprefix(f"{account.id}/")
        kind, _, rest = key.partition("/")
        run_id, _, what = rest.partition("/")
        if kind != "runs" or what != "plan":
            raise NotFound(f"there is no log {key[:200]!r}")
        scope = call.caller.scope
        try:
            run = await self._services.runs.get(scope, run_id)
            return run, await self._services.executions.get(scope, run.plan_task_id)
        except NotFound:
            raise NotFound(f"there is no log {key[:200]!r}") from None


def _resume(call: Call) -> int:
    """Return the offset at which a reader that comes back goes on."""
    text = header(call, b"last-event-id") or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidArgument("Last-Event-ID must be an id that this stream sent")
    return int(text)


async def _start(call: Call, content_type: bytes) -> None:
    headers = [
        (b"x-request-id", call.request_id.encode()),
        (b"content-type", content_type),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
    ]
    await call.send({"type": "http.response.start", "status": 200, "headers": headers})
    if content_type == b"text/event-stream":
        await call.send({"type": "http.response.body", "body": _PING, "more_body": True})


async def _watch(call: Call) -> None:
    while (await call.receive())["type"] != "http.disconnect":
        pass


async def _beat(send: Sender) -> None:
    while True:
        await asyncio.sleep(PING_SECONDS)
        await send(_PING)
