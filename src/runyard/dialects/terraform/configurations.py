"""Configuration versions in the words of the protocol: announce, send the archive, look how far it is."""

from typing import Any

from runyard.dialects.door import Call
from runyard.dialects.reading import pieces
from runyard.dialects.terraform import reading
from runyard.dialects.terraform.addresses import Addresses, Purpose
from runyard.dialects.terraform.replies import resource, send_nothing, send_resource
from runyard.dialects.terraform.services import TerraformServices
from runyard.infrastructure.configurations.model import Configuration, ConfigurationStatus
from runyard.kernel.errors import Unimplemented

UPLOAD_BYTES = 4 << 30
"""More than any limit of the service behind: that one decides."""


class ConfigurationHandlers:
    """Configuration versions."""

    def __init__(self, services: TerraformServices, addresses: Addresses) -> None:
        """Take the services."""
        self._services = services
        self._addresses = addresses

    async def create(self, call: Call) -> None:
        """Announce one."""
        found = await self._services.workspaces.look_up(call.caller.scope, call.params["workspace"])
        asked = await reading.read_document(call)
        if reading.attribute(asked, "auto-queue-runs", bool, default=False):
            raise Unimplemented("auto-queue-runs is not implemented: ask for the run when the upload is done")
        speculative = reading.attribute(asked, "speculative", bool, default=False)
        made = await self._services.configurations.announce(call.caller, found, speculative=speculative)
        address = self._addresses.make(call, Purpose.CONFIGURATION, made.id)
        await send_resource(call, _shown(made, address), 201)

    async def get(self, call: Call) -> None:
        """Show one."""
        found = await self._services.configurations.get(call.caller.scope, call.params["configuration"])
        await send_resource(call, _shown(found))

    async def receive(self, call: Call) -> None:
        """Take the archive; the address is the permission."""
        subject, _ = self._addresses.open(call.params["address"], Purpose.CONFIGURATION)
        await self._services.configurations.upload(subject, pieces(call, UPLOAD_BYTES))
        await send_nothing(call, 200)


def _shown(found: Configuration, address: str | None = None) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "auto-queue-runs": False,
        "error": "bad_archive" if found.error else None,
        "error-message": found.error or None,
        "source": "tfe-api",
        "speculative": found.speculative,
        "provisional": False,
        "status": found.status.value,
    }
    if found.status is ConfigurationStatus.PENDING:
        attributes["upload-url"] = address
    return resource("configuration-versions", found.id, attributes)
