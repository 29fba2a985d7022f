"""The StackStorm door on the wire: statuses, texts, headers, spellings of paths, filters and the stream."""

import base64
import gzip
import hashlib
import json
import re
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.http import Answer, Api
from tests.support.server import Server


class Door:
    """The door as a program speaks to it, with a token in its own header."""

    def __init__(self, api: Api) -> None:
        """Use a client without a bearer token."""
        self.token = api.token or ""
        self.host, self.port = api.host, api.port
        self._api = api.anonymous()

    def __call__(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request with the token, unless other headers are given."""
        sent = {"X-Auth-Token": self.token} if headers is None else headers
        return self._api.request(method, path, body, sent)

    def history(self, execution: str) -> list[dict[str, Any]]:
        """Return all changes of an execution as the ledger has them."""
        path = f"/runyard/v1/executions/{execution}/history"
        answer = self._api.request("GET", path, None, {"Authorization": f"Bearer {self.token}"})
        found: list[dict[str, Any]] = answer.expect(200).json()["items"]
        return found

    def run(self, cmd: str, **more: Any) -> dict[str, Any]:
        """Run a command to its end."""
        made = self("POST", "/v1/executions", {"action": "core.local", "parameters": {"cmd": cmd}, **more})
        return self.ended(made.expect(201).json()["id"])

    def ended(self, execution: str) -> dict[str, Any]:
        """Wait for the end of an execution and return it."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found: dict[str, Any] = self("GET", f"/v1/executions/{execution}").expect(200).json()
            if "end_timestamp" in found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{execution} did not end")


@pytest.fixture
def door(api: Api) -> Door:
    """Return the door of the session's server."""
    return Door(api)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/executions", "/v1/executions/", "/executions", "/executions/", "/v1/actionexecutions",
        "/actionexecutions/", "/api/v1/executions", "/api/executions", "/api/v1/actionexecutions/",
    ],
)  # fmt: skip
def test_every_spelling_of_a_path_answers(door: Door, path: str) -> None:
    assert isinstance(door("GET", f"{path}?limit=1").expect(200).json(), list)


@pytest.mark.parametrize("path", ["/tokens", "/v1/tokens", "/auth/tokens", "/auth/v1/tokens"])
def test_log_in_answers_at_every_spelling(door: Door, path: str) -> None:
    basic = base64.b64encode(f"admin:{door.token}".encode()).decode()
    answer = door("POST", path, {"ttl": 60}, {"Authorization": f"Basic {basic}"}).expect(201)
    assert answer.headers["x-api-url"].endswith("/v1")
    token = answer.json()
    assert re.fullmatch(r"[0-9a-f]{32}", token["token"])
    who = door("GET", "/v1/user", headers={"X-Auth-Token": token["token"]}).expect(200).json()
    assert who["username"] == "admin"
    assert who["authentication"]["token_expire"] == token["expiry"]


@pytest.mark.parametrize(
    ("body", "password", "status", "text"),
    [
        ({}, "wrong", 401, "Invalid or missing credentials"),
        ({"ttl": 99999999}, None, 400, "TTL specified 99999999 is greater than max allowed 86400."),
        ({"ttl": "x"}, None, 400, "'x' is not of type 'integer'"),
    ],
)
def test_log_in_refuses(door: Door, body: Any, password: str | None, status: int, text: str) -> None:
    basic = base64.b64encode(f"admin:{password or door.token}".encode()).decode()
    answer = door("POST", "/tokens", body, {"Authorization": f"Basic {basic}"}).expect(status)
    assert answer.json() == {"faultstring": text}


def test_credentials_of_all_five_places_and_their_order(door: Door) -> None:
    good, bad = door.token, "0" * 32
    for headers, query, place in (
        ({"X-Auth-Token": good}, "", ("authentication token", "header")),
        ({"St2-Api-Key": good}, "", ("API key", "header")),
        ({}, f"?x-auth-token={good}", ("authentication token", "query")),
        ({}, f"?st2-api-key={good}", ("API key", "query")),
        ({"Cookie": f"a=b; auth-token={good}"}, "", ("authentication token", "cookie")),
    ):
        how = door("GET", f"/v1/user{query}", headers=headers).expect(200).json()["authentication"]
        assert (how["method"], how["location"]) == place
    assert door("GET", "/v1/user", headers={"X-Auth-Token": bad, "St2-Api-Key": good}).status == 401
    refused = door("GET", "/v1/executions", headers={}).expect(401)
    assert refused.json() == {"faultstring": "Unauthorized - One of Token or API key required."}
    refused = door("GET", "/v1/executions", headers={"X-Auth-Token": bad}).expect(401)
    assert refused.json() == {"faultstring": "Unauthorized"}
    digest = hashlib.sha512(bad.encode()).hexdigest()
    for headers, query in (({"St2-Api-Key": bad}, ""), ({}, f"?st2-api-key={bad}")):
        refused = door("GET", f"/v1/executions{query}", headers=headers).expect(401)
        assert refused.json() == {"faultstring": f"Unauthorized - ApiKey with key_hash={digest} not found."}
    assert "; Max-Age=86400; Path=/; expires=" in door("GET", "/v1/user").headers["set-cookie"]
    assert "set-cookie" not in door("GET", "/v1/user", headers={"St2-Api-Key": good}).headers


def test_cookie_counts_for_pages_of_the_same_origin_only(door: Door) -> None:
    host = f"{door.host}:{door.port}"
    body = {"name": f"cookie_{uuid.uuid4().hex[:8]}", "runner_type": "noop"}
    for more, status in (
        ({"Origin": f"http://{door.host}:{door.port + 1}"}, 401),
        ({"Origin": "null"}, 401),
        ({"Origin": f"http://{host}.evil.example"}, 401),
        ({"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"}, 401),
        ({"Origin": f"http://{host}", "Host": host}, 201),
    ):
        headers = {"Cookie": f"auth-token={door.token}", **more}
        assert door("POST", "/v1/actions", body, headers).status == status, more
        assert door("GET", "/v1/user", headers=headers).status == (200 if status == 201 else 401), more
    behind = {"Origin": "https://web.example", "Sec-Fetch-Site": "same-origin"}
    assert door("GET", "/v1/user", headers={"Cookie": f"auth-token={door.token}", **behind}).status == 200
    own = {"Origin": "http://web", "X-Auth-Token": door.token, "Cookie": "auth-token=x"}
    assert door("GET", "/v1/user", headers=own).status == 200


def test_every_answer_has_the_headers_of_the_dialect(door: Door) -> None:
    given = {"X-Auth-Token": door.token, "X-Request-ID": "my-request", "Origin": "http://web"}
    for path, status in (("/v1/executions?limit=1", 200), ("/v1/executions/zzz", 404), ("/v1/rules", 501)):
        headers = door("GET", path, headers=given).expect(status).headers
        assert headers["x-request-id"] == "my-request"
        assert headers["access-control-allow-origin"] == "http://web"
        assert "X-Total-Count" in headers["access-control-expose-headers"]
    assert door("OPTIONS", "/v1/executions", headers={}).expect(200).body == b""


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/v1/executions"), ("POST", "/v1/executions/last"), ("GET", "/v1/executions/a/b/c/d"),
        ("GET", "/api/v1/nothing"), ("GET", "/executions/last/nothing"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_in_one_sentence(door: Door, method: str, path: str) -> None:
    answer = door(method, path).expect(404)
    assert answer.json() == {"faultstring": "The resource could not be found."}


def local(**parameters: Any) -> dict[str, Any]:
    return {"action": "core.local", "parameters": parameters}


BAD_REQUESTS = [
    ({}, "'action' is a required property"),
    ({"action": "core.nope"}, 'Action "core.nope" cannot be found.'),
    ({"action": "nodot"}, 'Action "nodot" cannot be found.'),
    (local(), "'cmd' is a required property"),
    (local(cmd="x", bogus=1), "Additional properties are not allowed ('bogus' was unexpected)"),
    (local(cmd=5), 'Value "5" must either be a string or None. Got "int".'),
    (local(cmd="x", timeout="abc"), "invalid literal for int() with base 10: 'abc'"),
    (local(cmd=None), "None is not of type 'string'"),
    (local(cmd="x", sudo=True), "Override of immutable parameter(s) ['sudo'] is unsupported."),
    (local(cmd="{{ nope }}"), 'Dependency unsatisfied in variable "nope"'),
    (
        local(cmd="{{ cmd }}"),
        "Cyclic dependency found in the following variables: cmd. Likely the variable is referencing itself",
    ),
    (local(cmd="{{ 1 // 0 }}"), 'Failed to render parameter "cmd": integer division or modulo by zero'),
    ({**local(cmd="x"), "delay": "x"}, "'x' is not of type 'integer'"),
    ({**local(cmd="x"), "notify": {"x": {}}}, "Additional properties are not allowed ('x' was unexpected)"),
    (
        {**local(cmd="x"), "context": {"trace_context": {"id_": "0" * 24}}},
        "Unable to find the TraceDB instance. {'id': '" + "0" * 24 + "'}",
    ),
    ([1], "[1] is not of type 'object'"),
]


@pytest.mark.parametrize(("body", "text"), BAD_REQUESTS)
def test_bad_requests_are_refused_with_the_published_text(door: Door, body: Any, text: str) -> None:
    assert door("POST", "/v1/executions", body).expect(400).json()["faultstring"] == text


def test_bodies_that_are_no_json_are_refused(door: Door) -> None:
    headers = {"X-Auth-Token": door.token}
    bad = door("POST", "/v1/executions", b"{", {**headers, "Content-Type": "application/json"}).expect(400)
    assert bad.json()["faultstring"].startswith("Failed to parse request body: ")
    xml = door("POST", "/v1/executions", b"<a/>", {**headers, "Content-Type": "application/xml"}).expect(400)
    wanted = 'Failed to parse request body: Unsupported Content-Type: "application/xml"'
    assert xml.json()["faultstring"] == wanted
    context = door("POST", "/v1/executions", local(cmd="x"), {**headers, "st2-context": "[]"}).expect(400)
    assert "Unable to convert st2-context" in context.json()["faultstring"]


def test_render_error_is_stored_as_a_failed_execution(door: Door) -> None:
    door("POST", "/v1/executions", local(cmd="{{ missing_name }}")).expect(400)
    newest = door("GET", "/v1/executions/last").expect(200).json()
    assert newest["status"] == "failed"
    assert newest["result"]["error"] == 'Dependency unsatisfied in variable "missing_name"'
    assert [entry["status"] for entry in newest["log"]] == ["requested", "failed"]


BAD_QUERIES = [
    ("limit=0", 400, 'Limit, "0" specified, must be a positive number or -1 for full result set.'),
    ("limit=-2", 400, 'Limit, "-2" specified, must be a positive number.'),
    ("limit=x", 400, 'Parameter "limit" is not of type integer'),
    ("offset=2147483648", 400, 'Offset "2147483648" specified is more than 32-bit int'),
    ("show_secrets=maybe", 400, 'Parameter "show_secrets" is not of type boolean'),
    (
        "id=bad",
        400,
        "'bad' is not a valid ObjectId, it must be a 12-byte input or a 24-character hex string",
    ),
    (
        "include_attributes=bogus",
        400,
        'Invalid or unsupported include attribute specified: Cannot resolve field "bogus"',
    ),
    ("exclude_attributes=action", 400, "Invalid or unsupported exclude attribute specified: action"),
    (
        "exclude_attributes=result&include_attributes=id",
        400,
        (
            "exclude_attributes and include_attributes arguments are mutually exclusive. "
            "You need to provide either one or another, but not both."
        ),
    ),
    ("timestamp_gt=yesterday", 400, "Datetime value does not match expected format."),
]


@pytest.mark.parametrize(("query", "status", "text"), BAD_QUERIES)
def test_bad_queries_are_refused_with_the_published_text(
    door: Door, query: str, status: int, text: str
) -> None:
    assert door("GET", f"/v1/executions?{query}").expect(status).json() == {"faultstring": text}


def test_new_execution_is_told_as_requested(door: Door) -> None:
    body = {**local(cmd="echo 5"), "user": "somebody", "context": {"user": "x", "more": 1}}
    made = door("POST", "/v1/executions/", body).expect(201).json()
    assert made["status"] == "requested"
    assert [entry["status"] for entry in made["log"]] == ["requested"]
    assert made["context"] == {"user": "somebody", "more": 1, "pack": "core"}
    assert made["liveaction"]["runner_info"] == {}
    assert not {"result", "end_timestamp", "delay", "parent", "children"} & set(made)
    ended = door.ended(made["id"])
    assert ended["result"]["stdout"] == 5
    assert ended["result_size"] > 10
    assert set(ended["liveaction"]["runner_info"]) == {"hostname", "pid"}
    assert [entry["status"] for entry in ended["log"]] == ["requested", "scheduled", "running", "succeeded"]


def test_lists_filter_sort_and_page(door: Door) -> None:
    first, second = door.run("echo first"), door.run("exit 4")
    listed = door("GET", "/v1/executions?status=failed&action=core.local&limit=1").expect(200)
    assert listed.json()[0]["id"] == second["id"]
    assert listed.headers["x-limit"] == "1"
    assert int(listed.headers["x-total-count"]) >= 1
    ids = f"/v1/executions?id={first['id']},{second['id']}"
    assert [one["id"] for one in door("GET", ids).json()] == [second["id"], first["id"]]
    assert [one["id"] for one in door("GET", f"{ids}&sort_asc=1").json()] == [first["id"], second["id"]]
    assert [one["id"] for one in door("GET", f"{ids}&sort=-status").json()] == [first["id"], second["id"]]
    assert [one["id"] for one in door("GET", f"{ids}&offset=1&limit=1").json()] == [first["id"]]
    after = f"/v1/executions?timestamp_gt={first['start_timestamp']}&liveaction={second['liveaction']['id']}"
    assert [one["id"] for one in door("GET", after).json()] == [second["id"]]
    span = f"{ids}&timestamp={first['start_timestamp']}..{second['start_timestamp']}"
    assert [one["id"] for one in door("GET", span).json()] == [first["id"], second["id"]]
    only = door("GET", f"{ids}&include_attributes=action.ref,status").json()[0]
    assert set(only) == {"id", "action", "status"}
    assert only["action"]["ref"] == "core.local"
    assert "result" not in door("GET", f"{ids}&exclude_attributes=result").json()[0]
    assert door("GET", f"{ids}&user=nobody").json() == []
    assert door("GET", f"{ids}&rule=some").json() == []
    filters = door("GET", "/v1/executions/views/filters?types=action,status,bogus").json()
    assert set(filters) == {"action", "status"}
    assert "core.local" in filters["action"]


def test_parts_of_an_execution(door: Door) -> None:
    one = door.run("echo out; echo err >&2; exit 1")
    base = f"/v1/executions/{one['id']}"
    assert door("GET", f"{base}/attribute/status").json() == "failed"
    assert door("GET", f"{base}/attribute/result").json() == one["result"]
    wrong = door("GET", f"{base}/attribute/parameters").expect(400).json()["faultstring"]
    assert wrong.startswith('Invalid attribute "parameters" specified.')
    assert door("GET", f"/v1/executions/{'0' * 24}/attribute/status").status == 404
    assert door("GET", f"{base}/output?output_type=stdout").body == b"out\n"
    assert sorted(door("GET", f"{base}/output").body.split()) == [b"err", b"out"]
    assert door("GET", f"{base}/output?output_type=other").body == b""
    assert door("GET", f"{base}/children?depth=-1").json() == []
    result = door("GET", f"{base}/result?download=1&compress=1").expect(200)
    assert json.loads(gzip.decompress(result.body)) == one["result"]
    assert result.headers["content-disposition"].endswith(f"execution_{one['id']}_result.json.gz")
    assert "result" not in door("GET", f"{base}?max_result_size=1").json()
    assert door("GET", f"{base}?max_result_size=-1").status == 400
    assert door("GET", "/v1/executions/zzz").expect(404).json() == {
        "faultstring": 'Unable to identify resource with id "zzz".'
    }


def test_status_is_set_by_hand_and_ends_the_process(door: Door) -> None:
    made = door("POST", "/v1/executions", local(cmd="sleep 50")).expect(201).json()
    path = f"/v1/executions/{made['id']}"
    assert door("PUT", path, {"foo": 1}).expect(400).json()["faultstring"].startswith("Additional properties")
    assert "is not one of" in door("PUT", path, {"status": "bogus"}).expect(400).json()["faultstring"]
    assert door("PUT", path, {"result": {}}).status == 400
    deadline = time.monotonic() + 10
    while door("GET", path).json()["status"] != "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    ended = door("PUT", path, {"status": "succeeded", "result": {"by": "hand"}}).expect(200).json()
    assert (ended["status"], ended["result"]) == ("succeeded", {"by": "hand"})
    again = door("PUT", path, {"status": "failed"}).expect(400).json()
    assert again == {"faultstring": "Execution is already in completed state."}
    time.sleep(0.2)
    assert door("GET", path).json()["result"] == {"by": "hand"}


def test_re_run_refuses_what_only_workflows_have(door: Door) -> None:
    one = door.run("echo x")
    path = f"/v1/executions/{one['id']}/re_run"
    for body, text in (
        ({"tasks": ["a"], "parameters": {"cmd": "x"}}, "Parameters override is not supported"),
        ({"tasks": ["a"]}, "Task option is only supported for Orquesta workflows."),
        ({"reset": ["a"]}, "List of tasks to reset does not match the tasks to rerun."),
        ({"parameters": "x"}, "'x' is not of type 'object'"),
        ({"delay": "x"}, "'x' is not of type 'integer'"),
    ):
        assert text in door("POST", path, body).expect(400).json()["faultstring"]
    assert door.ended(door("POST", path).expect(201).json()["id"])["result"]["stdout"] == "x"


def test_workflows_fail_with_a_sentence(door: Door) -> None:
    found = door("GET", "/v1/actions?include_attributes=ref,runner_type").expect(200).json()
    ref = next(one["ref"] for one in found if one["runner_type"] == "orquesta")
    shown = door("GET", f"/v1/actions/{ref}").json()["parameters"]
    given = {name: "x" for name, schema in shown.items() if schema.get("required") is True}
    made = door("POST", "/v1/executions", {"action": ref, "parameters": given})
    assert made.status in (201, 400), made.body
    if made.status == 201:
        assert "not available" in door.ended(made.json()["id"])["result"]["error"]


def test_http_action_reports_the_answer(door: Door, server: Server) -> None:
    body: dict[str, Any] = {"action": "core.http", "parameters": {"url": f"{server.url}/healthz"}}
    ended = door.ended(door("POST", "/v1/executions", body).expect(201).json()["id"])
    assert ended["status"] == "succeeded"
    assert ended["result"]["status_code"] == 200
    body["parameters"]["url_hosts_blacklist"] = ["127.0.0.1"]
    refused = door.ended(door("POST", "/v1/executions", body).expect(201).json()["id"])
    assert "is blacklisted" in refused["result"]["error"]


def test_stream_tells_every_change_and_ends_as_asked(door: Door, server: Server) -> None:
    made = (
        door("POST", "/v1/executions", {**local(cmd="echo one; echo two"), "delay": 500}).expect(201).json()
    )
    query = (
        f"?x-auth-token={door.token}&end_event=st2.execution__update&end_execution_id={made['id']}"
        "&events=st2.execution__update,st2.execution.output__create"
    )
    found = list(events(server, f"/v1/stream{query}"))
    output = [data["data"] for name, data in found if name == "st2.execution.output__create"]
    assert output == ["one\n", "two\n"]
    statuses = [data["status"] for name, data in found if name == "st2.execution__update"]
    assert statuses[-1] == "succeeded"
    whole = list(events(server, f"/stream/v1/executions/{made['id']}/output?x-auth-token={door.token}"))
    assert [data["data"] for _, data in whole if isinstance(data, dict)] == ["one\n", "two\n"]
    assert whole[-1][0] == "EOF"


def test_delayed_execution_is_canceled_at_once(door: Door) -> None:
    made = door("POST", "/v1/executions", {**local(cmd="true"), "delay": 60_000}).expect(201).json()
    path = f"/v1/executions/{made['id']}"
    assert door("GET", path).json()["status"] == "delayed"
    ended = door("DELETE", path).expect(200).json()
    assert ended["status"] == "canceled"
    assert ended["result"] == {"message": "Action canceled by user.", "user": "admin"}
    assert door("DELETE", path).expect(200).json()["status"] == "canceled"


def test_running_execution_tells_at_once_who_cancels_it(door: Door) -> None:
    made = door("POST", "/v1/executions", local(cmd="sleep 50")).expect(201).json()
    path = f"/v1/executions/{made['id']}"
    deadline = time.monotonic() + 10
    while door("GET", path).json()["status"] != "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    ending = door("DELETE", path).expect(200).json()
    assert ending["status"] in ("canceling", "canceled")
    assert ending["result"] == {"message": "Action canceled by user.", "user": "admin"}
    assert ending["context"]["cancelled_by"] == "admin"
    assert door.ended(made["id"])["result"] == ending["result"]


def test_service_registry_has_no_groups_and_no_members(door: Door) -> None:
    assert door("GET", "/v1/service_registry/groups").expect(200).json() == {"groups": []}
    assert door("GET", "/v1/service_registry/groups/api/members").expect(200).json() == {"members": []}


def test_runta_keeps_its_paths_beside_this_door(api: Api) -> None:
    assert api.get("/v1/runtimes").status == 200
    assert "faultstring" not in api.get("/v1/nothing").expect(404).json()


def test_unknown_path_is_refused_in_the_words_of_whose_credential_comes_along(door: Door) -> None:
    for path in ("/v1/nothing", "/v1/ruletypes/x", "/v1/executions/a/b/c", "/api/v1/nothing", "/exp/nothing"):
        assert door("GET", path).expect(404).json() == {"faultstring": "The resource could not be found."}
    asked = {"Origin": "http://web", "Access-Control-Request-Headers": "x-auth-token"}
    allowed = door("OPTIONS", "/v1/nothing", headers=asked).expect(200)
    assert (allowed.body, allowed.headers["access-control-allow-origin"]) == (b"", "http://web")


def events(server: Server, path: str) -> Iterator[tuple[str, Any]]:
    """Read server-sent events until the server ends them."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        with connection.makefile("rb") as lines:
            assert b" 200 " in lines.readline()
            name = ""
            for raw in lines:
                line = raw.decode().rstrip("\r\n")
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    yield name, json.loads(line[6:]) if line[6:7] == "{" else line[6:]


def test_http_action_reports_status_headers_and_body(door: Door, server: Server) -> None:
    url = f"{server.url}/openapi.json"
    made = door("POST", "/v1/executions", {"action": "core.http", "parameters": {"url": url}})
    found = door.ended(made.expect(201).json()["id"])
    assert found["status"] == "succeeded", found
    assert found["result"]["status_code"] == 200
    assert found["result"]["body"]["openapi"].startswith("3.1")


def test_http_action_to_a_closed_port_fails_with_a_sentence(door: Door) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    parameters = {"url": f"http://127.0.0.1:{port}/", "timeout": 5}
    made = door("POST", "/v1/executions", {"action": "core.http", "parameters": parameters})
    found = door.ended(made.expect(201).json()["id"])
    assert found["status"] == "failed"
    assert found["result"]["error"]
