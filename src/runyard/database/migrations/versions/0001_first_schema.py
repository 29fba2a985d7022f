"""First schema."""

import sqlalchemy as sa
from alembic import op

from runyard.database.metadata import Json, PathText, Timestamp

revision: str = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Apply the revision."""
    _accounts()
    _checkpoints()
    _checkpoints_indexes()
    _events()
    _events_indexes()
    _executions()
    _executions_indexes()
    _runtimes()
    _runtimes_indexes()
    _secrets()
    _secrets_indexes()
    _assignments()
    _execution_labels()
    _projects()
    _projects_indexes()
    _users()
    _members()
    _members_indexes()
    _tokens()
    _tokens_indexes()


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("slug", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("slug", name=op.f("uq_accounts_slug")),
    )


def _checkpoints() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("definition", Json(), nullable=False),
        sa.Column("source_runtime_id", sa.String(length=36), nullable=True),
        sa.Column("source_runtime_name", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
    )


def _checkpoints_indexes() -> None:
    op.create_index("ix_checkpoints_listing", "checkpoints", ["account_id", "id"], unique=False)
    op.create_index("ix_checkpoints_name", "checkpoints", ["account_id", "display_name"], unique=False)
    op.create_index("ix_checkpoints_source", "checkpoints", ["source_runtime_id"], unique=False)


def _events() -> None:
    op.create_table(
        "events",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("subject_kind", sa.String(length=32), nullable=False),
        sa.Column("subject_id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("at", Timestamp(), nullable=False),
        sa.Column("body", Json(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )


def _events_indexes() -> None:
    op.create_index("ix_events_subject", "events", ["subject_id", "id"], unique=False)


def _executions() -> None:
    op.create_table(
        "executions",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("parent_id", sa.String(length=24), nullable=True),
        sa.Column("root_id", sa.String(length=24), nullable=False),
        sa.Column("place_kind", sa.String(length=16), nullable=True),
        sa.Column("place_id", sa.String(length=64), nullable=True),
        sa.Column("place_name", sa.String(length=256), nullable=True),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("door", sa.String(length=16), nullable=False),
        sa.Column("command", sa.String(), nullable=False),
        sa.Column("parameters", Json(), nullable=False),
        sa.Column("labels", Json(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("status_reason", sa.String(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.Integer(), nullable=True),
        sa.Column("result", Json(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("started_at", Timestamp(), nullable=True),
        sa.Column("ended_at", Timestamp(), nullable=True),
        sa.Column("duration_us", sa.BigInteger(), nullable=True),
        sa.Column("output_bytes", sa.BigInteger(), nullable=False),
        sa.Column("output_truncated", sa.Boolean(), nullable=False),
        sa.Column("output_ref", sa.String(length=64), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=64), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.CheckConstraint(
            "(status IN ('abandoned', 'canceled', 'failed', 'succeeded', 'timeout')) = (ended_at IS NOT NULL)",
            name=op.f("ck_executions_ended"),
        ),
        sa.CheckConstraint(
            "kind IN ('exec', 'action', 'workflow', 'plan', 'apply', 'destroy', 'provision', 'verify')",
            name=op.f("ck_executions_kind"),
        ),
        sa.CheckConstraint(
            "status IN ('requested', 'delayed', 'scheduled', 'running', 'waiting', 'canceling', 'succeeded', 'failed', 'timeout', 'canceled', 'abandoned')",
            name=op.f("ck_executions_status"),
        ),
        sa.CheckConstraint("(place_kind IS NULL) = (place_id IS NULL)", name=op.f("ck_executions_place")),
        sa.CheckConstraint("attempt >= 1 AND output_bytes >= 0", name=op.f("ck_executions_counts")),
        sa.ForeignKeyConstraint(["parent_id"], ["executions.id"], name=op.f("fk_executions_parent_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_executions")),
        sa.UniqueConstraint("id", name=op.f("uq_executions_id")),
    )


def _executions_indexes() -> None:
    op.create_index(
        "ix_executions_actor", "executions", ["account_id", "actor", "created_at", "seq"], unique=False
    )
    op.create_index("ix_executions_created", "executions", ["account_id", "created_at", "seq"], unique=False)
    op.create_index(
        "ix_executions_door", "executions", ["account_id", "door", "created_at", "seq"], unique=False
    )
    op.create_index(
        "ix_executions_kind", "executions", ["account_id", "kind", "created_at", "seq"], unique=False
    )
    op.create_index(
        "ix_executions_live",
        "executions",
        ["seq"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "ix_executions_parent_id",
        "executions",
        ["parent_id", "created_at", "seq"],
        unique=False,
        sqlite_where=sa.text("parent_id IS NOT NULL"),
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_index(
        "ix_executions_place_id",
        "executions",
        ["place_id", "created_at", "seq"],
        unique=False,
        sqlite_where=sa.text("place_id IS NOT NULL"),
        postgresql_where=sa.text("place_id IS NOT NULL"),
    )
    op.create_index(
        "ix_executions_project_path",
        "executions",
        ["account_id", "project_path", "created_at", "seq"],
        unique=False,
    )
    op.create_index(
        "ix_executions_root_id",
        "executions",
        ["root_id", "created_at", "seq"],
        unique=False,
        sqlite_where=sa.text("parent_id IS NOT NULL"),
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_index(
        "ix_executions_status", "executions", ["account_id", "status", "created_at", "seq"], unique=False
    )


def _runtimes() -> None:
    op.create_table(
        "runtimes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("owner_user_id", sa.String(length=24), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("desired_status", sa.String(length=16), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("definition", Json(), nullable=False),
        sa.Column("restored_from", sa.String(length=36), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("error_message", sa.String(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("idempotency_digest", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runtimes")),
    )


def _runtimes_indexes() -> None:
    op.create_index("ix_runtimes_listing", "runtimes", ["account_id", "id"], unique=False)
    op.create_index("ix_runtimes_name", "runtimes", ["account_id", "display_name"], unique=False)
    op.create_index("uq_runtimes_idempotency", "runtimes", ["account_id", "idempotency_key"], unique=True)


def _secrets() -> None:
    op.create_table(
        "secrets",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("cache_ttl_secs", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secrets")),
    )


def _secrets_indexes() -> None:
    op.create_index("ix_secrets_listing", "secrets", ["account_id", "id"], unique=False)
    op.create_index("uq_secrets_name", "secrets", ["project_id", "display_name"], unique=True)


def _assignments() -> None:
    op.create_table(
        "assignments",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("execution_id", sa.String(length=24), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("pool", sa.String(length=64), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("not_before", Timestamp(), nullable=True),
        sa.Column("key", sa.String(length=256), nullable=True),
        sa.Column("key_limit", sa.Integer(), nullable=False),
        sa.Column("runner", sa.String(length=64), nullable=False),
        sa.Column("document", Json(), nullable=False),
        sa.Column("offered_at", Timestamp(), nullable=False),
        sa.CheckConstraint("attempt >= 1 AND key_limit >= 1", name=op.f("ck_assignments_counts")),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["executions.id"], name=op.f("fk_assignments_execution_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_assignments")),
        sa.UniqueConstraint("execution_id", "attempt", name=op.f("uq_assignments_execution_id_attempt")),
    )


def _execution_labels() -> None:
    op.create_table(
        "execution_labels",
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("value", sa.String(length=256), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("execution_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["execution_seq"],
            ["executions.seq"],
            name=op.f("fk_execution_labels_execution_seq"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "account_id", "name", "value", "created_at", "execution_seq", name=op.f("pk_execution_labels")
        ),
        sqlite_with_rowid=False,
    )


def _projects() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("parent_id", sa.String(length=24), nullable=True),
        sa.Column("slug", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("path", PathText(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.CheckConstraint("(parent_id IS NULL) = (depth = 0)", name=op.f("ck_projects_root")),
        sa.CheckConstraint("depth >= 0 AND depth < 5", name=op.f("ck_projects_depth")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_projects_account_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["projects.id"], name=op.f("fk_projects_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("parent_id", "slug", name=op.f("uq_projects_parent_id_slug")),
        sa.UniqueConstraint("path", name=op.f("uq_projects_path")),
    )


def _projects_indexes() -> None:
    op.create_index("ix_projects_account", "projects", ["account_id", "path"], unique=False)
    op.create_index(
        "uq_projects_root",
        "projects",
        ["account_id"],
        unique=True,
        sqlite_where=sa.text("parent_id IS NULL"),
        postgresql_where=sa.text("parent_id IS NULL"),
    )


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.CheckConstraint("kind IN ('user', 'service')", name=op.f("ck_users_kind")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_users_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_users_account_id_name")),
    )


def _members() -> None:
    op.create_table(
        "members",
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("user_id", sa.String(length=24), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.CheckConstraint("role IN ('admin', 'operator', 'viewer')", name=op.f("ck_members_role")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_members_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_members_user_id")),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_members")),
    )


def _members_indexes() -> None:
    op.create_index("ix_members_user", "members", ["user_id"], unique=False)


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("user_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("permissions", Json(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("expires_at", Timestamp(), nullable=True),
        sa.Column("last_used_at", Timestamp(), nullable=True),
        sa.Column("revoked_at", Timestamp(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_tokens_account_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_tokens_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_tokens_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
    )


def _tokens_indexes() -> None:
    op.create_index("ix_tokens_account", "tokens", ["account_id", "id"], unique=False)
