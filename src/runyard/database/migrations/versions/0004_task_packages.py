"""The registry of task packages, user secrets, keys of users, log-ins of devices."""

import sqlalchemy as sa
from alembic import op

from runyard.database.metadata import Json, Timestamp

revision: str = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    """Apply the revision."""
    _user_keys()
    _device_logins()
    _user_secrets()
    _package_blobs()
    _task_packages()
    _task_versions()
    _task_tags()
    _task_sets()
    _task_set_members()
    _task_set_tags()


def _user_keys() -> None:
    op.create_table(
        "user_keys",
        sa.Column("token_id", sa.String(length=24), nullable=False),
        sa.Column("user_id", sa.String(length=24), nullable=False),
        sa.Column("masked", sa.String(length=32), nullable=False),
        sa.Column("scopes", Json(), nullable=True),
        sa.Column("allow_self_revoke", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["token_id"], ["tokens.id"], name=op.f("fk_user_keys_token_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_keys_user_id")),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_user_keys")),
    )
    op.create_index("ix_user_keys_user", "user_keys", ["user_id", "token_id"], unique=False)


def _device_logins() -> None:
    op.create_table(
        "device_logins",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("device_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("user_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("expires_at", Timestamp(), nullable=False),
        sa.Column("approved_by", sa.String(length=24), nullable=True),
        sa.Column("access_token", sa.String(length=24), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'approved', 'exchanged')", name=op.f("ck_device_logins_state")
        ),
        sa.CheckConstraint(
            "(state = 'pending') = (approved_by IS NULL)", name=op.f("ck_device_logins_approved")
        ),
        sa.CheckConstraint(
            "(state = 'exchanged') = (access_token IS NOT NULL)", name=op.f("ck_device_logins_exchanged")
        ),
        sa.ForeignKeyConstraint(
            ["approved_by"], ["tokens.id"], name=op.f("fk_device_logins_approved_by"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["access_token"], ["tokens.id"], name=op.f("fk_device_logins_access_token"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_logins")),
        sa.UniqueConstraint("device_digest", name=op.f("uq_device_logins_device_digest")),
        sa.UniqueConstraint("user_digest", name=op.f("uq_device_logins_user_digest")),
    )
    op.create_index("ix_device_logins_expires", "device_logins", ["expires_at"], unique=False)
    op.create_index("ix_device_logins_approved", "device_logins", ["approved_by"], unique=False)
    op.create_index("ix_device_logins_access", "device_logins", ["access_token"], unique=False)


def _user_secrets() -> None:
    op.create_table(
        "user_secrets",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("user_id", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=True),
        sa.Column("masked", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_user_secrets_account_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_secrets_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_secrets")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_user_secrets_user_id_name")),
    )


def _package_blobs() -> None:
    op.create_table(
        "package_blobs",
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("used_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_package_blobs_account_id")),
        sa.PrimaryKeyConstraint("account_id", "digest", name=op.f("pk_package_blobs")),
    )
    op.create_index("ix_package_blobs_digest", "package_blobs", ["digest"], unique=False)
    op.create_index("ix_package_blobs_used", "package_blobs", ["used_at"], unique=False)


def _task_packages() -> None:
    op.create_table(
        "task_packages",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_task_packages_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_packages")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_task_packages_account_id_name")),
    )
    op.create_index("ix_task_packages_public", "task_packages", ["is_public", "name"], unique=False)


def _task_versions() -> None:
    op.create_table(
        "task_versions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("package_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("major", sa.Integer(), nullable=False),
        sa.Column("minor", sa.Integer(), nullable=False),
        sa.Column("patch", sa.Integer(), nullable=False),
        sa.Column("latest", sa.Boolean(), nullable=False),
        sa.Column("config_digest", sa.String(length=64), nullable=False),
        sa.Column("layer_digest", sa.String(length=64), nullable=False),
        sa.Column("manifest_digest", sa.String(length=64), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("document", Json(), nullable=False),
        sa.Column("readme", sa.Text(), nullable=True),
        sa.Column("difficulty", sa.String(length=1024), nullable=True),
        sa.Column("source", sa.String(length=1024), nullable=True),
        sa.Column("author", sa.String(length=1024), nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "config_digest"],
            ["package_blobs.account_id", "package_blobs.digest"],
            name="fk_task_versions_config",
        ),
        sa.ForeignKeyConstraint(
            ["account_id", "layer_digest"],
            ["package_blobs.account_id", "package_blobs.digest"],
            name="fk_task_versions_layer",
        ),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["task_packages.id"],
            name=op.f("fk_task_versions_package_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_versions")),
        sa.UniqueConstraint(
            "package_id",
            "major",
            "minor",
            "patch",
            name=op.f("uq_task_versions_package_id_major_minor_patch"),
        ),
    )
    _task_version_indexes()


def _task_version_indexes() -> None:
    of_account = (
        ("created", ["account_id", "latest", "created_at"]),
        ("config", ["account_id", "config_digest"]),
        ("layer", ["account_id", "layer_digest"]),
        ("manifest", ["account_id", "manifest_digest"]),
        ("tree", ["layer_digest"]),
    )
    for name, columns in of_account:
        op.create_index(f"ix_task_versions_{name}", "task_versions", columns, unique=False)
    op.create_index(
        "uq_task_versions_latest",
        "task_versions",
        ["package_id"],
        unique=True,
        sqlite_where=sa.text("latest"),
        postgresql_where=sa.text("latest"),
    )


def _task_tags() -> None:
    op.create_table(
        "task_tags",
        sa.Column("version_id", sa.String(length=36), nullable=False),
        sa.Column("tag", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["task_versions.id"], name=op.f("fk_task_tags_version_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("version_id", "tag", name=op.f("pk_task_tags")),
    )
    op.create_index("ix_task_tags_tag", "task_tags", ["tag"], unique=False)


def _task_sets() -> None:
    op.create_table(
        "task_sets",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("source", sa.String(length=1024), nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_task_sets_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_sets")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_task_sets_account_id_name")),
    )
    op.create_index("ix_task_sets_created", "task_sets", ["account_id", "created_at"], unique=False)
    op.create_index("ix_task_sets_public", "task_sets", ["is_public", "created_at"], unique=False)


def _task_set_members() -> None:
    op.create_table(
        "task_set_members",
        sa.Column("set_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("task", sa.String(length=256), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["set_id"], ["task_sets.id"], name=op.f("fk_task_set_members_set_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("set_id", "position", name=op.f("pk_task_set_members")),
        sa.UniqueConstraint(
            "set_id", "task", "version", name=op.f("uq_task_set_members_set_id_task_version")
        ),
    )
    op.create_index("ix_task_set_members_task", "task_set_members", ["task", "version"], unique=False)


def _task_set_tags() -> None:
    op.create_table(
        "task_set_tags",
        sa.Column("set_id", sa.String(length=36), nullable=False),
        sa.Column("tag", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["set_id"], ["task_sets.id"], name=op.f("fk_task_set_tags_set_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("set_id", "tag", name=op.f("pk_task_set_tags")),
    )
    op.create_index("ix_task_set_tags_tag", "task_set_tags", ["tag"], unique=False)
