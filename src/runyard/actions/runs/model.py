"""What an action adds to an execution. Owns the frozen record, its stand-in for other executions, and what to list."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from runyard.actions.ids import settled_id
from runyard.actions.values import Json, JsonObject
from runyard.executions.model import Execution, Status
from runyard.kernel.events import Event
from runyard.kernel.ids import ExecutionId


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What made somebody's rule ask for an execution: each as it was then."""

    rule: JsonObject = {}
    trigger: JsonObject = {}
    trigger_type: JsonObject = {}
    trigger_instance: JsonObject = {}


class Asker(msgspec.Struct, frozen=True):
    """Who asked for a run; what the run may ask of the server in turn follows from it."""

    user_id: str
    scopes: Sequence[str] = ()
    """What that caller's token allowed; `*` is everything."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an execution that only actions have."""

    execution_id: str
    liveaction_id: str
    action_ref: str
    runner: str
    user_name: str
    created_at: datetime
    action: JsonObject
    """The action as it was when the execution was asked for, with its id."""
    context: JsonObject
    notify: JsonObject = {}
    callback: JsonObject = {}
    inquiry: JsonObject = {}
    """What a person is asked: schema, roles, users, route, ttl."""
    delay_ms: int = 0
    asker: Asker | None = None
    sealed: bytes = b""
    """The parameters in clear."""
    sealed_result: bytes | None = None
    """The result in clear, where that of the ledger is masked."""
    expires_at: datetime | None = None
    """When an inquiry that waits is given up."""
    cause: Cause | None = None
    """None for what a person or a program asked for."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An execution with all that a dialect shows of it."""

    execution: Execution
    run: Run
    history: Sequence[Event] = ()
    children: Sequence[str] = ()
    parameters: JsonObject = {}
    """Masked, unless secrets were asked for."""
    result: Mapping[str, Json] | None = None
    stands_in: bool = False
    """The execution is none of an action; its run is made up."""


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """How much to read of executions."""

    secrets: bool = False
    """In clear."""
    history: bool = True
    results: bool = True


EVERYTHING = Detail()


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for."""

    action: str
    parameters: JsonObject = {}
    user: str | None = None
    context: JsonObject = {}
    header_context: JsonObject = {}
    """Merged over the context after user and pack were set."""
    notify: JsonObject = {}
    callback: JsonObject = {}
    delay_ms: int = 0
    request_id: str | None = None
    cause: Cause | None = None
    roles: Sequence[str] | None = None
    """The roles of the caller, kept in the context; None when roles are off."""


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions to list; None or empty means no condition."""

    ids: Sequence[str] = ()
    action: str | None = None
    statuses: Sequence[str] = ()
    """As the ledger names them."""
    liveaction: str | None = None
    parent: str | None = None
    runner: str | None = None
    user: str | None = None
    rule: str | None = None
    trigger: str | None = None
    trigger_type: str | None = None
    """These three by their names."""
    trigger_instance: str | None = None
    absent: Sequence[str] = ()
    """Names among `parent`, `rule`, `trigger`, `trigger_type`, `trigger_instance` of what an execution has not."""
    owner: str | None = None
    """Only executions of this user, whatever else is asked for."""
    after: datetime | None = None
    before: datetime | None = None
    inclusive: bool = False
    """Whether `after` and `before` themselves count."""
    nothing: bool = False
    """A condition that no execution fulfils."""
    sort: Sequence[tuple[str, bool]] = (("timestamp", False),)
    """Names of columns and whether they ascend."""
    offset: int = 0
    limit: int | None = None


STAND_IN_PACK = "runyard"
STAND_IN_RUNNER = "local-shell-cmd"
"""What stands for an execution that came through another API."""


def stand_in(execution: Execution) -> Run:
    """Return the run of an execution that is none of an action: an action stands for its kind."""
    name = execution.kind.value
    ref = f"{STAND_IN_PACK}.{name}"
    action: dict[str, Json] = {
        "id": settled_id(f"action:{ref}"),
        "ref": ref,
        "uid": f"action:{STAND_IN_PACK}:{name}",
        "name": name,
        "pack": STAND_IN_PACK,
        "description": f"Stands for an execution of the kind {name} that came through another API.",
        "enabled": True,
        "entry_point": "",
        "runner_type": STAND_IN_RUNNER,
        "parameters": {},
        "output_schema": {},
        "tags": [],
        "notify": {},
        "metadata_file": "",
    }
    return Run(
        execution_id=execution.id,
        liveaction_id=settled_id(f"liveaction:{execution.id}"),
        action_ref=ref,
        runner=STAND_IN_RUNNER,
        user_name=execution.actor,
        created_at=execution.created_at,
        action=action,
        context={"user": execution.actor, "pack": STAND_IN_PACK},
    )


def stand_in_result(execution: Execution) -> dict[str, Json] | None:
    """Return what the end of such an execution is in the words of a local action."""
    if not execution.ended:
        return None
    done = execution.status is Status.SUCCEEDED
    return {"failed": not done, "succeeded": done, "return_code": execution.exit_code}


def seal_context(execution_id: ExecutionId | str) -> bytes:
    """Return what the sealed parts of a run are bound to."""
    return f"run:{execution_id}".encode()
