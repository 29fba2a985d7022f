"""Real Terraform through a real server: plan, approve, apply, drift, destroy; and a server that is killed meanwhile."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ServerFactory
from tests.support.cli import runyard_command
from tests.support.infrastructure import TERRAFORM, fake_tool
from tests.support.repositories import Repository, make_repository
from tests.support.server import Server
from tests.support.workspaces import SECONDS, Workspaces

pytestmark = pytest.mark.skipif(TERRAFORM is None, reason="no terraform in the PATH of this machine")
CODE = """
variable "size" { default = 2 }
variable "key" { default = "" }
resource "terraform_data" "item" {
  count = var.size
  input = "item ${count.index}"
  provisioner "local-exec" {
    command = "echo key is ${var.key}; env"
  }
}
output "items" { value = terraform_data.item[*].output }
"""
SLOW = """
resource "terraform_data" "first" { input = "first" }
resource "terraform_data" "slow" {
  input = terraform_data.first.output
  provisioner "local-exec" {
    interpreter = ["/bin/sh", "-c"]
    command     = "echo begun; sleep 60"
  }
}
"""


PLAN = {
    "format_version": "1.2",
    "terraform_version": "1.9.0",
    "resource_changes": [
        {
            "address": "aws_s3_bucket.a",
            "mode": "managed",
            "type": "aws_s3_bucket",
            "name": "a",
            "provider_name": "registry.terraform.io/hashicorp/aws",
            "change": {"actions": ["create"], "before": None, "after": {"bucket": "a"}, "after_unknown": {}},
        }
    ],
}
EVERYTHING = {"include": ["*"]}
RULE = {
    "createdBy": "ana",
    "name": "no-buckets",
    "type": "resource",
    "isEnabled": True,
    "severity": 2,
    "scope": {
        "workspaces": {"include": ["reported"]},
        "repositories": EVERYTHING,
        "branches": EVERYTHING,
        "labels": EVERYTHING,
    },
    "criteria": {
        "resource": {
            "actions": ["create"],
            "specificResources": ["aws_s3_bucket"],
            "regions": EVERYTHING,
            "assetTypes": EVERYTHING,
        }
    },
}
STRICT = {
    "name": "nothing created",
    "scope": {**RULE["scope"], "workspaces": EVERYTHING},  # type: ignore[dict-item]
    "criteria": {"resource": {**RULE["criteria"]["resource"], "specificResources": ["*"]}},  # type: ignore[index]
}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make the repository."""
    made = make_repository(tmp_path / "repositories" / "infra")
    made.commit("Two items", {"main.tf": CODE})
    return made


@pytest.fixture
def served(fresh_server: ServerFactory, repository: Repository) -> Server:
    """Serve with the folder of repositories allowed."""
    return fresh_server(
        infrastructure__local_repositories=f'["{repository.folder.parent}"]',
        infrastructure__interrupt_grace_secs="5",
    )


def test_workspace_lives_from_first_plan_to_destruction(served: Server, repository: Repository) -> None:
    """Create, plan, approve, apply, plan empty, change, deploy with arguments, destroy and delete."""
    with served.api() as api:
        spaces = Workspaces(api, repository)
        secret = {
            "key": "TF_VAR_key",
            "value": "open-sesame-1",
            "sensitivity": "secret",
            "destination": "env",
        }
        workspace = spaces.create("net", variables=[secret])
        planned = spaces.until(workspace, spaces.deploy(workspace), ["plan_success"])
        assert planned["title"] == "Two items"
        assert planned["commitId"] == repository.head()
        assert "2 to add" in spaces.log(planned)
        second = spaces.deploy(workspace, "plan")
        assert spaces.run(workspace, second)["status"] == "pending"
        spaces.apply(workspace, planned)
        done = spaces.until(workspace, planned["runId"], ["apply_success"])
        assert "Apply complete! Resources: 2 added" in spaces.log(done, "applyTaskId")
        printed = spaces.log(done, "applyTaskId")
        assert "key is" in printed, printed
        assert "open-sesame" not in printed + spaces.log(planned)
        assert "TF_HTTP_PASSWORD=[masked]" in printed
        spaces.until(workspace, second, ["plan_no_changes"])
        repository.commit("Three items", {"main.tf": CODE.replace("= 2", "= 3")})
        target = spaces.deploy(workspace, "apply", "-target=terraform_data.item[2] --parallelism 3")
        run = spaces.until(workspace, target, ["plan_success"])
        assert "1 to add" in spaces.log(run)
        spaces.apply(workspace, run)
        spaces.until(workspace, target, ["apply_success"])
        refused = api.post(
            f"/v2/runners/workspaces/{workspace}", {"taskType": "plan", "cmdArguments": "-var a=b -out=x"}
        ).expect(400)
        assert "-var, a, -out" in refused.json()["message"]
        path = f"/v2/runners/workspaces/{workspace}/tasks/destroy"
        task = api.post(path, {"taskType": "destroy"}).expect(200).json()["taskId"]
        listed = api.post(f"/v2/workspaces/{workspace}/runs/search", {}).expect(200).json()
        run = next(one for one in listed if one["planTaskId"] == task)
        run = spaces.until(workspace, run["runId"], ["plan_success"])
        spaces.apply(workspace, run, "destroy")
        done = spaces.until(workspace, run["runId"], ["apply_success"])
        assert "3 destroyed" in spaces.log(done, "applyTaskId")
        assert "pass" not in str(listed)


def test_server_that_is_killed_leaves_truth_behind(served: Server, repository: Repository) -> None:
    """Killed in a plan and in an apply: both end with the reason, nothing runs again, state and lock are in order, and
    the next run goes on from the state that was written.
    """
    repository.commit("Slow", {"main.tf": SLOW})
    with served.api() as api:
        spaces = Workspaces(api, repository)
        workspace = spaces.create("killed")
        run = spaces.until(workspace, spaces.deploy(workspace), ["plan_success"])
        waiting = spaces.deploy(workspace, "plan")
        spaces.apply(workspace, run)
        run = spaces.until(workspace, run["runId"], ["applying"])
        deadline = time.monotonic() + SECONDS
        while "begun" not in spaces.log(run, "applyTaskId"):
            assert time.monotonic() < deadline, spaces.log(run, "applyTaskId")
            time.sleep(0.05)
    served.kill()
    served.start()
    with served.api() as api:
        spaces = Workspaces(api, repository)
        lost = spaces.until(workspace, run["runId"], ["apply_error"])
        status = api.get(f"/runyard/v1/executions/{lost['applyTaskId']}").expect(200).json()["status"]
        assert status == "abandoned"
        # The one in line goes on by itself: the lock is free and the state can be read.
        found = spaces.until(workspace, waiting, ["plan_success"])
        assert spaces.run(workspace, run["runId"])["status"] == "apply_error"
        assert "to add" in spaces.log(found)
        planning = spaces.deploy(workspace, "plan")
        spaces.until(workspace, planning, ["planning"])
    served.kill()
    served.start()
    with served.api() as api:
        spaces = Workspaces(api, repository)
        ended = spaces.until(workspace, planning, ["plan_error", "init_error", "plan_success"])
        assert ended["status"] != "plan_success" or "to add" in spaces.log(ended)
        again = spaces.deploy(workspace, "plan")
        spaces.until(workspace, again, ["plan_success"])


def test_cancel_lets_terraform_write_its_state(served: Server, repository: Repository) -> None:
    """An apply that is cancelled is interrupted: what was made is in the state, and the lock is free."""
    repository.commit("Slow", {"main.tf": SLOW})
    with served.api() as api:
        spaces = Workspaces(api, repository)
        workspace = spaces.create("cancelled", execution={"applyRule": "auto", "triggers": None})
        run = spaces.until(workspace, spaces.deploy(workspace), ["applying"])
        deadline = time.monotonic() + SECONDS
        while "begun" not in spaces.log(run, "applyTaskId"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        api.post(f"/runyard/v1/executions/{run['applyTaskId']}/cancel", {}).expect(202)
        ended = spaces.until(workspace, run["runId"], ["cancelled"])
        assert "nterrupt" in spaces.log(ended, "applyTaskId")
        repository.commit("Quick", {"main.tf": 'resource "terraform_data" "first" { input = "first" }\n'})
        after = spaces.until(workspace, spaces.deploy(workspace, "plan"), ["plan_success", "plan_no_changes"])
        # What was made is known; what the interrupt broke off is to be replaced or is gone.
        assert "terraform_data.first will be created" not in spaces.log(after)


def test_pipeline_reports_its_runs_and_is_judged(server: Server) -> None:
    """A pipeline tells of its plan and apply with their logs; the guardrails of this server judge it."""
    with server.api() as api:
        base = "/runyard/v1"
        body = {"name": "reported", "runner_type": "jenkins", "iac_type": "terraform"}
        workspace = api.post(f"{base}/workspaces", body).expect(201).json()["id"]
        api.post(f"{base}/workspaces/{workspace}/runs", {"kind": "plan"}).expect(409)

        def begun(**more: object) -> str:
            told = {"title": "Add a bucket", "branch": "main", "build_id": "7", **more}
            return str(api.post(f"{base}/workspaces/reported/reports", told).expect(201).json()["id"])

        def put(run: str, what: str, data: bytes) -> Any:
            return api.request("PUT", f"{base}/runs/{run}/{what}", body=data).expect(200).json()

        run = begun(applies=True)
        put(run, "log", b"Terraform will perform\nthe following actions\n")
        api.request("PUT", f"{base}/runs/{run}/plan", body=b"{broken").expect(422)
        planned = put(run, "plan", json.dumps(PLAN).encode())
        assert (planned["status"], planned["has_changes"], planned["block"]) == ("plan_success", True, "none")
        output = api.get(f"{base}/executions/{planned['plan_task_id']}/output?format=raw").expect(200)
        assert b"following actions" in output.body
        applying = api.post(f"{base}/runs/{run}/apply", {}).expect(200).json()
        assert applying["status"] == "applying"
        put(run, "log", b"Apply complete!\n")
        done = api.post(f"{base}/runs/{run}/applied", {}).expect(200).json()
        assert done["status"] == "apply_success"
        task = api.get(f"{base}/executions/{done['apply_task_id']}").expect(200).json()
        assert (task["status"], task["output_bytes"]) == ("succeeded", 16)
        api.post(f"{base}/runs/{run}/failed", {}).expect(409)
        rule_id = api.post("/v2/guardrails", RULE).expect(200).json()["ruleId"]
        run = begun(applies=True)
        blocked = put(run, "plan", json.dumps(PLAN).encode())
        assert (blocked["status"], blocked["block"]) == ("blocked", "strict")
        assert blocked["violations"][0]["address"] == "aws_s3_bucket.a"
        api.post(f"{base}/runs/{run}/apply", {}).expect(409)
        api.request("DELETE", f"/v2/guardrails/{rule_id}").expect(200)
        failed = api.post(f"{base}/runs/{begun()}/failed", {"reason": "no credentials"}).expect(200).json()
        assert (failed["status"], failed["reason"]) == ("plan_error", "no credentials")
        listed = api.get(f"{base}/workspaces/reported/runs?text=bucket").expect(200).json()["items"]
        assert [one["status"] for one in listed] == ["plan_error", "blocked", "apply_success"]
        shown = api.post("/v2/workspaces/search", {"filters": {"workspaceName": ["reported"]}}).json()[0]
        assert (shown["lastRunStatus"], shown["isWorkflowManaged"]) == ("plan_error", False)
        api.request("DELETE", f"{base}/workspaces/reported").expect(204)


def test_command_line_plans_and_applies(served: Server, repository: Repository, tmp_path: Path) -> None:
    """The output is followed to the end; the exit status tells how the run ended."""
    fake_tool(served.data_dir / "tools", {"apply": "echo applied; exit 1"})
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "RUNYARD_URL": served.url, "RUNYARD_TOKEN": served.token,
    }  # fmt: skip

    def cli(*arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [*runyard_command(), "workspace", *arguments], env=environment, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert done.returncode == status, (done.stdout, done.stderr)
        return done.stdout if "--json" in arguments else done.stdout + done.stderr

    where = ("--url", repository.url, "--iac-type", "terraform", "--iac-version", "9.9.9", "--branch", "main")
    cli("create", "told", *where, "--label", "prod")
    assert "told" in cli("list", "--text", "prod")
    planned = cli("plan", "told", "--arguments", "-target=a.b")
    assert "planned plan" in planned
    assert "plan_success" in planned
    assert "not allowed: -var" in cli("plan", "told", "--arguments", "-var=x", status=2)
    waiting = json.loads(cli("apply", "told", "--json"))
    assert (waiting["status"], waiting["step"]) == ("plan_success", "approval")
    assert "applied" in cli("approve", waiting["id"], status=1)
    assert "apply_error" in cli("runs", "told")
    cli("discard", waiting["id"], status=6)
    cli("lock", "told", "--reason", "hands off")
    held = json.loads(cli("plan", "told", "--detach", "--json"))
    assert held["status"] == "pending"
    assert "cancelled" in cli("cancel", held["id"])
    cli("unlock", "told")
    with served.api() as api:
        api.post("/v2/guardrails", {**RULE, **STRICT}).expect(200)
    stopped = json.loads(cli("apply", "told", "--auto", "--json", status=5))
    assert (stopped["status"], stopped["block"]) == ("blocked", "strict")
    assert "nothing created" in cli("verdict", stopped["id"], status=5)
    assert "1 create" in cli("run", stopped["id"])
    cli("delete", "told", "--yes")
    cli("get", "told", status=3)
