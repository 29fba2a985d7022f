"""The table of signing keys. Owns columns and the invariant that one key signs."""

from sqlalchemy import Column, Index, LargeBinary, String, Table

from runyard.database.metadata import Json, Timestamp, metadata

oidc_keys = Table(
    "oidc_keys",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("algorithm", String(8), nullable=False),
    Column("public", Json, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("retired_at", Timestamp),
)
Index(
    "uq_oidc_keys_active",
    oidc_keys.c.algorithm,
    unique=True,
    sqlite_where=oidc_keys.c.retired_at.is_(None),
    postgresql_where=oidc_keys.c.retired_at.is_(None),
)
"""At most one key of an algorithm is not retired, however many servers rotate at once."""
