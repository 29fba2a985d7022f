"""Tables of packs, actions, runs, keys, traces and API keys. Owns columns and invariants; runs no statement.

A run is what an action adds to an execution of the ledger: status, times, result and output are there and nowhere else.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
)

from runyard.database.metadata import Json, Timestamp, metadata

packs = Table(
    "packs",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("ref", String(256), nullable=False),
    Column("document", Json, nullable=False),
    Column("schema", Json),
    Column("registered_at", Timestamp, nullable=False),
    UniqueConstraint("account_id", "ref"),
)

actions = Table(
    "actions",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("pack", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("document", Json, nullable=False),
    Column("changed_at", Timestamp, nullable=False),
    UniqueConstraint("account_id", "pack", "name"),
)

disabled_runners = Table(
    "disabled_runners",
    metadata,
    Column("account_id", String(24), ForeignKey("accounts.id"), primary_key=True),
    Column("name", String(64), primary_key=True),
)
"""The runner types that an account has switched off; all others are on."""

pack_configs = Table(
    "pack_configs",
    metadata,
    Column("account_id", String(24), ForeignKey("accounts.id"), primary_key=True),
    Column("pack", String(256), primary_key=True),
    Column("id", String(24), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

action_runs = Table(
    "action_runs",
    metadata,
    Column("execution_id", String(24), ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", String(24), nullable=False),
    Column("liveaction_id", String(24), nullable=False),
    Column("action_ref", String(520), nullable=False),
    Column("runner", String(64), nullable=False),
    Column("user_name", String(256), nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("document", Json, nullable=False),
    Column("context", Json, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("sealed_result", LargeBinary),
    Column("expires_at", Timestamp),
    Column("rule_name", String(256)),
    Column("trigger_name", String(256)),
    Column("trigger_type", String(256)),
    Column("trigger_instance_id", String(24)),
    Index("ix_action_runs_action", "account_id", "action_ref", "created_at"),
    Index("ix_action_runs_user_action", "account_id", "user_name", "action_ref", "created_at"),
    Index("ix_action_runs_runner", "account_id", "runner", "created_at"),
    Index("ix_action_runs_liveaction", "liveaction_id"),
)
for _cause in ("rule_name", "trigger_name", "trigger_type", "trigger_instance_id"):
    Index(
        f"ix_action_runs_{_cause}",
        action_runs.c.account_id,
        action_runs.c[_cause],
        action_runs.c.created_at,
        sqlite_where=action_runs.c[_cause].is_not(None),
        postgresql_where=action_runs.c[_cause].is_not(None),
    )
"""`sealed` has the parameters as they were given, `sealed_result` the result where the ledger's is masked."""

traces = Table(
    "traces",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("tag", String(256), nullable=False),
    Column("started_at", Timestamp, nullable=False),
    Index("ix_traces_tag", "account_id", "tag"),
    Index("ix_traces_started", "account_id", "started_at"),
)

trace_parts = Table(
    "trace_parts",
    metadata,
    Column("trace_id", String(24), ForeignKey("traces.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("object_id", String(24), primary_key=True),
    Column("ref", String(520), nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    Column("caused_by", Json, nullable=False),
    CheckConstraint("kind IN ('execution', 'rule', 'trigger_instance')", name="kind"),
    Index("ix_trace_parts_object", "object_id"),
)

datastore_keys = Table(
    "datastore_keys",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("scope", String(8), nullable=False),
    Column("user_name", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("value", String, nullable=False),
    Column("secret", Boolean, nullable=False),
    Column("expires_at", Timestamp),
    UniqueConstraint("account_id", "scope", "user_name", "name"),
    CheckConstraint("scope IN ('system', 'user')", name="scope"),
    CheckConstraint("(scope = 'user') = (user_name <> '')", name="owner"),
)
"""`value` is sealed text when the key is a secret."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("token_id", String(24), ForeignKey("tokens.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", String(24), nullable=False),
    Column("user_name", String(256), nullable=False),
    Column("key_hash", String(128), nullable=False, unique=True),
    Column("metadata", Json, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Index("ix_api_keys_account", "account_id", "created_at"),
)
"""What an API key adds to a token of the account; the secret is known to identity only."""
