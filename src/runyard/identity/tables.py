"""Tables of accounts, projects, users, members and tokens. Owns their invariants; runs no statement.

The tree's rules are constraints: a slug is unique among siblings, an account has one root, the depth is bounded.
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
    UniqueConstraint,
    text,
)

from runyard.database.metadata import Json, PathText, Timestamp, metadata
from runyard.identity.model import MAX_DEPTH

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("slug", String(64), nullable=False, unique=True),
    Column("name", String(256), nullable=False),
    Column("created_at", Timestamp, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("parent_id", String(24), ForeignKey("projects.id"), nullable=True),
    Column("slug", String(64), nullable=False),
    Column("name", String(256), nullable=False),
    Column("path", PathText, nullable=False, unique=True),
    Column("depth", Integer, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    UniqueConstraint("parent_id", "slug"),
    CheckConstraint(f"depth >= 0 AND depth < {MAX_DEPTH}", name="depth"),
    CheckConstraint("(parent_id IS NULL) = (depth = 0)", name="root"),
)
Index(
    "uq_projects_root",
    projects.c.account_id,
    unique=True,
    sqlite_where=text("parent_id IS NULL"),
    postgresql_where=text("parent_id IS NULL"),
)
Index("ix_projects_account", projects.c.account_id, projects.c.path)

users = Table(
    "users",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("name", String(256), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("email", String(320), nullable=True),
    UniqueConstraint("account_id", "name"),
    CheckConstraint("kind IN ('user', 'service')", name="kind"),
)

members = Table(
    "members",
    metadata,
    Column("project_id", String(24), ForeignKey("projects.id"), primary_key=True),
    Column("user_id", String(24), ForeignKey("users.id"), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("reference", String(320), nullable=True),
    CheckConstraint("role IN ('admin', 'operator', 'viewer')", name="role"),
    Index("ix_members_user", "user_id"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("user_id", String(24), ForeignKey("users.id"), nullable=False),
    Column("project_id", String(24), ForeignKey("projects.id"), nullable=False),
    Column("name", String(256), nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("permissions", Json, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("expires_at", Timestamp, nullable=True),
    Column("last_used_at", Timestamp, nullable=True),
    Column("revoked_at", Timestamp, nullable=True),
    Index("ix_tokens_account", "account_id", "id"),
)

user_keys = Table(
    "user_keys",
    metadata,
    Column("token_id", String(24), ForeignKey("tokens.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", String(24), ForeignKey("users.id"), nullable=False),
    Column("masked", String(32), nullable=False),
    Column("scopes", Json, nullable=True),
    Column("allow_self_revoke", Boolean, nullable=False),
    Index("ix_user_keys_user", "user_id", "token_id"),
)
"""What a long-lived key of a user adds to its token."""

device_logins = Table(
    "device_logins",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("device_digest", LargeBinary(32), nullable=False, unique=True),
    Column("user_digest", LargeBinary(32), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("expires_at", Timestamp, nullable=False),
    Column("approved_by", String(24), ForeignKey("tokens.id", ondelete="CASCADE"), nullable=True),
    Column("access_token", String(24), ForeignKey("tokens.id", ondelete="CASCADE"), nullable=True),
    CheckConstraint("state IN ('pending', 'approved', 'exchanged')", name="state"),
    CheckConstraint("(state = 'pending') = (approved_by IS NULL)", name="approved"),
    CheckConstraint("(state = 'exchanged') = (access_token IS NOT NULL)", name="exchanged"),
    Index("ix_device_logins_expires", "expires_at"),
    Index("ix_device_logins_approved", "approved_by"),
    Index("ix_device_logins_access", "access_token"),
)
"""Log-ins of a device that a person approves elsewhere. Both codes are kept as hashes."""
