"""Variables in the words of the protocol, to read: commands that work where they are typed (`console`, `import`) ask for
what a run would get. The value of a secret is not shown; the command says so when it needs it.
"""

from collections.abc import Mapping
from typing import Any, Final

from runyard.dialects.door import Call
from runyard.dialects.terraform.replies import resource, send_list
from runyard.dialects.terraform.services import TerraformServices
from runyard.infrastructure.variables.literals import NotLiteral, read_collection
from runyard.infrastructure.variables.model import Destination

_CATEGORIES: Final[Mapping[Destination, str]] = {Destination.IAC: "terraform", Destination.ENV: "env"}


class VariableHandlers:
    """Variables of workspaces."""

    def __init__(self, services: TerraformServices) -> None:
        """Take the services."""
        self._services = services

    async def list(self, call: Call) -> None:
        """List the variables that a run of a workspace would get."""
        found = await self._services.workspaces.look_up(call.caller.scope, call.params["workspace"])
        values = await self._services.variables.effective(found)
        items = [
            resource(
                "vars",
                f"var-{destination.value}-{key}",
                _attributes(key, destination, plain.value, plain.secret),
            )
            for (key, destination), plain in sorted(values.items())
        ]
        await send_list(call, items, 1, max(len(items), 1))


def _attributes(key: str, destination: Destination, value: str, secret: bool) -> Mapping[str, Any]:
    return {
        "key": key,
        "value": None if secret else value,
        "description": None,
        "category": _CATEGORIES[destination],
        "hcl": destination is Destination.IAC and _is_collection(value),
        "sensitive": secret,
    }


def _is_collection(value: str) -> bool:
    """Tell whether a run reads a value as a list or an object: then the command has to do so too."""
    try:
        read_collection(value)
    except NotLiteral:
        return False
    return True
