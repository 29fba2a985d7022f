"""SQL of signing keys. Owns the statements on their table; decides nothing and never commits."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from runyard.database.engine import Transaction
from runyard.infrastructure.oidc.model import ALGORITHM, SigningKey
from runyard.infrastructure.oidc.tables import oidc_keys


def _key(row: Row[Any]) -> SigningKey:
    found = row._mapping
    return SigningKey(
        kid=found["kid"],
        public=found["public"],
        sealed=bytes(found["sealed"]),
        created_at=found["created_at"],
        retired_at=found["retired_at"],
    )


async def insert_key(tx: Transaction, key: SigningKey) -> None:
    """Add the key that signs. Raises UniqueViolation while another one does."""
    await tx.execute(
        insert(oidc_keys),
        {
            "kid": key.kid,
            "algorithm": ALGORITHM,
            "public": dict(key.public),
            "sealed": key.sealed,
            "created_at": key.created_at,
            "retired_at": None,
        },
    )


async def all_keys(tx: Transaction) -> Sequence[SigningKey]:
    """Read all keys, the newest first."""
    return [_key(row) for row in await tx.all(select(oidc_keys).order_by(oidc_keys.c.created_at.desc()))]


async def retire(tx: Transaction, kid: str, at: datetime) -> None:
    """Let a key sign no more."""
    table = oidc_keys
    await tx.execute(
        update(table).where(table.c.kid == kid, table.c.retired_at.is_(None)).values(retired_at=at)
    )


async def delete_retired(tx: Transaction, before: datetime) -> None:
    """Remove keys whose last token has ended."""
    await tx.execute(delete(oidc_keys).where(oidc_keys.c.retired_at < before))


async def replace_sealed(tx: Transaction, kid: str, sealed: bytes) -> None:
    """Keep the private part under another seal."""
    await tx.execute(update(oidc_keys).where(oidc_keys.c.kid == kid).values(sealed=sealed))
