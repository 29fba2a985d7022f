"""Recovery at start. Owns what becomes of executions that a stopped or killed server left behind.

Held ones end `abandoned` and are never run again; those that had not begun are offered again from their
assignment; those whose coroutine lived only in the old process are abandoned with that reason.
"""

from datetime import datetime

import msgspec

from runyard.database.engine import Database, Transaction
from runyard.executions import store
from runyard.executions.dispatch.port import Assignment
from runyard.executions.model import (
    BEFORE_START,
    Abandon,
    Command,
    Execution,
    OutputTotals,
    Schedule,
    Status,
    apply,
)
from runyard.executions.output.log import OutputLog
from runyard.kernel.clock import Now
from runyard.kernel.transitions import transition

_BATCH = 500

LOST_RUNNING = "the server stopped while it ran; how it ended is not known"
LOST_CANCELING = "the server stopped while it was being canceled; how it ended is not known"
LOST_QUEUED = "the server stopped before it began"


class RecoveryReport(msgspec.Struct):
    """What was found."""

    abandoned: int = 0
    offers: list[tuple[Assignment, datetime | None]] = []
    """What is to be offered again, with the time before which it must not begin."""


async def recover(database: Database, output: OutputLog, worker: str, now: Now) -> RecoveryReport:
    """Go through all executions that have not ended, in batches."""
    report = RecoveryReport()
    position = 0
    while True:
        async with database.transaction() as tx:
            batch = await store.live(tx, position, _BATCH)
            for _, execution in batch:
                await _recover_one(tx, execution, output, worker, now, report)
        if len(batch) < _BATCH:
            return report
        position = batch[-1][0]


async def _recover_one(
    tx: Transaction, execution: Execution, output: OutputLog, worker: str, now: Now, report: RecoveryReport
) -> None:
    if execution.status in BEFORE_START:
        found = await store.assignment_of(tx, execution.id, execution.attempt)
        if found is None:
            await _abandon(tx, execution, LOST_QUEUED, output, now)
            report.abandoned += 1
            return
        assignment, not_before = found
        if execution.status is not Status.SCHEDULED and (not_before is None or not_before <= now()):
            await _apply(tx, execution, Schedule(), now)
            not_before = None
        report.offers.append((assignment, None if execution.status is Status.SCHEDULED else not_before))
    elif execution.status is not Status.WAITING and execution.worker == worker:
        reason = LOST_CANCELING if execution.status is Status.CANCELING else LOST_RUNNING
        await _abandon(tx, execution, reason, output, now)
        report.abandoned += 1


async def _abandon(tx: Transaction, execution: Execution, reason: str, output: OutputLog, now: Now) -> None:
    ref, size = output.recover(execution.id)
    await _apply(tx, execution, Abandon(reason, OutputTotals(size, False, ref)), now)
    await store.remove_assignments(tx, execution.id)


async def _apply(tx: Transaction, execution: Execution, command: Command, now: Now) -> None:
    moment = now()
    await transition(
        tx,
        store.ExecutionRows(),
        execution.id,
        command,
        lambda before, decided: apply(before, decided, actor="server", now=moment),
    )
