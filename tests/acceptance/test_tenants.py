"""Two tenants on one server: nothing of the one exists for the other, and a narrow token does only what it may."""

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.support import ledger
from tests.support.http import Api
from tests.support.server import Server
from tests.support.stream import ExecStream
from tests.support.tenant import add_account


def belongings(api: Api) -> dict[str, Any]:
    """Make one of everything and return the ids."""
    runtime = api.create(name="private")["id"]
    api.write_file(runtime, "/root/private", b"private").expect(204)
    checkpoint = api.post(f"/v1/runtimes/{runtime}/checkpoints", {"kind": "full", "name": "private-cp"})
    secret = api.put("/v2/secrets/private-secret", {"value": "hidden", "cache_ttl_secs": 0})
    api.sh(runtime, "echo private-output")
    return {
        "runtime": runtime,
        "checkpoint": checkpoint.expect(200).data["id"],
        "secret": secret.expect(200).data["id"],
        "execution": ledger.executions(api)[0]["id"],
        "revision": api.get(f"/v2/runtimes/{runtime}").data["revision"],
    }


def intrusions(own: dict[str, Any]) -> list[tuple[str, str, object]]:
    """List every call that names something of another tenant."""
    found: list[tuple[str, str, object]] = []
    for runtime in (own["runtime"], "private"):
        base = f"/v1/runtimes/{runtime}"
        found += [("GET", base, None), ("DELETE", base, None), ("POST", f"{base}/exec", {"command": "true"})]
        found += [("POST", f"{base}/{verb}", None) for verb in ("start", "stop", "pause", "resume")]
        found += [
            ("GET", f"{base}/files?path=/root/private", None),
            ("PUT", f"{base}/files?path=/root/x", b"x"),
        ]
        found += [("POST", f"{base}/checkpoints", {}), ("PATCH", base, {"egress_policy": {"enabled": True}})]
    base, revision = f"/v2/runtimes/{own['runtime']}", f"?expected_revision={own['revision']}"
    found += [
        ("GET", base, None),
        ("DELETE", base + revision, None),
        ("POST", f"{base}/stop{revision}", None),
    ]
    found += [
        ("PATCH", base + revision, {"display_name": "mine"}),
        ("GET", f"{base}/files?path=/etc/passwd", None),
    ]
    for version in ("v1", "v2"):
        for one in (own["checkpoint"], "private-cp"):
            found += [(method, f"/{version}/checkpoints/{one}", None) for method in ("GET", "DELETE")]
        for one in (own["secret"], "private-secret"):
            found += [(method, f"/{version}/secrets/{one}", None) for method in ("GET", "DELETE")]
        found.append(("POST", f"/{version}/runtimes", {"checkpoint_id": own["checkpoint"]}))
    execution = f"{ledger.ROOT}/executions/{own['execution']}"
    found += [("GET", execution + path, None) for path in ("", "/history", "/output", "/output/live")]
    found += [("GET", f"{execution}/output/search?text=x", None), ("POST", f"{execution}/cancel", {})]
    found += [("GET", f"{ledger.ROOT}/runtimes/{own['runtime']}", None)]
    return found


def test_another_tenants_ids_do_not_exist(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server()
    with server.api() as api:
        own = belongings(api)
    assert server.stop() == 0
    token = add_account(server, "other")
    server.start()
    with server.api() as api, api.clone(token) as other:
        for method, path, body in intrusions(own):
            answer = other.request(method, path, body)
            assert answer.status == 404, (method, path, answer.status, answer.body)
        for path in ("/v1/runtimes", "/v2/runtimes", "/v1/checkpoints", "/v2/secrets"):
            assert other.get(path).expect(200).data == [], path
        assert ledger.executions(other) == []
        configuration = [
            {"secret_id": own["secret"], "environment": [{"name": "A", "value_template": "${secret}"}]}
        ]
        assert other.post("/v2/runtimes", {"secret_configuration": configuration}).status in (404, 422)
        stranger = Server(server.folder, token=token, port=server.port)
        with pytest.raises(InvalidStatus) as refused:
            ExecStream(stranger, own["runtime"])
        assert refused.value.response.status_code == 404
        same_name = other.create(name="private")["id"]
        assert other.sh("private", "cat /root/private 2>/dev/null || echo none") == "none\n"
        assert api.sh("private", "cat /root/private") == "private"
        assert api.get(f"/v1/runtimes/{same_name}").status == 404
        assert api.get(f"/v1/runtimes/{own['runtime']}").expect(200).data["status"] == "running"


def test_narrow_token_does_only_what_it_may(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server()
    with server.api() as api:
        runtime = api.create()["id"]
        made = api.post(f"{ledger.ROOT}/tokens", {"name": "reader", "scopes": ["runtimes:read"]})
        assert made.status in (200, 201), made.body
        token = made.json()
        secret = token["secret"]
        with api.clone(secret) as reader:
            reader.get(f"/v1/runtimes/{runtime}").expect(200)
            for method, path, body in (
                ("POST", "/v1/runtimes", {}),
                ("POST", f"/v1/runtimes/{runtime}/exec", {"command": "true"}),
                ("DELETE", f"/v1/runtimes/{runtime}", None),
                ("PUT", f"/v1/runtimes/{runtime}/files?path=/root/x", b"x"),
                ("GET", "/v1/secrets", None),
            ):
                answer = reader.request(method, path, body)
                assert (answer.status, answer.error[0]) == (403, "permission_denied"), (path, answer.body)
        identity = token["token"]["id"]
        assert api.delete(f"{ledger.ROOT}/tokens/{identity}").status in (200, 204)
        with api.clone(secret) as reader:
            assert reader.get(f"/v1/runtimes/{runtime}").status == 401


def test_tenant_that_opens_streams_without_end_leaves_room_for_others(
    fresh_server: Callable[..., Server],
) -> None:
    server = fresh_server(start=False, limits__requests_at_once="16")
    server.start()
    assert server.stop() == 0
    token = add_account(server, "greedy")
    server.start()
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(server.api())
        greedy = stack.enter_context(api.clone(token))
        begin = f"GET /v1/stream HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n\r\n".encode()
        answers = []
        for _ in range(20):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))
            connection.sendall(begin)
            answers.append(connection.recv(12)[9:12])
        assert answers == [b"200"] * 14 + [b"503"] * 6
        assert greedy.get(f"{ledger.ROOT}/executions").status == 503
        assert api.get(f"{ledger.ROOT}/executions").status == 200
        assert api.anonymous().get("/healthz").status == 200


def test_streams_end_with_the_token_that_reads_them(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server()
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(server.api())
        made = api.post(f"{ledger.ROOT}/tokens", {"name": "reader"}).expect(201).json()
        asked = {"action": "core.local", "parameters": {"cmd": "echo first; sleep 60"}}
        started = api.anonymous().request("POST", "/v1/executions", asked, {"X-Auth-Token": server.token})
        live = f"{ledger.ROOT}/executions/{started.expect(201).json()['id']}/output/live"
        secret, readers = made["secret"], []
        for path, header in (("/v1/stream", "X-Auth-Token: "), (live, "Authorization: Bearer ")):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{header}{secret}\r\n\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 200"
            readers.append(connection)
        api.delete(f"{ledger.ROOT}/tokens/{made['token']['id']}").expect(204)
        for connection in readers:
            while connection.recv(1 << 16):
                pass  # cut, and not merely silent: else this would wait for ten seconds and fail
        for one in ledger.executions(api):
            api.post(f"{ledger.ROOT}/executions/{one['id']}/cancel", {})
