"""Handlers of stored secrets. A value comes in by one of them and leaves by none."""

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call
from runyard.runtimes.model import Secret
from runyard.server.house import House
from runyard.server.native.replies import send_json, send_nothing
from runyard.server.native.wire import Listed, NativeSecretIn, NativeSecretOut

_secret = msgspec.json.Decoder(NativeSecretIn)


class NativeSecretHandlers:
    """Secrets by id or unique name."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._secrets = house.secrets

    async def listing(self, call: Call) -> None:
        """List secrets by name."""
        found = await self._secrets.listing(call.caller.scope)
        await send_json(call, Listed(items=[secret_view(one) for one in found]))

    async def get(self, call: Call) -> None:
        """Get one secret."""
        await send_json(call, secret_view(await self._secrets.get(call.caller.scope, call.params["secret"])))

    async def put(self, call: Call) -> None:
        """Store a secret or replace its value."""
        body = await reading.read_json(call, _secret)
        stored = await self._secrets.put(call.caller, call.params["secret"], body.value, body.cache_ttl_secs)
        await send_json(call, secret_view(stored))

    async def delete(self, call: Call) -> None:
        """Delete a secret."""
        await self._secrets.delete(call.caller, call.params["secret"])
        await send_nothing(call)


def secret_view(one: Secret) -> NativeSecretOut:
    """Return a secret as the wire has it."""
    return NativeSecretOut(
        id=one.id,
        name=one.display_name,
        project=one.project_id,
        cache_ttl_secs=one.cache_ttl_secs,
        created_at=one.created_at,
        updated_at=one.updated_at,
    )
