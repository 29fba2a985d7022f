"""Runs one interactive command: input and signals as they come, output as fast as it is taken. Owns its runner.

The end of a session kills the command's process group and nothing else: what began a session of its own lives on.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from runyard.executions.drain import Drain
from runyard.executions.model import Outcome
from runyard.executions.output.model import Stream
from runyard.executions.service import ExecutionHandle
from runyard.executions.worker import RunContext
from runyard.kernel.clock import monotonic
from runyard.kernel.errors import InvalidArgument, RunyardError
from runyard.kernel.ids import RuntimeId
from runyard.runtimes.buffered import (
    TIMEOUT_CODE,
    ended_sentence,
    outcome_of,
    spawn_at_home,
    unspawned_code,
)
from runyard.runtimes.errors import RuntimeEnded
from runyard.runtimes.files import HOME
from runyard.runtimes.isolation.engine import Command, Exit, Process, Sandbox, SandboxGone, SpawnError
from runyard.runtimes.leash import Leash, Why
from runyard.runtimes.options import ExecOptions
from runyard.runtimes.pipes import Feeder, Source, close_all, make_ends, set_size
from runyard.runtimes.requests import CommandRequest
from runyard.runtimes.resident import Resident

Emit = Callable[[Stream, bytes], Awaitable[None]]
"""Takes output; returning late slows the command down."""

TERMINAL_LIMIT = 65_535
END_OF_INPUT = b"\x04"
SIGNALS = {
    name: getattr(signal, f"SIG{name}")
    for name in ("HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """A command with its terminal."""

    command: CommandRequest
    tty: bool = False
    rows: int | None = None
    columns: int | None = None

    def validate(self, options: ExecOptions) -> None:
        """Check what can be known before the start. Raises InvalidArgument."""
        self.command.validate(options)
        check_size(self.rows, self.columns)


def check_size(rows: int | None, columns: int | None) -> None:
    """Check the size of a terminal. Raises InvalidArgument."""
    for what, value in (("rows", rows), ("cols", columns)):
        if value is not None and not 0 <= value <= TERMINAL_LIMIT:
            raise InvalidArgument(f"{what} must be 0 to {TERMINAL_LIMIT}")


@dataclass(slots=True)
class _Living:
    """The parts of a command that runs."""

    process: Process
    leash: Leash
    feeder: Feeder
    sources: Mapping[Stream, Source]
    terminal: int = -1
    last_read: float = field(default_factory=monotonic)


class Session:
    """One interactive command. `run` is the runner of its execution; the other methods are for its caller."""

    def __init__(
        self,
        resident: Resident,
        sandbox: Sandbox,
        request: SessionRequest,
        env: Mapping[str, str],
        options: ExecOptions,
        emit: Emit,
    ) -> None:
        """Take the parts; `handle` is set by whoever starts the execution."""
        self._resident = resident
        self._sandbox = sandbox
        self._request = request
        self._env = {**env, **({"TERM": "xterm-256color"} if request.tty else {}), **request.command.env}
        self._options = options
        self._emit = emit
        self._living: _Living | None = None
        self._started = asyncio.Event()
        self._given_up = False
        self.handle: ExecutionHandle | None = None
        self.exit_code: int | None = None
        self.ended_by: Why | None = None
        """Who ended the command, None when it ended by itself."""
        self.error: RunyardError | None = None
        self.duration_ms = 0
        """How long it ran; valid once it ended."""

    @property
    def runtime_id(self) -> RuntimeId:
        """The runtime in which it runs."""
        return self._resident.runtime.id

    # --- the caller's side -----------------------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """Give input, waiting while the command is busy; input after its end is dropped."""
        await self._started.wait()
        if self._living is not None:
            await self._living.feeder.write(data)

    async def close_stdin(self) -> None:
        """Tell the command that this was all of its input."""
        await self._started.wait()
        if self._living is None:
            return
        if self._request.tty:
            await self._living.feeder.write(END_OF_INPUT)
        else:
            self._living.feeder.close()

    def signal(self, name: str) -> None:
        """Send one of `SIGNALS` to the command's group. Raises InvalidArgument for another name."""
        number = SIGNALS.get(name.upper().removeprefix("SIG"))
        if number is None:
            raise InvalidArgument(f"unsupported signal '{name[:40]}'")
        if self._living is not None:
            self._living.process.signal_group(number)
        elif not self._started.is_set():
            self.give_up()

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal; nothing to do without one. Raises InvalidArgument."""
        check_size(rows, columns)
        if self._living is not None and self._living.terminal >= 0:
            set_size(self._living.terminal, rows, columns)

    def give_up(self) -> None:
        """End it: its caller is gone."""
        self._given_up = True
        if self._living is not None:
            self._living.leash.end(Why.CLIENT)

    # --- the runner ------------------------------------------------------------------------------------------------

    async def run(self, context: RunContext) -> Outcome:
        """Run the command; what the caller must hear is kept in `error` and raised for the ledger."""
        began = monotonic()
        with self._resident.use():
            try:
                return await self._run(context)
            except SandboxGone as gone:
                self.error = RuntimeEnded(ended_sentence(self._resident, gone))
                raise self.error from None
            except RunyardError as error:
                self.error = error
                raise
            finally:
                self.duration_ms = round((monotonic() - began) * 1000)
                self._started.set()

    async def _run(self, context: RunContext) -> Outcome:
        try:
            living = await self._start()
        except SpawnError as error:
            code = unspawned_code(self._request.command, error)
            line = f"{self._request.command.program[0]}: {error.message}\n".encode("utf-8", "replace")
            await self._take(context, Stream.STDERR, line)
            self.exit_code = code
            return outcome_of(Exit(code=code), None, code, None)
        leash = living.leash
        leash.obey(context)
        if self._request.command.timeout_secs:
            leash.end_after(self._request.command.timeout_secs)
        self._living = living
        self._started.set()
        if self._given_up:
            leash.end(Why.CLIENT)
        pumps = [
            asyncio.ensure_future(self._pump(context, living, stream, source))
            for stream, source in living.sources.items()
        ]
        try:
            await asyncio.wait((leash.waiting(), asyncio.gather(*pumps)), return_when=asyncio.FIRST_COMPLETED)
            exited = await leash.result()
            # What the command left behind in its own group ends with the session.
            leash.sweep()
            await self._quiet(living, pumps)
        finally:
            leash.sweep()
            leash.drop()
            await self._release(living, pumps)
        code = TIMEOUT_CODE if leash.why is Why.TIMEOUT else exited.shell_code
        self.exit_code = code
        self.ended_by = leash.why
        return outcome_of(exited, leash.why, code, context.cancel_reason)

    async def _start(self) -> _Living:
        command = self._request.command
        if self._request.tty:
            return await self._start_on_terminal(command)
        ends = make_ends(-1, with_stdin=True)
        try:
            process = await self._spawn(command, ends.child_in, ends.child_out, ends.child_err)
        except BaseException:
            ends.close()
            raise
        finally:
            ends.close_child()
        sources = {Stream.STDOUT: Source(ends.stdout), Stream.STDERR: Source(ends.stderr)}
        return _Living(process, Leash(process, self._options.kill_grace_secs), Feeder(ends.stdin), sources)

    async def _start_on_terminal(self, command: CommandRequest) -> _Living:
        master, slave = await self._sandbox.open_terminal()
        try:
            set_size(master, self._request.rows or 24, self._request.columns or 80)
            process = await self._spawn(command, slave, slave, slave)
            writing, sizing = os.dup(master), os.dup(master)
        except BaseException:
            close_all(master)
            raise
        finally:
            close_all(slave)
        leash = Leash(process, self._options.kill_grace_secs)
        return _Living(process, leash, Feeder(writing), {Stream.STDOUT: Source(master)}, terminal=sizing)

    async def _spawn(self, command: CommandRequest, stdin: int, stdout: int, stderr: int) -> Process:
        spawned = Command(
            argv=command.program,
            env=self._env,
            cwd=command.cwd or HOME,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            tty=self._request.tty,
        )
        return await spawn_at_home(self._sandbox, spawned, chosen=command.cwd is not None)

    async def _pump(self, context: RunContext, living: _Living, stream: Stream, source: Source) -> None:
        while data := await source.read():
            living.last_read = monotonic()
            await self._take(context, stream, data)

    async def _take(self, context: RunContext, stream: Stream, data: bytes) -> None:
        context.output.write(stream, data)
        try:
            await self._emit(stream, data)
        except OSError:
            self.give_up()

    async def _quiet(self, living: _Living, pumps: "list[asyncio.Task[None]]") -> None:
        """Wait for the end of the output, or until whoever holds it in the background was quiet for a while."""
        living.last_read = max(living.last_read, monotonic())
        while pending := [pump for pump in pumps if not pump.done()]:
            left = living.last_read + self._options.quiet_secs - monotonic()
            if left <= 0:
                return
            await asyncio.wait(pending, timeout=left)

    async def _release(self, living: _Living, pumps: "list[asyncio.Task[None]]") -> None:
        for pump in pumps:
            pump.cancel()
        for pump in pumps:
            with suppress(asyncio.CancelledError):
                await pump
        living.feeder.close()
        close_all(living.terminal)
        living.terminal = -1
        # Processes that live on in sessions of their own may hold the pipes: read them to nowhere until they end.
        drain = Drain()
        for stream, source in living.sources.items():
            fd = source.detach()
            if fd >= 0 and self._request.tty:
                close_all(fd)
            elif fd >= 0:
                drain.add(fd, stream)
