"""Verbs of commands in runtimes. Every command is an execution in the ledger; this decides what it may be."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runyard.executions.model import Kind, NewExecution, Place
from runyard.executions.output.redact import mask_text
from runyard.executions.service import ExecutionHandle, ExecutionService
from runyard.identity.model import Principal
from runyard.kernel.errors import RunyardError, Unavailable
from runyard.runtimes.buffered import Buffered, Plan
from runyard.runtimes.errors import TooManyCommands
from runyard.runtimes.injection import Injector
from runyard.runtimes.options import ExecOptions
from runyard.runtimes.requests import CommandRequest, CommandResult, Origin
from runyard.runtimes.resident import Resident
from runyard.runtimes.session import Emit, Session, SessionRequest
from runyard.runtimes.supervisor import Supervisor

NAME_LIMIT = 80


@dataclass(slots=True)
class Pending:
    """A command that was accepted."""

    handle: ExecutionHandle
    runner: Buffered
    slots: "_Slots"

    async def result(self) -> CommandResult:
        """Wait for the end. Raises BadWorkingDirectory, RuntimeEnded, Unavailable."""
        ended = await self.handle.finished()
        self.slots.free()
        if self.runner.error is not None:
            raise self.runner.error
        if self.runner.result is None:
            raise Unavailable(ended.status_reason or "the command was not run")
        return self.runner.result

    @property
    def unfinished(self) -> bool:
        """Tell whether nobody has heard of the end yet."""
        return self.slots.taken

    async def abandon(self, reason: str) -> None:
        """End it: nobody wants the result. Returns when it is gone."""
        with contextlib.suppress(RunyardError):
            await self.handle.cancel("system:runtimes", reason)
        with contextlib.suppress(RunyardError):
            await self.handle.finished()
        self.slots.free()


class _Slots:
    """One command's share of the limits, given back once."""

    __slots__ = ("_resident", "_service", "taken")

    def __init__(self, service: "CommandService", resident: Resident) -> None:
        self._service = service
        self._resident = resident
        self.taken = True
        service.running += 1
        resident.commands += 1

    def free(self) -> None:
        if self.taken:
            self.taken = False
            self._service.running -= 1
            self._resident.commands -= 1


class CommandService:
    """Runs commands in runtimes: to their end, or as a session."""

    def __init__(
        self, executions: ExecutionService, supervisor: Supervisor, injector: Injector, options: ExecOptions
    ) -> None:
        """Take the parts."""
        self._executions = executions
        self._supervisor = supervisor
        self._injector = injector
        self.options = options
        self.running = 0
        self._devnull = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give back what was opened."""
        os.close(self._devnull)

    async def run(
        self, principal: Principal, resident: Resident, request: CommandRequest, origin: Origin
    ) -> CommandResult:
        """Run a command to its end. Raises as `begin` and `Pending.result`."""
        return await (await self.begin(principal, resident, request, origin)).result()

    async def begin(
        self, principal: Principal, resident: Resident, request: CommandRequest, origin: Origin
    ) -> Pending:
        """Start a command; the runtime is waited for while it is being created, and woken where its policy says so.
        Raises InvalidArgument, NotRunning, TooManyCommands.
        """
        options = self.options
        request.validate(options)
        slots = self._take_slot(resident)
        try:
            with resident.use():
                sandbox = await self._supervisor.ready(resident)
                env, masks = await self._injector.environment(resident)
                cap = request.max_output_bytes
                runner = Buffered(
                    Plan(
                        resident=resident,
                        sandbox=sandbox,
                        request=request,
                        env={**env, **request.env} if request.env else env,
                        timeout_secs=request.timeout_secs or options.default_timeout_secs,
                        cap=options.default_output_bytes if cap is None else cap,
                        grace_secs=options.kill_grace_secs,
                        devnull=self._devnull,
                    )
                )
                if self._executions.starts_at_once:
                    # First, so that a small host's two processors work side by side: the record here, the process there.
                    await runner.prepare()
                try:
                    new = _new_execution(principal, resident, request, origin, masks)
                    handle = await self._executions.start(new, runner, secrets=masks)
                except BaseException:
                    runner.drop()
                    raise
        except BaseException:
            slots.free()
            raise
        return Pending(handle, runner, slots)

    @contextlib.contextmanager
    def slot(self, resident: Resident) -> Iterator[None]:
        """Hold a share of the limits. Raises TooManyCommands."""
        slots = self._take_slot(resident)
        try:
            yield
        finally:
            slots.free()

    def _take_slot(self, resident: Resident) -> _Slots:
        if resident.commands >= self.options.per_runtime:
            raise TooManyCommands(
                f"runtime '{resident.runtime.id}' runs {resident.commands} commands already"
            )
        if self.running >= self.options.total:
            raise TooManyCommands(f"this server runs {self.running} commands already")
        return _Slots(self, resident)

    async def open(
        self, principal: Principal, resident: Resident, request: SessionRequest, origin: Origin, emit: Emit
    ) -> Session:
        """Start a session whose output goes to `emit`; hold `slot` around its life. Raises InvalidArgument, NotRunning."""
        request.validate(self.options)
        with resident.use():
            sandbox = await self._supervisor.ready(resident)
            env, masks = await self._injector.environment(resident)
            session = Session(resident, sandbox, request, env, self.options, emit)
            new = _new_execution(principal, resident, request.command, origin, masks)
            session.handle = await self._executions.start(new, session.run, secrets=masks)
        return session

    async def ready(self, resident: Resident) -> None:
        """Wait until a runtime can run commands. Raises NotRunning."""
        with resident.use():
            await self._supervisor.ready(resident)


def _new_execution(
    principal: Principal, resident: Resident, request: CommandRequest, origin: Origin, masks: Sequence[bytes]
) -> NewExecution:
    runtime = resident.runtime
    display = request.display
    program = request.program[0] if request.script is None else "sh"
    parameters: Mapping[str, object] = {}
    if request.cwd is not None or request.env:
        # Names only: a value of the caller's own may be a secret that nobody told us about.
        parameters = {"cwd": request.cwd, "env": sorted(request.env)}
    if masks:
        display, program = mask_text(display, masks), mask_text(program, masks)
    return NewExecution(
        account_id=runtime.account_id,
        project_id=runtime.project_id,
        project_path=runtime.project_path,
        kind=Kind.EXEC,
        name=program[:NAME_LIMIT],
        actor=principal.actor,
        door=origin.door,
        place=Place("runtime", runtime.id, runtime.display_name),
        command=display,
        parameters=parameters,
        request_id=origin.request_id,
    )
