"""Tables of what follows the end of a run, and of the trigger instances that come of it. Runs no statement."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, String, Table

from runyard.database.metadata import Json, Timestamp, metadata

run_followups = Table(
    "run_followups",
    metadata,
    Column("execution_id", String(24), ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("account_id", String(24), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Timestamp, nullable=False),
    CheckConstraint("kind IN ('notify', 'callback')", name="kind"),
    CheckConstraint("attempts >= 0", name="attempts"),
    Index("ix_run_followups_due", "due_at"),
)
"""What is still to be done once an execution has ended; the row goes in the transaction that does it."""

trigger_instances = Table(
    "trigger_instances",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("trigger", String(520), nullable=False),
    Column("occurred_at", Timestamp, nullable=False),
    Column("status", String(24), nullable=False),
    Column("payload", Json, nullable=False),
    CheckConstraint("status IN ('pending', 'processing', 'processed', 'processing_failed')", name="status"),
    Index("ix_trigger_instances_occurred", "account_id", "occurred_at"),
    Index("ix_trigger_instances_trigger", "account_id", "trigger", "occurred_at"),
)
