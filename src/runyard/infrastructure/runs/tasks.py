"""Tasks as dialects show them: the plan or the apply of a run. Owns the view; a task has no state of its own."""

import enum
from datetime import datetime

import msgspec

from runyard.infrastructure.runs.model import Run, RunKind, RunStatus, Step
from runyard.kernel.ids import ExecutionId, WorkspaceId


class TaskStatus(enum.StrEnum):
    """Where a task is; the words are published."""

    QUEUED = "queued"
    RUNNING = "running"
    READY_FOR_APPLY = "ready_for_apply"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    FAILED = "failed"
    DISCARDED = "discarded"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class TaskType(enum.StrEnum):
    """What a task does."""

    PLAN = "plan"
    APPLY = "apply"
    DESTROY = "destroy"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """The plan or the apply of a run."""

    id: ExecutionId
    run: Run
    workspace_id: WorkspaceId
    type: TaskType
    status: TaskStatus
    step: Step
    arguments: str
    created_at: datetime
    updated_at: datetime


_ENDS = {
    RunStatus.INIT_ERROR: TaskStatus.FAILED,
    RunStatus.PLAN_ERROR: TaskStatus.FAILED,
    RunStatus.APPLY_ERROR: TaskStatus.FAILED,
    RunStatus.DISCARDED: TaskStatus.DISCARDED,
    RunStatus.CANCELLED: TaskStatus.CANCELLED,
    RunStatus.BLOCKED: TaskStatus.BLOCKED,
}


def plan_task(run: Run) -> Task:
    """Return the plan of a run; that of a destruction is of the type `destroy`."""
    kind = TaskType.DESTROY if run.kind is RunKind.DESTROY else TaskType.PLAN
    return _task(run, run.plan_task_id, kind, _plan_status(run))


def apply_task(run: Run) -> Task | None:
    """Return the apply of a run, None before it was let go."""
    if run.apply_task_id is None:
        return None
    kind = TaskType.DESTROY if run.kind is RunKind.DESTROY else TaskType.APPLY
    status = TaskStatus.RUNNING if run.status is RunStatus.APPLYING else TaskStatus.QUEUED
    return _task(run, run.apply_task_id, kind, _ended(run) if run.ended else status)


def task_of(run: Run, task_id: str) -> Task:
    """Return the task of a run with an id; the plan for any other."""
    found = apply_task(run)
    return found if found is not None and found.id == task_id else plan_task(run)


def _plan_status(run: Run) -> TaskStatus:
    if run.apply_task_id is not None:
        return TaskStatus.COMPLETED
    if run.status is RunStatus.BLOCKED:
        return TaskStatus.BLOCKED
    if run.ended:
        return _ended(run)
    if run.status is RunStatus.PENDING:
        return TaskStatus.QUEUED
    return TaskStatus.READY_FOR_APPLY if run.waits else TaskStatus.RUNNING


def _ended(run: Run) -> TaskStatus:
    if run.timed_out:
        return TaskStatus.TIMED_OUT
    return _ENDS.get(run.status, TaskStatus.COMPLETED)


def _task(run: Run, task_id: ExecutionId, kind: TaskType, status: TaskStatus) -> Task:
    past = task_id == run.plan_task_id and run.apply_task_id is not None
    return Task(
        id=task_id,
        run=run,
        workspace_id=run.workspace_id,
        type=kind,
        status=status,
        step=Step.DONE if past else run.step,
        arguments=" ".join(run.arguments),
        created_at=run.created_at,
        updated_at=run.updated_at,
    )
