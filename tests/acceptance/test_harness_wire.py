"""The Harness door on the wire: workspaces, remote executions up to their run, errors, the state backend."""

import concurrent.futures
import hashlib
import io
import json
import socket
import tarfile
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.harness import BASE, body, packed, refused
from tests.support.http import Answer, Api
from tests.support.server import Server
from tests.support.tenant import add_account

CODE = {"main.tf": 'resource "terraform_data" "a" {\n  input = "x"\n}\n'}


@pytest.fixture(scope="module")
def door(server: Server) -> Iterator[Api]:
    with server.api() as api:
        yield api


@pytest.fixture
def workspace(door: Api) -> str:
    identifier = f"w{uuid.uuid4().hex[:10]}"
    door.post(f"{BASE}/workspaces", body(identifier)).expect(201)
    return f"{BASE}/workspaces/{identifier}"


def digest_of(data: bytes) -> str:
    return f"sha256={hashlib.sha256(data).hexdigest()}"


def upload(door: Api, one: str, data: bytes, digest: str | None = None) -> Answer:
    headers = {"Content-Type": "application/x-gzip", "Content-Digest": digest or digest_of(data)}
    return door.request("POST", f"{one}/upload", data, headers)


def created(door: Api, workspace: str, **arguments: list[str]) -> str:
    made = door.post(f"{workspace}/remote-executions", {"custom_arguments": arguments}).expect(201).json()
    return f"{workspace}/remote-executions/{made['id']}"


def test_remote_execution_has_every_field_in_every_answer(door: Api, workspace: str) -> None:
    made = door.post(
        f"{workspace}/remote-executions", {"custom_arguments": {"target": ["a.b"], "replace": []}}
    )
    document = made.expect(201).json()
    assert (document["account"], document["org"], document["project"]) == ("default", "default", "default")
    assert document["workspace"] == workspace.rpartition("/")[2]
    assert document["custom_arguments"] == {"target": ["a.b"]}
    assert (document["executed"], document["sha256_checksum"]) == (False, "")
    assert (document["pipeline_execution_id"], document["pipeline_execution_url"]) == ("", "")
    assert isinstance(document["created"], int)
    one = f"{workspace}/remote-executions/{document['id']}"
    data = packed(CODE)
    uploaded = upload(door, one, data).expect(200).json()
    assert uploaded["sha256_checksum"] == hashlib.sha256(data).hexdigest()
    assert door.get(one).expect(200).json() == uploaded
    assert set(uploaded) == set(document)


def test_source_comes_back_as_it_came(door: Api, workspace: str) -> None:
    one, data = created(door, workspace), packed(CODE)
    upload(door, one, data).expect(200)
    answer = door.get(f"{one}/download").expect(200)
    assert answer.body == data
    assert answer.headers["content-digest"] == digest_of(data)


def test_upload_again_is_welcome_with_the_same_bytes_only(door: Api, workspace: str) -> None:
    one, data = created(door, workspace), packed(CODE)
    upload(door, one, data).expect(200)
    upload(door, one, data).expect(200)
    assert "another" in refused(upload(door, one, packed({"other.tf": ""})), 409, "ConflictError")


@pytest.mark.parametrize("digest", ["", "md5=abc", "sha256=00", f"sha256={'0' * 64}", "sha-256=:AAAA:"])
def test_upload_with_a_wrong_digest_keeps_nothing(door: Api, workspace: str, digest: str) -> None:
    one, data = created(door, workspace), packed(CODE)
    refused(upload(door, one, data, digest or "none"), 400, "BadRequestError")
    assert door.get(one).json()["sha256_checksum"] == ""


def evil(kind: bytes, name: str, link: str = "") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        archive.addfile(info)
    return target.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04 a zip",
        packed(CODE)[:-20],
        evil(tarfile.REGTYPE, "../../etc/passwd"),
        evil(tarfile.REGTYPE, "/etc/passwd"),
        evil(tarfile.SYMTYPE, "link", "/etc"),
        evil(tarfile.CHRTYPE, "device"),
    ],
    ids=["zip", "truncated", "climbing", "absolute", "link", "device"],
)
def test_upload_of_a_hostile_archive_is_refused(door: Api, workspace: str, data: bytes) -> None:
    one = created(door, workspace)
    refused(upload(door, one, data), 400, "BadRequestError")
    refused(door.post(f"{one}/execute"), 400, "BadRequestError")


def test_upload_that_breaks_off_leaves_it_open_for_another(door: Api, workspace: str) -> None:
    one, data = created(door, workspace), packed(CODE)
    with socket.create_connection((door.host, door.port), timeout=10) as connection:
        head = (
            f"POST {one}/upload HTTP/1.1\r\nHost: x\r\nX-Api-Key: {door.token}\r\n"
            f"Content-Digest: {digest_of(data)}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        connection.sendall(head.encode() + data[: len(data) // 2])
    assert door.get(one).json()["sha256_checksum"] == ""
    upload(door, one, data).expect(200)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"var": ["a=b"]}, "var"),
        ({"target": ["-destroy"]}, "target"),
        ({"target": ["a b; rm"]}, "target"),
        ({"target": [""]}, "target"),
        ({"target": "a.b"}, "array"),
    ],
)
def test_custom_argument_that_no_plan_takes_is_named(
    door: Api, workspace: str, arguments: dict[str, Any], word: str
) -> None:
    answer = door.post(f"{workspace}/remote-executions", {"custom_arguments": arguments})
    assert word in refused(answer, 400, "BadRequestError")


def test_names_that_are_not_there_are_not_found(door: Api, workspace: str) -> None:
    for path in (
        workspace.replace("orgs/default", "orgs/nowhere"),
        workspace.replace("projects/default", "projects/nowhere"),
        f"{BASE}/workspaces/nowhere",
        f"{workspace}/remote-executions/{uuid.uuid4()}",
        f"{BASE}/nothing",
    ):
        refused(door.get(path), 404, "NotFoundError")
    assert "UUID" in refused(door.get(f"{workspace}/remote-executions/1"), 400, "BadRequestError")


def test_key_of_another_account_is_forbidden_and_no_key_unauthorized(door: Api, workspace: str) -> None:
    answer = door.request("GET", workspace, headers={"Harness-Account": "other"})
    assert "other" in refused(answer, 403, "ForbiddenError")
    refused(door.anonymous().get(workspace), 401, "UnauthorizedError")
    refused(
        door.anonymous().request("GET", workspace, headers={"X-Api-Key": "pat.default.a.b"}),
        401,
        "UnauthorizedError",
    )


@pytest.mark.parametrize("prefix", ["", "/gateway"])
def test_paths_work_behind_the_gateway_and_without(door: Api, workspace: str, prefix: str) -> None:
    door.get(prefix + workspace).expect(200)
    token = door.get(f"{prefix}/log-service/token?accountID=default&routingId=default").expect(200)
    assert token.headers["content-type"].startswith("text/plain")
    reader = {"X-Harness-Token": token.body.decode()}
    missing = door.anonymous().request(
        "GET", f"{prefix}/log-service/blob?accountID=default&key=runs%2Fx%2Fplan", headers=reader
    )
    assert missing.status == 404
    assert missing.json()["message"] == missing.json()["error_msg"]
    gone = door.get(f"{prefix}/pipeline/api/pipelines/execution/v2/{uuid.uuid4()}?accountIdentifier=default")
    assert (gone.status, gone.json()["status"]) == (404, "ERROR")
    for query in ("key=x", "accountID=default", "accountID=default&key="):
        assert door.get(f"{prefix}/log-service/blob?{query}").status == 400
    door.anonymous().request("GET", prefix + workspace, headers=reader).expect(200)
    refused_lock = door.anonymous().request("POST", f"{prefix}{workspace}/actions/lock", headers=reader)
    assert refused_lock.status == 403, "a token for logs changes nothing"
    door.get(prefix + workspace.removeprefix("/iacm")).expect(200)


def test_key_in_the_form_of_the_dialect_works_and_names_the_account(door: Api, workspace: str) -> None:
    made = door.post("/runyard/v1/tokens", {"name": "laptop", "shape": "harness"}).expect(201).json()
    kind, account, _, secret = made["secret"].split(".")
    assert (kind, account) == ("pat", "default")
    assert len(secret) > 40
    key = {"x-api-key": made["secret"], "harness-account": account}
    door.anonymous().request("GET", workspace, headers=key).expect(200)


def test_two_executes_at_once_begin_one_run(door: Api, workspace: str) -> None:
    one = created(door, workspace)
    upload(door, one, packed(CODE)).expect(200)

    def execute(_: int) -> dict[str, Any]:
        with door.clone() as client:
            document: dict[str, Any] = client.post(f"{one}/execute").expect(200).json()
            return document

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(execute, range(6)))
    assert len({answer["pipeline_execution_id"] for answer in answers}) == 1
    assert all(
        answer["executed"] and answer["pipeline_execution_url"].startswith("http") for answer in answers
    )


def test_locked_workspace_refuses_create_and_execute_with_the_reason(door: Api, workspace: str) -> None:
    one = created(door, workspace)
    upload(door, one, packed(CODE)).expect(200)
    lock = door.post(f"{workspace}/actions/lock", {"reason": "release freeze"}).expect(200).json()
    assert (lock["manual"], lock["reason"], lock["workspace"]) == (
        True,
        "release freeze",
        workspace.rpartition("/")[2],
    )
    assert "release freeze" in refused(door.post(f"{one}/execute"), 423, "LockedError")
    refused(door.post(f"{workspace}/remote-executions", {"custom_arguments": {}}), 423, "LockedError")
    door.post(f"{workspace}/actions/force-unlock").expect(200)
    door.post(f"{workspace}/actions/force-unlock").expect(200)
    created(door, workspace)


def test_workspace_without_a_plan_pipeline_refuses_remote_executions(door: Api) -> None:
    unset = {"plan": {"workspace_pipeline": None, "project_pipeline": None}}
    identifier = f"w{uuid.uuid4().hex[:10]}"
    door.post(f"{BASE}/workspaces", body(identifier, default_pipelines=unset)).expect(201)
    answer = door.post(f"{BASE}/workspaces/{identifier}/remote-executions", {})
    assert "default pipeline" in refused(answer, 400, "BadRequestError")
    named = {"operation": "plan", "pipeline": "mine", "workspace": identifier}
    door.post(f"{BASE}/settings/default-pipelines", named).expect(200)
    created(door, f"{BASE}/workspaces/{identifier}")


def test_default_pipeline_of_a_project_holds_for_its_workspaces_of_that_tool(door: Api) -> None:
    path, identifier = f"{BASE}/settings/default-pipelines", f"w{uuid.uuid4().hex[:10]}"
    workspace = f"{BASE}/workspaces/{identifier}"
    door.post(f"{BASE}/workspaces", body(identifier, provisioner="opentofu")).expect(201)
    for operation in ("plan", "drift"):
        of_tool = {"operation": operation, "provisioner": "opentofu", "pipeline": f"our_{operation}"}
        door.post(path, of_tool).expect(200)
    listed = door.get(path).expect(200).json()
    assert {(one["provisioner"], one["operation"], one["pipeline"]) for one in listed} == {
        ("opentofu", "plan", "our_plan"), ("opentofu", "drift", "our_drift"),
    }  # fmt: skip
    shown = door.get(workspace).expect(200).json()["default_pipelines"]
    assert {name: one["project_pipeline"] for name, one in shown.items()} == {
        "plan": "our_plan", "drift": "our_drift",
    }  # fmt: skip
    assert door.get(f"{workspace}/pipelines").json()["pipelines"] == ["our_drift", "our_plan"]
    door.post(path, {"operation": "plan", "pipeline": "own", "workspace": identifier}).expect(200)
    shown = door.get(workspace).json()["default_pipelines"]["plan"]
    assert (shown["workspace_pipeline"], shown["project_pipeline"]) == ("own", "our_plan")
    for wrong in (
        {"operation": "cook"},
        {"operation": "plan", "pipeline": "own", "workspace": "\0"},
        {"operation": "plan"},
        {"operation": "plan", "provisioner": "terraform"},
    ):
        refused(door.post(path, wrong), 400, "BadRequestError")
    door.request("DELETE", path, {"operation": "plan", "workspace": identifier}).expect(204)
    for operation in ("plan", "drift", "drift"):
        door.request("DELETE", path, {"operation": operation, "provisioner": "opentofu"}).expect(204)
    assert door.get(path).json() == []
    assert door.get(workspace).json()["default_pipelines"]["plan"]["project_pipeline"] == "plan"


def test_workspace_is_created_shown_replaced_copied_and_deleted(door: Api) -> None:
    identifier = f"w{uuid.uuid4().hex[:10]}"
    path = f"{BASE}/workspaces/{identifier}"
    secret = {"key": "password", "value": "sesame-open", "value_type": "secret"}
    given = body(
        identifier,
        description="first",
        tags={"team": "net"},
        repository="acme/infra",
        repository_connector="account.git",
        repository_branch="main",
        repository_path="net/prod",
        sparse_checkout=["net"],
        budget=12.5,
        terraform_variables={
            "size": {"key": "size", "value": "3", "value_type": "string"},
            "password": secret,
        },
        environment_variables={"REGION": {"value": "eu", "value_type": "string"}},
        provider_connectors=[{"connector_ref": "account.aws", "type": "aws"}],
    )
    door.post(f"{BASE}/workspaces", given).expect(201)
    refused(door.post(f"{BASE}/workspaces", given), 409, "ConflictError")
    shown = door.get(path).expect(200).json()
    for name in (
        "name",
        "description",
        "tags",
        "repository",
        "repository_branch",
        "repository_path",
        "budget",
    ):
        assert shown[name] == given[name], name
    assert shown["terraform_variables"]["size"]["value"] == "3"
    assert shown["terraform_variables"]["password"] | {"created": 0, "updated": 0} == {
        "key": "password", "value": "", "value_type": "secret", "created": 0, "updated": 0,
    }  # fmt: skip
    assert shown["default_pipelines"] == {"plan": {"workspace_pipeline": None, "project_pipeline": "plan"}}
    assert "sesame-open" not in json.dumps(shown)
    replaced = {name: value for name, value in given.items() if name not in ("identifier", "tags", "budget")}
    named = {"apply": {"workspace_pipeline": "ship"}}
    replaced |= {"description": "second", "environment_variables": {}, "default_pipelines": named}
    door.put(path, replaced).expect(200)
    shown = door.get(path).json()
    assert (shown["description"], shown["environment_variables"], shown["tags"]) == ("second", {}, {})
    assert "budget" not in shown
    assert shown["default_pipelines"]["apply"]["workspace_pipeline"] == "ship"
    assert shown["default_pipelines"]["plan"]["project_pipeline"] == "plan", "a remote plan is still possible"
    assert set(shown["terraform_variables"]) == {"size", "password"}
    copy = door.post(f"{path}/clone", {"identifier": f"{identifier}2", "name": "copy"}).expect(201).json()
    assert set(copy["terraform_variables"]) == {"size"}
    door.request("DELETE", path).expect(204)
    refused(door.get(path), 404, "NotFoundError")


def test_workspaces_are_listed_with_counts_in_headers(door: Api) -> None:
    mark = uuid.uuid4().hex[:8]
    for number in range(3):
        door.post(f"{BASE}/workspaces", body(f"l{mark}{number}")).expect(201)
    answer = door.get(f"{BASE}/workspaces?searchTerm={mark}&limit=2&page=1&sort=name,DESC").expect(200)
    assert [one["identifier"] for one in answer.json()] == [f"l{mark}2", f"l{mark}1"]
    assert (
        answer.headers["x-total-items"],
        answer.headers["x-total-pages"],
        answer.headers["x-page-size"],
    ) == ("3", "2", "2")
    for one in ("0", "2"):
        path = f"{BASE}/workspaces/l{mark}{one}"
        door.put(path, body("") | {"tags": {"team": mark, "tier": one}}).expect(200)
    found = door.get(f"{BASE}/workspaces?searchTerm={mark}&tags=team%3A{mark}&sort=updated,DESC").expect(200)
    assert [one["identifier"] for one in found.json()] == [f"l{mark}2", f"l{mark}0"]
    found = door.get(f"{BASE}/workspaces?tags=team%3A{mark}&tags=tier&status=failed&status=inactive&limit=1")
    assert (len(found.expect(200).json()), found.headers["x-total-items"]) == (1, "2")
    assert door.get(f"{BASE}/workspaces?tags=team%3A{mark}&status=failed").json() == []
    ratio = door.get(f"{BASE}/workspaces/provisioners-ratio").expect(200).json()
    assert ratio["total"] >= 3
    assert ratio["provisioner"]["terraform"] > 0.5
    assert sum(ratio["provisioner"].values()) == pytest.approx(1)
    for query in ("limit=0", "limit=1001", "page=0", "sort=size,ASC"):
        refused(door.get(f"{BASE}/workspaces?{query}"), 400, "BadRequestError")


def test_workspace_whose_variables_or_sets_are_refused_is_as_before(door: Api) -> None:
    mark = uuid.uuid4().hex[:8]
    for number in (1, 2):
        value = {"K": {"value": str(number), "value_type": "string"}}
        named = {"identifier": f"s{number}{mark}", "name": f"s{number}{mark}", "environment_variables": value}
        door.post("/iacm/api/variable-set", named).expect(201)
    sets = [f"account.s{number}{mark}" for number in (1, 2)]
    unknown = {"a": {"value": None, "value_type": "secret"}}
    refused(door.post(f"{BASE}/workspaces", body(f"r{mark}", variable_sets=sets)), 409, "ConflictError")
    refused(
        door.post(f"{BASE}/workspaces", body(f"r{mark}", terraform_variables=unknown)), 400, "BadRequestError"
    )
    refused(door.get(f"{BASE}/workspaces/r{mark}"), 404, "NotFoundError")
    path = f"{BASE}/workspaces/w{mark}"
    door.post(f"{BASE}/workspaces", body(f"w{mark}", description="first")).expect(201)
    changed = {name: value for name, value in body(f"w{mark}").items() if name != "identifier"}
    for wrong, status in (({"variable_sets": sets}, 409), ({"terraform_variables": unknown}, 400)):
        assert door.put(path, changed | {"description": "second"} | wrong).status == status
        assert door.get(path).json()["description"] == "first"


@pytest.mark.parametrize(
    "change",
    [
        {"provisioner": "make"},
        {"name": ""},
        {"name": 5},
        {"repository": "", "repository_connector": ""},
        {"terraform_variables": {"a": {"value": "b", "value_type": "odd"}}},
        {"provider_connectors": [{"type": "moon"}]},
        {"default_pipelines": {"cook": {}}},
        {"tags": {"team": "n\0t"}},
        {"description": "n\0t"},
        {"identifier": "a b"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_workspace_with_a_wrong_field_is_refused(door: Api, workspace: str, change: dict[str, Any]) -> None:
    refused(door.post(f"{BASE}/workspaces", body("fine") | change), 400, "BadRequestError")
    if "identifier" not in change:
        refused(door.put(workspace, body("") | change), 400, "BadRequestError")
    refused(door.get(f"{BASE}/workspaces/fine"), 404, "NotFoundError")


@pytest.mark.parametrize("level", ["/iacm/api", "/iacm/api/orgs/default", BASE])
def test_variable_set_lives_at_its_level_and_workspaces_use_it(door: Api, level: str) -> None:
    name = f"s{uuid.uuid4().hex[:8]}"
    connectors = [{"connector_ref": "account.aws", "type": "aws"}]
    given = {
        "identifier": name,
        "name": f"The {name}",
        "connectors": connectors,
        "terraform_variable_files": [{"repository": "acme/vars", "repository_connector": "git"}],
        "terraform_variables": {"size": {"value": "3", "value_type": "string"}},
        "environment_variables": {"PASSWORD": {"value": "sesame-open", "value_type": "secret"}},
    }
    made = door.post(f"{level}/variable-set", given).expect(201)
    assert "sesame-open" not in made.body.decode()
    one = f"{level}/variable-set/{name}"
    shown = door.get(one).expect(200).json()
    assert shown["terraform_variables"]["size"]["value"] == "3"
    for field in ("name", "connectors", "terraform_variable_files"):
        assert shown[field] == given[field], field
    for other in ("/iacm/api", "/iacm/api/orgs/default", BASE):
        listed = [found["identifier"] for found in door.get(f"{other}/variable-sets").expect(200).json()]
        assert (name in listed) == (other == level), other
    refused(door.put(one, {"name": "x", "connectors": [{"type": "moon"}]}), 400, "BadRequestError")
    identifier = f"w{uuid.uuid4().hex[:10]}"
    door.post(f"{BASE}/workspaces", body(identifier, variable_sets=[f"account.{name}"])).expect(201)
    assert door.get(f"{BASE}/workspaces/{identifier}").json()["variable_sets"] == [f"account.{name}"]
    refused(door.post(f"{BASE}/workspaces", body("unmade", variable_sets=["nowhere"])), 404, "NotFoundError")
    door.put(one, {"description": "empty"}).expect(200)
    shown = door.get(one).json()
    assert (shown["terraform_variables"], shown["connectors"]) == ({}, [])
    door.request("DELETE", one).expect(204)
    refused(door.get(one), 404, "NotFoundError")


def test_key_of_a_project_makes_no_variable_set_above_it(door: Api) -> None:
    project = {"name": "part", "project": "default/default"}
    narrow = door.clone(door.post("/runyard/v1/tokens", project).expect(201).json()["secret"])
    given = {"identifier": f"s{uuid.uuid4().hex[:8]}", "name": "x"}
    assert narrow.post("/iacm/api/orgs/default/variable-set", given).status == 403
    door.post("/iacm/api/orgs/default/variable-set", given).expect(201)
    door.request("DELETE", f"/iacm/api/orgs/default/variable-set/{given['identifier']}").expect(204)


def test_resources_show_their_values_to_who_may_read_states_only(door: Api, workspace: str) -> None:
    # As tools wrote states that did not yet note which attributes are sensitive.
    instance = {
        "schema_version": 3,
        "attributes": {"id": "none", "result": "hunter22"},
        "sensitive_attributes": [],
    }
    resource = {
        "mode": "managed",
        "type": "random_password",
        "name": "p",
        "provider": "p",
        "instances": [instance],
    }
    state = {
        "version": 4, "terraform_version": "1.5.0", "serial": 1, "lineage": str(uuid.uuid4()),
        "outputs": {"plain": {"value": "hunter33", "type": "string"}}, "resources": [resource],
    }  # fmt: skip
    door.post(f"{workspace}/terraform-backend", state).expect(200)
    reader = {"name": "reader", "scopes": ["workspaces:read"]}
    narrow = door.clone(door.post("/runyard/v1/tokens", reader).expect(201).json()["secret"])
    for who, shown in ((door, True), (narrow, False)):
        found = who.get(f"{workspace}/resources").expect(200)
        assert found.json()["resources"][0]["attributes"].keys() == {"id", "result"}
        assert (b"hunter22" in found.body, b"hunter33" in found.body) == (shown, shown)


def test_what_is_not_built_says_so(door: Api, workspace: str) -> None:
    assert door.get(f"{workspace}/data").status == 501
    path = f"/pipeline/api/pipeline/execute/interrupt/{uuid.uuid4()}?accountIdentifier=default&interruptType="
    assert door.put(f"{path}Pause").status == 501
    assert door.put(f"{path}Dance").status == 400
    assert door.put(f"{path}AbortAll").status == 404


def test_nothing_of_it_shows_to_another_tenant(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server(public_url="https://runyard.example.com/")
    with server.api() as own:
        own.post(f"{BASE}/workspaces", body("private")).expect(201)
        one = created(own, f"{BASE}/workspaces/private")
        upload(own, one, packed(CODE)).expect(200)
        executed = own.post(f"{one}/execute").expect(200).json()
        run = executed["pipeline_execution_id"]
        assert executed["pipeline_execution_url"] == f"https://runyard.example.com/runyard/v1/runs/{run}"
    assert server.stop() == 0
    token = add_account(server, "other")
    server.start()
    with server.api().clone(token) as other:
        for path in (f"{BASE}/workspaces/private", one, f"{one}/download", f"{BASE}/workspaces"):
            assert other.get(path).status == 404, path
        assert other.request("GET", one, headers={"Harness-Account": "default"}).status == 403
        assert other.get(f"/pipeline/api/pipelines/execution/v2/{run}").status == 404
        assert (
            other.put(f"/pipeline/api/pipeline/execute/interrupt/{run}?interruptType=AbortAll").status == 404
        )
        for what in ("blob", "stream"):
            assert other.get(f"/log-service/{what}?accountID=other&key=runs%2F{run}%2Fplan").status == 404
            assert other.get(f"/log-service/{what}?accountID=default&key=runs%2F{run}%2Fplan").status == 403
