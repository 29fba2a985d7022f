"""Tables of state: versions, locks, credentials of runs. Owns columns and invariants; runs no statement."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from runyard.database.metadata import Json, PathText, Timestamp, metadata

state_versions = Table(
    "state_versions",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("workspace_id", String(36), ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False),
    Column("account_id", String(24), nullable=False),
    Column("project_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("number", Integer),
    Column("serial", BigInteger, nullable=False),
    Column("lineage", String(128), nullable=False),
    Column("md5", String(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("terraform_version", String(32), nullable=False),
    Column("resources", Integer, nullable=False),
    Column("blob", String(64)),
    Column("forced", Boolean, nullable=False),
    Column("run_id", String(36)),
    Column("created_by", String(256), nullable=False),
    Column("created_at", Timestamp, nullable=False),
    UniqueConstraint("workspace_id", "number"),
    CheckConstraint("(number IS NULL) = (blob IS NULL)", name="kept"),
)
"""One row a version. `number` and `blob` come together: a version counts only when its bytes are on the disk. The unique
key is what lets exactly one of two writers who saw the same current version win.
"""

state_locks = Table(
    "state_locks",
    metadata,
    Column("workspace_id", String(36), ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", String(24), nullable=False),
    Column("lock_id", String(256), nullable=False),
    Column("holder", String(8), nullable=False),
    Column("actor", String(256), nullable=False),
    Column("user_id", String(24)),
    Column("run_id", String(36)),
    Column("info", Json, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    CheckConstraint("holder IN ('client', 'run')", name="holder"),
    CheckConstraint("(holder = 'run') = (run_id IS NOT NULL)", name="run"),
    Index("ix_state_locks_run", "run_id"),
)
"""The primary key is the invariant: a workspace has one lock, whoever asks at the same time."""

state_grants = Table(
    "state_grants",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("workspace_id", String(36), ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False),
    Column("run_id", String(36), nullable=False),
    Column("account_id", String(24), nullable=False),
    Column("project_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("actor", String(256), nullable=False),
    Column("writes", Boolean, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("expires_at", Timestamp, nullable=False),
    Index("ix_state_grants_run", "run_id"),
)
"""Credentials that open one workspace's state to one run. Only the digest of the secret is kept."""
