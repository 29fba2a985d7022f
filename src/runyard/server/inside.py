"""This server's own API on a port inside a sandbox. Owns the fence: a run reaches the path of its state and no other.

The socket was opened inside the sandbox and is accepted on here, so that it works without any network.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import uvicorn
from uvicorn.server import ServerState

from runyard.dialects.door import Receive, Scope, Send
from runyard.kernel.errors import Unavailable
from runyard.server.protocol import BoundedHeadProtocol

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
_KEEP_ALIVE_SECONDS = 75
_CONNECTIONS = 32
"""Of one sandbox at a time: what runs in it must not take the server's share of requests from everybody else."""
_NOT_HERE = b"there is nothing here"


class Inside:
    """Serves the application below one path of a sandbox's port."""

    def __init__(self) -> None:
        """Wait for the application, which is made of the house and comes later."""
        self.app: Application | None = None

    @asynccontextmanager
    async def __call__(self, listener: socket.socket, path: str) -> AsyncIterator[None]:
        """Serve on a listening socket, which is closed at the end, while the context lasts. Raises Unavailable."""
        with listener:
            if self.app is None:
                raise Unavailable("the server does not answer yet")
            config = uvicorn.Config(
                _Fence(self.app, path),
                log_config=None,
                access_log=False,
                lifespan="off",
                loop="none",
                http=BoundedHeadProtocol,
                ws="none",
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                limit_concurrency=_CONNECTIONS,
                server_header=False,
                proxy_headers=False,
            )
            config.load()
            state = ServerState()
            listener.setblocking(False)
            server = await asyncio.get_running_loop().create_server(
                lambda: BoundedHeadProtocol(config=config, server_state=state, app_state={}), sock=listener
            )
            try:
                yield
            finally:
                server.close()
                for connection in list(state.connections):
                    connection.shutdown()


class _Fence:
    """Lets requests through that are for one path or what is below it."""

    def __init__(self, app: Application, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if path == self._path or path.startswith(f"{self._path}/"):
                await self._app(scope, receive, send)
                return
            headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(_NOT_HERE)).encode())]
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": _NOT_HERE})
