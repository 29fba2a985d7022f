"""The table of remote executions. Declares columns, keys and indexes; holds no statement."""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, String, Table, text

from runyard.database.metadata import Json, PathText, Timestamp, metadata

remote_executions = Table(
    "remote_executions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("project_id", String(24), ForeignKey("projects.id"), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("workspace_id", String(36), ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False),
    Column("actor", String(256), nullable=False),
    Column("arguments", Json, nullable=False),
    Column("run_id", String(36), nullable=False),
    Column("checksum", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("uploaded_at", Timestamp),
    Column("executed_at", Timestamp),
    Column("removed_at", Timestamp),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    CheckConstraint("(uploaded_at IS NULL) = (checksum = '')", name="source"),
    CheckConstraint("executed_at IS NULL OR uploaded_at IS NOT NULL", name="order"),
    Index("uq_remote_executions_run", "run_id", unique=True),
    Index("ix_remote_executions_workspace", "workspace_id"),
)
Index(
    "ix_remote_executions_kept",
    remote_executions.c.checksum,
    remote_executions.c.uploaded_at,
    sqlite_where=text("uploaded_at IS NOT NULL AND removed_at IS NULL"),
    postgresql_where=text("uploaded_at IS NOT NULL AND removed_at IS NULL"),
)
"""Serves the sweep and the question whether anybody still needs a blob."""
