"""What holds for every Runta call: health, tokens, envelopes, request ids, malformed requests. No SDK involved."""

import json
import socket
import uuid

import pytest

from tests.support.http import Answer, Api
from tests.support.server import Server

CODES = {
    "already_exists",
    "command_failed",
    "deadline_exceeded",
    "failed_precondition",
    "internal",
    "invalid_argument",
    "not_found",
    "permission_denied",
    "rate_limited",
    "unauthenticated",
    "unavailable",
    "unimplemented",
}
NOBODY = "01890000-0000-7000-8000-000000000000"


def assert_envelope(answer: Answer) -> None:
    """Assert that an error has the dialect's shape in every detail."""
    document = answer.json()
    assert set(document) == {"error", "request_id"}, document
    assert document["error"]["code"] in CODES
    assert isinstance(document["error"]["message"], str)
    assert document["error"]["message"]
    assert answer.headers["x-request-id"] == document["request_id"]
    assert uuid.UUID(document["request_id"]).version == 7
    assert answer.headers["content-type"].startswith("application/json")


def raw(server: Server, data: bytes, *, timeout: float = 10) -> bytes:
    """Send bytes as they are and return all that comes back before the end or the time is up."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except (TimeoutError, ConnectionResetError):
            pass
    return received


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_healthz_without_token_answers_200(api: Api, method: str) -> None:
    answer = api.anonymous().request(method, "/healthz")
    assert answer.status == 200
    if method == "HEAD":
        assert answer.body == b""


@pytest.mark.parametrize(
    "path", ["/v1/runtimes", "/v2/runtimes", f"/v1/runtimes/{NOBODY}", "/v2/secrets", "/v1/checkpoints"]
)
@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer wrong", "Basic dXNlcjpwYXNz", "Bearer " + "x" * 5000]
)
def test_call_without_valid_token_is_unauthenticated(api: Api, path: str, header: str | None) -> None:
    headers = {"Authorization": header} if header else {}
    answer = api.anonymous().request("GET", path, headers=headers)
    assert answer.status == 401
    assert answer.error[0] == "unauthenticated"
    assert_envelope(answer)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", f"/v1/runtimes/{NOBODY}", None, 404, "not_found"),
        ("GET", "/v1/runtimes/no-such-name", None, 404, "not_found"),
        ("POST", f"/v1/runtimes/{NOBODY}/exec", {"command": "true"}, 404, "not_found"),
        ("POST", f"/v1/runtimes/{NOBODY}/start", None, 404, "not_found"),
        ("DELETE", f"/v1/runtimes/{NOBODY}", None, 404, "not_found"),
        ("GET", f"/v1/runtimes/{NOBODY}/files?path=/etc/hostname", None, 404, "not_found"),
        ("GET", f"/v1/checkpoints/{NOBODY}", None, 404, "not_found"),
        ("GET", f"/v1/secrets/{NOBODY}", None, 404, "not_found"),
        ("GET", f"/v2/runtimes/{NOBODY}", None, 404, "not_found"),
        ("GET", "/v2/runtimes/a-name", None, 422, "invalid_argument"),
        ("POST", f"/v2/runtimes/{NOBODY}/start?expected_revision=1", None, 404, "not_found"),
        ("GET", f"/v2/runtimes/{NOBODY}/files?path=/etc/hostname", None, 404, "not_found"),
        ("POST", "/v1/runtimes", {"unknown_field": 1}, 422, "invalid_argument"),
        ("POST", "/v1/runtimes", {"name": 5}, 422, "invalid_argument"),
        ("POST", "/v1/runtimes", {"name": "x" * 64}, 422, "invalid_argument"),
        ("POST", "/v1/runtimes", {"resources": {"requests": {"vcpus": 0}}}, 422, "invalid_argument"),
        ("POST", "/v2/runtimes", {"resources": {"requests": {"vcpus": 999}}}, 422, "invalid_argument"),
        ("POST", "/v2/runtimes", {"surprise": True}, 422, "invalid_argument"),
        ("POST", "/v2/runtimes", {"environment_variables": {"1BAD": "x"}}, 422, "invalid_argument"),
        ("POST", "/v2/runtimes", {"idle_policy": {"mode": "suspend_only"}}, 422, "invalid_argument"),
        ("POST", "/v2/runtimes", {"checkpoint_id": NOBODY}, 404, "not_found"),
        ("GET", "/v1/runtimes?limit=0", None, 422, "invalid_argument"),
        ("GET", "/v2/runtimes?limit=0", None, 422, "invalid_argument"),
        ("GET", "/v2/runtimes?limit=101", None, 422, "invalid_argument"),
        ("GET", "/v2/runtimes?limit=x", None, 422, "invalid_argument"),
        ("GET", "/v2/runtimes?status=sleepy", None, 422, "invalid_argument"),
        ("GET", "/v2/runtimes?after=%00garbage", None, 422, "invalid_argument"),
        ("GET", "/v2/ssh-keys", None, 501, "unimplemented"),
        ("GET", "/v2/github/repositories", None, 501, "unimplemented"),
        ("GET", "/v1/audits", None, 501, "unimplemented"),
        ("GET", f"/v1/runtimes/{NOBODY}/secret-injection-rules", None, 501, "unimplemented"),
        ("POST", f"/v2/runtimes/{NOBODY}/vnc/enable?expected_revision=1", None, 501, "unimplemented"),
        ("GET", "/v1/no/such/route", None, 404, "not_found"),
        ("GET", "/v2/no/such/route", None, 404, "not_found"),
    ],
)
def test_refused_call_has_documented_status_code_and_envelope(
    api: Api, method: str, path: str, body: object, status: int, code: str
) -> None:
    answer = api.request(method, path, body)
    assert (answer.status, answer.error[0]) == (status, code), answer.body
    assert_envelope(answer)


def test_unknown_runtime_message_names_the_id(api: Api) -> None:
    _, message = api.post(f"/v1/runtimes/{NOBODY}/exec", {"command": "true"}).error
    assert f"runtime '{NOBODY}' not found" in message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"command": "true"',
        b'{"command":"\xff"}',
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("path", ["/v1/runtimes/{rt}/exec", "/v1/secrets", "/v2/runtimes/{rt}/checkpoints"])
def test_malformed_json_is_refused_without_a_fault(api: Api, shared: str, path: str, body: bytes) -> None:
    answer = api.request("POST", path.format(rt=shared), body, {"Content-Type": "application/json"})
    if body == b"" and "checkpoints" in path:
        return  # every field of that body is optional
    assert answer.status in (400, 422), answer.body
    assert answer.error[0] == "invalid_argument"
    assert_envelope(answer)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"POST /v1/runtimes HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/runtimes HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"POST /v1/runtimes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/runtimes/%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v1/runtimes/..%2f..%2fetc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_malformed_http_ends_in_a_client_error(server: Server, api: Api, data: bytes) -> None:
    received = raw(server, data)
    assert not received or 400 <= int(received.split()[1]) < 500, received[:200]
    api.anonymous().get("/healthz").expect(200)


def test_request_id_is_on_good_answers_too_and_differs(api: Api) -> None:
    ids = {api.get("/v1/runtimes").expect(200).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_content_type_of_calls_without_body_is_ignored(api: Api, shared: str) -> None:
    headers = {"Content-Type": "application/octet-stream", "Content-Length": "0"}
    assert api.request("GET", f"/v2/runtimes/{shared}", headers=headers).status == 200
    revision = api.get(f"/v2/runtimes/{shared}").data["revision"]
    path = f"/v2/runtimes/{shared}/start?expected_revision={revision}"
    assert api.request("POST", path, b"", headers).status == 200


def test_expect_100_continue_is_honoured(server: Server, shared: str) -> None:
    body = json.dumps({"command": "echo", "args": ["hi"]}).encode()
    head = (
        f"POST /v1/runtimes/{shared}/exec HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert b'"stdout":"hi\\n"' in received.replace(b" ", b"")


def test_keep_alive_serves_many_calls_on_one_connection(api: Api, shared: str) -> None:
    api.get("/healthz")
    first = api._connection
    for _ in range(50):
        api.get(f"/v1/runtimes/{shared}").expect(200)
    assert api._connection is first
