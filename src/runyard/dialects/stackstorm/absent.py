"""Operations of the published API that are not there yet. Owns the table and the sentence."""

from typing import Final

from runyard.dialects.door import Call
from runyard.kernel.errors import Unimplemented

ABSENT: Final = (
    ("packs", "/v1/packs/install", "POST"),
    ("packs", "/v1/packs/uninstall", "POST"),
    ("packs", "/v1/packs/index", "GET"),
    ("packs", "/v1/packs/index/health", "GET"),
    ("packs", "/v1/packs/index/search", "POST"),
    ("rules", "/v1/rules", "GET POST"),
    ("rules", "/v1/rules/views", "GET"),
    ("rules", "/v1/rules/{rule}", "GET PUT DELETE"),
    ("triggers", "/v1/triggertypes", "GET POST"),
    ("triggers", "/v1/triggertypes/{trigger}", "GET PUT DELETE"),
    ("triggers", "/v1/triggers", "GET POST"),
    ("triggers", "/v1/triggers/{trigger}", "GET PUT DELETE"),
    ("triggers", "/v1/triggerinstances/{instance}/re_emit", "POST"),
    ("rules", "/v1/ruleenforcements", "GET"),
    ("rules", "/v1/ruleenforcements/views", "GET"),
    ("rules", "/v1/ruleenforcements/{enforcement}", "GET"),
    ("triggers", "/v1/webhooks", "GET"),
    ("triggers", "/v1/webhooks/{url}", "GET POST"),
    ("triggers", "/v1/timers", "GET"),
    ("triggers", "/v1/timers/{timer}", "GET"),
    ("policies", "/v1/policies", "GET POST"),
    ("policies", "/v1/policies/{policy}", "GET PUT DELETE"),
    ("policies", "/v1/policytypes", "GET"),
    ("policies", "/v1/policytypes/{policy}", "GET"),
    ("aliases", "/v1/actionalias", "GET POST"),
    ("aliases", "/v1/actionalias/help", "GET"),
    ("aliases", "/v1/actionalias/match", "POST"),
    ("aliases", "/v1/actionalias/{alias}", "GET PUT DELETE"),
    ("aliases", "/v1/aliasexecution", "POST"),
    ("aliases", "/v1/aliasexecution/match_and_execute", "POST"),
    ("workflows", "/v1/workflows/inspect", "POST"),
    ("sensors", "/v1/sensortypes", "GET"),
    ("sensors", "/v1/sensortypes/{sensor}", "GET PUT"),
)
"""Group, path and methods."""


async def absent(call: Call) -> None:
    """Refuse with a sentence. Raises Unimplemented."""
    raise Unimplemented(
        f"{call.scope['method']} {call.scope['path']} is not available in this version of Runyard."
    )
