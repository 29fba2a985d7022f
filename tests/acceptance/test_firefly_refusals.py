"""What the Firefly door refuses or hides: secrets, what belongs to others, what does not fit."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.firefly import Firefly, workspace_body
from tests.support.server import ADMIN_TOKEN, Server
from tests.support.tenant import add_account

SECRET = "hunter22-very-secret-value"
OTHER_SECRET = "swordfish-nobody-may-read"


@pytest.fixture(scope="module")
def firefly(server: Server) -> Iterator[Firefly]:
    """Return a client of the session's server with the first key pair."""
    with server.api() as api:
        yield Firefly(api, "admin", ADMIN_TOKEN)


@dataclass
class Tenants:
    """A server of its own with two accounts."""

    server: Server
    foreign: str
    """Token of the other account's administrator."""


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    """Serve two accounts."""
    server = Server(tmp_path_factory.mktemp("tenants"), compiled=True)
    server.start()
    assert server.stop() == 0
    foreign = add_account(server, "other")
    server.start()
    yield Tenants(server, foreign)
    server.close()


def test_secrets_are_readable_nowhere(tenants: Tenants) -> None:
    server = tenants.server
    with server.api() as api:
        firefly = Firefly(api, "admin", ADMIN_TOKEN)
        root, sealed = firefly.root(), {"sensitivity": "secret", "value": SECRET}
        variables = [{"key": "A", **sealed}, {"key": "B", "destination": "iac", **sealed}]
        project = firefly.post(
            "/v2/runners/projects", {"name": "sealed", "parentId": root, "variables": variables}, 201
        )
        made = firefly.post(
            "/v2/runners/variables/variable-sets", {"name": "sealed", "variables": variables}, 201
        )
        workspace = firefly.workspace(
            "sealed", project=project["id"], variables=variables, consumedVariableSets=[made["variableSetId"]],
            terraformSensitiveVariables={"c": SECRET},
        )  # fmt: skip
        new = {"name": "sealed", "type": "github", "password": SECRET, "ssh_key": OTHER_SECRET}
        api.post("/runyard/v1/integrations", new).expect(201)
        set_path = f"/v2/runners/variables/variable-sets/{made['variableSetId']}"
        answers = [
            firefly.ask("GET", path).body.decode()
            for path in (
                "/v2/runners/projects/tree", f"/v2/runners/projects/{project['id']}",
                f"/v2/runners/variables/projects/{project['id']}", "/v2/runners/variables/variable-sets", set_path,
                f"{set_path}/variables", f"/v2/runners/workspaces/{workspace['id']}", "/v2/api/integrations/global/vcs",
                f"/v2/runners/variables/workspaces/{workspace['id']}/variables",
            )
        ]  # fmt: skip
        answers.append(api.get("/runyard/v1/integrations").body.decode())
        wrong = {"variables": [{"key": "bad key", "value": SECRET, "sensitivity": "secret"}]}
        answers.append(firefly.ask("POST", f"{set_path}/variables", wrong).expect(400).body.decode())
        answers.append(json.dumps(firefly.post("/workspaces/search", {})))
    assert not [text for text in answers if SECRET in text or OTHER_SECRET in text]
    kept = [server.log_path.read_bytes()]
    for path in server.data_dir.iterdir():
        if path.suffix in (".db", ".sqlite", ".sqlite3"):
            with closing(sqlite3.connect(path)) as database:
                kept.append("\n".join(database.iterdump()).encode())
    assert len(kept) == 2
    assert not [text for text in kept if SECRET.encode() in text or OTHER_SECRET.encode() in text]


def test_other_tenants_and_other_parts_of_the_tree_see_nothing(tenants: Tenants) -> None:
    server, foreign = tenants.server, tenants.foreign
    with server.api() as api, api.clone(foreign) as theirs:
        mine, stranger = Firefly(api, "admin", ADMIN_TOKEN), Firefly(theirs, "admin", foreign)
        root = mine.root()
        project = mine.post("/v2/runners/projects", {"name": "p", "parentId": root}, 201)["id"]
        beside = mine.post("/v2/runners/projects", {"name": "q", "parentId": root}, 201)["id"]
        workspace = mine.workspace("w", project=project)["id"]
        made = mine.post("/v2/runners/variables/variable-sets", {"name": "s"}, 201)["variableSetId"]
        mine.post(f"/v2/runners/projects/{beside}/members", [{"userId": "bob", "role": "member"}], 201)
        mine.post(f"/v2/runners/projects/{beside}/members", [{"userId": "eve", "role": "viewer"}], 201)
        calls: list[tuple[str, str, Any]] = [
            ("GET", f"/v2/runners/projects/{project}", None), ("PATCH", f"/v2/runners/projects/{project}", {}),
            ("DELETE", f"/v2/runners/projects/{project}", None), ("GET", f"/v2/runners/projects/{project}/members", None),
            ("POST", f"/v2/runners/projects/{project}/members", [{"userId": "x", "role": "admin"}]),
            ("GET", f"/v2/runners/projects/{project}/workspaces", None),
            ("GET", f"/v2/runners/variables/projects/{project}", None),
            ("POST", f"/v2/runners/variables/projects/{project}/variables", {"variables": []}),
            ("GET", f"/v2/runners/variables/workspaces/{workspace}/variables", None),
            ("GET", f"/v2/runners/variables/variable-sets/{made}", None),
            ("PUT", f"/v2/runners/variables/variable-sets/{made}", {}),
            ("POST", f"/v2/runners/variables/projects/{project}/variable-sets/{made}/attach", {"consume": True}),
            ("POST", f"/v2/runners/variables/workspaces/{workspace}/variable-sets/{made}/bind", None),
            ("GET", f"/v2/runners/workspaces/{workspace}", None), ("PUT", f"/v2/runners/workspaces/{workspace}", {}),
            ("POST", f"/v2/runners/workspaces/{workspace}", {"taskType": "plan"}),
            ("POST", f"/v2/runners/workspaces/{workspace}/tasks/destroy", {}),
            ("DELETE", f"/v2/runners/workspaces/{workspace}", None), ("DELETE", f"/workspaces/{workspace}", None),
            ("PUT", f"/workspaces/{workspace}/labels", {"labels": []}),
            ("POST", f"/workspaces/{workspace}/runs/search", {}),
        ]  # fmt: skip
        for method, path, body in calls:
            assert stranger.ask(method, path, body).status == 404, (method, path)
        assert stranger.post("/workspaces/search", {}) == []
        assert stranger.get("/v2/runners/variables/variable-sets") == []
        assert [one["name"] for one in stranger.get("/v2/users")] == ["admin"]
        narrow = {}
        for user in ("bob", "eve"):
            token = {"name": user, "user": user, "project": beside}
            narrow[user] = api.post("/runyard/v1/tokens", token).expect(201).json()["secret"]
        bob, eve = Firefly(api, "bob", narrow["bob"]), Firefly(api, "eve", narrow["eve"])
        for method, path, body in calls:
            if path.startswith("/v2/runners/projects") and method != "GET":
                assert bob.ask(method, path, body).status == 403  # only administrators change projects
            else:
                assert bob.ask(method, path, body).status == 404, (method, path)
        assert [one["name"] for one in bob.get("/v2/runners/projects/list")["data"]] == ["q"]
        assert bob.root() == beside
        own = bob.workspace("own", project=None)
        assert own["accountId"] == mine.get("/v2/runners/projects/list")["data"][0]["accountId"]
        assert [one["workspaceName"] for one in eve.post("/workspaces/search", {})] == ["own"]
        assert eve.ask("POST", "/v2/runners/workspaces", workspace_body("hers")).status == 403
        assert eve.ask("POST", f"/v2/runners/workspaces/{own['id']}", {"taskType": "plan"}).status == 403


def test_calls_without_a_valid_credential_are_refused_before_anything_is_looked_at(server: Server) -> None:
    with server.api() as api:
        for token in (None, "ry_wrong", "eyJhbGciOiJub25lIn0.e30."):
            client = api.anonymous() if token is None else api.clone(token)
            for method, path in (
                ("GET", "/v2/runners/projects/list"),
                ("POST", "/workspaces/search"),
                ("DELETE", "/api/v2/runners/workspaces/x"),
            ):
                Firefly.check_words(
                    client.request(method, path, {} if method == "POST" else None).expect(401)
                )


def test_bodies_that_are_no_json_are_refused(server: Server, firefly: Firefly) -> None:
    firefly.login()
    with server.api().clone(firefly._token) as api:
        for body in (
            b"{",
            b"\xff",
            b"[" * 100_000,
            b'{"name": "a"} x',
            b'"text"',
            b'{"name":"\\ud800"}',
            b'{"name":"a\\u0000"}',
        ):
            answer = api.request("POST", "/v2/runners/projects", body, {"Content-Type": "application/json"})
            Firefly.check_words(answer.expect(400))
        for path in (
            "/v2/runners/workspaces/%00",
            "/v2/runners/workspaces/%ff",
            "/v2/runners/projects/" + "x" * 5000,
        ):
            assert api.get(path).status in (400, 404)


WRONG: tuple[Any, ...] = (
    1,
    -1.5,
    True,
    None,
    "",
    "x",
    [],
    ["", 1],
    {},
    {"a": [None]},
    "\u00e9" * 300,
    [["x"]],
)


def test_no_wrong_value_in_any_member_is_a_fault_of_the_server(firefly: Firefly) -> None:
    root = firefly.root()
    leaf = firefly.post("/v2/runners/projects", {"name": "wrong-one", "parentId": root}, 201)["id"]
    workspace = firefly.workspace("wrong-values", project=leaf)["id"]
    made = firefly.post("/v2/runners/variables/variable-sets", {"name": "wrong-one"}, 201)["variableSetId"]
    variable = {"key": "A", "value": "1", "sensitivity": "secret", "destination": "iac"}
    calls: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("POST", "/v2/runners/projects", {"name": "wrong-one", "description": "", "labels": [], "poolId": "", "parentId": root,
                                          "cronExecutionPattern": "", "oidcAuthentication": None, "variables": [variable]}),
        ("PATCH", f"/v2/runners/projects/{leaf}", {"description": "d", "labels": ["a"], "cronExecutionPattern": ""}),
        ("POST", "/v2/runners/variables/variable-sets", {"name": "wrong-one", "description": "", "labels": [], "parents": [made]}),
        ("PUT", f"/v2/runners/variables/variable-sets/{made}", {"name": "wrong-one", "parents": [], "variables": [variable]}),
        ("POST", f"/v2/runners/variables/workspaces/{workspace}/variables", {"variables": [variable]}),
        ("DELETE", f"/v2/runners/variables/workspaces/{workspace}/variables", {"variableIds": ["x"], "variableKeys": ["y"]}),
        ("POST", "/v2/runners/workspaces", workspace_body("wrong-values", labels=[], consumedVariableSets=[], project=None,
                                                          terraformVariables={}, isRemote=True)),
        ("PUT", f"/v2/runners/workspaces/{workspace}", {"labels": [], "iacProvisioner": {}, "execution": {}, "variables": [],
                                                        "consumedVariableSets": [], "workingDirectory": "", "vcs": "github"}),
        ("POST", "/workspaces/search", {"projection": [], "searchValue": "", "filters": {"labels": []}, "sort": {}}),
        ("POST", f"/workspaces/{workspace}/runs/search", {"filters": {"status": []}, "sort": [], "projection": ["id"]}),
        ("PUT", f"/workspaces/{workspace}/labels", {"labels": ["a"]}),
        ("POST", f"/v2/runners/workspaces/{workspace}/tasks/6745a2f09b1c8e5d3f7a0b12/apply", {"taskType": "apply", "cmdArguments": ""}),
    )  # fmt: skip
    seen: dict[int, int] = {}
    for method, path, body in calls:
        for member in body:
            for value in WRONG:
                status = firefly.ask(method, path, {**body, member: value}).status
                assert status in (200, 201, 204, 400, 404, 409), (method, path, member, value, status)
                seen[status] = seen.get(status, 0) + 1
    assert seen[400] > 200, seen
    assert seen[200] > 10, seen
