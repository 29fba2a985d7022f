"""Every published error of executions with its status and text, and what becomes of bodies and credentials that are wrong."""

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.server import Server
from tests.support.st2_world import BASE, World, made_world


@pytest.fixture(scope="module")
def world(server: Server) -> Iterator[World]:
    """Make executions of all kinds."""
    with made_world(server) as made:
        yield made


ERRORS: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/zzz", None, 404, 'Unable to identify resource with id "zzz".'),
    ("GET", f"/{'0' * 24}", None, 404, f'Unable to identify resource with id "{"0" * 24}".'),
    ("GET", "?offset=-1", None, 400, 'Offset "-1" specified, must not be negative.'),
    ("GET", "?timestamp=a..b", None, 400, "Datetime value does not match expected format."),
    ("GET", "?timestamp_lt=2026-01-01", None, 400, "Datetime value does not match expected format."),
    ("GET", "?filter=bad", None, 400, 'invalid format for filter "bad"'),
    ("GET", "?filter=bad:1", None, 400, 'Cannot resolve field "bad"'),
    ("GET", "?include_attributes=result.x", None, 400,
     'Invalid or unsupported include attribute specified: Cannot resolve field "result.x"'),
    ("PUT", "/{good}", {"status": "failed"}, 400, "Execution is already in completed state."),
    ("PUT", "/{good}", {"foo": 1}, 400, "Additional properties are not allowed ('foo' was unexpected)"),
    ("PUT", "/{good}", {"status": "bogus"}, 400, "'bogus' is not one of ['requested', "),
    ("PUT", "/{good}", {"status": "failed", "result": "foobar"}, 400, "'foobar' is not of type 'object'"),
    ("PUT", "/{good}", {}, 400, "'status' is a required property"),
    ("PUT", "/last", {"status": "failed"}, 404, 'Unable to identify resource with id "last".'),
    ("PUT", f"/{'0' * 24}", {"status": "failed"}, 404, "Unable to identify resource"),
    ("DELETE", "/{good}", None, 200, "Action cannot be canceled. State = succeeded."),
    ("DELETE", "/zzz", None, 404, 'Unable to identify resource with id "zzz".'),
    ("GET", "/{good}/attribute/parameters", None, 400,
     'Invalid attribute "parameters" specified. Valid attributes are: result, trigger_instance, status'),
    ("GET", "/zzz/attribute/result", None, 400, "'zzz' is not a valid ObjectId"),
    ("GET", f"/{'0' * 24}/attribute/result", None, 404, "Unable to identify resource"),
    ("GET", f"/{'0' * 24}/children", None, 404, "Unable to identify resource"),
    ("GET", f"/{'0' * 24}/output", None, 404, "Unable to identify resource"),
    ("GET", f"/{'0' * 24}/result", None, 404, "The resource could not be found."),
    ("GET", "/zzz/result", None, 400, "'zzz' is not a valid ObjectId"),
    ("GET", "/{good}/result?download=maybe", None, 400, 'Parameter "download" is not of type boolean'),
    ("POST", f"/{'0' * 24}/re_run", {}, 404, "Unable to identify resource"),
    ("POST", "/{good}/re_run", {"tasks": ["a"], "parameters": {"cmd": "x"}}, 400,
     "Parameters override is not supported when re-running task(s) for a workflow."),
    ("POST", "/{good}/re_run", {"tasks": ["a"]}, 400, "Task option is only supported for Orquesta workflows."),
    ("POST", "/{good}/re_run", {"tasks": "x"}, 400, "'x' is not of type 'array'"),
    ("POST", "/{good}/re_run", {"reset": None}, 400, "None is not of type 'array'"),
    ("POST", "/{good}/re_run", {"parameters": "x"}, 400, "'x' is not of type 'object'"),
    ("POST", "/{good}/re_run", {"parameters": None}, 400, "None is not of type 'object'"),
    ("POST", "/{good}/re_run", {"delay": "x"}, 400, "'x' is not of type 'integer'"),
    ("POST", "/{good}/re_run", {"delay": -1}, 400, "The delay must be"),
    ("POST", "/{good}/re_run", [1], 400, "[1] is not of type 'object'"),
    ("POST", "", {"action": 5}, 400, "5 is not of type 'string'"),
    ("POST", "", {"action": "core.noop", "delay": -5}, 400, "The delay must be"),
    ("POST", "", {"action": "core.noop", "delay": 1.5}, 400, "1.5 is not of type 'integer'"),
    ("POST", "", {"action": "core.noop", "parameters": [1]}, 400, "[1] is not of type 'object'"),
    ("POST", "", {"action": "core.noop", "user": 5}, 400, "5 is not of type 'string', 'null'"),
    ("POST", "", {"action": "core.noop", "notify": {"on-complete": {"x": 1}}}, 400,
     "Additional properties are not allowed ('x' was unexpected)"),
    ("POST", "", {"action": "core.noop", "notify": {"on-complete": {"routes": "x"}}}, 400, "'x' is not of type 'array'"),
    ("POST", "", {"action": "core.noop", "notify": {"on-complete": {"routes": [5]}}}, 400, "5 is not of type 'string'"),
    ("POST", "", {"action": "core.noop", "notify": {"on-complete": {"message": 5}}}, 400, "5 is not of type 'string'"),
    ("POST", "", {"action": "core.noop", "notify": {"on-complete": {"data": 5}}}, 400, "5 is not of type 'object'"),
    ("GET", "/%ff", None, 400, ""),
    ("PATCH", "/{good}", None, 404, "The resource could not be found."),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "text"), ERRORS)
def test_published_error_has_its_status_and_text(
    world: World, method: str, path: str, body: Any, status: int, text: str
) -> None:
    answer = world.door(method, BASE + path.format(good=world.good["id"]), body).expect(status)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["faultstring"].startswith(text)


def test_bodies_are_read_leniently(world: World) -> None:
    door, token = world.door, {"X-Auth-Token": world.door.token}
    form = {**token, "Content-Type": "application/x-www-form-urlencoded"}
    assert (
        "is not of type 'string'"
        in door("POST", BASE, b"action=core.noop", form).expect(400).json()["faultstring"]
    )
    text = {**token, "Content-Type": "text/plain"}
    assert door("POST", BASE, b'{"action": "core.noop"}', text).status == 201
    assert (
        door(
            "POST", f"{BASE}/{world.good['id']}/re_run", b"", {**token, "Content-Type": "application/json"}
        ).status
        == 201
    )
    deep = b'{"action": "core.noop", "parameters": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001
    assert door("POST", BASE, deep, {**token, "Content-Type": "application/json"}).status == 400


def test_pause_and_resume_are_refused_in_words(world: World) -> None:
    made = world.create(action="core.local", parameters={"cmd": "sleep 30"})
    path = f"{BASE}/{made['id']}"
    deadline = time.monotonic() + 10
    while world.door("GET", path).json()["status"] != "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    live = made["liveaction"]["id"]
    refused = world.door("PUT", path, {"status": "pausing"}).expect(400).json()["faultstring"]
    assert (
        f'Unable to pause liveaction "{live}" because it is not supported by the "local-shell-cmd" runner.'
        in refused
    )
    refused = world.door("PUT", path, {"status": "resuming"}).expect(400).json()["faultstring"]
    assert (
        f'Unable to resume liveaction "{live}" because it is in "running" state and not in "paused" state.'
        in refused
    )
    assert world.door("PUT", path, {"status": "running"}).expect(200).json()["status"] == "running"
    assert world.door("PUT", path, {"status": "canceled"}).expect(200).json()["status"] in (
        "canceling",
        "canceled",
    )
    assert world.door.ended(made["id"])["status"] == "canceled"


def test_credentials_that_ended_are_told_apart(world: World) -> None:
    door = world.door
    basic = base64.b64encode(f"admin:{door.token}".encode()).decode()
    token = (
        door("POST", "/tokens", {"ttl": 1}, {"Authorization": f"Basic {basic}"}).expect(201).json()["token"]
    )
    who = door("GET", f"/v1/user?x-auth-token={token}", headers={}).expect(200)
    assert who.headers["set-cookie"].startswith(f"auth-token={token}; Max-Age=")
    key = door("POST", "/v1/apikeys", {}).expect(201).json()
    door("PUT", f"/v1/apikeys/{key['id']}", {"enabled": False}).expect(200)
    refused = door("GET", "/v1/user", headers={"St2-Api-Key": key["key"]}).expect(401)
    assert refused.json() == {"faultstring": "Unauthorized - API key is disabled."}
    door("DELETE", f"/v1/apikeys/{key['id']}").expect(204)
    deadline = time.monotonic() + 5
    while (
        door("GET", "/v1/user", headers={"X-Auth-Token": token}).status == 200 and time.monotonic() < deadline
    ):
        time.sleep(0.1)
    refused = door("GET", "/v1/user", headers={"Cookie": f"auth-token={token}"}).expect(401)
    assert refused.json() == {"faultstring": "Unauthorized - Token has expired."}


def test_large_bodies_are_refused_and_large_outputs_are_sent_in_pieces(world: World) -> None:
    door = world.door
    huge = {"action": "core.noop", "parameters": {"a": "x" * (17 << 20)}}
    assert door("POST", BASE, huge).status == 413
    made = door.run("head -c 3000000 /dev/zero | tr '\\0' 'a'")
    assert len(world.get(f"/{made['id']}/output").body) == 3_000_000
