"""The shapes of workspaces, runs and tasks. Owns names and types; computes nothing."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from runyard.dialects.firefly.projectwire import VariableIn
from runyard.dialects.firefly.wire import Camel, MaybeText, MaybeTexts, SearchIn, Text, Texts


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
