"""Commands in environments. Every one is an execution in the ledger; this decides what it may be."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from runyard.environments.errors import EnvironmentNotReady
from runyard.environments.keeper import place_of
from runyard.environments.model import not_ready
from runyard.environments.options import EnvironmentOptions
from runyard.environments.resident import Resident
from runyard.environments.running import Done, Job, Run
from runyard.executions.model import Kind, NewExecution, Outcome
from runyard.executions.output.model import Stream
from runyard.executions.output.redact import mask_text
from runyard.executions.service import ExecutionHandle, ExecutionService
from runyard.executions.worker import RunContext
from runyard.identity.model import Principal
from runyard.kernel.errors import InvalidArgument, RunyardError, Unavailable
from runyard.runtimes.buffered import outcome_of
from runyard.runtimes.isolation.engine import Exit, Sandbox, SandboxGone
from runyard.runtimes.requests import check_words

TIMEOUT_DEFAULT: Final = 30
TIMEOUT_MAX: Final = 600
NAME_LIMIT: Final = 80
STDIN_MAX: Final = 16 << 20
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """A shell command for an environment."""

    command: str
    timeout_secs: int = TIMEOUT_DEFAULT
    split: bool = False
    """Tell the two streams apart as well."""
    service: str | None = None
    """Run it in a service instead of the main place."""
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes | None = None
    door: str = "dreadnode"

    def validate(self) -> None:
        """Check everything that can be known before it is started. Raises InvalidArgument."""
        if not self.command:
            raise InvalidArgument("command: at least one character", loc=["body", "command"])
        if not 1 <= self.timeout_secs <= TIMEOUT_MAX:
            raise InvalidArgument(f"timeout_sec: must be 1 to {TIMEOUT_MAX}", loc=["body", "timeout_sec"])
        if self.cwd is not None and (not self.cwd.startswith("/") or "\0" in self.cwd):
            raise InvalidArgument("cwd: must be an absolute path", loc=["body", "cwd"])
        if self.stdin is not None and len(self.stdin) > STDIN_MAX:
            raise InvalidArgument(f"stdin: at most {STDIN_MAX} bytes", loc=["body", "stdin"])
        check_words((self.command,), self.env)


class Runner(Protocol[R_co]):
    """What runs in an environment, and how that ended."""

    @property
    def done(self) -> R_co | None:
        """Return what came of it; None until then, and when nothing did."""
        ...

    @property
    def error(self) -> RunyardError | None:
        """Return what whoever waits must hear instead."""
        ...


@dataclass(slots=True)
class Pending(Generic[R]):
    """A command or a verification that was accepted."""

    handle: ExecutionHandle
    runner: Runner[R]
    resident: Resident
    _open: bool = True

    async def result(self) -> R:
        """Wait for the end. Raises EnvironmentNotReady, Unavailable."""
        ended = await self.handle.finished()
        self._leave()
        if self.runner.error is not None:
            raise self.runner.error
        if self.runner.done is None:
            if self.resident.environment.ended:
                raise EnvironmentNotReady(not_ready(self.resident.environment))
            raise Unavailable(ended.status_reason or "the command was not run")
        return self.runner.done

    @property
    def unfinished(self) -> bool:
        """Tell whether nobody has heard of the end yet."""
        return self._open

    async def abandon(self, reason: str) -> None:
        """End it: nobody wants the result. Returns when it is gone."""
        with contextlib.suppress(RunyardError):
            await self.handle.cancel("system:environments", reason)
        with contextlib.suppress(RunyardError):
            await self.handle.finished()
        self._leave()

    def _leave(self) -> None:
        if self._open:
            self._open = False
            self.resident.commands.discard(self.handle)
            self.resident.gate.leave()


class CommandRunner:
    """One command; call it as the runner of an execution, then take `done` or `error`."""

    def __init__(self, resident: Resident, run: Run) -> None:
        """Take what to run."""
        self._resident = resident
        self._run = run
        self.done: Done | None = None
        self.error: RunyardError | None = None

    async def __call__(self, context: RunContext) -> Outcome:
        """Run it; what the caller must hear is kept in `error` and raised for the ledger."""
        try:
            done = self.done = await self._run.finish(context)
        except SandboxGone as gone:
            state = self._resident.environment
            text = not_ready(state) if state.ended else f"environment '{state.id}' ended: {gone.message}"
            self.error = EnvironmentNotReady(text)
            raise self.error from None
        except RunyardError as error:
            self.error = error
            raise
        note = None
        if done.timed_out:
            note = "The command ran too long and was ended."
            context.output.write(Stream.SYSTEM, note.encode() + b"\n")
        exited = Exit(code=None if done.signal else done.code, signal=done.signal, oom_killed=done.oom_killed)
        return outcome_of(exited, done.why, done.code, context.cancel_reason or note)


class EnvironmentCommands:
    """Runs commands in environments."""

    def __init__(self, executions: ExecutionService, options: EnvironmentOptions) -> None:
        """Take the parts."""
        self._executions = executions
        self._options = options
        self.devnull = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give back what was opened."""
        os.close(self.devnull)

    async def begin(
        self, caller: Principal, resident: Resident, request: CommandRequest, request_id: str
    ) -> Pending[Done]:
        """Start a command when it is its turn. Raises TooManyExecutes, EnvironmentNotReady, InvalidArgument."""
        sandbox = _place(resident, request.service)
        await resident.gate.enter()
        try:
            base, folder = _surroundings(resident, request.service)
            run = Run(
                sandbox,
                Job(
                    script=request.command,
                    env={**base, **request.env} if request.env else base,
                    cwd=request.cwd or folder,
                    timeout_secs=request.timeout_secs,
                    split=request.split,
                    stdin=request.stdin,
                    keep_bytes=self._options.output_bytes,
                    grace_secs=self._options.grace_secs,
                ),
                self.devnull,
            )
            runner = CommandRunner(resident, run)
            handle = await self._start(caller, resident, request, request_id, runner, run)
        except BaseException:
            resident.gate.leave()
            raise
        resident.commands.add(handle)
        return Pending(handle, runner, resident)

    async def _start(
        self,
        caller: Principal,
        resident: Resident,
        request: CommandRequest,
        request_id: str,
        runner: CommandRunner,
        run: Run,
    ) -> ExecutionHandle:
        try:
            if self._executions.starts_at_once:
                # First, so that two processors work side by side: the record here, the process there.
                await run.prepare()
            new = _new_execution(caller, resident, request, request_id)
            return await self._executions.start(new, runner, secrets=resident.masks)
        except SandboxGone:
            run.drop()
            raise EnvironmentNotReady(not_ready(resident.environment)) from None
        except BaseException:
            run.drop()
            raise


def _place(resident: Resident, service: str | None) -> Sandbox:
    if service is not None:
        found = resident.living.services.get(service)
        if found is None:
            raise InvalidArgument(f"service: there is none named '{service[:64]}'", loc=["body", "service"])
        return found.sandbox
    if resident.living.main is None:
        raise EnvironmentNotReady(not_ready(resident.environment))
    return resident.living.main


def _surroundings(resident: Resident, service: str | None) -> tuple[Mapping[str, str], str]:
    """Return the variables and the folder of a command in a place."""
    if service is not None and service in resident.living.services:
        found = resident.living.services[service]
        return found.env, found.cwd
    return resident.living.env, resident.living.cwd


def _new_execution(
    caller: Principal, resident: Resident, request: CommandRequest, request_id: str
) -> NewExecution:
    environment, masks = resident.environment, resident.masks
    display = mask_text(request.command, masks) if masks else request.command
    parameters: Mapping[str, object] = {}
    if request.env or request.cwd or request.service:
        # Names only: a value of the caller's own may be a secret that nobody told us about.
        parameters = {"cwd": request.cwd, "env": sorted(request.env), "service": request.service}
    return NewExecution(
        account_id=environment.account_id,
        project_id=environment.project_id,
        project_path=environment.project_path,
        kind=Kind.EXEC,
        name=display[:NAME_LIMIT].split("\n", 1)[0] or "command",
        actor=caller.actor,
        door=request.door,
        place=place_of(environment),
        command=display,
        parameters=parameters,
        request_id=request_id,
    )
