"""Runs one command in a sandbox, to its end. Owns how its output is caught, cut and put in order; records nothing.

Both streams go through one pipe, so that what was printed first stands first; only who asks for them apart gets two.
"""

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from runyard.environments.shells import BASH, SH, for_sh, means_the_same
from runyard.executions.drain import Drain, HeadTail
from runyard.executions.output.model import Stream
from runyard.executions.output.writer import OutputWriter
from runyard.executions.worker import RunContext
from runyard.kernel.clock import monotonic
from runyard.kernel.errors import Unavailable
from runyard.runtimes.isolation.engine import (
    Command,
    Exit,
    Prepared,
    Process,
    Sandbox,
    SpawnError,
    SpawnFailure,
    WarmShell,
)
from runyard.runtimes.leash import Leash, Why
from runyard.runtimes.pipes import Feeder, close_all

TIMEOUT_CODE: Final = 124
HOME: Final = "/root"
BRIEF_SECS: Final = 0.01
"""A command that ends sooner needs no timer and no reader."""
Writer = Callable[[], OutputWriter]
"""Gives the log of an execution, which is made for its first bytes."""
_CODES: Final = {SpawnFailure.NOT_FOUND: 127, SpawnFailure.NOT_EXECUTABLE: 126, SpawnFailure.BAD_CWD: 126}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to run: a script for the shell, or a program with arguments."""

    script: str | None = None
    argv: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """The whole environment."""
    cwd: str = HOME
    timeout_secs: float = 30
    stdin: bytes | None = None
    split: bool = False
    """Keep the two streams apart; `output` is then the one after the other."""
    keep_bytes: int = 10 << 20
    grace_secs: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """Output of one stream or of both."""

    head: bytes = b""
    left_out: int = 0
    tail: bytes = b""

    @property
    def text(self) -> str:
        """Write it as text, with a line where something was left out. No brackets: clients read them as markup."""
        head = self.head.decode("utf-8", "replace")
        if not self.left_out:
            return (self.head + self.tail).decode("utf-8", "replace")
        return f"{head}\n... {self.left_out} bytes left out ...\n{self.tail.decode('utf-8', 'replace')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a command ended."""

    code: int
    started: bool = True
    """False where the program could not be run at all; the code is then that of a shell which finds that out."""
    signal: int | None = None
    output: Caught
    stdout: Caught | None = None
    stderr: Caught | None = None
    why: Why | None = None
    oom_killed: bool = False
    duration_ms: int = 0

    @property
    def timed_out(self) -> bool:
        """Tell whether it ran too long."""
        return self.why is Why.TIMEOUT

    @property
    def truncated(self) -> bool:
        """Tell whether some of the output was left out."""
        return self.output.left_out > 0


class Run:
    """One command on its way."""

    def __init__(self, sandbox: Sandbox, job: Job, devnull: int) -> None:
        """Take what to run; `devnull` stays the caller's."""
        self._sandbox = sandbox
        self._job = job
        self._devnull = devnull
        self._read: list[int] = []
        self._write: list[int] = []
        self._stdin = -1
        self._child_in = devnull
        self._shell: WarmShell | None = None
        self._gated: Prepared | None = None
        self._prepared = False
        self._plain = False

    async def prepare(self) -> None:
        """Do what can be done before it is recorded; the command cannot run before `finish`. A failure waits for that."""
        self._shell = await self._warm_shell()
        if self._shell is not None:
            self._read, self._stdin = [self._shell.stdout, self._shell.stderr], self._shell.stdin
        elif self._job.stdin is None:
            self._open_pipes()
            with contextlib.suppress(SpawnError, OSError):
                self._gated = self._sandbox.prepare(self._command(self._argvs()[0]))
        self._prepared = True

    def drop(self) -> None:
        """Give it up: it was not recorded and will not run."""
        if self._gated is not None:
            self._gated.drop()
        self._close_child()
        close_all(*self._read, self._stdin)
        self._read, self._stdin = [], -1

    async def finish(self, context: RunContext) -> Done:
        """Run it, with its output into the log of its execution. Raises SandboxGone, Unavailable."""
        return await self._go(lambda: context.output, context)

    async def quietly(self) -> Done:
        """Run it outside of any execution. Raises as `finish`."""
        return await self._go(None, None)

    async def _go(self, writer: Writer | None, context: RunContext | None) -> Done:
        began = monotonic()
        if not self._prepared:
            try:
                await self.prepare()
            except BaseException:
                self.drop()
                raise
        try:
            process, ended = await self._start()
        except SpawnError as error:
            return self._not_started(error, writer, began)
        except BaseException:
            close_all(*self._read, self._stdin)
            raise
        heads = [HeadTail(self._job.keep_bytes) for _ in self._read]
        drain = Drain(late_writer=writer)
        for fd, head, stream in zip(self._read, heads, (Stream.STDOUT, Stream.STDERR), strict=False):
            drain.own(fd, stream, head=head)
        if ended is not None and drain.take_rest():
            return self._done(heads, ended, None, began)
        why, exited = await self._follow(process, drain, context)
        return self._done(heads, exited, why, began)

    async def _follow(
        self, process: Process, drain: Drain, context: RunContext | None
    ) -> tuple[Why | None, Exit]:
        leash = Leash(process, self._job.grace_secs)
        leash.end_after(self._job.timeout_secs)
        if context is not None:
            leash.obey(context)
        drain.read()
        feeding = self._feed()
        complete = False
        try:
            await drain.finished(leash.waiting())
            exited = await leash.result()
            complete = True
        finally:
            if feeding is not None:
                feeding.cancel()
                await asyncio.wait((feeding,))
            if not complete:
                drain.close()
            if not complete or leash.why is not None:
                leash.sweep()
            leash.drop()
        return leash.why, exited

    def _feed(self) -> "asyncio.Task[None] | None":
        if self._stdin < 0:
            return None
        feeder, self._stdin = Feeder(self._stdin), -1
        return asyncio.ensure_future(feeder.write_and_close(self._job.stdin or b""))

    # --- starting --------------------------------------------------------------------------------------------------

    async def _warm_shell(self) -> WarmShell | None:
        job = self._job
        self._plain = job.script is not None and means_the_same(job.script)
        if not self._plain or job.stdin is not None:
            return None
        return await self._sandbox.take_shell()

    async def _start(self) -> tuple[Process, Exit | None]:
        if self._shell is not None:
            started = await self._start_shell(self._shell)
            if started is not None:
                return started
        if not self._write:
            self._open_pipes()
        try:
            process = await self._spawn()
            return process, await process.ended_within(0) if self._gated is not None else None
        finally:
            self._close_child()

    async def _start_shell(self, shell: WarmShell) -> tuple[Process, Exit | None] | None:
        lines = [] if self._job.split else ["exec 2>&1"]
        if self._job.cwd != HOME:
            lines.append(f"cd {shlex.quote(self._job.cwd)} || exit 126")
        script = "\n".join((*lines, for_sh(self._job.script or "")))
        if not shell.run(script, self._job.env, HOME):
            close_all(*self._read, self._stdin)
            self._read, self._stdin = [], -1
            return None
        close_all(self._stdin)
        self._stdin = -1
        try:
            return shell.process, await shell.process.ended_within(BRIEF_SECS)
        except BaseException:
            shell.process.signal_group(signal.SIGKILL)
            raise

    async def _spawn(self) -> Process:
        first, *others = self._argvs()
        try:
            if self._gated is not None:
                return await self._gated.go()
            return await self._sandbox.spawn(self._command(first))
        except SpawnError as error:
            if not others or error.reason is not SpawnFailure.NOT_FOUND:
                raise
        return await self._sandbox.spawn(self._command(others[0]))

    def _argvs(self) -> list[Sequence[str]]:
        if self._job.script is None:
            return [self._job.argv]
        if self._plain:
            # Where it makes no difference, the shell that starts sooner.
            return [(*SH, for_sh(self._job.script))]
        return [(*BASH, self._job.script), (*SH, self._job.script)]

    def _command(self, argv: Sequence[str]) -> Command:
        return Command(
            argv=argv,
            env=self._job.env,
            cwd=self._job.cwd,
            stdin=self._child_in,
            stdout=self._write[0],
            stderr=self._write[-1],
        )

    def _open_pipes(self) -> None:
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(2 if self._job.split else 1)]
        self._read, self._write = [pipe[0] for pipe in pipes], [pipe[1] for pipe in pipes]
        if self._job.stdin is not None:
            self._child_in, self._stdin = os.pipe2(os.O_CLOEXEC)

    def _close_child(self) -> None:
        close_all(*self._write)
        self._write = []
        if self._child_in != self._devnull:
            close_all(self._child_in)
            self._child_in = self._devnull

    # --- ending ----------------------------------------------------------------------------------------------------

    def _not_started(self, error: SpawnError, writer: Writer | None, began: float) -> Done:
        """Report a program that cannot be run as a shell would. Raises Unavailable for everything else."""
        close_all(*self._read, self._stdin)
        code = _CODES.get(error.reason)
        if code is None:
            raise Unavailable(f"the command could not be started: {error.message}") from None
        line = f"{error.message}\n".encode("utf-8", "replace")
        if writer is not None:
            writer().write(Stream.STDERR, line)
        caught = Caught(head=line)
        split = caught if self._job.split else None
        stdout = Caught() if split else None
        done = Done(code=code, started=False, output=caught, stderr=split, stdout=stdout)
        return replace(done, duration_ms=round((monotonic() - began) * 1000))

    def _done(self, heads: Sequence[HeadTail], exited: Exit, why: Why | None, began: float) -> Done:
        caught = [_caught(head) for head in heads]
        split = self._job.split
        return Done(
            code=TIMEOUT_CODE if why is Why.TIMEOUT else exited.shell_code,
            signal=exited.signal,
            output=_joined(caught) if split else caught[0],
            stdout=caught[0] if split else None,
            stderr=caught[1] if split else None,
            why=why,
            oom_killed=exited.oom_killed,
            duration_ms=round((monotonic() - began) * 1000),
        )


def _caught(head: HeadTail) -> Caught:
    first, left_out, last = head.parts()
    return Caught(head=first, left_out=left_out, tail=last)


def _joined(caught: Sequence[Caught]) -> Caught:
    """Put streams that were caught apart one after the other."""
    left_out = sum(one.left_out for one in caught)
    if not left_out:
        return Caught(head=b"".join(one.head + one.tail for one in caught))
    texts = [one.text.encode() for one in caught]
    return Caught(head=texts[0], left_out=left_out, tail=texts[1])
