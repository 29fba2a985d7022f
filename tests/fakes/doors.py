"""A fake house and ASGI callers, for tests of routing and of doors without a server. Owns no behaviour of the product."""

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

Message = MutableMapping[str, Any]
Asgi = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class Anything:
    """Has every attribute and can be called; stands for services while routes are declared but never run."""

    def __init__(self, **known: object) -> None:
        """Set the few attributes that a declaration looks at."""
        self.__dict__.update(known)

    def __getattr__(self, name: str) -> Self:
        """Be there."""
        return self

    def __call__(self, *given: object, **more: object) -> Self:
        """Take anything."""
        return self


@dataclass
class Reply:
    """What an application answered."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    messages: list[Message] = field(default_factory=list)

    def json(self) -> Any:
        """Parse the body."""
        return json.loads(self.body)


async def ask(
    app: Asgi,
    method: str,
    path: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    body: Sequence[bytes] = (b"",),
    websocket: bool = False,
) -> Reply:
    """Send one request through an ASGI application; the body comes in the given pieces."""
    pieces = list(body)
    raw = path.partition("?")
    scope: Message = {
        "type": "websocket" if websocket else "http",
        "method": method,
        "path": raw[0],
        "raw_path": raw[0].encode(),
        "query_string": raw[2].encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }
    reply = Reply()

    async def receive() -> Message:
        if websocket:
            return {"type": "websocket.connect"}
        if not pieces:
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        reply.messages.append(message)
        if message["type"].endswith("response.start"):
            reply.status = message["status"]
            reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message["type"].endswith("response.body"):
            reply.body += message.get("body", b"")

    await app(scope, receive, send)
    return reply
