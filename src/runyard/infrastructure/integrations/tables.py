"""The table of integrations. Declares columns and keys; holds no statement."""

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, String, Table, Text, UniqueConstraint

from runyard.database.metadata import Json, PathText, Timestamp, metadata

vcs_integrations = Table(
    "vcs_integrations",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("project_id", String(24), ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("name", String(256), nullable=False),
    Column("type", String(32), nullable=False),
    Column("url", String(1024), nullable=False),
    Column("username", Text, nullable=False),
    Column("known_hosts", Text, nullable=False),
    Column("repositories", Json, nullable=False),
    Column("sealed", LargeBinary),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    Column("fetched_at", Timestamp),
    Column("fetch_error", Text, nullable=False),
    UniqueConstraint("account_id", "name"),
    Index("ix_vcs_integrations_listing", "account_id", "id"),
)
