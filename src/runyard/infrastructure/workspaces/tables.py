"""Tables of workspaces. Declares columns, keys and indexes; holds no statement.

Names are unique by constraint, so that of ten creations at once one wins. What a search looks at stands before the
documents, and as text: a scan of ten thousand rows must not parse any JSON.
"""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, Table, Text

from runyard.database.metadata import Json, PathText, Timestamp, metadata

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("record_id", String(24), nullable=False),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("project_id", String(24), ForeignKey("projects.id"), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("name", String(256), nullable=False),
    Column("identifier", String(128), nullable=False),
    Column("runner_type", String(32), nullable=False),
    Column("iac_type", String(16), nullable=False),
    Column("iac_version", String(64), nullable=False),
    Column("vcs_type", String(32), nullable=False),
    Column("vcs_integration_id", String(64), nullable=False),
    Column("repository", String(1024), nullable=False),
    Column("last_run_status", String(24), nullable=False),
    Column("last_run_at", Timestamp),
    Column("last_plan_at", Timestamp),
    Column("last_apply_at", Timestamp),
    Column("runs_count", Integer, nullable=False),
    Column("resource_count", Integer),
    Column("search_text", Text, nullable=False),
    Column("label_text", Text, nullable=False),
    Column("repository_url", String(1024), nullable=False),
    Column("branch", String(1024), nullable=False),
    Column("working_directory", String(1024), nullable=False),
    Column("apply_rule", String(8), nullable=False),
    Column("cron", String(128), nullable=False),
    Column("pool_id", String(36)),
    Column("oidc", Boolean),
    Column("remote_state", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    Column("description", Text, nullable=False),
    Column("labels", Json, nullable=False),
    Column("triggers", Json, nullable=False),
    Column("lock", Json),
    Column("extras", Json, nullable=False),
    Index("uq_workspaces_record", "record_id", unique=True),
    Index("uq_workspaces_name", "account_id", "name", unique=True),
    Index("uq_workspaces_identifier", "project_id", "identifier", unique=True),
    Index("ix_workspaces_listing", "account_id", "id"),
)
"""`search_text` is name, repository and labels in lower case; `label_text` has each label on a line of its own."""
