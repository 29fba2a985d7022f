"""Workspaces, their runs and schedules."""

import sqlalchemy as sa
from alembic import op

from runyard.database.metadata import Json, PathText, Timestamp

revision: str = "0006"
down_revision: str | None = "0005"


def upgrade() -> None:
    """Apply the revision."""
    _workspaces()
    _workspaces_indexes()
    _runs()
    _runs_indexes()
    _workspace_schedules()
    _workspace_schedules_indexes()


def _workspaces() -> None:
    op.create_table(
        "workspaces",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("record_id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("identifier", sa.String(length=128), nullable=False),
        sa.Column("runner_type", sa.String(length=32), nullable=False),
        sa.Column("iac_type", sa.String(length=16), nullable=False),
        sa.Column("iac_version", sa.String(length=64), nullable=False),
        sa.Column("vcs_type", sa.String(length=32), nullable=False),
        sa.Column("vcs_integration_id", sa.String(length=64), nullable=False),
        sa.Column("repository", sa.String(length=1024), nullable=False),
        sa.Column("last_run_status", sa.String(length=24), nullable=False),
        sa.Column("last_run_at", Timestamp(), nullable=True),
        sa.Column("last_plan_at", Timestamp(), nullable=True),
        sa.Column("last_apply_at", Timestamp(), nullable=True),
        sa.Column("runs_count", sa.Integer(), nullable=False),
        sa.Column("resource_count", sa.Integer(), nullable=True),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.Column("label_text", sa.Text(), nullable=False),
        sa.Column("repository_url", sa.String(length=1024), nullable=False),
        sa.Column("branch", sa.String(length=1024), nullable=False),
        sa.Column("working_directory", sa.String(length=1024), nullable=False),
        sa.Column("apply_rule", sa.String(length=8), nullable=False),
        sa.Column("cron", sa.String(length=128), nullable=False),
        sa.Column("pool_id", sa.String(length=36), nullable=True),
        sa.Column("oidc", sa.Boolean(), nullable=True),
        sa.Column("remote_state", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("labels", Json(), nullable=False),
        sa.Column("triggers", Json(), nullable=False),
        sa.Column("lock", Json(), nullable=True),
        sa.Column("extras", Json(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_workspaces_account_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_workspaces_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workspaces")),
    )


def _workspaces_indexes() -> None:
    op.create_index("ix_workspaces_listing", "workspaces", ["account_id", "id"], unique=False)
    op.create_index("uq_workspaces_identifier", "workspaces", ["project_id", "identifier"], unique=True)
    op.create_index("uq_workspaces_name", "workspaces", ["account_id", "name"], unique=True)
    op.create_index("uq_workspaces_record", "workspaces", ["record_id"], unique=True)


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("record_id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("workspace_name", sa.String(length=256), nullable=False),
        sa.Column("holds", sa.String(length=36), nullable=True),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("trigger", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("step", sa.String(length=16), nullable=False),
        sa.Column("title", sa.String(length=512), nullable=False),
        sa.Column("branch", sa.String(length=1024), nullable=False),
        sa.Column("commit", sa.String(length=64), nullable=False),
        sa.Column("runner_type", sa.String(length=32), nullable=False),
        sa.Column("vcs_type", sa.String(length=32), nullable=False),
        sa.Column("repository", sa.String(length=1024), nullable=False),
        sa.Column("plan_task_id", sa.String(length=24), nullable=False),
        sa.Column("apply_task_id", sa.String(length=24), nullable=True),
        sa.Column("block", sa.String(length=16), nullable=False),
        sa.Column("has_changes", sa.Boolean(), nullable=True),
        sa.Column("timed_out", sa.Boolean(), nullable=False),
        sa.Column("auto_apply", sa.Boolean(), nullable=False),
        sa.Column("then_delete", sa.Boolean(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.Column("planned_at", Timestamp(), nullable=True),
        sa.Column("apply_started_at", Timestamp(), nullable=True),
        sa.Column("expires_at", Timestamp(), nullable=True),
        sa.Column("ended_at", Timestamp(), nullable=True),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("door", sa.String(length=32), nullable=False),
        sa.Column("approved_by", sa.String(length=256), nullable=True),
        sa.Column("repository_url", sa.String(length=1024), nullable=False),
        sa.Column("iac_type", sa.String(length=16), nullable=False),
        sa.Column("iac_version", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("origin", Json(), nullable=False),
        sa.Column("arguments", Json(), nullable=False),
        sa.Column("counts", Json(), nullable=False),
        sa.Column("violations", Json(), nullable=False),
        sa.Column("extras", Json(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_runs_account_id")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_runs_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )


def _runs_indexes() -> None:
    op.create_index("ix_runs_open", "runs", ["settled", "workspace_id", "id"], unique=False)
    op.create_index("ix_runs_workspace", "runs", ["workspace_id", "id"], unique=False)
    op.create_index("uq_runs_apply_task", "runs", ["apply_task_id"], unique=True)
    op.create_index("uq_runs_holds", "runs", ["holds"], unique=True)
    op.create_index("uq_runs_plan_task", "runs", ["plan_task_id"], unique=True)
    op.create_index("uq_runs_record", "runs", ["record_id"], unique=True)


def _workspace_schedules() -> None:
    op.create_table(
        "workspace_schedules",
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("expression", sa.String(length=128), nullable=False),
        sa.Column("next_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_workspace_schedules_workspace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", name=op.f("pk_workspace_schedules")),
    )


def _workspace_schedules_indexes() -> None:
    op.create_index("ix_workspace_schedules_next", "workspace_schedules", ["next_at"], unique=False)
