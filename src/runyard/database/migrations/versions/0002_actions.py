"""Packs, actions, runs of actions, traces, keys of the datastore, API keys."""

import sqlalchemy as sa
from alembic import op

from runyard.database.metadata import Json, Timestamp

revision: str = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Apply the revision."""
    _packs()
    _actions()
    _pack_configs()
    _action_runs()
    _traces()
    _trace_parts()
    _datastore_keys()
    _api_keys()


def _packs() -> None:
    op.create_table(
        "packs",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("ref", sa.String(length=256), nullable=False),
        sa.Column("document", Json(), nullable=False),
        sa.Column("schema", Json(), nullable=True),
        sa.Column("registered_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_packs_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_packs")),
        sa.UniqueConstraint("account_id", "ref", name=op.f("uq_packs_account_id_ref")),
    )


def _actions() -> None:
    op.create_table(
        "actions",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("pack", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("document", Json(), nullable=False),
        sa.Column("changed_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_actions_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_actions")),
        sa.UniqueConstraint("account_id", "pack", "name", name=op.f("uq_actions_account_id_pack_name")),
    )


def _pack_configs() -> None:
    op.create_table(
        "pack_configs",
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("pack", sa.String(length=256), nullable=False),
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_pack_configs_account_id")),
        sa.PrimaryKeyConstraint("account_id", "pack", name=op.f("pk_pack_configs")),
    )


def _action_runs() -> None:
    op.create_table(
        "action_runs",
        sa.Column("execution_id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("liveaction_id", sa.String(length=24), nullable=False),
        sa.Column("action_ref", sa.String(length=520), nullable=False),
        sa.Column("runner", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=256), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("document", Json(), nullable=False),
        sa.Column("context", Json(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_result", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at", Timestamp(), nullable=True),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["executions.id"], name=op.f("fk_action_runs_execution_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("execution_id", name=op.f("pk_action_runs")),
    )
    op.create_index(
        "ix_action_runs_action", "action_runs", ["account_id", "action_ref", "created_at"], unique=False
    )
    op.create_index("ix_action_runs_liveaction", "action_runs", ["liveaction_id"], unique=False)
    op.create_index(
        "ix_action_runs_runner", "action_runs", ["account_id", "runner", "created_at"], unique=False
    )
    op.create_index(
        "ix_action_runs_user", "action_runs", ["account_id", "user_name", "created_at"], unique=False
    )


def _traces() -> None:
    op.create_table(
        "traces",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("tag", sa.String(length=256), nullable=False),
        sa.Column("started_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_traces_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traces")),
    )
    op.create_index("ix_traces_started", "traces", ["account_id", "started_at"], unique=False)
    op.create_index("ix_traces_tag", "traces", ["account_id", "tag"], unique=False)


def _trace_parts() -> None:
    op.create_table(
        "trace_parts",
        sa.Column("trace_id", sa.String(length=24), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("object_id", sa.String(length=24), nullable=False),
        sa.Column("ref", sa.String(length=520), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.Column("caused_by", Json(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('execution', 'rule', 'trigger_instance')", name=op.f("ck_trace_parts_kind")
        ),
        sa.ForeignKeyConstraint(
            ["trace_id"], ["traces.id"], name=op.f("fk_trace_parts_trace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trace_id", "kind", "object_id", name=op.f("pk_trace_parts")),
    )
    op.create_index("ix_trace_parts_object", "trace_parts", ["object_id"], unique=False)


def _datastore_keys() -> None:
    op.create_table(
        "datastore_keys",
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("user_name", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("secret", sa.Boolean(), nullable=False),
        sa.Column("expires_at", Timestamp(), nullable=True),
        sa.CheckConstraint("(scope = 'user') = (user_name <> '')", name=op.f("ck_datastore_keys_owner")),
        sa.CheckConstraint("scope IN ('system', 'user')", name=op.f("ck_datastore_keys_scope")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_datastore_keys_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datastore_keys")),
        sa.UniqueConstraint(
            "account_id",
            "scope",
            "user_name",
            "name",
            name=op.f("uq_datastore_keys_account_id_scope_user_name_name"),
        ),
    )


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("token_id", sa.String(length=24), nullable=False),
        sa.Column("account_id", sa.String(length=24), nullable=False),
        sa.Column("user_name", sa.String(length=256), nullable=False),
        sa.Column("key_hash", sa.String(length=128), nullable=False),
        sa.Column("metadata", Json(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(
            ["token_id"], ["tokens.id"], name=op.f("fk_api_keys_token_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_index("ix_api_keys_account", "api_keys", ["account_id", "created_at"], unique=False)
