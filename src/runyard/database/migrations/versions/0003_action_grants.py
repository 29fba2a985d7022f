"""Roles and their holders, what caused a run, what follows its end."""

import sqlalchemy as sa
from alembic import op

from runyard.database.metadata import Json, Timestamp

revision: str = "0003"
down_revision: str | None = "0002"
_CAUSES = {"rule_name": 256, "trigger_name": 256, "trigger_type": 256, "trigger_instance_id": 24}


def upgrade() -> None:
    """Apply the revision."""
    _action_runs()
    _disabled_runners()
    _action_roles()
    _action_role_assignments()
    _run_followups()
    _trigger_instances()


def _action_runs() -> None:
    for name, length in _CAUSES.items():
        op.add_column("action_runs", sa.Column(name, sa.String(length=length), nullable=True))
        where = sa.column(name).is_not(None)
        op.create_index(
            f"ix_action_runs_{name}", "action_runs", ["account_id", name, "created_at"], unique=False,
            sqlite_where=where, postgresql_where=where,
        )  # fmt: skip


def _disabled_runners() -> None:
    op.create_table(
        "disabled_runners",
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_disabled_runners_account_id")),
        sa.PrimaryKeyConstraint("account_id", "name", name=op.f("pk_disabled_runners")),
    )


def _action_roles() -> None:
    op.create_table(
        "action_roles",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("grants", Json(), nullable=False),
        sa.Column("applied_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_action_roles_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action_roles")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_action_roles_account_id_name")),
    )


def _action_role_assignments() -> None:
    op.create_table(
        "action_role_assignments",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("user_name", sa.String(length=256), nullable=False),
        sa.Column("role", sa.String(length=128), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_action_role_assignments_account_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action_role_assignments")),
        sa.UniqueConstraint(
            "account_id",
            "user_name",
            "role",
            name=op.f("uq_action_role_assignments_account_id_user_name_role"),
        ),
    )


def _run_followups() -> None:
    op.create_table(
        "run_followups",
        sa.Column("execution_id", sa.String(length=24), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", Timestamp(), nullable=False),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_run_followups_attempts")),
        sa.CheckConstraint("kind IN ('notify', 'callback')", name=op.f("ck_run_followups_kind")),
        sa.ForeignKeyConstraint(
            ["execution_id"],
            ["executions.id"],
            name=op.f("fk_run_followups_execution_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("execution_id", "kind", name=op.f("pk_run_followups")),
    )
    op.create_index("ix_run_followups_due", "run_followups", ["due_at"], unique=False)


def _trigger_instances() -> None:
    op.create_table(
        "trigger_instances",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("trigger", sa.String(length=520), nullable=False),
        sa.Column("occurred_at", Timestamp(), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("payload", Json(), nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'processed', 'processing_failed')",
            name=op.f("ck_trigger_instances_status"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_trigger_instances_account_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trigger_instances")),
    )
    op.create_index(
        "ix_trigger_instances_occurred", "trigger_instances", ["account_id", "occurred_at"], unique=False
    )
    op.create_index(
        "ix_trigger_instances_trigger",
        "trigger_instances",
        ["account_id", "trigger", "occurred_at"],
        unique=False,
    )
