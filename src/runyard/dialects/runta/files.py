"""Handlers of files: one regular file, streamed both ways."""

import asyncio
import contextlib

from runyard.dialects.door import Call
from runyard.dialects.reading import pieces
from runyard.dialects.runta import reading
from runyard.dialects.runta.replies import send_nothing
from runyard.dialects.runta.services import RuntaServices
from runyard.kernel.errors import InvalidArgument
from runyard.runtimes.resident import Resident

_WATCH_FROM = 4 << 20
"""From this size on it is worth watching whether the client is still there."""


class FileHandlers:
    """Read and write."""

    def __init__(self, services: RuntaServices) -> None:
        """Take the services."""
        self._runtimes = services.runtimes
        self._files = services.files

    async def _target(self, call: Call) -> tuple[Resident, str]:
        by_name = "runtime" in call.params
        reference = call.params["runtime"] if by_name else call.params["runtime_id"]
        resident = await self._runtimes.resident(call.caller.scope, reference, names=by_name)
        path = reading.query(call).get("path")
        if path is None:
            raise InvalidArgument("path is required")
        return resident, path

    async def read(self, call: Call) -> None:
        """Send the file's bytes."""
        resident, path = await self._target(call)
        async with self._files.reading(resident, path) as reader:
            call.started = True
            headers = [
                (b"x-request-id", call.request_id.encode()),
                (b"content-type", b"application/octet-stream"),
                (b"content-length", str(reader.size).encode()),
            ]
            await call.send({"type": "http.response.start", "status": 200, "headers": headers})
            gone = asyncio.ensure_future(_gone(call)) if reader.size >= _WATCH_FROM else None
            try:
                async for data in reader.chunks():
                    if gone is not None and gone.done():
                        return
                    await call.send({"type": "http.response.body", "body": data, "more_body": True})
                await call.send({"type": "http.response.body", "body": b""})
            finally:
                if gone is not None:
                    gone.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await gone

    async def write(self, call: Call) -> None:
        """Take the file's bytes and publish the file when the last one has come; 204."""
        resident, path = await self._target(call)
        async with self._files.writing(resident, path) as writer:
            async for piece in pieces(call):  # a client that goes away raises, and leaving drops what came
                await writer.write(piece)
            await writer.publish()
        await send_nothing(call)


async def _gone(call: Call) -> None:
    while (await call.receive())["type"] != "http.disconnect":
        pass
