"""What the door shows of managed workspaces and their tasks."""

from typing import Final

from msgspec import UNSET

from runyard.dialects.firefly.workspacewire import ProvisionerItem, RunnersWorkspaceItem, TaskItem
from runyard.infrastructure.runs.tasks import Task
from runyard.infrastructure.workspaces.model import Workspace

OWN: Final = "firefly"
"""The dialect's part of what a workspace keeps for dialects."""
NAMED: Final = "project_named"
"""Whether a caller named the project: only then it is shown, else a client that named none sees a change for ever."""


def runners_item(one: Workspace) -> RunnersWorkspaceItem:
    """Return a workspace as it was given, with all that is known of its tool."""
    named = one.extras.get(OWN, {}).get(NAMED, False)
    return RunnersWorkspaceItem(
        id=one.id,
        name=one.name,
        description=one.description,
        account_id=one.account_id,
        repository=one.code.repository,
        working_directory=one.code.working_directory,
        vcs_integration_id=one.code.vcs_integration_id,
        vcs=one.code.vcs_type,
        default_branch=one.code.branch,
        cron_execution_pattern=one.cron,
        labels=list(one.labels),
        pool_id=one.pool_id,
        oidc_authentication=one.oidc,
        is_remote=one.remote_state,
        iac_provisioner=ProvisionerItem(type=one.iac_type.value, version=one.iac_version),
        project_id=one.project_id if named else UNSET,
    )


def task_item(one: Task) -> TaskItem:
    """Return a task, its id under both names by which clients read it."""
    return TaskItem(
        id=one.id,
        task_id=one.id,
        account_id=one.run.account_id,
        status=one.status.value,
        current_step=one.step.value,
        workspace_id=one.workspace_id,
        type=one.type.value,
        cmd_arguments=one.arguments,
        created_at=one.created_at,
        updated_at=one.updated_at,
    )
