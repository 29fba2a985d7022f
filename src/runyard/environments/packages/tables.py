"""Tables of task packages. Owns their invariants; runs no statement.

A package has at most one latest version. The blobs of a version are the account's own and cannot go before it.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from runyard.database.metadata import Json, Timestamp, metadata

package_blobs = Table(
    "package_blobs",
    metadata,
    Column("account_id", String(24), ForeignKey("accounts.id"), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("used_at", Timestamp, nullable=False),
    Index("ix_package_blobs_digest", "digest"),
    Index("ix_package_blobs_used", "used_at"),
)
"""Which account uploaded which bytes; the bytes themselves are kept once."""

task_packages = Table(
    "task_packages",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("name", String(128), nullable=False),
    Column("is_public", Boolean, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    UniqueConstraint("account_id", "name"),
    Index("ix_task_packages_public", "is_public", "name"),
)

task_versions = Table(
    "task_versions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("package_id", String(36), ForeignKey("task_packages.id", ondelete="CASCADE"), nullable=False),
    Column("account_id", String(24), nullable=False),
    Column("name", String(128), nullable=False),
    Column("major", Integer, nullable=False),
    Column("minor", Integer, nullable=False),
    Column("patch", Integer, nullable=False),
    Column("latest", Boolean, nullable=False),
    Column("config_digest", String(64), nullable=False),
    Column("layer_digest", String(64), nullable=False),
    Column("manifest_digest", String(64), nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("document", Json, nullable=False),
    Column("readme", Text, nullable=True),
    Column("difficulty", String(1024), nullable=True),
    Column("source", String(1024), nullable=True),
    Column("author", String(1024), nullable=True),
    Column("words", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("created_by", String(256), nullable=False),
    ForeignKeyConstraint(
        ["account_id", "config_digest"],
        ["package_blobs.account_id", "package_blobs.digest"],
        name="fk_task_versions_config",
    ),
    ForeignKeyConstraint(
        ["account_id", "layer_digest"],
        ["package_blobs.account_id", "package_blobs.digest"],
        name="fk_task_versions_layer",
    ),
    UniqueConstraint("package_id", "major", "minor", "patch"),
    Index("ix_task_versions_created", "account_id", "latest", "created_at"),
    Index("ix_task_versions_config", "account_id", "config_digest"),
    Index("ix_task_versions_layer", "account_id", "layer_digest"),
    Index("ix_task_versions_manifest", "account_id", "manifest_digest"),
    Index("ix_task_versions_tree", "layer_digest"),
)
"""`words` is what a search looks into, in lower case."""
Index(
    "uq_task_versions_latest",
    task_versions.c.package_id,
    unique=True,
    sqlite_where=task_versions.c.latest,
    postgresql_where=task_versions.c.latest,
)

task_tags = Table(
    "task_tags",
    metadata,
    Column("version_id", String(36), ForeignKey("task_versions.id", ondelete="CASCADE"), primary_key=True),
    Column("tag", String(128), primary_key=True),
    Index("ix_task_tags_tag", "tag"),
)
