"""The verbs of runs: ask for one, find it, approve, discard, cancel. Owns who may do so.

Nothing here waits for a worker: a run is a row, its tasks are executions of the ledger, and the line (`line.py`)
moves what can go on.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from runyard.database.engine import Database, Transaction
from runyard.database.errors import UniqueViolation
from runyard.executions.model import Execution, Wait
from runyard.executions.service import ExecutionService
from runyard.identity.model import Permission, Principal, Scope
from runyard.infrastructure.runs import arguments, store
from runyard.infrastructure.runs.changes import OVER, Discard, RunCommand, event_of
from runyard.infrastructure.runs.entries import change, plan_execution, seal_context
from runyard.infrastructure.runs.errors import NotManaged, RunBlocked, RunNotFound, RunNotReady, RunOver
from runyard.infrastructure.runs.line import RunLine
from runyard.infrastructure.runs.model import (
    SORTS,
    Block,
    NewRun,
    Origin,
    Run,
    RunKind,
    RunQuery,
    RunStatus,
    Step,
    Trigger,
    default_title,
)
from runyard.infrastructure.runs.ports import Judge
from runyard.infrastructure.workspaces.errors import WorkspaceBusy
from runyard.infrastructure.workspaces.model import ApplyRule, Workspace
from runyard.infrastructure.workspaces.service import LARGEST_PAGE, WorkspaceService
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.ids import ExecutionId, RecordId, RunId
from runyard.kernel.jsons import encode_json
from runyard.kernel.transitions import Changed, Refused

QUEUED_REASON: Final = "it waits for its workspace"
_LONGEST_TITLE: Final = 512
_PUSHES: Final = frozenset({Trigger.PUSH, Trigger.MERGE, Trigger.PULL_REQUEST})


class RunService:
    """Runs over one database."""

    def __init__(
        self,
        database: Database,
        executions: ExecutionService,
        workspaces: WorkspaceService,
        line: RunLine,
        vault: Vault,
        judge: Judge,
        now: Now = utc_now,
    ) -> None:
        """Take the parts."""
        self._judge = judge
        self._database = database
        self.executions = executions
        self.workspaces = workspaces
        self.line = line
        self._vault = vault
        self._now = now

    # --- asking ---

    async def create(self, caller: Principal, reference: str, new: NewRun) -> Run:
        """Ask for a run of a workspace; it begins as soon as no other run and no lock holds that. With a fixed id that
        exists already the existing run is returned. Raises WorkspaceNotFound, NotManaged, RefusedArguments,
        PermissionDenied.
        """
        caller.require(Permission.WORKSPACES_RUN)
        workspace = await self.workspaces.get(caller.scope, reference)
        if not workspace.managed:
            raise NotManaged
        if new.then_delete:
            caller.require(Permission.WORKSPACES_WRITE)
        if new.kind is not RunKind.PLAN and new.auto_apply:
            caller.require(Permission.WORKSPACES_APPROVE)
        if new.id is not None:
            async with self._database.read() as tx:
                known = await store.get(tx, caller.scope, new.id)
            if known is not None:
                return known
        run = self.made(caller, workspace, new)
        await self._supersede(run)
        try:
            await self._record(run, caller)
        except UniqueViolation:
            # The same request twice at once: the other one made it.
            return await self.get(caller.scope, run.id)
        await self.line.advance(run.workspace_id)
        return await self.get(caller.scope, run.id)

    def made(self, caller: Principal, workspace: Workspace, new: NewRun) -> Run:
        """Return the first state of a run, which is not written. Raises RefusedArguments, InvalidArgument."""
        now, run_id = self._now(), new.id or RunId.new()
        origin = new.origin
        if not origin.branch and origin.archive is None:
            origin = msgspec.structs.replace(origin, branch=workspace.code.branch)
        auto = workspace.apply_rule is ApplyRule.AUTO if new.auto_apply is None else new.auto_apply
        sealed = None
        if new.variables:
            sealed = self._vault.seal(encode_json(dict(new.variables)), seal_context(run_id))
        return Run(
            id=run_id,
            record_id=RecordId.new(),
            account_id=workspace.account_id,
            project_id=workspace.project_id,
            project_path=workspace.project_path,
            workspace_id=workspace.id,
            workspace_name=workspace.name,
            kind=new.kind,
            trigger=new.trigger,
            status=RunStatus.PENDING,
            step=Step.QUEUED,
            reason=QUEUED_REASON,
            title=_title(new)[:_LONGEST_TITLE],
            actor=caller.actor,
            door=new.door,
            origin=_checked_origin(origin),
            runner_type=workspace.runner_type,
            vcs_type=workspace.code.vcs_type,
            repository=workspace.code.repository,
            repository_url=workspace.code.repository_url,
            iac_type=workspace.iac_type.value,
            iac_version=workspace.iac_version,
            auto_apply=auto or new.then_delete,
            arguments=arguments.checked(new.arguments, plan_only=new.kind is RunKind.PLAN),
            then_delete=new.then_delete and new.kind is RunKind.DESTROY,
            saved=new.saved,
            plan_task_id=ExecutionId.new(),
            block=Block.NONE,
            sealed=sealed,
            extras=new.extras,
            created_at=now,
            updated_at=now,
        )

    async def _record(self, run: Run, caller: Principal) -> None:
        """Write the run and the execution of its plan, which waits for the workspace, in one transaction."""

        async def beside(tx: Transaction, execution: Execution) -> None:  # noqa: ARG001
            await store.add(tx, run)
            await store.note_on_workspace(tx, run, new=True)
            await tx.record(event_of(run, caller.actor, run.created_at))

        await self.executions.record(plan_execution(run), (Wait(QUEUED_REASON),), beside=beside)

    async def _supersede(self, run: Run) -> None:
        """Give up what a newer push makes pointless: older pushes to the branch that wait for somebody or in line."""
        if run.trigger not in _PUSHES:
            return
        async with self._database.read() as tx:
            others = await store.unended(tx, run.workspace_id)
        for other in others:
            # A pull request is only planned: it makes no apply pointless, whatever its branch is called elsewhere.
            older = (
                other.trigger in _PUSHES
                and other.origin.branch == run.origin.branch
                and (other.trigger is Trigger.PULL_REQUEST) == (run.trigger is Trigger.PULL_REQUEST)
            )
            if older and (other.waits or other.status is RunStatus.PENDING):
                await self.line.end_waiting(other, Discard("a newer push superseded it"), actor=run.actor)

    # --- finding ---

    async def get(self, scope: Scope, reference: str) -> Run:
        """Return one by its id or its record id. Raises RunNotFound."""
        async with self._database.read() as tx:
            return _found(await store.get(tx, scope, reference), reference)

    async def by_task(self, scope: Scope, task_id: str) -> Run:
        """Return the run whose plan or apply an execution is. Raises RunNotFound."""
        async with self._database.read() as tx:
            return _found(await store.by_task(tx, scope, task_id), task_id)

    async def search(self, scope: Scope, query: RunQuery) -> Sequence[Run]:
        """Return a page. Raises InvalidArgument (limit beyond 1 to 1000, negative offset, unknown order)."""
        if not 1 <= query.limit <= LARGEST_PAGE or query.offset < 0:
            raise InvalidArgument(f"the page size is 1 to {LARGEST_PAGE} and the offset is not negative")
        for name, _ in query.sort:
            if name not in SORTS:
                raise InvalidArgument(f"runs cannot be sorted by {name[:100]!r}")
        async with self._database.read() as tx:
            return await store.search(tx, scope, query)

    async def current(self, workspace: Workspace) -> Run | None:
        """Return the run that holds a workspace, else the one that is next in its line."""
        async with self._database.read() as tx:
            return await store.holder(tx, workspace.id) or await store.oldest_pending(tx, workspace.id)

    async def waits_for(self, workspace: Workspace, trigger: Trigger) -> bool:
        """Tell whether a run of this kind of trigger waits in the line of a workspace."""
        async with self._database.read() as tx:
            others = await store.unended(tx, workspace.id)
        return any(run.trigger is trigger and run.status is RunStatus.PENDING for run in others)

    # --- deciding ---

    async def approve(self, caller: Principal, reference: str) -> Run:
        """Let a run that waits go on to its apply; for one that a flexible guardrail stopped this is the
        acknowledgement. Raises RunNotFound, RunOver, RunNotReady, RunBlocked (strict), PermissionDenied.
        """
        caller.require(Permission.WORKSPACES_APPROVE)
        run = await self.get(caller.scope, reference)
        if run.status is RunStatus.BLOCKED and run.ended and run.block is not Block.NONE:
            raise RunBlocked if run.block is Block.STRICT else RunOver("the run is over (blocked)")
        workspace = await self.workspaces.by_id(run.workspace_id)

        async def consent(tx: Transaction) -> None:
            await self._judge.acknowledge(tx, caller, workspace, run)

        if run.trigger is Trigger.EXTERNAL:
            return raised(await self.line.allow(run, actor=caller.actor, consent=consent))
        return raised(await self.line.begin_apply(run, actor=caller.actor, consent=consent))

    async def discard(self, caller: Principal, reference: str) -> Run:
        """Give up a run that waits for a person or in line. Raises RunNotFound, RunOver, RunNotReady."""
        caller.require(Permission.WORKSPACES_RUN)
        run = await self.get(caller.scope, reference)
        discard = Discard(f"discarded by {caller.actor}")
        return raised(await self.line.end_waiting(run, discard, actor=caller.actor))

    async def cancel(self, caller: Principal, reference: str) -> Run:
        """Stop a run: what runs is interrupted as Ctrl-C does it, so that the tool can write its state. The run may
        still go on for a while. Raises RunNotFound, RunOver.
        """
        caller.require(Permission.WORKSPACES_RUN)
        run = await self.get(caller.scope, reference)
        if run.ended:
            raise RunOver(f"the run is over ({run.status.value})")
        return await self.line.cancel(run, caller)

    async def delete_workspace(
        self, caller: Principal, reference: str, *, destroy: bool = False, description: str = ""
    ) -> Run | None:
        """Delete a workspace; with `destroy` its resources first, by a run that is returned and deletes it at its end.
        Raises WorkspaceNotFound, WorkspaceBusy (a run is at work), PermissionDenied.
        """
        caller.require(Permission.WORKSPACES_WRITE)
        workspace = await self.workspaces.get(caller.scope, reference)
        destroy = destroy and workspace.managed
        if destroy:
            # Before anything is given up for a destruction that would be refused.
            caller.require(Permission.WORKSPACES_RUN)
            caller.require(Permission.WORKSPACES_APPROVE)
        async with self._database.read() as tx:
            others = await store.unended(tx, workspace.id)
        if any(run.status is not RunStatus.PENDING and not run.waits for run in others):
            raise WorkspaceBusy("a run of the workspace is at work; cancel it first")
        for run in reversed(others):
            await self.line.end_waiting(run, Discard("the workspace is deleted"), actor=caller.actor)
        if destroy:
            title = description or f"Destroy {workspace.name} and delete it"
            new = NewRun(kind=RunKind.DESTROY, title=title, auto_apply=True, then_delete=True)
            return await self.create(caller, workspace.id, new)
        await self.workspaces.remove(workspace.id, actor=caller.actor)
        return None

    def variables(self, run: Run) -> Mapping[str, str]:
        """Return the variables of a run alone, opened."""
        if run.sealed is None:
            return {}
        return msgspec.json.decode(self._vault.open(run.sealed, seal_context(run.id)), type=dict[str, str])

    async def change(self, run_id: RunId, command: RunCommand, *, actor: str) -> Changed[Run] | Refused:
        """Apply a command for the server itself. Raises RunNotFound."""
        return await change(self._database, self._now, run_id, command, actor=actor)


def raised(decision: Changed[Run] | Refused) -> Run:
    """Return the run, or raise the refusal as the error that doors know."""
    if isinstance(decision, Changed):
        return decision.value
    raise RunOver(decision.reason) if decision.code == OVER else RunNotReady(decision.reason)


def _found(run: Run | None, reference: str) -> Run:
    if run is None:
        raise RunNotFound(reference)
    return run


def _title(new: NewRun) -> str:
    return new.title or new.origin.commit_title or default_title(new.kind, new.trigger)


def _checked_origin(origin: Origin) -> Origin:
    if len(origin.branch) > 1024 or len(origin.commit) > 64:
        raise InvalidArgument("a branch has at most 1024 characters and a commit at most 64")
    return origin
