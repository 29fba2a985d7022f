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
