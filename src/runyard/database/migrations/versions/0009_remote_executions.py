"""Remote executions and their archives."""

import sqlalchemy as sa
from alembic import op

from runyard.database.metadata import Json, PathText, Timestamp

revision: str = "0009"
down_revision: str | None = "0008"


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "remote_executions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("arguments", Json(), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("uploaded_at", Timestamp(), nullable=True),
        sa.Column("executed_at", Timestamp(), nullable=True),
        sa.Column("removed_at", Timestamp(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.CheckConstraint(
            "(uploaded_at IS NULL) = (checksum = '')", name=op.f("ck_remote_executions_source")
        ),
        sa.CheckConstraint(
            "executed_at IS NULL OR uploaded_at IS NOT NULL", name=op.f("ck_remote_executions_order")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_remote_executions_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_remote_executions_project_id")
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_remote_executions_workspace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_remote_executions")),
    )
    op.create_index("uq_remote_executions_run", "remote_executions", ["run_id"], unique=True)
    op.create_index("ix_remote_executions_workspace", "remote_executions", ["workspace_id"])
    kept = sa.text("uploaded_at IS NOT NULL AND removed_at IS NULL")
    op.create_index(
        "ix_remote_executions_kept",
        "remote_executions",
        ["checksum", "uploaded_at"],
        sqlite_where=kept,
        postgresql_where=kept,
    )
