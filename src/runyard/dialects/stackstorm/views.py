"""Domain records in the dialect's words. Owns the shape of executions, actions, packs and keys on the wire."""

import os
import socket
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from runyard.actions.catalogue import runner_type
from runyard.actions.ids import settled_id
from runyard.actions.runs.changes import shown_status
from runyard.actions.runs.model import Record
from runyard.actions.store import StoredAction, StoredPack
from runyard.actions.traces import Trace
from runyard.dialects.stackstorm.replies import encode, time_of
from runyard.executions.model import Status

EXECUTION_FIELDS: Final = (
    "id", "action", "runner", "liveaction", "status", "start_timestamp", "end_timestamp", "elapsed_seconds",
    "parameters", "context", "result", "result_size", "parent", "children", "task_execution",
    "workflow_execution", "log", "delay", "web_url", "trigger", "trigger_type", "trigger_instance", "rule",
)  # fmt: skip
"""The members that an execution can have."""
TRACE_FIELDS: Final = (
    "id", "uid", "trace_tag", "start_timestamp", "action_executions", "rules", "trigger_instances",
)  # fmt: skip
_ALWAYS_OF_ACTION: Final = ("parameters", "output_schema", "pack", "uid", "ref")
_RUNNERS: dict[str, dict[str, Any]] = {}


def runner_view(name: str) -> dict[str, Any]:
    """Show a runner type."""
    known = _RUNNERS.get(name)
    if known is None:
        found = runner_type(name)
        known = _RUNNERS[name] = {"id": settled_id(found.uid), **found.as_dict()}
    return known


def execution_view(record: Record, base: str, *, fresh: bool = False) -> dict[str, Any]:
    """Show an execution; top-level members that are empty are left out. `fresh` is the answer to its maker, who is
    told of the request and of nothing that came after.
    """
    execution, run = record.execution, record.run
    status = "requested" if fresh else shown_status(record)
    live: dict[str, Any] = {
        "id": run.liveaction_id,
        "action": run.action_ref,
        "action_is_workflow": execution.kind.value == "workflow",
        "parameters": record.parameters,
        "callback": dict(run.callback),
        "runner_info": {} if fresh or execution.started_at is None else _HERE,
    }
    if run.notify:
        live["notify"] = dict(run.notify)
    shown: dict[str, Any] = {
        "id": execution.id,
        "action": dict(run.action),
        "runner": runner_view(run.runner),
        "liveaction": live,
        "status": status,
        "start_timestamp": time_of(execution.created_at),
        "parameters": record.parameters,
        "context": dict(run.context),
        "log": _log(record, fresh=fresh),
        "delay": run.delay_ms,
        "parent": execution.parent_id,
        "children": list(record.children),
        "web_url": f"{base}/#/history/{execution.id}/general",
    }
    if run.cause is not None:
        shown |= msgspec.structs.asdict(run.cause)
    workflow = run.context.get("workflow_execution")
    if workflow:
        shown["workflow_execution"] = workflow
    if not fresh:
        shown["result"] = record.result
        if execution.ended_at is not None:
            shown["end_timestamp"] = time_of(execution.ended_at)
            shown["elapsed_seconds"] = (execution.ended_at - execution.created_at).total_seconds()
            if execution.result is not None:
                shown["result_size"] = len(encode(execution.result))
    return {name: value for name, value in shown.items() if value not in (None, "", 0, [], {})}


_HERE: Final = {"hostname": socket.gethostname(), "pid": os.getpid()}


def _log(record: Record, *, fresh: bool) -> list[dict[str, str]]:
    execution = record.execution
    if fresh or not record.history:
        return [{"timestamp": time_of(execution.created_at), "status": "requested"}]
    entries: list[dict[str, str]] = []
    for event in record.history:
        kind, _, status = event.type.partition(".")
        if kind == "execution":
            word = "pending" if status == Status.WAITING.value else status
            entries.append({"timestamp": time_of(event.at), "status": word})
    return entries


def narrowed_execution(document: dict[str, Any], included: list[str], excluded: list[str]) -> dict[str, Any]:
    """Return the wanted members of an execution; of an action with the few that masking needs."""
    if not included:
        return {name: value for name, value in document.items() if name not in excluded}
    shown: dict[str, Any] = {"id": document["id"]}
    for root in dict.fromkeys(name.partition(".")[0] for name in included):
        if root not in document:
            continue
        value = document[root]
        inner = {name.partition(".")[2].partition(".")[0] for name in included if name.startswith(f"{root}.")}
        if root in included or not inner or not isinstance(value, Mapping) or root == "context":
            shown[root] = value
            continue
        if root == "action":
            inner.update(_ALWAYS_OF_ACTION)
        shown[root] = {name: item for name, item in value.items() if name in inner}
    return shown


def action_view(stored: StoredAction) -> dict[str, Any]:
    """Show an action."""
    return {"id": stored.id, **stored.action.as_dict()}


def pack_view(stored: StoredPack) -> dict[str, Any]:
    """Show a pack."""
    return {"id": stored.id, **stored.pack.as_dict()}


def trace_view(trace: Trace) -> dict[str, Any]:
    """Show a trace."""
    names = {"execution": "action_executions", "rule": "rules", "trigger_instance": "trigger_instances"}
    shown: dict[str, Any] = {
        "id": trace.id,
        "uid": f"trace:{trace.id}",
        "trace_tag": trace.tag,
        "start_timestamp": time_of(trace.started_at),
        **{name: [] for name in names.values()},
    }
    for part in trace.parts:
        shown[names[part.kind]].append(
            {
                "object_id": part.object_id,
                "ref": part.ref,
                "updated_at": time_of(part.updated_at),
                "caused_by": dict(part.caused_by),
            }
        )
    return shown
