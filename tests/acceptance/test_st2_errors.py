"""Every published error of executions with its status and text, and what becomes of bodies and credentials that are wrong."""

import base64
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookies import SimpleCookie
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
    ("POST", "", {"action": "core.noop", "notify": {"on-complete": {"routes": ["r"] * 51}}}, 400, "A section of notify has"),
    ("GET", "/%ff", None, 400, ""),
    ("GET", "?user=%00", None, 400, "the query contains a NUL"),
    ("GET", "?filter=status:%00", None, 400, "the query contains a NUL"),
    ("POST", "", {"action": "core.noop", "user": "u" * 257}, 400, "The name of a user has at most 256 characters."),
    ("POST", "", {"action": "core.noop", "context": {"parent": {"user": "u" * 257}}}, 400, "The name of a user has"),
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
    cookie = SimpleCookie(who.headers["set-cookie"])["auth-token"]
    assert (cookie.value, cookie["path"], cookie["samesite"]) == (token, "/", "lax")
    assert cookie["secure"] is True
    assert cookie["httponly"] is True
    assert cookie["max-age"] in ("0", "1"), "no longer than the token"
    ends = parsedate_to_datetime(cookie["expires"])
    assert abs((ends - datetime.now(UTC)).total_seconds()) < 5
    key = door("POST", "/v1/apikeys", {}).expect(201).json()
    door("PUT", f"/v1/apikeys/{key['id']}", {"enabled": False}).expect(200)
    refused = door("GET", "/v1/user", headers={"St2-Api-Key": key["key"]}).expect(401)
    assert refused.json() == {"faultstring": "Unauthorized - API key is disabled."}
    door("DELETE", f"/v1/apikeys/{key['id']}").expect(204)
    deadline = time.monotonic() + 20
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


OTHERS: list[tuple[str, str, Any, int, str]] = [
    ("POST", "actions", {"name": "kinds of", "runner_type": "nope"}, 400, "RunnerType nope is not found."),
    ("POST", "actions", {"runner_type": "noop"}, 400, "'name' is a required property"),
    ("POST", "actions", {"name": "x", "runner_type": "noop", "pack": "nopack"}, 400, 'Content pack "nopack" is not found'),
    ("POST", "actions", {"name": "x", "runner_type": "noop", "parameters": {"a": {"type": "bogus"}}}, 400,
     "'bogus' is not valid under any of the given schemas"),
    ("POST", "actions", {"name": "x", "runner_type": "noop", "pack": "core"}, 400,
     "Resources belonging to system level packs can't be manipulated"),
    ("POST", "actions", {"name": "tabled", "runner_type": "noop"}, 409, ""),
    ("PUT", "actions/core.local", {"name": "local", "pack": "core", "runner_type": "noop"}, 400,
     "Resources belonging to system level packs can't be manipulated"),
    ("DELETE", "actions/core.local", {"remove_files": True}, 400, "Files of actions cannot be removed through the API"),
    ("DELETE", "actions/core.local", {"remove_files": False}, 400, "Resources belonging to system level packs can't be manipulated"),
    ("POST", "actions/core.noop/clone", {"dest_pack": "default", "dest_action": "L" * 257}, 400, "'LLL"),
    ("POST", "actions/core.noop/clone", {"dest_pack": "default", "dest_action": ""}, 400, ""),
    ("PUT", "actions/default.tabled", {"name": "tabled", "runner_type": "noop", "pack": "nopack"}, 400,
     'Content pack "nopack" is not found'),
    ("GET", "actions/core.zzz", None, 404, 'Resource with a reference or id "core.zzz" not found'),
    ("GET", "actions?exclude_attributes=ref", None, 400, "Invalid or unsupported exclude attribute specified: ref"),
    ("GET", "actions?id=bad", None, 400, "'bad' is not a valid ObjectId"),
    ("GET", "actions/views/overview?id=bad", None, 400, "'bad' is not a valid ObjectId"),
    ("GET", "traces?include_attributes=nope", None, 400,
     'Invalid or unsupported include attribute specified: Cannot resolve field "nope"'),
    ("POST", "apikeys", {"key_hash": "0" * 128}, 400, "An API key cannot be loaded by its hash"),
    ("POST", "apikeys", {"user": "nobody-there"}, 400, "The API key cannot be made: there is no user 'nobody-there'."),
    ("GET", "actions?include_attributes=nope", None, 400, "Invalid or unsupported include attribute specified"),
    ("GET", "runnertypes/nope", None, 404, 'Resource with a name or id "nope" not found'),
    ("GET", "packs/nopack", None, 404, 'Resource with a ref or id "nopack" not found'),
    ("GET", "config_schemas/core", None, 404, ""),
    ("POST", "packs/register", {"types": ["bogus"]}, 400, "'bogus' is not one of"),
    ("PUT", "keys/x", {"value": 5}, 400, "5 is not of type 'string'"),
    ("PUT", "keys/x", {"value": "v", "scope": "bogus"}, 400, "Scope st2kv.bogus is not in allowed scopes list: ["),
    ("PUT", "keys/x", {"value": "v", "encrypted": True}, 400, "the value was not encrypted by this server"),
    ("PUT", "keys/x", {"value": "v", "scope": "user", "user": "u" * 257}, 400, "The name of a user has at most 256"),
    ("GET", "keys?prefix=%00", None, 400, "the query contains a NUL"),
    ("GET", "traces?trace_tag=a%00b", None, 400, "the query contains a NUL"),
    ("GET", "keys/nokey", None, 404, 'The key "nokey" does not exist in the StackStorm datastore.'),
    ("DELETE", "keys/nokey", None, 404, 'The key "nokey" does not exist in the StackStorm datastore.'),
    ("GET", "apikeys/nope", None, 404, "ApiKey matching nope for reference and id not found."),
    ("POST", "tokens/validate", {}, 400, "'token' is a required property"),
    ("GET", f"inquiries/{'0' * 24}", None, 404, "The resource could not be found."),
    ("PUT", f"inquiries/{'0' * 24}", {"id": "x"}, 400, "'response' is a required property"),
    ("GET", "inquiries/{good}", None, 400, "{good} is not an Inquiry."),
    ("GET", f"traces/{'0' * 24}", None, 404, "Unable to identify resource"),
    ("GET", f"triggerinstances/{'0' * 24}", None, 404, "Unable to identify resource"),
    ("GET", "triggerinstances?timestamp_gt=x", None, 400, "Datetime value does not match expected format."),
    ("GET", "rbac/roles/nope", None, 404, 'Resource with a name or id "nope" not found'),
    ("GET", "rbac/permission_types/nope", None, 404, "Invalid resource type: nope"),
    ("POST", "rules", {}, 501, "POST /v1/rules is not available in this version of Runyard."),
    ("GET", "keys/a/b/c", None, 404, "The resource could not be found."),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "text"), OTHERS)
def test_published_error_of_other_resources_has_its_status_and_text(
    world: World, method: str, path: str, body: Any, status: int, text: str
) -> None:
    good = world.good["id"]
    answer = world.door(method, "/v1/" + path.replace("{good}", good), body).expect(status)
    assert answer.json()["faultstring"].startswith(text.replace("{good}", good)), answer.body
    assert ("conflict-id" in answer.json()) is (status == 409)


def test_lists_have_the_limits_and_headers_of_their_kind(world: World) -> None:
    for path, limit in (
        ("executions", "100"), ("actions", None), ("apikeys", "50"), ("traces", "100"), ("inquiries", "20"),
        ("triggerinstances", "100"), ("packs", "100"), ("runnertypes", "100"), ("configs", "100"), ("config_schemas", "100"),
    ):  # fmt: skip
        answer = world.door("GET", f"/v1/{path}").expect(200)
        assert answer.headers.get("x-limit") == limit, path
        assert int(answer.headers["x-total-count"]) >= len(answer.json()), path
    keys = world.door("GET", "/v1/keys").expect(200).headers
    assert not {"x-limit", "x-total-count"} & set(keys)
