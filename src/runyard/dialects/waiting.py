"""The waiting answer to a command, for all doors: blanks that keep impatient clients, and what a lost client means.

Published clients give up after some seconds of silence though a command may take minutes: after a pause the answer begins
with 200 and a blank, and goes on with a blank now and then until the document comes. What a failure that late looks like
is the door's business.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from runyard.dialects.door import Answer, Call, send_answer
from runyard.kernel.errors import RunyardError

WATCH_AFTER_SECS: Final = 0.1
"""A command that takes longer than this is watched for the loss of its client; shorter ones are over before it pays."""
LOST_CODE: Final = 137
"""Exit code shown when the answer had begun and what the command ran in then ended under it."""
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Pending(Protocol[R_co]):
    """A command that was begun."""

    @property
    def unfinished(self) -> bool:
        """Tell whether it has neither ended nor been given up."""
        ...

    async def result(self) -> R_co:
        """Wait for its end. Raises RunyardError."""
        ...

    async def abandon(self, reason: str) -> None:
        """End it, because nobody waits any more."""
        ...


async def answer_result(
    call: Call,
    pending: Pending[R],
    pause: float,
    written: Callable[[R], bytes],
    written_late: Callable[[RunyardError], bytes],
) -> None:
    """Wait for the end of a command and answer with its result as JSON. Between two blanks are `pause` seconds.

    A failure before the first blank is raised; one that comes later is written by `written_late`. When the client goes
    away the command is ended and nothing more is sent.
    """
    client = _Client(call, pending, pause)
    try:
        result = await pending.result()
    except RunyardError as error:
        if client.gone:
            return
        if not call.started:
            raise
        await client.stop()
        await send_last(call, written_late(error))
    else:
        if client.gone:
            return
        await client.stop()
        document = written(result)
        await (send_last(call, document) if call.started else send_answer(call, Answer(200, document)))
    finally:
        client.drop()
        if pending.unfinished:
            await asyncio.shield(pending.abandon("the request was given up"))


class _Client:
    """Watches a client that waits longer: sends it blanks, and ends the command when it is gone."""

    def __init__(self, call: Call, pending: Pending[object], pause: float) -> None:
        self._call = call
        self._pending = pending
        self._pause = pause
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECS, self._begin)
        self.gone = False

    def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        lost = asyncio.ensure_future(until_lost(self._call))
        try:
            while not (await asyncio.wait((lost,), timeout=self._pause))[0]:
                await _send_blank(self._call)
        finally:
            lost.cancel()
        self.gone = True
        await self._pending.abandon("the client disconnected")

    async def stop(self) -> None:
        """End the watch, so that no blank comes after the result."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def drop(self) -> None:
        """End the watch of a call that ends otherwise; one that is ending the command goes on."""
        self._timer.cancel()
        if self._task is not None and not self.gone:
            self._task.cancel()


async def send_last(call: Call, body: bytes) -> None:
    """Send the end of a body that has begun."""
    await call.send({"type": "http.response.body", "body": body})


async def until_lost(call: Call) -> None:
    """Wait until the client is gone."""
    while (await call.receive())["type"] != "http.disconnect":
        pass


async def _send_blank(call: Call) -> None:
    if not call.started:
        call.started = True
        headers = [(b"x-request-id", call.request_id.encode()), (b"content-type", b"application/json")]
        await call.send({"type": "http.response.start", "status": 200, "headers": headers})
    await call.send({"type": "http.response.body", "body": b" ", "more_body": True})
