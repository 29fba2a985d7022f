"""The table of configuration versions. Owns columns and invariants; runs no statement."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, String, Table

from runyard.database.metadata import PathText, Timestamp, metadata

configurations = Table(
    "configurations",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), nullable=False),
    Column("project_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("workspace_id", String(36), ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False),
    Column("status", String(16), nullable=False),
    Column("speculative", Boolean, nullable=False),
    Column("blob", String(64)),
    Column("size", BigInteger, nullable=False),
    Column("error", String(1024), nullable=False),
    Column("created_by", String(256), nullable=False),
    Column("created_at", Timestamp, nullable=False),
    CheckConstraint("status IN ('pending', 'uploaded', 'errored', 'archived')", name="status"),
    CheckConstraint("(status = 'uploaded') = (blob IS NOT NULL)", name="blob"),
    Index("ix_configurations_workspace", "workspace_id", "id"),
    Index("ix_configurations_status", "status", "created_at"),
    Index("ix_configurations_blob", "blob"),
)
