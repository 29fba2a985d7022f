"""What a door is. Owns the shape in which a dialect declares its routes, its credential and its errors.

The server matches a request against the routes of all doors, authenticates, checks the permission, calls the handler
and lets the door write whatever error came out. A door never imports the server and never another door.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from runyard.identity.model import Permission, Principal
from runyard.kernel.errors import RunyardError, Unauthenticated

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

WEBSOCKET = "WEBSOCKET"
"""The `method` of a route that is a WebSocket handshake."""


class ClientGone(Exception):
    """The client went away before its request was whole; there is nobody left to answer."""


@dataclass(slots=True)
class Call:
    """One request on its way through a door: the raw ASGI triple and what the server already knows about it."""

    scope: Scope
    receive: Receive
    send: Send
    params: Mapping[str, str]
    """Path parameters by name, percent-decoded."""
    request_id: str
    principal: Principal | None = None
    """The caller; always set when the route names a permission or is not open."""
    access: object = None
    """What the door's `admit` returned."""
    started: bool = False
    """The handler has sent its response start (or accepted the socket), so no error answer can follow."""

    @property
    def caller(self) -> Principal:
        """Return the authenticated caller. Raises LookupError on an open route, which is a bug of the door."""
        if self.principal is None:
            raise LookupError("an open route has no caller")
        return self.principal


Handler: TypeAlias = Callable[[Call], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer. The server adds `x-request-id` to all of them."""

    status: int
    body: bytes = b""
    content_type: str | None = "application/json"
    headers: Sequence[tuple[bytes, bytes]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A query or header parameter, for the OpenAPI document."""

    name: str
    summary: str
    schema: Mapping[str, object] = field(default_factory=lambda: {"type": "string"})
    required: bool = False
    where: str = "query"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method and path of a dialect, declared as data: routed, documented and tested from this record."""

    method: str
    path: str
    """A template: `/v1/runtimes/{runtime}/exec`; each `{name}` is exactly one non-empty segment."""
    name: str
    """The operation id, unique within the door."""
    summary: str
    handler: Handler
    permission: Permission | None = None
    """Needed by the caller; None with `open` unset means: any valid credential."""
    open: bool = False
    """No credential is looked at."""
    status: int = 200
    request: Any = None
    """A msgspec type, or `bytes` for a raw body; None when there is no body."""
    response: Any = None
    """A msgspec type, or `bytes`; None when the answer has no body."""
    errors: Sequence[int] = ()
    parameters: Sequence[Parameter] = ()
    body_limit_bytes: int | None = None
    """Bytes of body accepted; None means the server's default, 0 means unlimited (a streamed body)."""
    tags: Sequence[str] = ()


class Credential(Protocol):
    """Finds the secret in a request."""

    def __call__(self, scope: Scope) -> str:
        """Return the credential. Raises Unauthenticated when the dialect's header is missing or malformed."""
        ...


class UnknownCredential(Protocol):
    """Says in the dialect's words that nobody has a secret."""

    def __call__(self, scope: Scope, error: Unauthenticated) -> Unauthenticated:
        """Return the refusal of the request's credential, given the server's own."""
        ...


class ErrorWriter(Protocol):
    """Writes a domain error in the dialect's words."""

    def __call__(self, error: RunyardError, request_id: str) -> Answer:
        """Return the answer for the error; any error that is no RunyardError was wrapped by the server first."""
        ...


class Claims(Protocol):
    """Tells requests of one door from those of another that has the same path."""

    def __call__(self, scope: Scope) -> bool:
        """Tell whether the headers, the query or the cookies show that the request is meant for the door."""
        ...


class Admit(Protocol):
    """Decides whether a caller may use a route."""

    async def __call__(self, call: Call, route: Route) -> object:
        """Return what the door's handlers will want to know of the caller's rights, kept as `call.access`.
        Raises PermissionDenied.
        """
        ...


class Prepare(Protocol):
    """Changes a call before it is served, such as the headers of whatever will be its answer."""

    def __call__(self, call: Call) -> Answer | None:
        """Return the answer when there is nothing left to do, else None."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A front door: one published API."""

    name: str
    title: str
    routes: Sequence[Route]
    prefixes: Sequence[str]
    """Paths below which an unmatched request is answered in this door's words, e.g. `/v1/`."""
    credential: Credential
    write_error: ErrorWriter
    aliases: Sequence[tuple[str, str]] = ()
    """Other spellings of the paths of this door: what a path begins with, and what stands for it in `routes`."""
    unknown: UnknownCredential | None = None
    """Without it the server's refusal stands as it is."""
    claims: Claims | None = None
    """Needed by a door with a path that another door has too; asked for such paths only."""
    admit: Admit | None = None
    """Decides in the server's place: the route's `permission` is not looked at when this is there."""
    prepare: Prepare | None = None
    """Sees every request for this door before anything is looked at."""
    error_body: Any = None
    """The msgspec type of every error's body, for the OpenAPI document."""
    error_type: str = "application/json"
    """Its content type."""


async def send_answer(call: Call, answer: Answer) -> None:
    """Send a complete answer; on a WebSocket handshake, refuse it with that answer."""
    headers = [(b"x-request-id", call.request_id.encode()), *answer.headers]
    if answer.content_type is not None:
        headers.append((b"content-type", answer.content_type.encode()))
    if answer.status != 204:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    kind = "websocket.http.response" if call.scope["type"] == "websocket" else "http.response"
    call.started = True
    await call.send({"type": f"{kind}.start", "status": answer.status, "headers": headers})
    await call.send({"type": f"{kind}.body", "body": answer.body})
