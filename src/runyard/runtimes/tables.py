"""Tables of the runtimes domain. Declares columns, keys and indexes; holds no statement."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table

from runyard.database.metadata import Json, PathText, Timestamp, metadata

runtimes = Table(
    "runtimes",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(24), nullable=False),
    Column("project_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("owner_user_id", String(24), nullable=False),
    Column("display_name", String, nullable=False),
    Column("status", String(16), nullable=False),
    Column("desired_status", String(16), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("definition", Json, nullable=False),
    Column("restored_from", String(36)),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    Column("error_code", String),
    Column("error_message", String),
    Column("idempotency_key", String(255)),
    Column("idempotency_digest", String(64)),
    Index("ix_runtimes_listing", "account_id", "id"),
    Index("ix_runtimes_name", "account_id", "display_name"),
    Index("uq_runtimes_idempotency", "account_id", "idempotency_key", unique=True),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(24), nullable=False),
    Column("project_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("display_name", String, nullable=False),
    Column("kind", String(8), nullable=False),
    Column("state", String(16), nullable=False),
    Column("definition", Json, nullable=False),
    Column("source_runtime_id", String(36)),
    Column("source_runtime_name", String, nullable=False),
    Column("size_bytes", BigInteger),
    Column("created_at", Timestamp, nullable=False),
    Column("error_code", String),
    Index("ix_checkpoints_listing", "account_id", "id"),
    Index("ix_checkpoints_name", "account_id", "display_name"),
    Index("ix_checkpoints_source", "source_runtime_id"),
)

secrets = Table(
    "secrets",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(24), nullable=False),
    Column("project_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("display_name", String, nullable=False),
    Column("cache_ttl_secs", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    Index("uq_secrets_name", "project_id", "display_name", unique=True),
    Index("ix_secrets_listing", "account_id", "id"),
)
