"""Discovery: of this door's services for Terraform, and of the OpenID provider for clouds that check its tokens."""

from typing import Final

from runyard.dialects.door import Answer, Call, send_answer
from runyard.dialects.terraform.addresses import BASE, Addresses
from runyard.dialects.terraform.replies import encode, send_json
from runyard.dialects.terraform.services import TerraformServices

ISSUER: Final = "/v2"
"""The path of the issuer on this server."""
_KEPT: Final = ((b"cache-control", b"public, max-age=300"),)


class ProviderHandlers:
    """Documents that anybody may read."""

    def __init__(self, services: TerraformServices, addresses: Addresses) -> None:
        """Take the services."""
        self._oidc = services.oidc
        self._addresses = addresses

    async def services(self, call: Call) -> None:
        """Tell Terraform where the services are."""
        versions = ("tfe.v2", "tfe.v2.1", "tfe.v2.2", "state.v2")
        await send_json(call, dict.fromkeys(versions, f"{BASE}/"))

    async def configuration(self, call: Call) -> None:
        """Send the discovery document of the OpenID provider."""
        document = self._oidc.discovery(f"{self._addresses.base(call)}{ISSUER}")
        await send_answer(call, Answer(200, encode(document), headers=_KEPT))

    async def keys(self, call: Call) -> None:
        """Send the keys with which its tokens can be checked."""
        await send_answer(call, Answer(200, encode(await self._oidc.key_set()), headers=_KEPT))
