"""Runs one command to its end and keeps its first output for the caller. Owns the runner of buffered executions."""

import asyncio
import contextlib
import signal
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
    Prepared,
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

BRIEF_SECS = 0.01
"""A command that ends sooner needs no timer, no reader and no watch of its own."""

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


@dataclass(slots=True)
class _Ready:
    """A command that can run as soon as it is recorded."""

    ends: Ends
    shell: WarmShell | None = None
    gated: Prepared | None = None

    def drop(self) -> None:
        """Let go of everything; a waiting shell without a script ends."""
        if self.gated is not None:
            self.gated.drop()
        self.ends.close_child()
        self.ends.close()


_Drained = tuple[Drain, tuple[Head, Head]]


class Buffered:
    """One command; call it as the runner of an execution, then take `result` or `error`."""

    def __init__(self, plan: Plan) -> None:
        """Take the plan."""
        self._plan = plan
        self._ready: _Ready | None = None
        self.result: CommandResult | None = None
        self.error: RunyardError | None = None

    async def prepare(self) -> None:
        """Do what can be done before the execution is recorded; the command cannot run before that. A failure is
        left to the runner, whose execution tells of it.
        """
        with contextlib.suppress(RunyardError, OSError):
            self._ready = await self._prepared()

    def drop(self) -> None:
        """Give up what was prepared: the execution was not begun."""
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.drop()

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
        ready, self._ready = self._ready, None
        try:
            if ready is None:
                ready = await self._prepared()
            process, ended = await self._start(ready)
        except SpawnError as error:
            return self._not_spawned(context, error, began)
        if ended is None:
            return await self._follow(context, process, ready.ends, began)
        drain, heads = self._drain(context, ready.ends)
        if drain.take_rest():
            return self._end(context, heads, ended, None, began)
        return await self._follow(context, process, ready.ends, began, (drain, heads))

    async def _prepared(self) -> "_Ready":
        """Take a waiting shell, or make pipes and bring a new process to the point before it becomes the program."""
        shell = await self._warm_shell()
        if shell is not None:
            return _Ready(Ends(-1, -1, -1, shell.stdin, shell.stdout, shell.stderr), shell=shell)
        ends = make_ends(self._plan.devnull, with_stdin=self._plan.request.stdin is not None)
        try:
            # Input must be given while it runs, so the caller of such a command must know at once that it does.
            fed = self._plan.request.stdin is not None
            return _Ready(ends, gated=None if fed else self._plan.sandbox.prepare(self._command(ends)))
        except BaseException:
            ends.close_child()
            ends.close()
            raise

    async def _start(self, ready: "_Ready") -> tuple[Process, Exit | None]:
        """Let it run; return it, with its end when that came soon."""
        plan, ends = self._plan, ready.ends
        if ready.shell is not None:
            if ready.shell.run(plan.request.script or "", plan.env, HOME):
                return await self._start_shell(ready.shell.process, ends)
            ends.close()
            ready.ends = ends = make_ends(plan.devnull, with_stdin=False)
        try:
            process = await self._spawn(ready)
            return process, await process.ended_within(0) if ready.gated is not None else None
        except BaseException:
            ends.close()
            raise
        finally:
            ends.close_child()

    async def _start_shell(self, process: Process, ends: Ends) -> tuple[Process, Exit | None]:
        """Follow the first moments of a shell that was given its script."""
        ends.close_stdin()
        try:
            return process, await process.ended_within(BRIEF_SECS)
        except BaseException:
            ends.close()
            process.signal_group(signal.SIGKILL)
            raise

    async def _warm_shell(self) -> WarmShell | None:
        """Take a waiting shell where it behaves exactly as a new one."""
        request = self._plan.request
        if (
            request.script is None
            or request.stdin is not None
            or request.cwd is not None
            or len(request.script) > WARM_SCRIPT_BYTES
        ):
            return None
        return await self._plan.sandbox.take_shell()

    def _command(self, ends: Ends) -> Command:
        request = self._plan.request
        return Command(
            argv=request.program,
            env=self._plan.env,
            cwd=request.cwd or HOME,
            stdin=ends.child_in,
            stdout=ends.child_out,
            stderr=ends.child_err,
        )

    async def _spawn(self, ready: "_Ready") -> Process:
        sandbox, chosen = self._plan.sandbox, self._plan.request.cwd is not None
        command = self._command(ready.ends)
        if ready.gated is None:
            return await spawn_at_home(sandbox, command, chosen=chosen)
        try:
            return await ready.gated.go()
        except SpawnError as error:
            if chosen or error.reason is not SpawnFailure.BAD_CWD:
                raise
        return await spawn_at_home(sandbox, command, chosen=False)

    def _not_spawned(self, context: RunContext, error: SpawnError, began: float) -> Outcome:
        """Report a program that cannot be run as a shell would; everything else is an error of the call."""
        code = unspawned_code(self._plan.request, error)
        line = f"{self._plan.request.program[0]}: {error.message}\n".encode("utf-8", "replace")
        context.output.write(Stream.STDERR, line)
        head = Head(self._plan.cap)
        head.take(memoryview(line))
        return self._end(context, (Head(0), head), Exit(code=code), None, began)

    def _drain(self, context: RunContext, ends: Ends) -> _Drained:
        drain = Drain(late_writer=lambda: context.output)
        cap = self._plan.cap
        out = drain.own(ends.stdout, Stream.STDOUT, head_limit=cap)
        return drain, (out, drain.own(ends.stderr, Stream.STDERR, head_limit=cap))

    async def _follow(
        self, context: RunContext, process: Process, ends: Ends, began: float, drained: _Drained | None = None
    ) -> Outcome:
        plan = self._plan
        leash = Leash(process, plan.grace_secs)
        drain, heads = drained or self._drain(context, ends)
        drain.read()
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
        return self._end(context, heads, exited, leash.why, began)

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
