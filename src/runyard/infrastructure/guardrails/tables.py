"""Tables of guardrails and verdicts. Owns columns and invariants; runs no statement."""

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table

from runyard.database.metadata import Json, PathText, Timestamp, metadata

guardrails = Table(
    "guardrails",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("project_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("created_by", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("type", String(16), nullable=False),
    Column("scope", Json, nullable=False),
    Column("criteria", Json, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("enforce_on_no_op", Boolean, nullable=False),
    Column("notification_id", String(24), nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    CheckConstraint("type IN ('policy', 'cost', 'resource', 'tag')", name="type"),
    CheckConstraint("severity IN (1, 2, 3)", name="severity"),
    Index("ix_guardrails_created", "account_id", "created_at"),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("account_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("workspace_id", String(36), ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False),
    Column("task_id", String(24), nullable=False),
    Column("blocked", String(8), nullable=False),
    Column("rules", Json, nullable=False),
    Column("judged_at", Timestamp, nullable=False),
    Column("acknowledged_by", String(256)),
    Column("acknowledged_at", Timestamp),
    Column("acknowledged_reason", String(1024)),
    CheckConstraint("blocked IN ('none', 'flexible', 'strict')", name="blocked"),
    CheckConstraint("acknowledged_by IS NULL OR blocked = 'flexible'", name="acknowledged"),
    CheckConstraint("(acknowledged_by IS NULL) = (acknowledged_at IS NULL)", name="acknowledged_when"),
    Index("ix_verdicts_task", "task_id"),
    Index("ix_verdicts_workspace", "workspace_id"),
)
"""`rules` has what each rule in scope found. Nobody acknowledges what no override is allowed for: the second check."""

violations = Table(
    "violations",
    metadata,
    Column("run_id", String(36), ForeignKey("verdicts.run_id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("rule_id", String(24), nullable=False),
    Column("rule_name", String(256), nullable=False),
    Column("type", String(16), nullable=False),
    Column("severity", Integer, nullable=False),
    Column("position", Integer),
    Column("address", String(2048), nullable=False),
    Column("message", String(1024), nullable=False),
    Index("ix_violations_position", "run_id", "position"),
)
