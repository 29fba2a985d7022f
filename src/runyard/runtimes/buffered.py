"""Runs one command to its end and keeps its first output for the caller. Owns the runner of buffered executions."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runyard.executions.drain import Drain, Head
from runyard.executions.model import Outcome, Status
from runyard.executions.output.model import Stream
from runyard.executions.worker import RunContext
from runyard.kernel.clock import monotonic
from runyard.kernel.errors import RunyardError, Unavailable
from runyard.runtimes.errors import BadWorkingDirectory, RuntimeEnded
from runyard.runtimes.files import HOME
from runyard.runtimes.isolation.engine import (
    Command,
    Exit,
    Process,
    Sandbox,
    SandboxGone,
    SpawnError,
    SpawnFailure,
    WarmShell,
)
from runyard.runtimes.leash import Leash, Why
from runyard.runtimes.pipes import Ends, Feeder, make_ends
from runyard.runtimes.requests import CommandRequest, CommandResult
from runyard.runtimes.resident import Resident

WARM_SCRIPT_BYTES = 32 << 10
"""A longer script does not surely fit into the pipe of a waiting shell."""

TIMEOUT_CODE = 124
_CODES = {SpawnFailure.NOT_FOUND: 127, SpawnFailure.NOT_EXECUTABLE: 126}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A validated command with everything filled in."""

    resident: Resident
    sandbox: Sandbox
    request: CommandRequest
    env: Mapping[str, str]
    timeout_secs: int
    cap: int
    grace_secs: float
    devnull: int


class Buffered:
    """One command; call it as the runner of an execution, then take `result` or `error`."""

    def __init__(self, plan: Plan) -> None:
        """Take the plan."""
        self._plan = plan
        self.result: CommandResult | None = None
        self.error: RunyardError | None = None

    async def __call__(self, context: RunContext) -> Outcome:
        """Run the command; what the caller must hear is kept in `error` and raised for the ledger."""
        with self._plan.resident.use():
            try:
                return await self._run(context)
            except SandboxGone as gone:
                self.error = RuntimeEnded(ended_sentence(self._plan.resident, gone))
                raise self.error from None
            except RunyardError as error:
                self.error = error
                raise

    async def _run(self, context: RunContext) -> Outcome:
        began = monotonic()
        shell = await self._warm_shell()
        if shell is not None:
            process = shell.process
            ends = Ends(-1, -1, -1, shell.stdin, shell.stdout, shell.stderr)
        else:
            ends = make_ends(self._plan.devnull, with_stdin=self._plan.request.stdin is not None)
            try:
                process = await self._spawn(ends)
            except SpawnError as error:
                ends.close()
                return self._not_spawned(context, error, began)
            except BaseException:
                ends.close()
                raise
            finally:
                ends.close_child()
        return await self._follow(context, process, ends, began)

    async def _warm_shell(self) -> WarmShell | None:
        """Take a waiting shell where it behaves exactly as a new one, and give it the script."""
        request = self._plan.request
        script = request.script
        if (
            script is None
            or request.stdin is not None
            or request.cwd is not None
            or len(script) > WARM_SCRIPT_BYTES
        ):
            return None
        shell = await self._plan.sandbox.take_shell()
        if shell is None:
            return None
        if shell.run(script, self._plan.env, HOME):
            return shell
        Ends(-1, -1, -1, shell.stdin, shell.stdout, shell.stderr).close()
        return None

    async def _spawn(self, ends: Ends) -> Process:
        request = self._plan.request
        command = Command(
            argv=request.program,
            env=self._plan.env,
            cwd=request.cwd or HOME,
            stdin=ends.child_in,
            stdout=ends.child_out,
            stderr=ends.child_err,
        )
        return await spawn_at_home(self._plan.sandbox, command, chosen=request.cwd is not None)

    def _not_spawned(self, context: RunContext, error: SpawnError, began: float) -> Outcome:
        """Report a program that cannot be run as a shell would; everything else is an error of the call."""
        code = unspawned_code(self._plan.request, error)
        line = f"{self._plan.request.program[0]}: {error.message}\n".encode("utf-8", "replace")
        context.output.write(Stream.STDERR, line)
        head = Head(self._plan.cap)
        head.take(memoryview(line))
        return self._end(context, (Head(0), head), Exit(code=code), None, began)

    async def _follow(self, context: RunContext, process: Process, ends: Ends, began: float) -> Outcome:
        plan = self._plan
        drain, leash = Drain(context.output), Leash(process, plan.grace_secs)
        out = drain.add(ends.stdout, Stream.STDOUT, head_limit=plan.cap)
        err = drain.add(ends.stderr, Stream.STDERR, head_limit=plan.cap)
        feeding = self._feed(ends.stdin, plan.request.stdin)
        leash.end_after(plan.timeout_secs)
        leash.obey(context)
        complete = False
        try:
            await drain.finished(leash.waiting())
            exited = await leash.result()
            complete = True
        finally:
            if feeding is not None:
                feeding.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await feeding
            if not complete:
                drain.close()
            if not complete or leash.why is not None:
                leash.sweep()
            leash.drop()
        return self._end(context, (out, err), exited, leash.why, began)

    def _feed(self, fd: int, data: bytes | None) -> "asyncio.Task[None] | None":
        if fd < 0:
            return None
        feeder = Feeder(fd)
        if not data:
            feeder.close()
            return None
        return asyncio.ensure_future(feeder.write_and_close(data))

    def _end(
        self, context: RunContext, heads: Sequence[Head], exited: Exit, why: Why | None, began: float
    ) -> Outcome:
        out, err = heads
        note = self._note(exited, why)
        stderr = bytes(err.data)
        if note:
            stderr += (b"" if not stderr or stderr.endswith(b"\n") else b"\n") + note.encode() + b"\n"
            context.output.write(Stream.SYSTEM, note.encode() + b"\n")
        code = TIMEOUT_CODE if why is Why.TIMEOUT else exited.shell_code
        self.result = CommandResult(
            execution_id=context.execution.id,
            exit_code=code,
            stdout=bytes(out.data),
            stderr=stderr,
            stdout_truncated=out.truncated,
            stderr_truncated=err.truncated,
            duration_ms=round((monotonic() - began) * 1000),
        )
        return outcome_of(exited, why, code, context.cancel_reason or note)

    def _note(self, exited: Exit, why: Why | None) -> str | None:
        if why is Why.TIMEOUT:
            return f"Command timed out after {self._plan.timeout_secs} seconds."
        if exited.oom_killed:
            return "Command was killed: the runtime is out of memory."
        return None


async def spawn_at_home(sandbox: Sandbox, command: Command, *, chosen: bool) -> Process:
    """Spawn a command; where nobody chose its folder and home is gone, in the root folder. Raises as `Sandbox.spawn`."""
    try:
        return await sandbox.spawn(command)
    except SpawnError as error:
        if chosen or error.reason is not SpawnFailure.BAD_CWD:
            raise
    return await sandbox.spawn(replace(command, cwd="/"))


def outcome_of(exited: Exit, why: Why | None, code: int, reason: str | None) -> Outcome:
    """Return the ledger's word for an end."""
    if why is Why.TIMEOUT:
        status = Status.TIMEOUT
    elif why is not None:
        status = Status.CANCELED
    else:
        status = Status.SUCCEEDED if code == 0 else Status.FAILED
    ended_by = str(why) if why is not None else ("oom" if exited.oom_killed else None)
    return Outcome(status=status, exit_code=code, signal=exited.signal, reason=reason, ended_by=ended_by)


def unspawned_code(request: CommandRequest, error: SpawnError) -> int:
    """Return the exit code for a program that is missing or not executable. Raises BadWorkingDirectory, Unavailable."""
    if error.reason is SpawnFailure.BAD_CWD:
        raise BadWorkingDirectory(f"the working directory '{request.cwd or HOME}' does not exist") from None
    code = _CODES.get(error.reason)
    if code is None:
        raise Unavailable(f"the command could not be started: {error.message}") from None
    return code


def ended_sentence(resident: Resident, gone: SandboxGone) -> str:
    """Return the sentence for a command whose runtime ended under it."""
    runtime = resident.runtime
    return f"runtime '{runtime.id}' ended while the command ran (status: {runtime.status}): {gone.message}"
