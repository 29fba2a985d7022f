"""Runs that a pipeline elsewhere executes and reports: a plan, its judgement, an apply. Owns their order.

The same guardrails judge them as the runs of this server, and their tasks are executions of the ledger with the logs
that were reported. They hold nothing: how many pipelines run at once is their owner's matter.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec

from runyard.database.engine import Database, Transaction
from runyard.database.errors import UniqueViolation
from runyard.executions.errors import ExecutionEnded
from runyard.executions.model import (
    Execution,
    Finish,
    Outcome,
    OutputTotals,
    Schedule,
    Start,
    Status,
)
from runyard.executions.output.model import Stream
from runyard.executions.output.writer import OutputWriter
from runyard.identity.model import Permission, Principal
from runyard.infrastructure.runs import store
from runyard.infrastructure.runs.changes import (
    Applied,
    Applying,
    Approve,
    Fail,
    Planned,
    RunCommand,
    event_of,
)
from runyard.infrastructure.runs.entries import apply_execution, plan_execution
from runyard.infrastructure.runs.errors import NotExternal, RunNotReady
from runyard.infrastructure.runs.model import Block, NewRun, Run, RunKind, RunStatus, Step, Trigger
from runyard.infrastructure.runs.ports import Judge, Plans
from runyard.infrastructure.runs.service import RunService, raised
from runyard.kernel.errors import RunyardError
from runyard.kernel.ids import ExecutionId

WORKER: Final = "pipeline"
_GOOD: Final = frozenset(
    {
        RunStatus.PLAN_SUCCESS,
        RunStatus.PLAN_NO_CHANGES,
        RunStatus.APPLY_SUCCESS,
        RunStatus.APPLY_NO_CHANGES,
    }
)


class NewReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a pipeline says when it begins."""

    run: NewRun
    iac_version: str = ""


class ExternalService:
    """Takes the reports of pipelines."""

    def __init__(
        self, database: Database, runs: RunService, plans: Plans, judge: Judge, window: timedelta
    ) -> None:
        """Take the parts; after `window` a plan whose apply was not reported is given up."""
        self._database = database
        self._runs = runs
        self._executions = runs.executions
        self._plans = plans
        self._judge = judge
        self._window = window
        self._writers: dict[ExecutionId, OutputWriter] = {}
        runs.line.settlers.append(self.settle)

    async def begin(self, caller: Principal, reference: str, report: NewReport) -> Run:
        """Add a run that a pipeline plans now. Raises WorkspaceNotFound, NotExternal (its runs are executed here)."""
        caller.require(Permission.WORKSPACES_RUN)
        workspace = await self._runs.workspaces.look_up(caller.scope, reference)
        if workspace.managed:
            raise NotExternal
        new = msgspec.structs.replace(
            report.run, trigger=Trigger.EXTERNAL, auto_apply=False, then_delete=False
        )
        run = msgspec.structs.replace(
            self._runs.made(caller, workspace, new),
            status=RunStatus.PLANNING,
            step=Step.PLAN,
            reason=None,
            iac_version=report.iac_version or workspace.iac_version,
        )

        async def beside(tx: Transaction, execution: Execution) -> None:  # noqa: ARG001
            await store.add(tx, run)
            await store.note_on_workspace(tx, run, new=True)
            await tx.record(event_of(run, caller.actor, run.created_at))

        await self._executions.record(plan_execution(run), (Schedule(), Start(WORKER)), beside=beside)
        return run

    async def log(self, caller: Principal, reference: str, data: AsyncIterator[bytes]) -> Run:
        """Keep what the current task of a run printed, in one part or several, before its end is reported."""
        run = await self._open(caller, reference)
        task_id, output = run.current_task_id, self._executions.output
        writer = self._writers.get(task_id)
        if writer is None:
            read = await output.read(task_id, limit=1)
            writer = self._writers.get(task_id)
        if writer is None:
            if read:
                raise RunNotReady("the log of this task was reported already")
            writer = self._writers[task_id] = output.writer(task_id)
        async for piece in data:
            writer.write(Stream.STDOUT, piece)
        # To the disk: the server may be killed before the next report.
        writer.flush()
        return run

    async def plan(self, caller: Principal, reference: str, show_json: Path) -> Run:
        """Take the `show -json` of the plan and judge it; the run says whether the pipeline may apply. Raises
        RunNotReady (no plan is expected), InvalidArgument (it is no plan: report it again, or report a failure).
        """
        run = await self._open(caller, reference)
        if run.status is not RunStatus.PLANNING:
            raise RunNotReady(f"the run is {run.status.value} and expects no plan")
        workspace = await self._runs.workspaces.by_id(run.workspace_id)
        summary = await self._plans.ingest(workspace, run, show_json)
        verdict = await self._judge.judge(workspace, run, show_json)
        command = Planned(
            has_changes=summary.has_changes,
            counts=summary.counts,
            block=verdict.block,
            violations=verdict.violations,
            window=self._window,
        )
        after = await self._changed(run, command, caller)
        if not after.ended:
            await self._finish(run.plan_task_id, Outcome(status=Status.SUCCEEDED))
        return after

    async def begin_apply(self, caller: Principal, reference: str) -> Run:
        """Note that the pipeline applies now. Raises RunNotReady: a guardrail that is not acknowledged stops it, or it is
        not planned.
        """
        run = await self._open(caller, reference)
        if run.block is not Block.NONE and run.status is not RunStatus.ACKNOWLEDGED:
            raise RunNotReady("a guardrail is violated and not acknowledged")
        if run.apply_task_id is None and not run.waits:
            raise RunNotReady(f"the run is {run.status.value} and has no plan to apply")
        task_id, line, after = run.apply_task_id or ExecutionId.new(), self._runs.line, list[Run]()

        async def beside(tx: Transaction, execution: Execution) -> None:  # noqa: ARG001
            # In one transaction: a run that applies has an execution, whenever the server is killed.
            if run.waits:
                raised(await line.decided(tx, run.id, Approve(task_id), caller.actor))
            after.append(raised(await line.decided(tx, run.id, Applying(), caller.actor)))

        new = apply_execution(run, task_id, caller.actor)
        try:
            await self._executions.record(new, (Schedule(), Start(WORKER)), beside=beside)
        except UniqueViolation:
            raise RunNotReady("the run applies already") from None
        return after[0]

    async def applied(self, caller: Principal, reference: str, lines: Sequence[bytes] = ()) -> Run:
        """Note that the apply is done. Raises RunNotReady."""
        run = await self._open(caller, reference)
        after = await self._changed(run, Applied(changed=bool(run.has_changes)), caller)
        if lines:
            await self._plans.mark_applied(run, lines)
        return after

    async def failed(self, caller: Principal, reference: str, reason: str) -> Run:
        """Note that what the pipeline did failed."""
        run = await self._open(caller, reference)
        if run.waits:
            raise RunNotReady(f"the run is {run.status.value}; discard it instead")
        return await self._changed(run, Fail(reason[:2000] or "the pipeline failed"), caller)

    async def settle(self, run: Run) -> None:
        """End the execution and the log of a run that is over, however it ended: a pipeline may report no more."""
        if run.trigger is not Trigger.EXTERNAL:
            return
        found = await self._executions.several(run, [run.current_task_id])
        if found and not found[0].ended:
            await self._finish(run.current_task_id, _outcome(run))

    async def _open(self, caller: Principal, reference: str) -> Run:
        caller.require(Permission.WORKSPACES_RUN)
        run = await self._runs.get(caller.scope, reference)
        if run.trigger is not Trigger.EXTERNAL:
            raise NotExternal("the run is executed by this server")
        if run.ended:
            raise RunNotReady(f"the run is over ({run.status.value})")
        return run

    async def _changed(self, run: Run, command: RunCommand, caller: Principal) -> Run:
        after = raised(await self._runs.change(run.id, command, actor=caller.actor))
        if after.ended:
            await self._runs.line.settle(after)
        return after

    async def _finish(self, task_id: ExecutionId, outcome: Outcome) -> None:
        writer = self._writers.pop(task_id, None)
        if writer is not None:
            summary = writer.close()
            totals = OutputTotals(summary.total_bytes, summary.truncated, summary.ref)
        else:
            ref, size = self._executions.output.recover(task_id)
            totals = OutputTotals(size, False, ref)
        with suppress(ExecutionEnded, RunyardError):
            await self._executions.command(task_id, Finish(outcome, 1, totals), actor=WORKER)


def _outcome(run: Run) -> Outcome:
    """Return how the last execution of a run ended."""
    if run.status in _GOOD:
        return Outcome(status=Status.SUCCEEDED)
    given_up = run.status in (RunStatus.CANCELLED, RunStatus.DISCARDED)
    return Outcome(status=Status.CANCELED if given_up else Status.FAILED, reason=run.reason)


def kind_of(applies: bool) -> RunKind:
    """Return the kind of a run that a pipeline reports."""
    return RunKind.APPLY if applies else RunKind.PLAN
