"""The Firefly door over real git and real Terraform: what integrations show, what runs get of variables, who waits."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.firefly import Firefly, workspace_body
from tests.support.repositories import Repository, make_repository
from tests.support.server import ADMIN_TOKEN, Server
from tests.support.terraform import needs_terraform

SECONDS = 90.0
SECRET = "hunter22-very-secret"
CODE = """
variable "password" { sensitive = true }
variable "plain" {}
variable "zones" { type = list(string) }
variable "release" { type = string }
resource "terraform_data" "seen" {
  input = "plain=${var.plain} zones=${join("-", var.zones)} release=${var.release}"
}
resource "terraform_data" "loud" {
  input = nonsensitive(var.password)
  provisioner "local-exec" {
    interpreter = ["/bin/sh", "-c"]
    command     = "echo password=$TF_VAR_password region=$REGION override=$LEVEL"
  }
}
output "seen" { value = terraform_data.seen.output }
output "loud" { value = terraform_data.loud.output }
"""


@dataclass
class Place:
    """A server with a repository behind an integration."""

    firefly: Firefly
    repository: Repository
    integration: str

    def workspace(self, name: str, **more: Any) -> str:
        """Make a workspace on the repository."""
        body = workspace_body(
            name, vcsId=self.integration, repo=self.repository.folder.name, workDir="/stack", iacType="terraform",
            execution={"triggers": None, "applyRule": "manual", "terraformVersion": ""}, **more,
        )  # fmt: skip
        return str(self.firefly.post("/v2/runners/workspaces", body, 201)["id"])

    def run(self, workspace: str, run: str) -> dict[str, Any]:
        """Return a run as the search shows it."""
        found: list[dict[str, Any]] = self.firefly.post(
            f"/workspaces/{workspace}/runs/search", {"filters": {"runId": [run]}}
        )
        return found[0]

    def until(self, workspace: str, run: str, wanted: Sequence[str]) -> dict[str, Any]:
        """Wait until a run has one of some statuses; both ways to ask for it agree."""
        path = f"/v2/runners/workspaces/{workspace}/run/{run}/status"
        deadline = time.monotonic() + SECONDS
        while (status := self.firefly.get(path)["status"]) not in wanted:
            assert time.monotonic() < deadline, (status, self.run(workspace, run))
            assert not status.endswith("error") or status in wanted, (status, self.log(workspace, run))
            time.sleep(0.05)
        return self.run(workspace, run)

    def log(self, workspace: str, run: str) -> str:
        """Return what the tasks of a run printed."""
        found = self.run(workspace, run)
        tasks = [found[name] for name in ("planTaskId", "applyTaskId") if name in found]
        with self.firefly.api.clone(ADMIN_TOKEN) as api:
            paths = [f"/runyard/v1/executions/{task}/output?format=raw" for task in tasks]
            return "\n".join(api.get(path).body.decode() for path in paths)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Serve with the folder of repositories allowed."""
    folder = tmp_path_factory.mktemp("firefly")
    repository = make_repository(folder / "repositories" / "infra")
    repository.commit("First", {"stack/main.tf": CODE, "readme.md": "x", "modules/a/main.tf": ""})
    allowed = json.dumps([str(folder / "repositories")])
    server = Server(folder, {"RUNYARD_INFRASTRUCTURE__LOCAL_REPOSITORIES": allowed}, compiled=True)
    server.start()
    new = {"name": "local", "type": "github", "url": f"file://{folder}/repositories"}
    with server.api() as api:
        made = api.post("/runyard/v1/integrations", new).expect(201).json()
        yield Place(Firefly(api, "admin", ADMIN_TOKEN), repository, made["id"])
    server.close()


def test_integration_shows_its_repositories_and_their_folders(place: Place) -> None:
    firefly, base = place.firefly, f"/v2/api/vcs/github/{place.integration}"
    (unasked,) = firefly.get("/v2/api/integrations/global/vcs")["github"]
    assert (unasked["isEnabled"], unasked["active"], unasked["lastFetchSuccess"]) == (True, True, None)
    assert firefly.get(f"{base}/repos?onlyPrivateRepos=true") == [
        {"fullName": "infra", "defaultBranch": "main", "description": ""}
    ]
    whole = firefly.get(f"{base}/directory-tree?repo=infra&branch=main&includeFiles=true")
    assert [(one["name"], one["type"]) for one in whole["children"]] == [
        ("modules", "directory"), ("stack", "directory"), ("readme.md", "file"),
    ]  # fmt: skip
    assert whole["children"][1]["children"] == [
        {"name": "main.tf", "path": "stack/main.tf", "type": "file", "children": []}
    ]
    folders = firefly.get(f"{base}/directory-tree?repo=infra")
    assert [one["path"] for one in folders["children"]] == ["modules", "stack"]
    (synced,) = firefly.get("/v2/api/integrations/global/vcs")["github"]
    assert synced["syncStatus"] == "synced"
    answered = datetime.fromisoformat(synced["lastFetchSuccess"])
    assert 0 <= (datetime.now(UTC) - answered).total_seconds() < SECONDS
    for query in ("repo=infra&branch=gone", "repo=gone", "repo=../..", "repo=infra&branch=--upload-pack=x"):
        firefly.get(f"{base}/directory-tree?{query}", 404)
    (failed,) = firefly.get("/v2/api/integrations/global/vcs")["github"]
    assert (failed["syncStatus"], failed["lastFetchSuccess"]) == ("outOfSync", synced["lastFetchSuccess"])
    firefly.get(f"/v2/api/vcs/gitlab/{place.integration}/repos", 404)
    assert firefly.ask("GET", f"{base}/directory-tree").status == 400


@needs_terraform
def test_run_gets_the_variables_of_all_levels_and_shows_no_secret(place: Place) -> None:
    firefly = place.firefly
    root = firefly.root()
    above = {"variables": [{"key": "LEVEL", "value": "root"}, {"key": "REGION", "value": "eu"}]}
    firefly.post(f"/v2/runners/variables/projects/{root}/variables", above, 204)
    project = firefly.post("/v2/runners/projects", {"name": "levels", "parentId": root}, 201)["id"]
    inputs = [
        {"key": "TF_VAR_plain", "value": "from-set", "destination": "iac"},
        {"key": "password", "value": SECRET, "destination": "iac", "sensitivity": "secret"},
        {"key": "LEVEL", "value": "set"},
    ]
    made = firefly.post("/v2/runners/variables/variable-sets", {"name": "inputs", "variables": inputs}, 201)
    attach = f"/v2/runners/variables/projects/{project}/variable-sets/{made['variableSetId']}/attach"
    firefly.post(attach, {"consume": True}, 204)
    own = [
        {"key": "zones", "value": '["a", "b"]', "destination": "iac"},
        {"key": "release", "value": "1.10", "destination": "iac"},
        {"key": "LEVEL", "value": "workspace"},
    ]
    workspace = place.workspace("levels", project=project, variables=own)
    path = f"/v2/runners/workspaces/{workspace}"
    deployed = firefly.post(path, {"taskType": "apply", "cmdArguments": "-parallelism=3 -no-color"})
    assert deployed["status"] == 200
    planned = place.until(workspace, deployed["runId"], ["plan_success"])
    assert planned["planTaskId"] == deployed["taskId"]
    assert planned["title"] == "First"
    task = f"{path}/tasks/{planned['planTaskId']}"
    listed = firefly.post(f"{task}/resources/search?pageSize=10", {"mode": "list"})
    assert {one["name"] for one in listed} == {"seen", "loud"}
    for wrong, status in (({}, 400), ({"taskType": "plan"}, 400), ({"taskType": "destroy"}, 400),
                          ({"taskType": "apply", "cmdArguments": "-target=x"}, 400)):  # fmt: skip
        assert firefly.ask("POST", f"{task}/apply", wrong).status == status
    assert firefly.post(f"{task}/apply", {"taskType": "apply", "cmdArguments": "-auto-approve"}) == {
        "status": 200
    }
    done = place.until(workspace, deployed["runId"], ["apply_success"])
    log = place.log(workspace, deployed["runId"])
    assert "region=eu override=workspace" in log
    assert "plain=from-set zones=a-b release=1.10" in log
    shown = [log, json.dumps(listed), json.dumps(done)]
    shown.append(json.dumps(firefly.post(f"{task}/resources/search", {"mode": "tree"})))
    with firefly.api.clone(ADMIN_TOKEN) as api:
        shown.append(api.get(f"/runyard/v1/executions/{done['applyTaskId']}").body.decode())
    assert not [text for text in shown if SECRET in text]
    assert firefly.ask("POST", f"{task}/apply", {"taskType": "apply"}).status == 409
    assert firefly.ask("POST", f"{task}/discard").status == 409
    item = firefly.post("/workspaces/search", {"filters": {"workspaceName": ["levels"]}})[0]
    assert (item["lastRunStatus"], item["runsCount"]) == ("apply_success", 1)
    assert item["backendSummary"]["managedResourceCount"] == 2
    destroy_and_delete(place, workspace)


def destroy_and_delete(place: Place, workspace: str) -> None:
    """Destroy what a workspace has, by the task's own id, then delete it with what is left."""
    firefly, path = place.firefly, f"/v2/runners/workspaces/{workspace}"
    task = firefly.post(f"{path}/tasks/destroy", {"description": "Clean up"})
    newest = firefly.post(f"/workspaces/{workspace}/runs/search?pageSize=1", {})[0]
    assert (newest["planTaskId"], newest["title"]) == (task["id"], "Clean up")
    place.until(workspace, newest["runId"], ["plan_success"])
    going = firefly.post(f"{path}/tasks/destroy", {"taskId": task["id"]})
    assert (going["type"], going["id"] != task["id"]) == ("destroy", True)
    place.until(workspace, newest["runId"], ["apply_success"])
    removed = firefly.delete(f"{path}?destroy=true&description=the+end", status=200)
    assert (removed["resourcesDestroyed"], removed["workspaceId"]) == (True, workspace)
    firefly.get(path, 404)


@needs_terraform
def test_deploy_that_is_approved_by_its_arguments_waits_for_nobody(place: Place) -> None:
    firefly = place.firefly
    given = {"password": "x", "plain": "x", "zones": '["x"]', "release": "x"}
    variables = [{"key": key, "value": value, "destination": "iac"} for key, value in given.items()]
    workspace = place.workspace("approved", variables=variables)
    path = f"/v2/runners/workspaces/{workspace}"
    scopes = ["workspaces:read", "workspaces:run"]
    with firefly.api.clone(ADMIN_TOKEN) as api:
        token = (
            api.post("/runyard/v1/tokens", {"name": "runs", "scopes": scopes}).expect(201).json()["secret"]
        )
    asked = {"taskType": "apply", "cmdArguments": "-no-color -auto-approve"}
    with firefly.api.clone(token) as limited:
        Firefly.check_words(limited.request("POST", path, asked).expect(403))
    deployed = firefly.post(path, asked)
    place.until(workspace, deployed["runId"], ["apply_success"])
    planned = firefly.post(path, {"taskType": "plan", "cmdArguments": "-auto-approve"})
    place.until(workspace, planned["runId"], ["plan_no_changes"])
    removed = firefly.delete(f"{path}?destroy=true", status=200)
    assert removed["resourcesDestroyed"] is True


@needs_terraform
def test_of_two_deploys_at_once_one_runs_and_one_waits(place: Place, tmp_path: Path) -> None:
    given = {"password": "x", "plain": "x", "zones": '["x"]', "release": "x"}
    variables = [{"key": key, "value": value, "destination": "iac"} for key, value in given.items()]
    workspace = place.workspace("two", variables=variables)
    path = f"/v2/runners/workspaces/{workspace}"
    place.firefly.login()
    ready = threading.Barrier(2)

    def deploy(_: int) -> str:
        mine = Firefly(place.firefly.api.clone(), "admin", ADMIN_TOKEN)
        mine.login()
        ready.wait(30)
        return str(mine.post(path, {"taskType": "apply", "branch": "main"})["runId"])

    with ThreadPoolExecutor(2) as pool:
        first, second = sorted(
            pool.map(deploy, range(2)), key=lambda run: place.run(workspace, run)["status"] == "pending"
        )
    assert place.run(workspace, second)["status"] == "pending"
    planned = place.until(workspace, first, ["plan_success"])
    assert place.run(workspace, second)["status"] == "pending"
    place.firefly.post(f"{path}/tasks/{planned['planTaskId']}/discard", None, 204)
    assert place.run(workspace, first)["status"] == "discarded"
    waiting = place.until(workspace, second, ["plan_success"])
    place.firefly.post(f"{path}/tasks/{waiting['planTaskId']}/discard", None, 204)
    destroy = place.firefly.post(f"{path}/tasks/destroy", {"taskType": "destroy"})
    assert (destroy["type"], destroy["id"]) == ("destroy", destroy["taskId"])
    assert destroy["status"] in ("queued", "running")
    named = place.firefly.post(
        f"{path}/tasks/destroy", {"taskId": "task-12345", "description": "Named by nobody"}
    )
    assert named["id"] != destroy["id"]
    for wrong in ({"taskType": "none"}, {}, {"taskType": "plan", "cmdArguments": "-state=x"}):
        answer = place.firefly.ask("POST", path, wrong)
        assert answer.status == 400
    assert "-state" in answer.json()["message"]
    for gone in (f"{path}/tasks/6745a2f09b1c8e5d3f7a0b12/apply", f"{path}/run/{workspace}/status"):
        method = "GET" if gone.endswith("status") else "POST"
        assert (
            place.firefly.ask(method, gone, {"taskType": "apply"} if method == "POST" else None).status == 404
        )
    for run in place.firefly.post(
        f"/workspaces/{workspace}/runs/search", {"filters": {"status": ["pending", "planning"]}}
    ):
        place.until(workspace, run["runId"], ["plan_no_changes"])
