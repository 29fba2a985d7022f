"""Runs in the words of the protocol. Owns the tables from our states to theirs; pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from runyard.dialects.terraform.replies import resource, time_of
from runyard.identity.model import Permission, Principal
from runyard.infrastructure.runs.model import Block, Run, RunKind, RunStatus, Step

EXTRAS: Final = "terraform"
_STATUSES: Final[Mapping[RunStatus, str]] = {
    RunStatus.PENDING: "pending",
    RunStatus.PLANNING: "planning",
    RunStatus.INIT_ERROR: "errored",
    RunStatus.PLAN_ERROR: "errored",
    RunStatus.PLAN_NO_CHANGES: "planned_and_finished",
    RunStatus.PLAN_SUCCESS: "confirmed",
    RunStatus.BLOCKED: "errored",
    RunStatus.ACKNOWLEDGED: "confirmed",
    RunStatus.APPLYING: "applying",
    RunStatus.APPLY_SUCCESS: "applied",
    RunStatus.APPLY_NO_CHANGES: "applied",
    RunStatus.APPLY_ERROR: "errored",
    RunStatus.DISCARDED: "discarded",
    RunStatus.CANCELLED: "canceled",
}
_KINDS: Final = frozenset({"run", "plan", "apply", "polchk"})
_MOMENT: Final = timedelta(seconds=10)
_WARNING: Final = 3
_SEVERITIES: Final = {1: "flexible", 2: "strict", _WARNING: "warning"}
_PLAN_FAILED: Final = (RunStatus.INIT_ERROR, RunStatus.PLAN_ERROR)
_APPLIED: Final = (RunStatus.APPLY_SUCCESS, RunStatus.APPLY_NO_CHANGES)


def named(kind: str, run_id: str) -> str:
    """Return the id of a run, its plan, its apply or its check: clients take a run's for one by how it begins."""
    return f"{kind}-{run_id}"


def bare(name: str) -> str:
    """Return the id of the run in any of those, or as it is elsewhere."""
    kind, _, rest = name.partition("-")
    return rest if kind in _KINDS else name


def own(run: Run) -> Mapping[str, Any]:
    """Return what this dialect keeps with a run."""
    found = run.extras.get(EXTRAS)
    return found if isinstance(found, Mapping) else {}


def still_applying(run: Run, now: datetime) -> Run:
    """Return a run whose apply failed a moment ago as if it were still at it. The command looks at a run between the logs
    of plan and apply; when it finds it failed already, it goes away without reading why. So the end of an apply that
    failed is shown when its log was read, or after that moment.
    """
    failed = run.status is RunStatus.APPLY_ERROR or run.status is RunStatus.CANCELLED
    if not failed or run.apply_task_id is None or run.ended_at is None or run.door != EXTRAS:
        return run
    if now - run.ended_at > _MOMENT:
        return run
    return msgspec.structs.replace(run, status=RunStatus.APPLYING, step=Step.APPLY, ended_at=None)


def status_of(run: Run) -> str:
    """Return the status of a run."""
    if run.waits:
        return "planned_and_saved" if run.saved else "planned"
    if run.status is RunStatus.PLAN_SUCCESS and run.ended:
        return "planned_and_finished"
    return _STATUSES[run.status]


def plan_status(run: Run) -> str:
    """Return the status of a run's plan."""
    if run.status is RunStatus.PENDING:
        return "pending"
    if run.status is RunStatus.PLANNING:
        return "running"
    if run.status in _PLAN_FAILED:
        return "errored"
    if run.planned_at is None and run.status in (RunStatus.CANCELLED, RunStatus.DISCARDED):
        return "canceled"
    return "finished"


def apply_status(run: Run) -> str:
    """Return the status of a run's apply."""
    if run.status in _APPLIED:
        return "finished"
    if run.status is RunStatus.APPLY_ERROR:
        return "errored"
    if run.status is RunStatus.APPLYING:
        return "running"
    if run.ended:
        begun = run.status is RunStatus.CANCELLED and run.apply_started_at is not None
        return "canceled" if begun else "unreachable"
    return "pending"


def run_view(run: Run, caller: Principal) -> dict[str, Any]:
    """Show a run."""
    plan_only = run.kind is RunKind.PLAN
    waits = run.waits
    attributes: dict[str, Any] = {
        "status": status_of(run),
        "message": run.title,
        "source": run.trigger.value,
        "created-at": time_of(run.created_at),
        "auto-apply": run.auto_apply,
        "is-destroy": run.kind is RunKind.DESTROY,
        "plan-only": plan_only,
        "save-plan": run.saved,
        "has-changes": bool(run.has_changes),
        "refresh": "-refresh=false" not in run.arguments,
        "refresh-only": "-refresh-only" in run.arguments,
        "target-addrs": _values(run, "-target"),
        "replace-addrs": _values(run, "-replace"),
        "terraform-version": run.iac_version or None,
        "actions": {
            "is-confirmable": waits,
            "is-discardable": waits or run.status is RunStatus.PENDING,
            "is-cancelable": not run.ended and not waits,
            "is-force-cancelable": False,
        },
        "permissions": _permissions(caller),
        "status-timestamps": _times(run),
    }
    related: dict[str, Any] = {
        "workspace": ("workspaces", run.workspace_id),
        "plan": ("plans", named("plan", run.id)),
        "apply": ("applies", named("apply", run.id)),
    }
    if run.violations or run.block is not Block.NONE:
        related["policy-checks"] = [("policy-checks", named("polchk", run.id))]
    configuration = own(run).get("configuration")
    if configuration:
        related["configuration-version"] = ("configuration-versions", configuration)
    return resource("runs", named("run", run.id), attributes, related)


def plan_view(run: Run, log: str) -> dict[str, Any]:
    """Show the plan of a run. It has the id of the run: a run has one plan."""
    counts = run.counts
    attributes = {
        "status": plan_status(run),
        "has-changes": bool(run.has_changes),
        "generated-configuration": False,
        "resource-additions": counts.get("add", counts.get("create", 0)),
        "resource-changes": counts.get("change", counts.get("update", 0)),
        "resource-destructions": counts.get("destroy", counts.get("delete", 0)),
        "resource-imports": counts.get("import", 0),
        "log-read-url": log,
        "status-timestamps": _times(run),
    }
    return resource("plans", named("plan", run.id), attributes)


def apply_view(run: Run, log: str) -> dict[str, Any]:
    """Show the apply of a run, also while it is still to come."""
    attributes = {"status": apply_status(run), "log-read-url": log, "status-timestamps": _times(run)}
    return resource("applies", named("apply", run.id), attributes)


def check_view(run: Run, caller: Principal) -> dict[str, Any]:
    """Show what guardrails said to a run, as one check of policies: a strict one fails hard, a flexible one softly."""
    flexible = run.block is Block.FLEXIBLE
    open_still = flexible and run.waits
    status = "passed"
    if flexible:
        status = "soft_failed" if run.approved_by is None else "overridden"
    elif run.block is Block.STRICT:
        status = "hard_failed"
    failed = sum(one.get("severity") != _WARNING for one in run.violations)
    attributes = {
        "status": status,
        "scope": "organization",
        "actions": {"is-overridable": open_still},
        "permissions": {"can-override": _may_override(caller)},
        "result": {
            "result": status == "passed",
            "passed": 0,
            "total-failed": failed,
            "hard-failed": failed if run.block is Block.STRICT else 0,
            "soft-failed": failed if flexible else 0,
            "advisory-failed": len(run.violations) - failed,
        },
    }
    return resource(
        "policy-checks", named("polchk", run.id), attributes, {"run": ("runs", named("run", run.id))}
    )


def check_text(run: Run) -> str:
    """Write what guardrails said, a line for each violation."""
    lines = [f"{len(run.violations)} guardrail violation(s), blocked: {run.block.value}", ""]
    for one in run.violations:
        where = f" ({one['address']})" if one.get("address") else ""
        severity = _SEVERITIES.get(one.get("severity", 0), "")
        lines.append(f"- [{severity}] {one.get('rule_name', '')}: {one.get('message', '')}{where}")
    return "\n".join(lines) + "\n"


def _may_override(caller: Principal) -> bool:
    return caller.may(Permission.WORKSPACES_APPROVE) and caller.may(Permission.GUARDRAILS_WRITE)


def _values(run: Run, name: str) -> list[str]:
    return [text.partition("=")[2] for text in run.arguments if text.startswith(f"{name}=")]


def _permissions(caller: Principal) -> Mapping[str, bool]:
    run = caller.may(Permission.WORKSPACES_RUN)
    return {
        "can-apply": caller.may(Permission.WORKSPACES_APPROVE),
        "can-cancel": run,
        "can-discard": run,
        "can-force-cancel": False,
        "can-force-execute": False,
        "can-override-policy-check": _may_override(caller),
    }


def _times(run: Run) -> Mapping[str, str | None]:
    found = {
        "plan-queueable-at": run.created_at,
        "planned-at": run.planned_at,
        "applying-at": run.apply_started_at,
        f"{status_of(run).replace('_', '-')}-at": run.updated_at,
    }
    return {name: time_of(moment) for name, moment in found.items() if moment is not None}
