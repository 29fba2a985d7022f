"""Plans, guardrails, governance policies, notifications."""

import sqlalchemy as sa
from alembic import op

from runyard.database.metadata import Json, PathText, Timestamp

revision: str = "0008"
down_revision: str | None = "0007"


def upgrade() -> None:
    """Apply the revision."""
    _guardrails()
    _verdicts()
    _violations()
    _policies()
    _policy_packages()
    _notifications()
    _deliveries()
    _plans()
    _plan_resources()
    _changed_files()


def _guardrails() -> None:
    op.create_table(
        "guardrails",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("scope", Json(), nullable=False),
        sa.Column("criteria", Json(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("enforce_on_no_op", sa.Boolean(), nullable=False),
        sa.Column("notification_id", sa.String(length=24), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.CheckConstraint("severity IN (1, 2, 3)", name=op.f("ck_guardrails_severity")),
        sa.CheckConstraint("type IN ('policy', 'cost', 'resource', 'tag')", name=op.f("ck_guardrails_type")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_guardrails_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guardrails")),
    )
    op.create_index("ix_guardrails_created", "guardrails", ["account_id", "created_at"], unique=False)


def _verdicts() -> None:
    op.create_table(
        "verdicts",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("task_id", sa.String(length=24), nullable=False),
        sa.Column("blocked", sa.String(length=8), nullable=False),
        sa.Column("rules", Json(), nullable=False),
        sa.Column("judged_at", Timestamp(), nullable=False),
        sa.Column("acknowledged_by", sa.String(length=256), nullable=True),
        sa.Column("acknowledged_at", Timestamp(), nullable=True),
        sa.Column("acknowledged_reason", sa.String(length=1024), nullable=True),
        sa.CheckConstraint(
            "acknowledged_by IS NULL OR blocked = 'flexible'", name=op.f("ck_verdicts_acknowledged")
        ),
        sa.CheckConstraint(
            "(acknowledged_by IS NULL) = (acknowledged_at IS NULL)",
            name=op.f("ck_verdicts_acknowledged_when"),
        ),
        sa.CheckConstraint("blocked IN ('none', 'flexible', 'strict')", name=op.f("ck_verdicts_blocked")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_verdicts_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_verdicts")),
    )
    op.create_index("ix_verdicts_task", "verdicts", ["task_id"], unique=False)
    op.create_index("ix_verdicts_workspace", "verdicts", ["workspace_id"], unique=False)


def _violations() -> None:
    op.create_table(
        "violations",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("rule_id", sa.String(length=24), nullable=False),
        sa.Column("rule_name", sa.String(length=256), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("address", sa.String(length=2048), nullable=False),
        sa.Column("message", sa.String(length=1024), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["verdicts.run_id"], name=op.f("fk_violations_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_violations")),
    )
    op.create_index("ix_violations_position", "violations", ["run_id", "position"], unique=False)


def _policies() -> None:
    op.create_table(
        "policies",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("types", Json(), nullable=False),
        sa.Column("provider_ids", Json(), nullable=False),
        sa.Column("labels", Json(), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("category", sa.String(length=256), nullable=False),
        sa.Column("frameworks", Json(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.CheckConstraint("severity BETWEEN 1 AND 6", name=op.f("ck_policies_severity")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_policies_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policies")),
    )
    op.create_index("ix_policies_created", "policies", ["account_id", "created_at"], unique=False)


def _policy_packages() -> None:
    op.create_table(
        "policy_packages",
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("updated_by", sa.String(length=256), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_policy_packages_account_id")),
        sa.PrimaryKeyConstraint("account_id", "name", name=op.f("pk_policy_packages")),
    )


def _notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("rule_id", sa.String(length=24), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("destination", sa.String(length=2048), nullable=False),
        sa.Column("events", Json(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.CheckConstraint("type = 'webhook'", name=op.f("ck_notifications_type")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_notifications_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )
    op.create_index("ix_notifications_rule", "notifications", ["rule_id"], unique=False)


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("notification_id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", Timestamp(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.String(length=512), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("ended_at", Timestamp(), nullable=True),
        sa.CheckConstraint("(status = 'waiting') = (ended_at IS NULL)", name=op.f("ck_deliveries_ended")),
        sa.CheckConstraint("(status = 'waiting') = (next_at IS NOT NULL)", name=op.f("ck_deliveries_next")),
        sa.CheckConstraint(
            "status IN ('waiting', 'delivered', 'given_up')", name=op.f("ck_deliveries_status")
        ),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["notifications.id"],
            name=op.f("fk_deliveries_notification_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index("ix_deliveries_ended", "deliveries", ["ended_at"], unique=False)
    op.create_index("ix_deliveries_next", "deliveries", ["next_at"], unique=False)
    op.create_index(
        "ix_deliveries_notification", "deliveries", ["notification_id", "created_at"], unique=False
    )


def _plans() -> None:
    op.create_table(
        "plans",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("task_id", sa.String(length=24), nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.Column("summary", sa.LargeBinary(), nullable=False),
        sa.Column("variables", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_plans_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_plans")),
    )
    op.create_index("ix_plans_created", "plans", ["created_at"], unique=False)
    op.create_index("ix_plans_task", "plans", ["task_id"], unique=False)
    op.create_index("ix_plans_workspace", "plans", ["workspace_id", "created_at"], unique=False)


def _plan_resources() -> None:
    op.create_table(
        "plan_resources",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=2048), nullable=False),
        sa.Column("module", sa.String(length=2048), nullable=False),
        sa.Column("type", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("provider", sa.String(length=256), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("tags", Json(), nullable=True),
        sa.Column("cost_before", sa.Float(), nullable=True),
        sa.Column("cost_after", sa.Float(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("search", sa.String(), nullable=False),
        sa.Column("change", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("kind IN ('change', 'drift')", name=op.f("ck_plan_resources_kind")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["plans.run_id"], name=op.f("fk_plan_resources_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "kind", "position", name=op.f("pk_plan_resources")),
    )


def _changed_files() -> None:
    op.create_table(
        "changed_files",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=4096), nullable=False),
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("folder", sa.String(length=4096), nullable=False),
        sa.Column("name", sa.String(length=1024), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("previous_path", sa.String(length=4096), nullable=False),
        sa.Column("additions", sa.Integer(), nullable=False),
        sa.Column("deletions", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=True),
        sa.Column("binary", sa.Boolean(), nullable=False),
        sa.Column("patch", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_changed_files_workspace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_changed_files")),
    )
    op.create_index("ix_changed_files_created", "changed_files", ["created_at"], unique=False)
    op.create_index("ix_changed_files_workspace", "changed_files", ["workspace_id"], unique=False)
