"""Tables of environments and of the images built for them. Declares columns, keys and indexes; holds no statement."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
)

from runyard.database.metadata import Json, PathText, Timestamp, metadata
from runyard.environments.model import State

_STATES = ", ".join(f"'{state}'" for state in State)

environments = Table(
    "environments",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("project_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("owner_user_id", String(24), nullable=False),
    Column("actor", String(256), nullable=False),
    Column("task_ref", String(256), nullable=False),
    Column("definition", Json, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    Column("expires_at", Timestamp),
    Column("instruction", String),
    Column("service_urls", Json),
    Column("verification", Json),
    Column("variables", Json, nullable=False),
    Column("error", String),
    Column("execution_id", String(24)),
    Column("freed", Boolean, nullable=False),
    Column("token_digest", LargeBinary, nullable=False),
    Column("sealed", LargeBinary),
    CheckConstraint(f"state IN ({_STATES})", name="state"),
    CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="error"),
    Index("ix_environments_listing", "account_id", "id"),
    Index("ix_environments_left", "freed", "state", "expires_at"),
)
"""`sealed` holds the secret variables as they were when it was made; they are dropped when nothing of it is left."""

built_images = Table(
    "built_images",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("checkpoint_id", String(36), nullable=False),
    Column("base", String(256), nullable=False),
    Column("config", Json, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("used_at", Timestamp, nullable=False),
    Index("ix_built_images_used", "used_at"),
)
"""Files that a Dockerfile made, by the digest of all that it was made of."""
