"""The shapes of requests and answers. Owns names and types of the dialect's members; computes nothing.

A member that may be null or left out has a default; UNSET tells "left out" from null where that makes a difference.
"""

from datetime import datetime
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from runyard.infrastructure.variables.model import Destination, Sensitivity

Text: TypeAlias = str | None
Texts: TypeAlias = list[str] | None
MaybeText: TypeAlias = str | UnsetType | None
MaybeTexts: TypeAlias = list[str] | UnsetType | None


class Camel(msgspec.Struct, rename="camel", kw_only=True):
    """Members in the dialect's spelling."""


class LoginIn(Camel):
    """A key pair."""

    access_key: str
    secret_key: str


class LoginOut(Camel):
    """A token and its end."""

    access_token: str
    expires_at: int
    """Seconds since 1970."""
    token_type: str


class StatusOut(Camel):
    """That it was done."""

    status: int


# --- searches ---


class SearchIn(Camel):
    """What to look for."""

    projection: Texts = None
    """Members to keep of each item; its id stays anyway."""
    search_value: Text = None
    """Part of any member that is searched, case ignored."""
    sort: Any = None
    """One object, or an array of objects, of members with `{"order": 1}` or `{"order": -1}`."""


class WorkspaceMatch(Camel):
    """Conditions: any of a list, all members together."""

    workspace_name: Texts = None
    repositories: Texts = None
    ci_tool: Texts = None
    labels: Texts = None
    status: Texts = None
    is_managed_workflow: bool | None = None
    vcs_type: Texts = None


class WorkspaceFilters(WorkspaceMatch):
    """The same, with alternatives."""

    any_of: WorkspaceMatch | None = msgspec.field(default=None, name="$or")
    """At least one of its members must match."""


class WorkspaceSearchIn(SearchIn):
    """Which workspaces to list."""

    filters: WorkspaceFilters | None = None


class RunFilters(Camel):
    """Conditions: any of a list, all members together."""

    run_id: Texts = None
    run_name: Texts = None
    status: Texts = None
    branch: Texts = None
    commit_id: Texts = None
    ci_tool: Texts = None
    vcs_type: Texts = None
    repository: Texts = None


class RunSearchIn(SearchIn):
    """Which runs to list."""

    filters: RunFilters | None = None


# --- variables ---


class VariableIn(Camel):
    """A variable to write."""

    key: str
    value: Text = None
    """May be left out for a secret that is there already."""
    sensitivity: Sensitivity | None = None
    destination: Destination | None = None


class VariablesIn(Camel):
    """Variables to write by key and destination."""

    variables: list[VariableIn]


class VariableNamesIn(Camel):
    """Variables to delete: by ids or by keys, in either member."""

    variable_ids: Texts = None
    variable_keys: Texts = None


class VariableItem(Camel, omit_defaults=True, kw_only=True):
    """A variable; a secret has no value."""

    id: str
    key: str
    value: str | UnsetType = UNSET
    sensitivity: str
    destination: str


class VariableSetIn(Camel):
    """A variable set to make."""

    name: str
    description: Text = None
    labels: Texts = None
    parents: Texts = None
    variables: list[VariableIn] | None = None


class VariableSetChange(Camel):
    """What to change of a variable set; variables replace all that it has."""

    name: MaybeText = UNSET
    description: MaybeText = UNSET
    labels: MaybeTexts = UNSET
    parents: MaybeTexts = UNSET
    variables: list[VariableIn] | UnsetType | None = UNSET


class VariableSetItem(Camel):
    """A variable set."""

    id: str
    version: int
    name: str
    description: str
    labels: list[str]
    parents: list[str]


class VariableSetFull(VariableSetItem):
    """A variable set with what is known of it alone."""

    consumable: bool
    descendants: list[str]


class VariableSetMade(Camel):
    """The id of a new variable set."""

    variable_set_id: str


class AttachIn(Camel):
    """How a project uses a variable set."""

    consume: bool | None = None
    """Whether its values flow to the workspaces of the project and below; true when left out."""


# --- projects ---


class ProjectIn(Camel):
    """A project to make."""

    name: str
    description: Text = None
    labels: Texts = None
    pool_id: Text = None
    cron_execution_pattern: Text = None
    oidc_authentication: bool | None = None
    parent_id: Text = None
    variables: list[VariableIn] | None = None


class ProjectChange(Camel):
    """What to change of a project."""

    name: MaybeText = UNSET
    description: MaybeText = UNSET
    labels: MaybeTexts = UNSET
    pool_id: MaybeText = UNSET
    cron_execution_pattern: MaybeText = UNSET
    oidc_authentication: bool | UnsetType | None = UNSET
    variables: list[VariableIn] | UnsetType | None = UNSET


class ProjectItem(Camel):
    """A project."""

    id: str
    account_id: str
    name: str
    description: str
    labels: list[str]
    pool_id: str | None
    cron_execution_pattern: str
    oidc_authentication: bool | None
    members_count: int
    workspace_count: int
    parent_id: str


class ProjectNode(ProjectItem):
    """A project with those below it."""

    children: list["ProjectNode"]


class ProjectPage(Camel):
    """A page of projects."""

    data: list[ProjectItem]
    total_count: int


class ProjectTree(Camel):
    """Projects as a tree."""

    data: list[ProjectNode]


class MemberIn(Camel):
    """Whom to add: a user by id, name or e-mail address."""

    user_id: str
    role: str
    email: Text = None


class MemberItem(Camel, omit_defaults=True):
    """A member."""

    user_id: str
    role: str
    email: str | UnsetType = UNSET


class UserItem(Camel):
    """A user of the account."""

    id: str
    user_id: str
    name: str
    email: str
    kind: str
    created_at: datetime


# --- integrations ---


class IntegrationItem(Camel):
    """An integration."""

    id: str
    name: str
    type: str
    is_enabled: bool
    active: bool
    sync_status: str
    """`synced` or `outOfSync`."""
    last_fetch_success: bool


class RepositoryItem(Camel):
    """A repository."""

    full_name: str
    default_branch: str
    description: str


class TreeNode(Camel):
    """A folder or file."""

    name: str
    path: str
    type: str
    """`directory` or `file`."""
    children: list["TreeNode"]


# --- workspaces ---


class BackendSummary(Camel):
    """Where the state is."""

    backend_type: str
    backend_config: dict[str, Any]
    iac_stack_id: str
    managed_resource_count: int


class WorkspaceItem(Camel, omit_defaults=True, kw_only=True):
    """A workspace in a listing."""

    id: str
    account_id: str
    created_at: datetime
    updated_at: datetime
    workspace_id: str
    workspace_name: str
    repo: str
    repo_url: str
    vcs_type: str
    runner_type: str
    last_run_status: str
    last_apply_time: datetime | UnsetType = UNSET
    last_plan_time: datetime | UnsetType = UNSET
    last_run_time: datetime | UnsetType = UNSET
    iac_type: str
    iac_type_version: str
    backend_summary: BackendSummary | UnsetType = UNSET
    labels: list[str]
    pool_id: str | UnsetType = UNSET
    runs_count: int
    is_workflow_managed: bool
    guardrails: list[str]
    oidc_authentication: bool | None
    is_remote: bool


class DeletedItem(Camel):
    """That a workspace is gone."""

    status: int
    data: dict[str, str]


class LabelsIn(Camel):
    """All labels of a workspace."""

    labels: list[str]


class LabelsOut(Camel):
    """The labels of a workspace."""

    id: str
    workspace_name: str
    labels: list[str]
    updated_at: datetime


class RunItem(Camel, omit_defaults=True):
    """A run."""

    id: str
    account_id: str
    created_at: datetime
    updated_at: datetime
    workspace_id: str
    workspace_name: str
    run_id: str
    run_name: str
    status: str
    pull_request_id: str
    pull_request_url: str
    branch: str
    commit_id: str
    commit_url: str
    runner_type: str
    build_id: str
    build_url: str
    build_name: str
    vcs_type: str
    repo: str
    repo_url: str
    title: str
    terraform_version: str
    iac_type: str
    plan_task_id: str
    apply_task_id: str | UnsetType = UNSET


# --- workspaces whose runs are executed here ---


class ExecutionIn(Camel):
    """How runs go."""

    triggers: Texts = None
    apply_rule: Text = None
    terraform_version: Text = None


class RunnersWorkspaceIn(Camel):
    """A workspace to make."""

    runner_type: str
    iac_type: str
    workspace_name: str
    vcs_id: str
    repo: str
    default_branch: str
    vcs_type: str
    work_dir: str
    description: Text = None
    labels: Texts = None
    variables: list[VariableIn] | None = None
    execution: ExecutionIn | None = None
    consumed_variable_sets: Texts = None
    project: Text = None
    terraform_variables: dict[str, Any] | None = None
    terraform_sensitive_variables: dict[str, Any] | None = None
    providers_credentials: dict[str, Any] | None = None
    runner_environment: dict[str, Any] | None = None
    pool_id: Text = None
    oidc_authentication: bool | None = None
    is_remote: bool | None = None


class ProvisionerIn(Camel):
    """The tool and its version."""

    type: Text = None
    version: Text = None


class RunnersWorkspaceChange(Camel):
    """What to change of a workspace."""

    name: MaybeText = UNSET
    description: MaybeText = UNSET
    labels: MaybeTexts = UNSET
    vcs_integration_id: MaybeText = UNSET
    repository: MaybeText = UNSET
    default_branch: MaybeText = UNSET
    vcs: MaybeText = UNSET
    working_directory: MaybeText = UNSET
    runner_type: MaybeText = UNSET
    cron_execution_pattern: MaybeText = UNSET
    parent_id: MaybeText = UNSET
    pool_id: MaybeText = UNSET
    oidc_authentication: bool | UnsetType | None = UNSET
    iac_provisioner: ProvisionerIn | UnsetType | None = UNSET
    execution: ExecutionIn | UnsetType | None = UNSET
    variables: list[VariableIn] | UnsetType | None = UNSET
    consumed_variable_sets: MaybeTexts = UNSET


class ProvisionerItem(Camel):
    """The tool and its version."""

    type: str
    version: str


class RunnersWorkspaceItem(Camel, omit_defaults=True):
    """A workspace."""

    id: str
    name: str
    description: str
    account_id: str
    repository: str
    working_directory: str
    vcs_integration_id: str
    vcs: str
    default_branch: str
    cron_execution_pattern: str
    labels: list[str]
    pool_id: str | None
    oidc_authentication: bool | None
    is_remote: bool
    iac_provisioner: ProvisionerItem
    project_id: str | UnsetType = UNSET
    """Only when a project was named."""


class DeployIn(Camel):
    """A run to make."""

    task_type: str
    """`plan` or `apply`."""
    cmd_arguments: Text = None
    branch: Text = None
    """Another branch than that of the workspace."""
    description: Text = None


class DeployedItem(Camel):
    """That a run was asked for."""

    status: int
    run_id: str
    task_id: str


class DestroyIn(Camel):
    """A destruction to ask for."""

    description: Text = None
    task_id: Text = None
    task_type: Text = None
    cmd_arguments: Text = None


class TaskItem(Camel):
    """A task."""

    id: str
    task_id: str
    account_id: str
    status: str
    current_step: str
    workspace_id: str
    type: str
    cmd_arguments: str
    created_at: datetime
    updated_at: datetime


class ApplyIn(Camel):
    """What to do with a task that waits."""

    task_type: str
    """`apply`, or `destroy` for a destruction."""
    cmd_arguments: Text = None


class RunStatusItem(Camel):
    """Where a run is."""

    status: str


class RemovedItem(Camel):
    """That a workspace is gone."""

    message: str
    workspace_id: str
    resources_destroyed: bool
