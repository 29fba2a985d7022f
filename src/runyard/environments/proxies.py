"""Publishes ports of services on the host. Owns listening sockets and the copying of bytes; looks at none of them."""

import asyncio
import socket
from collections.abc import Sequence

_CHUNK = 64 << 10
_CONNECT_SECS = 10.0
_MOST = 512
"""Connections through one port at once; more are closed."""


class Proxy:
    """One published port: connections to it are carried to the address of a service."""

    def __init__(self, target: tuple[str, int]) -> None:
        """Take where connections go."""
        self._target = target
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.Task[None]] = set()
        self.port = 0

    async def listen(self, host: str, wanted: int, more: Sequence[socket.socket] = ()) -> int:
        """Listen on a port of the host, on any free one when the wanted one is taken, and on sockets that are bound
        elsewhere. Return the port. Raises OSError.
        """
        try:
            server = await asyncio.start_server(self._accept, host, wanted)
        except OSError:
            if not wanted:
                raise
            server = await asyncio.start_server(self._accept, host, 0)
        self._servers.append(server)
        self.port = server.sockets[0].getsockname()[1]
        for one in more:
            await self.listen_also(one)
        return self.port

    async def listen_also(self, bound: socket.socket) -> None:
        """Listen on one more socket, which belongs to the proxy from now on."""
        self._servers.append(await asyncio.start_server(self._accept, sock=bound))

    async def close(self) -> None:
        """Stop listening and cut all connections."""
        for server in self._servers:
            server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= _MOST:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECS):
                far_reader, far_writer = await asyncio.open_connection(*self._target)
        except (OSError, TimeoutError):
            writer.close()
            return
        try:
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        finally:
            far_writer.close()
            writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way to their end. A side that breaks ends the other one too, which may be silent for ever."""
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()
