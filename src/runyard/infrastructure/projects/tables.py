"""The table of project settings. Declares columns and keys; holds no statement."""

from sqlalchemy import Boolean, Column, ForeignKey, Index, String, Table, Text

from runyard.database.metadata import Json, PathText, Timestamp, metadata

project_settings = Table(
    "project_settings",
    metadata,
    Column("project_id", String(24), ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("description", Text, nullable=False),
    Column("labels", Json, nullable=False),
    Column("extras", Json, nullable=False, server_default="{}"),
    Column("pool_id", String(36)),
    Column("cron", String(128), nullable=False),
    Column("oidc", Boolean),
    Column("updated_at", Timestamp, nullable=False),
    Index("ix_project_settings_account", "account_id", "project_path"),
)
