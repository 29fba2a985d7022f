"""Commands of runs and the pure transition. Owns which command a run takes where; no I/O and no clock.

`decide` gets the time and the actor. Refusals are values. A run that ended takes no command: whoever is late, be it
a worker whose hold was lost or a person at an old page, hears so.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from runyard.infrastructure.runs.model import Block, Origin, Run, RunKind, RunStatus, Step
from runyard.kernel.events import Event
from runyard.kernel.ids import ExecutionId
from runyard.kernel.transitions import Changed, Refused

KEPT_VIOLATIONS: Final = 200
OVER, NOT_READY, BLOCKED, WRONG_TASK = "run_over", "run_not_ready", "run_blocked", "wrong_task"


class Begin(msgspec.Struct, frozen=True):
    """It holds its workspace now and its plan goes to a worker."""


class Hold(msgspec.Struct, frozen=True):
    """It cannot begin yet, and why."""

    reason: str


class Advance(msgspec.Struct, frozen=True):
    """Its worker is at another step of the same status."""

    step: Step


class CheckedOut(msgspec.Struct, frozen=True):
    """The code is here, and with it the commit's id; the version is the tool's own. Its initialization begins."""

    origin: Origin
    title: str
    iac_version: str


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """The plan was made, read and judged."""

    has_changes: bool
    counts: Mapping[str, int] = {}
    block: Block = Block.NONE
    violations: Sequence[Mapping[str, Any]] = ()
    window: timedelta
    """How long it waits for a person."""


class Fail(msgspec.Struct, frozen=True):
    """What its worker does went wrong; the status says in which part."""

    reason: str
    timed_out: bool = False


class Approve(msgspec.Struct, frozen=True):
    """Apply it: what waited is let go, by a person or by the rule of the workspace. An acknowledgement, when
    guardrails stopped it.
    """

    apply_task_id: ExecutionId


class Applying(msgspec.Struct, frozen=True):
    """A worker begins the apply."""


class Applied(msgspec.Struct, frozen=True):
    """The apply is done."""

    changed: bool


class Discard(msgspec.Struct, frozen=True):
    """Nobody wants what it planned."""

    reason: str


class Cancelled(msgspec.Struct, frozen=True):
    """It was stopped: before its plan began, or by its worker."""

    reason: str


class Lost(msgspec.Struct, frozen=True):
    """Its worker is gone, with the server or otherwise, and cannot tell how it ended."""

    reason: str
    status: RunStatus
    """Where it was seen without a worker; a worker that moved it on meanwhile was not lost."""


RunCommand = (
    Begin
    | Hold
    | Advance
    | CheckedOut
    | Planned
    | Fail
    | Approve
    | Applying
    | Applied
    | Discard
    | Cancelled
    | Lost
)
Decision = Changed[Run] | Refused


def decide(before: Run, command: RunCommand, *, actor: str, now: datetime) -> Decision:
    """Decide a command: the new state with its event, or a refusal."""
    if before.ended:
        return Refused(f"the run is over ({before.status.value})", OVER)
    match command:
        case Begin():
            if before.status is not RunStatus.PENDING:
                return _wrong(before)
            return _to(
                before, now, actor, status=RunStatus.PLANNING, step=Step.CHECKOUT, held=True, reason=None
            )
        case Hold(reason):
            if before.status is not RunStatus.PENDING:
                return _wrong(before)
            return _to(before, now, actor, reason=reason)
        case Advance(step):
            if before.status not in (RunStatus.PLANNING, RunStatus.APPLYING):
                return _wrong(before)
            return _to(before, now, actor, step=step)
        case CheckedOut(origin, title, version):
            if before.status is not RunStatus.PLANNING:
                return _wrong(before)
            facts = {"origin": origin, "title": title, "iac_version": version}
            return _to(before, now, actor, step=Step.INIT, **facts)
        case Planned():
            return _planned(before, command, actor, now)
        case Fail(reason, timed_out):
            return _failed(before, reason, timed_out, actor, now)
        case Approve(task):
            return _approved(before, task, actor, now)
        case Applying():
            if before.apply_task_id is None or before.status is RunStatus.APPLYING:
                return _wrong(before)
            return _to(before, now, actor, status=RunStatus.APPLYING, step=Step.APPLY, apply_started_at=now)
        case Applied(changed):
            if before.status is not RunStatus.APPLYING:
                return _wrong(before)
            status = RunStatus.APPLY_SUCCESS if changed else RunStatus.APPLY_NO_CHANGES
            return _end(before, now, actor, status)
        case Discard(reason):
            if before.status is not RunStatus.PENDING and not before.waits:
                return Refused(f"the run is {before.status.value} and can only be cancelled", NOT_READY)
            return _end(before, now, actor, RunStatus.DISCARDED, reason)
        case Cancelled(reason):
            return _end(before, now, actor, RunStatus.CANCELLED, reason)
        case Lost(reason, status):
            if before.status is not status or before.waits:
                return _wrong(before)
            return _failed(before, reason, False, actor, now)


def _planned(before: Run, command: Planned, actor: str, now: datetime) -> Decision:
    if before.status is not RunStatus.PLANNING:
        return _wrong(before)
    facts: dict[str, Any] = {
        "has_changes": command.has_changes,
        "counts": dict(command.counts),
        "block": command.block,
        "violations": tuple(command.violations[:KEPT_VIOLATIONS]),
        "planned_at": now,
    }
    if command.block is Block.STRICT:
        return _end(before, now, actor, RunStatus.BLOCKED, "a strict guardrail is violated", **facts)
    waiting: dict[str, Any] = {"step": Step.APPROVAL, "expires_at": now + command.window}
    waiting["reason"] = None if before.auto_apply else "it waits for approval"
    waiting["held"] = not before.saved
    if command.block is Block.FLEXIBLE:
        if before.kind is RunKind.PLAN or not command.has_changes:
            return _end(before, now, actor, RunStatus.BLOCKED, "a guardrail is violated", **facts)
        waiting["reason"] = "a guardrail is violated; it waits for acknowledgement"
        return _to(before, now, actor, status=RunStatus.BLOCKED, **facts, **waiting)
    if not command.has_changes:
        return _end(before, now, actor, RunStatus.PLAN_NO_CHANGES, **facts)
    if before.kind is RunKind.PLAN:
        return _end(before, now, actor, RunStatus.PLAN_SUCCESS, **facts)
    return _to(before, now, actor, status=RunStatus.PLAN_SUCCESS, **facts, **waiting)


def _failed(before: Run, reason: str, timed_out: bool, actor: str, now: datetime) -> Decision:
    status = RunStatus.PLAN_ERROR
    if before.apply_task_id is not None:
        status = RunStatus.APPLY_ERROR
    elif before.step in (Step.QUEUED, Step.CHECKOUT, Step.INIT):
        status = RunStatus.INIT_ERROR
    return _end(before, now, actor, status, reason, timed_out=timed_out)


def _approved(before: Run, task: ExecutionId, actor: str, now: datetime) -> Decision:
    if not before.waits:
        return Refused(f"the run is {before.status.value} and waits for nobody", NOT_READY)
    status = RunStatus.ACKNOWLEDGED if before.status is RunStatus.BLOCKED else before.status
    return _to(
        before,
        now,
        actor,
        status=status,
        step=Step.APPLY,
        held=True,
        reason=None,
        apply_task_id=task,
        approved_by=actor,
        expires_at=None,
    )


def _wrong(before: Run) -> Refused:
    return Refused(f"the run is {before.status.value} at {before.step.value}", NOT_READY)


def _end(
    before: Run, now: datetime, actor: str, status: RunStatus, reason: str | None = None, **facts: object
) -> Changed[Run]:
    return _to(
        before,
        now,
        actor,
        status=status,
        step=Step.DONE,
        held=False,
        reason=reason,
        ended_at=now,
        expires_at=None,
        sealed=None,
        **facts,
    )


def _to(before: Run, now: datetime, actor: str, **facts: object) -> Changed[Run]:
    after: Run = msgspec.structs.replace(before, updated_at=now, **facts)
    return Changed(after, event_of(after, actor, now))


def event_of(run: Run, actor: str, now: datetime) -> Event:
    """Return the event that tells where a run is now."""
    return Event(
        account_id=run.account_id,
        subject_kind="run",
        subject_id=run.id,
        type=f"run.{run.status.value.lower()}",
        actor=actor,
        at=now,
        reason=run.reason,
        body={"workspace_id": str(run.workspace_id), "step": run.step.value},
    )
