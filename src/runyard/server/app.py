"""The front of the server: one ASGI application over all doors.

Owns the request id, routing, authentication, the permission check, the body limit, HEAD, and the last catch for
errors. What a request means is the door's business; what it does is the domain's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext

import structlog

from runyard.dialects.door import (
    WEBSOCKET,
    Answer,
    Call,
    ClientGone,
    Door,
    Message,
    Receive,
    Route,
    Scope,
    Send,
    send_answer,
)
from runyard.identity.model import Principal
from runyard.identity.service import IdentityService
from runyard.kernel.clock import monotonic
from runyard.kernel.errors import RunyardError, TooLarge, Unauthenticated, Unavailable
from runyard.kernel.ids import RequestId
from runyard.server.leases import Leases
from runyard.server.metrics import Metrics
from runyard.server.router import Match, MethodNotAllowed, Router

_log = structlog.get_logger(__name__)


class InternalError(RunyardError):
    """The server made a mistake; its log has the details under this request id."""


class Shares:
    """How many requests each account has open. One alone must not fill the server, with streams that it never reads to
    their end or bodies that it never sends: an eighth is left for the others, for health checks and for log-ins.
    """

    def __init__(self, at_once: int) -> None:
        """Take the limit of all together."""
        self._most = max(1, at_once - at_once // 8)
        self._open: dict[str | None, int] = {}

    def enter(self, account: str | None) -> None:
        """Count one in; None stands for all without a credential. Raises Unavailable."""
        count = self._open.get(account, 0)
        if count >= self._most:
            who = "without a credential" if account is None else "of this account"
            raise Unavailable(
                f"{count} requests {who} are open, which is the most: seven eighths of limits.requests_at_once; end some of "
                "the streams, or let the operator raise the limit"
            )
        self._open[account] = count + 1

    def leave(self, account: str | None) -> None:
        """Count one out."""
        if self._open[account] == 1:
            del self._open[account]
        else:
            self._open[account] -= 1


class App:
    """The ASGI application."""

    def __init__(
        self,
        doors: Sequence[Door],
        identity: IdentityService,
        metrics: Metrics,
        *,
        body_limit: int,
        at_once: int,
    ) -> None:
        """Put doors together; the first one answers for paths that no door owns. Raises AmbiguousRoute."""
        self.router = Router(doors)
        self._fallback = doors[0]
        self._identity = identity
        self._metrics = metrics
        self._body_limit = body_limit
        self._at_once = at_once
        self._shares = Shares(at_once)
        self._leases = Leases()
        identity.on_changed = self._leases.end
        self._in_flight = 0
        metrics.read("runyard_http_requests_in_flight", lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event of the server."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        started = monotonic()
        call = Call(scope, receive, send, {}, RequestId.new())
        watch = _Watch(call, send)
        self._in_flight += 1
        match: Match | None = None
        door = self._fallback
        try:
            door = self.router.door_for(scope["path"], scope) or door
            if self._in_flight > self._at_once:
                raise Unavailable("the server is at its limit of requests at once; try again soon")
            if door.prepare is not None and (answer := door.prepare(call)) is not None:
                await send_answer(call, answer)
                return
            match = self._match(call)
            if match.door is not door and match.door.prepare is not None:
                match.door.prepare(call)
            door = match.door
            await self._serve(call, match)
        except ClientGone:
            pass
        except RunyardError as error:
            await self._refuse(call, door, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  a fault here must become an answer and a log entry, once
            _log.exception(
                "server.unhandled", request_id=call.request_id, path=scope["path"], error=repr(error)
            )
            await self._refuse(call, door, InternalError())
        finally:
            self._in_flight -= 1
            name = match.route.name if match else "unmatched"
            # In the next turn of the loop: the answer is written to the network at the end of this one.
            seconds = monotonic() - started
            observe = self._metrics.observe_request
            asyncio.get_running_loop().call_soon(observe, door.name, name, watch.status, seconds)

    def _match(self, call: Call) -> Match:
        scope = call.scope
        method = WEBSOCKET if scope["type"] == "websocket" else scope["method"]
        raw = scope.get("raw_path") or scope["path"].encode()
        match = self.router.find(method, raw.split(b"?", 1)[0].decode("latin-1"), scope)
        call.params = match.params
        return match

    async def _authenticate(self, call: Call, match: Match, secret: str) -> Principal:
        try:
            return await self._identity.authenticate(secret)
        except Unauthenticated as error:
            if match.door.unknown is None:
                raise
            raise match.door.unknown(call.scope, error) from None

    async def _serve(self, call: Call, match: Match) -> None:
        route, door = match.route, match.door
        if route.open:
            await self._handle(call, route)
            return
        secret = door.credential(call.scope)
        principal = self._identity.authenticate_cached(secret) or await self._authenticate(
            call, match, secret
        )
        call.principal = principal
        # Before the door asks for anything: a right that ends meanwhile must end the read that follows.
        with self._leases.hold(principal) if call.scope.get("method") == "GET" else nullcontext():
            if door.admit is not None:
                call.access = await door.admit(call, route)
            elif route.permission is not None:
                principal.require(route.permission)
            await self._handle(call, route)

    async def _handle(self, call: Call, route: Route) -> None:
        if call.scope["type"] == "http":
            limit = self._body_limit if route.body_limit_bytes is None else route.body_limit_bytes
            _limit_body(call, limit)
            if call.scope["method"] == "HEAD":
                call.send = _without_body(call.send)
        account = None if call.principal is None else call.principal.scope.account_id
        self._shares.enter(account)
        try:
            await route.handler(call)
        finally:
            self._shares.leave(account)

    async def _refuse(self, call: Call, door: Door, error: RunyardError) -> None:
        if call.started:
            # The answer has begun: cutting the connection is the only way left to say that it is not whole.
            _log.warning(
                "server.broken_off", request_id=call.request_id, code=error.code, message=error.message
            )
            raise BrokenOff
        answer = door.write_error(error, call.request_id)
        if isinstance(error, MethodNotAllowed):
            allow = ", ".join(method for method in error.allowed if method != WEBSOCKET)
            answer = Answer(
                answer.status, answer.body, answer.content_type, [*answer.headers, (b"allow", allow.encode())]
            )
        if call.scope["type"] == "http" and call.scope["method"] == "HEAD":
            call.send = _without_body(call.send)
        await send_answer(call, answer)


class BrokenOff(Exception):
    """An answer that had begun could not be finished."""


class _Watch:
    """Notes the status that is sent, for the metrics."""

    __slots__ = ("_send", "status")

    def __init__(self, call: Call, send: Send) -> None:
        self.status = 0
        self._send = send
        call.send = self._forward

    async def _forward(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self.status = message["status"]
        elif kind == "websocket.accept":
            self.status = 101
        await self._send(message)


def _limit_body(call: Call, limit: int) -> None:
    """Refuse a body over `limit` bytes: at once by its declared length, else as soon as it is over. 0 = no limit."""
    if limit == 0:
        return
    for name, value in call.scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise TooLarge(f"the request body exceeds {limit} bytes", limit=limit)
    call.receive = _counting(call.receive, limit)


def _counting(receive: Receive, limit: int) -> Callable[[], Awaitable[Message]]:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                raise TooLarge(f"the request body exceeds {limit} bytes", limit=limit)
        return message

    return counted


def _without_body(send: Send) -> Send:
    async def headers_only(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return headers_only


async def _lifespan(receive: Receive, send: Send) -> None:
    """Answer the server's start and stop; the composition root does the work outside."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
