"""The environment and its life. Frozen values and the pure transition between states; knows only the kernel.

States go forward only; the one way back is from `paused` to `ready`. A state is written before what follows from it is
done (teardown) or after what it promises was done (ready), so that a kill at any point leaves a row to go on from.
"""

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from runyard.kernel.events import Event
from runyard.kernel.ids import AccountId, EnvironmentId, ExecutionId, ProjectId, UserId
from runyard.kernel.transitions import Changed, Refused


class State(enum.StrEnum):
    """Where an environment is on its way."""

    BUILDING = "building"
    PROVISIONING = "provisioning"
    READY = "ready"
    PAUSED = "paused"
    TORN_DOWN = "torn_down"
    FAILED = "failed"


UNDER_WAY: Final = frozenset({State.BUILDING, State.PROVISIONING})
LIVING: Final = frozenset({*UNDER_WAY, State.READY, State.PAUSED})
ENDED: Final = frozenset({State.TORN_DOWN, State.FAILED})
ERROR_LIMIT: Final = 4096


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for; enough to provision again after a restart."""

    package: str
    """Full reference of the task package, with its version."""
    layer: str
    """Digest of the package's files: what an environment goes on with, whatever becomes of the reference."""
    inputs: Mapping[str, Any] = {}
    models: Mapping[str, str] = {}
    """Models by role, overrides applied."""
    lifetime_secs: int = 3600


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """A task package brought to life: files, services and a place for commands."""

    id: EnvironmentId
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    owner_user_id: UserId
    actor: str
    task_ref: str
    definition: Definition
    state: State
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    instruction: str | None = None
    """The task's template as written; whoever reads it fills it in."""
    service_urls: Mapping[str, Any] | None = None
    verification: Mapping[str, Any] | None = None
    """How the task was to be verified when this was provisioned."""
    variables: Mapping[str, Any] = {}
    """What the provision script answered."""
    error: str | None = None
    execution_id: ExecutionId | None = None
    """The execution that provisions it; the latest one after a restart."""
    freed: bool = False
    """Nothing of it is left on the host."""

    @property
    def ended(self) -> bool:
        """Tell whether it is over."""
        return self.state in ENDED


class Building(msgspec.Struct, frozen=True):
    """Its provisioning begins, under this execution, with building what it is made of."""

    execution_id: ExecutionId


class Built(msgspec.Struct, frozen=True):
    """What it is made of is there; it starts now, and so does its lifetime."""

    expires_at: datetime


class Ready(msgspec.Struct, frozen=True):
    """It can be used."""

    service_urls: Mapping[str, Any]
    variables: Mapping[str, Any]


class Moved(msgspec.Struct, frozen=True):
    """Its services are to be found elsewhere since the server came back."""

    service_urls: Mapping[str, Any]


class Fail(msgspec.Struct, frozen=True):
    """It cannot be provisioned, or ended by itself."""

    error: str


class TearDown(msgspec.Struct, frozen=True):
    """Somebody, or its lifetime, ends it."""

    reason: str | None = None


class Extend(msgspec.Struct, frozen=True):
    """It may live until another moment."""

    expires_at: datetime


class Freed(msgspec.Struct, frozen=True):
    """Nothing of it is left on the host."""


Command = Building | Built | Ready | Moved | Fail | TearDown | Extend | Freed
Decision = Changed[Environment] | Refused

ALREADY_ENDED: Final = "already_ended"


def apply(before: Environment, command: Command, *, actor: str, now: datetime) -> Decision:
    """Decide a command: the new state with its event, or a refusal with its reason. Pure."""
    if isinstance(command, Freed):
        if not before.ended:
            return Refused(f"the environment is {before.state}")
        return _changed(before, "freed", actor, now, freed=True)
    if before.ended:
        return Refused(f"the environment has ended ({before.state})", ALREADY_ENDED)
    match command:
        case Building(execution_id):
            return _from(before, UNDER_WAY, "building", actor, now, execution_id=execution_id)
        case Built(expires_at):
            changes = {"state": State.PROVISIONING, "expires_at": expires_at}
            return _from(before, UNDER_WAY, "provisioning", actor, now, **changes)
        case Ready(service_urls, variables):
            changes = {"state": State.READY, "service_urls": service_urls, "variables": variables}
            return _from(before, {State.PROVISIONING}, "ready", actor, now, **changes)
        case Moved(service_urls):
            return _from(before, {State.READY}, "moved", actor, now, service_urls=service_urls)
        case Extend(expires_at):
            return _changed(before, "extended", actor, now, expires_at=expires_at)
        case Fail(error):
            changes = {"state": State.FAILED, "error": error[:ERROR_LIMIT], "service_urls": None}
            return _changed(before, "failed", actor, now, error[:ERROR_LIMIT], **changes)
        case TearDown(reason):
            changes = {"state": State.TORN_DOWN, "service_urls": None}
            return _changed(before, "torn_down", actor, now, reason, **changes)


def created_event(environment: Environment) -> Event:
    """Return the event of an environment's birth."""
    return _event(environment, "created", environment.actor, environment.created_at, None)


def not_ready(environment: Environment) -> str:
    """Return the sentence that refuses work, naming the state."""
    why = f": {environment.error}" if environment.error else ""
    return f"environment '{environment.id}' is {environment.state}, not ready{why}"


def _from(
    before: Environment,
    allowed: frozenset[State] | set[State],
    what: str,
    actor: str,
    now: datetime,
    **changes: Any,  # noqa: ANN401  columns of one struct
) -> Decision:
    if before.state not in allowed:
        return Refused(f"the environment is {before.state} and cannot become {what}")
    return _changed(before, what, actor, now, **changes)


def _changed(
    before: Environment,
    what: str,
    actor: str,
    now: datetime,
    reason: str | None = None,
    **changes: Any,  # noqa: ANN401  columns of one struct
) -> Changed[Environment]:
    after = msgspec.structs.replace(before, updated_at=now, **changes)
    return Changed(after, _event(after, what, actor, now, reason))


def _event(environment: Environment, what: str, actor: str, now: datetime, reason: str | None) -> Event:
    return Event(
        account_id=environment.account_id,
        subject_kind="environment",
        subject_id=environment.id,
        type=f"environment.{what}",
        actor=actor,
        at=now,
        reason=reason,
        body={"state": str(environment.state)},
    )
