"""The way from inside a sandbox to the server. Owns the connections that come through a port inside; who calls proves
itself by a token like everybody else, so the way itself grants nothing.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

CONNECTIONS: Final = 32
"""Connections of one sandbox at one time; more are closed at once, so that no run takes the server's descriptors."""
_BURST: Final = 8


class Reach:
    """Answers on ports inside sandboxes once the server serves."""

    def __init__(self) -> None:
        """Answer nobody before `protocol` is set."""
        self.protocol: Callable[[], asyncio.Protocol] | None = None
        """Makes what speaks on one connection: that of the server's own port."""

    def open(self, listener: socket.socket) -> "Opened":
        """Begin to answer on a listening socket, which is this one's from now on."""
        return Opened(self, listener)


class Opened:
    """One port that is answered on."""

    def __init__(self, reach: Reach, listener: socket.socket) -> None:
        """Use Reach.open."""
        self._reach = reach
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._transports: list[asyncio.BaseTransport] = []
        self._accepting: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        self._loop.add_reader(listener.fileno(), self._accept)

    @property
    def url(self) -> str:
        """Return the address as the inside sees it."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Answer no more and cut what is connected."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for task in self._accepting:
            task.cancel()
        for transport in self._transports:
            abort(transport)
        self._transports.clear()

    def _accept(self) -> None:
        for _ in range(_BURST):
            try:
                connection, _ = self._listener.accept()
            except OSError:  # nobody waits any more, or no descriptor is free
                return
            self._transports = [one for one in self._transports if not one.is_closing()]
            full = len(self._transports) + len(self._accepting) >= CONNECTIONS
            if full or self._reach.protocol is None:
                connection.close()
                continue
            task = self._loop.create_task(self._connect(connection, self._reach.protocol))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    async def _connect(self, connection: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        with contextlib.suppress(OSError):
            transport, _ = await self._loop.connect_accepted_socket(protocol, connection)
            self._transports.append(transport)


def abort(transport: asyncio.BaseTransport) -> None:
    """Cut a connection, what is not sent yet included."""
    if isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "abort"):
        transport.abort()
    else:
        transport.close()
