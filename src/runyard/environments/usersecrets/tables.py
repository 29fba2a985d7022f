"""Table of user secrets. Owns its invariant: a user has one secret of a name."""

from sqlalchemy import Column, ForeignKey, LargeBinary, String, Table, UniqueConstraint

from runyard.database.metadata import Timestamp, metadata

user_secrets = Table(
    "user_secrets",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("user_id", String(24), ForeignKey("users.id"), nullable=False),
    Column("name", String(128), nullable=False),
    Column("provider", String(32), nullable=True),
    Column("masked", String(32), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    UniqueConstraint("user_id", "name"),
)
