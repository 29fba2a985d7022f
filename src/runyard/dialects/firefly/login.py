"""Log-in and health."""

from typing import Final

import msgspec

from runyard.dialects.door import Call
from runyard.dialects.firefly.reading import read, required
from runyard.dialects.firefly.replies import send_json, send_nothing
from runyard.dialects.firefly.services import FireflyServices
from runyard.dialects.firefly.wire import LoginIn, LoginOut

_login: Final = msgspec.json.Decoder(LoginIn)


class LoginHandlers:
    """How a client gets in."""

    def __init__(self, services: FireflyServices) -> None:
        """Take the services."""
        self._identity = services.identity

    async def log_in(self, call: Call) -> None:
        """Give an access token for a key pair."""
        body = await read(call, _login)
        access_key, secret_key = (
            required(body.access_key, "accessKey"),
            required(body.secret_key, "secretKey"),
        )
        made = await self._identity.log_in_with_key(access_key, secret_key)
        await send_json(
            call,
            LoginOut(
                access_token=made.text, expires_at=int(made.expires_at.timestamp()), token_type="Bearer"
            ),
        )

    async def health(self, call: Call) -> None:
        """Say that the server answers."""
        await send_nothing(call)
