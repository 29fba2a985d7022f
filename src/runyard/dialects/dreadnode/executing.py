"""Handlers of commands in environments and of their judging. Owns their words and the stream of output; `waiting` owns how a client that gives
up after 30 seconds of silence is kept, and missed.
"""

import asyncio
import codecs
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from runyard.dialects import waiting
from runyard.dialects.door import Call
from runyard.dialects.dreadnode import reading
from runyard.dialects.dreadnode.errors import plain, status_and_type
from runyard.dialects.dreadnode.replies import encode
from runyard.dialects.reading import header
from runyard.environments.commands import CommandRequest, Pending
from runyard.environments.rewards import Verdict
from runyard.environments.running import Done
from runyard.environments.service import EnvironmentService
from runyard.executions.output.model import Stream
from runyard.identity.model import Scope
from runyard.kernel.errors import InvalidArgument, RunyardError

DOOR: Final = "dreadnode"
TOKEN_HEADER: Final = b"x-environment-token"
_Texts = dict[str, codecs.IncrementalDecoder]
"""What decodes the output of a command, by the name of its lines."""


class ExecuteHandlers:
    """Run commands."""

    def __init__(self, environments: EnvironmentService, scope: Callable[[Call], Awaitable[Scope]]) -> None:
        """Take the service, and how the path's part of the tree is found."""
        self._environments = environments
        self._scope = scope

    async def execute(self, call: Call) -> None:
        """Run a command to its end and answer with its output."""
        pending = await self._begin(call)
        await waiting.answer_result(
            call,
            pending,
            self._environments.options.keep_alive_secs,
            lambda done: encode(done_view(done, pending)),
            lambda error: encode(_failure(error)),
        )

    async def stream(self, call: Call) -> None:
        """Run a command and send its output as it comes: lines of JSON, at last one with the end."""
        pending = await self._begin(call)
        call.started = True
        headers = [
            (b"x-request-id", call.request_id.encode()),
            (b"content-type", b"application/x-ndjson"),
        ]
        await call.send({"type": "http.response.start", "status": 200, "headers": headers})
        lost = asyncio.ensure_future(waiting.until_lost(call))
        sending = asyncio.ensure_future(self._send_stream(call, pending))
        try:
            await asyncio.wait((lost, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
            sending.cancel()
            await asyncio.wait((sending,))
            if pending.unfinished:
                await asyncio.shield(pending.abandon("the client disconnected"))

    async def _send_stream(self, call: Call, pending: Pending[Done]) -> None:
        pause = self._environments.options.keep_alive_secs
        output = self._environments.follow(pending)
        upcoming: asyncio.Future[Any] | None = None
        texts: _Texts = {}
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(output, None))
            finished, _ = await asyncio.wait((upcoming,), timeout=pause)
            if not finished:
                await call.send({"type": "http.response.body", "body": b"\n", "more_body": True})
                continue
            chunk, upcoming = upcoming.result(), None
            if chunk is None:
                break
            if chunk.stream is not Stream.SYSTEM:
                await _send_text(
                    call, texts, "stderr" if chunk.stream is Stream.STDERR else "output", chunk.data
                )
        for name in list(texts):
            await _send_text(call, texts, name, b"", final=True)
        await _send_line(call, await self._end(pending))
        await waiting.send_last(call, b"")

    async def _end(self, pending: Pending[Done]) -> dict[str, Any]:
        """Return the last line of a stream; beyond the size of a log, output is kept nowhere and was not sent."""
        try:
            done = await pending.result()
        except RunyardError as error:
            return {"type": "error", **_failure(error)}
        view = done_view(done, pending)
        ended = await pending.handle.finished()
        end = {name: view[name] for name in ("exit_code", "timed_out", "execution_id")}
        return {"type": "end", **end, "truncated": ended.output_truncated}

    async def verify(self, call: Call) -> None:
        """Judge the outcome in a separate, offline copy."""
        environment = await self._environments.get(await self._scope(call), call.params["environment"])
        body = await reading.read_object(call)
        outputs = None if body.get("outputs") is None else reading.texts(body, "outputs")
        pending = await self._environments.verify(call.caller, environment, outputs, call.request_id, DOOR)
        await waiting.answer_result(
            call,
            pending,
            self._environments.options.keep_alive_secs,
            lambda verdict: encode(verdict_view(verdict, pending)),
            lambda error: encode(verdict_view(_not_judged(error), pending) | {"error": _error_view(error)}),
        )

    async def _begin(self, call: Call) -> Pending[Done]:
        environment = await self._environments.admit(
            await self._scope(call), call.params["environment"], header(call, TOKEN_HEADER)
        )
        request = command_of(await reading.read_object(call))
        return await self._environments.execute(call.caller, environment, request, call.request_id)


def command_of(body: Mapping[str, Any]) -> CommandRequest:
    """Read a command; what is not published of it is an addition. Raises InvalidArgument."""
    timeout = body.get("timeout_sec", 30)
    if timeout is None:
        timeout = 30
    if isinstance(timeout, bool) or not isinstance(timeout, int):
        raise InvalidArgument("timeout_sec: must be a whole number", loc=["body", "timeout_sec"])
    env = body.get("env") or {}
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise InvalidArgument("env: must map names to texts", loc=["body", "env"])
    command = body.get("command")
    if not isinstance(command, str):
        raise InvalidArgument("command: field required", loc=["body", "command"])
    stdin = reading.optional_text(body, "stdin", most=16 << 20)
    return CommandRequest(
        command=command,
        timeout_secs=timeout,
        split=reading.optional_flag(body, "split") or False,
        service=reading.optional_text(body, "service", most=64),
        cwd=reading.optional_text(body, "cwd"),
        env=env,
        stdin=None if stdin is None else stdin.encode(),
    )


def done_view(done: Done, pending: Pending[Done]) -> dict[str, Any]:
    """Return how a command ended in the dialect's words."""
    view: dict[str, Any] = {
        "exit_code": done.code,
        "output": done.output.text,
        "timed_out": done.timed_out,
        "truncated": done.truncated,
        "duration_ms": done.duration_ms,
        "execution_id": pending.handle.execution.id,
    }
    if done.stdout is not None and done.stderr is not None:
        view |= {"stdout": done.stdout.text, "stderr": done.stderr.text}
    return view


def verdict_view(verdict: Verdict, pending: Pending[Verdict]) -> dict[str, Any]:
    """Return how a task was judged in the dialect's words."""
    return {
        "reward": verdict.reward,
        "passed": verdict.passed,
        "method": verdict.method,
        "detail": verdict.detail,
        "output": verdict.output,
        "outputs": list(verdict.outputs),
        "execution_id": pending.handle.execution.id,
    }


def _not_judged(error: RunyardError) -> Verdict:
    """Return no outcome, for an answer that had begun with 200 when the judging failed."""
    return Verdict(reward=None, method="none", detail=plain(error.message))


def _failure(error: RunyardError) -> dict[str, Any]:
    """Return a failure whose status line, 200, is gone: as a failed command, with the error beside it."""
    return {
        "exit_code": waiting.LOST_CODE,
        "output": f"{plain(error.message)}\n",
        "timed_out": False,
        "truncated": False,
        "error": _error_view(error),
    }


def _error_view(error: RunyardError) -> dict[str, Any]:
    status, kind = status_and_type(type(error))
    return {"code": status, "detail": plain(error.message), "type": kind}


async def _send_text(call: Call, texts: _Texts, name: str, data: bytes, *, final: bool = False) -> None:
    """Send a piece of output; a character whose bytes come in two pieces is sent with the second one."""
    if name not in texts:
        texts[name] = codecs.getincrementaldecoder("utf-8")("replace")
    text = texts[name].decode(data, final)
    if text:
        await _send_line(call, {"type": name, "data": text})


async def _send_line(call: Call, document: Mapping[str, Any]) -> None:
    await call.send({"type": "http.response.body", "body": encode(document) + b"\n", "more_body": True})
