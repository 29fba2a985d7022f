"""Tables of task sets. Owns their invariants: a name once in an account, members in an order, each once."""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from runyard.database.metadata import Timestamp, metadata

task_sets = Table(
    "task_sets",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("name", String(128), nullable=False),
    Column("is_public", Boolean, nullable=False),
    Column("description", Text, nullable=True),
    Column("source", String(1024), nullable=True),
    Column("words", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    Column("created_by", String(256), nullable=False),
    UniqueConstraint("account_id", "name"),
    Index("ix_task_sets_created", "account_id", "created_at"),
    Index("ix_task_sets_public", "is_public", "created_at"),
)
"""`words` is what a search looks into, in lower case."""

task_set_members = Table(
    "task_set_members",
    metadata,
    Column("set_id", String(36), ForeignKey("task_sets.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("task", String(256), nullable=False),
    Column("version", String(32), nullable=False),
    Column("notes", Text, nullable=True),
    UniqueConstraint("set_id", "task", "version"),
    Index("ix_task_set_members_task", "task", "version"),
)
"""`task` is `org/name`; an empty version means the latest one."""

task_set_tags = Table(
    "task_set_tags",
    metadata,
    Column("set_id", String(36), ForeignKey("task_sets.id", ondelete="CASCADE"), primary_key=True),
    Column("tag", String(128), primary_key=True),
    Index("ix_task_set_tags_tag", "tag"),
)
