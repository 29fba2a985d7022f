"""Tables of plans. Owns columns and invariants; runs no statement."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
)

from runyard.database.metadata import Json, PathText, Timestamp, metadata

plans = Table(
    "plans",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("account_id", String(24), nullable=False),
    Column("project_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("workspace_id", String(36), ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False),
    Column("task_id", String(24), nullable=False),
    Column("whole", Boolean, nullable=False),
    Column("summary", LargeBinary, nullable=False),
    Column("variables", LargeBinary, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Index("ix_plans_task", "task_id"),
    Index("ix_plans_workspace", "workspace_id", "created_at"),
    Index("ix_plans_created", "created_at"),
)
"""`summary` and `variables` are packed JSON: a plan may hold texts that no database takes as such. `whole` is false while its resources are being written: such a plan is nobody's."""

plan_resources = Table(
    "plan_resources",
    metadata,
    Column("run_id", String(36), ForeignKey("plans.run_id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(8), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("address", String(2048), nullable=False),
    Column("module", String(2048), nullable=False),
    Column("type", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("provider", String(256), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("action", String(16), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("tags", Json),
    Column("cost_before", Float),
    Column("cost_after", Float),
    Column("status", String(16), nullable=False),
    Column("search", String, nullable=False),
    Column("change", LargeBinary, nullable=False),
    CheckConstraint("kind IN ('change', 'drift')", name="kind"),
)
"""`change` is the masked entry of the plan, packed; `search` what a search looks at, in lower case."""

changed_files = Table(
    "changed_files",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("path", String(4096), nullable=False),
    Column("workspace_id", String(36), ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False),
    Column("account_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("folder", String(4096), nullable=False),
    Column("name", String(1024), nullable=False),
    Column("status", String(16), nullable=False),
    Column("previous_path", String(4096), nullable=False),
    Column("additions", Integer, nullable=False),
    Column("deletions", Integer, nullable=False),
    Column("size", Integer),
    Column("binary", Boolean, nullable=False),
    Column("patch", LargeBinary, nullable=False),
    Column("content", LargeBinary),
    Column("created_at", Timestamp, nullable=False),
    Index("ix_changed_files_created", "created_at"),
    Index("ix_changed_files_workspace", "workspace_id"),
)
"""Files that a run's commit changed, in the order of their paths: a path is too long for a key. `patch` and `content` are
masked and packed."""
