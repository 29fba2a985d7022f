"""Guardrails through the Firefly door: the calls of the published clients, and real plans of the real Terraform."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.firefly import Firefly, member_of
from tests.support.repositories import Repository
from tests.support.server import ADMIN_TOKEN, Server
from tests.support.terraform import needs_terraform

TOKEN = "tok-that-only-the-server-knows"
PASSWORD = "hunter2-in-the-code"
EVERYWHERE = {name: {"include": ["*"]} for name in ("workspaces", "repositories", "branches", "labels")}
ALL = {"include": ["*"]}
CODE = """
variable "token" { type = string }
variable "password" {
  type      = string
  sensitive = true
  default   = "PASSWORD"
}
resource "terraform_data" "bucket" {
  count = 2
  input = { acl = count.index == 0 ? "public-read" : "private", tags = count.index == 0 ? { Owner = "ana" } : {} }
}
module "inner" {
  source = "./inner"
  secret = "${var.token} ${var.password}"
}
""".replace("PASSWORD", PASSWORD)
INNER = 'variable "secret" {}\nresource "terraform_data" "kept" { input = var.secret }\n'


def encoded(code: str) -> str:
    """Return code as clients send it."""
    return base64.b64encode(code.encode()).decode()


def rule(
    name: str, kind: str, criteria: dict[str, Any] | None, severity: int = 2, **more: Any
) -> dict[str, Any]:
    """Return the body of a creation as the provider sends it."""
    body: dict[str, Any] = {
        "createdBy": "terraform-provider", "name": name, "type": kind, "scope": EVERYWHERE, "isEnabled": True,
        "severity": severity, **more,
    }  # fmt: skip
    return body if criteria is None else {**body, "criteria": {kind: criteria}}


@pytest.fixture(scope="module")
def firefly(server: Server) -> Iterator[Firefly]:
    """Return a client of the session's server with the first key pair."""
    with server.api() as api:
        yield Firefly(api, "admin", ADMIN_TOKEN)


def test_guardrail_lives_as_the_provider_expects(firefly: Firefly) -> None:
    body = rule("limit", "cost", {"thresholdAmount": 1000}, 3)
    made = firefly.post("/v2/guardrails", body)
    assert set(made) == {"ruleId", "notificationId"}
    listed = firefly.post("/v2/guardrails/search?page=0&pageSize=100", {"filters": {}})
    kept = member_of(listed, "id", made["ruleId"])
    assert {name: kept[name] for name in body} == body
    assert kept["createdAt"]
    assert kept["updatedAt"]
    changed = firefly.patch(f"/v2/guardrails/{made['ruleId']}", {**body, "name": "other", "isEnabled": False})
    assert set(changed) == {"id", "name", "enabled", "updatedAt"}
    assert (changed["name"], changed["enabled"]) == ("other", False)
    few = firefly.post("/v2/guardrails/search", {"searchValue": "OTHE", "projection": ["name"]})
    assert few == [{"id": made["ruleId"], "name": "other"}]
    assert firefly.post("/v2/guardrails/search", {"filters": {"type": ["tag"]}, "searchValue": "other"}) == []
    gone = firefly.delete(f"/v2/guardrails/{made['ruleId']}", status=200)
    assert gone["status"] == 200
    assert gone["message"]
    for method in ("DELETE", "PATCH"):
        assert firefly.ask(method, f"/v2/guardrails/{made['ruleId']}", body).status == 404


def test_guardrail_shows_the_notification_that_was_named_last(firefly: Firefly) -> None:
    def shown() -> str:
        listed = firefly.post("/v2/guardrails/search?page=0&pageSize=100", {"filters": {}})
        return str(member_of(listed, "id", made["ruleId"])["notificationId"])

    named = rule("named", "cost", {"thresholdAmount": 1}, notificationId="64f0c0ffee0123456789aaaa")
    made = firefly.post("/v2/guardrails", named)
    path = f"/v2/guardrails/{made['ruleId']}"
    assert (made["notificationId"], shown()) == (named["notificationId"], named["notificationId"])
    firefly.patch(path, {**named, "notificationId": "64f0c0ffee0123456789bbbb"})
    assert shown() == "64f0c0ffee0123456789bbbb"
    for silent in ({"notificationId": ""}, {"notificationId": None}):
        firefly.patch(path, {**named, **silent})
        assert shown() == "64f0c0ffee0123456789bbbb"
    assert firefly.ask("PATCH", path, {**named, "notificationId": "nowhere"}).status == 400
    firefly.delete(path, status=200)


def test_guardrails_are_sorted_newest_first_and_as_asked(firefly: Firefly) -> None:
    made = [firefly.post("/v2/guardrails", rule(f"sorted-{name}", "tag", None))["ruleId"] for name in "bca"]
    try:
        asked = {"searchValue": "sorted-"}
        names = [one["name"] for one in firefly.post("/v2/guardrails/search", asked)]
        assert names == ["sorted-a", "sorted-c", "sorted-b"]
        for sort in (
            {"name": {"order": 1}},
            [{"type": None, "name": {"order": 1}}][0:0] or [{"name": {"order": 1}}],
        ):
            found = firefly.post("/guardrails/search", {**asked, "sort": sort})
            assert [one["name"] for one in found] == ["sorted-a", "sorted-b", "sorted-c"]
        second = firefly.post("/api/v2/guardrails/search?page=1&pageSize=2", asked)
        assert [one["name"] for one in second] == ["sorted-b"]
    finally:
        for one in made:
            firefly.delete(f"/v2/guardrails/{one}", status=200)


@pytest.mark.parametrize(
    ("without", "changes", "text"),
    [
        ("createdBy", {}, "Created By is required"),
        ("name", {}, "Name is required"),
        ("type", {}, "Type is required"),
        ("isEnabled", {}, "Is Enabled is required"),
        ("severity", {}, "Severity is required"),
        (None, {"severity": 4}, "Severity is not valid"),
        (None, {"type": "magic"}, "Type is not valid"),
        (None, {"scope": {"workspaces": ALL}}, "Repositories is required"),
        (None, {"type": "resource", "criteria": {"resource": {"actions": []}}}, "Regions is required"),
        (None, {"criteria": {"tag": {}}}, "Criteria is not valid"),
        (None, {"notificationId": "x"}, "Notification Id is not valid"),
        (None, {"notification": {"destination": "http://169.254.169.254/"}}, "Destination is not allowed"),
        (None, {"notification": {"destination": "file:///etc/passwd"}}, "Destination is not valid"),
        (None, {"notification": {}}, "Destination is required"),
        (None, {"notification": {"type": "slack", "destination": "#ops"}}, "slack are not implemented"),
        (None, {"notification": {"type": "pigeon"}}, "Type is not valid"),
        (None, {"name": "x" * 101}, "Name is not valid"),
        (None, {"name": 3}, "Name is not valid"),
    ],
)  # fmt: skip
def test_guardrail_that_does_not_fit_is_refused_in_published_words(
    firefly: Firefly, without: str | None, changes: dict[str, Any], text: str
) -> None:
    body = {**rule("limit", "cost", {"thresholdAmount": 1}), **changes}
    if without is not None:
        del body[without]
    answer = firefly.ask("POST", "/v2/guardrails", body)
    assert answer.status == (501 if "not implemented" in text else 400)
    assert text in answer.json()["message"]


def test_governance_policy_lives_as_the_provider_expects(firefly: Firefly) -> None:
    code = encoded('firefly {\n  input.configuration.acl == "public-read"\n}\n')
    base = "/v2/governance/insights"
    body = {
        "name": "public-bucket", "description": "", "code": code, "type": ["aws_s3_bucket"],
        "providerIds": ["aws_all"], "labels": ["s3"], "severity": 5, "category": "Misconfiguration",
    }  # fmt: skip
    made = firefly.post(f"{base}/create", body)
    assert (made["rego"], made["frameworks"], made["labels"]) == (code, [], ["s3"])
    least = firefly.post(f"{base}/create", {"name": "says little", "code": code})
    assert (least["severity"], least["type"], least["labels"], least["category"]) == (3, [], [], "")
    firefly.delete(f"{base}/{least['_id']}", status=200)
    one = {"id": [made["_id"]], "page_size": 1}
    page = firefly.post(base, one)
    assert (page["hits"], page["total"], page["page"], page["page_size"]) == ([made], 1, 1, 1)
    changed = firefly.put(f"{base}/{made['_id']}", {**body, "severity": 3, "frameworks": ["SOC2"]})
    assert (changed["severity"], changed["frameworks"], changed["rego"]) == (3, ["SOC2"], code)
    few = {name: body[name] for name in ("name", "code", "type", "providerIds")}
    bare = firefly.put(f"{base}/{made['_id']}", few)
    assert (bare["labels"], bare["frameworks"], bare["category"], bare["severity"]) == ([], [], "", 3)
    for part in ("name", "code"):
        left = {key: value for key, value in few.items() if key != part}
        assert firefly.ask("PUT", f"{base}/{made['_id']}", left).status == 400
    firefly.put(f"{base}/{made['_id']}", {**body, "severity": 3, "frameworks": ["SOC2"]})
    wanted = {
        "query": "PUBLIC",
        "severity": [3],
        "frameworks": ["SOC2"],
        "onlyAvailableProviders": True,
        "page_size": 100,
    }
    assert [each["_id"] for each in firefly.post(base, wanted)["hits"]] == [made["_id"]]
    for labels, count in ((["s3"], 1), (["s3", "none"], 0), (["none"], 0), ([], 1)):
        asked = {"id": [made["_id"]], "labels": labels}
        assert (labels, firefly.post(base, asked)["total"]) == (labels, count)
    assert firefly.post(base, {"isDefault": True})["hits"] == []
    for change, text in (
        ({"code": "%%"}, "base64"),
        ({"code": encoded("deny { true }")}, "no rule that is named firefly"),
        ({"code": encoded("firefly { foo( }")}, "this is unclosed"),
        ({"code": encoded("firefly { foo(input) }")}, "Code is not valid: there is no function foo"),
        (
            {"code": encoded("import data.firefly.packages.gone\nfirefly { gone.has(input) }")},
            "there is no function data.firefly.packages.gone.has",
        ),
        ({"severity": 7}, "Severity is not valid"),
        ({"name": ""}, "Name is required"),
        ({"type": [1]}, "Type is not valid"),
    ):
        answer = firefly.ask("POST", f"{base}/create", {**body, **change})
        assert (answer.status, text in answer.json()["message"]) == (400, True), answer.body
    firefly.delete(f"{base}/{made['_id']}", status=200)
    assert firefly.post(base, one)["hits"] == []
    assert firefly.ask("PUT", f"{base}/{made['_id']}", body).status == 404
    package = "/v2/governance/packages/accept"
    assert firefly.put(package, {"code": encoded("has(x, k) { x[k] }")})["name"] == "accept"
    assert "accept" in [each["name"] for each in firefly.get("/v2/governance/packages")]
    assert firefly.ask("PUT", "/v2/governance/packages/no-name", {"code": encoded("a = 1")}).status == 400
    firefly.delete(package)
    assert firefly.ask("DELETE", package).status == 404


class World:
    """A server with a repository, whose runs are real."""

    def __init__(self, server: Server, repository: Repository) -> None:
        """Add what runs need."""
        self.server = server
        self.repository = repository
        self.firefly = Firefly(server.api(), "admin", ADMIN_TOKEN)
        new = {"name": "local", "type": "git", "url": f"file://{repository.folder.parent}"}
        integration = server.api().post("/runyard/v1/integrations", new).expect(201).json()["id"]
        made = self.firefly.workspace(
            "net-prod", iacType="terraform", vcsId=integration, repo=repository.folder.name, workDir="", labels=["net"],
            execution={"triggers": None, "applyRule": "manual", "terraformVersion": ""},
            variables=[{"key": "token", "value": TOKEN, "sensitivity": "secret", "destination": "iac"}],
        )  # fmt: skip
        self.workspace = made["id"]

    def deploy(self, task: str) -> dict[str, Any]:
        """Ask for a run and wait until it waits or is over."""
        answer = self.firefly.post(f"/v2/runners/workspaces/{self.workspace}", {"taskType": task})
        return self.settled(answer["runId"])

    def settled(self, run: str, *but: str) -> dict[str, Any]:
        """Wait until a run is no more at work, nor in one of some statuses."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = self.firefly.post(
                f"/workspaces/{self.workspace}/runs/search", {"filters": {"runId": [run]}}
            )
            if found[0]["status"] not in ("pending", "planning", "applying", *but):
                return dict(found[0])
            time.sleep(0.1)
        raise AssertionError(f"the run is still {found[0]['status']}")

    def task(self, run: dict[str, Any], verb: str) -> str:
        """Return the path of a verb on the task that planned a run."""
        return f"/v2/runners/workspaces/{self.workspace}/tasks/{run['planTaskId']}/{verb}"

    def resources(self, run: dict[str, Any], mode: str, query: str = "", **more: Any) -> Any:
        """List what a run would change."""
        path = f"/workspaces/{self.workspace}/runs/{run['runId']}/resources/search{query}"
        return self.firefly.post(path, {"mode": mode, **more})


@pytest.fixture
def world(fresh_server: Callable[..., Server], tmp_path: Path) -> World:
    """Serve with a repository and a price for the built-in resource."""
    folder = tmp_path / "repositories" / "infra"
    folder.mkdir(parents=True)
    repository = Repository(folder)
    repository.git("init", "--quiet", "-b", "main")
    repository.commit("First", {"README": "x\n"})
    repository.commit("Add buckets", {"main.tf": CODE, "inner/main.tf": INNER})
    prices = tmp_path / "prices.json"
    prices.write_text('{"about": "test", "types": {"terraform_data": [{"month": 10}]}}')
    server = fresh_server(
        infrastructure__local_repositories=json.dumps([str(folder.parent)]), guardrails__prices=str(prices)
    )
    return World(server, repository)


KEPT: dict[str, Any] = {
    "actions": ["create"], "regions": ALL, "assetTypes": ALL, "specificResources": ["*.kept"],
}  # fmt: skip
ANYTHING = {**KEPT, "specificResources": []}


def set_rules(firefly: Firefly) -> str:
    """Make a rule of each type and severity; return the id of the strict one."""
    public = 'firefly { input.configuration.input.acl == "public-read" }'
    policy = {"name": "public", "code": encoded(public), "type": ["terraform_data"], "severity": 5}
    firefly.post("/v2/governance/insights/create", policy)
    owner = {"tagEnforcementMode": "requiredTags", "requiredTags": ["Own*"]}
    elsewhere = {**EVERYWHERE, "branches": {"include": ["release/*"]}}
    for body in (
        rule("ceiling", "cost", {"thresholdAmount": 20}, 3),
        rule("owner", "tag", owner, 3),
        rule("high", "policy", {"severity": "high"}, 1),
        rule("elsewhere", "resource", ANYTHING, 2, scope=elsewhere),
    ):
        firefly.post("/v2/guardrails", body)
    return str(firefly.post("/v2/guardrails", rule("no new kept", "resource", KEPT, 2))["ruleId"])


def check_listings(world: World, blocked: dict[str, Any]) -> list[Any]:
    """Look at what a blocked run would change in every way; return what was shown."""
    found = world.resources(blocked, "list")
    violations = {one["address"]: sorted(each["ruleName"] for each in one["violations"]) for one in found}
    assert violations == {
        "terraform_data.bucket[0]": ["high"],
        "terraform_data.bucket[1]": ["owner"],
        "module.inner.terraform_data.kept": ["no new kept"],
    }
    assert {one["cost"]["after"] for one in found} == {10}
    assert world.resources(blocked, "list", "?page=1&pageSize=2")[0]["address"] == found[2]["address"]
    assert len(world.resources(blocked, "list", searchValue="BUCKET")) == 2
    assert world.resources(blocked, "list", projection=["action"])[0] == {
        "id": found[0]["id"],
        "action": "create",
    }
    (top,) = world.resources(blocked, "tree")
    assert [one["address"] for one in top["resources"]] == [
        "terraform_data.bucket[0]",
        "terraform_data.bucket[1]",
    ]
    assert [one["name"] for one in top["children"]] == ["inner"]
    path = f"/workspaces/{world.workspace}/runs/{blocked['runId']}"
    refused = world.firefly.ask("POST", f"{path}/resources/search", {})
    assert (refused.status, refused.json()["message"]) == (400, "Mode is required")
    folders = world.firefly.post(f"{path}/changed-files-code/search", {})
    assert {one["folder"]: [each["name"] for each in one["files"]] for one in folders} == {
        "": ["main.tf"], "inner": ["main.tf"],
    }  # fmt: skip
    assert folders[1]["files"][0]["patch"].count("\n+") >= 2
    return [found, top, folders]


@needs_terraform
def test_real_plans_are_judged_blocked_acknowledged_and_applied(world: World) -> None:
    firefly = world.firefly
    strict = set_rules(firefly)
    blocked = world.deploy("apply")
    assert blocked["status"] == "blocked"
    assert firefly.ask("POST", world.task(blocked, "apply"), {"taskType": "apply"}).status == 409
    shown = check_listings(world, blocked)

    firefly.patch(f"/v2/guardrails/{strict}", rule("no new kept", "resource", KEPT, 1))
    waiting = world.deploy("apply")
    assert waiting["status"] == "blocked"
    api = world.server.api()
    operator = {"name": "op", "scopes": ["workspaces:read", "workspaces:run", "workspaces:approve"]}
    token = api.post("/runyard/v1/tokens", operator).expect(201).json()["secret"]
    apply = world.task(waiting, "apply")
    with api.clone(token) as limited:
        assert limited.request("POST", apply, {"taskType": "apply"}).status == 403
    assert world.settled(waiting["runId"])["status"] == "blocked"
    firefly.post(apply, {"taskType": "apply"})
    assert world.settled(waiting["runId"], "blocked", "Acknowledged")["status"] == "apply_success"
    resources = firefly.post(world.task(waiting, "resources/search"), {"mode": "list"})
    assert {one["status"] for one in resources} == {"applied"}
    assert firefly.ask("POST", apply, {"taskType": "apply"}).status == 409

    verdict = api.get(f"/runyard/v1/runs/{waiting['runId']}/guardrails").expect(200).json()
    assert (verdict["blocked"], verdict["stops"], verdict["acknowledged_by"]) == ("flexible", False, "admin")
    assert {one["rule_name"] for one in verdict["violations"] if not one["address"]} == {"ceiling"}
    plan = api.get(f"/runyard/v1/runs/{waiting['runId']}/plan").expect(200).json()
    assert (plan["counts"]["create"], plan["cost"]["after"], plan["has_changes"]) == (3, 30, True)
    whole = api.get(f"/runyard/v1/runs/{waiting['runId']}/plan/json").expect(200)
    assert len(whole.json()["resource_changes"]) == 3
    shown += [verdict, plan, whole.body.decode()]

    assert world.deploy("plan")["status"] == "plan_no_changes"
    every = {**ANYTHING, "actions": []}
    firefly.post("/v2/guardrails", rule("all of it", "resource", every, 2, enforceOnNoOp=True))
    again = world.deploy("plan")
    assert again["status"] == "blocked"
    shown += [world.resources(again, "list"), world.resources(again, "tree")]
    assert TOKEN not in json.dumps(shown)
    assert PASSWORD not in json.dumps([shown[0], shown[1], shown[3:]])
    assert TOKEN not in world.server.log_path.read_text()
    for kept in world.server.data_dir.rglob("*.db*"):
        assert TOKEN.encode() not in kept.read_bytes()
