"""Secrets of the caller. Values come in and never leave."""

from typing import Any

from runyard.dialects.door import Call
from runyard.dialects.dreadnode import reading
from runyard.dialects.dreadnode.replies import send_json, send_nothing, time_of
from runyard.dialects.dreadnode.services import DreadnodeServices
from runyard.environments.usersecrets.service import MAX_VALUE_BYTES, PRESETS, UserSecret


class SecretHandlers:
    """Secrets of the caller."""

    def __init__(self, services: DreadnodeServices) -> None:
        """Take the services."""
        self._secrets = services.user_secrets

    async def list(self, call: Call) -> None:
        """List them."""
        found = [_view(one) for one in await self._secrets.list(call.caller)]
        await send_json(call, {"secrets": found, "total": len(found)})

    async def create(self, call: Call) -> None:
        """Store one."""
        body = await reading.read_object(call)
        name, value = reading.text(body, "name", most=128), _value(body)
        await send_json(call, _view(await self._secrets.create(call.caller, name, value)), 201)

    async def get(self, call: Call) -> None:
        """Tell about one."""
        await send_json(call, _view(await self._secrets.get(call.caller, call.params["secret"])))

    async def replace(self, call: Call) -> None:
        """Give one another value."""
        value = _value(await reading.read_object(call))
        await send_json(call, _view(await self._secrets.replace(call.caller, call.params["secret"], value)))

    async def delete(self, call: Call) -> None:
        """Delete one."""
        await self._secrets.delete(call.caller, call.params["secret"])
        await send_nothing(call)

    async def presets(self, call: Call) -> None:
        """List the providers whose variables are known."""
        stored = {one.name for one in await self._secrets.list(call.caller)}
        found = [
            {"provider": provider, "env_var_name": name, "configured": name in stored}
            for provider, name in PRESETS.items()
        ]
        await send_json(call, {"presets": found})

    async def set_preset(self, call: Call) -> None:
        """Store the secret of a known provider."""
        body = await reading.read_object(call)
        provider = reading.text(body, "provider", most=64)
        await send_json(call, _view(await self._secrets.preset(call.caller, provider, _value(body))), 201)


def _value(body: dict[str, Any]) -> str:
    return reading.text(body, "value", most=MAX_VALUE_BYTES)


def _view(secret: UserSecret) -> dict[str, Any]:
    return {
        "id": secret.id,
        "name": secret.name,
        "provider": secret.provider,
        "masked_value": secret.masked,
        "created_at": time_of(secret.created_at),
        "updated_at": time_of(secret.updated_at),
    }
