"""The front: request ids, authentication, limits, HEAD and the last catch, over a door of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from runyard.database.engine import Database
from runyard.dialects import reading
from runyard.dialects.door import WEBSOCKET, Answer, Call, ClientGone, Door, Handler, Route, send_answer
from runyard.identity.minting import NewToken
from runyard.identity.model import Permission
from runyard.identity.service import IdentityService
from runyard.kernel.errors import NotFound, RunyardError
from runyard.server.app import App, BrokenOff
from runyard.server.metrics import Metrics
from runyard.server.native.problems import write_error
from tests.fakes.doors import ask

TOKEN = "an-admin-token"
BEARER = [("Authorization", f"Bearer {TOKEN}")]


def door(handler: Handler, *, method: str = "GET", name: str = "thing", **more: object) -> Door:
    route = Route(method=method, path="/v1/thing", name=name, summary="Do.", handler=handler, **more)  # type: ignore[arg-type]
    return Door(
        name="test",
        title="Test",
        routes=[route],
        prefixes=("/v1/",),
        credential=reading.bearer,
        write_error=write_error,
    )


class Front:
    """An application over one handler and an identity with one admin."""

    def __init__(self, identity: IdentityService) -> None:
        self.identity = identity
        self.metrics = Metrics()
        self.body_limit = 100
        self.at_once = 100

    def over(self, handler: Handler, **more: object) -> App:
        return self.over_doors([door(handler, **more)])  # type: ignore[arg-type]

    def over_doors(self, doors: Sequence[Door]) -> App:
        return App(doors, self.identity, self.metrics, body_limit=self.body_limit, at_once=self.at_once)


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    database = await Database.open(None, tmp_path)
    await database.create_all()
    identity = IdentityService(database)
    await identity.bootstrap(TOKEN)
    yield Front(identity)
    await database.close()


async def hello(call: Call) -> None:
    """Answer."""
    await send_answer(call, Answer(200, b'"hello"'))


async def count_body(call: Call) -> None:
    """Answer with the length of the body."""
    await send_answer(call, Answer(200, str(len(await reading.read_body(call))).encode()))


async def test_answer_carries_a_fresh_request_id(front: Front) -> None:
    app = front.over(hello)
    first, second = [await ask(app, "GET", "/v1/thing", headers=BEARER) for _ in range(2)]
    assert (first.status, first.body) == (200, b'"hello"')
    assert len(first.headers["x-request-id"]) == 36
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_error_carries_the_same_request_id_in_header_and_body(front: Front) -> None:
    reply = await ask(front.over(hello), "GET", "/v1/none", headers=BEARER)
    assert reply.status == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["request_id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "Bearer wrong-token")],
        [("Authorization", "Basic eA==")],
        [("Authorization", "Bearer")],
    ],
)
async def test_request_without_a_good_credential_is_401(front: Front, headers: list[tuple[str, str]]) -> None:
    reply = await ask(front.over(hello), "GET", "/v1/thing", headers=headers)
    assert (reply.status, reply.json()["code"]) == (401, "unauthenticated")
    assert reply.headers["www-authenticate"] == "Bearer"


async def test_open_route_needs_no_credential(front: Front) -> None:
    assert (await ask(front.over(hello, open=True), "GET", "/v1/thing")).status == 200


async def test_caller_without_the_permission_is_403(front: Front) -> None:
    admin = await front.identity.authenticate(TOKEN)
    _, secret = await front.identity.create_token(
        admin, NewToken(name="reader", permissions=[Permission.EXECUTIONS_READ])
    )
    app = front.over(hello, permission=Permission.RUNTIMES_EXEC)
    reply = await ask(app, "GET", "/v1/thing", headers=[("Authorization", f"Bearer {secret}")])
    assert (reply.status, reply.json()["info"]) == (403, {"permission": "runtimes:exec", "user": "admin"})
    assert (await ask(app, "GET", "/v1/thing", headers=BEARER)).status == 200


async def test_head_has_headers_and_no_body(front: Front) -> None:
    for path in ("/v1/thing", "/v1/none"):
        full = await ask(front.over(hello), "GET", path, headers=BEARER)
        head = await ask(front.over(hello), "HEAD", path, headers=BEARER)
        assert head.status == full.status
        assert head.body == b""
        assert head.headers["content-length"] == str(len(full.body))


async def test_wrong_method_is_405_and_names_the_right_ones(front: Front) -> None:
    reply = await ask(front.over(hello), "DELETE", "/v1/thing", headers=BEARER)
    assert (reply.status, reply.headers["allow"]) == (405, "GET")


async def test_body_up_to_the_limit_is_taken(front: Front) -> None:
    app = front.over(count_body, method="POST")
    reply = await ask(app, "POST", "/v1/thing", headers=BEARER, body=[b"x" * 60, b"x" * 40])
    assert (reply.status, reply.body) == (200, b"100")


@pytest.mark.parametrize("declared", [True, False])
async def test_body_over_the_limit_is_413(front: Front, declared: bool) -> None:
    more = [("Content-Length", "101")] if declared else []
    app = front.over(count_body, method="POST")
    reply = await ask(app, "POST", "/v1/thing", headers=BEARER + more, body=[b"x" * 60, b"x" * 41])
    assert (reply.status, reply.json()["code"]) == (413, "too_large")


async def test_body_limit_of_the_route_wins_and_zero_is_none(front: Front) -> None:
    for limit, status in ((10, 413), (0, 200), (1000, 200)):
        app = front.over(count_body, method="POST", body_limit_bytes=limit)
        assert (await ask(app, "POST", "/v1/thing", headers=BEARER, body=[b"x" * 500])).status == status


async def test_domain_error_is_written_by_the_door(front: Front) -> None:
    async def missing(call: Call) -> None:
        raise NotFound("there is no such thing")

    reply = await ask(front.over(missing), "GET", "/v1/thing", headers=BEARER)
    assert (reply.status, reply.json()["detail"]) == (404, "there is no such thing")


async def test_fault_is_500_without_its_text(front: Front) -> None:
    async def broken(call: Call) -> None:
        raise ZeroDivisionError("a secret in a message")

    reply = await ask(front.over(broken), "GET", "/v1/thing", headers=BEARER)
    assert (reply.status, reply.json()["code"]) == (500, "internal")
    assert b"secret" not in reply.body


async def test_fault_after_the_start_breaks_the_connection(front: Front) -> None:
    async def half(call: Call) -> None:
        call.started = True
        await call.send({"type": "http.response.start", "status": 200, "headers": []})
        raise RunyardError("too late")

    with pytest.raises(BrokenOff):
        await ask(front.over(half), "GET", "/v1/thing", headers=BEARER)


async def test_client_that_left_gets_no_answer(front: Front) -> None:
    async def left(call: Call) -> None:
        raise ClientGone

    assert (await ask(front.over(left), "GET", "/v1/thing", headers=BEARER)).messages == []


async def test_websocket_without_a_credential_is_refused_with_an_answer(front: Front) -> None:
    reply = await ask(front.over(hello, method=WEBSOCKET), "GET", "/v1/thing", websocket=True)
    assert reply.status == 401
    assert reply.messages[0]["type"] == "websocket.http.response.start"


async def test_more_requests_than_allowed_at_once_are_503(front: Front) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> None:
        entered.set()
        await leave.wait()
        await hello(call)

    front.at_once = 1
    app = front.over(slow)
    first = asyncio.create_task(ask(app, "GET", "/v1/thing", headers=BEARER))
    await entered.wait()
    assert (await ask(app, "GET", "/v1/thing", headers=BEARER)).status == 503
    leave.set()
    assert (await first).status == 200
    assert (await ask(app, "GET", "/v1/thing", headers=BEARER)).status == 200


def endless(begun: asyncio.Event) -> Handler:
    """Make a handler that sends a first piece, and then nothing more without an end."""

    async def handler(call: Call) -> None:
        call.started = True
        await call.send({"type": "http.response.start", "status": 200, "headers": []})
        await call.send({"type": "http.response.body", "body": b"one", "more_body": True})
        begun.set()
        await asyncio.Event().wait()

    return handler


@pytest.mark.parametrize("what", ["revoked", "another role", "expired"])
async def test_stream_ends_when_the_right_to_it_does(front: Front, what: str) -> None:
    """Whoever lost a token, or a role, must not go on hearing what happens."""
    admin = await front.identity.authenticate(TOKEN)
    lifetime = timedelta(seconds=0.3) if what == "expired" else None
    token, secret = await front.identity.create_token(admin, NewToken(name="t", expires_in=lifetime))
    begun = asyncio.Event()
    bearer = [("Authorization", f"Bearer {secret}")]
    reading = asyncio.ensure_future(ask(front.over(endless(begun)), "GET", "/v1/thing", headers=bearer))
    await asyncio.wait_for(begun.wait(), 5)
    if what == "revoked":
        await front.identity.revoke_token(admin, token.id)
    elif what == "another role":
        front.identity.forget_user(admin.user_id)
    with pytest.raises(BrokenOff):
        await asyncio.wait_for(reading, 5)


async def test_stream_goes_on_when_another_token_ends_and_can_be_ended_by_its_server(front: Front) -> None:
    admin = await front.identity.authenticate(TOKEN)
    other, _ = await front.identity.create_token(admin, NewToken(name="other"))
    begun = asyncio.Event()
    reading = asyncio.ensure_future(ask(front.over(endless(begun)), "GET", "/v1/thing", headers=BEARER))
    await asyncio.wait_for(begun.wait(), 5)
    await front.identity.revoke_token(admin, other.id)
    assert not reading.done()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_stream_is_not_begun_when_the_right_to_it_ended_while_the_door_asked(front: Front) -> None:
    admin = await front.identity.authenticate(TOKEN)
    begun = asyncio.Event()

    async def admit(call: Call, route: Route) -> object:
        del call, route
        front.identity.forget_user(admin.user_id)
        await asyncio.sleep(0)
        return None

    app = front.over_doors([replace(door(endless(begun)), admit=admit)])
    answer = await asyncio.wait_for(ask(app, "GET", "/v1/thing", headers=BEARER), 5)
    assert (answer.status, begun.is_set()) == (401, False)


async def test_stream_that_ends_for_two_reasons_cleans_up_undisturbed(front: Front) -> None:
    admin = await front.identity.authenticate(TOKEN)
    begun, ending, cleaned = asyncio.Event(), asyncio.Event(), asyncio.Event()
    forever = endless(begun)

    async def handler(call: Call) -> None:
        try:
            await forever(call)
        finally:
            await ending.wait()
            cleaned.set()

    reading = asyncio.ensure_future(ask(front.over(handler), "GET", "/v1/thing", headers=BEARER))
    await asyncio.wait_for(begun.wait(), 5)
    front.identity.forget_user(admin.user_id)
    await asyncio.sleep(0)
    front.identity.forget_user(admin.user_id)
    await asyncio.sleep(0)
    ending.set()
    with pytest.raises(BrokenOff):
        await asyncio.wait_for(reading, 5)
    assert cleaned.is_set()


async def test_requests_are_counted_by_route_never_by_path(front: Front) -> None:
    app = front.over(hello)
    for path in ("/v1/thing", "/v1/evil-1", "/v1/evil-2"):
        await ask(app, "GET", path, headers=BEARER)
    await asyncio.sleep(0)  # counted in the turn after the answer
    page = front.metrics.render().decode()
    assert 'runyard_http_requests_total{door="test",operation="thing",status="2xx"} 1.0' in page
    assert 'runyard_http_requests_total{door="test",operation="unmatched",status="4xx"} 2.0' in page
    assert "evil" not in page
