"""Tables of roles and of who holds them. Owns columns and invariants; runs no statement."""

from sqlalchemy import Boolean, Column, ForeignKey, String, Table, UniqueConstraint

from runyard.database.metadata import Json, Timestamp, metadata

action_roles = Table(
    "action_roles",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("name", String(128), nullable=False),
    Column("description", String, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("grants", Json, nullable=False),
    Column("applied_at", Timestamp, nullable=False),
    UniqueConstraint("account_id", "name"),
)
"""The roles that were defined; those of the system are in the code."""

action_role_assignments = Table(
    "action_role_assignments",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("user_name", String(256), nullable=False),
    Column("role", String(128), nullable=False),
    Column("description", String, nullable=False),
    UniqueConstraint("account_id", "user_name", "role"),
)
"""`role` names a role of the system or one of the account, so it is no foreign key; the service checks it."""
