"""Handler of buffered exec. Owns the waiting answer: blanks that keep impatient clients, and what a lost client means.

The fast way through is one body read, one decode, one verb, one encode; everything else begins only when it is needed.
"""

import asyncio

import msgspec

from runyard.dialects.door import Call
from runyard.dialects.runta import reading
from runyard.dialects.runta.errors import ErrorBody, words
from runyard.dialects.runta.replies import encode, send_body
from runyard.dialects.runta.services import RuntaServices
from runyard.dialects.runta.views import Enveloped, ExecOut
from runyard.dialects.runta.wire import ExecIn
from runyard.kernel.errors import RunyardError
from runyard.runtimes.commands import Pending
from runyard.runtimes.model import Runtime
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
    """Run a command to its end. Another door that runs commands overrides the words: `door` to `write_failure`."""

    door = DOOR

    def __init__(self, services: RuntaServices) -> None:
        """Take the services."""
        self._runtimes = services.runtimes
        self._commands = services.commands

    def read_command(self, body: bytes) -> CommandRequest:
        """Decode the body."""
        return command_of(reading.decode(_decoder, body))

    def write_result(self, result: CommandResult, runtime: Runtime) -> bytes:  # noqa: ARG002  others show it
        """Encode the result."""
        return encode(Enveloped(result_view(result)))

    def write_failure(self, error: RunyardError, request_id: str) -> bytes:
        """Encode a failure whose status line, 200, is gone: clients that look for `data` alone get a failed command."""
        lost = ExecOut(0, LOST_CODE, f"{error.message}\n", False, "", False)
        return encode(LateFailure(lost, ErrorBody(words(error)[1], error.message), request_id))

    async def run(self, call: Call) -> None:
        """Run a buffered command and answer its result."""
        resident = await self._runtimes.resident(call.caller.scope, call.params["runtime"])
        request = self.read_command(await reading.read_body(call))
        origin = Origin(door=self.door, request_id=call.request_id)
        pending = await self._commands.begin(call.caller, resident, request, origin)
        client = _Client(call, pending, self._commands.options.keep_alive_after_secs)
        try:
            result = await pending.result()
        except RunyardError as error:
            if client.gone:
                return
            if not call.started:
                raise
            await client.stop()
            await _send_last(call, self.write_failure(error, call.request_id))
        else:
            if client.gone:
                return
            await client.stop()
            document = self.write_result(result, resident.runtime)
            await (_send_last(call, document) if call.started else send_body(call, document))
        finally:
            client.drop()
            if pending.unfinished:
                await asyncio.shield(pending.abandon("the request was given up"))


class _Client:
    """Watches a client that waits longer: sends it blanks, and ends the command when it is gone."""

    def __init__(self, call: Call, pending: Pending, pause: float) -> None:
        self._call = call
        self._pending = pending
        self._pause = pause
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECS, self._begin)
        self.gone = False

    def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        lost = asyncio.ensure_future(_lost(self._call))
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


async def _send_last(call: Call, body: bytes) -> None:
    await call.send({"type": "http.response.body", "body": body})


async def _send_blank(call: Call) -> None:
    if not call.started:
        call.started = True
        headers = [(b"x-request-id", call.request_id.encode()), (b"content-type", b"application/json")]
        await call.send({"type": "http.response.start", "status": 200, "headers": headers})
    await call.send({"type": "http.response.body", "body": b" ", "more_body": True})


async def _lost(call: Call) -> None:
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
