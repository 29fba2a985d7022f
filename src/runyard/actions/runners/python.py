"""python-script: the class of a pack's file, run by the shim inside a box. Owns the line to it and what it may ask.

What comes over the line is a stranger's: a frame that is too long or unknown ends the run, and every call is
answered with the rights of the user who asked for the execution.
"""

import asyncio
import contextlib
import socket
from typing import Final

from runyard.actions.datastore import DatastoreService, NewKey
from runyard.actions.errors import KeyNotFound
from runyard.actions.packs.folder import entry_point_path
from runyard.actions.runners.boxes import HOME, Boxes, Program, packed, put_file
from runyard.actions.runners.job import Job, ProcessEnd, canceled, failed, outcome
from runyard.actions.runners.shell import UNPACK
from runyard.actions.shim import CHANNEL_VARIABLE, INSIDE, MODULE, frames
from runyard.actions.values import Json
from runyard.executions.model import Outcome, Status
from runyard.executions.worker import RunContext
from runyard.kernel.errors import InvalidArgument, RunyardError, Unimplemented

DEFAULT_TIMEOUT: Final = 600.0
_READ: Final = 64 << 10


class PythonRunner:
    """Runs actions that are Python classes."""

    def __init__(self, boxes: Boxes, datastore: DatastoreService) -> None:
        """Use boxes; actions may ask for keys."""
        self._boxes = boxes
        self._datastore = datastore

    async def __call__(self, job: Job, context: RunContext) -> Outcome:
        """Run the action of the job. Raises InvalidMetadata when its file is not there."""
        if job.pack_folder is None:
            return failed(f'the pack "{job.action.pack}" has no folder on this server')
        if "PYTHONPATH" in (job.given.runner.get("env") or {}):
            return failed("Python path can not be overridden through the environment of an action")
        script = entry_point_path(job.pack_folder, job.action.entry_point)
        inside = f"{HOME}/pack/{script.relative_to(job.pack_folder.resolve())}"
        archive = await asyncio.to_thread(packed, {"inside": INSIDE, "pack": job.pack_folder})
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            async with self._boxes.box() as sandbox:
                await put_file(sandbox, f"{HOME}/pack.tar", archive)
                line = _Line(job, ours, self._datastore, inside)
                talking = asyncio.ensure_future(line.talk())
                try:
                    ended = await self._boxes.run(sandbox, self._program(job, theirs.fileno()), context)
                    theirs.close()
                    await _settled(talking)
                finally:
                    talking.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await talking
        return _outcome(job, ended, line, context)

    def _program(self, job: Job, channel: int) -> Program:
        python = ("/usr/bin/env", "python3", "-u", "-m", MODULE)
        env = job.environment()
        env |= {
            "PYTHONPATH": f"{HOME}/inside:{HOME}/pack/actions/lib:{HOME}/pack/lib",
            "PYTHONDONTWRITEBYTECODE": "1",
            CHANNEL_VARIABLE: "fd:0",
        }
        return Program(
            argv=("/bin/sh", "-c", UNPACK, "run", *python),
            env=env,
            timeout_secs=job.number("timeout", DEFAULT_TIMEOUT),
            stdin=channel,
        )


async def _settled(talking: "asyncio.Future[None]") -> None:
    """Read what the process said last: its end of the line is closed now."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(talking), 5.0)


class _Line:
    """The server's end of the line to one action."""

    def __init__(self, job: Job, sock: socket.socket, datastore: DatastoreService, entry_point: str) -> None:
        self._job = job
        self._socket = sock
        self._datastore = datastore
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
            answer = frames.encode_value(call, await self._value(call))
        except RunyardError as error:
            answer = frames.encode_error(call, error.message)
        await self._send(answer)

    async def _send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def _value(self, call: frames.Call) -> Json:
        given = call.arguments
        if call.name == "user.info":
            return {
                "username": self._job.run.user_name,
                "rbac": {"enabled": False, "roles": [], "is_admin": False},
            }
        if not call.name.startswith("datastore."):
            raise Unimplemented(f"{call.name} is not available in this version of Runyard")
        if call.name == "datastore.list":
            return await self._listed(given)
        scope, user = self._place(given.get("scope"))
        name = str(given.get("name") or "")
        account = self._job.account
        if call.name == "datastore.get":
            try:
                key = await self._datastore.get(account, scope, user, name)
            except KeyNotFound:
                return None
            return self._datastore.decrypt(key.value) if key.secret and given.get("decrypt") else key.value
        if call.name == "datastore.set":
            ttl = given.get("ttl")
            secret = bool(given.get("encrypt"))
            new = NewKey(
                name=name,
                value=str(given.get("value")),
                scope=scope,
                user=user,
                secret=secret,
                ttl_secs=None if ttl is None else int(ttl),
            )
            await self._datastore.set(account, new)
            return True
        try:
            await self._datastore.delete(account, scope, user, name)
        except KeyNotFound:
            return False
        return True

    async def _listed(self, given: dict[str, Json] | Json) -> Json:
        keys = await self._datastore.list(self._job.account, [("system", "")], str(given.get("prefix") or ""))
        start, limit = int(given.get("offset") or 0), given.get("limit")
        stop = None if limit is None else start + int(limit)
        return [{"name": key.name, "value": key.value, "scope": key.scope} for key in keys[start:stop]]

    def _place(self, scope: Json) -> tuple[str, str]:
        kind = str(scope or "system").removeprefix("st2kv.")
        if kind == "user":
            return "user", self._job.run.user_name
        if kind != "system":
            raise InvalidArgument(f"there is no scope {kind!r}")
        return "system", ""


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
