"""The workspace: code, tool, rules and the last of its runs. Owns its types and what a valid one is; no I/O, no clock."""

import enum
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from runyard.infrastructure.workspaces.errors import InvalidWorkspace
from runyard.kernel.ids import AccountId, ProjectId, RecordId, WorkspaceId

MANAGED: Final = "firefly"
"""The runner type of workspaces whose runs are executed here; every other one names the pipeline that reports them."""
RUNNER_TYPES: Final = (
    MANAGED,
    "github-actions",
    "gitlab-pipelines",
    "bitbucket-pipelines",
    "azure-pipelines",
    "jenkins",
    "semaphore",
    "atlantis",
    "env0",
    "unrecognized",
)
VCS_TYPES: Final = ("github", "gitlab", "bitbucket", "bitbucketdc", "codecommit", "azuredevops", "git")
"""`git` is any repository by its URL."""
TRIGGERS: Final = ("merge", "push", "pull_request")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]{0,127}\Z")
POOL_ID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_VERSION: Final = re.compile(r"(?:latest|[0-9]{1,4}(?:\.[0-9]{1,4}){0,2}(?:-[0-9A-Za-z.-]{1,32})?)?\Z")


class IacType(enum.StrEnum):
    """Which tool runs the code."""

    TERRAFORM = "terraform"
    OPENTOFU = "opentofu"
    TERRAGRUNT = "terragrunt"
    """Only reported by pipelines; not run here."""


class ApplyRule(enum.StrEnum):
    """What happens after a plan that guardrails let pass."""

    MANUAL = "manual"
    AUTO = "auto"


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """A lock that a person or a program holds: no run begins while it stands."""

    actor: str
    reason: str = ""
    at: datetime
    holder: str = ""
    """Id of what holds it, when that is not the actor: a run or a client's lock."""


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """Where the code of a workspace is."""

    vcs_type: str = ""
    vcs_integration_id: str = ""
    repository: str = ""
    """`owner/name` within the integration."""
    repository_url: str = ""
    """Without credentials; empty when the integration makes it of the repository."""
    branch: str = ""
    working_directory: str = ""
    """Exactly as it was given: "" and a leading slash both mean from the top of the repository."""


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """One workspace."""

    id: WorkspaceId
    record_id: RecordId
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    name: str
    """Unique in the account."""
    identifier: str
    """Unique in its project: the name, where that is a valid identifier."""
    description: str = ""
    labels: Sequence[str] = ()
    """In the order in which they were given."""
    runner_type: str = MANAGED
    iac_type: IacType = IacType.OPENTOFU
    iac_version: str = ""
    """Empty or `latest` means the newest that is installed."""
    code: Code = Code()
    apply_rule: ApplyRule = ApplyRule.MANUAL
    triggers: Sequence[str] = ()
    cron: str = ""
    """Five fields in UTC; empty means that of the nearest project that has one."""
    pool_id: str | None = None
    oidc: bool | None = None
    """None inherits from the project."""
    remote_state: bool = False
    extras: Mapping[str, Any] = {}
    """What only one dialect knows, under that dialect's name."""
    lock: Lock | None = None
    revision: int = 1
    created_at: datetime
    updated_at: datetime
    last_run_status: str = ""
    last_run_at: datetime | None = None
    last_plan_at: datetime | None = None
    last_apply_at: datetime | None = None
    runs_count: int = 0
    resource_count: int | None = None
    """Resources in the current state; None when there is none."""

    @property
    def managed(self) -> bool:
        """Tell whether its runs are executed here."""
        return self.runner_type == MANAGED


class NewWorkspace(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for."""

    name: str
    project_id: ProjectId | None = None
    """None means the caller's own project."""
    identifier: str | None = None
    description: str = ""
    labels: Sequence[str] = ()
    runner_type: str = MANAGED
    iac_type: str = IacType.OPENTOFU
    iac_version: str = ""
    code: Code = Code()
    apply_rule: str = ApplyRule.MANUAL
    triggers: Sequence[str] = ()
    cron: str = ""
    pool_id: str | None = None
    oidc: bool | None = None
    remote_state: bool = False
    extras: Mapping[str, Any] = {}


class WorkspaceChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What to change; UNSET leaves a member as it is."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    project_id: ProjectId | msgspec.UnsetType | None = msgspec.UNSET
    """None moves it to the caller's own project."""
    description: str | msgspec.UnsetType = msgspec.UNSET
    labels: Sequence[str] | msgspec.UnsetType = msgspec.UNSET
    runner_type: str | msgspec.UnsetType = msgspec.UNSET
    iac_type: str | msgspec.UnsetType = msgspec.UNSET
    iac_version: str | msgspec.UnsetType = msgspec.UNSET
    vcs_type: str | msgspec.UnsetType = msgspec.UNSET
    vcs_integration_id: str | msgspec.UnsetType = msgspec.UNSET
    repository: str | msgspec.UnsetType = msgspec.UNSET
    repository_url: str | msgspec.UnsetType = msgspec.UNSET
    branch: str | msgspec.UnsetType = msgspec.UNSET
    working_directory: str | msgspec.UnsetType = msgspec.UNSET
    apply_rule: str | msgspec.UnsetType = msgspec.UNSET
    triggers: Sequence[str] | msgspec.UnsetType = msgspec.UNSET
    cron: str | msgspec.UnsetType = msgspec.UNSET
    pool_id: str | msgspec.UnsetType | None = msgspec.UNSET
    oidc: bool | msgspec.UnsetType | None = msgspec.UNSET
    extras: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET
    """Merged: each dialect's part replaces that part."""


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on workspaces: any of a list, all members together; empty means no condition."""

    names: Sequence[str] = ()
    repositories: Sequence[str] = ()
    runner_types: Sequence[str] = ()
    labels: Sequence[str] = ()
    statuses: Sequence[str] = ()
    """Of the last run."""
    vcs_types: Sequence[str] = ()
    managed: bool | None = None


class WorkspaceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which workspaces to list, newest first when no order is named."""

    match: Match = Match()
    any_of: Match | None = None
    """At least one member that is set must match."""
    text: str = ""
    """Part of name, repository or a label, case ignored."""
    project_ids: Sequence[ProjectId] = ()
    """Only these projects, not what is below them; empty means all of the scope."""
    ids: Sequence[WorkspaceId] | None = None
    """Only these; None means no such condition."""
    pool_id: str | None = None
    sort: Sequence[tuple[str, bool]] = ()
    """Names of `SORTS` and whether they ascend."""
    offset: int = 0
    limit: int = 25


SORTS: Final = (
    "created_at",
    "updated_at",
    "name",
    "repository",
    "iac_version",
    "last_run_status",
    "last_run_at",
    "runner_type",
)


def identifier_of(name: str) -> str:
    """Return a name as an identifier: what does not fit becomes an underscore."""
    if _IDENTIFIER.match(name):
        return name
    fitting = re.sub(r"[^A-Za-z0-9_$-]", "_", name)[:128] or "_"
    return fitting if fitting[0].isalpha() or fitting[0] == "_" else f"_{fitting}"[:128]


def check(workspace: Workspace) -> None:
    """Refuse what cannot be a workspace. Raises InvalidWorkspace."""
    if not 1 <= len(workspace.name) <= 256 or _has_control(workspace.name):
        raise InvalidWorkspace("Workspace Name must have 1 to 256 characters and no control characters")
    if _IDENTIFIER.match(workspace.identifier) is None:
        raise InvalidWorkspace(
            "Identifier must have 1 to 128 letters, digits, `_`, `$` or `-` and begin with a letter or `_`"
        )
    if workspace.runner_type not in RUNNER_TYPES:
        raise InvalidWorkspace(f"Runner Type must be one of {', '.join(RUNNER_TYPES)}")
    if workspace.code.vcs_type and workspace.code.vcs_type not in VCS_TYPES:
        raise InvalidWorkspace(f"Vcs Type must be one of {', '.join(VCS_TYPES)}")
    if workspace.pool_id and POOL_ID.match(workspace.pool_id) is None:
        raise InvalidWorkspace("Pool Id is not valid: expected a UUID")
    if _VERSION.match(workspace.iac_version) is None:
        raise InvalidWorkspace("the version of the tool must look like `1.9.1`, or be `latest` or empty")
    wrong = [trigger for trigger in workspace.triggers if trigger not in TRIGGERS]
    if wrong:
        raise InvalidWorkspace(f"Triggers must be among {', '.join(TRIGGERS)}, not {wrong[0]!r}")
    _check_texts(workspace)


def _check_texts(workspace: Workspace) -> None:
    if len(workspace.description) > 4096 or "\0" in workspace.description:
        raise InvalidWorkspace("Description has at most 4096 characters and no NUL")
    if len(workspace.labels) > 100 or any(
        not 1 <= len(one) <= 256 or _has_control(one) for one in workspace.labels
    ):
        raise InvalidWorkspace(
            "Labels are at most 100 texts of 1 to 256 characters without control characters"
        )
    code = workspace.code
    for text in (
        code.repository,
        code.repository_url,
        code.branch,
        code.working_directory,
        code.vcs_integration_id,
    ):
        if len(text) > 1024 or _has_control(text):
            raise InvalidWorkspace(
                "repository, branch and working directory have at most 1024 printable characters"
            )
    if len(code.vcs_integration_id) > 64:
        raise InvalidWorkspace("Vcs Integration Id has at most 64 characters")
    if ".." in code.working_directory.split("/"):
        raise InvalidWorkspace("Working Directory must not contain `..`")


def _has_control(text: str) -> bool:
    return any(ord(character) < 32 or ord(character) == 127 for character in text)
