"""The line of runs before each workspace. Owns when a run begins and what follows its end; runs no command itself.

The invariant is the database's: one run holds a workspace (`uq_runs_holds`). Whoever ends a run, makes one or unlocks
a workspace calls `advance`; the same is done for all workspaces now and then, so that a call which was lost with a
killed server costs seconds and nothing else.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from runyard.database.engine import Database, Transaction
from runyard.database.errors import UniqueViolation
from runyard.executions.dispatch.port import NewAssignment
from runyard.executions.errors import ExecutionEnded, ExecutionNotFound, ServerStopping
from runyard.executions.model import ALREADY_ENDED, Execution, Status
from runyard.executions.service import ExecutionService
from runyard.identity.model import Principal
from runyard.infrastructure.runs import store
from runyard.infrastructure.runs.changes import (
    NOT_READY,
    Approve,
    Begin,
    Cancelled,
    Discard,
    Hold,
    Lost,
    RunCommand,
    decide,
)
from runyard.infrastructure.runs.entries import APPLY_RUNNER, PLAN_RUNNER, apply_execution, change
from runyard.infrastructure.runs.model import Run, RunKind, RunStatus, Trigger
from runyard.infrastructure.workspaces.errors import WorkspaceNotFound
from runyard.infrastructure.workspaces.model import Workspace
from runyard.infrastructure.workspaces.service import WorkspaceService, locked_row
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import FailedPrecondition, RunyardError
from runyard.kernel.ids import AccountId, ExecutionId, RunId, WorkspaceId
from runyard.kernel.transitions import Changed, Refused, transition

ACTOR: Final = "runyard"
_SCAN_SECONDS: Final = 2.0
_BATCH: Final = 200
_SILENCE: Final = timedelta(hours=24)
"""After that a pipeline that reported a beginning will not report an end."""
_SILENT: Final = "the pipeline reported nothing for a day"
_AT_WORK: Final = frozenset({RunStatus.PENDING, RunStatus.PLANNING, RunStatus.APPLYING})
_DONE: Final = frozenset({RunStatus.APPLY_SUCCESS, RunStatus.APPLY_NO_CHANGES, RunStatus.PLAN_NO_CHANGES})
_TAKEN: Final = Refused(
    "another run of the workspace is not over yet; apply this plan again after it", NOT_READY
)
_log = structlog.get_logger(__name__)

Consent = Callable[[Transaction], Awaitable[None]]
"""Notes that somebody accepts the violations of a run, or refuses that by an error."""
StateHolder = Callable[[Workspace], Awaitable[str | None]]
"""Tells who holds the lock of a workspace's state: a person with the tool in a terminal, for example."""
Settler = Callable[[Run], Awaitable[None]]
"""Clears away what a run left behind; idempotent."""


class RunLine:
    """Begins runs in order and follows their ends."""

    def __init__(
        self,
        database: Database,
        executions: ExecutionService,
        workspaces: WorkspaceService,
        at_once: int,
        now: Now = utc_now,
    ) -> None:
        """At most `at_once` plans and applies run at one time on this server."""
        self._database = database
        self._executions = executions
        self._workspaces = workspaces
        self._at_once = at_once
        self._now = now
        self._watch: asyncio.Task[None] | None = None
        self.state_holder: StateHolder = _nobody
        """Asked before a run begins."""
        self.settlers: list[Settler] = []
        """Called with each run that is over, before the next one of its workspace begins."""

    # --- life of the server ---

    async def start(self) -> None:
        """Bring runs to order that a stopped or killed server left behind; then watch."""
        await self.scan()
        self._watch = asyncio.get_running_loop().create_task(self._watch_forever())

    async def stop(self) -> None:
        """End the watch."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch

    async def _watch_forever(self) -> None:
        while True:
            await asyncio.sleep(_SCAN_SECONDS)
            try:
                await self.scan()
            except ServerStopping:
                return
            except RunyardError as error:
                _log.warning("infrastructure.scan_failed", error=error.message)
            except Exception:  # noqa: BLE001  one bad row must not end the watch for all others
                _log.exception("infrastructure.scan_failed")

    async def scan(self) -> None:
        """Look at every run that is not over, or not cleared away, and do what is due."""
        async with self._database.read() as tx:
            expired = await store.expired(tx, self._now())
            running = await store.unended(tx)
            left = await store.unsettled(tx)
        for run in left:
            await _alone(self.settle(run), run.id)
        for run_id in expired:
            await _alone(self._expire(run_id), run_id)
        await _alone(self._find_lost(running), "lost runs")
        for run in running:
            if run.waits and run.auto_apply and run.status is RunStatus.PLAN_SUCCESS:
                await _alone(self.begin_apply(run, actor=run.actor), run.id)
        held = {run.workspace_id for run in running if run.held}
        waiting = {run.workspace_id for run in running if run.status is RunStatus.PENDING}
        for workspace_id in waiting - held:
            await _alone(self.advance(workspace_id), workspace_id)

    async def _expire(self, run_id: RunId) -> None:
        decision = await self._change(run_id, Discard("nobody decided in time"), ACTOR)
        if isinstance(decision, Changed):
            await self.settle(decision.value)

    async def _find_lost(self, running: Sequence[Run]) -> None:
        """End runs whose execution has ended without a word to them: its worker died with a server, or somebody
        ended the execution itself through another door.
        """
        at_work = [run for run in running if run.status in _AT_WORK or run.apply_task_id is not None]
        found = await self._tasks_of(at_work)
        for run in at_work:
            execution = found.get(run.current_task_id)
            if run.trigger is Trigger.EXTERNAL:
                # Its reports come one after the other: between two of them an execution may have ended for a while.
                if run.updated_at < self._now() - _SILENCE:
                    await _alone(self._end_run(run, Lost(_SILENT, run.status)), run.id)
            elif execution is not None and execution.ended:
                await _alone(self._end_lost(run, execution), run.id)

    async def _end_lost(self, run: Run, execution: Execution) -> None:
        command: RunCommand = Lost(_lost_reason(run, execution), run.status)
        if execution.started_at is None and execution.status is Status.CANCELED:
            command = Cancelled(execution.status_reason or "its execution was cancelled")
        await self._end_run(run, command)

    async def _end_run(self, run: Run, command: RunCommand) -> None:
        decision = await self._change(run.id, command, ACTOR)
        if isinstance(decision, Changed):
            _log.warning("infrastructure.run_lost", run_id=run.id, status=decision.value.status.value)
            await self.settle(decision.value)

    async def _tasks_of(self, runs: Sequence[Run]) -> Mapping[str, Execution]:
        """Read the executions that runs are at: a few statements, however many wait."""
        found: dict[str, Execution] = {}
        tenants = {
            run.account_id: _Whole(run.account_id, f"/{run.project_path.split('/')[1]}/") for run in runs
        }
        for account_id, tenant in tenants.items():
            wanted = [run.current_task_id for run in runs if run.account_id == account_id]
            for start in range(0, len(wanted), _BATCH):
                part = await self._executions.several(tenant, wanted[start : start + _BATCH])
                found |= {str(one.id): one for one in part}
        return found

    # --- beginning ---

    async def advance(self, workspace_id: WorkspaceId) -> None:
        """Let the next run of a workspace begin, unless a run or a lock holds it."""
        while True:
            async with self._database.read() as tx:
                run = await store.oldest_pending(tx, workspace_id)
                if run is None or await store.holder(tx, workspace_id) is not None:
                    return
            holder = await self.state_holder(await self._workspaces.by_id(workspace_id))
            if holder is not None:
                await self._hold(run, f"the state is locked by {holder}")
                return
            if not await self._begin(run):
                return

    async def _hold(self, run: Run, reason: str) -> None:
        """Say why a run does not begin; the next scan looks again."""
        if run.reason != reason:
            await self._change(run.id, Hold(reason), ACTOR)

    async def _begin(self, run: Run) -> bool:
        """Begin a run; return whether another one may be tried, because this one was over already."""

        async def beside(tx: Transaction, execution: Execution) -> None:  # noqa: ARG001
            workspace = await locked_row(tx, run.workspace_id)
            if workspace.lock is not None:
                raise _NotNow
            decision = await self.decided(tx, run.id, Begin(), ACTOR)
            if isinstance(decision, Refused):
                raise _NotNow

        assignment = self._assignment(PLAN_RUNNER, run)
        try:
            released = await self._executions.release(
                run.plan_task_id, assignment, actor=ACTOR, beside=beside
            )
        except (UniqueViolation, _NotNow, ExecutionNotFound, WorkspaceNotFound):
            return False
        if isinstance(released, Changed) or released.code != ALREADY_ENDED:
            return False  # it begins, or somebody else has begun it in the same moment
        decision = await self._change(run.id, Cancelled("its execution was cancelled"), ACTOR)
        if isinstance(decision, Changed):
            await self.settle(decision.value, advance=False)
        return True

    async def begin_apply(
        self, run: Run, *, actor: str, consent: Consent | None = None
    ) -> Changed[Run] | Refused:
        """Let a run that waits go on to its apply, once: of two who approve at once the second is refused. `consent` is
        asked in the same transaction when guardrails stopped it, and may refuse by an error.
        """
        task_id = ExecutionId.new()
        made: list[Changed[Run]] = []

        async def beside(tx: Transaction, execution: Execution) -> None:  # noqa: ARG001
            try:
                decision = await self.decided(tx, run.id, Approve(task_id), actor)
            except UniqueViolation:  # a saved plan, and another run holds the workspace
                raise _RefusedApproval(_TAKEN) from None
            if isinstance(decision, Refused):
                raise _RefusedApproval(decision)
            if decision.value.status is RunStatus.ACKNOWLEDGED and consent is not None:
                await consent(tx)
            made.append(decision)

        assignment = self._assignment(APPLY_RUNNER, run)
        try:
            await self._executions.submit(apply_execution(run, task_id, actor), assignment, beside=beside)
        except _RefusedApproval as error:
            return error.refused
        return made[0]

    async def allow(self, run: Run, *, actor: str, consent: Consent) -> Changed[Run] | Refused:
        """Let a run go on that a pipeline elsewhere executes: nothing is handed to a worker here."""
        async with self._database.transaction() as tx:
            decision = await self.decided(tx, run.id, Approve(ExecutionId.new()), actor)
            if isinstance(decision, Changed) and decision.value.status is RunStatus.ACKNOWLEDGED:
                await consent(tx)
            return decision

    def _assignment(self, runner: str, run: Run) -> NewAssignment:
        return NewAssignment(
            runner=runner, document={"run_id": str(run.id)}, key="infrastructure", key_limit=self._at_once
        )

    # --- ending ---

    async def end_waiting(self, run: Run, command: Discard, *, actor: str) -> Changed[Run] | Refused:
        """Give up a run that waits for a person or in line."""
        decision = await self._change(run.id, command, actor)
        if isinstance(decision, Changed):
            await self._drop_plan(decision.value, command.reason, actor)
            await self.settle(decision.value)
        return decision

    async def _drop_plan(self, run: Run, reason: str, actor: str) -> None:
        """End the execution of a plan that never began."""
        if run.planned_at is None:
            with suppress(ExecutionEnded, ExecutionNotFound):
                await self._executions.cancel(run, run.plan_task_id, actor=actor, reason=reason)

    async def cancel(self, run: Run, caller: Principal) -> Run:
        """Stop a run: at once when nothing runs, else by word to its worker, which ends the run itself."""
        reason = f"cancelled by {caller.actor}"
        try:
            execution = await self._executions.cancel(
                caller.scope, run.current_task_id, actor=caller.actor, reason=reason
            )
            at_work = not execution.ended
        except ExecutionEnded:
            at_work = not run.waits
        if not at_work:
            decision = await self._change(run.id, Cancelled(reason), caller.actor)
            if isinstance(decision, Changed):
                await self.settle(decision.value)
        async with self._database.read() as tx:
            return await store.by_id(tx, run.id) or run

    async def settle(self, run: Run, *, advance: bool = True) -> None:
        """Clear away what a run that is over left behind, do what was to follow it, and let the next one begin."""
        for settler in self.settlers:
            try:
                await settler(run)
            except (RunyardError, OSError) as error:
                # Tried again by the next scan; the next run may begin all the same.
                _log.warning("infrastructure.not_settled", run_id=run.id, error=str(error))
                break
        else:
            if run.then_delete and run.kind is RunKind.DESTROY and run.status in _DONE:
                # The run is not noted as settled: it goes with the workspace, or the next scan comes back to it.
                await self._remove_workspace(run)
                return
            async with self._database.transaction() as tx:
                await store.settle(tx, run.id)
        if advance:
            await self.advance(run.workspace_id)

    async def _remove_workspace(self, run: Run) -> None:
        """Delete the workspace whose resources a run destroyed, with what was asked for meanwhile: its executions would
        wait for ever without their runs. A run that is at work there by now is let be.
        """
        async with self._database.read() as tx:
            others = await store.unended(tx, run.workspace_id)
        if any(other.status is not RunStatus.PENDING and not other.waits for other in others):
            return
        for other in others:
            command = Discard("the workspace is deleted")
            if isinstance(await self._change(other.id, command, run.actor), Changed):
                await self._drop_plan(other, command.reason, run.actor)
        await self._workspaces.remove(run.workspace_id, actor=run.actor)

    # --- inside ---

    async def _change(self, run_id: RunId, command: RunCommand, actor: str) -> Changed[Run] | Refused:
        return await change(self._database, self._now, run_id, command, actor=actor)

    async def decided(
        self, tx: Transaction, run_id: RunId, command: RunCommand, actor: str
    ) -> Changed[Run] | Refused:
        """Apply a command within somebody's transaction."""
        moment = self._now()
        return await transition(
            tx,
            store.RunRows(),
            run_id,
            command,
            lambda before, what: decide(before, what, actor=actor, now=moment),
        )


async def _alone(work: Awaitable[object], subject_id: str) -> None:
    """Await a step of a scan: what is wrong with one run or workspace must not keep all others waiting."""
    try:
        await work
    except ServerStopping:
        raise
    except Exception:  # noqa: BLE001  looked at again by the next scan
        _log.exception("infrastructure.scan_failed", subject_id=subject_id)


async def _nobody(workspace: Workspace) -> str | None:  # noqa: ARG001
    """Stand where there are no states."""
    return None


@dataclass(frozen=True, slots=True)
class _Whole:
    """The whole of an account, as the ledger wants to know it."""

    account_id: AccountId
    project_path: str


class _NotNow(FailedPrecondition):
    """The run cannot begin now."""

    code = "not_now"


class _RefusedApproval(FailedPrecondition):
    """The run does not wait for this."""

    code = "refused_approval"

    def __init__(self, refused: Refused) -> None:
        """Carry the refusal out of the transaction that it undoes."""
        super().__init__(refused.reason)
        self.refused = refused


def _lost_reason(run: Run, execution: Execution) -> str:
    why = execution.status_reason or execution.status.value
    if run.apply_task_id is None:
        return f"the plan ended without a result: {why}"
    return (
        f"the apply ended without a result: {why}; what it did is in the state as far as it was written. It is not "
        "repeated by itself: plan again"
    )
