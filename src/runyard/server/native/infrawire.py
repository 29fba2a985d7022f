"""Shapes of workspaces and runs on the wire of the native API. Owns the types and the views of domain objects."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from runyard.infrastructure.runs.model import Run, RunKind
from runyard.infrastructure.workspaces.model import Code, Workspace


class WorkspaceIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a workspace shall be."""

    name: str
    project: str | None = None
    """Id or slugs of a project; the caller's own when left out."""
    description: str = ""
    labels: list[str] = []
    runner_type: str = "firefly"
    """`firefly` for runs of this server, else the pipeline that reports them: `jenkins`, `github-actions`, ..."""
    iac_type: str = "opentofu"
    iac_version: str = ""
    vcs_type: str = ""
    vcs_integration_id: str = ""
    """Id or name of an integration of its project or one above."""
    repository: str = ""
    repository_url: str = ""
    branch: str = ""
    working_directory: str = ""
    apply_rule: str = "manual"
    cron: str = ""


class WorkspaceOut(msgspec.Struct, kw_only=True):
    """A workspace."""

    id: str
    name: str
    project_id: str
    description: str
    labels: list[str]
    runner_type: str
    iac_type: str
    iac_version: str
    vcs_type: str
    vcs_integration_id: str
    repository: str
    repository_url: str
    branch: str
    working_directory: str
    apply_rule: str
    cron: str
    locked_by: str | None
    lock_reason: str | None
    resource_count: int | None
    last_run_status: str
    last_run_at: datetime | None
    runs_count: int
    created_at: datetime
    updated_at: datetime


class VariableOut(msgspec.Struct, kw_only=True):
    """A variable that a run would get."""

    key: str
    destination: str
    """`env` for the environment of the run, `iac` for an input of the code."""
    value: str | None
    """Null when it is secret."""
    secret: bool


class LockIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why it is locked; for an unlock, whether another's lock is taken away."""

    reason: str = ""
    force: bool = False


class RunIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a run shall do."""

    kind: RunKind = RunKind.PLAN
    arguments: str = ""
    """Extra arguments, as on a command line; those that are allowed are listed in the documentation."""
    branch: str = ""
    commit: str = ""
    title: str = ""
    auto_apply: bool | None = None
    """Apply without asking; the rule of the workspace when left out."""


class RunOut(msgspec.Struct, kw_only=True):
    """A run. Its output is that of the executions `plan_task_id` and `apply_task_id`."""

    id: str
    workspace_id: str
    workspace_name: str
    kind: str
    trigger: str
    status: str
    step: str
    reason: str | None
    title: str
    actor: str
    branch: str
    commit: str
    iac_type: str
    iac_version: str
    plan_task_id: str
    apply_task_id: str | None
    block: str
    """`none`, `flexible` (somebody may acknowledge it) or `strict`."""
    violations: list[dict[str, Any]]
    has_changes: bool | None
    counts: dict[str, int]
    approved_by: str | None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


class ReportIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a pipeline tells of the run that it begins."""

    title: str = ""
    applies: bool = False
    """Whether it means to apply what it plans."""
    branch: str = ""
    commit: str = ""
    commit_url: str = ""
    pull_request_id: str = ""
    pull_request_url: str = ""
    build_id: str = ""
    build_name: str = ""
    build_url: str = ""
    iac_version: str = ""


class PushIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What happened in a repository."""

    event: Literal["push", "merge", "pull_request"]
    repository: str
    """As workspaces name it: `owner/name`."""
    branch: str
    """To which was pushed or merged; of a pull request, that which it would be merged into."""
    source_branch: str = ""
    """Of a pull request: the branch that would be merged."""
    commit: str = ""
    commit_url: str = ""
    title: str = ""
    pull_request_id: str = ""
    pull_request_url: str = ""


class FailureIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why what the pipeline did failed."""

    reason: str = ""


def code_of(body: WorkspaceIn) -> Code:
    """Return where the code of a workspace shall be."""
    return Code(
        vcs_type=body.vcs_type,
        vcs_integration_id=body.vcs_integration_id,
        repository=body.repository,
        repository_url=body.repository_url,
        branch=body.branch,
        working_directory=body.working_directory,
    )


def workspace_view(one: Workspace) -> WorkspaceOut:
    """Return a workspace as the wire has it."""
    return WorkspaceOut(
        id=one.id,
        name=one.name,
        project_id=one.project_id,
        description=one.description,
        labels=list(one.labels),
        runner_type=one.runner_type,
        iac_type=one.iac_type.value,
        iac_version=one.iac_version,
        vcs_type=one.code.vcs_type,
        vcs_integration_id=one.code.vcs_integration_id,
        repository=one.code.repository,
        repository_url=one.code.repository_url,
        branch=one.code.branch,
        working_directory=one.code.working_directory,
        apply_rule=one.apply_rule.value,
        cron=one.cron,
        locked_by=None if one.lock is None else one.lock.actor,
        lock_reason=None if one.lock is None else one.lock.reason,
        resource_count=one.resource_count,
        last_run_status=one.last_run_status,
        last_run_at=one.last_run_at,
        runs_count=one.runs_count,
        created_at=one.created_at,
        updated_at=one.updated_at,
    )


def run_view(one: Run) -> RunOut:
    """Return a run as the wire has it."""
    return RunOut(
        id=one.id,
        workspace_id=one.workspace_id,
        workspace_name=one.workspace_name,
        kind=one.kind.value,
        trigger=one.trigger.value,
        status=one.status.value,
        step=one.step.value,
        reason=one.reason,
        title=one.title,
        actor=one.actor,
        branch=one.origin.branch,
        commit=one.origin.commit,
        iac_type=one.iac_type,
        iac_version=one.iac_version,
        plan_task_id=one.plan_task_id,
        apply_task_id=one.apply_task_id,
        block=one.block.value,
        violations=[dict(violation) for violation in one.violations],
        has_changes=one.has_changes,
        counts=dict(one.counts),
        approved_by=one.approved_by,
        created_at=one.created_at,
        updated_at=one.updated_at,
        ended_at=one.ended_at,
    )
