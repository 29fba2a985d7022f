"""The published operations that this server does not have. Each answers 501 `unimplemented`, never 404.

Owns that list, so that documentation and tests can walk it.
"""

from collections.abc import Sequence

from runyard.dialects.door import Call
from runyard.kernel.errors import Unimplemented

ABSENT: Sequence[tuple[str, str, str]] = (
    ("v1", "/v1/audits", "GET"),
    ("v1", "/v1/runtimes/{runtime}/secret-injection-rules", "GET POST"),
    ("v1", "/v1/runtimes/{runtime}/secret-injection-rules/{rule}", "GET DELETE"),
    ("v1", "/v1/secret-injection-rules", "GET"),
    ("v1", "/v1/secret-injection-rules/{rule}", "DELETE"),
    ("v1", "/v1/runtimes/{runtime}/secret-stubs", "GET POST PUT"),
    ("v1", "/v1/runtimes/{runtime}/secret-stubs/replace", "PUT"),
    ("v1", "/v1/runtimes/{runtime}/secret-stubs/{stub}", "GET DELETE"),
    ("v1", "/v1/secret-stubs", "GET"),
    ("v1", "/v1/secret-stubs/{stub}", "DELETE"),
    ("v1", "/v1/default-secret-stubs", "GET POST PUT"),
    ("v1", "/v1/default-secret-stubs/{stub}", "DELETE"),
    ("v1", "/v1/runtimes/{runtime}/ssh-keys", "GET POST"),
    ("v1", "/v1/runtimes/{runtime}/ssh-keys/{key}", "DELETE"),
    ("v1", "/v1/runtimes/{runtime}/watchfox", "GET"),
    ("v1", "/v1/runtimes/{runtime}/watchfox/{report}", "GET"),
    ("images", "/v2/images/{image_id}", "DELETE"),
    ("images", "/v2/images/builds", "GET POST"),
    ("images", "/v2/images/builds/{build_id}", "GET DELETE"),
    ("images", "/v2/images/builds/{build_id}/history", "DELETE"),
    ("vnc", "/v2/runtimes/{runtime_id}/vnc/enable", "POST"),
    ("vnc", "/v2/runtimes/{runtime_id}/vnc/disable", "POST"),
    ("vnc", "/v2/runtimes/{runtime_id}/vnc-credentials", "GET POST"),
    ("vnc", "/v2/runtimes/{runtime_id}/vnc-credentials/{credential_id}", "DELETE"),
    ("ssh", "/v2/ssh-host-key", "GET"),
    ("ssh", "/v2/ssh-keys", "GET POST"),
    ("ssh", "/v2/ssh-keys/{ssh_key_id}", "DELETE"),
    ("ssh", "/v2/runtimes/{runtime_id}/ssh-keys", "GET"),
    ("ssh", "/v2/runtimes/{runtime_id}/ssh-keys/{ssh_key_id}", "PUT DELETE"),
    ("events", "/v2/events", "GET"),
    ("events", "/v2/events/{event_id}", "GET"),
    ("models", "/v2/token-analysis", "GET"),
    ("models", "/v2/token-analysis/{event_id}", "GET"),
    ("models", "/v2/token-savings", "GET"),
    ("models", "/v2/model-providers", "GET"),
    ("models", "/v2/model-providers/{provider_id}", "PATCH"),
    ("github", "/v2/github/authorization-requests", "GET POST"),
    ("github", "/v2/github/authorization-requests/{request_id}", "GET"),
    ("github", "/v2/github/repositories", "GET"),
    ("github", "/v2/github/repositories/{repository_id}/branches", "GET"),
    ("github", "/v2/github/runtime-bindings", "POST"),
    ("github", "/v2/github/runtime-bindings/{runtime_id}", "GET PUT DELETE"),
    ("agents", "/v2/agents", "GET POST"),
    ("agents", "/v2/agents/{agent_id}", "GET PATCH DELETE"),
    ("agents", "/v2/agents/{agent_id}/runs", "GET POST"),
    ("agents", "/v2/agents/{agent_id}/runs/{run_id}", "GET DELETE"),
    ("agents", "/v2/agents/{agent_id}/runs/{run_id}/follow-ups", "POST"),
    ("agents", "/v2/agents/{agent_id}/runs/{run_id}/resume", "POST"),
    ("agents", "/v2/agents/{agent_id}/runs/{run_id}/events", "GET"),
    ("agents", "/v2/agents/{agent_id}/events", "GET"),
    ("agents", "/v2/agents/{agent_id}/artifacts", "GET POST"),
    ("agents", "/v2/agents/{agent_id}/artifacts/{artifact_id}", "GET DELETE"),
    ("agents", "/v2/agents/{agent_id}/computer-sessions", "POST"),
    ("agents", "/v2/agents/{agent_id}/workspace", "POST"),
    ("agents", "/v2/agents/{agent_id}/workspace/files", "PUT DELETE"),
)
"""Group, path, methods."""

ABSENT_OPEN: Sequence[tuple[str, str, str]] = (
    ("auth", "/v2/auth/device/authorization", "POST"),
    ("auth", "/v2/auth/device/token", "POST"),
)
"""The same, without a credential: they begin a login, which is done with tokens here."""


async def absent(call: Call) -> None:
    """Refuse an operation that is published but not here."""
    raise Unimplemented(
        f"{call.scope.get('method', 'GET')} {call.scope['path']} is not implemented by this server"
    )
