"""Calls into an ASGI handler without a server. Owns the two queues of one request; asserts nothing."""

import asyncio
import contextlib
import json
from typing import Any

from runyard.dialects.door import Call, ClientGone, Door, send_answer
from runyard.identity.model import Principal
from runyard.kernel.errors import RunyardError

REQUEST_ID = "01890000-0000-7000-8000-000000000000"


class Exchange:
    """One request and all that was sent back."""

    def __init__(self, kind: str, method: str, path: str, query: str) -> None:
        """Begin a request without a body."""
        self.scope: dict[str, Any] = {
            "type": kind, "method": method, "path": path, "query_string": query.encode(), "headers": [],
        }  # fmt: skip
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.broken = False
        """Sending raises, as it does when the client is gone."""

    async def send(self, message: Any) -> None:
        """Take what the handler sends."""
        if self.broken:
            raise OSError("the client is gone")
        self.sent.append(dict(message))
        self.wake.set()

    async def finished(self) -> "Exchange":
        """Wait for the handler."""
        assert self.task is not None
        await asyncio.wait_for(asyncio.shield(self.task), 10)
        return self

    @property
    def status(self) -> int:
        """Return the status of the answer."""
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        """Return the body so far."""
        return b"".join(message.get("body", b"") for message in self.sent)

    def json(self) -> Any:
        """Decode the body."""
        return json.loads(self.body)

    def frame(self, **fields: object) -> None:
        """Send a WebSocket frame."""
        self.incoming.put_nowait({"type": "websocket.receive", "text": json.dumps(fields)})

    def frames(self) -> list[dict[str, Any]]:
        """Return the frames that came back."""
        return [json.loads(message["text"]) for message in self.sent if message["type"] == "websocket.send"]


def begin(
    door: Door, principal: Principal, method: str, path: str, body: bytes = b"", query: str = ""
) -> Exchange:
    """Begin a request to the route that fits, as the server would."""
    kind = "websocket" if method == "WEBSOCKET" else "http"
    exchange = Exchange(kind, method, path, query)
    if kind == "websocket":
        exchange.incoming.put_nowait({"type": "websocket.connect"})
    else:
        exchange.incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
    params, handler = _find(door, method, path)
    call = Call(exchange.scope, exchange.incoming.get, exchange.send, params, REQUEST_ID, principal)

    async def serve() -> None:
        with contextlib.suppress(ClientGone):
            try:
                await handler(call)
            except RunyardError as error:
                if call.started:
                    raise
                await send_answer(call, door.write_error(error, REQUEST_ID))

    exchange.task = asyncio.ensure_future(serve())
    return exchange


def _find(door: Door, method: str, path: str) -> tuple[dict[str, str], Any]:
    given = path.split("/")
    for route in door.routes:
        parts = route.path.split("/")
        if route.method == method and len(parts) == len(given):
            pairs = list(zip(parts, given, strict=True))
            if all(part == value or part.startswith("{") for part, value in pairs):
                return {part[1:-1]: value for part, value in pairs if part.startswith("{")}, route.handler
    raise LookupError(f"{method} {path}")
