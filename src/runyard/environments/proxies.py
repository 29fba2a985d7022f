"""Publishes ports of services on the host. Owns where their connections go."""

import asyncio
import socket
from collections.abc import Sequence

from runyard.environments.listening import Listener, carry

_CONNECT_SECS = 10.0
_MOST = 512
"""Connections through one port at once; more are closed."""


class Proxy:
    """One published port: connections to it are carried to the address of a service."""

    def __init__(self, target: tuple[str, int]) -> None:
        """Take where connections go."""
        self._target = target
        self._listener = Listener(self._carry, _MOST)
        self.port = 0

    async def listen(self, host: str, wanted: int, more: Sequence[socket.socket] = ()) -> int:
        """Listen on a port of the host, on any free one when the wanted one is taken, and on sockets that are bound
        elsewhere. Return the port. Raises OSError.
        """
        try:
            self.port = await self._listener.listen_at(host, wanted)
        except OSError:
            if not wanted:
                raise
            self.port = await self._listener.listen_at(host, 0)
        for one in more:
            await self.listen_also(one)
        return self.port

    async def listen_also(self, bound: socket.socket) -> None:
        """Listen on one more socket, which belongs to the proxy from now on."""
        await self._listener.listen(bound)

    async def close(self) -> None:
        """Stop listening and cut all connections."""
        await self._listener.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECS):
                far = await asyncio.open_connection(*self._target)
        except (OSError, TimeoutError):
            writer.close()
            return
        await carry((reader, writer), far)
