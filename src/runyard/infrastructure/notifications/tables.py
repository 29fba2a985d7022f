"""Tables of notifications and their deliveries. Owns columns and invariants; runs no statement."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, String, Table

from runyard.database.metadata import Json, Timestamp, metadata

notifications = Table(
    "notifications",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("rule_id", String(24), nullable=False),
    Column("type", String(16), nullable=False),
    Column("destination", String(2048), nullable=False),
    Column("events", Json, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    CheckConstraint("type = 'webhook'", name="type"),
    Index("ix_notifications_rule", "rule_id"),
)
"""`sealed` is the whole address and the key that signs: the address of a webhook is a credential at many services.
`destination` is its host."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("notification_id", String(24), ForeignKey("notifications.id", ondelete="CASCADE"), nullable=False),
    Column("account_id", String(24), nullable=False),
    Column("event", String(32), nullable=False),
    Column("run_id", String(36), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Timestamp),
    Column("last_status", Integer),
    Column("last_error", String(512), nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("ended_at", Timestamp),
    CheckConstraint("status IN ('waiting', 'delivered', 'given_up')", name="status"),
    CheckConstraint("(status = 'waiting') = (next_at IS NOT NULL)", name="next"),
    CheckConstraint("(status = 'waiting') = (ended_at IS NULL)", name="ended"),
    Index("ix_deliveries_next", "next_at"),
    Index("ix_deliveries_notification", "notification_id", "created_at"),
    Index("ix_deliveries_ended", "ended_at"),
)
