"""The ledger's tables. Owns columns, invariants and indexes; the statements are in `store.py`.

Every index serves one filter of the listing together with the account and the order of creation. A page is read
by position (`created_at`, `seq`), never counted, so that it costs the same at a million rows. Account and project
are no foreign keys: the ledger is history and outlives them.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from runyard.database.metadata import Json, PathText, Timestamp, metadata
from runyard.executions.model import TERMINAL, Kind, Status

_BIG = BigInteger().with_variant(Integer(), "sqlite")


def _one_of(column: str, values: list[str]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


_ENDED = _one_of("status", sorted(status.value for status in TERMINAL))

executions = Table(
    "executions",
    metadata,
    Column("seq", _BIG, primary_key=True, autoincrement=True),
    Column("id", String(24), nullable=False),
    Column("account_id", String(24), nullable=False),
    Column("project_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(256), nullable=False),
    Column("parent_id", String(24), ForeignKey("executions.id")),
    Column("root_id", String(24), nullable=False),
    Column("place_kind", String(16)),
    Column("place_id", String(64)),
    Column("place_name", String(256)),
    Column("actor", String(256), nullable=False),
    Column("door", String(16), nullable=False),
    Column("command", String, nullable=False),
    Column("parameters", Json, nullable=False),
    Column("labels", Json, nullable=False),
    Column("status", String(16), nullable=False),
    Column("status_reason", String),
    Column("exit_code", Integer),
    Column("signal", Integer),
    Column("result", Json),
    Column("created_at", Timestamp, nullable=False),
    Column("started_at", Timestamp),
    Column("ended_at", Timestamp),
    Column("duration_us", BigInteger),
    Column("output_bytes", BigInteger, nullable=False),
    Column("output_truncated", Boolean, nullable=False),
    Column("output_ref", String(64)),
    Column("attempt", Integer, nullable=False),
    Column("worker", String(64)),
    Column("request_id", String(64)),
    UniqueConstraint("id"),
    CheckConstraint(_one_of("status", [status.value for status in Status]), name="status"),
    CheckConstraint(_one_of("kind", [kind.value for kind in Kind]), name="kind"),
    CheckConstraint(f"({_ENDED}) = (ended_at IS NOT NULL)", name="ended"),
    CheckConstraint("attempt >= 1 AND output_bytes >= 0", name="counts"),
    CheckConstraint("(place_kind IS NULL) = (place_id IS NULL)", name="place"),
)

Index("ix_executions_created", executions.c.account_id, executions.c.created_at, executions.c.seq)
for _column in ("status", "kind", "actor", "door", "project_path"):
    Index(
        f"ix_executions_{_column}",
        executions.c.account_id,
        executions.c[_column],
        executions.c.created_at,
        executions.c.seq,
    )
for _column in ("place_id", "parent_id"):
    Index(
        f"ix_executions_{_column}",
        executions.c[_column],
        executions.c.created_at,
        executions.c.seq,
        sqlite_where=executions.c[_column].is_not(None),
        postgresql_where=executions.c[_column].is_not(None),
    )
Index(
    "ix_executions_root_id",
    executions.c.root_id,
    executions.c.created_at,
    executions.c.seq,
    sqlite_where=executions.c.parent_id.is_not(None),
    postgresql_where=executions.c.parent_id.is_not(None),
)
Index(
    "ix_executions_live",
    executions.c.seq,
    sqlite_where=executions.c.ended_at.is_(None),
    postgresql_where=executions.c.ended_at.is_(None),
)

execution_labels = Table(
    "execution_labels",
    metadata,
    Column("account_id", String(24), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("value", String(256), primary_key=True),
    Column("created_at", Timestamp, primary_key=True),
    Column("execution_seq", _BIG, ForeignKey("executions.seq", ondelete="CASCADE"), primary_key=True),
    sqlite_with_rowid=False,
)
"""Labels again, in the order of the listing; empty when nobody labels, so an unlabelled exec pays nothing."""

assignments = Table(
    "assignments",
    metadata,
    Column("seq", _BIG, primary_key=True, autoincrement=True),
    Column("execution_id", String(24), ForeignKey("executions.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("pool", String(64), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("not_before", Timestamp),
    Column("key", String(256)),
    Column("key_limit", Integer, nullable=False),
    Column("runner", String(64), nullable=False),
    Column("document", Json, nullable=False),
    Column("offered_at", Timestamp, nullable=False),
    UniqueConstraint("execution_id", "attempt"),
    CheckConstraint("attempt >= 1 AND key_limit >= 1", name="counts"),
)
"""What a worker is to do for one attempt of an execution; kept so that a restart can offer it again."""
