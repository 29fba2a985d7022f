"""The execution: one row of the ledger. Owns its states, its commands and the pure transition between them.

No I/O and no clock: `apply` gets the time. A state that ended never changes again.
"""

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msgspec

from runyard.kernel.events import Event
from runyard.kernel.ids import AccountId, ExecutionId, ProjectId
from runyard.kernel.transitions import Changed, Refused


class Kind(enum.StrEnum):
    """What is executed."""

    EXEC = "exec"
    ACTION = "action"
    WORKFLOW = "workflow"
    PLAN = "plan"
    APPLY = "apply"
    DESTROY = "destroy"
    PROVISION = "provision"
    VERIFY = "verify"


class Status(enum.StrEnum):
    """Where an execution is on its way; the five of `TERMINAL` are the end."""

    REQUESTED = "requested"
    DELAYED = "delayed"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    WAITING = "waiting"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELED = "canceled"
    ABANDONED = "abandoned"


TERMINAL: Final = frozenset(
    {Status.SUCCEEDED, Status.FAILED, Status.TIMEOUT, Status.CANCELED, Status.ABANDONED}
)
BEFORE_START: Final = frozenset({Status.REQUESTED, Status.DELAYED, Status.SCHEDULED})
HELD: Final = frozenset({Status.RUNNING, Status.WAITING, Status.CANCELING})
"""A worker began it: when that worker is lost, it is abandoned and never run again."""


class Place(msgspec.Struct, frozen=True):
    """Where it runs."""

    kind: str
    """`runtime`, `environment`, `workspace`, `pool` or `worker`."""
    id: str
    name: str = ""


class NewExecution(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for. `command`, `name` and `parameters` are kept: mask secrets in them first."""

    account_id: AccountId
    project_id: ProjectId
    project_path: str
    kind: Kind
    name: str
    """A short name for people, at most 256 characters are kept."""
    actor: str
    door: str
    """`runta`, `native`, ...: through which API it came."""
    place: Place | None = None
    command: str = ""
    """Display text of the command, secrets masked; at most 8 KiB are kept."""
    parameters: Mapping[str, Any] = {}
    labels: Mapping[str, str] = {}
    parent_id: ExecutionId | None = None
    root_id: ExecutionId | None = None
    """The top of the tree; None with a parent means that the parent is the top."""
    request_id: str | None = None
    id: ExecutionId | None = None
    """A fixed id makes the request idempotent; None makes a fresh one."""


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One execution as the ledger knows it."""

    id: ExecutionId
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    kind: Kind
    name: str
    parent_id: ExecutionId | None
    root_id: ExecutionId
    place: Place | None
    actor: str
    door: str
    command: str
    parameters: Mapping[str, Any]
    labels: Mapping[str, str]
    status: Status
    status_reason: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    result: Mapping[str, Any] | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: float | None = None
    """From start to end, as whole microseconds in milliseconds; None before the end or when it never ran."""
    output_bytes: int = 0
    """Bytes that the execution wrote, kept or not; final only when `ended_at` is set."""
    output_truncated: bool = False
    """The log holds only the first bytes."""
    output_ref: str | None = None
    """Where the log is kept; meaningful to `OutputLog` alone."""
    attempt: int = 1
    worker: str | None = None
    request_id: str | None = None

    @property
    def ended(self) -> bool:
        """Tell whether the status is final."""
        return self.status in TERMINAL


class OutputTotals(msgspec.Struct, frozen=True):
    """What became of the output, written into the row together with the end."""

    total_bytes: int = 0
    truncated: bool = False
    ref: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, said by whoever ran it."""

    status: Status
    """One of `TERMINAL`."""
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    result: Mapping[str, Any] | None = None
    ended_by: str | None = None
    """Who ended it when that was not the command itself: `timeout`, an actor, `oom`, ..."""


class Schedule(msgspec.Struct, frozen=True):
    """Hand it to the carrier: nothing holds it back any more."""


class Delay(msgspec.Struct, frozen=True):
    """Hold it back until a time or until a policy lets it go."""

    reason: str


class Start(msgspec.Struct, frozen=True):
    """A worker begins attempt `attempt`."""

    worker: str
    attempt: int = 1


class Wait(msgspec.Struct, frozen=True):
    """A person or a guard decides now; `reason` says which."""

    reason: str


class Resume(msgspec.Struct, frozen=True):
    """The wait is over."""


class Cancel(msgspec.Struct, frozen=True):
    """Somebody wants it to end."""

    reason: str | None = None


class Finish(msgspec.Struct, frozen=True):
    """Its worker says how it ended. `attempt` fences off a worker that lost its claim."""

    outcome: Outcome
    attempt: int = 1
    output: OutputTotals = OutputTotals()


class Reject(msgspec.Struct, frozen=True):
    """It cannot begin, and why is known: it fails without having run."""

    outcome: Outcome


class Abandon(msgspec.Struct, frozen=True):
    """Nobody knows how it ended: its worker is lost."""

    reason: str
    output: OutputTotals = OutputTotals()


Command = Schedule | Delay | Start | Wait | Resume | Cancel | Finish | Reject | Abandon
Decision = Changed[Execution] | Refused

_MICROSECOND: Final = timedelta(microseconds=1)
_EVENT_TYPES: Final = {status: f"execution.{status.value}" for status in Status}
ALREADY_ENDED: Final = "already_ended"
STALE_ATTEMPT: Final = "stale_attempt"
WRONG_STATE: Final = "wrong_state"


def requested(new: NewExecution, now: datetime) -> Changed[Execution]:
    """Return the first state of a new execution and the event of its request."""
    execution_id = new.id or ExecutionId.new()
    execution = Execution(
        id=execution_id,
        account_id=new.account_id,
        project_id=new.project_id,
        project_path=new.project_path,
        kind=new.kind,
        name=new.name[:256],
        parent_id=new.parent_id,
        root_id=new.root_id or new.parent_id or execution_id,
        place=new.place,
        actor=new.actor,
        door=new.door,
        command=new.command[:8192],
        parameters=new.parameters,
        labels=new.labels,
        status=Status.REQUESTED,
        created_at=now,
        request_id=new.request_id,
    )
    return Changed(execution, _event(execution, new.actor, now))


def apply(before: Execution, command: Command, *, actor: str, now: datetime) -> Decision:
    """Decide a command: the new state with its event, or a refusal with its reason. Pure."""
    if before.status in TERMINAL:
        return Refused(f"the execution has ended ({before.status.value})", ALREADY_ENDED)
    match command:
        case Schedule():
            return _move(before, {Status.REQUESTED, Status.DELAYED}, Status.SCHEDULED, None, actor, now)
        case Delay(reason):
            return _move(before, {Status.REQUESTED, Status.SCHEDULED}, Status.DELAYED, reason, actor, now)
        case Start():
            return _start(before, command, actor, now)
        case Wait(reason):
            return _move(
                before,
                {Status.REQUESTED, Status.SCHEDULED, Status.RUNNING},
                Status.WAITING,
                reason,
                actor,
                now,
            )
        case Resume():
            target = Status.RUNNING if before.started_at is not None else Status.SCHEDULED
            return _move(before, {Status.WAITING}, target, None, actor, now)
        case Cancel(reason):
            return _cancel(before, reason, actor, now)
        case Finish():
            return _finish(before, command, actor, now)
        case Reject(outcome):
            if before.status not in BEFORE_START:
                return _wrong(before, outcome.status)
            return _end(before, outcome, OutputTotals(), actor, now)
        case Abandon(reason, output):
            return _end(before, Outcome(status=Status.ABANDONED, reason=reason), output, actor, now)


def begun(first: Execution, worker: str, actor: str) -> tuple[Execution, tuple[Event, Event]]:
    """Return what `Schedule` and `Start` at the moment of its creation make of a requested execution, and their
    events: the way of almost all executions, in one step.
    """
    now = first.created_at
    after = msgspec.structs.replace(first, status=Status.RUNNING, started_at=now, worker=worker)
    body = {"worker": worker, "attempt": first.attempt}
    scheduled = _event(first, first.actor, now, status=Status.SCHEDULED)
    return after, (scheduled, _event(after, actor, now, body=body))


def _start(before: Execution, command: Start, actor: str, now: datetime) -> Decision:
    if command.attempt < before.attempt:
        return Refused(f"attempt {command.attempt} was given up for attempt {before.attempt}", STALE_ATTEMPT)
    if before.status not in {Status.REQUESTED, Status.SCHEDULED}:
        return _wrong(before, Status.RUNNING)
    after = msgspec.structs.replace(
        before,
        status=Status.RUNNING,
        status_reason=None,
        started_at=now,
        worker=command.worker,
        attempt=command.attempt,
    )
    return Changed(
        after, _event(after, actor, now, body={"worker": command.worker, "attempt": command.attempt})
    )


def _cancel(before: Execution, reason: str | None, actor: str, now: datetime) -> Decision:
    if before.status is Status.CANCELING:
        return Refused("the execution is being canceled already", "already_canceling")
    if before.status in BEFORE_START or (before.status is Status.WAITING and before.started_at is None):
        return _end(before, Outcome(status=Status.CANCELED, reason=reason), OutputTotals(), actor, now)
    return _move(before, {Status.RUNNING, Status.WAITING}, Status.CANCELING, reason, actor, now)


def _finish(before: Execution, command: Finish, actor: str, now: datetime) -> Decision:
    if command.outcome.status not in TERMINAL:
        return Refused(f"{command.outcome.status.value} is not an end", "not_terminal")
    if command.attempt != before.attempt:
        return Refused(f"attempt {command.attempt} was given up for attempt {before.attempt}", STALE_ATTEMPT)
    if before.status not in HELD:
        return _wrong(before, command.outcome.status)
    return _end(before, command.outcome, command.output, actor, now)


def _end(
    before: Execution, outcome: Outcome, output: OutputTotals, actor: str, now: datetime
) -> Changed[Execution]:
    started = before.started_at
    now = max(now, started or before.created_at)
    after = msgspec.structs.replace(
        before,
        status=outcome.status,
        status_reason=outcome.reason,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        result=outcome.result,
        ended_at=now,
        duration_ms=None if started is None else (now - started) // _MICROSECOND / 1000,
        output_bytes=output.total_bytes,
        output_truncated=output.truncated,
        output_ref=output.ref,
    )
    body: dict[str, Any] = {}
    if outcome.exit_code is not None:
        body["exit_code"] = outcome.exit_code
    if outcome.signal is not None:
        body["signal"] = outcome.signal
    if outcome.ended_by is not None:
        body["ended_by"] = outcome.ended_by
    return Changed(after, _event(after, actor, now, outcome.reason, body or None))


def _move(
    before: Execution, allowed: set[Status], to: Status, reason: str | None, actor: str, now: datetime
) -> Decision:
    if before.status not in allowed:
        return _wrong(before, to)
    after = msgspec.structs.replace(before, status=to, status_reason=reason)
    return Changed(after, _event(after, actor, now, reason))


def _wrong(before: Execution, to: Status) -> Refused:
    return Refused(f"the execution is {before.status.value} and cannot become {to.value}", WRONG_STATE)


def _event(
    after: Execution,
    actor: str,
    now: datetime,
    reason: str | None = None,
    body: dict[str, Any] | None = None,
    status: Status | None = None,
) -> Event:
    return Event(
        account_id=after.account_id,
        subject_kind="execution",
        subject_id=after.id,
        type=_EVENT_TYPES[status or after.status],
        actor=actor,
        at=now,
        reason=reason,
        body=body,
    )


class Tenant(Protocol):
    """The part of an identity scope that the ledger needs: whose rows may be seen."""

    @property
    def account_id(self) -> AccountId:
        """The account."""
        ...

    @property
    def project_path(self) -> str:
        """`/<root>/<project>/...`: this project and all below it; one component means the whole account."""
        ...


class ExecutionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions to list; None or empty means no condition."""

    kinds: Sequence[Kind] = ()
    statuses: Sequence[Status] = ()
    place_kind: str | None = None
    place_id: str | None = None
    actor: str | None = None
    door: str | None = None
    parent_id: ExecutionId | None = None
    root_id: ExecutionId | None = None
    """The whole tree of a top execution."""
    top_only: bool = False
    """Only executions without a parent."""
    labels: Mapping[str, str] = {}
    """Each must be present with this value."""
    text: str | None = None
    """A part of the name or the command, case ignored."""
    created_from: datetime | None = None
    """Inclusive."""
    created_to: datetime | None = None
    """Exclusive."""
    request_id: str | None = None
