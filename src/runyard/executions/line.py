"""The line of work that has not begun. Owns timers of delayed work, runners in memory, and the pump into the slots.

It decides nothing: every change is a command to the ledger, and what the ledger refuses is dropped. After a kill it
is rebuilt from the rows.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec
import structlog

from runyard.database.errors import DatabaseUnavailable, Retryable
from runyard.executions.dispatch.embedded import EmbeddedCarrier
from runyard.executions.dispatch.port import Assignment, Claim
from runyard.executions.errors import ExecutionNotFound
from runyard.executions.model import Abandon, Command, Execution, Outcome, Schedule, Start, Status
from runyard.executions.worker import RunContext, Runner, Worker
from runyard.kernel.clock import Now
from runyard.kernel.errors import RunyardError
from runyard.kernel.ids import ExecutionId
from runyard.kernel.transitions import Changed, Refused

RunnerFactory = Callable[[Assignment], Runner]

LOCAL = "local"
"""The runner of an execution whose coroutine lives in this process; it cannot be offered again after a restart."""
_LONGEST_TIMER = 86_400.0
_RETRY_SECONDS = 0.5

_log = structlog.get_logger(__name__)


class Waiting(msgspec.Struct):
    """A runner that waits in line in this process."""

    run: Runner
    secrets: Sequence[bytes]


class Ledger(Protocol):
    """What the line asks of the ledger."""

    async def command(
        self, execution_id: ExecutionId, command: Command, *, actor: str
    ) -> Changed[Execution] | Refused:
        """Apply a command. Raises ExecutionNotFound, DatabaseUnavailable."""
        ...

    def launch(self, execution: Execution, run: Runner, secrets: Sequence[bytes]) -> None:
        """Run an execution in a reserved slot."""
        ...


class Line:
    """Offers work to the carrier when its time has come, and takes it back when a slot is free."""

    def __init__(
        self, ledger: Ledger, carrier: EmbeddedCarrier, worker: Worker, pools: Sequence[str], now: Now
    ) -> None:
        """Start empty and still; `begin` starts the pump."""
        self.carrier = carrier
        self.factories: dict[str, RunnerFactory] = {}
        self._ledger = ledger
        self._worker = worker
        self._pools = pools
        self._now = now
        self._actor = f"worker:{worker.name}"
        self._queued: dict[ExecutionId, Waiting] = {}
        self._claims: dict[ExecutionId, Claim] = {}
        self._timers: dict[ExecutionId, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def local(self) -> list[ExecutionId]:
        """List the executions whose runner waits in memory."""
        return list(self._queued)

    def begin(self) -> None:
        """Start to take work."""
        self.background(self._pump())

    async def close(self) -> None:
        """Stop taking work and forget all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        await self.carrier.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def keep(self, execution_id: ExecutionId, waiting: Waiting) -> None:
        """Keep a runner for an execution that is about to be offered as `LOCAL`."""
        self._queued[execution_id] = waiting

    async def offer(self, assignment: Assignment, not_before: datetime | None) -> None:
        """Offer it now, or when its time has come."""
        if not_before is None:
            await self.carrier.offer(assignment)
            return
        left = max(0.0, min((not_before - self._now()).total_seconds(), _LONGEST_TIMER))
        loop = asyncio.get_running_loop()
        self._timers[assignment.execution_id] = loop.call_later(left, self._due, assignment, not_before)

    async def forget(self, execution: Execution) -> None:
        """Take back whatever was prepared for an execution that ended before it began."""
        timer = self._timers.pop(execution.id, None)
        if timer is not None:
            timer.cancel()
        self._queued.pop(execution.id, None)
        await self.carrier.withdraw(execution.id, execution.attempt)

    def holds(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution was claimed from the carrier."""
        return execution_id in self._claims

    async def finished(self, execution_id: ExecutionId, outcome: Outcome) -> None:
        """Give a claim back."""
        claim = self._claims.pop(execution_id, None)
        if claim is not None:
            await self.carrier.finished(claim, outcome)

    def background(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run something that ends with the line at the latest."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def abandon(self, execution_id: ExecutionId, reason: str) -> None:
        """End an execution that cannot begin; one that does not exist is nobody's loss."""
        try:
            await self._insistently(execution_id, Abandon(reason), "server")
        except ExecutionNotFound:
            return

    def _due(self, assignment: Assignment, not_before: datetime) -> None:
        del self._timers[assignment.execution_id]
        self.background(self._release(assignment, not_before))

    async def _release(self, assignment: Assignment, not_before: datetime) -> None:
        """Schedule what was delayed, unless its time is still far or it was canceled meanwhile."""
        if self._now() < not_before:
            await self.offer(assignment, not_before)
            return
        decision = await self._insistently(assignment.execution_id, Schedule(), "server")
        if isinstance(decision, Changed):
            await self.offer(assignment, None)

    async def _pump(self) -> None:
        """Take work from the carrier whenever a slot is free."""
        while True:
            await self._worker.slot_free()
            claim = await self.carrier.claim(self._pools, self._worker.name)
            while not self._worker.reserve():
                await self._worker.slot_free()
            try:
                await self._start(claim)
            except Exception as error:  # noqa: BLE001  one assignment must not stop the line
                self._worker.give_back()
                execution_id = claim.assignment.execution_id
                _log.exception("executions.begin_failed", execution_id=execution_id)
                reason = f"it could not be begun: {type(error).__name__}"
                await self.carrier.finished(claim, Outcome(status=Status.ABANDONED, reason=reason))
                self.background(self.abandon(execution_id, reason))

    async def _start(self, claim: Claim) -> None:
        """Start a claimed assignment in the slot that is reserved for it."""
        assignment = claim.assignment
        queued = self._queued.pop(assignment.execution_id, None)
        run = self._runner_of(assignment) if queued is None else queued.run
        command = Start(self._worker.name, assignment.attempt)
        decision = await self._insistently(assignment.execution_id, command, self._actor)
        if isinstance(decision, Refused):
            self._worker.give_back()
            await self.carrier.finished(claim, Outcome(status=Status.CANCELED, reason=decision.reason))
            return
        self._claims[decision.value.id] = claim
        self._ledger.launch(decision.value, run, () if queued is None else queued.secrets)

    async def _insistently(
        self, execution_id: ExecutionId, command: Command, actor: str
    ) -> Changed[Execution] | Refused:
        """Apply a command, again while the database is away: work in line must not end for that."""
        while True:
            try:
                return await self._ledger.command(execution_id, command, actor=actor)
            except (DatabaseUnavailable, Retryable) as error:
                _log.warning("executions.database_away", execution_id=execution_id, error=error.message)
                await asyncio.sleep(_RETRY_SECONDS)

    def _runner_of(self, assignment: Assignment) -> Runner:
        factory = self.factories.get(assignment.runner)
        return _no_runner(assignment.runner) if factory is None else factory(assignment)


def _no_runner(name: str) -> Runner:
    async def fail(context: RunContext) -> Outcome:  # noqa: ARG001
        raise RunyardError(f"this worker has no runner named {name}")

    return fail
