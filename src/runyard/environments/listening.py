"""Listening sockets of proxies. Owns the connections through them, their number and their end; carries bytes and looks at
none.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

_CHUNK = 64 << 10
_READ_LIMIT = 64 << 10
"""Of what a reader may look for a line or a head in."""
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Some sockets whose connections are served by one function, `most` at once; more are closed."""

    def __init__(self, serve: Serve, most: int) -> None:
        """Take who serves a connection."""
        self._serve = serve
        self._most = most
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.Task[None]] = set()

    async def listen(self, bound: socket.socket) -> None:
        """Listen on a bound socket, which belongs to the listener from now on."""
        self._servers.append(await asyncio.start_server(self._accept, sock=bound, limit=_READ_LIMIT))

    async def listen_at(self, host: str, port: int) -> int:
        """Listen on a port of the host, 0 for any free one, and return it. Raises OSError."""
        server = await asyncio.start_server(self._accept, host, port, limit=_READ_LIMIT)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and cut all connections."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= self._most:
            writer.close()
            return
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)


async def carry(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Carry bytes both ways until both sides have ended, then close both."""
    try:
        await asyncio.gather(_pump(near[0], far[1]), _pump(far[0], near[1]))
    finally:
        far[1].close()
        near[1].close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way to their end. A side that breaks ends the other one too, which may be silent for ever."""
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()
