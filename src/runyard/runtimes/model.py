"""The runtime and its life. Frozen values and pure transitions; knows only the kernel.

A transition takes a runtime and a command and returns the runtime as it will be, or a refusal with its reason. Only
what a caller orders raises `revision`, so that a caller who read it is not surprised by what the server did by itself.
"""

import enum
from dataclasses import dataclass, replace
from datetime import datetime

from runyard.kernel.events import Event
from runyard.kernel.ids import AccountId, CheckpointId, ProjectId, RuntimeId, SecretId
from runyard.kernel.transitions import Changed, Refused
from runyard.runtimes.definition import Definition, Resources

STALE = "stale_revision"
"""The refusal code of a command that expected another revision; its reason is that revision."""


class Status(enum.StrEnum):
    """Where a runtime is now."""

    CREATING = "creating"
    RUNNING = "running"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    SHUTDOWN = "shutdown"
    DELETING = "deleting"
    ERROR = "error"
    CRASHED = "crashed"


FROZEN = frozenset({Status.PAUSED, Status.SUSPENDED})
LIVING = frozenset({Status.RUNNING, *FROZEN})


class Verb(enum.StrEnum):
    """What can be done to a runtime: by a caller, or by its keeper."""

    START = "start"
    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"
    DELETE = "delete"
    BOOTED = "booted"
    SUSPEND = "suspend"
    WAKE = "wake"
    CRASH = "crash"
    FAIL = "fail"


ORDERS = frozenset({Verb.START, Verb.STOP, Verb.PAUSE, Verb.RESUME, Verb.DELETE})
"""The verbs of callers. All others are the server's own and leave the revision alone."""

_S = Status
_NEXT: dict[Verb, dict[Status, Status]] = {
    Verb.START: {
        _S.CREATING: _S.CREATING,
        _S.RUNNING: _S.RUNNING,
        _S.SUSPENDED: _S.RUNNING,
        _S.SHUTDOWN: _S.CREATING,
        _S.CRASHED: _S.CREATING,
        _S.ERROR: _S.CREATING,
    },
    Verb.RESUME: {
        _S.CREATING: _S.CREATING,
        _S.RUNNING: _S.RUNNING,
        _S.PAUSED: _S.RUNNING,
        _S.SUSPENDED: _S.RUNNING,
    },
    Verb.PAUSE: {_S.RUNNING: _S.PAUSED, _S.SUSPENDED: _S.PAUSED, _S.PAUSED: _S.PAUSED},
    Verb.STOP: {
        _S.CREATING: _S.SHUTDOWN,
        _S.RUNNING: _S.SHUTDOWN,
        _S.PAUSED: _S.SHUTDOWN,
        _S.SUSPENDED: _S.SHUTDOWN,
        _S.CRASHED: _S.SHUTDOWN,
        _S.SHUTDOWN: _S.SHUTDOWN,
    },
    Verb.DELETE: dict.fromkeys(_S, _S.DELETING),
    Verb.BOOTED: {_S.CREATING: _S.RUNNING, _S.RUNNING: _S.RUNNING},
    Verb.SUSPEND: {_S.RUNNING: _S.SUSPENDED},
    Verb.WAKE: {_S.SUSPENDED: _S.RUNNING},
    Verb.CRASH: {
        _S.CREATING: _S.CRASHED,
        _S.RUNNING: _S.CRASHED,
        _S.PAUSED: _S.CRASHED,
        _S.SUSPENDED: _S.CRASHED,
    },
    Verb.FAIL: {_S.CREATING: _S.ERROR},
}

_DESIRED: dict[Verb, Status] = {
    Verb.START: _S.RUNNING,
    Verb.RESUME: _S.RUNNING,
    Verb.PAUSE: _S.PAUSED,
    Verb.STOP: _S.SHUTDOWN,
    Verb.DELETE: _S.DELETING,
    Verb.SUSPEND: _S.SUSPENDED,
    Verb.WAKE: _S.RUNNING,
}

_HINTS: dict[Status, str] = {
    _S.PAUSED: "resume it first",
    _S.SUSPENDED: "resume it first",
    _S.SHUTDOWN: "start it first",
    _S.CRASHED: "start it first",
    _S.ERROR: "delete it, or start it to try again",
    _S.CREATING: "wait until it is running",
    _S.DELETING: "it is being deleted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A named, lasting place in which commands run."""

    id: RuntimeId
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    owner_user_id: str
    display_name: str
    status: Status = Status.CREATING
    desired_status: Status = Status.RUNNING
    revision: int = 1
    definition: Definition
    restored_from: CheckpointId | None = None
    created_at: datetime
    updated_at: datetime
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One verb with its circumstances."""

    verb: Verb
    actor: str
    at: datetime
    reason: str | None = None
    """For a crash or failure: what happened."""
    expected_revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Amend:
    """A change of what the owner decides; never of the status."""

    definition: Definition
    display_name: str
    actor: str
    at: datetime
    expected_revision: int | None = None


def apply(runtime: Runtime, order: Order) -> Runtime | Refused:
    """Return the runtime after the order; the same object when it changes nothing."""
    verb = order.verb
    if order.expected_revision not in (None, runtime.revision):
        return Refused(str(order.expected_revision), STALE)
    target = _NEXT[verb].get(runtime.status)
    if target is None:
        return Refused(refusal(runtime, verb))
    desired = _DESIRED.get(verb, runtime.desired_status)
    if target is runtime.status and desired is runtime.desired_status:
        return runtime
    failed = verb in (Verb.CRASH, Verb.FAIL)
    return replace(
        runtime,
        status=target,
        desired_status=desired,
        revision=runtime.revision + (verb in ORDERS),
        updated_at=order.at,
        error_code=("crashed" if verb is Verb.CRASH else "start_failed") if failed else None,
        error_message=(order.reason or "no reason is known")[:4096] if failed else None,
    )


def decide(runtime: Runtime, command: Order | Amend) -> Changed[Runtime] | Refused:
    """Return the runtime after the command with the event that tells of it, or the refusal."""
    if isinstance(command, Amend):
        if command.expected_revision not in (None, runtime.revision):
            return Refused(str(command.expected_revision), STALE)
        if runtime.status is Status.DELETING:
            return Refused(f"runtime '{runtime.id}' is being deleted")
        changed = replace(
            runtime,
            definition=command.definition,
            display_name=command.display_name,
            revision=runtime.revision + 1,
            updated_at=command.at,
        )
        return Changed(changed, _event(changed, "changed", command.actor, None))
    after = apply(runtime, command)
    if isinstance(after, Refused):
        return after
    return Changed(after, _event(after, command.verb, command.actor, command.reason))


def created_event(runtime: Runtime, actor: str) -> Event:
    """Return the event of a runtime's birth."""
    return _event(runtime, "created", actor, None)


def _event(runtime: Runtime, what: str, actor: str, reason: str | None) -> Event:
    return Event(
        account_id=runtime.account_id,
        subject_kind="runtime",
        subject_id=runtime.id,
        type=f"runtime.{what}",
        actor=actor,
        at=runtime.updated_at,
        reason=reason,
        body={"status": str(runtime.status), "revision": runtime.revision},
    )


def refusal(runtime: Runtime, verb: Verb) -> str:
    """Return the sentence that refuses a verb, with what to do instead."""
    hint = _HINTS.get(runtime.status, "")
    return f"runtime '{runtime.id}' cannot {verb} (status: {runtime.status}){': ' + hint if hint else ''}"


def not_running(runtime: Runtime) -> str:
    """Return the sentence that refuses work in a runtime. Clients look for the words `not running` and the status."""
    hint = _HINTS.get(runtime.status, "")
    tail = f": {hint}" if hint else ""
    return f"runtime '{runtime.id}' is not running (status: {runtime.status}){tail}"


class CheckpointState(enum.StrEnum):
    """Where a checkpoint is."""

    CREATING = "creating"
    READY = "ready"
    FAILED = "failed"


class CheckpointKind(enum.StrEnum):
    """What the caller asked to capture. All kinds hold the files; memory is never part of a checkpoint."""

    FULL = "full"
    LIVE = "live"
    COLD = "cold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A copy of a runtime's writable files."""

    id: CheckpointId
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    display_name: str
    kind: CheckpointKind
    state: CheckpointState = CheckpointState.CREATING
    definition: Definition
    """The source's definition at that moment; a restored runtime starts from it."""
    source_runtime_id: RuntimeId | None
    source_runtime_name: str
    size_bytes: int | None = None
    created_at: datetime
    error_code: str | None = None

    @property
    def resources(self) -> Resources:
        """Return what the source was given."""
        return self.definition.resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A stored secret without its value."""

    id: SecretId
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    display_name: str
    cache_ttl_secs: int
    created_at: datetime
    updated_at: datetime
