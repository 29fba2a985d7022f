"""Tables of variables and sets. Declares columns, keys and invariants; holds no statement.

A variable has exactly one owner and exactly one form: text when it is none, sealed bytes when it is a secret.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from runyard.database.metadata import Json, PathText, Timestamp, metadata

variable_sets = Table(
    "variable_sets",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("project_id", String(24), ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("name", String(256), nullable=False),
    Column("description", Text, nullable=False),
    Column("labels", Json, nullable=False),
    Column("extras", Json, nullable=False, server_default="{}"),
    Column("version", Integer, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    UniqueConstraint("account_id", "name"),
    Index("ix_variable_sets_listing", "account_id", "id"),
)

variable_set_parents = Table(
    "variable_set_parents",
    metadata,
    Column("set_id", String(24), ForeignKey("variable_sets.id", ondelete="CASCADE"), primary_key=True),
    Column("parent_id", String(24), ForeignKey("variable_sets.id"), primary_key=True),
    Column("position", Integer, nullable=False),
    CheckConstraint("set_id <> parent_id", name="own_parent"),
    Index("ix_variable_set_parents_parent", "parent_id"),
)

variables = Table(
    "variables",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), nullable=False),
    Column("project_id", String(24), ForeignKey("projects.id", ondelete="CASCADE")),
    Column("workspace_id", String(36), ForeignKey("workspaces.id", ondelete="CASCADE")),
    Column("set_id", String(24), ForeignKey("variable_sets.id", ondelete="CASCADE")),
    Column("key", String(256), nullable=False),
    Column("destination", String(8), nullable=False),
    Column("value", Text),
    Column("sealed", LargeBinary),
    Column("updated_at", Timestamp, nullable=False),
    CheckConstraint("destination IN ('env', 'iac')", name="destination"),
    CheckConstraint("(value IS NULL) <> (sealed IS NULL)", name="form"),
    CheckConstraint(
        "(CASE WHEN project_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN workspace_id IS NULL THEN 0 ELSE 1 END)"
        " + (CASE WHEN set_id IS NULL THEN 0 ELSE 1 END) = 1",
        name="owner",
    ),
    Index("uq_variables_project", "project_id", "key", "destination", unique=True),
    Index("uq_variables_workspace", "workspace_id", "key", "destination", unique=True),
    Index("uq_variables_set", "set_id", "key", "destination", unique=True),
)

variable_set_attachments = Table(
    "variable_set_attachments",
    metadata,
    Column("set_id", String(24), ForeignKey("variable_sets.id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", String(24), ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("consume", Boolean, nullable=False),
    Index("ix_variable_set_attachments_project", "project_id"),
)
"""Sets that are known at a project; `consume` says whether their values flow to it and below."""

variable_set_bindings = Table(
    "variable_set_bindings",
    metadata,
    Column("set_id", String(24), ForeignKey("variable_sets.id", ondelete="CASCADE"), primary_key=True),
    Column("workspace_id", String(36), ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True),
    Index("ix_variable_set_bindings_workspace", "workspace_id"),
)
