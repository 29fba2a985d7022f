"""The native API over the wire: its words, its errors, and that nobody sees what is not theirs."""

import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from tests.support import ledger
from tests.support.http import Answer, Api
from tests.support.server import Server

ROOT = ledger.ROOT
RUNTIMES, EXECUTIONS, TOKENS = f"{ROOT}/runtimes", f"{ROOT}/executions", f"{ROOT}/tokens"


@dataclass(frozen=True)
class Printed:
    """An execution with known output."""

    id: str
    runtime: str
    marker: str


@pytest.fixture(scope="module")
def printed(server: Server, shared: str) -> Printed:
    marker = uuid.uuid4().hex
    script = f"echo {marker}; echo error >&2; printf 'n\\000ul'"
    with server.api() as api:
        done = api.post(f"{RUNTIMES}/{shared}/exec", {"command": script}).expect(200).json()
    return Printed(done["execution_id"], shared, marker)


@pytest.fixture
def token(api: Api) -> Callable[..., Api]:
    """Return a factory of clients with tokens of their own."""

    def make(*scopes: str, **fields: object) -> Api:
        body = {"name": "test", "scopes": list(scopes), **fields}
        made = api.post(TOKENS, body).expect(201).json()
        assert "secret" not in made["token"]
        return api.clone(made["secret"])

    return make


def problem(answer: Answer, status: int, code: str) -> None:
    """Assert a whole problem document."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["code"] == code
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == answer.headers["x-request-id"]


# --- errors ---


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nothing", None, 404, "not_found"),
        ("GET", f"{ROOT}/nothing", None, 404, "not_found"),
        ("PATCH", EXECUTIONS, None, 405, "method_not_allowed"),
        ("GET", f"{EXECUTIONS}/x", None, 422, "invalid_argument"),
        ("GET", f"{EXECUTIONS}/{'a' * 24}", None, 404, "execution_not_found"),
        ("GET", f"{EXECUTIONS}/%00", None, 422, "invalid_argument"),
        ("GET", f"{EXECUTIONS}/%ff", None, 422, "invalid_argument"),
        ("POST", f"{EXECUTIONS}/{'a' * 24}/cancel", {"surprise": 1}, 422, "invalid_argument"),
        ("GET", f"{EXECUTIONS}?surprise=1", None, 422, "invalid_argument"),
        ("GET", f"{EXECUTIONS}?label=x", None, 422, "invalid_argument"),
        ("GET", f"{EXECUTIONS}?parent=x", None, 422, "invalid_argument"),
        ("GET", f"{EXECUTIONS}?created_before=9999999", None, 422, "invalid_argument"),
        ("GET", f"{EXECUTIONS}?limit=99999999999999999999", None, 422, "invalid_argument"),
        ("POST", RUNTIMES, b"{", 400, "malformed_request"),
        ("POST", RUNTIMES, b"\xff", 400, "malformed_request"),
        ("POST", RUNTIMES, b"[" * 100_000, 422, "invalid_argument"),
        ("POST", RUNTIMES, {"egress": "some"}, 422, "invalid_argument"),
        ("POST", RUNTIMES, {"base": "none"}, 422, "invalid_argument"),
        ("POST", RUNTIMES, {"vcpus": 0}, 422, "invalid_argument"),
        ("POST", RUNTIMES, {"memory_mib": 0}, 422, "invalid_argument"),
        ("POST", RUNTIMES, {"base": ""}, 422, "invalid_argument"),
        ("POST", RUNTIMES, {"egress": ""}, 422, "invalid_argument"),
        ("GET", f"{RUNTIMES}?status=asleep", None, 422, "invalid_argument"),
        ("GET", f"{RUNTIMES}/no-such", None, 404, "runtime_not_found"),
        ("POST", f"{RUNTIMES}/no-such/exec", {"command": "true"}, 404, "runtime_not_found"),
        ("POST", TOKENS, {"name": "x", "scopes": ["everything"]}, 422, "invalid_argument"),
        ("POST", TOKENS, {"name": "x", "project": "b" * 24}, 404, "not_found"),
        ("POST", TOKENS, {"name": ""}, 422, "invalid_argument"),
        ("POST", TOKENS, {"name": "x", "expires_in_secs": 0}, 422, "invalid_argument"),
        ("DELETE", f"{TOKENS}/{'b' * 24}", None, 404, "not_found"),
    ],
)
def test_refused_call_is_a_problem_document(
    api: Api, method: str, path: str, body: object, status: int, code: str
) -> None:
    problem(api.request(method, path, body), status, code)


@pytest.mark.parametrize("path", [EXECUTIONS, RUNTIMES, TOKENS, f"{ROOT}/whoami", "/metrics"])
def test_call_without_token_is_refused(api: Api, path: str) -> None:
    problem(api.anonymous().get(path), 401, "unauthenticated")


# --- who may see what ---


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("executions:read", {EXECUTIONS, "/metrics"}),
        ("runtimes:read", {RUNTIMES, f"{ROOT}/checkpoints", f"{ROOT}/capabilities"}),
        ("tokens:manage", {TOKENS}),
        ("runtimes:exec", set()),
    ],
)
def test_token_may_do_what_its_scopes_say(token: Callable[..., Api], scope: str, allowed: set[str]) -> None:
    client = token(scope)
    paths = (EXECUTIONS, RUNTIMES, TOKENS, "/metrics", f"{ROOT}/checkpoints", f"{ROOT}/capabilities")
    for path in paths:
        answer = client.get(path)
        if path in allowed:
            answer.expect(200)
        else:
            problem(answer, 403, "permission_denied")
    assert client.get(f"{ROOT}/whoami").expect(200).json()["scopes"] == [scope]


def test_revoked_token_is_refused_at_once(api: Api) -> None:
    made = api.post(TOKENS, {"name": "short-lived", "scopes": ["runtimes:read"]}).expect(201).json()
    client = api.clone(made["secret"])
    client.get(RUNTIMES).expect(200)
    found = next(one for one in ledger.pages(api, "tokens") if one["id"] == made["token"]["id"])
    assert (found["name"], found["prefix"]) == ("short-lived", made["secret"][:7])
    api.delete(f"{TOKENS}/{found['id']}").expect(204)
    problem(client.get(RUNTIMES), 401, "unauthenticated")
    found = next(one for one in ledger.pages(api, "tokens") if one["id"] == made["token"]["id"])
    assert found["revoked_at"]


def test_other_project_is_invisible(
    api: Api, printed: Printed, fresh_project: str, token: Callable[..., Api]
) -> None:
    narrow = token(project=fresh_project)
    assert narrow.get(EXECUTIONS).expect(200).json()["items"] == []
    assert narrow.get(RUNTIMES).expect(200).json()["items"] == []
    one = f"{EXECUTIONS}/{printed.id}"
    for path in (one, f"{one}/history", f"{one}/output", f"{one}/output/search?text=x", f"{one}/output/live"):
        problem(narrow.get(path), 404, "execution_not_found")
    problem(narrow.post(f"{one}/cancel"), 404, "execution_not_found")
    runtime = f"{RUNTIMES}/{printed.runtime}"
    for verb in ("exec", "stop", "start", "pause", "resume", "checkpoints"):
        problem(
            narrow.post(f"{runtime}/{verb}", {"command": "true"} if verb == "exec" else None),
            404,
            "runtime_not_found",
        )
    problem(narrow.delete(runtime), 404, "runtime_not_found")
    problem(narrow.get(f"{runtime}/files?path=/etc/hostname"), 404, "runtime_not_found")
    made = narrow.post(RUNTIMES, {"name": "theirs"}).expect(201).json()
    assert made["project"] == fresh_project
    assert [row["id"] for row in ledger.pages(api, "runtimes") if row["name"] == "theirs"] == [made["id"]]
    narrow.delete(f"{RUNTIMES}/theirs").expect(204)


@pytest.fixture
def fresh_project(server: Server, api: Api) -> str:
    """Return the id of a project below the root in which nothing is."""
    import sqlite3

    root = api.get(f"{ROOT}/whoami").expect(200).json()["project_id"]
    with sqlite3.connect(f"file:{server.data_dir / 'runyard.db'}?mode=ro", uri=True) as database:
        row = database.execute("SELECT id FROM projects WHERE parent_id = ?", (root,)).fetchone()
    database.close()
    return str(row[0])


# --- output ---


def test_output_by_stream_range_and_raw(api: Api, printed: Printed) -> None:
    one = f"{EXECUTIONS}/{printed.id}/output"
    whole = f"{printed.marker}\n".encode() + b"n\0ul"
    raw = api.get(f"{one}?format=raw&stream=stdout").expect(200)
    assert (raw.headers["content-type"], raw.body) == ("application/octet-stream", whole)
    assert raw.headers["x-content-type-options"] == "nosniff"
    assert api.get(f"{one}?format=raw&stream=stderr").body == b"error\n"
    document = api.get(f"{one}?offset=3&limit=5").expect(200).json()
    assert document["items"][0]["offset"] == 3
    assert document["next_offset"] == 8
    for bad in ("format=xml", "stream=stdin", "offset=-1", "offset=x", "limit=0", f"limit={1 << 30}"):
        problem(api.get(f"{one}?{bad}"), 422, "invalid_argument")
    at_end = api.get(f"{one}?offset={10**9}").expect(200).json()
    assert (at_end["items"], at_end["next_offset"]) == ([], None)


def test_output_search_pages_with_the_exact_total(api: Api, shared: str) -> None:
    done = (
        api.post(f"{RUNTIMES}/{shared}/exec", {"command": "seq 1 500 | sed 's/^/Line /'"}).expect(200).json()
    )
    one = f"{EXECUTIONS}/{done['execution_id']}/output/search"
    assert api.get(f"{one}?text=Line").expect(200).json()["total"] == 500
    assert api.get(f"{one}?text=line").expect(200).json()["total"] == 0
    found: list[str] = []
    cursor = ""
    while True:
        page = api.get(f"{one}?text=line&ignore_case=true&limit=150{cursor}").expect(200).json()
        assert page["total"] == 500
        found += [hit["line"] for hit in page["hits"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={quote(page['next_cursor'])}"
    assert found == [f"Line {number}" for number in range(1, 501)]
    problem(api.get(f"{one}?text="), 422, "invalid_argument")


def test_cancel_again_is_harmless_and_of_another_end_refused(
    server: Server, api: Api, printed: Printed
) -> None:
    problem(api.post(f"{EXECUTIONS}/{printed.id}/cancel"), 409, "execution_ended")

    def run() -> None:
        with server.api() as client:
            client.post(f"{RUNTIMES}/{printed.runtime}/exec", {"command": "exec sleep 300"})

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 30
    while not (rows := ledger.executions(api, status="running", place=printed.runtime)):
        assert time.monotonic() < deadline
    one = f"{EXECUTIONS}/{rows[0]['id']}"
    assert api.post(f"{one}/cancel", {"reason": "enough"}).status in (200, 202)
    thread.join(30)
    again = api.post(f"{one}/cancel").expect(200).json()
    assert (again["status"], again["exit_code"] is not None) == ("canceled", True)


# --- runtimes ---


def test_runtime_life_in_the_native_words(api: Api) -> None:
    name = f"native-{uuid.uuid4().hex[:8]}"
    made = api.post(RUNTIMES, {"name": name, "memory_mib": 256, "environment": {"A": "1"}}).expect(201).json()
    assert (made["name"], made["memory_mib"], made["environment"]) == (name, 256, {"A": "1"})
    one = f"{RUNTIMES}/{name}"
    result = (
        api.post(f"{one}/exec", {"command": "printenv", "args": ["A", "B"], "env": {"B": "2"}})
        .expect(200)
        .json()
    )
    assert (result["exit_code"], result["stdout"], result["runtime_id"]) == (0, "1\n2\n", made["id"])
    api.request("PUT", f"{one}/files?path=kept", b"content").expect(204)
    taken = api.post(f"{one}/checkpoints", {"name": f"{name}-cp"}).expect(201).json()
    assert api.post(f"{one}/pause").expect(200).json()["status"] == "paused"
    problem(api.post(f"{one}/exec", {"command": "true"}), 409, "runtime_not_running")
    assert api.post(f"{one}/resume").expect(200).json()["status"] == "running"
    assert api.post(f"{one}/stop").expect(200).json()["status"] == "shutdown"
    api.post(f"{one}/start").expect(200)
    assert api.get(f"{one}/files?path=kept").expect(200).body == b"content"
    assert api.get(f"{ROOT}/checkpoints/{name}-cp").expect(200).json()["id"] == taken["id"]
    api.delete(f"{ROOT}/checkpoints/{taken['id']}").expect(204)
    assert api.delete(one).expect(204).body == b""
    row = next(ledger.pages(api, "executions", place=made["id"]))
    assert (row["door"], row["place"]["name"]) == ("native", name)


# --- the server about itself ---


def test_health_tells_reasons_without_a_token(api: Api) -> None:
    client = api.anonymous()
    assert client.get(f"{ROOT}/health/live").expect(200).json()["status"] == "ok"
    ready = client.get(f"{ROOT}/health/ready").expect(200).json()
    assert {"database", "disk", "server"} <= {one["name"] for one in ready["checks"]}
    for method in ("GET", "HEAD"):
        answer = client.request(method, "/healthz").expect(200)
        assert answer.body == b""


def test_docs_viewer_is_self_contained_under_a_strict_policy(api: Api) -> None:
    client = api.anonymous()
    page = client.get("/docs").expect(200)
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy
    text = page.body.decode()
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|https?://", text)
    for path in re.findall(r'(?:src|href)="(/docs/[^"]+)"', text):
        part = client.get(path).expect(200)
        assert part.headers["content-type"].split(";")[0] in ("text/css", "text/javascript")
        assert b"http://" not in part.body
        assert b"https://" not in part.body
        assert b"innerHTML" not in part.body
    for path in ("/docs/app.py", "/docs/..%2Fapp.py", "/docs/%2e%2e%2fapp.py"):
        problem(client.get(path), 404, "not_found")


def test_capabilities_say_what_is_enforced_and_how(api: Api) -> None:
    items = api.get(f"{ROOT}/capabilities").expect(200).json()["items"]
    assert items
    assert all(one["enforced"] or one["fix"] for one in items)
