"""Wrong values in every place of the StackStorm door: whatever comes, the answer is never a fault of the server."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.acceptance.test_st2_wire import Door
from tests.conftest import ServerFactory
from tests.support.http import Api
from tests.support.tenant import add_account

VALUES: list[Any] = [
    None, 5, -1, 2**70, 1.5, True, "", "x", "\ud800", "a\0b", [], [1], {}, {"a": 1}, [[["x"]]],
    {"execution_id": 5}, {"execution_id": "0" * 24},
]  # fmt: skip
TEXTS = ["", "x", "-1", "9" * 18, "null", "a,b", "..", "é", "1..2", "2026-01-01T00:00:00Z..x"]
FIELDS = {
    ("POST", "/v1/executions"): "action parameters user context notify delay callback status",
    ("POST", "/v1/executions/last/re_run"): "parameters tasks reset user delay",
    ("PUT", "/v1/executions/last"): "status result",
    ("PUT", "/v1/keys/hostile"): "value scope ttl secret user encrypted",
    ("POST", "/v1/actions"): "name pack runner_type parameters tags notify enabled entry_point",
    ("POST", "/v1/packs/register"): "types packs",
    ("POST", "/v1/apikeys"): "metadata user enabled",
    ("PUT", "/v1/inquiries/last"): "response",
    ("POST", "/v1/tokens/validate"): "token",
    ("PUT", "/v1/runnertypes/winrm-cmd"): "enabled name",
    ("PUT", "/v1/configs/core"): "x",
    ("POST", "/v1/actions/core.noop/clone"): "dest_pack dest_action overwrite",
}
"""The members of each body."""
GOOD: dict[str, dict[str, Any]] = {
    "/v1/executions": {"action": "core.noop"},
    "/v1/keys/hostile": {"value": "v"},
    "/v1/actions": {"name": "hostile", "runner_type": "noop"},
}
QUERIES = [
    "limit",
    "offset",
    "sort",
    "id",
    "status",
    "timestamp",
    "timestamp_gt",
    "include_attributes",
    "exclude_attributes",
    "parent",
    "depth",
    "action",
    "liveaction",
    "types",
    "max_result_size",
    "show_secrets",
    "prefix",
    "scope",
    "user",
    "trace_tag",
    "execution",
    "name",
    "tags",
    "filter",
    "rule",
    "trigger",
    "timestamp_lt",
    "result_fmt",
    "system",
    "remote",
]
LISTS = [
    "executions",
    "executions/last",
    "executions/last/children",
    "executions/views/filters",
    "actions",
    "keys",
    "traces",
    "inquiries",
    "apikeys",
    "packs",
    "runnertypes",
    "triggerinstances",
    "rbac/roles",
    "rbac/role_assignments",
    "configs",
    "config_schemas",
    "actions/views/overview",
]


@pytest.fixture
def door(api: Api) -> Iterator[Door]:
    """Return the door of the session's server; the actions that are made are removed."""
    yield Door(api)
    Door(api)("DELETE", "/v1/actions/default.hostile")


def assert_answered(door: Door, method: str, path: str, body: Any = None) -> None:
    status = door(method, path, body).status
    assert status < 500, (method, path, body, status)


@pytest.mark.parametrize(("method", "path"), FIELDS)
def test_wrong_members_are_refused_or_taken(door: Door, method: str, path: str) -> None:
    for name in FIELDS[method, path].split():
        for value in VALUES:
            assert_answered(door, method, path, {**GOOD.get(path, {}), name: value})
    for value in VALUES:
        assert_answered(door, method, path, value)


@pytest.mark.parametrize("name", ["parent", "trace_context", "user", "pack"])
def test_wrong_contexts_are_refused_or_taken(door: Door, name: str) -> None:
    for value in VALUES:
        assert_answered(door, "POST", "/v1/executions", {"action": "core.noop", "context": {name: value}})


@pytest.mark.parametrize(
    ("action", "name"),
    [("core.local", "timeout"), ("core.local", "env"), ("core.local", "cwd"), ("core.ask", "ttl"), ("core.ask", "schema")],
)  # fmt: skip
def test_wrong_parameters_are_refused_or_taken(door: Door, action: str, name: str) -> None:
    needed = {"cmd": "true"} if action == "core.local" else {}
    for value in VALUES:
        body = {"action": action, "parameters": {**needed, name: value}}
        assert_answered(door, "POST", "/v1/executions", body)


@pytest.mark.parametrize("path", LISTS)
def test_wrong_queries_are_refused_or_taken(door: Door, path: str) -> None:
    for name in QUERIES:
        for text in TEXTS:
            assert_answered(door, "GET", f"/v1/{path}?{name}={quote(text)}")


@pytest.mark.parametrize("schema", [{"type": "bogus"}, {"id": {}}, {"properties": {"a": {"enum": 5}}}])
def test_answer_to_an_inquiry_whose_schema_is_none_is_refused(door: Door, schema: Any) -> None:
    asked = {"action": "core.ask", "parameters": {"schema": schema}}
    made = door("POST", "/v1/executions", asked).expect(201).json()["id"]
    said = door("PUT", f"/v1/inquiries/{made}", {"id": made, "response": {"a": "x"}}).expect(400).json()
    assert said["faultstring"].startswith(
        f'Response for inquiry "{made}" did not pass schema validation. the'
    )
    door("PUT", f"/v1/executions/{made}", {"status": "failed"}).expect(200)


@pytest.mark.parametrize(
    "context", ["[" * 30_000, '{"a":' * 9000, '{"a": "\\u0000"}', '{"a": NaN}', '{"a": "\\ud800"}', "{", "5"]
)
def test_context_of_the_header_that_cannot_be_kept_is_refused(door: Door, context: str) -> None:
    headers = {"X-Auth-Token": door.token, "st2-context": context}
    answer = door("POST", "/v1/executions", {"action": "core.noop"}, headers).expect(400)
    assert "Unable to convert st2-context" in answer.json()["faultstring"]


def test_form_of_a_million_fields_holds_nobody_up(door: Door) -> None:
    form = {"X-Auth-Token": door.token, "Content-Type": "application/x-www-form-urlencoded"}
    began = time.monotonic()
    door("POST", "/v1/executions", b"a=1&" * 4_000_000, form).expect(400)
    assert time.monotonic() - began < 4
    assert door("POST", "/v1/executions", b"action=core.noop", form).status in (201, 400)


def test_token_of_a_project_learns_nothing_of_executions_elsewhere(api: Api, door: Door) -> None:
    parameters = {"parameters": {"cmd": "echo elsewhere-only"}}
    notify = {"notify": {"on-complete": {"routes": ["r"], "data": {"said": "{{ action_results.stdout }}"}}}}
    made = door("POST", "/v1/executions", {"action": "core.local", **parameters, **notify}).expect(201).json()
    ended = door.ended(made["id"])
    trace = door("GET", f"/v1/traces?execution={ended['id']}").json()[0]["id"]
    deadline = time.monotonic() + 15
    while not (found := door("GET", "/v1/triggerinstances?limit=1").json()) and time.monotonic() < deadline:
        time.sleep(0.05)
    with api.clone(narrowed(api)) as client:
        narrow = Door(client)
        for path, status in (
            (f"/v1/executions/{ended['id']}", 404), (f"/v1/traces/{trace}", 404),
            ("/v1/triggerinstances", 403), (f"/v1/triggerinstances/{found[0]['id']}", 403),
        ):  # fmt: skip
            answer = narrow("GET", path)
            assert (answer.status, b"elsewhere-only" in answer.body) == (status, False), path
        assert ended["id"] not in narrow("GET", "/v1/traces").expect(200).body.decode()
        own = narrow.run("echo own")
        (mine,) = narrow("GET", f"/v1/traces?execution={own['id']}").expect(200).json()
        assert narrow("GET", f"/v1/traces/{mine['id']}").status == 200
        below = {"action": "core.noop", "context": {"trace_context": {"id_": trace}}}
        assert narrow("POST", "/v1/executions", below).status == 400


def narrowed(api: Api) -> str:
    """Return a token of a project below the root."""
    body = {"name": "narrow", "project": "default"}
    made: str = api.post("/runyard/v1/tokens", body).expect(201).json()["secret"]
    return made


def test_other_tenants_find_nothing_of_an_account(fresh_server: ServerFactory) -> None:
    server = fresh_server()
    assert server.stop() == 0
    token = add_account(server, "other")
    server.start()
    with server.api() as api, server.api().clone(token) as other:
        ours, theirs = Door(api), Door(other)
        made = ours(
            "POST", "/v1/executions", {"action": "core.ask", "notify": {"on-complete": {"routes": ["r"]}}}
        )
        asked = made.expect(201).json()
        ended = ours.run("echo private", notify={"on-complete": {"routes": ["r"]}})
        ours("POST", "/v1/actions", {"name": "ours", "runner_type": "noop"}).expect(201)
        ours("PUT", "/v1/keys/ours", {"value": "v", "secret": True}).expect(200)
        key = ours("POST", "/v1/apikeys", {}).expect(201).json()
        trace = ours("GET", f"/v1/traces?execution={ended['id']}").json()[0]["id"]
        deadline = time.monotonic() + 15
        while not (instances := ours("GET", "/v1/triggerinstances").json()) and time.monotonic() < deadline:
            time.sleep(0.05)
        one = f"/v1/executions/{ended['id']}"
        for method, path, body in (
            ("GET", one, None), ("PUT", one, {"status": "failed"}), ("DELETE", one, None), ("GET", f"{one}/output", None),
            ("GET", f"{one}/result", None), ("GET", f"{one}/children", None), ("GET", f"{one}/attribute/status", None),
            ("POST", f"{one}/re_run", {}), ("GET", f"/stream{one}/output", None), ("GET", "/v1/actions/default.ours", None),
            ("DELETE", "/v1/actions/default.ours", None), ("GET", "/v1/keys/ours", None), ("DELETE", "/v1/keys/ours", None),
            ("GET", f"/v1/apikeys/{key['id']}", None), ("GET", f"/v1/apikeys/{key['key']}", None),
            ("DELETE", f"/v1/apikeys/{key['id']}", None), ("GET", f"/v1/traces/{trace}", None),
            ("GET", f"/v1/inquiries/{asked['id']}", None), ("PUT", f"/v1/inquiries/{asked['id']}", {"response": {"continue": True}}),
            ("GET", f"/v1/triggerinstances/{instances[0]['id']}", None),
        ):  # fmt: skip
            assert theirs(method, path, body).status == 404, (method, path)
        for path in ("executions", "keys", "apikeys", "traces", "inquiries", "triggerinstances"):
            assert theirs("GET", f"/v1/{path}").expect(200).json() == [], path
        below = {"action": "core.noop", "context": {"parent": {"execution_id": ended["id"]}}}
        assert theirs("POST", "/v1/executions", below).status == 404
        traced = {"action": "core.noop", "context": {"trace_context": {"id_": trace}}}
        assert theirs("POST", "/v1/executions", traced).status == 400
        sealed = ours("GET", "/v1/keys/ours").json()["value"]
        stolen = theirs("PUT", "/v1/keys/stolen", {"value": sealed, "encrypted": True})
        assert stolen.status == 400 or theirs("GET", "/v1/keys/stolen?decrypt=true").json()["value"] != "v"


def test_list_of_large_results_is_never_held_whole(fresh_server: ServerFactory) -> None:
    """Each result may have 14 MB, and a list a hundred of them: its memory must not follow the two."""
    server = fresh_server()

    def peak() -> int:
        status = Path(f"/proc/{server.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10

    with server.api() as api:
        door = Door(api)
        cmd = {"cmd": "head -c 10000000 /dev/zero | tr '\\0' a"}
        first = door.run(**cmd)
        assert len(first["result"]["stdout"]) == 10_000_000
        asked = [
            door("POST", "/v1/executions", {"action": "core.local", "parameters": cmd}) for _ in range(23)
        ]
        for one in asked:
            path = f"/v1/executions/{one.expect(201).json()['id']}?include_attributes=end_timestamp"
            while "end_timestamp" not in door("GET", path).json():
                time.sleep(0.05)
        for _ in range(4):
            door.run(cmd="true")  # the small ones that come first must not promise that all are
        before = peak()
        found = door("GET", "/v1/executions?limit=28").expect(200)
        assert len(found.body) > 240_000_000
        assert peak() - before < 300 << 20, f"{(peak() - before) >> 20} MiB more"
        assert [one["status"] for one in found.json()] == ["succeeded"] * 28
        short = door("GET", "/v1/executions?limit=28&include_attributes=status").expect(200)
        assert int(short.headers["content-length"]) == len(short.body)
