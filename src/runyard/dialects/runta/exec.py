"""Handler of buffered exec. Owns its words; `waiting` owns how the client is kept and missed.

The fast way through is one body read, one decode, one verb, one encode; everything else begins only when it is needed.
"""

import msgspec

from runyard.dialects import waiting
from runyard.dialects.door import Call
from runyard.dialects.runta import reading
from runyard.dialects.runta.errors import ErrorBody, words
from runyard.dialects.runta.replies import encode
from runyard.dialects.runta.services import RuntaServices
from runyard.dialects.runta.views import Enveloped, ExecOut
from runyard.dialects.runta.wire import ExecIn
from runyard.kernel.errors import RunyardError
from runyard.runtimes.model import Runtime
from runyard.runtimes.requests import CommandRequest, CommandResult, Origin, text_of

_decoder = msgspec.json.Decoder(ExecIn)

DOOR = "runta"


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
        lost = ExecOut(0, waiting.LOST_CODE, f"{error.message}\n", False, "", False)
        return encode(LateFailure(lost, ErrorBody(words(error)[1], error.message), request_id))

    async def run(self, call: Call) -> None:
        """Run a buffered command and answer its result."""
        resident = await self._runtimes.resident(call.caller.scope, call.params["runtime"])
        request = self.read_command(await reading.read_body(call))
        origin = Origin(door=self.door, request_id=call.request_id)
        pending = await self._commands.begin(call.caller, resident, request, origin)
        await waiting.answer_result(
            call,
            pending,
            self._commands.options.keep_alive_after_secs,
            lambda result: self.write_result(result, resident.runtime),
            lambda error: self.write_failure(error, call.request_id),
        )


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
