"""How resources look in tables. Owns the columns of each noun, so that every command shows the same thing alike."""

from runyard.cli.kit.output import Column, compact, size, span
from runyard.client.guardrails import Delivery, Guardrail
from runyard.client.integrations import Integration
from runyard.client.models import (
    ActionRole,
    Checkpoint,
    Event,
    Execution,
    Image,
    Member,
    Project,
    Runtime,
    Secret,
    Token,
    User,
)
from runyard.client.states import StateLock, StateVersion
from runyard.client.tasks import PushedTask
from runyard.client.workspaces import Run, Variable, Violation, Workspace

RUNTIME_COLUMNS: tuple[Column[Runtime], ...] = (
    Column("NAME", lambda one: one.name, flexible=True),
    Column("STATUS", lambda one: one.status),
    Column("ID", lambda one: one.id),
    Column("MEMORY", lambda one: one.memory_mib and f"{one.memory_mib} MiB"),
    Column("NETWORK", lambda one: one.egress),
    Column("CREATED", lambda one: one.created_at),
    Column("CPUS", lambda one: one.vcpus, wide=True),
    Column("DISK", lambda one: one.disk_gib and f"{one.disk_gib} GiB", wide=True),
    Column("BASE", lambda one: one.base, wide=True),
    Column("PROJECT", lambda one: one.project, wide=True),
    Column("ERROR", lambda one: one.error_message, wide=True),
)

CHECKPOINT_COLUMNS: tuple[Column[Checkpoint], ...] = (
    Column("NAME", lambda one: one.name, flexible=True),
    Column("STATE", lambda one: one.state),
    Column("ID", lambda one: one.id),
    Column("RUNTIME", lambda one: one.runtime_name or one.runtime_id, flexible=True),
    Column("SIZE", lambda one: size(one.size_bytes)),
    Column("CREATED", lambda one: one.created_at),
)

IMAGE_COLUMNS: tuple[Column[Image], ...] = (
    Column("NAME", lambda one: one.name, flexible=True),
    Column("KIND", lambda one: one.kind),
    Column("DEFAULT", lambda one: "yes" if one.default else None),
    Column("SIZE", lambda one: size(one.size_bytes)),
    Column("CREATED", lambda one: one.created_at),
    Column("DIGEST", lambda one: one.digest, flexible=True),
)

TASK_COLUMNS: tuple[Column[PushedTask], ...] = (
    Column("REF", lambda one: one.ref, flexible=True),
    Column("NAME", lambda one: one.name),
    Column("VERSION", lambda one: one.version),
    Column("DIGEST", lambda one: one.digest, flexible=True),
)

SECRET_COLUMNS: tuple[Column[Secret], ...] = (
    Column("NAME", lambda one: one.name, flexible=True),
    Column("ID", lambda one: one.id),
    Column("CREATED", lambda one: one.created_at),
    Column("CHANGED", lambda one: one.updated_at),
    Column("CACHED", lambda one: one.cache_ttl_secs and f"{one.cache_ttl_secs} s", wide=True),
    Column("PROJECT", lambda one: one.project, wide=True),
)

PROJECT_COLUMNS: tuple[Column[Project], ...] = (
    Column("PATH", lambda one: one.path, flexible=True),
    Column("ID", lambda one: one.id),
    Column("NAME", lambda one: one.name, flexible=True),
    Column("CREATED", lambda one: one.created_at),
    Column("PARENT", lambda one: one.parent_id, wide=True),
)

USER_COLUMNS: tuple[Column[User], ...] = (
    Column("NAME", lambda one: one.name, flexible=True),
    Column("ID", lambda one: one.id),
    Column("KIND", lambda one: one.kind),
    Column("CREATED", lambda one: one.created_at),
)

MEMBER_COLUMNS: tuple[Column[Member], ...] = (
    Column("USER", lambda one: one.user, flexible=True),
    Column("ROLE", lambda one: one.role),
    Column("KIND", lambda one: one.kind),
    Column("ID", lambda one: one.user_id),
)

INTEGRATION_COLUMNS: tuple[Column[Integration], ...] = (
    Column("NAME", lambda one: one.name, flexible=True),
    Column("ID", lambda one: one.id),
    Column("TYPE", lambda one: one.type),
    Column("URL", lambda one: one.url, flexible=True),
    Column("CREDENTIAL", lambda one: "yes" if one.has_credential else "no"),
    Column("FETCHED", lambda one: one.fetched_at),
    Column("ERROR", lambda one: one.fetch_error or None, flexible=True),
)

GUARDRAIL_COLUMNS: tuple[Column[Guardrail], ...] = (
    Column("NAME", lambda one: one.name, flexible=True),
    Column("ID", lambda one: one.id),
    Column("TYPE", lambda one: one.type),
    Column("SEVERITY", lambda one: one.severity),
    Column("ENABLED", lambda one: one.enabled),
    Column("CREATED", lambda one: one.created_at),
    Column("CREATED BY", lambda one: one.created_by, flexible=True, wide=True),
    Column("PROJECT", lambda one: one.project_id, wide=True),
)

GUARDRAIL_DETAILS: tuple[Column[Guardrail], ...] = (
    *GUARDRAIL_COLUMNS,
    Column("SCOPE", lambda one: compact(one.scope)),
    Column("CRITERIA", lambda one: compact(one.criteria)),
    Column("CHANGED", lambda one: one.updated_at),
)

DELIVERY_COLUMNS: tuple[Column[Delivery], ...] = (
    Column("ID", lambda one: one.id),
    Column("EVENT", lambda one: one.event),
    Column("STATUS", lambda one: one.status),
    Column("TRIES", lambda one: one.attempts),
    Column("ANSWER", lambda one: one.last_status or one.last_error or None, flexible=True),
    Column("CREATED", lambda one: one.created_at),
    Column("RUN", lambda one: one.run_id, wide=True),
    Column("NEXT", lambda one: one.next_at, wide=True),
)

VARIABLE_COLUMNS: tuple[Column[Variable], ...] = (
    Column("KEY", lambda one: one.key, flexible=True),
    Column("DESTINATION", lambda one: one.destination),
    Column("SECRET", lambda one: one.secret),
    Column("VALUE", lambda one: one.value, flexible=True),
)

WORKSPACE_COLUMNS: tuple[Column[Workspace], ...] = (
    Column("NAME", lambda one: one.name, flexible=True),
    Column("ID", lambda one: one.id),
    Column("LAST RUN", lambda one: one.last_run_status or None),
    Column("WHEN", lambda one: one.last_run_at),
    Column("RESOURCES", lambda one: one.resource_count),
    Column("LOCKED BY", lambda one: one.locked_by),
    Column("TOOL", lambda one: f"{one.iac_type} {one.iac_version}".strip(), wide=True),
    Column("REPOSITORY", lambda one: one.repository or one.repository_url, flexible=True, wide=True),
    Column("BRANCH", lambda one: one.branch, wide=True),
    Column("CRON", lambda one: one.cron or None, wide=True),
)

WORKSPACE_DETAILS: tuple[Column[Workspace], ...] = (
    *WORKSPACE_COLUMNS,
    Column("FOLDER", lambda one: one.working_directory),
    Column("INTEGRATION", lambda one: one.vcs_integration_id),
    Column("RUNS ON", lambda one: "this server" if one.runner_type == "firefly" else one.runner_type),
    Column("APPLIES", lambda one: one.apply_rule),
    Column("LABELS", lambda one: ", ".join(one.labels)),
    Column("LOCK REASON", lambda one: one.lock_reason),
    Column("PROJECT", lambda one: one.project_id),
    Column("CREATED", lambda one: one.created_at),
)

RUN_COLUMNS: tuple[Column[Run], ...] = (
    Column("ID", lambda one: one.id),
    Column("KIND", lambda one: one.kind),
    Column("STATUS", lambda one: one.status),
    Column("TITLE", lambda one: one.title, flexible=True),
    Column("CREATED", lambda one: one.created_at),
    Column("CHANGES", lambda one: _changes(one)),
    Column("PLAN", lambda one: one.plan_task_id, wide=True),
    Column("APPLY", lambda one: one.apply_task_id, wide=True),
    Column("ACTOR", lambda one: one.actor, wide=True),
    Column("REASON", lambda one: one.reason, flexible=True, wide=True),
)

RUN_DETAILS: tuple[Column[Run], ...] = (
    *RUN_COLUMNS,
    Column("WORKSPACE", lambda one: one.workspace_name),
    Column("TRIGGER", lambda one: one.trigger),
    Column("BRANCH", lambda one: one.branch),
    Column("COMMIT", lambda one: one.commit),
    Column("TOOL", lambda one: f"{one.iac_type} {one.iac_version}".strip()),
    Column("VIOLATIONS", lambda one: len(one.violations) or None),
    Column("APPROVED BY", lambda one: one.approved_by),
    Column("ENDED", lambda one: one.ended_at),
)

VIOLATION_COLUMNS: tuple[Column[Violation], ...] = (
    Column("SEVERITY", lambda one: one.severity),
    Column("GUARDRAIL", lambda one: one.rule_name, flexible=True),
    Column("ADDRESS", lambda one: one.address or None, flexible=True),
    Column("MESSAGE", lambda one: one.message, flexible=True),
    Column("ID", lambda one: one.rule_id, wide=True),
)

STATE_COLUMNS: tuple[Column[StateVersion], ...] = (
    Column("VERSION", lambda one: one.number),
    Column("SERIAL", lambda one: one.serial),
    Column("RESOURCES", lambda one: one.resources),
    Column("SIZE", lambda one: size(one.size)),
    Column("TERRAFORM", lambda one: one.terraform_version or None),
    Column("BY", lambda one: one.created_by, flexible=True),
    Column("WRITTEN", lambda one: one.created_at),
    Column("FORCED", lambda one: "yes" if one.forced else None),
    Column("RUN", lambda one: one.run, wide=True),
    Column("LINEAGE", lambda one: one.lineage, wide=True),
)

STATE_LOCK_COLUMNS: tuple[Column[StateLock], ...] = (
    Column("ID", lambda one: one.id),
    Column("WHO", lambda one: one.who, flexible=True),
    Column("OPERATION", lambda one: one.operation or None),
    Column("INFO", lambda one: one.info or None, flexible=True),
    Column("SINCE", lambda one: one.created_at),
    Column("RUN", lambda one: one.run),
)

ROLE_COLUMNS: tuple[Column[ActionRole], ...] = (
    Column("NAME", lambda one: one.name, flexible=True),
    Column("ENABLED", lambda one: "yes" if one.enabled else "no"),
    Column("GRANTS", lambda one: len(one.permission_grants)),
    Column("DESCRIPTION", lambda one: one.description, flexible=True),
)

TOKEN_COLUMNS: tuple[Column[Token], ...] = (
    Column("NAME", lambda one: one.name, flexible=True),
    Column("ID", lambda one: one.id),
    Column("PREFIX", lambda one: one.prefix),
    Column("SCOPES", lambda one: " ".join(one.scopes), flexible=True),
    Column("CREATED", lambda one: one.created_at),
    Column("EXPIRES", lambda one: one.expires_at),
    Column("USED", lambda one: one.last_used_at),
    Column("REVOKED", lambda one: one.revoked_at, wide=True),
    Column("USER", lambda one: one.user_id, wide=True),
    Column("PROJECT", lambda one: one.project, wide=True),
)


def place_of(one: Execution) -> str | None:
    """Return the name of the place, or its id."""
    return one.place.name or one.place.id if one.place else None


def took(one: Execution) -> str | None:
    """Return how long an execution ran."""
    return None if one.duration_ms is None else span(one.duration_ms / 1000)


EXECUTION_COLUMNS: tuple[Column[Execution], ...] = (
    Column("ID", lambda one: one.id),
    Column("STATUS", lambda one: one.status),
    Column("EXIT", lambda one: one.exit_code),
    Column("PLACE", place_of, flexible=True),
    Column("COMMAND", lambda one: one.command or one.name, flexible=True),
    Column("STARTED", lambda one: one.started_at or one.created_at),
    Column("TOOK", took),
    Column("KIND", lambda one: one.kind, wide=True),
    Column("ACTOR", lambda one: one.actor, wide=True),
    Column("DOOR", lambda one: one.door, wide=True),
    Column("OUTPUT", lambda one: size(one.output_bytes), wide=True),
)

EXECUTION_DETAILS: tuple[Column[Execution], ...] = (
    *EXECUTION_COLUMNS,
    Column("REASON", lambda one: one.status_reason),
    Column("ENDED BY", lambda one: one.ended_by),
    Column("ENDED", lambda one: one.ended_at),
    Column("PARENT", lambda one: one.parent_id),
    Column("SIGNAL", lambda one: one.signal),
    Column("PROJECT", lambda one: one.project_id),
    Column("LABELS", lambda one: one.labels),
)

EVENT_COLUMNS: tuple[Column[Event], ...] = (
    Column("TIME", lambda one: one.time),
    Column("WHAT", lambda one: one.type),
    Column("ACTOR", lambda one: one.actor),
    Column("REASON", lambda one: one.reason, flexible=True),
)


_SUMS_AND_IDLE = frozenset({"add", "change", "destroy", "read", "no_op"})


def _changes(run: Run) -> str | None:
    """Return the planned actions in short; sums of several actions, and what changes nothing, are left out."""
    told = {name: count for name, count in run.counts.items() if count and name not in _SUMS_AND_IDLE}
    shown = [f"{count} {name}" for name, count in sorted(told.items(), key=lambda one: one[0] == "outputs")]
    return ", ".join(shown) or None
