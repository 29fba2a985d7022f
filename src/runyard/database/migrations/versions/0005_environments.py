"""Environments provisioned from task packages, and the images built for them."""

import sqlalchemy as sa
from alembic import op

from runyard.database.metadata import Json, PathText, Timestamp

revision: str = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "environments",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("account_id", sa.String(24), nullable=False),
        sa.Column("project_id", sa.String(24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("owner_user_id", sa.String(24), nullable=False),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.Column("task_ref", sa.String(256), nullable=False),
        sa.Column("definition", Json(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.Column("expires_at", Timestamp()),
        sa.Column("instruction", sa.String()),
        sa.Column("service_urls", Json()),
        sa.Column("verification", Json()),
        sa.Column("variables", Json(), nullable=False),
        sa.Column("error", sa.String()),
        sa.Column("execution_id", sa.String(24)),
        sa.Column("freed", sa.Boolean(), nullable=False),
        sa.Column("token_digest", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("id", name="pk_environments"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_environments_account_id"),
        sa.CheckConstraint(
            "state IN ('building', 'provisioning', 'ready', 'paused', 'torn_down', 'failed')",
            name=op.f("ck_environments_state"),
        ),
        sa.CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name=op.f("ck_environments_error")),
    )
    op.create_index("ix_environments_listing", "environments", ["account_id", "id"])
    op.create_index("ix_environments_left", "environments", ["freed", "state", "expires_at"])
    op.create_table(
        "built_images",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("checkpoint_id", sa.String(36), nullable=False),
        sa.Column("base", sa.String(256), nullable=False),
        sa.Column("config", Json(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("used_at", Timestamp(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_built_images"),
    )
    op.create_index("ix_built_images_used", "built_images", ["used_at"])
