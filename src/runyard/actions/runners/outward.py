"""How requests of actions leave the server. Owns which addresses they may reach, whatever name leads there: the one that
was judged is the one that is connected to, for every redirect anew.

They come from the server itself, so that they are held to what holds for sandboxes: never the link of the host, where
clouds give its credentials away, and no private network where the operator blocks those.
"""

import asyncio
import socket
from typing import Any

import httpx2

from runyard.kernel.addresses import gives_credentials, is_public


class Outward(httpx2.AsyncHTTPTransport):
    """Connects to judged addresses only."""

    def __init__(self, *, block_private: bool, **options: Any) -> None:  # noqa: ANN401  those of the transport
        """Take whether private addresses are out of reach, and the options of the transport."""
        super().__init__(**options)
        self._block_private = block_private

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to the address behind its host. Raises httpx2.ConnectError."""
        host, port = request.url.host, request.url.port
        address = await judged(host, port, block_private=self._block_private)
        # Not the request itself: redirects are relative to it, and certificates to its name.
        sent = httpx2.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host},
        )
        return await super().handle_async_request(sent)


async def judged(host: str, port: int | None, *, block_private: bool) -> str:
    """Return the address behind a host. Raises httpx2.ConnectError when it has none, or one that is out of reach."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx2.ConnectError(f"{host}: {error}") from None
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if gives_credentials(address) or (block_private and not is_public(address)):
            raise httpx2.ConnectError(f"{host} leads to {address}, which actions of this server do not reach")
    return addresses[0]
