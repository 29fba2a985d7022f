"""Tables of runs. Declares columns, keys and indexes; holds no statement.

`holds` is the id of the workspace while the run holds it, else null: its unique index is the invariant that of all
runs of a workspace at most one plans, waits or applies, however many servers try to begin one; only a saved plan waits
beside others. `settled` says that
what a run left behind after its end (files, state lock) was cleared away.
"""

from sqlalchemy import Boolean, Column, ForeignKey, Index, LargeBinary, String, Table, Text, false

from runyard.database.metadata import Json, PathText, Timestamp, metadata

runs = Table(
    "runs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("record_id", String(24), nullable=False),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("project_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("workspace_id", String(36), ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False),
    Column("workspace_name", String(256), nullable=False),
    Column("holds", String(36)),
    Column("kind", String(8), nullable=False),
    Column("trigger", String(16), nullable=False),
    Column("status", String(24), nullable=False),
    Column("step", String(16), nullable=False),
    Column("title", String(512), nullable=False),
    Column("branch", String(1024), nullable=False),
    Column("commit", String(64), nullable=False),
    Column("runner_type", String(32), nullable=False),
    Column("vcs_type", String(32), nullable=False),
    Column("repository", String(1024), nullable=False),
    Column("plan_task_id", String(24), nullable=False),
    Column("apply_task_id", String(24)),
    Column("block", String(16), nullable=False),
    Column("has_changes", Boolean),
    Column("timed_out", Boolean, nullable=False),
    Column("auto_apply", Boolean, nullable=False),
    Column("then_delete", Boolean, nullable=False),
    Column("saved", Boolean, nullable=False, server_default=false()),
    Column("settled", Boolean, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    Column("planned_at", Timestamp),
    Column("apply_started_at", Timestamp),
    Column("expires_at", Timestamp),
    Column("ended_at", Timestamp),
    Column("actor", String(256), nullable=False),
    Column("door", String(32), nullable=False),
    Column("approved_by", String(256)),
    Column("repository_url", String(1024), nullable=False),
    Column("iac_type", String(16), nullable=False),
    Column("iac_version", String(64), nullable=False),
    Column("reason", Text),
    Column("origin", Json, nullable=False),
    Column("arguments", Json, nullable=False),
    Column("counts", Json, nullable=False),
    Column("violations", Json, nullable=False),
    Column("extras", Json, nullable=False),
    Column("sealed", LargeBinary),
    Index("uq_runs_record", "record_id", unique=True),
    Index("uq_runs_holds", "holds", unique=True),
    Index("uq_runs_plan_task", "plan_task_id", unique=True),
    Index("uq_runs_apply_task", "apply_task_id", unique=True),
    Index("ix_runs_workspace", "workspace_id", "id"),
    Index("ix_runs_open", "settled", "workspace_id", "id"),
)

schedules = Table(
    "workspace_schedules",
    metadata,
    Column("workspace_id", String(36), ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True),
    Column("expression", String(128), nullable=False),
    Column("next_at", Timestamp, nullable=False),
    Index("ix_workspace_schedules_next", "next_at"),
)
"""When the next drift-detection plan of a workspace is due."""
