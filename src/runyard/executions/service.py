"""The verbs of the ledger. Owns when an execution begins, ends, is canceled, waits in line and is found again.

The ledger is the truth and the carrier only carries: whatever is lost in memory is rebuilt from the rows. An exec
runs at most once. Output is read through `output`; check the scope with `get` first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import structlog

from runyard.database.engine import Database, Transaction
from runyard.database.errors import DatabaseUnavailable, Retryable, UniqueViolation
from runyard.executions import store
from runyard.executions.dispatch.embedded import EmbeddedCarrier
from runyard.executions.dispatch.port import Assignment, NewAssignment
from runyard.executions.errors import ExecutionEnded, ExecutionNotFound, ServerStopping
from runyard.executions.line import LOCAL, Line, RunnerFactory, Waiting
from runyard.executions.model import (
    ALREADY_ENDED,
    Cancel,
    Command,
    Delay,
    Execution,
    ExecutionFilter,
    Finish,
    NewExecution,
    Outcome,
    OutputTotals,
    Resume,
    Schedule,
    Tenant,
    apply,
    begun,
    requested,
)
from runyard.executions.output.log import OutputLog
from runyard.executions.output.model import OutputLocation
from runyard.executions.output.redact import mask_document, mask_text
from runyard.executions.queries import list_page
from runyard.executions.recovery import RecoveryReport, recover
from runyard.executions.worker import Ending, RunContext, Runner, Worker
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import InvalidArgument, RunyardError
from runyard.kernel.events import Event
from runyard.kernel.ids import ExecutionId
from runyard.kernel.paging import Page
from runyard.kernel.transitions import Changed, Refused, transition

__all__ = ["ExecutionHandle", "ExecutionOptions", "ExecutionService", "NewAssignment", "RunContext", "Runner"]

_END_RETRIES = (0.02, 0.1, 0.5, 2.0, 5.0)
Beside = Callable[[Transaction, Execution], Awaitable[None]]
"""Writes what another domain keeps of an execution, in the transaction that makes it."""

_log = structlog.get_logger(__name__)


class ExecutionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the embedded worker."""

    slots: int = 1024
    """Executions that run at one time; more wait in line."""
    worker: str = "embedded"
    """Its name in the ledger; what it left running is abandoned when it starts again."""
    pools: Sequence[str] = ("default",)
    sweep_seconds: float = 600.0
    """Time between two removals of old logs."""


class ExecutionHandle:
    """An execution that was begun or queued here."""

    __slots__ = ("_ended", "_service", "execution")

    def __init__(self, service: "ExecutionService", execution: Execution, ended: Ending) -> None:
        """Made by the service."""
        self._service = service
        self._ended = ended
        self.execution = execution
        """As it was when the handle was made."""

    async def finished(self) -> Execution:
        """Wait for the end and return the execution as the ledger has it. Giving up the wait changes nothing."""
        return await self._ended.get()

    async def cancel(self, actor: str, reason: str | None = None) -> Execution:
        """Ask for its end; see `ExecutionService.cancel`."""
        return await self._service.cancel(self.execution, self.execution.id, actor=actor, reason=reason)


class ExecutionService:
    """The ledger of all executions and the embedded worker that runs them."""

    def __init__(
        self,
        database: Database,
        output: OutputLog,
        *,
        options: ExecutionOptions | None = None,
        carrier: EmbeddedCarrier | None = None,
        now: Now = utc_now,
    ) -> None:
        """Use a migrated database and an output log; call `recover` before anything is begun."""
        self.options = options or ExecutionOptions()
        self.database = database
        self.output = output
        self.worker = Worker(self.options.worker, self.options.slots, output, self._report)
        self._now = now
        self._actor = f"worker:{self.options.worker}"
        self.carrier = carrier or EmbeddedCarrier()
        self._line = Line(self, self.carrier, self.worker, self.options.pools, now)
        self._ended: dict[ExecutionId, Ending] = {}
        self._stopping = False
        self.on_ended: Callable[[Execution], object] = _ignore
        """Called with every execution that ended here, e.g. to count it; must be quick and not raise."""
        output.locate = self._locate

    # -- begin ------------------------------------------------------------------------------------------------

    @property
    def starts_at_once(self) -> bool:
        """Tell whether `start`, called now, would run an execution rather than queue it."""
        return self.carrier.idle and self.worker.free > 0

    async def start(
        self, new: NewExecution, run: Runner, *, secrets: Sequence[bytes] = (), priority: int = 0
    ) -> ExecutionHandle:
        """Run it now when a slot is free, else in line. `secrets` are masked in all that is kept of it: output,
        name, command, parameters, reason, result. Raises ServerStopping, AlreadyExists (a fixed id was used before).
        """
        if self._stopping:
            raise ServerStopping
        if secrets:
            new = _masked(new, secrets)
        first = requested(await self._rooted(new), self._now())
        if self.carrier.idle and self.worker.reserve():
            return await self._start_now(first, run, secrets)
        assignment = Assignment(execution_id=first.value.id, priority=priority, runner=LOCAL)
        return await self._unhurried(self._enqueue(first, assignment, None, Waiting(run, secrets)))

    async def submit(
        self, new: NewExecution, assignment: NewAssignment, *, beside: Beside | None = None
    ) -> ExecutionHandle:
        """Run it through dispatch: pool, priority, not before a time, at most so many of a key.
        With a fixed id that exists already the existing execution's handle is returned. Raises ServerStopping.
        """
        if self._stopping:
            raise ServerStopping
        if assignment.runner == LOCAL:
            raise InvalidArgument("this runner name is reserved")
        first = requested(await self._rooted(new), self._now())
        made = _made(first.value, assignment)
        try:
            work = self._enqueue(first, made, assignment.not_before, None, beside)
            return await self._unhurried(work)
        except UniqueViolation:
            return await self.handle(first.value, first.value.id)

    async def record(
        self, new: NewExecution, commands: Sequence[Command], *, beside: Beside | None = None
    ) -> Execution:
        """Write an execution that no worker holds, walked through at most three commands: one that waits for a
        person, or one that failed before it could begin. Raises FailedPrecondition when a command is refused.
        """
        decision = requested(await self._rooted(new), self._now())
        happened = [decision.event]
        for command in commands:
            decision = _accepted(
                apply(decision.value, command, actor=new.actor, now=decision.value.created_at)
            )
            happened.append(decision.event)
        async with self.database.transaction() as tx:
            await store.add(tx, decision.value, happened)
            if beside is not None:
                await beside(tx, decision.value)
            tx.after_commit(partial(self._publish, happened))
        if decision.value.ended:
            self.on_ended(decision.value)
        return decision.value

    async def release(
        self,
        execution_id: ExecutionId,
        assignment: NewAssignment,
        *,
        actor: str,
        beside: Beside | None = None,
    ) -> Changed[Execution] | Refused:
        """Hand an execution that waits and has never begun to dispatch: what it waited for is there. `not_before` is
        not looked at. Raises ExecutionNotFound, ServerStopping and what `beside` raises, which undoes it.
        """
        if self._stopping:
            raise ServerStopping
        work = self._release(execution_id, assignment, actor, beside)
        return await asyncio.shield(self._line.background(work))

    async def _release(
        self, execution_id: ExecutionId, assignment: NewAssignment, actor: str, beside: Beside | None
    ) -> Changed[Execution] | Refused:
        async with self.database.transaction() as tx:
            decision = await transition(
                tx, store.ExecutionRows(), execution_id, Resume(), self._decider(actor)
            )
            if isinstance(decision, Refused):
                return decision
            if beside is not None:
                await beside(tx, decision.value)
            made = _made(decision.value, assignment)
            await store.add_assignment(tx, made, None, self._now())
        await self._line.offer(made, None)
        return decision

    def register_runner(self, name: str, factory: RunnerFactory) -> None:
        """Say what obeys the assignments of `runner == name`."""
        self._line.factories[name] = factory

    # -- look -------------------------------------------------------------------------------------------------

    async def get(self, scope: Tenant, execution_id: ExecutionId) -> Execution:
        """Return one execution. Raises ExecutionNotFound, also for what the scope may not see."""
        async with self.database.read() as tx:
            return store.visible(scope, await store.get(tx, execution_id))

    async def list(
        self, scope: Tenant, wanted: ExecutionFilter | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[Execution]:
        """Return executions, newest first. A page may be short and still have a next cursor: with several filters
        a bounded number of rows is examined. Raises InvalidArgument (limit beyond 1 to 1000, bad cursor).
        """
        async with self.database.scan() if _slow(wanted) else self.database.read() as tx:
            return await list_page(tx, self.database.name, scope, wanted or ExecutionFilter(), limit, cursor)

    async def history(self, scope: Tenant, execution_id: ExecutionId) -> Sequence[Event]:
        """Return what happened to an execution, oldest first. Raises ExecutionNotFound."""
        async with self.database.read() as tx:
            store.visible(scope, await store.get(tx, execution_id))
            return await store.history(tx, execution_id)

    async def several(
        self, scope: Tenant, execution_ids: Sequence[str], *, results: bool = True
    ) -> Sequence[Execution]:
        """Return those executions that are there and may be seen, in the order of the ids. Without `results` they come
        without one, which spares reading megabytes that nobody asked for.
        """
        async with self.database.read() as tx:
            return await store.several(tx, scope, execution_ids, results=results)

    async def histories(self, execution_ids: Sequence[ExecutionId]) -> Mapping[str, Sequence[Event]]:
        """Return what happened to several executions, oldest first; scope is the caller's matter."""
        async with self.database.read() as tx:
            return await store.histories(tx, execution_ids)

    async def handle(self, scope: Tenant, execution_id: ExecutionId) -> ExecutionHandle:
        """Return a handle of any execution. Raises ExecutionNotFound."""
        execution = await self.get(scope, execution_id)
        ended = self._ended.get(execution_id)
        if ended is None:
            ended = self._ended[execution_id] = Ending()
            # Read again: an end that was written before this line was not heard, one written after it is.
            execution = await self.get(scope, execution_id)
        if execution.ended:
            self._ended.pop(execution_id, None)
            ended.settle(execution)
        return ExecutionHandle(self, execution, ended)

    async def wait(self, scope: Tenant, execution_id: ExecutionId) -> Execution:
        """Wait for the end of any execution and return it. Raises ExecutionNotFound."""
        return await (await self.handle(scope, execution_id)).finished()

    # -- change -----------------------------------------------------------------------------------------------

    async def cancel(
        self, scope: Tenant, execution_id: ExecutionId, *, actor: str, reason: str | None = None
    ) -> Execution:
        """End it: at once before it began, else `canceling` and word to its worker. Again is harmless.
        Raises ExecutionNotFound, ExecutionEnded.
        """
        async with self.database.transaction() as tx:
            rows = store.ExecutionRows(scope)
            decision = await transition(tx, rows, execution_id, Cancel(reason), self._decider(actor))
        if isinstance(decision, Refused):
            if decision.code == ALREADY_ENDED:
                raise ExecutionEnded(decision.reason)
            self.worker.cancel(execution_id, reason)
            return await self.get(scope, execution_id)
        if decision.value.ended:
            await self._ended_before_start(decision.value)
        else:
            self.worker.cancel(execution_id, reason)
        return decision.value

    async def command(
        self, execution_id: ExecutionId, command: Command, *, actor: str
    ) -> Changed[Execution] | Refused:
        """Apply any command for the domain that owns the execution (waits, resumes); scope is the caller's matter.
        Raises ExecutionNotFound.
        """
        async with self.database.transaction() as tx:
            decision = await transition(
                tx, store.ExecutionRows(), execution_id, command, self._decider(actor)
            )
        if isinstance(decision, Changed) and decision.value.ended:
            await self._ended_before_start(decision.value)
        return decision

    def launch(self, execution: Execution, run: Runner, secrets: Sequence[bytes]) -> None:
        """Run an execution that has begun in a slot that is reserved for it; used by the line."""
        ended = self._ended.setdefault(execution.id, Ending())
        self.worker.launch(execution, run, secrets, ended)

    # -- life of the server -----------------------------------------------------------------------------------

    async def recover(self) -> RecoveryReport:
        """Bring the ledger and the logs to order after a stop of any kind, and begin to take work.
        What this worker had running ends `abandoned`; what had not begun is offered again.
        """
        report = await recover(self.database, self.output, self.options.worker, self._now)
        for assignment, not_before in report.offers:
            await self._line.offer(assignment, not_before)
        self._line.begin()
        self._line.background(self._sweep_forever())
        return report

    async def stop(self, grace_seconds: float = 10.0) -> None:
        """Begin nothing new, tell what runs to end, wait for the grace, close the logs. Idempotent."""
        if self._stopping:
            return
        self._stopping = True
        for execution_id in self._line.local:
            await self._stop_one(execution_id, "the server stopped before it began")
        for execution_id in list(self.worker.in_flight):
            await self._stop_one(execution_id, "the server is stopping")
        await self.worker.stop(grace_seconds)
        await self._line.close()
        self.output.close()

    async def _stop_one(self, execution_id: ExecutionId, reason: str) -> None:
        try:
            await self.command(execution_id, Cancel(reason), actor="server")
        except RunyardError as error:
            _log.warning("executions.stop_not_recorded", execution_id=execution_id, error=error.message)

    # -- inside -----------------------------------------------------------------------------------------------

    async def _rooted(self, new: NewExecution) -> NewExecution:
        """Fill in the top of the tree for a child whose caller does not know it."""
        if new.parent_id is None or new.root_id is not None:
            return new
        async with self.database.read() as tx:
            parent = await store.get(tx, new.parent_id)
        if parent is None or parent.account_id != new.account_id:
            raise ExecutionNotFound("there is no such parent execution")
        return msgspec.structs.replace(new, root_id=parent.root_id)

    async def _start_now(
        self, first: Changed[Execution], run: Runner, secrets: Sequence[bytes]
    ) -> ExecutionHandle:
        """Write `requested`, `scheduled` and `running` in one transaction and go."""
        running, later = begun(first.value, self.worker.name, self._actor)
        happened = (first.event, *later)
        try:
            await store.write_begin(self.database, running, happened)
        except BaseException as error:
            self.worker.give_back()
            if isinstance(error, asyncio.CancelledError):
                # The commit may have come through: a row that says running must not stay without a runner.
                self._line.background(self._line.abandon(running.id, "the caller left before it began"))
            raise
        self._publish(happened)
        self.launch(running, run, secrets)
        return ExecutionHandle(self, running, self._ended[running.id])

    async def _unhurried(self, work: Coroutine[Any, Any, ExecutionHandle]) -> ExecutionHandle:
        """Carry something through even when the caller leaves in the middle: a row must not wait without an offer."""
        task: asyncio.Task[ExecutionHandle] = self._line.background(work)
        return await asyncio.shield(task)

    async def _enqueue(
        self,
        first: Changed[Execution],
        assignment: Assignment,
        not_before: datetime | None,
        local: Waiting | None,
        beside: Beside | None = None,
    ) -> ExecutionHandle:
        """Write `requested` and `scheduled` (or `delayed`), keep the assignment or the runner itself, and offer it."""
        moment, actor = first.value.created_at, first.value.actor
        later = not_before is not None and not_before > moment
        command: Command = Delay(f"not before {not_before:%Y-%m-%dT%H:%M:%SZ}") if later else Schedule()
        second = _accepted(apply(first.value, command, actor=actor, now=moment))
        happened = (first.event, second.event)
        async with self.database.transaction() as tx:
            await store.add(tx, second.value, happened)
            if beside is not None:
                await beside(tx, second.value)
            if local is None:
                await store.add_assignment(tx, assignment, not_before, moment)
            tx.after_commit(partial(self._publish, happened))
        if local is not None:
            self._line.keep(second.value.id, local)
        ended = self._ended.setdefault(second.value.id, Ending())
        await self._line.offer(assignment, not_before if later else None)
        return ExecutionHandle(self, second.value, ended)

    async def _sweep_forever(self) -> None:
        """Remove old logs now and then."""
        while True:
            try:
                report = await self.output.sweep(self._now())
            except OSError as error:
                _log.warning("output.sweep_failed", error=str(error))
            else:
                if report.removed_files:
                    _log.info("output.swept", files=report.removed_files, bytes=report.removed_bytes)
            await asyncio.sleep(self.options.sweep_seconds)

    async def _report(self, execution: Execution, outcome: Outcome, output: OutputTotals) -> Execution:
        """Write an end; the database may be away for some seconds. Then let everyone know."""
        for pause in (*_END_RETRIES, None):
            try:
                ended = await self._write_end(execution, outcome, output)
                break
            except (DatabaseUnavailable, Retryable):
                if pause is None:
                    raise
                await asyncio.sleep(pause)
        if self._line.holds(execution.id):
            await self._line.finished(execution.id, outcome)
        self.output.settle(execution.id, ended.output_ref)
        self._ended.pop(execution.id, None)
        # After the turn in which whoever waits gets its answer.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self.on_ended, ended)
        return ended

    async def _write_end(self, execution: Execution, outcome: Outcome, output: OutputTotals) -> Execution:
        command = Finish(outcome, execution.attempt, output)
        decision = _accepted(
            apply(execution, command, actor=outcome.ended_by or self._actor, now=self._now())
        )
        claimed = self._line.holds(execution.id)
        if await store.write_end(self.database, decision.value, decision.event, claimed=claimed):
            self._publish((decision.event,))
            return decision.value
        # Somebody ended it first, or another attempt has taken over: the ledger's word stands.
        async with self.database.read() as tx:
            return await store.get(tx, execution.id) or decision.value

    def _decider(self, actor: str) -> Callable[[Execution, Command], Changed[Execution] | Refused]:
        """Return the pure transition with an actor and the time."""
        now = self._now()
        return lambda before, command: apply(before, command, actor=actor, now=now)

    async def _ended_before_start(self, execution: Execution) -> None:
        """Clean up after an end that no worker reported."""
        await self._line.forget(execution)
        self.output.settle(execution.id, execution.output_ref)
        ended = self._ended.pop(execution.id, None)
        if ended is not None:
            ended.settle(execution)
        self.on_ended(execution)

    async def _locate(self, execution_id: ExecutionId) -> OutputLocation:
        async with self.database.read() as tx:
            rows = await tx.fetch(store.LOCATE, (execution_id,))
        if not rows:
            raise ExecutionNotFound
        return OutputLocation(rows[0][0], rows[0][1] is not None)

    def _publish(self, happened: Sequence[Event]) -> None:
        for event in happened:
            self.database.broker.publish(event)


def _made(execution: Execution, assignment: NewAssignment) -> Assignment:
    return Assignment(
        execution_id=execution.id,
        pool=assignment.pool,
        priority=assignment.priority,
        key=assignment.key,
        key_limit=assignment.key_limit,
        tenant=execution.account_id,
        runner=assignment.runner,
        document=assignment.document,
    )


def _ignore(execution: Execution) -> None:
    """Do nothing about an end."""


def _masked(new: NewExecution, secrets: Sequence[bytes]) -> NewExecution:
    """Mask before anything is cut to length: half a secret would pass."""
    return msgspec.structs.replace(
        new,
        name=mask_text(new.name, secrets),
        command=mask_text(new.command, secrets),
        parameters=mask_document(new.parameters, secrets),
    )


def _slow(wanted: ExecutionFilter | None) -> bool:
    """Tell whether a listing may look at many rows, so that it belongs into the scan thread."""
    return wanted is not None and wanted.text is not None


def _accepted(decision: Changed[Execution] | Refused) -> Changed[Execution]:
    if isinstance(decision, Refused):
        raise decision.error()
    return decision
