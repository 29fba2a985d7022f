"""python-script: the class of a pack's file, run by the shim inside a box. Owns the line to it and what it may ask.

What comes over the line is a stranger's: a frame that is too long or unknown ends the run, and every call is
answered with the rights of the user who asked for the execution.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable
from typing import Final

from runyard.actions.packs.folder import entry_point_path
from runyard.actions.runners.answers import Answers
from runyard.actions.runners.boxes import Box, Places, Program, put_folders, unpack_and
from runyard.actions.runners.job import Job, ProcessEnd, canceled, failed, outcome
from runyard.actions.runners.virtualenv import FOLDER, Virtualenvs, missing
from runyard.actions.shim import CHANNEL_VARIABLE, INSIDE, MODULE, frames
from runyard.actions.values import Json
from runyard.executions.model import Outcome, Status
from runyard.executions.worker import RunContext
from runyard.kernel.errors import NotFound, RunyardError
from runyard.runtimes.injection import BASE_ENVIRONMENT

DEFAULT_TIMEOUT: Final = 600.0
_READ: Final = 64 << 10


class PythonRunner:
    """Runs actions that are Python classes."""

    def __init__(self, places: Places, virtualenvs: Virtualenvs, answers: Answers) -> None:
        """Use places to run in, the virtual environments of packs, and what answers the calls of actions."""
        self._places = places
        self._virtualenvs = virtualenvs
        self._answers = answers

    async def __call__(self, job: Job, context: RunContext) -> Outcome:
        """Run the action of the job. Raises InvalidMetadata when its file is not there, VirtualenvMissing."""
        if job.pack_folder is None:
            return failed(f'the pack "{job.action.pack}" has no folder on this server')
        if "PYTHONPATH" in (job.given.runner.get("env") or {}):
            return failed("Python path can not be overridden through the environment of an action")
        script = entry_point_path(job.pack_folder, job.action.entry_point)
        inside = f"pack/{script.relative_to(job.pack_folder.resolve())}"
        wanted = self._virtualenvs.wanted(job.account, job.action.pack, job.pack_folder)
        checkpoint = None
        if wanted is not None:
            checkpoint = await unless_canceled(context, self._virtualenvs.ready(wanted))
            if checkpoint is None:
                return canceled(context)
        boxes = self._places.of(job.action)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            try:
                async with boxes.box(checkpoint) as box:
                    await put_folders(box, {"inside": INSIDE, "pack": job.pack_folder})
                    line = _Line(job, ours, self._answers, f"{box.files}/{inside}")
                    talking = asyncio.ensure_future(line.talk())
                    try:
                        program = _program(job, box, theirs.fileno(), virtualenv=checkpoint is not None)
                        ended = await boxes.run(box, program, context)
                        theirs.close()
                        await _settled(talking)
                    finally:
                        talking.cancel()
                        with contextlib.suppress(asyncio.CancelledError):
                            await talking
            except NotFound:
                if checkpoint is None:
                    raise
                raise missing(job.action.pack) from None
        return _outcome(job, ended, line, context)


def _program(job: Job, box: Box, channel: int, *, virtualenv: bool) -> Program:
    files = box.files
    env = {"ST2_API_URL": box.api_url, "ST2_AUTH_TOKEN": job.token, **job.environment(box.api_url)}
    python: tuple[str, ...] = ("/usr/bin/env", "python3")
    if virtualenv:
        python = (f"{files}/{FOLDER}/bin/python",)
        path = env.get("PATH") or BASE_ENVIRONMENT["PATH"]
        env |= {"VIRTUAL_ENV": f"{files}/{FOLDER}", "PATH": f"{files}/{FOLDER}/bin:{path}"}
    env |= {
        "PYTHONPATH": f"{files}/inside:{files}/pack/actions/lib:{files}/pack/lib",
        "PYTHONDONTWRITEBYTECODE": "1",
        CHANNEL_VARIABLE: "fd:0",
    }
    return Program(
        argv=("/bin/sh", "-c", unpack_and(files, 'exec "$@"'), "run", *python, "-u", "-m", MODULE),
        env=env,
        timeout_secs=job.number("timeout", DEFAULT_TIMEOUT),
        stdin=channel,
    )


async def unless_canceled(context: RunContext, work: Awaitable[str]) -> str | None:
    """Wait for something, but no longer than nobody asks for the end of the run; None when somebody did."""
    working, ending = asyncio.ensure_future(work), asyncio.ensure_future(context.cancelled.wait())
    try:
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, ending):
            task.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)


async def _settled(talking: "asyncio.Future[None]") -> None:
    """Read what the process said last: its end of the line is closed now."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(talking), 5.0)


class _Line:
    """The server's end of the line to one action."""

    def __init__(self, job: Job, sock: socket.socket, answers: Answers, entry_point: str) -> None:
        self._job = job
        self._socket = sock
        self._answers = answers
        self._entry_point = entry_point
        self.returned: frames.Returned | None = None
        self.refused: frames.Refused | None = None
        self.broken: str | None = None

    async def talk(self) -> None:
        """Start the action, answer its calls, keep what it returns; until the other end is closed."""
        job = self._job
        start = frames.Start(
            entry_point=self._entry_point,
            pack=job.action.pack,
            action=job.action.ref,
            parameters=job.given.action,
            config=job.config,
            log_level=job.text("log_level", "DEBUG"),
        )
        with contextlib.suppress(OSError):
            await self._send(frames.encode_start(start))
            buffer = bytearray()
            loop = asyncio.get_running_loop()
            while data := await loop.sock_recv(self._socket, _READ):
                buffer += data
                if len(buffer) > frames.MAX_FRAME:
                    self.broken = f"the action sent more than {frames.MAX_FRAME} bytes at once"
                    return
                while (end := buffer.find(b"\n")) >= 0:
                    line = bytes(buffer[:end])
                    del buffer[: end + 1]
                    if not await self._take(line):
                        return

    async def _take(self, line: bytes) -> bool:
        try:
            frame = frames.decode(line)
        except frames.BrokenFrame as error:
            self.broken = error.message
            return False
        if isinstance(frame, frames.Returned):
            self.returned = frame
        elif isinstance(frame, frames.Refused):
            self.refused = frame
        else:
            await self._answer(frame)
        return True

    async def _answer(self, call: frames.Call) -> None:
        try:
            answer = frames.encode_value(call, await self._answers(self._job, call))
        except RunyardError as error:
            answer = frames.encode_error(call, error.message)
        except (TypeError, ValueError) as error:
            answer = frames.encode_error(call, f"the call is not understood: {error}")
        await self._send(answer)

    async def _send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)


def _outcome(job: Job, ended: ProcessEnd, line: _Line, context: RunContext) -> Outcome:
    """Return the end of a Python action in the published form."""
    if ended.canceled:
        return canceled(context)
    if line.broken is not None:
        return failed(line.broken)
    if line.refused is not None:
        return failed(line.refused.error, line.refused.traceback)
    returned = line.returned
    result: dict[str, Json] = {
        "stdout": ended.stdout.decode("utf-8", "replace"),
        "stderr": ended.stderr.decode("utf-8", "replace"),
        "exit_code": ended.return_code,
        "result": "None" if returned is None else returned.result,
    }
    if ended.timed_out:
        reason = f"Action failed to complete in {job.number('timeout', DEFAULT_TIMEOUT):g} seconds"
        return outcome(Status.TIMEOUT, {**result, "error": reason}, reason)
    status = ended.status
    if status is Status.SUCCEEDED and returned is not None and returned.success is False:
        status = Status.FAILED
    return outcome(status, result)
