"""Terraform state: versions, locks, credentials of runs, configuration versions; signing keys."""

import sqlalchemy as sa
from alembic import op

from runyard.database.metadata import Json, PathText, Timestamp

revision: str = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    """Apply the revision."""
    _state_versions()
    _state_locks()
    _state_grants()
    _oidc_keys()
    _configurations()


def _state_versions() -> None:
    op.create_table(
        "state_versions",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("lineage", sa.String(length=128), nullable=False),
        sa.Column("md5", sa.String(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("terraform_version", sa.String(length=32), nullable=False),
        sa.Column("resources", sa.Integer(), nullable=False),
        sa.Column("blob", sa.String(length=64), nullable=True),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.CheckConstraint("(number IS NULL) = (blob IS NULL)", name=op.f("ck_state_versions_kept")),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_state_versions_workspace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_state_versions")),
        sa.UniqueConstraint("workspace_id", "number", name=op.f("uq_state_versions_workspace_id_number")),
    )


def _state_locks() -> None:
    op.create_table(
        "state_locks",
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("lock_id", sa.String(length=256), nullable=False),
        sa.Column("holder", sa.String(length=8), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("user_id", sa.String(length=24), nullable=True),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("info", Json(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.CheckConstraint("holder IN ('client', 'run')", name=op.f("ck_state_locks_holder")),
        sa.CheckConstraint("(holder = 'run') = (run_id IS NOT NULL)", name=op.f("ck_state_locks_run")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_state_locks_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workspace_id", name=op.f("pk_state_locks")),
    )
    op.create_index("ix_state_locks_run", "state_locks", ["run_id"])


def _state_grants() -> None:
    op.create_table(
        "state_grants",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("writes", sa.Boolean(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("expires_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_state_grants_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_state_grants")),
    )
    op.create_index("ix_state_grants_run", "state_grants", ["run_id"])


def _oidc_keys() -> None:
    op.create_table(
        "oidc_keys",
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("algorithm", sa.String(length=8), nullable=False),
        sa.Column("public", Json(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("retired_at", Timestamp(), nullable=True),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_oidc_keys")),
    )
    active = sa.text("retired_at IS NULL")
    op.create_index(
        "uq_oidc_keys_active",
        "oidc_keys",
        ["algorithm"],
        unique=True,
        sqlite_where=active,
        postgresql_where=active,
    )


def _configurations() -> None:
    op.create_table(
        "configurations",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("speculative", sa.Boolean(), nullable=False),
        sa.Column("blob", sa.String(length=64), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.String(length=1024), nullable=False),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'uploaded', 'errored', 'archived')", name=op.f("ck_configurations_status")
        ),
        sa.CheckConstraint("(status = 'uploaded') = (blob IS NOT NULL)", name=op.f("ck_configurations_blob")),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_configurations_workspace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_configurations")),
    )
    op.create_index("ix_configurations_workspace", "configurations", ["workspace_id", "id"])
    op.create_index("ix_configurations_status", "configurations", ["status", "created_at"])
    op.create_index("ix_configurations_blob", "configurations", ["blob"])
