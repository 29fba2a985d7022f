"""Every operation of the Firefly door with every parameter."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.firefly import Firefly, member_of, workspace_body
from tests.support.server import ADMIN_TOKEN, Server

SECRET = "hunter22-very-secret-value"
OTHER_SECRET = "swordfish-nobody-may-read"


@pytest.fixture(scope="module")
def firefly(server: Server) -> Iterator[Firefly]:
    """Return a client of the session's server with the first key pair."""
    with server.api() as api:
        yield Firefly(api, "admin", ADMIN_TOKEN)


@pytest.fixture(scope="module")
def tree(firefly: Firefly) -> dict[str, str]:
    """Return the ids of a small tree: `top`, below it `left` and `right`, below left `leaf`."""
    made: dict[str, str] = {"root": firefly.root()}
    for name, parent, more in (
        ("top", "root", {"labels": ["ops-one"], "poolId": "123e4567-e89b-12d3-a456-426614174000"}),
        ("left", "top", {"labels": ["ops-two"], "oidcAuthentication": True}),
        ("right", "top", {}),
        ("leaf", "left", {"cronExecutionPattern": "0 2 * * *"}),
    ):
        body = {"name": f"ops-{name}", "parentId": made[parent], **more}
        made[name] = firefly.post("/v2/runners/projects", body, 201)["id"]
    return made


def test_projects_are_listed_flat_with_every_parameter(firefly: Firefly, tree: dict[str, str]) -> None:
    def names(query: str) -> list[str]:
        return [one["name"] for one in firefly.get(f"/v2/runners/projects/list?{query}")["data"]]

    assert names("searchQuery=OPS-l") == ["ops-leaf", "ops-left"]
    assert names("searchQuery=ops-&maxDepth=2") == ["ops-top"]
    assert names("searchQuery=ops-&maxDepth=3&pageSize=1&offset=1") == ["ops-left"]
    assert names("poolId=123e4567-e89b-12d3-a456-426614174000") == ["ops-top"]
    whole = firefly.get("/v2/runners/projects/list?searchQuery=ops-&pageSize=1")
    assert (len(whole["data"]), whole["totalCount"]) == (1, 4)
    for wrong in ("pageSize=0", "pageSize=x", "offset=-1", "maxDepth=6", "maxDepth=0"):
        assert firefly.ask("GET", f"/v2/runners/projects/list?{wrong}").status == 400
    assert {"ops-one", "ops-two"} <= set(firefly.get("/v2/runners/projects/labels"))


def test_projects_are_listed_as_a_tree_with_every_parameter(firefly: Firefly, tree: dict[str, str]) -> None:
    made = firefly.post("/v2/runners/variables/variable-sets", {"name": "ops-tree"}, 201)["variableSetId"]
    attach = f"/v2/runners/variables/projects/{tree['left']}/variable-sets/{made}/attach"
    firefly.post(attach, {"consume": True}, 204)
    beside = f"/v2/runners/variables/projects/{tree['right']}/variable-sets/{made}/attach"
    firefly.post(beside, {"consume": False}, 204)

    def paths(query: str) -> list[str]:
        def walk(nodes: list[dict[str, Any]], above: str) -> Iterator[str]:
            for node in nodes:
                here = f"{above}/{node['name'].removeprefix('ops-')}"
                yield here
                yield from walk(node["children"], here)

        return sorted(walk(firefly.get(f"/v2/runners/projects/tree?{query}")["data"], ""))

    assert paths("searchQuery=ops-leaf") == [
        "/global",
        "/global/top",
        "/global/top/left",
        "/global/top/left/leaf",
    ]
    both = ["/global", "/global/top", "/global/top/left", "/global/top/right"]
    assert paths(f"variableSetId={made}") == both
    consumers = ["/global", "/global/top", "/global/top/left", "/global/top/left/leaf"]
    assert paths(f"variableSetId={made}&consumedOnly=true") == consumers
    firefly.get("/v2/runners/projects/tree?variableSetId=unknown", 404)
    assert firefly.ask("GET", "/v2/runners/projects/tree?consumedOnly=true").status == 400
    detach = f"/v2/runners/variables/projects/{tree['left']}/variable-sets/{made}/detach"
    firefly.post(detach, None, 204)
    assert paths(f"variableSetId={made}&consumedOnly=true") == []


def test_projects_refuse_what_the_tree_does_not_allow(firefly: Firefly, tree: dict[str, str]) -> None:
    deepest = firefly.post("/v2/runners/projects", {"name": "ops-deepest", "parentId": tree["leaf"]}, 201)[
        "id"
    ]
    firefly.post("/v2/runners/projects", {"name": "ops-too-deep", "parentId": deepest}, 400)
    firefly.delete(f"/v2/runners/projects/{tree['leaf']}", status=409)
    firefly.delete(f"/v2/runners/projects/{tree['root']}", status=409)
    assert firefly.ask("PATCH", f"/v2/runners/projects/{tree['root']}", {"name": "ours"}).status == 400
    same = {"name": "global", "description": "All of it"}
    assert firefly.patch(f"/v2/runners/projects/{tree['root']}", same)["description"] == "All of it"
    found = firefly.get("/v2/runners/projects/list?searchQuery=global")["data"]
    assert [one["id"] for one in found] == [tree["root"]]
    firefly.delete(f"/v2/runners/projects/{deepest}")
    firefly.post("/v2/runners/projects", {"name": "x", "parentId": "6745a2f09b1c8e5d3f7a0b12"}, 404)
    same = {"name": "ops-left", "parentId": tree["right"]}
    firefly.delete(f"/v2/runners/projects/{firefly.post('/v2/runners/projects', same, 201)['id']}")
    renamed = firefly.ask("PATCH", f"/v2/runners/projects/{tree['right']}", {"name": "ops-left"})
    assert renamed.status == 409
    assert "already exists" in renamed.body.decode()
    for wrong in (
        {"cronExecutionPattern": "never"},
        {"poolId": "x"},
        {"labels": "a"},
        {"labels": [""]},
        {"name": ""},
    ):
        assert firefly.ask("PATCH", f"/v2/runners/projects/{tree['right']}", wrong).status == 400
    cleared = {"labels": None, "poolId": None, "oidcAuthentication": None, "description": None}
    assert firefly.patch(f"/v2/runners/projects/{tree['top']}", cleared)["poolId"] is None
    assert firefly.get(f"/v2/runners/projects/{tree['left']}")["oidcAuthentication"] is True


def test_members_have_three_roles_and_are_found_by_any_of_their_names(
    firefly: Firefly, tree: dict[str, str]
) -> None:
    path = f"/v2/runners/projects/{tree['right']}/members"
    new = [
        {"userId": "ops-bob", "role": "member", "email": "bob@example.test"},
        {"userId": "ops-eve", "role": "viewer"},
    ]
    assert firefly.post(path, new, 201) == [
        {"userId": "ops-bob", "role": "member", "email": "bob@example.test"},
        {"userId": "ops-eve", "role": "viewer"},
    ]
    bob = member_of(firefly.get("/v2/users?searchQuery=ops-bob"), "name", "ops-bob")
    firefly.post(path, [{"userId": bob["userId"], "role": "admin"}], 201)
    assert member_of(firefly.get(path), "userId", bob["id"])["role"] == "admin"
    for wrong in (
        [{"userId": "x", "role": "owner"}],
        [{"userId": "x"}],
        [{"role": "admin"}],
        {"userId": "x"},
        [1],
    ):
        assert firefly.ask("POST", path, wrong).status == 400
    firefly.delete(path, ["bob@example.test", "nobody"])
    assert [one["userId"] for one in firefly.get(path)] == ["ops-eve"]
    firefly.delete(path, ["ops-eve"])
    firefly.get("/v2/runners/projects/6745a2f09b1c8e5d3f7a0b12/members", 404)


def test_member_shows_the_address_that_the_configuration_has_by_now(
    firefly: Firefly, tree: dict[str, str]
) -> None:
    def given(project: str, member: dict[str, str]) -> list[dict[str, str]]:
        path = f"/v2/runners/projects/{tree[project]}/members"
        added: list[dict[str, str]] = firefly.post(path, [member], 201)
        assert [one for one in firefly.get(path) if one["userId"] == member["userId"]] == added
        return added

    new = {"userId": "ops-dan", "role": "member", "email": "Dan@example.test"}
    for project in ("left", "right"):
        assert given(project, new) == [new]
    moved = {**new, "email": "dan@elsewhere.test"}
    assert given("left", moved) == [moved]
    assert given("right", {**new, "email": ""}) == [moved]
    by_address = {"userId": "dan@elsewhere.test", "role": "viewer", "email": "dan@third.test"}
    assert given("right", by_address) == [{**by_address, "email": "dan@elsewhere.test"}]
    for project in ("left", "right"):
        firefly.delete(f"/v2/runners/projects/{tree[project]}/members", ["ops-dan"])


def test_variables_are_written_listed_and_deleted_by_id_or_key(
    firefly: Firefly, tree: dict[str, str]
) -> None:
    workspace = firefly.workspace("ops-variables", project=tree["leaf"])
    set_id = firefly.post("/v2/runners/variables/variable-sets", {"name": "ops-vars"}, 201)["variableSetId"]
    project = f"/v2/runners/variables/projects/{tree['leaf']}"
    places = (
        (project, f"{project}/variables", "variableKeys"),
        (f"/v2/runners/variables/workspaces/{workspace['id']}/variables", None, "variableIds"),
        (f"/v2/runners/variables/variable-sets/{set_id}/variables", None, "variableIds"),
    )
    for listing, given, member in places:
        writing = given or listing
        body = {"variables": [
            {"key": "A", "value": "1"},
            {"key": "B", "value": SECRET, "sensitivity": "secret", "destination": "iac"},
            {"key": "C", "value": "", "sensitivity": None, "destination": None},
        ]}  # fmt: skip
        firefly.post(writing, body, 204)
        found = firefly.get(listing)
        assert [(one["key"], one.get("value"), one["sensitivity"], one["destination"]) for one in found] == [
            ("A", "1", "string", "env"), ("B", None, "secret", "iac"), ("C", "", "string", "env"),
        ]  # fmt: skip
        firefly.post(
            writing,
            {"variables": [{"key": "A", "value": "2"}, {"key": "A", "value": "x", "destination": "iac"}]},
            204,
        )
        again = firefly.get(listing)
        assert [one.get("value") for one in again] == ["2", None, "", "x"]
        assert [one["id"] for one in again[:3]] == [one["id"] for one in found]
        names = [found[2]["id"], "B"]
        firefly.delete(writing, {member: names})
        assert [one["key"] for one in firefly.get(listing)] == ["A", "A"]
        firefly.delete(writing, {"variableIds": [again[3]["id"]], "variableKeys": ["unknown"]})
        wrong: dict[str, Any]
        for wrong in ({}, {member: []}, {member: "A"}, {member: [1]}):
            assert firefly.ask("DELETE", writing, wrong).status == 400
        for wrong_one in ({"value": "x"}, {"key": "A", "value": 1}, {"key": "A B", "value": "x"}, {"key": "N"},
                          {"key": "A", "value": "x", "destination": "file"}):  # fmt: skip
            assert firefly.ask("POST", writing, {"variables": [wrong_one]}).status == 400
        assert len(firefly.get(listing)) == 1
    page = f"/v2/runners/variables/variable-sets/{set_id}/variables?page=1&pageSize=1"
    assert firefly.get(page) == []
    assert len(firefly.get(f"{places[1][0]}?pageSize=1&offset=0")) == 1
    firefly.delete(f"/v2/workspaces/{workspace['id']}", status=200)


def test_variables_that_come_with_a_project_are_all_that_it_has(
    firefly: Firefly, tree: dict[str, str]
) -> None:
    path = f"/v2/runners/projects/{tree['right']}"
    variables = f"/v2/runners/variables/projects/{tree['right']}"

    def keys() -> list[str]:
        return [one["key"] for one in firefly.get(variables)]

    given = [{"key": "ONE", "value": SECRET, "sensitivity": "secret"}, {"key": "TWO", "value": "2"}]
    firefly.patch(path, {"variables": given})
    firefly.post(f"{variables}/variables", {"variables": [{"key": "THREE", "value": "3"}]}, 204)
    firefly.patch(path, {"description": "The other one"})
    assert keys() == ["ONE", "TWO", "THREE"]
    firefly.patch(path, {"variables": [{"key": "ONE", "sensitivity": "secret"}]})
    assert keys() == ["ONE"]
    assert firefly.ask("PATCH", path, {"variables": [{"key": "FOUR"}], "description": "no"}).status == 400
    assert (keys(), firefly.get(path)["description"]) == (["ONE"], "The other one")
    firefly.delete(f"{variables}/variables", {"variableKeys": ["ONE"]})


def test_variable_sets_are_listed_bound_attached_and_in_conflict(
    firefly: Firefly, tree: dict[str, str]
) -> None:
    def make(name: str, **more: Any) -> str:
        return str(
            firefly.post("/v2/runners/variables/variable-sets", {"name": name, **more}, 201)["variableSetId"]
        )

    one = make("ops-conflict-one", variables=[{"key": "K", "value": "1"}])
    other = make(
        "ops-conflict-two", variables=[{"key": "K", "value": "2"}], description="d", labels=["z", "a"]
    )
    listed = firefly.get("/v2/runners/variables/variable-sets?searchQuery=OPS-conflict&pageSize=1&offset=0")
    assert listed == [{"id": other, "version": 1, "name": "ops-conflict-two", "description": "d",
                       "labels": ["z", "a"], "parents": []}]  # fmt: skip
    workspace = firefly.workspace("ops-sets", project=tree["leaf"], consumedVariableSets=[one])
    bind = f"/v2/runners/variables/workspaces/{workspace['id']}/variable-sets"
    assert firefly.ask("POST", f"{bind}/{other}/bind").status == 409
    firefly.post(f"{bind}/{one}/unbind", None, 204)
    firefly.post(f"{bind}/{other}/bind", None, 204)
    body = workspace_body("ops-sets-refused", consumedVariableSets=[one, other], project=None)
    assert firefly.ask("POST", "/v2/runners/workspaces", body).status == 409
    for wrong in ({"key": "NO VALUE"}, {"key": "SECRET", "sensitivity": "secret"}):
        both = workspace_body("ops-sets-refused", consumedVariableSets=[one], variables=[wrong])
        assert firefly.ask("POST", "/v2/runners/workspaces", both).status == 400
    unknown = workspace_body("ops-sets-refused", consumedVariableSets=["6745a2f09b1c8e5d3f7a0b12"])
    assert firefly.ask("POST", "/v2/runners/workspaces", unknown).status == 404
    assert firefly.post("/v2/workspaces/search", {"searchValue": "ops-sets-refused"}) == []
    attach = f"/v2/runners/variables/projects/{tree['left']}/variable-sets"
    firefly.post(f"{attach}/{one}/attach", {}, 204)
    assert firefly.ask("POST", f"{attach}/{other}/attach", {"consume": True}).status == 409
    assert firefly.ask("POST", f"{attach}/{other}/attach", {"consume": "yes"}).status == 400

    def users(query: str) -> list[str]:
        return [one["name"] for one in firefly.get(f"/v2/runners/projects/{tree['leaf']}/workspaces?{query}")]

    assert users(f"variableSetId={one}") == ["ops-sets"]
    assert users(f"variableSetId={one}&explicitConsumption=true") == []
    assert users(f"variableSetId={other}&explicitConsumption=true") == ["ops-sets"]
    assert users("searchQuery=OPS-SETS&pageSize=5&offset=0") == ["ops-sets"]
    assert users("searchQuery=OPS-SETS&offset=1") == []
    assert users("poolId=123e4567-e89b-12d3-a456-426614174000") == []
    assert (
        firefly.ask("GET", f"/v2/runners/projects/{tree['leaf']}/workspaces?explicitConsumption=true").status
        == 400
    )
    parent = make("ops-parent")
    child = make("ops-child", parents=[parent])
    assert (
        firefly.ask("PUT", f"/v2/runners/variables/variable-sets/{parent}", {"parents": [child]}).status
        == 400
    )
    assert firefly.ask("DELETE", f"/v2/runners/variables/variable-sets/{parent}").status == 409
    for gone in (child, parent, one, other):
        firefly.delete(f"/v2/runners/variables/variable-sets/{gone}")
    firefly.delete(f"/v2/runners/workspaces/{workspace['id']}?destroy=false&description=done", status=200)


def test_runs_show_the_pages_of_their_repository_and_commit(server: Server, firefly: Firefly) -> None:
    made = firefly.workspace("ops-pages", runnerType="jenkins", vcsType="gitlab", repo="acme/one")
    path = f"/runyard/v1/workspaces/{made['id']}"
    told: tuple[dict[str, str], ...] = (
        {"commit": "b9a342a"},
        {"commit": "b9a342a", "commit_url": "https://elsewhere.test/x"},
        {},
    )
    with server.api() as api:
        for one in told:
            run = api.post(f"{path}/reports", one).expect(201).json()["id"]
            api.post(f"/runyard/v1/runs/{run}/failed", {}).expect(200)
    found = firefly.post(f"/workspaces/{made['id']}/runs/search", {})
    page = "https://gitlab.com/acme/one"
    assert [one["repoUrl"] for one in found] == [page] * 3
    assert [one["commitUrl"] for one in found] == [
        "", "https://elsewhere.test/x", f"{page}/-/commit/b9a342a"
    ]  # fmt: skip
    firefly.delete(f"/workspaces/{made['id']}", status=200)


def test_update_of_a_workspace_is_done_whole_or_not_at_all(firefly: Firefly, tree: dict[str, str]) -> None:
    sets = [
        firefly.post(
            "/v2/runners/variables/variable-sets", {"name": name, "variables": [{"key": "K", "value": name}]}, 201
        )["variableSetId"]
        for name in ("ops-whole-one", "ops-whole-two")
    ]  # fmt: skip
    given = [
        {"key": "KEPT", "value": SECRET, "sensitivity": "secret"},
        {"key": "CHANGED", "value": "1"},
        {"key": "GONE", "value": "1"},
    ]
    made = firefly.workspace(
        "ops-whole", project=tree["leaf"], variables=given, consumedVariableSets=sets[:1]
    )
    path = f"/v2/runners/workspaces/{made['id']}"
    variables = f"/v2/runners/variables/workspaces/{made['id']}/variables"

    def keys() -> list[tuple[str, str | None]]:
        return sorted((one["key"], one.get("value")) for one in firefly.get(variables))

    before = keys()
    for wrong, status in (
        ({"consumedVariableSets": sets}, 409),
        ({"variables": [{"key": "KEPT", "value": "shown"}, {"key": "NEW"}]}, 400),
        ({"variables": [], "consumedVariableSets": [], "poolId": "x" * 40}, 400),
        ({"variables": [], "repository": ""}, 400),
        ({"defaultBranch": " "}, 400),
        ({"vcsIntegrationId": ""}, 400),
        ({"vcsIntegrationId": "x" * 65}, 400),
        ({"vcs": ""}, 400),
    ):
        for method in ("PUT", "PATCH"):
            assert firefly.ask(method, path, {"labels": ["never"], **wrong}).status == status, wrong
    assert (firefly.get(path), keys()) == (made, before)
    users = f"/v2/runners/projects/{tree['leaf']}/workspaces?explicitConsumption=true&variableSetId="
    assert [one["name"] for one in firefly.get(users + sets[0])] == ["ops-whole"]

    fewer = [{"key": "KEPT", "sensitivity": "secret"}, {"key": "CHANGED", "value": "2"}]
    firefly.put(path, {"name": "ops-whole", "variables": fewer, "consumedVariableSets": sets[1:]})
    assert keys() == [("CHANGED", "2"), ("KEPT", None)]
    assert [firefly.get(users + one) != [] for one in sets] == [False, True]
    firefly.put(path, {"name": "ops-whole", "labels": ["later"]})
    assert keys() == [("CHANGED", "2"), ("KEPT", None)]
    firefly.delete(path, status=200)
    for one in sets:
        firefly.delete(f"/v2/runners/variables/variable-sets/{one}")


def test_workspaces_are_searched_filtered_sorted_and_projected(
    firefly: Firefly, tree: dict[str, str]
) -> None:
    made = [
        firefly.workspace(
            "ops-s-a", labels=["x", "y"], repo="acme/one", vcsType="gitlab", project=tree["right"]
        ),
        firefly.workspace("ops-s-b", labels=["y"], repo="acme/two", project=tree["right"]),
        firefly.workspace(
            "ops-s-c", labels=["100%_x"], repo="acme/three", iacType="terraform", project=tree["right"]
        ),
    ]

    def names(query: str = "", **body: Any) -> list[str]:
        found = firefly.post(f"/workspaces/search?{query}", {"searchValue": "ops-s-", **body})
        return [one["workspaceName"].removeprefix("ops-s-") for one in found]

    assert names() == ["c", "b", "a"]
    assert names("page=1&pageSize=2") == ["a"]
    assert names(sort={"workspaceName": {"order": 1}}) == ["a", "b", "c"]
    assert names(sort=[{"repository": {"order": -1}}, {"workspaceName": {"order": 1}}]) == ["b", "c", "a"]
    for key in ("lastRunTime", "terraformVersion", "lastRunStatus", "ciTool"):
        assert len(names(sort={key: {"order": -1}})) == 3
    assert names(filters={"labels": ["x", "nothing"]}) == ["a"]
    assert names(filters={"labels": ["100%_x"]}) == ["c"]
    assert names(filters={"labels": ["y"], "repositories": ["acme/two"]}) == ["b"]
    assert names(filters={"$or": {"vcsType": ["gitlab"], "repositories": ["acme/three"]}}) == ["c", "a"]
    nothing: dict[str, Any] | None
    for nothing in ({}, None, {"$or": {}}, {"$or": {"labels": []}, "status": []}):
        assert names(filters=nothing) == ["c", "b", "a"]
    assert firefly.ask("POST", "/workspaces/search", b"null").status == 200
    assert names(
        filters={"workspaceName": ["ops-s-b"], "vcsType": ["github"], "ciTool": ["firefly_runners"]}
    ) == ["b"]
    assert names(filters={"status": ["plan_success"]}) == names(filters={"isManagedWorkflow": False}) == []
    assert len(names(filters={"isManagedWorkflow": True})) == 3
    pages = [one["repoUrl"] for one in firefly.post("/workspaces/search", {"searchValue": "ops-s-"})]
    assert pages == [
        "https://github.com/acme/three", "https://github.com/acme/two", "https://gitlab.com/acme/one"
    ]  # fmt: skip
    few = firefly.post(
        "/workspaces/search", {"searchValue": "ops-s-a", "projection": ["workspaceName", "labels", "zip"]}
    )
    assert [set(one) for one in few] == [{"id", "workspaceName", "labels"}]
    assert {"x", "y", "100%_x"} <= set(firefly.get("/v2/runners/workspaces/labels"))
    wrong: Any
    for wrong in ({"sort": {"color": {"order": 1}}}, {"sort": {"ciTool": {"order": 2}}}, {"sort": "x"}, {"filters": []},
                  {"filters": {"labels": "x"}}, {"projection": "x"}, {"searchValue": 1}, []):  # fmt: skip
        assert firefly.ask("POST", "/workspaces/search", wrong).status == 400
    for wrong_page in ("page=-1", "pageSize=0", "pageSize=x", "page=1.5"):
        assert firefly.ask("POST", f"/workspaces/search?{wrong_page}", {}).status == 400
    for one in made:
        firefly.delete(f"/workspaces/{one['id']}", status=200)
        firefly.get(f"/v2/runners/workspaces/{one['id']}", 404)


def test_workspace_creation_takes_every_member_and_names_what_is_missing(
    firefly: Firefly, tree: dict[str, str]
) -> None:
    whole = workspace_body(
        "ops-whole",
        description="all",
        labels=["b", "a"],
        project=tree["leaf"],
        poolId="123e4567-e89b-12d3-a456-426614174000",
        oidcAuthentication=True,
        isRemote=True,
        variables=[{"key": "A", "value": "1"}],
        terraformVariables={"size": 3, "zones": ["a"]},
        terraformSensitiveVariables={"password": SECRET},
        providersCredentials={"AWS_SECRET_ACCESS_KEY": OTHER_SECRET},
        runnerEnvironment={"REGION": "eu"},
    )
    made = firefly.post("/v2/runners/workspaces", whole, 201)
    assert (made["poolId"], made["oidcAuthentication"], made["description"]) == (whole["poolId"], True, "all")
    found = firefly.get(f"/v2/runners/variables/workspaces/{made['id']}/variables")
    assert sorted((one["key"], one.get("value"), one["sensitivity"], one["destination"]) for one in found if one.get("value")) == [
        ("A", "1", "string", "env"), ("REGION", "eu", "string", "env"), ("size", "3", "string", "iac"),
        ("zones", '["a"]', "string", "iac"),
    ]  # fmt: skip
    assert [one["key"] for one in found if "value" not in one] == ["password", "AWS_SECRET_ACCESS_KEY"]
    for member, said in (
        ("runnerType", "Runner Type"), ("iacType", "Iac Type"), ("workspaceName", "Workspace Name"), ("vcsId", "Vcs Id"),
        ("repo", "Repo"), ("defaultBranch", "Default Branch"), ("vcsType", "Vcs Type"), ("workDir", "Work Dir"),
    ):  # fmt: skip
        body = {name: value for name, value in whole.items() if name != member}
        answer = firefly.ask("POST", "/v2/runners/workspaces", body).expect(400)
        assert answer.json()["message"] == f"{said} is required"
    wrong: dict[str, Any]
    for wrong in (
        {"runnerType": "abacus"}, {"iacType": "pulumi"}, {"vcsType": "svn"}, {"workDir": "../x"}, {"labels": "x"},
        {"execution": {"triggers": ["never"]}}, {"execution": {"applyRule": "maybe"}}, {"execution": []},
        {"variables": [{"key": "PATH", "value": "x"}]}, {"isRemote": "yes"}, {"workspaceName": ""},
    ):  # fmt: skip
        answer = firefly.ask(
            "POST", "/v2/runners/workspaces", {**whole, "workspaceName": "ops-wrong", **wrong}
        )
        assert answer.status == 400, wrong
    foreign = {**whole, "workspaceName": "ops-foreign", "project": "6745a2f09b1c8e5d3f7a0b12"}
    assert firefly.ask("POST", "/v2/runners/workspaces", foreign).status == 404
    path = f"/v2/runners/workspaces/{made['id']}"
    every: dict[str, Any] = {"description": "", "labels": [], "vcsIntegrationId": "v", "repository": "a/b", "defaultBranch": "trunk",
             "vcs": "gitlab", "workingDirectory": "", "runnerType": "firefly_runners", "cronExecutionPattern": "1 2 * * *",
             "parentId": tree["right"], "poolId": None, "oidcAuthentication": None, "name": "ops-renamed"}  # fmt: skip
    changed = firefly.patch(path, every)
    kept = {name: every[name] for name in every if name not in ("runnerType", "parentId")}
    assert {name: changed[name] for name in kept} == kept
    assert changed["projectId"] == tree["right"]
    for wrong in ({"cronExecutionPattern": "x"}, {"vcs": "svn"}, {"labels": [1]}, {"parentId": "x"}):
        assert firefly.ask("PATCH", path, wrong).status in (400, 404)
    taken = firefly.workspace("ops-taken", project=tree["leaf"])
    assert "already exists" in firefly.ask("PUT", path, {"name": "ops-taken"}).expect(409).body.decode()
    firefly.delete(f"/v2/runners/workspaces/{taken['id']}", status=200)
    firefly.delete(path, status=200)
