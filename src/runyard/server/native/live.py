"""A live log as server-sent events. Owns the events, the heartbeat and the end; holds only an offset.

Every event's id is the offset after its bytes, so that a reader which comes back with `Last-Event-ID` goes on there.
A slow reader is held back by its socket alone: what it has not read stays in the log, not in memory.
"""

import asyncio
import contextlib
from typing import Final

from runyard.dialects.door import Call
from runyard.executions.model import Execution
from runyard.executions.output.model import Stream
from runyard.server.house import House
from runyard.server.native.replies import encode
from runyard.server.native.views import chunk_view, execution_view

HEARTBEAT_SECONDS: Final = 15.0
_BEAT: Final = b": still here\n\n"


class LiveReader:
    """One reader of one log."""

    def __init__(
        self, house: House, call: Call, execution: Execution, offset: int, stream: Stream | None
    ) -> None:
        """Begin at an offset."""
        self._house = house
        self._call = call
        self._execution = execution
        self._offset = offset
        self._stream = stream
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Send until the execution has ended, the reader is gone or the server stops."""
        self._call.started = True
        headers = [
            (b"x-request-id", self._call.request_id.encode()),
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await self._call.send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send(b": live\n\n")
        sides = [
            asyncio.ensure_future(side)
            for side in (self._follow(), self._watch(), self._beat(), self._stop())
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
            await self._call.send({"type": "http.response.body", "body": b""})

    async def _follow(self) -> None:
        async for chunk in self._house.output.follow(self._execution.id, self._offset, self._stream):
            data = encode(chunk_view(chunk))
            await self._send(b"event: output\nid: %d\ndata: %b\n\n" % (chunk.end, data))
        ended = await self._house.executions.wait(self._call.caller.scope, self._execution.id)
        await self._send(b"event: end\ndata: %b\n\n" % encode(execution_view(ended)))

    async def _watch(self) -> None:
        while (await self._call.receive())["type"] != "http.disconnect":
            pass

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._send(_BEAT)

    async def _stop(self) -> None:
        await self._house.stopping.wait()

    async def _send(self, body: bytes) -> None:
        async with self._sending:
            await self._call.send({"type": "http.response.body", "body": body, "more_body": True})
