"""The run: one plan of a workspace and its apply. Owns its types and states; `changes` has the transition.

No I/O and no clock. A run that ended never changes again; only a run that holds its workspace plans or applies.
"""

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from runyard.kernel.ids import AccountId, ExecutionId, ProjectId, RecordId, RunId, WorkspaceId


class RunKind(enum.StrEnum):
    """What a run is meant to do."""

    PLAN = "plan"
    """Plan only."""
    APPLY = "apply"
    """Plan, then apply."""
    DESTROY = "destroy"
    """Plan the destruction of everything, then apply that."""


class RunStatus(enum.StrEnum):
    """Where a run is; the words are published."""

    PENDING = "pending"
    PLANNING = "planning"
    INIT_ERROR = "init_error"
    PLAN_ERROR = "plan_error"
    PLAN_NO_CHANGES = "plan_no_changes"
    PLAN_SUCCESS = "plan_success"
    """The end of a plan; of an apply, it waits for approval or for its worker."""
    BLOCKED = "blocked"
    """Guardrails stopped it: waits when they are flexible, else its end."""
    ACKNOWLEDGED = "Acknowledged"
    APPLYING = "applying"
    APPLY_SUCCESS = "apply_success"
    APPLY_NO_CHANGES = "apply_no_changes"
    APPLY_ERROR = "apply_error"
    DISCARDED = "discarded"
    CANCELLED = "cancelled"


class Step(enum.StrEnum):
    """What is being done within a status; the words are published."""

    QUEUED = "queued"
    CHECKOUT = "checkout"
    INIT = "init"
    PLAN = "plan"
    GUARDRAILS = "guardrails"
    APPROVAL = "approval"
    APPLY = "apply"
    DONE = "done"


class Trigger(enum.StrEnum):
    """What asked for a run."""

    API = "api"
    PUSH = "push"
    MERGE = "merge"
    PULL_REQUEST = "pull_request"
    SCHEDULE = "schedule"
    CLI = "cli"
    ARCHIVE = "archive"
    EXTERNAL = "external"


class Block(enum.StrEnum):
    """What guardrails say to a plan as a whole."""

    NONE = "none"
    FLEXIBLE = "flexible"
    STRICT = "strict"


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """Code that was uploaded: a gzip tar in the blobs of this server."""

    blob: str
    """SHA-256 of it."""
    store: str = "remote"
    """Whose blobs they are, `remote` or `configurations`: each owner removes what nobody of its own needs any more."""
    folder: str = ""
    """Where within it the working directory is counted from."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the code of one run comes from and what else is known of it."""

    branch: str = ""
    commit: str = ""
    """Full id once it is checked out."""
    commit_url: str = ""
    commit_title: str = ""
    pull_request_id: str = ""
    pull_request_url: str = ""
    build_id: str = ""
    build_name: str = ""
    build_url: str = ""
    archive: Archive | None = None
    """None means the repository of the workspace."""


def default_title(kind: RunKind, trigger: Trigger) -> str:
    """Return the title of a run that nobody gave one, until its commit is known."""
    return f"{kind.value.capitalize()} by {trigger.value}"


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for."""

    kind: RunKind = RunKind.PLAN
    trigger: Trigger = Trigger.API
    title: str = ""
    """Empty means the title of the commit."""
    origin: Origin = Origin()
    """An empty branch means that of the workspace."""
    arguments: Sequence[str] = ()
    """Extra arguments, each one item; see `arguments.checked`."""
    auto_apply: bool | None = None
    """None means the rule of the workspace."""
    variables: Mapping[str, str] = {}
    """Input variables of this run alone, which win over those of the workspace; kept sealed."""
    then_delete: bool = False
    """Delete the workspace after the destruction."""
    saved: bool = False
    """Its plan is kept to be applied whenever somebody wants: it holds up no other run while it waits."""
    door: str = "native"
    extras: Mapping[str, Any] = {}
    """What only one dialect knows, under that dialect's name."""
    id: RunId | None = None
    """A fixed id makes the request idempotent; None makes a fresh one."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    id: RunId
    record_id: RecordId
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    workspace_id: WorkspaceId
    workspace_name: str
    kind: RunKind
    trigger: Trigger
    status: RunStatus
    step: Step
    reason: str | None = None
    """Why it is where it is, for people."""
    title: str
    actor: str
    door: str
    origin: Origin
    runner_type: str
    vcs_type: str
    repository: str
    repository_url: str
    iac_type: str
    iac_version: str
    """The version that was asked for; the one that ran once it is known."""
    auto_apply: bool
    arguments: Sequence[str] = ()
    then_delete: bool = False
    saved: bool = False
    """While it waits, its workspace is free for others; what they change makes its plan stale, as the tool says then."""
    plan_task_id: ExecutionId
    """The execution of the plan in the ledger, with its output."""
    apply_task_id: ExecutionId | None = None
    held: bool = False
    """It holds its workspace: no other run of it goes on."""
    block: Block = Block.NONE
    violations: Sequence[Mapping[str, Any]] = ()
    """What guardrails found; the first of them, without values of resources."""
    has_changes: bool | None = None
    """None until it is planned."""
    counts: Mapping[str, int] = {}
    """Planned actions: add, change, destroy, replace, import, drift, ..."""
    approved_by: str | None = None
    timed_out: bool = False
    sealed: bytes | None = None
    """Its own variables."""
    extras: Mapping[str, Any] = {}
    created_at: datetime
    updated_at: datetime
    planned_at: datetime | None = None
    apply_started_at: datetime | None = None
    expires_at: datetime | None = None
    """When the wait for a person is given up."""
    ended_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Tell whether it is over."""
        return self.ended_at is not None

    @property
    def waits(self) -> bool:
        """Tell whether a person has to decide."""
        return not self.ended and self.step is Step.APPROVAL

    @property
    def current_task_id(self) -> ExecutionId:
        """Return the execution that it is at, or was last."""
        return self.apply_task_id or self.plan_task_id


class RunQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to list, newest first when no order is named; empty means no condition."""

    workspace_id: WorkspaceId | None = None
    run_ids: Sequence[str] = ()
    """Ids or record ids."""
    titles: Sequence[str] = ()
    statuses: Sequence[str] = ()
    branches: Sequence[str] = ()
    commits: Sequence[str] = ()
    runner_types: Sequence[str] = ()
    vcs_types: Sequence[str] = ()
    repositories: Sequence[str] = ()
    text: str = ""
    """Part of title, branch or commit, case ignored."""
    sort: Sequence[tuple[str, bool]] = ()
    """Names of `SORTS` and whether they ascend."""
    offset: int = 0
    limit: int = 25


SORTS: Final = (
    "created_at",
    "updated_at",
    "title",
    "commit",
    "branch",
    "status",
    "runner_type",
    "vcs_type",
    "repository",
)
