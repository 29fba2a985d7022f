"""Runs in the ledger and in their rows. Owns the executions that stand for tasks, and the one way to change a run."""

from typing import Final

import msgspec

from runyard.database.engine import Database
from runyard.executions.model import Kind, NewExecution, Place
from runyard.infrastructure.runs import store
from runyard.infrastructure.runs.changes import RunCommand, decide
from runyard.infrastructure.runs.errors import RunNotFound
from runyard.infrastructure.runs.model import Run, RunKind
from runyard.kernel.clock import Now
from runyard.kernel.errors import NotFound
from runyard.kernel.ids import ExecutionId, RunId
from runyard.kernel.transitions import Changed, Refused, transition

PLAN_RUNNER: Final = "infrastructure.plan"
APPLY_RUNNER: Final = "infrastructure.apply"


async def change(
    database: Database, now: Now, run_id: RunId, command: RunCommand, *, actor: str
) -> Changed[Run] | Refused:
    """Apply a command in a transaction of its own. Raises RunNotFound."""
    moment = now()
    try:
        async with database.transaction() as tx:
            return await transition(
                tx,
                store.RunRows(),
                run_id,
                command,
                lambda before, what: decide(before, what, actor=actor, now=moment),
            )
    except NotFound as error:
        raise RunNotFound(run_id) from error


def seal_context(run_id: RunId) -> bytes:
    """Return what the sealed parts of a run are bound to."""
    return f"infrastructure-run:{run_id}".encode()


def plan_execution(run: Run) -> NewExecution:
    """Return the execution of a run's plan."""
    verb = "plan -destroy" if run.kind is RunKind.DESTROY else "plan"
    return _execution(run, Kind.PLAN, run.plan_task_id, " ".join((run.iac_type, verb, *run.arguments)))


def apply_execution(run: Run, task_id: ExecutionId, actor: str) -> NewExecution:
    """Return the execution of a run's apply."""
    kind = Kind.DESTROY if run.kind is RunKind.DESTROY else Kind.APPLY
    made = _execution(run, kind, task_id, f"{run.iac_type} apply")
    return msgspec.structs.replace(made, actor=actor, parent_id=run.plan_task_id, root_id=run.plan_task_id)


def _execution(run: Run, kind: Kind, task_id: ExecutionId, command: str) -> NewExecution:
    return NewExecution(
        id=task_id,
        account_id=run.account_id,
        project_id=run.project_id,
        project_path=run.project_path,
        kind=kind,
        name=f"{kind.value} {run.workspace_name}",
        actor=run.actor,
        door=run.door,
        place=Place("workspace", run.workspace_id, run.workspace_name),
        command=command,
        parameters={"run_id": str(run.id), "trigger": run.trigger.value, "branch": run.origin.branch},
    )
