"""What the dialect publishes and this server does not do. Owns the list and the one answer."""

from typing import Final

from runyard.dialects.door import Call
from runyard.kernel.errors import Unimplemented

_WORKSPACE: Final = "/workspaces/{workspace}"
ABSENT: Final[tuple[tuple[str, str, str], ...]] = (
    ("PATCH", f"{_WORKSPACE}/resources", "recordResources"),
    ("DELETE", f"{_WORKSPACE}/resources", "purgeResources"),
    ("GET", f"{_WORKSPACE}/data", "listData"),
    ("POST", f"{_WORKSPACE}/data", "storeData"),
    ("GET", f"{_WORKSPACE}/data/{{id}}", "getData"),
    ("GET", f"{_WORKSPACE}/data/{{id}}/evaluate-policy", "evaluatePolicy"),
    ("POST", f"{_WORKSPACE}/dependency-graph", "storeDependencyGraph"),
    ("POST", f"{_WORKSPACE}/events", "storeEvents"),
    ("GET", f"{_WORKSPACE}/ephemeral-config", "getEphemeralConfig"),
    ("PUT", f"{_WORKSPACE}/ephemeral-config", "setEphemeralConfig"),
    ("DELETE", f"{_WORKSPACE}/ephemeral-config", "deleteEphemeralConfig"),
    ("GET", f"{_WORKSPACE}/drift-config", "getDriftConfig"),
    ("PUT", f"{_WORKSPACE}/drift-config", "setDriftConfig"),
    ("DELETE", f"{_WORKSPACE}/drift-config", "deleteDriftConfig"),
    ("GET", "/workspace-metrics", "getWorkspaceMetrics"),
    ("POST", "/executions", "createExecution"),
)
"""Method, path below the project, operation."""


async def absent(call: Call) -> None:
    """Refuse."""
    raise Unimplemented(f"{call.scope['method']} {call.scope['path']} is not implemented by this server")
