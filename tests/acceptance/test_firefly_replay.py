"""What the published provider and importer send, call by call, with the codes and bodies on which they insist."""

import base64
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.firefly import AGENT, Firefly, member_of, workspace_body
from tests.support.http import Api
from tests.support.server import ADMIN_TOKEN, Server

_names = itertools.count(1)


@pytest.fixture
def firefly(server: Server) -> Iterator[Firefly]:
    """Return a client of the session's server with the first key pair."""
    with server.api() as api:
        yield Firefly(api, "admin", ADMIN_TOKEN)


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Return names that no other test of the session uses."""
    mark = next(_names)
    return lambda name: f"{name}-{mark}"


def test_log_in_gives_tokens_that_live_beside_each_other(server: Server, firefly: Firefly) -> None:
    first, second = firefly.login(), firefly.login()
    assert set(first) == {"accessToken", "expiresAt", "tokenType"}
    assert first["tokenType"] == "Bearer"
    assert isinstance(first["expiresAt"], int)
    assert 3500 < first["expiresAt"] - time.time() <= 3600
    api = server.api()
    for token in (first["accessToken"], second["accessToken"], ADMIN_TOKEN):
        api.clone(token).get("/v2/runners/projects/labels").expect(200)
    for wrong in (
        {"accessKey": "admin", "secretKey": "wrong"},
        {"accessKey": "other", "secretKey": ADMIN_TOKEN},
        {"accessKey": "admin", "secretKey": first["accessToken"]},
    ):
        Firefly.check_words(api.anonymous().post("/v2/login", wrong).expect(401))
    for part, said in (({"accessKey": "admin"}, "Secret Key is required"), ({}, "Access Key is required")):
        assert api.anonymous().post("/v2/login", part).expect(400).json()["message"] == said
    for path in ("/login", "/api/v2/login", "/api/v1.0/login", "//v2/login"):
        answer = api.anonymous().post(path, {"accessKey": "admin", "secretKey": ADMIN_TOKEN}).expect(200)
        api.clone(answer.json()["accessToken"]).get("/v2/users").expect(200)
    for path in ("/v2/health", "/api/v2/health", "/health", "//v2/health"):
        api.anonymous().get(path).expect(204)


def test_key_pair_counts_as_basic_credentials_on_every_call(server: Server) -> None:
    def asked(user: str, secret: str) -> int:
        coded = base64.b64encode(f"{user}:{secret}".encode()).decode()
        anonymous = server.api().anonymous()
        return anonymous.request("GET", "/v2/users", headers={"Authorization": f"Basic {coded}"}).status

    made = server.api().post("/runyard/v1/tokens", {"name": "pair"}).expect(201).json()
    assert asked("admin", ADMIN_TOKEN) == 200
    assert asked(made["token"]["id"], made["secret"]) == 200
    assert asked("other", ADMIN_TOKEN) == 401
    assert asked("admin", "wrong") == 401
    for header in ("", "Basic", "Basic x", "Basic YWJj", "Digest x", "Bearer"):
        anonymous = server.api().anonymous()
        refused = anonymous.request("GET", "/v2/users", headers={"Authorization": header}).expect(401)
        Firefly.check_words(refused)


@dataclass
class Stack:
    """What the provider has made: bodies that were sent, and answers."""

    root: str
    account: str
    project: dict[str, Any]
    sent_project: dict[str, Any]
    base_id: str
    set_id: str
    sent_set: dict[str, Any]
    workspace: dict[str, Any]

    @property
    def project_path(self) -> str:
        """Where the project is."""
        return f"/v2/runners/projects/{self.project['id']}"

    @property
    def set_path(self) -> str:
        """Where the set is."""
        return f"/v2/runners/variables/variable-sets/{self.set_id}"

    @property
    def path(self) -> str:
        """Where the workspace is."""
        return f"/v2/runners/workspaces/{self.workspace['id']}"


def applied(firefly: Firefly, unique: Callable[[str], str]) -> Stack:
    """Send what a first apply sends."""
    root = firefly.root()
    listed = firefly.get("/v2/runners/projects/list?pageSize=100&offset=0&searchQuery=global")
    assert (listed["totalCount"], listed["data"][0]["name"]) == (1, "global")
    project = {
        "name": unique("payments"),
        "labels": ["team-pay", "tier-1"],
        "cronExecutionPattern": "15 3 * * *",
        "parentId": root,
        "variables": [{"key": "REGION", "value": "eu-west-1", "sensitivity": "string", "destination": "env"}],
    }
    made = firefly.post("/v2/runners/projects", project, 201)
    members = f"/v2/runners/projects/{made['id']}/members"
    added = firefly.post(members, [{"userId": "u-ana", "email": "", "role": "admin"}], 201)
    assert member_of(added, "userId", "u-ana")["role"] == "admin"
    base = {"name": unique("aws-base"), "labels": ["shared"], "variables": [
        {"key": "AWS_ROLE_ARN", "value": "arn:aws:iam::0:role/demo", "sensitivity": "secret", "destination": "env"},
    ]}  # fmt: skip
    base_id = firefly.post("/v2/runners/variables/variable-sets", base, 201)["variableSetId"]
    child = {"name": unique("aws-prod"), "labels": ["prod"], "parents": [base_id], "variables": [
        {"key": "instance_count", "value": "3", "sensitivity": "string", "destination": "iac"},
    ]}  # fmt: skip
    set_id = firefly.post("/v2/runners/variables/variable-sets", child, 201)["variableSetId"]
    workspace = firefly.workspace(
        unique("net-prod"), labels=["net", "prod"], consumedVariableSets=[set_id], project=made["id"]
    )
    return Stack(root, listed["data"][0]["accountId"], made, project, base_id, set_id, child, workspace)


def check_refresh(firefly: Firefly, stack: Stack) -> None:
    """Read everything as a refresh does: nothing may differ from what was sent."""
    got = firefly.get(stack.project_path)
    assert {**got, "membersCount": 0, "workspaceCount": 0} == stack.project
    assert (got["parentId"], got["labels"]) == (stack.root, stack.sent_project["labels"])
    assert (got["accountId"], got["membersCount"], got["workspaceCount"]) == (stack.account, 1, 1)
    assert "variables" not in got
    assert member_of(firefly.get(f"{stack.project_path}/members"), "userId", "u-ana")["role"] == "admin"
    got_set = firefly.get(stack.set_path)
    sent = stack.sent_set
    assert (got_set["name"], got_set["labels"], got_set["parents"]) == (
        sent["name"],
        ["prod"],
        [stack.base_id],
    )
    assert got_set["version"] == 1
    assert "variables" not in got_set
    base = firefly.get(f"/v2/runners/variables/variable-sets/{stack.base_id}")
    assert base["descendants"] == [stack.set_id]
    workspace = firefly.get(stack.path)
    assert workspace == stack.workspace
    expected = {
        "repository": "acme/infra", "workingDirectory": "net/prod", "vcsIntegrationId": "64f0c0ffee0123456789abcd",
        "vcs": "github", "defaultBranch": "main", "cronExecutionPattern": "", "labels": ["net", "prod"],
        "iacProvisioner": {"type": "opentofu", "version": "1.9.1"}, "projectId": stack.project["id"],
        "description": "", "accountId": stack.account,
    }  # fmt: skip
    assert {name: workspace[name] for name in expected} == expected


def update(firefly: Firefly, stack: Stack) -> None:
    """Send what later applies send."""
    sent = {
        "name": stack.workspace["name"], "labels": ["net", "prod", "eu"], "repository": "acme/infra",
        "vcsIntegrationId": "64f0c0ffee0123456789abcd", "defaultBranch": "main", "workingDirectory": "net/prod",
        "cronExecutionPattern": "0 4 * * *", "iacProvisioner": {"type": "opentofu", "version": "1.9.2"},
        "consumedVariableSets": [stack.set_id],
    }  # fmt: skip
    changed = firefly.put(stack.path, sent)
    assert (changed["labels"], changed["cronExecutionPattern"]) == (["net", "prod", "eu"], "0 4 * * *")
    assert changed["iacProvisioner"]["version"] == "1.9.2"
    assert firefly.get(stack.path) == changed
    assert firefly.put(stack.set_path, {**stack.sent_set, "description": "d"}) == ""
    assert firefly.get(stack.set_path)["version"] == 2
    given = {"name": stack.sent_project["name"], "description": "Payments", "variables": []}
    patched = firefly.patch(stack.project_path, given)
    assert (patched["description"], patched["labels"]) == ("Payments", stack.sent_project["labels"])
    members = f"{stack.project_path}/members"
    firefly.delete(members, ["u-ana"])
    firefly.post(members, [{"userId": "u-ana", "email": "", "role": "viewer"}], 201)
    assert member_of(firefly.get(members), "userId", "u-ana")["role"] == "viewer"


def check_labels(firefly: Firefly, stack: Stack) -> None:
    """Label the workspace and find it again as the provider does."""
    labels = firefly.put(f"/workspaces/{stack.workspace['id']}/labels", {"labels": ["Imported", "prod"]})
    found = firefly.post("/workspaces/search?page=0&pageSize=100", {})
    item = member_of(found, "workspaceId", stack.workspace["id"])
    assert (item["id"], item["labels"]) == (labels["id"], ["Imported", "prod"])
    assert labels["workspaceName"] == stack.workspace["name"]
    assert labels["updatedAt"]


def test_provider_creates_refreshes_updates_and_destroys(
    firefly: Firefly, unique: Callable[[str], str]
) -> None:
    stack = applied(firefly, unique)
    check_refresh(firefly, stack)
    update(firefly, stack)
    check_labels(firefly, stack)
    firefly.put(f"/workspaces/{stack.workspace['id']}/labels", {"labels": []})
    assert firefly.delete(stack.path, status=200)["workspaceId"] == stack.workspace["id"]
    firefly.delete(f"{stack.project_path}/members", ["u-ana"])
    firefly.delete(stack.set_path)
    firefly.delete(f"/v2/runners/variables/variable-sets/{stack.base_id}")
    firefly.delete(stack.project_path)
    for gone in (stack.path, stack.set_path, stack.project_path):
        firefly.get(gone, 404)


def test_workspace_without_a_project_shows_none_and_survives_what_clients_send(
    firefly: Firefly, unique: Callable[[str], str]
) -> None:
    body = workspace_body(
        unique("bare"), workDir="", project=None, isRemote=False, runnerType="firefly_runners"
    )
    body["execution"] = {"triggers": None, "applyRule": "auto", "terraformVersion": ""}
    made = firefly.post("/v2/runners/workspaces", body, 201)
    assert "projectId" not in made
    assert (made["workingDirectory"], made["isRemote"], made["labels"]) == ("", False, [])
    item = firefly.post("/v2/workspaces/search", {"searchValue": made["name"].upper()})[0]
    assert (item["runnerType"], item["isWorkflowManaged"]) == ("firefly", True)
    assert isinstance(item["lastRunStatus"], str)
    named = firefly.patch(f"/v2/runners/workspaces/{made['id']}", {"parentId": firefly.root()})
    assert named["projectId"] == firefly.root()
    assert "projectId" not in firefly.put(
        f"/v2/runners/workspaces/{item['id']}", {"parentId": None, "name": None}
    )
    assert firefly.delete(f"/workspaces/{item['id']}", status=200)["status"] == 200


def test_importer_makes_everything_once_and_skips_it_the_second_time(
    firefly: Firefly, unique: Callable[[str], str]
) -> None:
    folders = [f"{unique('acme')}/infra/{name}" for name in ("net", "db", "app")]
    name = unique("imported")

    def one(folder: str) -> str:
        body = workspace_body(folder, workDir=f"/{folder}", project=None, isRemote=True)
        mine = Firefly(firefly.api.clone(), firefly.access_key, firefly.secret_key)
        answer = mine.ask("POST", "/v2/runners/workspaces", body)
        if answer.status == 409:
            assert "already exists" in answer.body.decode().lower()
            return "skipped"
        assert answer.expect(201).json()["workingDirectory"] == f"/{folder}"
        return "made"

    def run() -> tuple[int, list[str]]:
        tree = firefly.get("/v2/runners/projects/tree")["data"]
        root = next(node for node in tree if not node.get("parentId"))
        known = [node["name"] for node in root["children"]]
        made = firefly.ask("POST", "/v2/runners/projects", {"name": name, "parentId": root["id"]})
        assert made.status == (409 if name in known else 201)
        assert made.status == 201 or "already exists" in made.body.decode()
        nodes = firefly.get("/v2/runners/projects/tree")["data"][0]["children"]
        project = member_of(nodes, "name", name)["id"]
        firefly.post(f"/v2/runners/projects/{project}/members", [{"userId": "u-imp", "role": "member"}], 201)
        variables = {
            "variables": [
                {"key": "TF_VAR_region", "value": "eu", "sensitivity": "string", "destination": "iac"}
            ]
        }
        firefly.post(f"/v2/runners/variables/projects/{project}/variables", variables, 204)
        with ThreadPoolExecutor(3) as pool:
            return made.status, list(pool.map(one, folders))

    buckets = firefly.get("/v2/api/integrations/global/vcs")
    assert {"github", "gitlab", "bitbucket", "bitbucketdc", "codecommit", "azuredevops"} <= buckets.keys()
    assert run() == (201, ["made"] * 3)
    assert run() == (409, ["skipped"] * 3)


@pytest.mark.parametrize("what", ["project", "workspace", "variable set"])
def test_of_ten_creations_at_once_with_one_name_one_wins(
    server: Server, firefly: Firefly, unique: Callable[[str], str], what: str
) -> None:
    name, root = unique("race"), firefly.root()
    firefly.login()
    path, body = {
        "project": ("/v2/runners/projects", {"name": name, "parentId": root}),
        "workspace": ("/v2/runners/workspaces", workspace_body(name, project=None)),
        "variable set": ("/v2/runners/variables/variable-sets", {"name": name}),
    }[what]
    ready = threading.Barrier(10)

    def make(_: int) -> tuple[int, str]:
        with Api("127.0.0.1", server.port, firefly._token) as api:
            api.get("/v2/health")
            ready.wait(30)
            answer = api.request("POST", path, body, AGENT)
            return answer.status, answer.body.decode()

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(make, range(10)))
    assert sorted(status for status, _ in answers) == [201] + [409] * 9
    assert all("already exists" in text for status, text in answers if status == 409)


def test_prefixes_are_three_names_of_one_thing(firefly: Firefly, unique: Callable[[str], str]) -> None:
    made = firefly.workspace(unique("prefixed"))
    for prefix in ("", "/v2", "/api/v2"):
        assert firefly.get(f"{prefix}/runners/workspaces/{made['id']}") == made
        found: list[dict[str, Any]] = firefly.post(
            f"{prefix}/workspaces/search?pageSize=1", {"searchValue": made["name"]}
        )
        assert [one["workspaceId"] for one in found] == [made["id"]]
        assert firefly.post(f"{prefix}/workspaces/{made['id']}/runs/search", {}) == []
        firefly.get(f"{prefix}/runners/no/such/path", 404)
    assert firefly.ask("PUT", "/v2/runners/projects", {}).status == 405
    firefly.delete(f"/api/v2/workspaces/{made['id']}", status=200)
