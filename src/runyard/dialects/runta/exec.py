"""Handler of buffered exec. Owns the waiting answer: blanks that keep impatient clients, and what a lost client means.

The fast way through is one body read, one decode, one verb, one encode; everything else begins only when it is needed.
"""

import asyncio
import contextlib

import msgspec

from runyard.dialects.door import Call
from runyard.dialects.runta import reading
from runyard.dialects.runta.errors import Envelope, ErrorBody, words
from runyard.dialects.runta.replies import encode, send_body
from runyard.dialects.runta.services import RuntaServices
from runyard.dialects.runta.views import Enveloped, ExecOut
from runyard.dialects.runta.wire import ExecIn
from runyard.kernel.errors import RunyardError
from runyard.runtimes.requests import CommandRequest, CommandResult, Origin, text_of

_decoder = msgspec.json.Decoder(ExecIn)

DOOR = "runta"
WATCH_AFTER_SECS = 0.1
"""A command that takes longer than this is watched for the loss of its client; shorter ones are over before it pays."""

LOST_CODE = 137
"""Exit code shown when the answer had begun and the command's runtime then ended under it."""


class LateFailure(msgspec.Struct):
    """The end of an answer that had begun with 200: a result that tells the failure, and the error beside it."""

    data: ExecOut
    error: ErrorBody
    request_id: str


class ExecHandlers:
    """Run a command to its end."""

    def __init__(self, services: RuntaServices) -> None:
        """Take the services."""
        self._runtimes = services.runtimes
        self._commands = services.commands

    async def run(self, call: Call) -> None:
        """Run a buffered command and answer its result."""
        resident = await self._runtimes.resident(call.caller.scope, call.params["runtime"])
        body = await reading.read_json(call, _decoder)
        origin = Origin(door=DOOR, request_id=call.request_id)
        pending = await self._commands.begin(call.caller, resident, command_of(body), origin)
        waiting = asyncio.ensure_future(pending.result())
        try:
            await asyncio.wait((waiting,), timeout=WATCH_AFTER_SECS)
            if waiting.done():
                await send_body(call, encode(Enveloped(result_view(waiting.result()))))
            else:
                await self._wait(call, waiting)
        finally:
            if not waiting.done():
                waiting.cancel()
                await asyncio.shield(pending.abandon("the client disconnected"))

    async def _wait(self, call: Call, waiting: "asyncio.Task[CommandResult]") -> None:
        gone = asyncio.ensure_future(_gone(call))
        pause = self._commands.options.keep_alive_after_secs
        try:
            while not waiting.done():
                await asyncio.wait((waiting, gone), timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return
                if not waiting.done():
                    await _send_blank(call)
            await _finish(call, waiting)
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone


async def _finish(call: Call, waiting: "asyncio.Task[CommandResult]") -> None:
    if not call.started:
        await send_body(call, encode(Enveloped(result_view(waiting.result()))))
        return
    try:
        body = encode(Enveloped(result_view(waiting.result())))
    except RunyardError as error:
        # The status line is gone, so that clients which look for `data` alone get a failed command.
        lost = ExecOut(0, LOST_CODE, f"{error.message}\n", False, "", False)
        told = Envelope(ErrorBody(words(error)[1], error.message), call.request_id)
        body = encode(LateFailure(lost, told.error, told.request_id))
    await call.send({"type": "http.response.body", "body": body})


async def _send_blank(call: Call) -> None:
    if not call.started:
        call.started = True
        headers = [(b"x-request-id", call.request_id.encode()), (b"content-type", b"application/json")]
        await call.send({"type": "http.response.start", "status": 200, "headers": headers})
    await call.send({"type": "http.response.body", "body": b" ", "more_body": True})


async def _gone(call: Call) -> None:
    while (await call.receive())["type"] != "http.disconnect":
        pass


def command_of(body: ExecIn) -> CommandRequest:
    """Return the command: with `args`, even empty, a program; without, a script for the shell."""
    return CommandRequest(
        argv=(body.command, *body.args) if body.args is not None else (),
        script=body.command if body.args is None else None,
        cwd=body.cwd,
        env=body.env or {},
        stdin=None if body.stdin is None else body.stdin.encode("utf-8", "surrogatepass"),
        timeout_secs=body.timeout_secs,
        max_output_bytes=body.max_output_bytes,
    )


def result_view(result: CommandResult) -> ExecOut:
    """Return a result in the dialect's words."""
    return ExecOut(
        duration_ms=result.duration_ms,
        exit_code=result.exit_code,
        stderr=text_of(result.stderr, cut=result.stderr_truncated),
        stderr_truncated=result.stderr_truncated,
        stdout=text_of(result.stdout, cut=result.stdout_truncated),
        stdout_truncated=result.stdout_truncated,
    )
