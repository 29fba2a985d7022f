"""The embedded worker. Owns the slots and the executions in flight in this process; writes nothing to the ledger itself.

A runner is any coroutine that returns an `Outcome`. Whatever it raises becomes an end: an execution never hangs
because its runner failed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from runyard.executions.model import TERMINAL, Execution, Outcome, OutputTotals, Status
from runyard.executions.output.log import OutputLog
from runyard.executions.output.model import Stream
from runyard.executions.output.redact import mask_document, mask_text
from runyard.executions.output.writer import OutputWriter
from runyard.kernel.errors import RunyardError
from runyard.kernel.ids import ExecutionId

_log = structlog.get_logger(__name__)


class RunContext:
    """What a runner gets: the execution, its output, and word that it shall end."""

    __slots__ = ("_log", "_secrets", "_writer", "cancel_reason", "cancelled", "execution", "on_cancel")

    def __init__(self, execution: Execution, log: OutputLog, secrets: Sequence[bytes]) -> None:
        """Made by the worker."""
        self.execution = execution
        self.cancelled = asyncio.Event()
        """Set when it shall end: kill what runs, then return an outcome with `Status.CANCELED`."""
        self.cancel_reason: str | None = None
        self.on_cancel: Callable[[], object] | None = None
        """Called with `cancelled`, for runners to whom a task that waits for it is too dear."""
        self._log = log
        self._secrets = secrets
        self._writer: OutputWriter | None = None

    @property
    def output(self) -> OutputWriter:
        """The log of this execution, begun at the first use. The worker closes it."""
        if self._writer is None:
            self._writer = self._log.writer(self.execution.id, secrets=self._secrets)
        return self._writer

    def hide(self, secrets: Sequence[bytes]) -> None:
        """Mask these in all that is kept, for a runner that learns of them only now; call it before any output."""
        self._secrets = (*self._secrets, *secrets)

    def mask(self, text: str) -> str:
        """Return a text without the secrets of this execution."""
        return mask_text(text, self._secrets) if self._secrets else text

    def masked(self, outcome: Outcome) -> Outcome:
        """Return an outcome without the secrets of this execution."""
        if not self._secrets:
            return outcome
        return msgspec.structs.replace(
            outcome,
            reason=None if outcome.reason is None else self.mask(outcome.reason),
            result=mask_document(outcome.result, self._secrets),
        )

    def cancel(self, reason: str | None) -> None:
        """Tell the runner to end; the first reason stands."""
        if not self.cancelled.is_set():
            self.cancel_reason = reason
            self.cancelled.set()
            if self.on_cancel is not None:
                self.on_cancel()

    def close_output(self) -> OutputTotals:
        """Close the log and return what goes into the ledger."""
        if self._writer is None:
            return OutputTotals()
        summary = self._writer.close()
        return OutputTotals(summary.total_bytes, summary.truncated, summary.ref)


async def until_cancelled(context: RunContext, work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Do a runner's work to its end, or give it up as soon as the execution shall end, and say so."""
    working, ending = asyncio.ensure_future(work), asyncio.ensure_future(context.cancelled.wait())
    try:
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
    finally:
        ending.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait((working,))
    if working.cancelled():
        return Outcome(status=Status.CANCELED, reason=context.cancel_reason)
    return working.result()


class Ending:
    """The end of one execution, for any number of waiters. Not a future: to wait for one behind a shield costs two
    turns of the loop instead of one.
    """

    __slots__ = ("_error", "_value", "_waiters")

    def __init__(self) -> None:
        """Start unknown."""
        self._value: Execution | None = None
        self._error: Exception | None = None
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def known(self) -> bool:
        """Tell whether it was settled."""
        return self._value is not None or self._error is not None

    def settle(self, value: Execution | None, error: Exception | None = None) -> None:
        """Tell it, once: the execution, or why its end is not recorded. Later calls change nothing."""
        if self.known:
            return
        self._value, self._error = value, error
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def get(self) -> Execution:
        """Wait for it; a waiter that is cancelled changes nothing for the others."""
        if not self.known:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if not self.known:
                    self._waiters.remove(waiter)
        if self._value is None:
            raise self._error or RunyardError("the execution has no end")
        return self._value


Runner = Callable[[RunContext], Awaitable[Outcome]]


class Reporter(Protocol):
    """Writes an end into the ledger."""

    async def __call__(self, execution: Execution, outcome: Outcome, output: OutputTotals) -> Execution:
        """Return the execution as the ledger has it now."""
        ...


class InFlight:
    """One execution that runs in this process."""

    __slots__ = ("context", "ended", "task")

    def __init__(self, context: RunContext, ended: Ending) -> None:
        """Made by the worker; `ended` gets the execution once its end is committed."""
        self.context = context
        self.ended = ended
        self.task: asyncio.Task[None] | None = None


class Worker:
    """Runs executions, at most `slots` at a time."""

    def __init__(self, name: str, slots: int, log: OutputLog, report: Reporter) -> None:
        """Start idle."""
        self.name = name
        self.slots = slots
        self._log = log
        self._report = report
        self.in_flight: dict[ExecutionId, InFlight] = {}
        self._reserved = 0
        self._slot_free = asyncio.Event()
        self._slot_free.set()

    @property
    def free(self) -> int:
        """Return how many more may begin."""
        return self.slots - len(self.in_flight) - self._reserved

    def reserve(self) -> bool:
        """Set a slot aside for one that is about to begin; False when none is free."""
        if self.free <= 0:
            return False
        self._reserved += 1
        if self.free <= 0:
            self._slot_free.clear()
        return True

    def give_back(self) -> None:
        """Return a slot that was set aside and not used."""
        self._reserved -= 1
        self._slot_free.set()

    async def slot_free(self) -> None:
        """Wait until a slot is free."""
        while self.free <= 0:
            self._slot_free.clear()
            await self._slot_free.wait()

    def launch(self, execution: Execution, run: Runner, secrets: Sequence[bytes], ended: Ending) -> InFlight:
        """Run an execution in a reserved slot; `ended` is resolved once its end is in the ledger."""
        entry = InFlight(RunContext(execution, self._log, secrets), ended)
        self._reserved -= 1
        self.in_flight[execution.id] = entry
        entry.task = asyncio.get_running_loop().create_task(self._run(entry, run))
        return entry

    def cancel(self, execution_id: ExecutionId, reason: str | None) -> bool:
        """Tell a running execution to end; False when it does not run here."""
        entry = self.in_flight.get(execution_id)
        if entry is None:
            return False
        entry.context.cancel(reason)
        return True

    async def stop(self, grace_seconds: float) -> None:
        """Tell everything to end, wait, then cut off what did not."""
        entries = list(self.in_flight.values())
        for entry in entries:
            entry.context.cancel("the server is stopping")
        tasks = [entry.task for entry in entries if entry.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=grace_seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=grace_seconds)

    async def _run(self, entry: InFlight, run: Runner) -> None:
        context = entry.context
        execution = context.execution
        try:
            outcome = await self._outcome(context, run)
            ended = await self._report(execution, outcome, context.close_output())
        except BaseException as error:  # noqa: BLE001  whoever waits must hear of it
            context.close_output()
            entry.ended.settle(None, error if isinstance(error, Exception) else RunyardError(str(error)))
            _log.error("executions.end_not_recorded", execution_id=execution.id, error=repr(error))
        else:
            entry.ended.settle(ended)
        finally:
            del self.in_flight[execution.id]
            self._slot_free.set()

    async def _outcome(self, context: RunContext, run: Runner) -> Outcome:
        try:
            outcome = await run(context)
        except asyncio.CancelledError:
            return Outcome(
                status=Status.ABANDONED, reason="the server stopped before it ended", ended_by="server"
            )
        except RunyardError as error:
            return self._failed(context, error.message)
        except Exception as error:  # noqa: BLE001  a fault of the runner is an end of its execution
            _log.exception("executions.runner_failed", execution_id=context.execution.id)
            return self._failed(context, f"internal error: {type(error).__name__}")
        if outcome.status not in TERMINAL:
            return self._failed(context, f"the runner ended with the status {outcome.status.value}")
        return context.masked(outcome)

    def _failed(self, context: RunContext, reason: str) -> Outcome:
        reason = context.mask(reason)
        context.output.write(Stream.SYSTEM, f"{reason}\n".encode())
        return Outcome(status=Status.FAILED, reason=reason, ended_by="server")
