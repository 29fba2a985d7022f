"""Variables and their sets, settings of projects, integrations; addresses of users and how members were named."""

import sqlalchemy as sa
from alembic import op

from runyard.database.metadata import Json, PathText, Timestamp

revision: str = "0010"
down_revision: str | None = "0009"


def upgrade() -> None:
    """Apply the revision."""
    _project_settings()
    _variable_sets()
    _vcs_integrations()
    _variable_set_attachments()
    _variable_set_bindings()
    _variable_set_parents()
    _variables()
    _people()


def _project_settings() -> None:
    op.create_table(
        "project_settings",
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("labels", Json(), nullable=False),
        sa.Column("pool_id", sa.String(length=36), nullable=True),
        sa.Column("cron", sa.String(length=128), nullable=False),
        sa.Column("oidc", sa.Boolean(), nullable=True),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_project_settings_account_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_project_settings_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_project_settings")),
    )
    op.create_index(
        "ix_project_settings_account", "project_settings", ["account_id", "project_path"], unique=False
    )


def _variable_sets() -> None:
    op.create_table(
        "variable_sets",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("labels", Json(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_variable_sets_account_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_variable_sets_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_variable_sets")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_variable_sets_account_id_name")),
    )
    op.create_index("ix_variable_sets_listing", "variable_sets", ["account_id", "id"], unique=False)


def _vcs_integrations() -> None:
    op.create_table(
        "vcs_integrations",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("project_path", PathText(), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("url", sa.String(length=1024), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("known_hosts", sa.Text(), nullable=False),
        sa.Column("repositories", Json(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.Column("fetched_at", Timestamp(), nullable=True),
        sa.Column("fetch_error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_vcs_integrations_account_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_vcs_integrations_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vcs_integrations")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_vcs_integrations_account_id_name")),
    )
    op.create_index("ix_vcs_integrations_listing", "vcs_integrations", ["account_id", "id"], unique=False)


def _variable_set_attachments() -> None:
    op.create_table(
        "variable_set_attachments",
        sa.Column("set_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=False),
        sa.Column("consume", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_variable_set_attachments_project_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["set_id"],
            ["variable_sets.id"],
            name=op.f("fk_variable_set_attachments_set_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("set_id", "project_id", name=op.f("pk_variable_set_attachments")),
    )
    op.create_index(
        "ix_variable_set_attachments_project", "variable_set_attachments", ["project_id"], unique=False
    )


def _variable_set_bindings() -> None:
    op.create_table(
        "variable_set_bindings",
        sa.Column("set_id", sa.String(length=24), nullable=False),
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["set_id"], ["variable_sets.id"], name=op.f("fk_variable_set_bindings_set_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_variable_set_bindings_workspace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("set_id", "workspace_id", name=op.f("pk_variable_set_bindings")),
    )
    op.create_index(
        "ix_variable_set_bindings_workspace", "variable_set_bindings", ["workspace_id"], unique=False
    )


def _variable_set_parents() -> None:
    op.create_table(
        "variable_set_parents",
        sa.Column("set_id", sa.String(length=24), nullable=False),
        sa.Column("parent_id", sa.String(length=24), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.CheckConstraint("set_id <> parent_id", name=op.f("ck_variable_set_parents_own_parent")),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["variable_sets.id"], name=op.f("fk_variable_set_parents_parent_id")
        ),
        sa.ForeignKeyConstraint(
            ["set_id"], ["variable_sets.id"], name=op.f("fk_variable_set_parents_set_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("set_id", "parent_id", name=op.f("pk_variable_set_parents")),
    )
    op.create_index("ix_variable_set_parents_parent", "variable_set_parents", ["parent_id"], unique=False)


def _variables() -> None:
    op.create_table(
        "variables",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("project_id", sa.String(length=24), nullable=True),
        sa.Column("workspace_id", sa.String(length=36), nullable=True),
        sa.Column("set_id", sa.String(length=24), nullable=True),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("destination", sa.String(length=8), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.CheckConstraint("destination IN ('env', 'iac')", name=op.f("ck_variables_destination")),
        sa.CheckConstraint(
            "(CASE WHEN project_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN workspace_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN set_id IS NULL THEN 0 ELSE 1 END) = 1",
            name=op.f("ck_variables_owner"),
        ),
        sa.CheckConstraint("(value IS NULL) <> (sealed IS NULL)", name=op.f("ck_variables_form")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_variables_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["set_id"], ["variable_sets.id"], name=op.f("fk_variables_set_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_variables_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_variables")),
    )
    op.create_index("uq_variables_project", "variables", ["project_id", "key", "destination"], unique=True)
    op.create_index("uq_variables_set", "variables", ["set_id", "key", "destination"], unique=True)
    op.create_index(
        "uq_variables_workspace", "variables", ["workspace_id", "key", "destination"], unique=True
    )


def _people() -> None:
    op.add_column("members", sa.Column("reference", sa.String(length=320), nullable=True))
    op.add_column("users", sa.Column("email", sa.String(length=320), nullable=True))
